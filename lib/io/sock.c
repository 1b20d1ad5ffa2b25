/* Listening sockets; see sock.h. */
#include "io/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "weft/error.h"

static int fail_closing(int fd)
{
    int saved = errno;
    close(fd);
    errno = saved;
    return WEFT_E_SYSTEM;
}

static int read_port(int fd, uint16_t *port)
{
    struct sockaddr_storage a;
    socklen_t n = sizeof a;

    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        return WEFT_E_SYSTEM;
    *port = 0;
    if (a.ss_family == AF_INET)
        *port = ntohs(((struct sockaddr_in *)&a)->sin_port);
    else if (a.ss_family == AF_INET6)
        *port = ntohs(((struct sockaddr_in6 *)&a)->sin6_port);
    return WEFT_OK;
}

static int listen_on(const struct addrinfo *a, int backlog)
{
    int one = 1;
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);

    if (fd < 0)
        return WEFT_E_SYSTEM;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, backlog) != 0)
        return fail_closing(fd);
    return fd;
}

int sock_listen_tcp(const char *host, uint16_t port, int backlog, uint16_t *bound)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found;
    char service[8];
    int fd = WEFT_E_ADDRESS, code;

    snprintf(service, sizeof service, "%u", port);
    code = getaddrinfo(host ? host : "127.0.0.1", service, &hints, &found);
    if (code != 0)
        return code == EAI_MEMORY ? WEFT_E_NOMEM : code == EAI_SYSTEM ? WEFT_E_SYSTEM : WEFT_E_ADDRESS;
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
        fd = listen_on(a, backlog);
    freeaddrinfo(found);
    if (fd >= 0 && bound && read_port(fd, bound) != WEFT_OK)
        return fail_closing(fd);
    return fd;
}

/* Only a socket file that refuses connections is left over from a server that is gone. */
static bool is_stale(const struct sockaddr_un *a)
{
    struct stat st;
    int fd;
    bool stale;

    if (lstat(a->sun_path, &st) != 0)
        return false;
    if (!S_ISSOCK(st.st_mode)) {
        errno = EEXIST;
        return false;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    stale = connect(fd, (const struct sockaddr *)a, sizeof *a) != 0 && errno == ECONNREFUSED;
    close(fd);
    errno = EADDRINUSE;
    return stale;
}

int sock_listen_unix(const char *path, int backlog)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof a.sun_path || !*path) {
        errno = ENAMETOOLONG;
        return WEFT_E_SYSTEM;
    }
    memcpy(a.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return WEFT_E_SYSTEM;
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        if (errno != EADDRINUSE || !is_stale(&a))
            return fail_closing(fd);
        unlink(path);
        if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0)
            return fail_closing(fd);
    }
    if (listen(fd, backlog) != 0)
        return fail_closing(fd);
    return fd;
}

static int option_of(int fd, int name)
{
    int value = 0;
    socklen_t n = sizeof value;

    return getsockopt(fd, SOL_SOCKET, name, &value, &n) == 0 ? value : -1;
}

static bool is_served(int domain, int protocol)
{
    bool is_internet = domain == AF_INET || domain == AF_INET6;

    return domain == AF_UNIX || (is_internet && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP));
}

/* What is wrong with it; NULL: nothing. */
static const char *fault_of(int fd)
{
    int type = option_of(fd, SO_TYPE);

    if (type < 0)
        return errno == EBADF ? "is not open" : "is not a socket";
    if (type != SOCK_STREAM)
        return "is not a stream socket";
    if (!is_served(option_of(fd, SO_DOMAIN), option_of(fd, SO_PROTOCOL)))
        return "is neither a TCP nor a Unix socket";
    return option_of(fd, SO_ACCEPTCONN) == 1 ? NULL : "does not listen";
}

int sock_adopt(int fd)
{
    const char *fault = fault_of(fd);

    if (fault) {
        LOG(WEFT_LOG_ERROR, 0, "descriptor %d %s", fd, fault);
        return WEFT_E_INVAL;
    }
    /* Neither fails on a descriptor that is open. */
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, fcntl(fd, F_GETFD) | FD_CLOEXEC);
    return WEFT_OK;
}

static void note_peer(struct sock_peer *peer, const struct sockaddr_storage *a)
{
    memset(peer, 0, sizeof *peer);
    peer->family = a->ss_family;
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)a;
        memcpy(peer->address, &in->sin_addr, sizeof in->sin_addr);
        peer->port = ntohs(in->sin_port);
    } else if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;
        memcpy(peer->address, &in6->sin6_addr, sizeof in6->sin6_addr);
        peer->port = ntohs(in6->sin6_port);
    }
}

static int result_of_accept(void)
{
    switch (errno) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return WEFT_E_NOMEM;
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
    case EFAULT:
        return WEFT_E_SYSTEM;
    default: /* EAGAIN, EINTR, and the network errors of the connection itself */
        return WEFT_E_AGAIN;
    }
}

int sock_accept(int listen_fd, struct sock_peer *peer)
{
    struct sockaddr_storage a = {.ss_family = AF_UNSPEC};
    socklen_t n = sizeof a;
    int fd = accept4(listen_fd, (struct sockaddr *)&a, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int one = 1;

    if (fd < 0)
        return result_of_accept();
    if (a.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    note_peer(peer, &a);
    return fd;
}

void sock_peer_of(int fd, struct sock_peer *peer)
{
    struct sockaddr_storage a = {.ss_family = AF_UNSPEC};
    socklen_t n = sizeof a;

    if (getpeername(fd, (struct sockaddr *)&a, &n) != 0)
        a.ss_family = AF_UNSPEC;
    note_peer(peer, &a);
}

/* Closing a socket over what was not read makes a reset. */
static void forget_input(int fd)
{
    char bytes[4096];

    for (int i = 0; i < 4 && recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0; i++) {
    }
}

void sock_say_last(int fd, const char *text, size_t n)
{
    forget_input(fd);
    if (send(fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        shutdown(fd, SHUT_WR);
}

void sock_drop(int fd)
{
    forget_input(fd);
    close(fd);
}

void sock_name_peer(const struct sock_peer *peer, char *out, size_t room)
{
    char text[INET6_ADDRSTRLEN] = "";

    if (peer->family == AF_INET || peer->family == AF_INET6)
        inet_ntop(peer->family, peer->address, text, sizeof text);
    if (peer->family == AF_INET)
        snprintf(out, room, "%s:%u", text, peer->port);
    else if (peer->family == AF_INET6)
        snprintf(out, room, "[%s]:%u", text, peer->port);
    else
        snprintf(out, room, "unix");
}
