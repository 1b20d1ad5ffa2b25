/* The receiving side of a connection on its I/O thread: read, parse, and put whole messages into the inbox.
 *
 * R1  What was read and not parsed is kept in the stash (at most one read's worth), and is parsed before
 *     the next read.
 * R2  Messages of one read are put into the inbox together.
 * R3  Reading stops, with the socket's edge remembered in is_readable, while the inbox is above its mark,
 *     while the request is being decided, while too many Pongs or answers of TLS wait, in inline mode while
 *     the outbox is above its mark, while messages come faster than they may (its timer ends that) and
 *     while there is no memory (budget.h). Whoever ends that state brings the connection here again. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "core/conn.h"
#include "core/opening.h"
#include "core/request.h"
#include "core/io_thread.h"
#include "core/straight.h"
#include "core/waits.h"

/* Pongs that may wait for a peer that sends Pings and does not read. */
#define PONGS_MAX 64
/* Reads of one connection in a turn before the others have theirs. */
#define READS_MAX 4
/* Behind a guessed message so much more is read along. */
#define TAIL_BYTES 4096u

/* Messages of one read, on their way into the inbox, counted together. */
struct batch {
    struct node *first, *last;
    uint32_t messages, bytes, whole;    /* whole: of the messages, those that are no part, or a last one */
    uint32_t messages_room, bytes_room; /* what keeps the inbox below its mark, by the last look */
    bool marks_parts, counts_events;
};

static void count_batch(struct weft_conn *c, struct batch *b) ON_IO
{
    c->in_put += b->messages;
    c->in_put_bytes += b->bytes;
    io_thread_note_unrun(c->home->io, b->bytes);
    STAT_ADD(c->home->io->stats.messages_in, b->whole);
    b->messages = b->bytes = b->whole = 0;
}

static void put_batch(struct weft_conn *c, struct batch *b) ON_IO
{
    if (!b->first)
        return;
    count_batch(c, b); /* before they can be handled */
    inbox_put(&c->inbox, b->first, b->last);
    b->first = b->last = NULL;
    conn_notify(c, 0);
}

static void look_at_handled(struct weft_conn *c)
{
    /* seq_cst: PAUSE_LOOK */
    c->handled_seen = atomic_load_explicit(&c->handled, ORDER(PAUSE_LOOK, memory_order_seq_cst));
    c->handled_bytes_seen = atomic_load_explicit(&c->handled_bytes, memory_order_seq_cst);
}

static bool inbox_holds(const struct weft_conn *c, uint32_t messages, uint32_t bytes)
{
    return c->in_put - c->handled_seen >= messages || c->in_put_bytes - c->handled_bytes_seen >= bytes;
}

/* Looking costs a line shared with the worker: only when the last look would not do. */
static bool inbox_is_high(struct weft_conn *c)
{
    const weft_server_opts *opts = &c->home->settings->opts;

    if (!inbox_holds(c, opts->inbox_high, opts->inbox_bytes_high))
        return false;
    look_at_handled(c);
    return inbox_holds(c, opts->inbox_high, opts->inbox_bytes_high);
}

static void measure_room(const struct weft_conn *c, struct batch *b)
{
    const weft_server_opts *opts = &c->home->settings->opts;
    uint32_t messages = c->in_put - c->handled_seen, bytes = c->in_put_bytes - c->handled_bytes_seen;

    b->messages_room = opts->inbox_high > messages ? opts->inbox_high - messages : 0;
    b->bytes_room = opts->inbox_bytes_high > bytes ? opts->inbox_bytes_high - bytes : 0;
}

static void begin_batch(const struct weft_conn *c, struct batch *b)
{
    const struct settings *settings = c->home->settings;

    *b = (struct batch){.marks_parts = settings->session.gives_parts,
                        .counts_events = settings->messages.interval_ns != 0};
    measure_room(c, b);
}

/* False: the inbox is at its mark. */
static bool add_message(struct weft_conn *c, struct batch *b, const struct session_event *ev) ON_IO
{
    weft_msg *m = ev->msg;
    struct node *n = &m->link.node;
    bool is_high;

    if (b->last)
        b->last->next = n;
    else
        b->first = n;
    b->last = n;
    if (b->marks_parts)
        m->link.kind = (uint8_t)((ev->is_first ? PART_FIRST : 0) | (ev->is_last ? PART_LAST : 0));
    b->messages++;
    b->bytes += m->bytes;
    b->whole += ev->is_last;
    if (b->messages < b->messages_room && b->bytes < b->bytes_room)
        return true;
    count_batch(c, b);
    is_high = inbox_is_high(c);
    measure_room(c, b);
    return !is_high;
}

/* C7. True: reading stops, and the worker will say when it may go on. */
static bool pause_for_inbox(struct weft_conn *c)
{
    const weft_server_opts *opts = &c->home->settings->opts;

    if (!inbox_is_high(c))
        return false;
    atomic_store_explicit(&c->read_paused, true, ORDER(PAUSE_LOOK, memory_order_seq_cst));
    look_at_handled(c);
    if (!inbox_holds(c, opts->inbox_low + 1, opts->inbox_bytes_high)) {
        /* Relaxed: a worker that still sees true brings us here once for nothing. */
        atomic_store_explicit(&c->read_paused, false, memory_order_relaxed);
        return false;
    }
    STAT_ADD(c->home->io->stats.read_pauses, 1);
    return true;
}

uint32_t receive_wait_ms(const struct weft_conn *c)
{
    const struct rate *rate = &c->home->settings->messages;
    const struct conn_more *more = rate->interval_ns ? conn_more(c) : NULL;
    uint64_t wait_ns = more ? bucket_wait_ns(&more->messages, rate, c->home->io->loop.now_ms * 1000000u) : 0;

    return (uint32_t)((wait_ns + 999999u) / 1000000u);
}

/* One more message, Ping or Pong. False: the next one has to wait. Without memory for its bucket a
 * connection is not limited. */
static bool count_event(struct weft_conn *c) ON_IO
{
    struct conn_more *more = conn_make_more(c);

    if (!more)
        return true;
    bucket_owe(&more->messages, &c->home->settings->messages, c->home->io->loop.now_ms * 1000000u);
    if (!receive_wait_ms(c))
        return true;
    STAT_ADD(c->home->io->stats.rate_pauses, 1);
    return false;
}

static bool must_wait(struct weft_conn *c) ON_IO
{
    const struct settings *settings = c->home->settings;

    if (c->state == CONN_DECIDING || c->pongs >= PONGS_MAX || (c->is_tls && secure_read_waits(c)))
        return true;
    /* Relaxed: our own store, or the worker's, whose link to the dirty list brings us here again. */
    if (atomic_load_explicit(&c->read_paused, memory_order_relaxed))
        return true;
    if (!c->home->io->engine->pool && atomic_load_explicit(&c->outbox_bytes, memory_order_relaxed) >
                                    settings->opts.outbox_high_bytes)
        return true;
    if (c->state != CONN_OPEN || c->session.failed)
        return false;
    /* When the server stops, the peer's Close has to be found behind what it sent, and there is a deadline.
     * */
    if (settings->messages.interval_ns && !c->home->io->is_closing && receive_wait_ms(c))
        return true;
    if (settings->opts.memory_bytes_max && budget_is_short(c->home->io))
        return true;
    return pause_for_inbox(c);
}

bool receive_is_paused(struct weft_conn *c)
{
    bool wait = must_wait(c);

    if (c->state == CONN_OPEN && !c->session.failed && wait != c->is_held) {
        if (wait)
            session_hold(&c->session, c->home->io->loop.now_ms);
        else
            session_resume(&c->session, c->home->io->loop.now_ms);
        conn_arm(c);
        c->is_held = wait;
    }
    return wait;
}

bool receive_keep(struct weft_conn *c, const uint8_t *p, size_t n)
{
    if (!n)
        return true;
    c->stash = mem_block_alloc(sizeof *c->stash + n);
    if (!c->stash)
        return false;
    c->stash->bytes = (uint32_t)n;
    c->stash->offset = 0;
    memcpy(c->stash->data, p, n);
    return true;
}

/* --- events of the session --- */

static void peer_closes(struct weft_conn *c, const struct session_event *ev) ON_IO
{
    c->end.received_code = ev->code;
    if (!c->close_queued)
        c->end.by_peer = true;
    if (ev->bytes)
        c->end.reason = mem_strdup(ev->payload); /* without memory the reason is lost, not the close */
    stack_close(&c->outbox);
    transmit_collect(c); /* what was sent before leaves before */
    if (!c->close_queued) {
        uint8_t payload[2];
        unsigned n = frame_write_close_payload(payload, ev->code, NULL, 0);
        if (!transmit_control(c, OUT_CLOSE, FRAME_CLOSE, payload, n)) {
            conn_die(c, WEFT_E_NOMEM, false);
            return;
        }
    }
    session_close_sent(&c->session, c->home->io->loop.now_ms);
    conn_arm(c);
    transmit_release_waiters(c);
    transmit_flush(c);
}

/* False: no more is to be parsed for now. */
static bool act_on(struct weft_conn *c, enum session_event_kind kind, struct session_event *ev,
                   struct batch *b) ON_IO
{
    switch (kind) {
    case SESSION_MESSAGE:
        return add_message(c, b, ev);
    case SESSION_PING:
        if (!c->close_queued && !transmit_control(c, OUT_PONG, FRAME_PONG, ev->payload, ev->bytes))
            conn_fail(c, WEFT_CLOSE_INTERNAL_ERROR, "no memory", WEFT_E_NOMEM);
        return c->state == CONN_OPEN && c->pongs < PONGS_MAX;
    case SESSION_CLOSE:
        put_batch(c, b);
        peer_closes(c, ev);
        return false;
    case SESSION_FAIL:
        put_batch(c, b);
        conn_fail_behind_messages(c, ev->code, ev->error);
        return false;
    case SESSION_PONG:
        waits_pong(c, ev->payload, ev->bytes);
        conn_arm(c); /* the Pong's deadline has become the next Ping */
        break;
    case SESSION_NONE:
        break;
    }
    return true;
}

static inline bool handle_event(struct weft_conn *c, enum session_event_kind kind, struct session_event *ev,
                                struct batch *b) ON_IO
{
    bool goes_on;

    if (kind == SESSION_MESSAGE && !b->counts_events)
        return add_message(c, b, ev);
    goes_on = act_on(c, kind, ev, b);
    if (b->counts_events && kind != SESSION_NONE)
        return count_event(c) && goes_on;
    return goes_on;
}

/* Parse what is at p; what may not be parsed yet is kept. */
static void parse(struct weft_conn *c, const uint8_t *p, size_t n) ON_IO
{
    struct session_event ev;
    struct batch b;
    size_t used;
    bool goes_on = true;

    begin_batch(c, &b);
    while (n && goes_on) {
        enum session_event_kind kind = session_feed(&c->session, p, n, &used, &ev);
        p += used;
        n -= used;
        goes_on = handle_event(c, kind, &ev, &b);
    }
    put_batch(c, &b);
    if (n && c->state == CONN_OPEN && !session_is_over(&c->session) && !receive_keep(c, p, n))
        conn_fail(c, WEFT_CLOSE_INTERNAL_ERROR, "no memory", WEFT_E_NOMEM);
}

static void parse_stash(struct weft_conn *c) ON_IO
{
    struct stash *s = c->stash;
    struct session_event ev;
    struct batch b;
    bool goes_on = true;

    begin_batch(c, &b);
    /* goes_on first: an event that ended the connection has freed the stash. */
    while (goes_on && s->offset < s->bytes) {
        size_t used;
        enum session_event_kind kind =
            session_feed(&c->session, s->data + s->offset, s->bytes - s->offset, &used, &ev);
        s->offset += (uint32_t)used;
        goes_on = handle_event(c, kind, &ev, &b);
    }
    put_batch(c, &b);
    if (c->stash == s && (s->offset == s->bytes || c->state != CONN_OPEN)) {
        mem_block_free(s);
        c->stash = NULL;
    }
}

static void parse_direct(struct weft_conn *c, size_t n) ON_IO
{
    struct session_event ev;
    struct batch b;
    enum session_event_kind kind = session_feed_direct(&c->session, n, &ev);

    begin_batch(c, &b);
    handle_event(c, kind, &ev, &b);
    put_batch(c, &b);
}

/* --- reading --- */

/* The peer has ended its side. It may still read what was to leave behind its Close, or our answer to its
 * request. */
static void peer_ended(struct weft_conn *c) ON_IO
{
    c->is_readable = false;
    if (conn_has_output(c) && (c->state == CONN_LINGER || c->session.close_received))
        c->peer_is_done = true;
    else if (c->state == CONN_LINGER)
        conn_die(c, c->end.error, c->end.by_peer);
    else
        conn_die(c, c->session.close_received ? WEFT_OK : WEFT_E_CLOSED, !c->close_queued);
}

/* One read into the places of iov. Returns how many bytes came; 0: none, and what that means was dealt
 * with. */
static size_t read_into(struct weft_conn *c, struct iovec *iov, int count) ON_IO
{
    size_t room = 0;
    ptrdiff_t n;

    for (int i = 0; i < count; i++)
        room += iov[i].iov_len;
    n = conn_read_bytes(c, iov, count);
    STAT_ADD(c->home->io->stats.reads, 1);
    if (n > 0) {
        STAT_ADD(c->home->io->stats.bytes_in, n);
        /* Edge-triggered: a short read found the socket empty, and what comes later is a new edge. The end
         * is not. Of TLS a short read says nothing, but TLS knows. */
        if (c->is_tls)
            c->is_readable = secure_may_have_more(c) || c->has_end;
        else if ((size_t)n < room && !c->has_end)
            c->is_readable = false;
        return (size_t)n;
    }
    if (n == WEFT_E_AGAIN)
        c->is_readable = c->is_tls && secure_read_waits(c);
    else if (n == LINK_END)
        peer_ended(c);
    else
        conn_die(c, (int)n, true);
    return 0;
}

/* In the middle of a large message: its bytes go where they stay. Not more in one read than the cache holds
 * until they are unmasked. */
static void read_direct(struct weft_conn *c, uint8_t *where, size_t bytes) ON_IO
{
    uint8_t *buffer = c->home->io->read_buffer;
    struct iovec iov[2] = {{where, bytes < IO_READ_BYTES ? bytes : IO_READ_BYTES}, {buffer, TAIL_BYTES}};
    size_t n = read_into(c, iov, bytes < IO_READ_BYTES ? 2 : 1);

    if (!n)
        return;
    parse_direct(c, n < bytes ? n : bytes);
    if (n > bytes && c->state == CONN_OPEN)
        parse(c, buffer, n - bytes);
}

/* The read behind a guess that was wrong, as if there had been none. */
static void parse_wrong_guess(struct weft_conn *c, struct session_guess *g, size_t n) ON_IO
{
    uint8_t *buffer = c->home->io->read_buffer;
    size_t head = n < g->header_bytes ? n : g->header_bytes;
    size_t payload = n - head < g->bytes ? n - head : g->bytes;

    /* The rest is in its place behind them already. */
    memcpy(buffer, g->header, head);
    memcpy(buffer + head, g->msg->payload, payload);
    session_guess_drop(g);
    if (n)
        parse(c, buffer, n);
}

/* Behind a large message, one more like it is read into memory of its own. */
static void read_guessed(struct weft_conn *c, struct session_guess *g) ON_IO
{
    uint8_t *tail = c->home->io->read_buffer + g->header_bytes + g->bytes;
    struct iovec iov[3] = {{g->header, g->header_bytes}, {g->msg->payload, g->bytes}, {tail, TAIL_BYTES}};
    size_t n = read_into(c, iov, 3), guessed = (size_t)g->header_bytes + g->bytes;
    enum session_event_kind kind;
    struct session_event ev;
    struct batch b;

    if (!n || !session_guess_came_true(&c->session, g, n < guessed ? n : guessed, &kind, &ev)) {
        parse_wrong_guess(c, g, n);
        return;
    }
    begin_batch(c, &b);
    handle_event(c, kind, &ev, &b);
    put_batch(c, &b);
    if (n > guessed && c->state == CONN_OPEN)
        parse(c, tail, n - guessed);
}

static void read_plain(struct weft_conn *c) ON_IO
{
    struct iovec iov = {c->home->io->read_buffer, IO_READ_BYTES};
    size_t n = read_into(c, &iov, 1);

    if (n && c->state == CONN_HANDSHAKE && conn_is_client(c))
        opening_feed(c, c->home->io->read_buffer, n);
    else if (n && c->state == CONN_HANDSHAKE)
        request_feed(c, c->home->io->read_buffer, n);
    else if (n && c->state == CONN_OPEN)
        parse(c, c->home->io->read_buffer, n);
}

/* False: nothing more for now. */
static bool read_once(struct weft_conn *c) ON_IO
{
    struct session_guess guess;
    uint8_t *where;
    size_t direct;

    if (c->state != CONN_OPEN)
        read_plain(c);
    else if ((direct = session_direct(&c->session, &where)) != 0)
        read_direct(c, where, direct);
    else if (session_guess(&c->session, IO_READ_BYTES - FRAME_HEADER_BYTES_MAX - TAIL_BYTES, &guess))
        read_guessed(c, &guess);
    else
        read_plain(c);
    return (c->is_readable || c->stash) && c->state < CONN_LINGER;
}

void receive_ready(struct weft_conn *c)
{
    for (int reads = 0; c->state == CONN_HANDSHAKE || c->state == CONN_OPEN; reads++) {
        if (receive_is_paused(c))
            return;
        if (c->stash && c->state == CONN_OPEN) {
            parse_stash(c);
            continue;
        }
        if (!c->is_readable)
            return;
        if (reads >= READS_MAX) {
            io_thread_read_again(c->home->io, c);
            return;
        }
        if (!read_once(c))
            return;
    }
    if (c->state == CONN_LINGER)
        receive_drop(c);
}

void receive_drop(struct weft_conn *c)
{
    struct iovec iov = {c->home->io->read_buffer, IO_READ_BYTES};

    for (int reads = 0; reads < READS_MAX; reads++) {
        ptrdiff_t n = conn_read_bytes(c, &iov, 1);
        if (n == WEFT_E_AGAIN) {
            c->is_readable = false;
            return;
        }
        if (n == LINK_END) {
            peer_ended(c);
            return;
        }
        if (n < 0) {
            conn_die(c, c->end.error, c->end.by_peer);
            return;
        }
    }
    io_thread_read_again(c->home->io, c);
}
