/* The opening handshake: is this head one, and does its sender get in?
 *
 * Everything here looks at heads that were read to HTTP_DONE; compose.h writes the other side's. */
#ifndef WEFT_PROTO_HANDSHAKE_H
#define WEFT_PROTO_HANDSHAKE_H

#include "proto/http.h"
#include "proto/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_KEY_BYTES        16
#define HTTP_KEY_CHARS        24
#define HTTP_ACCEPT_CHARS     28
#define HTTP_SUBPROTOCOLS_MAX 64   /* in one handshake */
#define HTTP_BASIC_BYTES_MAX  1024 /* user, colon and password */

enum http_kind {
    HTTP_PLAIN,   /* a request that does not ask for WebSocket */
    HTTP_UPGRADE, /* a valid opening handshake; status is 101 */
    HTTP_REFUSED  /* an opening handshake that is wrong; status and reason say what to answer */
};

/* What a client asks for. Everything is borrowed; 0 and NULL mean none where nothing else is said. */
struct http_request {
    const char *host;            /* a name or an address, IPv6 with or without brackets */
    unsigned port;               /* 0 means the default of the scheme */
    bool secure;                 /* wss: the default port, which Host does not name, is 443 instead of 80 */
    const char *target;          /* path and query; NULL means "/" */
    uint8_t key[HTTP_KEY_BYTES]; /* random, new for each connection */
    const char *const *subprotocols; /* in order of preference */
    size_t subprotocol_count;
    const char *extensions; /* value of Sec-WebSocket-Extensions */
    const char *origin;
    const struct weft_header *headers; /* extra ones */
    size_t header_count;
};

/* Server: is this request an opening handshake, and a valid one?
 *
 * h        read to HTTP_DONE
 * Returns  an enum http_kind; a refusal is kept in h with status 400, 405 or 426
 * Source   RFC 6455 sections 4.1, 4.2.1, 4.4 and 11.3 */
int http_check_upgrade(struct http_head *h);

/* Does the client offer this subprotocol? Compared with case. */
bool http_offers_subprotocol(const struct http_head *h, const char *subprotocol);

/* Client: does this response accept the request?
 *
 * What was chosen stands in the fields Sec-WebSocket-Protocol and Sec-WebSocket-Extensions of h. That each
 * accepted extension was offered is checked here, its parameters are not.
 *
 * Returns  WEFT_OK
 *          WEFT_E_REFUSED   a status other than 101; status, reason and the headers stay readable
 *          WEFT_E_PROTOCOL  101, but not the answer to this request
 * Source   RFC 6455 section 4.1 */
int http_check_response(struct http_head *h, const struct http_request *r);

/* Sec-WebSocket-Accept for the text of a Sec-WebSocket-Key of HTTP_KEY_CHARS characters. */
void http_accept_value(const char *key, char out[HTTP_ACCEPT_CHARS + 1]);

/* Compare the HTTP Basic credentials of a request with these, in constant time.
 *
 * Credentials of more than HTTP_BASIC_BYTES_MAX bytes match nothing, nor does a user with a colon in it.
 *
 * Returns  true when both are equal; false otherwise, and when there are none, or two, or malformed ones
 * Source   RFC 7617 */
bool http_basic_matches(const struct http_head *h, const char *user, const char *password);

/* May a page of this origin open a connection?
 *
 * origins  serialized as browsers do, "https://example.org" or "http://localhost:8080", no slash behind;
 * compared whole, without case. "null" allows the pages that have no origin of their own. Returns  true when
 * Origin is one of them, and also when there is no Origin: only browsers send it, and only they need this
 * check; any other program could send whatever it likes. Two Origin fields are never allowed. Source   RFC
 * 6455 sections 4.2.2 and 10.2, RFC 6454 section 7 */
bool http_origin_allowed(const struct http_head *h, const char *const *origins, size_t count);

#endif
