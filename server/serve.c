/* The programs' life from start to signal; see serve.h. */
#include "serve.h"

#include "figures.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_HOST "127.0.0.1"

struct serve_options serve_options = {
    .port = SERVE_PORT_UNSET,
    .ping_interval_ms = 20000,
    .stop_deadline_ms = 5000,
    .log_level = WEFT_LOG_WARNING,
};

static const char *const log_levels[] = {"off", "error", "warning", "info", "debug", NULL};

const struct option_row serve_rows[] = {
    OPTION_ROW_U32("--port", &serve_options.port, 65535, "TCP port; 0 picks a free one"),
    OPTION_ROW_TEXT("--host", &serve_options.host, "ADDRESS",
                    "address or name to listen on (" DEFAULT_HOST ")"),
    OPTION_ROW_TEXT("--unix", &serve_options.unix_path, "PATH",
                    "listen on a Unix socket; instead of TCP unless --port or --host is given"),
    OPTION_ROW_TEXT("--cert", &serve_options.cert_file, "FILE",
                    "certificate chain, PEM: the TCP port speaks TLS; SIGHUP reads it again"),
    OPTION_ROW_TEXT("--key", &serve_options.key_file, "FILE", "the certificate's key, PEM"),
    OPTION_ROW_U32("--io-threads", &serve_options.io_threads, 64,
                   "threads that read and write sockets (processors / 4, at least 1)"),
    OPTION_ROW_U32("--workers", &serve_options.workers, 256,
                   "threads that run handlers (processors, at least 2)"),
    OPTION_ROW_LIST("--origin", &serve_options.origins, "ORIGIN",
                    "allow only pages of this origin, such as https://example.org; may be repeated"),
    OPTION_ROW_FLAG("--no-compression", &serve_options.no_compression, "do not agree on permessage-deflate"),
    OPTION_ROW_U32("--connections-per-address-max", &serve_options.connections_per_address_max, UINT32_MAX,
                   "open at once; the rest gets 429 (no limit)"),
    OPTION_ROW_U32("--handshakes-per-second-max", &serve_options.handshakes_per_second_max, 1000000,
                   "of one address; the rest gets 429 (no limit)"),
    OPTION_ROW_U32("--handshakes-burst", &serve_options.handshakes_burst, 1000000,
                   "so many at once (those of a second)"),
    OPTION_ROW_LIST("--unlimited-address", &serve_options.unlimited_addresses, "NETWORK",
                    "a reverse proxy, such as 10.0.0.0/8 or ::1, which is not limited; may be repeated"),
    OPTION_ROW_U32("--messages-per-second-max", &serve_options.messages_per_second_max, 1000000,
                   "of one connection; above that it is not read (no limit)"),
    OPTION_ROW_U32("--messages-burst", &serve_options.messages_burst, 1000000,
                   "so many at once (those of a second)"),
    OPTION_ROW_U64("--memory-bytes-max", &serve_options.memory_bytes_max, UINT64_C(1) << 50,
                   "of all messages and queues; above that nothing is read (no limit)"),
    OPTION_ROW_FLAG("--refuse-when-full", &serve_options.refuse_when_full,
                    "answer 503 at the limit of connections instead of letting them wait"),
    OPTION_ROW_U32("--ping-interval-ms", &serve_options.ping_interval_ms, UINT32_MAX,
                   "between two pings (20000); 0: none"),
    OPTION_ROW_U32("--ping-timeout-ms", &serve_options.ping_timeout_ms, UINT32_MAX,
                   "for the answer to a ping (20000)"),
    OPTION_ROW_U32("--stop-deadline-ms", &serve_options.stop_deadline_ms, 600000,
                   "for open connections when SIGTERM or SIGINT comes (5000)"),
    OPTION_ROW_CHOICE("--log-level", &serve_options.log_level, log_levels, "LEVEL",
                      "off, error, warning (default), info or debug; to standard error"),
    OPTION_ROW_FLAG("--stats", &serve_options.stats,
                    "print the statistics as a line of JSON on SIGUSR1 and at the end"),
    OPTION_ROW_END,
};

static sigset_t awaited_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    if (serve_options.cert_file)
        sigaddset(&set, SIGHUP);
    return set;
}

void serve_begin(weft_server_opts *opts)
{
    sigset_t set = awaited_signals();

    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN); /* standard output may be a pipe that nobody reads any more */
    weft_log_to((enum weft_log_level)serve_options.log_level, NULL, NULL);
    opts->io_threads = serve_options.io_threads;
    opts->workers = serve_options.workers;
    opts->ping_interval_ms = serve_options.ping_interval_ms ? serve_options.ping_interval_ms : UINT32_MAX;
    opts->ping_timeout_ms = serve_options.ping_timeout_ms;
    opts->origins = serve_options.origins.count ? serve_options.origins.items : NULL;
    opts->origin_count = serve_options.origins.count;
    opts->compression.is_off = serve_options.no_compression;
    opts->connections_per_address_max = serve_options.connections_per_address_max;
    opts->handshakes_per_second_max = serve_options.handshakes_per_second_max;
    opts->handshakes_burst = serve_options.handshakes_burst;
    opts->unlimited_addresses = serve_options.unlimited_addresses.items;
    opts->unlimited_address_count = serve_options.unlimited_addresses.count;
    opts->messages_per_second_max = serve_options.messages_per_second_max;
    opts->messages_burst = serve_options.messages_burst;
    opts->memory_bytes_max = serve_options.memory_bytes_max;
    opts->refuse_when_full = serve_options.refuse_when_full;
}

static int fail(const char *program, const char *what, const char *where, int rc)
{
    fprintf(stderr, "%s: %s%s: %s\n", program, what, where,
            rc == WEFT_E_SYSTEM ? strerror(errno) : weft_strerror(rc));
    return 1;
}

static bool wants_tcp(void)
{
    return serve_options.host || serve_options.port != SERVE_PORT_UNSET || !serve_options.unix_path;
}

static int listen_tcp(weft_server *s, const char *host, uint16_t port, uint16_t *bound)
{
    weft_tls_opts tls = {
        .size = sizeof tls, .cert_file = serve_options.cert_file, .key_file = serve_options.key_file};

    return tls.cert_file ? weft_server_listen_tls(s, host, port, bound, &tls)
                         : weft_server_listen_tcp(s, host, port, bound);
}

static int listen_everywhere(const char *program, weft_server *s, uint16_t default_port, uint16_t *bound)
{
    const char *host = serve_options.host ? serve_options.host : DEFAULT_HOST;
    uint16_t port = serve_options.port == SERVE_PORT_UNSET ? default_port : (uint16_t)serve_options.port;
    char where[300];
    int rc;

    if (!serve_options.cert_file != !serve_options.key_file) {
        fprintf(stderr, "%s: --cert and --key belong together\n", program);
        return 2;
    }
    if (wants_tcp()) {
        rc = listen_tcp(s, host, port, bound);
        snprintf(where, sizeof where, "%.280s port %u", host, (unsigned)port);
        if (rc != WEFT_OK)
            return fail(program, "cannot listen on ", where, rc);
    }
    if (serve_options.unix_path) {
        rc = weft_server_listen_unix(s, serve_options.unix_path);
        if (rc != WEFT_OK)
            return fail(program, "cannot listen on ", serve_options.unix_path, rc);
    }
    return 0;
}

/* Other programs wait for these lines, so they must be seen even if standard output is a file or a pipe. */
static void announce(uint16_t bound)
{
    const char *host = serve_options.host ? serve_options.host : DEFAULT_HOST;
    bool is_ipv6 = strchr(host, ':') != NULL;

    if (wants_tcp())
        printf("listening on %s%s%s:%u\n", is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "", (unsigned)bound);
    if (serve_options.unix_path)
        printf("listening on unix:%s\n", serve_options.unix_path);
    fflush(stdout);
}

static void print_stats(weft_server *s)
{
    weft_stats stats = {.size = sizeof stats};

    if (!serve_options.stats || weft_server_stats(s, &stats) != WEFT_OK)
        return;
    figures_print_json(&stats, stdout);
    fflush(stdout);
}

/* With files that are not good it goes on with what it has. */
static void reload(const char *program, weft_server *s)
{
    int rc = weft_server_reload_tls(s);

    if (rc == WEFT_OK)
        printf("certificate read again\n");
    else
        fail(program, "cannot read the certificate again", "", rc);
    fflush(stdout);
}

static void wait_for_signal(const char *program, weft_server *s)
{
    sigset_t set = awaited_signals();
    int number = 0;

    while (sigwait(&set, &number) != 0 || number == SIGUSR1 || number == SIGHUP) {
        if (number == SIGUSR1)
            print_stats(s);
        else if (number == SIGHUP)
            reload(program, s);
    }
}

static void leave_at_once(int number)
{
    (void)number;
    _exit(0);
}

/* weft_server_stop holds the main thread for up to the deadline; who signals again does not want to wait for
 * it. */
static void let_second_signal_end(void)
{
    struct sigaction action = {.sa_handler = leave_at_once};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int stop(const char *program, weft_server *s)
{
    int rc;

    let_second_signal_end();
    rc = weft_server_stop(s, serve_options.stop_deadline_ms);
    print_stats(s);
    if (rc == WEFT_OK)
        return 0;
    fail(program, "cannot stop", "", rc);
    if (rc == WEFT_E_TIMEOUT)
        _exit(1); /* a handler still runs: what it uses must not be freed */
    return 1;
}

int serve(const char *program, weft_server *s, uint16_t default_port)
{
    uint16_t bound = 0;
    int status = listen_everywhere(program, s, default_port, &bound);
    int rc;

    if (status == 0 && (rc = weft_server_start(s)) != WEFT_OK)
        status = fail(program, "cannot start", "", rc);
    if (status == 0) {
        announce(bound);
        wait_for_signal(program, s);
        status = stop(program, s);
    }
    weft_server_unref(s);
    return status;
}
