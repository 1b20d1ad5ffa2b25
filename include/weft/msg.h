/* A message: text or binary, whole, counted by reference, the same in every outbox it stands in.
 *
 * A message does not change once it has been sent or was received: it may then be in many queues at once.
 * The count of references is atomic; everything else is read only. */
#ifndef WEFT_MSG_H
#define WEFT_MSG_H

#include <stddef.h>
#include <stdint.h>

#include "weft/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_msg weft_msg;

/* The values are the opcodes. Source: RFC 6455 section 5.6 */
enum weft_msg_type { WEFT_TEXT = 1, WEFT_BINARY = 2 };

/* Make a message from bytes, which are copied.
 *
 * out      set to the message, one reference, on WEFT_OK; otherwise untouched
 * type     WEFT_TEXT or WEFT_BINARY; text is not checked here: it must be UTF-8
 * data     borrowed, bytes long; may be NULL when bytes is 0
 * bytes    length of the payload
 * Returns  WEFT_OK, WEFT_E_NOMEM, WEFT_E_INVAL
 * Thread   any
 * Source   RFC 6455 section 5.6
 * Since    0.1 */
WEFT_API int weft_msg_new(weft_msg **out, enum weft_msg_type type, const void *data, size_t bytes);

/* Make a message whose payload the caller writes before the first send.
 *
 * out      set to the message, one reference, on WEFT_OK
 * payload  set to where the payload is to be written; not initialized
 * Returns  WEFT_OK, WEFT_E_NOMEM, WEFT_E_INVAL
 * Thread   any
 * Since    0.1 */
WEFT_API int weft_msg_new_raw(weft_msg **out, enum weft_msg_type type, size_t bytes, void **payload);

/* This message is not to be compressed, whatever was negotiated: what does not get smaller (pictures,
 * archives), or what must not share a compressor with text that a stranger chooses.
 *
 * m        borrowed; not sent yet
 * Thread   any, before the first send
 * Source   RFC 7692 section 6
 * Since    0.1 */
WEFT_API void weft_msg_set_plain(weft_msg *m);

/* Take one more reference.
 *
 * m        borrowed
 * Returns  m
 * Thread   any
 * Since    0.1 */
WEFT_API weft_msg *weft_msg_ref(weft_msg *m);

/* Give a reference back; the last one frees the message.
 *
 * m        given; NULL is allowed
 * Thread   any
 * Since    0.1 */
WEFT_API void weft_msg_unref(weft_msg *m);

/* Payload, its length in bytes and its type; valid while the caller holds a reference. A text payload has no
 * terminating NUL. Thread: any. Since: 0.1 */
WEFT_API const void *weft_msg_data(const weft_msg *m);
WEFT_API size_t weft_msg_bytes(const weft_msg *m);
WEFT_API enum weft_msg_type weft_msg_type(const weft_msg *m);

#ifdef __cplusplus
}
#endif

#endif
