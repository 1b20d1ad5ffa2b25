/* idle: connections are opened and held. What does one cost in memory, what did its handshake cost in CPU
 * time, how long does it take to wake all of them?
 *
 * Memory is what the server holds more than before the first connection, divided by the connections, half
 * a second after the last one of a step was opened, for servers that give memory back late or take it
 * early. The CPU time of the handshakes is taken at the same moments. With touch all connections send one
 * message, one after the other as fast as it goes, and the clock stops at the last answer. */
#include "loader.h"

#include <sys/prctl.h>

#define SETTLE_NS 500000000u

static bool begin(struct loader *l)
{
    return loader_alloc(l, l->conn_count, sizeof(uint64_t)) != NULL; /* when each sent */
}

static void arrived(struct conn *c, struct payload_name name, bool is_good)
{
    uint64_t *sent_ns = c->loader->mode_state;

    if (loader_take(c, &name.sequence, is_good && name.from == c->number))
        loader_measured(c->loader, sent_ns[c->slot]);
}

static void pass_time(struct loader *l, uint64_t ns)
{
    uint64_t end_ns = clock_now_ns() + ns;

    do
        loader_turn(l, end_ns);
    while (l->now_ns < end_ns);
}

static void look(struct loader *l, struct process_use *use)
{
    const struct options *o = l->run->options;

    if (o->pid_count)
        process_look(o->pids, o->pid_count, true, use);
}

/* Returns the memory of a connection. */
static uint64_t open_step(struct loader *l, uint32_t count)
{
    struct process_use use = {0};
    uint64_t first_bytes = l->run->at_first.rss_bytes;

    loader_open_until(l, count);
    pass_time(l, SETTLE_NS);
    look(l, &use);
    return use.rss_bytes > first_bytes && l->open ? (use.rss_bytes - first_bytes) / l->open : 0;
}

static void open_all(struct loader *l)
{
    const struct options *o = l->run->options;
    struct process_use use = {0};

    look(l, &l->run->at_first);
    for (size_t i = 0; i < o->step_count; i++)
        l->run->step_bytes[i] = open_step(l, o->steps[i]);
    l->run->step_bytes[o->step_count] = open_step(l, l->conn_count);
    look(l, &use);
    if (l->open)
        l->run->handshake_us = (double)process_cpu_ns(&l->run->at_first, &use) / 1e3 / l->open;
}

static void hold(struct loader *l)
{
    uint64_t begin_ns = clock_now_ns();

    look(l, &l->run->before);
    pass_time(l, (uint64_t)(l->run->options->hold_s * 1e9));
    l->tally.measured_s = (double)(clock_now_ns() - begin_ns) / 1e9;
    look(l, &l->run->after);
}

static void touch(struct loader *l)
{
    uint64_t *sent_ns = l->mode_state, begin_ns = clock_now_ns();
    uint64_t quiet_ns = loader_drain_ns(l);

    for (uint32_t i = 0; i < l->conn_count; i++) {
        struct conn *c = &l->conns[i];
        if (c->state != CONN_OPEN)
            continue;
        c->tx_due = 1;
        l->outstanding++;
        sent_ns[i] = clock_now_ns();
        conn_flush(c);
    }
    l->progress_ns = clock_now_ns();
    while (l->outstanding && l->now_ns < begin_ns + LOADER_DRAIN_TIMES * quiet_ns && !loader_is_silent(l))
        loader_turn(l, l->progress_ns + quiet_ns);
    if (l->last_answer_ns)
        l->run->touch_ms = (double)(l->last_answer_ns - begin_ns) / 1e6;
    l->tally.errors[ERROR_LOST] += l->outstanding;
}

void idle_run(struct loader *l)
{
    prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul);
    l->now_ns = clock_now_ns();
    open_all(l);
    l->phase = PHASE_MEASURE;
    hold(l);
    if (l->run->options->touch) {
        touch(l);
        look(l, &l->run->touched);
    }
    loader_close_all(l);
}

const struct mode mode_idle = {
    .what = "messages", .begin = begin, .arrived = arrived, .ended = loader_forget};
