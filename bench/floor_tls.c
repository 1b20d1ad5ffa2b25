/* What does an echo over TLS cost that looks at nothing?
 *
 * floor_tls is to weft over TLS what floor.c is to plain weft: epoll, level triggered, one thread, OpenSSL, and what
 * was decrypted in one wake of a connection goes back as it is. OpenSSL reads ahead, so that many records cost one
 * system call, and gives the buffers of an idle connection back.
 *
 *     floor_tls --cert FILE --key FILE [--host ADDRESS] [--port N]
 *
 * A connection that does not take its echo is read again when it has. No limits, no timeouts, loopback by default. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define READ_BYTES_MAX ((size_t)512 * 1024)
#define AHEAD_BYTES    ((size_t)128 * 1024)
#define EVENTS_MAX     512

struct peer {
    int fd;
    SSL *ssl;
    char *rest; /* decrypted and not taken yet; NULL when there is none */
    size_t rest_bytes, rest_done;
};

static int epoll_fd, listen_fd, signal_fd;
static SSL_CTX *context;
static char bytes[READ_BYTES_MAX];

static _Noreturn void die(const char *what)
{
    unsigned long error = ERR_get_error();

    fprintf(stderr, "floor_tls: %s: %s\n", what, error ? ERR_reason_error_string(error) : strerror(errno));
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
    SSL_free(p->ssl);
    ERR_clear_error();
    close(p->fd);
    free(p->rest);
    free(p);
}

static void accept_all(void)
{
    int fd, on = 1;

    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct peer *p = calloc(1, sizeof *p);
        if (!p || !(p->ssl = SSL_new(context)) || !SSL_set_fd(p->ssl, fd))
            die("memory");
        p->fd = fd;
        SSL_set_accept_state(p->ssl);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, p);
    }
    if (errno == EMFILE || errno == ENFILE)
        die("accept");
}

/* The bytes of a call that did something, 0 when it has to wait, -1 when the connection is over. */
static ssize_t done_or_waits(struct peer *p, int rc, size_t n)
{
    int error;

    if (rc > 0)
        return (ssize_t)n;
    error = SSL_get_error(p->ssl, rc);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* False: the connection is over. */
static bool send_all(struct peer *p, const char *from, size_t count, size_t *sent)
{
    while (*sent < count) {
        size_t n = 0;
        int rc = SSL_write_ex(p->ssl, from + *sent, count - *sent, &n);
        ssize_t done = done_or_waits(p, rc, n);
        if (done <= 0)
            return done == 0;
        *sent += (size_t)done;
    }
    return true;
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
    size_t got = 0, sent = 0;
    ssize_t done;

    do {
        size_t n = 0;
        int rc = SSL_read_ex(p->ssl, bytes + got, sizeof bytes - got, &n);
        done = done_or_waits(p, rc, n);
        got += done > 0 ? (size_t)done : 0;
    } while (done > 0 && got < sizeof bytes && SSL_has_pending(p->ssl));
    if ((got == 0 && done < 0) || !send_all(p, bytes, got, &sent)) {
        drop(p);
        return;
    }
    if (sent < got)
        keep_rest(p, bytes + sent, got - sent);
}

static void send_rest(struct peer *p)
{
    if (!send_all(p, p->rest, p->rest_bytes, &p->rest_done)) {
        drop(p);
        return;
    }
    if (p->rest_done < p->rest_bytes)
        return;
    free(p->rest);
    p->rest = NULL;
    watch(EPOLL_CTL_MOD, p->fd, EPOLLIN, p);
    echo(p); /* of what was read ahead epoll does not tell */
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

static void make_context(const char *cert, const char *key)
{
    context = SSL_CTX_new(TLS_server_method());
    if (!context || SSL_CTX_use_certificate_chain_file(context, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        die("certificate");
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, AHEAD_BYTES);
    SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256");
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
    signal(SIGPIPE, SIG_IGN);
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
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                            {"host", required_argument, NULL, 'h'},
                                            {"cert", required_argument, NULL, 'c'},
                                            {"key", required_argument, NULL, 'k'},
                                            {0}};
    const char *host = "127.0.0.1", *cert = NULL, *key = NULL;
    unsigned long port = 0;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h')
            host = optarg;
        else if (option == 'c')
            cert = optarg;
        else if (option == 'k')
            key = optarg;
        else if (option == 'p')
            port = strtoul(optarg, NULL, 10);
        else
            port = UINT16_MAX + 1ul;
    }
    if (optind < argc || port > UINT16_MAX || !cert || !key) {
        fprintf(stderr,
                "usage: floor_tls --cert FILE --key FILE [--host ADDRESS] [--port N]   (0 picks a port)\n");
        return 2;
    }
    raise_descriptor_limit();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    take_signals();
    make_context(cert, key);
    listen_on(host, (uint16_t)port);
    serve();
    return 0;
}
