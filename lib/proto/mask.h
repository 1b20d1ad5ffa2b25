/* Masking of payload, RFC 6455 section 5.3: octet i of the payload is XORed with octet i % 4 of the key.
 *
 * Nearly all messages are short. Up to MASK_SHORT_BYTES the work is done here, with a few vectors that
 * overlap in the middle, so that there is no loop, no rest of single octets and no call. What is longer goes
 * to the widest kernel the processor has, which is chosen once, before main.
 *
 * Because vectors overlap and an octet XORed twice is unmasked again, everything is loaded before anything
 * that covers the same octets is stored. That is what makes one function serve both in place and as a copy.
 */
#ifndef WEFT_PROTO_MASK_H
#define WEFT_PROTO_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MASK_SHORT_BYTES 128

/* One way to do it: dst[i] = src[i] ^ octet i % 4 of the key, for any n; dst is src, or they do not overlap.
 * The key stands in the order of its octets in memory. Returns whether all of dst is ASCII. */
struct mask_kernel {
    const char *name;
    bool (*run)(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key);
};

/* The kernels this processor can run, the last is the one in use. For tests and benchmarks. */
const struct mask_kernel *mask_kernels(size_t *count);

/* Masks in place with 8 octets at a time and nothing else; what the kernels are compared with. */
void mask_apply_scalar(uint8_t *p, size_t n, const uint8_t key[4], size_t offset);

/* The kernel in use; only the functions at the end call it. */
bool mask_long(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key);

typedef uint32_t mask_vec __attribute__((vector_size(16)));

/* The key as octet `position` of the payload sees it: turned, so that the octet it needs comes first. */
static inline uint32_t mask_turn(uint32_t key, size_t position)
{
    unsigned left = 8 * (position & 3), right = (32 - left) & 31;

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return key << left | key >> right;
#else
    return key >> left | key << right;
#endif
}

static inline uint32_t mask_key(const uint8_t key[4], size_t offset)
{
    uint32_t k;

    memcpy(&k, key, sizeof k);
    return mask_turn(k, offset);
}

static inline mask_vec mask_load(const uint8_t *p, mask_vec key)
{
    mask_vec v;

    memcpy(&v, p, sizeof v);
    return v ^ key;
}

static inline void mask_store(uint8_t *p, mask_vec v)
{
    memcpy(p, &v, sizeof v);
}

/* 1 to 3: with one or two octets some of the three are the same one. */
static inline void mask_upto_3(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key)
{
    uint8_t k[4], first, middle, last;

    memcpy(k, &key, sizeof k);
    first = src[0] ^ k[0];
    middle = src[n / 2] ^ k[n / 2];
    last = src[n - 1] ^ k[n - 1];
    dst[0] = first;
    dst[n / 2] = middle;
    dst[n - 1] = last;
}

static inline void mask_upto_8(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key)
{
    uint32_t a, b;

    memcpy(&a, src, sizeof a);
    memcpy(&b, src + n - 4, sizeof b);
    a ^= key;
    b ^= mask_turn(key, n);
    memcpy(dst, &a, sizeof a);
    memcpy(dst + n - 4, &b, sizeof b);
}

static inline void mask_upto_16(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key)
{
    uint32_t end = mask_turn(key, n);
    uint64_t a, b;

    memcpy(&a, src, sizeof a);
    memcpy(&b, src + n - 8, sizeof b);
    a ^= (uint64_t)key << 32 | key;
    b ^= (uint64_t)end << 32 | end;
    memcpy(dst, &a, sizeof a);
    memcpy(dst + n - 8, &b, sizeof b);
}

static inline void mask_upto_32(uint8_t *dst, const uint8_t *src, size_t n, mask_vec key, mask_vec end)
{
    mask_vec a = mask_load(src, key);
    mask_vec b = mask_load(src + n - 16, end);

    mask_store(dst, a);
    mask_store(dst + n - 16, b);
}

static inline void mask_upto_64(uint8_t *dst, const uint8_t *src, size_t n, mask_vec key, mask_vec end)
{
    mask_vec a = mask_load(src, key), b = mask_load(src + 16, key);
    mask_vec c = mask_load(src + n - 32, end), d = mask_load(src + n - 16, end);

    mask_store(dst, a);
    mask_store(dst + 16, b);
    mask_store(dst + n - 32, c);
    mask_store(dst + n - 16, d);
}

static inline void mask_upto_128(uint8_t *dst, const uint8_t *src, size_t n, mask_vec key, mask_vec end)
{
    mask_vec a = mask_load(src, key), b = mask_load(src + 16, key);
    mask_vec c = mask_load(src + 32, key), d = mask_load(src + 48, key);
    mask_vec e = mask_load(src + n - 64, end), f = mask_load(src + n - 48, end);
    mask_vec g = mask_load(src + n - 32, end), h = mask_load(src + n - 16, end);

    mask_store(dst, a);
    mask_store(dst + 16, b);
    mask_store(dst + 32, c);
    mask_store(dst + 48, d);
    mask_store(dst + n - 64, e);
    mask_store(dst + n - 48, f);
    mask_store(dst + n - 32, g);
    mask_store(dst + n - 16, h);
}

/* For n up to MASK_SHORT_BYTES. */
static inline void mask_short(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key)
{
    /* A vector that ends at n begins at a multiple of 4 before it, so it sees the key as octet n would. */
    uint32_t end = mask_turn(key, n);

    if (n > 64)
        mask_upto_128(dst, src, n, (mask_vec){0} + key, (mask_vec){0} + end);
    else if (n > 32)
        mask_upto_64(dst, src, n, (mask_vec){0} + key, (mask_vec){0} + end);
    else if (n > 16)
        mask_upto_32(dst, src, n, (mask_vec){0} + key, (mask_vec){0} + end);
    else if (n >= 8)
        mask_upto_16(dst, src, n, key);
    else if (n >= 4)
        mask_upto_8(dst, src, n, key);
    else if (n > 0)
        mask_upto_3(dst, src, n, key);
}

/* Copies n octets from src to dst, masked in the same pass.
 *
 * dst, src  do not overlap (for in place, see mask_apply); neither is touched when n is 0
 * key       the masking key as it stands in the frame
 * offset    position in the frame's payload of src[0], so that a payload may be handled in pieces */
static inline void mask_copy(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t key[4], size_t offset)
{
    if (n <= MASK_SHORT_BYTES)
        mask_short(dst, src, n, mask_key(key, offset));
    else
        mask_long(dst, src, n, mask_key(key, offset));
}

/* The same. True: all of dst is ASCII. False says nothing: short payloads are not looked at. */
static inline bool mask_copy_ascii(uint8_t *dst, const uint8_t *src, size_t n, const uint8_t key[4],
                                   size_t offset)
{
    if (n > MASK_SHORT_BYTES)
        return mask_long(dst, src, n, mask_key(key, offset));
    mask_short(dst, src, n, mask_key(key, offset));
    return false;
}

/* Masks n octets in place, which also unmasks them.
 *
 * p         n octets; not touched when n is 0
 * key       the masking key as it stands in the frame
 * offset    position in the frame's payload of p[0], so that a payload may be handled in pieces */
static inline void mask_apply(uint8_t *p, size_t n, const uint8_t key[4], size_t offset)
{
    mask_copy(p, p, n, key, offset);
}

#endif
