/* The bus without a thread; see fake_bus.h. */
#include "fake_bus.h"

#include "fake_weft.h"

#include <stdlib.h>
#include <string.h>

#define TOPIC_BYTES  96
#define TOPICS_MAX   1024
#define SUBS_MAX     2048
#define REMEMBER_MAX 100

enum kind { PUBLISH, SUBSCRIBE, UNSUBSCRIBE, LISTEN, ASK };

/* Also a subscription, once it is done. */
struct command {
    struct command *next;
    enum kind kind;
    char topic[TOPIC_BYTES], name[TOPIC_BYTES];
    weft_msg *msg;
    weft_conn *conn;
    weft_bus_listener *listener;
    weft_bus_sub_opts opts;
    weft_bus_position from;
    void (*done)(int result, const char *const *names, size_t count, void *arg);
    void *arg;
};

struct weft_bus_listener {
    char topic[TOPIC_BYTES];
    bool is_ended;
    void (*on_ready)(const weft_bus_ready *ready, void *arg);
    void (*on_item)(const weft_bus_item *item, void *arg);
    void *arg;
};

struct topic {
    char name[TOPIC_BYTES];
    weft_msg *said[REMEMBER_MAX];
    uint64_t offset; /* of the last one */
    size_t count;
};

struct weft_bus {
    weft_bus_opts opts;
    weft_bus_rule rules[4]; /* a copy, as are the strings that they point to: constants */
    struct command *first, **end;
    struct topic topics[TOPICS_MAX];
    size_t topic_count;
    struct command *subs[SUBS_MAX];
    size_t sub_count;
    weft_bus_listener *listeners[SUBS_MAX];
    size_t listener_count;
    uint64_t epoch;
    bool is_full, is_cut_off;
    char loses[TOPIC_BYTES];
    char others[SUBS_MAX][2][TOPIC_BYTES]; /* topic, name */
    size_t other_count;
};

static weft_bus *bus;

static struct command *put(enum kind kind, const char *topic)
{
    struct command *c = fake_get(sizeof *c);

    if (!c)
        return NULL;
    c->kind = kind;
    strcpy(c->topic, topic);
    *bus->end = c;
    bus->end = &c->next;
    return c;
}

int weft_bus_open(weft_bus **out, const char *url, const weft_bus_opts *opts)
{
    (void)url;
    bus = *out = calloc(1, sizeof *bus);
    bus->opts = *opts;
    memcpy(bus->rules, opts->rules, opts->rule_count * sizeof *opts->rules);
    bus->opts.rules = bus->rules;
    bus->end = &bus->first;
    bus->epoch = 7;
    return WEFT_OK;
}

static struct topic *topic_of(const char *name)
{
    size_t i = 0;

    while (i < bus->topic_count && strcmp(bus->topics[i].name, name) != 0)
        i++;
    if (i == TOPICS_MAX)
        abort();
    if (i == bus->topic_count)
        strcpy(bus->topics[bus->topic_count++].name, name);
    return &bus->topics[i];
}

static bool has_history(const char *topic)
{
    for (size_t i = 0; i < bus->opts.rule_count; i++)
        if (strncmp(topic, bus->opts.rules[i].topic, strlen(bus->opts.rules[i].topic) - 1) == 0)
            return true;
    return false;
}

static weft_bus_position now_of(const struct topic *t)
{
    return has_history(t->name) ? (weft_bus_position){bus->epoch, t->offset} : (weft_bus_position){0};
}

static void hand_out(const weft_bus_item *item, weft_conn *only)
{
    weft_msg *wrapped = bus->opts.wrap ? bus->opts.wrap(item, bus->opts.app) : weft_msg_ref(item->msg);

    for (size_t i = 0; wrapped && i < bus->sub_count; i++)
        if (strcmp(bus->subs[i]->topic, item->topic) == 0 && (!only || only == bus->subs[i]->conn))
            fake_put(bus->subs[i]->conn, weft_msg_ref(wrapped));
    weft_msg_unref(wrapped);
}

static void do_publish(struct command *c)
{
    struct topic *t = topic_of(c->topic);
    weft_bus_item item = {.topic = t->name, .msg = c->msg};

    if (strcmp(bus->loses, t->name) == 0) {
        bus->loses[0] = '\0';
        weft_msg_unref(c->msg);
        return;
    }
    t->offset++;
    if (has_history(t->name)) {
        weft_msg **place = &t->said[t->offset % REMEMBER_MAX];
        weft_msg_unref(*place);
        *place = weft_msg_ref(c->msg);
        t->count += t->count < REMEMBER_MAX;
    }
    item.at = now_of(t);
    hand_out(&item, NULL);
    for (size_t i = 0; i < bus->listener_count; i++)
        if (!bus->listeners[i]->is_ended && strcmp(bus->listeners[i]->topic, t->name) == 0)
            bus->listeners[i]->on_item(&item, bus->listeners[i]->arg);
    weft_msg_unref(c->msg);
}

/* The first offset to be told to who has seen `from`. */
static uint64_t first_missed(const struct topic *t, const weft_bus_position *from, bool *is_gap)
{
    uint64_t oldest = t->offset - t->count + 1;
    bool is_known = from->epoch == bus->epoch && from->offset <= t->offset;

    *is_gap = from->epoch && (!is_known || from->offset + 1 < oldest);
    return is_known && from->offset + 1 > oldest ? from->offset + 1 : oldest;
}

static bool do_subscribe(struct command *c)
{
    struct topic *t = topic_of(c->topic);
    weft_bus_ready ready = {.topic = t->name, .at = now_of(t)};
    uint64_t at = first_missed(t, &c->from, &ready.is_gap);

    ready.missed = (uint32_t)(t->offset + 1 - at);
    bus->subs[bus->sub_count++] = c;
    if (c->opts.ready)
        c->opts.ready(c->conn, &ready, c->opts.arg);
    for (; c->opts.from && at <= t->offset; at++) {
        weft_bus_item item = {t->name, t->said[at % REMEMBER_MAX], {bus->epoch, at}};
        hand_out(&item, c->conn);
    }
    return true;
}

static void unsubscribe(weft_conn *conn, const char *topic)
{
    size_t kept = 0;

    for (size_t i = 0; i < bus->sub_count; i++)
        if (bus->subs[i]->conn == conn && (!topic || strcmp(bus->subs[i]->topic, topic) == 0))
            fake_give_back(bus->subs[i]);
        else
            bus->subs[kept++] = bus->subs[i];
    bus->sub_count = kept;
}

static void do_ask(struct command *c)
{
    const char *names[SUBS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < bus->sub_count; i++)
        if (strcmp(bus->subs[i]->topic, c->topic) == 0 && bus->subs[i]->name[0])
            names[count++] = bus->subs[i]->name;
    for (size_t i = 0; i < bus->other_count; i++)
        if (strcmp(bus->others[i][0], c->topic) == 0)
            names[count++] = bus->others[i][1];
    if (bus->is_full)
        c->done(WEFT_E_AGAIN, NULL, 0, c->arg);
    else
        c->done(WEFT_OK, names, count, c->arg);
}

static void do_listen(struct command *c)
{
    weft_bus_listener *l = c->listener;
    struct topic *t = topic_of(l->topic);
    weft_bus_ready ready = {.topic = t->name, .at = now_of(t)};
    uint64_t at = c->from.epoch ? t->offset - t->count + 1 : t->offset + 1;

    ready.missed = (uint32_t)(t->offset + 1 - at);
    if (!l->is_ended && l->on_ready)
        l->on_ready(&ready, l->arg);
    for (; at <= t->offset && !l->is_ended; at++) {
        weft_bus_item item = {t->name, t->said[at % REMEMBER_MAX], {bus->epoch, at}};
        l->on_item(&item, l->arg);
    }
    bus->listeners[bus->listener_count++] = l;
}

/* Returns whether the command lives on as a subscription. */
static bool carry_out(struct command *c)
{
    switch (c->kind) {
    case PUBLISH:
        do_publish(c);
        break;
    case SUBSCRIBE:
        return do_subscribe(c);
    case UNSUBSCRIBE:
        unsubscribe(c->conn, c->topic);
        break;
    case LISTEN:
        do_listen(c);
        break;
    case ASK:
        do_ask(c);
        break;
    }
    return false;
}

static void free_ended_listeners(void)
{
    size_t kept = 0;

    for (size_t i = 0; i < bus->listener_count; i++)
        if (bus->listeners[i]->is_ended)
            fake_give_back(bus->listeners[i]);
        else
            bus->listeners[kept++] = bus->listeners[i];
    bus->listener_count = kept;
}

void fake_bus_run(void)
{
    while (bus->first) {
        struct command *c = bus->first;
        bus->first = c->next;
        if (!bus->first)
            bus->end = &bus->first;
        if (!carry_out(c))
            fake_give_back(c);
    }
    free_ended_listeners();
}

int weft_bus_close(weft_bus *b, uint32_t deadline_ms)
{
    (void)deadline_ms;
    fake_bus_run();
    while (b->sub_count)
        unsubscribe(b->subs[0]->conn, NULL);
    fake_bus_forget();
    free(b);
    bus = NULL;
    return WEFT_OK;
}

int weft_bus_publish(weft_bus *b, const char *topic, weft_msg *m)
{
    struct command *c;

    if (b->is_full)
        return WEFT_E_AGAIN;
    c = put(PUBLISH, topic);
    if (!c)
        return WEFT_E_NOMEM;
    c->msg = m;
    return WEFT_OK;
}

int weft_bus_subscribe(weft_bus *b, weft_conn *conn, const char *topic, const weft_bus_sub_opts *opts)
{
    struct command *c;

    (void)b;
    if (fake_close_code(conn))
        return WEFT_E_CLOSED;
    c = put(SUBSCRIBE, topic);
    if (!c)
        return WEFT_E_NOMEM;
    c->conn = conn;
    c->opts = *opts;
    if (opts->from)
        c->from = *opts->from;
    if (opts->presence)
        strcpy(c->name, opts->presence);
    return WEFT_OK;
}

int weft_bus_unsubscribe(weft_bus *b, weft_conn *conn, const char *topic)
{
    struct command *c = put(UNSUBSCRIBE, topic);

    (void)b;
    if (!c)
        return WEFT_E_NOMEM;
    c->conn = conn;
    return WEFT_OK;
}

int weft_bus_listen(weft_bus *b, weft_bus_listener **out, const char *topic, const weft_bus_position *from,
                    void (*on_ready)(const weft_bus_ready *ready, void *arg),
                    void (*on_item)(const weft_bus_item *item, void *arg), void *arg)
{
    weft_bus_listener *l = fake_get(sizeof *l);
    struct command *c = l ? put(LISTEN, topic) : NULL;

    (void)b;
    if (!c) {
        if (l)
            fake_give_back(l);
        return WEFT_E_NOMEM;
    }
    *l = (weft_bus_listener){.on_ready = on_ready, .on_item = on_item, .arg = arg};
    strcpy(l->topic, topic);
    c->listener = *out = l;
    c->from.epoch = from != NULL; /* the chat asks for all or for nothing */
    return WEFT_OK;
}

void weft_bus_unlisten(weft_bus_listener *l)
{
    if (l)
        l->is_ended = true;
}

int weft_bus_presence(weft_bus *b, const char *topic,
                      void (*done)(int result, const char *const *names, size_t count, void *arg), void *arg)
{
    struct command *c = put(ASK, topic);

    (void)b;
    if (!c)
        return WEFT_E_NOMEM;
    c->done = done;
    c->arg = arg;
    return WEFT_OK;
}

int weft_bus_get_stats(weft_bus *b, weft_bus_stats *out)
{
    out->state = b->is_cut_off ? WEFT_BUS_DOWN : WEFT_BUS_UP;
    return WEFT_OK;
}

/* --- what a test does --- */

void fake_bus_hold(const char *topic, const char *text)
{
    weft_msg *m;

    if (weft_msg_new(&m, WEFT_TEXT, text, strlen(text)) == WEFT_OK && weft_bus_publish(bus, topic, m) != WEFT_OK)
        weft_msg_unref(m);
}

void fake_bus_publish(const char *topic, const char *text)
{
    fake_bus_hold(topic, text);
    fake_bus_run();
}

void fake_bus_enter(const char *topic, const char *name)
{
    strcpy(bus->others[bus->other_count][0], topic);
    strcpy(bus->others[bus->other_count++][1], name);
}

void fake_bus_drop(const char *topic, const char *name)
{
    for (size_t i = 0; i < bus->other_count; i++)
        if (strcmp(bus->others[i][0], topic) == 0 && strcmp(bus->others[i][1], name) == 0)
            bus->others[i][0][0] = '\0';
}

bool fake_bus_has(weft_conn *c, const char *topic, const char *name)
{
    for (size_t i = 0; i < bus->sub_count; i++)
        if (bus->subs[i]->conn == c && strcmp(bus->subs[i]->topic, topic) == 0)
            return strcmp(bus->subs[i]->name, name) == 0;
    return false;
}

void fake_bus_stuff(bool is_full)
{
    bus->is_full = is_full;
}

void fake_bus_cut_off(bool is_cut_off)
{
    bus->is_cut_off = is_cut_off;
}

void fake_bus_lose(const char *topic)
{
    strcpy(bus->loses, topic);
}

void fake_bus_forget(void)
{
    bus->epoch++;
    for (size_t i = 0; i < bus->topic_count; i++) {
        for (size_t k = 0; k < REMEMBER_MAX; k++) {
            weft_msg_unref(bus->topics[i].said[k]);
            bus->topics[i].said[k] = NULL;
        }
        bus->topics[i].count = 0;
        bus->topics[i].offset = 0;
    }
}

void fake_bus_leave_all(weft_conn *c)
{
    if (bus)
        unsubscribe(c, NULL);
}
