/* The kernels for long payloads, and the choice between them; see mask.h.
 *
 * One text serves all widths: vectors are the compiler's own, so that the same lines become SSE2, AVX2 or
 * NEON. A kernel loads its first and its last vector, masks what lies between with stores on whole cache
 * lines, and only then stores those two; so neither end needs a loop over octets.
 *
 * Each one also says whether all that it wrote is ASCII: for text, which has to be checked, that saves a
 * second pass over nearly all long payloads, and costs nothing measurable in the first.
 *
 * There is no AVX-512 kernel: measured, it took 6.3 ns where AVX2 takes 8.0 for 1 KiB and no less from 64 KiB
 * on, and on some processors its use lowers the clock for everything else. */
#include "proto/mask.h"

#define HIGH_BITS 0x8080808080808080u

static bool run_scalar(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key)
{
    uint64_t wide = (uint64_t)key << 32 | key, v, seen = 0;
    size_t i = 0;

    for (; i + sizeof v <= n; i += sizeof v) {
        memcpy(&v, src + i, sizeof v);
        v ^= wide;
        seen |= v;
        memcpy(dst + i, &v, sizeof v);
    }
    if (i < n)
        mask_short(dst + i, src + i, n - i, key);
    for (; i < n; i++)
        seen |= dst[i];
    return !(seen & HIGH_BITS);
}

static inline __attribute__((always_inline)) bool all_ascii(const uint64_t *words, size_t count)
{
    uint64_t seen = 0;

    for (size_t i = 0; i < count; i++)
        seen |= words[i];
    return !(seen & HIGH_BITS);
}

#define MASK_STEP(at)                                                                                        \
    do {                                                                                                     \
        vec v_;                                                                                              \
        memcpy(&v_, src + (at), sizeof v_);                                                                  \
        v_ ^= k;                                                                                             \
        seen |= v_;                                                                                          \
        memcpy(dst + (at), &v_, sizeof v_);                                                                  \
    } while (0)

#define MASK_KERNEL(name, bytes, target)                                                                     \
    target static bool name(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key)                        \
    {                                                                                                        \
        typedef uint32_t vec __attribute__((vector_size(bytes)));                                            \
        vec first, last, seen, k = (vec){0} + key, end = (vec){0} + mask_turn(key, n);                       \
        uint64_t words[(bytes) / 8];                                                                         \
        size_t i = (bytes) - ((uintptr_t)dst & ((bytes)-1));                                                 \
                                                                                                             \
        if (n <= (bytes))                                                                                    \
            return run_scalar(dst, src, n, key);                                                             \
        memcpy(&first, src, (bytes));                                                                        \
        memcpy(&last, src + n - (bytes), (bytes));                                                           \
        first ^= k;                                                                                          \
        last ^= end;                                                                                         \
        seen = first | last;                                                                                 \
        k = (vec){0} + mask_turn(key, i);                                                                    \
        for (; i + 4 * (bytes) <= n; i += 4 * (bytes)) {                                                     \
            MASK_STEP(i);                                                                                    \
            MASK_STEP(i + (bytes));                                                                          \
            MASK_STEP(i + 2 * (bytes));                                                                      \
            MASK_STEP(i + 3 * (bytes));                                                                      \
        }                                                                                                    \
        for (; i + (bytes) <= n; i += (bytes))                                                               \
            MASK_STEP(i);                                                                                    \
        memcpy(dst, &first, (bytes));                                                                        \
        memcpy(dst + n - (bytes), &last, (bytes));                                                           \
        memcpy(words, &seen, sizeof words);                                                                  \
        return all_ascii(words, (bytes) / 8);                                                                \
    }

MASK_KERNEL(run_vec16, 16, )
#if defined(__x86_64__)
MASK_KERNEL(run_avx2, 32, __attribute__((target("avx2"))))
#endif

/* From the plainest to the widest; a processor that can run one can run those before it. */
static const struct mask_kernel kernels[] = {
    {"scalar", run_scalar},
    {"vec16", run_vec16}, /* SSE2, NEON, or words where there is neither */
#if defined(__x86_64__)
    {"avx2", run_avx2},
#endif
};

static size_t usable = 2;
static bool (*chosen)(uint8_t *, const uint8_t *, size_t, uint32_t) = run_vec16;

#if defined(__x86_64__)
/* Before main, hence before any thread: the choice needs no atomic. Whoever comes even earlier gets vec16. */
__attribute__((constructor)) static void choose(void)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        usable = 3;
    chosen = kernels[usable - 1].run;
}
#endif

const struct mask_kernel *mask_kernels(size_t *count)
{
    *count = usable;
    return kernels;
}

bool mask_long(uint8_t *dst, const uint8_t *src, size_t n, uint32_t key)
{
    return chosen(dst, src, n, key);
}

void mask_apply_scalar(uint8_t *p, size_t n, const uint8_t key[4], size_t offset)
{
    run_scalar(p, p, n, mask_key(key, offset));
}
