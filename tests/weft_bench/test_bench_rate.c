/* Latencies of the open loop and how mixed sorts them, by a clock that the test sets. */
#include "unit.h"
#include "weft_bench/loader.h"

#include <string.h>

#define MS    UINT64_C(1000000)
#define BEGIN UINT64_C(1000000000000000) /* the first message is due then: no clock is there yet */
#define SENT  1000

static struct options options;
static struct payload payload;
static struct run run;
static struct loader loader;

static void start(void)
{
    CU_ASSERT_FATAL(payload_init(&payload, PAYLOAD_TEXT, 64, false, 1));
    CU_ASSERT_PTR_NULL_FATAL(loader_init(&loader, &run, 0));
}

static void ask_for(enum bench_mode mode, uint32_t conns, uint64_t begin_ns)
{
    options = (struct options){
        .mode = mode, .threads = 1, .messages = OPTIONS_NO_LIMIT, .rate = 250, .slow_ms = 20, .drain_s = 3};
    run = (struct run){.options = &options,
                       .payload = &payload,
                       .mode = &mode_rate,
                       .conn_count = conns,
                       .begin_ns = begin_ns};
}

/* All is sent. Message i was due at BEGIN + i * 4 ms, on connection i modulo conns. */
static void begin(enum bench_mode mode, uint32_t conns)
{
    ask_for(mode, conns, BEGIN);
    start();
    loader.phase = PHASE_MEASURE;
    loader.measured_from_ns = BEGIN;
    for (uint32_t i = 0; i < conns; i++)
        loader.conns[i].tx_seq = loader.conns[i].tx_due = SENT;
    loader.outstanding = (uint64_t)conns * SENT;
    mode_rate.tick(&loader); /* fixes the beginning; nothing is due */
}

/* Two connections, open without a socket, a second behind what they ought to have sent. */
static void begin_late(double rate, uint32_t messages)
{
    ask_for(MODE_RATE, 2, clock_now_ns() - 1000 * MS);
    options.rate = rate;
    options.messages = messages;
    start();
    loader.phase = PHASE_WARMUP;
    for (uint32_t i = 0; i < 2; i++)
        loader.conns[i].state = CONN_OPEN;
    loader.open = 2;
}

static void end(void)
{
    loader_fini(&loader);
    payload_fini(&payload);
}

/* Message number i of the load comes back so long after it was due. */
static void answer(uint32_t i, uint64_t latency_ns)
{
    struct conn *c = &loader.conns[i % loader.conn_count];
    struct payload_name name = {.from = c->number, .sequence = i / loader.conn_count};

    loader.now_ns = BEGIN + i * 4 * MS + latency_ns;
    mode_rate.arrived(c, name, true);
}

static void latency_is_from_the_time_a_message_was_due(void)
{
    struct tally *t = &loader.tally;

    begin(MODE_RATE, 3);
    for (uint32_t i = 0; i < 30; i++)
        answer(i, (i + 1) * MS);
    CU_ASSERT_EQUAL(t->latency.count, 30);
    CU_ASSERT_EQUAL(t->messages, 30);
    CU_ASSERT_EQUAL(t->latency.max, 30 * MS);
    CU_ASSERT(histogram_quantile(&t->latency, 0.5) > 14 * MS &&
              histogram_quantile(&t->latency, 0.5) < 16 * MS);
    CU_ASSERT_EQUAL(loader.outstanding, 3 * SENT - 30);
    end();
}

static void what_was_due_before_or_behind_the_measured_time_has_no_latency(void)
{
    begin(MODE_RATE, 1);
    loader.measured_from_ns = BEGIN + 40 * MS;
    loader.end_ns = BEGIN + 80 * MS;
    for (uint32_t i = 0; i < 30; i++)
        answer(i, MS);
    CU_ASSERT_EQUAL(loader.tally.latency.count, 10);
    end();
}

/* The turns of a connection are in order: who is due while one sleeps has to wait, in any server. */
static void messages_behind_a_sleeper_are_its_victims(void)
{
    begin(MODE_MIXED, 1);
    answer(0, 25 * MS);
    for (uint32_t i = 1; i <= 4; i++) /* due 4 to 16 ms behind it */
        answer(i, (25 - 4 * i) * MS);
    answer(5, MS);
    CU_ASSERT_EQUAL(loader.tally.slow.count, 1);
    CU_ASSERT_EQUAL(loader.tally.victims, 4);
    CU_ASSERT_EQUAL(loader.tally.others.count, 1);
    CU_ASSERT_EQUAL(loader.tally.others.max, MS);
    CU_ASSERT_EQUAL(loader.tally.latency.count, 6);
    end();
}

static void nobody_is_a_victim_of_another_connection(void)
{
    begin(MODE_MIXED, 10);
    for (uint32_t i = 0; i < 10; i++)
        answer(i, i == 3 ? 20 * MS : 20 * MS - 1);
    CU_ASSERT_EQUAL(loader.tally.slow.count, 1);
    CU_ASSERT_EQUAL(loader.tally.victims, 0);
    CU_ASSERT_EQUAL(loader.tally.others.count, 9);
    end();
}

/* What a stall left behind is sent in parts, with a look at the answers between them. */
static void a_late_generator_catches_up_in_parts(void)
{
    uint64_t before;

    begin_late(1e9, OPTIONS_NO_LIMIT);
    mode_rate.tick(&loader);
    before = loader.outstanding;
    CU_ASSERT(before > 0 && before <= 100000);
    mode_rate.tick(&loader);
    CU_ASSERT(loader.outstanding > before && loader.outstanding <= 200000);
    end();
}

static void a_count_ends_it(void)
{
    begin_late(250, 7); /* 250 would be due */
    mode_rate.tick(&loader);
    CU_ASSERT_EQUAL(loader.outstanding, 14);
    CU_ASSERT(loader.conns[0].tx_due == 7 && loader.conns[1].tx_due == 7);
    CU_ASSERT_EQUAL(mode_rate.due_ns(&loader), LOADER_NEVER);
    end();
}

static void silence_counts_from_the_last_bytes_to_a_look_behind_its_end(void)
{
    begin(MODE_RATE, 1);
    loader.progress_ns = BEGIN;
    loader.now_ns = BEGIN + 10000 * MS; /* woken late */
    loader.looked_ns = BEGIN + 2999 * MS;
    CU_ASSERT_FALSE(loader_is_silent(&loader));
    loader.looked_ns = BEGIN + 3000 * MS;
    CU_ASSERT(loader_is_silent(&loader));
    loader.progress_ns = BEGIN + 1;
    CU_ASSERT_FALSE(loader_is_silent(&loader));
    end();
}

static const struct unit_case cases[] = {
    CASE(latency_is_from_the_time_a_message_was_due),
    CASE(what_was_due_before_or_behind_the_measured_time_has_no_latency),
    CASE(messages_behind_a_sleeper_are_its_victims),
    CASE(nobody_is_a_victim_of_another_connection),
    CASE(a_late_generator_catches_up_in_parts),
    CASE(a_count_ends_it),
    CASE(silence_counts_from_the_last_bytes_to_a_look_behind_its_end),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "bench_rate", cases, sizeof cases / sizeof cases[0]);
}
