/* Threads that send; see sender.h. */
#include "sender.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "chance.h"
#include "fault.h"

static weft_msg *new_message(const struct shape *s, unsigned sender, uint64_t number)
{
    size_t bytes = item_bytes(s->seed, s->bytes_max, sender, number);
    weft_msg *m;
    void *p;

    if (weft_msg_new_raw(&m, WEFT_BINARY, bytes, &p) != WEFT_OK)
        abort();
    item_write(p, bytes, sender, number);
    return m;
}

/* The numbers of one sender on one connection are its own, so it needs no lock to count. */
static bool send_one(struct senders *g, weft_conn *c, struct life *l, unsigned me, bool try)
{
    weft_msg *m = new_message(g->shape, me, LEDGER_GET(l->accepted[me]));
    int rc = try ? weft_conn_try_send(c, m) : weft_conn_send(c, m);

    if (rc == WEFT_OK) {
        LEDGER_ADD(l->accepted[me], 1);
        return true;
    }
    weft_msg_unref(m);
    if (rc != WEFT_E_CLOSED && !(try && rc == WEFT_E_AGAIN))
        fault("connection %d: send answered %s", l->index, weft_error_name(rc));
    return false;
}

static void maybe_end(struct senders *g, weft_conn *c, struct life *l, uint64_t *random)
{
    if (!chance_one_in(random, g->shape->end_one_in))
        return;
    atomic_store(&l->is_ending, true);
    if (chance_one_in(random, 4))
        weft_conn_abort(c);
    else
        weft_conn_close(c, 1000, "enough");
}

static void maybe_churn(struct senders *g, weft_conn *c, uint64_t *random)
{
    if (!g->shape->churns)
        return;
    if (chance_one_in(random, 16))
        weft_group_remove(g->server->some, c);
    else if (chance_one_in(random, 8))
        weft_group_add(g->server->some, c);
}

static void send_burst(struct senders *g, unsigned me, uint64_t *random)
{
    unsigned burst = chance_range(random, 1, g->shape->burst_max), sent = 0;
    bool try = chance_one_in(random, 4);
    struct life *l;
    weft_conn *c = ledger_pick(g->ledger, chance_below(random, g->shape->connections), &l);

    if (!c) {
        sched_yield();
        return;
    }
    while (sent < burst && send_one(g, c, l, me, try))
        sent++;
    LEDGER_ADD(g->ledger->handovers, sent);
    maybe_churn(g, c, random);
    maybe_end(g, c, l, random);
    weft_conn_unref(c);
    life_unref(l);
    if (!sent)
        sched_yield();
}

static void pause_here(struct senders *g)
{
    struct timespec moment = {.tv_nsec = 200000};

    atomic_fetch_add(&g->paused, 1);
    while (atomic_load(&g->pausing) && !atomic_load(&g->stopping))
        nanosleep(&moment, NULL);
    atomic_fetch_sub(&g->paused, 1);
}

void *sender_main(void *arg)
{
    struct senders *g = arg;
    unsigned me = atomic_fetch_add(&g->next, 1);
    uint64_t random = chance_mix(g->shape->seed * 7919 + me);

    while (!atomic_load(&g->stopping)) {
        if (atomic_load(&g->pausing))
            pause_here(g);
        else
            send_burst(g, me, &random);
    }
    return NULL;
}

static void broadcast_to(struct senders *g, weft_group *group, unsigned sender, uint64_t number)
{
    weft_msg *m = new_message(g->shape, sender, number);

    LEDGER_ADD(g->ledger->handovers, weft_group_count(group));
    if (weft_group_broadcast(group, m, NULL) != WEFT_OK)
        abort();
}

void sender_broadcast(struct senders *g)
{
    broadcast_to(g, weft_server_group(g->server->weft), ALL, LEDGER_ADD(g->ledger->broadcasts_begun, 1));
    LEDGER_ADD(g->ledger->broadcasts_done, 1);
    if (g->shape->churns)
        broadcast_to(g, g->server->some, SOME, LEDGER_ADD(g->ledger->some_begun, 1));
}
