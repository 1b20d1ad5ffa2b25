/* Sending in parts; see stream.h. */
#include "core/stream.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"
#include "base/order.h"
#include "base/thr.h"
#include "core/conn.h"
#include "proto/frame.h"
#include "proto/utf8.h"
#include "sync/turn.h"

struct stream {
    pthread_mutex_t lock;
    /* Under lock: */
    bool is_open, has_begun; /* begun: its first frame was pushed */
    uint8_t type;
    struct utf8_state utf8;
    struct turn turn;              /* of is_open, and of room (S1) */
    _Atomic uint64_t held_bytes;   /* io adds and takes off */
    struct node *held, *held_last; /* (io) */
};

static void init_stream(void *part)
{
    struct stream *st = part;

    pthread_mutex_init(&st->lock, NULL);
    turn_init(&st->turn);
}

void stream_free(struct stream *st)
{
    if (!st)
        return;
    pthread_mutex_destroy(&st->lock);
    mem_free(st);
}

/* NULL: nothing was ever begun. */
static struct stream *stream_of(struct weft_conn *c)
{
    struct conn_more *more = conn_more(c);

    return more ? atomic_load_explicit(&more->stream, ORDER(CONN_MORE, memory_order_acquire)) : NULL;
}

static struct stream *make_stream(struct weft_conn *c)
{
    struct conn_more *more = conn_make_more(c);

    return more ? conn_make_part((void *_Atomic *)&more->stream, sizeof(struct stream), init_stream) : NULL;
}

/* --- the I/O thread --- */

static uint64_t cost_of(const struct msg_link *link)
{
    return (uint64_t)link->wire_bytes + MSG_COST;
}

void stream_hold(struct weft_conn *c, struct msg_link *link)
{
    struct stream *st = stream_of(c);

    link->node.next = NULL;
    if (st->held)
        st->held_last->next = &link->node;
    else
        st->held = &link->node;
    st->held_last = &link->node;
    atomic_fetch_add_explicit(&st->held_bytes, cost_of(link), memory_order_seq_cst); /* DRAIN_LOOK */
}

struct node *stream_take_held(struct weft_conn *c)
{
    struct stream *st = stream_of(c);
    struct node *held = st->held;

    st->held = NULL;
    atomic_store_explicit(&st->held_bytes, 0, memory_order_seq_cst);
    return held;
}

struct msg_link *stream_take_oldest_broadcast(struct weft_conn *c)
{
    struct stream *st = stream_of(c);
    struct node *before = NULL;

    for (struct node *n = st->held; n; before = n, n = n->next) {
        if (msg_link_of(n)->kind != OUT_BROADCAST)
            continue;
        if (before)
            before->next = n->next;
        else
            st->held = n->next;
        if (st->held_last == n)
            st->held_last = before;
        atomic_fetch_sub_explicit(&st->held_bytes, cost_of(msg_link_of(n)), memory_order_seq_cst);
        return msg_link_of(n);
    }
    return NULL;
}

uint64_t stream_held_bytes(struct weft_conn *c)
{
    return atomic_load_explicit(&stream_of(c)->held_bytes, memory_order_seq_cst);
}

void stream_tell(struct weft_conn *c)
{
    turn_next(&stream_of(c)->turn);
}

/* --- any thread --- */

/* The bit, then the look (conn.h, C6). True: the outbox is closed. */
static bool ask_to_be_told(struct weft_conn *c)
{
    atomic_fetch_or_explicit(&c->drain, CONN_DRAIN_STREAM, memory_order_seq_cst);
    return stack_is_closed(&c->outbox);
}

/* S2. Under the lock, which is given up meanwhile. */
static int wait_for_end_of_other(struct weft_conn *c, struct stream *st)
{
    while (st->is_open) {
        uint32_t seen = turn_look(&st->turn);
        int rc;

        if (ask_to_be_told(c))
            return WEFT_E_CLOSED;
        if (thr_kind() == THR_IO)
            return WEFT_E_AGAIN;
        pthread_mutex_unlock(&st->lock);
        rc = turn_wait(&st->turn, seen, TURN_NO_END_NS);
        pthread_mutex_lock(&st->lock);
        if (rc != WEFT_OK)
            return rc;
    }
    return stack_is_closed(&c->outbox) ? WEFT_E_CLOSED : WEFT_OK;
}

int stream_begin(struct weft_conn *c, enum weft_msg_type type)
{
    struct stream *st = make_stream(c);
    int rc;

    if (!st)
        return WEFT_E_NOMEM;
    pthread_mutex_lock(&st->lock);
    rc = wait_for_end_of_other(c, st);
    if (rc == WEFT_OK) {
        st->is_open = true;
        st->has_begun = false;
        st->type = (uint8_t)type;
        st->utf8 = (struct utf8_state){0};
    }
    pthread_mutex_unlock(&st->lock);
    return rc;
}

/* S1 */
static uint64_t own_bytes(struct weft_conn *c, struct stream *st)
{
    uint64_t held = atomic_load_explicit(&st->held_bytes, memory_order_seq_cst), queued = outbox_queued(c);

    return queued > held ? queued - held : 0;
}

static int wait_for_room(struct weft_conn *c, struct stream *st)
{
    const weft_server_opts *opts = &c->home->settings->opts;
    uint64_t mark = opts->outbox_high_bytes;

    while (own_bytes(c, st) > mark) {
        uint32_t seen = turn_look(&st->turn);
        int rc;

        if (thr_kind() == THR_IO)
            return own_bytes(c, st) > opts->outbox_bytes_max ? WEFT_E_AGAIN : WEFT_OK;
        mark = opts->outbox_low_bytes;
        if (ask_to_be_told(c))
            return WEFT_E_CLOSED;
        if (own_bytes(c, st) <= mark)
            break;
        rc = turn_wait(&st->turn, seen, TURN_NO_END_NS);
        if (rc != WEFT_OK)
            return rc;
    }
    return WEFT_OK;
}

/* A frame of it; the first one has the type, the others are continuations. Under the lock. */
static int push_frame(struct weft_conn *c, struct stream *st, const void *data, size_t bytes, bool is_last)
{
    weft_msg *m = msg_alloc(st->type, bytes);
    struct msg_link *link;
    int rc;

    if (!m)
        return WEFT_E_NOMEM;
    if (bytes)
        memcpy(m->payload, data, bytes);
    msg_seal(m, bytes);
    m->header[MSG_HEADER_ROOM - m->header_bytes] =
        (uint8_t)((is_last ? 0x80 : 0) | (st->has_begun ? FRAME_CONTINUATION : st->type));
    link = outbox_new_link(m, is_last ? OUT_PART_LAST : OUT_PART); /* its own: nobody else has m */
    rc = outbox_push(c, link, false);
    if (rc != WEFT_OK)
        outbox_free_link(link);
    else
        st->has_begun = true;
    return rc;
}

static int push_part(struct weft_conn *c, struct stream *st, const void *data, size_t bytes)
{
    struct utf8_state utf8 = st->utf8;
    int rc;

    if (!st->is_open)
        return WEFT_E_STATE;
    if (st->type == WEFT_TEXT && !utf8_feed(&utf8, data, bytes))
        return WEFT_E_UTF8;
    rc = push_frame(c, st, data, bytes, false);
    if (rc == WEFT_OK)
        st->utf8 = utf8;
    return rc;
}

int stream_send(struct weft_conn *c, const void *data, size_t bytes)
{
    struct stream *st = stream_of(c);
    int rc;

    if (!st)
        return WEFT_E_STATE;
    rc = wait_for_room(c, st);
    if (rc != WEFT_OK)
        return rc;
    pthread_mutex_lock(&st->lock);
    rc = push_part(c, st, data, bytes);
    pthread_mutex_unlock(&st->lock);
    return rc;
}

/* Under the lock. */
static int end(struct weft_conn *c, struct stream *st)
{
    int rc;

    if (!st->is_open)
        return WEFT_E_STATE;
    if (st->type == WEFT_TEXT && !utf8_is_complete(&st->utf8)) {
        rc = outbox_close(c, WEFT_CLOSE_INVALID_DATA, "text that ends inside a character");
        return rc == WEFT_OK ? WEFT_E_UTF8 : rc;
    }
    rc = push_frame(c, st, NULL, 0, true);
    if (rc == WEFT_OK) {
        st->is_open = false;
        turn_next(&st->turn);
    }
    return rc;
}

int stream_end(struct weft_conn *c)
{
    struct stream *st = stream_of(c);
    int rc;

    if (!st)
        return WEFT_E_STATE;
    pthread_mutex_lock(&st->lock);
    rc = end(c, st);
    pthread_mutex_unlock(&st->lock);
    return rc;
}
