/* Lines from a pipe; see input.h. */
#include "input.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES 65536

/* One read behind what is there. Returns 0 at the end, negative with errno. */
static ssize_t read_more(int fd, struct buffer *b)
{
    void *at = buffer_reserve(b, READ_BYTES);
    ssize_t n;

    if (!at) {
        errno = ENOMEM;
        return -1;
    }
    n = read(fd, at, READ_BYTES);
    if (n > 0)
        buffer_grew(b, (size_t)n);
    return n;
}

static enum input_result give(struct input *in, size_t bytes, size_t newline, const char **line, size_t *out)
{
    *line = in->held.data;
    *out = bytes;
    in->given_bytes = bytes + newline;
    in->looked_bytes = 0;
    in->lines++;
    return INPUT_LINE;
}

enum input_result input_line(struct input *in, const char **line, size_t *bytes)
{
    const char *newline;

    buffer_drop_front(&in->held, in->given_bytes);
    in->given_bytes = 0;
    newline = in->held.count > in->looked_bytes
                  ? memchr(in->held.data + in->looked_bytes, '\n', in->held.count - in->looked_bytes)
                  : NULL;
    if (newline)
        return give(in, (size_t)(newline - in->held.data), 1, line, bytes);
    if (in->held.count > INPUT_BYTES_MAX)
        return INPUT_TOO_LONG;
    if (in->is_ended)
        return in->held.count ? give(in, in->held.count, 0, line, bytes) : INPUT_END;
    in->looked_bytes = in->held.count;
    return INPUT_MORE;
}

enum input_result input_fill(struct input *in)
{
    ssize_t n = read_more(in->fd, &in->held);

    if (n < 0 && errno != EINTR && errno != EAGAIN)
        return INPUT_FAILED;
    if (n == 0)
        in->is_ended = true;
    return INPUT_MORE;
}

void input_fini(struct input *in)
{
    buffer_fini(&in->held);
}

int input_read_file(struct buffer *out, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat about;
    ssize_t n = 1;
    int error = 0;

    if (fd < 0)
        return errno;
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > (off_t)INPUT_BYTES_MAX)
        error = EFBIG;
    while (n != 0 && error == 0) {
        n = read_more(fd, out);
        if (n < 0)
            error = errno;
        else if (out->count > INPUT_BYTES_MAX)
            error = EFBIG;
    }
    close(fd);
    return error;
}
