/* Messages through compressor and inflater, and through zlib alone on the other side: contents, limits,
 * bombs, garbage, and no memory. */
#include "unit.h"
#include "proto/deflate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"
#include "wire.h"

#define KIB 1024u
#define MIB (1024u * 1024u)

enum { LEVEL = DEFLATE_LEVEL_TAKEOVER, MEM_LEVEL = DEFLATE_MEM_LEVEL_DEFAULT };

/* --- messages --- */

static weft_msg *msg_with(unsigned type, const void *p, size_t n, bool is_compressed)
{
    weft_msg *m = msg_alloc(type, n);

    if (!m)
        abort();
    if (n)
        memcpy(m->payload, p, n);
    m->is_compressed = is_compressed;
    msg_seal(m, n);
    return m;
}

enum content { NOISE, JSON, ZEROS, HIGH_NOISE, CONTENTS };

/* HIGH_NOISE: bytes that fixed codes need nine bits for. */
static weft_msg *content(enum content what, size_t n, uint32_t *random)
{
    weft_msg *m = msg_alloc(what == JSON ? WEFT_TEXT : WEFT_BINARY, n + 64);
    size_t at = 0;

    if (!m)
        abort();
    while (at < n) {
        uint32_t r = wire_random(random);
        if (what == JSON)
            at += (size_t)sprintf((char *)m->payload + at, "{\"id\":%u,\"from\":\"%s\",\"text\":\"%x\"},",
                                  r % 100000, r % 3 ? "alice" : "bob", r >> 20);
        else
            m->payload[at++] = what == ZEROS ? 0 : what == NOISE ? (uint8_t)r : (uint8_t)(144 + r % 112);
    }
    msg_seal(m, n);
    return m;
}

static bool same_message(const weft_msg *a, const weft_msg *b)
{
    return a->type == b->type && a->bytes == b->bytes && a->is_compressed == b->is_compressed &&
           memcmp(a->payload, b->payload, a->bytes) == 0 && msg_frame_bytes(a) == msg_frame_bytes(b) &&
           memcmp(msg_frame(a), msg_frame(b), msg_frame_bytes(a)) == 0;
}

static struct deflater *deflater(unsigned window_bits)
{
    struct deflater *d = deflater_new(window_bits, LEVEL, MEM_LEVEL);

    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    return d;
}

static struct inflater *inflater(unsigned window_bits)
{
    struct inflater *z = inflater_new(window_bits);

    CU_ASSERT_PTR_NOT_NULL_FATAL(z);
    return z;
}

/* The result, and the content when it is right. */
static int inflate_bytes(struct inflater *z, const void *p, size_t n, size_t bytes_max, weft_msg **out)
{
    weft_msg *m = msg_with(WEFT_BINARY, p, n, true);
    int rc = inflater_message(z, m, bytes_max, out);

    weft_msg_unref(m);
    return rc;
}

static bool inflates_to(struct inflater *z, const void *p, size_t n, const char *wanted, size_t wanted_bytes)
{
    weft_msg *out = NULL;
    bool is_right;

    if (inflate_bytes(z, p, n, MIB, &out) != WEFT_OK)
        return false;
    is_right = out->bytes == wanted_bytes && memcmp(out->payload, wanted, wanted_bytes) == 0;
    weft_msg_unref(out);
    return is_right;
}
#define INFLATES(z, bytes, wanted)                                                                           \
    CU_ASSERT(inflates_to(z, bytes, sizeof(bytes) - 1, wanted, sizeof(wanted) - 1))

static int fails_with(unsigned window_bits, const void *p, size_t n)
{
    struct inflater *z = inflater(window_bits);
    weft_msg *out = NULL;
    int rc = inflate_bytes(z, p, n, MIB, &out);

    if (rc == WEFT_OK)
        weft_msg_unref(out);
    inflater_free(z);
    return rc;
}

/* --- round trips --- */

/* m through d and z; whether it came out as it went in. */
static bool comes_through(struct deflater *d, struct inflater *z, weft_msg *m, bool takeover,
                          unsigned window_bits)
{
    weft_msg *packed = NULL, *back = NULL;
    bool is_right;

    if (!takeover) {
        deflater_reset(d);
        inflater_reset(z, window_bits);
    }
    if (deflater_message(d, m, takeover, &packed) != WEFT_OK)
        return false;
    if (!packed)
        return true; /* plain */
    is_right = packed->is_compressed && packed->type == m->type && (msg_frame(packed)[0] & 0x70) == 0x40;
    is_right &= packed->bytes <= deflate_bytes_max(m->bytes);
    is_right &= takeover || packed->bytes < m->bytes;
    is_right &= inflater_message(z, packed, m->bytes, &back) == WEFT_OK && same_message(back, m);
    weft_msg_unref(back);
    weft_msg_unref(packed);
    return is_right;
}

static void messages_come_through_all_windows_and_takeovers(void)
{
    static const size_t sizes[] = {0, 1, 20, 125, 1000, 4096, 8191, 8192, 8193, 20000, 0, 70000};
    uint32_t random = 1;
    unsigned wrong = 0;

    for (unsigned bits = 9; bits <= 15; bits++) {
        for (int takeover = 0; takeover < 2; takeover++) {
            struct deflater *d = deflater(bits);
            struct inflater *z = inflater(bits);

            for (size_t i = 0; i < CONTENTS * (sizeof sizes / sizeof sizes[0]); i++) {
                weft_msg *m = content((enum content)(i % CONTENTS), sizes[i / CONTENTS], &random);
                wrong += !comes_through(d, z, m, takeover, bits);
                weft_msg_unref(m);
            }
            deflater_free(d);
            inflater_free(z);
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

static void a_mebibyte_comes_through(void)
{
    uint32_t random = 2;

    for (int what = 0; what < CONTENTS; what++) {
        struct deflater *d = deflater(12);
        struct inflater *z = inflater(12);
        weft_msg *m = content((enum content)what, MIB, &random);

        for (int i = 0; i < 3; i++)
            CU_ASSERT(comes_through(d, z, m, true, 12));
        weft_msg_unref(m);
        deflater_free(d);
        inflater_free(z);
    }
}

/* zlib alone, with a window of exactly what was negotiated, reads what we write. */
static void zlib_reads_what_we_write(void)
{
    static uint8_t out[70000];
    uint32_t random = 3;

    for (unsigned bits = 9; bits <= 15; bits++) {
        struct deflater *d = deflater(bits);
        z_stream z = {0};

        CU_ASSERT_EQUAL_FATAL(inflateInit2(&z, -(int)bits), Z_OK);
        for (unsigned i = 0; i < 40; i++) {
            weft_msg *m = content((enum content)(i % CONTENTS), 1 + wire_random(&random) % 60000, &random),
                     *packed;
            uint8_t tail[] = {0, 0, 0xff, 0xff};

            CU_ASSERT_EQUAL_FATAL(deflater_message(d, m, true, &packed), WEFT_OK);
            if (packed) {
                z.next_in = packed->payload;
                z.avail_in = packed->bytes;
                z.next_out = out;
                z.avail_out = sizeof out;
                CU_ASSERT_EQUAL(inflate(&z, Z_SYNC_FLUSH), Z_OK);
                z.next_in = tail;
                z.avail_in = 4;
                CU_ASSERT_EQUAL(inflate(&z, Z_SYNC_FLUSH), Z_OK);
                CU_ASSERT_EQUAL(sizeof out - z.avail_out, m->bytes);
                CU_ASSERT_EQUAL(memcmp(out, m->payload, m->bytes), 0);
                weft_msg_unref(packed);
            }
            weft_msg_unref(m);
        }
        inflateEnd(&z);
        deflater_free(d);
    }
}

/* n bytes compressed by zlib, the tail taken off. */
static size_t zlib_pack(z_stream *z, const uint8_t *p, size_t n, int flush, uint8_t *out, size_t room)
{
    z->next_in = (uint8_t *)p;
    z->avail_in = (unsigned)n;
    z->next_out = out;
    z->avail_out = (unsigned)room;
    deflate(z, flush);
    if (!z->avail_out)
        abort();
    return room - z->avail_out - (flush == Z_SYNC_FLUSH && room > z->avail_out ? 4 : 0);
}

static void we_read_what_zlib_writes(void)
{
    static const int strategies[] = {Z_DEFAULT_STRATEGY, Z_FILTERED, Z_HUFFMAN_ONLY, Z_RLE, Z_FIXED};
    static uint8_t packed[100000];
    uint32_t random = 4;

    for (unsigned n = 0; n < 7 * 10 * 5; n++) {
        int bits = 9 + (int)(n % 7), level = (int)(n / 7 % 10), mem_level = 1 + (int)(n % 9);
        struct inflater *in = inflater((unsigned)bits);
        z_stream z = {0};

        CU_ASSERT_EQUAL_FATAL(deflateInit2(&z, level, Z_DEFLATED, -bits, mem_level, strategies[n / 70]),
                              Z_OK);
        for (unsigned i = 0; i < 12; i++) {
            weft_msg *m = content((enum content)(i % CONTENTS), wire_random(&random) % 30000, &random);
            size_t bytes = zlib_pack(&z, m->payload, m->bytes, Z_SYNC_FLUSH, packed, sizeof packed);

            CU_ASSERT(bytes <= deflate_bytes_max(m->bytes));
            CU_ASSERT(inflates_to(in, packed, bytes, (char *)m->payload, m->bytes));
            weft_msg_unref(m);
        }
        deflateEnd(&z);
        inflater_free(in);
    }
}

/* --- by the book --- */

static void the_examples_of_the_rfc_are_read(void)
{
    struct inflater *z = inflater(15);

    INFLATES(z, "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello");                         /* 7.2.3.1 */
    INFLATES(z, "\xf2\x00\x11\x00\x00", "Hello");                                 /* 7.2.3.2, taken over */
    INFLATES(z, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello");         /* 7.2.3.3, stored */
    INFLATES(z, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello");                     /* 7.2.3.4, BFINAL */
    INFLATES(z, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello"); /* 7.2.3.5, two blocks */
    INFLATES(z, "\x00", "");                                                      /* 7.2.3.6, empty */
    INFLATES(z, "", "");                          /* what some peers make of an empty one */
    INFLATES(z, "\xf2\x00\x11\x00\x00", "Hello"); /* and the window is still there */
    inflater_free(z);
}

static void we_write_hello_as_the_rfc_does(void)
{
    static const char text[] = "HelloHelloHelloHello";
    struct deflater *d = deflater(12);
    weft_msg *m = msg_with(WEFT_TEXT, text, 20, false), *packed;

    CU_ASSERT_EQUAL(deflater_message(d, m, true, &packed), WEFT_OK);
    CU_ASSERT_PTR_NOT_NULL_FATAL(packed);
    CU_ASSERT_EQUAL(msg_frame(packed)[0], 0xc1);
    CU_ASSERT_EQUAL(memcmp(packed->payload, "\xf2\x48\xcd\xc9\xc9", 5), 0);
    CU_ASSERT_EQUAL(packed->payload[packed->bytes - 1], 0x00);
    weft_msg_unref(packed);
    weft_msg_unref(m);
    deflater_free(d);
}

static void blocks_with_bfinal_may_come_one_behind_the_other(void)
{
    struct inflater *z = inflater(12);

    INFLATES(z, "\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "HelloHello");
    INFLATES(z, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello"); /* the next message begins as any */
    INFLATES(z, "\xf3\x48\xcd\xc9\xc9\x07\x00", "Hello");     /* without the byte behind it */
    INFLATES(z, "\xf2\x00\x11\x00\x00", "Hello");
    INFLATES(z, "\xf3\x48\xcd\xc9\xc9\x07\x00\xf2\x48\xcd\xc9\xc9\x07\x00", "HelloHello");
    INFLATES(z, "\x01", ""); /* an empty stored block with BFINAL, completed by the tail */
    INFLATES(z, "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello");
    inflater_free(z);
}

static void empty_blocks_are_allowed_anywhere(void)
{
    struct inflater *z = inflater(9);
    uint8_t many[5 * 1000 + 7];

    for (size_t i = 0; i < 1000; i++)
        memcpy(many + 5 * i, "\x00\x00\x00\xff\xff", 5);
    memcpy(many + 5000, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7);
    CU_ASSERT(inflates_to(z, many, sizeof many, "Hello", 5));
    INFLATES(z, "\x02\x00\x00\x00\xff\xff\x00", ""); /* fixed, then stored */
    INFLATES(z, "\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff\x00\x00\x00\xff\xff\x00", "Hello");
    inflater_free(z);
}

static void what_is_wrong_is_refused(void)
{
    static const struct {
        const char *bytes;
        size_t n;
    } wrong[] = {
        {"\xff", 1}, /* a reserved kind of block */
        {"\x06", 1},
        {"\x00\x05\x00\x05\x00Hello\x00", 11}, /* a stored length that is not confirmed */
        {"\x00\x05\x00\xfa\xffHel", 8},  /* a stored block that is cut, and completed wrongly by the tail */
        {"\xf2\x48\xcd\xc9\xc9\x07", 6}, /* without the last byte */
        {"\xf2\x48\xcd", 3},
        {"\xf2\x00\x11\x00\x00", 5},                          /* refers to an earlier message */
        {"\xf3\x48\xcd\xc9\xc9\x07\x00\xff", 8},              /* garbage behind BFINAL */
        {"\xf2\x48\xcd\xc9\xc9\x07\x00\x00\x00\xff\xff", 11}, /* the tail was sent, too */
        {"garbage", 7},
        {"\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 15}, /* codes that cannot be */
    };
    const char *reason = NULL;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        int rc = fails_with(15, wrong[i].bytes, wrong[i].n);
        CU_ASSERT_EQUAL(rc, WEFT_E_PROTOCOL);
        if (rc != WEFT_E_PROTOCOL)
            printf("wrong[%zu]: %d\n", i, rc);
    }
    CU_ASSERT_EQUAL(inflater_close_code(WEFT_E_PROTOCOL, &reason), 1007);
    CU_ASSERT_EQUAL(inflater_close_code(WEFT_E_UTF8, &reason), 1007);
    CU_ASSERT_EQUAL(inflater_close_code(WEFT_E_TOO_BIG, &reason), 1009);
    CU_ASSERT_EQUAL(inflater_close_code(WEFT_E_NOMEM, &reason), 1011);
    CU_ASSERT_PTR_NOT_NULL(reason);
}

/* Bits as deflate packs them; codes are written from their first bit. */
struct bits {
    uint8_t bytes[64];
    unsigned count;
};

static void put_bits(struct bits *b, unsigned value, unsigned n)
{
    for (unsigned i = 0; i < n; i++, b->count++)
        b->bytes[b->count / 8] |= (uint8_t)((value >> i & 1) << b->count % 8);
}

/* How many symbols have no code, in steps that the code 18 can say. */
static void put_gap(struct bits *b, unsigned n)
{
    for (; n >= 11; n -= n > 138 ? 138 : n) {
        put_bits(b, 2, 2); /* 18, "01" */
        put_bits(b, (n > 138 ? 138 : n) - 11, 7);
    }
}

/* A block whose end is nine bits of 1, so that the tail's own bits end it, in the middle of its last byte. */
static void the_tail_may_not_end_a_block_inside_a_byte(void)
{
    static const uint8_t order[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1};
    struct bits b = {.count = 0};

    put_bits(&b, 2 << 1, 3); /* not the last, codes of its own */
    put_bits(&b, 0, 5);      /* 257 symbols */
    put_bits(&b, 0, 5);      /* one distance */
    put_bits(&b, sizeof order - 4, 4);
    /* The lengths 1 to 8 have codes of 4 bits, 9 and 18 of 2. */
    for (unsigned i = 0; i < sizeof order; i++)
        put_bits(&b, order[i] == 18 || order[i] == 9 ? 2 : order[i] >= 1 && order[i] <= 8 ? 4 : 0, 3);
    put_gap(&b, 97 - 0);
    for (unsigned length = 1; length <= 8; length++) { /* "a" to "h": 0, 10, 110 .. */
        static const uint8_t reversed[] = {0x1, 0x9, 0x5, 0xd, 0x3, 0xb, 0x7, 0xf};
        put_bits(&b, reversed[length - 1], 4);
    }
    put_bits(&b, 0, 2); /* "i" has 9 bits */
    put_gap(&b, 256 - 106);
    put_bits(&b, 0, 2);                     /* the end has 9 bits, all of them 1 */
    put_bits(&b, 1, 4);                     /* one distance, unused */
    put_bits(&b, 0, (8 - b.count % 8) % 8); /* "a" to the end of the byte */
    CU_ASSERT_EQUAL(fails_with(15, b.bytes, b.count / 8), WEFT_E_PROTOCOL);
    /* It is right but for that: "a", the end, and an empty block. */
    put_bits(&b, 0x1ff << 1, 10);
    put_bits(&b, 0, 3 + (8 - (b.count + 3) % 8) % 8);
    CU_ASSERT_EQUAL(fails_with(15, b.bytes, b.count / 8), WEFT_OK);
}

static void behind_a_reset_nothing_earlier_is_known(void)
{
    struct inflater *z = inflater(12);
    weft_msg *out = NULL;

    INFLATES(z, "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello");
    inflater_reset(z, 12);
    CU_ASSERT_EQUAL(inflate_bytes(z, "\xf2\x00\x11\x00\x00", 5, MIB, &out), WEFT_E_PROTOCOL);
    inflater_reset(z, 15); /* also behind a failure, and to another window */
    INFLATES(z, "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello");
    CU_ASSERT_EQUAL(inflater_window_bits(z), 15);
    inflater_reset(z, 8);
    INFLATES(z, "\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello");
    inflater_free(z);
}

/* Whoever promises a window of 256 bytes is read, whether zlib makes 512 of it or not. */
static void a_window_of_8_is_read(void)
{
    uint32_t random = 5;
    struct inflater *in = inflater(8);
    uint8_t packed[8192];
    z_stream z = {0};

    CU_ASSERT_EQUAL_FATAL(deflateInit2(&z, 9, Z_DEFLATED, -9, 9, Z_DEFAULT_STRATEGY), Z_OK);
    for (int i = 0; i < 50; i++) {
        weft_msg *m = content(JSON, 3000, &random);
        size_t n = zlib_pack(&z, m->payload, m->bytes, Z_SYNC_FLUSH, packed, sizeof packed);
        CU_ASSERT(inflates_to(in, packed, n, (char *)m->payload, m->bytes));
        weft_msg_unref(m);
    }
    deflateEnd(&z);
    inflater_free(in);
}

static void text_is_checked_behind_inflating(void)
{
    static const struct {
        const char *text;
        int rc;
    } texts[] = {
        {"gr\xc3\xbc\xc3\x9f", WEFT_OK}, {"gr\xc3", WEFT_E_UTF8}, {"\xff", WEFT_E_UTF8}, {"", WEFT_OK}};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t n = strlen(texts[i].text);
        uint8_t stored[32] = {0, (uint8_t)n, 0, (uint8_t)~n, 0xff};
        struct inflater *z = inflater(12);
        weft_msg *m, *out = NULL;

        memcpy(stored + 5, texts[i].text, n);
        m = msg_with(WEFT_TEXT, stored, 5 + n + 1, true); /* and 00 */
        CU_ASSERT_EQUAL(inflater_message(z, m, 100, &out), texts[i].rc);
        weft_msg_unref(out);
        weft_msg_unref(m);
        CU_ASSERT(inflates_to(z, stored, 5 + n + 1, texts[i].text, n)); /* binary may be anything */
        inflater_free(z);
    }
}

/* --- what does not get smaller --- */

static void noise_goes_plain_without_takeover(void)
{
    struct deflater *d = deflater(12);
    uint32_t random = 6;

    for (size_t n = 1; n < 100000; n += 1 + n / 3) {
        weft_msg *m = content(NOISE, n, &random), *packed = m;
        CU_ASSERT_EQUAL(deflater_message(d, m, false, &packed), WEFT_OK);
        CU_ASSERT_PTR_NULL(packed);
        weft_msg_unref(m);
        deflater_reset(d);
    }
    deflater_free(d);
}

/* Noise between text: the context is kept or lost, but both sides agree. */
static void noise_does_not_part_compressor_and_peer(void)
{
    unsigned plain = 0, longer = 0, wrong = 0;
    uint32_t random = 7;

    for (unsigned bits = 9; bits <= 15; bits++) {
        struct deflater *d = deflater(bits);
        struct inflater *z = inflater(bits);

        for (int i = 0; i < 200; i++) {
            size_t n = 1 + wire_random(&random) % (i % 5 ? 300 : 40000);
            weft_msg *m = content(i % 2 ? NOISE : JSON, n, &random), *packed, *back;

            wrong += deflater_message(d, m, true, &packed) != WEFT_OK;
            if (packed) {
                longer += packed->bytes >= m->bytes;
                wrong += packed->bytes >= m->bytes && m->bytes >= 1u << bits;
                wrong += inflater_message(z, packed, MIB, &back) != WEFT_OK || !same_message(m, back);
                weft_msg_unref(back);
                weft_msg_unref(packed);
            } else {
                plain++;
                wrong += m->bytes < 1u << bits;
            }
            weft_msg_unref(m);
        }
        deflater_free(d);
        inflater_free(z);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(plain > 20);
    CU_ASSERT(longer > 20);
}

static void the_worst_case_is_within_its_bound(void)
{
    uint32_t random = 8;

    for (unsigned n = 0; n < 7 * 9; n++) {
        unsigned bits = 9 + n % 7, mem_level = 1 + n / 7;
        struct deflater *d = deflater_new(bits, 1 + n % 9, mem_level);

        CU_ASSERT_PTR_NOT_NULL_FATAL(d);
        for (size_t bytes = 1; bytes < 1u << bits; bytes += 1 + bytes / 2) {
            weft_msg *m = content(n % 2 ? NOISE : HIGH_NOISE, bytes, &random), *packed = NULL;
            CU_ASSERT_EQUAL(deflater_message(d, m, true, &packed), WEFT_OK);
            CU_ASSERT_PTR_NOT_NULL_FATAL(packed); /* it did not run out of its bound */
            weft_msg_unref(packed);
            weft_msg_unref(m);
        }
        deflater_free(d);
    }
}

/* --- limits --- */

static void exactly_the_limit_passes_and_one_byte_more_does_not(void)
{
    static const size_t limits[] = {0,    1,     2,     257,   258,   259,     8191,    8192,
                                    8193, 32767, 32768, 32769, 65536, 1000000, MIB - 1, MIB};
    uint32_t random = 9;

    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        for (int what = 0; what < CONTENTS; what++) {
            uint8_t *packed = malloc(2 * MIB);
            weft_msg *m = content((enum content)what, limits[i] + 1, &random), *out = NULL;
            struct inflater *z = inflater(15);
            z_stream zlib = {0};
            size_t n;

            CU_ASSERT_EQUAL_FATAL(deflateInit2(&zlib, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
            n = zlib_pack(&zlib, m->payload, limits[i], Z_SYNC_FLUSH, packed, 2 * MIB);
            CU_ASSERT_EQUAL(inflate_bytes(z, packed, n, limits[i], &out), WEFT_OK);
            CU_ASSERT_EQUAL_FATAL(out->bytes, limits[i]);
            CU_ASSERT_EQUAL(memcmp(out->payload, m->payload, limits[i]), 0);
            weft_msg_unref(out);
            deflateReset(&zlib);
            inflater_reset(z, 15);
            n = zlib_pack(&zlib, m->payload, limits[i] + 1, Z_SYNC_FLUSH, packed, 2 * MIB);
            CU_ASSERT_EQUAL(inflate_bytes(z, packed, n, limits[i], &out), WEFT_E_TOO_BIG);
            deflateEnd(&zlib);
            inflater_free(z);
            weft_msg_unref(m);
            free(packed);
        }
    }
}

/* 64 MiB of zeros in 64 KiB, and that once more compressed. */
static size_t make_bomb(uint8_t *bomb, size_t room, uint8_t *nested, size_t *nested_bytes)
{
    static uint8_t zeros[MIB];
    z_stream z = {0};
    size_t n = 0;

    if (deflateInit2(&z, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    for (int i = 0; i < 63; i++)
        n += zlib_pack(&z, zeros, MIB, Z_NO_FLUSH, bomb + n, room - n);
    n += zlib_pack(&z, zeros, MIB, Z_SYNC_FLUSH, bomb + n, room - n);
    deflateReset(&z);
    *nested_bytes = zlib_pack(&z, bomb, n, Z_SYNC_FLUSH, nested, room);
    deflateEnd(&z);
    return n;
}

static unsigned allocations_of(struct inflater *z, const uint8_t *p, size_t n, size_t bytes_max)
{
    for (unsigned count = 1;; count++) {
        weft_msg *m = msg_with(WEFT_BINARY, p, n, true), *out = NULL;
        bool happened;

        inflater_reset(z, 15);
        mem_fail_at(count);
        inflater_message(z, m, bytes_max, &out);
        happened = mem_fail_happened();
        mem_fail_at(0);
        weft_msg_unref(out);
        weft_msg_unref(m);
        if (!happened)
            return count - 1;
    }
}

static void a_bomb_costs_its_limit_and_no_more(void)
{
    static uint8_t bomb[128 * KIB], nested[128 * KIB], out[MIB + 1];
    struct inflater *z = inflater(15);
    size_t nested_bytes, n = make_bomb(bomb, sizeof bomb, nested, &nested_bytes), used, made;
    weft_msg *m = NULL;

    CU_ASSERT(n < 80 * KIB);
    CU_ASSERT(nested_bytes < KIB);
    CU_ASSERT_EQUAL(inflate_bytes(z, bomb, n, MIB, &m), WEFT_E_TOO_BIG);
    CU_ASSERT_PTR_NULL(m);
    /* It grows by doubling: 8 KiB on the stack, then from four times the length. */
    CU_ASSERT(allocations_of(z, bomb, n, MIB) <= 4);
    CU_ASSERT(inflater_bytes(z) < 48 * KIB);
    /* No more is read of it than makes the limit. */
    inflater_reset(z, 15);
    CU_ASSERT_EQUAL(inflater_feed(z, bomb, n, true, &used, out, sizeof out, &made), INFLATER_FULL);
    CU_ASSERT_EQUAL(made, MIB + 1);
    CU_ASSERT(used < 2 * KIB);
    /* A bomb inside is data like any. */
    inflater_reset(z, 15);
    CU_ASSERT(inflates_to(z, nested, nested_bytes, (char *)bomb, n));
    inflater_free(z);
}

/* --- part by part --- */

struct reading {
    uint8_t bytes[70000];
    size_t n;
    enum inflater_result result;
};

/* In pieces of in_max bytes, to places of out_max bytes. */
static void read_parts(struct inflater *z, const uint8_t *p, size_t n, size_t in_max, size_t out_max,
                       struct reading *r)
{
    size_t used, made;

    r->n = 0;
    do {
        size_t piece = n < in_max ? n : in_max, room = sizeof r->bytes - r->n;
        uint8_t *copy = malloc(piece ? piece : 1);

        if (!copy || !room)
            abort();
        if (piece)
            memcpy(copy, p, piece);
        room = room < out_max ? room : out_max;
        r->result = inflater_feed(z, copy, piece, piece == n, &used, r->bytes + r->n, room, &made);
        free(copy);
        if (used > piece || made > room || (r->result == INFLATER_MORE && (used != piece || piece == n)) ||
            (r->result == INFLATER_FULL && made != room))
            abort();
        p += used;
        n -= used;
        r->n += made;
    } while (r->result == INFLATER_MORE || (r->result == INFLATER_FULL && r->n < sizeof r->bytes));
}

static struct reading whole, parts;

static bool parts_are_alike(const uint8_t *p, size_t n, unsigned messages)
{
    static const size_t sizes[][2] = {{1, 70000}, {70000, 1}, {1, 1}, {3, 2}, {100, 300}};
    bool is_right = true;

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct inflater *a = inflater(12), *b = inflater(12);
        for (unsigned k = 0; k < messages; k++) {
            read_parts(a, p, n, SIZE_MAX, SIZE_MAX, &whole);
            read_parts(b, p, n, sizes[i][0], sizes[i][1], &parts);
            is_right &= whole.result == parts.result;
            is_right &= whole.result != INFLATER_END || whole.n == parts.n;
            is_right &= memcmp(whole.bytes, parts.bytes, whole.n < parts.n ? whole.n : parts.n) == 0;
            if (whole.result != INFLATER_END)
                break;
        }
        inflater_free(a);
        inflater_free(b);
    }
    return is_right;
}

static void parts_of_any_size_give_the_same(void)
{
    static const struct {
        const char *bytes;
        size_t n;
    } books[] = {{"\xf2\x48\xcd\xc9\xc9\x07\x00", 7},
                 {"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8},
                 {"\xf3\x48\xcd\xc9\xc9\x07\x00", 7},
                 {"\x00", 1},
                 {"", 0},
                 {"\x01", 1},
                 {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13}};
    uint32_t random = 10;

    for (size_t i = 0; i < sizeof books / sizeof books[0]; i++)
        CU_ASSERT(parts_are_alike((const uint8_t *)books[i].bytes, books[i].n, 3));
    for (unsigned i = 0; i < 12; i++) {
        struct deflater *d = deflater(12);
        weft_msg *m = content((enum content)(i % CONTENTS), 3000, &random), *packed;

        CU_ASSERT_EQUAL(deflater_message(d, m, true, &packed), WEFT_OK);
        CU_ASSERT_PTR_NOT_NULL_FATAL(packed);
        CU_ASSERT(parts_are_alike(packed->payload, packed->bytes, 2));
        CU_ASSERT_EQUAL(whole.result, INFLATER_END);
        CU_ASSERT_EQUAL(whole.n, 3000);
        weft_msg_unref(packed);
        weft_msg_unref(m);
        deflater_free(d);
    }
}

/* --- garbage --- */

static void no_beginning_of_a_message_passes_for_one(void)
{
    uint32_t random = 11;
    weft_msg *m = content(JSON, 2000, &random), *packed;
    struct deflater *d = deflater(12);
    unsigned passed = 0;

    CU_ASSERT_EQUAL(deflater_message(d, m, false, &packed), WEFT_OK);
    CU_ASSERT_PTR_NOT_NULL_FATAL(packed);
    for (size_t n = 1; n < packed->bytes; n++)
        passed += fails_with(12, packed->payload, n) != WEFT_E_PROTOCOL;
    CU_ASSERT_EQUAL(passed, 0);
    weft_msg_unref(packed);
    weft_msg_unref(m);
    deflater_free(d);
}

static void mutate(uint8_t *p, size_t *n, uint32_t *random)
{
    for (unsigned k = 1 + wire_random(random) % 4; k; k--) {
        size_t at = wire_random(random) % *n;
        switch (wire_random(random) % 4) {
        case 0:
            p[at] ^= (uint8_t)(1u << wire_random(random) % 8);
            break;
        case 1:
            p[at] = (uint8_t)wire_random(random);
            break;
        case 2:
            *n = at + 1;
            break;
        default:
            memmove(p + at, p + at / 2, *n - at);
        }
    }
}

static void garbage_never_does_more_than_fail(void)
{
    unsigned rounds = unit_is_slow() ? 2000 : 20000, counts[3] = {0}, wrong = 0;
    uint32_t random = 12;

    for (unsigned i = 0; i < rounds; i++) {
        weft_msg *m = content((enum content)(i % CONTENTS), 1 + wire_random(&random) % 500, &random),
                 *out = NULL;
        struct inflater *z = inflater(9 + i % 7);
        uint8_t bytes[2048];
        z_stream zlib = {0};
        size_t n;
        int rc;

        CU_ASSERT_EQUAL_FATAL(deflateInit2(&zlib, 1 + i % 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
        n = zlib_pack(&zlib, m->payload, m->bytes, i % 3 ? Z_SYNC_FLUSH : Z_FINISH, bytes, sizeof bytes);
        mutate(bytes, &n, &random);
        if (i % 10 == 0)
            for (size_t k = 0; k < n; k++)
                bytes[k] = (uint8_t)wire_random(&random);
        rc = inflate_bytes(z, bytes, n, 400, &out);
        if (rc == WEFT_OK)
            wrong += out->bytes > 400;
        else
            wrong += out != NULL || (rc != WEFT_E_PROTOCOL && rc != WEFT_E_TOO_BIG);
        counts[rc == WEFT_OK ? 0 : rc == WEFT_E_TOO_BIG ? 1 : 2]++;
        wrong += i % 20 == 0 && !parts_are_alike(bytes, n, 1);
        weft_msg_unref(out);
        weft_msg_unref(m);
        deflateEnd(&zlib);
        inflater_free(z);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(counts[0] > rounds / 50);
    CU_ASSERT(counts[1] > rounds / 2000);
    CU_ASSERT(counts[2] > rounds / 3);
}

/* --- memory --- */

static void what_they_hold_is_counted(void)
{
    struct deflater *d = deflater(12);
    struct inflater *z = inflater(12);
    uint32_t random = 13;
    weft_msg *m = content(JSON, 1000, &random);
    size_t small;

    CU_ASSERT(comes_through(d, z, m, true, 12));
    CU_ASSERT(deflater_bytes(d) + inflater_bytes(z) <= 50 * KIB); /* the promise for a connection */
    CU_ASSERT(deflater_bytes(d) > 32 * KIB && inflater_bytes(z) > 4 * KIB);
    small = inflater_bytes(z);
    inflater_reset(z, 15);
    CU_ASSERT(comes_through(d, z, m, false, 15));
    CU_ASSERT_EQUAL(inflater_bytes(z), small + 32 * KIB - 4 * KIB);
    weft_msg_unref(m);
    deflater_free(d);
    inflater_free(z);
    deflater_free(NULL);
    inflater_free(NULL);
}

static bool all_goes_well(const weft_msg *m)
{
    struct deflater *d = deflater_new(12, LEVEL, MEM_LEVEL);
    struct inflater *z = inflater_new(12);
    weft_msg *packed = NULL, *back = NULL;
    bool is_right = d && z && deflater_message(d, m, true, &packed) == WEFT_OK &&
                    inflater_message(z, packed, MIB, &back) == WEFT_OK && same_message(back, m);

    weft_msg_unref(back);
    weft_msg_unref(packed);
    inflater_free(z);
    deflater_free(d);
    return is_right;
}

static void every_allocation_may_fail_and_nothing_leaks(void)
{
    uint32_t random = 14;
    weft_msg *m = content(JSON, 300000, &random);
    uint64_t n;

    mem_count_live(true);
    for (n = 1;; n++) {
        int64_t before = mem_live_blocks();
        bool went_well, happened;

        mem_fail_at(n);
        went_well = all_goes_well(m);
        happened = mem_fail_happened();
        mem_fail_at(0);
        CU_ASSERT_EQUAL(mem_live_blocks(), before);
        CU_ASSERT_NOT_EQUAL(went_well, happened);
        if (!happened)
            break;
    }
    mem_count_live(false);
    CU_ASSERT(n > 10);
    weft_msg_unref(m);
}

/* Both sides still agree behind a message for which there was no memory, and which went plain. */
static void a_compressor_without_memory_goes_on_with_the_next(void)
{
    uint32_t random = 15;
    weft_msg *large = content(JSON, 200000, &random), *small = content(JSON, 1000, &random), *packed = small;
    struct deflater *d = deflater(12);
    struct inflater *z = inflater(12);

    CU_ASSERT(comes_through(d, z, small, true, 12));
    mem_fail_at(1);
    CU_ASSERT_EQUAL(deflater_message(d, large, true, &packed), WEFT_E_NOMEM);
    mem_fail_at(0);
    CU_ASSERT_PTR_NULL(packed);
    CU_ASSERT(comes_through(d, z, small, true, 12));
    CU_ASSERT(comes_through(d, z, large, true, 12));
    weft_msg_unref(small);
    weft_msg_unref(large);
    deflater_free(d);
    inflater_free(z);
}

/* The last block's end is found only once there is room for all before it, when the payload is long taken. */
static void a_last_block_ends_the_message_whatever_the_room(void)
{
    static const uint8_t zeros[1000];
    uint8_t packed[64], out[sizeof zeros];
    z_stream deflating = {0};
    size_t n;

    CU_ASSERT_EQUAL_FATAL(deflateInit2(&deflating, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY), Z_OK);
    n = zlib_pack(&deflating, zeros, sizeof zeros, Z_FINISH, packed, sizeof packed);
    deflateEnd(&deflating);
    for (size_t room = 1; room < 300; room++) {
        struct inflater *z = inflater(15);
        size_t at = 0, total = 0, used, made;
        enum inflater_result r;

        do {
            r = inflater_feed(z, packed + at, n - at, true, &used, out, room, &made);
            at += used;
            total += made;
        } while (r == INFLATER_FULL);
        CU_ASSERT_EQUAL(r, INFLATER_END);
        CU_ASSERT_EQUAL(total, sizeof zeros);
        inflater_free(z);
    }
}

static const struct unit_case cases[] = {
    CASE(messages_come_through_all_windows_and_takeovers),
    CASE(a_mebibyte_comes_through),
    CASE(zlib_reads_what_we_write),
    CASE(we_read_what_zlib_writes),
    CASE(the_examples_of_the_rfc_are_read),
    CASE(we_write_hello_as_the_rfc_does),
    CASE(blocks_with_bfinal_may_come_one_behind_the_other),
    CASE(empty_blocks_are_allowed_anywhere),
    CASE(what_is_wrong_is_refused),
    CASE(the_tail_may_not_end_a_block_inside_a_byte),
    CASE(behind_a_reset_nothing_earlier_is_known),
    CASE(a_window_of_8_is_read),
    CASE(text_is_checked_behind_inflating),
    CASE(noise_goes_plain_without_takeover),
    CASE(noise_does_not_part_compressor_and_peer),
    CASE(the_worst_case_is_within_its_bound),
    CASE(exactly_the_limit_passes_and_one_byte_more_does_not),
    CASE(a_bomb_costs_its_limit_and_no_more),
    CASE(parts_of_any_size_give_the_same),
    CASE(no_beginning_of_a_message_passes_for_one),
    CASE(a_last_block_ends_the_message_whatever_the_room),
    CASE(garbage_never_does_more_than_fail),
    CASE(what_they_hold_is_counted),
    CASE(every_allocation_may_fail_and_nothing_leaks),
    CASE(a_compressor_without_memory_goes_on_with_the_next),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "deflate", cases, sizeof cases / sizeof cases[0]);
}
