/* weft-chat: the demo. A page at `/`, the chat behind it at `/chat`; what is said there is in chat.c. */
#include "chat.h"
#include "serve.h"
#include "web.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_PORT  8080
#define CLOSE_MS      2000 /* for what was published and Redis has not got yet */
#define BUS_URL_BYTES 4096

static struct {
    const char *bus;
    const char *bus_file;
    const char *history;
    uint64_t history_bytes_max;
    uint32_t history_seconds;
    uint32_t presence_timeout_ms;
    unsigned metrics; /* enum web_metrics */
} options = {.presence_timeout_ms = CHAT_PRESENCE_TIMEOUT_MS,
             .history_bytes_max = CHAT_HISTORY_BYTES,
             .history_seconds = CHAT_HISTORY_SECONDS};

/* As in web_metrics. */
static const char *const metrics_words[] = {"local", "all", "none", NULL};

static const struct option_row chat_rows[] = {
    OPTION_ROW_TEXT("--bus", &options.bus, "URL",
                    "redis:// or rediss://: all instances with the same one are one chat (local:)"),
    OPTION_ROW_TEXT(
        "--bus-file", &options.bus_file, "FILE",
        "the same, from the first line of this file: other users see a command line, and a password in it"),
    OPTION_ROW_TEXT("--history", &options.history, "FILE",
                    "keep what is said over restarts, in SQLite; for local: only (in memory)"),
    {.name = "--history-bytes-max",
     .kind = OPTION_U64,
     .to.u64 = &options.history_bytes_max,
     .min = 65536,
     .max = UINT64_C(1) << 40,
     .value = "N",
     .help = "of what all rooms remember; above that the longest forget first (67108864)"},
    {.name = "--history-seconds",
     .kind = OPTION_U32,
     .to.u32 = &options.history_seconds,
     .min = 1,
     .max = 10 * 366 * 86400,
     .value = "N",
     .help = "that a room remembers behind its last message; the same for all on a bus (2592000)"},
    OPTION_ROW_CHOICE("--metrics", &options.metrics, metrics_words, "WHO",
                      "may read /metrics: local (default: this machine), all or none"),
    {.name = "--presence-timeout-ms",
     .kind = OPTION_U32,
     .to.u32 = &options.presence_timeout_ms,
     .min = 1000,
     .max = 600000,
     .value = "N",
     .help = "people of an instance that died leave after so long (10000)"},
    OPTION_ROW_END,
};

/* Set before the start. The chat is opened last, for its history is a file of --user. */
static weft_server *server;
static struct chat *chat;

static void on_request(weft_request *r, void *app)
{
    (void)app;
    web_answer(r, server, chat, (enum web_metrics)options.metrics);
}

static void on_open(weft_conn *c, void *app)
{
    (void)app;
    chat_on_open(c, chat);
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    (void)app;
    chat_on_message(c, m, chat);
}

static void on_close(weft_conn *c, const weft_close_info *info, void *app)
{
    (void)app;
    chat_on_close(c, info, chat);
}

static weft_server_opts server_opts = {
    .size = sizeof server_opts,
    .on_request = on_request,
    .on_open = on_open,
    .on_message = on_message,
    .on_close = on_close,
    .message_bytes_max = CHAT_MESSAGE_BYTES_MAX,
    /* A full history is nearly 1 MiB, and who joins must be able to get it and go on. */
    .outbox_high_bytes = 1024 * 1024,
    .outbox_bytes_max = 4 * 1024 * 1024,
    .slow_policy = WEFT_SLOW_CLOSE,
};

static int complain(const char *what, const char *which, int rc)
{
    fprintf(stderr, "weft-chat: %s%s: %s\n", what, which, weft_strerror(rc));
    return rc == WEFT_E_INVAL ? 2 : 1;
}

/* --- the ticks --- */

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t ends;
    bool has_ended; /* under lock */
} ticker = {.lock = PTHREAD_MUTEX_INITIALIZER};

static struct timespec next_tick(void)
{
    uint32_t ms = options.presence_timeout_ms / 4;
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

static void *tick(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&ticker.lock);
    while (!ticker.has_ended) {
        struct timespec until = next_tick();
        if (pthread_cond_timedwait(&ticker.ends, &ticker.lock, &until) != 0)
            chat_tick(chat);
    }
    pthread_mutex_unlock(&ticker.lock);
    return NULL;
}

static int begin_ticks(void)
{
    pthread_condattr_t how;

    pthread_condattr_init(&how);
    pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
    pthread_cond_init(&ticker.ends, &how);
    pthread_condattr_destroy(&how);
    return pthread_create(&ticker.thread, NULL, tick, NULL) == 0 ? WEFT_OK : WEFT_E_SYSTEM;
}

static void end_ticks(void)
{
    pthread_mutex_lock(&ticker.lock);
    ticker.has_ended = true;
    pthread_cond_signal(&ticker.ends);
    pthread_mutex_unlock(&ticker.lock);
    pthread_join(ticker.thread, NULL);
}

/* --- the bus's URL, which may hold a password --- */

/* The user and the password of a URL: where they begin, and the '@' behind them; NULL: there are none. */
static char *find_secret(char *url, char **end)
{
    char *scheme = strstr(url, "://");
    char *begin = scheme ? scheme + 3 : url;

    *end = strrchr(begin, '@');
    if (!*end && *begin == ':') /* no host behind it: it is wrong, and a password all the same */
        *end = begin + strlen(begin);
    return *end ? begin : NULL;
}

static void hide_secret(char *url)
{
    char *end, *at = find_secret(url, &end);

    while (at && at < end)
        *at++ = '*';
}

/* From here on the command line does not show it; for a moment it did. */
static const char *take_from_command_line(const char *url)
{
    static char copy[BUS_URL_BYTES];

    if (snprintf(copy, sizeof copy, "%s", url) >= (int)sizeof copy)
        return NULL;
    hide_secret((char *)url); /* argv is the program's to write */
    return copy;
}

/* The first line of a file. NULL after a complaint. */
static const char *read_bus_file(const char *path)
{
    static char line[BUS_URL_BYTES];
    FILE *in = fopen(path, "re");

    if (!in || (!fgets(line, sizeof line, in) && ferror(in))) {
        fprintf(stderr, "weft-chat: cannot read %s: %s\n", path, strerror(errno));
        if (in)
            fclose(in);
        return NULL;
    }
    fclose(in);
    line[strcspn(line, "\r\n")] = '\0';
    if (line[0] == '\0') {
        fprintf(stderr, "weft-chat: the first line of %s is no URL\n", path);
        return NULL;
    }
    return line;
}

/* 0, or the status to exit with after a complaint. */
static int take_bus(struct chat_opts *opts)
{
    if (options.bus && options.bus_file) {
        fprintf(stderr, "weft-chat: --bus and --bus-file are two words for one thing\n");
        return 2;
    }
    if (options.bus)
        opts->bus_url = take_from_command_line(options.bus);
    else if (options.bus_file && !(opts->bus_url = read_bus_file(options.bus_file)))
        return 1;
    if (options.bus && !opts->bus_url) {
        fprintf(stderr, "weft-chat: --bus takes a URL of less than %d bytes\n", BUS_URL_BYTES);
        return 2;
    }
    if (options.history && !chat_is_alone(opts)) {
        fprintf(stderr,
                "weft-chat: --history is for one instance alone; with a bus the history is in Redis\n");
        return 2;
    }
    return 0;
}

static int complain_about_bus(const char *url, int rc)
{
    char shown[BUS_URL_BYTES];

    snprintf(shown, sizeof shown, "%s", url ? url : "local:");
    hide_secret(shown);
    return complain("cannot open the bus ", shown, rc);
}

/* --- from start to end --- */

static int run(void)
{
    int status;
    int rc = begin_ticks();

    if (rc != WEFT_OK)
        return complain("cannot start a thread", "", rc);
    status = serve_run("weft-chat", server);
    end_ticks();
    return status;
}

static int complain_about_history(const char *file, int rc)
{
    char which[512];

    snprintf(which, sizeof which, "%.400s%s%.64s", file, serve_options.user ? " as " : "",
             serve_options.user ? serve_options.user : "");
    return complain("cannot open the history ", which, rc);
}

static int open_and_run(const struct chat_opts *opts)
{
    int rc = chat_open(&chat, opts);
    int status;

    if (rc != WEFT_OK)
        return opts->history_file ? complain_about_history(opts->history_file, rc)
                                  : complain_about_bus(opts->bus_url, rc);
    status = run();
    chat_close(chat, CLOSE_MS);
    return status;
}

int main(int argc, char **argv)
{
    const struct option_set set = {
        .program = "weft-chat",
        .about = "a chat in the browser; open http://127.0.0.1:8080/",
        .version = weft_version(),
        .tables = {serve_rows, chat_rows},
    };
    int status = options_read(&set, argc, argv, stdout, stderr);
    struct chat_opts opts = {0};
    int rc;

    if (status != OPTIONS_RUN)
        return status;
    opts.history_file = options.history;
    opts.history_bytes_max = options.history_bytes_max;
    opts.history_seconds = options.history_seconds;
    opts.presence_timeout_ms = options.presence_timeout_ms;
    json_object_seed(0);
    status = serve_begin("weft-chat", &server_opts);
    if (status == 0)
        status = take_bus(&opts); /* while root may read the file */
    if (status != 0)
        return status;
    rc = weft_server_new(&server, &server_opts);
    if (rc != WEFT_OK)
        return complain("cannot make the server", "", rc);
    status = serve_listen("weft-chat", server, DEFAULT_PORT);
    if (status == 0)
        status = open_and_run(&opts);
    weft_server_unref(server);
    return status;
}
