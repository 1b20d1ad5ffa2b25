/* Frames in, verdicts out; see receive.h.
 *
 * Nearly every answer is one whole frame in one read, and then it is known beforehand byte by byte: the
 * fast path compares the header, reads the head and compares the body with the reel (payload_matches).
 * Anything else, a message in pieces, in fragments, a control frame, or one that is wrong, takes the
 * careful path, which goes by proto/frame.h and keeps no more than the header and the head of what is
 * under way.
 *
 * Why not through weft_proto: it hands out messages, so each is allocated, copied and checked as UTF-8 before
 * it can be compared. A message of 64 bytes, 16 to a read, costs 8 ns here and 39 there, one of 64 KiB 1.2 us
 * and 3.1, where a message costs a server 200 ns and 17 us in all. */
#include "receive.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "loader.h"

/* --- whole messages --- */

static bool arrived(struct conn *c, struct payload_name name, bool is_good)
{
    struct loader *l = c->loader;

    if (l->phase == PHASE_CLOSE)
        return true; /* its loss is counted already */
    l->progress_ns = l->now_ns;
    l->run->mode->arrived(c, name, is_good);
    return c->fd >= 0;
}

static struct payload_name expected_name(const struct conn *c)
{
    return (struct payload_name){.from = c->number, .sequence = c->expected};
}

/* How many bytes of p were the answer that was to come; 0: look closer. */
static size_t feed_whole(struct conn *c, const uint8_t *p, size_t n, bool *goes_on)
{
    const struct payload *payload = c->loader->run->payload;
    struct payload_name name = expected_name(c);

    if (n < payload->answer_bytes || !payload_matches(payload, p, &name))
        return 0;
    *goes_on = arrived(c, name, true);
    return payload->answer_bytes;
}

/* --- pieces --- */

/* Data of a message from payload position message_at on. */
static void check_data(struct conn *c, const uint8_t *p, size_t n)
{
    const struct payload *payload = c->loader->run->payload;
    struct conn_incoming *in = &c->in;
    uint64_t at = in->message_at;

    c->loader->progress_ns = c->loader->now_ns;
    in->message_at += n;
    if (at + n > payload->bytes) {
        in->is_wrong = true;
        return;
    }
    if (at < payload->head_bytes) {
        size_t part = payload->head_bytes - at < n ? (size_t)(payload->head_bytes - at) : n;
        memcpy(in->head + at, p, part);
        at += part;
        p += part;
        n -= part;
        if (at == payload->head_bytes && !payload_read_head(payload, in->head, &in->name))
            in->is_wrong = true;
    }
    if (n && !in->is_wrong && !payload_body_matches(payload, in->name, at - payload->head_bytes, p, n))
        in->is_wrong = true;
}

static bool message_ended(struct conn *c)
{
    struct conn_incoming *in = &c->in;

    in->in_message = false;
    return arrived(c, in->name, !in->is_wrong && in->message_at == c->loader->run->payload->bytes);
}

/* raw: the Close frame that was sent; the server does no more, so here it ends. */
static bool got_close_back(struct conn *c, const uint8_t *payload, size_t n)
{
    uint8_t frame[FRAME_WHOLE_CONTROL_MAX], code[FRAME_CONTROL_BYTES_MAX];
    unsigned code_bytes = frame_write_close_payload(code, WEFT_CLOSE_NORMAL, NULL, 0);
    unsigned bytes = frame_write_control(frame, FRAME_CLOSE, code, code_bytes, c->loader->run->payload->key);

    if (c->state != CONN_CLOSING || n != code_bytes || memcmp(frame + bytes - n, payload, n) != 0) {
        conn_failed(c, ERROR_CONTENT, "a Close frame came that was not sent");
        return false;
    }
    conn_end(c);
    c->loader->run->mode->ended(c, false);
    return false;
}

static bool got_close(struct conn *c, const uint8_t *payload, size_t n)
{
    unsigned code = n >= 2 ? (unsigned)(payload[0] << 8 | payload[1]) : 1005;
    uint32_t due = c->tx_due;
    char why[64];

    if (n == 1 || (n && !frame_close_code_is_valid(code))) {
        conn_failed(c, ERROR_PROTOCOL, "a wrong Close frame");
        return false;
    }
    if (c->state == CONN_CLOSING) {
        c->got_close = true;
        return true;
    }
    snprintf(why, sizeof why, "the server closed it with %u", code);
    conn_control(c, FRAME_CLOSE, payload, n >= 2 ? 2 : 0);
    c->tx_due = c->tx_seq + (c->tx_offset != 0); /* nothing follows a Close frame */
    if (conn_flush(c)) {
        c->tx_due = due; /* all of it is lost */
        conn_failed(c, ERROR_DROPPED, why);
    }
    return false;
}

static bool control_ended(struct conn *c, const uint8_t *payload, size_t n)
{
    if (c->in.opcode == FRAME_PING && c->state == CONN_OPEN) /* a Close frame is the last */
        conn_control(c, FRAME_PONG, payload, n);
    if (c->in.opcode != FRAME_CLOSE)
        return true;
    return c->loader->run->payload->is_raw ? got_close_back(c, payload, n) : got_close(c, payload, n);
}

/* The last bytes of the frame are part bytes at p; of a control frame all are there. */
static bool frame_ended(struct conn *c, const uint8_t *p, size_t n)
{
    struct conn_incoming *in = &c->in;

    in->in_frame = false;
    if (in->opcode >= FRAME_CLOSE)
        return control_ended(c, p, n);
    return in->is_final ? message_ended(c) : true;
}

static const char *wrong_header(const struct conn *c, const struct frame_header *h)
{
    const struct payload *payload = c->loader->run->payload;
    bool is_control = h->opcode >= FRAME_CLOSE;

    if (h->is_masked != payload->is_raw)
        return "the server masked a frame";
    if (h->reserved)
        return "reserved bits are set";
    if (is_control && (h->opcode > FRAME_PONG || h->bytes > FRAME_CONTROL_BYTES_MAX || !h->is_final))
        return "a wrong control frame";
    if (is_control && payload->is_raw && memcmp(h->key, payload->key, 4) != 0)
        return "a control frame came back changed";
    if (!is_control && h->opcode > FRAME_BINARY)
        return "an unknown opcode";
    if (!is_control && (h->opcode == FRAME_CONTINUATION) != c->in.in_message)
        return c->in.in_message ? "a message inside another" : "a continuation of nothing";
    return NULL;
}

static void begin_message(struct conn *c, const struct frame_header *h)
{
    const struct payload *payload = c->loader->run->payload;
    struct conn_incoming *in = &c->in;

    in->in_message = true;
    in->message_at = 0;
    in->name = expected_name(c);
    in->is_wrong = h->opcode != payload->opcode || (payload->is_raw && memcmp(h->key, payload->key, 4) != 0);
}

static bool begin_frame(struct conn *c, const uint8_t *header)
{
    struct conn_incoming *in = &c->in;
    struct frame_header h;
    const char *wrong = frame_read_header(header, &h) ? wrong_header(c, &h) : "a wrong length of a frame";

    if (wrong) {
        conn_failed(c, ERROR_PROTOCOL, wrong);
        return false;
    }
    in->frame_left = h.bytes;
    in->frame_at = 0;
    in->opcode = h.opcode;
    in->is_final = h.is_final;
    in->in_frame = true;
    if (h.opcode == FRAME_TEXT || h.opcode == FRAME_BINARY)
        begin_message(c, &h);
    return h.bytes ? true : frame_ended(c, header, 0);
}

/* Gather a header; returns the bytes taken, all of them when it is not whole yet. */
static size_t feed_header(struct conn *c, const uint8_t *p, size_t n, bool *goes_on)
{
    struct conn_incoming *in = &c->in;
    size_t used = 0;

    while (used < n) {
        in->header[in->header_have++] = p[used++];
        if (in->header_have >= 2 && in->header_have == frame_header_bytes(in->header[1])) {
            in->header_have = 0;
            *goes_on = begin_frame(c, in->header);
            return used;
        }
    }
    return used;
}

/* A control frame in pieces is the one thing that is gathered. NULL: no memory. */
static const uint8_t *gather_control(struct conn *c, const uint8_t *p, size_t n)
{
    if (!c->gathered)
        c->gathered = mem_alloc(FRAME_CONTROL_BYTES_MAX);
    if (!c->gathered) {
        conn_failed(c, ERROR_DROPPED, "no memory");
        return NULL;
    }
    memcpy(c->gathered + c->in.frame_at, p, n);
    return c->gathered;
}

static size_t feed_payload(struct conn *c, const uint8_t *p, size_t n, bool *goes_on)
{
    struct conn_incoming *in = &c->in;
    size_t part = in->frame_left < n ? (size_t)in->frame_left : n;

    if (in->opcode < FRAME_CLOSE)
        check_data(c, p, part);
    else if (part != in->frame_left || in->frame_at)
        p = gather_control(c, p, part);
    in->frame_left -= part;
    in->frame_at += part;
    *goes_on = p && (in->frame_left || frame_ended(c, p, (size_t)in->frame_at));
    return part;
}

bool receive_feed(struct conn *c, const uint8_t *p, size_t n)
{
    const struct conn_incoming *in = &c->in;
    bool goes_on = true;

    while (n && goes_on) {
        size_t used = 0;
        if (in->in_frame)
            used = feed_payload(c, p, n, &goes_on);
        else if (!in->in_message && !in->header_have)
            used = feed_whole(c, p, n, &goes_on);
        if (!used)
            used = feed_header(c, p, n, &goes_on);
        p += used;
        n -= used;
    }
    return goes_on;
}
