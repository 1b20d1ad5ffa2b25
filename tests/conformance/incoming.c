/* The peer's octets become frames, messages and events; every rule of RFC 6455 for its frames is checked. */
#include "session.h"

/* Each frame has a mask that cannot be foretold (RFC 6455 section 5.3). Two are equal by chance once in 2^32
 * times. */
static bool mask_is_old(const struct session *s, uint32_t mask)
{
    if (s->mask_known)
        return s->mask == mask;
    return s->choices->mask_known && s->choices->mask == mask;
}

static void keep_mask(struct session *s, uint32_t mask)
{
    if (!s->mask_known) {
        s->choices->mask = mask;
        s->choices->mask_known = true;
    }
    s->mask = mask;
    s->mask_known = true;
}

/* RSV1 on the first frame of a message, if the extension is agreed upon. */
static bool is_compressed(const struct session *s, uint8_t first_octet)
{
    uint8_t opcode = first_octet & 0x0f;

    return s->pmd && (first_octet & RSV(7)) == RSV(4) && (opcode == OP_TEXT || opcode == OP_BINARY);
}

/* NULL or the rule that the frame's head breaks. */
static const char *head_trouble(const struct session *s, const struct ws_head *head)
{
    uint8_t opcode = head->first_octet & 0x0f;
    bool control = opcode & 8;

    if (head->masked == s->role->masks)
        return head->masked ? "a masked frame" : "a frame without a mask";
    if (head->masked && mask_is_old(s, head->mask))
        return "a frame with the mask of one before";
    if (head->first_octet & RSV(7) && !is_compressed(s, head->first_octet))
        return "a frame with reserved bits";
    if (opcode > (control ? OP_PONG : OP_BINARY))
        return "a frame with a reserved opcode";
    if (control && (!(head->first_octet & FIN) || head->payload_bytes > 125))
        return "a control frame that is fragmented or longer than 125 octets";
    if (!head->shortest)
        return "a length that is not in its shortest form";
    if (opcode == OP_CONT && !s->message_opcode)
        return "a continuation of nothing";
    if (!control && opcode != OP_CONT && s->message_opcode)
        return "a new message inside another";
    if (head->payload_bytes > MESSAGE_BYTES_MAX - s->message.bytes)
        return "a message that is too long";
    return NULL;
}

static void give_event(struct session *s, enum event_kind kind, struct octets payload, uint64_t now_ns)
{
    struct event event = {.kind = kind, .payload = payload};

    if (!script_round(s, &event, now_ns))
        session_event(s, event, now_ns);
}

/* False: it is not what permessage-deflate makes of any message. */
static bool inflate_message(struct session *s)
{
    struct octets message = {0};
    bool right = pmd_inflate(s->pmd, s->message.data, s->message.bytes, MESSAGE_BYTES_MAX, &message);

    octets_fini(&s->message);
    s->message = message;
    return right;
}

static void end_message(struct session *s, uint64_t now_ns)
{
    struct octets message;
    enum event_kind kind = s->message_opcode == OP_TEXT ? EVENT_TEXT : EVENT_BINARY;

    if (s->message_compressed && !inflate_message(s)) {
        session_fail(s, 1007, "a message that does not inflate", now_ns);
        return;
    }
    message = s->message;
    if (kind == EVENT_TEXT && !ws_utf8_is_valid(message.data, message.bytes)) {
        session_fail(s, 1007, "a text that is not UTF-8", now_ns);
        return;
    }
    s->message = (struct octets){0};
    s->message_opcode = 0;
    give_event(s, kind, message, now_ns);
}

static void take_data(struct session *s, uint8_t first_octet, const uint8_t *payload, size_t bytes,
                      uint64_t now_ns)
{
    if ((first_octet & 0x0f) != OP_CONT) {
        s->message_opcode = first_octet & 0x0f;
        s->message_compressed = is_compressed(s, first_octet);
    }
    octets_put(&s->message, payload, bytes);
    if (first_octet & FIN)
        end_message(s, now_ns);
}

static void take_frame(struct session *s, uint8_t first_octet, const uint8_t *payload, size_t bytes,
                       uint64_t now_ns)
{
    struct octets copy = {0};

    session_trace(s, "<", first_octet, bytes);
    switch (first_octet & 0x0f) {
    case OP_CLOSE:
        session_peer_closed(s, payload, bytes, now_ns);
        break;
    case OP_PING:
        if (s->state == OPEN)
            session_frame(s, FIN | OP_PONG, payload, bytes);
        break;
    case OP_PONG:
        octets_put(&copy, payload, bytes);
        give_event(s, EVENT_PONG, copy, now_ns);
        break;
    default:
        take_data(s, first_octet, payload, bytes, now_ns);
    }
}

void incoming_read(struct session *s, uint64_t now_ns)
{
    size_t at = 0;

    while (!s->deaf && (s->state == OPEN || s->state == CLOSING)) {
        struct ws_head head;
        const char *trouble;

        if (!ws_head_read(s->in.data + at, s->in.bytes - at, &head))
            break;
        trouble = head_trouble(s, &head);
        if (trouble) {
            session_fail(s, 1002, trouble, now_ns);
            break;
        }
        if (s->in.bytes - at - head.bytes < head.payload_bytes)
            break;
        if (head.masked) {
            keep_mask(s, head.mask);
            ws_mask_apply(s->in.data + at + head.bytes, (size_t)head.payload_bytes, head.mask);
        }
        take_frame(s, head.first_octet, s->in.data + at + head.bytes, (size_t)head.payload_bytes, now_ns);
        at += head.bytes + (size_t)head.payload_bytes;
    }
    octets_drop_front(&s->in, at);
}
