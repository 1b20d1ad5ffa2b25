/* zlib, bent to messages; see deflate.h.
 *
 * Compressing ends with a sync flush, whose last four bytes are not sent; inflating feeds them behind the
 * payload. Both work into a block on the stack first, so that most messages get memory of exactly their size,
 * once.
 *
 * What does not get smaller. Without takeover the compressor stops as soon as it has written as much as it
 * has read, and the message goes plain. With takeover the peer's window must stay what the compressor
 * believes it to be, so a message whose compressed form is thrown away costs the context. It is thrown away
 * when the message is at least as long as the window: then the context would hold nothing but a part of it
 * anyway. A shorter one is sent compressed. */
#include "proto/deflate.h"

#include <assert.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

#include "base/mem.h"
#include "proto/utf8.h"

/* On the stack of who compresses or inflates. */
#define SCRATCH_BYTES 8192u
/* At least so much is taken at once when the scratch was too small; it doubles from there. */
#define FIRST_ROOM_BYTES (4u * SCRATCH_BYTES)
/* So many times its length is text, at first sight. */
#define USUAL_RATIO 4u

/* What a sync flush ends with. Source: RFC 7692 section 7.2.1 */
static const uint8_t tail[] = {0x00, 0x00, 0xff, 0xff};
#define TAIL_BYTES sizeof tail

/* --- zlib's memory --- */

/* A block for zlib, which does not say how large what it frees is. */
union heap_block {
    size_t bytes;
    max_align_t align;
};

static void *heap_alloc(void *total, unsigned items, unsigned size)
{
    size_t bytes = sizeof(union heap_block) + (size_t)items * size;
    union heap_block *b = mem_alloc(bytes);

    if (!b)
        return Z_NULL;
    b->bytes = bytes;
    *(size_t *)total += bytes;
    return b + 1;
}

static void heap_free(void *total, void *p)
{
    union heap_block *b = (union heap_block *)p - 1;

    *(size_t *)total -= b->bytes;
    mem_free(b);
}

static void heap_use(z_stream *z, size_t *total)
{
    *z = (z_stream){.zalloc = heap_alloc, .zfree = heap_free, .opaque = total};
}

/* --- output: the scratch, and behind it a message that grows --- */

struct sink {
    weft_msg *msg; /* NULL: it is all in scratch */
    uint8_t *at;   /* the first byte */
    size_t used, room;
    size_t bytes_max;
    size_t first_room; /* of the message, should it come to one */
    uint8_t scratch[SCRATCH_BYTES];
};

static void sink_init(struct sink *s, size_t bytes_max, size_t expected_bytes)
{
    s->msg = NULL;
    s->at = s->scratch;
    s->used = 0;
    s->bytes_max = bytes_max;
    s->first_room = expected_bytes > FIRST_ROOM_BYTES ? expected_bytes : FIRST_ROOM_BYTES;
    s->room = bytes_max < SCRATCH_BYTES ? bytes_max : SCRATCH_BYTES;
}

/* More room, when all of it is used and bytes_max allows more. False: no memory. */
static bool sink_grow(struct sink *s)
{
    size_t room = s->msg ? s->room * 2 : s->first_room;
    weft_msg *bigger;

    if (room > s->bytes_max)
        room = s->bytes_max;
    bigger = s->msg ? msg_grow(s->msg, s->used, room) : msg_alloc(WEFT_BINARY, room);
    if (!bigger)
        return false;
    if (!s->msg)
        memcpy(bigger->payload, s->scratch, s->used);
    s->msg = bigger;
    s->at = bigger->payload;
    s->room = room;
    return true;
}

static void sink_drop(struct sink *s)
{
    if (s->msg)
        msg_free(s->msg);
}

/* What is in it as a message; the sink is empty then. A block of which most is unused is not kept. NULL: no
 * memory. */
static weft_msg *sink_finish(struct sink *s, unsigned type, bool is_compressed)
{
    weft_msg *m = s->msg;

    if (!m || s->used < s->room - s->room / 4) {
        m = msg_alloc(type, s->used);
        if (m && s->used)
            memcpy(m->payload, s->at, s->used);
        sink_drop(s);
    }
    if (!m)
        return NULL;
    m->type = type & 15;
    m->is_compressed = is_compressed;
    msg_seal(m, s->used);
    return m;
}

/* --- compressing --- */

struct deflater {
    z_stream z;
    size_t heap_bytes;
    uint8_t window_bits;
    bool is_fresh; /* remembers nothing */
};

struct deflater *deflater_new(unsigned window_bits, unsigned level, unsigned mem_level)
{
    struct deflater *d = mem_alloc(sizeof *d);

    assert(window_bits >= DEFLATE_WINDOW_BITS_MIN && window_bits <= DEFLATE_WINDOW_BITS_MAX);
    if (!d)
        return NULL;
    *d = (struct deflater){.window_bits = (uint8_t)window_bits, .is_fresh = true};
    heap_use(&d->z, &d->heap_bytes);
    if (deflateInit2(&d->z, (int)level, Z_DEFLATED, -(int)window_bits, (int)mem_level, Z_DEFAULT_STRATEGY) ==
        Z_OK)
        return d;
    mem_free(d);
    return NULL;
}

void deflater_free(struct deflater *d)
{
    if (!d)
        return;
    deflateEnd(&d->z);
    mem_free(d);
}

void deflater_reset(struct deflater *d)
{
    if (!d->is_fresh)
        deflateReset(&d->z);
    d->is_fresh = true;
}

void deflater_set_level(struct deflater *d, unsigned level)
{
    assert(d->is_fresh);
    deflateParams(&d->z, (int)level, Z_DEFAULT_STRATEGY);
}

size_t deflater_bytes(const struct deflater *d)
{
    return sizeof *d + d->heap_bytes;
}

unsigned deflater_window_bits(const struct deflater *d)
{
    return d->window_bits;
}

enum packing { PACKED, NOT_SMALLER, NO_MEMORY };

/* All of p into the sink, up to the tail. */
static enum packing pack(struct deflater *d, const uint8_t *p, size_t n, struct sink *s)
{
    z_stream *z = &d->z;

    d->is_fresh = false;
    z->next_in = p;
    z->avail_in = (unsigned)n;
    for (;;) {
        z->next_out = s->at + s->used;
        z->avail_out = (unsigned)(s->room - s->used);
        deflate(z, Z_SYNC_FLUSH);
        s->used = s->room - z->avail_out;
        if (z->avail_out)
            break;
        if (s->room == s->bytes_max)
            return NOT_SMALLER;
        if (!sink_grow(s))
            return NO_MEMORY;
    }
    assert(z->avail_in == 0 && s->used > TAIL_BYTES);
    s->used -= TAIL_BYTES;
    return PACKED;
}

int deflater_message(struct deflater *d, const weft_msg *m, bool keeps, weft_msg **out)
{
    bool may_go_plain = !keeps || m->bytes >= 1u << d->window_bits;
    enum packing result;
    struct sink s MEM_NOT_ZEROED;

    *out = NULL;
    if (!m->bytes)
        return WEFT_OK; /* one byte compressed, none plain */
    /* A sink that is full when it ends counts as too long: so one byte shorter than the message passes. */
    sink_init(&s, may_go_plain ? m->bytes + TAIL_BYTES : (size_t)deflate_bytes_max(m->bytes),
              m->bytes / USUAL_RATIO);
    result = pack(d, m->payload, m->bytes, &s);
    if (result == PACKED) {
        *out = sink_finish(&s, m->type, true);
        if (*out)
            return WEFT_OK;
    } else {
        sink_drop(&s);
    }
    /* The peer will not see what d has seen. */
    deflater_reset(d);
    return result == NOT_SMALLER ? WEFT_OK : WEFT_E_NOMEM;
}

/* --- inflating --- */

struct inflater {
    z_stream z;
    size_t heap_bytes;
    uint8_t window_bits;
    uint8_t tail_used; /* of tail, behind the message's last piece */
    bool is_fresh;     /* remembers nothing */
    bool is_ended;     /* a block with BFINAL was the last thing read */
    bool in_message;   /* a byte of it has come */
};

struct inflater *inflater_new(unsigned window_bits)
{
    struct inflater *z = mem_alloc(sizeof *z);

    assert(window_bits >= 8 && window_bits <= DEFLATE_WINDOW_BITS_MAX);
    if (!z)
        return NULL;
    *z = (struct inflater){.is_fresh = true};
    z->window_bits = (uint8_t)(window_bits < DEFLATE_WINDOW_BITS_MIN ? DEFLATE_WINDOW_BITS_MIN : window_bits);
    heap_use(&z->z, &z->heap_bytes);
    if (inflateInit2(&z->z, -(int)z->window_bits) == Z_OK)
        return z;
    mem_free(z);
    return NULL;
}

void inflater_free(struct inflater *z)
{
    if (!z)
        return;
    inflateEnd(&z->z);
    mem_free(z);
}

void inflater_reset(struct inflater *z, unsigned window_bits)
{
    if (window_bits < DEFLATE_WINDOW_BITS_MIN)
        window_bits = DEFLATE_WINDOW_BITS_MIN;
    if (!z->is_fresh || window_bits != z->window_bits)
        inflateReset2(&z->z, -(int)window_bits);
    z->window_bits = (uint8_t)window_bits;
    z->tail_used = 0;
    z->is_fresh = true;
    z->is_ended = false;
    z->in_message = false;
}

size_t inflater_bytes(const struct inflater *z)
{
    return sizeof *z + z->heap_bytes;
}

unsigned inflater_window_bits(const struct inflater *z)
{
    return z->window_bits;
}

void inflater_save(struct inflater *z, struct window *w)
{
    unsigned bytes = 0;

    assert(w->room >= 1u << z->window_bits);
    inflateGetDictionary(&z->z, w->octets, &bytes);
    w->bytes = bytes;
}

int inflater_restore(struct inflater *z, const struct window *w)
{
    z->is_fresh = false;
    return inflateSetDictionary(&z->z, w->octets, w->bytes) == Z_OK ? WEFT_OK : WEFT_E_NOMEM;
}

/* Inflate some of in. flush: Z_SYNC_FLUSH, or Z_BLOCK to stop behind each block. False: *result tells. */
static bool inflate_some(struct inflater *z, const uint8_t *in, size_t n, size_t *used, int flush,
                         enum inflater_result *result)
{
    int rc;

    /* What follows a block with BFINAL is another stream, which may still refer to the one before. */
    if (z->is_ended)
        inflateResetKeep(&z->z);
    z->is_ended = false;
    z->is_fresh = false;
    z->z.next_in = in;
    z->z.avail_in = (unsigned)n;
    rc = inflate(&z->z, flush);
    *used = n - z->z.avail_in;
    z->is_ended = rc == Z_STREAM_END;
    *result = rc == Z_MEM_ERROR ? INFLATER_NOMEM : INFLATER_BAD;
    return rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR; /* the last: it waits for bytes or room */
}

static bool is_behind_block(const struct inflater *z)
{
    return z->z.data_type & 128;
}

/* And behind the last bit of a byte. */
static bool is_behind_whole_block(const struct inflater *z)
{
    return is_behind_block(z) && (z->z.data_type & 63) == 0;
}

static enum inflater_result message_ends(struct inflater *z)
{
    z->tail_used = 0;
    z->in_message = false;
    return INFLATER_END;
}

/* Behind the last piece: the message must end where the tail completes an empty block. Two that lack it are
 * complete all the same, and there are peers that send them: no payload at all, and a block with BFINAL
 * without the byte that should follow (section 7.2.3.4). */
static enum inflater_result inflate_tail(struct inflater *z)
{
    enum inflater_result result;
    size_t used;

    if (z->tail_used == 0 && !z->in_message)
        return message_ends(z);
    for (;;) {
        /* The end of the last block may come only now, when there was no room for what is before it. */
        if (z->tail_used == 0 && z->is_ended)
            return message_ends(z);
        /* By blocks, so that the end of one can be seen. */
        if (!inflate_some(z, tail + z->tail_used, TAIL_BYTES - z->tail_used, &used, Z_BLOCK, &result))
            return result;
        z->tail_used += (uint8_t)used;
        if (z->tail_used == TAIL_BYTES && is_behind_whole_block(z))
            return message_ends(z);
        if (!z->z.avail_out)
            return INFLATER_FULL;
        /* Without a new byte it goes on only with bits that were left, of which there are fewer each time. */
        if (!used && !is_behind_block(z) && !z->is_ended)
            return INFLATER_BAD;
    }
}

enum inflater_result inflater_feed(struct inflater *z, const uint8_t *in, size_t n, bool is_last,
                                   size_t *used, uint8_t *out, size_t room, size_t *made)
{
    enum inflater_result result = INFLATER_MORE;
    size_t taken;

    *used = 0;
    z->in_message |= n > 0;
    z->z.next_out = out;
    z->z.avail_out = (unsigned)room;
    while (*used < n && z->z.avail_out) {
        if (!inflate_some(z, in + *used, n - *used, &taken, Z_SYNC_FLUSH, &result))
            break;
        *used += taken;
        result = INFLATER_MORE;
    }
    if (result == INFLATER_MORE && !z->z.avail_out)
        result = INFLATER_FULL;
    else if (result == INFLATER_MORE && is_last)
        result = inflate_tail(z);
    *made = room - z->z.avail_out;
    return result;
}

/* Behind the end of the sink there is one byte more, to see whether anything would come there. */
static int inflate_all(struct inflater *z, const uint8_t *p, size_t n, struct sink *s)
{
    enum inflater_result result;
    uint8_t beyond;

    do {
        size_t room = s->room - s->used, used, made;

        result =
            inflater_feed(z, p, n, true, &used, room ? s->at + s->used : &beyond, room ? room : 1, &made);
        if (made > room)
            return WEFT_E_TOO_BIG;
        p += used;
        n -= used;
        s->used += made;
        if (result == INFLATER_FULL && s->used == s->room && s->room < s->bytes_max && !sink_grow(s))
            return WEFT_E_NOMEM;
    } while (result == INFLATER_FULL);
    return result == INFLATER_END ? WEFT_OK : result == INFLATER_NOMEM ? WEFT_E_NOMEM : WEFT_E_PROTOCOL;
}

static bool is_text_right(const struct sink *s)
{
    struct utf8_state utf8 = {0};

    return utf8_feed(&utf8, s->at, s->used) && utf8_is_complete(&utf8);
}

int inflater_message(struct inflater *z, const weft_msg *m, size_t bytes_max, weft_msg **out)
{
    struct sink s MEM_NOT_ZEROED;
    int rc;

    sink_init(&s, bytes_max, (size_t)m->bytes * USUAL_RATIO);
    rc = inflate_all(z, m->payload, m->bytes, &s);
    if (rc == WEFT_OK && m->type == WEFT_TEXT && !is_text_right(&s))
        rc = WEFT_E_UTF8;
    if (rc != WEFT_OK) {
        sink_drop(&s);
        return rc;
    }
    *out = sink_finish(&s, m->type, false);
    return *out ? WEFT_OK : WEFT_E_NOMEM;
}

uint16_t inflater_close_code(int rc, const char **reason)
{
    switch (rc) {
    case WEFT_E_TOO_BIG:
        *reason = "a message that is too long once inflated";
        return WEFT_CLOSE_TOO_BIG;
    case WEFT_E_UTF8:
        *reason = "text that is not UTF-8";
        return WEFT_CLOSE_INVALID_DATA;
    case WEFT_E_PROTOCOL:
        *reason = "compressed data that cannot be inflated";
        return WEFT_CLOSE_INVALID_DATA;
    default:
        *reason = "no memory";
        return WEFT_CLOSE_INTERNAL_ERROR;
    }
}
