/* Opens, writes to, reads and ends connections; see conn.h. */
#include "conn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/mem.h"
#include "loader.h"
#include "receive.h"
#include "channel.h"

/* From this size on a body is not copied but pointed at; up to FRAMES_POINTED in one sendmsg. */
#define POINTED_BODY_BYTES 4096
#define FRAMES_POINTED     16
#define REQUEST_BYTES_MAX  16384

struct conn_control {
    unsigned bytes, done;
    unsigned begun; /* bytes of a first frame of which some are sent, so that it stays; another may follow */
    uint8_t frames[2 * FRAME_WHOLE_CONTROL_MAX];
};

/* --- its end --- */

void conn_end(struct conn *c)
{
    struct loader *l = c->loader;

    if (c->state == CONN_CONNECTING || c->state == CONN_HANDSHAKE)
        l->opening--;
    else if (c->state != CONN_IDLE)
        l->open--;
    channel_end(c);
    if (c->fd >= 0)
        close(c->fd);
    weft_proto_free(c->handshake);
    mem_free(c->control);
    mem_free(c->gathered);
    c->handshake = NULL;
    c->control = NULL;
    c->gathered = NULL;
    c->fd = -1;
    c->state = CONN_IDLE;
}

static void explain(struct conn *c, const char *why)
{
    struct loader *l = c->loader;

    if (l->explained++ < LOADER_EXPLAINED_MAX)
        fprintf(stderr, "weft-bench: connection %u: %s\n", c->number, why);
    else if (l->explained == LOADER_EXPLAINED_MAX + 1)
        fprintf(stderr, "weft-bench: more of them are only counted\n");
}

void conn_failed(struct conn *c, enum bench_error error, const char *why)
{
    struct loader *l = c->loader;

    if (l->phase < PHASE_CLOSE) {
        l->tally.errors[error]++;
        explain(c, why);
    }
    conn_end(c);
    l->run->mode->ended(c, true);
}

/* A connection that was open, or on its way. */
static void fail_with_errno(struct conn *c, const char *what, int error)
{
    bool was_open = c->state == CONN_OPEN || c->state == CONN_CLOSING;
    char why[256];

    snprintf(why, sizeof why, "%s: %s%s", what, strerror(error),
             error == EADDRNOTAVAIL ? " (out of local ports? see --src)" : "");
    conn_failed(c, was_open ? ERROR_DROPPED : ERROR_CONNECT, why);
}

/* --- the socket --- */

static void watch(struct conn *c, bool for_writing)
{
    struct epoll_event e = {.events = EPOLLIN | (for_writing ? EPOLLOUT : 0u), .data.ptr = c};

    if (c->waits_to_write != for_writing && epoll_ctl(c->loader->epoll_fd, EPOLL_CTL_MOD, c->fd, &e) != 0)
        return; /* the next event shows what is wrong with it */
    c->waits_to_write = for_writing;
}

/* --- writing --- */

void conn_control(struct conn *c, enum frame_opcode opcode, const void *payload, size_t bytes)
{
    struct conn_control *control = c->control ? c->control : mem_calloc(1, sizeof *control);

    if (!control)
        return;
    control->bytes = control->begun + frame_write_control(control->frames + control->begun, opcode, payload,
                                                          bytes, c->loader->run->payload->key);
    c->control = control;
}

static void note_sent(struct conn_control *control, unsigned sent)
{
    control->done += sent;
    if (control->begun && control->done >= control->begun) {
        memmove(control->frames, control->frames + control->begun, control->bytes - control->begun);
        control->done -= control->begun;
        control->bytes -= control->begun;
        control->begun = 0;
    }
    if (control->done && !control->begun)
        control->begun = control->bytes;
}

/* Returns what send did; *all is how much it was asked for. */
static ssize_t send_control(struct conn *c, size_t *all)
{
    struct conn_control *control = c->control;
    struct iovec part = {control->frames + control->done, control->bytes - control->done};
    ssize_t sent = channel_send(c, &part, 1);

    *all = part.iov_len;
    if (sent > 0 && sent < (ssize_t)part.iov_len)
        note_sent(control, (unsigned)sent);
    if (sent == (ssize_t)part.iov_len) {
        mem_free(control);
        c->control = NULL;
    }
    return sent;
}

static struct payload_name name_of(const struct conn *c, uint32_t sequence)
{
    return (struct payload_name){.from = c->number, .sequence = sequence};
}

/* Small frames are copied together, from the one that is half sent on. */
static ssize_t send_copied(struct conn *c, const struct payload *p, size_t *all)
{
    uint8_t *bytes = c->loader->scratch, *next = bytes;
    size_t most = LOADER_SCRATCH_BYTES / p->frame_bytes;
    struct iovec part;

    for (uint32_t s = c->tx_seq; s != c->tx_due && most; s++, most--) {
        struct payload_name name = name_of(c, s);
        next += payload_front(p, name, next);
        memcpy(next, payload_body(p, name), p->body_bytes);
        next += p->body_bytes;
    }
    part = (struct iovec){bytes + c->tx_offset, (size_t)(next - bytes) - c->tx_offset};
    *all = part.iov_len;
    return channel_send(c, &part, 1);
}

/* Of large ones only the fronts are written, and the bodies lie where they lay. */
static ssize_t send_pointed(struct conn *c, const struct payload *p, size_t *all)
{
    uint8_t fronts[FRAMES_POINTED][PAYLOAD_FRONT_MAX];
    struct iovec parts[2 * FRAMES_POINTED], *first = parts;
    size_t count = 0, skip = c->tx_offset;

    *all = 0;
    for (uint32_t s = c->tx_seq; s != c->tx_due && count < 2 * FRAMES_POINTED; s++, count += 2) {
        struct payload_name name = name_of(c, s);
        parts[count] = (struct iovec){fronts[count / 2], payload_front(p, name, fronts[count / 2])};
        parts[count + 1] = (struct iovec){(void *)payload_body(p, name), p->body_bytes};
        *all += p->frame_bytes;
    }
    *all -= skip;
    if (skip >= first->iov_len) {
        skip -= first->iov_len;
        first++;
        count--;
    }
    first->iov_base = (uint8_t *)first->iov_base + skip;
    first->iov_len -= skip;
    return channel_send(c, first, count);
}

/* The frames that are due, as many as go into one call. */
static ssize_t send_frames(struct conn *c, size_t *all)
{
    const struct payload *p = c->loader->run->payload;
    ssize_t sent = p->body_bytes < POINTED_BODY_BYTES ? send_copied(c, p, all) : send_pointed(c, p, all);

    if (sent > 0) {
        size_t done = c->tx_offset + (size_t)sent;
        c->tx_seq += (uint32_t)(done / p->frame_bytes);
        c->tx_offset = done % p->frame_bytes;
        c->loader->progress_ns = c->loader->now_ns;
    }
    return sent;
}

bool conn_flush(struct conn *c)
{
    while (c->control || c->tx_seq != c->tx_due) {
        size_t all;
        ssize_t sent = c->control && c->tx_offset == 0 ? send_control(c, &all) : send_frames(c, &all);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            fail_with_errno(c, "send", errno);
            return false;
        }
        if (sent < (ssize_t)all) {
            watch(c, true);
            return true;
        }
    }
    if (!channel_flush(c)) {
        if (errno != EAGAIN) {
            fail_with_errno(c, "send", errno);
            return false;
        }
        watch(c, true);
    } else if (c->waits_to_write) {
        watch(c, false);
    }
    return true;
}

static bool shakes_hands(const struct run *run)
{
    return !run->payload->is_raw || run->mode->shakes_hands_raw;
}

/* A frame that is half sent is finished before the Close frame. */
void conn_close(struct conn *c, uint16_t code)
{
    const struct run *run = c->loader->run;
    uint8_t payload[FRAME_CONTROL_BYTES_MAX];

    c->state = CONN_CLOSING;
    c->closing_ns = c->loader->now_ns;
    c->tx_due = c->tx_seq + (c->tx_offset != 0);
    if (!shakes_hands(run)) {
        conn_end(c);
        run->mode->ended(c, false);
        return;
    }
    conn_control(c, FRAME_CLOSE, payload, frame_write_close_payload(payload, code, NULL, 0));
    conn_flush(c);
}

/* --- opening --- */

static void opened(struct conn *c)
{
    struct loader *l = c->loader;

    weft_proto_free(c->handshake);
    c->handshake = NULL;
    c->state = CONN_OPEN;
    l->opening--;
    l->open++;
    l->progress_ns = l->now_ns;
    histogram_add(&l->tally.handshake, l->now_ns - c->started_ns);
    if (l->run->mode->opened)
        l->run->mode->opened(c);
}

/* Masks and keys of a load need not be hard to guess, and getrandom for each is a system call. */
static int draw(void *out, size_t bytes, void *arg)
{
    struct loader *l = arg;

    for (size_t i = 0; i < bytes; i++) {
        l->random = l->random * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)out)[i] = (uint8_t)(l->random >> 56);
    }
    return 0;
}

/* The request with the headers of the command line; 0: it is too long. */
static size_t write_request(struct conn *c, char *out, size_t room)
{
    const struct options *o = c->loader->run->options;
    const void *bytes;
    size_t held = weft_proto_output(c->handshake, &bytes) - 2; /* the empty line comes last */

    if (held + 2 > room)
        return 0;
    memcpy(out, bytes, held);
    for (size_t i = 0; i < o->header_count; i++) {
        size_t more = strlen(o->headers[i]) + 2;
        if (held + more + 2 > room)
            return 0;
        memcpy(out + held, o->headers[i], more - 2);
        memcpy(out + held + more - 2, "\r\n", 2);
        held += more;
    }
    memcpy(out + held, "\r\n", 2);
    return held + 2;
}

static int new_handshake(struct conn *c)
{
    const struct run *run = c->loader->run;
    weft_proto_opts opts = {.size = sizeof opts,
                            .role = WEFT_PROTO_CLIENT,
                            .random = draw,
                            .random_arg = c->loader,
                            .host = run->target->host,
                            .port = run->target->port == (run->tls ? 443 : 80) ? 0 : run->target->port,
                            .target = run->target->path,
                            .origin = run->options->origin,
                            .compression = {.is_off = true}};

    return weft_proto_new(&c->handshake, &opts, c->loader->now_ns / 1000000u);
}

static void send_request(struct conn *c)
{
    char request[REQUEST_BYTES_MAX];
    struct iovec part = {request, 0};
    ssize_t sent;
    int rc = new_handshake(c);

    if (rc != WEFT_OK) {
        conn_failed(c, ERROR_CONNECT, weft_strerror(rc));
        return;
    }
    part.iov_len = write_request(c, request, sizeof request);
    sent = part.iov_len ? channel_send(c, &part, 1) : -1;
    if (sent == (ssize_t)part.iov_len)
        c->state = CONN_HANDSHAKE;
    else if (part.iov_len && sent < 0)
        fail_with_errno(c, "send", errno);
    else
        conn_failed(c, ERROR_CONNECT, "the request is too long");
}

static void connected_through(struct conn *c)
{
    if (shakes_hands(c->loader->run))
        send_request(c);
    else
        opened(c);
}

/* As far as it goes now. */
static void shake(struct conn *c)
{
    char why[256];
    int rc = channel_shake(c);

    if (rc == WEFT_E_AGAIN) {
        watch(c, !channel_flush(c));
    } else if (rc != WEFT_OK) {
        conn_failed(c, ERROR_CONNECT, channel_fault(c, why, sizeof why));
    } else {
        c->is_shaking = false;
        watch(c, !channel_flush(c));
        connected_through(c);
    }
}

static void begin_tls(struct conn *c)
{
    c->state = CONN_HANDSHAKE;
    c->is_shaking = true;
    shake(c);
}

static void connected(struct conn *c)
{
    int error = 0;
    socklen_t room = sizeof error;

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &room) != 0 || error) {
        fail_with_errno(c, "connect", error ? error : errno);
        return;
    }
    watch(c, false);
    if (!channel_begin(c))
        conn_failed(c, ERROR_CONNECT, "no memory");
    else if (c->tls)
        begin_tls(c);
    else
        connected_through(c);
}

/* raw: False: the connection is gone. */
static bool take_request_back(struct conn *c, const uint8_t *p, size_t n)
{
    char request[REQUEST_BYTES_MAX];
    size_t left = write_request(c, request, sizeof request) - c->request_back;

    if (n > left || memcmp(request + c->request_back, p, n) != 0) {
        conn_failed(c, ERROR_CONTENT, "the bytes of the handshake came back changed");
        return false;
    }
    c->request_back += (uint32_t)n;
    if (n == left)
        opened(c);
    return c->fd >= 0;
}

/* False: the connection is gone. */
static bool feed_handshake(struct conn *c, const uint8_t *p, size_t n)
{
    weft_proto_event event;
    size_t used = 0;
    char why[160];

    if (c->loader->run->options->raw)
        return take_request_back(c, p, n);
    switch (weft_proto_feed(c->handshake, p, n, &used, c->loader->now_ns / 1000000u, &event)) {
    case WEFT_PROTO_OPEN:
        opened(c);
        return c->fd >= 0 && (used == n || receive_feed(c, p + used, n - used));
    case WEFT_PROTO_FAIL:
        snprintf(why, sizeof why, "the handshake was refused: %s (status %u)", event.text, event.code);
        conn_failed(c, ERROR_CONNECT, why);
        return false;
    default:
        return true;
    }
}

bool conn_start(struct conn *c)
{
    struct loader *l = c->loader;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    uint64_t started_ns = clock_now_ns();
    int fd = target_connect(l->run->target, (uint32_t)(l->starts * l->run->options->threads + l->index));

    if (fd == -EAGAIN)
        return false;
    *c = (struct conn){.loader = l, .fd = fd < 0 ? -1 : fd, .number = c->number, .slot = c->slot};
    c->state = CONN_CONNECTING;
    c->waits_to_write = true;
    c->started_ns = started_ns;
    l->starts++;
    l->opening++;
    if (fd < 0)
        fail_with_errno(c, "connect", -fd);
    else if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0)
        fail_with_errno(c, "epoll_ctl", errno);
    return true;
}

/* --- events --- */

static void server_ended(struct conn *c, int error)
{
    struct loader *l = c->loader;

    if (error) {
        fail_with_errno(c, "receive", error);
    } else if (c->state == CONN_CLOSING && (c->got_close || l->phase == PHASE_CLOSE)) {
        conn_end(c);
        l->run->mode->ended(c, false);
    } else if (c->state == CONN_HANDSHAKE) {
        conn_failed(c, ERROR_CONNECT, "the server closed it in the handshake");
    } else {
        conn_failed(c, ERROR_DROPPED, "the server ended it without a Close frame");
    }
}

static void read_once(struct conn *c)
{
    struct loader *l = c->loader;
    ssize_t got = channel_receive(c, l->read_bytes, LOADER_READ_BYTES);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    l->now_ns = clock_now_ns();
    if (got <= 0) {
        server_ended(c, got < 0 ? errno : 0);
        return;
    }
    if (c->state == CONN_HANDSHAKE ? !feed_handshake(c, l->read_bytes, (size_t)got)
                                   : !receive_feed(c, l->read_bytes, (size_t)got))
        return;
    if ((c->control || c->tx_seq != c->tx_due) && !c->waits_to_write)
        conn_flush(c);
}

static void readable(struct conn *c)
{
    do
        read_once(c);
    while (c->fd >= 0 && channel_may_have_more(c));
}

void conn_heard(struct conn *c, uint32_t events)
{
    if (c->state == CONN_CONNECTING) {
        connected(c);
        return;
    }
    if (c->is_shaking) {
        shake(c);
        if (c->fd < 0 || c->is_shaking || !channel_may_have_more(c))
            return;
        events |= EPOLLIN;
    }
    if (events & ~(uint32_t)EPOLLOUT && c->fd >= 0)
        readable(c);
    if (events & EPOLLOUT && c->fd >= 0 && c->waits_to_write)
        conn_flush(c);
}
