/* What a topic remembers; see bus_history.h. */
#include "api/bus_history.h"

#include <string.h>

#include "base/mem.h"

#define ROOM_FIRST   8
#define BEFORE_FIRST 2
#define ENTRY_COST   64 /* beside the payload */

void bus_history_init(struct history *h, const struct history_limits *limits, struct histories *all,
                      weft_bus_position at)
{
    memset(h, 0, sizeof *h);
    h->limits = *limits;
    h->all = all;
    h->at = at;
}

/* --- all together --- */

static unsigned place_of(uint64_t weight)
{
    return 63 - (unsigned)__builtin_clzll(weight);
}

static void take_out(struct history *h)
{
    *h->peer_place = h->peer_next;
    if (h->peer_next)
        h->peer_next->peer_place = h->peer_place;
}

static void put_in(struct history *h)
{
    struct history **list = &h->all->by_weight[place_of(h->weight)];

    h->peer_next = *list;
    h->peer_place = list;
    if (h->peer_next)
        h->peer_next->peer_place = &h->peer_next;
    *list = h;
}

/* Relaxed: for other threads it is a figure, and only this one writes. */
static uint64_t bytes_of(struct histories *all)
{
    return atomic_load_explicit(&all->bytes, memory_order_relaxed);
}

/* By one entry more, or less. */
static void weigh(struct history *h, int64_t step)
{
    uint64_t before = h->weight;

    if (!h->all)
        return;
    atomic_fetch_add_explicit(&h->all->bytes, (uint64_t)step, memory_order_relaxed);
    h->weight += (uint64_t)step;
    if (before && h->weight && place_of(before) == place_of(h->weight))
        return;
    if (before)
        take_out(h);
    if (h->weight)
        put_in(h);
}

static struct history *heaviest(struct histories *all)
{
    unsigned i = HISTORY_WEIGHTS - 1;

    while (!all->by_weight[i])
        i--;
    return all->by_weight[i];
}

/* What an entry takes of memory, and not only of payload. */
static int64_t weight_of(const weft_msg *m)
{
    return (int64_t)mem_block_room(m) + ENTRY_COST;
}

/* --- one of them --- */

static uint64_t cost_of(const weft_msg *m)
{
    return weft_msg_bytes(m) + ENTRY_COST;
}

static struct history_entry *entry_at(const struct history *h, uint32_t i)
{
    return &h->ring[(h->head + i) % h->room];
}

static void drop_oldest(struct history *h)
{
    struct history_entry *e = entry_at(h, 0);

    h->bytes -= cost_of(e->msg);
    weigh(h, -weight_of(e->msg));
    mem_block_take_back(e->msg);
    weft_msg_unref(e->msg);
    h->head = (h->head + 1) % h->room;
    h->count--;
}

void bus_history_clear(struct history *h, weft_bus_position at)
{
    while (h->count)
        drop_oldest(h);
    h->at = at;
    h->before_count = 0;
}

/* Whoever was there is told a gap in any case. */
static void drop_useless(struct history *h)
{
    uint64_t first = bus_history_first(h);
    uint32_t n = 0;

    while (n < h->before_count && h->before[n].offset + 1 < first)
        n++;
    h->before_count -= n;
    if (n && h->before_count)
        memmove(h->before, h->before + n, h->before_count * sizeof *h->before);
}

/* False: no memory. */
static bool has_room_before(struct history *h)
{
    uint32_t room = h->before_room ? 2 * h->before_room : BEFORE_FIRST;
    weft_bus_position *before;

    if (h->before_count < h->before_room)
        return true;
    before = mem_realloc(h->before, room * sizeof *before);
    if (!before)
        return false;
    h->before = before;
    h->before_room = room;
    return true;
}

void bus_history_renew(struct history *h, uint64_t epoch)
{
    drop_useless(h);
    if (has_room_before(h)) /* if not, those who were there are told a gap (H2) */
        h->before[h->before_count++] = h->at;
    h->at.epoch = epoch;
}

void bus_history_fini(struct history *h)
{
    bus_history_clear(h, h->at);
    mem_free(h->ring);
    mem_free(h->before);
    h->ring = NULL;
    h->before = NULL;
    h->room = h->before_room = 0;
}

/* It holds something: the sum is above the bound, which is above 0. */
static void trim_heaviest(struct histories *all)
{
    struct history *h = heaviest(all);
    unsigned place = place_of(h->weight);

    do {
        drop_oldest(h);
    } while (h->weight && place_of(h->weight) == place && bytes_of(all) > all->bytes_max);
    if (all->trimmed)
        all->trimmed(h, all->arg);
}

static void trim(struct histories *all)
{
    while (bytes_of(all) > all->bytes_max)
        trim_heaviest(all);
}

/* False: no memory, and nothing changed. */
static int grow(struct history *h)
{
    uint32_t room = h->room ? 2 * h->room : ROOM_FIRST;
    struct history_entry *ring = mem_alloc(room * sizeof *ring);

    if (!ring)
        return 0;
    for (uint32_t i = 0; i < h->count; i++)
        ring[i] = *entry_at(h, i);
    mem_free(h->ring);
    h->ring = ring;
    h->room = room;
    h->head = 0;
    return 1;
}

void bus_history_put(struct history *h, weft_msg *m, uint64_t time_ms, uint64_t tag)
{
    h->at.offset++;
    if (cost_of(m) > h->limits.bytes) { /* behind a message that is not held nothing older may be (H1) */
        bus_history_clear(h, h->at);
        return;
    }
    while (h->count && (h->count >= h->limits.messages || h->bytes + cost_of(m) > h->limits.bytes))
        drop_oldest(h);
    if (h->count == h->room && !grow(h)) {
        bus_history_clear(h, h->at);
        if (!h->room)
            return;
    }
    h->count++;
    *entry_at(h, h->count - 1) = (struct history_entry){weft_msg_ref(m), time_ms, tag};
    h->bytes += cost_of(m);
    mem_block_set_apart(m);
    weigh(h, weight_of(m));
    if (h->all)
        trim(h->all);
}

void bus_history_prune(struct history *h, uint64_t now_ms)
{
    while (h->limits.age_ms && h->count && entry_at(h, 0)->time_ms + h->limits.age_ms <= now_ms)
        drop_oldest(h);
}

uint64_t bus_history_first(const struct history *h)
{
    return h->at.offset - h->count + 1;
}

weft_msg *bus_history_get(const struct history *h, uint64_t offset)
{
    return entry_at(h, (uint32_t)(offset - bus_history_first(h)))->msg;
}

void bus_history_copy(const struct history *h, struct history_entry *out)
{
    for (uint32_t i = 0; i < h->count; i++) {
        out[i] = *entry_at(h, i);
        weft_msg_ref(out[i].msg);
    }
}

bool bus_history_knows(const struct history *h, const weft_bus_position *from)
{
    if (from->epoch == h->at.epoch)
        return from->offset <= h->at.offset;
    for (uint32_t i = 0; i < h->before_count; i++)
        if (from->epoch == h->before[i].epoch)
            return from->offset <= h->before[i].offset;
    return false;
}

uint64_t history_tag(const struct history *h, uint64_t offset)
{
    if (offset < bus_history_first(h) || offset > h->at.offset)
        return 0;
    return entry_at(h, (uint32_t)(offset - bus_history_first(h)))->tag;
}
