/* The body of an HTTP response, as far as it is wanted: bytes in, kept up to a limit.
 *
 * The length comes from Content-Length, from the chunks of a chunked body, or from the end of the stream.
 * Trailers are not read. Source: RFC 9112 sections 6.3, 7.1 */
#ifndef WEFT_PROTO_BODY_H
#define WEFT_PROTO_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/http.h"

enum body_kind { BODY_UNTIL_END, BODY_LENGTH, BODY_CHUNKED };

struct body {
    uint8_t *bytes; /* kept so far; the owner frees it (mem_free) */
    size_t count, room;
    size_t bytes_max;
    enum body_kind kind;
    uint64_t left;     /* of the length or of the chunk */
    uint8_t step;      /* BODY_CHUNKED: what comes next */
    uint8_t digits;    /* of the chunk's size */
    bool is_over;      /* complete, broken, or as much as is wanted */
};

/* h: a response head read to HTTP_DONE. */
void body_init(struct body *b, const struct http_head *h, size_t bytes_max);
/* True: more may come. False: it is over, whatever is fed. Without memory it is over too. */
bool body_feed(struct body *b, const uint8_t *p, size_t n);

#endif
