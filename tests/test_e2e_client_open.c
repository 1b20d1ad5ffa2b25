/* How a client's connection comes to be open, or does not: against a server of the library, and against servers by
 * script that redirect, refuse, stall, die, or answer nonsense. The client runs on the threads of the case's server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "e2e_peer.h"
#include "e2e_server.h"
#include "proto/handshake.h"

#define ORIGIN "http://example.org"

/* What the callbacks of a client have seen. */
struct ends {
    weft_client_opts opts;
    weft_failure *failure;
    _Atomic unsigned opened, closed, messages;
    char last[256];
    weft_close_info info;
};

static void on_open(weft_conn *c, void *app)
{
    struct ends *s = app;

    (void)c;
    atomic_fetch_add(&s->opened, 1);
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    struct ends *s = app;

    (void)c;
    snprintf(s->last, sizeof s->last, "%.*s", (int)weft_msg_bytes(m), (const char *)weft_msg_data(m));
    weft_msg_unref(m);
    atomic_fetch_add(&s->messages, 1);
}

static void on_close(weft_conn *c, const weft_close_info *info, void *app)
{
    struct ends *s = app;

    (void)c;
    s->info = *info;
    s->info.reason = NULL;
    atomic_fetch_add(&s->closed, 1);
}

static void begin(struct ends *s, struct e2e *t)
{
    memset(s, 0, sizeof *s);
    s->opts = (weft_client_opts){.size = sizeof s->opts,
                                 .app = s,
                                 .on_open = on_open,
                                 .on_message = on_message,
                                 .on_close = on_close,
                                 .server = t->server,
                                 .failure = &s->failure,
                                 .proxy = "",
                                 .open_timeout_ms = 8000};
}

/* Connecting gives this error, and nothing is open. */
#define FAILS_WITH(s, url, error)                                                                            \
    do {                                                                                                     \
        weft_conn *none_ = NULL;                                                                             \
        CU_ASSERT_EQUAL(weft_client_connect(&none_, url, &(s)->opts), error);                                \
        CU_ASSERT_PTR_NULL(none_);                                                                           \
        CU_ASSERT_PTR_NOT_NULL_FATAL((s)->failure);                                                          \
        CU_ASSERT_EQUAL(weft_failure_error((s)->failure), error);                                            \
        CU_ASSERT(weft_failure_text((s)->failure)[0] != 0);                                                  \
        CU_ASSERT_EQUAL((s)->opened, 0);                                                                     \
    } while (0)

static void forget_failure(struct ends *s)
{
    weft_failure_free(s->failure);
    s->failure = NULL;
}

static char *url_of(const struct e2e *t, const char *target)
{
    static char url[256];

    snprintf(url, sizeof url, "ws://127.0.0.1:%u%s", t->port, target);
    return url;
}

ALL_MODES(a_message_goes_there_and_comes_back)
{
    struct ends s;
    weft_conn *c;
    char peer[64];

    CU_ASSERT_FATAL(e2e_start(t));
    begin(&s, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, url_of(t, "/"), &s.opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_conn_send_text(c, "there and back"), WEFT_OK);
    WAIT_FOR(s.messages == 1);
    CU_ASSERT_STRING_EQUAL(s.last, "there and back");
    CU_ASSERT(strncmp(weft_conn_peer(c, peer, sizeof peer), "127.0.0.1:", 10) == 0);
    CU_ASSERT_EQUAL(weft_conn_close(c, 1000, "done"), WEFT_OK);
    WAIT_FOR(s.closed == 1);
    CU_ASSERT_EQUAL(s.opened, 1);
    CU_ASSERT(s.info.clean);
    CU_ASSERT(!s.info.by_peer);
    CU_ASSERT_EQUAL(s.info.sent_code, 1000);
    CU_ASSERT_EQUAL(s.info.received_code, 1000);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT(t->seen[0]->info.clean);
    CU_ASSERT(t->seen[0]->info.by_peer);
    weft_conn_unref(c);
}

static void closes_4001(weft_conn *c, weft_msg *m, struct seen *s)
{
    (void)s;
    weft_msg_unref(m);
    weft_conn_close(c, 4001, "enough");
}

ALL_MODES(the_servers_close_is_told)
{
    struct ends s;
    weft_conn *c;

    t->on_message = closes_4001;
    CU_ASSERT_FATAL(e2e_start(t));
    begin(&s, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, url_of(t, "/"), &s.opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_conn_send_text(c, "x"), WEFT_OK);
    WAIT_FOR(s.closed == 1);
    CU_ASSERT(s.info.clean);
    CU_ASSERT(s.info.by_peer);
    CU_ASSERT_EQUAL(s.info.received_code, 4001);
    CU_ASSERT_EQUAL(weft_conn_send_text(c, "late"), WEFT_E_CLOSED);
    weft_conn_unref(c);
}

ALL_MODES(large_messages_pass_masked)
{
    static char big[300000];
    struct ends s;
    weft_conn *c;
    weft_msg *m;

    t->opts.message_bytes_max = 1 << 20;
    CU_ASSERT_FATAL(e2e_start(t));
    begin(&s, t);
    memset(big, 'x', sizeof big);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, url_of(t, "/"), &s.opts), WEFT_OK);
    for (size_t bytes = 0; bytes <= sizeof big; bytes = bytes * 3 + 1) {
        unsigned before = s.messages;
        CU_ASSERT_EQUAL(weft_msg_new(&m, WEFT_TEXT, big, bytes), WEFT_OK);
        CU_ASSERT_EQUAL(weft_conn_send(c, m), WEFT_OK);
        WAIT_FOR(s.messages == before + 1);
        CU_ASSERT_EQUAL(strlen(s.last), bytes < 255 ? bytes : 255);
    }
    CU_ASSERT_EQUAL(s.closed, 0);
    weft_conn_close(c, 0, NULL);
    WAIT_FOR(s.closed == 1);
    weft_conn_unref(c);
}

static void chooses(weft_request *r, struct e2e *t)
{
    weft_accept how = {.subprotocol = "b"};

    (void)t;
    if (strcmp(weft_request_path(r), "/no") == 0)
        weft_request_respond(r, 403, NULL, 0, "not you\n", 8);
    else
        weft_request_accept(r, weft_request_offers(r, "b") ? &how : NULL);
}

ALL_MODES(a_subprotocol_is_agreed_upon)
{
    const char *const offered[] = {"a", "b"};
    struct ends s;
    weft_conn *c;

    t->on_request = chooses;
    CU_ASSERT_FATAL(e2e_start(t));
    begin(&s, t);
    s.opts.subprotocols = offered;
    s.opts.subprotocol_count = 2;
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, url_of(t, "/"), &s.opts), WEFT_OK);
    CU_ASSERT_STRING_EQUAL(weft_conn_subprotocol(c), "b");
    weft_conn_abort(c);
    WAIT_FOR(s.closed == 1);
    weft_conn_unref(c);
}

ALL_MODES(a_refusal_is_kept_with_its_body)
{
    struct ends s;
    size_t bytes = 0;

    t->on_request = chooses;
    CU_ASSERT_FATAL(e2e_start(t));
    begin(&s, t);
    FAILS_WITH(&s, url_of(t, "/no"), WEFT_E_REFUSED);
    CU_ASSERT_EQUAL(weft_failure_status(s.failure), 403);
    CU_ASSERT(memcmp(weft_failure_body(s.failure, &bytes), "not you\n", 8) == 0);
    CU_ASSERT_EQUAL(bytes, 8);
    CU_ASSERT_STRING_EQUAL(weft_failure_header(s.failure, "content-length", 0), "8");
    CU_ASSERT_PTR_NULL(weft_failure_header(s.failure, "X-None", 0));
    CU_ASSERT_PTR_NOT_NULL(strstr(weft_failure_text(s.failure), "403"));
    forget_failure(&s);
}

/* --- by script --- */

static void note_request(struct peer *p)
{
    peer_accept(p, NULL);
    peer_hears_end(p);
}

ALL_MODES(the_request_says_what_was_asked_for)
{
    static const weft_header extra[] = {{"X-One", "1"}, {"Cookie", "a=b"}};
    struct peer p;
    struct ends s;
    weft_conn *c;
    char url[128];

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, note_request, NULL));
    begin(&s, t);
    s.opts.headers = extra;
    s.opts.header_count = 2;
    s.opts.origin = ORIGIN;
    snprintf(url, sizeof url, "ws://us%%65r:p%%40ss@localhost:%u/a/b?c=d", p.port);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, url, &s.opts), WEFT_OK);
    CU_ASSERT(strncmp(p.head, "GET /a/b?c=d HTTP/1.1\r\n", 23) == 0);
    snprintf(url, sizeof url, "localhost:%u", p.port);
    CU_ASSERT_STRING_EQUAL(peer_header(&p, "Host"), url);
    CU_ASSERT_STRING_EQUAL(peer_header(&p, "X-One"), "1");
    CU_ASSERT_STRING_EQUAL(peer_header(&p, "Cookie"), "a=b");
    CU_ASSERT_STRING_EQUAL(peer_header(&p, "Origin"), ORIGIN);
    CU_ASSERT_STRING_EQUAL(peer_header(&p, "Authorization"), "Basic dXNlcjpwQHNz");
    CU_ASSERT_STRING_EQUAL(peer_header(&p, "User-Agent"), "weft/" WEFT_VERSION);
    CU_ASSERT_STRING_EQUAL(peer_header(&p, "Sec-WebSocket-Version"), "13");
    weft_conn_abort(c);
    WAIT_FOR(s.closed == 1);
    weft_conn_unref(c);
    peer_stop(&p);
}

/* What stands between the first space and the second in the request line, "/n", says what to do. */
static void answers(struct peer *p)
{
    const char *target = p->head + 4;

    if (strncmp(target, "/garbage ", 9) == 0) {
        peer_put(p, "SSH-2.0-OpenSSH_9.2\r\n");
    } else if (strncmp(target, "/silent ", 8) == 0) {
        peer_sleep(p);
    } else if (strncmp(target, "/half ", 6) == 0) {
        peer_put(p, "HTTP/1.1 101 Switching");
    } else if (strncmp(target, "/accept ", 8) == 0) {
        p->accept[3] ^= 1;
        peer_accept(p, NULL);
        peer_hears_end(p);
    } else if (strncmp(target, "/subprotocol ", 13) == 0) {
        peer_accept(p, "Sec-WebSocket-Protocol: nobody-asked\r\n");
    } else if (strncmp(target, "/extension ", 11) == 0) {
        peer_accept(p, "Sec-WebSocket-Extensions: x-made-up\r\n");
    } else if (strncmp(target, "/200 ", 5) == 0) {
        peer_put(p, "HTTP/1.1 200 OK\r\n\r\nuntil the end");
    } else if (strncmp(target, "/chunks ", 8) == 0) {
        peer_put(p, "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "5;x=y\r\nhello\r\n1\r\n \r\nA\r\nchunked wo\r\n3\r\nrld\r\n0\r\n\r\n");
        peer_hears_end(p);
    } else if (strncmp(target, "/endless ", 9) == 0) {
        peer_put(p, "HTTP/1.1 101 Switching Protocols\r\n");
        while (peer_put(p, "X-Header: again and again and again and again and again and again and again\r\n"))
            ;
    }
}

ALL_MODES(wrong_answers_are_failures)
{
    static const struct {
        const char *target;
        int error;
    } wrong[] = {{"/garbage", WEFT_E_PROTOCOL},   {"/half", WEFT_E_CLOSED},        {"/accept", WEFT_E_PROTOCOL},
                 {"/subprotocol", WEFT_E_PROTOCOL}, {"/extension", WEFT_E_PROTOCOL}, {"/200", WEFT_E_REFUSED},
                 {"/chunks", WEFT_E_REFUSED},     {"/endless", WEFT_E_TOO_BIG},    {"/nothing", WEFT_E_CLOSED}};
    struct peer p;
    struct ends s;
    size_t bytes;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, answers, NULL));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        begin(&s, t);
        FAILS_WITH(&s, peer_url(&p, wrong[i].target), wrong[i].error);
        if (strcmp(wrong[i].target, "/200") == 0)
            CU_ASSERT(memcmp(weft_failure_body(s.failure, &bytes), "until the end", 13) == 0 && bytes == 13);
        if (strcmp(wrong[i].target, "/chunks") == 0)
            CU_ASSERT(memcmp(weft_failure_body(s.failure, &bytes), "hello chunked world", 19) == 0 && bytes == 19);
        forget_failure(&s);
    }
    peer_stop(&p);
}

ALL_MODES(a_server_that_says_nothing_is_given_up_in_time)
{
    struct peer p;
    struct ends s;
    uint64_t began_us = e2e_now_us();

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, answers, NULL));
    begin(&s, t);
    s.opts.open_timeout_ms = 150;
    FAILS_WITH(&s, peer_url(&p, "/silent"), WEFT_E_TIMEOUT);
    CU_ASSERT(e2e_now_us() - began_us >= 140000);
    forget_failure(&s);
    peer_stop(&p);
}

ALL_MODES(nobody_listens)
{
    struct peer p;
    struct ends s;

    CU_ASSERT_FATAL(e2e_start(t) && peer_hold_port(&p));
    begin(&s, t);
    FAILS_WITH(&s, peer_url(&p, "/"), WEFT_E_SYSTEM);
    CU_ASSERT(weft_failure_errno(s.failure) != 0);
    forget_failure(&s);
    peer_stop(&p);
}

/* The 101 byte by byte, a message in the same write as its end. */
static void drips(struct peer *p)
{
    char head[512];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 101 Switching Protocols\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
                     "Sec-WebSocket-Accept: %s\r\n\r%c%c%cglued",
                     p->accept, '\n', 0x81, 5);

    for (int i = 0; i < n - 8; i++)
        client_put(&p->k, head + i, 1);
    client_put(&p->k, head + n - 8, 8);
    peer_hears_end(p);
}

ALL_MODES(the_answer_may_come_in_pieces_with_a_message_behind_it)
{
    struct peer p;
    struct ends s;
    weft_conn *c;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, drips, NULL));
    begin(&s, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, peer_url(&p, "/"), &s.opts), WEFT_OK);
    WAIT_FOR(s.messages == 1);
    CU_ASSERT_STRING_EQUAL(s.last, "glued");
    weft_conn_abort(c);
    WAIT_FOR(s.closed == 1);
    weft_conn_unref(c);
    peer_stop(&p);
}

/* --- redirects --- */

struct way {
    char location[128];
    int status;
    char authorization[64], cookie[64];
};

static void redirects(struct peer *p)
{
    struct way *w = p->arg;

    if (strncmp(p->head, "GET /end ", 9) != 0) {
        peer_put(p, "HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", w->status, w->location);
        return;
    }
    snprintf(w->authorization, sizeof w->authorization, "%s", peer_header(p, "Authorization"));
    snprintf(w->cookie, sizeof w->cookie, "%s", peer_header(p, "Cookie"));
    peer_accept(p, NULL);
    peer_hears_end(p);
}

ALL_MODES(redirects_are_followed)
{
    static const int statuses[] = {300, 301, 302, 303, 307, 308};
    static const weft_header cookie = {"Cookie", "secret=1"};
    struct peer p;
    struct ends s;
    struct way w = {.location = "../end"};
    weft_conn *c;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, redirects, &w));
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
        begin(&s, t);
        s.opts.headers = &cookie;
        s.opts.header_count = 1;
        s.opts.user = "u";
        s.opts.password = "p";
        w.status = statuses[i];
        CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, peer_url(&p, "/a/b"), &s.opts), WEFT_OK);
        CU_ASSERT_STRING_EQUAL(w.authorization, "Basic dTpw"); /* the same origin */
        CU_ASSERT_STRING_EQUAL(w.cookie, "secret=1");
        weft_conn_abort(c);
        WAIT_FOR(s.closed == 1);
        weft_conn_unref(c);
    }
    peer_stop(&p);
}

ALL_MODES(secrets_stay_with_their_origin)
{
    static const weft_header cookie = {"Cookie", "secret=1"};
    struct peer p, other;
    struct ends s;
    struct way w = {.status = 302}, there = {0};
    weft_conn *c;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, redirects, &w) && peer_start(&other, redirects, &there));
    begin(&s, t);
    s.opts.headers = &cookie;
    s.opts.header_count = 1;
    s.opts.user = "u";
    s.opts.password = "p";
    snprintf(w.location, sizeof w.location, "http://127.0.0.1:%u/end", other.port);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, peer_url(&p, "/"), &s.opts), WEFT_OK);
    CU_ASSERT_STRING_EQUAL(there.authorization, "");
    CU_ASSERT_STRING_EQUAL(there.cookie, "");
    weft_conn_abort(c);
    WAIT_FOR(s.closed == 1);
    weft_conn_unref(c);
    peer_stop(&p);
    peer_stop(&other);
}

ALL_MODES(redirects_have_an_end)
{
    struct peer p;
    struct ends s;
    struct way w = {.location = "/again", .status = 302};

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, redirects, &w));
    begin(&s, t);
    FAILS_WITH(&s, peer_url(&p, "/"), WEFT_E_REFUSED);
    CU_ASSERT_EQUAL(p.accepted, 11);
    CU_ASSERT_EQUAL(weft_failure_status(s.failure), 302);
    forget_failure(&s);
    s.opts.redirects_max = UINT32_MAX;
    FAILS_WITH(&s, peer_url(&p, "/"), WEFT_E_REFUSED);
    CU_ASSERT_EQUAL(p.accepted, 12);
    forget_failure(&s);
    snprintf(w.location, sizeof w.location, "gopher://127.0.0.1/");
    s.opts.redirects_max = 0;
    FAILS_WITH(&s, peer_url(&p, "/"), WEFT_E_REFUSED);
    CU_ASSERT_EQUAL(p.accepted, 13);
    forget_failure(&s);
    peer_stop(&p);
}

/* --- the way there --- */

/* Behind the CONNECT it is the server. */
static void is_proxy_and_server(struct peer *p)
{
    char *asked = p->arg, key[HTTP_KEY_CHARS + 1] = "";
    size_t n = 0;

    memcpy(asked, p->head, 64);
    peer_put(p, "HTTP/1.1 200 Connection established\r\n\r\n");
    memset(p->head, 0, sizeof p->head);
    while (n + 1 < sizeof p->head && !strstr(p->head, "\r\n\r\n") && recv(p->k.fd, p->head + n, 1, 0) == 1)
        n++;
    snprintf(key, sizeof key, "%s", peer_header(p, "Sec-WebSocket-Key"));
    http_accept_value(key, p->accept);
    peer_accept(p, NULL);
    peer_say(p, CLIENT_TEXT, "behind the proxy", 16);
    peer_hears_end(p);
}

ALL_MODES(the_environment_names_the_proxy)
{
    static char asked[64];
    struct peer p;
    struct ends s;
    weft_conn *c;

    CU_ASSERT_FATAL(e2e_start(t) && peer_start(&p, is_proxy_and_server, asked));
    begin(&s, t);
    s.opts.proxy = NULL;
    setenv("http_proxy", peer_url(&p, "") + strlen("ws://"), 1);
    setenv("no_proxy", "127.0.0.1", 1);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, "ws://nowhere.test:81/path", &s.opts), WEFT_OK);
    CU_ASSERT(strncmp(asked, "CONNECT nowhere.test:81 HTTP/1.1\r\n", 34) == 0);
    CU_ASSERT(strncmp(p.head, "GET /path HTTP/1.1\r\n", 20) == 0);
    WAIT_FOR(s.messages == 1);
    CU_ASSERT_STRING_EQUAL(s.last, "behind the proxy");
    weft_conn_abort(c);
    WAIT_FOR(s.closed == 1);
    weft_conn_unref(c);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, url_of(t, "/"), &s.opts), WEFT_OK); /* it is exempt */
    WAIT_FOR(t->opened == 1);
    weft_conn_abort(c);
    WAIT_FOR(s.closed == 2);
    weft_conn_unref(c);
    unsetenv("http_proxy");
    unsetenv("no_proxy");
    peer_stop(&p);
}

/* "localhost" is ::1 first, where nobody listens. */
ALL_MODES(another_address_of_the_name_serves_as_well)
{
    struct ends s;
    weft_conn *c;
    char url[64];

    CU_ASSERT_FATAL(e2e_start(t));
    begin(&s, t);
    snprintf(url, sizeof url, "ws://localhost:%u/", t->port);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, url, &s.opts), WEFT_OK);
    weft_conn_abort(c);
    WAIT_FOR(s.closed == 1);
    weft_conn_unref(c);
}

/* --- what is wrong with the call --- */

ALL_MODES(bad_urls_and_options_are_refused)
{
    static const char *const urls[] = {"", "ws://", "http://x/", "ws://x/#f", "ws://x:99999/", "ws://a b/"};
    static const weft_header split = {"X", "a\r\nb: c"};
    struct ends s;
    weft_conn *c = NULL;

    CU_ASSERT_FATAL(e2e_start(t));
    begin(&s, t);
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        FAILS_WITH(&s, urls[i], WEFT_E_INVAL);
        forget_failure(&s);
    }
    FAILS_WITH(&s, NULL, WEFT_E_INVAL);
    forget_failure(&s);
    s.opts.headers = &split;
    s.opts.header_count = 1;
    CU_ASSERT_EQUAL(weft_client_connect(&c, url_of(t, "/"), &s.opts), WEFT_E_INVAL);
    forget_failure(&s);
    s.opts.header_count = 0;
    s.opts.password = "without a user";
    CU_ASSERT_EQUAL(weft_client_connect(&c, url_of(t, "/"), &s.opts), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_failure_error(s.failure), WEFT_E_INVAL);
    CU_ASSERT_PTR_NULL(c);
    forget_failure(&s);
}

ALL_MODES(a_unix_socket_serves_as_well)
{
    struct ends s;
    weft_conn *c;
    char path[64], url[96];

    snprintf(path, sizeof path, "/tmp/weft-client-test-%d", (int)getpid());
    snprintf(url, sizeof url, "ws+unix://%s:/where", path);
    CU_ASSERT_FATAL(e2e_new(t));
    CU_ASSERT_EQUAL(weft_server_listen_unix(t->server, path), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_start(t->server), WEFT_OK);
    begin(&s, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, url, &s.opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_conn_send_text(c, "local"), WEFT_OK);
    WAIT_FOR(s.messages == 1);
    weft_conn_close(c, 1000, NULL);
    WAIT_FOR(s.closed == 1);
    weft_conn_unref(c);
}

ALL_MODES(the_server_stops_with_the_clients_on_its_threads)
{
    struct ends s;
    weft_conn *c;

    CU_ASSERT_FATAL(e2e_start(t));
    begin(&s, t);
    CU_ASSERT_EQUAL_FATAL(weft_client_connect(&c, url_of(t, "/"), &s.opts), WEFT_OK);
    e2e_stop(t, 5000);
    CU_ASSERT_EQUAL(s.closed, 1);
    CU_ASSERT_EQUAL(weft_conn_send_text(c, "late"), WEFT_E_CLOSED);
    weft_conn_unref(c);
}

static const struct unit_case cases[] = {
    CASE(a_message_goes_there_and_comes_back),
    CASE(the_servers_close_is_told),
    CASE(large_messages_pass_masked),
    CASE(a_subprotocol_is_agreed_upon),
    CASE(a_refusal_is_kept_with_its_body),
    CASE(the_request_says_what_was_asked_for),
    CASE(wrong_answers_are_failures),
    CASE(a_server_that_says_nothing_is_given_up_in_time),
    CASE(nobody_listens),
    CASE(the_answer_may_come_in_pieces_with_a_message_behind_it),
    CASE(redirects_are_followed),
    CASE(secrets_stay_with_their_origin),
    CASE(redirects_have_an_end),
    CASE(the_environment_names_the_proxy),
    CASE(another_address_of_the_name_serves_as_well),
    CASE(bad_urls_and_options_are_refused),
    CASE(a_unix_socket_serves_as_well),
    CASE(the_server_stops_with_the_clients_on_its_threads),
};

E2E_MAIN("e2e_client_open")
