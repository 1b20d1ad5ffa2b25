/* Made data; see data.h. The words of the play are UTF-8 but go out as binary. */
#include "data.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define DATA_BYTES 200000u
#define ROW_BYTES  512u

static struct octets all[DATA_COUNT];

/* xorshift with a fixed seed. */
static uint32_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)(*state >> 32);
}

static const char *word(uint64_t *state)
{
    static const char *const words[] = {"und",   "Herz",  "der",    "Geist", "ich",  "Nacht",
                                        "Welt",  "nicht", "wieder", "schön", "Übel", "größer",
                                        "Natur", "des",   "Lebens", "wohl"};

    return words[next(state) % (sizeof words / sizeof words[0])];
}

static void put_line(struct octets *o, enum data_kind kind, uint64_t *state)
{
    char line[200];
    int chars;

    if (kind == DATA_JSON)
        chars = snprintf(line, sizeof line, "{\"id\": %u, \"name\": \"n%u\", \"on\": %s, \"x\": [%u, %u]},\n",
                         next(state) % 100000, next(state) % 50, next(state) & 1 ? "true" : "false",
                         next(state) % 1000, next(state) % 10);
    else if (kind == DATA_PAGE)
        chars = snprintf(line, sizeof line, "<p class=\"c%u\">%s %s \xe2\x82\xac \xf0\x9f\x98\x80 %s</p>\n",
                         next(state) % 9, word(state), word(state), word(state));
    else
        chars = snprintf(line, sizeof line, "%s %s %s, %s %s\n", word(state), word(state), word(state),
                         word(state), word(state));
    octets_put(o, line, (size_t)chars);
}

/* Grey shades that change slowly, with a little noise, or noise alone. */
static void put_octet(struct octets *o, enum data_kind kind, uint64_t *state)
{
    size_t x = o->bytes % ROW_BYTES, y = o->bytes / ROW_BYTES;
    uint32_t noise = next(state);
    uint8_t octet = kind == DATA_NOISE ? (uint8_t)noise : (uint8_t)((x + y) / 8 + (noise % 16 == 0));

    octets_put(o, &octet, 1);
}

const struct octets *data_of(enum data_kind kind)
{
    uint64_t state = 88172645463325252u + kind;
    struct octets *o = &all[kind];

    while (o->bytes < DATA_BYTES) {
        if (kind == DATA_PICTURE || kind == DATA_NOISE)
            put_octet(o, kind, &state);
        else
            put_line(o, kind, &state);
    }
    return o;
}

static bool continues(uint8_t octet)
{
    return (octet & 0xc0) == 0x80;
}

/* What there is of count characters (of octets, if it is no text) before the end of the data. Count becomes what is
 * missing. */
static size_t piece_bytes(const struct octets *o, size_t at, bool text, size_t *count)
{
    size_t end = at;

    if (!text) {
        size_t bytes = *count < o->bytes - at ? *count : o->bytes - at;

        *count -= bytes;
        return bytes;
    }
    for (; end < o->bytes && (*count > 0 || continues(o->data[end])); end++)
        *count -= !continues(o->data[end]);
    return end - at;
}

void data_slice(enum data_kind kind, size_t *at, size_t count, struct octets *slice)
{
    const struct octets *o = data_of(kind);
    bool text = kind == DATA_JSON || kind == DATA_PAGE;

    slice->bytes = 0;
    while (count > 0) {
        size_t bytes = piece_bytes(o, *at, text, &count);

        octets_put(slice, o->data + *at, bytes);
        *at = (*at + bytes) % o->bytes;
    }
}

void data_fini(void)
{
    for (int i = 0; i < DATA_COUNT; i++)
        octets_fini(&all[i]);
}
