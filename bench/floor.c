/* What does a WebSocket echo cost beyond the system calls that any echo needs?
 *
 * floor is the echo to compare with: epoll, level triggered, one thread, one recv and one send for each wake
 * of a connection, and nothing looked at. What a server needs above floor's CPU time for a message is its own
 * doing: parsing, unmasking, queues, threads. bench/run measures both side by side.
 *
 * A connection that does not take its echo keeps the rest and is read again when that is gone, so each holds
 * at most one read. Deliberately no more than that: no limits on connections, no timeouts, loopback only by
 * default. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define READ_BYTES_MAX ((size_t)512 * 1024)
#define EVENTS_MAX     512

struct peer {
    int fd;
    char *rest; /* read and not taken by the socket yet; NULL when there is none */
    size_t rest_bytes, rest_done;
};

static int epoll_fd, listen_fd, signal_fd;
static char bytes[READ_BYTES_MAX];

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void watch(int operation, int fd, uint32_t events, void *data)
{
    struct epoll_event event = {.events = events, .data.ptr = data};

    if (epoll_ctl(epoll_fd, operation, fd, &event) != 0)
        die("epoll_ctl");
}

static void drop(struct peer *p)
{
    close(p->fd);
    free(p->rest);
    free(p);
}

static void accept_all(void)
{
    int fd, on = 1;

    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *p = calloc(1, sizeof *p);
        if (!p)
            die("memory");
        p->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, p);
    }
    if (errno == EMFILE || errno == ENFILE)
        die("accept");
}

/* How much of it the socket took, or -1 when the connection is over. */
static ssize_t send_some(struct peer *p, const char *from, size_t count)
{
    ssize_t sent = send(p->fd, from, count, MSG_NOSIGNAL);

    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return sent;
}

static void keep_rest(struct peer *p, const char *from, size_t count)
{
    p->rest = malloc(count);
    if (!p->rest)
        die("memory");
    memcpy(p->rest, from, count);
    p->rest_bytes = count;
    p->rest_done = 0;
    watch(EPOLL_CTL_MOD, p->fd, EPOLLOUT, p);
}

static void echo(struct peer *p)
{
    ssize_t got = recv(p->fd, bytes, sizeof bytes, 0);
    ssize_t sent;

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    sent = got > 0 ? send_some(p, bytes, (size_t)got) : -1;
    if (sent < 0)
        drop(p);
    else if (sent < got)
        keep_rest(p, bytes + sent, (size_t)(got - sent));
}

static void send_rest(struct peer *p)
{
    ssize_t sent = send_some(p, p->rest + p->rest_done, p->rest_bytes - p->rest_done);

    if (sent < 0) {
        drop(p);
        return;
    }
    p->rest_done += (size_t)sent;
    if (p->rest_done < p->rest_bytes)
        return;
    free(p->rest);
    p->rest = NULL;
    watch(EPOLL_CTL_MOD, p->fd, EPOLLIN, p);
}

/* Until SIGTERM or SIGINT. */
static void serve(void)
{
    struct epoll_event events[EVENTS_MAX];

    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            void *data = events[i].data.ptr;
            if (data == &signal_fd)
                return;
            if (data == &listen_fd)
                accept_all();
            else if (((struct peer *)data)->rest)
                send_rest(data);
            else
                echo(data);
        }
    }
}

static void listen_on(const char *host, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t room = sizeof address;
    int on = 1;

    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        errno = EINVAL;
        die(host);
    }
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listen_fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(listen_fd, 4096) != 0)
        die("listen");
    getsockname(listen_fd, (struct sockaddr *)&address, &room);
    watch(EPOLL_CTL_ADD, listen_fd, EPOLLIN, &listen_fd);
    printf("listening on %s:%u\n", host, ntohs(address.sin_port));
    fflush(stdout);
}

static void take_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    watch(EPOLL_CTL_ADD, signal_fd, EPOLLIN, &signal_fd);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"port", required_argument, NULL, 'p'}, {"host", required_argument, NULL, 'h'}, {0}};
    const char *host = "127.0.0.1";
    unsigned long port = 0;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h')
            host = optarg;
        else if (option == 'p')
            port = strtoul(optarg, NULL, 10);
        else
            port = UINT16_MAX + 1ul;
    }
    if (optind < argc || port > UINT16_MAX) {
        fprintf(stderr, "usage: floor [--host ADDRESS] [--port N]   (0 picks a port)\n");
        return 2;
    }
    raise_descriptor_limit();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    take_signals();
    listen_on(host, (uint16_t)port);
    serve();
    return 0;
}
