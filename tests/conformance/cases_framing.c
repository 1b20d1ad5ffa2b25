/* Sections 1 to 4: framing, ping and pong, reserved bits, reserved opcodes. */
#include "case.h"

/* clang-format off */
#define HELLO LIT("Hello, world!")
#define STAR  "\x2a"
#define FE    "\xfe"

#define ECHO_TEXT(name, n, chop, kill_ms) \
    {.id = (name), .chop_bytes = (chop), .steps = STEPS(TEXT(REP(STAR, n)), KILL(kill_ms)), \
     .ok = EVENTS(IS_TEXT(REP(STAR, n))), .closing = TESTER_CLEAN(1000)}
#define ECHO_BINARY(name, n, chop, kill_ms) \
    {.id = (name), .chop_bytes = (chop), .steps = STEPS(BINARY(REP(FE, n)), KILL(kill_ms)), \
     .ok = EVENTS(IS_BINARY(REP(FE, n))), .closing = TESTER_CLEAN(1000)}
#define PING_PONG(name, chop, ms, ...) \
    {.id = (name), .chop_bytes = (chop), .steps = STEPS(PING(__VA_ARGS__), CLOSE_AFTER(ms)), \
     .ok = EVENTS(IS_PONG(__VA_ARGS__)), .closing = TESTER_CLEAN(1000)}

/* One bad frame alone. */
#define BAD_ALONE(name, octet, ...) \
    {.id = (name), .steps = STEPS(FRAME(octet, __VA_ARGS__), KILL(1000)), .ok = NOTHING, \
     .closing = PEER_1002}
/* A good message, the bad frame, a ping that must stay without an answer. */
#define BAD_BETWEEN(name, chop, in_sync, octet, ...) \
    {.id = (name), .chop_bytes = (chop), .sync = (in_sync), \
     .steps = STEPS(TEXT(HELLO), FRAME(octet, __VA_ARGS__), PING(EMPTY), KILL(1000)), \
     .ok = EVENTS(IS_TEXT(HELLO)), .non_strict = NOTHING, .closing = PEER_1002}

#define TEN_PINGS \
    STEPS(PING(LIT("payload-0")), PING(LIT("payload-1")), PING(LIT("payload-2")), PING(LIT("payload-3")), \
          PING(LIT("payload-4")), PING(LIT("payload-5")), PING(LIT("payload-6")), PING(LIT("payload-7")), \
          PING(LIT("payload-8")), PING(LIT("payload-9")), CLOSE_AFTER(3000))
#define TEN_PONGS \
    EVENTS(IS_PONG(LIT("payload-0")), IS_PONG(LIT("payload-1")), IS_PONG(LIT("payload-2")), \
           IS_PONG(LIT("payload-3")), IS_PONG(LIT("payload-4")), IS_PONG(LIT("payload-5")), \
           IS_PONG(LIT("payload-6")), IS_PONG(LIT("payload-7")), IS_PONG(LIT("payload-8")), \
           IS_PONG(LIT("payload-9")))

static const struct conf_case table[] = {
    ECHO_TEXT("1.1.1", 0, 0, 1000),
    ECHO_TEXT("1.1.2", 125, 0, 1000),
    ECHO_TEXT("1.1.3", 126, 0, 1000),
    ECHO_TEXT("1.1.4", 127, 0, 1000),
    ECHO_TEXT("1.1.5", 128, 0, 1000),
    ECHO_TEXT("1.1.6", 65535, 0, 10000),
    ECHO_TEXT("1.1.7", 65536, 0, 10000),
    ECHO_TEXT("1.1.8", 65536, 997, 10000),
    ECHO_BINARY("1.2.1", 0, 0, 1000),
    ECHO_BINARY("1.2.2", 125, 0, 1000),
    ECHO_BINARY("1.2.3", 126, 0, 1000),
    ECHO_BINARY("1.2.4", 127, 0, 1000),
    ECHO_BINARY("1.2.5", 128, 0, 1000),
    ECHO_BINARY("1.2.6", 65535, 0, 10000),
    ECHO_BINARY("1.2.7", 65536, 0, 10000),
    ECHO_BINARY("1.2.8", 65536, 997, 10000),

    PING_PONG("2.1", 0, 1000, EMPTY),
    PING_PONG("2.2", 0, 1000, HELLO),
    PING_PONG("2.3", 0, 1000, HEX("00fffefdfcfb00ff")),
    PING_PONG("2.4", 0, 1000, REP(FE, 125)),
    {.id = "2.5", .steps = STEPS(PING(REP(FE, 126)), KILL(1000)), .ok = NOTHING, .closing = PEER_1002},
    PING_PONG("2.6", 1, 2000, REP(FE, 125)),
    {.id = "2.7", .steps = STEPS(PONG(EMPTY), CLOSE(1000), CLOSE_AFTER(1000)),
     .ok = NOTHING, .closing = TESTER_CLEAN(1000)},
    {.id = "2.8", .steps = STEPS(PONG(LIT("unsolicited pong payload")), CLOSE(1000), CLOSE_AFTER(1000)),
     .ok = NOTHING, .closing = TESTER_CLEAN(1000)},
    {.id = "2.9",
     .steps = STEPS(PONG(LIT("unsolicited pong payload")), PING(LIT("ping payload")), CLOSE_AFTER(1000)),
     .ok = EVENTS(IS_PONG(LIT("ping payload"))), .closing = TESTER_CLEAN(1000)},
    {.id = "2.10", .steps = TEN_PINGS, .ok = TEN_PONGS, .closing = TESTER_CLEAN(1000)},
    {.id = "2.11", .chop_bytes = 1, .steps = TEN_PINGS, .ok = TEN_PONGS, .closing = TESTER_CLEAN(1000)},

    BAD_ALONE("3.1", FIN | RSV(1) | OP_TEXT, HELLO),
    BAD_BETWEEN("3.2", 0, false, FIN | RSV(2) | OP_TEXT, HELLO),
    BAD_BETWEEN("3.3", 0, true, FIN | RSV(3) | OP_TEXT, HELLO),
    BAD_BETWEEN("3.4", 1, false, FIN | RSV(4) | OP_TEXT, HELLO),
    BAD_ALONE("3.5", FIN | RSV(5) | OP_BINARY, HEX("00fffefdfcfb00ff")),
    BAD_ALONE("3.6", FIN | RSV(6) | OP_BINARY, HELLO),
    /* A peer that ignores the bits answers with an empty Close frame: only a code tells the two apart. */
    {.id = "3.7", .steps = STEPS(FRAME(FIN | RSV(7) | OP_CLOSE, EMPTY), KILL(1000)), .ok = NOTHING,
     .closing = {.by = SIDE_PEER, .code_demanded = true, .codes = {1002}}},

    BAD_ALONE("4.1.1", FIN | 0x3, EMPTY),
    BAD_ALONE("4.1.2", FIN | 0x4, LIT("reserved opcode payload")),
    BAD_BETWEEN("4.1.3", 0, false, FIN | 0x5, EMPTY),
    BAD_BETWEEN("4.1.4", 0, false, FIN | 0x6, HELLO),
    BAD_BETWEEN("4.1.5", 1, false, FIN | 0x7, HELLO),
    BAD_ALONE("4.2.1", FIN | 0xb, EMPTY),
    BAD_ALONE("4.2.2", FIN | 0xc, LIT("reserved opcode payload")),
    BAD_BETWEEN("4.2.3", 0, false, FIN | 0xd, EMPTY),
    BAD_BETWEEN("4.2.4", 0, false, FIN | 0xe, HELLO),
    BAD_BETWEEN("4.2.5", 1, false, FIN | 0xf, HELLO),
};
/* clang-format on */

const struct case_table cases_framing = {table, sizeof table / sizeof table[0]};
