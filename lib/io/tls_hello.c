/* The server's name in a ClientHello; see tls_hello.h. */
#include "io/tls_hello.h"

#include <stdbool.h>
#include <string.h>

#include "weft/error.h"

/* Source: RFC 8446 section 4, RFC 6066 section 3 */
#define CLIENT_HELLO          1
#define MESSAGE_HEADER_BYTES  4u
#define VERSION_AND_RANDOM    34u
#define EXTENSION_SERVER_NAME 0
#define EXTENSION_VERSIONS    43
#define VERSION_1_3           0x0304
#define NAME_IS_HOST          0

/* What is left of a message; failed once more was taken than there was. */
struct cursor {
    const uint8_t *p;
    size_t n;
    bool failed;
};

static const uint8_t *take(struct cursor *c, size_t n)
{
    const uint8_t *p = c->p;

    if (c->failed || n > c->n) {
        c->failed = true;
        c->n = 0;
        return NULL;
    }
    c->p += n;
    c->n -= n;
    return p;
}

static size_t take_number(struct cursor *c, unsigned octets)
{
    const uint8_t *p = take(c, octets);
    size_t value = 0;

    for (unsigned i = 0; p && i < octets; i++)
        value = value << 8 | p[i];
    return value;
}

/* A vector: its length in so many octets, then its content. */
static struct cursor take_vector(struct cursor *c, unsigned octets)
{
    size_t n = take_number(c, octets);
    const uint8_t *p = take(c, n);

    return (struct cursor){p, p ? n : 0, p == NULL};
}

static int gathered(const uint8_t *out, size_t have)
{
    size_t message;

    if (have && out[0] != CLIENT_HELLO)
        return WEFT_E_PROTOCOL;
    if (have < MESSAGE_HEADER_BYTES)
        return WEFT_E_AGAIN;
    message = MESSAGE_HEADER_BYTES + ((size_t)out[1] << 16 | (size_t)out[2] << 8 | out[3]);
    if (message > TLS_HELLO_BYTES_MAX)
        return WEFT_E_TOO_BIG;
    return have < message ? WEFT_E_AGAIN : WEFT_OK;
}

int tls_hello_gather(const uint8_t *p, size_t n, uint8_t *out, size_t *out_bytes)
{
    int rc = WEFT_E_AGAIN;

    for (*out_bytes = 0; rc == WEFT_E_AGAIN && n;) {
        size_t record, part;

        if (p[0] != TLS_RECORD_HANDSHAKE || (n > 1 && p[1] != 3))
            return WEFT_E_PROTOCOL;
        if (n < TLS_RECORD_HEADER_BYTES)
            break;
        record = (size_t)p[3] << 8 | p[4];
        if (record == 0)
            return WEFT_E_PROTOCOL;
        if (record > TLS_RECORD_PLAIN_MAX)
            return WEFT_E_TOO_BIG;
        part = record < n - TLS_RECORD_HEADER_BYTES ? record : n - TLS_RECORD_HEADER_BYTES;
        if (part > TLS_HELLO_BYTES_MAX - *out_bytes)
            part = TLS_HELLO_BYTES_MAX - *out_bytes;
        memcpy(out + *out_bytes, p + TLS_RECORD_HEADER_BYTES, part);
        *out_bytes += part;
        rc = gathered(out, *out_bytes);
        if (part < record)
            break;
        p += TLS_RECORD_HEADER_BYTES + record;
        n -= TLS_RECORD_HEADER_BYTES + record;
    }
    return rc;
}

/* Letters, digits, and what else stands in names of hosts: nothing that a log or a comparison stumbles
 * over. */
static bool is_host_octet(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
}

static void copy_name(struct cursor host, char *name)
{
    if (host.n && host.p[host.n - 1] == '.')
        host.n--;
    if (!host.n || host.n > TLS_SERVER_NAME_MAX)
        return;
    for (size_t i = 0; i < host.n; i++) {
        uint8_t c = host.p[i];
        if (!is_host_octet(c)) {
            name[0] = '\0';
            return;
        }
        name[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    name[host.n] = '\0';
}

static bool read_server_names(struct cursor extension, char *name)
{
    struct cursor list = take_vector(&extension, 2);

    while (list.n) {
        size_t kind = take_number(&list, 1);
        struct cursor host = take_vector(&list, 2);
        if (!list.failed && kind == NAME_IS_HOST) {
            copy_name(host, name);
            break;
        }
    }
    return !list.failed && !extension.failed;
}

static bool read_versions(struct cursor extension, bool *offers_1_3)
{
    struct cursor list = take_vector(&extension, 1);

    while (list.n)
        *offers_1_3 |= take_number(&list, 2) == VERSION_1_3;
    return !list.failed && !extension.failed;
}

static bool read_extension(size_t kind, struct cursor extension, struct tls_hello *out)
{
    if (kind == EXTENSION_SERVER_NAME)
        return read_server_names(extension, out->name);
    return kind != EXTENSION_VERSIONS || read_versions(extension, &out->offers_1_3);
}

int tls_hello_read(const uint8_t *hello, size_t n, struct tls_hello *out)
{
    struct cursor message = {hello, n, false}, body, extensions;

    out->name[0] = '\0';
    out->offers_1_3 = false;
    if (take_number(&message, 1) != CLIENT_HELLO)
        return WEFT_E_PROTOCOL;
    body = take_vector(&message, 3);
    take(&body, VERSION_AND_RANDOM);
    take_vector(&body, 1); /* session id */
    take_vector(&body, 2); /* cipher suites */
    take_vector(&body, 1); /* compression methods */
    if (body.failed || message.failed)
        return WEFT_E_PROTOCOL;
    if (!body.n)
        return WEFT_OK;
    extensions = take_vector(&body, 2);
    while (extensions.n) {
        size_t kind = take_number(&extensions, 2);
        struct cursor extension = take_vector(&extensions, 2);
        if (!extensions.failed && !read_extension(kind, extension, out))
            return WEFT_E_PROTOCOL;
    }
    return extensions.failed || body.failed ? WEFT_E_PROTOCOL : WEFT_OK;
}
