/* Times in log-linear classes; see histogram.h. */
#include "histogram.h"

#include <math.h>

/* A class is 2^shift wide and stands for its middle. */
static uint64_t middle(unsigned at)
{
    unsigned shift = at >> HISTOGRAM_STEP_BITS ? (at >> HISTOGRAM_STEP_BITS) - 1 : 0;
    uint64_t least = (uint64_t)(at - (shift << HISTOGRAM_STEP_BITS)) << shift;

    return least + (UINT64_C(1) << shift) / 2;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
    uint64_t rank = (uint64_t)ceil(q * (double)h->count);
    uint64_t seen = 0;

    if (h->count == 0)
        return 0;
    if (rank < 1)
        rank = 1;
    if (rank >= h->count)
        return h->max;
    for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++) {
        seen += h->classes[i];
        if (seen >= rank)
            return middle(i) < h->max ? middle(i) : h->max;
    }
    return h->max;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_CLASSES; i++)
        into->classes[i] += from->classes[i];
    into->count += from->count;
    if (from->max > into->max)
        into->max = from->max;
}

void histogram_drop_least(struct histogram *h, uint64_t count)
{
    for (unsigned i = 0; i < HISTOGRAM_CLASSES && count; i++) {
        uint64_t taken = h->classes[i] < count ? h->classes[i] : count;
        h->classes[i] -= taken;
        h->count -= taken;
        count -= taken;
    }
    if (h->count == 0)
        h->max = 0;
}
