/* The server of the end-to-end tests; see e2e_server.h. */
#include "e2e_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/mem.h"

/* Far beyond what anything takes, on a loaded machine under a sanitizer too. A case that has waited in vain
 * once waits less for the rest. */
#define PATIENCE_US      20000000u
#define LOST_PATIENCE_US 100000u

static atomic_bool patience_is_lost;

static const struct e2e_mode modes[] = {
    {"pool, one I/O thread", false, 1},
    {"pool, two I/O threads", false, 2},
    {"inline, one I/O thread", true, 1},
    {"inline, two I/O threads", true, 2},
};

uint64_t e2e_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

bool e2e_is_past(uint64_t *until_us)
{
    struct timespec pause = {.tv_nsec = 200000};

    if (!*until_us)
        *until_us = e2e_now_us() + (atomic_load(&patience_is_lost) ? LOST_PATIENCE_US : PATIENCE_US);
    nanosleep(&pause, NULL);
    if (e2e_now_us() <= *until_us)
        return false;
    atomic_store(&patience_is_lost, true);
    return true;
}

void e2e_fault(struct e2e *t, const char *format, ...)
{
    va_list args;

    if (atomic_fetch_add(&t->faults, 1) != 0)
        return;
    va_start(args, format);
    vsnprintf(t->fault, sizeof t->fault, format, args);
    va_end(args);
}

bool gate_pass(struct gate *g)
{
    bool passed;

    atomic_fetch_add(&g->waiting, 1);
    passed = COMES_TRUE(atomic_load(&g->is_open));
    atomic_fetch_sub(&g->waiting, 1);
    return passed;
}

void gate_open(struct gate *g)
{
    atomic_store(&g->is_open, 1);
}

/* --- messages --- */

weft_msg *e2e_text(const char *text)
{
    weft_msg *m;

    if (weft_msg_new(&m, WEFT_TEXT, text, strlen(text)) != WEFT_OK)
        abort();
    return m;
}

weft_msg *e2e_bytes(size_t bytes, int fill)
{
    weft_msg *m;
    void *payload;

    if (weft_msg_new_raw(&m, WEFT_BINARY, bytes, &payload) != WEFT_OK)
        abort();
    memset(payload, fill, bytes);
    return m;
}

int e2e_send(weft_conn *c, weft_msg *m)
{
    int rc = weft_conn_send(c, m);

    if (rc != WEFT_OK)
        weft_msg_unref(m);
    return rc;
}

/* --- the watched callbacks --- */

struct seen *e2e_seen(const weft_conn *c)
{
    return weft_conn_data(c);
}

static struct seen *enter(weft_conn *c, struct e2e *t, const char *what)
{
    struct seen *s = weft_conn_data(c);

    if (!s) {
        e2e_fault(t, "%s before on_open", what);
        return NULL;
    }
    if (atomic_exchange(&s->in_callback, true) && !t->is_concurrent)
        e2e_fault(t, "%s while another callback of the connection runs", what);
    if (atomic_load(&s->closed))
        e2e_fault(t, "%s behind on_close", what);
    return s;
}

static void leave(struct seen *s)
{
    atomic_store(&s->in_callback, false);
}

static void on_request(weft_request *r, void *app)
{
    struct e2e *t = app;

    atomic_fetch_add(&t->requests, 1);
    t->on_request(r, t);
}

static void on_open(weft_conn *c, void *app)
{
    struct e2e *t = app;
    struct seen *s = calloc(1, sizeof *s);
    unsigned n;

    if (weft_conn_data(c))
        e2e_fault(t, "on_open twice");
    s->t = t;
    s->conn = c;
    s->id = weft_conn_id(c);
    s->in_callback = true;
    weft_conn_set_data(c, s);
    pthread_mutex_lock(&t->lock);
    n = atomic_load(&t->seen_count);
    if (n >= E2E_CONNS_MAX)
        abort();
    t->seen[n] = s;
    atomic_store(&t->seen_count, n + 1);
    pthread_mutex_unlock(&t->lock);
    if (t->on_open)
        t->on_open(c, s);
    leave(s);
    atomic_store(&s->opened, 1);
    atomic_fetch_add(&t->opened, 1);
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    struct e2e *t = app;
    struct seen *s = enter(c, t, "on_message");

    if (!s) {
        weft_msg_unref(m);
        return;
    }
    if (t->on_message)
        t->on_message(c, m, s);
    else
        e2e_send(c, m);
    leave(s);
    atomic_fetch_add(&s->messages, 1);
    atomic_fetch_add(&t->messages, 1);
}

static void on_drain(weft_conn *c, void *app)
{
    struct e2e *t = app;
    struct seen *s = enter(c, t, "on_drain");

    if (!s)
        return;
    if (t->on_drain)
        t->on_drain(c, s);
    leave(s);
    atomic_fetch_add(&s->drains, 1);
    atomic_fetch_add(&t->drains, 1);
}

static void on_close(weft_conn *c, const weft_close_info *info, void *app)
{
    struct e2e *t = app;
    struct seen *s = enter(c, t, "on_close");

    if (!s)
        return;
    pthread_mutex_lock(&t->lock);
    s->conn = NULL;
    pthread_mutex_unlock(&t->lock);
    s->info = *info;
    snprintf(s->reason, sizeof s->reason, "%s", info->reason);
    s->info.reason = s->reason;
    if (t->on_close)
        t->on_close(c, info, s);
    leave(s);
    atomic_fetch_add(&s->closed, 1);
    atomic_fetch_add(&t->closed, 1);
}

static int handler(weft_conn *c, void *app)
{
    struct seen *s = enter(c, app, "handler");
    int rc = s ? s->t->handler(c, s) : WEFT_E_BROKEN;

    if (s)
        leave(s);
    return rc;
}

/* --- the server --- */

bool e2e_new(struct e2e *t)
{
    t->opts.size = sizeof t->opts;
    t->opts.app = t;
    t->opts.io_threads = t->mode->io_threads;
    t->opts.inline_handlers = t->mode->is_inline;
    t->opts.on_request = t->on_request ? on_request : NULL;
    t->opts.on_open = on_open;
    t->opts.on_message = t->handler ? NULL : on_message;
    t->opts.on_drain = t->handler ? NULL : on_drain;
    t->opts.handler = t->handler ? handler : NULL;
    t->opts.on_close = on_close;
    return weft_server_new(&t->server, &t->opts) == WEFT_OK;
}

/* Accepted sockets inherit what is set for the listening one. */
static int listen_with_small_buffers(struct e2e *t)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &t->socket_bytes, sizeof t->socket_bytes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &t->socket_bytes, sizeof t->socket_bytes);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return WEFT_E_SYSTEM;
    t->port = ntohs(a.sin_port);
    return weft_server_listen_fd(t->server, fd);
}

static int listen_anywhere(struct e2e *t)
{
    return t->socket_bytes ? listen_with_small_buffers(t)
                           : weft_server_listen_tcp(t->server, NULL, 0, &t->port);
}

bool e2e_start(struct e2e *t)
{
    return e2e_new(t) && listen_anywhere(t) == WEFT_OK && weft_server_start(t->server) == WEFT_OK;
}

void e2e_stop(struct e2e *t, uint32_t deadline_ms)
{
    STOPS(weft_server_stop(t->server, deadline_ms));
    CU_ASSERT_EQUAL(atomic_load(&t->closed), atomic_load(&t->opened));
    weft_server_unref(t->server);
    t->server = NULL;
}

weft_stats e2e_stats(const struct e2e *t)
{
    weft_stats s = {.size = sizeof s};

    CU_ASSERT_EQUAL(weft_server_stats(t->server, &s), WEFT_OK);
    return s;
}

bool e2e_open(struct e2e *t, struct client *k)
{
    unsigned before = atomic_load(&t->opened);
    return client_open(k, t->port) && COMES_TRUE(atomic_load(&t->opened) > before);
}

weft_conn *e2e_take(struct e2e *t, unsigned n)
{
    weft_conn *c = NULL;

    if (!COMES_TRUE(atomic_load(&t->seen_count) > n) || !COMES_TRUE(atomic_load(&t->seen[n]->opened)))
        return NULL;
    pthread_mutex_lock(&t->lock);
    if (t->seen[n]->conn)
        c = weft_conn_ref(t->seen[n]->conn);
    pthread_mutex_unlock(&t->lock);
    return c;
}

/* --- modes --- */

static void free_seen(struct e2e *t)
{
    for (unsigned i = 0; i < E2E_CONNS_MAX && t->seen[i]; i++) {
        if (t->seen[i]->closed != 1)
            e2e_fault(t, "on_close was called %u times", t->seen[i]->closed);
        free(t->seen[i]);
    }
}

static void in_mode(const char *name, const struct e2e_mode *mode, void (*body)(struct e2e *t))
{
    struct e2e *t = calloc(1, sizeof *t);
    unsigned failed = CU_get_number_of_failures();
    int64_t live = mem_live_blocks();

    atomic_store(&patience_is_lost, false);
    t->mode = mode;
    pthread_mutex_init(&t->lock, NULL);
    body(t);
    if (t->server)
        e2e_stop(t, 1000);
    client_buffer_bytes(0, 0);
    free_seen(t);
    CU_ASSERT_EQUAL(mem_live_blocks() - live, 0);
    CU_ASSERT_EQUAL(t->faults, 0);
    if (t->faults)
        printf("  %s (%s): %s\n", name, mode->name, t->fault);
    if (CU_get_number_of_failures() != failed)
        printf("  %s failed in mode: %s\n", name, mode->name);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void e2e_in_modes(const char *name, void (*body)(struct e2e *t), bool with_inline)
{
    mem_count_live(true);
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (with_inline || !modes[i].is_inline)
            in_mode(name, &modes[i], body);
}
