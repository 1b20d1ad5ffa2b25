/* Requests and their decisions, from end to end. */
#include "e2e_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Send the request, expect this status; head gets the whole response. */
static bool gets(struct e2e *t, struct client *k, const char *request, int status, char *head, size_t room)
{
    return client_connect(k, t->port) && client_put_text(k, request) &&
           client_status(k, head, room) == status;
}

static void accept_richly(weft_request *r, struct e2e *t)
{
    static const weft_header headers[] = {{"X-Room", "7"}, {"Set-Cookie", "a=b"}};
    weft_accept how = {.subprotocol = "chat.v2", .headers = headers, .header_count = 2};

    if (strcmp(weft_request_method(r), "GET") != 0 || strcmp(weft_request_path(r), "/chat%20room") != 0 ||
        strcmp(weft_request_query(r), "a=1&b=2") != 0 || !weft_request_is_upgrade(r) ||
        strncmp(weft_request_peer(r), "127.0.0.1:", 10) != 0)
        e2e_fault(t, "the request is not told as it was sent");
    if (!weft_request_header(r, "x-TWICE", 1) ||
        strcmp(weft_request_header(r, "X-Twice", 1), "second") != 0 || weft_request_header(r, "X-Twice", 2) ||
        weft_request_header(r, "X-None", 0))
        e2e_fault(t, "the headers are not told as they were sent");
    if (!weft_request_offers(r, "chat.v2") || weft_request_offers(r, "chat") ||
        weft_request_offers(r, "CHAT.V2"))
        e2e_fault(t, "the subprotocols are not told as they were sent");
    how.subprotocol = "chat";
    if (weft_request_accept(r, &how) != WEFT_E_INVAL)
        e2e_fault(t, "a subprotocol that was not offered is accepted");
    how.subprotocol = "chat.v2";
    if (weft_request_accept(r, &how) != WEFT_OK)
        e2e_fault(t, "accept failed");
    if (weft_request_accept(r, NULL) != WEFT_E_STATE ||
        weft_request_respond(r, 200, NULL, 0, NULL, 0) != WEFT_E_STATE)
        e2e_fault(t, "a second decision counts");
}

static void check_subprotocol(weft_conn *c, struct seen *s)
{
    if (strcmp(weft_conn_subprotocol(c), "chat.v2") != 0)
        e2e_fault(s->t, "the subprotocol is '%s'", weft_conn_subprotocol(c));
}

ALL_MODES(an_acceptance_carries_subprotocol_and_headers)
{
    struct client k;
    char head[1024] = "";

    t->on_request = accept_richly;
    t->on_open = check_subprotocol;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_connect(&k, t->port));
    CU_ASSERT(
        client_ask(&k, "/chat%20room?a=1&b=2",
                   "X-Twice: first\r\nX-Twice: second\r\nSec-WebSocket-Protocol: chat.v1, chat.v2\r\n"));
    CU_ASSERT_EQUAL(client_status(&k, head, sizeof head), 101);
    CU_ASSERT(strstr(head, "\r\nSec-WebSocket-Protocol: chat.v2\r\n") != NULL);
    CU_ASSERT(strstr(head, "\r\nX-Room: 7\r\n") != NULL);
    CU_ASSERT(strstr(head, "\r\nSet-Cookie: a=b\r\n") != NULL);
    CU_ASSERT(client_say(&k, "hello"));
    CU_ASSERT(client_hears(&k, "hello"));
    client_close(&k);
}

static int data_of_program;

static void accept_with_data(weft_request *r, struct e2e *t)
{
    weft_accept how = {.data = &data_of_program};

    if (weft_request_accept(r, &how) != WEFT_OK)
        e2e_fault(t, "accept failed");
}

/* Not with the watched callbacks, which use the program's pointer themselves. */
static void look_at_data(weft_conn *c, void *app)
{
    _Atomic int *found = app;
    atomic_store(found, weft_conn_data(c) == &data_of_program ? 1 : -1);
}

static void accept_raw(weft_request *r, void *app)
{
    (void)app;
    accept_with_data(r, NULL);
}

ALL_MODES(the_data_of_an_acceptance_is_the_connections)
{
    _Atomic int found = 0;
    weft_server_opts opts = {.size = sizeof opts,
                             .app = &found,
                             .on_request = accept_raw,
                             .on_open = look_at_data,
                             .io_threads = t->mode->io_threads,
                             .inline_handlers = t->mode->is_inline};
    weft_server *s;
    struct client k;
    uint16_t port;

    CU_ASSERT_EQUAL(weft_server_new(&s, &opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_listen_tcp(s, NULL, 0, &port), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_start(s), WEFT_OK);
    CU_ASSERT(client_open(&k, port));
    WAIT_FOR(found == 1);
    client_close(&k);
    STOPS(weft_server_stop(s, 0));
    weft_server_unref(s);
}

static void answer_pages(weft_request *r, struct e2e *t)
{
    static const weft_header headers[] = {{"Content-Type", "text/html"}, {"X-Page", "yes"}};
    static const weft_header evil[] = {{"X-Evil", "a\r\nSet-Cookie: b"}};
    static const char body[] = "<p>page</p>";

    if (weft_request_is_upgrade(r) || weft_request_accept(r, NULL) != WEFT_E_STATE)
        e2e_fault(t, "a plain request is taken for a handshake");
    if (weft_request_respond(r, 199, NULL, 0, NULL, 0) != WEFT_E_INVAL ||
        weft_request_respond(r, 600, NULL, 0, NULL, 0) != WEFT_E_INVAL ||
        weft_request_respond(r, 200, evil, 1, NULL, 0) != WEFT_E_INVAL)
        e2e_fault(t, "a response that cannot be sent is taken");
    if (weft_request_respond(r, 404, headers, 2, body, sizeof body - 1) != WEFT_OK)
        e2e_fault(t, "respond failed");
}

ALL_MODES(a_plain_request_is_answered_with_status_headers_and_body)
{
    struct client k;
    char head[1024] = "";

    t->on_request = answer_pages;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(gets(t, &k, "GET /page HTTP/1.1\r\nHost: x\r\n\r\n", 404, head, sizeof head));
    CU_ASSERT(strstr(head, "\r\nContent-Length: 11\r\n") != NULL);
    CU_ASSERT(strstr(head, "\r\nContent-Type: text/html\r\n") != NULL);
    CU_ASSERT(strstr(head, "\r\nX-Page: yes\r\n") != NULL);
    CU_ASSERT(strstr(head, "\r\n\r\n<p>page</p>") != NULL);
    CU_ASSERT(client_sees_end(&k));
    client_close(&k);
    WAIT_FOR(e2e_stats(t).refused == 1);
    CU_ASSERT_EQUAL(t->opened, 0);
}

ALL_MODES(head_gets_the_length_without_the_body)
{
    struct client k;
    char head[1024] = "";

    t->on_request = answer_pages;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(gets(t, &k, "HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n", 404, head, sizeof head));
    CU_ASSERT(strstr(head, "\r\nContent-Length: 11\r\n") != NULL);
    CU_ASSERT(strstr(head, "<p>") == NULL);
    CU_ASSERT(client_sees_end(&k));
    client_close(&k);
}

/* Half a connection is enough to get an answer. */
ALL_MODES(a_client_that_ends_its_side_still_gets_its_answer)
{
    struct client k;
    char head[1024] = "";

    t->on_request = answer_pages;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < 20; i++) {
        CU_ASSERT(client_connect(&k, t->port));
        CU_ASSERT(client_put_text(&k, "GET /page HTTP/1.1\r\nHost: x\r\n\r\n"));
        client_end(&k);
        CU_ASSERT_EQUAL(client_status(&k, head, sizeof head), 404);
        CU_ASSERT(client_sees_end(&k));
        client_close(&k);
    }
}

ALL_MODES(a_closing_handshake_by_a_client_that_ends_its_side_is_completed)
{
    struct client k;
    char head[1024] = "";

    CU_ASSERT_FATAL(e2e_start(t));
    for (unsigned i = 0; i < 20; i++) {
        CU_ASSERT(client_connect(&k, t->port));
        CU_ASSERT(client_ask(&k, "/", NULL));
        CU_ASSERT(client_say_close(&k, 1000));
        client_end(&k);
        CU_ASSERT_EQUAL(client_status(&k, head, sizeof head), 101);
        CU_ASSERT_EQUAL(client_skip_to_close(&k), 1000);
        client_close(&k);
        WAIT_FOR(t->closed == i + 1);
        CU_ASSERT(t->seen[i]->info.clean);
    }
}

ALL_MODES(frames_sent_with_the_request_are_kept)
{
    struct client k;
    uint8_t bytes[4096];
    char head[1024] = "";
    size_t at;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_connect(&k, t->port));
    at = (size_t)snprintf((char *)bytes, 512,
                          "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " CLIENT_KEY "\r\n\r\n");
    for (int i = 0; i < 40; i++)
        at += client_frame(bytes + at, 0x81, "early", 5);
    CU_ASSERT(client_put(&k, bytes, at));
    CU_ASSERT_EQUAL(client_status(&k, head, sizeof head), 101);
    for (int i = 0; i < 40; i++)
        CU_ASSERT(client_hears(&k, "early"));
    client_close(&k);
}

ALL_MODES(a_request_in_single_bytes_is_the_same_request)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " CLIENT_KEY "\r\n\r\n";
    uint8_t frame[32];
    size_t n = client_frame(frame, 0x81, "bytes", 5);
    char head[1024] = "";
    struct client k;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_connect(&k, t->port));
    for (size_t i = 0; i + 1 < sizeof request; i++)
        CU_ASSERT(client_put(&k, request + i, 1));
    for (size_t i = 0; i < n; i++)
        CU_ASSERT(client_put(&k, frame + i, 1));
    CU_ASSERT_EQUAL(client_status(&k, head, sizeof head), 101);
    CU_ASSERT(client_hears(&k, "bytes"));
    client_close(&k);
}

/* --- later, and by others --- */

struct later {
    pthread_t thread;
    weft_request *request;
    struct gate *gate;
    int rc;
};

static struct later later;

static void *accept_later(void *arg)
{
    struct later *l = arg;

    gate_pass(l->gate);
    l->rc = weft_request_accept(l->request, NULL);
    weft_request_unref(l->request);
    return NULL;
}

static void defer_to_thread(weft_request *r, struct e2e *t)
{
    (void)t;
    later.request = weft_request_ref(r);
    pthread_create(&later.thread, NULL, accept_later, &later);
}

ALL_MODES(a_request_may_be_accepted_later_by_another_thread)
{
    struct gate g = {0};
    struct client k;
    char head[1024] = "";

    memset(&later, 0, sizeof later);
    later.gate = &g;
    t->on_request = defer_to_thread;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_connect(&k, t->port));
    CU_ASSERT(client_ask(&k, "/", NULL));
    WAIT_FOR(g.waiting == 1);
    CU_ASSERT_EQUAL(e2e_stats(t).handshaking, 1);
    CU_ASSERT_EQUAL(t->opened, 0);
    gate_open(&g);
    CU_ASSERT_EQUAL(client_status(&k, head, sizeof head), 101);
    pthread_join(later.thread, NULL);
    CU_ASSERT_EQUAL(later.rc, WEFT_OK);
    CU_ASSERT(client_say(&k, "late"));
    CU_ASSERT(client_hears(&k, "late"));
    client_close(&k);
}

static void let_accept(struct gate *g)
{
    WAIT_FOR(g->waiting == 1);
    gate_open(g);
    pthread_join(later.thread, NULL);
}

/* False: the time was over before the program was asked. */
static bool is_gone_when_accepted(struct e2e *t)
{
    unsigned asked = atomic_load(&t->requests);
    struct gate g = {0};
    struct client k;
    bool is_in_time;

    memset(&later, 0, sizeof later);
    later.gate = &g;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_connect(&k, t->port));
    client_ask(&k, "/", NULL); /* which an answer may have preceded: 408 */
    WAIT_FOR(t->requests > asked || e2e_stats(t).refused == 1);
    is_in_time = t->requests > asked;
    client_reset(&k);
    WAIT_FOR(e2e_stats(t).refused == 1);
    if (is_in_time) {
        let_accept(&g);
        CU_ASSERT_EQUAL(later.rc, WEFT_E_CLOSED);
        CU_ASSERT_EQUAL(t->opened, 0);
    }
    e2e_stop(t, 1000);
    if (!is_in_time && t->requests > asked)
        let_accept(&g);
    return is_in_time;
}

ALL_MODES(a_client_that_went_away_cannot_be_accepted)
{
    t->on_request = defer_to_thread;
    t->opts.open_timeout_ms = 1000; /* while the decision is awaited nothing is read: only time tells */
    SUCCEEDS_ONCE(is_gone_when_accepted(t));
}

ALL_MODES(a_deferred_request_outlives_its_server)
{
    struct gate g = {0};
    struct client k;

    memset(&later, 0, sizeof later);
    later.gate = &g;
    t->on_request = defer_to_thread;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_connect(&k, t->port));
    CU_ASSERT(client_ask(&k, "/", NULL));
    WAIT_FOR(g.waiting == 1);
    e2e_stop(t, 1000);
    gate_open(&g);
    pthread_join(later.thread, NULL);
    CU_ASSERT_EQUAL(later.rc, WEFT_E_CLOSED);
    client_close(&k);
}

static void decide_nothing(weft_request *r, struct e2e *t)
{
    (void)r, (void)t;
}

ALL_MODES(a_request_without_a_decision_is_answered_with_500)
{
    struct client k;
    char head[1024] = "";

    t->on_request = decide_nothing;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_connect(&k, t->port));
    CU_ASSERT(client_ask(&k, "/", NULL));
    CU_ASSERT_EQUAL(client_status(&k, head, sizeof head), 500);
    CU_ASSERT(client_sees_end(&k));
    client_close(&k);
}

/* --- who may --- */

ALL_MODES(only_allowed_origins_may_open)
{
    static const char *const origins[] = {"https://example.org", "https://example.com:8443"};
    static const struct {
        const char *header;
        int status;
    } asked[] = {
        {NULL, 101},
        {"Origin: https://example.org\r\n", 101},
        {"Origin: HTTPS://EXAMPLE.ORG\r\n", 101},
        {"Origin: https://example.com:8443\r\n", 101},
        {"Origin: https://example.com\r\n", 403},
        {"Origin: https://example.org.evil.net\r\n", 403},
        {"Origin: null\r\n", 403},
        {"Origin: https://example.org\r\nOrigin: https://example.org\r\n", 403},
    };

    t->opts.origins = origins;
    t->opts.origin_count = 2;
    CU_ASSERT_FATAL(e2e_start(t));
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        struct client k;
        char head[1024] = "";
        int status;
        CU_ASSERT(client_connect(&k, t->port));
        CU_ASSERT(client_ask(&k, "/", asked[i].header));
        status = client_status(&k, head, sizeof head);
        CU_ASSERT(status == asked[i].status || (asked[i].status == 403 && i == 7 && status == 400));
        client_close(&k);
    }
}

static void ask_for_credentials(weft_request *r, struct e2e *t)
{
    int rc = weft_request_basic_matches(r, "Aladdin", "open sesame") ? weft_request_accept(r, NULL)
                                                                     : weft_request_challenge(r, "cave");

    if (rc != WEFT_OK)
        e2e_fault(t, "the decision failed");
}

ALL_MODES(basic_credentials_open_and_others_are_challenged)
{
    static const struct {
        const char *header;
        int status;
    } asked[] = {
        {NULL, 401},
        {"Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", 101},
        {"Authorization: basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", 101},
        {"Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZ\r\n", 401},
        {"Authorization: Basic QWxhZGRpbjo=\r\n", 401},
        {"Authorization: Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", 401},
    };

    t->on_request = ask_for_credentials;
    CU_ASSERT_FATAL(e2e_start(t));
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        struct client k;
        char head[1024] = "";
        CU_ASSERT(client_connect(&k, t->port));
        CU_ASSERT(client_ask(&k, "/", asked[i].header));
        CU_ASSERT_EQUAL(client_status(&k, head, sizeof head), asked[i].status);
        if (asked[i].status == 401)
            CU_ASSERT(strstr(head, "WWW-Authenticate: Basic realm=\"cave\"") != NULL);
        client_close(&k);
    }
}

ALL_MODES(without_on_request_plain_http_is_told_to_upgrade)
{
    struct client k;
    char head[1024] = "";

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(gets(t, &k, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 426, head, sizeof head));
    CU_ASSERT(strstr(head, "\r\nUpgrade: websocket\r\n") != NULL);
    client_close(&k);
}

ALL_MODES(what_is_no_request_is_refused)
{
    static const struct {
        const char *text;
        int status;
    } asked[] = {
        {"\x16\x03\x01\x02\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: "
         "12\r\n"
         "Sec-WebSocket-Key: " CLIENT_KEY "\r\n\r\n",
         426},
        {"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: "
         "13\r\n"
         "Sec-WebSocket-Key: short\r\n\r\n",
         400},
    };

    CU_ASSERT_FATAL(e2e_start(t));
    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        struct client k;
        char head[1024] = "";
        CU_ASSERT(gets(t, &k, asked[i].text, asked[i].status, head, sizeof head));
        CU_ASSERT(client_sees_end(&k));
        client_close(&k);
    }
    WAIT_FOR(e2e_stats(t).refused == sizeof asked / sizeof asked[0]);
}

ALL_MODES(a_head_that_is_too_long_is_refused)
{
    char *request = malloc(20000), head[1024] = "";
    struct client k;
    int n = snprintf(request, 20000, "GET / HTTP/1.1\r\nHost: x\r\nX-Long: ");

    memset(request + n, 'a', 15000);
    strcpy(request + n + 15000, "\r\n\r\n");
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(gets(t, &k, request, 431, head, sizeof head));
    CU_ASSERT(client_sees_end(&k));
    client_close(&k);
    free(request);
}

/* --- many at once --- */

ALL_MODES(handshakes_that_are_dropped_at_any_byte_leave_nothing)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " CLIENT_KEY "\r\n\r\n";
    unsigned tries = 0;
    weft_stats s;

    CU_ASSERT_FATAL(e2e_start(t));
    for (size_t n = 0; n < sizeof request; n += 3) {
        struct client k;
        CU_ASSERT(client_connect(&k, t->port));
        CU_ASSERT(client_put(&k, request, n));
        if (n % 2)
            client_close(&k);
        else
            client_reset(&k);
        tries++;
    }
    WAIT_FOR((s = e2e_stats(t), s.accepted == tries && s.refused + s.closed == tries));
    CU_ASSERT_EQUAL(s.handshaking, 0);
    CU_ASSERT_EQUAL(s.connections, 0);
}

static const struct unit_case cases[] = {
    CASE(an_acceptance_carries_subprotocol_and_headers),
    CASE(the_data_of_an_acceptance_is_the_connections),
    CASE(a_plain_request_is_answered_with_status_headers_and_body),
    CASE(head_gets_the_length_without_the_body),
    CASE(a_client_that_ends_its_side_still_gets_its_answer),
    CASE(a_closing_handshake_by_a_client_that_ends_its_side_is_completed),
    CASE(frames_sent_with_the_request_are_kept),
    CASE(a_request_in_single_bytes_is_the_same_request),
    CASE(a_request_may_be_accepted_later_by_another_thread),
    CASE(a_client_that_went_away_cannot_be_accepted),
    CASE(a_deferred_request_outlives_its_server),
    CASE(a_request_without_a_decision_is_answered_with_500),
    CASE(only_allowed_origins_may_open),
    CASE(basic_credentials_open_and_others_are_challenged),
    CASE(without_on_request_plain_http_is_told_to_upgrade),
    CASE(what_is_no_request_is_refused),
    CASE(a_head_that_is_too_long_is_refused),
    CASE(handshakes_that_are_dropped_at_any_byte_leave_nothing),
};
E2E_MAIN("e2e_requests")
