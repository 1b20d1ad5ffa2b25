/* Whole sessions of a server, from a script of bytes; see script.h. */
#include "script.h"

#include "api/group.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/endpoint.h"
#include "fuzz.h"
#include "proto/http.h"
#include "proto/session.h"
#include "stage.h"
#include "weft/weft.h"
#include "wire.h"

#define SENT_MAX          512
#define OUTBOX_BYTES_MAX  60000u
#define MESSAGE_BYTES_MAX 40000u

static const char handshake[] =
    "GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

/* One connection as the program sees it; place i of the stage. */
struct seen {
    weft_conn *conn; /* a reference of ours */
    bool was_open, was_closed;
    unsigned messages;
    uint64_t sent[SENT_MAX]; /* digests of what was accepted for sending, oldest first */
    unsigned sent_count;
};

static struct seen seen[STAGE_SOCKETS_MAX];
static weft_group *group;
static weft_request *deferred;
static struct fuzz_input script;
static unsigned opened_count;

static uint64_t digest(const void *p, size_t n)
{
    const uint8_t *bytes = p;
    uint64_t h = 1469598103934665603u + n;

    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * 1099511628211u;
    return h;
}

/* --- the program --- */

static bool had_no_memory(int rc)
{
    return rc == WEFT_E_NOMEM && mem_fail_happened();
}

static void on_request(weft_request *r, void *app)
{
    const char *path = weft_request_path(r);
    weft_accept how = {.subprotocol = weft_request_offers(r, "chat") ? "chat" : NULL};

    (void)app;
    if (strcmp(path, "/later") == 0 && !deferred)
        deferred = weft_request_ref(r);
    else if (strcmp(path, "/page") == 0)
        weft_request_respond(r, 200, NULL, 0, "page", 4);
    else if (strcmp(path, "/secret") == 0 && !weft_request_basic_matches(r, "u", "p"))
        weft_request_challenge(r, "here");
    else if (weft_request_is_upgrade(r))
        weft_request_accept(r, &how);
    /* else the library answers */
}

static struct seen *seen_of(weft_conn *c)
{
    return weft_conn_data(c);
}

static void on_open(weft_conn *c, void *app)
{
    struct seen *s = &seen[opened_count++];
    int rc;

    (void)app;
    MUST(opened_count <= STAGE_SOCKETS_MAX);
    s->conn = weft_conn_ref(c);
    s->was_open = true;
    weft_conn_set_data(c, s);
    rc = weft_group_add(group, c);
    MUST(rc == WEFT_OK || rc == WEFT_E_CLOSED || had_no_memory(rc)); /* it may have ended before */
}

static void send_one(struct seen *s, weft_msg *m)
{
    uint64_t d = digest(weft_msg_data(m), weft_msg_bytes(m));

    if (s->sent_count < SENT_MAX && weft_conn_send(s->conn, m) == WEFT_OK)
        s->sent[s->sent_count++] = d;
    else
        weft_msg_unref(m);
    MUST(weft_conn_outbox_bytes(s->conn) <= OUTBOX_BYTES_MAX + MESSAGE_BYTES_MAX + 1000);
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    struct seen *s = seen_of(c);

    (void)app;
    MUST(s && s->was_open && !s->was_closed);
    MUST(weft_msg_bytes(m) <= MESSAGE_BYTES_MAX);
    s->messages++;
    if (weft_msg_bytes(m) && *(const char *)weft_msg_data(m) == 'X')
        weft_conn_close(c, 1000, "as asked");
    send_one(s, m);
}

static void on_drain(weft_conn *c, void *app)
{
    (void)app;
    MUST(seen_of(c) && !seen_of(c)->was_closed);
}

static void on_close(weft_conn *c, const weft_close_info *info, void *app)
{
    struct seen *s = seen_of(c);
    int rc;

    (void)app;
    MUST(s && s->was_open && !s->was_closed);
    MUST(!info->clean || (info->sent_code != 1006 && info->received_code != 1006));
    s->was_closed = true;
    rc = weft_conn_send_text(c, "too late");
    MUST(rc == WEFT_E_CLOSED || had_no_memory(rc));
}

static void left(struct weft_conn *c, void *arg)
{
    (void)arg;
    group_leave_all(c);
}

/* --- the script --- */

static struct stage_socket *chosen(unsigned b)
{
    struct stage_socket *s = &stage_sockets[b >> 5];

    return s->is_open ? s : NULL;
}

static struct seen *chosen_seen(unsigned b)
{
    struct seen *s = &seen[b >> 5];

    return s->was_open ? s : NULL;
}

static void send_frame(struct stage_socket *s, unsigned first, const void *p, size_t n)
{
    struct wire w;

    wire_init(&w, true);
    wire_frame(&w, first, p, n);
    stage_send(s, w.p, w.bytes);
    wire_fini(&w);
}

static void send_raw(struct stage_socket *s)
{
    size_t n = fuzz_byte(&script);

    n = n < script.n ? n : script.n;
    stage_send(s, script.p, n);
    script.p += n;
    script.n -= n;
}

static void send_handshake(struct stage_socket *s)
{
    stage_send(s, handshake, sizeof handshake - 1);
    stage_send(s, "\r\n", 2);
}

static void send_request(struct stage_socket *s)
{
    static const char *const more[] = {"\r\n", "Sec-WebSocket-Protocol: chat\r\n\r\n",
                                       "Origin: http://x\r\n\r\n",
                                       "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"};
    static const char *const paths[] = {"/chat", "/later", "/page", "/secret"};
    unsigned how = fuzz_byte(&script);
    char text[512];

    snprintf(text, sizeof text, "GET %s%s%s", paths[how & 3], handshake + 9, more[how >> 2 & 3]);
    if (how & 16)
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", paths[how & 3]);
    stage_send(s, text, strlen(text));
}

static void send_filled(struct stage_socket *s, unsigned first)
{
    static uint8_t payload[65536];
    size_t n = fuzz_number(&script);

    memset(payload, 'a' + (int)(n % 20), n);
    send_frame(s, first, payload, n);
}

static void send_short(struct stage_socket *s, unsigned first)
{
    size_t n = fuzz_byte(&script);

    n = n < script.n ? n : script.n;
    send_frame(s, first, script.p, n);
    script.p += n;
    script.n -= n;
}

static void broadcast(void)
{
    static char payload[65536];
    size_t n = 2 + fuzz_number(&script) % 30000;
    weft_msg *m;
    int rc;

    memset(payload, 'b', n);
    payload[0] = 'B';
    payload[1] = '!';
    rc = weft_msg_new(&m, WEFT_TEXT, payload, n);
    MUST(rc == WEFT_OK || had_no_memory(rc));
    if (rc != WEFT_OK)
        return;
    if (weft_group_broadcast(group, m, NULL) != WEFT_OK)
        weft_msg_unref(m);
}

static void produce(struct seen *s)
{
    static char payload[65536];
    size_t n = fuzz_number(&script) % MESSAGE_BYTES_MAX;
    weft_msg *m;
    int rc;

    memset(payload, 'p', n);
    rc = weft_msg_new(&m, WEFT_BINARY, payload, n);
    MUST(rc == WEFT_OK || had_no_memory(rc));
    if (rc != WEFT_OK)
        return;
    send_one(s, m);
}

static void decide_deferred(unsigned how)
{
    weft_request *r = deferred;

    deferred = NULL;
    if (!r)
        return;
    if (how & 1)
        weft_request_accept(r, NULL);
    else
        weft_request_respond(r, 404, NULL, 0, NULL, 0);
    weft_request_unref(r);
}

static void act_on_socket(unsigned what, struct stage_socket *s)
{
    switch (what) {
    case 1:
        send_raw(s);
        break;
    case 2:
        send_handshake(s);
        break;
    case 3:
        send_request(s);
        break;
    case 4:
        send_short(s, 0x80 | (1 + (fuzz_byte(&script) & 1)));
        break;
    case 5:
        send_filled(s, 0x82);
        break;
    case 6:
        send_short(s, fuzz_byte(&script));
        break;
    case 7:
        send_filled(s, fuzz_byte(&script) & 0x83);
        break;
    case 8:
        stage_end(s);
        break;
    case 9:
        stage_reset(s);
        break;
    case 10:
        stage_give_room(s, 0);
        break;
    case 11:
        stage_give_room(s, 1 + fuzz_number(&script));
        break;
    case 12:
        stage_give_room(s, SIZE_MAX);
        break;
    case 13:
        s->fails_again = true;
        break;
    case 14:
        send_short(s, 0x88);
        break;
    default:
        send_short(s, 0x89);
    }
}

static void act_in_program(unsigned what, struct seen *s)
{
    switch (what) {
    case 20:
        produce(s);
        break;
    case 21:
        weft_conn_close(s->conn, 1000 + fuzz_byte(&script) % 4, "bye");
        break;
    case 22:
        weft_conn_abort(s->conn);
        break;
    case 23:
        weft_conn_ping(s->conn, "ping", 4);
        break;
    default:
        weft_group_remove(group, s->conn);
    }
}

static bool step(void *arg)
{
    unsigned b, what;

    (void)arg;
    if (!script.n)
        return false;
    b = fuzz_byte(&script);
    what = b & 31;
    if (what == 0)
        stage_arrive();
    else if (what < 16 && chosen(b))
        act_on_socket(what, chosen(b));
    else if (what == 16 || what == 17)
        stage_let_pass(fuzz_byte(&script) * 10u + 1);
    else if (what == 18)
        broadcast();
    else if (what == 19)
        decide_deferred(b >> 5);
    else if (what < 25 && chosen_seen(b))
        act_in_program(what, chosen_seen(b));
    else
        stage_let_pass(fuzz_number(&script));
    return true;
}

/* --- what was written --- */

/* The response. How many bytes it has; 0 when it is cut. */
static size_t read_response(const struct stage_socket *s, int *status)
{
    struct http_head *h = http_head_new(HTTP_ROLE_CLIENT, NULL);
    size_t used = 0;
    int rc;

    MUST(h);
    rc = http_head_feed(h, s->out, s->out_bytes, &used);
    if (rc == HTTP_BAD)
        fprintf(stderr, "%.*s\n", (int)s->out_bytes, (const char *)s->out);
    MUST(rc != HTTP_BAD);
    *status = h->status;
    http_head_free(h);
    return rc == HTTP_DONE ? used : 0;
}

/* Whose output is this? That connection whose messages it holds; places and connections are made in the same order
 * only while every handshake succeeds, so it is found by what was sent. */
static bool fits(const struct seen *s, const uint64_t *digests, unsigned count)
{
    return count <= s->sent_count && memcmp(s->sent, digests, count * sizeof *digests) == 0;
}

static void must_be_of_some(const uint64_t *digests, unsigned count)
{
    for (unsigned i = 0; i < opened_count; i++)
        if (fits(&seen[i], digests, count))
            return;
    MUST(!"written is what was sent");
}

static bool is_broadcast(const weft_msg *m)
{
    return weft_msg_bytes(m) >= 2 && memcmp(weft_msg_data(m), "B!", 2) == 0;
}

static void check_output(const struct stage_socket *s)
{
    static uint64_t digests[SENT_MAX];
    struct session_config config = wire_config(true);
    unsigned count = 0;
    bool all_plain = true;
    struct session_event ev;
    struct session session;
    size_t at, used;
    int status;

    at = read_response(s, &status);
    if (!at || status != 101)
        return;
    config.allows_compressed = true;
    session_init(&session, &config, 0);
    for (; at < s->out_bytes; at += used) {
        enum session_event_kind kind = session_feed(&session, s->out + at, s->out_bytes - at, &used, &ev);
        MUST(kind != SESSION_FAIL);
        if (kind != SESSION_MESSAGE)
            continue;
        all_plain = all_plain && !ev.msg->is_compressed;
        if (!is_broadcast(ev.msg) && count < SENT_MAX)
            digests[count++] = digest(weft_msg_data(ev.msg), weft_msg_bytes(ev.msg));
        weft_msg_unref(ev.msg);
    }
    session_fini(&session);
    if (all_plain)
        must_be_of_some(digests, count);
}

static void check_all(void)
{
    for (unsigned i = 0; i < STAGE_SOCKETS_MAX; i++) {
        if (stage_sockets[i].out_bytes)
            check_output(&stage_sockets[i]);
        MUST(seen[i].was_open == seen[i].was_closed);
        weft_conn_unref(seen[i].conn);
    }
    MUST(weft_group_count(group) == 0);
}

static weft_server_opts options(unsigned how)
{
    static const enum weft_slow_policy policies[] = {WEFT_SLOW_CLOSE, WEFT_SLOW_DROP_NEWEST,
                                                     WEFT_SLOW_DROP_OLDEST, WEFT_SLOW_CLOSE};

    return (weft_server_opts){.size = sizeof(weft_server_opts),
                              .io_threads = 1,
                              .inline_handlers = true,
                              .on_request = how & 1 ? on_request : NULL,
                              .on_open = on_open,
                              .on_message = on_message,
                              .on_drain = how & 2 ? on_drain : NULL,
                              .on_close = on_close,
                              .slow_policy = policies[how >> 2 & 3],
                              .ping_interval_ms = how & 16 ? 500 : 0,
                              .ping_timeout_ms = 700,
                              .message_bytes_max = MESSAGE_BYTES_MAX,
                              .inbox_high = how & 32 ? 2 : 0,
                              .outbox_high_bytes = 8192,
                              .outbox_bytes_max = OUTBOX_BYTES_MAX};
}

bool script_run(const uint8_t *p, size_t n)
{
    struct engine_hooks hooks = {.closed = left};
    weft_server_opts opts;
    int64_t live;
    bool has_failed;
    int rc;

    mem_count_live(true);
    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    live = mem_live_blocks();
    memset(seen, 0, sizeof seen);
    opened_count = 0;
    script = (struct fuzz_input){p, n};
    opts = options(fuzz_byte(&script));
    MUST(weft_group_new(&group) == WEFT_OK);
    mem_fail_at(fuzz_number(&script));
    rc = stage_run(&opts, &hooks, step, NULL);
    MUST(rc == WEFT_OK || had_no_memory(rc));
    has_failed = mem_fail_happened();
    mem_fail_at(0);
    weft_request_unref(deferred);
    deferred = NULL;
    check_all();
    weft_group_unref(group);
    stage_clear();
    MUST(mem_live_blocks() == live);
    return has_failed;
}
