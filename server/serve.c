/* The programs' life from start to signal; see serve.h. */
#include "serve.h"

#include "figures.h"
#include "listen.h"
#include "privileges.h"
#include "service.h"
#include "trim.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct serve_options serve_options = {
    .port = SERVE_PORT_UNSET,
    .ping_interval_ms = 20000,
    .stop_deadline_ms = 5000,
    .log_level = WEFT_LOG_WARNING,
};

static const char *const log_levels[] = {"off", "error", "warning", "info", "debug", NULL};

const struct option_row serve_rows[] = {
    OPTION_ROW_U32("--port", &serve_options.port, 65535, "TCP port; 0 picks a free one"),
    OPTION_ROW_TEXT("--host", &serve_options.host, "ADDRESS", "address or name to listen on (127.0.0.1)"),
    OPTION_ROW_TEXT("--unix", &serve_options.unix_path, "PATH",
                    "listen on a Unix socket; instead of TCP unless --port or --host is given"),
    OPTION_ROW_TEXT("--cert", &serve_options.cert_file, "FILE",
                    "certificate chain, PEM: the TCP port speaks TLS; SIGHUP reads it again"),
    OPTION_ROW_TEXT("--key", &serve_options.key_file, "FILE", "the certificate's key, PEM"),
    OPTION_ROW_TEXT("--user", &serve_options.user, "NAME[:GROUP]",
                    "become this user when ports, certificate and key are open; for root"),
    OPTION_ROW_U32("--io-threads", &serve_options.io_threads, 64,
                   "threads that read and write sockets (processors / 4, at least 1)"),
    OPTION_ROW_U32("--workers", &serve_options.workers, 256,
                   "threads that run handlers (processors, at least 2)"),
    OPTION_ROW_LIST("--origin", &serve_options.origins, "ORIGIN",
                    "allow only pages of this origin, such as https://example.org; may be repeated"),
    OPTION_ROW_FLAG("--no-compression", &serve_options.no_compression, "do not agree on permessage-deflate"),
    OPTION_ROW_U32("--connections-max", &serve_options.connections_max, UINT32_MAX,
                   "open at once (as many as descriptors allow)"),
    OPTION_ROW_U32("--handshakes-max", &serve_options.handshakes_max, UINT32_MAX, "in flight at once (1024)"),
    OPTION_ROW_U32("--open-timeout-ms", &serve_options.open_timeout_ms, UINT32_MAX,
                   "for the opening handshake (10000)"),
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
    if (serve_options.cert_file || service_is_managed()) /* else it says that the terminal is gone */
        sigaddset(&set, SIGHUP);
    return set;
}

static struct places places;
static struct privileges privileges;

static int check_options(const char *program)
{
    if (!serve_options.cert_file != !serve_options.key_file) {
        fprintf(stderr, "%s: --cert and --key belong together\n", program);
        return 2;
    }
    return serve_options.user ? privileges_find(&privileges, program, serve_options.user, stderr) : 0;
}

static void take_options(weft_server_opts *opts)
{
    opts->io_threads = serve_options.io_threads;
    opts->workers = serve_options.workers;
    opts->ping_interval_ms = serve_options.ping_interval_ms ? serve_options.ping_interval_ms : UINT32_MAX;
    opts->ping_timeout_ms = serve_options.ping_timeout_ms;
    opts->origins = serve_options.origins.count ? serve_options.origins.items : NULL;
    opts->origin_count = serve_options.origins.count;
    opts->compression.is_off = serve_options.no_compression;
    opts->connections_max = serve_options.connections_max;
    opts->handshakes_max = serve_options.handshakes_max;
    opts->open_timeout_ms = serve_options.open_timeout_ms;
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

int serve_begin(const char *program, weft_server_opts *opts)
{
    sigset_t set = awaited_signals();
    int status = check_options(program);

    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN); /* standard output may be a pipe that nobody reads any more */
    weft_log_to((enum weft_log_level)serve_options.log_level, NULL, NULL);
    take_options(opts);
    /* Before anything is opened, which could come to stand where a socket is said to be and is not. */
    return status == 0 ? service_sockets_take(&places.given, program, stderr) : status;
}

int serve_complain(const char *program, const char *what, const char *where, int rc)
{
    fprintf(stderr, "%s: %s%s: %s\n", program, what, where,
            rc == WEFT_E_SYSTEM ? strerror(errno) : weft_strerror(rc));
    return 1;
}

/* --- certificates --- */

/* errno tells it from a file that is not there. */
static bool is_forbidden(const char *file)
{
    return access(file, R_OK) != 0 && errno == EACCES;
}

/* What the starting root could read, --user may not be able to; the next renewal would come to nothing. */
static void advise_on_rights(const char *program)
{
    const char *const files[] = {serve_options.cert_file, serve_options.key_file};

    for (size_t i = 0; i < 2 && files[i]; i++)
        if (is_forbidden(files[i]))
            fprintf(stderr,
                    "%s: user %lu may not read %s, so SIGHUP cannot read it again: give it to a group of "
                    "that user "
                    "(chgrp GROUP, chmod 640; the folders need to be passable), or restart after a renewal\n",
                    program, (unsigned long)geteuid(), files[i]);
}

/* systemd copies what LoadCredential= names when it starts a service, and most versions never again. */
static void advise_on_copies(const char *program)
{
    const char *copies = getenv("CREDENTIALS_DIRECTORY");

    if (copies && *copies && strncmp(serve_options.cert_file, copies, strlen(copies)) == 0)
        fprintf(
            stderr,
            "%s: %s is a copy that systemd made at the start: what was renewed since comes with a restart\n",
            program, serve_options.cert_file);
}

/* With files that are not good it goes on with what it has. */
static void reload(const char *program, weft_server *s)
{
    int rc;

    if (!serve_options.cert_file) {
        printf("nothing to read again\n");
        return;
    }
    rc = weft_server_reload_tls(s);
    if (rc == WEFT_OK) {
        printf("certificate read again\n");
        advise_on_copies(program);
    } else {
        serve_complain(program, "cannot read the certificate again", "", rc);
        advise_on_rights(program);
    }
}

/* --- signals --- */

static void print_stats(weft_server *s)
{
    weft_stats stats = {.size = sizeof stats};

    if (!serve_options.stats || weft_server_stats(s, &stats) != WEFT_OK)
        return;
    figures_print_json(&stats, stdout);
    fflush(stdout);
}

static void reload_on_request(const char *program, weft_server *s)
{
    service_reloading();
    reload(program, s);
    fflush(stdout);
    service_ready();
}

/* Between signals there is something to do now and then. */
static int next_signal(const sigset_t *set)
{
    uint64_t alive_us = service_alive_interval_us(),
             us = alive_us && alive_us < TRIM_INTERVAL_US ? alive_us : TRIM_INTERVAL_US;
    struct timespec interval = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
    int number;

    while ((number = sigtimedwait(set, NULL, &interval)) < 0) {
        service_alive();
        trim_look();
    }
    service_alive();
    return number;
}

static void wait_for_signal(const char *program, weft_server *s)
{
    sigset_t set = awaited_signals();
    int number;

    while ((number = next_signal(&set)) == SIGUSR1 || number == SIGHUP) {
        if (number == SIGUSR1)
            print_stats(s);
        else
            reload_on_request(program, s);
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
    service_stopping();
    rc = weft_server_stop(s, serve_options.stop_deadline_ms);
    print_stats(s);
    if (rc == WEFT_OK)
        return 0;
    serve_complain(program, "cannot stop", "", rc);
    if (rc == WEFT_E_TIMEOUT)
        _exit(1); /* a handler still runs: what it uses must not be freed */
    return 1;
}

/* --- from start to end --- */

static int become_user(const char *program)
{
    int status;

    if (!serve_options.user) {
        if (geteuid() == 0 && isatty(STDERR_FILENO))
            fprintf(stderr, "%s: runs as root; --user NAME gives that up\n", program);
        return 0;
    }
    status = privileges_drop(&privileges, program, stderr);
    if (status == 0)
        advise_on_rights(program);
    return status;
}

int serve_listen(const char *program, weft_server *s, uint16_t default_port)
{
    int status;

    places.program = program;
    places.owner = serve_options.user ? &privileges : NULL;
    status = listen_everywhere(&places, s, default_port);
    service_sockets_fini(&places.given);
    return status == 0 ? become_user(program) : status;
}

int serve_run(const char *program, weft_server *s)
{
    int rc = weft_server_start(s);

    if (rc != WEFT_OK)
        return serve_complain(program, "cannot start", "", rc);
    listen_announce(&places);
    service_ready();
    wait_for_signal(program, s);
    return stop(program, s);
}
