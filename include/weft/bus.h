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
 *             offsets are void: Redis lost its data or holds damaged data, or the history was forgotten. Patterns get offsets but
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
 * does not begin with "w1;", weft's own mark. In a cluster it is SPUBLISH, and patterns do not hear of it. Redis has
 * one space of channels for all its databases, so a bus in database 15 uses PREFIXc15:{t:TOPIC}; 0 is not written.
 *
 * A bus has one thread of its own. It delivers, and callbacks of a bus are called there, one at a time,
 * with no lock held; one that blocks holds up this bus and nothing else. In a callback every function of
 * a bus may be called but weft_bus_close and weft_bus_flush.
 *
 * In order of use: bus_opts.h, this header, bus_subscribe.h with bus_item.h, bus_stats.h. This one includes them
 * all. */
#ifndef WEFT_BUS_H
#define WEFT_BUS_H

#include <stddef.h>
#include <stdint.h>

#include "weft/bus_item.h"
#include "weft/bus_opts.h"
#include "weft/bus_stats.h"
#include "weft/bus_subscribe.h"
#include "weft/error.h"
#include "weft/msg.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Open a bus.
 *
 * out      set to the bus on WEFT_OK; weft_bus_close gives it back
 * url      local:                                               within this process
 *          redis://[[user]:password@]host[:port][,host..][/db]  6379 and 0 when not given. Several servers (up to 16)
 *                                                               are tried in turn; of a cluster one is enough, and
 *                                                               there is only database 0
 *          rediss://...                                         the same through TLS
 *          redis+unix:PATH[?db=N]                               a socket in the file system, or
 *          redis+unix://[[user]:password@]PATH[?db=N]           with a password
 *          In a user and a password what means something in a URL is written %40 (@), %2F (/), %3A (:). A user
 *          without a password is refused.
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
 * Thread   any that may block, when no other thread uses the handle any more. Behind this the
 *          handle is void, unless a listener is still held: then it may be used until weft_bus_unlisten gives
 *          that back, and answers WEFT_E_CLOSED
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

#ifdef __cplusplus
}
#endif

#endif
