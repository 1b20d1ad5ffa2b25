/* The register of rooms: which are open in this instance, and who of its own people sits in each.
 *
 * A room is open as long as it has a seat: somebody is in it, or has asked to come in. What was said there is
 * not here: the bus keeps it, also when the room is closed.
 *
 * Nothing here locks: the chat calls all of it with its lock held. */
#ifndef WEFT_SERVER_ROOMS_H
#define WEFT_SERVER_ROOMS_H

#include <weft/bus.h>
#include <weft/weft.h>

#include "members.h"
#include "words.h"

#include <stddef.h>
#include <stdint.h>

#define ROOMS_MAX           256
#define ROOM_MEMBERS_MAX    1000 /* over all instances; those who come at the same moment may exceed it */
#define ROOM_HISTORY_MAX    100
#define ROOM_NAME_BYTES_MAX 64
#define ROOM_TOPIC_BYTES    (ROOM_NAME_BYTES_MAX + 10)
#define PERSON_WAITING_MAX  16
#define SEAT_LOOKS_MAX      3

struct chat;
struct room;
struct person;

/* A place of one person in one room: asked for, and then perhaps theirs. */
struct seat {
    struct person *who;
    struct room *room;
    struct seat *next, *prev;
    weft_bus_position from; /* what they have seen already; all zero: nothing */
    bool is_asked;          /* `came` is in the log, or on its way */
    unsigned looks;         /* since then: when it is SEAT_LOOKS_MAX, the word is lost, and is given again */
    bool is_won;
    bool is_told; /* that the bus is away */
    char token[TOKEN_BYTES_MAX + 1];
    char name[PERSON_NAME_BYTES_MAX + 1];
};

/* A connection, as the chat sees it. Lives from on_open to on_close. */
struct person {
    weft_conn *conn;                       /* borrowed from the callback: it outlives the person */
    struct seat *seat;                     /* won; NULL: in no room */
    struct seat *wish;                     /* asked for; NULL: no join is under way */
    weft_msg *waiting[PERSON_WAITING_MAX]; /* what came behind that join; one reference each */
    size_t waiting_count;
    struct words_bucket bucket; /* of messages, and of those too fast that are looked into: */
    struct words_bucket looks;  /* these two are the connection's, whose callbacks come one at a time */
    struct words_bucket refusals;
};

struct room {
    struct chat *chat;      /* of the listeners' callbacks */
    struct room *next;      /* of those that are closing */
    struct members members; /* of all instances */
    uint32_t replayed;      /* entries of the log that were there before us and are still to come */
    bool is_known;          /* whether `members` says who is there, so that somebody may come in */
    bool is_looking;
    bool is_closed;
    unsigned refs;             /* the register's, and each look's */
    weft_group *group;         /* the people of this instance who are in: they hear who comes and goes */
    struct seat *first, *last; /* in order of asking */
    weft_bus_listener *who_listener, *typing_listener;
    char name[ROOM_NAME_BYTES_MAX + 1];
    char said_topic[ROOM_TOPIC_BYTES], who_topic[ROOM_TOPIC_BYTES], typing_topic[ROOM_TOPIC_BYTES];
};

struct rooms {
    struct room *all[ROOMS_MAX];
    size_t count;
    struct room *closing; /* out of the register, and their listeners not ended yet */
};

/* The room of that name, NULL when it is not open. */
struct room *rooms_find(struct rooms *rooms, const char *name);

/* A new room, without seats.
 *
 * name     valid, of no room that is open
 * Returns  WEFT_OK, WEFT_E_AGAIN (all places are taken), WEFT_E_NOMEM */
int rooms_open(struct rooms *rooms, const char *name, struct room **out);

/* Take a room without seats out of the register; it waits in `closing`. */
void rooms_close(struct rooms *rooms, struct room *room);

/* Give back a reference; the last one frees it. */
void room_unref(struct room *room);

/* Sit down under a name. NULL: no memory. And up again, which frees the seat. */
struct seat *room_seat(struct room *room, struct person *who, const char *name, const char *token);
void room_unseat(struct seat *seat);

/* The seat with that token, NULL when there is none. */
struct seat *room_find_seat(const struct room *room, const char *token);

#endif
