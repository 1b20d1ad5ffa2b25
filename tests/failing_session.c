/* A server and a client in one process; see failing_session.h. Who cannot go on gives the connection up. */
#include "failing_session.h"

#include <stdint.h>
#include <string.h>

#include <CUnit/CUnit.h>

#include "failing.h"
#include "weft/group.h"
#include "weft/stream.h"
#include "weft/task.h"

enum { SMALL_BYTES = 10, SQUEEZED_BYTES = 3000, LARGE_BYTES = 200000 };
/* Of a message that is sent to all. */
static const char to_all[] = "to all";

/* Four times as long with each try. */
static uint32_t patience_ms(uint32_t ms)
{
    return ms << 2 * failing_tries_before();
}

static uint32_t open_timeout_ms(const struct failing_session *f)
{
    return patience_ms(f->open_timeout_ms ? f->open_timeout_ms : 300);
}

/* --- the server --- */

static void decide(weft_request *r, void *app)
{
    static const weft_header header = {"X-Answer", "1"};
    weft_accept how = {
        .subprotocol = weft_request_offers(r, "chat") ? "chat" : NULL, .headers = &header, .header_count = 1};

    (void)app;
    if (weft_request_accept(r, &how) == WEFT_E_NOMEM)
        weft_request_respond(r, 503, NULL, 0, NULL, 0);
}

/* Takes the message. */
static int answer_one(weft_conn *c, weft_msg *m, weft_group *g)
{
    bool is_for_all = weft_msg_bytes(m) == strlen(to_all) && weft_msg_type(m) == WEFT_TEXT;
    int rc = is_for_all ? weft_group_broadcast(g, m, NULL) : weft_conn_send(c, m);

    if (rc != WEFT_OK)
        weft_msg_unref(m);
    return rc;
}

static int answer(weft_conn *c, void *app)
{
    weft_msg *m;
    int rc = weft_group_add(app, c);

    while (rc == WEFT_OK && (rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK)
        rc = answer_one(c, m, app);
    return rc;
}

static int wait_for_end(weft_conn *c, void *app)
{
    (void)app;
    return weft_conn_sleep(c, 5000);
}

static int handler(weft_conn *c, void *app)
{
    return weft_conn_race(c, app, answer, wait_for_end);
}

static void give_up(weft_conn *c, int rc)
{
    if (rc != WEFT_OK && weft_conn_close(c, 1011, "no more") != WEFT_OK)
        weft_conn_abort(c);
}

static void on_open(weft_conn *c, void *app)
{
    give_up(c, weft_group_add(app, c));
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    give_up(c, answer_one(c, m, app));
}

static int start_server(struct failing_session *f, weft_server **s, weft_group *g)
{
    weft_server_opts opts = {.size = sizeof opts,
                             .app = g,
                             .on_request = decide,
                             .workers = 2,
                             .workers_max = 2,
                             .connections_per_address_max = 100,
                             .open_timeout_ms = open_timeout_ms(f),
                             .close_timeout_ms = 100};
    int rc;

    if (f->is_inline) {
        opts.inline_handlers = true;
        opts.on_open = on_open;
        opts.on_message = on_message;
    } else {
        opts.handler = handler;
    }
    rc = weft_server_new(s, &opts);
    if (rc == WEFT_OK)
        rc = f->listen(f, *s);
    return rc == WEFT_OK ? weft_server_start(*s) : rc;
}

/* --- the client --- */

/* Two that compress well, one that does not. */
static void fill(uint8_t *p, size_t n)
{
    uint32_t x = 1;

    memset(p, 'x', n);
    for (size_t i = 0; n == LARGE_BYTES && i < n; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (uint8_t)(x >> 24);
    }
}

static int hear(weft_conn *c, size_t bytes)
{
    weft_msg *back;
    int rc = weft_conn_recv(c, &back, patience_ms(2000));

    if (rc != WEFT_OK)
        return rc;
    CU_ASSERT_EQUAL(weft_msg_bytes(back), bytes);
    weft_msg_unref(back);
    return WEFT_OK;
}

static int echo_once(weft_conn *c, size_t bytes)
{
    void *payload;
    weft_msg *m;
    int rc = weft_msg_new_raw(&m, WEFT_BINARY, bytes, &payload);

    if (rc != WEFT_OK)
        return rc;
    fill(payload, bytes);
    rc = weft_conn_send(c, m);
    if (rc != WEFT_OK) {
        weft_msg_unref(m);
        return rc;
    }
    return hear(c, bytes);
}

static int echo_parts(weft_conn *c)
{
    int rc = weft_conn_send_begin(c, WEFT_TEXT), ended;

    if (rc != WEFT_OK)
        return rc;
    for (int i = 0; i < 2 && rc == WEFT_OK; i++)
        rc = weft_conn_send_part(c, "a part of it", 12);
    ended = weft_conn_send_end(c);
    if (rc == WEFT_OK)
        rc = ended;
    return rc == WEFT_OK ? hear(c, 24) : rc;
}

static int talk_of_all(weft_conn *c)
{
    uint32_t latency_us;
    int rc = echo_once(c, SMALL_BYTES);

    if (rc == WEFT_OK)
        rc = echo_once(c, SQUEEZED_BYTES);
    if (rc == WEFT_OK)
        rc = echo_once(c, LARGE_BYTES);
    if (rc == WEFT_OK)
        rc = echo_parts(c);
    if (rc == WEFT_OK)
        rc = weft_conn_send_text(c, to_all);
    if (rc == WEFT_OK)
        rc = hear(c, strlen(to_all));
    return rc == WEFT_OK ? weft_conn_ping_wait(c, patience_ms(1000), &latency_us) : rc;
}

static int talk(struct failing_session *f, weft_server *s)
{
    static const char *const subprotocols[] = {"chat", "other"};
    static const weft_header header = {"X-Question", "1"};
    weft_failure *failure = NULL;
    weft_client_opts opts = {.size = sizeof opts,
                             .server = f->has_own_client ? NULL : s,
                             .subprotocols = subprotocols,
                             .subprotocol_count = 2,
                             .headers = &header,
                             .header_count = 1,
                             .ca_file = f->ca_file,
                             .open_timeout_ms = open_timeout_ms(f),
                             .close_timeout_ms = 100,
                             .proxy = "",
                             .failure = &failure};
    weft_conn *c = NULL;
    int rc = weft_client_connect(&c, f->url, &opts);

    CU_ASSERT(!failure || weft_failure_error(failure) == rc);
    weft_failure_free(failure);
    if (rc != WEFT_OK)
        return rc;
    rc = talk_of_all(c);
    if (weft_conn_close(c, 1000, "done") != WEFT_OK || weft_conn_wait_closed(c, 1000) != WEFT_OK)
        weft_conn_abort(c);
    weft_conn_unref(c);
    return rc;
}

int failing_session_run(void *arg)
{
    struct failing_session *f = arg;
    weft_server *s = NULL;
    weft_group *g;
    int rc = weft_group_new(&g);

    if (rc != WEFT_OK)
        return rc;
    rc = start_server(f, &s, g);
    if (rc == WEFT_OK)
        rc = talk(f, s);
    weft_client_stop_threads(500);
    weft_server_unref(s);
    weft_group_unref(g);
    return rc;
}
