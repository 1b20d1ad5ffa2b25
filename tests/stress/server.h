/* The server under load: what its handlers do and check. */
#ifndef STRESS_SERVER_H
#define STRESS_SERVER_H

#include "ledger.h"
#include "weft/weft.h"

struct server {
    const struct shape *shape;
    struct ledger *ledger;
    weft_group *some; /* members come and go when the shape churns */
    weft_server *weft;
    atomic_bool is_calm;   /* no naps */
    _Atomic uint16_t port; /* 0 while none listens */
};

void server_start(struct server *s);
/* It ends within the deadline, and its figures agree. */
void server_stop(struct server *s, uint32_t deadline_ms);

#endif
