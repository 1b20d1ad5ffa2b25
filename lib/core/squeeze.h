/* The compressors and inflaters of an engine: who has one, what they hold together, and what each connection
 * does with its messages.
 *
 *   I1  A connection that has not sent (received) a compressed message owns no compressor (inflater).
 *   I2  What is not taken over is borrowed for one message and goes back to the shelf of its thread. A
 *       thread finds there what it put there last, so without takeover each worker works with one compressor.
 *       An inflater that takes over a small window is borrowed too: the connection keeps that window only.
 *       So is a packer (packer.h), which compresses all messages for which no level was chosen, but those
 *       that take over a large window. A deflater or inflater that takes over stays with the connection.
 *   I3  `bytes` counts all of them, in use and on shelves. Above bytes_max nothing goes to a shelf, a new
 *       connection is offered no takeover (squeeze_is_short), and one that has no compressor yet borrows it
 *       even if it might take over, for that is the sender's to choose. What inflates under a takeover that
 *       was agreed is kept.
 *   I4  What our compressor remembers is what the peer has seen, message by message in the order in which
 *       they leave. So squeeze_out and the push into the outbox are done under one lock of the connection,
 *       the caller's; squeeze_in is for one thread at a time, in the order of arrival.
 *
 *   object        | lock
 *   a shelf       | its own, never held while anything is compressed, allocated or waited for
 *   bytes, counts | atomic, relaxed: sums that order nothing
 *   squeeze_conn  | out: the caller's send lock; in: the mailbox, or the lock of those who receive
 *
 * No I/O thread has to come here: squeeze_out runs in the sender's thread, squeeze_in in the receiver's. */
#ifndef WEFT_CORE_SQUEEZE_H
#define WEFT_CORE_SQUEEZE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/msg.h"
#include "base/thr.h"
#include "proto/deflate.h"
#include "proto/packer.h"
#include "proto/window.h"
#include "weft/stats.h"

/* Defaults, for 0. */
#define SQUEEZE_BYTES_MAX ((size_t)256 * 1024 * 1024)
#define SQUEEZE_BYTES_MIN 64u /* a shorter message goes plain */

/* A window up to 2^this is kept without its inflater; to copy a larger one costs more than it saves. */
#define SQUEEZE_SAVED_WINDOW_BITS 12
/* And up to this without its compressor, where there is a packer: to read a larger one anew for each message takes
 * longer than zlib, which remembers what it has read. */
#define SQUEEZE_PACKED_WINDOW_BITS 14

#define SQUEEZE_SHELVES    16
#define SQUEEZE_WINDOWS    (DEFLATE_WINDOW_BITS_MAX - DEFLATE_WINDOW_BITS_MIN + 1)
#define SQUEEZE_SHELF_KEEP 2 /* of each kind, on each shelf */

struct squeeze_opts {
    size_t bytes_max;   /* the budget; 0: SQUEEZE_BYTES_MAX */
    uint32_t bytes_min; /* the threshold; 0: SQUEEZE_BYTES_MIN; 1 for none */
    uint8_t level;      /* zlib's, 1 to 9; 0: a packer's, or DEFLATE_LEVEL_TAKEOVER and _ALONE without one */
    uint8_t mem_level;  /* zlib's, 1 to 9; 0: DEFLATE_MEM_LEVEL_DEFAULT */
};

/* What waits to be used again, of one direction. */
struct squeeze_pile {
    void *kept[SQUEEZE_SHELF_KEEP];
    unsigned count;
};

/* Messages, and the bytes of their payloads. */
struct squeeze_count {
    _Atomic uint64_t messages, from_bytes, to_bytes;
};

struct squeeze_shelf {
    _Alignas(THR_CACHE_LINE) pthread_mutex_t lock;
    struct squeeze_pile out[SQUEEZE_WINDOWS], in[SQUEEZE_WINDOWS], alone; /* under lock */
    struct squeeze_count packed, inflated;                                /* what its threads have done */
};

struct squeeze {
    struct squeeze_opts opts; /* (c) without zeros but level's */
    _Alignas(THR_CACHE_LINE) _Atomic int64_t bytes;
    struct squeeze_shelf shelves[SQUEEZE_SHELVES];
};

/* (setup) fini: all connections have given back what they had. */
void squeeze_init(struct squeeze *s, const struct squeeze_opts *opts);
void squeeze_fini(struct squeeze *s);

struct squeeze *squeeze_new(const struct squeeze_opts *opts); /* NULL: no memory */
void squeeze_free(struct squeeze *s);                         /* NULL is allowed */
/* Has it these options? Both without zeros but level's. */
bool squeeze_is_as(const struct squeeze *s, const struct squeeze_opts *opts);
void squeeze_add_stats(const struct squeeze *s, weft_stats *out);

/* What all contexts hold now; is it above the budget? any */
size_t squeeze_bytes(const struct squeeze *s);
bool squeeze_is_short(const struct squeeze *s);

/* A connection for which permessage-deflate was agreed. */
struct squeeze_conn {
    struct squeeze *shared; /* (c) borrowed */
    struct deflater *out;   /* under the caller's send lock: it remembers what the peer has seen */
    struct window sent;     /* the same, where a packer compresses; without memory: nothing is remembered */
    struct inflater *in;    /* the receiver's: one with a large window, kept */
    struct window received; /* the receiver's, a small one: what the next message may refer to */
    bool in_message;        /* the receiver's: of one that comes in parts, something was inflated */
    struct deflate_params params; /* (c) */
};

void squeeze_conn_init(struct squeeze_conn *c, struct squeeze *s, const struct deflate_params *params);
void squeeze_conn_fini(struct squeeze_conn *c); /* nobody sends or receives any more; also when all zero */
/* One direction only; it may be used again, from the start. */
void squeeze_conn_fini_out(struct squeeze_conn *c);
void squeeze_conn_fini_in(struct squeeze_conn *c);

/* Would m be compressed for this connection? Its length and type, weft_msg_set_plain and what was agreed
 * decide. any */
bool squeeze_wants(const struct squeeze_conn *c, const weft_msg *m);

/* Compress a message that is about to be pushed, under the send lock (I4).
 *
 * m        borrowed, sealed
 * Returns  what is to be pushed: a new message, which is given; or m itself when it goes plain, be it for
 *          lack of memory. What is returned must be pushed, or nothing any more. */
weft_msg *squeeze_out(struct squeeze_conn *c, weft_msg *m);

/* Inflate a received message that is marked compressed. As inflater_message: behind a failure the connection
 * is over. */
int squeeze_in(struct squeeze_conn *c, const weft_msg *m, size_t bytes_max, weft_msg **out);
/* The same for a message that comes in parts: as inflater_feed. The inflater is kept until the message's end. Behind
 * INFLATER_BAD and INFLATER_NOMEM the connection is over. */
enum inflater_result squeeze_in_some(struct squeeze_conn *c, const uint8_t *in, size_t n, bool is_last,
                                     size_t *used, uint8_t *out, size_t room, size_t *made);

/* One message for many connections, compressed once for all whose windows are alike.
 *
 * It begins and ends without a context. A connection that takes over forgets its own with it (I4), which
 * costs less than to compress for each of them. Belongs to one thread. */
struct squeeze_fan {
    struct squeeze *shared;            /* borrowed */
    weft_msg *plain;                   /* borrowed */
    weft_msg *packed[SQUEEZE_WINDOWS]; /* NULL: not made yet; plain itself where it does not get smaller */
};

void squeeze_fan_init(struct squeeze_fan *f, struct squeeze *s, weft_msg *plain);
void squeeze_fan_fini(struct squeeze_fan *f);
/* What is to be pushed to c, under its send lock; borrowed from f. c NULL: deflate was not agreed. */
weft_msg *squeeze_fan_out(struct squeeze_fan *f, struct squeeze_conn *c);

#endif
