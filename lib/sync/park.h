/* Where idle workers wait: a bitmap of who waits, and a futex of its own for each.
 *
 * A worker announces itself, looks once more for work, and only then waits. Who has put work in looks at
 * the bitmap, claims one bit and wakes that one worker; nobody else is disturbed.
 *
 * I1  A bit is set only by its worker, and cleared either by that worker (it found work) or by the one
 *     thread that claimed it and then hands it exactly one permit.
 * I2  A worker that finds its bit already claimed waits for the permit, which is on its way: permits are
 *     never lost or left over.
 * I3  No lost wake-up. Worker: sets its bit; then looks at the ready queue. Producer: puts; then looks at
 *     the bitmap. All four are seq_cst, so one of them sees the other (the store-load race PARK_LOOK).
 *
 *   operation | by       | on     | order                       label
 *   announce  | worker   | idle   | fetch-or, seq_cst           PARK_LOOK
 *   claim     | producer | idle   | load, seq_cst               PARK_LOOK
 *             |          | idle   | fetch-and, acquire: the reset of the permit before the announce comes first
 *   permit    | producer | permit | store, release; futex       PARK_PERMIT
 *   wait      | worker   | permit | load, acquire               PARK_PERMIT */
#ifndef WEFT_SYNC_PARK_H
#define WEFT_SYNC_PARK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/thr.h"

#define PARK_SLOTS_MAX 384

struct park_slot {
    _Alignas(THR_CACHE_LINE) _Atomic uint32_t permit;
};

struct park {
    _Alignas(THR_CACHE_LINE) _Atomic uint64_t idle[PARK_SLOTS_MAX / 64];
    struct park_slot slots[PARK_SLOTS_MAX];
};

void park_init(struct park *p);

void park_announce(struct park *p, unsigned slot);
/* The worker found work (or must end) after it announced itself. */
void park_withdraw(struct park *p, unsigned slot);
/* Wait for the permit, at most timeout_ms (UINT32_MAX: for ever). True: woken. False: it was not woken; the
 * time ran out, or the futex returned early, and the slot is withdrawn. */
bool park_wait(struct park *p, unsigned slot, uint32_t timeout_ms);

/* Any thread, behind the put it tells of: wake one waiting worker. False: none waits. */
bool park_wake_one(struct park *p);
unsigned park_count(struct park *p); /* waiting now; a figure that may be old */

/* The futex behind it, also used for threads that wait for room in an outbox. timeout_ms as above. */
void park_futex_wait(_Atomic uint32_t *word, uint32_t while_value, uint32_t timeout_ms);
void park_futex_wake(_Atomic uint32_t *word, int count);

#endif
