/* What the local bus and the keeper of its file (bus_keep.h) owe each other; all on the bus's thread, or
 * setup. */
#ifndef WEFT_API_BUS_LOCAL_H
#define WEFT_API_BUS_LOCAL_H

#include "api/bus.h"

/* Remember it if the topic does, and deliver; p is settled. t: NULL: nobody here knows the topic. */
void local_pass_on(struct weft_bus *b, struct bus_topic *t, struct bus_publish *p, uint64_t time_ms);
/* A topic out of the file, with its rule: it is in the table, and its history empty. NULL: no memory. */
struct bus_topic *local_enter_kept(struct weft_bus *b, const char *name);
/* A topic with a history was used, or what keeps it from being forgotten changed: its subscribers, or what
 * is on its way to the file. */
void local_used(struct weft_bus *b, struct bus_topic *t);
/* Forget those beyond topics_max, which counts topics with a history alone; those in use stay. */
void local_make_room(struct weft_bus *b);

#endif
