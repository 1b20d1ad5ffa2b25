/* Sockets that are told that there is no room; see refusal.h. */
#include "core/refusal.h"

#include <string.h>

#include "core/io_thread.h"
#include "io/sock.h"

#define TAIL "Connection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"

static const char *answer_of(int status)
{
    return status == 429 ? "HTTP/1.1 429 Too Many Requests\r\n" TAIL
                         : "HTTP/1.1 503 Service Unavailable\r\n" TAIL;
}

static void end_first(struct refusals *r)
{
    sock_drop(r->fds[r->first]);
    r->first = (r->first + 1) % REFUSALS_MAX;
    r->count--;
}

static void arm(struct io_thread *io) ON_IO
{
    struct refusals *r = &io->refusals;

    if (r->count)
        timer_arm(&io->loop.wheel, &r->timer, r->until_ms[r->first]);
}

void refusal_begin(struct io_thread *io, int fd, int status)
{
    const char *answer = answer_of(status);
    struct refusals *r = &io->refusals;
    unsigned last;

    sock_say_last(fd, answer, strlen(answer));
    if (r->count == REFUSALS_MAX)
        end_first(r);
    last = (r->first + r->count++) % REFUSALS_MAX;
    r->fds[last] = fd;
    r->until_ms[last] = io->loop.now_ms + REFUSAL_MS;
    arm(io);
}

void refusal_time(struct io_thread *io)
{
    struct refusals *r = &io->refusals;

    while (r->count && r->until_ms[r->first] <= io->loop.now_ms)
        end_first(r);
    arm(io);
}

void refusals_fini(struct refusals *r)
{
    while (r->count)
        end_first(r);
}
