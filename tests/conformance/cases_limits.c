/* Sections 9 and 10: sizes, fragment sizes, chopped writes, a thousand messages one at a time, and the
 * sender's own fragments. Echoes are compared octet by octet (the suite looks at type and length alone). */
#include "case.h"

/* clang-format off */
#define ASCII  "BAsd7&jh23"
#define OCTETS "\x00\xfe\x23\xfa\xf0"
#define STAR   "\x2a"
#define FE     "\xfe"

#define ECHO_TEXT(name, unit, n, fragment, chop, limit_s) \
    {.id = (name), .chop_bytes = (chop), \
     .steps = STEPS(MESSAGE(OP_TEXT, fragment, REP(unit, n)), LIMIT(limit_s)), \
     .ok = EVENTS(IS_TEXT(REP(unit, n))), .closing = TESTER_CLEAN(1000)}
#define ECHO_BINARY(name, unit, n, fragment, chop, limit_s) \
    {.id = (name), .chop_bytes = (chop), \
     .steps = STEPS(MESSAGE(OP_BINARY, fragment, REP(unit, n)), LIMIT(limit_s)), \
     .ok = EVENTS(IS_BINARY(REP(unit, n))), .closing = TESTER_CLEAN(1000)}
#define THOUSAND(name, op, unit, n, limit_s) \
    {.id = (name), .steps = STEPS(LIMIT(limit_s), ROUNDS(op, 1000, REP(unit, n))), \
     .ok = EVENTS(IS_ROUNDS(1000)), .closing = TESTER_CLEAN(1000)}

static const struct conf_case table[] = {
    ECHO_TEXT("9.1.1", ASCII, KIB(64), 0, 0, 10),
    ECHO_TEXT("9.1.2", ASCII, KIB(256), 0, 0, 10),
    ECHO_TEXT("9.1.3", ASCII, MIB(1), 0, 0, 100),
    ECHO_TEXT("9.1.4", ASCII, MIB(4), 0, 0, 100),
    ECHO_TEXT("9.1.5", ASCII, MIB(8), 0, 0, 100),
    ECHO_TEXT("9.1.6", ASCII, MIB(16), 0, 0, 100),
    ECHO_BINARY("9.2.1", OCTETS, KIB(64), 0, 0, 10),
    ECHO_BINARY("9.2.2", OCTETS, KIB(256), 0, 0, 10),
    ECHO_BINARY("9.2.3", OCTETS, MIB(1), 0, 0, 10),
    ECHO_BINARY("9.2.4", OCTETS, MIB(4), 0, 0, 10),
    ECHO_BINARY("9.2.5", OCTETS, MIB(8), 0, 0, 100),
    ECHO_BINARY("9.2.6", OCTETS, MIB(16), 0, 0, 100),

    ECHO_TEXT("9.3.1", STAR, MIB(4), 64, 0, 100),
    ECHO_TEXT("9.3.2", STAR, MIB(4), 256, 0, 100),
    ECHO_TEXT("9.3.3", STAR, MIB(4), KIB(1), 0, 100),
    ECHO_TEXT("9.3.4", STAR, MIB(4), KIB(4), 0, 100),
    ECHO_TEXT("9.3.5", STAR, MIB(4), KIB(16), 0, 100),
    ECHO_TEXT("9.3.6", STAR, MIB(4), KIB(64), 0, 100),
    ECHO_TEXT("9.3.7", STAR, MIB(4), KIB(256), 0, 100),
    ECHO_TEXT("9.3.8", STAR, MIB(4), MIB(1), 0, 100),
    ECHO_TEXT("9.3.9", STAR, MIB(4), MIB(4), 0, 100),
    ECHO_BINARY("9.4.1", FE, MIB(4), 64, 0, 100),
    ECHO_BINARY("9.4.2", STAR, MIB(4), 256, 0, 100),
    ECHO_BINARY("9.4.3", STAR, MIB(4), KIB(1), 0, 100),
    ECHO_BINARY("9.4.4", STAR, MIB(4), KIB(4), 0, 100),
    ECHO_BINARY("9.4.5", STAR, MIB(4), KIB(16), 0, 100),
    ECHO_BINARY("9.4.6", STAR, MIB(4), KIB(64), 0, 100),
    ECHO_BINARY("9.4.7", STAR, MIB(4), KIB(256), 0, 100),
    ECHO_BINARY("9.4.8", STAR, MIB(4), MIB(1), 0, 100),
    ECHO_BINARY("9.4.9", STAR, MIB(4), MIB(4), 0, 100),

    ECHO_TEXT("9.5.1", ASCII, MIB(1), 0, 64, 1000),
    ECHO_TEXT("9.5.2", ASCII, MIB(1), 0, 128, 1000),
    ECHO_TEXT("9.5.3", ASCII, MIB(1), 0, 256, 1000),
    ECHO_TEXT("9.5.4", ASCII, MIB(1), 0, 512, 1000),
    ECHO_TEXT("9.5.5", ASCII, MIB(1), 0, 1024, 1000),
    ECHO_TEXT("9.5.6", ASCII, MIB(1), 0, 2048, 1000),
    ECHO_BINARY("9.6.1", OCTETS, MIB(1), 0, 64, 1000),
    ECHO_BINARY("9.6.2", OCTETS, MIB(1), 0, 128, 1000),
    ECHO_BINARY("9.6.3", OCTETS, MIB(1), 0, 256, 1000),
    ECHO_BINARY("9.6.4", OCTETS, MIB(1), 0, 512, 1000),
    ECHO_BINARY("9.6.5", OCTETS, MIB(1), 0, 1024, 1000),
    ECHO_BINARY("9.6.6", OCTETS, MIB(1), 0, 2048, 1000),

    THOUSAND("9.7.1", OP_TEXT, STAR, 0, 60),
    THOUSAND("9.7.2", OP_TEXT, STAR, 16, 60),
    THOUSAND("9.7.3", OP_TEXT, STAR, 64, 60),
    THOUSAND("9.7.4", OP_TEXT, STAR, 256, 120),
    THOUSAND("9.7.5", OP_TEXT, STAR, 1024, 240),
    THOUSAND("9.7.6", OP_TEXT, STAR, 4096, 480),
    THOUSAND("9.8.1", OP_BINARY, FE, 0, 60),
    THOUSAND("9.8.2", OP_BINARY, FE, 16, 60),
    THOUSAND("9.8.3", OP_BINARY, FE, 64, 60),
    THOUSAND("9.8.4", OP_BINARY, FE, 256, 120),
    THOUSAND("9.8.5", OP_BINARY, FE, 1024, 240),
    THOUSAND("9.8.6", OP_BINARY, FE, 4096, 480),

    {.id = "10.1.1",
     .steps = STEPS(MESSAGE(OP_TEXT, 1300, REP(STAR, 65536)), KILL(10000)),
     .ok = EVENTS(IS_TEXT(REP(STAR, 65536))), .closing = TESTER_CLEAN(1000), .data_frames_sent = 51},
};
/* clang-format on */

const struct case_table cases_limits = {table, sizeof table / sizeof table[0]};
