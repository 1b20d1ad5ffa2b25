/* Backpressure in both directions, from end to end (promise P7): what is not handled is not read, what is
 * not read by the peer blocks its sender, and everything in between is bounded. */
#include "e2e_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define KIB ((size_t)1024)
#define MIB (KIB * KIB)

static void pass_gate(weft_conn *c, weft_msg *m, struct seen *s)
{
    (void)c;
    if (!gate_pass(s->t->arg))
        e2e_fault(s->t, "the gate stayed shut");
    weft_msg_unref(m);
}

static uint8_t *frames_of(size_t count, size_t bytes, size_t *total)
{
    uint8_t *all = malloc(count * (bytes + 14)), *payload = calloc(1, bytes ? bytes : 1);
    size_t at = 0;

    for (size_t i = 0; i < count; i++)
        at += client_frame(all + at, 0x82, payload, bytes);
    free(payload);
    *total = at;
    return all;
}

/* --- a handler that is slower than its peer --- */

POOL_MODES(a_handler_that_does_not_return_stops_the_reading_until_it_does)
{
    enum { COUNT = 16384, BYTES = 1024 };
    struct gate *g = &t->gate;
    size_t total, gone = 0;
    uint8_t *all = frames_of(COUNT, BYTES, &total);
    struct client k;
    weft_stats s;

    t->on_message = pass_gate;
    t->arg = g;
    client_buffer_bytes(0, 64 * 1024);
    t->socket_bytes = 64 * 1024;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    PUT_UNTIL(&k, all, total, gone, e2e_stats(t).read_pauses >= 1);
    CU_ASSERT(gone < total);
    s = e2e_stats(t);
    /* One read's worth beyond the mark at most; the rest stays with the kernel. */
    CU_ASSERT(s.bytes_in < 2 * MIB);
    CU_ASSERT(s.messages_in <= 32);
    gate_open(g);
    CU_ASSERT(client_put(&k, all + gone, total - gone));
    WAIT_FOR(t->messages == COUNT);
    free(all);
    client_close(&k);
}

POOL_MODES(large_messages_stop_the_reading_by_their_bytes)
{
    enum { COUNT = 32 };
    struct gate *g = &t->gate;
    size_t total, gone = 0;
    uint8_t *all = frames_of(COUNT, MIB, &total);
    struct client k;

    t->on_message = pass_gate;
    t->arg = g;
    client_buffer_bytes(0, 64 * 1024);
    t->socket_bytes = 64 * 1024;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    PUT_UNTIL(&k, all, total, gone, e2e_stats(t).read_pauses >= 1);
    CU_ASSERT(e2e_stats(t).messages_in <= 3);
    gate_open(g);
    CU_ASSERT(client_put(&k, all + gone, total - gone));
    WAIT_FOR(t->messages == COUNT);
    free(all);
    client_close(&k);
}

POOL_MODES(other_connections_are_read_while_one_is_not)
{
    struct gate *g = &t->gate;
    size_t total;
    uint8_t *all = frames_of(64, 16, &total);
    struct client k, other;

    t->on_message = pass_gate;
    t->arg = g;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_put(&k, all, total));
    WAIT_FOR(e2e_stats(t).read_pauses >= 1);
    CU_ASSERT(e2e_open(t, &other));
    CU_ASSERT(client_send(&other, CLIENT_PING, "there?", 6));
    {
        struct frame f;
        CU_ASSERT_EQUAL(client_next(&other, &f), CLIENT_OK);
        CU_ASSERT(frame_is(&f, CLIENT_PONG, "there?"));
    }
    gate_open(g);
    WAIT_FOR(t->messages == 64);
    free(all);
    client_close(&k);
    client_close(&other);
}

static void one_at_a_time(weft_conn *c, weft_msg *m, struct seen *s)
{
    _Atomic unsigned *allowed = s->t->arg;

    (void)c;
    if (!COMES_TRUE(atomic_load(&s->messages) < atomic_load(allowed)))
        e2e_fault(s->t, "no message was allowed");
    weft_msg_unref(m);
}

/* The marks: reading stops at 16 and goes on at 4. */
POOL_MODES(reading_goes_on_below_the_low_mark)
{
    _Atomic unsigned allowed = 0;
    size_t total;
    uint8_t *all = frames_of(40, 16, &total);
    struct client k;
    uint64_t in;

    t->on_message = one_at_a_time;
    t->arg = &allowed;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    CU_ASSERT(client_put(&k, all, total));
    WAIT_FOR(e2e_stats(t).read_pauses == 1);
    in = e2e_stats(t).messages_in;
    CU_ASSERT_EQUAL(in, 16);
    allowed = 11; /* five are left, and no more are read */
    WAIT_FOR(t->messages == 11);
    CU_ASSERT_EQUAL(e2e_stats(t).messages_in, 16);
    allowed = 12;
    WAIT_FOR(e2e_stats(t).messages_in > 16);
    allowed = UINT32_MAX;
    WAIT_FOR(t->messages == 40);
    free(all);
    client_close(&k);
}

ALL_MODES(a_hundred_pings_in_one_write_are_all_answered)
{
    struct client k;
    uint8_t all[400 * 16];
    size_t at = 0;
    struct frame f;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    for (unsigned i = 0; i < 400; i++) {
        char text[8];
        at += client_frame(all + at, 0x89, text, (size_t)snprintf(text, sizeof text, "%u", i));
    }
    CU_ASSERT(client_put(&k, all, at));
    for (unsigned i = 0; i < 400; i++) {
        char text[8];
        snprintf(text, sizeof text, "%u", i);
        CU_ASSERT_EQUAL(client_next(&k, &f), CLIENT_OK);
        if (!frame_is(&f, CLIENT_PONG, text)) {
            CU_FAIL("a Pong is missing or in the wrong place");
            break;
        }
    }
    client_close(&k);
}

ALL_MODES(pongs_for_a_peer_that_does_not_read_are_bounded)
{
    enum { COUNT = 60000 };
    uint8_t *all = malloc((size_t)COUNT * 132);
    static const uint8_t payload[125] = {'p'};
    size_t at = 0, gone;
    struct client k;
    struct frame f = {0};
    weft_conn *c;
    unsigned pongs = 0;

    client_buffer_bytes(4096, 64 * 1024);
    t->socket_bytes = 64 * 1024;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    for (unsigned i = 0; i < COUNT; i++)
        at += client_frame(all + at, 0x89, payload, sizeof payload);
    gone = client_put_until_full(&k, all, at, 100);
    CU_ASSERT(gone < at);
    CU_ASSERT(weft_conn_outbox_bytes(c) <= 66 * (127 + 64));
    /* Once it reads, the rest of what went is answered; the last one may be cut. */
    while (pongs < gone / 131 && client_next(&k, &f) == CLIENT_OK && f.opcode == CLIENT_PONG)
        pongs++;
    CU_ASSERT_EQUAL(pongs, gone / 131);
    weft_conn_unref(c);
    free(all);
    client_close(&k);
}

/* --- a peer that is slower than its sender --- */

struct producer {
    pthread_t thread;
    weft_conn *conn;
    _Atomic unsigned sent;
    _Atomic int rc;
    atomic_bool is_done;
};

static void *produce_until_closed(void *arg)
{
    struct producer *p = arg;

    for (;;) {
        int rc = e2e_send(p->conn, e2e_bytes(16 * KIB, 'x'));
        if (rc != WEFT_OK) {
            atomic_store(&p->rc, rc);
            atomic_store(&p->is_done, true);
            return NULL;
        }
        atomic_fetch_add(&p->sent, 1);
    }
}

static void begin_producing(struct producer *p, weft_conn *c)
{
    memset(p, 0, sizeof *p);
    p->conn = c;
    pthread_create(&p->thread, NULL, produce_until_closed, p);
}

/* The producer is blocked: its count stands still, and the outbox is above the mark that would wake it. */
static bool blocks(struct producer *p)
{
    uint64_t until_us = 0;
    unsigned before;

    do {
        struct timespec pause = {.tv_nsec = 30000000};
        before = atomic_load(&p->sent);
        nanosleep(&pause, NULL);
        if (atomic_load(&p->is_done))
            return false;
    } while ((before != atomic_load(&p->sent) || weft_conn_outbox_bytes(p->conn) <= 16 * KIB) &&
             !e2e_is_past(&until_us));
    return weft_conn_outbox_bytes(p->conn) > 16 * KIB;
}

ALL_MODES(send_blocks_while_the_peer_does_not_read_and_goes_on_when_it_does)
{
    struct producer p;
    struct client k;
    struct frame f = {0};
    weft_conn *c;
    unsigned got = 0, until;

    client_buffer_bytes(64 * 1024, 0);
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    begin_producing(&p, c);
    CU_ASSERT(blocks(&p));
    CU_ASSERT(weft_conn_outbox_bytes(c) <= 64 * KIB + 17 * KIB);
    until = p.sent + 1000;
    while (got < until && client_next(&k, &f) == CLIENT_OK)
        got++;
    CU_ASSERT_EQUAL(got, until);
    weft_conn_close(c, 1000, NULL);
    CU_ASSERT_EQUAL(client_skip_to_close(&k), 1000);
    pthread_join(p.thread, NULL);
    CU_ASSERT_EQUAL(p.rc, WEFT_E_CLOSED);
    weft_conn_unref(c);
    client_close(&k);
}

static void by_waiting(struct e2e *t, weft_conn *c, struct client *k)
{
    (void)c, (void)k;
    WAIT_FOR(t->closed == 1);
    CU_ASSERT_EQUAL(t->seen[0]->info.error, WEFT_E_TIMEOUT);
}

static void a_blocked_sender_is_woken(struct e2e *t,
                                      void (*end)(struct e2e *t, weft_conn *c, struct client *k))
{
    struct producer p[3];
    struct client k;
    weft_conn *c;

    client_buffer_bytes(64 * 1024, 0);
    t->socket_bytes = 64 * 1024;
    t->opts.close_timeout_ms = 200; /* the peer reads nothing: its Close will not come */
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    for (int i = 0; i < 3; i++)
        begin_producing(&p[i], c);
    for (int i = 0; i < 3 && end != by_waiting; i++) /* it may be over before all were seen */
        CU_ASSERT(blocks(&p[i]));
    end(t, c, &k);
    for (int i = 0; i < 3; i++) {
        pthread_join(p[i].thread, NULL);
        CU_ASSERT_EQUAL(p[i].rc, WEFT_E_CLOSED);
    }
    weft_conn_unref(c);
    client_close(&k);
}

static void by_close(struct e2e *t, weft_conn *c, struct client *k)
{
    (void)t, (void)k;
    CU_ASSERT_EQUAL(weft_conn_close(c, 1000, NULL), WEFT_OK);
}

static void by_abort(struct e2e *t, weft_conn *c, struct client *k)
{
    (void)t, (void)k;
    weft_conn_abort(c);
}

static void by_stop(struct e2e *t, weft_conn *c, struct client *k)
{
    (void)c, (void)k;
    e2e_stop(t, 0);
}

static void by_reset(struct e2e *t, weft_conn *c, struct client *k)
{
    (void)t, (void)c;
    client_reset(k);
}

static void by_peers_close(struct e2e *t, weft_conn *c, struct client *k)
{
    (void)t, (void)c;
    client_say_close(k, 1000);
}

ALL_MODES(close_wakes_blocked_senders)
{
    a_blocked_sender_is_woken(t, by_close);
}
ALL_MODES(abort_wakes_blocked_senders)
{
    a_blocked_sender_is_woken(t, by_abort);
}
ALL_MODES(stop_wakes_blocked_senders)
{
    a_blocked_sender_is_woken(t, by_stop);
}
ALL_MODES(a_reset_wakes_blocked_senders)
{
    a_blocked_sender_is_woken(t, by_reset);
}
/* Inline, nothing is read from a peer that does not read: there the write timeout ends it. */
POOL_MODES(the_peers_close_wakes_blocked_senders)
{
    a_blocked_sender_is_woken(t, by_peers_close);
}

ALL_MODES(a_peer_that_takes_nothing_is_dropped_by_the_write_timeout)
{
    t->opts.write_timeout_ms = 300;
    a_blocked_sender_is_woken(t, by_waiting);
}

ALL_MODES(try_send_says_again_and_on_drain_tells_when_there_is_room)
{
    struct client k;
    struct frame f = {0};
    weft_conn *c;
    weft_msg *m = e2e_bytes(4 * KIB, 'x');
    unsigned sent = 0, got = 0;
    int rc;

    client_buffer_bytes(64 * 1024, 0);
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    while ((rc = weft_conn_try_send(c, weft_msg_ref(m))) == WEFT_OK)
        sent++;
    weft_msg_unref(m); /* the reference that was not taken */
    CU_ASSERT_EQUAL(rc, WEFT_E_AGAIN);
    weft_msg_unref(m);
    weft_conn_unref(c);
    while (got < sent && client_next(&k, &f) == CLIENT_OK)
        got += f.opcode == CLIENT_BINARY;
    CU_ASSERT_EQUAL(got, sent);
    WAIT_FOR(t->drains >= 1);
    client_close(&k);
}

/* Sends only from on_open and on_drain, only as much as there is room for; s->number counts what is left to
 * send. */
static void produce_while_there_is_room(weft_conn *c, struct seen *s)
{
    while (atomic_load(&s->number)) {
        weft_msg *m = e2e_bytes(200, 'x');
        int rc = weft_conn_try_send(c, m);
        if (rc != WEFT_OK) {
            weft_msg_unref(m);
            if (rc != WEFT_E_AGAIN && rc != WEFT_E_CLOSED)
                e2e_fault(s->t, "try_send: %s", weft_error_name(rc));
            return;
        }
        atomic_fetch_sub(&s->number, 1);
    }
}

static void begin_number(weft_conn *c, struct seen *s)
{
    atomic_store(&s->number, *(unsigned *)s->t->arg);
    produce_while_there_is_room(c, s);
}

ALL_MODES(a_producer_that_obeys_on_drain_alone_never_stalls)
{
    enum { CONNS = 4 };
    unsigned wanted = unit_is_slow() ? 4000 : 40000;
    struct client k[CONNS];

    t->on_open = begin_number;
    t->on_drain = produce_while_there_is_room;
    t->arg = &wanted;
    t->opts.outbox_high_bytes = 1024;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT(client_open(&k[i], t->port));
    for (int i = 0; i < CONNS; i++) {
        unsigned got = 0;
        struct frame f;
        while (got < wanted && client_next(&k[i], &f) == CLIENT_OK)
            got++;
        CU_ASSERT_EQUAL(got, wanted);
    }
    for (int i = 0; i < CONNS; i++)
        client_close(&k[i]);
}

/* Several threads fill the outbox at once; each waits for the next on_drain when it is told AGAIN. */
struct drainer {
    pthread_t thread;
    struct seen *seen;
    weft_conn *conn;
    unsigned wanted, left;
};

static void *produce_by_drains(void *arg)
{
    struct drainer *d = arg;

    while (d->left) {
        unsigned drains = atomic_load(&d->seen->drains);
        weft_msg *m = e2e_bytes(300, 'x');
        int rc = weft_conn_try_send(d->conn, m);
        if (rc == WEFT_OK) {
            d->left--;
            continue;
        }
        weft_msg_unref(m);
        if (rc != WEFT_E_AGAIN || !COMES_TRUE(atomic_load(&d->seen->drains) != drains))
            break;
    }
    return NULL;
}

ALL_MODES(every_again_is_followed_by_a_drain)
{
    enum { THREADS = 3 };
    unsigned wanted = unit_is_slow() ? 500 : 3000, got = 0;
    struct drainer d[THREADS];
    struct client k;
    struct frame f;
    weft_conn *c;

    t->opts.outbox_high_bytes = 1024;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    for (int i = 0; i < THREADS; i++) {
        d[i] = (struct drainer){.seen = t->seen[0], .conn = c, .left = wanted};
        pthread_create(&d[i].thread, NULL, produce_by_drains, &d[i]);
    }
    while (got < THREADS * wanted && client_next(&k, &f) == CLIENT_OK)
        got++;
    CU_ASSERT_EQUAL(got, THREADS * wanted);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(d[i].thread, NULL);
        CU_ASSERT_EQUAL(d[i].left, 0);
    }
    weft_conn_unref(c);
    client_close(&k);
}

static bool again_said(weft_conn *c, weft_msg *m)
{
    int rc = weft_conn_try_send(c, weft_msg_ref(m));

    if (rc != WEFT_OK)
        weft_msg_unref(m); /* the reference that was not taken */
    return rc == WEFT_E_AGAIN;
}

/* A Pong does not fill the outbox by the program's doing, but AGAIN is AGAIN. */
ALL_MODES(again_because_of_pongs_is_followed_by_a_drain_too)
{
    enum { COUNT = 60000 };
    uint8_t *all = malloc((size_t)COUNT * 132);
    static const uint8_t payload[125] = {'p'};
    struct client k;
    struct frame f;
    size_t at = 0, gone = 0;
    unsigned pongs = 0;
    weft_conn *c;
    weft_msg *m = e2e_bytes(100, 'x');

    t->opts.outbox_high_bytes = 1024;
    client_buffer_bytes(4096, 64 * 1024);
    t->socket_bytes = 64 * 1024;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    for (unsigned i = 0; i < COUNT; i++)
        at += client_frame(all + at, 0x89, payload, sizeof payload);
    /* An I/O thread that was late with its Pongs may take a message or two first. */
    PUT_UNTIL(&k, all, at, gone, weft_conn_outbox_bytes(c) > 1024 && again_said(c, m));
    CU_ASSERT(gone < at);
    while (pongs < gone / 131 && client_next(&k, &f) == CLIENT_OK)
        pongs += f.opcode == CLIENT_PONG;
    CU_ASSERT_EQUAL(pongs, gone / 131);
    WAIT_FOR(t->drains >= 1);
    weft_msg_unref(m);
    weft_conn_unref(c);
    free(all);
    client_close(&k);
}

static void echo_twice(weft_conn *c, weft_msg *m, struct seen *s)
{
    (void)s;
    e2e_send(c, weft_msg_ref(m));
    e2e_send(c, m);
}

/* An echo whose client writes and never reads: neither side may grow, and nobody else may notice. */
ALL_MODES(an_echo_to_a_peer_that_never_reads_is_bounded_and_harms_nobody)
{
    enum { COUNT = 20000, BYTES = 1024 };
    size_t total, gone;
    uint8_t *all = frames_of(COUNT, BYTES, &total);
    struct client k, other;
    weft_conn *c;
    struct frame f = {0};
    unsigned got = 0;

    t->on_message = echo_twice;
    client_buffer_bytes(64 * 1024, 64 * 1024);
    t->socket_bytes = 64 * 1024;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    gone = client_put_until_full(&k, all, total, 100);
    CU_ASSERT(gone < total);
    CU_ASSERT(weft_conn_outbox_bytes(c) < MIB + 128 * KIB);
    weft_conn_unref(c);
    CU_ASSERT(client_open(&other, t->port));
    for (int i = 0; i < 50; i++) {
        CU_ASSERT(client_say(&other, "still here?"));
        CU_ASSERT(client_hears(&other, "still here?"));
        CU_ASSERT(client_hears(&other, "still here?"));
    }
    while (got < 2 * (gone / (BYTES + 8)) && client_next(&k, &f) == CLIENT_OK && f.bytes == BYTES)
        got++;
    CU_ASSERT_EQUAL(got, 2 * (gone / (BYTES + 8)));
    free(all);
    client_close(&k);
    client_close(&other);
}

/* --- slow readers and broadcasts --- */

static int broadcast_numbered(struct e2e *t, uint32_t number, size_t bytes)
{
    weft_msg *m;
    void *payload;
    int rc = weft_msg_new_raw(&m, WEFT_BINARY, bytes, &payload);

    if (rc != WEFT_OK)
        return rc;
    memset(payload, 0, bytes);
    memcpy(payload, &number, sizeof number);
    rc = weft_group_broadcast(weft_server_group(t->server), m, NULL);
    if (rc != WEFT_OK)
        weft_msg_unref(m);
    return rc;
}

static uint32_t number_in(const struct frame *f)
{
    uint32_t n = UINT32_MAX;

    if (f->bytes >= sizeof n)
        memcpy(&n, f->payload, sizeof n);
    return n;
}

/* What the system keeps for a socket; left to itself it may take all that these cases send. */
#define SOCKET_BYTES (64 * 1024)

/* A slow client, and a reading one that gets every number in order. */
static void broadcast_to_slow_and_quick(struct e2e *t, struct client *slow, unsigned count, size_t bytes)
{
    struct client quick;
    struct frame f;
    unsigned in_order = 0;

    client_buffer_bytes(SOCKET_BYTES, 0);
    CU_ASSERT(e2e_open(t, slow));
    client_buffer_bytes(0, 0);
    CU_ASSERT(e2e_open(t, &quick));
    for (unsigned i = 0; i < count; i++) {
        CU_ASSERT_EQUAL(broadcast_numbered(t, i, bytes), WEFT_OK);
        if (client_hear(&quick, &f) != CLIENT_OK || number_in(&f) != i)
            break;
        in_order++;
    }
    CU_ASSERT_EQUAL(in_order, count);
    client_close(&quick);
}

ALL_MODES(a_slow_reader_of_broadcasts_is_closed_with_1008)
{
    struct client slow;
    struct frame f = {0};
    weft_stats s;
    unsigned got = 0;

    t->opts.slow_policy = WEFT_SLOW_CLOSE;
    t->socket_bytes = SOCKET_BYTES;
    CU_ASSERT_FATAL(e2e_start(t));
    broadcast_to_slow_and_quick(t, &slow, 1500, 16 * KIB);
    /* Its I/O thread may be another one than the quick reader's, and late on a busy machine. */
    WAIT_FOR(e2e_stats(t).closed_slow == 1);
    while (client_next(&slow, &f) == CLIENT_OK && f.opcode == CLIENT_BINARY && number_in(&f) == got)
        got++;
    CU_ASSERT_EQUAL(f.opcode, CLIENT_CLOSE);
    CU_ASSERT_EQUAL(frame_code(&f), 1008);
    client_close(&slow);
    WAIT_FOR(t->closed == 2);
    CU_ASSERT_EQUAL(t->seen[0]->info.sent_code, 1008);
    CU_ASSERT_EQUAL(t->seen[0]->info.error, WEFT_E_TOO_BIG);
    s = e2e_stats(t);
    CU_ASSERT_EQUAL(s.dropped_oldest, 0);
    CU_ASSERT_EQUAL(s.messages_out, 1500 + got);
}

ALL_MODES(drop_newest_keeps_what_is_queued_and_counts_the_rest)
{
    enum { COUNT = 1500 };
    struct client slow;
    struct frame f = {0};
    weft_stats s;
    weft_conn *c;
    unsigned got = 0, dropped;
    uint32_t last = 0;

    t->opts.slow_policy = WEFT_SLOW_DROP_NEWEST;
    t->socket_bytes = SOCKET_BYTES;
    CU_ASSERT_FATAL(e2e_start(t));
    broadcast_to_slow_and_quick(t, &slow, COUNT, 16 * KIB);
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    CU_ASSERT(weft_conn_outbox_bytes(c) <= MIB);
    s = e2e_stats(t);
    dropped = (unsigned)s.dropped_newest;
    CU_ASSERT(dropped > 0);
    CU_ASSERT_EQUAL(weft_conn_dropped(c), dropped);
    CU_ASSERT_EQUAL(s.dropped_oldest + s.closed_slow + s.dropped_closed, 0);
    while (got < COUNT - dropped && client_hear(&slow, &f) == CLIENT_OK &&
           (got == 0 || number_in(&f) > last)) {
        last = number_in(&f);
        got++;
    }
    CU_ASSERT_EQUAL(got, COUNT - dropped);
    CU_ASSERT_EQUAL(broadcast_numbered(t, 77777, 100), WEFT_OK);
    CU_ASSERT_EQUAL(client_hear(&slow, &f), CLIENT_OK);
    CU_ASSERT_EQUAL(number_in(&f), 77777);
    weft_conn_unref(c);
    client_close(&slow);
}

ALL_MODES(drop_oldest_keeps_the_latest_and_counts_the_rest)
{
    enum { COUNT = 1500 };
    struct client slow;
    struct frame f = {0};
    weft_stats s;
    weft_conn *c;
    unsigned got = 0, dropped;
    uint32_t last = 0;
    bool rises = true;

    t->opts.slow_policy = WEFT_SLOW_DROP_OLDEST;
    t->socket_bytes = SOCKET_BYTES;
    CU_ASSERT_FATAL(e2e_start(t));
    broadcast_to_slow_and_quick(t, &slow, COUNT, 16 * KIB);
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    WAIT_FOR(weft_conn_outbox_bytes(c) <= MIB);
    s = e2e_stats(t);
    CU_ASSERT(s.dropped_oldest > 0);
    CU_ASSERT_EQUAL(s.closed_slow + s.dropped_closed, 0);
    /* An I/O thread that did not get to run for so long that twice the bound came together misses new ones
     * too. */
    dropped = (unsigned)(s.dropped_oldest + s.dropped_newest);
    CU_ASSERT_EQUAL(weft_conn_dropped(c), dropped);
    while (got < COUNT - dropped && client_hear(&slow, &f) == CLIENT_OK) {
        rises &= got == 0 || number_in(&f) > last;
        last = number_in(&f);
        got++;
    }
    CU_ASSERT(rises);
    CU_ASSERT_EQUAL(got, COUNT - dropped);
    CU_ASSERT(s.dropped_newest || last == COUNT - 1);
    weft_conn_unref(c);
    client_close(&slow);
}

/* A broadcast larger than the bound still reaches who has nothing queued. */
ALL_MODES(a_message_larger_than_the_outbox_reaches_an_empty_one)
{
    struct client k;
    struct frame f = {0};

    t->opts.outbox_high_bytes = 4096;
    t->opts.outbox_bytes_max = 8192;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT_EQUAL(broadcast_numbered(t, 5, 300 * KIB), WEFT_OK);
    CU_ASSERT_EQUAL(client_hear(&k, &f), CLIENT_OK);
    CU_ASSERT_EQUAL(f.bytes, 300 * KIB);
    CU_ASSERT_EQUAL(number_in(&f), 5);
    client_close(&k);
}

static const struct unit_case cases[] = {
    CASE(a_handler_that_does_not_return_stops_the_reading_until_it_does),
    CASE(large_messages_stop_the_reading_by_their_bytes),
    CASE(other_connections_are_read_while_one_is_not),
    CASE(reading_goes_on_below_the_low_mark),
    CASE(a_hundred_pings_in_one_write_are_all_answered),
    CASE(pongs_for_a_peer_that_does_not_read_are_bounded),
    CASE(send_blocks_while_the_peer_does_not_read_and_goes_on_when_it_does),
    CASE(close_wakes_blocked_senders),
    CASE(abort_wakes_blocked_senders),
    CASE(stop_wakes_blocked_senders),
    CASE(a_reset_wakes_blocked_senders),
    CASE(the_peers_close_wakes_blocked_senders),
    CASE(a_peer_that_takes_nothing_is_dropped_by_the_write_timeout),
    CASE(try_send_says_again_and_on_drain_tells_when_there_is_room),
    CASE(a_producer_that_obeys_on_drain_alone_never_stalls),
    CASE(every_again_is_followed_by_a_drain),
    CASE(again_because_of_pongs_is_followed_by_a_drain_too),
    CASE(an_echo_to_a_peer_that_never_reads_is_bounded_and_harms_nobody),
    CASE(a_slow_reader_of_broadcasts_is_closed_with_1008),
    CASE(drop_newest_keeps_what_is_queued_and_counts_the_rest),
    CASE(drop_oldest_keeps_the_latest_and_counts_the_rest),
    CASE(a_message_larger_than_the_outbox_reaches_an_empty_one),
};
E2E_MAIN("e2e_pressure")
