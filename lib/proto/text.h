/* The lexical ground of HTTP: pieces of text, byte classes, hosts. */
#ifndef WEFT_PROTO_TEXT_H
#define WEFT_PROTO_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A borrowed piece of text. p is NULL when there is none, which is not the same as an empty one (n is 0). */
struct http_text {
    const char *p;
    size_t n;
};

/* What a byte may be part of: a token, a field value (spaces, tabs and bytes from 0x80 included), a request
 * target. */
enum { HTTP_IN_TOKEN = 1, HTTP_IN_VALUE = 2, HTTP_IN_TARGET = 4 };
extern const uint8_t http_byte_class[256];

struct http_text http_text_of(const char *s); /* of a C string; NULL gives none */

/* Bytes at the start of p that belong to the class. */
size_t http_span(const char *p, size_t n, unsigned class);

bool http_is_token(struct http_text t); /* 1*tchar */
bool http_is_value(struct http_text t); /* may be empty; no CR, LF, NUL or other control character but tab */
bool http_is_ipv6(struct http_text t);  /* without brackets */
bool http_is_host(struct http_text t);  /* a name, an IPv4 address, or an IPv6 address in brackets */
bool http_is_authority(struct http_text t); /* host [":" port] */

bool http_equal(struct http_text a, struct http_text b);
bool http_equal_nocase(struct http_text a, struct http_text b); /* ASCII letters only, whatever the locale */

struct http_text http_trim(struct http_text t); /* without spaces and tabs at both ends */

struct http_target {
    struct http_text authority; /* p is NULL in the origin form */
    struct http_text path;      /* with the query; may be empty after an authority */
};

/* Take the origin form or the absolute form apart; false for anything else, since the authority and asterisk
 * forms belong to methods that are not served. */
bool http_split_target(struct http_text target, struct http_target *parts);

#endif
