/* Listening sockets; see listener.h. */
#include "core/listener.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "core/conn.h"
#include "core/io_thread.h"
#include "core/tls_port.h"
#include "io/sock.h"
#include "io/tls.h"
#include "sync/park.h"

/* Connections accepted from one socket in a turn. */
#define ACCEPTS_MAX 64
#define RETRY_MS    100

static void ready(struct loop_source *source, unsigned events);

int listener_new(struct listener **out, struct engine *e, int fd, const char *unlink_path, struct tls_port *tls)
{
    struct listener *l = mem_calloc(1, sizeof *l);

    if (l && unlink_path)
        l->unlink_path = mem_strdup(unlink_path);
    if (!l || (unlink_path && !l->unlink_path)) {
        mem_free(l);
        return WEFT_E_NOMEM;
    }
    l->source.ready = ready;
    l->engine = e;
    l->fd = fd;
    l->tls = tls;
    *out = l;
    return WEFT_OK;
}

static void shut(struct listener *l)
{
    if (l->fd < 0)
        return;
    if (l->engine->io_threads && l->engine->io_threads[0])
        loop_remove(&l->engine->io_threads[0]->loop, l->fd); /* a child process may hold the socket too */
    close(l->fd);
    l->fd = -1;
    /* A program that has given up its rights may not be allowed to; who comes next replaces the file. */
    if (l->unlink_path && unlink(l->unlink_path) != 0 && errno != ENOENT)
        LOG(WEFT_LOG_INFO, 0, "%s stays: %s", l->unlink_path, strerror(errno));
}

void listener_free(struct listener *l)
{
    shut(l);
    mem_free(l->unlink_path);
    tls_port_free(l->tls);
    mem_free(l);
}

void listener_warm_all(struct engine *e)
{
    for (struct listener *l = e->listeners; l; l = l->next)
        if (l->tls)
            tls_port_warm(l->tls);
}

/* All of them or none. */
int listener_reload_all(struct engine *e)
{
    int rc = WEFT_OK;

    for (struct listener *l = e->listeners; l && rc == WEFT_OK; l = l->next)
        if (l->tls)
            rc = tls_port_load(l->tls);
    for (struct listener *l = e->listeners; l; l = l->next)
        if (l->tls)
            tls_port_settle(l->tls, rc == WEFT_OK);
    return rc;
}

int listener_start_all(struct engine *e)
{
    for (struct listener *l = e->listeners; l; l = l->next)
        if (loop_add_level(&e->io_threads[0]->loop, l->fd, &l->source) != WEFT_OK)
            return WEFT_E_SYSTEM;
    return WEFT_OK;
}

void listener_close_all(struct engine *e)
{
    struct io_thread *io = e->io_threads[0];

    timer_disarm(&io->loop.wheel, &io->accept_timer);
    for (struct listener *l = e->listeners; l; l = l->next)
        shut(l);
    atomic_store_explicit(&e->listening, 0, ORDER(LISTENING, memory_order_release));
    park_futex_wake(&e->listening, INT32_MAX);
}

static void pause_all(struct engine *e) ON_IO
{
    struct io_thread *io = e->io_threads[0];

    if (!atomic_load_explicit(&io->accepts_paused, memory_order_relaxed)) {
        STAT_ADD(io->stats.accept_pauses, 1);
        atomic_store_explicit(&io->accepts_paused, true, memory_order_relaxed);
        for (struct listener *l = e->listeners; l; l = l->next)
            if (l->fd >= 0)
                loop_remove(&io->loop, l->fd);
    }
    timer_arm(&io->loop.wheel, &io->accept_timer, io->loop.now_ms + RETRY_MS);
}

static bool is_full(struct engine *e)
{
    /* alive, not sockets: the ready queue has room for connections_max, and the dead ones stand in it until
     * on_close. */
    return atomic_load_explicit(&e->alive, memory_order_relaxed) >= e->connections_max;
}

static bool is_at_limit(struct engine *e)
{
    return (is_full(e) && !e->settings.opts.refuse_when_full) ||
           atomic_load_explicit(&e->handshaking, memory_order_relaxed) >= e->settings.opts.handshakes_max;
}

/* 0, or the status with which this socket is refused. On 0 its address has been counted. */
static int refuse_with(struct engine *e, const struct sock_peer *peer) ON_IO
{
    struct io_thread *io = e->io_threads[0];

    if (is_full(e) || (e->settings.opts.memory_bytes_max && budget_is_short(io))) {
        STAT_ADD(io->stats.refused_full, 1);
        return 503;
    }
    switch (e->limits ? limits_enter(e->limits, peer, io->loop.now_ns) : LIMITS_OK) {
    case LIMITS_OK:
        return 0;
    case LIMITS_CONNECTIONS:
        STAT_ADD(io->stats.refused_connections, 1);
        return 429;
    case LIMITS_RATE:
        STAT_ADD(io->stats.refused_rate, 1);
        return 429;
    case LIMITS_NO_MEMORY:
        break;
    }
    STAT_ADD(io->stats.refused_full, 1);
    return 503;
}

void listener_retry(struct engine *e)
{
    struct io_thread *io = e->io_threads[0];

    if (io->is_closing || !atomic_load_explicit(&io->accepts_paused, memory_order_relaxed))
        return;
    if (is_at_limit(e)) {
        timer_arm(&io->loop.wheel, &io->accept_timer, io->loop.now_ms + RETRY_MS);
        return;
    }
    atomic_store_explicit(&io->accepts_paused, false, memory_order_relaxed);
    if (listener_start_all(e) != WEFT_OK)
        pause_all(e);
}

static void place(struct listener *l, int fd, const struct sock_peer *peer) ON_IO
{
    struct engine *e = l->engine;
    struct io_thread *io = engine_least_loaded(e);
    struct secure_how how = {0};
    struct weft_conn *c;
    int status = refuse_with(e, peer);

    if (status && l->tls) {
        sock_drop(fd); /* an answer would cost the handshake of TLS */
        return;
    }
    if (status) {
        refusal_begin(e->io_threads[0], fd, status);
        return;
    }
    how.context = l->tls ? tls_port_context(l->tls) : NULL;
    c = conn_new(&e->own.homes[io->index], fd, peer, how.context ? &how : NULL);
    tls_context_unref(how.context);
    if (!c) {
        if (e->limits)
            limits_leave(e->limits, peer, e->io_threads[0]->loop.now_ns);
        close(fd);
        return;
    }
    STAT_ADD(e->io_threads[0]->stats.accepted, 1);
    if (io == e->io_threads[0])
        conn_register(c);
    else
        io_thread_link_dirty(io, c); /* hand-over: the other thread registers it */
}

static void ready(struct loop_source *source, unsigned events)
{
    struct listener *l = (struct listener *)source;

    (void)events;
    thr_assert_io();
    for (int i = 0; i < ACCEPTS_MAX && l->fd >= 0; i++) {
        struct sock_peer peer;
        int fd;

        if (is_at_limit(l->engine)) {
            pause_all(l->engine);
            return;
        }
        fd = sock_accept(l->fd, &peer);
        if (fd == WEFT_E_AGAIN)
            return;
        if (fd < 0) {
            LOG(WEFT_LOG_WARNING, 0, "accept: %s", strerror(errno));
            pause_all(l->engine);
            return;
        }
        place(l, fd, &peer);
    }
}
