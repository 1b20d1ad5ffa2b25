/* The epoll loop of one I/O thread: descriptors, timers, and hooks at the turn's end. It knows no WebSocket.
 *
 * A turn: wait, call every source that is ready, fire timers, call turn_end. Before it waits, before_wait
 * says for how long it may: so the queues of the layer above are looked at once more when the loop is about
 * to sleep.
 *
 * I1  All of it belongs to one thread, from loop_run on; loop_init and loop_fini are setup.
 * I2  A source stays valid until the turn's end in which it was removed: later events of the same turn may
 *     still name it, so owners free their sources in turn_end or later, and ignore events for what they
 *     closed.
 * I3  Sources are edge-triggered: who is called reads until short or says so itself in before_wait. */
#ifndef WEFT_IO_LOOP_H
#define WEFT_IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/thr.h"
#include "io/timer.h"

#define LOOP_READ  1u
#define LOOP_WRITE 2u
#define LOOP_END   4u /* the peer ended its side: read on until the end comes */

struct loop_source;
typedef void loop_ready_fn(struct loop_source *source, unsigned events);

struct loop_source {
    loop_ready_fn *ready;
};

struct loop_hooks {
    void (*turn_end)(void *arg); /* after each turn */
    /* How long the loop may sleep in ms: 0 not at all, UINT32_MAX until an event. called only when the
     * timers allow sleep */
    uint32_t (*before_wait)(void *arg);
    void (*after_wait)(void *arg);
    void (*timer)(struct timer *t, void *arg);
    void *arg;
};

struct loop {
    int epoll_fd;
    bool stopping;
    uint64_t now_ms; /* read once a turn */
    uint64_t now_ns;
    struct timer_wheel wheel;
    struct loop_hooks hooks;
};

int loop_init(struct loop *l, const struct loop_hooks *hooks); /* WEFT_OK, WEFT_E_SYSTEM */
void loop_fini(struct loop *l);
void loop_run(struct loop *l);  /* until loop_stop; the thread's roles are the caller's */
void loop_stop(struct loop *l); /* io */

/* Edge-triggered for reading and writing; level-triggered for reading with loop_add_level (listening
 * sockets, eventfd). */
int loop_add(struct loop *l, int fd, struct loop_source *source);
int loop_add_level(struct loop *l, int fd, struct loop_source *source);
void loop_remove(struct loop *l, int fd);

#endif
