/* A TLS connection's state, and the bytes between it and the socket (io/tls_wire.c); what is agreed is
 * io/tls_shake.c's, what is encrypted io/tls.c's. */
#ifndef WEFT_IO_TLS_WIRE_H
#define WEFT_IO_TLS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/tls_hello.h"
#include "io/tls_private.h"

#define TLS_RECORD_ROOM (TLS_RECORD_HEADER_BYTES + TLS_RECORD_BYTES_MAX)

/* The buffers of a loop. Between two calls there is nothing in them. */
struct tls_scratch {
    size_t in_room, out_room;
    size_t in_start, in_end;
    size_t record_left; /* of the record that wolfSSL is being given */
    size_t out_end;
    uint8_t *in, *out;
    uint8_t plain[TLS_RECORD_PLAIN_MAX]; /* small pieces on their way into one record */
};

/* Bytes kept from one call to the next. */
struct tls_held {
    uint32_t bytes, offset;
    uint8_t data[];
};

enum tls_fault {
    FAULT_NONE,
    FAULT_WOLF, /* wolf_error says */
    FAULT_NOT_TLS,
    FAULT_PLAIN_HTTP,
    FAULT_PLAIN_ANSWER,
    FAULT_RECORD,
    FAULT_RECORD_SHORT,
    FAULT_HELLO,
    FAULT_HANDSHAKE_BYTES,
    FAULT_EMPTY_RECORDS,
    FAULT_NAME,
    FAULT_SIGNER,
    FAULT_UNVERIFIED,
    FAULT_SUITE,
    FAULT_MEMORY,
    FAULT_GONE,
};

struct tls {
    struct tls_context *context;
    struct WOLFSSL *ssl;         /* server: NULL until a whole ClientHello has come */
    struct tls_scratch *scratch; /* during a call only */
    struct tls_held *in, *out;
    char *host;    /* client: until the handshake is done, or as long as its session may be kept */
    char *subject; /* NULL: none */
    uint32_t handshake_bytes;
    uint32_t answer_bytes; /* of out, made by reading */
    uint16_t port;
    int wolf_error;
    uint8_t fault;
    uint8_t empty_records;
    bool is_done : 1;     /* with the handshake */
    bool is_checked : 1;  /* the peer's own certificate was, and what is asked of it here holds */
    bool has_end : 1;     /* the peer's close_notify came */
    bool is_finished : 1; /* ours was made */
    bool is_cut_off : 1;  /* the socket takes no more */
    bool may_have_more : 1;
    bool socket_has_more : 1; /* the last read took all that there was room for */
    bool has_ticket : 1;      /* client: a new one came */
    bool was_resumed : 1;
    bool has_alpn : 1;
    bool is_warming : 1; /* server: its client is the context itself, and is asked for no certificate */
};

/* The first fault is the one; what follows are its consequences. Returns what the caller answers. */
int tls_fail(struct tls *t, enum tls_fault fault);
int tls_fail_wolf(struct tls *t, int error); /* what wolfSSL says */
/* What the caller answers now; WEFT_OK without a fault. */
int tls_result(const struct tls *t);

/* A new client: what it says first. WEFT_OK, or no memory. */
int tls_shake_prepare(struct tls *t);

/* T1: at the beginning of each call that reads, and at its end. */
void tls_wire_begin(struct tls *t, struct tls_scratch *s);
void tls_wire_end(struct tls *t, struct tls_scratch *s);
/* More bytes behind those in the scratch, at most `most` altogether. WEFT_OK, WEFT_E_AGAIN, LINK_END or an error. */
int tls_wire_receive(struct tls *t, int fd, struct tls_scratch *s, size_t most);
/* T3: what the callbacks collected, behind what waits. WEFT_E_AGAIN: some waits now. */
int tls_wire_send(struct tls *t, int fd, struct tls_scratch *s);
/* Behind our close_notify, once it has left: no more is written. */
void tls_wire_finish(struct tls *t, int fd);
void tls_wire_free(struct tls *t);

#endif
