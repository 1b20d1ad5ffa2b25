/* Publish and subscribe: within the process, or between processes and machines through Redis or a Redis
 * Cluster.
 *
 *     weft_bus *bus;
 *     weft_bus_open(&bus, "local:", NULL);              or "redis://:password@10.0.0.7:6379/0"
 *     weft_bus_subscribe(bus, conn, "orders.eu", NULL); the connection gets what is published there
 *     weft_bus_publish(bus, "orders.eu", message);      any thread
 *
 * A topic is a name of 1 to 255 bytes; one that ends with '*' in a subscription is a prefix pattern
 * ("orders.*").
 *
 * What is promised
 *   order     Subscribers get the messages of one publisher (one thread, or threads that order themselves) on one
 *             topic in the order of publishing. Between topics there is no order.
 *   without   A topic without history is at most once: what is published while Redis is away, while a process is cut
 *   history   off from it or while a connection is not subscribed is lost for those it concerns, and nobody is told.
 *   with      Each message of a topic with history has an offset, 1, 2, 3 and so on, in an epoch. Subscribers get each
 *   history   exactly once and in order, also over failures of Redis, as long as the history holds what they missed;
 *             when it does not, they are told (weft_bus_ready.is_gap). A new epoch means that the old
 *             offsets are void: Redis lost its data, or the history was forgotten. Patterns get offsets but
 *             are at most once.
 *   a file    local: with history_file: a message of a topic with history is in the file before anybody gets it. So
 *             positions stay good whatever ends the process: nothing that was seen is missing, and no offset is
 *             given twice. If the machine goes down, or the file took nothing for a while, there is a new epoch.
 *   presence  Who subscribes with a name is found under it, whatever the process; names of a process that
 *             died go after presence_timeout_ms.
 *
 * In a Redis Cluster (Redis 7, told by its first answer) topics are divided among the masters by their names, with
 * sharded channels; slots that move and masters that fail over are followed, and all of the above holds. A
 * node that is away holds up its own topics only. Prefix patterns work, and cost: while any process has one
 * every message goes to all nodes too. Their order is kept as long as the topic's slot stays.
 *
 * Programs without weft may publish too, to the channel PREFIXc:{t:TOPIC} of a topic without history:
 * `redis-cli PUBLISH 'weft:c:{t:orders.eu}' 'sold'` is delivered as it is, as text when it is UTF-8 and
 * does not begin with "w1;", weft's own mark. In a cluster it is SPUBLISH, and patterns do not hear of it.
 *
 * A bus has one thread of its own. It delivers, and callbacks of a bus are called there, one at a time,
 * with no lock held; one that blocks holds up this bus and nothing else. In a callback every function of
 * this header may be called but weft_bus_close and weft_bus_flush. */
#ifndef WEFT_BUS_H
#define WEFT_BUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/conn.h"
#include "weft/error.h"
#include "weft/msg.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_bus weft_bus;
typedef struct weft_bus_listener weft_bus_listener;

#define WEFT_BUS_TOPIC_BYTES_MAX 255

/* A place in a topic's history: everything up to offset was seen. All zero: none. */
typedef struct weft_bus_position {
    uint64_t epoch;
    uint64_t offset;
} weft_bus_position;

/* One published message on its way to subscribers. Borrowed for the call. */
typedef struct weft_bus_item {
    const char *topic;    /* where it was published, also for patterns; ends with NUL */
    weft_msg *msg;        /* take a reference to keep it */
    weft_bus_position at; /* its own; all zero without history */
} weft_bus_item;

/* How much a topic remembers. The first rule that fits a topic counts; all processes need the same rules. */
typedef struct weft_bus_rule {
    const char *topic;         /* exact, or a prefix with '*' at its end; "*" is all */
    uint32_t history_messages; /* 0: no history */
    uint32_t history_seconds;  /* 0: without end */
} weft_bus_rule;

enum weft_bus_state {
    WEFT_BUS_CONNECTING, /* not reached since the start */
    WEFT_BUS_UP,         /* always, for local: without history_file */
    WEFT_BUS_DOWN,  /* lost, or one node of a cluster is; publishes are queued, and it is being reached for */
    WEFT_BUS_UNKEPT /* local: as UP, but history_file does not take what is published; it is tried again */
};

/* What happens to a publish when queue_bytes_max is reached. */
enum weft_bus_full {
    WEFT_BUS_FULL_REFUSE, /* it answers WEFT_E_AGAIN */
    WEFT_BUS_FULL_DROP    /* it is dropped, counted, and answers WEFT_OK */
};

/* Zero in a field means the default. Strings and arrays are borrowed for the call, and copied. */
typedef struct weft_bus_opts {
    size_t size; /* sizeof(weft_bus_opts) of the program */

    void *app; /* handed to the callbacks */
    /* What connections get for a message: called once for each message and process, not for each
     * connection. Returns one reference, of a new message (with the topic and the offset in it, say) or of
     * item->msg; NULL drops it for connections. Default: item->msg as it was published. */
    weft_msg *(*wrap)(const weft_bus_item *item, void *app);
    /* The state changed; why: a sentence for a log, "" for none. */
    void (*on_state)(weft_bus *bus, enum weft_bus_state state, const char *why, void *app);

    const weft_bus_rule *rules; /* default: no topic has history */
    size_t rule_count;
    /* local: keeps histories here, in a SQLite database of one process at a time; default: in memory. Written by
     * a thread of its own; what waits for it counts in queue_bytes_max. WEFT_E_INVAL when it cannot be used, or
     * weft was built without SQLite. */
    const char *history_file;

    uint64_t
        queue_bytes_max; /* published and not passed on yet; default 16 MiB; 64 are counted beside each */
    enum weft_bus_full full_policy; /* default WEFT_BUS_FULL_REFUSE */
    uint64_t message_bytes_max;     /* default 1 MiB: publishing more answers WEFT_E_TOO_BIG */
    uint32_t subscriptions_max;     /* of this process; default 1,048,576 */
    uint32_t topics_max;          /* with a history in this process' memory; default 65,536: of those without
                            subscribers the one not used for longest is forgotten, also by history_file */
    uint64_t history_bytes_max;   /* of one topic in this process' memory; default 16 MiB */
    uint32_t presence_timeout_ms; /* default 30,000 */

    /* Redis. */
    const char *prefix;          /* of its keys and channels; default "weft:" */
    uint32_t connect_timeout_ms; /* default 5,000 */
    uint32_t reply_timeout_ms;   /* nothing of an answer comes so long: it is dropped; default 5,000 */
    uint32_t reconnect_min_ms;   /* default 100; doubled each time, and shortened at random by up to half */
    uint32_t reconnect_max_ms;   /* default 10,000 */
    uint32_t in_flight_max;      /* publishes sent and not answered, of each node; default 1,024 */

    /* rediss. */
    const char *ca_file; /* PEM; default: the system's */
    const char *cert_file;
    const char *key_file;
    bool insecure; /* do not check the server's certificate */
} weft_bus_opts;

/* Open a bus.
 *
 * out      set to the bus on WEFT_OK; weft_bus_close gives it back
 * url      local:                                             within this process
 *          redis://[user:password@]host[:port][,host..][/db]  6379 and 0 when not given; user may be empty. Several
 *                                                             servers (up to 16) are tried in turn; of a cluster
 *                                                             one is enough, and there is only database 0
 *          rediss://...                                       the same through TLS
 *          redis+unix:PATH[?db=N]                             a socket in the file system
 * opts     borrowed; NULL for all defaults
 * Returns  WEFT_OK        for Redis too before it is reached: see on_state
 *          WEFT_E_INVAL   the URL or an option is wrong, or weft was built without what it needs; the log says which
 *          WEFT_E_NOMEM, WEFT_E_SYSTEM, WEFT_E_TLS (certificates)
 * Thread   any; never waits for Redis. Reads history_file, and waits 2 s for another process that has it
 * Since    0.1 */
WEFT_API int weft_bus_open(weft_bus **out, const char *url, const weft_bus_opts *opts);

/* End a bus: what was published is passed on for up to deadline_ms, then its thread ends. Subscriptions and
 * listeners end with it. NULL is allowed.
 *
 * Returns  WEFT_OK         everything that waited to be passed on was, and before that written to
 *                          history_file unless it took nothing (WEFT_BUS_UNKEPT)
 *          WEFT_E_TIMEOUT  some of it was lost (dropped_lost), at the deadline or before; the bus is closed
 *                          all the same
 *          WEFT_E_STATE    called on the bus's own thread: nothing was done
 * Thread   any that may block, when no other thread uses the handle any more
 * Since    0.1 */
WEFT_API int weft_bus_close(weft_bus *bus, uint32_t deadline_ms);

/* Publish a message.
 *
 * topic    1 to 255 bytes, borrowed; a '*' at its end is not allowed
 * m        given on WEFT_OK; on failure it stays with the caller. Its bytes and type travel
 * Returns  WEFT_OK          queued; those who subscribe when it is passed on get it
 *          WEFT_E_AGAIN     queue_bytes_max is reached; nothing was queued
 *          WEFT_E_TOO_BIG   above message_bytes_max
 *          WEFT_E_INVAL (topic), WEFT_E_CLOSED (the bus), WEFT_E_NOMEM
 * Thread   any; never blocks
 * Since    0.1 */
WEFT_API int weft_bus_publish(weft_bus *bus, const char *topic, weft_msg *m);

/* Wait until nothing of what was published before waits any more to be passed on: to the connections'
 * outboxes (local:), or to Redis.
 *
 * Returns  WEFT_OK         all that waited was passed on: Redis has it. What was lost before the call was
 *                          made is in dropped_lost alone
 *          WEFT_E_TIMEOUT  some of it waits still, or something was lost meanwhile (dropped_lost)
 *          WEFT_E_STATE (on the bus's own thread), WEFT_E_CLOSED
 * Thread   any that may block
 * Since    0.1 */
WEFT_API int weft_bus_flush(weft_bus *bus, uint32_t timeout_ms);

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

/* Ask who is subscribed to a topic with a name, over all processes.
 *
 * done     called exactly once, on the bus's thread: result WEFT_OK with the names in no order, each once, borrowed;
 *          or WEFT_E_AGAIN (Redis is away) or WEFT_E_NOMEM or WEFT_E_CLOSED (the bus was closed) with none
 * Returns  WEFT_OK, or done is not called: WEFT_E_INVAL, WEFT_E_CLOSED, WEFT_E_NOMEM,
 *          WEFT_E_AGAIN (queue_bytes_max)
 * Thread   any; never blocks
 * Since    0.1 */
WEFT_API int weft_bus_presence(weft_bus *bus, const char *topic,
                               void (*done)(int result, const char *const *names, size_t count, void *arg),
                               void *arg);

/* Counters since the start, unless they say "now". */
typedef struct weft_bus_stats {
    size_t size;            /* in: sizeof(weft_bus_stats) of the program */
    uint64_t state;         /* enum weft_bus_state, now */
    uint64_t subscriptions; /* of connections and listeners, now */
    uint64_t topics;        /* known to this process, now */
    uint64_t queued_bytes;  /* published and not passed on, now */
    uint64_t published;     /* accepted from the program */
    uint64_t passed_on;     /* of these: delivered (local:), or Redis has them */
    uint64_t refused;       /* WEFT_E_AGAIN */
    uint64_t dropped_full;  /* by full_policy */
    uint64_t
        dropped_lost; /* without history, on their way when the connection to Redis broke; or refused by Redis
                                  for good; or still queued at weft_bus_close */
    uint64_t received;         /* messages that came for subscribers, each once for a topic and process */
    uint64_t delivered;        /* to connections and listeners */
    uint64_t duplicates;       /* came again and were not delivered again */
    uint64_t filled;           /* fetched from the history, because they had not come live */
    uint64_t gaps;             /* times that a topic lost something for good: too old, or another epoch */
    uint64_t history_failures; /* messages that history_file did not take when they came */
    uint64_t connects;         /* to Redis, complete; in a cluster of all nodes together */
    uint64_t disconnects;
    uint64_t retries; /* publishes that Redis refused for the moment (no memory, read only, loading, a moving slot) */
} weft_bus_stats;

/* Read the figures. WEFT_OK, WEFT_E_INVAL. Thread: any. Since: 0.1 */
WEFT_API int weft_bus_get_stats(weft_bus *bus, weft_bus_stats *out);

#ifdef __cplusplus
}
#endif

#endif
