/* The opening handshake of a client's connection: its request goes out, the answer is read and judged on the
 * connection's I/O thread, and one thread waits for how it ends.
 *
 * O1  The thread that makes the connection prepares the opening and hands it over with the connection's
 *     first link to the dirty list. From then on it belongs to the I/O thread, until `outcome` is set.
 * O2  The I/O thread sets outcome once and touches the opening no more; everything else in it is constant
 *     then.
 * O3  Two references: the connection's, which the I/O thread drops behind the outcome, and the waiting
 *     thread's.
 *
 *   outcome   store, release; load by the waiting thread, acquire      OPENING
 *   refs      decrement: acq_rel                                       OPENING_LAST */
#ifndef WEFT_CORE_OPENING_H
#define WEFT_CORE_OPENING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/thr.h"
#include "core/endpoint.h"
#include "io/sock.h"
#include "proto/body.h"
#include "proto/extension.h"
#include "proto/handshake.h"

struct secure_how;
struct weft_conn;

/* Of the body of an answer that refuses. */
#define OPENING_BODY_BYTES_MAX 65536u

enum opening_outcome { OPENING_PENDING, OPENING_DONE, OPENING_FAILED };

struct opening {
    struct http_request request; /* (c) for the check of the answer; its texts are borrowed until the outcome */
    struct extension_policy policy;       /* (c) of what it offers */
    char extensions[EXTENSION_BYTES_MAX]; /* (c) the offer */
    uint8_t *bytes;              /* composed; NULL once they were sent */
    size_t count;
    uint64_t deadline_ms;   /* (c) */
    struct http_head *head; /* the answer's */
    struct body body;       /* of an answer that refuses */
    bool is_refused;
    int error; /* OPENING_FAILED: why */
    char *why; /* own; in words, where there are better ones than the error's; NULL: there are none */
    int done_fd; /* (c) readable behind the outcome */
    _Atomic uint32_t outcome; /* enum opening_outcome */
    _Atomic uint32_t refs;
};

/* Compose the request. Its texts have to live until the outcome is known.
 *
 * Returns  WEFT_OK; WEFT_E_INVAL (something cannot stand in a request); WEFT_E_NOMEM; WEFT_E_SYSTEM (no
 * random bytes) */
int opening_new(struct opening **out, const struct http_request *request, const struct extension_policy *policy,
                size_t head_bytes_max, size_t headers_max, uint64_t deadline_ms);
void opening_unref(struct opening *o);

/* Make the connection: the opening is given to it, and goes its way on an I/O thread.
 *
 * fd       connected and non-blocking; given on WEFT_OK
 * how      for TLS, NULL for plain
 * out      set on WEFT_OK; one reference, the waiting thread's
 * Returns  WEFT_OK, WEFT_E_NOMEM, WEFT_E_STATE (the engine does not run)
 * Thread   any but I/O threads */
int opening_start(struct opening *o, struct endpoint *ep, int fd, const struct sock_peer *peer,
                  const struct secure_how *how, struct weft_conn **out);

/* The waiting thread: until there is an outcome, at the deadline at the latest.
 *
 * cancel_fd  see await.h; -1: none
 * Returns    WEFT_OK, o->error, or WEFT_E_CANCELED: there is no outcome yet */
int opening_wait(struct opening *o, int cancel_fd);

/* io: send the request; the connection is registered. */
void opening_begin(struct weft_conn *c) ON_IO;
/* io: bytes of the answer, or what follows it. */
void opening_feed(struct weft_conn *c, const uint8_t *p, size_t n) ON_IO;
/* io: the connection died in its opening. */
void opening_end(struct weft_conn *c, int error) ON_IO;

#endif
