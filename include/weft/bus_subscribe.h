/* Who gets what is published on a bus (weft/bus.h): connections, and the program itself. */
#ifndef WEFT_BUS_SUBSCRIBE_H
#define WEFT_BUS_SUBSCRIBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/bus_item.h"
#include "weft/conn.h"
#include "weft/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_bus_listener weft_bus_listener;

/* A subscription has begun. Borrowed for the call. */
typedef struct weft_bus_ready {
    const char *topic;    /* as subscribed */
    weft_bus_position at; /* the next message that comes live has a later offset; all zero without history */
    uint32_t missed;      /* messages from the history that follow now */
    bool is_gap; /* from was given and what followed it is not all there: the history was too short, or the
                              epoch is another one. What there is follows. Also for a topic without history */
} weft_bus_ready;

/* How to subscribe. Zero in a field means the default. Strings are borrowed for the call, and copied. */
typedef struct weft_bus_sub_opts {
    size_t size; /* sizeof(weft_bus_sub_opts) of the program */
    void *arg;   /* handed to the callbacks below; must live until released is called, or the bus is closed */
    /* Does this connection get the message? Called for each message and connection. Default: yes. */
    bool (*filter)(weft_conn *c, const weft_bus_item *item, void *arg);
    /* Called when the subscription has begun and before anything of the topic is queued: so what it sends
     * stands before. Called again, with is_gap, when something was lost later for good. */
    void (*ready)(weft_conn *c, const weft_bus_ready *ready, void *arg);
    /* Called last and exactly once, when the subscription has ended, whatever the reason; not after a
     * subscribe that failed. */
    void (*released)(void *arg);
    const weft_bus_position
        *from; /* resume behind it; all zero: everything that is remembered; default: from now on */
    const char
        *presence; /* be found under this name, 1 to 255 bytes; default: not at all. Not for patterns */
} weft_bus_sub_opts;

/* Subscribe a connection. It leaves by itself when it closes.
 *
 * topic    exact, or a prefix with '*' at its end, borrowed
 * opts     borrowed; NULL for all defaults
 * Returns  WEFT_OK          also when it subscribes already: then the first subscription stays as it is, and released
 *                           is called
 *          WEFT_E_AGAIN     subscriptions_max is reached
 *          WEFT_E_CLOSED    the connection or the bus
 *          WEFT_E_INVAL     topic or options; a pattern with from or presence
 *          WEFT_E_NOMEM
 * Thread   any; never blocks. Behind it, what the same thread publishes reaches the connection (local: only; through
 *          Redis from ready on). Messages above a connection's bound are treated by its slow-reader policy
 * Since    0.1 */
WEFT_API int weft_bus_subscribe(weft_bus *bus, weft_conn *c, const char *topic,
                                const weft_bus_sub_opts *opts);

/* End a subscription; a message that is being delivered may still come.
 *
 * Returns  WEFT_OK, also when there is none; WEFT_E_INVAL, WEFT_E_CLOSED (the bus), WEFT_E_NOMEM
 * Thread   any; never blocks
 * Since    0.1 */
WEFT_API int weft_bus_unsubscribe(weft_bus *bus, weft_conn *c, const char *topic);

/* Subscribe the program itself.
 *
 * out       set on WEFT_OK; weft_bus_unlisten gives it back, before or after the bus is closed
 * topic     exact or a pattern, borrowed
 * from      as in weft_bus_sub_opts; NULL: from now on
 * on_ready  as weft_bus_sub_opts.ready; NULL: not wanted
 * on_item   called for each message
 * Returns   WEFT_OK, WEFT_E_INVAL, WEFT_E_AGAIN, WEFT_E_CLOSED, WEFT_E_NOMEM
 * Thread    any; never blocks
 * Since     0.1 */
WEFT_API int weft_bus_listen(weft_bus *bus, weft_bus_listener **out, const char *topic,
                             const weft_bus_position *from,
                             void (*on_ready)(const weft_bus_ready *ready, void *arg),
                             void (*on_item)(const weft_bus_item *item, void *arg), void *arg);

/* End it: when this returns, the callbacks are not called any more. NULL is allowed.
 *
 * Thread   any that may block for as long as a callback of this bus runs; in a callback it does not wait. Whoever
 *          calls holds no lock that such a callback wants
 * Since    0.1 */
WEFT_API void weft_bus_unlisten(weft_bus_listener *l);

#ifdef __cplusplus
}
#endif

#endif
