/* The server under load; see storm.h. */
#include "storm.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "chance.h"
#include "client.h"
#include "fault.h"
#include "sender.h"
#include "unit.h"

#define CLIENT_THREADS_MAX 3
#define STILL_MS           15000 /* nothing moves for so long: something is stuck */
#define STILL_SLOW_MS      20000
#define JOIN_SECONDS       20
#define STOP_DEADLINE_MS   20000

struct storm {
    const struct shape *shape;
    struct ledger ledger;
    struct server server;
    struct senders senders;
    struct clients clients[CLIENT_THREADS_MAX];
    pthread_t sender_threads[SENDERS_MAX], client_threads[CLIENT_THREADS_MAX];
    uint64_t random;
};

static void wait_us(unsigned us)
{
    struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000l};
    nanosleep(&t, NULL);
}

static void start_thread(pthread_t *thread, void *(*main_function)(void *), void *arg)
{
    if (pthread_create(thread, NULL, main_function, arg) != 0)
        fault_fatal("no thread");
}

static void join_thread(pthread_t thread, const char *what)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += JOIN_SECONDS;
    if (pthread_timedjoin_np(thread, NULL, &until) != 0)
        fault_fatal("a %s does not end", what);
}

static void begin(struct storm *g, const struct shape *s)
{
    g->shape = s;
    g->random = chance_mix(s->seed + 77);
    ledger_init(&g->ledger, s);
    g->server = (struct server){.shape = s, .ledger = &g->ledger};
    if (weft_group_new(&g->server.some) != WEFT_OK)
        abort();
    server_start(&g->server);
    g->senders = (struct senders){.shape = s, .ledger = &g->ledger, .server = &g->server};
    for (unsigned i = 0; i < s->client_threads; i++) {
        g->clients[i] =
            (struct clients){.shape = s,
                             .ledger = &g->ledger,
                             .server = &g->server,
                             .first = i,
                             .step = s->client_threads,
                             .count = (s->connections + s->client_threads - 1 - i) / s->client_threads};
        start_thread(&g->client_threads[i], clients_main, &g->clients[i]);
    }
    for (unsigned i = 0; i < s->senders; i++)
        start_thread(&g->sender_threads[i], sender_main, &g->senders);
}

static void set_phase(struct storm *g, enum client_phase phase)
{
    atomic_store(&g->senders.pausing, phase != CLIENT_RUN);
    atomic_store(&g->server.is_calm, phase != CLIENT_RUN);
    for (unsigned i = 0; i < g->shape->client_threads; i++)
        atomic_store(&g->clients[i].phase, phase);
}

static void blow(struct storm *g, uint64_t until_ns)
{
    const struct shape *s = g->shape;
    uint64_t now_ns;

    while ((now_ns = clock_now_ns()) < until_ns && !fault_count()) {
        unsigned left_us = (unsigned)((until_ns - now_ns) / 1000);

        if (s->broadcast_us)
            sender_broadcast(&g->senders);
        wait_us(s->broadcast_us && s->broadcast_us < left_us ? s->broadcast_us : left_us);
    }
}

static bool is_settled(struct storm *g)
{
    if (atomic_load(&g->senders.paused) != g->shape->senders)
        return false;
    for (unsigned i = 0; i < g->shape->client_threads; i++)
        if (atomic_load(&g->clients[i].seen) != CLIENT_SETTLE)
            return false;
    return ledger_is_level(&g->ledger);
}

/* What a sender that is still in a call waits for has to come by itself. */
static void settle(struct storm *g)
{
    unsigned still_most_ms = unit_is_slow() ? STILL_SLOW_MS : STILL_MS;
    uint64_t moved_ns = clock_now_ns(), progress = 0;

    for (unsigned us = 50;; us = us < 1000 ? us * 2 : us) {
        uint64_t now = ledger_progress(&g->ledger);
        if (is_settled(g) || fault_count())
            return;
        if (now != progress)
            moved_ns = clock_now_ns();
        progress = now;
        if (clock_now_ns() - moved_ns > still_most_ms * 1000000ull) {
            fault("nothing moves any more: %u of %u senders are in a call",
                  g->shape->senders - atomic_load(&g->senders.paused), g->shape->senders);
            ledger_print_uneven(&g->ledger);
            fault_fatal("a server that is stuck cannot be stopped");
        }
        wait_us(us);
    }
}

/* Another server, in the middle of everything; now and then without a closing handshake. */
static void restart(struct storm *g)
{
    server_stop(&g->server, chance_one_in(&g->random, 2) ? 0 : STOP_DEADLINE_MS);
    server_start(&g->server);
}

static void end(struct storm *g)
{
    if (!fault_count())
        ledger_demand_clean(&g->ledger);
    set_phase(g, CLIENT_END);
    server_stop(&g->server, STOP_DEADLINE_MS);
    atomic_store(&g->senders.stopping, true);
    for (unsigned i = 0; i < g->shape->senders; i++)
        join_thread(g->sender_threads[i], "sender");
    for (unsigned i = 0; i < g->shape->client_threads; i++)
        join_thread(g->client_threads[i], "client");
    weft_group_unref(g->server.some);
    ledger_fini(&g->ledger);
}

uint64_t storm_run(const struct shape *s)
{
    static struct storm storm;
    struct storm *g = &storm;
    uint64_t round_ns = s->run_ms * 1000000ull / s->rounds;

    begin(g, s);
    for (unsigned round = 0; round < s->rounds && !fault_count(); round++) {
        set_phase(g, CLIENT_RUN);
        blow(g, clock_now_ns() + round_ns / 2);
        if (s->stops && round == s->rounds / 2)
            restart(g);
        blow(g, clock_now_ns() + round_ns / 2);
        set_phase(g, CLIENT_SETTLE);
        settle(g);
    }
    end(g);
    return LEDGER_GET(g->ledger.handovers);
}
