/* The two roles that the tester can play. All that a role changes in a case is here: the cases, the steps and
 * the verdicts are the same. */
#ifndef WEFT_CONFORMANCE_ROLE_H
#define WEFT_CONFORMANCE_ROLE_H

#include <stdbool.h>

struct role {
    const char *peer;    /* what the peer is */
    bool connects;       /* and writes the request; otherwise it reads it */
    bool masks;          /* the tester's frames; the peer's are then not masked, and the other way round */
    bool ends_tcp_first; /* after the closing handshake: the server does (RFC 6455 section 7.1.1) */
    unsigned bit;        /* in conf_case.only */
};

#define ONLY_CLIENT 1u
#define ONLY_SERVER 2u

extern const struct role role_client, role_server;

#endif
