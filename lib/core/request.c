/* The request on a connection; see request.h. */
#include "core/request.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "core/compress.h"
#include "core/conn.h"
#include "core/io_thread.h"
#include "core/slots.h"
#include "core/straight.h"
#include "proto/compose.h"

/* The first byte of TLS, and no letter of a method. */
#define TLS_HANDSHAKE 0x16

static struct weft_request *new_request(struct weft_conn *c)
{
    const weft_server_opts *opts = &c->home->settings->opts;
    struct http_limits limits = {.head_bytes_max = opts->head_bytes_max, .headers_max = opts->headers_max};
    struct weft_request *r = mem_calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->head = http_head_new(HTTP_ROLE_SERVER, &limits);
    if (!r->head) {
        mem_free(r);
        return NULL;
    }
    atomic_init(&r->refs, 1);
    r->conn = c;
    conn_ref(c);
    sock_name_peer(&c->peer, r->peer, sizeof r->peer);
    return r;
}

/* Relaxed: who takes a reference has one. */
void request_ref(struct weft_request *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
}

static void free_request(struct weft_request *r)
{
    http_head_free(r->head);
    conn_unref(r->conn);
    mem_free(r);
}

void request_unref(struct weft_request *r)
{
    if (atomic_fetch_sub_explicit(&r->refs, 1, ORDER(REQUEST_LAST, memory_order_acq_rel)) != 1)
        return;
    if (!atomic_load_explicit(&r->decided, memory_order_relaxed))
        request_answer(r, NULL, 0, 500, NULL, 0); /* without memory the open timeout ends it */
    free_request(r);
}

/* --- answers --- */

/* The composed bytes as the link that carries them; they are freed. */
static struct msg_link *link_of_answer(uint8_t *bytes, size_t n, enum out_kind kind)
{
    weft_msg *m = outbox_new_raw(bytes, n);

    mem_free(bytes);
    return m ? outbox_new_link(m, kind) : NULL;
}

/* Q3. The first decision counts; the link is used or freed. */
static int decide(struct weft_request *r, struct msg_link *link)
{
    int rc = WEFT_E_STATE;

    if (!atomic_exchange_explicit(&r->decided, true, memory_order_relaxed)) {
        rc = outbox_push(r->conn, link, link->kind == OUT_REJECT);
        if (rc == WEFT_OK)
            return rc;
    }
    outbox_free_link(link);
    return rc;
}

int request_answer(struct weft_request *r, const struct weft_header *headers, size_t header_count, int status,
                   const void *body, size_t bytes)
{
    struct http_answer answer = {.status = status,
                                 .headers = headers,
                                 .header_count = header_count,
                                 .body = body,
                                 .body_bytes = bytes};
    struct msg_link *link;
    uint8_t *out;
    size_t out_bytes;
    int rc = http_compose_answer(r->head, &answer, &out, &out_bytes);

    if (rc != WEFT_OK)
        return rc;
    link = link_of_answer(out, out_bytes, OUT_REJECT);
    return link ? decide(r, link) : WEFT_E_NOMEM;
}

/* The chosen subprotocol, as the connection keeps it. */
static int keep_subprotocol(struct weft_conn *c, const char *subprotocol)
{
    struct conn_more *more = conn_make_more(c);

    if (more)
        more->subprotocol = mem_strdup(subprotocol); /* the push hands it over */
    return more && more->subprotocol ? WEFT_OK : WEFT_E_NOMEM;
}

/* permessage-deflate for this connection: 1 and what was agreed, or 0; WEFT_E_INVAL. */
static int agree(struct weft_request *r, const weft_accept *a, struct deflate_params *params,
                 char value[EXTENSION_BYTES_MAX])
{
    struct endpoint *ep = r->conn->home->endpoint;
    struct extension_policy policy;
    struct http_list offers;
    int rc = settings_policy(ep->settings, a->compression, &policy);

    if (rc != WEFT_OK || !policy.is_enabled)
        return rc;
    policy.memory_is_short = squeeze_is_short(ep->squeeze);
    http_list_of_fields(&offers, r->head, "Sec-WebSocket-Extensions");
    rc = extension_choose(&offers, &policy, params, value);
    return rc < 0 ? 0 : rc; /* http_check_upgrade has refused what breaks the grammar */
}

/* Compose the 101. */
static int link_of_accept(struct weft_request *r, const weft_accept *a, const char *extensions,
                          struct msg_link **link)
{
    struct http_accept accept = {.subprotocol = a->subprotocol,
                                 .extensions = extensions,
                                 .headers = a->headers,
                                 .header_count = a->header_count};
    uint8_t *out;
    size_t out_bytes;
    int rc = http_compose_accept(r->head, &accept, &out, &out_bytes);

    if (rc != WEFT_OK)
        return rc;
    *link = link_of_answer(out, out_bytes, OUT_ACCEPT);
    return *link ? WEFT_OK : WEFT_E_NOMEM;
}

int request_accept(struct weft_request *r, const weft_accept *how)
{
    static const weft_accept plain;
    const weft_accept *a = how ? how : &plain;
    char extensions[EXTENSION_BYTES_MAX];
    struct deflate_params params;
    struct msg_link *link;
    int rc, is_squeezed;

    if (r->kind != HTTP_UPGRADE || atomic_load_explicit(&r->decided, memory_order_relaxed))
        return WEFT_E_STATE;
    if (a->subprotocol && !http_offers_subprotocol(r->head, a->subprotocol))
        return WEFT_E_INVAL;
    is_squeezed = agree(r, a, &params, extensions);
    if (is_squeezed < 0)
        return is_squeezed;
    rc = link_of_accept(r, a, is_squeezed ? extensions : NULL, &link);
    if (rc != WEFT_OK)
        return rc;
    if (atomic_exchange_explicit(&r->decided, true, memory_order_relaxed)) {
        outbox_free_link(link);
        return WEFT_E_STATE;
    }
    if (a->subprotocol)
        rc = keep_subprotocol(r->conn, a->subprotocol);
    if (rc == WEFT_OK && r->conn->home->settings->has_queue)
        rc = straight_make(r->conn);
    if (rc == WEFT_OK && is_squeezed)
        rc = compress_agree(r->conn, &params);
    r->conn->is_squeezed = rc == WEFT_OK && is_squeezed;
    atomic_store_explicit(&r->conn->data, a->data, memory_order_relaxed);
    if (rc == WEFT_OK && r->conn->home->settings->opts.handler)
        return slots_accept(r->conn, link);
    if (rc == WEFT_OK)
        rc = outbox_push(r->conn, link, false);
    else
        atomic_store_explicit(&r->decided, false, memory_order_relaxed); /* it may be tried again */
    if (rc != WEFT_OK)
        outbox_free_link(link);
    return rc;
}

/* --- on the I/O thread --- */

static void answer_now(struct weft_conn *c, uint8_t *bytes, size_t n) ON_IO
{
    struct msg_link *link = link_of_answer(bytes, n, OUT_REJECT);

    if (!link) {
        conn_die(c, WEFT_E_NOMEM, false);
        return;
    }
    request_abandon(c);
    if (outbox_push(c, link, true) != WEFT_OK)
        outbox_free_link(link);
    transmit_collect(c);
}

static void refuse_head(struct weft_conn *c) ON_IO
{
    struct http_head *h = c->request->head;
    uint8_t *out;
    size_t n;

    LOG(WEFT_LOG_INFO, c->id, "refused with %d: %s", h->status, h->reason ? h->reason : "");
    if (http_compose_refusal(h, &out, &n) == WEFT_OK)
        answer_now(c, out, n);
    else
        conn_die(c, WEFT_E_NOMEM, false);
}

void request_refuse(struct weft_conn *c, int status, const char *reason)
{
    if (!c->request)
        c->request = new_request(c);
    if (!c->request) {
        conn_die(c, WEFT_E_NOMEM, false);
        return;
    }
    http_head_refuse(c->request->head, status, WEFT_E_REFUSED, reason);
    refuse_head(c);
}

void request_abandon(struct weft_conn *c)
{
    struct weft_request *r = c->request;

    c->request = NULL;
    if (r)
        free_request(r); /* nobody else has seen it */
}

/* Without on_request: every upgrade is welcome, and nothing else is served. */
static void decide_by_default(struct weft_conn *c) ON_IO
{
    struct weft_request *r = c->request;
    int rc;

    c->request = NULL;
    if (r->kind == HTTP_UPGRADE)
        rc = request_accept(r, NULL);
    else
        rc = request_answer(r, NULL, 0, 426, "This is a WebSocket server.\n", 28);
    free_request(r);
    if (rc != WEFT_OK)
        conn_die(c, rc, false);
}

static void hand_over(struct weft_conn *c) ON_IO
{
    c->state = CONN_DECIDING;
    if (c->home->settings->opts.on_request)
        conn_notify(c, CONN_EVENT_REQUEST);
    else
        decide_by_default(c);
}

static void head_is_done(struct weft_conn *c, const uint8_t *rest, size_t n) ON_IO
{
    const weft_server_opts *opts = &c->home->settings->opts;
    struct weft_request *r = c->request;

    r->kind = http_check_upgrade(r->head);
    if (r->kind == HTTP_UPGRADE && opts->origins &&
        !http_origin_allowed(r->head, opts->origins, opts->origin_count))
        request_refuse(c, 403, "this origin is not allowed");
    else if (r->kind == HTTP_REFUSED)
        refuse_head(c);
    else if (r->kind == HTTP_UPGRADE && !receive_keep(c, rest, n)) /* frames sent with the request */
        conn_die(c, WEFT_E_NOMEM, false);
    else
        hand_over(c);
}

void request_feed(struct weft_conn *c, const uint8_t *p, size_t n)
{
    size_t used;

    if (!c->request && *p == TLS_HANDSHAKE) {
        request_refuse(c, 400, "the client speaks TLS to a plain port");
        return;
    }
    if (!c->request)
        c->request = new_request(c);
    if (!c->request) {
        conn_die(c, WEFT_E_NOMEM, false);
        return;
    }
    switch (http_head_feed(c->request->head, p, n, &used)) {
    case HTTP_DONE:
        head_is_done(c, p + used, n - used);
        break;
    case HTTP_BAD:
        refuse_head(c);
        break;
    default:
        break;
    }
}

/* --- on the worker --- */

void request_run(struct weft_conn *c, bool is_gone)
{
    const weft_server_opts *opts = &c->home->settings->opts;
    struct weft_request *r = c->request;

    c->request = NULL;
    if (!is_gone)
        opts->on_request(r, opts->app);
    request_unref(r);
}
