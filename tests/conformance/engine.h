/* Runs cases, several at a time, in one poll loop. */
#ifndef WEFT_CONFORMANCE_ENGINE_H
#define WEFT_CONFORMANCE_ENGINE_H

#include "server.h"
#include "session.h"
#include "verdict.h"

#define JOBS_MAX 256u

/* verdicts[i] becomes that of cases[i]. At most jobs connections are open at once; they start in the order
 * given. */
void engine_run(const struct conf_case *const *cases, size_t count, unsigned jobs,
                const struct target *target, const struct session_options *options, struct verdict *verdicts);
/* As a server: each connection that comes gets the next case, and the answer 410 when there is none left.
 * Ends when the clients have, or when nobody comes any more; cases without a connection have failed. */
void engine_serve(const struct conf_case *const *cases, size_t count, unsigned jobs, struct server *server,
                  const struct session_options *options, struct verdict *verdicts);

#endif
