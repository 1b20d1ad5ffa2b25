/* The worker pool; see pool.h for W1 to W4.
 *
 * Slots are fixed places for threads, up to workers_max. A slot's state is under start_lock; threads that
 * ended by themselves are joined when their slot is used again, or at the stop. */
#include "core/pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "base/thr.h"
#include "core/conn.h"
#include "core/mailbox.h"
#include "sync/park.h"
#include "sync/ring.h"

/* How long a worker beyond the configured number stays without work. */
#define IDLE_LEAVE_MS 10000
/* A worker that was busy this long with a backlog behind it calls for help. */
#define HELP_AFTER_NS 100000
/* The least time between two looks at a backlog that does not move. */
#define WATCH_NS 900000

enum slot_state { SLOT_FREE, SLOT_RUNNING, SLOT_ENDED };

struct worker {
    _Alignas(THR_CACHE_LINE) struct run_stats
        stats;             /* (a) written by its thread; kept when the slot is used again */
    struct pool *pool;     /* (c) */
    unsigned slot;         /* (c) */
    enum slot_state state; /* under start_lock */
    pthread_t thread;      /* under start_lock */
};

struct pool {
    struct engine *engine; /* (c) borrowed */
    struct ring ready;     /* (q) */
    struct park park;
    struct worker *workers; /* (c) workers_max of them */
    unsigned base, max;     /* (c) */
    pthread_mutex_t start_lock;
    _Atomic unsigned started, started_max;
    atomic_bool stopping;
    _Alignas(THR_CACHE_LINE) _Atomic uint32_t waking;
    _Atomic uint64_t wakeups;
    _Atomic uint64_t watch_ns;
    _Atomic size_t watch_head;
};

static bool start_worker(struct pool *p);

/* W3 */
static bool wake_one(struct pool *p)
{
    do {
        if (atomic_exchange_explicit(&p->waking, 1, memory_order_seq_cst))
            return true;
        if (park_wake_one(&p->park)) {
            atomic_fetch_add_explicit(&p->wakeups, 1, memory_order_relaxed);
            return true;
        }
        atomic_store_explicit(&p->waking, 0, memory_order_seq_cst);
    } while (!ring_is_empty(&p->ready) && park_count(&p->park));
    return false;
}

/* W1 */
static void put_ready(struct pool *p, struct weft_conn *c)
{
    while (!ring_put(&p->ready, c))
        sched_yield();
}

void pool_publish(struct pool *p, struct weft_conn *c)
{
    while (c) {
        struct weft_conn *next = c->ready_next; /* behind the put it belongs to a worker */
        put_ready(p, c);
        c = next;
    }
    if (!atomic_load_explicit(&p->waking, ORDER(POOL_WAKING, memory_order_seq_cst)))
        wake_one(p);
}

bool pool_has_backlog(struct pool *p)
{
    return !ring_is_empty(&p->ready);
}

void pool_watch(struct pool *p, uint64_t now_ns)
{
    /* Relaxed: several I/O threads may look at once, and one worker more than needed does no harm. */
    uint64_t last = atomic_load_explicit(&p->watch_ns, memory_order_relaxed);
    size_t head = atomic_load_explicit(&p->ready.head, memory_order_relaxed);

    if (now_ns - last < WATCH_NS)
        return;
    atomic_store_explicit(&p->watch_ns, now_ns, memory_order_relaxed);
    if (atomic_exchange_explicit(&p->watch_head, head, memory_order_relaxed) != head || !pool_has_backlog(p))
        return;
    if (!wake_one(p))
        start_worker(p);
}

/* --- a worker --- */

/* Wait for work. False: the thread ends. */
static bool park(struct worker *w)
{
    struct pool *p = w->pool;
    bool is_extra = w->slot >= p->base;
    bool woken = true;

    park_announce(&p->park, w->slot);
    if (!ring_is_empty(&p->ready) || atomic_load_explicit(&p->stopping, memory_order_seq_cst))
        park_withdraw(&p->park, w->slot);
    else
        woken = park_wait(&p->park, w->slot, is_extra ? IDLE_LEAVE_MS : UINT32_MAX);
    if (woken)
        atomic_store_explicit(&p->waking, 0, ORDER(POOL_WAKING, memory_order_seq_cst));
    if (atomic_load_explicit(&p->stopping, memory_order_seq_cst))
        return false;
    return woken || !ring_is_empty(&p->ready);
}

static void call_for_help(struct pool *p, uint64_t now_ns, uint64_t turn_ns)
{
    if (now_ns - turn_ns < HELP_AFTER_NS || ring_is_empty(&p->ready))
        return;
    if (!atomic_load_explicit(&p->waking, memory_order_relaxed) && park_count(&p->park))
        wake_one(p);
}

static void work(struct worker *w) ON_WORKER
{
    struct pool *p = w->pool;
    struct weft_conn *c;
    uint64_t turn_ns = clock_now_ns(), now_ns = turn_ns;

    while ((c = ring_get(&p->ready)) != NULL) {
        if (mailbox_run(c, &w->stats, &now_ns)) {
            c->ready_ns = now_ns;
            put_ready(p, c);
        }
        call_for_help(p, now_ns, turn_ns);
    }
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    char name[32];

    snprintf(name, sizeof name, "weft-work-%u", w->slot);
    thr_name(name);
    if (!p->engine->settings.opts.normal_scheduling)
        thr_schedule_as_batch();
    thr_become(THR_WORKER, p->engine);
    thr_enter_worker();
    mem_pool_join(); /* without a pool it is slower, no more */
    do {
        work(w);
    } while (park(w));
    mem_pool_leave();
    thr_exit_worker();
    pthread_mutex_lock(&p->start_lock);
    w->state = SLOT_ENDED;
    atomic_fetch_sub_explicit(&p->started, 1, memory_order_relaxed);
    pthread_mutex_unlock(&p->start_lock);
    return NULL;
}

static struct worker *free_slot(struct pool *p)
{
    for (unsigned i = 0; i < p->max; i++) {
        struct worker *w = &p->workers[i];
        if (w->state == SLOT_ENDED) {
            pthread_join(w->thread, NULL);
            w->state = SLOT_FREE;
        }
        if (w->state == SLOT_FREE)
            return w;
    }
    return NULL;
}

/* Under start_lock. Counted before it runs: what it does must not be seen before that it was started. */
static bool create_worker(struct worker *w)
{
    struct pool *p = w->pool;
    unsigned n = atomic_fetch_add_explicit(&p->started, 1, memory_order_relaxed) + 1;

    if (n > atomic_load_explicit(&p->started_max, memory_order_relaxed))
        atomic_store_explicit(&p->started_max, n, memory_order_relaxed);
    w->state = SLOT_RUNNING;
    if (pthread_create(&w->thread, NULL, worker_main, w) == 0)
        return true;
    w->state = SLOT_FREE;
    atomic_fetch_sub_explicit(&p->started, 1, memory_order_relaxed);
    return false;
}

static bool start_worker(struct pool *p)
{
    struct worker *w = NULL;
    bool created;

    pthread_mutex_lock(&p->start_lock);
    if (!atomic_load_explicit(&p->stopping, memory_order_seq_cst))
        w = free_slot(p);
    created = w && create_worker(w);
    pthread_mutex_unlock(&p->start_lock);
    if (w && !created)
        LOG(WEFT_LOG_WARNING, 0, "no thread for another worker");
    return created;
}

/* --- life --- */

int pool_new(struct pool **out, struct engine *e)
{
    struct pool *p = NULL;
    size_t bytes = (sizeof *p + THR_CACHE_LINE - 1) / THR_CACHE_LINE * THR_CACHE_LINE;

    p = mem_aligned_calloc(THR_CACHE_LINE, bytes);
    if (!p)
        return WEFT_E_NOMEM;
    p->engine = e;
    p->base = e->settings.opts.workers;
    p->max = e->settings.opts.workers_max;
    p->workers = mem_aligned_calloc(THR_CACHE_LINE, p->max * sizeof *p->workers);
    if (!p->workers || ring_init(&p->ready, e->connections_max) != WEFT_OK) {
        mem_free(p->workers);
        mem_free(p);
        return WEFT_E_NOMEM;
    }
    for (unsigned i = 0; i < p->max; i++) {
        p->workers[i].pool = p;
        p->workers[i].slot = i;
    }
    park_init(&p->park);
    pthread_mutex_init(&p->start_lock, NULL);
    *out = p;
    return WEFT_OK;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    ring_fini(&p->ready);
    pthread_mutex_destroy(&p->start_lock);
    mem_free(p->workers);
    mem_free(p);
}

int pool_start(struct pool *p)
{
    for (unsigned i = 0; i < p->base; i++) {
        if (!start_worker(p)) {
            pool_stop(p);
            return WEFT_E_SYSTEM;
        }
    }
    return WEFT_OK;
}

void pool_stop(struct pool *p)
{
    pthread_mutex_lock(&p->start_lock);
    atomic_store_explicit(&p->stopping, true, memory_order_seq_cst);
    pthread_mutex_unlock(&p->start_lock);
    while (park_wake_one(&p->park)) {
    }
    for (unsigned i = 0; i < p->max; i++) {
        enum slot_state state;
        pthread_mutex_lock(&p->start_lock);
        state = p->workers[i].state;
        pthread_mutex_unlock(&p->start_lock);
        if (state != SLOT_FREE)
            pthread_join(p->workers[i].thread, NULL);
        p->workers[i].state = SLOT_FREE;
    }
}

void pool_stats(struct pool *p, struct pool_stats *out)
{
    *out = (struct pool_stats){0};
    out->wakeups = atomic_load_explicit(&p->wakeups, memory_order_relaxed);
    out->started = atomic_load_explicit(&p->started, memory_order_relaxed);
    out->started_max = atomic_load_explicit(&p->started_max, memory_order_relaxed);
    out->busy = out->started - park_count(&p->park);
    for (unsigned i = 0; i < p->max; i++) {
        struct run_stats *s = &p->workers[i].stats;
        uint64_t longest_us = atomic_load_explicit(&s->longest_handler_ns, memory_order_relaxed) / 1000;
        if (longest_us > out->longest_handler_us)
            out->longest_handler_us = longest_us;
        out->closed += atomic_load_explicit(&s->closed, memory_order_relaxed);
        for (unsigned k = 0; k < WEFT_HANDOVER_BUCKETS; k++)
            out->handover_us[k] += atomic_load_explicit(&s->handover_us[k], memory_order_relaxed);
    }
}
