/* Lines from a pipe, whatever pieces they come in; and whole files. */
#include "cat/input.h"

#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int pipe_ends[2];
static struct input in;

static void begin(void)
{
    if (pipe(pipe_ends) != 0)
        abort();
    in = (struct input){.fd = pipe_ends[0]};
}

static void end(void)
{
    input_fini(&in);
    close(pipe_ends[0]);
    if (pipe_ends[1] >= 0)
        close(pipe_ends[1]);
}

static void feed(const char *data, size_t bytes)
{
    if (write(pipe_ends[1], data, bytes) != (ssize_t)bytes)
        abort();
    CU_ASSERT_EQUAL(input_fill(&in), INPUT_MORE);
}

static void feed_end(void)
{
    close(pipe_ends[1]);
    pipe_ends[1] = -1;
    CU_ASSERT_EQUAL(input_fill(&in), INPUT_MORE);
}

static int line_is(const char *wanted, size_t wanted_bytes)
{
    const char *line = NULL;
    size_t bytes = 0;

    return input_line(&in, &line, &bytes) == INPUT_LINE && bytes == wanted_bytes &&
           memcmp(line, wanted, bytes) == 0;
}

static enum input_result result(void)
{
    const char *line;
    size_t bytes;

    return input_line(&in, &line, &bytes);
}

static void a_piece_may_hold_several_lines(void)
{
    begin();
    CU_ASSERT_EQUAL(result(), INPUT_MORE);
    feed("one\n\ntwo\r\nthr", 13);
    CU_ASSERT_TRUE(line_is("one", 3));
    CU_ASSERT_TRUE(line_is("", 0));
    CU_ASSERT_TRUE(line_is("two\r", 4));
    CU_ASSERT_EQUAL(result(), INPUT_MORE);
    feed("ee", 2);
    CU_ASSERT_EQUAL(result(), INPUT_MORE);
    feed_end();
    CU_ASSERT_TRUE(line_is("three", 5));
    CU_ASSERT_EQUAL(result(), INPUT_END);
    CU_ASSERT_EQUAL(result(), INPUT_END);
    CU_ASSERT_EQUAL(in.lines, 4);
    end();
}

static void lines_come_out_the_same_byte_by_byte(void)
{
    static const char text[] = "a\n\xff\0z\n\nlast\n";

    begin();
    for (size_t i = 0; i < sizeof text - 1; i++) {
        feed(text + i, 1);
        if (i == 1)
            CU_ASSERT_TRUE(line_is("a", 1));
        if (i == 5)
            CU_ASSERT_TRUE(line_is("\xff\0z", 3));
        if (i == 6)
            CU_ASSERT_TRUE(line_is("", 0));
        if (i == 11)
            CU_ASSERT_TRUE(line_is("last", 4));
        CU_ASSERT_EQUAL(result(), INPUT_MORE);
    }
    feed_end();
    CU_ASSERT_EQUAL(result(), INPUT_END);
    end();
}

static void a_failing_descriptor_is_told(void)
{
    struct input bad = {.fd = -1};

    CU_ASSERT_EQUAL(input_fill(&bad), INPUT_FAILED);
    CU_ASSERT_EQUAL(errno, EBADF);
    input_fini(&bad);
}

static void a_line_without_end_is_bounded(void)
{
    static char piece[1 << 20];
    struct input endless = {.fd = -1};
    const char *line;
    size_t bytes;

    memset(piece, 'x', sizeof piece);
    while (endless.held.count <= INPUT_BYTES_MAX) {
        CU_ASSERT_EQUAL(input_line(&endless, &line, &bytes), INPUT_MORE);
        buffer_put(&endless.held, piece, sizeof piece);
    }
    CU_ASSERT_EQUAL(input_line(&endless, &line, &bytes), INPUT_TOO_LONG);
    input_fini(&endless);
}

static void a_file_is_read_whole_or_told_why_not(void)
{
    char path[] = "/tmp/weft-cat-XXXXXX";
    char data[200000];
    struct buffer b = {0};
    int fd = mkstemp(path);

    memset(data, 7, sizeof data);
    CU_ASSERT_EQUAL(write(fd, data, sizeof data), (ssize_t)sizeof data);
    CU_ASSERT_EQUAL(input_read_file(&b, path), 0);
    CU_ASSERT_EQUAL(b.count, sizeof data);
    CU_ASSERT_EQUAL(memcmp(b.data, data, sizeof data), 0);
    buffer_clear(&b);
    CU_ASSERT_EQUAL(ftruncate(fd, (off_t)INPUT_BYTES_MAX + 1), 0);
    CU_ASSERT_EQUAL(input_read_file(&b, path), EFBIG);
    CU_ASSERT_EQUAL(b.count, 0);
    close(fd);
    unlink(path);
    CU_ASSERT_EQUAL(input_read_file(&b, path), ENOENT);
    CU_ASSERT_EQUAL(input_read_file(&b, "/"), EISDIR);
    CU_ASSERT_EQUAL(input_read_file(&b, "/dev/zero"), EFBIG);
    buffer_fini(&b);
}

static const struct unit_case cases[] = {
    CASE(a_piece_may_hold_several_lines),       CASE(lines_come_out_the_same_byte_by_byte),
    CASE(a_failing_descriptor_is_told),         CASE(a_line_without_end_is_bounded),
    CASE(a_file_is_read_whole_or_told_why_not),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "cat_input", cases, sizeof cases / sizeof cases[0]);
}
