/* The threads of the mill and what they share; see mill.h. */
#ifndef STRESS_MILL_THREADS_H
#define STRESS_MILL_THREADS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/thr.h"
#include "shape.h"
#include "sync/inbox.h"
#include "sync/park.h"
#include "sync/ring.h"
#include "sync/stack.h"
#include "sync/wake.h"

#define IO_MAX      4
#define WORKERS_MAX 16
#define CONNS_MAX   64
#define MILLERS_MAX 8 /* senders */

struct mill;
struct mill_io;

/* Plain fields: only the queues carry them. */
struct load {
    struct node node;
    struct mill_conn *conn;
    unsigned sender; /* 0: the connection's own; otherwise a sender's number + 1 */
    uint64_t number, check;
};

struct mill_conn {
    _Alignas(THR_CACHE_LINE) struct inbox inbox;
    struct stack outbox;
    struct node dirty_node;
    atomic_bool on_dirty;
    struct mill_io *io;
    struct mill_conn *ready_next; /* handed over with the ready queue */
    /* the worker that runs it */
    struct node *run_list;
    uint64_t due;
    _Atomic unsigned runners; /* relaxed: it must not order what the queues are to order */
    /* the I/O thread */
    struct node *home;
    unsigned away;
    uint64_t number, due_of[MILLERS_MAX + 1];
    /* each sender its own */
    uint64_t sent[MILLERS_MAX];
};

struct mill_io {
    _Alignas(THR_CACHE_LINE) struct stack dirty;
    struct wake wake;
    struct mill *mill;
    unsigned index;
    uint64_t random;
    uint64_t epoch; /* in lockstep: the last one whose messages it sent out */
    struct mill_conn *ready;
    _Alignas(THR_CACHE_LINE) _Atomic uint64_t taken;
    atomic_bool is_home; /* all of its messages are */
};

struct mill_worker {
    _Alignas(THR_CACHE_LINE) struct mill *mill;
    unsigned slot;
    _Atomic uint64_t taken;
};

struct miller {
    _Alignas(THR_CACHE_LINE) struct stack back;
    struct wake wake;
    struct mill *mill;
    unsigned index;
    uint64_t random;
    _Atomic uint64_t taken;
    atomic_bool is_home;
};

struct mill {
    const struct shape *shape;
    struct ring ready;
    struct park park;
    _Alignas(THR_CACHE_LINE) _Atomic uint32_t waking;
    atomic_bool draining;         /* no message goes out any more */
    _Atomic uint64_t epoch, home; /* in lockstep: the next one begins when all messages are home */
    atomic_bool stopping;
    struct mill_io io[IO_MAX];
    struct mill_worker workers[WORKERS_MAX];
    struct miller millers[MILLERS_MAX];
    struct mill_conn conns[CONNS_MAX];
    struct load *loads;
    pthread_t threads[IO_MAX + WORKERS_MAX + MILLERS_MAX];
    unsigned thread_count;
};

/* Main functions of the threads; the argument is a mill_worker, a mill_io, a miller. */
void *mill_worker_main(void *worker);
void *mill_io_main(void *io);
void *miller_main(void *miller);

#endif
