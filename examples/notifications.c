/* Notifications: who has said who they are gets what concerns them, and events come from other programs:
 *
 *     redis-cli PUBLISH 'weft:c:{t:notices}' 'admin disk is full'    to those who may see what is for admins
 *     redis-cli PUBLISH 'weft:c:{t:notices}' 'all lunch is ready'    to everybody
 *
 * The first message of a connection must be its token, within 30 seconds; otherwise it is closed. To look the
 * token up takes a while, as in a database; that blocks nobody else: the handler has a thread of its own. Whoever is
 * known is registered by a subscription, which ends by itself with the connection. So there are as many threads as visitors,
 * HANDLERS_MAX at most, and who comes then waits; for tens of thousands, server/chat.c does it with callbacks.
 *
 * Arguments: [--port N]. Redis is where WEFT_EXAMPLE_BUS says (redis://127.0.0.1:6379). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <weft/bus.h>

#include "serve.h"

#define TOKEN_TIMEOUT_MS 30000
#define LOOKUP_MS        50
#define HANDLERS_MAX     4096

struct user {
    const char *token, *name;
    bool is_admin;
};

static const struct user users[] = {{"let-me-in", "ann", true}, {"hello", "bob", false}};

struct app {
    weft_bus *bus;
    uint32_t token_timeout_ms;
};

/* A database that is slow to answer. */
static const struct user *look_up(weft_msg *token)
{
    struct timespec t = {.tv_nsec = LOOKUP_MS * 1000000L};

    nanosleep(&t, NULL);
    for (size_t i = 0; i < sizeof users / sizeof users[0]; i++)
        if (weft_msg_bytes(token) == strlen(users[i].token) &&
            memcmp(weft_msg_data(token), users[i].token, weft_msg_bytes(token)) == 0)
            return &users[i];
    return NULL;
}

static const struct user *authenticate(weft_conn *c, const struct app *app)
{
    const struct user *user;
    weft_msg *m;

    if (weft_conn_recv(c, &m, app->token_timeout_ms) != WEFT_OK) {
        weft_conn_close(c, WEFT_CLOSE_INTERNAL_ERROR, "no token in time");
        return NULL;
    }
    user = look_up(m);
    weft_msg_unref(m);
    if (!user)
        weft_conn_close(c, WEFT_CLOSE_INTERNAL_ERROR, "unknown token");
    return user;
}

/* "admin TEXT" or "all TEXT": does this connection get it? Called on the bus's thread. */
static bool may_see(weft_conn *c, const weft_bus_item *item, void *arg)
{
    const struct user *user = weft_conn_data(c);
    bool is_for_all = weft_msg_bytes(item->msg) >= 4 && memcmp(weft_msg_data(item->msg), "all ", 4) == 0;

    (void)arg;
    return is_for_all || user->is_admin;
}

static int handler(weft_conn *c, void *arg)
{
    weft_bus_sub_opts events = {.size = sizeof events, .filter = may_see};
    struct app *app = arg;
    const struct user *user = authenticate(c, app);
    char welcome[64];
    weft_msg *m;
    int rc;

    if (!user)
        return WEFT_OK;
    weft_conn_set_data(c, (void *)user);
    snprintf(welcome, sizeof welcome, "welcome, %s", user->name);
    rc = weft_bus_subscribe(app->bus, c, "notices", &events); /* who was welcomed misses nothing */
    if (rc == WEFT_OK)
        rc = weft_conn_send_text(c, welcome);
    while (rc == WEFT_OK && (rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK)
        weft_msg_unref(m); /* they have nothing to say, but may close */
    return rc;
}

int main(int argc, char **argv)
{
    const char *url = getenv("WEFT_EXAMPLE_BUS"), *timeout = getenv("WEFT_EXAMPLE_TIMEOUT_MS");
    struct app app = {.token_timeout_ms = timeout ? (uint32_t)atoi(timeout) : TOKEN_TIMEOUT_MS};
    weft_server_opts opts = {
        .size = sizeof opts, .app = &app, .handler = handler, .handlers_max = HANDLERS_MAX};
    int status;

    serve_block_signals(); /* the bus has a thread, which must not get them */
    if (weft_bus_open(&app.bus, url ? url : "redis://127.0.0.1:6379", NULL) != WEFT_OK)
        return 1;
    status = serve(argc, argv, &opts, NULL);
    weft_bus_close(app.bus, 1000);
    return status;
}
