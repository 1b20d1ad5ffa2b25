/* The two verdicts; see verdict.h. The order of the tests is the suite's: each looks only at what the ones
 * before let through. */
#include "verdict.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_OCTETS 24
#define SHOWN_EVENTS 10

const char *const grade_names[GRADE_COUNT] = {
    [GRADE_OK] = "OK",
    [GRADE_NON_STRICT] = "NON-STRICT",
    [GRADE_INFORMATIONAL] = "INFORMATIONAL",
    [GRADE_UNIMPLEMENTED] = "UNIMPLEMENTED",
    [GRADE_FAILED] = "FAILED",
    [GRADE_UNCLEAN] = "UNCLEAN",
    [GRADE_WRONG_CODE] = "WRONG CODE",
    [GRADE_FAILED_BY_CLIENT] = "FAILED BY CLIENT",
};

static bool code_is_allowed(const struct closing *k, const struct record *r)
{
    if (!r->close_received)
        return true;
    if (r->close_malformed || k->bare)
        return false;
    if (r->peer_code == NO_CODE)
        return !k->code_demanded;
    for (int i = 0; i < 3 && k->codes[i] != 0; i++)
        if (k->codes[i] == r->peer_code)
            return true;
    return false;
}

static bool ended_cleanly(const struct closing *k, const struct record *r)
{
    return r->close_sent && r->close_received && !r->forced &&
           (!k->awaits_tcp || r->dropped_by == SIDE_TESTER);
}

static enum grade close_grade(const struct closing *k, const struct record *r)
{
    if (!r->opened)
        return GRADE_FAILED;
    if (k->informational)
        return GRADE_INFORMATIONAL;
    if (r->closed_first != k->by)
        return GRADE_FAILED;
    if (k->clean && !ended_cleanly(k, r))
        return GRADE_UNCLEAN;
    if (!code_is_allowed(k, r))
        return GRADE_WRONG_CODE;
    return r->forced ? GRADE_FAILED_BY_CLIENT : GRADE_OK;
}

static bool behaviour_is_out_of_question(const struct conf_case *c, const struct record *r)
{
    if (r->trouble || r->limit_over || r->octets_after_close)
        return true;
    if (c->closing.decides_behaviour && r->closed_first == SIDE_TESTER)
        return true;
    if (c->closing.code_decides_behaviour && !code_is_allowed(&c->closing, r))
        return true;
    return c->data_frames_sent != 0 && c->data_frames_sent != r->data_frames_sent;
}

static enum grade behaviour_grade(const struct conf_case *c, const struct record *r)
{
    if (!r->opened)
        return GRADE_FAILED;
    if (c->closing.informational)
        return GRADE_INFORMATIONAL;
    if (r->unimplemented)
        return GRADE_UNIMPLEMENTED;
    if (behaviour_is_out_of_question(c, r))
        return GRADE_FAILED;
    if (record_equals(r, c->ok))
        return GRADE_OK;
    return c->non_strict && record_equals(r, c->non_strict) ? GRADE_NON_STRICT : GRADE_FAILED;
}

static void print_octets(FILE *out, const uint8_t *octets, size_t bytes)
{
    size_t shown = bytes < SHOWN_OCTETS ? bytes : SHOWN_OCTETS;

    fprintf(out, " %zu octets", bytes);
    for (size_t i = 0; i < shown; i++)
        fprintf(out, "%s%02x", i == 0 ? " " : "", octets[i]);
    if (shown < bytes)
        fputs("..", out);
}

static void print_event(FILE *out, const struct event *e)
{
    static const char *const names[] = {"", "text", "binary", "pong", "timeout", "rounds"};

    fputs(names[e->kind], out);
    if (e->kind == EVENT_TIMEOUT)
        fprintf(out, " %c", e->label);
    else if (e->kind == EVENT_ROUNDS)
        fprintf(out, " %u", e->count);
    else
        print_octets(out, e->payload.data, e->payload.bytes);
}

static void print_recorded(FILE *out, const struct record *r)
{
    fputs("got [", out);
    for (size_t i = 0; i < r->event_count && i < SHOWN_EVENTS; i++) {
        fputs(i ? ", " : "", out);
        print_event(out, &r->events[i]);
    }
    if (r->event_count > SHOWN_EVENTS)
        fprintf(out, " and %zu more", r->event_count - SHOWN_EVENTS);
    fputs("]", out);
}

static void print_expected(FILE *out, const char *word, const struct expected *list)
{
    fprintf(out, ", %s [", word);
    for (const struct expected *x = list; x->kind != EVENT_END; x++) {
        struct event e = {.kind = x->kind, .label = x->label, .count = x->count};

        payload_copy(&x->payload, octets_extend(&e.payload, x->payload.bytes));
        fputs(x != list ? ", " : "", out);
        print_event(out, &e);
        octets_fini(&e.payload);
    }
    fputs("]", out);
}

/* Where two long payloads part cannot be seen from their beginnings. */
static void print_differences(FILE *out, const struct conf_case *c, const struct record *r)
{
    for (size_t i = 0; i < r->event_count && c->ok[i].kind != EVENT_END; i++) {
        const struct octets *got = &r->events[i].payload;
        int64_t at = payload_difference(&c->ok[i].payload, got->data, got->bytes);

        if (at >= 0 && c->ok[i].kind == r->events[i].kind)
            fprintf(out, ", event %zu differs at octet %lld", i + 1, (long long)at);
    }
}

static void print_end(FILE *out, const struct conf_case *c, const struct record *r)
{
    static const char *const sides[] = {"nobody", "the tester", "the peer"};

    fprintf(out, ", closed first by %s (expected %s)", sides[r->closed_first], sides[c->closing.by]);
    if (!r->close_received)
        fputs(", no Close frame from the peer", out);
    else if (r->close_malformed)
        fputs(", malformed Close frame", out);
    else if (r->peer_code == NO_CODE)
        fputs(", Close frame without a code", out);
    else
        fprintf(out, ", close code %d", r->peer_code);
    fprintf(out, ", TCP dropped by %s%s", sides[r->dropped_by],
            r->forced ? ", for the peer did not in time" : "");
    if (r->limit_over)
        fputs(", the time limit was over", out);
    if (r->octets_after_close)
        fputs(", octets after the Close frame", out);
}

static char *describe(const struct conf_case *c, const struct record *r)
{
    char *text = NULL;
    size_t chars;
    FILE *out = open_memstream(&text, &chars);

    if (!out)
        return NULL;
    if (r->trouble)
        fprintf(out, "%s%s%s", r->opened ? "the peer sent " : "not opened: ", r->trouble,
                r->opened ? ", " : "");
    if (r->opened) {
        print_recorded(out, r);
        if (c->ok && !record_equals(r, c->ok)) {
            print_expected(out, "expected", c->ok);
            print_differences(out, c, r);
        }
        print_end(out, c, r);
    }
    fclose(out);
    return text;
}

bool verdict_is_good(const struct verdict *v, bool allow_non_strict)
{
    bool behaviour = v->behaviour == GRADE_OK || v->behaviour == GRADE_INFORMATIONAL ||
                     (allow_non_strict && v->behaviour == GRADE_NON_STRICT);

    return behaviour && (v->close == GRADE_OK || v->close == GRADE_INFORMATIONAL);
}

struct verdict verdict_of(const struct conf_case *c, const struct record *r)
{
    struct verdict v = {
        .behaviour = behaviour_grade(c, r),
        .close = close_grade(&c->closing, r),
        .peer_code = r->peer_code,
        .duration_ms = (unsigned)((r->ended_ns - r->begun_ns) / 1000000u),
    };

    if (!verdict_is_good(&v, false))
        v.detail = describe(c, r);
    return v;
}

struct verdict verdict_of_none(const char *why)
{
    return (struct verdict){
        .behaviour = GRADE_FAILED, .close = GRADE_FAILED, .peer_code = NO_CODE, .detail = strdup(why)};
}

void verdict_fini(struct verdict *v)
{
    free(v->detail);
    v->detail = NULL;
}
