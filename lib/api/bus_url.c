/* URLs of a bus; see bus_url.h. Host, port and credentials are read by proto/url, which knows what may
 * stand there: the authority of redis:// is that of http://. */
#include "api/bus_url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proto/url.h"
#include "weft/error.h"

#define REDIS_PORT 6379
#define DB_MAX     65535

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Digits to the end; "" is 0. */
static bool read_db(const char *p, uint32_t *db)
{
    *db = 0;
    for (; *p; p++) {
        if (*p < '0' || *p > '9')
            return false;
        *db = *db * 10 + (uint32_t)(*p - '0');
        if (*db > DB_MAX)
            return false;
    }
    return true;
}

static int fail(const char **reason, const char *why)
{
    *reason = why;
    return WEFT_E_INVAL;
}

static char *take(char **p)
{
    char *s = *p;

    *p = NULL;
    return s;
}

/* Without a password there is nobody to be: Redis would go on with its default user. */
static int adopt_credentials(struct bus_url *out, struct url *u, const char **reason)
{
    out->password = take(&u->password);
    out->user = take(&u->user);
    if (out->user && !*out->user) { /* redis://:password@host */
        mem_free(out->user);
        out->user = NULL;
    }
    if (out->user && !out->password)
        return fail(reason, "a user needs a password: user:password@");
    return WEFT_OK;
}

/* Credentials and a place that are read as http:// would be, with what stands behind. */
static int parse_as_http(struct url *u, const char *credentials, size_t credential_bytes, const char *place,
                         size_t place_bytes, const char *tail, const char **reason)
{
    size_t room = sizeof "http://" + credential_bytes + place_bytes + strlen(tail);
    char *as_http = mem_alloc(room);
    int rc;

    if (!as_http)
        return WEFT_E_NOMEM;
    snprintf(as_http, room, "http://%.*s%.*s%s", (int)credential_bytes, credentials, (int)place_bytes, place,
             tail);
    rc = url_parse(u, as_http, URL_HTTP, reason);
    explicit_bzero(as_http, room);
    mem_free(as_http);
    return rc;
}

/* //user:password@/path. *path: behind what stands before the path. What is no such thing may be a password that has a
 * '/' in it, so it is no path either. */
static int parse_unix_credentials(struct bus_url *out, const char **path, const char **reason)
{
    const char *begin, *end;
    struct url u;
    int rc;

    if (!begins(*path, "//"))
        return WEFT_OK;
    begin = *path + 2;
    end = begin + strcspn(begin, "/?");
    *path = end;
    if (end == begin)
        return WEFT_OK;
    if (end[-1] != '@' || strlen(begin) > URL_BYTES_MAX)
        return fail(reason, "between redis+unix:// and the path only user:password@ may stand");
    rc = parse_as_http(&u, begin, (size_t)(end - begin), "socket", strlen("socket"), "", reason);
    if (rc != WEFT_OK)
        return rc;
    rc = adopt_credentials(out, &u, reason);
    url_fini(&u);
    return rc;
}

static int parse_unix(struct bus_url *out, const char *path, const char **reason)
{
    int rc = parse_unix_credentials(out, &path, reason);
    const char *query = strchr(path, '?');
    size_t bytes = query ? (size_t)(query - path) : strlen(path);

    if (rc != WEFT_OK)
        return rc;
    if (path[0] != '/' || bytes < 2 || bytes > URL_SOCKET_PATH_MAX)
        return fail(reason, "redis+unix: needs the absolute path of a socket");
    if (query && (!begins(query, "?db=") || !read_db(query + 4, &out->db)))
        return fail(reason, "behind the socket's path only ?db=NUMBER may stand");
    out->path = mem_strndup(path, bytes);
    return out->path ? WEFT_OK : WEFT_E_NOMEM;
}

/* Does this one say a port? proto/url fills in the one of http, which is not ours. */
static bool has_port(const char *place, size_t bytes)
{
    while (bytes && place[bytes - 1] >= '0' && place[bytes - 1] <= '9')
        bytes--;
    return bytes && place[bytes - 1] == ':' && place[bytes] >= '0' && place[bytes] <= '9';
}

/* The first server has the credentials and the database of all. */
static int adopt(struct bus_url *out, struct url *u, bool has_port, const char **reason)
{
    struct bus_seed *seed = &out->seeds[out->seed_count];

    if (!read_db(u->target + 1, &out->db))
        return fail(reason, "the database must be a number");
    seed->host = take(&u->host);
    seed->port = has_port ? u->port : REDIS_PORT;
    if (out->seed_count++)
        return WEFT_OK;
    return adopt_credentials(out, u, reason);
}

/* One server as a URL of its own: credentials (of the first), place, and what stands behind all places. */
static int parse_seed(struct bus_url *out, const char *credentials, size_t credential_bytes,
                      const char *place, size_t place_bytes, const char *tail, const char **reason)
{
    struct url u;
    int rc = parse_as_http(&u, credentials, credential_bytes, place, place_bytes, tail, reason);

    if (rc != WEFT_OK)
        return rc;
    rc = adopt(out, &u, has_port(place, place_bytes), reason);
    url_fini(&u);
    return rc;
}

static int parse_tcp(struct bus_url *out, const char *rest, const char **reason)
{
    const char *tail = rest + strcspn(rest, "/?#"), *at = memrchr(rest, '@', (size_t)(tail - rest));
    const char *place = at ? at + 1 : rest;
    size_t credential_bytes = (size_t)(place - rest);
    int rc = WEFT_OK;

    if (strlen(rest) > URL_BYTES_MAX)
        return fail(reason, "it is too long");
    for (; rc == WEFT_OK && place; credential_bytes = 0) {
        const char *comma = memchr(place, ',', (size_t)(tail - place));
        size_t bytes = (size_t)((comma ? comma : tail) - place);

        if (out->seed_count == BUS_SEEDS_MAX)
            return fail(reason, "it names too many servers");
        rc = parse_seed(out, rest, credential_bytes, place, bytes, tail, reason);
        place = comma ? comma + 1 : NULL;
    }
    return rc;
}

int bus_url_parse(struct bus_url *out, const char *text, const char **reason)
{
    int rc = fail(reason, "it is none of local:, redis://, rediss:// and redis+unix:");

    memset(out, 0, sizeof *out);
    if (strcmp(text, "local:") == 0) {
        out->is_local = true;
        return WEFT_OK;
    }
    if (begins(text, "redis+unix:"))
        rc = parse_unix(out, text + strlen("redis+unix:"), reason);
    out->is_secure = begins(text, "rediss://");
    if (out->is_secure || begins(text, "redis://"))
        rc = parse_tcp(out, strstr(text, "://") + 3, reason);
    if (rc != WEFT_OK)
        bus_url_fini(out);
    return rc;
}

/* False: no memory. */
static bool copy_text(char **to, const char *from)
{
    *to = from ? mem_strdup(from) : NULL;
    return *to || !from;
}

int bus_url_copy(struct bus_url *out, const struct bus_url *from)
{
    bool is_whole = true;

    *out = *from;
    is_whole &= copy_text(&out->path, from->path);
    is_whole &= copy_text(&out->user, from->user);
    is_whole &= copy_text(&out->password, from->password);
    for (size_t i = 0; i < from->seed_count; i++)
        is_whole &= copy_text(&out->seeds[i].host, from->seeds[i].host);
    if (!is_whole)
        bus_url_fini(out);
    return is_whole ? WEFT_OK : WEFT_E_NOMEM;
}

void bus_url_fini(struct bus_url *u)
{
    if (u->password)
        explicit_bzero(u->password, strlen(u->password));
    for (size_t i = 0; i < u->seed_count; i++)
        mem_free(u->seeds[i].host);
    mem_free(u->path);
    mem_free(u->user);
    mem_free(u->password);
    memset(u, 0, sizeof *u);
}
