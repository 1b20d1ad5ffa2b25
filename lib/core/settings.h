/* What a server was told to do, checked and with every default filled in. Constant once the server has
 * started. */
#ifndef WEFT_CORE_SETTINGS_H
#define WEFT_CORE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/limits.h"
#include "core/squeeze.h"
#include "proto/extension.h"
#include "proto/session.h"
#include "weft/client.h"
#include "weft/server.h"

struct settings {
    weft_server_opts opts; /* no zero stands for a default any more */
    struct session_config session, session_squeezed; /* the second where permessage-deflate was agreed */
    struct extension_policy policy;                  /* but memory_is_short */
    struct squeeze_opts squeeze;
    char **origins; /* copies */
    struct network *unlimited;
    struct rate handshakes, messages;
    bool is_straight; /* messages are received by weft_conn_recv */
    bool has_queue;   /* that, or several threads call on_message at once: see straight.h */
};

/* WEFT_OK, WEFT_E_INVAL (the log says which option), WEFT_E_NOMEM. */
int settings_init(struct settings *s, const weft_server_opts *opts);
/* A client's, as the settings of its connections; opts is complete (client_how.h). What a client has no
 * option for has the default of a server's, and counts nowhere. */
int settings_init_client(struct settings *s, const weft_client_opts *opts);
void settings_fini(struct settings *s);

/* Check the options of compression and fill in the defaults, but for the level's; and what they mean for a
 * handshake. WEFT_OK, WEFT_E_INVAL (logged). */
int settings_choose_compression(weft_compression *o);
struct extension_policy settings_policy_of(const weft_compression *o);

/* What applies to one connection: the server's, or what the program says for it. WEFT_OK, WEFT_E_INVAL
 * (logged). */
int settings_policy(const struct settings *s, const weft_compression *own, struct extension_policy *out);

#endif
