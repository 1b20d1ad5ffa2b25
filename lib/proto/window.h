/* What the next compressed message may refer to: the last bytes of those before it, up to a negotiated size. Who keeps
 * it can compress or inflate with any context that knows how to begin with a dictionary.
 *
 * All zero is a window without memory. Belongs to one thread at a time.
 *
 * Source: RFC 7692 sections 7.1.1 and 7.1.2 */
#ifndef WEFT_PROTO_WINDOW_H
#define WEFT_PROTO_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct window {
    uint8_t *octets; /* NULL: no memory */
    uint32_t bytes;  /* so many are there, the oldest first */
    uint32_t room;
};

/* 2^bits bytes. False: no memory, and w is all zero. */
bool window_init(struct window *w, unsigned bits);
void window_fini(struct window *w); /* all zero behind it */
/* Behind what is there come n bytes; the oldest go for which there is no room. */
void window_put(struct window *w, const uint8_t *p, size_t n);

/* Nothing of what was before may be referred to. */
static inline void window_forget(struct window *w)
{
    w->bytes = 0;
}

#endif
