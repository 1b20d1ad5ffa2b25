/* Proxies' answers, fed whole and one byte at a time. */
#include "unit.h"
#include "proto/tunnel.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "weft/error.h"

/* One turn: what must be sent, then what the proxy answers. */
struct turn {
    const char *sent;
    size_t sent_bytes;
    const char *answer;
    size_t answer_bytes;
};
#define TURN(sent, answer)                                                                                   \
    {                                                                                                        \
        sent, sizeof sent - 1, answer, sizeof answer - 1                                                     \
    }

static bool sends(struct tunnel *t, const struct turn *turn, size_t piece)
{
    size_t at = 0, n;
    const uint8_t *p;

    while ((n = tunnel_output(t, &p)) > 0) {
        if (at + n != turn->sent_bytes || memcmp(p, turn->sent + at, n) != 0)
            return false;
        n = n < piece ? n : piece;
        tunnel_sent(t, n);
        at += n;
    }
    return at == turn->sent_bytes;
}

/* Each piece is memory of its own length. */
static int feed(struct tunnel *t, const char *bytes, size_t n, size_t piece, size_t *used)
{
    int rc = TUNNEL_MORE;

    *used = 0;
    while (*used < n && rc == TUNNEL_MORE) {
        size_t m = n - *used < piece ? n - *used : piece, taken;
        uint8_t *copy = malloc(m);

        memcpy(copy, bytes + *used, m);
        rc = tunnel_feed(t, copy, m, &taken);
        free(copy);
        CU_ASSERT(taken <= m);
        *used += taken;
    }
    return rc;
}

struct outcome {
    int outcome, error, status;
    const char *reason;
};

/* behind: bytes of the last answer that are the server's. */
static void check(const struct tunnel_way *way, const struct turn *turns, size_t count, size_t behind,
                  struct outcome expected)
{
    static const size_t pieces[] = {SIZE_MAX, 1, 3};

    for (size_t k = 0; k < sizeof pieces / sizeof pieces[0]; k++) {
        struct tunnel t;
        size_t used = 0;
        int rc = TUNNEL_MORE;

        CU_ASSERT_EQUAL_FATAL(tunnel_init(&t, way), WEFT_OK);
        for (size_t i = 0; i < count; i++) {
            CU_ASSERT_EQUAL_FATAL(rc, TUNNEL_MORE);
            CU_ASSERT(sends(&t, &turns[i], pieces[k]));
            rc = feed(&t, turns[i].answer, turns[i].answer_bytes, pieces[k], &used);
        }
        CU_ASSERT_EQUAL(rc, expected.outcome);
        CU_ASSERT_EQUAL(t.error, expected.error);
        CU_ASSERT_EQUAL(t.status, expected.status);
        if (expected.outcome == TUNNEL_OPEN)
            CU_ASSERT_EQUAL(used, turns[count - 1].answer_bytes - behind);
        if (expected.reason)
            CU_ASSERT_STRING_EQUAL(t.reason, expected.reason);
        if (rc != TUNNEL_MORE) {
            CU_ASSERT_EQUAL(tunnel_feed(&t, (const uint8_t *)"x", 1, &used), rc);
            CU_ASSERT_EQUAL(used, 0);
        }
        tunnel_fini(&t);
    }
}

/* --- CONNECT --- */

static const struct tunnel_way plain = {TUNNEL_CONNECT, "example.org", 443, NULL, NULL};
#define ASKED "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"

static void connect_opens_with_any_2xx_and_leaves_what_follows(void)
{
    static const char *const heads[] = {
        "HTTP/1.1 200 Connection established\r\n\r\n",
        "HTTP/1.0 200 OK\r\nProxy-agent: x\r\n\r\n",
        "HTTP/1.1 299 \r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    };

    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        char answer[128];
        struct turn turn = TURN(ASKED, "");

        turn.answer_bytes = (size_t)snprintf(answer, sizeof answer, "%s\x16\x03\x03server", heads[i]);
        turn.answer = answer;
        check(&plain, &turn, 1, 9, (struct outcome){TUNNEL_OPEN, WEFT_OK, i == 2 ? 299 : 200, NULL});
    }
}

static void connect_sends_credentials_at_once(void)
{
    static const struct tunnel_way way = {TUNNEL_CONNECT, "h", 80, "Aladdin", "open sesame"};
    static const struct turn turn = TURN("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n"
                                         "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n",
                                         "HTTP/1.1 200 OK\r\n\r\n");

    check(&way, &turn, 1, 0, (struct outcome){TUNNEL_OPEN, WEFT_OK, 200, NULL});
}

static void connect_writes_ipv6_in_brackets(void)
{
    static const struct tunnel_way way = {TUNNEL_CONNECT, "2001:db8::1", 8080, NULL, NULL};
    static const struct turn turn = TURN(
        "CONNECT [2001:db8::1]:8080 HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n");

    check(&way, &turn, 1, 0, (struct outcome){TUNNEL_OPEN, WEFT_OK, 200, NULL});
}

static void a_proxy_that_refuses_says_so_by_its_status(void)
{
    static const struct turn authentication =
        TURN(ASKED, "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 3\r\n\r\nno\n");
    static const struct turn bad_gateway = TURN(ASKED, "HTTP/1.0 502 Bad\r\n\r\n");
    static const struct turn upgrade = TURN(ASKED, "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n");
    static const struct turn redirect = TURN(ASKED, "HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n");

    check(&plain, &authentication, 1, 0,
          (struct outcome){TUNNEL_FAILED, WEFT_E_REFUSED, 407, "Proxy Authentication Required"});
    check(&plain, &bad_gateway, 1, 0, (struct outcome){TUNNEL_FAILED, WEFT_E_REFUSED, 502, "Bad Gateway"});
    check(&plain, &upgrade, 1, 0,
          (struct outcome){TUNNEL_FAILED, WEFT_E_REFUSED, 101, "Switching Protocols"});
    check(&plain, &redirect, 1, 0, (struct outcome){TUNNEL_FAILED, WEFT_E_REFUSED, 302, "Found"});
}

static void what_is_no_answer_is_refused_and_nothing_grows_without_bound(void)
{
    static const struct turn garbage = TURN(ASKED, "SSH-2.0-OpenSSH_9.2\r\n");
    static const struct turn socks = TURN(ASKED, "\x05\xff");
    char *large = malloc(20000);
    struct turn endless = TURN(ASKED, "");

    check(&plain, &garbage, 1, 0, (struct outcome){TUNNEL_FAILED, WEFT_E_PROTOCOL, 0, NULL});
    check(&plain, &socks, 1, 0, (struct outcome){TUNNEL_FAILED, WEFT_E_PROTOCOL, 0, NULL});
    memset(large, 'a', 20000);
    memcpy(large, "HTTP/1.1 200 OK\r\nX: ", 20);
    endless.answer = large;
    endless.answer_bytes = 20000;
    check(&plain, &endless, 1, 0, (struct outcome){TUNNEL_FAILED, WEFT_E_TOO_BIG, 200, NULL});
    free(large);
}

static void an_answer_before_the_question_opens_nothing(void)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\n\r\n";
    struct tunnel t;
    size_t used;

    CU_ASSERT_EQUAL_FATAL(tunnel_init(&t, &plain), WEFT_OK);
    tunnel_sent(&t, 10);
    CU_ASSERT_EQUAL(tunnel_feed(&t, (const uint8_t *)answer, sizeof answer - 1, &used), TUNNEL_FAILED);
    CU_ASSERT_EQUAL(t.error, WEFT_E_PROTOCOL);
    tunnel_fini(&t);
    CU_ASSERT_EQUAL_FATAL(tunnel_init(&t, &(struct tunnel_way){TUNNEL_SOCKS5, "h", 1, NULL, NULL}), WEFT_OK);
    CU_ASSERT_EQUAL(tunnel_feed(&t, (const uint8_t *)"\x05", 1, &used), TUNNEL_FAILED);
    CU_ASSERT_EQUAL(t.error, WEFT_E_PROTOCOL);
    tunnel_fini(&t);
}

/* --- SOCKS5 --- */

#define HELLO "\x05\x01\x00"
#define REQUEST                                                                                              \
    "\x05\x01\x00\x03\x0b"                                                                                   \
    "example.org\x01\xbb"

static const struct tunnel_way socks = {TUNNEL_SOCKS5, "example.org", 443, NULL, NULL};
static const struct tunnel_way socks_login = {TUNNEL_SOCKS5, "example.org", 443, "user", "secret"};

static void socks_opens_with_each_type_of_address_and_leaves_what_follows(void)
{
    static const struct turn v4[] = {TURN(HELLO, "\x05\x00"),
                                     TURN(REQUEST, "\x05\x00\x00\x01\x7f\x00\x00\x01\x1f\x90server")};
    static const struct turn v6[] = {TURN(HELLO, "\x05\x00"), TURN(REQUEST, "\x05\x00\x00\x04"
                                                                            "0123456789abcdef"
                                                                            "\x1f\x90server")};
    static const struct turn name[] = {TURN(HELLO, "\x05\x00"),
                                       TURN(REQUEST, "\x05\x00\x00\x03\x05proxy\x1f\x90server")};
    static const struct turn empty[] = {TURN(HELLO, "\x05\x00"),
                                        TURN(REQUEST, "\x05\x00\x00\x03\x00\x1f\x90server")};
    static const struct outcome open = {TUNNEL_OPEN, WEFT_OK, 0, NULL};

    check(&socks, v4, 2, 6, open);
    check(&socks, v6, 2, 6, open);
    check(&socks, name, 2, 6, open);
    check(&socks, empty, 2, 6, open);
}

static void socks_asks_for_addresses_as_addresses(void)
{
    static const struct tunnel_way v4 = {TUNNEL_SOCKS5, "192.0.2.1", 80, NULL, NULL};
    static const struct tunnel_way v6 = {TUNNEL_SOCKS5, "2001:db8::1", 80, NULL, NULL};
    static const struct turn v4_turns[] = {
        TURN(HELLO, "\x05\x00"),
        TURN("\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50", "\x05\x00\x00\x01\0\0\0\0\0\0")};
    static const struct turn v6_turns[] = {
        TURN(HELLO, "\x05\x00"), TURN("\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50",
                                      "\x05\x00\x00\x01\0\0\0\0\0\0")};
    static const struct outcome open = {TUNNEL_OPEN, WEFT_OK, 0, NULL};

    check(&v4, v4_turns, 2, 0, open);
    check(&v6, v6_turns, 2, 0, open);
}

static void socks_logs_in_when_it_is_asked_to(void)
{
    static const struct turn asked[] = {TURN("\x05\x02\x00\x02", "\x05\x02"),
                                        TURN("\x01\x04user\x06secret", "\x01\x00"),
                                        TURN(REQUEST, "\x05\x00\x00\x01\0\0\0\0\0\0")};
    static const struct turn not_asked[] = {TURN("\x05\x02\x00\x02", "\x05\x00"),
                                            TURN(REQUEST, "\x05\x00\x00\x01\0\0\0\0\0\0")};
    static const struct turn wrong[] = {TURN("\x05\x02\x00\x02", "\x05\x02"),
                                        TURN("\x01\x04user\x06secret", "\x01\x01")};

    check(&socks_login, asked, 3, 0, (struct outcome){TUNNEL_OPEN, WEFT_OK, 0, NULL});
    check(&socks_login, not_asked, 2, 0, (struct outcome){TUNNEL_OPEN, WEFT_OK, 0, NULL});
    check(&socks_login, wrong, 2, 0,
          (struct outcome){TUNNEL_FAILED, WEFT_E_REFUSED, 0, "user or password are wrong"});
}

static void socks_that_takes_no_authentication_of_ours_is_refused(void)
{
    static const struct turn required = TURN(HELLO, "\x05\xff");
    static const struct turn none = TURN("\x05\x02\x00\x02", "\x05\xff");
    static const struct turn not_offered = TURN(HELLO, "\x05\x02");
    static const struct turn other = TURN("\x05\x02\x00\x02", "\x05\x01");
    static const struct turn http = TURN(HELLO, "HTTP/1.1 400 Bad Request\r\n\r\n");
    static const struct turn socks4[] = {TURN(HELLO, "\x05\x00"), TURN(REQUEST, "\x00\x5a\x00\x00")};
    static const struct turn address[] = {TURN(HELLO, "\x05\x00"), TURN(REQUEST, "\x05\x00\x00\x02")};

    check(&socks, &required, 1, 0,
          (struct outcome){TUNNEL_FAILED, WEFT_E_REFUSED, 0, "authentication is required"});
    check(&socks_login, &none, 1, 0,
          (struct outcome){TUNNEL_FAILED, WEFT_E_REFUSED, 0, "no offered authentication is accepted"});
    check(&socks, &not_offered, 1, 0, (struct outcome){TUNNEL_FAILED, WEFT_E_PROTOCOL, 0, NULL});
    check(&socks_login, &other, 1, 0, (struct outcome){TUNNEL_FAILED, WEFT_E_PROTOCOL, 0, NULL});
    check(&socks, &http, 1, 0, (struct outcome){TUNNEL_FAILED, WEFT_E_PROTOCOL, 0, NULL});
    check(&socks, socks4, 2, 0, (struct outcome){TUNNEL_FAILED, WEFT_E_PROTOCOL, 0, NULL});
    check(&socks, address, 2, 0, (struct outcome){TUNNEL_FAILED, WEFT_E_PROTOCOL, 0, NULL});
}

static void each_socks_reply_has_its_text(void)
{
    static const char *const texts[] = {NULL,
                                        "general SOCKS server failure",
                                        "connection not allowed by ruleset",
                                        "Network unreachable",
                                        "Host unreachable",
                                        "Connection refused",
                                        "TTL expired",
                                        "Command not supported",
                                        "Address type not supported",
                                        "unassigned SOCKS reply"};

    for (int reply = 1; reply < 10; reply++) {
        char answer[] = {5, (char)reply, '\0'};
        struct turn turns[] = {TURN(HELLO, "\x05\x00"), TURN(REQUEST, "")};
        struct tunnel t;
        size_t used;

        turns[1].answer = answer;
        turns[1].answer_bytes = 2;
        check(&socks, turns, 2, 0, (struct outcome){TUNNEL_FAILED, WEFT_E_REFUSED, reply, texts[reply]});
        CU_ASSERT_EQUAL_FATAL(tunnel_init(&t, &socks), WEFT_OK);
        for (size_t i = 0; i < 2; i++) {
            CU_ASSERT(sends(&t, &turns[i], 1));
            feed(&t, turns[i].answer, turns[i].answer_bytes, 1, &used);
        }
        CU_ASSERT_EQUAL(tunnel_other_address_may_help(&t),
                        reply == 3 || reply == 4 || reply == 5 || reply == 6 || reply == 8);
        tunnel_fini(&t);
    }
}

/* --- both --- */

static void what_cannot_be_sent_is_refused_at_the_beginning(void)
{
    static const char *const hosts[] = {"", "a b", "a\r\nX: y", "[::1]", "a/b", "a@b"};
    char text[1200];
    struct tunnel t;

    memset(text, 'a', sizeof text);
    for (enum tunnel_kind kind = TUNNEL_CONNECT; kind <= TUNNEL_SOCKS5; kind++) {
        struct tunnel_way way = {kind, "h", 1, "u", "p"};

        for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
            way.host = hosts[i];
            CU_ASSERT_EQUAL(tunnel_init(&t, &way), WEFT_E_INVAL);
            CU_ASSERT_PTR_NOT_NULL(t.reason);
            tunnel_fini(&t);
        }
        way.host = text;
        text[256] = '\0';
        CU_ASSERT_EQUAL(tunnel_init(&t, &way), WEFT_E_INVAL);
        tunnel_fini(&t);
        text[255] = '\0';
        CU_ASSERT_EQUAL(tunnel_init(&t, &way), WEFT_OK);
        tunnel_fini(&t);
        text[255] = text[256] = 'a';
        way.host = "h";
        way.port = 0;
        CU_ASSERT_EQUAL(tunnel_init(&t, &way), WEFT_E_INVAL);
        tunnel_fini(&t);
        way.port = 1;
        way.user = text;
        text[kind == TUNNEL_CONNECT ? 1023 : 256] = '\0';
        CU_ASSERT_EQUAL(tunnel_init(&t, &way), WEFT_E_INVAL);
        tunnel_fini(&t);
        text[kind == TUNNEL_CONNECT ? 1022 : 255] = '\0';
        CU_ASSERT_EQUAL(tunnel_init(&t, &way), WEFT_OK);
        tunnel_fini(&t);
        memset(text, 'a', sizeof text);
    }
}

/* With nothing sent but the first question, all answers mean the same however they are cut. */
static int outcome_of(const struct tunnel_way *way, const char *answer, size_t n, size_t piece, int *error)
{
    struct tunnel t;
    const uint8_t *p;
    size_t used;
    int rc;

    CU_ASSERT_EQUAL_FATAL(tunnel_init(&t, way), WEFT_OK);
    tunnel_sent(&t, tunnel_output(&t, &p));
    rc = feed(&t, answer, n, piece, &used);
    *error = t.error;
    tunnel_fini(&t);
    return rc;
}

static void how_an_answer_is_cut_does_not_matter(void)
{
    static const char *const words[] = {"HTTP/1.1 ", "200", " OK", "\r\n", "\r\n\r\n",
                                        "X: y",      "407", "\n",  "a"};
    const struct tunnel_way *const ways[] = {&plain, &socks, &socks_login};

    srand(11);
    for (int i = 0; i < (unit_is_slow() ? 3000 : 30000); i++) {
        const struct tunnel_way *way = ways[i % 3];
        char answer[64];
        int rc, error, again, error_again;
        size_t n = 0;

        for (int k = rand() % 7; k >= 0; k--) {
            const char *word = words[rand() % (int)(sizeof words / sizeof words[0])];
            if (way->kind == TUNNEL_SOCKS5)
                answer[n++] = "\0\1\2\5\5\5\xff"[rand() % 7];
            else
                n += (size_t)snprintf(answer + n, sizeof answer - n, "%s", k == 6 ? words[0] : word);
        }
        rc = outcome_of(way, answer, n, SIZE_MAX, &error);
        again = outcome_of(way, answer, n, 1, &error_again);
        CU_ASSERT_EQUAL(rc, again);
        CU_ASSERT_EQUAL(error, error_again);
    }
}

static void the_longest_request_has_room(void)
{
    char host[256], user[1024];
    struct tunnel t;
    const uint8_t *p;

    memset(host, 'a', sizeof host);
    memset(user, 'u', sizeof user);
    host[255] = user[1023] = '\0';
    CU_ASSERT_EQUAL(tunnel_init(&t, &(struct tunnel_way){TUNNEL_CONNECT, host, 65535, user, NULL}), WEFT_OK);
    CU_ASSERT(tunnel_output(&t, &p) > 255 * 2 + 1024 * 4 / 3);
    tunnel_fini(&t);
}

static void without_memory_connect_fails_at_the_beginning_or_in_the_answer(void)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\n\r\n";
    const struct tunnel_way way = {TUNNEL_CONNECT, "h", 80, "u", "p"};
    int64_t before;
    uint64_t n = 0;
    bool failed;

    mem_count_live(true);
    before = mem_live_blocks();
    do {
        struct tunnel t;
        const uint8_t *p;
        size_t used;

        mem_fail_at(++n);
        if (tunnel_init(&t, &way) == WEFT_OK) {
            tunnel_sent(&t, tunnel_output(&t, &p));
            tunnel_feed(&t, (const uint8_t *)answer, sizeof answer - 1, &used);
        }
        failed = mem_fail_happened();
        CU_ASSERT_EQUAL(t.error, failed ? WEFT_E_NOMEM : WEFT_OK);
        tunnel_fini(&t);
        CU_ASSERT_EQUAL(mem_live_blocks(), before);
    } while (failed && n < 20);
    mem_fail_at(0);
    mem_count_live(false);
    CU_ASSERT(n == 4);
}

static const struct unit_case cases[] = {
    CASE(connect_opens_with_any_2xx_and_leaves_what_follows),
    CASE(connect_sends_credentials_at_once),
    CASE(connect_writes_ipv6_in_brackets),
    CASE(a_proxy_that_refuses_says_so_by_its_status),
    CASE(what_is_no_answer_is_refused_and_nothing_grows_without_bound),
    CASE(an_answer_before_the_question_opens_nothing),
    CASE(socks_opens_with_each_type_of_address_and_leaves_what_follows),
    CASE(socks_asks_for_addresses_as_addresses),
    CASE(socks_logs_in_when_it_is_asked_to),
    CASE(socks_that_takes_no_authentication_of_ours_is_refused),
    CASE(each_socks_reply_has_its_text),
    CASE(what_cannot_be_sent_is_refused_at_the_beginning),
    CASE(how_an_answer_is_cut_does_not_matter),
    CASE(the_longest_request_has_room),
    CASE(without_memory_connect_fails_at_the_beginning_or_in_the_answer),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "tunnel", cases, sizeof cases / sizeof cases[0]);
}
