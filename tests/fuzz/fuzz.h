/* What a fuzz target is made of.
 *
 * A target is one function from bytes to nothing. It ends the program when a promise of what it drives is
 * broken; memory and undefined behaviour are the sanitizers' affair. Built with libFuzzer (-Dfuzz=true, clang)
 * it searches, with replay.c instead it runs files that were found before.
 *
 * The first bytes of an input are choices: how the rest is cut, limits, roles. An input that ends early
 * chooses zero. */
#ifndef WEFT_TESTS_FUZZ_H
#define WEFT_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(what)                                                                                           \
    do {                                                                                                     \
        if (!(what)) {                                                                                       \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #what);                               \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

struct fuzz_input {
    const uint8_t *p;
    size_t n;
};

static inline uint8_t fuzz_byte(struct fuzz_input *in)
{
    if (!in->n)
        return 0;
    in->n--;
    return *in->p++;
}

static inline uint32_t fuzz_number(struct fuzz_input *in)
{
    uint32_t low = fuzz_byte(in);

    return low | (uint32_t)fuzz_byte(in) << 8;
}

/* A copy in memory of exactly this size, so that a read behind its end is seen; free it. */
static inline uint8_t *fuzz_copy(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);

    MUST(copy);
    if (n)
        memcpy(copy, p, n);
    return copy;
}

/* The same with a NUL behind it. */
static inline char *fuzz_text(const uint8_t *p, size_t n)
{
    char *copy = malloc(n + 1);

    MUST(copy);
    if (n)
        memcpy(copy, p, n);
    copy[n] = '\0';
    return copy;
}

/* How a stream is cut: pieces of 1 to most bytes, the same for the same seed. */
struct fuzz_cut {
    uint32_t seed, most;
};

static inline size_t fuzz_piece(struct fuzz_cut *cut, size_t left)
{
    size_t n;

    cut->seed = cut->seed * 1664525u + 1013904223u;
    n = 1 + (cut->seed >> 8) % (cut->most ? cut->most : 1);
    return n < left ? n : left;
}

#endif
