/* Straight-line connections: messages wait in a queue until the program takes them; a handler runs beside.
 *
 * The worker that runs the mailbox stays the inbox's only consumer; instead of calling on_message it moves
 * what arrived into this queue. With handler_concurrency above 1 in callback style the same queue feeds
 * several threads that call on_message.
 *
 * G1  A message counts as handled (conn.h, C7) when it is taken out, so what is in the queue bounds the
 *     reading.
 * G2  Behind the peer's fault (CONN_EVENT_FAILED) the Close is sent by who comes for a message and finds
 *     none: what came before was answered by then, or never will be.
 * G3  The end: the worker that finds CLOSED, with all messages in the queue, says so here once
 *     (straight_end). If nobody runs then, it finishes the connection itself. Otherwise who ends last (the
 *     handler, or the last of several consumers) links the connection once more, io notifies RETURNED, and
 *     the worker that takes that finishes it (conn.h, C10). So on_close is last, and engine.alive counts
 *     handlers.
 * G4  Once the handler has returned nobody takes messages: they are thrown away as they come, so that the
 *     peer's Close is read.
 * G5  With receive_parts a compressed part is taken out of the queue to be inflated, and its pieces pass through
 *     `ready`, which is before the queue (compress.h, K7).
 * G6  Lock order: the receiving lock (compress.h, K4), then a connection's lock, which is the innermost; no
 *     function of another module is called under it but turn_next and those of messages. */
#ifndef WEFT_CORE_STRAIGHT_H
#define WEFT_CORE_STRAIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/node.h"
#include "base/thr.h"
#include "weft/conn.h"

struct slot_wait;
struct straight;

/* Marks of a part, in the kind of its link while it is in an inbox or a queue. INFLATED: as the program gets it, and
 * counted as handled before. */
enum straight_part { PART_FIRST = 1, PART_LAST = 2, PART_INFLATED = 4 };

/* The connection gets its queue, before it is opened. WEFT_OK, WEFT_E_NOMEM. */
int straight_make(struct weft_conn *c);
void straight_free(struct straight *s);
struct slot_wait *straight_wait(struct weft_conn *c); /* NULL: it is no straight-line connection */

/* The handler begins, behind on_open; a thread was reserved for it. Nothing when there is no handler. */
void straight_begin(struct weft_conn *c) ON_WORKER;
/* These arrived: a chain in order. */
void straight_put(struct weft_conn *c, struct node *list) ON_WORKER;
void straight_fail(struct weft_conn *c) ON_WORKER; /* G2 */
/* G3. True: finish it now. is_again: RETURNED was taken. */
bool straight_end(struct weft_conn *c, bool is_again) ON_WORKER;
/* Was it linked for the sake of RETURNED? Once. */
bool straight_take_return(struct weft_conn *c) ON_IO;

/* weft_conn_recv and weft_conn_recv_part; is_last NULL: whole messages. */
int straight_recv(struct weft_conn *c, weft_msg **out, bool *is_last, uint32_t timeout_ms);

#endif
