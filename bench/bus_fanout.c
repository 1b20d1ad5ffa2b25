/* What does a delivery cost through Redis, beside the bus within one process?
 *
 * 1000 WebSocket connections subscribe to one topic: on one instance with local:, and on two with 500 each through a
 * redis-server of this program's own. This process is all the clients. It sends WINDOW messages to the first
 * instance, which publishes them, and one more for each that all 1000 have got; so nothing is dropped and nobody idles.
 * Both kinds run at the same time in turns of one second, started once; what counts is their ratio in the same round.
 *
 * Columns: deliveries for each second of CPU time (user and system) of the instances, the same with Redis' own CPU time
 * in it, and CPU time of an instance's delivery. The last row is the ratio of redis: to local:, median of the rounds.
 *
 * usage: bus_fanout [--json] [quick]     quick: 3 rounds instead of 9; needs redis-server */
#include "micro.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "weft/weft.h"

enum { SUBSCRIBERS = 1000, WINDOW = 16, BYTES = 64, FRAME_BYTES = BYTES + 2, ROUNDS_MAX = 9 };
#define ROUND_NS 1e9

static void die(const char *what)
{
    fprintf(stderr, "bus_fanout: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* --- an instance --- */

static weft_bus *bus;

static void subscribe(weft_conn *c, void *app)
{
    (void)app;
    if (weft_bus_subscribe(bus, c, "t", NULL) != WEFT_OK)
        abort();
}

static void publish(weft_conn *c, weft_msg *m, void *app)
{
    (void)c, (void)app;
    if (weft_bus_publish(bus, "t", m) != WEFT_OK)
        abort();
}

static int serve(const char *url)
{
    weft_server_opts opts = {
        .size = sizeof opts, .on_open = subscribe, .on_message = publish, .io_threads = 1};
    weft_server *server;
    uint16_t port = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (weft_bus_open(&bus, url, NULL) != WEFT_OK || weft_server_new(&server, &opts) != WEFT_OK ||
        weft_server_listen_tcp(server, "127.0.0.1", 0, &port) != WEFT_OK ||
        weft_server_start(server) != WEFT_OK)
        return 1;
    printf("%u\n", port);
    fflush(stdout);
    for (;;)
        pause();
}

static pid_t start(const char *const *args, uint16_t *port)
{
    int out[2];
    pid_t pid = -1;
    char line[32] = "";

    if (pipe(out) != 0 || (pid = fork()) < 0)
        die("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], 1);
        execvp(args[0], (char **)args);
        _exit(127);
    }
    close(out[1]);
    if (port && (read(out[0], line, sizeof line - 1) <= 0 || (*port = (uint16_t)atoi(line)) == 0))
        die("an instance does not start");
    if (port)
        close(out[0]); /* redis-server goes on writing; the pipe stays for it */
    return pid;
}

/* --- clients --- */

static int dial(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    close(fd);
    return -1;
}

static int open_client(uint16_t port)
{
    static const char ask[] =
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    int fd = dial(port);
    char head[1024];
    size_t n = 0;

    if (fd < 0 || send(fd, ask, strlen(ask), 0) < 0)
        die("connect");
    while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4) != 0)
        if (n == sizeof head || recv(fd, head + n++, 1, 0) != 1)
            die("handshake");
    return fd;
}

struct party {
    pid_t instances[2], redis;
    unsigned count;
    int fds[SUBSCRIBERS];
    int epoll_fd;
    uint64_t received, sent; /* bytes; messages */
};

static void open_all(struct party *p, const uint16_t *ports)
{
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < SUBSCRIBERS; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.u64 = (uint64_t)i};

        p->fds[i] = open_client(ports[(unsigned)i % p->count]);
        epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->fds[i], &e);
    }
}

static void send_one(struct party *p)
{
    uint8_t frame[6 + BYTES] = {0x82, 0x80 | BYTES};

    if (send(p->fds[0], frame, sizeof frame, 0) != sizeof frame)
        die("send");
    p->sent++;
}

/* What has come within the time; false: nothing. */
static bool drain(struct party *p, int ms)
{
    static char bytes[65536];
    struct epoll_event events[256];
    int count = epoll_wait(p->epoll_fd, events, 256, ms);

    for (int i = 0; i < count; i++) {
        ssize_t n = recv(p->fds[events[i].data.u64], bytes, sizeof bytes, MSG_DONTWAIT);
        if (n == 0)
            die("an instance ended a connection");
        if (n > 0)
            p->received += (uint64_t)n;
    }
    return count > 0;
}

static uint64_t delivered(const struct party *p)
{
    return p->received / FRAME_BYTES;
}

static double cpu_seconds(pid_t pid)
{
    char path[64], line[1024];
    unsigned long user = 0, system = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    f = fopen(path, "r");
    if (!f || !fgets(line, sizeof line, f) ||
        sscanf(strrchr(line, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
               &system) != 2)
        die(path);
    fclose(f);
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

static double cpu_of_instances(const struct party *p)
{
    double sum = 0;

    for (unsigned i = 0; i < p->count; i++)
        sum += cpu_seconds(p->instances[i]);
    return sum;
}

/* Values of a row: per CPU second, with Redis, us of an instance each. */
static void run_round(struct party *p, double *values)
{
    double cpu = cpu_of_instances(p), redis = p->redis ? cpu_seconds(p->redis) : 0;
    double end = micro_now_ns() + ROUND_NS;
    uint64_t before = delivered(p);

    while (micro_now_ns() < end) {
        while (p->sent < delivered(p) / SUBSCRIBERS + WINDOW)
            send_one(p);
        if (!drain(p, 5000))
            die("nothing comes any more");
    }
    while (delivered(p) < p->sent * SUBSCRIBERS)
        if (!drain(p, 5000))
            die("messages were lost");
    cpu = cpu_of_instances(p) - cpu;
    redis = p->redis ? cpu_seconds(p->redis) - redis : 0;
    values[0] = (double)(delivered(p) - before) / cpu;
    values[1] = (double)(delivered(p) - before) / (cpu + redis);
    values[2] = cpu * 1e6 / (double)(delivered(p) - before);
}

/* --- who takes part --- */

static void start_instances(struct party *p, const char *url)
{
    const char *const args[] = {"/proc/self/exe", "--serve", url, NULL};
    uint16_t ports[2];

    for (unsigned i = 0; i < p->count; i++)
        p->instances[i] = start(args, &ports[i]);
    open_all(p, ports);
}

static void start_redis(struct party *p, char *url, size_t room)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char port[8];

    if (bind(fd, (struct sockaddr *)&a, n) != 0 || getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        die("no port");
    close(fd);
    snprintf(port, sizeof port, "%u", ntohs(a.sin_port));
    snprintf(url, room, "redis://127.0.0.1:%s", port);
    const char *const args[] = {"redis-server", "--bind", "127.0.0.1", "--save", "", "--port", port, NULL};
    p->redis = start(args, NULL);
    for (int i = 0; (fd = dial(ntohs(a.sin_port))) < 0; i++)
        if (i > 500 || usleep(10000) != 0)
            die("redis-server does not start");
    close(fd);
}

/* Subscriptions through Redis begin when it says so: wait until one message reaches all. */
static void settle(struct party *p)
{
    for (uint64_t all = 0; all < SUBSCRIBERS; all = delivered(p)) {
        p->received = 0;
        send_one(p);
        while (drain(p, 300)) {
        }
    }
    p->received = p->sent = 0;
}

static void end_party(struct party *p)
{
    for (unsigned i = 0; i < p->count; i++) {
        kill(p->instances[i], SIGKILL);
        waitpid(p->instances[i], NULL, 0);
    }
    if (p->redis) {
        kill(p->redis, SIGKILL);
        waitpid(p->redis, NULL, 0);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, unsigned count)
{
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}

int main(int argc, char **argv)
{
    static const char *const columns[] = {"a CPU second", "with Redis'", "us each"};
    static struct party local = {.count = 1}, redis = {.count = 2};
    double rows[2][3][ROUNDS_MAX], ratios[3][ROUNDS_MAX], out[3];
    struct rlimit files = {4096, 4096};
    unsigned rounds = ROUNDS_MAX;
    char url[64];

    if (argc == 3 && strcmp(argv[1], "--serve") == 0)
        return serve(argv[2]);
    if (micro_begin(argc, argv, "quick"))
        rounds = 3;
    setrlimit(RLIMIT_NOFILE, &files);
    start_instances(&local, "local:");
    start_redis(&redis, url, sizeof url);
    start_instances(&redis, url);
    settle(&local);
    settle(&redis);
    for (unsigned i = 0; i < rounds; i++) {
        double a[3], b[3];

        run_round(&local, a);
        run_round(&redis, b);
        for (int k = 0; k < 3; k++) {
            rows[0][k][i] = a[k];
            rows[1][k][i] = b[k];
            ratios[k][i] = b[k] / (k == 1 ? a[0] : a[k]);
        }
    }
    micro_table("fan-out to 1000 subscribers, 64 bytes", "deliveries", columns, 3);
    for (int r = 0; r < 3; r++) {
        static const char *const names[] = {"local:, 1 instance", "redis:, 2 instances", "ratio"};

        for (int k = 0; k < 3; k++)
            out[k] = median(r < 2 ? rows[r][k] : ratios[k], rounds);
        micro_row(names[r], out);
    }
    micro_end();
    end_party(&local);
    end_party(&redis);
    return 0;
}
