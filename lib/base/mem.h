/* The one door for memory: every allocation of the library goes through it, so that a test can make the
 * n-th fail.
 *
 * Beside plain blocks there are pooled blocks. A pool belongs to one thread of the library (an I/O thread
 * or a worker) and keeps freed blocks of a few sizes for it. A block remembers the pool it came from:
 *   I1  freed by its owner, it goes back to the owner's list without an atomic operation;
 *   I2  freed by another thread, it is pushed onto the owner's return stack, which the owner takes whole
 *       when a list of its own is empty (label MEM_RETURN: the push releases, the take acquires);
 *   I3  when the owner has ended, a freed block goes to the system.
 * Pools are never freed but used again by the next thread, so a block may outlive the thread and the server
 * that made it. A thread without a pool (the program's own) gets plain blocks. What a pool keeps in its
 * lists is bounded (MEM_POOL_BYTES_MAX, MEM_POOL_LARGE_BYTES_MAX); what waits on the return stack is
 * bounded by what was under way at once. */
#ifndef WEFT_BASE_MEM_H
#define WEFT_BASE_MEM_H

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

/* What one pool keeps of freed memory, in bytes: for each of the size classes up to 4 KiB, and for the
 * larger ones (up to 1 MiB) together. */
#define MEM_POOL_BYTES_MAX       (256u * 1024u)
#define MEM_POOL_LARGE_BYTES_MAX (5u * 1024u * 1024u) /* four of the largest, and some */

/* A large variable of a hot function, of which little is used: hardened builds zero all others
 * (-ftrivial-auto-var-init). */
#ifdef __has_attribute
#if __has_attribute(uninitialized)
#define MEM_NOT_ZEROED __attribute__((uninitialized))
#endif
#endif
#ifndef MEM_NOT_ZEROED
#define MEM_NOT_ZEROED
#endif

void *mem_alloc(size_t bytes); /* NULL when there is none */
void *mem_calloc(size_t count, size_t bytes);
void *mem_aligned_calloc(size_t alignment,
                         size_t bytes); /* alignment: a power of two; bytes a multiple of it */
void *mem_realloc(void *p, size_t bytes);
void mem_free(void *p); /* of those above; NULL is allowed */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t bytes);

void *mem_block_alloc(size_t bytes); /* from the calling thread's pool when it has one */
void mem_block_free(void *block);    /* any thread */
/* A block with at least bytes, holding the first used bytes of this one, which is gone then. NULL: no
 * memory, block untouched. */
void *mem_block_grow(void *block, size_t used, size_t bytes);
size_t mem_block_room(const void *block); /* usable bytes, at least what was asked for */
/* Not in mem_used_bytes from now on, whoever else refers to it: it is kept under a bound of its own. Once for
 * each who keeps it, who takes it back before the block may be freed. Any thread. */
void mem_block_set_apart(const void *block);
void mem_block_take_back(const void *block);

int mem_pool_join(void);   /* the calling thread gets a pool; WEFT_E_NOMEM */
void mem_pool_leave(void); /* and gives it up */

/* Bytes of the pooled blocks in use, of all threads together; those that pools keep are not. Counted from
 * the first mem_count_used on, which is never taken back. Any thread. */
void mem_count_used(void);
uint64_t mem_used_bytes(void);

/* Tests: the n-th allocation from now on fails (1 is the next), 0 switches it off; the count of blocks not
 * yet freed. */
void mem_fail_at(uint64_t n);
bool mem_fail_happened(void);
int64_t mem_live_blocks(void);
/* Off by default, since it shares a counter between all threads. */
void mem_count_live(bool on);

#endif
