/* An I/O thread; see io_thread.h.
 *
 * The turn of the loop, as seen from here:
 *   events     sockets are read and parsed; connections with something to run are collected in `ready`
 *   publish    `ready` goes to the lane, all at once (or is run here in inline mode)
 *   dirty      what any thread has sent is gathered and written; those that have more to read get one share
 *              more
 *   commands   what engine_stop asks for
 *   burial     connections that died in this turn get their last event
 *   help       while handlers are short the lane is run here, and what they sent is written
 * A turn that was cut short leaves second shares, commands and burial to the one that has called the rest
 * of the events.
 * Before the loop sleeps, it announces that (wake_prepare) and looks at the lists once more. */
#include "core/io_thread.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "core/conn.h"
#include "core/listener.h"
#include "core/mailbox.h"
#include "core/pool.h"
#include "io/tls.h"

/* While workers have a backlog, the loop comes back after this long to see whether it moves (pool.h, W2). */
#define WATCH_MS 1
/* What handlers sent is written, and what came of that is run, before the sockets are looked at again. */
#define HELP_ROUNDS 2

static _Thread_local struct io_thread *io_here;

const struct io_thread *io_thread_here(void)
{
    return io_here;
}

static struct weft_conn *conn_of_dirty(struct node *n)
{
    return (struct weft_conn *)(void *)((char *)n - offsetof(struct weft_conn, dirty_node));
}

void io_thread_link_dirty(struct io_thread *io, struct weft_conn *c)
{
    if (atomic_exchange_explicit(&c->on_dirty, true, ORDER(DIRTY, memory_order_acq_rel)))
        return;
    conn_ref(c);
    if (stack_push(&io->dirty, &c->dirty_node) == STACK_CLOSED) {
        conn_unref(c); /* the thread has ended, and with it the connection */
        return;
    }
    if (io_here != io) /* a thread that links to itself is awake */
        wake_up(&io->wake);
}

void io_thread_schedule(struct io_thread *io, struct weft_conn *c)
{
    conn_note_ready(c, io->loop.now_ns);
    c->ready_next = NULL;
    if (io->ready)
        io->ready_last->ready_next = c;
    else
        io->ready = c;
    io->ready_last = c;
    /* Never in inline mode: this may be the middle of another connection's parsing. */
    if (++io->ready_count >= IO_READY_MAX && io->engine->pool && !io->is_helping)
        io_thread_publish(io);
}

void io_thread_note_unrun(struct io_thread *io, uint32_t bytes)
{
    io->unrun_bytes += bytes;
    if (io->unrun_bytes >= IO_UNRUN_BYTES_MAX)
        loop_cut(&io->loop);
}

static void run_inline(struct io_thread *io, struct weft_conn *c) ON_IO
{
    uint64_t now_ns = clock_now_ns(); /* not the loop's: reading and parsing are nobody's handler */

    thr_enter_worker();
    io->is_running = true;
    while (c) {
        struct weft_conn *next = c->ready_next;
        if (mailbox_run(c, &io->run_stats, &now_ns))
            io_thread_schedule(io, c);
        c = next;
    }
    io->is_running = false;
    thr_exit_worker();
}

/* What there is no room for stays, and is tried again in the next turn. */
static void put_into_lane(struct io_thread *io) ON_IO
{
    struct pool *p = io->engine->pool;

    io->ready = pool_put(p, io, io->ready);
    if (!io->is_helping || io->wants_more)
        pool_wake(p);
}

void io_thread_publish(struct io_thread *io)
{
    struct weft_conn *ready = io->ready;

    if (!ready)
        return;
    io->ready_count = 0;
    if (io->engine->pool) {
        put_into_lane(io);
        return;
    }
    io->ready = NULL;
    run_inline(io, ready);
}

void io_thread_bury(struct io_thread *io, struct weft_conn *c)
{
    c->timer.next = io->dead;
    io->dead = &c->timer;
}

/* C2: io touches none of them afterwards. A worker that runs it already may find the event before the inbox
 * is notified, and drop the library's reference: hence one more. */
static void bury_the_dead(struct io_thread *io) ON_IO
{
    while (io->dead) {
        struct weft_conn *c = conn_of_timer(io->dead);
        io->dead = io->dead->next;
        conn_ref(c);
        conn_notify(c, CONN_EVENT_CLOSED);
        conn_unref(c);
    }
}

/* Source: RFC 6455 section 5.3 */
void io_thread_random_key(struct io_thread *io, uint8_t key[FRAME_KEY_BYTES])
{
    uint64_t value = random_next(&io->masks);

    memcpy(key, &value, FRAME_KEY_BYTES);
}

void io_thread_read_again(struct io_thread *io, struct weft_conn *c)
{
    c->is_again = true;
    io_thread_link_dirty(io, c);
}

/* The lines that conn_look will need; that of dirty_node was touched when the list was turned round. */
static void conn_prefetch(const struct weft_conn *c)
{
    __builtin_prefetch(c);
    __builtin_prefetch(&c->writing);
}

static void look_at_dirty(struct io_thread *io) ON_IO
{
    struct node *n = node_reverse(stack_take_all(&io->dirty));

    while (n) {
        struct node *next = n->next;
        struct weft_conn *c = conn_of_dirty(n);
        if (next)
            conn_prefetch(conn_of_dirty(next));
        atomic_exchange_explicit(&c->on_dirty, false, ORDER(DIRTY, memory_order_acq_rel));
        conn_look(c);
        conn_unref(c);
        n = next;
    }
}

/* --- commands --- */

void io_thread_command(struct io_thread *io, enum io_command command)
{
    atomic_fetch_or_explicit(&io->commands, (unsigned)command, memory_order_seq_cst);
    wake_up(&io->wake);
}

/* Connections are found by their timers (C9); three timers are none's. */
bool io_thread_is_of_conn(const struct io_thread *io, const struct timer *t)
{
    return t != &io->accept_timer && t != &io->refusals.timer && t != &io->budget.timer;
}

static void close_one(struct timer *t, void *arg)
{
    struct weft_conn *c = conn_of_timer(t);

    thr_assert_io();
    if (!io_thread_is_of_conn(arg, t))
        return;
    if (c->state == CONN_OPEN)
        conn_begin_close(c, WEFT_CLOSE_GOING_AWAY, "");
    else if (c->state != CONN_LINGER)
        conn_die(c, WEFT_E_CLOSED, false);
}

static void abort_one(struct timer *t, void *arg)
{
    thr_assert_io();
    if (io_thread_is_of_conn(arg, t))
        conn_die(conn_of_timer(t), WEFT_E_CLOSED, false);
}

static void obey(struct io_thread *io) ON_IO
{
    unsigned commands = atomic_load_explicit(&io->commands, memory_order_relaxed);

    if (!commands)
        return;
    commands = atomic_exchange_explicit(&io->commands, 0, memory_order_acquire);
    if (commands & IO_CLOSE_ALL) {
        io->is_closing = true;
        if (io->index == 0)
            listener_close_all(io->engine);
        timer_each(&io->loop.wheel, close_one, io);
    }
    if (commands & IO_ABORT_ALL)
        timer_each(&io->loop.wheel, abort_one, io);
    if (commands & IO_STOP)
        loop_stop(&io->loop);
}

/* --- hooks of the loop --- */

/* Run the lane here. False: the loop has another driver now. */
static bool help(struct io_thread *io) ON_IO
{
    struct pool *p = io->engine->pool;

    for (int round = 0; round < HELP_ROUNDS && pool_has_backlog(p, io); round++) {
        if (round && !pool_wants_help(p, io, io->loop.now_ns)) {
            pool_wake(p); /* of what was put in nobody was told */
            break;
        }
        if (!pool_help(p, io))
            return false;
        look_at_dirty(io);
        if (!loop_has_events(&io->loop))
            bury_the_dead(io);
        io_thread_publish(io);
    }
    return true;
}

/* Who runs what is in the lane? False as above. */
static bool share_work(struct io_thread *io, bool was_helping) ON_IO
{
    struct pool *p = io->engine->pool;

    if (!pool_has_backlog(p, io))
        return true;
    if (io->is_helping)
        return help(io);
    if (was_helping)
        pool_wake(p); /* of what was put in nobody was told */
    pool_watch(p, io, io->loop.now_ns);
    return true;
}

static bool turn_end(void *arg)
{
    struct io_thread *io = arg;
    struct pool *p = io->engine->pool;
    bool is_whole = !loop_has_events(&io->loop), was_helping = io->is_helping;

    thr_assert_io();
    io->is_helping = p && pool_wants_help(p, io, io->loop.now_ns);
    io->wants_more = p && pool_wants_more(p, io, io->loop.now_ns);
    io->unrun_bytes = 0;
    io_thread_publish(io);
    io->reads_again = is_whole;
    look_at_dirty(io);
    io->reads_again = false;
    io->shook_ns = 0;
    if (is_whole) {
        obey(io);
        bury_the_dead(io);
    }
    if (io->engine->settings.opts.memory_bytes_max)
        budget_is_short(io); /* what was sent counts, too, and may have filled it while nothing was read */
    io_thread_publish(io); /* what the last steps woke */
    return !p || share_work(io, was_helping);
}

static bool has_work(struct io_thread *io)
{
    return (io->ready && !io->engine->pool) || io->dead || !stack_is_empty(&io->dirty) ||
           atomic_load_explicit(&io->commands, memory_order_seq_cst);
}

/* Over a backlog the loop comes back soon: to run it, or to see whether it moves. */
static uint32_t backlog_wait_ms(struct io_thread *io)
{
    struct pool *p = io->engine->pool;

    if (!p || (!io->ready && !pool_has_backlog(p, io)))
        return UINT32_MAX;
    return io->is_helping ? 0 : WATCH_MS;
}

static uint32_t before_wait(void *arg)
{
    struct io_thread *io = arg;
    uint32_t wait_ms;

    wake_prepare(&io->wake);
    if (has_work(io)) {
        wake_cancel(&io->wake);
        return 0;
    }
    wait_ms = backlog_wait_ms(io);
    if (wait_ms == 0)
        wake_cancel(&io->wake);
    return wait_ms;
}

static void after_wait(void *arg)
{
    wake_cancel(&((struct io_thread *)arg)->wake);
}

static void timer_fired(struct timer *t, void *arg)
{
    struct io_thread *io = arg;

    thr_assert_io();
    if (t == &io->accept_timer) {
        listener_retry(io->engine);
        return;
    }
    if (t == &io->refusals.timer) {
        refusal_time(io);
        return;
    }
    if (t == &io->budget.timer) {
        budget_time(io);
        return;
    }
    timer_rest(&io->loop.wheel, t); /* until it is armed again: it has to be found in the wheel */
    conn_time(conn_of_timer(t), io->loop.now_ms);
}

static void woken(struct loop_source *source, unsigned events)
{
    struct io_thread *io =
        (struct io_thread *)(void *)((char *)source - offsetof(struct io_thread, wake_source));

    (void)events;
    wake_clear(&io->wake);
}

void io_thread_resume_accepting(struct io_thread *io)
{
    struct io_thread *first = io->engine->io_threads[0];

    /* Another thread's flag, read relaxed: when it is missed, the timer resumes. */
    if (atomic_load_explicit(&first->accepts_paused, memory_order_relaxed) && io == first)
        timer_arm(&first->loop.wheel, &first->accept_timer, first->loop.now_ms);
}

/* --- life --- */

static void become_io(struct io_thread *io)
{
    thr_become(THR_IO, io->engine);
    io_here = io;
}

void io_thread_step_back(struct io_thread *io)
{
    thr_exit_io();
    io_here = NULL;
    thr_become(THR_WORKER, io->engine);
}

void io_thread_step_up(struct io_thread *io)
{
    become_io(io);
    thr_enter_io();
}

/* The loop was stopped. From now on nobody links a connection here; what is linked is let go. */
static void leave_loop(struct io_thread *io) ON_IO
{
    stack_close(&io->dirty);
    look_at_dirty(io);
    io_here = NULL;
}

static void name_driver(const struct io_thread *io)
{
    char name[32];

    snprintf(name, sizeof name, "weft-io-%u", io->index);
    thr_name(name);
}

/* A former driver may have left in the middle of a turn. */
static void take_over(struct io_thread *io, enum io_begin how) ON_IO
{
    struct pool *p = io->engine->pool;

    if (how == IO_SWAPPED)
        pool_note_moved(p, io, clock_now_ns());
    if (how != IO_VACANT)
        return;
    io->is_helping = false;
    pool_note_stuck(p, io, clock_now_ns());
    if (pool_has_backlog(p, io))
        pool_wake(p);
}

bool io_thread_drive(struct io_thread *io, enum io_begin how) THR_ATTR(no_thread_safety_analysis)
{
    if (how != IO_SWAPPED)
        name_driver(io);
    io_thread_step_up(io);
    take_over(io, how);
    if (!loop_run(&io->loop))
        return false; /* stepped back already */
    leave_loop(io);
    thr_exit_io();
    return true;
}

static void *io_main(void *arg)
{
    struct io_thread *io = arg;

    name_driver(io);
    if (io->engine->settings.opts.pin_threads)
        cpu_pin(&io->engine->processors, io->index);
    if (!io->engine->settings.opts.normal_scheduling)
        thr_schedule_as_batch();
    mem_pool_join(); /* without a pool it is slower, no more */
    listener_warm_all(io->engine);
    io_thread_step_up(io);
    loop_run(&io->loop);
    leave_loop(io);
    thr_exit_io();
    tls_thread_leave();
    mem_pool_leave();
    return NULL;
}

static int begin_masks(struct io_thread *io)
{
    return random_source_init(&io->masks) ? WEFT_OK : WEFT_E_SYSTEM;
}

int io_thread_new(struct io_thread **out, struct engine *e, unsigned index)
{
    size_t bytes = (sizeof(struct io_thread) + THR_CACHE_LINE - 1) / THR_CACHE_LINE * THR_CACHE_LINE;
    struct io_thread *io = mem_aligned_calloc(THR_CACHE_LINE, bytes);
    struct loop_hooks hooks = {turn_end, before_wait, after_wait, timer_fired, conn_ready, io};
    int rc = WEFT_E_NOMEM;

    if (!io)
        return WEFT_E_NOMEM;
    io->engine = e;
    io->index = index;
    io->loop.epoll_fd = io->wake.fd = -1;
    stack_init(&io->dirty);
    lease_init(&io->lease);
    timer_init(&io->accept_timer);
    timer_init(&io->refusals.timer);
    timer_init(&io->budget.timer);
    io->wake_source.ready = woken;
    io->read_buffer = mem_alloc(IO_READ_BYTES);
    io->write_buffer = mem_alloc(IO_WRITE_BYTES);
    if (!io->read_buffer || !io->write_buffer || (rc = begin_masks(io)) != WEFT_OK ||
        (rc = wake_init(&io->wake)) != WEFT_OK || (rc = loop_init(&io->loop, &hooks)) != WEFT_OK ||
        (rc = loop_add_level(&io->loop, io->wake.fd, &io->wake_source)) != WEFT_OK) {
        io_thread_free(io);
        return rc;
    }
    *out = io;
    return WEFT_OK;
}

void io_thread_free(struct io_thread *io)
{
    if (!io)
        return;
    refusals_fini(&io->refusals);
    loop_fini(&io->loop);
    wake_fini(&io->wake);
    mem_free(io->read_buffer);
    mem_free(io->write_buffer);
    tls_scratch_free(io->tls_scratch);
    mem_free(io);
}

int io_thread_start(struct io_thread *io)
{
    return pthread_create(&io->thread, NULL, io_main, io) == 0 ? WEFT_OK : WEFT_E_SYSTEM;
}

void io_thread_join(struct io_thread *io)
{
    pthread_join(io->thread, NULL);
}
