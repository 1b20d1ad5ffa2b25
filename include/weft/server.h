/* The server: listens, reads and writes on its I/O threads, and calls the program on its workers.
 *
 * For each connection: on_request, on_open, then on_message and on_drain in any order, on_close last and
 * exactly once; one at a time, in order, on whatever worker is free. Different connections run in parallel.
 * A callback may block: that holds up its own connection only. With inline_handlers the callbacks run on
 * the I/O thread, for programs whose callbacks never block.
 *
 * What it calls, and each of its bounds, stands in server_opts.h.
 *
 * weft_server_new, weft_server_listen_*, weft_server_start, weft_server_stop, weft_server_unref: in this
 * order. */
#ifndef WEFT_SERVER_H
#define WEFT_SERVER_H

#include <stdint.h>

#include "weft/error.h"
#include "weft/group.h"
#include "weft/server_opts.h"
#include "weft/stats.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_server weft_server;

/* Make a server.
 *
 * out      set on WEFT_OK; one reference
 * opts     borrowed, copied; NULL for all defaults
 * Returns  WEFT_OK, WEFT_E_INVAL (an option out of range; the log says which), WEFT_E_NOMEM, WEFT_E_SYSTEM
 * Thread   any
 * Since    0.1 */
WEFT_API int weft_server_new(weft_server **out, const weft_server_opts *opts);

/* Add a listening address, before start; any number of them.
 *
 * host     numeric IPv4 or IPv6 address or a name, NULL for 127.0.0.1; port 0 picks a free one
 * path     of a Unix socket; a socket file that nobody listens on any more is replaced
 * fd       a stream socket, TCP or Unix, that listens already, such as one that systemd hands over; given on
 *          WEFT_OK: made non-blocking and close-on-exec, and closed by the stop. On failure it stays the
 *          caller's. The file of a Unix socket stays in both cases
 * bound    set to the port that was taken; may be NULL
 * Returns  WEFT_OK, WEFT_E_ADDRESS (no such name), WEFT_E_SYSTEM (errno says), WEFT_E_STATE (started),
 *          WEFT_E_INVAL (of fd the log says why), WEFT_E_NOMEM
 * Thread   setup
 * Since    0.1 */
WEFT_API int weft_server_listen_tcp(weft_server *s, const char *host, uint16_t port, uint16_t *bound);
WEFT_API int weft_server_listen_unix(weft_server *s, const char *path);
WEFT_API int weft_server_listen_fd(weft_server *s, int fd);

/* Start the threads; returns when connections are accepted.
 *
 * Returns  WEFT_OK, WEFT_E_STATE, WEFT_E_SYSTEM, WEFT_E_NOMEM
 * Thread   setup
 * Since    0.1 */
WEFT_API int weft_server_start(weft_server *s);

/* Stop: accept no more, close every connection with 1001 behind what was sent to it, and wait until
 * on_close has been called for each of them and all threads have ended.
 *
 * deadline_ms  after that the connections that are left are dropped (their on_close still comes); 0 drops
 * them at once
 * Returns      WEFT_OK        nothing runs any more
 *              WEFT_E_TIMEOUT a callback has not returned one second behind the deadline; call again to go
 *              on waiting
 *              WEFT_E_STATE   on a thread of the server itself, or never started
 * Thread       any but the server's own
 * Since        0.1 */
WEFT_API int weft_server_stop(weft_server *s, uint32_t deadline_ms);

/* One more reference, returns s; and one given back (NULL is allowed). The last one stops the server at
 * once if it runs, and must not be given back on one of its own threads. Thread: any. Since: 0.1 */
WEFT_API weft_server *weft_server_ref(weft_server *s);
WEFT_API void weft_server_unref(weft_server *s);

/* The group of all open connections; borrowed, as long as the server. Thread: any. Since: 0.1 */
WEFT_API weft_group *weft_server_group(weft_server *s);

#ifdef __cplusplus
}
#endif

#endif
