/* The connection as weft-cat uses it; see session.h.
 *
 * The callbacks run on threads of the library and do nothing but put events; the queue makes them wait, and
 * with them the server. A Ping is waited for on a thread of its own, one at a time. */
#include "session.h"

#include "buffer.h"
#include "text.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define STOP_DEADLINE_MS   1000
#define PING_TIMEOUT_MS    10000
#define BODY_BYTES_SHOWN   300 /* of an answer that refused */
#define HEADERS_SHOWN_EACH 4

/* ------------------------------------------------------------------------- callbacks */

static void on_open(weft_conn *c, void *app)
{
    struct session *s = app;
    struct event e = {.kind = EVENT_OPEN, .conn = weft_conn_ref(c)};

    events_put(s->events, &e);
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    struct session *s = app;
    struct event e = {.kind = EVENT_MESSAGE, .msg = m};

    (void)c;
    events_put(s->events, &e);
}

static void on_drain(weft_conn *c, void *app)
{
    struct session *s = app;
    struct event e = {.kind = EVENT_DRAIN};

    (void)c;
    events_put(s->events, &e);
}

static void on_close(weft_conn *c, const weft_close_info *info, void *app)
{
    struct session *s = app;
    struct event e = {.kind = EVENT_CLOSED, .how = *info, .text = info->reason ? strdup(info->reason) : NULL};

    (void)c;
    e.how.reason = NULL;
    events_put(s->events, &e);
}

/* The first line of the body that is not blank, and the headers that tell what to do instead. */
static char *answer_of(const weft_failure *f)
{
    static const char *const names[] = {"Location", "WWW-Authenticate", "Proxy-Authenticate", "Retry-After"};
    struct buffer out = {0};
    size_t bytes = 0, line_bytes = 0;
    const char *body = weft_failure_body(f, &bytes);
    const char *value;

    for (size_t i = 0; weft_failure_status(f) && i < sizeof names / sizeof names[0]; i++)
        for (size_t k = 0; k < HEADERS_SHOWN_EACH && (value = weft_failure_header(f, names[i], k)); k++) {
            buffer_print(&out, "%s%s: ", out.count ? "; " : "", names[i]);
            text_put_escaped(&out, value, strlen(value));
        }
    while (body && bytes && (*body == '\n' || *body == '\r' || *body == ' ' || *body == '\t')) {
        body++;
        bytes--;
    }
    while (body && line_bytes < bytes && line_bytes < BODY_BYTES_SHOWN && body[line_bytes] != '\n' &&
           body[line_bytes] != '\r')
        line_bytes++;
    if (line_bytes)
        buffer_put_text(&out, out.count ? "; " : "");
    if (line_bytes)
        text_put_escaped(&out, body, line_bytes);
    buffer_put(&out, "", out.count ? 1 : 0);
    if (out.is_short || out.count == 0) {
        buffer_fini(&out);
        return NULL;
    }
    return out.data;
}

static void on_failure(const weft_failure *f, uint32_t retry_ms, void *app)
{
    struct session *s = app;
    struct event e = {.kind = EVENT_FAILED,
                      .text = strdup(weft_failure_text(f)),
                      .body = answer_of(f),
                      .rc = weft_failure_error(f),
                      .retry_ms = retry_ms};

    events_put(s->events, &e);
}

/* ------------------------------------------------------------------------- from start to stop */

static weft_client_opts opts_of(struct session *s, const struct arguments *args)
{
    return (weft_client_opts){
        .size = sizeof(weft_client_opts),
        .app = s,
        .on_open = on_open,
        .on_message = on_message,
        .on_drain = on_drain,
        .on_close = on_close,
        .on_failure = on_failure,
        .subprotocols = args->subprotocols.count ? args->subprotocols.items : NULL,
        .subprotocol_count = args->subprotocols.count,
        .headers = args->headers.count ? args->split_headers : NULL,
        .header_count = args->headers.count,
        .origin = args->origin,
        .user_agent = args->user_agent,
        .user = args->user_name,
        .password = args->password,
        .proxy = args->proxy,
        .ca_file = args->ca_file,
        .cert_file = args->cert_file,
        .key_file = args->key_file,
        .insecure = args->insecure,
        .compression = {.is_off = args->no_compression},
        .open_timeout_ms = args->open_timeout_ms,
        .close_timeout_ms = args->close_timeout_ms,
        .ping_interval_ms = args->ping_interval_ms ? args->ping_interval_ms : UINT32_MAX,
        .message_bytes_max = args->message_bytes_max,
        .reconnect = args->reconnect,
    };
}

/* Signals are for the thread that has the terminal: the library's are made with all of them blocked. */
int session_start(struct session *s, const struct arguments *args, struct events *events)
{
    weft_client_opts opts = opts_of(s, args);
    sigset_t all, before;
    int rc;

    *s = (struct session){.events = events};
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    rc = weft_client_new(&s->client, args->url, &opts);
    if (rc == WEFT_OK)
        rc = weft_client_start(s->client);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

bool session_stop(struct session *s)
{
    int rc = s->client ? weft_client_stop(s->client, 0) : WEFT_OK;

    if (s->conn)
        weft_conn_abort(s->conn); /* so that the pinger does not wait for a Pong */
    session_closed(s);
    if (rc == WEFT_E_TIMEOUT)
        return false;
    session_ponged(s);
    weft_client_unref(s->client);
    return weft_client_stop_threads(STOP_DEADLINE_MS) == WEFT_OK;
}

void session_opened(struct session *s, weft_conn *conn)
{
    weft_conn_unref(s->conn);
    s->conn = weft_conn_ref(conn);
}

void session_closed(struct session *s)
{
    weft_conn_unref(s->conn);
    s->conn = NULL;
}

int session_send(struct session *s, weft_msg *m)
{
    return s->conn ? weft_conn_try_send(s->conn, m) : WEFT_E_CLOSED;
}

/* ------------------------------------------------------------------------- ping */

struct ping {
    struct session *session;
    weft_conn *conn;
};

static void *wait_for_pong(void *arg)
{
    struct ping *p = arg;
    struct event e = {.kind = EVENT_PONG};

    e.rc = weft_conn_ping_wait(p->conn, PING_TIMEOUT_MS, &e.us);
    weft_conn_unref(p->conn);
    events_put(p->session->events, &e);
    free(p);
    return NULL;
}

static bool start_pinger(struct session *s, struct ping *p)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    rc = pthread_create(&s->pinger, NULL, wait_for_pong, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == 0;
}

int session_ping(struct session *s)
{
    struct ping *p;

    if (!s->conn)
        return WEFT_E_CLOSED;
    if (s->has_pinger)
        return WEFT_E_STATE;
    p = malloc(sizeof *p);
    if (!p)
        return WEFT_E_NOMEM;
    *p = (struct ping){.session = s, .conn = weft_conn_ref(s->conn)};
    s->has_pinger = start_pinger(s, p);
    if (s->has_pinger)
        return WEFT_OK;
    weft_conn_unref(p->conn);
    free(p);
    return WEFT_E_NOMEM;
}

/* Its event is the last thing that the thread does, so this does not wait. */
void session_ponged(struct session *s)
{
    if (s->has_pinger)
        pthread_join(s->pinger, NULL);
    s->has_pinger = false;
}
