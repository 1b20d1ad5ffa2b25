/* A process with one connection that is in a room under a name, for tests of presence. */
#ifndef WEFT_TESTS_BUS_MEMBER_H
#define WEFT_TESTS_BUS_MEMBER_H

#include <stdint.h>

#include "e2e_client.h"
#include "weft/weft.h"

#define MEMBER_ROOM "room"

struct member {
    weft_bus *bus;
    const char *name;
    weft_server *server;
    struct client client;
};

void member_join(struct member *m, const char *url, const char *name, uint32_t presence_timeout_ms);
void member_leave(struct member *m); /* and close the bus */

#endif
