/* The classes of a histogram, and what is read back from them. */
#include "unit.h"
#include "weft_bench/histogram.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct histogram h;

static void clear(void)
{
    memset(&h, 0, sizeof h);
}

static void every_value_is_read_back_within_half_a_percent(void)
{
    unsigned wrong = 0;

    for (int bit = 0; bit < HISTOGRAM_VALUE_BITS; bit++)
        for (unsigned i = 0; i < 1000; i++) {
            uint64_t value = (UINT64_C(1) << bit) + (UINT64_C(1) << bit) / 1000 * i;
            uint64_t back;
            clear();
            histogram_add(&h, value);
            histogram_add(&h, UINT64_C(1) << 41 | value); /* so that max does not help */
            back = histogram_quantile(&h, 0.5);
            wrong += fabs((double)back - (double)value) > 0.005 * (double)value;
        }
    CU_ASSERT_EQUAL(wrong, 0);
}

static void classes_rise_without_a_gap_and_the_last_one_is_inside(void)
{
    unsigned last = 0, wrong = 0;

    for (uint64_t value = 1; value < UINT64_C(1) << 20; value++) {
        unsigned at = histogram_class(value);
        wrong += at != last && at != last + 1;
        last = at;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(histogram_class((UINT64_C(1) << HISTOGRAM_VALUE_BITS) - 1), HISTOGRAM_CLASSES - 1);
    CU_ASSERT_EQUAL(histogram_class(UINT64_C(1) << HISTOGRAM_VALUE_BITS), HISTOGRAM_CLASSES - 1);
    CU_ASSERT_EQUAL(histogram_class(UINT64_MAX), HISTOGRAM_CLASSES - 1);
}

static void quantiles_are_those_of_the_sorted_values(void)
{
    clear();
    for (uint64_t value = 1; value <= 100; value++)
        histogram_add(&h, value);
    CU_ASSERT_EQUAL(histogram_quantile(&h, 0.5), 50);
    CU_ASSERT_EQUAL(histogram_quantile(&h, 0.9), 90);
    CU_ASSERT_EQUAL(histogram_quantile(&h, 0.99), 99);
    CU_ASSERT_EQUAL(histogram_quantile(&h, 0.001), 1);
    CU_ASSERT_EQUAL(histogram_quantile(&h, 1.0), 100);
}

static void max_is_exact_and_an_empty_one_answers_zero(void)
{
    clear();
    CU_ASSERT_EQUAL(histogram_quantile(&h, 0.5), 0);
    histogram_add(&h, 123456789);
    CU_ASSERT_EQUAL(histogram_quantile(&h, 1.0), 123456789);
    CU_ASSERT_EQUAL(histogram_quantile(&h, 0.5), 123456789);
}

static void merging_two_is_adding_to_one(void)
{
    static struct histogram a, b;
    uint64_t value = 1;

    clear();
    for (int i = 0; i < 1000; i++) {
        value = value * 6364136223846793005u + 1442695040888963407u;
        histogram_add(i % 3 ? &a : &b, value >> 30);
        histogram_add(&h, value >> 30);
    }
    histogram_merge(&a, &b);
    CU_ASSERT_EQUAL(memcmp(&a, &h, sizeof h), 0);
}

static void the_least_are_dropped_and_no_more(void)
{
    clear();
    for (uint64_t value = 1; value <= 100; value++)
        histogram_add(&h, value);
    histogram_drop_least(&h, 90);
    CU_ASSERT_EQUAL(h.count, 10);
    CU_ASSERT_EQUAL(histogram_quantile(&h, 0.1), 91);
    CU_ASSERT_EQUAL(histogram_quantile(&h, 1.0), 100);
    histogram_drop_least(&h, 11);
    CU_ASSERT_EQUAL(h.count, 0);
    CU_ASSERT_EQUAL(h.max, 0);
}

static const struct unit_case cases[] = {
    CASE(every_value_is_read_back_within_half_a_percent),
    CASE(classes_rise_without_a_gap_and_the_last_one_is_inside),
    CASE(quantiles_are_those_of_the_sorted_values),
    CASE(max_is_exact_and_an_empty_one_answers_zero),
    CASE(merging_two_is_adding_to_one),
    CASE(the_least_are_dropped_and_no_more),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "bench_histogram", cases, sizeof cases / sizeof cases[0]);
}
