/* Threads of a test: begun together, joined together.
 *
 * CUnit's assertions belong to the main thread; a member of a crew writes what it saw into its own struct,
 * and the case judges that when the crew has been joined. */
#ifndef WEFT_TESTS_CREW_H
#define WEFT_TESTS_CREW_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/thr.h"
#include "unit.h"

#define CREW_MAX 16

struct crew;

struct crew_member {
    struct crew *crew;
    void *(*main_function)(void *);
    void *arg;
};

struct crew {
    pthread_t threads[CREW_MAX];
    struct crew_member members[CREW_MAX];
    unsigned count;
    _Atomic unsigned done, wanted; /* members that are through; all of them, once crew_join knows */
};

/* Nobody leaves before all are through: a race detector may forget what a thread did that has ended. Relaxed,
 * so that it orders nothing. */
static inline void *crew_member_main(void *arg)
{
    struct crew_member *m = arg;
    struct crew *c = m->crew;
    struct timespec moment = {.tv_nsec = 100000};
    unsigned wanted;

    m->main_function(m->arg);
    atomic_fetch_add_explicit(&c->done, 1, memory_order_relaxed);
    for (unsigned turn = 0;; turn++) {
        wanted = atomic_load_explicit(&c->wanted, memory_order_relaxed);
        if (wanted && atomic_load_explicit(&c->done, memory_order_relaxed) == wanted)
            return NULL;
        if (turn < 100)
            sched_yield();
        else
            nanosleep(&moment, NULL);
    }
}

/* One more thread that runs main_function(arg). */
static inline void crew_add(struct crew *c, void *(*main_function)(void *), void *arg)
{
    struct crew_member *m = &c->members[c->count];

    if (c->count == CREW_MAX)
        abort();
    *m = (struct crew_member){c, main_function, arg};
    if (pthread_create(&c->threads[c->count], NULL, crew_member_main, m) != 0)
        abort();
    c->count++;
}

static inline void crew_join(struct crew *c)
{
    atomic_store_explicit(&c->wanted, c->count, memory_order_relaxed);
    for (unsigned i = 0; i < c->count; i++)
        pthread_join(c->threads[i], NULL);
    c->count = 0;
    atomic_store_explicit(&c->done, 0, memory_order_relaxed);
    atomic_store_explicit(&c->wanted, 0, memory_order_relaxed);
}

/* How often a loop turns that gains confidence only by number. */
static inline unsigned crew_rounds(unsigned plain)
{
    return unit_is_slow() ? plain / 10 : plain;
}

/* Two threads that meet once in each round, as closely as spinning can bring them together. */
struct meeting {
    _Alignas(THR_CACHE_LINE) _Atomic unsigned here[2];
};

/* Relaxed is not enough: what was done before the meeting is seen behind it. */
static inline void meeting_wait(struct meeting *m, unsigned who, unsigned round)
{
    atomic_store_explicit(&m->here[who], round, memory_order_release);
    for (unsigned spins = 1; atomic_load_explicit(&m->here[!who], memory_order_acquire) < round; spins++) {
        if (spins % 4096 == 0)
            sched_yield(); /* there may be one processor only */
    }
}

/* How many rounds: as many as wanted, but no more than a busy machine can do in a while. */
struct rounds {
    _Atomic unsigned last;
    uint64_t until_ns;
};

enum { ROUNDS_SECONDS_MAX = 2 };

static inline void rounds_begin(struct rounds *r, unsigned wanted)
{
    atomic_store(&r->last, wanted);
    r->until_ns = clock_now_ns() + ROUNDS_SECONDS_MAX * 1000000000ull;
}

/* One of the two, before the meeting at the start of the round. */
static inline void rounds_look_at_clock(struct rounds *r, unsigned round)
{
    if (round % 256 == 0 && clock_now_ns() > r->until_ns)
        atomic_store_explicit(&r->last, round, memory_order_relaxed);
}

/* Both, behind the meeting at its end. */
static inline bool rounds_are_over(struct rounds *r, unsigned round)
{
    return round >= atomic_load_explicit(&r->last, memory_order_relaxed);
}

/* Keep the calling thread on the n-th of the processors it may use; a refusal only makes a race rarer. */
static inline void crew_pin(unsigned n)
{
    cpu_set_t all, one;

    if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) == 0)
        return;
    n %= (unsigned)CPU_COUNT(&all);
    CPU_ZERO(&one);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all) && n-- == 0) {
            CPU_SET(cpu, &one);
            break;
        }
    }
    pthread_setaffinity_np(pthread_self(), sizeof one, &one);
}

/* A cheap sequence of numbers that look random; state must not be 0. */
static inline unsigned crew_random(unsigned *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

#endif
