/* Section 14, which the suite does not have: the answer to a client's opening handshake (RFC 6455 section
 * 4.1), masks (5.1), and the end of TCP (7.1.1, 7.1.5).
 *
 * A client that refuses the answer ends TCP and sends no frame: the text that comes with each bad answer must
 * not be echoed. */
#include "case.h"

/* clang-format off */
#define HELLO   LIT("Hello, world!")
#define STATUS  "HTTP/1.1 101 Switching Protocols\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECT "Connection: Upgrade\r\n"
#define ACCEPT  "Sec-WebSocket-Accept: {accept}\r\n"
#define END     "\r\n"
#define RIGHT   STATUS UPGRADE CONNECT ACCEPT

#define REPLY(...) (&(const struct reply){__VA_ARGS__})
#define OPENS(name, ...) \
    {.id = (name), .only = ONLY_SERVER, .reply = REPLY(__VA_ARGS__), \
     .steps = STEPS(TEXT(HELLO), KILL(1000)), .ok = EVENTS(IS_TEXT(HELLO)), .closing = TESTER_CLEAN(1000)}
#define REFUSED(name, ...) \
    {.id = (name), .only = ONLY_SERVER, .reply = REPLY(__VA_ARGS__), \
     .steps = STEPS(TEXT(HELLO), KILL(1000)), .ok = NOTHING, .closing = PEER_DROPS}
/* The tester ends TCP: the peer does so too, with or without a Close frame. */
#define ENDS_TOO(name, ...) \
    {.id = (name), .steps = STEPS(__VA_ARGS__, END_TCP), .ok = NOTHING, \
     .closing = {.by = SIDE_TESTER, .codes = {1002}}}

static const struct conf_case table[] = {
    OPENS("14.1.1", .head = RIGHT END),
    OPENS("14.1.2", .head = RIGHT END, .chop_bytes = 1),
    OPENS("14.1.3", .head = RIGHT END, .glued = true),
    OPENS("14.1.4", .head = "HTTP/1.1 101 \r\nupgrade:WebSocket\r\nCONNECTION: keep-alive,\tUPGRADE \r\n"
                            "sec-websocket-accept:\t{accept}\t \r\nX-Odd: \xe9 {padding}\r\nEmpty:\r\n" END,
          .padding_bytes = 1000),
    {.id = "14.1.5", .only = ONLY_SERVER, .reply = REPLY(.head = RIGHT END, .glued = true),
     .steps = STEPS(CLOSE(1000), KILL(1000)), .ok = NOTHING, .closing = TESTER_CLEAN(1000)},
    {.id = "14.1.6", .only = ONLY_SERVER, .reply = REPLY(.head = RIGHT END, .glued = true),
     .steps = STEPS(FRAME(FIN | 0x3, HELLO), KILL(1000)), .ok = NOTHING, .closing = PEER_1002},

    REFUSED("14.2.1", .head = STATUS UPGRADE CONNECT "Sec-WebSocket-Accept: {other}\r\n" END),
    REFUSED("14.2.2", .head = STATUS UPGRADE CONNECT "Sec-WebSocket-Accept: {switched}\r\n" END),
    REFUSED("14.2.3", .head = STATUS UPGRADE CONNECT "Sec-WebSocket-Accept: {accept}=\r\n" END),
    REFUSED("14.2.4", .head = STATUS UPGRADE CONNECT "Sec-WebSocket-Accept:\r\n" END),
    REFUSED("14.2.5", .head = STATUS UPGRADE CONNECT END),
    REFUSED("14.2.6", .head = RIGHT "Sec-WebSocket-Accept: {other}\r\n" END),
    REFUSED("14.2.7", .head = STATUS CONNECT ACCEPT END),
    REFUSED("14.2.8", .head = STATUS "Upgrade: h2c\r\n" CONNECT ACCEPT END),
    REFUSED("14.2.9", .head = STATUS UPGRADE ACCEPT END),
    REFUSED("14.2.10", .head = STATUS UPGRADE "Connection: close\r\n" ACCEPT END),
    REFUSED("14.2.11", .head = RIGHT "Sec-WebSocket-Protocol: not-asked-for\r\n" END),
    REFUSED("14.2.12", .head = RIGHT "Sec-WebSocket-Extensions: x-not-asked-for\r\n" END),

    REFUSED("14.3.1", .head = "HTTP/1.0 101 Switching Protocols\r\n" UPGRADE CONNECT ACCEPT END),
    REFUSED("14.3.2", .head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" UPGRADE CONNECT ACCEPT END),
    REFUSED("14.3.3", .head = "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n" END),
    REFUSED("14.3.4", .head = "HTTP/1.1 1010 Switching Protocols\r\n" UPGRADE CONNECT ACCEPT END),
    REFUSED("14.3.5", .head = "SSH-2.0-no-http\r\n" UPGRADE CONNECT ACCEPT END),
    REFUSED("14.3.6", .head = RIGHT "X-Nul: a@b\r\n" END),
    REFUSED("14.3.7", .head = RIGHT "no header at all\r\n" END),
    REFUSED("14.3.8", .head = RIGHT "X-Large: {padding}\r\n" END, .padding_bytes = MIB(1)),
    REFUSED("14.3.9", .head = "HTTP/1.1 101 {padding}", .padding_bytes = MIB(1)),
    {.id = "14.3.10", .only = ONLY_SERVER, .reply = REPLY(.head = STATUS UPGRADE), .steps = STEPS(END_TCP),
     .ok = NOTHING, .closing = {.by = SIDE_TESTER, .bare = true}},
    {.id = "14.3.11", .only = ONLY_SERVER, .reply = REPLY(.head = ""), .steps = STEPS(END_TCP),
     .ok = NOTHING, .closing = {.by = SIDE_TESTER, .bare = true}},

    {.id = "14.4.1", .wrong_masking = true, .steps = STEPS(TEXT(HELLO), KILL(1000)), .ok = NOTHING,
     .closing = PEER_1002},
    {.id = "14.4.2", .wrong_masking = true, .steps = STEPS(PING(EMPTY), KILL(1000)), .ok = NOTHING,
     .closing = PEER_1002},

    {.id = "14.5.1", .only = ONLY_SERVER, .tcp_delay_ms = 300, .steps = STEPS(CLOSE(1000), KILL(1000)),
     .ok = NOTHING, .closing = {.by = SIDE_TESTER, .clean = true, .awaits_tcp = true, .codes = {1000}}},
    ENDS_TOO("14.5.2", TEXT_BEGUN(HELLO)),
    ENDS_TOO("14.5.3", BEGIN(FIN | OP_BINARY, 5, HELLO)),
    ENDS_TOO("14.5.4", PONG(EMPTY)),
};
/* clang-format on */

const struct case_table cases_connection = {table, sizeof table / sizeof table[0]};
