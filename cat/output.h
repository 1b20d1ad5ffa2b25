/* What is shown: messages on standard output, a batch at a time, and what is said about them.
 *
 * At a terminal each message is one line behind "< ", escaped, and what is said one behind "* ". In a pipe
 * standard output gets the messages alone; what is said goes to standard error. */
#ifndef WEFT_CAT_OUTPUT_H
#define WEFT_CAT_OUTPUT_H

#include "arguments.h"
#include "buffer.h"

#include <weft/msg.h>

#define OUTPUT_BATCH_BYTES 65536 /* then it is time to flush */
#define OUTPUT_HEX_BYTES   256   /* shown of a binary message at a terminal without --hex */

struct output {
    const struct arguments *args;
    bool is_interactive; /* somebody types at a terminal */
    bool is_terminal;    /* standard output is one */
    struct buffer waiting;
    int error; /* errno of a write that failed; nothing is written any more */
    /* Called before the first line of a batch is written, and behind the last: takes the line that is being
     * typed off the screen, and puts it back. NULL: none is. */
    void (*hide)(void *ctx), (*show)(void *ctx);
    void *ctx;
};

void output_message(struct output *out, const weft_msg *m);

/* What is said in the course of things: left out with --quiet, and in a pipe without --verbose. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void output_note(struct output *out, const char *format, ...);

/* What went wrong: always, and on standard error. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void output_error(struct output *out, const char *format, ...);

/* Write what is waiting. A signal that asks for an end lets it be given up. */
void output_flush(struct output *out);
void output_fini(struct output *out);

#endif
