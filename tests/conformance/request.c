/* The tester's side of the opening handshake as a server; see request.h. */
#include "request.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define OTHER_KEY "dGhlIHNhbXBsZSBub25jZQ=="

static const struct reply usual = {
    .head = "HTTP/1.1 101 Switching Protocols\r\nServer: weft-conformance\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{extension}\r\n"};
const struct reply request_bad = {
    .head = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"};

/* GET, a target that is a path, HTTP/1.1; nothing else and one space each. */
static bool line_is_right(const char *head)
{
    size_t chars = strcspn(head, "\r");
    const char *target = head + 4, *end = memchr(target, ' ', chars > 4 ? chars - 4 : 0);

    return strncmp(head, "GET /", 5) == 0 && end && (size_t)(end - head) + 9 == chars &&
           strncmp(end, " HTTP/1.1\r\n", 11) == 0;
}

static const char *what_is_wrong(const char *head, const char *host, struct request *r)
{
    char value[VALUE_CHARS_MAX];

    if (!line_is_right(head))
        return "a request line that is not GET /... HTTP/1.1";
    if (!head_lines_are_right(head))
        return "a header line without a name";
    if (head_value(head, "Host", value) != 1 || (host && strcasecmp(value, host) != 0))
        return "no header Host that names this server";
    if (head_value(head, "Upgrade", value) != 1 || !head_list_has(value, "websocket"))
        return "no header Upgrade: websocket";
    if (head_value(head, "Connection", value) != 1 || !head_list_has(value, "upgrade"))
        return "no header Connection: Upgrade";
    if (head_value(head, "Sec-WebSocket-Version", value) != 1 || strcmp(value, "13") != 0)
        return "no header Sec-WebSocket-Version: 13";
    if (head_value(head, "Content-Length", value) != 0 || head_value(head, "Transfer-Encoding", value) != 0)
        return "a request with a body";
    if (head_value(head, "Sec-WebSocket-Accept", value) != 0)
        return "a header Sec-WebSocket-Accept in a request";
    if (head_value(head, "Sec-WebSocket-Key", value) != 1 || !ws_key_is_valid(value))
        return "no header Sec-WebSocket-Key of 16 octets";
    memcpy(r->key, value, WS_KEY_CHARS + 1);
    if (head_value(head, "Sec-WebSocket-Extensions", r->extensions) > 1)
        return "two headers Sec-WebSocket-Extensions";
    return NULL;
}

int64_t request_read(const struct octets *in, const char *host, struct request *r, const char **why)
{
    char head[HEADER_BYTES_MAX + 1];
    int64_t bytes = head_take(in, head, why);

    if (bytes <= 0)
        return bytes;
    r->extensions[0] = '\0';
    *why = what_is_wrong(head, host, r);
    return *why ? HANDSHAKE_REFUSED : bytes;
}

static void switch_case(char *text)
{
    for (; *text; text++)
        *text = (char)(islower((unsigned char)*text) ? toupper((unsigned char)*text)
                                                     : tolower((unsigned char)*text));
}

static bool offers_allow(const struct request *r, const struct pmd_answer *a, struct pmd_terms *agreed)
{
    enum pmd_parsed parsed = PMD_OTHER;

    for (unsigned i = 0; r->extensions[0] && parsed != PMD_END; i++) {
        parsed = pmd_parse(r->extensions, i, agreed);
        if (parsed == PMD_GOOD && (a->bits == 0 || agreed->client_bits != BITS_ABSENT))
            return true;
    }
    return false;
}

bool request_agrees(const struct request *r, const struct pmd_case *c, struct pmd_terms *agreed)
{
    for (const struct pmd_answer *a = c->answers; a < c->answers + ANSWERS_MAX && a->given; a++) {
        if (!offers_allow(r, a, agreed))
            continue;
        agreed->client_no_takeover = a->no_takeover;
        agreed->client_bits = a->bits;
        return true;
    }
    return false;
}

static void put_bits(struct octets *out, const char *name, int bits)
{
    char text[64];

    if (bits != BITS_ABSENT)
        octets_put(out, text, (size_t)snprintf(text, sizeof text, "; %s=%d", name, bits));
}

static void put_extension(struct octets *out, const struct pmd_terms *agreed)
{
    char text[200];
    int chars = snprintf(text, sizeof text, "Sec-WebSocket-Extensions: permessage-deflate%s%s",
                         agreed->server_no_takeover ? "; server_no_context_takeover" : "",
                         agreed->client_no_takeover ? "; client_no_context_takeover" : "");

    octets_put(out, text, (size_t)chars);
    put_bits(out, "server_max_window_bits", agreed->server_bits);
    put_bits(out, "client_max_window_bits", agreed->client_bits);
    octets_put(out, "\r\n", 2);
}

static void put_value(struct octets *out, const struct reply *reply, const char *key,
                      const struct pmd_terms *agreed, const char *name)
{
    char accept[WS_ACCEPT_CHARS + 1];

    if (strncmp(name, "{extension}", 11) == 0) {
        if (agreed)
            put_extension(out, agreed);
        return;
    }

    if (strncmp(name, "{padding}", 9) == 0) {
        memset(octets_extend(out, reply->padding_bytes), 'x', reply->padding_bytes);
        return;
    }
    ws_accept_of(strncmp(name, "{other}", 7) == 0 ? OTHER_KEY : key, accept);
    if (strncmp(name, "{switched}", 10) == 0)
        switch_case(accept);
    octets_put(out, accept, WS_ACCEPT_CHARS);
}

/* '@' stands for a NUL, which a string cannot have. */
static void put_text(struct octets *out, const char *text, size_t chars)
{
    size_t begin = out->bytes;

    octets_put(out, text, chars);
    for (size_t i = begin; i < out->bytes; i++)
        if (out->data[i] == '@')
            out->data[i] = '\0';
}

void request_answer(struct octets *out, const struct reply *reply, const char *key,
                    const struct pmd_terms *agreed)
{
    const char *at;

    reply = reply ? reply : &usual;
    at = reply->head;
    while (*at) {
        size_t chars = strcspn(at, "{");

        put_text(out, at, chars);
        at += chars;
        if (*at) {
            put_value(out, reply, key, agreed, at);
            at += strcspn(at, "}") + 1;
        }
    }
}
