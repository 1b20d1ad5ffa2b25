/* Scans the head of a request or a response; the strict half of the two parsers that http.c describes.
 *
 * Each step takes a run of bytes of one kind and returns its length, so that names and values cost one
 * look-up a byte. */
#include "proto/scan.h"

#include "proto/text.h"
#include "weft/error.h"

#include <string.h>

#define METHOD_BYTES_MAX 24 /* longer than any known one */

enum state {
    IN_METHOD,
    IN_TARGET,
    IN_PATTERN, /* a version, and in a response the status */
    IN_STATUS_END,
    IN_PHRASE,
    AT_LINE_LF, /* behind the CR of the first line */
    AT_FIELD,   /* first byte of a header line */
    IN_NAME,
    IN_VALUE,
    AT_FIELD_LF,
    AT_END_LF /* behind the CR of the empty line */
};

/* '#' stands for any digit, which is kept. */
static const char request_pattern[] = "HTTP/#.#\r\n";
static const char response_pattern[] = "HTTP/#.# ###";

static void fail(struct http_scan *s, int status, int error, const char *reason)
{
    s->status = status;
    s->error = error;
    s->reason = reason;
}

static void fail_400(struct http_scan *s, const char *reason)
{
    fail(s, 400, WEFT_E_PROTOCOL, reason);
}

void http_scan_init(struct http_scan *s, bool response, unsigned headers_max)
{
    *s = (struct http_scan){.response = response, .headers_max = headers_max, .in_first_line = true};
    s->state = response ? IN_PATTERN : IN_METHOD;
}

static size_t scan_method(struct http_scan *s, const char *p, size_t n, size_t at)
{
    size_t run = http_span(p, n, HTTP_IN_TOKEN);

    if (at + run > METHOD_BYTES_MAX)
        fail(s, 501, WEFT_E_PROTOCOL, "unknown method");
    else if (run < n && (p[run] != ' ' || at + run == 0))
        fail_400(s, "malformed method");
    else if (run < n) {
        s->state = IN_TARGET;
        s->target_at = (uint16_t)(at + ++run);
    }
    return run;
}

/* A line that ends with the target is a request of HTTP/0.9; it keeps its digits empty. */
static size_t scan_target(struct http_scan *s, const char *p, size_t n, size_t at)
{
    size_t run = http_span(p, n, HTTP_IN_TARGET);

    if (run == n)
        return run;
    s->target_bytes = (uint16_t)(at + run - s->target_at);
    if (s->target_bytes == 0)
        fail_400(s, "the request target is missing");
    else if (p[run] == ' ')
        s->state = IN_PATTERN;
    else if (p[run] == '\r')
        s->state = AT_LINE_LF;
    else
        fail_400(s, p[run] == '#' ? "a fragment in the request target"
                                  : "forbidden character in the request target");
    return run + 1;
}

static void end_line(struct http_scan *s)
{
    s->state = AT_FIELD;
    s->in_first_line = false;
    s->line_done = true;
}

static size_t scan_pattern(struct http_scan *s, char c)
{
    const char *pattern = s->response ? response_pattern : request_pattern;
    char wanted = pattern[s->pattern_at++];
    bool digit = wanted == '#' && c >= '0' && c <= '9';

    if (digit)
        s->digits[s->digit_count++] = c;
    else if (wanted == '#' || c != wanted)
        fail_400(s, s->response ? "malformed status line" : "malformed request line");
    if (pattern[s->pattern_at] == '\0' && s->response)
        s->state = IN_STATUS_END;
    else if (pattern[s->pattern_at] == '\0')
        end_line(s);
    return 1;
}

/* Behind the status: a blank and a phrase, or, as some servers have it, nothing at all. */
static size_t scan_status_end(struct http_scan *s, char c)
{
    if (c == ' ')
        s->state = IN_PHRASE;
    else if (c == '\r')
        s->state = AT_LINE_LF;
    else
        fail_400(s, "malformed status line");
    return 1;
}

static size_t scan_lf(struct http_scan *s, char c)
{
    if (c != '\n')
        fail_400(s, "CR without LF");
    else if (s->state == AT_LINE_LF)
        end_line(s);
    else if (s->state == AT_FIELD_LF)
        s->state = AT_FIELD;
    else
        s->head_done = true;
    return 1;
}

static size_t scan_field_start(struct http_scan *s, char c)
{
    if (c == '\r') {
        s->state = AT_END_LF;
        return 1;
    }
    if (c == ' ' || c == '\t')
        fail_400(s, "a folded header line");
    else if (c == ':')
        fail_400(s, "a header without a name");
    else if (c == '\n')
        fail_400(s, "LF without CR");
    else if (s->headers++ == s->headers_max)
        fail(s, 431, WEFT_E_TOO_BIG, "too many headers");
    s->state = IN_NAME;
    return 0;
}

static size_t scan_name(struct http_scan *s, const char *p, size_t n)
{
    size_t run = http_span(p, n, HTTP_IN_TOKEN);

    if (run == n)
        return run;
    if (p[run] == ':')
        s->state = IN_VALUE;
    else
        fail_400(s, p[run] == ' ' || p[run] == '\t' ? "a blank before the colon of a header"
                                                    : "forbidden character in a header name");
    return run + 1;
}

/* A value or the phrase of a status line: both run to the CR. */
static size_t scan_value(struct http_scan *s, const char *p, size_t n, enum state next)
{
    size_t run = http_span(p, n, HTTP_IN_VALUE);

    if (run == n)
        return run;
    if (p[run] == '\r')
        s->state = (uint8_t)next;
    else
        fail_400(s, p[run] == '\n' ? "LF without CR" : "control character in a header");
    return run + 1;
}

static size_t scan_step(struct http_scan *s, const char *p, size_t n, size_t at)
{
    switch ((enum state)s->state) {
    case IN_METHOD:
        return scan_method(s, p, n, at);
    case IN_TARGET:
        return scan_target(s, p, n, at);
    case IN_PATTERN:
        return scan_pattern(s, *p);
    case IN_STATUS_END:
        return scan_status_end(s, *p);
    case IN_PHRASE:
        return scan_value(s, p, n, AT_LINE_LF);
    case AT_FIELD:
        return scan_field_start(s, *p);
    case IN_NAME:
        return scan_name(s, p, n);
    case IN_VALUE:
        return scan_value(s, p, n, AT_FIELD_LF);
    case AT_LINE_LF:
    case AT_FIELD_LF:
    case AT_END_LF:
        break;
    }
    return scan_lf(s, *p);
}

size_t http_scan_run(struct http_scan *s, const char *p, size_t n, size_t at)
{
    size_t i = 0;

    while (i < n && !s->reason && !s->line_done && !s->head_done)
        i += scan_step(s, p + i, n - i, at + i);
    return i;
}
