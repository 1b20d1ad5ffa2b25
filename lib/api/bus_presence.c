/* Who is subscribed with a name, over all processes: a sorted set of a topic's own, by the time when each
 * name expires. A process writes its names again in good time, and when a node has come (back). */
#include <stdlib.h>
#include <string.h>

#include "api/bus_redis.h"
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

static void put_join(struct weft_bus *b, struct redis_node *n, const struct bus_topic *t, unsigned count)
{
    node_begin_script(b, n, JOIN_SCRIPT, 1, 1 + count);
    redis_put_key(b, &n->commands, 'p', t->name);
    resp_arg_number(&n->commands, b->opts.presence_timeout_ms);
}

void presence_begin(struct weft_bus *b, struct bus_topic *t, const char *name)
{
    struct redis_node *n = node_of(b, t->name);

    if (!n || !node_request(n, REQUEST_SET, t->name))
        return;
    put_join(b, n, t, 1);
    put_who(b, n, name);
}

void presence_end(struct weft_bus *b, struct bus_topic *t, const char *name)
{
    struct redis_node *n = node_of(b, t->name);

    if (!n || !node_request(n, REQUEST_SET, t->name))
        return;
    resp_command(&n->commands, 3);
    resp_arg_text(&n->commands, "ZREM");
    redis_put_key(b, &n->commands, 'p', t->name);
    put_who(b, n, name);
}

static void put_all(struct weft_bus *b, struct redis_node *n, struct bus_topic *t, unsigned tries)
{
    unsigned count = 0;
    struct request *q;

    for (struct bus_name *name = t->names; name; name = name->next)
        count++;
    if (!count)
        return;
    node_ask(n, tries);
    q = node_request(n, REQUEST_SET, t->name);
    if (!q)
        return;
    q->tries = tries;
    put_join(b, n, t, count);
    for (struct bus_name *name = t->names; name; name = name->next)
        put_who(b, n, name->name);
}

static void refresh(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    struct redis_node *n = t->names ? node_of(b, t->name) : NULL;

    (void)arg;
    if (n)
        put_all(b, n, t, 0);
}

void presence_refresh(struct weft_bus *b, uint64_t now_ms)
{
    struct redis *r = redis_of(b);

    if (now_ms < r->presence_at_ms)
        return;
    r->presence_at_ms = now_ms + b->opts.presence_timeout_ms / 3;
    bus_each_topic(b, refresh, NULL);
}

/* Refused for the moment: the next refresh tries again. */
bool presence_set_answer(struct weft_bus *b, struct redis_node *n, const struct request *q,
                         const struct resp *reply)
{
    struct bus_topic *t = bus_find_topic(b, q->topic, strlen(q->topic), false);
    struct redis_node *other;
    struct slots_reply refusal;

    if (resp_kind(reply) != RESP_ERROR)
        return true;
    slots_read_error(&refusal, resp_text(reply, NULL));
    if (refusal.what == REFUSED_MOVED || refusal.what == REFUSED_BY_CLUSTER)
        cluster_wants_map(b); /* all are written again then */
    other = refusal.what == REFUSED_ASK && t && q->tries < REDIS_TRIES_MAX ? cluster_redirect(b, n, &refusal)
                                                                           : NULL;
    if (other && other->phase == NODE_UP)
        put_all(b, other, t, q->tries + 1);
    return refusal.what != REFUSED_HERE;
}

/* --- asking --- */

/* False: the question stays with the caller. */
static bool put_question(struct weft_bus *b, struct redis_node *n, struct bus_ask *a, unsigned tries,
                         bool is_asking)
{
    struct request *q;

    node_ask(n, is_asking);
    q = node_request(n, REQUEST_ASK, NULL);
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
    struct redis_node *other = NULL;
    struct slots_reply refusal;

    if (resp_kind(reply) != RESP_ERROR) {
        tell_names(q->ask, reply);
        return true;
    }
    slots_read_error(&refusal, resp_text(reply, NULL));
    if ((refusal.what == REFUSED_ASK || refusal.what == REFUSED_MOVED) && q->tries < REDIS_TRIES_MAX)
        other = cluster_redirect(b, n, &refusal);
    if (!other || other->phase != NODE_UP ||
        !put_question(b, other, q->ask, q->tries + 1, refusal.what == REFUSED_ASK))
        bus_answer(q->ask, WEFT_E_AGAIN, NULL, 0);
    if (refusal.what == REFUSED_FOR_GOOD)
        LOG(WEFT_LOG_ERROR, 0, "bus: Redis refused to say who is there: %s", resp_text(reply, NULL));
    return refusal.what != REFUSED_HERE;
}
