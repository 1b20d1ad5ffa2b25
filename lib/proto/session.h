/* One WebSocket connection behind its opening handshake, without I/O: bytes in, events out, time as an
 * argument.
 *
 * Hold in mind:
 *   - feed reports one event at a time; the caller feeds the rest of its bytes again until all are used.
 *   - A message is assembled in memory of its own. An announced length sets aside at most 128 KiB,
 *     untouched; beyond that memory comes as the bytes do.
 *   - The session decides what has to be sent (a Pong, a Close) and the caller sends it: events carry the
 * payload.
 *   - A frame that lies whole in what is fed needs no memory but its message's; only what is cut or
 *     fragmented is remembered in a struct session_reading until the message's end.
 *   - A compressed message is not inflated here, nor its text checked, for that is the work of a worker. Its
 *     limit is message_bytes_max and what compressing may add to what does not get smaller; the one who
 *     inflates it has the exact one.
 *   - After a failure or the peer's Close all further input is thrown away.
 *   - It holds no clock: session_tick is told the time, session_deadline says when to call it next.
 *
 * It belongs to the thread of its connection; there is nothing atomic in it.
 * Source: RFC 6455 sections 5, 6, 7 */
#ifndef WEFT_PROTO_SESSION_H
#define WEFT_PROTO_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/msg.h"
#include "proto/frame.h"
#include "proto/utf8.h"

#define SESSION_NEVER UINT64_MAX

/* Shared by all connections of a server. */
struct session_config {
    bool is_client; /* the peer must not mask */
    bool allows_compressed; /* permessage-deflate was agreed; what is compressed is reported as it came */
    uint32_t message_bytes_max;
    uint32_t fragments_max;
    uint32_t ping_interval_ms; /* UINT32_MAX: none */
    uint32_t ping_timeout_ms;
    uint32_t close_timeout_ms;
    bool gives_parts; /* SESSION_MESSAGE is a part of a message, which may be of any length */
};

enum session_event_kind {
    SESSION_NONE,    /* all bytes used, nothing to report */
    SESSION_MESSAGE, /* msg is given; with gives_parts what has come of a frame, at most 64 KiB */
    SESSION_PING,    /* to be answered with a Pong of the same payload */
    SESSION_PONG,
    SESSION_CLOSE, /* the peer's Close; when ours was not sent yet it is to be answered with the same code */
    SESSION_FAIL /* the peer broke the protocol: send Close with code and reason, then drop the connection */
};

struct session_event {
    weft_msg *msg;
    bool is_first, is_last; /* MESSAGE, with gives_parts: of the message */
    uint16_t code; /* CLOSE: 1005 for none. FAIL: what to send */
    uint8_t bytes; /* of the payload */
    int error;     /* FAIL: WEFT_E_PROTOCOL, WEFT_E_UTF8, WEFT_E_TOO_BIG or WEFT_E_NOMEM */
    const char *reason; /* FAIL: static */
    char payload[FRAME_CONTROL_BYTES_MAX + 1]; /* PING, PONG: theirs. CLOSE: the reason, ends with NUL */
};

enum session_tick {
    SESSION_TICK_NONE,
    SESSION_TICK_PING,
    SESSION_TICK_PING_TIMEOUT,
    SESSION_TICK_CLOSE_TIMEOUT
};

/* What is under way: a message of several frames, or a frame that did not lie whole in what was fed. */
struct session_reading {
    weft_msg *msg;       /* the data message */
    weft_msg *control;   /* the control frame */
    uint64_t frame_left; /* payload bytes of the frame that are still to come */
    uint32_t msg_bytes;  /* of msg, all fragments so far */
    uint32_t msg_room;
    uint32_t fragments;
    struct utf8_state utf8;
    uint8_t key[4];
    uint8_t header[FRAME_HEADER_BYTES_MAX];
    uint8_t header_have;
    uint8_t opcode;       /* of the frame */
    uint8_t frame_offset; /* payload bytes of the frame seen; modulo 256, which the mask does not mind */
    uint8_t message_type;
    bool is_compressed;   /* the message: RSV1 was set on its first frame */
    bool is_final;
    bool in_frame;
    bool in_message; /* between the first fragment and the last */
    bool has_given;  /* gives_parts: a part of this message */
};

#define SESSION_PING_BYTES 4

/* Every connection has one, most of them idle: so it is small. Times are below 2^48 ms. */
struct session {
    const struct session_config *config; /* borrowed */
    union {
        struct session_reading *reading; /* NULL: between messages, and nothing of the next one is here */
        const char *fault; /* once failed: what was wrong, static; NULL when the caller gave up */
    };
    uint64_t due_ms : 48; /* next Ping; the deadline of its Pong while ping_waits; the end once close_sent */
    uint64_t ping_number : 16; /* its payload */
    uint32_t held_since_ms;    /* modulo 2^32; while is_held */
    uint32_t like_bytes : 24;  /* of the last data frame if it was a large whole message, else 0 */
    bool close_sent : 1, close_received : 1, failed : 1;
    bool ping_waits : 1; /* a Ping of ours is not answered */
    bool is_held : 1;
};
_Static_assert(sizeof(struct session) == 32, "half a line of the cache");

void session_init(struct session *s, const struct session_config *config, uint64_t now_ms);
void session_fini(struct session *s); /* also of one that is all zero */
/* The caller has its own reason to end it: as after a failure. Nothing when it has failed already. */
void session_give_up(struct session *s);

/* Take bytes, up to the first event.
 *
 * used     set to how many were taken; n of them when the result is SESSION_NONE
 * ev       filled for what the kind says */
enum session_event_kind session_feed(struct session *s, const uint8_t *p, size_t n, size_t *used,
                                     struct session_event *ev);

/* In the middle of a large data frame, the place where its next bytes may be received directly, and how many
 * of them; 0 when there is none. What was put there is told by session_feed_direct, with the same results as
 * session_feed. */
size_t session_direct(struct session *s, uint8_t **where);
enum session_event_kind session_feed_direct(struct session *s, size_t n, struct session_event *ev);

/* Large messages rarely come alone: between frames, behind one, the place for the next one like it. So its
 * payload is received where it stays. */
struct session_guess {
    weft_msg *msg; /* the guess's own */
    uint8_t header[FRAME_HEADER_BYTES_MAX];
    uint8_t header_bytes;
    uint32_t bytes; /* of payload that may be received into msg */
};
/* False: nothing to guess, or no memory. The guess is used up by session_guess_came_true or
 * session_guess_drop. bytes_max: at most so much payload in one read. */
bool session_guess(struct session *s, uint32_t bytes_max, struct session_guess *g);
/* n bytes were received, first into header, then into msg's payload. True: they are a frame as guessed, and
 * kind and ev tell what session_feed would. False: nothing was done; feed them, and drop the guess. */
bool session_guess_came_true(struct session *s, struct session_guess *g, size_t n,
                             enum session_event_kind *kind, struct session_event *ev);
void session_guess_drop(struct session_guess *g);

/* --- time and the end (session_time.c) --- */

#define SESSION_DUE_NEVER (((uint64_t)1 << 48) - 1)

/* For the two parts of the session: the next thing that is due. */
static inline void session_set_due(struct session *s, uint64_t at_ms)
{
    s->due_ms = at_ms < SESSION_DUE_NEVER ? at_ms : SESSION_DUE_NEVER;
}

/* We sent a Close: from now on its deadline counts. */
void session_close_sent(struct session *s, uint64_t now_ms);
/* Both Close frames went their way, or the session failed: nothing more is to be expected. */
bool session_is_over(const struct session *s);

/* What is due now. PING: send a Ping with the payload session_ping_payload, and call again. */
enum session_tick session_tick(struct session *s, uint64_t now_ms);
uint64_t session_deadline_ms(const struct session *s);
void session_ping_payload(const struct session *s, uint8_t payload[SESSION_PING_BYTES]);

/* The caller stops reading, and goes on: the Pong's deadline stands still, for the Pong may lie behind the
 * data. */
void session_hold(struct session *s, uint64_t now_ms);
void session_resume(struct session *s, uint64_t now_ms);

#endif
