/* The life of a connection on its I/O thread: born with a socket, opened by a handshake, ended once. See
 * conn.h for what holds between the threads.
 *
 *   NEW --register--> HANDSHAKE --whole request--> DECIDING --accept--> OPEN --both Close frames, or a
 *   failure--> LINGER --> DEAD
 *                                                      \--reject--> LINGER
 * From every state the way leads to DEAD when the socket fails or a deadline passes. LINGER: our side of
 * the socket is shut down behind the last byte, and what the peer still sends is thrown away, so that no
 * reset overtakes our Close frame. */
#include "core/conn.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "core/compress.h"
#include "core/opening.h"
#include "core/request.h"
#include "core/io_thread.h"
#include "core/pool.h"
#include "core/slots.h"
#include "core/straight.h"
#include "core/stream.h"
#include "core/waits.h"

/* How long the Close that answers a peer's fault waits for the handlers of what came before. */
#define FAIL_WAIT_MS 250

struct weft_conn *conn_new(const struct home *home, int fd, const struct sock_peer *peer, const struct secure_how *how)
{
    struct io_thread *io = home->io;
    struct weft_conn *c = mem_calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->home = home;
    endpoint_ref(home->endpoint);
    c->link.fd = fd;
    c->peer = *peer;
    c->id = engine_next_conn_id();
    atomic_init(&c->refs, 1);
    inbox_init(&c->inbox);
    stack_init(&c->outbox);
    timer_init(&c->timer);
    if ((conn_is_client(c) && !conn_make_more(c)) || (how && secure_make(c, how) != WEFT_OK)) {
        endpoint_unref(home->endpoint);
        mem_free(atomic_load_explicit(&c->more, memory_order_relaxed));
        mem_free(c);
        return NULL;
    }
    c->end.received_code = c->end.sent_code = WEFT_CLOSE_ABNORMAL;
    endpoint_one_more(home->endpoint);
    atomic_fetch_add_explicit(&io->engine->handshaking, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&io->conn_count, 1, memory_order_relaxed);
    return c;
}

/* Relaxed: who takes a reference has one. */
void conn_ref(struct weft_conn *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
}

/* Messages that were never taken, or sent too late: nobody else can reach them now. */
static void free_chain(struct node *n, void (*free_one)(struct node *))
{
    while (n) {
        struct node *next = n->next;
        free_one(n);
        n = next;
    }
}

static void free_received(struct node *n)
{
    weft_msg_unref(msg_of(n));
}
static void free_sent(struct node *n)
{
    outbox_free_link(msg_link_of(n));
}

static void free_more(struct conn_more *more)
{
    if (!more)
        return;
    mem_free(more->subprotocol);
    compress_free(more->compress);
    straight_free(atomic_load_explicit(&more->straight, memory_order_relaxed));
    waits_free(atomic_load_explicit(&more->waits, memory_order_relaxed));
    stream_free(atomic_load_explicit(&more->stream, memory_order_relaxed));
    secure_free(more->secure);
    mem_free(more);
}

struct conn_more *conn_make_more(struct weft_conn *c)
{
    return conn_make_part((void *_Atomic *)&c->more, sizeof(struct conn_more), NULL);
}

void *conn_make_part(void *_Atomic *place, size_t bytes, void (*init)(void *part))
{
    void *part = atomic_load_explicit(place, ORDER(CONN_MORE, memory_order_acquire)), *made;

    if (part)
        return part;
    made = mem_calloc(1, bytes);
    if (!made)
        return NULL;
    if (init)
        init(made);
    /* Acquire on failure as well: another thread's was first. */
    if (atomic_compare_exchange_strong_explicit(place, &part, made, ORDER(CONN_MORE, memory_order_acq_rel),
                                                memory_order_acquire))
        return made;
    mem_free(made); /* a mutex that nobody has locked needs no end */
    return part;
}

void conn_unref(struct weft_conn *c)
{
    struct endpoint *ep = c->home->endpoint;

    if (atomic_fetch_sub_explicit(&c->refs, 1, ORDER(CONN_LAST, memory_order_acq_rel)) != 1)
        return;
    free_chain(c->run_list, free_received);
    free_chain(inbox_take_all(&c->inbox), free_received);
    free_chain(stack_take_all(&c->outbox), free_sent);
    mem_free(c->end.reason);
    free_more(atomic_load_explicit(&c->more, memory_order_relaxed));
    mem_free(c);
    endpoint_unref(ep);
}

void conn_register(struct weft_conn *c)
{
    struct io_thread *io = c->home->io;

    bool is_client = conn_is_client(c);

    c->state = CONN_HANDSHAKE;
    timer_arm(&io->loop.wheel, &c->timer,
              is_client ? c->opening->deadline_ms : io->loop.now_ms + c->home->settings->opts.open_timeout_ms);
    if (io->is_closing || loop_add(&io->loop, c->link.fd, c) != WEFT_OK)
        conn_die(c, io->is_closing ? WEFT_E_CLOSED : WEFT_E_NOMEM, false);
    else if (c->is_tls)
        secure_register(c);
    else if (is_client)
        opening_begin(c);
}

void conn_notify(struct weft_conn *c, uint32_t events)
{
    /* Release: the worker that takes the event sees what was prepared for it (label CONN_EVENT). */
    if (events)
        atomic_fetch_or_explicit(&c->events, (uint8_t)events, ORDER(CONN_EVENT, memory_order_release));
    if (inbox_notify(&c->inbox))
        io_thread_schedule(c->home->io, c);
}

void conn_accepted(struct weft_conn *c)
{
    struct engine *e = c->home->io->engine;

    c->was_open = true;
    atomic_fetch_sub_explicit(&e->handshaking, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&e->open, 1, memory_order_relaxed);
    STAT_ADD(c->home->io->stats.opened, 1);
    conn_notify(c, CONN_EVENT_OPEN);
}

/* Frames may have come with the request: conn_look, which found the answer in the outbox, goes on to read. */
void conn_open(struct weft_conn *c)
{
    struct io_thread *io = c->home->io;

    if (c->state != (conn_is_client(c) ? CONN_HANDSHAKE : CONN_DECIDING))
        return;
    c->state = CONN_OPEN;
    session_init(&c->session, c->is_squeezed ? &c->home->settings->session_squeezed : &c->home->settings->session,
                 io->loop.now_ms);
    conn_arm(c);
    if (c->home->endpoint->hooks.opened)
        c->home->endpoint->hooks.opened(c, c->home->endpoint->hooks.arg);
    conn_accepted(c);
    io_thread_resume_accepting(io);
    if (io->is_closing)
        conn_begin_close(c, WEFT_CLOSE_GOING_AWAY, "");
}

/* --- events of the loop --- */

/* Not at once: who came first goes first, within what a turn has for handshakes. */
static void ready_to_shake(struct weft_conn *c, unsigned events) ON_IO
{
    bool may_write = events & LOOP_WRITE && c->is_blocked;

    if (may_write)
        c->is_blocked = false;
    if (events & LOOP_READ)
        c->is_readable = true;
    if (may_write || events & LOOP_READ)
        io_thread_read_again(c->home->io, c);
}

void conn_ready(void *conn, unsigned events)
{
    struct weft_conn *c = conn;

    thr_assert_io();
    if (c->state == CONN_DEAD)
        return;
    if (events & LOOP_END)
        c->has_end = true;
    if (c->is_shaking) {
        ready_to_shake(c, events);
        return;
    }
    if (events & LOOP_WRITE && c->is_blocked) {
        c->is_blocked = false;
        transmit_flush(c);
        if (c->is_held)
            conn_read(c);
    }
    if (events & LOOP_READ) {
        c->is_readable = true;
        conn_read(c);
    }
}

void conn_read(struct weft_conn *c)
{
    if (c->is_shaking && !secure_shake(c))
        return;
    if (c->state == CONN_HANDSHAKE || c->state == CONN_OPEN)
        receive_ready(c);
    else if (c->state == CONN_LINGER)
        receive_drop(c);
    if (c->state == CONN_OPEN && c->writing)
        transmit_flush(c);
    /* What stopped the reading (Pongs, in inline mode the outbox) may have left with that. */
    if (c->state == CONN_OPEN && c->is_held && !receive_is_paused(c))
        io_thread_read_again(c->home->io, c);
}

/* The slow-reader policy asked for it: what is queued does not leave any more. */
static void close_slow(struct weft_conn *c) ON_IO
{
    STAT_ADD(c->home->io->stats.closed_slow, 1);
    LOG(WEFT_LOG_INFO, c->id, "it reads too slowly");
    transmit_collect(c);
    transmit_drop(c);
    conn_fail(c, WEFT_CLOSE_POLICY_VIOLATION, "too slow", WEFT_E_TOO_BIG);
}

/* A worker could not inflate what came. */
static void fail_inflating(struct weft_conn *c) ON_IO
{
    const char *reason;
    uint16_t code;
    int error = compress_fault(c, &code, &reason);

    conn_fail(c, code, reason, error);
}

void conn_look(struct weft_conn *c)
{
    if (c->state == CONN_NEW)
        conn_register(c);
    if (c->state == CONN_DEAD) {
        if (straight_take_return(c)) /* C10 */
            conn_notify(c, CONN_EVENT_RETURNED);
        return;
    }
    if (conn_must(c, CONN_DEMAND_ABORT)) {
        conn_die(c, WEFT_OK, false);
        return;
    }
    if (c->state == CONN_OPEN && conn_must(c, CONN_DEMAND_SLOW)) {
        close_slow(c);
        return;
    }
    if (c->state == CONN_OPEN && conn_must(c, CONN_DEMAND_FAIL)) {
        fail_inflating(c);
        return;
    }
    transmit_collect(c);
    transmit_flush(c);
    if (c->is_again && !c->home->io->reads_again) {
        io_thread_link_dirty(c->home->io, c); /* not yet */
        return;
    }
    /* Reading may also have been stopped for something that is over now. */
    if (c->is_again || (c->state == CONN_OPEN && (c->stash || c->is_readable || c->is_held))) {
        c->is_again = false;
        conn_read(c);
    }
}

/* --- time --- */

void conn_arm(struct weft_conn *c)
{
    struct io_thread *io = c->home->io;
    uint64_t due_ms = session_deadline_ms(&c->session);
    uint32_t wait_ms;

    if (c->session.failed)
        return; /* the end of FAIL_WAIT_MS is due */
    if (c->is_blocked) {
        uint32_t since = (uint32_t)io->loop.now_ms - c->stall_ms;
        uint32_t timeout = c->home->settings->opts.write_timeout_ms;
        uint64_t stalled_ms = io->loop.now_ms + (since < timeout ? timeout - since : 0);
        if (stalled_ms < due_ms)
            due_ms = stalled_ms;
    }
    wait_ms = receive_wait_ms(c);
    if (wait_ms && io->loop.now_ms + wait_ms < due_ms)
        due_ms = io->loop.now_ms + wait_ms;
    if (due_ms == SESSION_NEVER)
        timer_rest(&io->loop.wheel, &c->timer); /* C9 */
    else
        timer_arm(&io->loop.wheel, &c->timer, due_ms);
}

static void keepalive(struct weft_conn *c) ON_IO
{
    uint8_t payload[SESSION_PING_BYTES];

    session_ping_payload(&c->session, payload);
    /* Without memory the Pong's deadline decides. */
    transmit_control(c, OUT_PONG, FRAME_PING, payload, sizeof payload);
    transmit_flush(c);
}

void conn_time(struct weft_conn *c, uint64_t now_ms)
{
    if (c->state == CONN_HANDSHAKE || c->state == CONN_DECIDING) {
        LOG(WEFT_LOG_INFO, c->id, "the opening handshake took too long");
        if (c->is_shaking)
            conn_die(c, WEFT_E_TIMEOUT, false);
        else if (c->state == CONN_HANDSHAKE && !conn_is_client(c))
            request_refuse(c, 408, "the request did not arrive in time");
        else if (slots_give_up(c))
            request_refuse(c, 503, "no handler is free");
        else
            conn_die(c, WEFT_E_TIMEOUT, false);
        return;
    }
    if (c->state != CONN_OPEN) {
        conn_die(c, c->end.error, c->end.by_peer);
        return;
    }
    if (c->session.failed) {
        conn_fail(c, c->fail_code, c->session.fault, c->end.error); /* the handlers took too long */
        return;
    }
    if (transmit_is_stalled(c)) {
        LOG(WEFT_LOG_INFO, c->id, "it takes nothing");
        conn_die(c, WEFT_E_TIMEOUT, false);
        return;
    }
    switch (session_tick(&c->session, now_ms)) {
    case SESSION_TICK_PING:
        keepalive(c);
        break;
    case SESSION_TICK_PING_TIMEOUT:
        conn_fail(c, WEFT_CLOSE_INTERNAL_ERROR, "no answer to a ping", WEFT_E_TIMEOUT);
        return;
    case SESSION_TICK_CLOSE_TIMEOUT:
        conn_die(c, WEFT_E_TIMEOUT, false);
        return;
    case SESSION_TICK_NONE:
        break;
    }
    if (c->state == CONN_OPEN && c->is_held && c->home->settings->messages.interval_ns)
        conn_read(c);
    if (c->state == CONN_OPEN)
        conn_arm(c);
}

/* --- endings --- */

void conn_begin_close(struct weft_conn *c, uint16_t code, const char *reason)
{
    if (c->state != CONN_OPEN)
        conn_die(c, WEFT_E_CLOSED, false);
    else if (outbox_close(c, code, reason) != WEFT_OK)
        conn_die(c, WEFT_E_NOMEM, false);
}

void conn_fail(struct weft_conn *c, uint16_t code, const char *reason, int error)
{
    uint8_t payload[FRAME_CONTROL_BYTES_MAX];
    unsigned n;

    if (c->state != CONN_OPEN)
        return;
    LOG(WEFT_LOG_INFO, c->id, "failed with %u: %s", code, reason);
    c->end.error = (int16_t)error;
    session_give_up(&c->session);
    stack_close(&c->outbox);
    transmit_collect(c);
    n = frame_write_close_payload(payload, code, reason, strlen(reason));
    if (!c->close_queued)
        transmit_control(c, OUT_CLOSE, FRAME_CLOSE, payload, n); /* without memory it ends without a code */
    transmit_release_waiters(c);
    conn_linger(c);
}

/* Our side ends behind what was written. */
static void finish(struct weft_conn *c) ON_IO
{
    if (c->is_tls)
        secure_finish(c);
    else
        link_finish(&c->link);
}

void conn_linger(struct weft_conn *c)
{
    if (c->state == CONN_DEAD)
        return;
    if (c->state != CONN_LINGER) {
        c->state = CONN_LINGER;
        timer_arm(&c->home->io->loop.wheel, &c->timer,
                  c->home->io->loop.now_ms + c->home->settings->opts.close_timeout_ms);
        if (conn_has_output(c)) {
            transmit_flush(c);
            return;
        }
    }
    if (conn_has_output(c))
        return;
    if (c->peer_is_done) {
        conn_die(c, c->end.error, c->end.by_peer);
        return;
    }
    if (c->finished)
        return;
    c->finished = true;
    /* Behind both Close frames the server ends TCP first. Source: RFC 6455 section 7.1.1 */
    if (!conn_is_client(c) || !c->session.close_received || c->session.failed)
        finish(c);
    io_thread_read_again(c->home->io, c); /* the peer's end may be there already */
}

void conn_fail_behind_messages(struct weft_conn *c, uint16_t code, int error)
{
    /* Acquire would do: what the handlers sent is in the outbox when they are counted. In a straight-line
     * program they are counted before they are answered. */
    if (!c->home->settings->has_queue &&
        c->in_put == atomic_load_explicit(&c->handled, memory_order_seq_cst)) {
        conn_fail(c, code, c->session.fault, error);
        return;
    }
    c->end.error = (int16_t)error;
    c->fail_code = code;
    timer_arm(&c->home->io->loop.wheel, &c->timer, c->home->io->loop.now_ms + FAIL_WAIT_MS);
    conn_notify(c, CONN_EVENT_FAILED);
}

/* What on_close will be told. */
static void complete_end(struct weft_conn *c, int error, bool by_peer) ON_IO
{
    struct conn_end *end = &c->end;

    if (c->was_open && c->session.close_received && c->close_queued && !c->session.failed) {
        end->clean = !conn_has_output(c);
    } else {
        if (end->error == WEFT_OK)
            end->error = (int16_t)error;
        if (!c->close_queued)
            end->by_peer = by_peer;
    }
    atomic_store_explicit(&c->is_closed, true, ORDER(CLOSE_INFO, memory_order_release));
}

void conn_tell_end(const struct weft_conn *c, weft_close_info *out)
{
    *out = (weft_close_info){
        .received_code = c->end.received_code,
        .sent_code = c->end.sent_code,
        .clean = c->end.clean,
        .by_peer = c->end.by_peer,
        .error = c->end.error,
        .reason = c->end.reason ? c->end.reason : "",
    };
}

static void leave_thread(struct weft_conn *c) ON_IO
{
    struct io_thread *io = c->home->io;

    timer_disarm(&io->loop.wheel, &c->timer);
    loop_remove(&io->loop,
                c->link.fd); /* closing it is not enough when a child process holds the socket too */
    if (c->is_tls && c->end.clean)
        secure_finish(c); /* the client's, which lets the server end TCP first */
    link_close(&c->link, conn_has_output(c));
    if (c->is_tls)
        secure_leave(c);
    atomic_fetch_sub_explicit(c->was_open ? &c->home->io->engine->open : &c->home->io->engine->handshaking, 1,
                              memory_order_relaxed);
    atomic_fetch_sub_explicit(&io->conn_count, 1, memory_order_relaxed);
    if (io->engine->limits && !conn_is_client(c))
        limits_leave(io->engine->limits, &c->peer, io->loop.now_ns);
    io_thread_resume_accepting(io);
}

bool conn_demand(struct weft_conn *c, enum conn_demand demand)
{
    return !(atomic_fetch_or_explicit(&c->demands, (uint8_t)demand, memory_order_relaxed) & demand);
}

void conn_abort(struct weft_conn *c)
{
    conn_demand(c, CONN_DEMAND_ABORT);
    io_thread_link_dirty(c->home->io, c);
}

void conn_die(struct weft_conn *c, int error, bool by_peer)
{
    enum conn_state before = (enum conn_state)c->state;

    if (before == CONN_DEAD)
        return;
    c->state = CONN_DEAD;
    stack_close(&c->outbox);
    transmit_collect(c);
    complete_end(c, error, by_peer);
    leave_thread(c);
    transmit_fini(c);
    mem_block_free(c->stash);
    c->stash = NULL;
    session_fini(&c->session); /* of one that was never begun: nothing */
    if (!c->was_open && !conn_is_client(c))
        STAT_ADD(c->home->io->stats.refused, 1);
    if (before == CONN_HANDSHAKE && conn_is_client(c))
        opening_end(c, error);
    else if (before == CONN_HANDSHAKE)
        request_abandon(c);
    if (before == CONN_DECIDING)
        slots_give_up(c);
    transmit_tell_end(c);
    io_thread_bury(c->home->io, c);
}
