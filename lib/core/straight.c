/* Straight-line connections; see straight.h for G1 to G6. */
#include "core/straight.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "core/compress.h"
#include "core/conn.h"
#include "core/crew.h"
#include "core/io_thread.h"
#include "core/mailbox.h"
#include "core/slots.h"
#include "core/whole.h"
#include "sync/turn.h"

struct straight {
    pthread_mutex_t lock;
    struct turn turn; /* of the queue, of is_failed and has_ended */
    /* Under lock: */
    struct node *first, *last;
    weft_msg *ready;    /* G5 */
    uint32_t count;     /* in the queue */
    unsigned receiving; /* threads in straight_recv */
    unsigned running;   /* 1 for the handler; consumers of callbacks */
    bool is_failed;     /* G2: a Close is to be sent */
    bool has_ended;     /* nothing more comes */
    bool discards;      /* G4 */
    struct whole whole; /* of parts, for who asks for whole messages */

    atomic_bool has_returned; /* (a) set by who ends last, taken by io */
    struct crew_job job;      /* the handler's */
    struct weft_conn *conn;   /* (c) */
    struct slot_wait wait;    /* under the lock of the slots */
};

/* One of several threads that call on_message. */
struct consumer {
    struct crew_job job;
    struct weft_conn *conn;
};

static void init_straight(void *part)
{
    struct straight *s = part;

    pthread_mutex_init(&s->lock, NULL);
    turn_init(&s->turn);
}

static void free_list(struct node *n)
{
    while (n) {
        struct node *next = n->next;
        weft_msg_unref(msg_of(n));
        n = next;
    }
}

void straight_free(struct straight *s)
{
    if (!s)
        return;
    free_list(s->first);
    if (s->ready)
        msg_free(s->ready);
    whole_drop(&s->whole);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

static struct straight *straight_of(struct weft_conn *c)
{
    struct conn_more *more = conn_more(c);

    return more ? atomic_load_explicit(&more->straight, ORDER(CONN_MORE, memory_order_acquire)) : NULL;
}

int straight_make(struct weft_conn *c)
{
    struct conn_more *more = conn_make_more(c);
    struct straight *s =
        more ? conn_make_part((void *_Atomic *)&more->straight, sizeof *s, init_straight) : NULL;

    if (!s)
        return WEFT_E_NOMEM;
    s->conn = c;
    return WEFT_OK;
}

struct slot_wait *straight_wait(struct weft_conn *c)
{
    struct straight *s = straight_of(c);

    return s ? &s->wait : NULL;
}

/* --- the queue; under the lock --- */

static weft_msg *pop(struct straight *s)
{
    struct node *n = s->first;

    if (!n)
        return NULL;
    s->first = n->next;
    s->count--;
    return msg_of(n);
}

/* G3, when the last one ends. */
static bool must_tell(const struct straight *s)
{
    return s->running == 0 && s->has_ended;
}

/* G2. True: the caller sends the Close. */
static bool takes_failure(struct straight *s)
{
    bool is_due = s->is_failed && !s->first;

    if (is_due)
        s->is_failed = false;
    return is_due;
}

/* --- outside the lock --- */

static void send_failure(struct weft_conn *c)
{
    outbox_close(c, c->fail_code, c->session.fault); /* C8; without memory the I/O thread's timer does it */
}

/* G1 */
static void note_taken(struct weft_conn *c, uint32_t messages, uint32_t bytes, bool is_low)
{
    if (!messages)
        return;
    mailbox_count_handled(c, messages, bytes);
    if (is_low)
        mailbox_resume_reading(c);
}

static void tell_return(struct weft_conn *c, struct straight *s)
{
    /* Relaxed: the link to the dirty list carries it over. */
    atomic_store_explicit(&s->has_returned, true, memory_order_relaxed);
    io_thread_link_dirty(c->home->io, c);
}

bool straight_take_return(struct weft_conn *c)
{
    struct straight *s = straight_of(c);

    return s && atomic_exchange_explicit(&s->has_returned, false, memory_order_relaxed);
}

/* --- the handler --- */

static void discard_rest(struct weft_conn *c, struct straight *s)
{
    uint32_t messages = 0, bytes = 0;
    struct node *list;

    pthread_mutex_lock(&s->lock);
    s->discards = true;
    list = s->first;
    s->first = NULL;
    s->count = 0;
    pthread_mutex_unlock(&s->lock);
    for (struct node *n = list; n; n = n->next) {
        messages++;
        bytes += msg_of(n)->bytes;
    }
    free_list(list);
    note_taken(c, messages, bytes, true);
}

static void close_behind(struct weft_conn *c, int result)
{
    bool is_good = result == WEFT_OK || result == WEFT_E_CLOSED;

    if (!is_good)
        LOG(WEFT_LOG_WARNING, c->id, "its handler returned %d: %s", result, weft_strerror(result));
    if (outbox_close(c, is_good ? WEFT_CLOSE_NORMAL : WEFT_CLOSE_INTERNAL_ERROR, NULL) != WEFT_OK)
        conn_abort(c);
}

static void end_run(struct weft_conn *c, struct straight *s)
{
    bool is_last;

    pthread_mutex_lock(&s->lock);
    s->running--;
    is_last = must_tell(s);
    pthread_mutex_unlock(&s->lock);
    if (is_last)
        tell_return(c, s);
}

static void run_handler(struct crew_job *job)
{
    struct straight *s = (struct straight *)(void *)((char *)job - offsetof(struct straight, job));
    struct weft_conn *c = s->conn;
    struct engine *e = c->home->io->engine;
    const weft_server_opts *opts = &c->home->settings->opts;

    close_behind(c, opts->handler(c, opts->app));
    discard_rest(c, s);
    crew_is_leaving(e->crew);
    if (c->home->endpoint == &e->own)
        slots_release(&e->slots);
    end_run(c, s);
    conn_unref(c);
}

void straight_begin(struct weft_conn *c)
{
    struct straight *s = straight_of(c);

    if (!s || !c->home->settings->opts.handler)
        return;
    conn_ref(c);
    s->running = 1; /* nobody else is here yet */
    s->job.run = run_handler;
    crew_run(c->home->io->engine->crew, &s->job);
}

/* --- taking messages --- */

/* compress.h, K4 */
static void begin_taking(struct weft_conn *c, struct straight *s)
{
    if (c->is_squeezed)
        compress_begin_in(c);
    pthread_mutex_lock(&s->lock);
}

/* Behind the queue's lock was given up. */
static void end_taking(struct weft_conn *c)
{
    if (c->is_squeezed)
        compress_end_in(c);
}

/* --- several consumers of callbacks --- */

static void call_on_message(struct weft_conn *c, weft_msg *m, uint32_t bytes, bool is_low)
{
    const weft_server_opts *opts = &c->home->settings->opts;

    if (!m)
        ; /* it could not be inflated */
    else if (opts->on_message)
        opts->on_message(c, m, opts->app);
    else
        weft_msg_unref(m);
    note_taken(c, 1, bytes, is_low);
}

/* Until none is left; the caller was counted in running. */
static void consume(struct weft_conn *c, struct straight *s)
{
    uint32_t low = c->home->settings->opts.inbox_low;

    for (;;) {
        bool is_low, must_fail = false, is_last = false, is_end;
        uint32_t bytes;
        weft_msg *m;

        begin_taking(c, s);
        m = pop(s);
        is_low = s->count <= low;
        if (!m && --s->running == 0) {
            must_fail = takes_failure(s);
            is_last = must_tell(s);
        }
        pthread_mutex_unlock(&s->lock);
        bytes = m ? m->bytes : 0;
        is_end = !m;
        if (m && c->is_squeezed)
            m = compress_take(c, m);
        else if (is_last && c->is_squeezed)
            compress_forget_in(c);
        end_taking(c);
        if (must_fail)
            send_failure(c);
        if (is_last)
            tell_return(c, s);
        if (is_end)
            return;
        call_on_message(c, m, bytes, is_low);
    }
}

static void run_consumer(struct crew_job *job)
{
    struct weft_conn *c = ((struct consumer *)(void *)job)->conn;
    struct engine *e = c->home->io->engine;

    mem_free(job);
    consume(c, straight_of(c));
    crew_is_leaving(e->crew);
    slots_release(&e->slots);
    conn_unref(c);
}

static bool start_consumer(struct weft_conn *c)
{
    struct engine *e = c->home->io->engine;
    struct consumer *made = mem_alloc(sizeof *made);

    if (!made || !slots_try_take(&e->slots)) {
        mem_free(made);
        return false;
    }
    made->job.run = run_consumer;
    made->conn = c;
    conn_ref(c);
    crew_run(e->crew, &made->job);
    return true;
}

/* One for each message, as far as they are allowed and to be had; without any the worker does it. */
static void start_consumers(struct weft_conn *c, struct straight *s) ON_WORKER
{
    uint32_t most = c->home->settings->opts.handler_concurrency;

    for (;;) {
        bool wants, is_only;

        pthread_mutex_lock(&s->lock);
        wants = s->running < most && s->running < s->count;
        is_only = s->running == 0;
        s->running += wants;
        pthread_mutex_unlock(&s->lock);
        if (!wants)
            return;
        if (start_consumer(c))
            continue;
        if (is_only || !c->home->settings->opts.on_message)
            consume(c, s);
        else
            end_run(c, s);
        return;
    }
}

/* --- what arrives --- */

void straight_put(struct weft_conn *c, struct node *list)
{
    struct straight *s = straight_of(c);
    uint32_t messages = 0, bytes = 0;
    struct node *last = NULL;
    bool discards;

    for (struct node *n = list; n; n = n->next) {
        messages++;
        bytes += msg_of(n)->bytes;
        last = n;
    }
    pthread_mutex_lock(&s->lock);
    discards = s->discards;
    if (!discards) {
        if (s->first)
            s->last->next = list;
        else
            s->first = list;
        s->last = last;
        s->count += messages;
        turn_next(&s->turn);
    }
    pthread_mutex_unlock(&s->lock);
    if (discards) {
        free_list(list);
        note_taken(c, messages, bytes, true);
    } else if (!c->home->settings->is_straight) {
        start_consumers(c, s);
    }
}

void straight_fail(struct weft_conn *c)
{
    struct straight *s = straight_of(c);
    bool is_due = false;

    pthread_mutex_lock(&s->lock);
    s->is_failed = true;
    if (!c->home->settings->is_straight && s->running == 0)
        is_due = takes_failure(s);
    turn_next(&s->turn);
    pthread_mutex_unlock(&s->lock);
    if (is_due)
        send_failure(c);
}

bool straight_end(struct weft_conn *c, bool is_again)
{
    struct straight *s = straight_of(c);
    bool is_over = is_again;

    pthread_mutex_lock(&s->lock);
    if (!s->has_ended) {
        s->has_ended = true;
        is_over = s->running == 0;
        turn_next(&s->turn);
    }
    pthread_mutex_unlock(&s->lock);
    return is_over;
}

/* --- receiving; under the lock --- */

/* What one look into the queue took out of it. */
struct taken {
    uint32_t messages, bytes;
};

static weft_msg *take_queued(struct straight *s, struct taken *t)
{
    weft_msg *m = pop(s);

    if (m) {
        t->messages++;
        t->bytes += m->bytes;
    }
    return m;
}

/* Of what comes next, a part has to be inflated first. */
static bool must_inflate(const struct straight *s)
{
    const struct weft_conn *c = s->conn;

    if (!c->is_squeezed || s->ready || !c->home->settings->session.gives_parts)
        return false;
    return compress_has_part(c) || (s->first && msg_of(s->first)->is_compressed);
}

static weft_msg *take(struct straight *s, struct taken *t)
{
    weft_msg *m = s->ready;

    s->ready = NULL;
    if (m || must_inflate(s))
        return m;
    return take_queued(s, t);
}

static void put_back(struct straight *s, struct taken *t, weft_msg *m)
{
    if (m->link.kind & PART_INFLATED) {
        s->ready = m;
        return;
    }
    m->link.node.next = s->first;
    if (!s->first)
        s->last = &m->link.node;
    s->first = &m->link.node;
    s->count++;
    t->messages--;
    t->bytes -= m->bytes;
}

static int take_whole(struct weft_conn *c, struct straight *s, struct taken *t, weft_msg **out)
{
    uint64_t most = c->home->settings->opts.message_bytes_max;
    weft_msg *m;
    int rc = WEFT_E_AGAIN;

    while (rc == WEFT_E_AGAIN && (m = take(s, t)) != NULL) {
        rc = whole_add(&s->whole, m, most, out);
        if (rc == WEFT_E_NOMEM)
            put_back(s, t, m);
    }
    return rc;
}

/* WEFT_E_AGAIN: nothing for now. */
static int take_next(struct weft_conn *c, struct straight *s, struct taken *t, weft_msg **out, bool *is_last)
{
    bool in_parts = c->home->settings->opts.receive_parts;

    if (in_parts && (!is_last || whole_is_begun(&s->whole))) {
        if (is_last)
            *is_last = true;
        return take_whole(c, s, t, out);
    }
    *out = take(s, t);
    if (!*out)
        return WEFT_E_AGAIN;
    if (is_last)
        *is_last = !in_parts || (*out)->link.kind & PART_LAST;
    return WEFT_OK;
}

/* G5. The queue's lock is given up meanwhile. */
static void inflate_next(struct weft_conn *c, struct straight *s)
{
    struct taken t = {0};
    weft_msg *part = compress_has_part(c) ? NULL : take_queued(s, &t), *ready;
    bool is_low = s->count <= c->home->settings->opts.inbox_low;

    pthread_mutex_unlock(&s->lock);
    note_taken(c, t.messages, t.bytes, is_low);
    if (part)
        compress_give_part(c, part);
    ready = compress_next_piece(c);
    pthread_mutex_lock(&s->lock);
    s->ready = ready;
}

/* As take_next, of what is inflated. */
static int take_inflated(struct weft_conn *c, struct straight *s, struct taken *t, weft_msg **out, bool *is_last)
{
    int rc = take_next(c, s, t, out, is_last);

    while (rc == WEFT_E_AGAIN && must_inflate(s)) {
        inflate_next(c, s);
        rc = take_next(c, s, t, out, is_last);
    }
    return rc;
}

/* One look. WEFT_E_AGAIN: wait. WEFT_OK without a message: it could not be inflated, look again. The lock
 * is given up and taken again where something has to be done outside. */
static int look(struct weft_conn *c, struct straight *s, weft_msg **out, bool *is_last)
{
    struct taken t = {0};
    int rc = take_inflated(c, s, &t, out, is_last);
    bool must_fail = rc == WEFT_E_AGAIN && takes_failure(s);
    bool is_low = s->count <= c->home->settings->opts.inbox_low;

    if (rc == WEFT_E_AGAIN && s->has_ended)
        rc = WEFT_E_CLOSED;
    if (rc == WEFT_E_CLOSED && c->is_squeezed)
        compress_forget_in(c); /* that was the last message */
    if (!t.messages && !must_fail && rc != WEFT_E_TOO_BIG)
        return rc;
    pthread_mutex_unlock(&s->lock);
    note_taken(c, t.messages, t.bytes, is_low);
    if (rc == WEFT_OK && c->is_squeezed)
        *out = compress_take(c, *out);
    if (must_fail)
        send_failure(c);
    if (rc == WEFT_E_TOO_BIG)
        outbox_close(c, WEFT_CLOSE_TOO_BIG, "a message that is too long");
    if (rc == WEFT_E_TOO_BIG && c->is_squeezed)
        compress_fail(c, rc); /* nobody inflates the rest of it */
    pthread_mutex_lock(&s->lock);
    return rc;
}

static int wait_for_message(struct weft_conn *c, struct straight *s, weft_msg **out, bool *is_last,
                            uint32_t timeout_ms)
{
    uint64_t until_ns = timeout_ms ? turn_until_ns(timeout_ms) : 0;

    for (;;) {
        uint32_t seen = turn_look(&s->turn);
        int rc = look(c, s, out, is_last);

        if (rc == WEFT_OK && !*out)
            continue;
        if (rc != WEFT_E_AGAIN)
            return rc;
        if (!timeout_ms)
            return WEFT_E_TIMEOUT;
        pthread_mutex_unlock(&s->lock);
        end_taking(c);
        rc = turn_wait(&s->turn, seen, until_ns);
        begin_taking(c, s);
        if (rc != WEFT_OK)
            return rc;
    }
}

int straight_recv(struct weft_conn *c, weft_msg **out, bool *is_last, uint32_t timeout_ms)
{
    struct straight *s = c->home->settings->is_straight ? straight_of(c) : NULL;
    int rc = WEFT_E_STATE;

    if (!s || (timeout_ms && thr_kind() == THR_IO))
        return WEFT_E_STATE;
    begin_taking(c, s);
    if (s->receiving < c->home->settings->opts.handler_concurrency) {
        s->receiving++;
        rc = wait_for_message(c, s, out, is_last, timeout_ms);
        s->receiving--;
    }
    pthread_mutex_unlock(&s->lock);
    end_taking(c);
    return rc;
}
