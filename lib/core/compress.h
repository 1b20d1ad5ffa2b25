/* permessage-deflate on a connection: what was agreed, the locks of those who send and receive, and the end
 * of a connection whose peer sends what cannot be inflated. Only connections that agreed have one
 * (conn.is_squeezed).
 *
 * K1  Who compresses holds the sending lock from before squeeze_out until the push, so messages leave in
 *     the order in which the compressor has seen them. What goes plain needs no lock: it changes no context.
 * K2  Messages that refer to others (OUT_MESSAGE) are never dropped but at the end of the connection, so
 *     the peer's window follows our compressor's. A broadcast refers to nothing and nothing refers across
 *     it, so the slow-reader policies may drop it, compressed or not.
 * K3  Whether there is room is asked before anything is compressed; behind squeeze_out only the outbox's
 *     end refuses a push, and then no context matters any more.
 * K4  Messages are inflated in the order of their arrival: by the worker that holds the mailbox, or where
 *     the program receives (straight.h) under the receiving lock, which is taken before the queue's and
 *     held from before a message is taken out until it is inflated.
 * K5  Behind a message that cannot be inflated none is handed to the program. The I/O thread fails the
 *     connection behind what was sent before; `fault` travels with a link to the dirty list.
 * K6  Contexts go back behind on_close, for a handle may live long; that of receiving only behind the last
 *     message, which a program may take later. Behind the end of the outbox no new one is made.
 * K7  Where the program receives in parts, each part is inflated when the program comes for it, piece by
 *     piece: between two calls there is one part as it came, the inflater, and no output. */
#ifndef WEFT_CORE_COMPRESS_H
#define WEFT_CORE_COMPRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/msg.h"
#include "base/thr.h"
#include "core/squeeze.h"

struct compress;
struct weft_conn;

/* It was agreed: before the connection is opened. Once more: with these parameters instead. WEFT_OK,
 * WEFT_E_NOMEM. */
int compress_agree(struct weft_conn *c, const struct deflate_params *params);
void compress_free(struct compress *z); /* NULL is allowed */
/* K6. in: by who takes messages, under K4. */
void compress_forget_out(struct weft_conn *c);
void compress_forget_in(struct weft_conn *c);

/* --- of a connection with is_squeezed --- */

/* Any thread. Would this message be compressed? */
bool compress_wants(const struct weft_conn *c, const weft_msg *m);
/* K1. Between these two the caller may use the result; NULL: the outbox is closed. */
struct squeeze_conn *compress_begin_out(struct weft_conn *c);
void compress_end_out(struct weft_conn *c);

/* K4 */
void compress_begin_in(struct weft_conn *c);
void compress_end_in(struct weft_conn *c);
/* The message as the program gets it; m is given. NULL: the connection fails (K5). */
weft_msg *compress_take(struct weft_conn *c, weft_msg *m);
/* With receive_parts (K7): part is given, compressed, with its marks of straight.h. The one before was used up. */
void compress_give_part(struct weft_conn *c, weft_msg *part);
bool compress_has_part(const struct weft_conn *c); /* one that is not used up */
/* The next piece of it as the program gets it, marked; NULL: there is none for now, or the connection fails (K5). */
weft_msg *compress_next_piece(struct weft_conn *c);
/* The program wants no more of what comes: fail the connection, as if it could not be inflated. */
void compress_fail(struct weft_conn *c, int error);

/* K5: why, and how to say it. */
int compress_fault(struct weft_conn *c, uint16_t *code, const char **reason) ON_IO;

#endif
