/* The way from the library's threads to the terminal: a bounded queue, and a descriptor that is readable
 * while something is in it.
 *
 * Who puts a message waits while the queue is full: that holds up the callback, then the connection's inbox,
 * then the socket, and so the server. What else happens takes one place each and waits too, but for log
 * lines, which are left out then and counted. Many threads put, one gets.
 *
 * Invariants, under the lock
 *   I1  places [first, first + count) of the ring hold events; bytes is the sum of their messages' bytes
 *   I2  the descriptor has been written to when the count last rose from 0
 *   I3  behind events_stop nothing is put any more, and nobody waits */
#ifndef WEFT_CAT_EVENTS_H
#define WEFT_CAT_EVENTS_H

#include <weft/conn.h>

#include <pthread.h>

#define EVENTS_MAX       256
#define EVENTS_BYTES_MAX (4u << 20) /* of messages; one is always let in */

enum event_kind {
    EVENT_OPEN,    /* conn */
    EVENT_MESSAGE, /* msg */
    EVENT_DRAIN,
    EVENT_PONG,   /* rc, and us behind WEFT_OK */
    EVENT_CLOSED, /* how; text is the reason */
    EVENT_FAILED, /* text, body, retry_ms */
    EVENT_LOG     /* text */
};

struct event {
    enum event_kind kind;
    weft_conn *conn; /* a reference of its own */
    weft_msg *msg;   /* the same */
    char *text, *body;
    weft_close_info how; /* its reason is in text */
    int rc;
    uint32_t us, retry_ms;
};

struct events {
    pthread_mutex_t lock; /* protects all below but wake_fd */
    pthread_cond_t room;
    struct event ring[EVENTS_MAX];
    size_t first, count, bytes;
    size_t left_out; /* log lines */
    bool is_stopped;
    int wake_fd; /* constant */
};

/* Returns false when the system has no descriptor left (errno). */
bool events_init(struct events *q);
/* Nobody puts any more. */
void events_fini(struct events *q);

/* Put an event, waiting for room.
 *
 * e        its references and texts are given, whatever the result
 * Returns  false behind events_stop: it was thrown away
 * Thread   any but the one that gets */
bool events_put(struct events *q, struct event *e);
/* The same without waiting; counted instead. Thread: any */
void events_try_put(struct events *q, struct event *e);

/* Returns false when there is none. Thread: the one that gets, as for all below. */
bool events_get(struct events *q, struct event *e);
bool events_waiting(struct events *q);
void event_fini(struct event *e);

/* Read off what made the descriptor readable: before looking whether anything is there. */
void events_calm(struct events *q);
/* Make it readable. Thread: any; may be called in a signal handler */
void events_wake(const struct events *q);

/* Let all that wait go, and take no more. */
void events_stop(struct events *q);

#endif
