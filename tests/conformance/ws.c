/* Frames, masks and UTF-8 of the tester; see ws.h. */
#include "ws.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void ws_random(uint8_t *dst, size_t bytes)
{
    if (getrandom(dst, bytes, 0) != (ssize_t)bytes) {
        perror("getrandom");
        exit(2);
    }
}

/* xorshift: the masks must differ, not be secret, and 65537 system calls a case would only make it slow. */
uint32_t ws_mask(void)
{
    static uint64_t state;

    while (state == 0)
        ws_random((uint8_t *)&state, sizeof state);
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static void put_big_endian(struct octets *out, uint64_t value, unsigned octets)
{
    uint8_t *dst = octets_extend(out, octets);

    for (unsigned i = 0; i < octets; i++)
        dst[i] = (uint8_t)(value >> (8 * (octets - 1 - i)));
}

static void put_length(struct octets *out, size_t bytes, unsigned mask_bit)
{
    if (bytes < 126) {
        put_big_endian(out, mask_bit | bytes, 1);
    } else if (bytes < 65536) {
        put_big_endian(out, mask_bit | 126, 1);
        put_big_endian(out, bytes, 2);
    } else {
        put_big_endian(out, mask_bit | 127, 1);
        put_big_endian(out, bytes, 8);
    }
}

void ws_mask_apply(uint8_t *payload, size_t bytes, uint32_t mask)
{
    for (size_t i = 0; i < bytes; i++)
        payload[i] = (uint8_t)(payload[i] ^ mask >> (24 - 8 * (i % 4)));
}

void ws_frame_put(struct octets *out, uint8_t first_octet, bool masked, const uint8_t *payload, size_t bytes)
{
    uint32_t mask = masked ? ws_mask() : 0;

    octets_put(out, &first_octet, 1);
    put_length(out, bytes, masked ? 0x80 : 0);
    if (masked)
        put_big_endian(out, mask, 4);
    octets_put(out, payload, bytes);
    if (masked)
        ws_mask_apply(out->data + out->bytes - bytes, bytes, mask);
}

static uint64_t get_big_endian(const uint8_t *octets, unsigned count)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < count; i++)
        value = value << 8 | octets[i];
    return value;
}

bool ws_head_read(const uint8_t *octets, size_t bytes, struct ws_head *head)
{
    unsigned form, extended;

    if (bytes < 2)
        return false;
    form = octets[1] & 0x7f;
    extended = form == 127 ? 8 : form == 126 ? 2 : 0;
    head->first_octet = octets[0];
    head->masked = octets[1] & 0x80;
    head->bytes = 2 + extended + (head->masked ? 4 : 0);
    if (bytes < head->bytes)
        return false;
    head->mask = head->masked ? (uint32_t)get_big_endian(octets + 2 + extended, 4) : 0;
    head->payload_bytes = extended ? get_big_endian(octets + 2, extended) : form;
    head->shortest = extended == 0 || head->payload_bytes >= (extended == 2 ? 126 : 65536);
    return true;
}

/* Table 3-7 of the Unicode standard: what may follow a lead octet; all octets after the second are 80..bf. */
static const struct {
    uint8_t lead_first, lead_last, second_first, second_last, octets;
} sequences[] = {
    {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
    {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
    {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

/* Octets of the well-formed sequence that begins here, 0 when there is none. */
static size_t sequence_octets(const uint8_t *s, size_t bytes)
{
    if (s[0] < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof sequences / sizeof sequences[0]; i++) {
        if (s[0] < sequences[i].lead_first || s[0] > sequences[i].lead_last)
            continue;
        if (bytes < sequences[i].octets || s[1] < sequences[i].second_first ||
            s[1] > sequences[i].second_last)
            return 0;
        for (size_t k = 2; k < sequences[i].octets; k++)
            if (s[k] < 0x80 || s[k] > 0xbf)
                return 0;
        return sequences[i].octets;
    }
    return 0;
}

bool ws_utf8_is_valid(const uint8_t *octets, size_t bytes)
{
    for (size_t at = 0, n; at < bytes; at += n) {
        n = sequence_octets(octets + at, bytes - at);
        if (n == 0)
            return false;
    }
    return true;
}

bool ws_close_code_is_valid(int code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}
