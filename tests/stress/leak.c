/* What must be as before; see leak.h. */
#include "leak.h"

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "fault.h"

#define SETTLE_MS 15000

static int count_entries(const char *path)
{
    DIR *dir = opendir(path);
    int count = 0;

    if (!dir)
        return -1;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

struct leak leak_look(void)
{
    return (struct leak){
        .descriptors = count_entries("/proc/self/fd"),
        .threads = count_entries("/proc/self/task"),
        .blocks = mem_live_blocks(),
    };
}

void leak_check(const struct leak *before)
{
    struct timespec moment = {.tv_nsec = 1000000};
    struct leak now = leak_look();

    for (int ms = 0; ms < SETTLE_MS && now.threads > before->threads; ms++) {
        nanosleep(&moment, NULL);
        now = leak_look();
    }
    if (now.threads > before->threads)
        fault("%d threads are left", now.threads - before->threads);
    if (now.descriptors != before->descriptors)
        fault("%d descriptors are left", now.descriptors - before->descriptors);
    if (now.blocks != before->blocks)
        fault("%lld blocks of memory are left", (long long)(now.blocks - before->blocks));
}

uint64_t leak_resident_kib(void)
{
    unsigned long long total, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    malloc_trim(0);
    if (!f || fscanf(f, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return resident * (unsigned long long)sysconf(_SC_PAGESIZE) / 1024;
}
