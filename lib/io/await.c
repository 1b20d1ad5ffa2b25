/* Waiting for descriptors; see await.h. poll passes over negative descriptors, which is what -1 leans on. */
#include "io/await.h"

#include <errno.h>
#include <limits.h>

#include "base/clock.h"
#include "weft/error.h"

/* The clock is cut to ms and poll waits at least as long as it was told, so the time is up behind it. */
static int ms_until(uint64_t until_ms, uint64_t now_ms)
{
    if (until_ms == AWAIT_FOREVER)
        return -1;
    if (until_ms <= now_ms)
        return 0;
    return until_ms - now_ms < INT_MAX ? (int)(until_ms - now_ms) : INT_MAX;
}

int await_fds(struct pollfd *fds, nfds_t count, const struct await_limit *limit, uint64_t until_ms)
{
    uint64_t end_ms = until_ms < limit->deadline_ms ? until_ms : limit->deadline_ms;

    fds[0] = (struct pollfd){.fd = limit->cancel_fd, .events = POLLIN};
    for (;;) {
        int timeout_ms = ms_until(end_ms, clock_now_ms());
        int ready = poll(fds, count, timeout_ms);

        if (ready < 0 && errno != EINTR)
            return WEFT_E_SYSTEM;
        if (ready > 0)
            return fds[0].revents ? WEFT_E_CANCELED : WEFT_OK;
        if (ready == 0 && timeout_ms < INT_MAX)
            return WEFT_E_TIMEOUT;
    }
}

int await_look(const struct await_limit *limit)
{
    struct pollfd fd;
    int rc = await_fds(&fd, 1, limit, 0);

    return rc == WEFT_E_TIMEOUT && clock_now_ms() < limit->deadline_ms ? WEFT_OK : rc;
}
