/* weft: WebSocket for multithreaded C programs.
 *
 * I/O threads read and write sockets and feed a queue for each connection; worker threads take from these
 * queues, call the program, and what it sends goes through the connection's outgoing queue back to the I/O
 * thread.
 *
 *     #include <unistd.h>
 *     #include <weft/weft.h>
 *
 *     static void echo(weft_conn *c, weft_msg *m, void *app)
 *     {
 *         (void)app;
 *         if (weft_conn_send(c, m) != WEFT_OK)
 *             weft_msg_unref(m);
 *     }
 *
 *     int main(void)
 *     {
 *         weft_server_opts opts = {.size = sizeof opts, .on_message = echo};
 *         weft_server *server;
 *         if (weft_server_new(&server, &opts) != WEFT_OK || weft_server_listen_tcp(server, NULL, 8080, NULL) != WEFT_OK ||
 *             weft_server_start(server) != WEFT_OK)
 *             return 1;
 *         pause();
 *     }
 *
 * What holds everywhere:
 *   ownership  "borrowed" is valid for the call; "given" passes one reference, on success only unless it
 *   says otherwise.
 *   threads    "any" means any thread at any time, callbacks included; "setup" means before start or after stop.
 *   order      callbacks of one connection come one at a time and in order; sends of one thread leave in order.
 *   bounds     every queue, size, count and time has a limit with a default; weft_server_opts lists them.
 *   results    0 or a negative number whose band says what to do next (weft/error.h).
 *
 * One header for each noun: error.h msg.h conn.h stream.h task.h request.h compression.h tls.h group.h
 * bus.h server.h client.h failure.h stats.h log.h, and proto.h for programs with a loop of their own. What can be
 * chosen stands in server_opts.h, client_opts.h and bus_opts.h, which server.h, client.h and bus.h include. */
#ifndef WEFT_WEFT_H
#define WEFT_WEFT_H

#include "weft/bus.h"
#include "weft/client.h"
#include "weft/compression.h"
#include "weft/conn.h"
#include "weft/error.h"
#include "weft/failure.h"
#include "weft/group.h"
#include "weft/log.h"
#include "weft/msg.h"
#include "weft/request.h"
#include "weft/server.h"
#include "weft/stats.h"
#include "weft/stream.h"
#include "weft/task.h"
#include "weft/tls.h"
#include "weft/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that runs, "0.1.0"; compare with WEFT_VERSION. Thread: any. Since: 0.1 */
WEFT_API const char *weft_version(void);

#ifdef __cplusplus
}
#endif

#endif
