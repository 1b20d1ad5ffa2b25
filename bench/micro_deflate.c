/* What does permessage-deflate cost, what does it save, and what does weft add to zlib?
 *
 * JSON-like messages of 1 KiB, window 2^12, memLevel 5, with weft's default and for the levels 1 to 6: microseconds to
 * compress a message and to inflate it, by zlib alone from buffer to buffer, and by weft from message to message, memory
 * for the result included; and the size left in per cent. With context takeover the window reaches back over
 * earlier messages; without, each message begins anew, and a context is borrowed for it. Figures are the best
 * of ROUNDS rounds, in which all take turns. The last table is what a connection with takeover keeps, in
 * bytes.
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
    micro_end();
    thr_exit_worker();
    mem_pool_leave();
    return 0;
}
