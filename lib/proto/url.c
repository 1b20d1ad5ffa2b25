/* URLs taken apart; see url.h.
 *
 * Steps return the reason why they refuse, NULL when they do not: so each reason stands where it is found
 * out. */
#include "proto/url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "proto/digest.h"
#include "proto/handshake.h"
#include "proto/idn.h"
#include "proto/text.h"
#include "proto/utf8.h"
#include "weft/error.h"

#define PORT_MAX 65535u

static const char no_memory[] = "out of memory";

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

/* ---- pieces of text ---- */

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

/* Take away and return what stands before the first of these characters; all when there is none. */
static struct http_text cut_before(struct http_text *rest, const char *stops)
{
    struct http_text piece = {rest->p, 0};

    while (piece.n < rest->n && !strchr(stops, rest->p[piece.n]))
        piece.n++;
    rest->p += piece.n;
    rest->n -= piece.n;
    return piece;
}

static struct http_text without_first(struct http_text t, size_t n)
{
    return (struct http_text){t.p + n, t.n - n};
}

static bool starts_with(struct http_text t, const char *prefix)
{
    size_t n = strlen(prefix);

    return t.n >= n && memcmp(t.p, prefix, n) == 0;
}

/* What holds for every part of a URL. */
static const char *check_characters(struct http_text t)
{
    struct utf8_state utf8 = {0};

    if (t.n > URL_BYTES_MAX)
        return "the URL is too long";
    for (size_t i = 0; i < t.n; i++) {
        if (is_control(t.p[i]))
            return "a control character in the URL";
        if (t.p[i] == ' ')
            return "a space in the URL";
        if (t.p[i] == '%' && (t.n - i < 3 || hex_value(t.p[i + 1]) < 0 || hex_value(t.p[i + 2]) < 0))
            return "a '%' without two hexadecimal digits in the URL";
    }
    if (!utf8_feed(&utf8, (const uint8_t *)t.p, t.n) || !utf8_is_complete(&utf8))
        return "the URL is not UTF-8";
    return NULL;
}

/* The text is known to have two digits behind each '%'. */
static const char *decode(struct http_text t, char **out)
{
    char *p = mem_alloc(t.n + 1);
    size_t n = 0;

    if (!p)
        return no_memory;
    for (size_t i = 0; i < t.n; i++) {
        char c = t.p[i];

        if (c == '%') {
            c = (char)(hex_value(t.p[i + 1]) * 16 + hex_value(t.p[i + 2]));
            i += 2;
        }
        if (is_control(c)) {
            mem_free(p);
            return "a percent-encoded control character where none may be";
        }
        p[n++] = c;
    }
    p[n] = '\0';
    *out = p;
    return NULL;
}

static bool must_be_encoded(char c)
{
    return (unsigned char)c >= 0x80 || strchr("\"<>\\^`{|}", c);
}

/* A copy that can stand in a request line. */
static const char *encode_target(struct http_text t, char **out)
{
    static const char digits[] = "0123456789ABCDEF";
    bool needs_slash = t.n == 0 || t.p[0] != '/';
    size_t n = t.n + needs_slash;
    char *p;

    for (size_t i = 0; i < t.n; i++)
        n += must_be_encoded(t.p[i]) ? 2 : 0;
    *out = p = mem_alloc(n + 1);
    if (!p)
        return no_memory;
    if (needs_slash)
        *p++ = '/';
    for (size_t i = 0; i < t.n; i++) {
        unsigned char c = (unsigned char)t.p[i];

        if (must_be_encoded(t.p[i])) {
            *p++ = '%';
            *p++ = digits[c >> 4];
            *p++ = digits[c & 15];
        } else {
            *p++ = t.p[i];
        }
    }
    *p = '\0';
    return NULL;
}

/* ---- scheme ---- */

/* Bytes of "scheme:", 0 when the text does not begin with one. */
static size_t scheme_bytes(struct http_text t)
{
    size_t i = 0;

    if (t.n == 0 || !is_alpha(t.p[0]))
        return 0;
    while (i < t.n && (is_alpha(t.p[i]) || is_digit(t.p[i]) || (t.p[i] && strchr("+-.", t.p[i]))))
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
    size_t n = scheme_bytes(*rest);

    if (n == 0)
        return "the URL has no scheme";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!(schemes & rows[i].scheme) ||
            !http_equal_nocase(http_text_of(rows[i].name), (struct http_text){rest->p, n - 1}))
            continue;
        u->scheme = rows[i].scheme;
        u->is_secure = rows[i].is_secure;
        u->port = rows[i].port;
        *rest = without_first(*rest, n);
        return NULL;
    }
    return reason_of_scheme(schemes);
}

static const char *scheme_name(enum url_scheme scheme)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].scheme == scheme)
            return rows[i].name;
    return "";
}

/* ---- authority ---- */

static bool is_user_char(char c)
{
    return is_alpha(c) || is_digit(c) || (unsigned char)c >= 0x80 || strchr("-._~%!$&'()*+,;=:", c);
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
    user = cut_before(&rest, ":");
    why = decode(user, &u->user);
    if (!why && rest.n > 0)
        why = decode(without_first(rest, 1), &u->password);
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
        if (!is_digit(digits.p[i]))
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
    return u->host ? NULL : no_memory;
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
    while (at < n && is_digit(name[at]))
        at++;
    return at == n;
}

static const char *set_name(struct url *u, struct http_text t)
{
    char name[IDN_NAME_BYTES_MAX + 1], *decoded;
    struct in_addr v4;
    const char *why = decode(t, &decoded);
    int rc;

    if (why)
        return why;
    rc = idn_to_ascii(decoded, name, &why);
    mem_free(decoded);
    if (rc != WEFT_OK)
        return rc == WEFT_E_NOMEM ? no_memory : why;
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
        rest = without_first(t, 1);
        host = cut_before(&rest, "]");
        if (rest.n == 0)
            return "the bracket of the IPv6 address is not closed";
        rest = without_first(rest, 1);
        if (rest.n > 0 && rest.p[0] != ':')
            return "something other than a port behind the IPv6 address";
    } else {
        host = cut_before(&rest, ":");
        if (rest.n > 1 && memchr(rest.p + 1, ':', rest.n - 1))
            return "an IPv6 address must stand in brackets";
    }
    if (host.n == 0)
        return "the URL has no host";
    why = in_brackets ? set_ipv6(u, host) : set_name(u, host);
    return !why && rest.n > 0 ? set_port(u, without_first(rest, 1)) : why;
}

static const char *take_authority(struct url *u, struct http_text *rest)
{
    struct http_text authority, userinfo;
    const char *at, *why = NULL;

    if (!starts_with(*rest, "//"))
        return "\"//\" and a host must stand behind the scheme";
    *rest = without_first(*rest, 2);
    authority = cut_before(rest, "/?");
    at = memchr(authority.p, '@', authority.n);
    if (at) {
        userinfo = (struct http_text){authority.p, (size_t)(at - authority.p)};
        authority = without_first(authority, userinfo.n + 1);
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

    if (starts_with(*rest, "//"))
        *rest = without_first(*rest, 2);
    if (!starts_with(*rest, "/"))
        return "behind ws+unix: must stand the absolute path of a socket, and no host";
    path = cut_before(rest, ":?");
    if (rest->n > 0 && rest->p[0] == '?')
        return "a '?' in the path of a socket must be written %3F";
    if (rest->n > 0)
        *rest = without_first(*rest, 1);
    if (rest->n > 0 && rest->p[0] != '/' && rest->p[0] != '?')
        return "the target behind the socket's path must begin with '/'";
    why = decode(path, &u->path);
    if (why)
        return why;
    if (strlen(u->path) > URL_SOCKET_PATH_MAX)
        return "the path of the socket is too long";
    return keep_host(u, "localhost");
}

/* ---- the whole ---- */

static const char *parse(struct url *u, struct http_text t, unsigned schemes)
{
    const char *why = t.n > 0 ? check_characters(t) : "the URL is empty";

    if (!why && memchr(t.p, '#', t.n))
        why = "a fragment cannot be asked for";
    if (!why)
        why = take_scheme(u, &t, schemes);
    if (!why)
        why = u->scheme == URL_WS_UNIX ? take_socket_path(u, &t) : take_authority(u, &t);
    return why ? why : encode_target(t, &u->target);
}

static int result(struct url *u, const char *why, const char **reason)
{
    if (!why)
        return WEFT_OK;
    url_fini(u);
    *reason = why;
    return why == no_memory ? WEFT_E_NOMEM : WEFT_E_INVAL;
}

int url_parse(struct url *out, const char *text, unsigned schemes, const char **reason)
{
    memset(out, 0, sizeof *out);
    return result(out, parse(out, http_text_of(text), schemes), reason);
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

/* ---- references ---- */

static bool is_dots(const char *segment, size_t n, size_t dots)
{
    return n == dots && memcmp(segment, "..", dots) == 0;
}

/* RFC 3986 section 5.2.4 on n bytes that begin with '/'; returns how many are left. */
static size_t remove_dot_segments(char *path, size_t n)
{
    size_t kept = 0, end;

    for (size_t i = 0; i < n; i = end) {
        size_t bytes;

        for (end = i + 1; end < n && path[end] != '/';)
            end++;
        bytes = end - i - 1;
        if (is_dots(path + i + 1, bytes, 1) || is_dots(path + i + 1, bytes, 2)) {
            while (bytes == 2 && kept > 0 && path[--kept] != '/')
                continue;
            if (end == n)
                path[kept++] = '/';
            continue;
        }
        memmove(path + kept, path + i, end - i);
        kept += end - i;
    }
    return kept;
}

static void tidy_target(char *target)
{
    size_t path = strcspn(target, "?"), kept = remove_dot_segments(target, path);

    memmove(target + kept, target + path, strlen(target + path) + 1);
}

static const char *copy_text(char **out, const char *text)
{
    *out = text ? mem_strdup(text) : NULL;
    return text && !*out ? no_memory : NULL;
}

static const char *copy_credentials(struct url *u, const struct url *from)
{
    const char *why = copy_text(&u->user, from->user);

    return why ? why : copy_text(&u->password, from->password);
}

static const char *copy_but_target(struct url *u, const struct url *from)
{
    const char *why = copy_text(&u->host, from->host);

    u->scheme = from->scheme;
    u->is_secure = from->is_secure;
    u->port = from->port;
    if (!why)
        why = copy_text(&u->path, from->path);
    return why ? why : copy_credentials(u, from);
}

/* How much of the base's target stands before a relative reference: all, its path, its directory or
 * nothing. */
static size_t base_bytes_kept(const char *target, struct http_text reference)
{
    size_t n = strcspn(target, "?");

    if (reference.n == 0)
        return strlen(target);
    if (reference.p[0] == '?')
        return n;
    if (reference.p[0] == '/')
        return 0;
    while (n > 0 && target[n - 1] != '/')
        n--;
    return n;
}

static const char *resolve_path(const struct url *base, struct http_text reference, struct url *u)
{
    size_t kept = base_bytes_kept(base->target, reference);
    const char *why = copy_but_target(u, base);
    char *text;

    if (why)
        return why;
    text = mem_alloc(kept + reference.n + 1);
    if (!text)
        return no_memory;
    memcpy(text, base->target, kept);
    if (reference.n > 0)
        memcpy(text + kept, reference.p, reference.n);
    why = kept + reference.n > URL_BYTES_MAX
              ? "the URL is too long"
              : encode_target((struct http_text){text, kept + reference.n}, &u->target);
    mem_free(text);
    return why;
}

/* With a scheme, or, behind "//", with that of the base. */
static const char *resolve_absolute(const struct url *base, struct http_text reference, struct url *u)
{
    bool has_scheme = !starts_with(reference, "//");
    const char *scheme = has_scheme ? "" : scheme_name(base->scheme), *why;
    size_t n = strlen(scheme), room = n + reference.n + 2;
    char *text = mem_alloc(room);

    if (!text)
        return no_memory;
    n = (size_t)snprintf(text, room, "%s%s%.*s", scheme, has_scheme ? "" : ":", (int)reference.n,
                         reference.p);
    why = parse(u, (struct http_text){text, n}, URL_FOR_REDIRECT);
    mem_free(text);
    return !why && !u->user && url_same_origin(base, u) ? copy_credentials(u, base) : why;
}

static void read_as_websocket(struct url *u)
{
    if (u->scheme & (URL_HTTP | URL_HTTPS))
        u->scheme = u->is_secure ? URL_WSS : URL_WS;
}

static const char *resolve(const struct url *base, struct http_text reference, struct url *u)
{
    const char *why = check_characters(reference);

    if (why)
        return why;
    if (scheme_bytes(reference) > 0 || starts_with(reference, "//"))
        why = resolve_absolute(base, reference, u);
    else
        why = resolve_path(base, reference, u);
    if (why)
        return why;
    tidy_target(u->target);
    read_as_websocket(u);
    return NULL;
}

int url_resolve(const struct url *base, const char *location, struct url *out, const char **reason)
{
    struct http_text rest = http_text_of(location), reference = cut_before(&rest, "#");

    memset(out, 0, sizeof *out);
    return result(out, resolve(base, reference, out), reason);
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
    while (*s && !is_control(*s))
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
