/* The life of a loader; see loader.h. */
#include "loader.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/tls.h"

#define EVENTS_MAX      512
#define TURN_NS_MAX     100000000u   /* what is shown may lag behind */
#define OPEN_STALL_NS   10000000000u /* no handshake came to its end for so long: give up */
#define BACKLOG_FULL_NS 2000000u
#define CLOSE_NS        1000000000u

/* --- making --- */

/* The connections are dealt out like cards: number n goes to loader n modulo threads. */
static bool make_conns(struct loader *l)
{
    uint32_t threads = l->run->options->threads, all = l->run->conn_count;

    l->conn_count = all / threads + (l->index < all % threads);
    l->conns = mem_calloc(l->conn_count, sizeof *l->conns);
    for (uint32_t i = 0; l->conns && i < l->conn_count; i++)
        l->conns[i] = (struct conn){.loader = l, .fd = -1, .number = i * threads + l->index, .slot = i};
    return l->conns != NULL;
}

/* epoll_pwait2 came with Linux 5.11. */
static bool can_wait(int epoll_fd)
{
    static const struct timespec at_once;
    struct epoll_event event;

    return epoll_pwait2(epoll_fd, &event, 1, &at_once, NULL) >= 0;
}

const char *loader_init(struct loader *l, struct run *run, uint32_t index)
{
    *l = (struct loader){.run = run, .index = index, .random = clock_now_ns() + index};
    l->measured_from_ns = l->end_ns = LOADER_NEVER;
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0 || !can_wait(l->epoll_fd))
        return strerror(errno);
    l->read_bytes = mem_alloc(LOADER_READ_BYTES);
    l->scratch = mem_alloc(LOADER_SCRATCH_BYTES + PAYLOAD_FRONT_MAX);
    if (!l->read_bytes || !l->scratch || !make_conns(l) || !run->mode->begin(l))
        return "no memory";
    return NULL;
}

void loader_fini(struct loader *l)
{
    for (uint32_t i = 0; l->conns && i < l->conn_count; i++)
        conn_end(&l->conns[i]);
    if (l->run->mode->free && l->mode_state)
        l->run->mode->free(l);
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    order_fini(&l->order);
    mem_free(l->mode_state);
    mem_free(l->conns);
    mem_free(l->read_bytes);
    mem_free(l->scratch);
    tls_scratch_free(l->tls_scratch);
}

void *loader_alloc(struct loader *l, size_t count, size_t bytes)
{
    l->mode_state = mem_calloc(count, bytes);
    return l->mode_state;
}

/* --- accounts --- */

bool loader_take(struct conn *c, uint32_t *sequence, bool is_good)
{
    struct loader *l = c->loader;

    if (is_good && *sequence == c->expected && *sequence < c->tx_seq) {
        c->expected++;
        c->received++;
        return true;
    }
    if (!order_take(&l->order, c->number, c->number, &c->expected, c->tx_seq, sequence, is_good,
                    l->tally.errors))
        return false;
    c->received++;
    return true;
}

void loader_forget(struct conn *c, bool failed)
{
    struct loader *l = c->loader;
    uint32_t missing = c->tx_due - c->received;

    if (!failed || l->phase == PHASE_CLOSE)
        return;
    l->tally.errors[ERROR_LOST] += missing;
    l->outstanding -= missing;
    c->tx_due = c->received; /* it may be told twice */
}

bool loader_is_silent(const struct loader *l)
{
    return l->looked_ns >= l->progress_ns + loader_drain_ns(l);
}

/* What getrusage says of a running thread may be a tick behind. */
static uint64_t thread_cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Loader 0 looks at the server for all. */
static void look_at_server(struct loader *l, bool with_memory, struct process_use *use)
{
    const struct options *o = l->run->options;

    if (l->index == 0 && o->pid_count)
        process_look(o->pids, o->pid_count, with_memory, use);
}

/* Without a warm-up the other loaders may be at work already: then the look was before that. */
static void begin_measuring(struct loader *l)
{
    if (l->run->options->warmup_s > 0)
        look_at_server(l, false, &l->run->before);
    l->phase = PHASE_MEASURE;
    l->now_ns = l->measured_from_ns = clock_now_ns();
    l->cpu_at_begin_ns = thread_cpu_ns();
    l->end_ns = l->now_ns + (uint64_t)(l->run->options->seconds * 1e9);
}

/* The end by the clock is this moment, the one before it was the last answer. */
static uint64_t measured_ns(const struct loader *l)
{
    bool is_early = l->now_ns < l->end_ns && l->last_answer_ns > l->measured_from_ns;

    return (is_early ? l->last_answer_ns : l->now_ns) - l->measured_from_ns;
}

static void note_load(struct loader *l)
{
    uint64_t cpu_ns = thread_cpu_ns() - l->cpu_at_begin_ns;

    l->tally.load_cpu = (double)cpu_ns / (double)(clock_now_ns() - l->measured_from_ns);
}

/* With a count the loaders end at different times, and the server's work for all of them is looked at.
 * Memory is looked at behind the CPU, whose time it takes. */
static void end_measuring(struct loader *l)
{
    bool is_by_clock = l->now_ns >= l->end_ns;

    if (l->phase == PHASE_MEASURE) {
        note_load(l);
        l->tally.measured_s = (double)measured_ns(l) / 1e9;
    }
    if (l->run->options->messages != OPTIONS_NO_LIMIT)
        pthread_barrier_wait(&l->run->barrier);
    if (l->phase == PHASE_MEASURE)
        look_at_server(l, true, &l->run->after);
    l->phase = PHASE_DRAIN;
    l->now_ns = clock_now_ns();
    if (is_by_clock)
        l->progress_ns = l->now_ns;
}

/* --- turns --- */

static int wait_for_events(struct loader *l, struct epoll_event *events, uint64_t until_ns)
{
    uint64_t wait_ns;
    struct timespec timeout = {0};

    l->looked_ns = clock_now_ns();
    wait_ns = until_ns > l->looked_ns ? until_ns - l->looked_ns : 0;
    timeout.tv_nsec = (long)(wait_ns < TURN_NS_MAX ? wait_ns : TURN_NS_MAX);
    return epoll_pwait2(l->epoll_fd, events, EVENTS_MAX, &timeout, NULL);
}

void loader_turn(struct loader *l, uint64_t until_ns)
{
    struct epoll_event events[EVENTS_MAX];
    int count = wait_for_events(l, events, until_ns);

    l->now_ns = clock_now_ns();
    for (int i = 0; i < count; i++)
        conn_ready(events[i].data.ptr, events[i].events);
    /* Figures for the eye order nothing. */
    atomic_store_explicit(&l->shown_answered, l->answered, memory_order_relaxed);
    atomic_store_explicit(&l->shown_open, l->open, memory_order_relaxed);
}

/* What does not come to its end, or to a beginning, counts as not connected. */
static void give_up_opening(struct loader *l, uint32_t count)
{
    if (l->next_to_open < count) {
        fprintf(stderr, "weft-bench: %u connections were not begun: the server takes no more\n",
                count - l->next_to_open);
        l->tally.errors[ERROR_CONNECT] += count - l->next_to_open;
        l->next_to_open = count;
    }
    for (uint32_t i = 0; i < l->conn_count; i++) {
        struct conn *c = &l->conns[i];
        if (c->state == CONN_CONNECTING || c->state == CONN_HANDSHAKE)
            conn_fail(c, ERROR_CONNECT, "the handshake took too long");
    }
}

/* False: the backlog is full. */
static bool start_some(struct loader *l, uint32_t count)
{
    while (l->next_to_open < count && l->opening < l->run->options->handshakes) {
        if (!conn_start(&l->conns[l->next_to_open]))
            return false;
        l->next_to_open++;
    }
    return true;
}

void loader_open_until(struct loader *l, uint32_t count)
{
    uint64_t progress_ns = clock_now_ns();
    uint32_t left = UINT32_MAX;

    while (l->next_to_open < count || l->opening) {
        bool is_free = start_some(l, count);
        loader_turn(l, l->now_ns + (is_free ? TURN_NS_MAX : BACKLOG_FULL_NS));
        if (count - l->next_to_open + l->opening != left)
            progress_ns = l->now_ns;
        left = count - l->next_to_open + l->opening;
        if (l->looked_ns > progress_ns + OPEN_STALL_NS) {
            give_up_opening(l, count);
            return;
        }
    }
}

void loader_close_all(struct loader *l)
{
    uint64_t end_ns;

    l->phase = PHASE_CLOSE;
    for (uint32_t i = 0; i < l->conn_count; i++)
        if (l->conns[i].state == CONN_OPEN)
            conn_close(&l->conns[i], WEFT_CLOSE_NORMAL);
    end_ns = clock_now_ns() + CLOSE_NS;
    do
        loader_turn(l, end_ns);
    while (l->open && l->now_ns < end_ns);
}

/* --- the life --- */

/* Loader 0 says when it begins; all wait for that. */
static void agree_on_time(struct loader *l)
{
    struct run *run = l->run;

    pthread_barrier_wait(&run->barrier);
    if (run->options->warmup_s <= 0)
        look_at_server(l, false, &run->before);
    if (l->index == 0)
        run->begin_ns = clock_now_ns();
    pthread_barrier_wait(&run->barrier);
}

static bool has_work(const struct loader *l)
{
    return l->run->mode->opens_itself || l->open;
}

/* A counted run ends when the rest does not come; any other goes on until its time is up. */
static bool is_done(const struct loader *l, uint64_t due_ns)
{
    bool is_counted = l->run->options->messages != OPTIONS_NO_LIMIT;

    return due_ns == LOADER_NEVER && (l->outstanding == 0 || (is_counted && loader_is_silent(l)));
}

static void send_for_the_time(struct loader *l)
{
    const struct mode *mode = l->run->mode;
    uint64_t measure_ns = l->run->begin_ns + (uint64_t)(l->run->options->warmup_s * 1e9);

    l->phase = PHASE_WARMUP;
    l->progress_ns = l->now_ns;
    while (l->now_ns < l->end_ns && has_work(l)) {
        uint64_t until_ns, due_ns;
        if (l->phase == PHASE_WARMUP && l->now_ns >= measure_ns)
            begin_measuring(l);
        if (mode->tick)
            mode->tick(l);
        due_ns = mode->due_ns ? mode->due_ns(l) : LOADER_NEVER;
        if (is_done(l, due_ns))
            break;
        until_ns = l->phase == PHASE_WARMUP ? measure_ns : l->end_ns;
        loader_turn(l, due_ns < until_ns ? due_ns : until_ns);
    }
    end_measuring(l);
}

/* Whatever is still outstanding then is lost. */
static void drain(struct loader *l)
{
    uint64_t quiet_ns = loader_drain_ns(l);
    uint64_t end_ns = l->now_ns + LOADER_DRAIN_TIMES * quiet_ns;

    while (l->outstanding && (l->open || l->opening) && l->now_ns < end_ns && !loader_is_silent(l))
        loader_turn(l, l->progress_ns + quiet_ns);
    if (l->run->mode->give_up)
        l->run->mode->give_up(l);
    else
        l->tally.errors[ERROR_LOST] += l->outstanding;
}

void loader_run(struct loader *l)
{
    prctl(PR_SET_TIMERSLACK, 1ul, 0ul, 0ul, 0ul); /* or the kernel adds up to 50 us to each wait */
    l->now_ns = clock_now_ns();
    if (!l->run->mode->opens_itself)
        loader_open_until(l, l->conn_count);
    agree_on_time(l);
    l->now_ns = clock_now_ns();
    send_for_the_time(l);
    drain(l);
    loader_close_all(l);
}
