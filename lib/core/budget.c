/* The bound of memory; see budget.h. */
#include "core/budget.h"

#include "base/log.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/io_thread.h"

static uint64_t max_of(const struct io_thread *io)
{
    return io->engine->settings.opts.memory_bytes_max;
}

static void arm(struct io_thread *io) ON_IO
{
    timer_arm(&io->loop.wheel, &io->budget.timer, io->loop.now_ms + BUDGET_LOOK_MS);
}

bool budget_is_short(struct io_thread *io)
{
    struct budget *b = &io->budget;

    uint64_t read_bytes = atomic_load_explicit(&io->stats.bytes_in, memory_order_relaxed);

    if (b->is_short || (b->looked_ms == io->loop.now_ms && read_bytes - b->looked_bytes < BUDGET_LOOK_BYTES))
        return b->is_short;
    b->looked_ms = io->loop.now_ms;
    b->looked_bytes = read_bytes;
    if (mem_used_bytes() <= max_of(io))
        return false;
    b->is_short = true;
    b->since_ms = io->loop.now_ms;
    STAT_ADD(io->stats.memory_pauses, 1);
    arm(io);
    return true;
}

/* --- who holds it --- */

struct shedding {
    struct io_thread *io;
    uint64_t heaviest;
    uint64_t excess; /* to be freed yet */
};

static struct weft_conn *conn_at(struct timer *t, const struct io_thread *io)
{
    struct weft_conn *c = io_thread_is_of_conn(io, t) ? conn_of_timer(t) : NULL;

    return c && c->state == CONN_OPEN && !c->session.failed && !conn_is_client(c) ? c : NULL;
}

static uint64_t weight_of(const struct weft_conn *c)
{
    const struct session_reading *reading = c->session.reading;
    uint64_t bytes = atomic_load_explicit(&c->outbox_bytes, memory_order_relaxed);

    bytes += c->in_put_bytes - atomic_load_explicit(&c->handled_bytes, memory_order_relaxed);
    if (reading)
        bytes += reading->msg_room;
    if (c->stash)
        bytes += c->stash->bytes;
    return bytes;
}

static void find_heaviest(struct timer *t, void *arg)
{
    struct shedding *s = arg;
    struct weft_conn *c = conn_at(t, s->io);
    uint64_t weight = c ? weight_of(c) : 0;

    if (weight > s->heaviest)
        s->heaviest = weight;
}

/* What is queued does not leave any more: that it does not leave is why it ends. */
static void shed(struct weft_conn *c) ON_IO
{
    STAT_ADD(c->home->io->stats.memory_closed, 1);
    LOG(WEFT_LOG_INFO, c->id, "closed, for it holds %llu bytes and there is no memory left",
        (unsigned long long)weight_of(c));
    mem_block_free(c->stash);
    c->stash = NULL;
    transmit_collect(c);
    transmit_drop(c);
    conn_fail(c, WEFT_CLOSE_TRY_AGAIN_LATER, "no memory left", WEFT_E_NOMEM);
}

static void shed_heavy(struct timer *t, void *arg)
{
    struct shedding *s = arg;
    struct weft_conn *c = s->excess ? conn_at(t, s->io) : NULL;
    uint64_t weight = c ? weight_of(c) : 0;

    thr_assert_io();
    if (!c || weight * 2 < s->heaviest)
        return;
    shed(c);
    s->excess -= weight < s->excess ? weight : s->excess;
}

/* Each thread closes its share. */
static void shed_some(struct io_thread *io, uint64_t excess) ON_IO
{
    struct shedding s = {.io = io, .excess = excess / io->engine->io_thread_count + 1};

    timer_each(&io->loop.wheel, find_heaviest, &s);
    if (s.heaviest) /* else it is the program's */
        timer_each(&io->loop.wheel, shed_heavy, &s);
}

/* --- */

static void resume(struct timer *t, void *arg)
{
    struct io_thread *io = arg;
    struct weft_conn *c = conn_at(t, io);

    if (c && c->is_held)
        io_thread_link_dirty(io, c);
}

void budget_time(struct io_thread *io)
{
    struct budget *b = &io->budget;
    uint64_t max = max_of(io), low = max - max / 8, used = mem_used_bytes();

    b->looked_ms = io->loop.now_ms;
    if (used <= low) {
        b->is_short = false;
        timer_each(&io->loop.wheel, resume, io);
        return;
    }
    if (io->loop.now_ms - b->since_ms >= BUDGET_PATIENCE_MS) {
        b->since_ms = io->loop.now_ms;
        shed_some(io, used - low);
    }
    arm(io);
}
