/* Keepalive and timeouts, from end to end. The intervals are short, and what is compared is never shorter
 * than the machine's slowest turn: that something comes is waited for with the patience of a test, that it
 * does not come too early is measured. */
#include "e2e_server.h"

#include <string.h>

static void wait_at_gate(weft_conn *c, weft_msg *m, struct seen *s)
{
    if (!gate_pass(s->t->arg))
        e2e_fault(s->t, "the gate stayed shut");
    e2e_send(c, m);
}

ALL_MODES(pings_come_at_their_interval_and_pongs_keep_the_connection)
{
    struct client k;
    struct frame f;
    uint64_t began_us;

    t->opts.ping_interval_ms = 30;
    t->opts.ping_timeout_ms = 30000;
    CU_ASSERT_FATAL(e2e_start(t));
    began_us = e2e_now_us();
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < 4; i++) {
        CU_ASSERT_EQUAL(client_next(&k, &f), CLIENT_OK);
        CU_ASSERT_EQUAL(f.opcode, CLIENT_PING);
        CU_ASSERT(client_send(&k, CLIENT_PONG, f.payload, f.bytes));
    }
    CU_ASSERT(e2e_now_us() - began_us >= 4 * 30000 - 5000);
    CU_ASSERT(e2e_now_us() - began_us < 25000000); /* not at the Pong's time */
    CU_ASSERT_EQUAL(t->closed, 0);
    client_close(&k);
}

ALL_MODES(a_ping_without_a_pong_ends_with_1011)
{
    struct client k;
    struct frame f = {0};
    uint64_t began_us = e2e_now_us();

    t->opts.ping_interval_ms = 20;
    t->opts.ping_timeout_ms = 60;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    while (client_next(&k, &f) == CLIENT_OK && f.opcode == CLIENT_PING) {
    }
    CU_ASSERT_EQUAL(f.opcode, CLIENT_CLOSE);
    CU_ASSERT_EQUAL(frame_code(&f), 1011);
    CU_ASSERT(e2e_now_us() - began_us >= 75000);
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT_EQUAL(t->seen[0]->info.error, WEFT_E_TIMEOUT);
    CU_ASSERT_EQUAL(t->seen[0]->info.sent_code, 1011);
    CU_ASSERT(!t->seen[0]->info.clean);
}

ALL_MODES(a_pong_that_answers_nothing_does_not_count)
{
    struct client k;
    struct frame f = {0};

    t->opts.ping_interval_ms = 20;
    t->opts.ping_timeout_ms = 60;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    while (client_next(&k, &f) == CLIENT_OK && f.opcode == CLIENT_PING)
        CU_ASSERT(client_send(&k, CLIENT_PONG, "something else", 14));
    CU_ASSERT_EQUAL(f.opcode, CLIENT_CLOSE);
    CU_ASSERT_EQUAL(frame_code(&f), 1011);
    client_close(&k);
}

static bool answers_a_ping(struct client *k, const struct frame *f)
{
    return f->opcode == CLIENT_PING && client_send(k, CLIENT_PONG, f->payload, f->bytes);
}

static bool lives_while_reading_is_paused(struct e2e *t)
{
    enum { COUNT = 40 };
    uint8_t frames[COUNT * 10];
    size_t n = 0;
    struct client k;
    struct frame f;
    uint64_t until_us;
    bool has_ponged = false;
    unsigned echoes = 0;

    atomic_store(&t->gate.is_open, 0);
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < COUNT; i++)
        n += client_frame(frames + n, 0x80 | CLIENT_TEXT, "work", 4);
    client_put(&k, frames, n); /* at once, so that reading is paused before the Pong is due */
    until_us = e2e_now_us() + 1800000; /* three times the Pong's time */
    while (e2e_now_us() < until_us)
        if (client_next_within(&k, &f, 50) == CLIENT_OK)
            has_ponged |= answers_a_ping(&k, &f);
    gate_open(&t->gate);
    while (echoes < COUNT && client_next(&k, &f) == CLIENT_OK)
        echoes += !answers_a_ping(&k, &f) && f.opcode == CLIENT_TEXT;
    client_close(&k);
    WAIT_FOR(t->closed == t->opened);
    return has_ponged && echoes == COUNT;
}

/* The Pong lies behind data that is not read, because the handler does not return. */
POOL_MODES(the_pongs_deadline_stands_still_while_reading_is_paused)
{
    t->on_message = wait_at_gate;
    t->arg = &t->gate;
    t->opts.ping_interval_ms = 50;
    t->opts.ping_timeout_ms = 600;
    CU_ASSERT_FATAL(e2e_start(t));
    SUCCEEDS_ONCE(lives_while_reading_is_paused(t));
    CU_ASSERT(e2e_stats(t).read_pauses >= 1);
}

ALL_MODES(without_an_interval_no_ping_is_sent)
{
    struct client k;
    struct frame f;

    t->opts.ping_interval_ms = UINT32_MAX;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT_EQUAL(client_next_within(&k, &f, 150), CLIENT_TIMEOUT);
    CU_ASSERT(client_say(&k, "still open"));
    CU_ASSERT(client_hears(&k, "still open"));
    client_close(&k);
}

ALL_MODES(the_programs_own_ping_reaches_the_peer)
{
    struct client k;
    struct frame f;
    weft_conn *c;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    CU_ASSERT_EQUAL(weft_conn_ping(c, "mine", 4), WEFT_OK);
    CU_ASSERT_EQUAL(client_next(&k, &f), CLIENT_OK);
    CU_ASSERT(frame_is(&f, CLIENT_PING, "mine"));
    weft_conn_unref(c);
    client_close(&k);
}

ALL_MODES(a_peer_that_does_not_answer_close_is_dropped)
{
    struct client k;
    struct frame f;
    weft_conn *c;
    uint64_t began_us;

    t->opts.close_timeout_ms = 100;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    began_us = e2e_now_us();
    CU_ASSERT_EQUAL(weft_conn_close(c, 1000, NULL), WEFT_OK);
    CU_ASSERT_EQUAL(client_next(&k, &f), CLIENT_OK);
    CU_ASSERT_EQUAL(f.opcode, CLIENT_CLOSE);
    CU_ASSERT(client_sees_end(&k));
    CU_ASSERT(e2e_now_us() - began_us >= 95000);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT_EQUAL(t->seen[0]->info.error, WEFT_E_TIMEOUT);
    CU_ASSERT_EQUAL(t->seen[0]->info.sent_code, 1000);
    CU_ASSERT(!t->seen[0]->info.clean);
    weft_conn_unref(c);
    client_close(&k);
}

/* Both Close frames were exchanged, but the peer keeps its side of TCP. */
ALL_MODES(a_peer_that_does_not_end_after_close_is_dropped)
{
    struct client k;
    struct frame f;
    uint64_t began_us;

    t->opts.close_timeout_ms = 100;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    began_us = e2e_now_us();
    CU_ASSERT(client_say_close(&k, 1000));
    CU_ASSERT_EQUAL(client_next(&k, &f), CLIENT_OK);
    CU_ASSERT_EQUAL(f.opcode, CLIENT_CLOSE);
    CU_ASSERT(client_sees_end(&k)); /* the server finishes its side at once */
    WAIT_FOR(t->closed == 1);
    CU_ASSERT(e2e_now_us() - began_us >= 95000);
    CU_ASSERT(t->seen[0]->info.clean);
    client_close(&k);
}

ALL_MODES(a_handshake_that_does_not_come_is_answered_with_408)
{
    struct client k;
    char head[1024] = "";
    uint64_t began_us;

    t->opts.open_timeout_ms = 100;
    CU_ASSERT_FATAL(e2e_start(t));
    began_us = e2e_now_us();
    CU_ASSERT(client_connect(&k, t->port));
    CU_ASSERT(client_put_text(&k, "GET / HTTP/1.1\r\nHost: x\r\n"));
    CU_ASSERT_EQUAL(client_status(&k, head, sizeof head), 408);
    CU_ASSERT(e2e_now_us() - began_us >= 90000);
    CU_ASSERT(client_sees_end(&k));
    client_close(&k);
    WAIT_FOR(e2e_stats(t).refused == 1);
    CU_ASSERT_EQUAL(t->opened, 0);
}

/* The time is absolute: whoever sends one byte now and then gains nothing by it. */
ALL_MODES(a_handshake_of_one_byte_at_a_time_has_no_more_time)
{
    static const char request[] =
        "GET /slow HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nX-Long: "
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    struct client k;
    struct frame f;
    uint64_t began_us = e2e_now_us();
    size_t i;
    bool ended = false;

    t->opts.open_timeout_ms = 400;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_connect(&k, t->port));
    for (i = 0; i + 1 < sizeof request && !ended; i++) {
        enum client_result result;
        client_put(&k, request + i, 1);
        result = client_next_within(&k, &f, 3); /* an answer is text, so no frame: anything but a timeout */
        ended = result != CLIENT_TIMEOUT || k.have > k.at;
    }
    CU_ASSERT(ended);
    CU_ASSERT(i > 2);
    CU_ASSERT(i + 1 < sizeof request);
    CU_ASSERT(e2e_now_us() - began_us >= 390000);
    client_close(&k);
    WAIT_FOR(e2e_stats(t).refused == 1);
}

static weft_request *_Atomic deferred;

static void defer(weft_request *r, struct e2e *t)
{
    (void)t;
    deferred = weft_request_ref(r);
}

ALL_MODES(a_request_that_is_not_decided_in_time_is_closed)
{
    struct client k;

    t->on_request = defer;
    t->opts.open_timeout_ms = 500;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_connect(&k, t->port));
    CU_ASSERT(client_ask(&k, "/", NULL));
    CU_ASSERT(client_sees_end(&k));
    WAIT_FOR(e2e_stats(t).refused == 1);
    CU_ASSERT_EQUAL(weft_request_accept(deferred, NULL), WEFT_E_CLOSED);
    weft_request_unref(deferred);
    CU_ASSERT_EQUAL(t->opened, 0);
    client_close(&k);
}

static const struct unit_case cases[] = {
    CASE(pings_come_at_their_interval_and_pongs_keep_the_connection),
    CASE(a_ping_without_a_pong_ends_with_1011),
    CASE(a_pong_that_answers_nothing_does_not_count),
    CASE(the_pongs_deadline_stands_still_while_reading_is_paused),
    CASE(without_an_interval_no_ping_is_sent),
    CASE(the_programs_own_ping_reaches_the_peer),
    CASE(a_peer_that_does_not_answer_close_is_dropped),
    CASE(a_peer_that_does_not_end_after_close_is_dropped),
    CASE(a_handshake_that_does_not_come_is_answered_with_408),
    CASE(a_handshake_of_one_byte_at_a_time_has_no_more_time),
    CASE(a_request_that_is_not_decided_in_time_is_closed),
};
E2E_MAIN("e2e_time")
