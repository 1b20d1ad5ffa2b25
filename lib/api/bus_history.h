/* What a topic remembers in memory: the last messages, without a hole between them.
 *
 * H1  The entries have the offsets at.offset - count + 1 up to at.offset.
 * H2  Memory that cannot be had makes it forget, never lie: what is not held is told as a gap.
 * H3  An earlier epoch is known for as long as somebody who was in it might miss nothing: until what followed
 *     its last message is not held any more. Each has a message behind it, so there are not more of them than
 *     messages, and one.
 * H4  All histories of a bus share one bound. Above it the oldest message goes of one that holds the most (to a
 *     factor of two), so that filling many topics, or one, takes nothing from those that hold little. What is
 *     held is set apart from the memory that connections are held to (memory_bytes_max): no connection that
 *     ends would give it back.
 * Used by one thread at a time. */
#ifndef WEFT_API_BUS_HISTORY_H
#define WEFT_API_BUS_HISTORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/bus.h"

struct history_limits {
    uint32_t messages;
    uint64_t age_ms; /* 0: without end */
    uint64_t bytes;
};

struct history_entry {
    weft_msg *msg;
    uint64_t time_ms; /* of whoever's clock; the same one asks for it */
    uint64_t tag;     /* whoever's own: who published it */
};

#define HISTORY_WEIGHTS 64

struct history;

/* All zero but bytes_max: none. */
struct histories {
    uint64_t bytes_max;
    _Atomic uint64_t bytes;                     /* with the blocks they are in; read by any thread */
    struct history *by_weight[HISTORY_WEIGHTS]; /* those that hold 2^i bytes up to the double */
    /* A history lost its oldest messages to another one's; NULL: nobody wants to know. */
    void (*trimmed)(struct history *h, void *arg);
    void *arg;
};

struct history {
    struct histories *all;                   /* NULL: it is bounded by its limits alone */
    struct history *peer_next, **peer_place; /* weight > 0: in all->by_weight */
    uint64_t weight;                         /* its part of all->bytes */
    weft_bus_position at;
    struct history_limits limits;
    struct history_entry *ring; /* room of them; the oldest at head */
    uint32_t head, count, room;
    uint64_t bytes;
    /* Positions of earlier epochs, in order: up to there they hold as well (H3). */
    weft_bus_position *before;
    uint32_t before_count, before_room;
};

void bus_history_init(struct history *h, const struct history_limits *limits, struct histories *all,
                      weft_bus_position at);
void bus_history_fini(struct history *h);
/* Forget the messages, and be at this position. */
void bus_history_clear(struct history *h, weft_bus_position at);
/* The next message: at.offset counts up. Takes a reference of its own. Others may be trimmed, and this one. */
void bus_history_put(struct history *h, weft_msg *m, uint64_t time_ms, uint64_t tag);
/* From now on in another epoch, for a message that follows; the offsets go on, and positions of those before
 * stay good. */
void bus_history_renew(struct history *h, uint64_t epoch);
/* Let go of what is older than allowed. */
void bus_history_prune(struct history *h, uint64_t now_ms);
/* The lowest offset that is held; at.offset + 1 when none is. */
uint64_t bus_history_first(const struct history *h);
/* An offset that is held, borrowed. */
weft_msg *bus_history_get(const struct history *h, uint64_t offset);
/* All that is held, the oldest first; each with a reference of its own. */
void bus_history_copy(const struct history *h, struct history_entry *out);
/* Is everything up to this position what was seen there, so that what follows it can be told? */
bool bus_history_knows(const struct history *h, const weft_bus_position *from);
/* 0: it is not held. */
uint64_t history_tag(const struct history *h, uint64_t offset);

#endif
