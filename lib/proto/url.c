/* URLs taken apart; see url.h, and url_private.h for what steps return. */
#include "proto/url_private.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "proto/digest.h"
#include "proto/handshake.h"
#include "proto/idn.h"
#include "weft/error.h"

#define PORT_MAX 65535u

const char url_no_memory[] = "out of memory";

struct scheme_row {
    const char *name;
    enum url_scheme scheme;
    bool is_secure;
    uint16_t port;
};

static const struct scheme_row rows[] = {
    {"ws", URL_WS, false, 80},
    {"wss", URL_WSS, true, 443},
    {"ws+unix", URL_WS_UNIX, false, 80},
    {"http", URL_HTTP, false, 80},
    {"https", URL_HTTPS, true, 443},
    {"socks5", URL_SOCKS5, false, 1080},
    {"socks5h", URL_SOCKS5H, false, 1080},
};

/* ---- scheme ---- */

size_t url_scheme_bytes(struct http_text t)
{
    size_t i = 0;

    if (t.n == 0 || !url_is_alpha(t.p[0]))
        return 0;
    while (i < t.n && (url_is_alpha(t.p[i]) || url_is_digit(t.p[i]) || (t.p[i] && strchr("+-.", t.p[i]))))
        i++;
    return i < t.n && t.p[i] == ':' ? i + 1 : 0;
}

static const char *reason_of_scheme(unsigned schemes)
{
    if (schemes == URL_FOR_PROXY)
        return "the scheme of a proxy must be http, socks5 or socks5h";
    if (schemes == URL_FOR_REDIRECT)
        return "a redirect must lead to ws, wss, http or https";
    return schemes == URL_FOR_CLIENT ? "the scheme must be ws, wss or ws+unix" : "the scheme is not accepted";
}

static const char *take_scheme(struct url *u, struct http_text *rest, unsigned schemes)
{
    size_t n = url_scheme_bytes(*rest);

    if (n == 0)
        return "the URL has no scheme";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!(schemes & rows[i].scheme) ||
            !http_equal_nocase(http_text_of(rows[i].name), (struct http_text){rest->p, n - 1}))
            continue;
        u->scheme = rows[i].scheme;
        u->is_secure = rows[i].is_secure;
        u->port = rows[i].port;
        *rest = url_without_first(*rest, n);
        return NULL;
    }
    return reason_of_scheme(schemes);
}

const char *url_scheme_name(enum url_scheme scheme)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].scheme == scheme)
            return rows[i].name;
    return "";
}

/* ---- authority ---- */

static bool is_user_char(char c)
{
    return url_is_alpha(c) || url_is_digit(c) || (unsigned char)c >= 0x80 || strchr("-._~%!$&'()*+,;=:", c);
}

static const char *set_user(struct url *u, struct http_text userinfo)
{
    struct http_text user, rest = userinfo;
    const char *why;

    for (size_t i = 0; i < userinfo.n; i++)
        if (!is_user_char(userinfo.p[i]))
            return "user or password hold a character that must be percent-encoded";
    if (userinfo.n == 0)
        return NULL;
    user = url_cut_before(&rest, ":");
    why = url_decode(user, &u->user);
    if (!why && rest.n > 0)
        why = url_decode(url_without_first(rest, 1), &u->password);
    if (!why && !(u->scheme & (URL_SOCKS5 | URL_SOCKS5H)) && strchr(u->user, ':'))
        return "a user name with a colon cannot be sent";
    return why;
}

static const char *set_port(struct url *u, struct http_text digits)
{
    unsigned port = 0;

    if (digits.n == 0) /* RFC 3986 section 3.2.3: the default */
        return NULL;
    for (size_t i = 0; i < digits.n; i++) {
        if (!url_is_digit(digits.p[i]))
            return "the port is not a number";
        port = port * 10 + (unsigned)(digits.p[i] - '0');
        if (port > PORT_MAX)
            return "the port is out of range";
    }
    if (port == 0)
        return "the port is out of range";
    u->port = (uint16_t)port;
    return NULL;
}

static const char *keep_host(struct url *u, const char *host)
{
    u->host = mem_strdup(host);
    return u->host ? NULL : url_no_memory;
}

/* Written anew, so that one address has one text. */
static const char *set_ipv6(struct url *u, struct http_text t)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;

    if (memchr(t.p, '%', t.n))
        return "an IPv6 address with a zone is not accepted";
    if (!http_is_ipv6(t))
        return "not an IPv6 address between the brackets";
    memcpy(text, t.p, t.n);
    text[t.n] = '\0';
    inet_pton(AF_INET6, text, &address);
    return keep_host(u, inet_ntop(AF_INET6, &address, text, sizeof text));
}

/* Is the last label a number? Then inet_aton and getaddrinfo may take the whole for an address, in notations
 * that the rules for hosts do not know. */
static bool looks_like_ipv4(const char *name)
{
    size_t n = strlen(name), at;

    if (n > 0 && name[n - 1] == '.')
        n--;
    at = n;
    while (at > 0 && name[at - 1] != '.')
        at--;
    if (n - at >= 2 && name[at] == '0' && name[at + 1] == 'x')
        return true;
    while (at < n && url_is_digit(name[at]))
        at++;
    return at == n;
}

static const char *set_name(struct url *u, struct http_text t)
{
    char name[IDN_NAME_BYTES_MAX + 1], *decoded;
    struct in_addr v4;
    const char *why = url_decode(t, &decoded);
    int rc;

    if (why)
        return why;
    rc = idn_to_ascii(decoded, name, &why);
    mem_free(decoded);
    if (rc != WEFT_OK)
        return rc == WEFT_E_NOMEM ? url_no_memory : why;
    if (looks_like_ipv4(name) && inet_pton(AF_INET, name, &v4) != 1)
        return "the host is neither a name nor four numbers from 0 to 255";
    return keep_host(u, name);
}

static const char *set_host_and_port(struct url *u, struct http_text t)
{
    struct http_text host, rest = t;
    bool in_brackets = t.n > 0 && t.p[0] == '[';
    const char *why;

    if (in_brackets) {
        rest = url_without_first(t, 1);
        host = url_cut_before(&rest, "]");
        if (rest.n == 0)
            return "the bracket of the IPv6 address is not closed";
        rest = url_without_first(rest, 1);
        if (rest.n > 0 && rest.p[0] != ':')
            return "something other than a port behind the IPv6 address";
    } else {
        host = url_cut_before(&rest, ":");
        if (rest.n > 1 && memchr(rest.p + 1, ':', rest.n - 1))
            return "an IPv6 address must stand in brackets";
    }
    if (host.n == 0)
        return "the URL has no host";
    why = in_brackets ? set_ipv6(u, host) : set_name(u, host);
    return !why && rest.n > 0 ? set_port(u, url_without_first(rest, 1)) : why;
}

static const char *take_authority(struct url *u, struct http_text *rest)
{
    struct http_text authority, userinfo;
    const char *at, *why = NULL;

    if (!url_starts_with(*rest, "//"))
        return "\"//\" and a host must stand behind the scheme";
    *rest = url_without_first(*rest, 2);
    authority = url_cut_before(rest, "/?");
    at = memchr(authority.p, '@', authority.n);
    if (at) {
        userinfo = (struct http_text){authority.p, (size_t)(at - authority.p)};
        authority = url_without_first(authority, userinfo.n + 1);
        if (memchr(authority.p, '@', authority.n))
            return "more than one '@' before the host";
        why = set_user(u, userinfo);
    }
    return why ? why : set_host_and_port(u, authority);
}

/* ---- ws+unix ---- */

static const char *take_socket_path(struct url *u, struct http_text *rest)
{
    struct http_text path;
    const char *why;

    if (url_starts_with(*rest, "//"))
        *rest = url_without_first(*rest, 2);
    if (!url_starts_with(*rest, "/"))
        return "behind ws+unix: must stand the absolute path of a socket, and no host";
    path = url_cut_before(rest, ":?");
    if (rest->n > 0 && rest->p[0] == '?')
        return "a '?' in the path of a socket must be written %3F";
    if (rest->n > 0)
        *rest = url_without_first(*rest, 1);
    if (rest->n > 0 && rest->p[0] != '/' && rest->p[0] != '?')
        return "the target behind the socket's path must begin with '/'";
    why = url_decode(path, &u->path);
    if (why)
        return why;
    if (strlen(u->path) > URL_SOCKET_PATH_MAX)
        return "the path of the socket is too long";
    return keep_host(u, "localhost");
}

/* ---- the whole ---- */

const char *url_take_apart(struct url *u, struct http_text t, unsigned schemes)
{
    const char *why = t.n > 0 ? url_check_characters(t) : "the URL is empty";

    if (!why && memchr(t.p, '#', t.n))
        why = "a fragment cannot be asked for";
    if (!why)
        why = take_scheme(u, &t, schemes);
    if (!why)
        why = u->scheme == URL_WS_UNIX ? take_socket_path(u, &t) : take_authority(u, &t);
    return why ? why : url_encode_target(t, &u->target);
}

int url_result(struct url *u, const char *why, const char **reason)
{
    if (!why)
        return WEFT_OK;
    url_fini(u);
    *reason = why;
    return why == url_no_memory ? WEFT_E_NOMEM : WEFT_E_INVAL;
}

int url_parse(struct url *out, const char *text, unsigned schemes, const char **reason)
{
    memset(out, 0, sizeof *out);
    return url_result(out, url_take_apart(out, http_text_of(text), schemes), reason);
}

static void free_secret(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    mem_free(s);
}

void url_fini(struct url *u)
{
    mem_free(u->host);
    mem_free(u->target);
    mem_free(u->path);
    free_secret(u->user);
    free_secret(u->password);
    memset(u, 0, sizeof *u);
}

/* ---- comparing and writing ---- */

bool url_same_origin(const struct url *a, const struct url *b)
{
    if (a->path || b->path)
        return a->path && b->path && strcmp(a->path, b->path) == 0;
    return a->is_secure == b->is_secure && a->port == b->port && strcmp(a->host, b->host) == 0;
}

void url_authority(const char *host, uint16_t port, char out[URL_AUTHORITY_ROOM])
{
    bool is_ipv6 = strchr(host, ':') != NULL;

    snprintf(out, URL_AUTHORITY_ROOM, "%s%s%s:%u", is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "", port);
}

static bool has_control(const char *s)
{
    while (*s && !url_is_control(*s))
        s++;
    return *s != '\0';
}

int url_basic_value(const char *user, const char *password, char **out)
{
    char both[HTTP_BASIC_BYTES_MAX + 1], *value;
    int n = snprintf(both, sizeof both, "%s:%s", user, password ? password : "");
    size_t begin = strlen("Basic ");

    if (n < 0 || (size_t)n >= sizeof both || strchr(user, ':') || has_control(both)) {
        explicit_bzero(both, sizeof both);
        return WEFT_E_INVAL;
    }
    value = mem_alloc(begin + DIGEST_BASE64_CHARS((size_t)n) + 1);
    if (value) {
        memcpy(value, "Basic ", begin);
        digest_base64((const uint8_t *)both, (size_t)n, value + begin);
        *out = value;
    }
    explicit_bzero(both, sizeof both);
    return value ? WEFT_OK : WEFT_E_NOMEM;
}
