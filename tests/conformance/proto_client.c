/* An echo client of weft/proto.h and one blocking thread: what the conformance program judges as a server.
 *
 *     proto_client URL
 *
 * Connects to ws://ADDRESS:PORT/PATH again and again and echoes each message, until the answer is 4xx or
 * nobody listens: then it ends with 0. A connection that fails is followed by the next. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <weft/proto.h>

#define MESSAGE_BYTES_MAX (32u << 20)
#define READ_BYTES        (256u * 1024u)
#define TCP_END_MS        30000u /* how long the server may take to end TCP behind the closing handshake */

struct endpoint {
    struct sockaddr_in address;
    char host[INET_ADDRSTRLEN];
    char path[200];
};

struct client {
    int fd;
    weft_proto *proto;
    bool opened;
    bool broken;  /* TCP has ended, or the library has no memory */
    bool refused; /* with 4xx: there is nothing more to do */
};

static bool parse_url(struct endpoint *e, const char *url)
{
    unsigned port;

    strcpy(e->path, "/");
    if (sscanf(url, "ws://%15[0-9.]:%u%199s", e->host, &port, e->path) < 2 || port > UINT16_MAX)
        return false;
    e->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    return inet_pton(AF_INET, e->host, &e->address.sin_addr) == 1;
}

static uint64_t clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void write_output(struct client *c)
{
    const void *data;
    size_t left;

    while (!c->broken && (left = weft_proto_output(c->proto, &data)) > 0) {
        ssize_t n = send(c->fd, data, left, MSG_NOSIGNAL);

        if (n > 0)
            weft_proto_written(c->proto, (size_t)n);
        else if (errno != EINTR)
            c->broken = true;
    }
}

/* The echo is written before the next message is taken: the output is never above its limit. */
static void echo(struct client *c, weft_msg *m)
{
    int rc = weft_proto_send(c->proto, m);

    if (rc != WEFT_OK && rc != WEFT_E_CLOSED)
        c->broken = true;
    weft_msg_unref(m);
    write_output(c);
}

static void handle(struct client *c, enum weft_proto_event_kind kind, const weft_proto_event *ev)
{
    if (kind == WEFT_PROTO_OPEN)
        c->opened = true;
    else if (kind == WEFT_PROTO_MESSAGE)
        echo(c, ev->msg);
    else if (kind == WEFT_PROTO_FAIL && !c->opened)
        c->refused = ev->code >= 400 && ev->code < 500 && ev->code != 408;
}

static void feed(struct client *c, const uint8_t *data, size_t bytes)
{
    weft_proto_event ev;
    size_t used;

    for (; bytes > 0 && !weft_proto_is_over(c->proto); data += used, bytes -= used)
        handle(c, weft_proto_feed(c->proto, data, bytes, &used, clock_ms(), &ev), &ev);
}

/* Waits for octets up to a time; false when there are none. */
static bool receive(struct client *c, uint64_t deadline_ms)
{
    static uint8_t buffer[READ_BYTES];
    struct pollfd polled = {.fd = c->fd, .events = POLLIN};
    uint64_t now_ms = clock_ms(), left_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
    ssize_t n;

    if (poll(&polled, 1, left_ms < 60000 ? (int)left_ms : 60000) <= 0)
        return false;
    n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n > 0)
        feed(c, buffer, (size_t)n);
    else
        c->broken = true;
    return n > 0;
}

/* RFC 6455 section 7.1.1: the server ends TCP first. */
static void await_end_of_tcp(struct client *c)
{
    uint64_t deadline_ms = clock_ms() + TCP_END_MS;

    while (c->opened && !c->broken && receive(c, deadline_ms))
        ;
}

static void converse(struct client *c)
{
    weft_proto_event ev;

    write_output(c);
    while (!c->broken && !weft_proto_is_over(c->proto)) {
        if (!receive(c, weft_proto_deadline_ms(c->proto)))
            handle(c, weft_proto_tick(c->proto, clock_ms(), &ev), &ev);
        write_output(c);
    }
    await_end_of_tcp(c);
}

/* False: nobody listens. */
static bool reach(struct client *c, const struct endpoint *e)
{
    int one = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&e->address, sizeof e->address) != 0)
        return false;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return true;
}

/* False: there is nothing more to do. */
static bool connect_once(const struct endpoint *e)
{
    weft_proto_opts opts = {.size = sizeof opts,
                            .role = WEFT_PROTO_CLIENT,
                            .message_bytes_max = MESSAGE_BYTES_MAX,
                            .host = e->host,
                            .port = ntohs(e->address.sin_port),
                            .target = e->path};
    struct client c = {0};
    bool reached = reach(&c, e);

    if (reached && weft_proto_new(&c.proto, &opts, clock_ms()) != WEFT_OK) {
        fprintf(stderr, "weft_proto_new fails\n");
        exit(1);
    }
    if (reached)
        converse(&c);
    weft_proto_free(c.proto);
    if (c.fd >= 0)
        close(c.fd);
    return reached && !c.refused;
}

int main(int argc, char **argv)
{
    struct endpoint endpoint;

    if (argc != 2 || !parse_url(&endpoint, argv[1])) {
        fprintf(stderr, "usage: %s ws://ADDRESS:PORT/PATH\n", argv[0]);
        return 2;
    }
    while (connect_once(&endpoint))
        ;
    return 0;
}
