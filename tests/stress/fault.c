/* What a run found wrong; see fault.h. */
#include "fault.h"

#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SHOWN_MAX 20

static _Atomic uint64_t count;
static const char *context = "";

static void show(const char *format, va_list args)
{
    char line[512];

    vsnprintf(line, sizeof line, format, args);
    fprintf(stderr, "stress: %s\n", line);
}

void fault(const char *format, ...)
{
    va_list args;

    if (atomic_fetch_add(&count, 1) >= SHOWN_MAX)
        return;
    va_start(args, format);
    show(format, args);
    va_end(args);
}

void fault_fatal(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    show(format, args);
    va_end(args);
    printf("%s FAILED\nstress: 0 passed, 1 failed\n", context);
    fflush(stdout);
    _exit(1);
}

uint64_t fault_count(void)
{
    return atomic_load(&count);
}

static void say(const char *text)
{
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        return;
}

static void hangs(int signal)
{
    (void)signal;
    say(context);
    say(" FAILED: it hangs\nstress: 0 passed, 1 failed\n");
    _exit(1);
}

void fault_context(const char *text, unsigned seconds)
{
    context = text;
    signal(SIGALRM, hangs);
    alarm(seconds);
}
