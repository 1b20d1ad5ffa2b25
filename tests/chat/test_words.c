/* Names, messages and the rate limit of the chat. */
#include "words.h"

#include "unit.h"

#include <stdio.h>
#include <string.h>

static bool is_name(const char *text)
{
    return words_is_name(text, strlen(text), 32);
}

static bool is_message(const char *text)
{
    return words_is_message(text, strlen(text), 4096);
}

static void names_of_all_scripts_are_allowed(void)
{
    CU_ASSERT_TRUE(is_name("a"));
    CU_ASSERT_TRUE(is_name("ann lee"));
    CU_ASSERT_TRUE(is_name("Jürgen"));
    CU_ASSERT_TRUE(is_name("Ольга"));
    CU_ASSERT_TRUE(is_name("李小龙"));
    CU_ASSERT_TRUE(is_name("\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb")); /* woman, joiner, laptop */
    CU_ASSERT_TRUE(is_name("\xd9\x85\xdb\x8c\xe2\x80\x8c\xd8\xae\xd9\x88")); /* Persian, with a non-joiner */
    CU_ASSERT_TRUE(is_name("<b>&\"'\\"));
}

static void a_name_is_counted_in_bytes(void)
{
    char text[40];

    memset(text, 'x', sizeof text);
    CU_ASSERT_FALSE(words_is_name(text, 0, 32));
    CU_ASSERT_TRUE(words_is_name(text, 32, 32));
    CU_ASSERT_FALSE(words_is_name(text, 33, 32));
}

static void a_name_cannot_imitate_another_one(void)
{
    static const char *const bad[] = {
        " ann",
        "ann ",
        "\xc2\xa0"
        "ann",
        "ann\xe3\x80\x80",
        " ",
        "a\nb",
        "a\tb",
        "a\x7f"
        "b",
        "a\xc2\x85"
        "b",
        "\x01",
        "a\xe2\x80\x8b"
        "b",
        "a\xe2\x80\xae"
        "b",
        "a\xe2\x80\xa8"
        "b",
        "\xef\xbb\xbf"
        "a",
        "a\xe2\x81\xa6"
        "b",
        "\xe2\x80\x8d",
        "ann\xe2\x80\x8c",
        "a\xc2\xad"
        "b",
        "a\xf3\xa0\x81\xa1",
    };
    /* Behind "ann", and between "a" and "nn". */
    static const char *const invisible[] = {
        u8"\ufe0f",     u8"\u034f",     u8"\u115f",     u8"\u1160",     u8"\u17b5", u8"\u180b",
        u8"\uffa0",     u8"\U000e0100", u8"\U0001d173", u8"\u2800",     u8"\u3164", u8"\ufdd0",
        u8"\ufffe",     u8"\U0010ffff", u8"\ufff0",     u8"\U000e0fff", u8"\u200d", u8"\u200c",
        u8"\U0001bca0", u8"\u180f",     u8"\ufe00",     u8"\U0001fffe",
    };
    char text[32];

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_FALSE(is_name(bad[i]));
    for (size_t i = 0; i < sizeof invisible / sizeof invisible[0]; i++) {
        snprintf(text, sizeof text, "ann%s", invisible[i]);
        CU_ASSERT_FALSE(is_name(text));
        snprintf(text, sizeof text, "a%snn", invisible[i]);
        CU_ASSERT_FALSE(is_name(text));
    }
}

static void a_name_that_is_written_in_two_ways_is_one(void)
{
    char out[8];

#ifdef WEFT_UNISTRING
    CU_ASSERT_TRUE(words_normalize("a\xcc\x81nn", 5, out, sizeof out)); /* a, and an accent for it */
    CU_ASSERT_STRING_EQUAL(out, "\xc3\xa1nn");
    CU_ASSERT_FALSE(
        words_normalize("\xef\xac\xac\xef\xac\xac", 6, out, sizeof out)); /* these are taken apart */
#endif
    CU_ASSERT_TRUE(words_normalize("seven b", 7, out, sizeof out));
    CU_ASSERT_STRING_EQUAL(out, "seven b");
    CU_ASSERT_FALSE(words_normalize("eight by", 8, out, sizeof out));
}

static void a_message_may_have_lines_but_no_other_controls(void)
{
    CU_ASSERT_TRUE(is_message("one\n\ttwo"));
    CU_ASSERT_TRUE(is_message("  indented"));
    CU_ASSERT_FALSE(is_message("\x1b[2J"));
    CU_ASSERT_FALSE(is_message("a\rb"));
    CU_ASSERT_FALSE(is_message("a\xc2\x9b"
                               "b"));
}

static void a_message_says_something_and_not_too_much(void)
{
    static char text[4097];

    CU_ASSERT_FALSE(is_message(""));
    CU_ASSERT_FALSE(is_message(" \n\t\xe2\x80\x8b"));
    memset(text, 'x', sizeof text);
    CU_ASSERT_TRUE(words_is_message(text, 4096, 4096));
    CU_ASSERT_FALSE(words_is_message(text, 4097, 4096));
}

static void a_bucket_lets_a_burst_through_and_then_the_rate(void)
{
    struct words_bucket b = {0};
    unsigned taken = 0;

    for (int i = 0; i < 100; i++)
        taken += words_bucket_take(&b, 5000, 1, 40, 10);
    CU_ASSERT_EQUAL(taken, 40);
    CU_ASSERT_FALSE(words_bucket_take(&b, 5099, 1, 40, 10));
    CU_ASSERT_TRUE(words_bucket_take(&b, 5100, 1, 40, 10));
    CU_ASSERT_FALSE(words_bucket_take(&b, 5100, 1, 40, 10));
}

static void a_bucket_is_full_again_after_a_rest_and_never_more(void)
{
    struct words_bucket b = {0};
    unsigned taken = 0;

    for (int i = 0; i < 40; i++)
        words_bucket_take(&b, 1, 1, 40, 10);
    for (int i = 0; i < 100; i++)
        taken += words_bucket_take(&b, UINT64_MAX / 2, 1, 40, 10);
    CU_ASSERT_EQUAL(taken, 40);
}

static void a_refused_take_costs_nothing(void)
{
    struct words_bucket b = {0};
    unsigned taken = 0;

    for (uint64_t ms = 0; ms < 10000; ms++)
        taken += words_bucket_take(&b, ms, 1, 40, 10);
    CU_ASSERT_EQUAL(taken, 40 + 99);
}

static const struct unit_case cases[] = {
    CASE(names_of_all_scripts_are_allowed),
    CASE(a_name_is_counted_in_bytes),
    CASE(a_name_cannot_imitate_another_one),
    CASE(a_name_that_is_written_in_two_ways_is_one),
    CASE(a_message_may_have_lines_but_no_other_controls),
    CASE(a_message_says_something_and_not_too_much),
    CASE(a_bucket_lets_a_burst_through_and_then_the_rate),
    CASE(a_bucket_is_full_again_after_a_rest_and_never_more),
    CASE(a_refused_take_costs_nothing),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "words", cases, sizeof cases / sizeof cases[0]);
}
