/* What a client was told to do: its URL and options, copied and checked. Constant once made. */
#ifndef WEFT_CORE_CLIENT_HOW_H
#define WEFT_CORE_CLIENT_HOW_H

#include <stddef.h>
#include <stdint.h>

#include "proto/url.h"
#include "weft/client.h"

struct tls_context;

struct client_how {
    weft_client_opts opts; /* no zero stands for a default any more, but for what settings.h fills in */
    struct url url;
    char **texts; /* the copies of all strings, and a NULL */
    size_t text_count;
    weft_header *headers;
    const char **subprotocols;
    struct tls_context *tls; /* NULL until it was needed; of the thread that makes sessions (sessions.h, K1) */
};

/* WEFT_OK, WEFT_E_INVAL (the log says which option), WEFT_E_NOMEM. */
int client_how_init(struct client_how *how, const char *url, const weft_client_opts *opts);
void client_how_fini(struct client_how *how);

/* What its connections over TLS share: its certificates, and the sessions to resume. Borrowed.
 * Returns WEFT_OK; or as tls_context_new, with why. */
int client_how_tls(struct client_how *how, struct tls_context **out, char *why, size_t room);

#endif
