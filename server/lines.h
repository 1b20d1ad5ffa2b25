/* What the chat sends, as messages ready for weft: to clients, whose forms are in chat.h, and between
 * instances.
 *
 * Each lines_... returns a message with one reference, or NULL when there is no memory. */
#ifndef WEFT_SERVER_LINES_H
#define WEFT_SERVER_LINES_H

#include "rooms.h"

#include <weft/msg.h>

#include <stdint.h>

weft_msg *lines_error(const char *reason, int64_t ref);                         /* ref: 0: none */
weft_msg *lines_waiting(void);
weft_msg *lines_notice(const char *type, const char *name);                     /* "came", "went", "typing" */
weft_msg *lines_said(const struct seat *who, const char *text, uint64_t at_ms); /* as it is published */
weft_msg *lines_joined(const struct seat *seat);
weft_msg *lines_history(const weft_bus_ready *ready);

/* What was published, with its place. Also NULL when it is no line of ours. */
weft_msg *lines_placed(const weft_bus_item *said);

/* Between instances: what somebody does, in words: "came TOKEN NAME". */
struct event {
    char verb[8];
    char token[TOKEN_BYTES_MAX + 1];
    char name[PERSON_NAME_BYTES_MAX + 1];
};

weft_msg *lines_event(const char *verb, const struct seat *who);

/* Read one: everything behind the verb, which is left alone.
 *
 * Returns  false: it is none */
bool event_read_who(struct event *out, const char *text, size_t bytes);
bool event_read(struct event *out, const char *text, size_t bytes);

/* "TOKEN NAME": under this a seat is found in the presence. */
#define PRESENCE_BYTES (TOKEN_BYTES_MAX + 1 + PERSON_NAME_BYTES_MAX + 1)
void presence_of(const struct seat *seat, char out[PRESENCE_BYTES]);

#endif
