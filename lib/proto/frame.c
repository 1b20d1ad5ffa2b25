/* Frame headers and control frames; see frame.h. */
#include "proto/frame.h"

#include <string.h>

#include "proto/mask.h"
#include "weft/error.h"

bool frame_read_header(const uint8_t *p, struct frame_header *out)
{
    unsigned length = p[1] & 0x7f;
    const uint8_t *next = p + 2;

    out->is_final = p[0] & 0x80;
    out->reserved = p[0] >> 4 & 7;
    out->opcode = p[0] & 15;
    out->is_masked = p[1] & 0x80;
    out->bytes = length;
    if (length == 126) {
        out->bytes = (uint64_t)(next[0] << 8 | next[1]);
        next += 2;
        if (out->bytes <= 125)
            return false;
    } else if (length == 127) {
        out->bytes = 0;
        for (int i = 0; i < 8; i++)
            out->bytes = out->bytes << 8 | next[i];
        next += 8;
        if (out->bytes <= 0xffff || out->bytes >> 63)
            return false;
    }
    if (out->is_masked)
        memcpy(out->key, next, 4);
    return true;
}

unsigned frame_write_header(uint8_t *p, const struct frame_header *h)
{
    uint8_t *next = p + 2;

    p[0] = (uint8_t)((h->is_final ? 0x80 : 0) | h->reserved << 4 | h->opcode);
    p[1] = h->is_masked ? 0x80 : 0;
    if (h->bytes <= 125) {
        p[1] |= (uint8_t)h->bytes;
    } else if (h->bytes <= 0xffff) {
        p[1] |= 126;
        *next++ = (uint8_t)(h->bytes >> 8);
        *next++ = (uint8_t)h->bytes;
    } else {
        p[1] |= 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            *next++ = (uint8_t)(h->bytes >> shift);
    }
    if (h->is_masked) {
        memcpy(next, h->key, 4);
        next += 4;
    }
    return (unsigned)(next - p);
}

unsigned frame_write_control(uint8_t *p, enum frame_opcode opcode, const void *payload, size_t bytes,
                             const uint8_t key[4])
{
    struct frame_header h = {.bytes = bytes, .opcode = (uint8_t)opcode, .is_final = true, .is_masked = key != NULL};
    unsigned n;

    if (key)
        memcpy(h.key, key, 4);
    n = frame_write_header(p, &h);
    if (bytes)
        memcpy(p + n, payload, bytes);
    if (key)
        mask_apply(p + n, bytes, key, 0);
    return n + (unsigned)bytes;
}

/* The piece of src from *offset on, as far as there is room; what stands before offset is skipped. */
static size_t put_piece(uint8_t *out, size_t room, const uint8_t *src, size_t n, size_t *offset)
{
    size_t skip = *offset < n ? *offset : n, piece = n - skip < room ? n - skip : room;

    memcpy(out, src + skip, piece);
    *offset -= skip;
    return piece;
}

size_t frame_write_masked(uint8_t *out, size_t room, const uint8_t *frame, size_t frame_bytes,
                          const uint8_t key[FRAME_KEY_BYTES], size_t offset)
{
    size_t header_bytes = frame_header_bytes(frame[1]), payload_bytes = frame_bytes - header_bytes, n, piece;
    uint8_t header[FRAME_HEADER_BYTES_MAX];

    memcpy(header, frame, header_bytes);
    header[1] |= 0x80;
    memcpy(header + header_bytes, key, FRAME_KEY_BYTES);
    n = put_piece(out, room, header, header_bytes + FRAME_KEY_BYTES, &offset);
    if (n == room || offset >= payload_bytes)
        return n;
    piece = payload_bytes - offset < room - n ? payload_bytes - offset : room - n;
    mask_copy(out + n, frame + header_bytes + offset, piece, key, offset);
    return n + piece;
}

bool frame_close_code_is_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

unsigned frame_write_close_payload(uint8_t *p, uint16_t code, const char *reason, size_t reason_bytes)
{
    if (code == 0 || code == WEFT_CLOSE_NO_STATUS)
        return 0;
    p[0] = (uint8_t)(code >> 8);
    p[1] = (uint8_t)code;
    if (reason_bytes)
        memcpy(p + 2, reason, reason_bytes);
    return 2 + (unsigned)reason_bytes;
}
