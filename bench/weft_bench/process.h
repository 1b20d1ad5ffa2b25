/* What a server's processes have used, read from /proc: those that were named and all their children,
 * with all their threads.
 *
 * CPU time comes from the processes' CPU clocks, which count nanoseconds where /proc/PID/stat counts
 * ticks of 10 ms; the ticks only tell how it divides into user and system. What a process did between two
 * looks is missing when it ended before the second. Context switches are summed over the threads that
 * live, so those of a thread that ended are missing, and a difference may be less than nothing. */
#ifndef WEFT_BENCH_PROCESS_H
#define WEFT_BENCH_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PROCESS_NAMED_MAX 64
#define PROCESS_TREE_MAX  512

struct process_time {
    pid_t pid;
    uint64_t cpu_ns;
};

struct process_use {
    struct process_time times[PROCESS_TREE_MAX]; /* of each process */
    uint64_t user_ticks, system_ticks;
    uint64_t switches; /* voluntary and not */
    uint64_t rss_bytes;
    uint32_t processes, threads;
};

/* Look at the processes; the memory too when it is asked for, which takes the kernel longer.
 *
 * Returns  false when none of them is there */
bool process_look(const pid_t *pids, size_t count, bool with_memory, struct process_use *out);

/* CPU time between two looks, of the processes that the second one saw. */
uint64_t process_cpu_ns(const struct process_use *before, const struct process_use *after);

/* The same in seconds, divided by ticks. */
void process_cpu(const struct process_use *before, const struct process_use *after, double *user_s,
                 double *system_s);

#endif
