/* The one door for memory, and the pools; see mem.h for the invariants I1 to I3.
 *
 * A block is a struct block followed by what the caller uses. Blocks of the size classes are taken one by
 * one from the system, so that giving one back to the system is always possible and a pool needs no
 * bookkeeping of slabs.
 *
 *   operation      | by              | touches
 *   take from list | owner           | lists (no atomics)
 *   give, owner    | owner           | lists
 *   give, other    | any             | returned: compare-and-swap, release          MEM_RETURN
 *   collect        | owner           | returned: exchange, acquire                  MEM_RETURN
 *   leave          | owner           | returned: exchange to CLOSED, acquire        MEM_RETURN
 *
 * Under AddressSanitizer the pools keep nothing: a block used after its end must be seen. */
#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/order.h"
#include "base/thr.h"
#include "weft/error.h"

#if defined(__SANITIZE_ADDRESS__)
#define POOL_KEEPS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_KEEPS 0
#endif
#endif
#ifndef POOL_KEEPS
#define POOL_KEEPS 1
#endif

/* Sizes of whole blocks: 128 .. 4096, and above that a little more than a power of two, for the payloads
 * that are one: 8 KiB .. 1 MiB. */
#define SMALLEST_BYTES ((size_t)128)
#define SMALL_CLASSES  6
#define CLASS_COUNT    14
#define CLASS_NONE     255
#define LARGE_EXTRA    256u

struct pool;

struct block {
    struct pool *owner; /* NULL: not pooled */
    uint32_t room;      /* what the caller may use; UINT32_MAX: see malloc */
    uint32_t size_class;
};
_Static_assert(sizeof(struct block) % 16 == 0, "what follows a block must be aligned for anything");

/* A block that waits in a list holds its link where the caller's bytes were. */
struct free_block {
    struct block head;
    struct free_block *next;
};

struct pool {
    struct free_block *lists[CLASS_COUNT];
    uint32_t counts[CLASS_COUNT];
    size_t large_bytes; /* kept in the classes above SMALL_CLASSES together */
    struct pool *next_idle; /* under registry_lock */
    struct pool *next;      /* of all: under registry_lock, constant then */
    _Atomic int64_t used_bytes; /* taken less freed by this thread; only it writes. The sum counts */
    _Alignas(THR_CACHE_LINE) _Atomic(struct free_block *) returned;
};

/* Pools without a thread, ready for the next one. Reachable for ever, never freed. */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pool *idle_pools, *all_pools;
static _Atomic int64_t used_elsewhere; /* by threads without a pool */
static atomic_bool counts_used;

static _Thread_local struct pool *pool_here;
static struct free_block closed_mark; /* in `returned`: the owner has left */

static _Atomic uint64_t fail_countdown;
static atomic_bool fail_armed, fail_hit;
static atomic_bool counts_live;
static _Atomic int64_t live_blocks;

void mem_fail_at(uint64_t n)
{
    atomic_store(&fail_hit, false);
    atomic_store(&fail_countdown, n);
    atomic_store(&fail_armed, n != 0);
}

bool mem_fail_happened(void)
{
    return atomic_load(&fail_hit);
}
void mem_count_live(bool on)
{
    atomic_store(&counts_live, on);
}
int64_t mem_live_blocks(void)
{
    return atomic_load(&live_blocks);
}

/* Relaxed: the switch is thrown by a test before the threads it concerns are made. */
static bool must_fail(void)
{
    if (!atomic_load_explicit(&fail_armed, memory_order_relaxed))
        return false;
    if (atomic_fetch_sub(&fail_countdown, 1) != 1)
        return false;
    atomic_store(&fail_hit, true);
    return true;
}

/* Relaxed: the sum is read when the threads that changed it have been joined. */
static void count_live(const void *p, int64_t step)
{
    if (p && atomic_load_explicit(&counts_live, memory_order_relaxed))
        atomic_fetch_add_explicit(&live_blocks, step, memory_order_relaxed);
}

void *mem_alloc(size_t bytes)
{
    void *p = must_fail() ? NULL : malloc(bytes ? bytes : 1);
    count_live(p, 1);
    return p;
}

void *mem_calloc(size_t count, size_t bytes)
{
    void *p = must_fail() ? NULL : calloc(count ? count : 1, bytes ? bytes : 1);
    count_live(p, 1);
    return p;
}

void *mem_aligned_calloc(size_t alignment, size_t bytes)
{
    void *p = must_fail() ? NULL : aligned_alloc(alignment, bytes);

    if (p)
        memset(p, 0, bytes);
    count_live(p, 1);
    return p;
}

void *mem_realloc(void *old, size_t bytes)
{
    void *p = must_fail() ? NULL : realloc(old, bytes ? bytes : 1);
    if (!old)
        count_live(p, 1);
    return p;
}

void mem_free(void *p)
{
    count_live(p, -1);
    free(p);
}

char *mem_strndup(const char *s, size_t bytes)
{
    char *copy = mem_alloc(bytes + 1);
    if (copy) {
        memcpy(copy, s, bytes);
        copy[bytes] = '\0';
    }
    return copy;
}

char *mem_strdup(const char *s)
{
    return mem_strndup(s, strlen(s));
}

/* --- what is in use --- */

void mem_count_used(void)
{
    atomic_store_explicit(&counts_used, true, memory_order_relaxed);
}

/* Relaxed, like all of this: the sum is a figure, and orders nothing. */
static void count_used(int64_t bytes)
{
    struct pool *p = pool_here;

    if (!atomic_load_explicit(&counts_used, memory_order_relaxed))
        return;
    if (p)
        atomic_store_explicit(&p->used_bytes,
                              atomic_load_explicit(&p->used_bytes, memory_order_relaxed) + bytes,
                              memory_order_relaxed);
    else
        atomic_fetch_add_explicit(&used_elsewhere, bytes, memory_order_relaxed);
}

static int64_t whole_bytes(const struct block *b)
{
    return (int64_t)b->room + (int64_t)sizeof *b;
}

uint64_t mem_used_bytes(void)
{
    int64_t sum = atomic_load_explicit(&used_elsewhere, memory_order_relaxed);

    pthread_mutex_lock(&registry_lock);
    for (struct pool *p = all_pools; p; p = p->next)
        sum += atomic_load_explicit(&p->used_bytes, memory_order_relaxed);
    pthread_mutex_unlock(&registry_lock);
    return sum > 0 ? (uint64_t)sum : 0; /* blocks from before the counting may have been freed */
}

/* --- pools --- */

static size_t class_bytes(unsigned c)
{
    return (SMALLEST_BYTES << c) + (c < SMALL_CLASSES ? 0 : LARGE_EXTRA);
}

static unsigned class_of(size_t bytes)
{
    size_t whole = bytes + sizeof(struct block);

    if (whole > class_bytes(SMALL_CLASSES - 1))
        whole -= whole - LARGE_EXTRA > class_bytes(SMALL_CLASSES - 1) ? LARGE_EXTRA : 0;
    if (whole <= class_bytes(0))
        return 0;
    if (whole > SMALLEST_BYTES << (CLASS_COUNT - 1))
        return CLASS_NONE;
    return (unsigned)(64 - __builtin_clzll((unsigned long long)(whole - 1))) - 7;
}

static void to_system(struct block *b)
{
    mem_free(b);
}

static bool has_place(const struct pool *p, unsigned c)
{
    if (!POOL_KEEPS)
        return false;
    /* Shifted, for a division by class_bytes(c) would cost more than all else here. */
    if (c < SMALL_CLASSES)
        return p->counts[c] < MEM_POOL_BYTES_MAX / SMALLEST_BYTES >> c;
    return p->large_bytes + class_bytes(c) <= MEM_POOL_LARGE_BYTES_MAX;
}

static void keep_or_release(struct pool *p, struct free_block *f)
{
    unsigned c = f->head.size_class;

    if (!has_place(p, c)) {
        to_system(&f->head);
        return;
    }
    if (c >= SMALL_CLASSES)
        p->large_bytes += class_bytes(c);
    f->next = p->lists[c];
    p->lists[c] = f;
    p->counts[c]++;
}

static void collect_returned(struct pool *p)
{
    struct free_block *f;

    /* Relaxed: an empty look may be late, the next one sees it. */
    if (!atomic_load_explicit(&p->returned, memory_order_relaxed))
        return;
    f = atomic_exchange_explicit(&p->returned, NULL, ORDER(MEM_RETURN, memory_order_acquire));
    while (f) {
        struct free_block *next = f->next;
        keep_or_release(p, f);
        f = next;
    }
}

static struct free_block *take(struct pool *p, unsigned c)
{
    struct free_block *f = p->lists[c];

    if (!f) {
        collect_returned(p);
        f = p->lists[c];
        if (!f)
            return NULL;
    }
    p->lists[c] = f->next;
    p->counts[c]--;
    if (c >= SMALL_CLASSES)
        p->large_bytes -= class_bytes(c);
    return f;
}

void *mem_block_alloc(size_t bytes)
{
    struct pool *p = pool_here;
    unsigned c = class_of(bytes);
    struct block *b;
    size_t whole;

    if (bytes > SIZE_MAX - sizeof *b)
        return NULL;
    whole = c == CLASS_NONE ? bytes + sizeof *b : class_bytes(c);
    if (p && c != CLASS_NONE && !atomic_load_explicit(&fail_armed, memory_order_relaxed)) {
        struct free_block *f = take(p, c);
        if (f) {
            count_used(whole_bytes(&f->head));
            return &f->head + 1;
        }
    }
    b = mem_alloc(whole);
    if (!b)
        return NULL;
    b->owner = c == CLASS_NONE ? NULL : p;
    b->room = whole - sizeof *b < UINT32_MAX ? (uint32_t)(whole - sizeof *b) : UINT32_MAX;
    b->size_class = c;
    count_used(whole_bytes(b));
    return b + 1;
}

static void give_back(struct pool *p, struct free_block *f)
{
    /* Relaxed: the value is only compared, nothing is read through it. */
    struct free_block *head = atomic_load_explicit(&p->returned, memory_order_relaxed);

    do {
        if (head == &closed_mark) {
            to_system(&f->head);
            return;
        }
        f->next = head;
    } while (!atomic_compare_exchange_weak_explicit(
        &p->returned, &head, f, ORDER(MEM_RETURN, memory_order_release), memory_order_relaxed));
}

void mem_block_free(void *block)
{
    struct block *b;

    if (!block)
        return;
    b = (struct block *)block - 1;
    count_used(-whole_bytes(b));
    if (!b->owner)
        to_system(b);
    else if (b->owner == pool_here)
        keep_or_release(pool_here, (struct free_block *)b);
    else
        give_back(b->owner, (struct free_block *)b);
}

void mem_block_set_apart(const void *block)
{
    count_used(-whole_bytes((const struct block *)block - 1));
}

void mem_block_take_back(const void *block)
{
    count_used(whole_bytes((const struct block *)block - 1));
}

void *mem_block_grow(void *block, size_t used, size_t bytes)
{
    struct block *b = (struct block *)block - 1;
    void *bigger;

    if (b->size_class == CLASS_NONE && bytes <= UINT32_MAX) {
        b = mem_realloc(b, bytes + sizeof *b); /* large ones are moved by the system without a copy */
        if (!b)
            return NULL;
        count_used((int64_t)bytes - (int64_t)b->room);
        b->room = (uint32_t)bytes;
        return b + 1;
    }
    bigger = mem_block_alloc(bytes);
    if (bigger) {
        memcpy(bigger, block, used);
        mem_block_free(block);
    }
    return bigger;
}

size_t mem_block_room(const void *block)
{
    return ((const struct block *)block - 1)->room;
}

int mem_pool_join(void)
{
    struct pool *p;

    pthread_mutex_lock(&registry_lock);
    p = idle_pools;
    if (p)
        idle_pools = p->next_idle;
    pthread_mutex_unlock(&registry_lock);
    if (!p) {
        /* Not by mem_alloc: pools are for ever and no live block of the library's. */
        p = must_fail() ? NULL : aligned_alloc(THR_CACHE_LINE, sizeof *p);
        if (!p)
            return WEFT_E_NOMEM;
        memset(p, 0, sizeof *p);
        atomic_init(&p->returned, NULL);
        pthread_mutex_lock(&registry_lock);
        p->next = all_pools;
        all_pools = p;
        pthread_mutex_unlock(&registry_lock);
    }
    /* Relaxed: givers only compare; a late giver that still sees the mark frees the block itself. */
    atomic_store_explicit(&p->returned, NULL, memory_order_relaxed);
    pool_here = p;
    return WEFT_OK;
}

static void empty_lists(struct pool *p)
{
    for (unsigned c = 0; c < CLASS_COUNT; c++) {
        while (p->lists[c]) {
            struct free_block *f = p->lists[c];
            p->lists[c] = f->next;
            to_system(&f->head);
        }
        p->counts[c] = 0;
    }
    p->large_bytes = 0;
}

void mem_pool_leave(void)
{
    struct pool *p = pool_here;
    struct free_block *f;

    if (!p)
        return;
    f = atomic_exchange_explicit(&p->returned, &closed_mark, ORDER(MEM_RETURN, memory_order_acquire));
    while (f) {
        struct free_block *next = f->next;
        to_system(&f->head);
        f = next;
    }
    empty_lists(p);
    pool_here = NULL;
    pthread_mutex_lock(&registry_lock);
    p->next_idle = idle_pools;
    idle_pools = p;
    pthread_mutex_unlock(&registry_lock);
}
