/* Tasks over one connection: races, gatherings, cancellation of every call that blocks, and the pattern of a
 * consumer beside a producer. */
#include "e2e_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int consume(weft_conn *c, void *app)
{
    weft_msg *m;
    int rc;

    (void)app;
    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK)
        weft_msg_unref(m);
    return rc;
}

static int return_7(weft_conn *c, void *app)
{
    (void)c;
    (void)app;
    return 7;
}

/* --- every blocked call is woken --- */

static int block_in_recv(weft_conn *c, void *app)
{
    weft_msg *m;

    (void)app;
    return weft_conn_recv(c, &m, WEFT_FOREVER);
}

static int block_in_recv_part(weft_conn *c, void *app)
{
    weft_msg *m;
    bool is_last;

    (void)app;
    return weft_conn_recv_part(c, &m, &is_last, WEFT_FOREVER);
}

static int block_in_send(weft_conn *c, void *app)
{
    weft_msg *m;
    int rc;

    (void)app;
    do {
        m = e2e_bytes(1000, 'x');
        rc = weft_conn_send(c, m);
    } while (rc == WEFT_OK);
    weft_msg_unref(m);
    return rc;
}

static int block_in_send_part(weft_conn *c, void *app)
{
    static const char part[1000];
    int rc = weft_conn_send_begin(c, WEFT_BINARY);

    (void)app;
    while (rc == WEFT_OK)
        rc = weft_conn_send_part(c, part, sizeof part);
    weft_conn_send_end(c);
    return rc;
}

static int block_in_sleep(weft_conn *c, void *app)
{
    (void)app;
    return weft_conn_sleep(c, 3600000);
}

static int block_in_wait_closed(weft_conn *c, void *app)
{
    (void)app;
    return weft_conn_wait_closed(c, WEFT_FOREVER);
}

static int block_in_ping_wait(weft_conn *c, void *app)
{
    (void)app;
    return weft_conn_ping_wait(c, WEFT_FOREVER, NULL);
}

static int block_in_race(weft_conn *c, void *app)
{
    return weft_conn_race(c, app, block_in_sleep, block_in_wait_closed);
}

static int block_in_gather(weft_conn *c, void *app)
{
    return weft_conn_gather(c, app, block_in_sleep, block_in_wait_closed, block_in_race);
}

/* The Pings come first: with a full outbox they are not sent. */
static weft_task *const blocking[] = {block_in_ping_wait,   block_in_recv,      block_in_recv_part,
                                      block_in_send,        block_in_send_part, block_in_sleep,
                                      block_in_wait_closed, block_in_race,      block_in_gather};
enum { BLOCKING = sizeof blocking / sizeof blocking[0] };

struct one {
    weft_task *task;
    _Atomic int rc;
    weft_conn *conn;
};

static int run_one(weft_conn *c, void *app)
{
    struct one *o = app;

    o->rc = o->task(c, NULL);
    return o->rc;
}

/* Long enough for most to block; whether they do or not, they have to end the same way. */
static int wait_a_little(weft_conn *c, void *app)
{
    (void)app;
    weft_conn_sleep(c, 20);
    return 7;
}

static int cancel_each(weft_conn *c, struct seen *s)
{
    for (int i = 0; i < BLOCKING; i++) {
        for (int order = 0; order < 2; order++) {
            struct one o = {.task = blocking[i], .rc = WEFT_E_BROKEN};
            int rc = order ? weft_conn_race(c, &o, run_one, wait_a_little)
                           : weft_conn_race(c, &o, wait_a_little, run_one);
            if (rc != 7 || o.rc != WEFT_E_CANCELED)
                e2e_fault(s->t, "call %d: the race says %d, the canceled one %d", i, rc, o.rc);
        }
    }
    if (weft_task_is_canceled())
        e2e_fault(s->t, "no task was canceled but those of the race");
    s->number = 1;
    return WEFT_OK;
}

ALL_MODES(canceling_wakes_every_call_that_blocks)
{
    struct client k;

    t->socket_bytes = 8192;
    t->opts.ping_interval_ms = UINT32_MAX;
    t->handler = cancel_each;
    client_buffer_bytes(8192, 8192);
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k)); /* and does not read: the outbox is full soon */
    WAIT_FOR(t->seen[0]->number == 1);
    client_reset(&k);
    WAIT_FOR(t->closed == 1);
}

/* --- results --- */

static int return_error(weft_conn *c, void *app)
{
    (void)c;
    (void)app;
    return WEFT_E_INVAL;
}

static int return_ok(weft_conn *c, void *app)
{
    (void)c;
    (void)app;
    return WEFT_OK;
}

static int count_in(weft_conn *c, void *app)
{
    (void)c;
    atomic_fetch_add((_Atomic unsigned *)app, 1);
    return WEFT_OK;
}

static int ask_for_results(weft_conn *c, struct seen *s)
{
    _Atomic unsigned count = 0;
    weft_task *many[64];

    for (int i = 0; i < 64; i++)
        many[i] = count_in;
    if (weft_conn_gather_n(c, &count, many, 64) != WEFT_OK || count != 64)
        e2e_fault(s->t, "%u of 64 ran", count);
    if (weft_conn_gather(c, NULL, return_ok, return_7, return_error) != 7 ||
        weft_conn_gather(c, NULL, return_error, return_7) != WEFT_E_INVAL ||
        weft_conn_gather(c, NULL, return_ok, return_ok) != WEFT_OK)
        e2e_fault(s->t, "gather says something else");
    if (weft_conn_race(c, NULL, block_in_sleep, return_7, block_in_recv) != 7 ||
        weft_conn_race(c, NULL, return_7) != 7)
        e2e_fault(s->t, "race says something else");
    if (weft_conn_race_n(c, NULL, many, 65) != WEFT_E_INVAL ||
        weft_conn_race_n(c, NULL, many, 0) != WEFT_E_INVAL)
        e2e_fault(s->t, "65 or no tasks were taken");
    return WEFT_OK;
}

ALL_MODES(a_race_says_what_the_first_said_and_gather_what_went_wrong_first)
{
    struct client k;

    t->handler = ask_for_results;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
}

static void race_in_callback(weft_conn *c, weft_msg *m, struct seen *s)
{
    int rc = weft_conn_race(c, NULL, return_7, block_in_sleep);

    if (rc != (s->t->mode->is_inline ? WEFT_E_STATE : 7))
        e2e_fault(s->t, "the race in a callback says %d", rc);
    e2e_send(c, m);
}

ALL_MODES(a_callback_may_race_unless_it_runs_on_the_io_thread)
{
    struct client k;

    t->on_message = race_in_callback;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(client_say(&k, "x"));
    CU_ASSERT(client_hears(&k, "x"));
    client_close(&k);
}

/* What a canceled recv did not take, the next one takes. */
static int give_up_and_receive(weft_conn *c, struct seen *s)
{
    int expected = 0;
    weft_msg *m;

    for (;;) {
        int rc = weft_conn_race(c, NULL, return_7, block_in_sleep);
        if (rc != 7)
            return rc;
        rc = weft_conn_recv(c, &m, WEFT_FOREVER);
        if (rc != WEFT_OK)
            return rc;
        if (atoi(weft_msg_data(m)) != expected++)
            e2e_fault(s->t, "message %d is missing", expected - 1);
        weft_msg_unref(m);
        rc = weft_conn_race(c, NULL, wait_a_little, block_in_ping_wait);
        if (rc != 7 && rc != WEFT_OK && rc != WEFT_E_CLOSED)
            e2e_fault(s->t, "the race says %d", rc);
        s->number++;
    }
}

ALL_MODES(nothing_is_lost_over_cancellations)
{
    enum { COUNT = 20 };
    struct client k;

    t->handler = give_up_and_receive;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < COUNT; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d ", i);
        CU_ASSERT(client_say(&k, text));
    }
    WAIT_FOR(t->seen[0]->number == COUNT);
    client_close(&k);
}

/* --- the pattern: a consumer beside a producer --- */

static int produce(weft_conn *c, void *app)
{
    _Atomic uint64_t *sent = app;
    int rc;

    while ((rc = weft_conn_send_text(c, "tick")) == WEFT_OK)
        atomic_fetch_add_explicit(sent, 1, memory_order_relaxed);
    return rc;
}

static int consume_and_produce(weft_conn *c, struct seen *s)
{
    return weft_conn_race(c, &s->number, consume, produce);
}

ALL_MODES(the_producer_ends_when_the_consumer_sees_the_end)
{
    struct client k;

    t->handler = consume_and_produce;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < 1000; i++)
        CU_ASSERT(client_hears(&k, "tick"));
    CU_ASSERT(client_say_close(&k, 1000));
    CU_ASSERT_EQUAL(client_skip_to_close(&k), 1000);
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT(t->seen[0]->info.clean);
}

/* --- a producer that never yields --- */

/* It sends `count` messages, and more until the consumer beside it has received QUESTIONS; one that is starved
 * receives none while it goes on, so the producer gives up behind `most`. How soon is the machine's affair. */
enum { QUESTIONS = 20 };
struct never_yields {
    uint64_t count, most, sent;
    _Atomic unsigned questions;
    _Atomic uint64_t longest_us;
};

static int answer(weft_conn *c, void *app)
{
    struct never_yields *n = app;
    weft_msg *m;
    int rc;

    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK) {
        uint64_t asked_us = 0, us;
        memcpy(&asked_us, weft_msg_data(m), sizeof asked_us);
        us = e2e_now_us() - asked_us;
        if (us > n->longest_us)
            n->longest_us = us;
        n->questions++;
        weft_msg_unref(m);
        rc = weft_conn_send_text(c, "answer");
        if (rc != WEFT_OK)
            break;
    }
    return rc;
}

static int produce_without_end(weft_conn *c, void *app)
{
    struct never_yields *n = app;

    while (n->sent < n->count || (n->questions < QUESTIONS && n->sent < n->most)) {
        weft_msg *m;
        int rc = weft_msg_new(&m, WEFT_BINARY, &n->sent, sizeof n->sent);
        if (rc == WEFT_OK)
            rc = weft_conn_send(c, m);
        if (rc != WEFT_OK)
            return rc;
        n->sent++;
    }
    return WEFT_OK;
}

static int answer_beside_producer(weft_conn *c, struct seen *s)
{
    return weft_conn_race(c, s->t->arg, answer, produce_without_end);
}

/* The time from the question to its receipt; the answer stands behind what was sent before it. */
ALL_MODES(a_producer_that_never_yields_does_not_starve_the_consumer)
{
    bool is_first = !t->mode->is_inline && t->mode->io_threads == 1;
    struct never_yields n = {.count = unit_is_slow() ? 50000
                                      : is_first     ? 10000000
                                                     : 200000,
                             .most = unit_is_slow() ? 3000000 : 20000000};
    uint64_t received = 0, answers = 0, asked = 0, next_us = 0, asked_us = 0, longest_us = 0;
    struct client k;
    struct frame f;

    t->arg = &n;
    t->handler = answer_beside_producer;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    while (client_next(&k, &f) == CLIENT_OK && f.opcode != CLIENT_CLOSE) {
        received += f.opcode == CLIENT_BINARY;
        if (f.opcode == CLIENT_TEXT) {
            answers++;
            if (e2e_now_us() - asked_us > longest_us)
                longest_us = e2e_now_us() - asked_us;
        }
        if (asked == answers && received % 64 == 0 && e2e_now_us() >= next_us) {
            asked_us = e2e_now_us();
            next_us = asked_us + 10000;
            asked += client_send(&k, CLIENT_BINARY, &asked_us, sizeof asked_us);
        }
    }
    client_close(&k);
    WAIT_FOR(t->closed == 1);
    CU_ASSERT_EQUAL(received, n.sent);
    CU_ASSERT(n.questions >= QUESTIONS);
    CU_ASSERT(asked - answers <= 1);
    printf("  %llu sends: %llu questions, received within %llu us, answered within %llu us\n",
           (unsigned long long)n.sent, (unsigned long long)asked, (unsigned long long)n.longest_us,
           (unsigned long long)longest_us);
}

static const struct unit_case cases[] = {
    CASE(canceling_wakes_every_call_that_blocks),
    CASE(a_race_says_what_the_first_said_and_gather_what_went_wrong_first),
    CASE(a_callback_may_race_unless_it_runs_on_the_io_thread),
    CASE(nothing_is_lost_over_cancellations),
    CASE(the_producer_ends_when_the_consumer_sees_the_end),
    CASE(a_producer_that_never_yields_does_not_starve_the_consumer),
};
E2E_MAIN("e2e_tasks")
