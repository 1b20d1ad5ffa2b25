/* Places for handlers: at most handlers_max of a server run at once.
 *
 * An accepted request takes a place with its handler in mind, and its 101 leaves when it has one; else it
 * waits in order of acceptance, until the open timeout answers 503 (conn_time). A handler that ends hands its
 * place on to the first whose connection still lives. A place in use has a thread of the crew reserved, so a
 * connection that was opened always finds one.
 *
 * L1  A connection that waits is in the list with a reference and its composed answer. It is taken out once:
 *     with a place, when its time is up, or when it died.
 * L2  Who enters looks whether the outbox is closed behind that; who dies closes it, then takes out. */
#ifndef WEFT_CORE_SLOTS_H
#define WEFT_CORE_SLOTS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct crew;
struct msg_link;
struct weft_conn;

/* In the struct straight of a connection. */
struct slot_wait {
    struct weft_conn *conn;
    struct msg_link *answer;
    struct slot_wait *next, *before;
    bool is_in; /* the list */
};

struct slots {
    pthread_mutex_t lock;
    struct crew *crew;              /* (c) */
    struct slot_wait *first, *last; /* under lock */
    uint32_t free;                  /* under lock */
};

void slots_init(struct slots *s, struct crew *crew, uint32_t count);
void slots_fini(struct slots *s);

/* The accepting answer of a straight-line connection, given: pushed to its outbox now or when there is a
 * place. WEFT_OK, WEFT_E_CLOSED. Any thread. */
int slots_accept(struct weft_conn *c, struct msg_link *answer);
/* A handler ends. */
void slots_release(struct slots *s);
/* It waits no longer. False: it does not wait. */
bool slots_give_up(struct weft_conn *c);

/* A place with a thread at once or not at all, for another use. */
bool slots_try_take(struct slots *s);

#endif
