/* The engine: made, started, stopped, counted; see engine.h.
 *
 * Stopping, each step leaving a true sentence:
 *   1  IO_CLOSE_ALL   no socket listens any more; every open connection has its Close behind what was sent
 *   2  wait           alive is 0, or the deadline has passed
 *   3  IO_ABORT_ALL   no socket is open any more; the last on_close calls are on their way to the workers
 *   4  wait           alive is 0: no callback runs, and none will
 *   5  crew_stop      no thread of a handler runs any more
 *   6  IO_STOP, and pool_stop   no thread of the server runs any more
 * Step 4 gives up after a second when a callback does not return; calling again goes on there. */
#include "core/engine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "core/conn.h"
#include "core/crew.h"
#include "core/io_thread.h"
#include "core/listener.h"
#include "core/pool.h"
#include "sync/park.h"

/* What callbacks have beyond the deadline. */
#define GRACE_MS 1000
/* Descriptors that a process needs beside its connections. */
#define SPARE_DESCRIPTORS 64u

/* Relaxed: it only has to be another number each time. */
uint64_t engine_next_conn_id(void)
{
    static _Atomic uint64_t last;
    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

static uint32_t choose_connections_max(const weft_server_opts *opts)
{
    struct rlimit files;
    uint64_t most = 1000000;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY && files.rlim_cur < most)
        most = files.rlim_cur > 2 * SPARE_DESCRIPTORS ? files.rlim_cur - SPARE_DESCRIPTORS : files.rlim_cur;
    return opts->connections_max < most ? opts->connections_max : (uint32_t)most;
}

static int make_threads(struct engine *e)
{
    unsigned count = e->settings.opts.io_threads;
    int rc = WEFT_OK;

    e->io_threads = mem_calloc(count, sizeof(struct io_thread *));
    if (!e->io_threads)
        return WEFT_E_NOMEM;
    for (unsigned i = 0; i < count && rc == WEFT_OK; i++) {
        rc = io_thread_new(&e->io_threads[i], e, i);
        if (rc == WEFT_OK)
            e->io_thread_count++;
    }
    if (rc == WEFT_OK && !e->settings.opts.inline_handlers)
        rc = pool_new(&e->pool, e);
    return rc;
}

/* The threads themselves come when they are needed. */
static int make_crew(struct engine *e)
{
    const weft_server_opts *opts = &e->settings.opts;

    e->crew = crew_new(e, opts->handler_stack_bytes, !opts->normal_scheduling);
    if (!e->crew)
        return WEFT_E_NOMEM;
    slots_init(&e->slots, e->crew, opts->handlers_max);
    return WEFT_OK;
}

static int make_limits(struct engine *e)
{
    const struct settings *s = &e->settings;
    struct limits_config config = {
        .connections_max = s->opts.connections_per_address_max,
        .handshakes = s->handshakes,
        .unlimited = s->unlimited,
        .unlimited_count = s->opts.unlimited_address_count,
        .entries = e->connections_max,
    };

    if (!config.connections_max && !config.handshakes.interval_ns)
        return WEFT_OK;
    return limits_new(&e->limits, &config);
}

static void free_engine(struct engine *e)
{
    if (e->crew)
        slots_fini(&e->slots);
    crew_free(e->crew);
    while (e->listeners) {
        struct listener *next = e->listeners->next;
        listener_free(e->listeners);
        e->listeners = next;
    }
    pool_free(e->pool);
    endpoint_fini(&e->own);
    squeeze_free(e->squeeze);
    for (unsigned i = 0; i < e->io_thread_count; i++)
        io_thread_free(e->io_threads[i]);
    mem_free(e->io_threads);
    limits_free(e->limits);
    settings_fini(&e->settings);
    pthread_mutex_destroy(&e->reload_lock);
    pthread_mutex_destroy(&e->stop_lock);
    pthread_mutex_destroy(&e->admit_lock);
    mem_free(e);
}

int engine_new(struct engine **out, const weft_server_opts *opts, const struct engine_hooks *hooks)
{
    struct engine *e = mem_calloc(1, sizeof *e);
    int rc;

    if (!e)
        return WEFT_E_NOMEM;
    atomic_init(&e->refs, 1);
    pthread_mutex_init(&e->reload_lock, NULL);
    pthread_mutex_init(&e->stop_lock, NULL);
    pthread_mutex_init(&e->admit_lock, NULL);
    cpu_mask_here(&e->processors);
    rc = settings_init(&e->settings, opts);
    if (rc == WEFT_OK) {
        e->connections_max = choose_connections_max(&e->settings.opts);
        rc = make_threads(e);
    }
    if (rc == WEFT_OK)
        rc = make_limits(e);
    if (rc == WEFT_OK)
        rc = make_crew(e);
    if (rc == WEFT_OK && !(e->squeeze = squeeze_new(&e->settings.squeeze)))
        rc = WEFT_E_NOMEM;
    if (rc == WEFT_OK)
        rc = endpoint_init(&e->own, e, &e->settings, hooks);
    if (rc != WEFT_OK) {
        free_engine(e);
        return rc;
    }
    *out = e;
    return WEFT_OK;
}

struct io_thread *engine_least_loaded(struct engine *e)
{
    struct io_thread *best = e->io_threads[0];

    for (unsigned i = 1; i < e->io_thread_count; i++)
        if (atomic_load_explicit(&e->io_threads[i]->conn_count, memory_order_relaxed) <
            atomic_load_explicit(&best->conn_count, memory_order_relaxed))
            best = e->io_threads[i];
    return best;
}

/* Relaxed: who takes a reference has one. */
void engine_ref(struct engine *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
}

void engine_unref(struct engine *e)
{
    if (atomic_fetch_sub_explicit(&e->refs, 1, ORDER(ENGINE_LAST, memory_order_acq_rel)) == 1)
        free_engine(e);
}

static bool has_listener(const struct engine *e, int fd)
{
    const struct listener *l = e->listeners;

    while (l && l->fd != fd)
        l = l->next;
    return l != NULL;
}

int engine_add_listener(struct engine *e, int fd, const char *unlink_path, struct tls_port *tls)
{
    struct listener *l;
    int rc;

    if (e->is_started)
        return WEFT_E_STATE;
    if (has_listener(e, fd)) /* given twice */
        return WEFT_E_INVAL;
    rc = listener_new(&l, e, fd, unlink_path, tls);
    if (rc == WEFT_OK) {
        l->next = e->listeners;
        e->listeners = l;
    }
    return rc;
}

int engine_reload_tls(struct engine *e)
{
    int rc;

    pthread_mutex_lock(&e->reload_lock);
    rc = listener_reload_all(e);
    pthread_mutex_unlock(&e->reload_lock);
    return rc;
}

static void stop_io_threads(struct engine *e, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        io_thread_command(e->io_threads[i], IO_STOP);
    for (unsigned i = 0; i < count; i++)
        io_thread_join(e->io_threads[i]);
}

static int start_io_threads(struct engine *e)
{
    for (unsigned i = 0; i < e->io_thread_count; i++) {
        int rc = io_thread_start(e->io_threads[i]);
        if (rc != WEFT_OK) {
            stop_io_threads(e, i);
            return rc;
        }
    }
    return WEFT_OK;
}

bool engine_admit(struct engine *e) THR_ATTR(no_thread_safety_analysis)
{
    pthread_mutex_lock(&e->admit_lock);
    if (e->admits)
        return true;
    pthread_mutex_unlock(&e->admit_lock);
    return false;
}

void engine_admitted(struct engine *e) THR_ATTR(no_thread_safety_analysis)
{
    pthread_mutex_unlock(&e->admit_lock);
}

static void set_admits(struct engine *e, bool admits)
{
    pthread_mutex_lock(&e->admit_lock);
    e->admits = admits;
    pthread_mutex_unlock(&e->admit_lock);
}

/* The listening sockets come last: when one of them is heard, everything runs. */
int engine_start(struct engine *e)
{
    int rc;

    if (e->is_started)
        return WEFT_E_STATE;
    rc = e->pool ? pool_start(e->pool) : start_io_threads(e);
    e->is_started = true;
    if (rc != WEFT_OK) {
        e->is_joined = true; /* its loops were stopped, and cannot begin again */
        return rc;
    }
    atomic_store_explicit(&e->listening, 1, memory_order_relaxed); /* the listeners are heard behind it */
    set_admits(e, true);
    rc = listener_start_all(e);
    if (rc != WEFT_OK)
        engine_stop(e, 0);
    return rc;
}

void engine_one_less(struct engine *e)
{
    if (atomic_fetch_sub_explicit(&e->alive, 1, ORDER(ALIVE, memory_order_release)) == 1)
        park_futex_wake(&e->alive, INT32_MAX);
}

bool engine_wait_for_zero(_Atomic uint32_t *word, uint64_t until_ms)
{
    for (;;) {
        uint32_t value = atomic_load_explicit(word, memory_order_acquire); /* ALIVE, LISTENING, MAKING */
        uint64_t now_ms = clock_now_ms();

        if (value == 0)
            return true;
        if (now_ms >= until_ms)
            return false;
        park_futex_wait(word, value, until_ms - now_ms < 1000 ? (uint32_t)(until_ms - now_ms) : 1000);
    }
}

static void command_all(struct engine *e, enum io_command command)
{
    for (unsigned i = 0; i < e->io_thread_count; i++)
        io_thread_command(e->io_threads[i], command);
}

/* Under stop_lock. */
static int stop(struct engine *e, uint32_t deadline_ms)
{
    if (e->is_joined)
        return WEFT_OK;
    set_admits(e, false);
    command_all(e, IO_CLOSE_ALL);
    /* An I/O thread that does not answer is one whose inline handler does not return. */
    if (!engine_wait_for_zero(&e->listening, clock_now_ms() + deadline_ms + GRACE_MS))
        return WEFT_E_TIMEOUT;
    if (!engine_wait_for_zero(&e->alive, clock_now_ms() + deadline_ms)) {
        command_all(e, IO_ABORT_ALL);
        if (!engine_wait_for_zero(&e->alive, clock_now_ms() + GRACE_MS))
            return WEFT_E_TIMEOUT;
    }
    crew_stop(e->crew);
    if (e->pool)
        pool_stop(e->pool);
    else
        stop_io_threads(e, e->io_thread_count);
    e->is_joined = true;
    return WEFT_OK;
}

int engine_stop(struct engine *e, uint32_t deadline_ms)
{
    int rc;

    if (!e->is_started || thr_owner() == e)
        return WEFT_E_STATE;
    pthread_mutex_lock(&e->stop_lock);
    rc = stop(e, deadline_ms);
    pthread_mutex_unlock(&e->stop_lock);
    return rc;
}

/* --- figures --- */

static void add_io_stats(const struct io_thread *io, weft_stats *s)
{
#define ADD(field) s->field += atomic_load_explicit(&io->stats.field, memory_order_relaxed)
    ADD(accepted);
    ADD(opened);
    ADD(refused);
    ADD(messages_in);
    ADD(messages_out);
    ADD(bytes_in);
    ADD(bytes_out);
    ADD(dropped_oldest);
    ADD(dropped_closed);
    ADD(closed_slow);
    ADD(reads);
    ADD(writes);
    ADD(accept_pauses);
    ADD(read_pauses);
    ADD(refused_connections);
    ADD(refused_rate);
    ADD(refused_full);
    ADD(rate_pauses);
    ADD(memory_pauses);
    ADD(memory_closed);
#undef ADD
    s->io_wakeups += atomic_load_explicit(&io->wake.writes, memory_order_relaxed);
    s->closed += atomic_load_explicit(&io->run_stats.closed, memory_order_relaxed);
    for (unsigned k = 0; k < WEFT_HANDOVER_BUCKETS; k++)
        s->handover_us[k] += atomic_load_explicit(&io->run_stats.handover_us[k], memory_order_relaxed);
    uint64_t longest_us =
        atomic_load_explicit(&io->run_stats.longest_handler_ns, memory_order_relaxed) / 1000;
    if (longest_us > s->longest_handler_us)
        s->longest_handler_us = longest_us;
}

static void add_pool_stats(struct pool *p, weft_stats *s)
{
    struct pool_stats ps;

    pool_stats(p, &ps);
    s->worker_wakeups = ps.wakeups;
    s->takeovers = ps.takeovers;
    s->swaps = ps.swaps;
    s->longest_handler_us = ps.longest_handler_us;
    s->workers_started = ps.started;
    s->workers_started_max = ps.started_max;
    s->workers_busy = ps.busy;
    s->closed = ps.closed;
    for (unsigned k = 0; k < WEFT_HANDOVER_BUCKETS; k++)
        s->handover_us[k] = ps.handover_us[k];
}

void engine_stats(struct engine *e, weft_stats *out)
{
    weft_stats s = {.size = out->size};

    if (e->pool)
        add_pool_stats(e->pool, &s);
    for (unsigned i = 0; i < e->io_thread_count; i++)
        add_io_stats(e->io_threads[i], &s);
    squeeze_add_stats(e->squeeze, &s);
    s.connections = atomic_load_explicit(&e->open, memory_order_relaxed);
    s.handshaking = atomic_load_explicit(&e->handshaking, memory_order_relaxed);
    s.memory_bytes = e->settings.opts.memory_bytes_max ? mem_used_bytes() : 0;
    s.dropped_newest = atomic_load_explicit(&e->dropped_newest, memory_order_relaxed);
    memcpy(out, &s, out->size < sizeof s ? out->size : sizeof s);
}
