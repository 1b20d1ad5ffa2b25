/* Waiting for the next turn; see turn.h. */
#include "sync/turn.h"

#include <stddef.h>

#include "base/clock.h"
#include "sync/cancel.h"
#include "sync/park.h"
#include "weft/error.h"

/* A futex is waited for in pieces no longer than this. */
#define WAIT_MS_MAX 3600000u

void turn_next(struct turn *t)
{
    uint32_t old = atomic_load_explicit(&t->word, memory_order_relaxed);

    /* Wrapping around is no harm: nobody sleeps through 2^31 turns between its look and its mark. */
    while (!atomic_compare_exchange_weak_explicit(&t->word, &old, (old | TURN_MARK) + 1,
                                                  ORDER(TURN_NEXT, memory_order_release),
                                                  memory_order_relaxed)) {
    }
    if (old & TURN_MARK)
        park_futex_wake(&t->word, INT32_MAX);
}

uint64_t turn_until_ns(uint32_t timeout_ms)
{
    return timeout_ms == UINT32_MAX ? TURN_NO_END_NS : clock_now_ns() + (uint64_t)timeout_ms * 1000000;
}

/* For the futex, rounded up: it must not return before the end. 0: the end has come. */
static uint32_t left_ms(uint64_t until_ns)
{
    uint64_t now_ns, left;

    if (until_ns == TURN_NO_END_NS)
        return UINT32_MAX;
    now_ns = clock_now_ns();
    if (now_ns >= until_ns)
        return 0;
    left = (until_ns - now_ns + 999999) / 1000000;
    return left < WAIT_MS_MAX ? (uint32_t)left : WAIT_MS_MAX;
}

int turn_wait_anyhow(struct turn *t, uint32_t seen, uint64_t until_ns)
{
    uint32_t word = seen, ms;

    /* On failure another waiter may have marked it, which is as good. */
    if (!atomic_compare_exchange_strong_explicit(&t->word, &word, seen | TURN_MARK, memory_order_relaxed,
                                                 memory_order_relaxed) &&
        word != (seen | TURN_MARK))
        return WEFT_OK;
    while ((ms = left_ms(until_ns)) != 0) {
        park_futex_wait(&t->word, seen | TURN_MARK, ms);
        /* Relaxed: what belongs to the turn is read behind the next look. */
        if (atomic_load_explicit(&t->word, memory_order_relaxed) != (seen | TURN_MARK))
            return WEFT_OK;
    }
    return WEFT_E_TIMEOUT;
}

struct wake_hook {
    struct cancel_hook hook;
    struct turn *turn;
};

static void make_next(struct cancel_hook *hook)
{
    turn_next(((struct wake_hook *)(void *)hook)->turn);
}

int turn_wait(struct turn *t, uint32_t seen, uint64_t until_ns)
{
    struct wake_hook h = {.hook.fire = make_next, .turn = t};
    int rc;

    if (!cancel_add(&h.hook))
        return WEFT_E_CANCELED;
    rc = turn_wait_anyhow(t, seen, until_ns);
    return cancel_remove(&h.hook) ? rc : WEFT_E_CANCELED;
}
