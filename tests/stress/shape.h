/* One way to run: drawn from a seed, so that the seed alone repeats it. */
#ifndef STRESS_SHAPE_H
#define STRESS_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "points.h"
#include "weft/server.h"

#define CONNECTIONS_MAX 256

enum shape_kind { SHAPE_SERVER, SHAPE_MILL };

struct shape {
    enum shape_kind kind;
    uint64_t seed;
    unsigned cpus; /* pinned to so many; 0: to none */
    struct points points;
    unsigned io_threads, workers, connections, senders;
    unsigned run_ms; /* in all; the points decide how much happens in it */

    /* the server under load, storm.h */
    unsigned workers_max;
    bool inline_handlers, normal_scheduling, separate_io;
    unsigned client_threads;
    size_t bytes_max;
    unsigned window;       /* messages of a client that may be unanswered; 0: any number */
    unsigned answer_every; /* the handler answers each so-manieth message; 0: none */
    unsigned burst_max;    /* of a sender */
    unsigned
        end_one_in; /* a sender's burst, and 1/4 as often a client's, that ends the connection; 0: never */
    unsigned slow_one_in;  /* clients that read little at a time; 0: none */
    unsigned nap_one_in;   /* handler calls that sleep; 0: none */
    unsigned broadcast_us; /* between two broadcasts; 0: none */
    unsigned rounds;       /* of traffic, then quiet until all has arrived */
    bool stops;            /* the server is stopped under load, and started again */
    bool churns;           /* members enter and leave a group */
    unsigned inbox_high, turn_messages_max;
    uint32_t outbox_high_bytes, ping_interval_ms;
    uint64_t outbox_bytes_max;
    enum weft_slow_policy slow_policy;

    /* the queues by themselves, mill.h */
    unsigned messages; /* of each connection, going round */
    unsigned budget;   /* of a worker's turn */
    unsigned loose;    /* messages of each sender */
    bool lockstep;     /* none goes out before all are home: then nobody makes up for a lost wake-up */
};

void shape_draw(struct shape *s, enum shape_kind kind, uint64_t seed);
void shape_text(const struct shape *s, char *text, size_t room);
/* The calling thread and all that it starts: on s->cpus of the processors there were at the first call. */
void shape_pin(const struct shape *s);

#endif
