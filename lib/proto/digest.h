/* SHA-1 and Base64 as the opening handshake needs them, and a comparison for secrets.
 *
 * SHA-1 protects nothing here: RFC 6455 uses it to show that the other side speaks WebSocket. It is our own
 * because the library must build without a cryptographic one. */
#ifndef WEFT_PROTO_DIGEST_H
#define WEFT_PROTO_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DIGEST_SHA1_BYTES 20

/* Characters that n bytes become, without a terminating NUL. */
#define DIGEST_BASE64_CHARS(n) (((n) + 2) / 3 * 4)

void digest_sha1(const uint8_t *p, size_t n, uint8_t out[DIGEST_SHA1_BYTES]);

/* Write DIGEST_BASE64_CHARS(n) characters and a NUL to out. */
void digest_base64(const uint8_t *p, size_t n, char *out);

/* Decode n characters into room bytes at out.
 *
 * Padding must be there and complete, nothing but the alphabet may stand before it. Bits beyond the last byte
 * are ignored. Returns  true, *out_bytes set; false when it is not Base64 or does not fit */
bool digest_base64_decode(const char *p, size_t n, uint8_t *out, size_t room, size_t *out_bytes);

/* Compare what a peer gave with a secret; the time taken depends on what was given alone, neither on the
 * secret nor on where they differ. */
bool digest_secret_equals(const void *given, size_t given_bytes, const char *secret);

#endif
