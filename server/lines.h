/* What the chat sends, as messages ready for weft; the forms are in chat.h.
 *
 * Each returns a message with one reference, or NULL when there is no memory. */
#ifndef WEFT_SERVER_LINES_H
#define WEFT_SERVER_LINES_H

#include "rooms.h"

#include <weft/msg.h>

#include <stdint.h>

weft_msg *lines_error(const char *reason);
weft_msg *lines_notice(const char *type, const char *name); /* "came", "went", "typing" */
weft_msg *lines_said(uint64_t id, const struct person *who, const char *text, uint64_t at_ms);
weft_msg *lines_joined(const struct person *who); /* about the room that they are in */

#endif
