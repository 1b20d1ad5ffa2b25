/* How many threads of a pool are at work: who else may run handlers, and whether a core is left for another one.
 *
 * L1  Who takes connections from lanes enters first, and only below `most`; who leaves looks at the lanes behind
 *     that, or has another one look: some may not have been let in (pool.h, W4).
 * L2  A thread that lost its loop to another driver is in a handler, and is counted by who took the loop, whatever
 *     the limit says. So is_counted belongs to the thread, and not to who counts.
 *
 *   operation  | by     | on          | order
 *   enter      | worker | in_handlers | compare-and-swap, seq_cst
 *   count      | others | in_handlers | fetch-add, seq_cst
 *   leave      | worker | in_handlers | fetch-sub, seq_cst, then it looks at the lanes
 *   may_enter  | any    | in_handlers | load, seq_cst, behind the put or the announcement (PARK_LOOK) */
#ifndef WEFT_CORE_LOAD_H
#define WEFT_CORE_LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Who is longer in a run than this needs no core, for all one knows. */
#define LOAD_STUCK_NS 2000000

struct load {
    unsigned most;  /* (c) threads in handlers, but for those of L2 */
    unsigned cores; /* (c) processors that this process may use */
    _Atomic unsigned in_handlers;
    _Atomic unsigned stuck; /* of them, for LOAD_STUCK_NS and longer; counted while cores are shared */
};

/* Of one thread. */
struct load_mark {
    _Atomic uint64_t busy_since_ns; /* (a) written by its thread: when its run began, 0 for none */
    bool is_counted;                /* its own: in in_handlers */
};

static inline bool load_may_enter(struct load *l)
{
    return atomic_load_explicit(&l->in_handlers, memory_order_seq_cst) < l->most;
}

/* False: there are enough threads in handlers. */
static inline bool load_enter(struct load *l, struct load_mark *mark)
{
    unsigned n = atomic_load_explicit(&l->in_handlers, memory_order_relaxed);

    while (!mark->is_counted) {
        if (n >= l->most)
            return false;
        mark->is_counted = atomic_compare_exchange_weak_explicit(&l->in_handlers, &n, n + 1,
                                                                 memory_order_seq_cst, memory_order_relaxed);
    }
    return true;
}

static inline void load_leave(struct load *l, struct load_mark *mark)
{
    if (mark->is_counted)
        atomic_fetch_sub_explicit(&l->in_handlers, 1, memory_order_seq_cst);
    mark->is_counted = false;
}

/* L2: for the thread that lost its loop. */
static inline void load_count(struct load *l)
{
    atomic_fetch_add_explicit(&l->in_handlers, 1, memory_order_seq_cst);
}

/* Are as many threads at work as there are processors, a driver beside the workers? The drivers of other loops may be at
 * work, too, or not. A guess: it decides who is woken. */
static inline bool load_has_all_cores(struct load *l)
{
    return atomic_load_explicit(&l->in_handlers, memory_order_relaxed) + 1 >=
           l->cores + atomic_load_explicit(&l->stuck, memory_order_relaxed);
}

/* Only its own thread writes, so that a store does. */
static inline void load_note_busy(struct load_mark *mark, uint64_t since_ns)
{
    atomic_store_explicit(&mark->busy_since_ns, since_ns, memory_order_relaxed);
}

static inline bool load_is_stuck(struct load_mark *mark, uint64_t now_ns)
{
    uint64_t since_ns = atomic_load_explicit(&mark->busy_since_ns, memory_order_relaxed);

    return since_ns && now_ns > since_ns + LOAD_STUCK_NS;
}

#endif
