/* Frames as bytes, and the events of a session as text; see wire.h. */
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft/msg.h"

void wire_init(struct wire *w, bool is_masked)
{
    *w = (struct wire){.is_masked = is_masked, .random = 2463534242u};
}

void wire_fini(struct wire *w)
{
    free(w->p);
    w->p = NULL;
}

void wire_raw(struct wire *w, const void *p, size_t bytes)
{
    uint8_t *bigger = realloc(w->p, w->bytes + bytes + 1);

    if (!bigger)
        abort();
    w->p = bigger;
    if (bytes)
        memcpy(w->p + w->bytes, p, bytes);
    w->bytes += bytes;
}

static void put_header(struct wire *w, unsigned first, uint64_t bytes, const uint8_t key[4])
{
    uint8_t header[14];
    size_t n = 0;
    int more = bytes < 126 ? 0 : bytes < 65536 ? 2 : 8;

    header[n++] = (uint8_t)first;
    header[n++] = (uint8_t)((more == 0 ? bytes : more == 2 ? 126 : 127) | (w->is_masked ? 0x80 : 0));
    for (int i = more - 1; i >= 0; i--)
        header[n++] = (uint8_t)(bytes >> 8 * i);
    for (int i = 0; w->is_masked && i < 4; i++)
        header[n++] = key[i];
    wire_raw(w, header, n);
}

static void choose_key(struct wire *w, uint8_t key[4])
{
    uint32_t number = w->is_masked ? wire_random(&w->random) : 0;

    memcpy(key, &number, 4);
}

void wire_frame(struct wire *w, unsigned first, const void *payload, size_t bytes)
{
    uint8_t key[4];

    choose_key(w, key);
    put_header(w, first, bytes, key);
    wire_raw(w, payload, bytes);
    for (size_t i = 0; i < bytes; i++)
        w->p[w->bytes - bytes + i] ^= key[i % 4];
}

void wire_header(struct wire *w, unsigned first, uint64_t bytes)
{
    static const uint8_t key[4];

    put_header(w, first, bytes, key);
}

void trace_init(struct trace *t)
{
    t->text[0] = '\0';
    memset(&t->length, 0,
           sizeof *t - offsetof(struct trace, length)); /* the text is long, and most of it unused */
}

static uint64_t digest(const uint8_t *p, size_t n)
{
    uint64_t h = 1469598103934665603u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 1099511628211u;
    return h;
}

void trace_line(struct trace *t, const char *name, unsigned code, const void *payload, size_t bytes)
{
    size_t room = sizeof t->text - t->length;
    int shown = bytes < 24 ? (int)bytes : 24;
    int n = snprintf(t->text + t->length, room, "%s %u %zu %016llx %.*s\n", name, code, bytes,
                     (unsigned long long)digest(payload, bytes), shown, bytes ? (const char *)payload : "");

    if (n < 0 || (size_t)n >= room)
        abort();
    t->length += (size_t)n;
}

static bool error_fits_code(int error, unsigned code)
{
    switch (error) {
    case WEFT_E_PROTOCOL:
        return code == 1002;
    case WEFT_E_UTF8:
        return code == 1007;
    case WEFT_E_TOO_BIG:
        return code == 1009 || code == 1008; /* too many fragments are against the policy */
    default:
        return error == WEFT_E_NOMEM && code == 1011;
    }
}

static bool message_is_sealed(weft_msg *m)
{
    struct wire w;
    bool is_same;

    wire_init(&w, false);
    wire_frame(&w, WIRE_FIN | (m->is_compressed ? WIRE_RSV1 : 0) | (unsigned)weft_msg_type(m), weft_msg_data(m),
               weft_msg_bytes(m));
    is_same = w.bytes == msg_frame_bytes(m) && memcmp(w.p, msg_frame(m), w.bytes) == 0;
    wire_fini(&w);
    return is_same;
}

static const char *message_name(const weft_msg *m)
{
    if (m->is_compressed)
        return weft_msg_type(m) == WEFT_TEXT ? "compressed-text" : "compressed-binary";
    return weft_msg_type(m) == WEFT_TEXT ? "text" : "binary";
}

void trace_event(struct trace *t, enum session_event_kind kind, struct session_event *ev)
{
    static const char *const names[] = {"none", "message", "ping", "pong", "close", "fail"};

    if (kind == SESSION_NONE)
        return;
    if (t->last == SESSION_CLOSE || t->last == SESSION_FAIL)
        t->faults++;
    t->last = kind;
    t->events++;
    if (!t->first_at)
        t->first_at = t->fed;
    switch (kind) {
    case SESSION_MESSAGE:
        t->faults += !message_is_sealed(ev->msg);
        trace_line(t, message_name(ev->msg), 0, weft_msg_data(ev->msg),
                   weft_msg_bytes(ev->msg));
        weft_msg_unref(ev->msg);
        break;
    case SESSION_FAIL:
        t->faults += !error_fits_code(ev->error, ev->code) || !ev->reason;
        t->reason = ev->reason;
        trace_line(t, "fail", ev->code, NULL, 0);
        break;
    case SESSION_CLOSE:
        t->faults += ev->payload[ev->bytes] != '\0';
        trace_line(t, "close", ev->code, ev->payload, ev->bytes);
        break;
    default:
        trace_line(t, names[kind], 0, ev->payload, ev->bytes);
    }
}

static uint8_t *copy_of(const uint8_t *p, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);

    if (!copy)
        abort();
    if (n)
        memcpy(copy, p, n);
    return copy;
}

/* What a caller may not rely on: the event as it was before. */
static void spoil(struct session_event *ev)
{
    memset(ev, 0xa5, sizeof *ev);
}

static size_t feed_once(struct trace *t, struct session *s, const uint8_t *p, size_t n)
{
    size_t used = SIZE_MAX;
    struct session_event ev;
    enum session_event_kind kind;
    uint8_t *copy = copy_of(p, n);

    spoil(&ev);
    kind = session_feed(s, copy, n, &used, &ev);
    free(copy);
    if (used > n || (kind == SESSION_NONE && used != n)) {
        t->faults++;
        used = n;
    }
    trace_event(t, kind, &ev);
    return used;
}

void trace_feed(struct trace *t, struct session *s, const uint8_t *p, size_t n)
{
    unsigned rounds = 0;

    t->fed += n;
    while (n) {
        size_t used = feed_once(t, s, p, n);
        p += used;
        n -= used;
        if (++rounds > 1u << 20)
            abort(); /* it does not go on */
    }
}

void trace_feed_direct(struct trace *t, struct session *s, const uint8_t *p, size_t n)
{
    struct session_event ev;

    while (n) {
        uint8_t *where;
        size_t room = session_direct(s, &where);
        size_t piece;

        if (!room) {
            piece = feed_once(t, s, p, n);
            t->fed += piece;
        } else {
            piece = room < n ? room : n;
            memcpy(where, p, piece);
            t->fed += piece;
            spoil(&ev);
            trace_event(t, session_feed_direct(s, piece, &ev), &ev);
        }
        p += piece;
        n -= piece;
    }
}

/* The bytes that follow a lead byte: how many, and the range of the first of them. 0: no lead byte. */
static unsigned followers(uint8_t lead, uint8_t *low, uint8_t *high)
{
    *low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    *high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf)
        return 1;
    if (lead >= 0xe0 && lead <= 0xef)
        return 2;
    return lead >= 0xf0 && lead <= 0xf4 ? 3 : 0;
}

size_t wire_utf8_right_until(const uint8_t *p, size_t n, bool *is_whole)
{
    size_t i = 0;

    *is_whole = true;
    while (i < n) {
        uint8_t low, high;
        unsigned more = followers(p[i], &low, &high);

        if (p[i] >= 0x80 && !more)
            return i;
        for (i++; more; more--, i++) {
            if (i == n) {
                *is_whole = false;
                return n;
            }
            if (p[i] < low || p[i] > high)
                return i;
            low = 0x80;
            high = 0xbf;
        }
    }
    return n;
}

struct session_config wire_config(bool is_client)
{
    return (struct session_config){.is_client = is_client,
                                   .message_bytes_max = 1u << 20,
                                   .fragments_max = 4096,
                                   .ping_interval_ms = 20000,
                                   .ping_timeout_ms = 20000,
                                   .close_timeout_ms = 10000};
}
