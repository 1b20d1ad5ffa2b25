/* A conversation; see talk.h.
 *
 * One thread, this one, has the terminal, standard input and all decisions; it waits in `turn` and nowhere else but in
 * writes, which signals end. What the library's threads tell comes through the queue of events.
 *
 * States: not open (connecting, or between two sessions), open, closing (we have said Close, or want to), over. What
 * is sent above the outbox's mark waits for EVENT_DRAIN, and standard input is not read meanwhile. */
#include "talk.h"

#include "command.h"
#include "editor.h"
#include "events.h"
#include "input.h"
#include "output.h"
#include "past.h"
#include "session.h"
#include "signals.h"
#include "text.h"

#include <weft/weft.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BATCH_EVENTS_MAX 64 /* then the keyboard's turn comes */
#define FRAME_MS         30 /* the line that is being typed is not drawn more often than that: it would flicker */
#define FRAME_BYTES      8192
#define NO_DEADLINE      UINT64_MAX

struct talk {
    const struct arguments *args;
    struct events events;
    struct session session;
    struct output out;
    struct editor *editor;
    bool is_open, is_closing, is_over;
    bool has_drained; /* since the last send that found no room */
    int status;       /* what to exit with once it is over; what is set first stays */
    bool has_status;
    uint64_t received; /* messages shown */
    uint64_t heard_ms; /* when the last one came, or was sent */
    uint64_t drawn_ms; /* when something was shown last */
};

static uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/* ------------------------------------------------------------------------- the end */

static void decide(struct talk *t, int status)
{
    if (t->has_status)
        return;
    t->status = status;
    t->has_status = true;
}

static void be_over(struct talk *t, int status)
{
    decide(t, status);
    t->is_over = true;
}

/* Close; what is under way is still shown until the server has closed too. */
static void leave_with(struct talk *t, int status, uint16_t code, const char *reason)
{
    decide(t, status);
    if (t->is_closing)
        return;
    t->is_closing = true;
    if (!t->is_open)
        t->is_over = true;
    else if (weft_conn_close(t->session.conn, code, reason) != WEFT_OK)
        be_over(t, TALK_TROUBLE);
}

static void leave(struct talk *t, int status)
{
    leave_with(t, status, (uint16_t)t->args->close_code, t->args->close_reason);
}

static void leave_at_signal(struct talk *t)
{
    int number = signals_end();

    if (!number || t->is_closing)
        return;
    output_note(&t->out, "interrupted; once more ends at once");
    leave_with(t, 128 + number, WEFT_CLOSE_NORMAL, NULL);
}

/* ------------------------------------------------------------------------- what happens on the connection */

static void opened(struct talk *t, const struct event *e)
{
    const char *subprotocol = weft_conn_subprotocol(e->conn);
    char peer[64];

    session_opened(&t->session, e->conn);
    t->is_open = true;
    t->has_drained = true;
    t->heard_ms = now_ms();
    output_note(&t->out, "connected to %s%s%s%s", weft_conn_peer(e->conn, peer, sizeof peer),
                *subprotocol ? ", subprotocol " : "", subprotocol,
                t->out.is_interactive ? "; /help lists commands" : "");
    if (t->is_closing)
        weft_conn_close(t->session.conn, WEFT_CLOSE_GOING_AWAY, NULL);
}

static void received(struct talk *t, const weft_msg *m)
{
    if (t->args->count && t->received >= t->args->count)
        return;
    output_message(&t->out, m);
    t->received++;
    t->heard_ms = now_ms();
    if (t->received == t->args->count)
        leave(t, TALK_DONE);
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

static void tell_close(struct talk *t, const struct event *e, int status)
{
    const char *reason = e->text ? e->text : "";
    const char *colon = *reason ? ": " : "";

    if (status == TALK_LOST)
        output_error(&t->out, "the connection is lost%s%s", e->how.error ? ": " : "",
                     e->how.error ? weft_strerror(e->how.error) : "");
    else if (e->how.received_code == WEFT_CLOSE_ABNORMAL)
        output_error(&t->out, "closed with %u: %s", (unsigned)e->how.sent_code, weft_strerror(e->how.error));
    else if (status == TALK_CLOSED)
        output_error(&t->out, "closed by the server with %u%s%s", (unsigned)e->how.received_code, colon,
                     reason);
    else if (e->how.received_code == WEFT_CLOSE_NO_STATUS)
        output_note(&t->out, "closed without a code");
    else
        output_note(&t->out, "closed with %u%s%s", (unsigned)e->how.received_code, colon, reason);
}

static void closed(struct talk *t, const struct event *e)
{
    int status = status_of(t, &e->how);

    session_closed(&t->session);
    t->is_open = false;
    tell_close(t, e, status);
    /* Of what the user has ended, a loss on the way out is still told by the status, a signal's own counts more. */
    if (t->is_closing && status != TALK_DONE && t->status == TALK_DONE)
        t->has_status = false;
    if (t->is_closing || !t->args->reconnect)
        be_over(t, status);
}

static void failed(struct talk *t, const struct event *e)
{
    const char *text = e->text ? e->text : weft_strerror(e->rc);

    if (e->retry_ms == UINT32_MAX) {
        output_error(&t->out, "cannot connect: %s", text);
        if (e->body)
            output_error(&t->out, "the answer: %s", e->body);
        be_over(t, TALK_UNREACHED);
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

/* A batch, shown at once: above a line that is being typed at most one a frame, and what is more waits in the queue. */
static void handle_events(struct talk *t)
{
    struct event e;

    for (int i = 0; i < BATCH_EVENTS_MAX && !is_full(t); i++) {
        if (!events_get(&t->events, &e))
            break;
        handle(t, &e);
        event_fini(&e);
    }
    if (t->out.waiting.count == 0 || now_ms() < frame_ms(t))
        return;
    output_flush(&t->out);
    t->drawn_ms = now_ms();
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
        leave(t, t->out.error == EPIPE ? TALK_DONE : TALK_TROUBLE);
}

static int timeout_until(struct talk *t, uint64_t deadline_ms)
{
    uint64_t now = now_ms();

    if (t->out.waiting.count && frame_ms(t) < deadline_ms)
        deadline_ms = frame_ms(t);
    if (t->is_over || deadline_ms <= now || (!is_full(t) && events_waiting(&t->events)))
        return 0;
    if (deadline_ms == NO_DEADLINE)
        return -1;
    return deadline_ms - now > 60000 ? 60000 : (int)(deadline_ms - now);
}

/* Wait for something and deal with it.
 *
 * wants_input  also for standard input
 * Returns      true when that is readable */
static bool turn(struct talk *t, bool wants_input, uint64_t deadline_ms)
{
    struct pollfd fds[] = {{.fd = t->events.wake_fd, .events = POLLIN},
                           {.fd = wants_input ? STDIN_FILENO : -1, .events = POLLIN}};

    if (poll(fds, 2, timeout_until(t, deadline_ms)) < 0)
        fds[0].revents = fds[1].revents = 0;
    if (fds[0].revents)
        events_calm(&t->events);
    handle_signals(t);
    handle_events(t);
    check_output(t);
    return fds[1].revents != 0;
}

static bool is_ending(const struct talk *t)
{
    return t->is_over || t->is_closing;
}

/* ------------------------------------------------------------------------- sending */

static bool await_open(struct talk *t)
{
    while (!t->is_open && !is_ending(t))
        turn(t, false, NO_DEADLINE);
    return t->is_open && !is_ending(t);
}

/* Returns WEFT_OK, or why it was not sent; with --reconnect the next session gets what this one did not take. */
static int send_when_there_is_room(struct talk *t, weft_msg *m)
{
    int rc = WEFT_E_CLOSED;

    while (!is_ending(t)) {
        t->has_drained = false;
        rc = session_send(&t->session, m);
        if (rc == WEFT_E_AGAIN) {
            while (!t->has_drained && t->is_open && !is_ending(t))
                turn(t, false, NO_DEADLINE);
        } else if (rc == WEFT_E_CLOSED) {
            if (!t->is_open && t->out.is_interactive)
                break;                   /* somebody looks on and can say it again */
            turn(t, false, NO_DEADLINE); /* EVENT_CLOSED is on its way, or EVENT_OPEN */
        } else {
            break;
        }
    }
    return rc;
}

static bool send_bytes(struct talk *t, enum weft_msg_type type, const char *data, size_t bytes)
{
    weft_msg *m = NULL;
    int rc = weft_msg_new(&m, type, data, bytes);

    if (rc == WEFT_OK)
        rc = send_when_there_is_room(t, m);
    t->heard_ms = now_ms();
    if (rc == WEFT_OK)
        return true;
    weft_msg_unref(m);
    if (!is_ending(t))
        output_error(&t->out, "not sent: %s", weft_strerror(rc));
    return false;
}

/* Text that is no UTF-8 would be answered with the end of the connection.
 *
 * what  names the text in a complaint */
static bool send_text(struct talk *t, const char *what, const char *text, size_t bytes)
{
    size_t valid = text_valid_bytes(text, bytes);

    if (valid == bytes)
        return send_bytes(t, WEFT_TEXT, text, bytes);
    output_error(&t->out, "%s is not UTF-8 at byte %zu; --binary sends any bytes", what, valid + 1);
    return false;
}

static bool send_hex(struct talk *t, const char *what, const char *digits, size_t bytes)
{
    struct buffer data = {0};
    bool is_good = text_read_hex(&data, digits, bytes) && !data.is_short;

    if (!is_good)
        output_error(&t->out, "%s is not pairs of hexadecimal digits", what);
    is_good = is_good && send_bytes(t, WEFT_BINARY, data.data, data.count);
    buffer_fini(&data);
    return is_good;
}

static bool send_line(struct talk *t, const char *what, const char *line, size_t bytes)
{
    if (t->args->hex)
        return send_hex(t, what, line, bytes);
    if (t->args->binary)
        return send_bytes(t, WEFT_BINARY, line, bytes);
    return send_text(t, what, line, bytes);
}

static bool send_file(struct talk *t, const char *path, bool is_binary)
{
    struct buffer data = {0};
    int error = input_read_file(&data, path);
    bool is_sent = false;

    if (error)
        output_error(&t->out, "%s: %s", path, strerror(error));
    else if (is_binary)
        is_sent = send_bytes(t, WEFT_BINARY, data.data, data.count);
    else
        is_sent = send_text(t, path, data.data, data.count);
    if (is_sent)
        output_note(&t->out, "sent %s, %zu bytes", path, data.count);
    buffer_fini(&data);
    return is_sent;
}

/* ------------------------------------------------------------------------- at a terminal */

static void ping(struct talk *t)
{
    int rc = session_ping(&t->session);

    if (rc == WEFT_E_STATE)
        output_note(&t->out, "a ping is under way");
    else if (rc != WEFT_OK)
        output_error(&t->out, "no ping: %s", weft_strerror(rc));
}

static void close_as_told(struct talk *t, const struct command *c)
{
    char reason[COMMAND_REASON_BYTES_MAX + 1] = "";

    if (!c->code) {
        leave(t, TALK_DONE);
        return;
    }
    memcpy(reason, c->rest, c->rest_bytes);
    if (text_valid_bytes(reason, c->rest_bytes) < c->rest_bytes)
        output_error(&t->out, "the reason is not UTF-8");
    else
        leave_with(t, TALK_DONE, c->code, reason);
}

static void send_named_file(struct talk *t, const struct command *c)
{
    char *path = strndup(c->rest, c->rest_bytes);

    if (path)
        send_file(t, path, t->args->binary || c->kind == COMMAND_BINARY_FILE);
    else
        output_error(&t->out, "out of memory");
    free(path);
}

static void show_help(struct talk *t)
{
    for (size_t i = 0; command_help[i]; i++)
        buffer_print(&t->out.waiting, "  %s\n", command_help[i]);
}

static void obey(struct talk *t, const char *line, size_t bytes)
{
    struct command c;

    command_read(&c, line, bytes);
    switch (c.kind) {
    case COMMAND_NONE:
        break;
    case COMMAND_LINE:
        send_line(t, "the line", c.rest, c.rest_bytes);
        break;
    case COMMAND_TEXT:
        send_text(t, "the text", c.rest, c.rest_bytes);
        break;
    case COMMAND_BINARY:
        send_hex(t, "what follows /binary", c.rest, c.rest_bytes);
        break;
    case COMMAND_FILE:
    case COMMAND_BINARY_FILE:
        send_named_file(t, &c);
        break;
    case COMMAND_PING:
        ping(t);
        break;
    case COMMAND_CLOSE:
        close_as_told(t, &c);
        break;
    case COMMAND_HELP:
        show_help(t);
        break;
    case COMMAND_QUIT:
        leave(t, TALK_DONE);
        break;
    case COMMAND_WRONG:
        output_error(&t->out, "%s", c.wrong);
        break;
    }
    output_flush(&t->out);
}

/* Called by libedit's reading whenever it needs a key. */
static bool wait_for_key(void *ctx)
{
    struct talk *t = ctx;

    while (!is_ending(t))
        if (turn(t, true, NO_DEADLINE))
            return !is_ending(t);
    return false;
}

static void hide_line(void *ctx)
{
    editor_hide(((struct talk *)ctx)->editor);
}

static void show_line(void *ctx)
{
    editor_show(((struct talk *)ctx)->editor);
}

static void edit_lines(struct talk *t)
{
    const char *line;
    size_t bytes;

    t->out.ctx = t;
    t->out.hide = hide_line;
    t->out.show = show_line;
    while (!is_ending(t) && (line = editor_read(t->editor, &bytes)))
        obey(t, line, bytes);
    t->out.hide = t->out.show = NULL;
    output_flush(&t->out);
    leave(t, TALK_DONE);
}

/* ------------------------------------------------------------------------- without line editing */

/* Returns false when nothing more is to be sent: in a pipe a line that cannot be sent is the last one, because what
 * follows may build on it. The answers to those before it are still waited for. */
static bool take_line(struct talk *t, const struct input *in, const char *line, size_t bytes)
{
    char what[40];

    if (t->out.is_interactive) {
        obey(t, line, bytes);
        return true;
    }
    snprintf(what, sizeof what, "line %llu", (unsigned long long)in->lines);
    if (send_line(t, what, line, bytes))
        return true;
    if (!is_ending(t))
        decide(t, TALK_TROUBLE);
    return false;
}

static void complain_about_input(struct talk *t, enum input_result result)
{
    if (result == INPUT_TOO_LONG)
        output_error(&t->out, "a line is longer than %u bytes", INPUT_BYTES_MAX);
    else
        output_error(&t->out, "standard input: %s", strerror(errno));
    decide(t, TALK_TROUBLE);
}

static void read_lines(struct talk *t)
{
    struct input in = {.fd = STDIN_FILENO};
    enum input_result result = INPUT_MORE;
    const char *line;
    size_t bytes;

    while ((result == INPUT_LINE || result == INPUT_MORE) && await_open(t)) {
        result = input_line(&in, &line, &bytes);
        if (result == INPUT_LINE && !take_line(t, &in, line, bytes))
            break;
        if (result == INPUT_MORE && turn(t, true, NO_DEADLINE))
            result = input_fill(&in);
    }
    if (result == INPUT_TOO_LONG || result == INPUT_FAILED)
        complain_about_input(t, result);
    input_fini(&in);
}

/* Answers may come behind the end of input: until it has been quiet for a while. */
static void await_quiet(struct talk *t)
{
    while (!is_ending(t)) {
        uint64_t quiet_ms;
        if (t->session.conn && weft_conn_outbox_bytes(t->session.conn) && t->args->wait_ms)
            t->heard_ms = now_ms(); /* nobody can answer what has not left yet */
        quiet_ms = t->heard_ms + t->args->wait_ms;
        if (t->args->wait_ms == ARGUMENTS_WAIT_FOREVER)
            quiet_ms = NO_DEADLINE;
        if (now_ms() >= quiet_ms && !events_waiting(&t->events))
            leave(t, TALK_DONE);
        else
            turn(t, false, quiet_ms);
    }
}

/* ------------------------------------------------------------------------- from start to end */

static void on_log(enum weft_log_level level, uint64_t conn_id, const char *text, void *app)
{
    struct talk *t = app;
    struct event e = {.kind = EVENT_LOG, .text = strdup(text)};

    (void)level;
    (void)conn_id;
    events_try_put(&t->events, &e);
}

static void converse_at_terminal(struct talk *t)
{
    char *path = t->args->no_history ? NULL : past_path();

    t->editor = editor_open(path, wait_for_key, t);
    if (t->editor) {
        signals_take_terminal();
        edit_lines(t);
        editor_close(t->editor);
        t->editor = NULL;
        signals_leave_terminal();
    } else {
        read_lines(t);
        leave(t, TALK_DONE);
    }
    free(path);
}

static void converse(struct talk *t)
{
    await_open(t);
    for (size_t i = 0; i < t->args->files.count && await_open(t); i++)
        if (!send_file(t, t->args->files.items[i], t->args->binary) && !is_ending(t))
            leave(t, TALK_TROUBLE);
    if (is_ending(t)) {
    } else if (t->out.is_interactive) {
        converse_at_terminal(t);
    } else {
        read_lines(t);
        await_quiet(t);
    }
    while (!t->is_over)
        turn(t, false, NO_DEADLINE);
}

static int begin(struct talk *t)
{
    int rc;

    weft_log_to(t->args->verbose ? WEFT_LOG_INFO : WEFT_LOG_WARNING, on_log, t);
    signals_begin(&t->events);
    rc = session_start(&t->session, t->args, &t->events);
    if (rc == WEFT_OK)
        return rc;
    handle_events(t);
    output_error(&t->out, "cannot begin: %s", weft_strerror(rc));
    be_over(t, rc == WEFT_E_INVAL ? TALK_USAGE : TALK_TROUBLE);
    return rc;
}

/* Lines that were logged last, and nothing else: what is not shown by now belongs to an end that was decided. */
static void show_rest(struct talk *t)
{
    struct event e;

    while (events_get(&t->events, &e)) {
        if (e.kind == EVENT_LOG)
            handle(t, &e);
        event_fini(&e);
    }
    output_flush(&t->out);
}

int talk(const struct arguments *args)
{
    struct talk t = {.args = args, .out = {.args = args}};

    t.out.is_terminal = isatty(STDOUT_FILENO);
    t.out.is_interactive = t.out.is_terminal && isatty(STDIN_FILENO);
    if (t.out.is_terminal && (args->raw || args->no_escape)) {
        output_error(&t.out, "--raw and --no-escape are for standard output that is not a terminal");
        return TALK_USAGE;
    }
    if (!events_init(&t.events)) {
        output_error(&t.out, "no descriptor: %s", strerror(errno));
        return TALK_TROUBLE;
    }
    if (begin(&t) == WEFT_OK)
        converse(&t);
    events_stop(&t.events);
    if (!session_stop(&t.session))
        _exit(t.status); /* a callback still runs: what it uses must not be freed */
    show_rest(&t);
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
    events_fini(&t.events);
    output_fini(&t.out);
    return t.status;
}
