/* A server and a client in one process and a bit of everything between them, to be run with failures. */
#ifndef WEFT_TESTS_FAILING_SESSION_H
#define WEFT_TESTS_FAILING_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "weft/weft.h"

struct failing_session {
    int (*listen)(struct failing_session *f, weft_server *s); /* and sets url */
    bool is_inline;      /* the server has callbacks and one thread; else a straight-line handler */
    bool has_own_client; /* the client runs on threads of its own, not on the server's */
    const char *ca_file;
    uint32_t open_timeout_ms; /* default 300 */
    char url[160];
};

/* A failing_run; arg is a failing_session. */
int failing_session_run(void *arg);

#endif
