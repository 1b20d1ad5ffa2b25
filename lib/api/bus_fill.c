/* Topics with history: their order in this process, and reading what it lacks out of the stream.
 *
 * F1  A topic with history is delivered from what comes live while offsets follow each other. When one is
 *     missing, and behind each (re)subscription, it is FILLING: what comes live is passed over, for it
 *     stands in the stream, and the stream is read up to its end; again when something was passed over
 *     behind that, or a nudge came meanwhile. So nothing is doubled or lost, and nothing needs to be kept meanwhile.
 * F2  The history of a topic in this process begins behind cache_from; who resumes within it is served from
 *     there, so that a thousand clients that come back cost Redis one read.
 * F3  A fill belongs to its topic's node. A node that has the slot no more says so by a redirection or by
 *     taking the subscription back: then the topic is subscribed and filled anew elsewhere. While a slot's
 *     keys are on their way the fill is repeated, for the moment, or once at the other node; if that one
 *     fails meanwhile the fill begins again at the topic's own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/bus_redis.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/msg.h"

#define FILL_PAGE    100
#define FILL_BYTES   (256u * 1024u) /* of a page, and what is left of its last entry */
#define ID_BYTES_MAX 63

/* What stands in the stream has an age by Redis' clock, and may be older than this machine has been running: this
 * process' clock counts from here for histories, behind the longest that a rule can say. */
#define CLOCK_BEGIN_MS (1ull << 43)
_Static_assert(CLOCK_BEGIN_MS > (uint64_t)UINT32_MAX * 1000, "history_seconds are not all behind it");

static uint64_t history_ms(void)
{
    return CLOCK_BEGIN_MS + clock_now_ms();
}

/* Behind which offset does it want the history? -1: it wants none. */
static int64_t wish_of(const struct bus_sub *s, uint64_t epoch)
{
    if (s->is_live || !s->has_from)
        return -1;
    return s->from.epoch && s->from.epoch == epoch ? (int64_t)s->from.offset : 0;
}

/* Can it be served out of what this process holds? */
static bool can_serve(const struct bus_sub *s)
{
    int64_t wish = wish_of(s, s->topic->at.epoch);

    return wish < 0 || (uint64_t)wish >= s->topic->cache_from;
}

/* The lowest wish of those that wait and cannot be served; -1: there is none. */
static int64_t lowest_wish(const struct bus_topic *t)
{
    int64_t lowest = -1;

    for (const struct bus_sub *s = t->waiting ? t->subs : NULL; s; s = s->next) {
        int64_t wish = t->has_at && can_serve(s) ? -1 : wish_of(s, t->at.epoch);

        if (wish >= 0 && (lowest < 0 || wish < lowest))
            lowest = wish;
    }
    return lowest;
}

/* The command itself; a fill is under way from here on until it is answered or its node is down. */
static bool put_fill(struct weft_bus *b, struct redis_node *n, struct redis_fill *fill, bool is_asking)
{
    const struct bus_topic *t = fill->topic;
    struct request *q;
    char number[32];

    node_ask(n, is_asking);
    q = node_request(n, REQUEST_FILL);
    if (!q)
        return false;
    q->fill = fill;
    node_begin_script(b, n, FILL_SCRIPT, 2, 7);
    redis_put_key(b, &n->commands, 's', t->name);
    redis_put_key(b, &n->commands, 'm', t->name);
    resp_arg_number(&n->commands, t->has_at ? t->at.epoch : 0);
    resp_arg_number(&n->commands, t->at.offset);
    resp_arg_text(&n->commands, t->last_id);
    snprintf(number, sizeof number, "%lld", (long long)fill->from);
    resp_arg_text(&n->commands, number);
    resp_arg_number(&n->commands, bus_random(b));
    resp_arg_number(&n->commands, FILL_PAGE);
    resp_arg_number(&n->commands, FILL_BYTES);
    return true;
}

static void give_up(struct redis_fill *fill)
{
    if (fill->topic)
        fill->topic->fill = NULL;
    mem_free(fill);
}

static void send_fill(struct weft_bus *b, struct bus_topic *t, int64_t from, bool is_next_page)
{
    struct redis_fill *fill = mem_calloc(1, sizeof *fill);

    t->state = TOPIC_FILLING;
    if (!fill) {
        t->node->commands.has_failed = true;
        return;
    }
    *fill = (struct redis_fill){.topic = t, .from = from, .is_next_page = is_next_page};
    t->fill = fill;
    if (!put_fill(b, t->node, fill, false))
        give_up(fill);
}

/* Behind which offset does a fill begin? */
static int64_t start_of(const struct bus_topic *t)
{
    int64_t from = lowest_wish(t);

    return t->has_at && (from < 0 || (uint64_t)from > t->at.offset) ? (int64_t)t->at.offset : from;
}

void fill_start(struct weft_bus *b, struct bus_topic *t)
{
    if (t->fill)
        return;
    t->passed_over = (weft_bus_position){0};
    t->is_nudged = false;
    send_fill(b, t, start_of(t), false);
}

void fill_make_all_live(struct weft_bus *b, struct bus_topic *t)
{
    bus_history_prune(&t->history, history_ms());
    for (struct bus_sub *s = t->waiting ? t->subs : NULL; s; s = s->next)
        if (!s->is_live)
            bus_make_live(b, s);
}

void fill_sub_waits(struct weft_bus *b, struct bus_sub *s)
{
    struct bus_topic *t = s->topic;

    if (t->state != TOPIC_LIVE)
        return;
    if (!t->rule || can_serve(s)) {
        bus_history_prune(&t->history, history_ms());
        bus_make_live(b, s);
    } else {
        fill_start(b, t);
    }
}

/* It stands elsewhere now; what is held does not fit. In the same epoch cache_from stays: what is between
 * is not in the stream either. */
static void jump(struct bus_topic *t, weft_bus_position to)
{
    t->at = to;
    t->last_id[0] = '\0';
    if (t->history.at.epoch != to.epoch)
        t->cache_from = to.offset;
    if (t->history.at.epoch != to.epoch || t->history.at.offset != to.offset)
        bus_history_clear(&t->history, to);
}

static void remember_id(struct bus_topic *t, const char *id, size_t bytes)
{
    bytes = bytes <= ID_BYTES_MAX ? bytes : 0;
    memcpy(t->last_id, id, bytes);
    t->last_id[bytes] = '\0';
}

static uint64_t tag_of(const struct weft_bus *b, const char *id, size_t bytes)
{
    return bytes ? siphash(&b->key, id, bytes) | 1 : 0;
}

int fill_read_message(struct weft_bus *b, weft_msg **out, const char *data, size_t bytes)
{
    *out = NULL;
    if (bytes < 1 || (data[0] != 'T' && data[0] != 'B') || bytes - 1 > b->opts.message_bytes_max) {
        redis_log_seldom(b, SELDOM_FOREIGN, "another form, or above message_bytes_max");
        return WEFT_E_INVAL;
    }
    return weft_msg_new(out, data[0] == 'T' ? WEFT_TEXT : WEFT_BINARY, data + 1, bytes - 1);
}

/* The next message of a topic with history, live or out of the stream; the offsets have been looked at. */
static void advance(struct weft_bus *b, struct bus_topic *t, weft_msg *m, weft_bus_position at,
                    uint64_t time_ms, const char *id, size_t id_bytes)
{
    weft_bus_item item = {.topic = t->name, .msg = m, .at = at};

    if (t->history.at.epoch != at.epoch || t->history.at.offset + 1 != at.offset)
        jump(t, (weft_bus_position){at.epoch, at.offset - 1});
    bus_history_put(&t->history, m, time_ms, tag_of(b, id, id_bytes));
    t->at = at;
    remember_id(t, id, id_bytes);
    bus_deliver(b, t, &item);
}

static uint64_t offset_of(const struct resp *entry)
{
    return strtoull(resp_text(resp_item(entry, 0), NULL), NULL, 10);
}

/* One entry of a page, { id, { t, .., i, .., d, .. } }. What is none of ours is passed over, and told as a
 * gap by what follows. False: no memory. */
static bool take_entry(struct weft_bus *b, struct bus_topic *t, const struct resp *entry, uint64_t epoch,
                       uint64_t now_ms)
{
    const struct resp *fields = resp_item(entry, 1);
    size_t id_bytes, bytes;
    const char *id = resp_text(resp_item(fields, 3), &id_bytes);
    const char *data = resp_text(resp_item(fields, 5), &bytes);
    uint64_t offset = offset_of(entry);
    uint64_t time_ms = (uint64_t)resp_integer(resp_item(fields, 1)), mine_ms = history_ms();
    uint64_t age_ms = now_ms > time_ms ? now_ms - time_ms : 0;
    weft_msg *m;
    int rc = fill_read_message(b, &m, data, bytes);
    bool is_new = t->has_at && offset > t->at.offset;

    if (rc != WEFT_OK)
        return rc == WEFT_E_INVAL;
    mine_ms = mine_ms > age_ms ? mine_ms - age_ms : 0;
    if (is_new && offset != t->at.offset + 1)
        bus_tell_gap(b, t);
    if (is_new) {
        advance(b, t, m, (weft_bus_position){epoch, offset}, mine_ms, id, id_bytes);
        BUS_COUNT(b, filled);
    } else {
        if (t->history.at.epoch != epoch || t->history.at.offset + 1 != offset)
            bus_history_clear(&t->history, (weft_bus_position){epoch, offset - 1});
        bus_history_put(&t->history, m, mine_ms, tag_of(b, id, id_bytes));
    }
    weft_msg_unref(m);
    return true;
}

/* What is in Redis is of another epoch than what was seen. back: it goes on from there behind base, and id
 * published what stands at base: if that is what was seen there, nothing is missing. */
static void enter_epoch(struct weft_bus *b, struct bus_topic *t, uint64_t epoch, bool back, uint64_t base,
                        const struct resp *id)
{
    bool is_whole = t->at.epoch == 0 || (back && base == 0);
    size_t bytes;
    const char *text = resp_text(id, &bytes);

    if (back && bytes)
        is_whole = history_tag(&t->history, base) == tag_of(b, text, bytes);
    jump(t, (weft_bus_position){epoch, back ? base : 0});
    if (!is_whole)
        bus_tell_gap(b, t);
}

/* A page came; is it the first of a fill that reaches back further than what is held? */
static void begin_page(struct weft_bus *b, struct bus_topic *t, const struct redis_fill *fill,
                       const struct resp *reply)
{
    uint64_t epoch = (uint64_t)resp_integer(resp_item(reply, 0));
    int64_t from = resp_integer(resp_item(reply, 4));

    if (t->has_at && epoch != t->at.epoch)
        enter_epoch(b, t, epoch, resp_integer(resp_item(reply, 2)), (uint64_t)from, resp_item(reply, 6));
    if (fill->is_next_page || from < 0)
        return;
    if (!t->has_at || (uint64_t)from < t->cache_from) {
        bus_history_clear(&t->history, (weft_bus_position){epoch, (uint64_t)from});
        t->cache_from = (uint64_t)from;
    }
}

static bool was_passed_over(const struct bus_topic *t)
{
    if (t->passed_over.epoch == 0)
        return false;
    return t->passed_over.epoch != t->at.epoch || t->passed_over.offset > t->at.offset;
}

/* The stream was read to its end, `there`. */
static void end_fill(struct weft_bus *b, struct bus_topic *t, weft_bus_position there, int64_t from)
{
    if (t->has_at && there.offset > t->at.offset)
        bus_tell_gap(b, t); /* what was missed is not in the stream any more */
    if (!t->has_at || there.offset > t->at.offset || t->history.at.offset != there.offset)
        jump(t, there);
    t->has_at = true;
    if (from < 0)
        t->cache_from = there.offset;
    if (was_passed_over(t) || t->is_nudged || lowest_wish(t) >= 0) {
        fill_start(b, t);
        return;
    }
    t->state = TOPIC_LIVE;
    t->refused_ms = 0;
    fill_make_all_live(b, t);
}

/* { epoch, offset, back, now, from, entries, id } */
static bool take_page(struct weft_bus *b, struct bus_topic *t, const struct redis_fill *fill,
                      const struct resp *reply)
{
    weft_bus_position there = {(uint64_t)resp_integer(resp_item(reply, 0)),
                               (uint64_t)resp_integer(resp_item(reply, 1))};
    uint64_t now_ms = (uint64_t)resp_integer(resp_item(reply, 3));
    int64_t from = resp_integer(resp_item(reply, 4));
    const struct resp *entries = resp_item(reply, 5);
    size_t count = resp_count(entries);
    uint64_t last;

    begin_page(b, t, fill, reply);
    for (size_t i = 0; i < count; i++)
        if (!take_entry(b, t, resp_item(entries, i), there.epoch, now_ms))
            return false;
    last = offset_of(resp_item(entries, count - 1));
    if (count && last < there.offset)
        send_fill(b, t, (int64_t)last, true);
    else
        end_fill(b, t, there, from);
    return true;
}

static void put_off(struct weft_bus *b, struct redis_fill *fill)
{
    struct redis *r = redis_of(b);

    fill->tries = 0;
    if (!r->fills_later.first)
        r->fills_at_ms = clock_now_ms() + b->opts.reconnect_min_ms;
    queue_put(&r->fills_later, &fill->node);
}

void fill_node_failed(struct weft_bus *b, const struct redis_node *n, struct redis_fill *fill)
{
    struct bus_topic *t = fill->topic;

    if (!t || t->node == n) {
        give_up(fill);
        return;
    }
    t->fill = fill;
    fill->from = start_of(t); /* from the beginning: of a page a part may have been taken */
    fill->is_next_page = false;
    put_off(b, fill);
}

/* It was refused. False: the connection is to be made again. */
static bool try_again(struct weft_bus *b, struct redis_node *n, struct redis_fill *fill, const char *error)
{
    struct redis_node *other = NULL;
    struct slots_reply refusal;

    slots_read_error(&refusal, error);
    switch (refusal.what) {
    case REFUSED_ASK:
        other = fill->tries++ < REDIS_TRIES_MAX ? cluster_redirect(b, n, &refusal) : NULL;
        if (other && other->phase == NODE_UP && put_fill(b, other, fill, true))
            return true;
        break;
    case REFUSED_MOVED:
        cluster_redirect(b, n, &refusal);
        break;
    case REFUSED_BY_CLUSTER:
    case REFUSED_ELSEWHERE:
        cluster_wants_map(b);
        break;
    case REFUSED_FOR_NOW:
    case REFUSED_WHILE_MOVING:
        break;
    case REFUSED_FOR_GOOD:
        channel_refused(b, fill->topic, error); /* which leaves the fill alone */
        give_up(fill);
        return true;
    case REFUSED_HERE:
        fill_node_failed(b, n, fill);
        return false;
    }
    put_off(b, fill);
    return true;
}

void fills_again(struct weft_bus *b, uint64_t now_ms)
{
    struct redis *r = redis_of(b);
    struct queue due = r->fills_later;
    struct redis_fill *fill;

    if (now_ms < r->fills_at_ms)
        return;
    r->fills_later.first = NULL;
    while ((fill = queue_take(&due)))
        if (!fill->topic || !put_fill(b, fill->topic->node, fill, false))
            give_up(fill);
}

void fills_stop(struct redis *r)
{
    struct redis_fill *fill;

    while ((fill = queue_take(&r->fills_later)))
        give_up(fill);
}

bool fill_answer(struct weft_bus *b, struct redis_node *n, struct redis_fill *fill, const struct resp *reply)
{
    struct bus_topic *t = fill->topic;
    bool is_good = resp_count(reply) == 7;

    if (t && resp_kind(reply) == RESP_ERROR)
        return try_again(b, n, fill, resp_text(reply, NULL));
    if (t)
        t->fill = NULL;
    if (t && is_good)
        is_good = take_page(b, t, fill, reply);
    if (!t || is_good) {
        mem_free(fill);
        return true;
    }
    fill_node_failed(b, n, fill);
    return false;
}

/* --- what comes live --- */

/* Does it follow what was delivered? */
static bool follows(const struct bus_topic *t, weft_bus_position at)
{
    if (at.epoch == t->at.epoch)
        return at.offset == t->at.offset + 1;
    return t->at.epoch == 0 && at.offset == 1;
}

/* It stands in the stream: F1. */
void fill_pass_over(struct weft_bus *b, struct bus_topic *t, weft_bus_position at)
{
    if (t->state == TOPIC_LIVE)
        fill_start(b, t);
    t->passed_over = at;
}

void fill_take_live(struct weft_bus *b, struct bus_topic *t, const struct envelope *e, weft_msg *m)
{
    if (t->state == TOPIC_LIVE && follows(t, e->at)) {
        if (t->at.epoch == 0)
            jump(t, (weft_bus_position){e->at.epoch, 0});
        advance(b, t, m, e->at, history_ms(), e->id, e->id_bytes);
    } else if (t->at.epoch == e->at.epoch && e->at.offset <= t->at.offset) {
        BUS_COUNT(b, duplicates);
    } else {
        fill_pass_over(b, t, e->at);
    }
}

/* What it is for stands in the stream by now. A fill that is on its way may have read that before, and nobody says
 * where it stands: so it is read again behind it. */
void fill_nudge(struct weft_bus *b, struct bus_topic *t)
{
    if (t->state == TOPIC_LIVE)
        fill_start(b, t);
    else
        t->is_nudged = true;
}
