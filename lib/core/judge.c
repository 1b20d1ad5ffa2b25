/* The judgement; see judge.h. */
#include "core/judge.h"

static void hand_over_for_ns(struct judge *j, uint64_t now_ns, uint64_t ns)
{
    if (j->hand_over_until_ns < now_ns + ns)
        j->hand_over_until_ns = now_ns + ns;
    j->shared_until_ns = 0;
    j->long_row = 0;
}

static void hand_over_for_a_while(struct judge *j, uint64_t now_ns)
{
    uint64_t quiet_ns = now_ns > j->hand_over_until_ns ? now_ns - j->hand_over_until_ns : 0;

    if (!j->hand_over_ns || quiet_ns > 4 * j->hand_over_ns)
        j->hand_over_ns = JUDGE_HAND_OVER_NS;
    hand_over_for_ns(j, now_ns, j->hand_over_ns);
    if (j->hand_over_ns < JUDGE_HAND_OVER_NS_MAX)
        j->hand_over_ns *= 2;
}

static void share(struct judge *j, uint64_t now_ns)
{
    if (now_ns >= j->shared_until_ns)
        j->moved_ns = now_ns;
    j->shared_until_ns = now_ns + JUDGE_SHARED_NS;
}

/* A thread that was stopped says nothing of how long a run is, but it was no wait. */
static bool is_for_others(const struct judge_turn *t)
{
    return 2 * t->waits >= t->runs || (t->took_ns >= t->runs * JUDGE_SHARED_RUN_NS && !t->stops);
}

void judge_runs(struct judge *j, const struct judge_turn *t, uint64_t now_ns)
{
    if (t->took_ns < JUDGE_LONG_ALL_NS || t->took_ns < t->runs * JUDGE_LONG_RUN_NS || !j->has_cores)
        j->long_row = 0;
    else if (now_ns < j->shared_until_ns && now_ns - j->moved_ns > JUDGE_UNMOVED_NS)
        hand_over_for_ns(j, now_ns, JUDGE_HAND_OVER_NS);
    else if (++j->long_row >= JUDGE_LONG_ROW && is_for_others(t))
        hand_over_for_a_while(j, now_ns);
    else if (j->long_row >= JUDGE_LONG_ROW)
        share(j, now_ns);
}

void judge_stuck(struct judge *j, uint64_t now_ns)
{
    hand_over_for_a_while(j, now_ns);
}

void judge_moved(struct judge *j, uint64_t now_ns)
{
    share(j, now_ns);
    j->moved_ns = now_ns;
}
