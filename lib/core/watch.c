/* The watcher; see watch.h. */
#include "core/watch.h"

#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "core/io_thread.h"
#include "sync/lease.h"
#include "sync/park.h"

/* Ticks without a loan before it sleeps. */
#define IDLE_TICKS 4

/* So long a loan is left to who lent it, and to workers. */
static long patience_us(const struct io_thread *io)
{
    uint64_t since_ns = atomic_load_explicit(&io->shared_since_ns, memory_order_relaxed), age_us;

    if (!since_ns)
        return 0;
    age_us = (clock_now_ns() - since_ns) / 1000;
    return age_us < WATCH_SHARED_US ? (long)(WATCH_SHARED_US - age_us) : 0;
}

/* It met a loan, and comes again. */
static void note_met(struct watch *w, long patience_us)
{
    long again_us = patience_us > WATCH_AGAIN_US ? patience_us : WATCH_AGAIN_US;

    if (!w->again_us || again_us < w->again_us)
        w->again_us = again_us;
}

/* True: loans are being made. */
static bool look(struct watch *w, unsigned i)
{
    struct io_thread *io = w->engine->io_threads[i];
    uint64_t now = lease_look(&io->lease), before = w->seen[i];

    w->seen[i] = now;
    /* Relaxed: only this thread sets it; when it was cleared a moment ago, one thread is woken for nothing.
     * */
    if (atomic_load_explicit(&io->is_vacant, memory_order_relaxed)) {
        w->vacant(io, false, w->arg);
        w->calm_looks = 0;
        return true;
    }
    if (!lease_is_lent(now))
        return now != before;
    if (now != before || patience_us(io)) {
        note_met(w, patience_us(io));
        return true;
    }
    if (lease_take(&io->lease, now)) {
        atomic_fetch_add_explicit(&w->takeovers, 1, memory_order_relaxed);
        w->vacant(io, true, w->arg);
        w->calm_looks = 0;
    }
    return true;
}

static bool look_at_all(struct watch *w)
{
    bool is_busy = false;

    w->again_us = 0;
    if (w->calm_looks < WATCH_CALM_STEPS * WATCH_CALM_LOOKS)
        w->calm_looks++;
    for (unsigned i = 0; i < w->engine->io_thread_count; i++)
        is_busy |= look(w, i);
    return is_busy;
}

static bool some_are_lent(struct watch *w)
{
    for (unsigned i = 0; i < w->engine->io_thread_count; i++)
        if (lease_is_lent(lease_look(&w->engine->io_threads[i]->lease)))
            return true;
    return false;
}

static void sleep_until_lent(struct watch *w)
{
    atomic_store_explicit(&w->awake, 0, ORDER(LEASE_LOOK, memory_order_seq_cst));
    if (some_are_lent(w) || atomic_load_explicit(&w->stopping, memory_order_seq_cst)) {
        atomic_store_explicit(&w->awake, 1, memory_order_relaxed);
        return;
    }
    while (!atomic_load_explicit(&w->awake, memory_order_relaxed))
        park_futex_wait(&w->awake, 0, UINT32_MAX);
}

static void rest(const struct watch *w)
{
    long tick_us = WATCH_TICK_US << w->calm_looks / WATCH_CALM_LOOKS;
    struct timespec time = {.tv_nsec = (w->again_us ? w->again_us : tick_us) * 1000};

    clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

static void *watch_main(void *arg)
{
    struct watch *w = arg;
    unsigned idle = 0;

    thr_name("weft-watch");
    while (!atomic_load_explicit(&w->stopping, memory_order_seq_cst)) {
        idle = look_at_all(w) ? 0 : idle + 1;
        if (idle > IDLE_TICKS)
            sleep_until_lent(w);
        else
            rest(w);
    }
    return NULL;
}

static void rouse(struct watch *w)
{
    if (!atomic_exchange_explicit(&w->awake, 1, memory_order_seq_cst))
        park_futex_wake(&w->awake, 1);
}

void watch_lent(struct watch *w)
{
    if (!atomic_load_explicit(&w->awake, ORDER(LEASE_LOOK, memory_order_seq_cst)))
        rouse(w);
}

int watch_init(struct watch *w, struct engine *e,
               void (*vacant)(struct io_thread *io, bool is_new, void *arg), void *arg)
{
    w->engine = e;
    w->vacant = vacant;
    w->arg = arg;
    w->seen = mem_calloc(e->io_thread_count, sizeof *w->seen);
    atomic_init(&w->awake, 1);
    return w->seen ? WEFT_OK : WEFT_E_NOMEM;
}

void watch_fini(struct watch *w)
{
    mem_free(w->seen);
    w->seen = NULL;
}

int watch_start(struct watch *w)
{
    w->is_running = pthread_create(&w->thread, NULL, watch_main, w) == 0;
    return w->is_running ? WEFT_OK : WEFT_E_SYSTEM;
}

void watch_stop(struct watch *w)
{
    if (!w->is_running)
        return;
    atomic_store_explicit(&w->stopping, true, memory_order_seq_cst);
    rouse(w);
    pthread_join(w->thread, NULL);
    w->is_running = false;
}
