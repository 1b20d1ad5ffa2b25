/* A conversation: from the attempt to connect to the end, at a terminal or in pipes. */
#ifndef WEFT_CAT_TALK_H
#define WEFT_CAT_TALK_H

#include "arguments.h"

/* What the program exits with; a signal that ended it: 128 and its number. */
enum talk_status {
    TALK_DONE = 0,   /* ended by the user, the end of input or the count; or closed by the server with 1000,
                        1001 or without a code */
    TALK_CLOSED = 1, /* closed with another code, by the server, or because it broke the protocol */
    TALK_USAGE = 2,  /* the command line, or an option the library refuses */
    TALK_UNREACHED = 3, /* could not connect, or was refused */
    TALK_LOST = 4,      /* the connection broke off without a closing handshake */
    TALK_TROUBLE = 5    /* on this side: a file, a line that cannot be sent, standard output, memory */
};

/* Returns  an exit status
 * Thread   the main one, once */
int talk(const struct arguments *args);

#endif
