/* weft_bus: what any thread calls, and the bus's own thread; see bus.h. */
#include "api/bus.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "base/random.h"
#include "base/thr.h"
#include "core/options.h"

#define POLL_MS_MAX 60000

/* Which bus's thread this is; NULL: none. */
static _Thread_local const struct weft_bus *bus_here;

/* --- references --- */

static void free_options(weft_bus_opts *o)
{
    for (size_t i = 0; o->rules && i < o->rule_count; i++)
        mem_free((char *)o->rules[i].topic);
    mem_free((weft_bus_rule *)o->rules);
    mem_free((char *)o->history_file);
    mem_free((char *)o->prefix);
    mem_free((char *)o->ca_file);
    mem_free((char *)o->cert_file);
    mem_free((char *)o->key_file);
}

static void free_bus(struct weft_bus *b)
{
    if (b->backend)
        b->backend->free(b);
    free_options(&b->opts);
    mem_free(b->buckets);
    wake_fini(&b->wake);
    if (b->stop_fd >= 0)
        close(b->stop_fd);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->changed);
    mem_free(b);
}

void bus_unref(struct weft_bus *b)
{
    if (atomic_fetch_sub_explicit(&b->refs, 1, ORDER(BUS_LAST, memory_order_acq_rel)) == 1)
        free_bus(b);
}

static void ref_bus(struct weft_bus *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed); /* who takes one has one */
}

void bus_unref_sub(struct bus_sub *s)
{
    struct weft_bus *b = s->bus;

    if (atomic_fetch_sub_explicit(&s->refs, 1, ORDER(BUS_LAST, memory_order_acq_rel)) != 1)
        return;
    bus_free_topic(s->spare);
    mem_free(s);
    bus_unref(b);
}

/* --- small things --- */

static uint64_t read_count(const _Atomic uint64_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

uint64_t bus_random(void)
{
    uint64_t r = 0;

    while (!random_fill(&r, sizeof r) || (r >>= 1) == 0) {
    }
    return r;
}

/* Does a name fit a rule's or a subscription's pattern? */
static bool fits(const char *pattern, const char *topic)
{
    size_t bytes = strlen(pattern);

    if (pattern[bytes - 1] == '*')
        return strncmp(pattern, topic, bytes - 1) == 0;
    return strcmp(pattern, topic) == 0;
}

const weft_bus_rule *bus_rule_of(const struct weft_bus *b, const char *topic)
{
    for (size_t i = 0; i < b->opts.rule_count; i++)
        if (fits(b->opts.rules[i].topic, topic))
            return b->opts.rules[i].history_messages ? &b->opts.rules[i] : NULL;
    return NULL;
}

struct history_limits bus_limits_of(const struct weft_bus *b, const weft_bus_rule *rule)
{
    return (struct history_limits){.messages = rule->history_messages,
                                   .age_ms = (uint64_t)rule->history_seconds * 1000,
                                   .bytes = b->opts.history_bytes_max};
}

void bus_set_state(struct weft_bus *b, enum weft_bus_state state, const char *why)
{
    int before = atomic_exchange_explicit(&b->state, (int)state, memory_order_relaxed); /* a figure */

    if (before != (int)state && b->opts.on_state)
        b->opts.on_state(b, state, why, b->opts.app);
}

void bus_settle(struct weft_bus *b, struct bus_publish *p, bool is_passed_on)
{
    if (is_passed_on)
        BUS_COUNT(b, passed_on);
    else
        BUS_COUNT(b, dropped_lost);
    BUS_COUNT_OFF(b, queued_bytes, p->cost);
    weft_msg_unref(p->msg);
    mem_block_free(p);
}

void bus_settled_up_to(struct weft_bus *b, uint64_t number)
{
    b->settled_number = number;
}

void bus_answer(struct bus_ask *a, int result, const char *const *names, size_t count)
{
    a->done(result, names, count, a->arg);
    BUS_COUNT_OFF(a->bus, queued_bytes, a->cost);
    mem_free(a);
}

/* --- options --- */

static bool keep(const char **text)
{
    *text = *text ? mem_strdup(*text) : NULL;
    return *text;
}

/* Each string becomes a copy, NULL where there was none or there is no memory; and false then. */
static bool copy_options(weft_bus_opts *o)
{
    const char **texts[] = {&o->history_file, &o->prefix, &o->ca_file, &o->cert_file, &o->key_file};
    const weft_bus_rule *given = o->rules;
    weft_bus_rule *rules = mem_calloc(o->rule_count + 1, sizeof *rules);
    bool is_whole = rules != NULL;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        bool was_there = *texts[i] != NULL;
        is_whole &= keep(texts[i]) || !was_there;
    }
    for (size_t i = 0; rules && i < o->rule_count; i++) {
        rules[i] = given[i];
        is_whole &= keep(&rules[i].topic);
    }
    o->rules = rules;
    return is_whole;
}

/* WEFT_OK; how long a name is, and may it be a pattern? */
static int check_topic(const char *topic, bool may_be_pattern)
{
    size_t bytes = topic ? strnlen(topic, WEFT_BUS_TOPIC_BYTES_MAX + 2) : 0;
    bool is_pattern = bytes && topic[bytes - 1] == '*';

    if (!bytes || bytes - is_pattern > WEFT_BUS_TOPIC_BYTES_MAX || (is_pattern && !may_be_pattern))
        return WEFT_E_INVAL;
    return WEFT_OK;
}

static int check_rules(const weft_bus_opts *o)
{
    if (o->rule_count && !o->rules)
        return option_refused("rule_count without rules");
    for (size_t i = 0; i < o->rule_count; i++)
        if (check_topic(o->rules[i].topic, true) != WEFT_OK)
            return option_refused("a rule of the bus has no proper topic");
    return WEFT_OK;
}

static int choose(weft_bus_opts *o)
{
    OPTION_CHOOSE(o, queue_bytes_max, 16u << 20, 1024, UINT64_MAX / 2);
    OPTION_CHOOSE(o, message_bytes_max, 1u << 20, 1, 1u << 28);
    OPTION_CHOOSE(o, subscriptions_max, 1u << 20, 1, UINT32_MAX);
    OPTION_CHOOSE(o, topics_max, 65536, 1, UINT32_MAX);
    OPTION_CHOOSE(o, history_bytes_max, 16u << 20, 1024, UINT64_MAX / 2);
    OPTION_CHOOSE(o, presence_timeout_ms, 30000, 100, 86400000);
    OPTION_CHOOSE(o, connect_timeout_ms, 5000, 10, 600000);
    OPTION_CHOOSE(o, reply_timeout_ms, 5000, 10, 600000);
    OPTION_CHOOSE(o, reconnect_min_ms, 100, 1, 600000);
    OPTION_CHOOSE(o, reconnect_max_ms, o->reconnect_min_ms < 10000 ? 10000 : o->reconnect_min_ms,
                  o->reconnect_min_ms, 3600000);
    OPTION_CHOOSE(o, in_flight_max, 1024, 1, 65536);
    if (o->full_policy != WEFT_BUS_FULL_REFUSE && o->full_policy != WEFT_BUS_FULL_DROP)
        return option_refused("full_policy is none of its values");
    if (!o->prefix)
        o->prefix = "weft:";
    if (strpbrk(o->prefix, "{}*") || strlen(o->prefix) > WEFT_BUS_TOPIC_BYTES_MAX)
        return option_refused("prefix is too long, or holds one of {}*");
    return check_rules(o);
}

/* --- the thread --- */

static void end_all(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    (void)arg;
    while (t->subs) {
        struct bus_sub *s = t->subs;
        bool is_last = !s->next;
        struct weft_conn *c = s->conn;

        if (c)
            while (weft_group_remove(t->group, c) == WEFT_E_NOMEM)
                usleep(1000);
        bus_end_sub(b, s);
        if (is_last)
            return; /* the topic may be gone */
    }
}

static void drop_topic(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    (void)arg;
    bus_remove_topic(b, t);
}

static struct bus_sub *sub_of_left(struct bus_command *cmd)
{
    return (struct bus_sub *)(void *)((char *)cmd - offsetof(struct bus_sub, left_command));
}
static struct bus_sub *sub_of_command(struct bus_command *cmd)
{
    return (struct bus_sub *)(void *)((char *)cmd - offsetof(struct bus_sub, command));
}

static void do_unsubscribe(struct weft_bus *b, struct bus_unsubscribe *u)
{
    bus_unsubscribe(b, u->conn, u->topic);
    weft_conn_unref(u->conn);
    mem_free(u);
}

/* A listener's LEFT has the reference of its handle. */
static void do_left(struct weft_bus *b, struct bus_sub *s)
{
    bool is_listener = s->on_item;

    if (s->topic)
        bus_end_sub(b, s);
    if (is_listener)
        bus_unref_sub(s);
}

static void do_command(struct weft_bus *b, struct bus_command *cmd, bool is_over)
{
    switch (cmd->kind) {
    case BUS_PUBLISH:
        ((struct bus_publish *)cmd)->number = ++b->last_number;
        if (is_over)
            bus_settle(b, (struct bus_publish *)cmd, false);
        else
            b->backend->publish(b, (struct bus_publish *)cmd);
        break;
    case BUS_SUBSCRIBE:
        if (is_over)
            bus_release_sub(b, sub_of_command(cmd));
        else
            bus_subscribe(b, sub_of_command(cmd));
        break;
    case BUS_UNSUBSCRIBE:
        do_unsubscribe(b, (struct bus_unsubscribe *)cmd);
        break;
    case BUS_LEFT:
        do_left(b, sub_of_left(cmd));
        break;
    case BUS_PRESENCE:
        if (is_over)
            bus_answer((struct bus_ask *)cmd, WEFT_E_CLOSED, NULL, 0);
        else
            b->backend->ask(b, (struct bus_ask *)cmd);
        break;
    }
}

static void do_commands(struct weft_bus *b, bool is_over)
{
    struct node *n = node_reverse(stack_take_all(&b->commands));

    while (n) {
        struct node *next = n->next; /* the command may be freed by doing it */
        do_command(b, (struct bus_command *)(void *)n, is_over);
        n = next;
    }
}

/* What was published before wants_stop was set is passed on, or still among the commands. */
static bool tell_flushers(struct weft_bus *b, uint64_t now_ms)
{
    bool may_end;

    pthread_mutex_lock(&b->lock);
    b->settled = b->settled_number;
    if (b->flushers)
        pthread_cond_broadcast(&b->changed);
    may_end = b->wants_stop &&
              (now_ms >= b->stop_ms || (stack_is_empty(&b->commands) && b->backend->is_drained(b)));
    pthread_mutex_unlock(&b->lock);
    return may_end;
}

static int poll_ms(uint64_t until_ms, uint64_t now_ms)
{
    if (until_ms <= now_ms)
        return 0;
    return until_ms - now_ms < POLL_MS_MAX ? (int)(until_ms - now_ms) : POLL_MS_MAX;
}

static uint64_t stop_time(struct weft_bus *b)
{
    uint64_t ms;

    pthread_mutex_lock(&b->lock);
    ms = b->wants_stop ? b->stop_ms : UINT64_MAX;
    pthread_mutex_unlock(&b->lock);
    return ms;
}

static void wait_for_work(struct weft_bus *b, struct pollfd *fds, nfds_t count, uint64_t until_ms)
{
    uint64_t stop_ms = stop_time(b);
    int n = 0;

    fds[count] = (struct pollfd){.fd = b->wake.fd, .events = POLLIN};
    wake_prepare(&b->wake);
    if (stack_is_empty(&b->commands))
        n = poll(fds, count + 1, poll_ms(until_ms < stop_ms ? until_ms : stop_ms, clock_now_ms()));
    else
        n = poll(fds, count + 1, 0);
    wake_cancel(&b->wake);
    if (n > 0 && fds[count].revents)
        wake_clear(&b->wake);
    b->backend->polled(b, fds, n > 0 ? count : 0);
}

static void end_thread(struct weft_bus *b)
{
    uint64_t last_number = b->last_number;

    b->has_lost = b->settled_number != last_number;
    b->backend->stop(b);
    stack_close(&b->commands);
    do_commands(b, true);
    b->has_lost = b->has_lost || b->last_number != last_number; /* the deadline came first */
    bus_each_topic(b, end_all, NULL);
    bus_each_topic(b, drop_topic, NULL);
    pthread_mutex_lock(&b->lock);
    b->has_ended = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static void *run(void *arg)
{
    struct weft_bus *b = arg;
    struct pollfd fds[BUS_FDS_MAX + 1];

    thr_name("weft-bus");
    bus_here = b;
    mem_pool_join(); /* without a pool: plain blocks */
    for (;;) {
        nfds_t count = 0;
        uint64_t until_ms;

        do_commands(b, false);
        until_ms = b->backend->turn(b, fds, &count);
        if (tell_flushers(b, clock_now_ms()))
            break;
        wait_for_work(b, fds, count, until_ms);
    }
    end_thread(b);
    mem_pool_leave();
    return NULL;
}

/* --- open and close --- */

/* From here on free_bus can be called. */
static void init(struct weft_bus *b)
{
    pthread_condattr_t attr;

    b->wake.fd = b->stop_fd = -1;
    pthread_mutex_init(&b->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->changed, &attr);
    pthread_condattr_destroy(&attr);
    atomic_init(&b->refs, 1);
    stack_init(&b->commands);
}

static int begin(struct weft_bus *b, const struct bus_url *url)
{
    int rc;

    b->key = (struct siphash_key){bus_random(), bus_random()};
    b->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    rc = wake_init(&b->wake);
    if (rc != WEFT_OK || b->stop_fd < 0)
        return WEFT_E_SYSTEM;
    b->bucket_count = 64;
    b->buckets = mem_calloc(b->bucket_count, sizeof *b->buckets);
    if (!b->buckets)
        return WEFT_E_NOMEM;
    b->backend = url->is_local ? &bus_local : &bus_redis;
    rc = b->backend->open(b, url);
    if (rc == WEFT_OK && pthread_create(&b->thread, NULL, run, b) != 0)
        rc = WEFT_E_SYSTEM;
    return rc;
}

static int open_url(struct weft_bus **out, const struct bus_url *url, const weft_bus_opts *opts)
{
    struct weft_bus *b = mem_calloc(1, sizeof *b);
    int rc;

    if (!b)
        return WEFT_E_NOMEM;
    init(b);
    b->opts = *opts;
    rc = copy_options(&b->opts) ? begin(b, url) : WEFT_E_NOMEM;
    if (rc == WEFT_OK)
        *out = b;
    else
        free_bus(b);
    return rc;
}

int weft_bus_open(weft_bus **out, const char *text, const weft_bus_opts *given)
{
    weft_bus_opts opts;
    struct bus_url url;
    const char *reason = NULL;
    int rc;

    if (!out || !text)
        return WEFT_E_INVAL;
    rc = option_copy(&opts, sizeof opts, given, given ? given->size : 0);
    if (rc == WEFT_OK)
        rc = choose(&opts);
    if (rc != WEFT_OK)
        return rc;
    rc = bus_url_parse(&url, text, &reason);
    if (rc == WEFT_E_INVAL)
        LOG(WEFT_LOG_ERROR, 0, "the bus's URL: %s", reason);
    if (rc != WEFT_OK)
        return rc;
    rc = open_url(out, &url, &opts);
    bus_url_fini(&url);
    return rc;
}

static struct timespec timespec_of(uint64_t ms)
{
    return (struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
}

static void tell_to_stop(struct weft_bus *b, uint32_t deadline_ms)
{
    uint64_t until_ms = clock_now_ms() + deadline_ms, one = 1;
    struct timespec until = timespec_of(until_ms);

    pthread_mutex_lock(&b->lock);
    b->wants_stop = true;
    b->stop_ms = until_ms;
    pthread_mutex_unlock(&b->lock);
    /* Written whether it sleeps or not: what it looks for is no command. */
    while (write(b->wake.fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
    pthread_mutex_lock(&b->lock);
    while (!b->has_ended && pthread_cond_timedwait(&b->changed, &b->lock, &until) != ETIMEDOUT) {
    }
    pthread_mutex_unlock(&b->lock);
    while (write(b->stop_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

int weft_bus_close(weft_bus *b, uint32_t deadline_ms)
{
    bool has_lost;

    if (!b)
        return WEFT_OK;
    if (bus_here == b)
        return WEFT_E_STATE;
    tell_to_stop(b, deadline_ms);
    pthread_join(b->thread, NULL);
    has_lost = b->has_lost;
    bus_unref(b);
    return has_lost ? WEFT_E_TIMEOUT : WEFT_OK;
}

/* --- what any thread asks for --- */

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

    if (!b || !m || check_topic(topic, false) != WEFT_OK)
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

/* All that were published before are among the first `published` of the queue, which is settled in order. */
int weft_bus_flush(weft_bus *b, uint32_t timeout_ms)
{
    struct timespec until = timespec_of(clock_now_ms() + timeout_ms);
    uint64_t wanted;
    int rc = WEFT_OK;

    if (!b)
        return WEFT_E_INVAL;
    if (bus_here == b)
        return WEFT_E_STATE;
    wanted = atomic_load_explicit(&b->count.published, memory_order_relaxed); /* the caller's own are in it */
    pthread_mutex_lock(&b->lock);
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
    pthread_mutex_unlock(&b->lock);
    return rc;
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

static int check_sub(struct weft_bus *b, const char *topic, const weft_bus_position *from,
                     const char *presence)
{
    bool is_pattern;

    if (check_topic(topic, true) != WEFT_OK)
        return WEFT_E_INVAL;
    is_pattern = topic[strlen(topic) - 1] == '*';
    if (is_pattern && (from || presence || !b->backend->has_patterns(b)))
        return WEFT_E_INVAL;
    return !presence || check_topic(presence, true) == WEFT_OK ? WEFT_OK : WEFT_E_INVAL;
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
    rc = check_sub(b, topic, o.from, o.presence);
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

    if (!b || !c || check_topic(topic, true) != WEFT_OK)
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
    rc = check_sub(b, topic, from, NULL);
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

void weft_bus_unlisten(weft_bus_listener *l)
{
    struct bus_sub *s = (struct bus_sub *)l;
    struct weft_bus *b;

    if (!l)
        return;
    b = s->bus;
    pthread_mutex_lock(&b->lock);
    s->is_ended = true;
    while (bus_here != b && b->calling == s)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
    if (!push(b, &s->left_command))
        bus_unref_sub(s);
}

int weft_bus_presence(weft_bus *b, const char *topic,
                      void (*done)(int result, const char *const *names, size_t count, void *arg), void *arg)
{
    struct bus_ask *a;
    size_t bytes;

    if (!b || !done || check_topic(topic, false) != WEFT_OK)
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
    memcpy(out, &s, out->size < sizeof s ? out->size : sizeof s);
    return WEFT_OK;
}
