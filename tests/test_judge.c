/* Who runs what a loop has read: core/judge.h. */
#include "core/judge.h"
#include "unit.h"

#define MS 1000000ull
#define US 1000ull

static struct judge judge_of(bool has_cores)
{
    return (struct judge){.has_cores = has_cores};
}

static void runs_take_us(struct judge *j, uint64_t runs, uint64_t us, uint64_t now_ns)
{
    struct judge_turn t = {.runs = runs, .took_ns = us * US};

    judge_runs(j, &t, now_ns);
}

/* `turns` turns with one run each of run_us, one behind the other. Returns the time behind them. */
static uint64_t run_for_us(struct judge *j, uint64_t now_ns, int turns, uint64_t run_us)
{
    for (int i = 0; i < turns; i++) {
        now_ns += run_us * US;
        runs_take_us(j, 1, run_us, now_ns);
    }
    return now_ns;
}

static void short_runs_stay_with_the_driver(void)
{
    struct judge j = judge_of(true);
    uint64_t now_ns = 7000 * MS;

    CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_ALONE);
    for (int i = 0; i < 100; i++) {
        runs_take_us(&j, 64, 64 * 19, now_ns);
        CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_ALONE);
        now_ns += 2 * MS;
    }
}

static void long_runs_share_the_cores_when_they_come_three_times_in_a_row(void)
{
    struct judge j = judge_of(true);
    uint64_t now_ns = run_for_us(&j, 7000 * MS, 2, 100);

    runs_take_us(&j, 64, 64, now_ns); /* so the first two may have been a thread that was kept off its core */
    now_ns = run_for_us(&j, now_ns, 2, 100);
    CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_ALONE);
    now_ns = run_for_us(&j, now_ns, 1, 100);
    CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_SHARED);
    CU_ASSERT_EQUAL(judge_way(&j, now_ns + JUDGE_SHARED_NS - 1), JUDGE_SHARED);
    CU_ASSERT_EQUAL(judge_way(&j, now_ns + JUDGE_SHARED_NS), JUDGE_ALONE);
}

static void few_long_runs_that_take_no_time_are_not_long(void)
{
    struct judge j = judge_of(true);
    uint64_t now_ns = run_for_us(&j, 7000 * MS, 10, JUDGE_LONG_ALL_NS / US - 1);

    CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_ALONE);
}

static void very_long_runs_are_handed_over(void)
{
    struct judge j = judge_of(true);
    uint64_t now_ns = run_for_us(&j, 7000 * MS, 3, JUDGE_SHARED_RUN_NS / US);

    CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_HAND_OVER);
    CU_ASSERT_EQUAL(judge_way(&j, now_ns + JUDGE_HAND_OVER_NS), JUDGE_ALONE);
}

static void with_one_core_all_runs_stay_with_the_driver(void)
{
    struct judge j = judge_of(false);
    uint64_t now_ns = run_for_us(&j, 7000 * MS, 10, 900);

    CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_ALONE);
}

static void sharing_goes_on_while_runs_are_long_and_the_role_moves(void)
{
    struct judge j = judge_of(true);
    uint64_t now_ns = run_for_us(&j, 7000 * MS, 3, 200);

    for (int i = 0; i < 1000; i++) {
        now_ns = run_for_us(&j, now_ns, 10, 200);
        judge_moved(&j, now_ns);
        CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_SHARED);
    }
    now_ns += JUDGE_SHARED_NS - 1;
    judge_moved(&j, now_ns); /* that is enough, also when no driver sees its runs end */
    CU_ASSERT_EQUAL(judge_way(&j, now_ns + JUDGE_SHARED_NS - 1), JUDGE_SHARED);
}

static void sharing_ends_behind_short_runs(void)
{
    struct judge j = judge_of(true);
    uint64_t now_ns = run_for_us(&j, 7000 * MS, 3, 200), until_ns = now_ns + JUDGE_SHARED_NS;

    while (now_ns < until_ns) {
        CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_SHARED);
        now_ns += 200 * US;
        runs_take_us(&j, 100, 200, now_ns);
    }
    CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_ALONE);
}

/* Those that should come for the role are stuck in handlers. */
static void a_role_that_does_not_move_is_kept_and_the_runs_are_handed_over(void)
{
    struct judge j = judge_of(true);
    uint64_t now_ns = run_for_us(&j, 7000 * MS, 3, 200), began_ns = now_ns;

    while (now_ns - began_ns < JUDGE_UNMOVED_NS) {
        CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_SHARED);
        now_ns = run_for_us(&j, now_ns, 1, 200);
    }
    now_ns = run_for_us(&j, now_ns, 1, 200);
    CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_HAND_OVER);
}

/* That may have been the machine: it does not last. */
static void a_role_that_does_not_move_again_and_again_hands_over_for_no_longer(void)
{
    struct judge j = judge_of(true);
    uint64_t now_ns = 7000 * MS;

    for (int i = 0; i < 20; i++) {
        now_ns = run_for_us(&j, now_ns, 3, 200);
        CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_SHARED);
        while (judge_way(&j, now_ns) == JUDGE_SHARED)
            now_ns = run_for_us(&j, now_ns, 1, 200);
        CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_HAND_OVER);
        CU_ASSERT_EQUAL(judge_way(&j, now_ns + JUDGE_HAND_OVER_NS - 1), JUDGE_HAND_OVER);
        now_ns += JUDGE_HAND_OVER_NS;
        CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_ALONE);
    }
}

/* Turns of eight long runs each. */
static enum judge_way way_of(uint64_t run_us, uint64_t waits, uint64_t stops)
{
    struct judge j = judge_of(true);
    struct judge_turn t = {.runs = 8, .took_ns = 8 * run_us * US, .waits = waits, .stops = stops};
    uint64_t now_ns = 7000 * MS;

    for (int i = 0; i < JUDGE_LONG_ROW; i++) {
        CU_ASSERT_EQUAL(judge_wants_switches(&j, now_ns), i > 0);
        now_ns += t.took_ns;
        judge_runs(&j, &t, now_ns);
    }
    return judge_way(&j, now_ns);
}

static void runs_that_wait_are_handed_over(void)
{
    CU_ASSERT_EQUAL(way_of(60, 8, 0), JUDGE_HAND_OVER);
    CU_ASSERT_EQUAL(way_of(60, 4, 3), JUDGE_HAND_OVER);
    CU_ASSERT_EQUAL(way_of(60, 3, 0), JUDGE_SHARED); /* most of them do not */
    CU_ASSERT_EQUAL(way_of(60, 0, 0), JUDGE_SHARED);
}

static void a_thread_that_was_stopped_does_not_make_runs_very_long(void)
{
    CU_ASSERT_EQUAL(way_of(2000, 0, 0), JUDGE_HAND_OVER);
    CU_ASSERT_EQUAL(way_of(2000, 0, 1), JUDGE_SHARED);
    CU_ASSERT_EQUAL(way_of(2000, 8, 1), JUDGE_HAND_OVER);
}

static void what_runs_do_while_cores_are_shared_is_looked_at(void)
{
    struct judge j = judge_of(true);
    struct judge_turn waiting = {.runs = 4, .took_ns = 400 * US, .waits = 4};
    uint64_t now_ns = run_for_us(&j, 7000 * MS, 3, 200);

    CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_SHARED);
    CU_ASSERT(judge_wants_switches(&j, now_ns));
    judge_runs(&j, &waiting, now_ns);
    CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_HAND_OVER);
}

static void a_time_without_sharing_does_not_count_as_a_role_that_did_not_move(void)
{
    struct judge j = judge_of(true);
    uint64_t now_ns = run_for_us(&j, 7000 * MS, 3, 200);

    now_ns = run_for_us(&j, now_ns + 10 * JUDGE_SHARED_NS, 3, 200);
    CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_SHARED);
}

/* How long it hands over behind a driver that was stuck just now. */
static uint64_t handed_over_ns(struct judge *j, uint64_t now_ns)
{
    uint64_t ns = 0;

    judge_stuck(j, now_ns);
    while (judge_way(j, now_ns + ns) == JUDGE_HAND_OVER)
        ns += JUDGE_HAND_OVER_NS / 10;
    return ns;
}

static void who_is_stuck_again_and_again_hands_over_for_longer_up_to_a_limit(void)
{
    struct judge j = judge_of(true);
    uint64_t now_ns = 7000 * MS, due_ns = JUDGE_HAND_OVER_NS;

    for (int i = 0; i < 20; i++) {
        uint64_t ns = handed_over_ns(&j, now_ns);
        CU_ASSERT_EQUAL(ns, due_ns);
        now_ns += ns;
        due_ns = j.hand_over_ns;
        CU_ASSERT(due_ns >= ns && due_ns < 2 * JUDGE_HAND_OVER_NS_MAX);
    }
    CU_ASSERT(due_ns >= JUDGE_HAND_OVER_NS_MAX);
    now_ns += 5 * due_ns; /* and behind a quiet time begins again */
    CU_ASSERT_EQUAL(handed_over_ns(&j, now_ns), JUDGE_HAND_OVER_NS);
}

static void a_driver_that_is_stuck_ends_the_sharing(void)
{
    struct judge j = judge_of(true);
    uint64_t now_ns = run_for_us(&j, 7000 * MS, 3, 200);

    CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_SHARED);
    judge_stuck(&j, now_ns);
    CU_ASSERT_EQUAL(judge_way(&j, now_ns), JUDGE_HAND_OVER);
}

static void who_is_stuck_during_a_hand_over_does_not_end_it(void)
{
    struct judge j = judge_of(true);
    uint64_t now_ns = 7000 * MS, until_ns;

    while (j.hand_over_ns < JUDGE_HAND_OVER_NS_MAX) {
        judge_stuck(&j, now_ns);
        until_ns = j.hand_over_until_ns;
        judge_stuck(&j, now_ns + 1 * MS);
        CU_ASSERT(j.hand_over_until_ns >= until_ns);
        now_ns = j.hand_over_until_ns;
    }
    judge_stuck(&j, now_ns);
    until_ns = j.hand_over_until_ns;
    CU_ASSERT(until_ns >= now_ns + JUDGE_HAND_OVER_NS_MAX);
    run_for_us(&j, now_ns, 4, 2000); /* nor do runs that were under way */
    CU_ASSERT(j.hand_over_until_ns >= until_ns);
}

static const struct unit_case cases[] = {
    CASE(short_runs_stay_with_the_driver),
    CASE(long_runs_share_the_cores_when_they_come_three_times_in_a_row),
    CASE(few_long_runs_that_take_no_time_are_not_long),
    CASE(very_long_runs_are_handed_over),
    CASE(with_one_core_all_runs_stay_with_the_driver),
    CASE(sharing_goes_on_while_runs_are_long_and_the_role_moves),
    CASE(sharing_ends_behind_short_runs),
    CASE(a_role_that_does_not_move_is_kept_and_the_runs_are_handed_over),
    CASE(a_role_that_does_not_move_again_and_again_hands_over_for_no_longer),
    CASE(runs_that_wait_are_handed_over),
    CASE(a_thread_that_was_stopped_does_not_make_runs_very_long),
    CASE(what_runs_do_while_cores_are_shared_is_looked_at),
    CASE(a_time_without_sharing_does_not_count_as_a_role_that_did_not_move),
    CASE(who_is_stuck_again_and_again_hands_over_for_longer_up_to_a_limit),
    CASE(a_driver_that_is_stuck_ends_the_sharing),
    CASE(who_is_stuck_during_a_hand_over_does_not_end_it),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "judge", cases, sizeof cases / sizeof cases[0]);
}
