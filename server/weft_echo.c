/* weft-echo: sends each message back, for tests and benchmarks.
 *
 * Every limit of weft_server_opts has its option, so that a test can drive the server to each of them. */
#include "serve.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DEFAULT_PORT 9001

static struct {
    weft_server *server; /* set before the start */
    bool broadcast;
    uint32_t burn_us;
    uint32_t sleep_ms;
    double sleep_share;
    _Atomic uint64_t calls; /* counted only if some of them sleep */
} echo = {.sleep_share = 1.0};

static weft_server_opts opts = {.size = sizeof opts};
static unsigned slow_policy;
static uint32_t window_bits, level, mem_level;
static bool no_takeover;
/* As in weft_slow_policy. */
static const char *const slow_policies[] = {"close", "drop-newest", "drop-oldest", NULL};

#define LIMIT(option, field, help) OPTION_ROW_U32(option, &opts.field, UINT32_MAX, help)

static const struct option_row behaviour_rows[] = {
    OPTION_ROW_FLAG("--inline", &opts.inline_handlers,
                    "run the handlers on the I/O threads, without workers"),
    OPTION_ROW_FLAG("--broadcast", &echo.broadcast, "send each message to all connections"),
    OPTION_ROW_U32("--burn-us", &echo.burn_us, 60000000, "each handler computes that long (0)"),
    OPTION_ROW_U32("--sleep-ms", &echo.sleep_ms, 3600000, "handlers sleep that long (0)"),
    OPTION_ROW_SHARE("--sleep-share", &echo.sleep_share, "only this share of the calls sleeps (1)"),
    OPTION_ROW_END,
};

/* In all of these 0 is the default. */
static const struct option_row limit_rows[] = {
    LIMIT("--workers-max", workers_max, "worker threads while handlers block"),
    LIMIT("--write-timeout-ms", write_timeout_ms, "for a peer that takes no byte"),
    LIMIT("--close-timeout-ms", close_timeout_ms, "for the closing handshake"),
    OPTION_ROW_U64("--message-bytes-max", &opts.message_bytes_max, 1u << 30, "of one message"),
    LIMIT("--fragments-max", fragments_max, "of one message"),
    LIMIT("--inbox-high", inbox_high, "messages at which reading stops"),
    LIMIT("--inbox-low", inbox_low, "messages at which it goes on"),
    LIMIT("--inbox-bytes-high", inbox_bytes_high, "bytes at which reading stops"),
    LIMIT("--outbox-high-bytes", outbox_high_bytes, "bytes at which a sender waits"),
    LIMIT("--outbox-low-bytes", outbox_low_bytes, "bytes at which it goes on"),
    OPTION_ROW_U64("--outbox-bytes-max", &opts.outbox_bytes_max, UINT64_C(1) << 40,
                   "bytes at which the slow-reader policy acts"),
    OPTION_ROW_CHOICE("--slow-policy", &slow_policy, slow_policies, "POLICY",
                      "for broadcasts to a full outbox: close, drop-newest or drop-oldest"),
    OPTION_ROW_FLAG("--no-takeover", &no_takeover, "no message, sent or received, refers to an earlier one"),
    {.name = "--window-bits", .kind = OPTION_U32, .to.u32 = &window_bits, .min = 9, .max = 15, .value = "N",
     .help = "of both sides, 9 to 15; compressing"},
    OPTION_ROW_U32("--compression-level", &level, 9, "1 fast to 9 small"),
    OPTION_ROW_U32("--compression-mem-level", &mem_level, 9, "memory of each compressor"),
    LIMIT("--compression-bytes-min", compression.bytes_min, "shorter messages go plain"),
    OPTION_ROW_U64("--compression-memory-max", &opts.compression.memory_bytes_max, UINT64_C(1) << 40,
                   "bytes of all contexts, above which new connections take nothing over"),
    LIMIT("--head-bytes-max", head_bytes_max, "of a request line and its headers"),
    LIMIT("--headers-max", headers_max, "of one request"),
    LIMIT("--backlog", backlog, "of listening sockets"),
    LIMIT("--turn-messages-max", turn_messages_max, "of one connection before the next one's turn"),
    LIMIT("--turn-us-max", turn_us_max, "the same in time"),
    LIMIT("--spin-us", spin_us, "a worker looks for work before it sleeps"),
    OPTION_ROW_FLAG("--separate-io", &opts.separate_io, "I/O threads never run handlers, workers always do"),
    OPTION_ROW_FLAG("--pin-threads", &opts.pin_threads, "each thread to a processor of its own, in turn"),
    OPTION_ROW_FLAG("--normal-scheduling", &opts.normal_scheduling, "do not run the threads as SCHED_BATCH"),
    OPTION_ROW_END,
};

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static void burn(void)
{
    uint64_t end_us = now_us() + echo.burn_us;

    while (now_us() < end_us) {
    }
}

/* Counted instead of thrown by dice: of n calls exactly the share sleeps, and evenly spread. */
static bool is_my_turn_to_sleep(void)
{
    uint64_t n = atomic_fetch_add_explicit(&echo.calls, 1, memory_order_relaxed); /* a count orders nothing */

    return (uint64_t)((double)(n + 1) * echo.sleep_share) != (uint64_t)((double)n * echo.sleep_share);
}

static void work(void)
{
    struct timespec pause = {.tv_sec = echo.sleep_ms / 1000,
                             .tv_nsec = (long)(echo.sleep_ms % 1000) * 1000000};

    if (echo.burn_us)
        burn();
    if (echo.sleep_ms && is_my_turn_to_sleep())
        nanosleep(&pause, NULL);
}

/* Only an I/O thread, which cannot wait, gets WEFT_E_AGAIN. An echo that silently lost a message would be
 * worse than one that ends. */
static void give_up(weft_conn *c, int rc)
{
    if (rc == WEFT_E_AGAIN)
        weft_conn_close(c, WEFT_CLOSE_POLICY_VIOLATION, "reads too slowly");
    else if (rc == WEFT_E_TOO_BIG)
        weft_conn_close(c, WEFT_CLOSE_TOO_BIG, "larger than the outbox");
    else if (rc != WEFT_E_CLOSED)
        weft_conn_close(c, WEFT_CLOSE_INTERNAL_ERROR, "cannot send");
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    int rc;

    (void)app;
    if (echo.burn_us || echo.sleep_ms)
        work();
    rc =
        echo.broadcast ? weft_group_broadcast(weft_server_group(echo.server), m, NULL) : weft_conn_send(c, m);
    if (rc != WEFT_OK) {
        weft_msg_unref(m);
        give_up(c, rc);
    }
}

int main(int argc, char **argv)
{
    const struct option_set set = {
        .program = "weft-echo",
        .about = "a WebSocket server that sends each message back",
        .version = weft_version(),
        .tables = {serve_rows, behaviour_rows, limit_rows},
    };
    int status = options_read(&set, argc, argv, stdout, stderr);
    int rc;

    if (status != OPTIONS_RUN)
        return status;
    opts.on_message = on_message;
    opts.slow_policy = (enum weft_slow_policy)slow_policy;
    opts.compression.no_takeover = opts.compression.peer_no_takeover = no_takeover;
    opts.compression.window_bits = opts.compression.peer_window_bits = (uint8_t)window_bits;
    opts.compression.level = (uint8_t)level;
    opts.compression.mem_level = (uint8_t)mem_level;
    status = serve_begin("weft-echo", &opts);
    if (status != 0)
        return status;
    rc = weft_server_new(&echo.server, &opts);
    if (rc != WEFT_OK) {
        fprintf(stderr, "weft-echo: cannot make the server: %s\n", weft_strerror(rc));
        return rc == WEFT_E_INVAL ? 2 : 1;
    }
    status = serve_listen("weft-echo", echo.server, DEFAULT_PORT);
    if (status == 0)
        status = serve_run("weft-echo", echo.server);
    weft_server_unref(echo.server);
    return status;
}
