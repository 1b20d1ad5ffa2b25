/* Figures of a running server. */
#ifndef WEFT_STATS_H
#define WEFT_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "weft/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct weft_server;

/* Buckets of the hand-over histogram: bucket i counts what took less than 2^i microseconds, the last one
 * all the rest. */
#define WEFT_HANDOVER_BUCKETS 20

/* Counters since the start, unless they say "now". Each thread counts for itself and they are added up when
 * asked for, so figures of one call need not belong to the same instant. */
typedef struct weft_stats {
    size_t size;                      /* in: sizeof(weft_stats) of the program */
    uint64_t connections;             /* open now */
    uint64_t handshaking;             /* accepted and not open yet, now */
    uint64_t accepted;                /* sockets */
    uint64_t opened;                  /* on_open */
    uint64_t closed;                  /* on_close */
    uint64_t refused;                 /* handshakes that ended without a connection */
    uint64_t messages_in;
    uint64_t messages_out;            /* written whole to the socket */
    uint64_t bytes_in;                /* of the sockets, frames and all */
    uint64_t bytes_out;
    uint64_t dropped_newest;          /* by slow-reader policy */
    uint64_t dropped_oldest;
    uint64_t dropped_closed;          /* accepted, but the connection ended before they left */
    uint64_t closed_slow;             /* connections closed with 1008 by policy */
    uint64_t reads;                   /* system calls that read, and that wrote */
    uint64_t writes;
    uint64_t io_wakeups;              /* eventfd writes that woke an I/O thread */
    uint64_t worker_wakeups;          /* futex wakes of a worker */
    uint64_t accept_pauses;           /* no descriptors left, or a limit reached */
    uint64_t read_pauses;             /* inboxes at their high-water mark */
    uint64_t longest_handler_us;      /* one callback, or up to 16 short ones in a row */
    uint64_t workers_started;         /* threads now */
    uint64_t workers_started_max;
    uint64_t workers_busy;            /* not parked, now */
    uint64_t handover_us[WEFT_HANDOVER_BUCKETS]; /* from the ready queue's put to a worker's get */
    uint64_t refused_connections;     /* with 429: the address had too many */
    uint64_t refused_rate;            /* with 429: the address came too often */
    uint64_t refused_full;            /* with 503: connections_max or memory_bytes_max was reached */
    uint64_t rate_pauses;             /* reading paused at messages_per_second_max */
    uint64_t memory_pauses;           /* an I/O thread stopped reading at memory_bytes_max */
    uint64_t memory_closed;           /* connections closed with 1013 there */
    uint64_t memory_bytes;            /* in messages and queues of the process, now; 0 without memory_bytes_max */
    uint64_t takeovers;               /* I/O loops whose thread was stuck in a handler: another one went on */
    /* Compression: payloads. A broadcast counts once for each window it was compressed for. */
    uint64_t compressed;              /* messages */
    uint64_t compressed_from_bytes;
    uint64_t compressed_to_bytes;
    uint64_t inflated;                /* messages */
    uint64_t inflated_from_bytes;
    uint64_t inflated_to_bytes;
    uint64_t compression_bytes;       /* memory of all contexts, now */
    uint64_t swaps;                   /* I/O loops taken by a worker from a thread that computes in a handler */
} weft_stats;

/* Read the figures.
 *
 * s        borrowed
 * out      size set by the caller
 * Returns  WEFT_OK, WEFT_E_INVAL
 * Thread   any
 * Since    0.1 */
WEFT_API int weft_server_stats(struct weft_server *s, weft_stats *out);

#ifdef __cplusplus
}
#endif

#endif
