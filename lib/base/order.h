/* Labelled memory orders.
 *
 * A release and the acquire that meets it carry one label: ORDER(RING_PUT, memory_order_release).
 * docs/threads.md lists the labels. Two builds make use of them, both for tests only:
 *   -DWEFT_WEAKEN='"RING_PUT"'  turns that one edge into relaxed, and tests/weaken checks that a test notices
 *   -DWEFT_POINTS               calls a hook before each labelled step, so that tests/stress can hold a thread
 *                               up there
 * In both the order stays a constant: where it is none, compilers make the step seq_cst, which would hide
 * what is looked for. Hence the comma, whose right side is a constant to gcc and clang at every level; a
 * statement expression is none without optimization. */
#ifndef WEFT_BASE_ORDER_H
#define WEFT_BASE_ORDER_H

#include <stdatomic.h>

#ifdef WEFT_WEAKEN
#define ORDER_OF(label, order) (__builtin_strcmp(#label, WEFT_WEAKEN) == 0 ? memory_order_relaxed : (order))
#else
#define ORDER_OF(label, order) (order)
#endif

#ifdef WEFT_POINTS
typedef void order_hook(const char *label);

/* NULL at first. Set while no other thread is in the library. What it does must order nothing, or a race
 * detector sees less than there is. */
extern _Atomic(order_hook *) order_hook_here;

static inline void order_point(const char *label)
{
    /* Relaxed: the threads that read it were started behind the store. */
    order_hook *hook = atomic_load_explicit(&order_hook_here, memory_order_relaxed);

    if (__builtin_expect(hook != 0, 0))
        hook(label);
}

#define ORDER(label, order) (order_point(#label), ORDER_OF(label, order))
#else
#define ORDER(label, order) ORDER_OF(label, order)
#endif

#endif
