/* The door for memory: the n-th failure, the count of live blocks, and the pools with their invariants I1 to
 * I3.
 *
 * A block that a pool keeps is still live for mem_live_blocks, and one that went to the system is not: that
 * is how these tests see where a block went. Under AddressSanitizer pools keep nothing. */
#include "unit.h"
#include "crew.h"
#include "base/mem.h"
#include "weft/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define POOLS_KEEP 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOLS_KEEP 0
#endif
#endif
#ifndef POOLS_KEEP
#define POOLS_KEEP 1
#endif

enum { POOLED_MAX = (1 << 20) + 256 - 16 }; /* the largest that has a size class */

/* Every case counts, and leaves no block behind unless it says so. */
static int64_t live_at_start;

static void count_from_here(void)
{
    mem_count_live(true);
    live_at_start = mem_live_blocks();
}

static int64_t live(void)
{
    return mem_live_blocks() - live_at_start;
}

/* Pools belong to threads: a case that needs one runs its steps on a thread of its own. */
static void on_another_thread(void *(*steps)(void *), void *arg)
{
    struct crew crew = {0};

    crew_add(&crew, steps, arg);
    crew_join(&crew);
}

/* --- plain memory --- */

static void plain_memory_of_all_kinds_is_counted(void)
{
    void *p[6];

    count_from_here();
    p[0] = mem_alloc(10);
    p[1] = mem_calloc(3, 5);
    p[2] = mem_aligned_calloc(64, 128);
    p[3] = mem_realloc(NULL, 9);
    p[4] = mem_strdup("text");
    p[5] = mem_strndup("text", 2);
    for (int i = 0; i < 6; i++)
        CU_ASSERT_PTR_NOT_NULL_FATAL(p[i]);
    CU_ASSERT_EQUAL(live(), 6);
    for (int i = 0; i < 15; i++)
        CU_ASSERT_EQUAL(((char *)p[1])[i], 0);
    CU_ASSERT_EQUAL((uintptr_t)p[2] % 64, 0);
    for (int i = 0; i < 128; i++)
        CU_ASSERT_EQUAL(((char *)p[2])[i], 0);
    CU_ASSERT_STRING_EQUAL(p[4], "text");
    CU_ASSERT_STRING_EQUAL(p[5], "te");
    p[3] = mem_realloc(p[3], 1000);
    CU_ASSERT_EQUAL(live(), 6);
    for (int i = 0; i < 6; i++)
        mem_free(p[i]);
    mem_free(NULL);
    CU_ASSERT_EQUAL(live(), 0);
    mem_count_live(false);
}

static void nothing_is_a_size_too(void)
{
    void *p[] = {mem_alloc(0), mem_calloc(0, 0), mem_realloc(NULL, 0), mem_block_alloc(0),
                 mem_strndup("x", 0)};

    for (int i = 0; i < 5; i++)
        CU_ASSERT_PTR_NOT_NULL(p[i]);
    CU_ASSERT_STRING_EQUAL(p[4], "");
    mem_free(p[0]);
    mem_free(p[1]);
    mem_free(p[2]);
    mem_block_free(p[3]);
    mem_free(p[4]);
    mem_block_free(NULL);
}

static void a_size_that_would_wrap_round_gives_null(void)
{
    CU_ASSERT_PTR_NULL(mem_block_alloc(SIZE_MAX));
    CU_ASSERT_PTR_NULL(mem_block_alloc(SIZE_MAX - 15));
}

static void exactly_the_nth_allocation_fails(void)
{
    for (uint64_t n = 1; n <= 6; n++) {
        mem_fail_at(n);
        for (uint64_t i = 1; i <= 8; i++) {
            void *p = mem_alloc(1);
            CU_ASSERT_EQUAL(p == NULL, i == n);
            CU_ASSERT_EQUAL(mem_fail_happened(), i >= n);
            mem_free(p);
        }
    }
    mem_fail_at(0);
    CU_ASSERT_FALSE(mem_fail_happened());
    for (int i = 0; i < 8; i++) {
        void *p = mem_alloc(1);
        CU_ASSERT_PTR_NOT_NULL(p);
        mem_free(p);
    }
}

static void every_door_can_fail_and_counts_nothing_then(void)
{
    void *kept = mem_alloc(8);
    void *block = mem_block_alloc(8), *large = mem_block_alloc(100000);

    count_from_here();
    memset(kept, 7, 8);
#define FAILS(call)                                                                                          \
    do {                                                                                                     \
        mem_fail_at(1);                                                                                      \
        CU_ASSERT_PTR_NULL(call);                                                                            \
        CU_ASSERT_TRUE(mem_fail_happened());                                                                 \
    } while (0)
    FAILS(mem_alloc(1));
    FAILS(mem_calloc(1, 1));
    FAILS(mem_aligned_calloc(64, 64));
    FAILS(mem_realloc(NULL, 1));
    FAILS(mem_realloc(kept, 100));
    FAILS(mem_strdup("x"));
    FAILS(mem_strndup("x", 1));
    FAILS(mem_block_alloc(1));
    FAILS(mem_block_alloc(100000));
    FAILS(mem_block_grow(block, 8, 1000));
    FAILS(mem_block_grow(large, 8, 200000));
#undef FAILS
    mem_fail_at(0);
    CU_ASSERT_EQUAL(live(), 0);
    CU_ASSERT_EQUAL(((char *)kept)[7], 7); /* a failed realloc leaves the old one */
    mem_count_live(false);
    mem_free(kept);
    mem_block_free(block);
    mem_block_free(large);
}

static void *join_without_memory(void *rc)
{
    mem_fail_at(1);
    *(int *)rc = mem_pool_join();
    mem_fail_at(0);
    return NULL;
}

static void *join_and_leave(void *rc)
{
    *(int *)rc = mem_pool_join();
    mem_pool_leave();
    return NULL;
}

/* Must run before any other case has made a pool: an idle one needs no memory. It does when it is the only
 * case. */
static void a_pool_that_cannot_be_made_is_told(void)
{
    int rc = 1;

    on_another_thread(join_without_memory, &rc);
    CU_ASSERT_EQUAL(rc, WEFT_E_NOMEM);
    on_another_thread(join_and_leave, &rc);
    CU_ASSERT_EQUAL(rc, WEFT_OK);
}

/* --- blocks --- */

static void a_block_has_the_room_that_was_asked_for_and_is_aligned(void)
{
    for (size_t bytes = 0; bytes < 10000; bytes += bytes < 300 ? 1 : 37) {
        void *b = mem_block_alloc(bytes);
        CU_ASSERT_PTR_NOT_NULL_FATAL(b);
        if (mem_block_room(b) < bytes || (uintptr_t)b % 16 != 0)
            CU_FAIL("a block is too small or lies wrong");
        memset(b, 0x5c, mem_block_room(b)); /* a sanitizer sees it if the room is not there */
        mem_block_free(b);
    }
}

static void growing_a_block_keeps_the_used_bytes(void)
{
    static const size_t sizes[] = {1, 100, 112, 113, 4080, 4081, 9000, 1000000};

    for (size_t from = 0; from < 8; from++) {
        for (size_t to = from + 1; to < 8; to++) {
            unsigned char *b = mem_block_alloc(sizes[from]);
            bool kept = true;

            CU_ASSERT_PTR_NOT_NULL_FATAL(b);
            for (size_t i = 0; i < sizes[from]; i++)
                b[i] = (unsigned char)(i * 3);
            b = mem_block_grow(b, sizes[from], sizes[to]);
            CU_ASSERT_PTR_NOT_NULL_FATAL(b);
            CU_ASSERT_TRUE(mem_block_room(b) >= sizes[to]);
            for (size_t i = 0; i < sizes[from]; i++)
                kept &= b[i] == (unsigned char)(i * 3);
            CU_ASSERT_TRUE(kept);
            memset(b, 0, sizes[to]);
            mem_block_free(b);
        }
    }
}

static void a_failed_growth_leaves_the_block_untouched(void)
{
    static const size_t sizes[] = {100, 100000};

    for (int i = 0; i < 2; i++) {
        char *b = mem_block_alloc(sizes[i]);

        CU_ASSERT_PTR_NOT_NULL_FATAL(b);
        memset(b, 9, sizes[i]);
        mem_fail_at(1);
        CU_ASSERT_PTR_NULL(mem_block_grow(b, sizes[i], 300000));
        mem_fail_at(0);
        CU_ASSERT_EQUAL(b[0], 9);
        CU_ASSERT_EQUAL(b[sizes[i] - 1], 9);
        CU_ASSERT_TRUE(mem_block_room(b) >= sizes[i]);
        mem_block_free(b);
    }
}

static void a_thread_without_a_pool_keeps_nothing(void)
{
    count_from_here();
    for (size_t bytes = 1; bytes < 8000; bytes *= 2) {
        void *b = mem_block_alloc(bytes);
        CU_ASSERT_EQUAL(live(), 1);
        mem_block_free(b);
        CU_ASSERT_EQUAL(live(), 0);
    }
    mem_count_live(false);
}

/* --- pools: what a case saw on its thread --- */

struct seen {
    void *first, *second;
    int64_t live_kept, live_reused, live_left;
    size_t room;
};

static void *free_and_allocate_again(void *arg)
{
    struct seen *s = arg;

    mem_pool_join();
    s->first = mem_block_alloc(100);
    mem_block_free(s->first);
    s->live_kept = live();
    s->second = mem_block_alloc(90); /* the same size class */
    s->live_reused = live();
    s->room = mem_block_room(s->second);
    mem_block_free(s->second);
    mem_pool_leave();
    s->live_left = live();
    return NULL;
}

static void a_block_freed_by_its_owner_is_used_again(void) /* I1 */
{
    struct seen s;

    count_from_here();
    on_another_thread(free_and_allocate_again, &s);
    CU_ASSERT_EQUAL(s.live_kept, POOLS_KEEP);
    CU_ASSERT_EQUAL(s.live_reused, 1);
    if (POOLS_KEEP)
        CU_ASSERT_PTR_EQUAL(s.first, s.second);
    CU_ASSERT_TRUE(s.room >= 100);
    CU_ASSERT_EQUAL(s.live_left, 0); /* leaving gives all back */
    mem_count_live(false);
}

static void *keep_sizes_apart(void *arg)
{
    static const size_t sizes[] = {112, 240, 496, 1008, 2032, 4080}; /* the whole of each class */
    bool *is_good = arg;
    void *freed[6];

    mem_pool_join();
    for (int i = 0; i < 6; i++)
        freed[i] = mem_block_alloc(sizes[i]);
    for (int i = 0; i < 6; i++)
        mem_block_free(freed[i]);
    *is_good = true;
    for (int i = 0; i < 6; i++) {
        void *b = mem_block_alloc(sizes[i]);
        *is_good &= !POOLS_KEEP || b == freed[i];
        *is_good &= mem_block_room(b) == sizes[i];
        memset(b, 1, sizes[i]);
        mem_block_free(b);
    }
    mem_pool_leave();
    return NULL;
}

static void blocks_return_to_the_list_of_their_size(void)
{
    bool is_good = false;

    on_another_thread(keep_sizes_apart, &is_good);
    CU_ASSERT_TRUE(is_good);
}

enum { MANY = 4096 };
static void *blocks[MANY];

struct bound {
    size_t bytes;
    int64_t kept;
};

static void *free_more_than_is_kept(void *arg)
{
    struct bound *b = arg;

    const int count = b->bytes > 16384 ? 128 : MANY;

    mem_pool_join();
    for (int i = 0; i < count; i++)
        blocks[i] = mem_block_alloc(b->bytes);
    for (int i = 0; i < count; i++)
        mem_block_free(blocks[i]);
    b->kept = live();
    mem_pool_leave();
    return NULL;
}

static void what_a_pool_keeps_is_bounded_for_each_size(void)
{
    static const size_t classes[] = {128, 256, 512, 1024, 2048, 4096};

    for (int i = 0; i < 6; i++) {
        struct bound b = {.bytes = classes[i] - 16};

        count_from_here();
        on_another_thread(free_more_than_is_kept, &b);
        CU_ASSERT_TRUE(b.kept <= (int64_t)(MEM_POOL_BYTES_MAX / classes[i]));
        if (POOLS_KEEP) {
            CU_ASSERT_EQUAL(b.kept, (int64_t)(MEM_POOL_BYTES_MAX / classes[i]));
        }
        CU_ASSERT_EQUAL(live(), 0);
    }
    mem_count_live(false);
}

/* The larger sizes share one bound, and 1 MiB of payload with what stands before it still has a class. */
static void what_a_pool_keeps_of_large_blocks_is_bounded_together(void)
{
    static const size_t sizes[] = {8192, 65536 + 64, 1 << 20};

    for (int i = 0; i < 3; i++) {
        struct bound b = {.bytes = sizes[i]};

        count_from_here();
        on_another_thread(free_more_than_is_kept, &b);
        CU_ASSERT_TRUE(b.kept * (int64_t)sizes[i] <= (int64_t)MEM_POOL_LARGE_BYTES_MAX);
        if (POOLS_KEEP) {
            CU_ASSERT_TRUE((b.kept + 1) * (int64_t)(sizes[i] + 512) > (int64_t)MEM_POOL_LARGE_BYTES_MAX - (1 << 20));
        }
        CU_ASSERT_EQUAL(live(), 0);
    }
    mem_count_live(false);
}

static void *large_blocks(void *arg)
{
    struct seen *s = arg;

    mem_pool_join();
    s->first = mem_block_alloc(POOLED_MAX + 1);
    mem_block_free(s->first);
    s->live_kept = live();
    mem_pool_leave();
    return NULL;
}

static void larger_blocks_than_these_are_not_kept(void)
{
    struct seen s;

    count_from_here();
    on_another_thread(large_blocks, &s);
    CU_ASSERT_EQUAL(s.live_kept, 0);
    mem_count_live(false);
}

static void *fail_with_a_full_list(void *arg)
{
    bool *has_failed = arg;

    mem_pool_join();
    mem_block_free(mem_block_alloc(100));
    mem_fail_at(1);
    *has_failed = mem_block_alloc(100) == NULL;
    mem_fail_at(0);
    mem_pool_leave();
    return NULL;
}

static void a_kept_block_does_not_hide_the_nth_failure(void)
{
    bool has_failed = false;

    on_another_thread(fail_with_a_full_list, &has_failed);
    CU_ASSERT_TRUE(has_failed);
}

/* --- pools: blocks that cross threads --- */

/* Two threads in turns; each step of the one is seen by the other. */
struct turns {
    _Atomic int turn;
    void *block;
    void *again;
    int64_t live_after_return, live_after_leave, live_late;
};

static void wait_for_turn(struct turns *t, int turn)
{
    while (atomic_load(&t->turn) != turn)
        sched_yield();
}

static void *owner_takes_back(void *arg)
{
    struct turns *t = arg;

    mem_pool_join();
    t->block = mem_block_alloc(1000);
    atomic_store(&t->turn, 1);
    wait_for_turn(t, 2);
    t->live_after_return = live();
    t->again = mem_block_alloc(1000);
    mem_block_free(t->again);
    mem_pool_leave();
    t->live_after_leave = live();
    return NULL;
}

static void a_block_freed_by_another_thread_comes_home(void) /* I2 */
{
    struct turns t = {0};
    struct crew crew = {0};

    count_from_here();
    crew_add(&crew, owner_takes_back, &t);
    wait_for_turn(&t, 1);
    memset(t.block, 1, 1000);
    mem_block_free(t.block);
    atomic_store(&t.turn, 2);
    crew_join(&crew);
    CU_ASSERT_EQUAL(t.live_after_return, 1); /* on the owner's return stack */
    if (POOLS_KEEP)
        CU_ASSERT_PTR_EQUAL(t.again, t.block);
    CU_ASSERT_EQUAL(t.live_after_leave, 0);
    mem_count_live(false);
}

static void *owner_leaves_early(void *arg)
{
    struct turns *t = arg;

    mem_pool_join();
    t->block = mem_block_alloc(1000);
    memset(t->block, 0x77, 1000);
    mem_pool_leave();
    return NULL;
}

static void a_block_outlives_the_thread_that_made_it(void) /* I3 */
{
    struct turns t = {0};

    count_from_here();
    on_another_thread(owner_leaves_early, &t);
    CU_ASSERT_EQUAL(live(), 1);
    CU_ASSERT_EQUAL(((unsigned char *)t.block)[999], 0x77);
    t.block = mem_block_grow(t.block, 1000, 2000);
    CU_ASSERT_EQUAL(((unsigned char *)t.block)[999], 0x77);
    mem_block_free(t.block);
    CU_ASSERT_EQUAL(live(), 0); /* to the system, for nobody owns the pool */
    mem_count_live(false);
}

static void *next_owner(void *arg)
{
    struct turns *t = arg;

    mem_pool_join(); /* the pool of the thread before, if nobody else left one */
    atomic_store(&t->turn, 1);
    wait_for_turn(t, 2);
    t->again = mem_block_alloc(1000);
    mem_block_free(t->again);
    mem_pool_leave();
    return NULL;
}

static void a_block_of_an_earlier_owner_serves_the_next_one(void)
{
    struct turns t = {0};
    struct crew crew = {0};

    count_from_here();
    on_another_thread(owner_leaves_early, &t);
    crew_add(&crew, next_owner, &t);
    wait_for_turn(&t, 1);
    mem_block_free(t.block);
    CU_ASSERT_EQUAL(live(), 1);
    atomic_store(&t.turn, 2);
    crew_join(&crew);
    if (POOLS_KEEP)
        CU_ASSERT_PTR_EQUAL(t.again, t.block);
    CU_ASSERT_EQUAL(live(), 0);
    mem_count_live(false);
}

static void *grow_foreign(void *arg)
{
    struct turns *t = arg;

    mem_pool_join();
    t->again = mem_block_grow(t->block, 1000, 3000);
    mem_block_free(t->again);
    mem_pool_leave();
    return NULL;
}

static void a_block_may_grow_on_another_thread(void)
{
    struct turns t = {0};

    count_from_here();
    on_another_thread(owner_leaves_early, &t);
    on_another_thread(grow_foreign, &t);
    CU_ASSERT_PTR_NOT_NULL(t.again);
    CU_ASSERT_EQUAL(live(), 0);
    mem_count_live(false);
}

/* --- pools: all at once --- */

enum { SWAPS = 256, SWAPPERS = 4 };

struct swapper {
    void *_Atomic *shelf; /* where blocks wait for whoever takes them */
    unsigned rounds, seed;
    unsigned torn; /* blocks whose bytes were not what their owner had written */
};

/* Bytes that say who wrote them, at both ends of the block. */
static void mark_block(unsigned char *b, size_t bytes, unsigned char mark)
{
    b[0] = b[bytes - 1] = mark;
    memcpy(b + 1, &bytes, sizeof bytes);
}

static bool is_whole(const unsigned char *b)
{
    size_t bytes;

    memcpy(&bytes, b + 1, sizeof bytes);
    return bytes >= 16 && bytes <= 5000 && b[0] == b[bytes - 1];
}

/* Puts blocks of its own on the shelf and frees what it finds there, so most blocks are freed by another
 * thread than made them. Leaves and joins now and then, so that some outlive their owner. */
static void *swap_blocks(void *arg)
{
    struct swapper *s = arg;

    mem_pool_join();
    for (unsigned i = 0; i < s->rounds; i++) {
        size_t bytes = 16 + crew_random(&s->seed) % 4500;
        unsigned char *b = mem_block_alloc(bytes);

        mark_block(b, bytes, (unsigned char)i);
        b = atomic_exchange(&s->shelf[crew_random(&s->seed) % SWAPS], b);
        if (b) {
            s->torn += !is_whole(b);
            mem_block_free(b);
        }
        if (crew_random(&s->seed) % 1024 == 0) {
            mem_pool_leave();
            mem_pool_join();
        }
    }
    mem_pool_leave();
    return NULL;
}

static void blocks_freed_by_any_thread_are_neither_lost_nor_doubled(void)
{
    static void *_Atomic shelf[SWAPS];
    static struct swapper swappers[SWAPPERS];
    struct crew crew = {0};

    count_from_here();
    for (unsigned i = 0; i < SWAPPERS; i++) {
        swappers[i] = (struct swapper){.shelf = shelf, .rounds = crew_rounds(200000), .seed = 12345 + i};
        crew_add(&crew, swap_blocks, &swappers[i]);
    }
    crew_join(&crew);
    for (unsigned i = 0; i < SWAPPERS; i++)
        CU_ASSERT_EQUAL(swappers[i].torn, 0);
    for (unsigned i = 0; i < SWAPS; i++)
        mem_block_free(atomic_exchange(&shelf[i], NULL)); /* all owners have left */
    CU_ASSERT_EQUAL(live(), 0);
    mem_count_live(false);
}

/* Pure hand-over in one direction, as from an I/O thread to a worker, with no order but the pool's own
 * (MEM-RETURN). */
struct one_way {
    void *_Atomic slot;
    unsigned rounds;
    int64_t live_most;
};

static void *make_blocks(void *arg)
{
    struct one_way *w = arg;

    mem_pool_join();
    for (unsigned i = 0; i < w->rounds; i++) {
        unsigned char *b = mem_block_alloc(200);
        int64_t now = live();

        memset(b, (int)(i & 0xff), 200);
        if (now > w->live_most)
            w->live_most = now;
        while (atomic_load_explicit(&w->slot, memory_order_relaxed))
            sched_yield(); /* relaxed: what comes home, comes through the pool */
        atomic_store_explicit(&w->slot, b, memory_order_release);
    }
    mem_pool_leave();
    return NULL;
}

static void *free_blocks(void *arg)
{
    struct one_way *w = arg;

    for (unsigned i = 0; i < w->rounds; i++) {
        unsigned char *b;

        while (!(b = atomic_load_explicit(&w->slot, memory_order_acquire)))
            sched_yield();
        atomic_store_explicit(&w->slot, NULL, memory_order_relaxed);
        b[199]++;
        mem_block_free(b);
    }
    return NULL;
}

static void blocks_that_go_one_way_come_home_and_are_used_again(void) /* MEM-RETURN */
{
    struct one_way w = {.rounds = crew_rounds(100000)};
    struct crew crew = {0};

    count_from_here();
    crew_add(&crew, make_blocks, &w);
    crew_add(&crew, free_blocks, &w);
    crew_join(&crew);
    CU_ASSERT_TRUE(w.live_most <= 8); /* not one for each round */
    CU_ASSERT_EQUAL(live(), 0);
    mem_count_live(false);
}

static void *free_it(void *block)
{
    mem_block_free(block);
    return NULL;
}

/* Whoever takes and whoever frees it, with a pool or without; what a pool keeps does not count. */
static void blocks_in_use_are_counted_by_bytes(void)
{
    static const size_t sizes[] = {1, 100, 4000, 5000, 1 << 20, 3 << 20};
    uint64_t before;

    mem_count_used();
    before = mem_used_bytes();
    for (int with_pool = 0; with_pool < 2; with_pool++) {
        if (with_pool)
            CU_ASSERT_EQUAL(mem_pool_join(), WEFT_OK);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            void *block = mem_block_alloc(sizes[i]);
            pthread_t other;
            CU_ASSERT(mem_used_bytes() >= before + sizes[i]);
            CU_ASSERT(mem_used_bytes() <= before + 2 * sizes[i] + 1024);
            block = mem_block_grow(block, 1, sizes[i] * 3);
            CU_ASSERT(mem_used_bytes() >= before + 3 * sizes[i]);
            CU_ASSERT_EQUAL(pthread_create(&other, NULL, free_it, block), 0);
            pthread_join(other, NULL);
            CU_ASSERT_EQUAL(mem_used_bytes(), before);
            mem_block_free(mem_block_alloc(sizes[i]));
            CU_ASSERT_EQUAL(mem_used_bytes(), before);
        }
        if (with_pool)
            mem_pool_leave();
    }
}

static const struct unit_case cases[] = {
    CASE(a_pool_that_cannot_be_made_is_told),
    CASE(plain_memory_of_all_kinds_is_counted),
    CASE(nothing_is_a_size_too),
    CASE(a_size_that_would_wrap_round_gives_null),
    CASE(exactly_the_nth_allocation_fails),
    CASE(every_door_can_fail_and_counts_nothing_then),
    CASE(a_block_has_the_room_that_was_asked_for_and_is_aligned),
    CASE(growing_a_block_keeps_the_used_bytes),
    CASE(a_failed_growth_leaves_the_block_untouched),
    CASE(a_thread_without_a_pool_keeps_nothing),
    CASE(a_block_freed_by_its_owner_is_used_again),
    CASE(blocks_return_to_the_list_of_their_size),
    CASE(what_a_pool_keeps_is_bounded_for_each_size),
    CASE(what_a_pool_keeps_of_large_blocks_is_bounded_together),
    CASE(larger_blocks_than_these_are_not_kept),
    CASE(a_kept_block_does_not_hide_the_nth_failure),
    CASE(a_block_freed_by_another_thread_comes_home),
    CASE(a_block_outlives_the_thread_that_made_it),
    CASE(a_block_of_an_earlier_owner_serves_the_next_one),
    CASE(a_block_may_grow_on_another_thread),
    CASE(blocks_freed_by_any_thread_are_neither_lost_nor_doubled),
    CASE(blocks_that_go_one_way_come_home_and_are_used_again),
    CASE(blocks_in_use_are_counted_by_bytes),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "mem", cases, sizeof cases / sizeof cases[0]);
}
