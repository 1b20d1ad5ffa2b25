/* The header fields of a head that was read: looking them up, and the grammar of the lists in them.
 *
 * A list may be spread over several fields of one name and contain empty elements; an iterator passes over
 * both. It takes time in proportion to the bytes of the head, and what it yields is borrowed from there (not
 * followed by a NUL). */
#ifndef WEFT_PROTO_FIELD_H
#define WEFT_PROTO_FIELD_H

#include "proto/http.h"
#include "proto/text.h"

#include <stdbool.h>
#include <stddef.h>

/* Looking up after HTTP_DONE. Names are compared without case, values come without the blanks around them.
 *
 * http_head_value   the nth (from 0) field of that name, a C string too; p is NULL when there is none
 * http_head_fields  how many there are
 * http_head_at      the field at index, which must be below header_count; C strings too */
struct http_text http_head_value(const struct http_head *h, const char *name, size_t nth);
size_t http_head_fields(const struct http_head *h, const char *name);
void http_head_at(const struct http_head *h, unsigned index, struct http_text *name, struct http_text *value);

/* Private to field.c but for its size. */
struct http_list {
    const struct http_head *head; /* NULL: rest is all there is */
    struct http_text name;
    unsigned index; /* of the next field to look at */
    struct http_text rest;
};

void http_list_of_fields(struct http_list *l, const struct http_head *h,
                         const char *name); /* name is borrowed */
void http_list_of_text(struct http_list *l, struct http_text text);

/* The next element of a list of tokens, as in Connection and Sec-WebSocket-Protocol, or of protocols
 * (token ["/" token]), as in Upgrade.
 *
 * Returns  1 and the element; 0 at the end; -1 when the list breaks the grammar, and then again and again
 * Source   RFC 9110 sections 5.6.1, 5.6.2, 7.6.1 and 7.8 */
int http_list_token(struct http_list *l, struct http_text *token);
int http_list_protocol(struct http_list *l, struct http_text *protocol);

/* Does the list contain this token or protocol, without regard to case? The whole list is read.
 *
 * Returns  1, 0, or -1 when it breaks the grammar */
int http_list_has_token(struct http_list *l, const char *token);
int http_list_has_protocol(struct http_list *l, const char *protocol);

/* One element of Sec-WebSocket-Extensions; params is private. */
struct http_extension {
    struct http_text name;
    struct http_text params;
};

/* A parameter of it. value.p is NULL without "=". A value that was quoted comes without the quotes, but may
 * still hold backslashes; http_param_copy takes them out. What remains is a token. */
struct http_param {
    struct http_text name;
    struct http_text value;
};

/* The next extension, its parameters checked against the grammar already. Results as http_list_token.
 *
 * Source   RFC 6455 section 9.1 */
int http_list_extension(struct http_list *l, struct http_extension *e);

/* The next parameter of the extension, in order, repeated ones too; false when there are no more. */
bool http_extension_param(struct http_extension *e, struct http_param *param);

/* Copy the value of a parameter, without backslashes and with a NUL.
 *
 * Returns  its length; room or more when it was cut */
size_t http_param_copy(const struct http_param *param, char *out, size_t room);

#endif
