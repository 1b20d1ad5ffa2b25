/* Topics and subscribers of a bus, and the delivery to them; see bus.h. All of it runs on the bus's thread,
 * but for the hooks of the seats. */
#include <string.h>
#include <unistd.h>

#include "api/bus.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"

#define BUCKETS_FIRST 64
#define RETRY_US      1000

/* --- the table --- */

static uint64_t hash_of(const struct weft_bus *b, const char *name, size_t bytes, bool is_pattern)
{
    return siphash(&b->key, name, bytes) ^ (is_pattern ? 1 : 0);
}

static struct bus_topic **bucket_of(struct weft_bus *b, uint64_t hash)
{
    return &b->buckets[hash & (b->bucket_count - 1)];
}

struct bus_topic *bus_find_topic(struct weft_bus *b, const char *name, size_t bytes, bool is_pattern)
{
    uint64_t hash = hash_of(b, name, bytes, is_pattern);
    struct bus_topic *t = b->bucket_count ? *bucket_of(b, hash) : NULL;

    while (t && !(t->hash == hash && t->bytes == bytes && t->is_pattern == is_pattern &&
                  memcmp(t->name, name, bytes) == 0))
        t = t->chain;
    return t;
}

static struct bus_topic *find_as_written(struct weft_bus *b, const char *name)
{
    size_t bytes = strlen(name);
    bool is_pattern = name[bytes - 1] == '*';

    return bus_find_topic(b, name, bytes - is_pattern, is_pattern);
}

struct bus_topic *bus_new_topic(const char *name)
{
    struct bus_topic *t = mem_calloc(1, sizeof *t);
    size_t bytes = strlen(name);

    if (!t)
        return NULL;
    if (weft_group_new(&t->group) != WEFT_OK) {
        mem_free(t);
        return NULL;
    }
    t->is_pattern = name[bytes - 1] == '*';
    t->bytes = (uint8_t)(bytes - t->is_pattern);
    memcpy(t->name, name, bytes + 1);
    return t;
}

void bus_free_topic(struct bus_topic *t)
{
    if (!t)
        return;
    bus_history_fini(&t->history);
    weft_group_unref(t->group);
    mem_free(t);
}

/* Longer chains are what follows when there is no memory for it; the first table is made with the bus. */
static void grow_table(struct weft_bus *b)
{
    size_t old_count = b->bucket_count, count = old_count ? 2 * old_count : BUCKETS_FIRST;
    struct bus_topic **old = b->buckets, **buckets = mem_calloc(count, sizeof *buckets);

    if (!buckets)
        return;
    b->buckets = buckets;
    b->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        for (struct bus_topic *t = old[i], *next; t; t = next) {
            next = t->chain;
            t->chain = *bucket_of(b, t->hash);
            *bucket_of(b, t->hash) = t;
        }
    }
    mem_free(old);
}

void bus_enter_topic(struct weft_bus *b, struct bus_topic *t)
{
    struct bus_topic **bucket;
    struct history_limits limits = {0};

    if (b->topic_count >= b->bucket_count)
        grow_table(b);
    t->hash = hash_of(b, t->name, t->bytes, t->is_pattern);
    t->rule = t->is_pattern ? NULL : bus_rule_of(b, t->name);
    if (t->rule)
        limits = bus_limits_of(b, t->rule);
    bus_history_init(&t->history, &limits, &b->histories, (weft_bus_position){0});
    bucket = bucket_of(b, t->hash);
    t->chain = *bucket;
    *bucket = t;
    b->topic_count++;
    BUS_COUNT(b, topics);
    if (t->is_pattern)
        b->pattern_lengths[t->bytes]++;
}

void bus_remove_topic(struct weft_bus *b, struct bus_topic *t)
{
    struct bus_topic **place = bucket_of(b, t->hash);

    while (*place != t)
        place = &(*place)->chain;
    *place = t->chain;
    b->topic_count--;
    BUS_COUNT_OFF(b, topics, 1);
    if (t->is_pattern)
        b->pattern_lengths[t->bytes]--;
    bus_free_topic(t);
}

void bus_each_topic(struct weft_bus *b, void (*visit)(struct weft_bus *b, struct bus_topic *t, void *arg),
                    void *arg)
{
    for (size_t i = 0; i < b->bucket_count; i++) {
        for (struct bus_topic *t = b->buckets[i], *next; t; t = next) {
            next = t->chain;
            visit(b, t, arg);
        }
    }
}

/* --- names --- */

/* False: no memory. */
static bool add_name(struct weft_bus *b, struct bus_topic *t, const char *name)
{
    struct bus_name *n = t->names;
    size_t bytes = strlen(name) + 1;

    while (n && strcmp(n->name, name) != 0)
        n = n->next;
    if (n) {
        n->refs++;
        return true;
    }
    n = mem_alloc(sizeof *n + bytes);
    if (!n)
        return false;
    n->refs = 1;
    memcpy(n->name, name, bytes);
    n->next = t->names;
    t->names = n;
    b->backend->name_begin(b, t, name);
    return true;
}

static void remove_name(struct weft_bus *b, struct bus_topic *t, const char *name)
{
    struct bus_name **place = &t->names, *n;

    while (strcmp((*place)->name, name) != 0)
        place = &(*place)->next;
    n = *place;
    if (--n->refs)
        return;
    *place = n->next;
    b->backend->name_end(b, t, name);
    mem_free(n);
}

/* --- subscribers --- */

static struct bus_sub *sub_of_seat(struct group_seat *s)
{
    return (struct bus_sub *)s;
}

/* Any thread. A closed stack: the bus ends, and finds the subscriber in its topic. */
static void seat_left(struct group_seat *seat)
{
    struct bus_sub *s = sub_of_seat(seat);

    if (stack_push(&s->bus->commands, &s->left_command.node) == STACK_FIRST)
        wake_up(&s->bus->wake);
}

static void seat_freed(struct group_seat *seat)
{
    bus_unref_sub(sub_of_seat(seat));
}

static const struct group_seat_hooks seat_hooks = {.left = seat_left, .freed = seat_freed};

static void link_sub(struct weft_bus *b, struct bus_topic *t, struct bus_sub *s)
{
    s->topic = t;
    s->next = t->subs;
    s->place = &t->subs;
    if (s->next)
        s->next->place = &s->next;
    t->subs = s;
    t->waiting++;
    if (s->conn) {
        t->conns++;
        t->picky++;
    } else {
        t->listeners++;
    }
    if (t->conns + t->listeners == 1)
        b->backend->topic_begin(b, t);
}

static void unlink_sub(struct bus_sub *s)
{
    struct bus_topic *t = s->topic;

    *s->place = s->next;
    if (s->next)
        s->next->place = s->place;
    t->waiting -= !s->is_live;
    if (s->conn) {
        t->conns--;
        t->picky -= !s->is_live || s->filter;
    } else {
        t->listeners--;
    }
}

void bus_release_sub(struct weft_bus *b, struct bus_sub *s)
{
    BUS_COUNT_OFF(b, subscriptions, 1);
    if (s->released)
        s->released(s->arg);
    weft_conn_unref(s->conn);
    s->conn = NULL;
    bus_unref_sub(s);
}

void bus_end_sub(struct weft_bus *b, struct bus_sub *s)
{
    struct bus_topic *t = s->topic;

    unlink_sub(s);
    if (s->presence)
        remove_name(b, t, s->presence);
    s->topic = NULL;
    if (t->conns + t->listeners == 0)
        b->backend->topic_end(b, t);
    bus_release_sub(b, s);
}

/* Its topic, with the connection in its group. NULL: it cannot be, or is there already. */
static struct bus_topic *seat_sub(struct weft_bus *b, struct bus_sub *s)
{
    struct bus_topic *t = find_as_written(b, s->topic_name);
    struct bus_topic *entered = t ? t : s->spare;
    weft_conn *c = s->conn;
    int rc = WEFT_OK;

    if (c) {
        atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
        rc = group_take_seat(entered->group, c, &s->seat, &seat_hooks);
        if (rc != WEFT_OK)
            bus_unref_sub(s); /* the one for the seat */
    }
    if (rc == WEFT_E_NOMEM)
        LOG(WEFT_LOG_ERROR, 0, "bus: no memory for a subscription, which ends");
    if (rc != WEFT_OK)
        return NULL;
    if (!t) {
        bus_enter_topic(b, s->spare);
        s->spare = NULL;
    }
    return entered;
}

void bus_subscribe(struct weft_bus *b, struct bus_sub *s)
{
    struct bus_topic *t = seat_sub(b, s);

    bus_free_topic(s->spare);
    s->spare = NULL;
    if (!t) {
        bus_release_sub(b, s);
        return;
    }
    link_sub(b, t, s);
    if (s->presence && !add_name(b, t, s->presence)) {
        LOG(WEFT_LOG_ERROR, 0, "bus: no memory for a name, which is not found");
        s->presence = NULL;
    }
    b->backend->sub_waits(b, s);
}

/* Snapshots of these groups are the bus thread's, so only a closing connection makes it wait. */
static void leave_group(struct bus_topic *t, weft_conn *c)
{
    while (weft_group_remove(t->group, c) == WEFT_E_NOMEM)
        usleep(RETRY_US);
}

void bus_unsubscribe(struct weft_bus *b, weft_conn *c, const char *topic)
{
    struct bus_topic *t = find_as_written(b, topic);

    if (t)
        leave_group(t, c); /* seat_left does the rest */
}

/* --- delivery --- */

/* One message on its way to the subscribers of one topic. */
struct delivery {
    struct weft_bus *bus;
    const weft_bus_item *item;
    weft_msg *wrapped; /* what connections get, one reference; NULL: nothing, or not asked yet */
    bool is_wrapped;
};

static weft_msg *wrapped(struct delivery *d)
{
    const weft_bus_opts *o = &d->bus->opts;

    if (!d->is_wrapped) {
        d->is_wrapped = true;
        d->wrapped = o->wrap ? o->wrap(d->item, o->app) : weft_msg_ref(d->item->msg);
    }
    return d->wrapped;
}

static void send_to(struct delivery *d, struct bus_sub *s)
{
    weft_msg *m;
    struct node *link;
    unsigned made;

    if (s->filter && !s->filter(s->conn, d->item, s->arg))
        return;
    m = wrapped(d);
    link = m ? outbox_new_fan(m, 1, &made) : NULL;
    if (link && outbox_broadcast(s->conn, msg_link_of(link)) == WEFT_OK)
        BUS_COUNT(d->bus, delivered);
}

static bool visit_seat(struct group_seat *seat, void *arg)
{
    struct bus_sub *s = sub_of_seat(seat);

    if (s->is_live)
        send_to(arg, s);
    return true;
}

/* Nobody is looked at one by one. */
static void send_to_all(struct delivery *d, struct bus_topic *t)
{
    weft_msg *m = wrapped(d);

    if (!m)
        return;
    if (weft_group_broadcast(t->group, weft_msg_ref(m), NULL) == WEFT_OK)
        BUS_COUNT_ON(d->bus, delivered, t->conns);
    else
        weft_msg_unref(m);
}

/* False: weft_bus_unlisten was called. Until listener_called the listener is there. */
static bool call_listener(struct weft_bus *b, struct bus_sub *s)
{
    bool may;

    pthread_mutex_lock(&b->lock);
    may = !s->is_ended;
    if (may)
        b->calling = s;
    pthread_mutex_unlock(&b->lock);
    return may;
}

static void listener_called(struct weft_bus *b)
{
    pthread_mutex_lock(&b->lock);
    b->calling = NULL;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static void hand_to_listener(struct weft_bus *b, struct bus_sub *s, const weft_bus_item *item)
{
    if (!call_listener(b, s))
        return;
    s->on_item(item, s->arg);
    listener_called(b);
    BUS_COUNT(b, delivered);
}

void bus_deliver(struct weft_bus *b, struct bus_topic *t, const weft_bus_item *item)
{
    struct delivery d = {.bus = b, .item = item};

    BUS_COUNT(b, received);
    if (t->conns && t->picky == 0)
        send_to_all(&d, t);
    else if (t->conns)
        group_each_seat(t->group, visit_seat, &d);
    for (struct bus_sub *s = t->listeners ? t->subs : NULL; s; s = s->next)
        if (!s->conn && s->is_live)
            hand_to_listener(b, s, item);
    weft_msg_unref(d.wrapped);
}

void bus_deliver_to_patterns(struct weft_bus *b, const weft_bus_item *item)
{
    size_t bytes = strlen(item->topic);

    for (size_t n = 0; n <= bytes; n++) {
        struct bus_topic *t = b->pattern_lengths[n] ? bus_find_topic(b, item->topic, n, true) : NULL;
        if (t)
            bus_deliver(b, t, item);
    }
}

/* --- from waiting to live --- */

static void tell_ready(struct weft_bus *b, struct bus_sub *s, const weft_bus_ready *ready)
{
    if (s->conn) {
        if (s->ready)
            s->ready(s->conn, ready, s->arg);
        return;
    }
    if (!s->on_ready || !call_listener(b, s))
        return;
    s->on_ready(ready, s->arg);
    listener_called(b);
}

static void hand_history(struct weft_bus *b, struct bus_sub *s, uint64_t first)
{
    struct bus_topic *t = s->topic;

    for (uint64_t offset = first; offset <= t->history.at.offset; offset++) {
        weft_bus_item item = {t->name, bus_history_get(&t->history, offset), {t->history.at.epoch, offset}};
        struct delivery d = {.bus = b, .item = &item};

        if (s->conn)
            send_to(&d, s);
        else
            hand_to_listener(b, s, &item);
        weft_msg_unref(d.wrapped);
    }
}

/* The first offset that it gets of the history; is there a gap before? */
static uint64_t resume_at(const struct history *h, const weft_bus_position *from, bool *is_gap)
{
    uint64_t first = bus_history_first(h);

    if (from->epoch == 0)
        return first;
    *is_gap = !bus_history_knows(h, from) || from->offset + 1 < first;
    return *is_gap ? first : from->offset + 1;
}

void bus_make_live(struct weft_bus *b, struct bus_sub *s)
{
    struct bus_topic *t = s->topic;
    const struct history *h = &t->history;
    weft_bus_ready ready = {.topic = t->name, .at = h->at};
    uint64_t first = h->at.offset + 1;

    if (s->has_from && t->rule)
        first = resume_at(h, &s->from, &ready.is_gap);
    else
        ready.is_gap = s->has_from;
    ready.missed = (uint32_t)(h->at.offset + 1 - first);
    if (ready.is_gap)
        BUS_COUNT(b, gaps);
    tell_ready(b, s, &ready);
    hand_history(b, s, first);
    s->is_live = true;
    t->waiting--;
    if (s->conn && !s->filter)
        t->picky--;
}

void bus_tell_gap(struct weft_bus *b, struct bus_topic *t)
{
    weft_bus_ready ready = {.topic = t->name, .at = t->at, .is_gap = true};

    BUS_COUNT(b, gaps);
    for (struct bus_sub *s = t->subs; s; s = s->next)
        if (s->is_live)
            tell_ready(b, s, &ready);
}
