/* Times in log-linear classes: 128 to each power of two, so that a figure read back is wrong by at most
 * 0.4 %.
 *
 * It holds up to 2^42 ns (73 minutes) in 36 KiB, whatever the number of values; what is longer counts as
 * that, and max is exact. One thread at a time. */
#ifndef WEFT_BENCH_HISTOGRAM_H
#define WEFT_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEP_BITS  7
#define HISTOGRAM_VALUE_BITS 42
#define HISTOGRAM_CLASSES    ((HISTOGRAM_VALUE_BITS - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS)

struct histogram { /* all zero: empty */
    uint64_t count;
    uint64_t max;
    uint64_t classes[HISTOGRAM_CLASSES];
};

static inline unsigned histogram_class(uint64_t value)
{
    unsigned shift;

    if (value >> HISTOGRAM_VALUE_BITS)
        value = (UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1;
    if (value < 1u << HISTOGRAM_STEP_BITS)
        return (unsigned)value;
    shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
    return (shift << HISTOGRAM_STEP_BITS) + (unsigned)(value >> shift);
}

static inline void histogram_add(struct histogram *h, uint64_t value)
{
    h->classes[histogram_class(value)]++;
    h->count++;
    if (value > h->max)
        h->max = value;
}

/* The value that the share q of all does not exceed, 0 < q <= 1: the middle of its class, at most max; 0 when
 * there is none. */
uint64_t histogram_quantile(const struct histogram *h, double q);

void histogram_merge(struct histogram *into, const struct histogram *from);

/* Take the `count` least values out, or all when there are fewer. */
void histogram_drop_least(struct histogram *h, uint64_t count);

#endif
