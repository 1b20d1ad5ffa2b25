/* One connection of the load: opened, written to and read without a buffer of its own.
 *
 *     CONN_IDLE > CONN_CONNECTING > CONN_HANDSHAKE > CONN_OPEN > CONN_CLOSING > CONN_IDLE
 *
 * What a connection sends is a function of (number, sequence), so a short write is resumed by putting the
 * rest together again. tx_due is how far the mode lets it go, conn_flush goes there: with one send for
 * all frames that are due. A connection belongs to the thread of its loader.
 *
 * The handshake is weft_proto's; headers of the command line, which it does not know, are put in before
 * its last line. raw: the server is to send the bytes of both handshakes back; modes that do not ask for
 * that begin with the first frame and end with the last. TLS lies behind the calls of channel.h. */
#ifndef WEFT_BENCH_CONN_H
#define WEFT_BENCH_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "order.h"
#include "payload.h"
#include "weft/proto.h"

struct loader;
struct tls;

enum conn_state { CONN_IDLE, CONN_CONNECTING, CONN_HANDSHAKE, CONN_OPEN, CONN_CLOSING };

/* The frame and the message under way, when they came in pieces; see receive.c. */
struct conn_incoming {
    uint64_t frame_left; /* payload bytes of the frame that are to come */
    uint64_t frame_at;   /* and that came */
    uint64_t message_at; /* payload bytes of the message that came */
    struct payload_name name;
    uint8_t header[FRAME_HEADER_BYTES_MAX];
    uint8_t header_have;
    uint8_t opcode;
    bool is_final, in_frame, in_message;
    bool is_wrong;                  /* the message is not what it should be */
    uint8_t head[PAYLOAD_HEAD_MAX]; /* of the message, as it came */
};

struct conn_control; /* a control frame that is to be sent */

struct conn {
    struct loader *loader;
    int fd;
    uint8_t state;
    bool waits_to_write; /* the socket is full: epoll tells */
    bool got_close;      /* the server's Close frame */
    bool is_shaking;     /* TLS comes first */
    uint32_t number;     /* among all connections: who its messages are from */
    uint32_t slot;       /* among those of its loader */
    uint32_t tx_seq, tx_due;
    size_t tx_offset; /* bytes of frame tx_seq that are sent */
    uint32_t expected, received;
    uint32_t request_back; /* raw: bytes of the request that came back */
    uint64_t started_ns;
    uint64_t closing_ns;    /* when the Close frame was queued */
    uint64_t slow_until_ns; /* mixed: messages due until then wait behind a slow one */
    struct tls *tls; /* NULL: plain */
    weft_proto *handshake;
    struct conn_control *control; /* to be sent; NULL nearly always */
    uint8_t *gathered;            /* a received control frame that came in pieces; NULL nearly always */
    struct conn_incoming in;
};

/* Begin to connect. False: not now, the server's backlog is full. A failure is counted at once. */
bool conn_start(struct conn *c);

/* What epoll said. */
void conn_heard(struct conn *c, uint32_t events);

/* Send what is due. False: the connection is gone. */
bool conn_flush(struct conn *c);

/* Queue a control frame; one that was not begun is replaced. Nothing may be queued behind a Close frame. */
void conn_control(struct conn *c, enum frame_opcode opcode, const void *payload, size_t bytes);

/* Begin the closing handshake; raw: if the mode wants it, else just end. */
void conn_close(struct conn *c, uint16_t code);

/* It went wrong: count it, say why, forget the connection. */
void conn_failed(struct conn *c, enum bench_error error, const char *why);

/* Close the socket and free everything, counting nothing. */
void conn_end(struct conn *c);

#endif
