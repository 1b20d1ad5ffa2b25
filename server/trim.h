/* Memory that a burst has left behind. glibc keeps what was freed in its arenas, for the next who asks, and a heap whose
 * newest block is still in use does not shrink: after a thousand messages of a megabyte a server may hold hundreds of
 * megabytes of nothing. */
#ifndef WEFT_SERVER_TRIM_H
#define WEFT_SERVER_TRIM_H

#define TRIM_INTERVAL_US 5000000u

/* Give it back to the system, if it is worth it; to be called every TRIM_INTERVAL_US or more often, by one thread.
 * Threads that ask for memory meanwhile may wait for some milliseconds. */
void trim_look(void);

#endif
