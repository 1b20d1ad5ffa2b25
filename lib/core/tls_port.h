/* What a listening socket over TLS was told, and the context that its next connections get.
 *
 * The context is swapped as a whole; a connection keeps the one that it was made with. */
#ifndef WEFT_CORE_TLS_PORT_H
#define WEFT_CORE_TLS_PORT_H

#include <stdbool.h>

#include "weft/tls.h"

struct tls_context;
struct tls_port;

/* WEFT_OK, WEFT_E_INVAL (the log says why), WEFT_E_NOMEM. Reads files, and shakes hands with itself once. */
int tls_port_new(struct tls_port **out, const weft_tls_opts *opts);
void tls_port_free(struct tls_port *p); /* NULL is allowed */

/* A reference of the present context. Any thread. */
struct tls_context *tls_port_context(struct tls_port *p);
/* Make what TLS keeps for the calling thread. */
void tls_port_warm(struct tls_port *p);

/* Read the files again and hold the new context ready, as tls_port_new; then settle takes it, or throws it
 * away. Any thread, but one at a time. */
int tls_port_load(struct tls_port *p);
void tls_port_settle(struct tls_port *p, bool takes_it);

#endif
