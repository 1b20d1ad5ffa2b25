/* What weft_msg is, and the link by which anything waits in an outbox.
 *
 * I1  link.node comes first in both, so a queue can be cast back to what is in it.
 * I2  A message in an inbox is linked by msg->link; one in an outbox too, if the sender held its only
 *     reference (then nobody else can need the link). Shared messages get a link of their own for each
 *     queue, a broadcast one gets them in fans.
 * I3  header[MSG_HEADER_ROOM - header_bytes ..] and the payload behind it are one unmasked frame: what a
 *     server sends is written once, when the message is made. Nothing changes behind that but refs and link.
 *
 *   refs   decrement: acq_rel (MSG_LAST: what every holder did comes before the end); increment: relaxed, who has a
 *          reference may hand on another without order */
#ifndef WEFT_BASE_MSG_H
#define WEFT_BASE_MSG_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/node.h"
#include "weft/msg.h"

#define MSG_HEADER_ROOM 14
/* So that what waits in an inbox, marks and one more message, can be counted in 32 bits. */
#define MSG_BYTES_MAX (1u << 30)

/* Whose memory a link is: the message's, its own, or that of a fan of links (outbox.c). */
enum msg_link_home { MSG_LINK_IN_MSG, MSG_LINK_ALONE, MSG_LINK_IN_FAN };

struct msg_link {
    struct node node;
    weft_msg *msg;
    uint8_t kind;  /* the queue's own */
    uint8_t home;  /* enum msg_link_home */
    uint8_t place; /* MSG_LINK_IN_FAN: which of the fan's */
    uint8_t spare;
    uint32_t wire_bytes; /* header and payload */
};

struct weft_msg {
    struct msg_link link;
    _Atomic uint32_t refs;
    uint32_t bytes;
    uint8_t type : 4; /* an opcode */
    uint8_t is_compressed : 1; /* the payload as permessage-deflate has it: the header says RSV1 */
    uint8_t is_plain : 1;      /* the program wants it to go uncompressed */
    uint8_t header_bytes;
    uint8_t header[MSG_HEADER_ROOM];
    uint8_t payload[];
};

/* A message with room for the payload; header_bytes is 0 until msg_seal. NULL: no memory, or too large. */
weft_msg *msg_alloc(unsigned type, size_t bytes);
/* More room, keeping the first used bytes; the message may move. NULL: no memory, and m is untouched. */
weft_msg *msg_grow(weft_msg *m, size_t used, size_t bytes);
/* Set the final length and write the frame header; is_compressed is set before. */
void msg_seal(weft_msg *m, size_t bytes);
void msg_free(weft_msg *m);

static inline const uint8_t *msg_frame(const weft_msg *m)
{
    return m->payload - m->header_bytes;
}
static inline uint32_t msg_frame_bytes(const weft_msg *m)
{
    return m->header_bytes + m->bytes;
}

static inline struct msg_link *msg_link_of(struct node *n)
{
    return (struct msg_link *)n;
}
/* For a node that is known to be a message's own link. */
static inline weft_msg *msg_of(struct node *n)
{
    return (weft_msg *)n;
}

#endif
