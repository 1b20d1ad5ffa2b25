/* The body of a response; see body.h. */
#include "proto/body.h"

#include <string.h>

#include "base/mem.h"
#include "proto/field.h"
#include "proto/text.h"

enum { STEP_SIZE, STEP_EXTENSION, STEP_SIZE_LF, STEP_DATA, STEP_DATA_CR, STEP_DATA_LF };

#define SIZE_DIGITS_MAX 15

static bool read_length(const struct http_head *h, uint64_t *length)
{
    struct http_text t = http_head_value(h, "Content-Length", 0);
    uint64_t n = 0;

    if (!t.n || t.n > 18)
        return false;
    for (size_t i = 0; i < t.n; i++) {
        if (t.p[i] < '0' || t.p[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(t.p[i] - '0');
    }
    *length = n;
    return true;
}

void body_init(struct body *b, const struct http_head *h, size_t bytes_max)
{
    struct http_text coding = http_head_value(h, "Transfer-Encoding", 0);

    *b = (struct body){.bytes_max = bytes_max};
    if (coding.p && http_equal_nocase(coding, http_text_of("chunked"))) {
        b->kind = BODY_CHUNKED;
    } else if (!coding.p && read_length(h, &b->left)) {
        b->kind = BODY_LENGTH;
        b->is_over = b->left == 0;
    }
    if (h->status == 204 || h->status == 304)
        b->is_over = true;
}

static bool make_room(struct body *b, size_t n)
{
    size_t room = b->room ? b->room : 512;
    uint8_t *more;

    if (b->count + n <= b->room)
        return true;
    while (room < b->count + n)
        room *= 2;
    more = mem_realloc(b->bytes, room);
    if (!more)
        return false;
    b->bytes = more;
    b->room = room;
    return true;
}

static void keep(struct body *b, const uint8_t *p, size_t n)
{
    size_t wanted = b->bytes_max - b->count < n ? b->bytes_max - b->count : n;

    if (!make_room(b, wanted)) {
        b->is_over = true;
        return;
    }
    memcpy(b->bytes + b->count, p, wanted);
    b->count += wanted;
    b->is_over = b->count == b->bytes_max;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of what stands between the data of two chunks. */
static void feed_frame(struct body *b, uint8_t c)
{
    int digit = hex_digit(c);

    if (b->step == STEP_SIZE && digit >= 0 && b->digits < SIZE_DIGITS_MAX) {
        b->left = b->left << 4 | (unsigned)digit;
        b->digits++;
    } else if (b->step == STEP_SIZE && b->digits && (c == ';' || c == ' ' || c == '\t')) {
        b->step = STEP_EXTENSION;
    } else if ((b->step == STEP_SIZE && b->digits && c == '\r') || (b->step == STEP_EXTENSION && c == '\r')) {
        b->step = STEP_SIZE_LF;
    } else if (b->step == STEP_SIZE_LF && c == '\n') {
        b->step = STEP_DATA;
        b->digits = 0;
        b->is_over = b->left == 0;
    } else if (b->step == STEP_DATA_CR && c == '\r') {
        b->step = STEP_DATA_LF;
    } else if (b->step == STEP_DATA_LF && c == '\n') {
        b->step = STEP_SIZE;
    } else if (b->step != STEP_EXTENSION) {
        b->is_over = true; /* not by the grammar: what came before is what there is */
    }
}

static size_t feed_counted(struct body *b, const uint8_t *p, size_t n)
{
    size_t piece = b->left < n ? (size_t)b->left : n;

    keep(b, p, piece);
    b->left -= piece;
    return piece;
}

static size_t feed_chunked(struct body *b, const uint8_t *p, size_t n)
{
    size_t piece;

    if (b->step != STEP_DATA) {
        feed_frame(b, *p);
        return 1;
    }
    piece = feed_counted(b, p, n);
    if (!b->left)
        b->step = STEP_DATA_CR;
    return piece;
}

bool body_feed(struct body *b, const uint8_t *p, size_t n)
{
    while (n && !b->is_over) {
        size_t piece = n;
        if (b->kind == BODY_CHUNKED)
            piece = feed_chunked(b, p, n);
        else if (b->kind == BODY_LENGTH)
            piece = feed_counted(b, p, n);
        else
            keep(b, p, n);
        if (b->kind == BODY_LENGTH && !b->left)
            b->is_over = true;
        p += piece;
        n -= piece;
    }
    return !b->is_over;
}
