/* Who runs what a loop has read: a judgement for each loop, from how long handlers took.
 *
 *   alone      runs are short: the driver makes them itself, and wakes nobody
 *   shared     runs compute for longer than a hand-over costs: as many threads as there are processors make them, the
 *              driver among them, and the role goes to whichever of them is free when it is time (pool.h, W6)
 *   hand over  runs are very long, or wait for something, so that they need more threads than there are processors, or
 *              a thread was stuck in one: workers make them, the driver looks at sockets only
 *
 * It knows times and counts only, so it is tested without threads. Every field belongs to the driver. */
#ifndef WEFT_CORE_JUDGE_H
#define WEFT_CORE_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

/* Runs are long when so many ns each were needed, over at least so many in all, and that several times in a
 * row, for a thread that was kept off its core sees the same once: then another core is worth waking. */
#define JUDGE_LONG_RUN_NS 20000
#define JUDGE_LONG_ALL_NS 80000
#define JUDGE_LONG_ROW    3
/* Beyond this sockets would wait too long for a thread to be free. */
#define JUDGE_SHARED_RUN_NS 1500000
/* How long cores are shared behind the last long runs. */
#define JUDGE_SHARED_NS 10000000ull
/* The role has not moved for so long: the others are stuck, or kept off their cores. By chance alone that is one in a
 * million. */
#define JUDGE_UNMOVED_NS 5000000ull
/* How long a loop hands over: first, and at most; twice as long each time when it comes again soon. Where a role has not
 * moved, the first, for it may have been the machine. */
#define JUDGE_HAND_OVER_NS     10000000ull
#define JUDGE_HAND_OVER_NS_MAX 5000000000ull

enum judge_way { JUDGE_ALONE, JUDGE_SHARED, JUDGE_HAND_OVER };

struct judge {
    bool has_cores; /* more than one processor: somebody could take long runs over */
    uint64_t hand_over_until_ns;
    uint64_t hand_over_ns; /* the next time so long */
    uint64_t shared_until_ns;
    uint64_t moved_ns; /* when the role has moved to another thread, or sharing has begun */
    unsigned long_row; /* turns with long runs, one behind the other */
};

static inline enum judge_way judge_way(const struct judge *j, uint64_t now_ns)
{
    if (now_ns < j->hand_over_until_ns)
        return JUDGE_HAND_OVER;
    return now_ns < j->shared_until_ns ? JUDGE_SHARED : JUDGE_ALONE;
}

/* What the driver did while its role was out on loan. */
struct judge_turn {
    uint64_t runs, took_ns;
    /* How often its thread waited, and was stopped for another; 0 where judge_wants_switches said that they do not
     * matter. */
    uint64_t waits, stops;
};

static inline bool judge_wants_switches(const struct judge *j, uint64_t now_ns)
{
    return j->long_row || judge_way(j, now_ns) == JUDGE_SHARED;
}

/* The driver has its role back. When cores are shared, somebody beside it was at work. */
void judge_runs(struct judge *j, const struct judge_turn *t, uint64_t now_ns);
/* The watcher took the role from a thread that was stuck. */
void judge_stuck(struct judge *j, uint64_t now_ns);
/* A worker took the role, for cores are shared. */
void judge_moved(struct judge *j, uint64_t now_ns);

#endif
