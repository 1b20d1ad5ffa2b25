/* The epoll loop of one I/O thread: descriptors, timers, and hooks at the turn's end. It knows no WebSocket.
 *
 * A turn: wait, call every source that is ready, fire timers, call turn_end. Before it waits, before_wait
 * says for how long it may: so the queues of the layer above are looked at once more when the loop is about
 * to sleep. loop_cut ends a turn before all its sources were called; the next one goes on with the rest
 * instead of waiting.
 *
 * I1  All of it belongs to one thread at a time, the one in loop_run; loop_init and loop_fini are setup.
 *     turn_end may have given the loop to another thread: then it answers false, and loop_run returns
 *     without touching anything.
 * I2  A source or owner stays valid until the end of the first turn behind its removal that leaves no events
 *     (loop_has_events): later events may still name it, so owners free their sources then or later, and
 *     ignore events for what they closed.
 * I3  Sources are edge-triggered: who is called reads until short or says so itself in before_wait.
 * I4  Sources that were ready when a timer was due are called before it: a Pong that came in time counts, however late
 *     the thread gets to run. */
#ifndef WEFT_IO_LOOP_H
#define WEFT_IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/thr.h"
#include "io/timer.h"

#define LOOP_READ  1u
#define LOOP_WRITE 2u
#define LOOP_END   4u /* the peer ended its side: read on until the end comes */

/* A descriptor with a handler of its own. The many descriptors of one kind have owners without a place for
 * one, and are all called through hooks.ready. */
struct loop_source;
typedef void loop_ready_fn(struct loop_source *source, unsigned events);

struct loop_source {
    loop_ready_fn *ready;
};

struct loop_hooks {
    bool (*turn_end)(void *arg); /* after each turn; false: the loop is another thread's now */
    /* How long the loop may sleep in ms: 0 not at all, UINT32_MAX until an event. called only when the
     * timers allow sleep */
    uint32_t (*before_wait)(void *arg);
    void (*after_wait)(void *arg);
    void (*timer)(struct timer *t, void *arg);
    void (*ready)(void *owner, unsigned events); /* what loop_add brought in */
    void *arg;
};

struct epoll_event;

struct loop {
    int epoll_fd;
    bool stopping, is_cut;
    struct epoll_event *events; /* of the last wait; those from next to count are to be called yet */
    int next, count;
    uint64_t now_ms; /* read once a turn */
    uint64_t looked_ms; /* what came until then has been, or is just being, called; timers fire that were due by then */
    uint64_t now_ns;
    struct timer_wheel wheel;
    struct loop_hooks hooks;
};

int loop_init(struct loop *l, const struct loop_hooks *hooks); /* WEFT_OK, WEFT_E_SYSTEM */
void loop_fini(struct loop *l);
/* Until loop_stop (true), or until turn_end gave the loop away (false). The thread's roles are the
 * caller's. */
bool loop_run(struct loop *l);
void loop_stop(struct loop *l);             /* io */
void loop_cut(struct loop *l);              /* io: the turn ends behind the source that is being called */
bool loop_has_events(const struct loop *l); /* io: some sources of this wait are still to be called */

/* Edge-triggered for reading and writing, told to hooks.ready. owner: aligned to two bytes at least. */
int loop_add(struct loop *l, int fd, void *owner);
/* Level-triggered for reading (listening sockets, eventfd), told to source->ready. */
int loop_add_level(struct loop *l, int fd, struct loop_source *source);
void loop_remove(struct loop *l, int fd);

#endif
