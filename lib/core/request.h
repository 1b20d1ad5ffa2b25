/* The request on a connection: read on the I/O thread, decided on any thread.
 *
 * Q1  While the connection is in HANDSHAKE its I/O thread owns the request and feeds the head. With
 *     DECIDING it gives it to the worker (event CONN_EVENT_REQUEST); the worker drops this first reference
 *     when on_request has returned.
 * Q2  From then on the head is constant, and any holder may read it.
 * Q3  `decided` goes from false to true once; who turns it pushes the answer as the last (reject) or the
 *     first (accept) thing of the connection's outbox. The I/O thread acts on it there.
 *
 *   refs      decrement: acq_rel (REQUEST_LAST)
 *   decided   exchange, relaxed: the answer travels through the outbox */
#ifndef WEFT_CORE_REQUEST_H
#define WEFT_CORE_REQUEST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/thr.h"
#include "proto/handshake.h"
#include "weft/request.h"

struct weft_conn;

struct weft_request {
    struct weft_conn *conn; /* (c) one reference */
    struct http_head *head; /* Q1, Q2 */
    int kind;               /* (c) from DECIDING on: enum http_kind */
    char peer[64];          /* (c) */
    _Atomic uint32_t refs;
    atomic_bool decided;
};

/* io: bytes of the head, or what follows it. */
void request_feed(struct weft_conn *c, const uint8_t *p, size_t n) ON_IO;
/* io: answer with this status and end the connection. In HANDSHAKE, or when its answer was taken back from
 * the slots. */
void request_refuse(struct weft_conn *c, int status, const char *reason) ON_IO;
/* io: the connection died in HANDSHAKE. */
void request_abandon(struct weft_conn *c) ON_IO;
/* worker: call on_request; is_gone: the client is gone, only let the request go. */
void request_run(struct weft_conn *c, bool is_gone) ON_WORKER;

void request_ref(struct weft_request *r);
void request_unref(struct weft_request *r);
int request_accept(struct weft_request *r, const weft_accept *how);
int request_answer(struct weft_request *r, const struct weft_header *headers, size_t header_count, int status,
                   const void *body, size_t bytes);

#endif
