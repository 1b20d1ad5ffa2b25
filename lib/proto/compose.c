/* Writes the messages of the opening handshake.
 *
 * Each message has one function that writes it, and it runs twice: first it only counts, then it writes into
 * a block of that many bytes. So size and content cannot disagree. */
#include "proto/compose.h"

#include "base/mem.h"
#include "proto/digest.h"
#include "proto/field.h"
#include "proto/text.h"
#include "weft/error.h"

#include <stdio.h>
#include <string.h>

struct writer {
    char *p; /* NULL while counting */
    size_t n;
};

static void put(struct writer *w, const void *bytes, size_t n)
{
    if (w->p && n > 0)
        memcpy(w->p + w->n, bytes, n);
    w->n += n;
}

static void put_text(struct writer *w, const char *s)
{
    put(w, s, strlen(s));
}

static void put_number(struct writer *w, size_t number)
{
    char digits[24];

    put(w, digits, (size_t)snprintf(digits, sizeof digits, "%zu", number));
}

static void put_header(struct writer *w, const char *name, const char *value)
{
    put_text(w, name);
    put_text(w, ": ");
    put_text(w, value);
    put_text(w, "\r\n");
}

static void put_headers(struct writer *w, const weft_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        put_header(w, headers[i].name, headers[i].value);
}

struct message {
    void (*write)(struct writer *w, const struct message *m);
    const struct http_head *head;
    const void *what;
};

static int compose(const struct message *m, uint8_t **out, size_t *out_bytes)
{
    struct writer w = {NULL, 0};

    m->write(&w, m);
    w.p = mem_alloc(w.n);
    if (!w.p)
        return WEFT_E_NOMEM;
    w.n = 0;
    m->write(&w, m);
    *out = (uint8_t *)w.p;
    *out_bytes = w.n;
    return WEFT_OK;
}

/* ---- what a program may write ---- */

static bool is_reserved(struct http_text name)
{
    static const char *const names[] = {"Connection", "Content-Length", "Transfer-Encoding", "Upgrade"};
    struct http_text prefix = http_text_of("Sec-WebSocket-");

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (http_equal_nocase(name, http_text_of(names[i])))
            return true;
    return name.n >= prefix.n && http_equal_nocase((struct http_text){name.p, prefix.n}, prefix);
}

static bool headers_name(const weft_header *headers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (http_equal_nocase(http_text_of(headers[i].name), http_text_of(name)))
            return true;
    return false;
}

static bool headers_are_valid(const weft_header *headers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct http_text name = http_text_of(headers[i].name), value = http_text_of(headers[i].value);

        if (!http_is_token(name) || is_reserved(name) || !value.p || !http_is_value(value))
            return false;
    }
    return true;
}

static bool extensions_are_valid(const char *extensions)
{
    struct http_extension extension;
    struct http_list list;
    size_t count = 0;
    int rc;

    if (!extensions)
        return true;
    http_list_of_text(&list, http_text_of(extensions));
    while ((rc = http_list_extension(&list, &extension)) == 1)
        count++;
    return rc == 0 && count > 0;
}

/* ---- 101 ---- */

static void write_accept(struct writer *w, const struct message *m)
{
    const struct http_accept *a = m->what;
    char accept[HTTP_ACCEPT_CHARS + 1];

    http_accept_value(http_head_value(m->head, "Sec-WebSocket-Key", 0).p, accept);
    put_text(w, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n");
    put_header(w, "Sec-WebSocket-Accept", accept);
    if (a->subprotocol)
        put_header(w, "Sec-WebSocket-Protocol", a->subprotocol);
    if (a->extensions)
        put_header(w, "Sec-WebSocket-Extensions", a->extensions);
    put_headers(w, a->headers, a->header_count);
    put_text(w, "\r\n");
}

int http_compose_accept(const struct http_head *h, const struct http_accept *a, uint8_t **out,
                        size_t *out_bytes)
{
    struct message m = {write_accept, h, a};

    if (a->subprotocol && !http_offers_subprotocol(h, a->subprotocol))
        return WEFT_E_INVAL;
    if (!extensions_are_valid(a->extensions) || !headers_are_valid(a->headers, a->header_count))
        return WEFT_E_INVAL;
    return compose(&m, out, out_bytes);
}

/* ---- other answers ---- */

static bool may_have_body(int status)
{
    return status != 204 && status != 205 && status != 304;
}

static void write_answer(struct writer *w, const struct message *m)
{
    const struct http_answer *a = m->what;

    put_text(w, "HTTP/1.1 ");
    put_number(w, (size_t)a->status);
    put_text(w, " ");
    put_text(w, a->phrase ? a->phrase : http_status_phrase(a->status));
    put_text(w, "\r\n");
    put_header(w, "Connection", a->status == 426 ? "close, Upgrade" : "close");
    if (a->status == 426)
        put_text(w, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n");
    if (a->status == 405 && !headers_name(a->headers, a->header_count, "Allow"))
        put_header(w, "Allow", "GET, HEAD");
    put_headers(w, a->headers, a->header_count);
    if (a->status != 204 && a->status != 304) {
        put_text(w, "Content-Length: ");
        put_number(w, a->body_bytes);
        put_text(w, "\r\n");
    }
    put_text(w, "\r\n");
    if (!http_head_is_head(m->head))
        put(w, a->body, a->body_bytes);
}

int http_compose_answer(const struct http_head *h, const struct http_answer *a, uint8_t **out,
                        size_t *out_bytes)
{
    struct message m = {write_answer, h, a};

    if (a->status < 200 || a->status > 599 || (a->body_bytes > 0 && (!a->body || !may_have_body(a->status))))
        return WEFT_E_INVAL;
    if (a->phrase && !http_is_value(http_text_of(a->phrase)))
        return WEFT_E_INVAL;
    if (!headers_are_valid(a->headers, a->header_count))
        return WEFT_E_INVAL;
    return compose(&m, out, out_bytes);
}

int http_compose_refusal(const struct http_head *h, uint8_t **out, size_t *out_bytes)
{
    static const weft_header plain_text = {"Content-Type", "text/plain; charset=utf-8"};
    struct http_answer a = {.status = h->status ? h->status : 500, .headers = &plain_text, .header_count = 1};
    char body[128];

    snprintf(body, sizeof body, "%s\n", h->reason ? h->reason : http_status_phrase(a.status));
    a.body = body;
    a.body_bytes = strlen(body);
    return http_compose_answer(h, &a, out, out_bytes);
}

/* ---- the request ---- */

static void write_host(struct writer *w, const struct http_request *r)
{
    bool bare_ipv6 = http_is_ipv6(http_text_of(r->host));

    put_text(w, bare_ipv6 ? "Host: [" : "Host: ");
    put_text(w, r->host);
    put_text(w, bare_ipv6 ? "]" : "");
    if (r->port != 0 && r->port != (r->secure ? 443 : 80)) {
        put_text(w, ":");
        put_number(w, r->port);
    }
    put_text(w, "\r\n");
}

static void write_subprotocols(struct writer *w, const struct http_request *r)
{
    if (r->subprotocol_count == 0)
        return;
    put_text(w, "Sec-WebSocket-Protocol: ");
    for (size_t i = 0; i < r->subprotocol_count; i++) {
        put_text(w, i > 0 ? ", " : "");
        put_text(w, r->subprotocols[i]);
    }
    put_text(w, "\r\n");
}

static void write_request(struct writer *w, const struct message *m)
{
    const struct http_request *r = m->what;
    char key[HTTP_KEY_CHARS + 1];

    digest_base64(r->key, sizeof r->key, key);
    put_text(w, "GET ");
    put_text(w, r->target ? r->target : "/");
    put_text(w, " HTTP/1.1\r\n");
    write_host(w, r);
    put_text(w, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
    put_header(w, "Sec-WebSocket-Key", key);
    write_subprotocols(w, r);
    if (r->extensions)
        put_header(w, "Sec-WebSocket-Extensions", r->extensions);
    if (r->origin)
        put_header(w, "Origin", r->origin);
    put_headers(w, r->headers, r->header_count);
    put_text(w, "\r\n");
}

static bool subprotocols_are_valid(const struct http_request *r)
{
    if (r->subprotocol_count > HTTP_SUBPROTOCOLS_MAX)
        return false;
    for (size_t i = 0; i < r->subprotocol_count; i++) {
        if (!http_is_token(http_text_of(r->subprotocols[i])))
            return false;
        for (size_t k = 0; k < i; k++)
            if (strcmp(r->subprotocols[i], r->subprotocols[k]) == 0)
                return false;
    }
    return true;
}

static bool target_is_valid(const char *target)
{
    struct http_text t = http_text_of(target ? target : "/");

    return t.n > 0 && t.p[0] == '/' && http_span(t.p, t.n, HTTP_IN_TARGET) == t.n;
}

int http_compose_request(const struct http_request *r, uint8_t **out, size_t *out_bytes)
{
    struct message m = {write_request, NULL, r};
    struct http_text host = http_text_of(r->host), origin = http_text_of(r->origin ? r->origin : "");

    if ((!http_is_host(host) && !http_is_ipv6(host)) || r->port > 65535 || !target_is_valid(r->target))
        return WEFT_E_INVAL;
    if (!subprotocols_are_valid(r) || !extensions_are_valid(r->extensions) || !http_is_value(origin))
        return WEFT_E_INVAL;
    if (!headers_are_valid(r->headers, r->header_count) ||
        headers_name(r->headers, r->header_count, "Host") ||
        headers_name(r->headers, r->header_count, "Origin"))
        return WEFT_E_INVAL;
    return compose(&m, out, out_bytes);
}
