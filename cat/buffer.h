/* Bytes that grow as they are put. A put that gets no memory marks the buffer instead of being answered, so
 * that who writes a line checks once, at its end. */
#ifndef WEFT_CAT_BUFFER_H
#define WEFT_CAT_BUFFER_H

#include <stdbool.h>
#include <stddef.h>

struct buffer { /* all zero is an empty one */
    char *data;
    size_t count, room; /* bytes */
    bool is_short;      /* of memory: something was not put */
};

void buffer_put(struct buffer *b, const void *data, size_t bytes);
void buffer_put_text(struct buffer *b, const char *text);
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void buffer_print(struct buffer *b, const char *format, ...);

/* Room for so many bytes behind what is there; count them in with buffer_grew. NULL: no memory. */
void *buffer_reserve(struct buffer *b, size_t bytes);
void buffer_grew(struct buffer *b, size_t bytes);

void buffer_drop_front(struct buffer *b, size_t bytes);

/* Forget what is in it, and the mark; the memory stays for the next line unless it has become very large. */
void buffer_clear(struct buffer *b);
void buffer_fini(struct buffer *b);

#endif
