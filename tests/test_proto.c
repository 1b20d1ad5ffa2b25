/* The public protocol object, weft/proto.h: a client and a server of it talk to each other through memory,
 * with a clock of the test. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "weft/proto.h"

/* Both ends, and what happened at each. */
struct pair {
    weft_proto *end[2]; /* client, server */
    uint64_t now_ms;
    size_t step; /* bytes fed at once */
    char log[2][512];
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
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "proto", cases, sizeof cases / sizeof cases[0]);
}
