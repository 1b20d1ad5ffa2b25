/* Publishes on their way to Redis: a lane for each slot, or one for all.
 *
 * L1  A publish is in one place: in its lane's `queue` (not sent), among a node's requests (sent, not
 *     answered) or in the lane's `redo` (refused for the moment, or unanswered when the connection broke).
 *     All are in order of their numbers, and redo comes before requests, requests before queue.
 * L2  Once one was refused nothing of its lane is sent until all of it that were sent are answered; then
 *     redo goes in front of the queue, and one alone is tried (is_probing), after a pause where that helps,
 *     before the rest follow. Those of a lane that are not answered are at one node, whoever owns the slot
 *     meanwhile.
 * L3  With history a publish is sent until it is answered. It may so come to Redis twice: the script
 *     compares its number with the last one of this process in the lane, and takes it once. The number sent
 *     before it goes with it unless that was answered: if that one was refused, so is this, and the order
 *     stays.
 * L4  Without history a publish is sent once; only one that came to the wrong node goes to the right one.
 * L5  While a slot's keys are on their way to another node, a message may be taken there before its
 *     subscribers are: they are told at their own node to look into the stream (a nudge). */
#include <stdio.h>
#include <string.h>

#include "api/bus_redis.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define OUT_BYTES_HIGH  (1u << 20) /* of a connection: above it no publish is sent */
#define NUMBERS_KEPT_MS 3600000u   /* a publish is not repeated after so long a silence of its process */
#define REDIRECTS_QUICK 3          /* in a row; those behind are paused for */

static struct lane *lane_of(struct redis *r, const struct bus_publish *p)
{
    return &r->lanes[p->slot];
}

static void list(struct redis *r, struct lane *l)
{
    if (l->is_listed || !l->queue.first || l->is_held)
        return;
    l->is_listed = true;
    l->next = NULL;
    *r->listed_end = l;
    r->listed_end = &l->next;
}

void lanes_put(struct weft_bus *b, struct bus_publish *p)
{
    struct redis *r = redis_of(b);

    p->slot = r->mode == REDIS_CLUSTER ? redis_slot(b, p->topic) : 0;
    p->older = r->newest;
    p->newer = NULL;
    *(r->newest ? &r->newest->newer : &r->oldest) = p;
    r->newest = p;
    queue_put(&lane_of(r, p)->queue, &p->command.node);
    list(r, lane_of(r, p));
}

static void settle(struct weft_bus *b, struct bus_publish *p, bool is_passed_on)
{
    struct redis *r = redis_of(b);

    *(p->older ? &p->older->newer : &r->oldest) = p->newer;
    *(p->newer ? &p->newer->older : &r->newest) = p->older;
    bus_settle(b, p, is_passed_on);
}

void lanes_tell_settled(struct weft_bus *b)
{
    const struct bus_publish *p = redis_of(b)->oldest;

    bus_settled_up_to(b, p ? p->number - 1 : b->last_number);
}

void lanes_spread(struct weft_bus *b, struct lane *lanes, size_t count)
{
    struct redis *r = redis_of(b);
    struct queue all = r->lanes->queue;
    struct bus_publish *p;

    mem_free(r->lanes);
    r->lanes = lanes;
    r->lane_count = count;
    r->listed = NULL;
    r->listed_end = &r->listed;
    while ((p = queue_take(&all))) {
        p->slot = redis_slot(b, p->topic);
        queue_put(&lane_of(r, p)->queue, &p->command.node);
        list(r, lane_of(r, p));
    }
}

/* --- sending --- */

static void put_data(struct resp_link *l, const struct bus_publish *p)
{
    resp_piece(l, weft_msg_type(p->msg) == WEFT_TEXT ? "T" : "B", 1);
    resp_piece(l, weft_msg_data(p->msg), weft_msg_bytes(p->msg));
}

static void send_plain(struct weft_bus *b, struct redis_node *n, const struct bus_publish *p)
{
    struct resp_link *l = &n->commands;
    static const char head[] = "w1;0;0;;";

    if (redis_of(b)->mode == REDIS_CLUSTER) {
        node_begin_script(b, n, PLAIN_SCRIPT, 0, 2); /* no keys: none of them is ever on its way */
    } else {
        resp_command(l, 3);
        resp_arg_text(l, "PUBLISH");
    }
    redis_put_channel(b, l, p->topic);
    resp_arg_begin(l, strlen(head) + 1 + weft_msg_bytes(p->msg));
    resp_piece(l, head, strlen(head));
    put_data(l, p);
    resp_arg_end(l);
}

/* In a cluster it has to be in the slot of what it counts, so there is one for each. */
static void put_numbers_key(struct weft_bus *b, struct resp_link *l, uint16_t slot)
{
    const struct redis *r = redis_of(b);
    char key[REDIS_KEY_ROOM];
    int bytes = snprintf(key, sizeof key, "%sd:%s", b->opts.prefix, r->instance);

    if (r->mode == REDIS_CLUSTER)
        bytes += snprintf(key + bytes, sizeof key - (size_t)bytes, "{%u}", r->tags[slot]);
    resp_arg(l, key, (size_t)bytes);
}

static void send_remembered(struct weft_bus *b, struct redis_node *n, struct lane *lane,
                            const struct bus_publish *p)
{
    const struct redis *r = redis_of(b);
    struct resp_link *l = &n->commands;

    node_begin_script(b, n, PUBLISH_SCRIPT, 3, 10);
    redis_put_key(b, l, 's', p->topic);
    redis_put_key(b, l, 'm', p->topic);
    put_numbers_key(b, l, p->slot);
    resp_arg_number(l, p->number);
    resp_arg_number(l, lane->sent_number);
    resp_arg_number(l, bus_random(b));
    resp_arg_number(l, p->rule->history_messages);
    resp_arg_number(l, (uint64_t)p->rule->history_seconds * 1000);
    resp_arg_begin(l, 1 + weft_msg_bytes(p->msg));
    put_data(l, p);
    resp_arg_end(l);
    redis_put_channel(b, l, p->topic);
    resp_arg_text(l, r->mode == REDIS_CLUSTER ? "SPUBLISH" : "PUBLISH");
    resp_arg_text(l, r->instance);
    resp_arg_number(l, NUMBERS_KEPT_MS);
    lane->sent_number = p->number;
}

/* False: no memory. */
static bool send_one(struct weft_bus *b, struct lane *l, struct redis_node *n)
{
    struct bus_publish *p;
    struct request *q;

    node_ask(n, l->ask);
    q = node_request(n, REQUEST_PUBLISH);
    if (!q)
        return false;
    p = queue_take(&l->queue);
    q->publish = p;
    q->is_asking = l->ask;
    l->ask = NULL; /* for this one only: others may still be at the owner */
    if (!l->in_flight)
        l->sent_number = 0;
    l->in_flight++;
    n->in_flight++;
    l->at = n;
    if (p->rule)
        send_remembered(b, n, l, p);
    else
        send_plain(b, n, p);
    return true;
}

/* Where it may send now; NULL: it waits for a time, an answer or a node. */
static struct redis_node *way_of(const struct weft_bus *b, struct lane *l, uint64_t now_ms)
{
    struct redis *r = redis_of(b);
    struct redis_node *n;

    if (l->queue.first && l->ask && l->ask->phase == NODE_DOWN && l->ask->retry_ms)
        l->ask = NULL; /* it cannot be reached: the owner may know better */
    n = l->ask ? l->ask : cluster_owner(r, (uint16_t)(l - r->lanes));
    if (now_ms < l->hold_until_ms || !n || n->phase != NODE_UP || (l->in_flight && l->at != n) ||
        ((l->is_probing || l->ask) && l->in_flight) || n->in_flight >= b->opts.in_flight_max ||
        resp_output_bytes(&n->commands) >= OUT_BYTES_HIGH)
        return NULL;
    return n;
}

static void send_lane(struct weft_bus *b, struct lane *l, uint64_t now_ms)
{
    struct redis_node *n;

    while (l->queue.first && (n = way_of(b, l, now_ms)))
        if (!send_one(b, l, n))
            return;
}

/* Those that have something left stay listed, in a line: who got nothing sent comes first next time. */
void lanes_send(struct weft_bus *b, uint64_t now_ms)
{
    struct redis *r = redis_of(b);
    struct lane *l = r->listed, *next;

    r->listed = NULL;
    r->listed_end = &r->listed;
    for (; l; l = next) {
        next = l->next;
        l->is_listed = false;
        if (!l->is_held)
            send_lane(b, l, now_ms);
        list(r, l);
    }
}

uint64_t lanes_next_time(const struct weft_bus *b, uint64_t now_ms)
{
    uint64_t at = UINT64_MAX;

    for (const struct lane *l = redis_of(b)->listed; l; l = l->next)
        if (l->hold_until_ms > now_ms)
            at = redis_earlier(at, l->hold_until_ms);
    return at;
}

/* --- answers --- */

static void redo_first(struct redis *r, struct lane *l)
{
    queue_put_before(&l->queue, &l->redo);
    l->is_held = false;
    list(r, l);
}

static void hold(struct weft_bus *b, struct lane *l, struct bus_publish *p, bool may_repeat)
{
    l->is_held = true;
    BUS_COUNT(b, retries);
    if (p->rule || may_repeat)
        queue_put(&l->redo, &p->command.node);
    else
        settle(b, p, false);
}

/* The first of those that were refused decides how long to wait and where to go. */
static void note_refusal(struct weft_bus *b, struct lane *l, struct redis_node *n,
                         const struct slots_reply *refusal)
{
    uint64_t now_ms = clock_now_ms();

    l->is_probing = true;
    l->hold_until_ms = now_ms + b->opts.reconnect_min_ms;
    switch (refusal->what) {
    case REFUSED_MOVED:
        cluster_redirect(b, n, refusal);
        break;
    case REFUSED_ASK:
        l->ask = cluster_redirect(b, n, refusal);
        break;
    case REFUSED_BY_CLUSTER:
    case REFUSED_ELSEWHERE:
        cluster_wants_map(b);
        return;
    case REFUSED_WHILE_MOVING:
        return;
    default:
        l->hold_ms = redis_doubled(l->hold_ms, &b->opts);
        l->hold_until_ms = now_ms + redis_shortened(b, l->hold_ms);
        return;
    }
    if (l->redirects++ < REDIRECTS_QUICK)
        l->hold_until_ms = now_ms;
}

static void took_it(struct weft_bus *b, struct lane *l, const struct request *q)
{
    struct bus_publish *p = q->publish;
    struct redis_node *owner = cluster_owner(redis_of(b), p->slot);

    if (q->is_asking && owner && owner->phase == NODE_UP && node_request(owner, REQUEST_NUDGE)) {
        resp_command(&owner->commands, 3);
        resp_arg_text(&owner->commands, "SPUBLISH");
        redis_put_channel(b, &owner->commands, p->topic);
        resp_arg_text(&owner->commands, REDIS_NUDGE);
    }
    l->is_probing = false;
    l->hold_ms = 0;
    l->redirects = 0;
    settle(b, p, true);
}

static void came_back(struct lane *l, struct redis_node *n)
{
    l->in_flight--;
    n->in_flight--;
}

bool lane_answer(struct weft_bus *b, struct redis_node *n, const struct request *q, const struct resp *reply)
{
    struct redis *r = redis_of(b);
    struct bus_publish *p = q->publish;
    struct lane *l = lane_of(r, p);
    struct slots_reply refusal = {.what = REFUSED_FOR_NOW};
    bool is_error = resp_kind(reply) == RESP_ERROR;
    char why[RESP_WHY_BYTES];

    came_back(l, n);
    if (is_error)
        slots_read_error(&refusal, resp_text(reply, NULL));
    if (is_error && refusal.what == REFUSED_FOR_GOOD) {
        redis_log_seldom(b, SELDOM_REFUSED, redis_quote(b, why, resp_text(reply, NULL)));
        settle(b, p, false);
    } else if (is_error || (p->rule && resp_integer(reply) == 2)) {
        if (!l->is_held)
            note_refusal(b, l, n, &refusal);
        hold(b, l, p, refusal.what == REFUSED_MOVED || refusal.what == REFUSED_ELSEWHERE);
    } else {
        if (p->rule && resp_integer(reply) == 3)
            redis_log_seldom(b, SELDOM_DAMAGED, p->topic);
        took_it(b, l, q);
    }
    if (l->is_held && l->in_flight == 0)
        redo_first(r, l);
    return !is_error || refusal.what != REFUSED_HERE;
}

void lane_give_back(struct weft_bus *b, struct redis_node *n, struct bus_publish *p)
{
    struct redis *r = redis_of(b);
    struct lane *l = lane_of(r, p);

    came_back(l, n);
    if (p->rule)
        queue_put(&l->redo, &p->command.node);
    else
        settle(b, p, false);
    if (l->in_flight == 0)
        redo_first(r, l);
}

void lanes_forget(struct redis *r, const struct redis_node *n)
{
    for (size_t i = 0; i < r->lane_count; i++) {
        if (r->lanes[i].at == n)
            r->lanes[i].at = NULL;
        if (r->lanes[i].ask == n)
            r->lanes[i].ask = NULL;
    }
}

void lanes_stop(struct weft_bus *b)
{
    struct redis *r = redis_of(b);
    struct bus_publish *p;

    for (size_t i = 0; i < r->lane_count; i++)
        while ((p = queue_take(&r->lanes[i].queue)))
            settle(b, p, false);
}
