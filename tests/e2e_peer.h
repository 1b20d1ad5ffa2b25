/* A server by script, for the tests of clients: one thread, which accepts one connection after the other and plays the
 * case's own function on each.
 *
 * It shares no code with the library but the value of Sec-WebSocket-Accept. Every call is bounded in time. */
#ifndef WEFT_TESTS_E2E_PEER_H
#define WEFT_TESTS_E2E_PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "e2e_client.h"

struct peer;
typedef void peer_script(struct peer *p);

struct peer {
    uint16_t port;
    void *arg;                  /* the case's own */
    _Atomic unsigned accepted;
    /* For the script: */
    struct client k;            /* the connection; closed behind the script */
    unsigned number;            /* of the connection, from 0 */
    char head[16384];           /* its request, as text */
    char accept[32];            /* the right Sec-WebSocket-Accept */
    peer_script *script;
    int listen_fd;
    int stop_fd;
    pthread_t thread;
};

/* Listen on a free port of 127.0.0.1; script is called with the request read. */
bool peer_start(struct peer *p, peer_script *script, void *arg);
/* A port where nobody listens, and nobody else will until peer_stop; a server may. */
bool peer_hold_port(struct peer *p);
void peer_stop(struct peer *p);
char *peer_url(const struct peer *p, const char *target); /* static buffer of the calling thread */

/* In a script: */
bool peer_put(struct peer *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool peer_accept(struct peer *p, const char *extra); /* the 101, with extra headers each ending in CRLF */
const char *peer_header(struct peer *p, const char *name); /* its value, "" when missing; static buffer */
bool peer_hears_end(struct peer *p); /* waits until the client has ended its side */
/* The next frame of the client, unmasked in place; false: none. */
struct peer_frame {
    unsigned first;
    bool is_masked;
    uint8_t key[4];
    size_t bytes;
    uint8_t payload[70000];
};
bool peer_next(struct peer *p, struct peer_frame *f);
bool peer_say(struct peer *p, unsigned opcode, const void *payload, size_t bytes);
/* Nothing happens until peer_stop. */
void peer_sleep(struct peer *p);

#endif
