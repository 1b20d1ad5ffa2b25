/* churn: each slot connects, sends one message, takes the answer, closes with a handshake, waits for the
 * end of the server's stream, as RFC 6455 section 7.1.1 wants it, and begins again.
 *
 * What counts as a message is such a cycle, and its latency is from connect to that end. A slot begins
 * again after an error too, until there are LOADER_CHURN_ERRORS of them: a server that is not there is
 * not to be hammered. */
#include "loader.h"

struct churn {
    uint32_t idle_count;
    struct conn *idle[]; /* to be started by the next tick; never from inside an event of theirs */
};

static bool begin(struct loader *l)
{
    struct churn *churn = loader_alloc(l, 1, sizeof *churn + l->conn_count * sizeof churn->idle[0]);

    if (!churn)
        return false;
    for (uint32_t i = l->conn_count; i-- > 0;)
        churn->idle[churn->idle_count++] = &l->conns[i];
    return true;
}

static bool has_failed(const struct loader *l)
{
    uint64_t errors = 0;

    for (int i = 0; i < ERRORS; i++)
        errors += l->tally.errors[i];
    return errors >= LOADER_CHURN_ERRORS;
}

static void tick(struct loader *l)
{
    struct churn *churn = l->mode_state;

    while (loader_is_sending(l) && churn->idle_count && l->opening < l->run->options->handshakes &&
           !has_failed(l)) {
        struct conn *c = churn->idle[--churn->idle_count];
        l->outstanding++;
        if (!conn_start(c)) {
            l->outstanding--;
            churn->idle[churn->idle_count++] = c;
            return;
        }
    }
}

/* Slots that wait for room are looked at again soon. */
static uint64_t due_ns(struct loader *l)
{
    const struct churn *churn = l->mode_state;

    return churn->idle_count && !has_failed(l) ? l->now_ns + 1000000 : LOADER_NEVER;
}

static void opened(struct conn *c)
{
    c->tx_due = 1;
    conn_flush(c);
}

static void arrived(struct conn *c, struct payload_name name, bool is_good)
{
    if (loader_take(c, &name.sequence, is_good && name.from == c->number) && c->state == CONN_OPEN)
        conn_close(c, WEFT_CLOSE_NORMAL);
}

static void ended(struct conn *c, bool failed)
{
    struct loader *l = c->loader;
    struct churn *churn = l->mode_state;

    if (failed) {
        l->outstanding--;
        if (c->tx_due > c->received && l->phase < PHASE_CLOSE)
            l->tally.errors[ERROR_LOST]++;
    } else {
        loader_measured(l, c->started_ns);
    }
    churn->idle[churn->idle_count++] = c;
}

const struct mode mode_churn = {.opens_itself = true,
                                .what = "connections",
                                .begin = begin,
                                .due_ns = due_ns,
                                .tick = tick,
                                .opened = opened,
                                .arrived = arrived,
                                .ended = ended};
