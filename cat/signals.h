/* Signals as flags for the thread that has the terminal.
 *
 * The first one that asks for an end is told; a second one ends the program at once, with the terminal as it
 * was found. Handlers are used, and without SA_RESTART, so that a signal also ends a write to a pipe that
 * nobody reads. */
#ifndef WEFT_CAT_SIGNALS_H
#define WEFT_CAT_SIGNALS_H

#include "events.h"

#include <stdbool.h>

/* Take SIGINT, SIGTERM and SIGHUP, and ignore SIGPIPE; each wakes the queue. */
void signals_begin(const struct events *wake);

/* The number of the signal that asked for an end; 0: none has. It stays. */
int signals_end(void);

/* Take SIGWINCH and SIGTSTP too, and put the terminal at standard input back as it is now when a second
 * signal ends the program; and give both back. */
void signals_take_terminal(void);
void signals_leave_terminal(void);

/* Has it come since the last call? */
bool signals_resized(void);
bool signals_suspended(void);

/* Stop until somebody continues the program, as SIGTSTP does by default. */
void signals_stop_here(void);

#endif
