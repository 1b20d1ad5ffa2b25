/* What the connections of one kind share: those that a server accepts, or those that a client makes. Its
 * settings, its callbacks, and for each I/O thread a home, by which a connection knows all of that with one
 * pointer.
 *
 * A server's endpoint is part of its engine. A client's has a count of its own: each connection holds a
 * reference, and it holds one of the engine. Everything in it is constant once the first connection was made.
 *
 *   refs    decrement: acq_rel (ENDPOINT_LAST)
 *   alive   of a client's endpoint as of an engine (engine.h): decrement release, load acquire (ALIVE) */
#ifndef WEFT_CORE_ENDPOINT_H
#define WEFT_CORE_ENDPOINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/settings.h"

struct endpoint;
struct engine;
struct io_thread;
struct weft_conn;

/* Told to the layer above, which keeps the groups. opened: io, before the 101 leaves, so that who has seen
 * the 101 is in the group; closed: worker, before on_close. */
struct engine_hooks {
    void (*opened)(struct weft_conn *c, void *arg);
    void (*closed)(struct weft_conn *c, void *arg);
    void *arg;
};

struct home {
    struct io_thread *io;            /* (c) */
    const struct settings *settings; /* (c) */
    struct endpoint *endpoint;       /* (c) */
};

struct endpoint {
    struct engine *engine;           /* (c) */
    const struct settings *settings; /* (c) the engine's, or its own */
    struct engine_hooks hooks;       /* (c) */
    struct home *homes;              /* (c) one for each I/O thread */
    struct squeeze *squeeze;         /* (c) the engine's, or its own where it has other options */
    struct settings *kept;           /* (c) a client's own, freed with it; NULL in an engine's */
    _Atomic uint32_t refs;           /* of a client's */
    _Atomic uint32_t alive;          /* of a client's: connections whose last callback has not returned */
};

/* Its homes; the rest is the caller's. WEFT_OK, WEFT_E_NOMEM. */
int endpoint_init(struct endpoint *ep, struct engine *e, const struct settings *settings,
                  const struct engine_hooks *hooks);
void endpoint_fini(struct endpoint *ep);

/* A client's: it takes a reference of the engine, and the settings over on WEFT_OK. */
int endpoint_new(struct endpoint **out, struct engine *e, const struct settings *settings,
                 const struct engine_hooks *hooks);

/* A connection is born; its last callback has returned. Any thread. */
void endpoint_one_more(struct endpoint *ep);
void endpoint_one_less(struct endpoint *ep);
/* Wait until a client's endpoint has no connection alive. False: the time was over first. */
bool endpoint_wait(struct endpoint *ep, uint64_t until_ms);

void endpoint_ref(struct endpoint *ep);
void endpoint_unref(struct endpoint *ep);

#endif
