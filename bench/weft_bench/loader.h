/* A thread of the load: its connections, its clock, its accounts.
 *
 * PHASE_OPEN     opens all connections (the modes without fixed ones open none)
 * PHASE_WARMUP   load that is not counted
 * PHASE_MEASURE  load that is
 * PHASE_DRAIN    nothing new; takes in what is outstanding, until it is silent
 * PHASE_CLOSE    closing handshakes, for a second at most
 *
 * The measured time ends by the clock, or before, with the last answer, when there is nothing left to do:
 * all messages of --messages are answered, or all connections are gone. Silent is what neither sent nor
 * received a byte of a message for drain_s; a generator that got no CPU itself looks once more before it
 * says so.
 *
 * Errors count in all phases but the last. Loaders share nothing but the run (barrier, times, payload);
 * a running one shows shown_answered and shown_open. */
#ifndef WEFT_BENCH_LOADER_H
#define WEFT_BENCH_LOADER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "conn.h"
#include "histogram.h"
#include "options.h"
#include "order.h"
#include "payload.h"
#include "process.h"
#include "target.h"

#define LOADER_NEVER         UINT64_MAX
#define LOADER_READ_BYTES    ((size_t)512 * 1024)
#define LOADER_SCRATCH_BYTES ((size_t)64 * 1024)
#define LOADER_EXPLAINED_MAX 5 /* failures that are explained in words, of each loader */
#define LOADER_CHURN_ERRORS  100
#define LOADER_DRAIN_TIMES   10 /* the drain ends after so many drain_s even while answers come */

enum phase { PHASE_OPEN, PHASE_WARMUP, PHASE_MEASURE, PHASE_DRAIN, PHASE_CLOSE };

struct mode;
struct tls_context;
struct tls_scratch;

/* What all loaders share. */
struct run {
    const struct options *options;
    const struct target *target;
    const struct payload *payload;
    const struct mode *mode;
    struct tls_context *tls; /* NULL: plain */
    uint32_t conn_count;     /* all, with the publishers of fanout */
    pthread_barrier_t barrier;
    pthread_mutex_t lock; /* guards running */
    pthread_cond_t ended;
    uint32_t running;                 /* loaders */
    uint64_t begin_ns;                /* of the warm-up; set by loader 0 between two barriers */
    struct process_use before, after; /* of the measured time */
    /* idle */
    struct process_use at_first, touched;
    uint64_t step_bytes[OPTIONS_STEPS_MAX + 1]; /* a connection */
    double handshake_us, touch_ms;
};

/* What a loader counts; reports add them up. */
struct tally {
    uint64_t messages; /* in the measured time */
    uint64_t errors[ERRORS];
    struct histogram latency;   /* ns */
    struct histogram handshake; /* ns */
    struct histogram late;      /* rate: ns from the intended time to the sending */
    struct histogram slow;      /* mixed: may have slept */
    struct histogram others;    /* mixed: neither slept nor waited behind one that did */
    uint64_t victims;           /* mixed: waited behind one on their own connection */
    double measured_s;
    double load_cpu; /* CPU time of the thread by time, between two looks at both */
};

struct loader {
    struct run *run;
    uint32_t index;
    int epoll_fd;
    struct conn *conns;
    uint32_t conn_count;
    uint32_t next_to_open, opening, open; /* connections */
    uint64_t starts;                      /* attempts, all in all */
    enum phase phase;
    uint64_t now_ns;         /* when this turn, or the receipt under way, began */
    uint64_t looked_ns;      /* when the last wait for events began */
    uint64_t progress_ns;    /* when bytes of a message were last sent or received */
    uint64_t last_answer_ns; /* 0: none came */
    uint64_t outstanding;    /* answers that are to come */
    uint64_t answered;       /* since the beginning */
    uint64_t random;
    struct order order;
    uint8_t *read_bytes, *scratch;
    struct tls_scratch *tls_scratch; /* NULL until it is needed */
    void *mode_state;
    uint32_t explained;
    struct tally tally;
    uint64_t cpu_at_begin_ns;
    /* The measured time: its full length, though it begins late where the loader got no CPU. LOADER_NEVER
     * until it has begun. */
    uint64_t measured_from_ns, end_ns;
    pthread_t thread;
    _Atomic uint64_t shown_answered, shown_open;
};

/* A way to make load. All functions run on the loader's thread. */
struct mode {
    bool opens_itself;     /* connections come and go */
    bool shakes_hands_raw; /* raw: the bytes of both handshakes are exchanged too */
    const char *what;      /* "messages" */
    /* Before the first turn; false: no memory. */
    bool (*begin)(struct loader *l);
    /* When tick is to be called, besides once a turn; LOADER_NEVER, or NULL: only answers make more to do. */
    uint64_t (*due_ns)(struct loader *l);
    void (*tick)(struct loader *l); /* NULL: nothing to do */
    void (*opened)(struct conn *c); /* NULL: nothing to do */
    /* A whole message came. name says what it claims to be; is_good: and it is. */
    void (*arrived)(struct conn *c, struct payload_name name, bool is_good);
    /* A connection failed, or, after conn_close, ended. */
    void (*ended)(struct conn *c, bool failed);
    /* Count what is outstanding at the end of the drain; NULL: each is a lost message. */
    void (*give_up)(struct loader *l);
    void (*free)(struct loader *l);
};

extern const struct mode mode_echo, mode_rate, mode_fanout, mode_churn, mode_idle;

/* Returns  NULL or what is wrong */
const char *loader_init(struct loader *l, struct run *run, uint32_t index);
void loader_fini(struct loader *l);

/* The life of a loader, and the other one, for idle. */
void loader_run(struct loader *l);
void idle_run(struct loader *l);

/* Parts of these lives. */
void loader_open_until(struct loader *l, uint32_t count);
/* Wait for events, at most until then, and handle them. */
void loader_turn(struct loader *l, uint64_t until_ns);
void loader_close_all(struct loader *l);

/* For the modes. */
static inline bool loader_is_sending(const struct loader *l)
{
    return l->phase == PHASE_WARMUP || l->phase == PHASE_MEASURE;
}

/* How many of so many messages may the connection still send? */
static inline uint32_t loader_allows(const struct conn *c, uint32_t messages)
{
    uint32_t left = c->loader->run->options->messages - c->tx_due;

    return messages < left ? messages : left;
}

/* Count an answer that was outstanding. */
static inline void loader_answered(struct loader *l)
{
    l->outstanding--;
    l->answered++;
    l->last_answer_ns = l->now_ns;
}

/* The same, with its place in the measured time. */
static inline void loader_measured(struct loader *l, uint64_t since_ns)
{
    loader_answered(l);
    if (l->phase != PHASE_MEASURE)
        return;
    l->tally.messages++;
    histogram_add(&l->tally.latency, l->now_ns - since_ns);
}

/* Put an arrival of the connection's own messages in its place; false: it was not outstanding. */
bool loader_take(struct conn *c, uint32_t *sequence, bool is_good);

/* For modes in which a connection only gets its own messages: what it still waits for is lost. */
void loader_forget(struct conn *c, bool failed);

/* Did nothing move for drain_s? */
bool loader_is_silent(const struct loader *l);

/* So long does a churn wait for the server's end of TCP, too. */
static inline uint64_t loader_drain_ns(const struct loader *l)
{
    return (uint64_t)(l->run->options->drain_s * 1e9);
}

void *loader_alloc(struct loader *l, size_t count, size_t bytes); /* zeroed; kept as mode_state */

#endif
