/* A message of a connection that is sent in parts, each a frame of its own.
 *
 * Two halves share one struct:
 *   - the sender's, any thread, under the lock: whether one is open, its type, and its text so far;
 *   - the I/O thread's: what is held back while its frames leave (conn.is_streaming; transmit.c, T4).
 *
 * S1  What is held back counts in outbox_bytes, so whoever else wants to send waits, or meets the slow-reader
 *     policy. The sender of parts does not wait for it, for it would wait for itself: its room is
 *     outbox_bytes less held_bytes. It waits on `turn` with CONN_DRAIN_STREAM, as others do on drain_turn
 *     (conn.h, C6).
 * S2  The next message in parts begins behind the last frame of this one, in the outbox too. */
#ifndef WEFT_CORE_STREAM_H
#define WEFT_CORE_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "base/msg.h"
#include "base/thr.h"

struct weft_conn;
struct stream;

void stream_free(struct stream *st);

/* Any thread; see weft/stream.h. */
int stream_begin(struct weft_conn *c, enum weft_msg_type type);
int stream_send(struct weft_conn *c, const void *data, size_t bytes);
int stream_end(struct weft_conn *c);

void stream_hold(struct weft_conn *c, struct msg_link *link) ON_IO;
struct node *stream_take_held(struct weft_conn *c) ON_IO;                 /* all, in order */
struct msg_link *stream_take_oldest_broadcast(struct weft_conn *c) ON_IO; /* of what is held; NULL for none */
uint64_t stream_held_bytes(struct weft_conn *c);
void stream_tell(struct weft_conn *c); /* whoever waits to send a part or to begin looks again */

#endif
