/* The timeouts of a session. The clock is a number of the test's own. */
#include "unit.h"
#include "proto/session.h"

#include <string.h>

#include "wire.h"

#define START 1000000u

/* Three different times, so that one cannot stand for another. */
static const struct session_config config = {.message_bytes_max = 1000,
                                             .fragments_max = 10,
                                             .ping_interval_ms = 20000,
                                             .ping_timeout_ms = 7000,
                                             .close_timeout_ms = 3000};

static struct session begun(void)
{
    struct session s;

    session_init(&s, &config, START);
    return s;
}

/* A Pong from the peer, masked with zeros. */
static void pong(struct session *s, const void *payload, size_t n)
{
    uint8_t bytes[6 + 125] = {0x8a, (uint8_t)(0x80 | n)};
    struct session_event ev;
    size_t used;

    memcpy(bytes + 6, payload, n);
    CU_ASSERT_EQUAL(session_feed(s, bytes, 6 + n, &used, &ev), SESSION_PONG);
}

static void answer(struct session *s)
{
    uint8_t payload[SESSION_PING_BYTES];

    session_ping_payload(s, payload);
    pong(s, payload, sizeof payload);
}

/* Nothing happens before at_ms, `what` does at it, and the deadline says so. */
static void expect(struct session *s, uint64_t at_ms, enum session_tick what)
{
    CU_ASSERT_EQUAL(session_deadline_ms(s), at_ms);
    CU_ASSERT_EQUAL(session_tick(s, at_ms - 1), SESSION_TICK_NONE);
    CU_ASSERT_EQUAL(session_deadline_ms(s), at_ms);
    CU_ASSERT_EQUAL(session_tick(s, at_ms), what);
}

static void nothing_is_due_before_the_first_ping(void)
{
    struct session s = begun();

    CU_ASSERT_EQUAL(session_tick(&s, 0), SESSION_TICK_NONE);
    CU_ASSERT_EQUAL(session_tick(&s, START), SESSION_TICK_NONE);
    expect(&s, START + 20000, SESSION_TICK_PING);
    CU_ASSERT_EQUAL(session_tick(&s, START + 20000),
                    SESSION_TICK_NONE); /* called again, as the header asks */
}

static void an_answered_ping_is_followed_by_the_next_an_interval_after_it(void)
{
    struct session s = begun();

    for (uint64_t at = START + 20000, i = 0; i < 5; at += 20000, i++) {
        expect(&s, at, SESSION_TICK_PING);
        CU_ASSERT_EQUAL(session_deadline_ms(&s), at + 7000);
        answer(&s);
    }
}

static void a_ping_without_an_answer_times_out(void)
{
    struct session s = begun();

    expect(&s, START + 20000, SESSION_TICK_PING);
    expect(&s, START + 27000, SESSION_TICK_PING_TIMEOUT);
}

static void a_ping_that_was_sent_late_has_its_whole_time(void)
{
    struct session s = begun();

    CU_ASSERT_EQUAL(session_tick(&s, START + 25000), SESSION_TICK_PING);
    expect(&s, START + 32000, SESSION_TICK_PING_TIMEOUT);
}

static void only_the_pong_of_the_last_ping_answers_it(void)
{
    struct session s = begun();
    uint8_t old[SESSION_PING_BYTES], payload[125] = {0};

    CU_ASSERT_EQUAL(session_tick(&s, START + 20000), SESSION_TICK_PING);
    session_ping_payload(&s, old);
    answer(&s);
    CU_ASSERT_EQUAL(session_tick(&s, START + 40000), SESSION_TICK_PING);
    session_ping_payload(&s, payload);
    CU_ASSERT_NOT_EQUAL(memcmp(old, payload, 4), 0);
    memset(payload, 0, sizeof payload);
    pong(&s, old, 4);
    pong(&s, "", 0);
    pong(&s, payload, 125);
    session_ping_payload(&s, payload);
    pong(&s, payload, 5); /* longer */
    pong(&s, payload, 3); /* shorter */
    CU_ASSERT_EQUAL(session_deadline_ms(&s), START + 47000);
    pong(&s, payload, 4);
    CU_ASSERT_EQUAL(session_deadline_ms(&s), START + 60000);
    expect(&s, START + 60000, SESSION_TICK_PING);
}

static void a_pong_nobody_asked_for_changes_no_deadline(void)
{
    struct session s = begun();
    uint8_t payload[SESSION_PING_BYTES];

    session_ping_payload(&s, payload);
    pong(&s, payload, sizeof payload);
    expect(&s, START + 20000, SESSION_TICK_PING);
    answer(&s);
    answer(&s); /* the same once more */
    expect(&s, START + 40000, SESSION_TICK_PING);
}

static void without_an_interval_no_ping_is_ever_due(void)
{
    struct session_config quiet = config;
    struct session s;

    quiet.ping_interval_ms = UINT32_MAX;
    session_init(&s, &quiet, START);
    CU_ASSERT_EQUAL(session_deadline_ms(&s), SESSION_NEVER);
    CU_ASSERT_EQUAL(session_tick(&s, UINT64_MAX - 1), SESSION_TICK_NONE);
    session_hold(&s, START + 1);
    session_resume(&s, START + 100000);
    CU_ASSERT_EQUAL(session_deadline_ms(&s), SESSION_NEVER);
    session_close_sent(&s, START + 100000);
    expect(&s, START + 103000, SESSION_TICK_CLOSE_TIMEOUT);
}

/* --- held --- */

static void the_pongs_deadline_stands_still_while_held(void)
{
    struct session s = begun();

    CU_ASSERT_EQUAL(session_tick(&s, START + 20000), SESSION_TICK_PING);
    session_hold(&s, START + 21000); /* 6 s were left */
    CU_ASSERT_EQUAL(session_deadline_ms(&s), SESSION_NEVER);
    CU_ASSERT_EQUAL(session_tick(&s, START + 500000), SESSION_TICK_NONE);
    session_resume(&s, START + 500000);
    expect(&s, START + 506000, SESSION_TICK_PING_TIMEOUT);
}

static void several_holds_add_up(void)
{
    struct session s = begun();

    CU_ASSERT_EQUAL(session_tick(&s, START + 20000), SESSION_TICK_PING);
    session_hold(&s, START + 21000);
    session_resume(&s, START + 31000);
    CU_ASSERT_EQUAL(session_tick(&s, START + 31000), SESSION_TICK_NONE);
    session_hold(&s, START + 32000);
    session_hold(&s, START + 35000); /* held already: the first counts */
    session_resume(&s, START + 42000);
    session_resume(&s, START + 99000); /* not held: nothing */
    expect(&s, START + 47000, SESSION_TICK_PING_TIMEOUT);
}

static void a_ping_that_falls_due_while_held_gets_its_whole_time_after(void)
{
    struct session s = begun();

    session_hold(&s, START + 5000);
    expect(&s, START + 20000, SESSION_TICK_PING);
    CU_ASSERT_EQUAL(session_deadline_ms(&s), SESSION_NEVER);
    session_resume(&s, START + 90000);
    expect(&s, START + 97000, SESSION_TICK_PING_TIMEOUT);
}

static void a_hold_that_ended_before_the_ping_moves_nothing(void)
{
    struct session s = begun();

    session_hold(&s, START + 5000);
    session_resume(&s, START + 15000);
    expect(&s, START + 20000, SESSION_TICK_PING);
    expect(&s, START + 27000, SESSION_TICK_PING_TIMEOUT);
}

static void a_pong_that_comes_while_held_answers(void)
{
    struct session s = begun();

    CU_ASSERT_EQUAL(session_tick(&s, START + 20000), SESSION_TICK_PING);
    session_hold(&s, START + 21000);
    answer(&s);
    expect(&s, START + 40000, SESSION_TICK_PING); /* still held */
    session_resume(&s, START + 41000);
    expect(&s, START + 48000, SESSION_TICK_PING_TIMEOUT);
}

static void a_pong_behind_a_hold_is_in_time_and_the_next_ping_does_not_come_at_once(void)
{
    struct session s = begun();

    CU_ASSERT_EQUAL(session_tick(&s, START + 20000), SESSION_TICK_PING);
    session_hold(&s, START + 20000);
    session_resume(&s, START + 120000);
    answer(&s);
    CU_ASSERT_EQUAL(session_tick(&s, START + 120001), SESSION_TICK_NONE);
    expect(&s, START + 140000, SESSION_TICK_PING);
}

/* --- closing --- */

static void a_close_that_is_not_answered_times_out(void)
{
    struct session s = begun();

    session_close_sent(&s, START + 100);
    expect(&s, START + 3100, SESSION_TICK_CLOSE_TIMEOUT);
    CU_ASSERT_EQUAL(session_tick(&s, START + 99999), SESSION_TICK_CLOSE_TIMEOUT);
}

static void a_second_close_does_not_prolong_the_first(void)
{
    struct session s = begun();

    session_close_sent(&s, START + 100);
    session_close_sent(&s, START + 2000);
    expect(&s, START + 3100, SESSION_TICK_CLOSE_TIMEOUT);
}

static void the_close_takes_the_place_of_a_ping_that_waits(void)
{
    struct session s = begun();

    CU_ASSERT_EQUAL(session_tick(&s, START + 20000), SESSION_TICK_PING);
    session_close_sent(&s, START + 26000);
    CU_ASSERT_EQUAL(session_tick(&s, START + 27000), SESSION_TICK_NONE); /* the Pong's time is over */
    answer(&s);
    expect(&s, START + 29000, SESSION_TICK_CLOSE_TIMEOUT);
}

static void being_held_does_not_keep_a_close_from_timing_out(void)
{
    struct session s = begun();

    CU_ASSERT_EQUAL(session_tick(&s, START + 20000), SESSION_TICK_PING);
    session_hold(&s, START + 20001);
    session_close_sent(&s, START + 20002);
    expect(&s, START + 23002, SESSION_TICK_CLOSE_TIMEOUT);
    session_resume(&s, START + 23002);
    CU_ASSERT_EQUAL(session_deadline_ms(&s), START + 23002);
}

static const struct unit_case cases[] = {
    CASE(nothing_is_due_before_the_first_ping),
    CASE(an_answered_ping_is_followed_by_the_next_an_interval_after_it),
    CASE(a_ping_without_an_answer_times_out),
    CASE(a_ping_that_was_sent_late_has_its_whole_time),
    CASE(only_the_pong_of_the_last_ping_answers_it),
    CASE(a_pong_nobody_asked_for_changes_no_deadline),
    CASE(without_an_interval_no_ping_is_ever_due),
    CASE(the_pongs_deadline_stands_still_while_held),
    CASE(several_holds_add_up),
    CASE(a_ping_that_falls_due_while_held_gets_its_whole_time_after),
    CASE(a_hold_that_ended_before_the_ping_moves_nothing),
    CASE(a_pong_that_comes_while_held_answers),
    CASE(a_pong_behind_a_hold_is_in_time_and_the_next_ping_does_not_come_at_once),
    CASE(a_close_that_is_not_answered_times_out),
    CASE(a_second_close_does_not_prolong_the_first),
    CASE(the_close_takes_the_place_of_a_ping_that_waits),
    CASE(being_held_does_not_keep_a_close_from_timing_out),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "session_time", cases, sizeof cases / sizeof cases[0]);
}
