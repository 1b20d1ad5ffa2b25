/* Subscriptions in Redis, and what comes on them.
 *
 * A topic's channel is subscribed at the node of its slot: by SUBSCRIBE, in a cluster by SSUBSCRIBE. Behind
 * what was asked for a PING with a number goes. What the last answer for the channel said before the PING's
 * own counts: so neither a refusal (which names no channel) nor what a server takes back by itself, when
 * the slot moves, is taken for something else. When there was a refusal for good before the PING's answer,
 * what was not heard of by then is taken to be refused, and asked for again by itself.
 *
 * Shards have no patterns. So a pattern is subscribed by PSUBSCRIBE at one node, its home, which hears of
 * each PUBLISH at any node; and on every node something is subscribed by PSUBSCRIBE that never comes, so that
 * the scripts there see that somebody has patterns, and PUBLISH beside SPUBLISH (announced). A pattern is
 * live when all nodes that are up know. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/bus_redis.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/msg.h"
#include "proto/utf8.h"

#define ENVELOPE_BYTES_MAX 160 /* before the payload */

/* --- names --- */

/* A topic object's channel, or for a pattern what Redis matches channels with. */
static size_t channel_of(const struct weft_bus *b, char *out, const struct bus_topic *t)
{
    char plain[REDIS_KEY_ROOM];
    size_t n = 0;
    int bytes;

    if (!t->is_pattern)
        return (size_t)snprintf(out, REDIS_KEY_ROOM, "%s%s}", redis_of(b)->channel_head, t->name);
    bytes = snprintf(plain, sizeof plain, "%s%.*s", redis_of(b)->channel_head, (int)t->bytes, t->name);
    for (int i = 0; i < bytes; i++) {
        if (strchr("*?[]\\^-", plain[i]))
            out[n++] = '\\';
        out[n++] = plain[i];
    }
    out[n++] = '*';
    out[n] = '\0';
    return n;
}

/* The topic that a channel is for, cut out in place. NULL: none of ours. */
static char *topic_of_channel(const struct weft_bus *b, char *channel, size_t bytes)
{
    size_t head = strlen(redis_of(b)->channel_head);

    if (bytes < head + 2 || bytes - head - 1 > WEFT_BUS_TOPIC_BYTES_MAX || channel[bytes - 1] != '}' ||
        strncmp(channel, redis_of(b)->channel_head, head) != 0)
        return NULL;
    channel[bytes - 1] = '\0';
    return channel + head;
}

static struct bus_topic *topic_of(struct weft_bus *b, const struct resp *channel, char **name)
{
    size_t bytes;
    char *text = (char *)resp_text(channel, &bytes); /* the reply is ours */

    *name = topic_of_channel(b, text, bytes);
    return *name ? bus_find_topic(b, *name, strlen(*name), false) : NULL;
}

/* Back from what Redis matches with: the pattern without its escapes and its end. */
static struct bus_topic *topic_of_pattern(struct weft_bus *b, const struct resp *pattern)
{
    size_t bytes, n = 0, head = strlen(redis_of(b)->channel_head);
    const char *text = resp_text(pattern, &bytes);
    char plain[2 * REDIS_KEY_ROOM];

    for (size_t i = 0; i + 1 < bytes && n < sizeof plain - 1; i++) {
        i += text[i] == '\\';
        plain[n++] = text[i];
    }
    return n >= head ? bus_find_topic(b, plain + head, n - head, true) : NULL;
}

/* --- asking --- */

static void put_subscribe(struct weft_bus *b, struct redis_node *n, const struct bus_topic *t, bool on)
{
    static const char *const verbs[3][2] = {
        {"UNSUBSCRIBE", "SUBSCRIBE"}, {"SUNSUBSCRIBE", "SSUBSCRIBE"}, {"PUNSUBSCRIBE", "PSUBSCRIBE"}};
    bool is_cluster = redis_of(b)->mode == REDIS_CLUSTER;
    char channel[2 * REDIS_KEY_ROOM];

    resp_command(&n->subscriptions, 2);
    resp_arg_text(&n->subscriptions, verbs[t->is_pattern ? 2 : is_cluster][on]);
    resp_arg(&n->subscriptions, channel, channel_of(b, channel, t));
    n->wants_mark = true;
}

void channels_put_mark(struct redis_node *n)
{
    if (n->marks_sent == n->marks_heard)
        n->sub_heard_ms = clock_now_ms(); /* silence is counted from the first that owes an answer */
    resp_command(&n->subscriptions, 2);
    resp_arg_text(&n->subscriptions, "PING");
    resp_arg_number(&n->subscriptions, ++n->marks_sent);
    n->wants_mark = false;
}

static void leave_asked(struct bus_topic *t)
{
    if (!t->asked_place)
        return;
    *t->asked_place = t->asked_next;
    if (t->asked_next)
        t->asked_next->asked_place = t->asked_place;
    else
        t->node->asked_end = t->asked_place;
    t->asked_place = NULL;
}

/* An answer that comes behind this is nobody's. */
static void switch_off(struct weft_bus *b, struct bus_topic *t)
{
    redis_of(b)->has_off = true;
    leave_asked(t);
    if (t->fill)
        t->fill->topic = NULL;
    t->fill = NULL;
    t->state = TOPIC_OFF;
    t->node = NULL;
}

static void ask_for(struct weft_bus *b, struct bus_topic *t, struct redis_node *n)
{
    put_subscribe(b, n, t, true);
    t->state = TOPIC_ASKED;
    t->node = n;
    t->is_heard = false;
    t->mark = n->marks_sent + 1;
    t->asked_next = NULL;
    t->asked_place = n->asked_end;
    *n->asked_end = t;
    n->asked_end = &t->asked_next;
}

/* Any will do, and it stays the same as long as it can. */
static struct redis_node *home_of(const struct redis *r)
{
    for (size_t i = 0; i < r->node_count; i++)
        if (r->nodes[i]->is_wanted && r->nodes[i]->phase == NODE_UP)
            return r->nodes[i];
    return NULL;
}

static void place(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    struct redis *r = redis_of(b);
    struct redis_node *n;

    (void)arg;
    if (t->state != TOPIC_OFF || (t->refused_ms && clock_now_ms() < t->again_at_ms))
        return;
    n = t->is_pattern ? home_of(r) : cluster_owner(r, t->slot);
    if (n && n->phase == NODE_UP)
        ask_for(b, t, n);
}

/* --- patterns in a cluster --- */

static void put_announcement(struct weft_bus *b, struct redis_node *n, bool on)
{
    char name[REDIS_KEY_ROOM];

    resp_command(&n->subscriptions, 2);
    resp_arg_text(&n->subscriptions, on ? "PSUBSCRIBE" : "PUNSUBSCRIBE");
    resp_arg(&n->subscriptions, name, (size_t)snprintf(name, sizeof name, "%sp:", b->opts.prefix));
    n->wants_mark = true;
    n->announced = on ? ANNOUNCED_ASKED : ANNOUNCED_NOT;
    n->announced_mark = n->marks_sent + 1;
    n->is_announcement_heard = false;
}

static void announce(struct weft_bus *b)
{
    struct redis *r = redis_of(b);

    for (size_t i = 0; i < r->node_count && r->mode == REDIS_CLUSTER; i++) {
        struct redis_node *n = r->nodes[i];

        if (n->phase == NODE_UP && n->is_wanted && (n->announced != ANNOUNCED_NOT) != (r->pattern_count > 0))
            put_announcement(b, n, r->pattern_count > 0);
    }
}

static bool do_all_know(const struct redis *r)
{
    bool do_know = true;

    for (size_t i = 0; i < r->node_count && r->mode == REDIS_CLUSTER; i++) {
        const struct redis_node *n = r->nodes[i];
        do_know &= n->phase != NODE_UP || !n->is_wanted || n->announced == ANNOUNCED;
    }
    return do_know;
}

static void make_live(struct weft_bus *b, struct bus_topic *t)
{
    t->state = TOPIC_LIVE;
    t->refused_ms = 0;
    fill_make_all_live(b, t);
}

static void make_heard_live(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    (void)arg;
    if (t->state == TOPIC_HEARD)
        make_live(b, t);
}

/* --- refused --- */

void channel_refused(struct weft_bus *b, struct bus_topic *t, const char *error)
{
    struct redis *r = redis_of(b);
    char why[RESP_WHY_BYTES];

    if (!t->refused_ms)
        LOG(WEFT_LOG_ERROR, 0, "bus: Redis refuses the topic %s: %s", t->name, redis_quote(b, why, error));
    t->refused_ms = redis_doubled(t->refused_ms, &b->opts);
    t->again_at_ms = clock_now_ms() + redis_shortened(b, t->refused_ms);
    r->refused_at_ms = redis_earlier(r->refused_at_ms, t->again_at_ms);
    if (t->state != TOPIC_ASKED)
        put_subscribe(b, t->node, t, false);
    switch_off(b, t);
}

static void ask_again(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    struct redis *r = redis_of(b);

    if (t->state != TOPIC_OFF || !t->refused_ms)
        return;
    if (*(const uint64_t *)arg >= t->again_at_ms)
        place(b, t, NULL);
    else
        r->refused_at_ms = redis_earlier(r->refused_at_ms, t->again_at_ms);
}

void channels_again(struct weft_bus *b, uint64_t now_ms)
{
    struct redis *r = redis_of(b);

    if (now_ms < r->refused_at_ms)
        return;
    r->refused_at_ms = UINT64_MAX;
    announce(b);
    bus_each_topic(b, ask_again, &now_ms);
}

/* --- begin and end --- */

void channel_begin(struct weft_bus *b, struct bus_topic *t)
{
    struct redis *r = redis_of(b);

    t->slot = r->mode == REDIS_CLUSTER ? redis_slot(b, t->name) : 0;
    if (t->is_pattern && ++r->pattern_count == 1)
        announce(b);
    place(b, t, NULL);
}

void channel_end(struct weft_bus *b, struct bus_topic *t)
{
    struct redis *r = redis_of(b);

    if (t->node)
        put_subscribe(b, t->node, t, false);
    switch_off(b, t);
    if (t->is_pattern && --r->pattern_count == 0)
        announce(b);
    bus_remove_topic(b, t);
}

void channels_place(struct weft_bus *b)
{
    redis_of(b)->has_off = false;
    announce(b);
    bus_each_topic(b, place, NULL);
    if (do_all_know(redis_of(b)))
        bus_each_topic(b, make_heard_live, NULL);
}

static void replace(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    (void)arg;
    if (t->is_pattern || !t->node || t->node == cluster_owner(redis_of(b), t->slot))
        return;
    put_subscribe(b, t->node, t, false);
    switch_off(b, t);
}

void channels_replace(struct weft_bus *b)
{
    bus_each_topic(b, replace, NULL);
    channels_place(b);
}

static void find_slot(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    (void)arg;
    t->slot = redis_slot(b, t->name);
}

void channels_spread(struct weft_bus *b)
{
    bus_each_topic(b, find_slot, NULL);
}

static void forget(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    if (t->node == arg)
        switch_off(b, t);
}

void channels_forget(struct weft_bus *b, struct redis_node *n)
{
    bus_each_topic(b, forget, n);
    n->announced = ANNOUNCED_NOT;
}

/* --- answers --- */

static void confirm(struct weft_bus *b, struct bus_topic *t)
{
    if (!t->is_heard && t->node->refusal[0]) {
        channel_refused(b, t, t->node->refusal);
    } else if (!t->is_heard) {
        switch_off(b, t); /* asked for again when the map has come */
        cluster_wants_map(b);
    } else if (t->rule) {
        fill_start(b, t);
    } else if (t->is_pattern && !do_all_know(redis_of(b))) {
        t->state = TOPIC_HEARD;
    } else {
        make_live(b, t);
    }
}

/* Refused, patterns wait: who publishes there would not know of them. */
static void end_announcement(struct weft_bus *b, struct redis_node *n)
{
    struct redis *r = redis_of(b);

    n->announced = n->is_announcement_heard ? ANNOUNCED : ANNOUNCED_NOT;
    if (n->is_announcement_heard) {
        r->has_told_patterns = false;
        if (do_all_know(r))
            bus_each_topic(b, make_heard_live, NULL);
        return;
    }
    if (!r->has_told_patterns)
        LOG(WEFT_LOG_ERROR, 0, "bus: Redis refuses the pattern %sp: %s", b->opts.prefix, n->refusal);
    r->has_told_patterns = true;
    r->refused_at_ms = redis_earlier(r->refused_at_ms, clock_now_ms() + b->opts.reconnect_max_ms);
}

void channels_mark_heard(struct weft_bus *b, struct redis_node *n, uint64_t mark)
{
    if (mark <= n->marks_heard || mark > n->marks_sent)
        return;
    n->marks_heard = mark;
    while (n->asked && n->asked->mark <= mark) {
        struct bus_topic *t = n->asked;

        leave_asked(t);
        confirm(b, t);
    }
    if (n->announced == ANNOUNCED_ASKED && n->announced_mark <= mark)
        end_announcement(b, n);
    n->refusal[0] = '\0';
}

static bool is_announcement(const struct weft_bus *b, const char *pattern)
{
    size_t bytes = strlen(b->opts.prefix);

    return strncmp(pattern, b->opts.prefix, bytes) == 0 && strcmp(pattern + bytes, "p:") == 0;
}

/* Yes while it was asked for, and no: refused or taken back. Of one that has it, the server takes it back. */
static void note_answer(struct weft_bus *b, struct redis_node *n, struct bus_topic *t, bool on)
{
    if (!t || t->node != n)
        return;
    if (t->state == TOPIC_ASKED) {
        t->is_heard = on;
    } else if (!on) {
        switch_off(b, t);
        cluster_wants_map(b);
    }
}

/* --- what comes live --- */

static bool read_envelope(struct envelope *e, const char *p, size_t bytes)
{
    const char *parts[4], *end = p + (bytes < ENVELOPE_BYTES_MAX ? bytes : ENVELOPE_BYTES_MAX);

    for (int i = 0; i < 4; i++) {
        parts[i] = p;
        p = memchr(p, ';', (size_t)(end - p));
        if (!p)
            return false;
        p++;
    }
    if (memcmp(parts[0], "w1;", 3) != 0)
        return false;
    *e =
        (struct envelope){.at = {strtoull(parts[1], NULL, 10), strtoull(parts[2], NULL, 10)}, .id = parts[3]};
    e->id_bytes = (size_t)(p - parts[3]) - 1;
    e->data = p;
    e->data_bytes = bytes - (size_t)(p - parts[0]);
    return true;
}

/* What a program without weft has published, redis-cli say: text if it can be. Only where nothing is
 * remembered: a message with history has been given its offset by our script. */
static weft_msg *plain_message(const struct weft_bus *b, const struct bus_topic *t, const char *p,
                               size_t bytes)
{
    struct utf8_state text = {0};
    enum weft_msg_type type;
    weft_msg *m;

    if (t->rule || bytes > b->opts.message_bytes_max || (bytes >= 3 && memcmp(p, "w1;", 3) == 0))
        return NULL;
    type = utf8_feed(&text, (const uint8_t *)p, bytes) && utf8_is_complete(&text) ? WEFT_TEXT : WEFT_BINARY;
    return weft_msg_new(&m, type, p, bytes) == WEFT_OK ? m : NULL;
}

/* name: where it was published; t: the exact topic or a pattern. */
static void take_message(struct weft_bus *b, struct bus_topic *t, const char *name,
                         const struct resp *payload)
{
    size_t bytes;
    const char *p = resp_text(payload, &bytes);
    struct envelope e = {0};
    weft_msg *m = NULL;
    int rc = WEFT_OK;

    if (t->rule && strcmp(p, REDIS_NUDGE) == 0) {
        fill_nudge(b, t);
        return;
    }
    if (read_envelope(&e, p, bytes))
        rc = fill_read_message(b, &m, e.data, e.data_bytes);
    else
        m = plain_message(b, t, p, bytes);
    if (rc == WEFT_OK && !m) {
        redis_log_seldom(b, SELDOM_FOREIGN, name);
        return;
    }
    if (rc == WEFT_E_NOMEM && t->rule && e.at.epoch) {
        fill_pass_over(b, t, e.at);
    } else if (rc == WEFT_OK && t->rule && e.at.epoch) {
        fill_take_live(b, t, &e, m);
    } else if (rc == WEFT_OK && t->state == TOPIC_LIVE) {
        weft_bus_item item = {.topic = name, .msg = m, .at = e.at};
        bus_deliver(b, t, &item);
    }
    weft_msg_unref(m);
}

/* { kind, channel, payload } or { "pmessage", pattern, channel, payload } */
void channel_take_push(struct weft_bus *b, struct redis_node *n, const struct resp *reply)
{
    const char *kind = resp_text(resp_item(reply, 0), NULL);
    struct bus_topic *t;
    char *name;

    if (strcmp(kind, "pmessage") == 0 && resp_count(reply) == 4) {
        t = topic_of_pattern(b, resp_item(reply, 1));
        topic_of(b, resp_item(reply, 2), &name);
        if (t && name && t->node == n)
            take_message(b, t, name, resp_item(reply, 3));
        return;
    }
    if (strcmp(kind, "psubscribe") == 0 && is_announcement(b, resp_text(resp_item(reply, 1), NULL))) {
        n->is_announcement_heard = true;
        return;
    }
    if (strstr(kind, "subscribe") && kind[0] == 'p') {
        note_answer(b, n, topic_of_pattern(b, resp_item(reply, 1)), kind[1] == 's');
        return;
    }
    t = topic_of(b, resp_item(reply, 1), &name);
    if (strstr(kind, "unsubscribe"))
        note_answer(b, n, t, false);
    else if (strstr(kind, "subscribe"))
        note_answer(b, n, t, true);
    else if (strstr(kind, "message") && t && t->node == n && resp_count(reply) == 3)
        take_message(b, t, name, resp_item(reply, 2));
}
