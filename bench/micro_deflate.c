/* What would permessage-deflate cost, and what does it save?
 *
 * zlib as weft is to use it (raw deflate, window 2^12, memLevel 5) over JSON-like messages of 1 KiB, for the
 * levels 1 to 6: microseconds to compress one message, microseconds to inflate it, and the size left in per
 * cent. With context takeover the window reaches back over earlier messages; without, each message begins
 * anew. The figure is the best of ROUNDS rounds.
 *
 * usage: micro_deflate [--json] */
#include "micro.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { ROUNDS = 7, MESSAGES = 256, BYTES = 1024, OUT_BYTES = 2 * BYTES, WINDOW_BITS = 12, MEM_LEVEL = 5 };
enum { LEVELS = 6 };

static char messages[MESSAGES][BYTES + 256];
static unsigned char packed[MESSAGES][OUT_BYTES], unpacked[OUT_BYTES];
static size_t packed_bytes[MESSAGES];

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

static void measure(int level, bool takeover, double *deflate_us, double *inflate_us, double *percent)
{
    *deflate_us = *inflate_us = INFINITY;
    for (int i = 0; i < ROUNDS; i++) {
        z_stream out = {0}, in = {0};
        check(deflateInit2(&out, level, Z_DEFLATED, -WINDOW_BITS, MEM_LEVEL, Z_DEFAULT_STRATEGY), Z_OK);
        check(inflateInit2(&in, -WINDOW_BITS), Z_OK);
        *deflate_us = fmin(*deflate_us, deflate_all_us(&out, takeover));
        *inflate_us = fmin(*inflate_us, inflate_all_us(&in, takeover));
        deflateEnd(&out);
        inflateEnd(&in);
    }
    *percent = packed_percent();
}

static void report(const char *title, bool takeover)
{
    static const char *const levels[] = {"level 1", "level 2", "level 3", "level 4", "level 5", "level 6"};
    double deflate_us[LEVELS], inflate_us[LEVELS], percent[LEVELS];

    for (int i = 0; i < LEVELS; i++)
        measure(i + 1, takeover, &deflate_us[i], &inflate_us[i], &percent[i]);
    micro_table(title, "a message of 1 KiB", levels, LEVELS);
    micro_row("compress, us", deflate_us);
    micro_row("decompress, us", inflate_us);
    micro_row("size left, %", percent);
}

int main(int argc, char **argv)
{
    uint32_t seed = 1;

    micro_begin(argc, argv, NULL);
    for (int i = 0; i < MESSAGES; i++)
        write_message(messages[i], &seed);
    report("Deflate with context takeover", true);
    report("Deflate without context takeover", false);
    micro_end();
    return 0;
}
