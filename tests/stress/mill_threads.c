/* The threads of the mill; see mill.h.
 *
 * Hand-overs of a message: I/O thread to worker through the inbox, worker or sender to I/O thread through the
 * outbox, I/O thread to sender through its stack. */
#include "mill_threads.h"

#include <poll.h>
#include <sched.h>
#include <stddef.h>

#include "chance.h"
#include "fault.h"

#define ANY_EPOCH UINT64_MAX

static _Thread_local struct mill_io *io_here;

static struct load *load_of(struct node *n)
{
    return (struct load *)n;
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static void stamp(struct load *l, uint64_t number)
{
    l->number = number;
    l->check = chance_mix(number ^ l->sender);
}

static void check(const struct load *l, const struct mill_conn *c, uint64_t *due, const char *where)
{
    if (l->conn != c || l->number != *due || l->check != chance_mix(l->number ^ l->sender))
        fault("%s: message %llu of sender %u where %llu was due", where, (unsigned long long)l->number,
              l->sender, (unsigned long long)*due);
    *due = l->number + 1;
}

/* --- to the workers, as core/pool.c --- */

static void wake_one(struct mill *m)
{
    do {
        if (atomic_exchange_explicit(&m->waking, 1, memory_order_seq_cst))
            return;
        if (park_wake_one(&m->park))
            return;
        atomic_store_explicit(&m->waking, 0, memory_order_seq_cst);
    } while (!ring_is_empty(&m->ready) && park_count(&m->park));
}

static void put_ready(struct mill *m, struct mill_conn *c)
{
    while (!ring_put(&m->ready, c))
        sched_yield();
}

static void publish(struct mill_io *io)
{
    struct mill_conn *c = io->ready;

    if (!c)
        return;
    io->ready = NULL;
    while (c) {
        struct mill_conn *next = c->ready_next;
        put_ready(io->mill, c);
        c = next;
    }
    if (!atomic_load_explicit(&io->mill->waking, ORDER(POOL_WAKING, memory_order_seq_cst)))
        wake_one(io->mill);
}

/* --- to the I/O threads, as core/outbox.c and core/io_thread.c --- */

static void link_dirty(struct mill_io *io, struct mill_conn *c)
{
    if (atomic_exchange_explicit(&c->on_dirty, true, ORDER(DIRTY, memory_order_acq_rel)))
        return;
    stack_push(&io->dirty, &c->dirty_node);
    if (io_here != io)
        wake_up(&io->wake);
}

static void push_out(struct mill_conn *c, struct load *l)
{
    if (stack_push(&c->outbox, &l->node) == STACK_FIRST)
        link_dirty(c->io, c);
}

/* Wait for wake_up, unless something is there already. */
static void sleep_on(struct wake *w, struct stack *look, struct mill *m, uint64_t epoch)
{
    struct pollfd p = {.fd = w->fd, .events = POLLIN};

    wake_prepare(w);
    if (stack_is_empty(look) && !atomic_load_explicit(&m->stopping, memory_order_seq_cst) &&
        (epoch == ANY_EPOCH || atomic_load_explicit(&m->epoch, memory_order_seq_cst) == epoch) &&
        poll(&p, 1, -1) > 0)
        wake_clear(w);
    wake_cancel(w);
}

/* --- a worker --- */

static bool handle(struct mill_worker *w, struct mill_conn *c)
{
    for (unsigned budget = w->mill->shape->budget; budget; budget--) {
        struct load *l;

        if (!c->run_list)
            c->run_list = inbox_take_all(&c->inbox);
        if (!c->run_list)
            return true;
        l = load_of(c->run_list);
        c->run_list = l->node.next;
        check(l, c, &c->due, "inbox");
        stamp(l, l->number);
        push_out(c, l);
        count(&w->taken, 1);
    }
    return false;
}

/* True: it has to go on the ready queue again. */
static bool run(struct mill_worker *w, struct mill_conn *c)
{
    bool is_done;

    if (atomic_fetch_add_explicit(&c->runners, 1, memory_order_relaxed) != 0)
        fault("a connection has two runners");
    inbox_begin(&c->inbox);
    is_done = handle(w, c);
    atomic_fetch_sub_explicit(&c->runners, 1, memory_order_relaxed);
    if (is_done)
        return !inbox_end(&c->inbox);
    inbox_yield(&c->inbox);
    return true;
}

/* False: the thread ends. */
static bool park(struct mill_worker *w)
{
    struct mill *m = w->mill;

    park_announce(&m->park, w->slot);
    if (!ring_is_empty(&m->ready) || atomic_load_explicit(&m->stopping, memory_order_seq_cst))
        park_withdraw(&m->park, w->slot);
    else
        park_wait(&m->park, w->slot, UINT32_MAX);
    atomic_store_explicit(&m->waking, 0, ORDER(POOL_WAKING, memory_order_seq_cst));
    return !atomic_load_explicit(&m->stopping, memory_order_seq_cst);
}

void *mill_worker_main(void *arg)
{
    struct mill_worker *w = arg;
    struct mill *m = w->mill;
    struct mill_conn *c;

    do {
        for (unsigned turn = 1; (c = ring_get(&m->ready)) != NULL; turn++) {
            if (run(w, c))
                put_ready(m, c);
            if (turn % 64 == 0 && !ring_is_empty(&m->ready) && park_count(&m->park))
                wake_one(m);
        }
    } while (park(w));
    return NULL;
}

/* --- an I/O thread --- */

/* Lockstep: who brings the last one home begins the next epoch. */
static void note_home(struct mill_io *io, uint64_t n)
{
    struct mill *m = io->mill;

    if (!n || !m->shape->lockstep ||
        atomic_fetch_add_explicit(&m->home, n, memory_order_acq_rel) + n <
            (uint64_t)m->shape->connections * m->shape->messages)
        return;
    atomic_store_explicit(&m->home, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->epoch, 1, memory_order_seq_cst);
    for (unsigned i = 0; i < m->shape->io_threads; i++)
        if (&m->io[i] != io)
            wake_up(&m->io[i].wake);
}

/* Returns how many of the thread's own came home: 0 or 1. */
static unsigned bring_home(struct mill_io *io, struct mill_conn *c, struct load *l)
{
    check(l, c, &c->due_of[l->sender], "outbox");
    if (l->sender) {
        struct miller *owner = &io->mill->millers[l->sender - 1];
        if (stack_push(&owner->back, &l->node) == STACK_FIRST)
            wake_up(&owner->wake);
        return 0;
    }
    l->node.next = c->home;
    c->home = &l->node;
    c->away--;
    return 1;
}

static void look_at_dirty(struct mill_io *io)
{
    struct node *n = node_reverse(stack_take_all(&io->dirty));
    unsigned home = 0;

    while (n) {
        struct mill_conn *c =
            (struct mill_conn *)(void *)((char *)n - offsetof(struct mill_conn, dirty_node));
        struct node *out;

        n = n->next;
        atomic_exchange_explicit(&c->on_dirty, false, ORDER(DIRTY, memory_order_acq_rel));
        out = node_reverse(stack_take_all(&c->outbox));
        while (out) {
            struct node *next = out->next;
            home += bring_home(io, c, load_of(out));
            count(&io->taken, 1);
            out = next;
        }
    }
    note_home(io, home);
}

static void send_out(struct mill_io *io, struct mill_conn *c)
{
    struct node *first = c->home, *last = NULL;
    unsigned most = io->mill->shape->messages;
    unsigned length = io->mill->shape->lockstep ? most : chance_range(&io->random, 1, most);

    for (; length && c->home; length--) {
        last = c->home;
        c->home = last->next;
        stamp(load_of(last), c->number++);
        c->away++;
    }
    inbox_put(&c->inbox, first, last);
    if (inbox_notify(&c->inbox)) {
        c->ready_next = io->ready;
        io->ready = c;
    }
}

static struct mill_conn *own_conn(struct mill_io *io, unsigned i)
{
    unsigned n = io->index + i * io->mill->shape->io_threads;
    return n < io->mill->shape->connections ? &io->mill->conns[n] : NULL;
}

static bool may_send(struct mill_io *io)
{
    uint64_t epoch = atomic_load_explicit(&io->mill->epoch, memory_order_acquire);
    bool is_new = epoch != io->epoch;

    io->epoch = epoch;
    if (atomic_load_explicit(&io->mill->draining, memory_order_relaxed))
        return false;
    return is_new || !io->mill->shape->lockstep;
}

/* Messages that are not home. */
static unsigned io_turn(struct mill_io *io)
{
    struct mill_conn *c;
    unsigned away = 0;
    bool may;

    look_at_dirty(io);
    may = may_send(io);
    for (unsigned i = 0; (c = own_conn(io, i)) != NULL; i++) {
        if (c->home && may)
            send_out(io, c);
        away += c->away;
    }
    publish(io);
    return away;
}

void *mill_io_main(void *arg)
{
    struct mill_io *io = arg;

    io_here = io;
    atomic_store_explicit(&io->is_home, own_conn(io, 0) == NULL, memory_order_relaxed);
    while (!atomic_load_explicit(&io->mill->stopping, memory_order_seq_cst)) {
        if (io_turn(io) == 0 && atomic_load_explicit(&io->mill->draining, memory_order_relaxed))
            atomic_store_explicit(&io->is_home, true, memory_order_relaxed);
        sleep_on(&io->wake, &io->dirty, io->mill, io->epoch);
    }
    return NULL;
}

/* --- a sender --- */

void *miller_main(void *arg)
{
    struct miller *w = arg;
    struct mill *m = w->mill;
    unsigned home = m->shape->loose;
    struct load *loads = m->loads + m->shape->connections * m->shape->messages + w->index * home;
    struct node *own = NULL;

    for (unsigned i = 0; i < home; i++) {
        loads[i].sender = w->index + 1;
        loads[i].node.next = own;
        own = &loads[i].node;
    }
    for (;;) {
        struct node *n = stack_take_all(&w->back);

        for (struct node *next; n; n = next, home++) {
            next = n->next;
            n->next = own;
            own = n;
            count(&w->taken, 1);
        }
        if (atomic_load_explicit(&m->draining, memory_order_relaxed)) {
            if (home == m->shape->loose)
                break;
        } else if (own) {
            struct load *l = load_of(own);
            own = own->next;
            home--;
            l->conn = &m->conns[chance_below(&w->random, m->shape->connections)];
            stamp(l, l->conn->sent[w->index]++);
            push_out(l->conn, l);
            continue;
        }
        sleep_on(&w->wake, &w->back, m, ANY_EPOCH);
    }
    atomic_store_explicit(&w->is_home, true, memory_order_relaxed);
    return NULL;
}
