/* weft_server: an engine, and the group of all its open connections. */
#include "weft/server.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

#include "api/group.h"
#include "api/server.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "core/engine.h"
#include "io/sock.h"
#include "weft/weft.h"

struct weft_server {
    struct engine *engine;
    weft_group *group;
    _Atomic uint32_t refs; /* acq_rel at the end: SERVER_LAST */
};

static void opened(struct weft_conn *c, void *arg)
{
    weft_group *g = arg;

    if (weft_group_add(g, c) == WEFT_E_NOMEM)
        LOG(WEFT_LOG_WARNING, weft_conn_id(c), "no memory to enter it into the group of all connections");
}

struct engine *server_engine(weft_server *s)
{
    return s->engine;
}

void server_conn_closed(struct weft_conn *c, void *arg)
{
    (void)arg;
    group_leave_all(c);
}

int weft_server_new(weft_server **out, const weft_server_opts *opts)
{
    struct engine_hooks hooks = {.opened = opened, .closed = server_conn_closed};
    weft_server *s;
    int rc;

    if (!out)
        return WEFT_E_INVAL;
    s = mem_calloc(1, sizeof *s);
    if (!s)
        return WEFT_E_NOMEM;
    rc = weft_group_new(&s->group);
    if (rc == WEFT_OK) {
        hooks.arg = s->group;
        rc = engine_new(&s->engine, opts, &hooks);
    }
    if (rc != WEFT_OK) {
        weft_group_unref(s->group);
        mem_free(s);
        return rc;
    }
    atomic_init(&s->refs, 1);
    *out = s;
    return WEFT_OK;
}

static int backlog(const weft_server *s)
{
    return (int)s->engine->settings.opts.backlog;
}

static int add_listener(weft_server *s, int fd, const char *unlink_path)
{
    int rc;

    if (fd < 0)
        return fd;
    rc = engine_add_listener(s->engine, fd, unlink_path, NULL);
    if (rc != WEFT_OK)
        close(fd);
    return rc;
}

int weft_server_listen_tcp(weft_server *s, const char *host, uint16_t port, uint16_t *bound)
{
    if (!s)
        return WEFT_E_INVAL;
    return add_listener(s, sock_listen_tcp(host, port, backlog(s), bound), NULL);
}

int weft_server_listen_unix(weft_server *s, const char *path)
{
    if (!s || !path)
        return WEFT_E_INVAL;
    return add_listener(s, sock_listen_unix(path, backlog(s)), path);
}

int weft_server_listen_fd(weft_server *s, int fd)
{
    if (!s || sock_adopt(fd) != WEFT_OK)
        return WEFT_E_INVAL;
    return engine_add_listener(s->engine, fd, NULL, NULL);
}

int weft_server_start(weft_server *s)
{
    return s ? engine_start(s->engine) : WEFT_E_INVAL;
}

int weft_server_stop(weft_server *s, uint32_t deadline_ms)
{
    return s ? engine_stop(s->engine, deadline_ms) : WEFT_E_INVAL;
}

weft_server *weft_server_ref(weft_server *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed); /* who takes one has one */
    return s;
}

void weft_server_unref(weft_server *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, ORDER(SERVER_LAST, memory_order_acq_rel)) != 1)
        return;
    while (engine_stop(s->engine, 0) == WEFT_E_TIMEOUT)
        LOG(WEFT_LOG_WARNING, 0, "waiting for a callback to return");
    engine_unref(s->engine);
    weft_group_unref(s->group);
    mem_free(s);
}

weft_group *weft_server_group(weft_server *s)
{
    return s->group;
}

int weft_server_stats(weft_server *s, weft_stats *out)
{
    if (!s || !out || out->size < sizeof out->size)
        return WEFT_E_INVAL;
    engine_stats(s->engine, out);
    return WEFT_OK;
}

const char *weft_version(void)
{
    return WEFT_VERSION;
}
