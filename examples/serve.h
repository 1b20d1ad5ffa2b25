/* What all examples share: listen, say where, run until a signal, stop. */
#ifndef EXAMPLES_SERVE_H
#define EXAMPLES_SERVE_H

#include <weft/weft.h>

/* Arguments: [--port N], 0 or none for a free one. Prints "listening on 127.0.0.1:PORT". beside, which may be
 * NULL, is called between start and the wait for SIGINT or SIGTERM. Returns what main returns. */
int serve(int argc, char **argv, const weft_server_opts *opts, void (*beside)(weft_server *server));

/* For programs that have threads before they serve: threads inherit it. */
void serve_block_signals(void);

#endif
