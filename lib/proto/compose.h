/* Writes the messages of the opening handshake: the request of a client, the answers of a server.
 *
 * Each function allocates one block of exactly the right size, given to the caller (mem_free). What comes
 * from the program is checked, so that no value can end a header and begin another one. Results of all of
 * them:
 *
 *   WEFT_OK       *out and *out_bytes are set
 *   WEFT_E_INVAL  something cannot stand where it was to stand; a header that is written here itself also
 * counts WEFT_E_NOMEM  no memory */
#ifndef WEFT_PROTO_COMPOSE_H
#define WEFT_PROTO_COMPOSE_H

#include "proto/handshake.h"
#include "proto/http.h"
#include "weft/request.h"

#include <stddef.h>
#include <stdint.h>

/* All borrowed; zero and NULL for none. */
struct http_accept {
    const char *subprotocol; /* one that the client offers */
    const char *extensions;  /* value of Sec-WebSocket-Extensions */
    const weft_header *headers;
    size_t header_count;
};

struct http_answer {
    int status;         /* 200 to 599 */
    const char *phrase; /* NULL for the usual one */
    const weft_header *headers;
    size_t header_count;
    const void *body; /* none with 204, 205 and 304 */
    size_t body_bytes;
};

/* The 101 that accepts an opening handshake.
 *
 * h        for which http_check_upgrade answered HTTP_UPGRADE
 * Source   RFC 6455 section 4.2.2 */
int http_compose_accept(const struct http_head *h, const struct http_accept *a, uint8_t **out,
                        size_t *out_bytes);

/* Any other answer; the connection is to be closed behind it, and it says so. Content-Length is added, to 405
 * Allow unless it is among the headers, to 426 Upgrade and Sec-WebSocket-Version.
 *
 * h        the request, in whatever state; an answer to HEAD is written without the body
 * Source   RFC 9112, RFC 9110 sections 8.6, 9.3.2, 15.5.6 and 15.5.22, RFC 6455 section 4.4 */
int http_compose_answer(const struct http_head *h, const struct http_answer *a, uint8_t **out,
                        size_t *out_bytes);

/* The answer to a head that was HTTP_BAD or HTTP_REFUSED: its status, with its reason as the body. */
int http_compose_refusal(const struct http_head *h, uint8_t **out, size_t *out_bytes);

/* The opening handshake of a client.
 *
 * Source   RFC 6455 section 4.1 */
int http_compose_request(const struct http_request *r, uint8_t **out, size_t *out_bytes);

#endif
