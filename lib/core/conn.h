/* The connection: where the socket's bytes, the queues and the threads meet.
 *
 * One owner for each part, at each moment:
 *   (c)   constant from the birth of the connection (or from on_open) on
 *   (io)  its I/O thread alone: socket, session, what is being written, timers
 *   (wk)  the worker that runs it now; one at a time, handed on through the ready queue
 *   (a)   atomic, any thread
 *   (q)   a queue between threads
 *
 * C1  state goes only forward: NEW, HANDSHAKE, DECIDING, OPEN, LINGER, DEAD. Only io changes it.
 * C2  Only io and the running worker notify the inbox; CLOSED is the last event that io sets, and io gives
 *     up the connection with it: from then on the worker owns what is left, and drops the library's
 *     reference behind on_close. io sets it at the end of the turn in which the connection died
 *     (io_thread_bury), so within a turn it may touch a connection behind any call that may have ended it.
 * C3  The outbox is closed by whoever comes first: weft_conn_close (with its Close frame as last node), the
 *     peer's Close, a failure, or the death of the connection. A push after that answers WEFT_E_CLOSED.
 * C4  outbox_bytes counts what is in the outbox and in `writing` together, each with MSG_COST; only io
 *     takes off.
 * C5  A connection is linked in its io thread's dirty list at most once (on_dirty), with a reference of its
 *     own. on_dirty is cleared before the outbox is looked at, so what is pushed after the look links it
 *     again (label DIRTY: the exchange that links and the exchange that clears are acq_rel).
 * C6  Sleepers of the outbox (blocked senders, a gated mailbox, on_drain) set a bit in `drain`, then look
 *     at outbox_bytes; io takes off outbox_bytes, then looks at `drain`. All seq_cst (store-load race
 *     DRAIN_LOOK).
 * C7  Reading stops when the inbox is above its mark: io sets read_paused, then looks at `handled`; the
 *     worker adds to handled, then looks at read_paused. All seq_cst (store-load race PAUSE_LOOK).
 * C8  fail_code and session.fault are io's; it writes them before CONN_EVENT_FAILED, and they are constant
 *     then.
 * C9  From HANDSHAKE to DEAD the timer is in one of the lists of its io thread's wheel, armed or resting:
 *     there io finds all its connections. Once DEAD it is idle, and its link is in the list of the dead.
 * C10 A handler (straight.h) may run beyond CLOSED: then RETURNED is what the worker waits for, and io sets
 * it when
 *     the handler's thread has linked the connection for the last time.
 *
 * The life of the reference count: the creator's reference is the library's (dropped in C2, or by io when
 * the connection never got as far as a worker); one for a link in a dirty list; one for each request, group
 * membership and handle of the program. */
#ifndef WEFT_CORE_CONN_H
#define WEFT_CORE_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/msg.h"
#include "base/order.h"
#include "base/thr.h"
#include "core/endpoint.h"
#include "core/engine.h"
#include "core/squeeze.h"
#include "io/link.h"
#include "io/sock.h"
#include "io/loop.h"
#include "io/timer.h"
#include "proto/session.h"
#include "sync/inbox.h"
#include "sync/stack.h"
#include "sync/turn.h"
#include "weft/conn.h"
#include "weft/tls.h"

struct compress;
struct io_thread;
struct opening;
struct secure;
struct straight;
struct stream;
struct tls_context;
struct waits;
struct weft_request;

enum conn_state { CONN_NEW, CONN_HANDSHAKE, CONN_DECIDING, CONN_OPEN, CONN_LINGER, CONN_DEAD };

/* What io tells the worker beside messages. */
enum conn_event {
    CONN_EVENT_REQUEST = 1,
    CONN_EVENT_OPEN = 2,
    CONN_EVENT_DRAIN = 4,
    CONN_EVENT_FAILED = 8, /* handle what arrived before the peer's fault, then close */
    CONN_EVENT_CLOSED = 16,
    CONN_EVENT_RETURNED = 32 /* behind CLOSED: the handler has returned */
};

/* Who waits for the outbox to fall to its low-water mark; STREAM: who sends a message in parts, and does not
 * wait for what is held back by it. END: who waits for the end of the connection. */
enum conn_drain {
    CONN_DRAIN_SENDERS = 1,
    CONN_DRAIN_MAILBOX = 2,
    CONN_DRAIN_CALLBACK = 4,
    CONN_DRAIN_STREAM = 8,
    CONN_DRAIN_END = 16
};

/* What any thread may demand of io, together with a link to the dirty list, which carries it over. SLOW: the
 * slow-reader policy wants it closed. FAIL: see compress.h, K5. */
enum conn_demand { CONN_DEMAND_ABORT = 1, CONN_DEMAND_SLOW = 2, CONN_DEMAND_FAIL = 4 };

/* What stands in an outbox. RAW: a control frame, whole in the payload. PART: a frame of a message that is
 * sent in parts. ACCEPT and what follows are no frames: the head and body of an HTTP answer, or a client's
 * request. */
enum out_kind {
    OUT_MESSAGE,
    OUT_BROADCAST,
    OUT_RAW,
    OUT_PONG,
    OUT_CLOSE,
    OUT_PART,
    OUT_PART_LAST,
    OUT_ACCEPT,
    OUT_REJECT
};

/* What a message costs beside its bytes: queues of empty messages are bounded too. */
#define MSG_COST 64u

/* How it ended; weft_close_info is made from it. */
struct conn_end {
    char *reason; /* NULL for none */
    uint16_t received_code, sent_code;
    int16_t error;
    bool clean, by_peer;
};

/* A place in a group, for the layer above (group.c). The first one of a connection needs no memory of its
 * own. */
struct member {
    struct weft_group *group;
    struct member *next;
    uint32_t index;
    _Atomic uint32_t refs;
};

/* Received bytes that were not looked at yet when reading stopped. */
struct stash {
    uint32_t bytes, offset;
    uint8_t data[];
};

/* What few connections have. Made by the first thread that needs it, freed with the connection. */
struct conn_more {
    char *subprotocol;         /* (c) from OPEN on */
    struct compress *compress; /* (c) from OPEN on; NULL: permessage-deflate was not agreed */
    /* Each NULL until it is needed: CONN_MORE. */
    struct straight *_Atomic straight;
    struct waits *_Atomic waits;
    struct stream *_Atomic stream;
    struct bucket messages;            /* (io) with messages_per_second_max */
    struct secure *secure; /* (c) from birth on; NULL: not TLS */
    uint8_t mask_key[FRAME_KEY_BYTES]; /* (io) of a client's half-written frame */
};

/* Grouped by who touches what for a message. An idle connection is as large as this: lines of the cache are
 * counted, but not aligned to, for that would cost up to 60 bytes of each. */
struct weft_conn {
    /* Reading: io alone. */
    const struct home *home; /* (c) its I/O thread and settings; the endpoint is held by one reference */
    struct link link;     /* (io) */
    uint8_t state : 4;    /* (io) enum conn_state */
    bool is_tls : 1;      /* (c) */
    bool is_shaking : 1;  /* (io) TLS: in HANDSHAKE, and its own handshake comes first */
    uint8_t pongs : 7;    /* (io) waiting in writing */
    bool is_streaming : 1; /* (io) a message in parts is leaving: the others are held back */
    bool is_readable : 1; /* (io) the last read did not find the socket empty */
    bool has_end : 1;     /* (io) the end of the stream is behind what is readable */
    bool is_blocked : 1;  /* (io) the socket took no more; EPOLLOUT will tell */
    bool is_again : 1;    /* (io) on the dirty list, for it has more to read and had its share */
    bool is_held : 1;     /* (io) not reading, whatever the reason */
    bool close_queued : 1; /* (io) our Close frame is in writing or gone */
    bool finished : 1;     /* (io) our side of the socket is shut down */
    bool peer_is_done : 1; /* (io) the peer ended its side while something was to be written */
    bool was_open;         /* (io), constant once CLOSED; not among the bits, which io goes on writing */
    union {
        struct weft_request *request; /* (io) until it is decided, in the place of session.config */
        struct opening *opening;      /* (io) a client's, until its outcome is known; in the same place */
        struct session session;       /* (io) from OPEN on, all zero else before; its fault: C8 */
    };
    struct stash *stash;         /* (io) */
    uint32_t in_put;             /* (io) messages put into the inbox */
    uint32_t in_put_bytes;       /* (io) payload bytes put, modulo 2^32 like the others */
    uint32_t handled_seen;       /* (io) the last look at handled */
    uint32_t handled_bytes_seen; /* (io) */

    /* Running: from io to the worker. Each crosses twice for a batch of messages: put and taken. */
    struct inbox inbox;             /* (q) io to worker; its note: when it became ready, us modulo 2^32 */
    struct weft_conn *ready_next;   /* (io) */
    struct node *run_list;          /* (wk) taken from the inbox, not handled yet */
    _Atomic uint32_t handled;       /* (a) messages; worker adds */
    _Atomic uint32_t handled_bytes; /* (a) */
    atomic_bool read_paused;        /* (a) */
    _Atomic uint8_t events;         /* (a) io sets, worker takes */
    uint8_t todo;                   /* (wk) events taken, not done yet */

    /* Sending: from any thread to io, which looks at all of it for each batch of messages. */
    _Atomic uint8_t drain;         /* (a) enum conn_drain */
    _Atomic uint32_t refs;         /* (a) */
    struct member first_member;    /* free while its refs is 0; its next is the list of the others */
    struct stack outbox;           /* (q) any thread to io */
    _Atomic uint64_t outbox_bytes; /* (a) */
    struct node dirty_node;        /* (q) */
    atomic_bool on_dirty;          /* (a) */
    _Atomic uint8_t demands;       /* (a) enum conn_demand */
    bool is_squeezed;              /* (c) from the answer to the request on: permessage-deflate was agreed */
    atomic_bool is_closed;         /* (a) close_info is complete: release CLOSE_INFO */
    uint32_t writing_offset;       /* (io) bytes of the head that are gone */
    struct node *writing;          /* (io) T1: the newest of a ring, so its next is the oldest; NULL: none */
    void *_Atomic data;            /* (a) the program's */

    /* Seldom. */
    struct timer timer;          /* (io) C9 */
    uint32_t stall_ms;           /* (io) when the socket last took something, modulo 2^32; while is_blocked */
    uint32_t stall_bytes;        /* (io) what the system held then */
    struct turn drain_turn;      /* (a) of blocked senders */
    _Atomic uint32_t dropped;    /* (a) */
    struct conn_end end;         /* (io) until CLOSED, constant then */
    struct conn_more *_Atomic more; /* (a) what few connections have; NULL: none of it. CONN_MORE */
    uint64_t id;                 /* (c) */
    struct sock_peer peer;       /* (c) */
    uint16_t fail_code;          /* C8 */
};
_Static_assert(sizeof(struct weft_conn) <= 296, "a block of malloc of 304 bytes");

static inline struct weft_conn *conn_of_timer(struct timer *t)
{
    return (struct weft_conn *)(void *)((char *)t - offsetof(struct weft_conn, timer));
}

/* It goes to the ready queue: written by who brings it there, read by who takes it from there. */
static inline void conn_note_ready(struct weft_conn *c, uint64_t now_ns)
{
    c->inbox.note = (uint32_t)(now_ns / 1000);
}

static inline bool conn_is_client(const struct weft_conn *c)
{
    return c->home->settings->session.is_client;
}

/* What masking adds to a link on its way out of a client. */
static inline uint32_t conn_mask_bytes(const struct weft_conn *c, const struct msg_link *link)
{
    return conn_is_client(c) && link->kind < OUT_ACCEPT ? FRAME_KEY_BYTES : 0;
}

/* Relaxed, here and where a demand is made: the link to the dirty list carries it over. */
static inline bool conn_must(struct weft_conn *c, enum conn_demand demand)
{
    return atomic_load_explicit(&c->demands, memory_order_relaxed) & demand;
}

static inline struct conn_more *conn_more(const struct weft_conn *c)
{
    return atomic_load_explicit(&c->more, ORDER(CONN_MORE, memory_order_acquire));
}

/* --- life: conn.c --- */

/* What few connections have, made if there is none. Any thread. NULL: no memory. */
struct conn_more *conn_make_more(struct weft_conn *c);
/* A part of it, made if there is none: size bytes, all zero, then init. place: of conn_more. NULL: no memory.
 * */
void *conn_make_part(void *_Atomic *place, size_t bytes, void (*init)(void *part));

/* For a connection over TLS: the context, and for a client whom it means. Borrowed. */
struct secure_how {
    struct tls_context *context;
    const char *host;
    uint16_t port;
};
/* A connection for a socket, for that home; fd is given on success. how: NULL for plain. NULL: no memory. */
struct weft_conn *conn_new(const struct home *home, int fd, const struct sock_peer *peer, const struct secure_how *how);
void conn_ref(struct weft_conn *c);
void conn_unref(struct weft_conn *c);
void conn_register(struct weft_conn *c) ON_IO; /* NEW to HANDSHAKE, on its own thread */
void conn_open(struct weft_conn *c) ON_IO;     /* accepted: OPEN */
void conn_ready(void *conn, unsigned events);  /* the loop's hook: its socket can be read or written */
void conn_look(struct weft_conn *c) ON_IO;     /* it was on the dirty list */
void conn_time(struct weft_conn *c, uint64_t now_ms) ON_IO;
void conn_read(struct weft_conn *c) ON_IO;
void conn_accepted(struct weft_conn *c) ON_IO; /* on_open and on_close will follow */
void conn_arm(struct weft_conn *c) ON_IO;      /* set the timer to what is due next; OPEN */
/* End it in the closing handshake, behind what is queued. */
void conn_begin_close(struct weft_conn *c, uint16_t code, const char *reason) ON_IO;
/* It failed: send Close behind what is queued, and let the socket linger. */
void conn_fail(struct weft_conn *c, uint16_t code, const char *reason, int error) ON_IO;
/* The peer broke the protocol, and session.fault says how. What it sent before is handled and answered
 * first, if that does not take long. */
void conn_fail_behind_messages(struct weft_conn *c, uint16_t code, int error) ON_IO;
/* No more is to be said: finish our side and wait for the peer's. */
void conn_linger(struct weft_conn *c) ON_IO;
void conn_die(struct weft_conn *c, int error, bool by_peer) ON_IO;
void conn_abort(struct weft_conn *c); /* weft_conn_abort */
/* True: nobody had demanded it before. The caller links it to the dirty list. Any thread. */
bool conn_demand(struct weft_conn *c, enum conn_demand demand);
void conn_notify(struct weft_conn *c, uint32_t events) ON_IO;        /* tell the worker */
void conn_tell_end(const struct weft_conn *c, weft_close_info *out); /* once is_closed */

/* --- the byte stream: io/link.h, or TLS in its place: secure.c --- */

int secure_make(struct weft_conn *c, const struct secure_how *how); /* at birth; WEFT_OK, WEFT_E_NOMEM */
void secure_free(struct secure *s);
void secure_register(struct weft_conn *c) ON_IO;
/* Go on with the handshake. True: it is over, and the connection goes on. */
bool secure_shake(struct weft_conn *c) ON_IO;
ptrdiff_t secure_read(struct weft_conn *c, struct iovec *iov, int count) ON_IO;
ptrdiff_t secure_write(struct weft_conn *c, const struct iovec *iov, int count) ON_IO;
int secure_flush(struct weft_conn *c) ON_IO; /* what the socket did not take yet: tls_flush */
uint32_t secure_output_bytes(const struct weft_conn *c) ON_IO;
bool secure_may_have_more(const struct weft_conn *c) ON_IO;
bool secure_read_waits(const struct weft_conn *c) ON_IO;
void secure_finish(struct weft_conn *c) ON_IO;
void secure_leave(struct weft_conn *c) ON_IO; /* it died: only what secure_tell needs is kept */
int secure_tell(const struct weft_conn *c, weft_tls_info *out); /* weft_conn_tls_info; any thread */

static inline ptrdiff_t conn_read_bytes(struct weft_conn *c, struct iovec *iov, int count) ON_IO
{
    return c->is_tls ? secure_read(c, iov, count) : link_read(&c->link, iov, count);
}

static inline ptrdiff_t conn_write_bytes(struct weft_conn *c, const struct iovec *iov, int count) ON_IO
{
    return c->is_tls ? secure_write(c, iov, count) : link_write(&c->link, iov, count);
}

/* What was written and is not at the peer yet. */
static inline uint32_t conn_held_bytes(struct weft_conn *c) ON_IO
{
    return link_held_bytes(&c->link) + (c->is_tls ? secure_output_bytes(c) : 0);
}

static inline bool conn_has_output(const struct weft_conn *c) ON_IO
{
    return c->writing || (c->is_tls && secure_output_bytes(c));
}

/* --- the receiving side: receive.c --- */

void receive_ready(struct weft_conn *c) ON_IO; /* read and parse as far as the marks allow */
void receive_drop(struct weft_conn *c) ON_IO;  /* read and forget, until the end */
bool receive_is_paused(struct weft_conn *c) ON_IO;
/* How long reading rests for messages_per_second_max; 0: it does not. */
uint32_t receive_wait_ms(const struct weft_conn *c) ON_IO;
bool receive_keep(struct weft_conn *c, const uint8_t *p, size_t n) ON_IO; /* bytes for later */

/* --- the sending side: outbox.c (any thread) and transmit.c (io) --- */

enum outbox_wait { OUTBOX_WAIT, OUTBOX_TRY };

int outbox_send(struct weft_conn *c, weft_msg *m, enum outbox_wait wait);
/* One of many: the slow-reader policy instead of waiting. link is given; refs of the message are the
 * link's. */
int outbox_broadcast(struct weft_conn *c, struct msg_link *link);
struct msg_link *
outbox_new_link(weft_msg *m,
                enum out_kind kind); /* takes over one reference of m; NULL: no memory, reference stays */
/* A broadcast under way, of one thread. */
struct outbox_fan {
    weft_msg *msg;                        /* borrowed */
    struct node *links;                   /* plain ones, for each member that is left */
    size_t left;                          /* members */
    struct squeeze_fan squeeze;           /* all zero until a member wants it compressed */
    struct node *packed[SQUEEZE_WINDOWS]; /* links of what is compressed, made as they are needed */
};

/* For count members. All that may fail for want of memory is done here, so that a failure reaches nobody. m
 * is borrowed until fini. */
bool outbox_fan_init(struct outbox_fan *f, weft_msg *m, size_t count);
void outbox_fan_send(struct outbox_fan *f, struct weft_conn *c);
void outbox_fan_fini(struct outbox_fan *f);
/* Links for a broadcast to count members, chained; as many as *made says. Each is given to outbox_broadcast
 * or outbox_free_link. m is borrowed. NULL: no memory. */
struct node *outbox_new_fan(weft_msg *m, size_t count, unsigned *made);
/* A whole frame or response as raw bytes, in a message of its own. */
weft_msg *outbox_new_raw(const void *bytes, size_t n);
int outbox_push(struct weft_conn *c, struct msg_link *link,
                bool is_last); /* WEFT_OK, WEFT_E_CLOSED: link stays the caller's */
int outbox_close(struct weft_conn *c, uint16_t code, const char *reason); /* weft_conn_close */
int outbox_ping(struct weft_conn *c, const void *data, size_t bytes);     /* weft_conn_ping */
void outbox_free_link(struct msg_link *link);
/* Bytes in it now, for who waits on them: DRAIN_LOOK. */
uint64_t outbox_queued(struct weft_conn *c);

void transmit_collect(struct weft_conn *c) ON_IO; /* from the outbox to writing */
/* What io itself sends, right into writing. False: it has to go through the outbox. */
bool transmit_append(struct weft_conn *c, struct msg_link *link) ON_IO;
void transmit_flush(struct weft_conn *c) ON_IO;   /* from writing to the socket */
void transmit_block(struct weft_conn *c) ON_IO;   /* TLS: something waits that was not written by transmit_flush */
void transmit_append_head(struct weft_conn *c, struct msg_link *link) ON_IO; /* a client's request; link is given */
bool transmit_control(struct weft_conn *c, enum out_kind kind, enum frame_opcode opcode, const void *payload,
                      size_t bytes) ON_IO;           /* a control frame of our own; false: no memory */
bool transmit_is_stalled(struct weft_conn *c) ON_IO; /* the socket took nothing for write_timeout_ms */
void transmit_drop(struct weft_conn *c) ON_IO;       /* all that waits, but a head that has to leave first */
void transmit_fini(struct weft_conn *c) ON_IO;       /* all */
void transmit_release_waiters(
    struct weft_conn *c) ON_IO; /* the outbox was closed: whoever waits for room goes on */
void transmit_tell_end(struct weft_conn *c) ON_IO; /* is_closed was set: whoever waits for anything goes on */

#endif
