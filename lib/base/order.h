/* Labelled memory orders.
 *
 * A release and the acquire that meets it carry one label: ORDER(RING_PUT, memory_order_release).
 * docs/threads.md lists the labels. The build option -DWEFT_WEAKEN='"RING_PUT"' turns that one edge into
 * relaxed, and tests/weaken checks that a test notices. */
#ifndef WEFT_BASE_ORDER_H
#define WEFT_BASE_ORDER_H

#include <stdatomic.h>

#ifdef WEFT_WEAKEN
#define ORDER(label, order) (__builtin_strcmp(#label, WEFT_WEAKEN) == 0 ? memory_order_relaxed : (order))
#else
#define ORDER(label, order) (order)
#endif

#endif
