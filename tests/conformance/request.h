/* The opening handshake of the tester as a server: what is demanded of a client's request (RFC 6455 section
 * 4.1), and the answer to it. */
#ifndef WEFT_CONFORMANCE_REQUEST_H
#define WEFT_CONFORMANCE_REQUEST_H

#include "case.h"
#include "handshake.h"

/* The octets that the request takes when it is a good one, and its key; otherwise as handshake_response.
 * host is what its Host must be. */
int64_t request_read(const struct octets *in, const char *host, char key[WS_KEY_CHARS + 1], const char **why);

/* Appends the answer; NULL stands for the usual one. */
void request_answer(struct octets *out, const struct reply *reply, const char *key);

/* For a request that is refused. */
extern const struct reply request_bad;

#endif
