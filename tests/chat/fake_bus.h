/* Stands in for the bus under the chat: everything published, subscribed and asked waits until fake_bus_run, as it
 * waits for the bus's thread; other instances are played by publishing their words and entering their names. */
#ifndef WEFT_TESTS_FAKE_BUS_H
#define WEFT_TESTS_FAKE_BUS_H

#include <weft/bus.h>

#include <stddef.h>

/* Do all that waits, and what that brings about. */
void fake_bus_run(void);

/* As another instance: publish (and run, or not yet), and be found in the presence or not any more. */
void fake_bus_hold(const char *topic, const char *text);
void fake_bus_publish(const char *topic, const char *text);
void fake_bus_enter(const char *topic, const char *name);
void fake_bus_drop(const char *topic, const char *name);

/* Is the connection subscribed there, with that name? */
bool fake_bus_has(weft_conn *c, const char *topic, const char *name);

/* From now on publishes are refused, and questions are answered, with WEFT_E_AGAIN; or not. */
void fake_bus_stuff(bool is_full);

/* From now on Redis is away, or not; what is done meanwhile is done. */
void fake_bus_cut_off(bool is_cut_off);

/* The next message published there gets lost. */
void fake_bus_lose(const char *topic);

/* Forget everything said, as a Redis that lost its data: a new epoch. */
void fake_bus_forget(void);

/* Of the fake library, see fake_weft.c: memory that may fail, and is counted. */
void *fake_get(size_t bytes);
void fake_give_back(void *p);
void fake_put(weft_conn *c, weft_msg *m); /* into its outbox; m is given */

/* A connection ends. */
void fake_bus_leave_all(weft_conn *c);

#endif
