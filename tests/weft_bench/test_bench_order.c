/* What is told of messages that come in another order than they were sent. */
#include "unit.h"
#include "weft_bench/order.h"

#include <string.h>

#define SENT 100

static struct order order;
static uint64_t errors[ERRORS];
static uint32_t expected;

static void begin(uint32_t first)
{
    order_fini(&order);
    memset(errors, 0, sizeof errors);
    expected = first;
}

static bool take(uint32_t sequence)
{
    return order_take(&order, 1, 1, &expected, SENT, &sequence, true, errors);
}

static uint64_t all_errors(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < ERRORS; i++)
        sum += errors[i];
    return sum;
}

static void in_order_nothing_is_wrong(void)
{
    begin(0);
    for (uint32_t s = 0; s < SENT; s++)
        CU_ASSERT(take(s));
    CU_ASSERT_EQUAL(all_errors(), 0);
    CU_ASSERT_EQUAL(order.gap_count, 0);
}

static void of_two_that_are_swapped_the_late_one_is_an_error_and_both_are_answers(void)
{
    begin(0);
    CU_ASSERT(take(1));
    CU_ASSERT(take(0));
    CU_ASSERT(take(2));
    CU_ASSERT_EQUAL(errors[ERROR_ORDER], 1);
    CU_ASSERT_EQUAL(all_errors(), 1);
    CU_ASSERT_EQUAL(order.gap_count, 0);
    order_fini(&order);
}

static void what_comes_twice_is_an_answer_once(void)
{
    begin(0);
    CU_ASSERT(take(0));
    CU_ASSERT_FALSE(take(0));
    CU_ASSERT(take(2));
    CU_ASSERT(take(1));
    CU_ASSERT_FALSE(take(1));
    CU_ASSERT_EQUAL(errors[ERROR_ORDER], 3);
    order_fini(&order);
}

static void wrong_content_stands_for_the_expected_one(void)
{
    uint32_t sequence = 77;

    begin(5);
    CU_ASSERT(order_take(&order, 1, 1, &expected, SENT, &sequence, false, errors));
    CU_ASSERT_EQUAL(sequence, 5);
    CU_ASSERT_EQUAL(expected, 6);
    CU_ASSERT_EQUAL(errors[ERROR_CONTENT], 1);
    CU_ASSERT_EQUAL(all_errors(), 1);
}

static void what_was_never_sent_is_wrong_content(void)
{
    begin(SENT - 1);
    CU_ASSERT(take(SENT));
    CU_ASSERT_FALSE(take(SENT)); /* now nothing is outstanding */
    CU_ASSERT_EQUAL(errors[ERROR_CONTENT], 2);
}

static void gaps_belong_to_their_receiver_and_sender(void)
{
    uint32_t other_expected = 1, sequence = 0;

    begin(0);
    CU_ASSERT(take(1));
    CU_ASSERT_FALSE(order_take(&order, 2, 1, &other_expected, SENT, &sequence, true, errors));
    CU_ASSERT_FALSE(order_take(&order, 1, 2, &other_expected, SENT, &sequence, true, errors));
    CU_ASSERT(take(0));
    order_fini(&order);
}

static void the_list_of_gaps_is_bounded(void)
{
    uint32_t sequence = 1000000;

    begin(0);
    CU_ASSERT(order_take(&order, 1, 1, &expected, UINT32_MAX, &sequence, true, errors));
    CU_ASSERT_EQUAL(order.gap_count, ORDER_GAPS_MAX);
    CU_ASSERT_EQUAL(expected, 1000001);
    sequence = 2000000;
    CU_ASSERT(order_take(&order, 1, 1, &expected, UINT32_MAX, &sequence, true, errors));
    CU_ASSERT_EQUAL(order.gap_count, ORDER_GAPS_MAX);
    order_fini(&order);
}

static const struct unit_case cases[] = {
    CASE(in_order_nothing_is_wrong),
    CASE(of_two_that_are_swapped_the_late_one_is_an_error_and_both_are_answers),
    CASE(what_comes_twice_is_an_answer_once),
    CASE(wrong_content_stands_for_the_expected_one),
    CASE(what_was_never_sent_is_wrong_content),
    CASE(gaps_belong_to_their_receiver_and_sender),
    CASE(the_list_of_gaps_is_bounded),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "bench_order", cases, sizeof cases / sizeof cases[0]);
}
