/* The client of the end-to-end tests; see e2e_client.h. */
#include "e2e_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Far beyond what any answer takes, on a loaded machine under a sanitizer too. */
#define PATIENCE_MS 20000
#define READ_BYTES  65536

static int receive_bytes_wanted, send_bytes_wanted;

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- sockets --- */

void client_buffer_bytes(int receive_bytes, int send_bytes)
{
    receive_bytes_wanted = receive_bytes;
    send_bytes_wanted = send_bytes;
}

void client_adopt(struct client *k, int fd)
{
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};

    memset(k, 0, sizeof *k);
    k->fd = fd;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (receive_bytes_wanted)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes_wanted, sizeof(int));
    if (send_bytes_wanted)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send_bytes_wanted, sizeof(int));
}

/* With a timeout of its own for sending, a connect ends with EINTR when the process is stopped meanwhile; called again
 * it goes on waiting. */
static bool wait_connected(int fd, const struct sockaddr *a, socklen_t n)
{
    int failed;

    do {
        failed = connect(fd, a, n);
    } while (failed && errno == EINTR);
    return !failed;
}

static bool connect_to(struct client *k, int fd, const struct sockaddr *a, socklen_t n)
{
    client_adopt(k, fd);
    if (fd >= 0 && wait_connected(fd, a, n))
        return true;
    client_close(k);
    return false;
}

bool client_connect(struct client *k, uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return connect_to(k, fd, (struct sockaddr *)&a, sizeof a);
}

bool client_connect_path(struct client *k, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    return connect_to(k, socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&a, sizeof a);
}

void client_close(struct client *k)
{
    if (k->fd > 0)
        close(k->fd);
    free(k->bytes);
    memset(k, 0, sizeof *k);
}

void client_reset(struct client *k)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};

    setsockopt(k->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    client_close(k);
}

void client_end(struct client *k)
{
    shutdown(k->fd, SHUT_WR);
}

/* --- writing --- */

bool client_put(struct client *k, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;

    while (n) {
        ssize_t done = send(k->fd, p, n, MSG_NOSIGNAL);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

bool client_put_text(struct client *k, const char *text)
{
    return client_put(k, text, strlen(text));
}

size_t client_put_until_full(struct client *k, const void *bytes, size_t n, int quiet_ms)
{
    const uint8_t *p = bytes;
    size_t gone = 0;

    while (gone < n) {
        struct pollfd wait = {.fd = k->fd, .events = POLLOUT};
        ssize_t done = send(k->fd, p + gone, n - gone, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (done > 0)
            gone += (size_t)done;
        else if (errno != EAGAIN || poll(&wait, 1, quiet_ms) == 0)
            break;
    }
    return gone;
}

bool client_ask(struct client *k, const char *path, const char *extra)
{
    char request[2048];
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " CLIENT_KEY "\r\n%s\r\n",
                     path, extra ? extra : "");

    return client_put(k, request, (size_t)n);
}

/* The mask needs not be random here, only different from frame to frame and never zero. */
size_t client_frame(uint8_t *dst, unsigned first, const void *payload, size_t n)
{
    static _Atomic uint32_t turn;
    uint32_t seed = (turn++ + 1) * 2654435761u;
    uint8_t mask[4] = {(uint8_t)(seed >> 24 | 1), (uint8_t)(seed >> 16), (uint8_t)(seed >> 8), (uint8_t)seed};
    const uint8_t *p = payload;
    size_t at = 0;

    dst[at++] = (uint8_t)first;
    if (n < 126) {
        dst[at++] = (uint8_t)(0x80 | n);
    } else if (n < 65536) {
        dst[at++] = 0x80 | 126;
        dst[at++] = (uint8_t)(n >> 8);
        dst[at++] = (uint8_t)n;
    } else {
        dst[at++] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            dst[at++] = (uint8_t)((uint64_t)n >> shift);
    }
    memcpy(dst + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < n; i++)
        dst[at + i] = p[i] ^ mask[i % 4];
    return at + n;
}

bool client_send(struct client *k, unsigned opcode, const void *payload, size_t n)
{
    uint8_t *bytes = malloc(n + 14);
    bool sent = bytes && client_put(k, bytes, client_frame(bytes, 0x80 | opcode, payload, n));

    free(bytes);
    return sent;
}

bool client_say(struct client *k, const char *text)
{
    return client_send(k, CLIENT_TEXT, text, strlen(text));
}

bool client_say_close(struct client *k, unsigned code)
{
    uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
    return client_send(k, CLIENT_CLOSE, payload, 2);
}

/* --- reading --- */

static bool make_room(struct client *k)
{
    if (k->at) {
        memmove(k->bytes, k->bytes + k->at, k->have - k->at);
        k->have -= k->at;
        k->at = 0;
    }
    if (k->room - k->have < READ_BYTES) {
        uint8_t *more = realloc(k->bytes, k->have * 2 + READ_BYTES);
        if (!more)
            return false;
        k->bytes = more;
        k->room = k->have * 2 + READ_BYTES;
    }
    return true;
}

/* At least one more byte. */
static enum client_result receive(struct client *k, uint64_t until_ms)
{
    for (;;) {
        uint64_t now = now_ms();
        struct pollfd wait = {.fd = k->fd, .events = POLLIN};
        ssize_t n;

        if (now > until_ms || poll(&wait, 1, (int)(until_ms - now)) == 0)
            return CLIENT_TIMEOUT;
        if (!make_room(k))
            return CLIENT_BAD;
        n = recv(k->fd, k->bytes + k->have, k->room - k->have, MSG_DONTWAIT);
        if (n > 0) {
            k->have += (size_t)n;
            return CLIENT_OK;
        }
        if (n == 0)
            return k->have == k->at ? CLIENT_END : CLIENT_RESET;
        if (errno != EINTR && errno != EAGAIN)
            return CLIENT_RESET;
    }
}

/* Used only when it is whole; returns 0 until then. */
static size_t parse_frame(const struct client *k, struct frame *f, bool *is_bad)
{
    const uint8_t *p = k->bytes + k->at;
    size_t have = k->have - k->at, head = 2;
    uint64_t n;

    *is_bad = have >= 2 && ((p[1] & 0x80) || (p[0] & (k->allows_compressed ? 0x30 : 0x70)));
    if (have < 2 || *is_bad)
        return 0;
    n = p[1] & 0x7f;
    head += n == 126 ? 2 : n == 127 ? 8 : 0;
    if (have < head)
        return 0;
    if (head > 2) {
        n = 0;
        for (size_t i = 2; i < head; i++)
            n = n << 8 | p[i];
    }
    if (have - head < n)
        return 0;
    *f =
        (struct frame){.opcode = p[0] & 15, .is_final = p[0] & 0x80, .is_compressed = p[0] & 0x40, .payload = p + head, .bytes = (size_t)n};
    return head + (size_t)n;
}

enum client_result client_next_within(struct client *k, struct frame *f, int timeout_ms)
{
    uint64_t until_ms = now_ms() + (uint64_t)timeout_ms;

    for (;;) {
        enum client_result result;
        bool is_bad;
        size_t used = parse_frame(k, f, &is_bad);

        if (is_bad)
            return CLIENT_BAD;
        k->at += used;
        if (used)
            return CLIENT_OK;
        result = receive(k, until_ms);
        if (result != CLIENT_OK)
            return result;
    }
}

enum client_result client_next(struct client *k, struct frame *f)
{
    return client_next_within(k, f, PATIENCE_MS);
}

enum client_result client_hear(struct client *k, struct frame *f)
{
    enum client_result result;

    while ((result = client_next(k, f)) == CLIENT_OK) {
        if (f->opcode == CLIENT_PING)
            client_send(k, CLIENT_PONG, f->payload, f->bytes);
        else if (f->opcode != CLIENT_PONG)
            break;
    }
    return result;
}

bool frame_is(const struct frame *f, unsigned opcode, const char *text)
{
    return f->opcode == opcode && f->is_final && f->bytes == strlen(text) &&
           memcmp(f->payload, text, f->bytes) == 0;
}

unsigned frame_code(const struct frame *f)
{
    return f->bytes < 2 ? 1005 : (unsigned)f->payload[0] << 8 | f->payload[1];
}

bool client_hears(struct client *k, const char *text)
{
    struct frame f;
    return client_hear(k, &f) == CLIENT_OK && frame_is(&f, CLIENT_TEXT, text);
}

/* The Close frame at hand is answered, and the server ends. */
static bool finish_close(struct client *k, const struct frame *f)
{
    client_send(k, CLIENT_CLOSE, f->payload, f->bytes < 2 ? 0 : 2);
    return client_sees_end(k);
}

bool client_hears_close(struct client *k, unsigned code)
{
    struct frame f;
    return client_hear(k, &f) == CLIENT_OK && f.opcode == CLIENT_CLOSE && frame_code(&f) == code &&
           finish_close(k, &f);
}

unsigned client_skip_to_close(struct client *k)
{
    struct frame f;
    unsigned code;

    while (client_hear(k, &f) == CLIENT_OK) {
        if (f.opcode != CLIENT_CLOSE)
            continue;
        code = frame_code(&f);
        finish_close(k, &f);
        return code;
    }
    return 1006;
}

bool client_sees_end(struct client *k)
{
    struct frame f;
    enum client_result result = client_next(k, &f);
    return result == CLIENT_END || result == CLIENT_RESET;
}

/* --- the response --- */

static size_t body_bytes(const char *head)
{
    const char *field = strcasestr(head, "\r\nContent-Length:");
    return field ? strtoul(field + 17, NULL, 10) : 0;
}

int client_status(struct client *k, char *head, size_t room)
{
    uint64_t until_ms = now_ms() + PATIENCE_MS;
    char *end = NULL;
    size_t n;
    int status;

    while (!k->have || !(end = memmem(k->bytes + k->at, k->have - k->at, "\r\n\r\n", 4)))
        if (receive(k, until_ms) != CLIENT_OK)
            return 0;
    n = (size_t)(end + 4 - (char *)k->bytes - (ptrdiff_t)k->at);
    snprintf(head, room, "%.*s", (int)n, (char *)k->bytes + k->at);
    k->at += n;
    if (sscanf(head, "HTTP/1.1 %d", &status) != 1)
        return 0;
    if (status != 101) {
        size_t body = body_bytes(head), used = strlen(head);
        while (k->have - k->at < body && receive(k, until_ms) == CLIENT_OK) {
        }
        if (k->have - k->at < body)
            body = k->have - k->at; /* as for HEAD */
        snprintf(head + used, room - used, "%.*s", (int)body, (char *)k->bytes + k->at);
        k->at += body;
    }
    return status;
}

bool client_open(struct client *k, uint16_t port)
{
    char head[1024];

    return client_connect(k, port) && client_ask(k, "/", NULL) &&
           client_status(k, head, sizeof head) == 101 &&
           strstr(head, "\r\nSec-WebSocket-Accept: " CLIENT_ACCEPT "\r\n");
}
