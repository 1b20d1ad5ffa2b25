/* What is shown; see output.h. */
#include "output.h"

#include "signals.h"
#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Returns 0, or the errno of the write that failed. */
static int write_all(int fd, const char *data, size_t bytes)
{
    while (bytes) {
        ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR && signals_end())
            return EINTR;
        if (n < 0 && errno != EINTR)
            return errno;
        if (n > 0) {
            data += n;
            bytes -= (size_t)n;
        }
    }
    return 0;
}

static void write_waiting(struct output *out)
{
    if (out->waiting.is_short && !out->error)
        out->error = ENOMEM;
    if (!out->error)
        out->error = write_all(STDOUT_FILENO, out->waiting.data, out->waiting.count);
    buffer_clear(&out->waiting);
}

void output_flush(struct output *out)
{
    if (out->waiting.count == 0 && !out->waiting.is_short)
        return;
    if (out->hide)
        out->hide(out->ctx);
    write_waiting(out);
    if (out->show)
        out->show(out->ctx);
}

void output_fini(struct output *out)
{
    buffer_fini(&out->waiting);
}

static void put_binary(struct output *out, const void *data, size_t bytes)
{
    bool is_cut = out->is_terminal && !out->args->hex && bytes > OUTPUT_HEX_BYTES;

    if (out->is_terminal)
        buffer_print(&out->waiting, "[binary, %zu bytes] ", bytes);
    text_put_hex(&out->waiting, data, is_cut ? OUTPUT_HEX_BYTES : bytes, out->is_terminal);
    buffer_put_text(&out->waiting, is_cut ? " ... (all of it with --hex)\n" : "\n");
}

static void put_text(struct output *out, const char *text, size_t bytes)
{
    if (out->args->no_escape)
        buffer_put(&out->waiting, text, bytes);
    else
        text_put_escaped(&out->waiting, text, bytes);
    buffer_put_text(&out->waiting, "\n");
}

void output_message(struct output *out, const weft_msg *m)
{
    bool is_binary = weft_msg_type(m) == WEFT_BINARY;
    const void *data = weft_msg_data(m);
    size_t bytes = weft_msg_bytes(m);

    if (out->is_interactive)
        buffer_put_text(&out->waiting, "< ");
    if (out->args->raw || (is_binary && !out->is_terminal && !out->args->hex))
        buffer_put(&out->waiting, data, bytes);
    else if (is_binary)
        put_binary(out, data, bytes);
    else
        put_text(out, data, bytes);
}

static void say(struct output *out, bool is_error, const char *text, size_t bytes)
{
    struct buffer line = {0};

    if (out->is_interactive && !is_error) {
        buffer_put_text(&out->waiting, "* ");
        text_put_escaped(&out->waiting, text, bytes);
        buffer_put_text(&out->waiting, "\n");
        return;
    }
    buffer_put_text(&line, "weft-cat: ");
    text_put_escaped(&line, text, bytes);
    buffer_put_text(&line, "\n");
    /* Both may be the same terminal, and what came first is to stand first. */
    if (out->hide)
        out->hide(out->ctx);
    if (out->waiting.count)
        write_waiting(out);
    write_all(STDERR_FILENO, line.data, line.count);
    if (out->show)
        out->show(out->ctx);
    buffer_fini(&line);
}

static void say_formatted(struct output *out, bool is_error, const char *format, va_list args)
{
    char *text;
    int bytes = vasprintf(&text, format, args);

    if (bytes < 0)
        return;
    say(out, is_error, text, (size_t)bytes);
    free(text);
}

void output_note(struct output *out, const char *format, ...)
{
    va_list args;

    if (out->args->quiet || (!out->is_interactive && !out->args->verbose))
        return;
    va_start(args, format);
    say_formatted(out, false, format, args);
    va_end(args);
}

void output_error(struct output *out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_formatted(out, true, format, args);
    va_end(args);
}
