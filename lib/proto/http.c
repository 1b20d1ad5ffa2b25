/* Reads the head of a request or a response.
 *
 * http-parser as distributions build it is lenient: it takes bare LF, folded lines, blanks before the colon,
 * empty names, control characters in values and targets, and any version. So the scanner goes first, byte for
 * byte, and http-parser runs once over a head that the scanner found complete; it contributes the cut into
 * fields and its own checks of lengths and codings. They must agree on the target, on the number of fields
 * and on the end of the head, for disagreement between two parsers is how requests are smuggled.
 *
 *   I1  bytes[0..count) is what the scanner has passed, without empty lines before the first line;
 *   I2  count <= count_max, and one byte more than that must come before the head is called too large;
 *   I3  fields[] and the texts are set by finish() alone, behind its reserve(): bytes stays in place. */
#include "proto/http.h"

#include "base/mem.h"
#include "proto/field.h"
#include "weft/error.h"

#include <http_parser.h>
#include <string.h>

#define HEAD_BYTES_DEFAULT 8192
#define HEAD_BYTES_CEILING 65535 /* offsets have 16 bits; http-parser itself stops at 80 KiB */
#define HEADERS_DEFAULT    64
#define HEADERS_CEILING    1024
#define ROOM_BYTES_FIRST   1024
#define BLANK_BYTES_MAX    4 /* two empty lines before a request; RFC 9112 section 2.2 asks for one */
#define INTERIM_MAX        8 /* responses 100 to 199 before the one that counts */
#define LENGTH_DIGITS_MAX  18

static int fail(struct http_head *h, int status, int error, const char *reason)
{
    if (h->role == HTTP_ROLE_SERVER)
        h->status = status;
    h->reason = reason;
    h->error = error;
    h->outcome = HTTP_BAD;
    return HTTP_BAD;
}

static int fail_400(struct http_head *h, const char *reason)
{
    return fail(h, 400, WEFT_E_PROTOCOL, reason);
}

/* ---- life ---- */

static size_t limit_of(size_t asked, size_t fallback, size_t ceiling)
{
    if (asked == 0)
        return fallback;
    return asked < ceiling ? asked : ceiling;
}

static void begin(struct http_head *h)
{
    http_scan_init(&h->scan, h->role == HTTP_ROLE_CLIENT, h->headers_max);
    h->header_count = 0;
    h->count = 0;
}

struct http_head *http_head_new(enum http_role role, const struct http_limits *limits)
{
    static const struct http_limits none;
    const struct http_limits *l = limits ? limits : &none;
    size_t headers_max = limit_of(l->headers_max, HEADERS_DEFAULT, HEADERS_CEILING);
    struct http_head *h = mem_alloc(sizeof *h + headers_max * sizeof h->fields[0]);

    if (!h)
        return NULL;
    memset(h, 0, sizeof *h);
    h->role = role;
    h->headers_max = (unsigned)headers_max;
    h->count_max = limit_of(l->head_bytes_max, HEAD_BYTES_DEFAULT, HEAD_BYTES_CEILING);
    h->blank_bytes_left = role == HTTP_ROLE_SERVER ? BLANK_BYTES_MAX : 0;
    h->blank_lines_over = role == HTTP_ROLE_CLIENT;
    h->interim_left = INTERIM_MAX;
    begin(h);
    return h;
}

void http_head_free(struct http_head *h)
{
    if (!h)
        return;
    mem_free(h->bytes);
    mem_free(h);
}

static bool reserve(struct http_head *h, size_t more)
{
    size_t room = h->room ? h->room : ROOM_BYTES_FIRST;
    char *bytes;

    while (room < h->count + more)
        room *= 2;
    if (room == h->room)
        return true;
    bytes = mem_realloc(h->bytes, room);
    if (!bytes)
        return false;
    h->bytes = bytes;
    h->room = room;
    return true;
}

static int append(struct http_head *h, const char *p, size_t n)
{
    if (n == 0)
        return HTTP_MORE;
    if (!reserve(h, n))
        return fail(h, 503, WEFT_E_NOMEM, "out of memory");
    memcpy(h->bytes + h->count, p, n);
    h->count += n;
    return HTTP_MORE;
}

/* Whether the next byte must be LF is told by the parity of what is left. */
static size_t skip_blank_lines(struct http_head *h, const char *p, size_t n)
{
    size_t i = 0;

    for (; i < n && h->blank_bytes_left > 0; i++, h->blank_bytes_left--) {
        bool at_lf = h->blank_bytes_left % 2 == 1;

        if (p[i] != (at_lf ? '\n' : '\r')) {
            if (at_lf)
                fail_400(h, "CR without LF");
            break;
        }
    }
    h->blank_lines_over = i < n;
    return i;
}

/* ---- the first line ---- */

static bool method_is_known(struct http_text method)
{
    static const char *const known[] = {
#define METHOD_NAME(number, name, text) #text,
        HTTP_METHOD_MAP(METHOD_NAME)
#undef METHOD_NAME
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (http_equal(method, http_text_of(known[i])))
            return true;
    return false;
}

static int check_method(struct http_head *h)
{
    struct http_text method = {h->bytes, h->scan.target_at - 1u};

    if (http_equal(method, http_text_of("GET")) || http_equal(method, http_text_of("HEAD")))
        return HTTP_MORE;
    if (method_is_known(method))
        return fail(h, 405, WEFT_E_PROTOCOL, "only GET and HEAD are served");
    return fail(h, 501, WEFT_E_PROTOCOL, "unknown method");
}

static struct http_text target_of(const struct http_head *h)
{
    return (struct http_text){h->bytes + h->scan.target_at, h->scan.target_bytes};
}

static int check_request_line(struct http_head *h)
{
    struct http_target parts;

    if (h->scan.digit_count != 2 || h->scan.digits[0] != '1' || h->scan.digits[1] != '1')
        return fail(h, 505, WEFT_E_PROTOCOL, "only HTTP/1.1 is served");
    if (check_method(h) != HTTP_MORE)
        return HTTP_BAD;
    if (!http_split_target(target_of(h), &parts))
        return fail_400(h, "malformed request target");
    return HTTP_MORE;
}

/* Refusals may come from old servers and proxies, so 1.0 is read; the check of a 101 asks for 1.1. */
static int check_status_line(struct http_head *h)
{
    h->status = (h->scan.digits[2] - '0') * 100 + (h->scan.digits[3] - '0') * 10 + (h->scan.digits[4] - '0');
    if (h->scan.digits[0] != '1')
        return fail_400(h, "the response is not HTTP/1");
    if (h->status < 100 || h->status > 599)
        return fail_400(h, "the status is out of range");
    if (h->status == 101 && h->scan.digits[1] != '1')
        return fail_400(h, "only HTTP/1.1 can be upgraded");
    return HTTP_MORE;
}

static int check_line(struct http_head *h)
{
    h->scan.line_done = false;
    return h->role == HTTP_ROLE_SERVER ? check_request_line(h) : check_status_line(h);
}

/* ---- http-parser over the whole head ---- */

struct cut {
    struct http_head *head;
    bool complete;
};

static int on_url(http_parser *parser, const char *at, size_t n)
{
    struct http_text target = target_of(((struct cut *)parser->data)->head);

    return at != target.p || n != target.n;
}

static int on_field(http_parser *parser, const char *at, size_t n)
{
    struct http_head *h = ((struct cut *)parser->data)->head;
    struct http_field *f;

    if (h->header_count == h->headers_max)
        return 1;
    f = &h->fields[h->header_count++];
    f->name_at = (uint16_t)(at - h->bytes);
    f->name_bytes = (uint16_t)n;
    f->value_at = (uint16_t)(f->name_at + n);
    f->value_bytes = 0;
    return 0;
}

/* For an empty value http-parser points at the next line; the value then stays on the colon, as on_field put
 * it. */
static int on_value(http_parser *parser, const char *at, size_t n)
{
    struct http_head *h = ((struct cut *)parser->data)->head;
    struct http_text value = http_trim((struct http_text){at, n});
    struct http_field *f;

    if (h->header_count == 0)
        return 1;
    f = &h->fields[h->header_count - 1];
    if (value.n > 0) {
        f->value_at = (uint16_t)(value.p - h->bytes);
        f->value_bytes = (uint16_t)value.n;
    }
    return 0;
}

/* 2: there is neither a body nor a next message, stop behind this byte. */
static int on_complete(http_parser *parser)
{
    ((struct cut *)parser->data)->complete = true;
    return 2;
}

static int cut_into_fields(struct http_head *h)
{
    static const http_parser_settings settings = {.on_url = on_url,
                                                  .on_header_field = on_field,
                                                  .on_header_value = on_value,
                                                  .on_headers_complete = on_complete};
    struct cut cut = {.head = h};
    http_parser parser;
    size_t parsed;

    http_parser_init(&parser, h->role == HTTP_ROLE_SERVER ? HTTP_REQUEST : HTTP_RESPONSE);
    parser.data = &cut;
    parsed = http_parser_execute(&parser, &settings, h->bytes, h->count);
    if (HTTP_PARSER_ERRNO(&parser) > HPE_CB_chunk_complete)
        return fail_400(h, http_errno_description(HTTP_PARSER_ERRNO(&parser)));
    if (!cut.complete || parsed != h->count || h->header_count != h->scan.headers)
        return fail_400(h, "malformed head");
    return HTTP_MORE;
}

/* Every field is followed by a colon, a blank or a CR that nobody needs any more. */
static void terminate_fields(struct http_head *h)
{
    for (unsigned i = 0; i < h->header_count; i++) {
        h->bytes[h->fields[i].name_at + h->fields[i].name_bytes] = '\0';
        h->bytes[h->fields[i].value_at + h->fields[i].value_bytes] = '\0';
    }
}

/* ---- what a request must have ---- */

static int check_host(struct http_head *h)
{
    struct http_text host = http_head_value(h, "Host", 0);

    if (!host.p)
        return fail_400(h, "Host is missing");
    if (http_head_fields(h, "Host") > 1)
        return fail_400(h, "more than one Host");
    if (!http_is_authority(host))
        return fail_400(h, "malformed Host");
    h->host = host.p;
    return HTTP_MORE;
}

static bool is_length(struct http_text t)
{
    for (size_t i = 0; i < t.n; i++)
        if (t.p[i] < '0' || t.p[i] > '9')
            return false;
    return t.n > 0 && t.n <= LENGTH_DIGITS_MAX;
}

static bool is_zero(struct http_text t)
{
    size_t i = 0;

    while (i < t.n && t.p[i] == '0')
        i++;
    return i == t.n;
}

/* http-parser has refused lengths that contradict each other or a coding; this does not lean on it. */
static int check_no_body(struct http_head *h)
{
    struct http_text length = http_head_value(h, "Content-Length", 0);
    bool coded = http_head_value(h, "Transfer-Encoding", 0).p != NULL;

    if (http_head_fields(h, "Content-Length") > 1)
        return fail_400(h, "more than one Content-Length");
    if (length.p && !is_length(length))
        return fail_400(h, "malformed Content-Length");
    if (length.p && coded)
        return fail_400(h, "Content-Length beside Transfer-Encoding");
    if (coded || (length.p && !is_zero(length)))
        return fail(h, 413, WEFT_E_PROTOCOL, "a request with a body is not served");
    return HTTP_MORE;
}

/* Make a C string of a piece of the target that has no room for a NUL behind it; finish() reserved some. */
static const char *keep_copy(struct http_head *h, struct http_text t)
{
    char *copy = h->bytes + h->count;

    memcpy(copy, t.p, t.n);
    copy[t.n] = '\0';
    h->count += t.n + 1;
    return copy;
}

/* The copies of authority and path are together no longer than the target. */
static void name_parts(struct http_head *h)
{
    struct http_target parts;
    const char *mark;

    h->bytes[h->scan.target_at - 1] = '\0';
    h->bytes[h->scan.target_at + h->scan.target_bytes] = '\0';
    h->method = h->bytes;
    h->target = h->bytes + h->scan.target_at;
    http_split_target(target_of(h), &parts);
    if (parts.authority.p)
        h->host = keep_copy(h, parts.authority);
    mark = memchr(parts.path.p, '?', parts.path.n);
    h->query = mark ? mark + 1 : NULL;
    if (mark)
        parts.path.n = (size_t)(mark - parts.path.p);
    if (parts.path.n == 0)
        h->path = "/";
    else
        h->path = mark ? keep_copy(h, parts.path) : parts.path.p;
}

static int finish_request(struct http_head *h)
{
    if (check_host(h) != HTTP_MORE || check_no_body(h) != HTTP_MORE)
        return HTTP_BAD;
    name_parts(h);
    return HTTP_MORE;
}

/* Responses 100 and 103 may come before the one that counts; after any of them reading begins anew. */
static int skip_interim(struct http_head *h)
{
    if (h->interim_left == 0)
        return fail_400(h, "too many interim responses");
    h->interim_left--;
    begin(h);
    h->status = 0;
    return HTTP_MORE;
}

static int finish(struct http_head *h)
{
    int rc;

    if (!reserve(h, h->scan.target_bytes + 2u))
        return fail(h, 503, WEFT_E_NOMEM, "out of memory");
    rc = cut_into_fields(h);
    if (rc != HTTP_MORE)
        return rc;
    terminate_fields(h);
    if (h->role == HTTP_ROLE_CLIENT && h->status < 200 && h->status != 101)
        return skip_interim(h);
    if (h->role == HTTP_ROLE_SERVER && finish_request(h) != HTTP_MORE)
        return HTTP_BAD;
    h->outcome = HTTP_DONE;
    return HTTP_DONE;
}

/* ---- feeding ---- */

static int fail_too_big(struct http_head *h)
{
    if (h->role == HTTP_ROLE_SERVER && h->scan.in_first_line)
        return fail(h, 414, WEFT_E_TOO_BIG, "the request line is too long");
    return fail(h, 431, WEFT_E_TOO_BIG, "the head is too large");
}

/* One stretch that ends at the first line's end, at the end of the head or at the end of the piece. */
static size_t feed_some(struct http_head *h, const char *p, size_t n)
{
    size_t room = h->count_max - h->count, taken;

    if (!h->blank_lines_over)
        return skip_blank_lines(h, p, n);
    if (room == 0) {
        fail_too_big(h);
        return 0;
    }
    taken = http_scan_run(&h->scan, p, n < room ? n : room, h->count);
    if (h->scan.reason)
        fail(h, h->scan.status, h->scan.error, h->scan.reason);
    else if (append(h, p, taken) == HTTP_MORE && h->scan.line_done)
        check_line(h);
    else if (h->outcome == HTTP_MORE && h->scan.head_done)
        finish(h);
    return taken;
}

int http_head_feed(struct http_head *h, const uint8_t *p, size_t n, size_t *used)
{
    size_t i = 0;

    while (i < n && h->outcome == HTTP_MORE)
        i += feed_some(h, (const char *)p + i, n - i);
    *used = i;
    return h->outcome;
}

int http_head_refuse(struct http_head *h, int status, int error, const char *reason)
{
    if (h->error == WEFT_OK) {
        if (h->role == HTTP_ROLE_SERVER)
            h->status = status;
        h->reason = reason;
        h->error = error;
    }
    return h->error;
}

bool http_head_is_head(const struct http_head *h)
{
    return h->role == HTTP_ROLE_SERVER && !h->scan.in_first_line && h->scan.target_at == 5 && h->count > 5 &&
           memcmp(h->bytes, "HEAD", 4) == 0;
}

const char *http_status_phrase(int status)
{
    switch (status) {
#define STATUS_CASE(number, name, text)                                                                      \
    case number:                                                                                             \
        return #text;
        HTTP_STATUS_MAP(STATUS_CASE)
#undef STATUS_CASE
    default:
        return "Unknown";
    }
}
