/* What people may call themselves and say, and how fast: the checks of the chat that need nothing but their
 * arguments.
 *
 * All text is UTF-8 already: the library and jansson let nothing else through. */
#ifndef WEFT_SERVER_WORDS_H
#define WEFT_SERVER_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A name of a person or a room: 1 to bytes_max bytes, something to be seen at both ends, and nothing that
 * could make it look like another one or disturb the line it stands in: no control characters, no line
 * separators, no marks that turn the direction of writing, nothing that takes no ink, no joiner where there is
 * nothing to join. Letters of two scripts that look alike are two names. */
bool words_is_name(const char *text, size_t bytes, size_t bytes_max);

/* A name as it is compared: composed (NFC), so that one that is written in two ways is one. Built without
 * libunistring it stays as it is.
 *
 * room     of out, with its NUL
 * Returns  false: it is longer then */
bool words_normalize(const char *text, size_t bytes, char *out, size_t room);

/* A message: 1 to bytes_max bytes, not of white space alone, no control characters but newline and tab. */
bool words_is_message(const char *text, size_t bytes, size_t bytes_max);

/* A token bucket: `burst` messages at once, and `per_second` in the long run. All zero is a full one. */
struct words_bucket {
    uint64_t at_ms;   /* when it was last looked at */
    uint64_t missing; /* tokens to full, in thousandths */
};

/* Take so many tokens, at most burst.
 *
 * now_ms   from a clock that does not go back
 * Returns  false when there are fewer, and none is taken */
bool words_bucket_take(struct words_bucket *b, uint64_t now_ms, unsigned tokens, unsigned burst,
                       unsigned per_second);

#endif
