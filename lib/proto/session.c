/* The receiving half of the protocol as a state machine, and its timeouts; see session.h.
 *
 * The order of the checks follows the order in which bytes arrive: two bytes decide the opcode, the
 * reserved bits, fragmentation and the mask; the whole header decides the length; then each piece of
 * payload is unmasked on its way into the message and, for text, checked at once. So a peer's fault is
 * reported with the first byte that shows it. */
#include "proto/session.h"

#include <string.h>

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

/* The same whether a frame comes whole or in pieces. */
static const char text_is_wrong[] = "text that is not UTF-8";
static const char text_is_cut[] = "text that ends inside a character";

void session_init(struct session *s, const struct session_config *config, uint64_t now_ms)
{
    memset(s, 0, sizeof *s);
    s->config = config;
    s->held_since_ms = SESSION_NEVER;
    s->due_ms = config->ping_interval_ms == UINT32_MAX ? SESSION_NEVER : now_ms + config->ping_interval_ms;
}

static void drop_messages(struct session *s)
{
    if (s->msg)
        msg_free(s->msg);
    if (s->control)
        msg_free(s->control);
    s->msg = s->control = NULL;
}

void session_fini(struct session *s) { drop_messages(s); }

static enum session_event_kind fail(struct session *s, struct session_event *ev, int error, const char *reason)
{
    s->failed = true;
    drop_messages(s);
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

/* What the first two bytes show. NULL: nothing wrong. */
static const char *check_first_bytes(const struct session *s, uint8_t first, uint8_t second)
{
    unsigned opcode = first & 15;
    bool is_masked = second & 0x80;

    if (first & 0x70)
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
    } else if (opcode == FRAME_CONTINUATION && !s->in_message) {
        return "a continuation without a message";
    } else if (opcode != FRAME_CONTINUATION && s->in_message) {
        return "a new message inside a fragmented one";
    }
    return NULL;
}

static enum session_event_kind begin_data_frame(struct session *s, const struct frame_header *h, struct session_event *ev)
{
    uint64_t room;

    if (h->opcode != FRAME_CONTINUATION) {
        s->message_type = h->opcode;
        s->msg_bytes = 0;
        s->fragments = 0;
        s->utf8 = (struct utf8_state){0};
        s->in_message = true;
    }
    if (++s->fragments > s->config->fragments_max) {
        enum session_event_kind k = fail(s, ev, WEFT_E_TOO_BIG, "too many fragments");
        ev->code = WEFT_CLOSE_POLICY_VIOLATION;
        return k;
    }
    room = s->msg_bytes + h->bytes;
    if (room > s->config->message_bytes_max)
        return fail(s, ev, WEFT_E_TOO_BIG, "a message that is too long");
    if (s->msg)
        return SESSION_NONE;
    s->msg_room = room < FIRST_ROOM_BYTES ? (uint32_t)room : FIRST_ROOM_BYTES;
    s->msg = msg_alloc(s->message_type, s->msg_room);
    return s->msg ? SESSION_NONE : fail(s, ev, WEFT_E_NOMEM, "no memory");
}

static enum session_event_kind begin_frame(struct session *s, const struct frame_header *h, struct session_event *ev)
{
    s->opcode = h->opcode;
    s->is_final = h->is_final;
    s->frame_left = h->bytes;
    s->frame_offset = 0;
    s->in_frame = true;
    s->header_have = 0;
    if (h->is_masked)
        memcpy(s->key, h->key, 4);
    else
        memset(s->key, 0, 4);
    if (!is_control(h->opcode))
        return begin_data_frame(s, h, ev);
    s->control = msg_alloc(h->opcode, h->bytes);
    return s->control ? SESSION_NONE : fail(s, ev, WEFT_E_NOMEM, "no memory");
}

/* Collect header bytes; *used of them were taken. */
static enum session_event_kind feed_header(struct session *s, const uint8_t *p, size_t n, size_t *used,
                                           struct session_event *ev)
{
    struct frame_header h;
    size_t taken = 0;

    while (taken < n) {
        const char *fault;

        s->header[s->header_have++] = p[taken++];
        if (s->header_have < 2)
            continue;
        if (s->header_have == 2 && (fault = check_first_bytes(s, s->header[0], s->header[1])) != NULL)
            return fail(s, ev, WEFT_E_PROTOCOL, fault);
        if (s->header_have < frame_header_bytes(s->header[1]))
            continue;
        *used = taken;
        if (!frame_read_header(s->header, &h))
            return fail(s, ev, WEFT_E_PROTOCOL, "a length that is not in its shortest form");
        return begin_frame(s, &h, ev);
    }
    *used = taken;
    return SESSION_NONE;
}

/* --- payload --- */

static enum session_event_kind finish_close(struct session *s, const uint8_t *p, size_t n, struct session_event *ev)
{
    struct utf8_state utf8 = {0};

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
        memcpy(ev->payload, p + 2, n - 2);
    }
    ev->payload[ev->bytes] = '\0';
    s->close_received = true;
    drop_messages(s);
    return SESSION_CLOSE;
}

static void note_pong(struct session *s, const struct session_event *ev)
{
    if (!s->ping_waits || ev->bytes != sizeof s->ping_number ||
        memcmp(ev->payload, &s->ping_number, sizeof s->ping_number) != 0)
        return;
    s->ping_waits = false;
    if (!s->close_sent)
        s->due_ms = s->due_ms - s->config->ping_timeout_ms + s->config->ping_interval_ms;
}

static enum session_event_kind finish_control(struct session *s, const uint8_t *p, size_t n, struct session_event *ev)
{
    if (s->opcode == FRAME_CLOSE)
        return finish_close(s, p, n, ev);
    ev->bytes = (uint8_t)n;
    memcpy(ev->payload, p, n);
    if (s->opcode == FRAME_PING)
        return SESSION_PING;
    note_pong(s, ev);
    return SESSION_PONG;
}

static enum session_event_kind feed_control(struct session *s, const uint8_t *p, size_t n, size_t *used,
                                            struct session_event *ev)
{
    weft_msg *control = s->control;
    enum session_event_kind kind;

    if (n > s->frame_left)
        n = (size_t)s->frame_left;
    if (n)
        mask_copy(control->payload + s->frame_offset, p, n, s->key, s->frame_offset);
    s->frame_offset += (uint8_t)n;
    s->frame_left -= n;
    *used = n;
    if (s->frame_left)
        return SESSION_NONE;
    s->in_frame = false;
    s->control = NULL;
    kind = finish_control(s, control->payload, s->frame_offset, ev);
    msg_free(control);
    return kind;
}

/* Make room for n more bytes. The room doubles, but never beyond what is known to come. */
static bool ensure_room(struct session *s, size_t n)
{
    uint64_t needed = (uint64_t)s->msg_bytes + n, room = (uint64_t)s->msg_room * 2;
    uint64_t known = (uint64_t)s->msg_bytes + s->frame_left;
    uint64_t at_once = known < FIRST_ROOM_BYTES ? known : FIRST_ROOM_BYTES;
    weft_msg *bigger;

    if (needed <= s->msg_room)
        return true;
    /* A large fragment behind a small one is begun like a large message. */
    if (room < at_once)
        room = at_once;
    if (s->is_final && room > known)
        room = known;
    if (room > s->config->message_bytes_max)
        room = s->config->message_bytes_max;
    if (room < needed)
        room = needed;
    bigger = msg_grow(s->msg, s->msg_bytes, (size_t)room);
    if (!bigger)
        return false;
    s->msg = bigger;
    s->msg_room = (uint32_t)room;
    return true;
}

/* n bytes of payload are in their place, unmasked: check them, and finish what they complete. */
static enum session_event_kind payload_arrived(struct session *s, size_t n, struct session_event *ev)
{
    if (s->message_type == FRAME_TEXT && !utf8_feed(&s->utf8, s->msg->payload + s->msg_bytes, n))
        return fail(s, ev, WEFT_E_UTF8, text_is_wrong);
    s->msg_bytes += (uint32_t)n;
    s->frame_offset += (uint8_t)n;
    s->frame_left -= n;
    if (s->frame_left)
        return SESSION_NONE;
    s->in_frame = false;
    if (!s->is_final)
        return SESSION_NONE;
    if (s->message_type == FRAME_TEXT && !utf8_is_complete(&s->utf8))
        return fail(s, ev, WEFT_E_UTF8, text_is_cut);
    msg_seal(s->msg, s->msg_bytes);
    s->like_bytes = s->fragments == 1 ? s->msg_bytes : 0;
    ev->msg = s->msg;
    s->msg = NULL;
    s->in_message = false;
    return SESSION_MESSAGE;
}

static enum session_event_kind feed_data(struct session *s, const uint8_t *p, size_t n, size_t *used,
                                         struct session_event *ev)
{
    if (n > s->frame_left)
        n = (size_t)s->frame_left;
    *used = n;
    if (!ensure_room(s, n))
        return fail(s, ev, WEFT_E_NOMEM, "no memory");
    if (n)
        mask_copy(s->msg->payload + s->msg_bytes, p, n, s->key, s->frame_offset);
    return payload_arrived(s, n, ev);
}

/* The usual case, whole in the buffer: one unfragmented masked data frame of up to 125 bytes. False: take
 * the long way. */
static bool feed_small_frame(struct session *s, const uint8_t *p, size_t n, size_t *used, struct session_event *ev,
                             enum session_event_kind *kind)
{
    unsigned opcode, bytes;
    weft_msg *m;

    if (n < 6 || s->in_message || s->config->is_client || (p[0] & 0xf0) != 0x80 || p[1] < 0x80 || p[1] > 0x80 + 125)
        return false;
    opcode = p[0] & 15;
    bytes = p[1] & 0x7f;
    if ((opcode != FRAME_TEXT && opcode != FRAME_BINARY) || n < 6 + bytes || bytes > s->config->message_bytes_max)
        return false;
    m = msg_alloc(opcode, bytes);
    *used = 6 + bytes;
    if (!m) {
        *kind = fail(s, ev, WEFT_E_NOMEM, "no memory");
        return true;
    }
    mask_copy(m->payload, p + 6, bytes, p + 2, 0);
    if (opcode == FRAME_TEXT) {
        struct utf8_state utf8 = {0};
        bool is_right = utf8_feed(&utf8, m->payload, bytes);
        if (!is_right || !utf8_is_complete(&utf8)) {
            msg_free(m);
            *kind = fail(s, ev, WEFT_E_UTF8, is_right ? text_is_cut : text_is_wrong);
            return true;
        }
    }
    msg_seal(m, bytes);
    s->like_bytes = 0;
    ev->msg = m;
    *kind = SESSION_MESSAGE;
    return true;
}

static enum session_event_kind feed_once(struct session *s, const uint8_t *p, size_t n, size_t *used,
                                         struct session_event *ev)
{
    enum session_event_kind kind;

    if (!s->in_frame) {
        if (s->header_have == 0 && feed_small_frame(s, p, n, used, ev, &kind))
            return kind;
        kind = feed_header(s, p, n, used, ev);
        if (kind != SESSION_NONE || !s->in_frame || s->frame_left)
            return kind;
        /* A frame without payload is complete with its header. */
        p = NULL;
        n = 0;
    }
    if (is_control(s->opcode)) {
        size_t taken;
        kind = feed_control(s, p, n, &taken, ev);
        if (p)
            *used = taken;
        return kind;
    }
    if (!p)
        return payload_arrived(s, 0, ev);
    return feed_data(s, p, n, used, ev);
}

enum session_event_kind session_feed(struct session *s, const uint8_t *p, size_t n, size_t *used,
                                     struct session_event *ev)
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

size_t session_direct(struct session *s, uint8_t **where)
{
    if (!s->in_frame || is_control(s->opcode) || s->frame_left < DIRECT_BYTES_MIN || s->failed || s->close_received)
        return 0;
    if (s->msg_room - s->msg_bytes < DIRECT_BYTES_MIN && !ensure_room(s, DIRECT_BYTES_MIN))
        return 0;
    *where = s->msg->payload + s->msg_bytes;
    if (s->frame_left < s->msg_room - s->msg_bytes)
        return (size_t)s->frame_left;
    return s->msg_room - s->msg_bytes;
}

enum session_event_kind session_feed_direct(struct session *s, size_t n, struct session_event *ev)
{
    enum session_event_kind kind;

    do {
        size_t step = n < STRIDE_BYTES ? n : STRIDE_BYTES;
        if (!s->config->is_client)
            mask_apply(s->msg->payload + s->msg_bytes, step, s->key, s->frame_offset);
        kind = payload_arrived(s, step, ev);
        n -= step;
    } while (n && kind == SESSION_NONE);
    return kind;
}

/* --- guesses --- */

bool session_guess(struct session *s, uint32_t bytes_max, struct session_guess *g)
{
    if (s->like_bytes < GUESS_BYTES_MIN || s->like_bytes > GUESS_BYTES_MAX || s->in_frame || s->in_message ||
        s->header_have || s->failed || s->close_received)
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
           h->bytes <= s->config->message_bytes_max;
}

bool session_guess_came_true(struct session *s, struct session_guess *g, size_t n, enum session_event_kind *kind,
                             struct session_event *ev)
{
    struct frame_header h;

    if (n < g->header_bytes || !is_as_guessed(s, g, n - g->header_bytes, &h))
        return false;
    s->msg = g->msg;
    s->msg->type = h.opcode;
    s->msg_room = s->like_bytes;
    *kind = begin_frame(s, &h, ev);
    if (*kind == SESSION_NONE)
        *kind = session_feed_direct(s, n - g->header_bytes, ev);
    return true;
}

void session_guess_drop(struct session_guess *g)
{
    msg_free(g->msg);
}

/* --- closing and time --- */

void session_close_sent(struct session *s, uint64_t now_ms)
{
    if (s->close_sent)
        return;
    s->close_sent = true;
    s->due_ms = now_ms + s->config->close_timeout_ms;
}

bool session_is_over(const struct session *s) { return s->failed || (s->close_sent && s->close_received); }

static bool is_held(const struct session *s) { return s->held_since_ms != SESSION_NEVER; }

enum session_tick session_tick(struct session *s, uint64_t now_ms)
{
    if (now_ms < s->due_ms)
        return SESSION_TICK_NONE;
    if (s->close_sent)
        return SESSION_TICK_CLOSE_TIMEOUT;
    if (s->ping_waits)
        return is_held(s) ? SESSION_TICK_NONE : SESSION_TICK_PING_TIMEOUT;
    s->ping_waits = true;
    s->ping_number++;
    s->due_ms = now_ms + s->config->ping_timeout_ms;
    if (is_held(s))
        s->held_since_ms = now_ms;
    return SESSION_TICK_PING;
}

uint64_t session_deadline_ms(const struct session *s)
{
    return !s->close_sent && s->ping_waits && is_held(s) ? SESSION_NEVER : s->due_ms;
}

const void *session_ping_payload(const struct session *s, size_t *bytes)
{
    *bytes = sizeof s->ping_number;
    return &s->ping_number;
}

void session_hold(struct session *s, uint64_t now_ms)
{
    if (!is_held(s))
        s->held_since_ms = now_ms;
}

void session_resume(struct session *s, uint64_t now_ms)
{
    if (is_held(s) && s->ping_waits && !s->close_sent && now_ms > s->held_since_ms)
        s->due_ms += now_ms - s->held_since_ms;
    s->held_since_ms = SESSION_NEVER;
}
