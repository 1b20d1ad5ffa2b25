/* A server by script; see e2e_peer.h. */
#include "e2e_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/handshake.h"

#define PATIENCE_MS 20000

/* Readable within the patience, and not stopped. */
static bool can_read(struct peer *p, int fd)
{
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = p->stop_fd, .events = POLLIN}};

    return poll(fds, 2, PATIENCE_MS) > 0 && !(fds[1].revents) && fds[0].revents;
}

static bool read_some(struct peer *p, void *out, size_t n)
{
    uint8_t *at = out;

    while (n) {
        ssize_t got;
        if (!can_read(p, p->k.fd) || (got = recv(p->k.fd, at, n, 0)) <= 0)
            return false;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

/* Byte by byte, so that nothing behind the head is taken. */
static bool read_head(struct peer *p)
{
    size_t n = 0;

    while (n + 1 < sizeof p->head) {
        if (!read_some(p, p->head + n, 1))
            break;
        p->head[++n] = 0;
        if (n >= 4 && memcmp(p->head + n - 4, "\r\n\r\n", 4) == 0)
            return true;
    }
    p->head[n] = 0;
    return false;
}

const char *peer_header(struct peer *p, const char *name)
{
    static _Thread_local char value[1024];
    size_t n = strlen(name);

    value[0] = 0;
    for (const char *line = strstr(p->head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n")) {
        const char *end = strstr(line + 2, "\r\n");
        if (!end || strncasecmp(line + 2, name, n) != 0 || line[2 + n] != ':')
            continue;
        snprintf(value, sizeof value, "%.*s", (int)(end - line - 4 - (ptrdiff_t)n), line + 4 + n);
        break;
    }
    return value;
}

static void serve(struct peer *p, int fd)
{
    const char *key;

    client_adopt(&p->k, fd);
    if (read_head(p)) {
        key = peer_header(p, "Sec-WebSocket-Key");
        if (strlen(key) == HTTP_KEY_CHARS)
            http_accept_value(key, p->accept);
        p->script(p);
    }
    client_close(&p->k);
    p->number++;
}

static void *run(void *arg)
{
    struct peer *p = arg;

    for (;;) {
        struct pollfd fds[2] = {{.fd = p->listen_fd, .events = POLLIN}, {.fd = p->stop_fd, .events = POLLIN}};
        int fd;
        if (poll(fds, 2, -1) <= 0 || fds[1].revents)
            return NULL;
        fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        atomic_fetch_add(&p->accepted, 1);
        serve(p, fd);
    }
}

bool peer_hold_port(struct peer *p)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int one = 1;

    memset(p, 0, sizeof *p);
    p->stop_fd = eventfd(0, EFD_CLOEXEC);
    p->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(p->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(p->listen_fd, (struct sockaddr *)&a, sizeof a) != 0 ||
        getsockname(p->listen_fd, (struct sockaddr *)&a, &n) != 0)
        return false;
    p->port = ntohs(a.sin_port);
    return true;
}

bool peer_start(struct peer *p, peer_script *script, void *arg)
{
    if (!peer_hold_port(p) || listen(p->listen_fd, 64) != 0)
        return false;
    p->script = script;
    p->arg = arg;
    return pthread_create(&p->thread, NULL, run, p) == 0;
}

void peer_stop(struct peer *p)
{
    uint64_t one = 1;

    if (write(p->stop_fd, &one, sizeof one) != (ssize_t)sizeof one)
        abort();
    if (p->script)
        pthread_join(p->thread, NULL);
    close(p->listen_fd);
    close(p->stop_fd);
}

char *peer_url(const struct peer *p, const char *target)
{
    static _Thread_local char url[256];

    snprintf(url, sizeof url, "ws://127.0.0.1:%u%s", p->port, target);
    return url;
}

bool peer_put(struct peer *p, const char *format, ...)
{
    char text[4096];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return client_put(&p->k, text, (size_t)n);
}

bool peer_accept(struct peer *p, const char *extra)
{
    return peer_put(p,
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Accept: %s\r\n%s\r\n",
                    p->accept, extra ? extra : "");
}

bool peer_hears_end(struct peer *p)
{
    char byte[512];

    for (;;) {
        if (!can_read(p, p->k.fd))
            return false;
        if (recv(p->k.fd, byte, sizeof byte, 0) <= 0)
            return true;
    }
}

bool peer_next(struct peer *p, struct peer_frame *f)
{
    uint8_t head[2], length[8];
    unsigned more;

    if (!read_some(p, head, 2))
        return false;
    f->first = head[0];
    f->is_masked = head[1] & 0x80;
    f->bytes = head[1] & 0x7f;
    more = f->bytes == 126 ? 2 : f->bytes == 127 ? 8 : 0;
    if (more) {
        if (!read_some(p, length, more))
            return false;
        f->bytes = 0;
        for (unsigned i = 0; i < more; i++)
            f->bytes = f->bytes << 8 | length[i];
    }
    if (f->bytes > sizeof f->payload || (f->is_masked && !read_some(p, f->key, 4)) ||
        !read_some(p, f->payload, f->bytes))
        return false;
    for (size_t i = 0; f->is_masked && i < f->bytes; i++)
        f->payload[i] ^= f->key[i % 4];
    return true;
}

bool peer_say(struct peer *p, unsigned opcode, const void *payload, size_t bytes)
{
    uint8_t head[4] = {(uint8_t)(0x80 | opcode), (uint8_t)bytes};
    size_t n = 2;

    if (bytes > 125) {
        head[1] = 126;
        head[2] = (uint8_t)(bytes >> 8);
        head[3] = (uint8_t)bytes;
        n = 4;
    }
    return client_put(&p->k, head, n) && (!bytes || client_put(&p->k, payload, bytes));
}

void peer_sleep(struct peer *p)
{
    struct pollfd stop = {.fd = p->stop_fd, .events = POLLIN};

    poll(&stop, 1, PATIENCE_MS);
}
