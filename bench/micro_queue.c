/* What does it cost to hand a message from one thread to another?
 *
 * Three answers in nanoseconds: the queues alone in one thread (put and get, one at a time and 16 at a time);
 * a stream of messages between two threads, at most WINDOW under way, the receiver looking again and again;
 * and the round trip between two threads that wait for each other by spinning, by a futex (park.h) or by an
 * eventfd (wake.h). Two threads are measured on one core and on two, since a wake-up that crosses cores costs
 * several times as much. The figure is the best of ROUNDS rounds. Where others have the cores, a thread
 * that looks again and again waits for the other's slice of time: a round of two threads ends after
 * ROUND_NS_MAX, with what it did.
 *
 * usage: micro_queue [--json] */
#include "micro.h"

#include "base/node.h"
#include "sync/inbox.h"
#include "sync/park.h"
#include "sync/ring.h"
#include "sync/stack.h"
#include "sync/wake.h"

#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 5, ALONE = 200000, STREAM = 200000, TRIPS = 1000, BATCH = 16, WINDOW = 1024 };
#define ROUND_NS_MAX 3e8

static struct inbox inbox;
static struct stack stack;
static struct ring ring;
static struct node nodes[WINDOW];

static void put_inbox(struct node *n)
{
    inbox_put(&inbox, n, n);
}

static struct node *take_inbox(void)
{
    return inbox_take_all(&inbox);
}

static void put_stack(struct node *n)
{
    stack_push(&stack, n);
}

static struct node *take_stack(void)
{
    return node_reverse(stack_take_all(&stack));
}

static void put_ring(struct node *n)
{
    n->next = NULL;
    if (!ring_put(&ring, n))
        abort();
}

static struct node *take_ring(void)
{
    return ring_get(&ring);
}

static const struct queue {
    const char *name;
    void (*put)(struct node *);
    struct node *(*take)(void);
} queues[] = {
    {"inbox: put, take all", put_inbox, take_inbox},
    {"stack: push, take all, reverse", put_stack, take_stack},
    {"ring: put, get", put_ring, take_ring},
};
enum { QUEUES = sizeof queues / sizeof queues[0] };

static size_t take_and_count(const struct queue *q)
{
    size_t count = 0;

    for (struct node *n = q->take(); n; n = n->next)
        count++;
    return count;
}

static double alone_ns(const struct queue *q, int batch)
{
    double start = micro_now_ns();

    for (int done = 0; done < ALONE; done += batch) {
        int got = 0;
        for (int i = 0; i < batch; i++)
            q->put(&nodes[i]);
        while (got < batch)
            got += (int)take_and_count(q);
    }
    return (micro_now_ns() - start) / ALONE;
}

/* Two threads: `other` runs beside the measuring one, each on its core. */
static int cores[2];

static void pin(int core)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((unsigned)core, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

static void find_cores(void)
{
    cpu_set_t set;
    int count = 0;

    sched_getaffinity(0, sizeof set, &set);
    for (int i = 0; i < CPU_SETSIZE && count < 2; i++)
        if (CPU_ISSET((unsigned)i, &set))
            cores[count++] = i;
    if (count == 1)
        cores[1] = -1;
}

static int other_core;

static double together_ns(void *(*other)(void *), const void *arg, double (*measure)(const void *), int core)
{
    pthread_t thread;
    double ns;

    other_core = core;
    pin(cores[0]);
    if (pthread_create(&thread, NULL, other, (void *)arg) != 0)
        abort();
    ns = measure(arg);
    pthread_join(thread, NULL);
    return ns;
}

static _Atomic size_t received, to_come;

static void *receive_stream(void *arg)
{
    size_t count = 0;

    pin(other_core);
    while (count < atomic_load_explicit(&to_come, memory_order_relaxed)) {
        size_t got = take_and_count(arg);
        if (!got)
            sched_yield();
        count += got;
        atomic_store_explicit(&received, count, memory_order_release);
    }
    return NULL;
}

static double send_stream(const void *arg)
{
    const struct queue *q = arg;
    double start = micro_now_ns();
    size_t sent;

    for (sent = 0; sent < STREAM; sent++) {
        if (sent % WINDOW == 0 && micro_now_ns() - start > ROUND_NS_MAX)
            break;
        while (sent - atomic_load_explicit(&received, memory_order_acquire) >= WINDOW)
            sched_yield();
        q->put(&nodes[sent % WINDOW]);
    }
    atomic_store_explicit(&to_come, sent, memory_order_relaxed);
    while (atomic_load_explicit(&received, memory_order_acquire) < sent)
        sched_yield();
    return (micro_now_ns() - start) / (double)sent;
}

/* A round trip: the turn goes from side 0 to side 1 and back, until side 0 says that it is over. */
enum { TURN_OVER = -1 };
static _Atomic int turn;
static struct park parks[2];
static struct wake wakes[2];

static bool is_turn(int side)
{
    int now = atomic_load_explicit(&turn, memory_order_seq_cst);

    return now == side || now == TURN_OVER;
}

static void spin_for(int side)
{
    while (!is_turn(side)) {
        if (other_core == cores[0])
            sched_yield();
        else
            THR_RELAX();
    }
}

static void tell_nobody(int side)
{
    (void)side;
}

static void park_for(int side)
{
    while (!is_turn(side)) {
        park_announce(&parks[side], 0);
        if (is_turn(side))
            park_withdraw(&parks[side], 0);
        else
            park_wait(&parks[side], 0, UINT32_MAX);
    }
}

static void unpark(int side)
{
    park_wake_one(&parks[side]);
}

static void poll_for(int side)
{
    struct pollfd fd = {.fd = wakes[side].fd, .events = POLLIN};

    while (!is_turn(side)) {
        wake_prepare(&wakes[side]);
        if (!is_turn(side) && poll(&fd, 1, -1) == 1)
            wake_clear(&wakes[side]);
        wake_cancel(&wakes[side]);
    }
}

static void write_event(int side)
{
    wake_up(&wakes[side]);
}

static const struct way {
    const char *name;
    void (*wait_for)(int side);
    void (*tell)(int side);
} ways[] = {
    {"spinning", spin_for, tell_nobody},
    {"futex: park, wake", park_for, unpark},
    {"eventfd: poll, write", poll_for, write_event},
};
enum { WAYS = sizeof ways / sizeof ways[0] };

/* told: who waits for it. */
static void set_turn(const struct way *w, int now, int told)
{
    atomic_store_explicit(&turn, now, memory_order_seq_cst);
    w->tell(told);
}

static void *answer_trips(void *arg)
{
    const struct way *w = arg;

    pin(other_core);
    for (;;) {
        w->wait_for(1);
        if (atomic_load_explicit(&turn, memory_order_seq_cst) == TURN_OVER)
            return NULL;
        set_turn(w, 0, 0);
    }
}

static double make_trips(const void *arg)
{
    const struct way *w = arg;
    double start = micro_now_ns(), ns = 0;
    int trips = 0;

    while (trips < TRIPS && ns < ROUND_NS_MAX) {
        set_turn(w, 1, 1);
        w->wait_for(0);
        if (++trips % 16 == 0 || trips == 1) /* what a look at the clock costs does not count */
            ns = micro_now_ns() - start;
    }
    ns = micro_now_ns() - start;
    set_turn(w, TURN_OVER, 1);
    return ns / trips;
}

static double better(double a, double b)
{
    return a < b ? a : b;
}

static double best_stream(const struct queue *q, int core)
{
    double best = INFINITY;

    if (core < 0)
        return NAN;
    for (int i = 0; i < ROUNDS; i++) {
        atomic_store_explicit(&received, 0, memory_order_relaxed);
        atomic_store_explicit(&to_come, STREAM, memory_order_relaxed);
        best = better(best, together_ns(receive_stream, q, send_stream, core));
    }
    return best;
}

static double best_trip(const struct way *w, int core)
{
    double best = INFINITY;

    if (core < 0)
        return NAN;
    for (int i = 0; i < ROUNDS; i++) {
        atomic_store_explicit(&turn, 0, memory_order_relaxed);
        best = better(best, together_ns(answer_trips, w, make_trips, core));
    }
    return best;
}

static double best_alone(const struct queue *q, int batch)
{
    double best = INFINITY;

    for (int i = 0; i < ROUNDS; i++)
        best = better(best, alone_ns(q, batch));
    return best;
}

int main(int argc, char **argv)
{
    static const char *const batches[] = {"1 at a time", "16 at a time"};
    static const char *const places[] = {"same core", "two cores"};

    micro_begin(argc, argv, NULL);
    find_cores();
    inbox_init(&inbox);
    stack_init(&stack);
    if (ring_init(&ring, WINDOW) != 0)
        abort();
    for (int i = 0; i < 2; i++) {
        park_init(&parks[i]);
        if (wake_init(&wakes[i]) != 0)
            abort();
    }
    micro_table("Queues in one thread", "ns a message", batches, 2);
    for (int i = 0; i < QUEUES; i++)
        micro_row(queues[i].name, (double[]){best_alone(&queues[i], 1), best_alone(&queues[i], BATCH)});
    micro_table("A stream between two threads", "ns a message", places, 2);
    for (int i = 0; i < QUEUES; i++)
        micro_row(queues[i].name,
                  (double[]){best_stream(&queues[i], cores[0]), best_stream(&queues[i], cores[1])});
    micro_table("Round trip between two threads", "ns", places, 2);
    for (int i = 0; i < WAYS; i++)
        micro_row(ways[i].name, (double[]){best_trip(&ways[i], cores[0]), best_trip(&ways[i], cores[1])});
    micro_end();
    ring_fini(&ring);
    for (int i = 0; i < 2; i++)
        wake_fini(&wakes[i]);
    return 0;
}
