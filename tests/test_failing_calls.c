/* Each allocation and each system call fails in turn, with straight-line programs at both ends of a connection in
 * one process: no crash, no hang, nothing left, and either it went as it should or the error says why.
 *
 * System calls are taken by the linker (--wrap), so the library is as it is. How a call fails depends on the
 * call: what POSIX and Linux let it answer, and for reads and writes also less than was asked for. After an EAGAIN
 * that the system did not mean, the descriptor is armed anew in epoll, for the system would tell of the change
 * that ends a real one. getrandom is left out: up to 256 bytes it cannot fail once the system runs. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/mem.h"
#include "weft/weft.h"

/* --- calls that fail --- */

/* How the chosen call fails: an errno, or SHORT. */
enum { SHORT = -1 };

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

/* What the library calls by number: the same two, and futex, which is not made to fail. */
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

WRAPPED(ssize_t, read, int fd, void *p, size_t n)
{
    FAIL_OR("read", WAYS(EINTR));
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

/* --- the session --- */

enum { LARGE_BYTES = 200000 };

static int answer(weft_conn *c, void *app)
{
    weft_msg *m;
    int rc;

    (void)app;
    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK) {
        rc = weft_conn_send(c, m);
        if (rc != WEFT_OK) {
            weft_msg_unref(m);
            break;
        }
    }
    return rc;
}

static int wait_for_end(weft_conn *c, void *app)
{
    (void)app;
    return weft_conn_sleep(c, 5000);
}

static int handler(weft_conn *c, void *app)
{
    return weft_conn_race(c, app, answer, wait_for_end);
}

static bool is_right(int rc)
{
    return rc == WEFT_OK || rc == WEFT_E_NOMEM || rc == WEFT_E_CLOSED || rc == WEFT_E_TIMEOUT ||
           rc == WEFT_E_REFUSED;
}

static int echo_once(weft_conn *c, size_t bytes)
{
    void *payload;
    weft_msg *m, *back;
    int rc = weft_msg_new_raw(&m, WEFT_BINARY, bytes, &payload);

    if (rc != WEFT_OK)
        return rc;
    memset(payload, 'x', bytes);
    rc = weft_conn_send(c, m);
    if (rc != WEFT_OK) {
        weft_msg_unref(m);
        return rc;
    }
    rc = weft_conn_recv(c, &back, 2000);
    if (rc == WEFT_OK) {
        CU_ASSERT_EQUAL(weft_msg_bytes(back), bytes);
        weft_msg_unref(back);
    }
    return rc;
}

static int talk(const char *url, weft_server *on)
{
    weft_client_opts opts = {
        .size = sizeof opts, .server = on, .open_timeout_ms = 300, .close_timeout_ms = 100, .proxy = ""};
    weft_failure *failure = NULL;
    weft_conn *c = NULL;
    uint32_t latency_us;
    int rc;

    opts.failure = &failure;
    rc = weft_client_connect(&c, url, &opts);
    weft_failure_free(failure);
    if (rc != WEFT_OK)
        return rc;
    rc = echo_once(c, 10);
    if (rc == WEFT_OK)
        rc = echo_once(c, LARGE_BYTES);
    if (rc == WEFT_OK)
        rc = weft_conn_ping_wait(c, 1000, &latency_us);
    if (weft_conn_close(c, 1000, "done") != WEFT_OK || weft_conn_wait_closed(c, 1000) != WEFT_OK)
        weft_conn_abort(c);
    weft_conn_unref(c);
    return rc;
}

static int run_both_ends(const char *path, bool shares_threads)
{
    weft_server_opts opts = {.size = sizeof opts,
                             .handler = handler,
                             .workers = 2,
                             .workers_max = 2,
                             .open_timeout_ms = 200,
                             .close_timeout_ms = 100};
    weft_server *s = NULL;
    char url[128];
    int rc;

    snprintf(url, sizeof url, "ws+unix://%s", path);
    rc = weft_server_new(&s, &opts);
    if (rc == WEFT_OK)
        rc = weft_server_listen_unix(s, path);
    if (rc == WEFT_OK)
        rc = weft_server_start(s);
    if (rc == WEFT_OK)
        rc = talk(url, shares_threads ? s : NULL);
    weft_client_stop_threads(500);
    weft_server_unref(s);
    return rc;
}

/* --- each allocation --- */

static void begin_at(char *path)
{
    path[strlen(path) - 2] = '\0';
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(path));
    path[strlen(path)] = '/';
    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    mem_count_live(true);
}

static void end_at(char *path)
{
    mem_count_live(false);
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
    unlink(path);
    path[strlen(path) - 2] = '\0';
    rmdir(path);
}

static void fail_each_at_both_ends(bool shares_threads)
{
    char path[] = "/tmp/weft-failing-XXXXXX/s";
    unsigned beyond = 0, n;

    begin_at(path);
    for (n = 1; beyond < 3 && n < 2000; n++) {
        int64_t live = mem_live_blocks();
        bool happened;
        int rc;

        mem_fail_at(n);
        rc = run_both_ends(path, shares_threads);
        happened = mem_fail_happened();
        mem_fail_at(0);
        if (!is_right(rc) || (!happened && rc != WEFT_OK) || mem_live_blocks() != live) {
            printf("  with allocation %u failing: %s, %lld blocks are left\n", n, weft_strerror(rc),
                   (long long)(mem_live_blocks() - live));
            CU_FAIL("the wrong end");
            break;
        }
        beyond = happened ? 0 : beyond + 1;
    }
    CU_ASSERT(n > 30 && n < 2000);
    end_at(path);
}

static void straight_line_programs_survive(void)
{
    fail_each_at_both_ends(true);
}

static void clients_with_threads_of_their_own_survive(void)
{
    fail_each_at_both_ends(false);
}
/* --- each call --- */

static unsigned descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Failures that a peer or a program never sees: the call is made again, or goes on with the rest. */
static bool is_harmless(const char *call, int way)
{
    return (way == 0 && strcmp(call, "epoll_wait") == 0) || strcmp(call, "read") == 0 ||
           strcmp(call, "write") == 0 ||
           ((strncmp(call, "recv", 4) == 0 || strncmp(call, "send", 4) == 0) && way < 2);
}

static bool call_error_is_right(int rc)
{
    return is_right(rc) || rc == WEFT_E_SYSTEM || rc == WEFT_E_BROKEN;
}

/* One session with call n failing in that way. False: there are not so many calls. */
static bool fail_call(const char *path, bool shares_threads, long n, int way, unsigned *failures)
{
    unsigned before = descriptors();
    int64_t live = mem_live_blocks();
    const char *call;
    int rc;

    atomic_store(&has_failed, false);
    atomic_store(&has_way, false);
    atomic_store(&failed_call, "none");
    atomic_store(&how, way);
    atomic_store(&countdown, n);
    rc = run_both_ends(path, shares_threads);
    atomic_store(&countdown, 0);
    call = atomic_load(&failed_call);
    *failures += atomic_load(&has_way);
    if (!call_error_is_right(rc) || mem_live_blocks() != live || descriptors() != before ||
        (rc != WEFT_OK && (!atomic_load(&has_way) || is_harmless(call, way)))) {
        printf("  with call %ld, %s, failing in way %d: %s, %lld blocks and %d descriptors are left\n", n,
               call, way, weft_strerror(rc), (long long)(mem_live_blocks() - live),
               (int)(descriptors() - before));
        CU_FAIL("the wrong end");
    }
    return atomic_load(&has_failed);
}

static void fail_each_call(bool shares_threads)
{
    char path[] = "/tmp/weft-failing-XXXXXX/s";
    unsigned failures = 0;

    begin_at(path);
    for (int way = 0; way < 6; way++) {
        unsigned beyond = 0;
        for (long n = 1; beyond < 3 && n < 2000; n++)
            beyond = fail_call(path, shares_threads, n, way, &failures) ? 0 : beyond + 1;
    }
    CU_ASSERT(failures > 50);
    printf("  %u failures\n", failures);
    end_at(path);
}

static void a_session_survives_the_failure_of_each_call(void)
{
    fail_each_call(true);
}

static void a_client_with_threads_of_its_own_survives_it_too(void)
{
    fail_each_call(false);
}

static const struct unit_case cases[] = {
    CASE(straight_line_programs_survive),
    CASE(clients_with_threads_of_their_own_survive),
    CASE(a_session_survives_the_failure_of_each_call),
    CASE(a_client_with_threads_of_its_own_survives_it_too),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "failing_calls", cases, sizeof cases / sizeof cases[0]);
}
