/* SipHash-2-4; see siphash.h. */
#include "base/siphash.h"

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void mix(struct sip *s)
{
    s->v0 += s->v1;
    s->v1 = rotate(s->v1, 13) ^ s->v0;
    s->v0 = rotate(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotate(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotate(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotate(s->v1, 17) ^ s->v2;
    s->v2 = rotate(s->v2, 32);
}

static void absorb(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    mix(s);
    mix(s);
    s->v0 ^= word;
}

/* Little-endian, whatever the machine. */
static uint64_t word_at(const uint8_t *p, size_t bytes)
{
    uint64_t w = 0;

    for (size_t i = 0; i < bytes; i++)
        w |= (uint64_t)p[i] << 8 * i;
    return w;
}

uint64_t siphash(const struct siphash_key *key, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    struct sip s = {key->k0 ^ 0x736f6d6570736575, key->k1 ^ 0x646f72616e646f6d, key->k0 ^ 0x6c7967656e657261,
                    key->k1 ^ 0x7465646279746573};
    size_t left = bytes;

    for (; left >= 8; left -= 8, p += 8)
        absorb(&s, word_at(p, 8));
    absorb(&s, (uint64_t)(bytes & 255) << 56 | word_at(p, left));
    s.v2 ^= 255;
    for (int i = 0; i < 4; i++)
        mix(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
