/* What the parts of url.h share: url.c takes a URL apart, url_percent.c knows its characters, url_reference.c resolves
 * one against another.
 *
 * Steps return the reason why they refuse, NULL when they do not: so each reason stands where it is found
 * out. */
#ifndef WEFT_PROTO_URL_PRIVATE_H
#define WEFT_PROTO_URL_PRIVATE_H

#include <string.h>

#include "proto/text.h"
#include "proto/url.h"

/* The reason that is not the URL's fault; told by its address. */
extern const char url_no_memory[];

/* The end of each call: WEFT_OK where there is no reason; else *u holds nothing, and *reason is set. */
int url_result(struct url *u, const char *why, const char **reason);

/* Fill *u, which holds nothing, also in part on failure. */
const char *url_take_apart(struct url *u, struct http_text t, unsigned schemes);
/* Bytes of "scheme:", 0 when the text does not begin with one. */
size_t url_scheme_bytes(struct http_text t);
const char *url_scheme_name(enum url_scheme scheme);

/* --- characters (url_percent.c) --- */

/* What holds for every part of a URL. */
const char *url_check_characters(struct http_text t);
/* Of checked characters: the text that they stand for, given to the caller. Refuses control characters. */
const char *url_decode(struct http_text t, char **out);
/* A copy that can stand in a request line, given to the caller: begins with '/', and what cannot stand there is
 * encoded. */
const char *url_encode_target(struct http_text t, char **out);

static inline bool url_is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool url_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static inline bool url_is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

/* Take away and return what stands before the first of these characters; all when there is none. */
static inline struct http_text url_cut_before(struct http_text *rest, const char *stops)
{
    struct http_text piece = {rest->p, 0};

    while (piece.n < rest->n && !strchr(stops, rest->p[piece.n]))
        piece.n++;
    rest->p += piece.n;
    rest->n -= piece.n;
    return piece;
}

static inline struct http_text url_without_first(struct http_text t, size_t n)
{
    return (struct http_text){t.p + n, t.n - n};
}

static inline bool url_starts_with(struct http_text t, const char *prefix)
{
    size_t n = strlen(prefix);

    return t.n >= n && memcmp(t.p, prefix, n) == 0;
}

#endif
