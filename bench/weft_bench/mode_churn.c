/* churn: each slot connects, makes the opening handshake, sends one message, takes the answer, makes the
 * closing handshake, waits for the server to end TCP, ends its own side, and begins again.
 *
 * What counts as a message is such a cycle. Its latency is from before connect to when the server's end of
 * TCP was seen: as RFC 6455 section 7.1.1 wants it, the server ends TCP first, and a client waits for that,
 * as browsers do. A server that leaves the Close frame unanswered, or TCP open, for drain_s is at fault
 * (ERROR_PROTOCOL), and the slot goes on without it.
 *
 * raw: a plain echo server gets the same bytes at the same turns (the request, a frame, a Close frame) and
 * each time all of them are waited for, so that it reads and writes as often as a WebSocket server does. It
 * does not end TCP; there the cycle is over with the echo of the Close frame.
 *
 * A slot begins again after an error too, until there are LOADER_CHURN_ERRORS of them: a server that is not
 * there is not to be hammered. */
#include "loader.h"

struct churn {
    uint64_t looked_ns; /* for those whose end is overdue */
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

static bool is_over(const struct loader *l)
{
    return l->starts >= (uint64_t)l->run->options->messages * l->conn_count || has_failed(l);
}

static void fail_to_close(struct conn *c)
{
    conn_failed(c, ERROR_PROTOCOL,
              c->got_close ? "the server did not end TCP after the closing handshake"
                           : "the server did not answer the Close frame");
}

/* A few times in the time that they have, for there may be many. */
static void end_overdue(struct loader *l)
{
    struct churn *churn = l->mode_state;
    uint64_t patience_ns = loader_drain_ns(l);

    if (l->looked_ns < churn->looked_ns + patience_ns / 8)
        return;
    churn->looked_ns = l->looked_ns;
    for (uint32_t i = 0; i < l->conn_count; i++) {
        struct conn *c = &l->conns[i];
        if (c->state == CONN_CLOSING && l->looked_ns >= c->closing_ns + patience_ns)
            fail_to_close(c);
    }
}

static void tick(struct loader *l)
{
    struct churn *churn = l->mode_state;

    end_overdue(l);
    while (loader_is_sending(l) && churn->idle_count && l->opening < l->run->options->handshakes &&
           !is_over(l)) {
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

    return churn->idle_count && !is_over(l) ? l->now_ns + 1000000 : LOADER_NEVER;
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

/* How far did it get? */
static void give_up(struct loader *l)
{
    for (uint32_t i = 0; i < l->conn_count; i++) {
        struct conn *c = &l->conns[i];
        if (c->state == CONN_CLOSING) {
            fail_to_close(c);
        } else if (c->state == CONN_OPEN) {
            conn_end(c);
            l->tally.errors[ERROR_LOST]++;
        } else if (c->state != CONN_IDLE) {
            conn_failed(c, ERROR_CONNECT, "the handshake took too long");
        }
    }
}

const struct mode mode_churn = {.opens_itself = true,
                                .shakes_hands_raw = true,
                                .what = "connections",
                                .begin = begin,
                                .due_ns = due_ns,
                                .tick = tick,
                                .opened = opened,
                                .arrived = arrived,
                                .ended = ended,
                                .give_up = give_up};
