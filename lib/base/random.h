/* Unpredictable bytes: of the system, for keys; and numbers that are made of such a key, for masks, epochs and delays. */
#ifndef WEFT_BASE_RANDOM_H
#define WEFT_BASE_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/random.h>

#include "base/siphash.h"

/* Fill p; n is at most 256, which the system gives whole. False: it has none. */
static inline bool random_fill(void *p, size_t n)
{
    return getrandom(p, n, 0) == (ssize_t)n;
}

/* A keyed function of a count: nobody without the key can tell the next value from those before, and there is no
 * system call that could fail later. Of one thread at a time. */
struct random_source {
    struct siphash_key key;
    uint64_t count;
};

/* False: the system has no key to give. */
static inline bool random_source_init(struct random_source *r)
{
    r->count = 0;
    return random_fill(&r->key, sizeof r->key);
}

static inline uint64_t random_next(struct random_source *r)
{
    r->count++;
    return siphash(&r->key, &r->count, sizeof r->count);
}

#endif
