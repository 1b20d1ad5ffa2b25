/* Buses that write and listen, for tests of the bus through Redis. Each has a thread and an identity of its own, as
 * those of several processes have. */
#ifndef WEFT_TESTS_BUS_LOAD_H
#define WEFT_TESTS_BUS_LOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "weft/weft.h"

/* Rules: "short.*" keeps 5, "h.*" very much; comes back soon, and bears a server that is slow. */
weft_bus_opts options(void);
weft_bus_opts impatient(void); /* a server that does not answer is given up soon */
weft_bus *open_with(const char *url, const weft_bus_opts *o);
weft_bus *open_bus(const char *url);
weft_bus_stats stats_of(weft_bus *b);
void close_bus(weft_bus *b);

#define WRITERS_MAX 4

/* Messages of a load are "WRITER NUMBER"; each writer's must come 0, 1, 2 and so on. */
struct ear {
    weft_bus_listener *l;
    _Atomic unsigned readies, gaps, items, faults;
    _Atomic unsigned next[WRITERS_MAX];
    weft_bus_ready ready;
    uint64_t last_offset, last_epoch;
    char text[4096];
};

struct ear *listen_from(weft_bus *b, const char *topic, const weft_bus_position *from);
struct ear *listen_to(weft_bus *b, const char *topic); /* and wait until it is ready */
void end_ear(struct ear *e);
/* For those that listen by themselves. */
void on_ready(const weft_bus_ready *ready, void *arg);
void on_item(const weft_bus_item *item, void *arg);
void say(weft_bus *b, const char *topic, const char *text);

/* At least so many, and on until it is told to end. */
struct writer {
    weft_bus *bus;
    const char *topic;
    unsigned who, count, pause_us, bytes;
    atomic_bool may_end;
    pthread_t thread;
};

void *write_all(void *arg); /* a writer's thread; count is what it was */

/* Three buses, as of three processes: two that write and one that listens. It goes on until end_load: what a test
 * does to Redis comes in its midst, however long that takes. */
struct load {
    weft_bus *bus[3];
    struct writer writers[2];
    struct ear *ear;
};

void begin_load(struct load *l, const weft_bus_opts *o, const char *url, const char *topic, unsigned bytes);
void end_load(struct load *l); /* everything came, once, in order */
unsigned load_count(void);

/* Are these the names there, each with a space behind it? */
bool are_present(weft_bus *b, const char *topic, const char *names);

#endif
