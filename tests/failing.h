/* Runs something again and again, with each of its system calls, or allocations, failing in turn: no crash,
 * no hang, nothing left, and either it goes as it should or the error says why.
 *
 * System calls are taken by the linker (--wrap, in tests/meson.build), so the library is as it is. How a
 * call fails depends on the call: what POSIX and Linux let it answer, and for reads and writes also less
 * than was asked for. After an EAGAIN that the system did not mean, the descriptor is armed anew in epoll,
 * for the system would tell of the change that ends a real one. */
#ifndef WEFT_TESTS_FAILING_H
#define WEFT_TESTS_FAILING_H

#include <stdbool.h>
#include <stdint.h>

/* A name that only getaddrinfo knows, for 127.0.0.1. */
#define FAILING_NAME "server.test"

/* Answers a result of the library; behind it nothing of what it made is there any more. */
typedef int failing_run(void *arg);

/* How often the run that is being made was too late already: each time it may give itself more time, or a machine that is
 * busy is too slow for all of them. */
unsigned failing_tries_before(void);

/* Each stride-th call, in each of its ways; the environment's WEFT_TEST_STRIDE says otherwise: with 1 no
 * call is left out. How many calls have failed. */
unsigned failing_calls(failing_run *run, void *arg, unsigned stride);

/* Where allocations are made: the n-th fails, 0: none; and whether it was reached. */
struct failing_door {
    void (*fail_at)(uint64_t n);
    bool (*has_failed)(void);
    bool is_foreign; /* another library's, which may have another name for what went wrong */
};
extern const struct failing_door failing_memory; /* of ours */

/* Each stride-th allocation. How many there are, about. */
unsigned failing_allocations(failing_run *run, void *arg, const struct failing_door *door, unsigned stride);

#endif
