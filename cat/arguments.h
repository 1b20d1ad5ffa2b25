/* The command line of weft-cat, read and checked. */
#ifndef WEFT_CAT_ARGUMENTS_H
#define WEFT_CAT_ARGUMENTS_H

#include "server/options.h"

#include <weft/request.h>

struct arguments {
    const char *url;

    /* The request and the way there. */
    struct option_list headers, subprotocols;
    weft_header split_headers[OPTION_LIST_MAX]; /* into names and values */
    const char *origin, *user_agent, *user, *proxy, *ca_file, *cert_file, *key_file;
    char *user_name, *password; /* of user */
    bool insecure, no_compression, reconnect;
    uint32_t open_timeout_ms, close_timeout_ms, ping_interval_ms;
    uint64_t message_bytes_max;

    /* What is sent. */
    struct option_list files;
    bool binary, hex;
    uint32_t wait_ms;
    uint32_t close_code;
    const char *close_reason;

    /* What is shown. */
    uint64_t count; /* of messages, then it ends; 0: no such end */
    bool one, no_escape, raw, quiet, verbose, no_history;
};

#define ARGUMENTS_WAIT_FOREVER UINT32_MAX

/* Read and check a command line.
 *
 * args     given back to arguments_fini, whatever the result
 * Returns  OPTIONS_RUN, or the status to exit with, as options_read */
int arguments_read(struct arguments *args, int argc, char **argv, FILE *out, FILE *err);
void arguments_fini(struct arguments *args);

#endif
