/* Listening sockets and the limits of what they let in, from end to end. */
#include "e2e_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static bool echoes(struct client *k)
{
    char head[1024];

    return client_ask(k, "/", NULL) && client_status(k, head, sizeof head) == 101 && client_say(k, "hello") &&
           client_hears(k, "hello");
}

static void path_of_case(char *path, size_t room)
{
    const char *dir = getenv("TMPDIR");
    snprintf(path, room, "%s/weft-e2e-%d.sock", dir && strlen(dir) < 60 ? dir : "/tmp", (int)getpid());
}

static void note_peer(weft_conn *c, struct seen *s)
{
    char *out = s->t->arg;
    weft_conn_peer(c, out, 64);
}

ALL_MODES(a_unix_socket_is_served_and_removed_again)
{
    char path[100], peer[64] = "";
    struct client k;
    struct stat st;

    path_of_case(path, sizeof path);
    t->on_open = note_peer;
    t->arg = peer;
    CU_ASSERT_FATAL(e2e_new(t));
    CU_ASSERT_EQUAL(weft_server_listen_unix(t->server, path), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_start(t->server), WEFT_OK);
    CU_ASSERT(client_connect_path(&k, path));
    CU_ASSERT(echoes(&k));
    CU_ASSERT_STRING_EQUAL(peer, "unix");
    client_close(&k);
    e2e_stop(t, 1000);
    CU_ASSERT(stat(path, &st) != 0 && errno == ENOENT);
}

/* Left over from a program that did not end well. */
ALL_MODES(a_socket_file_that_nobody_listens_on_is_replaced)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char path[100];
    struct client k;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    weft_server *second;

    path_of_case(path, sizeof path);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd);
    CU_ASSERT_FATAL(e2e_new(t));
    CU_ASSERT_EQUAL(weft_server_listen_unix(t->server, path), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_start(t->server), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_new(&second, NULL), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_listen_unix(second, path), WEFT_E_SYSTEM); /* somebody listens */
    CU_ASSERT_EQUAL(errno, EADDRINUSE);
    weft_server_unref(second);
    CU_ASSERT(client_connect_path(&k, path));
    CU_ASSERT(echoes(&k));
    client_close(&k);
}

ALL_MODES(an_adopted_descriptor_is_served)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof a;
    struct client k;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), pair[2];

    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    CU_ASSERT_FATAL(e2e_new(t));
    CU_ASSERT_EQUAL(weft_server_listen_fd(t->server, fd), WEFT_E_INVAL); /* it does not listen yet */
    CU_ASSERT_EQUAL(listen(fd, 16), 0);
    CU_ASSERT_EQUAL(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    CU_ASSERT_EQUAL(weft_server_listen_fd(t->server, fd), WEFT_OK);
    CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    CU_ASSERT_EQUAL(weft_server_listen_fd(t->server, pair[0]), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_server_listen_fd(t->server, -1), WEFT_E_INVAL);
    close(pair[0]);
    close(pair[1]);
    CU_ASSERT_EQUAL(weft_server_start(t->server), WEFT_OK);
    CU_ASSERT(client_connect(&k, ntohs(a.sin_port)));
    CU_ASSERT(echoes(&k));
    client_close(&k);
}

ALL_MODES(an_adopted_unix_socket_is_served_and_its_file_stays)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct client k;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    path_of_case(a.sun_path, sizeof a.sun_path);
    CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    CU_ASSERT_EQUAL(listen(fd, 16), 0);
    CU_ASSERT_FATAL(e2e_new(t));
    CU_ASSERT_EQUAL(weft_server_listen_fd(t->server, fd), WEFT_OK);
    CU_ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CU_ASSERT_EQUAL(weft_server_listen_fd(t->server, fd), WEFT_E_INVAL); /* it would be closed twice */
    CU_ASSERT_EQUAL(weft_server_start(t->server), WEFT_OK);
    CU_ASSERT(client_connect_path(&k, a.sun_path));
    CU_ASSERT(echoes(&k));
    client_close(&k);
    e2e_stop(t, 1000);
    CU_ASSERT_EQUAL(fcntl(fd, F_GETFD), -1);
    CU_ASSERT_EQUAL(unlink(a.sun_path), 0);
}

/* It started too late for the server; whoever holds it can still use it. */
ALL_MODES(a_descriptor_that_is_not_taken_stays_the_callers)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CU_ASSERT_EQUAL(listen(fd, 16), 0);
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_EQUAL(weft_server_listen_fd(t->server, fd), WEFT_E_STATE);
    CU_ASSERT_EQUAL(weft_server_listen_fd(NULL, fd), WEFT_E_INVAL);
    e2e_stop(t, 1000);
    CU_ASSERT_EQUAL(close(fd), 0);
}

ALL_MODES(several_listeners_are_served_at_once)
{
    struct client k[4];
    uint16_t port[2];
    char path[100];

    path_of_case(path, sizeof path);
    CU_ASSERT_FATAL(e2e_new(t));
    CU_ASSERT_EQUAL(weft_server_listen_tcp(t->server, "127.0.0.1", 0, &port[0]), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_listen_tcp(t->server, NULL, 0, &port[1]), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_listen_unix(t->server, path), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_start(t->server), WEFT_OK);
    CU_ASSERT_NOT_EQUAL(port[0], port[1]);
    CU_ASSERT(client_connect(&k[0], port[0]) && echoes(&k[0]));
    CU_ASSERT(client_connect(&k[1], port[1]) && echoes(&k[1]));
    CU_ASSERT(client_connect_path(&k[2], path) && echoes(&k[2]));
    CU_ASSERT(client_connect(&k[3], port[0]) && echoes(&k[3]));
    for (int i = 0; i < 4; i++)
        client_close(&k[i]);
}

ALL_MODES(addresses_that_cannot_be_used_are_refused)
{
    weft_server *second;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_EQUAL(weft_server_listen_tcp(t->server, NULL, 0, NULL), WEFT_E_STATE);
    CU_ASSERT_EQUAL(weft_server_new(&second, NULL), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_listen_tcp(second, NULL, t->port, NULL), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, EADDRINUSE);
    CU_ASSERT_EQUAL(weft_server_listen_tcp(second, "no.such.host.invalid.", 0, NULL), WEFT_E_ADDRESS);
    CU_ASSERT_EQUAL(weft_server_listen_unix(second, "/nowhere/at/all"), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(weft_server_listen_unix(second, NULL), WEFT_E_INVAL);
    weft_server_unref(second);
}

/* --- limits --- */

static uint64_t cpu_us(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* The limit that leaves room for so many more descriptors. */
static rlim_t limit_for(int more)
{
    int taken[8], last = 0;

    for (int i = 0; i < more; i++)
        last = taken[i] = dup(STDIN_FILENO);
    for (int i = 0; i < more; i++)
        close(taken[i]);
    return (rlim_t)last + 1;
}

struct nofile {
    uint16_t port;
    uint64_t paused_cpu_us, accept_pauses;
};

/* The server's side, in a process of its own. 0: all went well. The parent connects ten clients, of which
 * four find a descriptor. */
static int serve_with_few_descriptors(const struct e2e_mode *mode, int to_parent, int from_parent)
{
    weft_server_opts opts = {
        .size = sizeof opts, .io_threads = mode->io_threads, .inline_handlers = mode->is_inline};
    weft_stats s = {.size = sizeof s};
    struct nofile told = {0};
    struct rlimit limit;
    weft_server *server;
    uint64_t began;
    struct timespec quiet = {.tv_nsec = 500000000};

    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    if (weft_server_new(&server, &opts) != WEFT_OK ||
        weft_server_listen_tcp(server, NULL, 0, &told.port) != WEFT_OK ||
        weft_server_start(server) != WEFT_OK)
        return 1;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit_for(4);
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || write(to_parent, &told, sizeof told) != sizeof told)
        return 2;
    if (!COMES_TRUE((weft_server_stats(server, &s), s.accept_pauses >= 1 && s.accepted == 4)))
        return 3;
    began = cpu_us();
    nanosleep(&quiet, NULL); /* what is measured is half a second of waiting */
    told.paused_cpu_us = cpu_us() - began;
    weft_server_stats(server, &s);
    told.accept_pauses = s.accept_pauses;
    if (write(to_parent, &told, sizeof told) != sizeof told || read(from_parent, &told, 1) != 1)
        return 4;
    if (!COMES_TRUE(weft_server_stop(server, 1000) == WEFT_OK))
        return 5;
    weft_server_unref(server);
    return 0;
}

ALL_MODES(without_descriptors_accepting_pauses_quietly_and_goes_on)
{
    enum { CLIENTS = 10 };
    struct client k[CLIENTS];
    struct nofile told = {0};
    int up[2], down[2], status = -1;
    pid_t child;

    if (unit_is_in_valgrind()) /* it closes what is accepted beyond the limit */
        return;
    CU_ASSERT_EQUAL_FATAL(pipe(up), 0);
    CU_ASSERT_EQUAL_FATAL(pipe(down), 0);
    fflush(stdout);
    child = fork();
    if (child == 0)
        _exit(serve_with_few_descriptors(t->mode, up[1], down[0]));
    close(up[1]);
    close(down[0]);
    CU_ASSERT_EQUAL(read(up[0], &told, sizeof told), sizeof told);
    for (int i = 0; i < CLIENTS; i++)
        CU_ASSERT(client_connect(&k[i], told.port));
    CU_ASSERT_EQUAL(read(up[0], &told, sizeof told), sizeof told);
    if (!unit_is_slow())
        CU_ASSERT(told.paused_cpu_us < 100000);
    CU_ASSERT(told.accept_pauses < 20);
    for (int i = 0; i < 4; i++) /* who had a descriptor leaves, and the rest is served */
        client_close(&k[i]);
    for (int i = 4; i < 8; i++)
        CU_ASSERT(client_ask(&k[i], "/", NULL));
    for (int i = 4; i < 8; i++) {
        char head[1024];
        CU_ASSERT_EQUAL(client_status(&k[i], head, sizeof head), 101);
    }
    for (int i = 4; i < CLIENTS; i++)
        client_close(&k[i]);
    CU_ASSERT_EQUAL(write(down[1], "", 1), 1);
    CU_ASSERT_EQUAL(waitpid(child, &status, 0), child);
    CU_ASSERT(WIFEXITED(status));
    CU_ASSERT_EQUAL(WEXITSTATUS(status), 0);
    close(up[0]);
    close(down[1]);
}

ALL_MODES(connections_beyond_the_limit_wait_until_one_ends)
{
    enum { LIMIT = 5, CLIENTS = 9 };
    struct client k[CLIENTS];
    char head[1024];

    t->opts.connections_max = LIMIT;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < CLIENTS; i++) {
        CU_ASSERT(client_connect(&k[i], t->port));
        CU_ASSERT(client_ask(&k[i], "/", NULL));
    }
    for (int i = 0; i < LIMIT; i++)
        CU_ASSERT_EQUAL(client_status(&k[i], head, sizeof head), 101);
    WAIT_FOR(t->opened == LIMIT && e2e_stats(t).accept_pauses >= 1);
    CU_ASSERT_EQUAL(e2e_stats(t).accepted, LIMIT);
    for (int i = LIMIT; i < CLIENTS; i++) {
        client_close(&k[i - LIMIT]);
        CU_ASSERT_EQUAL(client_status(&k[i], head, sizeof head), 101);
        CU_ASSERT(e2e_stats(t).connections <= LIMIT);
    }
    for (int i = 0; i < CLIENTS; i++)
        client_close(&k[i]);
    WAIT_FOR(t->closed == CLIENTS);
}

ALL_MODES(handshakes_beyond_the_limit_wait_until_one_is_over)
{
    enum { LIMIT = 3, CLIENTS = 8 };
    struct client k[CLIENTS];
    char head[1024];

    t->opts.handshakes_max = LIMIT;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < CLIENTS; i++)
        CU_ASSERT(client_connect(&k[i], t->port));
    WAIT_FOR(e2e_stats(t).accept_pauses >= 1);
    CU_ASSERT_EQUAL(e2e_stats(t).accepted, LIMIT);
    CU_ASSERT_EQUAL(e2e_stats(t).handshaking, LIMIT);
    for (int i = 0; i < CLIENTS; i++) {
        CU_ASSERT(client_ask(&k[i], "/", NULL));
        CU_ASSERT_EQUAL(client_status(&k[i], head, sizeof head), 101);
    }
    CU_ASSERT_EQUAL(e2e_stats(t).accepted, CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        client_close(&k[i]);
}

ALL_MODES(a_child_process_that_holds_the_sockets_keeps_nothing_open)
{
    struct client k;
    int hold[2];
    pid_t child;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT_EQUAL_FATAL(pipe(hold), 0);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        char c;
        close(hold[1]);
        _exit(read(hold[0], &c, 1) != 0);
    }
    close(hold[0]);
    CU_ASSERT(client_say_close(&k, 1000));
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
    /* The child holds the client's side too: only its Close and the end of time end it. */
    e2e_stop(t, 0);
    close(hold[1]);
    CU_ASSERT_EQUAL(waitpid(child, NULL, 0), child);
}

static const struct unit_case cases[] = {
    CASE(a_unix_socket_is_served_and_removed_again),
    CASE(a_socket_file_that_nobody_listens_on_is_replaced),
    CASE(an_adopted_descriptor_is_served),
    CASE(an_adopted_unix_socket_is_served_and_its_file_stays),
    CASE(a_descriptor_that_is_not_taken_stays_the_callers),
    CASE(several_listeners_are_served_at_once),
    CASE(addresses_that_cannot_be_used_are_refused),
    CASE(without_descriptors_accepting_pauses_quietly_and_goes_on),
    CASE(connections_beyond_the_limit_wait_until_one_ends),
    CASE(handshakes_beyond_the_limit_wait_until_one_is_over),
    CASE(a_child_process_that_holds_the_sockets_keeps_nothing_open),
};
E2E_MAIN("e2e_listen")
