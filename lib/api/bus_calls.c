/* weft_bus: what any thread asks of it. A call checks, takes room, and pushes a command; the bus's thread
 * does the rest. See bus.h. */
#include <errno.h>
#include <string.h>

#include "api/bus.h"
#include "base/clock.h"
#include "base/mem.h"
#include "core/options.h"

/* False: the bus has ended, and the command stays the caller's. */
static bool push(struct weft_bus *b, struct bus_command *cmd)
{
    enum stack_result result = stack_push(&b->commands, &cmd->node);

    if (result == STACK_FIRST)
        wake_up(&b->wake);
    return result != STACK_CLOSED;
}

/* Room in the queue is taken before anything is made, so it is never exceeded. */
static bool take_room(struct weft_bus *b, uint64_t cost)
{
    /* Relaxed: a count. */
    uint64_t before = atomic_fetch_add_explicit(&b->count.queued_bytes, cost, memory_order_relaxed);

    if (before + cost <= b->opts.queue_bytes_max)
        return true;
    BUS_COUNT_OFF(b, queued_bytes, cost);
    return false;
}

static int refuse_publish(struct weft_bus *b, weft_msg *m)
{
    if (b->opts.full_policy == WEFT_BUS_FULL_DROP) {
        BUS_COUNT(b, dropped_full);
        weft_msg_unref(m);
        return WEFT_OK;
    }
    BUS_COUNT(b, refused);
    return WEFT_E_AGAIN;
}

static struct bus_publish *new_publish(struct weft_bus *b, const char *topic, size_t topic_bytes, weft_msg *m)
{
    struct bus_publish *p = mem_block_alloc(sizeof *p + topic_bytes + 1);

    if (!p)
        return NULL;
    memset(p, 0, sizeof *p);
    p->command.kind = BUS_PUBLISH;
    p->rule = bus_rule_of(b, topic);
    p->msg = m;
    p->topic_bytes = topic_bytes;
    memcpy(p->topic, topic, topic_bytes + 1);
    return p;
}

int weft_bus_publish(weft_bus *b, const char *topic, weft_msg *m)
{
    struct bus_publish *p;
    uint64_t cost;

    if (!b || !m || bus_check_topic(topic, false) != WEFT_OK)
        return WEFT_E_INVAL;
    if (weft_msg_bytes(m) > b->opts.message_bytes_max)
        return WEFT_E_TOO_BIG;
    cost = weft_msg_bytes(m) + strlen(topic) + BUS_PUBLISH_COST;
    if (!take_room(b, cost))
        return refuse_publish(b, m);
    p = new_publish(b, topic, strlen(topic), m);
    if (p) {
        p->cost = cost;
        BUS_COUNT(b, published); /* before the push: weft_bus_flush waits for no less than it */
        if (push(b, &p->command))
            return WEFT_OK;
        BUS_COUNT_OFF(b, published, 1);
        mem_block_free(p);
    }
    BUS_COUNT_OFF(b, queued_bytes, cost);
    return p ? WEFT_E_CLOSED : WEFT_E_NOMEM;
}

/* All that were published before are among the first `published` of the queue, which is settled in order. A
 * loss of this turn that is told later counts as one since the call. */
int weft_bus_flush(weft_bus *b, uint32_t timeout_ms)
{
    struct timespec until = bus_timespec(clock_now_ms() + timeout_ms);
    uint64_t wanted, lost_before;
    int rc = WEFT_OK;

    if (!b)
        return WEFT_E_INVAL;
    if (bus_is_here(b))
        return WEFT_E_STATE;
    wanted = atomic_load_explicit(&b->count.published, memory_order_relaxed); /* the caller's own are in it */
    pthread_mutex_lock(&b->lock);
    lost_before = b->lost;
    b->flushers++;
    while (rc == WEFT_OK && b->settled < wanted) {
        if (b->has_ended)
            rc = WEFT_E_CLOSED;
        else if (timeout_ms == WEFT_FOREVER)
            pthread_cond_wait(&b->changed, &b->lock);
        else if (pthread_cond_timedwait(&b->changed, &b->lock, &until) == ETIMEDOUT)
            rc = WEFT_E_TIMEOUT;
    }
    b->flushers--;
    if (rc == WEFT_OK && b->lost != lost_before)
        rc = WEFT_E_TIMEOUT;
    pthread_mutex_unlock(&b->lock);
    return rc;
}

static void ref_bus(struct weft_bus *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed); /* who takes one has one */
}

/* --- subscribe --- */

static bool take_place(struct weft_bus *b)
{
    if (atomic_fetch_add_explicit(&b->count.subscriptions, 1, memory_order_relaxed) <
        b->opts.subscriptions_max)
        return true;
    BUS_COUNT_OFF(b, subscriptions, 1);
    return false;
}

/* name: a presence; NULL for none. */
static struct bus_sub *new_sub(struct weft_bus *b, size_t size, const char *topic, const char *name)
{
    size_t topic_bytes = strlen(topic) + 1, name_bytes = name ? strlen(name) + 1 : 0;
    struct bus_sub *s = mem_calloc(1, size + topic_bytes + name_bytes);

    if (!s)
        return NULL;
    s->spare = bus_new_topic(topic);
    if (!s->spare) {
        mem_free(s);
        return NULL;
    }
    atomic_init(&s->refs, 1);
    s->bus = b;
    ref_bus(b);
    s->command.kind = BUS_SUBSCRIBE;
    s->left_command.kind = BUS_LEFT;
    memcpy(s->topic_name, topic, topic_bytes);
    if (name) {
        s->presence = s->topic_name + topic_bytes;
        memcpy(s->presence, name, name_bytes);
    }
    return s;
}

static int check_sub(const char *topic, const weft_bus_position *from, const char *presence)
{
    bool is_pattern;

    if (bus_check_topic(topic, true) != WEFT_OK)
        return WEFT_E_INVAL;
    is_pattern = topic[strlen(topic) - 1] == '*';
    if (is_pattern && (from || presence))
        return WEFT_E_INVAL;
    if (presence &&
        (!*presence || strnlen(presence, WEFT_BUS_TOPIC_BYTES_MAX + 1) > WEFT_BUS_TOPIC_BYTES_MAX))
        return WEFT_E_INVAL;
    return WEFT_OK;
}

static void set_from(struct bus_sub *s, const weft_bus_position *from)
{
    s->has_from = from != NULL;
    if (from)
        s->from = *from;
}

/* It was counted. */
static int give_sub(struct weft_bus *b, struct bus_sub *s)
{
    if (push(b, &s->command))
        return WEFT_OK;
    BUS_COUNT_OFF(b, subscriptions, 1);
    bus_unref_sub(s);
    return WEFT_E_CLOSED;
}

int weft_bus_subscribe(weft_bus *b, weft_conn *c, const char *topic, const weft_bus_sub_opts *given)
{
    weft_bus_sub_opts o;
    struct bus_sub *s;
    int rc;

    if (!b || !c || option_copy(&o, sizeof o, given, given ? given->size : 0) != WEFT_OK)
        return WEFT_E_INVAL;
    rc = check_sub(topic, o.from, o.presence);
    if (rc != WEFT_OK)
        return rc;
    if (atomic_load_explicit(&c->is_closed, memory_order_relaxed)) /* looked at again when it is entered */
        return WEFT_E_CLOSED;
    if (!take_place(b))
        return WEFT_E_AGAIN;
    s = new_sub(b, sizeof *s, topic, o.presence);
    if (!s) {
        BUS_COUNT_OFF(b, subscriptions, 1);
        return WEFT_E_NOMEM;
    }
    s->conn = weft_conn_ref(c);
    s->arg = o.arg;
    s->filter = o.filter;
    s->ready = o.ready;
    s->released = o.released;
    set_from(s, o.from);
    rc = give_sub(b, s);
    if (rc != WEFT_OK)
        weft_conn_unref(c);
    return rc;
}

int weft_bus_unsubscribe(weft_bus *b, weft_conn *c, const char *topic)
{
    struct bus_unsubscribe *u;
    size_t bytes;

    if (!b || !c || bus_check_topic(topic, true) != WEFT_OK)
        return WEFT_E_INVAL;
    bytes = strlen(topic) + 1;
    u = mem_alloc(sizeof *u + bytes);
    if (!u)
        return WEFT_E_NOMEM;
    u->command.kind = BUS_UNSUBSCRIBE;
    u->conn = weft_conn_ref(c);
    memcpy(u->topic, topic, bytes);
    if (push(b, &u->command))
        return WEFT_OK;
    weft_conn_unref(c);
    mem_free(u);
    return WEFT_E_CLOSED;
}

int weft_bus_listen(weft_bus *b, weft_bus_listener **out, const char *topic, const weft_bus_position *from,
                    void (*on_ready)(const weft_bus_ready *ready, void *arg),
                    void (*on_item)(const weft_bus_item *item, void *arg), void *arg)
{
    struct bus_sub *s;
    int rc;

    if (!b || !out || !on_item)
        return WEFT_E_INVAL;
    rc = check_sub(topic, from, NULL);
    if (rc != WEFT_OK)
        return rc;
    if (!take_place(b))
        return WEFT_E_AGAIN;
    s = new_sub(b, sizeof *s, topic, NULL);
    if (!s) {
        BUS_COUNT_OFF(b, subscriptions, 1);
        return WEFT_E_NOMEM;
    }
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed); /* the handle's */
    s->on_ready = on_ready;
    s->on_item = on_item;
    s->arg = arg;
    set_from(s, from);
    rc = give_sub(b, s);
    if (rc == WEFT_OK)
        *out = (weft_bus_listener *)s;
    else
        bus_unref_sub(s);
    return rc;
}

/* The handle's reference goes with the command, and with it may go the bus, which is still to be woken: so
 * one is held meanwhile. */
void weft_bus_unlisten(weft_bus_listener *l)
{
    struct bus_sub *s = (struct bus_sub *)l;
    struct weft_bus *b;

    if (!l)
        return;
    b = s->bus;
    pthread_mutex_lock(&b->lock);
    s->is_ended = true;
    while (!bus_is_here(b) && b->calling == s)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
    ref_bus(b);
    if (!push(b, &s->left_command))
        bus_unref_sub(s);
    bus_unref(b);
}

int weft_bus_presence(weft_bus *b, const char *topic,
                      void (*done)(int result, const char *const *names, size_t count, void *arg), void *arg)
{
    struct bus_ask *a;
    size_t bytes;

    if (!b || !done || bus_check_topic(topic, false) != WEFT_OK)
        return WEFT_E_INVAL;
    bytes = strlen(topic) + 1;
    if (!take_room(b, bytes + BUS_PUBLISH_COST))
        return WEFT_E_AGAIN;
    a = mem_calloc(1, sizeof *a + bytes);
    if (!a) {
        BUS_COUNT_OFF(b, queued_bytes, bytes + BUS_PUBLISH_COST);
        return WEFT_E_NOMEM;
    }
    a->command.kind = BUS_PRESENCE;
    a->bus = b;
    a->cost = bytes + BUS_PUBLISH_COST;
    a->done = done;
    a->arg = arg;
    memcpy(a->topic, topic, bytes);
    if (push(b, &a->command))
        return WEFT_OK;
    BUS_COUNT_OFF(b, queued_bytes, a->cost);
    mem_free(a);
    return WEFT_E_CLOSED;
}

/* --- figures --- */

static uint64_t read_count(const _Atomic uint64_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

int weft_bus_get_stats(weft_bus *b, weft_bus_stats *out)
{
    weft_bus_stats s = {.size = out ? out->size : 0};

    if (!b || !out || out->size < sizeof out->size)
        return WEFT_E_INVAL;
    s.state = (uint64_t)atomic_load_explicit(&b->state, memory_order_relaxed);
#define READ(what) s.what = read_count(&b->count.what)
    READ(subscriptions);
    READ(topics);
    READ(queued_bytes);
    READ(published);
    READ(passed_on);
    READ(refused);
    READ(dropped_full);
    READ(dropped_lost);
    READ(received);
    READ(delivered);
    READ(duplicates);
    READ(filled);
    READ(gaps);
    READ(history_failures);
    READ(connects);
    READ(disconnects);
    READ(retries);
#undef READ
    s.history_bytes = read_count(&b->histories.bytes);
    memcpy(out, &s, out->size < sizeof s ? out->size : sizeof s);
    return WEFT_OK;
}
