/* Compressing and inflating: proto/deflate.c, with any bytes from the peer.
 *
 * Oracles
 *   - At once and part by part, however the input is cut and however little room there is, the same comes out,
 *     and the same failure.
 *   - Never more than the limit comes out.
 *   - Inflaters that are saved and restored between messages go on as if nothing had been.
 *   - What we compress, we inflate to what it was, message after message, with takeover or without. */
#include "fuzz.h"

#include "base/mem.h"
#include "base/msg.h"
#include "proto/deflate.h"
#include "weft/error.h"

#define OUTPUT_BYTES_MAX 20000u

static weft_msg *message_of(unsigned type, const uint8_t *p, size_t n, bool is_compressed)
{
    weft_msg *m = msg_alloc(type, n);

    MUST(m);
    if (n)
        memcpy(m->payload, p, n);
    m->is_compressed = is_compressed;
    msg_seal(m, n);
    return m;
}

/* --- the peer's bytes --- */

struct pieces {
    uint8_t out[OUTPUT_BYTES_MAX];
    size_t n;
};

/* As inflater_message, from the parts. */
static int inflate_parts(struct inflater *z, const uint8_t *p, size_t n, size_t bytes_max,
                         struct fuzz_cut cut, struct pieces *to)
{
    size_t at = 0, end = 0;

    to->n = 0;
    for (;;) {
        size_t used, made, room = fuzz_piece(&cut, sizeof to->out - to->n);
        enum inflater_result r;
        uint8_t *in;

        if (at == end && end < n)
            end += fuzz_piece(&cut, n - end);
        in = fuzz_copy(p + at, end - at);
        r = inflater_feed(z, in, end - at, end == n, &used, to->out + to->n, room, &made);
        free(in);
        MUST(used <= end - at && made <= room);
        at += used;
        to->n += made;
        if (r == INFLATER_BAD)
            return WEFT_E_PROTOCOL;
        if (to->n > bytes_max)
            return WEFT_E_TOO_BIG;
        if (r == INFLATER_END)
            return WEFT_OK;
        MUST(r != INFLATER_NOMEM && (r != INFLATER_FULL || made == room));
        MUST(r != INFLATER_MORE || (at == end && end < n));
    }
}

static void take_over(struct inflater **z)
{
    unsigned bits = inflater_window_bits(*z);
    struct window w;

    MUST(window_init(&w, bits));
    inflater_save(*z, &w);
    MUST(w.bytes <= w.room);
    inflater_free(*z);
    *z = inflater_new(bits);
    MUST(*z && inflater_restore(*z, &w) == WEFT_OK);
    window_fini(&w);
}

static void inflate_all(struct fuzz_input in, unsigned how, struct fuzz_cut cut)
{
    static struct pieces pieces;
    unsigned bits = 8 + how % 8;
    size_t bytes_max = how & 8 ? 64 : OUTPUT_BYTES_MAX - 1;
    struct inflater *whole = inflater_new(bits), *part = inflater_new(bits);

    MUST(whole && part);
    while (in.n) {
        size_t n = fuzz_number(&in);
        weft_msg *m, *out = NULL;
        int rc, rc_parts;

        n = n < in.n ? n : in.n;
        m = message_of(how & 16 ? 1 : 2, in.p, n, true);
        rc = inflater_message(whole, m, bytes_max, &out);
        rc_parts = inflate_parts(part, in.p, n, bytes_max, cut, &pieces);
        if (rc != rc_parts)
            fprintf(stderr, "at once %d, in parts %d\n", rc, rc_parts);
        MUST(rc == rc_parts || (rc == WEFT_E_UTF8 && (rc_parts == WEFT_OK || how & 16)) ||
             (rc != WEFT_OK && rc_parts != WEFT_OK));
        if (rc == WEFT_OK) {
            MUST(weft_msg_bytes(out) <= bytes_max && weft_msg_bytes(out) == pieces.n);
            MUST(memcmp(weft_msg_data(out), pieces.out, pieces.n) == 0);
            weft_msg_unref(out);
        } else {
            const char *reason = NULL;
            MUST(inflater_close_code(rc, &reason) >= 1000 && reason);
        }
        weft_msg_unref(m);
        if (rc != WEFT_OK) {
            inflater_reset(whole, bits);
            inflater_reset(part, bits);
        } else if (how & 32) {
            take_over(&part);
        }
        in.p += n;
        in.n -= n;
    }
    MUST(inflater_bytes(whole) < 100000);
    inflater_free(whole);
    inflater_free(part);
}

/* --- our own --- */

static void come_back(struct inflater *z, weft_msg *m, weft_msg *packed)
{
    weft_msg *out = NULL;

    MUST(packed->is_compressed && weft_msg_type(packed) == weft_msg_type(m));
    MUST(weft_msg_bytes(packed) <= deflate_bytes_max(weft_msg_bytes(m)));
    MUST(inflater_message(z, packed, weft_msg_bytes(m), &out) == WEFT_OK);
    MUST(weft_msg_bytes(out) == weft_msg_bytes(m));
    MUST(memcmp(weft_msg_data(out), weft_msg_data(m), weft_msg_bytes(m)) == 0);
    weft_msg_unref(out);
    weft_msg_unref(packed);
}

static void go_and_come(struct fuzz_input in, unsigned how)
{
    unsigned bits = 9 + how % 7;
    bool keeps = how & 64;
    struct deflater *d = deflater_new(bits, 1 + how % 9, 1 + (how >> 4) % 9);
    struct inflater *z = inflater_new(bits);

    MUST(d && z && deflater_window_bits(d) == bits);
    while (in.n) {
        size_t n = fuzz_number(&in), times = 1 + n % 7;
        weft_msg *m, *packed = NULL;

        n = n < in.n ? n : in.n;
        m = msg_alloc(2, n * times);
        MUST(m);
        for (size_t i = 0; i < times; i++)
            memcpy(m->payload + i * n, in.p, n);
        msg_seal(m, n * times);
        MUST(deflater_message(d, m, keeps, &packed) == WEFT_OK);
        if (packed)
            come_back(z, m, packed);
        if (!keeps) {
            deflater_reset(d);
            deflater_set_level(d, 1 + n % 9);
            inflater_reset(z, bits);
        }
        weft_msg_unref(m);
        in.p += n;
        in.n -= n;
    }
    MUST(deflater_bytes(d) < 1000000);
    deflater_free(d);
    inflater_free(z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    unsigned how = fuzz_byte(&in);
    struct fuzz_cut cut = {.seed = fuzz_byte(&in)};

    cut.most = fuzz_byte(&in) * 4u + 1;
    inflate_all(in, how, cut);
    go_and_come(in, how);
    return 0;
}
