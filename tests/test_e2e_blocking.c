/* Handlers that block, from end to end (promise P5): the I/O role never waits for them, and others get
 * threads of their own. */
#include "e2e_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLEEP_US 2000000u

static bool is_text(weft_msg *m, const char *text)
{
    return weft_msg_bytes(m) == strlen(text) && memcmp(weft_msg_data(m), text, strlen(text)) == 0;
}

static void sleep_or_echo(weft_conn *c, weft_msg *m, struct seen *s)
{
    struct timespec pause = {.tv_sec = SLEEP_US / 1000000, .tv_nsec = SLEEP_US % 1000000 * 1000};

    (void)s;
    if (is_text(m, "sleep"))
        nanosleep(&pause, NULL);
    e2e_send(c, m);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The latency below which 19 of 20 echoes were. */
static uint64_t echo_latency_us(struct client *k, unsigned rounds)
{
    uint64_t *us = calloc(rounds, sizeof *us), result;

    for (unsigned i = 0; i < rounds; i++) {
        uint64_t began = e2e_now_us();
        CU_ASSERT(client_say(k, "quick"));
        CU_ASSERT(client_hears(k, "quick"));
        us[i] = e2e_now_us() - began;
    }
    qsort(us, rounds, sizeof *us, by_size);
    result = us[rounds - rounds / 20 - 1];
    free(us);
    return result;
}

/* The comparison is with the same machine a moment before, and generous: what a loop that waits for the
 * sleeper would show is two seconds, not milliseconds. */
POOL_MODES(a_sleeping_handler_costs_other_connections_nothing)
{
    struct client sleeper, other;
    uint64_t before_us, beside_us, began_us;

    t->on_message = sleep_or_echo;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &sleeper));
    CU_ASSERT(e2e_open(t, &other));
    before_us = echo_latency_us(&other, 200);
    began_us = e2e_now_us();
    CU_ASSERT(client_say(&sleeper, "sleep"));
    beside_us = echo_latency_us(&other, 200);
    CU_ASSERT(e2e_now_us() - began_us < SLEEP_US || unit_is_slow());
    CU_ASSERT(beside_us < 20 * before_us + 20000);
    CU_ASSERT(client_hears(&sleeper, "sleep"));
    CU_ASSERT(e2e_now_us() - began_us >= SLEEP_US);
    client_close(&sleeper);
    client_close(&other);
}

static void wait_at_gate(weft_conn *c, weft_msg *m, struct seen *s)
{
    if (is_text(m, "wait") && !gate_pass(s->t->arg))
        e2e_fault(s->t, "the gate stayed shut");
    e2e_send(c, m);
}

POOL_MODES(the_sleepers_own_pings_are_answered_at_once)
{
    struct gate *g = &t->gate;
    struct client k;
    struct frame f;

    t->on_message = wait_at_gate;
    t->arg = g;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_say(&k, "wait"));
    WAIT_FOR(g->waiting == 1);
    for (int i = 0; i < 20; i++) {
        CU_ASSERT(client_send(&k, CLIENT_PING, "awake?", 6));
        CU_ASSERT_EQUAL(client_next(&k, &f), CLIENT_OK);
        CU_ASSERT(frame_is(&f, CLIENT_PONG, "awake?"));
    }
    CU_ASSERT_EQUAL(g->waiting, 1);
    gate_open(g);
    CU_ASSERT(client_hears(&k, "wait"));
    client_close(&k);
}

POOL_MODES(the_sleepers_closing_handshake_is_answered_at_once)
{
    struct gate *g = &t->gate;
    struct client k;

    t->on_message = wait_at_gate;
    t->arg = g;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_say(&k, "wait"));
    WAIT_FOR(g->waiting == 1);
    CU_ASSERT(client_say_close(&k, 1000));
    CU_ASSERT(client_hears_close(&k, 1000));
    CU_ASSERT_EQUAL(t->closed, 0);
    gate_open(g);
    client_close(&k);
    WAIT_FOR(t->closed == 1);
}

/* All of them are inside their handlers at once, far more than there are workers to begin with. */
POOL_MODES(threads_are_added_while_handlers_block)
{
    enum { BLOCKED = 12 };
    struct gate *g = &t->gate;
    struct client k[BLOCKED], other;

    t->on_message = wait_at_gate;
    t->arg = g;
    t->opts.workers = 2;
    t->opts.workers_max = BLOCKED + 1;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < BLOCKED; i++) {
        CU_ASSERT(client_open(&k[i], t->port));
        CU_ASSERT(client_say(&k[i], "wait"));
    }
    WAIT_FOR(g->waiting == BLOCKED);
    CU_ASSERT(client_open(&other, t->port));
    CU_ASSERT(client_say(&other, "served?"));
    CU_ASSERT(client_hears(&other, "served?"));
    WAIT_FOR(e2e_stats(t).workers_started_max == BLOCKED + 1);
    CU_ASSERT_EQUAL(g->waiting, BLOCKED);
    gate_open(g);
    for (int i = 0; i < BLOCKED; i++) {
        CU_ASSERT(client_hears(&k[i], "wait"));
        client_close(&k[i]);
    }
    client_close(&other);
}

/* At the limit of threads the rest waits for its turn, and the I/O role goes on. */
POOL_MODES(at_the_limit_of_threads_the_rest_waits_and_is_served)
{
    enum { CONNS = 10 };
    struct gate *g = &t->gate;
    struct client k[CONNS];
    struct frame f;

    t->on_message = wait_at_gate;
    t->arg = g;
    t->opts.workers = 1;
    t->opts.workers_max = 3;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT(client_open(&k[i], t->port));
    WAIT_FOR(t->opened == CONNS);
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT(client_say(&k[i], "wait"));
    WAIT_FOR(g->waiting == 3);
    CU_ASSERT(client_send(&k[CONNS - 1], CLIENT_PING, "io?", 3));
    CU_ASSERT_EQUAL(client_next(&k[CONNS - 1], &f), CLIENT_OK);
    CU_ASSERT(frame_is(&f, CLIENT_PONG, "io?"));
    WAIT_FOR(e2e_stats(t).workers_started_max == 3); /* counted by who started it, a moment later */
    gate_open(g);
    for (int i = 0; i < CONNS; i++) {
        CU_ASSERT(client_hears(&k[i], "wait"));
        client_close(&k[i]);
    }
}

/* Connections die while no worker is free to be told, and others take their places: none is lost. */
POOL_MODES(connections_that_come_and_go_while_all_workers_block_are_all_reported)
{
    enum { GONE = 24 };
    struct gate *g = &t->gate;
    struct client first, k;
    weft_stats s;
    unsigned came = 0;

    t->on_message = wait_at_gate;
    t->arg = g;
    t->opts.workers = t->opts.workers_max = 1;
    t->opts.connections_max = 4;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &first));
    CU_ASSERT(client_say(&first, "wait"));
    WAIT_FOR(g->waiting == 1);
    for (int i = 0; i < GONE; i++) {
        if (e2e_stats(t).opened < 4) {
            CU_ASSERT(client_open(&k, t->port));
            came++;
        } else {
            CU_ASSERT(client_connect(&k, t->port)); /* waits in the backlog */
        }
        client_reset(&k);
    }
    gate_open(g);
    CU_ASSERT(client_hears(&first, "wait"));
    WAIT_FOR(t->closed >= came && t->closed + 1 == t->opened && e2e_stats(t).handshaking == 0);
    CU_ASSERT(client_open(&k, t->port));
    CU_ASSERT(client_say(&k, "again"));
    CU_ASSERT(client_hears(&k, "again"));
    s = e2e_stats(t);
    CU_ASSERT_EQUAL(s.accepted, s.opened + s.refused + s.handshaking);
    client_close(&k);
    client_close(&first);
}

static void block_in_open(weft_conn *c, struct seen *s)
{
    (void)c;
    if (!gate_pass(s->t->arg))
        e2e_fault(s->t, "the gate stayed shut");
}

/* What arrives while on_open runs is handled behind it. */
POOL_MODES(messages_wait_for_the_end_of_on_open)
{
    struct gate *g = &t->gate;
    struct client k;

    t->on_open = block_in_open;
    t->arg = g;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    WAIT_FOR(g->waiting == 1);
    CU_ASSERT(client_say(&k, "early"));
    WAIT_FOR(e2e_stats(t).messages_in == 1);
    CU_ASSERT_EQUAL(t->messages, 0);
    gate_open(g);
    CU_ASSERT(client_hears(&k, "early"));
    client_close(&k);
}

/* Producer and consumer at once: a thread of the program that sends without end keeps nothing from being
 * received. */
struct flood {
    weft_conn *conn;
    _Atomic int is_over;
};

static void *send_without_end(void *arg)
{
    struct flood *f = arg;

    while (!atomic_load(&f->is_over))
        if (weft_conn_send_text(f->conn, "flood") != WEFT_OK)
            break;
    return NULL;
}

static void count_only(weft_conn *c, weft_msg *m, struct seen *s)
{
    (void)c, (void)s;
    weft_msg_unref(m);
}

static void *read_all(void *arg)
{
    struct frame f;

    while (client_next(arg, &f) == CLIENT_OK) {
    }
    return NULL;
}

ALL_MODES(a_producer_without_end_keeps_nothing_from_being_received)
{
    enum { COUNT = 200 };
    struct flood flood = {0};
    pthread_t producer, reader;
    struct client k;

    t->on_message = count_only;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    flood.conn = e2e_take(t, 0);
    CU_ASSERT_FATAL(flood.conn != NULL);
    pthread_create(&producer, NULL, send_without_end, &flood);
    pthread_create(&reader, NULL, read_all, &k);
    for (unsigned i = 0; i < COUNT; i++) {
        CU_ASSERT(client_say(&k, "in between"));
        WAIT_FOR(t->messages == i + 1);
    }
    atomic_store(&flood.is_over, 1);
    pthread_join(producer, NULL);
    weft_conn_abort(flood.conn);
    pthread_join(reader, NULL);
    weft_conn_unref(flood.conn);
    client_close(&k);
}

/* --- handlers that wait for the I/O role --- */

static uint64_t bytes_in(const struct e2e *t)
{
    weft_stats s = {.size = sizeof s};

    return weft_server_stats(t->server, &s) == WEFT_OK ? s.bytes_in : 0;
}

/* Some of them wait until a loop has read something: which it does however many of them wait. */
static void wait_for_the_io_role(weft_conn *c, weft_msg *m, struct seen *s)
{
    uint64_t before = bytes_in(s->t), turn = atomic_fetch_add(&s->number, 1);

    if ((turn + s->id) % 3 == 0 && !COMES_TRUE(bytes_in(s->t) != before))
        e2e_fault(s->t, "nothing was read any more");
    e2e_send(c, m);
}

struct talker {
    struct client k;
    unsigned messages;
    _Atomic unsigned *talking;
    bool is_right;
};

static void *say_and_hear(void *arg)
{
    struct talker *w = arg;
    char text[16];

    w->is_right = true;
    for (unsigned i = 0; i < w->messages && w->is_right; i++) {
        snprintf(text, sizeof text, "%u", i);
        w->is_right = client_say(&w->k, text) && client_hears(&w->k, text);
    }
    atomic_fetch_sub(w->talking, 1);
    return NULL;
}

/* As many handlers wait as there may be workers, and what they wait for can only come from the loops: were
 * all threads in handlers at once, nothing would go on. */
POOL_MODES(handlers_that_wait_for_the_io_role_never_take_its_last_thread)
{
    enum { TALKERS = 12, MESSAGES = 300 };
    struct timespec pause = {.tv_nsec = 1000000};
    struct talker talkers[TALKERS];
    pthread_t threads[TALKERS];
    _Atomic unsigned talking = TALKERS;
    struct client pinger;

    t->on_message = wait_for_the_io_role;
    t->opts.workers = t->opts.workers_max = 4;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&pinger, t->port));
    for (int i = 0; i < TALKERS; i++) {
        talkers[i] = (struct talker){.messages = MESSAGES, .talking = &talking};
        CU_ASSERT(client_open(&talkers[i].k, t->port));
        pthread_create(&threads[i], NULL, say_and_hear, &talkers[i]);
    }
    while (atomic_load(&talking) && client_send(&pinger, CLIENT_PONG, "", 0))
        nanosleep(&pause, NULL);
    for (int i = 0; i < TALKERS; i++) {
        pthread_join(threads[i], NULL);
        CU_ASSERT(talkers[i].is_right);
        client_close(&talkers[i].k);
    }
    client_close(&pinger);
}

static const struct unit_case cases[] = {
    CASE(a_sleeping_handler_costs_other_connections_nothing),
    CASE(the_sleepers_own_pings_are_answered_at_once),
    CASE(the_sleepers_closing_handshake_is_answered_at_once),
    CASE(threads_are_added_while_handlers_block),
    CASE(at_the_limit_of_threads_the_rest_waits_and_is_served),
    CASE(connections_that_come_and_go_while_all_workers_block_are_all_reported),
    CASE(messages_wait_for_the_end_of_on_open),
    CASE(a_producer_without_end_keeps_nothing_from_being_received),
    CASE(handlers_that_wait_for_the_io_role_never_take_its_last_thread),
};
E2E_MAIN("e2e_blocking")
