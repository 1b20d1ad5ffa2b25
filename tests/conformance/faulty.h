/* An echo server, or client, that breaks one rule of its own free will, so that the conformance program can
 * be seen to notice.
 *
 * Without a fault it passes every case. It knows nothing of weft; of the program's code it uses the row of
 * octets, the reading of a frame's head and of header lines, and the accept value, never what it tests the
 * program for. */
#ifndef WEFT_CONFORMANCE_FAULTY_H
#define WEFT_CONFORMANCE_FAULTY_H

enum fault {
    FAULT_NONE,
    /* Not faults: odd but right, so the client must accept them. */
    ODD_ONE_OCTET_WRITES,
    ODD_FRAGMENTED_ECHO,
    ODD_PING_BEFORE_ECHO, /* the echo waits for the pong */
    /* permessage-deflate without a compressor: what came compressed goes back as it came. */
    ODD_MIRRORS_DEFLATE,
    FAULT_MIRRORS_WRONG_BIT,
    FAULT_MIRRORS_WITHOUT_RSV,
    /* A server's side of the opening handshake. */
    FAULT_SILENT,
    FAULT_STATUS_200,
    FAULT_WRONG_ACCEPT,
    FAULT_EXTENSION,
    FAULT_SUBPROTOCOL,
    FAULT_CLOSES_AT_ONCE,
    /* A client's: the request, and what it makes of the answer. */
    FAULT_NO_HOST,
    FAULT_NO_VERSION,
    FAULT_SHORT_KEY,
    FAULT_SAME_KEY,
    FAULT_FRAME_BEFORE_ANSWER,
    FAULT_HEAD_IN_ONE_READ,
    FAULT_LOSES_GLUED,
    FAULT_NAMES_AS_WRITTEN,
    FAULT_TAKES_ANY_ACCEPT,
    FAULT_ACCEPT_WITHOUT_CASE,
    FAULT_ACCEPT_BEGINS,
    FAULT_TAKES_TWO_ACCEPTS,
    FAULT_TAKES_ANY_UPGRADE,
    FAULT_TAKES_ANY_CONNECTION,
    FAULT_TAKES_SUBPROTOCOL,
    FAULT_TAKES_EXTENSION,
    FAULT_TAKES_ANY_STATUS,
    FAULT_TAKES_HTTP_1_0,
    FAULT_TAKES_ANY_LINE,
    FAULT_TAKES_NUL,
    FAULT_HEAD_WITHOUT_LIMIT,
    FAULT_REFUSES_WITH_CLOSE,
    /* Masks. */
    FAULT_MASKING, /* a server masks, a client does not */
    FAULT_SAME_MASK,
    FAULT_MASKS_BEGIN_AGAIN, /* on each connection */
    FAULT_TAKES_ANY_MASKING,
    /* What the client sends against the rules is accepted. */
    FAULT_IGNORES_RSV,
    FAULT_SKIPS_RSV_FRAMES,
    FAULT_TAKES_RESERVED_OPCODES,
    FAULT_TAKES_LONG_CONTROL,
    FAULT_TAKES_FRAGMENTED_CONTROL,
    FAULT_TAKES_LONE_CONTINUATION,
    FAULT_TAKES_TEXT_IN_MESSAGE,
    /* UTF-8. */
    FAULT_NO_UTF8_CHECK,
    FAULT_UTF8_AT_MESSAGE_END,
    FAULT_UTF8_AT_FRAME_END,
    FAULT_UTF8_TOO_EARLY,
    FAULT_TAKES_SURROGATES,
    FAULT_UTF8_CODE_1002,
    /* Pongs. */
    FAULT_NO_PONG,
    FAULT_MERGES_PONGS,
    FAULT_EMPTY_PONG,
    FAULT_PONG_AFTER_MESSAGE,
    /* Echoes. */
    FAULT_NO_ECHO,
    FAULT_ECHOES_TWICE,
    FAULT_ECHOES_TEXT_AS_BINARY,
    FAULT_FLIPS_LAST_BIT,
    FAULT_CUTS_LAST_OCTET,
    FAULT_SETS_RSV,
    FAULT_LONG_LENGTH,
    /* Closing. */
    FAULT_NO_CLOSE_ANSWER,
    FAULT_DROPS_WITHOUT_CLOSE,
    FAULT_KEEPS_TCP,
    FAULT_ENDS_TCP_FIRST,
    FAULT_GOES_ON_AFTER_CLOSE,
    FAULT_ANSWERS_1005,
    FAULT_ANSWERS_1011,
    FAULT_ANSWERS_ONE_OCTET,
    FAULT_TAKES_BAD_CODES,
    FAULT_TAKES_ONE_OCTET_CLOSE,
    FAULT_TAKES_BAD_REASON,
    FAULT_ERROR_CODE_1000,
    FAULT_COUNT
};

/* What keeps TCP as a client does so for this time: longer than the tester waits, and than it may be late. */
#define FAULTY_KEEPS_TCP_MS 15000

/* Serves connections of a listening socket, one thread each, until the process ends. */
void faulty_serve(int listener, enum fault fault);

/* Connects to the loopback address, again and again, until the answer is 4xx or nobody listens. */
void faulty_visit(unsigned port, enum fault fault);

#endif
