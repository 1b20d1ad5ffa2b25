/* What each side of each connection counted, and how it compares.
 *
 * A struct life is one connection from its request to its end, shared by the client, the server's handlers
 * and the senders. Who lets go of it last compares:
 *   L1  opened and closed once each, or neither;
 *   L2  nothing arrived that nobody sent;
 *   L3  behind a clean end all has arrived that was accepted.
 * While nobody sends, the connections that are open are compared too (ledger_is_level):
 *   L4  all that was accepted has arrived, and each broadcast has arrived or was counted as dropped.
 * The order of what arrives is checked where it arrives. */
#ifndef STRESS_LEDGER_H
#define STRESS_LEDGER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "item.h"
#include "shape.h"
#include "weft/conn.h"

struct ledger;

/* Counters have one writer each and are read by others: relaxed. */
struct life {
    struct ledger *ledger;
    _Atomic int refs;
    int index;
    uint64_t serial; /* of the request: one that comes too late must not find the next life */
    /* the server's side: its handlers are ordered, the senders count for themselves */
    _Atomic unsigned opened, closed;
    _Atomic uint64_t handled, accepted[ECHO + 1];
    _Atomic uint64_t joined_least, joined_most; /* the first broadcast that is due lies between */
    bool was_clean;
    /* the client's side */
    _Atomic uint64_t sent, received[KINDS];
    uint64_t next_broadcast[2]; /* ALL, SOME: the least number that may come */
    _Atomic bool is_quiet;      /* all that is counted as sent has left */
    _Atomic bool is_ending;     /* either side has begun to close */
    bool is_open, got_close, sent_close;
    bool must_end_clean;
};

struct ledger {
    const struct shape *shape;
    pthread_mutex_t lock;
    struct life *lives[CONNECTIONS_MAX];  /* (lock) that a request may ask for, with the client's reference */
    weft_conn *conns[CONNECTIONS_MAX];    /* (lock) open ones, with a reference */
    _Atomic uint64_t begun, ended, clean; /* lives */
    _Atomic uint64_t broadcasts_begun, broadcasts_done; /* to ALL */
    _Atomic uint64_t some_begun;
    _Atomic uint64_t handovers;
};

#define LEDGER_GET(field)    atomic_load_explicit(&(field), memory_order_relaxed)
#define LEDGER_ADD(field, n) atomic_fetch_add_explicit(&(field), (n), memory_order_relaxed)

void ledger_init(struct ledger *g, const struct shape *s);
/* Faults for lives that did not end. */
void ledger_fini(struct ledger *g);

/* Client: a new life at an index without one, with one reference. */
struct life *ledger_begin(struct ledger *g, int index);
void ledger_end(struct life *l); /* client: its socket is closed */
struct life *life_ref(struct life *l);
void life_unref(struct life *l);

/* Server: the life that a request asks for, one reference, or NULL; the connection from on_open to
 * on_close. */
struct life *ledger_find(struct ledger *g, int index, uint64_t serial);
void ledger_enter(struct life *l, weft_conn *c);
void ledger_leave(struct life *l, weft_conn *c);

/* A connection to send to, from start on, with a reference of it and of its life; NULL: none is open. */
weft_conn *ledger_pick(struct ledger *g, unsigned start, struct life **life);

/* While nobody sends: true when L4 holds for all, and no connection is on its way in or out. */
bool ledger_is_level(struct ledger *g);
void ledger_print_uneven(struct ledger *g);
/* All connections are level: from now on each must end clean. */
void ledger_demand_clean(struct ledger *g);
/* Changes while anything moves. */
uint64_t ledger_progress(struct ledger *g);

#endif
