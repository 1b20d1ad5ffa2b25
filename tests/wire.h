/* Frames as bytes, and what a session made of them as text: what the tests of session.c share.
 *
 * The encoder is written once more here, plainly, so that a fault of frame.c or mask.c cannot hide itself.
 * Every piece is fed from a block of exactly its size, so a read behind its end is seen by the sanitizer. */
#ifndef WEFT_TESTS_WIRE_H
#define WEFT_TESTS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/session.h"

#define WIRE_FIN  0x80u
#define WIRE_RSV1 0x40u

struct wire {
    uint8_t *p;
    size_t bytes;
    bool is_masked;
    uint32_t random; /* for the keys */
};

void wire_init(struct wire *w, bool is_masked);
void wire_fini(struct wire *w);
/* first: FIN, reserved bits and opcode as they stand in the frame's first byte. */
void wire_frame(struct wire *w, unsigned first, const void *payload, size_t bytes);
/* The header of a frame whose payload does not come, or comes later by wire_raw. */
void wire_header(struct wire *w, unsigned first, uint64_t bytes);
void wire_raw(struct wire *w, const void *p, size_t bytes);

/* The events of one session, a line for each. */
struct trace {
    char text[1 << 20]; /* of which little is used */
    size_t length;
    const char *reason; /* of the last FAIL */
    size_t fed;         /* bytes so far */
    size_t first_at;    /* fed, when the first event came; 0: none came */
    unsigned events;
    enum session_event_kind last;
    int faults; /* promises of session_feed that were broken */
};

void trace_init(struct trace *t);
/* name: text, binary, either behind compressed-, ping, pong, close or fail; code of close and fail. */
void trace_line(struct trace *t, const char *name, unsigned code, const void *payload, size_t bytes);
void trace_event(struct trace *t, enum session_event_kind kind, struct session_event *ev);
/* One piece, until all of it is used. */
void trace_feed(struct trace *t, struct session *s, const uint8_t *p, size_t n);
/* The same, by session_direct where the session offers a place. */
void trace_feed_direct(struct trace *t, struct session *s, const uint8_t *p, size_t n);

/* Pseudorandom numbers that are the same in each run. */
static inline uint32_t wire_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Where text stops being the beginning of any valid UTF-8: the index of the first wrong byte, n when there is
 * none; is_whole tells whether it may end there. Source: Unicode, table 3-7 */
size_t wire_utf8_right_until(const uint8_t *p, size_t n, bool *is_whole);

/* Limits and times that no test runs into by chance. */
struct session_config wire_config(bool is_client);

#endif
