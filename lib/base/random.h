/* Unpredictable bytes of the system, for keys, masks and delays. */
#ifndef WEFT_BASE_RANDOM_H
#define WEFT_BASE_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/random.h>

/* Fill p; n is at most 256, which the system gives whole. False: it has none. */
static inline bool random_fill(void *p, size_t n)
{
    return getrandom(p, n, 0) == (ssize_t)n;
}

#endif
