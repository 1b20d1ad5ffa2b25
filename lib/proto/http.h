/* The head of an HTTP message: bytes in, a refusal or a readable head out.
 *
 * A head is what stands before the first frame of a WebSocket: a request line or a status line, the header
 * fields and an empty line. A server reads the head of a request, a client that of a response. Reading stops
 * with the last byte of the head: what follows belongs to somebody else and is not consumed. Bodies are not
 * read: a request that has one is refused.
 *
 * Each byte is scanned once as it arrives, and http-parser runs once over the whole; what one of the two
 * refuses is refused. How the bytes were cut into pieces never changes the answer.
 *
 * A head keeps what it read until it is freed, in one buffer that grows up to the limit. All texts it gives
 * out are borrowed from it, hold no NUL and are followed by one, so that they are C strings too. */
#ifndef WEFT_PROTO_HTTP_H
#define WEFT_PROTO_HTTP_H

#include "proto/scan.h"
#include "proto/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum http_role {
    HTTP_ROLE_SERVER, /* reads a request */
    HTTP_ROLE_CLIENT  /* reads a response */
};

enum http_outcome {
    HTTP_MORE, /* the head is not complete */
    HTTP_DONE, /* it is, and can be looked at */
    HTTP_BAD   /* it will never be; see status, reason and error */
};

struct http_limits {
    size_t head_bytes_max; /* first line and headers, bytes, up to 65535; 0 means 8192 */
    size_t headers_max;    /* header fields, up to 1024; 0 means 64 */
};

/* Offsets into the kept bytes. */
struct http_field {
    uint16_t name_at, name_bytes, value_at, value_bytes;
};

struct http_head {
    /* For everyone to read.
     * status   server: after HTTP_BAD or a refusal what to answer, 101 after a valid upgrade, else 0
     *          client: the status of the response, 0 while it is not known
     * reason   a short English text for a log and the body of an answer; NULL while nothing is wrong
     * error    WEFT_OK, WEFT_E_PROTOCOL, WEFT_E_TOO_BIG, WEFT_E_NOMEM or, after a refusal, WEFT_E_REFUSED */
    int status;
    const char *reason;
    int error;

    /* Set with HTTP_DONE; the first five are NULL in a response. host is the authority of the target if it
     * has one, else the value of Host. A query is NULL when there is no '?' and does not contain it. Nothing
     * is percent-decoded. */
    const char *method;
    const char *target;
    const char *path;
    const char *query;
    const char *host;
    unsigned header_count;

    /* Private to http.c. */
    enum http_role role;
    enum http_outcome outcome;
    struct http_scan scan;
    bool blank_lines_over;
    uint8_t blank_bytes_left;
    uint8_t interim_left;
    unsigned headers_max;
    size_t count, room, count_max;
    char *bytes;
    struct http_field fields[];
};

/* Make a head to be read.
 *
 * limits   borrowed; NULL for the defaults
 * Returns  NULL when there is no memory */
struct http_head *http_head_new(enum http_role role, const struct http_limits *limits);
void http_head_free(struct http_head *h); /* NULL is allowed */

/* Read on.
 *
 * p, n     borrowed bytes as they came
 * used     out: how many of them belong to the head; all of them after HTTP_MORE, unspecified after HTTP_BAD
 * Returns  an enum http_outcome; the last two are final, a further call answers the same and uses nothing
 * Source   RFC 9112 sections 2 to 6, RFC 9110 sections 5 and 7 */
int http_head_feed(struct http_head *h, const uint8_t *p, size_t n, size_t *used);

/* Note a refusal of a complete head; the first one stays.
 *
 * Returns  error */
int http_head_refuse(struct http_head *h, int status, int error, const char *reason);

/* Is the method HEAD? The only other one that gets as far as HTTP_DONE is GET. True also in a request refused
 * after its method was read, for the answer must have no body then. */
bool http_head_is_head(const struct http_head *h);

/* The usual phrase of a status, such as "Not Found"; "Unknown" for a number without one. */
const char *http_status_phrase(int status);

#endif
