/* What is typed at a terminal: a text to be sent, or a command behind a slash. */
#ifndef WEFT_CAT_COMMAND_H
#define WEFT_CAT_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum command_kind {
    COMMAND_NONE, /* an empty line */
    COMMAND_LINE, /* no command: to be sent as the options say */
    COMMAND_TEXT,
    COMMAND_BINARY, /* rest holds hexadecimal digits */
    COMMAND_FILE,
    COMMAND_BINARY_FILE,
    COMMAND_PING,
    COMMAND_CLOSE,
    COMMAND_HELP,
    COMMAND_QUIT,
    COMMAND_WRONG /* wrong says why */
};

#define COMMAND_WRONG_BYTES_MAX 160

struct command {
    enum command_kind kind;
    const char *rest; /* a part of the line: text, digits, path or reason */
    size_t rest_bytes;
    uint16_t code; /* of COMMAND_CLOSE; 0: none was given */
    char wrong[COMMAND_WRONG_BYTES_MAX];
};

/* Take a line apart. "//x" is the text "/x".
 *
 * line     borrowed; what command refers to lies in it */
void command_read(struct command *command, const char *line, size_t bytes);

/* One line for each command, NULL behind the last. */
extern const char *const command_help[];

/* May a program send a Close frame with this code? Source: RFC 6455 section 7.4 */
bool command_close_code_is_good(uint64_t code);

#define COMMAND_REASON_BYTES_MAX 123 /* what fits into a Close frame beside its code */

#endif
