/* A window in one piece, for dictionaries are; see window.h. What is moved to make room is as long as the window at
 * most, which is less than compressing the message reads. */
#include "proto/window.h"

#include <string.h>

#include "base/mem.h"

bool window_init(struct window *w, unsigned bits)
{
    *w = (struct window){.octets = mem_alloc((size_t)1 << bits)};
    if (w->octets)
        w->room = 1u << bits;
    return w->octets;
}

void window_fini(struct window *w)
{
    mem_free(w->octets);
    *w = (struct window){0};
}

void window_put(struct window *w, const uint8_t *p, size_t n)
{
    size_t keeps;

    if (n > w->room) {
        p += n - w->room;
        n = w->room;
    }
    keeps = w->bytes < w->room - n ? w->bytes : w->room - n;
    if (keeps && keeps < w->bytes)
        memmove(w->octets, w->octets + w->bytes - keeps, keeps);
    if (n)
        memcpy(w->octets + keeps, p, n);
    w->bytes = (uint32_t)(keeps + n);
}
