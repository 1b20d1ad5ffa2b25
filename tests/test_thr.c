/* Small things about threads and time: what a thread is, its name, its scheduling, processors, the clock. */
#include "unit.h"
#include "crew.h"
#include "base/clock.h"
#include "base/thr.h"

#include <string.h>
#include <unistd.h>

struct seen {
    enum thr_kind at_first, then;
    char name[16];
    int policy;
};

static void *look_from_a_thread(void *arg)
{
    struct seen *s = arg;
    struct sched_param param;

    s->at_first = thr_kind();
    thr_become(THR_WORKER, arg);
    s->then = thr_kind();
    thr_name("weft-work-with-a-long-name");
    pthread_getname_np(pthread_self(), s->name, sizeof s->name);
    thr_schedule_as_batch();
    pthread_getschedparam(pthread_self(), &s->policy, &param);
    return NULL;
}

static void a_thread_is_foreign_until_it_says_what_it_is(void)
{
    struct seen s;
    struct crew crew = {0};

    crew_add(&crew, look_from_a_thread, &s);
    crew_join(&crew);
    CU_ASSERT_EQUAL(s.at_first, THR_FOREIGN);
    CU_ASSERT_EQUAL(s.then, THR_WORKER);
    CU_ASSERT_EQUAL(thr_kind(), THR_FOREIGN); /* the others are not concerned */
}

static void a_name_is_cut_and_batch_is_a_wish(void)
{
    struct seen s;
    struct crew crew = {0};

    crew_add(&crew, look_from_a_thread, &s);
    crew_join(&crew);
    CU_ASSERT_STRING_EQUAL(s.name, "weft-work-with-");
    CU_ASSERT_TRUE(s.policy == SCHED_BATCH || s.policy == SCHED_OTHER);
}

static void *take_and_give_back_roles(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2; i++) { /* debug builds assert that each is held once */
        thr_enter_io();
        thr_assert_io();
        thr_enter_worker(); /* inline mode holds both */
        thr_assert_worker();
        thr_exit_worker();
        thr_exit_io();
    }
    return NULL;
}

static void roles_are_taken_and_given_back_by_each_thread_for_itself(void)
{
    struct crew crew = {0};

    thr_enter_io();
    crew_add(&crew, take_and_give_back_roles, NULL);
    crew_join(&crew);
    thr_exit_io();
}

static void the_clock_never_goes_back(void)
{
    uint64_t before_ms = clock_now_ms(), last = clock_now_ns(), after_ms;

    for (int i = 0; i < 10000; i++) {
        uint64_t now = clock_now_ns();
        if (now < last)
            CU_FAIL("the clock went back");
        last = now;
    }
    after_ms = clock_now_ms();
    CU_ASSERT_TRUE(before_ms <= last / 1000000 && last / 1000000 <= after_ms);
}

static bool computes_without_a_wait(void)
{
    struct thr_switches before = thr_switches();
    uint64_t until_ns = clock_now_ns() + 2000000;

    while (clock_now_ns() < until_ns) {
    }
    return thr_switches().waits == before.waits;
}

/* Whether it was stopped for another one is the machine's business. */
static void who_waits_gives_its_core_away_and_who_computes_does_not(void)
{
    struct thr_switches before = thr_switches(), behind;
    bool has_waited = true;

    for (int i = 0; i < 10; i++)
        usleep(100);
    behind = thr_switches();
    CU_ASSERT(behind.waits >= before.waits + 10);
    CU_ASSERT(behind.stops >= before.stops);
    /* A signal that stops the process makes it wait now and then, valgrind gives threads turns. */
    for (int i = 0; i < 10 && has_waited; i++)
        has_waited = !computes_without_a_wait();
    CU_ASSERT(!has_waited || unit_is_slow());
}

static const struct unit_case cases[] = {
    CASE(a_thread_is_foreign_until_it_says_what_it_is),
    CASE(a_name_is_cut_and_batch_is_a_wish),
    CASE(roles_are_taken_and_given_back_by_each_thread_for_itself),
    CASE(the_clock_never_goes_back),
    CASE(who_waits_gives_its_core_away_and_who_computes_does_not),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "thr", cases, sizeof cases / sizeof cases[0]);
}
