/* Each allocation and each system call fails in turn, with both ends of a connection in one process: over a
 * socket in the file system, over TCP with the server found by its name, and over a socket that the program
 * made. */
#include "failing.h"
#include "failing_session.h"
#include "unit.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char path[64];

static int listen_in_files(struct failing_session *f, weft_server *s)
{
    snprintf(f->url, sizeof f->url, "ws+unix://%s", path);
    return weft_server_listen_unix(s, path);
}

static int listen_by_name(struct failing_session *f, weft_server *s)
{
    uint16_t port = 0;
    int rc = weft_server_listen_tcp(s, FAILING_NAME, 0, &port);

    snprintf(f->url, sizeof f->url, "ws://%s:%u/", FAILING_NAME, port);
    return rc;
}

/* The program's own socket, which here does not fail. */
int __real_socket(int domain, int type, int protocol);
int __real_listen(int fd, int backlog);
int __real_bind(int fd, const struct sockaddr *a, socklen_t n);
int __real_getsockname(int fd, struct sockaddr *a, socklen_t *n);

static int listen_on_given(struct failing_session *f, weft_server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = __real_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

    if (fd < 0 || __real_bind(fd, (struct sockaddr *)&a, n) != 0 || __real_listen(fd, 8) != 0 ||
        __real_getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        abort();
    snprintf(f->url, sizeof f->url, "ws://127.0.0.1:%u/", ntohs(a.sin_port));
    rc = weft_server_listen_fd(s, fd);
    if (rc != WEFT_OK)
        close(fd);
    return rc;
}

/* --- */

static void begin(void)
{
    strcpy(path, "/tmp/weft-failing-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(path));
    strcat(path, "/s");
    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
}

static void end(void)
{
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
    unlink(path);
    path[strlen(path) - 2] = '\0';
    rmdir(path);
}

static void fail_allocations(struct failing_session f)
{
    begin();
    CU_ASSERT(failing_allocations(failing_session_run, &f, &failing_memory, 1) > 60);
    end();
}

static void fail_calls(struct failing_session f)
{
    unsigned failures;

    begin();
    failures = failing_calls(failing_session_run, &f, unit_is_slow() ? 4 : 1);
    CU_ASSERT(failures > 50);
    printf("  %u failures\n", failures);
    end();
}

static void straight_line_programs_survive_each_allocation(void)
{
    fail_allocations((struct failing_session){.listen = listen_in_files});
}

static void clients_with_threads_of_their_own_survive_it_too(void)
{
    fail_allocations((struct failing_session){.listen = listen_by_name, .has_own_client = true});
}

static void callbacks_survive_it_too(void)
{
    fail_allocations((struct failing_session){.listen = listen_on_given, .is_inline = true});
}

static void straight_line_programs_survive_each_call(void)
{
    fail_calls((struct failing_session){.listen = listen_in_files});
}

static void names_and_threads_of_the_client_survive_each_call(void)
{
    fail_calls((struct failing_session){.listen = listen_by_name, .has_own_client = true});
}

static void callbacks_on_a_given_socket_survive_each_call(void)
{
    fail_calls(
        (struct failing_session){.listen = listen_on_given, .is_inline = true, .has_own_client = true});
}

static const struct unit_case cases[] = {
    CASE(straight_line_programs_survive_each_allocation),
    CASE(clients_with_threads_of_their_own_survive_it_too),
    CASE(callbacks_survive_it_too),
    CASE(straight_line_programs_survive_each_call),
    CASE(names_and_threads_of_the_client_survive_each_call),
    CASE(callbacks_on_a_given_socket_survive_each_call),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "failing_calls", cases, sizeof cases / sizeof cases[0]);
}
