/* What stands in messages, made fit to be shown and typed: UTF-8, escapes and hexadecimal digits. */
#ifndef WEFT_CAT_TEXT_H
#define WEFT_CAT_TEXT_H

#include "buffer.h"

#include <stdint.h>

/* Read one character.
 *
 * point    set to its code point
 * Returns  its length in bytes; 0 when no valid UTF-8 begins here, also when it is cut
 * Source   RFC 3629 section 4 */
size_t text_next(const char *at, size_t bytes, uint32_t *point);

/* How many bytes at the front are UTF-8: all of them, or as many as stand before the first fault. */
size_t text_valid_bytes(const char *text, size_t bytes);

/* Put text so that it stays on its line and drives no terminal: what controls, separates lines or turns the
 * direction of writing becomes an escape as in JSON (\n, \u001b), and a byte that is not UTF-8 becomes \xNN.
 * Tabs and backslashes stay, so that JSON stays JSON; it is for reading, and cannot be undone. */
void text_put_escaped(struct buffer *out, const char *text, size_t bytes);

/* Put bytes as hexadecimal digits.
 *
 * gap      a blank between bytes */
void text_put_hex(struct buffer *out, const void *data, size_t bytes, bool gap);

/* Read bytes from hexadecimal digits, with blanks between bytes as one likes.
 *
 * Returns  false when it is something else; what was put until then stays in out */
bool text_read_hex(struct buffer *out, const char *text, size_t bytes);

#endif
