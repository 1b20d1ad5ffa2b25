/* Formats a line on the stack and hands it to the program's function, or writes it to standard error in one
 * call, so that lines of several threads do not mix. Set up before the threads start, read without a lock
 * afterwards. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_BYTES_MAX 512

static enum weft_log_level level_max = WEFT_LOG_WARNING;
static weft_log_fn *write_line;
static void *write_app;

void weft_log_to(enum weft_log_level level, weft_log_fn *write, void *app)
{
    level_max = level;
    write_line = write;
    write_app = app;
}

bool log_wants(enum weft_log_level level)
{
    return level <= level_max && level != WEFT_LOG_OFF;
}

static void to_standard_error(enum weft_log_level level, uint64_t conn_id, const char *text)
{
    static const char *const names[] = {"", "error", "warning", "info", "debug"};
    char line[LINE_BYTES_MAX + 64];
    int n;

    if (conn_id)
        n = snprintf(line, sizeof line, "weft %s: #%llu %s\n", names[level], (unsigned long long)conn_id,
                     text);
    else
        n = snprintf(line, sizeof line, "weft %s: %s\n", names[level], text);
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
        return; /* a log line has nowhere else to go */
}

void log_line(enum weft_log_level level, uint64_t conn_id, const char *format, ...)
{
    char text[LINE_BYTES_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (write_line)
        write_line(level, conn_id, text, write_app);
    else
        to_standard_error(level, conn_id, text);
}
