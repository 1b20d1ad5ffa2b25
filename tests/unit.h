/* What a test program needs beside CUnit: names as sentences, one case by its name, and no thread or descriptor left.
 *
 * A test file is a list of functions and a main:
 *     static void put_fails_when_full(void) { ... CU_ASSERT_EQUAL(ring_put(r, x), WEFT_E_AGAIN); ... }
 *     static const struct unit_case cases[] = {CASE(put_fails_when_full)};
 *     int main(int argc, char **argv) { return unit_main(argc, argv, "ring", cases, sizeof cases / sizeof cases[0]); }
 * Called without arguments it runs all, with names only those; a wrong name lists the names. After each case
 * the number of threads and of descriptors must be what it was before. */
#ifndef WEFT_TESTS_UNIT_H
#define WEFT_TESTS_UNIT_H

#include <CUnit/CUnit.h>
#include <stddef.h>

struct unit_case {
    const char *name;
    void (*run)(void);
};
#define CASE(function) {#function, function}

int unit_main(int argc, char **argv, const char *suite, const struct unit_case *cases, size_t count);

/* True under ASan, TSan or valgrind, and where WEFT_TEST_SLOW is set: loops that only gain confidence by number may
 * run shorter. */
int unit_is_slow(void);

/* It has limits of its own, runs one thread at a time and touches more memory. */
int unit_is_in_valgrind(void);

#endif
