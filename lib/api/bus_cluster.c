/* Which node has which slot, and the nodes that come and go with that.
 *
 * The map is CLUSTER SLOTS of any node that is up, asked for when something says that it has changed, while
 * it has holes or a node of it is down, and every MAP_EVERY_MS; never more often than reconnect_min_ms. A
 * redirection is believed at once. While no node can be reached those of the URL are tried, in turn, with a
 * pause behind each that doubles with each round until a node of the map has come. */
#include <stdio.h>
#include <string.h>

#include "api/bus_redis.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define MAP_EVERY_MS 10000u
#define KEEP_MS      5000u /* a node that nothing is left to do with */

struct redis_node *cluster_owner(const struct redis *r, uint16_t slot)
{
    return r->mode == REDIS_CLUSTER ? r->owner[slot] : r->alone;
}

bool cluster_is_whole(const struct redis *r)
{
    bool is_whole = r->mode == REDIS_SINGLE || (r->mode == REDIS_CLUSTER && r->has_map && !r->has_hole);

    for (size_t i = 0; i < r->node_count; i++)
        is_whole &= !r->nodes[i]->is_wanted || r->nodes[i]->phase == NODE_UP;
    return is_whole;
}

/* --- nodes --- */

static bool is_at(const struct redis_node *n, const char *host, uint16_t port)
{
    if (!host || !n->at.host)
        return !host && !n->at.host;
    return n->at.port == port && strcmp(n->at.host, host) == 0;
}

/* NULL: no room, no memory. */
static struct redis_node *find_or_add(struct redis *r, const char *host, uint16_t port)
{
    struct redis_node *n;

    for (size_t i = 0; i < r->node_count; i++)
        if (is_at(r->nodes[i], host, port))
            return r->nodes[i];
    if (r->node_count == REDIS_NODES_MAX) {
        LOG(WEFT_LOG_ERROR, 0, "bus: the cluster has more than %u masters", (unsigned)REDIS_NODES_MAX);
        return NULL;
    }
    n = node_new(host, port);
    if (n) {
        n->keep_until_ms = clock_now_ms() + KEEP_MS;
        r->nodes[r->node_count++] = n;
    }
    return n;
}

static void remove_node(struct weft_bus *b, size_t i)
{
    struct redis *r = redis_of(b);
    struct redis_node *n = r->nodes[i];

    node_close(b, n);
    lanes_forget(r, n);
    for (size_t slot = 0; slot < SLOTS; slot++)
        if (r->owner[slot] == n)
            r->owner[slot] = NULL;
    r->node_count--;
    memmove(&r->nodes[i], &r->nodes[i + 1], (r->node_count - i) * sizeof r->nodes[0]);
    node_free(n);
}

static bool may_go(const struct redis_node *n, uint64_t now_ms)
{
    if (n->is_wanted)
        return false;
    if (n->phase == NODE_DOWN)
        return n->retry_ms > 0; /* it was tried */
    return n->phase == NODE_UP && !n->requests.first && now_ms >= n->keep_until_ms;
}

static void remove_idle(struct weft_bus *b, uint64_t now_ms)
{
    struct redis *r = redis_of(b);
    bool has_removed = false;

    for (size_t i = r->node_count; i-- > 0;) {
        if (!may_go(r->nodes[i], now_ms))
            continue;
        remove_node(b, i);
        has_removed = true;
    }
    if (has_removed)
        channels_place(b); /* patterns may have had their home there */
}

/* Without a cluster the next server of the URL is as good. */
void cluster_node_failed(struct weft_bus *b, struct redis_node *n)
{
    struct redis *r = redis_of(b);
    const struct bus_seed *seed;

    cluster_wants_map(b);
    if (r->mode == REDIS_CLUSTER || r->url.seed_count < 2)
        return;
    seed = &r->url.seeds[(r->next_seed + 1) % r->url.seed_count];
    if (node_move(n, seed->host, seed->port))
        r->next_seed++;
}

/* --- the map --- */

void cluster_wants_map(struct weft_bus *b)
{
    redis_of(b)->wants_map = true;
}

/* What runs on a slot's new node is told soon, and once for many slots. */
static void names_have_moved(struct weft_bus *b)
{
    struct redis *r = redis_of(b);

    r->presence_at_ms = redis_earlier(r->presence_at_ms, clock_now_ms() + b->opts.reconnect_min_ms);
}

/* The one that is known by its port alone; not this one, which sent us away. */
static struct redis_node *find_by_port(struct redis *r, const struct redis_node *from, uint16_t port)
{
    struct redis_node *found = NULL;
    unsigned count = 0;

    for (size_t i = 0; i < r->node_count; i++) {
        struct redis_node *n = r->nodes[i];

        if (n == from || !n->is_wanted || n->at.port != port)
            continue;
        found = n;
        count++;
    }
    return count == 1 ? found : NULL;
}

struct redis_node *cluster_redirect(struct weft_bus *b, const struct redis_node *from,
                                    const struct slots_reply *to)
{
    struct redis *r = redis_of(b);
    const char *host = to->host[0] ? to->host : from->at.host;
    struct redis_node *n = NULL;

    if (r->mode == REDIS_CLUSTER && strcmp(to->host, SLOT_HOST_UNNAMED) == 0)
        n = find_by_port(r, from, to->port);
    else if (r->mode == REDIS_CLUSTER && host)
        n = find_or_add(r, host, to->port);
    if (n)
        n->keep_until_ms = clock_now_ms() + KEEP_MS;
    if (to->what != REFUSED_MOVED)
        return n;
    cluster_wants_map(b);
    if (n && r->owner[to->slot] != n) {
        r->owner[to->slot] = n;
        n->is_wanted = true;
        names_have_moved(b);
    }
    return n;
}

/* Of { host, port, id, { "ip", address, .. } }. An empty host, or none, is the one that answered. Servers that
 * are to tell names call one that has none "?"; then its address counts. NULL: there is nothing that says. */
static const char *host_of(const struct redis_node *from, const struct resp *master)
{
    const char *host = resp_text(resp_item(master, 0), NULL);
    const struct resp *more = resp_item(master, 3);

    if (strcmp(host, SLOT_HOST_UNNAMED) == 0) {
        const char *address = NULL;

        for (size_t i = 0; i + 1 < resp_count(more); i += 2)
            if (strcmp(resp_text(resp_item(more, i), NULL), "ip") == 0)
                address = resp_text(resp_item(more, i + 1), NULL);
        if (!address || strcmp(address, SLOT_HOST_UNNAMED) == 0)
            return NULL;
        host = address;
    }
    return *host ? host : from->at.host;
}

/* { first, last, master, replicas .. }. A slot is in one range only, so there are no more slots in all of them
 * than there are. */
static void take_range(struct redis *r, const struct redis_node *from, const struct resp *range,
                       int64_t *slots_left)
{
    const struct resp *master = resp_item(range, 2);
    int64_t first = resp_integer(resp_item(range, 0)), last = resp_integer(resp_item(range, 1));
    int64_t port = resp_integer(resp_item(master, 1));
    const char *host = host_of(from, master);
    struct redis_node *n;

    if (first < 0 || first > last || last >= SLOTS || last - first >= *slots_left || port < 1 ||
        port > UINT16_MAX || !host || strlen(host) > SLOT_HOST_BYTES_MAX)
        return;
    n = find_or_add(r, host, (uint16_t)port);
    if (!n)
        return;
    n->is_wanted = true;
    *slots_left -= last - first + 1;
    for (int64_t slot = first; slot <= last; slot++)
        r->owner[slot] = n;
}

/* Topics are looked at when something is not where it belongs, not for each map. False: no memory. */
static bool take_ranges(struct weft_bus *b, const struct redis_node *from, const struct resp *ranges)
{
    struct redis *r = redis_of(b);
    struct redis_node **before = r->owner, **owner = mem_calloc(SLOTS, sizeof(struct redis_node *));
    int64_t slots_left = SLOTS;
    bool has_changed;

    if (!owner)
        return false;
    r->owner = owner;
    for (size_t i = 0; i < r->node_count; i++)
        r->nodes[i]->is_wanted = false;
    for (size_t i = 0; i < resp_count(ranges); i++)
        take_range(r, from, resp_item(ranges, i), &slots_left);
    r->has_hole = false;
    for (size_t slot = 0; slot < SLOTS; slot++)
        r->has_hole |= !owner[slot];
    has_changed = memcmp(before, owner, SLOTS * sizeof(struct redis_node *)) != 0;
    mem_free(before);
    if (has_changed)
        names_have_moved(b);
    if (has_changed || r->has_off)
        channels_replace(b);
    return true;
}

/* False: no memory, and it is not known yet. */
static bool become_cluster(struct weft_bus *b)
{
    struct redis *r = redis_of(b);
    struct lane *lanes = mem_calloc(SLOTS, sizeof *lanes);
    struct redis_node **owner = mem_calloc(SLOTS, sizeof(struct redis_node *));
    uint32_t *tags = mem_alloc(SLOTS * sizeof *tags);

    if (!lanes || !owner || !tags) {
        mem_free(lanes);
        mem_free(owner);
        mem_free(tags);
        return false;
    }
    slots_make_tags(tags);
    r->mode = REDIS_CLUSTER;
    r->owner = owner;
    r->tags = tags;
    r->alone->keep_until_ms = clock_now_ms() + KEEP_MS;
    r->alone = NULL;
    lanes_spread(b, lanes, SLOTS);
    channels_spread(b);
    return true;
}

static bool refuse(char *why, const char *text)
{
    snprintf(why, RESP_WHY_BYTES, "%s", text);
    return false;
}

/* Who does not know the command, or may not say, is no cluster. Other errors say nothing of that: the first
 * answer of a server that has too many clients, say, is one to whatever was sent. */
static bool take_error(struct weft_bus *b, const struct resp *reply, char *why)
{
    struct redis *r = redis_of(b);

    if (!slots_means_no_cluster(resp_text(reply, NULL)))
        return false;
    if (r->mode == REDIS_CLUSTER)
        return refuse(why, "it is not of a cluster, and the others are");
    r->mode = REDIS_SINGLE;
    return true;
}

bool cluster_take_map(struct weft_bus *b, struct redis_node *n, const struct resp *reply, char *why)
{
    struct redis *r = redis_of(b);
    bool is_later = n->phase == NODE_UP;

    if (is_later)
        r->is_map_asked = false;
    if (resp_kind(reply) == RESP_ERROR)
        return take_error(b, reply, why);
    if (r->mode == REDIS_SINGLE)
        return refuse(why, "it belongs to a cluster now; the bus was opened without one");
    if (r->url.db)
        return refuse(why, "it belongs to a cluster, which has only database 0");
    if (r->mode == REDIS_UNKNOWN && !become_cluster(b))
        return refuse(why, "no memory");
    /* A node that has just come back may not know yet what has changed. */
    for (size_t i = 0; i < r->node_count && !is_later; i++)
        if (r->nodes[i]->phase == NODE_UP)
            return true;
    r->wants_map = false;
    if (!take_ranges(b, n, reply))
        return refuse(why, "no memory");
    r->has_map = true;
    redis_tell_state(b, "a node of the cluster is missing");
    return true;
}

static bool is_map_due(const struct redis *r, uint64_t now_ms)
{
    return !r->is_map_asked && now_ms >= r->map_at_ms &&
           (r->wants_map || now_ms >= r->map_again_ms || !cluster_is_whole(r));
}

static void ask_for_map(struct weft_bus *b, uint64_t now_ms)
{
    struct redis *r = redis_of(b);
    struct redis_node *n = NULL;

    for (size_t i = 0; i < r->node_count && !n; i++) {
        n = r->nodes[++r->next_asked % r->node_count];
        n = n->phase == NODE_UP ? n : NULL;
    }
    r->map_at_ms = now_ms + b->opts.reconnect_min_ms;
    if (!n || !node_request(n, REQUEST_MAP))
        return;
    resp_command(&n->commands, 2);
    resp_arg_text(&n->commands, "CLUSTER");
    resp_arg_text(&n->commands, "SLOTS");
    n->keep_until_ms = now_ms + KEEP_MS;
    r->is_map_asked = true;
    r->map_again_ms = now_ms + MAP_EVERY_MS;
}

/* --- a turn --- */

static bool is_any_on_its_way(const struct redis *r)
{
    bool is_any = false;

    for (size_t i = 0; i < r->node_count; i++)
        is_any |= r->nodes[i]->phase != NODE_DOWN;
    return is_any;
}

/* A node of the URL is none of the map, perhaps by another name: that it was reached ends no pause. */
static bool has_come(const struct redis *r)
{
    bool has_any = false;

    for (size_t i = 0; i < r->node_count; i++)
        has_any |= r->nodes[i]->is_wanted && r->nodes[i]->phase == NODE_UP;
    return has_any;
}

static void try_seed(struct weft_bus *b, uint64_t now_ms)
{
    struct redis *r = redis_of(b);
    size_t i = r->url.seed_count ? r->next_seed++ % r->url.seed_count : 0;

    find_or_add(r, r->url.seeds[i].host, r->url.seeds[i].port);
    if (i == 0 || !r->seed_ms)
        r->seed_ms = redis_doubled(r->seed_ms, &b->opts);
    r->seed_at_ms = now_ms + redis_shortened(b, r->seed_ms);
}

void cluster_turn(struct weft_bus *b, uint64_t now_ms)
{
    struct redis *r = redis_of(b);

    if (r->mode != REDIS_CLUSTER)
        return;
    remove_idle(b, now_ms);
    if (is_map_due(r, now_ms))
        ask_for_map(b, now_ms);
    if (has_come(r))
        r->seed_ms = 0;
    if (!is_any_on_its_way(r) && now_ms >= r->seed_at_ms)
        try_seed(b, now_ms);
}

uint64_t cluster_next_time(const struct weft_bus *b)
{
    const struct redis *r = redis_of(b);
    uint64_t at = UINT64_MAX;

    if (r->mode != REDIS_CLUSTER)
        return at;
    for (size_t i = 0; i < r->node_count; i++)
        if (!r->nodes[i]->is_wanted && r->nodes[i]->phase == NODE_UP && !r->nodes[i]->requests.first)
            at = redis_earlier(at, r->nodes[i]->keep_until_ms);
    if (!is_any_on_its_way(r))
        return redis_earlier(at, r->seed_at_ms);
    if (r->is_map_asked)
        return at;
    if (r->wants_map || !cluster_is_whole(r))
        return redis_earlier(at, r->map_at_ms);
    return redis_earlier(at, r->map_again_ms);
}

/* --- beginning and end --- */

int cluster_open(struct weft_bus *b)
{
    struct redis *r = redis_of(b);

    r->lanes = mem_calloc(1, sizeof *r->lanes);
    r->lane_count = 1;
    r->listed_end = &r->listed;
    r->alone = node_new(r->url.seeds[0].host, r->url.seeds[0].port);
    if (!r->lanes || !r->alone)
        return WEFT_E_NOMEM;
    r->alone->is_wanted = true;
    r->nodes[r->node_count++] = r->alone;
    return WEFT_OK;
}

void cluster_free(struct redis *r)
{
    for (size_t i = 0; i < r->node_count; i++)
        node_free(r->nodes[i]);
    if (r->node_count == 0 && r->alone)
        node_free(r->alone); /* it was made, and the rest was not */
    mem_free(r->lanes);
    mem_free(r->owner);
    mem_free(r->tags);
}
