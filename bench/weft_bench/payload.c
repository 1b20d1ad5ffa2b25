/* Makes the reels and reads heads; see payload.h. */
#include "payload.h"

#include "base/mem.h"

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* One unit of the reel: 4 bytes that are whole characters. */
static void put_unit(uint8_t *out, enum payload_kind kind, uint32_t dice)
{
    static const char letters[] = "etaoin shrdlu, cmfwyp vbgk. ETAO";

    for (unsigned i = 0; i < 4; i++)
        out[i] = kind == PAYLOAD_BINARY ? (uint8_t)(dice >> 5 * i) : (uint8_t)letters[dice >> 5 * i & 31];
    if (kind != PAYLOAD_UTF8)
        return;
    switch (dice & 3) {
    case 0: /* two letters of two bytes */
        out[0] = out[2] = 0xc3;
        out[1] = (uint8_t)(0x80 | (dice >> 5 & 63));
        out[3] = (uint8_t)(0x80 | (dice >> 11 & 63));
        break;
    case 1: /* one of three */
        out[0] = 0xe6;
        out[1] = (uint8_t)(0x80 | (dice >> 5 & 63));
        out[2] = (uint8_t)(0x80 | (dice >> 11 & 63));
        break;
    case 2:
        memcpy(out, "\xf0\x9f\x98", 3);
        out[3] = (uint8_t)(0x80 | (dice >> 5 & 63));
        break;
    }
}

/* The masked reel sees the key as the body does, which begins at head_bytes of the payload. */
static bool make_reels(struct payload *p, enum payload_kind kind, uint32_t seed)
{
    size_t room = p->body_bytes + 4 * PAYLOAD_BEGINS;

    p->plain = mem_alloc(room);
    p->masked = mem_alloc(room);
    if (!p->plain || !p->masked)
        return false;
    for (size_t at = 0; at < room; at += 4)
        put_unit(p->plain + at, kind, next_random(&seed));
    mask_copy(p->masked, p->plain, room, p->key, p->head_bytes);
    p->answer = p->is_raw ? p->masked : p->plain;
    return true;
}

static void write_headers(struct payload *p)
{
    struct frame_header h = {.bytes = p->bytes, .opcode = p->opcode, .is_final = true, .is_masked = true};

    memcpy(h.key, p->key, 4);
    p->header_bytes = frame_write_header(p->header, &h);
    h.is_masked = p->is_raw;
    p->answer_header_bytes = frame_write_header(p->answer_header, &h);
    p->frame_bytes = p->header_bytes + p->bytes;
    p->answer_bytes = p->answer_header_bytes + p->bytes;
}

bool payload_init(struct payload *p, enum payload_kind kind, size_t bytes, bool is_raw, uint32_t seed)
{
    uint32_t key = next_random(&seed) << 16 ^ next_random(&seed);

    *p = (struct payload){.bytes = bytes, .is_raw = is_raw};
    p->opcode = kind == PAYLOAD_BINARY ? FRAME_BINARY : FRAME_TEXT;
    p->digits = bytes < PAYLOAD_DIGITS ? (unsigned)bytes : PAYLOAD_DIGITS;
    p->head_bytes = bytes < PAYLOAD_DIGITS ? (unsigned)bytes : PAYLOAD_DIGITS + (unsigned)(bytes & 3);
    p->body_bytes = bytes - p->head_bytes;
    memcpy(p->key, &key, 4);
    write_headers(p);
    if (make_reels(p, kind, seed))
        return true;
    payload_fini(p);
    return false;
}

void payload_fini(struct payload *p)
{
    mem_free(p->plain);
    mem_free(p->masked);
    p->plain = p->masked = NULL;
}

/* Eight letters to a number; false when one of them is no digit: less than 'a' borrows into its own high
 * half, more than 'p' reaches it. */
static bool gather(const uint8_t *letters, uint32_t *number)
{
    uint64_t v;

    memcpy(&v, letters, sizeof v);
    v = payload_little_endian(v) - 0x6161616161616161u;
    if (v & 0xf0f0f0f0f0f0f0f0u)
        return false;
    v = (v | v >> 4) & 0x00ff00ff00ff00ffu;
    v = (v | v >> 8) & 0x0000ffff0000ffffu;
    *number = (uint32_t)(v | v >> 16);
    return true;
}

/* The number nearest to the expected one whose lowest digits these are. */
static uint32_t complete(uint32_t told, unsigned digits, uint32_t expected)
{
    unsigned unknown_bits = 4 * (8 - digits);

    if (digits == 0)
        return expected;
    return expected + (uint32_t)((int32_t)((told - expected) << unknown_bits) >> unknown_bits);
}

bool payload_read_head(const struct payload *p, const uint8_t *head, struct payload_name *name)
{
    uint8_t letters[PAYLOAD_HEAD_MAX + 1] = "aaaaaaaaaaaaaaaa...";
    uint32_t sequence, from;

    memcpy(letters, head, p->head_bytes);
    for (unsigned i = 0; p->is_raw && i < p->head_bytes; i++)
        letters[i] ^= p->key[i % 4];
    if (!gather(letters, &sequence) || !gather(letters + 8, &from) || memcmp(letters + 16, "...", 3))
        return false;
    name->sequence = complete(sequence, p->digits < 8 ? p->digits : 8, name->sequence);
    name->from = complete(from, p->digits > 8 ? p->digits - 8 : 0, name->from);
    return true;
}
