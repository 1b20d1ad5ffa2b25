/* The register of rooms: who is in which, and what was said there last.
 *
 * A room nobody is in lives on with its history. There is space for ROOMS_MAX rooms; when it is needed, the
 * one that has been empty the longest goes. At most ROOMS_MAX * ROOM_HISTORY_MAX messages are kept.
 *
 * Nothing here locks: the chat calls all of it with its lock held. */
#ifndef WEFT_SERVER_ROOMS_H
#define WEFT_SERVER_ROOMS_H

#include <weft/weft.h>

#include "words.h"

#include <stddef.h>
#include <stdint.h>

#define ROOMS_MAX             256
#define ROOM_MEMBERS_MAX      1000
#define ROOM_HISTORY_MAX      100
#define ROOM_NAME_BYTES_MAX   64
#define PERSON_NAME_BYTES_MAX 32

struct room;

/* A connection, as the chat sees it. Lives from on_open to on_close. */
struct person {
    weft_conn *conn;   /* borrowed from the callback: it outlives the person */
    struct room *room; /* NULL: in none */
    struct person *next, *prev;
    struct words_bucket bucket;
    unsigned refused_in_a_row;
    char name[PERSON_NAME_BYTES_MAX + 1]; /* unique in the room */
};

struct room {
    weft_group *group; /* who hears what is said here: the same as `people`, kept equal by the chat */
    struct person *first, *last; /* in order of arrival */
    size_t person_count;
    uint64_t emptied;                    /* when it was left by the last one: a count of such events */
    weft_msg *history[ROOM_HISTORY_MAX]; /* a ring; one reference each */
    size_t history_first, history_count;
    char name[ROOM_NAME_BYTES_MAX + 1];
};

struct rooms {
    struct room *all[ROOMS_MAX];
    size_t count;
    uint64_t emptied; /* counts for room.emptied */
};

/* Give up all rooms and their histories; nobody may be in one. */
void rooms_fini(struct rooms *rooms);

/* The room of that name, NULL when there is none. */
struct room *rooms_find(struct rooms *rooms, const char *name);

/* The room of that name, made if there is none.
 *
 * name     valid
 * Returns  WEFT_OK, WEFT_E_AGAIN (all places are taken and somebody is in each), WEFT_E_NOMEM */
int rooms_open(struct rooms *rooms, const char *name, struct room **out);

/* The person of that name in the room, NULL when there is none; room may be NULL. */
struct person *room_find(const struct room *room, const char *name);

/* Enter under a name that is free; p is in no room and there is a place. And leave; p is in one. */
void room_enter(struct room *room, struct person *p, const char *name);
void room_leave(struct rooms *rooms, struct person *p);

/* Add to the history; the oldest message makes place.
 *
 * m        given */
void room_remember(struct room *room, weft_msg *m);

/* The i-th message of the history, the oldest is 0; borrowed. */
weft_msg *room_history(const struct room *room, size_t i);

#endif
