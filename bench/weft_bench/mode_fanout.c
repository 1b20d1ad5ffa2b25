/* fanout: every message of a publisher comes back on every connection, publishers and subscribers alike, as
 * `weft-echo --broadcast` does it. The publishers are connections beside the subscribers, and have the lowest
 * numbers.
 *
 * A publisher sends its burst with one call, and the next one when all copies of it have arrived. What
 * counts as a message is a delivery: one copy on one connection; its latency is from the sending of the
 * burst. Each connection expects the messages of each publisher in order, whatever their order among
 * publishers. */
#include "loader.h"

#include "base/mem.h"

struct publisher {
    uint64_t sent_ns; /* when the burst was */
    uint64_t missing; /* copies of it that are to come */
};

struct fanout {
    uint32_t count;     /* publishers */
    uint32_t *expected; /* of connection c from publisher p: at [c * count + p] */
    uint32_t *received;
    struct publisher publishers[];
};

static bool begin(struct loader *l)
{
    uint32_t count = l->run->options->publishers;
    struct fanout *f = loader_alloc(l, 1, sizeof *f + count * sizeof f->publishers[0]);

    if (!f)
        return false;
    f->count = count;
    f->expected = mem_calloc((size_t)l->conn_count * count, sizeof *f->expected);
    f->received = mem_calloc((size_t)l->conn_count * count, sizeof *f->received);
    return f->expected && f->received;
}

static void free_state(struct loader *l)
{
    struct fanout *f = l->mode_state;

    mem_free(f->expected);
    mem_free(f->received);
}

static void publish(struct loader *l, struct conn *c, struct publisher *p)
{
    uint32_t burst = loader_allows(c, l->run->options->burst);

    p->missing = (uint64_t)burst * l->open;
    p->sent_ns = l->now_ns = clock_now_ns();
    l->outstanding += p->missing;
    c->tx_due += burst;
    conn_flush(c);
}

static void tick(struct loader *l)
{
    struct fanout *f = l->mode_state;

    for (uint32_t i = 0; i < f->count && loader_is_sending(l); i++)
        if (f->publishers[i].missing == 0 && l->conns[i].state == CONN_OPEN && loader_allows(&l->conns[i], 1))
            publish(l, &l->conns[i], &f->publishers[i]);
}

/* A message of nobody is wrong, and stands for one of the first publisher. */
static void arrived(struct conn *c, struct payload_name name, bool is_good)
{
    struct loader *l = c->loader;
    struct fanout *f = l->mode_state;
    bool is_known = is_good && name.from < f->count;
    uint32_t from = is_known ? name.from : 0;
    size_t at = (size_t)c->slot * f->count + from;

    if (!order_take(&l->order, c->number, from, &f->expected[at], l->conns[from].tx_seq, &name.sequence,
                    is_known, l->tally.errors))
        return;
    f->received[at]++;
    if (f->publishers[from].missing)
        f->publishers[from].missing--;
    loader_measured(l, f->publishers[from].sent_ns);
}

/* The copies that this connection would have got are lost, and nobody waits for them. */
static void ended(struct conn *c, bool failed)
{
    struct loader *l = c->loader;
    struct fanout *f = l->mode_state;

    for (uint32_t i = 0; failed && l->phase < PHASE_CLOSE && i < f->count; i++) {
        size_t at = (size_t)c->slot * f->count + i;
        uint32_t sent = l->conns[i].tx_due;
        uint32_t missing = f->publishers[i].missing ? sent - f->received[at] : 0;
        l->tally.errors[ERROR_LOST] += missing;
        l->outstanding -= missing;
        f->publishers[i].missing -= missing;
        f->received[at] = sent;
    }
}

const struct mode mode_fanout = {.what = "deliveries",
                                 .begin = begin,
                                 .tick = tick,
                                 .arrived = arrived,
                                 .ended = ended,
                                 .free = free_state};
