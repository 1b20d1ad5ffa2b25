/* What a run prints and writes. */
#ifndef WEFT_CONFORMANCE_REPORT_H
#define WEFT_CONFORMANCE_REPORT_H

#include "verdict.h"

struct report {
    const struct conf_case *const *cases;
    const struct verdict *verdicts;
    size_t count;
    bool allow_non_strict;
    bool verbose; /* a line for good cases too */
};

/* A line for each case that is not good, one for each section, and the sum. Returns how many failed. */
size_t report_print(const struct report *r);
/* The form of the suite's index.json: agent, case id, behavior, behaviorClose, duration, remoteCloseCode. 0
 * or -1. */
int report_json(const struct report *r, const char *file);
/* One line for each case: what is sent and what is accepted. */
void report_list(const struct conf_case *const *cases, size_t count);

#endif
