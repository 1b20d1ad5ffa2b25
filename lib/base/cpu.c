/* Processors; see cpu.h. Source: the kernel's Documentation/admin-guide/cgroup-v2.rst (cpu.max) and
 * scheduler/sched-bwc.rst (cpu.cfs_quota_us) */
#include "base/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 1024

/* Two numbers of one file or of two; a quota that is no number ("max", -1) is no limit. */
static unsigned limit_of(long long quota, long long period)
{
    return quota > 0 && period > 0 ? (unsigned)((quota + period - 1) / period) : 0;
}

static bool read_number(const char *directory, const char *name, long long *out)
{
    char path[PATH_BYTES + 64];
    bool is_read;
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", directory, name);
    f = fopen(path, "re");
    is_read = f && fscanf(f, "%lld", out) == 1;
    if (f)
        fclose(f);
    return is_read;
}

static unsigned limit_here(const char *directory)
{
    char path[PATH_BYTES + 64];
    long long quota = 0, period = 0;
    FILE *f;

    snprintf(path, sizeof path, "%s/cpu.max", directory);
    f = fopen(path, "re");
    if (f) {
        if (fscanf(f, "%lld %lld", &quota, &period) != 2)
            quota = 0;
        fclose(f);
    } else if (!read_number(directory, "cpu.cfs_quota_us", &quota) ||
               !read_number(directory, "cpu.cfs_period_us", &period)) {
        quota = 0;
    }
    return limit_of(quota, period);
}

/* The least limit from the group up to the root: each of them holds. */
static unsigned limit_upwards(const char *root, const char *controller, const char *group)
{
    char directory[PATH_BYTES];
    size_t keep;
    unsigned least = 0;

    keep = (size_t)snprintf(directory, sizeof directory, "%s%s", root, controller);
    if (keep + strlen(group) >= sizeof directory)
        return 0;
    strcpy(directory + keep, strcmp(group, "/") == 0 ? "" : group);
    for (;;) {
        unsigned limit = limit_here(directory);
        char *slash = strrchr(directory, '/');
        if (limit && (!least || limit < least))
            least = limit;
        if (!slash || (size_t)(slash - directory) < keep)
            return least;
        *slash = '\0';
    }
}

/* Is "cpu" among the controllers between the colons of a line like 4:cpu,cpuacct:/group? */
static bool names_cpu(const char *controllers, size_t bytes)
{
    while (bytes) {
        const char *comma = memchr(controllers, ',', bytes);
        size_t n = comma ? (size_t)(comma - controllers) : bytes;
        if (n == 3 && memcmp(controllers, "cpu", 3) == 0)
            return true;
        if (!comma)
            return false;
        controllers = comma + 1;
        bytes -= n + 1;
    }
    return false;
}

unsigned cpu_group_limit(const char *membership, const char *root)
{
    FILE *f = fopen(membership, "re");
    char line[PATH_BYTES];
    unsigned least = 0;

    while (f && fgets(line, sizeof line, f)) {
        char *first = strchr(line, ':'), *second = first ? strchr(first + 1, ':') : NULL;
        unsigned limit = 0;

        if (!second)
            continue;
        line[strcspn(line, "\n")] = '\0';
        if (second == first + 1)
            limit = limit_upwards(root, "", second + 1);
        else if (names_cpu(first + 1, (size_t)(second - first) - 1))
            limit = limit_upwards(root, "/cpu", second + 1);
        if (limit && (!least || limit < least))
            least = limit;
    }
    if (f)
        fclose(f);
    return least;
}

static unsigned allowed(void)
{
    cpu_set_t set;
    long n;

    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (unsigned)CPU_COUNT(&set);
    n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (unsigned)n : 1;
}

unsigned cpu_count(void)
{
    unsigned n = allowed(), limit = cpu_group_limit("/proc/self/cgroup", "/sys/fs/cgroup");
    return limit && limit < n ? limit : n;
}

_Static_assert(sizeof(struct cpu_mask) >= sizeof(cpu_set_t), "a mask holds what the C library knows");

void cpu_mask_here(struct cpu_mask *out)
{
    cpu_set_t set;

    memset(out, 0, sizeof *out);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        memcpy(out, &set, sizeof set);
}

void cpu_unpin(const struct cpu_mask *among)
{
    cpu_set_t set;

    memcpy(&set, among, sizeof set);
    if (CPU_COUNT(&set) > 0)
        pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

void cpu_pin(const struct cpu_mask *among, unsigned n)
{
    cpu_set_t set, one;
    unsigned left;

    memcpy(&set, among, sizeof set);
    if (CPU_COUNT(&set) == 0)
        return;
    left = n % (unsigned)CPU_COUNT(&set);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &set) || left-- != 0)
            continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        pthread_setaffinity_np(pthread_self(), sizeof one, &one);
        return;
    }
}
