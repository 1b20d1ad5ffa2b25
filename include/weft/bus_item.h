/* What travels on a bus (weft/bus.h): a message, and its place in the history of its topic. */
#ifndef WEFT_BUS_ITEM_H
#define WEFT_BUS_ITEM_H

#include <stdint.h>

#include "weft/msg.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_bus weft_bus;

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

#ifdef __cplusplus
}
#endif

#endif
