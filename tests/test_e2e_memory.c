/* When memory runs out: in a scripted session with a bit of everything, each allocation of the library fails
 * once. The session may then end as it likes, but it ends: no crash, no hang, nothing left. */
#include "e2e_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define LARGE_BYTES 300000u

/* A program that gives a connection up when it cannot go on. */
static void give_up(weft_conn *c)
{
    if (weft_conn_close(c, 1011, "no memory") != WEFT_OK)
        weft_conn_abort(c);
}

static void decide(weft_request *r, struct e2e *t)
{
    weft_accept how = {.subprotocol = weft_request_offers(r, "chat") ? "chat" : NULL};
    int rc;

    (void)t;
    if (weft_request_is_upgrade(r))
        rc = weft_request_accept(r, &how);
    else
        rc = weft_request_respond(r, 200, NULL, 0, "page", 4);
    if (rc == WEFT_E_NOMEM)
        weft_request_respond(r, 503, NULL, 0, NULL, 0); /* perhaps now; otherwise the library decides */
}

static void enter_group(weft_conn *c, struct seen *s)
{
    if (s->t->arg && weft_group_add(s->t->arg, c) == WEFT_E_NOMEM)
        give_up(c);
    if (weft_conn_send_text(c, "welcome") == WEFT_E_NOMEM)
        give_up(c);
}

static void echo_and_broadcast(weft_conn *c, weft_msg *m, struct seen *s)
{
    weft_msg *copy;
    int rc;

    if (weft_conn_ping(c, "p", 1) == WEFT_E_NOMEM)
        give_up(c);
    if (s->t->arg && weft_msg_bytes(m) < 100) {
        rc = weft_msg_new(&copy, weft_msg_type(m), weft_msg_data(m), weft_msg_bytes(m));
        if (rc == WEFT_OK && (rc = weft_group_broadcast(s->t->arg, copy, NULL)) != WEFT_OK)
            weft_msg_unref(copy);
        if (rc == WEFT_E_NOMEM)
            give_up(c);
    }
    rc = weft_conn_send(c, m);
    if (rc != WEFT_OK)
        weft_msg_unref(m);
    if (rc == WEFT_E_NOMEM)
        give_up(c);
}

/* Read until this text or large message comes, or the end. False: neither came. */
static bool hears_or_ends(struct client *k, const char *text)
{
    struct frame f;
    enum client_result result;

    while ((result = client_hear(k, &f)) == CLIENT_OK)
        if (f.opcode == CLIENT_CLOSE || (text ? frame_is(&f, CLIENT_TEXT, text) : f.bytes == LARGE_BYTES))
            return true;
    return result != CLIENT_TIMEOUT;
}

static bool talk(struct client *k, uint16_t port, const uint8_t *large, size_t large_bytes)
{
    static const uint8_t fragments[] = {0x01, 0x83, 1, 2, 3, 4, 'a' ^ 1, 'b' ^ 2, 'c' ^ 3,
                                        0x80, 0x83, 1, 2, 3, 4, 'd' ^ 1, 'e' ^ 2, 'f' ^ 3};
    char head[1024];
    bool good;

    if (!client_connect(k, port))
        return true;
    client_ask(k, "/chat", "Sec-WebSocket-Protocol: chat\r\n");
    if (client_status(k, head, sizeof head) != 101)
        return true;
    client_say(k, "hello");
    good = hears_or_ends(k, "hello");
    client_put(k, fragments, sizeof fragments);
    good = good && hears_or_ends(k, "abcdef");
    client_put(k, large, large_bytes);
    return good && hears_or_ends(k, NULL);
}

/* True: as it should be, or ended early. */
static bool run_session(struct e2e *t, const uint8_t *large, size_t large_bytes, bool *happened)
{
    struct client k[3] = {{0}}, plain = {0};
    weft_group *g = NULL;
    bool good = true;
    char head[1024];

    t->server = NULL;
    t->arg = weft_group_new(&g) == WEFT_OK ? g : NULL;
    if (e2e_start(t)) {
        for (int i = 0; i < 2; i++)
            good = talk(&k[i], t->port, large, large_bytes) && good;
        if (client_connect(&plain, t->port)) {
            client_put_text(&plain, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            client_status(&plain, head, sizeof head);
            client_close(&plain);
        }
        client_say_close(&k[0], 1000);
        good = client_skip_to_close(&k[0]) != 0 && good;
        if (client_connect(&k[2], t->port))
            client_put(&k[2], "GET", 3);
    }
    *happened = mem_fail_happened();
    mem_fail_at(0);
    if (t->server)
        WAIT_FOR(weft_server_stop(t->server, 0) != WEFT_E_TIMEOUT); /* one that could not listen was not started */
    weft_server_unref(t->server);
    t->server = NULL;
    weft_group_unref(g);
    for (int i = 0; i < 3; i++)
        client_close(&k[i]);
    return good;
}

ALL_MODES(a_session_survives_the_failure_of_each_allocation)
{
    uint8_t *payload = calloc(1, LARGE_BYTES), *large = malloc(LARGE_BYTES + 14);
    size_t large_bytes = client_frame(large, 0x82, payload, LARGE_BYTES);
    unsigned n, failed = 0, beyond = 0;

    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    t->on_request = decide;
    t->on_open = enter_group;
    t->on_message = echo_and_broadcast;
    t->opts.open_timeout_ms = 100; /* what ends a request that could not be answered */
    t->opts.close_timeout_ms = 100;
    t->opts.workers = 2;
    t->opts.workers_max = 2;
    for (n = 1; beyond < 3 && failed == 0; n++) { /* threads make their number vary a little */
        int64_t live = mem_live_blocks();
        bool happened;
        mem_fail_at(n);
        if (!run_session(t, large, large_bytes, &happened))
            failed = n;
        beyond = happened ? 0 : beyond + 1;
        if (mem_live_blocks() != live)
            failed = n;
        if (failed)
            printf("  with allocation %u failing: %lld blocks are left\n", n,
                   (long long)(mem_live_blocks() - live));
    }
    CU_ASSERT_EQUAL(failed, 0);
    CU_ASSERT(n > 40);
    CU_ASSERT_EQUAL(t->opened, t->closed);
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
    free(payload);
    free(large);
}

static const struct unit_case cases[] = {CASE(a_session_survives_the_failure_of_each_allocation)};
E2E_MAIN("e2e_memory")
