/* Parking of idle workers; see park.h. */
#include "sync/park.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/order.h"

void park_futex_wait(_Atomic uint32_t *word, uint32_t while_value, uint32_t timeout_ms)
{
    struct timespec t = {.tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000};

    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_value, timeout_ms == UINT32_MAX ? NULL : &t, NULL, 0);
}

void park_futex_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

void park_init(struct park *p)
{
    for (unsigned i = 0; i < PARK_SLOTS_MAX / 64; i++)
        atomic_init(&p->idle[i], 0);
    for (unsigned i = 0; i < PARK_SLOTS_MAX; i++)
        atomic_init(&p->slots[i].permit, 0);
}

void park_announce(struct park *p, unsigned slot)
{
    atomic_fetch_or_explicit(&p->idle[slot / 64], (uint64_t)1 << slot % 64,
                             ORDER(PARK_LOOK, memory_order_seq_cst));
}

static bool withdraw_bit(struct park *p, unsigned slot)
{
    uint64_t bit = (uint64_t)1 << slot % 64;
    return atomic_fetch_and_explicit(&p->idle[slot / 64], ~bit, memory_order_relaxed) & bit;
}

static void take_permit(struct park *p, unsigned slot, uint32_t timeout_ms)
{
    _Atomic uint32_t *permit = &p->slots[slot].permit;

    if (timeout_ms == UINT32_MAX) {
        while (!atomic_load_explicit(permit, ORDER(PARK_PERMIT, memory_order_acquire)))
            park_futex_wait(permit, 0, UINT32_MAX);
    } else if (!atomic_load_explicit(permit, ORDER(PARK_PERMIT, memory_order_acquire))) {
        park_futex_wait(permit, 0, timeout_ms);
    }
}

void park_withdraw(struct park *p, unsigned slot)
{
    if (!withdraw_bit(p, slot))
        take_permit(p, slot, UINT32_MAX); /* claimed already: the permit is on its way (I2) */
    /* Relaxed: nobody else writes before the next announce. */
    atomic_store_explicit(&p->slots[slot].permit, 0, memory_order_relaxed);
}

bool park_wait(struct park *p, unsigned slot, uint32_t timeout_ms)
{
    _Atomic uint32_t *permit = &p->slots[slot].permit;
    bool woken;

    take_permit(p, slot, timeout_ms);
    woken = atomic_load_explicit(permit, ORDER(PARK_PERMIT, memory_order_acquire)) != 0;
    if (!woken)
        woken = !withdraw_bit(p, slot);
    if (woken)
        take_permit(p, slot, UINT32_MAX);
    atomic_store_explicit(permit, 0, memory_order_relaxed);
    return woken;
}

bool park_wake_one(struct park *p)
{
    for (unsigned i = 0; i < PARK_SLOTS_MAX / 64; i++) {
        uint64_t idle = atomic_load_explicit(&p->idle[i], ORDER(PARK_LOOK, memory_order_seq_cst));

        while (idle) {
            unsigned slot = (unsigned)__builtin_ctzll(idle);
            uint64_t bit = (uint64_t)1 << slot;
            /* acquire: behind what the worker did before it announced itself, the reset of its permit
             * included */
            idle = atomic_fetch_and_explicit(&p->idle[i], ~bit, memory_order_acquire);
            if (idle & bit) {
                _Atomic uint32_t *permit = &p->slots[i * 64 + slot].permit;
                atomic_store_explicit(permit, 1, ORDER(PARK_PERMIT, memory_order_release));
                park_futex_wake(permit, 1);
                return true;
            }
            idle &= ~bit;
        }
    }
    return false;
}

unsigned park_count(struct park *p)
{
    unsigned count = 0;

    for (unsigned i = 0; i < PARK_SLOTS_MAX / 64; i++)
        count += (unsigned)__builtin_popcountll(atomic_load_explicit(&p->idle[i], memory_order_seq_cst));
    return count;
}
