/* The ready queue: bounds, order, and many producers and consumers at once. */
#include "unit.h"
#include "crew.h"
#include "base/mem.h"
#include "sync/ring.h"
#include "weft/error.h"

#include <stdint.h>
#include <string.h>

static int elements[1024];

static void the_size_is_the_next_power_of_two(void)
{
    static const size_t asked[] = {0, 1, 2, 3, 4, 5, 64, 65, 1000},
                        room[] = {2, 2, 2, 4, 4, 8, 64, 128, 1024};

    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        struct ring r;
        size_t n = 0;

        CU_ASSERT_EQUAL_FATAL(ring_init(&r, asked[i]), WEFT_OK);
        while (n < 2000 && ring_put(&r, &elements[n % 1024]))
            n++;
        CU_ASSERT_EQUAL(n, room[i]);
        CU_ASSERT_EQUAL(ring_count(&r), room[i]);
        ring_fini(&r);
    }
}

static void without_memory_there_is_no_ring(void)
{
    struct ring r;

    mem_fail_at(1);
    CU_ASSERT_EQUAL(ring_init(&r, 16), WEFT_E_NOMEM);
    mem_fail_at(0);
    ring_fini(&r);
}

static void put_fails_when_full_and_get_keeps_order(void) /* I2, I3 */
{
    struct ring r;

    CU_ASSERT_EQUAL_FATAL(ring_init(&r, 4), WEFT_OK);
    CU_ASSERT_PTR_NULL(ring_get(&r));
    for (int i = 0; i < 4; i++)
        CU_ASSERT_TRUE(ring_put(&r, &elements[i]));
    CU_ASSERT_FALSE(ring_put(&r, &elements[4]));
    for (int i = 0; i < 4; i++)
        CU_ASSERT_PTR_EQUAL(ring_get(&r), &elements[i]);
    CU_ASSERT_PTR_NULL(ring_get(&r));
    CU_ASSERT_TRUE(ring_put(&r, &elements[5]));
    CU_ASSERT_PTR_EQUAL(ring_get(&r), &elements[5]);
    ring_fini(&r);
}

static void order_is_kept_over_many_rounds_at_every_fill(void)
{
    for (size_t fill = 1; fill <= 8; fill++) {
        struct ring r;
        size_t in = 0, out = 0;

        CU_ASSERT_EQUAL_FATAL(ring_init(&r, 8), WEFT_OK);
        for (; in < fill; in++)
            ring_put(&r, &elements[in % 1024]);
        for (; out < 100; out++, in++) {
            if (ring_get(&r) != &elements[out % 1024] || !ring_put(&r, &elements[in % 1024]))
                CU_FAIL("the order was not kept");
            CU_ASSERT_EQUAL(ring_count(&r), fill);
        }
        ring_fini(&r);
    }
}

/* Positions are counted modulo SIZE_MAX + 1; start near the end of that. */
static void positions_may_wrap_round(void)
{
    struct ring r;
    size_t start = SIZE_MAX - 5;

    CU_ASSERT_EQUAL_FATAL(ring_init(&r, 4), WEFT_OK);
    for (size_t p = start; p != start + 4; p++)
        atomic_store(&r.cells[p & r.mask].sequence, p);
    atomic_store(&r.head, start);
    atomic_store(&r.tail, start);
    for (int i = 0; i < 40; i += 4) {
        CU_ASSERT_TRUE(ring_is_empty(&r));
        for (int k = 0; k < 4; k++)
            CU_ASSERT_TRUE(ring_put(&r, &elements[i + k]));
        CU_ASSERT_FALSE(ring_put(&r, &elements[0]));
        CU_ASSERT_EQUAL(ring_count(&r), 4);
        for (int k = 0; k < 4; k++)
            CU_ASSERT_PTR_EQUAL(ring_get(&r), &elements[i + k]);
        CU_ASSERT_PTR_NULL(ring_get(&r));
    }
    ring_fini(&r);
}

static void empty_is_said_only_of_an_empty_ring(void)
{
    struct ring r;

    CU_ASSERT_EQUAL_FATAL(ring_init(&r, 2), WEFT_OK);
    CU_ASSERT_TRUE(ring_is_empty(&r));
    CU_ASSERT_EQUAL(ring_count(&r), 0);
    ring_put(&r, &elements[0]);
    CU_ASSERT_FALSE(ring_is_empty(&r));
    ring_put(&r, &elements[1]);
    CU_ASSERT_FALSE(ring_is_empty(&r));
    ring_get(&r);
    CU_ASSERT_FALSE(ring_is_empty(&r));
    ring_get(&r);
    CU_ASSERT_TRUE(ring_is_empty(&r));
    ring_fini(&r);
}

/* A producer that has taken its position and not yet written: get finds nothing, is_empty knows better, and a
 * worker that asked it before it parked does not park. */
static void an_unfinished_put_is_not_got_but_not_empty_either(void) /* I3, PARK_LOOK */
{
    struct ring r;

    CU_ASSERT_EQUAL_FATAL(ring_init(&r, 4), WEFT_OK);
    atomic_store(&r.tail, 1);
    CU_ASSERT_PTR_NULL(ring_get(&r));
    CU_ASSERT_FALSE(ring_is_empty(&r));
    CU_ASSERT_TRUE(ring_put(&r, &elements[1])); /* others are not held up */
    CU_ASSERT_PTR_NULL(ring_get(&r));           /* but stand behind it */
    r.cells[0].element = &elements[0];
    atomic_store(&r.cells[0].sequence, 1);
    CU_ASSERT_PTR_EQUAL(ring_get(&r), &elements[0]);
    CU_ASSERT_PTR_EQUAL(ring_get(&r), &elements[1]);
    ring_fini(&r);
}

/* A consumer that has taken its position and not yet emptied the cell: that cell is not written again, so a
 * put may find no room although fewer than size elements are in the ring. Whoever relies on room has to try
 * again. */
static void a_cell_that_is_being_emptied_is_not_written_again(void)
{
    struct ring r;

    CU_ASSERT_EQUAL_FATAL(ring_init(&r, 2), WEFT_OK);
    ring_put(&r, &elements[0]);
    ring_put(&r, &elements[1]);
    atomic_store(&r.head, 1); /* the slow consumer has position 0 */
    CU_ASSERT_PTR_EQUAL(ring_get(&r), &elements[1]);
    CU_ASSERT_EQUAL(ring_count(&r), 0);
    CU_ASSERT_FALSE(ring_put(&r, &elements[2]));
    CU_ASSERT_PTR_EQUAL(r.cells[0].element, &elements[0]);
    atomic_store(&r.cells[0].sequence, 2); /* now it has finished */
    CU_ASSERT_TRUE(ring_put(&r, &elements[2]));
    CU_ASSERT_PTR_EQUAL(ring_get(&r), &elements[2]);
    ring_fini(&r);
}

/* --- many threads --- */

enum { PRODUCERS_MAX = 4, CONSUMERS_MAX = 4, ITEMS_MAX = 100000 };

/* Plain fields: only the queue carries them from one thread to another. */
struct item {
    uint32_t producer, number;
    uint32_t times_got;
};

static struct item items[PRODUCERS_MAX][ITEMS_MAX];

struct side {
    struct ring *ring;
    struct item *items; /* producer */
    unsigned index, count;
    _Atomic unsigned *left; /* to be got by all consumers together */
    unsigned got, reordered;
};

static void *produce(void *arg)
{
    struct side *s = arg;

    for (unsigned i = 0; i < s->count; i++) {
        s->items[i] = (struct item){.producer = s->index, .number = i};
        while (!ring_put(s->ring, &s->items[i]))
            sched_yield();
    }
    return NULL;
}

/* Each consumer gets what one producer has put in ascending order, for it takes ascending positions (I2). */
static void *consume(void *arg)
{
    struct side *s = arg;
    uint32_t next[PRODUCERS_MAX] = {0};

    while (atomic_load_explicit(s->left, memory_order_relaxed)) {
        struct item *item = ring_get(s->ring);

        if (!item) {
            sched_yield();
            continue;
        }
        item->times_got++;
        s->reordered += item->number < next[item->producer];
        next[item->producer] = item->number + 1;
        s->got++;
        atomic_fetch_sub_explicit(s->left, 1,
                                  memory_order_relaxed); /* the ring alone has to order the items */
    }
    return NULL;
}

static void run_sides(unsigned producers, unsigned consumers, size_t room, unsigned each)
{
    struct side in[PRODUCERS_MAX], out[CONSUMERS_MAX];
    struct ring r;
    struct crew crew = {0};
    _Atomic unsigned left = producers * each;
    unsigned got = 0, wrong = 0;

    CU_ASSERT_EQUAL_FATAL(ring_init(&r, room), WEFT_OK);
    memset(items, 0, sizeof items);
    for (unsigned i = 0; i < producers; i++) {
        in[i] = (struct side){.ring = &r, .items = items[i], .index = i, .count = each};
        crew_add(&crew, produce, &in[i]);
    }
    for (unsigned i = 0; i < consumers; i++) {
        out[i] = (struct side){.ring = &r, .left = &left};
        crew_add(&crew, consume, &out[i]);
    }
    crew_join(&crew);
    for (unsigned i = 0; i < consumers; i++) {
        got += out[i].got;
        CU_ASSERT_EQUAL(out[i].reordered, 0);
    }
    for (unsigned i = 0; i < producers; i++)
        for (unsigned k = 0; k < each; k++)
            wrong += items[i][k].times_got != 1;
    CU_ASSERT_EQUAL(got, producers * each);
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_TRUE(ring_is_empty(&r));
    ring_fini(&r);
}

static void one_to_one_hands_over_what_was_written_before(void) /* RING_PUT, RING_FREE */
{
    run_sides(1, 1, 64, crew_rounds(ITEMS_MAX));
}

static void a_ring_of_two_is_enough_for_two_and_two(void)
{
    run_sides(2, 2, 2, crew_rounds(30000));
}

static void many_producers_and_consumers_lose_double_and_reorder_nothing(void)
{
    run_sides(PRODUCERS_MAX, CONSUMERS_MAX, 16, crew_rounds(60000));
    run_sides(PRODUCERS_MAX, CONSUMERS_MAX, 1024, crew_rounds(60000));
}

static void one_consumer_sees_each_producer_in_order(void)
{
    run_sides(PRODUCERS_MAX, 1, 8, crew_rounds(40000));
}

/* As the workers use it: as many elements as there is room for, put back when they were got. */
struct circle {
    struct ring *ring;
    unsigned rounds, got, refused;
};

static void *put_back(void *arg)
{
    struct circle *c = arg;

    for (unsigned i = 0; i < c->rounds; i++) {
        int *e = ring_get(c->ring);

        if (!e)
            continue;
        (*e)++; /* plain: one holder at a time */
        c->got++;
        while (!ring_put(c->ring, e)) {
            c->refused++; /* see a_cell_that_is_being_emptied_is_not_written_again */
            sched_yield();
        }
    }
    return NULL;
}

static void elements_that_are_put_back_have_one_holder_at_a_time(void)
{
    static int held[8];
    struct circle circles[3];
    struct ring r;
    struct crew crew = {0};
    unsigned long got = 0, sum = 0;

    memset(held, 0, sizeof held);
    CU_ASSERT_EQUAL_FATAL(ring_init(&r, 8), WEFT_OK);
    for (int i = 0; i < 8; i++)
        ring_put(&r, &held[i]);
    for (int i = 0; i < 3; i++) {
        circles[i] = (struct circle){.ring = &r, .rounds = crew_rounds(300000)};
        crew_add(&crew, put_back, &circles[i]);
    }
    crew_join(&crew);
    for (int i = 0; i < 3; i++)
        got += circles[i].got;
    for (int i = 0; i < 8; i++)
        sum += (unsigned long)held[i];
    CU_ASSERT_EQUAL(sum, got);
    CU_ASSERT_EQUAL(ring_count(&r), 8);
    ring_fini(&r);
}

static const struct unit_case cases[] = {
    CASE(the_size_is_the_next_power_of_two),
    CASE(without_memory_there_is_no_ring),
    CASE(put_fails_when_full_and_get_keeps_order),
    CASE(order_is_kept_over_many_rounds_at_every_fill),
    CASE(positions_may_wrap_round),
    CASE(empty_is_said_only_of_an_empty_ring),
    CASE(an_unfinished_put_is_not_got_but_not_empty_either),
    CASE(a_cell_that_is_being_emptied_is_not_written_again),
    CASE(one_to_one_hands_over_what_was_written_before),
    CASE(a_ring_of_two_is_enough_for_two_and_two),
    CASE(many_producers_and_consumers_lose_double_and_reorder_nothing),
    CASE(one_consumer_sees_each_producer_in_order),
    CASE(elements_that_are_put_back_have_one_holder_at_a_time),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "ring", cases, sizeof cases / sizeof cases[0]);
}
