/* Answers plain HTTP on the chat's port; see web.h. */
#include "web.h"

#include "figures.h"
#include "page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static void answer_text(weft_request *r, unsigned status, const char *text, const weft_header *more)
{
    weft_header headers[4] = {{"Content-Type", "text/plain; charset=utf-8"},
                              {"X-Content-Type-Options", "nosniff"},
                              {"Cache-Control", "no-store"}};

    if (more)
        headers[3] = *more;
    weft_request_respond(r, status, headers, more ? 4 : 3, text, strlen(text));
}

static void answer_page(weft_request *r)
{
    const weft_header headers[] = {{"Content-Type", "text/html; charset=utf-8"},
                                   {"Content-Security-Policy", page_policy},
                                   {"X-Content-Type-Options", "nosniff"},
                                   {"Referrer-Policy", "no-referrer"},
                                   {"Cache-Control", "no-store"}};

    weft_request_respond(r, 200, headers, COUNT(headers), page_html, page_html_bytes);
}

static void print_chat_figures(struct chat *chat, FILE *out)
{
    struct chat_figures f = chat_figures(chat);

    figures_print_one(out, "weft_chat_rooms", "gauge", "Rooms with somebody in them", f.rooms);
    figures_print_one(out, "weft_chat_people", "gauge", "Connections that are in a room", f.people);
    figures_print_one(out, "weft_chat_said_total", "counter", "Messages said in rooms", f.said);
    figures_print_one(out, "weft_chat_errors_total", "counter", "Messages answered with an error", f.errors);
    figures_print_one(out, "weft_chat_too_fast_total", "counter", "Messages refused by the rate limit",
                      f.too_fast);
}

static void print_bus_figures(struct chat *chat, FILE *out)
{
    weft_bus_stats f;

    chat_bus_stats(chat, &f);
    figures_print_one(out, "weft_bus_state", "gauge",
                      "0 connecting, 1 up, 2 down, 3 up and its history file takes nothing", f.state);
    figures_print_one(out, "weft_bus_subscriptions", "gauge", "Of connections and listeners",
                      f.subscriptions);
    figures_print_one(out, "weft_bus_queued_bytes", "gauge", "Published and not passed on", f.queued_bytes);
    figures_print_one(out, "weft_bus_published_total", "counter", "Accepted from the chat", f.published);
    figures_print_one(out, "weft_bus_received_total", "counter", "Came for subscribers", f.received);
    figures_print_one(out, "weft_bus_lost_total", "counter", "On their way when Redis was lost",
                      f.dropped_lost);
    figures_print_one(out, "weft_bus_filled_total", "counter", "Fetched from the history", f.filled);
    figures_print_one(out, "weft_bus_gaps_total", "counter", "Times that something was lost for good",
                      f.gaps);
    figures_print_one(out, "weft_bus_connects_total", "counter", "Connections to Redis", f.connects);
    figures_print_one(out, "weft_bus_history_failures_total", "counter",
                      "Messages that the file did not take", f.history_failures);
    figures_print_one(out, "weft_bus_history_bytes", "gauge", "What is remembered, in memory",
                      f.history_bytes);
}

static void answer_metrics(weft_request *r, weft_server *s, struct chat *chat)
{
    static const weft_header headers[] = {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"},
                                          {"Cache-Control", "no-store"}};
    weft_stats stats = {.size = sizeof stats};
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    if (out) {
        weft_server_stats(s, &stats);
        figures_print_prometheus(&stats, out);
        print_chat_figures(chat, out);
        print_bus_figures(chat, out);
    }
    if (out && fclose(out) == 0)
        weft_request_respond(r, 200, headers, COUNT(headers), text, bytes);
    else
        answer_text(r, 500, "out of memory\n", NULL);
    free(text);
}

/* Does the peer sit on this machine? As weft_request_peer writes it; mapped, where one socket serves both
 * families. */
static bool is_loopback(const char *peer)
{
    static const char *const starts[] = {"127.", "[::1]:", "[::ffff:127."};

    for (size_t i = 0; i < COUNT(starts); i++)
        if (strncmp(peer, starts[i], strlen(starts[i])) == 0)
            return true;
    return strcmp(peer, "unix") == 0;
}

/* A proxy on this machine stands for whoever sent the request. */
static bool is_forwarded(const weft_request *r)
{
    static const char *const marks[] = {"Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"};

    for (size_t i = 0; i < COUNT(marks); i++)
        if (weft_request_header(r, marks[i], 0))
            return true;
    return false;
}

static bool may_read_metrics(const weft_request *r, enum web_metrics metrics)
{
    return metrics == WEB_METRICS_ALL ||
           (metrics == WEB_METRICS_LOCAL && is_loopback(weft_request_peer(r)) && !is_forwarded(r));
}

static void answer_health(weft_request *r, struct chat *chat)
{
    if (chat_is_connected(chat))
        answer_text(r, 200, "ok", NULL);
    else
        answer_text(r, 503, "the bus is not reached\n", NULL);
}

static void answer_chat(weft_request *r)
{
    if (weft_request_is_upgrade(r))
        weft_request_accept(r, NULL);
    else
        answer_text(r, 426, "this is a WebSocket\n", NULL); /* the library adds Upgrade */
}

static bool is_read_only(const char *method)
{
    return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
}

static bool is_known(const char *path)
{
    static const char *const paths[] = {"/", "/chat", "/healthz", "/metrics"};

    for (size_t i = 0; i < COUNT(paths); i++)
        if (strcmp(path, paths[i]) == 0)
            return true;
    return false;
}

void web_answer(weft_request *r, weft_server *s, struct chat *chat, enum web_metrics metrics)
{
    static const weft_header allow = {"Allow", "GET, HEAD"};
    const char *path = weft_request_path(r);

    if (!is_known(path))
        answer_text(r, 404, "not found\n", NULL);
    else if (!is_read_only(weft_request_method(r)))
        answer_text(r, 405, "method not allowed\n", &allow);
    else if (strcmp(path, "/chat") == 0)
        answer_chat(r);
    else if (strcmp(path, "/healthz") == 0)
        answer_health(r, chat);
    else if (strcmp(path, "/metrics") != 0)
        answer_page(r);
    else if (may_read_metrics(r, metrics))
        answer_metrics(r, s, chat);
    else
        answer_text(r, 403, "the figures are for this machine, see --metrics\n", NULL);
}
