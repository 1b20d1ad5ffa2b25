/* Looks up header fields and reads the lists in them.
 *
 * Blanks are allowed around ";" and "=" in extensions: RFC 6455 builds on RFC 2616, where they are implied.
 */
#include "proto/field.h"

#include <string.h>

static struct http_text text_at(const struct http_head *h, uint16_t at, uint16_t n)
{
    return (struct http_text){h->bytes + at, n};
}

void http_head_at(const struct http_head *h, unsigned index, struct http_text *name, struct http_text *value)
{
    const struct http_field *f = &h->fields[index];

    *name = text_at(h, f->name_at, f->name_bytes);
    *value = text_at(h, f->value_at, f->value_bytes);
}

struct http_text http_head_value(const struct http_head *h, const char *name, size_t nth)
{
    struct http_text wanted = http_text_of(name), found, value;

    for (unsigned i = 0; i < h->header_count; i++) {
        http_head_at(h, i, &found, &value);
        if (http_equal_nocase(found, wanted) && nth-- == 0)
            return value;
    }
    return (struct http_text){NULL, 0};
}

size_t http_head_fields(const struct http_head *h, const char *name)
{
    struct http_text wanted = http_text_of(name), found, value;
    size_t count = 0;

    for (unsigned i = 0; i < h->header_count; i++) {
        http_head_at(h, i, &found, &value);
        count += http_equal_nocase(found, wanted);
    }
    return count;
}

/* ---- lists ---- */

void http_list_of_fields(struct http_list *l, const struct http_head *h, const char *name)
{
    *l = (struct http_list){.head = h, .name = http_text_of(name)};
}

void http_list_of_text(struct http_list *l, struct http_text text)
{
    *l = (struct http_list){.rest = text};
}

static void skip(struct http_text *t, size_t n)
{
    t->p += n;
    t->n -= n;
}

static void skip_blanks(struct http_text *t)
{
    while (t->n > 0 && (t->p[0] == ' ' || t->p[0] == '\t'))
        skip(t, 1);
}

static bool skip_byte(struct http_text *t, char c)
{
    if (t->n == 0 || t->p[0] != c)
        return false;
    skip(t, 1);
    return true;
}

static bool take_token(struct http_text *t, struct http_text *token)
{
    *token = (struct http_text){t->p, http_span(t->p, t->n, HTTP_IN_TOKEN)};
    skip(t, token->n);
    return token->n > 0;
}

static bool next_field(struct http_list *l)
{
    struct http_text name, value;

    while (l->head && l->index < l->head->header_count) {
        http_head_at(l->head, l->index++, &name, &value);
        if (http_equal_nocase(name, l->name)) {
            l->rest = value;
            return true;
        }
    }
    return false;
}

/* Go to the first byte of the next element, over blanks, commas and field ends. */
static bool next_element(struct http_list *l)
{
    do {
        do
            skip_blanks(&l->rest);
        while (skip_byte(&l->rest, ','));
        if (l->rest.n > 0)
            return true;
    } while (next_field(l));
    return false;
}

/* Behind an element: a comma stays for next_element. What is refused stays too, to be refused again. */
static int end_element(struct http_list *l, struct http_text rest, bool taken)
{
    skip_blanks(&rest);
    if (!taken || (rest.n > 0 && rest.p[0] != ','))
        return -1;
    l->rest = rest;
    return 1;
}

int http_list_token(struct http_list *l, struct http_text *token)
{
    struct http_text rest;
    bool taken;

    if (!next_element(l))
        return 0;
    rest = l->rest;
    taken = take_token(&rest, token);
    return end_element(l, rest, taken);
}

int http_list_protocol(struct http_list *l, struct http_text *protocol)
{
    struct http_text rest, version;
    bool taken;

    if (!next_element(l))
        return 0;
    rest = l->rest;
    taken = take_token(&rest, protocol);
    if (taken && skip_byte(&rest, '/')) {
        taken = take_token(&rest, &version);
        protocol->n += 1 + version.n;
    }
    return end_element(l, rest, taken);
}

static int list_has(struct http_list *l, int (*next)(struct http_list *, struct http_text *),
                    const char *wanted)
{
    struct http_text element;
    int found = 0, rc;

    while ((rc = next(l, &element)) == 1)
        found |= http_equal_nocase(element, http_text_of(wanted));
    return rc < 0 ? rc : found;
}

int http_list_has_token(struct http_list *l, const char *token)
{
    return list_has(l, http_list_token, token);
}

int http_list_has_protocol(struct http_list *l, const char *protocol)
{
    return list_has(l, http_list_protocol, protocol);
}

/* ---- extensions ---- */

/* A quoted string whose content, backslashes taken out, is a token: so an escaped byte must be of a token as
 * well. */
static bool take_quoted(struct http_text *t, struct http_text *content)
{
    skip(t, 1);
    *content = (struct http_text){t->p, 0};
    while (t->n > 0 && t->p[0] != '"') {
        skip_byte(t, '\\');
        if (http_span(t->p, t->n < 1 ? t->n : 1, HTTP_IN_TOKEN) == 0)
            return false;
        skip(t, 1);
    }
    content->n = (size_t)(t->p - content->p);
    return content->n > 0 && skip_byte(t, '"');
}

static bool take_value(struct http_text *t, struct http_text *value)
{
    return t->n > 0 && t->p[0] == '"' ? take_quoted(t, value) : take_token(t, value);
}

/* One parameter behind its ";". */
static bool take_param(struct http_text *t, struct http_param *param)
{
    *param = (struct http_param){{NULL, 0}, {NULL, 0}};
    skip_blanks(t);
    if (!take_token(t, &param->name))
        return false;
    skip_blanks(t);
    if (!skip_byte(t, '='))
        return true;
    skip_blanks(t);
    if (!take_value(t, &param->value))
        return false;
    skip_blanks(t);
    return true;
}

int http_list_extension(struct http_list *l, struct http_extension *e)
{
    struct http_text rest;
    struct http_param param;
    bool taken;

    if (!next_element(l))
        return 0;
    rest = l->rest;
    taken = take_token(&rest, &e->name);
    skip_blanks(&rest);
    e->params.p = rest.p;
    while (taken && skip_byte(&rest, ';'))
        taken = take_param(&rest, &param);
    e->params.n = (size_t)(rest.p - e->params.p);
    return end_element(l, rest, taken);
}

bool http_extension_param(struct http_extension *e, struct http_param *param)
{
    return skip_byte(&e->params, ';') && take_param(&e->params, param);
}

size_t http_param_copy(const struct http_param *param, char *out, size_t room)
{
    size_t n = 0;

    for (size_t i = 0; i < param->value.n; i++) {
        if (param->value.p[i] == '\\')
            continue;
        if (n + 1 < room)
            out[n] = param->value.p[i];
        n++;
    }
    if (room > 0)
        out[n < room ? n : room - 1] = '\0';
    return n;
}
