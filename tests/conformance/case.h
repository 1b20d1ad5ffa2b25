/* A conformance case as data: what the tester sends, what it must record, how the connection must end.
 *
 * The tester is this program, as a client or as a server (role.h); the peer is the echo endpoint under test
 * at the other end. A case is one connection.
 *
 *   steps     run one after the other as soon as the connection is open; only a pause waits
 *   outcomes  lists of events, compared with the recorded list as a whole: same events, same order, no more
 *   closing   who must send the first Close frame, and which code the peer's own may carry; none is allowed
 *             too, unless code_demanded
 *
 * Nothing is computed here: the tables in cases_*.c are meant to be read beside the list of cases that they
 * follow, and case_catalogue() checks their number. */
#ifndef WEFT_CONFORMANCE_CASE_H
#define WEFT_CONFORMANCE_CASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "data.h"
#include "role.h"

#define KIB(n) ((n)*1024u)
#define MIB(n) ((n)*1024u * 1024u)

/* First octets of frames: FIN 80, RSV 70, opcode 0f. */
#define FIN       0x80u
#define RSV(n)    ((unsigned)(n) << 4)
#define OP_CONT   0x0u
#define OP_TEXT   0x1u
#define OP_BINARY 0x2u
#define OP_CLOSE  0x8u
#define OP_PING   0x9u
#define OP_PONG   0xau

/* Octets given as hex digits, or as a unit repeated and cut to a length. */
struct payload {
    const char *unit;
    uint32_t unit_bytes;
    uint32_t bytes;
    bool hex;
};
/* clang-format off */
#define LIT(s) {s, sizeof(s) - 1, sizeof(s) - 1, false}
#define REP(s, n) {s, sizeof(s) - 1, n, false}
#define HEX(s) {s, 0, (sizeof(s) - 1) / 2, true}
#define EMPTY LIT("")
/* clang-format on */

enum step_kind {
    STEP_END,
    STEP_FRAME,       /* one frame as it is given, whatever it is */
    STEP_MESSAGE,     /* a message, in frames of fragment_bytes when that is not 0 */
    STEP_CLOSE,       /* the tester's own Close frame: from here on it has closed */
    STEP_BEGIN,       /* a frame of which only the header and now_bytes of its payload are written */
    STEP_MORE,        /* the next now_bytes of that frame, 0: the rest */
    STEP_PAUSE,       /* ms; if the connection is then open "timeout LABEL" is recorded, else steps end */
    STEP_AWAIT_END,   /* the same, as long as the peer is given to end it */
    STEP_SLICES,      /* as STEP_ROUNDS, each message the next now_bytes characters of data */
    STEP_ROUNDS,      /* count messages, one at a time, each compared with its echo */
    STEP_KILL,        /* after ms: fail the connection with 1001, or drop TCP when it is closing already */
    STEP_CLOSE_AFTER, /* after ms: a Close frame without a code */
    STEP_LIMIT,       /* after ms: the same, and the case has failed */
    STEP_END_TCP,     /* ends TCP behind what was sent, without a Close frame */
};
#define NO_CODE (-1)

struct step {
    enum step_kind kind;
    uint8_t first_octet;
    char label;
    int code;
    uint32_t fragment_bytes;
    uint32_t now_bytes;
    uint32_t count;
    uint32_t ms;
    enum data_kind data;
    struct payload payload;
};
#define SLICE_COUNT 1000 /* of messages, unless the run has other options */
/* clang-format off */
#define SLICES(op, which, length, fragment) \
    {.kind = STEP_SLICES, .first_octet = (op), .data = (which), .now_bytes = (length), \
     .fragment_bytes = (fragment), .count = SLICE_COUNT}
#define FRAME(octet, ...) {.kind = STEP_FRAME, .first_octet = (octet), .payload = __VA_ARGS__}
#define TEXT(...)       FRAME(FIN | OP_TEXT, __VA_ARGS__)
#define BINARY(...)     FRAME(FIN | OP_BINARY, __VA_ARGS__)
#define PING(...)       FRAME(FIN | OP_PING, __VA_ARGS__)
#define PONG(...)       FRAME(FIN | OP_PONG, __VA_ARGS__)
#define TEXT_BEGUN(...) FRAME(OP_TEXT, __VA_ARGS__)
#define CONT(...)       FRAME(OP_CONT, __VA_ARGS__)
#define CONT_LAST(...)  FRAME(FIN | OP_CONT, __VA_ARGS__)
#define MESSAGE(op, fragment, ...) \
    {.kind = STEP_MESSAGE, .first_octet = (op), .fragment_bytes = (fragment), .payload = __VA_ARGS__}
#define CLOSE(number) {.kind = STEP_CLOSE, .code = (number), .payload = EMPTY}
#define CLOSE_WITH(number, ...) {.kind = STEP_CLOSE, .code = (number), .payload = __VA_ARGS__}
#define BEGIN(octet, now, ...) \
    {.kind = STEP_BEGIN, .first_octet = (octet), .now_bytes = (now), .payload = __VA_ARGS__}
#define MORE(now) {.kind = STEP_MORE, .now_bytes = (now)}
#define PAUSE(milliseconds, name) {.kind = STEP_PAUSE, .ms = (milliseconds), .label = (name)}
#define AWAIT_END(milliseconds, name) {.kind = STEP_AWAIT_END, .ms = (milliseconds), .label = (name)}
#define ROUNDS(op, n, ...) {.kind = STEP_ROUNDS, .first_octet = (op), .count = (n), .payload = __VA_ARGS__}
#define KILL(milliseconds) {.kind = STEP_KILL, .ms = (milliseconds)}
#define CLOSE_AFTER(milliseconds) {.kind = STEP_CLOSE_AFTER, .ms = (milliseconds)}
#define LIMIT(seconds) {.kind = STEP_LIMIT, .ms = (seconds)*1000u}
#define END_TCP {.kind = STEP_END_TCP}
#define STEPS(...) ((const struct step[]){__VA_ARGS__, {.kind = STEP_END}})
/* clang-format on */

enum event_kind { EVENT_END, EVENT_TEXT, EVENT_BINARY, EVENT_PONG, EVENT_TIMEOUT, EVENT_ROUNDS };

struct expected {
    enum event_kind kind;
    char label;     /* of a timeout */
    uint32_t count; /* of rounds */
    struct payload payload;
};
/* clang-format off */
#define IS_TEXT(...) {.kind = EVENT_TEXT, .payload = __VA_ARGS__}
#define IS_BINARY(...) {.kind = EVENT_BINARY, .payload = __VA_ARGS__}
#define IS_PONG(...) {.kind = EVENT_PONG, .payload = __VA_ARGS__}
#define IS_TIMEOUT(name) {.kind = EVENT_TIMEOUT, .label = (name)}
#define IS_ROUNDS(n) {.kind = EVENT_ROUNDS, .count = (n)}
#define EVENTS(...) ((const struct expected[]){__VA_ARGS__, {.kind = EVENT_END}})
#define NOTHING     ((const struct expected[]){{.kind = EVENT_END}})
/* clang-format on */

enum side { SIDE_NONE, SIDE_TESTER, SIDE_PEER };

struct closing {
    enum side by;                /* sends the first Close frame; a bare TCP drop counts as the peer's */
    bool clean;                  /* both Close frames seen, and TCP dropped by the server, then the client */
    bool bare;                   /* no frame of any kind may come: the connection never opened */
    bool awaits_tcp;             /* the peer must not end TCP before the tester does (beyond the suite) */
    bool decides_behaviour;      /* the tester had to close: the behaviour has failed too */
    bool code_decides_behaviour; /* so has it with a wrong code */
    bool code_demanded;          /* a Close frame of the peer must carry a code (beyond the suite) */
    bool informational;          /* any end is accepted */
    int codes[3];                /* 0 ends the list */
};
/* clang-format off */
#define TESTER_CLEAN(...) {.by = SIDE_TESTER, .clean = true, .codes = {__VA_ARGS__}}
#define PEER_1002 {.by = SIDE_PEER, .codes = {1002}}
#define PEER_DROPS {.by = SIDE_PEER, .bare = true}
#define PEER_1007 {.by = SIDE_PEER, .decides_behaviour = true, .codes = {1007}}
/* clang-format on */

/* The answer of a tester that is a server. In head "{accept}" becomes the value that the request's key asks
 * for, "{other}" that of another key, "{switched}" the right one in the other case of letters, "{padding}"
 * padding_bytes of x, and "@" a NUL. */
struct reply {
    const char *head;
    uint32_t padding_bytes;
    uint32_t chop_bytes; /* not 0: written in pieces of so many octets */
    bool glued;          /* in one write with the first frames */
};

#define ANSWERS_MAX 3
/* permessage-deflate: what a client offers; what a server answers with, besides the server_* of the offer. A
 * server takes the first answer that an offer allows. */
struct pmd_case {
    const char *offer;
    struct pmd_answer {
        bool given;       /* false ends the list */
        bool no_takeover; /* client_no_context_takeover */
        int bits;         /* client_max_window_bits, if it was offered; 0: none */
    } answers[ANSWERS_MAX];
    bool may_decline; /* the case holds without the extension too */
};

struct conf_case {
    const char *id;
    unsigned only;              /* a role's bit: a case for the tester in that role alone; 0: for both */
    const struct reply *reply;  /* NULL: the usual 101 */
    const struct pmd_case *pmd; /* NULL: no extension */
    bool wrong_masking;         /* the frames of the steps are masked as those of the other side */
    uint32_t tcp_delay_ms;      /* after the closing handshake, before a server ends TCP */
    const struct step *steps;
    uint32_t chop_bytes; /* not 0: every frame in writes of so many octets, 10 microseconds apart */
    bool sync;           /* every frame in a write of its own, 10 microseconds apart */
    const struct expected *ok;
    const struct expected *non_strict; /* NULL: there is no such outcome */
    struct closing closing;
    uint32_t data_frames_sent; /* not 0: what the tester must have counted of its own frames */
};

struct case_table {
    const struct conf_case *cases;
    size_t count;
};
extern const struct case_table cases_framing, cases_fragments, cases_utf8, cases_utf8_table, cases_close,
    cases_limits, cases_connection, cases_deflate;

#define SECTION_MAX 15
#define SECTION_OWN 14 /* from here on: what the suite does not have */

/* The cases for the role, those of permessage-deflate or all others, in the order of their ids, in memory of
 * the caller's; NULL (with a message on stderr) when the number of cases of a section is not the document's
 * or there is no memory. */
const struct conf_case **case_catalogue(const struct role *role, bool deflate, size_t *count);
unsigned case_section(const struct conf_case *c);
/* Whether id is the case's own or that of a group it belongs to: 6, 6.4 and 6.4.1 all select 6.4.1. */
bool case_is_in(const struct conf_case *c, const char *id, size_t id_bytes);

/* Writes the payload's octets; dst has room for them. */
void payload_copy(const struct payload *p, uint8_t *dst);
/* The first octet that differs (or where the shorter ends), or -1 when both are equal. */
int64_t payload_difference(const struct payload *p, const uint8_t *octets, size_t bytes);

#endif
