/* Runs cases, several at a time, in one poll loop. */
#ifndef WEFT_CONFORMANCE_ENGINE_H
#define WEFT_CONFORMANCE_ENGINE_H

#include "session.h"
#include "verdict.h"

#define JOBS_MAX 256u

/* verdicts[i] becomes that of cases[i]. At most jobs connections are open at once; they start in the order
 * given. */
void engine_run(const struct conf_case *const *cases, size_t count, unsigned jobs,
                const struct target *target, const struct session_options *options, struct verdict *verdicts);

#endif
