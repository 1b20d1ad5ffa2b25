/* Accounts of order; see order.h. */
#include "order.h"

#include "base/mem.h"

const char *const error_names[ERRORS] = {"content", "order", "lost", "protocol", "connect", "dropped"};

void order_fini(struct order *o)
{
    mem_free(o->gaps);
    *o = (struct order){0};
}

/* Without memory it is as beyond the limit. */
static void note_gap(struct order *o, struct order_gap gap)
{
    if (o->gap_count == o->gap_room) {
        size_t room = o->gap_room ? 2 * o->gap_room : 64;
        struct order_gap *more = room > ORDER_GAPS_MAX ? NULL : mem_realloc(o->gaps, room * sizeof *more);
        if (!more)
            return;
        o->gaps = more;
        o->gap_room = room;
    }
    o->gaps[o->gap_count++] = gap;
}

static bool fill_gap(struct order *o, struct order_gap gap)
{
    for (size_t i = 0; i < o->gap_count; i++) {
        const struct order_gap *g = &o->gaps[i];
        if (g->at == gap.at && g->from == gap.from && g->sequence == gap.sequence) {
            o->gaps[i] = o->gaps[--o->gap_count];
            return true;
        }
    }
    return false;
}

static bool take_wrong(uint32_t *expected, uint32_t sent, uint32_t *sequence, uint64_t errors[ERRORS])
{
    errors[ERROR_CONTENT]++;
    *sequence = *expected;
    if (*expected >= sent)
        return false; /* nothing is outstanding: it is one too many */
    (*expected)++;
    return true;
}

bool order_take(struct order *o, uint32_t at, uint32_t from, uint32_t *expected, uint32_t sent,
                uint32_t *sequence, bool is_good, uint64_t errors[ERRORS])
{
    uint32_t ahead_max;

    if (!is_good || *sequence >= sent)
        return take_wrong(expected, sent, sequence, errors);
    if (*sequence < *expected) {
        errors[ERROR_ORDER]++;
        return fill_gap(o, (struct order_gap){at, from, *sequence});
    }
    ahead_max = *sequence - *expected < ORDER_GAPS_MAX ? *sequence : *expected + ORDER_GAPS_MAX;
    for (uint32_t s = *expected; s < ahead_max; s++)
        note_gap(o, (struct order_gap){at, from, s});
    *expected = *sequence + 1;
    return true;
}
