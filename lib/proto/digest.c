/* SHA-1 (FIPS 180-4), Base64 (RFC 4648 section 4) and a comparison in constant time. */
#include "proto/digest.h"

#include <string.h>

static uint32_t rotate(uint32_t x, unsigned bits)
{
    return x << bits | x >> (32 - bits);
}

static uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void store_be32(uint8_t *p, uint32_t x)
{
    p[0] = (uint8_t)(x >> 24);
    p[1] = (uint8_t)(x >> 16);
    p[2] = (uint8_t)(x >> 8);
    p[3] = (uint8_t)x;
}

static uint32_t mix(unsigned round, uint32_t b, uint32_t c, uint32_t d)
{
    if (round < 20)
        return ((b & c) | (~b & d)) + 0x5a827999u;
    if (round < 40)
        return (b ^ c ^ d) + 0x6ed9eba1u;
    if (round < 60)
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdcu;
    return (b ^ c ^ d) + 0xca62c1d6u;
}

static void sha1_block(uint32_t state[5], const uint8_t *block)
{
    uint32_t w[80];
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];

    for (unsigned i = 0; i < 16; i++)
        w[i] = load_be32(block + 4 * i);
    for (unsigned i = 16; i < 80; i++)
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (unsigned i = 0; i < 80; i++) {
        uint32_t next = rotate(a, 5) + mix(i, b, c, d) + e + w[i];

        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
    state[4] += e;
}

void digest_sha1(const uint8_t *p, size_t n, uint8_t out[DIGEST_SHA1_BYTES])
{
    uint32_t state[5] = {0x67452301u, 0xefcdab89u, 0x98badcfeu, 0x10325476u, 0xc3d2e1f0u};
    uint64_t bits = (uint64_t)n * 8;
    uint8_t tail[128] = {0};
    size_t tail_bytes;

    for (; n >= 64; p += 64, n -= 64)
        sha1_block(state, p);
    if (n > 0)
        memcpy(tail, p, n);
    tail[n] = 0x80;
    tail_bytes = n < 56 ? 64 : 128;
    store_be32(tail + tail_bytes - 8, (uint32_t)(bits >> 32));
    store_be32(tail + tail_bytes - 4, (uint32_t)bits);
    for (size_t i = 0; i < tail_bytes; i += 64)
        sha1_block(state, tail + i);
    for (unsigned i = 0; i < 5; i++)
        store_be32(out + 4 * i, state[i]);
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void digest_base64(const uint8_t *p, size_t n, char *out)
{
    for (; n > 0; out += 4) {
        size_t taken = n < 3 ? n : 3;
        uint32_t bits = (uint32_t)p[0] << 16 | (taken > 1 ? (uint32_t)p[1] << 8 : 0) | (taken > 2 ? p[2] : 0);

        out[0] = alphabet[bits >> 18];
        out[1] = alphabet[bits >> 12 & 63];
        out[2] = alphabet[bits >> 6 & 63];
        out[3] = alphabet[bits & 63];
        memset(out + 1 + taken, '=', 3 - taken);
        p += taken;
        n -= taken;
    }
    *out = '\0';
}

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

bool digest_base64_decode(const char *p, size_t n, uint8_t *out, size_t room, size_t *out_bytes)
{
    size_t chars = n, written = 0;
    uint32_t bits = 0;

    if (n % 4 != 0)
        return false;
    while (chars > 0 && n - chars < 2 && p[chars - 1] == '=')
        chars--;
    if (chars * 3 / 4 > room)
        return false;
    for (size_t i = 0; i < chars; i++) {
        int value = value_of(p[i]);

        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        if (i % 4 > 0)
            out[written++] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
    }
    *out_bytes = written;
    return true;
}

/* The secret ends in NUL, so index 0 exists also when it is empty, and then differs by length alone. volatile
 * keeps the compiler from leaving the loop at the first difference. */
bool digest_secret_equals(const void *given, size_t given_bytes, const char *secret)
{
    const uint8_t *p = given;
    size_t secret_bytes = strlen(secret);
    volatile uint8_t differs = given_bytes != secret_bytes;

    for (size_t i = 0; i < given_bytes; i++)
        differs = differs | (uint8_t)(p[i] ^ (uint8_t)secret[i < secret_bytes ? i : 0]);
    return differs == 0;
}
