/* The key of the opening handshake and the value that must answer it: SHA-1 (FIPS 180-4) and base64 (RFC
 * 4648), only as much of them as a key of 24 characters and a digest of 20 octets need. */
#include <string.h>

#include "ws.h"

#define KEY_OCTETS    16
#define KEY_PADDING   "=="
#define DIGEST_OCTETS 20
#define BLOCK_OCTETS  64

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void base64(const uint8_t *src, size_t bytes, char *dst)
{
    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        uint32_t group =
            (uint32_t)src[i] << 16 | (left > 1 ? src[i + 1] : 0) << 8 | (left > 2 ? src[i + 2] : 0);

        *dst++ = alphabet[group >> 18];
        *dst++ = alphabet[group >> 12 & 63];
        *dst++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
        *dst++ = left > 2 ? alphabet[group & 63] : '=';
    }
    *dst = '\0';
}

static uint32_t rotate(uint32_t x, unsigned bits)
{
    return x << bits | x >> (32 - bits);
}

static uint32_t mix(unsigned round, const uint32_t s[5])
{
    if (round < 20)
        return ((s[1] & s[2]) | (~s[1] & s[3])) + 0x5a827999;
    if (round < 40)
        return (s[1] ^ s[2] ^ s[3]) + 0x6ed9eba1;
    if (round < 60)
        return ((s[1] & s[2]) | (s[1] & s[3]) | (s[2] & s[3])) + 0x8f1bbcdc;
    return (s[1] ^ s[2] ^ s[3]) + 0xca62c1d6;
}

static void sha1_block(uint32_t state[5], const uint8_t block[BLOCK_OCTETS])
{
    uint32_t w[80], s[5], next;

    for (unsigned t = 0; t < 16; t++, block += 4)
        w[t] = (uint32_t)block[0] << 24 | (uint32_t)block[1] << 16 | (uint32_t)block[2] << 8 | block[3];
    for (unsigned t = 16; t < 80; t++)
        w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    memcpy(s, state, sizeof s);
    for (unsigned t = 0; t < 80; t++) {
        next = rotate(s[0], 5) + mix(t, s) + s[4] + w[t];
        memmove(s + 1, s, 4 * sizeof s[0]);
        s[0] = next;
        s[2] = rotate(s[2], 30);
    }
    for (unsigned i = 0; i < 5; i++)
        state[i] += s[i];
}

/* The 60 octets of key and GUID fill the first block up to the room of the length, so there are always two.
 */
void ws_accept_of(const char *key, char accept[WS_ACCEPT_CHARS + 1])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t blocks[2 * BLOCK_OCTETS] = {0}, digest[DIGEST_OCTETS];
    size_t bytes = WS_KEY_CHARS + sizeof guid - 1;

    memcpy(blocks, key, WS_KEY_CHARS);
    memcpy(blocks + WS_KEY_CHARS, guid, sizeof guid - 1);
    blocks[bytes] = 0x80;
    blocks[sizeof blocks - 2] = (uint8_t)(8 * bytes >> 8);
    blocks[sizeof blocks - 1] = (uint8_t)(8 * bytes);
    sha1_block(state, blocks);
    sha1_block(state, blocks + BLOCK_OCTETS);
    for (unsigned i = 0; i < DIGEST_OCTETS; i++)
        digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
    base64(digest, sizeof digest, accept);
}

/* Of the last character only two bits belong to the 16 octets. */
bool ws_key_is_valid(const char *key)
{
    size_t digits = strspn(key, alphabet);

    return digits == WS_KEY_CHARS - 2 && strcmp(key + digits, KEY_PADDING) == 0 &&
           (strchr(alphabet, key[digits - 1]) - alphabet) % 16 == 0;
}

void ws_key_make(char key[WS_KEY_CHARS + 1])
{
    uint8_t octets[KEY_OCTETS];

    ws_random(octets, sizeof octets);
    base64(octets, sizeof octets, key);
}
