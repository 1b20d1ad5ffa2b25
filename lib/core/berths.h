/* Berths: fixed places for the threads of a pool, each of which may be used again when its thread has ended.
 *
 * B1  What a place is in is under the lock. A thread that ends by itself says so in its last step; it is
 *     joined when its place is used again, or by berths_join.
 * B2  The first free place is taken, so no more have ever been in use than threads at once (count_max).
 * B3  A thread is counted before it runs: what it does must not be seen before that it was started.
 * B4  Behind berths_close no thread is started; behind berths_join there is none. */
#ifndef WEFT_CORE_BERTHS_H
#define WEFT_CORE_BERTHS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct berth;

struct berths {
    void (*run)(void *owner, unsigned place); /* (c) what a thread does */
    void *owner;                              /* (c) borrowed */
    struct berth *places;                     /* (c) max of them */
    unsigned max;                             /* (c) */
    pthread_mutex_t lock;
    _Atomic unsigned count, count_max; /* threads now, and at most so far; figures, so relaxed */
    atomic_bool are_closed;            /* written under lock */
};

/* WEFT_OK or WEFT_E_NOMEM. */
int berths_init(struct berths *b, unsigned max, void (*run)(void *owner, unsigned place), void *owner);
void berths_fini(struct berths *b); /* joined, or never used; also of one that could not be made */

/* Any thread. False: all places are taken, they are closed, or the system has no thread. */
bool berths_start(struct berths *b);
void berths_close(struct berths *b);
/* Behind berths_close: wait for all threads. */
void berths_join(struct berths *b);

/* seq_cst: a worker asks behind the announcement that it parks, and is woken behind berths_close. */
static inline bool berths_are_closed(struct berths *b)
{
    return atomic_load_explicit(&b->are_closed, memory_order_seq_cst);
}

#endif
