/* Waking an I/O thread that may be asleep in epoll_wait, at most one eventfd write for each sleep.
 *
 * I1  `asleep` is true only from wake_prepare to the first wake_up (or wake_cancel) behind it.
 * I2  Whoever turns it from true to false through wake_up writes the eventfd, nobody else does.
 * I3  No lost wake-up. Sleeper: asleep = true; then looks at its lists. Waker: pushes to a list; then looks
 *     at asleep. Both steps of both are seq_cst, so at least one of them sees the other's store (the
 *     store-load race WAKE_LOOK).
 *
 *   operation | by    | on      | order     label
 *   prepare   | owner | asleep  | store, seq_cst      WAKE_LOOK (then the owner's look at its lists)
 *   wake_up   | any   | asleep  | load, seq_cst       WAKE_LOOK (behind a seq_cst push)
 *             |       |         | exchange, relaxed: only one may write the eventfd; data travels through the list */
#ifndef WEFT_SYNC_WAKE_H
#define WEFT_SYNC_WAKE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct wake {
    int fd; /* (c) an eventfd; the owner polls it for input */
    atomic_bool asleep;
    _Atomic uint64_t writes; /* wake-ups that cost a system call */
};

int wake_init(struct wake *w); /* WEFT_OK, WEFT_E_SYSTEM */
void wake_fini(struct wake *w);
void wake_prepare(struct wake *w); /* owner: from now on a wake_up ends the wait that follows */
void wake_cancel(struct wake *w);  /* owner: awake again */
void wake_clear(struct wake *w);   /* owner: the eventfd was readable */
void wake_up(struct wake *w);      /* any thread, behind the push it tells of */

/* An eventfd by itself, whatever signals come: count one more; take the count. False: the system refused. */
bool wake_tell(int event_fd);
bool wake_take(int event_fd);

#endif
