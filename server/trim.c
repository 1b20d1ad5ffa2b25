/* Giving memory back; see trim.h. What is resident beyond what is in use decides, for glibc counts as free also what it has
 * given back already. */
#include "trim.h"

#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

/* So much more than was left the last time is worth a look. */
#define TRIM_BYTES ((size_t)32 * 1024 * 1024)

/* 0: not known. */
static size_t resident_bytes(void)
{
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;

    if (!f)
        return 0;
    if (fscanf(f, "%*u %lu", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* Resident, and not in use. What the program itself needs is in it, some megabytes. */
static size_t idle_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    size_t resident = resident_bytes(), used = info.uordblks + info.hblkhd;

    return resident > used ? resident - used : 0;
}

void trim_look(void)
{
    static size_t left_bytes; /* the least since the last time */
    size_t bytes = idle_bytes();

    if (bytes < left_bytes)
        left_bytes = bytes;
    if (bytes < left_bytes + TRIM_BYTES)
        return;
    malloc_trim(0);
    left_bytes = idle_bytes();
}
