/* Names, messages and the rate limit; see words.h. */
#include "words.h"

#include <stdlib.h>
#include <string.h>
#ifdef WEFT_UNISTRING
#include <uninorm.h>
#endif

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

struct range {
    uint32_t first, last;
};

static bool is_in(uint32_t point, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (point >= ranges[i].first && point <= ranges[i].last)
            return true;
    return false;
}
#define IS_IN(point, ranges) is_in(point, ranges, sizeof(ranges) / sizeof(ranges)[0])

/* Characters that take no ink: what is Default_Ignorable, line separators, marks of annotations and what never is a
 * character. The joiners U+200C and U+200D are not here: emoji and some scripts need them.
 * Source: DerivedCoreProperties.txt of Unicode 15.1 */
static bool is_invisible(uint32_t point)
{
    static const struct range ranges[] = {
        {0x00ad, 0x00ad}, {0x034f, 0x034f},   {0x061c, 0x061c},   {0x115f, 0x1160},   {0x17b4, 0x17b5},
        {0x180b, 0x180f}, {0x200b, 0x200b},   {0x200e, 0x200f},   {0x2028, 0x202e},   {0x2060, 0x206f},
        {0x3164, 0x3164}, {0xfdd0, 0xfdef},   {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},   {0xffa0, 0xffa0},
        {0xfff0, 0xfffb}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
    };

    return IS_IN(point, ranges) || (point & 0xfffe) == 0xfffe;
}

/* A joiner shows where it joins: in Arabic, in the scripts of India and their neighbours, and between emoji. Anywhere
 * else it only makes one name look like another. */
static bool takes_joiner(uint32_t point)
{
    static const struct range ranges[] = {{0x0600, 0x109f},   {0x1780, 0x18af},  {0x1b00, 0x1c7f},
                                          {0x2190, 0x2bff},   {0xa840, 0xabff},  {0x11000, 0x11fff},
                                          {0x1e900, 0x1e95f}, {0x1f000, 0x1faff}};

    return IS_IN(point, ranges);
}

static bool is_space(uint32_t point)
{
    return point == ' ' || point == '\n' || point == '\t' || point == 0x00a0 || point == 0x1680 ||
           (point >= 0x2000 && point <= 0x200a) || point == 0x2028 || point == 0x2029 || point == 0x202f ||
           point == 0x205f || point == 0x2800 || point == 0x3000;
}

static bool is_joiner(uint32_t point)
{
    return point == 0x200c || point == 0x200d;
}

bool words_is_name(const char *text, size_t bytes, size_t bytes_max)
{
    const char *end = text + bytes;
    uint32_t before = ' ', point = ' ';

    if (bytes == 0 || bytes > bytes_max)
        return false;
    for (const char *at = text; at < end; before = point) {
        bool is_first = at == text;
        point = next_point(&at);
        if (is_control(point) || is_invisible(point) || point == 0x2800 || (is_first && is_space(point)))
            return false;
        if (is_joiner(point) ? !takes_joiner(before) : is_joiner(before) && !takes_joiner(point))
            return false;
    }
    return !is_space(point) && !is_joiner(point);
}

#ifdef WEFT_UNISTRING
/* What does not fit comes in memory of its own. */
bool words_normalize(const char *text, size_t bytes, char *out, size_t room)
{
    size_t length = room - 1;
    uint8_t *to = (uint8_t *)out,
            *made = u8_normalize(UNINORM_NFC, (const uint8_t *)text, bytes, to, &length);

    if (made != to) {
        free(made);
        return false;
    }
    out[length] = '\0';
    return true;
}
#else
bool words_normalize(const char *text, size_t bytes, char *out, size_t room)
{
    if (bytes >= room)
        return false;
    memcpy(out, text, bytes);
    out[bytes] = '\0';
    return true;
}
#endif

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
