/* What the command line asks for. */
#ifndef WEFT_BENCH_OPTIONS_H
#define WEFT_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "payload.h"
#include "process.h"

#define OPTIONS_RUN         (-1)
#define OPTIONS_STEPS_MAX   32
#define OPTIONS_HEADERS_MAX 16
#define OPTIONS_NO_LIMIT    UINT32_MAX          /* of messages */
#define OPTIONS_FLIGHT_MAX  ((uint64_t)1 << 30) /* bytes that one connection may have under way */

enum bench_mode { MODE_ECHO, MODE_RATE, MODE_FANOUT, MODE_IDLE, MODE_CHURN, MODE_MIXED, MODE_DEFLATE, MODES };

extern const char *const mode_names[MODES];

struct options {
    enum bench_mode mode;
    const char *url;
    uint32_t connections;
    uint64_t bytes;     /* of a message */
    uint32_t in_flight; /* messages of one connection (echo) */
    uint32_t threads;
    uint32_t messages; /* that a connection sends at most (churn: connections of a slot) */
    double seconds, warmup_s, hold_s, drain_s;
    double rate; /* messages/s, of all connections */
    uint32_t publishers, burst;
    enum payload_kind kind;
    bool raw, touch, json, quiet;
    pid_t pids[PROCESS_NAMED_MAX];
    size_t pid_count;
    uint32_t steps[OPTIONS_STEPS_MAX]; /* rising */
    size_t step_count;
    uint32_t sources; /* 0: by need */
    uint32_t handshakes;
    double slow_ms;    /* mixed: from here on a handler may have slept */
    double slow_share; /* mixed: the share of handlers that do; negative: not told */
    const char *label;
    const char *headers[OPTIONS_HEADERS_MAX]; /* "Name: value" */
    size_t header_count;
    const char *origin;
    const char *ca_file; /* wss; NULL: the system's */
    bool insecure;
};

/* Read the command line.
 *
 * Returns  OPTIONS_RUN, or the status to exit with: 0 after --help, 2 after a complaint on err */
int options_read(struct options *o, int argc, char **argv, FILE *out, FILE *err);

#endif
