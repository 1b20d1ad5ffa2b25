/* UTF-8, escapes and hexadecimal digits; see text.h. */
#include "text.h"

#include <string.h>

/* The least code point that needs so many bytes: a longer form of a smaller one is a fault. */
static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

static size_t length_by_first(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

size_t text_next(const char *at, size_t bytes, uint32_t *point)
{
    const unsigned char *s = (const unsigned char *)at;
    size_t length = bytes ? length_by_first(s[0]) : 0;
    uint32_t p;

    if (length == 0 || length > bytes)
        return 0;
    p = length == 1 ? s[0] : s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        p = p << 6 | (s[i] & 0x3fu);
    }
    if (p < least[length] || p > 0x10ffff || (p >= 0xd800 && p < 0xe000))
        return 0;
    *point = p;
    return length;
}

size_t text_valid_bytes(const char *text, size_t bytes)
{
    size_t at = 0;
    uint32_t point;

    while (at < bytes) {
        size_t length = text_next(text + at, bytes - at, &point);
        if (length == 0)
            break;
        at += length;
    }
    return at;
}

static bool is_mark_of_direction(uint32_t point)
{
    return point == 0x061c || point == 0x200e || point == 0x200f || (point >= 0x202a && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069);
}

static bool needs_escape(uint32_t point)
{
    if (point < 0x20)
        return point != '\t';
    return (point >= 0x7f && point < 0xa0) || point == 0x2028 || point == 0x2029 ||
           is_mark_of_direction(point);
}

static void put_escape(struct buffer *out, uint32_t point)
{
    static const char letters[] = "btnvfr"; /* from backspace to carriage return; JSON has no \v */

    if (point >= '\b' && point <= '\r' && point != '\v')
        buffer_print(out, "\\%c", letters[point - '\b']);
    else
        buffer_print(out, "\\u%04x", (unsigned)point);
}

void text_put_escaped(struct buffer *out, const char *text, size_t bytes)
{
    size_t kept = 0; /* from here to at nothing needs an escape, and nothing has been put yet */
    size_t at = 0;

    while (at < bytes) {
        uint32_t point = 0;
        size_t length = text_next(text + at, bytes - at, &point);
        if (length && !needs_escape(point)) {
            at += length;
            continue;
        }
        buffer_put(out, text + kept, at - kept);
        if (length)
            put_escape(out, point);
        else
            buffer_print(out, "\\x%02x", (unsigned char)text[at]);
        at += length ? length : 1;
        kept = at;
    }
    buffer_put(out, text + kept, at - kept);
}

void text_put_hex(struct buffer *out, const void *data, size_t bytes, bool gap)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *from = data;
    char *to = buffer_reserve(out, bytes * 3);
    char *begin = to;

    if (!to)
        return;
    for (size_t i = 0; i < bytes; i++) {
        if (gap && i)
            *to++ = ' ';
        *to++ = digits[from[i] >> 4];
        *to++ = digits[from[i] & 15];
    }
    buffer_grew(out, (size_t)(to - begin));
}

static int value_of(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    return digit >= 'A' && digit <= 'F' ? digit - 'A' + 10 : -1;
}

bool text_read_hex(struct buffer *out, const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes;) {
        int high, low;
        char byte;
        if (text[i] == ' ' || text[i] == '\t' || text[i] == '\r') {
            i++;
            continue;
        }
        high = value_of(text[i]);
        low = i + 1 < bytes ? value_of(text[i + 1]) : -1;
        if (high < 0 || low < 0)
            return false;
        byte = (char)(high << 4 | low);
        buffer_put(out, &byte, 1);
        i += 2;
    }
    return true;
}
