/* Whole sessions of a server, from a script of bytes; see script.h. */
#include "script.h"

#include "api/group.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/endpoint.h"
#include "core/opening.h"
#include "fuzz.h"
#include "peer.h"
#include "proto/deflate.h"
#include "proto/http.h"
#include "proto/session.h"
#include "stage.h"
#include "weft/weft.h"
#include "wire.h"

#define SENT_MAX          512
#define OUTBOX_BYTES_MAX  60000u
#define MESSAGE_BYTES_MAX 40000u

/* One connection as the program sees it; place i of the stage. */
struct seen {
    weft_conn *conn; /* a reference of ours */
    bool was_open, was_closed;
    unsigned messages;
    uint64_t sent[SENT_MAX]; /* digests of what was accepted for sending, oldest first */
    unsigned sent_count;
    unsigned part_at; /* the message in parts under way, in sent; SENT_MAX: no part of it was accepted yet */
    uint64_t part_digest, part_bytes;
};

static struct seen seen[STAGE_SOCKETS_MAX];
static weft_group *group;
static weft_request *deferred;
static struct fuzz_input script;
static unsigned opened_count;
static weft_client_opts client_opts;
static char hook_arg;

#define DIGEST_OF_NOTHING 1469598103934665603u

static uint64_t digest_more(uint64_t h, const void *p, size_t n)
{
    const uint8_t *bytes = p;

    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * 1099511628211u;
    return h;
}

static uint64_t digest(const void *p, size_t n)
{
    return digest_more(DIGEST_OF_NOTHING, p, n) + n;
}

/* --- the program --- */

static bool had_no_memory(int rc)
{
    return rc == WEFT_E_NOMEM && mem_fail_happened();
}

static void must_be_refused(weft_request *r)
{
    static const weft_header odd = {"Upgrade", "h2c"};
    weft_accept header = {.headers = &odd, .header_count = 1}, subprotocol = {.subprotocol = "neither"};
    weft_compression window = {.window_bits = 33};
    weft_accept packed = {.compression = &window};

    MUST(weft_request_accept(r, &header) == WEFT_E_INVAL);
    MUST(weft_request_accept(r, &subprotocol) == WEFT_E_INVAL);
    MUST(weft_request_accept(r, &packed) == WEFT_E_INVAL);
    MUST(weft_request_respond(r, 200, &odd, 1, NULL, 0) == WEFT_E_INVAL);
}

static void accept_again(weft_request *r)
{
    int rc = weft_request_accept(r, NULL);

    MUST(rc == WEFT_OK || rc == WEFT_E_CLOSED || had_no_memory(rc));
    if (rc != WEFT_OK)
        return;
    MUST(weft_request_accept(r, NULL) == WEFT_E_STATE);
    rc = weft_request_respond(r, 200, NULL, 0, NULL, 0);
    MUST(rc == WEFT_E_STATE || had_no_memory(rc));
}

static void on_request(weft_request *r, void *app)
{
    static const weft_compression off = {.is_off = true};
    const char *path = weft_request_path(r);
    weft_accept how = {.subprotocol = weft_request_offers(r, "chat") ? "chat" : NULL};

    (void)app;
    if (strcmp(path, "/no-pack") == 0)
        how.compression = &off;
    if (strcmp(path, "/wrong") == 0 && weft_request_is_upgrade(r))
        must_be_refused(r);
    if (strcmp(path, "/wrong") == 0 && weft_request_is_upgrade(r))
        accept_again(r);
    else if (strcmp(path, "/later") == 0 && !deferred)
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
    s->part_at = SENT_MAX;
    weft_conn_set_data(c, s);
    rc = weft_group_add(group, c);
    MUST(rc == WEFT_OK || rc == WEFT_E_CLOSED || had_no_memory(rc)); /* it may have ended before */
}

typedef int send_fn(weft_conn *c, weft_msg *m);

static void send_by(send_fn *send, struct seen *s, weft_msg *m)
{
    uint64_t d = digest(weft_msg_data(m), weft_msg_bytes(m));

    if (s->sent_count < SENT_MAX && send(s->conn, m) == WEFT_OK)
        s->sent[s->sent_count++] = d;
    else
        weft_msg_unref(m);
    MUST(weft_conn_outbox_bytes(s->conn) <= OUTBOX_BYTES_MAX + MESSAGE_BYTES_MAX + 1000);
}

static void send_one(struct seen *s, weft_msg *m)
{
    send_by(weft_conn_send, s, m);
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    struct seen *s = seen_of(c);

    (void)app;
    MUST(s && s->was_open && !s->was_closed);
    MUST(weft_msg_bytes(m) <= MESSAGE_BYTES_MAX);
    s->messages++;
    if (weft_msg_bytes(m) && *(const char *)weft_msg_data(m) == 'T')
        stage_let_pass(2); /* it takes its time */
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

static void opened(struct weft_conn *c, void *arg)
{
    (void)c;
    MUST(arg == &hook_arg);
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

/* NULL: no memory, which was to be. */
static weft_msg *message_of_fill(char fill, size_t n)
{
    static char payload[65536];
    weft_msg *m;
    int rc;

    memset(payload, fill, n);
    rc = weft_msg_new(&m, WEFT_BINARY, payload, n);
    MUST(rc == WEFT_OK || had_no_memory(rc));
    return rc == WEFT_OK ? m : NULL;
}

static void produce(struct seen *s)
{
    weft_msg *m = message_of_fill('p', fuzz_number(&script) % MESSAGE_BYTES_MAX);

    if (m)
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

/* The place among what is sent is that of the first part. */
static void send_part(struct seen *s, const void *p, size_t n)
{
    if (s->sent_count == SENT_MAX || weft_conn_send_part(s->conn, p, n) != WEFT_OK)
        return;
    if (s->part_at == SENT_MAX) {
        s->part_at = s->sent_count++;
        s->part_digest = DIGEST_OF_NOTHING;
        s->part_bytes = 0;
    }
    s->part_digest = digest_more(s->part_digest, p, n);
    s->part_bytes += n;
}

static void end_parts(struct seen *s)
{
    if (s->sent_count == SENT_MAX || weft_conn_send_end(s->conn) != WEFT_OK)
        return;
    if (s->part_at == SENT_MAX)
        s->sent[s->sent_count++] = digest(NULL, 0);
    else
        s->sent[s->part_at] = s->part_digest + s->part_bytes;
    s->part_at = SENT_MAX;
}

static void stream(struct seen *s)
{
    static char payload[65536];
    unsigned how = fuzz_byte(&script);

    memset(payload, 's', sizeof payload);
    if ((how & 3) == 0)
        weft_conn_send_begin(s->conn, how & 4 ? WEFT_TEXT : WEFT_BINARY);
    else if ((how & 3) == 1)
        send_part(s, payload, fuzz_number(&script) % MESSAGE_BYTES_MAX);
    else if ((how & 3) == 2)
        send_part(s, "\xc3\xa4", 1 + (how >> 2 & 1)); /* a character, or half of one */
    else
        end_parts(s);
}

static int try_send(weft_conn *c, weft_msg *m)
{
    int rc = weft_conn_try_send(c, m);

    MUST(rc != WEFT_E_AGAIN || weft_conn_outbox_bytes(c) > 2048);
    return rc;
}

/* One message in many outboxes. */
static void send_to_all(weft_msg *m)
{
    for (unsigned i = 0; i < opened_count; i++)
        send_one(&seen[i], weft_msg_ref(m));
    weft_msg_unref(m);
}

static void ask_wrongly(weft_conn *c)
{
    MUST(weft_conn_close(c, 1005, NULL) == WEFT_E_INVAL && weft_conn_close(c, 0, "why") == WEFT_E_INVAL);
    MUST(weft_conn_close(c, 1000, "\xc3") == WEFT_E_INVAL);
}

static void act_oddly_in_program(struct seen *s)
{
    unsigned how = fuzz_byte(&script);
    weft_msg *m = (how & 7) < 4 ? message_of_fill('q', 1 + fuzz_number(&script) % 3000) : NULL;

    if (m && (how & 7) == 0)
        send_by(try_send, s, m);
    else if (m && (how & 7) == 1)
        send_to_all(m);
    else if (m) {
        weft_msg_set_plain(m);
        send_one(s, m);
    } else if ((how & 7) == 4)
        ask_wrongly(s->conn);
    else if ((how & 7) == 5)
        weft_conn_close(s->conn, 0, NULL);
    else
        weft_group_add(group, s->conn);
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
    case 24:
        weft_group_remove(group, s->conn);
        break;
    case 25:
        stream(s);
        break;
    default:
        act_oddly_in_program(s);
    }
}

static void connect_one(void)
{
    static const char *const offers[] = {"chat", "talk"};
    static const struct http_request request = {
        .host = "localhost", .target = "/chat", .subprotocols = offers, .subprotocol_count = 2};

    stage_connect(&client_opts, &request);
}

/* How many more come in the same step. */
static unsigned command(void)
{
    unsigned b = fuzz_byte(&script), what = b & 31;
    struct stage_socket *s = chosen(b);

    if (what == 0)
        stage_arrive();
    else if (what < PEER_COMMANDS && s)
        peer_act(what, s, &script);
    else if (what == 16 || what == 17)
        stage_let_pass(fuzz_byte(&script) * 10u + 1);
    else if (what == 18)
        broadcast();
    else if (what == 19 && b >> 5 == 7)
        stage_close_all();
    else if (what == 19)
        decide_deferred(b >> 5);
    else if (what >= 20 && what < 27 && chosen_seen(b))
        act_in_program(what, chosen_seen(b));
    else if (what == 28)
        connect_one();
    else if (what == 29 && s)
        peer_answer(s, &script);
    else if (what == 30)
        return 1 + (b >> 5);
    else if (what == 31 && s)
        peer_act_oddly(s, &script);
    else
        stage_let_pass(fuzz_number(&script));
    return 0;
}

static bool step(void *arg)
{
    (void)arg;
    if (!script.n)
        return false;
    for (unsigned left = 1; left && script.n; left--)
        left += command();
    return true;
}

/* --- what was written --- */

/* The first bytes are one head that the other role reads. How many it has; 0 when it is cut. */
static size_t read_head(const struct stage_socket *s, int *status)
{
    struct http_head *h = http_head_new(s->is_client ? HTTP_ROLE_SERVER : HTTP_ROLE_CLIENT, NULL);
    size_t used = 0;
    int rc;

    MUST(h);
    rc = http_head_feed(h, s->out, s->out_bytes, &used);
    if (rc == HTTP_BAD)
        fprintf(stderr, "%.*s\n", (int)s->out_bytes, (const char *)s->out);
    MUST(rc != HTTP_BAD);
    if (s->is_client && rc == HTTP_DONE)
        MUST(http_check_upgrade(h) == HTTP_UPGRADE);
    *status = s->is_client ? 101 : h->status;
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

/* As it was before it was compressed, if it was; m is given. */
static weft_msg *plain_of(struct inflater *z, weft_msg *m)
{
    weft_msg *plain;

    if (!m->is_compressed)
        return m;
    MUST(inflater_message(z, m, 1u << 20, &plain) == WEFT_OK);
    weft_msg_unref(m);
    return plain;
}

static void check_frames(const struct stage_socket *s, size_t at, struct inflater *z)
{
    static uint64_t digests[SENT_MAX];
    struct session_config config = wire_config(!s->is_client);
    unsigned count = 0;
    struct session_event ev;
    struct session session;
    size_t used;

    config.allows_compressed = true;
    session_init(&session, &config, 0);
    for (; at < s->out_bytes; at += used) {
        enum session_event_kind kind = session_feed(&session, s->out + at, s->out_bytes - at, &used, &ev);
        weft_msg *m;
        MUST(kind != SESSION_FAIL);
        if (kind != SESSION_MESSAGE)
            continue;
        m = plain_of(z, ev.msg);
        if (!is_broadcast(m) && count < SENT_MAX)
            digests[count++] = digest(weft_msg_data(m), weft_msg_bytes(m));
        weft_msg_unref(m);
    }
    session_fini(&session);
    if (count)
        must_be_of_some(digests, count);
}

static void check_output(const struct stage_socket *s)
{
    int status;
    size_t at = read_head(s, &status);
    struct inflater *z;

    if (!at || status != 101)
        return;
    z = inflater_new(DEFLATE_WINDOW_BITS_MAX);
    MUST(z);
    check_frames(s, at, z);
    inflater_free(z);
}

static void check_opening(const struct stage_socket *s)
{
    uint32_t outcome = s->opening ? atomic_load(&s->opening->outcome) : OPENING_DONE;

    MUST(outcome != OPENING_PENDING);
    MUST(outcome == OPENING_DONE || s->opening->error < 0);
}

static void check_all(void)
{
    for (unsigned i = 0; i < STAGE_SOCKETS_MAX; i++) {
        if (stage_sockets[i].out_bytes)
            check_output(&stage_sockets[i]);
        check_opening(&stage_sockets[i]);
        MUST(seen[i].was_open == seen[i].was_closed);
        weft_conn_unref(seen[i].conn);
    }
    MUST(weft_group_count(group) == 0);
}

static weft_server_opts options(unsigned how, unsigned more)
{
    static const char *const origins[] = {"http://y"};
    static const enum weft_slow_policy policies[] = {WEFT_SLOW_CLOSE, WEFT_SLOW_DROP_NEWEST,
                                                     WEFT_SLOW_DROP_OLDEST, WEFT_SLOW_CLOSE};

    return (weft_server_opts){.size = sizeof(weft_server_opts),
                              .io_threads = 1,
                              .inline_handlers = true,
                              .on_request = how & 1 ? on_request : NULL,
                              .on_open = on_open,
                              .on_message = more & 1 ? NULL : on_message,
                              .on_drain = how & 2 ? on_drain : NULL,
                              .on_close = on_close,
                              .slow_policy = policies[how >> 2 & 3],
                              .ping_interval_ms = how & 16 ? 500 : 0,
                              .ping_timeout_ms = 700,
                              .message_bytes_max = MESSAGE_BYTES_MAX,
                              .inbox_high = how & 32 ? 2 : 0,
                              .inbox_bytes_high = more & 2 ? 64 : 0,
                              .turn_messages_max = more & 4 ? 2 : 0,
                              .messages_per_second_max = more & 8 ? 5 : 0,
                              .messages_burst = more & 8 ? 2 : 0,
                              .origins = more & 16 ? origins : NULL,
                              .origin_count = 1,
                              .compression = {.bytes_min = more & 32 ? 1 : 0, .no_takeover = more & 64},
                              .head_bytes_max = more & 128 ? 300 : 0,
                              .outbox_high_bytes = 8192,
                              .outbox_bytes_max = OUTBOX_BYTES_MAX};
}

/* A client of the same program. */
static weft_client_opts client_of(const weft_server_opts *opts)
{
    return (weft_client_opts){.size = sizeof(weft_client_opts),
                              .on_open = opts->on_open,
                              .on_message = on_message,
                              .on_drain = on_drain,
                              .on_close = opts->on_close,
                              .open_timeout_ms = 5000,
                              .slow_policy = opts->slow_policy,
                              .ping_interval_ms =
                                  opts->ping_interval_ms ? opts->ping_interval_ms : UINT32_MAX,
                              .ping_timeout_ms = opts->ping_timeout_ms,
                              .message_bytes_max = opts->message_bytes_max,
                              .outbox_high_bytes = opts->outbox_high_bytes,
                              .outbox_bytes_max = opts->outbox_bytes_max,
                              .compression = opts->compression};
}

bool script_run(const uint8_t *p, size_t n)
{
    struct engine_hooks hooks = {.opened = opened, .closed = left, .arg = &hook_arg};
    weft_server_opts opts;
    int64_t live;
    bool has_failed;
    unsigned how;
    int rc;

    mem_count_live(true);
    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    live = mem_live_blocks();
    memset(seen, 0, sizeof seen);
    opened_count = 0;
    script = (struct fuzz_input){p, n};
    how = fuzz_byte(&script);
    opts = options(how, fuzz_byte(&script));
    MUST(weft_group_new(&group) == WEFT_OK);
    mem_fail_at(fuzz_number(&script));
    client_opts = client_of(&opts);
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
