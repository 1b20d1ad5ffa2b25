/* What is typed at a terminal. */
#include "cat/command.h"

#include "unit.h"

#include <string.h>

static struct command c;

static enum command_kind kind_of(const char *line)
{
    command_read(&c, line, strlen(line));
    return c.kind;
}

static int rest_is(const char *text)
{
    return c.rest_bytes == strlen(text) && memcmp(c.rest, text, c.rest_bytes) == 0;
}

static void a_line_without_a_slash_is_sent_as_it_is(void)
{
    CU_ASSERT_EQUAL(kind_of("hello /ping"), COMMAND_LINE);
    CU_ASSERT_TRUE(rest_is("hello /ping"));
    CU_ASSERT_EQUAL(kind_of(" /ping"), COMMAND_LINE);
    CU_ASSERT_TRUE(rest_is(" /ping"));
    CU_ASSERT_EQUAL(kind_of(""), COMMAND_NONE);
}

static void two_slashes_are_a_text_that_begins_with_one(void)
{
    CU_ASSERT_EQUAL(kind_of("//ping"), COMMAND_LINE);
    CU_ASSERT_TRUE(rest_is("/ping"));
    CU_ASSERT_EQUAL(kind_of("//"), COMMAND_LINE);
    CU_ASSERT_TRUE(rest_is("/"));
}

static void each_command_is_found_with_what_follows_it(void)
{
    static const struct {
        const char *line;
        enum command_kind kind;
        const char *rest;
    } all[] = {
        {"/text a  b", COMMAND_TEXT, "a  b"},
        {"/text", COMMAND_TEXT, ""},
        {"/text /ping", COMMAND_TEXT, "/ping"},
        {"/binary 00 ff", COMMAND_BINARY, "00 ff"},
        {"/file  /tmp/a b", COMMAND_FILE, "/tmp/a b"},
        {"/binary-file x", COMMAND_BINARY_FILE, "x"},
        {"/ping", COMMAND_PING, ""},
        {"/ping  ", COMMAND_PING, ""},
        {"/help", COMMAND_HELP, ""},
        {"/quit", COMMAND_QUIT, ""},
    };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        CU_ASSERT_EQUAL(kind_of(all[i].line), all[i].kind);
        CU_ASSERT_TRUE(rest_is(all[i].rest));
    }
}

static void close_takes_a_code_and_a_reason(void)
{
    CU_ASSERT_EQUAL(kind_of("/close"), COMMAND_CLOSE);
    CU_ASSERT_EQUAL(c.code, 0);
    CU_ASSERT_EQUAL(kind_of("/close 4001"), COMMAND_CLOSE);
    CU_ASSERT_EQUAL(c.code, 4001);
    CU_ASSERT_TRUE(rest_is(""));
    CU_ASSERT_EQUAL(kind_of("/close 1000  see you"), COMMAND_CLOSE);
    CU_ASSERT_EQUAL(c.code, 1000);
    CU_ASSERT_TRUE(rest_is("see you"));
}

static void codes_and_reasons_that_cannot_be_sent_are_refused(void)
{
    static const char *const bad[] = {"0",    "999",   "1004",  "1005",  "1006",       "1015",
                                      "2999", "5000",  "66536", "-1000", "4294968296", "18446744073709552616",
                                      "x",    "1000x", "bye"};
    char line[200] = "/close 1000 ";

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[60] = "/close ";
        CU_ASSERT_EQUAL(kind_of(strcat(text, bad[i])), COMMAND_WRONG);
        CU_ASSERT_PTR_NOT_NULL(strstr(c.wrong, "1000 to 1003"));
    }
    memset(line + 12, 'r', COMMAND_REASON_BYTES_MAX);
    CU_ASSERT_EQUAL(kind_of(line), COMMAND_CLOSE);
    line[12 + COMMAND_REASON_BYTES_MAX] = 'r';
    CU_ASSERT_EQUAL(kind_of(line), COMMAND_WRONG);
}

static void what_is_no_command_is_explained(void)
{
    static const char *const bad[] = {"/",       "/ ",        "/pin",  "/pings", "/PING",
                                      "/ping 5", "/quit now", "/file", "/file  "};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CU_ASSERT_EQUAL(kind_of(bad[i]), COMMAND_WRONG);
        CU_ASSERT_TRUE(strlen(c.wrong) > 20);
    }
}

static void a_line_need_not_end_with_a_zero(void)
{
    command_read(&c, "/ping5", 5);
    CU_ASSERT_EQUAL(c.kind, COMMAND_PING);
    command_read(&c, "/close 40000", 11);
    CU_ASSERT_EQUAL(c.kind, COMMAND_CLOSE);
    CU_ASSERT_EQUAL(c.code, 4000);
}

static const struct unit_case cases[] = {
    CASE(a_line_without_a_slash_is_sent_as_it_is),
    CASE(two_slashes_are_a_text_that_begins_with_one),
    CASE(each_command_is_found_with_what_follows_it),
    CASE(close_takes_a_code_and_a_reason),
    CASE(codes_and_reasons_that_cannot_be_sent_are_refused),
    CASE(what_is_no_command_is_explained),
    CASE(a_line_need_not_end_with_a_zero),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "cat_command", cases, sizeof cases / sizeof cases[0]);
}
