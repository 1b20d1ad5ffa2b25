/* A server of weft for the interoperation tests, straight-line; README.md says what it does. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/weft.h>

#define PIECE      1000
#define NUMBER_MAX 1000
#define LOOK_MS    5
#define STOP_MS    2000

struct route {
    const char *path;
    weft_task *serve;
};

static const struct route *route_of(const weft_request *r);

/* What belongs to a connection: freed in on_close. */
struct visit {
    const struct route *route;
    unsigned number;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char ended[NUMBER_MAX][160]; /* under the lock; "": not yet */

/* --- the paths --- */

static int echo(weft_conn *c, void *app)
{
    weft_msg *m;
    int rc;

    (void)app;
    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK)
        if (weft_conn_send(c, m) != WEFT_OK)
            weft_msg_unref(m);
    return rc;
}

static int send_in_pieces(weft_conn *c, const weft_msg *m)
{
    const char *data = weft_msg_data(m);
    size_t left = weft_msg_bytes(m);
    int rc = weft_conn_send_begin(c, weft_msg_type(m)), ended_with;

    while (rc == WEFT_OK && left) {
        size_t n = left < PIECE ? left : PIECE;
        rc = weft_conn_send_part(c, data, n);
        data += n;
        left -= n;
    }
    ended_with = weft_conn_send_end(c);
    return rc == WEFT_OK ? ended_with : rc;
}

static int pieces(weft_conn *c, void *app)
{
    weft_msg *m;
    int rc;

    (void)app;
    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK) {
        rc = send_in_pieces(c, m);
        weft_msg_unref(m);
        if (rc != WEFT_OK)
            break;
    }
    return rc;
}

/* The next message as text, to be freed; NULL: none comes. */
static char *recv_text(weft_conn *c)
{
    weft_msg *m;
    char *text;

    if (weft_conn_recv(c, &m, WEFT_FOREVER) != WEFT_OK)
        return NULL;
    text = strndup(weft_msg_data(m), weft_msg_bytes(m));
    weft_msg_unref(m);
    return text;
}

static int close_first(weft_conn *c, void *app)
{
    char *text = recv_text(c), *reason;
    long code;

    (void)app;
    if (!text)
        return WEFT_E_CLOSED;
    code = strtol(text, &reason, 10);
    weft_conn_close(c, (uint16_t)code, *reason ? reason + 1 : NULL);
    free(text);
    return WEFT_OK;
}

static int close_at_once(weft_conn *c, void *app)
{
    (void)app;
    return weft_conn_close(c, 3003, "the server");
}

static int drop(weft_conn *c, void *app)
{
    (void)app;
    free(recv_text(c));
    weft_conn_abort(c);
    return WEFT_OK;
}

static int ping(weft_conn *c, void *app)
{
    char *text = recv_text(c);
    int rc;

    (void)app;
    if (!text)
        return WEFT_E_CLOSED;
    weft_conn_ping(c, text, strlen(text));
    free(text);
    rc = weft_conn_ping_wait(c, WEFT_FOREVER, NULL); /* which looks at the payload */
    if (rc == WEFT_OK)
        weft_conn_send_text(c, "pong");
    return rc == WEFT_OK ? weft_conn_wait_closed(c, WEFT_FOREVER) : rc;
}

static int tell_ended(weft_conn *c, void *app)
{
    char *text, answer[sizeof ended[0]];

    (void)app;
    while ((text = recv_text(c)) != NULL) {
        unsigned long number = strtoul(text, NULL, 10) % NUMBER_MAX;
        free(text);
        do {
            pthread_mutex_lock(&lock);
            memcpy(answer, ended[number], sizeof answer);
            pthread_mutex_unlock(&lock);
        } while (!answer[0] && weft_conn_sleep(c, LOOK_MS) == WEFT_OK);
        weft_conn_send_text(c, answer);
    }
    return WEFT_OK;
}

static const struct route routes[] = {
    {"/echo", echo}, {"/pieces", pieces}, {"/close", close_first}, {"/both", close_at_once},
    {"/drop", drop}, {"/ping", ping},     {"/ended", tell_ended},
};

static const struct route *route_of(const weft_request *r)
{
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++)
        if (strcmp(weft_request_path(r), routes[i].path) == 0)
            return &routes[i];
    return NULL;
}

/* --- the server --- */

static void on_request(weft_request *r, void *app)
{
    const struct route *route = route_of(r);
    struct visit *v;
    weft_accept how = {.subprotocol = weft_request_offers(r, "chat.v2") ? "chat.v2" : NULL};

    (void)app;
    if (!route) {
        weft_request_respond(r, 404, NULL, 0, "no such path\n", 13);
        return;
    }
    v = malloc(sizeof *v);
    if (!v)
        return; /* undecided: 500 */
    *v = (struct visit){route, (unsigned)strtoul(weft_request_query(r), NULL, 10) % NUMBER_MAX};
    how.data = v;
    if (weft_request_accept(r, &how) != WEFT_OK)
        free(v);
}

static int serve(weft_conn *c, void *app)
{
    return ((struct visit *)weft_conn_data(c))->route->serve(c, app);
}

static void on_close(weft_conn *c, const weft_close_info *info, void *app)
{
    struct visit *v = weft_conn_data(c);

    (void)app;
    pthread_mutex_lock(&lock);
    snprintf(ended[v->number], sizeof ended[0], "%u %s", info->received_code, info->reason);
    pthread_mutex_unlock(&lock);
    free(v);
}

static int run(uint16_t port)
{
    weft_server_opts opts = {
        .size = sizeof opts, .on_request = on_request, .handler = serve, .on_close = on_close};
    weft_server *server;
    sigset_t ends;
    int signal_number;

    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    if (weft_server_new(&server, &opts) != WEFT_OK ||
        weft_server_listen_tcp(server, "127.0.0.1", port, &port) != WEFT_OK ||
        weft_server_start(server) != WEFT_OK)
        return 1;
    printf("listening on 127.0.0.1:%u\n", port);
    fflush(stdout);
    sigwait(&ends, &signal_number);
    weft_server_stop(server, STOP_MS);
    weft_server_unref(server);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned long port = 0;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--port") == 0) {
            port = strtoul(argv[i + 1], NULL, 10);
        } else if (strcmp(argv[i], "--compression") != 0 || strcmp(argv[i + 1], "off") != 0) {
            fprintf(stderr, "server: not for this server: %s %s\n", argv[i], argv[i + 1]);
            return 2;
        }
    }
    return run((uint16_t)port);
}
