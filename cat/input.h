/* Lines from a pipe, a file or a terminal without line editing: any bytes, the newline taken off. */
#ifndef WEFT_CAT_INPUT_H
#define WEFT_CAT_INPUT_H

#include "buffer.h"

#include <stdint.h>

#define INPUT_BYTES_MAX (64u << 20) /* of a line or a file: it is one message */

struct input { /* all zero, but for the descriptor, is the beginning */
    int fd;
    struct buffer held;  /* read and not given out */
    size_t looked_bytes; /* of held: no newline is in them */
    size_t given_bytes;  /* of held: the line that was given out last, with its newline */
    uint64_t lines;      /* given out */
    bool is_ended;
};

enum input_result {
    INPUT_LINE,
    INPUT_MORE, /* read again when the descriptor is readable */
    INPUT_END,
    INPUT_TOO_LONG,
    INPUT_FAILED /* errno; ENOMEM when there is no memory */
};

/* A line that is there already, without reading. It is valid until the next call. */
enum input_result input_line(struct input *in, const char **line, size_t *bytes);

/* Read once. INPUT_MORE: ask input_line; otherwise INPUT_FAILED. */
enum input_result input_fill(struct input *in);

void input_fini(struct input *in);

/* Read a whole file.
 *
 * Returns  0, or an errno; EFBIG above INPUT_BYTES_MAX */
int input_read_file(struct buffer *out, const char *path);

#endif
