/* What the tester knows of RFC 6455: frames, masks, UTF-8, the opening handshake.
 *
 * Written for the tests alone: a mistake that the library makes must not be made here too, so none of its
 * code and none of its tables are used. */
#ifndef WEFT_CONFORMANCE_WS_H
#define WEFT_CONFORMANCE_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "octets.h"

/* A fresh random mask for each frame. */
uint32_t ws_mask(void);
void ws_random(uint8_t *dst, size_t bytes);

/* Appends one frame; first_octet is FIN, RSV and opcode as they stand on the wire. */
void ws_frame_put(struct octets *out, uint8_t first_octet, bool masked, const uint8_t *payload, size_t bytes);

struct ws_head {
    uint8_t first_octet;
    bool masked;
    uint32_t mask; /* when it is masked */
    bool shortest; /* the length has the shortest form, as it must */
    uint64_t payload_bytes;
    size_t bytes; /* of the head itself */
};
/* False: the octets end before the head does. */
bool ws_head_read(const uint8_t *octets, size_t bytes, struct ws_head *head);

/* Masks, or takes the mask off again. */
void ws_mask_apply(uint8_t *payload, size_t bytes, uint32_t mask);

bool ws_utf8_is_valid(const uint8_t *octets, size_t bytes);

/* A close code that may stand on the wire (RFC 6455 section 7.4 and the registry's 1012 to 1014). */
bool ws_close_code_is_valid(int code);

#define WS_KEY_CHARS    24
#define WS_ACCEPT_CHARS 28
/* 24 characters that stand for 16 octets. */
bool ws_key_is_valid(const char *key);
void ws_key_make(char key[WS_KEY_CHARS + 1]);
void ws_accept_of(const char *key, char accept[WS_ACCEPT_CHARS + 1]);

#endif
