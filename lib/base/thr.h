/* Thread roles, thread names and the small differences between compilers.
 *
 * A role is a capability in the sense of clang's -Wthread-safety: a function marked ON_IO may only be
 * called by one that holds role_io, which an I/O thread's main function takes once. gcc ignores the marks.
 * In debug builds the asserts also check the role at run time. */
#ifndef WEFT_BASE_THR_H
#define WEFT_BASE_THR_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__clang__)
#define THR_ATTR(x) __attribute__((x))
#else
#define THR_ATTR(x)
#endif

struct THR_ATTR(capability("role")) thr_role {
    char unused;
};
extern struct thr_role role_io;     /* the thread that owns the loop of the connection at hand */
extern struct thr_role role_worker; /* the thread that holds the connection's mailbox */

#define ON_IO           THR_ATTR(requires_capability(role_io))
#define ON_WORKER       THR_ATTR(requires_capability(role_worker))
#define OWNED_BY_IO     THR_ATTR(guarded_by(role_io))
#define OWNED_BY_WORKER THR_ATTR(guarded_by(role_worker))

enum thr_kind { THR_FOREIGN, THR_IO, THR_WORKER };

/* What the calling thread is, and whose, as told by thr_become. A thread of the program is THR_FOREIGN and
 * NULL's. */
enum thr_kind thr_kind(void);
const void *thr_owner(void);
void thr_become(enum thr_kind kind, const void *owner);

/* The main functions of the threads take their role with these; a callback that lost the mark on its way
 * through a function pointer asserts it. In inline mode the I/O thread holds both roles. */
void thr_enter_io(void) THR_ATTR(acquire_capability(role_io));
void thr_exit_io(void) THR_ATTR(release_capability(role_io));
void thr_enter_worker(void) THR_ATTR(acquire_capability(role_worker));
void thr_exit_worker(void) THR_ATTR(release_capability(role_worker));
void thr_assert_io(void) THR_ATTR(assert_capability(role_io));
void thr_assert_worker(void) THR_ATTR(assert_capability(role_worker));

/* Name shown by ps and gdb, cut at 15 characters. */
void thr_name(const char *name);

/* The calling thread no longer preempts others when it wakes up (SCHED_BATCH): the producer of a batch goes
 * on until it waits, instead of being stopped by its own first wake-up. A refusal is ignored. */
void thr_schedule_as_batch(void);

/* How often the calling thread gave its core away because it waited for something, and how often it was stopped for
 * another one. A system call. */
struct thr_switches {
    uint64_t waits, stops;
};
struct thr_switches thr_switches(void);

/* What the thread-local variables of the program and its libraries take of each thread's stack. Debian's
 * wolfSSL has 49 KB of them. */
size_t thr_local_bytes(void);

#define THR_CACHE_LINE 64

#if defined(__x86_64__) || defined(__i386__)
#define THR_RELAX() __builtin_ia32_pause()
#else
#define THR_RELAX() ((void)0)
#endif

#endif
