/* weft-chat: the demo. A page at `/`, the chat behind it at `/chat`; what is said there is in chat.c. */
#include "chat.h"
#include "serve.h"
#include "web.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DEFAULT_PORT 8080
#define CLOSE_MS     2000 /* for what was published and Redis has not got yet */

static struct {
    const char *bus;
    const char *history;
    uint32_t presence_timeout_ms;
} options = {.presence_timeout_ms = CHAT_PRESENCE_TIMEOUT_MS};

static const struct option_row chat_rows[] = {
    OPTION_ROW_TEXT("--bus", &options.bus, "URL",
                    "redis:// or rediss://: all instances with the same one are one chat (local:)"),
    OPTION_ROW_TEXT("--history", &options.history, "FILE",
                    "keep what is said over restarts, in SQLite; for local: only (in memory)"),
    {.name = "--presence-timeout-ms",
     .kind = OPTION_U32,
     .to.u32 = &options.presence_timeout_ms,
     .min = 1000,
     .max = 600000,
     .value = "N",
     .help = "people of an instance that died leave after so long (10000)"},
    OPTION_ROW_END,
};

static weft_server *server; /* set before the start */

static void on_request(weft_request *r, void *app)
{
    web_answer(r, server, app);
}

static weft_server_opts server_opts = {
    .size = sizeof server_opts,
    .on_request = on_request,
    .on_open = chat_on_open,
    .on_message = chat_on_message,
    .on_close = chat_on_close,
    /* A full history is nearly 1 MiB, and who joins must be able to get it and go on. */
    .outbox_high_bytes = 1024 * 1024,
    .outbox_bytes_max = 4 * 1024 * 1024,
    .slow_policy = WEFT_SLOW_CLOSE,
};

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

static void *tick(void *chat)
{
    pthread_mutex_lock(&ticker.lock);
    while (!ticker.has_ended) {
        struct timespec until = next_tick();
        if (pthread_cond_timedwait(&ticker.ends, &ticker.lock, &until) != 0)
            chat_tick(chat);
    }
    pthread_mutex_unlock(&ticker.lock);
    return NULL;
}

static int begin_ticks(struct chat *chat)
{
    pthread_condattr_t how;

    pthread_condattr_init(&how);
    pthread_condattr_setclock(&how, CLOCK_MONOTONIC);
    pthread_cond_init(&ticker.ends, &how);
    pthread_condattr_destroy(&how);
    return pthread_create(&ticker.thread, NULL, tick, chat) == 0 ? WEFT_OK : WEFT_E_SYSTEM;
}

static void end_ticks(void)
{
    pthread_mutex_lock(&ticker.lock);
    ticker.has_ended = true;
    pthread_cond_signal(&ticker.ends);
    pthread_mutex_unlock(&ticker.lock);
    pthread_join(ticker.thread, NULL);
}

/* --- from start to end --- */

static int complain(const char *what, const char *which, int rc)
{
    fprintf(stderr, "weft-chat: %s%s: %s\n", what, which, weft_strerror(rc));
    return rc == WEFT_E_INVAL ? 2 : 1;
}

static int run(struct chat *chat)
{
    int status;
    int rc;

    server_opts.app = chat;
    rc = weft_server_new(&server, &server_opts);
    if (rc != WEFT_OK)
        return complain("cannot make the server", "", rc);
    rc = begin_ticks(chat);
    if (rc != WEFT_OK) {
        weft_server_unref(server);
        return complain("cannot start a thread", "", rc);
    }
    status = serve("weft-chat", server, DEFAULT_PORT);
    end_ticks();
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
    struct chat *chat;
    int rc;

    if (status != OPTIONS_RUN)
        return status;
    opts.bus_url = options.bus;
    opts.history_file = options.history;
    opts.presence_timeout_ms = options.presence_timeout_ms;
    if (options.history && !chat_is_alone(&opts)) {
        fprintf(stderr,
                "weft-chat: --history is for one instance alone; with --bus the history is in Redis\n");
        return 2;
    }
    json_object_seed(0);
    serve_begin(&server_opts); /* the bus has a thread, which must not get the signals */
    rc = chat_open(&chat, &opts);
    if (rc != WEFT_OK)
        return options.history ? complain("cannot open the history ", options.history, rc)
                               : complain("cannot open the bus ", options.bus ? options.bus : "local:", rc);
    status = run(chat);
    chat_close(chat, CLOSE_MS);
    return status;
}
