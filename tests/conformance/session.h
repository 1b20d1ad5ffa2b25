/* One case on one connection: its steps, its timers, its record. What the role changes is in role.h.
 *
 * The session owns its socket and never waits: the engine polls the descriptor and calls session_turn with
 * what poll said and the time.
 *
 * States only go forward: CONNECTING, OPENING, OPEN, CLOSING (the tester's Close frame is on its way), CLOSED
 * (the peer's has come), GONE (TCP has ended). When the peer closes first, OPEN goes straight to CLOSED. A
 * server begins with OPENING, and ends its half of TCP when it is CLOSED and all is written.
 *
 * session.c has the states and timers, script.c the steps, incoming.c the peer's octets. */
#ifndef WEFT_CONFORMANCE_SESSION_H
#define WEFT_CONFORMANCE_SESSION_H

#include "case.h"
#include "handshake.h"
#include "outgoing.h"
#include "pmd.h"
#include "record.h"
#include "role.h"

#define MS_NS             1000000u
#define OPENING_LIMIT_MS  5000u
#define CLOSE_ANSWER_MS   1000u
#define TCP_DROP_MS       1000u
#define MESSAGE_BYTES_MAX (32u << 20)
#define EVENTS_MAX        64u

enum session_state { CONNECTING, OPENING, OPEN, CLOSING, CLOSED, GONE };

enum timer {
    TIMER_PHASE,
    TIMER_PAUSE,
    TIMER_AWAIT_END,
    TIMER_KILL,
    TIMER_CLOSE,
    TIMER_LIMIT,
    TIMER_END_TCP,
    TIMER_COUNT
};

/* What a client chose on the connection before: a new one must choose anew. */
struct choices {
    char key[WS_KEY_CHARS + 1];
    uint32_t mask;
    bool mask_known;
};

struct session_options {
    const struct role *role;
    uint32_t slices;   /* how many of a STEP_SLICES are sent */
    unsigned patience; /* factor on all times that the peer is given */
    unsigned pauses;   /* factor on the times in which it must not do a thing */
    bool verbose;
    bool any_host; /* of a server: something stands between, and Host names that */
};

struct session {
    const struct conf_case *c;
    const struct session_options *options;
    const struct role *role;
    int fd;
    enum session_state state;
    bool must_end_tcp; /* when all is written */
    bool has_ended_tcp;
    bool deaf; /* the peer broke the protocol, its octets cannot be read any more */
    char key[WS_KEY_CHARS + 1];
    const char *host;        /* of a server: what a request's Host must be; NULL: whatever it is */
    struct choices *choices; /* of a server: shared by its connections */
    uint32_t mask;           /* of the frame before */
    bool mask_known;
    uint64_t deadline_ns[TIMER_COUNT]; /* 0: not running */
    const struct step *next;           /* step to run */
    struct octets held;                /* the part of a begun frame that is not written yet */
    const struct step *rounds;         /* the messages that are sent one at a time */
    uint32_t rounds_left;
    struct octets slice; /* the message of a STEP_SLICES that is echoed now */
    size_t slice_at;
    struct pmd *pmd; /* NULL: permessage-deflate was not agreed upon */
    bool message_compressed;
    struct outgoing out;
    bool out_blocked;
    struct octets in;
    struct octets message;  /* fragments so far */
    uint8_t message_opcode; /* 0: none begun */
    struct record record;
};

void session_start(struct session *s, const struct conf_case *c, const struct target *t,
                   const struct session_options *options, uint64_t now_ns);
/* The same for a server, on a connection that a client has made; fd is given. */
void session_accept(struct session *s, const struct conf_case *c, int fd, const char *host,
                    struct choices *choices, const struct session_options *options, uint64_t now_ns);
short session_poll_events(const struct session *s);
/* 0: none. */
uint64_t session_deadline_ns(const struct session *s);
void session_turn(struct session *s, short revents, uint64_t now_ns);
/* The tester itself was busy for so long: the peer is not charged for it. */
void session_postpone(struct session *s, uint64_t busy_ns);
void session_fini(struct session *s);

/* For script.c and incoming.c. */
void session_timer(struct session *s, enum timer timer, uint32_t ms, uint64_t now_ns);
/* One frame, at once and in one piece. */
void session_frame(struct session *s, uint8_t first_octet, const uint8_t *payload, size_t bytes);
/* Ends TCP without a Close frame once all is written. */
void session_end_tcp(struct session *s, uint64_t now_ns);
/* Sends a Close frame; the first one of the connection is the tester's when it is open. */
void session_close(struct session *s, int code, const struct payload *reason, uint64_t now_ns);
/* The peer broke the protocol: close with the code, and listen no more. */
void session_fail(struct session *s, int code, const char *trouble, uint64_t now_ns);
/* Records an event; a case closed by the tester ends when the record is complete, or can only be wrong. */
void session_event(struct session *s, struct event event, uint64_t now_ns);
void session_peer_closed(struct session *s, const uint8_t *payload, size_t bytes, uint64_t now_ns);
void session_trace(const struct session *s, const char *arrow, uint8_t first_octet, size_t bytes);

/* script.c: runs steps up to the next pause; goes on after it if the connection is still open. */
void script_run(struct session *s, uint64_t now_ns);
void script_resume(struct session *s, uint64_t now_ns);
/* True: it was the echo that a round waits for and was taken; also when it is a wrong one, which ends the
 * rounds. False: an event like others. */
bool script_round(struct session *s, struct event *event, uint64_t now_ns);

/* incoming.c: reads as many frames as are complete. */
void incoming_read(struct session *s, uint64_t now_ns);

#endif
