/* The client's side: a few threads, each with a share of the connections and a poll of its own. It speaks
 * just enough WebSocket, and checks every byte that arrives. */
#ifndef STRESS_CLIENT_H
#define STRESS_CLIENT_H

#include <stdatomic.h>

#include "ledger.h"
#include "server.h"

enum client_phase {
    CLIENT_RUN,    /* connect, send, end connections */
    CLIENT_SETTLE, /* send what is begun, and receive */
    CLIENT_END     /* as settle, and end when all sockets are closed */
};

struct clients {
    const struct shape *shape;
    struct ledger *ledger;
    struct server *server;
    _Atomic int phase, seen; /* seen: a whole turn was made in it */
    unsigned first, count;   /* of this thread: the connections first, first + step, ... */
    unsigned step;
};

void *clients_main(void *clients);

#endif
