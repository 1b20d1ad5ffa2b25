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
