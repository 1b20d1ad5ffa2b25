/* A lane: what belongs to one I/O loop in the pool. The ready queue of its connections, the judgement who runs them,
 * and what tells that nobody does.
 *
 * The queue is any thread's (ring.h); the rest is the driver's. shared_since_ns lies in the loop, since the watcher
 * reads it too: behind the loan that was made at that time workers may take the role (pool.h, W6).
 *
 * It decides nothing about threads: whom to wake, and who may run handlers, is the pool's. */
#ifndef WEFT_CORE_LANE_H
#define WEFT_CORE_LANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/thr.h"
#include "core/io_thread.h"
#include "core/judge.h"
#include "sync/lease.h"
#include "sync/ring.h"

/* It has room for so many connections. */
#define LANE_MAX 8192u
/* The least time between two looks at a backlog that does not move. */
#define LANE_WATCH_NS 900000
/* So long a driver runs handlers before it looks at its sockets again. Less than WATCH_AGAIN_US. */
#define LANE_HELP_NS_MAX 100000
/* The same while cores are shared: behind it any of the threads may look. Less than WATCH_SHARED_US. */
#define LANE_SHARED_NS 200000
/* How often a driver counts threads that are stuck, meanwhile. */
#define LANE_STUCK_LOOK_NS 1000000

struct lane {
    _Alignas(THR_CACHE_LINE) struct ring ready; /* (q) */
    _Alignas(THR_CACHE_LINE) uint64_t watch_ns; /* (io) */
    size_t watch_head;                          /* (io) */
    struct judge judge;                         /* (io) */
    uint64_t stuck_look_ns;                     /* (io) when it counted those that are stuck */
};

static inline bool lane_is_empty(struct lane *lane)
{
    return ring_is_empty(&lane->ready);
}

/* Called in each turn: was there a backlog that nobody took anything from since the last look? */
static inline bool lane_stands_still(struct lane *lane, uint64_t now_ns)
{
    size_t head = atomic_load_explicit(&lane->ready.head, memory_order_relaxed), before = lane->watch_head;

    if (now_ns - lane->watch_ns < LANE_WATCH_NS)
        return false;
    lane->watch_ns = now_ns;
    lane->watch_head = head;
    return head == before && !lane_is_empty(lane);
}

/* --- loans that workers may take --- */

/* 0: they may not. */
static inline uint64_t lane_shared_since_ns(const struct io_thread *io)
{
    return atomic_load_explicit(&io->shared_since_ns, memory_order_relaxed);
}

/* Behind the next loan workers may take the role, 0: they may not. Written rarely where it stays the same. */
static inline void lane_share(struct io_thread *io, uint64_t since_ns)
{
    if (lane_shared_since_ns(io) != since_ns)
        atomic_store_explicit(&io->shared_since_ns, since_ns, memory_order_relaxed);
}

/* Looked at behind the loan: if shared_since_ns belongs to a later one, this one is over, and cannot be taken. */
static inline bool lane_is_due(struct lane *lane, const struct io_thread *io, uint64_t loan, uint64_t now_ns)
{
    uint64_t since_ns = lane_shared_since_ns(io);

    if (!lease_is_lent(loan) || !since_ns)
        return false;
    return now_ns >= since_ns + LANE_SHARED_NS || lane_is_empty(lane);
}

/* A worker takes the role, if it is time (W6). Then it drives the loop. */
static inline bool lane_take_role(struct lane *lane, struct io_thread *io, uint64_t now_ns)
{
    uint64_t loan = lease_look(&io->lease);

    return lane_is_due(lane, io, loan, now_ns) && lease_take(&io->lease, loan);
}

/* --- the judgement --- */

/* Is it the time to count those that are stuck? */
static inline bool lane_counts_stuck(struct lane *lane, uint64_t now_ns)
{
    if (now_ns - lane->stuck_look_ns < LANE_STUCK_LOOK_NS)
        return false;
    lane->stuck_look_ns = now_ns;
    return true;
}

/* The driver is back from its lane. before: its switches, when it began. */
static inline void lane_judge(struct lane *lane, struct judge_turn *t, const struct thr_switches *before,
                              uint64_t now_ns)
{
    if (before->waits || before->stops) {
        struct thr_switches now = thr_switches();
        t->waits = now.waits - before->waits;
        t->stops = now.stops - before->stops;
    }
    judge_runs(&lane->judge, t, now_ns);
}

#endif
