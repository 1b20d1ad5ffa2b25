/* Both sides of permessage-deflate over zlib; see pmd.h. */
#include "pmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

/* Most of the time of sections 12 and 13 is zlib's; what inflates meets the same kinds of blocks at any level. */
#define LEVEL       1
#define MEM_LEVEL   8
#define PIECE_BYTES 65536u
#define TAIL_BYTES  4u

static const uint8_t tail[TAIL_BYTES] = {0x00, 0x00, 0xff, 0xff};

struct pmd {
    z_stream deflate, inflate;
    bool deflate_anew, inflate_anew; /* no context takeover */
};

static size_t spaces(const char *text)
{
    return strspn(text, " \t");
}

/* 8 to 15 without a leading zero, with or without quotes; 0 for anything else. */
static int window_bits(const char *value, size_t chars)
{
    int bits;

    if (chars >= 2 && value[0] == '"' && value[chars - 1] == '"') {
        value++;
        chars -= 2;
    }
    if (chars == 1 && (*value == '8' || *value == '9'))
        return *value - '0';
    if (chars != 2 || value[0] != '1' || value[1] < '0' || value[1] > '5')
        return 0;
    bits = 10 + value[1] - '0';
    return bits;
}

static bool is_called(const char *name, size_t chars, const char *wanted)
{
    return chars == strlen(wanted) && strncasecmp(name, wanted, chars) == 0;
}

static bool set_flag(bool *flag, const char *value)
{
    if (value || *flag)
        return false;
    *flag = true;
    return true;
}

static bool set_bits(int *bits, const char *value, size_t chars, bool value_optional)
{
    if (*bits != BITS_ABSENT || (!value && !value_optional))
        return false;
    *bits = value ? window_bits(value, chars) : BITS_ANY;
    return *bits != 0;
}

/* One parameter; value NULL: it has none. */
static bool set_parameter(struct pmd_terms *t, const char *name, size_t name_chars, const char *value,
                          size_t value_chars)
{
    if (is_called(name, name_chars, "server_no_context_takeover"))
        return set_flag(&t->server_no_takeover, value);
    if (is_called(name, name_chars, "client_no_context_takeover"))
        return set_flag(&t->client_no_takeover, value);
    if (is_called(name, name_chars, "server_max_window_bits"))
        return set_bits(&t->server_bits, value, value_chars, false);
    if (is_called(name, name_chars, "client_max_window_bits"))
        return set_bits(&t->client_bits, value, value_chars, true);
    return false;
}

static bool parse_parameters(const char *at, struct pmd_terms *terms)
{
    while (*at == ';') {
        size_t name_chars, value_chars = 0;
        const char *name, *value = NULL;

        name = at + 1 + spaces(at + 1);
        name_chars = strcspn(name, " \t;,=");
        at = name + name_chars + spaces(name + name_chars);
        if (*at == '=') {
            value = at + 1 + spaces(at + 1);
            value_chars = strcspn(value, " \t;,");
            at = value + value_chars + spaces(value + value_chars);
        }
        if (!set_parameter(terms, name, name_chars, value, value_chars))
            return false;
    }
    return *at == '\0' || *at == ',';
}

enum pmd_parsed pmd_parse(const char *header, unsigned index, struct pmd_terms *terms)
{
    size_t chars;

    *terms = (struct pmd_terms){0};
    for (; index > 0; index--) {
        header = strchr(header, ',');
        if (!header)
            return PMD_END;
        header++;
    }
    header += spaces(header);
    chars = strcspn(header, " \t;,");
    if (!is_called(header, chars, "permessage-deflate"))
        return PMD_OTHER;
    header += chars + spaces(header + chars);
    return parse_parameters(header, terms) ? PMD_GOOD : PMD_BAD;
}

static void must(int rc, const char *what)
{
    if (rc == Z_OK)
        return;
    fprintf(stderr, "%s: %d\n", what, rc);
    exit(2);
}

/* zlib has no raw deflate of window 8, so nothing of this tester's ever asks itself for it. */
struct pmd *pmd_new(const struct pmd_terms *agreed, bool is_client)
{
    struct pmd *p = memory_resize(NULL, 1, sizeof *p);
    int own = is_client ? agreed->client_bits : agreed->server_bits;
    int other = is_client ? agreed->server_bits : agreed->client_bits;

    *p = (struct pmd){0};
    p->deflate_anew = is_client ? agreed->client_no_takeover : agreed->server_no_takeover;
    p->inflate_anew = is_client ? agreed->server_no_takeover : agreed->client_no_takeover;
    must(deflateInit2(&p->deflate, LEVEL, Z_DEFLATED, own >= 9 ? -own : -MAX_WBITS, MEM_LEVEL,
                      Z_DEFAULT_STRATEGY),
         "deflateInit2");
    must(inflateInit2(&p->inflate, other >= 8 ? -other : -MAX_WBITS), "inflateInit2");
    return p;
}

void pmd_free(struct pmd *p)
{
    if (!p)
        return;
    deflateEnd(&p->deflate);
    inflateEnd(&p->inflate);
    free(p);
}

void pmd_deflate(struct pmd *p, const uint8_t *data, size_t bytes, struct octets *out)
{
    z_stream *z = &p->deflate;

    z->next_in = (Bytef *)(uintptr_t)data;
    z->avail_in = (uInt)bytes;
    do {
        z->next_out = octets_extend(out, PIECE_BYTES);
        z->avail_out = PIECE_BYTES;
        deflate(z, Z_SYNC_FLUSH);
        out->bytes -= z->avail_out;
    } while (z->avail_out == 0);
    if (out->bytes >= TAIL_BYTES && memcmp(out->data + out->bytes - TAIL_BYTES, tail, TAIL_BYTES) == 0)
        out->bytes -= TAIL_BYTES;
    if (p->deflate_anew)
        deflateReset(z);
}

/* A block with BFINAL ends zlib's stream, not the message (RFC 7692 section 7.2.3.4). */
static bool inflate_part(z_stream *z, const uint8_t *data, size_t bytes, size_t bytes_max, struct octets *out)
{
    int rc = Z_OK;

    z->next_in = (Bytef *)(uintptr_t)data;
    z->avail_in = (uInt)bytes;
    do {
        z->next_out = octets_extend(out, PIECE_BYTES);
        z->avail_out = PIECE_BYTES;
        rc = inflate(z, Z_SYNC_FLUSH);
        out->bytes -= z->avail_out;
        if (rc == Z_STREAM_END)
            inflateReset(z);
        else if (rc != Z_OK && rc != Z_BUF_ERROR)
            return false;
    } while (out->bytes <= bytes_max && (z->avail_in > 0 || z->avail_out == 0));
    return out->bytes <= bytes_max;
}

bool pmd_inflate(struct pmd *p, const uint8_t *data, size_t bytes, size_t bytes_max, struct octets *out)
{
    bool right = inflate_part(&p->inflate, data, bytes, bytes_max, out) &&
                 inflate_part(&p->inflate, tail, TAIL_BYTES, bytes_max, out);

    if (p->inflate_anew)
        inflateReset(&p->inflate);
    return right;
}
