/* Where idle workers wait: claims, permits, timeouts, and no wake-up lost. */
#include "unit.h"
#include "crew.h"
#include "base/cpu.h"
#include "base/clock.h"
#include "sync/park.h"
#include "sync/ring.h"
#include "weft/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

/* A wait that lasts this long was not ended by the wake-up it waited for. */
enum { LOST_AFTER_MS = 20000 };

static struct park park;

static unsigned permits_left(struct park *p)
{
    unsigned count = 0;

    for (unsigned i = 0; i < PARK_SLOTS_MAX; i++)
        count += atomic_load(&p->slots[i].permit) != 0;
    return count;
}

static void at_first_nobody_waits(void)
{
    park_init(&park);
    CU_ASSERT_EQUAL(park_count(&park), 0);
    CU_ASSERT_FALSE(park_wake_one(&park));
    CU_ASSERT_EQUAL(permits_left(&park), 0);
}

static void each_slot_can_announce_and_withdraw(void) /* I1 */
{
    park_init(&park);
    for (unsigned i = 0; i < PARK_SLOTS_MAX; i++) {
        park_announce(&park, i);
        CU_ASSERT_EQUAL(park_count(&park), i + 1);
    }
    for (unsigned i = 0; i < PARK_SLOTS_MAX; i++) {
        park_withdraw(&park, i);
        CU_ASSERT_EQUAL(park_count(&park), PARK_SLOTS_MAX - 1 - i);
    }
    CU_ASSERT_FALSE(park_wake_one(&park));
    CU_ASSERT_EQUAL(permits_left(&park), 0);
}

static void a_claim_clears_one_bit_and_gives_one_permit(void) /* I1 */
{
    park_init(&park);
    for (unsigned i = 0; i < PARK_SLOTS_MAX; i += 70)
        park_announce(&park, i);
    for (unsigned claimed = 1; claimed <= 6; claimed++) {
        CU_ASSERT_TRUE(park_wake_one(&park));
        CU_ASSERT_EQUAL(park_count(&park), 6 - claimed);
        CU_ASSERT_EQUAL(permits_left(&park), claimed);
    }
    CU_ASSERT_FALSE(park_wake_one(&park));
    for (unsigned i = 0; i < PARK_SLOTS_MAX; i++)
        CU_ASSERT_EQUAL(atomic_load(&park.slots[i].permit) != 0, i % 70 == 0);
}

static void a_permit_that_is_there_ends_the_wait_at_once_and_is_used_up(void)
{
    park_init(&park);
    for (int round = 0; round < 3; round++) {
        park_announce(&park, 70);
        CU_ASSERT_TRUE(park_wake_one(&park));
        CU_ASSERT_TRUE(park_wait(&park, 70, round ? UINT32_MAX : 10000));
        CU_ASSERT_EQUAL(permits_left(&park), 0);
        CU_ASSERT_EQUAL(park_count(&park), 0);
    }
}

static void withdrawing_a_claimed_slot_uses_up_its_permit(void) /* I2 */
{
    park_init(&park);
    park_announce(&park, 3);
    CU_ASSERT_TRUE(park_wake_one(&park));
    park_withdraw(&park, 3);
    CU_ASSERT_EQUAL(permits_left(&park), 0);
    park_announce(&park, 3);
    CU_ASSERT_FALSE(park_wait(&park, 3, 1)); /* the old permit does not end a new wait */
}

static void a_wait_ends_when_its_time_is_over_and_withdraws(void)
{
    static const uint32_t times_ms[] = {0, 1, 30};

    park_init(&park);
    for (int i = 0; i < 3; i++) {
        uint64_t start_ns = clock_now_ns();

        park_announce(&park, 200);
        CU_ASSERT_FALSE(park_wait(&park, 200, times_ms[i]));
        CU_ASSERT_TRUE(clock_now_ns() - start_ns >= times_ms[i] * 1000000ull);
        CU_ASSERT_EQUAL(park_count(&park), 0);
        CU_ASSERT_FALSE(park_wake_one(&park));
    }
}

static void a_futex_whose_word_has_changed_does_not_wait(void)
{
    _Atomic uint32_t word = 5;
    uint64_t start_ns = clock_now_ns();

    park_futex_wait(&word, 4, UINT32_MAX);
    park_futex_wait(&word, 5, 20);
    CU_ASSERT_TRUE(clock_now_ns() - start_ns >= 20 * 1000000ull);
    park_futex_wake(&word, INT32_MAX); /* nobody is there */
}

/* --- threads that wait --- */

enum { WAITERS = 5 };

struct waiter {
    struct park *park;
    unsigned slot;
    uint32_t timeout_ms;
    int *given; /* plain: only the permit carries what was written there */
    int found;
    _Atomic unsigned *woken;
    bool was_woken;
};

static void *wait_once(void *arg)
{
    struct waiter *w = arg;

    park_announce(w->park, w->slot);
    w->was_woken = park_wait(w->park, w->slot, w->timeout_ms);
    if (w->given)
        w->found = *w->given;
    atomic_fetch_add(w->woken, 1);
    return NULL;
}

static void wait_for_count(struct park *p, unsigned count)
{
    while (park_count(p) != count)
        sched_yield();
}

static void each_wake_up_wakes_exactly_one(void)
{
    struct timespec moment = {.tv_nsec = 3000000};
    struct waiter waiters[WAITERS];
    struct crew crew = {0};
    _Atomic unsigned woken = 0;

    park_init(&park);
    for (unsigned i = 0; i < WAITERS; i++) {
        waiters[i] =
            (struct waiter){.park = &park, .slot = i * 60, .timeout_ms = UINT32_MAX, .woken = &woken};
        crew_add(&crew, wait_once, &waiters[i]);
    }
    wait_for_count(&park, WAITERS);
    for (unsigned i = 1; i <= WAITERS; i++) {
        CU_ASSERT_TRUE(park_wake_one(&park));
        while (atomic_load(&woken) < i)
            sched_yield();
        nanosleep(&moment, NULL); /* a second one would come now; too short a moment only lets a fault pass */
        CU_ASSERT_EQUAL(atomic_load(&woken), i);
        CU_ASSERT_EQUAL(park_count(&park), WAITERS - i);
    }
    CU_ASSERT_FALSE(park_wake_one(&park));
    crew_join(&crew);
    for (unsigned i = 0; i < WAITERS; i++)
        CU_ASSERT_TRUE(waiters[i].was_woken);
    CU_ASSERT_EQUAL(permits_left(&park), 0);
}

static void the_permit_carries_what_was_written_before(void) /* PARK_PERMIT */
{
    static const uint32_t times_ms[] = {UINT32_MAX, 60000}; /* both ways to wait */

    for (int i = 0; i < 200; i++) {
        int given = 0;
        _Atomic unsigned woken = 0;
        struct waiter w = {
            .park = &park, .slot = 9, .timeout_ms = times_ms[i % 2], .given = &given, .woken = &woken};
        struct crew crew = {0};

        park_init(&park);
        crew_add(&crew, wait_once, &w);
        wait_for_count(&park, 1);
        given = i + 1;
        park_wake_one(&park);
        crew_join(&crew);
        CU_ASSERT_EQUAL(w.found, i + 1);
        CU_ASSERT_TRUE(w.was_woken);
    }
}

struct claimed {
    struct park *park;
    int given, found;        /* plain */
    _Atomic bool is_claimed; /* relaxed */
};

static void *withdraw_when_claimed(void *arg)
{
    struct claimed *c = arg;

    while (!atomic_load_explicit(&c->is_claimed, memory_order_relaxed))
        sched_yield();
    park_withdraw(c->park, 130);
    c->found = c->given;
    return NULL;
}

static void the_permit_of_a_withdrawn_slot_carries_the_same(void) /* I2, PARK_PERMIT */
{
    for (int i = 0; i < 200; i++) {
        static struct claimed c; /* static, so that every access to it is looked at */
        struct crew crew = {0};

        c.park = &park;
        atomic_store(&c.is_claimed, false);
        park_init(&park);
        park_announce(&park, 130);
        crew_add(&crew, withdraw_when_claimed, &c);
        c.given = i + 1;
        CU_ASSERT_TRUE(park_wake_one(&park));
        atomic_store_explicit(&c.is_claimed, true, memory_order_relaxed);
        crew_join(&crew);
        CU_ASSERT_EQUAL(c.found, i + 1);
        CU_ASSERT_EQUAL(permits_left(&park), 0);
    }
}

/* Claims race with waits that end by themselves, and with withdrawals. */
struct racer {
    struct park *park;
    unsigned slot, rounds, seed;
    unsigned woken;  /* permits that came and were told */
    unsigned silent; /* permits that park_withdraw may have used up */
    _Atomic unsigned *running;
};

static void *wait_shortly(void *arg)
{
    struct racer *r = arg;

    for (unsigned i = 0; i < r->rounds; i++) {
        park_announce(r->park, r->slot);
        if (crew_random(&r->seed) % 3 == 0) {
            park_withdraw(r->park, r->slot);
            r->silent++;
        } else {
            r->woken += park_wait(r->park, r->slot, crew_random(&r->seed) % 2);
        }
        if (atomic_load(&r->park->slots[r->slot].permit))
            r->woken += 1000000; /* a permit was left over: shows in the sum */
    }
    atomic_fetch_sub(r->running, 1);
    return NULL;
}

static void permits_are_neither_lost_nor_left_over(void) /* I2 */
{
    struct racer racers[3];
    struct crew crew = {0};
    _Atomic unsigned running = 3;
    unsigned claims = 0, woken = 0, silent = 0;

    park_init(&park);
    for (unsigned i = 0; i < 3; i++) {
        racers[i] = (struct racer){
            .park = &park, .slot = i * 64, .rounds = crew_rounds(3000), .seed = 3 + i, .running = &running};
        crew_add(&crew, wait_shortly, &racers[i]);
    }
    while (atomic_load(&running)) {
        claims += park_wake_one(&park);
        if (claims % 8 == 0)
            sched_yield();
    }
    crew_join(&crew); /* a lost permit would keep its worker in park_withdraw or park_wait for ever */
    for (unsigned i = 0; i < 3; i++) {
        woken += racers[i].woken;
        silent += racers[i].silent;
    }
    CU_ASSERT_TRUE(woken <= claims && claims <= woken + silent);
    CU_ASSERT_EQUAL(permits_left(&park), 0);
    CU_ASSERT_EQUAL(park_count(&park), 0);
}

/* --- workers and producers with a ready queue, as pool.c has them --- */

enum { TOKENS = 64, WORKERS = 3, PRODUCERS = 2 };

struct pool {
    struct ring ready;
    struct park park;
    _Atomic unsigned handled, lost, stop;
};

struct producer {
    struct pool *pool;
    unsigned rounds, seed, woke;
};

static int tokens[TOKENS];

/* Puts one and waits until it was handled, most of the time: then the workers park again and again. */
static void *put_and_wake(void *arg)
{
    struct producer *p = arg;

    for (unsigned i = 0; i < p->rounds; i++) {
        unsigned before = atomic_load(&p->pool->handled);

        while (!ring_put(&p->pool->ready, &tokens[i % TOKENS]))
            sched_yield();
        p->woke += park_wake_one(&p->pool->park);
        while (crew_random(&p->seed) % 16 && atomic_load(&p->pool->handled) == before &&
               !atomic_load(&p->pool->lost))
            sched_yield();
    }
    return NULL;
}

struct worker {
    struct pool *pool;
    unsigned slot, woken, parked;
};

static void park_once(struct worker *w)
{
    struct pool *p = w->pool;
    uint64_t began_ms;

    park_announce(&p->park, w->slot);
    if (!ring_is_empty(&p->ready) || atomic_load(&p->stop)) {
        park_withdraw(&p->park, w->slot);
        return;
    }
    w->parked++;
    began_ms = clock_now_ms();
    if (park_wait(&p->park, w->slot, LOST_AFTER_MS))
        w->woken++;
    /* It may return early: a wake-up may still be on its way to a permit that was seen without it. */
    else if (!ring_is_empty(&p->ready) && clock_now_ms() - began_ms >= LOST_AFTER_MS)
        atomic_fetch_add(&p->lost, 1);
}

static void *work(void *arg)
{
    struct worker *w = arg;

    while (!atomic_load(&w->pool->stop)) {
        while (ring_get(&w->pool->ready))
            atomic_fetch_add(&w->pool->handled, 1);
        park_once(w);
    }
    return NULL;
}

static void no_wake_up_is_lost_over_many_sleeps(void) /* I3 */
{
    static struct pool pool;
    struct producer producers[PRODUCERS];
    struct worker workers[WORKERS];
    struct crew putting = {0}, working = {0};
    unsigned each = crew_rounds(20000), woke = 0, woken = 0;

    memset(&pool, 0, sizeof pool);
    park_init(&pool.park);
    CU_ASSERT_EQUAL_FATAL(ring_init(&pool.ready, TOKENS), WEFT_OK);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.pool = &pool, .slot = i * 70};
        crew_add(&working, work, &workers[i]);
    }
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){.pool = &pool, .rounds = each, .seed = 8 + i};
        crew_add(&putting, put_and_wake, &producers[i]);
    }
    crew_join(&putting);
    while (atomic_load(&pool.handled) < PRODUCERS * each && !atomic_load(&pool.lost))
        sched_yield();
    atomic_store(&pool.stop, 1);
    for (unsigned i = 0; i < PRODUCERS; i++)
        woke += producers[i].woke;
    while (park_wake_one(&pool.park))
        woke++;
    crew_join(&working);
    for (unsigned i = 0; i < WORKERS; i++)
        woken += workers[i].woken;
    CU_ASSERT_EQUAL(atomic_load(&pool.lost), 0);
    CU_ASSERT_EQUAL(atomic_load(&pool.handled), PRODUCERS * each);
    CU_ASSERT_TRUE(woken <= woke);
    CU_ASSERT_TRUE(woken > 0);
    CU_ASSERT_EQUAL(permits_left(&pool.park), 0);
    ring_fini(&pool.ready);
}

/* --- the store-load race by itself: see test_wake.c --- */

struct race {
    struct meeting start, end;
    struct ring ready;
    struct park park;
    struct rounds rounds;
    bool woke;
};

static void *producer_in_race(void *arg)
{
    struct race *r = arg;

    crew_pin(1);
    for (unsigned round = 1;; round++) {
        meeting_wait(&r->start, 1, round);
        ring_put(&r->ready, &tokens[0]);
        r->woke = park_wake_one(&r->park);
        meeting_wait(&r->end, 1, round);
        if (rounds_are_over(&r->rounds, round))
            return NULL;
    }
}

static void *worker_in_race(void *arg)
{
    struct race *r = arg;
    uintptr_t lost = 0;

    crew_pin(0);
    for (unsigned round = 1;; round++) {
        bool parks;

        rounds_look_at_clock(&r->rounds, round);
        meeting_wait(&r->start, 0, round);
        park_announce(&r->park, 0);
        parks = ring_is_empty(&r->ready);
        meeting_wait(&r->end, 0, round);
        lost += parks && !r->woke;
        park_withdraw(&r->park, 0);
        lost += ring_get(&r->ready) == NULL;
        if (rounds_are_over(&r->rounds, round))
            return (void *)lost;
    }
}

static void worker_or_producer_sees_the_other(void) /* PARK_LOOK */
{
    static struct race r;
    struct crew crew = {0};
    pthread_t worker;
    void *lost = NULL;

    park_init(&r.park);
    CU_ASSERT_EQUAL_FATAL(ring_init(&r.ready, 2), WEFT_OK);
    rounds_begin(&r.rounds, crew_rounds(cpu_count() > 1 ? 300000 : 3000));
    crew_add(&crew, producer_in_race, &r);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&worker, NULL, worker_in_race, &r), 0);
    crew_join(&crew);
    pthread_join(worker, &lost);
    CU_ASSERT_EQUAL((uintptr_t)lost, 0);
    CU_ASSERT_EQUAL(permits_left(&r.park), 0);
    ring_fini(&r.ready);
}

static const struct unit_case cases[] = {
    CASE(at_first_nobody_waits),
    CASE(each_slot_can_announce_and_withdraw),
    CASE(a_claim_clears_one_bit_and_gives_one_permit),
    CASE(a_permit_that_is_there_ends_the_wait_at_once_and_is_used_up),
    CASE(withdrawing_a_claimed_slot_uses_up_its_permit),
    CASE(a_wait_ends_when_its_time_is_over_and_withdraws),
    CASE(a_futex_whose_word_has_changed_does_not_wait),
    CASE(each_wake_up_wakes_exactly_one),
    CASE(the_permit_carries_what_was_written_before),
    CASE(the_permit_of_a_withdrawn_slot_carries_the_same),
    CASE(permits_are_neither_lost_nor_left_over),
    CASE(no_wake_up_is_lost_over_many_sleeps),
    CASE(worker_or_producer_sees_the_other),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "park", cases, sizeof cases / sizeof cases[0]);
}
