/* The server under load; see server.h. */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "chance.h"
#include "fault.h"

#define STOP_TRIES    20
#define STOP_AGAIN_MS 1000

typedef unsigned long long ull;

static void on_request(weft_request *r, void *app)
{
    struct server *s = app;
    weft_accept how = {0};
    unsigned long long serial;
    struct life *l = NULL;
    int index;

    if (sscanf(weft_request_path(r), "/%d/%llu", &index, &serial) == 2 && index >= 0 &&
        index < CONNECTIONS_MAX)
        l = ledger_find(s->ledger, index, serial);
    how.data = l;
    if (!l) {
        weft_request_respond(r, 404, NULL, 0, NULL, 0);
        return;
    }
    atomic_store_explicit(&l->joined_least, LEDGER_GET(s->ledger->broadcasts_done), memory_order_relaxed);
    if (weft_request_accept(r, &how) != WEFT_OK)
        life_unref(l);
}

static void on_open(weft_conn *c, void *app)
{
    struct server *s = app;
    struct life *l = weft_conn_data(c);

    LEDGER_ADD(l->opened, 1);
    atomic_store_explicit(&l->joined_most, LEDGER_GET(s->ledger->broadcasts_begun), memory_order_relaxed);
    if (s->shape->churns)
        weft_group_add(s->some, c); /* WEFT_E_CLOSED: it is closed already */
    ledger_enter(l, c);
}

static void answer(struct server *s, weft_conn *c, struct life *l)
{
    uint64_t number = LEDGER_GET(l->accepted[ECHO]);
    size_t bytes = item_bytes(s->shape->seed, s->shape->bytes_max, ECHO, number);
    weft_msg *m;
    void *p;
    int rc;

    if (weft_msg_new_raw(&m, WEFT_BINARY, bytes, &p) != WEFT_OK)
        abort();
    item_write(p, bytes, ECHO, number);
    rc = weft_conn_send(c, m);
    if (rc == WEFT_OK) {
        LEDGER_ADD(l->accepted[ECHO], 1);
        return;
    }
    weft_msg_unref(m);
    if (rc == WEFT_E_AGAIN && s->shape->inline_handlers) { /* else the client would wait for ever */
        atomic_store(&l->is_ending, true);
        weft_conn_close(c, 1013, "");
    } else if (rc != WEFT_E_CLOSED) {
        fault("connection %d: send in a handler answered %s", l->index, weft_error_name(rc));
    }
}

static void take_a_nap(struct server *s, uint64_t number)
{
    struct timespec nap = {.tv_nsec = 1000000};
    uint64_t random = chance_mix(s->shape->seed ^ number);

    if (chance_one_in(&random, s->shape->nap_one_in) &&
        !atomic_load_explicit(&s->is_calm, memory_order_relaxed))
        nanosleep(&nap, NULL);
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    struct server *s = app;
    struct life *l = weft_conn_data(c);
    uint64_t due = LEDGER_GET(l->handled);
    size_t bytes = item_bytes(s->shape->seed, s->shape->bytes_max, CLIENT, due);

    if (LEDGER_GET(l->opened) != 1 || LEDGER_GET(l->closed))
        fault("connection %d: a message outside of open and close", l->index);
    if (weft_msg_bytes(m) != bytes || !item_is(weft_msg_data(m), bytes, CLIENT, due))
        fault("connection %d: handled another message of %zu bytes where %llu of "
              "%zu bytes was due",
              l->index, weft_msg_bytes(m), (ull)due, bytes);
    weft_msg_unref(m);
    LEDGER_ADD(l->handled, 1);
    if ((due + 1) % 256 == 0)
        LEDGER_ADD(s->ledger->handovers, 256);
    take_a_nap(s, due);
    if (s->shape->answer_every && (due + 1) % s->shape->answer_every == 0)
        answer(s, c, l);
}

static void on_close(weft_conn *c, const weft_close_info *info, void *app)
{
    struct server *s = app;
    struct life *l = weft_conn_data(c);

    ledger_leave(l, c);
    LEDGER_ADD(l->closed, 1);
    l->was_clean = info->clean;
    LEDGER_ADD(s->ledger->handovers, LEDGER_GET(l->handled) % 256 + LEDGER_GET(l->accepted[ECHO]));
    life_unref(l);
}

void server_start(struct server *s)
{
    const struct shape *h = s->shape;
    weft_server_opts o = {.size = sizeof o,
                          .app = s,
                          .on_request = on_request,
                          .on_open = on_open,
                          .on_message = on_message,
                          .on_close = on_close,
                          .io_threads = h->io_threads,
                          .workers = h->workers,
                          .workers_max = h->workers_max,
                          .inline_handlers = h->inline_handlers,
                          .normal_scheduling = h->normal_scheduling,
                          .ping_interval_ms = h->ping_interval_ms,
                          .separate_io = h->separate_io,
                          .inbox_high = h->inbox_high,
                          .outbox_high_bytes = h->outbox_high_bytes,
                          .outbox_bytes_max = h->outbox_bytes_max,
                          .slow_policy = h->slow_policy,
                          .turn_messages_max = h->turn_messages_max,
                          .connections_max = 2 * CONNECTIONS_MAX};
    uint16_t bound;
    int rc = weft_server_new(&s->weft, &o);

    if (rc == WEFT_OK)
        rc = weft_server_listen_tcp(s->weft, "127.0.0.1", 0, &bound);
    if (rc == WEFT_OK)
        rc = weft_server_start(s->weft);
    if (rc != WEFT_OK)
        fault_fatal("the server does not start: %s", weft_error_name(rc));
    atomic_store(&s->port, bound);
}

static void check_figures(struct server *s)
{
    weft_stats figures = {.size = sizeof figures};

    if (weft_server_stats(s->weft, &figures) != WEFT_OK)
        fault("no figures");
    if (figures.opened != figures.closed || figures.connections || figures.handshaking)
        fault("figures of a stopped server: %llu opened, %llu closed, %llu open, "
              "%llu handshaking",
              (ull)figures.opened, (ull)figures.closed, (ull)figures.connections, (ull)figures.handshaking);
    if (figures.accepted != figures.opened + figures.refused)
        fault("figures of a stopped server: %llu accepted, %llu opened, %llu refused", (ull)figures.accepted,
              (ull)figures.opened, (ull)figures.refused);
}

void server_stop(struct server *s, uint32_t deadline_ms)
{
    int rc = WEFT_E_TIMEOUT;

    atomic_store(&s->port, 0);
    /* Behind the deadline what is in the inboxes is still handled, which may take longer than stop waits. */
    for (int tries = 0; tries < STOP_TRIES && rc == WEFT_E_TIMEOUT; tries++)
        rc = weft_server_stop(s->weft, tries ? STOP_AGAIN_MS : deadline_ms);
    if (rc != WEFT_OK)
        fault_fatal("stop answered %s", weft_error_name(rc));
    check_figures(s);
    weft_server_unref(s->weft);
    s->weft = NULL;
}
