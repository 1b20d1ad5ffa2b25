/* A role that its holder lends while it does something else, and that another thread may take meanwhile.
 *
 * The role is to drive an I/O loop. Its holder lends it before it runs handlers itself, since a handler may
 * block, and wants it back behind them. A watcher looks now and then; when it finds the same loan twice it takes
 * the role for a thread that will drive, and the former holder learns that when it asks for it back. So does a
 * worker that takes the role for itself (core/pool.h, W6).
 *
 * I1  The word is the number of the loan, with bit 0 set while the role is lent. Each loan has another
 *     number.
 * I2  Who holds the role: the one whose take succeeded last, or else the first holder; while it is lent,
 *     nobody.
 * I3  Of lease_back and all lease_takes with the same loan exactly one succeeds.
 * I4  No forgotten loan. Holder: lends; then looks whether the watcher sleeps. Watcher: says that it
 *     sleeps; then looks for loans. All four are seq_cst, so one of them sees the other (the store-load
 *     race LEASE_LOOK).
 *
 *   operation | by      | on   | order                          label
 *   lend      | holder  | word | store, seq_cst                 LEASE_LOOK, and it releases what the holder did (LEASE_LEND)
 *   back      | holder  | word | compare-and-swap, relaxed: when it succeeds nobody else had the role
 *   look      | others  | word | load, seq_cst                  LEASE_LOOK
 *   take      | others  | word | compare-and-swap, acquire      LEASE_LEND
 * A failed back reads the word only; what the thread shares with the new holder goes through other queues. */
#ifndef WEFT_SYNC_LEASE_H
#define WEFT_SYNC_LEASE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/order.h"

struct lease {
    _Atomic uint64_t word;
};

#define LEASE_LENT 1u

static inline void lease_init(struct lease *l)
{
    atomic_init(&l->word, 0);
}

/* Holder. Returns the loan. */
static inline uint64_t lease_lend(struct lease *l)
{
    /* Relaxed: nobody but the holder writes the word while the role is not lent. */
    uint64_t loan = (atomic_load_explicit(&l->word, memory_order_relaxed) + 2) | LEASE_LENT;

    atomic_store_explicit(&l->word, loan, ORDER(LEASE_LOOK, memory_order_seq_cst)); /* LEASE_LEND */
    return loan;
}

/* Who lent. True: it holds the role again. False: another one has it. */
static inline bool lease_back(struct lease *l, uint64_t loan)
{
    return atomic_compare_exchange_strong_explicit(&l->word, &loan, loan & ~(uint64_t)LEASE_LENT,
                                                   memory_order_relaxed, memory_order_relaxed);
}

/* Watcher, worker: the word at this moment. It differs from an earlier one when the role was lent meanwhile. */
static inline uint64_t lease_look(struct lease *l)
{
    return atomic_load_explicit(&l->word, memory_order_seq_cst); /* LEASE_LOOK */
}

static inline bool lease_is_lent(uint64_t word)
{
    return word & LEASE_LENT;
}

/* Watcher, worker: take the role that is out on this loan. True: it has it, and may give it to a thread. */
static inline bool lease_take(struct lease *l, uint64_t loan)
{
    return atomic_compare_exchange_strong_explicit(&l->word, &loan, loan & ~(uint64_t)LEASE_LENT,
                                                   ORDER(LEASE_LEND, memory_order_acquire),
                                                   memory_order_relaxed);
}

#endif
