/* The threads of a server; see pool.h for W1 to W6.
 *
 * Slots are fixed places for threads, as many as W4 asks for. A slot's state is under start_lock; threads
 * that ended by themselves are joined when their slot is used again, or at the stop. */
#include "core/pool.h"

#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "base/thr.h"
#include "core/conn.h"
#include "core/io_thread.h"
#include "core/judge.h"
#include "core/listener.h"
#include "core/mailbox.h"
#include "core/watch.h"
#include "io/tls.h"
#include "sync/park.h"
#include "sync/ring.h"

/* How long a worker beyond the configured number stays without work. */
#define IDLE_LEAVE_MS 10000
/* A worker that was busy this long with a backlog behind it calls for help. */
#define HELP_AFTER_NS 100000
/* The least time between two looks at a backlog that does not move. */
#define WATCH_NS 900000
/* A lane has room for so many connections. */
#define LANE_MAX 8192u

/* So long a driver runs handlers before it looks at its sockets again. Less than WATCH_AGAIN_US. */
#define HELP_NS_MAX 100000
/* The same while cores are shared: behind it any of the threads may look. Less than WATCH_SHARED_US. */
#define SHARED_LOAN_NS 200000
/* Who is longer in a run than this needs no core, for all one knows; and how often a driver counts those. */
#define STUCK_NS       2000000
#define STUCK_LOOK_NS  1000000

/* Looking for work before parking: the shortest time, and looks between two readings of the clock. */
#define SPIN_NS_MIN 1000
#define SPIN_ROUNDS 16

enum slot_state { SLOT_FREE, SLOT_RUNNING, SLOT_ENDED };

struct worker {
    _Alignas(THR_CACHE_LINE) struct run_stats
        stats;             /* (a) written by its thread; kept when the slot is used again */
    struct pool *pool;     /* (c) */
    unsigned slot;         /* (c) */
    struct io_thread *first; /* (q) the loop that it drives to begin with, NULL for none */
    _Atomic uint64_t busy_since_ns; /* (a) written by its thread: when its run began, 0 for none */
    uint64_t spin_ns;      /* its own: how long it looks for work before it sleeps */
    bool is_counted;       /* its own: in in_handlers */
    enum slot_state state; /* under start_lock */
    pthread_t thread;      /* under start_lock */
};

/* What belongs to one loop. */
struct lane {
    _Alignas(THR_CACHE_LINE) struct ring ready; /* (q) */
    _Alignas(THR_CACHE_LINE) uint64_t watch_ns; /* (io) */
    size_t watch_head;                          /* (io) */
    struct judge judge;                         /* (io) */
    uint64_t stuck_look_ns;                     /* (io) */
};

struct pool {
    struct engine *engine; /* (c) borrowed */
    struct lane *lanes;    /* (c) one for each I/O loop */
    struct park park;
    struct watch watch;
    struct worker *workers; /* (c) max of them */
    unsigned loops;         /* (c) */
    unsigned cores;         /* (c) processors that this process may use */
    unsigned workers_max;   /* (c) */
    unsigned base, max;     /* (c) threads, those that drive included */
    pthread_mutex_t start_lock;
    _Atomic unsigned started, started_max;
    _Atomic unsigned vacancies; /* loops that need a driver: raised before io->is_vacant, lowered behind it */
    _Atomic unsigned in_handlers;
    _Atomic unsigned stuck; /* of them, for STUCK_NS and longer; counted while cores are shared */
    atomic_bool stopping;
    _Alignas(THR_CACHE_LINE) _Atomic uint32_t waking;
    _Atomic uint32_t spinning; /* workers that look for work and are not parked */
    _Atomic uint64_t wakeups, swaps;
};

static _Thread_local struct worker *worker_here;

static bool start_worker(struct pool *p);

static struct lane *lane_of(struct pool *p, const struct io_thread *io)
{
    return &p->lanes[io->index];
}

static struct io_thread *io_of(struct pool *p, const struct lane *lane)
{
    return p->engine->io_threads[lane - p->lanes];
}

/* Are as many threads at work as there are processors, a driver beside the workers? The drivers of other loops may be at
 * work, too, or not. A guess: it decides who is woken. */
static bool has_all_cores(struct pool *p)
{
    return atomic_load_explicit(&p->in_handlers, memory_order_relaxed) + 1 >=
           p->cores + atomic_load_explicit(&p->stuck, memory_order_relaxed);
}

static uint64_t shared_since_ns(const struct io_thread *io)
{
    return atomic_load_explicit(&io->shared_since_ns, memory_order_relaxed);
}

static bool has_vacancy(struct pool *p)
{
    return atomic_load_explicit(&p->vacancies, memory_order_seq_cst) != 0;
}

/* W4 */
static bool may_enter(struct pool *p)
{
    return atomic_load_explicit(&p->in_handlers, memory_order_seq_cst) < p->workers_max;
}

static bool has_work(struct pool *p)
{
    if (has_vacancy(p))
        return true;
    if (!may_enter(p))
        return false;
    for (unsigned i = 0; i < p->loops; i++)
        if (!ring_is_empty(&p->lanes[i].ready))
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
    return !ring_is_empty(&lane_of(p, io)->ready);
}

void pool_watch(struct pool *p, const struct io_thread *io, uint64_t now_ns)
{
    struct lane *lane = lane_of(p, io);
    size_t head = atomic_load_explicit(&lane->ready.head, memory_order_relaxed), before = lane->watch_head;

    if (now_ns - lane->watch_ns < WATCH_NS)
        return;
    lane->watch_ns = now_ns;
    lane->watch_head = head;
    if (head != before || !pool_has_backlog(p, io) || !may_enter(p))
        return;
    if (!wake_one(p))
        start_worker(p);
}

/* The watcher has taken the loop from a thread that is in a handler, or nobody has come for it yet. */
static void loop_is_vacant(struct io_thread *io, bool is_new, void *arg)
{
    struct pool *p = arg;

    if (is_new) {
        atomic_fetch_add_explicit(&p->in_handlers, 1, memory_order_seq_cst); /* the former driver */
        atomic_fetch_add_explicit(&p->vacancies, 1, memory_order_seq_cst);
        atomic_store_explicit(&io->is_vacant, true, ORDER(VACANT, memory_order_release));
    }
    if (!park_wake_one(&p->park))
        start_worker(p);
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
    if (has_work(p) || atomic_load_explicit(&p->stopping, memory_order_seq_cst))
        park_withdraw(&p->park, w->slot);
    else
        woken = park_wait(&p->park, w->slot, is_extra ? IDLE_LEAVE_MS : UINT32_MAX);
    if (woken)
        atomic_store_explicit(&p->waking, 0, ORDER(POOL_WAKING, memory_order_seq_cst));
    if (atomic_load_explicit(&p->stopping, memory_order_seq_cst))
        return has_vacancy(p); /* that loop has to be brought to its end */
    return woken || has_work(p);
}

static void call_for_help(struct pool *p, struct lane *lane, uint64_t now_ns, uint64_t turn_ns)
{
    if (now_ns - turn_ns < HELP_AFTER_NS || ring_is_empty(&lane->ready))
        return;
    if (shared_since_ns(io_of(p, lane)) && has_all_cores(p))
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
    struct pool *p = w->pool;
    unsigned n = atomic_load_explicit(&p->in_handlers, memory_order_relaxed);

    while (!w->is_counted) {
        if (n >= p->workers_max)
            return false;
        w->is_counted = atomic_compare_exchange_weak_explicit(&p->in_handlers, &n, n + 1, memory_order_seq_cst,
                                                              memory_order_relaxed);
    }
    return true;
}

/* Only its own thread writes, so that a store does. */
static void note_busy(struct worker *w, uint64_t since_ns)
{
    atomic_store_explicit(&w->busy_since_ns, since_ns, memory_order_relaxed);
}

/* Who leaves looks at the lanes behind it, or has another one look: some may not have been let in. */
static void leave(struct worker *w)
{
    if (w->is_counted)
        atomic_fetch_sub_explicit(&w->pool->in_handlers, 1, memory_order_seq_cst);
    w->is_counted = false;
}

/* Names are system calls: who swaps keeps its own. */
static void drive(struct worker *w, struct io_thread *io, enum io_begin how) THR_ATTR(no_thread_safety_analysis)
{
    if (w->is_counted) {
        leave(w);
        if (has_work(w->pool))
            pool_wake(w->pool);
    }
    note_busy(w, 0);
    thr_exit_worker();
    w->is_counted = !io_thread_drive(io, how); /* by who took the loop */
    if (how != IO_SWAPPED)
        name_worker(w);
    thr_become(THR_WORKER, w->pool->engine);
    thr_enter_worker();
}

/* Looked at behind the loan: if shared_since_ns belongs to a later one, this one is over, and cannot be taken. */
static bool is_due(struct pool *p, const struct io_thread *io, uint64_t loan, uint64_t now_ns)
{
    uint64_t since_ns = shared_since_ns(io);

    if (!lease_is_lent(loan) || !since_ns)
        return false;
    return now_ns >= since_ns + SHARED_LOAN_NS || ring_is_empty(&lane_of(p, io)->ready);
}

/* W6, that of its lane first. True: it has driven meanwhile. */
static bool swap_roles(struct worker *w, struct lane *lane, uint64_t now_ns)
{
    struct pool *p = w->pool;

    for (unsigned i = 0; i < p->loops; i++) {
        struct io_thread *io = p->engine->io_threads[(io_of(p, lane)->index + i) % p->loops];
        uint64_t loan = lease_look(&io->lease);
        if (!is_due(p, io, loan, now_ns) || !lease_take(&io->lease, loan))
            continue;
        w->is_counted = false; /* who lent it is, in its place */
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
        note_busy(w, run_ns);
        run(w, lane, c, &now_ns);
        call_for_help(p, lane, now_ns, turn_ns);
        if (now_ns - run_ns >= JUDGE_LONG_RUN_NS && swap_roles(w, lane, now_ns))
            turn_ns = now_ns = clock_now_ns();
    }
    note_busy(w, 0);
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

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;

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
    pthread_mutex_lock(&p->start_lock);
    w->state = SLOT_ENDED;
    atomic_fetch_sub_explicit(&p->started, 1, memory_order_relaxed);
    pthread_mutex_unlock(&p->start_lock);
    return NULL;
}

/* --- helping --- */

/* Behind the next loan workers may take the role (W6), 0: they may not. Written rarely where it stays the same. */
static void share_loans(struct io_thread *io, uint64_t since_ns)
{
    if (shared_since_ns(io) != since_ns)
        atomic_store_explicit(&io->shared_since_ns, since_ns, memory_order_relaxed);
}

/* Slots are taken from the first on, so that no more have ever been in use than threads at once. */
static void count_stuck(struct pool *p, struct lane *lane, uint64_t now_ns)
{
    unsigned used = atomic_load_explicit(&p->started_max, memory_order_relaxed), stuck = 0;

    if (now_ns - lane->stuck_look_ns < STUCK_LOOK_NS)
        return;
    lane->stuck_look_ns = now_ns;
    for (unsigned i = 0; i < used && i < p->max; i++) {
        uint64_t since_ns = atomic_load_explicit(&p->workers[i].busy_since_ns, memory_order_relaxed);
        stuck += since_ns && now_ns > since_ns + STUCK_NS;
    }
    atomic_store_explicit(&p->stuck, stuck, memory_order_relaxed);
}

bool pool_wants_help(struct pool *p, struct io_thread *io, uint64_t now_ns)
{
    enum judge_way way = judge_way(&lane_of(p, io)->judge, now_ns);

    if (way != JUDGE_SHARED)
        share_loans(io, 0);
    if (way == JUDGE_HAND_OVER || p->engine->settings.opts.separate_io || !may_enter(p))
        return false;
    return way == JUDGE_ALONE || has_all_cores(p) || !park_count(&p->park);
}

bool pool_wants_more(struct pool *p, const struct io_thread *io, uint64_t now_ns)
{
    return judge_way(&lane_of(p, io)->judge, now_ns) == JUDGE_SHARED && !has_all_cores(p);
}

void pool_note_stuck(struct pool *p, const struct io_thread *io, uint64_t now_ns)
{
    judge_stuck(&lane_of(p, io)->judge, now_ns);
}

void pool_note_moved(struct pool *p, const struct io_thread *io, uint64_t now_ns)
{
    judge_moved(&lane_of(p, io)->judge, now_ns);
}

static void judge_turn(struct lane *lane, struct judge_turn *t, const struct thr_switches *before, uint64_t now_ns)
{
    if (before->waits || before->stops) {
        struct thr_switches now = thr_switches();
        t->waits = now.waits - before->waits;
        t->stops = now.stops - before->stops;
    }
    judge_runs(&lane->judge, t, now_ns);
}

bool pool_help(struct pool *p, struct io_thread *io) THR_ATTR(no_thread_safety_analysis)
{
    struct lane *lane = lane_of(p, io);
    uint64_t start_ns = clock_now_ns(), now_ns = start_ns, most_ns = HELP_NS_MAX, loan;
    struct thr_switches before = {0};
    struct judge_turn turn = {0};
    struct weft_conn *c;

    if (judge_wants_switches(&lane->judge, start_ns))
        before = thr_switches();
    if (judge_way(&lane->judge, start_ns) == JUDGE_SHARED) {
        count_stuck(p, lane, start_ns);
        share_loans(io, start_ns);
        most_ns = SHARED_LOAN_NS;
    }
    note_busy(worker_here, start_ns);
    io_thread_step_back(io);
    thr_enter_worker();
    loan = lease_lend(&io->lease);
    watch_lent(&p->watch);
    while (now_ns - start_ns < most_ns && (c = ring_get(&lane->ready)) != NULL) {
        run(worker_here, lane, c, &now_ns);
        turn.runs++;
    }
    note_busy(worker_here, 0);
    thr_exit_worker();
    if (!lease_back(&io->lease, loan))
        return false;
    io_thread_step_up(io);
    turn.took_ns = now_ns - start_ns;
    judge_turn(lane, &turn, &before, now_ns);
    return true;
}

/* --- starting and ending threads --- */

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

static int init_lanes(struct pool *p)
{
    size_t room = p->engine->connections_max < LANE_MAX ? p->engine->connections_max : LANE_MAX;

    p->lanes = mem_aligned_calloc(THR_CACHE_LINE, p->loops * sizeof *p->lanes);
    if (!p->lanes)
        return WEFT_E_NOMEM;
    for (unsigned i = 0; i < p->loops; i++) {
        p->lanes[i].judge.has_cores = p->cores > 1;
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
    p->cores = cpu_count();
    p->base = p->loops + e->settings.opts.workers;
    p->workers_max = e->settings.opts.workers_max;
    p->max = p->workers_max + 2 * p->loops;
    park_init(&p->park);
    pthread_mutex_init(&p->start_lock, NULL);
    if (init_lanes(p) != WEFT_OK || init_workers(p) != WEFT_OK ||
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
    pthread_mutex_destroy(&p->start_lock);
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
        if (!start_worker(p)) {
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
    out->started = above(atomic_load_explicit(&p->started, memory_order_relaxed), p->loops);
    out->started_max = above(atomic_load_explicit(&p->started_max, memory_order_relaxed), p->loops);
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
