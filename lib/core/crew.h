/* The crew: threads of an engine for the program's code that blocks for long: handlers, tasks, consumers.
 *
 * A job is run by a thread of its own, and no job waits for another: the thread is there before the job is.
 * Who wants to run jobs first reserves that many threads, which are made if too few are idle; then each
 * crew_run uses one of them. Idle threads stay for some seconds.
 *
 * W1  There are at least as many ready threads as reserved ones: idle, just started, or about to end their
 *     job without waiting for anything. Who ends for want of work looks at this under the lock.
 * W2  A thread that ends by itself is joined by the next one that does, or by crew_stop. Behind crew_stop
 *     there is none.
 * W3  A job's memory is its owner's; the crew touches it no more once its function was called.
 * W4  Threads of the crew have stacks of handler_stack_bytes and no memory pool (base/mem.h): ten thousand of
 *     them cost little more than what they touch of their stacks. They are workers of the engine in the sense
 *     of base/thr.h: they may block, and may not stop their own server. */
#ifndef WEFT_CORE_CREW_H
#define WEFT_CORE_CREW_H

#include <stdbool.h>
#include <stddef.h>

/* At most so many threads for one engine. */
#define CREW_THREADS_MAX 65536u

struct crew;

struct crew_job {
    void (*run)(struct crew_job *job);
    struct crew_job *next; /* the crew's */
};

/* owner: see thr_become. NULL: no memory. */
struct crew *crew_new(const void *owner, size_t stack_bytes, bool as_batch);
void crew_free(struct crew *w); /* stopped, or never used; NULL is allowed */

/* Have count threads ready, and give them back unused. WEFT_OK; WEFT_E_NOMEM, WEFT_E_AGAIN: no more threads
 * can be had, none is reserved. Any thread. */
int crew_reserve(struct crew *w, size_t count);
void crew_release(struct crew *w, size_t count);
/* Use up one reservation. */
void crew_run(struct crew *w, struct crew_job *job);
/* At the end of a job: its thread may be reserved from now on, instead of a new one. The job returns soon,
 * and waits for nothing. Nothing on other threads. */
void crew_is_leaving(struct crew *w);

/* Wait for the jobs that run, and end all threads. Nothing is reserved, nor will be. */
void crew_stop(struct crew *w);

/* Threads there are now; a figure. */
size_t crew_thread_count(struct crew *w);

#endif
