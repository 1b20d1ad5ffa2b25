/* The bus within one process: what is published is remembered where a rule says so, and delivered at once. */
#include <string.h>

#include "api/bus_keep.h"
#include "api/bus_local.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

/* data: NULL: histories are in memory only. */
static struct keep *keep_of(struct weft_bus *b)
{
    return b->data;
}

/* Of this process alone when it is in memory; of the calendar when it must outlive it. */
static uint64_t history_ms(struct weft_bus *b)
{
    return keep_of(b) ? clock_wall_ms() : clock_now_ms();
}

static int local_open(struct weft_bus *b, const struct bus_url *url)
{
    (void)url;
    atomic_store_explicit(&b->state, WEFT_BUS_UP, memory_order_relaxed); /* no thread yet */
    if (!b->opts.history_file)
        return WEFT_OK;
    b->data = keep_new(b);
    return b->data ? keep_open(b->data, b->opts.history_file) : WEFT_E_NOMEM;
}

/* --- topics that remember, by use --- */

/* Those in use are not in the order at all, so that room is made without a look at them: they are bounded by
 * subscriptions_max, and by queue_bytes_max while their messages wait for the file. */
static bool is_in_use(const struct bus_topic *t)
{
    return t->conns + t->listeners || keep_needs(t);
}

static void take_from_order(struct weft_bus *b, struct bus_topic *t)
{
    if (!t->is_idle)
        return;
    *(t->older ? &t->older->newer : &b->oldest) = t->newer;
    *(t->newer ? &t->newer->older : &b->newest) = t->older;
    t->older = t->newer = NULL;
    t->is_idle = false;
}

static void put_newest(struct weft_bus *b, struct bus_topic *t)
{
    t->older = b->newest;
    t->newer = NULL;
    *(b->newest ? &b->newest->newer : &b->oldest) = t;
    b->newest = t;
    t->is_idle = true;
}

void local_used(struct weft_bus *b, struct bus_topic *t)
{
    take_from_order(b, t);
    if (!is_in_use(t))
        put_newest(b, t);
}

static void forget(struct weft_bus *b, struct bus_topic *t)
{
    if (keep_of(b))
        keep_forget(keep_of(b), t);
    take_from_order(b, t);
    b->history_count--;
    bus_remove_topic(b, t);
}

void local_make_room(struct weft_bus *b)
{
    while (b->oldest && b->history_count > b->opts.topics_max)
        forget(b, b->oldest);
}

/* It has its rule and is in the table. Room is made for it before it can be forgotten itself. */
static void begin_history(struct weft_bus *b, struct bus_topic *t)
{
    t->history.at.epoch = bus_random(b);
    if (keep_of(b))
        keep_topic(keep_of(b), t);
    b->history_count++;
    local_make_room(b);
    local_used(b, t);
}

static void local_topic_begin(struct weft_bus *b, struct bus_topic *t)
{
    if (t->rule && !t->history.at.epoch)
        begin_history(b, t);
    else if (t->rule)
        local_used(b, t);
}

static void local_topic_end(struct weft_bus *b, struct bus_topic *t)
{
    if (t->rule)
        local_used(b, t);
    else
        bus_remove_topic(b, t);
}

static struct bus_topic *topic_with_history(struct weft_bus *b, const char *name)
{
    struct bus_topic *t = bus_new_topic(name);

    if (!t)
        return NULL;
    bus_enter_topic(b, t);
    begin_history(b, t);
    return t;
}

struct bus_topic *local_enter_kept(struct weft_bus *b, const char *name)
{
    struct bus_topic *t = bus_new_topic(name);

    if (!t)
        return NULL;
    bus_enter_topic(b, t);
    b->history_count++;
    return t;
}

static void remember(struct weft_bus *b, struct bus_topic *t, weft_msg *m, uint64_t time_ms)
{
    bus_history_prune(&t->history, time_ms);
    bus_history_put(&t->history, m, time_ms, 0);
    local_used(b, t);
}

void local_pass_on(struct weft_bus *b, struct bus_topic *t, struct bus_publish *p, uint64_t time_ms)
{
    weft_bus_item item = {.topic = p->topic, .msg = p->msg};

    if (t && p->rule) {
        remember(b, t, p->msg, time_ms);
        item.at = t->history.at;
    }
    if (t && t->conns + t->listeners)
        bus_deliver(b, t, &item);
    bus_deliver_to_patterns(b, &item);
    bus_settle(b, p, true);
}

static void local_publish(struct weft_bus *b, struct bus_publish *p)
{
    struct bus_topic *t = bus_find_topic(b, p->topic, p->topic_bytes, false);
    uint64_t now_ms = p->rule ? history_ms(b) : 0;
    struct keep *k = keep_of(b);

    if (!t && p->rule) {
        t = topic_with_history(b, p->topic);
        if (!t)
            LOG(WEFT_LOG_ERROR, 0, "bus: no memory for a history, which begins later");
    }
    if (!(k && t && p->rule && keep_publish(k, t, p, now_ms)))
        local_pass_on(b, t, p, now_ms);
    bus_settled_up_to(b, k ? keep_settled(k) : b->last_number);
}

static void local_sub_waits(struct weft_bus *b, struct bus_sub *s)
{
    if (s->topic->rule)
        bus_history_prune(&s->topic->history, history_ms(b));
    bus_make_live(b, s);
}

/* --- presence --- */

static void local_name(struct weft_bus *b, struct bus_topic *t, const char *name)
{
    (void)b, (void)t, (void)name; /* bus_topic.names has them */
}

static void local_ask(struct weft_bus *b, struct bus_ask *a)
{
    struct bus_topic *t = bus_find_topic(b, a->topic, strlen(a->topic), false);
    const char **names;
    size_t count = 0;

    for (struct bus_name *n = t ? t->names : NULL; n; n = n->next)
        count++;
    names = mem_alloc((count + 1) * sizeof *names);
    if (!names) {
        bus_answer(a, WEFT_E_NOMEM, NULL, 0);
        return;
    }
    count = 0;
    for (struct bus_name *n = t ? t->names : NULL; n; n = n->next)
        names[count++] = n->name;
    bus_answer(a, WEFT_OK, names, count);
    mem_free(names);
}

/* --- the rest --- */

static uint64_t local_turn(struct weft_bus *b, struct pollfd *fds, nfds_t *count)
{
    *count = 0;
    return keep_of(b) ? keep_turn(keep_of(b), fds, count) : UINT64_MAX;
}

static void local_polled(struct weft_bus *b, const struct pollfd *fds, nfds_t count)
{
    if (keep_of(b))
        keep_polled(keep_of(b), fds, count);
}

static bool local_is_drained(struct weft_bus *b)
{
    return !keep_of(b) || keep_is_drained(keep_of(b));
}

static void local_stop(struct weft_bus *b)
{
    keep_stop(keep_of(b));
}

static void drop_topic(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    (void)arg;
    bus_remove_topic(b, t);
}

/* There are topics when it was not opened to the end. */
static void local_free(struct weft_bus *b)
{
    bus_each_topic(b, drop_topic, NULL);
    keep_free(keep_of(b));
}

const struct bus_backend bus_local = {
    .open = local_open,
    .publish = local_publish,
    .topic_begin = local_topic_begin,
    .topic_end = local_topic_end,
    .sub_waits = local_sub_waits,
    .name_begin = local_name,
    .name_end = local_name,
    .ask = local_ask,
    .turn = local_turn,
    .polled = local_polled,
    .is_drained = local_is_drained,
    .stop = local_stop,
    .free = local_free,
};
