/* Frame headers and whole control frames, as bytes. Source: RFC 6455 section 5.2 */
#ifndef WEFT_PROTO_FRAME_H
#define WEFT_PROTO_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum frame_opcode {
    FRAME_CONTINUATION = 0,
    FRAME_TEXT = 1,
    FRAME_BINARY = 2,
    FRAME_CLOSE = 8,
    FRAME_PING = 9,
    FRAME_PONG = 10
};

#define FRAME_HEADER_BYTES_MAX  14
#define FRAME_CONTROL_BYTES_MAX 125
#define FRAME_REASON_BYTES_MAX  123
#define FRAME_WHOLE_CONTROL_MAX (6 + FRAME_CONTROL_BYTES_MAX)

struct frame_header {
    uint64_t bytes; /* of the payload */
    uint8_t opcode;
    bool is_final;
    uint8_t reserved; /* RSV1 to RSV3 as bits 4, 2, 1 */
    bool is_masked;
    uint8_t key[4];
};

/* How long the header is that begins with these two bytes: 2 to 14. */
static inline unsigned frame_header_bytes(uint8_t second)
{
    unsigned length = second & 0x7f;
    return 2u + (length == 126 ? 2u : length == 127 ? 8u : 0u) + (second & 0x80 ? 4u : 0u);
}

/* Read a whole header of frame_header_bytes(p[1]) bytes. False: the length is not in its shortest form, or
 * has its top bit set. */
bool frame_read_header(const uint8_t *p, struct frame_header *out);

/* Write a header; returns its length. h->reserved is written as it stands. */
unsigned frame_write_header(uint8_t *p, const struct frame_header *h);

/* Write a whole control frame, masked with key unless that is NULL; returns its length. bytes <= 125. */
unsigned frame_write_control(uint8_t *p, enum frame_opcode opcode, const void *payload, size_t bytes,
                             const uint8_t key[4]);

#define FRAME_KEY_BYTES 4

/* Write a piece of the masked form of a whole unmasked frame, which is FRAME_KEY_BYTES longer.
 *
 * frame    with the shortest header for its length
 * key      the same for all pieces of a frame
 * offset   of the piece in the masked form
 * Returns  how many bytes were written to out: room, or fewer at the frame's end
 * Source   RFC 6455 section 5.3 */
size_t frame_write_masked(uint8_t *out, size_t room, const uint8_t *frame, size_t frame_bytes,
                          const uint8_t key[FRAME_KEY_BYTES], size_t offset);

/* May this close code stand in a Close frame? Source: RFC 6455 section 7.4, the IANA registry of close codes
 */
bool frame_close_code_is_valid(unsigned code);

/* Write the payload of a Close frame, cutting nothing: code 0 or 1005 writes none. reason may be NULL.
 * Returns its length. */
unsigned frame_write_close_payload(uint8_t *p, uint16_t code, const char *reason, size_t reason_bytes);

#endif
