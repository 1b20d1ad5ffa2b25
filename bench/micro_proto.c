/* Which share of a message do masking and the UTF-8 check take?
 *
 * Prints nanoseconds a call and GB/s for mask_copy, mask_apply and utf8_feed at the sizes that messages have,
 * then the same for each kernel that this processor can run, which is how a kernel earns its place. The
 * figure is the best of ROUNDS rounds: other programs only ever make a round slower. Buffers are warm, and
 * from 1 MiB on (source and copy) larger than most level-2 caches. "2 bytes", "3 bytes" and "mixed" is text
 * of letters of that length, and of all lengths with ASCII between.
 *
 * usage: micro_proto [kernels] */
#include "proto/mask.h"
#include "proto/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 15, ROUND_NS = 2000000, BYTES_MAX = 1 << 20 };

static const size_t sizes[] = {16, 64, 125, 1024, 65536, BYTES_MAX};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static uint8_t source[BYTES_MAX], masked[BYTES_MAX], target[BYTES_MAX];
static const uint8_t fixed_key[4] = {0x37, 0xfa, 0x21, 0x3d};
static const uint8_t *key = fixed_key;
static const struct mask_kernel *mask_kernel;
static const struct utf8_kernel *utf8_kernel;

typedef void call(size_t n);

/* The compiler may neither drop a call nor see that the next one is the same. */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x) : : "memory")

static void call_memcpy(size_t n)
{
    OPAQUE(n);
    memcpy(target, source, n);
}

static void call_mask_copy(size_t n)
{
    OPAQUE(n);
    OPAQUE(key);
    mask_copy(target, source, n, key, 0);
}

static void call_mask_apply(size_t n)
{
    OPAQUE(n);
    OPAQUE(key);
    mask_apply(target, n, key, 0);
}

static void call_mask_kernel(size_t n)
{
    OPAQUE(n);
    mask_kernel->run(target, source, n, 0x3d21fa37);
}

static void call_utf8_feed(size_t n)
{
    struct utf8_state s = {0};

    OPAQUE(n);
    if (!utf8_feed(&s, source, n))
        abort();
}

static void call_utf8_kernel(size_t n)
{
    struct utf8_state s = {0};

    OPAQUE(n);
    if (!utf8_feed_by(utf8_kernel, &s, source, n))
        abort();
}

/* As a session does it: unmask what was read, then check what was unmasked. */
static void call_mask_then_feed(size_t n)
{
    struct utf8_state s = {0};

    OPAQUE(n);
    OPAQUE(key);
    mask_copy(target, masked, n, key, 0);
    if (!utf8_feed(&s, target, n))
        abort();
}

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static inline double round_ns(call *f, size_t n, long calls)
{
    double start = now_ns();

    for (long i = 0; i < calls; i++) {
        f(n);
        __asm__ volatile("" : : : "memory");
    }
    return (now_ns() - start) / (double)calls;
}

static inline double best_ns(call *f, size_t n)
{
    double best = round_ns(f, n, 10);
    long calls = (long)(ROUND_NS / best) + 1;

    for (int i = 0; i < ROUNDS; i++) {
        double ns = round_ns(f, n, calls);
        best = ns < best ? ns : best;
    }
    return best;
}

/* Inlined into each caller together with the function measured, as it is in the library. */
__attribute__((always_inline)) static inline void report(const char *what, call *f)
{
    printf("%-24s", what);
    for (int i = 0; i < SIZES; i++) {
        double ns = best_ns(f, sizes[i]);
        printf(" %9.2f %6.1f", ns, (double)sizes[i] / ns);
    }
    printf("\n");
    fflush(stdout);
}

static const struct text {
    const char *name;
    const char *letters[8];
    size_t count;
} texts[] = {
    {"ascii", {"w", "e", "f", "t", " "}, 5},
    {"2 bytes", {"\xce\xba", "\xcf\x83", "\xce\xbc", "\xce\xb5"}, 4},
    {"3 bytes", {"\xe6\xbc\xa2", "\xe5\xad\x97", "\xe4\xbb\xae", "\xe5\x90\x8d"}, 4},
    {"mixed", {"a", "b ", "\xc3\xa9", "cd", "\xe2\x82\xac", "efg", "\xf0\x9f\x99\x82"}, 7},
};
enum { TEXTS = sizeof texts / sizeof texts[0] };

/* A size may cut the last letter: the beginning of a letter is right too. */
static void fill(const struct text *t)
{
    size_t at = 0;

    for (size_t i = 0;; i++) {
        const char *letter = t->letters[i % t->count];
        if (at + strlen(letter) > BYTES_MAX)
            break;
        memcpy(source + at, letter, strlen(letter));
        at += strlen(letter);
    }
    memset(source + at, ' ', BYTES_MAX - at);
    mask_copy(masked, source, BYTES_MAX, key, 0);
}

__attribute__((always_inline)) static inline void report_texts(const char *what, call *f)
{
    char line[96];

    for (int i = 0; i < TEXTS; i++) {
        fill(&texts[i]);
        snprintf(line, sizeof line, "%s %s", what, texts[i].name);
        report(line, f);
    }
}

static void report_kernels(void)
{
    size_t count;
    char line[48];
    const struct mask_kernel *masks = mask_kernels(&count);

    for (size_t i = 0; i < count; i++) {
        mask_kernel = &masks[i];
        snprintf(line, sizeof line, "mask %s", masks[i].name);
        report(line, call_mask_kernel);
    }
    utf8_kernel = NULL;
    report_texts("utf8 automaton", call_utf8_kernel);
    utf8_kernels(&count);
    for (size_t i = 0; i < count; i++) {
        utf8_kernel = &utf8_kernels(&count)[i];
        snprintf(line, sizeof line, "utf8 %s", utf8_kernel->name);
        report_texts(line, call_utf8_kernel);
    }
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && strcmp(argv[1], "kernels") != 0)) {
        fprintf(stderr, "usage: micro_proto [kernels]\n");
        return 2;
    }
    printf("%-24s", "ns a call, GB/s");
    for (int i = 0; i < SIZES; i++)
        printf(" %16zu", sizes[i]);
    printf("\n");
    fill(&texts[0]);
    report("memcpy", call_memcpy);
    report("mask_copy", call_mask_copy);
    report("mask_apply", call_mask_apply);
    report("mask_copy + utf8_feed", call_mask_then_feed);
    report_texts("utf8_feed", call_utf8_feed);
    if (argc == 2)
        report_kernels();
    return 0;
}
