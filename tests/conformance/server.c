/* Listener and clients under test; see server.h. */
#include "server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "octets.h"

static void on_child(int number)
{
    (void)number; /* ppoll returns: that is all */
}

static void watch_children(struct server *s)
{
    struct sigaction action = {.sa_handler = on_child};
    sigset_t child;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &s->mask);
    sigdelset(&s->mask, SIGCHLD);
    sigaction(SIGCHLD, &action, NULL);
}

int server_open(struct server *s, unsigned port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int one = 1;

    *s = (struct server){.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
    if (s->listener < 0)
        return -1;
    setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s->listener, (struct sockaddr *)&address, length) != 0 || listen(s->listener, SOMAXCONN) != 0 ||
        getsockname(s->listener, (struct sockaddr *)&address, &length) != 0)
        return -1;
    snprintf(s->host, sizeof s->host, "127.0.0.1:%u", ntohs(address.sin_port));
    snprintf(s->url, sizeof s->url, "ws://%s/", s->host);
    watch_children(s);
    return 0;
}

int server_accept(const struct server *s)
{
    return accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* The argument with the address in place of "{url}". */
static char *with_url(const struct server *s, const char *argument)
{
    static const char name[] = "{url}";
    const char *at = strstr(argument, name);
    struct octets text = {0};

    if (at) {
        octets_put(&text, argument, (size_t)(at - argument));
        octets_put(&text, s->url, strlen(s->url));
        argument = at + sizeof name - 1;
    }
    octets_put(&text, argument, strlen(argument) + 1);
    return (char *)text.data;
}

static void become_client(const struct server *s, char *const *command)
{
    size_t count = 0;
    char **arguments;

    while (command[count])
        count++;
    arguments = memory_resize(NULL, count + 1, sizeof *arguments);
    for (size_t i = 0; i < count; i++)
        arguments[i] = with_url(s, command[i]);
    arguments[count] = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigprocmask(SIG_SETMASK, &s->mask, NULL);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    execvp(arguments[0], arguments);
    perror(arguments[0]);
    _exit(127);
}

int server_start(struct server *s, unsigned count, char *const *command)
{
    s->clients = memory_resize(NULL, count, sizeof *s->clients);
    fflush(stdout);
    for (; s->client_count < count; s->client_count++, s->running++) {
        pid_t pid = fork();

        if (pid < 0)
            return -1;
        if (pid == 0)
            become_client(s, command);
        s->clients[s->client_count] = pid;
    }
    return 0;
}

static void client_ended(struct server *s, pid_t *client, int status)
{
    bool exited = WIFEXITED(status);

    s->running--;
    *client = 0;
    if (exited && WEXITSTATUS(status) == 0)
        return;
    s->trouble++;
    fprintf(stderr, "a client under test ended %s %d\n", exited ? "with" : "by signal",
            exited ? WEXITSTATUS(status) : WTERMSIG(status));
}

static void reap(struct server *s, int flags)
{
    int status;

    for (unsigned i = 0; i < s->client_count; i++)
        if (s->clients[i] != 0 && waitpid(s->clients[i], &status, flags) == s->clients[i])
            client_ended(s, &s->clients[i], status);
}

static bool somebody_waits(const struct server *s)
{
    struct pollfd listener = {.fd = s->listener, .events = POLLIN};

    return poll(&listener, 1, 0) > 0;
}

/* The clients are looked after first: one that has ended may have left a connection behind. */
bool server_goes_on(struct server *s, bool cases_are_over, bool somebody_is_here, uint64_t idle_ms)
{
    reap(s, WNOHANG);
    if (idle_ms >= (!cases_are_over ? COME_LIMIT_MS : s->client_count > 0 ? END_LIMIT_MS : LEAVE_LIMIT_MS))
        return false;
    return s->client_count == 0 || s->running > 0 || somebody_is_here || somebody_waits(s);
}

unsigned server_fini(struct server *s)
{
    reap(s, WNOHANG);
    if (s->running > 0)
        fprintf(stderr, "%u clients under test do not end\n", s->running);
    for (unsigned i = 0; i < s->client_count; i++)
        if (s->clients[i] != 0)
            kill(s->clients[i], SIGKILL);
    reap(s, 0);
    free(s->clients);
    close(s->listener);
    return s->trouble;
}
