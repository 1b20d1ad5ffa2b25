/* The inbox of a connection, and the state that says whether a worker has it.
 *
 * One producer (the connection's I/O thread) puts whole chains, in order; one consumer at a time (the
 * worker that runs the connection) takes all there is. The state makes it one at a time: the step from idle
 * to notified puts the connection on the ready queue, so it stands there at most once.
 *
 * I1  `first` is NULL or a chain in order of arrival that nobody but the producer's next put may take back.
 * I2  The consumer only ever writes NULL to `first`; so a producer that sees NULL owns the field.
 * I3  `last` is the producer's: the end of the chain it put last, meaningful only while that chain was not
 *     taken.
 * I4  state NOTIFIED: the connection is on the ready queue, or its worker will run it once more.
 *     state RUNNING: a worker runs it, and looks at everything that was put before the state became RUNNING.
 *     state IDLE: nothing is left to do.
 *
 *   operation     | by       | on          | order                          label
 *   put           | producer | first       | store, release                 INBOX_PUT (with take)
 *   put, append   | producer | first       | exchange, relaxed: it gets back what it wrote itself, or NULL
 *   take          | consumer | first       | exchange, acquire              INBOX_PUT
 *   notify        | any      | state       | exchange, acq_rel              RUN_NOTIFY (with begin)
 *   begin         | consumer | state       | exchange, acq_rel              RUN_NOTIFY
 *   end           | consumer | state       | compare-and-swap, acq_rel      RUN_END (the next notify that finds IDLE, so the next
 *                 |          |             |                                consumer sees what this one did)
 * Exchanges on one word are ordered with each other: a put before a notify is seen by the run that the
 * notify causes.
 *
 * Hand-over: the I/O thread gives messages to the worker through the inbox; after the put it must not touch
 * them. */
#ifndef WEFT_SYNC_INBOX_H
#define WEFT_SYNC_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/node.h"
#include "base/order.h"

struct inbox {
    _Atomic(struct node *) first;
    struct node *last; /* (producer) */
    _Atomic unsigned state;
    uint32_t note; /* the user's: who may put it on the ready queue writes, who begins to run it reads */
};

enum { INBOX_IDLE, INBOX_NOTIFIED, INBOX_RUNNING };

static inline void inbox_init(struct inbox *in)
{
    atomic_init(&in->first, NULL);
    in->last = NULL;
    atomic_init(&in->state, INBOX_IDLE);
    in->note = 0;
}

/* Producer: append the chain first .. last. */
static inline void inbox_put(struct inbox *in, struct node *first, struct node *last)
{
    struct node *waiting = NULL;

    /* Relaxed: NULL here stays NULL (I2). */
    if (atomic_load_explicit(&in->first, memory_order_relaxed))
        waiting = atomic_exchange_explicit(&in->first, NULL, memory_order_relaxed);
    last->next = NULL;
    if (waiting) {
        in->last->next = first;
        first = waiting;
    }
    in->last = last;
    atomic_store_explicit(&in->first, first, ORDER(INBOX_PUT, memory_order_release));
}

/* Consumer: all messages in order, NULL for none. */
static inline struct node *inbox_take_all(struct inbox *in)
{
    if (!atomic_load_explicit(&in->first, memory_order_relaxed))
        return NULL;
    return atomic_exchange_explicit(&in->first, NULL, ORDER(INBOX_PUT, memory_order_acquire));
}

/* Say that there is something to do. True: the caller puts the connection on the ready queue. */
static inline bool inbox_notify(struct inbox *in)
{
    return atomic_exchange_explicit(&in->state, INBOX_NOTIFIED, ORDER(RUN_NOTIFY, memory_order_acq_rel)) ==
           INBOX_IDLE;
}

/* Consumer, before it looks at anything. */
static inline void inbox_begin(struct inbox *in)
{
    atomic_exchange_explicit(&in->state, INBOX_RUNNING, ORDER(RUN_NOTIFY, memory_order_acq_rel));
}

/* Consumer, when nothing is left. False: it was notified meanwhile and must run again (or go to the queue's
 * tail). */
static inline bool inbox_end(struct inbox *in)
{
    unsigned running = INBOX_RUNNING;
    return atomic_compare_exchange_strong_explicit(
        &in->state, &running, INBOX_IDLE, ORDER(RUN_END, memory_order_acq_rel), memory_order_relaxed);
}

/* Consumer: work is left, but it is another one's turn. The caller puts the connection on the ready queue. */
static inline void inbox_yield(struct inbox *in)
{
    atomic_exchange_explicit(&in->state, INBOX_NOTIFIED, ORDER(RUN_END, memory_order_acq_rel));
}

#endif
