/* What stands in Redis: how long it stays, and what becomes of it when somebody else has written there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus_load.h"
#include "e2e_server.h"
#include "redis.h"
#include "weft/weft.h"

/* --- names --- */

/* A bus with a connection that is in a room, as a process with one member is. */
struct member {
    weft_bus *bus;
    const char *name;
    weft_server *server;
    struct client client;
};

static void enter_room(weft_conn *c, void *app)
{
    struct member *m = app;
    weft_bus_sub_opts o = {.size = sizeof o, .presence = m->name};

    CU_ASSERT_EQUAL(weft_bus_subscribe(m->bus, c, "room", &o), WEFT_OK);
}

static void join(struct member *m, const char *url, const char *name, uint32_t presence_timeout_ms)
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

static void leave(struct member *m)
{
    client_close(&m->client);
    STOPS(weft_server_stop(m->server, 10000));
    weft_server_unref(m->server);
    close_bus(m->bus);
}

#define SHORT_MS 6000
#define LONG_MS  600000

static long room_is_kept_ms(struct redis_server *s)
{
    return strtol(redis_say(s, "PTTL weft:p:{t:room}") + 1, NULL, 10);
}

static void who_has_a_short_time_takes_nobody_with_him(void)
{
    struct redis_server s;
    struct member brief, lasting;

    redis_start(&s, false, NULL);
    join(&brief, s.url, "ann", SHORT_MS);
    WAIT_FOR(are_present(brief.bus, "room", "ann "));
    CU_ASSERT(room_is_kept_ms(&s) <= SHORT_MS);
    join(&lasting, s.url, "bob", LONG_MS);
    WAIT_FOR(are_present(lasting.bus, "room", "ann bob "));
    CU_ASSERT(room_is_kept_ms(&s) > LONG_MS / 2); /* longer when somebody stays for longer */
    leave(&brief);
    join(&brief, s.url, "cid", SHORT_MS);
    WAIT_FOR(are_present(lasting.bus, "room", "bob cid "));
    CU_ASSERT(room_is_kept_ms(&s) > LONG_MS / 2); /* and not shorter */
    redis_say(&s, "PERSIST weft:p:{t:room}");
    WAIT_FOR(room_is_kept_ms(&s) > 0); /* nor for ever, whatever was there */
    leave(&brief);
    leave(&lasting);
    redis_end(&s);
}

static const struct unit_case cases[] = {
    CASE(who_has_a_short_time_takes_nobody_with_him),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "bus_keys", cases, sizeof cases / sizeof cases[0]);
}
