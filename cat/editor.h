/* The line that is being typed, with history, over libedit; and how to write above it.
 *
 * libedit reads in a call that does not return before Enter. The program lives inside of that call: whenever
 * libedit wants a character, `wait` runs until one can be read, and may write to the terminal between
 * editor_hide and editor_show. One thread, one editor. */
#ifndef WEFT_CAT_EDITOR_H
#define WEFT_CAT_EDITOR_H

#include <stdbool.h>
#include <stddef.h>

struct editor;

/* Take the terminal at standard input and standard output.
 *
 * history  path of the file that keeps the lines from one run to the next; NULL: none does
 * wait     returns true when standard input is readable, false when the line is to be given up
 * Returns  NULL when the terminal is too dumb for it, or there is no memory */
struct editor *editor_open(const char *history, bool (*wait)(void *ctx), void *ctx);

/* Give the terminal back as it was, and keep the history. NULL is allowed. */
void editor_close(struct editor *e);

/* Read a line.
 *
 * bytes    set to its length
 * Returns  the line without its newline, valid until the next call; NULL at the end of input, or because wait
 * said so */
const char *editor_read(struct editor *e, size_t *bytes);

/* Take the line off the screen, leaving the cursor at the beginning of an empty line, and put it back.
 * Without a line being read both do nothing. */
void editor_hide(struct editor *e);
void editor_show(struct editor *e);

/* The window has another size. */
void editor_resize(struct editor *e);

/* Give the terminal back for a while, and take it again. */
void editor_suspend(struct editor *e);
void editor_resume(struct editor *e);

#endif
