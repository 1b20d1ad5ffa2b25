/* The scanner of HTTP heads: a state machine over bytes that judges what may stand where. See http.h for its
 * user. */
#ifndef WEFT_PROTO_SCAN_H
#define WEFT_PROTO_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_scan {
    /* What was found. Digits are those of the version, in a response followed by those of the status. */
    bool line_done; /* the first line is complete; the user looks at it and takes the mark away */
    bool head_done;
    bool in_first_line;
    char digits[5];
    uint8_t digit_count; /* 0 behind a line that ends with the target, as HTTP/0.9 has it */
    uint16_t target_at, target_bytes;
    unsigned headers;

    /* What was refused; reason is NULL while nothing is. */
    const char *reason;
    int status; /* that a server would answer */
    int error;

    /* Private. */
    bool response;
    uint8_t state;
    uint8_t pattern_at;
    unsigned headers_max;
};

void http_scan_init(struct http_scan *s, bool response, unsigned headers_max);

/* Scan up to the end of the first line, of the head or of the piece, or to something bad.
 *
 * at       position of p in the head, below 65536
 * Returns  bytes scanned */
size_t http_scan_run(struct http_scan *s, const char *p, size_t n, size_t at);

#endif
