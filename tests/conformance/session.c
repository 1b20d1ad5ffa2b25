/* The states and timers of one connection; see session.h. */
#include "session.h"

#include "request.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES (256u * 1024u)

void session_trace(const struct session *s, const char *arrow, uint8_t first_octet, size_t bytes)
{
    if (s->options->verbose)
        printf("%-8s %s %s%s opcode %x, %zu octets\n", s->c->id, arrow, first_octet & FIN ? "FIN" : "-",
               first_octet & RSV(7) ? " RSV" : "", first_octet & 0x0f, bytes);
}

void session_timer(struct session *s, enum timer timer, uint32_t ms, uint64_t now_ns)
{
    bool is_pause = timer == TIMER_PAUSE || timer == TIMER_END_TCP;
    unsigned factor = is_pause ? s->options->pauses : s->options->patience;

    s->deadline_ns[timer] = now_ns + (uint64_t)ms * factor * MS_NS;
}

static void stop_timers(struct session *s)
{
    memset(s->deadline_ns, 0, sizeof s->deadline_ns);
}

static void gone(struct session *s, enum side dropped_by, uint64_t now_ns)
{
    struct record *r = &s->record;

    if (s->state == GONE)
        return;
    r->dropped_by = dropped_by;
    r->ended_ns = now_ns;
    if (r->opened && r->closed_first == SIDE_NONE)
        r->closed_first = dropped_by;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->state = GONE;
    stop_timers(s);
    if (s->options->verbose)
        printf("%-8s TCP dropped by the %s\n", s->c->id, dropped_by == SIDE_PEER ? "peer" : "tester");
}

static void refuse(struct session *s, const char *why, uint64_t now_ns)
{
    s->record.trouble = why;
    gone(s, SIDE_TESTER, now_ns);
}

static void force(struct session *s, uint64_t now_ns)
{
    s->record.forced = true;
    gone(s, SIDE_TESTER, now_ns);
}

static void begin(struct session *s, const struct conf_case *c, const struct session_options *options,
                  uint64_t now_ns)
{
    *s = (struct session){.c = c, .options = options, .role = options->role, .next = c->steps, .fd = -1};
    s->record.begun_ns = now_ns;
    s->record.peer_code = NO_CODE;
    session_timer(s, TIMER_PHASE, OPENING_LIMIT_MS, now_ns);
}

void session_start(struct session *s, const struct conf_case *c, const struct target *t,
                   const struct session_options *options, uint64_t now_ns)
{
    const struct addrinfo *a = t->address;
    int one = 1;

    begin(s, c, options, now_ns);
    ws_key_make(s->key);
    handshake_request(&s->out.octets, t, s->key, c->pmd ? c->pmd->offer : NULL);
    outgoing_end_frame(&s->out, 0, false);
    s->fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
    if (s->fd < 0) {
        refuse(s, strerror(errno), now_ns);
        return;
    }
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(s->fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS)
        refuse(s, strerror(errno), now_ns);
}

void session_accept(struct session *s, const struct conf_case *c, int fd, const char *host,
                    struct choices *choices, const struct session_options *options, uint64_t now_ns)
{
    int one = 1;

    begin(s, c, options, now_ns);
    s->fd = fd;
    s->host = host;
    s->choices = choices;
    s->state = OPENING;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

short session_poll_events(const struct session *s)
{
    if (s->state == CONNECTING)
        return POLLOUT;
    return POLLIN | (s->out_blocked ? POLLOUT : 0);
}

static void sooner(uint64_t *first_ns, uint64_t candidate_ns)
{
    if (candidate_ns != 0 && (*first_ns == 0 || candidate_ns < *first_ns))
        *first_ns = candidate_ns;
}

uint64_t session_deadline_ns(const struct session *s)
{
    uint64_t first_ns = 0;

    if (s->state == GONE)
        return 1; /* long past: it waits to be reaped */
    for (int i = 0; i < TIMER_COUNT; i++)
        sooner(&first_ns, s->deadline_ns[i]);
    if (s->state != CONNECTING && !outgoing_is_empty(&s->out) && !s->out_blocked)
        sooner(&first_ns, s->out.not_before_ns);
    return first_ns;
}

void session_frame(struct session *s, uint8_t first_octet, const uint8_t *payload, size_t bytes)
{
    session_trace(s, ">", first_octet, bytes);
    ws_frame_put(&s->out.octets, first_octet, s->role->masks, payload, bytes);
    outgoing_end_frame(&s->out, 0, false);
}

void session_end_tcp(struct session *s, uint64_t now_ns)
{
    s->must_end_tcp = true;
    if (s->state != OPEN)
        return;
    s->record.closed_first = SIDE_TESTER;
    s->state = CLOSING;
    session_timer(s, TIMER_PHASE, TCP_DROP_MS, now_ns);
}

void session_close(struct session *s, int code, const struct payload *reason, uint64_t now_ns)
{
    uint8_t payload[2 + 256];
    size_t bytes = 0;

    if (code != NO_CODE) {
        payload[bytes++] = (uint8_t)(code >> 8);
        payload[bytes++] = (uint8_t)code;
    }
    if (reason && reason->bytes <= 256) {
        payload_copy(reason, payload + bytes);
        bytes += reason->bytes;
    }
    session_frame(s, FIN | OP_CLOSE, payload, bytes);
    s->record.close_sent = true;
    if (s->state != OPEN)
        return;
    s->record.closed_first = SIDE_TESTER;
    s->state = CLOSING;
    session_timer(s, TIMER_PHASE, CLOSE_ANSWER_MS, now_ns);
}

void session_fail(struct session *s, int code, const char *trouble, uint64_t now_ns)
{
    if (!s->record.trouble)
        s->record.trouble = trouble;
    s->deaf = true;
    if (s->state == OPEN)
        session_close(s, code, NULL, now_ns);
}

void session_event(struct session *s, struct event event, uint64_t now_ns)
{
    struct record *r = &s->record;

    record_event(r, event);
    if (r->event_count > EVENTS_MAX) {
        session_fail(s, 1008, "more messages than any case asks for", now_ns);
        return;
    }
    if (s->state != OPEN || s->c->closing.by != SIDE_TESTER || !s->c->ok)
        return;
    /* A record that has gone wrong cannot be mended: waiting for a limit of 1000 s would show nothing more.
     */
    if (record_equals(r, s->c->ok) || !record_begins(r, s->c->ok))
        session_close(s, 1000, NULL, now_ns);
}

void session_peer_closed(struct session *s, const uint8_t *payload, size_t bytes, uint64_t now_ns)
{
    struct record *r = &s->record;

    r->close_received = true;
    if (bytes >= 2)
        r->peer_code = payload[0] << 8 | payload[1];
    r->close_malformed = bytes == 1 || (bytes > 2 && !ws_utf8_is_valid(payload + 2, bytes - 2));
    if (s->state == OPEN) {
        r->closed_first = SIDE_PEER;
        s->state = CLOSED;
        session_close(s, ws_close_code_is_valid(r->peer_code) ? r->peer_code : NO_CODE, NULL, now_ns);
    }
    s->state = CLOSED;
    stop_timers(s);
    s->must_end_tcp = s->role->ends_tcp_first && s->c->tcp_delay_ms == 0;
    if (s->role->ends_tcp_first && !s->must_end_tcp)
        session_timer(s, TIMER_END_TCP, s->c->tcp_delay_ms, now_ns);
    session_timer(s, TIMER_PHASE, TCP_DROP_MS + s->c->tcp_delay_ms, now_ns);
}

static void connected(struct session *s, uint64_t now_ns)
{
    int error = 0;
    socklen_t length = sizeof error;

    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) {
        refuse(s, strerror(error ? error : errno), now_ns);
        return;
    }
    s->state = OPENING;
}

static void put_answer(struct session *s, const struct reply *reply, const struct pmd_terms *agreed)
{
    request_answer(&s->out.octets, reply, s->key, agreed);
    outgoing_end_frame(&s->out, reply ? reply->chop_bytes : 0, !reply || !reply->glued);
}

/* The trouble stays with the case; the client is told in HTTP. */
static void refuse_request(struct session *s, const char *why)
{
    s->record.trouble = why;
    s->deaf = true;
    put_answer(s, &request_bad, NULL);
    s->must_end_tcp = true;
}

/* As of handshake_response; a request that is taken has been answered. */
static int64_t take_request(struct session *s, const char **why)
{
    struct request request;
    struct pmd_terms agreed;
    bool is_agreed;
    int64_t bytes = request_read(&s->in, s->host, &request, why);

    if (bytes <= 0)
        return bytes;
    strcpy(s->key, request.key);
    *why = "the key of the connection before";
    if (strcmp(s->key, s->choices->key) == 0)
        return HANDSHAKE_REFUSED;
    *why = "frames before the handshake was answered";
    if ((size_t)bytes < s->in.bytes)
        return HANDSHAKE_REFUSED;
    strcpy(s->choices->key, s->key);
    is_agreed = s->c->pmd && request_agrees(&request, s->c->pmd, &agreed);
    if (is_agreed)
        s->pmd = pmd_new(&agreed, false);
    put_answer(s, s->c->reply, is_agreed ? &agreed : NULL);
    return bytes;
}

/* As of handshake_response. */
static int64_t take_response(struct session *s, const char **why)
{
    struct pmd_terms agreed;
    bool is_agreed = false;
    int64_t bytes = handshake_response(&s->in, s->key, s->c->pmd ? &agreed : NULL, &is_agreed, why);

    if (bytes > 0 && is_agreed)
        s->pmd = pmd_new(&agreed, true);
    return bytes;
}

static void open_handshake(struct session *s, uint64_t now_ns)
{
    const char *why;
    int64_t bytes = s->role->connects ? take_response(s, &why) : take_request(s, &why);

    if (bytes == HANDSHAKE_MORE)
        return;
    if (bytes == HANDSHAKE_REFUSED) {
        if (s->role->connects)
            refuse(s, why, now_ns);
        else
            refuse_request(s, why);
        return;
    }
    octets_drop_front(&s->in, (size_t)bytes);
    s->record.opened = true;
    s->state = OPEN;
    s->deadline_ns[TIMER_PHASE] = 0;
    s->record.unimplemented = s->c->pmd && !s->c->pmd->may_decline && !s->pmd;
    if (s->record.unimplemented)
        session_close(s, 1000, NULL, now_ns);
    else
        script_run(s, now_ns);
}

static void take(struct session *s, uint64_t now_ns)
{
    if (s->state == OPENING && !s->deaf)
        open_handshake(s, now_ns);
    if (s->state == OPEN || s->state == CLOSING)
        incoming_read(s, now_ns);
    if (s->state == CLOSED && s->in.bytes > 0)
        s->record.octets_after_close = true;
    if (s->state == CLOSED || s->deaf)
        s->in.bytes = 0;
}

static void receive(struct session *s, uint64_t now_ns)
{
    static uint8_t buffer[READ_BYTES];
    ssize_t n = recv(s->fd, buffer, sizeof buffer, MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        if (s->state == OPENING)
            s->record.trouble =
                s->record.trouble ? s->record.trouble : "TCP ended before the opening handshake did";
        gone(s, s->has_ended_tcp ? SIDE_TESTER : SIDE_PEER, now_ns);
        return;
    }
    octets_put(&s->in, buffer, (size_t)n);
    take(s, now_ns);
}

static void expire(struct session *s, enum timer timer, uint64_t now_ns)
{
    s->deadline_ns[timer] = 0;
    if (timer == TIMER_PHASE) {
        if (s->state < OPEN && !s->record.trouble)
            s->record.trouble = "the opening handshake took too long";
        force(s, now_ns);
    } else if (timer == TIMER_END_TCP) {
        s->must_end_tcp = true;
    } else if (timer == TIMER_PAUSE || timer == TIMER_AWAIT_END) {
        script_resume(s, now_ns);
    } else if (s->state == OPEN) {
        s->record.limit_over = s->record.limit_over || timer == TIMER_LIMIT;
        session_close(s, timer == TIMER_KILL ? 1001 : NO_CODE, NULL, now_ns);
    } else if (timer == TIMER_KILL && s->state == CLOSING) {
        force(s, now_ns);
    }
}

static void send_waiting(struct session *s, uint64_t now_ns)
{
    s->out_blocked = !outgoing_write(&s->out, s->fd, now_ns);
    if (!s->must_end_tcp || s->has_ended_tcp || !outgoing_is_empty(&s->out))
        return;
    shutdown(s->fd, SHUT_WR);
    s->has_ended_tcp = true;
}

void session_turn(struct session *s, short revents, uint64_t now_ns)
{
    if (s->state == CONNECTING && revents)
        connected(s, now_ns);
    else if (s->state > CONNECTING && s->state < GONE && revents & (POLLIN | POLLHUP | POLLERR))
        receive(s, now_ns);
    for (int i = 0; i < TIMER_COUNT; i++)
        if (s->deadline_ns[i] != 0 && now_ns >= s->deadline_ns[i])
            expire(s, (enum timer)i, now_ns);
    if (s->state > CONNECTING && s->state < GONE)
        send_waiting(s, now_ns);
}

void session_postpone(struct session *s, uint64_t busy_ns)
{
    for (int i = 0; i < TIMER_COUNT; i++)
        if (s->deadline_ns[i] != 0 && i != TIMER_PAUSE)
            s->deadline_ns[i] += busy_ns;
}

void session_fini(struct session *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    octets_fini(&s->in);
    octets_fini(&s->message);
    octets_fini(&s->held);
    octets_fini(&s->slice);
    pmd_free(s->pmd);
    outgoing_fini(&s->out);
    record_fini(&s->record);
}
