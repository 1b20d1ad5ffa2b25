/* One row for each figure, for both forms, so that none is forgotten: the assertion below counts them. */
#include "figures.h"

#include <stddef.h>

struct figure {
    const char *field;
    size_t offset;
    const char *metric;
    const char *type;
    const char *help;
};

/* clang-format off */
#define FIGURE(field, metric, type, help) {#field, offsetof(weft_stats, field), metric, type, help}
/* clang-format on */

static const struct figure figures[] = {
    FIGURE(connections, "weft_connections", "gauge", "WebSocket connections open now"),
    FIGURE(handshaking, "weft_handshaking", "gauge", "Sockets accepted and not open yet"),
    FIGURE(accepted, "weft_accepted_total", "counter", "Sockets accepted"),
    FIGURE(opened, "weft_opened_total", "counter", "Connections opened"),
    FIGURE(closed, "weft_closed_total", "counter", "Connections closed"),
    FIGURE(refused, "weft_refused_total", "counter", "Requests that ended without a connection"),
    FIGURE(messages_in, "weft_messages_in_total", "counter", "Messages received"),
    FIGURE(messages_out, "weft_messages_out_total", "counter", "Messages written whole to a socket"),
    FIGURE(bytes_in, "weft_bytes_in_total", "counter", "Bytes read from sockets"),
    FIGURE(bytes_out, "weft_bytes_out_total", "counter", "Bytes written to sockets"),
    FIGURE(dropped_newest, "weft_dropped_newest_total", "counter", "Broadcasts that a slow reader missed"),
    FIGURE(dropped_oldest, "weft_dropped_oldest_total", "counter",
           "Broadcasts taken back from a slow reader"),
    FIGURE(dropped_closed, "weft_dropped_closed_total", "counter",
           "Messages whose connection ended before they left"),
    FIGURE(closed_slow, "weft_closed_slow_total", "counter",
           "Connections closed because they read too slowly"),
    FIGURE(reads, "weft_reads_total", "counter", "System calls that read"),
    FIGURE(writes, "weft_writes_total", "counter", "System calls that wrote"),
    FIGURE(io_wakeups, "weft_io_wakeups_total", "counter", "Wake-ups of a sleeping I/O thread"),
    FIGURE(worker_wakeups, "weft_worker_wakeups_total", "counter", "Wake-ups of a sleeping worker"),
    FIGURE(accept_pauses, "weft_accept_pauses_total", "counter", "Times that accepting paused at a limit"),
    FIGURE(read_pauses, "weft_read_pauses_total", "counter", "Times that reading paused for a full inbox"),
    FIGURE(longest_handler_us, "weft_longest_handler_seconds", "gauge", "Longest call of a handler, or of a few short ones in a row"),
    FIGURE(workers_started, "weft_workers_started", "gauge", "Worker threads now"),
    FIGURE(workers_started_max, "weft_workers_started_max", "gauge", "Worker threads at most"),
    FIGURE(workers_busy, "weft_workers_busy", "gauge", "Worker threads that are not parked"),
    FIGURE(refused_connections, "weft_refused_connections_total", "counter",
           "Sockets refused because their address had too many"),
    FIGURE(refused_rate, "weft_refused_rate_total", "counter",
           "Sockets refused because their address came too often"),
    FIGURE(refused_full, "weft_refused_full_total", "counter", "Sockets refused because the server was full"),
    FIGURE(rate_pauses, "weft_rate_pauses_total", "counter", "Times that reading paused at the message rate"),
    FIGURE(memory_pauses, "weft_memory_pauses_total", "counter", "Times that reading paused at the memory bound"),
    FIGURE(memory_closed, "weft_memory_closed_total", "counter", "Connections closed at the memory bound"),
    FIGURE(memory_bytes, "weft_memory_bytes", "gauge", "Bytes in messages and queues"),
    FIGURE(takeovers, "weft_takeovers_total", "counter", "I/O loops taken from a thread stuck in a handler"),
    FIGURE(compressed, "weft_compressed_total", "counter", "Messages compressed"),
    FIGURE(compressed_from_bytes, "weft_compressed_from_bytes_total", "counter", "Payload bytes before compressing"),
    FIGURE(compressed_to_bytes, "weft_compressed_to_bytes_total", "counter", "Payload bytes behind compressing"),
    FIGURE(inflated, "weft_inflated_total", "counter", "Messages inflated"),
    FIGURE(inflated_from_bytes, "weft_inflated_from_bytes_total", "counter", "Payload bytes before inflating"),
    FIGURE(inflated_to_bytes, "weft_inflated_to_bytes_total", "counter", "Payload bytes behind inflating"),
    FIGURE(compression_bytes, "weft_compression_bytes", "gauge", "Memory of all compression contexts"),
    FIGURE(swaps, "weft_swaps_total", "counter", "I/O loops taken by a worker from a thread that computes in a handler"),
};
#define FIGURE_COUNT (sizeof figures / sizeof figures[0])

_Static_assert(sizeof(weft_stats) ==
                   sizeof(size_t) + (FIGURE_COUNT + WEFT_HANDOVER_BUCKETS) * sizeof(uint64_t),
               "each field of weft_stats has its row");

static uint64_t value_of(const weft_stats *stats, const struct figure *f)
{
    return *(const uint64_t *)(const void *)((const char *)stats + f->offset);
}

void figures_print_json(const weft_stats *stats, FILE *out)
{
    putc('{', out);
    for (size_t i = 0; i < FIGURE_COUNT; i++)
        fprintf(out, "\"%s\":%llu,", figures[i].field, (unsigned long long)value_of(stats, &figures[i]));
    fputs("\"handover_us\":[", out);
    for (size_t i = 0; i < WEFT_HANDOVER_BUCKETS; i++)
        fprintf(out, "%s%llu", i ? "," : "", (unsigned long long)stats->handover_us[i]);
    fputs("]}\n", out);
}

static void print_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void figures_print_one(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
    print_head(out, name, type, help);
    fprintf(out, "%s %llu\n", name, (unsigned long long)value);
}

static void print_seconds(FILE *out, const struct figure *f, uint64_t us)
{
    print_head(out, f->metric, f->type, f->help);
    fprintf(out, "%s %llu.%06llu\n", f->metric, (unsigned long long)(us / 1000000u),
            (unsigned long long)(us % 1000000u));
}

/* weft counts each hand-over in one bucket; Prometheus wants all that took no longer in each. */
static void print_handover(const weft_stats *stats, FILE *out)
{
    static const char name[] = "weft_handover_seconds";
    uint64_t count = 0;

    print_head(out, name, "histogram", "From the ready queue's put to a worker's get");
    for (size_t i = 0; i < WEFT_HANDOVER_BUCKETS; i++) {
        count += stats->handover_us[i];
        if (i + 1 < WEFT_HANDOVER_BUCKETS)
            fprintf(out, "%s_bucket{le=\"%.6f\"} %llu\n", name, (double)(UINT64_C(1) << i) / 1e6,
                    (unsigned long long)count);
    }
    fprintf(out, "%s_bucket{le=\"+Inf\"} %llu\n", name, (unsigned long long)count);
    fprintf(out, "%s_count %llu\n", name, (unsigned long long)count);
}

void figures_print_prometheus(const weft_stats *stats, FILE *out)
{
    for (size_t i = 0; i < FIGURE_COUNT; i++) {
        const struct figure *f = &figures[i];
        if (f->offset == offsetof(weft_stats, longest_handler_us))
            print_seconds(out, f, value_of(stats, f));
        else
            figures_print_one(out, f->metric, f->type, f->help, value_of(stats, f));
    }
    print_handover(stats, out);
}
