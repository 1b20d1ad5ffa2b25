/* Places for threads (B1 to B4 of berths.h). */
#include "core/berths.h"

#include <sched.h>
#include <string.h>

#include "sync/park.h"
#include "unit.h"
#include "weft/error.h"

enum { PLACES = 4 };

struct quay {
    struct berths berths;
    _Atomic uint32_t may_leave[PLACES]; /* futexes */
    _Atomic uint32_t runs[PLACES];
    _Atomic uint32_t left; /* a futex */
};

static void stay(void *owner, unsigned place)
{
    struct quay *q = owner;

    atomic_fetch_add(&q->runs[place], 1);
    while (!atomic_load(&q->may_leave[place]))
        park_futex_wait(&q->may_leave[place], 0, UINT32_MAX);
    atomic_store(&q->may_leave[place], 0);
    atomic_fetch_add(&q->left, 1);
    park_futex_wake(&q->left, 1);
}

static void begin(struct quay *q)
{
    memset(q, 0, sizeof *q);
    CU_ASSERT_EQUAL_FATAL(berths_init(&q->berths, PLACES, stay, q), WEFT_OK);
}

static void let_go(struct quay *q, unsigned place)
{
    atomic_store(&q->may_leave[place], 1);
    park_futex_wake(&q->may_leave[place], 1);
}

/* Until so many have left, and are counted out. */
static void wait_until_left(struct quay *q, uint32_t wanted, unsigned count)
{
    uint32_t left;

    while ((left = atomic_load(&q->left)) < wanted)
        park_futex_wait(&q->left, left, UINT32_MAX);
    while (atomic_load(&q->berths.count) > count)
        sched_yield();
}

static void end(struct quay *q)
{
    berths_close(&q->berths);
    for (unsigned i = 0; i < PLACES; i++)
        let_go(q, i);
    berths_join(&q->berths);
    CU_ASSERT_EQUAL(atomic_load(&q->berths.count), 0);
    berths_fini(&q->berths);
}

static void there_are_as_many_threads_as_places_at_most(void)
{
    struct quay q;

    begin(&q);
    for (unsigned i = 0; i < PLACES; i++)
        CU_ASSERT_TRUE(berths_start(&q.berths));
    CU_ASSERT_FALSE(berths_start(&q.berths));
    CU_ASSERT_EQUAL(atomic_load(&q.berths.count), PLACES);
    end(&q);
    for (unsigned i = 0; i < PLACES; i++)
        CU_ASSERT_EQUAL(atomic_load(&q.runs[i]), 1);
}

static void the_first_place_whose_thread_has_ended_is_taken_again(void) /* B1, B2 */
{
    struct quay q;

    begin(&q);
    for (unsigned i = 0; i < 3; i++)
        CU_ASSERT_TRUE(berths_start(&q.berths));
    let_go(&q, 1);
    wait_until_left(&q, 1, 2);
    CU_ASSERT_TRUE(berths_start(&q.berths));
    CU_ASSERT_EQUAL(atomic_load(&q.berths.count), 3);
    CU_ASSERT_EQUAL(atomic_load(&q.berths.count_max), 3);
    end(&q);
    CU_ASSERT_EQUAL(atomic_load(&q.runs[1]), 2);
    CU_ASSERT_EQUAL(atomic_load(&q.runs[3]), 0);
}

static void none_is_started_when_they_are_closed(void) /* B4 */
{
    struct quay q;

    begin(&q);
    CU_ASSERT_FALSE(berths_are_closed(&q.berths));
    CU_ASSERT_TRUE(berths_start(&q.berths));
    berths_close(&q.berths);
    CU_ASSERT_TRUE(berths_are_closed(&q.berths));
    CU_ASSERT_FALSE(berths_start(&q.berths));
    CU_ASSERT_EQUAL(atomic_load(&q.berths.count), 1);
    end(&q);
}

static const struct unit_case cases[] = {
    CASE(there_are_as_many_threads_as_places_at_most),
    CASE(the_first_place_whose_thread_has_ended_is_taken_again),
    CASE(none_is_started_when_they_are_closed),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "berths", cases, sizeof cases / sizeof cases[0]);
}
