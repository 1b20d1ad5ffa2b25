/* Sockets that are told at once that there is no room: on I/O thread 0.
 *
 * Who is refused at a limit costs no connection: a fixed answer is written, our side is shut down, and the
 * socket is kept for REFUSAL_MS so that what the peer still sends makes no reset that overtakes the
 * answer. At most REFUSALS_MAX are kept; the oldest makes room, so a flood gets resets and costs no more
 * than its accepts. */
#ifndef WEFT_CORE_REFUSAL_H
#define WEFT_CORE_REFUSAL_H

#include <stdint.h>

#include "base/thr.h"
#include "io/timer.h"

#define REFUSALS_MAX 32
#define REFUSAL_MS   1000

struct io_thread;

/* All zero, and timer_init: none. */
struct refusals {
    int fds[REFUSALS_MAX]; /* a ring */
    uint64_t until_ms[REFUSALS_MAX];
    unsigned first, count;
    struct timer timer;
};

/* fd is given. status: 429 or 503 */
void refusal_begin(struct io_thread *io, int fd, int status) ON_IO;
void refusal_time(struct io_thread *io) ON_IO; /* the timer fired */
void refusals_fini(struct refusals *r);        /* closes what is left */

#endif
