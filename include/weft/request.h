/* A request that arrived: an opening handshake, or a plain HTTP request on the same port.
 *
 * on_request decides it, or takes a reference and lets any thread decide it later, within the open timeout.
 * Exactly one decision counts; what comes after it answers WEFT_E_STATE. A request that is let go without a
 * decision (no reference left, none made) is answered with 500. */
#ifndef WEFT_REQUEST_H
#define WEFT_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/compression.h"
#include "weft/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_request weft_request;

/* Keep the request beyond on_request, to decide it later; and give it back. NULL is allowed for unref.
 * Thread: any. Since: 0.1 */
WEFT_API weft_request *weft_request_ref(weft_request *r);
WEFT_API void weft_request_unref(weft_request *r);

/* What was asked. The strings live as long as the request. Thread: any holder. Since: 0.1 */
WEFT_API const char *weft_request_method(const weft_request *r); /* "GET" */
WEFT_API const char *weft_request_path(const weft_request *r);   /* as sent, not decoded: "/chat" */
WEFT_API const char *weft_request_query(const weft_request *r);  /* behind the '?', "" for none */
WEFT_API bool weft_request_is_upgrade(const weft_request *r);    /* a valid opening handshake */
WEFT_API const char *weft_request_peer(const weft_request *r);   /* "127.0.0.1:4711", "unix" */

/* The index-th header of that name (compared without case), NULL when there are fewer. Since: 0.1 */
WEFT_API const char *weft_request_header(const weft_request *r, const char *name, size_t index);

/* Does the client offer this subprotocol? Source: RFC 6455 section 11.3.4. Since: 0.1 */
WEFT_API bool weft_request_offers(const weft_request *r, const char *subprotocol);

typedef struct weft_header {
    const char *name;
    const char *value;
} weft_header;

/* What goes with an acceptance; all zero for nothing. */
typedef struct weft_accept {
    const char *subprotocol;     /* one that the client offered; NULL for none */
    const weft_header *headers;  /* extra ones for the response */
    size_t header_count;
    void *data;                  /* becomes weft_conn_data of the connection */
    const weft_compression *compression; /* for this connection; NULL or a window of 0: as the server's options say */
} weft_accept;

/* Accept the opening handshake. on_open and, later, on_close follow on WEFT_OK, even if the client goes
 * away at once.
 *
 * how      borrowed; NULL for a plain acceptance
 * Returns  WEFT_OK, WEFT_E_CLOSED (the client went away), WEFT_E_STATE (decided already, or not an upgrade),
 *          WEFT_E_INVAL (a subprotocol that was not offered, a header that cannot stand in a response, an
 *          option of compression out of range),
 *          WEFT_E_NOMEM
 * Thread   any
 * Source   RFC 6455 section 4.2.2
 * Since    0.1 */
WEFT_API int weft_request_accept(weft_request *r, const weft_accept *how);

/* Answer with a status and a body instead; the connection is closed behind the response.
 *
 * status   200 to 599
 * headers  borrowed; Content-Length, Connection, Transfer-Encoding and (with 426) Upgrade are the
 * library's: they are refused here
 * body     borrowed, bytes long; left out for HEAD, its length still given
 * Returns  as weft_request_accept
 * Thread   any
 * Source   RFC 6455 section 4.2.2, RFC 9110
 * Since    0.1 */
WEFT_API int weft_request_respond(weft_request *r, unsigned status, const weft_header *headers, size_t header_count,
                                  const void *body, size_t bytes);

/* Compare the request's HTTP Basic credentials with these, in constant time.
 *
 * Returns  true when both are equal; false otherwise and when the request carries none
 * Thread   any
 * Source   RFC 7617
 * Since    0.1 */
WEFT_API bool weft_request_basic_matches(const weft_request *r, const char *user, const char *password);

/* Answer 401 and ask for HTTP Basic credentials. Results and thread as weft_request_respond.
 *
 * realm    borrowed; printable ASCII without '"' and '\' */
WEFT_API int weft_request_challenge(weft_request *r, const char *realm);

#ifdef __cplusplus
}
#endif

#endif
