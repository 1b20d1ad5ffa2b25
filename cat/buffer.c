/* Bytes that grow; see buffer.h. */
#include "buffer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_BYTES_MAX (1u << 20) /* by buffer_clear */
#define FIRST_BYTES    256

void *buffer_reserve(struct buffer *b, size_t bytes)
{
    size_t room = b->room ? b->room : FIRST_BYTES;
    char *data;

    if (bytes > SIZE_MAX / 2 - b->count) {
        b->is_short = true;
        return NULL;
    }
    while (room < b->count + bytes)
        room *= 2;
    if (room != b->room) {
        data = realloc(b->data, room);
        if (!data) {
            b->is_short = true;
            return NULL;
        }
        b->data = data;
        b->room = room;
    }
    return b->data + b->count;
}

void buffer_grew(struct buffer *b, size_t bytes)
{
    b->count += bytes;
}

void buffer_put(struct buffer *b, const void *data, size_t bytes)
{
    void *at = buffer_reserve(b, bytes);

    if (!at || bytes == 0)
        return;
    memcpy(at, data, bytes);
    b->count += bytes;
}

void buffer_put_text(struct buffer *b, const char *text)
{
    buffer_put(b, text, strlen(text));
}

void buffer_print(struct buffer *b, const char *format, ...)
{
    va_list args;
    char *at;
    int bytes;

    va_start(args, format);
    bytes = vsnprintf(NULL, 0, format, args);
    va_end(args);
    at = bytes < 0 ? NULL : buffer_reserve(b, (size_t)bytes + 1);
    if (!at) {
        b->is_short = true;
        return;
    }
    va_start(args, format);
    vsnprintf(at, (size_t)bytes + 1, format, args);
    va_end(args);
    b->count += (size_t)bytes;
}

void buffer_drop_front(struct buffer *b, size_t bytes)
{
    b->count -= bytes;
    if (b->count)
        memmove(b->data, b->data + bytes, b->count);
}

void buffer_clear(struct buffer *b)
{
    if (b->room > KEPT_BYTES_MAX)
        buffer_fini(b);
    b->count = 0;
    b->is_short = false;
}

void buffer_fini(struct buffer *b)
{
    free(b->data);
    *b = (struct buffer){0};
}
