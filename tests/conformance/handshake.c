/* The opening handshake of the tester as a client; see handshake.h. */
#include "handshake.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *resolve(struct target *t, char *host)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    char *colon = strrchr(host, ':');
    const char *port = "80";
    int rc;

    if (colon && !strchr(colon, ']')) {
        *colon = '\0';
        port = colon + 1;
    }
    if (host[0] == '[' && host[strlen(host) - 1] == ']') {
        host[strlen(host) - 1] = '\0';
        host++;
    }
    rc = getaddrinfo(host, port, &hints, &t->address);
    return rc == 0 ? NULL : gai_strerror(rc);
}

const char *target_parse(struct target *t, const char *url)
{
    static const char scheme[] = "ws://";
    char host[sizeof t->authority];
    size_t chars;

    memset(t, 0, sizeof *t);
    if (strncasecmp(url, scheme, sizeof scheme - 1) != 0)
        return "the url must begin with ws://";
    url += sizeof scheme - 1;
    chars = strcspn(url, "/");
    if (chars == 0 || chars >= sizeof host || strlen(url + chars) >= sizeof t->path)
        return "the url has no host or is too long";
    memcpy(t->authority, url, chars);
    strcpy(host, t->authority);
    strcpy(t->path, url[chars] ? url + chars : "/");
    return resolve(t, host);
}

void target_fini(struct target *t)
{
    if (t->address)
        freeaddrinfo(t->address);
    t->address = NULL;
}

void handshake_request(struct octets *out, const struct target *t, const char *key, const char *offer)
{
    char request[1600];
    int chars = snprintf(request, sizeof request,
                         "GET %s HTTP/1.1\r\n"
                         "User-Agent: weft-conformance\r\n"
                         "Host: %s\r\n"
                         "Upgrade: WebSocket\r\n"
                         "Connection: Upgrade\r\n"
                         "Pragma: no-cache\r\n"
                         "Cache-Control: no-cache\r\n"
                         "Sec-WebSocket-Key: %s\r\n"
                         "Sec-WebSocket-Version: 13\r\n%s%s%s\r\n",
                         t->path, t->authority, key, offer ? "Sec-WebSocket-Extensions: " : "",
                         offer ? offer : "", offer ? "\r\n" : "");

    octets_put(out, request, (size_t)chars);
}

unsigned head_value(const char *head, const char *name, char value[VALUE_CHARS_MAX])
{
    size_t name_chars = strlen(name), chars;
    unsigned found = 0;

    for (const char *line = strstr(head, "\r\n") + 2; *line != '\r'; line = strstr(line, "\r\n") + 2) {
        if (strncasecmp(line, name, name_chars) != 0 || line[name_chars] != ':')
            continue;
        line += name_chars + 1;
        line += strspn(line, " \t");
        chars = strcspn(line, "\r");
        while (chars > 0 && strchr(" \t", line[chars - 1]))
            chars--;
        snprintf(value, VALUE_CHARS_MAX, "%.*s", (int)chars, line);
        found++;
    }
    return found;
}

bool head_lines_are_right(const char *head)
{
    for (const char *line = strstr(head, "\r\n") + 2; *line != '\r'; line = strstr(line, "\r\n") + 2) {
        size_t name_chars = strcspn(line, ": \t\r");

        if (name_chars == 0 || line[name_chars] != ':')
            return false;
    }
    return true;
}

bool head_list_has(char *list, const char *item)
{
    for (char *save, *word = strtok_r(list, ", \t", &save); word; word = strtok_r(NULL, ", \t", &save))
        if (strcasecmp(word, item) == 0)
            return true;
    return false;
}

static const char *extension_trouble(const char *head, struct pmd_terms *agreed, bool *is_agreed)
{
    char value[VALUE_CHARS_MAX];
    struct pmd_terms more;
    unsigned count = head_value(head, "Sec-WebSocket-Extensions", value);

    *is_agreed = agreed && count == 1;
    if (count == 0)
        return NULL;
    if (!agreed)
        return "an extension that was not offered";
    if (count > 1 || pmd_parse(value, 0, agreed) != PMD_GOOD || pmd_parse(value, 1, &more) != PMD_END ||
        agreed->client_bits == BITS_ANY)
        return "a malformed answer to permessage-deflate";
    return NULL;
}

static const char *what_is_wrong(const char *head, const char *key)
{
    char value[VALUE_CHARS_MAX], accept[WS_ACCEPT_CHARS + 1];

    ws_accept_of(key, accept);
    if (strncmp(head, "HTTP/1.1 101", 12) != 0 || !strchr(" \r", head[12]))
        return "the status is not 101";
    if (!head_lines_are_right(head))
        return "a header line without a name";
    if (head_value(head, "Upgrade", value) != 1 || strcasecmp(value, "websocket") != 0)
        return "no header Upgrade: websocket";
    if (head_value(head, "Connection", value) != 1 || !head_list_has(value, "upgrade"))
        return "no header Connection: Upgrade";
    if (head_value(head, "Sec-WebSocket-Accept", value) != 1 || strcmp(value, accept) != 0)
        return "wrong Sec-WebSocket-Accept";
    if (head_value(head, "Sec-WebSocket-Protocol", value) != 0)
        return "a subprotocol that was not offered";
    return NULL;
}

int64_t head_take(const struct octets *in, char head[HEADER_BYTES_MAX + 1], const char **why)
{
    const uint8_t *end = in->bytes ? memmem(in->data, in->bytes, "\r\n\r\n", 4) : NULL;
    size_t bytes;

    *why = "a header section that does not end";
    if (!end)
        return in->bytes > HEADER_BYTES_MAX ? HANDSHAKE_REFUSED : HANDSHAKE_MORE;
    bytes = (size_t)(end - in->data) + 4;
    *why = "a header section that is too long or has a NUL";
    if (bytes > HEADER_BYTES_MAX || memchr(in->data, 0, bytes))
        return HANDSHAKE_REFUSED;
    memcpy(head, in->data, bytes);
    head[bytes] = '\0';
    return (int64_t)bytes;
}

int64_t handshake_response(const struct octets *in, const char *key, struct pmd_terms *agreed,
                           bool *is_agreed, const char **why)
{
    char head[HEADER_BYTES_MAX + 1];
    int64_t bytes = head_take(in, head, why);

    if (bytes <= 0)
        return bytes;
    *why = what_is_wrong(head, key);
    if (!*why)
        *why = extension_trouble(head, agreed, is_agreed);
    return *why ? HANDSHAKE_REFUSED : bytes;
}
