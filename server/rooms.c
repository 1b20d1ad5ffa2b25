/* The register of rooms; see rooms.h. A few hundred rooms are searched one by one, and only when somebody
 * joins. */
#include "rooms.h"

#include <stdlib.h>
#include <string.h>

static void room_free(struct room *room)
{
    for (size_t i = 0; i < room->history_count; i++)
        weft_msg_unref(room_history(room, i));
    weft_group_unref(room->group);
    free(room);
}

void rooms_fini(struct rooms *rooms)
{
    for (size_t i = 0; i < rooms->count; i++)
        room_free(rooms->all[i]);
    rooms->count = 0;
}

struct room *rooms_find(struct rooms *rooms, const char *name)
{
    for (size_t i = 0; i < rooms->count; i++)
        if (strcmp(rooms->all[i]->name, name) == 0)
            return rooms->all[i];
    return NULL;
}

static struct room *room_new(const char *name)
{
    struct room *room = calloc(1, sizeof *room);

    if (!room)
        return NULL;
    if (weft_group_new(&room->group) != WEFT_OK) {
        free(room);
        return NULL;
    }
    strcpy(room->name, name);
    return room;
}

/* The place of a new room: a free one, or that of the room which has been empty the longest; NULL for none.
 */
static struct room **find_place(struct rooms *rooms)
{
    struct room **oldest = NULL;

    if (rooms->count < ROOMS_MAX)
        return &rooms->all[rooms->count];
    for (size_t i = 0; i < rooms->count; i++)
        if (rooms->all[i]->person_count == 0 && (!oldest || rooms->all[i]->emptied < (*oldest)->emptied))
            oldest = &rooms->all[i];
    return oldest;
}

int rooms_open(struct rooms *rooms, const char *name, struct room **out)
{
    struct room **place;
    struct room *room = rooms_find(rooms, name);

    if (room) {
        *out = room;
        return WEFT_OK;
    }
    place = find_place(rooms);
    if (!place)
        return WEFT_E_AGAIN;
    room = room_new(name);
    if (!room)
        return WEFT_E_NOMEM;
    if (place == &rooms->all[rooms->count])
        rooms->count++;
    else
        room_free(*place);
    *place = *out = room;
    return WEFT_OK;
}

struct person *room_find(const struct room *room, const char *name)
{
    struct person *p = room ? room->first : NULL;

    while (p && strcmp(p->name, name) != 0)
        p = p->next;
    return p;
}

void room_enter(struct room *room, struct person *p, const char *name)
{
    strcpy(p->name, name);
    p->room = room;
    p->next = NULL;
    p->prev = room->last;
    if (room->last)
        room->last->next = p;
    else
        room->first = p;
    room->last = p;
    room->person_count++;
}

void room_leave(struct rooms *rooms, struct person *p)
{
    struct room *room = p->room;

    *(p->prev ? &p->prev->next : &room->first) = p->next;
    *(p->next ? &p->next->prev : &room->last) = p->prev;
    p->next = p->prev = NULL;
    p->room = NULL;
    if (--room->person_count == 0)
        room->emptied = ++rooms->emptied;
}

void room_remember(struct room *room, weft_msg *m)
{
    size_t at = (room->history_first + room->history_count) % ROOM_HISTORY_MAX;

    if (room->history_count < ROOM_HISTORY_MAX) {
        room->history_count++;
    } else {
        weft_msg_unref(room->history[at]);
        room->history_first = (room->history_first + 1) % ROOM_HISTORY_MAX;
    }
    room->history[at] = m;
}

weft_msg *room_history(const struct room *room, size_t i)
{
    return room->history[(room->history_first + i) % ROOM_HISTORY_MAX];
}
