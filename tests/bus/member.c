/* A process with one connection in a room; see member.h. */
#include "member.h"

#include <stdlib.h>

#include "bus_load.h"
#include "e2e_server.h"

static void enter_room(weft_conn *c, void *app)
{
    struct member *m = app;
    weft_bus_sub_opts o = {.size = sizeof o, .presence = m->name};

    if (weft_bus_subscribe(m->bus, c, MEMBER_ROOM, &o) != WEFT_OK)
        abort();
}

void member_join(struct member *m, const char *url, const char *name, uint32_t presence_timeout_ms)
{
    weft_server_opts opts = {.size = sizeof opts, .on_open = enter_room, .app = m};
    weft_bus_opts o = options();
    uint16_t port = 0;

    o.presence_timeout_ms = presence_timeout_ms;
    *m = (struct member){.bus = open_with(url, &o), .name = name, .client = {.fd = -1}};
    CU_ASSERT_EQUAL_FATAL(weft_server_new(&m->server, &opts), WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(weft_server_listen_tcp(m->server, "127.0.0.1", 0, &port), WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(weft_server_start(m->server), WEFT_OK);
    CU_ASSERT_FATAL(client_open(&m->client, port));
}

void member_leave(struct member *m)
{
    client_close(&m->client);
    STOPS(weft_server_stop(m->server, 10000));
    weft_server_unref(m->server);
    close_bus(m->bus);
}
