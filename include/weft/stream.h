/* Messages in parts: for what is larger than memory, or not known as a whole when it begins.
 *
 * One message of a connection can be under way in each direction. While one is being sent, other messages of
 * that connection wait behind it, whoever sends them; Pings, Pongs and the Close do not. */
#ifndef WEFT_STREAM_H
#define WEFT_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/conn.h"
#include "weft/error.h"
#include "weft/msg.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Receive the next part of a message.
 *
 * With the option receive_parts a part is what has arrived of a frame, inflated if it came compressed, at most
 * 64 KiB, and a message may be of any length; weft_conn_recv still gives whole messages, or what is left of one,
 * within message_bytes_max. Without it, and behind a weft_conn_recv that timed out in the middle, each message is
 * one part.
 *
 * out      set on WEFT_OK: the part, one reference; its type is that of the message. Text is checked, but a
 *          character may be cut in two
 * is_last  set on WEFT_OK: the message ends with it
 * Returns  as weft_conn_recv
 * Thread   as weft_conn_recv
 * Source   RFC 6455 section 5.4
 * Since    0.1 */
WEFT_API int weft_conn_recv_part(weft_conn *c, weft_msg **out, bool *is_last, uint32_t timeout_ms);

/* Begin a message that is sent in parts.
 *
 * type     WEFT_TEXT or WEFT_BINARY
 * Returns  WEFT_OK, WEFT_E_INVAL, WEFT_E_CLOSED, WEFT_E_CANCELED, WEFT_E_NOMEM
 *          WEFT_E_AGAIN  on an I/O thread: another one is being sent
 * Thread   any; blocks while another thread's message is being sent in parts
 * Source   RFC 6455 section 5.4
 * Since    0.1 */
WEFT_API int weft_conn_send_begin(weft_conn *c, enum weft_msg_type type);

/* Send its next part: one frame.
 *
 * data     borrowed, copied. Text has to be UTF-8, but a character may be cut in two
 * bytes    0 to 1 GiB
 * Returns  WEFT_OK, WEFT_E_CLOSED, WEFT_E_CANCELED, WEFT_E_NOMEM, WEFT_E_STATE (none was begun)
 *          WEFT_E_UTF8   nothing was sent of this part
 *          WEFT_E_AGAIN  on an I/O thread: the outbox is at its hard bound
 * Thread   any; blocks as weft_conn_send does. Who began the message sees to it that parts come in order
 * Since    0.1 */
WEFT_API int weft_conn_send_part(weft_conn *c, const void *data, size_t bytes);

/* End it. It has to be called even when a part failed, except when the connection is closed: until then other
 * messages wait. Never blocks.
 *
 * Returns  WEFT_OK, WEFT_E_CLOSED, WEFT_E_NOMEM, WEFT_E_STATE (none was begun)
 *          WEFT_E_UTF8   the text ended within a character; the connection is closed with 1007, for what was
 *                        begun cannot be taken back */
WEFT_API int weft_conn_send_end(weft_conn *c);

#ifdef __cplusplus
}
#endif

#endif
