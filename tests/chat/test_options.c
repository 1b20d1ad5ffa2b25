/* The command line of the programs. */
#include "options.h"

#include "unit.h"

#include <stdlib.h>
#include <string.h>

static struct {
    bool flag;
    const char *text;
    struct option_list list;
    uint32_t small;
    uint64_t large;
    double share;
    unsigned choice;
} got;

static const char *const words[] = {"red", "green", NULL};
static const struct option_row first[] = {
    OPTION_ROW_FLAG("--flag", &got.flag, "a flag"),
    OPTION_ROW_TEXT("--text", &got.text, "T", "a text"),
    OPTION_ROW_LIST("--list", &got.list, "L", "texts"),
    OPTION_ROW_END,
};
static const struct option_row second[] = {
    {.name = "--small",
     .kind = OPTION_U32,
     .to.u32 = &got.small,
     .min = 1,
     .max = 65535,
     .value = "N",
     .help = "n"},
    OPTION_ROW_U64("--large", &got.large, UINT64_MAX, "a number"),
    OPTION_ROW_SHARE("--share", &got.share, "a share"),
    OPTION_ROW_CHOICE("--choice", &got.choice, words, "C", "a word"),
    OPTION_ROW_END,
};
static const struct option_set set = {
    .program = "prog", .about = "does it", .version = "1.2.3", .tables = {first, second}};

static char *out_text, *err_text;

/* Reads a command line of at most seven arguments; what was printed is in out_text and err_text until the
 * next one. */
static int read_args(const char *a, const char *b, const char *c, const char *d)
{
    const char *args[] = {"prog", a, b, c, d, NULL};
    size_t out_bytes, err_bytes;
    FILE *out, *err;
    int argc = 0, status;

    free(out_text);
    free(err_text);
    memset(&got, 0, sizeof got);
    while (args[argc])
        argc++;
    out = open_memstream(&out_text, &out_bytes);
    err = open_memstream(&err_text, &err_bytes);
    status = options_read(&set, argc, (char **)args, out, err);
    fclose(out);
    fclose(err);
    return status;
}

static void values_come_in_one_argument_or_in_two(void)
{
    CU_ASSERT_EQUAL(read_args("--small", "80", "--text=a=b", "--flag"), OPTIONS_RUN);
    CU_ASSERT_EQUAL(got.small, 80);
    CU_ASSERT_STRING_EQUAL(got.text, "a=b");
    CU_ASSERT_TRUE(got.flag);
    CU_ASSERT_STRING_EQUAL(err_text, "");
}

static void each_kind_is_stored(void)
{
    CU_ASSERT_EQUAL(read_args("--large=18446744073709551615", "--share", "0.25", "--choice=green"),
                    OPTIONS_RUN);
    CU_ASSERT_EQUAL(got.large, UINT64_MAX);
    CU_ASSERT_DOUBLE_EQUAL(got.share, 0.25, 1e-9);
    CU_ASSERT_EQUAL(got.choice, 1);
    CU_ASSERT_EQUAL(read_args("--list=a", "--list=b", NULL, NULL), OPTIONS_RUN);
    CU_ASSERT_EQUAL(got.list.count, 2);
}

static void the_last_of_several_wins(void)
{
    CU_ASSERT_EQUAL(read_args("--small=1", "--small=2", NULL, NULL), OPTIONS_RUN);
    CU_ASSERT_EQUAL(got.small, 2);
}

static void what_is_not_exactly_a_number_is_refused(void)
{
    static const char *const bad[] = {
        "",    "-1",      "+1", "1 ", " 1", "0x10", "1e3", "1k", "0", "65536", "99999999999999999999",
        "1.0", "\xd9\xa1"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CU_ASSERT_EQUAL(read_args("--small", bad[i], NULL, NULL), 2);
        CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "prog: --small takes a number from 1 to 65535, not '"));
    }
    CU_ASSERT_EQUAL(read_args("--large", "18446744073709551616", NULL, NULL), 2);
}

static void what_is_not_a_share_is_refused(void)
{
    static const char *const bad[] = {"", ".", "1.1", "-0.5", "1e-3", "nan", "0.5.5", "0,5", "50%"};
    static const char *const good[] = {"0", "1", "1.0", ".5", "0.001"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_EQUAL(read_args("--share", bad[i], NULL, NULL), 2);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        CU_ASSERT_EQUAL(read_args("--share", good[i], NULL, NULL), OPTIONS_RUN);
}

static void a_wrong_word_is_answered_with_the_right_ones(void)
{
    CU_ASSERT_EQUAL(read_args("--choice=blue", NULL, NULL, NULL), 2);
    CU_ASSERT_STRING_EQUAL(err_text, "prog: --choice takes one of red, green, not 'blue'\n");
}

static void what_does_not_belong_is_named(void)
{
    CU_ASSERT_EQUAL(read_args("--port", "1", NULL, NULL), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "--port is not an option"));
    CU_ASSERT_EQUAL(read_args("--sma", "1", NULL, NULL), 2);
    CU_ASSERT_EQUAL(read_args("-s", NULL, NULL, NULL), 2);
    CU_ASSERT_EQUAL(read_args("--", NULL, NULL, NULL), 2);
    CU_ASSERT_EQUAL(read_args("left over", NULL, NULL, NULL), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "left over is not expected here"));
    CU_ASSERT_EQUAL(read_args("--small", NULL, NULL, NULL), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(err_text, "--small needs a value"));
    CU_ASSERT_EQUAL(read_args("--flag=1", NULL, NULL, NULL), 2);
    CU_ASSERT_EQUAL(read_args("--text=", NULL, NULL, NULL), 2);
}

static void a_list_is_bounded(void)
{
    char *args[OPTION_LIST_MAX + 3] = {"prog"};
    FILE *null = fopen("/dev/null", "w");

    memset(&got, 0, sizeof got);
    for (int i = 1; i <= OPTION_LIST_MAX + 1; i++)
        args[i] = "--list=x";
    CU_ASSERT_EQUAL(options_read(&set, OPTION_LIST_MAX + 1, args, null, null), OPTIONS_RUN);
    CU_ASSERT_EQUAL(options_read(&set, OPTION_LIST_MAX + 2, args, null, null), 2);
    fclose(null);
}

static void help_and_version_end_with_success(void)
{
    CU_ASSERT_EQUAL(read_args("--help", "--nonsense", NULL, NULL), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(out_text, "--small N"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out_text, "--flag"));
    CU_ASSERT_PTR_NOT_NULL(strstr(out_text, "--version"));
    CU_ASSERT_EQUAL(read_args("--version", NULL, NULL, NULL), 0);
    CU_ASSERT_STRING_EQUAL(out_text, "prog 1.2.3\n");
    CU_ASSERT_STRING_EQUAL(err_text, "");
}

static const struct unit_case cases[] = {
    CASE(values_come_in_one_argument_or_in_two),
    CASE(each_kind_is_stored),
    CASE(the_last_of_several_wins),
    CASE(what_is_not_exactly_a_number_is_refused),
    CASE(what_is_not_a_share_is_refused),
    CASE(a_wrong_word_is_answered_with_the_right_ones),
    CASE(what_does_not_belong_is_named),
    CASE(a_list_is_bounded),
    CASE(help_and_version_end_with_success),
};

int main(int argc, char **argv)
{
    int status = unit_main(argc, argv, "options", cases, sizeof cases / sizeof cases[0]);

    free(out_text);
    free(err_text);
    return status;
}
