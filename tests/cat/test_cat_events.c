/* The queue between the library's threads and the terminal. */
#include "cat/events.h"

#include "unit.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static struct events q;

static struct event message_of(size_t bytes)
{
    struct event e = {.kind = EVENT_MESSAGE};
    void *payload;

    if (weft_msg_new_raw(&e.msg, WEFT_BINARY, bytes, &payload) != WEFT_OK)
        abort();
    memset(payload, 0, bytes);
    return e;
}

static int is_readable(void)
{
    struct pollfd fd = {.fd = q.wake_fd, .events = POLLIN};

    return poll(&fd, 1, 0) == 1;
}

static void put_kind(enum event_kind kind)
{
    struct event e = {.kind = kind};

    CU_ASSERT_TRUE(events_put(&q, &e));
}

static void events_come_out_in_order_and_wake_once(void)
{
    struct event e;

    CU_ASSERT_TRUE(events_init(&q));
    CU_ASSERT_FALSE(is_readable());
    put_kind(EVENT_OPEN);
    CU_ASSERT_TRUE(is_readable());
    events_calm(&q);
    put_kind(EVENT_CLOSED);
    CU_ASSERT_FALSE(is_readable());
    CU_ASSERT_TRUE(events_get(&q, &e));
    CU_ASSERT_EQUAL(e.kind, EVENT_OPEN);
    CU_ASSERT_TRUE(events_waiting(&q));
    CU_ASSERT_TRUE(events_get(&q, &e));
    CU_ASSERT_EQUAL(e.kind, EVENT_CLOSED);
    CU_ASSERT_FALSE(events_get(&q, &e));
    CU_ASSERT_FALSE(events_waiting(&q));
    put_kind(EVENT_DRAIN);
    CU_ASSERT_TRUE(is_readable());
    events_fini(&q);
}

static void log_lines_are_left_out_when_it_is_full(void)
{
    struct event log = {.kind = EVENT_LOG};

    CU_ASSERT_TRUE(events_init(&q));
    for (int i = 0; i < EVENTS_MAX; i++)
        put_kind(EVENT_DRAIN);
    log.text = strdup("lost");
    events_try_put(&q, &log);
    CU_ASSERT_EQUAL(q.left_out, 1);
    CU_ASSERT_EQUAL(q.count, EVENTS_MAX);
    events_fini(&q);
}

static void one_message_is_let_in_however_large(void)
{
    struct event e = message_of(EVENTS_BYTES_MAX + 1), small = message_of(1), got;

    CU_ASSERT_TRUE(events_init(&q));
    CU_ASSERT_TRUE(events_put(&q, &e));
    events_try_put(&q, &small);
    CU_ASSERT_EQUAL(q.left_out, 1);
    CU_ASSERT_TRUE(events_get(&q, &got));
    event_fini(&got);
    CU_ASSERT_EQUAL(q.bytes, 0);
    events_fini(&q);
}

#define MANY 20000

static void *put_many(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < MANY; i++) {
        struct event e = message_of(i % 3000);
        if (!events_put(&q, &e))
            return NULL;
    }
    return NULL;
}

static void who_puts_waits_and_nothing_is_lost(void)
{
    size_t got = 0, most = 0;
    pthread_t putter;
    struct event e;

    CU_ASSERT_TRUE(events_init(&q));
    CU_ASSERT_EQUAL_FATAL(pthread_create(&putter, NULL, put_many, NULL), 0);
    while (got < MANY) {
        struct pollfd fd = {.fd = q.wake_fd, .events = POLLIN};
        poll(&fd, 1, events_waiting(&q) ? 0 : -1);
        events_calm(&q);
        while (events_get(&q, &e)) {
            size_t bytes = weft_msg_bytes(e.msg);
            CU_ASSERT_EQUAL(bytes, got % 3000);
            got++;
            event_fini(&e);
            pthread_mutex_lock(&q.lock);
            most = q.count > most ? q.count : most;
            pthread_mutex_unlock(&q.lock);
        }
    }
    CU_ASSERT_TRUE(most <= EVENTS_MAX);
    pthread_join(putter, NULL);
    events_fini(&q);
}

static void stopping_lets_those_go_that_wait(void)
{
    pthread_t putter;

    CU_ASSERT_TRUE(events_init(&q));
    CU_ASSERT_EQUAL_FATAL(pthread_create(&putter, NULL, put_many, NULL), 0);
    events_stop(&q);
    pthread_join(putter, NULL);
    CU_ASSERT_TRUE(q.count <= EVENTS_MAX);
    events_fini(&q);
}

static const struct unit_case cases[] = {
    CASE(events_come_out_in_order_and_wake_once), CASE(log_lines_are_left_out_when_it_is_full),
    CASE(one_message_is_let_in_however_large),    CASE(who_puts_waits_and_nothing_is_lost),
    CASE(stopping_lets_those_go_that_wait),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "cat_events", cases, sizeof cases / sizeof cases[0]);
}
