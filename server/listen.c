/* Where the programs listen; see listen.h. */
#include "listen.h"

#include "serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_HOST "127.0.0.1"
#define WHERE_ROOM   300

static weft_tls_opts tls_opts(void)
{
    return (weft_tls_opts){.size = sizeof(weft_tls_opts),
                           .cert_file = serve_options.cert_file,
                           .key_file = serve_options.key_file};
}

static bool wants_tcp(const struct places *places)
{
    return serve_options.host || serve_options.port != SERVE_PORT_UNSET ||
           (!serve_options.unix_path && places->given.count == 0);
}

/* --- sockets that were handed over --- */

static int family_of(int fd)
{
    struct sockaddr_storage a = {.ss_family = AF_UNSPEC};
    socklen_t n = sizeof a;

    return getsockname(fd, (struct sockaddr *)&a, &n) == 0 ? a.ss_family : AF_UNSPEC;
}

static bool is_secure(int fd, const char *name)
{
    if (strcmp(name, "tls") == 0 || strcmp(name, "plain") == 0)
        return *name == 't';
    return serve_options.cert_file && family_of(fd) != AF_UNIX;
}

static int listen_given(const struct places *places, weft_server *s, int index)
{
    const char *name = places->given.names[index];
    int fd = places->given.first + index;
    weft_tls_opts tls = tls_opts();
    char where[WHERE_ROOM];
    int rc;

    if (is_secure(fd, name) && !tls.cert_file) {
        fprintf(stderr, "%s: the socket 'tls' that was handed over needs --cert and --key\n",
                places->program);
        return 2;
    }
    rc = is_secure(fd, name) ? weft_server_listen_tls_fd(s, fd, &tls) : weft_server_listen_fd(s, fd);
    snprintf(where, sizeof where, "descriptor %d, handed over as '%.200s'", fd, name);
    return rc == WEFT_OK ? 0 : serve_complain(places->program, "cannot listen on ", where, rc);
}

/* --- places of our own --- */

static int listen_tcp(struct places *places, weft_server *s, uint16_t port)
{
    weft_tls_opts tls = tls_opts();
    char where[WHERE_ROOM];
    int rc;

    rc = tls.cert_file ? weft_server_listen_tls(s, places->host, port, &places->port, &tls)
                       : weft_server_listen_tcp(s, places->host, port, &places->port);
    snprintf(where, sizeof where, "%.280s port %u", places->host, (unsigned)port);
    return rc == WEFT_OK ? 0 : serve_complain(places->program, "cannot listen on ", where, rc);
}

/* The file is made in the name of who starts the program; who serves there is to own it, and lets people in
 * by its mode. */
static int listen_unix(const struct places *places, weft_server *s)
{
    const char *path = serve_options.unix_path;
    int rc = weft_server_listen_unix(s, path);

    if (rc != WEFT_OK)
        return serve_complain(places->program, "cannot listen on ", path, rc);
    if (places->owner && lchown(path, places->owner->uid, places->owner->gid) != 0)
        return serve_complain(places->program, "cannot give away ", path, WEFT_E_SYSTEM);
    return 0;
}

int listen_everywhere(struct places *places, weft_server *s, uint16_t default_port)
{
    uint16_t port = serve_options.port == SERVE_PORT_UNSET ? default_port : (uint16_t)serve_options.port;
    int status = 0;

    places->host = serve_options.host ? serve_options.host : DEFAULT_HOST;
    for (int i = 0; i < places->given.count && status == 0; i++)
        status = listen_given(places, s, i);
    if (status == 0 && wants_tcp(places))
        status = listen_tcp(places, s, port);
    if (status == 0 && serve_options.unix_path)
        status = listen_unix(places, s);
    return status;
}

/* --- said --- */

static void announce_tcp(const char *host, unsigned port)
{
    bool is_ipv6 = strchr(host, ':') != NULL;

    printf("listening on %s%s%s:%u\n", is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "", port);
}

static void announce_given(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } a = {.any.sa_family = AF_UNSPEC};
    socklen_t n = sizeof a;
    char host[INET6_ADDRSTRLEN];

    if (getsockname(fd, &a.any, &n) != 0)
        return;
    if (a.any.sa_family == AF_INET)
        announce_tcp(inet_ntop(AF_INET, &a.in.sin_addr, host, sizeof host), ntohs(a.in.sin_port));
    else if (a.any.sa_family == AF_INET6)
        announce_tcp(inet_ntop(AF_INET6, &a.in6.sin6_addr, host, sizeof host), ntohs(a.in6.sin6_port));
    else if (n > offsetof(struct sockaddr_un, sun_path) && a.un.sun_path[0]) /* not an abstract name */
        printf("listening on unix:%.*s\n", (int)sizeof a.un.sun_path, a.un.sun_path);
    else
        printf("listening on descriptor %d\n", fd);
}

void listen_announce(const struct places *places)
{
    for (int i = 0; i < places->given.count; i++)
        announce_given(places->given.first + i);
    if (wants_tcp(places))
        announce_tcp(places->host, places->port);
    if (serve_options.unix_path)
        printf("listening on unix:%s\n", serve_options.unix_path);
    fflush(stdout); /* standard output may be a file or a pipe */
}
