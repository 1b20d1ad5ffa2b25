/* The client: connections to a URL, with the same weft_conn and the same promises as a server's.
 *
 * Straight-line:
 *
 *     weft_conn *c;
 *     if (weft_client_connect(&c, "wss://example.org/feed", NULL) == WEFT_OK) {
 *         weft_conn_send_text(c, "hello");
 *         while (weft_conn_recv(c, &m, WEFT_FOREVER) == WEFT_OK) ...
 *         weft_conn_close(c, 1000, NULL);
 *         weft_conn_unref(c);
 *     }
 *
 * and with sessions that follow each other, whatever happens to the server:
 *
 *     weft_client_new(&client, url, &opts);
 *     while (weft_client_next(client, &c, WEFT_FOREVER) == WEFT_OK) { ... weft_conn_unref(c); }
 *
 * With callbacks or a handler set, weft_client_start does the same in the background.
 *
 * Connections run on the threads of a server of this program (opts.server), or on threads that all clients
 * of the process share. */
#ifndef WEFT_CLIENT_H
#define WEFT_CLIENT_H

#include <stdint.h>

#include "weft/client_opts.h"
#include "weft/conn.h"
#include "weft/error.h"
#include "weft/failure.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_client weft_client;

/* Connect, and wait until the connection is open.
 *
 * out      set to the connection, one reference, on WEFT_OK; may be NULL with callbacks or a handler
 * url      ws://, wss:// or ws+unix:PATH[:TARGET]; user:password@ are HTTP Basic credentials
 * opts     borrowed; NULL for all defaults
 * Returns  WEFT_OK
 *          WEFT_E_INVAL     the URL or an option is wrong; the log says which
 *          WEFT_E_REFUSED   an HTTP answer other than 101; WEFT_E_PROTOCOL: it was no proper answer
 *          WEFT_E_TIMEOUT   not open within open_timeout_ms
 *          WEFT_E_ADDRESS   no such name; WEFT_E_SYSTEM: no address could be connected to (errno); WEFT_E_CLOSED: it
 *                           ended before it was open; WEFT_E_TLS: no trust, or no common ground
 *          WEFT_E_CANCELED  the calling task was canceled
 *          WEFT_E_STATE     on an I/O thread; the server does not run
 *          WEFT_E_AGAIN     no thread can be had for the handler
 *          WEFT_E_NOMEM
 * Thread   any that may block
 * Source   RFC 6455 sections 3, 4.1
 * Since    0.1 */
WEFT_API int weft_client_connect(weft_conn **out, const char *url, const weft_client_opts *opts);

/* Make a client for sessions that follow each other. Nothing is connected yet.
 *
 * Returns  WEFT_OK, WEFT_E_INVAL, WEFT_E_NOMEM, WEFT_E_STATE, WEFT_E_SYSTEM
 * Thread   any */
WEFT_API int weft_client_new(weft_client **out, const char *url, const weft_client_opts *opts);

/* The next session: waits until the last one has closed and its last callback has returned, then for the
 * delay, and connects; with opts.reconnect again and again, as long as should_retry says so.
 *
 * out         as in weft_client_connect
 * timeout_ms  for all of it
 * Returns     as weft_client_connect; WEFT_E_TIMEOUT may be called again; WEFT_E_CLOSED: weft_client_stop was called
 * Thread      any that may block, but no callback of this client; one at a time, and not behind weft_client_start
 *             (WEFT_E_STATE) */
WEFT_API int weft_client_next(weft_client *client, weft_conn **out, uint32_t timeout_ms);

/* Run the sessions in the background, with the callbacks or the handler.
 *
 * Returns  WEFT_OK, WEFT_E_STATE (started, stopped, or weft_client_next was called), WEFT_E_INVAL (neither
 * callbacks nor
 *          handler), WEFT_E_AGAIN (no thread can be had)
 * Thread   any */
WEFT_API int weft_client_start(weft_client *client);

/* End the session with 1001, attempts at once, and make no more; wait until the last on_close has returned.
 *
 * deadline_ms  for the closing handshake, then the connection is dropped
 * Returns      WEFT_OK, WEFT_E_TIMEOUT (a callback or handler has not returned one second behind the deadline),
 *              WEFT_E_STATE (in a callback or handler of this client, or of the server on whose threads it
 *              runs)
 * Thread       any that may block */
WEFT_API int weft_client_stop(weft_client *client, uint32_t deadline_ms);

/* One more reference, returns client; and one given back (NULL is allowed). The last one ends the attempts
 * and drops the session; its on_close may come later. Thread: any. */
WEFT_API weft_client *weft_client_ref(weft_client *client);
WEFT_API void weft_client_unref(weft_client *client);

/* End the threads that clients share, and the connections that still run on them, as weft_server_stop does.
 * For programs that check at their end that nothing is left; the next client starts them again.
 *
 * Returns  as weft_server_stop; WEFT_OK when there are none */
WEFT_API int weft_client_stop_threads(uint32_t deadline_ms);

#ifdef __cplusplus
}
#endif

#endif
