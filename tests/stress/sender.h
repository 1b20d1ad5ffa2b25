/* Threads of the program that send to any connection, broadcast, and end some.
 * */
#ifndef STRESS_SENDER_H
#define STRESS_SENDER_H

#include <stdatomic.h>

#include "ledger.h"
#include "server.h"

/* What the senders of one storm share. */
struct senders {
    const struct shape *shape;
    struct ledger *ledger;
    struct server *server;
    atomic_bool pausing, stopping;
    _Atomic unsigned paused; /* senders that do nothing while pausing is set */
    _Atomic unsigned next;   /* number of the next sender */
};

void *sender_main(void *senders);
/* One thread broadcasts, so its numbers are in order for every member. The server runs. */
void sender_broadcast(struct senders *g);

#endif
