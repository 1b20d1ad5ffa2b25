/* The two verdicts over one record: what the peer did, and how the connection ended. Both must be good. */
#ifndef WEFT_CONFORMANCE_VERDICT_H
#define WEFT_CONFORMANCE_VERDICT_H

#include "record.h"

enum grade {
    GRADE_OK,
    GRADE_NON_STRICT,
    GRADE_INFORMATIONAL,
    GRADE_UNIMPLEMENTED, /* permessage-deflate was not agreed upon */
    GRADE_FAILED,
    GRADE_UNCLEAN,
    GRADE_WRONG_CODE,
    GRADE_FAILED_BY_CLIENT, /* the tester had to drop TCP */
    GRADE_COUNT
};
extern const char *const grade_names[GRADE_COUNT];

struct verdict {
    enum grade behaviour;
    enum grade close;
    int peer_code;
    unsigned duration_ms;
    char *detail; /* what was expected and what came, when something is not good; else NULL */
};

struct verdict verdict_of(const struct conf_case *c, const struct record *r);
/* Of a case that could not be run. */
struct verdict verdict_of_none(const char *why);
bool verdict_is_good(const struct verdict *v, bool allow_non_strict);
void verdict_fini(struct verdict *v);

#endif
