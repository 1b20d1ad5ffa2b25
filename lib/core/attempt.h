/* One attempt of a client to connect: from its URL, over redirects, to an open connection or to why not. It
 * blocks the calling thread; the connection's bytes are an I/O thread's. */
#ifndef WEFT_CORE_ATTEMPT_H
#define WEFT_CORE_ATTEMPT_H

#include "core/client_how.h"
#include "core/endpoint.h"
#include "core/failure.h"
#include "io/await.h"

struct weft_conn;

/* ep       of the client; how its options, and its TLS, which is made when it is first needed
 * limit    deadline (not AWAIT_FOREVER) and cancellation of all of it
 * out      set on WEFT_OK; one reference
 * failure  says why otherwise
 * Returns  see weft_client_connect */
int attempt_run(struct endpoint *ep, struct client_how *how, const struct await_limit *limit,
                struct weft_conn **out, struct weft_failure *failure);

#endif
