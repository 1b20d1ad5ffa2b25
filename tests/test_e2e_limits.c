/* Limits against single peers, and of memory, from end to end. */
#include "e2e_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* From another address of the loopback. */
static bool connect_from(struct client *k, const char *address, uint16_t port)
{
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    inet_pton(AF_INET, address, &from.sin_addr);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        return false;
    }
    client_adopt(k, fd);
    return true;
}

/* The status of an upgrade from this address; the connection stays open. */
static int ask_from(struct client *k, const char *address, uint16_t port)
{
    char head[1024];

    if (!connect_from(k, address, port))
        return -1;
    client_ask(k, "/", NULL); /* who is refused may be gone before it has asked */
    return client_status(k, head, sizeof head);
}

ALL_MODES(an_address_above_its_connections_gets_429_and_others_come_in)
{
    enum { MAX = 3 };
    struct client k[MAX], more, other;

    t->opts.connections_per_address_max = MAX;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < MAX; i++)
        CU_ASSERT_EQUAL(ask_from(&k[i], "127.0.0.1", t->port), 101);
    for (int i = 0; i < 50; i++) {
        CU_ASSERT_EQUAL(ask_from(&more, "127.0.0.1", t->port), 429);
        client_close(&more);
    }
    CU_ASSERT_EQUAL(ask_from(&other, "127.0.0.2", t->port), 101);
    client_close(&other);
    CU_ASSERT_EQUAL(e2e_stats(t).refused_connections, 50);
    client_close(&k[0]);
    WAIT_FOR(t->closed == 2);
    CU_ASSERT_EQUAL(ask_from(&k[0], "127.0.0.1", t->port), 101);
    CU_ASSERT_EQUAL(ask_from(&more, "127.0.0.1", t->port), 429);
    client_close(&more);
    for (int i = 0; i < MAX; i++) {
        CU_ASSERT(client_say(&k[i], "still here"));
        CU_ASSERT(client_hears(&k[i], "still here"));
        client_close(&k[i]);
    }
    WAIT_FOR(t->closed == MAX + 2);
    CU_ASSERT_EQUAL(e2e_stats(t).accepted, MAX + 2);
}

ALL_MODES(an_unlimited_address_has_no_limit)
{
    static const char *const proxies[] = {"127.0.0.3", "::1"};
    struct client k[10], one, more;

    t->opts.connections_per_address_max = 1;
    t->opts.handshakes_per_second_max = 1;
    t->opts.unlimited_addresses = proxies;
    t->opts.unlimited_address_count = 2;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < 10; i++)
        CU_ASSERT_EQUAL(ask_from(&k[i], "127.0.0.3", t->port), 101);
    CU_ASSERT_EQUAL(ask_from(&one, "127.0.0.1", t->port), 101);
    CU_ASSERT_EQUAL(ask_from(&more, "127.0.0.1", t->port), 429);
    client_close(&more);
    client_close(&one);
    for (int i = 0; i < 10; i++)
        client_close(&k[i]);
}

ALL_MODES(an_address_that_comes_too_often_gets_429)
{
    enum { BURST = 5 };
    struct client k;
    unsigned opened = 0, refused = 0;
    uint64_t began_us;

    t->opts.handshakes_per_second_max = 1;
    t->opts.handshakes_burst = BURST;
    CU_ASSERT_FATAL(e2e_start(t));
    began_us = e2e_now_us();
    for (int i = 0; i < 40; i++) {
        int status = ask_from(&k, "127.0.0.1", t->port);
        opened += status == 101;
        refused += status == 429;
        client_close(&k);
    }
    CU_ASSERT_EQUAL(opened + refused, 40);
    CU_ASSERT(opened >= BURST);
    CU_ASSERT(opened <= BURST + 1 + (e2e_now_us() - began_us) / 1000000);
    CU_ASSERT_EQUAL(e2e_stats(t).refused_rate, refused);
    CU_ASSERT_EQUAL(ask_from(&k, "127.0.0.2", t->port), 101);
    client_close(&k);
}

ALL_MODES(a_full_server_says_so_if_it_is_to)
{
    enum { MAX = 4 };
    struct client k[MAX], more;

    t->opts.connections_max = MAX;
    t->opts.refuse_when_full = true;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < MAX; i++)
        CU_ASSERT(e2e_open(t, &k[i]));
    for (int i = 0; i < 100; i++) {
        CU_ASSERT_EQUAL(ask_from(&more, "127.0.0.1", t->port), 503);
        client_close(&more);
    }
    CU_ASSERT_EQUAL(e2e_stats(t).refused_full, 100);
    CU_ASSERT_EQUAL(e2e_stats(t).accept_pauses, 0);
    client_close(&k[0]);
    WAIT_FOR(t->closed == 1);
    WAIT_FOR(ask_from(&k[0], "127.0.0.1", t->port) == 101 || (client_close(&k[0]), false));
    for (int i = 0; i < MAX; i++)
        client_close(&k[i]);
}

/* Those that are kept while they are refused go with the server. */
ALL_MODES(a_server_stops_while_it_refuses)
{
    struct client k, more[40];

    t->opts.connections_max = 1;
    t->opts.refuse_when_full = true;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < 40; i++)
        CU_ASSERT(client_connect(&more[i], t->port));
    WAIT_FOR(e2e_stats(t).refused_full == 40);
    e2e_stop(t, 0);
    for (int i = 0; i < 40; i++)
        client_close(&more[i]);
    client_close(&k);
}

/* All of them come, in order, but not sooner than they may; Pings count too, and so does the next read. */
ALL_MODES(messages_above_the_rate_wait_and_none_is_lost)
{
    enum { BURST = 20, RATE = 100, COUNT = 60 };
    uint64_t began, took_us;
    uint8_t frames[COUNT * 16]; /* written at once, so that they are above the rate */
    size_t n = 0;
    struct client k, other;
    char text[32];

    t->opts.messages_per_second_max = RATE;
    t->opts.messages_burst = BURST;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(e2e_open(t, &other));
    began = e2e_now_us();
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof text, "%d", i);
        n += client_frame(frames + n, 0x80 | CLIENT_TEXT, text, strlen(text));
    }
    CU_ASSERT(client_put(&k, frames, n));
    CU_ASSERT(client_say(&other, "mine"));
    CU_ASSERT(client_hears(&other, "mine"));
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof text, "%d", i);
        CU_ASSERT(client_hears(&k, text));
    }
    took_us = e2e_now_us() - began;
    CU_ASSERT(took_us >= (COUNT - BURST - 1) * UINT64_C(1000000) / RATE);
    CU_ASSERT(took_us < (COUNT - BURST) * UINT64_C(1000000) / RATE + 10000000);
    CU_ASSERT(e2e_stats(t).rate_pauses >= 1);
    client_close(&k);
    client_close(&other);
}

ALL_MODES(pings_and_pongs_above_the_rate_wait_too)
{
    enum { COUNT = 2000 };
    uint8_t frames[COUNT * 8];
    size_t n = 0;
    struct client k;

    t->opts.messages_per_second_max = 100;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < COUNT; i++)
        n += client_frame(frames + n, 0x80 | (i % 2 ? CLIENT_PING : CLIENT_PONG), "", 0);
    CU_ASSERT(client_put(&k, frames, n));
    CU_ASSERT(client_say(&k, "behind them"));
    WAIT_FOR(e2e_stats(t).rate_pauses >= 3);
    CU_ASSERT_EQUAL(t->messages, 0);
    CU_ASSERT(e2e_stats(t).rate_pauses < 1000);
    client_close(&k);
    WAIT_FOR(e2e_stats(t).connections == 0 || e2e_stats(t).rate_pauses > 0);
}

/* --- memory --- */

enum { BUDGET = 4 << 20, PIECE = 1 << 20 };

/* The first bytes of a message of 1 MiB, without the last one, as far as there is memory. */
static void put_most_of_a_message(struct e2e *t, struct client *k)
{
    static uint8_t frame[PIECE + 14];
    size_t n = client_frame(frame, 0x80 | CLIENT_BINARY, frame, PIECE) - 1, gone = 0;

    PUT_UNTIL(k, frame, n, gone, gone == n || e2e_stats(t).memory_pauses >= 1);
}

ALL_MODES(cut_messages_above_the_memory_bound_are_given_up_and_the_rest_goes_on)
{
    enum { CLIENTS = 12 };
    struct client k[CLIENTS], good, late;

    t->opts.memory_bytes_max = BUDGET;
    t->opts.message_bytes_max = PIECE;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &good));
    for (int i = 0; i < CLIENTS; i++)
        CU_ASSERT(e2e_open(t, &k[i]));
    for (int i = 0; i < CLIENTS; i++)
        put_most_of_a_message(t, &k[i]);
    WAIT_FOR(e2e_stats(t).memory_pauses >= 1);
    CU_ASSERT(e2e_stats(t).memory_bytes < BUDGET + 3 * (uint64_t)PIECE);
    WAIT_FOR(e2e_stats(t).memory_closed >= 1);
    CU_ASSERT(client_say(&good, "and me?"));
    CU_ASSERT(client_hears(&good, "and me?"));
    for (int i = 0; i < CLIENTS; i++)
        client_close(&k[i]);
    WAIT_FOR(t->closed == CLIENTS);
    WAIT_FOR(ask_from(&late, "127.0.0.1", t->port) == 101 || (client_close(&late), false));
    client_close(&late);
    client_close(&good);
}

static _Atomic unsigned kept_count;

static void keep_message(weft_conn *c, weft_msg *m, struct seen *s)
{
    weft_msg **kept = s->t->arg;

    (void)c;
    kept[atomic_fetch_add(&kept_count, 1)] = m;
}

/* The program's own memory counts: who comes gets 503, and nobody is blamed. */
ALL_MODES(while_the_program_keeps_too_much_who_comes_gets_503)
{
    enum { KEPT = 6 };
    static uint8_t payload[PIECE], frames[3 * (PIECE + 14)];
    size_t n = 0, gone = 0;
    static weft_msg *kept[64];
    struct client k, more;

    t->opts.memory_bytes_max = BUDGET;
    kept_count = 0;
    t->on_message = keep_message;
    t->arg = kept;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < 3; i++)
        CU_ASSERT(client_send(&k, CLIENT_BINARY, payload, PIECE));
    WAIT_FOR(t->messages == 3);
    CU_ASSERT_EQUAL(ask_from(&more, "127.0.0.1", t->port), 101);
    client_close(&more);
    for (int i = 3; i < KEPT; i++)
        n += client_frame(frames + n, 0x80 | CLIENT_BINARY, payload, PIECE);
    PUT_UNTIL(&k, frames, n, gone,
              ask_from(&more, "127.0.0.1", t->port) == 503 || (client_close(&more), false));
    WAIT_FOR(e2e_stats(t).memory_pauses >= 1);
    client_close(&more);
    CU_ASSERT(e2e_stats(t).refused_full >= 1);
    client_close(&k);
    e2e_stop(t, 0);
    for (unsigned i = 0; i < kept_count; i++)
        weft_msg_unref(kept[i]);
}

/* Peers that do not read what they are sent: nothing of it leaves, so nothing but their end helps. */
static void send_more_than_it_reads(weft_conn *c, struct seen *s)
{
    (void)s;
    for (int i = 0; i < 6; i++)
        e2e_send(c, e2e_bytes(128 * 1024, 'x'));
}

ALL_MODES(slow_readers_above_the_memory_bound_are_closed)
{
    enum { CLIENTS = 10 };
    struct client k[CLIENTS];
    char head[1024];

    t->opts.memory_bytes_max = BUDGET;
    t->opts.outbox_high_bytes = 1 << 20;
    t->on_open = send_more_than_it_reads;
    t->socket_bytes = 4096;
    CU_ASSERT_FATAL(e2e_start(t));
    client_buffer_bytes(4096, 0);
    for (int i = 0; i < CLIENTS; i++) { /* the last ones may be told that there is no room */
        CU_ASSERT(client_connect(&k[i], t->port));
        client_ask(&k[i], "/", NULL);
        client_status(&k[i], head, sizeof head);
    }
    client_buffer_bytes(0, 0);
    WAIT_FOR(e2e_stats(t).memory_closed >= 1);
    WAIT_FOR(e2e_stats(t).memory_bytes <= BUDGET);
    e2e_stop(t, 0);
    for (int i = 0; i < CLIENTS; i++)
        client_close(&k[i]);
}

ALL_MODES(limits_that_make_no_sense_are_refused)
{
    static const char *const bad[] = {"10.0.0.0/8", "somewhere"};
    weft_server_opts opts[] = {
        {.size = sizeof(weft_server_opts), .memory_bytes_max = 1000},
        {.size = sizeof(weft_server_opts), .handshakes_per_second_max = 1000001, .handshakes_burst = 1},
        {.size = sizeof(weft_server_opts), .messages_per_second_max = 1000001, .messages_burst = 1},
        {.size = sizeof(weft_server_opts), .messages_per_second_max = 1, .messages_burst = 1000001},
        {.size = sizeof(weft_server_opts), .unlimited_addresses = bad, .unlimited_address_count = 2},
    };
    weft_server *s;

    for (size_t i = 0; i < sizeof opts / sizeof opts[0]; i++)
        CU_ASSERT_EQUAL(weft_server_new(&s, &opts[i]), WEFT_E_INVAL);
    CU_ASSERT_FATAL(e2e_start(t));
}

static const struct unit_case cases[] = {
    CASE(an_address_above_its_connections_gets_429_and_others_come_in),
    CASE(an_unlimited_address_has_no_limit),
    CASE(an_address_that_comes_too_often_gets_429),
    CASE(a_full_server_says_so_if_it_is_to),
    CASE(a_server_stops_while_it_refuses),
    CASE(messages_above_the_rate_wait_and_none_is_lost),
    CASE(pings_and_pongs_above_the_rate_wait_too),
    CASE(cut_messages_above_the_memory_bound_are_given_up_and_the_rest_goes_on),
    CASE(while_the_program_keeps_too_much_who_comes_gets_503),
    CASE(slow_readers_above_the_memory_bound_are_closed),
    CASE(limits_that_make_no_sense_are_refused),
};
E2E_MAIN("e2e_limits")
