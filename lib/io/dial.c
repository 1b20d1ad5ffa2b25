/* Connecting out; see dial.h. */
#include "io/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "weft/error.h"

#define UNIX_RETRY_MS 10

/* ---- one attempt ---- */

static void close_keeping_errno(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
}

/* A socket that dials a port of this machine from which nobody listens may happen to get that very port,
 * and then connects to itself. */
static bool is_own_peer(int fd)
{
    struct sockaddr_storage here, there;
    socklen_t n = sizeof here, m = sizeof there;

    memset(&here, 0, sizeof here);
    memset(&there, 0, sizeof there);
    return getsockname(fd, (struct sockaddr *)&here, &n) == 0 &&
           getpeername(fd, (struct sockaddr *)&there, &m) == 0 && n == m && memcmp(&here, &there, n) == 0;
}

/* Is this socket, of which poll said something, connected? If not, it is closed and errno says why. */
static bool is_connected(int fd)
{
    int error = 0;
    socklen_t n = sizeof error;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0)
        error = errno;
    else if (error == 0 && is_own_peer(fd))
        error = ECONNREFUSED;
    if (error == 0)
        return true;
    close(fd);
    errno = error;
    return false;
}

/* A descriptor that is connecting or connected already, or -1. */
static int begin_attempt(const struct resolve_address *a)
{
    int fd = socket(a->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (const struct sockaddr *)&a->at, a->bytes) == 0 || errno == EINPROGRESS || errno == EINTR)
        return fd;
    close_keeping_errno(fd);
    return -1;
}

/* ---- the race ---- */

/* fds[0] is for the cancel descriptor, fds[1..open] are under way. */
struct race {
    const struct resolve_list *list;
    size_t next; /* in the list */
    uint64_t next_ms;
    uint32_t delay_ms;
    int last_errno;
    nfds_t open;
    struct pollfd fds[1 + RESOLVE_ADDRESSES_MAX];
};

static bool has_next(const struct race *r)
{
    return r->next < r->list->count;
}

/* As many as are due: all that fail at once, and one that does not. next_ms is 0 at first and after a
 * failure. */
static void begin_due(struct race *r)
{
    while (has_next(r) && clock_now_ms() >= r->next_ms) {
        int fd = begin_attempt(&r->list->addresses[r->next++]);

        if (fd < 0) {
            r->last_errno = errno;
            continue;
        }
        r->fds[++r->open] = (struct pollfd){.fd = fd, .events = POLLOUT};
        r->next_ms = clock_now_ms() + r->delay_ms;
    }
}

static void forget(struct race *r, nfds_t i)
{
    r->fds[i] = r->fds[r->open--];
}

/* The earliest begun that is connected; its descriptor is taken out. Failures make room for the next at
 * once. */
static int take_winner(struct race *r)
{
    for (nfds_t i = 1; i <= r->open;) {
        int fd = r->fds[i].fd;

        if (r->fds[i].revents == 0) {
            i++;
            continue;
        }
        forget(r, i);
        if (is_connected(fd))
            return fd;
        r->last_errno = errno;
        r->next_ms = 0;
    }
    return -1;
}

static int run_race(struct race *r, const struct await_limit *limit)
{
    for (;;) {
        int rc, winner;

        begin_due(r);
        if (r->open == 0) {
            errno = r->last_errno;
            return WEFT_E_SYSTEM;
        }
        rc = await_fds(r->fds, r->open + 1, limit, has_next(r) ? r->next_ms : AWAIT_FOREVER);
        if (rc == WEFT_E_TIMEOUT && clock_now_ms() < limit->deadline_ms)
            continue;
        if (rc != WEFT_OK)
            return rc;
        winner = take_winner(r);
        if (winner >= 0)
            return winner;
    }
}

static uint32_t delay_of(const struct dial_how *how)
{
    uint32_t ms = how->attempt_delay_ms ? how->attempt_delay_ms : DIAL_ATTEMPT_DELAY_MS;

    if (ms < DIAL_ATTEMPT_DELAY_MS_MIN)
        return DIAL_ATTEMPT_DELAY_MS_MIN;
    return ms < DIAL_ATTEMPT_DELAY_MS_MAX ? ms : DIAL_ATTEMPT_DELAY_MS_MAX;
}

int dial_addresses(const struct resolve_list *list, const struct dial_how *how)
{
    struct resolve_list ordered = *list;
    struct race r = {.list = &ordered, .delay_ms = delay_of(how)};
    int rc = list->count > 0 ? await_look(&how->limit) : WEFT_E_ADDRESS, saved;

    if (rc != WEFT_OK)
        return rc;
    dial_interleave(&ordered);
    rc = run_race(&r, &how->limit);
    saved = errno;
    while (r.open > 0)
        close(r.fds[r.open--].fd);
    errno = saved;
    return rc;
}

/* The next one of this family, or any when family is 0; count when there is none. */
static size_t find_next(const struct resolve_list *list, const bool *is_taken, int family)
{
    size_t i = 0;

    while (i < list->count && (is_taken[i] || (family && list->addresses[i].at.ss_family != family)))
        i++;
    return i;
}

void dial_interleave(struct resolve_list *list)
{
    struct resolve_list before = *list;
    bool is_taken[RESOLVE_ADDRESSES_MAX] = {false};

    for (size_t i = 0; i < list->count; i++) {
        size_t from = find_next(&before, is_taken, i % 2 == 0 ? AF_INET6 : AF_INET);

        if (from == before.count)
            from = find_next(&before, is_taken, 0);
        is_taken[from] = true;
        list->addresses[i] = before.addresses[from];
    }
}

int dial_tcp(const char *host, uint16_t port, const struct dial_how *how, const char **reason)
{
    struct resolve_list list;
    int rc = resolve(host, port, &how->limit, &list);

    *reason = list.reason;
    return rc == WEFT_OK ? dial_addresses(&list, how) : rc;
}

/* ---- sockets in the file system ---- */

/* A full backlog is told by EAGAIN, and nothing tells when there is room again. */
static int connect_unix(int fd, const struct sockaddr_un *a, const struct await_limit *limit)
{
    struct pollfd none;
    int rc;

    while (connect(fd, (const struct sockaddr *)a, sizeof *a) != 0) {
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return WEFT_E_SYSTEM;
        rc = await_fds(&none, 1, limit, clock_now_ms() + UNIX_RETRY_MS);
        if (rc == WEFT_E_TIMEOUT)
            rc = await_look(limit);
        if (rc != WEFT_OK)
            return rc;
    }
    return WEFT_OK;
}

int dial_unix(const char *path, const struct dial_how *how)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd, rc = await_look(&how->limit);

    if (rc != WEFT_OK)
        return rc;
    if (!*path || strlen(path) >= sizeof a.sun_path) {
        errno = ENAMETOOLONG;
        return WEFT_E_SYSTEM;
    }
    memcpy(a.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return WEFT_E_SYSTEM;
    rc = connect_unix(fd, &a, &how->limit);
    if (rc == WEFT_OK)
        return fd;
    close_keeping_errno(fd);
    return rc;
}
