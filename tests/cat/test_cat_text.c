/* Text as it is shown and typed: UTF-8, escapes, hexadecimal digits; and the buffer that holds it. */
#include "cat/text.h"

#include "unit.h"

#include <stdlib.h>
#include <string.h>

static struct buffer out;

static const char *put_in(void)
{
    buffer_put(&out, "", 1);
    return out.data;
}

static const char *escaped(const char *text, size_t bytes)
{
    buffer_clear(&out);
    text_put_escaped(&out, text, bytes);
    return put_in();
}

static void what_can_be_read_stays_as_it_is(void)
{
    static const char plain[] =
        "{\"a\": \"tab\there, back\\slash\", \"w\xc3\xb6rld\": \"\xe6\xbc\xa2 \xf0\x9f\x98\x80\"}";

    CU_ASSERT_STRING_EQUAL(escaped(plain, strlen(plain)), plain);
    CU_ASSERT_STRING_EQUAL(escaped("", 0), "");
}

static void what_drives_a_terminal_is_escaped(void)
{
    CU_ASSERT_STRING_EQUAL(escaped("\033[31mred\a\b\f\v\r\n\0!", 15),
                           "\\u001b[31mred\\u0007\\b\\f\\u000b\\r\\n\\u0000");
    CU_ASSERT_STRING_EQUAL(escaped("\x7f\xc2\x9b\xc2\xa0", 5), "\\u007f\\u009b\xc2\xa0");
    CU_ASSERT_STRING_EQUAL(escaped("\xe2\x80\xae\xe2\x80\xa8\xe2\x81\xa6\xd8\x9c", 11),
                           "\\u202e\\u2028\\u2066\\u061c");
}

static void bytes_that_are_no_text_are_shown_one_by_one(void)
{
    CU_ASSERT_STRING_EQUAL(escaped("a\xff\xc3", 3), "a\\xff\\xc3");
    CU_ASSERT_STRING_EQUAL(escaped("\xed\xa0\x80z", 4), "\\xed\\xa0\\x80z");
}

static void a_character_is_read_whole_or_not_at_all(void)
{
    static const struct {
        const char *text;
        size_t length;
        uint32_t point;
    } good[] = {{"a", 1, 'a'},
                {"\xc2\x80", 2, 0x80},
                {"\xe0\xa0\x80", 3, 0x800},
                {"\xef\xbf\xbf", 3, 0xffff},
                {"\xf0\x90\x80\x80", 4, 0x10000},
                {"\xf4\x8f\xbf\xbf", 4, 0x10ffff}};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xc3(",
                                      "\xff"};
    uint32_t point;

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        CU_ASSERT_EQUAL(text_next(good[i].text, good[i].length, &point), good[i].length);
        CU_ASSERT_EQUAL(point, good[i].point);
        for (size_t cut = 0; cut < good[i].length; cut++)
            CU_ASSERT_EQUAL(text_next(good[i].text, cut, &point), 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_EQUAL(text_next(bad[i], strlen(bad[i]), &point), 0);
}

static void the_first_byte_that_is_no_text_is_found(void)
{
    CU_ASSERT_EQUAL(text_valid_bytes("abc", 3), 3);
    CU_ASSERT_EQUAL(text_valid_bytes("ab\0c\xc3\xb6", 6), 6);
    CU_ASSERT_EQUAL(text_valid_bytes("ab\xff", 3), 2);
    CU_ASSERT_EQUAL(text_valid_bytes("ab\xc3", 3), 2);
}

static void bytes_become_digits_and_digits_become_bytes(void)
{
    static const char all[] = {0, 1, 0x7f, (char)0x80, (char)0xff};

    buffer_clear(&out);
    text_put_hex(&out, all, sizeof all, true);
    CU_ASSERT_STRING_EQUAL(put_in(), "00 01 7f 80 ff");
    buffer_clear(&out);
    text_put_hex(&out, all, sizeof all, false);
    CU_ASSERT_STRING_EQUAL(put_in(), "00017f80ff");
    buffer_clear(&out);
    CU_ASSERT_TRUE(text_read_hex(&out, " 00 017F\t80ff \r", 15));
    CU_ASSERT_EQUAL(out.count, sizeof all);
    CU_ASSERT_EQUAL(memcmp(out.data, all, sizeof all), 0);
}

static void what_is_not_pairs_of_digits_is_refused(void)
{
    static const char *const bad[] = {"0", "0 0", "0g", "g0", "0x00", "00 1", "00,01", "\xd9\xa0\xd9\xa0"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        buffer_clear(&out);
        CU_ASSERT_FALSE(text_read_hex(&out, bad[i], strlen(bad[i])));
    }
    buffer_clear(&out);
    CU_ASSERT_TRUE(text_read_hex(&out, "", 0));
    CU_ASSERT_EQUAL(out.count, 0);
}

static void a_buffer_keeps_what_is_put_and_drops_its_front(void)
{
    struct buffer b = {0};

    for (int i = 0; i < 10000; i++)
        buffer_print(&b, "%05d", i);
    CU_ASSERT_EQUAL(b.count, 50000);
    buffer_drop_front(&b, 49995);
    CU_ASSERT_EQUAL(memcmp(b.data, "09999", 5), 0);
    CU_ASSERT_FALSE(b.is_short);
    CU_ASSERT_PTR_NULL(buffer_reserve(&b, SIZE_MAX - 3));
    CU_ASSERT_TRUE(b.is_short);
    CU_ASSERT_EQUAL(b.count, 5);
    buffer_fini(&b);
}

static const struct unit_case cases[] = {
    CASE(what_can_be_read_stays_as_it_is),
    CASE(what_drives_a_terminal_is_escaped),
    CASE(bytes_that_are_no_text_are_shown_one_by_one),
    CASE(a_character_is_read_whole_or_not_at_all),
    CASE(the_first_byte_that_is_no_text_is_found),
    CASE(bytes_become_digits_and_digits_become_bytes),
    CASE(what_is_not_pairs_of_digits_is_refused),
    CASE(a_buffer_keeps_what_is_put_and_drops_its_front),
};

int main(int argc, char **argv)
{
    int status = unit_main(argc, argv, "cat_text", cases, sizeof cases / sizeof cases[0]);

    buffer_fini(&out);
    return status;
}
