/* What happens, and what it means for the conversation; see course.h.
 *
 * Output is shown in batches, and above a line that is being typed at most once a frame. */
#include "course.h"

#include "signals.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH_EVENTS_MAX 64 /* then the keyboard's turn comes */
#define FRAME_MS         30 /* between two drawings of the line that is being typed, which would flicker */
#define FRAME_BYTES      8192

uint64_t course_now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/* ------------------------------------------------------------------------- the end */

void course_decide(struct talk *t, int status)
{
    if (t->has_status)
        return;
    t->status = status;
    t->has_status = true;
}

void course_be_over(struct talk *t, int status)
{
    course_decide(t, status);
    t->is_over = true;
}

void course_leave_with(struct talk *t, int status, uint16_t code, const char *reason)
{
    course_decide(t, status);
    if (t->is_closing)
        return;
    t->is_closing = true;
    if (!t->is_open)
        t->is_over = true;
    else if (weft_conn_close(t->session.conn, code, reason) != WEFT_OK)
        course_be_over(t, TALK_TROUBLE);
}

void course_leave(struct talk *t, int status)
{
    course_leave_with(t, status, (uint16_t)t->args->close_code, t->args->close_reason);
}

static void leave_at_signal(struct talk *t)
{
    int number = signals_end();

    if (!number || t->is_closing)
        return;
    output_note(&t->out, "interrupted; once more ends at once");
    course_leave_with(t, 128 + number, WEFT_CLOSE_NORMAL, NULL);
}

/* ------------------------------------------------------------------------- what happens on the connection */

static void opened(struct talk *t, const struct event *e)
{
    const char *subprotocol = weft_conn_subprotocol(e->conn);
    char peer[64];

    session_opened(&t->session, e->conn);
    t->is_open = true;
    t->has_drained = true;
    t->heard_ms = course_now_ms();
    output_note(&t->out, "connected to %s%s%s%s", weft_conn_peer(e->conn, peer, sizeof peer),
                *subprotocol ? ", subprotocol " : "", subprotocol,
                t->out.is_interactive ? "; /help lists commands" : "");
}

static void received(struct talk *t, const weft_msg *m)
{
    if (t->args->count && t->received >= t->args->count)
        return;
    output_message(&t->out, m);
    t->received++;
    t->heard_ms = course_now_ms();
    if (t->received == t->args->count)
        course_leave(t, TALK_DONE);
}

static bool is_peaceful(uint16_t code)
{
    return code == WEFT_CLOSE_NORMAL || code == WEFT_CLOSE_GOING_AWAY || code == WEFT_CLOSE_NO_STATUS;
}

/* The codes that a library sends by itself when the peer is at fault. */
static bool is_verdict(uint16_t code)
{
    return code == WEFT_CLOSE_PROTOCOL_ERROR || code == WEFT_CLOSE_INVALID_DATA ||
           code == WEFT_CLOSE_TOO_BIG || code == WEFT_CLOSE_POLICY_VIOLATION;
}

static int status_of(const struct talk *t, const weft_close_info *how)
{
    if (how->error != WEFT_OK && is_verdict(how->sent_code))
        return TALK_CLOSED;
    if (how->received_code == WEFT_CLOSE_ABNORMAL)
        return TALK_LOST;
    return is_peaceful(how->received_code) || (t->is_closing && !how->by_peer) ? TALK_DONE : TALK_CLOSED;
}

/* Why it was given up, where that says more than that it was. */
static const char *cause_of(const weft_close_info *how)
{
    return how->error == WEFT_OK || how->error == WEFT_E_CLOSED ? "" : weft_strerror(how->error);
}

static void tell_close(struct talk *t, const struct event *e, int status)
{
    unsigned code = e->how.received_code;
    const char *why = code == WEFT_CLOSE_ABNORMAL ? cause_of(&e->how) : e->text ? e->text : "";
    const char *colon = *why ? ": " : "";

    if (status == TALK_LOST)
        output_error(&t->out, "the connection is lost%s%s", colon, why);
    else if (code == WEFT_CLOSE_ABNORMAL)
        output_error(&t->out, "closed with %u%s%s", (unsigned)e->how.sent_code, colon, why);
    else if (status == TALK_CLOSED)
        output_error(&t->out, "closed by the server with %u%s%s", code, colon, why);
    else if (code == WEFT_CLOSE_NO_STATUS)
        output_note(&t->out, "closed without a code");
    else
        output_note(&t->out, "closed with %u%s%s", code, colon, why);
}

static void closed(struct talk *t, const struct event *e)
{
    int status = status_of(t, &e->how);

    session_closed(&t->session);
    t->is_open = false;
    tell_close(t, e, status);
    /* Of what the user has ended, a loss on the way out is still told by the status, a signal's own counts
     * more. */
    if (t->is_closing && status != TALK_DONE && t->status == TALK_DONE)
        t->has_status = false;
    if (t->is_closing || !t->args->reconnect)
        course_be_over(t, status);
}

static void failed(struct talk *t, const struct event *e)
{
    const char *text = e->text ? e->text : weft_strerror(e->rc);

    if (e->retry_ms == UINT32_MAX) {
        output_error(&t->out, "cannot connect: %s", text);
        if (e->body)
            output_error(&t->out, "the answer: %s", e->body);
        course_be_over(t, e->rc == WEFT_E_INVAL ? TALK_USAGE : TALK_UNREACHED);
    } else {
        output_note(&t->out, "cannot connect: %s; again in %u.%u s", text, (unsigned)(e->retry_ms / 1000),
                    (unsigned)(e->retry_ms % 1000 / 100));
    }
}

static void ponged(struct talk *t, const struct event *e)
{
    session_ponged(&t->session);
    if (e->rc == WEFT_OK)
        output_note(&t->out, "pong after %u.%03u ms", (unsigned)(e->us / 1000), (unsigned)(e->us % 1000));
    else
        output_note(&t->out, "no pong: %s", weft_strerror(e->rc));
}

static void handle(struct talk *t, const struct event *e)
{
    switch (e->kind) {
    case EVENT_OPEN:
        opened(t, e);
        break;
    case EVENT_MESSAGE:
        received(t, e->msg);
        break;
    case EVENT_DRAIN:
        t->has_drained = true;
        break;
    case EVENT_PONG:
        ponged(t, e);
        break;
    case EVENT_CLOSED:
        closed(t, e);
        break;
    case EVENT_FAILED:
        failed(t, e);
        break;
    case EVENT_LOG:
        output_error(&t->out, "%s", e->text ? e->text : "out of memory");
        break;
    }
}

static bool is_full(const struct talk *t)
{
    return t->out.waiting.count >= (t->editor ? FRAME_BYTES : OUTPUT_BATCH_BYTES);
}

/* When what is waiting is to be shown. */
static uint64_t frame_ms(const struct talk *t)
{
    return t->editor ? t->drawn_ms + FRAME_MS : 0;
}

/* A batch, shown at once: above a line that is being typed at most one a frame, and what is more waits in the
 * queue. */
void course_show(struct talk *t)
{
    struct event e;

    for (int i = 0; i < BATCH_EVENTS_MAX && !is_full(t); i++) {
        if (!events_get(&t->events, &e))
            break;
        handle(t, &e);
        event_fini(&e);
    }
    if (t->out.waiting.count == 0 || course_now_ms() < frame_ms(t))
        return;
    output_flush(&t->out);
    t->drawn_ms = course_now_ms();
}

/* ------------------------------------------------------------------------- one turn */

static void handle_signals(struct talk *t)
{
    leave_at_signal(t);
    if (!t->editor)
        return;
    if (signals_resized())
        editor_resize(t->editor);
    if (signals_suspended()) {
        editor_suspend(t->editor);
        signals_stop_here();
        editor_resume(t->editor);
    }
}

/* Who reads our output may end before us (`head -n 1`): that is no failure. */
static void check_output(struct talk *t)
{
    if (!t->out.error || t->is_closing)
        return;
    if (t->out.error != EPIPE && t->out.error != EINTR)
        output_error(&t->out, "standard output: %s", strerror(t->out.error));
    if (t->out.error != EINTR)
        course_leave(t, t->out.error == EPIPE ? TALK_DONE : TALK_TROUBLE);
}

static int timeout_until(struct talk *t, uint64_t deadline_ms)
{
    uint64_t now = course_now_ms();

    if (t->out.waiting.count && frame_ms(t) < deadline_ms)
        deadline_ms = frame_ms(t);
    if (t->is_over || deadline_ms <= now || (!is_full(t) && events_waiting(&t->events)))
        return 0;
    if (deadline_ms == COURSE_NO_DEADLINE)
        return -1;
    return deadline_ms - now > 60000 ? 60000 : (int)(deadline_ms - now);
}

bool course_wait(struct talk *t, bool wants_input, uint64_t deadline_ms)
{
    struct pollfd fds[] = {{.fd = t->events.wake_fd, .events = POLLIN},
                           {.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN}};

    if (poll(fds, 2, timeout_until(t, deadline_ms)) < 0)
        fds[0].revents = fds[1].revents = 0;
    if (fds[0].revents)
        events_calm(&t->events);
    handle_signals(t);
    course_show(t);
    check_output(t);
    return fds[1].revents != 0;
}

bool course_is_ending(const struct talk *t)
{
    return t->is_over || t->is_closing;
}

bool course_await_open(struct talk *t)
{
    while (!t->is_open && !course_is_ending(t))
        course_wait(t, false, COURSE_NO_DEADLINE);
    return t->is_open && !course_is_ending(t);
}
