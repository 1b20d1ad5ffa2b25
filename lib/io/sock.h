/* Listening sockets: made, taken over, accepted from. */
#ifndef WEFT_IO_SOCK_H
#define WEFT_IO_SOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who is at the other end, small: it is kept for each connection. */
struct sock_peer {
    uint8_t address[16];
    uint16_t port;
    uint16_t family; /* AF_INET, AF_INET6, AF_UNIX */
};

/* All return a descriptor, or WEFT_E_ADDRESS (no such name), WEFT_E_NOMEM or WEFT_E_SYSTEM (errno).
 * Non-blocking, close on exec. */
int sock_listen_tcp(const char *host, uint16_t port, int backlog, uint16_t *bound);
/* A socket file that nobody listens on is replaced; one that is in use gives EADDRINUSE, another kind of
 * file EEXIST. */
int sock_listen_unix(const char *path, int backlog);
/* Is this a listening stream socket, TCP or Unix? Makes it non-blocking and closed on exec. WEFT_OK, or
 * WEFT_E_INVAL: logged, and the descriptor is as it was. */
int sock_adopt(int fd);

/* The next connection: a non-blocking descriptor with TCP_NODELAY, or
 * WEFT_E_AGAIN   none waits (or it went away again)
 * WEFT_E_NOMEM   no descriptor or no memory left: back off
 * WEFT_E_SYSTEM  the listening socket is unusable */
int sock_accept(int listen_fd, struct sock_peer *peer);

/* Say this as the last, and as the only thing: what has arrived is thrown away and our side is shut down.
 * What the system does not take at once is lost. */
void sock_say_last(int fd, const char *text, size_t n);
/* Throw away what has arrived since, and close. */
void sock_drop(int fd);

/* Who is at the other end of a connected socket; AF_UNSPEC when that cannot be said. */
void sock_peer_of(int fd, struct sock_peer *peer);

/* "127.0.0.1:80", "[::1]:80", "unix" */
void sock_name_peer(const struct sock_peer *peer, char *out, size_t room);

#endif
