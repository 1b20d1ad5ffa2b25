/* Section 6, the cases made by hand: messages cut inside and between code points, and how early a peer must
 * fail. */
#include "case.h"

/* clang-format off */
/* The Greek word kosme (11 octets); a surrogate, a code point beyond U+10FFFF; plain text behind them. */
#define X         "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
#define SURROGATE "\xed\xa0\x80"
#define BEYOND    "\xf4\x90\x80\x80"
#define Y         "edited"

#define GREETING_A "Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4"
#define GREETING_B "\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!!"
#define GREETING   LIT(GREETING_A GREETING_B)

#define ECHOED(name, what, ...) \
    {.id = (name), .steps = what, .ok = EVENTS(IS_TEXT(__VA_ARGS__)), .closing = TESTER_CLEAN(1000)}
#define REFUSED(name, ...) {.id = (name), .steps = __VA_ARGS__, .ok = NOTHING, .closing = PEER_1007}
#define FAILS_EARLY(name, ...) \
    {.id = (name), .steps = __VA_ARGS__, .ok = EVENTS(IS_TIMEOUT('A')), \
     .non_strict = EVENTS(IS_TIMEOUT('A'), IS_TIMEOUT('B')), .closing = PEER_1007}

static const struct conf_case table[] = {
    ECHOED("6.1.1", STEPS(TEXT(EMPTY), CLOSE_AFTER(1000)), EMPTY),
    ECHOED("6.1.2", STEPS(TEXT_BEGUN(EMPTY), CONT(EMPTY), CONT_LAST(EMPTY), CLOSE_AFTER(1000)), EMPTY),
    ECHOED("6.1.3",
           STEPS(TEXT_BEGUN(EMPTY), CONT(LIT("middle frame payload")), CONT_LAST(EMPTY), CLOSE_AFTER(1000)),
           LIT("middle frame payload")),

    ECHOED("6.2.1", STEPS(TEXT(GREETING), CLOSE_AFTER(1000)), GREETING),
    ECHOED("6.2.2", STEPS(TEXT_BEGUN(LIT(GREETING_A)), CONT_LAST(LIT(GREETING_B)), CLOSE_AFTER(1000)),
           GREETING),
    ECHOED("6.2.3", STEPS(MESSAGE(OP_TEXT, 1, GREETING), CLOSE_AFTER(1000)), GREETING),
    ECHOED("6.2.4", STEPS(MESSAGE(OP_TEXT, 1, LIT(X)), CLOSE_AFTER(1000)), LIT(X)),

    REFUSED("6.3.1", STEPS(TEXT(LIT(X SURROGATE Y)), KILL(1000))),
    REFUSED("6.3.2", STEPS(MESSAGE(OP_TEXT, 1, LIT(X SURROGATE Y)), KILL(1000))),

    FAILS_EARLY("6.4.1", STEPS(TEXT_BEGUN(LIT(X)), PAUSE(1000, 'A'), CONT(LIT(BEYOND)), AWAIT_END(1000, 'B'),
                               CONT_LAST(LIT(Y)), KILL(1000))),
    FAILS_EARLY("6.4.2", STEPS(TEXT_BEGUN(LIT(X "\xf4")), PAUSE(1000, 'A'), CONT(LIT("\x90")),
                               AWAIT_END(1000, 'B'), CONT_LAST(LIT("\x80\x80" Y)), KILL(1000))),
    FAILS_EARLY("6.4.3", STEPS(BEGIN(FIN | OP_TEXT, 11, LIT(X BEYOND Y)), PAUSE(1000, 'A'), MORE(4),
                               AWAIT_END(1000, 'B'), MORE(0), KILL(1000))),
    FAILS_EARLY("6.4.4", STEPS(BEGIN(FIN | OP_TEXT, 12, LIT(X BEYOND Y)), PAUSE(1000, 'A'), MORE(1),
                               AWAIT_END(1000, 'B'), MORE(0), KILL(1000))),
};
/* clang-format on */

const struct case_table cases_utf8 = {table, sizeof table / sizeof table[0]};
