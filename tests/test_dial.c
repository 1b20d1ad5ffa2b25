/* Dialing on the loopback: servers that answer, that refuse, and that never do. One whose queue of
 * connections is full drops what comes, which from outside is the black hole of a dead route. */
#include "unit.h"
#include "io/dial.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "weft/error.h"

#define FILLERS_MAX 8

struct server {
    int fd;
    struct resolve_address address;
    int fillers[FILLERS_MAX];
    int filler_count;
};

static struct dial_how within(uint64_t ms, uint32_t delay_ms)
{
    return (struct dial_how){.limit = {clock_now_ms() + ms, -1}, .attempt_delay_ms = delay_ms};
}

static struct resolve_address loopback(int family)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct resolve_address a = {.bytes = family == AF_INET ? sizeof v4 : sizeof v6};

    memcpy(&a.at, family == AF_INET ? (void *)&v4 : (void *)&v6, a.bytes);
    return a;
}

/* Bound but not listening: whoever dials it is refused, and nobody else gets its port meanwhile. */
static struct server refuse_on(int family)
{
    struct server s = {.address = loopback(family)};

    s.fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CU_ASSERT_EQUAL_FATAL(bind(s.fd, (struct sockaddr *)&s.address.at, s.address.bytes), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(s.fd, (struct sockaddr *)&s.address.at, &s.address.bytes), 0);
    return s;
}

static struct server answer_on(int family)
{
    struct server s = refuse_on(family);

    CU_ASSERT_EQUAL_FATAL(listen(s.fd, 16), 0);
    return s;
}

/* Fill the queue until a connection stays under way. */
static struct server swallow_on(int family)
{
    struct server s = refuse_on(family);
    bool is_full = false;

    CU_ASSERT_EQUAL_FATAL(listen(s.fd, 0), 0);
    while (!is_full && s.filler_count < FILLERS_MAX) {
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct pollfd p = {.fd = fd, .events = POLLOUT};

        connect(fd, (struct sockaddr *)&s.address.at, s.address.bytes);
        is_full = poll(&p, 1, 50) == 0;
        s.fillers[s.filler_count++] = fd;
    }
    CU_ASSERT_FATAL(is_full);
    CU_ASSERT_FATAL(s.filler_count < FILLERS_MAX);
    s.fillers[s.filler_count] = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    connect(s.fillers[s.filler_count++], (struct sockaddr *)&s.address.at, s.address.bytes); /* were it only slow */
    return s;
}

static void end(struct server *s)
{
    while (s->filler_count > 0)
        close(s->fillers[--s->filler_count]);
    close(s->fd);
}

static struct resolve_list list_of(const struct server *const *servers, size_t count)
{
    struct resolve_list list = {.count = count};

    for (size_t i = 0; i < count; i++)
        list.addresses[i] = servers[i]->address;
    return list;
}
#define LIST(...)                                                                                            \
    list_of((const struct server *const[]){__VA_ARGS__},                                                     \
            sizeof((const struct server *const[]){__VA_ARGS__}) / sizeof(struct server *))

static bool is_peer(int fd, const struct server *s)
{
    struct sockaddr_storage at;
    socklen_t n = sizeof at;

    memset(&at, 0, sizeof at);
    return getpeername(fd, (struct sockaddr *)&at, &n) == 0 && n == s->address.bytes &&
           memcmp(&at, &s->address.at, n) == 0;
}

static bool accepts(const struct server *s)
{
    int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void a_connection_is_non_blocking_without_delay_and_closed_on_exec(void)
{
    static const int families[] = {AF_INET, AF_INET6};

    for (size_t i = 0; i < 2; i++) {
        struct server s = answer_on(families[i]);
        struct resolve_list list = LIST(&s);
        struct dial_how how = within(20000, 0);
        int fd = dial_addresses(&list, &how), no_delay = 0;
        socklen_t n = sizeof no_delay;

        CU_ASSERT_FATAL(fd >= 0);
        CU_ASSERT(is_peer(fd, &s));
        CU_ASSERT(fcntl(fd, F_GETFL) & O_NONBLOCK);
        CU_ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        CU_ASSERT_EQUAL(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &no_delay, &n), 0);
        CU_ASSERT(no_delay);
        CU_ASSERT(accepts(&s));
        close(fd);
        end(&s);
    }
}

static void families_take_turns_and_ipv6_begins(void)
{
    static const int given[] = {AF_INET, AF_INET, AF_INET, AF_INET6, AF_INET6, AF_INET};
    static const int expected[] = {AF_INET6, AF_INET, AF_INET6, AF_INET, AF_INET, AF_INET};
    static const unsigned order[] = {3, 0, 4, 1, 2, 5};
    struct resolve_list list = {.count = 6};

    for (unsigned i = 0; i < 6; i++) {
        list.addresses[i].at.ss_family = (sa_family_t)given[i];
        list.addresses[i].bytes = i;
    }
    dial_interleave(&list);
    for (unsigned i = 0; i < 6; i++) {
        CU_ASSERT_EQUAL(list.addresses[i].at.ss_family, expected[i]);
        CU_ASSERT_EQUAL(list.addresses[i].bytes, order[i]);
    }
    CU_ASSERT_EQUAL(list.count, 6);
}

static void of_two_that_answer_ipv6_wins_and_the_other_is_not_dialed(void)
{
    struct server v4 = answer_on(AF_INET), v6 = answer_on(AF_INET6);
    struct resolve_list list = LIST(&v4, &v6);
    struct dial_how how = within(60000, 20000);
    int fd = dial_addresses(&list, &how);

    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT(is_peer(fd, &v6));
    CU_ASSERT_FALSE(accepts(&v4));
    close(fd);
    end(&v4);
    end(&v6);
}

/* With a delay of twenty seconds, only that a refusal starts the next attempt at once makes this quick. */
static void after_a_refusal_the_next_is_dialed_at_once(void)
{
    struct server no6 = refuse_on(AF_INET6), no4 = refuse_on(AF_INET), v6 = refuse_on(AF_INET6),
                  v4 = answer_on(AF_INET);
    struct resolve_list list = LIST(&no6, &no4, &v6, &v4);
    struct dial_how how = within(60000, 20000);
    uint64_t began = clock_now_ms();
    int fd = dial_addresses(&list, &how);

    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT(is_peer(fd, &v4));
    CU_ASSERT(clock_now_ms() - began < 19000);
    close(fd);
    end(&no6);
    end(&no4);
    end(&v6);
    end(&v4);
}

static void one_that_never_answers_holds_nobody_up_for_longer_than_the_delay(void)
{
    struct server hole = swallow_on(AF_INET6), v4 = answer_on(AF_INET);
    struct resolve_list list = LIST(&hole, &v4);
    struct dial_how how = within(60000, 40);
    uint64_t began = clock_now_ms(), took;
    int fd = dial_addresses(&list, &how);

    took = clock_now_ms() - began;
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT(is_peer(fd, &v4));
    CU_ASSERT(took >= 40);
    CU_ASSERT(took < 30000);
    close(fd);
    end(&hole);
    end(&v4);
}

/* How long it took until the third one answered. */
static uint64_t dial_the_third(void)
{
    struct server hole = swallow_on(AF_INET), no4 = refuse_on(AF_INET), v4 = answer_on(AF_INET);
    struct resolve_list list = LIST(&hole, &no4, &v4);
    struct dial_how how = within(60000, 2000);
    uint64_t began = clock_now_ms(), took;
    int fd = dial_addresses(&list, &how);

    took = clock_now_ms() - began;
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT(is_peer(fd, &v4));
    CU_ASSERT(took >= 2000);
    close(fd);
    end(&hole);
    end(&no4);
    end(&v4);
    return took;
}

/* The first is under way without an answer, the second refuses: no delay is left to wait for before the third. A
 * stall may take as long as the delay, but not each time. */
static void a_refusal_beside_one_under_way_starts_the_next_at_once(void)
{
    uint64_t took = UINT64_MAX;

    for (int i = 0; i < 3 && took >= 3990; i++)
        took = dial_the_third();
    CU_ASSERT(took < 3990);
}

static int count_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

struct drain {
    struct server *server;
    pthread_t thread;
    int descriptors; /* when both attempts are under way */
    int stop_fd;
};

/* Takes the fillers out of the queue, so that the connection under way comes in with its next try. */
static void *drain(void *arg)
{
    struct drain *d = arg;
    struct pollfd fds[2] = {{.fd = d->server->fd, .events = POLLIN}, {.fd = d->stop_fd, .events = POLLIN}};

    while (count_descriptors() < d->descriptors)
        sched_yield();
    while (poll(fds, 2, -1) > 0 && !fds[1].revents)
        accepts(d->server);
    return NULL;
}

/* The slow one is not given up when the next is begun: here it is the one that gets through. */
static void an_attempt_goes_on_beside_the_next(void)
{
    struct server slow = swallow_on(AF_INET6), hole = swallow_on(AF_INET);
    struct resolve_list list = LIST(&slow, &hole);
    struct dial_how how = within(20000, 10);
    struct drain d = {.server = &slow, .stop_fd = eventfd(0, EFD_CLOEXEC)};
    uint64_t one = 1;
    int fd;

    d.descriptors = count_descriptors() + 2;
    CU_ASSERT_EQUAL_FATAL(pthread_create(&d.thread, NULL, drain, &d), 0);
    fd = dial_addresses(&list, &how);
    CU_ASSERT(fd >= 0);
    CU_ASSERT(is_peer(fd, &slow));
    CU_ASSERT_EQUAL(write(d.stop_fd, &one, sizeof one), sizeof one);
    pthread_join(d.thread, NULL);
    close(d.stop_fd);
    if (fd >= 0)
        close(fd);
    end(&slow);
    end(&hole);
}

static void an_address_that_fails_before_it_is_under_way_is_passed_over(void)
{
    struct server cut = refuse_on(AF_INET6), v4 = answer_on(AF_INET);
    struct resolve_list list, bad;
    struct dial_how how = within(10000, 1); /* counts as the shortest */
    int fd;

    cut.address.bytes = 4; /* no address at all */
    list = LIST(&cut, &v4, &cut);
    bad = LIST(&cut, &cut);
    fd = dial_addresses(&list, &how);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT(is_peer(fd, &v4));
    close(fd);
    CU_ASSERT_EQUAL(dial_addresses(&bad, &how), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, EINVAL);
    end(&cut);
    end(&v4);
}

static void when_all_refuse_the_reason_is_kept(void)
{
    struct server no6 = refuse_on(AF_INET6), no4 = refuse_on(AF_INET);
    struct resolve_list list = LIST(&no6, &no4), none = {.count = 0};
    struct dial_how how = within(20000, 0);

    errno = 0;
    CU_ASSERT_EQUAL(dial_addresses(&list, &how), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, ECONNREFUSED);
    CU_ASSERT_EQUAL(dial_addresses(&none, &how), WEFT_E_ADDRESS);
    end(&no6);
    end(&no4);
}

static void the_deadline_ends_all_attempts(void)
{
    struct server hole6 = swallow_on(AF_INET6), hole4 = swallow_on(AF_INET);
    struct resolve_list list = LIST(&hole6, &hole4);
    struct dial_how how = within(60, 10);
    uint64_t began = clock_now_ms();

    CU_ASSERT_EQUAL(dial_addresses(&list, &how), WEFT_E_TIMEOUT);
    CU_ASSERT(clock_now_ms() >= how.limit.deadline_ms);
    CU_ASSERT(clock_now_ms() - began < 20000);
    CU_ASSERT_EQUAL(dial_addresses(&list, &how), WEFT_E_TIMEOUT); /* it is over already */
    end(&hole6);
    end(&hole4);
}

struct canceler {
    pthread_t thread;
    int fd;
};

static void *cancel(void *arg)
{
    uint64_t one = 1;

    return write(((struct canceler *)arg)->fd, &one, sizeof one) == sizeof one ? arg : NULL;
}

static void who_cancels_is_not_kept(void)
{
    struct server hole = swallow_on(AF_INET), v4 = answer_on(AF_INET);
    struct resolve_list list = LIST(&hole), good = LIST(&v4);
    struct canceler c = {.fd = eventfd(0, EFD_CLOEXEC)};
    struct dial_how how = {.limit = {AWAIT_FOREVER, c.fd}};
    const char *reason;

    CU_ASSERT_EQUAL_FATAL(pthread_create(&c.thread, NULL, cancel, &c), 0);
    CU_ASSERT_EQUAL(dial_addresses(&list, &how), WEFT_E_CANCELED);
    pthread_join(c.thread, NULL);
    CU_ASSERT_EQUAL(dial_addresses(&good, &how), WEFT_E_CANCELED);
    CU_ASSERT_EQUAL(dial_tcp("127.0.0.1", 1, &how, &reason), WEFT_E_CANCELED);
    CU_ASSERT_EQUAL(dial_unix("/nowhere", &how), WEFT_E_CANCELED);
    close(c.fd);
    end(&hole);
    end(&v4);
}

static void without_descriptors_dialing_is_a_system_error(void)
{
    struct server s = answer_on(AF_INET);
    struct resolve_list list = LIST(&s);
    struct dial_how how = within(20000, 0);
    struct rlimit before, none;

    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 2; /* so many does poll look at */
    CU_ASSERT_EQUAL_FATAL(setrlimit(RLIMIT_NOFILE, &none), 0);
    CU_ASSERT_EQUAL(dial_addresses(&list, &how), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, EMFILE);
    CU_ASSERT_EQUAL(dial_unix("/nowhere", &how), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, EMFILE);
    setrlimit(RLIMIT_NOFILE, &before);
    end(&s);
}

/* --- names --- */

static int lookup(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    if (strcmp(host, "unknown.example") == 0)
        return EAI_NONAME;
    return getaddrinfo("127.0.0.1", service, hints, out);
}

static uint16_t port_of(const struct server *s)
{
    return ntohs(((const struct sockaddr_in *)&s->address.at)->sin_port);
}

static void a_host_is_looked_up_and_dialed(void)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "name.example"};
    struct server s = answer_on(AF_INET);
    struct dial_how how = within(20000, 0);
    const char *reason = NULL;

    resolve_set_lookup(lookup);
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        int fd = dial_tcp(hosts[i], port_of(&s), &how, &reason);
        CU_ASSERT(fd >= 0);
        CU_ASSERT(is_peer(fd, &s));
        close(fd);
    }
    CU_ASSERT_EQUAL(dial_tcp("unknown.example", 1, &how, &reason), WEFT_E_ADDRESS);
    CU_ASSERT_STRING_EQUAL(reason, gai_strerror(EAI_NONAME));
    resolve_set_lookup(NULL);
    end(&s);
}

/* --- sockets in the file system --- */

static char directory[64], path[108];

static int listen_unix(int backlog)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(directory, sizeof directory, "/tmp/weft-dial-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/s", directory);
    memcpy(a.sun_path, path, sizeof a.sun_path);
    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    CU_ASSERT_EQUAL_FATAL(listen(fd, backlog), 0);
    return fd;
}

static void remove_unix(int fd)
{
    close(fd);
    unlink(path);
    rmdir(directory);
}

static void a_socket_in_the_file_system_is_dialed(void)
{
    int listening = listen_unix(4), fd;
    struct dial_how how = within(20000, 0);
    char too_long[200];

    fd = dial_unix(path, &how);
    CU_ASSERT(fd >= 0);
    CU_ASSERT(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CU_ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    close(listening);
    CU_ASSERT_EQUAL(dial_unix(path, &how), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, ECONNREFUSED);
    unlink(path);
    CU_ASSERT_EQUAL(dial_unix(path, &how), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, ENOENT);
    rmdir(directory);
    memset(too_long, 'x', sizeof too_long);
    too_long[sizeof too_long - 1] = '\0';
    CU_ASSERT_EQUAL(dial_unix(too_long, &how), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, ENAMETOOLONG);
    CU_ASSERT_EQUAL(dial_unix("", &how), WEFT_E_SYSTEM);
}

static int dial_until_full(int *fds, int max)
{
    int count = 0;

    for (; count < max; count++) {
        struct dial_how how = within(30, 0);
        fds[count] = dial_unix(path, &how);
        if (fds[count] < 0)
            break;
    }
    return count;
}

static void *accept_one(void *arg)
{
    int fd = accept4(*(int *)arg, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return NULL;
}

static void a_full_queue_is_waited_for(void)
{
    int listening = listen_unix(0), fds[16], count = dial_until_full(fds, 16), fd;
    struct dial_how how = within(10000, 0);
    pthread_t thread;

    CU_ASSERT_FATAL(count > 0 && count < 16);
    CU_ASSERT_EQUAL(fds[count], WEFT_E_TIMEOUT);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, accept_one, &listening), 0);
    fd = dial_unix(path, &how);
    CU_ASSERT(fd >= 0);
    pthread_join(thread, NULL);
    close(fd);
    while (count > 0)
        close(fds[--count]);
    remove_unix(listening);
}

static const struct unit_case cases[] = {
    CASE(a_connection_is_non_blocking_without_delay_and_closed_on_exec),
    CASE(families_take_turns_and_ipv6_begins),
    CASE(of_two_that_answer_ipv6_wins_and_the_other_is_not_dialed),
    CASE(after_a_refusal_the_next_is_dialed_at_once),
    CASE(one_that_never_answers_holds_nobody_up_for_longer_than_the_delay),
    CASE(a_refusal_beside_one_under_way_starts_the_next_at_once),
    CASE(an_attempt_goes_on_beside_the_next),
    CASE(an_address_that_fails_before_it_is_under_way_is_passed_over),
    CASE(when_all_refuse_the_reason_is_kept),
    CASE(the_deadline_ends_all_attempts),
    CASE(who_cancels_is_not_kept),
    CASE(without_descriptors_dialing_is_a_system_error),
    CASE(a_host_is_looked_up_and_dialed),
    CASE(a_socket_in_the_file_system_is_dialed),
    CASE(a_full_queue_is_waited_for),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "dial", cases, sizeof cases / sizeof cases[0]);
}
