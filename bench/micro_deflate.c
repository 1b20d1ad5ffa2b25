/* What does permessage-deflate cost, what does it save, and what does weft add to zlib?
 *
 * JSON-like messages of 1 KiB, window 2^12, memLevel 5, with weft's default and for the levels 1 to 6: microseconds to
 * compress a message and to inflate it, by zlib alone from buffer to buffer, and by weft from message to message, memory
 * for the result included; and the size left in per cent. With context takeover the window reaches back over
 * earlier messages; without, each message begins anew, and a context is borrowed for it. Figures are the best
 * of ROUNDS rounds, in which all take turns. Then: what a connection with takeover keeps, in bytes; and how
 * long a message that was made to cost much takes until it is inflated or refused, with BOMB_BYTES allowed
 * (decision 13).
 *
 * usage: micro_deflate [--json] */
#include "micro.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"
#include "core/squeeze.h"

enum { ROUNDS = 15, MESSAGES = 256, BYTES = 1024, OUT_BYTES = 2 * BYTES, WINDOW_BITS = 12, MEM_LEVEL = 5 };
enum { COLUMNS = 7 }; /* the default, which is not zlib's where there is ISA-L, and six levels of zlib's */

static char messages[MESSAGES][BYTES + 256];
static unsigned char packed[MESSAGES][OUT_BYTES], unpacked[OUT_BYTES];
static size_t packed_bytes[MESSAGES];
static weft_msg *plain[MESSAGES];

static uint32_t pick(uint32_t *seed, uint32_t below)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % below;
}

/* Like what a chat or a market feed sends: the same keys, other values. */
static void write_message(char *out, uint32_t *seed)
{
    static const char *const names[] = {"alice", "bob", "carol", "dave", "erin", "frank"};
    static const char *const words[] = {"warp", "weft", "thread", "loom",   "shuttle",
                                        "the",  "a",    "holds",  "crosses"};
    size_t n = (size_t)sprintf(out, "{\"room\":\"%u\",\"lines\":[", pick(seed, 50));

    while (n < BYTES) {
        n += (size_t)sprintf(out + n, "{\"id\":%u,\"from\":\"%s\",\"at\":%u,\"text\":\"%s %s %s %s\"},",
                             pick(seed, 1000000), names[pick(seed, 6)], 1700000000u + pick(seed, 100000000),
                             words[pick(seed, 9)], words[pick(seed, 9)], words[pick(seed, 9)],
                             words[pick(seed, 9)]);
    }
}

static void check(int result, int wanted)
{
    if (result != wanted) {
        fprintf(stderr, "micro_deflate: zlib answers %d\n", result);
        exit(1);
    }
}

static double deflate_all_us(z_stream *z, bool takeover)
{
    double start = micro_now_ns();

    for (int i = 0; i < MESSAGES; i++) {
        if (!takeover)
            check(deflateReset(z), Z_OK);
        z->next_in = (unsigned char *)messages[i];
        z->avail_in = BYTES;
        z->next_out = packed[i];
        z->avail_out = OUT_BYTES;
        check(deflate(z, Z_SYNC_FLUSH), Z_OK);
        packed_bytes[i] = OUT_BYTES - z->avail_out;
    }
    return (micro_now_ns() - start) / MESSAGES / 1000;
}

static double inflate_all_us(z_stream *z, bool takeover)
{
    double start = micro_now_ns();

    for (int i = 0; i < MESSAGES; i++) {
        if (!takeover)
            check(inflateReset(z), Z_OK);
        z->next_in = packed[i];
        z->avail_in = (unsigned)packed_bytes[i];
        z->next_out = unpacked;
        z->avail_out = OUT_BYTES;
        check(inflate(z, Z_SYNC_FLUSH), Z_OK);
        if (OUT_BYTES - z->avail_out != BYTES || memcmp(unpacked, messages[i], BYTES) != 0)
            check(Z_DATA_ERROR, Z_OK);
    }
    return (micro_now_ns() - start) / MESSAGES / 1000;
}

static double packed_percent(void)
{
    size_t total = 0;

    for (int i = 0; i < MESSAGES; i++)
        total += packed_bytes[i] - 4; /* the 00 00 ff ff at the end is not sent (RFC 7692 section 7.2.1) */
    return 100.0 * (double)total / (MESSAGES * BYTES);
}

/* --- the same by weft --- */

static double weft_percent(weft_msg *const *out)
{
    size_t total = 0;

    for (int i = 0; i < MESSAGES; i++)
        total += out[i]->bytes;
    return 100.0 * (double)total / (MESSAGES * BYTES);
}

static struct squeeze_conn conn_of(struct squeeze *s, bool takeover)
{
    struct deflate_params params = {WINDOW_BITS, WINDOW_BITS, takeover, takeover};
    struct squeeze_conn c;

    squeeze_conn_init(&c, s, &params);
    return c;
}

static double squeeze_all_us(struct squeeze_conn *c, weft_msg **out)
{
    double start = micro_now_ns();

    for (int i = 0; i < MESSAGES; i++)
        out[i] = squeeze_out(c, plain[i]);
    return (micro_now_ns() - start) / MESSAGES / 1000;
}

static double unsqueeze_all_us(struct squeeze_conn *c, weft_msg **in)
{
    double start = micro_now_ns(), ns;

    for (int i = 0; i < MESSAGES; i++) {
        weft_msg *m;
        check(squeeze_in(c, in[i], BYTES, &m), WEFT_OK);
        if (m->bytes != BYTES || memcmp(m->payload, messages[i], BYTES) != 0)
            check(Z_DATA_ERROR, Z_OK);
        weft_msg_unref(m);
    }
    ns = micro_now_ns() - start;
    for (int i = 0; i < MESSAGES; i++)
        weft_msg_unref(in[i]);
    return ns / MESSAGES / 1000;
}

/* What each connection adds behind the first, which also fills the shelf. */
static double kept_bytes(void)
{
    enum { COUNT = 11 };
    static struct squeeze shared;
    struct squeeze_conn from[COUNT], to[COUNT];
    size_t first = 0, all;

    squeeze_init(&shared, &(struct squeeze_opts){.mem_level = MEM_LEVEL});
    for (int i = 0; i < COUNT; i++) {
        weft_msg *sent, *got;
        from[i] = conn_of(&shared, true);
        to[i] = conn_of(&shared, true);
        sent = squeeze_out(&from[i], plain[i]);
        check(squeeze_in(&to[i], sent, BYTES, &got), WEFT_OK);
        weft_msg_unref(sent);
        weft_msg_unref(got);
        first = i ? first : squeeze_bytes(&shared);
    }
    all = squeeze_bytes(&shared);
    for (int i = 0; i < COUNT; i++) {
        squeeze_conn_fini(&from[i]);
        squeeze_conn_fini(&to[i]);
    }
    squeeze_fini(&shared);
    return (double)(all - first) / (COUNT - 1);
}

/* --- bombs --- */

#define BOMB_BYTES  ((size_t)1 << 20) /* what a message may have, before and behind inflating */
#define ZEROS_MIB   64
#define BOMB_ROUNDS 5

struct bits {
    unsigned char *out;
    size_t bits;
};

/* The lowest bit first. */
static void put_bits(struct bits *b, unsigned value, unsigned count)
{
    for (unsigned i = 0; i < count; i++, b->bits++)
        b->out[b->bits / 8] |= (unsigned char)((value >> i & 1) << b->bits % 8);
}

/* Huffman codes come with their highest bit first. */
static void put_code(struct bits *b, unsigned code, unsigned count)
{
    while (count-- > 0)
        put_bits(b, code >> count & 1, 1);
}

/* Two complete codes, for all 286 and all 30 symbols, and the end of the block. The lengths are 8 and 9, 4 and
 * 5; they are written in a code of two bits each. Source: RFC 1951 section 3.2.7 */
static void put_block_with_tables(struct bits *b)
{
    enum { LITERALS = 286, LONG_FROM = 226, DISTANCES = 30, SHORT_DISTANCES = 2, END = 256, LENGTHS = 12 };
    static const unsigned char has_code[LENGTHS] = {[4] = 2, [6] = 2, [9] = 2, [11] = 2}; /* of 8, 9, 5, 4 */

    put_bits(b, 0, 1);
    put_bits(b, 2, 2);
    put_bits(b, LITERALS - 257, 5);
    put_bits(b, DISTANCES - 1, 5);
    put_bits(b, LENGTHS - 4, 4);
    for (int i = 0; i < LENGTHS; i++)
        put_bits(b, has_code[i], 3);
    for (int i = 0; i < LITERALS; i++)
        put_code(b, i < LONG_FROM ? 2 : 3, 2);
    for (int i = 0; i < DISTANCES; i++)
        put_code(b, i < SHORT_DISTANCES ? 0 : 1, 2);
    put_code(b, 2 * LONG_FROM + END - LONG_FROM, 9);
}

static void put_fixed_block(struct bits *b)
{
    put_bits(b, 2, 3);
    put_code(b, 0, 7);
}

/* A stream that ends at once, and its last byte. */
static void put_end(struct bits *b)
{
    put_bits(b, 3, 3);
    put_code(b, 0, 7);
    b->bits = (b->bits + 7) / 8 * 8;
}

static void put_stored_block(struct bits *b)
{
    put_bits(b, 0, 3);
    b->bits = (b->bits + 7) / 8 * 8;
    put_bits(b, 0, 16);
    put_bits(b, 0xffff, 16);
}

/* As many as fit, and the beginning of the empty block whose end the receiver adds. */
static size_t fill(unsigned char *out, void (*put)(struct bits *b))
{
    struct bits b = {.out = out};
    size_t one;

    put(&b);
    for (one = b.bits; b.bits + one + 16 < 8 * BOMB_BYTES;)
        put(&b);
    put_bits(&b, 0, 3);
    return (b.bits + 7) / 8;
}

static size_t pack_zeros(unsigned char *out)
{
    static unsigned char zeros[1 << 20];
    z_stream z = {.next_out = out, .avail_out = (unsigned)BOMB_BYTES};

    check(deflateInit2(&z, 9, Z_DEFLATED, -WINDOW_BITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
    for (int i = 0; i < ZEROS_MIB; i++) {
        z.next_in = zeros;
        z.avail_in = sizeof zeros;
        check(deflate(&z, i < ZEROS_MIB - 1 ? Z_NO_FLUSH : Z_SYNC_FLUSH), Z_OK);
    }
    deflateEnd(&z);
    return BOMB_BYTES - z.avail_out - 4;
}

/* Milliseconds until it is taken, or refused. */
static double bomb_ms(const unsigned char *bomb, size_t n, int wanted)
{
    static struct squeeze shared;
    double best = INFINITY;
    weft_msg *m, *got;

    check(weft_msg_new(&m, WEFT_BINARY, bomb, n), WEFT_OK);
    squeeze_init(&shared, &(struct squeeze_opts){.mem_level = MEM_LEVEL});
    for (int i = 0; i < BOMB_ROUNDS; i++) {
        struct squeeze_conn c = conn_of(&shared, true);
        double start = micro_now_ns();
        check(squeeze_in(&c, m, BOMB_BYTES, &got), wanted);
        best = fmin(best, (micro_now_ns() - start) / 1e6);
        if (wanted == WEFT_OK) {
            check((int)got->bytes, 0);
            weft_msg_unref(got);
        }
        squeeze_conn_fini(&c);
    }
    squeeze_fini(&shared);
    weft_msg_unref(m);
    return best;
}

static void report_bombs(void)
{
    static const struct {
        const char *name;
        void (*put)(struct bits *b);
    } shapes[] = {
        {"empty stored blocks", put_stored_block},
        {"empty blocks, fixed codes", put_fixed_block},
        {"streams that end at once", put_end},
        {"blocks with own tables", put_block_with_tables},
    };
    static const char *const columns[] = {"ms"};
    static unsigned char bomb[BOMB_BYTES];
    double ms = bomb_ms(bomb, pack_zeros(bomb), WEFT_E_TOO_BIG);

    micro_table("A message that inflates to much or to nothing", "1 MiB is allowed, of both", columns, 1);
    micro_row("64 MiB of zeros", &ms);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        memset(bomb, 0, sizeof bomb);
        ms = bomb_ms(bomb, fill(bomb, shapes[i].put), WEFT_OK);
        micro_row(shapes[i].name, &ms);
    }
}

/* --- tables --- */

enum figure {
    ZLIB_DEFLATES,
    WEFT_DEFLATES,
    ZLIB_INFLATES,
    WEFT_INFLATES,
    ZLIB_PERCENT,
    WEFT_PERCENT,
    FIGURES
};

static void keep_best(double *best, double us)
{
    *best = fmin(*best, us);
}

static void measure_zlib(int level, bool takeover, double best[FIGURES][COLUMNS])
{
    z_stream out = {0}, in = {0};

    check(deflateInit2(&out, level, Z_DEFLATED, -WINDOW_BITS, MEM_LEVEL, Z_DEFAULT_STRATEGY), Z_OK);
    check(inflateInit2(&in, -WINDOW_BITS), Z_OK);
    deflate_all_us(&out, takeover); /* once, to warm up */
    inflate_all_us(&in, takeover);
    keep_best(&best[ZLIB_DEFLATES][level], deflate_all_us(&out, takeover));
    keep_best(&best[ZLIB_INFLATES][level], inflate_all_us(&in, takeover));
    best[ZLIB_PERCENT][level] = packed_percent();
    deflateEnd(&out);
    inflateEnd(&in);
}

static void measure_weft(int level, bool takeover, double best[FIGURES][COLUMNS])
{
    struct squeeze_opts opts = {.level = (uint8_t)level, .mem_level = MEM_LEVEL};
    static struct squeeze shared;
    static weft_msg *out[MESSAGES];
    struct squeeze_conn from, to;

    squeeze_init(&shared, &opts);
    from = conn_of(&shared, takeover);
    to = conn_of(&shared, takeover);
    squeeze_all_us(&from, out);
    best[WEFT_PERCENT][level] = weft_percent(out);
    unsqueeze_all_us(&to, out);
    keep_best(&best[WEFT_DEFLATES][level], squeeze_all_us(&from, out));
    keep_best(&best[WEFT_INFLATES][level], unsqueeze_all_us(&to, out));
    squeeze_conn_fini(&from);
    squeeze_conn_fini(&to);
    squeeze_fini(&shared);
}

static void report(const char *title, bool takeover)
{
    static const char *const columns[] = {"default", "level 1", "level 2", "level 3",
                                          "level 4", "level 5", "level 6"};
    static const char *const rows[] = {"zlib compresses, us",   "weft compresses, us",
                                       "zlib decompresses, us", "weft decompresses, us",
                                       "zlib leaves, %",        "weft leaves, %"};
    double best[FIGURES][COLUMNS];

    for (int f = 0; f < FIGURES; f++)
        for (int level = 0; level < COLUMNS; level++)
            best[f][level] = level || f == WEFT_DEFLATES || f == WEFT_INFLATES ? INFINITY : NAN;
    for (int round = 0; round < ROUNDS; round++) {
        for (int level = 0; level < COLUMNS; level++) {
            if (level)
                measure_zlib(level, takeover, best);
            measure_weft(level, takeover, best);
        }
    }
    micro_table(title, "a message of 1 KiB", columns, COLUMNS);
    for (int f = 0; f < FIGURES; f++)
        micro_row(rows[f], best[f]);
}

int main(int argc, char **argv)
{
    static const char *const columns[] = {"bytes"};
    uint32_t seed = 1;
    double kept;

    micro_begin(argc, argv, NULL);
    check(mem_pool_join(), WEFT_OK);
    thr_enter_worker();
    for (int i = 0; i < MESSAGES; i++) {
        write_message(messages[i], &seed);
        check(weft_msg_new(&plain[i], WEFT_BINARY, messages[i], BYTES), WEFT_OK);
    }
    report("Deflate with context takeover", true);
    report("Deflate without context takeover", false);
    kept = kept_bytes();
    micro_table("A connection keeps, with takeover on both sides", "compressor and inflater", columns, 1);
    micro_row("bytes", &kept);
    report_bombs();
    micro_end();
    thr_exit_worker();
    mem_pool_leave();
    return 0;
}
