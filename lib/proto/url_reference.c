/* References: where a redirect leads; see url.h and url_private.h. */
#include "proto/url_private.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

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
    return text && !*out ? url_no_memory : NULL;
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
        return url_no_memory;
    memcpy(text, base->target, kept);
    if (reference.n > 0)
        memcpy(text + kept, reference.p, reference.n);
    why = kept + reference.n > URL_BYTES_MAX
              ? "the URL is too long"
              : url_encode_target((struct http_text){text, kept + reference.n}, &u->target);
    mem_free(text);
    return why;
}

/* With a scheme, or, behind "//", with that of the base. */
static const char *resolve_absolute(const struct url *base, struct http_text reference, struct url *u)
{
    bool has_scheme = !url_starts_with(reference, "//");
    const char *scheme = has_scheme ? "" : url_scheme_name(base->scheme), *why;
    size_t n = strlen(scheme), room = n + reference.n + 2;
    char *text = mem_alloc(room);

    if (!text)
        return url_no_memory;
    n = (size_t)snprintf(text, room, "%s%s%.*s", scheme, has_scheme ? "" : ":", (int)reference.n,
                         reference.p);
    why = url_take_apart(u, (struct http_text){text, n}, URL_FOR_REDIRECT);
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
    const char *why = url_check_characters(reference);

    if (why)
        return why;
    if (url_scheme_bytes(reference) > 0 || url_starts_with(reference, "//"))
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
    struct http_text rest = http_text_of(location), reference = url_cut_before(&rest, "#");

    memset(out, 0, sizeof *out);
    return url_result(out, resolve(base, reference, out), reason);
}
