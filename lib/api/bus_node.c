/* One node of Redis: its connections, their beginning and end. */
#include <stdio.h>
#include <string.h>

#include "api/bus_redis.h"
#include "api/bus_scripts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

static const char *const scripts[SCRIPTS] = {SCRIPT_PUBLISH, SCRIPT_PLAIN, SCRIPT_FILL, SCRIPT_JOIN,
                                             SCRIPT_ASK};

/* --- a node --- */

struct redis_node *node_new(const char *host, uint16_t port)
{
    struct redis_node *n = mem_calloc(1, sizeof *n);

    if (!n)
        return NULL;
    n->at = (struct bus_seed){.host = host ? mem_strdup(host) : NULL, .port = port};
    if (host && !n->at.host) {
        mem_free(n);
        return NULL;
    }
    resp_init(&n->commands);
    resp_init(&n->subscriptions);
    n->asked_end = &n->asked;
    return n;
}

bool node_move(struct redis_node *n, const char *host, uint16_t port)
{
    char *copy = mem_strdup(host);

    if (!copy)
        return false;
    mem_free(n->at.host);
    n->at = (struct bus_seed){copy, port};
    return true;
}

void node_free(struct redis_node *n)
{
    mem_free(n->at.host);
    mem_free(n);
}

/* --- commands --- */

static struct request *add_request(struct redis_node *n, enum request_kind kind, size_t word_bytes)
{
    struct request *q = mem_calloc(1, sizeof *q + word_bytes);

    if (!q) {
        n->commands.has_failed = true;
        return NULL;
    }
    q->kind = kind;
    if (!n->requests.first)
        n->heard_ms = clock_now_ms(); /* silence is counted from the first that owes an answer */
    queue_put(&n->requests, &q->node);
    return q;
}

struct request *node_request(struct redis_node *n, enum request_kind kind)
{
    return add_request(n, kind, 0);
}

struct request *node_request_name(struct redis_node *n, enum request_kind kind, const char *topic,
                                  const char *name)
{
    size_t topic_bytes = strlen(topic) + 1, name_bytes = strlen(name) + 1;
    struct request *q = add_request(n, kind, topic_bytes + name_bytes);

    if (q) {
        memcpy(q->topic, topic, topic_bytes);
        memcpy(q->topic + topic_bytes, name, name_bytes);
    }
    return q;
}

static void put_word(struct resp_link *l, const char *word)
{
    resp_command(l, 1);
    resp_arg_text(l, word);
}

void node_ask(struct redis_node *n, bool is_asking)
{
    if (is_asking && node_request(n, REQUEST_ASKING))
        put_word(&n->commands, "ASKING");
}

void node_begin_script(struct weft_bus *b, struct redis_node *n, enum script which, unsigned keys,
                       unsigned args)
{
    resp_command(&n->commands, 3 + keys + args);
    resp_arg_text(&n->commands, "EVALSHA");
    resp_arg_text(&n->commands, redis_of(b)->sha[which]);
    resp_arg_number(&n->commands, keys);
}

/* --- down --- */

static void give_up_request(struct weft_bus *b, struct redis_node *n, struct request *q)
{
    switch (q->kind) {
    case REQUEST_PUBLISH:
        lane_give_back(b, n, q->publish);
        break;
    case REQUEST_FILL:
        fill_node_failed(b, n, q->fill);
        break;
    case REQUEST_ASK:
        bus_answer(q->ask, redis_of(b)->is_stopping ? WEFT_E_CLOSED : WEFT_E_AGAIN, NULL, 0);
        break;
    case REQUEST_LEAVE:
        presence_leave_failed(b, q);
        break;
    case REQUEST_MAP:
        redis_of(b)->is_map_asked = false;
        break;
    default:
        break;
    }
    mem_free(q);
}

void node_close(struct weft_bus *b, struct redis_node *n)
{
    struct request *q;

    if (n->dial)
        dial_drop(n->dial);
    n->dial = NULL;
    n->phase = NODE_DOWN;
    resp_close(&n->commands);
    resp_close(&n->subscriptions);
    while ((q = queue_take(&n->requests)))
        give_up_request(b, n, q);
    channels_forget(b, n);
    n->marks_sent = n->marks_heard = 0;
    n->wants_mark = n->has_more = false;
    n->refusal[0] = '\0';
}

void node_down(struct weft_bus *b, struct redis_node *n, const char *why)
{
    char text[SLOT_HOST_BYTES_MAX + RESP_WHY_BYTES + 16];

    if (n->phase == NODE_UP) {
        BUS_COUNT(b, disconnects);
        if (clock_now_ms() - n->up_at_ms >= b->opts.reconnect_max_ms)
            n->retry_ms = 0;
    }
    node_close(b, n);
    if (n->at.host)
        snprintf(text, sizeof text, "%s:%u: %s", n->at.host, n->at.port, why);
    else
        snprintf(text, sizeof text, "%s", why);
    /* Once aloud, then it is known. */
    LOG(n->retry_ms || !n->is_wanted ? WEFT_LOG_INFO : WEFT_LOG_WARNING, 0, "bus: no connection to Redis: %s",
        text);
    n->retry_ms = redis_doubled(n->retry_ms, &b->opts);
    n->retry_at_ms = clock_now_ms() + redis_shortened(b, n->retry_ms);
    cluster_node_failed(b, n);
    redis_tell_failure(b, text);
    redis_tell_state(b, text);
}

/* --- connecting and greeting --- */

static void begin_dial(struct weft_bus *b, struct redis_node *n, uint64_t now_ms)
{
    const char *why = NULL;

    n->dial = dial_begin(b, &n->at, now_ms, &why);
    if (n->dial)
        n->phase = NODE_DIALING;
    else
        node_down(b, n, why);
}

static void put_auth(struct redis *r, struct resp_link *l)
{
    resp_command(l, r->url.user ? 3 : 2);
    resp_arg_text(l, "AUTH");
    if (r->url.user)
        resp_arg_text(l, r->url.user);
    resp_arg_text(l, r->url.password);
}

static void ask_role(struct redis_node *n)
{
    if (n->is_role_hidden && node_request(n, REQUEST_OK))
        put_word(&n->commands, "PING");
    else if (!n->is_role_hidden && node_request(n, REQUEST_ROLE))
        put_word(&n->commands, "ROLE");
}

static void load_script(struct redis_node *n, unsigned which)
{
    struct request *q = node_request(n, REQUEST_SCRIPT);

    if (!q)
        return;
    q->script = which;
    resp_command(&n->commands, 3);
    resp_arg_text(&n->commands, "SCRIPT");
    resp_arg_text(&n->commands, "LOAD");
    resp_arg_text(&n->commands, scripts[which]);
}

/* The map comes before the database is chosen: a cluster has none, and that is said clearly. */
static void greet(struct weft_bus *b, struct redis_node *n)
{
    struct redis *r = redis_of(b);

    if (r->url.password && node_request(n, REQUEST_OK)) {
        put_auth(r, &n->commands);
        put_auth(r, &n->subscriptions);
    }
    if (node_request(n, REQUEST_MAP)) {
        resp_command(&n->commands, 2);
        resp_arg_text(&n->commands, "CLUSTER");
        resp_arg_text(&n->commands, "SLOTS");
    }
    if (r->url.db && node_request(n, REQUEST_OK)) {
        resp_command(&n->commands, 2);
        resp_arg_text(&n->commands, "SELECT");
        resp_arg_number(&n->commands, r->url.db);
    }
    n->is_role_hidden = false;
    ask_role(n);
    for (unsigned i = 0; i < SCRIPTS; i++)
        load_script(n, i);
    n->is_greeted = false;
    n->phase = NODE_GREETING;
    n->heard_ms = clock_now_ms();
    n->check_at_ms = 0;
    channels_put_mark(n);
}

static void end_dial(struct weft_bus *b, struct redis_node *n)
{
    char why[RESP_WHY_BYTES];
    int rc = dial_take(n->dial, &n->commands, &n->subscriptions, why);

    n->dial = NULL;
    n->phase = NODE_DOWN;
    if (rc != WEFT_OK) {
        node_down(b, n, why);
        return;
    }
    n->commands.scratch = n->subscriptions.scratch = redis_of(b)->scratch;
    greet(b, n);
}

static void come_up(struct weft_bus *b, struct redis_node *n)
{
    struct redis *r = redis_of(b);

    n->phase = NODE_UP;
    n->up_at_ms = clock_now_ms();
    r->presence_at_ms = 0;
    BUS_COUNT(b, connects);
    channels_place(b);
    redis_tell_state(b, "");
}

void node_look_if_greeted(struct weft_bus *b, struct redis_node *n)
{
    if (n->phase == NODE_GREETING && n->is_greeted && !n->requests.first)
        come_up(b, n);
}

/* --- a turn --- */

static bool is_open(const struct redis_node *n)
{
    return n->phase == NODE_GREETING || n->phase == NODE_UP;
}

static bool owes_mark(const struct redis_node *n)
{
    return n->marks_sent > n->marks_heard;
}

static bool is_silent(const struct weft_bus *b, const struct redis_node *n, uint64_t now_ms)
{
    uint32_t most = b->opts.reply_timeout_ms;

    return is_open(n) && ((n->requests.first && now_ms >= n->heard_ms + most) ||
                          (owes_mark(n) && now_ms >= n->sub_heard_ms + most));
}

/* Ask whether it is still there, and whether it is still a master. */
static void check(struct weft_bus *b, struct redis_node *n, uint64_t now_ms)
{
    if (n->phase != NODE_UP || now_ms < n->check_at_ms)
        return;
    n->check_at_ms = now_ms + b->opts.reply_timeout_ms / 2 + 1;
    ask_role(n);
    channels_put_mark(n);
}

void node_turn(struct weft_bus *b, struct redis_node *n, uint64_t now_ms)
{
    if (n->phase == NODE_DOWN && now_ms >= n->retry_at_ms)
        begin_dial(b, n, now_ms);
    if (is_silent(b, n, now_ms))
        answers_read(b, n, true, true); /* perhaps it was we who were busy */
    if (is_silent(b, n, now_ms))
        node_down(b, n, "no answer in time");
    check(b, n, now_ms);
}

void node_flush(struct weft_bus *b, struct redis_node *n)
{
    if (!is_open(n))
        return;
    if (n->wants_mark)
        channels_put_mark(n);
    if (resp_flush(&n->commands) != WEFT_OK || resp_flush(&n->subscriptions) != WEFT_OK)
        node_down(b, n, "the connection broke");
}

uint64_t node_next_time(const struct weft_bus *b, const struct redis_node *n)
{
    uint64_t at = n->phase == NODE_UP ? n->check_at_ms : UINT64_MAX;

    if (n->has_more)
        return 0;
    if (n->phase == NODE_DOWN)
        return n->retry_at_ms;
    if (n->phase == NODE_DIALING)
        return UINT64_MAX;
    if (n->requests.first)
        at = redis_earlier(at, n->heard_ms + b->opts.reply_timeout_ms);
    if (owes_mark(n))
        at = redis_earlier(at, n->sub_heard_ms + b->opts.reply_timeout_ms);
    return at;
}

static struct pollfd poll_of(const struct resp_link *l)
{
    return (struct pollfd){.fd = l->fd, .events = (short)(POLLIN | (resp_has_output(l) ? POLLOUT : 0))};
}

void node_poll(struct redis_node *n, struct pollfd *fds, nfds_t *count)
{
    n->fd_at = *count;
    if (n->phase == NODE_DIALING) {
        fds[(*count)++] = (struct pollfd){.fd = dial_fd(n->dial), .events = POLLIN};
    } else if (is_open(n)) {
        fds[(*count)++] = poll_of(&n->commands);
        fds[(*count)++] = poll_of(&n->subscriptions);
    }
    n->fd_count = *count - n->fd_at;
}

/* What was polled may be gone: another node's answer came first. */
void node_polled(struct weft_bus *b, struct redis_node *n, const struct pollfd *fds, bool has_events)
{
    const struct pollfd *own = &fds[n->fd_at];

    if (n->phase == NODE_DIALING && n->fd_count == 1) {
        if (has_events && own[0].revents)
            end_dial(b, n);
    } else if (is_open(n) && n->fd_count == 2) {
        answers_read(b, n, has_events && own[0].revents, has_events && own[1].revents);
    }
}
