/* What messages say: content that is a function of (connection, sequence), so that whatever comes back can be
 * checked for content, order and loss without keeping what was sent.
 *
 *     payload of 16 bytes and more     head: 8 digits of the sequence, 8 of the connection, 0 to 3 dots
 *                                      body: a piece of the reel, a multiple of 4 bytes long
 *     shorter ones                     as many digits as there is room for
 *
 * A digit is a letter from 'a' to 'p', the lowest first: four bits are spread and gathered eight digits at a
 * time. Where the body begins on the reel is a hash of both numbers, so that neighbours differ. The reel is a
 * made-up text whose characters never cross a multiple of 4, so that every piece of it is valid UTF-8.
 *
 * The reel exists twice, plain and masked: with one masking key for the whole run and pieces that begin at
 * multiples of 4, a frame is put together by copying, or without any copy by pointing at the masked reel. One
 * key is enough for a load, which has nothing to protect; no server can take advantage of it.
 *
 * Memory: two reels of the message's size and 4 KiB. Nothing here changes after payload_init, so that all
 * threads share one. */
#ifndef WEFT_BENCH_PAYLOAD_H
#define WEFT_BENCH_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proto/frame.h"
#include "proto/mask.h"

#define PAYLOAD_DIGITS      16
#define PAYLOAD_HEAD_MAX    (PAYLOAD_DIGITS + 3)
#define PAYLOAD_BEGINS      1024 /* places on the reel where a body may begin */
#define PAYLOAD_FRONT_MAX   (FRAME_HEADER_BYTES_MAX + PAYLOAD_HEAD_MAX)
#define PAYLOAD_IDENTIFYING PAYLOAD_DIGITS /* from this size on a message tells whole numbers */
#define PAYLOAD_BYTES_MAX   ((size_t)256 * 1024 * 1024)

enum payload_kind { PAYLOAD_TEXT, PAYLOAD_UTF8, PAYLOAD_BINARY };

struct payload {
    size_t bytes;
    unsigned digits, head_bytes;
    size_t body_bytes;
    size_t frame_bytes;  /* of a frame as it is sent */
    size_t answer_bytes; /* of a frame as it comes back: unmasked, or with raw the very same */
    uint8_t header[FRAME_HEADER_BYTES_MAX], answer_header[FRAME_HEADER_BYTES_MAX];
    unsigned header_bytes, answer_header_bytes;
    uint8_t key[4];
    uint8_t opcode;
    bool is_raw;
    uint8_t *plain, *masked; /* the reels */
    const uint8_t *answer;   /* the reel that answers are compared with */
};

/* Which message something is. */
struct payload_name {
    uint32_t from; /* number of the connection that sends it */
    uint32_t sequence;
};

/* is_raw: frames come back as they were sent. False: no memory. */
bool payload_init(struct payload *p, enum payload_kind kind, size_t bytes, bool is_raw, uint32_t seed);
void payload_fini(struct payload *p);

/* Write frame header and head, masked: what stands before the body in a frame. Room for PAYLOAD_FRONT_MAX.
 * Returns  its length */
static inline unsigned payload_front(const struct payload *p, struct payload_name name, uint8_t *out);

static inline const uint8_t *payload_body(const struct payload *p, struct payload_name name);

/* Read the head of an answer.
 *
 * head      head_bytes of an answer, masked when raw
 * name      in: what is expected, for what a short head does not tell; out: what it says
 * Returns   false when this is no head */
bool payload_read_head(const struct payload *p, const uint8_t *head, struct payload_name *name);

/* Is this the piece of the answer's body that begins at byte `at` of it? */
static inline bool payload_body_matches(const struct payload *p, struct payload_name name, size_t at,
                                        const uint8_t *data, size_t bytes);

/* Is this a whole answer, frame header included, in one frame? False says no more than that it needs a
 * closer look.
 *
 * data      answer_bytes of them
 * name      as in payload_read_head */
static inline bool payload_matches(const struct payload *p, const uint8_t *data, struct payload_name *name);

/* --- inline --- */

static inline uint64_t payload_little_endian(uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap64(v);
#else
    return v;
#endif
}

static inline uint64_t payload_spread(uint32_t number)
{
    uint64_t v = number;

    v = (v | v << 16) & 0x0000ffff0000ffffu;
    v = (v | v << 8) & 0x00ff00ff00ff00ffu;
    v = (v | v << 4) & 0x0f0f0f0f0f0f0f0fu;
    return payload_little_endian(v + 0x6161616161616161u);
}

static inline void payload_write_head(const struct payload *p, struct payload_name name, uint8_t *out)
{
    uint64_t low = payload_spread(name.sequence), high = payload_spread(name.from);
    uint8_t head[PAYLOAD_HEAD_MAX + 1];

    memcpy(head, &low, 8);
    memcpy(head + 8, &high, 8);
    memcpy(head + 16, "....", 4);
    memcpy(out, head, p->head_bytes);
}

static inline size_t payload_begin(struct payload_name name)
{
    uint32_t hash = name.from * 0x9e3779b1u + name.sequence * 0x85ebca6bu;

    return hash >> 22 << 2; /* the top 10 bits choose one of PAYLOAD_BEGINS */
}

static inline unsigned payload_front(const struct payload *p, struct payload_name name, uint8_t *out)
{
    uint64_t low = payload_spread(name.sequence), high = payload_spread(name.from), key;
    uint8_t head[PAYLOAD_HEAD_MAX + 1];

    memcpy(&key, p->key, 4);
    memcpy((uint8_t *)&key + 4, p->key, 4);
    low ^= key;
    high ^= key;
    memcpy(head, &low, 8);
    memcpy(head + 8, &high, 8);
    for (int i = 0; i < 4; i++)
        head[16 + i] = '.' ^ p->key[i];
    memcpy(out, p->header, p->header_bytes);
    memcpy(out + p->header_bytes, head, p->head_bytes);
    return p->header_bytes + p->head_bytes;
}

static inline const uint8_t *payload_body(const struct payload *p, struct payload_name name)
{
    return p->masked + payload_begin(name);
}

static inline bool payload_body_matches(const struct payload *p, struct payload_name name, size_t at,
                                        const uint8_t *data, size_t bytes)
{
    return memcmp(data, p->answer + payload_begin(name) + at, bytes) == 0;
}

static inline bool payload_matches(const struct payload *p, const uint8_t *data, struct payload_name *name)
{
    const uint8_t *head = data + p->answer_header_bytes;

    return memcmp(data, p->answer_header, p->answer_header_bytes) == 0 && payload_read_head(p, head, name) &&
           payload_body_matches(p, *name, 0, head + p->head_bytes, p->body_bytes);
}

#endif
