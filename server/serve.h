/* What the programs have in common: the options for listening and threads, and a life from start to signal:
 * serve_begin, weft_server_new, serve_listen, serve_run, weft_server_unref.
 *
 * Signals are taken by the main thread alone, with sigwait: serve_begin blocks them before any thread
 * starts. SIGHUP reads the certificate again. Until serve_listen has returned there must be no other thread
 * (privileges.h), and no file may be opened that --user is to own. */
#ifndef WEFT_SERVER_SERVE_H
#define WEFT_SERVER_SERVE_H

#include "options.h"

#include <weft/weft.h>

#include <stdbool.h>
#include <stdint.h>

#define SERVE_PORT_UNSET UINT32_MAX

struct serve_options {
    const char *host; /* NULL: not given */
    uint32_t port;
    const char *unix_path;
    const char *cert_file, *key_file; /* NULL: the port is plain */
    const char *user;                 /* NULL: who started the program */
    uint32_t io_threads;
    uint32_t workers;
    uint32_t ping_interval_ms; /* 0: no pings */
    uint32_t ping_timeout_ms;
    uint32_t stop_deadline_ms;
    struct option_list origins;
    uint32_t connections_max, handshakes_max, open_timeout_ms; /* 0: the default */
    uint32_t connections_per_address_max, handshakes_per_second_max, handshakes_burst;
    uint32_t messages_per_second_max, messages_burst;
    uint64_t memory_bytes_max;
    struct option_list unlimited_addresses;
    bool refuse_when_full;
    unsigned log_level; /* enum weft_log_level */
    bool no_compression;
    bool stats;         /* one line of JSON on SIGUSR1 and at the end */
};

extern struct serve_options serve_options;
extern const struct option_row serve_rows[];

/* Block the signals, take over what the service manager hands over, look up --user, and fill in what the
 * options say; before weft_server_new, and before anything is opened.
 *
 * opts     the fields named in serve_options are overwritten
 * Returns  0, or the status to exit with after a complaint */
int serve_begin(const char *program, weft_server_opts *opts);

/* Listen, and become --user.
 *
 * default_port  when no port was given; without --port and --host, --unix and sockets that were handed over
 *               stand alone
 * Returns       0, or the status to exit with after a complaint */
int serve_listen(const char *program, weft_server *s, uint16_t default_port);

/* Start, say so on standard output and to the service manager, and stop when SIGTERM or SIGINT comes: at once
 * on a second one.
 *
 * Returns       the status to exit with; no callback comes any more */
int serve_run(const char *program, weft_server *s);

/* To standard error; "cannot listen on ", "port 80", WEFT_E_SYSTEM: errno says why. Returns the status to
 * exit with. */
int serve_complain(const char *program, const char *what, const char *where, int rc);

#endif
