/* The opening handshake, for both sides. Every head is fed whole, one byte at a time and cut in two at every
 * place, and the answer must be the same each time. */
#include "unit.h"

#include "base/mem.h"
#include "proto/compose.h"
#include "proto/digest.h"
#include "proto/field.h"
#include "proto/handshake.h"
#include "proto/http.h"
#include "weft/error.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE    "GET /chat HTTP/1.1\r\n"
#define HOST    "Host: example.org\r\n"
#define ASKS    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define KEY     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define UPGRADE LINE HOST ASKS KEY VERSION
#define END     "\r\n"
#define OK_101  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
#define ACCEPT  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

static bool same(const char *given, const char *wanted)
{
    if (!given || !wanted)
        return given == wanted;
    return strcmp(given, wanted) == 0;
}

static bool same_text(struct http_text t, const char *wanted)
{
    return http_equal(t, http_text_of(wanted)) && !t.p == !wanted;
}

/* ---- feeding in all ways ---- */

struct input {
    enum http_role role;
    const struct http_limits *limits;
    const char *bytes;
    size_t n;
};

/* Feed in pieces that are copied to blocks of their own, so that a sanitizer sees a read beyond them. first
 * is the length of the first piece, rest of all others. */
static struct http_head *feed(const struct input *in, size_t first, size_t rest, int *rc, size_t *used)
{
    struct http_head *h = http_head_new(in->role, in->limits);
    size_t at = 0, piece = first;

    *rc = HTTP_MORE;
    while (at < in->n && *rc == HTTP_MORE) {
        size_t n = piece < in->n - at ? piece : in->n - at, taken;
        uint8_t *copy = malloc(n ? n : 1);

        memcpy(copy, in->bytes + at, n);
        *rc = http_head_feed(h, copy, n, &taken);
        free(copy);
        CU_ASSERT(taken <= n);
        CU_ASSERT(*rc != HTTP_MORE || taken == n);
        at += taken;
        piece = rest;
    }
    *used = at;
    return h;
}

/* One that must come out the same however it is cut. The caller frees the head of the whole. */
static struct http_head *read_all_ways(const struct input *in, int *rc, size_t *used)
{
    struct http_head *whole = feed(in, in->n, in->n, rc, used);
    size_t step = in->n > 2000 ? in->n / 97 : 1;

    for (size_t cut = 0; cut < in->n; cut += step) {
        int other_rc;
        size_t other_used;
        struct http_head *other = feed(in, cut, cut == 0 ? 1 : in->n, &other_rc, &other_used);

        CU_ASSERT_EQUAL(other_rc, *rc);
        CU_ASSERT_EQUAL(other->status, whole->status);
        CU_ASSERT_EQUAL(other->error, whole->error);
        CU_ASSERT(same(other->reason, whole->reason));
        CU_ASSERT_EQUAL(http_head_is_head(other), http_head_is_head(whole));
        if (*rc == HTTP_DONE) {
            CU_ASSERT_EQUAL(other_used, *used);
            CU_ASSERT_EQUAL(other->header_count, whole->header_count);
            CU_ASSERT(same(other->path, whole->path));
            CU_ASSERT(same(other->host, whole->host));
        }
        http_head_free(other);
    }
    return whole;
}

static void complain(const char *what, const char *bytes, const struct http_head *h)
{
    fprintf(stderr, "%s: status %d (%s) for:\n%s\n", what, h->status, h->reason ? h->reason : "-", bytes);
    CU_FAIL("unexpected outcome");
}

/* Fed with frames behind the head, which must stay. */
static struct http_head *read_good(enum http_role role, const char *text)
{
    static const char frames[] = "\x81\x85\0\0\0\0Hello\r\n\r\n";
    size_t n = strlen(text), used;
    char *bytes = malloc(n + sizeof frames);
    struct input in = {role, NULL, bytes, n + sizeof frames};
    struct http_head *h;
    int rc;

    memcpy(bytes, text, n);
    memcpy(bytes + n, frames, sizeof frames);
    h = read_all_ways(&in, &rc, &used);
    if (rc != HTTP_DONE)
        complain("refused", text, h);
    CU_ASSERT_EQUAL(used, n);
    free(bytes);
    return h;
}

static struct http_head *request(const char *text)
{
    return read_good(HTTP_ROLE_SERVER, text);
}

static void expect_bad_bytes(enum http_role role, const struct http_limits *limits, const char *bytes,
                             size_t n, int status)
{
    struct input in = {role, limits, bytes, n};
    size_t used;
    int rc;
    struct http_head *h = read_all_ways(&in, &rc, &used);

    if (rc != HTTP_BAD || (status != 0 && h->status != status))
        complain("not refused as expected", bytes, h);
    CU_ASSERT(h->reason != NULL);
    CU_ASSERT(h->error < 0);
    CU_ASSERT_EQUAL(http_head_feed(h, (const uint8_t *)"x", 1, &used), HTTP_BAD);
    CU_ASSERT_EQUAL(used, 0);
    http_head_free(h);
}

static void expect_bad(int status, const char *text)
{
    expect_bad_bytes(HTTP_ROLE_SERVER, NULL, text, strlen(text), status);
}

/* A request head is fine by itself and then gets one more line. */
static void expect_bad_header(int status, const char *line)
{
    char text[512];

    snprintf(text, sizeof text, LINE HOST "%s" END, line);
    expect_bad(status, text);
}

static void expect_good_header(const char *line)
{
    char text[512];

    snprintf(text, sizeof text, LINE HOST "%s" END, line);
    http_head_free(request(text));
}

/* ---- reading requests ---- */

static void a_request_is_cut_into_its_parts(void)
{
    struct http_head *h =
        request("GET /chat/room?name=x&y HTTP/1.1\r\nHost: example.org:8080\r\n"
                "X-Empty:\r\nX-Blank: \t \r\nX-Many:  one \r\nx-many:\ttwo words\t\r\nX-Last: \xe4\r\n\r\n");
    struct http_text name, value;

    CU_ASSERT(same(h->method, "GET"));
    CU_ASSERT(same(h->target, "/chat/room?name=x&y"));
    CU_ASSERT(same(h->path, "/chat/room"));
    CU_ASSERT(same(h->query, "name=x&y"));
    CU_ASSERT(same(h->host, "example.org:8080"));
    CU_ASSERT_EQUAL(h->header_count, 6);
    CU_ASSERT(same_text(http_head_value(h, "x-empty", 0), ""));
    CU_ASSERT(same_text(http_head_value(h, "X-BLANK", 0), ""));
    CU_ASSERT(same_text(http_head_value(h, "X-Many", 0), "one"));
    CU_ASSERT(same_text(http_head_value(h, "X-Many", 1), "two words"));
    CU_ASSERT(same_text(http_head_value(h, "X-Many", 2), NULL));
    CU_ASSERT(same_text(http_head_value(h, "X-Man", 0), NULL));
    CU_ASSERT_EQUAL(http_head_fields(h, "X-MANY"), 2);
    CU_ASSERT_EQUAL(http_head_fields(h, "nothing"), 0);
    for (unsigned i = 0; i < h->header_count; i++) {
        http_head_at(h, i, &name, &value);
        CU_ASSERT_EQUAL(strlen(name.p), name.n);
        CU_ASSERT_EQUAL(strlen(value.p), value.n);
    }
    CU_ASSERT(same(name.p, "X-Last"));
    CU_ASSERT(same(value.p, "\xe4"));
    http_head_free(h);
}

static void path_and_query_are_found_in_every_form_of_target(void)
{
    static const struct {
        const char *target, *path, *query, *host;
    } rows[] = {{"/", "/", NULL, "h"},
                {"/a", "/a", NULL, "h"},
                {"/a?", "/a", "", "h"},
                {"/?q", "/", "q", "h"},
                {"/a?b?c", "/a", "b?c", "h"},
                {"//a", "//a", NULL, "h"},
                {"/a:b|{c}", "/a:b|{c}", NULL, "h"},
                {"/%41", "/%41", NULL, "h"},
                {"http://other", "/", NULL, "other"},
                {"http://other?x", "/", "x", "other"},
                {"WS://other:81/a?x", "/a", "x", "other:81"},
                {"wss://[::1]:81/a", "/a", NULL, "[::1]:81"},
                {"https://other/", "/", NULL, "other"}};
    char text[256];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", rows[i].target);
        struct http_head *h = request(text);

        CU_ASSERT(same(h->target, rows[i].target));
        CU_ASSERT(same(h->path, rows[i].path));
        CU_ASSERT(same(h->query, rows[i].query));
        CU_ASSERT(same(h->host, rows[i].host));
        http_head_free(h);
    }
}

static void a_target_that_makes_no_sense_is_refused(void)
{
    static const char *const targets[] = {
        "*",           "example.org:80", "chat",         "ftp://h/", "http://",         "http:///x",
        "http://u@h/", "http://h:x",     "http://[::1/", "/a#b",     "/\x01",           "/\x7f",
        "/\xc3\xa4",   "/a\tb",          "?a",           "http:/h/", "http://h:70000/", "ws://h\\x/"};
    char text[256];

    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST END, targets[i]);
        expect_bad(400, text);
    }
    expect_bad_bytes(HTTP_ROLE_SERVER, NULL, "GET /\0 HTTP/1.1\r\n" HOST END,
                     sizeof("GET /\0 HTTP/1.1\r\n" HOST END) - 1, 400);
}

static void a_malformed_request_line_is_refused(void)
{
    expect_bad(400, "GET  / HTTP/1.1\r\n" HOST END);
    expect_bad(400, "GET /  HTTP/1.1\r\n" HOST END);
    expect_bad(400, "GET / HTTP/1.1 \r\n" HOST END);
    expect_bad(400, "GET / a HTTP/1.1\r\n" HOST END);
    expect_bad(400, " GET / HTTP/1.1\r\n" HOST END);
    expect_bad(400, "GET\t/ HTTP/1.1\r\n" HOST END);
    expect_bad(400, "GET\r\n" HOST END);
    expect_bad(400, "GET \r\n" HOST END);
    expect_bad(400, "GET / http/1.1\r\n" HOST END);
    expect_bad(400, "GET / HTTP/1.1x\r\n" HOST END);
    expect_bad(400, "GET / HTTP/1.10\r\n" HOST END);
    expect_bad(400, "GET / HTTP/#.#\r\n" HOST END);
    expect_bad(400, "GET / HTTP/11\r\n" HOST END);
    expect_bad(400, "GET / ICE/1.1\r\n" HOST END);
    expect_bad(400, "GET / HTTP/1.1\n" HOST END);
    expect_bad(400, "GET / HTTP/1.1\rX" HOST END);
    expect_bad(400, "GET / \n" HOST END);
    expect_bad(400, "GET /\n" HOST END);
    expect_bad(400, "G(T / HTTP/1.1\r\n" HOST END);
    expect_bad(400, "G\"T / HTTP/1.1\r\n" HOST END);
    expect_bad(400, "\x16\x03\x01\x02");
    expect_bad(400, "\x80");
}

static void other_versions_are_answered_with_505(void)
{
    expect_bad(505, "GET / HTTP/1.0\r\n" HOST END);
    expect_bad(505, "GET / HTTP/0.9\r\n" HOST END);
    expect_bad(505, "GET / HTTP/1.2\r\n" HOST END);
    expect_bad(505, "GET / HTTP/2.0\r\n" HOST END);
    expect_bad(505, "GET /\r\n");
    expect_bad(505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
}

static void methods_other_than_get_and_head_are_refused(void)
{
    struct http_head *h = request("HEAD / HTTP/1.1\r\n" HOST END);

    CU_ASSERT(http_head_is_head(h));
    http_head_free(h);
    h = request(LINE HOST END);
    CU_ASSERT(!http_head_is_head(h));
    http_head_free(h);
    expect_bad(405, "POST / HTTP/1.1\r\n" HOST END);
    expect_bad(405, "OPTIONS * HTTP/1.1\r\n" HOST END);
    expect_bad(405, "CONNECT example.org:443 HTTP/1.1\r\n" HOST END);
    expect_bad(405, "M-SEARCH / HTTP/1.1\r\n" HOST END);
    expect_bad(501, "get / HTTP/1.1\r\n" HOST END);
    expect_bad(501, "GETX / HTTP/1.1\r\n" HOST END);
    expect_bad(501, "BREW / HTTP/1.1\r\n" HOST END);
    expect_bad(501, "ABCDEFGHIJKLMNOPQRSTUVWXY(/ HTTP/1.1\r\n");
}

static void a_malformed_header_is_refused(void)
{
    expect_bad_header(400, " folded: at once\r\n");
    expect_bad_header(400, "A: b\r\n folded\r\n");
    expect_bad_header(400, "A: b\r\n\tfolded\r\n");
    expect_bad_header(400, "A : b\r\n");
    expect_bad_header(400, "A\t: b\r\n");
    expect_bad_header(400, ": b\r\n");
    expect_bad_header(400, "A\r\n");
    expect_bad_header(400, "A b: c\r\n");
    expect_bad_header(400, "A(: c\r\n");
    expect_bad_header(400, "\xe4: c\r\n");
    expect_bad_header(400, "A: b\n");
    expect_bad_header(400, "A: b\rC: d\r\n");
    expect_bad_header(400, "A: b\r\r\n");
    expect_bad_header(400, "A: \x01\r\n");
    expect_bad_header(400, "A: \x1b[31m\r\n");
    expect_bad_header(400, "A: \x7f\r\n");
    expect_bad_header(400, "\n");
    expect_bad_header(400, "A: b\r\n\n");
    expect_bad_bytes(HTTP_ROLE_SERVER, NULL, LINE HOST "A: b\0c\r\n" END,
                     sizeof(LINE HOST "A: b\0c\r\n" END) - 1, 400);
    expect_bad_bytes(HTTP_ROLE_SERVER, NULL, LINE HOST "A\0: c\r\n" END,
                     sizeof(LINE HOST "A\0: c\r\n" END) - 1, 400);
    expect_bad(400, LINE HOST "\rX");
    expect_good_header("!#$%&'*+-.^_`|~09azAZ: odd but a token\r\n");
    expect_good_header("A: \x80\xff \t\"(,)\r\n");
}

static void host_must_be_there_once_and_valid(void)
{
    static const char *const good[] = {"a",     "example.org", "example.org:0", "a:65535", "127.0.0.1:80",
                                       "[::1]", "[1:2::]:9",   "a_b.c-d~",      "%41b",    "a:"};
    static const char *const bad[] = {"",        ":80",      "a b",       "a/b",   "u@a",   "a:b",
                                      "a:65536", "a:123456", "[::1",      "::1",   "[]",    "[x]:80",
                                      "[::1]x",  "a%4",      "a%xx",      "<a>",   "a,b c", "a\\b",
                                      "a?b",     "a:80:80",  "[1.2.3.4]", "a\xe4", "\"a\""};
    char text[256];

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(text, sizeof text, LINE "Host: %s\r\n" END, good[i]);
        http_head_free(request(text));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, LINE "Host: %s\r\n" END, bad[i]);
        expect_bad(400, text);
    }
    expect_bad(400, LINE END);
    expect_bad(400, LINE HOST HOST END);
    expect_bad(400, LINE HOST "host: other\r\n" END);
    expect_bad(400, "GET http://h/ HTTP/1.1\r\n" END);
}

static void a_request_with_a_body_is_refused(void)
{
    expect_good_header("Content-Length: 0\r\n");
    expect_good_header("Content-Length: 000\r\n");
    expect_bad_header(413, "Content-Length: 1\r\n");
    expect_bad_header(413, "Content-Length: 123456789012345678\r\n");
    expect_bad_header(413, "Transfer-Encoding: chunked\r\n");
    expect_bad_header(413, "Transfer-Encoding: gzip\r\n");
    expect_bad_header(413, "Transfer-Encoding:\r\n");
    expect_bad_header(400, "Content-Length: 0\r\nContent-Length: 0\r\n");
    expect_bad_header(400, "Content-Length: 1\r\nContent-Length: 2\r\n");
    expect_bad_header(400, "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n");
    expect_bad_header(400, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n");
    expect_bad_header(400, "Content-Length: -1\r\n");
    expect_bad_header(400, "Content-Length: +1\r\n");
    expect_bad_header(400, "Content-Length: 0x0\r\n");
    expect_bad_header(400, "Content-Length: 0, 0\r\n");
    expect_bad_header(400, "Content-Length: 0 0\r\n");
    expect_bad_header(400, "Content-Length:\r\n");
    expect_bad_header(400, "Content-Length: 18446744073709551616\r\n");
    expect_bad_header(400, "Content-Length: 99999999999999999999999999\r\n");
}

static void few_empty_lines_may_come_before_a_request(void)
{
    http_head_free(request("\r\n" LINE HOST END));
    http_head_free(request("\r\n\r\n" LINE HOST END));
    expect_bad(400, "\r\n\r\n\r\n" LINE HOST END);
    expect_bad(400, "\n" LINE HOST END);
    expect_bad(400, "\r" LINE HOST END);
    expect_bad(400, "\r\r\n" LINE HOST END);
}

/* ---- limits ---- */

/* LINE HOST and one header that fills the head up to exactly n bytes. */
static char *head_of(size_t n)
{
    static const char front[] = LINE HOST "A: ";
    char *bytes = malloc(n + 1);

    memset(bytes, 'a', n);
    memcpy(bytes, front, sizeof front - 1);
    memcpy(bytes + n - 4, "\r\n\r\n", 5);
    return bytes;
}

static void expect_size(const struct http_limits *limits, size_t n, int wanted, int status)
{
    char *bytes = head_of(n);
    struct input in = {HTTP_ROLE_SERVER, limits, bytes, n};
    size_t used;
    int rc;
    struct http_head *h = read_all_ways(&in, &rc, &used);

    CU_ASSERT_EQUAL(rc, wanted);
    CU_ASSERT_EQUAL(h->status, status);
    if (status == 431)
        CU_ASSERT_EQUAL(h->error, WEFT_E_TOO_BIG);
    http_head_free(h);
    free(bytes);
}

static void a_head_may_have_exactly_the_bytes_of_the_limit(void)
{
    struct http_limits small = {.head_bytes_max = 100}, huge = {.head_bytes_max = 1u << 30};

    expect_size(NULL, 8192, HTTP_DONE, 0);
    expect_size(NULL, 8193, HTTP_BAD, 431);
    expect_size(&small, 100, HTTP_DONE, 0);
    expect_size(&small, 101, HTTP_BAD, 431);
    expect_size(&huge, 65535, HTTP_DONE, 0);
    expect_size(&huge, 65536, HTTP_BAD, 431);
}

static void a_request_line_beyond_the_limit_is_answered_with_414(void)
{
    struct http_limits limits = {.head_bytes_max = 64};
    char *text = malloc(9001);

    memset(text, 'a', 9000);
    memcpy(text, "GET /", 5);
    text[9000] = '\0';
    expect_bad(414, text);
    expect_bad_bytes(HTTP_ROLE_SERVER, &limits, text, 65, 414);
    free(text);
}

/* A long target with absolute form and query needs copies of its parts, and the buffer has to make room for
 * them. */
static void a_target_as_large_as_the_head_keeps_its_parts(void)
{
    size_t n = 8192 - strlen("GET  HTTP/1.1\r\nHost: h\r\n\r\n");
    char *target = malloc(n + 1), *text = malloc(8193);
    struct http_head *h;

    memset(target, 'p', n);
    memcpy(target, "ws://other/", 11);
    memcpy(target + n - 2, "?q", 3);
    snprintf(text, 8193, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", target);
    h = request(text);
    CU_ASSERT(same(h->target, target));
    CU_ASSERT(same(h->host, "other"));
    CU_ASSERT(same(h->query, "q"));
    CU_ASSERT_EQUAL(strlen(h->path), n - 12);
    http_head_free(h);
    free(target);
    free(text);
}

static void as_many_headers_as_the_limit_are_read(void)
{
    struct http_limits limits = {.headers_max = 3};
    static const char three[] = LINE HOST "A:1\r\nB:2\r\n" END,
                      four[] = LINE HOST "A:1\r\nB:2\r\nC:3\r\n" END;
    struct input in = {HTTP_ROLE_SERVER, &limits, three, sizeof three - 1};
    char text[1024] = LINE HOST;
    size_t used;
    int rc;

    http_head_free(read_all_ways(&in, &rc, &used));
    CU_ASSERT_EQUAL(rc, HTTP_DONE);
    expect_bad_bytes(HTTP_ROLE_SERVER, &limits, four, sizeof four - 1, 431);
    for (int i = 0; i < 63; i++)
        strcat(text, "a:b\r\n");
    strcat(text, END);
    http_head_free(request(text));
    text[strlen(text) - 2] = '\0';
    strcat(text, "a:b\r\n\r\n");
    expect_bad(431, text);
}

/* ---- lists ---- */

static void expect_tokens(const char *text, int (*next)(struct http_list *, struct http_text *),
                          const char *wanted)
{
    struct http_list list;
    struct http_text token;
    char found[256] = "";
    int rc;

    http_list_of_text(&list, http_text_of(text));
    while ((rc = next(&list, &token)) == 1) {
        strncat(found, token.p, token.n);
        strcat(found, ";");
    }
    if (rc < 0) {
        strcat(found, "bad");
        CU_ASSERT_EQUAL(next(&list, &token), -1);
    }
    if (strcmp(found, wanted) != 0)
        fprintf(stderr, "'%s' gave '%s'\n", text, found);
    CU_ASSERT(strcmp(found, wanted) == 0);
}

static void lists_are_read_over_blanks_and_empty_elements(void)
{
    expect_tokens("", http_list_token, "");
    expect_tokens(" , ,\t", http_list_token, "");
    expect_tokens("a", http_list_token, "a;");
    expect_tokens(",a,, b\t,c ,", http_list_token, "a;b;c;");
    expect_tokens("a b", http_list_token, "bad");
    expect_tokens("a, b c", http_list_token, "a;bad");
    expect_tokens("a;b", http_list_token, "bad");
    expect_tokens("\"a\"", http_list_token, "bad");
    expect_tokens("a/b", http_list_token, "bad");
    expect_tokens("a/b, c", http_list_protocol, "a/b;c;");
    expect_tokens("a/", http_list_protocol, "bad");
    expect_tokens("/a", http_list_protocol, "bad");
    expect_tokens("a/b/c", http_list_protocol, "bad");
}

static void a_list_goes_over_all_fields_of_its_name(void)
{
    struct http_head *h = request(LINE HOST "X: a,\r\nY: q\r\nx: ,b\r\nX:\r\nX: c d\r\n" END);
    struct http_list list;
    struct http_text token;

    http_list_of_fields(&list, h, "X");
    CU_ASSERT_EQUAL(http_list_token(&list, &token), 1);
    CU_ASSERT(same_text(token, "a"));
    CU_ASSERT_EQUAL(http_list_token(&list, &token), 1);
    CU_ASSERT(same_text(token, "b"));
    CU_ASSERT_EQUAL(http_list_token(&list, &token), -1);
    http_list_of_fields(&list, h, "Z");
    CU_ASSERT_EQUAL(http_list_token(&list, &token), 0);
    http_head_free(h);
}

static void expect_extensions(const char *text, const char *wanted)
{
    struct http_list list;
    struct http_extension e;
    struct http_param param;
    char found[256] = "", value[16];
    int rc;

    http_list_of_text(&list, http_text_of(text));
    while ((rc = http_list_extension(&list, &e)) == 1) {
        strncat(found, e.name.p, e.name.n);
        while (http_extension_param(&e, &param)) {
            strcat(found, "+");
            strncat(found, param.name.p, param.name.n);
            if (param.value.p) {
                CU_ASSERT(http_param_copy(&param, value, sizeof value) < sizeof value);
                strcat(found, "=");
                strcat(found, value);
            }
        }
        strcat(found, ";");
    }
    strcat(found, rc < 0 ? "bad" : "");
    if (strcmp(found, wanted) != 0)
        fprintf(stderr, "'%s' gave '%s'\n", text, found);
    CU_ASSERT(strcmp(found, wanted) == 0);
}

static void extension_offers_are_read_with_their_parameters(void)
{
    expect_extensions("permessage-deflate", "permessage-deflate;");
    expect_extensions("permessage-deflate; client_max_window_bits",
                      "permessage-deflate+client_max_window_bits;");
    expect_extensions("a;b=1;c=\"2\" ; d, e;f,,", "a+b=1+c=2+d;e+f;");
    expect_extensions("a ; b = 1 ;c = \"\\1\\5\"", "a+b=1+c=15;");
    expect_extensions("a;b;b=1", "a+b+b=1;");
    expect_extensions("a;", "bad");
    expect_extensions("a;;b", "bad");
    expect_extensions("a;b=", "bad");
    expect_extensions("a;=1", "bad");
    expect_extensions("a;b=\"\"", "bad");
    expect_extensions("a;b=\"1", "bad");
    expect_extensions("a;b=\"1 2\"", "bad");
    expect_extensions("a;b=\"1\\", "bad");
    expect_extensions("a;b=\"1\\\"\"", "bad");
    expect_extensions("a;b=\"1\\\\\"", "bad");
    expect_extensions("a;b=\"1\"2", "bad");
    expect_extensions("a;b=1 2", "bad");
    expect_extensions("a b", "bad");
    expect_extensions("a, ;b", "a;bad");
    expect_extensions("a, b;c=\"x,y\"", "a;bad");
}

static void a_parameter_that_does_not_fit_is_cut_and_said_so(void)
{
    struct http_list list;
    struct http_extension e;
    struct http_param param;
    char value[4];

    http_list_of_text(&list, http_text_of("a;b=1234;c=123"));
    CU_ASSERT_EQUAL(http_list_extension(&list, &e), 1);
    CU_ASSERT(http_extension_param(&e, &param));
    CU_ASSERT_EQUAL(http_param_copy(&param, value, sizeof value), 4);
    CU_ASSERT(same(value, "123"));
    CU_ASSERT(http_extension_param(&e, &param));
    CU_ASSERT_EQUAL(http_param_copy(&param, value, sizeof value), 3);
    CU_ASSERT(same(value, "123"));
}

/* ---- what a server makes of it ---- */

static void expect_kind(int kind, int status, const char *text)
{
    struct http_head *h = request(text);
    int found = http_check_upgrade(h);

    if (found != kind || (status != 0 && h->status != status))
        complain("wrong kind", text, h);
    if (kind == HTTP_REFUSED) {
        CU_ASSERT_EQUAL(h->error, WEFT_E_REFUSED);
        CU_ASSERT(h->reason != NULL);
    }
    http_head_free(h);
}

static void a_valid_opening_handshake_is_seen(void)
{
    expect_kind(HTTP_UPGRADE, 101, UPGRADE END);
    expect_kind(HTTP_UPGRADE, 101,
                LINE HOST KEY VERSION "upgrade: h2c, WebSocket\r\nconnection: keep-alive, UPGRADE\r\n" END);
    expect_kind(HTTP_UPGRADE, 101,
                LINE HOST KEY VERSION "Upgrade: websocket\r\nConnection: a\r\nConnection: upgrade\r\n" END);
    expect_kind(HTTP_UPGRADE, 101,
                UPGRADE "Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Protocol: Chat\r\n" END);
    expect_kind(HTTP_UPGRADE, 101,
                UPGRADE "Sec-WebSocket-Extensions: x\r\nSec-WebSocket-Extensions: y;z=\"1\"\r\n" END);
    expect_kind(HTTP_UPGRADE, 101, UPGRADE "Content-Length: 0\r\n" END);
}

static void a_request_without_upgrade_is_plain(void)
{
    expect_kind(HTTP_PLAIN, 0, LINE HOST END);
    expect_kind(HTTP_PLAIN, 0, "HEAD / HTTP/1.1\r\n" HOST END);
    expect_kind(HTTP_PLAIN, 0, LINE HOST KEY VERSION "Connection: keep-alive\r\n" END);
    expect_kind(HTTP_PLAIN, 0, LINE HOST "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n" END);
    expect_kind(HTTP_PLAIN, 0, LINE HOST "Upgrade: websocket/13\r\n" END);
}

static void a_wrong_opening_handshake_is_refused(void)
{
#define WITHOUT_KEY LINE HOST ASKS VERSION
    expect_kind(HTTP_REFUSED, 405, "HEAD / HTTP/1.1\r\n" HOST ASKS KEY VERSION END);
    expect_kind(HTTP_REFUSED, 400, LINE HOST KEY VERSION "Upgrade: websocket\r\n" END);
    expect_kind(HTTP_REFUSED, 400, LINE HOST KEY VERSION "Upgrade: websocket\r\nConnection: close\r\n" END);
    expect_kind(HTTP_REFUSED, 400,
                LINE HOST KEY VERSION "Upgrade: websocket\r\nConnection: up grade\r\n" END);
    expect_kind(HTTP_REFUSED, 400,
                LINE HOST KEY VERSION "Upgrade: web socket\r\nConnection: Upgrade\r\n" END);
    expect_kind(HTTP_REFUSED, 400, WITHOUT_KEY END);
    expect_kind(HTTP_REFUSED, 400, UPGRADE KEY END);
    expect_kind(HTTP_REFUSED, 400, WITHOUT_KEY "Sec-WebSocket-Key:\r\n" END);
    expect_kind(HTTP_REFUSED, 400, WITHOUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n" END);
    expect_kind(HTTP_REFUSED, 400, WITHOUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n" END);
    expect_kind(HTTP_REFUSED, 400, WITHOUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=\r\n" END);
    expect_kind(HTTP_REFUSED, 400, WITHOUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA\r\n" END);
    expect_kind(HTTP_REFUSED, 400, WITHOUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j====\r\n" END);
    expect_kind(HTTP_REFUSED, 400, WITHOUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j-_==\r\n" END);
    expect_kind(HTTP_REFUSED, 400, WITHOUT_KEY "Sec-WebSocket-Key: dGhl IHNhbXBsZSBub25jZQ==\r\n" END);
    expect_kind(HTTP_REFUSED, 400, WITHOUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==AAAA\r\n" END);
    expect_kind(HTTP_REFUSED, 426, LINE HOST ASKS KEY END);
    expect_kind(HTTP_REFUSED, 426, LINE HOST ASKS END);
    expect_kind(HTTP_REFUSED, 426, LINE HOST ASKS KEY "Sec-WebSocket-Version: 8\r\n" END);
    expect_kind(HTTP_REFUSED, 426, LINE HOST ASKS KEY "Sec-WebSocket-Version: 013\r\n" END);
    expect_kind(HTTP_REFUSED, 426, LINE HOST ASKS KEY "Sec-WebSocket-Version: 13, 8\r\n" END);
    expect_kind(HTTP_REFUSED, 400, UPGRADE VERSION END);
    expect_kind(HTTP_REFUSED, 400, UPGRADE "Sec-WebSocket-Version: 8\r\n" END);
}

static void malformed_offers_are_refused(void)
{
    char text[2048] = UPGRADE "Sec-WebSocket-Protocol: s0";
    size_t n = strlen(text);

    expect_kind(HTTP_REFUSED, 400, UPGRADE "Sec-WebSocket-Protocol:\r\n" END);
    expect_kind(HTTP_REFUSED, 400, UPGRADE "Sec-WebSocket-Protocol: ,\r\n" END);
    expect_kind(HTTP_REFUSED, 400, UPGRADE "Sec-WebSocket-Protocol: a b\r\n" END);
    expect_kind(HTTP_REFUSED, 400, UPGRADE "Sec-WebSocket-Protocol: a/b\r\n" END);
    expect_kind(HTTP_REFUSED, 400, UPGRADE "Sec-WebSocket-Protocol: a, a\r\n" END);
    expect_kind(HTTP_REFUSED, 400,
                UPGRADE "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b, a\r\n" END);
    expect_kind(HTTP_REFUSED, 400, UPGRADE "Sec-WebSocket-Extensions: a;\r\n" END);
    expect_kind(HTTP_REFUSED, 400, UPGRADE "Sec-WebSocket-Extensions:\r\n" END);
    for (int i = 1; i < HTTP_SUBPROTOCOLS_MAX; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, ",s%d", i);
    snprintf(text + n, sizeof text - n, "\r\n" END);
    expect_kind(HTTP_UPGRADE, 101, text);
    snprintf(text + n, sizeof text - n, ",more\r\n" END);
    expect_kind(HTTP_REFUSED, 400, text);
}

static void offered_subprotocols_are_compared_with_case(void)
{
    struct http_head *h =
        request(UPGRADE "Sec-WebSocket-Protocol: chat, super\r\nSec-WebSocket-Protocol: last\r\n" END);

    CU_ASSERT(http_offers_subprotocol(h, "chat"));
    CU_ASSERT(http_offers_subprotocol(h, "super"));
    CU_ASSERT(http_offers_subprotocol(h, "last"));
    CU_ASSERT(!http_offers_subprotocol(h, "Chat"));
    CU_ASSERT(!http_offers_subprotocol(h, "cha"));
    CU_ASSERT(!http_offers_subprotocol(h, ""));
    http_head_free(h);
}

/* ---- digests ---- */

static bool sha1_is(const char *text, size_t n, const char *hex)
{
    uint8_t out[DIGEST_SHA1_BYTES];
    char found[2 * DIGEST_SHA1_BYTES + 1];

    digest_sha1((const uint8_t *)text, n, out);
    for (size_t i = 0; i < sizeof out; i++)
        snprintf(found + 2 * i, 3, "%02x", out[i]);
    return strcmp(found, hex) == 0;
}

/* The examples of FIPS 180, and lengths around the end of a block. */
static void sha1_gives_the_published_digests(void)
{
    char *million = malloc(1000000);
    static const struct {
        size_t n;
        const char *hex;
    } rows[] = {{55, "c1c8bbdc22796e28c0e15163d20899b65621d65a"},
                {56, "c2db330f6083854c99d4b5bfb6e8f29f201be699"},
                {63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5"},
                {64, "0098ba824b5c16427bd7a1122a5a442a25ec644d"},
                {65, "11655326c708d70319be2610e8a57d9a5b959d3b"},
                {1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f"}};

    memset(million, 'a', 1000000);
    CU_ASSERT(sha1_is("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709"));
    CU_ASSERT(sha1_is("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d"));
    CU_ASSERT(sha1_is("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                      "84983e441c3bd26ebaae4aa1f95129e5e54670f1"));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CU_ASSERT(sha1_is(million, rows[i].n, rows[i].hex));
    free(million);
}

static void base64_goes_both_ways(void)
{
    static const char *const rows[][2] = {{"", ""},
                                          {"f", "Zg=="},
                                          {"fo", "Zm8="},
                                          {"foo", "Zm9v"},
                                          {"foob", "Zm9vYg=="},
                                          {"fooba", "Zm9vYmE="},
                                          {"foobar", "Zm9vYmFy"},
                                          {"\xfb\xff\xbf", "+/+/"}};
    static const char *const bad[] = {"Z",     "Zg",       "Zg=",     "Z===",    "====", "=Zg=",
                                      "Zg=a",  "Zg==Zg==", "Zm9 ",    "Zm9\n",   "Zm_v", "Zm-v",
                                      "Zm9v=", "Zm9vYg=",  "Zm\x80v", "Zm9v===="};
    char text[64];
    uint8_t octets[64];
    size_t n;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t plain = strlen(rows[i][0]), coded = strlen(rows[i][1]);

        digest_base64((const uint8_t *)rows[i][0], plain, text);
        CU_ASSERT(same(text, rows[i][1]));
        CU_ASSERT_EQUAL(DIGEST_BASE64_CHARS(plain), coded);
        CU_ASSERT(digest_base64_decode(text, coded, octets, plain, &n));
        CU_ASSERT_EQUAL(n, plain);
        CU_ASSERT(memcmp(octets, rows[i][0], plain) == 0);
        if (plain > 0)
            CU_ASSERT(!digest_base64_decode(text, coded, octets, plain - 1, &n));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT(!digest_base64_decode(bad[i], strlen(bad[i]), octets, sizeof octets, &n));
}

/* ---- what a server writes ---- */

static bool written(int rc, uint8_t *out, size_t n, const char *wanted)
{
    bool equal = rc == WEFT_OK && n == strlen(wanted) && memcmp(out, wanted, n) == 0;

    if (!equal && rc == WEFT_OK)
        fprintf(stderr, "wrote:\n%.*s\n", (int)n, (const char *)out);
    if (rc == WEFT_OK)
        mem_free(out);
    return equal;
}

static void the_acceptance_is_that_of_the_rfc(void)
{
    struct http_head *h = request(UPGRADE "Sec-WebSocket-Protocol: chat\r\n" END);
    weft_header extra = {"Set-Cookie", "a=b; c"};
    struct http_accept none = {0}, all = {"chat", "x; y=1", &extra, 1};
    uint8_t *out = NULL;
    size_t n = 0;
    int rc;

    CU_ASSERT_EQUAL(http_check_upgrade(h), HTTP_UPGRADE);
    rc = http_compose_accept(h, &none, &out, &n);
    CU_ASSERT(written(rc, out, n, OK_101 ACCEPT END));
    rc = http_compose_accept(h, &all, &out, &n);
    CU_ASSERT(written(rc, out, n,
                      OK_101 ACCEPT "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: x; y=1\r\n"
                                    "Set-Cookie: a=b; c\r\n" END));
    http_head_free(h);
}

static void what_cannot_stand_in_an_acceptance_is_refused(void)
{
    static const weft_header bad[] = {{"A", "b\r\nC: d"},
                                      {"A", "b\n"},
                                      {"A", "\x01"},
                                      {"A", "\x7f"},
                                      {"A", NULL},
                                      {NULL, "b"},
                                      {"", "b"},
                                      {"A b", "c"},
                                      {"A:", "b"},
                                      {"A\r\nB", "c"},
                                      {"upgrade", "x"},
                                      {"Connection", "x"},
                                      {"content-length", "1"},
                                      {"Transfer-Encoding", "x"},
                                      {"sec-websocket-accept", "x"},
                                      {"Sec-WebSocket-Extensions", "x"}};
    static const char *const extensions[] = {"", ",", "a;", "a\r\nB: c"};
    struct http_head *h = request(UPGRADE "Sec-WebSocket-Protocol: chat\r\n" END);
    struct http_accept a = {.subprotocol = "other"};
    uint8_t *out;
    size_t n;

    CU_ASSERT_EQUAL(http_compose_accept(h, &a, &out, &n), WEFT_E_INVAL);
    a.subprotocol = "";
    CU_ASSERT_EQUAL(http_compose_accept(h, &a, &out, &n), WEFT_E_INVAL);
    a.subprotocol = NULL;
    for (size_t i = 0; i < sizeof extensions / sizeof extensions[0]; i++) {
        a.extensions = extensions[i];
        CU_ASSERT_EQUAL(http_compose_accept(h, &a, &out, &n), WEFT_E_INVAL);
    }
    a.extensions = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct http_answer answer = {.status = 200, .headers = &bad[i], .header_count = 1};

        a.headers = &bad[i];
        a.header_count = 1;
        CU_ASSERT_EQUAL(http_compose_accept(h, &a, &out, &n), WEFT_E_INVAL);
        CU_ASSERT_EQUAL(http_compose_answer(h, &answer, &out, &n), WEFT_E_INVAL);
    }
    http_head_free(h);
}

static void an_answer_carries_its_body_except_to_head(void)
{
    weft_header type = {"Content-Type", "text/plain"};
    struct http_answer a = {
        .status = 404, .headers = &type, .header_count = 1, .body = "none\n", .body_bytes = 5};
    struct http_head *get = request(LINE HOST END), *head = request("HEAD / HTTP/1.1\r\n" HOST END);
    uint8_t *out = NULL;
    size_t n = 0;
    int rc = http_compose_answer(get, &a, &out, &n);

#define NOT_FOUND                                                                                            \
    "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n"
    CU_ASSERT(written(rc, out, n, NOT_FOUND "none\n"));
    rc = http_compose_answer(head, &a, &out, &n);
    CU_ASSERT(written(rc, out, n, NOT_FOUND));
    http_head_free(get);
    http_head_free(head);
}

static void an_answer_has_the_headers_of_its_status(void)
{
    struct http_head *h = request(LINE HOST END);
    weft_header allow = {"allow", "GET"};
    struct http_answer a = {.status = 426};
    uint8_t *out = NULL;
    size_t n = 0;
    int rc = http_compose_answer(h, &a, &out, &n);

    CU_ASSERT(written(rc, out, n,
                      "HTTP/1.1 426 Upgrade Required\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n"
                      "Sec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n"));
    a.status = 405;
    rc = http_compose_answer(h, &a, &out, &n);
    CU_ASSERT(written(rc, out, n,
                      "HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nAllow: GET, "
                      "HEAD\r\nContent-Length: 0\r\n\r\n"));
    a.headers = &allow;
    a.header_count = 1;
    rc = http_compose_answer(h, &a, &out, &n);
    CU_ASSERT(written(
        rc, out, n,
        "HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nallow: GET\r\nContent-Length: 0\r\n\r\n"));
    a = (struct http_answer){.status = 204, .phrase = "Nothing"};
    rc = http_compose_answer(h, &a, &out, &n);
    CU_ASSERT(written(rc, out, n, "HTTP/1.1 204 Nothing\r\nConnection: close\r\n\r\n"));
    a = (struct http_answer){.status = 299};
    rc = http_compose_answer(h, &a, &out, &n);
    CU_ASSERT(written(rc, out, n, "HTTP/1.1 299 Unknown\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"));
    http_head_free(h);
}

static void what_cannot_stand_in_an_answer_is_refused(void)
{
    static const struct http_answer bad[] = {{.status = 0},
                                             {.status = 101},
                                             {.status = 199},
                                             {.status = 600},
                                             {.status = -1},
                                             {.status = 200, .phrase = "a\r\nb"},
                                             {.status = 204, .body = "x", .body_bytes = 1},
                                             {.status = 205, .body = "x", .body_bytes = 1},
                                             {.status = 304, .body = "x", .body_bytes = 1},
                                             {.status = 200, .body_bytes = 1}};
    struct http_head *h = request(LINE HOST END);
    uint8_t *out;
    size_t n;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_EQUAL(http_compose_answer(h, &bad[i], &out, &n), WEFT_E_INVAL);
    http_head_free(h);
}

static void a_refusal_says_why(void)
{
    static const char text[] = "HEAD /x HTTP/1.0\r\n";
    struct input in = {HTTP_ROLE_SERVER, NULL, text, sizeof text - 1};
    struct http_head *h = request(LINE HOST ASKS KEY END);
    uint8_t *out = NULL;
    size_t n = 0, used;
    int rc;

    CU_ASSERT_EQUAL(http_check_upgrade(h), HTTP_REFUSED);
    rc = http_compose_refusal(h, &out, &n);
    CU_ASSERT(written(
        rc, out, n,
        "HTTP/1.1 426 Upgrade Required\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 52\r\n\r\n"
        "only version 13 of the WebSocket protocol is served\n"));
    http_head_free(h);
    h = read_all_ways(&in, &rc, &used);
    CU_ASSERT_EQUAL(rc, HTTP_BAD);
    rc = http_compose_refusal(h, &out, &n);
    CU_ASSERT(written(rc, out, n,
                      "HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n"
                      "Content-Type: text/plain; charset=utf-8\r\nContent-Length: 24\r\n\r\n"));
    http_head_free(h);
}

/* ---- the client ---- */

static const struct http_request rfc_request = {
    .host = "example.org", .port = 80, .target = "/chat", .key = "the sample nonce"};

static void a_request_is_written_and_read_back(void)
{
    static const char *const subprotocols[] = {"chat", "super"};
    weft_header extra = {"Authorization", "Bearer x"};
    struct http_request r = rfc_request;
    uint8_t *out = NULL;
    size_t n = 0;
    int rc = http_compose_request(&r, &out, &n);
    struct http_head *h;
    char *text;

    CU_ASSERT(written(rc, out, n, LINE HOST ASKS VERSION KEY END));
    r.port = 8080;
    r.subprotocols = subprotocols;
    r.subprotocol_count = 2;
    r.extensions = "permessage-deflate; client_max_window_bits";
    r.origin = "http://a.example";
    r.headers = &extra;
    r.header_count = 1;
    CU_ASSERT_EQUAL(http_compose_request(&r, &out, &n), WEFT_OK);
    text = strndup((const char *)out, n);
    mem_free(out);
    h = request(text);
    free(text);
    CU_ASSERT_EQUAL(http_check_upgrade(h), HTTP_UPGRADE);
    CU_ASSERT(same(h->host, "example.org:8080"));
    CU_ASSERT(http_offers_subprotocol(h, "super"));
    CU_ASSERT(same_text(http_head_value(h, "Origin", 0), "http://a.example"));
    CU_ASSERT(same_text(http_head_value(h, "Authorization", 0), "Bearer x"));
    http_head_free(h);
}

static void host_names_the_port_unless_it_is_the_default(void)
{
    static const struct {
        const char *host;
        unsigned port;
        bool secure;
        const char *wanted;
    } rows[] = {{"h", 0, false, "h"},
                {"h", 80, false, "h"},
                {"h", 443, false, "h:443"},
                {"h", 0, true, "h"},
                {"h", 443, true, "h"},
                {"h", 80, true, "h:80"},
                {"::1", 81, false, "[::1]:81"},
                {"[::1]", 0, true, "[::1]"},
                {"127.0.0.1", 8080, false, "127.0.0.1:8080"}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct http_request r = {.host = rows[i].host, .port = rows[i].port, .secure = rows[i].secure};
        char wanted[512];
        uint8_t *out = NULL;
        size_t n = 0;
        int rc = http_compose_request(&r, &out, &n);

        snprintf(wanted, sizeof wanted,
                 "GET / HTTP/1.1\r\nHost: %s\r\n" ASKS VERSION "Sec-WebSocket-Key: %s\r\n\r\n",
                 rows[i].wanted, "AAAAAAAAAAAAAAAAAAAAAA==");
        CU_ASSERT(written(rc, out, n, wanted));
    }
}

static int compose_changed(const struct http_request *r)
{
    uint8_t *out;
    size_t n;
    int rc = http_compose_request(r, &out, &n);

    if (rc == WEFT_OK)
        mem_free(out);
    return rc;
}

static void what_cannot_stand_in_a_request_is_refused(void)
{
    static const char *const hosts[] = {"", "a b", "a\r\nX: y", "a/b", "a:80", "u@a", "[::1", ":::"};
    static const char *const targets[] = {"",     "x",         "http://h/", "/a b",
                                          "/a#b", "/\r\nX: y", "/\xc3\xa4", "*"};
    static const char *const twice[] = {"a", "a"}, *const spaced[] = {"a b"}, *const empty[] = {""};
    static const weft_header headers[] = {
        {"Host", "x"}, {"Origin", "x"}, {"Upgrade", "x"}, {"A", "b\r\nC: d"}};
    struct http_request r;

#define CHANGED(...) (r = rfc_request, __VA_ARGS__, compose_changed(&r))
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++)
        CU_ASSERT_EQUAL(CHANGED(r.host = hosts[i]), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(CHANGED(r.host = NULL), WEFT_E_INVAL);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++)
        CU_ASSERT_EQUAL(CHANGED(r.target = targets[i]), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(CHANGED(r.port = 65536), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(CHANGED(r.origin = "a\r\nb"), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(CHANGED(r.extensions = "a;"), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(CHANGED(r.subprotocols = twice, r.subprotocol_count = 2), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(CHANGED(r.subprotocols = spaced, r.subprotocol_count = 1), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(CHANGED(r.subprotocols = empty, r.subprotocol_count = 1), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(CHANGED(r.subprotocols = twice, r.subprotocol_count = 65), WEFT_E_INVAL);
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
        CU_ASSERT_EQUAL(CHANGED(r.headers = &headers[i], r.header_count = 1), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(CHANGED(r.port = 65535), WEFT_OK);
}

static void expect_response(const struct http_request *r, int wanted, const char *text)
{
    struct http_head *h = read_good(HTTP_ROLE_CLIENT, text);
    int rc = http_check_response(h, r);

    if (rc != wanted || (rc != WEFT_OK && !h->reason))
        complain("wrong verdict", text, h);
    CU_ASSERT_EQUAL(h->error, wanted);
    http_head_free(h);
}

static void an_acceptance_is_believed_when_it_answers_the_request(void)
{
    static const char *const subprotocols[] = {"chat", "super"};
    struct http_request r = rfc_request, rich = rfc_request;

    rich.subprotocols = subprotocols;
    rich.subprotocol_count = 2;
    rich.extensions = "Permessage-Deflate, other";
    expect_response(&r, WEFT_OK, OK_101 ACCEPT END);
    expect_response(&r, WEFT_OK,
                    "HTTP/1.1 101 \r\nupgrade: WebSocket\r\nconnection: x, upgrade\r\n" ACCEPT END);
    expect_response(&r, WEFT_OK, "HTTP/1.1 101\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" ACCEPT END);
    expect_response(&rich, WEFT_OK, OK_101 ACCEPT END);
    expect_response(&rich, WEFT_OK, OK_101 ACCEPT "Sec-WebSocket-Protocol: super\r\n" END);
    expect_response(&rich, WEFT_OK,
                    OK_101 ACCEPT "Sec-WebSocket-Extensions: permessage-deflate; a=1\r\n" END);
}

static void an_acceptance_that_does_not_answer_is_a_broken_protocol(void)
{
    static const char *const subprotocols[] = {"chat"};
    struct http_request r = rfc_request, rich = rfc_request;
    static const char *const bad[] = {
        OK_101 END,
        OK_101 ACCEPT ACCEPT END,
        OK_101 "Sec-WebSocket-Accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n" END,
        OK_101 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n" END,
        "HTTP/1.1 101 X\r\nConnection: Upgrade\r\n" ACCEPT END,
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\n" ACCEPT END,
        "HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n" ACCEPT END,
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" ACCEPT END,
        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: close\r\n" ACCEPT END,
        OK_101 ACCEPT "Sec-WebSocket-Protocol: other\r\n" END,
        OK_101 ACCEPT "Sec-WebSocket-Protocol: Chat\r\n" END,
        OK_101 ACCEPT "Sec-WebSocket-Protocol: chat, chat\r\n" END,
        OK_101 ACCEPT "Sec-WebSocket-Protocol:\r\n" END,
        OK_101 ACCEPT "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat\r\n" END,
        OK_101 ACCEPT "Sec-WebSocket-Extensions: other\r\n" END,
        OK_101 ACCEPT "Sec-WebSocket-Extensions: known;\r\n" END,
        OK_101 ACCEPT "Sec-WebSocket-Extensions: known\r\nSec-WebSocket-Extensions: known\r\n" END,
        OK_101 ACCEPT "Content-Length: 5\r\n" END,
        OK_101 ACCEPT "Transfer-Encoding: chunked\r\n" END};

    rich.subprotocols = subprotocols;
    rich.subprotocol_count = 1;
    rich.extensions = "known";
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_response(&rich, WEFT_E_PROTOCOL, bad[i]);
    expect_response(&r, WEFT_E_PROTOCOL, OK_101 ACCEPT "Sec-WebSocket-Protocol: chat\r\n" END);
    expect_response(&r, WEFT_E_PROTOCOL, OK_101 ACCEPT "Sec-WebSocket-Extensions: known\r\n" END);
}

static void a_refusal_keeps_its_status_and_headers(void)
{
    struct http_request r = rfc_request;
    struct http_head *h =
        read_good(HTTP_ROLE_CLIENT, "HTTP/1.0 401 Who\xe4 are you\r\nWWW-Authenticate: Basic realm=\"x\"\r\n"
                                    "Content-Length: 5\r\n\r\n");

    CU_ASSERT_EQUAL(http_check_response(h, &r), WEFT_E_REFUSED);
    CU_ASSERT_EQUAL(h->status, 401);
    CU_ASSERT(same(h->reason, "Unauthorized"));
    CU_ASSERT(same_text(http_head_value(h, "WWW-Authenticate", 0), "Basic realm=\"x\""));
    http_head_free(h);
    expect_response(&r, WEFT_E_REFUSED, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" ACCEPT END);
    expect_response(&r, WEFT_E_REFUSED, "HTTP/1.1 599 X\r\n" END);
}

static void interim_responses_are_passed_over(void)
{
    struct http_request r = rfc_request;
    char text[1024] = "";

    expect_response(&r, WEFT_OK,
                    "HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 103 X\r\n\r\n" OK_101 ACCEPT END);
    for (int i = 0; i < 8; i++)
        strcat(text, "HTTP/1.1 103 X\r\n\r\n");
    strcat(text, OK_101 ACCEPT END);
    expect_response(&r, WEFT_OK, text);
    memmove(text + 18, text, strlen(text) + 1);
    expect_bad_bytes(HTTP_ROLE_CLIENT, NULL, text, strlen(text), 0);
}

static void a_malformed_response_is_refused(void)
{
    static const char *const bad[] = {
        "\r\n" OK_101 ACCEPT END,
        "HTTP/2.0 101 X\r\n" END,
        "HTTP/1.0 101 X\r\n" END,
        "HTTP/1.1 99 X\r\n" END,
        "HTTP/1.1 099 X\r\n" END,
        "HTTP/1.1 600 X\r\n" END,
        "HTTP/1.1 1010 X\r\n" END,
        "HTTP/1.1  101 X\r\n" END,
        "HTTP/1.1 101 \x01\r\n" END,
        "HTTP/1.1 101 X\n" END,
        "ICY 200 OK\r\n" END,
        "HTTP/1.1 ### X\r\n" END,
        "HTTP/1.1 101 X\r\nA : b\r\n" END,
        "HTTP/1.1 101 X\r\n A: b\r\n" END,
        "HTTP/1.1 101 X\r\nA: b\n" END,
        "HTTP/1.1 200 X\r\nContent-Length: x\r\n" END,
        "HTTP/1.1 200 X\r\nContent-Length: 1\r\nContent-Length: 1\r\n" END,
        "HTTP/1.1 200 X\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n" END};
    struct http_limits limits = {.head_bytes_max = 32};
    struct http_head *h = http_head_new(HTTP_ROLE_CLIENT, &limits);
    size_t used;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        expect_bad_bytes(HTTP_ROLE_CLIENT, NULL, bad[i], strlen(bad[i]), 0);
    CU_ASSERT_EQUAL(http_head_feed(h, (const uint8_t *)OK_101 ACCEPT END, 80, &used), HTTP_BAD);
    CU_ASSERT_EQUAL(h->error, WEFT_E_TOO_BIG);
    http_head_free(h);
}

/* ---- who is it ---- */

static bool basic(const char *lines, const char *user, const char *password)
{
    char text[4096];
    struct http_head *h;
    bool matches;

    snprintf(text, sizeof text, LINE HOST "%s" END, lines);
    h = request(text);
    matches = http_basic_matches(h, user, password);
    http_head_free(h);
    return matches;
}

static void basic_credentials_match_only_when_both_are_equal(void)
{
    static const char aladdin[] = "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n";

    CU_ASSERT(basic(aladdin, "Aladdin", "open sesame"));
    CU_ASSERT(basic("authorization: BASIC   QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n", "Aladdin", "open sesame"));
    CU_ASSERT(!basic(aladdin, "aladdin", "open sesame"));
    CU_ASSERT(!basic(aladdin, "Aladdin", "open sesam"));
    CU_ASSERT(!basic(aladdin, "Aladdin", "open sesame "));
    CU_ASSERT(!basic(aladdin, "Aladdi", "open sesame"));
    CU_ASSERT(!basic(aladdin, "", "open sesame"));
    CU_ASSERT(!basic(aladdin, "Aladdin", ""));
    CU_ASSERT(basic("Authorization: Basic Og==\r\n", "", ""));
    CU_ASSERT(basic("Authorization: Basic YTpiOmM=\r\n", "a", "b:c"));
    CU_ASSERT(!basic("Authorization: Basic YTpiOmM=\r\n", "a:b", "c"));
    CU_ASSERT(!basic("Authorization: Basic YQBiOmM=\r\n", "a", "c"));
    CU_ASSERT(!basic("Authorization: Basic YTpiAGM=\r\n", "a", "b"));
}

static void malformed_credentials_match_nothing(void)
{
    char lines[2200] = "Authorization: Basic ";
    size_t n = strlen(lines);

    CU_ASSERT(!basic("", "", ""));
    CU_ASSERT(!basic("Authorization:\r\n", "", ""));
    CU_ASSERT(!basic("Authorization: Basic\r\n", "", ""));
    CU_ASSERT(!basic("Authorization: Basic YWFh\r\n", "", ""));
    CU_ASSERT(!basic("Authorization: Basic Og\r\n", "", ""));
    CU_ASSERT(!basic("Authorization: Basic Og== x\r\n", "", ""));
    CU_ASSERT(!basic("Authorization: Bearer Og==\r\n", "", ""));
    CU_ASSERT(!basic("Authorization: BasicOg==\r\n", "", ""));
    CU_ASSERT(!basic("Authorization: Basic Og==\r\nAuthorization: Basic Og==\r\n", "", ""));
    strcpy(lines + n, "YTpi");
    memset(lines + n + 4, 'A', 2000);
    strcpy(lines + n + 2004, "\r\n");
    CU_ASSERT(!basic(lines, "a", "b"));
}

static bool origin(const char *lines)
{
    static const char *const allowed[] = {"https://example.org", "http://localhost:8080"};
    char text[512];
    struct http_head *h;
    bool passes;

    snprintf(text, sizeof text, LINE HOST "%s" END, lines);
    h = request(text);
    passes = http_origin_allowed(h, allowed, 2);
    http_head_free(h);
    return passes;
}

static void an_origin_is_compared_whole(void)
{
    CU_ASSERT(origin(""));
    CU_ASSERT(origin("Origin: https://example.org\r\n"));
    CU_ASSERT(origin("Origin: HTTPS://Example.ORG\r\n"));
    CU_ASSERT(origin("Origin: http://localhost:8080\r\n"));
    CU_ASSERT(!origin("Origin: http://localhost\r\n"));
    CU_ASSERT(!origin("Origin: http://example.org\r\n"));
    CU_ASSERT(!origin("Origin: https://example.org.evil.net\r\n"));
    CU_ASSERT(!origin("Origin: https://evil.example.org\r\n"));
    CU_ASSERT(!origin("Origin: https://example.org/\r\n"));
    CU_ASSERT(!origin("Origin: https://example.org https://example.org\r\n"));
    CU_ASSERT(!origin("Origin: https://example.or\r\n"));
    CU_ASSERT(!origin("Origin: null\r\n"));
    CU_ASSERT(!origin("Origin:\r\n"));
    CU_ASSERT(!origin("Origin: https://example.org\r\nOrigin: https://example.org\r\n"));
}

/* ---- no memory ---- */

/* A whole exchange with a head that makes the buffer grow twice. Returns false where memory ran out, and then
 * cleanly. */
static bool exchange(const char *text, size_t n)
{
    struct http_accept a = {0};
    struct http_head *h = http_head_new(HTTP_ROLE_SERVER, NULL);
    uint8_t *out = NULL;
    size_t used;
    int rc;

    if (!h)
        return false;
    for (size_t i = 0; i < n && h->error == WEFT_OK; i++)
        http_head_feed(h, (const uint8_t *)text + i, 1, &used);
    if (h->error == WEFT_OK) {
        CU_ASSERT_EQUAL(http_check_upgrade(h), HTTP_UPGRADE);
        rc = http_compose_accept(h, &a, &out, &used);
        CU_ASSERT(rc == WEFT_OK || rc == WEFT_E_NOMEM);
        mem_free(rc == WEFT_OK ? out : NULL);
    } else {
        CU_ASSERT_EQUAL(h->error, WEFT_E_NOMEM);
        CU_ASSERT_EQUAL(h->status, 503);
        rc = h->error;
    }
    http_head_free(h);
    return rc == WEFT_OK;
}

static void every_allocation_that_fails_is_an_error_and_no_leak(void)
{
    char text[4096];
    int64_t live;
    int failures = 0;
    uint64_t at = 1;

    snprintf(text, sizeof text, "GET /?%02500d HTTP/1.1\r\n" HOST ASKS KEY VERSION END, 0);
    mem_count_live(true);
    live = mem_live_blocks();
    for (;; at++) {
        bool whole;

        mem_fail_at(at);
        whole = exchange(text, strlen(text));
        if (!mem_fail_happened()) {
            CU_ASSERT(whole);
            break;
        }
        CU_ASSERT(!whole);
        failures++;
        CU_ASSERT_EQUAL(mem_live_blocks(), live);
    }
    mem_fail_at(0);
    CU_ASSERT(failures >= 4);
    CU_ASSERT_EQUAL(mem_live_blocks(), live);
    mem_count_live(false);
}

/* ---- hostile bytes ---- */

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Change a few bytes of good heads: whatever comes of it, it comes the same in one piece and byte by byte,
 * and what is called a valid opening handshake can be answered. */
static void damaged_heads_end_in_one_clear_answer(void)
{
    static const char *const seeds[] = {
        UPGRADE "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: x; y=\"1\"\r\n" END,
        "GET http://h/?a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nA:\r\n\r\n"};
    static const char bytes[] = "\r\n\0\t :;,=\"\\#?/\x7f\xff"
                                "aH1";
    uint32_t random = 0x2545f491;
    int rounds = unit_is_slow() ? 4000 : 40000, done = 0;

    for (int i = 0; i < rounds; i++) {
        const char *seed = seeds[i % 2];
        size_t n = strlen(seed), used_whole, used_bytes;
        char text[512];
        struct input in = {HTTP_ROLE_SERVER, NULL, text, n};
        struct http_head *whole, *bytewise;
        int rc, other;

        memcpy(text, seed, n);
        for (uint32_t k = next_random(&random) % 3; k < 3; k++)
            text[next_random(&random) % n] = bytes[next_random(&random) % (sizeof bytes - 1)];
        whole = feed(&in, n, n, &rc, &used_whole);
        bytewise = feed(&in, 1, 1, &other, &used_bytes);
        CU_ASSERT_EQUAL(rc, other);
        CU_ASSERT_EQUAL(whole->status, bytewise->status);
        if (rc == HTTP_DONE) {
            CU_ASSERT_EQUAL(used_whole, used_bytes);
            CU_ASSERT_EQUAL(http_check_upgrade(whole), http_check_upgrade(bytewise));
            done++;
        }
        CU_ASSERT((rc == HTTP_BAD) == (whole->status >= 400 && rc != HTTP_DONE));
        http_head_free(whole);
        http_head_free(bytewise);
    }
    CU_ASSERT(done > 0);
    CU_ASSERT(done < rounds);
}

static const struct unit_case cases[] = {
    CASE(a_request_is_cut_into_its_parts),
    CASE(path_and_query_are_found_in_every_form_of_target),
    CASE(a_target_that_makes_no_sense_is_refused),
    CASE(a_malformed_request_line_is_refused),
    CASE(other_versions_are_answered_with_505),
    CASE(methods_other_than_get_and_head_are_refused),
    CASE(a_malformed_header_is_refused),
    CASE(host_must_be_there_once_and_valid),
    CASE(a_request_with_a_body_is_refused),
    CASE(few_empty_lines_may_come_before_a_request),
    CASE(a_head_may_have_exactly_the_bytes_of_the_limit),
    CASE(a_request_line_beyond_the_limit_is_answered_with_414),
    CASE(a_target_as_large_as_the_head_keeps_its_parts),
    CASE(as_many_headers_as_the_limit_are_read),
    CASE(lists_are_read_over_blanks_and_empty_elements),
    CASE(a_list_goes_over_all_fields_of_its_name),
    CASE(extension_offers_are_read_with_their_parameters),
    CASE(a_parameter_that_does_not_fit_is_cut_and_said_so),
    CASE(a_valid_opening_handshake_is_seen),
    CASE(a_request_without_upgrade_is_plain),
    CASE(a_wrong_opening_handshake_is_refused),
    CASE(malformed_offers_are_refused),
    CASE(offered_subprotocols_are_compared_with_case),
    CASE(sha1_gives_the_published_digests),
    CASE(base64_goes_both_ways),
    CASE(the_acceptance_is_that_of_the_rfc),
    CASE(what_cannot_stand_in_an_acceptance_is_refused),
    CASE(an_answer_carries_its_body_except_to_head),
    CASE(an_answer_has_the_headers_of_its_status),
    CASE(what_cannot_stand_in_an_answer_is_refused),
    CASE(a_refusal_says_why),
    CASE(a_request_is_written_and_read_back),
    CASE(host_names_the_port_unless_it_is_the_default),
    CASE(what_cannot_stand_in_a_request_is_refused),
    CASE(an_acceptance_is_believed_when_it_answers_the_request),
    CASE(an_acceptance_that_does_not_answer_is_a_broken_protocol),
    CASE(a_refusal_keeps_its_status_and_headers),
    CASE(interim_responses_are_passed_over),
    CASE(a_malformed_response_is_refused),
    CASE(basic_credentials_match_only_when_both_are_equal),
    CASE(malformed_credentials_match_nothing),
    CASE(an_origin_is_compared_whole),
    CASE(every_allocation_that_fails_is_an_error_and_no_leak),
    CASE(damaged_heads_end_in_one_clear_answer),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "http", cases, sizeof cases / sizeof cases[0]);
}
