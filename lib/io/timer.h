/* A timing wheel: timers of one thread, in milliseconds, all steps O(1).
 *
 * Five levels of 64 slots; level k has slots of 64^k ms. A timer stands in the slot of its deadline on the
 * lowest level that reaches it, and moves down as its time comes nearer. It fires in the first turn at or
 * behind its deadline.
 *
 * I1  A timer is in one list or in none (slot is TIMER_IDLE); arming it again moves it. One list is for
 *     timers that wait for nothing (TIMER_RESTING), so that an owner whose timers are always in a list
 *     needs no other to find them all: timer_each.
 * I2  expire calls back with the timer idle, so the callback may arm or free it, or disarm any other one.
 * I3  A deadline further away than 64^5 ms (12 days) fires early, at that distance: callers look at their
 *     clock. */
#ifndef WEFT_IO_TIMER_H
#define WEFT_IO_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#define TIMER_NEVER  UINT64_MAX
#define TIMER_LEVELS 5
#define TIMER_SLOTS  64
#define TIMER_RESTING (TIMER_LEVELS * TIMER_SLOTS)
#define TIMER_IDLE    UINT16_MAX

struct timer {
    struct timer *next;
    struct timer *prev;
    uint64_t deadline_ms : 48; /* 8,900 years; the two share a word because every connection has a timer */
    uint64_t slot : 16;        /* level * TIMER_SLOTS + index, or TIMER_RESTING */
};

struct timer_wheel {
    struct timer *slots[TIMER_LEVELS * TIMER_SLOTS + 1];
    uint64_t used[TIMER_LEVELS + 1]; /* bit i: slot i is not empty */
    uint64_t now_ms;                 /* everything before it has fired */
    struct timer *walk;              /* timer_each calls it next, unless it is taken out of its list */
    bool is_firing;                  /* the slot of now_ms is being emptied: nothing may be put into it */
};

typedef void timer_fn(struct timer *t, void *arg);

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ms);
static inline void timer_init(struct timer *t)
{
    t->slot = TIMER_IDLE;
}
void timer_arm(struct timer_wheel *w, struct timer *t, uint64_t deadline_ms); /* TIMER_NEVER disarms */
void timer_disarm(struct timer_wheel *w, struct timer *t);
/* It never fires, but timer_each finds it. */
void timer_rest(struct timer_wheel *w, struct timer *t);
/* Call for every timer, armed or resting. The callback may move, disarm or free any timer; one that it
 * moves may be called once more, all others are called once. */
void timer_each(struct timer_wheel *w, timer_fn *call, void *arg);
void timer_expire(struct timer_wheel *w, uint64_t now_ms, timer_fn *fire, void *arg);
/* When expire is to be called next; it may come out earlier than the next deadline, never later.
 * TIMER_NEVER: no timer. */
uint64_t timer_next_ms(const struct timer_wheel *w);

#endif
