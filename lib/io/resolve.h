/* Names looked up, for threads that may block: with a deadline, and so that one can stop waiting.
 *
 * getaddrinfo has neither, so it runs in helper threads, of which there are at most RESOLVE_THREADS_MAX in
 * the process. What more is asked for waits in a queue, in order; it is as long as there are callers that
 * wait.
 *
 *   R1  A thread is started for a look-up while the bound allows, takes what is in the queue, and ends
 *       when that is empty: none is left behind once its getaddrinfo has returned.
 *   R2  Who stops waiting takes a look-up out of the queue, or, when it has begun, leaves it to its
 *       thread, which throws the result away. Everything of a look-up is under the one lock but while
 *       getaddrinfo runs.
 *   R3  Addresses, and "localhost" with all below it (RFC 6761 section 6.3), need no thread. */
#ifndef WEFT_IO_RESOLVE_H
#define WEFT_IO_RESOLVE_H

#include <netdb.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "io/await.h"

#define RESOLVE_THREADS_MAX    16
#define RESOLVE_STACK_BYTES    (256u * 1024u) /* beside the least: name service modules are not frugal */
#define RESOLVE_ADDRESSES_MAX  32             /* further ones are left out */
#define RESOLVE_HOST_BYTES_MAX 255

struct resolve_address {
    socklen_t bytes;
    struct sockaddr_storage at;
};

struct resolve_list {
    size_t count;
    struct resolve_address addresses[RESOLVE_ADDRESSES_MAX]; /* in the order of RFC 6724 */
    const char *reason;                                      /* after WEFT_E_ADDRESS: a static text */
};

/* The TCP addresses of a host.
 *
 * host     a name or an address, IPv6 without brackets, borrowed
 * Returns  WEFT_OK          out->count is at least 1
 *          WEFT_E_ADDRESS   there is no such name, or nobody could say; out->reason
 *          WEFT_E_TIMEOUT, WEFT_E_CANCELED, WEFT_E_NOMEM
 *          WEFT_E_SYSTEM    errno: no thread, no descriptor */
int resolve(const char *host, uint16_t port, const struct await_limit *limit, struct resolve_list *out);

/* Tests: what the helper threads call, getaddrinfo when NULL. A look-up keeps what was set when it was
 * asked for. */
typedef int resolve_lookup_fn(const char *host, const char *service, const struct addrinfo *hints,
                              struct addrinfo **out);
void resolve_set_lookup(resolve_lookup_fn *lookup);

#endif
