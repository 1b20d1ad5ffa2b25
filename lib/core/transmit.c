/* The sending side of a connection on its I/O thread: from the outbox into `writing`, and from there to the
 * socket.
 *
 * T1  writing is in order, and a ring: it names the newest, whose next is the oldest, the head. The head
 *     may be half written (writing_offset); no frame ever stands before it, nor before what is no frame, the
 *     answer of a handshake.
 * T2  Control frames of our own go behind such a head, behind earlier control frames, and before everything
 *     else; the Close frame goes last.
 * T3  Small frames are gathered in the thread's write buffer and large ones are written from where they
 *     are, in one system call as far as they reach. A message is let go when its last byte was taken by the
 *     socket.
 * T4  While a message in parts is leaving (is_streaming), other messages are held back by its stream, in
 *     order; they follow its last part, or are dropped when a Close comes before that. Control frames pass.
 * T5  A client's frames are masked on their way into the write buffer, so that a message may stand in many
 *     outboxes; each with a key of its own, which is kept while the frame is half written (RFC 6455 section
 *     5.3).
 * T6  TLS takes bytes in the socket's place. What it took and the socket did not leaves first, and the
 *     connection is blocked for so long; a message may be let go before.
 * T7  In inline mode handlers run between the steps here, on the same thread. What they send to a connection of
 *     that thread joins writing at once if the outbox is empty, so that nothing is overtaken that was sent
 *     before; and the connection is on the dirty list then, or on its way there, so that it is written before
 *     the thread sleeps. */
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "core/conn.h"
#include "core/io_thread.h"
#include "core/stream.h"
#include "core/waits.h"

/* Copying this much into the write buffer is cheaper than one more iovec. */
#define COPY_BYTES_MAX 2048u
#define IOVEC_MAX      64
/* Frames of a client in one write. */
#define MASKED_MAX 256

static struct node *head_of(const struct weft_conn *c)
{
    return c->writing ? c->writing->next : NULL;
}

/* Behind `before`; NULL: as the head. */
static void insert(struct weft_conn *c, struct node *before, struct node *n)
{
    struct node *newest = c->writing;

    if (!newest) {
        n->next = n;
        c->writing = n;
        return;
    }
    if (!before)
        before = newest; /* the ring's end is before its head */
    else if (before == newest)
        c->writing = n;
    n->next = before->next;
    before->next = n;
}

static void append(struct weft_conn *c, struct node *n)
{
    insert(c, c->writing, n);
}

/* The one behind `before`; NULL: the head. */
static struct msg_link *take_out(struct weft_conn *c, struct node *before)
{
    struct node *n;

    if (!before)
        before = c->writing;
    n = before->next;
    before->next = n->next;
    if (n == before)
        c->writing = NULL;
    else if (n == c->writing)
        c->writing = before;
    return msg_link_of(n);
}

/* The next one behind `before`, NULL when that was the newest. */
static struct node *behind(const struct weft_conn *c, const struct node *before)
{
    return before == c->writing ? NULL : before->next;
}

/* T1: the head, if it has to leave first; else NULL. */
static struct node *fixed_head(const struct weft_conn *c)
{
    struct node *head = head_of(c);

    return head && (c->writing_offset || msg_link_of(head)->kind >= OUT_ACCEPT) ? head : NULL;
}

/* T2 */
static void insert_control(struct weft_conn *c, struct node *n)
{
    struct node *before = fixed_head(c), *next = before ? behind(c, before) : head_of(c);

    while (next && msg_link_of(next)->kind == OUT_PONG) {
        before = next;
        next = behind(c, next);
    }
    insert(c, before, n);
}

/* --- bytes taken off --- */

/* Wake those of `whom` that wait, in a sender's call or as a mailbox that was left. */
static void tell_waiters(struct weft_conn *c, unsigned whom) ON_IO
{
    uint32_t who = atomic_fetch_and_explicit(&c->drain, (uint8_t)~whom, memory_order_seq_cst) & whom;

    if (who & CONN_DRAIN_SENDERS)
        turn_next(&c->drain_turn);
    if (who & CONN_DRAIN_STREAM)
        stream_tell(c);
    if (who & CONN_DRAIN_END)
        waits_tell(c);
    if (who & (CONN_DRAIN_MAILBOX | CONN_DRAIN_CALLBACK))
        conn_notify(c, who & CONN_DRAIN_CALLBACK ? CONN_EVENT_DRAIN : 0);
}

#define WAIT_FOR_ROOM (CONN_DRAIN_SENDERS | CONN_DRAIN_MAILBOX | CONN_DRAIN_CALLBACK | CONN_DRAIN_STREAM)

void transmit_release_waiters(struct weft_conn *c)
{
    if (atomic_load_explicit(&c->drain, memory_order_seq_cst) & WAIT_FOR_ROOM)
        tell_waiters(c, WAIT_FOR_ROOM);
}

/* Not behind a look at drain: who sets a bit behind our fetch-and sees is_closed, for it reads what we wrote.
 * */
void transmit_tell_end(struct weft_conn *c)
{
    tell_waiters(c, WAIT_FOR_ROOM | CONN_DRAIN_END);
}

/* DRAIN_LOOK: behind a change of what is queued, or of what of it is held back. */
static void tell_of_room(struct weft_conn *c, uint64_t queued) ON_IO
{
    uint64_t low = c->home->settings->opts.outbox_low_bytes;
    unsigned whom;

    if (queued > low && (!c->is_streaming || queued - stream_held_bytes(c) > low))
        return;
    whom = queued > low ? CONN_DRAIN_STREAM : WAIT_FOR_ROOM;
    if (atomic_load_explicit(&c->drain, ORDER(DRAIN_LOOK, memory_order_seq_cst)) & whom)
        tell_waiters(c, whom);
}

/* C6: less is queued now; whoever waits for that is told once the low-water mark is reached. */
static void take_off(struct weft_conn *c, uint64_t bytes) ON_IO
{
    uint64_t left;

    if (!bytes)
        return;
    left = atomic_fetch_sub_explicit(&c->outbox_bytes, bytes, memory_order_seq_cst) - bytes; /* DRAIN_LOOK */
    tell_of_room(c, left);
}

static bool is_message(const struct msg_link *link)
{
    return link->kind == OUT_MESSAGE || link->kind == OUT_BROADCAST;
}

/* Let go of one link; returns what it cost. */
static uint64_t release(struct weft_conn *c, struct msg_link *link)
{
    uint64_t cost = (uint64_t)link->wire_bytes + MSG_COST;

    if (link->kind == OUT_PONG)
        c->pongs--;
    outbox_free_link(link);
    return cost;
}

static struct msg_link *pop_head(struct weft_conn *c)
{
    struct node *newest = c->writing, *head = newest->next;

    if (head == newest)
        c->writing = NULL;
    else
        newest->next = head->next;
    c->writing_offset = 0;
    return msg_link_of(head);
}

/* T4: what is held back will never leave. */
static void drop_held(struct weft_conn *c) ON_IO
{
    struct node *n;
    uint64_t cost = 0;

    if (!c->is_streaming)
        return;
    n = stream_take_held(c);
    c->is_streaming = false;
    while (n) {
        struct node *next = n->next;
        STAT_ADD(c->home->io->stats.dropped_closed, 1);
        cost += release(c, msg_link_of(n));
        n = next;
    }
    take_off(c, cost);
}

/* All but the head, if that is `keep`. */
static void drop_but(struct weft_conn *c, struct node *keep) ON_IO
{
    uint64_t cost = 0;

    drop_held(c);

    while (c->writing != keep) {
        struct msg_link *link = take_out(c, keep);
        if (is_message(link))
            STAT_ADD(c->home->io->stats.dropped_closed, 1);
        if (link->kind == OUT_CLOSE)
            c->close_queued = false;
        cost += release(c, link);
    }
    take_off(c, cost);
}

void transmit_drop(struct weft_conn *c)
{
    drop_but(c, fixed_head(c));
}

void transmit_fini(struct weft_conn *c)
{
    c->writing_offset = 0;
    drop_but(c, NULL);
}

/* --- what comes out of the outbox --- */

static uint64_t release_oldest(struct weft_conn *c, struct msg_link *link) ON_IO
{
    STAT_ADD(c->home->io->stats.dropped_oldest, 1);
    atomic_fetch_add_explicit(&c->dropped, 1, memory_order_relaxed);
    return release(c, link);
}

/* Drop the oldest broadcasts until the rest is within the bound; the half-written head stays. */
static void drop_oldest(struct weft_conn *c) ON_IO
{
    uint64_t bound = c->home->settings->opts.outbox_bytes_max;
    uint64_t queued = atomic_load_explicit(&c->outbox_bytes, memory_order_relaxed), cost = 0;
    struct node *before = c->writing_offset ? head_of(c) : NULL, *n;
    struct msg_link *held;

    while ((n = before ? behind(c, before) : head_of(c)) != NULL && queued - cost > bound) {
        if (msg_link_of(n)->kind == OUT_BROADCAST)
            cost += release_oldest(c, take_out(c, before));
        else
            before = n;
    }
    while (c->is_streaming && queued - cost > bound && (held = stream_take_oldest_broadcast(c)) != NULL)
        cost += release_oldest(c, held);
    take_off(c, cost);
}

static void note_close_code(struct weft_conn *c, const uint8_t *payload, size_t bytes)
{
    c->end.sent_code = bytes >= 2 ? (uint16_t)(payload[0] << 8 | payload[1]) : WEFT_CLOSE_NO_STATUS;
}

/* T4 */
static void end_streaming(struct weft_conn *c) ON_IO
{
    struct node *n = stream_take_held(c);

    c->is_streaming = false;
    while (n) {
        struct node *next = n->next;
        append(c, n);
        n = next;
    }
}

static void collect_one(struct weft_conn *c, struct msg_link *link) ON_IO
{
    if (c->is_streaming && is_message(link)) {
        stream_hold(c, link);
        tell_of_room(c, atomic_load_explicit(&c->outbox_bytes, memory_order_seq_cst));
        return;
    }
    if (link->kind == OUT_CLOSE)
        drop_held(c);
    append(c, &link->node);
    if (link->kind == OUT_PART)
        c->is_streaming = true;
    else if (link->kind == OUT_PART_LAST && c->is_streaming)
        end_streaming(c);
    if (c->state == CONN_DEAD) {
        if (link->kind == OUT_ACCEPT)
            conn_accepted(c); /* the program was told that it is open */
        return;
    }
    if (link->kind == OUT_CLOSE) {
        c->close_queued = true;
        note_close_code(c, link->msg->payload + 2, link->msg->bytes - 2);
        session_close_sent(&c->session, c->home->io->loop.now_ms);
        conn_arm(c);
        transmit_release_waiters(c);
    } else if (link->kind == OUT_ACCEPT) {
        conn_open(c);
    } else if (link->kind == OUT_REJECT) {
        conn_linger(c);
    }
}

void transmit_collect(struct weft_conn *c)
{
    struct node *n = node_reverse(stack_take_all(&c->outbox));

    while (n) {
        struct node *next = n->next;
        collect_one(c, msg_link_of(n));
        n = next;
    }
    if (c->home->settings->opts.slow_policy == WEFT_SLOW_DROP_OLDEST &&
        atomic_load_explicit(&c->outbox_bytes, memory_order_relaxed) >
            c->home->settings->opts.outbox_bytes_max)
        drop_oldest(c);
}

bool transmit_append(struct weft_conn *c, struct msg_link *link)
{
    if (c->state != CONN_OPEN || c->is_streaming || c->close_queued || !stack_is_untouched(&c->outbox))
        return false;
    append(c, &link->node);
    return true;
}

bool transmit_control(struct weft_conn *c, enum out_kind kind, enum frame_opcode opcode, const void *payload,
                      size_t bytes)
{
    uint8_t frame[FRAME_WHOLE_CONTROL_MAX];
    unsigned n = frame_write_control(frame, opcode, payload, bytes, NULL);
    weft_msg *m = outbox_new_raw(frame, n);
    struct msg_link *link;

    if (!m)
        return false;
    link = outbox_new_link(m, kind);
    link->wire_bytes += conn_mask_bytes(c, link);
    atomic_fetch_add_explicit(&c->outbox_bytes, link->wire_bytes + MSG_COST, memory_order_relaxed);
    if (opcode == FRAME_CLOSE) {
        note_close_code(c, payload, bytes);
        c->close_queued = true;
        drop_held(c);
        append(c, &link->node);
    } else {
        c->pongs++;
        insert_control(c, &link->node);
    }
    return true;
}

void transmit_append_head(struct weft_conn *c, struct msg_link *link)
{
    atomic_fetch_add_explicit(&c->outbox_bytes, link->wire_bytes + MSG_COST, memory_order_relaxed);
    append(c, &link->node);
}

/* --- to the socket --- */

struct gather {
    struct iovec iov[IOVEC_MAX];
    int count;
    size_t bytes;
    size_t copied;
    /* A client's: each frame has a key of its own. */
    unsigned frames;
    uint8_t keys[MASKED_MAX][FRAME_KEY_BYTES];
};

/* What was copied since the last large frame is one piece. */
static void end_copy(const struct io_thread *io, struct gather *g, size_t from)
{
    if (g->copied == from)
        return;
    g->iov[g->count++] = (struct iovec){io->write_buffer + from, g->copied - from};
    g->bytes += g->copied - from;
}

/* T5 */
static size_t put_masked(struct weft_conn *c, struct msg_link *link, uint8_t *key, size_t skip, uint8_t *out,
                         size_t room) ON_IO
{
    const uint8_t *frame = msg_frame(link->msg);
    size_t left = link->wire_bytes - skip;

    if (link->kind >= OUT_ACCEPT) {
        memcpy(out, frame + skip, left < room ? left : room);
        return left < room ? left : room;
    }
    if (skip)
        memcpy(key, conn_more(c)->mask_key, FRAME_KEY_BYTES);
    else
        io_thread_random_key(c->home->io, key);
    return frame_write_masked(out, room, frame, link->wire_bytes - FRAME_KEY_BYTES, key, skip);
}

__attribute__((noinline)) static void gather_masked(struct weft_conn *c, struct gather *g) ON_IO
{
    uint8_t *out = c->home->io->write_buffer;
    size_t skip = c->writing_offset;

    g->bytes = 0;
    g->frames = 0;
    for (struct node *n = head_of(c); n && g->frames < MASKED_MAX && g->bytes < IO_WRITE_BYTES; n = behind(c, n)) {
        g->bytes += put_masked(c, msg_link_of(n), g->keys[g->frames++], skip, out + g->bytes, IO_WRITE_BYTES - g->bytes);
        skip = 0;
    }
    g->iov[0] = (struct iovec){out, g->bytes};
    g->count = 1;
}

static void gather(struct weft_conn *c, struct gather *g) ON_IO
{
    const struct io_thread *io = c->home->io;
    size_t skip = c->writing_offset, from = 0;

    if (conn_is_client(c)) {
        gather_masked(c, g);
        return;
    }
    g->count = 0;
    g->bytes = g->copied = 0;
    for (struct node *n = head_of(c); n; n = behind(c, n)) {
        struct msg_link *link = msg_link_of(n);
        const uint8_t *p = msg_frame(link->msg) + skip;
        size_t bytes = link->wire_bytes - skip;

        if (bytes <= COPY_BYTES_MAX) {
            memcpy(io->write_buffer + g->copied, p, bytes);
            g->copied += bytes;
        } else {
            end_copy(io, g, from);
            from = g->copied;
            g->iov[g->count++] = (struct iovec){(void *)p, bytes};
            g->bytes += bytes;
        }
        if (g->count >= IOVEC_MAX - 1 || g->copied + COPY_BYTES_MAX > IO_WRITE_BYTES)
            break;
        skip = 0;
    }
    end_copy(io, g, from);
}

/* The socket took n bytes: let go of what they complete. */
static void written(struct weft_conn *c, const struct gather *g, size_t n) ON_IO
{
    uint64_t cost = 0, messages = 0;
    unsigned frames = 0;

    while (n) {
        struct msg_link *head = msg_link_of(head_of(c));
        size_t left = head->wire_bytes - c->writing_offset;
        if (n < left) {
            c->writing_offset += (uint32_t)n;
            break;
        }
        n -= left;
        frames++;
        messages += is_message(head) || head->kind == OUT_PART_LAST;
        cost += release(c, pop_head(c));
    }
    if (c->writing_offset && conn_is_client(c))
        memcpy(conn_more(c)->mask_key, g->keys[frames], FRAME_KEY_BYTES);
    STAT_ADD(c->home->io->stats.messages_out, messages);
    take_off(c, cost);
}

/* The socket is full. From now on it has write_timeout_ms to take something. */
static void note_blocked(struct weft_conn *c, bool took_some) ON_IO
{
    if (!took_some && c->stall_bytes)
        return;
    c->stall_ms = (uint32_t)c->home->io->loop.now_ms;
    c->stall_bytes = conn_held_bytes(c) + 1;
    if (c->state == CONN_OPEN)
        conn_arm(c);
}

bool transmit_is_stalled(struct weft_conn *c)
{
    uint32_t held;

    if (!c->is_blocked ||
        (uint32_t)c->home->io->loop.now_ms - c->stall_ms < c->home->settings->opts.write_timeout_ms)
        return false;
    /* A large socket buffer tells late that it has room; what it holds tells whether the peer takes
     * anything. */
    held = conn_held_bytes(c) + 1;
    if (held >= c->stall_bytes)
        return true;
    c->stall_bytes = held;
    c->stall_ms = (uint32_t)c->home->io->loop.now_ms;
    return false;
}

void transmit_block(struct weft_conn *c)
{
    if (c->is_blocked)
        return;
    c->is_blocked = true;
    note_blocked(c, true);
}

/* T6 */
static void flush_ciphertext(struct weft_conn *c) ON_IO
{
    uint32_t before = secure_output_bytes(c);
    int rc;

    if (!before || c->state == CONN_DEAD)
        return;
    rc = secure_flush(c);
    if (rc == WEFT_E_AGAIN) {
        c->is_blocked = true;
        note_blocked(c, secure_output_bytes(c) < before);
    } else if (rc != WEFT_OK) {
        conn_die(c, rc, true);
    } else {
        c->stall_bytes = 0;
    }
}

void transmit_flush(struct weft_conn *c)
{
    struct gather g MEM_NOT_ZEROED;

    if (c->is_tls && !c->is_blocked)
        flush_ciphertext(c);

    while (c->writing && !c->is_blocked && c->state != CONN_DEAD && c->state != CONN_NEW) {
        ptrdiff_t n;

        gather(c, &g);
        n = conn_write_bytes(c, g.iov, g.count);
        STAT_ADD(c->home->io->stats.writes, 1);
        if (n == WEFT_E_AGAIN) {
            c->is_blocked = true;
        } else if (n < 0) {
            conn_die(c, (int)n, true);
            return;
        } else {
            STAT_ADD(c->home->io->stats.bytes_out, n);
            written(c, &g, (size_t)n);
            c->is_blocked = (size_t)n < g.bytes || (c->is_tls && secure_output_bytes(c));
        }
        if (c->is_blocked)
            note_blocked(c, n > 0);
        else
            c->stall_bytes = 0;
    }
    /* A session that failed is over behind our Close: the handlers of what came before may still send. */
    if (conn_has_output(c))
        return;
    if (c->state == CONN_OPEN && session_is_over(&c->session) && c->close_queued)
        conn_linger(c);
    else if (c->state == CONN_LINGER && (!c->finished || c->peer_is_done))
        conn_linger(c);
}
