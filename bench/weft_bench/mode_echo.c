/* echo: a closed loop. Each connection keeps in_flight messages under way: as one comes back the next one
 * goes.
 *
 * Latency is from the sending to the receipt. The receipt of a read's messages is when the read returned,
 * which is also when the messages that it allows count as sent, for they leave with the next call. */
#include "loader.h"

/* When message s of a connection was sent: at [slot * in_flight + s % in_flight]. */
static uint64_t *sent_at(struct conn *c, uint32_t sequence)
{
    uint32_t in_flight = c->loader->run->options->in_flight;
    uint64_t *sent_ns = c->loader->mode_state;

    return &sent_ns[(size_t)c->slot * in_flight + (in_flight == 1 ? 0 : sequence % in_flight)];
}

static bool begin(struct loader *l)
{
    return loader_alloc(l, (size_t)l->conn_count * l->run->options->in_flight, sizeof(uint64_t)) != NULL;
}

static void send_one(struct conn *c)
{
    *sent_at(c, c->tx_due++) = c->loader->now_ns;
    c->loader->outstanding++;
}

/* Once: in the first turn nothing has been sent. */
static void tick(struct loader *l)
{
    if (l->outstanding || l->answered)
        return;
    for (uint32_t i = 0; i < l->conn_count; i++) {
        struct conn *c = &l->conns[i];
        if (c->state != CONN_OPEN)
            continue;
        l->now_ns = clock_now_ns();
        for (uint32_t n = loader_allows(c, l->run->options->in_flight); n; n--)
            send_one(c);
        conn_flush(c);
    }
}

static void arrived(struct conn *c, struct payload_name name, bool is_good)
{
    struct loader *l = c->loader;

    if (!loader_take(c, &name.sequence, is_good && name.from == c->number))
        return;
    loader_measured(l, *sent_at(c, name.sequence));
    if (loader_is_sending(l) && loader_allows(c, 1))
        send_one(c);
}

const struct mode mode_echo = {
    .what = "messages", .begin = begin, .tick = tick, .arrived = arrived, .ended = loader_forget};
