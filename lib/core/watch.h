/* The watcher: a thread that sees to it that every I/O loop is driven.
 *
 * A thread that drives a loop may run handlers itself, and lends the role meanwhile (sync/lease.h). The
 * watcher looks at the loans every WATCH_TICK_US, and where it met one, again behind WATCH_AGAIN_US (a shared
 * one, when it is WATCH_SHARED_US old); one that
 * it meets twice belongs to a thread that is stuck in a handler, so it takes the role and has it given to
 * another thread. Looks are rare because each costs a timer and two context switches; and where none found
 * anybody stuck for a while, they become rarer, down to one in four ticks.
 *
 * It sleeps without end when no loop is vacant and no loans were made for a few ticks; the next one who
 * lends wakes it.
 *
 *   operation | by      | on    | order
 *   sleep     | watcher | awake | store, seq_cst, then it looks at all loans      LEASE_LOOK
 *   lent      | holder  | awake | load, seq_cst, behind the loan                  LEASE_LOOK
 *             |         |       | exchange, seq_cst, for watch_stop: `stopping` comes before it */
#ifndef WEFT_CORE_WATCH_H
#define WEFT_CORE_WATCH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/thr.h"
#include "core/engine.h"

struct io_thread;

/* Between two looks, and behind one that met a loan. Together less than a millisecond. */
#define WATCH_TICK_US  800
#define WATCH_AGAIN_US 150
/* So old is a loan that it takes where cores are shared: workers come for the role themselves, unless all of them are
 * stuck. */
#define WATCH_SHARED_US 2000
/* Behind so many looks without anybody stuck the tick doubles, twice. */
#define WATCH_CALM_LOOKS 64
#define WATCH_CALM_STEPS 2

struct watch {
    struct engine *engine;                               /* (c) borrowed */
    void (*vacant)(struct io_thread *io, bool is_new, void *arg); /* (c) told at each tick until it is driven */
    void *arg;                                           /* (c) */
    pthread_t thread;                                    /* (setup) */
    bool is_running;                                     /* (setup) */
    long again_us;                                       /* (watcher) the last look met a loan, and comes again then; 0: none */
    unsigned calm_looks;                                 /* (watcher) since one was stuck, or a loop vacant */
    uint64_t *seen;                                      /* (watcher) the last look, by I/O thread */
    _Alignas(THR_CACHE_LINE) _Atomic uint32_t awake;     /* (a) a futex */
    atomic_bool stopping;                                /* (a) */
    _Atomic uint64_t takeovers;                          /* (a) watcher */
};

int watch_init(struct watch *w, struct engine *e,
               void (*vacant)(struct io_thread *io, bool is_new, void *arg), void *arg);
void watch_fini(struct watch *w);
int watch_start(struct watch *w); /* setup */
void watch_stop(struct watch *w); /* setup: from now on it takes nothing any more */

/* A holder, behind each loan. */
void watch_lent(struct watch *w);

#endif
