/* Waiting for descriptors, for threads that may block: until a deadline, and no longer than somebody wants
 * it. */
#ifndef WEFT_IO_AWAIT_H
#define WEFT_IO_AWAIT_H

#include <poll.h>
#include <stdint.h>

#define AWAIT_FOREVER UINT64_MAX

/* How long a blocking call may take. All parts of one undertaking share one of these. */
struct await_limit {
    uint64_t deadline_ms; /* of clock_now_ms; AWAIT_FOREVER: none */
    int cancel_fd;        /* readable, or no descriptor any more: stop. It is not read. -1: nobody stops it */
};

/* Wait until one of fds[1..count) has events.
 *
 * fds      fds[0] is overwritten with the cancel descriptor; count is at least 1
 * until_ms come back then at the latest, even if the limit is later
 * Returns  WEFT_OK          look at the revents
 *          WEFT_E_TIMEOUT   until_ms or the deadline has passed
 *          WEFT_E_CANCELED  comes before everything else
 *          WEFT_E_SYSTEM    errno */
int await_fds(struct pollfd *fds, nfds_t count, const struct await_limit *limit, uint64_t until_ms);

/* WEFT_OK, WEFT_E_TIMEOUT or WEFT_E_CANCELED, at once. */
int await_look(const struct await_limit *limit);

#endif
