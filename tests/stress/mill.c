/* The queues by themselves: making, watching and checking; see mill.h. */
#include "mill.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "chance.h"
#include "fault.h"
#include "mill_threads.h"
#include "unit.h"
#include "weft/error.h"

#define STILL_MS      15000
#define STILL_SLOW_MS 30000
#define LOOK_US       500

static void start_thread(struct mill *m, void *(*main_function)(void *), void *arg)
{
    if (pthread_create(&m->threads[m->thread_count++], NULL, main_function, arg) != 0)
        fault_fatal("no thread");
}

static void make_conns(struct mill *m)
{
    const struct shape *s = m->shape;

    m->loads = calloc(s->connections * s->messages + s->senders * s->loose, sizeof *m->loads);
    if (!m->loads)
        abort();
    for (unsigned i = 0; i < s->connections; i++) {
        struct mill_conn *c = &m->conns[i];
        inbox_init(&c->inbox);
        stack_init(&c->outbox);
        c->io = &m->io[i % s->io_threads];
        for (unsigned k = 0; k < s->messages; k++) {
            struct load *l = &m->loads[i * s->messages + k];
            l->conn = c;
            l->node.next = c->home;
            c->home = &l->node;
        }
    }
}

static struct mill *begin(const struct shape *s)
{
    struct mill *m = NULL;
    size_t bytes = (sizeof *m + THR_CACHE_LINE - 1) / THR_CACHE_LINE * THR_CACHE_LINE;

    m = aligned_alloc(THR_CACHE_LINE, bytes);
    if (!m)
        abort();
    memset(m, 0, bytes);
    m->shape = s;
    atomic_init(&m->epoch, 1);
    park_init(&m->park);
    if (ring_init(&m->ready, s->connections) != WEFT_OK)
        abort();
    make_conns(m);
    for (unsigned i = 0; i < s->io_threads; i++) {
        m->io[i].mill = m;
        m->io[i].index = i;
        m->io[i].random = chance_mix(s->seed ^ i);
        if (wake_init(&m->io[i].wake) != WEFT_OK)
            fault_fatal("no eventfd");
    }
    for (unsigned i = 0; i < s->senders; i++) {
        m->millers[i].mill = m;
        m->millers[i].index = i;
        m->millers[i].random = chance_mix(s->seed ^ i << 8);
        if (wake_init(&m->millers[i].wake) != WEFT_OK)
            fault_fatal("no eventfd");
    }
    return m;
}

static void start(struct mill *m)
{
    for (unsigned i = 0; i < m->shape->workers; i++) {
        m->workers[i].mill = m;
        m->workers[i].slot = i;
        start_thread(m, mill_worker_main, &m->workers[i]);
    }
    for (unsigned i = 0; i < m->shape->io_threads; i++)
        start_thread(m, mill_io_main, &m->io[i]);
    for (unsigned i = 0; i < m->shape->senders; i++)
        start_thread(m, miller_main, &m->millers[i]);
}

static uint64_t handovers(const struct mill *m)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < m->shape->workers; i++)
        sum += atomic_load_explicit(&m->workers[i].taken, memory_order_relaxed);
    for (unsigned i = 0; i < m->shape->io_threads; i++)
        sum += atomic_load_explicit(&m->io[i].taken, memory_order_relaxed);
    for (unsigned i = 0; i < m->shape->senders; i++)
        sum += atomic_load_explicit(&m->millers[i].taken, memory_order_relaxed);
    return sum;
}

static bool all_are_home(const struct mill *m)
{
    bool home = true;

    for (unsigned i = 0; i < m->shape->io_threads; i++)
        home &= atomic_load_explicit(&m->io[i].is_home, memory_order_relaxed);
    for (unsigned i = 0; i < m->shape->senders; i++)
        home &= atomic_load_explicit(&m->millers[i].is_home, memory_order_relaxed);
    return home;
}

static void print_stuck(struct mill *m)
{
    fault("nothing moves any more: ready queue %zu, parked %u of %u, waking %u", ring_count(&m->ready),
          park_count(&m->park), m->shape->workers, atomic_load(&m->waking));
    for (unsigned i = 0; i < m->shape->io_threads; i++)
        fault("I/O thread %u: %s, dirty list %s", i, atomic_load(&m->io[i].wake.asleep) ? "asleep" : "awake",
              stack_is_empty(&m->io[i].dirty) ? "empty" : "not empty");
    for (unsigned i = 0; i < m->shape->connections; i++)
        fault("connection %u: inbox %s, state %u, outbox %s, %s the dirty list", i,
              atomic_load(&m->conns[i].inbox.first) ? "not empty" : "empty",
              atomic_load(&m->conns[i].inbox.state),
              stack_is_empty(&m->conns[i].outbox) ? "empty" : "not empty",
              atomic_load(&m->conns[i].on_dirty) ? "on" : "not on");
}

/* Who waits for its messages looks when they come. In lockstep one may wait for an epoch that does not
 * come, for another one drains already: it gets this one, in which nobody sends. */
static void drain(struct mill *m)
{
    atomic_store_explicit(&m->draining, true, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->epoch, 1, memory_order_seq_cst);
    for (unsigned i = 0; i < m->shape->io_threads; i++)
        wake_up(&m->io[i].wake);
}

/* Until the time is over and all are home. */
static void watch(struct mill *m)
{
    struct timespec moment = {.tv_nsec = LOOK_US * 1000};
    uint64_t still_most_ns = (unit_is_slow() ? STILL_SLOW_MS : STILL_MS) * 1000000ull;
    uint64_t until_ns = clock_now_ns() + m->shape->run_ms * 1000000ull;
    uint64_t last = 0, moved_ns = clock_now_ns();

    for (bool draining = false; !all_are_home(m) && !fault_count();) {
        uint64_t now = handovers(m), now_ns = clock_now_ns();

        if (now != last)
            moved_ns = now_ns;
        last = now;
        if (now_ns - moved_ns > still_most_ns) {
            print_stuck(m);
            return;
        }
        if (!draining && now_ns >= until_ns) {
            draining = true;
            drain(m);
        }
        nanosleep(&moment, NULL);
    }
}

static void stop(struct mill *m)
{
    atomic_store_explicit(&m->stopping, true, memory_order_seq_cst);
    while (park_wake_one(&m->park)) {
    }
    for (unsigned i = 0; i < m->shape->io_threads; i++)
        wake_up(&m->io[i].wake);
    for (unsigned i = 0; i < m->thread_count; i++)
        pthread_join(m->threads[i], NULL);
}

static void check_end(struct mill *m)
{
    if (!ring_is_empty(&m->ready))
        fault("the ready queue is not empty at the end");
    for (unsigned i = 0; i < m->shape->connections; i++) {
        struct mill_conn *c = &m->conns[i];
        if (c->run_list || inbox_take_all(&c->inbox) || stack_take_all(&c->outbox) || c->away)
            fault("connection %u is not empty at the end", i);
        if (c->due != c->number || c->due_of[0] != c->number)
            fault("connection %u: %llu went out, %llu were handled, %llu came home", i,
                  (unsigned long long)c->number, (unsigned long long)c->due,
                  (unsigned long long)c->due_of[0]);
        for (unsigned k = 0; k < m->shape->senders; k++)
            if (c->sent[k] != c->due_of[k + 1])
                fault("connection %u: sender %u sent %llu, %llu came", i, k, (unsigned long long)c->sent[k],
                      (unsigned long long)c->due_of[k + 1]);
    }
}

static void end(struct mill *m)
{
    for (unsigned i = 0; i < m->shape->io_threads; i++)
        wake_fini(&m->io[i].wake);
    for (unsigned i = 0; i < m->shape->senders; i++)
        wake_fini(&m->millers[i].wake);
    ring_fini(&m->ready);
    free(m->loads);
    free(m);
}

uint64_t mill_run(const struct shape *s)
{
    struct mill *m = begin(s);
    uint64_t n;

    start(m);
    watch(m);
    if (fault_count())
        fault_fatal("the queues are broken, their threads cannot be stopped");
    stop(m);
    check_end(m);
    n = handovers(m);
    end(m);
    return n;
}
