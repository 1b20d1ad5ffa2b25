/* A client when memory runs out: each allocation of a connection's life fails in turn, in each style of program. Whatever
 * fails, the client says so or goes on without it, and nothing is left: no block, no descriptor, no thread. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "e2e_peer.h"
#include "e2e_server.h"
#include "weft/task.h"

#define NTH_MAX 2000

struct life {
    weft_client_opts opts;
    weft_failure *failure;
    unsigned connected; /* connections that on_open and on_close are still to be called for */
    _Atomic unsigned opened, closed, failed, wrong;
};

static void on_open(weft_conn *c, void *app)
{
    (void)c;
    atomic_fetch_add(&((struct life *)app)->opened, 1);
}

static void on_close(weft_conn *c, const weft_close_info *info, void *app)
{
    (void)c;
    (void)info;
    atomic_fetch_add(&((struct life *)app)->closed, 1);
}

static void on_failure(const weft_failure *f, uint32_t retry_ms, void *app)
{
    (void)f;
    (void)retry_ms;
    atomic_fetch_add(&((struct life *)app)->failed, 1);
}

/* "hello" comes, or nothing does for want of memory. */
static void look_at(struct life *l, const weft_msg *m)
{
    if (weft_msg_bytes(m) != 5 || memcmp(weft_msg_data(m), "hello", 5) != 0)
        atomic_fetch_add(&l->wrong, 1);
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    look_at(app, m);
    weft_msg_unref(m);
    if (weft_conn_close(c, 1000, NULL) != WEFT_OK)
        weft_conn_abort(c);
}

static int handler(weft_conn *c, void *app)
{
    weft_msg *m;
    int rc = weft_conn_recv(c, &m, 5000);

    if (rc == WEFT_OK) {
        look_at(app, m);
        weft_msg_unref(m);
    }
    return rc;
}

/* --- one life in each style; what it answers is a result of connecting --- */

static int connect_only(struct life *l, const char *url)
{
    int rc = weft_client_connect(NULL, url, &l->opts);

    l->connected = rc == WEFT_OK;
    return rc;
}

static int with_callbacks(struct life *l, const char *url)
{
    l->opts.on_message = on_message;
    return connect_only(l, url);
}

static int with_handler(struct life *l, const char *url)
{
    l->opts.handler = handler;
    return connect_only(l, url);
}

static int straight(struct life *l, const char *url)
{
    weft_conn *c;
    int rc = weft_client_connect(&c, url, &l->opts);

    if (rc != WEFT_OK)
        return rc;
    l->connected = 1;
    handler(c, l);
    weft_conn_send_text(c, "and back");
    weft_conn_ping_wait(c, 0, NULL);
    weft_conn_send_begin(c, WEFT_TEXT);
    weft_conn_send_part(c, "part", 4);
    weft_conn_send_end(c);
    weft_conn_close(c, 1000, "done");
    weft_conn_wait_closed(c, 0);
    weft_conn_abort(c);
    weft_conn_unref(c);
    return WEFT_OK;
}

static int next(struct life *l, const char *url)
{
    weft_client *client;
    weft_conn *c;
    int rc = weft_client_new(&client, url, &l->opts);

    if (rc != WEFT_OK)
        return rc;
    for (int i = 0; i < 2 && rc == WEFT_OK; i++) {
        rc = weft_client_next(client, &c, 10000);
        if (rc == WEFT_OK) {
            handler(c, l);
            weft_conn_abort(c);
            weft_conn_unref(c);
        }
    }
    STOPS(weft_client_stop(client, 0));
    weft_client_unref(client);
    return rc;
}

static int run_in_background(struct life *l, const char *url, bool is_awaited)
{
    weft_client *client;
    int rc;

    l->opts.handler = handler;
    l->opts.on_failure = on_failure;
    rc = weft_client_new(&client, url, &l->opts);
    if (rc != WEFT_OK)
        return rc;
    rc = weft_client_start(client);
    if (rc == WEFT_OK && is_awaited)
        WAIT_FOR(l->opened || l->failed);
    STOPS(weft_client_stop(client, 0));
    weft_client_unref(client);
    return rc;
}

static int in_background(struct life *l, const char *url)
{
    return run_in_background(l, url, true);
}

static int stopped_at_once(struct life *l, const char *url)
{
    return run_in_background(l, url, false);
}

/* --- the case --- */

static void greets(struct peer *p)
{
    static const uint8_t hello[] = {0x81, 5, 'h', 'e', 'l', 'l', 'o'};

    peer_accept(p, "Sec-WebSocket-Protocol: chat\r\n");
    client_put(&p->k, hello, sizeof hello);
    peer_hears_end(p);
}

static void refuses(struct peer *p)
{
    if (strncmp(p->head, "GET /no ", 8) == 0)
        peer_put(p, "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n");
    else
        peer_put(p, "HTTP/1.1 302 Found\r\nLocation: /no\r\nContent-Length: 0\r\n\r\n");
}

static bool is_expected(int rc, int error)
{
    return rc == error || rc == WEFT_E_NOMEM || rc == WEFT_E_AGAIN || rc == WEFT_E_CLOSED;
}

/* True: the n-th allocation was reached. */
static bool fails_at(struct e2e *t, uint64_t nth, int (*live)(struct life *, const char *), const char *url,
                     int error)
{
    static const char *const subprotocols[] = {"chat", "other"};
    static const weft_header header = {"X-One", "1"};
    struct life l = {0};
    bool happened;
    int rc;

    l.opts = (weft_client_opts){.size = sizeof l.opts,
                                .app = &l,
                                .on_open = on_open,
                                .on_close = on_close,
                                .server = t->server,
                                .failure = &l.failure,
                                .subprotocols = subprotocols,
                                .subprotocol_count = 2,
                                .headers = &header,
                                .header_count = 1,
                                .user = "user",
                                .password = "password",
                                .proxy = "",
                                .close_timeout_ms = 50,
                                .open_timeout_ms = 5000};
    mem_fail_at(nth);
    rc = live(&l, url);
    WAIT_FOR(l.closed == l.opened && l.closed >= l.connected);
    happened = mem_fail_happened();
    mem_fail_at(0);
    if (!is_expected(rc, error))
        printf("allocation %u: %s\n", (unsigned)nth, weft_error_name(rc));
    CU_ASSERT(is_expected(rc, error));
    CU_ASSERT(happened || rc == error);
    CU_ASSERT_EQUAL(l.wrong, 0);
    CU_ASSERT_EQUAL(l.failure && weft_failure_error(l.failure) != rc, 0);
    weft_failure_free(l.failure);
    return happened;
}

static void each_fails(struct e2e *t, int (*live)(struct life *, const char *), peer_script *script,
                       int error)
{
    struct peer p;
    uint64_t nth = 1;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, script, NULL));
    while (nth < NTH_MAX && fails_at(t, nth, live, peer_url(&p, "/"), error))
        nth++;
    CU_ASSERT(nth > 10 && nth < NTH_MAX);
    peer_stop(&p);
}

ALL_MODES(each_allocation_of_a_client_with_callbacks_fails)
{
    each_fails(t, with_callbacks, greets, WEFT_OK);
}

ALL_MODES(each_allocation_of_a_client_with_a_handler_fails)
{
    each_fails(t, with_handler, greets, WEFT_OK);
}

ALL_MODES(each_allocation_of_a_straight_line_client_fails)
{
    each_fails(t, straight, greets, WEFT_OK);
}

ALL_MODES(each_allocation_of_sessions_fails)
{
    each_fails(t, next, greets, WEFT_OK);
}

ALL_MODES(each_allocation_of_a_client_in_the_background_fails)
{
    each_fails(t, in_background, greets, WEFT_OK);
}

/* How many there are before the stop is a matter of chance. */
ALL_MODES(each_allocation_of_a_client_that_is_stopped_at_once_fails)
{
    enum { NTH = 40 };
    struct peer p;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, greets, NULL));
    for (uint64_t nth = 1; nth <= NTH; nth++)
        fails_at(t, nth, stopped_at_once, peer_url(&p, "/"), WEFT_OK);
    peer_stop(&p);
}

ALL_MODES(each_allocation_of_a_redirect_and_a_refusal_fails)
{
    each_fails(t, straight, refuses, WEFT_E_REFUSED);
}

static const struct unit_case cases[] = {
    CASE(each_allocation_of_a_client_with_callbacks_fails),
    CASE(each_allocation_of_a_client_with_a_handler_fails),
    CASE(each_allocation_of_a_straight_line_client_fails),
    CASE(each_allocation_of_sessions_fails),
    CASE(each_allocation_of_a_client_in_the_background_fails),
    CASE(each_allocation_of_a_client_that_is_stopped_at_once_fails),
    CASE(each_allocation_of_a_redirect_and_a_refusal_fails),
};

E2E_MAIN("e2e_client_memory")
