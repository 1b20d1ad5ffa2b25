/* The client's side; see client.h. */
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "chance.h"
#include "fault.h"
#include "unit.h"

#define HEAD_BYTES_MAX  14 /* of a frame: two bytes, length, mask */
#define FRAME_BYTES_MAX (HEAD_BYTES_MAX + ITEM_BYTES_MAX)
#define BUFFER_BYTES    (2 * FRAME_BYTES_MAX)
#define BURST_MAX       256
#define BACKLOG_MAX     60000 /* messages of all connections that are not handled yet */
#define BACKLOG_SLOW    10000
#define SLOW_BYTES      2048
#define SLOW_NS         2000000

typedef unsigned long long ull;

struct client {
    struct clients *clients;
    int fd;
    struct life *life;
    uint8_t *in, *out; /* BUFFER_BYTES each */
    size_t in_bytes, out_at, out_bytes;
    bool is_closing; /* no more messages behind what is in out */
    bool is_slow;
    uint64_t random, next_read_ns;
};

/* --- what goes out --- */

/* The mask is zero, so the payload stays as it is. */
static uint8_t *begin_frame(struct client *k, uint8_t first, size_t bytes)
{
    uint8_t *p = k->out + k->out_bytes;
    size_t n = 0;

    p[n++] = first;
    if (bytes < 126) {
        p[n++] = (uint8_t)(0x80 | bytes);
    } else if (bytes < 65536) {
        p[n++] = 0x80 | 126;
        p[n++] = (uint8_t)(bytes >> 8);
        p[n++] = (uint8_t)bytes;
    } else {
        p[n++] = 0x80 | 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            p[n++] = (uint8_t)((uint64_t)bytes >> shift);
    }
    memset(p + n, 0, 4);
    k->out_bytes += n + 4 + bytes;
    return p + n + 4;
}

/* Without a window of the shape there is one of what both sockets hold, or settling would take long. */
static bool window_is_open(const struct client *k)
{
    const struct shape *s = k->clients->shape;
    const struct life *l = k->life;
    uint64_t sent = LEDGER_GET(l->sent);
    unsigned backlog = unit_is_slow() ? BACKLOG_SLOW : BACKLOG_MAX;

    if (s->window && sent - LEDGER_GET(l->received[ECHO]) * s->answer_every >= s->window)
        return false;
    return sent - LEDGER_GET(l->handled) < backlog / s->connections;
}

static void queue_messages(struct client *k)
{
    const struct shape *s = k->clients->shape;
    unsigned count = chance_range(&k->random, 1, BURST_MAX);

    for (; count && window_is_open(k) && k->out_bytes + FRAME_BYTES_MAX <= BUFFER_BYTES; count--) {
        uint64_t number = LEDGER_GET(k->life->sent);
        size_t bytes = item_bytes(s->seed, s->bytes_max, CLIENT, number);
        item_write(begin_frame(k, 0x82, bytes), bytes, CLIENT, number);
        LEDGER_ADD(k->life->sent, 1);
    }
}

static void queue_close(struct client *k)
{
    atomic_store(&k->life->is_ending, true);
    memcpy(begin_frame(k, 0x88, 2), "\x03\xe8", 2);
    k->is_closing = true;
}

/* --- what comes in --- */

static void check_broadcast(struct client *k, unsigned sender, uint64_t number)
{
    struct life *l = k->life;
    uint64_t *next = &l->next_broadcast[sender - ALL];
    bool may_miss = sender == SOME || k->clients->shape->slow_policy != WEFT_SLOW_CLOSE;

    if (number < *next || (*next && number != *next && !may_miss))
        fault("connection %d: broadcast %llu to %s where %llu was due", l->index, (ull)number,
              sender == ALL ? "all" : "some", (ull)*next);
    *next = number + 1;
}

static void check_received(struct client *k, const uint8_t *p, size_t bytes)
{
    const struct shape *s = k->clients->shape;
    struct life *l = k->life;
    uint64_t number = LEDGER_GET(l->received[ECHO]);
    unsigned sender = item_sender(p, bytes, &number);
    uint64_t due;

    if (sender == KINDS) {
        fault("connection %d: a message of %zu bytes that nobody sent", l->index, bytes);
        return;
    }
    due = sender <= ECHO ? LEDGER_GET(l->received[sender]) : number;
    if (sender > ECHO)
        check_broadcast(k, sender, number);
    if (bytes != item_bytes(s->seed, s->bytes_max, sender, due) || !item_is(p, bytes, sender, due))
        fault("connection %d: of sender %u: %llu of %zu bytes where %llu was due", l->index, sender,
              (ull)number, bytes, (ull)due);
    LEDGER_ADD(l->received[sender], 1);
}

static void answer_ping(struct client *k, const uint8_t *payload, size_t bytes)
{
    if (!k->is_closing && k->out_bytes + FRAME_BYTES_MAX <= BUFFER_BYTES)
        memcpy(begin_frame(k, 0x8a, bytes), payload, bytes);
}

static void take_frame(struct client *k, const uint8_t *p, size_t head, size_t bytes)
{
    if (k->life->got_close)
        fault("connection %d: a frame behind the Close frame", k->life->index);
    if (p[0] == 0x82) {
        check_received(k, p + head, bytes);
    } else if (p[0] == 0x88) {
        k->life->got_close = true;
        atomic_store(&k->life->is_ending, true);
    } else if (p[0] == 0x89) {
        answer_ping(k, p + head, bytes);
    } else {
        fault("connection %d: a frame that starts with %02x", k->life->index, p[0]);
    }
}

/* Length of the frame at p, 0 when it is not whole yet. */
static size_t measure_frame(const uint8_t *p, size_t n, size_t *head, size_t *bytes)
{
    if (n < 2)
        return 0;
    *bytes = p[1] & 0x7f;
    *head = *bytes < 126 ? 2 : *bytes == 126 ? 4 : 10;
    if (n < *head)
        return 0;
    if (*head > 2)
        *bytes = 0;
    for (size_t i = 2; i < *head; i++)
        *bytes = *bytes << 8 | p[i];
    return n < *head + *bytes ? 0 : *head + *bytes;
}

static size_t take_response(struct client *k)
{
    uint8_t *end = memmem(k->in, k->in_bytes, "\r\n\r\n", 4);

    if (!end)
        return 0;
    if (memcmp(k->in, "HTTP/1.1 101", 12) != 0)
        fault("connection %d: refused: %.20s", k->life->index, k->in);
    k->life->is_open = true;
    return (size_t)(end - k->in) + 4;
}

static void take_input(struct client *k)
{
    size_t at = 0, used, head, bytes;

    if (!k->life->is_open)
        at = take_response(k);
    while (k->life->is_open && (used = measure_frame(k->in + at, k->in_bytes - at, &head, &bytes)) != 0) {
        take_frame(k, k->in + at, head, bytes);
        at += used;
    }
    memmove(k->in, k->in + at, k->in_bytes - at);
    k->in_bytes -= at;
    if (k->in_bytes == BUFFER_BYTES)
        fault_fatal("connection %d: a frame that is longer than any", k->life->index);
}

/* --- the socket --- */

static void end_connection(struct client *k)
{
    close(k->fd);
    k->fd = -1;
    free(k->in);
    free(k->out);
    ledger_end(k->life);
    k->life = NULL;
}

/* Without a word; every other time with a reset. */
static void drop_connection(struct client *k)
{
    struct linger at_once = {.l_onoff = 1};

    if (chance_one_in(&k->random, 2))
        setsockopt(k->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    end_connection(k);
}

static void begin_connection(struct client *k, int index)
{
    const struct shape *s = k->clients->shape;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint16_t port = atomic_load(&k->clients->server->port);

    a.sin_port = htons(port);
    k->fd = port ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    if (k->fd < 0)
        return;
    if (connect(k->fd, (struct sockaddr *)&a, sizeof a) != 0) {
        close(k->fd);
        k->fd = -1;
        return;
    }
    fcntl(k->fd, F_SETFL, O_NONBLOCK);
    k->in = malloc(BUFFER_BYTES);
    k->out = malloc(BUFFER_BYTES);
    if (!k->in || !k->out)
        abort();
    k->life = ledger_begin(k->clients->ledger, index);
    k->is_slow = chance_one_in(&k->random, s->slow_one_in);
    k->is_closing = false;
    k->in_bytes = k->out_at = 0;
    k->out_bytes = (size_t)snprintf((char *)k->out, BUFFER_BYTES,
                                    "GET /%d/%llu HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: "
                                    "Upgrade\r\n"
                                    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: "
                                    "13\r\n\r\n",
                                    index, (ull)k->life->serial);
}

/* False: the connection has ended. */
static bool read_some(struct client *k, int phase)
{
    bool slowly = k->is_slow && phase == CLIENT_RUN;
    size_t room = BUFFER_BYTES - k->in_bytes;
    ssize_t n = recv(k->fd, k->in + k->in_bytes, slowly && room > SLOW_BYTES ? SLOW_BYTES : room, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0)
        return false;
    if (slowly)
        k->next_read_ns = clock_now_ns() + SLOW_NS;
    k->in_bytes += (size_t)n;
    take_input(k);
    return true;
}

static void fill_out(struct client *k, int phase)
{
    const struct shape *s = k->clients->shape;

    k->out_at = k->out_bytes = 0;
    if (!k->life->is_open || k->is_closing)
        return;
    if (k->life->got_close ||
        (phase == CLIENT_RUN && s->end_one_in && chance_one_in(&k->random, 4 * s->end_one_in)))
        queue_close(k);
    else if (phase == CLIENT_RUN)
        queue_messages(k);
}

static void write_some(struct client *k, int phase)
{
    ssize_t n;

    if (k->out_at == k->out_bytes)
        fill_out(k, phase);
    if (k->out_at == k->out_bytes)
        return;
    n = send(k->fd, k->out + k->out_at, k->out_bytes - k->out_at, MSG_NOSIGNAL);
    if (n > 0)
        k->out_at += (size_t)n;
    if (k->is_closing && k->out_at == k->out_bytes)
        k->life->sent_close = true;
}

static bool wants_to_write(const struct client *k, int phase)
{
    if (k->out_at < k->out_bytes)
        return true;
    if (!k->life->is_open || k->is_closing)
        return false;
    return k->life->got_close || (phase == CLIENT_RUN && window_is_open(k));
}

static void serve(struct client *k, int phase, short events)
{
    const struct shape *s = k->clients->shape;

    if (phase == CLIENT_RUN && s->end_one_in && chance_one_in(&k->random, 64 * s->end_one_in)) {
        drop_connection(k);
        return;
    }
    if (events & (POLLIN | POLLHUP | POLLERR) && !read_some(k, phase)) {
        end_connection(k);
        return;
    }
    if (events & POLLOUT)
        write_some(k, phase);
    atomic_store(&k->life->is_quiet, phase != CLIENT_RUN && k->out_at == k->out_bytes);
}

/* What to wait for; a slow one that is not to read yet is left out. */
static struct pollfd prepare(struct client *k, int index, int phase)
{
    struct pollfd p = {.fd = -1};

    if (k->fd < 0 && phase == CLIENT_RUN)
        begin_connection(k, index);
    if (k->fd < 0)
        return p;
    p.fd = k->fd;
    if (!k->is_slow || phase != CLIENT_RUN || clock_now_ns() >= k->next_read_ns)
        p.events |= POLLIN;
    if (wants_to_write(k, phase))
        p.events |= POLLOUT;
    return p;
}

static unsigned turn(struct clients *g, struct client *clients, struct pollfd *polls, int phase)
{
    unsigned alive = 0;

    for (unsigned i = 0; i < g->count; i++) {
        polls[i] = prepare(&clients[i], (int)(g->first + i * g->step), phase);
        alive += clients[i].fd >= 0;
    }
    poll(polls, (nfds_t)g->count, 2);
    for (unsigned i = 0; i < g->count; i++)
        if (clients[i].fd >= 0)
            serve(&clients[i], phase, polls[i].revents);
    return alive;
}

void *clients_main(void *arg)
{
    struct clients *g = arg;
    struct client *clients = calloc(g->count + 1, sizeof *clients);
    struct pollfd *polls = calloc(g->count + 1, sizeof *polls);
    unsigned alive = 1;
    int phase;

    if (!clients || !polls)
        abort();
    for (unsigned i = 0; i < g->count; i++) {
        clients[i].clients = g;
        clients[i].fd = -1;
        clients[i].random = chance_mix(g->shape->seed * 31 + g->first + i * g->step);
    }
    while ((phase = atomic_load(&g->phase)) != CLIENT_END || alive) {
        alive = turn(g, clients, polls, phase);
        atomic_store(&g->seen, phase);
    }
    free(clients);
    free(polls);
    return NULL;
}
