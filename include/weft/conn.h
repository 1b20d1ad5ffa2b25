/* One WebSocket connection, as seen by any thread.
 *
 * A handle is valid while its holder has a reference. Callbacks borrow one for the call; whoever keeps the
 * handle longer takes a reference of its own. After the close every call answers WEFT_E_CLOSED and nothing
 * worse. */
#ifndef WEFT_CONN_H
#define WEFT_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/error.h"
#include "weft/msg.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_conn weft_conn;

/* As a timeout: wait without end. */
#define WEFT_FOREVER UINT32_MAX

/* One more reference; returns c. And one given back; NULL is allowed. Thread: any. Since: 0.1 */
WEFT_API weft_conn *weft_conn_ref(weft_conn *c);
WEFT_API void weft_conn_unref(weft_conn *c);

/* Queue one message for sending.
 *
 * c        open connection, borrowed
 * m        given: one reference passes to the library on WEFT_OK; on failure it stays with the caller
 * Returns  WEFT_OK        accepted; delivery is not implied
 *          WEFT_E_CLOSED  the closing handshake has begun; no later call can succeed
 *          WEFT_E_AGAIN   only on an I/O thread, which never waits: the outbox is at its hard bound
 *          WEFT_E_CANCELED  the calling task was canceled while it waited for room (weft/task.h)
 *          WEFT_E_NOMEM
 * Thread   any; messages of one thread keep their order, and a send that happened before another leaves
 * before it.
 *          Blocks while the outbox is above its high-water mark, until it is below the low one or the
 *          connection closes.
 * Source   RFC 6455 section 6.1
 * Since    0.1 */
WEFT_API int weft_conn_send(weft_conn *c, weft_msg *m);

/* Queue one message if there is room now.
 *
 * As weft_conn_send, but never blocks: WEFT_E_AGAIN while the outbox is above its high-water mark. on_drain
 * tells when there is room again. Since 0.1 */
WEFT_API int weft_conn_try_send(weft_conn *c, weft_msg *m);

/* Make a text message of a string and queue it: weft_msg_new and weft_conn_send in one.
 *
 * text     borrowed, UTF-8, ends with NUL
 * Returns  as both
 * Since    0.1 */
WEFT_API int weft_conn_send_text(weft_conn *c, const char *text);

/* Receive the next message, in straight-line programs: in a handler, or on a client connection without
 * callbacks.
 *
 * out         set to the message, one reference, on WEFT_OK
 * timeout_ms  0: do not wait; WEFT_FOREVER
 * Returns     WEFT_OK
 *             WEFT_E_CLOSED    closed, and everything that arrived before was received; see
 *             weft_conn_close_info WEFT_E_TIMEOUT, WEFT_E_CANCELED   nothing was taken: the message will be
 *             the next call's WEFT_E_NOMEM     with receive_parts only; nothing was taken
 *             WEFT_E_TOO_BIG   with receive_parts only: larger than message_bytes_max; the connection closes
 *             with 1009 WEFT_E_STATE     another thread is receiving and handler_concurrency is 1, the
 *             connection has
 *                              callbacks instead, or this is an I/O thread
 * Thread      any that may block; up to handler_concurrency at once
 * Source      RFC 6455 section 6.2
 * Since       0.1 */
WEFT_API int weft_conn_recv(weft_conn *c, weft_msg **out, uint32_t timeout_ms);

/* Send a Ping. The library sends its own at every ping interval; this one is the program's.
 *
 * data     borrowed, at most 125 bytes
 * Returns  WEFT_OK, WEFT_E_CLOSED, WEFT_E_INVAL (too long), WEFT_E_AGAIN (above the high-water mark),
 * WEFT_E_NOMEM
 * Thread   any; never blocks
 * Source   RFC 6455 section 5.5.2
 * Since    0.1 */
WEFT_API int weft_conn_ping(weft_conn *c, const void *data, size_t bytes);

/* Send a Ping and wait for its Pong.
 *
 * latency_us  set on WEFT_OK, microseconds; may be NULL
 * Returns     WEFT_OK, WEFT_E_TIMEOUT, WEFT_E_CLOSED, WEFT_E_CANCELED, WEFT_E_AGAIN, WEFT_E_NOMEM,
 *             WEFT_E_STATE (on an I/O thread)
 * Thread      any that may block; any number at once
 * Source      RFC 6455 sections 5.5.2, 5.5.3
 * Since       0.1 */
WEFT_API int weft_conn_ping_wait(weft_conn *c, uint32_t timeout_ms, uint32_t *latency_us);

/* Begin the closing handshake. What was sent before leaves before the Close frame; later sends answer
 * WEFT_E_CLOSED.
 *
 * code     1000 to 1003, 1007 to 1014, 3000 to 4999, or 0 for a Close frame without a code
 * reason   borrowed, UTF-8, at most 123 bytes; NULL for none
 * Returns  WEFT_OK        also when it is closing or closed already: the first close counts
 *          WEFT_E_INVAL   a code that may not be sent, a reason that is too long or not UTF-8
 *          WEFT_E_NOMEM
 * Thread   any; never blocks
 * Source   RFC 6455 sections 5.5.1, 7.1.2
 * Since    0.1 */
WEFT_API int weft_conn_close(weft_conn *c, uint16_t code, const char *reason);

/* End the connection now, without a closing handshake; what is queued is dropped. Thread: any. Since: 0.1 */
WEFT_API void weft_conn_abort(weft_conn *c);

/* How a connection ended. Complete once on_close has been called. */
typedef struct weft_close_info {
    uint16_t received_code; /* of the peer's Close frame; 1005 without a code, 1006 when none came */
    uint16_t sent_code;     /* of ours; 1005 without a code, 1006 when none was sent */
    bool clean;             /* both Close frames were exchanged */
    bool by_peer;           /* the peer's came first, or it dropped the connection */
    int error;              /* WEFT_OK, or why the connection was given up */
    const char *reason;     /* of the peer's Close frame, UTF-8, "" for none; lives as long as the connection */
} weft_close_info;

/* Wait until the connection has ended and weft_conn_close_info can tell how.
 *
 * Returns  WEFT_OK, WEFT_E_TIMEOUT, WEFT_E_CANCELED, WEFT_E_NOMEM, WEFT_E_STATE (on an I/O thread)
 * Thread   any that may block
 * Since    0.1 */
WEFT_API int weft_conn_wait_closed(weft_conn *c, uint32_t timeout_ms);

/* Thread: any, from on_close on, or once weft_conn_wait_closed or weft_conn_recv said so. Returns WEFT_OK or
 * WEFT_E_STATE (not closed yet). Since: 0.1 */
WEFT_API int weft_conn_close_info(const weft_conn *c, weft_close_info *out);

/* A number of its own for each connection of the process, also found on each of its log lines. Since: 0.1 */
WEFT_API uint64_t weft_conn_id(const weft_conn *c);
/* Bytes waiting in the outbox, roughly: other threads go on sending. Since: 0.1 */
WEFT_API size_t weft_conn_outbox_bytes(const weft_conn *c);
/* Messages that the slow-reader policy dropped on this connection. Since: 0.1 */
WEFT_API uint64_t weft_conn_dropped(const weft_conn *c);
/* The negotiated subprotocol, "" for none; the peer's address as text ("127.0.0.1:4711", "unix").
 * The strings live as long as the connection. Thread: any, from on_open on. Since: 0.1 */
WEFT_API const char *weft_conn_subprotocol(const weft_conn *c);
/* out      receives the text with its NUL, cut at room bytes; 64 are always enough */
WEFT_API const char *weft_conn_peer(const weft_conn *c, char *out, size_t room);

/* The program's pointer. Set by weft_request_accept or here; the library never touches what it points to.
 * Thread: any, but the program orders its own set against its own get (callbacks of one connection are
 * ordered). */
WEFT_API void weft_conn_set_data(weft_conn *c, void *data);
WEFT_API void *weft_conn_data(const weft_conn *c);

#ifdef __cplusplus
}
#endif

#endif
