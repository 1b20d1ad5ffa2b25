/* The bus between processes, through Redis 7: the backend's face; see bus_redis.h. */
#include "api/bus_redis.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "sync/wake.h"

#define SELDOM_MS       60000u /* between two lines that say the same */
#define CLOSE_LINGER_MS 200u   /* for taking back the names at the end */

/* --- small things --- */

static size_t key_of(const struct weft_bus *b, char *out, char what, const char *topic)
{
    return (size_t)snprintf(out, REDIS_KEY_ROOM, "%s%c:{t:%s}", b->opts.prefix, what, topic);
}

void redis_put_key(struct weft_bus *b, struct resp_link *l, char what, const char *topic)
{
    char key[REDIS_KEY_ROOM];

    resp_arg(l, key, key_of(b, key, what, topic));
}

void redis_put_channel(struct weft_bus *b, struct resp_link *l, const char *topic)
{
    resp_arg_begin(l, strlen(redis_of(b)->channel_head) + strlen(topic) + 1);
    resp_piece(l, redis_of(b)->channel_head, strlen(redis_of(b)->channel_head));
    resp_piece(l, topic, strlen(topic));
    resp_piece(l, "}", 1);
    resp_arg_end(l);
}

uint16_t redis_slot(const struct weft_bus *b, const char *topic)
{
    char key[REDIS_KEY_ROOM];

    return slots_of_key(key, key_of(b, key, 's', topic)); /* the same for all of a topic */
}

uint32_t redis_shortened(struct weft_bus *b, uint32_t ms)
{
    return ms - (uint32_t)(bus_random(b) % (ms / 2 + 1));
}

uint32_t redis_doubled(uint32_t ms, const weft_bus_opts *o)
{
    if (!ms)
        return o->reconnect_min_ms;
    return ms > o->reconnect_max_ms / 2 ? o->reconnect_max_ms : 2 * ms;
}

uint64_t redis_earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Arguments that are repeated may be cut off, in the password's midst too, so none of them stays. */
const char *redis_quote(const struct weft_bus *b, char *out, const char *error)
{
    const char *password = redis_of(b)->url.password;
    const char *secret = password && *password ? strstr(error, password) : NULL;
    const char *args = strstr(error, ", with args");
    const char *end = secret && (!args || secret < args) ? secret : args;

    snprintf(out, RESP_WHY_BYTES, "%.*s%s", (int)(end ? end - error : (ptrdiff_t)strlen(error)), error,
             end ? " ..." : "");
    return out;
}

static void tell_line(enum seldom which, const char *detail, uint64_t left_out)
{
    static const struct {
        enum weft_log_level level;
        const char *text;
    } lines[SELDOMS] = {{WEFT_LOG_ERROR, "Redis refused a message"},
                        {WEFT_LOG_WARNING, "what stood in Redis did not fit, and a new epoch began"},
                        {WEFT_LOG_WARNING, "something came that is no message of weft"},
                        {WEFT_LOG_ERROR, "Redis refused to say who is there"}};

    if (left_out)
        LOG(lines[which].level, 0, "bus: %s: %s (and %llu times before)", lines[which].text, detail,
            (unsigned long long)left_out);
    else
        LOG(lines[which].level, 0, "bus: %s: %s", lines[which].text, detail);
}

void redis_log_seldom(struct weft_bus *b, enum seldom which, const char *detail)
{
    struct seldom_line *l = &redis_of(b)->lines[which];
    uint64_t now_ms = clock_now_ms();

    if (now_ms < l->again_at_ms) {
        l->left_out++;
        return;
    }
    tell_line(which, detail, l->left_out);
    *l = (struct seldom_line){.again_at_ms = now_ms + SELDOM_MS};
}

void redis_tell_state(struct weft_bus *b, const char *why)
{
    if (cluster_is_whole(redis_of(b)))
        bus_set_state(b, WEFT_BUS_UP, "");
    else if (atomic_load_explicit(&b->state, memory_order_relaxed) != WEFT_BUS_CONNECTING)
        bus_set_state(b, WEFT_BUS_DOWN, why);
}

void redis_tell_failure(struct weft_bus *b, const char *why)
{
    struct redis *r = redis_of(b);
    bool is_first = !r->has_told_failure;

    r->has_told_failure = true;
    if (is_first && b->opts.on_state &&
        atomic_load_explicit(&b->state, memory_order_relaxed) == WEFT_BUS_CONNECTING)
        b->opts.on_state(b, WEFT_BUS_CONNECTING, why, b->opts.app);
}

/* --- a turn --- */

static uint64_t next_time(const struct weft_bus *b, uint64_t now_ms)
{
    const struct redis *r = redis_of(b);
    uint64_t at = redis_earlier(cluster_next_time(b), lanes_next_time(b, now_ms));

    at = redis_earlier(at, redis_earlier(presence_next_time(r), r->refused_at_ms));
    if (r->fills_later.first)
        at = redis_earlier(at, r->fills_at_ms);
    for (size_t i = 0; i < r->node_count; i++)
        at = redis_earlier(at, node_next_time(b, r->nodes[i]));
    return at;
}

static uint64_t redis_turn(struct weft_bus *b, struct pollfd *fds, nfds_t *count)
{
    struct redis *r = redis_of(b);
    uint64_t now_ms = clock_now_ms();

    cluster_turn(b, now_ms);
    for (size_t i = 0; i < r->node_count; i++)
        node_turn(b, r->nodes[i], now_ms);
    presence_refresh(b, now_ms);
    channels_again(b, now_ms);
    fills_again(b, now_ms);
    lanes_send(b, now_ms);
    for (size_t i = 0; i < r->node_count; i++)
        node_flush(b, r->nodes[i]);
    lanes_tell_settled(b);
    *count = 0;
    for (size_t i = 0; i < r->node_count; i++)
        node_poll(r->nodes[i], fds, count);
    return next_time(b, now_ms);
}

static void redis_polled(struct weft_bus *b, const struct pollfd *fds, nfds_t count)
{
    struct redis *r = redis_of(b);

    for (size_t i = 0; i < r->node_count; i++)
        node_polled(b, r->nodes[i], fds, count > 0);
}

static bool redis_is_drained(struct weft_bus *b)
{
    return !redis_of(b)->oldest;
}

/* --- beginning and end --- */

static void take_back_names(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    (void)arg;
    for (struct bus_name *n = t->names; n; n = n->next)
        presence_end(b, t, n->name);
}

/* What is left to be sent on command connections, from fds[1] on; how many. */
static nfds_t poll_output(struct redis *r, struct pollfd *fds)
{
    nfds_t count = 1;

    for (size_t i = 0; i < r->node_count; i++) {
        struct redis_node *n = r->nodes[i];

        if (n->phase == NODE_UP && resp_flush(&n->commands) == WEFT_OK && resp_has_output(&n->commands))
            fds[count++] = (struct pollfd){.fd = n->commands.fd, .events = POLLOUT};
    }
    return count;
}

/* Nobody waits for the answers, only for the bytes to leave. */
static void say_goodbye(struct weft_bus *b)
{
    struct await_limit limit = {.deadline_ms = clock_now_ms() + CLOSE_LINGER_MS, .cancel_fd = -1};
    struct pollfd fds[1 + REDIS_NODES_MAX];
    nfds_t count;

    bus_each_topic(b, take_back_names, NULL);
    while ((count = poll_output(redis_of(b), fds)) > 1)
        if (await_fds(fds, count, &limit, AWAIT_FOREVER) != WEFT_OK)
            return;
}

static void redis_stop(struct weft_bus *b)
{
    struct redis *r = redis_of(b);

    say_goodbye(b);
    for (unsigned i = 0; i < SELDOMS; i++)
        if (r->lines[i].left_out)
            tell_line(i, "until the bus was closed", r->lines[i].left_out);
    r->is_stopping = true;
    wake_tell(b->stop_fd); /* attempts to connect end now */
    for (size_t i = 0; i < r->node_count; i++)
        node_close(b, r->nodes[i]);
    presence_stop(r);
    fills_stop(r);
    lanes_stop(b);
    if (r->tls)
        tls_thread_leave();
}

static int make_tls(struct weft_bus *b)
{
    struct redis *r = redis_of(b);
    struct tls_options o = {.role = TLS_CLIENT,
                            .own = {.cert_file = b->opts.cert_file, .key_file = b->opts.key_file},
                            .ca_file = b->opts.ca_file,
                            .insecure = b->opts.insecure,
                            .alpn = ""};
    char why[RESP_WHY_BYTES];
    int rc = tls_context_new(&r->tls, &o, why, sizeof why);

    if (rc != WEFT_OK) {
        LOG(WEFT_LOG_ERROR, 0, "bus: TLS: %s", why);
        return rc;
    }
    r->scratch = tls_scratch_new(0, 0);
    return r->scratch ? WEFT_OK : WEFT_E_NOMEM;
}

static void name_channels(struct redis *r, const char *prefix)
{
    char db[16] = "";

    if (r->url.db)
        snprintf(db, sizeof db, "%u", r->url.db);
    snprintf(r->channel_head, sizeof r->channel_head, "%sc%s:{t:", prefix, db);
}

static int redis_open(struct weft_bus *b, const struct bus_url *url)
{
    struct redis *r = mem_calloc(1, sizeof *r);
    int rc;

    if (!r)
        return WEFT_E_NOMEM;
    b->data = r;
    snprintf(r->instance, sizeof r->instance, "%016llx%016llx", (unsigned long long)bus_random(b),
             (unsigned long long)bus_random(b));
    if (b->opts.history_file)
        LOG(WEFT_LOG_WARNING, 0, "bus: history_file is for local: only; Redis keeps the histories");
    if (bus_url_copy(&r->url, url) != WEFT_OK)
        return WEFT_E_NOMEM;
    name_channels(r, b->opts.prefix);
    rc = cluster_open(b);
    if (rc != WEFT_OK)
        return rc;
    return r->url.is_secure ? make_tls(b) : WEFT_OK;
}

static void redis_free(struct weft_bus *b)
{
    struct redis *r = redis_of(b);

    if (!r)
        return;
    cluster_free(r);
    bus_url_fini(&r->url);
    if (r->scratch)
        tls_scratch_free(r->scratch);
    tls_context_unref(r->tls);
    mem_free(r);
}

const struct bus_backend bus_redis = {
    .open = redis_open,
    .publish = lanes_put,
    .topic_begin = channel_begin,
    .topic_end = channel_end,
    .sub_waits = fill_sub_waits,
    .name_begin = presence_begin,
    .name_end = presence_end,
    .ask = presence_ask,
    .turn = redis_turn,
    .polled = redis_polled,
    .is_drained = redis_is_drained,
    .stop = redis_stop,
    .free = redis_free,
};
