/* A server without sockets and without a clock; see stage.h. */
#include "stage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/engine.h"
#include "core/io_thread.h"
#include "core/opening.h"
#include "fuzz.h"
#include "io/link.h"
#include "weft/error.h"

#define FD_FIRST       100000 /* far from those of the system */
#define OUT_BYTES_MAX  (8u << 20)
#define IDLE_TURNS_MAX 2000u
/* Longer than all timeouts of a script's server together. */
#define LAST_WAIT_MS 600000u

struct stage_socket stage_sockets[STAGE_SOCKETS_MAX];

static struct {
    uint64_t now_ns;
    stage_step_fn *step;
    void *arg;
    struct io_thread *io;
    const struct engine_hooks *hooks;
    struct endpoint *client; /* NULL until there is one */
    uint32_t random;
    unsigned idle_turns;
    unsigned ending; /* steps of the end that were done */
    uint64_t end_ms;
} stage;

static struct stage_socket *socket_of(int fd)
{
    MUST(fd >= FD_FIRST && fd < FD_FIRST + STAGE_SOCKETS_MAX);
    MUST(stage_sockets[fd - FD_FIRST].is_open);
    return &stage_sockets[fd - FD_FIRST];
}

/* --- in the place of io/link.c --- */

ptrdiff_t link_read(struct link *l, struct iovec *iov, int count)
{
    struct stage_socket *s = socket_of(l->fd);
    size_t before = s->in_at;

    if (s->fails_again) {
        s->fails_again = false;
        s->pending |= s->in_at < s->in_bytes || s->has_end ? EPOLLIN : 0; /* it comes a moment later */
        return WEFT_E_AGAIN;
    }
    if (s->is_reset)
        return WEFT_E_CLOSED;
    for (int i = 0; i < count; i++) {
        size_t n = s->in_bytes - s->in_at < iov[i].iov_len ? s->in_bytes - s->in_at : iov[i].iov_len;
        if (n)
            memcpy(iov[i].iov_base, s->in + s->in_at, n);
        s->in_at += n;
    }
    if (s->in_at > before)
        return (ptrdiff_t)(s->in_at - before);
    return s->has_end ? LINK_END : WEFT_E_AGAIN;
}

static void keep_output(struct stage_socket *s, const void *p, size_t n)
{
    uint8_t *bigger = realloc(s->out, s->out_bytes + n + 1);

    MUST(bigger && s->out_bytes + n < OUT_BYTES_MAX);
    s->out = bigger;
    if (n)
        memcpy(s->out + s->out_bytes, p, n);
    s->out_bytes += n;
}

ptrdiff_t link_write(struct link *l, const struct iovec *iov, int count)
{
    struct stage_socket *s = socket_of(l->fd);
    size_t taken = 0;

    if (s->is_reset)
        return WEFT_E_CLOSED;
    for (int i = 0; i < count && s->room; i++) {
        size_t n = iov[i].iov_len < s->room ? iov[i].iov_len : s->room;
        keep_output(s, iov[i].iov_base, n);
        s->room -= s->room == SIZE_MAX ? 0 : n;
        taken += n;
    }
    return taken ? (ptrdiff_t)taken : WEFT_E_AGAIN;
}

uint32_t link_held_bytes(struct link *l)
{
    return (uint32_t)socket_of(l->fd)->held;
}

void link_finish(struct link *l)
{
    socket_of(l->fd);
}

void link_close(struct link *l, int with_reset)
{
    (void)with_reset;
    if (l->fd < 0)
        return;
    socket_of(l->fd)->is_open = false;
    l->fd = -1;
}

/* --- in the place of base/clock.c, and of epoll --- */

uint64_t clock_now_ns(void)
{
    return stage.now_ns;
}

int epoll_ctl(int epoll_fd, int what, int fd, struct epoll_event *event)
{
    (void)epoll_fd;
    if (fd >= FD_FIRST) {
        struct stage_socket *s = socket_of(fd);
        s->owner = what == EPOLL_CTL_DEL ? NULL : event->data.ptr;
        s->pending |= EPOLLOUT;
    }
    return 0;
}

static int report(struct epoll_event *events, int most)
{
    int n = 0;

    for (int i = 0; i < STAGE_SOCKETS_MAX && n < most; i++) {
        struct stage_socket *s = &stage_sockets[i];
        if (!s->is_open || !s->owner || !s->pending)
            continue;
        events[n++] = (struct epoll_event){.events = s->pending, .data.ptr = s->owner};
        s->pending = 0;
    }
    return n;
}

/* All is said; the server is told to close, then to drop, then to stop. */
static void end_step(int timeout_ms)
{
    switch (stage.ending++) {
    case 0:
        io_thread_command(stage.io, IO_CLOSE_ALL);
        stage.end_ms = stage_now_ms() + LAST_WAIT_MS;
        return;
    case 1:
        if (atomic_load(&stage.io->engine->alive) && stage_now_ms() < stage.end_ms && timeout_ms >= 0) {
            stage_let_pass(timeout_ms ? (uint64_t)timeout_ms : 1);
            stage.ending--;
            return;
        }
        MUST(!atomic_load(&stage.io->engine->alive)); /* close and write timeouts have ended them all */
        io_thread_command(stage.io, IO_ABORT_ALL);
        return;
    default:
        io_thread_command(stage.io, IO_STOP);
    }
}

/* A step between any two looks at what is ready; when the loop may sleep and the script is over, time passes. */
int epoll_wait(int epoll_fd, struct epoll_event *events, int most, int timeout_ms)
{
    int n;

    (void)epoll_fd;
    if (timeout_ms != 0) {
        stage.idle_turns = 0;
        if (!stage.step || !stage.step(stage.arg)) {
            stage.step = NULL;
            end_step(timeout_ms);
        }
    }
    n = report(events, most);
    if (!n)
        MUST(++stage.idle_turns < IDLE_TURNS_MAX);
    stage.now_ns += 1000;
    return n;
}

/* Keys and masks are the same in each run. */
ssize_t getrandom(void *p, size_t n, unsigned flags)
{
    (void)flags;
    for (size_t i = 0; i < n; i++) {
        stage.random = stage.random * 1664525u + 1013904223u;
        ((uint8_t *)p)[i] = (uint8_t)(stage.random >> 24);
    }
    return (ssize_t)n;
}

/* --- the script's side --- */

/* Each place once: what was written is looked at in the end. NULL: there is none. */
static struct stage_socket *take_place(void)
{
    for (int i = 0; i < STAGE_SOCKETS_MAX; i++) {
        struct stage_socket *s = &stage_sockets[i];
        if (s->is_open || s->out)
            continue;
        *s = (struct stage_socket){.is_open = true, .room = SIZE_MAX};
        s->out = malloc(1);
        MUST(s->out);
        return s;
    }
    return NULL;
}

static void register_accepted(struct weft_conn *c)
{
    thr_assert_io();
    conn_register(c);
}

/* Its place, or -1, and the opening is not taken. */
static int begin_on(struct stage_socket *s, const struct home *home, struct opening *o)
{
    static const struct sock_peer peer;
    int i = (int)(s - stage_sockets);
    struct weft_conn *c = conn_new(home, FD_FIRST + i, &peer, NULL);

    if (!c) {
        s->is_open = false;
        return -1;
    }
    c->opening = o;
    if (o)
        io_thread_link_dirty(stage.io, c); /* as opening_start hands it over */
    else
        register_accepted(c);
    return i;
}

int stage_arrive(void)
{
    struct stage_socket *s = take_place();

    return s ? begin_on(s, &stage.io->engine->own.homes[0], NULL) : -1;
}

static bool make_client(const weft_client_opts *opts)
{
    struct settings settings = {0};

    return stage.client || (settings_init_client(&settings, opts) == WEFT_OK &&
                            endpoint_new(&stage.client, stage.io->engine, &settings, stage.hooks) == WEFT_OK);
}

int stage_connect(const weft_client_opts *opts, const struct http_request *request)
{
    struct stage_socket *s;
    struct opening *o;
    int place;

    if (!make_client(opts) || opening_new(&o, request, &stage.client->settings->policy, 8192, 64,
                                          stage_now_ms() + opts->open_timeout_ms) != WEFT_OK)
        return -1;
    s = take_place();
    if (s)
        s->is_client = true;
    place = s ? begin_on(s, &stage.client->homes[0], o) : -1;
    if (place < 0) {
        opening_unref(o); /* the one that the connection would have had */
        opening_unref(o);
        return place;
    }
    s->opening = o;
    return place;
}

void stage_send(struct stage_socket *s, const void *p, size_t n)
{
    uint8_t *all;

    if (!s->is_open || s->has_end || s->is_reset || s->in_bytes + n > OUT_BYTES_MAX)
        return;
    all = realloc(s->in, s->in_bytes + n + 1);
    MUST(all);
    s->in = all;
    if (n)
        memcpy(s->in + s->in_bytes, p, n);
    s->in_bytes += n;
    s->pending |= EPOLLIN | (s->room ? EPOLLOUT : 0);
}

void stage_end(struct stage_socket *s)
{
    s->has_end = true;
    s->pending |= EPOLLIN | EPOLLRDHUP;
}

void stage_reset(struct stage_socket *s)
{
    s->is_reset = true;
    s->pending |= EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
}

void stage_give_room(struct stage_socket *s, size_t n)
{
    s->room = n;
    s->held = n ? 0 : 1000;
    s->pending |= n ? EPOLLOUT : 0;
}

void stage_let_pass(uint64_t ms)
{
    stage.now_ns += ms * 1000000u;
}

void stage_close_all(void)
{
    io_thread_command(stage.io, IO_CLOSE_ALL);
}

uint64_t stage_now_ms(void)
{
    return stage.now_ns / 1000000u;
}

int stage_run(const weft_server_opts *opts, const struct engine_hooks *hooks, stage_step_fn *step, void *arg)
    THR_ATTR(no_thread_safety_analysis)
{
    struct engine *e;
    int rc;

    memset(&stage, 0, sizeof stage);
    memset(stage_sockets, 0, sizeof stage_sockets);
    stage.now_ns = 1000000000000u;
    stage.step = step;
    stage.hooks = hooks;
    stage.arg = arg;
    rc = engine_new(&e, opts, hooks);
    if (rc != WEFT_OK)
        return rc;
    stage.io = e->io_threads[0];
    mem_pool_join();
    MUST(io_thread_drive(stage.io, IO_FIRST));
    mem_pool_leave();
    thr_become(THR_FOREIGN, NULL);
    if (stage.client)
        endpoint_unref(stage.client);
    engine_unref(e);
    return WEFT_OK;
}

void stage_clear(void)
{
    for (int i = 0; i < STAGE_SOCKETS_MAX; i++) {
        MUST(!stage_sockets[i].is_open);
        free(stage_sockets[i].in);
        free(stage_sockets[i].out);
        if (stage_sockets[i].opening)
            opening_unref(stage_sockets[i].opening);
    }
    memset(stage_sockets, 0, sizeof stage_sockets);
}
