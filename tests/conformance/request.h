/* The opening handshake of the tester as a server: what is demanded of a client's request (RFC 6455 section
 * 4.1), and the answer to it. */
#ifndef WEFT_CONFORMANCE_REQUEST_H
#define WEFT_CONFORMANCE_REQUEST_H

#include "case.h"
#include "handshake.h"

struct request {
    char key[WS_KEY_CHARS + 1];
    char extensions[VALUE_CHARS_MAX]; /* empty: none were offered */
};
/* The octets that the request takes when it is a good one; otherwise as handshake_response. host is what its
 * Host must be. */
int64_t request_read(const struct octets *in, const char *host, struct request *r, const char **why);

/* The case's first answer that the request's offers allow. False: it is not agreed upon. */
bool request_agrees(const struct request *r, const struct pmd_case *c, struct pmd_terms *agreed);

/* Appends the answer; reply NULL stands for the usual one, agreed NULL for no extension in it. */
void request_answer(struct octets *out, const struct reply *reply, const char *key,
                    const struct pmd_terms *agreed);

/* For a request that is refused. */
extern const struct reply request_bad;

#endif
