/* How many processors this process may use, and pinning threads to them. */
#ifndef WEFT_BASE_CPU_H
#define WEFT_BASE_CPU_H

/* At least 1: the processors that the scheduler allows, or fewer when a control group limits the time on them.
 * A limit of 1.5 processors counts as 2. */
unsigned cpu_count(void);

/* The limit of the control group, rounded up; 0: none. membership: /proc/self/cgroup; root: /sys/fs/cgroup.
 * Version 2, and version 1 with its cpu controller below root. */
unsigned cpu_group_limit(const char *membership, const char *root);

/* Pin the calling thread to the n-th (modulo their number) of the processors that it may use now. A refusal is
 * ignored. */
void cpu_pin(unsigned n);

#endif
