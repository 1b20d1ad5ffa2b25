/* What is typed at a terminal; see command.h. */
#include "command.h"

#include "text.h"

#include <stdio.h>
#include <string.h>

enum operand { OPERAND_NONE, OPERAND_ANY, OPERAND_SOME, OPERAND_CLOSE };

static const struct {
    const char *name;
    enum command_kind kind;
    enum operand operand;
} verbs[] = {
    {"text", COMMAND_TEXT, OPERAND_ANY},  {"binary", COMMAND_BINARY, OPERAND_ANY},
    {"file", COMMAND_FILE, OPERAND_SOME}, {"binary-file", COMMAND_BINARY_FILE, OPERAND_SOME},
    {"ping", COMMAND_PING, OPERAND_NONE}, {"close", COMMAND_CLOSE, OPERAND_CLOSE},
    {"help", COMMAND_HELP, OPERAND_NONE}, {"quit", COMMAND_QUIT, OPERAND_NONE},
};

const char *const command_help[] = {
    "TEXT                  send it; //TEXT for a text that begins with a slash",
    "/text TEXT            send it as text, also an empty one",
    "/binary HEX           send bytes: /binary 00 ff 7e",
    "/file PATH            send a file as one message (as binary behind --binary)",
    "/binary-file PATH     the same as binary",
    "/ping                 send a Ping and tell how long the Pong took",
    "/close [CODE [WHY]]   close, with 1000 or a code of your own, and end",
    "/quit                 close and end, as end of input (Ctrl-D) and Ctrl-C do",
    "/help                 this",
    NULL,
};

bool command_close_code_is_good(uint64_t code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static void complain(struct command *c, const char *what)
{
    c->kind = COMMAND_WRONG;
    snprintf(c->wrong, sizeof c->wrong, "%s", what);
}

static void skip_blanks(struct command *c)
{
    while (c->rest_bytes && (*c->rest == ' ' || *c->rest == '\t')) {
        c->rest++;
        c->rest_bytes--;
    }
}

static void read_close(struct command *c)
{
    uint32_t code = 0;

    while (c->rest_bytes && *c->rest >= '0' && *c->rest <= '9' && code < 100000) {
        code = code * 10 + (uint32_t)(*c->rest++ - '0');
        c->rest_bytes--;
    }
    if (!command_close_code_is_good(code) || (c->rest_bytes && *c->rest != ' ')) {
        complain(c, "/close takes a code from 1000 to 1003, 1007 to 1014 or 3000 to 4999, then a reason");
        return;
    }
    c->code = (uint16_t)code;
    skip_blanks(c);
    if (c->rest_bytes > COMMAND_REASON_BYTES_MAX)
        complain(c, "the reason has more than 123 bytes");
}

static void read_operand(struct command *c, enum operand operand)
{
    if (operand == OPERAND_CLOSE && c->rest_bytes)
        read_close(c);
    else if (operand == OPERAND_NONE && c->rest_bytes)
        complain(c, "this command takes nothing behind it; /help lists the commands");
    else if (operand == OPERAND_SOME && c->rest_bytes == 0)
        complain(c, "this command needs a path behind it");
}

static void read_verb(struct command *c, const char *name, size_t bytes)
{
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strlen(verbs[i].name) == bytes && memcmp(verbs[i].name, name, bytes) == 0) {
            c->kind = verbs[i].kind;
            read_operand(c, verbs[i].operand);
            return;
        }
    complain(c, "there is no such command: /help lists them; // sends a text that begins with a slash");
}

void command_read(struct command *c, const char *line, size_t bytes)
{
    size_t verb_bytes = 1;

    *c = (struct command){.kind = COMMAND_NONE, .rest = line, .rest_bytes = bytes};
    if (bytes == 0)
        return;
    c->kind = COMMAND_LINE;
    if (line[0] != '/')
        return;
    if (bytes > 1 && line[1] == '/') {
        c->rest++;
        c->rest_bytes--;
        return;
    }
    while (verb_bytes < bytes && line[verb_bytes] != ' ')
        verb_bytes++;
    c->rest = line + verb_bytes;
    c->rest_bytes = bytes - verb_bytes;
    skip_blanks(c);
    read_verb(c, line + 1, verb_bytes - 1);
}
