/* Canceling what a thread does.
 *
 * A scope stands for one run of a task. The thread that runs it enters the scope, and leaves it behind the
 * run; scopes of one thread may lie one inside the other, and the innermost counts. Any thread may fire a
 * scope: once, for good. What the thread is about then, it has told by hooks: a wait (turn.c), a race with
 * tasks of its own that are to be canceled too (core/tasks.c), a wait for descriptors, with an eventfd for
 * its hook to write.
 *
 * I1  Hooks are called under the scope's lock, so they are short, never wait, and touch no hook of this
 *     scope. Firing goes from a scope inwards, to those of tasks that its thread started; so locks are taken
 *     in the order of the nesting.
 * I2  Each hook is called at most once, and never again once cancel_remove has returned: it may stand on the
 *     stack of who added it.
 * I3  Who adds a hook to a scope that was fired before is told so, and the hook is neither added nor called.
 *     So between "not canceled" and the wait no firing is missed.
 *
 * The lock carries everything; is_fired is atomic for those who only ask. */
#ifndef WEFT_SYNC_CANCEL_H
#define WEFT_SYNC_CANCEL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct cancel_hook {
    void (*fire)(struct cancel_hook *hook);
    struct cancel_scope *scope; /* (its thread) what it was added to; NULL: nothing, for there was no scope */
    struct cancel_hook *next, *before; /* under the scope's lock */
};

struct cancel_scope {
    pthread_mutex_t lock;
    struct cancel_hook *hooks;  /* under lock, the newest first */
    atomic_bool is_fired;       /* set under lock */
    struct cancel_scope *outer; /* (its thread) */
};

void cancel_init(struct cancel_scope *s);
void cancel_fini(struct cancel_scope *s); /* left, and nobody will fire it any more */

/* The calling thread enters the scope, and leaves the innermost one. */
void cancel_enter(struct cancel_scope *s);
void cancel_leave(void);

/* Any thread. */
void cancel_fire(struct cancel_scope *s);

/* Add a hook to the calling thread's innermost scope; without one this does nothing, and is true. False: it
 * was fired, and the hook was not added. */
bool cancel_add(struct cancel_hook *h);
/* Behind a cancel_add that was true, by the same thread. False: the scope was fired. */
bool cancel_remove(struct cancel_hook *h);

/* Was the calling thread's innermost scope fired? */
bool cancel_is_fired(void);

#endif
