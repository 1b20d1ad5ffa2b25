/* Messages in parts, in both directions. */
#include "e2e_server.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- sending --- */

static int send_in_parts(weft_conn *c, struct seen *s)
{
    weft_msg *m;
    int rc = weft_conn_send_begin(c, WEFT_TEXT);

    if (rc != WEFT_OK || weft_conn_send_part(c, "gr\xc3", 3) != WEFT_OK) /* a character cut in two */
        e2e_fault(s->t, "the first part: %d", rc);
    weft_conn_send_text(c, "behind");
    weft_conn_ping(c, "beside", 6);
    weft_group_broadcast(weft_server_group(s->t->server), e2e_text("for all"), NULL);
    if (weft_conn_send_part(c, "\xff", 1) != WEFT_E_UTF8 ||
        weft_conn_send_part(c, "\xbc\xc3\x9f", 3) != WEFT_OK || weft_conn_send_part(c, "", 0) != WEFT_OK ||
        weft_conn_send_part(c, "e", 1) != WEFT_OK)
        e2e_fault(s->t, "the other parts");
    if (weft_conn_send_end(c) != WEFT_OK || weft_conn_send_end(c) != WEFT_E_STATE ||
        weft_conn_send_part(c, "x", 1) != WEFT_E_STATE)
        e2e_fault(s->t, "the end");
    if (weft_conn_send_begin(c, WEFT_BINARY) != WEFT_OK || weft_conn_send_end(c) != WEFT_OK)
        e2e_fault(s->t, "an empty message");
    rc = weft_conn_recv(c, &m, WEFT_FOREVER);
    weft_msg_unref(rc == WEFT_OK ? m : NULL);
    return rc;
}

static bool part_is(struct client *k, unsigned opcode, bool is_final, const char *text)
{
    struct frame f;

    return client_next(k, &f) == CLIENT_OK && f.opcode == opcode && f.is_final == is_final &&
           f.bytes == strlen(text) && memcmp(f.payload, text, f.bytes) == 0;
}

ALL_MODES(other_messages_wait_behind_one_in_parts_and_pings_do_not)
{
    struct client k;

    t->handler = send_in_parts;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(part_is(&k, CLIENT_TEXT, false, "gr\xc3"));
    CU_ASSERT(part_is(&k, CLIENT_PING, true, "beside"));
    CU_ASSERT(part_is(&k, 0, false, "\xbc\xc3\x9f"));
    CU_ASSERT(part_is(&k, 0, false, ""));
    CU_ASSERT(part_is(&k, 0, false, "e"));
    CU_ASSERT(part_is(&k, 0, true, ""));
    CU_ASSERT(client_hears(&k, "behind"));
    CU_ASSERT(client_hears(&k, "for all"));
    CU_ASSERT(part_is(&k, CLIENT_BINARY, true, ""));
    client_close(&k);
    WAIT_FOR(t->closed == 1);
}

static int end_within_character(weft_conn *c, struct seen *s)
{
    if (weft_conn_send_end(c) != WEFT_E_STATE || weft_conn_send_begin(c, WEFT_TEXT) != WEFT_OK ||
        weft_conn_send_part(c, "\xc3", 1) != WEFT_OK || weft_conn_send_end(c) != WEFT_E_UTF8)
        e2e_fault(s->t, "text that ends within a character");
    return WEFT_OK;
}

ALL_MODES(text_that_ends_within_a_character_closes_with_1007)
{
    struct client k;

    t->handler = end_within_character;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(part_is(&k, CLIENT_TEXT, false, "\xc3"));
    CU_ASSERT(client_hears_close(&k, 1007));
    client_close(&k);
}

static int close_in_the_middle(weft_conn *c, struct seen *s)
{
    if (weft_conn_send_begin(c, WEFT_TEXT) != WEFT_OK || weft_conn_send_part(c, "half", 4) != WEFT_OK)
        e2e_fault(s->t, "a part");
    weft_conn_send_text(c, "never");
    weft_conn_send_text(c, "leaves");
    if (weft_conn_close(c, 1000, NULL) != WEFT_OK || weft_conn_send_part(c, "x", 1) != WEFT_E_CLOSED ||
        weft_conn_send_end(c) != WEFT_E_CLOSED || weft_conn_send_begin(c, WEFT_TEXT) != WEFT_E_CLOSED)
        e2e_fault(s->t, "it is closed");
    return WEFT_OK;
}

ALL_MODES(a_close_in_the_middle_drops_what_was_held_back)
{
    struct client k;

    t->handler = close_in_the_middle;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(part_is(&k, CLIENT_TEXT, false, "half"));
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT_EQUAL(e2e_stats(t).dropped_closed, 2);
    CU_ASSERT_EQUAL(weft_group_count(weft_server_group(t->server)), 0);
}

/* The others fill the outbox with what is held back; the one who sends parts must not wait for that. */
struct beside {
    weft_conn *conn;
    unsigned count;
};

static void *send_beside(void *arg)
{
    struct beside *b = arg;

    for (unsigned i = 0; i < b->count; i++)
        if (e2e_send(b->conn, e2e_bytes(3000, (int)i)) != WEFT_OK)
            break;
    return NULL;
}

#define LARGE_PARTS 400

static int stream_beside_others(weft_conn *c, struct seen *s)
{
    static const char part[10000];
    struct beside b = {c, 100};
    pthread_t thread;
    int rc = weft_conn_send_begin(c, WEFT_BINARY);

    if (rc == WEFT_OK)
        rc = weft_conn_send_part(c, part, sizeof part);
    pthread_create(&thread, NULL, send_beside, &b);
    for (int i = 1; i < LARGE_PARTS && rc == WEFT_OK; i++)
        rc = weft_conn_send_part(c, part, sizeof part);
    if (rc == WEFT_OK)
        rc = weft_conn_send_end(c);
    if (rc != WEFT_OK)
        e2e_fault(s->t, "a part: %d", rc);
    pthread_join(thread, NULL);
    return WEFT_OK;
}

ALL_MODES(who_sends_parts_does_not_wait_for_what_waits_for_him)
{
    size_t bytes = 0;
    struct client k;
    struct frame f;

    t->handler = stream_beside_others;
    t->opts.outbox_high_bytes = 32768;
    t->socket_bytes = 16384;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    do {
        CU_ASSERT_FATAL(client_hear(&k, &f) == CLIENT_OK && f.opcode == (bytes ? 0 : CLIENT_BINARY));
        bytes += f.bytes;
    } while (!f.is_final);
    CU_ASSERT_EQUAL(bytes, 10000 * LARGE_PARTS);
    for (int i = 0; i < 100; i++)
        CU_ASSERT(client_hear(&k, &f) == CLIENT_OK && f.bytes == 3000 && f.payload[0] == i);
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
}

static void *stream_one(void *arg)
{
    struct beside *b = arg;
    char text[4];

    snprintf(text, sizeof text, "%u", b->count);
    if (weft_conn_send_begin(b->conn, WEFT_TEXT) == WEFT_OK) {
        for (int i = 0; i < 20; i++)
            weft_conn_send_part(b->conn, text, 1);
        weft_conn_send_end(b->conn);
    }
    return NULL;
}

static int wait_for_gate(weft_conn *c, struct seen *s)
{
    (void)c;
    return gate_pass(&s->t->gate) ? WEFT_OK : WEFT_E_BROKEN;
}

ALL_MODES(messages_in_parts_of_several_threads_come_one_behind_the_other)
{
    enum { THREADS = 8 };
    struct beside b[THREADS];
    pthread_t threads[THREADS];
    struct client k;
    weft_conn *c;

    t->handler = wait_for_gate;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    c = e2e_take(t, 0);
    for (unsigned i = 0; i < THREADS; i++) {
        b[i] = (struct beside){c, i};
        pthread_create(&threads[i], NULL, stream_one, &b[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        struct frame f;
        char first = 0;
        for (int n = 0; n < 20; n++) {
            CU_ASSERT_FATAL(client_hear(&k, &f) == CLIENT_OK && f.bytes == 1 && !f.is_final);
            if (n == 0)
                first = (char)f.payload[0];
            CU_ASSERT_EQUAL((char)f.payload[0], first);
        }
        CU_ASSERT(client_hear(&k, &f) == CLIENT_OK && f.bytes == 0 && f.is_final);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    gate_open(&t->gate);
    weft_conn_unref(c);
    client_close(&k);
}

/* --- receiving --- */

#define LARGE_BYTES (unit_is_slow() ? 3u << 20 : 40u << 20)

static int sum_parts(weft_conn *c, struct seen *s)
{
    bool is_last = false;
    weft_msg *m;
    int rc = WEFT_OK;

    while (!is_last && (rc = weft_conn_recv_part(c, &m, &is_last, WEFT_FOREVER)) == WEFT_OK) {
        if (weft_msg_bytes(m) > 65536 || weft_msg_type(m) != WEFT_BINARY)
            e2e_fault(s->t, "a part of %zu bytes", weft_msg_bytes(m));
        s->number += weft_msg_bytes(m);
        weft_msg_unref(m);
    }
    return rc;
}

/* Larger than any message may be, and than the inbox. */
ALL_MODES(a_message_larger_than_memory_is_received_in_parts)
{
    enum { STEP = 1 << 20 };
    uint8_t *bytes = calloc(1, STEP), *frame = malloc(STEP + 14);
    unsigned steps = LARGE_BYTES / STEP;
    struct client k;

    t->handler = sum_parts;
    t->opts.receive_parts = true;
    t->opts.message_bytes_max = 1000;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (unsigned i = 0; i < steps; i++) {
        unsigned first = (i ? 0u : CLIENT_BINARY) | (i == steps - 1 ? 0x80u : 0u);
        CU_ASSERT_FATAL(client_put(&k, frame, client_frame(frame, first, bytes, STEP)));
    }
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
    CU_ASSERT_EQUAL(t->seen[0]->number, (uint64_t)steps * STEP);
    free(bytes);
    free(frame);
}

static int echo(weft_conn *c, struct seen *s)
{
    weft_msg *m;
    int rc;

    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK)
        e2e_send(c, m);
    if (rc == WEFT_E_TOO_BIG) {
        s->number = 1;
        rc = weft_conn_recv(c, &m, WEFT_FOREVER);
    }
    return rc;
}

/* As fed: whole, byte by byte, in fragments with Pings between them. */
static bool put_slowly(struct client *k, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!client_put(k, bytes + i, 1))
            return false;
    return true;
}

ALL_MODES(recv_puts_parts_together_however_they_come)
{
    static const char text[] = "a text with \xc3\xbc and \xf0\x9f\x98\x80 in it";
    uint8_t bytes[128];
    char large[100001];
    struct client k;

    memset(large, 'l', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    t->handler = echo;
    t->opts.receive_parts = true;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_say(&k, text));
    CU_ASSERT(client_hears(&k, text));
    CU_ASSERT(put_slowly(&k, bytes, client_frame(bytes, 0x81, text, strlen(text))));
    CU_ASSERT(client_hears(&k, text));
    for (size_t i = 0; i < strlen(text); i++) {
        CU_ASSERT(client_put(&k, bytes, client_frame(bytes, i ? 0 : 1, text + i, 1)));
        CU_ASSERT(client_send(&k, CLIENT_PONG, "", 0));
        CU_ASSERT(client_put(&k, bytes, client_frame(bytes, 0, "", 0)));
    }
    CU_ASSERT(client_put(&k, bytes, client_frame(bytes, 0x80, "", 0)));
    CU_ASSERT(client_hears(&k, text));
    CU_ASSERT(client_say(&k, ""));
    CU_ASSERT(client_hears(&k, ""));
    CU_ASSERT(client_say(&k, large)); /* more parts than the inbox lets in */
    CU_ASSERT(client_hears(&k, large));
    client_close(&k);
}

ALL_MODES(a_message_that_is_too_long_for_recv_closes_with_1009)
{
    char large[3000] = "";
    struct client k;
    struct frame f;

    t->handler = echo;
    t->opts.receive_parts = true;
    t->opts.message_bytes_max = 2000;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_send(&k, CLIENT_BINARY, large, 2000));
    CU_ASSERT(client_hear(&k, &f) == CLIENT_OK && f.bytes == 2000);
    CU_ASSERT(client_send(&k, CLIENT_BINARY, large, 2001));
    CU_ASSERT_EQUAL(client_skip_to_close(&k), 1009);
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT_EQUAL(t->seen[0]->number, 1);
}

ALL_MODES(text_in_parts_is_checked_over_their_borders)
{
    uint8_t bytes[32];
    struct client k;

    t->handler = echo;
    t->opts.receive_parts = true;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_put(&k, bytes, client_frame(bytes, 1, "\xc3", 1)));
    CU_ASSERT(client_put(&k, bytes, client_frame(bytes, 0x80, "x", 1)));
    CU_ASSERT_EQUAL(client_skip_to_close(&k), 1007);
    client_close(&k);
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_put(&k, bytes, client_frame(bytes, 1, "\xc3", 1)));
    CU_ASSERT(client_put(&k, bytes, client_frame(bytes, 0x80, "", 0)));
    CU_ASSERT_EQUAL(client_skip_to_close(&k), 1007);
    client_close(&k);
}

static int part_then_rest(weft_conn *c, struct seen *s)
{
    bool is_last = true;
    weft_msg *m;

    if (weft_conn_recv_part(c, &m, &is_last, WEFT_FOREVER) != WEFT_OK || is_last || weft_msg_bytes(m) != 1)
        e2e_fault(s->t, "the first part");
    weft_msg_unref(m);
    if (weft_conn_recv(c, &m, 30) != WEFT_E_TIMEOUT) /* what it took meanwhile is kept */
        e2e_fault(s->t, "half a message is one");
    weft_conn_send_text(c, "go on");
    if (weft_conn_recv_part(c, &m, &is_last, WEFT_FOREVER) != WEFT_OK || !is_last || weft_msg_bytes(m) != 2)
        e2e_fault(s->t, "the rest");
    weft_msg_unref(m);
    return WEFT_OK;
}

ALL_MODES(behind_a_part_comes_the_rest)
{
    uint8_t bytes[32];
    struct client k;

    t->handler = part_then_rest;
    t->opts.receive_parts = true;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_put(&k, bytes, client_frame(bytes, 1, "a", 1)));
    CU_ASSERT(client_put(&k, bytes, client_frame(bytes, 0, "b", 1)));
    CU_ASSERT(client_hears(&k, "go on"));
    CU_ASSERT(client_put(&k, bytes, client_frame(bytes, 0x80, "c", 1)));
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
}

static const struct unit_case cases[] = {
    CASE(other_messages_wait_behind_one_in_parts_and_pings_do_not),
    CASE(text_that_ends_within_a_character_closes_with_1007),
    CASE(a_close_in_the_middle_drops_what_was_held_back),
    CASE(who_sends_parts_does_not_wait_for_what_waits_for_him),
    CASE(messages_in_parts_of_several_threads_come_one_behind_the_other),
    CASE(a_message_larger_than_memory_is_received_in_parts),
    CASE(recv_puts_parts_together_however_they_come),
    CASE(a_message_that_is_too_long_for_recv_closes_with_1009),
    CASE(text_in_parts_is_checked_over_their_borders),
    CASE(behind_a_part_comes_the_rest),
};
E2E_MAIN("e2e_stream")
