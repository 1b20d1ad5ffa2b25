/* The receiving half of the protocol as a state machine; see session.h.
 *
 * The order of the checks follows the order in which bytes arrive: two bytes decide the opcode, the
 * reserved bits, fragmentation and the mask; the whole header decides the length; then each piece of
 * payload is unmasked on its way into the message and, for text, checked at once. So a peer's fault is
 * reported with the first byte that shows it. */
#include "proto/session.h"

#include <string.h>

#include "base/mem.h"
#include "proto/deflate.h"
#include "proto/mask.h"

/* A message gets its memory at once up to this size, and beyond it as its bytes arrive. */
#define FIRST_ROOM_BYTES (128u * 1024u)
/* Below this, receiving into a shared buffer and copying is cheaper than a second iovec. */
#define DIRECT_BYTES_MIN 4096u
/* From this size on, the next message is guessed to be like the last. */
#define GUESS_BYTES_MIN (16u * 1024u)
#define GUESS_BYTES_MAX (1024u * 1024u)
/* Unmask and check so much at a time, that the second finds it in the first-level cache. */
#define STRIDE_BYTES (16u * 1024u)
/* The largest part, with gives_parts. */
#define PART_BYTES_MAX (64u * 1024u)
/* In the first byte of a frame. */
#define RSV1 0x40u

/* The same whether a frame comes whole or in pieces. */
static const char text_is_wrong[] = "text that is not UTF-8";
static const char text_is_cut[] = "text that ends inside a character";
static const char no_memory[] = "no memory";

void session_init(struct session *s, const struct session_config *config, uint64_t now_ms)
{
    memset(s, 0, sizeof *s);
    s->config = config;
    session_set_due(s, config->ping_interval_ms == UINT32_MAX ? SESSION_NEVER : now_ms + config->ping_interval_ms);
}

/* NULL: no memory. */
static struct session_reading *begin_reading(struct session *s)
{
    if (!s->reading) {
        s->reading = mem_block_alloc(sizeof *s->reading);
        if (s->reading)
            *s->reading = (struct session_reading){0};
    }
    return s->reading;
}

static void end_reading(struct session *s)
{
    struct session_reading *r = s->reading;

    s->reading = NULL;
    if (!r)
        return;
    if (r->msg)
        msg_free(r->msg);
    if (r->control)
        msg_free(r->control);
    mem_block_free(r);
}

void session_fini(struct session *s)
{
    if (!s->failed)
        end_reading(s);
}

void session_give_up(struct session *s)
{
    session_fini(s);
    s->failed = true;
}

static enum session_event_kind fail(struct session *s, struct session_event *ev, int error,
                                    const char *reason)
{
    session_give_up(s);
    s->fault = reason;
    ev->error = error;
    ev->code = error == WEFT_E_UTF8      ? WEFT_CLOSE_INVALID_DATA
               : error == WEFT_E_TOO_BIG ? WEFT_CLOSE_TOO_BIG
               : error == WEFT_E_NOMEM   ? WEFT_CLOSE_INTERNAL_ERROR
                                         : WEFT_CLOSE_PROTOCOL_ERROR;
    ev->reason = reason;
    return SESSION_FAIL;
}

/* --- headers --- */

static bool is_control(unsigned opcode) { return opcode & 8; }

static bool is_in_message(const struct session *s)
{
    return s->reading && s->reading->in_message;
}

/* Nothing of the next frame has come. */
static bool is_between_frames(const struct session *s)
{
    return !s->reading || (!s->reading->in_frame && !s->reading->header_have);
}

/* RSV1 belongs to the first frame of a data message. Source: RFC 7692 section 6 */
static bool may_be_compressed(const struct session *s, unsigned opcode)
{
    return s->config->allows_compressed && (opcode == FRAME_TEXT || opcode == FRAME_BINARY);
}

/* What a message may have, as it comes. */
static uint64_t wire_bytes_max(const struct session *s, bool is_compressed)
{
    uint64_t most = s->config->message_bytes_max;

    if (is_compressed)
        most = deflate_bytes_max(most);
    return most < MSG_BYTES_MAX ? most : MSG_BYTES_MAX;
}

/* What the first two bytes show. NULL: nothing wrong. */
static const char *check_first_bytes(const struct session *s, uint8_t first, uint8_t second)
{
    unsigned opcode = first & 15;
    bool is_masked = second & 0x80;

    if ((first & 0x30) || ((first & RSV1) && !may_be_compressed(s, opcode)))
        return "a reserved bit is set";
    if ((opcode > FRAME_BINARY && opcode < FRAME_CLOSE) || opcode > FRAME_PONG)
        return "a reserved opcode";
    if (is_masked == s->config->is_client)
        return is_masked ? "a server must not mask" : "a client must mask";
    if (is_control(opcode)) {
        if (!(first & 0x80))
            return "a fragmented control frame";
        if ((second & 0x7f) > FRAME_CONTROL_BYTES_MAX)
            return "a control frame that is too long";
    } else if (opcode == FRAME_CONTINUATION && !is_in_message(s)) {
        return "a continuation without a message";
    } else if (opcode != FRAME_CONTINUATION && is_in_message(s)) {
        return "a new message inside a fragmented one";
    }
    return NULL;
}

static enum session_event_kind begin_data_frame(struct session *s, const struct frame_header *h, struct session_event *ev)
{
    struct session_reading *r = s->reading;
    uint64_t room;

    if (h->opcode != FRAME_CONTINUATION) {
        r->message_type = h->opcode;
        r->is_compressed = h->reserved;
        r->in_message = true;
    }
    if (s->config->gives_parts)
        return SESSION_NONE; /* neither count nor length costs anything */
    if (++r->fragments > s->config->fragments_max) {
        enum session_event_kind k = fail(s, ev, WEFT_E_TOO_BIG, "too many fragments");
        ev->code = WEFT_CLOSE_POLICY_VIOLATION;
        return k;
    }
    room = r->msg_bytes + h->bytes;
    if (room > wire_bytes_max(s, r->is_compressed))
        return fail(s, ev, WEFT_E_TOO_BIG, "a message that is too long");
    if (r->msg)
        return SESSION_NONE;
    r->msg_room = room < FIRST_ROOM_BYTES ? (uint32_t)room : FIRST_ROOM_BYTES;
    r->msg = msg_alloc(r->message_type, r->msg_room);
    return r->msg ? SESSION_NONE : fail(s, ev, WEFT_E_NOMEM, no_memory);
}

static enum session_event_kind begin_frame(struct session *s, const struct frame_header *h, struct session_event *ev)
{
    struct session_reading *r = s->reading;

    r->opcode = h->opcode;
    r->is_final = h->is_final;
    r->frame_left = h->bytes;
    r->frame_offset = 0;
    r->in_frame = true;
    r->header_have = 0;
    if (h->is_masked)
        memcpy(r->key, h->key, 4);
    else
        memset(r->key, 0, 4);
    if (!is_control(h->opcode))
        return begin_data_frame(s, h, ev);
    r->control = msg_alloc(h->opcode, h->bytes);
    return r->control ? SESSION_NONE : fail(s, ev, WEFT_E_NOMEM, no_memory);
}

/* Collect header bytes; *used of them were taken. */
static enum session_event_kind feed_header(struct session *s, const uint8_t *p, size_t n, size_t *used,
                                           struct session_event *ev)
{
    struct session_reading *r = s->reading;
    struct frame_header h;
    size_t taken = 0;

    while (taken < n) {
        const char *fault;

        r->header[r->header_have++] = p[taken++];
        if (r->header_have < 2)
            continue;
        if (r->header_have == 2 && (fault = check_first_bytes(s, r->header[0], r->header[1])) != NULL)
            return fail(s, ev, WEFT_E_PROTOCOL, fault);
        if (r->header_have < frame_header_bytes(r->header[1]))
            continue;
        *used = taken;
        if (!frame_read_header(r->header, &h))
            return fail(s, ev, WEFT_E_PROTOCOL, "a length that is not in its shortest form");
        return begin_frame(s, &h, ev);
    }
    *used = taken;
    return SESSION_NONE;
}

/* --- payload --- */

/* ev->payload is the frame's. */
static enum session_event_kind finish_close(struct session *s, struct session_event *ev)
{
    struct utf8_state utf8 = {0};
    const uint8_t *p = (const uint8_t *)ev->payload;
    unsigned n = ev->bytes;

    ev->code = WEFT_CLOSE_NO_STATUS;
    ev->bytes = 0;
    if (n == 1)
        return fail(s, ev, WEFT_E_PROTOCOL, "a close code of one byte");
    if (n >= 2) {
        ev->code = (uint16_t)(p[0] << 8 | p[1]);
        if (!frame_close_code_is_valid(ev->code))
            return fail(s, ev, WEFT_E_PROTOCOL, "a close code that may not be sent");
        if (!utf8_feed(&utf8, p + 2, n - 2) || !utf8_is_complete(&utf8))
            return fail(s, ev, WEFT_E_UTF8, "a close reason that is not UTF-8");
        ev->bytes = (uint8_t)(n - 2);
        memmove(ev->payload, p + 2, ev->bytes);
    }
    ev->payload[ev->bytes] = '\0';
    s->close_received = true;
    end_reading(s);
    return SESSION_CLOSE;
}

static void note_pong(struct session *s, const struct session_event *ev)
{
    uint8_t payload[SESSION_PING_BYTES];

    session_ping_payload(s, payload);
    if (!s->ping_waits || ev->bytes != sizeof payload || memcmp(ev->payload, payload, sizeof payload) != 0)
        return;
    s->ping_waits = false;
    if (!s->close_sent)
        session_set_due(s, (uint64_t)s->due_ms - s->config->ping_timeout_ms + s->config->ping_interval_ms);
}

/* n bytes in ev->payload are all of it. */
static enum session_event_kind finish_control(struct session *s, unsigned opcode, size_t n,
                                              struct session_event *ev)
{
    ev->bytes = (uint8_t)n;
    if (opcode == FRAME_CLOSE)
        return finish_close(s, ev);
    if (opcode == FRAME_PING)
        return SESSION_PING;
    note_pong(s, ev);
    return SESSION_PONG;
}

static enum session_event_kind feed_control(struct session *s, const uint8_t *p, size_t n, size_t *used,
                                            struct session_event *ev)
{
    struct session_reading *r = s->reading;
    unsigned opcode = r->opcode, bytes;

    if (n > r->frame_left)
        n = (size_t)r->frame_left;
    if (n)
        mask_copy(r->control->payload + r->frame_offset, p, n, r->key, r->frame_offset);
    r->frame_offset += (uint8_t)n;
    r->frame_left -= n;
    *used = n;
    if (r->frame_left)
        return SESSION_NONE;
    bytes = r->frame_offset;
    memcpy(ev->payload, r->control->payload, bytes);
    msg_free(r->control);
    r->control = NULL;
    r->in_frame = false;
    if (!r->in_message)
        end_reading(s);
    return finish_control(s, opcode, bytes, ev);
}

/* Make room for n more bytes. The room doubles, but never beyond what is known to come. */
static bool ensure_room(struct session *s, size_t n)
{
    struct session_reading *r = s->reading;
    uint64_t needed = (uint64_t)r->msg_bytes + n, room = (uint64_t)r->msg_room * 2;
    uint64_t most = wire_bytes_max(s, r->is_compressed), known = (uint64_t)r->msg_bytes + r->frame_left;
    uint64_t at_once = known < FIRST_ROOM_BYTES ? known : FIRST_ROOM_BYTES;
    weft_msg *bigger;

    if (needed <= r->msg_room)
        return true;
    /* A large fragment behind a small one is begun like a large message. */
    if (room < at_once)
        room = at_once;
    if (r->is_final && room > known)
        room = known;
    if (room > most)
        room = most;
    if (room < needed)
        room = needed;
    bigger = msg_grow(r->msg, r->msg_bytes, (size_t)room);
    if (!bigger)
        return false;
    r->msg = bigger;
    r->msg_room = (uint32_t)room;
    return true;
}

/* A whole message of one frame, or of several. */
static enum session_event_kind message_arrived(struct session *s, weft_msg *m, size_t n, bool is_one_frame,
                                               bool is_compressed, struct session_event *ev)
{
    m->is_compressed = is_compressed;
    msg_seal(m, n);
    ev->is_first = ev->is_last = true;
    is_one_frame = is_one_frame && !s->config->gives_parts;
    s->like_bytes = is_one_frame && n >= GUESS_BYTES_MIN && n <= GUESS_BYTES_MAX ? (uint32_t)n & 0xffffff : 0;
    ev->msg = m;
    return SESSION_MESSAGE;
}

/* n bytes of payload are in their place, unmasked: check them, and finish what they complete. is_ascii:
 * unmasking has shown that they are. */
static enum session_event_kind payload_arrived(struct session *s, size_t n, bool is_ascii, struct session_event *ev)
{
    struct session_reading *r = s->reading;
    weft_msg *m = r->msg;
    uint32_t bytes, fragments = r->fragments;
    bool is_compressed = r->is_compressed, is_text = r->message_type == FRAME_TEXT && !is_compressed;

    if (is_text && !(is_ascii && utf8_is_complete(&r->utf8)) &&
        !utf8_feed(&r->utf8, m->payload + r->msg_bytes, n))
        return fail(s, ev, WEFT_E_UTF8, text_is_wrong);
    bytes = r->msg_bytes += (uint32_t)n;
    r->frame_offset += (uint8_t)n;
    r->frame_left -= n;
    if (r->frame_left)
        return SESSION_NONE;
    r->in_frame = false;
    if (!r->is_final)
        return SESSION_NONE;
    if (is_text && !utf8_is_complete(&r->utf8))
        return fail(s, ev, WEFT_E_UTF8, text_is_cut);
    r->msg = NULL;
    end_reading(s);
    return message_arrived(s, m, bytes, fragments == 1, is_compressed, ev);
}

/* --- parts --- */

/* r->msg holds the next piece of the frame, n bytes. A frame without payload is no part unless it ends the
 * message. */
static enum session_event_kind give_part(struct session *s, size_t n, struct session_event *ev)
{
    struct session_reading *r = s->reading;
    weft_msg *m = r->msg;
    bool is_end = r->is_final && r->frame_left == n;
    bool is_text = r->message_type == FRAME_TEXT && !r->is_compressed;

    if (is_text && !utf8_feed(&r->utf8, m->payload, n))
        return fail(s, ev, WEFT_E_UTF8, text_is_wrong);
    if (is_end && is_text && !utf8_is_complete(&r->utf8))
        return fail(s, ev, WEFT_E_UTF8, text_is_cut);
    r->msg = NULL;
    r->frame_offset += (uint8_t)n;
    r->frame_left -= n;
    r->in_frame = r->frame_left != 0;
    ev->is_first = !r->has_given;
    ev->is_last = is_end;
    if (n || is_end) {
        r->has_given = true;
        m->is_compressed = r->is_compressed;
        msg_seal(m, n);
        ev->msg = m;
    } else {
        msg_free(m);
    }
    if (is_end)
        end_reading(s);
    return n || is_end ? SESSION_MESSAGE : SESSION_NONE;
}

static enum session_event_kind feed_part(struct session *s, const uint8_t *p, size_t n, size_t *used,
                                         struct session_event *ev)
{
    struct session_reading *r = s->reading;

    if (n > r->frame_left)
        n = (size_t)r->frame_left;
    if (n > PART_BYTES_MAX)
        n = PART_BYTES_MAX;
    *used = n;
    r->msg = msg_alloc(r->message_type, n);
    if (!r->msg)
        return fail(s, ev, WEFT_E_NOMEM, no_memory);
    if (n)
        mask_copy(r->msg->payload, p, n, r->key, r->frame_offset);
    return give_part(s, n, ev);
}

static enum session_event_kind feed_data(struct session *s, const uint8_t *p, size_t n, size_t *used,
                                         struct session_event *ev)
{
    struct session_reading *r = s->reading;
    bool is_ascii = false;

    if (s->config->gives_parts)
        return feed_part(s, p, n, used, ev);
    if (n > r->frame_left)
        n = (size_t)r->frame_left;
    *used = n;
    if (!ensure_room(s, n))
        return fail(s, ev, WEFT_E_NOMEM, no_memory);
    if (n)
        is_ascii = mask_copy_ascii(r->msg->payload + r->msg_bytes, p, n, r->key, r->frame_offset);
    return payload_arrived(s, n, is_ascii, ev);
}

/* --- frames that are whole in the buffer --- */

/* key NULL: it is not masked. True: it is ASCII; false says nothing. */
static inline bool unmask(uint8_t *to, const uint8_t *p, size_t n, const uint8_t *key)
{
    if (key)
        return mask_copy_ascii(to, p, n, key, 0);
    memcpy(to, p, n);
    return false;
}

/* Of a message that is given as one. */
static inline uint64_t whole_bytes_max(const struct session *s, bool is_compressed)
{
    return s->config->gives_parts ? PART_BYTES_MAX : wire_bytes_max(s, is_compressed);
}

/* Inlined, for feed_small_frame knows that n is small. */
__attribute__((always_inline)) static inline enum session_event_kind
take_message(struct session *s, unsigned opcode, bool is_compressed, const uint8_t *p, size_t n,
             const uint8_t *key, struct session_event *ev)
{
    weft_msg *m = msg_alloc(opcode, n);
    struct utf8_state utf8 = {0};
    bool is_right = true, is_ascii;

    if (!m)
        return fail(s, ev, WEFT_E_NOMEM, no_memory);
    is_ascii = unmask(m->payload, p, n, key);
    if (opcode == FRAME_TEXT && !is_ascii && !is_compressed)
        is_right = utf8_feed(&utf8, m->payload, n);
    if (is_right && utf8_is_complete(&utf8))
        return message_arrived(s, m, n, true, is_compressed, ev);
    msg_free(m);
    return fail(s, ev, WEFT_E_UTF8, is_right ? text_is_cut : text_is_wrong);
}

/* The usual case: one unfragmented masked data frame of up to 125 bytes. False: take the long way. */
static inline bool feed_small_frame(struct session *s, const uint8_t *p, size_t n, size_t *used,
                                    struct session_event *ev, enum session_event_kind *kind)
{
    unsigned opcode, bytes;

    /* FIN and one of the two opcodes; the mask bit and a length of one byte. */
    if (n < 6 || s->reading || s->config->is_client || (uint8_t)(p[0] - 0x81) > 1 ||
        (uint8_t)(p[1] - 0x80) > 125)
        return false;
    opcode = p[0] & 15;
    bytes = p[1] & 0x7f;
    if (n < 6 + bytes || bytes > whole_bytes_max(s, false))
        return false;
    *used = 6 + bytes;
    *kind = take_message(s, opcode, false, p + 6, bytes, p + 2, ev);
    return true;
}

/* Any other frame that is right, whole, and no fragment. False: take the long way, which finds out what is
 * wrong. */
static bool feed_whole_frame(struct session *s, const uint8_t *p, size_t n, size_t *used,
                             struct session_event *ev, enum session_event_kind *kind)
{
    struct frame_header h;
    const uint8_t *key;
    unsigned header;

    if (n < 2 || n < (header = frame_header_bytes(p[1])) || check_first_bytes(s, p[0], p[1]) ||
        !frame_read_header(p, &h) || h.bytes > n - header)
        return false;
    key = h.is_masked ? h.key : NULL;
    if (is_control(h.opcode)) {
        unmask((uint8_t *)ev->payload, p + header, (size_t)h.bytes, key);
        *kind = finish_control(s, h.opcode, (size_t)h.bytes, ev);
    } else {
        if (!h.is_final || h.opcode == FRAME_CONTINUATION || h.bytes > whole_bytes_max(s, h.reserved))
            return false;
        *kind = take_message(s, h.opcode, h.reserved, p + header, (size_t)h.bytes, key, ev);
    }
    *used = header + (size_t)h.bytes;
    return true;
}

/* --- feeding --- */

static enum session_event_kind feed_once(struct session *s, const uint8_t *p, size_t n, size_t *used,
                                         struct session_event *ev)
{
    enum session_event_kind kind;
    struct session_reading *r;

    if (is_between_frames(s) && feed_whole_frame(s, p, n, used, ev, &kind))
        return kind;
    r = begin_reading(s);
    if (!r)
        return fail(s, ev, WEFT_E_NOMEM, no_memory);
    if (!r->in_frame) {
        kind = feed_header(s, p, n, used, ev);
        if (kind != SESSION_NONE || !r->in_frame || r->frame_left)
            return kind;
        /* A frame without payload is complete with its header. */
        p = NULL;
        n = 0;
    }
    if (is_control(r->opcode)) {
        size_t taken;
        kind = feed_control(s, p, n, &taken, ev);
        if (p)
            *used = taken;
        return kind;
    }
    if (!p && s->config->gives_parts) {
        size_t none;
        return feed_part(s, NULL, 0, &none, ev);
    }
    if (!p)
        return payload_arrived(s, 0, false, ev);
    return feed_data(s, p, n, used, ev);
}

__attribute__((noinline)) static enum session_event_kind
feed_any(struct session *s, const uint8_t *p, size_t n, size_t *used, struct session_event *ev)
{
    size_t total = 0, taken;

    while (total < n && !s->failed && !s->close_received) {
        enum session_event_kind kind;

        taken = 0;
        kind = feed_once(s, p + total, n - total, &taken, ev);
        total += taken;
        if (kind != SESSION_NONE) {
            *used = total;
            return kind;
        }
    }
    *used = n;
    return SESSION_NONE;
}

enum session_event_kind session_feed(struct session *s, const uint8_t *p, size_t n, size_t *used,
                                     struct session_event *ev)
{
    enum session_event_kind kind;

    if (!s->failed && !s->close_received && feed_small_frame(s, p, n, used, ev, &kind))
        return kind;
    return feed_any(s, p, n, used, ev);
}

size_t session_direct(struct session *s, uint8_t **where)
{
    struct session_reading *r;

    if (s->failed || s->close_received || !s->reading)
        return 0;
    r = s->reading;
    if (s->config->gives_parts || !r->in_frame || is_control(r->opcode) || r->frame_left < DIRECT_BYTES_MIN)
        return 0;
    if (r->msg_room - r->msg_bytes < DIRECT_BYTES_MIN && !ensure_room(s, DIRECT_BYTES_MIN))
        return 0;
    *where = r->msg->payload + r->msg_bytes;
    if (r->frame_left < r->msg_room - r->msg_bytes)
        return (size_t)r->frame_left;
    return r->msg_room - r->msg_bytes;
}

enum session_event_kind session_feed_direct(struct session *s, size_t n, struct session_event *ev)
{
    struct session_reading *r = s->reading; /* while kind is NONE */
    enum session_event_kind kind;

    do {
        size_t step = n < STRIDE_BYTES ? n : STRIDE_BYTES;
        uint8_t *p = r->msg->payload + r->msg_bytes;
        bool is_ascii = !s->config->is_client && mask_copy_ascii(p, p, step, r->key, r->frame_offset);
        kind = payload_arrived(s, step, is_ascii, ev);
        n -= step;
    } while (n && kind == SESSION_NONE);
    return kind;
}

/* --- guesses --- */

bool session_guess(struct session *s, uint32_t bytes_max, struct session_guess *g)
{
    if (!s->like_bytes || s->failed || s->close_received || s->reading)
        return false;
    g->msg = msg_alloc(FRAME_BINARY, s->like_bytes);
    g->header_bytes = (uint8_t)((s->like_bytes <= 0xffff ? 4 : 10) + (s->config->is_client ? 0 : 4));
    g->bytes = s->like_bytes < bytes_max ? s->like_bytes : bytes_max;
    return g->msg != NULL;
}

static bool is_as_guessed(const struct session *s, const struct session_guess *g, size_t payload_bytes,
                          struct frame_header *h)
{
    if (g->header_bytes != frame_header_bytes(g->header[1]) ||
        check_first_bytes(s, g->header[0], g->header[1]) || !frame_read_header(g->header, h))
        return false;
    return !is_control(h->opcode) && h->bytes >= payload_bytes && h->bytes >= s->like_bytes / 2 &&
           h->bytes <= wire_bytes_max(s, h->reserved);
}

bool session_guess_came_true(struct session *s, struct session_guess *g, size_t n, enum session_event_kind *kind,
                             struct session_event *ev)
{
    struct frame_header h;
    struct session_reading *r;

    if (n < g->header_bytes || !is_as_guessed(s, g, n - g->header_bytes, &h))
        return false;
    r = begin_reading(s);
    if (!r) {
        msg_free(g->msg);
        *kind = fail(s, ev, WEFT_E_NOMEM, no_memory);
        return true;
    }
    r->msg = g->msg;
    r->msg->type = h.opcode;
    r->msg_room = s->like_bytes;
    *kind = begin_frame(s, &h, ev);
    if (*kind == SESSION_NONE)
        *kind = session_feed_direct(s, n - g->header_bytes, ev);
    return true;
}

void session_guess_drop(struct session_guess *g)
{
    msg_free(g->msg);
}
