/* URLs, addresses and sockets; see target.h. */
#include "target.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_SOURCE 0x7f000002u /* 127.0.0.2 */
#define PROBE_S      3

static bool copy_text(char *out, size_t room, const char *from, size_t bytes)
{
    if (bytes >= room)
        return false;
    memcpy(out, from, bytes);
    out[bytes] = '\0';
    return true;
}

/* What follows the authority; nothing means "/", and a lone query gets its slash. */
static const char *read_path(struct target *t, const char *from)
{
    int length =
        snprintf(t->path, sizeof t->path, "%s%.*s", *from == '/' ? "" : "/", (int)strcspn(from, "#"), from);

    for (const char *p = from; *p; p++)
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
            return "the path has a character that must be written as %XX";
    return length < (int)sizeof t->path ? NULL : "the path is too long";
}

static const char *read_port(struct target *t, const char *from, const char *end)
{
    unsigned long port = 0;

    for (; from < end; from++) {
        if (*from < '0' || *from > '9' || port > UINT16_MAX)
            return "the port is not a number from 1 to 65535";
        port = port * 10 + (unsigned long)(*from - '0');
    }
    if (port < 1 || port > UINT16_MAX)
        return "the port is not a number from 1 to 65535";
    t->port = (uint16_t)port;
    return NULL;
}

static const char *read_authority(struct target *t, const char *from)
{
    const char *end = from + strcspn(from, "/?#");
    const char *host_end = from, *wrong = NULL;
    bool is_bracketed = *from == '[';

    while (host_end < end && *host_end != (is_bracketed ? ']' : ':'))
        host_end++;
    if (is_bracketed && host_end == end)
        return "the bracket of the address is not closed";
    from += is_bracketed;
    if (host_end == from)
        return "the host is missing";
    if (!copy_text(t->host, sizeof t->host, from, (size_t)(host_end - from)))
        return "the host is too long";
    host_end += is_bracketed;
    t->port = t->is_secure ? 443 : 80;
    if (host_end < end)
        wrong = *host_end == ':' ? read_port(t, host_end + 1, end) : "the port is to follow the bracket";
    return wrong ? wrong : read_path(t, end);
}

static const char *read_unix(struct target *t, const char *from)
{
    size_t bytes = strcspn(from, ":");

    if (bytes == 0)
        return "the path of the Unix socket is missing";
    if (!copy_text(t->unix_path, sizeof t->unix_path, from, bytes))
        return "the path of the Unix socket is longer than 107 bytes";
    t->is_unix = true;
    strcpy(t->host, "localhost");
    return read_path(t, from[bytes] ? from + bytes + 1 : "");
}

const char *target_parse(struct target *t, const char *url)
{
    *t = (struct target){.port = 0};
    if (strncasecmp(url, "ws+unix:", 8) == 0)
        return read_unix(t, url + 8);
    if (strncasecmp(url, "ws://", 5) == 0)
        return read_authority(t, url + 5);
    if (strncasecmp(url, "wss://", 6) == 0) {
        t->is_secure = true;
        return read_authority(t, url + 6);
    }
    return "a URL begins with ws://, wss:// or ws+unix:";
}

/* Does anybody answer there? Only asked when a name has several addresses, "localhost" for one. */
static bool is_answered(const struct addrinfo *a)
{
    struct timeval patience = {.tv_sec = PROBE_S};
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed;

    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* connect heeds it too */
    do {
        failed = connect(fd, a->ai_addr, a->ai_addrlen);
    } while (failed && errno == EINTR); /* of a process that was stopped; called again it goes on */
    close(fd);
    return !failed;
}

/* The first that is answered, or the first. */
static const struct addrinfo *choose(const struct addrinfo *found)
{
    for (const struct addrinfo *a = found; a && found->ai_next; a = a->ai_next)
        if (is_answered(a))
            return a;
    return found;
}

const char *target_resolve(struct target *t)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found;
    bool is_ipv6 = strchr(t->host, ':') != NULL; /* then it is no name that could be asked for */
    const struct addrinfo *chosen;
    struct sockaddr_un *unix_address = (struct sockaddr_un *)&t->address;
    char port[8];
    int rc;

    if (t->is_unix) {
        unix_address->sun_family = AF_UNIX;
        strcpy(unix_address->sun_path, t->unix_path);
        t->address_bytes = sizeof *unix_address;
        return NULL;
    }
    snprintf(port, sizeof port, "%u", t->port);
    hints.ai_flags = is_ipv6 ? AI_NUMERICHOST : 0;
    rc = getaddrinfo(t->host, port, &hints, &found);
    if (rc != 0)
        return rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc);
    chosen = choose(found);
    memcpy(&t->address, chosen->ai_addr, chosen->ai_addrlen);
    t->address_bytes = chosen->ai_addrlen;
    freeaddrinfo(found);
    return NULL;
}

bool target_has_sources(const struct target *t)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)&t->address;

    return t->address.ss_family == AF_INET && ntohl(in->sin_addr.s_addr) >> 24 == 127;
}

/* Without IP_BIND_ADDRESS_NO_PORT a port would be taken for all destinations at once. */
static int bind_source(int fd, uint32_t source)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(FIRST_SOURCE + source)};
    int on = 1;

    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    return bind(fd, (struct sockaddr *)&from, sizeof from);
}

int target_connect(const struct target *t, uint32_t n)
{
    int fd = socket(t->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, wrong;

    if (fd < 0)
        return -errno;
    if (!t->is_unix)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if ((t->sources == 0 || bind_source(fd, n % t->sources) == 0) &&
        (connect(fd, (const struct sockaddr *)&t->address, t->address_bytes) == 0 || errno == EINPROGRESS))
        return fd;
    wrong = errno;
    close(fd);
    return -wrong;
}
