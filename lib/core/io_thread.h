/* An I/O thread: a loop, and the lists by which other threads and its own connections reach it.
 *
 * In inline mode it is one thread for good. In pool mode it is a role: the thread that drives the loop may
 * lend it while it runs handlers, and may find that another one drives meanwhile (pool.h, W2). "The I/O
 * thread" is then whichever thread has the role; `lease` says who may take it, and hands over all (io)
 * fields.
 *
 *   dirty     connections to look at: something was pushed to their outbox, they may be read again, or they
 *             have more to read but have had their share of this turn (conn.is_again). Any thread links
 *             (stack, each at most once: conn.on_dirty), the I/O thread takes all at the end of its turn.
 *   ready     connections to be run by a worker, collected during the turn and published together.
 *   commands  what engine_stop asks for.
 *   wheel     of the loop: from its registration to its end each connection's timer is in one of its lists,
 *             so the wheel is also where all of them are found.
 *
 *   is_vacant   store: watcher, release; exchange: who will drive, acquire      VACANT
 *
 * (io) fields belong to the thread; it is the only one that reads or writes its connections' sockets. */
#ifndef WEFT_CORE_IO_THREAD_H
#define WEFT_CORE_IO_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"
#include "base/thr.h"
#include "core/budget.h"
#include "core/engine.h"
#include "core/mailbox.h"
#include "core/refusal.h"
#include "io/loop.h"
#include "proto/frame.h"
#include "sync/lease.h"
#include "sync/stack.h"
#include "sync/wake.h"

struct tls_scratch;
struct weft_conn;

#define IO_READ_BYTES  (256u * 1024u)
#define IO_WRITE_BYTES (64u * 1024u)
/* So many are published without waiting for the end of the turn. */
#define IO_READY_MAX 64
/* With so many bytes unread by handlers the turn ends: they are handled and answered while they are in the
 * cache. */
#define IO_UNRUN_BYTES_MAX (48u * 1024u)
/* What a turn has for handshakes of TLS, but one always: open connections do not wait longer. */
#define IO_SHAKE_NS_MAX 1000000u

enum io_command {
    IO_CLOSE_ALL = 1, /* stop listening, close every connection with 1001 */
    IO_ABORT_ALL = 2, /* drop what is left */
    IO_STOP = 4       /* leave the loop */
};

/* Counters of one thread, read by others: relaxed, since each is a figure by itself. */
struct io_stats {
    _Atomic uint64_t accepted, opened, refused, messages_in, messages_out, bytes_in, bytes_out;
    _Atomic uint64_t dropped_oldest, dropped_closed, closed_slow, reads, writes, accept_pauses, read_pauses;
    _Atomic uint64_t refused_connections, refused_rate, refused_full, rate_pauses, memory_pauses, memory_closed;
};
/* Only the owner writes, so a load and a store do. */
#define STAT_ADD(field, n)                                                                                   \
    atomic_store_explicit(&(field), atomic_load_explicit(&(field), memory_order_relaxed) + (uint64_t)(n),    \
                          memory_order_relaxed)

struct io_thread {
    struct loop loop;               /* (io) */
    struct engine *engine;          /* (c) borrowed: the engine ends its threads first */
    unsigned index;                 /* (c) */
    pthread_t thread;               /* (setup) */
    struct loop_source wake_source; /* (c) */
    struct weft_conn *ready,
        *ready_last;        /* (io) each connection at most once: only the step from idle brings it here */
    unsigned ready_count;   /* (io) */
    uint32_t unrun_bytes;   /* (io) read and not published yet */
    bool is_helping;        /* (io) its driver runs the lane itself, and wakes no worker */
    bool wants_more;        /* (io) it does, and wakes workers as well */
    bool reads_again;       /* (io) all had their share of this turn: whoever is_again gets the next */
    struct timer *dead;     /* (io) of those that died in this turn, idle, linked by next */
    atomic_bool accepts_paused;                  /* (a) thread 0 writes */
    bool is_closing;                             /* (io) IO_CLOSE_ALL was seen */
    bool is_running;                             /* (io) inline mode: handlers are being run */
    struct timer accept_timer;                   /* (io) thread 0 */
    struct refusals refusals;                    /* (io) thread 0 */
    struct budget budget;                        /* (io) */
    uint8_t *read_buffer;                        /* (io) IO_READ_BYTES, shared by all connections */
    uint8_t *write_buffer;                       /* (io) IO_WRITE_BYTES */
    struct tls_scratch *tls_scratch;             /* (io) NULL until there is a connection over TLS */
    uint64_t shook_ns;                           /* (io) spent on handshakes of TLS in this turn */
    struct random_source masks;                  /* (io) */
    struct io_stats stats;                       /* (a) written by io */
    struct run_stats run_stats;                  /* (a) inline mode */
    _Atomic uint32_t conn_count;                 /* (a) for placement */
    _Alignas(THR_CACHE_LINE) struct lease lease; /* (a) pool mode */
    _Atomic uint64_t shared_since_ns; /* (a) since when it is lent, if workers may take it (pool.h, W6); else 0 */
    atomic_bool is_vacant; /* (a) the watcher sets it; the thread that clears it drives (VACANT) */
    _Alignas(THR_CACHE_LINE) struct stack dirty; /* (q) */
    struct wake wake;
    _Atomic unsigned commands;
};

int io_thread_new(struct io_thread **out, struct engine *e, unsigned index);
void io_thread_free(struct io_thread *io);
/* Inline mode: a thread of its own. */
int io_thread_start(struct io_thread *io);
void io_thread_join(struct io_thread *io);
enum io_begin {
    IO_FIRST,
    IO_VACANT, /* its driver got stuck */
    IO_SWAPPED /* its driver runs handlers, and this thread took the role */
};
/* Pool mode: drive the loop until it is stopped (true), or has another driver (false). */
bool io_thread_drive(struct io_thread *io, enum io_begin how);
/* The driver is about to lend its role and run handlers: until it steps up again it is a worker. */
void io_thread_step_back(struct io_thread *io) THR_ATTR(release_capability(role_io));
void io_thread_step_up(struct io_thread *io) THR_ATTR(acquire_capability(role_io));
void io_thread_command(struct io_thread *io, enum io_command command); /* any thread */

/* The I/O thread that calls, NULL for any other thread. */
const struct io_thread *io_thread_here(void);

/* Put the connection on the list to be looked at. The caller has a reference. Any thread. */
void io_thread_link_dirty(struct io_thread *io, struct weft_conn *c);

/* A worker is to run the connection; told at the turn's end, or at once when many have come together. */
void io_thread_schedule(struct io_thread *io, struct weft_conn *c) ON_IO;
void io_thread_publish(struct io_thread *io) ON_IO;
/* So many bytes were read for handlers: when there are too many the turn ends early. */
void io_thread_note_unrun(struct io_thread *io, uint32_t bytes) ON_IO;
void io_thread_read_again(struct io_thread *io, struct weft_conn *c) ON_IO;
/* Unpredictable bytes for a mask. */
void io_thread_random_key(struct io_thread *io, uint8_t key[FRAME_KEY_BYTES]) ON_IO;
/* The connection is dead: its last event comes at the turn's end. */
void io_thread_bury(struct io_thread *io, struct weft_conn *c) ON_IO;
/* Is this timer of its wheel a connection's? */
bool io_thread_is_of_conn(const struct io_thread *io, const struct timer *t);
/* A descriptor or a place became free: listening may go on. */
void io_thread_resume_accepting(struct io_thread *io) ON_IO;

#endif
