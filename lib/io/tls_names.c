/* The names in an X.509 certificate; see tls_names.h. */
#include "io/tls_names.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "weft/error.h"

/* Source: X.690, RFC 5280 section 4.1 */
#define DER_BOOLEAN           0x01
#define DER_OCTETS            0x04
#define DER_OID               0x06
#define DER_UTF8              0x0c
#define DER_PRINTABLE         0x13
#define DER_TELETEX           0x14
#define DER_IA5               0x16
#define DER_SEQUENCE          0x30
#define DER_SET               0x31
#define CERT_VERSION          0xa0
#define CERT_EXTENSIONS       0xa3
#define NAME_IS_DNS           0x82
#define NAME_IS_ADDRESS       0x87
#define SUBJECT_PARTS_MAX     32u
#define DER_LENGTH_OCTETS_MAX 3u

static const uint8_t oid_alt_name[] = {0x55, 0x1d, 0x11};

struct der {
    const uint8_t *p;
    size_t n;
};

/* Take one element off; 0 when there is none, or none that is whole. */
static uint8_t der_take(struct der *from, struct der *content)
{
    uint8_t tag;
    size_t at = 2, length;

    if (from->n < 2)
        return 0;
    tag = from->p[0];
    length = from->p[1];
    if (length & 0x80) {
        unsigned octets = length & 0x7f;
        if (octets == 0 || octets > DER_LENGTH_OCTETS_MAX || octets > from->n - 2)
            return 0;
        for (length = 0; octets; octets--)
            length = length << 8 | from->p[at++];
    }
    if (length > from->n - at)
        return 0;
    *content = (struct der){from->p + at, length};
    from->p += at + length;
    from->n -= at + length;
    return tag;
}

static bool der_expect(struct der *from, uint8_t tag, struct der *content)
{
    return der_take(from, content) == tag;
}

/* rest is what follows the subject's key: the extensions are in there. */
static bool open_certificate(struct der cert, struct der *subject, struct der *key, struct der *rest)
{
    struct der whole, tbs, skipped;

    if (!der_expect(&cert, DER_SEQUENCE, &whole) || !der_expect(&whole, DER_SEQUENCE, &tbs))
        return false;
    if (tbs.n && tbs.p[0] == CERT_VERSION)
        der_take(&tbs, &skipped);
    for (int i = 0; i < 4; i++) /* serial, algorithm, issuer, validity */
        if (!der_take(&tbs, &skipped))
            return false;
    if (!der_expect(&tbs, DER_SEQUENCE, subject) || !der_expect(&tbs, DER_SEQUENCE, key))
        return false;
    *rest = tbs;
    return true;
}

static bool find_alt_names(struct der rest, struct der *names)
{
    struct der content, list, extension, oid, value;
    uint8_t tag;

    while ((tag = der_take(&rest, &content)) != 0 && tag != CERT_EXTENSIONS) {
    }
    if (!tag || !der_expect(&content, DER_SEQUENCE, &list))
        return false;
    while (der_expect(&list, DER_SEQUENCE, &extension)) {
        if (!der_expect(&extension, DER_OID, &oid))
            return false;
        if (oid.n != sizeof oid_alt_name || memcmp(oid.p, oid_alt_name, oid.n) != 0)
            continue;
        tag = der_take(&extension, &value);
        if (tag == DER_BOOLEAN)
            tag = der_take(&extension, &value);
        return tag == DER_OCTETS && der_expect(&value, DER_SEQUENCE, names);
    }
    return false;
}

static bool same_name(const uint8_t *pattern, size_t n, const char *host, size_t host_bytes)
{
    return n == host_bytes && strncasecmp((const char *)pattern, host, n) == 0;
}

static bool name_matches(struct der pattern, const char *host, size_t host_bytes)
{
    const char *dot = memchr(host, '.', host_bytes);
    size_t behind;

    if (!pattern.n || memchr(pattern.p, '\0', pattern.n))
        return false;
    if (pattern.n < 3 || pattern.p[0] != '*' || pattern.p[1] != '.')
        return same_name(pattern.p, pattern.n, host, host_bytes);
    if (!dot || dot == host || !memchr(pattern.p + 2, '.', pattern.n - 2))
        return false;
    behind = host_bytes - (size_t)(dot - host);
    return same_name(pattern.p + 1, pattern.n - 1, dot, behind);
}

/* 4 or 16 octets, or 0 when host is a name. */
static size_t address_of(const char *host, uint8_t *address)
{
    if (inet_pton(AF_INET, host, address) == 1)
        return 4;
    return inet_pton(AF_INET6, host, address) == 1 ? 16 : 0;
}

bool tls_names_is_address(const char *host)
{
    uint8_t address[16];

    return address_of(host, address) != 0;
}

bool tls_names_match(const uint8_t *der, size_t n, const char *host)
{
    struct der subject, key, rest, names, name;
    size_t host_bytes = strlen(host), address_bytes;
    uint8_t address[16], tag;

    if (!open_certificate((struct der){der, n}, &subject, &key, &rest) || !find_alt_names(rest, &names))
        return false;
    address_bytes = address_of(host, address);
    if (host_bytes && host[host_bytes - 1] == '.')
        host_bytes--;
    while ((tag = der_take(&names, &name)) != 0) {
        if (address_bytes) {
            if (tag == NAME_IS_ADDRESS && name.n == address_bytes && memcmp(name.p, address, name.n) == 0)
                return true;
        } else if (tag == NAME_IS_DNS && name_matches(name, host, host_bytes)) {
            return true;
        }
    }
    return false;
}

bool tls_names_public_key(const uint8_t *der, size_t n, const uint8_t **key_start, size_t *key_bytes)
{
    struct der subject, key, rest;

    if (!open_certificate((struct der){der, n}, &subject, &key, &rest))
        return false;
    *key_start = key.p;
    *key_bytes = key.n;
    return true;
}

/* --- the subject as text --- */

struct text {
    char *out;
    size_t room, n;
};

static void put(struct text *t, char c)
{
    if (t->n + 1 < t->room)
        t->out[t->n++] = c;
}

static void put_text(struct text *t, const char *s)
{
    while (*s)
        put(t, *s++);
}

static void put_hex(struct text *t, uint8_t octet)
{
    put(t, "0123456789ABCDEF"[octet >> 4]);
    put(t, "0123456789ABCDEF"[octet & 15]);
}

static void put_value(struct text *t, struct der value)
{
    for (size_t i = 0; i < value.n; i++) {
        uint8_t c = value.p[i];
        if (c < 0x20 || c == 0x7f) {
            put(t, '\\');
            put_hex(t, c);
            continue;
        }
        if (strchr(",+\"\\<>;", c) || (i == 0 && (c == '#' || c == ' ')) || (i + 1 == value.n && c == ' '))
            put(t, '\\');
        put(t, (char)c);
    }
}

/* A type without a name here: 1.2.840.113549.1.9.2 */
static void put_number_type(struct text *t, struct der oid)
{
    unsigned long arc = 0;
    bool is_first = true;
    char number[48];

    for (size_t i = 0; i < oid.n; i++) {
        arc = arc << 7 | (oid.p[i] & 0x7f);
        if (oid.p[i] & 0x80)
            continue;
        if (is_first)
            snprintf(number, sizeof number, "%lu.%lu", arc < 80 ? arc / 40 : 2,
                     arc < 80 ? arc % 40 : arc - 80);
        else
            snprintf(number, sizeof number, ".%lu", arc);
        put_text(t, number);
        is_first = false;
        arc = 0;
    }
}

static void put_type(struct text *t, struct der oid)
{
    static const struct {
        uint8_t last;
        const char *name;
    } types[] = {{3, "CN"}, {4, "SN"},     {5, "serialNumber"}, {6, "C"},   {7, "L"},
                 {8, "ST"}, {9, "street"}, {10, "O"},           {11, "OU"}, {42, "GN"}};
    static const uint8_t email[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01};

    if (oid.n == 3 && oid.p[0] == 0x55 && oid.p[1] == 0x04) /* 2.5.4 */
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
            if (types[i].last == oid.p[2]) {
                put_text(t, types[i].name);
                return;
            }
    if (oid.n == sizeof email && memcmp(oid.p, email, sizeof email) == 0)
        put_text(t, "emailAddress");
    else
        put_number_type(t, oid);
}

static bool is_text(uint8_t tag)
{
    return tag == DER_UTF8 || tag == DER_PRINTABLE || tag == DER_IA5 || tag == DER_TELETEX;
}

/* One relative distinguished name: nearly always a single pair. */
static void put_part(struct text *t, struct der set)
{
    struct der pair, oid, value;
    bool is_first = true;

    while (der_expect(&set, DER_SEQUENCE, &pair)) {
        uint8_t tag;

        if (!der_expect(&pair, DER_OID, &oid) || !(tag = der_take(&pair, &value)))
            return;
        if (!is_first)
            put(t, '+');
        is_first = false;
        put_type(t, oid);
        put(t, '=');
        if (is_text(tag)) {
            put_value(t, value);
            continue;
        }
        put(t, '#');
        for (size_t i = 0; i < value.n; i++)
            put_hex(t, value.p[i]);
    }
}

int tls_names_subject(const uint8_t *der, size_t n, char *out, size_t room)
{
    struct der subject, key, rest, parts[SUBJECT_PARTS_MAX];
    struct text t = {out, room, 0};
    size_t count = 0;

    if (!room || !open_certificate((struct der){der, n}, &subject, &key, &rest))
        return WEFT_E_INVAL;
    while (count < SUBJECT_PARTS_MAX && der_expect(&subject, DER_SET, &parts[count]))
        count++;
    while (count) {
        put_part(&t, parts[--count]);
        if (count)
            put(&t, ',');
    }
    out[t.n] = '\0';
    return (int)t.n;
}
