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

struct scheme {
    const char *text;
    bool is_secure, is_cluster;
};
static const struct scheme schemes[] = {
    {"redis://", false, false},
    {"rediss://", true, false},
    {"redis-cluster://", false, true},
    {"rediss-cluster://", true, true},
};

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

static int parse_unix(struct bus_url *out, const char *path, const char **reason)
{
    const char *query = strchr(path, '?');
    size_t bytes = query ? (size_t)(query - path) : strlen(path);

    while (begins(path, "//"))
        path++, bytes--;
    if (path[0] != '/' || bytes < 2 || bytes > URL_SOCKET_PATH_MAX)
        return fail(reason, "redis+unix: needs the absolute path of a socket");
    if (query && (!begins(query, "?db=") || !read_db(query + 4, &out->db)))
        return fail(reason, "behind the socket's path only ?db=NUMBER may stand");
    out->path = mem_strndup(path, bytes);
    return out->path ? WEFT_OK : WEFT_E_NOMEM;
}

/* Does the authority say a port? proto/url fills in the one of http, which is not ours. */
static bool has_port(const char *authority)
{
    size_t bytes = strcspn(authority, "/?#");

    while (bytes && authority[bytes - 1] >= '0' && authority[bytes - 1] <= '9')
        bytes--;
    return bytes && authority[bytes - 1] == ':' && authority[bytes] >= '0' && authority[bytes] <= '9';
}

static char *take(char **p)
{
    char *s = *p;

    *p = NULL;
    return s;
}

static int adopt(struct bus_url *out, struct url *u, const struct scheme *s, const char *rest,
                 const char **reason)
{
    const char *db = u->target + 1;

    if (!read_db(db, &out->db) || (s->is_cluster && *db))
        return fail(reason, s->is_cluster ? "a cluster has no databases" : "the database must be a number");
    out->host = take(&u->host);
    out->port = has_port(rest) ? u->port : REDIS_PORT;
    out->password = take(&u->password);
    out->user = take(&u->user);
    if (out->user && !*out->user) { /* redis://:password@host */
        mem_free(out->user);
        out->user = NULL;
    }
    return WEFT_OK;
}

static int parse_tcp(struct bus_url *out, const char *rest, const struct scheme *s, const char **reason)
{
    size_t bytes = strlen(rest) + sizeof "http://";
    char *as_http = mem_alloc(bytes);
    struct url u;
    int rc;

    if (!as_http)
        return WEFT_E_NOMEM;
    snprintf(as_http, bytes, "http://%s", rest);
    rc = url_parse(&u, as_http, URL_HTTP, reason);
    explicit_bzero(as_http, bytes);
    mem_free(as_http);
    if (rc != WEFT_OK)
        return rc;
    out->is_secure = s->is_secure;
    out->is_cluster = s->is_cluster;
    rc = adopt(out, &u, s, rest, reason);
    url_fini(&u);
    return rc;
}

int bus_url_parse(struct bus_url *out, const char *text, const char **reason)
{
    int rc = fail(reason, "it is none of local:, redis://, rediss://, redis+unix: and redis-cluster://");

    memset(out, 0, sizeof *out);
    if (strcmp(text, "local:") == 0) {
        out->is_local = true;
        return WEFT_OK;
    }
    if (begins(text, "redis+unix:"))
        rc = parse_unix(out, text + strlen("redis+unix:"), reason);
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
        if (begins(text, schemes[i].text))
            rc = parse_tcp(out, text + strlen(schemes[i].text), &schemes[i], reason);
    if (rc != WEFT_OK)
        bus_url_fini(out);
    return rc;
}

int bus_url_copy(struct bus_url *out, const struct bus_url *from)
{
    char *const *sources[] = {&from->host, &from->path, &from->user, &from->password};
    char **copies[] = {&out->host, &out->path, &out->user, &out->password};
    bool is_whole = true;

    *out = *from;
    for (size_t i = 0; i < sizeof copies / sizeof copies[0]; i++) {
        *copies[i] = *sources[i] ? mem_strdup(*sources[i]) : NULL;
        is_whole &= *copies[i] || !*sources[i];
    }
    if (!is_whole)
        bus_url_fini(out);
    return is_whole ? WEFT_OK : WEFT_E_NOMEM;
}

void bus_url_fini(struct bus_url *u)
{
    if (u->password)
        explicit_bzero(u->password, strlen(u->password));
    mem_free(u->host);
    mem_free(u->path);
    mem_free(u->user);
    mem_free(u->password);
    memset(u, 0, sizeof *u);
}
