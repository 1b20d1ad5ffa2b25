/* Who is subscribed with a name, over all processes: a sorted set of a topic's own, by the time when each
 * name expires. A process writes its names again in good time, and when a node has come (back). One that
 * could not be taken back, because its node was away or its slot on the way to another, is taken back then. */
#include <stdlib.h>
#include <string.h>

#include "api/bus_redis.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

static struct redis_node *node_of(struct weft_bus *b, const char *topic)
{
    struct redis *r = redis_of(b);
    struct redis_node *n = cluster_owner(r, r->mode == REDIS_CLUSTER ? redis_slot(b, topic) : 0);

    return n && n->phase == NODE_UP ? n : NULL;
}

static void put_who(struct weft_bus *b, struct redis_node *n, const char *name)
{
    resp_arg_begin(&n->commands, REDIS_INSTANCE + strlen(name));
    resp_piece(&n->commands, redis_of(b)->instance, REDIS_INSTANCE);
    resp_piece(&n->commands, name, strlen(name));
    resp_arg_end(&n->commands);
}

static const char *name_of(const struct request *q)
{
    return q->topic + strlen(q->topic) + 1;
}

static bool is_here(struct weft_bus *b, const char *topic, const char *name)
{
    const struct bus_topic *t = bus_find_topic(b, topic, strlen(topic), false);
    bool is_found = false;

    for (const struct bus_name *n = t ? t->names : NULL; n && !is_found; n = n->next)
        is_found = strcmp(n->name, name) == 0;
    return is_found;
}

/* Where what was refused is welcome at once. NULL: nowhere that is known and up. */
static struct redis_node *elsewhere(struct weft_bus *b, struct redis_node *n, const struct request *q,
                                    const struct slots_reply *refusal)
{
    struct redis_node *other = NULL;

    if ((refusal->what == REFUSED_ASK || refusal->what == REFUSED_MOVED) && q->tries < REDIS_TRIES_MAX)
        other = cluster_redirect(b, n, refusal);
    if (refusal->what == REFUSED_BY_CLUSTER)
        cluster_wants_map(b);
    return other && other->phase == NODE_UP ? other : NULL;
}

/* --- coming --- */

/* NULL: no memory. */
static struct request *begin_name(struct redis_node *n, enum request_kind kind, const char *topic,
                                  const char *name, unsigned tries, bool is_asking)
{
    struct request *q;

    node_ask(n, is_asking);
    q = node_request_name(n, kind, topic, name);
    if (q)
        q->tries = tries;
    return q;
}

/* count: of the names that follow. */
static bool begin_join(struct weft_bus *b, struct redis_node *n, const char *topic, const char *name,
                       unsigned count, unsigned tries, bool is_asking)
{
    if (!begin_name(n, REQUEST_SET, topic, name, tries, is_asking))
        return false;
    node_begin_script(b, n, JOIN_SCRIPT, 1, 1 + count);
    redis_put_key(b, &n->commands, 'p', topic);
    resp_arg_number(&n->commands, b->opts.presence_timeout_ms);
    return true;
}

static void put_one(struct weft_bus *b, struct redis_node *n, const char *topic, const char *name,
                    unsigned tries, bool is_asking)
{
    if (begin_join(b, n, topic, name, 1, tries, is_asking))
        put_who(b, n, name);
}

static void put_all(struct weft_bus *b, struct redis_node *n, struct bus_topic *t, unsigned tries,
                    bool is_asking)
{
    unsigned count = 0;

    for (struct bus_name *name = t->names; name; name = name->next)
        count++;
    if (!count || !begin_join(b, n, t->name, "", count, tries, is_asking))
        return;
    for (struct bus_name *name = t->names; name; name = name->next)
        put_who(b, n, name->name);
}

void presence_begin(struct weft_bus *b, struct bus_topic *t, const char *name)
{
    struct redis_node *n = node_of(b, t->name);

    if (n)
        put_one(b, n, t->name, name, 0, false);
}

/* Refused for the moment: the next refresh tries again, which is soon when a slot has moved or a node has
 * come. */
bool presence_set_answer(struct weft_bus *b, struct redis_node *n, const struct request *q,
                         const struct resp *reply)
{
    struct bus_topic *t = bus_find_topic(b, q->topic, strlen(q->topic), false);
    struct redis_node *other;
    struct slots_reply refusal;

    if (resp_kind(reply) != RESP_ERROR)
        return true;
    slots_read_error(&refusal, resp_text(reply, NULL));
    other = elsewhere(b, n, q, &refusal);
    if (other && t && !*name_of(q))
        put_all(b, other, t, q->tries + 1, refusal.what == REFUSED_ASK);
    else if (other && is_here(b, q->topic, name_of(q)))
        put_one(b, other, q->topic, name_of(q), q->tries + 1, refusal.what == REFUSED_ASK);
    return refusal.what != REFUSED_HERE;
}

/* --- leaving --- */

static void put_leave(struct weft_bus *b, struct redis_node *n, const char *topic, const char *name,
                      uint64_t until_ms, unsigned tries, bool is_asking)
{
    struct request *q = begin_name(n, REQUEST_LEAVE, topic, name, tries, is_asking);

    if (!q)
        return;
    q->leave_until_ms = until_ms;
    resp_command(&n->commands, 3);
    resp_arg_text(&n->commands, "ZREM");
    redis_put_key(b, &n->commands, 'p', topic);
    put_who(b, n, name);
}

/* Nobody is asked to wait for it, so without memory or room it is left to expire. */
static void keep_leave(struct weft_bus *b, const char *topic, const char *name, uint64_t until_ms)
{
    struct redis *r = redis_of(b);
    size_t topic_bytes = strlen(topic) + 1, name_bytes = strlen(name) + 1;
    struct redis_leave *l = NULL;
    uint64_t now_ms = clock_now_ms();

    if (now_ms < until_ms && r->leave_count < REDIS_LEAVES_MAX)
        l = mem_alloc(sizeof *l + topic_bytes + name_bytes);
    if (!l)
        return;
    l->until_ms = until_ms;
    l->name = memcpy(l->topic + topic_bytes, name, name_bytes);
    memcpy(l->topic, topic, topic_bytes);
    if (r->leave_count++ == 0)
        r->leaves_at_ms = now_ms + b->opts.reconnect_max_ms;
    queue_put(&r->leaves, &l->node);
}

void presence_end(struct weft_bus *b, struct bus_topic *t, const char *name)
{
    struct redis_node *n = node_of(b, t->name);
    uint64_t until_ms = clock_now_ms() + b->opts.presence_timeout_ms;

    if (n)
        put_leave(b, n, t->name, name, until_ms, 0, false);
    else
        keep_leave(b, t->name, name, until_ms);
}

void presence_leave_failed(struct weft_bus *b, const struct request *q)
{
    keep_leave(b, q->topic, name_of(q), q->leave_until_ms);
}

/* Who has come back meanwhile stays: that may have been written where this would take it back. */
bool presence_leave_answer(struct weft_bus *b, struct redis_node *n, const struct request *q,
                           const struct resp *reply)
{
    struct redis_node *other;
    struct slots_reply refusal;

    if (resp_kind(reply) != RESP_ERROR)
        return true;
    slots_read_error(&refusal, resp_text(reply, NULL));
    other = elsewhere(b, n, q, &refusal);
    if (other && !is_here(b, q->topic, name_of(q)))
        put_leave(b, other, q->topic, name_of(q), q->leave_until_ms, q->tries + 1,
                  refusal.what == REFUSED_ASK);
    else if (!other && refusal.what != REFUSED_FOR_GOOD)
        keep_leave(b, q->topic, name_of(q), q->leave_until_ms);
    return refusal.what != REFUSED_HERE;
}

/* What finds no node is kept, for the rest of its time. */
static void send_leaves(struct weft_bus *b, uint64_t now_ms)
{
    struct redis *r = redis_of(b);
    struct queue still = {0};
    struct redis_leave *l;

    r->leaves_at_ms = now_ms + b->opts.reconnect_max_ms;
    while ((l = queue_take(&r->leaves))) {
        struct redis_node *n = node_of(b, l->topic);

        if (!n && now_ms < l->until_ms) {
            queue_put(&still, &l->node);
            continue;
        }
        if (n && now_ms < l->until_ms && !is_here(b, l->topic, l->name))
            put_leave(b, n, l->topic, l->name, l->until_ms, 0, false);
        r->leave_count--;
        mem_free(l);
    }
    queue_put_before(&r->leaves, &still);
}

/* --- again --- */

static void refresh(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    struct redis_node *n = t->names ? node_of(b, t->name) : NULL;

    (void)arg;
    if (n)
        put_all(b, n, t, 0, false);
}

void presence_refresh(struct weft_bus *b, uint64_t now_ms)
{
    struct redis *r = redis_of(b);
    bool is_due = now_ms >= r->presence_at_ms;

    if (r->leaves.first && (is_due || now_ms >= r->leaves_at_ms))
        send_leaves(b, now_ms);
    if (!is_due)
        return;
    r->presence_at_ms = now_ms + b->opts.presence_timeout_ms / 3;
    bus_each_topic(b, refresh, NULL);
}

uint64_t presence_next_time(const struct redis *r)
{
    return r->leaves.first ? redis_earlier(r->presence_at_ms, r->leaves_at_ms) : r->presence_at_ms;
}

void presence_stop(struct redis *r)
{
    struct redis_leave *l;

    while ((l = queue_take(&r->leaves)))
        mem_free(l);
    r->leave_count = 0;
}

/* --- asking --- */

/* False: the question stays with the caller. */
static bool put_question(struct weft_bus *b, struct redis_node *n, struct bus_ask *a, unsigned tries,
                         bool is_asking)
{
    struct request *q;

    node_ask(n, is_asking);
    q = node_request(n, REQUEST_ASK);
    if (!q)
        return false;
    q->ask = a;
    q->tries = tries;
    node_begin_script(b, n, ASK_SCRIPT, 1, 0);
    redis_put_key(b, &n->commands, 'p', a->topic);
    return true;
}

void presence_ask(struct weft_bus *b, struct bus_ask *a)
{
    struct redis_node *n = node_of(b, a->topic);

    if (!n || !put_question(b, n, a, 0, false))
        bus_answer(a, WEFT_E_AGAIN, NULL, 0);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* An instance before each name; several instances may have the same. */
static void tell_names(struct bus_ask *a, const struct resp *reply)
{
    size_t count = resp_count(reply), kept = 0, n = 0, bytes;
    const char **names = mem_alloc((count + 1) * sizeof *names);

    if (!names) {
        bus_answer(a, WEFT_E_NOMEM, NULL, 0);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const char *who = resp_text(resp_item(reply, i), &bytes);
        if (bytes > REDIS_INSTANCE)
            names[n++] = who + REDIS_INSTANCE;
    }
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; i < n; i++)
        if (!kept || strcmp(names[kept - 1], names[i]) != 0)
            names[kept++] = names[i];
    bus_answer(a, WEFT_OK, names, kept);
    mem_free(names);
}

bool presence_answer(struct weft_bus *b, struct redis_node *n, const struct request *q,
                     const struct resp *reply)
{
    struct redis_node *other;
    struct slots_reply refusal;
    char why[RESP_WHY_BYTES];

    if (resp_kind(reply) != RESP_ERROR) {
        tell_names(q->ask, reply);
        return true;
    }
    slots_read_error(&refusal, resp_text(reply, NULL));
    other = elsewhere(b, n, q, &refusal);
    if (!other || !put_question(b, other, q->ask, q->tries + 1, refusal.what == REFUSED_ASK))
        bus_answer(q->ask, WEFT_E_AGAIN, NULL, 0);
    if (refusal.what == REFUSED_FOR_GOOD)
        redis_log_seldom(b, SELDOM_NAMES, redis_quote(b, why, resp_text(reply, NULL)));
    return refusal.what != REFUSED_HERE;
}
