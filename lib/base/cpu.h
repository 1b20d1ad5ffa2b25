/* How many processors this process may use, and pinning threads to them. */
#ifndef WEFT_BASE_CPU_H
#define WEFT_BASE_CPU_H

/* At least 1: the processors that the scheduler allows, or fewer when a control group limits the time on
 * them. A limit of 1.5 processors counts as 2. */
unsigned cpu_count(void);

/* The limit of the control group, rounded up; 0: none. membership: /proc/self/cgroup; root: /sys/fs/cgroup.
 * Version 2, and version 1 with its cpu controller below root. */
unsigned cpu_group_limit(const char *membership, const char *root);

/* A set of processors. */
struct cpu_mask {
    unsigned long words[1024 / (8 * sizeof(unsigned long))];
};

/* Those that the calling thread may use; a thread hands its own set on to the threads that it starts. */
void cpu_mask_here(struct cpu_mask *out);
/* The calling thread may use the n-th of them (modulo their number) only, or all of them. A refusal is
 * ignored. */
void cpu_pin(const struct cpu_mask *among, unsigned n);
void cpu_unpin(const struct cpu_mask *among);

#endif
