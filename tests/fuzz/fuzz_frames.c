/* Frames and messages: proto/session.c, frame.c, mask.c and utf8.c, in both roles.
 *
 * Oracles
 *   - However a stream is cut, also into the places that a session offers and guesses, it gives the same events.
 *   - They are those of a second reading of RFC 6455 (reference.c).
 *   - With gives_parts the parts of a message are the message.
 *   - A message masked again in pieces, as a client sends it, comes back as it was; so do headers, and control frames.
 *   - Each kernel for masking and for UTF-8 that this processor has says what the plain way says.
 *   - Nothing is due before its deadline, and what is due comes in its order.
 *
 * The stream is the input itself, or composed of frames that it chooses: raw bytes seldom get behind a mask. */
#include "fuzz.h"

#include "base/mem.h"
#include "proto/frame.h"
#include "proto/mask.h"
#include "proto/session.h"
#include "proto/utf8.h"
#include "reference.h"
#include "wire.h"

#define STREAM_BYTES_MAX (60u * 1024u)
#define FILL_BYTES_MAX   20000u

static struct trace expected, actual;

/* --- the stream --- */

/* One frame: flags and opcode, how its length is chosen, its payload. */
static void compose_frame(struct wire *w, struct fuzz_input *in, uint8_t *payload)
{
    static const unsigned opcodes[] = {0, 1, 2, 1, 8, 9, 10, 2};
    unsigned how = fuzz_byte(in),
             first = opcodes[how & 7] | (how & 8 ? 0 : WIRE_FIN) | (how & 16 ? WIRE_RSV1 : 0);
    size_t n = fuzz_byte(in);

    if (how & 32) {
        n = fuzz_number(in) % FILL_BYTES_MAX;
        memset(payload, how & 64 ? fuzz_byte(in) : 'a', n);
    } else {
        n = n < in->n ? n : in->n;
        memcpy(payload, in->p, n);
        in->p += n;
        in->n -= n;
    }
    if (w->bytes + n + FRAME_HEADER_BYTES_MAX < STREAM_BYTES_MAX)
        wire_frame(w, first, payload, n);
    if (how & 128 && w->bytes)
        w->p[w->bytes - 1 - fuzz_byte(in) % w->bytes] ^= fuzz_byte(in);
}

static void make_stream(struct wire *w, struct fuzz_input *in, bool is_composed)
{
    static uint8_t payload[FILL_BYTES_MAX];

    if (!is_composed)
        wire_raw(w, in->p, in->n < STREAM_BYTES_MAX ? in->n : STREAM_BYTES_MAX);
    while (is_composed && in->n)
        compose_frame(w, in, payload);
}

/* --- one stream, fed in many ways --- */

static void must_be_as_expected(const struct trace *t)
{
    MUST(!t->faults);
    if (strcmp(t->text, expected.text) != 0)
        fprintf(stderr, "expected\n%sgot\n%s", expected.text, t->text);
    MUST(strcmp(t->text, expected.text) == 0);
}

typedef void feed_fn(struct trace *t, struct session *s, const uint8_t *p, size_t n);

static void feed_cut(const struct session_config *config, const struct wire *w, struct fuzz_cut cut,
                     feed_fn *feed)
{
    struct session s;

    trace_init(&actual);
    session_init(&s, config, 0);
    for (size_t at = 0, n; at < w->bytes; at += n) {
        n = fuzz_piece(&cut, w->bytes - at);
        feed(&actual, &s, w->p + at, n);
    }
    session_fini(&s);
    must_be_as_expected(&actual);
}

/* The bytes are received where the guess says, as receive.c does it. */
static size_t feed_guessed(struct session *s, struct session_guess *g, const uint8_t *p, size_t n)
{
    size_t room = (size_t)g->header_bytes + g->bytes, taken = n < room ? n : room;
    size_t head = taken < g->header_bytes ? taken : g->header_bytes;
    uint8_t *copy = fuzz_copy(p, taken);
    enum session_event_kind kind;
    struct session_event ev;

    memcpy(g->header, p, head);
    memcpy(g->msg->payload, p + head, taken - head);
    if (session_guess_came_true(s, g, taken, &kind, &ev)) {
        trace_event(&actual, kind, &ev);
    } else {
        session_guess_drop(g);
        trace_feed(&actual, s, copy, taken);
    }
    free(copy);
    return taken;
}

static void feed_with_guesses(const struct session_config *config, const struct wire *w, struct fuzz_cut cut)
{
    struct session s;
    size_t n;

    trace_init(&actual);
    session_init(&s, config, 0);
    for (size_t at = 0; at < w->bytes; at += n) {
        struct session_guess g;
        uint8_t *where;
        size_t direct = session_direct(&s, &where);

        n = fuzz_piece(&cut, w->bytes - at);
        if (direct && direct < n)
            n = direct; /* up to the message's end: guesses begin there */
        if (session_guess(&s, FILL_BYTES_MAX, &g))
            n = feed_guessed(&s, &g, w->p + at, n);
        else
            trace_feed_direct(&actual, &s, w->p + at, n);
    }
    session_fini(&s);
    must_be_as_expected(&actual);
}

/* --- parts --- */

struct parts {
    uint8_t bytes[STREAM_BYTES_MAX];
    size_t n;
};

static void join_part(struct parts *parts, struct session_event *ev)
{
    static const char *const names[] = {"text", "binary"};
    size_t n = weft_msg_bytes(ev->msg);

    MUST(ev->is_first == (parts->n == SIZE_MAX));
    if (ev->is_first)
        parts->n = 0;
    MUST(parts->n + n <= sizeof parts->bytes);
    memcpy(parts->bytes + parts->n, weft_msg_data(ev->msg), n);
    parts->n += n;
    if (ev->is_last) {
        trace_line(&actual, names[weft_msg_type(ev->msg) == WEFT_BINARY], 0, parts->bytes, parts->n);
        parts->n = SIZE_MAX;
    }
    weft_msg_unref(ev->msg);
}

static void feed_for_parts(struct session_config config, const struct wire *w, struct fuzz_cut cut)
{
    static struct parts parts;
    struct session_event ev;
    struct session s;
    size_t n, used;

    config.message_bytes_max = config.fragments_max = UINT32_MAX;
    config.allows_compressed = false;
    reference_read(&expected, &config, w->p, w->bytes);
    if (strstr(expected.text, "fail 1009"))
        return; /* of a part that nobody could hold whole there is no limit */
    config.gives_parts = true;
    trace_init(&actual);
    parts.n = SIZE_MAX;
    session_init(&s, &config, 0);
    for (size_t at = 0; at < w->bytes; at += used) {
        enum session_event_kind kind;
        uint8_t *piece;

        n = fuzz_piece(&cut, w->bytes - at);
        piece = fuzz_copy(w->p + at, n);
        kind = session_feed(&s, piece, n, &used, &ev);
        free(piece);
        MUST(used <= n && (kind != SESSION_NONE || used == n));
        if (kind == SESSION_MESSAGE)
            join_part(&parts, &ev);
        else
            trace_event(&actual, kind, &ev);
    }
    session_fini(&s);
    MUST(strcmp(actual.text, expected.text) == 0 ||
         (strstr(expected.text, "fail 1007") && strstr(actual.text, "fail 1007")));
}

/* --- back again --- */

/* What a client makes of a message, a server reads. */
static void must_come_back(const weft_msg *m, struct fuzz_cut cut)
{
    static const uint8_t key[FRAME_KEY_BYTES] = {0x37, 0xfa, 0x21, 0x3d};
    struct session_config config = wire_config(false);
    size_t bytes = msg_frame_bytes(m) + FRAME_KEY_BYTES, at = 0, used;
    uint8_t *masked = malloc(bytes);
    struct session_event ev;
    struct session s;

    MUST(masked);
    config.allows_compressed = true;
    while (at < bytes) {
        size_t room = fuzz_piece(&cut, bytes - at);
        MUST(frame_write_masked(masked + at, room, msg_frame(m), msg_frame_bytes(m), key, at) == room);
        at += room;
    }
    session_init(&s, &config, 0);
    MUST(session_feed(&s, masked, bytes, &used, &ev) == SESSION_MESSAGE && used == bytes);
    MUST(weft_msg_type(ev.msg) == weft_msg_type(m) && weft_msg_bytes(ev.msg) == weft_msg_bytes(m));
    MUST(memcmp(weft_msg_data(ev.msg), weft_msg_data(m), weft_msg_bytes(m)) == 0);
    weft_msg_unref(ev.msg);
    session_fini(&s);
    free(masked);
}

/* A Close as we write it is one that we read; key: a client's. */
static void close_must_come_back(const struct session_event *got, const uint8_t *key)
{
    struct session_config config = wire_config(!key);
    uint8_t payload[FRAME_CONTROL_BYTES_MAX], frame[FRAME_WHOLE_CONTROL_MAX];
    unsigned n = frame_write_close_payload(payload, got->code, got->payload, got->bytes);
    struct session_event ev;
    struct session s;
    size_t used;

    n = frame_write_control(frame, FRAME_CLOSE, payload, n, key);
    session_init(&s, &config, 0);
    MUST(session_feed(&s, frame, n, &used, &ev) == SESSION_CLOSE && used == n);
    MUST(ev.code == got->code && ev.bytes == got->bytes && memcmp(ev.payload, got->payload, ev.bytes) == 0);
    session_fini(&s);
}

static void header_must_come_back(struct fuzz_input in)
{
    unsigned first = fuzz_byte(&in), how = fuzz_byte(&in);
    struct frame_header h = {.opcode = first & 15,
                             .reserved = first >> 4 & 7,
                             .is_final = first >> 7,
                             .is_masked = how & 1,
                             .key = {1, 2, 3, 4}},
                        back = {0};
    uint8_t bytes[FRAME_HEADER_BYTES_MAX];
    unsigned n;

    for (unsigned i = 0; i < how >> 4; i++)
        h.bytes = (h.bytes << 8 | fuzz_byte(&in)) & INT64_MAX;
    n = frame_write_header(bytes, &h);
    MUST(n == frame_header_bytes(bytes[1]) && frame_read_header(bytes, &back));
    MUST(back.bytes == h.bytes && back.opcode == h.opcode && back.reserved == h.reserved);
    MUST(back.is_final == h.is_final && back.is_masked == h.is_masked);
    MUST(!h.is_masked || memcmp(back.key, h.key, sizeof h.key) == 0);
}

static void send_all_back(const struct session_config *config, const struct wire *w, struct fuzz_cut cut)
{
    static const uint8_t key[FRAME_KEY_BYTES] = {0x9a, 0, 0x5c, 0xff};
    struct session_event ev;
    struct session s;
    size_t used;

    session_init(&s, config, 0);
    for (size_t at = 0; at < w->bytes; at += used) {
        enum session_event_kind kind = session_feed(&s, w->p + at, w->bytes - at, &used, &ev);
        if (kind == SESSION_MESSAGE) {
            must_come_back(ev.msg, cut);
            weft_msg_unref(ev.msg);
        } else if (kind == SESSION_CLOSE) {
            close_must_come_back(&ev, NULL);
            close_must_come_back(&ev, key);
        }
    }
    session_fini(&s);
}

/* --- kernels --- */

/* In place and as a copy, at any alignment. */
static void mask_as_plain(const struct mask_kernel *k, const uint8_t *p, size_t n, uint32_t key)
{
    uint8_t *plain = fuzz_copy(p, n), *copy = fuzz_copy(p, n), key_bytes[FRAME_KEY_BYTES];
    bool is_ascii = true, says_ascii;

    memcpy(key_bytes, &key, sizeof key_bytes);
    for (size_t i = 0; i < n; i++) {
        plain[i] ^= key_bytes[i % FRAME_KEY_BYTES];
        is_ascii = is_ascii && plain[i] < 0x80;
    }
    says_ascii = k->run(copy, p, n, key);
    MUST(says_ascii == is_ascii && memcmp(copy, plain, n) == 0);
    k->run(copy, copy, n, key);
    MUST(memcmp(copy, p, n) == 0);
    mask_apply_scalar(copy, n, key_bytes, 0);
    MUST(memcmp(copy, plain, n) == 0);
    free(plain);
    free(copy);
}

static void judge_as_plain(const struct utf8_kernel *k, const uint8_t *p, size_t n, struct fuzz_cut cut)
{
    struct utf8_state s = {0};
    bool is_whole, is_right = true;

    for (size_t at = 0, piece; at < n; at += piece) {
        uint8_t *copy;
        piece = fuzz_piece(&cut, n - at);
        copy = fuzz_copy(p + at, piece);
        is_right = utf8_feed_by(k, &s, copy, piece);
        MUST(is_right == (wire_utf8_right_until(p, at + piece, &is_whole) == at + piece));
        MUST(!is_right || utf8_is_complete(&s) == is_whole);
        free(copy);
    }
}

/* The plain ways are slow: a part of the stream is enough. */
static void kernels_agree(const struct wire *w, struct fuzz_cut cut)
{
    size_t n = w->bytes < 1500 ? w->bytes : 1500, count, skip = n ? cut.seed % n % 64 : 0;
    const struct mask_kernel *masks = mask_kernels(&count);
    const struct utf8_kernel *judges;

    for (size_t i = 0; i < count; i++) {
        mask_as_plain(&masks[i], w->p + skip, n - skip, 0);
        mask_as_plain(&masks[i], w->p + skip, n - skip, cut.seed * 2654435761u);
    }
    judges = utf8_kernels(&count);
    cut.most = cut.most < 100 ? 100 : cut.most; /* short pieces are not theirs */
    judge_as_plain(NULL, w->p + skip, n - skip, cut);
    for (size_t i = 0; i < count; i++)
        judge_as_plain(&judges[i], w->p + skip, n - skip, cut);
}

/* --- time --- */

static void answer_ping(struct session *s, bool is_client)
{
    uint8_t payload[SESSION_PING_BYTES];
    struct session_event ev;
    struct wire pong;
    size_t used;

    wire_init(&pong, !is_client);
    session_ping_payload(s, payload);
    wire_frame(&pong, 0x8a, payload, sizeof payload);
    MUST(session_feed(s, pong.p, pong.bytes, &used, &ev) == SESSION_PONG);
    wire_fini(&pong);
}

static void let_time_pass(bool is_client, struct fuzz_input in)
{
    struct session_config config = wire_config(is_client);
    bool ping_waits = false, is_closing = false;
    uint64_t now = 0;
    struct session s;

    session_init(&s, &config, now);
    for (unsigned what, steps = 0; in.n && steps < 64; steps++) {
        uint64_t due = session_deadline_ms(&s);
        enum session_tick tick;

        what = fuzz_byte(&in);
        now += what & 8 ? fuzz_number(&in) : 0;
        tick = session_tick(&s, now);
        MUST(tick == SESSION_TICK_NONE || now >= due);
        MUST(tick != SESSION_TICK_PING || (!ping_waits && !is_closing));
        MUST(tick != SESSION_TICK_PING_TIMEOUT || (ping_waits && !is_closing));
        MUST(tick != SESSION_TICK_CLOSE_TIMEOUT || is_closing);
        if (tick == SESSION_TICK_PING)
            ping_waits = true;
        else if (tick != SESSION_TICK_NONE)
            break;
        switch (what & 7) {
        case 0:
            session_hold(&s, now);
            break;
        case 1:
            session_resume(&s, now);
            break;
        case 2:
            answer_ping(&s, is_client);
            ping_waits = false;
            break;
        case 3:
            session_close_sent(&s, now);
            is_closing = true;
            break;
        case 4:
            session_give_up(&s);
            MUST(session_is_over(&s));
            break;
        }
        if (s.failed)
            break;
    }
    session_fini(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    unsigned how = fuzz_byte(&in), most = fuzz_number(&in), fragments = fuzz_byte(&in);
    struct fuzz_cut cut = {.seed = fuzz_byte(&in)};
    struct session_config config = wire_config(how & 1);
    int64_t live;
    struct wire w;

    mem_count_live(true);
    live = mem_live_blocks();
    cut.most = fuzz_byte(&in) * (how & 16 ? 100u : 1u) + 1;
    config.allows_compressed = how & 2;
    config.message_bytes_max = how & 8 ? most : 1u << 20;
    config.fragments_max = fragments + 1;
    let_time_pass(how & 1, in);
    header_must_come_back(in);
    wire_init(&w, !config.is_client);
    make_stream(&w, &in, how & 4);

    reference_read(&expected, &config, w.p, w.bytes);
    feed_cut(&config, &w, (struct fuzz_cut){0, 1}, trace_feed);
    feed_cut(&config, &w, cut, trace_feed);
    feed_cut(&config, &w, cut, trace_feed_direct);
    feed_with_guesses(&config, &w, cut);
    send_all_back(&config, &w, cut);
    feed_for_parts(config, &w, cut);
    if (w.bytes)
        kernels_agree(&w, cut);
    wire_fini(&w);
    MUST(mem_live_blocks() == live);
    return 0;
}
