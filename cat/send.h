/* Sending, with a complaint when it cannot be. What finds no room waits for it, and standard input is not
 * read meanwhile; with --reconnect and in a pipe it waits for the next session too. */
#ifndef WEFT_CAT_SEND_H
#define WEFT_CAT_SEND_H

#include "course.h"

/* what     names it in a complaint
 * Returns  false when it was not sent */
bool send_text(struct talk *t, const char *what, const char *text, size_t bytes);
bool send_hex(struct talk *t, const char *what, const char *digits, size_t bytes);

/* A line without a command, as the options say. */
bool send_line(struct talk *t, const char *what, const char *line, size_t bytes);

bool send_file(struct talk *t, const char *path, bool is_binary);

#endif
