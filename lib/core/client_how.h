/* What a client was told to do: its URL and options, copied and checked. Constant once made. */
#ifndef WEFT_CORE_CLIENT_HOW_H
#define WEFT_CORE_CLIENT_HOW_H

#include <stddef.h>
#include <stdint.h>

#include "proto/url.h"
#include "weft/client.h"

struct client_how {
    weft_client_opts opts; /* no zero stands for a default any more, but for what settings.h fills in */
    struct url url;
    char **texts; /* the copies of all strings, and a NULL */
    size_t text_count;
    weft_header *headers;
    const char **subprotocols;
};

/* WEFT_OK, WEFT_E_INVAL (the log says which option), WEFT_E_NOMEM. */
int client_how_init(struct client_how *how, const char *url, const weft_client_opts *opts);
void client_how_fini(struct client_how *how);

#endif
