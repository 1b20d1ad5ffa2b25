/* What other parts of the API need of a server. */
#ifndef WEFT_API_SERVER_H
#define WEFT_API_SERVER_H

#include "weft/server.h"

struct engine;
struct weft_conn;

struct engine *server_engine(weft_server *s); /* borrowed */
/* The hook of every engine: a connection leaves its groups behind its close. */
void server_conn_closed(struct weft_conn *c, void *arg);

#endif
