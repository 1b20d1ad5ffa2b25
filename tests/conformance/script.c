/* The steps of a case become frames and timers; see session.h and case.h. */
#include <stdlib.h>
#include <string.h>

#include "session.h"

static uint8_t *payload_octets(const struct payload *p)
{
    uint8_t *octets = memory_resize(NULL, p->bytes + 1u, 1);

    payload_copy(p, octets);
    return octets;
}

/* Only the script's frames are chopped; the tester's answers and its closing are not part of the case. */
static void script_frame(struct session *s, uint8_t first_octet, const uint8_t *payload, size_t bytes)
{
    session_trace(s, ">", first_octet, bytes);
    ws_frame_put(&s->out.octets, first_octet, s->role->masks != s->c->wrong_masking, payload, bytes);
    outgoing_end_frame(&s->out, s->c->chop_bytes, s->c->sync);
    if ((first_octet & 0x0f) <= OP_BINARY)
        s->record.data_frames_sent++;
}

/* A length above the fragment size that is a multiple of it ends in an empty last frame, as the suite's does.
 */
static void send_octets(struct session *s, uint8_t opcode, const uint8_t *payload, size_t bytes,
                        size_t fragment_bytes)
{
    size_t at = 0;

    if (fragment_bytes > 0 && bytes > fragment_bytes) {
        for (; bytes - at >= fragment_bytes; at += fragment_bytes) {
            script_frame(s, opcode, payload + at, fragment_bytes);
            opcode = OP_CONT;
        }
    }
    script_frame(s, FIN | opcode, payload + at, bytes - at);
}

static void send_message(struct session *s, uint8_t opcode, const struct payload *p, size_t fragment_bytes)
{
    uint8_t *payload = payload_octets(p);

    send_octets(s, opcode, payload, p->bytes, fragment_bytes);
    free(payload);
}

static void send_slice(struct session *s, const struct step *step)
{
    struct octets compressed = {0};

    data_slice(step->data, &s->slice_at, step->now_bytes, &s->slice);
    if (!s->pmd) {
        send_octets(s, step->first_octet, s->slice.data, s->slice.bytes, step->fragment_bytes);
        return;
    }
    pmd_deflate(s->pmd, s->slice.data, s->slice.bytes, &compressed);
    send_octets(s, RSV(4) | step->first_octet, compressed.data, compressed.bytes, step->fragment_bytes);
    octets_fini(&compressed);
}

static void send_round(struct session *s)
{
    if (s->rounds->kind == STEP_SLICES)
        send_slice(s, s->rounds);
    else
        send_message(s, s->rounds->first_octet, &s->rounds->payload, 0);
}

static bool round_equals(const struct session *s, const struct octets *echo)
{
    if (s->rounds->kind == STEP_SLICES)
        return echo->bytes == s->slice.bytes && memcmp(echo->data, s->slice.data, echo->bytes) == 0;
    return payload_difference(&s->rounds->payload, echo->data, echo->bytes) < 0;
}

static void send_frame(struct session *s, const struct step *step)
{
    uint8_t *payload = payload_octets(&step->payload);

    script_frame(s, step->first_octet, payload, step->payload.bytes);
    free(payload);
}

static void send_held(struct session *s, size_t bytes)
{
    octets_put(&s->out.octets, s->held.data, bytes);
    octets_drop_front(&s->held, bytes);
    outgoing_end_frame(&s->out, 0, false);
}

static void begin_frame(struct session *s, const struct step *step)
{
    uint8_t *payload = payload_octets(&step->payload);
    size_t head_bytes;

    session_trace(s, ">", step->first_octet, step->payload.bytes);
    ws_frame_put(&s->held, step->first_octet, s->role->masks, payload, step->payload.bytes);
    head_bytes = s->held.bytes - step->payload.bytes;
    send_held(s, head_bytes + step->now_bytes);
    free(payload);
}

static void begin_rounds(struct session *s, const struct step *step)
{
    s->rounds = step;
    s->rounds_left = step->kind == STEP_SLICES ? s->options->slices : step->count;
    send_round(s);
}

static void run_step(struct session *s, const struct step *step, uint64_t now_ns)
{
    switch (step->kind) {
    case STEP_FRAME:
        send_frame(s, step);
        break;
    case STEP_MESSAGE:
        send_message(s, step->first_octet, &step->payload, step->fragment_bytes);
        break;
    case STEP_CLOSE:
        session_close(s, step->code, &step->payload, now_ns);
        break;
    case STEP_BEGIN:
        begin_frame(s, step);
        break;
    case STEP_MORE:
        send_held(s, step->now_bytes > 0 ? step->now_bytes : s->held.bytes);
        break;
    case STEP_PAUSE:
        session_timer(s, TIMER_PAUSE, step->ms, now_ns);
        break;
    case STEP_AWAIT_END:
        session_timer(s, TIMER_AWAIT_END, step->ms, now_ns);
        break;
    case STEP_ROUNDS:
    case STEP_SLICES:
        begin_rounds(s, step);
        break;
    case STEP_KILL:
        session_timer(s, TIMER_KILL, step->ms, now_ns);
        break;
    case STEP_CLOSE_AFTER:
        session_timer(s, TIMER_CLOSE, step->ms, now_ns);
        break;
    case STEP_LIMIT:
        session_timer(s, TIMER_LIMIT, step->ms, now_ns);
        break;
    case STEP_END_TCP:
        session_end_tcp(s, now_ns);
        break;
    case STEP_END:
        break;
    }
}

void script_run(struct session *s, uint64_t now_ns)
{
    const struct step *step;

    do {
        step = s->next;
        run_step(s, step, now_ns);
        if (step->kind != STEP_END)
            s->next++;
    } while (step->kind != STEP_END && step->kind != STEP_PAUSE && step->kind != STEP_AWAIT_END);
}

void script_resume(struct session *s, uint64_t now_ns)
{
    const struct step *pause = s->next - 1;

    if (s->state != OPEN)
        return;
    if (pause->label)
        session_event(s, (struct event){.kind = EVENT_TIMEOUT, .label = pause->label}, now_ns);
    script_run(s, now_ns);
}

bool script_round(struct session *s, struct event *event, uint64_t now_ns)
{
    enum event_kind wanted;

    if (s->rounds_left == 0)
        return false;
    wanted = s->rounds->first_octet == OP_TEXT ? EVENT_TEXT : EVENT_BINARY;
    if (event->kind != wanted || !round_equals(s, &event->payload)) {
        s->rounds_left = 0;
        session_event(s, *event, now_ns);
        return true;
    }
    octets_fini(&event->payload);
    if (--s->rounds_left > 0)
        send_round(s);
    else
        session_event(s, (struct event){.kind = EVENT_ROUNDS, .count = s->rounds->count}, now_ns);
    return true;
}
