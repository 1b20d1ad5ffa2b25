/* The public protocol object, weft/proto.h: a client and a server of it talk to each other through memory,
 * with a clock of the test. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "weft/proto.h"

/* Both ends, and what happened at each. */
struct pair {
    weft_proto *end[2]; /* client, server */
    uint64_t now_ms;
    size_t step; /* bytes fed at once */
    char log[2][1024];
};

enum { CLIENT, SERVER };

static int draw(void *out, size_t bytes, void *arg)
{
    uint8_t *next = arg;

    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)out)[i] = (*next)++;
    return 0;
}

static uint8_t drawn;

static weft_proto_opts client_opts(void)
{
    return (weft_proto_opts){.size = sizeof(weft_proto_opts),
                             .role = WEFT_PROTO_CLIENT,
                             .host = "example.org",
                             .target = "/chat",
                             .random = draw,
                             .random_arg = &drawn};
}

static weft_proto_opts server_opts(void)
{
    return (weft_proto_opts){.size = sizeof(weft_proto_opts), .role = WEFT_PROTO_SERVER};
}

static void open_pair(struct pair *p, size_t step, const weft_proto_opts *client,
                      const weft_proto_opts *server)
{
    memset(p, 0, sizeof *p);
    p->step = step;
    p->now_ms = 1000;
    CU_ASSERT_EQUAL_FATAL(weft_proto_new(&p->end[CLIENT], client, p->now_ms), WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(weft_proto_new(&p->end[SERVER], server, p->now_ms), WEFT_OK);
}

static void close_pair(struct pair *p)
{
    weft_proto_free(p->end[CLIENT]);
    weft_proto_free(p->end[SERVER]);
}

static void note(struct pair *p, int who, const char *word, const void *text, size_t n)
{
    size_t used = strlen(p->log[who]);
    snprintf(p->log[who] + used, sizeof p->log[who] - used, "%s(%.*s) ", word, (int)n,
             text ? (const char *)text : "");
}

static void happened(struct pair *p, int who, enum weft_proto_event_kind kind, weft_proto_event *ev)
{
    static const char *const words[] = {"none", "request", "open",  "message",
                                        "ping", "pong",    "close", "fail"};
    char code[16];

    if (kind == WEFT_PROTO_NONE)
        return;
    if (kind == WEFT_PROTO_MESSAGE) {
        note(p, who, words[kind], weft_msg_data(ev->msg), weft_msg_bytes(ev->msg));
        if (who == SERVER)
            CU_ASSERT_EQUAL(weft_proto_send(p->end[who], ev->msg), WEFT_OK);
        weft_msg_unref(ev->msg);
        return;
    }
    if (kind == WEFT_PROTO_CLOSE || kind == WEFT_PROTO_FAIL) {
        snprintf(code, sizeof code, "%u", ev->code);
        note(p, who, words[kind], code, strlen(code));
        return;
    }
    note(p, who, words[kind], ev->text, ev->text_bytes);
}

/* Carry what one end wrote to the other one, in steps. True: something moved. */
static int carry(struct pair *p, int from)
{
    int to = !from;
    const void *data;
    size_t n = weft_proto_output(p->end[from], &data), used;
    weft_proto_event ev;
    enum weft_proto_event_kind kind;

    if (!n)
        return 0;
    if (n > p->step)
        n = p->step;
    kind = weft_proto_feed(p->end[to], data, n, &used, p->now_ms, &ev);
    weft_proto_written(p->end[from], used);
    happened(p, to, kind, &ev);
    if (kind == WEFT_PROTO_REQUEST)
        CU_ASSERT_EQUAL(weft_proto_accept(p->end[to], NULL, p->now_ms), WEFT_OK);
    return 1;
}

static void settle(struct pair *p)
{
    while (carry(p, CLIENT) | carry(p, SERVER)) {
    }
}

static void send_text(weft_proto *p, const char *text)
{
    weft_msg *m;

    CU_ASSERT_EQUAL_FATAL(weft_msg_new(&m, WEFT_TEXT, text, strlen(text)), WEFT_OK);
    CU_ASSERT_EQUAL(weft_proto_send(p, m), WEFT_OK);
    weft_msg_unref(m);
}

static void talk(size_t step)
{
    weft_proto_opts c = client_opts(), s = server_opts();
    struct pair p;

    open_pair(&p, step, &c, &s);
    settle(&p);
    CU_ASSERT_STRING_EQUAL(p.log[CLIENT], "open() ");
    CU_ASSERT_STRING_EQUAL(p.log[SERVER], "request() ");
    CU_ASSERT_STRING_EQUAL(weft_proto_path(p.end[SERVER]), "/chat");
    CU_ASSERT_STRING_EQUAL(weft_proto_header(p.end[SERVER], "host", 0), "example.org");
    send_text(p.end[CLIENT], "hello");
    CU_ASSERT_EQUAL(weft_proto_ping(p.end[CLIENT], "hm", 2), WEFT_OK);
    settle(&p);
    CU_ASSERT_STRING_EQUAL(p.log[SERVER], "request() message(hello) ping(hm) ");
    CU_ASSERT_STRING_EQUAL(p.log[CLIENT], "open() message(hello) pong(hm) ");
    CU_ASSERT_EQUAL(weft_proto_close(p.end[CLIENT], 1000, "bye", p.now_ms), WEFT_OK);
    settle(&p);
    CU_ASSERT_STRING_EQUAL(p.log[SERVER], "request() message(hello) ping(hm) close(1000) ");
    CU_ASSERT_STRING_EQUAL(p.log[CLIENT], "open() message(hello) pong(hm) close(1000) ");
    CU_ASSERT_TRUE(weft_proto_is_over(p.end[CLIENT]) && weft_proto_is_over(p.end[SERVER]));
    close_pair(&p);
}

static void two_ends_shake_hands_talk_and_close_however_the_bytes_are_cut(void)
{
    for (size_t step = 1; step < 40; step++)
        talk(step);
    talk(SIZE_MAX);
}

static void a_refused_request_tells_the_client_the_status(void)
{
    weft_proto_opts c = client_opts(), s = server_opts();
    struct pair p;
    const void *data;
    size_t n, used;
    weft_proto_event ev;

    open_pair(&p, SIZE_MAX, &c, &s);
    n = weft_proto_output(p.end[CLIENT], &data);
    CU_ASSERT_EQUAL(weft_proto_feed(p.end[SERVER], data, n, &used, 0, &ev), WEFT_PROTO_REQUEST);
    CU_ASSERT_EQUAL(weft_proto_reject(p.end[SERVER], 403), WEFT_OK);
    CU_ASSERT_EQUAL(weft_proto_accept(p.end[SERVER], NULL, 0), WEFT_E_STATE);
    n = weft_proto_output(p.end[SERVER], &data);
    CU_ASSERT_EQUAL(weft_proto_feed(p.end[CLIENT], data, n, &used, 0, &ev), WEFT_PROTO_FAIL);
    CU_ASSERT_EQUAL(ev.code, 403);
    CU_ASSERT_EQUAL(ev.error, WEFT_E_REFUSED);
    close_pair(&p);
}

static void a_subprotocol_is_chosen_only_among_those_offered(void)
{
    const char *const offered[] = {"v2.chat", "v1.chat"};
    weft_proto_opts c = client_opts(), s = server_opts();
    struct pair p;
    const void *data;
    size_t n, used;
    weft_proto_event ev;

    c.subprotocols = offered;
    c.subprotocol_count = 2;
    open_pair(&p, SIZE_MAX, &c, &s);
    n = weft_proto_output(p.end[CLIENT], &data);
    weft_proto_feed(p.end[SERVER], data, n, &used, 0, &ev);
    CU_ASSERT_EQUAL(weft_proto_accept(p.end[SERVER], "v3.chat", 0), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_proto_accept(p.end[SERVER], "v1.chat", 0), WEFT_OK);
    n = weft_proto_output(p.end[SERVER], &data);
    CU_ASSERT_EQUAL(weft_proto_feed(p.end[CLIENT], data, n, &used, 0, &ev), WEFT_PROTO_OPEN);
    CU_ASSERT_STRING_EQUAL(weft_proto_header(p.end[CLIENT], "Sec-WebSocket-Protocol", 0), "v1.chat");
    close_pair(&p);
}

static void a_fault_of_the_peer_is_answered_with_its_close_code(void)
{
    static const uint8_t unmasked[] = {0x81, 1, 'x'};
    weft_proto_opts s = server_opts();
    weft_proto *p;
    weft_proto_event ev;
    const void *data;
    size_t used;

    s.is_open = true;
    CU_ASSERT_EQUAL_FATAL(weft_proto_new(&p, &s, 0), WEFT_OK);
    CU_ASSERT_EQUAL(weft_proto_feed(p, unmasked, sizeof unmasked, &used, 0, &ev), WEFT_PROTO_FAIL);
    CU_ASSERT_EQUAL(ev.code, 1002);
    CU_ASSERT_EQUAL(ev.error, WEFT_E_PROTOCOL);
    CU_ASSERT(weft_proto_output(p, &data) > 4);
    CU_ASSERT_EQUAL(memcmp(data, "\x88", 1), 0);
    CU_ASSERT_EQUAL(memcmp((const char *)data + 2, "\x03\xea", 2), 0);
    CU_ASSERT_EQUAL(weft_proto_feed(p, "more", 4, &used, 0, &ev), WEFT_PROTO_NONE);
    CU_ASSERT_EQUAL(used, 4);
    weft_proto_free(p);
}

static void time_sends_pings_and_gives_up_on_a_silent_peer(void)
{
    weft_proto_opts s = server_opts();
    weft_proto *p;
    weft_proto_event ev;
    const void *data;

    s.is_open = true;
    s.ping_interval_ms = 100;
    s.ping_timeout_ms = 50;
    CU_ASSERT_EQUAL_FATAL(weft_proto_new(&p, &s, 1000), WEFT_OK);
    CU_ASSERT_EQUAL(weft_proto_deadline_ms(p), 1100);
    CU_ASSERT_EQUAL(weft_proto_tick(p, 1099, &ev), WEFT_PROTO_NONE);
    CU_ASSERT_EQUAL(weft_proto_output(p, &data), 0);
    CU_ASSERT_EQUAL(weft_proto_tick(p, 1100, &ev), WEFT_PROTO_NONE);
    CU_ASSERT_EQUAL(weft_proto_output(p, &data), 6);
    CU_ASSERT_EQUAL(weft_proto_deadline_ms(p), 1150);
    CU_ASSERT_EQUAL(weft_proto_tick(p, 1150, &ev), WEFT_PROTO_FAIL);
    CU_ASSERT_EQUAL(ev.error, WEFT_E_TIMEOUT);
    CU_ASSERT_EQUAL(weft_proto_deadline_ms(p), UINT64_MAX);
    weft_proto_free(p);
}

static void a_handshake_that_takes_too_long_fails(void)
{
    weft_proto_opts s = server_opts();
    weft_proto *p;
    weft_proto_event ev;
    size_t used;

    CU_ASSERT_EQUAL_FATAL(weft_proto_new(&p, &s, 0), WEFT_OK);
    CU_ASSERT_EQUAL(weft_proto_feed(p, "GET / HT", 8, &used, 9999, &ev), WEFT_PROTO_NONE);
    CU_ASSERT_EQUAL(weft_proto_deadline_ms(p), 10000);
    CU_ASSERT_EQUAL(weft_proto_tick(p, 10000, &ev), WEFT_PROTO_FAIL);
    weft_proto_free(p);
}

static void the_output_is_bounded_for_sends_and_for_pongs(void)
{
    static const uint8_t ping[] = {0x89, 0x80, 0, 0, 0, 0};
    weft_proto_opts s = server_opts();
    weft_proto *p;
    weft_proto_event ev;
    weft_msg *m;
    size_t used;
    enum weft_proto_event_kind kind = WEFT_PROTO_PING;
    int sent = 0, pings = 0;

    s.is_open = true;
    s.output_bytes_max = 1000;
    CU_ASSERT_EQUAL_FATAL(weft_proto_new(&p, &s, 0), WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(weft_msg_new(&m, WEFT_BINARY, "0123456789", 10), WEFT_OK);
    while (weft_proto_send(p, m) == WEFT_OK)
        sent++;
    CU_ASSERT_EQUAL(weft_proto_send(p, m), WEFT_E_AGAIN);
    CU_ASSERT_EQUAL(sent, 84);
    while (kind == WEFT_PROTO_PING && pings++ < 1000)
        kind = weft_proto_feed(p, ping, sizeof ping, &used, 0, &ev);
    CU_ASSERT_EQUAL(kind, WEFT_PROTO_FAIL);
    CU_ASSERT_EQUAL(ev.error, WEFT_E_TOO_BIG);
    weft_msg_unref(m);
    weft_proto_free(p);
}

static void wrong_arguments_are_refused(void)
{
    weft_proto_opts o = {0}, c = client_opts(), s = server_opts();
    weft_proto *p;

    CU_ASSERT_EQUAL(weft_proto_new(&p, &o, 0), WEFT_E_INVAL);
    c.host = NULL;
    CU_ASSERT_EQUAL(weft_proto_new(&p, &c, 0), WEFT_E_INVAL);
    s.is_open = true;
    CU_ASSERT_EQUAL_FATAL(weft_proto_new(&p, &s, 0), WEFT_OK);
    CU_ASSERT_EQUAL(weft_proto_close(p, 1005, NULL, 0), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_proto_close(p, 0, "reason without a code", 0), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_proto_close(p, 1000, "\xff", 0), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_proto_close(p, 1000, "ok", 0), WEFT_OK);
    CU_ASSERT_EQUAL(weft_proto_ping(p, "x", 1), WEFT_E_CLOSED);
    weft_proto_free(p);
}

/* Without CUnit's assertions inside: any step may fail here, and only the memory is looked at. */
static int try_to_talk(void)
{
    weft_proto_opts c = client_opts(), s = server_opts();
    weft_proto *client = NULL, *server = NULL;
    const void *data;
    size_t n, used;
    weft_proto_event ev;
    int rc = weft_proto_new(&client, &c, 0);

    if (rc == WEFT_OK)
        rc = weft_proto_new(&server, &s, 0);
    if (rc == WEFT_OK) {
        n = weft_proto_output(client, &data);
        rc = weft_proto_feed(server, data, n, &used, 0, &ev) == WEFT_PROTO_REQUEST ? WEFT_OK : WEFT_E_NOMEM;
    }
    if (rc == WEFT_OK)
        rc = weft_proto_accept(server, NULL, 0);
    if (rc == WEFT_OK) {
        n = weft_proto_output(server, &data);
        rc = weft_proto_feed(client, data, n, &used, 0, &ev) == WEFT_PROTO_OPEN ? WEFT_OK : WEFT_E_NOMEM;
    }
    if (rc == WEFT_OK)
        rc = weft_proto_ping(client, "x", 1);
    weft_proto_free(client);
    weft_proto_free(server);
    return rc;
}

static void every_allocation_may_fail_and_nothing_leaks(void)
{
    int rc = WEFT_E_NOMEM;

    mem_count_live(true);
    for (uint64_t n = 1; rc != WEFT_OK && n < 100; n++) {
        mem_fail_at(n);
        rc = try_to_talk();
        CU_ASSERT_EQUAL(rc != WEFT_OK, mem_fail_happened());
        mem_fail_at(0);
        CU_ASSERT_EQUAL(mem_live_blocks(), 0);
    }
    CU_ASSERT_EQUAL(rc, WEFT_OK);
    mem_count_live(false);
}

/* --- compression --- */

/* What one end has put out since the last time, all of which the other one takes. */
static size_t wire_bytes(struct pair *p, int from)
{
    const void *data;
    size_t n = weft_proto_output(p->end[from], &data);

    settle(p);
    return n;
}

static weft_msg *like_json(unsigned number)
{
    char text[400];
    weft_msg *m;
    int n = snprintf(text, sizeof text,
                     "{\"number\":%u,\"colours\":[\"madder\",\"weld\",\"woad\"],\"threads\":[\"warp\",\"weft\"],"
                     "\"colour of the warp\":\"madder\",\"colour of the weft\":\"woad\",\"of\":\"the loom\"}",
                     number);

    if (weft_msg_new(&m, WEFT_TEXT, text, (size_t)n) != WEFT_OK)
        abort();
    return m;
}

/* Sends it; returns how many bytes it was on the wire. */
static size_t send_like_json(struct pair *p, int from, unsigned number, bool is_plain)
{
    weft_msg *m = like_json(number);

    if (is_plain)
        weft_msg_set_plain(m);
    CU_ASSERT_EQUAL(weft_proto_send(p->end[from], m), WEFT_OK);
    weft_msg_unref(m);
    p->log[CLIENT][0] = p->log[SERVER][0] = '\0';
    return wire_bytes(p, from);
}

static bool heard_json(struct pair *p, int who, unsigned number)
{
    weft_msg *m = like_json(number);
    char want[512];

    snprintf(want, sizeof want, "message(%.*s) ", (int)weft_msg_bytes(m), (const char *)weft_msg_data(m));
    weft_msg_unref(m);
    return strcmp(p->log[who], want) == 0;
}

static const char *agreed(struct pair *p)
{
    const char *value = weft_proto_header(p->end[CLIENT], "Sec-WebSocket-Extensions", 0);
    return value ? value : "";
}

static void talk_compressed(size_t step)
{
    weft_proto_opts c = client_opts(), s = server_opts();
    size_t plain, first, second;
    struct pair p;

    open_pair(&p, step, &c, &s);
    settle(&p);
    CU_ASSERT_STRING_EQUAL(agreed(&p),
                           "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12");
    plain = send_like_json(&p, CLIENT, 1, true);
    CU_ASSERT(heard_json(&p, SERVER, 1) && heard_json(&p, CLIENT, 1));
    first = send_like_json(&p, CLIENT, 2, false);
    CU_ASSERT(heard_json(&p, SERVER, 2) && heard_json(&p, CLIENT, 2));
    second = send_like_json(&p, CLIENT, 3, false);
    CU_ASSERT(heard_json(&p, SERVER, 3) && heard_json(&p, CLIENT, 3));
    CU_ASSERT(first < plain * 3 / 4);
    CU_ASSERT(second < first / 3);
    close_pair(&p);
}

static void compressed_messages_are_understood_however_the_bytes_are_cut(void)
{
    for (size_t step = 1; step < 40; step++)
        talk_compressed(step);
    talk_compressed(SIZE_MAX);
}

static void without_takeover_no_message_refers_to_another(void)
{
    weft_proto_opts c = client_opts(), s = server_opts();
    struct pair p;
    size_t first;

    c.compression = (weft_compression){.no_takeover = true, .window_bits = 9};
    s.compression = (weft_compression){.no_takeover = true, .level = 9};
    open_pair(&p, SIZE_MAX, &c, &s);
    settle(&p);
    CU_ASSERT_PTR_NOT_NULL(strstr(agreed(&p), "server_no_context_takeover"));
    CU_ASSERT_PTR_NOT_NULL(strstr(agreed(&p), "client_max_window_bits=9"));
    first = send_like_json(&p, CLIENT, 1, false);
    for (unsigned i = 2; i < 6; i++) {
        CU_ASSERT_EQUAL(send_like_json(&p, CLIENT, i, false), first);
        CU_ASSERT(heard_json(&p, SERVER, i) && heard_json(&p, CLIENT, i));
    }
    close_pair(&p);
}

static void compression_needs_both_ends(void)
{
    for (int off = 0; off < 2; off++) {
        weft_proto_opts c = client_opts(), s = server_opts();
        weft_msg *m = like_json(7);
        struct pair p;

        (off == CLIENT ? &c : &s)->compression.is_off = true;
        open_pair(&p, 7, &c, &s);
        settle(&p);
        CU_ASSERT_STRING_EQUAL(agreed(&p), "");
        CU_ASSERT(send_like_json(&p, CLIENT, 7, false) > weft_msg_bytes(m));
        CU_ASSERT(heard_json(&p, SERVER, 7) && heard_json(&p, CLIENT, 7));
        weft_msg_unref(m);
        close_pair(&p);
    }
}

static void messages_below_the_threshold_go_plain(void)
{
    weft_proto_opts c = client_opts(), s = server_opts();
    weft_msg *m = like_json(10);
    struct pair p;

    c.compression.bytes_min = (uint32_t)weft_msg_bytes(m) + 1;
    open_pair(&p, SIZE_MAX, &c, &s);
    settle(&p);
    CU_ASSERT(send_like_json(&p, CLIENT, 10, false) > weft_msg_bytes(m));
    CU_ASSERT(send_like_json(&p, CLIENT, 100, false) < weft_msg_bytes(m)); /* one more digit */
    weft_msg_unref(m);
    close_pair(&p);
}

/* A message of zeros to a server that allows `most`. */
static enum weft_proto_event_kind send_zeros(size_t bytes, size_t most, weft_proto_event *ev)
{
    weft_proto_opts c = client_opts(), s = server_opts();
    enum weft_proto_event_kind kind;
    const void *data;
    struct pair p;
    weft_msg *m;
    size_t n, used;
    void *zeros;

    s.message_bytes_max = most;
    open_pair(&p, SIZE_MAX, &c, &s);
    settle(&p);
    CU_ASSERT_EQUAL_FATAL(weft_msg_new_raw(&m, WEFT_BINARY, bytes, &zeros), WEFT_OK);
    memset(zeros, 0, bytes);
    CU_ASSERT_EQUAL(weft_proto_send(p.end[CLIENT], m), WEFT_OK);
    weft_msg_unref(m);
    n = weft_proto_output(p.end[CLIENT], &data);
    CU_ASSERT(n < bytes / 100);
    kind = weft_proto_feed(p.end[SERVER], data, n, &used, p.now_ms, ev);
    if (kind == WEFT_PROTO_MESSAGE) {
        CU_ASSERT_EQUAL(weft_msg_bytes(ev->msg), bytes);
        weft_msg_unref(ev->msg);
    } else {
        CU_ASSERT(weft_proto_is_over(p.end[SERVER]));
        CU_ASSERT(weft_proto_output(p.end[SERVER], &data) > 4 && ((const uint8_t *)data)[0] == 0x88);
    }
    close_pair(&p);
    return kind;
}

static void the_limit_is_that_of_the_inflated_message(void)
{
    weft_proto_event ev;

    CU_ASSERT_EQUAL(send_zeros(100000, 100000, &ev), WEFT_PROTO_MESSAGE);
    CU_ASSERT_EQUAL(send_zeros(100001, 100000, &ev), WEFT_PROTO_FAIL);
    CU_ASSERT_EQUAL(ev.error, WEFT_E_TOO_BIG);
    CU_ASSERT_EQUAL(ev.code, 1009);
    CU_ASSERT_EQUAL(send_zeros(32u << 20, 1000, &ev), WEFT_PROTO_FAIL);
    CU_ASSERT_EQUAL(ev.code, 1009);
}

static void what_cannot_be_inflated_fails_the_connection(void)
{
    static const uint8_t garbage[] = {0xc2, 0x84, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t not_utf8[] = {0xc1, 0x87, 0, 0, 0, 0, 0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00};
    static const uint8_t continued[] = {0x02, 0x80, 0, 0, 0, 0, 0xc0, 0x80, 0, 0, 0, 0};
    const struct {
        const uint8_t *frame;
        size_t bytes;
        int error;
        unsigned code;
    } faults[] = {{garbage, sizeof garbage, WEFT_E_PROTOCOL, 1007},
                  {not_utf8, sizeof not_utf8, WEFT_E_UTF8, 1007},
                  {continued, sizeof continued, WEFT_E_PROTOCOL, 1002}};
    weft_proto_opts c = client_opts(), s = server_opts();

    for (size_t i = 0; i < 3; i++) {
        weft_proto_event ev;
        struct pair p;
        size_t used;

        open_pair(&p, SIZE_MAX, &c, &s);
        settle(&p);
        CU_ASSERT_EQUAL(weft_proto_feed(p.end[SERVER], faults[i].frame, faults[i].bytes, &used, p.now_ms, &ev),
                        WEFT_PROTO_FAIL);
        CU_ASSERT_EQUAL(ev.error, faults[i].error);
        CU_ASSERT_EQUAL(ev.code, faults[i].code);
        CU_ASSERT(weft_proto_is_over(p.end[SERVER]));
        close_pair(&p);
    }
}

static void rsv1_is_a_fault_where_nothing_was_agreed(void)
{
    static const uint8_t frame[] = {0xc2, 0x81, 0, 0, 0, 0, 0};
    weft_proto_opts s = server_opts();
    weft_proto_event ev;
    weft_proto *p;
    size_t used;

    s.is_open = true;
    CU_ASSERT_EQUAL_FATAL(weft_proto_new(&p, &s, 0), WEFT_OK);
    CU_ASSERT_EQUAL(weft_proto_feed(p, frame, sizeof frame, &used, 0, &ev), WEFT_PROTO_FAIL);
    CU_ASSERT_EQUAL(ev.code, 1002);
    weft_proto_free(p);
}

static void an_answer_that_was_not_asked_for_fails_the_client(void)
{
    weft_proto_opts c = client_opts(), s = server_opts();
    char answer[1024], *at;
    weft_proto_event ev;
    const void *data;
    struct pair p;
    size_t n, used;

    open_pair(&p, SIZE_MAX, &c, &s);
    carry(&p, CLIENT);
    n = weft_proto_output(p.end[SERVER], &data);
    CU_ASSERT_FATAL(n < sizeof answer);
    memcpy(answer, data, n);
    answer[n] = '\0';
    at = strstr(answer, "client_max_window_bits=12");
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    memcpy(at + strlen("client_max_window_bits="), "99", 2);
    CU_ASSERT_EQUAL(weft_proto_feed(p.end[CLIENT], answer, n, &used, p.now_ms, &ev), WEFT_PROTO_FAIL);
    CU_ASSERT_EQUAL(ev.error, WEFT_E_PROTOCOL);
    CU_ASSERT(weft_proto_is_over(p.end[CLIENT]));
    close_pair(&p);
}

static void options_of_compression_are_checked(void)
{
    const weft_compression wrong[] = {{.window_bits = 8},  {.window_bits = 16}, {.peer_window_bits = 7},
                                      {.level = 10},       {.mem_level = 10},   {.memory_bytes_max = 1}};
    weft_proto_opts s = server_opts();
    weft_proto *p;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        s.compression = wrong[i];
        CU_ASSERT_EQUAL(weft_proto_new(&p, &s, 0), WEFT_E_INVAL);
    }
}

/* False: an allocation failed on the way, and the end that noticed says so. */
static bool try_to_talk_compressed(unsigned messages)
{
    static const char alike[] = "so so so so so so so so so so so so so so so so so so so so so so ";
    weft_proto_opts c = client_opts(), s = server_opts();
    weft_proto *ends[2] = {NULL, NULL};
    bool is_good = weft_proto_new(&ends[CLIENT], &c, 0) == WEFT_OK && weft_proto_new(&ends[SERVER], &s, 0) == WEFT_OK;
    weft_proto_event ev;
    const void *data;
    size_t n, used;

    if (is_good) {
        n = weft_proto_output(ends[CLIENT], &data);
        is_good = weft_proto_feed(ends[SERVER], data, n, &used, 0, &ev) == WEFT_PROTO_REQUEST &&
                  weft_proto_accept(ends[SERVER], NULL, 0) == WEFT_OK;
        weft_proto_written(ends[CLIENT], n);
    }
    if (is_good) {
        n = weft_proto_output(ends[SERVER], &data);
        is_good = weft_proto_feed(ends[CLIENT], data, n, &used, 0, &ev) == WEFT_PROTO_OPEN;
    }
    for (unsigned i = 0; is_good && i < messages; i++) {
        weft_msg *m = NULL;

        if (weft_msg_new(&m, WEFT_TEXT, alike, 66) != WEFT_OK)
            break;
        is_good = weft_proto_send(ends[CLIENT], m) == WEFT_OK;
        n = weft_proto_output(ends[CLIENT], &data);
        is_good = is_good && weft_proto_feed(ends[SERVER], data, n, &used, 0, &ev) == WEFT_PROTO_MESSAGE;
        weft_proto_written(ends[CLIENT], n);
        if (is_good) {
            is_good = weft_msg_bytes(ev.msg) == 66 && memcmp(weft_msg_data(ev.msg), weft_msg_data(m), 66) == 0;
            weft_msg_unref(ev.msg);
        }
        weft_msg_unref(m);
    }
    weft_proto_free(ends[CLIENT]);
    weft_proto_free(ends[SERVER]);
    return is_good;
}

static void without_memory_messages_go_plain_or_the_connection_ends(void)
{
    bool happened_once = true, is_good = true;
    uint64_t n;

    mem_count_live(true);
    for (n = 1; happened_once && n < 200; n++) {
        mem_fail_at(n);
        is_good = try_to_talk_compressed(3);
        happened_once = mem_fail_happened();
        mem_fail_at(0);
        CU_ASSERT_EQUAL(mem_live_blocks(), 0);
    }
    CU_ASSERT(is_good);
    CU_ASSERT(n > 20 && n < 200);
    mem_count_live(false);
}

static const struct unit_case cases[] = {
    CASE(two_ends_shake_hands_talk_and_close_however_the_bytes_are_cut),
    CASE(a_refused_request_tells_the_client_the_status),
    CASE(a_subprotocol_is_chosen_only_among_those_offered),
    CASE(a_fault_of_the_peer_is_answered_with_its_close_code),
    CASE(time_sends_pings_and_gives_up_on_a_silent_peer),
    CASE(a_handshake_that_takes_too_long_fails),
    CASE(the_output_is_bounded_for_sends_and_for_pongs),
    CASE(wrong_arguments_are_refused),
    CASE(every_allocation_may_fail_and_nothing_leaks),
    CASE(compressed_messages_are_understood_however_the_bytes_are_cut),
    CASE(without_takeover_no_message_refers_to_another),
    CASE(compression_needs_both_ends),
    CASE(messages_below_the_threshold_go_plain),
    CASE(the_limit_is_that_of_the_inflated_message),
    CASE(what_cannot_be_inflated_fails_the_connection),
    CASE(rsv1_is_a_fault_where_nothing_was_agreed),
    CASE(an_answer_that_was_not_asked_for_fails_the_client),
    CASE(options_of_compression_are_checked),
    CASE(without_memory_messages_go_plain_or_the_connection_ends),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "proto", cases, sizeof cases / sizeof cases[0]);
}
