/* Running a connection.
 *
 * M1  One thread at a time runs a connection; what it left in run_list and todo, the next one finds there
 *     (RUN_END, RUN_NOTIFY).
 * M2  Order: the request, open, messages as they arrived, drain when it is told, close behind the last
 *     message.
 * M3  While the outbox is above its high-water mark no message is handled: a peer that does not read is not
 *     answered further, and costs no worker that would block in send. What was sent by others does not
 *     matter less than what the handler sent, for both are memory. Once the outbox is closed nothing can be
 *     sent, and the rest is delivered.
 * M4  A connection leaves its groups before on_close. Behind on_close the thread drops the library's
 *     reference and touches the connection no more.
 * M5  A connection with a queue (straight.h) has its messages moved there; they are handled by other threads,
 *     and M3 is not for them, for these may block. on_close then also waits for those threads. */
#include "core/mailbox.h"

#include "base/clock.h"
#include "base/order.h"
#include "core/compress.h"
#include "core/conn.h"
#include "core/io_thread.h"
#include "core/request.h"
#include "core/straight.h"

#define RUN_ADD(field, n)                                                                                    \
    atomic_store_explicit(&(field), atomic_load_explicit(&(field), memory_order_relaxed) + (uint64_t)(n),    \
                          memory_order_relaxed)

/* The clock costs as much as the rest of a short handler's turn: it is read for so many messages together,
 * and for up to so many while handlers are as short as this each. */
#define CLOCK_STRIDE     4
#define CLOCK_STRIDE_MAX 16
#define SHORT_NS         500

struct run {
    struct weft_conn *c;
    const weft_server_opts *opts;
    struct run_stats *stats;
    uint64_t start_ns, now_ns;
    uint32_t messages, uncounted, uncounted_bytes;
    uint32_t stride, look_at; /* of the clock: in messages */
};

static void note_time(struct run *r)
{
    uint64_t before = r->now_ns;

    r->now_ns = clock_now_ns();
    if (r->now_ns - before > atomic_load_explicit(&r->stats->longest_handler_ns, memory_order_relaxed))
        atomic_store_explicit(&r->stats->longest_handler_ns, r->now_ns - before, memory_order_relaxed);
}

static void note_handover(struct run *r)
{
    /* Signed, for the clock that was noted may be ahead of ours. */
    int32_t us = (int32_t)((uint32_t)(r->now_ns / 1000) - r->c->inbox.note);
    unsigned bucket = us > 0 ? 32 - (unsigned)__builtin_clz((unsigned)us) : 0;

    if (bucket >= WEFT_HANDOVER_BUCKETS)
        bucket = WEFT_HANDOVER_BUCKETS - 1;
    RUN_ADD(r->stats->handover_us[bucket], 1);
}

void mailbox_count_handled(struct weft_conn *c, uint32_t messages, uint32_t bytes)
{
    atomic_fetch_add_explicit(&c->handled_bytes, bytes, memory_order_seq_cst);
    atomic_fetch_add_explicit(&c->handled, messages, memory_order_seq_cst); /* PAUSE_LOOK */
}

/* C7: these were handled; reading may go on when few are left. */
static void count_handled(struct run *r)
{
    if (!r->uncounted)
        return;
    mailbox_count_handled(r->c, r->uncounted, r->uncounted_bytes);
    r->uncounted = 0;
    r->uncounted_bytes = 0;
}

/* If io stopped reading it has to be told to go on. Only the thread that turns the flag tells. */
void mailbox_resume_reading(struct weft_conn *c)
{
    if (atomic_load_explicit(&c->read_paused, ORDER(PAUSE_LOOK, memory_order_seq_cst)) &&
        atomic_exchange_explicit(&c->read_paused, false, memory_order_seq_cst))
        io_thread_link_dirty(c->home->io, c);
}

static void resume_reading(struct run *r, bool is_empty)
{
    if (is_empty)
        mailbox_resume_reading(r->c);
}

/* Messages left that this run knows of. */
static bool few_left(const struct weft_conn *c, uint32_t low)
{
    const struct node *n = c->run_list;

    while (n && low) {
        n = n->next;
        low--;
    }
    return n == NULL;
}

/* M3, C6. True: the mailbox is left, and the I/O thread brings it back when there is room. */
static bool must_wait_for_room(struct weft_conn *c, const weft_server_opts *opts)
{
    if (atomic_load_explicit(&c->outbox_bytes, memory_order_relaxed) <= opts->outbox_high_bytes ||
        stack_is_closed(&c->outbox))
        return false;
    atomic_fetch_or_explicit(&c->drain, CONN_DRAIN_MAILBOX, memory_order_seq_cst);
    return atomic_load_explicit(&c->outbox_bytes, ORDER(DRAIN_LOOK, memory_order_seq_cst)) >
               opts->outbox_low_bytes &&
           !stack_is_closed(&c->outbox);
}

static void handle_message(struct run *r, weft_msg *m)
{
    r->uncounted++;
    r->uncounted_bytes += m->bytes;
    r->messages++;
    if (r->c->is_squeezed && !(m = compress_take(r->c, m)))
        return;
    if (r->opts->on_message)
        r->opts->on_message(r->c, m, r->opts->app);
    else
        weft_msg_unref(m);
}

enum run_result { RUN_EMPTY, RUN_BUDGET, RUN_NO_ROOM };

static void look_again_in(struct run *r, uint32_t messages)
{
    uint32_t left = r->opts->turn_messages_max - r->messages;

    r->look_at = r->messages + (messages < left ? messages : left);
}

/* It is time to look at the clock, or the turn's last message was handled. */
__attribute__((noinline)) static bool look_at_budget(struct run *r)
{
    uint64_t before_ns = r->now_ns;

    if (r->messages >= r->opts->turn_messages_max)
        return true;
    note_time(r);
    if (r->now_ns - before_ns > (uint64_t)r->stride * SHORT_NS)
        r->stride = CLOCK_STRIDE;
    else if (r->stride < CLOCK_STRIDE_MAX)
        r->stride *= 2;
    look_again_in(r, r->stride);
    return r->now_ns - r->start_ns > (uint64_t)r->opts->turn_us_max * 1000;
}

static bool is_over_budget(struct run *r)
{
    return r->messages >= r->look_at && look_at_budget(r);
}

/* Few messages are counted together, but not longer than reading waits for them. */
static void after_message(struct run *r)
{
    struct weft_conn *c = r->c;

    /* Relaxed: only a hint to count early; the look that decides comes at the end of the run. */
    if (!atomic_load_explicit(&c->read_paused, memory_order_relaxed))
        return;
    count_handled(r);
    resume_reading(r, few_left(c, r->opts->inbox_low));
}

static void take_events(struct weft_conn *c)
{
    if (atomic_load_explicit(&c->events, memory_order_relaxed))
        c->todo |= (uint8_t)atomic_exchange_explicit(&c->events, 0, ORDER(CONN_EVENT, memory_order_acquire));
}

static bool todo(struct weft_conn *c, uint32_t event)
{
    bool is_due = c->todo & event;

    c->todo &= (uint8_t)~event;
    return is_due;
}

static bool has_queue(const struct weft_conn *c)
{
    return c->home->settings->has_queue;
}

static void begin(struct run *r) ON_WORKER
{
    struct weft_conn *c = r->c;
    bool is_opened;

    if (todo(c, CONN_EVENT_REQUEST))
        request_run(c, c->todo & CONN_EVENT_CLOSED);
    is_opened = todo(c, CONN_EVENT_OPEN);
    if (is_opened && r->opts->on_open)
        r->opts->on_open(c, r->opts->app);
    if (is_opened && has_queue(c))
        straight_begin(c);
}

static enum run_result handle_messages(struct run *r) ON_WORKER
{
    struct weft_conn *c = r->c;

    for (;;) {
        if (!c->run_list)
            c->run_list = inbox_take_all(&c->inbox);
        if (!c->run_list)
            return RUN_EMPTY;
        /* What was taken may have arrived behind an opening that this run has not seen (M2). */
        take_events(c);
        if (c->todo & (CONN_EVENT_REQUEST | CONN_EVENT_OPEN))
            begin(r);
        if (has_queue(c)) { /* M5 */
            struct node *list = c->run_list;
            c->run_list = NULL;
            straight_put(c, list);
        }
        while (c->run_list) {
            struct node *n = c->run_list;
            if (must_wait_for_room(c, r->opts))
                return RUN_NO_ROOM;
            c->run_list = n->next;
            handle_message(r, msg_of(n));
            after_message(r);
            if (c->run_list && is_over_budget(r))
                return RUN_BUDGET;
        }
        /* Of what others will handle (M5) no message is counted here. */
        if (has_queue(c) ? look_at_budget(r) : is_over_budget(r))
            return RUN_BUDGET;
    }
}

/* A program that receives may still take messages. */
static void forget_contexts(struct weft_conn *c)
{
    compress_forget_out(c);
    if (!has_queue(c))
        compress_forget_in(c);
}

/* M4 */
static void finish(struct run *r)
{
    struct weft_conn *c = r->c;
    struct endpoint *ep = c->home->endpoint;

    if (c->was_open) {
        if (ep->hooks.closed)
            ep->hooks.closed(c, ep->hooks.arg);
        if (r->opts->on_close) {
            weft_close_info info;
            conn_tell_end(c, &info);
            r->opts->on_close(c, &info, r->opts->app);
        }
        RUN_ADD(r->stats->closed, 1);
    }
    /* One that was not opened may be accepted too late just now, by a thread that sets is_squeezed. */
    if (c->was_open && c->is_squeezed)
        forget_contexts(c);
    note_time(r);
    endpoint_ref(ep);
    conn_unref(c);
    endpoint_one_less(ep);
    endpoint_unref(ep);
}

static void fail(struct weft_conn *c) ON_WORKER
{
    if (has_queue(c))
        straight_fail(c);
    else
        outbox_close(c, c->fail_code, c->session.fault); /* without memory the I/O thread's timer does it */
}

/* Nobody handles anything of it any more; it is closed, and what had arrived is handed on. */
static bool is_over(struct weft_conn *c) ON_WORKER
{
    return !c->was_open || !has_queue(c) || straight_end(c, todo(c, CONN_EVENT_RETURNED));
}

bool mailbox_run(struct weft_conn *c, struct run_stats *stats, uint64_t *now_ns)
{
    struct run r = {.c = c,
                    .opts = &c->home->settings->opts,
                    .stats = stats,
                    .start_ns = *now_ns,
                    .now_ns = *now_ns,
                    .stride = CLOCK_STRIDE};
    enum run_result result;
    bool again;

    look_again_in(&r, CLOCK_STRIDE);
    note_handover(&r);
    inbox_begin(&c->inbox);
    take_events(c);
    if (c->todo)
        begin(&r);
    result = handle_messages(&r);
    count_handled(&r);
    if (result == RUN_EMPTY && c->todo & CONN_EVENT_CLOSED && is_over(c)) {
        finish(&r);
        *now_ns = r.now_ns;
        return false;
    }
    if (result == RUN_EMPTY && todo(c, CONN_EVENT_FAILED))
        fail(c);
    resume_reading(&r, few_left(c, r.opts->inbox_low));
    if (todo(c, CONN_EVENT_DRAIN) && r.opts->on_drain)
        r.opts->on_drain(c, r.opts->app);
    note_time(&r);
    *now_ns = r.now_ns;
    if (result == RUN_BUDGET) {
        inbox_yield(&c->inbox);
        again = true;
    } else {
        again = !inbox_end(&c->inbox);
    }
    return again;
}
