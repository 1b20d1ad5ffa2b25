/* weft_proto: the handshake, the session and an output buffer as one object; see weft/proto.h.
 *
 * The states go forward only: HANDSHAKE, DECIDING (server), OPEN, OVER. In OVER nothing is taken in any
 * more, and what the output still holds is the last thing to be written. */
#include "weft/proto.h"

#include <string.h>

#include "api/proto_deflate.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/msg.h"
#include "proto/compose.h"
#include "proto/field.h"
#include "proto/frame.h"
#include "proto/mask.h"
#include "proto/session.h"

enum proto_state { PROTO_HANDSHAKE, PROTO_DECIDING, PROTO_OPEN, PROTO_OVER };

struct weft_proto {
    weft_proto_opts opts; /* no zero stands for a default any more; borrowed pointers are not kept */
    struct session_config config;
    struct session session;
    struct session_event event;
    struct http_head *head;
    struct http_request request; /* client: what was asked, to check the answer; texts are copies */
    char **subprotocols;
    char offer[EXTENSION_BYTES_MAX]; /* client: of permessage-deflate */
    struct proto_deflate deflate;
    enum proto_state state;
    uint64_t open_due_ms;
    uint8_t *output;
    size_t output_start, output_end, output_room;
};

/* --- output --- */

static bool reserve(weft_proto *p, size_t bytes)
{
    size_t held = p->output_end - p->output_start, room = p->output_room ? p->output_room : 256;
    uint8_t *bigger;

    if (p->output_start && p->output_end + bytes > p->output_room) {
        memmove(p->output, p->output + p->output_start, held);
        p->output_start = 0;
        p->output_end = held;
    }
    if (p->output_end + bytes <= p->output_room)
        return true;
    while (room < held + bytes)
        room *= 2;
    bigger = mem_realloc(p->output, room);
    if (!bigger)
        return false;
    p->output = bigger;
    p->output_room = room;
    return true;
}

static int put(weft_proto *p, const void *bytes, size_t n)
{
    if (!reserve(p, n))
        return WEFT_E_NOMEM;
    memcpy(p->output + p->output_end, bytes, n);
    p->output_end += n;
    return WEFT_OK;
}

/* Bytes composed elsewhere, which are freed. */
static int put_composed(weft_proto *p, int rc, uint8_t *bytes, size_t n)
{
    if (rc != WEFT_OK)
        return rc;
    rc = put(p, bytes, n);
    mem_free(bytes);
    return rc;
}

static int draw(weft_proto *p, void *out, size_t n)
{
    if (p->opts.random)
        return p->opts.random(out, n, p->opts.random_arg) == 0 ? WEFT_OK : WEFT_E_SYSTEM;
    return random_fill(out, n) ? WEFT_OK : WEFT_E_SYSTEM;
}

#define RSV1 4

static int put_any_frame(weft_proto *p, unsigned opcode, unsigned reserved, const void *payload, size_t n)
{
    struct frame_header h = {
        .bytes = n, .opcode = (uint8_t)opcode, .is_final = true, .reserved = (uint8_t)reserved};
    int rc;

    h.is_masked = p->opts.role == WEFT_PROTO_CLIENT;
    if (h.is_masked && (rc = draw(p, h.key, 4)) != WEFT_OK)
        return rc;
    if (!reserve(p, FRAME_HEADER_BYTES_MAX + n))
        return WEFT_E_NOMEM;
    p->output_end += frame_write_header(p->output + p->output_end, &h);
    if (n && h.is_masked)
        mask_copy(p->output + p->output_end, payload, n, h.key, 0);
    else if (n)
        memcpy(p->output + p->output_end, payload, n);
    p->output_end += n;
    return WEFT_OK;
}

static int put_frame(weft_proto *p, unsigned opcode, const void *payload, size_t n)
{
    return put_any_frame(p, opcode, 0, payload, n);
}

static int put_close(weft_proto *p, uint16_t code, const char *reason, uint64_t now_ms)
{
    uint8_t payload[FRAME_CONTROL_BYTES_MAX];
    unsigned n = frame_write_close_payload(payload, code, reason, reason ? strlen(reason) : 0);
    int rc = put_frame(p, FRAME_CLOSE, payload, n);

    if (rc == WEFT_OK)
        session_close_sent(&p->session, now_ms);
    return rc;
}

/* --- making --- */

static void default_u32(uint32_t *field, uint32_t value)
{
    if (!*field)
        *field = value;
}

static int choose(weft_proto_opts *o, const weft_proto_opts *given)
{
    if (given->size != sizeof *o)
        return WEFT_E_INVAL;
    *o = *given;
    if (!o->message_bytes_max)
        o->message_bytes_max = 1024 * 1024;
    if (o->message_bytes_max > MSG_BYTES_MAX)
        return WEFT_E_INVAL;
    default_u32(&o->fragments_max, (uint32_t)(1024 + o->message_bytes_max / 16));
    default_u32(&o->open_timeout_ms, 10000);
    default_u32(&o->ping_interval_ms, 20000);
    default_u32(&o->ping_timeout_ms, 20000);
    default_u32(&o->close_timeout_ms, 10000);
    default_u32(&o->head_bytes_max, 8192);
    default_u32(&o->headers_max, 64);
    default_u32(&o->output_bytes_max, 1024 * 1024);
    if (o->role == WEFT_PROTO_CLIENT && !o->is_open && !o->host)
        return WEFT_E_INVAL;
    return o->role == WEFT_PROTO_SERVER || o->role == WEFT_PROTO_CLIENT ? WEFT_OK : WEFT_E_INVAL;
}

static void open_session(weft_proto *p, uint64_t now_ms)
{
    p->config.allows_compressed = p->deflate.is_agreed;
    session_init(&p->session, &p->config, now_ms);
    p->state = PROTO_OPEN;
}

static int copy_subprotocols(weft_proto *p)
{
    size_t count = p->opts.subprotocol_count;

    p->subprotocols = mem_calloc(count + 1, sizeof *p->subprotocols);
    if (!p->subprotocols)
        return WEFT_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        p->subprotocols[i] = mem_strdup(p->opts.subprotocols[i]);
        if (!p->subprotocols[i])
            return WEFT_E_NOMEM;
    }
    return WEFT_OK;
}

static int write_request(weft_proto *p)
{
    uint8_t *bytes;
    size_t n;
    int rc = draw(p, p->request.key, sizeof p->request.key);

    if (rc == WEFT_OK)
        rc = copy_subprotocols(p);
    if (rc != WEFT_OK)
        return rc;
    p->request.host = p->opts.host;
    p->request.port = p->opts.port;
    p->request.target = p->opts.target;
    p->request.origin = p->opts.origin;
    p->request.subprotocols = (const char *const *)p->subprotocols;
    p->request.subprotocol_count = p->opts.subprotocol_count;
    extension_offer(&p->deflate.policy, p->offer);
    p->request.extensions = p->offer[0] ? p->offer : NULL;
    rc = http_compose_request(&p->request, &bytes, &n);
    p->request.host = p->request.target = p->request.origin = NULL; /* borrowed for this call only */
    return put_composed(p, rc, bytes, n);
}

static int begin(weft_proto *p, uint64_t now_ms)
{
    struct http_limits limits = {.head_bytes_max = p->opts.head_bytes_max,
                                 .headers_max = p->opts.headers_max};
    bool is_client = p->opts.role == WEFT_PROTO_CLIENT;

    if (p->opts.is_open) {
        open_session(p, now_ms);
        return WEFT_OK;
    }
    p->open_due_ms = now_ms + p->opts.open_timeout_ms;
    p->head = http_head_new(is_client ? HTTP_ROLE_CLIENT : HTTP_ROLE_SERVER, &limits);
    if (!p->head)
        return WEFT_E_NOMEM;
    return is_client ? write_request(p) : WEFT_OK;
}

int weft_proto_new(weft_proto **out, const weft_proto_opts *opts, uint64_t now_ms)
{
    weft_proto *p;
    int rc;

    if (!out || !opts)
        return WEFT_E_INVAL;
    p = mem_calloc(1, sizeof *p);
    if (!p)
        return WEFT_E_NOMEM;
    rc = choose(&p->opts, opts);
    if (rc == WEFT_OK)
        rc = proto_deflate_init(&p->deflate, &p->opts.compression);
    if (rc == WEFT_OK) {
        p->config = (struct session_config){
            .is_client = p->opts.role == WEFT_PROTO_CLIENT,
            .message_bytes_max = (uint32_t)p->opts.message_bytes_max,
            .fragments_max = p->opts.fragments_max,
            .ping_interval_ms = p->opts.ping_interval_ms,
            .ping_timeout_ms = p->opts.ping_timeout_ms,
            .close_timeout_ms = p->opts.close_timeout_ms,
        };
        rc = begin(p, now_ms);
    }
    if (rc != WEFT_OK) {
        weft_proto_free(p);
        return rc;
    }
    *out = p;
    return WEFT_OK;
}

void weft_proto_free(weft_proto *p)
{
    if (!p)
        return;
    for (char **s = p->subprotocols; s && *s; s++)
        mem_free(*s);
    mem_free(p->subprotocols);
    http_head_free(p->head);
    session_fini(&p->session);
    proto_deflate_fini(&p->deflate);
    mem_free(p->output);
    mem_free(p);
}

/* --- taking in --- */

static enum weft_proto_event_kind failed(weft_proto *p, weft_proto_event *ev, int error, unsigned code,
                                         const char *why)
{
    p->state = PROTO_OVER;
    *ev = (weft_proto_event){.error = error, .code = (uint16_t)code, .text = why, .text_bytes = strlen(why)};
    return WEFT_PROTO_FAIL;
}

/* The head says no: a server answers it, a client has its answer. */
static enum weft_proto_event_kind head_failed(weft_proto *p, weft_proto_event *ev)
{
    struct http_head *h = p->head;
    const char *why = h->reason ? h->reason : "refused";
    uint8_t *bytes;
    size_t n;

    if (p->opts.role == WEFT_PROTO_SERVER && http_compose_refusal(h, &bytes, &n) == WEFT_OK)
        put_composed(p, WEFT_OK, bytes, n);
    return failed(p, ev, h->error ? h->error : WEFT_E_REFUSED, (unsigned)h->status, why);
}

/* What became of the client's offer. */
static int take_extensions(weft_proto *p)
{
    struct http_list chosen;
    const char *fault;
    int rc;

    http_list_of_fields(&chosen, p->head, "Sec-WebSocket-Extensions");
    rc = extension_check(&chosen, &p->deflate.policy, &p->deflate.params, &fault);
    p->deflate.is_agreed = rc == 1;
    return rc < 0 ? http_head_refuse(p->head, 0, WEFT_E_PROTOCOL, fault) : WEFT_OK;
}

static enum weft_proto_event_kind head_done(weft_proto *p, uint64_t now_ms, weft_proto_event *ev)
{
    if (p->opts.role == WEFT_PROTO_CLIENT) {
        if (http_check_response(p->head, &p->request) != WEFT_OK || take_extensions(p) != WEFT_OK)
            return head_failed(p, ev);
        open_session(p, now_ms);
        return WEFT_PROTO_OPEN;
    }
    switch (http_check_upgrade(p->head)) {
    case HTTP_UPGRADE:
        p->state = PROTO_DECIDING;
        return WEFT_PROTO_REQUEST;
    case HTTP_PLAIN:
        http_head_refuse(p->head, 426, WEFT_E_REFUSED, "not a WebSocket request");
        break;
    default:
        break;
    }
    return head_failed(p, ev);
}

/* msg is given. */
static enum weft_proto_event_kind message_arrived(weft_proto *p, weft_msg *msg, uint64_t now_ms, weft_proto_event *ev)
{
    weft_msg *inflated;
    const char *reason;
    uint16_t code;
    int rc;

    *ev = (weft_proto_event){.msg = msg};
    if (!msg->is_compressed)
        return WEFT_PROTO_MESSAGE;
    rc = proto_deflate_in(&p->deflate, msg, (size_t)p->opts.message_bytes_max, &inflated);
    weft_msg_unref(msg);
    if (rc == WEFT_OK) {
        ev->msg = inflated;
        return WEFT_PROTO_MESSAGE;
    }
    code = inflater_close_code(rc, &reason);
    if (!p->session.close_sent)
        put_close(p, code, reason, now_ms);
    session_give_up(&p->session);
    return failed(p, ev, rc, code, reason);
}

static enum weft_proto_event_kind session_happened(weft_proto *p, enum session_event_kind kind,
                                                   uint64_t now_ms, weft_proto_event *ev)
{
    struct session_event *e = &p->event;

    *ev = (weft_proto_event){.text = e->payload, .text_bytes = e->bytes};
    switch (kind) {
    case SESSION_MESSAGE:
        return message_arrived(p, e->msg, now_ms, ev);
    case SESSION_PING:
        if (!p->session.close_sent && put_frame(p, FRAME_PONG, e->payload, e->bytes) != WEFT_OK)
            return failed(p, ev, WEFT_E_NOMEM, WEFT_CLOSE_INTERNAL_ERROR, "no memory");
        return WEFT_PROTO_PING;
    case SESSION_PONG:
        return WEFT_PROTO_PONG;
    case SESSION_CLOSE:
        ev->code = e->code;
        if (!p->session.close_sent)
            put_close(p, e->code, NULL, now_ms); /* without memory the connection ends without an answer */
        p->state = PROTO_OVER;
        return WEFT_PROTO_CLOSE;
    case SESSION_FAIL:
        if (!p->session.close_sent)
            put_close(p, e->code, e->reason, now_ms);
        return failed(p, ev, e->error, e->code, e->reason);
    case SESSION_NONE:
        break;
    }
    return WEFT_PROTO_NONE;
}

/* A peer that sends Pings and reads no Pongs must not fill the memory. */
static bool is_flooded(const weft_proto *p)
{
    return p->output_end - p->output_start > (size_t)p->opts.output_bytes_max + FRAME_WHOLE_CONTROL_MAX;
}

enum weft_proto_event_kind weft_proto_feed(weft_proto *p, const void *data, size_t bytes, size_t *used,
                                           uint64_t now_ms, weft_proto_event *ev)
{
    enum session_event_kind kind;

    *ev = (weft_proto_event){0};
    *used = p->state == PROTO_OVER ? bytes : 0;
    switch (p->state) {
    case PROTO_HANDSHAKE:
        switch (http_head_feed(p->head, data, bytes, used)) {
        case HTTP_DONE:
            return head_done(p, now_ms, ev);
        case HTTP_BAD:
            *used = bytes;
            return head_failed(p, ev);
        default:
            return WEFT_PROTO_NONE;
        }
    case PROTO_OPEN:
        if (is_flooded(p))
            return failed(p, ev, WEFT_E_TOO_BIG, WEFT_CLOSE_POLICY_VIOLATION,
                          "the output is not being written");
        kind = session_feed(&p->session, data, bytes, used, &p->event);
        return session_happened(p, kind, now_ms, ev);
    default:
        return WEFT_PROTO_NONE;
    }
}

/* --- deciding --- */

/* Whether one of the client's offers is accepted, and the answer to it. */
static bool choose_extensions(weft_proto *p, char value[EXTENSION_BYTES_MAX])
{
    struct http_list offers;

    if (!p->deflate.policy.is_enabled)
        return false;
    http_list_of_fields(&offers, p->head, "Sec-WebSocket-Extensions");
    return extension_choose(&offers, &p->deflate.policy, &p->deflate.params, value) == 1;
}

int weft_proto_accept(weft_proto *p, const char *subprotocol, uint64_t now_ms)
{
    struct http_accept accept = {.subprotocol = subprotocol};
    char extensions[EXTENSION_BYTES_MAX];
    bool is_agreed;
    uint8_t *bytes = NULL;
    size_t n = 0;
    int rc;

    if (p->state != PROTO_DECIDING)
        return WEFT_E_STATE;
    if (subprotocol && !http_offers_subprotocol(p->head, subprotocol))
        return WEFT_E_INVAL;
    is_agreed = choose_extensions(p, extensions);
    accept.extensions = is_agreed ? extensions : NULL;
    rc = http_compose_accept(p->head, &accept, &bytes, &n);
    rc = put_composed(p, rc, bytes, n);
    if (rc != WEFT_OK)
        return rc;
    p->deflate.is_agreed = is_agreed;
    open_session(p, now_ms);
    return WEFT_OK;
}

int weft_proto_reject(weft_proto *p, unsigned status)
{
    struct http_answer answer = {.status = (int)status};
    uint8_t *bytes = NULL;
    size_t n = 0;
    int rc;

    if (p->state != PROTO_DECIDING)
        return WEFT_E_STATE;
    if (status < 200 || status > 599)
        return WEFT_E_INVAL;
    rc = http_compose_answer(p->head, &answer, &bytes, &n);
    rc = put_composed(p, rc, bytes, n);
    if (rc == WEFT_OK)
        p->state = PROTO_OVER;
    return rc;
}

const char *weft_proto_header(const weft_proto *p, const char *name, size_t index)
{
    return p->head && name ? http_head_value(p->head, name, index).p : NULL;
}

const char *weft_proto_path(const weft_proto *p)
{
    return p->head ? p->head->path : NULL;
}

/* --- sending --- */

static int may_send(const weft_proto *p)
{
    if (p->state == PROTO_HANDSHAKE || p->state == PROTO_DECIDING)
        return WEFT_E_STATE;
    if (p->state == PROTO_OVER || p->session.close_sent)
        return WEFT_E_CLOSED;
    return p->output_end - p->output_start > p->opts.output_bytes_max ? WEFT_E_AGAIN : WEFT_OK;
}

int weft_proto_send(weft_proto *p, const weft_msg *m)
{
    int rc = may_send(p);
    weft_msg *packed;

    if (rc != WEFT_OK)
        return rc;
    packed = proto_deflate_out(&p->deflate, m);
    if (!packed)
        return put_frame(p, m->type, m->payload, m->bytes);
    rc = put_any_frame(p, packed->type, RSV1, packed->payload, packed->bytes);
    if (rc != WEFT_OK)
        proto_deflate_forget(&p->deflate);
    weft_msg_unref(packed);
    return rc;
}

int weft_proto_ping(weft_proto *p, const void *data, size_t bytes)
{
    int rc = bytes <= FRAME_CONTROL_BYTES_MAX && (data || !bytes) ? may_send(p) : WEFT_E_INVAL;
    return rc == WEFT_OK ? put_frame(p, FRAME_PING, data, bytes) : rc;
}

int weft_proto_close(weft_proto *p, uint16_t code, const char *reason, uint64_t now_ms)
{
    struct utf8_state utf8 = {0};
    size_t n = reason ? strlen(reason) : 0;
    int rc = may_send(p);

    if (rc == WEFT_E_CLOSED)
        return WEFT_OK;
    if (n > FRAME_REASON_BYTES_MAX || (code && !frame_close_code_is_valid(code)) || (!code && n) ||
        !utf8_feed(&utf8, (const uint8_t *)reason, n) || !utf8_is_complete(&utf8))
        return WEFT_E_INVAL;
    return rc == WEFT_E_STATE ? rc : put_close(p, code, reason, now_ms);
}

size_t weft_proto_output(const weft_proto *p, const void **data)
{
    *data = p->output ? p->output + p->output_start : NULL;
    return p->output_end - p->output_start;
}

void weft_proto_written(weft_proto *p, size_t bytes)
{
    p->output_start += bytes;
    if (p->output_start >= p->output_end)
        p->output_start = p->output_end = 0;
}

/* --- time --- */

uint64_t weft_proto_deadline_ms(const weft_proto *p)
{
    if (p->state == PROTO_OVER)
        return UINT64_MAX;
    return p->state == PROTO_OPEN ? session_deadline_ms(&p->session) : p->open_due_ms;
}

enum weft_proto_event_kind weft_proto_tick(weft_proto *p, uint64_t now_ms, weft_proto_event *ev)
{
    uint8_t payload[SESSION_PING_BYTES];

    *ev = (weft_proto_event){0};
    if (now_ms < weft_proto_deadline_ms(p))
        return WEFT_PROTO_NONE;
    if (p->state != PROTO_OPEN)
        return failed(p, ev, WEFT_E_TIMEOUT, 408, "the opening handshake took too long");
    switch (session_tick(&p->session, now_ms)) {
    case SESSION_TICK_PING:
        session_ping_payload(&p->session, payload);
        put_frame(p, FRAME_PING, payload, sizeof payload); /* without memory the Pong's deadline decides */
        return WEFT_PROTO_NONE;
    case SESSION_TICK_PING_TIMEOUT:
        put_close(p, WEFT_CLOSE_INTERNAL_ERROR, "no answer to a ping", now_ms);
        return failed(p, ev, WEFT_E_TIMEOUT, WEFT_CLOSE_INTERNAL_ERROR, "no answer to a ping");
    case SESSION_TICK_CLOSE_TIMEOUT:
        return failed(p, ev, WEFT_E_TIMEOUT, WEFT_CLOSE_ABNORMAL, "no answer to a Close");
    case SESSION_TICK_NONE:
        break;
    }
    return WEFT_PROTO_NONE;
}

bool weft_proto_is_over(const weft_proto *p)
{
    return p->state == PROTO_OVER;
}
