/* Sections 12 and 13: permessage-deflate with different data and with different parameters; and section 15,
 * which the suite does not have: what may and may not be sent when it was negotiated (RFC 7692). */
#include "case.h"

/* clang-format off */
#define OFFER "permessage-deflate; client_no_context_takeover; client_max_window_bits"
#define NO_TAKEOVER "; server_no_context_takeover"
#define BITS_9  "; server_max_window_bits=9"
#define BITS_15 "; server_max_window_bits=15"
#define HELLO LIT("Hello")
#define RSV1  RSV(4)

#define TERMS(text, ...) (&(const struct pmd_case){.offer = (text), .answers = {__VA_ARGS__}})
#define PLAIN {.given = true}
#define ANSWER(anew, window) {.given = true, .no_takeover = (anew), .bits = (window)}

#define ROW(name, op, which, terms, length, limit_s, fragment) \
    {.id = (name), .pmd = terms, \
     .steps = STEPS(LIMIT(limit_s), SLICES(op, which, length, fragment)), \
     .ok = EVENTS(IS_ROUNDS(SLICE_COUNT)), .closing = TESTER_CLEAN(1000)}
#define GROUP(id, op, kind, ...) \
    ROW(id ".1", op, kind, __VA_ARGS__, 16, 60, 0), \
    ROW(id ".2", op, kind, __VA_ARGS__, 64, 60, 0), \
    ROW(id ".3", op, kind, __VA_ARGS__, 256, 120, 0), \
    ROW(id ".4", op, kind, __VA_ARGS__, 1024, 240, 0), \
    ROW(id ".5", op, kind, __VA_ARGS__, 4096, 480, 0), \
    ROW(id ".6", op, kind, __VA_ARGS__, 8192, 480, 0), \
    ROW(id ".7", op, kind, __VA_ARGS__, 16384, 480, 0), \
    ROW(id ".8", op, kind, __VA_ARGS__, 32768, 480, 0), \
    ROW(id ".9", op, kind, __VA_ARGS__, 65536, 480, 0), \
    ROW(id ".10", op, kind, __VA_ARGS__, 131072, 480, 0), \
    ROW(id ".11", op, kind, __VA_ARGS__, 8192, 480, 256), \
    ROW(id ".12", op, kind, __VA_ARGS__, 16384, 480, 256), \
    ROW(id ".13", op, kind, __VA_ARGS__, 32768, 480, 256), \
    ROW(id ".14", op, kind, __VA_ARGS__, 65536, 480, 256), \
    ROW(id ".15", op, kind, __VA_ARGS__, 131072, 480, 256), \
    ROW(id ".16", op, kind, __VA_ARGS__, 131072, 480, 1024), \
    ROW(id ".17", op, kind, __VA_ARGS__, 131072, 480, 4096), \
    ROW(id ".18", op, kind, __VA_ARGS__, 131072, 480, 32768)
#define JSON(id, ...) GROUP(id, OP_TEXT, DATA_JSON, __VA_ARGS__)

#define ANY TERMS(OFFER, PLAIN)
#define ECHOED(name, ...) \
    {.id = (name), .pmd = ANY, .steps = STEPS(__VA_ARGS__, KILL(1000)), .ok = EVENTS(IS_TEXT(HELLO)), \
     .closing = TESTER_CLEAN(1000)}
#define ECHOED_TWICE(name, ...) \
    {.id = (name), .pmd = ANY, .steps = STEPS(__VA_ARGS__, KILL(1000)), \
     .ok = EVENTS(IS_TEXT(HELLO), IS_TEXT(HELLO)), .closing = TESTER_CLEAN(1000)}
#define BAD(name, ...) \
    {.id = (name), .pmd = ANY, .steps = STEPS(__VA_ARGS__, KILL(1000)), .ok = NOTHING, .closing = PEER_1002}
/* RFC 7692 names no code for data that does not inflate. */
#define MALFORMED(name, ...) \
    {.id = (name), .pmd = ANY, .steps = STEPS(FRAME(FIN | RSV1 | OP_BINARY, __VA_ARGS__), KILL(1000)), \
     .ok = NOTHING, .closing = {.by = SIDE_PEER, .codes = {1002, 1007}}}
#define ANSWERED(name, text) \
    {.id = (name), .only = ONLY_SERVER, \
     .reply = &(const struct reply){ \
         .head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
                 "Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Extensions: " text "\r\n\r\n"}, \
     .steps = STEPS(TEXT(HELLO), KILL(1000)), .ok = NOTHING, .closing = PEER_DROPS}

static const struct conf_case table[] = {
    GROUP("12.1", OP_TEXT, DATA_JSON, ANY),
    GROUP("12.2", OP_BINARY, DATA_PICTURE, ANY),
    GROUP("12.3", OP_BINARY, DATA_PLAY, ANY),
    GROUP("12.4", OP_TEXT, DATA_PAGE, ANY),
    GROUP("12.5", OP_BINARY, DATA_NOISE, ANY),

    JSON("13.1", ANY),
    JSON("13.2", TERMS(OFFER NO_TAKEOVER, ANSWER(true, 0))),
    JSON("13.3", TERMS(OFFER BITS_9, ANSWER(false, 9))),
    JSON("13.4", TERMS(OFFER BITS_15, ANSWER(false, 15))),
    JSON("13.5", TERMS(OFFER NO_TAKEOVER BITS_9, ANSWER(true, 9))),
    JSON("13.6", TERMS(OFFER NO_TAKEOVER BITS_15, ANSWER(true, 15))),
    JSON("13.7", TERMS(OFFER NO_TAKEOVER BITS_9 ", " OFFER NO_TAKEOVER ", " OFFER,
                       ANSWER(true, 9), ANSWER(true, 0), PLAIN)),

    /* The examples of RFC 7692 section 7.2.3. */
    ECHOED("15.1.1", FRAME(FIN | RSV1 | OP_TEXT, HEX("f248cdc9c90700"))),
    ECHOED("15.1.2", FRAME(RSV1 | OP_TEXT, HEX("f248cd")), CONT_LAST(HEX("c9c90700"))),
    ECHOED_TWICE("15.1.3", FRAME(FIN | RSV1 | OP_TEXT, HEX("f248cdc9c90700")),
                 FRAME(FIN | RSV1 | OP_TEXT, HEX("f248cdc9c90700"))),
    ECHOED("15.1.4", FRAME(FIN | RSV1 | OP_TEXT, HEX("000500faff48656c6c6f00"))),
    ECHOED("15.1.5", FRAME(FIN | RSV1 | OP_TEXT, HEX("f348cdc9c9070000"))),
    ECHOED("15.1.6", FRAME(FIN | RSV1 | OP_TEXT, HEX("f24805000000ffffcac9c90700"))),
    ECHOED("15.1.7", TEXT(HELLO)),
    ECHOED("15.1.8", FRAME(RSV1 | OP_TEXT, EMPTY), CONT(HEX("f248cdc9c90700")), CONT_LAST(EMPTY)),

    BAD("15.2.1", FRAME(FIN | RSV1 | OP_PING, EMPTY)),
    BAD("15.2.2", FRAME(FIN | RSV1 | OP_PONG, EMPTY)),
    BAD("15.2.3", FRAME(RSV1 | OP_TEXT, HEX("f248cd")), FRAME(FIN | RSV1 | OP_CONT, HEX("c9c90700"))),
    BAD("15.2.4", TEXT_BEGUN(LIT("Hel")), FRAME(FIN | RSV1 | OP_CONT, LIT("lo"))),
    BAD("15.2.5", FRAME(FIN | RSV(2) | OP_TEXT, HELLO)),
    BAD("15.2.6", FRAME(FIN | RSV(5) | OP_TEXT, HEX("f248cdc9c90700"))),
    {.id = "15.2.7", .pmd = ANY, .steps = STEPS(FRAME(FIN | RSV1 | OP_CLOSE, EMPTY), KILL(1000)),
     .ok = NOTHING, .closing = {.by = SIDE_PEER, .code_demanded = true, .codes = {1002}}},

    MALFORMED("15.3.1", HEX("ffffffffffff")), /* no such block */
    MALFORMED("15.3.2", HEX("000500faf048656c6c6f00")), /* stored, with a wrong complement of its length */
    MALFORMED("15.3.3", HEX("f200110000")), /* reaches behind the first octet */
    {.id = "15.3.4", .pmd = ANY,
     .steps = STEPS(FRAME(FIN | RSV1 | OP_TEXT, HEX("000200fdffeda000")), KILL(1000)), .ok = NOTHING,
     .closing = PEER_1007},

    ANSWERED("15.4.1", "permessage-deflate; x-unknown"),
    ANSWERED("15.4.2", "permessage-deflate; server_max_window_bits=16"),
    ANSWERED("15.4.3", "permessage-deflate; server_max_window_bits=7"),
    ANSWERED("15.4.4", "permessage-deflate; server_max_window_bits"),
    ANSWERED("15.4.5", "permessage-deflate; server_no_context_takeover; server_no_context_takeover"),
    ANSWERED("15.4.6", "permessage-deflate; client_max_window_bits=x"),
    ANSWERED("15.4.7", "permessage-deflate, permessage-deflate"),

    /* Window 8 need not be taken: then the connection opens without the extension. */
    {.id = "15.5.1", .only = ONLY_CLIENT,
     .pmd = &(const struct pmd_case){.offer = OFFER "; server_max_window_bits=8", .may_decline = true},
     .steps = STEPS(LIMIT(60), SLICES(OP_TEXT, DATA_JSON, 4096, 0)), .ok = EVENTS(IS_ROUNDS(SLICE_COUNT)),
     .closing = TESTER_CLEAN(1000)},
    {.id = "15.5.2", .only = ONLY_SERVER, .pmd = TERMS(OFFER, ANSWER(false, 8)),
     .steps = STEPS(LIMIT(60), SLICES(OP_TEXT, DATA_JSON, 4096, 0)), .ok = EVENTS(IS_ROUNDS(SLICE_COUNT)),
     .closing = TESTER_CLEAN(1000)},
};
/* clang-format on */

const struct case_table cases_deflate = {table, sizeof table / sizeof table[0]};
