/* The opening handshake of the tester: the address, the request, and what is demanded of the answer. */
#ifndef WEFT_CONFORMANCE_HANDSHAKE_H
#define WEFT_CONFORMANCE_HANDSHAKE_H

#include <netdb.h>
#include <stdbool.h>

#include "octets.h"
#include "ws.h"

struct target {
    char authority[300]; /* host:port, as the Host header has it */
    char path[300];
    struct addrinfo *address;
};

/* ws://HOST[:PORT][/PATH]. NULL or what is wrong with the url; release with target_fini. */
const char *target_parse(struct target *t, const char *url);
void target_fini(struct target *t);

void handshake_request(struct octets *out, const struct target *t, const char *key);

#define HANDSHAKE_MORE    0
#define HANDSHAKE_REFUSED (-1)
/* The octets that the response takes when it is a good one; HANDSHAKE_MORE while it is not complete;
 * HANDSHAKE_REFUSED with the reason in why. */
int64_t handshake_response(const struct octets *in, const char *key, const char **why);

#endif
