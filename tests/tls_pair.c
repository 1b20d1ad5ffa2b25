/* Two ends of a TLS connection in one thread; see tls_pair.h. */
#include "tls_pair.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "weft/error.h"

#define STEPS_MAX   200
#define PATIENCE_MS 10000

static char directory[64];
uint16_t pair_port = 1;

static void run(const char *program, const char *first, const char *second)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        execlp(program, program, first, second, (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "%s failed\n", program);
        exit(1);
    }
}

void certs_make(void)
{
    strcpy(directory, "/tmp/weft-certs-XXXXXX");
    if (!mkdtemp(directory))
        abort();
    run(MAKE_CERTS, directory, NULL);
}

void certs_remove(void)
{
    run("rm", "-r", directory);
}

const char *cert(const char *file)
{
    static char paths[16][128];
    static unsigned next;
    char *path = paths[next++ % 16];

    snprintf(path, sizeof paths[0], "%s/%s", directory, file);
    return path;
}

struct tls_key_pair key_pair(const char *name)
{
    char file[64];
    struct tls_key_pair pair = {0};

    snprintf(file, sizeof file, "%s.pem", name);
    pair.cert_file = cert(file);
    snprintf(file, sizeof file, "%s.key", name);
    pair.key_file = cert(file);
    return pair;
}

struct tls_options server_options(const char *name)
{
    return (struct tls_options){.role = TLS_SERVER, .own = key_pair(name)};
}

struct tls_options client_options(void)
{
    return (struct tls_options){.role = TLS_CLIENT, .ca_file = cert("ca.pem")};
}

struct tls_context *context_of(const struct tls_options *o)
{
    struct tls_context *c;
    char why[256];

    if (tls_context_new(&c, o, why, sizeof why) != WEFT_OK) {
        fprintf(stderr, "no context: %s\n", why);
        abort();
    }
    return c;
}

bool context_fails(const struct tls_options *o, const char *text)
{
    struct tls_context *c;
    char why[256] = "";
    bool failed = tls_context_new(&c, o, why, sizeof why) == WEFT_E_INVAL && !c;

    if (!failed || !strstr(why, text))
        fprintf(stderr, "expected '%s', got '%s'\n", text, why);
    tls_context_unref(c);
    return failed && strstr(why, text);
}

static void make_tcp_pair(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    socklen_t n = sizeof address;

    fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listening, (struct sockaddr *)&address, n) != 0 || listen(listening, 1) != 0 ||
        getsockname(listening, (struct sockaddr *)&address, &n) != 0 ||
        connect(fds[1], (struct sockaddr *)&address, n) != 0)
        abort();
    fds[0] = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    close(listening);
    for (int i = 0; i < 2; i++) {
        fcntl(fds[i], F_SETFL, O_NONBLOCK);
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    }
}

void fds_pair(int fds[2], enum pair_kind kind)
{
    if (kind == PAIR_TCP)
        make_tcp_pair(fds);
    else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
}

bool fd_wait(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, PATIENCE_MS) == 1;
}

void pair_open(struct tls_pair *p, struct tls_context *server, struct tls_context *client, const char *host,
               enum pair_kind kind)
{
    int fds[2];

    fds_pair(fds, kind);
    p->server = (struct tls_side){tls_new(server, NULL, 0), fds[0], WEFT_E_AGAIN, tls_scratch_new(0, 0)};
    p->client =
        (struct tls_side){tls_new(client, host, pair_port), fds[1], WEFT_E_AGAIN, tls_scratch_new(0, 0)};
    if (!p->server.t || !p->client.t || !p->server.s || !p->client.s)
        abort();
}

static void step(struct tls_side *side)
{
    if (side->rc == WEFT_E_AGAIN)
        side->rc = tls_handshake(side->t, side->fd, side->s);
    if (tls_has_output(side->t))
        tls_flush(side->t, side->fd);
    /* As a loop would: who failed is closed. */
    if (side->rc != WEFT_OK && side->rc != WEFT_E_AGAIN)
        shutdown(side->fd, SHUT_WR);
}

bool pair_shake(struct tls_pair *p)
{
    for (int i = 0; i < STEPS_MAX && (p->server.rc == WEFT_E_AGAIN || p->client.rc == WEFT_E_AGAIN); i++) {
        struct pollfd fds[2] = {{.fd = p->server.fd, .events = POLLIN},
                                {.fd = p->client.fd, .events = POLLIN}};

        step(&p->client);
        step(&p->server);
        if (p->server.rc == WEFT_E_AGAIN && p->client.rc == WEFT_E_AGAIN)
            poll(fds, 2, PATIENCE_MS);
    }
    return p->server.rc == WEFT_OK && p->client.rc == WEFT_OK;
}

bool pair_meet(struct tls_pair *p, struct tls_context *server, struct tls_context *client, const char *host)
{
    pair_open(p, server, client, host, PAIR_UNIX);
    return pair_shake(p);
}

static void side_close(struct tls_side *side)
{
    tls_free(side->t);
    tls_scratch_free(side->s);
    close(side->fd);
}

void pair_close(struct tls_pair *p)
{
    side_close(&p->client);
    side_close(&p->server);
}

bool side_write(struct tls_side *from, const void *p, size_t n)
{
    while (n) {
        struct iovec iov = {(void *)p, n};
        ptrdiff_t took = tls_write(from->t, from->fd, from->s, &iov, 1);
        if (took == WEFT_E_AGAIN) {
            if (!fd_wait(from->fd, POLLOUT))
                return false;
            continue;
        }
        if (took <= 0)
            return false;
        p = (const char *)p + took;
        n -= (size_t)took;
    }
    while (tls_has_output(from->t))
        if (tls_flush(from->t, from->fd) == WEFT_E_CLOSED || !fd_wait(from->fd, POLLOUT))
            return false;
    return true;
}

ptrdiff_t side_read_once(struct tls_side *to, void *p, size_t n)
{
    for (;;) {
        struct iovec iov = {p, n};
        ptrdiff_t got = tls_read(to->t, to->fd, to->s, &iov, 1);
        if (got != WEFT_E_AGAIN || !fd_wait(to->fd, POLLIN))
            return got;
    }
}

bool side_read(struct tls_side *to, void *p, size_t n)
{
    while (n) {
        ptrdiff_t got = side_read_once(to, p, n);
        if (got <= 0)
            return false;
        p = (char *)p + got;
        n -= (size_t)got;
    }
    return true;
}

const char *side_error(const struct tls_side *side)
{
    static char text[2][256];
    static unsigned next;
    char *out = text[next++ % 2];

    tls_error_text(side->t, out, sizeof text[0]);
    return out;
}
