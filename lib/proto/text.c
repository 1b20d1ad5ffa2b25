/* Byte classes of RFC 9110 and 9112 and the small grammar of RFC 3986 that a Host needs.
 *
 * The target class is wider than RFC 3986: browsers leave characters such as '|' and '{' in a query, and
 * nothing here gives them a meaning. '#' is not in it, since a fragment never travels. */
#include "proto/text.h"

#include <arpa/inet.h>
#include <string.h>

enum {
    O = 0,
    V = HTTP_IN_VALUE,
    U = HTTP_IN_VALUE | HTTP_IN_TARGET,
    H = HTTP_IN_VALUE | HTTP_IN_TOKEN,
    T = HTTP_IN_VALUE | HTTP_IN_TOKEN | HTTP_IN_TARGET
};

/* clang-format off */
const uint8_t http_byte_class[256] = {
    O, O, O, O, O, O, O, O, O, V, O, O, O, O, O, O, /* HT */
    O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
    V, T, U, H, T, T, T, T, U, U, T, T, U, T, T, U, /* SP ! " # $ % & ' ( ) * + , - . / */
    T, T, T, T, T, T, T, T, T, T, U, U, U, U, U, U, /* 0 to 9 : ; < = > ? */
    U, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, /* @ A to O */
    T, T, T, T, T, T, T, T, T, T, T, U, U, U, T, T, /* P to Z [ \ ] ^ _ */
    T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, T, /* ` a to o */
    T, T, T, T, T, T, T, T, T, T, T, U, T, U, T, O, /* p to z { | } ~ DEL */
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, /* obs-text from here on */
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V,
    V, V, V, V, V, V, V, V, V, V, V, V, V, V, V, V
};
/* clang-format on */

struct http_text http_text_of(const char *s)
{
    return (struct http_text){s, s ? strlen(s) : 0};
}

size_t http_span(const char *p, size_t n, unsigned class)
{
    size_t i = 0;

    while (i < n && (http_byte_class[(uint8_t)p[i]] & class))
        i++;
    return i;
}

bool http_is_token(struct http_text t)
{
    return t.n > 0 && http_span(t.p, t.n, HTTP_IN_TOKEN) == t.n;
}

bool http_is_value(struct http_text t)
{
    return http_span(t.p, t.n, HTTP_IN_VALUE) == t.n;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool is_hex(char c)
{
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f');
}

bool http_is_ipv6(struct http_text t)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;

    if (t.n == 0 || t.n >= sizeof text || memchr(t.p, '\0', t.n))
        return false;
    memcpy(text, t.p, t.n);
    text[t.n] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1;
}

static bool is_name_byte(char c)
{
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') || (c != '\0' && strchr("-._~!$&'()*+,;=", c));
}

static bool is_reg_name(struct http_text t)
{
    for (size_t i = 0; i < t.n; i++) {
        if (is_name_byte(t.p[i]))
            continue;
        if (t.p[i] != '%' || t.n - i < 3 || !is_hex(t.p[i + 1]) || !is_hex(t.p[i + 2]))
            return false;
        i += 2;
    }
    return t.n > 0;
}

bool http_is_host(struct http_text t)
{
    if (t.n > 2 && t.p[0] == '[' && t.p[t.n - 1] == ']')
        return http_is_ipv6((struct http_text){t.p + 1, t.n - 2});
    return is_reg_name(t);
}

/* An empty port is in the grammar and means the default. */
static bool is_port(struct http_text t)
{
    unsigned port = 0;

    if (t.n > 5)
        return false;
    for (size_t i = 0; i < t.n; i++) {
        if (!is_digit(t.p[i]))
            return false;
        port = port * 10 + (unsigned)(t.p[i] - '0');
    }
    return port <= 65535;
}

bool http_is_authority(struct http_text t)
{
    size_t i = t.n;

    while (i > 0 && t.p[i - 1] != ':' && t.p[i - 1] != ']')
        i--;
    if (i == 0 || t.p[i - 1] == ']')
        return http_is_host(t);
    return http_is_host((struct http_text){t.p, i - 1}) && is_port((struct http_text){t.p + i, t.n - i});
}

bool http_equal(struct http_text a, struct http_text b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool http_equal_nocase(struct http_text a, struct http_text b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (lower(a.p[i]) != lower(b.p[i]))
            return false;
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct http_text http_trim(struct http_text t)
{
    while (t.n > 0 && is_blank(t.p[t.n - 1]))
        t.n--;
    while (t.n > 0 && is_blank(t.p[0]))
        t.p++, t.n--;
    return t;
}

bool http_split_target(struct http_text target, struct http_target *parts)
{
    static const char *const schemes[] = {"http://", "https://", "ws://", "wss://"};

    *parts = (struct http_target){.path = target};
    if (target.n > 0 && target.p[0] == '/')
        return true;
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        struct http_text scheme = http_text_of(schemes[i]);
        size_t n = scheme.n;

        if (target.n < n || !http_equal_nocase((struct http_text){target.p, n}, scheme))
            continue;
        while (n < target.n && target.p[n] != '/' && target.p[n] != '?')
            n++;
        parts->authority = (struct http_text){target.p + scheme.n, n - scheme.n};
        parts->path = (struct http_text){target.p + n, target.n - n};
        return http_is_authority(parts->authority);
    }
    return false;
}
