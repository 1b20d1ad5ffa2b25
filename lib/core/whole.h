/* A message that is put together from its parts, for a program that receives whole ones beside parts.
 *
 * Each part is added as it is taken out of the queue, for together they may be more than the queue lets in; the last one
 * gives the message. One that gets too long is told once, and its rest is thrown away. It belongs to who holds the
 * queue's lock. */
#ifndef WEFT_CORE_WHOLE_H
#define WEFT_CORE_WHOLE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/msg.h"
#include "core/straight.h"
#include "weft/error.h"

struct whole {
    weft_msg *msg; /* parts that were taken for a message that is not complete */
    uint32_t room;
    bool is_skipping; /* the rest of a message that was too long */
};

static inline bool whole_is_begun(const struct whole *w)
{
    return w->msg || w->is_skipping;
}

static inline void whole_drop(struct whole *w)
{
    if (w->msg)
        msg_free(w->msg);
    w->msg = NULL;
}

/* Room for n more bytes in the message that is put together. */
static inline bool whole_grow(struct whole *w, uint32_t n, uint64_t most)
{
    uint64_t needed = (uint64_t)w->msg->bytes + n, room = (uint64_t)w->room * 2;
    weft_msg *bigger;

    if (needed <= w->room)
        return true;
    room = room > most ? most : room;
    room = room < needed ? needed : room;
    bigger = msg_grow(w->msg, w->msg->bytes, (size_t)room);
    if (!bigger)
        return false;
    w->msg = bigger;
    w->room = (uint32_t)room;
    return true;
}

static inline int whole_append(struct whole *w, weft_msg *m, uint64_t most, weft_msg **out)
{
    bool is_last = m->link.kind & PART_LAST;

    if (!w->msg) {
        w->msg = m;
        w->room = m->bytes;
    } else {
        if (!whole_grow(w, m->bytes, most))
            return WEFT_E_NOMEM;
        memcpy(w->msg->payload + w->msg->bytes, m->payload, m->bytes);
        w->msg->bytes += m->bytes;
        msg_free(m);
    }
    if (!is_last)
        return WEFT_E_AGAIN;
    *out = w->msg;
    w->msg = NULL;
    msg_seal(*out, (*out)->bytes);
    return WEFT_OK;
}

/* Add a part, which is given but with WEFT_E_NOMEM.
 *
 * most     bytes that the message may have
 * Returns  WEFT_OK         *out is the whole message
 *          WEFT_E_AGAIN    more is to come
 *          WEFT_E_TOO_BIG  it is too long, and is dropped
 *          WEFT_E_NOMEM    nothing was done */
static inline int whole_add(struct whole *w, weft_msg *m, uint64_t most, weft_msg **out)
{
    bool is_last = m->link.kind & PART_LAST;

    if (w->is_skipping) {
        w->is_skipping = !is_last;
        msg_free(m);
        return WEFT_E_AGAIN;
    }
    if ((w->msg ? w->msg->bytes : 0) + (uint64_t)m->bytes > most) {
        w->is_skipping = !is_last;
        whole_drop(w);
        msg_free(m);
        return WEFT_E_TOO_BIG;
    }
    return whole_append(w, m, most, out);
}

#endif
