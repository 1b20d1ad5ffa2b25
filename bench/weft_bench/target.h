/* Where the load goes: a URL, its address, and sockets that connect to it.
 *
 *     ws://HOST[:PORT][/PATH?QUERY]      HOST a name or an address, IPv6 in brackets; port 80
 *     wss://HOST[:PORT]...               the same over TLS; port 443
 *     ws+unix:SOCKET[:/PATH?QUERY]       a Unix socket; no ':' in its path
 *
 * An address of its own gives a client some 28,000 ports. To a loopback address of IPv4, connections are
 * spread over as many of 127.0.0.2, .3, ... as there are sources. */
#ifndef WEFT_BENCH_TARGET_H
#define WEFT_BENCH_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define TARGET_PORTS_A_SOURCE 15000

struct target {
    char host[256]; /* as the Host header names it; without brackets */
    uint16_t port;  /* 0 for a Unix socket */
    char path[2048];
    bool is_unix, is_secure;
    char unix_path[108];
    uint32_t sources; /* 0: the system chooses the local address */
    struct sockaddr_storage address;
    socklen_t address_bytes;
};

/* Both return NULL, or a sentence that says what is wrong. parse: from the URL; resolve: look up the
 * address. */
const char *target_parse(struct target *t, const char *url);
const char *target_resolve(struct target *t);

/* Can it be reached from several sources? */
bool target_has_sources(const struct target *t);

/* Begin to connect, from source number n modulo sources.
 *
 * Returns  a non-blocking socket, or -errno; -EAGAIN: the server's backlog is full (Unix sockets) */
int target_connect(const struct target *t, uint32_t n);

#endif
