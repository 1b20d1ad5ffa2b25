/* What one connection showed; see record.h. */
#include "record.h"

#include <stdlib.h>

void record_event(struct record *r, struct event event)
{
    r->events = memory_resize(r->events, r->event_count + 1, sizeof *r->events);
    r->events[r->event_count++] = event;
}

static bool event_equals(const struct event *e, const struct expected *x)
{
    if (e->kind != x->kind || e->label != x->label || e->count != x->count)
        return false;
    return payload_difference(&x->payload, e->payload.data, e->payload.bytes) < 0;
}

bool record_begins(const struct record *r, const struct expected *list)
{
    for (size_t i = 0; i < r->event_count; i++, list++)
        if (list->kind == EVENT_END || !event_equals(&r->events[i], list))
            return false;
    return true;
}

bool record_equals(const struct record *r, const struct expected *list)
{
    size_t count = 0;

    while (list[count].kind != EVENT_END)
        count++;
    return count == r->event_count && record_begins(r, list);
}

void record_fini(struct record *r)
{
    for (size_t i = 0; i < r->event_count; i++)
        octets_fini(&r->events[i].payload);
    free(r->events);
    *r = (struct record){0};
}
