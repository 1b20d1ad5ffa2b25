/* Waiting for a condition that another thread brings about: the one way in which calls of this library block.
 *
 * Beside each condition stands a turn, a counter. Who waits looks at the turn, then at the condition, and
 * waits while the turn is the one it saw. Who changes the condition makes the next turn behind that. A wait
 * may also end for nothing; the condition decides.
 *
 * I1  No lost wake-up. The next turn is one read-modify-write of the word, and so is the step by which a
 *     waiter marks the turn that it saw. If the next turn comes first, the mark fails; if the mark comes
 *     first, the next turn finds it, and wakes. No store-load race is left, for both touch one word.
 * I2  Bit 0 says that somebody may wait in this turn. It is set only by waiters, and only in the turn that
 *     they saw; each next turn begins without it. So a turn that nobody waits for costs no system call.
 * I3  A wait of a thread that runs a task ends when the task is canceled (cancel.h): cancel makes the next
 *     turn of whatever the thread waits for, so what is waited for knows nothing of tasks.
 *
 *   operation | by     | on   | order                          label
 *   look      | waiter | word | load, acquire                  TURN_NEXT: who sees a turn sees what came
 *   before it mark      | waiter | word | compare-and-swap, relaxed: the condition is looked at under the
 *   next look next      | any    | word | compare-and-swap, release      TURN_NEXT
 *
 * All waiters of a turn are woken. */
#ifndef WEFT_SYNC_TURN_H
#define WEFT_SYNC_TURN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/order.h"

struct turn {
    _Atomic uint32_t word; /* number of the turn * 2, and the mark */
};

#define TURN_MARK      1u
#define TURN_NO_END_NS UINT64_MAX

static inline void turn_init(struct turn *t)
{
    atomic_init(&t->word, 0);
}

/* Which turn it is; before the condition is looked at. */
static inline uint32_t turn_look(struct turn *t)
{
    return atomic_load_explicit(&t->word, ORDER(TURN_NEXT, memory_order_acquire)) & ~TURN_MARK;
}

/* Behind the change of the condition. Any thread; never blocks. */
void turn_next(struct turn *t);

/* Wait while the turn is the one that was seen.
 *
 * seen      what turn_look said
 * until_ns  on the clock of base/clock.h; TURN_NO_END_NS: without end
 * Returns   WEFT_OK (look again), WEFT_E_TIMEOUT, WEFT_E_CANCELED (the calling thread's task was, before or
 *           meanwhile) */
int turn_wait(struct turn *t, uint32_t seen, uint64_t until_ns);
/* The same, and canceling does not end it. */
int turn_wait_anyhow(struct turn *t, uint32_t seen, uint64_t until_ns);

/* The end of a timeout that begins now; UINT32_MAX (WEFT_FOREVER): without end. */
uint64_t turn_until_ns(uint32_t timeout_ms);

#endif
