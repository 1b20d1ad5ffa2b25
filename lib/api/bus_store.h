/* Histories of the local bus in a SQLite database, so that they outlive the process.
 *
 * Writes of one turn of the bus are one transaction (store_commit). A message that could not be written
 * makes a gap that is told, never a hole that is not. Used by the bus's thread; open is setup. */
#ifndef WEFT_API_BUS_STORE_H
#define WEFT_API_BUS_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "api/bus_history.h"

struct store;

/* WEFT_OK; WEFT_E_INVAL (the file, or weft was built without SQLite; logged), WEFT_E_NOMEM. */
int store_open(struct store **out, const char *path);
void store_close(struct store *s); /* NULL is allowed */
/* What is known of the topic, into a history that is empty; else its epoch is written down. */
void store_load(struct store *s, const char *topic, struct history *h);
/* The message that h.at stands at; what h holds no more is deleted. False: not written (logged). */
bool store_put(struct store *s, const char *topic, const struct history *h, weft_msg *m, uint64_t time_ms);
bool store_commit(struct store *s);

#endif
