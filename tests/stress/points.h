/* Holding threads up at the labelled points of the library (base/order.h, built with WEFT_POINTS).
 *
 * Now and then a thread that comes to a point yields, spins, sleeps for some microseconds or moves to
 * another processor: what else happens only once in days then happens in each second. It orders nothing
 * between threads: counters are relaxed, and all else belongs to the thread. */
#ifndef STRESS_POINTS_H
#define STRESS_POINTS_H

#include <stdbool.h>
#include <stdint.h>

struct points {
    unsigned one_in;       /* a thread is held up at one point of so many, on average; 0: never */
    unsigned focus;        /* of the labels only every focus-th, drawn by the seed; 0 or 1: all */
    unsigned sleep_us_max; /* 0: no sleeping */
    uint64_t seed;
};

bool points_are_built_in(void);
/* While no thread is in the library. */
void points_set(const struct points *p);
/* Print how often threads were held up at each label. */
void points_print(void);

#endif
