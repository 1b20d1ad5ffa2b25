/* Waiting for a connection's end, and for Pongs; see waits.h. */
#include "core/waits.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/order.h"
#include "core/conn.h"
#include "sync/turn.h"

/* Of our own Pings: no other has so many bytes unless the program wants it. */
#define PING_BYTES 12u
static const char ping_mark[4] = {'w', 'e', 'f', 't'};

struct ping {
    uint64_t number, sent_ns, answered_ns; /* 0: not yet */
    struct ping *next;
};

struct waits {
    struct turn turn; /* of is_closed, and of answers */
    pthread_mutex_t lock;
    struct ping *first, *last; /* under lock; P1 */
    uint64_t number;           /* under lock */
};

static void init_waits(void *part)
{
    struct waits *w = part;

    pthread_mutex_init(&w->lock, NULL);
    turn_init(&w->turn);
}

void waits_free(struct waits *w)
{
    if (!w)
        return;
    pthread_mutex_destroy(&w->lock);
    mem_free(w);
}

static struct waits *make_waits(struct weft_conn *c)
{
    struct conn_more *more = conn_make_more(c);

    return more ? conn_make_part((void *_Atomic *)&more->waits, sizeof(struct waits), init_waits) : NULL;
}

/* NULL: nobody has waited. */
static struct waits *waits_of(struct weft_conn *c)
{
    struct conn_more *more = conn_more(c);

    return more ? atomic_load_explicit(&more->waits, ORDER(CONN_MORE, memory_order_acquire)) : NULL;
}

void waits_tell(struct weft_conn *c)
{
    turn_next(&waits_of(c)->turn);
}

static bool is_closed(struct weft_conn *c)
{
    return atomic_load_explicit(&c->is_closed, ORDER(CLOSE_INFO, memory_order_acquire));
}

/* acq_rel: behind the I/O thread's, it brings what was written before that; before it, it is found. */
static void ask_for_end(struct weft_conn *c)
{
    atomic_fetch_or_explicit(&c->drain, CONN_DRAIN_END, memory_order_seq_cst);
}

/* WEFT_E_CLOSED: it has ended. */
static int wait_until(struct weft_conn *c, uint64_t until_ns)
{
    struct waits *w;

    if (is_closed(c))
        return WEFT_E_CLOSED;
    w = make_waits(c);
    if (!w)
        return WEFT_E_NOMEM;
    for (;;) {
        uint32_t seen = turn_look(&w->turn);
        int rc;

        ask_for_end(c);
        if (is_closed(c))
            return WEFT_E_CLOSED;
        rc = turn_wait(&w->turn, seen, until_ns);
        if (rc != WEFT_OK)
            return rc;
    }
}

int waits_closed(struct weft_conn *c, uint32_t timeout_ms)
{
    int rc = wait_until(c, turn_until_ns(timeout_ms));

    return rc == WEFT_E_CLOSED ? WEFT_OK : rc;
}

int waits_sleep(struct weft_conn *c, uint32_t ms)
{
    int rc = wait_until(c, turn_until_ns(ms));

    return rc == WEFT_E_TIMEOUT ? WEFT_OK : rc;
}

/* --- Pings --- */

static void write_payload(uint8_t payload[PING_BYTES], uint64_t number)
{
    memcpy(payload, ping_mark, sizeof ping_mark);
    memcpy(payload + sizeof ping_mark, &number, sizeof number);
}

static int send_ping(struct weft_conn *c, struct waits *w, struct ping *p)
{
    uint8_t payload[PING_BYTES];
    int rc;

    pthread_mutex_lock(&w->lock);
    p->number = ++w->number;
    p->sent_ns = clock_now_ns();
    write_payload(payload, p->number);
    rc = outbox_ping(c, payload, sizeof payload);
    if (rc == WEFT_OK) {
        if (w->first)
            w->last->next = p;
        else
            w->first = p;
        w->last = p;
    }
    pthread_mutex_unlock(&w->lock);
    return rc;
}

/* P2. Under the lock. */
static void take_out(struct waits *w, struct ping *p)
{
    struct ping *before = NULL;

    for (struct ping *q = w->first; q != p; q = q->next)
        before = q;
    if (before)
        before->next = p->next;
    else
        w->first = p->next;
    if (w->last == p)
        w->last = before;
}

/* Under the lock, given up while it waits. */
static int wait_for_answer(struct weft_conn *c, struct waits *w, const struct ping *p, uint64_t until_ns)
{
    while (!p->answered_ns) {
        uint32_t seen = turn_look(&w->turn);
        int rc;

        ask_for_end(c);
        if (is_closed(c))
            return WEFT_E_CLOSED;
        pthread_mutex_unlock(&w->lock);
        rc = turn_wait(&w->turn, seen, until_ns);
        pthread_mutex_lock(&w->lock);
        if (rc != WEFT_OK && !p->answered_ns)
            return rc;
    }
    return WEFT_OK;
}

static uint32_t microseconds(uint64_t ns)
{
    return ns / 1000 < UINT32_MAX ? (uint32_t)(ns / 1000) : UINT32_MAX;
}

int waits_ping(struct weft_conn *c, uint32_t timeout_ms, uint32_t *latency_us)
{
    uint64_t until_ns = turn_until_ns(timeout_ms);
    struct waits *w = make_waits(c);
    struct ping p = {0};
    int rc;

    if (!w)
        return WEFT_E_NOMEM;
    rc = send_ping(c, w, &p);
    if (rc != WEFT_OK)
        return rc;
    pthread_mutex_lock(&w->lock);
    rc = wait_for_answer(c, w, &p, until_ns);
    if (!p.answered_ns)
        take_out(w, &p);
    pthread_mutex_unlock(&w->lock);
    if (rc == WEFT_OK && latency_us)
        *latency_us = microseconds(p.answered_ns - p.sent_ns);
    return rc;
}

/* Of which of ours; NULL: of none that waits. */
static struct ping *find(struct waits *w, const char *payload, size_t bytes)
{
    uint8_t own[PING_BYTES];

    if (bytes != PING_BYTES)
        return NULL;
    for (struct ping *p = w->first; p; p = p->next) {
        write_payload(own, p->number);
        if (memcmp(payload, own, sizeof own) == 0)
            return p;
    }
    return NULL;
}

void waits_pong(struct weft_conn *c, const char *payload, size_t bytes)
{
    struct waits *w = waits_of(c);
    struct ping *answered;

    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    answered = find(w, payload, bytes);
    while (answered) {
        struct ping *p = w->first;

        w->first = p->next;
        p->answered_ns = clock_now_ns();
        if (p == answered)
            break;
    }
    pthread_mutex_unlock(&w->lock);
    if (answered)
        turn_next(&w->turn);
}
