/* What a run found wrong. The first few are printed, all are counted. */
#ifndef STRESS_FAULT_H
#define STRESS_FAULT_H

#include <stdint.h>

void fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t fault_count(void);

/* Nothing can be trusted any more, or a thread does not come back: say so and end at once. */
_Noreturn void fault_fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What a fatal fault prints too: how to see this run again; text lives on. Whoever does not come back with
 * another one within so many seconds hangs, which is fatal. */
void fault_context(const char *text, unsigned seconds);

#endif
