/* permessage-deflate on messages: a compressor and an inflater, without threads; the only place that knows
 * zlib.
 *
 *   - A deflater or inflater belongs to one thread at a time. What it holds is counted, so that its owner can
 *     keep a budget; it takes its window when it first needs one.
 *   - Whether a context is taken over from message to message is its owner's to say: without, reset it before
 *     each.
 *   - The output of an inflater never grows beyond its cap, by not one byte, while it inflates.
 *   - A raw window of 2^8 is more than zlib can compress to (it makes 2^9 of it); to inflate, a larger one
 *     serves.
 *
 * Source: RFC 7692 section 7.2, RFC 1951 */
#ifndef WEFT_PROTO_DEFLATE_H
#define WEFT_PROTO_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/msg.h"
#include "proto/window.h"

#define DEFLATE_WINDOW_BITS_MIN 9 /* that can be compressed to */
#define DEFLATE_WINDOW_BITS_MAX 15

/* Chosen by measurement, see docs/decisions/0013-deflate-level.md. */
#define DEFLATE_LEVEL_TAKEOVER    2
#define DEFLATE_LEVEL_ALONE       1 /* without takeover */
#define DEFLATE_MEM_LEVEL_DEFAULT 5

/* What was negotiated, as our side sees it. */
struct deflate_params {
    uint8_t out_window_bits; /* 9 to 15; 0: all that we send goes plain */
    uint8_t in_window_bits;  /* 8 to 15 */
    bool out_takeover;       /* what we send may refer to earlier messages */
    bool in_takeover;        /* what we receive may */
};

/* A payload of n bytes compressed is never longer than this, by us or by any peer that uses deflate with
 * sense. */
static inline uint64_t deflate_bytes_max(uint64_t n)
{
    return n + n / 8 + n / 32 + 64;
}

/* --- compressing --- */

struct deflater;

/* window_bits 9 to 15, level 1 to 9, mem_level 1 to 9. NULL: no memory. */
struct deflater *deflater_new(unsigned window_bits, unsigned level, unsigned mem_level);
void deflater_free(struct deflater *d); /* NULL is allowed */
/* Forget all earlier messages. Costs nothing when there were none. */
void deflater_reset(struct deflater *d);
/* Behind a reset, before the next message. Costs next to nothing. */
void deflater_set_level(struct deflater *d, unsigned level);
size_t deflater_bytes(const struct deflater *d); /* what it holds */
unsigned deflater_window_bits(const struct deflater *d);

/* Compress a message.
 *
 * m        borrowed, sealed, not compressed
 * out      set on WEFT_OK: a new sealed message with RSV1; or NULL, when m is to be sent as it is because it
 *          does not get smaller. Then what the peer has seen and what d remembers still agree.
 * keeps    d keeps its context for the next message. If so, a short message that gets a little longer is
 *          compressed all the same, for the sake of what d remembers.
 * Returns  WEFT_OK; WEFT_E_NOMEM: nothing was made, and d is reset; m may go plain
 * Source   RFC 7692 section 7.2.1 */
int deflater_message(struct deflater *d, const weft_msg *m, bool keeps, weft_msg **out);

/* --- inflating --- */

struct inflater;

/* window_bits 8 to 15. NULL: no memory. */
struct inflater *inflater_new(unsigned window_bits);
void inflater_free(struct inflater *z); /* NULL is allowed */
/* Begin anew, with a message whose window is at most this; also behind a failure. */
void inflater_reset(struct inflater *z, unsigned window_bits);
size_t inflater_bytes(const struct inflater *z); /* what it holds; grows with the first message */
unsigned inflater_window_bits(const struct inflater *z);

/* Between messages: what the next one may refer to, so that who has it can go on with another inflater.
 *
 * save     into a window of 2^inflater_window_bits bytes, in place of what is there
 * restore  behind a reset to the same window. WEFT_OK, WEFT_E_NOMEM */
void inflater_save(struct inflater *z, struct window *w);
int inflater_restore(struct inflater *z, const struct window *w);

/* Inflate a message.
 *
 * m          borrowed, sealed, compressed
 * bytes_max  so many bytes pass, not one more
 * out        set to a new sealed message on WEFT_OK
 * Returns    WEFT_OK
 *            WEFT_E_TOO_BIG   more than bytes_max
 *            WEFT_E_PROTOCOL  this is no deflate data, refers to what there never was, or ends inside a block
 *            WEFT_E_UTF8      a text that is not
 *            WEFT_E_NOMEM
 *            Behind a failure only inflater_reset and inflater_free are allowed.
 * Source     RFC 7692 section 7.2.2; blocks with BFINAL: 7.2.3.4 */
int inflater_message(struct inflater *z, const weft_msg *m, size_t bytes_max, weft_msg **out);
/* The Close code that answers a failure of inflater_message, and the reason, static. */
uint16_t inflater_close_code(int rc, const char **reason);

/* The same part by part, for who has no room for all of it. The payload comes in pieces, behind the last of
 * them is_last; the output goes where there is room.
 *
 * in, n      borrowed until taken; n may be 0
 * used       set to how many bytes of in were taken
 * made       set to how many bytes were written to out
 * room       at least 1
 * Returns    INFLATER_MORE  all of in is taken: feed the next piece
 *            INFLATER_FULL  out is full, and more may come: call again with what is left of in, and new room
 *            INFLATER_END   is_last was set and the message is complete
 *            INFLATER_BAD   as WEFT_E_PROTOCOL above
 *            INFLATER_NOMEM */
enum inflater_result { INFLATER_MORE, INFLATER_FULL, INFLATER_END, INFLATER_BAD, INFLATER_NOMEM };
enum inflater_result inflater_feed(struct inflater *z, const uint8_t *in, size_t n, bool is_last,
                                   size_t *used, uint8_t *out, size_t room, size_t *made);

#endif
