/* Section 5: fragmentation. The triples differ only in how the octets are written: at once, frame by frame
 * (sync), and octet by octet (chop 1). */
#include "case.h"

/* clang-format off */
#define HELLO LIT("Hello, world!")
#define F1    LIT("fragment1")
#define F2    LIT("fragment2")
#define F3    LIT("fragment3")
#define F4    LIT("fragment4")
#define F5    LIT("fragment5")

#define TWO_FRAGMENTS STEPS(TEXT_BEGUN(F1), CONT_LAST(F2), CLOSE_AFTER(1000))
#define PING_BETWEEN  STEPS(TEXT_BEGUN(F1), PING(LIT("ping payload")), CONT_LAST(F2), CLOSE_AFTER(1000))
#define LAST_ALONE    STEPS(CONT_LAST(LIT("non-continuation payload")), TEXT(HELLO), KILL(1000))
#define MIDDLE_ALONE  STEPS(CONT(LIT("non-continuation payload")), TEXT(HELLO), KILL(1000))
#define TWO_PINGS \
    STEPS(TEXT_BEGUN(F1), CONT(F2), PING(LIT("pongme 1!")), PAUSE(1000, 0), CONT(F3), CONT(F4), \
          PING(LIT("pongme 2!")), CONT_LAST(F5), CLOSE_AFTER(1000))

#define BOTH_FRAGMENTS EVENTS(IS_TEXT(LIT("fragment1fragment2")))
#define PONG_FIRST     EVENTS(IS_PONG(LIT("ping payload")), IS_TEXT(LIT("fragment1fragment2")))
#define TWO_PONGS_FIRST \
    EVENTS(IS_PONG(LIT("pongme 1!")), IS_PONG(LIT("pongme 2!")), \
           IS_TEXT(LIT("fragment1fragment2fragment3fragment4fragment5")))

#define ECHOED(name, chop, in_sync, what, events) \
    {.id = (name), .chop_bytes = (chop), .sync = (in_sync), .steps = what, .ok = events, \
     .closing = TESTER_CLEAN(1000)}
#define REFUSED(name, chop, in_sync, ...) \
    {.id = (name), .chop_bytes = (chop), .sync = (in_sync), .steps = __VA_ARGS__, .ok = NOTHING, \
     .closing = PEER_1002}

static const struct conf_case table[] = {
    REFUSED("5.1", 0, false, STEPS(FRAME(OP_PING, F1), CONT_LAST(F2), KILL(1000))),
    REFUSED("5.2", 0, false, STEPS(FRAME(OP_PONG, F1), CONT_LAST(F2), KILL(1000))),
    ECHOED("5.3", 0, false, TWO_FRAGMENTS, BOTH_FRAGMENTS),
    ECHOED("5.4", 0, true, TWO_FRAGMENTS, BOTH_FRAGMENTS),
    ECHOED("5.5", 1, false, TWO_FRAGMENTS, BOTH_FRAGMENTS),
    ECHOED("5.6", 0, false, PING_BETWEEN, PONG_FIRST),
    ECHOED("5.7", 0, true, PING_BETWEEN, PONG_FIRST),
    ECHOED("5.8", 1, false, PING_BETWEEN, PONG_FIRST),
    REFUSED("5.9", 0, false, LAST_ALONE),
    REFUSED("5.10", 0, true, LAST_ALONE),
    REFUSED("5.11", 1, false, LAST_ALONE),
    REFUSED("5.12", 0, false, MIDDLE_ALONE),
    REFUSED("5.13", 0, true, MIDDLE_ALONE),
    REFUSED("5.14", 1, false, MIDDLE_ALONE),
    {.id = "5.15",
     .steps = STEPS(TEXT_BEGUN(F1), CONT_LAST(F2), CONT(F3), TEXT(F4), KILL(1000)),
     .ok = BOTH_FRAGMENTS, .non_strict = NOTHING, .closing = PEER_1002},
    REFUSED("5.16", 0, false,
            STEPS(CONT(F1), TEXT_BEGUN(F2), CONT_LAST(F3),
                  CONT(F1), TEXT_BEGUN(F2), CONT_LAST(F3), KILL(1000))),
    REFUSED("5.17", 0, false,
            STEPS(CONT_LAST(F1), TEXT_BEGUN(F2), CONT_LAST(F3),
                  CONT_LAST(F1), TEXT_BEGUN(F2), CONT_LAST(F3), KILL(1000))),
    REFUSED("5.18", 0, false, STEPS(TEXT_BEGUN(F1), TEXT(F2), KILL(1000))),
    ECHOED("5.19", 0, false, TWO_PINGS, TWO_PONGS_FIRST),
    ECHOED("5.20", 0, true, TWO_PINGS, TWO_PONGS_FIRST),
};
/* clang-format on */

const struct case_table cases_fragments = {table, sizeof table / sizeof table[0]};
