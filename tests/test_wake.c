/* Waking an I/O thread: one write for a sleep, and no wake-up lost. */
#include "base/cpu.h"
#include "unit.h"
#include "crew.h"
#include "sync/stack.h"
#include "sync/wake.h"
#include "weft/error.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

/* A sleep that lasts this long was not ended by the wake-up it waited for. */
enum { LOST_AFTER_MS = 20000 };

static bool is_readable(struct wake *w, int timeout_ms)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) == 1;
}

static uint64_t writes(struct wake *w)
{
    return atomic_load(&w->writes);
}

static void nobody_asleep_nothing_written(void) /* I1 */
{
    struct wake w;

    CU_ASSERT_EQUAL_FATAL(wake_init(&w), WEFT_OK);
    wake_up(&w);
    wake_up(&w);
    CU_ASSERT_FALSE(is_readable(&w, 0));
    CU_ASSERT_EQUAL(writes(&w), 0);
    wake_fini(&w);
    CU_ASSERT_EQUAL(w.fd, -1);
    wake_fini(&w); /* again does no harm */
}

static void of_many_wake_ups_in_one_sleep_the_first_writes(void) /* I2 */
{
    struct wake w;

    CU_ASSERT_EQUAL_FATAL(wake_init(&w), WEFT_OK);
    for (unsigned sleep = 1; sleep <= 3; sleep++) {
        wake_prepare(&w);
        CU_ASSERT_TRUE(atomic_load(&w.asleep));
        CU_ASSERT_FALSE(is_readable(&w, 0));
        for (int i = 0; i < 5; i++)
            wake_up(&w);
        CU_ASSERT_FALSE(atomic_load(&w.asleep)); /* I1 */
        CU_ASSERT_EQUAL(writes(&w), sleep);
        CU_ASSERT_TRUE(is_readable(&w, 0));
        wake_cancel(&w);
        wake_clear(&w);
        CU_ASSERT_FALSE(is_readable(&w, 0));
    }
    wake_fini(&w);
}

static void a_sleep_that_was_called_off_is_not_ended(void)
{
    struct wake w;

    CU_ASSERT_EQUAL_FATAL(wake_init(&w), WEFT_OK);
    wake_prepare(&w);
    wake_cancel(&w);
    wake_up(&w);
    CU_ASSERT_EQUAL(writes(&w), 0);
    CU_ASSERT_FALSE(is_readable(&w, 0));
    wake_clear(&w); /* nothing to read: does not wait */
    wake_fini(&w);
}

static void a_full_counter_neither_blocks_nor_hides_the_wake_up(void)
{
    uint64_t most = UINT64_MAX - 1;
    struct wake w;

    CU_ASSERT_EQUAL_FATAL(wake_init(&w), WEFT_OK);
    CU_ASSERT_EQUAL(write(w.fd, &most, sizeof most), (ssize_t)sizeof most);
    wake_prepare(&w);
    wake_up(&w);
    CU_ASSERT_TRUE(is_readable(&w, 0));
    wake_clear(&w);
    CU_ASSERT_FALSE(is_readable(&w, 0)); /* one read empties it */
    wake_fini(&w);
}

static void without_a_descriptor_it_is_told(void)
{
    struct rlimit before, none;
    struct wake w = {.fd = -1};

    CU_ASSERT_EQUAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &none), 0);
    CU_ASSERT_EQUAL(wake_init(&w), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(setrlimit(RLIMIT_NOFILE, &before), 0);
    wake_fini(&w);
}

/* --- a sleeper and wakers, as io_thread.c has them --- */

enum { WAKERS = 3 };

struct item {
    struct node node;
    _Atomic bool is_taken;
};

struct shared {
    struct wake wake;
    _Alignas(THR_CACHE_LINE) struct stack list;
    _Atomic unsigned running;
};

struct waker {
    struct shared *shared;
    unsigned rounds, seed;
};

/* Pushes, wakes, and waits until that was seen: so the sleeper falls asleep again and again. */
static void *push_and_wake(void *arg)
{
    struct waker *w = arg;
    struct item item;

    for (unsigned i = 0; i < w->rounds; i++) {
        atomic_store_explicit(&item.is_taken, false, memory_order_relaxed);
        stack_push(&w->shared->list, &item.node);
        wake_up(&w->shared->wake);
        while (!atomic_load_explicit(&item.is_taken, memory_order_acquire))
            sched_yield();
        for (unsigned k = crew_random(&w->seed) % 200; k; k--)
            THR_RELAX();
    }
    atomic_fetch_sub(&w->shared->running, 1);
    wake_up(&w->shared->wake);
    return NULL;
}

struct sleeper {
    unsigned prepared, slept, lost, taken;
};

static void take_items(struct shared *s, struct sleeper *me)
{
    struct node *n = stack_take_all(&s->list);

    while (n) {
        struct node *next = n->next;
        atomic_store_explicit(&((struct item *)n)->is_taken, true, memory_order_release);
        me->taken++;
        n = next;
    }
}

/* before_wait, wait and after_wait of the loop. */
static void sleep_once(struct shared *s, struct sleeper *me)
{
    wake_prepare(&s->wake);
    me->prepared++;
    if (!stack_is_empty(&s->list) || !atomic_load(&s->running)) {
        wake_cancel(&s->wake);
        return;
    }
    me->slept++;
    if (is_readable(&s->wake, LOST_AFTER_MS))
        wake_clear(&s->wake);
    else
        me->lost++;
    wake_cancel(&s->wake);
}

static void no_wake_up_is_lost_over_many_sleeps(void) /* I2, I3 */
{
    static struct shared s;
    struct waker wakers[WAKERS];
    struct sleeper me = {0};
    struct crew crew = {0};
    unsigned each = crew_rounds(20000);

    CU_ASSERT_EQUAL_FATAL(wake_init(&s.wake), WEFT_OK);
    stack_init(&s.list);
    atomic_store(&s.running, WAKERS);
    for (unsigned i = 0; i < WAKERS; i++) {
        wakers[i] = (struct waker){.shared = &s, .rounds = each, .seed = 17 + i};
        crew_add(&crew, push_and_wake, &wakers[i]);
    }
    while (atomic_load(&s.running) && !me.lost) {
        take_items(&s, &me);
        sleep_once(&s, &me);
    }
    while (atomic_load(&s.running)) /* only when one was lost: let the others end */
        take_items(&s, &me);
    crew_join(&crew);
    take_items(&s, &me);
    CU_ASSERT_EQUAL(me.lost, 0);
    CU_ASSERT_EQUAL(me.taken, WAKERS * each);
    CU_ASSERT_TRUE(me.slept > each / 100);
    CU_ASSERT_TRUE(writes(&s.wake) <= me.prepared); /* one for each sleep, at the most */
    wake_fini(&s.wake);
}

/* --- the store-load race by itself ---
 *
 * In each round both threads take their two steps at the same time. The wake-up is lost when neither saw the
 * other: the sleeper goes to sleep over a list that is not empty, and nobody writes. No sleep is needed to
 * see that, so there is time for many rounds. */
struct race {
    struct meeting start, end;
    struct shared shared;
    struct node node;
    struct rounds rounds;
};

static void delay(unsigned *seed)
{
    for (unsigned i = crew_random(seed) % 16; i; i--)
        atomic_signal_fence(memory_order_seq_cst); /* a turn of an empty loop */
}

static void *waker_in_race(void *arg)
{
    struct race *r = arg;
    unsigned seed = 5;

    crew_pin(1);
    for (unsigned round = 1;; round++) {
        meeting_wait(&r->start, 1, round);
        delay(&seed);
        stack_push(&r->shared.list, &r->node);
        wake_up(&r->shared.wake);
        meeting_wait(&r->end, 1, round);
        if (rounds_are_over(&r->rounds, round))
            return NULL;
    }
}

static void *sleeper_in_race(void *arg)
{
    struct race *r = arg;
    struct shared *s = &r->shared;
    uintptr_t lost = 0;
    uint64_t written = 0;
    unsigned seed = 6;

    crew_pin(0);
    for (unsigned round = 1;; round++) {
        bool sleeps, is_woken;

        rounds_look_at_clock(&r->rounds, round);
        meeting_wait(&r->start, 0, round);
        delay(&seed);
        wake_prepare(&s->wake);
        sleeps = stack_is_empty(&s->list);
        meeting_wait(&r->end, 0, round);
        is_woken = writes(&s->wake) != written;
        lost += sleeps && !is_woken;
        written = writes(&s->wake);
        if (is_woken)
            wake_clear(&s->wake);
        wake_cancel(&s->wake);
        stack_take_all(&s->list);
        if (rounds_are_over(&r->rounds, round))
            return (void *)lost;
    }
}

static void sleeper_or_waker_sees_the_other(void) /* WAKE_LOOK */
{
    static struct race r;
    struct crew crew = {0};
    pthread_t sleeper;
    void *lost = NULL;

    CU_ASSERT_EQUAL_FATAL(wake_init(&r.shared.wake), WEFT_OK);
    stack_init(&r.shared.list);
    rounds_begin(&r.rounds, crew_rounds(cpu_count() > 1 ? 300000 : 3000));
    crew_add(&crew, waker_in_race, &r);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&sleeper, NULL, sleeper_in_race, &r), 0);
    crew_join(&crew);
    pthread_join(sleeper, &lost);
    CU_ASSERT_EQUAL((uintptr_t)lost, 0);
    wake_fini(&r.shared.wake);
}

static const struct unit_case cases[] = {
    CASE(nobody_asleep_nothing_written),
    CASE(of_many_wake_ups_in_one_sleep_the_first_writes),
    CASE(a_sleep_that_was_called_off_is_not_ended),
    CASE(a_full_counter_neither_blocks_nor_hides_the_wake_up),
    CASE(without_a_descriptor_it_is_told),
    CASE(no_wake_up_is_lost_over_many_sleeps),
    CASE(sleeper_or_waker_sees_the_other),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "wake", cases, sizeof cases / sizeof cases[0]);
}
