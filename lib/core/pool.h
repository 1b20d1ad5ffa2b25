/* The worker pool: threads that take connections from the ready queue and run their mailboxes.
 *
 * W1  The ready queue has room for every connection there may be, and each stands in it at most once. So a
 *     put fails only while a consumer stands between the two steps of its get in the cell that is wanted;
 *     the put is repeated until it has gone on.
 * W2  Waking. Whoever publishes connections wakes one parked worker, unless a woken one has not looked yet
 *     (`waking`). A worker that has been at work for a while with a backlog behind it wakes the next. An
 *     I/O thread that goes to sleep over a backlog comes back after a millisecond, and when nothing was
 *     taken meanwhile wakes or starts one more.
 * W3  `waking` is set before a worker is woken and cleared by it before it looks at the ready queue. Who
 *     fails to wake one clears it and looks at the queue again, for somebody may have relied on it. All
 *     seq_cst (store-load race PARK_LOOK).
 * W4  Threads beyond the configured number are started when handlers block and leave when they were idle
 *     for a while. */
#ifndef WEFT_CORE_POOL_H
#define WEFT_CORE_POOL_H

#include <stdint.h>

#include "core/engine.h"

struct pool;
struct weft_conn;

struct pool_stats {
    uint64_t wakeups, longest_handler_us, started, started_max, busy, closed;
    uint64_t handover_us[WEFT_HANDOVER_BUCKETS];
};

int pool_new(struct pool **out, struct engine *e);
void pool_free(struct pool *p);
int pool_start(struct pool *p);
/* No connection is left: all workers end and are joined. */
void pool_stop(struct pool *p);

/* Give connections to the workers. Any thread. */
void pool_publish(struct pool *p, struct weft_conn *ready); /* linked by ready_next */

/* Called by an I/O thread in each turn. Is there a backlog that somebody should look after? */
bool pool_has_backlog(struct pool *p);
/* The backlog was there before and is there still: wake or start one more worker if nobody took anything
 * meanwhile. */
void pool_watch(struct pool *p, uint64_t now_ns);

void pool_stats(struct pool *p, struct pool_stats *out);

#endif
