/* For conformance over TLS: the program itself stays as it is, and speaks to the peer through a tunnel, whose TLS is
 * OpenSSL's.
 *
 *     tls_tunnel client HOST:PORT COMMAND...             {tunnel} of COMMAND leads to a server over TLS at HOST:PORT
 *     tls_tunnel server CERT KEY HOST:PORT COMMAND...    {tunnel} is over TLS, and leads to a plain server at HOST:PORT
 *
 * It listens on a free port of 127.0.0.1, runs COMMAND and ends as that does. Ends of TCP are passed on, an end of TLS
 * among them, resets as resets. One thread for each connection, as long as it lives. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES_MAX 16384
#define SHAKE_MS  30000 /* a silence in the handshake */
#define CANNOT    2

/* Bytes on their way: read and not written yet. */
struct pipe {
    char bytes[BYTES_MAX];
    size_t n, done;
    bool has_end, has_passed_end;
};

struct tunnel {
    int plain_fd, tls_fd;
    SSL *ssl;
    struct pipe to_tls, to_plain;
    bool is_reset;
};

static struct sockaddr_in target;
static SSL_CTX *context;
static bool is_client;

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "tls_tunnel: %s: %s\n", what, strerror(errno));
    exit(CANNOT);
}

static bool has_room(const struct pipe *p)
{
    return !p->has_end && p->n == 0;
}

/* --- the plain side --- */

static void read_plain(struct tunnel *t)
{
    struct pipe *p = &t->to_tls;
    ssize_t n = recv(t->plain_fd, p->bytes, sizeof p->bytes, 0);

    if (n > 0)
        p->n = (size_t)n;
    else if (n == 0)
        p->has_end = true;
    else if (errno != EAGAIN)
        t->is_reset = true;
}

static void write_plain(struct tunnel *t)
{
    struct pipe *p = &t->to_plain;
    ssize_t n = p->n ? send(t->plain_fd, p->bytes + p->done, p->n - p->done, MSG_NOSIGNAL) : 0;

    if (n < 0 && errno != EAGAIN)
        t->is_reset = true;
    p->done += n > 0 ? (size_t)n : 0;
    if (p->done == p->n)
        p->done = p->n = 0;
    if (p->has_end && p->n == 0 && !p->has_passed_end) {
        shutdown(t->plain_fd, SHUT_WR);
        p->has_passed_end = true;
    }
}

/* --- the side of TLS --- */

/* True when it has to wait. */
static bool waits(struct tunnel *t, int rc)
{
    int error = SSL_get_error(t->ssl, rc);

    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return true;
    if (error == SSL_ERROR_ZERO_RETURN)
        t->to_plain.has_end = true;
    else
        t->is_reset = true;
    ERR_clear_error();
    return false;
}

static void read_tls(struct tunnel *t)
{
    size_t n = 0;
    int rc = SSL_read_ex(t->ssl, t->to_plain.bytes, sizeof t->to_plain.bytes, &n);

    if (rc == 1)
        t->to_plain.n = n;
    else
        waits(t, rc);
}

static void write_tls(struct tunnel *t)
{
    struct pipe *p = &t->to_tls;
    size_t n = 0;
    int rc = p->n ? SSL_write_ex(t->ssl, p->bytes + p->done, p->n - p->done, &n) : 1;

    if (rc != 1)
        waits(t, rc);
    p->done += n;
    if (p->done == p->n)
        p->done = p->n = 0;
    if (p->has_end && p->n == 0 && !p->has_passed_end) {
        SSL_shutdown(t->ssl);
        shutdown(t->tls_fd, SHUT_WR);
        p->has_passed_end = true;
    }
}

/* --- both --- */

static void move(struct tunnel *t)
{
    struct pollfd p[2] = {{t->plain_fd, 0, 0}, {t->tls_fd, 0, 0}};

    p[0].events = (short)((has_room(&t->to_tls) ? POLLIN : 0) | (t->to_plain.n ? POLLOUT : 0));
    p[1].events = (short)(POLLIN * has_room(&t->to_plain) | (t->to_tls.n ? POLLOUT : 0));
    if (!(has_room(&t->to_plain) && SSL_has_pending(t->ssl)))
        poll(p, 2, p[0].events | p[1].events ? -1 : 100);
    if (has_room(&t->to_tls))
        read_plain(t);
    if (!t->is_reset)
        write_tls(t);
    if (!t->is_reset && has_room(&t->to_plain))
        read_tls(t);
    if (!t->is_reset)
        write_plain(t);
}

static bool shake(struct tunnel *t)
{
    int rc;

    while ((rc = SSL_do_handshake(t->ssl)) != 1) {
        struct pollfd p = {t->tls_fd, POLLIN, 0};
        if (!waits(t, rc) || poll(&p, 1, SHAKE_MS) != 1)
            return false;
    }
    return true;
}

static void end(int fd, bool with_reset)
{
    struct linger reset = {1, 0};

    if (with_reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(fd);
}

static int prepare(int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void *live(void *arg)
{
    struct tunnel *t = arg;

    t->is_reset = !shake(t);
    while (!t->is_reset && !(t->to_tls.has_passed_end && t->to_plain.has_passed_end))
        move(t);
    end(t->plain_fd, t->is_reset);
    end(t->tls_fd, t->is_reset);
    SSL_free(t->ssl);
    free(t);
    return NULL;
}

static void begin(int accepted)
{
    struct tunnel *t = calloc(1, sizeof *t);
    int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pthread_t thread;

    if (!t || connect(other, (struct sockaddr *)&target, sizeof target) != 0) {
        free(t);
        close(other);
        close(accepted);
        return;
    }
    t->plain_fd = prepare(is_client ? accepted : other);
    t->tls_fd = prepare(is_client ? other : accepted);
    t->ssl = SSL_new(context);
    SSL_set_fd(t->ssl, t->tls_fd);
    if (is_client)
        SSL_set_connect_state(t->ssl);
    else
        SSL_set_accept_state(t->ssl);
    if (pthread_create(&thread, NULL, live, t) != 0)
        die("thread");
    pthread_detach(thread);
}

static void *accept_all(void *arg)
{
    int fd;

    while ((fd = accept4(*(int *)arg, NULL, NULL, SOCK_CLOEXEC)) >= 0 || errno == ECONNABORTED ||
           errno == EINTR)
        if (fd >= 0)
            begin(fd);
    die("accept");
}

static int listen_anywhere(char port[8])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&address, n) != 0 || listen(fd, 1024) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &n) != 0)
        die("listen");
    snprintf(port, 8, "%u", ntohs(address.sin_port));
    return fd;
}

/* As HOST:PORT or as ws://HOST:PORT/ */
static void take_target(char *where)
{
    char *colon;

    if (strncmp(where, "ws://", 5) == 0)
        where += 5;
    colon = strrchr(where, ':');

    errno = EINVAL;
    if (!colon)
        die(where);
    *colon = '\0';
    target.sin_family = AF_INET;
    target.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, where, &target.sin_addr) != 1)
        die(where);
}

/* {tunnel} in the command's arguments. */
static void fill_in(char **command, const char *port)
{
    for (char **a = command; *a; a++) {
        char *at = strstr(*a, "{tunnel}"), *whole;
        if (at && asprintf(&whole, "%.*s%s%s", (int)(at - *a), *a, port, at + 8) > 0)
            *a = whole;
    }
}

static int run(char **command)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        execvp(command[0], command);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        die("run");
    return WIFEXITED(status) ? WEXITSTATUS(status) : CANNOT;
}

int main(int argc, char **argv)
{
    static int listen_fd;
    char port[8], **command;
    pthread_t thread;

    is_client = argc > 3 && strcmp(argv[1], "client") == 0;
    if (!is_client && (argc < 6 || strcmp(argv[1], "server") != 0)) {
        fprintf(stderr,
                "usage: tls_tunnel client HOST:PORT COMMAND... | server CERT KEY HOST:PORT COMMAND...\n");
        return CANNOT;
    }
    signal(SIGPIPE, SIG_IGN);
    context = SSL_CTX_new(is_client ? TLS_client_method() : TLS_server_method());
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (!is_client && (SSL_CTX_use_certificate_chain_file(context, argv[2]) != 1 ||
                       SSL_CTX_use_PrivateKey_file(context, argv[3], SSL_FILETYPE_PEM) != 1))
        die("certificate");
    take_target(argv[is_client ? 2 : 4]);
    command = argv + (is_client ? 3 : 5);
    listen_fd = listen_anywhere(port);
    fill_in(command, port);
    if (pthread_create(&thread, NULL, accept_all, &listen_fd) != 0)
        die("thread");
    return run(command);
}
