/* The timing wheel against a plain list of deadlines. Time is a number of the test's own. */
#include "unit.h"
#include "io/timer.h"

#include <stdlib.h>
#include <string.h>

#define TURN ((uint64_t)1 << 30) /* 64^5 ms: how far the wheel reaches */

/* --- one after the other: the small cases --- */

struct fired {
    struct timer *timers[64];
    size_t count;
};

static void note(struct timer *t, void *arg)
{
    struct fired *f = arg;

    CU_ASSERT_EQUAL(t->slot, TIMER_IDLE); /* I2 */
    CU_ASSERT_FATAL(f->count < 64);
    f->timers[f->count++] = t;
}

static void note_any(struct timer *t, void *arg)
{
    struct fired *f = arg;

    CU_ASSERT_NOT_EQUAL(t->slot, TIMER_IDLE);
    CU_ASSERT_FATAL(f->count < 64);
    f->timers[f->count++] = t;
}

static size_t fired_at(struct timer_wheel *w, uint64_t now_ms)
{
    struct fired f = {.count = 0};

    timer_expire(w, now_ms, note, &f);
    return f.count;
}

static const uint64_t starts[] = {0,    1,      62,     63,       64,       65,   4095,
                                  4096, 262143, 262144, 16777215, TURN - 1, TURN, 123456789012};
static const uint64_t distances[] = {1,      2,      62,     63,       64,       65,
                                     127,    128,    4032,   4095,     4096,     4097,
                                     262143, 262144, 262145, 16777215, 16777216, 16777217,
                                     99999,  500000, 999999, TURN / 2, TURN - 1, TURN - 64};
#define COUNT(a) (sizeof a / sizeof *a)

static void a_timer_fires_at_its_deadline_and_not_a_millisecond_before(void)
{
    for (size_t i = 0; i < COUNT(starts); i++)
        for (size_t k = 0; k < COUNT(distances); k++) {
            uint64_t deadline = starts[i] + distances[k];
            struct timer_wheel w;
            struct timer t;

            timer_wheel_init(&w, starts[i]);
            timer_init(&t);
            timer_arm(&w, &t, deadline);
            CU_ASSERT_EQUAL(fired_at(&w, deadline - 1), 0);
            CU_ASSERT_NOT_EQUAL(t.slot, TIMER_IDLE);
            CU_ASSERT_EQUAL(fired_at(&w, deadline), 1);
            CU_ASSERT_EQUAL(t.slot, TIMER_IDLE);
            CU_ASSERT_EQUAL(fired_at(&w, deadline + TURN), 0); /* once */
        }
}

static void one_long_jump_fires_all_that_are_due_in_the_order_of_their_deadlines(void)
{
    for (size_t i = 0; i < COUNT(starts); i++) {
        struct timer timers[COUNT(distances)];
        struct fired f = {.count = 0};
        struct timer_wheel w;

        timer_wheel_init(&w, starts[i]);
        for (size_t k = 0; k < COUNT(distances); k++) {
            timer_init(&timers[k]);
            timer_arm(&w, &timers[k], starts[i] + distances[k]);
        }
        timer_expire(&w, starts[i] + 2 * TURN, note, &f);
        CU_ASSERT_EQUAL(f.count, COUNT(distances));
        for (size_t k = 1; k < f.count; k++)
            CU_ASSERT(f.timers[k - 1]->deadline_ms <= f.timers[k]->deadline_ms);
        CU_ASSERT_EQUAL(timer_next_ms(&w), TIMER_NEVER);
    }
}

static void a_deadline_in_the_past_or_now_fires_in_the_next_turn(void)
{
    struct timer_wheel w;
    struct timer t;

    timer_wheel_init(&w, 1000);
    timer_init(&t);
    for (uint64_t deadline = 0; deadline <= 1000; deadline += 500) {
        timer_wheel_init(&w, 1000);
        timer_arm(&w, &t, deadline);
        CU_ASSERT_EQUAL(timer_next_ms(&w), 1000);
        CU_ASSERT_EQUAL(fired_at(&w, 1000), 1);
    }
}

static void arming_again_moves_a_timer(void)
{
    struct timer_wheel w;
    struct timer t;

    timer_wheel_init(&w, 0);
    timer_init(&t);
    timer_arm(&w, &t, 10);
    timer_arm(&w, &t, 100000);
    CU_ASSERT_EQUAL(fired_at(&w, 99999), 0);
    timer_arm(&w, &t, 100001);
    CU_ASSERT_EQUAL(fired_at(&w, 100000), 0);
    timer_arm(&w, &t, 5); /* earlier */
    CU_ASSERT_EQUAL(fired_at(&w, 100001), 1);
    CU_ASSERT_EQUAL(fired_at(&w, 200000), 0);
}

static void a_disarmed_timer_does_not_fire_and_may_be_disarmed_again(void)
{
    struct timer_wheel w;
    struct timer a, b;

    timer_wheel_init(&w, 0);
    timer_init(&a);
    timer_init(&b);
    timer_disarm(&w, &a); /* never armed */
    timer_arm(&w, &a, 70);
    timer_arm(&w, &b, 70);
    timer_disarm(&w, &a);
    timer_disarm(&w, &a);
    CU_ASSERT_EQUAL(a.slot, TIMER_IDLE);
    CU_ASSERT_EQUAL(fired_at(&w, 100), 1);
    timer_arm(&w, &a, 200);
    timer_arm(&w, &a, TIMER_NEVER); /* disarms */
    CU_ASSERT_EQUAL(a.slot, TIMER_IDLE);
    CU_ASSERT_EQUAL(timer_next_ms(&w), TIMER_NEVER);
    CU_ASSERT_EQUAL(fired_at(&w, 1000), 0);
}

static void without_a_timer_there_is_no_next(void)
{
    struct timer_wheel w;

    timer_wheel_init(&w, 12345);
    CU_ASSERT_EQUAL(timer_next_ms(&w), TIMER_NEVER);
    CU_ASSERT_EQUAL(fired_at(&w, 99999999), 0);
    CU_ASSERT_EQUAL(timer_next_ms(&w), TIMER_NEVER);
}

/* Following timer_next_ms costs a step a level, not one a slot; one more where the highest level is cut
 * short. */
static void a_lone_timer_is_reached_in_a_step_a_level_and_one_at_most(void)
{
    for (size_t i = 0; i < COUNT(starts); i++)
        for (size_t k = 0; k < COUNT(distances); k++) {
            uint64_t deadline = starts[i] + distances[k];
            unsigned steps = 0;
            struct timer_wheel w;
            struct timer t;

            timer_wheel_init(&w, starts[i]);
            timer_init(&t);
            timer_arm(&w, &t, deadline);
            for (uint64_t next; (next = timer_next_ms(&w)) != TIMER_NEVER && steps < 100; steps++) {
                CU_ASSERT(next <= deadline);
                CU_ASSERT_EQUAL(fired_at(&w, next), next == deadline);
            }
            CU_ASSERT(steps <= TIMER_LEVELS + 1);
        }
}

/* I3 allows early, at the wheel's reach; never late, and never at once. */
static void a_deadline_beyond_the_wheel_fires_at_the_wheels_reach_or_later_but_not_late(void)
{
    static const uint64_t far[] = {TURN,       TURN + 1,         TURN * 3 + 12345, TURN * 64,
                                   TURN << 18, (TURN << 18) + 5, (TURN << 20) + 5, TIMER_NEVER - 1};

    for (size_t i = 0; i < COUNT(starts); i++)
        for (size_t k = 0; k < COUNT(far); k++) {
            bool is_endless = far[k] > TURN * 64; /* more steps than are worth while */
            uint64_t deadline = is_endless ? far[k] : starts[i] + far[k];
            uint64_t now = starts[i], step = TURN / 3;
            struct timer_wheel w;
            struct timer t;

            timer_wheel_init(&w, starts[i]);
            timer_init(&t);
            timer_arm(&w, &t, deadline);
            CU_ASSERT_EQUAL(fired_at(&w, starts[i] + TURN / 64 * 62), 0);
            CU_ASSERT(timer_next_ms(&w) <= deadline);
            for (unsigned n = 0; n < 400 && t.slot != TIMER_IDLE && deadline - now > step; n++)
                fired_at(&w, now += step);
            if (!is_endless && t.slot != TIMER_IDLE)
                CU_ASSERT_EQUAL(fired_at(&w, deadline), 1);
        }
}

/* --- callbacks that change the wheel --- */

struct chain {
    struct timer_wheel *w;
    struct timer *timers;
    size_t count;
    uint64_t now_ms; /* what expire was called with */
    unsigned fired[8];
    uint64_t rearm_ms; /* for timer 0, as its deadline; TIMER_NEVER: disarm */
};

static void change(struct timer *t, void *arg)
{
    struct chain *c = arg;
    size_t i = (size_t)(t - c->timers);

    c->fired[i]++;
    if (i == 0)
        timer_arm(c->w, t, c->rearm_ms);
    else
        for (size_t k = 0; k < c->count; k++) /* the first of the others to fire disarms all others */
            if (k != i && k != 0)
                timer_disarm(c->w, &c->timers[k]);
}

static void expire_with(struct chain *c, uint64_t now_ms)
{
    c->now_ms = now_ms;
    timer_expire(c->w, now_ms, change, c);
}

static struct chain chain_at(struct timer_wheel *w, struct timer *timers, size_t count, uint64_t now_ms)
{
    timer_wheel_init(w, now_ms);
    for (size_t i = 0; i < count; i++)
        timer_init(&timers[i]);
    return (struct chain){.w = w, .timers = timers, .count = count};
}

static void a_callback_that_arms_for_now_or_the_past_is_called_again_but_expire_ends(void)
{
    static const uint64_t back[] = {0, 1, 100, 5000};

    for (size_t i = 0; i < COUNT(starts); i++)
        for (size_t k = 0; k < COUNT(back); k++) {
            uint64_t at = starts[i] + 10000;
            struct timer_wheel w;
            struct timer t;
            struct chain c = chain_at(&w, &t, 1, starts[i]);

            c.rearm_ms = at - back[k];
            timer_arm(&w, &t, at);
            expire_with(&c, at);
            CU_ASSERT_EQUAL(c.fired[0], 1);
            CU_ASSERT_NOT_EQUAL(t.slot, TIMER_IDLE);
            CU_ASSERT(timer_next_ms(&w) <= at + 1);
            expire_with(&c, at + 1);
            CU_ASSERT_EQUAL(c.fired[0], 2);
        }
}

static void a_callback_may_arm_any_distance_ahead(void)
{
    for (size_t i = 0; i < COUNT(starts); i++)
        for (size_t k = 0; k < COUNT(distances); k++) {
            uint64_t at = starts[i] + 77;
            struct timer_wheel w;
            struct timer t;
            struct chain c = chain_at(&w, &t, 1, starts[i]);

            c.rearm_ms = at + distances[k];
            timer_arm(&w, &t, at);
            expire_with(&c, at);
            CU_ASSERT_EQUAL(c.fired[0], 1);
            CU_ASSERT(timer_next_ms(&w) <= c.rearm_ms);
            if (distances[k] > 1)
                expire_with(&c, c.rearm_ms - 1);
            CU_ASSERT_EQUAL(c.fired[0], 1);
            c.rearm_ms = TIMER_NEVER;
            expire_with(&c, at + distances[k]);
            CU_ASSERT_EQUAL(c.fired[0], 2);
            CU_ASSERT_EQUAL(t.slot, TIMER_IDLE);
        }
}

/* The deadline the callback sets is passed by the same jump. */
static void a_timer_armed_by_a_callback_inside_a_jump_fires_in_the_same_turn(void)
{
    struct timer_wheel w;
    struct timer t;
    struct chain c = chain_at(&w, &t, 1, 0);

    c.rearm_ms = 100 + 64;
    timer_arm(&w, &t, 100);
    timer_expire(&w, 150, change, &c);
    CU_ASSERT_EQUAL(c.fired[0], 1);
    c = chain_at(&w, &t, 1, 0);
    c.rearm_ms = 5000;
    timer_arm(&w, &t, 100);
    expire_with(&c, 5000);
    CU_ASSERT_EQUAL(c.fired[0], 2);
}

static void a_callback_may_disarm_others_of_its_slot_and_of_later_ones(void)
{
    static const uint64_t later[] = {0, 1, 63, 64, 5000, 300000};

    for (size_t k = 0; k < COUNT(later); k++) {
        struct timer_wheel w;
        struct timer timers[5];
        struct chain c = chain_at(&w, timers, 5, 40);
        unsigned sum = 0;

        for (size_t i = 1; i < 5; i++)
            timer_arm(&w, &timers[i], i == 4 ? 100 + later[k] : 100);
        timer_expire(&w, 1000000, change, &c);
        for (size_t i = 1; i < 5; i++) {
            sum += c.fired[i];
            CU_ASSERT_EQUAL(timers[i].slot, TIMER_IDLE);
        }
        CU_ASSERT_EQUAL(sum, 1);
        CU_ASSERT_EQUAL(timer_next_ms(&w), TIMER_NEVER);
    }
}

static void free_it(struct timer *t, void *arg)
{
    memset(t, 0x5a, sizeof *t);
    free(t);
    ++*(unsigned *)arg;
}

static void a_callback_may_free_its_timer(void)
{
    unsigned count = 0;
    struct timer_wheel w;

    timer_wheel_init(&w, 0);
    for (uint64_t i = 0; i < 200; i++) {
        struct timer *t = malloc(sizeof *t);
        timer_init(t);
        timer_arm(&w, t, i % 5 * 40);
    }
    timer_expire(&w, 200, free_it, &count);
    CU_ASSERT_EQUAL(count, 200);
}

static void a_resting_timer_never_fires_but_is_found(void)
{
    struct timer_wheel w;
    struct timer t, armed;
    struct fired f = {.count = 0};

    timer_wheel_init(&w, 1000);
    timer_init(&t);
    timer_init(&armed);
    timer_arm(&w, &t, 1100);
    timer_rest(&w, &t);
    CU_ASSERT_EQUAL(timer_next_ms(&w), TIMER_NEVER);
    CU_ASSERT_EQUAL(fired_at(&w, 1000 + 2 * TURN), 0);
    timer_arm(&w, &armed, 3 * TURN);
    timer_each(&w, note_any, &f);
    CU_ASSERT_EQUAL(f.count, 2);
    CU_ASSERT(f.timers[0] != f.timers[1]);
    timer_arm(&w, &t, 1000 + 2 * TURN + 5);
    CU_ASSERT_EQUAL(fired_at(&w, 1000 + 2 * TURN + 5), 1);
    timer_rest(&w, &t);
    timer_disarm(&w, &t);
    CU_ASSERT_EQUAL(t.slot, TIMER_IDLE);
    f.count = 0;
    timer_each(&w, note_any, &f);
    CU_ASSERT_EQUAL(f.count, 1);
}

/* Each call of timer_each does something to a timer that it may meet next. */
enum { WALKED = 200 };

struct walk {
    struct timer_wheel wheel;
    struct timer *timers[WALKED]; /* NULL: freed */
    unsigned calls[WALKED];
    bool was_moved[WALKED];
    unsigned random, freed;
};

static unsigned walk_random(struct walk *w)
{
    w->random = w->random * 1103515245 + 12345;
    return w->random >> 16;
}

static void put_anywhere(struct walk *w, unsigned i)
{
    if (walk_random(w) % 4 == 0)
        timer_rest(&w->wheel, w->timers[i]);
    else
        timer_arm(&w->wheel, w->timers[i], walk_random(w) % 4 ? 50 : walk_random(w));
}

static void meddle(struct timer *t, void *arg)
{
    struct walk *w = arg;
    unsigned me = 0, i = walk_random(w) % WALKED;

    while (w->timers[me] != t)
        me++;
    w->calls[me]++;
    if (t->next && walk_random(w) % 2) /* the one that would be next */
        for (i = 0; w->timers[i] != t->next;)
            i++;
    if (walk_random(w) % 4 == 0)
        i = me;
    if (!w->timers[i])
        return;
    if (walk_random(w) % 3 == 0) {
        timer_disarm(&w->wheel, w->timers[i]);
        free(w->timers[i]);
        w->timers[i] = NULL;
        w->freed++;
    } else {
        put_anywhere(w, i);
        w->was_moved[i] = true;
    }
}

static void all_are_walked_while_any_is_moved_or_freed(void)
{
    for (unsigned round = 0; round < 200; round++) {
        struct walk w = {.random = round};

        timer_wheel_init(&w.wheel, 0);
        for (unsigned i = 0; i < WALKED; i++) {
            w.timers[i] = malloc(sizeof *w.timers[i]);
            timer_init(w.timers[i]);
            put_anywhere(&w, i);
        }
        timer_each(&w.wheel, meddle, &w);
        CU_ASSERT(w.freed > 0 && w.freed < WALKED);
        for (unsigned i = 0; i < WALKED; i++) {
            if (w.timers[i] && !w.was_moved[i])
                CU_ASSERT_EQUAL(w.calls[i], 1);
            free(w.timers[i]);
        }
    }
}

/* --- against a list --- */

enum { TIMERS = 120 };

/* Behind each timer of the wheel, what a list would know of it. */
struct listed {
    struct timer timer;
    uint64_t deadline_ms; /* TIMER_NEVER: not armed */
    uint64_t armed_ms;
    bool has_fired; /* in this turn */
};

struct comparison {
    struct timer_wheel wheel;
    struct listed list[TIMERS];
    uint64_t before_ms, now_ms;
    uint64_t random;
    unsigned wrong, fired;
};

static uint64_t next_random(struct comparison *c)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return c->random;
}

/* Distances of all sizes alike. */
static uint64_t random_distance(struct comparison *c, unsigned bits)
{
    return next_random(c) & (((uint64_t)1 << next_random(c) % bits) - 1 + next_random(c) % 2);
}

static void arm_randomly(struct comparison *c, struct listed *l)
{
    uint64_t deadline = c->now_ms + random_distance(c, 33);

    switch (next_random(c) % 8) {
    case 0:
        deadline = TIMER_NEVER;
        break;
    case 1:
        deadline = c->now_ms > 1000 ? c->now_ms - next_random(c) % 1000 : 0;
        break;
    case 2:
        deadline = (c->now_ms | 4095) + next_random(c) % 3; /* around a border of a level */
        break;
    default:
        break;
    }
    timer_arm(&c->wheel, &l->timer, deadline);
    l->deadline_ms = deadline;
    l->armed_ms = c->now_ms;
}

static void compare_fired(struct timer *t, void *arg)
{
    struct comparison *c = arg;
    struct listed *l = (struct listed *)t;
    bool is_far =
        l->deadline_ms != TIMER_NEVER && l->deadline_ms > l->armed_ms && l->deadline_ms - l->armed_ms >= TURN;

    c->fired++;
    c->wrong += l->deadline_ms == TIMER_NEVER || t->slot != TIMER_IDLE;
    c->wrong += l->deadline_ms > c->now_ms && !is_far; /* early */
    l->deadline_ms = TIMER_NEVER;
    l->has_fired = true;
    if (next_random(c) % 3 == 0)
        arm_randomly(c, l);
    if (next_random(c) % 8 == 0) {
        struct listed *other = &c->list[next_random(c) % TIMERS];
        timer_disarm(&c->wheel, &other->timer);
        other->deadline_ms = TIMER_NEVER;
    }
    if (next_random(c) % 8 == 0)
        arm_randomly(c, &c->list[next_random(c) % TIMERS]);
}

/* What is left must not be due: only what a callback armed for this very turn may wait for the next. */
static void look_for_late_ones(struct comparison *c)
{
    uint64_t first = TIMER_NEVER, next = timer_next_ms(&c->wheel);

    for (size_t i = 0; i < TIMERS; i++) {
        struct listed *l = &c->list[i];
        c->wrong += (l->deadline_ms == TIMER_NEVER) != (l->timer.slot == TIMER_IDLE);
        c->wrong += l->deadline_ms <= c->now_ms && l->armed_ms < c->now_ms;
        if (l->deadline_ms < first)
            first = l->deadline_ms;
    }
    c->wrong += next > (first > c->now_ms ? first : c->now_ms + 1);
    c->wrong += (first == TIMER_NEVER) != (next == TIMER_NEVER);
}

static void compare(struct comparison *c, unsigned steps)
{
    for (unsigned step = 0; step < steps && !c->wrong; step++) {
        for (unsigned i = next_random(c) % 4; i; i--) {
            arm_randomly(c, &c->list[next_random(c) % TIMERS]);
        }
        c->wrong += timer_next_ms(&c->wheel) < c->before_ms;
        /* A jump, or exactly to where the wheel asks for, as the loop does. */
        c->before_ms = c->now_ms;
        c->now_ms += 1 + random_distance(c, next_random(c) % 4 ? 12 : 31);
        if (next_random(c) % 2 && timer_next_ms(&c->wheel) > c->before_ms &&
            timer_next_ms(&c->wheel) < c->now_ms)
            c->now_ms = timer_next_ms(&c->wheel);
        timer_expire(&c->wheel, c->now_ms, compare_fired, c);
        look_for_late_ones(c);
    }
}

static void the_wheel_does_what_a_list_would_do(void)
{
    unsigned fired = 0, rounds = unit_is_slow() ? 20 : 200;

    for (unsigned round = 0; round < rounds; round++) {
        static struct comparison c;

        memset(&c, 0, sizeof c);
        c.random = 0x9e3779b97f4a7c15u + round;
        c.now_ms = starts[round % COUNT(starts)];
        c.before_ms = c.now_ms;
        timer_wheel_init(&c.wheel, c.now_ms);
        for (size_t i = 0; i < TIMERS; i++) {
            timer_init(&c.list[i].timer);
            c.list[i].deadline_ms = TIMER_NEVER;
        }
        compare(&c, 1500);
        CU_ASSERT_EQUAL(c.wrong, 0);
        fired += c.fired;
    }
    CU_ASSERT(fired > rounds * 1000);
}

static const struct unit_case cases[] = {
    CASE(a_timer_fires_at_its_deadline_and_not_a_millisecond_before),
    CASE(one_long_jump_fires_all_that_are_due_in_the_order_of_their_deadlines),
    CASE(a_deadline_in_the_past_or_now_fires_in_the_next_turn),
    CASE(arming_again_moves_a_timer),
    CASE(a_disarmed_timer_does_not_fire_and_may_be_disarmed_again),
    CASE(without_a_timer_there_is_no_next),
    CASE(a_lone_timer_is_reached_in_a_step_a_level_and_one_at_most),
    CASE(a_deadline_beyond_the_wheel_fires_at_the_wheels_reach_or_later_but_not_late),
    CASE(a_callback_that_arms_for_now_or_the_past_is_called_again_but_expire_ends),
    CASE(a_callback_may_arm_any_distance_ahead),
    CASE(a_timer_armed_by_a_callback_inside_a_jump_fires_in_the_same_turn),
    CASE(a_callback_may_disarm_others_of_its_slot_and_of_later_ones),
    CASE(a_callback_may_free_its_timer),
    CASE(a_resting_timer_never_fires_but_is_found),
    CASE(all_are_walked_while_any_is_moved_or_freed),
    CASE(the_wheel_does_what_a_list_would_do),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "timer", cases, sizeof cases / sizeof cases[0]);
}
