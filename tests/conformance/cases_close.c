/* Section 7: the closing handshake. In all of these the tester's own Close frame is the first. */
#include "case.h"

/* clang-format off */
#define STAR  "\x2a"
#define HELLO LIT("Hello World!")
#define NOT_UTF8 "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80" "edited"

#define CLEAN_WITH(...) \
    {.by = SIDE_TESTER, .clean = true, .code_decides_behaviour = true, .codes = {__VA_ARGS__}}
#define ENDS_WITH(...) {.by = SIDE_TESTER, .code_decides_behaviour = true, .codes = {__VA_ARGS__}}
#define ANY_END {.by = SIDE_TESTER, .informational = true}

#define CLEAN(name, ...) \
    {.id = (name), .steps = STEPS(__VA_ARGS__, KILL(1000)), .ok = NOTHING, .closing = CLEAN_WITH(1000)}
#define CODE_ALLOWED(name, number) \
    {.id = (name), .steps = STEPS(CLOSE(number), KILL(1000)), .ok = NOTHING, \
     .closing = CLEAN_WITH(1000, number)}
#define REFUSED(name, ...) \
    {.id = (name), .steps = STEPS(__VA_ARGS__, KILL(1000)), .ok = NOTHING, .closing = ENDS_WITH(1002)}
#define INFORMS(name, ...) \
    {.id = (name), .steps = STEPS(__VA_ARGS__, KILL(1000)), .ok = NULL, .closing = ANY_END}

static const struct conf_case table[] = {
    {.id = "7.1.1", .steps = STEPS(TEXT(HELLO), KILL(1000)), .ok = EVENTS(IS_TEXT(HELLO)),
     .closing = CLEAN_WITH(1000)},
    CLEAN("7.1.2", CLOSE(1000), FRAME(FIN | OP_CLOSE, EMPTY)),
    CLEAN("7.1.3", CLOSE(1000), PING(EMPTY)),
    CLEAN("7.1.4", CLOSE(1000), TEXT(HELLO)),
    CLEAN("7.1.5", TEXT_BEGUN(LIT("fragment1")), CLOSE(1000), CONT_LAST(LIT("fragment2"))),
    INFORMS("7.1.6", TEXT(REP("BAsd7&jh23", 262144)), TEXT(HELLO), CLOSE(1000), PING(EMPTY)),

    CLEAN("7.3.1", CLOSE(NO_CODE)),
    REFUSED("7.3.2", CLOSE_WITH(NO_CODE, LIT("a"))),
    CLEAN("7.3.3", CLOSE(1000)),
    CLEAN("7.3.4", CLOSE_WITH(1000, HELLO)),
    CLEAN("7.3.5", CLOSE_WITH(1000, REP(STAR, 123))),
    REFUSED("7.3.6", CLOSE_WITH(1000, REP(STAR, 124))),

    {.id = "7.5.1", .steps = STEPS(CLOSE_WITH(1000, LIT(NOT_UTF8)), KILL(1000)), .ok = NOTHING,
     .closing = ENDS_WITH(1002, 1007)},

    CLEAN("7.7.1", CLOSE(1000)),
    CODE_ALLOWED("7.7.2", 1001),
    CODE_ALLOWED("7.7.3", 1002),
    CODE_ALLOWED("7.7.4", 1003),
    CODE_ALLOWED("7.7.5", 1007),
    CODE_ALLOWED("7.7.6", 1008),
    CODE_ALLOWED("7.7.7", 1009),
    CODE_ALLOWED("7.7.8", 1010),
    CODE_ALLOWED("7.7.9", 1011),
    CODE_ALLOWED("7.7.10", 3000),
    CODE_ALLOWED("7.7.11", 3999),
    CODE_ALLOWED("7.7.12", 4000),
    CODE_ALLOWED("7.7.13", 4999),

    REFUSED("7.9.1", CLOSE(0)),
    REFUSED("7.9.2", CLOSE(999)),
    REFUSED("7.9.3", CLOSE(1004)),
    REFUSED("7.9.4", CLOSE(1005)),
    REFUSED("7.9.5", CLOSE(1006)),
    REFUSED("7.9.6", CLOSE(1016)),
    REFUSED("7.9.7", CLOSE(1100)),
    REFUSED("7.9.8", CLOSE(2000)),
    REFUSED("7.9.9", CLOSE(2999)),

    INFORMS("7.13.1", CLOSE(5000)),
    INFORMS("7.13.2", CLOSE(65535)),
};
/* clang-format on */

const struct case_table cases_close = {table, sizeof table / sizeof table[0]};
