/* The automaton that judges, and the kernels that let it skip; see utf8.h.
 *
 * The automaton has nine states. A row tells for one octet which state follows from each of them, six bits
 * for a state, and a state is the number of bits by which its place in a row is shifted: the step is one
 * shift, the load of the row does not wait for the step before it, and there is no branch to guess wrong.
 *
 * A kernel only says how far the text is surely right. It is never believed about a fault: there
 * the automaton goes on, finds the fault and says so. It follows the idea of J. Keiser and D. Lemire,
 * Validating UTF-8 in less than one instruction per byte (2021): whether an octet may follow another is
 * looked up by three half octets, in tables with one bit for each kind of fault. Unlike theirs, ours keeps
 * nothing between blocks: it loads the octets again that stand one, two and three places before. So a block
 * may begin anywhere and the last one overlaps the one before it, the automaton takes the first three octets,
 * which have none before them, and the cut between two pieces is nothing special. */
#include "proto/utf8.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

/* The states, each as its shift. */
enum {
    BOUNDARY = 0, /* no character is open: the state of all zero */
    WRONG = 6,
    NEED_1 = 12, /* octets 80..bf to come */
    NEED_2 = 18,
    NEED_3 = 24,
    AFTER_E0 = 30, /* next a0..bf, else overlong */
    AFTER_ED = 36, /* next 80..9f, else a surrogate */
    AFTER_F0 = 42, /* next 90..bf, else overlong */
    AFTER_F4 = 48  /* next 80..8f, else beyond U+10FFFF */
};

#define TO(from, state) ((uint64_t)(state) << (from))
#define ALL_WRONG                                                                                            \
    (TO(BOUNDARY, WRONG) | TO(WRONG, WRONG) | TO(NEED_1, WRONG) | TO(NEED_2, WRONG) | TO(NEED_3, WRONG) |    \
     TO(AFTER_E0, WRONG) | TO(AFTER_ED, WRONG) | TO(AFTER_F0, WRONG) | TO(AFTER_F4, WRONG))
#define BUT(from, state) (TO(from, WRONG) ^ TO(from, state))

/* What begins a character is wrong inside of one. What continues a character is wrong at a boundary. */
#define BEGIN(state) (ALL_WRONG ^ BUT(BOUNDARY, state))
#define CONTINUE     (ALL_WRONG ^ BUT(NEED_1, BOUNDARY) ^ BUT(NEED_2, NEED_1) ^ BUT(NEED_3, NEED_2))
#define ROW_80_8F    (CONTINUE ^ BUT(AFTER_ED, NEED_1) ^ BUT(AFTER_F4, NEED_2))
#define ROW_90_9F    (CONTINUE ^ BUT(AFTER_ED, NEED_1) ^ BUT(AFTER_F0, NEED_2))
#define ROW_A0_BF    (CONTINUE ^ BUT(AFTER_E0, NEED_1) ^ BUT(AFTER_F0, NEED_2))

#define R2(row)  row, row
#define R4(row)  R2(row), R2(row)
#define R8(row)  R4(row), R4(row)
#define R16(row) R8(row), R8(row)

static const uint64_t rows[256] = {
    R16(BEGIN(BOUNDARY)),
    R16(BEGIN(BOUNDARY)),
    R16(BEGIN(BOUNDARY)),
    R16(BEGIN(BOUNDARY)), /* 00..3f */
    R16(BEGIN(BOUNDARY)),
    R16(BEGIN(BOUNDARY)),
    R16(BEGIN(BOUNDARY)),
    R16(BEGIN(BOUNDARY)), /* 40..7f */
    R16(ROW_80_8F),
    R16(ROW_90_9F),
    R16(ROW_A0_BF),
    R16(ROW_A0_BF), /* 80..bf */
    R2(ALL_WRONG),
    R2(BEGIN(NEED_1)),
    R4(BEGIN(NEED_1)),
    R8(BEGIN(NEED_1)),  /* c0..cf */
    R16(BEGIN(NEED_1)), /* d0..df */
    BEGIN(AFTER_E0),
    R4(BEGIN(NEED_2)),
    R8(BEGIN(NEED_2)), /* e0..ec */
    BEGIN(AFTER_ED),
    R2(BEGIN(NEED_2)), /* ed..ef */
    BEGIN(AFTER_F0),
    R2(BEGIN(NEED_3)),
    BEGIN(NEED_3),
    BEGIN(AFTER_F4), /* f0..f4 */
    ALL_WRONG,
    R2(ALL_WRONG),
    R8(ALL_WRONG) /* f5..ff */
};

static uint64_t step_over(uint64_t at, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        at = rows[p[i]] >> (at & 63);
    return at & 63;
}

/* A fault is seen at the latest 64 octets behind it, so a hostile megabyte does not cost its whole length. */
static bool walk(struct utf8_state *s, const uint8_t *p, size_t n)
{
    uint64_t at = s->at;

    for (; n > 64 && at != WRONG; p += 64, n -= 64)
        at = step_over(at, p, 64);
    if (at != WRONG)
        at = step_over(at, p, n);
    s->at = (uint8_t)at;
    return at != WRONG;
}

/* The kinds of fault in two octets that follow each other. A pair is at fault in a kind when its bit stands
 * in all three tables: by the high half of the first, by its low half, by the high half of the second. */
enum {
    CUT = 1,         /* 11...... then no 10...... */
    STRAY = 2,       /* 0....... then 10...... */
    OVERLONG_2 = 4,  /* c0, c1 */
    OVERLONG_3 = 8,  /* e0 then 80..9f */
    SURROGATE = 16,  /* ed then a0..bf */
    BEYOND = 32,     /* f4..ff then 90..bf */
    ENDS_OF_4 = 64,  /* f0 then 80..8f (overlong), f5..ff then 80..8f (beyond) */
    CONTINUED = 128, /* 10...... twice: no fault where a long character asks for it */
    LOW_ANY = CUT | STRAY | CONTINUED,
    LOW_BEYOND = LOW_ANY | BEYOND | ENDS_OF_4,
    NEXT_ANY = STRAY | OVERLONG_2 | CONTINUED
};

#define FIRST_HIGH                                                                                           \
    R8(STRAY), R4(CONTINUED), CUT | OVERLONG_2, CUT, CUT | OVERLONG_3 | SURROGATE, CUT | BEYOND | ENDS_OF_4
#define FIRST_LOW                                                                                            \
    LOW_ANY | OVERLONG_2 | OVERLONG_3 | ENDS_OF_4, LOW_ANY | OVERLONG_2, R2(LOW_ANY), LOW_ANY | BEYOND,      \
        LOW_BEYOND, R2(LOW_BEYOND), R4(LOW_BEYOND), LOW_BEYOND, LOW_BEYOND | SURROGATE, R2(LOW_BEYOND)
#define NEXT_HIGH                                                                                            \
    R8(CUT), NEXT_ANY | OVERLONG_3 | ENDS_OF_4, NEXT_ANY | OVERLONG_3 | BEYOND,                              \
        R2(NEXT_ANY | SURROGATE | BEYOND), R4(CUT)

#define ONCE(...)  __VA_ARGS__
#define TWICE(...) __VA_ARGS__, __VA_ARGS__

#define UTF8_AT(p)   (*(const anywhere *)(p))
#define UTF8_HIGH(v) ((vec)((words)(v) >> 4) & 0x0f)

/* bytes: of a vector; tables: how often a table of 16 stands in one; lookup: picks from a table by indexes
 * below 16. */
#define UTF8_KERNEL(name, bytes, target, tables, lookup, is_zero, is_ascii)                                  \
    target static size_t name(const uint8_t *p, size_t n)                                                    \
    {                                                                                                        \
        typedef uint8_t vec __attribute__((vector_size(bytes)));                                             \
        typedef uint16_t words __attribute__((vector_size(bytes)));                                          \
        typedef vec anywhere __attribute__((aligned(1), may_alias));                                         \
        const vec first_high = {tables(FIRST_HIGH)}, first_low = {tables(FIRST_LOW)};                        \
        const vec next_high = {tables(NEXT_HIGH)};                                                           \
        vec one, two, three, faults, asked;                                                                  \
        size_t i = 3;                                                                                        \
                                                                                                             \
        while (i < n) {                                                                                      \
            if (n - i >= 2 * (bytes)) {                                                                      \
                one = UTF8_AT(p + i - 3) | UTF8_AT(p + i) | UTF8_AT(p + i + (bytes));                        \
                if (is_ascii(one)) {                                                                         \
                    i += 2 * (bytes);                                                                        \
                    continue;                                                                                \
                }                                                                                            \
            } else if (n - i < (bytes)) {                                                                    \
                i = n - (bytes);                                                                             \
            }                                                                                                \
            one = UTF8_AT(p + i - 1);                                                                        \
            two = UTF8_AT(p + i - 2);                                                                        \
            three = UTF8_AT(p + i - 3);                                                                      \
            faults = (vec)lookup(first_high, UTF8_HIGH(one)) & (vec)lookup(first_low, one & 0x0f) &          \
                     (vec)lookup(next_high, UTF8_HIGH(UTF8_AT(p + i)));                                      \
            asked = (vec)((two >= 0xe0) | (three >= 0xf0)) & CONTINUED;                                      \
            if (!is_zero(faults ^ asked))                                                                    \
                return i;                                                                                    \
            i += (bytes);                                                                                    \
        }                                                                                                    \
        return n;                                                                                            \
    }

#if defined(__x86_64__)
#define LOOKUP_16(table, index) _mm_shuffle_epi8((__m128i)(table), (__m128i)(index))
#define LOOKUP_32(table, index) _mm256_shuffle_epi8((__m256i)(table), (__m256i)(index))
#define IS_ZERO_16(v)           _mm_testz_si128((__m128i)(v), (__m128i)(v))
#define IS_ZERO_32(v)           _mm256_testz_si256((__m256i)(v), (__m256i)(v))
#define IS_ASCII_16(v)          (_mm_movemask_epi8((__m128i)(v)) == 0)
#define IS_ASCII_32(v)          (_mm256_movemask_epi8((__m256i)(v)) == 0)

UTF8_KERNEL(right_until_sse41, 16, __attribute__((target("sse4.1"))), ONCE, LOOKUP_16, IS_ZERO_16,
            IS_ASCII_16)
UTF8_KERNEL(right_until_avx2, 32, __attribute__((target("avx2"))), TWICE, LOOKUP_32, IS_ZERO_32, IS_ASCII_32)

static const struct utf8_kernel kernels[] = {{"sse4.1", 16 + 3, right_until_sse41},
                                             {"avx2", 32 + 3, right_until_avx2}};
static size_t usable;

/* Before main, hence before any thread: the choice needs no atomic. Whoever comes even earlier has the
 * automaton alone. */
__attribute__((constructor)) static void choose(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.1"))
        usable = __builtin_cpu_supports("avx2") ? 2 : 1;
}
#elif defined(__aarch64__)
#define LOOKUP_16(table, index) vqtbl1q_u8((uint8x16_t)(table), (uint8x16_t)(index))
#define IS_ZERO_16(v)           (vmaxvq_u8((uint8x16_t)(v)) == 0)
#define IS_ASCII_16(v)          (vmaxvq_u8((uint8x16_t)(v)) < 0x80)

UTF8_KERNEL(right_until_neon, 16, , ONCE, LOOKUP_16, IS_ZERO_16, IS_ASCII_16)

static const struct utf8_kernel kernels[] = {{"neon", 16 + 3, right_until_neon}};
static const size_t usable = 1;
#else
static const struct utf8_kernel kernels[1];
static const size_t usable = 0;
#endif

const struct utf8_kernel *utf8_kernels(size_t *count)
{
    *count = usable;
    return kernels;
}

/* The last boundary between characters among the first n octets, which are right; n is at least 3, and no
 * character that is still open began earlier. */
static size_t last_boundary(const uint8_t *p, size_t n)
{
    if (p[n - 1] >= 0xc0)
        return n - 1;
    if (p[n - 2] >= 0xe0)
        return n - 2;
    if (p[n - 3] >= 0xf0)
        return n - 3;
    return n;
}

bool utf8_feed_by(const struct utf8_kernel *kernel, struct utf8_state *s, const uint8_t *p, size_t n)
{
    size_t right;

    if (!kernel || n < kernel->least_bytes)
        return walk(s, p, n);
    if (!walk(s, p, 3))
        return false;
    right = last_boundary(p, kernel->right_until(p, n));
    s->at = BOUNDARY;
    return walk(s, p + right, n - right);
}

bool utf8_feed_any(struct utf8_state *s, const uint8_t *p, size_t n)
{
    return utf8_feed_by(usable ? &kernels[usable - 1] : NULL, s, p, n);
}
