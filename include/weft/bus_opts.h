/* How a bus behaves (weft/bus.h): its histories, its bounds, and the way to Redis. */
#ifndef WEFT_BUS_OPTS_H
#define WEFT_BUS_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/bus_item.h"
#include "weft/msg.h"

#ifdef __cplusplus
extern "C" {
#endif

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
    /* The state changed; why: a sentence for a log, "" for none. Called once with WEFT_BUS_CONNECTING, too, when the
     * first attempt to reach Redis has failed: nobody there, a wrong password. It is tried on. */
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
    uint32_t topics_max;        /* with a history in this process' memory; default 65,536: of those without
                            subscribers the one not used for longest is forgotten, also by history_file */
    uint64_t history_bytes_max; /* of one topic in this process' memory; default 16 MiB */
    /* Of all topics together, with what they take beside the payload; default 64 MiB, or history_bytes_max if that
     * is more. Above it the topics that hold the most lose their oldest messages, in history_file too. None of this
     * counts in memory_bytes_max of a server. */
    uint64_t histories_bytes_max;
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

#ifdef __cplusplus
}
#endif

#endif
