/* What the chat's port answers to a browser beside the WebSocket: the page, the health check and the figures.
 */
#ifndef WEFT_SERVER_WEB_H
#define WEFT_SERVER_WEB_H

#include "chat.h"

#include <weft/request.h>
#include <weft/server.h>

/* Decide one request, now: `/` `/healthz` `/metrics` by GET or HEAD, an upgrade at `/chat`; all else is 404,
 * 405 or 426. */
void web_answer(weft_request *r, weft_server *s, struct chat *chat);

#endif
