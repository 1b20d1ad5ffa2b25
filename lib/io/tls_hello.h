/* The server's name in a ClientHello, found before anything else is known of the connection.
 *
 * So the certificate is chosen, and memory for TLS spent, only when a whole ClientHello has come. */
#ifndef WEFT_IO_TLS_HELLO_H
#define WEFT_IO_TLS_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_RECORD_HEADER_BYTES 5u
#define TLS_RECORD_HANDSHAKE    22
#define TLS_RECORD_DATA         23
#define TLS_RECORD_PLAIN_MAX    16384u
#define TLS_RECORD_BYTES_MAX    (TLS_RECORD_PLAIN_MAX + 2048u) /* as TLS 1.2 allows it */
#define TLS_HELLO_BYTES_MAX     16384u
#define TLS_SERVER_NAME_MAX     255u

/* The handshake message that the records at p begin with, put together from as many of them as it takes.
 *
 * out      TLS_HELLO_BYTES_MAX bytes; out_bytes is how many were written
 * Returns  WEFT_OK, WEFT_E_AGAIN (cut off: more bytes are needed), WEFT_E_PROTOCOL (no ClientHello),
 *          WEFT_E_TOO_BIG */
int tls_hello_gather(const uint8_t *p, size_t n, uint8_t *out, size_t *out_bytes);

struct tls_hello {
    char name[TLS_SERVER_NAME_MAX + 1]; /* in lower case; "" when there is none, or one that no host has */
    bool offers_1_3;
};

/* What a gathered ClientHello says. WEFT_OK or WEFT_E_PROTOCOL. */
int tls_hello_read(const uint8_t *message, size_t n, struct tls_hello *out);

#endif
