/* The one door for log lines: levels, the program's function, standard error, and what happens to a line that
 * is too long. */
#include "unit.h"
#include "crew.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 511 }; /* of one line, as log.c has it */

struct heard {
    unsigned lines;
    enum weft_log_level level;
    uint64_t conn_id;
    char text[1024];
};

static void hear(enum weft_log_level level, uint64_t conn_id, const char *text, void *app)
{
    struct heard *h = app;

    h->lines++;
    h->level = level;
    h->conn_id = conn_id;
    snprintf(h->text, sizeof h->text, "%s", text);
}

static void log_as_at_start(void)
{
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
}

static void at_start_warnings_are_wanted_and_information_is_not(void)
{
    CU_ASSERT_TRUE(log_wants(WEFT_LOG_ERROR));
    CU_ASSERT_TRUE(log_wants(WEFT_LOG_WARNING));
    CU_ASSERT_FALSE(log_wants(WEFT_LOG_INFO));
    CU_ASSERT_FALSE(log_wants(WEFT_LOG_DEBUG));
}

static void each_level_lets_the_graver_ones_through(void)
{
    for (enum weft_log_level chosen = WEFT_LOG_OFF; chosen <= WEFT_LOG_DEBUG; chosen++) {
        weft_log_to(chosen, NULL, NULL);
        for (enum weft_log_level level = WEFT_LOG_ERROR; level <= WEFT_LOG_DEBUG; level++)
            CU_ASSERT_EQUAL(log_wants(level), level <= chosen);
        CU_ASSERT_FALSE(log_wants(WEFT_LOG_OFF));
    }
    log_as_at_start();
}

static void a_line_reaches_the_function_of_the_program(void)
{
    struct heard h = {0};

    weft_log_to(WEFT_LOG_INFO, hear, &h);
    LOG(WEFT_LOG_INFO, 7, "%s has %d of %zu", "it", 3, (size_t)4);
    CU_ASSERT_EQUAL(h.lines, 1);
    CU_ASSERT_EQUAL(h.level, WEFT_LOG_INFO);
    CU_ASSERT_EQUAL(h.conn_id, 7);
    CU_ASSERT_STRING_EQUAL(h.text, "it has 3 of 4");
    LOG(WEFT_LOG_DEBUG, 7, "not wanted");
    CU_ASSERT_EQUAL(h.lines, 1);
    log_as_at_start();
}

static int count_of_evaluations;
static int evaluate(void)
{
    return ++count_of_evaluations;
}

static void arguments_of_an_unwanted_line_are_not_evaluated(void)
{
    struct heard h = {0};

    count_of_evaluations = 0;
    weft_log_to(WEFT_LOG_ERROR, hear, &h);
    LOG(WEFT_LOG_WARNING, 0, "%d", evaluate());
    CU_ASSERT_EQUAL(count_of_evaluations, 0);
    LOG(WEFT_LOG_ERROR, 0, "%d", evaluate());
    CU_ASSERT_EQUAL(count_of_evaluations, 1);
    log_as_at_start();
}

static void a_line_that_is_too_long_is_cut(void)
{
    static const int lengths[] = {TEXT_BYTES_MAX - 1, TEXT_BYTES_MAX, TEXT_BYTES_MAX + 1, 5000};
    struct heard h = {0};
    char text[5001];

    weft_log_to(WEFT_LOG_ERROR, hear, &h);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        size_t wanted = (size_t)(lengths[i] < TEXT_BYTES_MAX ? lengths[i] : TEXT_BYTES_MAX);

        memset(text, 'x', (size_t)lengths[i]);
        text[lengths[i]] = '\0';
        LOG(WEFT_LOG_ERROR, 0, "%s", text);
        CU_ASSERT_EQUAL(strlen(h.text), wanted);
        CU_ASSERT_EQUAL(strspn(h.text, "x"), wanted);
    }
    log_as_at_start();
}

/* Standard error of this process, while a case looks at it. */
struct captured {
    int saved, reading;
};

static void capture(struct captured *c)
{
    int ends[2];

    fflush(stderr);
    if (pipe2(ends, O_CLOEXEC) != 0)
        abort();
    c->saved = dup(STDERR_FILENO);
    dup2(ends[1], STDERR_FILENO);
    close(ends[1]);
    c->reading = ends[0];
}

static size_t release(struct captured *c, char *out, size_t room)
{
    size_t have = 0;
    ssize_t n;

    dup2(c->saved, STDERR_FILENO);
    close(c->saved);
    while (have + 1 < room && (n = read(c->reading, out + have, room - have - 1)) > 0)
        have += (size_t)n;
    out[have] = '\0';
    close(c->reading);
    return have;
}

static void without_a_function_lines_go_to_standard_error(void)
{
    struct captured c;
    char out[512];

    weft_log_to(WEFT_LOG_DEBUG, NULL, NULL);
    capture(&c);
    LOG(WEFT_LOG_ERROR, 0, "a");
    LOG(WEFT_LOG_WARNING, 18446744073709551615u, "b %s", "c");
    LOG(WEFT_LOG_INFO, 1, "%s", "");
    LOG(WEFT_LOG_DEBUG, 0, "d");
    release(&c, out, sizeof out);
    CU_ASSERT_STRING_EQUAL(
        out, "weft error: a\nweft warning: #18446744073709551615 b c\nweft info: #1 \nweft debug: d\n");
    log_as_at_start();
}

static void even_a_line_that_was_cut_ends_with_a_newline(void)
{
    struct captured c;
    char out[2048], text[3000];
    size_t n;

    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    capture(&c);
    LOG(WEFT_LOG_WARNING, 18446744073709551615u, "%s", text);
    n = release(&c, out, sizeof out);
    CU_ASSERT_EQUAL(n, strlen("weft warning: #18446744073709551615 \n") + TEXT_BYTES_MAX);
    CU_ASSERT_EQUAL(out[n - 1], '\n');
}

enum { WRITERS = 4, LINES_EACH = 50 };

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES_EACH; i++)
        LOG(WEFT_LOG_ERROR, 0, "%s", (const char *)arg);
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void)
{
    static char texts[WRITERS][101];
    struct captured c;
    struct crew crew = {0};
    char out[WRITERS * LINES_EACH * 128];
    unsigned lines = 0, mixed = 0;

    for (int i = 0; i < WRITERS; i++)
        memset(texts[i], 'a' + i, 100);
    capture(&c);
    for (int i = 0; i < WRITERS; i++)
        crew_add(&crew, write_lines, texts[i]);
    crew_join(&crew);
    release(&c, out, sizeof out);
    for (char *line = strtok(out, "\n"); line; line = strtok(NULL, "\n")) {
        const char *text = line + strlen("weft error: ");
        char expected[2] = {*text, '\0'};
        lines++;
        mixed += strlen(line) != strlen("weft error: ") + 100 || strspn(text, expected) != 100;
    }
    CU_ASSERT_EQUAL(lines, WRITERS * LINES_EACH);
    CU_ASSERT_EQUAL(mixed, 0);
}

static const struct unit_case cases[] = {
    CASE(at_start_warnings_are_wanted_and_information_is_not),
    CASE(each_level_lets_the_graver_ones_through),
    CASE(a_line_reaches_the_function_of_the_program),
    CASE(arguments_of_an_unwanted_line_are_not_evaluated),
    CASE(a_line_that_is_too_long_is_cut),
    CASE(without_a_function_lines_go_to_standard_error),
    CASE(even_a_line_that_was_cut_ends_with_a_newline),
    CASE(lines_of_several_threads_do_not_mix),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "log", cases, sizeof cases / sizeof cases[0]);
}
