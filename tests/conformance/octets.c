/* A growing row of octets; see octets.h. */
#include "octets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *memory_resize(void *p, size_t count, size_t size)
{
    void *resized = reallocarray(p, count, size);

    if (!resized) {
        fprintf(stderr, "no memory\n");
        exit(2);
    }
    return resized;
}

uint8_t *octets_extend(struct octets *o, size_t n)
{
    if (o->room - o->bytes < n || !o->data) {
        o->room = 2 * o->room > o->bytes + n ? 2 * o->room : o->bytes + n + 64;
        o->data = memory_resize(o->data, o->room, 1);
    }
    o->bytes += n;
    return o->data + o->bytes - n;
}

void octets_put(struct octets *o, const void *data, size_t n)
{
    uint8_t *dst = octets_extend(o, n);

    if (n > 0)
        memcpy(dst, data, n);
}

void octets_drop_front(struct octets *o, size_t n)
{
    if (n == 0)
        return;
    memmove(o->data, o->data + n, o->bytes - n);
    o->bytes -= n;
}

void octets_fini(struct octets *o)
{
    free(o->data);
    *o = (struct octets){0};
}
