/* The bus between processes, through Redis 7.
 *
 * Two connections: commands (publishes are pipelined there) and subscriptions. They come and go together:
 * when one fails both are dropped and made again, after a pause that doubles (retry_ms).
 *
 * D1  A publish is in one place: in `queue` (not sent), in `requests` (sent, not answered) or in `redo`
 *     (refused for the moment, or unanswered when the connection broke). All are in order of their numbers,
 *     and redo comes before requests, requests before queue.
 * D2  Once one was refused nothing is sent until all that were sent are answered; then redo goes in front
 *     of the queue, and one alone is tried after a pause (is_probing) before the rest follow.
 * D3  With history a publish is sent until it is answered. It may so come to Redis twice: the script
 *     compares its number with the last one of this process, and takes it once. The number sent before it
 *     on the same connection goes with it: if that one was refused, so is this, and the order stays.
 * D4  Without history a publish is sent once.
 * D5  A topic with history is delivered from what comes live while offsets follow each other. When one is
 *     missing, and behind each (re)subscription, it is FILLING: what comes live is passed over, for it
 *     stands in the stream, and the stream is read up to its end; again when something was passed over
 *     behind that. So nothing is doubled or lost, and nothing needs to be kept meanwhile.
 * D6  The history of a topic in this process begins behind cache_from; who resumes within it is served from
 *     there, so that a thousand clients that come back cost Redis one read.
 *
 * Waiting is done in one place, connecting (names, sockets, TLS), and bounded by connect_timeout_ms. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/bus.h"
#include "api/bus_resp.h"
#include "api/bus_scripts.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/msg.h"
#include "proto/utf8.h"

#define FILL_PAGE          100
#define READS_MAX          16         /* of one connection in a turn */
#define OUT_BYTES_HIGH     (1u << 20) /* above it no publish is sent */
#define NUMBERS_KEPT_MS    3600000u   /* a publish is not repeated after so long a silence of its process */
#define CLOSE_LINGER_MS    200u       /* for taking back the names at the end */
#define ID_BYTES_MAX       63
#define ENVELOPE_BYTES_MAX 160  /* before the payload */
#define NAME_BYTES_MAX     1024 /* of a key or channel */

enum script { PUBLISH_SCRIPT, FILL_SCRIPT, JOIN_SCRIPT, ASK_SCRIPT, SCRIPTS };
static const char *const scripts[SCRIPTS] = {SCRIPT_PUBLISH, SCRIPT_FILL, SCRIPT_JOIN, SCRIPT_ASK};

enum request_kind {
    REQUEST_OK,
    REQUEST_ROLE,
    REQUEST_SCRIPT,
    REQUEST_PUBLISH,
    REQUEST_FILL,
    REQUEST_ASK,
    REQUEST_SET
};

/* A command that was sent and not answered. */
struct request {
    struct request *next;
    enum request_kind kind;
    unsigned script;
    union {
        struct bus_publish *publish;
        struct redis_fill *fill;
        struct bus_ask *ask;
    };
};

struct redis_fill {
    struct bus_topic *topic; /* NULL: gone meanwhile */
    int64_t from;            /* entries behind it; -1: only where the topic stands */
    bool is_next_page;
};

struct publishes {
    struct bus_publish *first, **end;
};

enum link_phase { LINK_DOWN, LINK_GREETING, LINK_UP };

struct redis {
    struct bus_url url;
    struct tls_context *tls;
    struct tls_scratch *scratch;
    struct resp_link commands, subscriptions;
    enum link_phase phase;
    uint64_t retry_at_ms; /* DOWN */
    uint32_t retry_ms;
    bool is_greeted; /* the subscriptions' connection */
    char sha[SCRIPTS][48];
    char instance[33]; /* this process' name in Redis */

    struct request *requests, **requests_end;
    struct publishes queue, redo;
    uint32_t in_flight;
    bool is_held;    /* D2: refused, and not all answered */
    bool is_probing; /* D2 */
    uint64_t hold_until_ms;
    uint32_t hold_ms;
    uint64_t
        sent_number; /* the last one with history on this connection; 0: none, or all before were answered */

    uint64_t subscribes_sent, subscribes_confirmed;
    bool has_more; /* reads were cut short */

    /* Silence: when a connection that owes answers gave the last one. */
    uint64_t heard_ms, sub_heard_ms, check_at_ms;
    bool sub_owes;
    uint64_t presence_at_ms;
};

static struct redis *redis_of(const struct weft_bus *b)
{
    return b->data;
}

/* --- lists --- */

static void publishes_init(struct publishes *l)
{
    l->first = NULL;
    l->end = &l->first;
}

static void publishes_put(struct publishes *l, struct bus_publish *p)
{
    p->next = NULL;
    *l->end = p;
    l->end = &p->next;
}

static struct bus_publish *publishes_take(struct publishes *l)
{
    struct bus_publish *p = l->first;

    if (p) {
        l->first = p->next;
        if (!l->first)
            l->end = &l->first;
    }
    return p;
}

/* a, then b; b is empty behind it, and a has all. */
static void publishes_join(struct publishes *a, struct publishes *b)
{
    if (!b->first)
        return;
    *a->end = b->first;
    a->end = b->end;
    publishes_init(b);
}

/* NULL: no memory, which breaks the connection. */
static struct request *put_request(struct redis *r, enum request_kind kind)
{
    struct request *q = mem_calloc(1, sizeof *q);

    if (!q) {
        r->commands.has_failed = true;
        return NULL;
    }
    q->kind = kind;
    if (!r->requests)
        r->heard_ms = clock_now_ms(); /* silence is counted from the first that owes an answer */
    *r->requests_end = q;
    r->requests_end = &q->next;
    return q;
}

static struct request *take_request(struct redis *r)
{
    struct request *q = r->requests;

    if (q) {
        r->requests = q->next;
        if (!r->requests)
            r->requests_end = &r->requests;
    }
    return q;
}

/* --- names in Redis --- */

static size_t key_of(const struct weft_bus *b, char *out, char what, const char *topic)
{
    return (size_t)snprintf(out, NAME_BYTES_MAX, "%s%c:{t:%s}", b->opts.prefix, what, topic);
}

static void put_key(struct weft_bus *b, struct resp_link *l, char what, const char *topic)
{
    char key[NAME_BYTES_MAX];

    resp_arg(l, key, key_of(b, key, what, topic));
}

/* A topic object's channel, or for a pattern what Redis matches channels with. */
static size_t channel_of(const struct weft_bus *b, char *out, const struct bus_topic *t)
{
    char plain[NAME_BYTES_MAX];
    size_t n = 0;
    int bytes;

    if (!t->is_pattern)
        return key_of(b, out, 'c', t->name);
    bytes = snprintf(plain, sizeof plain, "%sc:{t:%.*s", b->opts.prefix, (int)t->bytes, t->name);
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
    size_t head = strlen(b->opts.prefix) + strlen("c:{t:");

    if (bytes < head + 2 || bytes - head - 1 > WEFT_BUS_TOPIC_BYTES_MAX || channel[bytes - 1] != '}' ||
        strncmp(channel, b->opts.prefix, strlen(b->opts.prefix)) != 0)
        return NULL;
    channel[bytes - 1] = '\0';
    return channel + head;
}

static void begin_script(struct redis *r, enum script which, unsigned keys, unsigned args)
{
    resp_command(&r->commands, 3 + keys + args);
    resp_arg_text(&r->commands, "EVALSHA");
    resp_arg_text(&r->commands, r->sha[which]);
    resp_arg_number(&r->commands, keys);
}

/* --- down --- */

static uint32_t shortened_at_random(uint32_t ms)
{
    return ms - (uint32_t)(bus_random() % (ms / 2 + 1));
}

static uint32_t doubled(uint32_t ms, const weft_bus_opts *o)
{
    if (!ms)
        return o->reconnect_min_ms;
    return ms > o->reconnect_max_ms / 2 ? o->reconnect_max_ms : 2 * ms;
}

/* What was sent and not answered: D3, D4. */
static void give_up_request(struct weft_bus *b, struct request *q)
{
    struct redis *r = redis_of(b);

    switch (q->kind) {
    case REQUEST_PUBLISH:
        r->in_flight--;
        if (q->publish->rule)
            publishes_put(&r->redo, q->publish);
        else
            bus_settle(b, q->publish, false);
        break;
    case REQUEST_FILL:
        if (q->fill->topic)
            q->fill->topic->fill = NULL;
        mem_free(q->fill);
        break;
    case REQUEST_ASK:
        bus_answer(q->ask, WEFT_E_AGAIN, NULL, 0);
        break;
    default:
        break;
    }
    mem_free(q);
}

static void redo_first(struct redis *r)
{
    publishes_join(&r->redo, &r->queue);
    r->queue = r->redo;
    if (!r->queue.first)
        publishes_init(&r->queue);
    publishes_init(&r->redo);
    r->is_held = false;
    r->sent_number = 0;
}

static void switch_off(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    (void)b, (void)arg;
    t->state = TOPIC_OFF;
}

static void go_down(struct weft_bus *b, const char *why)
{
    struct redis *r = redis_of(b);
    struct request *q;

    if (r->phase == LINK_UP)
        BUS_COUNT(b, disconnects);
    r->phase = LINK_DOWN;
    resp_close(&r->commands);
    resp_close(&r->subscriptions);
    while ((q = take_request(r)))
        give_up_request(b, q);
    redo_first(r);
    bus_each_topic(b, switch_off, NULL);
    /* Once aloud, then it is known. */
    LOG(r->retry_ms ? WEFT_LOG_INFO : WEFT_LOG_WARNING, 0, "bus: no connection to Redis: %s", why);
    r->retry_ms = doubled(r->retry_ms, &b->opts);
    r->retry_at_ms = clock_now_ms() + shortened_at_random(r->retry_ms);
    if (atomic_load_explicit(&b->state, memory_order_relaxed) != WEFT_BUS_CONNECTING)
        bus_set_state(b, WEFT_BUS_DOWN, why);
}

/* --- up --- */

static void put_auth(struct redis *r, struct resp_link *l)
{
    resp_command(l, r->url.user ? 3 : 2);
    resp_arg_text(l, "AUTH");
    if (r->url.user)
        resp_arg_text(l, r->url.user);
    resp_arg_text(l, r->url.password);
}

static void put_word(struct resp_link *l, const char *word)
{
    resp_command(l, 1);
    resp_arg_text(l, word);
}

static void load_script(struct redis *r, unsigned which)
{
    struct request *q = put_request(r, REQUEST_SCRIPT);

    resp_command(&r->commands, 3);
    resp_arg_text(&r->commands, "SCRIPT");
    resp_arg_text(&r->commands, "LOAD");
    resp_arg_text(&r->commands, scripts[which]);
    if (q)
        q->script = which;
}

/* The last answer of it makes the bus UP. */
static void greet(struct redis *r)
{
    if (r->url.password) {
        put_request(r, REQUEST_OK);
        put_auth(r, &r->commands);
        put_auth(r, &r->subscriptions);
    }
    if (r->url.db) {
        put_request(r, REQUEST_OK);
        resp_command(&r->commands, 2);
        resp_arg_text(&r->commands, "SELECT");
        resp_arg_number(&r->commands, r->url.db);
    }
    put_request(r, REQUEST_ROLE);
    put_word(&r->commands, "ROLE");
    for (unsigned i = 0; i < SCRIPTS; i++)
        load_script(r, i);
    put_word(&r->subscriptions, "PING");
    r->sub_owes = true;
    r->is_greeted = false;
    r->phase = LINK_GREETING;
    r->heard_ms = r->sub_heard_ms = clock_now_ms();
    r->check_at_ms = 0;
}

static int open_link(struct weft_bus *b, struct resp_link *l, const struct await_limit *limit, char *why)
{
    struct redis *r = redis_of(b);

    return resp_open(l, r->url.host, r->url.port, r->url.path, r->tls, !b->opts.insecure, r->scratch, limit,
                     why);
}

static void reach(struct weft_bus *b)
{
    struct redis *r = redis_of(b);
    struct await_limit limit = {.deadline_ms = clock_now_ms() + b->opts.connect_timeout_ms,
                                .cancel_fd = b->stop_fd};
    char why[RESP_WHY_BYTES];

    if (open_link(b, &r->commands, &limit, why) != WEFT_OK ||
        open_link(b, &r->subscriptions, &limit, why) != WEFT_OK) {
        go_down(b, why);
        return;
    }
    greet(r);
}

/* --- subscribing in Redis --- */

static void put_subscribe(struct weft_bus *b, struct bus_topic *t, bool on)
{
    struct redis *r = redis_of(b);
    const char *verb = t->is_pattern ? on ? "PSUBSCRIBE" : "PUNSUBSCRIBE" : on ? "SUBSCRIBE" : "UNSUBSCRIBE";
    char channel[2 * NAME_BYTES_MAX];

    resp_command(&r->subscriptions, 2);
    resp_arg_text(&r->subscriptions, verb);
    resp_arg(&r->subscriptions, channel, channel_of(b, channel, t));
    r->subscribes_sent++;
    if (!r->sub_owes)
        r->sub_heard_ms = clock_now_ms();
    r->sub_owes = true;
}

static void ask_for_topic(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    struct redis *r = redis_of(b);

    (void)arg;
    put_subscribe(b, t, true);
    t->confirm_number = r->subscribes_sent;
    t->state = TOPIC_ASKED;
}

static void redis_topic_begin(struct weft_bus *b, struct bus_topic *t)
{
    if (redis_of(b)->phase == LINK_UP)
        ask_for_topic(b, t, NULL);
}

static void redis_topic_end(struct weft_bus *b, struct bus_topic *t)
{
    if (redis_of(b)->phase == LINK_UP)
        put_subscribe(b, t, false);
    if (t->fill)
        t->fill->topic = NULL;
    bus_remove_topic(b, t);
}

/* --- filling --- */

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

static void send_fill(struct weft_bus *b, struct bus_topic *t, int64_t from, bool is_next_page)
{
    struct redis *r = redis_of(b);
    struct redis_fill *fill = mem_calloc(1, sizeof *fill);
    struct request *q = fill ? put_request(r, REQUEST_FILL) : NULL;
    char number[32];

    t->state = TOPIC_FILLING;
    if (!q) {
        mem_free(fill);
        r->commands.has_failed = true;
        return;
    }
    *fill = (struct redis_fill){.topic = t, .from = from, .is_next_page = is_next_page};
    q->fill = fill;
    t->fill = fill;
    begin_script(r, FILL_SCRIPT, 2, 6);
    put_key(b, &r->commands, 's', t->name);
    put_key(b, &r->commands, 'm', t->name);
    resp_arg_number(&r->commands, t->has_at ? t->at.epoch : 0);
    resp_arg_number(&r->commands, t->at.offset);
    resp_arg_text(&r->commands, t->last_id);
    snprintf(number, sizeof number, "%lld", (long long)from);
    resp_arg_text(&r->commands, number);
    resp_arg_number(&r->commands, bus_random());
    resp_arg_number(&r->commands, FILL_PAGE);
}

static void start_fill(struct weft_bus *b, struct bus_topic *t)
{
    int64_t from = lowest_wish(t);

    if (t->fill)
        return;
    if (t->has_at && (from < 0 || (uint64_t)from > t->at.offset))
        from = (int64_t)t->at.offset;
    t->passed_over = (weft_bus_position){0};
    send_fill(b, t, from, false);
}

static void make_all_live(struct weft_bus *b, struct bus_topic *t)
{
    bus_history_prune(&t->history, clock_now_ms());
    for (struct bus_sub *s = t->waiting ? t->subs : NULL; s; s = s->next)
        if (!s->is_live)
            bus_make_live(b, s);
}

static void redis_sub_waits(struct weft_bus *b, struct bus_sub *s)
{
    struct bus_topic *t = s->topic;

    if (t->state != TOPIC_LIVE)
        return;
    if (!t->rule || can_serve(s)) {
        bus_history_prune(&t->history, clock_now_ms());
        bus_make_live(b, s);
    } else {
        start_fill(b, t);
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

/* data: a type and the payload. WEFT_OK, WEFT_E_NOMEM, or WEFT_E_INVAL: not ours, or larger than allowed
 * here. */
static int read_message(const struct weft_bus *b, weft_msg **out, const char *data, size_t bytes)
{
    *out = NULL;
    if (bytes < 1 || (data[0] != 'T' && data[0] != 'B') || bytes - 1 > b->opts.message_bytes_max) {
        LOG(WEFT_LOG_WARNING, 0, "bus: a message came that is none of weft, or above message_bytes_max");
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
    uint64_t time_ms = (uint64_t)resp_integer(resp_item(fields, 1)), mine_ms = clock_now_ms();
    uint64_t age_ms = now_ms > time_ms ? now_ms - time_ms : 0;
    weft_msg *m;
    int rc = read_message(b, &m, data, bytes);
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
    if (was_passed_over(t) || lowest_wish(t) >= 0) {
        start_fill(b, t);
        return;
    }
    t->state = TOPIC_LIVE;
    make_all_live(b, t);
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

static bool answer_fill(struct weft_bus *b, struct redis_fill *fill, const struct resp *reply)
{
    struct bus_topic *t = fill->topic;
    bool is_good = resp_count(reply) == 7;

    if (t)
        t->fill = NULL;
    if (t && is_good)
        is_good = take_page(b, t, fill, reply);
    mem_free(fill);
    return is_good;
}

/* --- what comes live --- */

struct envelope {
    weft_bus_position at;
    const char *id;
    size_t id_bytes;
    const char *data;
    size_t data_bytes;
};

/* "w1;EPOCH;OFFSET;ID;" type payload */
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

/* Does it follow what was delivered? */
static bool follows(const struct bus_topic *t, weft_bus_position at)
{
    if (at.epoch == t->at.epoch)
        return at.offset == t->at.offset + 1;
    return t->at.epoch == 0 && at.offset == 1;
}

/* It stands in the stream: D5. */
static void pass_over(struct weft_bus *b, struct bus_topic *t, weft_bus_position at)
{
    if (t->state == TOPIC_LIVE)
        start_fill(b, t);
    t->passed_over = at;
}

static void take_live(struct weft_bus *b, struct bus_topic *t, const struct envelope *e, weft_msg *m)
{
    if (t->state == TOPIC_LIVE && follows(t, e->at)) {
        if (t->at.epoch == 0)
            jump(t, (weft_bus_position){e->at.epoch, 0});
        advance(b, t, m, e->at, clock_now_ms(), e->id, e->id_bytes);
    } else if (t->at.epoch == e->at.epoch && e->at.offset <= t->at.offset) {
        BUS_COUNT(b, duplicates);
    } else {
        pass_over(b, t, e->at);
    }
}

/* What a program without weft has published, redis-cli say: text if it can be. Only where nothing is
 * remembered: a message with history has been given its offset by our script. */
static weft_msg *plain_message(const struct weft_bus *b, const struct bus_topic *t, const char *p, size_t bytes)
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

    if (read_envelope(&e, p, bytes))
        rc = read_message(b, &m, e.data, e.data_bytes);
    else
        m = plain_message(b, t, p, bytes);
    if (rc == WEFT_OK && !m) {
        LOG(WEFT_LOG_WARNING, 0, "bus: something that is no message of weft came on a channel of its own");
        return;
    }
    if (rc == WEFT_E_NOMEM && t->rule && e.at.epoch) {
        pass_over(b, t, e.at);
    } else if (rc == WEFT_OK && t->rule && e.at.epoch) {
        take_live(b, t, &e, m);
    } else if (rc == WEFT_OK && t->state == TOPIC_LIVE) {
        weft_bus_item item = {.topic = name, .msg = m, .at = e.at};
        bus_deliver(b, t, &item);
    }
    weft_msg_unref(m);
}

static void take_confirm(struct weft_bus *b, struct bus_topic *t)
{
    struct redis *r = redis_of(b);

    r->subscribes_confirmed++;
    if (!t || t->state != TOPIC_ASKED || t->confirm_number != r->subscribes_confirmed)
        return;
    if (t->rule) {
        start_fill(b, t);
    } else {
        t->state = TOPIC_LIVE;
        make_all_live(b, t);
    }
}

/* A pattern as it was sent, back to its topic object: only its number tells, for it was escaped. */
static void confirm_by_number(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    struct redis *r = redis_of(b);

    if (t->state == TOPIC_ASKED && t->confirm_number == r->subscribes_confirmed + 1)
        *(struct bus_topic **)arg = t;
}

static struct bus_topic *topic_of(struct weft_bus *b, const struct resp *channel, char **name)
{
    size_t bytes;
    char *text = (char *)resp_text(channel, &bytes); /* the reply is ours */

    *name = topic_of_channel(b, text, bytes);
    return *name ? bus_find_topic(b, *name, strlen(*name), false) : NULL;
}

/* { kind, channel, payload } or { "pmessage", pattern, channel, payload } */
static bool take_push(struct weft_bus *b, const struct resp *reply)
{
    const char *kind = resp_text(resp_item(reply, 0), NULL);
    struct bus_topic *t = NULL;
    char *name;

    if (strcmp(kind, "message") == 0 && resp_count(reply) == 3) {
        t = topic_of(b, resp_item(reply, 1), &name);
        if (t)
            take_message(b, t, name, resp_item(reply, 2));
    } else if (strcmp(kind, "pmessage") == 0 && resp_count(reply) == 4) {
        size_t bytes;
        /* Back from what Redis matched with: the pattern without its escapes. */
        const char *pattern = resp_text(resp_item(reply, 1), &bytes);
        char plain[2 * NAME_BYTES_MAX];
        size_t n = 0, head = strlen(b->opts.prefix) + strlen("c:{t:");

        for (size_t i = 0; i + 1 < bytes && n < sizeof plain - 1; i++) {
            i += pattern[i] == '\\';
            plain[n++] = pattern[i];
        }
        topic_of(b, resp_item(reply, 2), &name);
        if (n >= head && name)
            t = bus_find_topic(b, plain + head, n - head, true);
        if (t)
            take_message(b, t, name, resp_item(reply, 3));
    } else if (strstr(kind, "psubscribe") == kind) {
        bus_each_topic(b, confirm_by_number, &t);
        take_confirm(b, t);
    } else if (strstr(kind, "subscribe")) {
        t = topic_of(b, resp_item(reply, 1), &name);
        take_confirm(b, strcmp(kind, "subscribe") == 0 ? t : NULL);
    }
    return true;
}

/* --- publishing --- */

static void put_data(struct resp_link *l, const struct bus_publish *p)
{
    resp_piece(l, weft_msg_type(p->msg) == WEFT_TEXT ? "T" : "B", 1);
    resp_piece(l, weft_msg_data(p->msg), weft_msg_bytes(p->msg));
}

static void send_plain(struct weft_bus *b, struct bus_publish *p)
{
    struct resp_link *l = &redis_of(b)->commands;
    static const char head[] = "w1;0;0;;";

    resp_command(l, 3);
    resp_arg_text(l, "PUBLISH");
    put_key(b, l, 'c', p->topic);
    resp_arg_begin(l, strlen(head) + 1 + weft_msg_bytes(p->msg));
    resp_piece(l, head, strlen(head));
    put_data(l, p);
    resp_arg_end(l);
}

static void send_remembered(struct weft_bus *b, struct bus_publish *p)
{
    struct redis *r = redis_of(b);
    struct resp_link *l = &r->commands;
    char done[NAME_BYTES_MAX];

    begin_script(r, PUBLISH_SCRIPT, 3, 10);
    put_key(b, l, 's', p->topic);
    put_key(b, l, 'm', p->topic);
    resp_arg(l, done, (size_t)snprintf(done, sizeof done, "%sd:%s", b->opts.prefix, r->instance));
    resp_arg_number(l, p->number);
    resp_arg_number(l, r->sent_number);
    resp_arg_number(l, bus_random());
    resp_arg_number(l, p->rule->history_messages);
    resp_arg_number(l, (uint64_t)p->rule->history_seconds * 1000);
    resp_arg_begin(l, 1 + weft_msg_bytes(p->msg));
    put_data(l, p);
    resp_arg_end(l);
    put_key(b, l, 'c', p->topic);
    resp_arg_text(l, "PUBLISH");
    resp_arg_text(l, r->instance);
    resp_arg_number(l, NUMBERS_KEPT_MS);
    r->sent_number = p->number;
}

static void send_publishes(struct weft_bus *b, uint64_t now_ms)
{
    struct redis *r = redis_of(b);
    uint32_t most = r->is_probing ? 1 : b->opts.in_flight_max;

    while (r->queue.first && !r->is_held && now_ms >= r->hold_until_ms && r->in_flight < most &&
           resp_output_bytes(&r->commands) < OUT_BYTES_HIGH) {
        struct request *q = put_request(r, REQUEST_PUBLISH);

        if (!q)
            return;
        q->publish = publishes_take(&r->queue);
        r->in_flight++;
        if (q->publish->rule)
            send_remembered(b, q->publish);
        else
            send_plain(b, q->publish);
    }
}

static void redis_publish(struct weft_bus *b, struct bus_publish *p)
{
    publishes_put(&redis_of(b)->queue, p);
}

/* Refused for the moment? Then also: does another connection help? */
static bool is_passing(const char *error, bool *wants_reconnect)
{
    static const char *const here[] = {"OOM", "BUSY", "TRYAGAIN", "MISCONF", "NOREPLICAS"};
    static const char *const elsewhere[] = {"READONLY",    "LOADING", "MASTERDOWN", "NOSCRIPT",
                                            "CLUSTERDOWN", "NOAUTH",  "UNBLOCKED"};

    *wants_reconnect = false;
    for (size_t i = 0; i < sizeof here / sizeof here[0]; i++)
        if (strncmp(error, here[i], strlen(here[i])) == 0)
            return true;
    for (size_t i = 0; i < sizeof elsewhere / sizeof elsewhere[0]; i++)
        if (strncmp(error, elsewhere[i], strlen(elsewhere[i])) == 0)
            *wants_reconnect = true;
    return *wants_reconnect;
}

static void hold(struct weft_bus *b, struct bus_publish *p)
{
    struct redis *r = redis_of(b);

    r->is_held = true;
    BUS_COUNT(b, retries);
    if (p->rule)
        publishes_put(&r->redo, p);
    else
        bus_settle(b, p, false);
}

static void end_hold(struct weft_bus *b)
{
    struct redis *r = redis_of(b);

    redo_first(r);
    r->is_probing = true;
    r->hold_ms = doubled(r->hold_ms, &b->opts);
    r->hold_until_ms = clock_now_ms() + shortened_at_random(r->hold_ms);
}

static bool answer_publish(struct weft_bus *b, struct bus_publish *p, const struct resp *reply)
{
    struct redis *r = redis_of(b);
    bool wants_reconnect = false, is_error = resp_kind(reply) == RESP_ERROR;

    r->in_flight--;
    if (is_error && is_passing(resp_text(reply, NULL), &wants_reconnect)) {
        hold(b, p);
    } else if (is_error) {
        LOG(WEFT_LOG_ERROR, 0, "bus: Redis refused a message: %s", resp_text(reply, NULL));
        bus_settle(b, p, false);
    } else if (p->rule && resp_integer(reply) == 2) {
        hold(b, p);
    } else {
        bus_settle(b, p, true);
        r->is_probing = false;
        r->hold_ms = 0;
    }
    if (r->is_held && r->in_flight == 0)
        end_hold(b);
    return !wants_reconnect;
}

/* --- presence --- */

static void put_who(struct weft_bus *b, const char *name)
{
    struct redis *r = redis_of(b);

    resp_arg_begin(&r->commands, strlen(r->instance) + strlen(name));
    resp_piece(&r->commands, r->instance, strlen(r->instance));
    resp_piece(&r->commands, name, strlen(name));
    resp_arg_end(&r->commands);
}

static void put_join(struct weft_bus *b, struct bus_topic *t, unsigned count)
{
    struct redis *r = redis_of(b);

    put_request(r, REQUEST_SET);
    begin_script(r, JOIN_SCRIPT, 1, 1 + count);
    put_key(b, &r->commands, 'p', t->name);
    resp_arg_number(&r->commands, b->opts.presence_timeout_ms);
}

static void redis_name_begin(struct weft_bus *b, struct bus_topic *t, const char *name)
{
    if (redis_of(b)->phase != LINK_UP)
        return;
    put_join(b, t, 1);
    put_who(b, name);
}

static void redis_name_end(struct weft_bus *b, struct bus_topic *t, const char *name)
{
    struct redis *r = redis_of(b);

    if (r->phase != LINK_UP)
        return;
    put_request(r, REQUEST_SET);
    resp_command(&r->commands, 3);
    resp_arg_text(&r->commands, "ZREM");
    put_key(b, &r->commands, 'p', t->name);
    put_who(b, name);
}

static void refresh_names(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    unsigned count = 0;

    (void)arg;
    for (struct bus_name *n = t->names; n; n = n->next)
        count++;
    if (!count)
        return;
    put_join(b, t, count);
    for (struct bus_name *n = t->names; n; n = n->next)
        put_who(b, n->name);
}

static void redis_ask(struct weft_bus *b, struct bus_ask *a)
{
    struct redis *r = redis_of(b);
    struct request *q = r->phase == LINK_UP ? put_request(r, REQUEST_ASK) : NULL;

    if (!q) {
        bus_answer(a, WEFT_E_AGAIN, NULL, 0);
        return;
    }
    q->ask = a;
    begin_script(r, ASK_SCRIPT, 1, 0);
    put_key(b, &r->commands, 'p', a->topic);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* An instance before each name; several instances may have the same. */
static bool answer_ask(struct bus_ask *a, const struct resp *reply)
{
    size_t count = resp_count(reply), kept = 0, n = 0, bytes;
    const char **names = mem_alloc((count + 1) * sizeof *names);

    if (!names || resp_kind(reply) == RESP_ERROR) {
        bus_answer(a, names ? WEFT_E_AGAIN : WEFT_E_NOMEM, NULL, 0);
        mem_free(names);
        return resp_kind(reply) != RESP_ERROR;
    }
    for (size_t i = 0; i < count; i++) {
        const char *who = resp_text(resp_item(reply, i), &bytes);
        if (bytes > sizeof((struct redis *)0)->instance - 1)
            names[n++] = who + sizeof((struct redis *)0)->instance - 1;
    }
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 0; i < n; i++)
        if (!kept || strcmp(names[kept - 1], names[i]) != 0)
            names[kept++] = names[i];
    bus_answer(a, WEFT_OK, names, kept);
    mem_free(names);
    return true;
}

/* --- answers --- */

static void come_up(struct weft_bus *b)
{
    struct redis *r = redis_of(b);

    r->phase = LINK_UP;
    r->retry_ms = 0;
    r->subscribes_sent = r->subscribes_confirmed = 0;
    r->presence_at_ms = 0;
    r->hold_until_ms = 0;
    r->is_probing = false;
    BUS_COUNT(b, connects);
    bus_each_topic(b, ask_for_topic, NULL);
    bus_set_state(b, WEFT_BUS_UP, "");
}

static bool is_script_loaded(struct redis *r, unsigned which, const struct resp *reply)
{
    size_t bytes;
    const char *sha = resp_text(reply, &bytes);

    if (resp_kind(reply) != RESP_TEXT || bytes >= sizeof r->sha[0])
        return false;
    memcpy(r->sha[which], sha, bytes + 1);
    return true;
}

/* Before this the request was taken out of the list; what it stands for is dealt with here in every case. */
static bool answer(struct weft_bus *b, struct request *q, const struct resp *reply)
{
    switch (q->kind) {
    case REQUEST_ROLE:
        return strcmp(resp_text(resp_item(reply, 0), NULL), "master") == 0;
    case REQUEST_SCRIPT:
        return is_script_loaded(redis_of(b), q->script, reply);
    case REQUEST_PUBLISH:
        return answer_publish(b, q->publish, reply);
    case REQUEST_FILL:
        return answer_fill(b, q->fill, reply);
    case REQUEST_ASK:
        return answer_ask(q->ask, reply);
    case REQUEST_SET: { /* refused for lack of memory: the next refresh tries again */
        bool wants_reconnect = false;
        if (resp_kind(reply) == RESP_ERROR)
            is_passing(resp_text(reply, NULL), &wants_reconnect);
        return !wants_reconnect;
    }
    case REQUEST_OK:
        break;
    }
    return resp_kind(reply) != RESP_ERROR;
}

static void explain(char *why, const struct request *q, const struct resp *reply)
{
    if (resp_kind(reply) == RESP_ERROR)
        snprintf(why, RESP_WHY_BYTES, "it answers %s", resp_text(reply, NULL));
    else if (q->kind == REQUEST_ROLE)
        snprintf(why, RESP_WHY_BYTES, "it is no master");
    else
        snprintf(why, RESP_WHY_BYTES, "an answer that makes no sense");
}

/* WEFT_OK, or why it is over. */
static int take_answer(struct weft_bus *b, const struct resp *reply, char *why)
{
    struct redis *r = redis_of(b);
    struct request *q = take_request(r);
    int rc = WEFT_OK;

    r->heard_ms = clock_now_ms();
    if (!q)
        return WEFT_E_PROTOCOL;
    if (!answer(b, q, reply)) {
        explain(why, q, reply);
        rc = WEFT_E_CLOSED;
    }
    mem_free(q);
    if (rc == WEFT_OK && r->phase == LINK_GREETING && !r->requests && r->is_greeted)
        come_up(b);
    return rc;
}

/* On the subscriptions' connection: AUTH's answer, PONGs, and pushes. */
static int take_sub_answer(struct weft_bus *b, const struct resp *reply, char *why)
{
    struct redis *r = redis_of(b);
    const char *text = resp_text(reply, NULL);

    r->sub_heard_ms = clock_now_ms();
    if (resp_kind(reply) == RESP_ERROR) {
        snprintf(why, RESP_WHY_BYTES, "it answers %s", text);
        return WEFT_E_CLOSED;
    }
    if (resp_kind(reply) == RESP_ARRAY && strcmp(resp_text(resp_item(reply, 0), NULL), "pong") != 0)
        return take_push(b, reply) ? WEFT_OK : WEFT_E_PROTOCOL;
    if (strcmp(text, "OK") == 0)
        return WEFT_OK;
    r->sub_owes = false; /* a PONG: behind it nothing is owed that was sent before */
    if (r->phase == LINK_GREETING) {
        r->is_greeted = true;
        if (!r->requests)
            come_up(b);
    }
    return WEFT_OK;
}

typedef int taker(struct weft_bus *b, const struct resp *reply, char *why);

static int take_all(struct weft_bus *b, struct resp_link *l, taker *take, char *why)
{
    struct resp *reply;
    int rc;

    while ((rc = resp_next(l, &reply)) == WEFT_OK) {
        rc = take(b, reply, why);
        resp_free(reply);
        if (rc != WEFT_OK)
            return rc;
    }
    return rc == WEFT_E_AGAIN ? WEFT_OK : rc;
}

static int read_link(struct weft_bus *b, struct resp_link *l, taker *take, char *why)
{
    for (int i = 0; i < READS_MAX; i++) {
        int rc = resp_read(l);

        if (rc == WEFT_E_AGAIN)
            return WEFT_OK;
        if (rc == WEFT_OK)
            rc = take_all(b, l, take, why);
        if (rc != WEFT_OK)
            return rc;
        if (!l->may_have_more)
            return WEFT_OK;
    }
    redis_of(b)->has_more = true;
    return WEFT_OK;
}

/* Those of which poll said something, or all when reads were cut short. */
static void read_links(struct weft_bus *b, bool commands, bool subscriptions)
{
    struct redis *r = redis_of(b);
    char why[RESP_WHY_BYTES] = "the connection broke";
    bool all = r->has_more;
    int rc = WEFT_OK;

    if (r->phase == LINK_DOWN)
        return;
    r->has_more = false;
    if (subscriptions || all)
        rc = read_link(b, &r->subscriptions, take_sub_answer, why);
    if (rc == WEFT_OK && (commands || all))
        rc = read_link(b, &r->commands, take_answer, why);
    if (rc != WEFT_OK)
        go_down(b, why);
}

/* --- a turn --- */

/* Ask whether they are still there, and whether it is still a master. */
static void check_links(struct weft_bus *b, uint64_t now_ms)
{
    struct redis *r = redis_of(b);

    if (r->phase != LINK_UP || now_ms < r->check_at_ms)
        return;
    r->check_at_ms = now_ms + b->opts.reply_timeout_ms / 2 + 1;
    put_request(r, REQUEST_ROLE);
    put_word(&r->commands, "ROLE");
    if (!r->sub_owes)
        r->sub_heard_ms = now_ms;
    put_word(&r->subscriptions, "PING");
    r->sub_owes = true;
}

static bool is_silent(const struct weft_bus *b, uint64_t now_ms)
{
    const struct redis *r = redis_of(b);
    uint32_t most = b->opts.reply_timeout_ms;

    return (r->requests && now_ms >= r->heard_ms + most) || (r->sub_owes && now_ms >= r->sub_heard_ms + most);
}

static void refresh_presence(struct weft_bus *b, uint64_t now_ms)
{
    struct redis *r = redis_of(b);

    if (r->phase != LINK_UP || now_ms < r->presence_at_ms)
        return;
    r->presence_at_ms = now_ms + b->opts.presence_timeout_ms / 3;
    bus_each_topic(b, refresh_names, NULL);
}

static void tell_settled(struct weft_bus *b)
{
    struct redis *r = redis_of(b);
    const struct request *q = r->requests;
    uint64_t first = b->last_number + 1;

    while (q && q->kind != REQUEST_PUBLISH)
        q = q->next;
    if (r->redo.first)
        first = r->redo.first->number;
    else if (q)
        first = q->publish->number;
    else if (r->queue.first)
        first = r->queue.first->number;
    bus_settled_up_to(b, first - 1);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_time(const struct weft_bus *b, uint64_t now_ms)
{
    const struct redis *r = redis_of(b);
    uint64_t at = earlier(r->check_at_ms, r->presence_at_ms);

    if (r->has_more)
        return 0;
    if (r->phase == LINK_DOWN)
        return r->retry_at_ms;
    if (r->phase == LINK_GREETING)
        at = UINT64_MAX;
    if (r->requests)
        at = earlier(at, r->heard_ms + b->opts.reply_timeout_ms);
    if (r->sub_owes)
        at = earlier(at, r->sub_heard_ms + b->opts.reply_timeout_ms);
    if (r->queue.first && r->hold_until_ms > now_ms)
        at = earlier(at, r->hold_until_ms);
    return at;
}

static struct pollfd poll_of(const struct resp_link *l)
{
    return (struct pollfd){.fd = l->fd, .events = (short)(POLLIN | (resp_has_output(l) ? POLLOUT : 0))};
}

static uint64_t redis_turn(struct weft_bus *b, struct pollfd *fds, nfds_t *count)
{
    struct redis *r = redis_of(b);
    uint64_t now_ms = clock_now_ms();

    if (r->phase == LINK_DOWN && now_ms >= r->retry_at_ms)
        reach(b);
    now_ms = clock_now_ms();
    if (is_silent(b, now_ms))
        read_links(b, true, true); /* perhaps it was we who were busy */
    if (r->phase != LINK_DOWN && is_silent(b, now_ms))
        go_down(b, "no answer in time");
    check_links(b, now_ms);
    refresh_presence(b, now_ms);
    if (r->phase == LINK_UP)
        send_publishes(b, now_ms);
    if (r->phase != LINK_DOWN &&
        (resp_flush(&r->commands) != WEFT_OK || resp_flush(&r->subscriptions) != WEFT_OK))
        go_down(b, "the connection broke");
    tell_settled(b);
    *count = 0;
    if (r->phase != LINK_DOWN) {
        fds[0] = poll_of(&r->commands);
        fds[1] = poll_of(&r->subscriptions);
        *count = 2;
    }
    return next_time(b, now_ms);
}

static void redis_polled(struct weft_bus *b, const struct pollfd *fds, nfds_t count)
{
    read_links(b, count > 0 && fds[0].revents, count > 0 && fds[1].revents);
}

static bool redis_is_drained(struct weft_bus *b)
{
    const struct redis *r = redis_of(b);

    return !r->queue.first && !r->redo.first && r->in_flight == 0;
}

static bool redis_has_patterns(const struct weft_bus *b)
{
    return !redis_of(b)->url.is_cluster;
}

/* --- beginning and end --- */

static void take_back_names(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    (void)arg;
    for (struct bus_name *n = t->names; n; n = n->next)
        redis_name_end(b, t, n->name);
}

/* Nobody waits for the answers, only for the bytes to leave. */
static void say_goodbye(struct weft_bus *b)
{
    struct redis *r = redis_of(b);
    struct await_limit limit = {.deadline_ms = clock_now_ms() + CLOSE_LINGER_MS, .cancel_fd = -1};
    struct pollfd fds[2];

    bus_each_topic(b, take_back_names, NULL);
    while (resp_flush(&r->commands) == WEFT_OK && resp_has_output(&r->commands)) {
        fds[1] = (struct pollfd){.fd = r->commands.fd, .events = POLLOUT};
        if (await_fds(fds, 2, &limit, AWAIT_FOREVER) != WEFT_OK)
            return;
    }
}

static void redis_stop(struct weft_bus *b)
{
    struct redis *r = redis_of(b);
    struct bus_publish *p;
    struct request *q;

    if (r->phase == LINK_UP)
        say_goodbye(b);
    r->phase = LINK_DOWN;
    resp_close(&r->commands);
    resp_close(&r->subscriptions);
    while ((q = take_request(r)))
        give_up_request(b, q);
    redo_first(r);
    while ((p = publishes_take(&r->queue)))
        bus_settle(b, p, false);
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

static int redis_open(struct weft_bus *b, const struct bus_url *url)
{
    struct redis *r = mem_calloc(1, sizeof *r);

    if (!r)
        return WEFT_E_NOMEM;
    b->data = r;
    resp_init(&r->commands);
    resp_init(&r->subscriptions);
    r->requests_end = &r->requests;
    publishes_init(&r->queue);
    publishes_init(&r->redo);
    snprintf(r->instance, sizeof r->instance, "%016llx%016llx", (unsigned long long)bus_random(),
             (unsigned long long)bus_random());
    if (url->is_cluster) {
        LOG(WEFT_LOG_ERROR, 0, "bus: a cluster cannot be used; see docs/growing.md");
        return WEFT_E_INVAL;
    }
    if (b->opts.history_file)
        LOG(WEFT_LOG_WARNING, 0, "bus: history_file is for local: only; Redis keeps the histories");
    if (bus_url_copy(&r->url, url) != WEFT_OK)
        return WEFT_E_NOMEM;
    return r->url.is_secure ? make_tls(b) : WEFT_OK;
}

static void redis_free(struct weft_bus *b)
{
    struct redis *r = redis_of(b);

    if (!r)
        return;
    bus_url_fini(&r->url);
    if (r->scratch)
        tls_scratch_free(r->scratch);
    tls_context_unref(r->tls);
    mem_free(r);
}

const struct bus_backend bus_redis = {
    .open = redis_open,
    .publish = redis_publish,
    .topic_begin = redis_topic_begin,
    .topic_end = redis_topic_end,
    .sub_waits = redis_sub_waits,
    .name_begin = redis_name_begin,
    .name_end = redis_name_end,
    .ask = redis_ask,
    .turn = redis_turn,
    .polled = redis_polled,
    .has_patterns = redis_has_patterns,
    .is_drained = redis_is_drained,
    .stop = redis_stop,
    .free = redis_free,
};
