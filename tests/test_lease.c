/* The role that is lent (I1 to I4 of lease.h), the watcher that takes it, and the loop that is then vacant.
 *
 * The pool here has no threads but those of the case: its berths are closed, so it starts none. */
#include "core/pool.c"
#include "core/watch.c"

#include <string.h>

#include "crew.h"
#include "unit.h"

/* What is waited for comes at once, or it was lost. */
enum { LOST_AFTER_MS = 20000 };

static const struct engine_hooks no_hooks;

#define COMES_TRUE(condition)                                                                                \
    ({                                                                                                       \
        uint64_t until_ms_ = clock_now_ms() + LOST_AFTER_MS;                                                 \
        while (!(condition) && clock_now_ms() < until_ms_)                                                   \
            sched_yield();                                                                                   \
        (condition);                                                                                         \
    })

/* --- one thread --- */

static void each_loan_has_another_number(void) /* I1 */
{
    uint64_t last = 0;
    struct lease l;

    lease_init(&l);
    CU_ASSERT_FALSE(lease_is_lent(lease_look(&l)));
    for (int i = 0; i < 1000; i++) {
        uint64_t before = lease_look(&l), loan = lease_lend(&l);

        CU_ASSERT_TRUE(lease_is_lent(loan));
        CU_ASSERT_EQUAL(lease_look(&l), loan);
        CU_ASSERT_TRUE(loan > last);
        CU_ASSERT_NOT_EQUAL(loan, before);
        CU_ASSERT_TRUE(i % 3 ? lease_back(&l, loan) : lease_take(&l, loan));
        CU_ASSERT_FALSE(lease_is_lent(lease_look(&l)));
        CU_ASSERT_NOT_EQUAL(lease_look(&l), before); /* so it shows that there was a loan */
        last = loan;
    }
}

static void a_role_that_nobody_took_comes_back_once(void) /* I2, I3 */
{
    struct lease l;
    uint64_t loan;

    lease_init(&l);
    loan = lease_lend(&l);
    CU_ASSERT_TRUE(lease_back(&l, loan));
    CU_ASSERT_FALSE(lease_back(&l, loan));
    CU_ASSERT_FALSE(lease_take(&l, loan)); /* too late */
}

static void a_role_that_was_taken_does_not_come_back(void) /* I2, I3 */
{
    struct lease l;
    uint64_t first, second;

    lease_init(&l);
    first = lease_lend(&l);
    CU_ASSERT_TRUE(lease_take(&l, first));
    CU_ASSERT_FALSE(lease_take(&l, first));
    CU_ASSERT_FALSE(lease_back(&l, first));
    second = lease_lend(&l); /* by its new holder */
    CU_ASSERT_FALSE(lease_back(&l, first));
    CU_ASSERT_EQUAL(lease_look(&l), second);
    CU_ASSERT_TRUE(lease_back(&l, second));
}

static void an_old_loan_takes_nothing(void) /* I1, I3 */
{
    struct lease l;
    uint64_t first, second;

    lease_init(&l);
    first = lease_lend(&l);
    CU_ASSERT_TRUE(lease_back(&l, first));
    second = lease_lend(&l);
    CU_ASSERT_FALSE(lease_take(&l, first));
    CU_ASSERT_TRUE(lease_is_lent(lease_look(&l)));
    CU_ASSERT_TRUE(lease_take(&l, second));
}

/* --- back against take --- */

struct tug {
    struct meeting start, end;
    struct rounds rounds;
    struct lease lease;
    _Atomic uint64_t loan;               /* relaxed: it must not order what the lease is to order */
    unsigned backs, takes, both_or_none; /* of who lends */
    _Alignas(THR_CACHE_LINE) _Atomic bool is_taken; /* in this round; the meeting orders it */
};

static void delay(unsigned *seed, unsigned most)
{
    for (unsigned i = crew_random(seed) % most; i; i--)
        atomic_signal_fence(memory_order_seq_cst); /* a turn of an empty loop */
}

static void *take_in_each_round(void *arg)
{
    struct tug *t = arg;
    unsigned seed = 5;

    crew_pin(1);
    for (unsigned round = 1;; round++) {
        bool is_taken;

        meeting_wait(&t->start, 1, round);
        delay(&seed, 64);
        is_taken = lease_take(&t->lease, atomic_load_explicit(&t->loan, memory_order_relaxed));
        atomic_store_explicit(&t->is_taken, is_taken, memory_order_relaxed);
        meeting_wait(&t->end, 1, round);
        if (rounds_are_over(&t->rounds, round))
            return NULL;
    }
}

static void *lend_in_each_round(void *arg)
{
    struct tug *t = arg;
    unsigned seed = 6;

    crew_pin(0);
    for (unsigned round = 1;; round++) {
        uint64_t loan = lease_lend(&t->lease);
        bool is_back, is_taken;

        atomic_store_explicit(&t->loan, loan, memory_order_relaxed);
        rounds_look_at_clock(&t->rounds, round);
        meeting_wait(&t->start, 0, round);
        delay(&seed, 64);
        if (round % 64 == 0) /* where they take turns, as under valgrind, the other one would always come too late */
            sched_yield();
        is_back = lease_back(&t->lease, loan);
        meeting_wait(&t->end, 0, round);
        is_taken = atomic_load_explicit(&t->is_taken, memory_order_relaxed);
        t->backs += is_back;
        t->takes += is_taken;
        t->both_or_none += is_back == is_taken || lease_is_lent(lease_look(&t->lease));
        if (rounds_are_over(&t->rounds, round))
            return NULL;
    }
}

static void of_back_and_take_exactly_one_succeeds(void) /* I3 */
{
    static struct tug t;
    struct crew crew = {0};

    memset(&t, 0, sizeof t);
    lease_init(&t.lease);
    rounds_begin(&t.rounds, crew_rounds(cpu_count() > 1 ? 100000 : 3000));
    crew_add(&crew, take_in_each_round, &t);
    crew_add(&crew, lend_in_each_round, &t);
    crew_join(&crew);
    CU_ASSERT_EQUAL(t.both_or_none, 0);
    CU_ASSERT_TRUE(t.backs > 0);
    CU_ASSERT_TRUE(t.takes > 0);
}

/* --- what a taker sees --- */

/* The role goes from thread to thread, and only the lease orders what its holders do. */
struct relay {
    struct lease lease;
    _Atomic uint64_t loan; /* relaxed, as above */
    _Atomic bool stop;
    uint64_t steps, written[64]; /* plain: of the holder */
    uint64_t steps_max;
};

static void hold_and_lend(struct relay *r)
{
    for (unsigned i = 0; i < 64; i++) /* the last holder wrote them all, and nobody since */
        if (r->written[i] != r->steps)
            r->steps_max = 0;
    r->steps++;
    for (unsigned i = 0; i < 64; i++)
        r->written[i] = r->steps;
    if (r->steps >= r->steps_max) {
        atomic_store_explicit(&r->stop, true, memory_order_relaxed);
        return;
    }
    atomic_store_explicit(&r->loan, lease_lend(&r->lease), memory_order_relaxed);
}

static void *take_and_pass_on(void *arg)
{
    struct relay *r = arg;
    uint64_t taken = 0, loan;

    while (!atomic_load_explicit(&r->stop, memory_order_relaxed)) {
        loan = atomic_load_explicit(&r->loan, memory_order_relaxed);
        if (!loan || !lease_take(&r->lease, loan)) {
            sched_yield();
            continue;
        }
        taken++;
        hold_and_lend(r);
    }
    return (void *)(uintptr_t)taken;
}

static void who_takes_the_role_sees_what_its_last_holder_did(void) /* I2, LEASE_LEND */
{
    enum { TAKERS = 3 };
    static struct relay r; /* static, so that every access to it is looked at */
    pthread_t takers[TAKERS];
    uintptr_t taken = 0;

    memset(&r, 0, sizeof r);
    lease_init(&r.lease);
    r.steps_max = crew_rounds(50000);
    for (int i = 0; i < TAKERS; i++)
        CU_ASSERT_EQUAL_FATAL(pthread_create(&takers[i], NULL, take_and_pass_on, &r), 0);
    hold_and_lend(&r);
    for (int i = 0; i < TAKERS; i++) {
        void *count;
        pthread_join(takers[i], &count);
        taken += (uintptr_t)count;
    }
    CU_ASSERT_EQUAL(r.steps, crew_rounds(50000));
    CU_ASSERT_EQUAL(taken, r.steps - 1);
}

/* --- the store-load race of I4: see test_wake.c for the form ---
 *
 * The watcher falls asleep while the loop is being lent. It must not sleep over a loan of which it was not
 * told. */
struct doze {
    struct meeting start, end;
    struct rounds rounds;
    struct watch watch;
    struct engine engine;
    struct io_thread io, *ios[1];
    unsigned lost;
};

static void *watcher_in_race(void *arg)
{
    struct doze *d = arg;
    unsigned seed = 5;

    crew_pin(1);
    for (unsigned round = 1;; round++) {
        meeting_wait(&d->start, 1, round);
        delay(&seed, 16);
        sleep_until_lent(&d->watch);
        meeting_wait(&d->end, 1, round);
        if (rounds_are_over(&d->rounds, round))
            return NULL;
    }
}

/* False: it does not come, and so it sleeps. */
static bool watcher_comes(struct doze *d, unsigned round)
{
    uint64_t until_ms = 0;

    for (unsigned spins = 1; atomic_load_explicit(&d->end.here[1], memory_order_acquire) < round; spins++) {
        if (spins % 4096)
            continue;
        sched_yield();
        if (!until_ms)
            until_ms = clock_now_ms() + LOST_AFTER_MS;
        if (clock_now_ms() > until_ms)
            return false;
    }
    return true;
}

static void *holder_in_race(void *arg)
{
    struct doze *d = arg;
    unsigned seed = 6;

    crew_pin(0);
    for (unsigned round = 1;; round++) {
        uint64_t loan;

        rounds_look_at_clock(&d->rounds, round);
        meeting_wait(&d->start, 0, round);
        delay(&seed, 64);
        loan = lease_lend(&d->io.lease);
        watch_lent(&d->watch);
        if (!watcher_comes(d, round)) {
            d->lost++;
            atomic_store_explicit(&d->rounds.last, round, memory_order_relaxed);
            rouse(&d->watch);
        }
        lease_back(&d->io.lease, loan);
        meeting_wait(&d->end, 0, round);
        if (rounds_are_over(&d->rounds, round))
            return NULL;
    }
}

static void holder_or_watcher_sees_the_other(void) /* I4, LEASE_LOOK */
{
    static struct doze d;
    struct crew crew = {0};

    memset(&d, 0, sizeof d);
    lease_init(&d.io.lease);
    d.ios[0] = &d.io;
    d.engine.io_threads = d.ios;
    d.engine.io_thread_count = 1;
    d.watch.engine = &d.engine;
    atomic_init(&d.watch.awake, 1);
    rounds_begin(&d.rounds, crew_rounds(cpu_count() > 1 ? 300000 : 3000));
    crew_add(&crew, watcher_in_race, &d);
    crew_add(&crew, holder_in_race, &d);
    crew_join(&crew);
    CU_ASSERT_EQUAL(d.lost, 0);
}

/* --- the watcher --- */

static struct engine *new_engine(unsigned loops)
{
    weft_server_opts opts = {.size = sizeof opts, .io_threads = loops, .workers = 1, .workers_max = 4};
    struct engine *e = NULL;

    if (engine_new(&e, &opts, &no_hooks) != WEFT_OK)
        abort();
    berths_close(&e->pool->berths); /* it starts no threads */
    return e;
}

struct told {
    _Atomic unsigned new, again;
};

static void note_vacant(struct io_thread *io, bool is_new, void *arg)
{
    struct told *told = arg;

    atomic_fetch_add(is_new ? &told->new : &told->again, 1);
    if (is_new)
        atomic_store(&io->is_vacant, true);
}

static bool is_asleep(struct watch *w)
{
    return atomic_load(&w->awake) == 0;
}

static void a_loan_that_lasts_is_taken_and_told_of_until_somebody_drives(void)
{
    struct told told = {0};
    struct engine *e = new_engine(2);
    struct io_thread *io = e->io_threads[1];
    struct watch w = {0};
    unsigned again;
    uint64_t loan;

    CU_ASSERT_EQUAL_FATAL(watch_init(&w, e, note_vacant, &told), WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(watch_start(&w), WEFT_OK);
    for (unsigned i = 1; i <= 3; i++) {
        CU_ASSERT_TRUE(COMES_TRUE(is_asleep(&w))); /* with nothing to look at */
        CU_ASSERT_EQUAL(told.new, i - 1);
        again = told.again;
        loan = lease_lend(&io->lease);
        watch_lent(&w);
        CU_ASSERT_TRUE(COMES_TRUE(told.new == i));
        CU_ASSERT_TRUE(COMES_TRUE(told.again >= again + 5));
        CU_ASSERT_FALSE(is_asleep(&w));
        CU_ASSERT_FALSE(lease_back(&io->lease, loan));
        CU_ASSERT_EQUAL(atomic_load(&w.takeovers), i);
        atomic_store(&io->is_vacant, false); /* somebody drives */
    }
    watch_stop(&w);
    CU_ASSERT_EQUAL(told.new, 3);
    CU_ASSERT_FALSE(lease_is_lent(lease_look(&e->io_threads[0]->lease)));
    watch_fini(&w);
    engine_unref(e);
}

/* However often the watcher looks: each of its looks finds another loan. */
static void loans_that_are_short_are_not_taken(void)
{
    struct told told = {0};
    struct engine *e = new_engine(1);
    struct io_thread *io = e->io_threads[0];
    uint64_t until_ms, loans = 0, lost = 0, longest_ns = 0;
    struct watch w = {0};

    CU_ASSERT_EQUAL_FATAL(watch_init(&w, e, note_vacant, &told), WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(watch_start(&w), WEFT_OK);
    until_ms = clock_now_ms() + 50;
    while (clock_now_ms() < until_ms || loans <= 10) {
        uint64_t began_ns = clock_now_ns(), took_ns, loan = lease_lend(&io->lease);

        watch_lent(&w);
        for (int i = 0; i < 100; i++)
            THR_RELAX();
        lost += !lease_back(&io->lease, loan);
        took_ns = clock_now_ns() - began_ns;
        longest_ns = took_ns > longest_ns ? took_ns : longest_ns;
        atomic_store(&io->is_vacant, false);
        loans++;
    }
    watch_stop(&w);
    CU_ASSERT_EQUAL(lost, told.new);
    /* On a busy machine this thread may itself be kept off its core between lend and back. */
    CU_ASSERT_TRUE(lost == 0 || longest_ns > WATCH_AGAIN_US * 1000 / 2);
    CU_ASSERT_TRUE(loans > 10);
    watch_fini(&w);
    engine_unref(e);
}

static void behind_its_stop_the_watcher_takes_nothing(void)
{
    struct timespec pause = {.tv_nsec = 10000000};

    for (int is_asleep_then = 0; is_asleep_then < 2; is_asleep_then++) {
        struct told told = {0};
        struct engine *e = new_engine(1);
        struct watch w = {0};
        uint64_t loan;

        CU_ASSERT_EQUAL_FATAL(watch_init(&w, e, note_vacant, &told), WEFT_OK);
        watch_stop(&w); /* not started: nothing */
        CU_ASSERT_EQUAL_FATAL(watch_start(&w), WEFT_OK);
        if (is_asleep_then)
            CU_ASSERT_TRUE(COMES_TRUE(is_asleep(&w)));
        watch_stop(&w);
        loan = lease_lend(&e->io_threads[0]->lease);
        watch_lent(&w);
        nanosleep(&pause, NULL);
        CU_ASSERT_TRUE(lease_back(&e->io_threads[0]->lease, loan));
        CU_ASSERT_EQUAL(told.new + told.again, 0);
        watch_fini(&w);
        engine_unref(e);
    }
}

/* --- vacant loops --- */

enum { LOOPS = 2, DRIVERS = 3 };

struct turns {
    struct pool *pool;
    _Atomic bool stop;
    _Atomic unsigned held[LOOPS]; /* relaxed: they order nothing */
    _Atomic unsigned taken, doubled, strange;
};

static void *drive_what_is_vacant(void *arg)
{
    struct turns *t = arg;

    while (!atomic_load_explicit(&t->stop, memory_order_relaxed)) {
        struct io_thread *io = take_vacant(t->pool);

        if (!io) {
            sched_yield();
            continue;
        }
        if (atomic_exchange_explicit(&t->held[io->index], 1, memory_order_relaxed))
            atomic_fetch_add_explicit(&t->doubled, 1, memory_order_relaxed);
        if (io->unrun_bytes != (uint32_t)io->ready_count * 3) /* (io) fields, written by the last driver */
            atomic_fetch_add_explicit(&t->strange, 1, memory_order_relaxed);
        io->ready_count++;
        io->unrun_bytes = io->ready_count * 3;
        atomic_store_explicit(&t->held[io->index], 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&t->taken, 1, memory_order_relaxed);
        lease_lend(&io->lease);
    }
    return NULL;
}

/* The watcher: takes from whoever lends, and gives the loop to whoever comes. */
static void give_away(struct pool *p, unsigned i)
{
    struct io_thread *io = p->engine->io_threads[i];
    uint64_t now = lease_look(&io->lease);

    if (lease_is_lent(now) && lease_take(&io->lease, now))
        loop_is_vacant(io, true, p);
}

static void a_vacant_loop_gets_one_driver_who_finds_what_the_last_one_left(void) /* W4, VACANT */
{
    static struct turns t;
    struct crew crew = {0};
    struct engine *e = new_engine(LOOPS);
    unsigned rounds = crew_rounds(50000), left = 0;

    memset(&t, 0, sizeof t);
    t.pool = e->pool;
    for (int i = 0; i < DRIVERS; i++)
        crew_add(&crew, drive_what_is_vacant, &t);
    for (unsigned i = 0; i < LOOPS; i++)
        lease_lend(&e->io_threads[i]->lease);
    while (atomic_load_explicit(&t.taken, memory_order_relaxed) < rounds) {
        for (unsigned i = 0; i < LOOPS; i++)
            give_away(e->pool, i);
        sched_yield();
    }
    atomic_store_explicit(&t.stop, true, memory_order_relaxed);
    crew_join(&crew);
    while (take_vacant(e->pool))
        left++;
    CU_ASSERT_EQUAL(t.doubled, 0);
    CU_ASSERT_EQUAL(t.strange, 0);
    CU_ASSERT_EQUAL(atomic_load(&e->pool->load.in_handlers), t.taken + left); /* each former driver is counted */
    CU_ASSERT_EQUAL(atomic_load(&e->pool->vacancies), 0);
    for (unsigned i = 0; i < LOOPS; i++)
        e->io_threads[i]->ready_count = e->io_threads[i]->unrun_bytes = 0;
    engine_unref(e);
}

static const struct unit_case cases[] = {
    CASE(each_loan_has_another_number),
    CASE(a_role_that_nobody_took_comes_back_once),
    CASE(a_role_that_was_taken_does_not_come_back),
    CASE(an_old_loan_takes_nothing),
    CASE(of_back_and_take_exactly_one_succeeds),
    CASE(who_takes_the_role_sees_what_its_last_holder_did),
    CASE(holder_or_watcher_sees_the_other),
    CASE(a_loan_that_lasts_is_taken_and_told_of_until_somebody_drives),
    CASE(loans_that_are_short_are_not_taken),
    CASE(behind_its_stop_the_watcher_takes_nothing),
    CASE(a_vacant_loop_gets_one_driver_who_finds_what_the_last_one_left),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "lease", cases, sizeof cases / sizeof cases[0]);
}
