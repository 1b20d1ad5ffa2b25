/* Listening sockets on the loopback and in a directory of the test's own. */
#include "unit.h"
#include "io/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <linux/vm_sockets.h>
#include <unistd.h>

#include "weft/error.h"
#include "weft/log.h"

static bool is_set_up(int fd)
{
    return (fcntl(fd, F_GETFL) & O_NONBLOCK) && (fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static int connect_to(const void *address, socklen_t n)
{
    int fd = socket(((const struct sockaddr *)address)->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, address, n) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int connect_v4(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    return connect_to(&a, sizeof a);
}

static int accept_within_seconds(int listening, struct sock_peer *peer)
{
    struct pollfd p = {.fd = listening, .events = POLLIN};

    poll(&p, 1, 20000);
    return sock_accept(listening, peer);
}

static uint16_t local_port(int fd)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;

    getsockname(fd, (struct sockaddr *)&a, &n);
    return ntohs(a.ss_family == AF_INET ? ((struct sockaddr_in *)&a)->sin_port
                                        : ((struct sockaddr_in6 *)&a)->sin6_port);
}

/* --- TCP --- */

static void a_connection_is_accepted_with_the_name_of_its_peer(void)
{
    static const char *const hosts[] = {"127.0.0.1", "0.0.0.0", NULL};

    for (size_t i = 0; i < 3; i++) {
        struct sock_peer peer;
        char name[64], expected[64];
        int no_delay = 0, one, listening, fd;
        socklen_t n = sizeof no_delay;
        uint16_t port = 0;

        listening = sock_listen_tcp(hosts[i], 0, 8, &port);
        CU_ASSERT_FATAL(listening >= 0);
        CU_ASSERT(port != 0);
        CU_ASSERT_EQUAL(port, local_port(listening));
        CU_ASSERT(is_set_up(listening));
        CU_ASSERT_EQUAL(sock_accept(listening, &peer), WEFT_E_AGAIN);
        one = connect_v4(port);
        CU_ASSERT_FATAL(one >= 0);
        fd = accept_within_seconds(listening, &peer);
        CU_ASSERT_FATAL(fd >= 0);
        CU_ASSERT(is_set_up(fd));
        CU_ASSERT_EQUAL(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &n), 0);
        CU_ASSERT(no_delay != 0);
        CU_ASSERT_EQUAL(peer.family, AF_INET);
        CU_ASSERT_EQUAL(peer.port, local_port(one));
        sock_name_peer(&peer, name, sizeof name);
        snprintf(expected, sizeof expected, "127.0.0.1:%u", local_port(one));
        CU_ASSERT_STRING_EQUAL(name, expected);
        close(fd);
        close(one);
        close(listening);
    }
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;

    if (fd >= 0)
        close(fd);
    return has;
}

static void a_connection_over_ipv6_has_its_name_in_brackets(void)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    char name[64], expected[64];
    struct sock_peer peer;
    int listening, one, fd;
    uint16_t port;

    if (!has_ipv6()) {
        printf("note: no IPv6 here\n");
        return;
    }
    listening = sock_listen_tcp("::1", 0, 8, &port);
    CU_ASSERT_FATAL(listening >= 0);
    a.sin6_port = htons(port);
    one = connect_to(&a, sizeof a);
    CU_ASSERT_FATAL(one >= 0);
    fd = accept_within_seconds(listening, &peer);
    CU_ASSERT(fd >= 0 && is_set_up(fd));
    CU_ASSERT_EQUAL(peer.family, AF_INET6);
    sock_name_peer(&peer, name, sizeof name);
    snprintf(expected, sizeof expected, "[::1]:%u", local_port(one));
    CU_ASSERT_STRING_EQUAL(name, expected);
    close(fd);
    close(one);
    close(listening);
}

static void a_port_that_is_chosen_is_the_one_bound_and_in_use_is_refused(void)
{
    uint16_t port, again = 0;
    int first = sock_listen_tcp("127.0.0.1", 0, 8, &port), second;

    CU_ASSERT_FATAL(first >= 0);
    errno = 0;
    CU_ASSERT_EQUAL(sock_listen_tcp("127.0.0.1", port, 8, NULL), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, EADDRINUSE);
    close(first);
    second = sock_listen_tcp("127.0.0.1", port, 8, &again);
    CU_ASSERT(second >= 0);
    CU_ASSERT_EQUAL(again, port);
    close(second);
}

/* A connection of the server before in TIME_WAIT does not keep its successor from listening. */
static void a_port_whose_server_just_ended_can_be_listened_on_again(void)
{
    struct sock_peer peer;
    uint16_t port;
    int listening = sock_listen_tcp("127.0.0.1", 0, 8, &port), one = connect_v4(port);
    int fd = accept_within_seconds(listening, &peer);
    char x;

    CU_ASSERT(fd >= 0);
    close(fd); /* the server's side first: it is the one that waits */
    CU_ASSERT_EQUAL(read(one, &x, 1), 0);
    close(one);
    close(listening);
    listening = sock_listen_tcp("127.0.0.1", port, 8, NULL);
    CU_ASSERT(listening >= 0);
    close(listening);
}

static void a_name_that_does_not_exist_is_an_address_error(void)
{
    const char *names[] = {"no-such-host.invalid", "", NULL};
    char too_long[400]; /* longer than any name may be */
    uint16_t port = 7;

    memset(too_long, 'x', sizeof too_long);
    too_long[sizeof too_long - 1] = '\0';
    names[2] = too_long;
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(sock_listen_tcp(names[i], 0, 8, &port), WEFT_E_ADDRESS);
    CU_ASSERT_EQUAL(port, 7);
}

static void an_address_of_another_machine_is_a_system_error(void)
{
    CU_ASSERT_EQUAL(sock_listen_tcp("192.0.2.1", 0, 8, NULL), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, EADDRNOTAVAIL);
}

/* --- unix sockets --- */

static char directory[64];

static const char *path_of(const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void make_directory(void)
{
    const char *base = getenv("TMPDIR");

    snprintf(directory, sizeof directory, "%.40s/weft-sock-XXXXXX",
             base && strlen(base) < 40 ? base : "/tmp");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
}

static int connect_unix(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    memcpy(a.sun_path, path, strlen(path));
    return connect_to(&a, sizeof a);
}

static void a_unix_socket_accepts_and_its_peer_is_called_unix(void)
{
    struct sock_peer peer;
    char name[16];
    int listening, one, fd;

    make_directory();
    listening = sock_listen_unix(path_of("s"), 8);
    CU_ASSERT_FATAL(listening >= 0);
    CU_ASSERT(is_set_up(listening));
    CU_ASSERT_EQUAL(sock_accept(listening, &peer), WEFT_E_AGAIN);
    one = connect_unix(path_of("s"));
    CU_ASSERT_FATAL(one >= 0);
    fd = sock_accept(listening, &peer);
    CU_ASSERT(fd >= 0 && is_set_up(fd));
    CU_ASSERT_EQUAL(peer.family, AF_UNIX);
    sock_name_peer(&peer, name, sizeof name);
    CU_ASSERT_STRING_EQUAL(name, "unix");
    close(fd);
    close(one);
    close(listening);
    unlink(path_of("s"));
    rmdir(directory);
}

static void a_stale_socket_file_is_replaced(void)
{
    int listening, one;

    make_directory();
    listening = sock_listen_unix(path_of("s"), 8);
    close(listening); /* its file stays */
    CU_ASSERT_EQUAL(access(path_of("s"), F_OK), 0);
    listening = sock_listen_unix(path_of("s"), 8);
    CU_ASSERT_FATAL(listening >= 0);
    one = connect_unix(path_of("s"));
    CU_ASSERT(one >= 0);
    close(one);
    close(listening);
    unlink(path_of("s"));
    rmdir(directory);
}

static void a_socket_file_in_use_is_refused_and_goes_on_working(void)
{
    int listening, one, fill[16];
    struct sock_peer peer;
    int fd, filled = 0;

    make_directory();
    listening = sock_listen_unix(path_of("s"), 1);
    CU_ASSERT_FATAL(listening >= 0);
    CU_ASSERT_EQUAL(sock_listen_unix(path_of("s"), 1), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, EADDRINUSE);
    while ((fd = sock_accept(listening, &peer)) >= 0)
        close(fd); /* the question itself was a connection */
    /* In use, also when its queue is full. */
    while (filled < 16) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        strcpy(a.sun_path, path_of("s"));
        fill[filled] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(fill[filled++], (struct sockaddr *)&a, sizeof a) != 0)
            break;
    }
    CU_ASSERT_EQUAL(sock_listen_unix(path_of("s"), 1), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, EADDRINUSE);
    while (filled)
        close(fill[--filled]);
    while ((fd = sock_accept(listening, &peer)) >= 0)
        close(fd);
    one = connect_unix(path_of("s"));
    CU_ASSERT(one >= 0);
    close(one);
    close(listening);
    unlink(path_of("s"));
    rmdir(directory);
}

static void refused_as_existing(const char *name)
{
    struct stat before, after;

    CU_ASSERT_EQUAL(lstat(path_of(name), &before), 0);
    errno = 0;
    CU_ASSERT_EQUAL(sock_listen_unix(path_of(name), 8), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, EEXIST);
    CU_ASSERT_EQUAL(lstat(path_of(name), &after), 0); /* untouched */
    CU_ASSERT(before.st_ino == after.st_ino && before.st_mode == after.st_mode);
}

static void another_kind_of_file_is_refused_and_left_alone(void)
{
    char target[128];

    make_directory();
    close(open(path_of("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    mkdir(path_of("directory"), 0700);
    mkfifo(path_of("fifo"), 0600);
    snprintf(target, sizeof target, "%s/nowhere", directory);
    CU_ASSERT_EQUAL(symlink(target, path_of("link")), 0);
    refused_as_existing("file");
    refused_as_existing("directory");
    refused_as_existing("fifo");
    refused_as_existing("link");
    unlink(path_of("file"));
    rmdir(path_of("directory"));
    unlink(path_of("fifo"));
    unlink(path_of("link"));
    CU_ASSERT_EQUAL(rmdir(directory), 0);
}

static void a_path_may_be_as_long_as_the_address_and_not_longer(void)
{
    struct sockaddr_un a;
    char path[sizeof a.sun_path + 1];
    int listening;

    make_directory();
    memset(path, 'x', sizeof path);
    memcpy(path, directory, strlen(directory));
    path[strlen(directory)] = '/';
    path[sizeof a.sun_path] = '\0'; /* one too long: no room for the end */
    CU_ASSERT_EQUAL(sock_listen_unix(path, 8), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, ENAMETOOLONG);
    path[sizeof a.sun_path - 1] = '\0';
    listening = sock_listen_unix(path, 8);
    CU_ASSERT(listening >= 0);
    CU_ASSERT_EQUAL(unlink(path), 0);
    close(listening);
    CU_ASSERT_EQUAL(rmdir(directory), 0);
}

static void a_path_that_cannot_be_is_a_system_error(void)
{
    make_directory();
    CU_ASSERT_EQUAL(sock_listen_unix(path_of("no/such"), 8), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, ENOENT);
    CU_ASSERT_EQUAL(sock_listen_unix("", 8), WEFT_E_SYSTEM);
    rmdir(directory);
}

/* --- taken over --- */

static bool is_untouched(int fd)
{
    return !(fcntl(fd, F_GETFL) & O_NONBLOCK) && !(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static char last_said[128];

static void note_what_is_said(enum weft_log_level level, uint64_t conn_id, const char *text, void *app)
{
    (void)app;
    (void)level;
    (void)conn_id;
    snprintf(last_said, sizeof last_said, "%s", text);
}

/* Refused with these words, left as it was, and closed. */
static bool is_refused(int fd, const char *why)
{
    bool is_right;

    last_said[0] = '\0';
    is_right = sock_adopt(fd) == WEFT_E_INVAL && strstr(last_said, why) && is_untouched(fd);
    close(fd);
    return is_right;
}

static void a_listening_stream_socket_is_adopted(void)
{
    static const int families[] = {AF_INET, AF_INET6, AF_UNIX};

    for (size_t i = 0; i < 3; i++) {
        struct sockaddr_storage a = {.ss_family = (sa_family_t)families[i]};
        int fd = socket(families[i], SOCK_STREAM, 0);
        struct sock_peer peer;
        socklen_t n = families[i] == AF_UNIX ? sizeof(sa_family_t) : sizeof(struct sockaddr_in6);

        CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&a, n), 0);
        CU_ASSERT_EQUAL(listen(fd, 8), 0);
        CU_ASSERT(is_untouched(fd));
        CU_ASSERT_EQUAL(sock_adopt(fd), WEFT_OK);
        CU_ASSERT(is_set_up(fd));
        CU_ASSERT_EQUAL(sock_accept(fd, &peer), WEFT_E_AGAIN);
        close(fd);
    }
}

static void a_descriptor_that_is_none_is_refused_with_the_reason_and_left_alone(void)
{
    const struct sockaddr_un unnamed = {.sun_family = AF_UNIX};
    int packets = socket(AF_UNIX, SOCK_SEQPACKET, 0), other = socket(AF_NETLINK, SOCK_RAW, 0), pair[2];

    weft_log_to(WEFT_LOG_ERROR, note_what_is_said, NULL);
    CU_ASSERT_EQUAL(bind(packets, (const struct sockaddr *)&unnamed, sizeof(sa_family_t)), 0);
    CU_ASSERT_EQUAL(listen(packets, 8), 0);
    CU_ASSERT_EQUAL(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CU_ASSERT(is_refused(socket(AF_INET, SOCK_STREAM, 0), "does not listen"));
    CU_ASSERT(is_refused(pair[0], "does not listen"));
    CU_ASSERT(is_refused(packets, "is not a stream socket"));
    CU_ASSERT(is_refused(socket(AF_INET, SOCK_DGRAM, 0), "is not a stream socket"));
    CU_ASSERT(is_refused(other, "is not a stream socket"));
    CU_ASSERT(is_refused(open("/dev/null", O_RDWR), "is not a socket"));
    CU_ASSERT_EQUAL(sock_adopt(-1), WEFT_E_INVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(last_said, "descriptor -1 is not open"));
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
    close(pair[1]);
}

/* The stream sockets of virtual machines; not every kernel has them. */
static void a_stream_socket_of_another_family_is_refused(void)
{
    struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = VMADDR_PORT_ANY};
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);

    if (fd < 0)
        return;
    CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    CU_ASSERT_EQUAL(listen(fd, 8), 0);
    weft_log_to(WEFT_LOG_ERROR, note_what_is_said, NULL);
    CU_ASSERT(is_refused(fd, "is neither a TCP nor a Unix socket"));
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
}

/* --- accept --- */

static void accept_on_what_does_not_listen_is_a_system_error(void)
{
    int stream = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
        file = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sock_peer peer;

    CU_ASSERT_EQUAL(sock_accept(stream, &peer), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(sock_accept(file, &peer), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(sock_accept(datagram, &peer), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(sock_accept(-1, &peer), WEFT_E_SYSTEM);
    close(stream);
    close(file);
    close(datagram);
}

static void without_a_descriptor_accept_asks_to_back_off_and_the_connection_is_not_lost(void)
{
    struct rlimit before, none;
    struct sock_peer peer;
    struct pollfd p = {.events = POLLIN};
    uint16_t port;
    int listening, one, fd;

    if (unit_is_in_valgrind()) /* it looks at the limit itself, when the connection is accepted, and closes it */
        return;
    listening = sock_listen_tcp("127.0.0.1", 0, 8, &port);
    one = connect_v4(port);
    p.fd = listening;
    CU_ASSERT_EQUAL(poll(&p, 1, 20000), 1);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 0;
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &none), 0);
    CU_ASSERT_EQUAL(sock_accept(listening, &peer), WEFT_E_NOMEM);
    CU_ASSERT_EQUAL(sock_accept(listening, &peer), WEFT_E_NOMEM);
    CU_ASSERT_EQUAL(sock_listen_tcp("127.0.0.1", 0, 8, NULL), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, EMFILE);
    setrlimit(RLIMIT_NOFILE, &before);
    fd = sock_accept(listening, &peer);
    CU_ASSERT(fd >= 0);
    close(fd);
    close(one);
    close(listening);
}

/* It may be accepted, or be gone: never an error of the listening socket. */
static void a_connection_that_was_reset_while_it_waited_does_no_harm(void)
{
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    struct sock_peer peer;
    uint16_t port;
    int listening = sock_listen_tcp("127.0.0.1", 0, 8, &port), one = connect_v4(port), fd;

    setsockopt(one, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(one);
    fd = accept_within_seconds(listening, &peer);
    CU_ASSERT(fd >= 0 || fd == WEFT_E_AGAIN);
    if (fd >= 0)
        close(fd);
    one = connect_v4(port);
    fd = accept_within_seconds(listening, &peer);
    CU_ASSERT(fd >= 0);
    close(fd);
    close(one);
    close(listening);
}

/* --- names --- */

static void a_name_is_cut_to_the_room_there_is(void)
{
    struct sock_peer v4 = {.address = {10, 20, 30, 40}, .port = 65535, .family = AF_INET};
    struct sock_peer v6 = {.port = 65535, .family = AF_INET6};
    char name[64];

    memset(v6.address, 0xfe, sizeof v6.address);
    sock_name_peer(&v4, name, sizeof name);
    CU_ASSERT_STRING_EQUAL(name, "10.20.30.40:65535");
    sock_name_peer(&v6, name, sizeof name);
    CU_ASSERT_STRING_EQUAL(name, "[fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe]:65535");
    memset(name, '#', sizeof name);
    sock_name_peer(&v4, name, 8);
    CU_ASSERT_STRING_EQUAL(name, "10.20.3");
    CU_ASSERT_EQUAL(name[8], '#');
    sock_name_peer(&(struct sock_peer){.family = AF_UNIX}, name, 3);
    CU_ASSERT_STRING_EQUAL(name, "un");
}

static const struct unit_case cases[] = {
    CASE(a_connection_is_accepted_with_the_name_of_its_peer),
    CASE(a_connection_over_ipv6_has_its_name_in_brackets),
    CASE(a_port_that_is_chosen_is_the_one_bound_and_in_use_is_refused),
    CASE(a_port_whose_server_just_ended_can_be_listened_on_again),
    CASE(a_name_that_does_not_exist_is_an_address_error),
    CASE(an_address_of_another_machine_is_a_system_error),
    CASE(a_unix_socket_accepts_and_its_peer_is_called_unix),
    CASE(a_stale_socket_file_is_replaced),
    CASE(a_socket_file_in_use_is_refused_and_goes_on_working),
    CASE(another_kind_of_file_is_refused_and_left_alone),
    CASE(a_path_may_be_as_long_as_the_address_and_not_longer),
    CASE(a_path_that_cannot_be_is_a_system_error),
    CASE(a_listening_stream_socket_is_adopted),
    CASE(a_descriptor_that_is_none_is_refused_with_the_reason_and_left_alone),
    CASE(a_stream_socket_of_another_family_is_refused),
    CASE(accept_on_what_does_not_listen_is_a_system_error),
    CASE(without_a_descriptor_accept_asks_to_back_off_and_the_connection_is_not_lost),
    CASE(a_connection_that_was_reset_while_it_waited_does_no_harm),
    CASE(a_name_is_cut_to_the_room_there_is),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "sock", cases, sizeof cases / sizeof cases[0]);
}
