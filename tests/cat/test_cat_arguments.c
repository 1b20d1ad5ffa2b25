/* The command line of weft-cat; the table's own tests are in tests/chat/test_options.c. */
#include "cat/arguments.h"

#include "unit.h"

#include <stdlib.h>
#include <string.h>

static struct arguments args;
static char *err_text;

static int read_args(const char *a, const char *b, const char *c, const char *d)
{
    const char *argv[] = {"weft-cat", a, b, c, d, NULL};
    size_t bytes;
    FILE *err;
    int argc = 0, status;

    arguments_fini(&args);
    free(err_text);
    while (argv[argc])
        argc++;
    err = open_memstream(&err_text, &bytes);
    status = arguments_read(&args, argc, (char **)argv, err, err);
    fclose(err);
    return status;
}

static int is_refused(const char *a, const char *b, const char *why)
{
    return read_args("ws://h", a, b, NULL) == 2 && strstr(err_text, why);
}

static void a_url_alone_is_enough(void)
{
    CU_ASSERT_EQUAL(read_args("ws://h/p?a=b", NULL, NULL, NULL), OPTIONS_RUN);
    CU_ASSERT_STRING_EQUAL(args.url, "ws://h/p?a=b");
    CU_ASSERT_EQUAL(args.close_code, 1000);
    CU_ASSERT_EQUAL(args.wait_ms, 1000);
    CU_ASSERT_EQUAL(args.count, 0);
    CU_ASSERT_STRING_EQUAL(err_text, "");
}

static void the_url_stands_anywhere_and_once(void)
{
    CU_ASSERT_EQUAL(read_args("--binary", "ws://h", "-n", "3"), OPTIONS_RUN);
    CU_ASSERT_STRING_EQUAL(args.url, "ws://h");
    CU_ASSERT_EQUAL(args.count, 3);
    CU_ASSERT_EQUAL(read_args("--binary", NULL, NULL, NULL), 2);
    CU_ASSERT_STRING_EQUAL(err_text, "weft-cat: URL is missing; --help lists the options\n");
    CU_ASSERT_EQUAL(read_args("ws://h", "ws://i", NULL, NULL), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "ws://i is not expected here"));
    CU_ASSERT_EQUAL(read_args("", NULL, NULL, NULL), 2);
}

static void a_header_is_split_at_its_first_colon(void)
{
    CU_ASSERT_EQUAL(read_args("ws://h", "--header=X-Time: 12:30", "--header", "A:"), OPTIONS_RUN);
    CU_ASSERT_STRING_EQUAL(args.split_headers[0].name, "X-Time");
    CU_ASSERT_STRING_EQUAL(args.split_headers[0].value, "12:30");
    CU_ASSERT_STRING_EQUAL(args.split_headers[1].name, "A");
    CU_ASSERT_STRING_EQUAL(args.split_headers[1].value, "");
}

static void what_cannot_stand_in_a_header_is_refused(void)
{
    static const char *const bad[] = {"x",           ":v",     "a b: c", "a\r\nb: c", "a: b\r\nc: d",
                                      "\xc3\xb6: x", "a: \x7f"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_TRUE(is_refused("--header", bad[i], "--header takes 'Name: value'"));
    CU_ASSERT_TRUE(is_refused("--subprotocol", "a, b", "--subprotocol takes a name, not 'a, b'"));
}

static void credentials_are_split_and_never_repeated(void)
{
    CU_ASSERT_EQUAL(read_args("ws://h", "--user", "ann:se:cret", NULL), OPTIONS_RUN);
    CU_ASSERT_STRING_EQUAL(args.user_name, "ann");
    CU_ASSERT_STRING_EQUAL(args.password, "se:cret");
    CU_ASSERT_TRUE(is_refused("--user", "secret", "--user takes NAME:PASSWORD"));
    CU_ASSERT_PTR_NULL(strstr(err_text, "secret"));
    CU_ASSERT_TRUE(is_refused("--user", ":secret", "--user takes NAME:PASSWORD"));
}

static void a_close_that_cannot_be_sent_is_refused(void)
{
    char reason[130];

    CU_ASSERT_TRUE(is_refused("--close-code", "1005", "--close-code takes"));
    CU_ASSERT_TRUE(is_refused("--close-code", "65536", "--close-code takes"));
    CU_ASSERT_TRUE(is_refused("--close-reason", "\xff", "--close-reason takes"));
    memset(reason, 'r', sizeof reason);
    reason[123] = '\0';
    CU_ASSERT_EQUAL(read_args("ws://h", "--close-reason", reason, "--close-code=4999"), OPTIONS_RUN);
    reason[123] = 'r';
    reason[124] = '\0';
    CU_ASSERT_TRUE(is_refused("--close-reason", reason, "at most 123 bytes"));
}

static void options_that_contradict_each_other_are_refused(void)
{
    CU_ASSERT_TRUE(is_refused("--cert", "c.pem", "--cert and --key belong together"));
    CU_ASSERT_TRUE(is_refused("--key=k.pem", NULL, "--cert and --key belong together"));
    CU_ASSERT_TRUE(is_refused("--one", "-n=2", "contradict"));
    CU_ASSERT_EQUAL(read_args("ws://h", "--one", NULL, NULL), OPTIONS_RUN);
    CU_ASSERT_EQUAL(args.count, 1);
}

static void help_names_the_operand_and_every_option(void)
{
    CU_ASSERT_EQUAL(read_args("--help", NULL, NULL, NULL), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "Usage: weft-cat [OPTION...] URL"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "--no-history"));
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "--reconnect"));
}

static const struct unit_case cases[] = {
    CASE(a_url_alone_is_enough),
    CASE(the_url_stands_anywhere_and_once),
    CASE(a_header_is_split_at_its_first_colon),
    CASE(what_cannot_stand_in_a_header_is_refused),
    CASE(credentials_are_split_and_never_repeated),
    CASE(a_close_that_cannot_be_sent_is_refused),
    CASE(options_that_contradict_each_other_are_refused),
    CASE(help_names_the_operand_and_every_option),
};

int main(int argc, char **argv)
{
    int status = unit_main(argc, argv, "cat_arguments", cases, sizeof cases / sizeof cases[0]);

    arguments_fini(&args);
    free(err_text);
    return status;
}
