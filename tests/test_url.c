/* URLs: the examples of RFC 3986, those that people write, and those that attackers write. */
#include "unit.h"
#include "proto/url.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proto/compose.h"
#include "weft/error.h"

#define URL_ANY (URL_FOR_CLIENT | URL_FOR_REDIRECT | URL_FOR_PROXY)

static bool equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Memory of exactly the text's length, so that ASan sees a step too far. */
static int parse(struct url *u, const char *text, unsigned schemes, const char **reason)
{
    char *copy = strdup(text);
    int rc = url_parse(u, copy, schemes, reason);

    free(copy);
    return rc;
}

struct good {
    const char *text, *host, *target, *user, *password, *path;
    unsigned port;
    enum url_scheme scheme;
    bool is_secure;
};

static void check_good(const struct good *g)
{
    struct url u;
    const char *reason = "none";
    bool as_expected;

    CU_ASSERT_EQUAL_FATAL(parse(&u, g->text, URL_ANY, &reason), WEFT_OK);
    as_expected = equal(u.host, g->host) && equal(u.target, g->target) && equal(u.user, g->user) &&
                  equal(u.password, g->password) && equal(u.path, g->path) && u.port == g->port &&
                  u.scheme == g->scheme && u.is_secure == g->is_secure;
    if (!as_expected)
        printf("%s: %s %u %s %s %s\n", g->text, u.host, u.port, u.target, u.user, u.path);
    CU_ASSERT(as_expected);
    url_fini(&u);
    url_fini(&u);
}

static void a_url_is_taken_apart(void)
{
    static const struct good good[] = {
        {"ws://example.org", "example.org", "/", .port = 80, .scheme = URL_WS},
        {"WSS://Example.ORG/", "example.org", "/", .port = 443, .scheme = URL_WSS, .is_secure = true},
        {"ws://h:8080/a/b?c=d&e", "h", "/a/b?c=d&e", .port = 8080, .scheme = URL_WS},
        {"ws://h?q", "h", "/?q", .port = 80, .scheme = URL_WS},
        {"ws://h:?", "h", "/?", .port = 80, .scheme = URL_WS},
        {"ws://h:00443/", "h", "/", .port = 443, .scheme = URL_WS},
        {"ws://h:65535", "h", "/", .port = 65535, .scheme = URL_WS},
        {"ws://h/a/../b/./c", "h", "/a/../b/./c", .port = 80, .scheme = URL_WS},
        {"ws://h//x", "h", "//x", .port = 80, .scheme = URL_WS},
        {"ws://h/?a=b@c:d/e?f[]=1", "h", "/?a=b@c:d/e?f[]=1", .port = 80, .scheme = URL_WS},
        {"http://p:3128", "p", "/", .port = 3128, .scheme = URL_HTTP},
        {"https://h", "h", "/", .port = 443, .scheme = URL_HTTPS, .is_secure = true},
        {"socks5://p", "p", "/", .port = 1080, .scheme = URL_SOCKS5},
        {"socks5h://p:9050/", "p", "/", .port = 9050, .scheme = URL_SOCKS5H},
        {"ws://127.0.0.1:1", "127.0.0.1", "/", .port = 1, .scheme = URL_WS},
        {"ws://1.example", "1.example", "/", .port = 80, .scheme = URL_WS},
        {"ws://my_service.local./", "my_service.local.", "/", .port = 80, .scheme = URL_WS},
    };

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        check_good(&good[i]);
}

static void ipv6_loses_its_brackets_and_gets_one_spelling(void)
{
    static const struct good good[] = {
        {"ws://[::1]", "::1", "/", .port = 80, .scheme = URL_WS},
        {"ws://[::1]:8080/x", "::1", "/x", .port = 8080, .scheme = URL_WS},
        {"ws://[2001:DB8:0:0::0001]:/", "2001:db8::1", "/", .port = 80, .scheme = URL_WS},
        {"ws://[::ffff:192.0.2.1]", "::ffff:192.0.2.1", "/", .port = 80, .scheme = URL_WS},
    };

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        check_good(&good[i]);
}

static void user_and_password_are_decoded(void)
{
    static const struct good good[] = {
        {"ws://u:p@h", "h", "/", "u", "p", .port = 80, .scheme = URL_WS},
        {"ws://u@h", "h", "/", "u", NULL, .port = 80, .scheme = URL_WS},
        {"ws://u:@h", "h", "/", "u", "", .port = 80, .scheme = URL_WS},
        {"ws://:p@h", "h", "/", "", "p", .port = 80, .scheme = URL_WS},
        {"ws://@h", "h", "/", .port = 80, .scheme = URL_WS},
        {"ws://a%40b:c%3Ad%2f%20@h:1/", "h", "/", "a@b", "c:d/ ", .port = 1, .scheme = URL_WS},
        {"ws://u:a:b@h", "h", "/", "u", "a:b", .port = 80, .scheme = URL_WS},
        {"ws://j%C3%BCrgen:ü@h", "h", "/", "jürgen", "ü", .port = 80, .scheme = URL_WS},
        {"socks5://a%3Ab:c@p", "p", "/", "a:b", "c", .port = 1080, .scheme = URL_SOCKS5},
    };

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        check_good(&good[i]);
}

static void an_international_host_becomes_ascii(void)
{
    static const struct good good[] = {
        {"ws://bücher.example/", "xn--bcher-kva.example", "/", .port = 80, .scheme = URL_WS},
        {"ws://b%C3%BCcher.example/", "xn--bcher-kva.example", "/", .port = 80, .scheme = URL_WS},
        {"ws://ex%61mple.org/", "example.org", "/", .port = 80, .scheme = URL_WS},
    };

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        check_good(&good[i]);
}

static void a_target_is_encoded_where_it_must_be(void)
{
    static const struct good good[] = {
        {"ws://h/ü?ö", "h", "/%C3%BC?%C3%B6", .port = 80, .scheme = URL_WS},
        {"ws://h/a\"<>\\^`{|}b", "h", "/a%22%3C%3E%5C%5E%60%7B%7C%7Db", .port = 80, .scheme = URL_WS},
        {"ws://h/%41%2f!$&'()*+,;=:@-._~", "h", "/%41%2f!$&'()*+,;=:@-._~", .port = 80, .scheme = URL_WS},
    };

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        check_good(&good[i]);
}

static void a_socket_has_a_path_and_a_target(void)
{
    static const struct good good[] = {
        {"ws+unix:///run/x.sock", "localhost", "/", .path = "/run/x.sock", .port = 80, .scheme = URL_WS_UNIX},
        {"ws+unix:/run/x.sock", "localhost", "/", .path = "/run/x.sock", .port = 80, .scheme = URL_WS_UNIX},
        {"ws+unix:///s:/chat?x=1:2", "localhost", "/chat?x=1:2", .path = "/s", .port = 80,
         .scheme = URL_WS_UNIX},
        {"ws+unix:///s:", "localhost", "/", .path = "/s", .port = 80, .scheme = URL_WS_UNIX},
        {"ws+unix:///s:?q", "localhost", "/?q", .path = "/s", .port = 80, .scheme = URL_WS_UNIX},
        {"ws+unix:///a%3Ab%3f%20c:/t", "localhost", "/t", .path = "/a:b? c", .port = 80,
         .scheme = URL_WS_UNIX},
    };

    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        check_good(&good[i]);
}

static void check_bad(const char *text, unsigned schemes, const char *expected)
{
    struct url u;
    const char *reason = NULL;
    int rc = parse(&u, text, schemes, &reason);

    CU_ASSERT_EQUAL(rc, WEFT_E_INVAL);
    if (rc == WEFT_OK)
        url_fini(&u);
    else if (!equal(reason, expected))
        printf("%s: %s\n", text, reason);
    CU_ASSERT(rc != WEFT_OK && equal(reason, expected));
}

static void each_fault_has_its_reason(void)
{
    static const char *const bad[][2] = {
        {"", "the URL is empty"},
        {"example.org", "the URL has no scheme"},
        {"//example.org", "the URL has no scheme"},
        {"1ws://h", "the URL has no scheme"},
        {"wsx://h", "the scheme must be ws, wss or ws+unix"},
        {"http://h", "the scheme must be ws, wss or ws+unix"},
        {"javascript:alert(1)", "the scheme must be ws, wss or ws+unix"},
        {"ws:h", "\"//\" and a host must stand behind the scheme"},
        {"ws:/h", "\"//\" and a host must stand behind the scheme"},
        {"ws://", "the URL has no host"},
        {"ws:///x", "the URL has no host"},
        {"ws://:80", "the URL has no host"},
        {"ws://u@/", "the URL has no host"},
        {"ws://[]/", "the URL has no host"},
        {"ws://h/#f", "a fragment cannot be asked for"},
        {"ws://h#", "a fragment cannot be asked for"},
        {"ws://h:#80/", "a fragment cannot be asked for"},
        {"ws://h /", "a space in the URL"},
        {" ws://h", "a space in the URL"},
        {"ws://h/a b", "a space in the URL"},
        {"ws://h/\r\nX: y", "a control character in the URL"},
        {"ws://h/\t", "a control character in the URL"},
        {"ws://h/\x7f", "a control character in the URL"},
        {"ws://h/%", "a '%' without two hexadecimal digits in the URL"},
        {"ws://h/%4", "a '%' without two hexadecimal digits in the URL"},
        {"ws://h/%4g", "a '%' without two hexadecimal digits in the URL"},
        {"ws://h/\xff", "the URL is not UTF-8"},
        {"ws://h/\xc3", "the URL is not UTF-8"},
        {"ws://h:0/", "the port is out of range"},
        {"ws://h:65536/", "the port is out of range"},
        {"ws://h:99999999999999999999/", "the port is out of range"},
        {"ws://h:8o/", "the port is not a number"},
        {"ws://h:-1/", "the port is not a number"},
        {"ws://h:+1/", "the port is not a number"},
        {"ws://::1/", "an IPv6 address must stand in brackets"},
        {"ws://a:80:90/", "an IPv6 address must stand in brackets"},
        {"ws://[::1/", "the bracket of the IPv6 address is not closed"},
        {"ws://[::1]x/", "something other than a port behind the IPv6 address"},
        {"ws://[::g]/", "not an IPv6 address between the brackets"},
        {"ws://[127.0.0.1]/", "not an IPv6 address between the brackets"},
        {"ws://[fe80::1%25lo]/", "an IPv6 address with a zone is not accepted"},
        {"ws://127.1/", "the host is neither a name nor four numbers from 0 to 255"},
        {"ws://2130706433/", "the host is neither a name nor four numbers from 0 to 255"},
        {"ws://0x7f000001/", "the host is neither a name nor four numbers from 0 to 255"},
        {"ws://127.0.0.0x1/", "the host is neither a name nor four numbers from 0 to 255"},
        {"ws://127.0.0.256/", "the host is neither a name nor four numbers from 0 to 255"},
        {"ws://127.0.0.01/", "the host is neither a name nor four numbers from 0 to 255"},
        {"ws://127.0.0.1./", "the host is neither a name nor four numbers from 0 to 255"},
        {"ws://１２７.1/", "the host is neither a name nor four numbers from 0 to 255"},
        {"ws://a..b/", "a label of the host name is empty"},
        {"ws://a\\b/", "the host name holds a character that no name may hold"},
        {"ws://evil.example\\@good.example/",
         "user or password hold a character that must be percent-encoded"},
        {"ws://a%2fb/", "the host name holds a character that no name may hold"},
        {"ws://a%00b/", "a percent-encoded control character where none may be"},
        {"ws://u%00:p@h/", "a percent-encoded control character where none may be"},
        {"ws://u:p%0d%0a@h/", "a percent-encoded control character where none may be"},
        {"ws://u%3Av:p@h/", "a user name with a colon cannot be sent"},
        {"ws://a@b@h/", "more than one '@' before the host"},
        {"ws://a\"b@h/", "user or password hold a character that must be percent-encoded"},
        {"ws+unix:", "behind ws+unix: must stand the absolute path of a socket, and no host"},
        {"ws+unix:x", "behind ws+unix: must stand the absolute path of a socket, and no host"},
        {"ws+unix://host/x", "behind ws+unix: must stand the absolute path of a socket, and no host"},
        {"ws+unix:///s?q", "a '?' in the path of a socket must be written %3F"},
        {"ws+unix:///s:t", "the target behind the socket's path must begin with '/'"},
        {"ws+unix:///s%00", "a percent-encoded control character where none may be"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        check_bad(bad[i][0], URL_FOR_CLIENT, bad[i][1]);
    check_bad("https://p", URL_FOR_PROXY, "the scheme of a proxy must be http, socks5 or socks5h");
    check_bad("ws+unix:/s", URL_FOR_REDIRECT, "a redirect must lead to ws, wss, http or https");
}

static void lengths_have_a_limit(void)
{
    char *text = malloc(URL_BYTES_MAX + 2);
    struct url u;
    const char *reason;

    memset(text, 'a', URL_BYTES_MAX + 1);
    memcpy(text, "ws://h/", 7);
    text[URL_BYTES_MAX + 1] = '\0';
    check_bad(text, URL_FOR_CLIENT, "the URL is too long");
    text[URL_BYTES_MAX] = '\0';
    CU_ASSERT_EQUAL_FATAL(url_parse(&u, text, URL_FOR_CLIENT, &reason), WEFT_OK);
    CU_ASSERT_EQUAL(strlen(u.target), URL_BYTES_MAX - 6);
    url_fini(&u);
    memset(text, 'a', URL_BYTES_MAX);
    memcpy(text, "ws+unix:/", 9);
    text[8 + URL_SOCKET_PATH_MAX + 1] = '\0';
    check_bad(text, URL_FOR_CLIENT, "the path of the socket is too long");
    text[8 + URL_SOCKET_PATH_MAX] = '\0';
    CU_ASSERT_EQUAL_FATAL(url_parse(&u, text, URL_FOR_CLIENT, &reason), WEFT_OK);
    url_fini(&u);
    free(text);
}

/* Every text that is accepted can be asked for: the request is written for it, and holds no further line. */
static bool can_be_asked_for(const struct url *u)
{
    const struct http_request r = {
        .host = u->host, .port = u->port, .secure = u->is_secure, .target = u->target};
    uint8_t *request;
    size_t bytes;

    if (http_compose_request(&r, &request, &bytes) != WEFT_OK)
        return false;
    mem_free(request);
    return true;
}

static void what_is_accepted_can_stand_in_a_request(void)
{
    static const char letters[] = "aA0.:/?@[]%2f-_~#\\ \t\"<|\xc3\xbc&=+";
    const char *reason = NULL;
    unsigned parsed = 0, resolved = 0;
    struct url base, u;
    char text[24];

    CU_ASSERT_EQUAL_FATAL(url_parse(&base, "wss://u:p@a/b/c", URL_FOR_CLIENT, &reason), WEFT_OK);
    srand(7);
    for (int i = 0; i < (unit_is_slow() ? 20000 : 200000); i++) {
        size_t n = 6 + (size_t)(rand() % 12);

        memcpy(text, "ws://h", 6);
        for (size_t k = 6; k < n; k++)
            text[k] = letters[rand() % (int)(sizeof letters - 1)];
        text[n] = '\0';
        if (parse(&u, text, URL_FOR_CLIENT, &reason) == WEFT_OK) {
            parsed++;
            CU_ASSERT(can_be_asked_for(&u));
            url_fini(&u);
        }
        if (url_resolve(&base, text + 6, &u, &reason) == WEFT_OK) {
            resolved++;
            CU_ASSERT(can_be_asked_for(&u));
            CU_ASSERT_PTR_NULL(strstr(u.target, "/../"));
            url_fini(&u);
        }
    }
    CU_ASSERT(parsed > 500);
    CU_ASSERT(resolved > 500);
    url_fini(&base);
}

/* --- references --- */

static void check_resolved(const char *base_text, const char *location, const char *expected)
{
    struct url base, u, wanted;
    const char *reason = "none";
    bool as_expected;

    CU_ASSERT_EQUAL_FATAL(url_parse(&base, base_text, URL_FOR_CLIENT, &reason), WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(url_parse(&wanted, expected, URL_FOR_CLIENT, &reason), WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(url_resolve(&base, location, &u, &reason), WEFT_OK);
    as_expected = u.scheme == wanted.scheme && u.is_secure == wanted.is_secure && u.port == wanted.port &&
                  equal(u.host, wanted.host) && equal(u.target, wanted.target) &&
                  equal(u.path, wanted.path) && equal(u.user, wanted.user) &&
                  equal(u.password, wanted.password);
    if (!as_expected)
        printf("%s + %s: %s:%u%s\n", base_text, location, u.host, u.port, u.target);
    CU_ASSERT(as_expected);
    url_fini(&base);
    url_fini(&u);
    url_fini(&wanted);
}

/* RFC 3986 section 5.4, with fragments dropped, an empty path written "/", and its scheme g: left out. */
static void the_examples_of_rfc_3986_resolve_as_they_say(void)
{
    static const char *const examples[][2] = {
        {"g", "/b/c/g"},
        {"./g", "/b/c/g"},
        {"g/", "/b/c/g/"},
        {"/g", "/g"},
        {"?y", "/b/c/d;p?y"},
        {"g?y", "/b/c/g?y"},
        {"#s", "/b/c/d;p?q"},
        {"g#s", "/b/c/g"},
        {"g?y#s", "/b/c/g?y"},
        {";x", "/b/c/;x"},
        {"g;x", "/b/c/g;x"},
        {"g;x?y#s", "/b/c/g;x?y"},
        {"", "/b/c/d;p?q"},
        {".", "/b/c/"},
        {"./", "/b/c/"},
        {"..", "/b/"},
        {"../", "/b/"},
        {"../g", "/b/g"},
        {"../..", "/"},
        {"../../", "/"},
        {"../../g", "/g"},
        {"../../../g", "/g"},
        {"../../../../g", "/g"},
        {"/./g", "/g"},
        {"/../g", "/g"},
        {"g.", "/b/c/g."},
        {".g", "/b/c/.g"},
        {"g..", "/b/c/g.."},
        {"..g", "/b/c/..g"},
        {"./../g", "/b/g"},
        {"./g/.", "/b/c/g/"},
        {"g/./h", "/b/c/g/h"},
        {"g/../h", "/b/c/h"},
        {"g;x=1/./y", "/b/c/g;x=1/y"},
        {"g;x=1/../y", "/b/c/y"},
        {"g?y/./x", "/b/c/g?y/./x"},
        {"g?y/../x", "/b/c/g?y/../x"},
        {"g#s/./x", "/b/c/g"},
        {"//g", NULL},
    };
    char expected[64];

    for (size_t i = 0; examples[i][1]; i++) {
        snprintf(expected, sizeof expected, "ws://a%s", examples[i][1]);
        check_resolved("ws://a/b/c/d;p?q", examples[i][0], expected);
    }
    check_resolved("ws://a/b/c/d;p?q", "//g", "ws://g/");
}

static void http_is_read_as_websocket(void)
{
    check_resolved("ws://a/x", "http://b/y", "ws://b/y");
    check_resolved("ws://a/x", "https://b/y", "wss://b/y");
    check_resolved("ws://a/x", "HTTPS://b:80/y/../z", "wss://b:80/z");
    check_resolved("wss://a/x", "ws://b", "ws://b/"); /* whether it may is for the caller */
    check_resolved("wss://a:1/x", "//b/ü", "wss://b/%C3%BC");
    check_resolved("wss://a:1/x", "y", "wss://a:1/y");
}

static void credentials_stay_with_their_origin(void)
{
    check_resolved("ws://u:p@a/x", "y", "ws://u:p@a/y");
    check_resolved("ws://u:p@a/x", "//a/y", "ws://u:p@a/y");
    check_resolved("ws://u:p@a/x", "http://A:80/y", "ws://u:p@a/y");
    check_resolved("ws://u:p@a/x", "http://v:q@a/y", "ws://v:q@a/y");
    check_resolved("ws://u:p@a/x", "ws://b/y", "ws://b/y");
    check_resolved("ws://u:p@a/x", "ws://a:81/y", "ws://a:81/y");
    check_resolved("ws://u:p@a/x", "wss://a/y", "wss://a/y");
    check_resolved("ws://u:p@a/x", "wss://a:80/y", "wss://a:80/y");
    check_resolved("ws://u:p@a/x", "ws://w@b/y", "ws://w@b/y");
}

static void a_redirect_stays_on_its_socket_or_goes_to_the_network_but_to_no_other_socket(void)
{
    static const char *const refused[] = {"ws+unix:/t", "//host/x", "file:///etc/passwd", "http:y",
                                          "ftp://a"};
    const char *reason = NULL;
    struct url base, u;

    check_resolved("ws+unix:/s:/a/b", "../c", "ws+unix:/s:/c");
    check_resolved("ws+unix:/s:/a/b", "/c?d", "ws+unix:/s:/c?d");
    check_resolved("ws+unix:/s", "http://a/", "ws://a/");
    CU_ASSERT_EQUAL(url_parse(&base, "ws+unix:/s", URL_FOR_CLIENT, &reason), WEFT_OK);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        reason = NULL;
        CU_ASSERT_EQUAL(url_resolve(&base, refused[i], &u, &reason), WEFT_E_INVAL);
        CU_ASSERT_PTR_NOT_NULL(reason);
    }
    url_fini(&base);
}

static void a_location_is_judged_like_any_url(void)
{
    static const char *const refused[] = {"/a b",       "/\r\nX: y", "/%zz",  "http://",
                                          "http://h:0", "\xff",      "//[::1"};
    char *text = malloc(URL_BYTES_MAX + 2);
    const char *reason = NULL;
    struct url base, u;

    CU_ASSERT_EQUAL(url_parse(&base, "ws://h/a/b", URL_FOR_CLIENT, &reason), WEFT_OK);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        reason = NULL;
        CU_ASSERT_EQUAL(url_resolve(&base, refused[i], &u, &reason), WEFT_E_INVAL);
        CU_ASSERT_PTR_NOT_NULL(reason);
    }
    memset(text, 'x', URL_BYTES_MAX + 1);
    text[URL_BYTES_MAX + 1] = '\0';
    CU_ASSERT_EQUAL(url_resolve(&base, text, &u, &reason), WEFT_E_INVAL);
    CU_ASSERT_STRING_EQUAL(reason, "the URL is too long");
    text[URL_BYTES_MAX] = '\0'; /* with "/a/" before it, it is too long all the same */
    CU_ASSERT_EQUAL(url_resolve(&base, text, &u, &reason), WEFT_E_INVAL);
    url_fini(&base);
    free(text);
}

static void an_origin_is_scheme_host_and_port(void)
{
    static const struct {
        const char *a, *b;
        bool is_same;
    } rows[] = {
        {"ws://h", "http://H:80/x", true},     {"wss://h", "https://h", true},
        {"ws://h", "wss://h", false},          {"ws://h:443", "wss://h", false},
        {"ws://h", "ws://h:81", false},        {"ws://h", "ws://g", false},
        {"ws://[::1]", "ws://[0:0::1]", true}, {"ws+unix:/s:/a", "ws+unix:///s:/b", true},
        {"ws+unix:/s", "ws+unix:/t", false},   {"ws+unix:/s", "ws://localhost", false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *reason;
        struct url a, b;

        CU_ASSERT_EQUAL_FATAL(url_parse(&a, rows[i].a, URL_ANY, &reason), WEFT_OK);
        CU_ASSERT_EQUAL_FATAL(url_parse(&b, rows[i].b, URL_ANY, &reason), WEFT_OK);
        CU_ASSERT_EQUAL(url_same_origin(&a, &b), rows[i].is_same);
        CU_ASSERT_EQUAL(url_same_origin(&b, &a), rows[i].is_same);
        url_fini(&a);
        url_fini(&b);
    }
}

static void credentials_become_a_header_value(void)
{
    char *value = NULL, user[1026];

    CU_ASSERT_EQUAL(url_basic_value("Aladdin", "open sesame", &value), WEFT_OK); /* RFC 7617 section 2 */
    CU_ASSERT_STRING_EQUAL(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    mem_free(value);
    CU_ASSERT_EQUAL(url_basic_value("u", NULL, &value), WEFT_OK);
    CU_ASSERT_STRING_EQUAL(value, "Basic dTo=");
    mem_free(value);
    CU_ASSERT_EQUAL(url_basic_value("a:b", "c", &value), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(url_basic_value("a", "c\n", &value), WEFT_E_INVAL);
    memset(user, 'a', sizeof user);
    user[1024] = '\0';
    CU_ASSERT_EQUAL(url_basic_value(user, NULL, &value), WEFT_E_INVAL);
    user[1023] = '\0';
    CU_ASSERT_EQUAL(url_basic_value(user, NULL, &value), WEFT_OK);
    mem_free(value);
}

static void an_authority_has_brackets_around_ipv6(void)
{
    char out[URL_AUTHORITY_ROOM];

    url_authority("example.org", 443, out);
    CU_ASSERT_STRING_EQUAL(out, "example.org:443");
    url_authority("2001:db8::1", 65535, out);
    CU_ASSERT_STRING_EQUAL(out, "[2001:db8::1]:65535");
}

static int parse_and_resolve(void)
{
    const char *reason = NULL;
    struct url base, u;
    int rc = url_parse(&base, "ws://u:p@bücher.example/x", URL_FOR_CLIENT, &reason);

    if (rc != WEFT_OK)
        return rc;
    rc = url_resolve(&base, "y", &u, &reason);
    if (rc == WEFT_OK) {
        url_fini(&u);
        rc = url_resolve(&base, "//bücher.example/z", &u, &reason);
    }
    if (rc == WEFT_OK)
        url_fini(&u);
    url_fini(&base);
    return rc;
}

static void without_memory_nothing_is_lost(void)
{
    int64_t before;
    uint64_t n = 0;
    int rc;

    mem_count_live(true);
    before = mem_live_blocks();
    do {
        mem_fail_at(++n);
        rc = parse_and_resolve();
        CU_ASSERT_EQUAL(rc, mem_fail_happened() ? WEFT_E_NOMEM : WEFT_OK);
        CU_ASSERT_EQUAL(mem_live_blocks(), before);
    } while (rc != WEFT_OK && n < 100);
    mem_fail_at(0);
    mem_count_live(false);
    CU_ASSERT(n > 10 && rc == WEFT_OK);
}

static const struct unit_case cases[] = {
    CASE(a_url_is_taken_apart),
    CASE(ipv6_loses_its_brackets_and_gets_one_spelling),
    CASE(user_and_password_are_decoded),
    CASE(an_international_host_becomes_ascii),
    CASE(a_target_is_encoded_where_it_must_be),
    CASE(a_socket_has_a_path_and_a_target),
    CASE(each_fault_has_its_reason),
    CASE(lengths_have_a_limit),
    CASE(what_is_accepted_can_stand_in_a_request),
    CASE(the_examples_of_rfc_3986_resolve_as_they_say),
    CASE(http_is_read_as_websocket),
    CASE(credentials_stay_with_their_origin),
    CASE(a_redirect_stays_on_its_socket_or_goes_to_the_network_but_to_no_other_socket),
    CASE(a_location_is_judged_like_any_url),
    CASE(an_origin_is_scheme_host_and_port),
    CASE(credentials_become_a_header_value),
    CASE(an_authority_has_brackets_around_ipv6),
    CASE(without_memory_nothing_is_lost),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "url", cases, sizeof cases / sizeof cases[0]);
}
