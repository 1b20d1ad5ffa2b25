/* The timing wheel; see timer.h. */
#include "io/timer.h"

#include <stddef.h>
#include <string.h>

#define SLOT_BITS 6
/* What the field holds; a deadline behind it is as good as this one. */
#define DEADLINE_MS_MAX (((uint64_t)1 << 48) - 1)

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ms)
{
    memset(w, 0, sizeof *w);
    w->now_ms = now_ms;
}

static void unlink_timer(struct timer_wheel *w, struct timer *t)
{
    if (t->prev)
        t->prev->next = t->next;
    else
        w->slots[t->slot] = t->next;
    if (t->next)
        t->next->prev = t->prev;
    if (w->walk == t)
        w->walk = t->next;
    if (!w->slots[t->slot])
        w->used[t->slot / TIMER_SLOTS] &= ~((uint64_t)1 << t->slot % TIMER_SLOTS);
    t->slot = TIMER_IDLE;
}

static void link_into(struct timer_wheel *w, struct timer *t, unsigned slot)
{
    t->slot = (uint16_t)slot;
    t->prev = NULL;
    t->next = w->slots[slot];
    if (t->next)
        t->next->prev = t;
    w->slots[slot] = t;
    w->used[slot / TIMER_SLOTS] |= (uint64_t)1 << slot % TIMER_SLOTS;
}

/* The lowest level on which the deadline and now differ by less than one round. */
static void link_timer(struct timer_wheel *w, struct timer *t)
{
    uint64_t earliest = w->now_ms + w->is_firing;
    uint64_t at = t->deadline_ms < earliest ? earliest : t->deadline_ms;
    unsigned level = 0, index;

    while (level < TIMER_LEVELS - 1 &&
           (at >> SLOT_BITS * level) - (w->now_ms >> SLOT_BITS * level) >= TIMER_SLOTS)
        level++;
    if ((at >> SLOT_BITS * level) - (w->now_ms >> SLOT_BITS * level) >= TIMER_SLOTS)
        at = w->now_ms + ((uint64_t)(TIMER_SLOTS - 1) << SLOT_BITS * level);
    index = (at >> SLOT_BITS * level) % TIMER_SLOTS;
    link_into(w, t, level * TIMER_SLOTS + index);
}

void timer_arm(struct timer_wheel *w, struct timer *t, uint64_t deadline_ms)
{
    timer_disarm(w, t);
    if (deadline_ms == TIMER_NEVER)
        return;
    t->deadline_ms = deadline_ms < DEADLINE_MS_MAX ? deadline_ms : DEADLINE_MS_MAX;
    link_timer(w, t);
}

void timer_disarm(struct timer_wheel *w, struct timer *t)
{
    if (t->slot != TIMER_IDLE)
        unlink_timer(w, t);
}

void timer_rest(struct timer_wheel *w, struct timer *t)
{
    timer_disarm(w, t);
    link_into(w, t, TIMER_RESTING);
}

void timer_each(struct timer_wheel *w, timer_fn *call, void *arg)
{
    for (unsigned slot = 0; slot <= TIMER_RESTING; slot++) {
        w->walk = w->slots[slot];
        while (w->walk) {
            struct timer *t = w->walk;
            w->walk = t->next;
            call(t, arg);
        }
    }
}

/* The start of the first slot in use on a level, at or behind now. */
static uint64_t next_on_level(const struct timer_wheel *w, unsigned level)
{
    uint64_t here = w->now_ms >> SLOT_BITS * level;
    unsigned index = here % TIMER_SLOTS;
    uint64_t bits = w->used[level];
    uint64_t turned;

    if (!bits)
        return TIMER_NEVER;
    turned = index ? bits >> index | bits << (TIMER_SLOTS - index) : bits;
    return (here + (unsigned)__builtin_ctzll(turned)) << SLOT_BITS * level;
}

uint64_t timer_next_ms(const struct timer_wheel *w)
{
    uint64_t next = TIMER_NEVER;

    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        uint64_t at = next_on_level(w, level);
        if (at < next)
            next = at;
    }
    return next < w->now_ms ? w->now_ms : next;
}

/* Move what stands in the slots that begin now one or more levels down. */
static void cascade(struct timer_wheel *w)
{
    for (unsigned level = TIMER_LEVELS - 1; level > 0; level--) {
        unsigned slot = level * TIMER_SLOTS + (w->now_ms >> SLOT_BITS * level) % TIMER_SLOTS;
        struct timer *t = w->slots[slot];

        while (t) {
            struct timer *next = t->next;
            unlink_timer(w, t);
            link_timer(w, t);
            t = next;
        }
    }
}

static void fire_slot(struct timer_wheel *w, timer_fn *fire, void *arg)
{
    unsigned slot = w->now_ms % TIMER_SLOTS;

    w->is_firing = true;
    while (w->slots[slot]) {
        struct timer *t = w->slots[slot];
        unlink_timer(w, t);
        fire(t, arg);
    }
    w->is_firing = false;
}

void timer_expire(struct timer_wheel *w, uint64_t now_ms, timer_fn *fire, void *arg)
{
    for (;;) {
        uint64_t next = timer_next_ms(w);
        if (next > now_ms)
            break;
        w->now_ms = next;
        cascade(w);
        fire_slot(w, fire, arg);
        w->now_ms++; /* the slot is done */
        cascade(w);
    }
    if (w->now_ms < now_ms)
        w->now_ms = now_ms;
}
