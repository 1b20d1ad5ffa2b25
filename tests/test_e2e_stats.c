/* The figures of a server add up, from end to end. */
#include "e2e_server.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

ALL_MODES(sockets_are_opened_refused_or_under_way)
{
    enum { OPENED = 7, PLAIN = 3, GONE = 4, SILENT = 2 };
    struct client k[OPENED], silent[SILENT], other;
    char head[1024];
    weft_stats s;

    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < OPENED; i++)
        CU_ASSERT(client_open(&k[i], t->port));
    for (int i = 0; i < PLAIN; i++) {
        CU_ASSERT(client_connect(&other, t->port));
        CU_ASSERT(client_put_text(&other, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        CU_ASSERT_EQUAL(client_status(&other, head, sizeof head), 426);
        client_close(&other);
    }
    for (int i = 0; i < GONE; i++) {
        CU_ASSERT(client_connect(&other, t->port));
        client_close(&other);
    }
    for (int i = 0; i < SILENT; i++)
        CU_ASSERT(client_connect(&silent[i], t->port));
    WAIT_FOR((s = e2e_stats(t), s.accepted == OPENED + PLAIN + GONE + SILENT && s.refused == PLAIN + GONE &&
                                   s.handshaking == SILENT));
    CU_ASSERT_EQUAL(s.opened, OPENED);
    CU_ASSERT_EQUAL(s.connections, OPENED);
    client_close(&k[0]);
    client_reset(&k[1]);
    WAIT_FOR((s = e2e_stats(t), s.closed == 2));
    CU_ASSERT_EQUAL(s.connections, OPENED - 2);
    STOPS(weft_server_stop(t->server, 0));
    s = e2e_stats(t);
    CU_ASSERT_EQUAL(s.connections + s.handshaking, 0);
    CU_ASSERT_EQUAL(s.closed, OPENED);
    CU_ASSERT_EQUAL(s.refused, PLAIN + GONE + SILENT);
    for (int i = 2; i < OPENED; i++)
        client_close(&k[i]);
    for (int i = 0; i < SILENT; i++)
        client_close(&silent[i]);
}

ALL_MODES(messages_and_bytes_are_counted_exactly)
{
    enum { COUNT = 300 };
    struct client k;
    weft_stats before, s;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    WAIT_FOR((before = e2e_stats(t), before.bytes_out > 0));
    for (int i = 0; i < COUNT; i++) {
        CU_ASSERT(client_say(&k, "ten bytes!"));
        CU_ASSERT(client_hears(&k, "ten bytes!"));
    }
    s = e2e_stats(t);
    CU_ASSERT_EQUAL(s.messages_in, COUNT);
    CU_ASSERT_EQUAL(s.bytes_in - before.bytes_in, COUNT * 16);
    /* The last one is counted behind the write that the client has seen. */
    WAIT_FOR((s = e2e_stats(t), s.messages_out == COUNT && s.bytes_out - before.bytes_out == COUNT * 12));
    CU_ASSERT(s.reads >= COUNT);
    CU_ASSERT(s.writes - before.writes == COUNT);
    CU_ASSERT_EQUAL(s.dropped_newest + s.dropped_oldest + s.dropped_closed + s.closed_slow, 0);
    client_close(&k);
}

/* Adds what it has sent. False: all of it was written, because the I/O thread was late with the last of it. */
static bool drops_the_rest(struct e2e *t, weft_msg *m, unsigned *all_sent)
{
    unsigned n = t->opened, sent = 0, before;
    struct client k;
    weft_conn *c;
    weft_stats s;

    CU_ASSERT(e2e_open(t, &k));
    c = e2e_take(t, n);
    CU_ASSERT_FATAL(c != NULL);
    do { /* until the system has taken what it can, too */
        struct timespec pause = {.tv_nsec = 20000000};
        before = sent;
        while (weft_conn_try_send(c, weft_msg_ref(m)) == WEFT_OK)
            sent++;
        weft_msg_unref(m); /* the reference that was not taken */
        nanosleep(&pause, NULL);
    } while (sent != before);
    weft_conn_abort(c);
    WAIT_FOR(t->closed == n + 1);
    s = e2e_stats(t);
    *all_sent += sent;
    CU_ASSERT_EQUAL(s.messages_out + s.dropped_closed, *all_sent);
    CU_ASSERT_EQUAL(weft_conn_outbox_bytes(c), 0);
    weft_conn_unref(c);
    client_close(&k);
    return s.dropped_closed > 0;
}

ALL_MODES(what_was_sent_was_written_or_counted_as_dropped)
{
    weft_msg *m = e2e_bytes(4096, 'x');
    unsigned sent = 0;

    client_buffer_bytes(32 * 1024, 0);
    t->socket_bytes = 32 * 1024;
    CU_ASSERT_FATAL(e2e_start(t));
    SUCCEEDS_ONCE(drops_the_rest(t, m, &sent));
    weft_msg_unref(m);
}

static void take_a_while(weft_conn *c, weft_msg *m, struct seen *s)
{
    struct timespec pause = {.tv_nsec = 30000000};

    (void)s;
    nanosleep(&pause, NULL);
    e2e_send(c, m);
}

ALL_MODES(the_longest_handler_and_the_hand_overs_are_told)
{
    struct client k;
    weft_stats s;
    uint64_t handovers = 0;

    t->on_message = take_a_while;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < 3; i++) {
        CU_ASSERT(client_say(&k, "work"));
        CU_ASSERT(client_hears(&k, "work"));
    }
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    WAIT_FOR((s = e2e_stats(t), s.longest_handler_us >= 30000));
    for (int i = 0; i < WEFT_HANDOVER_BUCKETS; i++)
        handovers += s.handover_us[i];
    CU_ASSERT(handovers >= 4); /* open, and three messages; close may have come with one of them */
    if (t->mode->is_inline) {
        CU_ASSERT_EQUAL(s.workers_started + s.worker_wakeups, 0);
    } else {
        CU_ASSERT(s.workers_started >= 2);
        CU_ASSERT(s.workers_started_max >= s.workers_started);
        CU_ASSERT(s.workers_busy <= s.workers_started);
    }
}

/* A program that was built with an older, shorter struct gets what it knows, and nothing beyond. */
ALL_MODES(an_older_program_gets_its_part)
{
    weft_stats s, full;

    CU_ASSERT_FATAL(e2e_start(t));
    memset(&s, 0x5a, sizeof s);
    s.size = offsetof(weft_stats, messages_in);
    CU_ASSERT_EQUAL(weft_server_stats(t->server, &s), WEFT_OK);
    CU_ASSERT_EQUAL(s.size, offsetof(weft_stats, messages_in));
    CU_ASSERT_EQUAL(s.accepted, 0);
    CU_ASSERT_EQUAL(s.messages_in, 0x5a5a5a5a5a5a5a5au);
    s.size = 0;
    CU_ASSERT_EQUAL(weft_server_stats(t->server, &s), WEFT_E_INVAL);
    full.size = sizeof full;
    CU_ASSERT_EQUAL(weft_server_stats(t->server, &full), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_stats(NULL, &full), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_server_stats(t->server, NULL), WEFT_E_INVAL);
}

static const struct unit_case cases[] = {
    CASE(sockets_are_opened_refused_or_under_way),
    CASE(messages_and_bytes_are_counted_exactly),
    CASE(what_was_sent_was_written_or_counted_as_dropped),
    CASE(the_longest_handler_and_the_hand_overs_are_told),
    CASE(an_older_program_gets_its_part),
};
E2E_MAIN("e2e_stats")
