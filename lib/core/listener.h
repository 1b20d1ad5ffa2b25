/* Listening sockets, on I/O thread 0, which places what it accepts on the thread with the fewest connections.
 *
 * Accepting pauses when descriptors run out, at the limit of connections and at the limit of handshakes in
 * flight; the kernel's backlog holds who comes meanwhile. It goes on when a connection ends, and by a
 * timer: never by spinning. Who is above a limit of its address, or comes when the memory is used up, is
 * accepted and refused at once (refusal.h); so is who comes at the limit of connections, if the program
 * wants that. */
#ifndef WEFT_CORE_LISTENER_H
#define WEFT_CORE_LISTENER_H

#include "base/thr.h"
#include "core/engine.h"
#include "io/loop.h"

struct tls_port;

struct listener {
    struct loop_source source; /* (c) first */
    struct listener *next;     /* (c) */
    struct engine *engine;     /* (c) */
    int fd;                    /* (setup), then io thread 0; -1: closed */
    char *unlink_path;         /* (c) a Unix socket of our own */
    struct tls_port *tls;      /* (c) NULL: plain */
};

/* tls: given on WEFT_OK, as fd is. */
int listener_new(struct listener **out, struct engine *e, int fd, const char *unlink_path, struct tls_port *tls);
void listener_free(struct listener *l);   /* closes it too */
int listener_start_all(struct engine *e); /* setup */
void listener_close_all(struct engine *e) ON_IO;
void listener_retry(struct engine *e) ON_IO; /* after a pause */
/* What TLS makes for each thread is made now, and the first clients do not wait for it. */
void listener_warm_all(struct engine *e);
/* Read all certificates again: weft_server_reload_tls. Any thread, once started. */
int listener_reload_all(struct engine *e);

#endif
