/* A client's sessions: one behind the other, in the background, ended; and what a client writes, frame by frame. The
 * servers are scripts; the client runs on the threads of the case's server. */
#include <stdio.h>
#include <string.h>

#include "e2e_peer.h"
#include "e2e_server.h"

struct life {
    weft_client_opts opts;
    _Atomic unsigned opened, closed, messages, failures;
    _Atomic int last_error;
    _Atomic uint32_t retry_ms[64];
    bool gives_up;
};

static void on_open(weft_conn *c, void *app)
{
    (void)c;
    atomic_fetch_add(&((struct life *)app)->opened, 1);
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    (void)c;
    weft_msg_unref(m);
    atomic_fetch_add(&((struct life *)app)->messages, 1);
}

static void on_close(weft_conn *c, const weft_close_info *info, void *app)
{
    (void)c;
    (void)info;
    atomic_fetch_add(&((struct life *)app)->closed, 1);
}

static void on_failure(const weft_failure *f, uint32_t retry_ms, void *app)
{
    struct life *l = app;

    atomic_store(&l->last_error, weft_failure_error(f));
    atomic_store(&l->retry_ms[l->failures % 64], retry_ms);
    atomic_fetch_add(&l->failures, 1);
}

static bool never(const weft_failure *f, void *app)
{
    (void)f;
    (void)app;
    return false;
}

static void begin(struct life *l, struct e2e *t)
{
    memset(l, 0, sizeof *l);
    l->opts = (weft_client_opts){.size = sizeof l->opts,
                                 .app = l,
                                 .on_open = on_open,
                                 .on_message = on_message,
                                 .on_close = on_close,
                                 .on_failure = on_failure,
                                 .server = t->server,
                                 .proxy = "",
                                 .reconnect = true,
                                 .reconnect_first_ms = 5,
                                 .reconnect_min_ms = 10,
                                 .reconnect_max_ms = 40};
}

/* --- sessions --- */

static void says_bye(struct peer *p)
{
    static const uint8_t code[] = {0x03, 0xe9};
    static struct peer_frame f;

    peer_accept(p, NULL);
    peer_say(p, CLIENT_TEXT, "hello", 5);
    peer_say(p, CLIENT_CLOSE, code, 2);
    peer_next(p, &f); /* a server ends TCP first */
}

static void dies(struct peer *p)
{
    peer_accept(p, NULL);
    peer_say(p, CLIENT_TEXT, "hello", 5);
    client_reset(&p->k);
}

ALL_MODES(a_loop_over_sessions_goes_on_when_the_server_ends_them)
{
    peer_script *const scripts[] = {says_bye, dies};
    weft_client *client;
    weft_conn *c;
    struct life l;
    struct peer p;

    CU_ASSERT_FATAL(e2e_start(t));
    for (size_t k = 0; k < 2; k++) {
        CU_ASSERT_FATAL(peer_start(&p, scripts[k], NULL));
        begin(&l, t);
        CU_ASSERT_EQUAL_FATAL(weft_client_new(&client, peer_url(&p, "/"), &l.opts), WEFT_OK);
        for (unsigned i = 1; i <= 5; i++) {
            CU_ASSERT_EQUAL_FATAL(weft_client_next(client, &c, 10000), WEFT_OK);
            WAIT_FOR(l.closed == i);
            weft_conn_unref(c);
        }
        CU_ASSERT_EQUAL(l.opened, 5);
        STOPS(weft_client_stop(client, 1000));
        CU_ASSERT_EQUAL(weft_client_next(client, &c, 1000), WEFT_E_CLOSED);
        weft_client_unref(client);
        peer_stop(&p);
    }
}

static void refuses_first(struct peer *p)
{
    if (p->number < 4) {
        peer_put(p, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    peer_accept(p, NULL);
    peer_hears_end(p);
}

ALL_MODES(the_delay_grows_to_its_bound)
{
    weft_client *client;
    weft_conn *c;
    struct life l;
    struct peer p;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, refuses_first, NULL));
    begin(&l, t);
    l.opts.reconnect_min_ms = 20;
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&client, peer_url(&p, "/"), &l.opts), WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(weft_client_next(client, &c, 10000), WEFT_OK);
    CU_ASSERT_EQUAL(l.failures, 4);
    CU_ASSERT(l.retry_ms[0] <= 5);
    CU_ASSERT_EQUAL(l.retry_ms[1], 20);
    CU_ASSERT_EQUAL(l.retry_ms[2], 32);
    CU_ASSERT_EQUAL(l.retry_ms[3], 40);
    CU_ASSERT_EQUAL(l.last_error, WEFT_E_REFUSED);
    weft_conn_unref(c);
    weft_client_unref(client); /* drops the session */
    WAIT_FOR(l.closed == 1);
    peer_stop(&p);
}

static void forbids(struct peer *p)
{
    peer_put(p, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
}

ALL_MODES(what_does_not_pass_is_not_tried_again)
{
    weft_client *client;
    weft_conn *c;
    struct life l;
    struct peer p;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, forbids, NULL));
    begin(&l, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&client, peer_url(&p, "/"), &l.opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_client_next(client, &c, 10000), WEFT_E_REFUSED);
    CU_ASSERT_EQUAL(l.failures, 1);
    CU_ASSERT_EQUAL(l.retry_ms[0], UINT32_MAX);
    weft_client_unref(client);
    peer_stop(&p);
    CU_ASSERT_FATAL(peer_hold_port(&p)); /* refused by the system: that would pass, but the hook says no */
    begin(&l, t);
    l.opts.should_retry = never;
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&client, peer_url(&p, "/"), &l.opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_client_next(client, &c, 10000), WEFT_E_SYSTEM);
    weft_client_unref(client);
    CU_ASSERT_EQUAL(l.failures, 1);
    peer_stop(&p);
}

ALL_MODES(next_gives_up_when_its_time_is_over)
{
    weft_client *client;
    weft_conn *c;
    struct life l;
    struct peer p;
    uint64_t began_us = e2e_now_us();

    CU_ASSERT_FATAL(e2e_start(t) && peer_hold_port(&p));
    begin(&l, t);
    l.opts.reconnect_first_ms = 1;
    l.opts.reconnect_min_ms = l.opts.reconnect_max_ms = 10000;
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&client, peer_url(&p, "/"), &l.opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_client_next(client, &c, 100), WEFT_E_TIMEOUT);
    CU_ASSERT_EQUAL(weft_client_next(client, &c, 100), WEFT_E_TIMEOUT);
    CU_ASSERT(e2e_now_us() - began_us >= 190000);
    WAIT_FOR((weft_client_next(client, &c, 1), l.failures == 2)); /* the second one may take its time */
    weft_client_unref(client);
    peer_stop(&p);
}

ALL_MODES(sessions_run_in_the_background)
{
    weft_client *client;
    struct life l;
    struct peer p;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, dies, NULL));
    begin(&l, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&client, peer_url(&p, "/"), &l.opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_client_start(client), WEFT_OK);
    CU_ASSERT_EQUAL(weft_client_start(client), WEFT_E_STATE);
    WAIT_FOR(l.closed >= 4);
    CU_ASSERT_EQUAL(weft_client_next(client, NULL, 0), WEFT_E_STATE);
    STOPS(weft_client_stop(client, 1000));
    CU_ASSERT_EQUAL(l.opened, l.closed);
    CU_ASSERT_EQUAL(weft_client_start(client), WEFT_E_STATE);
    weft_client_unref(client);
    peer_stop(&p);
}

static void listens(struct peer *p)
{
    peer_accept(p, NULL);
    peer_hears_end(p);
}

ALL_MODES(stopping_closes_the_session_with_1001)
{
    weft_client *client;
    struct life l;

    CU_ASSERT_FATAL(e2e_start(t));
    begin(&l, t);
    {
        char url[64];
        snprintf(url, sizeof url, "ws://127.0.0.1:%u/", t->port);
        CU_ASSERT_EQUAL_FATAL(weft_client_new(&client, url, &l.opts), WEFT_OK);
    }
    CU_ASSERT_EQUAL(weft_client_start(client), WEFT_OK);
    WAIT_FOR(l.opened == 1 && t->opened == 1);
    STOPS(weft_client_stop(client, 5000));
    CU_ASSERT_EQUAL(l.closed, 1);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT_EQUAL(t->seen[0]->info.received_code, 1001);
    CU_ASSERT(t->seen[0]->info.clean);
    weft_client_unref(client);
}

static void sleeps(struct peer *p)
{
    peer_sleep(p);
}

ALL_MODES(stopping_ends_an_attempt_at_once)
{
    weft_client *client;
    struct life l;
    struct peer p;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, sleeps, NULL));
    begin(&l, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&client, peer_url(&p, "/"), &l.opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_client_start(client), WEFT_OK);
    WAIT_FOR(p.accepted == 1);
    STOPS(weft_client_stop(client, 0));
    CU_ASSERT_EQUAL(l.opened, 0);
    weft_client_unref(client);
    begin(&l, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&client, peer_url(&p, "/"), &l.opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_client_start(client), WEFT_OK);
    weft_client_unref(client); /* while its thread tries */
    peer_stop(&p);
}

static void stops_itself(weft_conn *c, weft_msg *m, void *app)
{
    struct life *l = app;
    weft_client *client = weft_conn_data(c);

    weft_msg_unref(m);
    atomic_store(&l->last_error, weft_client_stop(client, 0));
    atomic_fetch_add(&l->messages, 1);
}


static void talks(struct peer *p)
{
    struct peer_frame *f = p->arg;

    peer_accept(p, NULL);
    if (peer_next(p, f))
        peer_say(p, CLIENT_TEXT, "go", 2);
    peer_hears_end(p);
}

ALL_MODES(stopping_in_a_callback_is_refused)
{
    static struct peer_frame f;
    weft_client *client;
    weft_conn *c;
    struct life l;
    struct peer p;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, talks, &f));
    begin(&l, t);
    l.opts.on_message = stops_itself;
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&client, peer_url(&p, "/"), &l.opts), WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(weft_client_next(client, &c, 10000), WEFT_OK);
    weft_conn_set_data(c, client);
    CU_ASSERT_EQUAL(weft_conn_send_text(c, "now"), WEFT_OK);
    WAIT_FOR(l.messages == 1);
    CU_ASSERT_EQUAL(l.last_error, WEFT_E_STATE);
    weft_conn_unref(c);
    STOPS(weft_client_stop(client, 0));
    weft_client_unref(client);
    peer_stop(&p);
}

/* --- on the wire --- */

#define FRAMES 40

struct wire_seen {
    _Atomic unsigned frames; /* looked at: the rest belongs to the script until it is FRAMES */
    unsigned wrong, repeated;
    uint8_t keys[FRAMES][4];
};

static void checks_frames(struct peer *p)
{
    static struct peer_frame f;
    struct wire_seen *w = p->arg;

    peer_accept(p, NULL);
    for (w->frames = 0; w->frames < FRAMES && peer_next(p, &f); w->frames++) {
        size_t bytes = (size_t)w->frames * 1700;
        w->wrong += !f.is_masked || f.bytes != bytes || f.first != 0x82;
        for (size_t i = 0; i < f.bytes; i++)
            w->wrong += f.payload[i] != (uint8_t)(i + w->frames);
        for (unsigned k = 0; k < w->frames; k++)
            w->repeated += memcmp(w->keys[k], f.key, 4) == 0;
        memcpy(w->keys[w->frames], f.key, 4);
    }
    peer_hears_end(p);
}

/* The server reads slowly, so frames are written in part. */
ALL_MODES(each_frame_is_masked_with_a_key_of_its_own)
{
    static struct wire_seen w;
    static uint8_t bytes[FRAMES * 1700];
    weft_conn *c;
    struct life l;
    struct peer p;

    memset(&w, 0, sizeof w);
    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, checks_frames, &w));
    begin(&l, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, peer_url(&p, "/"), &l.opts), WEFT_OK);
    for (unsigned k = 0; k < FRAMES; k++) {
        weft_msg *m;
        for (size_t i = 0; i < k * 1700u; i++)
            bytes[i] = (uint8_t)(i + k);
        CU_ASSERT_EQUAL(weft_msg_new(&m, WEFT_BINARY, bytes, k * 1700u), WEFT_OK);
        CU_ASSERT_EQUAL(weft_conn_send(c, m), WEFT_OK);
    }
    weft_conn_close(c, 1000, NULL);
    WAIT_FOR(w.frames == FRAMES);
    CU_ASSERT_EQUAL(w.wrong, 0);
    CU_ASSERT(w.repeated <= 1);
    weft_conn_abort(c);
    WAIT_FOR(l.closed == 1);
    weft_conn_unref(c);
    peer_stop(&p);
}

static void masks(struct peer *p)
{
    static const uint8_t masked[] = {0x81, 0x81, 1, 2, 3, 4, 'x' ^ 1};

    peer_accept(p, NULL);
    client_put(&p->k, masked, sizeof masked);
    if (peer_next(p, p->arg))
        peer_hears_end(p);
}

ALL_MODES(a_server_that_masks_is_failed_with_1002)
{
    static struct peer_frame f;
    weft_conn *c;
    struct life l;
    struct peer p;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, masks, &f));
    begin(&l, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, peer_url(&p, "/"), &l.opts), WEFT_OK);
    WAIT_FOR(l.closed == 1);
    CU_ASSERT_EQUAL(l.messages, 0);
    weft_conn_unref(c);
    peer_stop(&p);
    CU_ASSERT_EQUAL(f.first, 0x88);
    CU_ASSERT(f.payload[0] == 0x03 && f.payload[1] == 0xea);
}

static void closes_and_stays(struct peer *p)
{
    static const uint8_t code[] = {0x03, 0xe8};
    static struct peer_frame f;

    peer_accept(p, NULL);
    if (!peer_next(p, &f) || f.first != 0x88)
        return;
    peer_say(p, CLIENT_CLOSE, code, 2);
    atomic_fetch_add((_Atomic unsigned *)p->arg, peer_hears_end(p));
}

/* False: the server's Close came too late. */
static bool is_left_behind_close(struct e2e *t, uint32_t timeout_ms)
{
    _Atomic unsigned ended = 0;
    weft_conn *c;
    struct life l;
    struct peer p;
    uint64_t began_us = e2e_now_us();
    weft_close_info info;

    CU_ASSERT_FATAL(peer_start(&p, closes_and_stays, &ended));
    begin(&l, t);
    l.opts.close_timeout_ms = timeout_ms;
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, peer_url(&p, "/"), &l.opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_conn_close(c, 1000, NULL), WEFT_OK);
    WAIT_FOR(l.closed == 1);
    CU_ASSERT(e2e_now_us() - began_us >= timeout_ms * 950u);
    CU_ASSERT_EQUAL(weft_conn_close_info(c, &info), WEFT_OK);
    if (info.clean) {
        WAIT_FOR(ended == 1);
        CU_ASSERT_EQUAL(info.received_code, 1000);
    }
    weft_conn_unref(c);
    peer_stop(&p);
    return info.clean;
}

/* RFC 6455 section 7.1.1: the server ends TCP; a client waits for that, but not for ever. The server may take as long for
 * its Close, which is longer with each attempt. */
ALL_MODES(a_server_that_does_not_end_tcp_is_left_in_time)
{
    bool is_left = false;

    CU_ASSERT_FATAL(e2e_start(t));
    for (uint32_t timeout_ms = 100; timeout_ms <= 6400 && !is_left; timeout_ms *= 8)
        is_left = is_left_behind_close(t, timeout_ms);
    CU_ASSERT(is_left);
}

ALL_MODES(clients_may_be_members_of_a_group)
{
    weft_group *g;
    weft_conn *c;
    weft_msg *m;
    struct life l;
    static struct peer_frame f;
    struct peer p;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, talks, &f));
    begin(&l, t);
    CU_ASSERT_EQUAL_FATAL(weft_group_new(&g), WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, peer_url(&p, "/"), &l.opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_add(g, c), WEFT_OK);
    CU_ASSERT_EQUAL(weft_msg_new(&m, WEFT_TEXT, "to all", 6), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_broadcast(g, m, NULL), WEFT_OK);
    WAIT_FOR(l.messages == 1);
    CU_ASSERT(f.is_masked && f.bytes == 6 && memcmp(f.payload, "to all", 6) == 0);
    weft_conn_abort(c);
    WAIT_FOR(l.closed == 1);
    CU_ASSERT_EQUAL(weft_group_count(g), 0);
    weft_conn_unref(c);
    weft_group_unref(g);
    peer_stop(&p);
}

/* --- the threads that clients share --- */

static void shared_threads_come_and_go(void)
{
    struct life l;
    struct peer p;
    weft_conn *c;
    struct e2e none = {0};

    STOPS(weft_client_stop_threads(0));
    CU_ASSERT_FATAL(peer_start(&p, listens, NULL));
    for (int i = 0; i < 2; i++) {
        begin(&l, &none);
        CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, peer_url(&p, "/"), &l.opts), WEFT_OK);
        STOPS(weft_client_stop_threads(0));
        CU_ASSERT_EQUAL(l.closed, 1);
        weft_conn_unref(c);
    }
    peer_stop(&p);
}

static const struct unit_case cases[] = {
    CASE(a_loop_over_sessions_goes_on_when_the_server_ends_them),
    CASE(the_delay_grows_to_its_bound),
    CASE(what_does_not_pass_is_not_tried_again),
    CASE(next_gives_up_when_its_time_is_over),
    CASE(sessions_run_in_the_background),
    CASE(stopping_closes_the_session_with_1001),
    CASE(stopping_ends_an_attempt_at_once),
    CASE(stopping_in_a_callback_is_refused),
    CASE(each_frame_is_masked_with_a_key_of_its_own),
    CASE(a_server_that_masks_is_failed_with_1002),
    CASE(a_server_that_does_not_end_tcp_is_left_in_time),
    CASE(clients_may_be_members_of_a_group),
    CASE(shared_threads_come_and_go),
};

E2E_MAIN("e2e_client_session")
