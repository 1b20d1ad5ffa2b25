/* The byte stream under a connection, over socket pairs and over TCP. */
#include "unit.h"
#include "io/link.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "weft/error.h"

/* Two ends, both non-blocking. */
static void make_pair(struct link *a, struct link *b)
{
    int fds[2];

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    a->fd = fds[0];
    b->fd = fds[1];
}

static void make_tcp_pair(struct link *a, struct link *b)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t n = sizeof address;

    CU_ASSERT_EQUAL_FATAL(bind(listening, (struct sockaddr *)&address, n), 0);
    CU_ASSERT_EQUAL_FATAL(listen(listening, 1), 0);
    getsockname(listening, (struct sockaddr *)&address, &n);
    a->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(connect(a->fd, (struct sockaddr *)&address, n), 0);
    b->fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CU_ASSERT_FATAL(b->fd >= 0);
    close(listening);
}

/* Bytes over TCP take their time, even on the loopback. */
static bool wait_for(const struct link *l, short events)
{
    struct pollfd p = {.fd = l->fd, .events = events};

    return poll(&p, 1, 20000) == 1;
}

static ptrdiff_t read_some(struct link *l, void *to, size_t n)
{
    struct iovec iov = {to, n};

    return link_read(l, &iov, 1);
}

static ptrdiff_t write_some(struct link *l, const void *from, size_t n)
{
    struct iovec iov = {(void *)from, n};

    return link_write(l, &iov, 1);
}

static void what_is_written_in_pieces_is_read_in_pieces(void)
{
    static const char text[] = "what one end writes the other reads";
    char first[7] = "", second[64] = "";
    struct iovec out[3] = {{(void *)text, 5}, {(void *)(text + 5), 0}, {(void *)(text + 5), sizeof text - 5}};
    struct iovec in[2] = {{first, sizeof first}, {second, sizeof second}};
    struct link a, b;

    make_pair(&a, &b);
    CU_ASSERT_EQUAL(link_write(&a, out, 3), (ptrdiff_t)sizeof text);
    CU_ASSERT_EQUAL(link_read(&b, in, 2), (ptrdiff_t)sizeof text);
    CU_ASSERT_EQUAL(memcmp(first, text, 7), 0);
    CU_ASSERT_STRING_EQUAL(second, text + 7);
    CU_ASSERT_EQUAL(write_some(&b, "back", 4), 4);
    CU_ASSERT_EQUAL(read_some(&a, first, 2), 2);
    CU_ASSERT_EQUAL(read_some(&a, first, 7), 2);
    link_close(&a, 0);
    link_close(&b, 0);
}

static void with_nothing_to_read_both_ways_of_reading_say_again(void)
{
    char x[2];
    struct iovec iov[2] = {{x, 1}, {x + 1, 1}};
    struct link a, b;

    make_pair(&a, &b);
    CU_ASSERT_EQUAL(link_read(&a, iov, 1), WEFT_E_AGAIN);
    CU_ASSERT_EQUAL(link_read(&a, iov, 2), WEFT_E_AGAIN);
    link_close(&a, 0);
    link_close(&b, 0);
}

static void a_full_socket_says_again_and_takes_more_when_it_was_read(void)
{
    static char block[65536];
    struct iovec two[2] = {{block, 1000}, {block, 1000}};
    size_t written = 0, got = 0;
    struct link a, b;
    ptrdiff_t n;

    make_pair(&a, &b);
    while ((n = write_some(&a, block, sizeof block)) > 0)
        written += (size_t)n;
    CU_ASSERT_EQUAL(n, WEFT_E_AGAIN);
    while ((n = link_write(&a, two, 2)) > 0)
        written += (size_t)n;
    CU_ASSERT_EQUAL(n, WEFT_E_AGAIN);
    while ((n = read_some(&b, block, sizeof block)) > 0)
        got += (size_t)n;
    CU_ASSERT_EQUAL(n, WEFT_E_AGAIN);
    CU_ASSERT_EQUAL(got, written);
    CU_ASSERT_EQUAL(write_some(&a, block, 10), 10);
    link_close(&a, 0);
    link_close(&b, 0);
}

static void after_finish_the_peer_reads_what_was_written_and_then_the_end(void)
{
    for (int tcp = 0; tcp < 2; tcp++) {
        struct link a, b;
        char x[8];

        (tcp ? make_tcp_pair : make_pair)(&a, &b);
        CU_ASSERT_EQUAL(write_some(&a, "last", 4), 4);
        link_finish(&a);
        CU_ASSERT(wait_for(&b, POLLRDHUP));
        CU_ASSERT_EQUAL(read_some(&b, x, sizeof x), 4);
        CU_ASSERT_EQUAL(read_some(&b, x, sizeof x), LINK_END);
        CU_ASSERT_EQUAL(read_some(&b, x, sizeof x), LINK_END);
        CU_ASSERT_EQUAL(write_some(&b, "x", 1), 1); /* the other direction is open */
        CU_ASSERT(wait_for(&a, POLLIN));
        CU_ASSERT_EQUAL(read_some(&a, x, sizeof x), 1);
        CU_ASSERT_EQUAL(write_some(&a, "x", 1), WEFT_E_CLOSED); /* ours is not, and no SIGPIPE ends us */
        link_close(&a, 0);
        link_close(&b, 0);
    }
}

static void a_close_lets_the_peer_read_the_rest_and_the_end(void)
{
    for (int tcp = 0; tcp < 2; tcp++) {
        struct link a, b;
        char x[8];

        (tcp ? make_tcp_pair : make_pair)(&a, &b);
        CU_ASSERT_EQUAL(write_some(&a, "last", 4), 4);
        link_close(&a, 0);
        CU_ASSERT(wait_for(&b, POLLRDHUP));
        CU_ASSERT_EQUAL(read_some(&b, x, sizeof x), 4);
        CU_ASSERT_EQUAL(read_some(&b, x, sizeof x), LINK_END);
        link_close(&b, 0);
    }
}

static void a_reset_is_seen_by_the_peer_as_closed(void)
{
    struct link a, b;
    struct iovec iov[2];
    char x[8];

    make_tcp_pair(&a, &b);
    link_close(&a, 1);
    CU_ASSERT(wait_for(&b, POLLRDHUP));
    CU_ASSERT_EQUAL(read_some(&b, x, sizeof x), WEFT_E_CLOSED);
    CU_ASSERT_EQUAL(write_some(&b, "x", 1), WEFT_E_CLOSED);
    link_close(&b, 0);
    make_tcp_pair(&a, &b);
    link_close(&a, 1);
    CU_ASSERT(wait_for(&b, POLLRDHUP));
    iov[0] = iov[1] = (struct iovec){x, 1};
    CU_ASSERT_EQUAL(link_read(&b, iov, 2), WEFT_E_CLOSED);
    link_close(&b, 0);
}

static void writing_to_a_peer_that_is_gone_is_closed_and_no_signal(void)
{
    struct iovec iov[2] = {{"x", 1}, {"y", 1}};
    struct link a, b;

    make_pair(&a, &b);
    link_close(&b, 0);
    CU_ASSERT_EQUAL(write_some(&a, "x", 1), WEFT_E_CLOSED);
    CU_ASSERT_EQUAL(link_write(&a, iov, 2), WEFT_E_CLOSED);
    link_close(&a, 0);
}

static void bytes_are_held_until_the_peer_has_them(void)
{
    static char block[65536];
    struct link a, b, none = {-1};

    make_tcp_pair(&a, &b);
    CU_ASSERT_EQUAL(link_held_bytes(&a), 0);
    fcntl(a.fd, F_SETFL, O_NONBLOCK);
    while (write_some(&a, block, sizeof block) > 0)
        continue;
    CU_ASSERT(link_held_bytes(&a) > 0);
    for (unsigned i = 0; i < 10000 && link_held_bytes(&a) > 0; i++)
        if (poll(&(struct pollfd){.fd = b.fd, .events = POLLIN}, 1, 1) == 1)
            while (read_some(&b, block, sizeof block) > 0)
                continue;
    CU_ASSERT_EQUAL(link_held_bytes(&a), 0);
    CU_ASSERT_EQUAL(link_held_bytes(&none), 0);
    link_close(&a, 0);
    link_close(&b, 0);
}

static void closing_twice_closes_no_foreign_descriptor(void)
{
    struct link a, b;
    int other;

    make_pair(&a, &b);
    link_close(&a, 0);
    CU_ASSERT_EQUAL(a.fd, -1);
    other = dup(b.fd); /* takes the number that became free */
    link_close(&a, 0);
    link_close(&a, 1);
    CU_ASSERT_EQUAL(close(other), 0);
    link_close(&b, 1);
    CU_ASSERT_EQUAL(b.fd, -1);
}

/* --- EINTR: only a blocking socket can be interrupted --- */

static volatile sig_atomic_t alarms;
static int wake_fd;

/* The fifth alarm lets the call go on. */
static void on_alarm(int number)
{
    char block[4096];
    int before = errno;

    (void)number;
    if (++alarms < 5)
        return;
    if (recv(wake_fd, block, sizeof block, MSG_DONTWAIT) <= 0 && send(wake_fd, "x", 1, MSG_DONTWAIT) < 0)
        abort();
    errno = before;
}

static void set_alarms(struct sigaction *before)
{
    struct sigaction s = {.sa_handler = on_alarm}; /* no SA_RESTART */
    struct itimerval every = {{0, 5000}, {0, 5000}};

    alarms = 0;
    sigaction(SIGALRM, &s, before);
    setitimer(ITIMER_REAL, &every, NULL);
}

static void clear_alarms(const struct sigaction *before)
{
    struct itimerval none = {{0, 0}, {0, 0}};

    setitimer(ITIMER_REAL, &none, NULL);
    sigaction(SIGALRM, before, NULL);
}

static void a_read_that_is_interrupted_goes_on(void)
{
    for (int count = 1; count <= 2; count++) {
        struct sigaction before;
        struct iovec iov[2];
        struct link a, b;
        int fds[2];
        char x[2];

        CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        a.fd = fds[0];
        b.fd = wake_fd = fds[1];
        iov[0] = (struct iovec){x, 1};
        iov[1] = (struct iovec){x + 1, 1};
        set_alarms(&before);
        CU_ASSERT_EQUAL(link_read(&a, iov, count), 1);
        clear_alarms(&before);
        CU_ASSERT(alarms >= 5);
        link_close(&a, 0);
        link_close(&b, 0);
    }
}

static void a_write_that_is_interrupted_goes_on(void)
{
    static char block[4096];

    for (int count = 1; count <= 2; count++) {
        struct iovec iov[2] = {{block, 1}, {block, 1}};
        struct sigaction before;
        struct link a, b;
        int fds[2];

        CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        a.fd = fds[0];
        b.fd = wake_fd = fds[1];
        while (send(a.fd, block, sizeof block, MSG_DONTWAIT) > 0)
            continue;
        set_alarms(&before);
        CU_ASSERT_EQUAL(link_write(&a, iov, count), count);
        clear_alarms(&before);
        CU_ASSERT(alarms >= 5);
        link_close(&a, 0);
        link_close(&b, 0);
    }
}

static const struct unit_case cases[] = {
    CASE(what_is_written_in_pieces_is_read_in_pieces),
    CASE(with_nothing_to_read_both_ways_of_reading_say_again),
    CASE(a_full_socket_says_again_and_takes_more_when_it_was_read),
    CASE(after_finish_the_peer_reads_what_was_written_and_then_the_end),
    CASE(a_close_lets_the_peer_read_the_rest_and_the_end),
    CASE(a_reset_is_seen_by_the_peer_as_closed),
    CASE(writing_to_a_peer_that_is_gone_is_closed_and_no_signal),
    CASE(bytes_are_held_until_the_peer_has_them),
    CASE(closing_twice_closes_no_foreign_descriptor),
    CASE(a_read_that_is_interrupted_goes_on),
    CASE(a_write_that_is_interrupted_goes_on),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "link", cases, sizeof cases / sizeof cases[0]);
}
