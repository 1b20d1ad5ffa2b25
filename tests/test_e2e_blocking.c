/* Handlers that block, from end to end (promise P5): the I/O role never waits for them, and others get
 * threads of their own. */
#include "base/cpu.h"
#include "e2e_server.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool is_text(weft_msg *m, const char *text)
{
    return weft_msg_bytes(m) == strlen(text) && memcmp(weft_msg_data(m), text, strlen(text)) == 0;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The latency below which half of the echoes were: what the machine does beside this falls upon few of them. */
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
    result = us[rounds / 2];
    free(us);
    return result;
}

static void wait_at_gate(weft_conn *c, weft_msg *m, struct seen *s)
{
    if (is_text(m, "wait") && !gate_pass(s->t->arg))
        e2e_fault(s->t, "the gate stayed shut");
    e2e_send(c, m);
}

/* The sleep lasts until all echoes are back, so none of them waited for its end. The comparison is with the same machine
 * a moment before, and generous. */
POOL_MODES(a_sleeping_handler_costs_other_connections_nothing)
{
    struct client sleeper, other;
    uint64_t before_us;

    t->on_message = wait_at_gate;
    t->arg = &t->gate;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &sleeper));
    CU_ASSERT(e2e_open(t, &other));
    before_us = echo_latency_us(&other, 200);
    CU_ASSERT(client_say(&sleeper, "wait"));
    WAIT_FOR(t->gate.waiting == 1);
    SUCCEEDS_ONCE(echo_latency_us(&other, 200) < 20 * before_us + 20000);
    CU_ASSERT_EQUAL(t->gate.waiting, 1);
    gate_open(&t->gate);
    CU_ASSERT(client_hears(&sleeper, "wait"));
    client_close(&sleeper);
    client_close(&other);
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
    /* A thread that drives a loop may be in a handler too, and then another one drives. */
    WAIT_FOR(e2e_stats(t).workers_started_max >= BLOCKED);
    CU_ASSERT(e2e_stats(t).workers_started_max <= BLOCKED + 1 + t->mode->io_threads);
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
    WAIT_FOR(g->waiting >= 3);
    CU_ASSERT(client_send(&k[CONNS - 1], CLIENT_PING, "io?", 3));
    CU_ASSERT_EQUAL(client_next(&k[CONNS - 1], &f), CLIENT_OK);
    CU_ASSERT(frame_is(&f, CLIENT_PONG, "io?"));
    WAIT_FOR(e2e_stats(t).workers_started_max >= 3); /* counted by who started it, a moment later */
    /* One for each loop may be beyond the limit: its driver began before it was counted. */
    CU_ASSERT(e2e_stats(t).workers_started_max <= 3 + t->mode->io_threads);
    CU_ASSERT(g->waiting <= 3 + t->mode->io_threads);
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
    WAIT_FOR((s = e2e_stats(t), s.accepted == s.opened + s.refused + s.handshaking));
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

/* --- the thread that drives a loop is in a handler --- */

/* The next frame that is a Ping of the server, or the next that is none. Pings are answered, or there would
 * be no more of them. */
static bool next_frame(struct client *k, struct frame *f, bool is_ping)
{
    while (client_next(k, f) == CLIENT_OK) {
        if (f->opcode == CLIENT_PING && !client_send(k, CLIENT_PONG, f->payload, f->bytes))
            return false;
        if ((f->opcode == CLIENT_PING) == is_ping)
            return true;
    }
    return false;
}

static void read_is_answered(struct e2e *t, struct client *k)
{
    uint64_t before = e2e_stats(t).messages_in;
    struct frame f;

    CU_ASSERT(client_send(k, CLIENT_PING, "read?", 5));
    CU_ASSERT_FATAL(next_frame(k, &f, false));
    CU_ASSERT(frame_is(&f, CLIENT_PONG, "read?"));
    CU_ASSERT(client_send(k, CLIENT_TEXT, "counted", 7));
    WAIT_FOR(e2e_stats(t).messages_in == before + 1);
}

static void is_pinged(struct client *k)
{
    struct frame f;

    CU_ASSERT_FATAL(next_frame(k, &f, true));
}

static bool is_taken_over(struct e2e *t, uint64_t before)
{
    uint64_t until_us = e2e_now_us() + 200000;

    while (e2e_stats(t).takeovers == before && e2e_now_us() < until_us)
        sched_yield();
    return e2e_stats(t).takeovers > before;
}

/* A worker that happens to be awake may run the handler: then the next one is tried. Returns how many are
 * blocked, the last of them on a thread that drove a loop. */
static int block_a_driver(struct e2e *t, struct client *k, int most)
{
    for (int i = 0; i < most; i++) {
        CU_ASSERT(e2e_open(t, &k[i]));
        CU_ASSERT(client_say(&k[i], "wait"));
        WAIT_FOR(t->gate.waiting == (unsigned)i + 1);
        if (is_taken_over(t, 0))
            return i + 1;
    }
    WAIT_FOR(e2e_stats(t).takeovers > 0); /* told late, or never */
    return most;
}

POOL_MODES(the_loop_of_a_thread_in_a_handler_gets_another_thread)
{
    enum { STUCK_MAX = 8 };
    struct client stuck[STUCK_MAX], other[4];
    int count;

    t->on_message = wait_at_gate;
    t->arg = &t->gate;
    t->opts.ping_interval_ms = 100;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < 4; i++) /* on every loop */
        CU_ASSERT(e2e_open(t, &other[i]));
    count = block_a_driver(t, stuck, STUCK_MAX);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++) {
            read_is_answered(t, &other[i]);
            CU_ASSERT(client_hears(&other[i], "counted"));
            is_pinged(&other[i]);
        }
        for (int i = 0; i < count; i++) {
            read_is_answered(t, &stuck[i]);
            is_pinged(&stuck[i]);
        }
    }
    CU_ASSERT_EQUAL(t->gate.waiting, (unsigned)count);
    CU_ASSERT(e2e_stats(t).takeovers > 0);
    gate_open(&t->gate);
    for (int i = 0; i < count; i++) {
        CU_ASSERT(client_hears(&stuck[i], "wait"));
        for (int round = 0; round < 3; round++)
            CU_ASSERT(client_hears(&stuck[i], "counted"));
        client_close(&stuck[i]);
    }
    for (int i = 0; i < 4; i++)
        client_close(&other[i]);
}

/* There is no thread for the others' handlers, but there is one for each loop. */
POOL_MODES(with_one_worker_a_handler_that_blocks_holds_up_no_loop)
{
    struct client stuck, other[4];

    t->on_message = wait_at_gate;
    t->arg = &t->gate;
    t->opts.workers = t->opts.workers_max = 1;
    t->opts.ping_interval_ms = 100;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < 4; i++)
        CU_ASSERT(e2e_open(t, &other[i]));
    CU_ASSERT(e2e_open(t, &stuck));
    CU_ASSERT(client_say(&stuck, "wait"));
    WAIT_FOR(t->gate.waiting == 1);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++) {
            read_is_answered(t, &other[i]);
            is_pinged(&other[i]);
        }
        read_is_answered(t, &stuck);
        is_pinged(&stuck);
    }
    CU_ASSERT_EQUAL(t->gate.waiting, 1);
    CU_ASSERT(e2e_stats(t).workers_started_max <= 1 + t->mode->io_threads);
    gate_open(&t->gate);
    CU_ASSERT(client_hears(&stuck, "wait"));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++)
            CU_ASSERT(client_hears(&other[i], "counted"));
        CU_ASSERT(client_hears(&stuck, "counted"));
    }
    for (int i = 0; i < 4; i++)
        client_close(&other[i]);
    client_close(&stuck);
}

static bool say_number(struct client *k, unsigned n)
{
    char text[16];

    snprintf(text, sizeof text, "%u", n);
    return client_say(k, text);
}

static bool hears_number(struct client *k, unsigned n)
{
    char text[16];

    snprintf(text, sizeof text, "%u", n);
    return client_hears(k, text);
}

POOL_MODES(connections_that_block_one_after_the_other_do_not_hold_up_the_last)
{
    enum { BLOCKED = 8, BEHIND = 10 };
    struct client k[BLOCKED], other;
    unsigned said = 0, heard = 0;

    t->on_message = wait_at_gate;
    t->arg = &t->gate;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &other));
    for (unsigned i = 0; i < BLOCKED; i++) {
        CU_ASSERT(e2e_open(t, &k[i]));
        CU_ASSERT(client_say(&k[i], "wait"));
        for (unsigned n = 0; n < BEHIND; n++) {
            CU_ASSERT(say_number(&k[i], n));
            CU_ASSERT(say_number(&other, said++));
        }
        WAIT_FOR(t->gate.waiting == i + 1);
        while (heard < said)
            CU_ASSERT(hears_number(&other, heard++));
    }
    CU_ASSERT_EQUAL(t->gate.waiting, BLOCKED);
    WAIT_FOR(t->messages >= said); /* counted behind the answer */
    CU_ASSERT_EQUAL(t->messages, said); /* none of the blocked ones' */
    gate_open(&t->gate);
    for (unsigned i = 0; i < BLOCKED; i++) {
        CU_ASSERT(client_hears(&k[i], "wait"));
        for (unsigned n = 0; n < BEHIND; n++)
            CU_ASSERT(hears_number(&k[i], n));
        client_close(&k[i]);
    }
    CU_ASSERT(say_number(&other, said));
    CU_ASSERT(hears_number(&other, said));
    client_close(&other);
}

/* --- storms: handlers of any length on many connections, each message numbered --- */

enum { STORMERS = 16, WINDOW = 8 };

struct storm {
    unsigned messages;       /* of each connection */
    unsigned sleep_one_in;   /* handlers sleep 1 to 3 ms */
    unsigned busy_one_in;    /* handlers work for 30 us; 0: none */
    unsigned busy_always_us; /* each works for so long, and none sleeps */
    unsigned nap_always_us;  /* each waits for so long */
    _Atomic unsigned inside; /* handlers that wait just now */
    _Atomic unsigned inside_max;
    atomic_bool is_stopping; /* from now on a connection may end */
    atomic_bool is_enough;   /* each ends behind what it has sent */
    struct stormer {
        struct client k;
        struct storm *storm;
        _Atomic unsigned heard;
        bool is_wrong, has_ended;
    } stormers[STORMERS];
    pthread_t threads[STORMERS];
};

static unsigned chance_of(uint64_t id, unsigned n)
{
    uint64_t x = (id * 1000003 + n + 1) * 0x9e3779b97f4a7c15u;
    return (unsigned)(x >> 40);
}

static void work_for_us(uint64_t us)
{
    uint64_t until_us = e2e_now_us() + us;

    while (e2e_now_us() < until_us) {
    }
}

static void nap(struct storm *storm)
{
    unsigned inside = atomic_fetch_add(&storm->inside, 1) + 1, most = atomic_load(&storm->inside_max);

    while (inside > most && !atomic_compare_exchange_weak(&storm->inside_max, &most, inside)) {
    }
    usleep(storm->nap_always_us);
    atomic_fetch_sub(&storm->inside, 1);
}

static void handle_in_storm(weft_conn *c, weft_msg *m, struct seen *s)
{
    struct storm *storm = s->t->arg;
    unsigned n = (unsigned)atomic_fetch_add(&s->number, 1), chance = chance_of(s->id, n);
    char text[16] = "";

    memcpy(text, weft_msg_data(m), weft_msg_bytes(m) < 15 ? weft_msg_bytes(m) : 15);
    if (strtoul(text, NULL, 10) != n)
        e2e_fault(s->t, "message %s where %u is due", text, n);
    if (storm->nap_always_us) {
        nap(storm);
    } else if (storm->busy_always_us) {
        work_for_us(storm->busy_always_us);
    } else if (chance % storm->sleep_one_in == 0) {
        struct timespec pause = {.tv_nsec = 1000000 + chance / 256 % 2000 * 1000};
        nanosleep(&pause, NULL);
    } else if (storm->busy_one_in && chance % storm->busy_one_in == 1) {
        work_for_us(30);
    }
    e2e_send(c, m);
}

/* False: the connection ended, or something else came than was due. */
static bool exchange_window(struct stormer *w, unsigned from, unsigned to)
{
    for (unsigned n = from; n < to; n++)
        if (!say_number(&w->k, n))
            return false;
    for (unsigned n = from; n < to; n++) {
        char text[16];
        struct frame f;

        snprintf(text, sizeof text, "%u", n);
        if (client_hear(&w->k, &f) != CLIENT_OK || f.opcode == CLIENT_CLOSE)
            return false;
        w->is_wrong |= !frame_is(&f, CLIENT_TEXT, text);
        atomic_fetch_add(&w->heard, 1);
    }
    return true;
}

static void *storm_along(void *arg)
{
    struct stormer *w = arg;

    for (unsigned n = 0; n < w->storm->messages && !w->has_ended && !atomic_load(&w->storm->is_enough); n += WINDOW)
        w->has_ended = !exchange_window(w, n, n + WINDOW);
    if (w->has_ended && !atomic_load(&w->storm->is_stopping))
        w->is_wrong = true;
    return NULL;
}

static void storm_begin(struct e2e *t, struct storm *storm)
{
    t->on_message = handle_in_storm;
    t->arg = storm;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < STORMERS; i++) {
        storm->stormers[i].storm = storm;
        CU_ASSERT(client_open(&storm->stormers[i].k, t->port));
    }
    for (int i = 0; i < STORMERS; i++)
        pthread_create(&storm->threads[i], NULL, storm_along, &storm->stormers[i]);
}

static unsigned storm_end(struct storm *storm)
{
    unsigned heard = 0;

    for (int i = 0; i < STORMERS; i++) {
        pthread_join(storm->threads[i], NULL);
        CU_ASSERT_FALSE(storm->stormers[i].is_wrong);
        heard += storm->stormers[i].heard;
    }
    for (int i = 0; i < STORMERS; i++)
        client_close(&storm->stormers[i].k);
    return heard;
}

/* All of it: nothing is lost or doubled. */
static void storm_through(struct e2e *t, struct storm *storm)
{
    unsigned all = STORMERS * storm->messages;

    storm_begin(t, storm);
    CU_ASSERT_EQUAL(storm_end(storm), all);
    WAIT_FOR(t->messages == all);
    CU_ASSERT_EQUAL(e2e_stats(t).messages_in, all);
    WAIT_FOR(e2e_stats(t).messages_out == all); /* counted behind the write */
}

POOL_MODES(a_storm_of_takeovers_loses_doubles_and_reorders_nothing)
{
    struct storm storm = {.messages = unit_is_slow() ? 80 : 320, .sleep_one_in = 8};

    storm_through(t, &storm);
    CU_ASSERT(e2e_stats(t).takeovers > 0);
}

/* As many handlers as there may be workers are in their sleep, and the rest waits for a place. */
POOL_MODES(a_storm_with_few_threads_loses_doubles_and_reorders_nothing)
{
    struct storm storm = {.messages = unit_is_slow() ? 40 : 160, .sleep_one_in = 12};

    t->opts.workers = t->opts.workers_max = 1;
    storm_through(t, &storm);
}

POOL_MODES(a_storm_over_workers_that_spin_loses_doubles_and_reorders_nothing)
{
    struct storm storm = {.messages = unit_is_slow() ? 80 : 640, .sleep_one_in = 64, .busy_one_in = 8};

    t->opts.spin_us = 50;
    storm_through(t, &storm);
}

static void storm_is_enough(struct e2e *t, struct storm *storm)
{
    unsigned heard;

    atomic_store(&storm->is_enough, true);
    heard = storm_end(storm);
    WAIT_FOR(t->messages == heard); /* counted behind the handler */
    CU_ASSERT_EQUAL(e2e_stats(t).messages_in, heard);
    WAIT_FOR(e2e_stats(t).messages_out == heard); /* counted behind the write */
}

/* They are as long as those that compute, and need more threads than there are processors. */
POOL_MODES(handlers_that_wait_for_a_moment_wait_side_by_side)
{
    struct storm storm = {.messages = 1000000 / WINDOW * WINDOW, .nap_always_us = 100};

    t->opts.workers = t->opts.workers_max = STORMERS;
    storm_begin(t, &storm);
    WAIT_FOR(storm.inside_max >= STORMERS / 2);
    storm_is_enough(t, &storm);
}

/* On a machine with much else to do a thread that was kept off its core looks stuck: then it was the watcher. */
static bool has_moved(struct e2e *t)
{
    weft_stats stats = e2e_stats(t);

    return stats.swaps > 0 || stats.takeovers > 0;
}

/* The role goes from thread to thread. Runs are of up to eight messages. With one processor nobody could share the work. */
POOL_MODES(a_storm_of_swaps_loses_doubles_and_reorders_nothing)
{
    struct storm storm = {.messages = 1000000 / WINDOW * WINDOW, .busy_always_us = 60};

    if (cpu_count() < 2)
        storm.messages = 80;
    storm_begin(t, &storm);
    WAIT_FOR(has_moved(t) || cpu_count() < 2);
    WAIT_FOR(t->messages >= STORMERS * 80);
    storm_is_enough(t, &storm);
}

POOL_MODES(with_separate_io_no_loop_is_ever_taken_over)
{
    struct storm storm = {.messages = unit_is_slow() ? 40 : 160, .sleep_one_in = 8, .busy_one_in = 8};

    t->opts.separate_io = true;
    storm_through(t, &storm);
    CU_ASSERT_EQUAL(e2e_stats(t).takeovers, 0);
}

POOL_MODES(a_stop_in_the_middle_of_a_storm_ends_in_time)
{
    enum { DEADLINE_MS = 300 };

    for (int round = 0; round < 5 && !t->faults; round++) {
        struct storm storm = {.messages = 100000 / WINDOW * WINDOW, .sleep_one_in = 4};
        uint64_t began_us;

        storm_begin(t, &storm);
        WAIT_FOR(e2e_stats(t).takeovers > 0);
        atomic_store(&storm.is_stopping, true);
        began_us = e2e_now_us();
        e2e_stop(t, DEADLINE_MS);
        CU_ASSERT(e2e_now_us() - began_us < (DEADLINE_MS + 10000) * 1000);
        CU_ASSERT(storm_end(&storm) <= t->messages);
    }
}

/* --- where threads run; with one processor, all of them are there --- */

struct places {
    atomic_uint one, all, other; /* handlers that ran on a thread with so many processors */
    int processors;
};

static int processors_here(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

static void note_place(weft_conn *c, weft_msg *m, struct seen *s)
{
    struct places *p = s->t->arg;
    int here = processors_here();

    atomic_fetch_add(here == 1 ? &p->one : here == p->processors ? &p->all : &p->other, 1);
    if (is_text(m, "wait"))
        gate_pass(&s->t->gate);
    e2e_send(c, m);
}

ALL_MODES(pinned_threads_have_one_processor_each)
{
    for (int is_pinned = 0; is_pinned < 2; is_pinned++) {
        struct places p = {.processors = processors_here()};
        struct client k;

        t->on_message = note_place;
        t->arg = &p;
        t->opts.pin_threads = is_pinned;
        CU_ASSERT_FATAL(e2e_start(t));
        CU_ASSERT(e2e_open(t, &k));
        for (unsigned i = 0; i < 100; i++) {
            CU_ASSERT(say_number(&k, i));
            CU_ASSERT(hears_number(&k, i));
        }
        /* On a busy machine a thread beyond the first may drive the loop. */
        if (p.processors > 1)
            CU_ASSERT(is_pinned ? p.one == 100 || !t->mode->is_inline : p.all == 100);
        CU_ASSERT_EQUAL(p.one + p.all, 100);
        client_close(&k);
        if (!is_pinned)
            e2e_stop(t, 1000);
    }
}

static void block_all_and_more(struct e2e *t, struct places *p)
{
    enum { BLOCKED = 8, BLOCKED_MAX = 40 };
    struct timespec pause = {.tv_nsec = 100000000};
    struct client k[BLOCKED_MAX];
    unsigned blocked = 0;

    CU_ASSERT_FATAL(e2e_start(t));
    while (blocked < BLOCKED || (p->one == 0 && blocked < BLOCKED_MAX)) {
        CU_ASSERT(e2e_open(t, &k[blocked]));
        CU_ASSERT(client_say(&k[blocked], "wait"));
        if (++blocked < BLOCKED)
            continue;
        WAIT_FOR(t->gate.waiting == blocked);
        if (p->one == 0) /* the processor of the pinned one is busy with something else */
            nanosleep(&pause, NULL);
    }
    CU_ASSERT_EQUAL(p->other, 0);
    CU_ASSERT(p->one >= 1); /* the others of the first threads may drive */
    CU_ASSERT(p->one <= t->opts.workers + t->mode->io_threads || p->processors == 1);
    CU_ASSERT_EQUAL(p->one + p->all, blocked);
    gate_open(&t->gate);
    for (unsigned i = 0; i < blocked; i++) {
        CU_ASSERT(client_hears(&k[i], "wait"));
        client_close(&k[i]);
    }
}

/* They are there because the pinned ones do not get on. Who starts them may itself be pinned. */
POOL_MODES(threads_beyond_the_first_are_not_pinned)
{
    struct places p = {.processors = processors_here()};

    t->on_message = note_place;
    t->arg = &p;
    t->opts.pin_threads = true;
    t->opts.workers = 1;
    t->opts.separate_io = true;
    block_all_and_more(t, &p);
    e2e_stop(t, 1000);
    t->gate.is_open = 0;
    p = (struct places){.processors = p.processors};
    t->opts.separate_io = false;
    block_all_and_more(t, &p);
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
    CASE(the_loop_of_a_thread_in_a_handler_gets_another_thread),
    CASE(with_one_worker_a_handler_that_blocks_holds_up_no_loop),
    CASE(connections_that_block_one_after_the_other_do_not_hold_up_the_last),
    CASE(a_storm_of_takeovers_loses_doubles_and_reorders_nothing),
    CASE(handlers_that_wait_for_a_moment_wait_side_by_side),
    CASE(a_storm_of_swaps_loses_doubles_and_reorders_nothing),
    CASE(a_storm_with_few_threads_loses_doubles_and_reorders_nothing),
    CASE(a_storm_over_workers_that_spin_loses_doubles_and_reorders_nothing),
    CASE(with_separate_io_no_loop_is_ever_taken_over),
    CASE(a_stop_in_the_middle_of_a_storm_ends_in_time),
    CASE(pinned_threads_have_one_processor_each),
    CASE(threads_beyond_the_first_are_not_pinned),
};
E2E_MAIN("e2e_blocking")
