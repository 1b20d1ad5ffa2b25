/* What the chat's port answers to a browser beside the WebSocket: the page, the health check and the figures.
 */
#ifndef WEFT_SERVER_WEB_H
#define WEFT_SERVER_WEB_H

#include "chat.h"

#include <weft/request.h>
#include <weft/server.h>

/* Who may read the figures. They say how many people are there and how busy they are, and cost more than a page. */
enum web_metrics {
    WEB_METRICS_LOCAL, /* this machine, and not through a proxy that says so */
    WEB_METRICS_ALL,
    WEB_METRICS_NONE
};

/* Decide one request, now: `/` `/healthz` `/metrics` by GET or HEAD, an upgrade at `/chat`; all else is 404,
 * 405 or 426. `/healthz` is 503 while other instances are not reached, `/metrics` 403 for who may not read it. */
void web_answer(weft_request *r, weft_server *s, struct chat *chat, enum web_metrics metrics);

#endif
