/* Straight-line programs: handlers that receive, block and return, and what goes wrong in programs with one
 * event loop and must not be able to go wrong here. */
#include "e2e_server.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thr.h"

static int echo(weft_conn *c, struct seen *s)
{
    weft_msg *m;
    int rc;

    (void)s;
    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK)
        e2e_send(c, m);
    return rc;
}

static bool is_message(weft_msg *m, const char *text)
{
    return weft_msg_bytes(m) == strlen(text) && memcmp(weft_msg_data(m), text, strlen(text)) == 0;
}

ALL_MODES(a_handler_receives_and_answers_until_the_peer_closes)
{
    struct client k;

    t->handler = echo;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < 100; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        CU_ASSERT(client_say(&k, text));
        CU_ASSERT(client_hears(&k, text));
    }
    CU_ASSERT(client_say_close(&k, 1000));
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT(t->seen[0]->info.clean);
    CU_ASSERT(t->seen[0]->info.by_peer);
}

static int return_what_it_is_told(weft_conn *c, struct seen *s)
{
    weft_msg *m;
    int rc;

    (void)s;
    if (weft_conn_recv(c, &m, WEFT_FOREVER) != WEFT_OK)
        return WEFT_E_BROKEN;
    rc = is_message(m, "good") ? WEFT_OK : WEFT_E_INVAL;
    weft_msg_unref(m);
    return rc;
}

ALL_MODES(the_connection_closes_when_its_handler_returns_1000_or_1011)
{
    struct client k;

    t->handler = return_what_it_is_told;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_say(&k, "good"));
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_say(&k, "bad"));
    CU_ASSERT(client_hears_close(&k, 1011));
    client_close(&k);
    WAIT_FOR(t->closed == 2);
}

/* What it left unread must not keep the peer's Close from being read. */
ALL_MODES(a_handler_may_return_with_messages_unread)
{
    enum { COUNT = 500 };
    struct client k;

    t->opts.inbox_high = 4;
    t->handler = return_what_it_is_told;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_say(&k, "good"));
    for (int i = 0; i < COUNT; i++)
        CU_ASSERT(client_say(&k, "more"));
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT(t->seen[0]->info.clean);
}

static int try_often(weft_conn *c, struct seen *s)
{
    weft_msg *m;
    unsigned timeouts = 0;

    if (weft_conn_recv(c, &m, 0) != WEFT_E_TIMEOUT || weft_conn_recv(c, &m, 20) != WEFT_E_TIMEOUT)
        e2e_fault(s->t, "nothing was sent, and something came");
    weft_conn_send_text(c, "go on");
    for (int expected = 0; expected < 200;) {
        int rc = weft_conn_recv(c, &m, timeouts % 2);
        if (rc == WEFT_E_TIMEOUT) {
            timeouts++;
            continue;
        }
        if (rc != WEFT_OK)
            return rc;
        if (atoi(weft_msg_data(m)) != expected++)
            e2e_fault(s->t, "a message is missing");
        weft_msg_unref(m);
    }
    return WEFT_OK;
}

ALL_MODES(a_recv_that_times_out_keeps_nothing_back)
{
    struct client k;

    t->handler = try_often;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_hears(&k, "go on"));
    for (int i = 0; i < 200; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d ", i);
        CU_ASSERT(client_say(&k, text));
    }
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
}

static int count_at_the_end(weft_conn *c, struct seen *s)
{
    weft_msg *m;
    int rc;

    if (!gate_pass(&s->t->gate))
        e2e_fault(s->t, "the gate stayed shut");
    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK) {
        atomic_fetch_add(&s->number, 1);
        weft_msg_unref(m);
    }
    return rc;
}

static int count_then_look_at_end(weft_conn *c, struct seen *s)
{
    int rc = count_at_the_end(c, s);
    weft_close_info info;
    weft_msg *m;

    if (rc != WEFT_E_CLOSED || weft_conn_recv(c, &m, 0) != WEFT_E_CLOSED ||
        weft_conn_wait_closed(c, 0) != WEFT_OK || weft_conn_close_info(c, &info) != WEFT_OK)
        e2e_fault(s->t, "it is closed, and not everybody says so");
    else if (info.received_code != 4001 || !info.by_peer || strcmp(info.reason, "enough") != 0)
        e2e_fault(s->t, "the peer closed with %u", info.received_code);
    return rc;
}

ALL_MODES(what_arrived_before_the_close_is_received_and_then_the_close)
{
    struct client k;

    t->handler = count_then_look_at_end;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < 10; i++)
        CU_ASSERT(client_say(&k, "before"));
    CU_ASSERT(client_send(&k, CLIENT_CLOSE,
                          "\x0f\xa1"
                          "enough",
                          8));
    CU_ASSERT(client_hears_close(&k, 4001));
    client_close(&k);
    CU_ASSERT_EQUAL(t->closed, 0);
    gate_open(&t->gate);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT_EQUAL(t->seen[0]->number, 10);
}

static bool answers_before_the_close(struct e2e *t)
{
    static const uint8_t bad[] = {0xc1, 0x80, 0, 0, 0, 0}; /* a reserved bit */
    unsigned n = t->opened;
    struct client k;
    bool good;

    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_say(&k, "one"));
    CU_ASSERT(client_say(&k, "two"));
    CU_ASSERT(client_put(&k, bad, sizeof bad));
    good = client_hears(&k, "one") && client_hears(&k, "two") && client_skip_to_close(&k) == 1002;
    client_close(&k);
    WAIT_FOR(t->closed == n + 1);
    CU_ASSERT_EQUAL(t->seen[n]->info.error, WEFT_E_PROTOCOL);
    return good;
}

/* The Close waits a quarter of a second for the handler, and no longer. */
ALL_MODES(what_came_before_a_fault_is_answered_before_the_close)
{
    t->handler = echo;
    CU_ASSERT_FATAL(e2e_start(t));
    SUCCEEDS_ONCE(answers_before_the_close(t));
}

/* --- who may receive --- */

static void receive_in_callback(weft_conn *c, weft_msg *m, struct seen *s)
{
    weft_msg *other;

    if (weft_conn_recv(c, &other, 0) != WEFT_E_STATE)
        e2e_fault(s->t, "a connection with callbacks has something to receive");
    e2e_send(c, m);
}

ALL_MODES(a_connection_with_callbacks_has_nothing_to_receive)
{
    struct client k;

    t->on_message = receive_in_callback;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_say(&k, "x"));
    CU_ASSERT(client_hears(&k, "x"));
    client_close(&k);
}

struct receiver {
    weft_conn *conn;
    _Atomic int rc;
    atomic_bool is_in;
};

static void *receive_one(void *arg)
{
    struct receiver *r = arg;
    weft_msg *m = NULL;

    atomic_store(&r->is_in, true);
    r->rc = weft_conn_recv(r->conn, &m, WEFT_FOREVER);
    weft_msg_unref(m);
    return NULL;
}

static int wait_for_gate(weft_conn *c, struct seen *s)
{
    (void)c;
    return gate_pass(&s->t->gate) ? WEFT_OK : WEFT_E_BROKEN;
}

/* How many of three may receive at once. */
static void receive_with_three(struct e2e *t, unsigned allowed)
{
    struct receiver r[3] = {0};
    pthread_t threads[3];
    unsigned refused = 0, received = 0;
    struct client k;
    weft_conn *c;

    t->handler = wait_for_gate;
    t->opts.handler_concurrency = allowed;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    c = e2e_take(t, 0);
    for (int i = 0; i < 3; i++) {
        r[i].conn = c;
        r[i].rc = WEFT_E_BROKEN;
        pthread_create(&threads[i], NULL, receive_one, &r[i]);
        WAIT_FOR(r[i].is_in);
    }
    /* Those above the number come back at once. */
    WAIT_FOR((r[0].rc == WEFT_E_STATE) + (r[1].rc == WEFT_E_STATE) + (r[2].rc == WEFT_E_STATE) ==
             3 - (int)allowed);
    for (unsigned i = 0; i < allowed; i++)
        CU_ASSERT(client_say(&k, "one for each"));
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        refused += r[i].rc == WEFT_E_STATE;
        received += r[i].rc == WEFT_OK;
    }
    CU_ASSERT_EQUAL(refused, 3 - allowed);
    CU_ASSERT_EQUAL(received, allowed);
    gate_open(&t->gate);
    weft_conn_unref(c);
    client_close(&k);
}

POOL_MODES(a_second_thread_that_receives_is_refused)
{
    receive_with_three(t, 1);
}

POOL_MODES(handler_concurrency_lets_as_many_receive)
{
    receive_with_three(t, 2);
}

static void meet(weft_conn *c, weft_msg *m, struct seen *s)
{
    atomic_fetch_add(&s->number, 1);
    if (!COMES_TRUE(s->number >= 3))
        e2e_fault(s->t, "three messages are not handled at once");
    e2e_send(c, m);
}

static void are_all_done(weft_conn *c, const weft_close_info *info, struct seen *s)
{
    (void)c;
    (void)info;
    if (s->number != s->messages)
        e2e_fault(s->t, "on_close before the end of on_message");
}

ALL_MODES(handler_concurrency_runs_callbacks_of_one_connection_at_once)
{
    struct client k;

    t->opts.handler_concurrency = 3;
    t->is_concurrent = true;
    t->on_message = meet;
    t->on_close = are_all_done;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < 300; i++)
        CU_ASSERT(client_say(&k, "x"));
    for (int i = 0; i < 300; i++)
        CU_ASSERT(client_hears(&k, "x"));
    for (int i = 0; i < 3; i++)
        CU_ASSERT(client_say(&k, "y"));
    client_reset(&k);
    WAIT_FOR(t->closed == 1);
}

/* --- places --- */

#define AT_ONCE 2

struct places {
    _Atomic unsigned accepted, running;
};

static void accept_in_order(weft_request *r, struct e2e *t)
{
    if (weft_request_accept(r, NULL) != WEFT_OK)
        e2e_fault(t, "it was not accepted");
    atomic_fetch_add(&((struct places *)t->arg)->accepted, 1);
}

static int echo_in_place(weft_conn *c, struct seen *s)
{
    struct places *p = s->t->arg;
    int rc;

    if (atomic_fetch_add(&p->running, 1) >= AT_ONCE)
        e2e_fault(s->t, "too many handlers run");
    rc = echo(c, s);
    atomic_fetch_sub(&p->running, 1);
    return rc;
}

ALL_MODES(handshakes_above_handlers_max_wait_their_turn)
{
    enum { CONNS = 6 };
    struct client k[CONNS];
    struct places p = {0};

    t->arg = &p;
    t->opts.handlers_max = AT_ONCE;
    t->on_request = accept_in_order;
    t->handler = echo_in_place;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < CONNS; i++) {
        CU_ASSERT(client_connect(&k[i], t->port));
        CU_ASSERT(client_ask(&k[i], "/", NULL));
        WAIT_FOR(p.accepted == (unsigned)i + 1);
    }
    for (int i = 0; i < CONNS; i++) {
        char head[1024];
        CU_ASSERT_EQUAL(client_status(&k[i], head, sizeof head), 101);
        CU_ASSERT(client_say(&k[i], "x"));
        CU_ASSERT(client_hears(&k[i], "x"));
        if (i >= AT_ONCE - 1) {
            WAIT_FOR(e2e_stats(t).connections == AT_ONCE);
            CU_ASSERT(client_say_close(&k[i - 1], 1000));
            CU_ASSERT(client_hears_close(&k[i - 1], 1000));
            client_close(&k[i - 1]);
        }
    }
    client_close(&k[CONNS - 1]);
    WAIT_FOR(t->closed == CONNS);
}

ALL_MODES(a_handshake_that_waits_too_long_is_answered_with_503)
{
    struct client k, waiting, gone;
    char head[1024];

    t->opts.handlers_max = 1;
    t->opts.open_timeout_ms = 1000;
    t->handler = echo;
    CU_ASSERT_FATAL(e2e_start(t));
    WAIT_FOR(client_open(&k, t->port) || (client_close(&k), false)); /* it has no more time than the others */
    CU_ASSERT(client_connect(&gone, t->port));
    CU_ASSERT(client_ask(&gone, "/", NULL));
    CU_ASSERT(client_connect(&waiting, t->port));
    CU_ASSERT(client_ask(&waiting, "/", NULL));
    client_reset(&gone);
    CU_ASSERT_EQUAL(client_status(&waiting, head, sizeof head), 503);
    client_close(&waiting);
    client_close(&k);
    WAIT_FOR(client_open(&k, t->port) || (client_close(&k), false)); /* the place is free again */
    client_close(&k);
}

/* --- the end of a server --- */

ALL_MODES(stop_wakes_handlers_that_receive_and_waits_for_them)
{
    enum { CONNS = 20 };
    struct client k[CONNS];

    t->handler = echo;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT(e2e_open(t, &k[i]));
    e2e_stop(t, 0);
    CU_ASSERT_EQUAL(t->closed, CONNS);
    for (int i = 0; i < CONNS; i++)
        client_close(&k[i]);
}

static int stop_own_server(weft_conn *c, struct seen *s)
{
    (void)c;
    s->number = (uint64_t)-weft_server_stop(s->t->server, 0);
    return WEFT_OK;
}

ALL_MODES(a_handler_may_not_stop_its_own_server)
{
    struct client k;

    t->handler = stop_own_server;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
    CU_ASSERT_EQUAL(t->seen[0]->number, (uint64_t)-WEFT_E_STATE);
}

POOL_MODES(stop_says_so_when_a_handler_does_not_return)
{
    struct client k;

    t->handler = wait_for_gate;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    WAIT_FOR(t->gate.waiting == 1);
    CU_ASSERT_EQUAL(weft_server_stop(t->server, 0), WEFT_E_TIMEOUT);
    gate_open(&t->gate);
    STOPS(weft_server_stop(t->server, 1000));
    client_close(&k);
}

ALL_MODES(options_that_contradict_each_other_are_refused)
{
    weft_server_opts opts = {.size = sizeof opts, .receive_parts = true};
    weft_server *s;

    CU_ASSERT_EQUAL(weft_server_new(&s, &opts), WEFT_E_INVAL);
    t->handler = echo;
    CU_ASSERT_FATAL(e2e_new(t));
    opts = t->opts;
    opts.on_message = (void (*)(weft_conn *, weft_msg *, void *))abort;
    CU_ASSERT_EQUAL(weft_server_new(&s, &opts), WEFT_E_INVAL);
    opts = t->opts;
    opts.handler_stack_bytes = 1000;
    CU_ASSERT_EQUAL(weft_server_new(&s, &opts), WEFT_E_INVAL);
    weft_server_unref(t->server);
    t->server = NULL;
}

/* --- waiting --- */

static int ping_and_wait(weft_conn *c, struct seen *s)
{
    uint32_t us = 0;
    weft_msg *m;
    int rc = weft_conn_ping_wait(c, WEFT_FOREVER, &us);

    if (rc != WEFT_OK || us < 50000)
        e2e_fault(s->t, "the Pong came in %u us: %d", us, rc);
    if (weft_conn_ping_wait(c, 30, &us) != WEFT_E_TIMEOUT)
        e2e_fault(s->t, "a Pong that nobody sent");
    rc = weft_conn_ping_wait(c, WEFT_FOREVER, &us); /* its Pong answers the one before too */
    if (rc != WEFT_OK)
        e2e_fault(s->t, "no second Pong: %d", rc);
    weft_conn_send_text(c, "done");
    rc = weft_conn_recv(c, &m, WEFT_FOREVER);
    if (weft_conn_ping_wait(c, WEFT_FOREVER, &us) != WEFT_E_CLOSED)
        e2e_fault(s->t, "a Ping to nobody");
    return rc;
}

static bool answer_ping(struct client *k, int pause_us)
{
    struct frame f;

    if (client_next(k, &f) != CLIENT_OK || f.opcode != CLIENT_PING)
        return false;
    usleep((useconds_t)pause_us);
    return client_send(k, CLIENT_PONG, f.payload, f.bytes);
}

ALL_MODES(a_ping_is_waited_for_and_its_latency_told)
{
    struct client k;
    struct frame f;

    t->handler = ping_and_wait;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_send(&k, CLIENT_PONG, "weft00000000", 12)); /* answers nothing */
    CU_ASSERT(answer_ping(&k, 60000));
    CU_ASSERT_EQUAL(client_next(&k, &f), CLIENT_OK);
    CU_ASSERT_EQUAL(f.opcode, CLIENT_PING);
    CU_ASSERT(answer_ping(&k, 0));
    CU_ASSERT(client_hears(&k, "done"));
    client_close(&k);
    WAIT_FOR(t->closed == 1);
}

static void *wait_for_close(void *arg)
{
    struct receiver *r = arg;

    atomic_store(&r->is_in, true);
    r->rc = weft_conn_wait_closed(r->conn, WEFT_FOREVER);
    return NULL;
}

static void *sleep_long(void *arg)
{
    struct receiver *r = arg;

    atomic_store(&r->is_in, true);
    r->rc = weft_conn_sleep(r->conn, 3600000);
    return NULL;
}

ALL_MODES(the_end_of_any_connection_can_be_waited_for)
{
    struct receiver r[2] = {0};
    pthread_t threads[2];
    struct client k;
    uint64_t began_us;

    CU_ASSERT_FATAL(e2e_start(t)); /* with callbacks */
    CU_ASSERT(e2e_open(t, &k));
    r[0].conn = e2e_take(t, 0);
    r[1].conn = r[0].conn;
    CU_ASSERT_EQUAL(weft_conn_wait_closed(r[0].conn, 0), WEFT_E_TIMEOUT);
    began_us = e2e_now_us();
    CU_ASSERT_EQUAL(weft_conn_wait_closed(r[0].conn, 20), WEFT_E_TIMEOUT);
    CU_ASSERT_EQUAL(weft_conn_sleep(r[0].conn, 20), WEFT_OK);
    CU_ASSERT(e2e_now_us() - began_us >= 40000);
    pthread_create(&threads[0], NULL, wait_for_close, &r[0]);
    pthread_create(&threads[1], NULL, sleep_long, &r[1]);
    WAIT_FOR(r[0].is_in && r[1].is_in);
    client_reset(&k);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    CU_ASSERT_EQUAL(r[0].rc, WEFT_OK);
    CU_ASSERT_EQUAL(r[1].rc, WEFT_E_CLOSED);
    CU_ASSERT_EQUAL(weft_conn_sleep(r[0].conn, 1000), WEFT_E_CLOSED);
    weft_conn_unref(r[0].conn);
}

/* --- the classic failures --- */

enum { SLEEP_S = 3 };
static int pass_through_sleep(weft_conn *c, struct seen *s)
{
    weft_msg *m;
    int rc;

    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK) {
        if (is_message(m, "sleep")) {
            atomic_store(&s->number, 1);
            sleep(SLEEP_S);
            atomic_store(&s->number, 2);
        }
        e2e_send(c, m);
    }
    return rc;
}

static bool sleeps_alone(struct e2e *t)
{
    unsigned n = t->opened;
    struct client asleep, awake;
    unsigned pings = 0;
    uint64_t longest_us = 0;
    bool is_answered = false, good = true;
    struct frame f;

    CU_ASSERT(e2e_open(t, &asleep));
    CU_ASSERT(e2e_open(t, &awake));
    CU_ASSERT(client_say(&asleep, "sleep"));
    WAIT_FOR(t->seen[n]->number >= 1);
    while (good && t->seen[n]->number == 1) {
        uint64_t began_us = e2e_now_us();
        good = client_say(&awake, "x") && client_hears(&awake, "x");
        if (e2e_now_us() - began_us > longest_us)
            longest_us = e2e_now_us() - began_us;
        if (client_next_within(&asleep, &f, 1) != CLIENT_OK)
            continue;
        pings += f.opcode == CLIENT_PING;
        is_answered |= f.opcode == CLIENT_TEXT;
        if (f.opcode == CLIENT_PING)
            client_send(&asleep, CLIENT_PONG, f.payload, f.bytes);
    }
    printf("  the other's longest echo: %llu us\n", (unsigned long long)longest_us);
    good = good && longest_us < (SLEEP_S - 1) * 1000000; /* a stall would be as long as the sleep */
    good = good && pings >= 2 && (is_answered || client_hears(&asleep, "sleep"));
    client_close(&asleep);
    client_close(&awake);
    WAIT_FOR(t->closed == t->opened);
    return good;
}

/* One loop for all would stand still meanwhile. */
ALL_MODES(a_handler_that_sleeps_stalls_nobody_and_no_keepalive)
{
    t->handler = pass_through_sleep;
    t->opts.ping_interval_ms = 200;
    t->opts.ping_timeout_ms = (SLEEP_S - 1) * 1000; /* so it would be over within the sleep */
    CU_ASSERT_FATAL(e2e_start(t));
    SUCCEEDS_ONCE(sleeps_alone(t));
}

struct sender {
    weft_conn *conn;
    unsigned number, count;
};

static void *send_all(void *arg)
{
    struct sender *s = arg;

    for (unsigned i = 0; i < s->count; i++) {
        char text[32];
        snprintf(text, sizeof text, "%u %u", s->number, i);
        if (weft_conn_send_text(s->conn, text) != WEFT_OK)
            break;
    }
    return NULL;
}

ALL_MODES(sends_of_16_foreign_threads_arrive_whole_and_in_the_order_of_each)
{
    enum { THREADS = 16 };
    unsigned each = unit_is_slow() ? 300 : 3000, next[THREADS] = {0};
    struct sender s[THREADS];
    pthread_t threads[THREADS];
    struct client k;
    weft_conn *c;

    t->handler = echo;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    c = e2e_take(t, 0);
    for (unsigned i = 0; i < THREADS; i++) {
        s[i] = (struct sender){c, i, each};
        pthread_create(&threads[i], NULL, send_all, &s[i]);
    }
    for (unsigned i = 0; i < THREADS * each; i++) {
        unsigned from = THREADS, number = 0;
        struct frame f;
        char text[32] = "";
        CU_ASSERT_EQUAL_FATAL(client_hear(&k, &f), CLIENT_OK);
        memcpy(text, f.payload, f.bytes < sizeof text ? f.bytes : 0);
        CU_ASSERT_FATAL(sscanf(text, "%u %u", &from, &number) == 2 && from < THREADS);
        CU_ASSERT_EQUAL(number, next[from]++);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    weft_conn_unref(c);
    client_close(&k);
}

enum { UNREAD = 1000, INTERVAL_MS = 50, TIMEOUT_MS = 700 };

static bool lives_with_unread_messages(struct e2e *t)
{
    uint8_t frames[UNREAD * 12];
    unsigned opened = t->opened;
    size_t n = 0;
    struct client k;
    uint64_t began_us;
    bool good;

    atomic_store(&t->gate.is_open, 0);
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < UNREAD; i++)
        n += client_frame(frames + n, 0x80 | CLIENT_TEXT, "unread", 6);
    client_put(&k, frames, n); /* at once: the first Ping is to be answered in time */
    began_us = e2e_now_us();
    while (e2e_now_us() - began_us < 2 * (INTERVAL_MS + TIMEOUT_MS) * 1000) {
        struct frame f;
        if (client_next_within(&k, &f, 20) == CLIENT_OK && f.opcode == CLIENT_PING)
            client_send(&k, CLIENT_PONG, f.payload, f.bytes);
    }
    gate_open(&t->gate);
    client_send(&k, CLIENT_CLOSE,
                "\x0f\xa1"
                "enough",
                8);
    good = client_skip_to_close(&k) == 4001;
    client_close(&k);
    WAIT_FOR(t->closed == opened + 1);
    return good && t->seen[opened]->number == UNREAD;
}

/* The program does not receive; the messages fill the queue, and keepalive goes on around them. */
ALL_MODES(a_thousand_unread_messages_do_not_kill_the_connection)
{
    t->handler = count_at_the_end;
    t->opts.ping_interval_ms = INTERVAL_MS;
    t->opts.ping_timeout_ms = TIMEOUT_MS;
    CU_ASSERT_FATAL(e2e_start(t));
    SUCCEEDS_ONCE(lives_with_unread_messages(t));
}

/* --- many --- */

/* The other ends, in a process of their own: one process has not descriptors enough for both. */
static void be_clients(const char *path, unsigned count, int told, int tell)
{
    struct client *k = calloc(count, sizeof *k);
    char byte;
    bool good = read(told, &byte, 1) == 1;

    for (unsigned i = 0; i < count && good; i++) {
        good = client_connect_path(&k[i], path) && client_ask(&k[i], "/", NULL) &&
               client_status(&k[i], (char[2048]){0}, 2048) == 101;
    }
    byte = good ? 'y' : 'n';
    good = write(tell, &byte, 1) == 1 && read(told, &byte, 1) == 1;
    for (unsigned i = 0; i < count && good; i++)
        good = client_say(&k[i], "wake up") && client_hears(&k[i], "wake up");
    byte = good ? 'y' : 'n';
    _exit(write(tell, &byte, 1) != 1);
}

static uint64_t resident_bytes(void)
{
    unsigned long pages = 0, ignored;
    FILE *f = fopen("/proc/self/statm", "r");

    if (f && fscanf(f, "%lu %lu", &ignored, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static _Atomic unsigned waiting, woken;

static int wait_and_echo(weft_conn *c, void *app)
{
    weft_msg *m;
    int rc;

    (void)app;
    atomic_fetch_add(&waiting, 1);
    rc = weft_conn_recv(c, &m, WEFT_FOREVER);
    if (rc == WEFT_OK) {
        atomic_fetch_add(&woken, 1);
        e2e_send(c, m);
        rc = weft_conn_recv(c, &m, WEFT_FOREVER);
    }
    return rc;
}

static unsigned how_many(void)
{
    struct rlimit files;
    unsigned wanted = unit_is_slow() ? 200 : 10000;

    getrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    return files.rlim_cur < wanted + 100 ? (unsigned)files.rlim_cur - 100 : wanted;
}

static void ten_thousand_handlers_wait_at_once(void)
{
    unsigned count = how_many();
    weft_server_opts opts = {.size = sizeof opts,
                             .handler = wait_and_echo,
                             .handlers_max = count,
                             .handler_stack_bytes = unit_is_slow() ? 256 * 1024 : 64 * 1024,
                             .open_timeout_ms = 60000,
                             .ping_interval_ms = UINT32_MAX};
    int to_child[2], from_child[2], status = -1;
    weft_server *s;
    uint64_t before, after;
    char path[64], byte = 0;
    pid_t child;

    snprintf(path, sizeof path, "/tmp/weft-straight-%d", (int)getpid());
    CU_ASSERT_FATAL(pipe(to_child) == 0 && pipe(from_child) == 0);
    fflush(NULL);
    child = fork(); /* before there are threads */
    if (child == 0)
        be_clients(path, count, to_child[0], from_child[1]);
    atomic_store(&waiting, 0);
    atomic_store(&woken, 0);
    CU_ASSERT_EQUAL_FATAL(weft_server_new(&s, &opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_listen_unix(s, path), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_start(s), WEFT_OK);
    before = resident_bytes();
    CU_ASSERT(write(to_child[1], "g", 1) == 1 && read(from_child[0], &byte, 1) == 1 && byte == 'y');
    WAIT_FOR(waiting == count);
    CU_ASSERT_EQUAL(waiting, count);
    after = resident_bytes();
    printf("  %u handlers wait: %.1f KiB resident for each\n", count,
           (double)(after - before) / 1024 / count);
    if (!unit_is_slow())
        CU_ASSERT(after - before < (32ull * 1024 + thr_local_bytes()) * count);
    CU_ASSERT(write(to_child[1], "g", 1) == 1 && read(from_child[0], &byte, 1) == 1 && byte == 'y');
    CU_ASSERT_EQUAL(woken, count);
    waitpid(child, &status, 0);
    CU_ASSERT_EQUAL(status, 0);
    STOPS(weft_server_stop(s, 20000));
    weft_server_unref(s);
    for (int i = 0; i < 2; i++) {
        close(to_child[i]);
        close(from_child[i]);
    }
}

static const struct unit_case cases[] = {
    CASE(ten_thousand_handlers_wait_at_once), /* first: it forks */
    CASE(a_handler_receives_and_answers_until_the_peer_closes),
    CASE(the_connection_closes_when_its_handler_returns_1000_or_1011),
    CASE(a_handler_may_return_with_messages_unread),
    CASE(a_recv_that_times_out_keeps_nothing_back),
    CASE(what_arrived_before_the_close_is_received_and_then_the_close),
    CASE(what_came_before_a_fault_is_answered_before_the_close),
    CASE(a_connection_with_callbacks_has_nothing_to_receive),
    CASE(a_second_thread_that_receives_is_refused),
    CASE(handler_concurrency_lets_as_many_receive),
    CASE(handler_concurrency_runs_callbacks_of_one_connection_at_once),
    CASE(handshakes_above_handlers_max_wait_their_turn),
    CASE(a_handshake_that_waits_too_long_is_answered_with_503),
    CASE(stop_wakes_handlers_that_receive_and_waits_for_them),
    CASE(a_handler_may_not_stop_its_own_server),
    CASE(stop_says_so_when_a_handler_does_not_return),
    CASE(options_that_contradict_each_other_are_refused),
    CASE(a_ping_is_waited_for_and_its_latency_told),
    CASE(the_end_of_any_connection_can_be_waited_for),
    CASE(a_handler_that_sleeps_stalls_nobody_and_no_keepalive),
    CASE(sends_of_16_foreign_threads_arrive_whole_and_in_the_order_of_each),
    CASE(a_thousand_unread_messages_do_not_kill_the_connection),
};
E2E_MAIN("e2e_straight")
