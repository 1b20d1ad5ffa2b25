/* The threads of a server; see pool.h for W1 to W6.
 *
 * A worker's slot is its place among the berths, of which there are as many as W4 asks for. */
#include "core/pool.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/mem.h"
#include "base/order.h"
#include "base/thr.h"
#include "core/berths.h"
#include "core/conn.h"
#include "core/io_thread.h"
#include "core/judge.h"
#include "core/lane.h"
#include "core/listener.h"
#include "core/load.h"
#include "core/mailbox.h"
#include "core/watch.h"
#include "io/tls.h"
#include "sync/park.h"
#include "sync/ring.h"

/* How long a worker beyond the configured number stays without work. */
#define IDLE_LEAVE_MS 10000
/* A worker that was busy this long with a backlog behind it calls for help. */
#define HELP_AFTER_NS 100000
/* Looking for work before parking: the shortest time, and looks between two readings of the clock. */
#define SPIN_NS_MIN 1000
#define SPIN_ROUNDS 16

struct worker {
    _Alignas(THR_CACHE_LINE) struct run_stats
        stats;             /* (a) written by its thread; kept when the slot is used again */
    struct pool *pool;       /* (c) */
    unsigned slot;           /* (c) */
    struct io_thread *first; /* (q) the loop that it drives to begin with, NULL for none */
    struct load_mark mark;
    uint64_t spin_ns; /* its own: how long it looks for work before it sleeps */
};

struct pool {
    struct engine *engine; /* (c) borrowed */
    struct lane *lanes;    /* (c) one for each I/O loop */
    struct park park;
    struct watch watch;
    struct worker *workers; /* (c) max of them */
    unsigned loops;         /* (c) */
    unsigned base, max;     /* (c) threads, those that drive included */
    struct berths berths;
    struct load load;
    _Atomic unsigned vacancies; /* loops that need a driver: raised before io->is_vacant, lowered behind it */
    _Alignas(THR_CACHE_LINE) _Atomic uint32_t waking;
    _Atomic uint32_t spinning; /* workers that look for work and are not parked */
    _Atomic uint64_t wakeups, swaps;
};

static _Thread_local struct worker *worker_here;

static struct lane *lane_of(struct pool *p, const struct io_thread *io)
{
    return &p->lanes[io->index];
}

static struct io_thread *io_of(struct pool *p, const struct lane *lane)
{
    return p->engine->io_threads[lane - p->lanes];
}

static bool has_vacancy(struct pool *p)
{
    return atomic_load_explicit(&p->vacancies, memory_order_seq_cst) != 0;
}

static bool has_work(struct pool *p)
{
    if (has_vacancy(p))
        return true;
    if (!load_may_enter(&p->load))
        return false;
    for (unsigned i = 0; i < p->loops; i++)
        if (!lane_is_empty(&p->lanes[i]))
            return true;
    return false;
}

/* --- waking --- */

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
    } while (has_work(p) && park_count(&p->park));
    return false;
}

void pool_wake(struct pool *p)
{
    if (atomic_load_explicit(&p->spinning, ORDER(SPIN_LOOK, memory_order_seq_cst)))
        return; /* it finds what was put, now or in its last look before it parks */
    if (!atomic_load_explicit(&p->waking, ORDER(POOL_WAKING, memory_order_seq_cst)))
        wake_one(p);
}

struct weft_conn *pool_put(struct pool *p, const struct io_thread *io, struct weft_conn *c)
{
    struct ring *ready = &lane_of(p, io)->ready;

    while (c) {
        struct weft_conn *next = c->ready_next; /* behind the put it belongs to a worker */
        if (!ring_put(ready, c))
            return c;
        c = next;
    }
    return NULL;
}

bool pool_has_backlog(struct pool *p, const struct io_thread *io)
{
    return !lane_is_empty(lane_of(p, io));
}

void pool_watch(struct pool *p, const struct io_thread *io, uint64_t now_ns)
{
    if (!lane_stands_still(lane_of(p, io), now_ns) || !load_may_enter(&p->load))
        return;
    if (!wake_one(p))
        berths_start(&p->berths);
}

/* The watcher has taken the loop from a thread that is in a handler, or nobody has come for it yet. */
static void loop_is_vacant(struct io_thread *io, bool is_new, void *arg)
{
    struct pool *p = arg;

    if (is_new) {
        load_count(&p->load); /* the former driver */
        atomic_fetch_add_explicit(&p->vacancies, 1, memory_order_seq_cst);
        atomic_store_explicit(&io->is_vacant, true, ORDER(VACANT, memory_order_release));
    }
    if (!park_wake_one(&p->park))
        berths_start(&p->berths);
}

/* A loop to drive, NULL for none. */
static struct io_thread *take_vacant(struct pool *p)
{
    if (!has_vacancy(p))
        return NULL;
    for (unsigned i = 0; i < p->loops; i++) {
        struct io_thread *io = p->engine->io_threads[i];
        if (atomic_load_explicit(&io->is_vacant, memory_order_relaxed) &&
            atomic_exchange_explicit(&io->is_vacant, false, ORDER(VACANT, memory_order_acquire))) {
            atomic_fetch_sub_explicit(&p->vacancies, 1, memory_order_seq_cst);
            return io;
        }
    }
    return NULL;
}

/* --- a thread --- */

/* Look for work without sleeping. What pays is done longer the next time, what does not, shorter. True:
 * there is some. */
static bool spin(struct worker *w)
{
    struct pool *p = w->pool;
    uint64_t most_ns = p->engine->settings.opts.spin_us * 1000ull, until_ns;
    bool found = false;

    if (!most_ns)
        return false;
    if (w->spin_ns < SPIN_NS_MIN)
        w->spin_ns = SPIN_NS_MIN;
    atomic_fetch_add_explicit(&p->spinning, 1, memory_order_seq_cst);
    until_ns = clock_now_ns() + w->spin_ns;
    do {
        for (int i = 0; i < SPIN_ROUNDS && !found; i++) {
            THR_RELAX();
            found = has_work(p);
        }
    } while (!found && clock_now_ns() < until_ns);
    /* Before it announces that it parks, and looks once more (SPIN_LOOK). */
    atomic_fetch_sub_explicit(&p->spinning, 1, ORDER(SPIN_LOOK, memory_order_seq_cst));
    w->spin_ns = found ? w->spin_ns * 2 : w->spin_ns / 2;
    if (w->spin_ns > most_ns)
        w->spin_ns = most_ns;
    return found;
}

/* Wait for work. False: the thread ends. */
static bool park(struct worker *w)
{
    struct pool *p = w->pool;
    bool is_extra = w->slot >= p->base;
    bool woken = true;

    if (spin(w))
        return true;
    park_announce(&p->park, w->slot);
    if (has_work(p) || berths_are_closed(&p->berths))
        park_withdraw(&p->park, w->slot);
    else
        woken = park_wait(&p->park, w->slot, is_extra ? IDLE_LEAVE_MS : UINT32_MAX);
    if (woken)
        atomic_store_explicit(&p->waking, 0, ORDER(POOL_WAKING, memory_order_seq_cst));
    if (berths_are_closed(&p->berths))
        return has_vacancy(p); /* that loop has to be brought to its end */
    return woken || has_work(p);
}

static void call_for_help(struct pool *p, struct lane *lane, uint64_t now_ns, uint64_t turn_ns)
{
    if (now_ns - turn_ns < HELP_AFTER_NS || lane_is_empty(lane))
        return;
    if (lane_shared_since_ns(io_of(p, lane)) && load_has_all_cores(&p->load))
        return;
    if (!atomic_load_explicit(&p->waking, memory_order_relaxed) && park_count(&p->park))
        wake_one(p);
}

/* W1: run it, and again when it has more and its lane no room. */
static void run(struct worker *w, struct lane *lane, struct weft_conn *c, uint64_t *now_ns) ON_WORKER
{
    while (mailbox_run(c, &w->stats, now_ns)) {
        conn_note_ready(c, *now_ns);
        if (ring_put(&lane->ready, c))
            break;
    }
}

static struct weft_conn *take(struct worker *w, struct lane **lane)
{
    struct pool *p = w->pool;
    struct weft_conn *c = NULL;

    for (unsigned i = 0; i < p->loops && !c; i++) {
        *lane = &p->lanes[(w->slot + i) % p->loops];
        c = ring_get(&(*lane)->ready);
    }
    return c;
}

static void name_worker(const struct worker *w)
{
    char name[32];

    snprintf(name, sizeof name, "weft-work-%u", w->slot);
    thr_name(name);
}

/* W4. False: there are enough threads in handlers. */
static bool enter(struct worker *w)
{
    return load_enter(&w->pool->load, &w->mark);
}

static void leave(struct worker *w)
{
    load_leave(&w->pool->load, &w->mark);
}

/* Names are system calls: who swaps keeps its own. */
static void drive(struct worker *w, struct io_thread *io, enum io_begin how) THR_ATTR(no_thread_safety_analysis)
{
    if (w->mark.is_counted) {
        leave(w);
        if (has_work(w->pool))
            pool_wake(w->pool);
    }
    load_note_busy(&w->mark, 0);
    thr_exit_worker();
    w->mark.is_counted = !io_thread_drive(io, how); /* by who took the loop */
    if (how != IO_SWAPPED)
        name_worker(w);
    thr_become(THR_WORKER, w->pool->engine);
    thr_enter_worker();
}

/* W6, that of its lane first. True: it has driven meanwhile. */
static bool swap_roles(struct worker *w, struct lane *lane, uint64_t now_ns)
{
    struct pool *p = w->pool;

    for (unsigned i = 0; i < p->loops; i++) {
        struct io_thread *io = p->engine->io_threads[(io_of(p, lane)->index + i) % p->loops];
        if (!lane_take_role(lane_of(p, io), io, now_ns))
            continue;
        w->mark.is_counted = false; /* who lent it is, in its place */
        atomic_fetch_add_explicit(&p->swaps, 1, memory_order_relaxed);
        drive(w, io, IO_SWAPPED);
        return true;
    }
    return false;
}

static void work(struct worker *w) ON_WORKER
{
    struct pool *p = w->pool;
    uint64_t turn_ns = clock_now_ns(), now_ns = turn_ns, run_ns;
    struct io_thread *io;
    struct weft_conn *c;
    struct lane *lane;

    for (;;) {
        if ((io = take_vacant(p)) != NULL) {
            drive(w, io, IO_VACANT);
            turn_ns = now_ns = clock_now_ns();
            continue;
        }
        c = enter(w) ? take(w, &lane) : NULL;
        if (!c)
            break;
        run_ns = now_ns;
        load_note_busy(&w->mark, run_ns);
        run(w, lane, c, &now_ns);
        call_for_help(p, lane, now_ns, turn_ns);
        if (now_ns - run_ns >= JUDGE_LONG_RUN_NS && swap_roles(w, lane, now_ns))
            turn_ns = now_ns = clock_now_ns();
    }
    load_note_busy(&w->mark, 0);
    leave(w);
}

/* Who starts a thread hands its own pin on. */
static void place(const struct worker *w)
{
    const struct cpu_mask *processors = &w->pool->engine->processors;

    if (w->slot < w->pool->base)
        cpu_pin(processors, w->slot);
    else
        cpu_unpin(processors);
}

static void worker_main(void *pool, unsigned slot)
{
    struct pool *p = pool;
    struct worker *w = &p->workers[slot];

    if (!p->engine->settings.opts.normal_scheduling)
        thr_schedule_as_batch();
    if (p->engine->settings.opts.pin_threads)
        place(w);
    name_worker(w);
    worker_here = w;
    thr_become(THR_WORKER, p->engine);
    thr_enter_worker();
    mem_pool_join(); /* without a pool it is slower, no more */
    if (w->slot < p->base)
        listener_warm_all(p->engine); /* each of them may come to drive */
    if (w->first)
        drive(w, w->first, IO_FIRST);
    w->first = NULL;
    do {
        work(w);
    } while (park(w));
    tls_thread_leave();
    mem_pool_leave();
    thr_exit_worker();
}

/* --- helping --- */

/* Slots above count_max have never been in use (berths.h, B2). */
static void count_stuck(struct pool *p, struct lane *lane, uint64_t now_ns)
{
    unsigned used = atomic_load_explicit(&p->berths.count_max, memory_order_relaxed), stuck = 0;

    if (!lane_counts_stuck(lane, now_ns))
        return;
    for (unsigned i = 0; i < used && i < p->max; i++)
        stuck += load_is_stuck(&p->workers[i].mark, now_ns);
    atomic_store_explicit(&p->load.stuck, stuck, memory_order_relaxed);
}

bool pool_wants_help(struct pool *p, struct io_thread *io, uint64_t now_ns)
{
    enum judge_way way = judge_way(&lane_of(p, io)->judge, now_ns);

    if (way != JUDGE_SHARED)
        lane_share(io, 0);
    if (way == JUDGE_HAND_OVER || p->engine->settings.opts.separate_io || !load_may_enter(&p->load))
        return false;
    return way == JUDGE_ALONE || load_has_all_cores(&p->load) || !park_count(&p->park);
}

bool pool_wants_more(struct pool *p, const struct io_thread *io, uint64_t now_ns)
{
    return judge_way(&lane_of(p, io)->judge, now_ns) == JUDGE_SHARED && !load_has_all_cores(&p->load);
}

void pool_note_stuck(struct pool *p, const struct io_thread *io, uint64_t now_ns)
{
    judge_stuck(&lane_of(p, io)->judge, now_ns);
}

void pool_note_moved(struct pool *p, const struct io_thread *io, uint64_t now_ns)
{
    judge_moved(&lane_of(p, io)->judge, now_ns);
}

bool pool_help(struct pool *p, struct io_thread *io) THR_ATTR(no_thread_safety_analysis)
{
    struct lane *lane = lane_of(p, io);
    uint64_t start_ns = clock_now_ns(), now_ns = start_ns, most_ns = LANE_HELP_NS_MAX, loan;
    struct thr_switches before = {0};
    struct judge_turn turn = {0};
    struct weft_conn *c;

    if (judge_wants_switches(&lane->judge, start_ns))
        before = thr_switches();
    if (judge_way(&lane->judge, start_ns) == JUDGE_SHARED) {
        count_stuck(p, lane, start_ns);
        lane_share(io, start_ns);
        most_ns = LANE_SHARED_NS;
    }
    load_note_busy(&worker_here->mark, start_ns);
    io_thread_step_back(io);
    thr_enter_worker();
    loan = lease_lend(&io->lease);
    watch_lent(&p->watch);
    while (now_ns - start_ns < most_ns && (c = ring_get(&lane->ready)) != NULL) {
        run(worker_here, lane, c, &now_ns);
        turn.runs++;
    }
    load_note_busy(&worker_here->mark, 0);
    thr_exit_worker();
    if (!lease_back(&io->lease, loan))
        return false;
    io_thread_step_up(io);
    turn.took_ns = now_ns - start_ns;
    lane_judge(lane, &turn, &before, now_ns);
    return true;
}

/* --- life --- */

static int init_lanes(struct pool *p)
{
    size_t room = p->engine->connections_max < LANE_MAX ? p->engine->connections_max : LANE_MAX;

    p->lanes = mem_aligned_calloc(THR_CACHE_LINE, p->loops * sizeof *p->lanes);
    if (!p->lanes)
        return WEFT_E_NOMEM;
    for (unsigned i = 0; i < p->loops; i++) {
        p->lanes[i].judge.has_cores = p->load.cores > 1;
        if (ring_init(&p->lanes[i].ready, room) != WEFT_OK)
            return WEFT_E_NOMEM;
    }
    return WEFT_OK;
}

static int init_workers(struct pool *p)
{
    p->workers = mem_aligned_calloc(THR_CACHE_LINE, p->max * sizeof *p->workers);
    if (!p->workers)
        return WEFT_E_NOMEM;
    for (unsigned i = 0; i < p->max; i++) {
        p->workers[i].pool = p;
        p->workers[i].slot = i;
    }
    return WEFT_OK;
}

int pool_new(struct pool **out, struct engine *e)
{
    struct pool *p = NULL;
    size_t bytes = (sizeof *p + THR_CACHE_LINE - 1) / THR_CACHE_LINE * THR_CACHE_LINE;

    p = mem_aligned_calloc(THR_CACHE_LINE, bytes);
    if (!p)
        return WEFT_E_NOMEM;
    p->engine = e;
    p->loops = e->io_thread_count;
    p->load.cores = cpu_count();
    p->base = p->loops + e->settings.opts.workers;
    p->load.most = e->settings.opts.workers_max;
    p->max = p->load.most + 2 * p->loops;
    park_init(&p->park);
    if (berths_init(&p->berths, p->max, worker_main, p) != WEFT_OK || init_lanes(p) != WEFT_OK ||
        init_workers(p) != WEFT_OK ||
        watch_init(&p->watch, e, loop_is_vacant, p) != WEFT_OK) {
        pool_free(p);
        return WEFT_E_NOMEM;
    }
    *out = p;
    return WEFT_OK;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    for (unsigned i = 0; p->lanes && i < p->loops; i++)
        ring_fini(&p->lanes[i].ready);
    watch_fini(&p->watch);
    berths_fini(&p->berths);
    mem_free(p->lanes);
    mem_free(p->workers);
    mem_free(p);
}

/* The first slots are taken first, and their threads drive. */
int pool_start(struct pool *p)
{
    for (unsigned i = 0; i < p->loops; i++)
        p->workers[i].first = p->engine->io_threads[i];
    for (unsigned i = 0; i < p->base; i++) {
        if (!berths_start(&p->berths)) {
            pool_stop(p);
            return WEFT_E_SYSTEM;
        }
    }
    if (watch_start(&p->watch) != WEFT_OK) {
        pool_stop(p);
        return WEFT_E_SYSTEM;
    }
    return WEFT_OK;
}

void pool_stop(struct pool *p)
{
    watch_stop(&p->watch); /* no loop becomes vacant any more */
    for (unsigned i = 0; i < p->loops; i++)
        io_thread_command(p->engine->io_threads[i], IO_STOP);
    berths_close(&p->berths);
    while (park_wake_one(&p->park)) {
    }
    berths_join(&p->berths);
}

static unsigned above(unsigned n, unsigned floor)
{
    return n > floor ? n - floor : 0;
}

/* Of the threads, as many as there are loops count as drivers. */
void pool_stats(struct pool *p, struct pool_stats *out)
{
    *out = (struct pool_stats){0};
    out->wakeups = atomic_load_explicit(&p->wakeups, memory_order_relaxed);
    out->takeovers = atomic_load_explicit(&p->watch.takeovers, memory_order_relaxed);
    out->swaps = atomic_load_explicit(&p->swaps, memory_order_relaxed);
    out->started = above(atomic_load_explicit(&p->berths.count, memory_order_relaxed), p->loops);
    out->started_max = above(atomic_load_explicit(&p->berths.count_max, memory_order_relaxed), p->loops);
    out->busy = above((unsigned)out->started, park_count(&p->park));
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
