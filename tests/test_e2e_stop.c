/* The end of a server: stop in all its ways, and many servers one after another (promise P4, and the
 * contract of weft_server_stop). */
#include "e2e_server.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static void wait_at_gate(weft_conn *c, weft_msg *m, struct seen *s)
{
    if (!gate_pass(s->t->arg))
        e2e_fault(s->t, "the gate stayed shut");
    e2e_send(c, m);
}

struct stopper {
    pthread_t thread;
    weft_server *server;
    uint32_t deadline_ms;
    int rc;
    atomic_bool is_done;
};

static void *stop(void *arg)
{
    struct stopper *s = arg;

    s->rc = weft_server_stop(s->server, s->deadline_ms);
    atomic_store(&s->is_done, true);
    return NULL;
}

ALL_MODES(stop_sends_1001_behind_what_was_sent_before)
{
    enum { CONNS = 5, COUNT = 50 };
    struct client k[CONNS];
    struct stopper s = {.deadline_ms = 20000};

    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT(e2e_open(t, &k[i]));
    for (int i = 0; i < COUNT; i++)
        CU_ASSERT_EQUAL(weft_group_broadcast(weft_server_group(t->server), e2e_text("before"), NULL),
                        WEFT_OK);
    s.server = t->server;
    pthread_create(&s.thread, NULL, stop, &s);
    for (int i = 0; i < CONNS; i++) {
        for (int n = 0; n < COUNT; n++)
            CU_ASSERT(client_hears(&k[i], "before"));
        CU_ASSERT(client_hears_close(&k[i], 1001));
        client_close(&k[i]);
    }
    pthread_join(s.thread, NULL);
    CU_ASSERT_EQUAL(s.rc, WEFT_OK);
    CU_ASSERT_EQUAL(t->closed, CONNS);
    for (int i = 0; i < CONNS; i++) {
        CU_ASSERT(t->seen[i]->info.clean);
        CU_ASSERT_EQUAL(t->seen[i]->info.sent_code, 1001);
    }
    STOPS(weft_server_stop(t->server, 0)); /* again, for nothing */
}

/* The wheel is where the connections of a loop are found. */
ALL_MODES(stop_finds_connections_whose_timer_waits_for_nothing)
{
    enum { CONNS = 5 };
    struct stopper s = {.deadline_ms = 20000};
    struct client k[CONNS];

    t->opts.ping_interval_ms = UINT32_MAX;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT(e2e_open(t, &k[i]));
    s.server = t->server;
    pthread_create(&s.thread, NULL, stop, &s);
    for (int i = 0; i < CONNS; i++) {
        CU_ASSERT(client_hears_close(&k[i], 1001));
        client_close(&k[i]);
    }
    pthread_join(s.thread, NULL);
    CU_ASSERT_EQUAL(s.rc, WEFT_OK);
    CU_ASSERT_EQUAL(t->closed, CONNS);
}

ALL_MODES(deadline_zero_drops_all_at_once)
{
    enum { CONNS = 20 };
    struct client k[CONNS];
    uint64_t began_us;

    t->opts.close_timeout_ms = 60000;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT(client_open(&k[i], t->port));
    WAIT_FOR(t->opened == CONNS);
    began_us = e2e_now_us();
    e2e_stop(t, 0);
    CU_ASSERT(e2e_now_us() - began_us < 15000000);
    CU_ASSERT_EQUAL(t->closed, CONNS);
    for (int i = 0; i < CONNS; i++) {
        CU_ASSERT_NOT_EQUAL(client_skip_to_close(&k[i]), 0);
        client_close(&k[i]);
    }
}

/* Peers that neither answer nor end. */
ALL_MODES(behind_the_deadline_silent_peers_are_dropped)
{
    struct client open_one, half_one, silent_one;
    uint64_t began_us;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &open_one));
    CU_ASSERT(client_connect(&half_one, t->port));
    CU_ASSERT(client_put_text(&half_one, "GET / HTT"));
    CU_ASSERT(client_connect(&silent_one, t->port));
    WAIT_FOR(e2e_stats(t).accepted == 3);
    began_us = e2e_now_us();
    e2e_stop(t, 200);
    CU_ASSERT(e2e_now_us() - began_us >= 195000);
    CU_ASSERT_EQUAL(t->seen[0]->info.sent_code, 1001);
    CU_ASSERT(!t->seen[0]->info.clean);
    client_close(&open_one);
    client_close(&half_one);
    client_close(&silent_one);
}

POOL_MODES(stop_gives_up_on_a_handler_that_does_not_return_and_may_be_called_again)
{
    struct gate g = {0};
    struct client k, other;

    t->on_message = wait_at_gate;
    t->arg = &g;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(e2e_open(t, &other));
    CU_ASSERT(client_say(&k, "stay"));
    WAIT_FOR(g.waiting == 1);
    CU_ASSERT_EQUAL(weft_server_stop(t->server, 0), WEFT_E_TIMEOUT);
    WAIT_FOR(t->closed == 1); /* the other one is told at once */
    CU_ASSERT_EQUAL(g.waiting, 1);
    gate_open(&g);
    e2e_stop(t, 0);
    CU_ASSERT_EQUAL(t->closed, 2);
    client_close(&k);
    client_close(&other);
}

/* Inline it is the I/O thread that does not come back. */
static void inline_handler_that_stays(struct e2e *t)
{
    struct gate g = {0};
    struct client k;

    t->on_message = wait_at_gate;
    t->arg = &g;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_say(&k, "stay"));
    WAIT_FOR(g.waiting == 1);
    CU_ASSERT_EQUAL(weft_server_stop(t->server, 0), WEFT_E_TIMEOUT);
    gate_open(&g);
    e2e_stop(t, 0);
    client_close(&k);
}

ALL_MODES(stop_gives_up_on_an_inline_handler_too)
{
    inline_handler_that_stays(t);
}

static void stop_from_inside(weft_conn *c, weft_msg *m, struct seen *s)
{
    int rc = weft_server_stop(s->t->server, 0);

    if (rc != WEFT_E_STATE)
        e2e_fault(s->t, "stop on a thread of the server: %s", weft_error_name(rc));
    e2e_send(c, m);
}

ALL_MODES(stop_on_a_thread_of_the_server_is_refused)
{
    struct client k;

    t->on_message = stop_from_inside;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    CU_ASSERT(client_say(&k, "stop?"));
    CU_ASSERT(client_hears(&k, "stop?"));
    client_close(&k);
}

ALL_MODES(two_threads_may_stop_at_once)
{
    struct stopper s[2] = {{.deadline_ms = 20000}, {.deadline_ms = 20000}};
    struct client k;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < 2; i++) {
        s[i].server = t->server;
        pthread_create(&s[i].thread, NULL, stop, &s[i]);
    }
    CU_ASSERT(client_hears_close(&k, 1001));
    client_close(&k);
    for (int i = 0; i < 2; i++) {
        pthread_join(s[i].thread, NULL);
        CU_ASSERT_EQUAL(s[i].rc, WEFT_OK);
    }
}

ALL_MODES(calls_out_of_order_are_refused)
{
    weft_stats s = {.size = sizeof s};

    CU_ASSERT_FATAL(e2e_new(t));
    CU_ASSERT_EQUAL(weft_server_stop(t->server, 0), WEFT_E_STATE);
    CU_ASSERT_EQUAL(weft_server_stats(t->server, &s), WEFT_OK);
    CU_ASSERT_EQUAL(s.accepted, 0);
    CU_ASSERT_EQUAL(weft_server_listen_tcp(t->server, NULL, 0, &t->port), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_start(t->server), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_start(t->server), WEFT_E_STATE);
    CU_ASSERT_EQUAL(weft_server_listen_tcp(t->server, NULL, 0, NULL), WEFT_E_STATE);
    STOPS(weft_server_stop(t->server, 0));
    CU_ASSERT_EQUAL(weft_server_start(t->server), WEFT_E_STATE);
}

ALL_MODES(a_server_may_be_given_back_without_start_or_stop)
{
    struct client k;

    CU_ASSERT_FATAL(e2e_new(t));
    weft_server_unref(t->server);
    CU_ASSERT_FATAL(e2e_new(t));
    CU_ASSERT_EQUAL(weft_server_listen_tcp(t->server, NULL, 0, &t->port), WEFT_OK);
    weft_server_unref(t->server);
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    weft_server_unref(weft_server_ref(t->server));
    weft_server_unref(t->server); /* stops it */
    t->server = NULL;
    CU_ASSERT_EQUAL(t->closed, 1);
    client_close(&k);
}

/* Clients connect, talk and leave at the very moment of the stop. */
struct crowd {
    pthread_t thread;
    uint16_t port;
    atomic_bool is_over;
};

static void *come_and_go(void *arg)
{
    struct crowd *w = arg;

    for (unsigned turn = 0; turn < 150 && !atomic_load(&w->is_over);) {
        struct client k;
        if (!client_connect(&k, w->port))
            continue;
        client_ask(&k, "/", NULL);
        if (turn % 3)
            client_say(&k, "hello");
        if (turn++ % 2)
            client_reset(&k);
        else
            client_close(&k);
    }
    return NULL;
}

ALL_MODES(stop_amid_a_crowd_leaves_nothing)
{
    unsigned rounds = unit_is_slow() ? 5 : 20;

    for (unsigned i = 0; i < rounds; i++) {
        struct crowd w[2] = {0};
        unsigned before = t->opened;
        weft_stats s;

        CU_ASSERT_FATAL(e2e_start(t));
        for (int n = 0; n < 2; n++) {
            w[n].port = t->port;
            pthread_create(&w[n].thread, NULL, come_and_go, &w[n]);
        }
        WAIT_FOR(t->opened >= before + 10);
        STOPS(weft_server_stop(t->server, i % 2 ? 0 : 2000));
        for (int n = 0; n < 2; n++) {
            atomic_store(&w[n].is_over, true);
            pthread_join(w[n].thread, NULL);
        }
        s = e2e_stats(t);
        CU_ASSERT_EQUAL(s.handshaking + s.connections, 0);
        CU_ASSERT_EQUAL(s.accepted, s.opened + s.refused);
        CU_ASSERT_EQUAL(s.opened, s.closed);
        e2e_stop(t, 0);
    }
}

ALL_MODES(many_servers_one_after_another_leave_nothing)
{
    unsigned rounds = unit_is_slow() ? 20 : 100;

    for (unsigned i = 0; i < rounds; i++) {
        struct client k;
        CU_ASSERT_FATAL(e2e_start(t));
        CU_ASSERT(client_open(&k, t->port));
        CU_ASSERT(client_say(&k, "hello"));
        if (i % 2)
            CU_ASSERT(client_hears(&k, "hello"));
        WAIT_FOR(t->opened == i + 1);
        e2e_stop(t, 0);
        client_close(&k);
        CU_ASSERT_EQUAL(mem_live_blocks(), 0);
    }
}

/* Two servers in one process know nothing of each other. */
ALL_MODES(servers_live_side_by_side)
{
    weft_server_opts opts = {.size = sizeof opts};
    weft_server *other;
    struct client k, l;
    uint16_t port;
    struct frame f;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_EQUAL(weft_server_new(&other, &opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_listen_tcp(other, NULL, 0, &port), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_start(other), WEFT_OK);
    CU_ASSERT(client_open(&k, t->port));
    CU_ASSERT(client_open(&l, port));
    e2e_stop(t, 0);
    CU_ASSERT(client_send(&l, CLIENT_PING, "you?", 4));
    CU_ASSERT_EQUAL(client_next(&l, &f), CLIENT_OK);
    CU_ASSERT(frame_is(&f, CLIENT_PONG, "you?"));
    STOPS(weft_server_stop(other, 0));
    weft_server_unref(other);
    client_close(&k);
    client_close(&l);
}

static const struct unit_case cases[] = {
    CASE(stop_sends_1001_behind_what_was_sent_before),
    CASE(stop_finds_connections_whose_timer_waits_for_nothing),
    CASE(deadline_zero_drops_all_at_once),
    CASE(behind_the_deadline_silent_peers_are_dropped),
    CASE(stop_gives_up_on_a_handler_that_does_not_return_and_may_be_called_again),
    CASE(stop_gives_up_on_an_inline_handler_too),
    CASE(stop_on_a_thread_of_the_server_is_refused),
    CASE(two_threads_may_stop_at_once),
    CASE(calls_out_of_order_are_refused),
    CASE(a_server_may_be_given_back_without_start_or_stop),
    CASE(stop_amid_a_crowd_leaves_nothing),
    CASE(many_servers_one_after_another_leave_nothing),
    CASE(servers_live_side_by_side),
};
E2E_MAIN("e2e_stop")
