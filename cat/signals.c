/* Signals as flags; see signals.h. */
#include "signals.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

static const struct events *queue; /* set before a handler can run */
static volatile sig_atomic_t end, resized, suspended, has_terminal;
static struct termios terminal; /* written before has_terminal is set */

static void take(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler};

    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

/* The second one ends the program by itself, once this handler has returned. */
static void on_end(int number)
{
    if (end) {
        if (has_terminal)
            tcsetattr(STDIN_FILENO, TCSANOW, &terminal);
        take(number, SIG_DFL);
        raise(number);
        return;
    }
    end = number;
    events_wake(queue);
}

static void on_resize(int number)
{
    (void)number;
    resized = 1;
    events_wake(queue);
}

static void on_suspend(int number)
{
    (void)number;
    suspended = 1;
    events_wake(queue);
}

/* Who was started with SIGHUP or SIGINT ignored (nohup, a shell's background) stays so. */
static void take_unless_ignored(int number, void (*handler)(int))
{
    struct sigaction before;

    if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        take(number, handler);
}

void signals_begin(const struct events *wake)
{
    queue = wake;
    take(SIGPIPE, SIG_IGN);
    take_unless_ignored(SIGINT, on_end);
    take_unless_ignored(SIGHUP, on_end);
    take(SIGTERM, on_end);
}

int signals_end(void)
{
    return end;
}

void signals_take_terminal(void)
{
    has_terminal = tcgetattr(STDIN_FILENO, &terminal) == 0;
    take(SIGWINCH, on_resize);
    take(SIGTSTP, on_suspend);
}

void signals_leave_terminal(void)
{
    take(SIGWINCH, SIG_DFL);
    take(SIGTSTP, SIG_DFL);
    has_terminal = 0;
}

static bool taken(volatile sig_atomic_t *flag)
{
    bool is_set = *flag;

    *flag = 0;
    return is_set;
}

bool signals_resized(void)
{
    return taken(&resized);
}

bool signals_suspended(void)
{
    return taken(&suspended);
}

void signals_stop_here(void)
{
    take(SIGTSTP, SIG_DFL);
    raise(SIGTSTP);
    take(SIGTSTP, on_suspend);
}
