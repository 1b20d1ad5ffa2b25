/* The register of rooms; see rooms.h. A few hundred rooms are searched one by one, and only when somebody
 * joins. */
#include "rooms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct room *rooms_find(struct rooms *rooms, const char *name)
{
    for (size_t i = 0; i < rooms->count; i++)
        if (strcmp(rooms->all[i]->name, name) == 0)
            return rooms->all[i];
    return NULL;
}

/* A name may end with '*', a topic may not. */
static void name_topics(struct room *room)
{
    snprintf(room->said_topic, sizeof room->said_topic, "said:%s.", room->name);
    snprintf(room->who_topic, sizeof room->who_topic, "who:%s.", room->name);
    snprintf(room->typing_topic, sizeof room->typing_topic, "typing:%s.", room->name);
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
    room->refs = 1;
    strcpy(room->name, name);
    name_topics(room);
    return room;
}

void room_unref(struct room *room)
{
    if (--room->refs > 0)
        return;
    members_fini(&room->members);
    weft_group_unref(room->group);
    free(room);
}

int rooms_open(struct rooms *rooms, const char *name, struct room **out)
{
    if (rooms->count == ROOMS_MAX)
        return WEFT_E_AGAIN;
    *out = room_new(name);
    if (!*out)
        return WEFT_E_NOMEM;
    rooms->all[rooms->count++] = *out;
    return WEFT_OK;
}

void rooms_close(struct rooms *rooms, struct room *room)
{
    size_t i = 0;

    while (rooms->all[i] != room)
        i++;
    rooms->all[i] = rooms->all[--rooms->count];
    room->is_closed = true;
    room->next = rooms->closing;
    rooms->closing = room;
}

struct seat *room_seat(struct room *room, struct person *who, const char *name, const char *token)
{
    struct seat *seat = calloc(1, sizeof *seat);

    if (!seat)
        return NULL;
    seat->who = who;
    seat->room = room;
    strcpy(seat->name, name);
    strcpy(seat->token, token);
    seat->prev = room->last;
    *(room->last ? &room->last->next : &room->first) = seat;
    room->last = seat;
    return seat;
}

void room_unseat(struct seat *seat)
{
    struct room *room = seat->room;

    *(seat->prev ? &seat->prev->next : &room->first) = seat->next;
    *(seat->next ? &seat->next->prev : &room->last) = seat->prev;
    free(seat);
}

struct seat *room_find_seat(const struct room *room, const char *token)
{
    struct seat *seat = room->first;

    while (seat && strcmp(seat->token, token) != 0)
        seat = seat->next;
    return seat;
}
