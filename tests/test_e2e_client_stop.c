/* A client that is stopped, canceled or given up in each phase of its life, and many of them at once. The client runs
 * on the threads of the case's server. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "crew.h"
#include "e2e_peer.h"
#include "e2e_server.h"

struct life {
    weft_client_opts opts;
    weft_client *client;
    struct gate gate;
    _Atomic unsigned opened, closed, messages, failures, handlers;
    _Atomic unsigned in_callback, overlaps; /* callbacks of two sessions at once */
    _Atomic int answer;
    char url[64]; /* of the case's server, or of its peer */
};

static void enter(struct life *l)
{
    if (atomic_fetch_add(&l->in_callback, 1) != 0)
        atomic_fetch_add(&l->overlaps, 1);
}

static void leave(struct life *l)
{
    atomic_fetch_sub(&l->in_callback, 1);
}

static void on_open(weft_conn *c, void *app)
{
    struct life *l = app;

    (void)c;
    enter(l);
    leave(l);
    atomic_fetch_add(&l->opened, 1);
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    struct life *l = app;

    (void)c;
    enter(l);
    weft_msg_unref(m);
    leave(l);
    atomic_fetch_add(&l->messages, 1);
}

static void on_close(weft_conn *c, const weft_close_info *info, void *app)
{
    struct life *l = app;

    (void)c;
    (void)info;
    enter(l);
    leave(l);
    atomic_fetch_add(&l->closed, 1);
}

static void begin(struct life *l, struct e2e *t)
{
    memset(l, 0, sizeof *l);
    l->opts = (weft_client_opts){.size = sizeof l->opts,
                                 .app = l,
                                 .on_open = on_open,
                                 .on_message = on_message,
                                 .on_close = on_close,
                                 .server = t->server,
                                 .proxy = "",
                                 .reconnect = true,
                                 .reconnect_first_ms = 1,
                                 .reconnect_min_ms = 1,
                                 .reconnect_max_ms = 20};
    snprintf(l->url, sizeof l->url, "ws://127.0.0.1:%u/", t->port);
}

static void sleeps(struct peer *p)
{
    peer_sleep(p);
}

static void dies(struct peer *p)
{
    peer_accept(p, NULL);
    client_reset(&p->k);
}

static void listens(struct peer *p)
{
    peer_accept(p, NULL);
    peer_hears_end(p);
}

/* --- stopping, wherever it is --- */

/* Behind weft_client_stop no callback comes any more: that is when programs free what app points to. */
ALL_MODES(nothing_is_called_behind_stop)
{
    unsigned rounds = unit_is_slow() ? 40 : 200;
    struct life l;

    CU_ASSERT_FATAL(e2e_start(t));
    for (unsigned i = 0; i < rounds; i++) {
        unsigned opened;
        struct timespec pause = {.tv_nsec = (long)(i % 40) * 25000};

        begin(&l, t);
        CU_ASSERT_EQUAL_FATAL(weft_client_new(&l.client, l.url, &l.opts), WEFT_OK);
        CU_ASSERT_EQUAL(weft_client_start(l.client), WEFT_OK);
        nanosleep(&pause, NULL); /* any phase will do */
        STOPS(weft_client_stop(l.client, i % 3 ? 5000 : 0));
        opened = l.opened;
        CU_ASSERT_EQUAL(l.closed, opened);
        weft_client_unref(l.client);
        CU_ASSERT_EQUAL(l.opened, opened);
    }
}

static void *makes_sessions(void *arg)
{
    struct life *l = arg;
    weft_conn *c;
    int rc;

    while ((rc = weft_client_next(l->client, &c, WEFT_FOREVER)) == WEFT_OK) {
        atomic_fetch_add(&l->messages, 1); /* of sessions, here */
        weft_conn_close(c, 1000, NULL);
        weft_conn_unref(c);
    }
    atomic_store(&l->answer, rc);
    return NULL;
}

/* The same when the program's own thread makes the sessions. */
ALL_MODES(stop_waits_for_who_makes_sessions)
{
    unsigned rounds = unit_is_slow() ? 10 : 50;
    struct life l;

    CU_ASSERT_FATAL(e2e_start(t));
    for (unsigned i = 0; i < rounds; i++) {
        struct crew crew = {0};
        unsigned opened;

        begin(&l, t);
        CU_ASSERT_EQUAL_FATAL(weft_client_new(&l.client, l.url, &l.opts), WEFT_OK);
        crew_add(&crew, makes_sessions, &l);
        WAIT_FOR(l.messages > i % 4);
        STOPS(weft_client_stop(l.client, i % 2 ? 5000 : 0));
        opened = l.opened;
        CU_ASSERT_EQUAL(l.closed, opened);
        crew_join(&crew);
        CU_ASSERT_EQUAL(l.opened, opened);
        CU_ASSERT_EQUAL(l.answer, WEFT_E_CLOSED);
        weft_client_unref(l.client);
    }
}

static void stops_in_failure(const weft_failure *f, uint32_t retry_ms, void *app)
{
    struct life *l = app;

    (void)f;
    (void)retry_ms;
    atomic_store(&l->answer, weft_client_stop(l->client, 0));
    atomic_fetch_add(&l->failures, 1);
}

/* It would wait for itself. */
ALL_MODES(stopping_in_on_failure_is_refused)
{
    struct life l;
    struct peer p;
    weft_conn *c;
    int rc;

    CU_ASSERT_FATAL(e2e_start(t) && peer_hold_port(&p));
    begin(&l, t);
    l.opts.on_failure = stops_in_failure;
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&l.client, peer_url(&p, "/"), &l.opts), WEFT_OK);
    WAIT_FOR((rc = weft_client_next(l.client, &c, 50), l.failures > 0));
    CU_ASSERT_EQUAL(rc, WEFT_E_TIMEOUT);
    CU_ASSERT_EQUAL(l.answer, WEFT_E_STATE);
    STOPS(weft_client_stop(l.client, 0));
    weft_client_unref(l.client);

    begin(&l, t);
    l.opts.on_failure = stops_in_failure;
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&l.client, peer_url(&p, "/"), &l.opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_client_start(l.client), WEFT_OK);
    WAIT_FOR(l.failures >= 2);
    CU_ASSERT_EQUAL(l.answer, WEFT_E_STATE);
    STOPS(weft_client_stop(l.client, 0));
    weft_client_unref(l.client);
    peer_stop(&p);
}

static void closes_late(weft_conn *c, const weft_close_info *info, void *app)
{
    struct life *l = app;

    (void)c;
    (void)info;
    enter(l);
    if (l->closed == 0)
        gate_pass(&l->gate);
    leave(l);
    atomic_fetch_add(&l->closed, 1);
}

/* Two sessions are never in callbacks at once, so a program needs no lock for them. */
POOL_MODES(a_session_begins_behind_the_last_callback_of_the_one_before)
{
    static struct life l;
    struct peer p;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, dies, NULL));
    begin(&l, t);
    l.opts.on_close = closes_late;
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&l.client, peer_url(&p, "/"), &l.opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_client_start(l.client), WEFT_OK);
    WAIT_FOR(l.gate.waiting == 1);
    {
        struct timespec pause = {.tv_nsec = 60000000}; /* it would have come by now */
        nanosleep(&pause, NULL);
    }
    CU_ASSERT_EQUAL(p.accepted, 1);
    gate_open(&l.gate);
    WAIT_FOR(l.closed >= 5);
    STOPS(weft_client_stop(l.client, 1000));
    CU_ASSERT_EQUAL(l.overlaps, 0);
    weft_client_unref(l.client);
    peer_stop(&p);
}

/* --- canceled --- */

struct connector {
    struct life *life;
    const char *url;
    weft_conn *made;
    _Atomic int answer;
    struct peer *peer;
};

static int connects(weft_conn *c, void *app)
{
    struct connector *k = app;

    (void)c;
    atomic_store(&k->answer, weft_client_connect(&k->made, k->url, &k->life->opts));
    return WEFT_E_BROKEN; /* not this result */
}

static int ends_when_connected(weft_conn *c, void *app)
{
    struct connector *k = app;

    (void)c;
    return COMES_TRUE(k->peer->accepted == 1) ? WEFT_OK : WEFT_E_TIMEOUT;
}

ALL_MODES(a_connect_of_a_canceled_task_ends_at_once)
{
    struct life l, other;
    struct connector k = {.life = &l};
    struct peer p, silent;
    weft_conn *c;
    weft_failure *failure;
    uint64_t began_us;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, listens, NULL) && peer_start(&silent, sleeps, NULL));
    begin(&other, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, peer_url(&p, "/"), &other.opts), WEFT_OK);
    begin(&l, t);
    l.opts.failure = &failure;
    l.opts.open_timeout_ms = 60000;
    k.url = peer_url(&silent, "/");
    k.peer = &silent;
    began_us = e2e_now_us();
    CU_ASSERT_EQUAL(weft_conn_race(c, &k, connects, ends_when_connected), WEFT_OK);
    CU_ASSERT(e2e_now_us() - began_us < 30000000);
    CU_ASSERT_EQUAL(k.answer, WEFT_E_CANCELED);
    CU_ASSERT_PTR_NULL(k.made);
    CU_ASSERT_EQUAL(weft_failure_error(failure), WEFT_E_CANCELED);
    weft_failure_free(failure);
    CU_ASSERT_EQUAL(l.opened, 0);
    weft_conn_abort(c);
    WAIT_FOR(other.closed == 1);
    weft_conn_unref(c);
    peer_stop(&p);
    peer_stop(&silent);
}

static int nexts(weft_conn *c, void *app)
{
    struct connector *k = app;
    weft_conn *made;

    (void)c;
    atomic_store(&k->answer, weft_client_next(k->life->client, &made, WEFT_FOREVER));
    return WEFT_E_BROKEN;
}

/* What was canceled is the task; the client can be asked again. */
ALL_MODES(a_canceled_next_may_be_called_again)
{
    struct life l, other;
    struct connector k = {.life = &l};
    struct peer p, silent;
    weft_conn *c, *made;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, listens, NULL) && peer_start(&silent, sleeps, NULL));
    begin(&other, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, peer_url(&p, "/"), &other.opts), WEFT_OK);
    begin(&l, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&l.client, peer_url(&silent, "/"), &l.opts), WEFT_OK);
    k.peer = &silent;
    CU_ASSERT_EQUAL(weft_conn_race(c, &k, nexts, ends_when_connected), WEFT_OK);
    CU_ASSERT_EQUAL(k.answer, WEFT_E_CANCELED);
    CU_ASSERT_EQUAL(weft_client_next(l.client, &made, 30), WEFT_E_TIMEOUT); /* not canceled */
    STOPS(weft_client_stop(l.client, 0));
    weft_client_unref(l.client);
    weft_conn_abort(c);
    WAIT_FOR(other.closed == 1);
    weft_conn_unref(c);
    peer_stop(&p);
    peer_stop(&silent);
}

/* --- connect makes one attempt --- */

ALL_MODES(connect_tries_once_whatever_the_options_say)
{
    struct life l;
    struct peer p;
    weft_conn *c;

    CU_ASSERT_FATAL(e2e_start(t) && peer_hold_port(&p));
    begin(&l, t);
    CU_ASSERT_EQUAL(weft_client_connect(&c, peer_url(&p, "/"), &l.opts), WEFT_E_SYSTEM);
    peer_stop(&p);
}

/* --- many --- */

/* Each thread's share of connections; all are open at once. */
#define CONNECTORS CREW_MAX

struct share {
    struct life *life;
    const char *url;
    unsigned count;
    weft_conn *conns[128];
    unsigned failed;
};

static void *connects_many(void *arg)
{
    struct share *s = arg;

    for (unsigned i = 0; i < s->count; i++) {
        if (weft_client_connect(&s->conns[i], s->url, &s->life->opts) != WEFT_OK) {
            s->conns[i] = NULL;
            s->failed++;
        } else if (weft_conn_send_text(s->conns[i], "here") != WEFT_OK) {
            s->failed++;
        }
    }
    return NULL;
}

static void allow_descriptors(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

ALL_MODES(two_thousand_connect_at_once)
{
    static struct share shares[CONNECTORS];
    static struct life l;
    struct crew crew = {0};
    unsigned each = unit_is_slow() ? 16 : 125, failed = 0;

    allow_descriptors();
    CU_ASSERT_FATAL(e2e_start(t));
    begin(&l, t);
    for (unsigned i = 0; i < CONNECTORS; i++) {
        shares[i] = (struct share){.life = &l, .url = l.url, .count = each};
        crew_add(&crew, connects_many, &shares[i]);
    }
    crew_join(&crew);
    for (unsigned i = 0; i < CONNECTORS; i++)
        failed += shares[i].failed;
    CU_ASSERT_EQUAL(failed, 0);
    WAIT_FOR(l.messages == CONNECTORS * each && l.opened == CONNECTORS * each);
    CU_ASSERT_EQUAL(t->opened, CONNECTORS * each);
    for (unsigned i = 0; i < CONNECTORS; i++)
        for (unsigned k = 0; k < each; k++)
            if (shares[i].conns[k]) {
                weft_conn_close(shares[i].conns[k], 1000, NULL);
                weft_conn_unref(shares[i].conns[k]);
            }
    WAIT_FOR(l.closed == l.opened && t->closed == t->opened);
}

/* The server, on whose threads the clients run, stops while they connect. */
static void *connects_until_refused(void *arg)
{
    struct share *s = arg;
    int rc = WEFT_OK;

    while (rc == WEFT_OK) {
        weft_conn *c;
        rc = weft_client_connect(&c, s->url, &s->life->opts);
        if (rc == WEFT_OK)
            weft_conn_unref(c);
        s->count++;
    }
    s->failed = rc != WEFT_E_STATE && rc != WEFT_E_CLOSED && rc != WEFT_E_SYSTEM && rc != WEFT_E_PROTOCOL;
    if (s->failed)
        printf("connect answered %s\n", weft_error_name(rc));
    return NULL;
}

ALL_MODES(the_server_stops_while_clients_connect_on_its_threads)
{
    struct life l;
    struct share shares[4];
    struct crew crew = {0};

    CU_ASSERT_FATAL(e2e_start(t));
    begin(&l, t);
    for (int i = 0; i < 4; i++) {
        shares[i] = (struct share){.life = &l, .url = l.url};
        crew_add(&crew, connects_until_refused, &shares[i]);
    }
    WAIT_FOR(l.opened > 20);
    STOPS(weft_server_stop(t->server, 5000));
    CU_ASSERT_EQUAL(l.opened, l.closed);
    crew_join(&crew);
    CU_ASSERT_EQUAL(l.opened, l.closed);
    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(shares[i].failed, 0);
}

static int handles(weft_conn *c, void *app)
{
    struct life *l = app;
    weft_msg *m;

    atomic_fetch_add(&l->handlers, 1);
    while (weft_conn_recv(c, &m, WEFT_FOREVER) == WEFT_OK)
        on_message(c, m, l);
    return WEFT_OK;
}

/* A server that dies and comes back, again and again, under a client with a handler. */
ALL_MODES(a_client_finds_the_server_again_when_it_comes_back)
{
    struct life l;
    weft_server *server = NULL;
    struct peer p; /* while nobody listens, nobody else, and no attempt, takes the port */
    char url[64];

    CU_ASSERT_FATAL(e2e_start(t) && peer_hold_port(&p));
    begin(&l, t);
    l.opts.on_message = NULL;
    l.opts.handler = handles;
    for (unsigned i = 0; i < 5; i++) {
        weft_server_opts opts = {.size = sizeof opts, .io_threads = 1};

        CU_ASSERT_EQUAL_FATAL(weft_server_new(&server, &opts), WEFT_OK);
        CU_ASSERT_EQUAL_FATAL(weft_server_listen_tcp(server, "127.0.0.1", p.port, NULL), WEFT_OK);
        CU_ASSERT_EQUAL_FATAL(weft_server_start(server), WEFT_OK);
        if (i == 0) {
            snprintf(url, sizeof url, "ws://127.0.0.1:%u/", p.port);
            CU_ASSERT_EQUAL_FATAL(weft_client_new(&l.client, url, &l.opts), WEFT_OK);
            CU_ASSERT_EQUAL(weft_client_start(l.client), WEFT_OK);
        }
        WAIT_FOR(l.handlers > i);
        STOPS(weft_server_stop(server, 0));
        weft_server_unref(server);
        WAIT_FOR(l.closed == l.opened);
    }
    STOPS(weft_client_stop(l.client, 1000));
    CU_ASSERT_EQUAL(l.opened, l.closed);
    weft_client_unref(l.client);
    peer_stop(&p);
}

/* Sessions leave nothing behind, however many there were. */
ALL_MODES(ten_thousand_sessions_in_a_row)
{
    unsigned rounds = unit_is_slow() ? 100 : 2500; /* in each of four modes */
    struct life l;
    weft_conn *c;
    unsigned wrong = 0;

    CU_ASSERT_FATAL(e2e_start(t));
    begin(&l, t);
    l.opts.reconnect = false;
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&l.client, l.url, &l.opts), WEFT_OK);
    for (unsigned i = 0; i < rounds; i++) {
        wrong += weft_client_next(l.client, &c, 10000) != WEFT_OK;
        weft_conn_abort(c);
        weft_conn_unref(c);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    STOPS(weft_client_stop(l.client, 1000));
    CU_ASSERT_EQUAL(l.opened, rounds);
    CU_ASSERT_EQUAL(l.closed, rounds);
    CU_ASSERT_EQUAL(l.overlaps, 0);
    weft_client_unref(l.client);
    WAIT_FOR(t->closed == t->opened);
}

/* --- the threads that clients share --- */

static void connects_in_message(weft_conn *c, weft_msg *m, void *app)
{
    struct life *l = app;
    weft_client_opts opts = {.size = sizeof opts, .proxy = ""};
    weft_conn *made;

    (void)c;
    weft_msg_unref(m);
    gate_pass(&l->gate);
    atomic_store(&l->answer, weft_client_connect(&made, l->url, &opts));
}

static void *stops_threads(void *arg)
{
    *(_Atomic int *)arg = weft_client_stop_threads(60000);
    return NULL;
}

/* Stays until the Close: were it gone sooner, the connection would be closed though nobody stops it. */
static void says_hello(struct peer *p)
{
    struct peer_frame *f = p->arg;

    peer_accept(p, NULL);
    peer_say(p, CLIENT_TEXT, "hello", 5);
    while (peer_next(p, f) && f->first != (0x80 | CLIENT_CLOSE)) {
    }
}

/* The one waits for the callback, so the callback must not wait for the other. */
static void a_callback_may_make_a_client_while_the_shared_threads_stop(void)
{
    static struct peer_frame f;
    static struct life l;
    struct peer p;
    weft_conn *c;
    struct e2e none = {0};
    struct crew crew = {0};
    _Atomic int answer = 1;
    uint64_t began_us = e2e_now_us();

    CU_ASSERT_FATAL(peer_start(&p, says_hello, &f));
    begin(&l, &none);
    l.opts.on_message = connects_in_message;
    snprintf(l.url, sizeof l.url, "%s", peer_url(&p, "/"));
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, peer_url(&p, "/"), &l.opts), WEFT_OK);
    WAIT_FOR(l.gate.waiting == 1);
    crew_add(&crew, stops_threads, &answer);
    WAIT_FOR(weft_conn_send_text(c, "open?") == WEFT_E_CLOSED); /* it has begun */
    gate_open(&l.gate);
    crew_join(&crew);
    CU_ASSERT_EQUAL(answer, WEFT_OK);
    CU_ASSERT_EQUAL(l.answer, WEFT_E_STATE);
    CU_ASSERT(e2e_now_us() - began_us < 50000000);
    weft_conn_unref(c);
    peer_stop(&p);
}

static const struct unit_case cases[] = {
    CASE(nothing_is_called_behind_stop),
    CASE(stop_waits_for_who_makes_sessions),
    CASE(stopping_in_on_failure_is_refused),
    CASE(a_session_begins_behind_the_last_callback_of_the_one_before),
    CASE(a_connect_of_a_canceled_task_ends_at_once),
    CASE(a_canceled_next_may_be_called_again),
    CASE(connect_tries_once_whatever_the_options_say),
    CASE(two_thousand_connect_at_once),
    CASE(the_server_stops_while_clients_connect_on_its_threads),
    CASE(a_client_finds_the_server_again_when_it_comes_back),
    CASE(ten_thousand_sessions_in_a_row),
    CASE(a_callback_may_make_a_client_while_the_shared_threads_stop),
};

E2E_MAIN("e2e_client_stop")
