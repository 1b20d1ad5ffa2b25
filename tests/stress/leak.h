/* What must be as before when a shape has ended: descriptors, threads, blocks of the library. */
#ifndef STRESS_LEAK_H
#define STRESS_LEAK_H

#include <stdint.h>

struct leak {
    int descriptors, threads;
    int64_t blocks;
};

struct leak leak_look(void);
/* Faults for all that is more than before. Threads that were joined may take a moment to go. */
void leak_check(const struct leak *before);

/* Memory of the process in KiB; what it kept but does not use is given back first. */
uint64_t leak_resident_kib(void);

#endif
