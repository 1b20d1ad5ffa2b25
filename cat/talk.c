/* A conversation, from the attempt to connect to the end; see talk.h. */
#include "talk.h"

#include "command.h"
#include "course.h"
#include "input.h"
#include "past.h"
#include "send.h"
#include "signals.h"
#include "text.h"

#include <weft/weft.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
        course_leave(t, TALK_DONE);
        return;
    }
    memcpy(reason, c->rest, c->rest_bytes);
    if (text_valid_bytes(reason, c->rest_bytes) < c->rest_bytes)
        output_error(&t->out, "the reason is not UTF-8");
    else
        course_leave_with(t, TALK_DONE, c->code, reason);
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
        course_leave(t, TALK_DONE);
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

    while (!course_is_ending(t))
        if (course_wait(t, true, COURSE_NO_DEADLINE))
            return !course_is_ending(t);
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
    while (!course_is_ending(t) && (line = editor_read(t->editor, &bytes)))
        obey(t, line, bytes);
    t->out.hide = t->out.show = NULL;
    output_flush(&t->out);
    course_leave(t, TALK_DONE);
}

/* ------------------------------------------------------------------------- without line editing */

/* Returns false when nothing more is to be sent: in a pipe a line that cannot be sent is the last one,
 * because what follows may build on it. The answers to those before it are still waited for. */
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
    if (!course_is_ending(t))
        course_decide(t, TALK_TROUBLE);
    return false;
}

static void complain_about_input(struct talk *t, enum input_result result)
{
    if (result == INPUT_TOO_LONG)
        output_error(&t->out, "a line is longer than %u bytes", INPUT_BYTES_MAX);
    else
        output_error(&t->out, "standard input: %s", strerror(errno));
    course_decide(t, TALK_TROUBLE);
}

static void read_lines(struct talk *t)
{
    struct input in = {.fd = STDIN_FILENO};
    enum input_result result = INPUT_MORE;
    const char *line;
    size_t bytes;

    while ((result == INPUT_LINE || result == INPUT_MORE) && course_await_open(t)) {
        result = input_line(&in, &line, &bytes);
        if (result == INPUT_LINE && !take_line(t, &in, line, bytes))
            break;
        if (result == INPUT_MORE && course_wait(t, true, COURSE_NO_DEADLINE))
            result = input_fill(&in);
    }
    if (result == INPUT_TOO_LONG || result == INPUT_FAILED)
        complain_about_input(t, result);
    input_fini(&in);
}

/* Answers may come behind the end of input: until it has been quiet for a while. */
static void await_quiet(struct talk *t)
{
    while (!course_is_ending(t)) {
        uint64_t quiet_ms;
        if (t->session.conn && weft_conn_outbox_bytes(t->session.conn) && t->args->wait_ms)
            t->heard_ms = course_now_ms(); /* nobody can answer what has not left yet */
        quiet_ms = t->heard_ms + t->args->wait_ms;
        if (t->args->wait_ms == ARGUMENTS_WAIT_FOREVER)
            quiet_ms = COURSE_NO_DEADLINE;
        if (course_now_ms() >= quiet_ms && !events_waiting(&t->events))
            course_leave(t, TALK_DONE);
        else
            course_wait(t, false, quiet_ms);
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
        course_leave(t, TALK_DONE);
    }
    free(path);
}

static void converse(struct talk *t)
{
    course_await_open(t);
    for (size_t i = 0; i < t->args->files.count && course_await_open(t); i++)
        if (!send_file(t, t->args->files.items[i], t->args->binary) && !course_is_ending(t))
            course_leave(t, TALK_TROUBLE);
    if (course_is_ending(t)) {
    } else if (t->out.is_interactive) {
        converse_at_terminal(t);
    } else {
        read_lines(t);
        await_quiet(t);
    }
    while (!t->is_over)
        course_wait(t, false, COURSE_NO_DEADLINE);
}

static int begin(struct talk *t)
{
    int rc;

    weft_log_to(t->args->verbose ? WEFT_LOG_INFO : WEFT_LOG_WARNING, on_log, t);
    signals_begin(&t->events);
    rc = session_start(&t->session, t->args, &t->events);
    if (rc == WEFT_OK)
        return rc;
    course_show(t);
    output_error(&t->out, "cannot begin: %s", weft_strerror(rc));
    course_be_over(t, rc == WEFT_E_INVAL ? TALK_USAGE : TALK_TROUBLE);
    return rc;
}

/* Lines that were logged last, and nothing else: what is not shown by now belongs to an end that was decided.
 */
static void show_rest(struct talk *t)
{
    struct event e;

    while (events_get(&t->events, &e)) {
        if (e.kind == EVENT_LOG)
            output_error(&t->out, "%s", e.text ? e.text : "out of memory");
        event_fini(&e);
    }
    if (t->events.left_out)
        output_note(&t->out, "%zu lines of the log were left out", t->events.left_out);
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
