/* The sending side of a connection as any thread sees it: push, wait for room, tell the I/O thread.
 *
 * A push does three things in this order: add to outbox_bytes, push onto the stack, and, if the stack was
 * empty, link the connection to the dirty list of its I/O thread. What one thread pushes leaves in that
 * order, because the stack keeps it and only one thread writes (promise P3).
 *
 *   operation    | by  | on       | order
 *   leave a fan  | any | fan refs | fetch-sub, acq_rel      FAN_LAST: all are done with their links before the block goes */
#include <stddef.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "core/compress.h"
#include "core/conn.h"
#include "core/io_thread.h"
#include "proto/utf8.h"

uint64_t outbox_queued(struct weft_conn *c)
{
    return atomic_load_explicit(&c->outbox_bytes, memory_order_seq_cst); /* DRAIN_LOOK */
}

/* The message's own link serves if nobody else can be using it; otherwise one is made. */
static struct msg_link *link_for(weft_msg *m, enum out_kind kind)
{
    struct msg_link *link;

    if (atomic_load_explicit(&m->refs, ORDER(MSG_LAST, memory_order_acquire)) == 1) {
        m->link.kind = (uint8_t)kind;
        m->link.wire_bytes = msg_frame_bytes(m);
        return &m->link;
    }
    link = mem_block_alloc(sizeof *link);
    if (!link)
        return NULL;
    link->msg = m;
    link->kind = (uint8_t)kind;
    link->home = MSG_LINK_ALONE;
    link->wire_bytes = msg_frame_bytes(m);
    return link;
}

struct msg_link *outbox_new_link(weft_msg *m, enum out_kind kind)
{
    return link_for(m, kind);
}

/* Links of one broadcast that share a block, a count and a reference of the message: a broadcast so allocates
 * once for so many members, and what one slow member keeps is bounded by one block. */
#define FAN_LINKS 14

struct fan {
    _Alignas(16) _Atomic uint32_t refs; /* links that are still in use */
    struct msg_link links[];
};

/* As many links as one fan has, at most count of them; *made says how many. */
struct node *outbox_new_fan(weft_msg *m, size_t count, unsigned *made)
{
    unsigned n = count < FAN_LINKS ? (unsigned)count : FAN_LINKS;
    struct fan *f = mem_block_alloc(sizeof *f + n * sizeof f->links[0]);

    if (!f)
        return NULL;
    atomic_init(&f->refs, n);
    for (unsigned i = 0; i < n; i++)
        f->links[i] = (struct msg_link){
            .node.next = i + 1 < n ? &f->links[i + 1].node : NULL,
            .msg = m,
            .kind = OUT_BROADCAST,
            .home = MSG_LINK_IN_FAN,
            .place = (uint8_t)i,
            .wire_bytes = msg_frame_bytes(m),
        };
    weft_msg_ref(m);
    *made = n;
    return &f->links[0].node;
}

static void leave_fan(struct msg_link *link)
{
    struct fan *f = (struct fan *)(void *)((char *)(link - link->place) - offsetof(struct fan, links));
    weft_msg *m = link->msg;

    if (atomic_fetch_sub_explicit(&f->refs, 1, ORDER(FAN_LAST, memory_order_acq_rel)) != 1)
        return;
    mem_block_free(f);
    weft_msg_unref(m);
}

/* Free the link but leave its reference of the message with the caller. */
static void release_link_only(struct msg_link *link)
{
    if (link->home == MSG_LINK_ALONE)
        mem_block_free(link);
}

void outbox_free_link(struct msg_link *link)
{
    weft_msg *m = link->msg;

    if (link->home == MSG_LINK_IN_FAN) {
        leave_fan(link);
        return;
    }
    release_link_only(link);
    weft_msg_unref(m);
}

weft_msg *outbox_new_raw(const void *bytes, size_t n)
{
    weft_msg *m = msg_alloc(0, n);

    if (m) {
        memcpy(m->payload, bytes, n);
        m->bytes = (uint32_t)n;
    }
    return m;
}

/* Is this a handler in inline mode, on the connection's own thread? */
static bool is_own_handler(const struct weft_conn *c)
{
    const struct io_thread *io = io_thread_here();

    return io && io == c->home->io && io->is_running;
}

/* T7 */
static bool append_directly(struct weft_conn *c, struct msg_link *link) THR_ATTR(no_thread_safety_analysis)
{
    if (link->kind != OUT_MESSAGE || !is_own_handler(c) || !transmit_append(c, link))
        return false;
    /* Relaxed: this thread is the one that clears it. */
    if (!atomic_load_explicit(&c->on_dirty, memory_order_relaxed))
        io_thread_link_dirty(c->home->io, c);
    return true;
}

int outbox_push(struct weft_conn *c, struct msg_link *link, bool is_last)
{
    uint32_t wire_bytes = link->wire_bytes + conn_mask_bytes(c, link);
    uint64_t cost = (uint64_t)wire_bytes + MSG_COST;
    uint64_t high = c->home->settings->opts.outbox_high_bytes;
    /* Relaxed: a count, checked again under DRAIN_LOOK by whoever waits on it. */
    uint64_t before = atomic_fetch_add_explicit(&c->outbox_bytes, cost, memory_order_relaxed);
    enum stack_result result;

    link->wire_bytes = wire_bytes;
    if (before <= high && before + cost > high && c->home->settings->opts.on_drain &&
        link->kind <= OUT_BROADCAST)
        atomic_fetch_or_explicit(&c->drain, CONN_DRAIN_CALLBACK, memory_order_seq_cst);
    if (append_directly(c, link))
        return WEFT_OK;
    result = is_last ? stack_push_last(&c->outbox, &link->node) : stack_push(&c->outbox, &link->node);
    if (result == STACK_CLOSED) {
        atomic_fetch_sub_explicit(&c->outbox_bytes, cost, memory_order_relaxed);
        return WEFT_E_CLOSED;
    }
    if (result == STACK_FIRST || is_last)
        io_thread_link_dirty(c->home->io, c);
    return WEFT_OK;
}

/* Sleep until the outbox is at its low mark or closed. C6 says why no wake-up is lost.
 * WEFT_E_CANCELED: the calling task was. */
static int wait_for_room(struct weft_conn *c)
{
    uint64_t low = c->home->settings->opts.outbox_low_bytes;

    for (;;) {
        uint32_t turn = turn_look(&c->drain_turn);
        int rc;

        atomic_fetch_or_explicit(&c->drain, CONN_DRAIN_SENDERS, memory_order_seq_cst);
        if (outbox_queued(c) <= low || stack_is_closed(&c->outbox))
            return WEFT_OK;
        rc = turn_wait(&c->drain_turn, turn, TURN_NO_END_NS);
        if (rc != WEFT_OK)
            return rc;
    }
}

/* Ask for on_drain, then look once more (C6): so it comes behind every WEFT_E_AGAIN. */
static bool is_still_full(struct weft_conn *c)
{
    const weft_server_opts *opts = &c->home->settings->opts;

    if (opts->on_drain)
        atomic_fetch_or_explicit(&c->drain, CONN_DRAIN_CALLBACK, memory_order_seq_cst);
    return outbox_queued(c) > opts->outbox_low_bytes;
}

/* The I/O role never waits: for it the mark is the hard bound. */
static int make_room(struct weft_conn *c, enum outbox_wait wait)
{
    const weft_server_opts *opts = &c->home->settings->opts;
    int rc;

    while (outbox_queued(c) > opts->outbox_high_bytes) {
        if (stack_is_closed(&c->outbox))
            return WEFT_E_CLOSED;
        if (wait == OUTBOX_TRY) {
            if (is_still_full(c))
                return WEFT_E_AGAIN;
            continue;
        }
        if (thr_kind() == THR_IO)
            return outbox_queued(c) > opts->outbox_bytes_max ? WEFT_E_AGAIN : WEFT_OK;
        rc = wait_for_room(c);
        if (rc != WEFT_OK)
            return rc;
    }
    return WEFT_OK;
}

static int push_message(struct weft_conn *c, weft_msg *m)
{
    struct msg_link *link = link_for(m, OUT_MESSAGE);
    int rc;

    if (!link)
        return WEFT_E_NOMEM;
    rc = outbox_push(c, link, false);
    if (rc != WEFT_OK)
        release_link_only(link);
    return rc;
}

/* What is made here has no other holder, so its own link always serves: only a closed outbox refuses it. */
static int push_compressed(struct weft_conn *c, weft_msg *m)
{
    struct squeeze_conn *z = compress_begin_out(c);
    weft_msg *packed = z ? squeeze_out(z, m) : m;
    int rc = push_message(c, packed);

    compress_end_out(c);
    if (packed != m)
        weft_msg_unref(rc == WEFT_OK ? m : packed);
    return rc;
}

int outbox_send(struct weft_conn *c, weft_msg *m, enum outbox_wait wait)
{
    int rc;

    if (stack_is_closed(&c->outbox))
        return WEFT_E_CLOSED;
    rc = make_room(c, wait);
    if (rc != WEFT_OK)
        return rc;
    return c->is_squeezed && compress_wants(c, m) ? push_compressed(c, m) : push_message(c, m);
}

static void note_dropped(struct weft_conn *c)
{
    atomic_fetch_add_explicit(&c->dropped, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->home->io->engine->dropped_newest, 1, memory_order_relaxed);
}

int outbox_broadcast(struct weft_conn *c, struct msg_link *link)
{
    const weft_server_opts *opts = &c->home->settings->opts;
    uint64_t queued = outbox_queued(c);
    bool is_over = queued && queued + link->wire_bytes + MSG_COST > opts->outbox_bytes_max;
    int rc;

    if (is_over && opts->slow_policy == WEFT_SLOW_CLOSE) {
        /* The first one to find it so tells the I/O thread, which closes it. */
        if (conn_demand(c, CONN_DEMAND_SLOW)) {
            stack_close(&c->outbox); /* nothing leaves behind what it missed */
            io_thread_link_dirty(c->home->io, c);
        }
    }
    /* Dropping the oldest is the I/O thread's work; twice the bound is where it was too slow for that. */
    if (is_over && (opts->slow_policy != WEFT_SLOW_DROP_OLDEST || queued > 2 * opts->outbox_bytes_max)) {
        note_dropped(c);
        outbox_free_link(link);
        return WEFT_E_AGAIN;
    }
    rc = outbox_push(c, link, false);
    if (rc != WEFT_OK)
        outbox_free_link(link);
    return rc;
}

/* --- to many --- */

static void free_links(struct node *n)
{
    while (n) {
        struct node *next = n->next;
        outbox_free_link(msg_link_of(n));
        n = next;
    }
}

static struct msg_link *take_link(struct node **links)
{
    struct node *n = *links;

    *links = n->next;
    return msg_link_of(n);
}

bool outbox_fan_init(struct outbox_fan *f, weft_msg *m, size_t count)
{
    struct node **end = &f->links;
    unsigned made;

    *f = (struct outbox_fan){.msg = m, .left = count};
    for (size_t n = 0; n < count; n += made) {
        *end = outbox_new_fan(m, count - n, &made);
        if (!*end) {
            free_links(f->links);
            return false;
        }
        while (*end)
            end = &(*end)->next;
    }
    return true;
}

/* A link of that message; without memory of the plain one. */
static struct msg_link *packed_link(struct outbox_fan *f, weft_msg *packed, unsigned window_bits)
{
    struct node **links = &f->packed[window_bits - DEFLATE_WINDOW_BITS_MIN];
    unsigned made;

    if (packed == f->msg)
        return take_link(&f->links);
    if (!*links)
        *links = outbox_new_fan(packed, f->left, &made);
    return take_link(*links ? links : &f->links);
}

/* K1: a member's own compressor forgets what was before, and the push is under the same lock. */
static void send_packed(struct outbox_fan *f, struct weft_conn *c)
{
    struct squeeze_conn *z = compress_begin_out(c);
    struct msg_link *link;

    if (z && !f->squeeze.plain)
        squeeze_fan_init(&f->squeeze, z->shared, f->msg);
    link = z ? packed_link(f, squeeze_fan_out(&f->squeeze, z), z->params.out_window_bits) : take_link(&f->links);
    outbox_broadcast(c, link);
    compress_end_out(c);
}

void outbox_fan_send(struct outbox_fan *f, struct weft_conn *c)
{
    if (c->is_squeezed && compress_wants(c, f->msg))
        send_packed(f, c);
    else
        outbox_broadcast(c, take_link(&f->links));
    f->left--;
}

void outbox_fan_fini(struct outbox_fan *f)
{
    free_links(f->links);
    if (!f->squeeze.plain)
        return;
    for (unsigned w = 0; w < SQUEEZE_WINDOWS; w++)
        free_links(f->packed[w]);
    squeeze_fan_fini(&f->squeeze);
}

/* --- control frames --- */

int outbox_ping(struct weft_conn *c, const void *data, size_t bytes)
{
    uint8_t frame[FRAME_WHOLE_CONTROL_MAX];
    struct msg_link *link;
    weft_msg *m;
    int rc = make_room(c, OUTBOX_TRY);

    if (rc != WEFT_OK)
        return rc;
    m = outbox_new_raw(frame, frame_write_control(frame, FRAME_PING, data, bytes, NULL));
    if (!m)
        return WEFT_E_NOMEM;
    link = link_for(m, OUT_RAW);
    rc = outbox_push(c, link, false);
    if (rc != WEFT_OK)
        outbox_free_link(link);
    return rc;
}

int outbox_close(struct weft_conn *c, uint16_t code, const char *reason)
{
    uint8_t payload[FRAME_CONTROL_BYTES_MAX], frame[FRAME_WHOLE_CONTROL_MAX];
    size_t reason_bytes = reason ? strlen(reason) : 0;
    struct utf8_state utf8 = {0};
    struct msg_link *link;
    unsigned n;
    weft_msg *m;

    if (reason_bytes > FRAME_REASON_BYTES_MAX || (code && !frame_close_code_is_valid(code)) ||
        (!code && reason_bytes))
        return WEFT_E_INVAL;
    if (!utf8_feed(&utf8, (const uint8_t *)reason, reason_bytes) || !utf8_is_complete(&utf8))
        return WEFT_E_INVAL;
    n = frame_write_close_payload(payload, code, reason, reason_bytes);
    n = frame_write_control(frame, FRAME_CLOSE, payload, n, NULL);
    m = outbox_new_raw(frame, n);
    if (!m)
        return WEFT_E_NOMEM;
    m->type = FRAME_CLOSE;
    link = link_for(m, OUT_CLOSE);
    if (outbox_push(c, link, true) != WEFT_OK)
        outbox_free_link(link); /* somebody closed it before: that is what was wanted */
    return WEFT_OK;
}
