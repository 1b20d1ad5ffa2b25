/* Order and lifecycle of a connection, from end to end (promises P1, P2, P3 and P4). That open comes first,
 * close last and once, and callbacks one at a time, is checked behind every case by e2e_server.c. */
#include "e2e_server.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBERS 2000u

/* Many small numbered messages in one write. */
static bool say_numbers(struct client *k, unsigned from, unsigned count)
{
    uint8_t *bytes = malloc((size_t)count * 24);
    size_t at = 0;
    bool done;

    for (unsigned i = from; i < from + count; i++) {
        char text[16];
        at += client_frame(bytes + at, 0x81, text, (size_t)snprintf(text, sizeof text, "%u", i));
    }
    done = client_put(k, bytes, at);
    free(bytes);
    return done;
}

static bool hears_numbers(struct client *k, unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count; i++) {
        char text[16];
        snprintf(text, sizeof text, "%u", i);
        if (!client_hears(k, text))
            return false;
    }
    return true;
}

static unsigned number_of(weft_msg *m)
{
    char text[16] = "";
    size_t n = weft_msg_bytes(m);

    memcpy(text, weft_msg_data(m), n < sizeof text ? n : sizeof text - 1);
    return (unsigned)strtoul(text, NULL, 10);
}

/* Takes messages and answers nothing; s->number is the next one that must come. */
static void take_number(weft_conn *c, weft_msg *m, struct seen *s)
{
    unsigned n = number_of(m);

    (void)c;
    if (n != atomic_load(&s->number))
        e2e_fault(s->t, "message %u where %u should be", n, (unsigned)s->number);
    atomic_fetch_add(&s->number, 1);
    weft_msg_unref(m);
}

ALL_MODES(messages_come_back_in_order)
{
    struct client k;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    for (unsigned i = 0; i < 10; i++) {
        CU_ASSERT(say_numbers(&k, i * 200, 200));
        CU_ASSERT(hears_numbers(&k, i * 200, 200));
    }
    CU_ASSERT(client_say_close(&k, 1000));
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT(t->seen[0]->info.clean);
    CU_ASSERT(t->seen[0]->info.by_peer);
    CU_ASSERT_EQUAL(t->seen[0]->info.received_code, 1000);
    CU_ASSERT_EQUAL(t->seen[0]->info.error, WEFT_OK);
}

/* Nothing but the bytes themselves may be needed to get the rest of them handled. */
ALL_MODES(a_consumer_that_answers_nothing_gets_all_that_came_in_one_write)
{
    struct client k;

    t->on_message = take_number;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    for (unsigned i = 0; i < 20; i++) {
        CU_ASSERT(say_numbers(&k, i * 100, 100));
        WAIT_FOR(t->messages == (i + 1) * 100);
    }
    client_close(&k);
}

static void take_number_slowly(weft_conn *c, weft_msg *m, struct seen *s)
{
    uint64_t end = e2e_now_us() + 20;

    take_number(c, m, s);
    while (e2e_now_us() < end) {
    }
}

ALL_MODES(a_slow_consumer_gets_all_in_order)
{
    struct client k[4];

    t->on_message = take_number_slowly;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < 4; i++)
        CU_ASSERT(client_open(&k[i], t->port));
    for (int i = 0; i < 4; i++)
        CU_ASSERT(say_numbers(&k[i], 0, NUMBERS));
    WAIT_FOR(t->messages == 4 * NUMBERS);
    for (int i = 0; i < 4; i++)
        client_close(&k[i]);
}

/* More connections than one publication of the I/O thread holds become ready in one turn, and none is done
 * in its first run. */
ALL_MODES(many_connections_ready_at_once_are_all_run)
{
    enum { CONNS = 150, EACH = 12 };
    struct client k[CONNS];
    struct gate *g = &t->gate;
    struct client first;

    t->on_message = take_number;
    t->opts.turn_messages_max = 1;
    t->opts.workers = t->opts.workers_max = 1;
    t->arg = g;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT(client_open(&k[i], t->port));
    CU_ASSERT(client_open(&first, t->port));
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < CONNS; i++)
            CU_ASSERT(say_numbers(&k[i], (unsigned)round * EACH, EACH));
        WAIT_FOR(t->messages == (unsigned)(round + 1) * EACH * CONNS);
    }
    for (int i = 0; i < CONNS; i++)
        client_close(&k[i]);
    client_close(&first);
}

/* --- sends --- */

static void send_then_wait(weft_conn *c, weft_msg *m, struct seen *s)
{
    e2e_send(c, m);
    if (!gate_pass(s->t->arg))
        e2e_fault(s->t, "what the handler sent did not leave while it ran");
}

POOL_MODES(a_send_leaves_while_its_handler_still_runs)
{
    struct gate *g = &t->gate;
    struct client k;

    t->on_message = send_then_wait;
    t->arg = g;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    CU_ASSERT(client_say(&k, "now"));
    CU_ASSERT(client_hears(&k, "now"));
    CU_ASSERT_EQUAL(t->messages, 0);
    gate_open(g);
    client_close(&k);
}

static void send_many_then_close(weft_conn *c, weft_msg *m, struct seen *s)
{
    weft_msg_unref(m);
    for (unsigned i = 0; i < 500; i++) {
        char text[16];
        snprintf(text, sizeof text, "%u", i);
        if (weft_conn_send_text(c, text) != WEFT_OK)
            e2e_fault(s->t, "a send failed");
    }
    if (weft_conn_close(c, 4001, "enough") != WEFT_OK)
        e2e_fault(s->t, "close failed");
    if (weft_conn_send_text(c, "late") != WEFT_E_CLOSED)
        e2e_fault(s->t, "a send behind close");
    if (weft_conn_ping(c, "late", 4) != WEFT_E_CLOSED)
        e2e_fault(s->t, "a ping behind close");
    if (weft_conn_close(c, 4002, "again") != WEFT_OK)
        e2e_fault(s->t, "a second close");
}

ALL_MODES(what_was_sent_before_close_leaves_before_the_close_frame)
{
    struct client k;
    struct frame f;

    t->on_message = send_many_then_close;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    CU_ASSERT(client_say(&k, "go"));
    CU_ASSERT(hears_numbers(&k, 0, 500));
    CU_ASSERT_EQUAL(client_next(&k, &f), CLIENT_OK);
    CU_ASSERT_EQUAL(f.opcode, CLIENT_CLOSE);
    CU_ASSERT_EQUAL(frame_code(&f), 4001);
    CU_ASSERT(f.bytes == 8 && memcmp(f.payload + 2, "enough", 6) == 0);
    client_say_close(&k, 4001);
    CU_ASSERT(client_sees_end(&k));
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT(t->seen[0]->info.clean);
    CU_ASSERT(!t->seen[0]->info.by_peer);
    CU_ASSERT_EQUAL(t->seen[0]->info.sent_code, 4001);
}

struct sender {
    pthread_t thread;
    weft_conn *conn;
    unsigned number, sent;
    int rc;
};

static void *send_numbers(void *arg)
{
    struct sender *s = arg;

    for (unsigned i = 0; i < NUMBERS; i++) {
        char text[32];
        snprintf(text, sizeof text, "%u %u", s->number, i);
        s->rc = weft_conn_send_text(s->conn, text);
        if (s->rc != WEFT_OK)
            return NULL;
        s->sent++;
    }
    return NULL;
}

ALL_MODES(each_threads_sends_arrive_in_its_order)
{
    enum { SENDERS = 4 };
    struct sender senders[SENDERS];
    unsigned next[SENDERS] = {0};
    struct client k;
    weft_conn *c;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.conn = c, .number = i};
        pthread_create(&senders[i].thread, NULL, send_numbers, &senders[i]);
    }
    for (unsigned i = 0; i < SENDERS * NUMBERS; i++) {
        char text[32] = "";
        unsigned who = SENDERS, n = 0;
        struct frame f;
        if (client_hear(&k, &f) != CLIENT_OK || f.bytes >= sizeof text)
            break;
        memcpy(text, f.payload, f.bytes);
        if (sscanf(text, "%u %u", &who, &n) != 2 || who >= SENDERS || n != next[who]++)
            break;
    }
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(senders[i].thread, NULL);
        CU_ASSERT_EQUAL(senders[i].rc, WEFT_OK);
        CU_ASSERT_EQUAL(next[i], NUMBERS);
    }
    weft_conn_unref(c);
    client_close(&k);
}

struct relay {
    weft_conn *conn;
    unsigned count;
    _Atomic unsigned turn; /* whose send is next: even one thread, odd the other */
    _Atomic unsigned failed;
};

static void *send_in_turns(void *arg, unsigned parity)
{
    struct relay *r = arg;

    for (unsigned i = parity; i < r->count; i += 2) {
        char text[16];
        while (atomic_load(&r->turn) != i)
            sched_yield();
        snprintf(text, sizeof text, "%u", i);
        if (weft_conn_send_text(r->conn, text) != WEFT_OK)
            atomic_fetch_add(&r->failed, 1);
        atomic_store(&r->turn, i + 1);
    }
    return NULL;
}

static void *send_even(void *arg)
{
    return send_in_turns(arg, 0);
}
static void *send_odd(void *arg)
{
    return send_in_turns(arg, 1);
}

ALL_MODES(a_send_that_happened_before_another_leaves_before_it)
{
    struct relay r = {.count = NUMBERS};
    pthread_t even, odd;
    struct client k;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    r.conn = e2e_take(t, 0);
    CU_ASSERT_FATAL(r.conn != NULL);
    pthread_create(&even, NULL, send_even, &r);
    pthread_create(&odd, NULL, send_odd, &r);
    CU_ASSERT(hears_numbers(&k, 0, NUMBERS));
    pthread_join(even, NULL);
    pthread_join(odd, NULL);
    CU_ASSERT_EQUAL(r.failed, 0);
    weft_conn_unref(r.conn);
    client_close(&k);
}

static void relay_in_handler(weft_conn *c, weft_msg *m, struct seen *s)
{
    (void)c;
    weft_msg_unref(m);
    send_even(s->t->arg);
}

/* The handler's sends may take a shorter way than the other thread's. */
ALL_MODES(a_handlers_sends_and_another_threads_leave_in_the_order_they_happened)
{
    struct relay r = {.count = 100}; /* below the outbox's mark: nobody waits for room */
    pthread_t odd;
    struct client k;

    t->on_message = relay_in_handler;
    t->arg = &r;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    r.conn = e2e_take(t, 0);
    CU_ASSERT_FATAL(r.conn != NULL);
    pthread_create(&odd, NULL, send_odd, &r);
    CU_ASSERT(client_say(&k, "go"));
    CU_ASSERT(hears_numbers(&k, 0, r.count));
    pthread_join(odd, NULL);
    CU_ASSERT_EQUAL(r.failed, 0);
    weft_conn_unref(r.conn);
    client_close(&k);
}

static void broadcast_then_send(weft_conn *c, weft_msg *m, struct seen *s)
{
    weft_msg *to_all = e2e_text("to all");

    weft_msg_unref(m);
    for (int i = 0; i < 50; i++) {
        if (weft_group_broadcast(weft_server_group(s->t->server), weft_msg_ref(to_all), NULL) != WEFT_OK ||
            weft_conn_send_text(c, "to one") != WEFT_OK)
            e2e_fault(s->t, "a broadcast or a send failed");
    }
    weft_msg_unref(to_all);
}

ALL_MODES(a_broadcast_followed_by_a_send_arrives_in_that_order)
{
    struct client k;

    t->on_message = broadcast_then_send;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_say(&k, "go"));
    for (int i = 0; i < 50; i++) {
        CU_ASSERT(client_hears(&k, "to all"));
        CU_ASSERT(client_hears(&k, "to one"));
    }
    client_close(&k);
}

static void send_large(weft_conn *c, weft_msg *m, struct seen *s)
{
    size_t bytes = number_of(m);
    weft_msg *large = e2e_bytes(bytes, (int)(bytes % 251));

    (void)s;
    weft_msg_unref(m);
    e2e_send(c, large);
}

ALL_MODES(messages_of_every_length_form_arrive_whole)
{
    static const size_t lengths[] = {0,    1,     125,   126,   127,    2047,   2048,
                                     2049, 65535, 65536, 65537, 300000, 1048576};
    struct client k;

    t->on_message = send_large;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char text[16];
        struct frame f = {0};
        bool same = true;
        snprintf(text, sizeof text, "%zu", lengths[i]);
        CU_ASSERT(client_say(&k, text));
        CU_ASSERT_EQUAL(client_hear(&k, &f), CLIENT_OK);
        CU_ASSERT_EQUAL(f.bytes, lengths[i]);
        for (size_t n = 0; n < f.bytes; n++)
            same &= f.payload[n] == lengths[i] % 251;
        CU_ASSERT(same);
    }
    client_close(&k);
}

/* --- endings --- */

static void abort_it(weft_conn *c, weft_msg *m, struct seen *s)
{
    (void)s;
    weft_msg_unref(m);
    weft_conn_abort(c);
}

ALL_MODES(abort_ends_without_a_closing_handshake)
{
    struct client k;
    struct frame f;

    t->on_message = abort_it;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    CU_ASSERT(client_say(&k, "go"));
    CU_ASSERT_NOT_EQUAL(client_next(&k, &f), CLIENT_OK);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT(!t->seen[0]->info.clean);
    CU_ASSERT_EQUAL(t->seen[0]->info.sent_code, 1006);
    CU_ASSERT_EQUAL(t->seen[0]->info.received_code, 1006);
    client_close(&k);
}

ALL_MODES(a_reset_by_the_peer_is_reported_once_behind_the_messages)
{
    struct client k;

    t->on_message = take_number;
    CU_ASSERT_FATAL(e2e_start(t));
    for (unsigned i = 0; i < 20; i++) {
        CU_ASSERT(client_open(&k, t->port));
        WAIT_FOR(t->opened == i + 1);
        CU_ASSERT(say_numbers(&k, 0, 10));
        WAIT_FOR(t->messages == (i + 1) * 10);
        client_reset(&k);
        WAIT_FOR(t->closed == i + 1);
        CU_ASSERT(t->seen[i]->info.by_peer);
        CU_ASSERT(!t->seen[i]->info.clean);
        CU_ASSERT_EQUAL(t->seen[i]->info.received_code, 1006);
        CU_ASSERT_EQUAL(t->seen[i]->info.error, WEFT_E_CLOSED);
    }
}

ALL_MODES(an_end_without_a_close_frame_is_1006)
{
    struct client k;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT(!t->seen[0]->info.clean);
    CU_ASSERT(t->seen[0]->info.by_peer);
    CU_ASSERT_EQUAL(t->seen[0]->info.received_code, 1006);
}

static const uint8_t unmasked[] = {0x81, 0x02, 'h', 'i'};

ALL_MODES(a_protocol_fault_ends_with_1002_and_on_close)
{
    struct client k;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_put(&k, unmasked, sizeof unmasked));
    CU_ASSERT(client_hears_close(&k, 1002));
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT_EQUAL(t->seen[0]->info.error, WEFT_E_PROTOCOL);
    CU_ASSERT_EQUAL(t->seen[0]->info.sent_code, 1002);
    CU_ASSERT(!t->seen[0]->info.clean);
}

/* The first answer has left long before the second message is handled. */
static void answer_when_told(weft_conn *c, weft_msg *m, struct seen *s)
{
    unsigned n = number_of(m);

    e2e_send(c, m);
    if (n == 0 && !gate_pass(s->t->arg))
        e2e_fault(s->t, "the gate stayed shut");
}

static bool answers_before_the_close(struct e2e *t)
{
    unsigned n = t->opened;
    struct client k;
    uint8_t bytes[128];
    size_t at = 0;
    bool good;

    atomic_store(&t->gate.is_open, 0);
    CU_ASSERT(e2e_open(t, &k));
    at += client_frame(bytes + at, 0x81, "0", 1);
    at += client_frame(bytes + at, 0x81, "1", 1);
    memcpy(bytes + at, unmasked, sizeof unmasked);
    CU_ASSERT(client_put(&k, bytes, at + sizeof unmasked));
    good = client_hears(&k, "0");
    gate_open(&t->gate);
    good = good && client_hears(&k, "1") && client_hears_close(&k, 1002);
    client_close(&k);
    WAIT_FOR(t->closed == n + 1);
    CU_ASSERT_EQUAL(t->seen[n]->messages, 2);
    return good;
}

/* The Close waits a quarter of a second for the handlers, and no longer. */
POOL_MODES(messages_before_a_fault_are_answered_before_its_close)
{
    t->on_message = answer_when_told;
    t->arg = &t->gate;
    CU_ASSERT_FATAL(e2e_start(t));
    SUCCEEDS_ONCE(answers_before_the_close(t));
}

POOL_MODES(a_fault_does_not_wait_for_ever_for_a_handler)
{
    struct gate *g = &t->gate;
    struct client k;
    uint8_t bytes[64];
    size_t at;

    t->on_message = answer_when_told;
    t->arg = g;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    at = client_frame(bytes, 0x81, "0", 1);
    memcpy(bytes + at, unmasked, sizeof unmasked);
    CU_ASSERT(client_put(&k, bytes, at + sizeof unmasked));
    CU_ASSERT(client_hears(&k, "0"));
    CU_ASSERT(client_hears_close(&k, 1002));
    CU_ASSERT_EQUAL(t->closed, 0);
    gate_open(g);
    client_close(&k);
    WAIT_FOR(t->closed == 1);
}

/* The peer's Close stands behind messages that are not handled yet. */
POOL_MODES(messages_before_the_peers_close_are_handled_before_on_close)
{
    struct gate *g = &t->gate;
    struct client k;
    uint8_t bytes[256];
    size_t at = 0;

    t->on_message = answer_when_told;
    t->arg = g;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (unsigned i = 0; i < 8; i++) {
        char digit = (char)('0' + i);
        at += client_frame(bytes + at, 0x81, &digit, 1);
    }
    at += client_frame(bytes + at, 0x88, "\x03\xe8", 2);
    CU_ASSERT(client_put(&k, bytes, at));
    CU_ASSERT_EQUAL(client_skip_to_close(&k), 1000); /* the I/O role answers it, whatever the handler does */
    CU_ASSERT_EQUAL(t->closed, 0);
    gate_open(g);
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT_EQUAL(t->seen[0]->messages, 8);
    CU_ASSERT(t->seen[0]->info.clean);
}

static void close_from_open(weft_conn *c, struct seen *s)
{
    (void)s;
    weft_conn_send_text(c, "hello");
    weft_conn_close(c, 1000, NULL);
}

ALL_MODES(on_open_may_send_and_close)
{
    struct client k;

    t->on_open = close_from_open;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    CU_ASSERT(client_hears(&k, "hello"));
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
    WAIT_FOR(t->closed == 1);
}

/* The end comes while a worker is on its way to on_open. */
ALL_MODES(a_client_that_leaves_at_once_is_opened_and_closed_or_refused)
{
    unsigned rounds = unit_is_slow() ? 300 : 800;
    weft_stats s;

    CU_ASSERT_FATAL(e2e_start(t));
    for (unsigned i = 0; i < rounds; i++) {
        struct client k;
        CU_ASSERT(client_connect(&k, t->port));
        CU_ASSERT(client_ask(&k, "/", NULL));
        if (i % 3 == 0)
            client_say(&k, "bye");
        if (i % 2)
            client_reset(&k);
        else
            client_close(&k);
    }
    WAIT_FOR((s = e2e_stats(t), s.accepted == rounds && s.refused + s.closed == rounds));
    CU_ASSERT_EQUAL(t->opened, s.opened);
    CU_ASSERT_EQUAL(t->closed, s.opened);
}

static void use_when_closed(weft_conn *c, const weft_close_info *info, struct seen *s)
{
    weft_close_info again;

    if (weft_conn_send_text(c, "late") != WEFT_E_CLOSED || weft_conn_ping(c, NULL, 0) != WEFT_E_CLOSED)
        e2e_fault(s->t, "a closed connection takes messages");
    if (weft_conn_close_info(c, &again) != WEFT_OK || again.received_code != info->received_code ||
        strcmp(again.reason, info->reason) != 0)
        e2e_fault(s->t, "close_info tells otherwise");
}

ALL_MODES(the_reason_of_the_peer_is_told)
{
    struct client k;

    t->on_close = use_when_closed;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_send(&k, CLIENT_CLOSE,
                          "\x0f\xa0"
                          "gr\xc3\xbc\xc3\x9f dich",
                          14));
    CU_ASSERT(client_hears_close(&k, 4000));
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT_STRING_EQUAL(t->seen[0]->info.reason, "gr\xc3\xbc\xc3\x9f dich");
    CU_ASSERT_EQUAL(t->seen[0]->info.received_code, 4000);
}

ALL_MODES(a_handle_outlives_its_server)
{
    weft_close_info info;
    struct client k;
    weft_group *g;
    weft_conn *c;
    char peer[64];

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    CU_ASSERT_EQUAL(weft_conn_close_info(c, &info), WEFT_E_STATE);
    e2e_stop(t, 0);
    CU_ASSERT_EQUAL(weft_conn_send_text(c, "late"), WEFT_E_CLOSED);
    CU_ASSERT_EQUAL(weft_conn_ping(c, NULL, 0), WEFT_E_CLOSED);
    CU_ASSERT_EQUAL(weft_conn_close(c, 1000, NULL), WEFT_OK);
    weft_conn_abort(c);
    weft_conn_abort(c);
    CU_ASSERT_EQUAL(weft_conn_close_info(c, &info), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_new(&g), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_add(g, c), WEFT_E_CLOSED);
    CU_ASSERT_EQUAL(weft_group_remove(g, c), WEFT_OK);
    weft_group_unref(g);
    CU_ASSERT(strncmp(weft_conn_peer(c, peer, sizeof peer), "127.0.0.1:", 10) == 0);
    CU_ASSERT_EQUAL(weft_conn_id(c), t->seen[0]->id);
    CU_ASSERT_EQUAL(weft_conn_outbox_bytes(c), 0);
    weft_conn_unref(c);
    client_close(&k);
}

/* Every thread uses the handle while it is closed by another; whatever comes first, nothing worse than
 * E_CLOSED. */
static void *use_until_closed(void *arg)
{
    struct sender *s = arg;

    do {
        s->rc = weft_conn_send_text(s->conn, "more");
        weft_conn_ping(s->conn, "p", 1);
        s->sent++;
    } while (s->rc == WEFT_OK || s->rc == WEFT_E_AGAIN);
    return NULL;
}

ALL_MODES(senders_in_other_threads_survive_every_ending)
{
    enum { SENDERS = 3, ROUNDS = 12 };

    CU_ASSERT_FATAL(e2e_start(t));
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct sender senders[SENDERS];
        struct client k;
        weft_conn *c;
        struct frame f;

        CU_ASSERT(e2e_open(t, &k));
        c = e2e_take(t, round);
        CU_ASSERT_FATAL(c != NULL);
        for (unsigned i = 0; i < SENDERS; i++) {
            senders[i] = (struct sender){.conn = c};
            pthread_create(&senders[i].thread, NULL, use_until_closed, &senders[i]);
        }
        CU_ASSERT(client_hears(&k, "more"));
        if (round % 4 == 0)
            weft_conn_abort(c);
        else if (round % 4 == 1)
            weft_conn_close(c, 1000, "bye");
        else if (round % 4 == 2)
            client_say_close(&k, 1000);
        else
            client_reset(&k);
        if (round % 4 == 1 || round % 4 == 2)
            CU_ASSERT_EQUAL(client_skip_to_close(&k), 1000);
        while (round % 4 == 0 && client_next(&k, &f) == CLIENT_OK) {
        }
        for (unsigned i = 0; i < SENDERS; i++) {
            pthread_join(senders[i].thread, NULL);
            CU_ASSERT_EQUAL(senders[i].rc, WEFT_E_CLOSED);
        }
        client_close(&k);
        weft_conn_unref(c);
        WAIT_FOR(t->closed == round + 1);
    }
}

ALL_MODES(arguments_that_cannot_be_used_are_refused)
{
    struct client k;
    weft_conn *c;
    char longest[125];

    memset(longest, 'r', sizeof longest);
    longest[124] = '\0';
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    CU_ASSERT_EQUAL(weft_conn_close(c, 1005, NULL), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_conn_close(c, 1006, NULL), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_conn_close(c, 1015, NULL), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_conn_close(c, 2999, NULL), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_conn_close(c, 5000, NULL), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_conn_close(c, 1000, longest), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_conn_close(c, 1000, "\xff"), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_conn_close(c, 0, "why"), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_conn_ping(c, longest, 126), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_conn_send(c, NULL), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_conn_send_text(c, NULL), WEFT_E_INVAL);
    longest[123] = '\0';
    CU_ASSERT_EQUAL(weft_conn_close(c, 1000, longest), WEFT_OK);
    CU_ASSERT(client_hears_close(&k, 1000));
    weft_conn_unref(c);
    client_close(&k);
}

static const struct unit_case cases[] = {
    CASE(messages_come_back_in_order),
    CASE(a_consumer_that_answers_nothing_gets_all_that_came_in_one_write),
    CASE(a_slow_consumer_gets_all_in_order),
    CASE(many_connections_ready_at_once_are_all_run),
    CASE(a_send_leaves_while_its_handler_still_runs),
    CASE(what_was_sent_before_close_leaves_before_the_close_frame),
    CASE(each_threads_sends_arrive_in_its_order),
    CASE(a_send_that_happened_before_another_leaves_before_it),
    CASE(a_handlers_sends_and_another_threads_leave_in_the_order_they_happened),
    CASE(a_broadcast_followed_by_a_send_arrives_in_that_order),
    CASE(messages_of_every_length_form_arrive_whole),
    CASE(abort_ends_without_a_closing_handshake),
    CASE(a_reset_by_the_peer_is_reported_once_behind_the_messages),
    CASE(an_end_without_a_close_frame_is_1006),
    CASE(a_protocol_fault_ends_with_1002_and_on_close),
    CASE(messages_before_a_fault_are_answered_before_its_close),
    CASE(a_fault_does_not_wait_for_ever_for_a_handler),
    CASE(messages_before_the_peers_close_are_handled_before_on_close),
    CASE(on_open_may_send_and_close),
    CASE(a_client_that_leaves_at_once_is_opened_and_closed_or_refused),
    CASE(the_reason_of_the_peer_is_told),
    CASE(a_handle_outlives_its_server),
    CASE(senders_in_other_threads_survive_every_ending),
    CASE(arguments_that_cannot_be_used_are_refused),
};
E2E_MAIN("e2e_order")
