/* Connecting out, for threads that may block; I/O threads get the socket when it is connected.
 *
 * A host with several addresses is dialed as RFC 8305 says ("happy eyeballs"): IPv6 and IPv4 by turns, the
 * next attempt when the last one has failed or has taken attempt_delay_ms, none given up before one is
 * connected or the time is over. The first that connects wins and all others are closed.
 *
 * Sockets are non-blocking and close on exec, TCP ones with TCP_NODELAY. */
#ifndef WEFT_IO_DIAL_H
#define WEFT_IO_DIAL_H

#include <stddef.h>
#include <stdint.h>

#include "io/await.h"
#include "io/resolve.h"

#define DIAL_ATTEMPT_DELAY_MS     250 /* RFC 8305 section 8 */
#define DIAL_ATTEMPT_DELAY_MS_MIN 10
#define DIAL_ATTEMPT_DELAY_MS_MAX 2000

struct dial_how {
    struct await_limit limit;
    uint32_t attempt_delay_ms; /* 0 means DIAL_ATTEMPT_DELAY_MS; kept within the two above */
};

/* All return a connected descriptor, or
 *   WEFT_E_TIMEOUT, WEFT_E_CANCELED
 *   WEFT_E_SYSTEM    errno: how the last attempt failed, or that no socket could be made
 *   WEFT_E_ADDRESS   dial_tcp: the name; *reason. dial_addresses: there is none in the list
 *   WEFT_E_NOMEM     dial_tcp: the look-up */
int dial_tcp(const char *host, uint16_t port, const struct dial_how *how, const char **reason);
int dial_addresses(const struct resolve_list *list, const struct dial_how *how);
int dial_unix(const char *path, const struct dial_how *how);

/* Bring the list into the order in which it is dialed: IPv6 and IPv4 by turns, IPv6 first, each family in
 * the order it had. */
void dial_interleave(struct resolve_list *list);

#endif
