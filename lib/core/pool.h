/* The threads of a server: some drive the I/O loops, the others are workers, which take connections from the
 * ready queues and run their mailboxes. Any of them may come to do either.
 *
 * W1  Each I/O loop has a lane: the ready queue of its connections, each of which stands in it at most
 *     once. A put fails when the queue is full; then its I/O thread keeps the connection, or its worker
 *     runs it again. A worker looks into the lane of its home loop first, then into the others'.
 * W2  Helping. While handlers are short, the thread that drives a loop runs them itself, because a
 *     hand-over to another core costs more than they do. It lends its role meanwhile (lease.h, watch.h);
 *     when it is stuck in a handler, the loop gets another driver within a millisecond (where none was stuck
 *     for a while, within four), and this one goes on as a worker. A loop whose driver got stuck, or whose
 *     handlers are very long or wait, hands over for a while; in between, cores are shared (W6, judge.h).
 * W3  Waking. Who hands over wakes one parked worker, unless a woken one has not looked yet (`waking`). A
 *     worker that has been at work for a while with a backlog behind it wakes the next. An I/O thread that
 *     goes to sleep over a backlog comes back after a millisecond, and when nothing was taken meanwhile
 *     wakes or starts one more. `waking` is set before a worker is woken and cleared by it before it looks
 *     at the lanes. Who fails to wake one clears it and looks at the lanes again, for somebody may have
 *     relied on it. All seq_cst (store-load race PARK_LOOK).
 *     A worker that spins counts as one that looks: `spinning` falls before it announces that it parks, and
 *     its last look comes behind that (store-load race SPIN_LOOK).
 * W4  Always a driver. Threads are counted in `in_handlers` while they take connections from lanes, or when
 *     their loop was taken from them; a worker begins only below workers_max, and a driver helps only below
 *     it. So at most workers_max + loops threads are in handlers (one for each loop may be counted late),
 *     and there are places for as many threads more as there are loops. A vacant loop is told of at every
 *     tick until a thread has taken it.
 * W5  There are as many threads as loops, and `workers` beside them; further ones are started when handlers
 *     block, and leave when they were idle for a while.
 * W6  Swapping. While cores are shared, the driver helps once no worker is left to be woken, or as many threads
 *     are at work as there are processors (those that are stuck in a run do not count). A worker that has made a long
 *     run then takes a role that is out on loan, and either was for LANE_SHARED_NS or its lane is empty, and drives;
 *     who lent it goes on as a worker when its handler ends. So there is always a thread for the sockets, none has to
 *     be woken for them, and what is to be written comes together meanwhile. Who takes the role was counted in
 *     `in_handlers`, and gives its count to who lent it. The watcher leaves such a loan WATCH_SHARED_US. */
#ifndef WEFT_CORE_POOL_H
#define WEFT_CORE_POOL_H

#include <stdint.h>

#include "base/thr.h"
#include "core/engine.h"

struct io_thread;
struct pool;
struct weft_conn;

struct pool_stats {
    uint64_t wakeups, takeovers, swaps, longest_handler_us, started, started_max, busy, closed;
    uint64_t handover_us[WEFT_HANDOVER_BUCKETS];
};

int pool_new(struct pool **out, struct engine *e);
void pool_free(struct pool *p);
/* Start all threads, those that drive the loops first. */
int pool_start(struct pool *p);
/* No connection is left: the loops are stopped, all threads end and are joined. */
void pool_stop(struct pool *p);

/* Put connections, linked by ready_next, into the loop's lane. Returns those for which there is no room; they
 * are the caller's still. */
struct weft_conn *pool_put(struct pool *p, const struct io_thread *io, struct weft_conn *ready) ON_IO;
/* Tell a worker of what was put. */
void pool_wake(struct pool *p);

/* Is there a backlog in the loop's lane? */
bool pool_has_backlog(struct pool *p, const struct io_thread *io);
/* The backlog was there before and is there still: wake or start one more worker if nobody took anything
 * meanwhile. Called in each turn. */
void pool_watch(struct pool *p, const struct io_thread *io, uint64_t now_ns) ON_IO;

/* Had the driver of the loop better run its lane itself? Where cores are not shared (any more), workers may not take its
 * loans from now on. */
bool pool_wants_help(struct pool *p, struct io_thread *io, uint64_t now_ns) ON_IO;
/* Is a worker to be told of what is put, though the driver helps? */
bool pool_wants_more(struct pool *p, const struct io_thread *io, uint64_t now_ns) ON_IO;
/* Run the lane for a while. False: the loop has another driver, and must not be touched any more. */
bool pool_help(struct pool *p, struct io_thread *io);
/* Another driver has begun: the former one got stuck, or its role was out on loan while cores are shared. */
void pool_note_stuck(struct pool *p, const struct io_thread *io, uint64_t now_ns) ON_IO;
void pool_note_moved(struct pool *p, const struct io_thread *io, uint64_t now_ns) ON_IO;

void pool_stats(struct pool *p, struct pool_stats *out);

#endif
