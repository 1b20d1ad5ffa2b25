/* What a bus has done so far (weft/bus.h). */
#ifndef WEFT_BUS_STATS_H
#define WEFT_BUS_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "weft/bus_item.h"
#include "weft/error.h"

#ifdef __cplusplus
extern "C" {
#endif

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
    uint64_t
        retries; /* publishes that Redis refused for the moment (no memory, read only, loading, a moving slot) */
    uint64_t history_bytes; /* in this process' memory (histories_bytes_max), now */
} weft_bus_stats;

/* Read the figures. WEFT_OK, WEFT_E_INVAL. Thread: any. Since: 0.1 */
WEFT_API int weft_bus_get_stats(weft_bus *bus, weft_bus_stats *out);

#ifdef __cplusplus
}
#endif

#endif
