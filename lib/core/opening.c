/* The opening handshake of a client; see opening.h. */
#include "core/opening.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "base/random.h"
#include "core/compress.h"
#include "core/conn.h"
#include "core/crew.h"
#include "core/io_thread.h"
#include "core/straight.h"
#include "io/await.h"
#include "proto/compose.h"
#include "proto/field.h"
#include "sync/wake.h"

static void free_opening(struct opening *o)
{
    http_head_free(o->head);
    mem_free(o->body.bytes);
    mem_free(o->bytes);
    mem_free(o->why);
    if (o->done_fd >= 0)
        close(o->done_fd);
    mem_free(o);
}

int opening_new(struct opening **out, const struct http_request *request, const struct extension_policy *policy,
                size_t head_bytes_max, size_t headers_max, uint64_t deadline_ms)
{
    struct http_limits limits = {.head_bytes_max = head_bytes_max, .headers_max = headers_max};
    struct opening *o = mem_calloc(1, sizeof *o);
    int rc = WEFT_E_NOMEM;

    if (!o)
        return rc;
    o->request = *request;
    o->policy = *policy;
    extension_offer(policy, o->extensions);
    o->request.extensions = o->extensions[0] ? o->extensions : NULL;
    o->deadline_ms = deadline_ms;
    atomic_init(&o->refs, 2);
    o->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    o->head = http_head_new(HTTP_ROLE_CLIENT, &limits);
    if (o->head)
        rc = o->done_fd >= 0 && random_fill(o->request.key, sizeof o->request.key) ? WEFT_OK : WEFT_E_SYSTEM;
    if (rc == WEFT_OK)
        rc = http_compose_request(&o->request, &o->bytes, &o->count);
    if (rc != WEFT_OK) {
        int saved = errno;
        free_opening(o);
        errno = saved;
        return rc;
    }
    *out = o;
    return WEFT_OK;
}

void opening_unref(struct opening *o)
{
    if (atomic_fetch_sub_explicit(&o->refs, 1, ORDER(OPENING_LAST, memory_order_acq_rel)) != 1)
        return;
    free_opening(o);
}

/* The queue of a straight-line connection, and the thread of its handler. */
static int prepare_straight(struct weft_conn *c)
{
    const struct settings *s = c->home->settings;
    int rc = s->has_queue ? straight_make(c) : WEFT_OK;

    if (rc == WEFT_OK && s->opts.handler)
        rc = crew_reserve(c->home->io->engine->crew, 1);
    return rc;
}

/* Made, and no thread has seen it; its descriptor stays the caller's. */
static void forget(struct weft_conn *c)
{
    struct endpoint *ep = c->home->endpoint;

    atomic_fetch_sub_explicit(&ep->engine->handshaking, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&c->home->io->conn_count, 1, memory_order_relaxed);
    endpoint_ref(ep);
    conn_unref(c);
    endpoint_one_less(ep);
    endpoint_unref(ep);
}

int opening_start(struct opening *o, struct endpoint *ep, int fd, const struct sock_peer *peer,
                  const struct secure_how *how, struct weft_conn **out)
{
    struct io_thread *io = engine_least_loaded(ep->engine);
    struct weft_conn *c = NULL;
    int rc = WEFT_E_STATE;

    if (engine_admit(ep->engine)) {
        c = conn_new(&ep->homes[io->index], fd, peer, how);
        rc = c ? prepare_straight(c) : WEFT_E_NOMEM;
        if (c && rc != WEFT_OK)
            forget(c);
        engine_admitted(ep->engine);
    }
    if (rc != WEFT_OK)
        return rc;
    c->opening = o;
    conn_ref(c);
    io_thread_link_dirty(io, c); /* O1 */
    *out = c;
    return WEFT_OK;
}

int opening_wait(struct opening *o, int cancel_fd)
{
    struct await_limit limit = {.deadline_ms = AWAIT_FOREVER, .cancel_fd = cancel_fd};
    struct pollfd fds[2] = {[1] = {.fd = o->done_fd, .events = POLLIN}};
    int rc = WEFT_OK;

    for (;;) {
        uint32_t outcome = atomic_load_explicit(&o->outcome, ORDER(OPENING, memory_order_acquire));
        if (outcome != OPENING_PENDING)
            return outcome == OPENING_DONE ? WEFT_OK : o->error;
        if (rc == WEFT_E_CANCELED)
            return rc;
        rc = await_fds(fds, 2, &limit, AWAIT_FOREVER);
    }
}

/* O2, O3 */
static void conclude(struct opening *o, enum opening_outcome outcome, int error) ON_IO
{
    o->error = error;
    atomic_store_explicit(&o->outcome, outcome, ORDER(OPENING, memory_order_release));
    if (!wake_tell(o->done_fd))
        LOG(WEFT_LOG_ERROR, 0, "an eventfd does not take its first count");
    opening_unref(o);
}

void opening_begin(struct weft_conn *c)
{
    struct opening *o = c->opening;
    weft_msg *m = outbox_new_raw(o->bytes, o->count);
    struct msg_link *link;

    mem_free(o->bytes);
    o->bytes = NULL;
    if (!m) {
        conn_die(c, WEFT_E_NOMEM, false);
        return;
    }
    link = outbox_new_link(m, OUT_ACCEPT); /* the message is ours alone: its own link always does */
    transmit_append_head(c, link);
    transmit_flush(c);
}

/* The chosen subprotocol becomes the connection's. */
static bool take_subprotocol(struct weft_conn *c)
{
    struct http_text chosen = http_head_value(c->opening->head, "Sec-WebSocket-Protocol", 0);
    struct conn_more *more;

    if (!chosen.p)
        return true;
    more = conn_make_more(c);
    if (more)
        more->subprotocol = mem_strdup(chosen.p);
    return more && more->subprotocol;
}

/* What became of the offer. */
static int take_extensions(struct weft_conn *c)
{
    struct http_head *head = c->opening->head;
    struct deflate_params params;
    struct http_list chosen;
    const char *fault;
    int rc;

    http_list_of_fields(&chosen, head, "Sec-WebSocket-Extensions");
    rc = extension_check(&chosen, &c->opening->policy, &params, &fault);
    if (rc < 0)
        return http_head_refuse(head, 0, WEFT_E_PROTOCOL, fault);
    if (rc == 0)
        return WEFT_OK;
    rc = compress_agree(c, &params);
    c->is_squeezed = rc == WEFT_OK;
    return rc;
}

static void accepted(struct weft_conn *c, const uint8_t *rest, size_t n) ON_IO
{
    struct opening *o = c->opening;

    if (!take_subprotocol(c) || !receive_keep(c, rest, n)) {
        conn_die(c, WEFT_E_NOMEM, false);
        return;
    }
    conn_open(c); /* its session takes the opening's place */
    conclude(o, OPENING_DONE, WEFT_OK);
}

static void head_is_done(struct weft_conn *c, const uint8_t *rest, size_t n) ON_IO
{
    struct opening *o = c->opening;
    int rc = http_check_response(o->head, &o->request);

    if (rc == WEFT_OK)
        rc = take_extensions(c);
    if (rc == WEFT_OK) {
        accepted(c, rest, n);
        return;
    }
    LOG(WEFT_LOG_INFO, c->id, "not accepted, %d: %s", o->head->status, o->head->reason ? o->head->reason : "");
    if (rc != WEFT_E_REFUSED) {
        conn_die(c, rc, true);
        return;
    }
    o->is_refused = true;
    body_init(&o->body, o->head, OPENING_BODY_BYTES_MAX);
    if (o->body.is_over || !body_feed(&o->body, rest, n))
        conn_die(c, WEFT_E_REFUSED, true);
}

void opening_feed(struct weft_conn *c, const uint8_t *p, size_t n)
{
    struct opening *o = c->opening;
    size_t used;

    if (o->is_refused) {
        if (!body_feed(&o->body, p, n))
            conn_die(c, WEFT_E_REFUSED, true);
        return;
    }
    switch (http_head_feed(o->head, p, n, &used)) {
    case HTTP_DONE:
        head_is_done(c, p + used, n - used);
        break;
    case HTTP_BAD:
        conn_die(c, o->head->error, true);
        break;
    default:
        break;
    }
}

void opening_end(struct weft_conn *c, int error)
{
    struct opening *o = c->opening;

    c->opening = NULL;
    if (c->home->settings->opts.handler)
        crew_release(c->home->io->engine->crew, 1);
    conclude(o, OPENING_FAILED, o->is_refused ? WEFT_E_REFUSED : error);
}
