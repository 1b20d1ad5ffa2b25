/* The connection as weft-cat uses it: what happens on it becomes events; nothing here waits. */
#ifndef WEFT_CAT_SESSION_H
#define WEFT_CAT_SESSION_H

#include "arguments.h"
#include "events.h"

#include <weft/client.h>

struct session {
    struct events *events;
    weft_client *client;
    weft_conn *conn; /* the open one, a reference; NULL: none is open. Of the thread that gets the events */
    pthread_t pinger;
    bool has_pinger; /* EVENT_PONG is still to come */
};

/* Begin to connect; EVENT_OPEN or EVENT_FAILED follows on WEFT_OK.
 *
 * Returns  WEFT_OK, or what weft_client_new and weft_client_start say; the log has said what is wrong */
int session_start(struct session *s, const struct arguments *args, struct events *events);

/* End what is left of it, at once, and wait until no callback runs any more. events_stop has been called.
 *
 * Returns  false when something still runs: then nothing of it may be freed */
bool session_stop(struct session *s);

/* Take over what EVENT_OPEN brought, and give it up behind EVENT_CLOSED. */
void session_opened(struct session *s, weft_conn *conn);
void session_closed(struct session *s);

/* Queue one message.
 *
 * m        given on WEFT_OK
 * Returns  as weft_conn_try_send; WEFT_E_CLOSED also when none is open */
int session_send(struct session *s, weft_msg *m);

/* Send a Ping; EVENT_PONG follows on WEFT_OK.
 *
 * Returns  WEFT_OK, WEFT_E_CLOSED, WEFT_E_STATE (one is under way), WEFT_E_NOMEM (no thread can be had) */
int session_ping(struct session *s);
/* Behind EVENT_PONG: the next one may be sent. */
void session_ponged(struct session *s);

#endif
