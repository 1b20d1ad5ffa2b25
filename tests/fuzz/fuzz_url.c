/* URLs and redirects: proto/url.c and idn.c, with any text.
 *
 * Oracles
 *   - What was taken apart and is put together again is taken apart to the same.
 *   - Host, target and credentials can stand in a request as they are: our server reads that request.
 *   - A reference resolved against a URL keeps credentials at home, and never leads to a local socket. */
#include "fuzz.h"

#include "base/mem.h"
#include "proto/compose.h"
#include "proto/idn.h"
#include "proto/text.h"
#include "proto/url.h"
#include "weft/error.h"

static const char *scheme_text(enum url_scheme scheme)
{
    switch (scheme) {
    case URL_WS:
        return "ws";
    case URL_WSS:
        return "wss";
    case URL_WS_UNIX:
        return "ws+unix";
    case URL_HTTP:
        return "http";
    case URL_HTTPS:
        return "https";
    case URL_SOCKS5:
        return "socks5";
    default:
        return "socks5h";
    }
}

static char *put_encoded(char *to, const char *text, char plain)
{
    for (; *text; text++)
        to += *text == plain ? sprintf(to, "%c", plain) : sprintf(to, "%%%02X", (unsigned char)*text);
    return to;
}

/* The URL once more; free it. */
static char *put_together(const struct url *u)
{
    size_t room = 64 + URL_AUTHORITY_ROOM + strlen(u->target) + 3 * strlen(u->path ? u->path : "") +
                  3 * strlen(u->user ? u->user : "") + 3 * strlen(u->password ? u->password : "");
    char *text = malloc(room), *to = text, authority[URL_AUTHORITY_ROOM];

    MUST(text);
    to += sprintf(to, "%s://", scheme_text(u->scheme));
    if (u->scheme == URL_WS_UNIX) {
        to = put_encoded(to, u->path, '/');
        sprintf(to, ":%s", u->target);
        return text;
    }
    if (u->user) {
        to = put_encoded(to, u->user, '\0');
        if (u->password) {
            *to++ = ':';
            to = put_encoded(to, u->password, '\0');
        }
        *to++ = '@';
    }
    url_authority(u->host, u->port, authority);
    sprintf(to, "%s%s", authority, u->target);
    return text;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void must_be_same(const struct url *a, const struct url *b)
{
    MUST(a->scheme == b->scheme && a->port == b->port && a->is_secure == b->is_secure);
    MUST(same_text(a->host, b->host) && same_text(a->target, b->target) && same_text(a->path, b->path));
    MUST(same_text(a->user, b->user) && same_text(a->password, b->password));
    MUST(url_same_origin(a, b));
}

static void must_serve_in_a_request(const struct url *u)
{
    struct http_request r = {.host = u->host, .port = u->port, .secure = u->is_secure, .target = u->target};
    struct http_limits limits = {.head_bytes_max = 65535};
    struct http_head *h = http_head_new(HTTP_ROLE_SERVER, &limits);
    size_t bytes, used;
    uint8_t *out;

    MUST(h && http_compose_request(&r, &out, &bytes) == WEFT_OK);
    MUST(http_head_feed(h, out, bytes, &used) == HTTP_DONE && used == bytes);
    MUST(strcmp(h->target, u->target) == 0);
    mem_free(out);
    http_head_free(h);
}

static void must_be_sound(const struct url *u)
{
    const char *reason;
    struct url again;
    char *text = put_together(u), *basic = NULL;

    MUST(u->host && u->target && u->target[0] == '/');
    MUST(u->port || u->scheme == URL_WS_UNIX);
    MUST(!u->path || strlen(u->path) <= URL_SOCKET_PATH_MAX);
    for (const char *p = u->host; *p; p++)
        MUST(*p > ' ' && *p < 0x7f && (*p < 'A' || *p > 'Z'));
    if (url_parse(&again, text, u->scheme, &reason) == WEFT_OK) {
        must_be_same(u, &again);
        url_fini(&again);
    } else {
        MUST(strlen(text) > URL_BYTES_MAX);
    }
    if (u->scheme != URL_SOCKS5 && u->scheme != URL_SOCKS5H)
        must_serve_in_a_request(u);
    if (u->user && url_basic_value(u->user, u->password, &basic) == WEFT_OK)
        MUST(http_is_value(http_text_of(basic)));
    mem_free(basic);
    free(text);
}

static void follow(const struct url *base, const char *location)
{
    const char *reason = NULL;
    struct url to;

    if (url_resolve(base, location, &to, &reason) != WEFT_OK) {
        MUST(reason);
        return;
    }
    MUST(to.scheme != URL_WS_UNIX || base->scheme == URL_WS_UNIX);
    MUST(to.scheme != URL_WS_UNIX || same_text(to.path, base->path));
    must_be_sound(&to);
    if (!url_same_origin(base, &to) && base->user)
        MUST(!same_text(base->user, to.user) || strstr(location, "@"));
    url_fini(&to);
    url_fini(&to); /* may be called again */
}

static void name_to_ascii(const char *text)
{
    char ascii[IDN_NAME_BYTES_MAX + 1], again[IDN_NAME_BYTES_MAX + 1];
    const char *reason = NULL;

    if (idn_to_ascii(text, ascii, &reason) != WEFT_OK) {
        MUST(reason);
        return;
    }
    MUST(idn_to_ascii(ascii, again, &reason) == WEFT_OK && strcmp(ascii, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned takes[] = {URL_FOR_CLIENT, URL_FOR_REDIRECT, URL_FOR_PROXY, 127};
    struct fuzz_input in = {data, size};
    unsigned schemes = takes[fuzz_byte(&in) & 3];
    size_t first = 0;
    const char *reason = NULL;
    char *text, *location;
    struct url u;

    while (first < in.n && in.p[first] != '\n') /* behind it: where it redirects to */
        first++;
    text = fuzz_text(in.p, first);
    location = first < in.n ? fuzz_text(in.p + first + 1, in.n - first - 1) : fuzz_text(NULL, 0);
    if (url_parse(&u, text, schemes, &reason) == WEFT_OK) {
        MUST(u.scheme & schemes);
        must_be_sound(&u);
        if (u.scheme & (URL_FOR_CLIENT | URL_FOR_REDIRECT))
            follow(&u, location);
        url_fini(&u);
    } else {
        MUST(reason && !u.host && !u.target && !u.password);
    }
    name_to_ascii(location);
    free(text);
    free(location);
    return 0;
}
