/* rate and mixed: an open loop. Message i of a loader is due at its beginning + i / rate, on connection i
 * modulo connections, whatever became of the others; latency is from when it was due, so that a server
 * that stalls, or a generator that is late, cannot hide the messages that ought to have been sent
 * meanwhile.
 *
 * When a message was due follows from its connection and sequence; nothing is kept. The wait for the next
 * one is epoll_pwait2 with a timer slack of 1 ns: measured on two shared cores, the median message leaves 25
 * us behind its time, most of it the way out of an idle core. How late messages left is reported (late_*),
 * since it is part of every latency. Latencies count for the messages that were due in the measured time,
 * messages/s for those that came back in it.
 *
 * mixed adds: a share of the server's handlers sleep for slow_ms, and the question is what the others get
 * to feel. The generator cannot see which handler slept, but a message that took slow_ms or more may have
 * been one:
 *
 *   slow     took slow_ms or longer, and was not behind a slow one
 *   victim   was due within slow_ms after a slow one on the same connection: messages of a connection are
 *            handled in order, so this one had to wait, in any server
 *   others   all the rest, which is what p99 is asked of
 *
 * Leaving out every slow message would flatter a server that makes others as slow as the sleepers. So
 * slow ones are excused only as many as can have slept: slow_share of all messages, the quickest of them;
 * the rest counts among the others. Without --slow-share all are excused, and the share of the slow ones
 * is to be compared with what the server was told: what exceeds it is the server's doing. (A definition
 * by latency alone, or one that takes only messages of connections with nothing in flight, would both
 * show the worst server at its best: in an overload nearly all messages are behind another one.) */
#include "loader.h"

#include <stddef.h>

#define TICK_MESSAGES_MAX 65536 /* what a late generator has to catch up with must not keep it from reading */

struct rate {
    double interval_ns;
    uint64_t begin_ns;
    uint64_t next; /* message */
    struct conn *touched[];
};

static bool begin(struct loader *l)
{
    struct rate *r = loader_alloc(l, 1, sizeof *r + l->conn_count * sizeof r->touched[0]);

    if (r)
        r->interval_ns = 1e9 * l->run->options->threads / l->run->options->rate;
    return r != NULL;
}

static uint64_t due_of(const struct rate *r, uint64_t message)
{
    return r->begin_ns + (uint64_t)((double)message * r->interval_ns);
}

static uint64_t next_due_ns(struct loader *l)
{
    const struct rate *r = l->mode_state;
    bool is_over = r->next >= (uint64_t)l->run->options->messages * l->conn_count;

    return is_over ? LOADER_NEVER : due_of(r, r->next);
}

static bool is_in_measured_time(const struct loader *l, uint64_t ns)
{
    return ns >= l->measured_from_ns && ns < l->end_ns;
}

/* The message that is due on this connection; true when the connection had nothing to send before. */
static bool send_one(struct loader *l, struct conn *c, uint64_t due_ns)
{
    if (c->state != CONN_OPEN)
        return false;
    if (is_in_measured_time(l, due_ns))
        histogram_add(&l->tally.late, l->now_ns - due_ns);
    l->outstanding++;
    return c->tx_due++ == c->tx_seq;
}

/* The loaders take turns too. Without a warm-up all messages are due in the measured time. */
static uint64_t first_due_ns(const struct loader *l, double interval_ns)
{
    uint64_t first_ns = l->run->begin_ns + (uint64_t)(interval_ns / l->run->options->threads * l->index);

    return l->phase == PHASE_MEASURE && first_ns < l->measured_from_ns ? l->measured_from_ns : first_ns;
}

static void tick(struct loader *l)
{
    struct rate *r = l->mode_state;
    uint64_t end = r->next + TICK_MESSAGES_MAX;
    size_t touched = 0;

    if (r->begin_ns == 0)
        r->begin_ns = first_due_ns(l, r->interval_ns);
    l->now_ns = clock_now_ns();
    for (uint64_t due; (due = next_due_ns(l)) <= l->now_ns && due < l->end_ns && r->next < end; r->next++) {
        struct conn *c = &l->conns[r->next % l->conn_count];
        if (send_one(l, c, due))
            r->touched[touched++] = c;
    }
    for (size_t i = 0; i < touched; i++)
        if (!r->touched[i]->waits_to_write && r->touched[i]->fd >= 0)
            conn_flush(r->touched[i]);
}

static void sort_out(struct conn *c, uint64_t due_ns, uint64_t latency_ns)
{
    struct tally *t = &c->loader->tally;
    uint64_t slow_ns = (uint64_t)(c->loader->run->options->slow_ms * 1e6);

    if (due_ns < c->slow_until_ns) {
        t->victims++;
    } else if (latency_ns >= slow_ns) {
        c->slow_until_ns = due_ns + slow_ns;
        histogram_add(&t->slow, latency_ns);
    } else {
        histogram_add(&t->others, latency_ns);
    }
}

static void arrived(struct conn *c, struct payload_name name, bool is_good)
{
    struct loader *l = c->loader;
    uint64_t due_ns, latency_ns;

    if (!loader_take(c, &name.sequence, is_good && name.from == c->number))
        return;
    loader_answered(l);
    l->tally.messages += l->phase == PHASE_MEASURE;
    due_ns = due_of(l->mode_state, (uint64_t)name.sequence * l->conn_count + c->slot);
    if (!is_in_measured_time(l, due_ns))
        return;
    latency_ns = l->now_ns - due_ns;
    histogram_add(&l->tally.latency, latency_ns);
    if (l->run->options->mode == MODE_MIXED)
        sort_out(c, due_ns, latency_ns);
}

const struct mode mode_rate = {.what = "messages",
                               .begin = begin,
                               .due_ns = next_due_ns,
                               .tick = tick,
                               .arrived = arrived,
                               .ended = loader_forget};
