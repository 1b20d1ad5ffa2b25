/* Each call of the system, and each allocation, fails in turn; see failing.h. */
#include "failing.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "unit.h"
#include "weft/error.h"

/* No call has more ways than that. */
#define WAYS_MAX 6
/* Threads make the number of calls vary a little: a run in which none fails does not end it. */
#define BEYOND   3u
#define RUNS_MAX 20000
/* The time may have run out because the machine had other things to do; if a failure is the cause it does so
 * again. */
#define TRIES 3

/* --- calls that fail --- */

/* How the chosen call fails: an errno, a code of getaddrinfo, or SHORT. */
enum { SHORT = -1000 };

static _Atomic long countdown; /* that call; 0 and below: none */
static _Atomic int how;        /* the how-th way of the call; a call that has fewer does not fail */
static atomic_bool has_failed, has_way;
static const char *_Atomic failed_call;

/* The next failure of this call, 0 for none. ways: ends with 0. */
static int failure_of(const char *call, const int *ways)
{
    int i = 0;

    if (atomic_fetch_sub(&countdown, 1) != 1)
        return 0;
    atomic_store(&has_failed, true);
    atomic_store(&failed_call, call);
    while (i < atomic_load(&how) && ways[i])
        i++;
    if (!ways[i])
        return 0;
    atomic_store(&has_way, true);
    return ways[i];
}

#define WAYS(...) ((const int[]){__VA_ARGS__, 0})
#define FAIL_OR(call, ways)                                                                                  \
    do {                                                                                                     \
        int failure = failure_of(call, ways);                                                                \
        if (failure) {                                                                                       \
            errno = failure;                                                                                 \
            return -1;                                                                                       \
        }                                                                                                    \
    } while (0)

/* Of the last descriptors watched: by whom, and how. */
static struct {
    _Atomic int epoll_fd;
    struct epoll_event event;
} watched[4096];

static void arm_anew(int fd)
{
    struct epoll_event event = watched[fd].event;

    if (fd < 4096 && watched[fd].epoll_fd > 0)
        epoll_ctl(watched[fd].epoll_fd, EPOLL_CTL_MOD, fd, &event);
}

#define WRAPPED(result, name, ...)                                                                           \
    result __real_##name(__VA_ARGS__);                                                                       \
    result __wrap_##name(__VA_ARGS__);                                                                       \
    result __wrap_##name(__VA_ARGS__)

/* What was asked for less, or -1 with errno; 0: it does not fail. */
static ssize_t fail_transfer(const char *call, int fd, const int *ways, size_t *n)
{
    int failure = failure_of(call, ways);

    if (!failure)
        return 0;
    if (failure == SHORT) {
        *n = *n > 1 ? (*n + 1) / 2 : *n;
        arm_anew(fd); /* a short read means for the reader that there is no more */
        return 0;
    }
    if (failure == EAGAIN || failure == ENOBUFS)
        arm_anew(fd);
    errno = failure;
    return -1;
}

#define READ_WAYS  WAYS(EAGAIN, EINTR, ECONNRESET, ETIMEDOUT, SHORT)
#define WRITE_WAYS WAYS(EAGAIN, EINTR, ECONNRESET, EPIPE, ENOBUFS, SHORT)

WRAPPED(ssize_t, recv, int fd, void *p, size_t n, int flags)
{
    if (fail_transfer("recv", fd, READ_WAYS, &n) < 0)
        return -1;
    return __real_recv(fd, p, n, flags);
}

WRAPPED(ssize_t, send, int fd, const void *p, size_t n, int flags)
{
    if (fail_transfer("send", fd, WRITE_WAYS, &n) < 0)
        return -1;
    return __real_send(fd, p, n, flags);
}

/* What the library calls by number: the same two, and futex, whose wait may end without a cause. */
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    long a[6];
    va_list args;
    size_t n;

    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    n = (size_t)a[2];
    if (number == SYS_recvfrom && fail_transfer("recvfrom", (int)a[0], READ_WAYS, &n) < 0)
        return -1;
    if (number == SYS_sendto && fail_transfer("sendto", (int)a[0], WRITE_WAYS, &n) < 0)
        return -1;
    if (number == SYS_recvfrom || number == SYS_sendto)
        a[2] = (long)n;
    if (number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT)
        FAIL_OR("futex", WAYS(EINTR, EAGAIN));
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

WRAPPED(ssize_t, readv, int fd, const struct iovec *iov, int count)
{
    struct iovec first = iov[0];

    if (fail_transfer("readv", fd, READ_WAYS, &first.iov_len) < 0)
        return -1;
    return first.iov_len < iov[0].iov_len ? __real_readv(fd, &first, 1) : __real_readv(fd, iov, count);
}

WRAPPED(ssize_t, sendmsg, int fd, const struct msghdr *m, int flags)
{
    struct msghdr shorter = *m;
    struct iovec first = m->msg_iov[0];

    if (fail_transfer("sendmsg", fd, WRITE_WAYS, &first.iov_len) < 0)
        return -1;
    if (first.iov_len == m->msg_iov[0].iov_len)
        return __real_sendmsg(fd, m, flags);
    shorter.msg_iov = &first;
    shorter.msg_iovlen = 1;
    return __real_sendmsg(fd, &shorter, flags);
}

WRAPPED(int, accept4, int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    FAIL_OR("accept4", WAYS(EINTR, ECONNABORTED, EMFILE, ENFILE, ENOBUFS));
    return __real_accept4(fd, a, n, flags);
}

WRAPPED(int, socket, int domain, int type, int protocol)
{
    FAIL_OR("socket", WAYS(EMFILE, ENOBUFS, EAFNOSUPPORT));
    return __real_socket(domain, type, protocol);
}

WRAPPED(int, connect, int fd, const struct sockaddr *a, socklen_t n)
{
    FAIL_OR("connect", WAYS(ECONNREFUSED, EADDRNOTAVAIL, ENETUNREACH, EAGAIN));
    return __real_connect(fd, a, n);
}

WRAPPED(int, bind, int fd, const struct sockaddr *a, socklen_t n)
{
    FAIL_OR("bind", WAYS(EACCES));
    return __real_bind(fd, a, n);
}

WRAPPED(int, listen, int fd, int backlog)
{
    FAIL_OR("listen", WAYS(EADDRINUSE));
    return __real_listen(fd, backlog);
}

WRAPPED(int, setsockopt, int fd, int level, int option, const void *p, socklen_t n)
{
    FAIL_OR("setsockopt", WAYS(ENOBUFS, EINVAL));
    return __real_setsockopt(fd, level, option, p, n);
}

WRAPPED(int, epoll_create1, int flags)
{
    FAIL_OR("epoll_create1", WAYS(EMFILE, ENOMEM));
    return __real_epoll_create1(flags);
}

WRAPPED(int, epoll_ctl, int epoll_fd, int what, int fd, struct epoll_event *event)
{
    if (what == EPOLL_CTL_ADD)
        FAIL_OR("epoll_ctl", WAYS(ENOSPC, ENOMEM));
    if (fd < 4096 && event)
        watched[fd].event = *event;
    if (fd < 4096)
        watched[fd].epoll_fd = what == EPOLL_CTL_DEL ? 0 : epoll_fd;
    return __real_epoll_ctl(epoll_fd, what, fd, event);
}

WRAPPED(int, epoll_wait, int epoll_fd, struct epoll_event *events, int most, int timeout_ms)
{
    FAIL_OR("epoll_wait", WAYS(EINTR));
    return __real_epoll_wait(epoll_fd, events, most, timeout_ms);
}

WRAPPED(int, eventfd, unsigned count, int flags)
{
    FAIL_OR("eventfd", WAYS(EMFILE, ENOMEM));
    return __real_eventfd(count, flags);
}

WRAPPED(int, fstat, int fd, struct stat *st)
{
    FAIL_OR("fstat", WAYS(EIO));
    return __real_fstat(fd, st);
}

/* Of a file it may fail and be short; an eventfd gives its count or nothing. */
WRAPPED(ssize_t, read, int fd, void *p, size_t n)
{
    struct stat st;
    bool is_file = __real_fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    int failure =
        failure_of(is_file ? "read of a file" : "read", is_file ? WAYS(EINTR, SHORT, EIO) : WAYS(EINTR));

    if (failure == SHORT)
        return __real_read(fd, p, n > 1 ? n / 2 : n);
    if (failure) {
        errno = failure;
        return -1;
    }
    return __real_read(fd, p, n);
}

WRAPPED(ssize_t, write, int fd, const void *p, size_t n)
{
    FAIL_OR("write", WAYS(EINTR));
    return __real_write(fd, p, n);
}

WRAPPED(int, poll, struct pollfd *fds, nfds_t count, int timeout_ms)
{
    FAIL_OR("poll", WAYS(EINTR, ENOMEM));
    return __real_poll(fds, count, timeout_ms);
}

/* Answers an errno itself. */
WRAPPED(int, pthread_create, pthread_t *t, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    int failure = failure_of("pthread_create", WAYS(EAGAIN));

    return failure ? failure : __real_pthread_create(t, attr, run, arg);
}

WRAPPED(int, getsockopt, int fd, int level, int option, void *p, socklen_t *n)
{
    FAIL_OR("getsockopt", WAYS(ENOBUFS));
    return __real_getsockopt(fd, level, option, p, n);
}

WRAPPED(int, getsockname, int fd, struct sockaddr *a, socklen_t *n)
{
    FAIL_OR("getsockname", WAYS(ENOBUFS));
    return __real_getsockname(fd, a, n);
}

WRAPPED(int, getpeername, int fd, struct sockaddr *a, socklen_t *n)
{
    FAIL_OR("getpeername", WAYS(ENOTCONN, ENOBUFS));
    return __real_getpeername(fd, a, n);
}

WRAPPED(int, shutdown, int fd, int what)
{
    FAIL_OR("shutdown", WAYS(ENOTCONN));
    return __real_shutdown(fd, what);
}

/* The descriptor is gone all the same. */
WRAPPED(int, close, int fd)
{
    int rc = __real_close(fd);

    FAIL_OR("close", WAYS(EINTR, EIO));
    return rc;
}

WRAPPED(int, socketpair, int domain, int type, int protocol, int fds[2])
{
    FAIL_OR("socketpair", WAYS(EMFILE, ENFILE, ENOBUFS));
    return __real_socketpair(domain, type, protocol, fds);
}

WRAPPED(int, unlink, const char *path)
{
    FAIL_OR("unlink", WAYS(EACCES));
    return __real_unlink(path);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    unsigned mode;

    va_start(args, flags);
    mode = flags & O_CREAT ? va_arg(args, unsigned) : 0;
    va_end(args);
    FAIL_OR("open", WAYS(EMFILE, ENFILE, EACCES));
    return __real_open(path, flags, mode);
}

int __real_fcntl(int fd, int what, ...);
int __wrap_fcntl(int fd, int what, ...);
int __wrap_fcntl(int fd, int what, ...)
{
    va_list args;
    long argument;

    va_start(args, what);
    argument = va_arg(args, long);
    va_end(args);
    FAIL_OR("fcntl", WAYS(EINVAL));
    return __real_fcntl(fd, what, argument);
}

int __real_ioctl(int fd, unsigned long what, ...);
int __wrap_ioctl(int fd, unsigned long what, ...);
int __wrap_ioctl(int fd, unsigned long what, ...)
{
    va_list args;
    void *argument;

    va_start(args, what);
    argument = va_arg(args, void *);
    va_end(args);
    FAIL_OR("ioctl", WAYS(EINVAL));
    return __real_ioctl(fd, what, argument);
}

WRAPPED(FILE *, fopen, const char *path, const char *mode)
{
    int failure = failure_of("fopen", WAYS(EMFILE, ENOMEM));

    if (!failure)
        return __real_fopen(path, mode);
    errno = failure;
    return NULL;
}

WRAPPED(ssize_t, getrandom, void *p, size_t n, unsigned flags)
{
    int failure = failure_of("getrandom", WAYS(ENOSYS, SHORT));

    if (!failure)
        return __real_getrandom(p, n, flags);
    if (failure == SHORT)
        return __real_getrandom(p, n / 2, flags);
    errno = failure;
    return -1;
}

/* Answers a code of its own, and knows one name. */
WRAPPED(int, getaddrinfo, const char *host, const char *service, const struct addrinfo *hints,
        struct addrinfo **found)
{
    int failure = failure_of("getaddrinfo", WAYS(EAI_AGAIN, EAI_MEMORY, EAI_SYSTEM, EAI_FAIL, EAI_NONAME));
    bool is_known = strcmp(host, FAILING_NAME) == 0 && !(hints->ai_flags & AI_NUMERICHOST);

    if (failure) {
        errno = EMFILE;
        return failure;
    }
    return __real_getaddrinfo(is_known ? "127.0.0.1" : host, service, hints, found);
}

/* --- one run after the other --- */

static unsigned descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += __real_fcntl(fd, F_GETFD) >= 0;
    return n;
}

static struct what_is_there {
    int64_t blocks;
    unsigned descriptors;
} look(void)
{
    return (struct what_is_there){mem_live_blocks(), descriptors()};
}

/* What helper threads hold they give back by themselves. */
static bool is_all_gone(const struct what_is_there *before, struct what_is_there *now)
{
    struct timespec pause = {.tv_nsec = 1000000};

    for (int i = 0; i < 10000; i++) {
        *now = look();
        if (now->blocks == before->blocks && now->descriptors == before->descriptors)
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

static bool is_one_of(const char *call, const char *const *names)
{
    for (; *names; names++)
        if (strcmp(call, *names) == 0)
            return true;
    return false;
}

static const char *const transfers[] = {"recv", "recvfrom", "readv", "send", "sendto", "sendmsg", NULL};

/* Failures that a peer or a program never sees: the call is made again, or goes on with the rest, or did only
 * what can be done without. */
static bool is_harmless(const char *call, int way)
{
    static const char *const always[] = {"read",  "write", "futex",  "close",       "shutdown",
                                         "ioctl", "fopen", "unlink", "getpeername", NULL};
    return is_one_of(call, always) || (way < 2 && is_one_of(call, transfers)) ||
           (way == 0 && strcmp(call, "epoll_wait") == 0) || (way < 2 && strcmp(call, "read of a file") == 0);
}

static bool is_right(int rc)
{
    return rc == WEFT_OK || rc == WEFT_E_NOMEM || rc == WEFT_E_CLOSED || rc == WEFT_E_TIMEOUT ||
           rc == WEFT_E_REFUSED || rc == WEFT_E_AGAIN;
}

/* Whose failure makes a descriptor, a file or a certificate one that cannot be used: the last ones in the
 * handshake with which a certificate is tried. */
static const char *const unusable[] = {"getsockopt", "fcntl",   "open",     "fstat", "read of a file",
                                       "getrandom",  "recv",    "recvfrom", "readv", "send",
                                       "sendto",     "sendmsg", NULL};

/* In the order of its ways, above. What is no address may still be a name, and a bus tries again. */
static bool is_right_for_name(int rc, int way)
{
    int error = way == 1 ? WEFT_E_NOMEM : way == 2 ? WEFT_E_SYSTEM : WEFT_E_ADDRESS;

    return rc == WEFT_OK || rc == error;
}

/* How a run may end on a machine that stood still for longer than the handshake may take, on either side. */
static bool is_late(int rc)
{
    return rc == WEFT_E_TIMEOUT || rc == WEFT_E_REFUSED || rc == WEFT_E_CLOSED;
}

/* Of the run that is being made. */
static unsigned tries_before;

unsigned failing_tries_before(void)
{
    return tries_before;
}

static bool may_be_tried_again(void)
{
    return ++tries_before < TRIES;
}

/* Nothing fails, and so it ends well. */
static bool ends_well(failing_run *run, void *arg)
{
    int rc;

    tries_before = 0;
    do
        rc = run(arg);
    while (is_late(rc) && may_be_tried_again());
    return rc == WEFT_OK;
}

/* What a failing call may be answered with. */
static bool is_right_for(int rc, const char *call, int way)
{
    if (atomic_load(&has_way) && strcmp(call, "getaddrinfo") == 0)
        return is_right_for_name(rc, way);
    if (rc == WEFT_E_INVAL)
        return is_one_of(call, unusable);
    if (rc == WEFT_E_TLS)
        return is_one_of(call, transfers) || strcmp(call, "getrandom") == 0;
    return is_right(rc) || rc == WEFT_E_SYSTEM || rc == WEFT_E_BROKEN;
}

static int run_with_call(failing_run *run, void *arg, long n, int way)
{
    int rc;

    atomic_store(&has_failed, false);
    atomic_store(&has_way, false);
    atomic_store(&failed_call, "none");
    atomic_store(&how, way);
    atomic_store(&countdown, n);
    rc = run(arg);
    atomic_store(&countdown, 0);
    return rc;
}

/* Is there a reason for another end than the usual one? */
static bool has_reason(int way)
{
    return atomic_load(&has_way) && !is_harmless(atomic_load(&failed_call), way);
}

/* One run with call n failing in that way. False: there are not so many calls. */
static bool fail_call(failing_run *run, void *arg, long n, int way, unsigned *failures)
{
    struct what_is_there before = look(), now;
    const char *call;
    bool is_gone;
    int rc;

    tries_before = 0;
    do
        rc = run_with_call(run, arg, n, way);
    while (is_late(rc) && !has_reason(way) && may_be_tried_again());
    call = atomic_load(&failed_call);
    *failures += atomic_load(&has_way);
    is_gone = is_all_gone(&before, &now);
    if (!is_right_for(rc, call, way) || !is_gone || (rc != WEFT_OK && !has_reason(way))) {
        printf("  with call %ld, %s, failing in way %d: %s, %lld blocks and %d descriptors are left\n", n,
               call, way, weft_strerror(rc), (long long)(now.blocks - before.blocks),
               (int)(now.descriptors - before.descriptors));
        CU_FAIL("the wrong end");
    }
    return atomic_load(&has_failed);
}

static unsigned choose_stride(unsigned usual)
{
    const char *wanted = getenv("WEFT_TEST_STRIDE");
    int stride = wanted ? atoi(wanted) : 0;

    return stride > 0 ? (unsigned)stride : usual;
}

/* Whose ways are over is not tried again; threads may have made it another call in one run, but hardly in two. */
unsigned failing_calls(failing_run *run, void *arg, unsigned stride)
{
    unsigned failures = 0, beyond = 0;

    stride = choose_stride(stride);
    CU_ASSERT_FATAL(ends_well(run, arg));
    mem_count_live(true);
    for (long n = 1; beyond < BEYOND && n < RUNS_MAX; n += stride) {
        beyond++;
        for (int way = 0, without = 0; way < WAYS_MAX && without < 2; way++)
            if (fail_call(run, arg, n, way, &failures)) {
                beyond = 0;
                without = atomic_load(&has_way) ? 0 : without + 1;
            } else {
                without++;
            }
    }
    mem_count_live(false);
    return failures;
}

const struct failing_door failing_memory = {mem_fail_at, mem_fail_happened, false};

/* One run with the n-th failing. False: there are not so many. */
static bool fail_allocation(failing_run *run, void *arg, const struct failing_door *door, unsigned n)
{
    struct what_is_there before = look(), now;
    bool has_failed_here, is_gone, is_right_end;
    int rc;

    tries_before = 0;
    do {
        door->fail_at(n);
        rc = run(arg);
        has_failed_here = door->has_failed();
        door->fail_at(0);
    } while (is_late(rc) && !has_failed_here && may_be_tried_again());
    is_gone = is_all_gone(&before, &now);
    is_right_end = is_right(rc) || (door->is_foreign && (rc == WEFT_E_TLS || rc == WEFT_E_INVAL));
    if (!is_right_end || !is_gone || (!has_failed_here && rc != WEFT_OK)) {
        printf("  with allocation %u failing: %s, %lld blocks and %d descriptors are left\n", n,
               weft_strerror(rc), (long long)(now.blocks - before.blocks),
               (int)(now.descriptors - before.descriptors));
        CU_FAIL("the wrong end");
    }
    return has_failed_here;
}

unsigned failing_allocations(failing_run *run, void *arg, const struct failing_door *door, unsigned stride)
{
    unsigned beyond = 0, n;

    stride = choose_stride(stride);
    CU_ASSERT_FATAL(ends_well(run, arg));
    mem_count_live(true);
    for (n = 1; beyond < BEYOND && n < RUNS_MAX; n += stride)
        beyond = fail_allocation(run, arg, door, n) ? 0 : beyond + 1;
    mem_count_live(false);
    CU_ASSERT(n < RUNS_MAX);
    return n;
}
