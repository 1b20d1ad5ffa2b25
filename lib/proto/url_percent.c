/* Which characters a URL may have, and percent-encoding; see url_private.h. */
#include "proto/url_private.h"

#include <string.h>

#include "base/mem.h"
#include "proto/utf8.h"

static int hex_value(char c)
{
    if (url_is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

const char *url_check_characters(struct http_text t)
{
    struct utf8_state utf8 = {0};

    if (t.n > URL_BYTES_MAX)
        return "the URL is too long";
    for (size_t i = 0; i < t.n; i++) {
        if (url_is_control(t.p[i]))
            return "a control character in the URL";
        if (t.p[i] == ' ')
            return "a space in the URL";
        if (t.p[i] == '%' && (t.n - i < 3 || hex_value(t.p[i + 1]) < 0 || hex_value(t.p[i + 2]) < 0))
            return "a '%' without two hexadecimal digits in the URL";
    }
    if (!utf8_feed(&utf8, (const uint8_t *)t.p, t.n) || !utf8_is_complete(&utf8))
        return "the URL is not UTF-8";
    return NULL;
}

/* The text is known to have two digits behind each '%'. */
const char *url_decode(struct http_text t, char **out)
{
    char *p = mem_alloc(t.n + 1);
    size_t n = 0;

    if (!p)
        return url_no_memory;
    for (size_t i = 0; i < t.n; i++) {
        char c = t.p[i];

        if (c == '%') {
            c = (char)(hex_value(t.p[i + 1]) * 16 + hex_value(t.p[i + 2]));
            i += 2;
        }
        if (url_is_control(c)) {
            mem_free(p);
            return "a percent-encoded control character where none may be";
        }
        p[n++] = c;
    }
    p[n] = '\0';
    *out = p;
    return NULL;
}

static bool must_be_encoded(char c)
{
    return (unsigned char)c >= 0x80 || strchr("\"<>\\^`{|}", c);
}

const char *url_encode_target(struct http_text t, char **out)
{
    static const char digits[] = "0123456789ABCDEF";
    bool needs_slash = t.n == 0 || t.p[0] != '/';
    size_t n = t.n + needs_slash;
    char *p;

    for (size_t i = 0; i < t.n; i++)
        n += must_be_encoded(t.p[i]) ? 2 : 0;
    *out = p = mem_alloc(n + 1);
    if (!p)
        return url_no_memory;
    if (needs_slash)
        *p++ = '/';
    for (size_t i = 0; i < t.n; i++) {
        unsigned char c = (unsigned char)t.p[i];

        if (must_be_encoded(t.p[i])) {
            *p++ = '%';
            *p++ = digits[c >> 4];
            *p++ = digits[c & 15];
        } else {
            *p++ = t.p[i];
        }
    }
    *p = '\0';
    return NULL;
}
