/* The last of several holders frees it: what the tests of counted objects share. */
#ifndef WEFT_TESTS_HOLDERS_H
#define WEFT_TESTS_HOLDERS_H

#include <stdint.h>

#include "base/mem.h"
#include "crew.h"

enum { HOLDERS = 3 };

/* Several threads give back one reference each, of many objects, at nearly the same time. */
struct holder {
    void **objects;
    unsigned count;
    void (*let_go)(void *object);
};

static void *let_all_go(void *arg)
{
    struct holder *h = arg;

    for (unsigned i = 0; i < h->count; i++)
        h->let_go(h->objects[i]);
    return NULL;
}

static inline void give_back_by_many(void **objects, unsigned count, void (*let_go)(void *))
{
    struct holder h = {.objects = objects, .count = count, .let_go = let_go};
    struct crew crew = {0};

    for (int i = 0; i < HOLDERS; i++)
        crew_add(&crew, let_all_go, &h);
    crew_join(&crew);
}

/* Whatever was made in a case is gone at its end. */
static int64_t live_before;

static inline void count_memory(void)
{
    mem_count_live(true);
    live_before = mem_live_blocks();
}

static inline void all_memory_is_back(void)
{
    CU_ASSERT_EQUAL(mem_live_blocks(), live_before);
    mem_count_live(false);
}

#endif
