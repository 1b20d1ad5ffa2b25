/* What the connections of one server share: settings, I/O threads, workers, and the count of what is still
 * alive.
 *
 * E1  The engine is counted by reference: the server holds one, every connection in memory another. So a
 *     handle that outlives the server still finds its engine; the threads have been joined by then.
 * E2  alive counts the connections whose last callback has not returned, and races of tasks. It reaches 0
 *     only after the I/O threads were told to close everything; whoever takes it to 0 wakes the thread in
 *     engine_stop.
 *
 *   alive   increment: io, relaxed; decrement: any, release (ALIVE); read by engine_stop: acquire (ALIVE)
 *   listening   store 0: io thread 0, release (LISTENING), so that what it accepted is counted; engine_stop:
 *   acquire refs    decrement: acq_rel (ENGINE_LAST) */
#ifndef WEFT_CORE_ENGINE_H
#define WEFT_CORE_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cpu.h"
#include "core/endpoint.h"
#include "core/settings.h"
#include "core/slots.h"

struct crew;
struct io_thread;
struct pool;
struct listener;
struct tls_port;
struct weft_conn;

struct engine {
    struct settings settings;      /* (c) */
    struct squeeze *squeeze;       /* (c) */
    struct endpoint own;           /* (c) of what the listeners accept */
    struct io_thread **io_threads; /* (c) */
    unsigned io_thread_count;      /* (c) */
    struct pool *pool;             /* (c) NULL in inline mode */
    struct crew *crew;             /* (c) threads of handlers and tasks */
    struct slots slots;            /* places for handlers */
    struct limits *limits;         /* (c) of addresses; NULL: none */
    struct listener *listeners;    /* (setup), then io thread 0 */
    uint32_t connections_max;      /* (c) */
    struct cpu_mask processors;    /* (c) those of the thread that made it */
    bool is_started;               /* (setup) */
    pthread_mutex_t reload_lock; /* held while certificates are read again */
    pthread_mutex_t stop_lock;
    bool is_joined; /* under stop_lock */
    pthread_mutex_t admit_lock;
    bool admits; /* under admit_lock: it runs, and is not being stopped */
    _Atomic uint32_t refs;
    _Atomic uint32_t alive;     /* also what engine_stop waits on */
    _Atomic uint32_t listening; /* 1 until thread 0 accepts no more */
    _Atomic uint64_t dropped_newest;
    _Atomic uint32_t handshaking;
    _Atomic uint32_t open;
};

int engine_new(struct engine **out, const weft_server_opts *opts, const struct engine_hooks *hooks);
void engine_ref(struct engine *e);
void engine_unref(struct engine *e);

/* fd and tls are given on WEFT_OK; tls: NULL for a plain one. */
int engine_add_listener(struct engine *e, int fd, const char *unlink_path, struct tls_port *tls);
int engine_start(struct engine *e);
int engine_reload_tls(struct engine *e); /* weft_server_reload_tls */
/* See weft_server_stop. */
int engine_stop(struct engine *e, uint32_t deadline_ms);
void engine_stats(struct engine *e, weft_stats *out);

/* May another connection be made that no listener accepts? On true the caller makes it and calls
 * engine_admitted: engine_stop then waits for its end. Any thread. */
bool engine_admit(struct engine *e);
void engine_admitted(struct engine *e);

/* Wait for a count such as alive to reach 0. False: until_ms came first. */
bool engine_wait_for_zero(_Atomic uint32_t *word, uint64_t until_ms);

/* A connection's last callback has returned. Any thread. */
void engine_one_less(struct engine *e);

/* Where the next connection goes: the I/O thread with the fewest of them. Any thread. */
struct io_thread *engine_least_loaded(struct engine *e);

uint64_t engine_next_conn_id(void);

#endif
