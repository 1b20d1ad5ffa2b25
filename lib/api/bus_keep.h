/* Keeps the histories of the local bus in a file (history_file), so that they outlive the process.
 *
 * K1  Nobody sees a message of a kept topic before it is in the file: its publish goes to the writer
 *     (bus_writer.h), and is passed on when it comes back behind the COMMIT. So whatever ends the process, an
 *     offset that was seen is never given again, and what one subscriber got the others can get.
 * K2  One topic's messages are passed on in the order of their offsets: while one of them is at the writer
 *     (topic.writes), the next goes there too.
 * K3  A topic that has messages which are not in the file is *unkept*. Each of them is passed on in an epoch
 *     which the file does not know (a new one where it may), so no place in it is given again by the next
 *     process either. They are passed on at once.
 * K4  When the file takes nothing, all goes on in memory (`is_failing`), the state is WEFT_BUS_UNKEPT, and
 *     the file is tried again, more and more rarely. When it takes a STORE_TEST, unkept topics are written
 *     whole, one at a time, and are kept again.
 * K5  What waits for the file is not settled, so it counts in queued_bytes and is bounded by queue_bytes_max.
 *     A topic is forgotten in the file only if something of it may be there, and not while a message of it is
 *     at the writer: so what is to be forgotten is bounded by the topics that the file has. What a topic loses to
 *     histories_bytes_max is deleted behind the publish that took its place.
 *
 * All on the bus's thread, but for open (setup) and free. docs/decisions/0019 says why it is so. */
#ifndef WEFT_API_BUS_KEEP_H
#define WEFT_API_BUS_KEEP_H

#include "api/bus.h"

struct keep;

struct keep *keep_new(struct weft_bus *b); /* NULL: no memory */
/* Enters the topics of the file. WEFT_OK, WEFT_E_INVAL (logged), WEFT_E_NOMEM, WEFT_E_SYSTEM. */
int keep_open(struct keep *k, const char *path);
/* A topic that remembers is new here. */
void keep_topic(struct keep *k, struct bus_topic *t);
/* p is given, with t's next offset: true. False: it is not to be kept, and may be passed on now. */
bool keep_publish(struct keep *k, struct bus_topic *t, struct bus_publish *p, uint64_t time_ms);
/* All publishes but those behind this number are passed on. */
uint64_t keep_settled(const struct keep *k);
/* It must not be forgotten now. */
bool keep_needs(const struct bus_topic *t);
/* The topic is about to be forgotten. */
void keep_forget(struct keep *k, struct bus_topic *t);

/* As of a backend. */
uint64_t keep_turn(struct keep *k, struct pollfd *fds, nfds_t *count);
void keep_polled(struct keep *k, const struct pollfd *fds, nfds_t count);
bool keep_is_drained(struct keep *k);
void keep_stop(struct keep *k); /* NULL is allowed */
void keep_free(struct keep *k); /* NULL is allowed */

#endif
