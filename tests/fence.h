/* Memory that ends where it ends: reading or writing one octet beyond it stops the test. */
#ifndef WEFT_TESTS_FENCE_H
#define WEFT_TESTS_FENCE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* One or more writable pages between two that may not be touched. */
struct fenced {
    uint8_t *start, *end, *map;
    size_t map_bytes;
};

static inline struct fenced fence(size_t pages)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = (pages + 2) * page;
    uint8_t *map = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (map == MAP_FAILED || mprotect(map + page, pages * page, PROT_READ | PROT_WRITE) != 0)
        abort();
    return (struct fenced){map + page, map + page + pages * page, map, bytes};
}

static inline void unfence(struct fenced f)
{
    munmap(f.map, f.map_bytes);
}

#endif
