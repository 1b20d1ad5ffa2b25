/* A stack that any thread pushes to and its owner takes whole; it can be closed against further pushes.
 *
 * It is the outbox of a connection (messages), the dirty list of an I/O thread (connections) and the way
 * home of freed requests. There is no pop of one element, so there is no ABA problem.
 *
 * I1  The word is the newest node, with bit 0 set once the stack is closed. Bit 0 is never cleared again.
 * I2  What is below a node does not change while the node is in the stack.
 * I3  A push that returned STACK_FIRST put the only node there was: its caller, and nobody else, tells the
 *     owner.
 * I4  Behind the node of stack_push_last nothing is ever pushed.
 *
 *   operation   | by    | on the word                | order                         label
 *   push        | any   | compare-and-swap           | release on success            STACK_PUSH (with take)
 *               |       |                            | also the store before WAKE_LOOK, see wake.h
 *   push_last   | any   | compare-and-swap           | release                       STACK_PUSH
 *   take_all    | owner | compare-and-swap           | acquire                       STACK_PUSH
 *   close       | any   | fetch-or                   | seq_cst, before the closer looks who waits
 *   is_untouched| owner | load                       | relaxed: a push from before is seen, or was taken
 *
 * Hand-over: a thread gives a node to the owner; after the push it must not touch it. */
#ifndef WEFT_SYNC_STACK_H
#define WEFT_SYNC_STACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/node.h"
#include "base/order.h"

struct stack {
    _Atomic uintptr_t word;
};

enum stack_result { STACK_FIRST, STACK_MORE, STACK_CLOSED };

#define STACK_CLOSED_BIT ((uintptr_t)1)

static inline struct node *stack_node_of(uintptr_t word)
{
    return (struct node *)(word & ~STACK_CLOSED_BIT);
}

static inline void stack_init(struct stack *s)
{
    atomic_init(&s->word, 0);
}

static inline enum stack_result stack_push_with(struct stack *s, struct node *first, struct node *last,
                                                uintptr_t bit)
{
    /* Relaxed: the old top is only stored as a link, the owner's acquire orders what is behind it. */
    uintptr_t old = atomic_load_explicit(&s->word, memory_order_relaxed);

    do {
        if (old & STACK_CLOSED_BIT)
            return STACK_CLOSED;
        last->next = stack_node_of(old);
        /* seq_cst where release would do for the data: the pusher then looks whether the owner sleeps
         * (WAKE_LOOK). */
    } while (!atomic_compare_exchange_weak_explicit(&s->word, &old, (uintptr_t)first | bit,
                                                    ORDER(STACK_PUSH, memory_order_seq_cst),
                                                    memory_order_relaxed));
    return old == 0 ? STACK_FIRST : STACK_MORE;
}

/* Push one node. STACK_CLOSED: it was not pushed. */
static inline enum stack_result stack_push(struct stack *s, struct node *n)
{
    return stack_push_with(s, n, n, 0);
}

/* Push one node and close the stack behind it, in one step. */
static inline enum stack_result stack_push_last(struct stack *s, struct node *n)
{
    return stack_push_with(s, n, n, STACK_CLOSED_BIT);
}

/* Owner: take all nodes, newest first; NULL for none. */
static inline struct node *stack_take_all(struct stack *s)
{
    uintptr_t old = atomic_load_explicit(&s->word, memory_order_relaxed);

    if (stack_node_of(old) == NULL)
        return NULL;
    while (!atomic_compare_exchange_weak_explicit(&s->word, &old, old & STACK_CLOSED_BIT,
                                                  ORDER(STACK_PUSH, memory_order_acquire),
                                                  memory_order_relaxed)) {
    }
    return stack_node_of(old);
}

static inline void stack_close(struct stack *s)
{
    atomic_fetch_or_explicit(&s->word, STACK_CLOSED_BIT, memory_order_seq_cst);
}

static inline bool stack_is_closed(struct stack *s)
{
    return atomic_load_explicit(&s->word, memory_order_seq_cst) & STACK_CLOSED_BIT;
}

/* seq_cst: the owner announced that it will sleep and looks once more (WAKE_LOOK). */
static inline bool stack_is_empty(struct stack *s)
{
    return stack_node_of(atomic_load_explicit(&s->word, memory_order_seq_cst)) == NULL;
}

/* Owner: empty and open. Relaxed: of what was pushed before, as this thread knows, it sees the word or what
 * came of it. */
static inline bool stack_is_untouched(struct stack *s)
{
    return atomic_load_explicit(&s->word, memory_order_relaxed) == 0;
}

#endif
