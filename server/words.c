/* Names, messages and the rate limit; see words.h. */
#include "words.h"

/* The next code point of valid UTF-8; *text moves on by its length. */
static uint32_t next_point(const char **text)
{
    const unsigned char *s = (const unsigned char *)*text;
    unsigned length = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    uint32_t point = length == 1 ? s[0] : s[0] & (0x7fu >> length);

    for (unsigned i = 1; i < length; i++)
        point = point << 6 | (s[i] & 0x3f);
    *text += length;
    return point;
}

static bool is_control(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0);
}

/* Characters that take no ink. The joiners U+200C and U+200D are none of these: emoji and some scripts need
 * them. */
static bool is_invisible(uint32_t point)
{
    return point == 0x00ad || point == 0x061c || point == 0x180e || point == 0x200b || point == 0x200e ||
           point == 0x200f || (point >= 0x2028 && point <= 0x202e) || (point >= 0x2060 && point <= 0x206f) ||
           point == 0xfeff || (point >= 0xfff9 && point <= 0xfffb) || (point >= 0xe0000 && point <= 0xe007f);
}

static bool is_space(uint32_t point)
{
    return point == ' ' || point == '\n' || point == '\t' || point == 0x00a0 || point == 0x1680 ||
           (point >= 0x2000 && point <= 0x200a) || point == 0x2028 || point == 0x2029 || point == 0x202f ||
           point == 0x205f || point == 0x2800 || point == 0x3000 || point == 0x3164;
}

static bool is_joiner(uint32_t point)
{
    return point == 0x200c || point == 0x200d;
}

bool words_is_name(const char *text, size_t bytes, size_t bytes_max)
{
    const char *end = text + bytes;
    uint32_t point = ' ';

    if (bytes == 0 || bytes > bytes_max)
        return false;
    for (const char *at = text; at < end;) {
        bool is_first = at == text;
        point = next_point(&at);
        if (is_control(point) || is_invisible(point) || (is_first && (is_space(point) || is_joiner(point))))
            return false;
    }
    return !is_space(point) && !is_joiner(point);
}

bool words_is_message(const char *text, size_t bytes, size_t bytes_max)
{
    const char *end = text + bytes;
    bool is_blank = true;

    if (bytes > bytes_max)
        return false;
    for (const char *at = text; at < end;) {
        uint32_t point = next_point(&at);
        if (is_control(point) && point != '\n' && point != '\t')
            return false;
        is_blank &= is_space(point) || is_invisible(point) || is_joiner(point);
    }
    return !is_blank;
}

bool words_bucket_take(struct words_bucket *b, uint64_t now_ms, unsigned tokens, unsigned burst,
                       unsigned per_second)
{
    uint64_t wanted = (uint64_t)tokens * 1000u;
    uint64_t full = (uint64_t)burst * 1000u;
    uint64_t passed_ms = now_ms - b->at_ms;
    uint64_t refilled = passed_ms < full ? passed_ms * per_second : full; /* keeps the product small */

    b->at_ms = now_ms;
    b->missing = b->missing > refilled ? b->missing - refilled : 0;
    if (b->missing + wanted > full)
        return false;
    b->missing += wanted;
    return true;
}
