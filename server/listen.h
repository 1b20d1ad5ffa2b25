/* Where the programs listen: on sockets of the service manager, at --port and --host, at --unix. */
#ifndef WEFT_SERVER_LISTEN_H
#define WEFT_SERVER_LISTEN_H

#include "privileges.h"
#include "service.h"

#include <weft/weft.h>

#include <stdint.h>

struct places {
    const char *program;
    struct service_sockets
        given;        /* over TLS with --cert if they are TCP, as --port is; a Unix one is plain, as
                                     --unix is. One that is named "tls" or "plain" is that */
    const char *host; /* of --port */
    uint16_t port;    /* the one that was taken, behind listen_everywhere */
    const struct privileges *owner; /* of the socket file of --unix; NULL: who starts the program */
};

/* Listen as serve_options say.
 *
 * default_port  when no port was given; without --port and --host, other places stand alone
 * Returns       0, or the status to exit with after a complaint */
int listen_everywhere(struct places *places, weft_server *s, uint16_t default_port);

/* A line for each place on standard output, which other programs wait for. */
void listen_announce(const struct places *places);

#endif
