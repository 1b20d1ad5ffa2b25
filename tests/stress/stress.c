/* The whole server under everything at once: connections that come and go, senders in foreign threads,
 * broadcasts, closes, aborts, and servers that stop and start again. Nothing may be lost, doubled,
 * reordered or leaked.
 *
 * Each message says who sent it and its number, so both ends can check it:
 *   - the server's handler, the messages of the client: 0, 1, 2 ... without a gap;
 *   - the client, for each sender of the server: likewise; for broadcasts: no gap behind the first one it
 *     got.
 * A struct life is one connection from its request to its end, shared by both sides. Who lets go of it last
 * compares what each side counted: behind a clean close both must have got all that the other one's sends
 * accepted; behind any other end, a beginning of it (which the checks on the way have seen to).
 *
 * A hand-over is a message that passed from an I/O thread to a worker, or from any thread to an I/O thread.
 * */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "weft/weft.h"

#define CONNECTIONS    64
#define SENDERS        8
#define ECHO           SENDERS       /* as a sender: the handler */
#define BROADCAST      (SENDERS + 1) /* as a sender: the group */
#define KINDS          (SENDERS + 2)
#define CLIENT_THREADS 2
#define FRAME_BYTES    22 /* of a client: header, mask of zeros, 16 bytes */
#define BURST          256

struct life {
    _Atomic int refs;
    int index;
    /* The server's side; the handlers of a connection are ordered, the senders count for themselves. */
    unsigned opened, closed;
    uint64_t handled;
    bool was_clean;
    _Atomic uint64_t accepted[KINDS];
    /* The client's side. */
    uint64_t sent, received[KINDS], first_broadcast;
    bool got_close, sent_close, is_open;
};

/* What a message holds. */
struct item {
    uint32_t sender, check;
    uint64_t number;
};
_Static_assert(sizeof(struct item) == 16, "FRAME_BYTES counts on it");

static struct options {
    uint64_t handovers;
    unsigned seconds, io_threads, workers;
    uint64_t seed;
    bool inline_handlers;
} opt = {.handovers = 2000000, .seconds = 600, .io_threads = 1, .seed = 1};

static _Atomic uint64_t handovers, faults, lives_ended, clean_ends, servers, broadcast_number;
static atomic_bool stopping, pausing;
static _Atomic uint16_t port;

/* The lives that a request may ask for, and the connections that senders may use. */
static pthread_mutex_t lives_lock = PTHREAD_MUTEX_INITIALIZER;
static struct life *lives[CONNECTIONS];
static weft_conn *conns[CONNECTIONS];

static void fault(const char *format, ...)
{
    va_list args;

    if (atomic_fetch_add(&faults, 1) >= 20)
        return;
    va_start(args, format);
    fputs("stress: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct item make_item(uint32_t sender, uint64_t number)
{
    return (struct item){sender, (uint32_t)(number * 2654435761u) ^ sender, number};
}

static bool is_whole(const struct item *i)
{
    struct item want = make_item(i->sender, i->number);
    return i->check == want.check && i->sender < KINDS;
}

/* --- lives --- */

static void compare(const struct life *l)
{
    bool clean = l->was_clean && l->got_close && l->sent_close;

    if (l->opened > 1 || l->closed != l->opened)
        fault("connection %d: opened %u times, closed %u times", l->index, l->opened, l->closed);
    if (!clean)
        return;
    atomic_fetch_add(&clean_ends, 1);
    if (l->handled != l->sent)
        fault("connection %d: the client sent %llu, handled were %llu", l->index, (unsigned long long)l->sent,
              (unsigned long long)l->handled);
    for (int s = 0; s <= ECHO; s++)
        if (atomic_load(&l->accepted[s]) != l->received[s])
            fault("connection %d: sender %d had %llu accepted, received were %llu", l->index, s,
                  (unsigned long long)atomic_load(&l->accepted[s]), (unsigned long long)l->received[s]);
}

static void life_unref(struct life *l)
{
    if (atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    compare(l);
    atomic_fetch_add(&lives_ended, 1);
    free(l);
}

/* --- the server's side --- */

static void on_request(weft_request *r, void *app)
{
    int index = atoi(weft_request_path(r) + 1);
    weft_accept how = {0};
    struct life *l;

    (void)app;
    pthread_mutex_lock(&lives_lock);
    l = index >= 0 && index < CONNECTIONS ? lives[index] : NULL;
    if (l)
        atomic_fetch_add(&l->refs, 1);
    pthread_mutex_unlock(&lives_lock);
    how.data = l;
    if (!l)
        weft_request_respond(r, 404, NULL, 0, NULL, 0);
    else if (weft_request_accept(r, &how) != WEFT_OK)
        life_unref(l);
}

static void on_open(weft_conn *c, void *app)
{
    struct life *l = weft_conn_data(c);

    (void)app;
    l->opened++;
    pthread_mutex_lock(&lives_lock);
    if (conns[l->index])
        weft_conn_unref(conns[l->index]);
    conns[l->index] = weft_conn_ref(c);
    pthread_mutex_unlock(&lives_lock);
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    struct life *l = weft_conn_data(c);
    const struct item *i = weft_msg_data(m);

    (void)app;
    if (!l->opened || l->closed)
        fault("connection %d: a message outside of open and close", l->index);
    if (weft_msg_bytes(m) != sizeof *i || !is_whole(i) || i->number != l->handled)
        fault("connection %d: handled message %llu where %llu was due", l->index,
              (unsigned long long)i->number, (unsigned long long)l->handled);
    if (++l->handled % 1024 == 0)
        atomic_fetch_add(&handovers, 1024);
    if (l->handled % 16 == 0) {
        struct item *answer;
        weft_msg *reply;
        if (weft_msg_new_raw(&reply, WEFT_BINARY, sizeof *answer, (void **)&answer) != WEFT_OK)
            abort();
        *answer = make_item(ECHO, atomic_load_explicit(&l->accepted[ECHO], memory_order_relaxed));
        if (weft_conn_send(c, reply) == WEFT_OK)
            atomic_fetch_add(&l->accepted[ECHO], 1);
        else
            weft_msg_unref(reply);
    }
    weft_msg_unref(m);
}

static void on_close(weft_conn *c, const weft_close_info *info, void *app)
{
    struct life *l = weft_conn_data(c);

    (void)app;
    pthread_mutex_lock(&lives_lock);
    if (conns[l->index] == c) {
        conns[l->index] = NULL;
        weft_conn_unref(c);
    }
    pthread_mutex_unlock(&lives_lock);
    l->closed++;
    l->was_clean = info->clean;
    atomic_fetch_add(&handovers, l->handled % 1024);
    life_unref(l);
}

static weft_server *start_server(void)
{
    weft_server_opts o = {.size = sizeof o,
                          .on_request = on_request,
                          .on_open = on_open,
                          .on_message = on_message,
                          .on_close = on_close,
                          .io_threads = opt.io_threads,
                          .workers = opt.workers,
                          .inline_handlers = opt.inline_handlers,
                          .inbox_high = 64,
                          .connections_max = 256};
    weft_server *s;
    uint16_t bound;

    if (weft_server_new(&s, &o) != WEFT_OK || weft_server_listen_tcp(s, "127.0.0.1", 0, &bound) != WEFT_OK ||
        weft_server_start(s) != WEFT_OK) {
        fprintf(stderr, "stress: the server does not start\n");
        exit(1);
    }
    atomic_store(&port, bound);
    atomic_fetch_add(&servers, 1);
    return s;
}

/* --- senders --- */

/* A connection to send to, with a reference of it and of its life. */
static weft_conn *pick(uint64_t *random, struct life **life)
{
    unsigned start = (unsigned)(draw(random) % CONNECTIONS);
    weft_conn *c = NULL;

    pthread_mutex_lock(&lives_lock);
    for (unsigned i = 0; i < CONNECTIONS && !c; i++)
        c = conns[(start + i) % CONNECTIONS];
    if (c) {
        weft_conn_ref(c);
        *life = weft_conn_data(c);
        atomic_fetch_add(&(*life)->refs, 1);
    }
    pthread_mutex_unlock(&lives_lock);
    return c;
}

/* The numbers of one sender on one connection are its own, so it needs no lock to count. */
static int send_one(weft_conn *c, struct life *l, unsigned me, bool try)
{
    struct item *i;
    weft_msg *m;
    int rc;

    if (weft_msg_new_raw(&m, WEFT_BINARY, sizeof *i, (void **)&i) != WEFT_OK)
        abort();
    *i = make_item(me, atomic_load_explicit(&l->accepted[me], memory_order_relaxed));
    rc = try ? weft_conn_try_send(c, m) : weft_conn_send(c, m);
    if (rc == WEFT_OK)
        atomic_fetch_add_explicit(&l->accepted[me], 1, memory_order_relaxed);
    else
        weft_msg_unref(m);
    return rc;
}

static void maybe_end(weft_conn *c, uint64_t *random)
{
    uint64_t dice = draw(random) % 4000;

    if (dice < 4)
        weft_conn_close(c, 1000, "enough");
    else if (dice == 4)
        weft_conn_abort(c);
}

static void *sender_main(void *arg)
{
    unsigned me = (unsigned)(uintptr_t)arg;
    uint64_t random = opt.seed * 7919 + me + 1;

    while (!atomic_load(&stopping)) {
        struct life *l;
        weft_conn *c = pick(&random, &l);
        unsigned burst = 1 + (unsigned)(draw(&random) % 64), sent = 0;
        bool try = draw(&random) % 4 == 0;

        if (!c) {
            sched_yield();
            continue;
        }
        while (sent < burst && send_one(c, l, me, try) == WEFT_OK)
            sent++;
        atomic_fetch_add_explicit(&handovers, sent, memory_order_relaxed);
        maybe_end(c, &random);
        weft_conn_unref(c);
        life_unref(l);
        if (!sent)
            sched_yield();
    }
    return NULL;
}

/* One thread broadcasts, so its numbers are in order for every member. It holds the server while it does. */
static void broadcast_once(weft_server *s)
{
    weft_group *g = weft_server_group(s);
    struct item *i;
    weft_msg *m;

    if (weft_msg_new_raw(&m, WEFT_BINARY, sizeof *i, (void **)&i) != WEFT_OK)
        abort();
    *i = make_item(BROADCAST, atomic_fetch_add(&broadcast_number, 1));
    atomic_fetch_add(&handovers, weft_group_count(g));
    if (weft_group_broadcast(g, m, NULL) != WEFT_OK)
        abort();
}

/* --- the client's side --- */

struct client {
    int fd;
    struct life *life;
    uint8_t in[65536];
    size_t in_bytes;
    uint8_t out[BURST * FRAME_BYTES + 8];
    size_t out_at, out_bytes;
    bool is_closing; /* no more messages behind what is in `out` */
    uint64_t random;
};

static void queue_messages(struct client *k)
{
    unsigned count = 1 + (unsigned)(draw(&k->random) % BURST);

    k->out_at = k->out_bytes = 0;
    for (unsigned n = 0; n < count; n++) {
        struct item i = make_item(ECHO, k->life->sent++);
        uint8_t *p = k->out + k->out_bytes;
        memcpy(p, "\x82\x90\0\0\0\0", 6);
        memcpy(p + 6, &i, sizeof i);
        k->out_bytes += FRAME_BYTES;
    }
}

static void queue_close(struct client *k)
{
    memcpy(k->out, "\x88\x82\0\0\0\0\x03\xe8", 8);
    k->out_at = 0;
    k->out_bytes = 8;
    k->is_closing = true;
}

static void end_life(struct client *k)
{
    close(k->fd);
    k->fd = -1;
    pthread_mutex_lock(&lives_lock);
    lives[k->life->index] = NULL;
    pthread_mutex_unlock(&lives_lock);
    life_unref(k->life);
    k->life = NULL;
}

static void begin_life(struct client *k, int index)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct life *l;

    a.sin_port = htons(atomic_load(&port));
    k->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (k->fd < 0 || connect(k->fd, (struct sockaddr *)&a, sizeof a) != 0) {
        if (k->fd >= 0)
            close(k->fd);
        k->fd = -1;
        return;
    }
    fcntl(k->fd, F_SETFL, O_NONBLOCK);
    l = calloc(1, sizeof *l);
    if (!l)
        abort();
    atomic_init(&l->refs, 1);
    l->index = index;
    l->first_broadcast = UINT64_MAX;
    pthread_mutex_lock(&lives_lock);
    lives[index] = l;
    pthread_mutex_unlock(&lives_lock);
    k->life = l;
    k->in_bytes = 0;
    k->is_closing = false;
    k->out_at = 0;
    k->out_bytes =
        (size_t)snprintf((char *)k->out, sizeof k->out,
                         "GET /%d HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                         index);
}

static void check_received(struct life *l, const uint8_t *p, size_t n)
{
    struct item i;
    uint64_t due;

    if (n != sizeof i) {
        fault("connection %d: a message of %zu bytes", l->index, n);
        return;
    }
    memcpy(&i, p, sizeof i);
    if (!is_whole(&i)) {
        fault("connection %d: a message that nobody sent", l->index);
        return;
    }
    if (i.sender == BROADCAST && l->first_broadcast == UINT64_MAX)
        l->first_broadcast = i.number;
    due = l->received[i.sender]++ + (i.sender == BROADCAST ? l->first_broadcast : 0);
    if (i.number != due)
        fault("connection %d: sender %u: received %llu where %llu was due", l->index, i.sender,
              (unsigned long long)i.number, (unsigned long long)due);
}

/* One frame at p; its length, or 0 when it is not whole yet. */
static size_t take_frame(struct client *k, const uint8_t *p, size_t n)
{
    size_t bytes;

    if (n < 2 || n < (bytes = 2u + (p[1] & 0x7f)))
        return 0;
    if (k->life->got_close)
        fault("connection %d: a frame behind the Close frame", k->life->index);
    if (p[0] == 0x82)
        check_received(k->life, p + 2, bytes - 2);
    else if (p[0] == 0x88)
        k->life->got_close = true;
    else if (p[0] != 0x89)
        fault("connection %d: a frame that starts with %02x", k->life->index, p[0]);
    return bytes;
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
    size_t at = 0, used;

    if (!k->life->is_open)
        at = take_response(k);
    while (k->life->is_open && (used = take_frame(k, k->in + at, k->in_bytes - at)) != 0)
        at += used;
    memmove(k->in, k->in + at, k->in_bytes - at);
    k->in_bytes -= at;
}

/* False: the connection has ended. */
static bool read_some(struct client *k)
{
    ssize_t n = recv(k->fd, k->in + k->in_bytes, sizeof k->in - k->in_bytes, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n <= 0)
        return false;
    k->in_bytes += (size_t)n;
    take_input(k);
    return true;
}

static void write_some(struct client *k)
{
    ssize_t n;

    if (k->out_at == k->out_bytes) {
        if (!k->life->is_open || k->is_closing || k->life->sent_close)
            return;
        if (k->life->got_close || draw(&k->random) % 2000 == 0)
            queue_close(k);
        else
            queue_messages(k);
    }
    n = send(k->fd, k->out + k->out_at, k->out_bytes - k->out_at, MSG_NOSIGNAL);
    if (n > 0)
        k->out_at += (size_t)n;
    if (k->is_closing && k->out_at == k->out_bytes)
        k->life->sent_close = true;
}

static void serve_client(struct client *k, short events)
{
    if (events & (POLLIN | POLLHUP | POLLERR) && !read_some(k)) {
        end_life(k);
        return;
    }
    if (events & POLLOUT)
        write_some(k);
}

static bool wants_to_write(const struct client *k)
{
    return k->out_at < k->out_bytes || (k->life->is_open && !k->is_closing && !k->life->sent_close);
}

static void *client_main(void *arg)
{
    int first = (int)(uintptr_t)arg, count = CONNECTIONS / CLIENT_THREADS, alive = 1;
    struct client *clients = calloc((size_t)count, sizeof *clients);
    struct pollfd *polls = calloc((size_t)count, sizeof *polls);

    if (!clients || !polls)
        abort();
    for (int i = 0; i < count; i++) {
        clients[i].fd = -1;
        clients[i].random = opt.seed * 31 + (uint64_t)(first + i) + 1;
    }
    while (!atomic_load(&stopping) || alive) {
        alive = 0;
        for (int i = 0; i < count; i++) {
            struct client *k = &clients[i];
            if (k->fd < 0 && !atomic_load(&stopping) && !atomic_load(&pausing))
                begin_life(k, first + i);
            alive += k->fd >= 0;
            polls[i] = (struct pollfd){.fd = k->fd, .events = POLLIN};
            if (k->fd >= 0 && wants_to_write(k))
                polls[i].events |= POLLOUT;
        }
        poll(polls, (nfds_t)count, 10);
        for (int i = 0; i < count; i++)
            if (clients[i].fd >= 0 && polls[i].revents)
                serve_client(&clients[i], polls[i].revents);
    }
    free(clients);
    free(polls);
    return NULL;
}

/* --- the run --- */

static void stop_server(weft_server *s, uint32_t deadline_ms)
{
    int rc = weft_server_stop(s, deadline_ms);

    if (rc != WEFT_OK)
        fault("stop answered %s", weft_error_name(rc));
    weft_server_unref(s);
}

static void run(void)
{
    uint64_t until_ms = now_ms() + (uint64_t)opt.seconds * 1000, next_ms = now_ms() + 2000;
    uint64_t random = opt.seed + 77;
    weft_server *s = start_server();
    struct timespec pause = {.tv_nsec = 200000};
    pthread_t senders[SENDERS], clients[CLIENT_THREADS];

    for (uintptr_t i = 0; i < CLIENT_THREADS; i++)
        pthread_create(&clients[i], NULL, client_main, (void *)(i * (CONNECTIONS / CLIENT_THREADS)));
    for (uintptr_t i = 0; i < SENDERS; i++)
        pthread_create(&senders[i], NULL, sender_main, (void *)i);
    while (atomic_load(&handovers) < opt.handovers && now_ms() < until_ms && !atomic_load(&faults)) {
        broadcast_once(s);
        nanosleep(&pause, NULL);
        if (now_ms() < next_ms)
            continue;
        /* Another server; now and then without a closing handshake. */
        atomic_store(&pausing, true);
        stop_server(s, draw(&random) % 4 == 0 ? 0 : 10000);
        s = start_server();
        atomic_store(&pausing, false);
        next_ms = now_ms() + 500 + draw(&random) % 2500;
    }
    atomic_store(&stopping, true);
    stop_server(s, 10000);
    for (int i = 0; i < SENDERS; i++)
        pthread_join(senders[i], NULL);
    for (int i = 0; i < CLIENT_THREADS; i++)
        pthread_join(clients[i], NULL);
}

static uint64_t number(const char *text, uint64_t most)
{
    char *end;
    unsigned long long n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno || *end || end == text || *text == '-' || n > most) {
        fprintf(stderr, "stress: '%s' is not a number up to %llu\n", text, (unsigned long long)most);
        exit(2);
    }
    return n;
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"handovers", 1, 0, 'n'}, {"seconds", 1, 0, 's'}, {"seed", 1, 0, 'r'}, {"io-threads", 1, 0, 'i'},
        {"workers", 1, 0, 'w'},   {"inline", 0, 0, 'l'},  {0, 0, 0, 0}};
    int o;

    while ((o = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (o) {
        case 'n':
            opt.handovers = number(optarg, UINT64_MAX / 2);
            break;
        case 's':
            opt.seconds = (unsigned)number(optarg, 100000);
            break;
        case 'r':
            opt.seed = number(optarg, UINT32_MAX);
            break;
        case 'i':
            opt.io_threads = (unsigned)number(optarg, 64);
            break;
        case 'w':
            opt.workers = (unsigned)number(optarg, 256);
            break;
        case 'l':
            opt.inline_handlers = true;
            break;
        default:
            fprintf(stderr,
                    "usage: stress [--handovers N] [--seconds S] [--seed R] [--io-threads N] [--workers N] "
                    "[--inline]\n");
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t start_ms = now_ms();
    bool is_good;

    read_options(argc, argv);
    mem_count_live(true);
    run();
    if (mem_live_blocks() != 0)
        fault("%lld blocks of memory are left", (long long)mem_live_blocks());
    is_good = atomic_load(&faults) == 0;
    printf(
        "%llu hand-overs, %llu connections (%llu closed cleanly), %llu broadcasts, %llu servers in %.1f s\n",
        (unsigned long long)atomic_load(&handovers), (unsigned long long)atomic_load(&lives_ended),
        (unsigned long long)atomic_load(&clean_ends), (unsigned long long)atomic_load(&broadcast_number),
        (unsigned long long)atomic_load(&servers), (double)(now_ms() - start_ms) / 1000);
    printf("stress: %d passed, %d failed\n", is_good, !is_good);
    return is_good ? 0 : 1;
}
