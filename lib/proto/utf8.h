/* UTF-8 as RFC 3629 defines it, checked while it arrives.
 *
 * The text comes in pieces that may cut a character anywhere. A piece is refused as soon as what was seen so
 * far cannot be the beginning of any valid text: overlong forms, surrogates and what lies beyond U+10FFFF at
 * their second octet.
 *
 * Short ASCII, the commonest message of all, is settled here with a few overlapping vectors. */
#ifndef WEFT_PROTO_UTF8_H
#define WEFT_PROTO_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define UTF8_SHORT_BYTES 128

/* Where between two octets the text stands; all zero is the beginning of a text. */
struct utf8_state {
    uint8_t at;
};

/* One way to go fast over long text: returns m, 3 <= m <= n, such that octets 3 to m - 1 are right in their
 * places, each judged by the three before it. Octets 0 to 2 are not judged. Returns n when there is no fault;
 * n is at least least_bytes. */
struct utf8_kernel {
    const char *name;
    size_t least_bytes;
    size_t (*right_until)(const uint8_t *p, size_t n);
};

/* The kernels this processor can run, the last is the one in use; none, with count 0, on a processor without
 * vector look-ups. For tests and benchmarks. */
const struct utf8_kernel *utf8_kernels(size_t *count);

/* utf8_feed without the path for short ASCII, by a kernel of one's choice; NULL for octet by octet. */
bool utf8_feed_by(const struct utf8_kernel *kernel, struct utf8_state *s, const uint8_t *p, size_t n);
bool utf8_feed_any(struct utf8_state *s, const uint8_t *p, size_t n);

typedef uint64_t utf8_vec __attribute__((vector_size(16)));

static inline utf8_vec utf8_load(const uint8_t *p)
{
    utf8_vec v;

    memcpy(&v, p, sizeof v);
    return v;
}

static inline bool utf8_word_is_ascii(uint64_t v)
{
    return (v & 0x8080808080808080u) == 0;
}

static inline bool utf8_vec_is_ascii(utf8_vec v)
{
#if defined(__SSE2__)
    return _mm_movemask_epi8((__m128i)v) == 0;
#else
    return utf8_word_is_ascii(v[0] | v[1]);
#endif
}

static inline bool utf8_upto_16_is_ascii(const uint8_t *p, size_t n)
{
    uint64_t a, b;
    uint32_t c, d;

    if (n >= 8) {
        memcpy(&a, p, sizeof a);
        memcpy(&b, p + n - 8, sizeof b);
        return utf8_word_is_ascii(a | b);
    }
    if (n >= 4) {
        memcpy(&c, p, sizeof c);
        memcpy(&d, p + n - 4, sizeof d);
        return utf8_word_is_ascii(c | d);
    }
    return n == 0 || (p[0] | p[n / 2] | p[n - 1]) < 0x80;
}

/* For n up to UTF8_SHORT_BYTES. */
static inline bool utf8_short_is_ascii(const uint8_t *p, size_t n)
{
    const uint8_t *end;
    utf8_vec v;

    if (n <= 16)
        return utf8_upto_16_is_ascii(p, n);
    end = p + n;
    v = utf8_load(p) | utf8_load(end - 16);
    if (n > 32)
        v |= utf8_load(p + 16) | utf8_load(end - 32);
    if (n > 64)
        v |= utf8_load(p + 32) | utf8_load(p + 48) | utf8_load(end - 64) | utf8_load(end - 48);
    return utf8_vec_is_ascii(v);
}

/* Takes the next n octets of a text.
 *
 * s        all zero before the first; out: where the text stands now
 * p        borrowed; not touched when n is 0
 * Returns  false when what was seen so far is not the beginning of valid UTF-8; every later call is false too
 */
static inline bool utf8_feed(struct utf8_state *s, const uint8_t *p, size_t n)
{
    if (n <= UTF8_SHORT_BYTES && s->at == 0 && utf8_short_is_ascii(p, n))
        return true;
    return utf8_feed_any(s, p, n);
}

/* True when the text may end here: it is right so far, and no character is cut. */
static inline bool utf8_is_complete(const struct utf8_state *s)
{
    return s->at == 0;
}

#endif
