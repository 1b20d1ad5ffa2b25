/* The chat itself; its protocol and its promises are in chat.h.
 *
 * It works like this: every connection is a person, from on_open to on_close. A person is in one room or in
 * none. Each room has a weft_group, and to say something is to broadcast it there. Messages come in on many
 * threads at once, so there is one lock, and everything below `with the lock held` happens one at a time: a
 * `said` gets its id, goes into the history and into the outbox of everybody in the room before the next one
 * can. That is the whole trick behind the order that chat.h promises.
 *
 * A lock around sending sounds bad, but nothing here waits: a broadcast never does, and for a single person
 * we use weft_conn_try_send. Who does not read fast enough is closed instead of waited for. */
#include "chat.h"

#include "lines.h"
#include "rooms.h"

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct chat {
    pthread_mutex_t lock; /* protects all below, and every person and room */
    struct rooms rooms;
    uint64_t last_id;
    struct chat_figures figures; /* rooms and people are counted when asked for */
    chat_now_fn *now;            /* constant */
};

/* Why something was not done. Clients compare these, so they do not change. */
#define NOT_TEXT      "messages must be text"
#define NOT_JSON      "not a JSON object"
#define NO_TYPE       "type must be join, say, typing or leave"
#define INPUT_TOO_BIG "message is too long"
#define TOO_FAST      "too fast"
#define NO_ROOM       "join a room first"
#define BAD_ROOM      "room must be a name of 1 to 64 bytes"
#define BAD_NAME      "name must be a name of 1 to 32 bytes"
#define BAD_TEXT      "text must be 1 to 4096 bytes without control characters"
#define NAME_TAKEN    "name is taken"
#define ROOM_FULL     "room is full"
#define ROOMS_FULL    "too many rooms"
#define NO_MEMORY     "out of memory"

/* ------------------------------------------------------------------------- out */

static void give_up_on(struct person *p, int rc)
{
    if (rc == WEFT_E_AGAIN)
        weft_conn_close(p->conn, WEFT_CLOSE_POLICY_VIOLATION, "reads too slowly");
    else if (rc != WEFT_E_CLOSED)
        weft_conn_close(p->conn, WEFT_CLOSE_INTERNAL_ERROR, weft_strerror(rc));
}

/* To one person. The message is given, NULL when there was no memory for it. */
static int tell(struct person *p, weft_msg *m)
{
    int rc = m ? weft_conn_try_send(p->conn, m) : WEFT_E_NOMEM;

    if (rc == WEFT_OK)
        return rc;
    weft_msg_unref(m);
    give_up_on(p, rc);
    return rc;
}

/* To all in the room but one. The message is given, NULL when there was no memory for it. */
static int tell_room(struct room *room, weft_msg *m, struct person *but)
{
    int rc = m ? weft_group_broadcast(room->group, m, but ? but->conn : NULL) : WEFT_E_NOMEM;

    if (rc != WEFT_OK)
        weft_msg_unref(m);
    return rc;
}

/* "came", "went" or "typing". Without memory the others miss it, and nothing else. */
static void notice(struct room *room, const char *type, struct person *who)
{
    tell_room(room, lines_notice(type, who->name), who);
}

/* ------------------------------------------------------------------------- in, with the lock held */

/* A string of the object that is a name, or NULL. */
static const char *name_in(json_t *in, const char *key, size_t bytes_max)
{
    json_t *value = json_object_get(in, key);
    const char *text = json_string_value(value);

    return text && words_is_name(text, json_string_length(value), bytes_max) ? text : NULL;
}

static void go(struct chat *chat, struct person *me)
{
    struct room *room = me->room;

    if (!room)
        return;
    weft_group_remove(room->group, me->conn);
    room_leave(&chat->rooms, me);
    notice(room, "went", me);
}

/* First `joined`, then a place in the group: what is said from now on comes behind it. If that fails the
 * connection is ending, and on_close takes the person out again. */
static void come(struct room *room, struct person *me, const char *name)
{
    int rc;

    room_enter(room, me, name);
    rc = tell(me, lines_joined(me));
    if (rc == WEFT_OK)
        rc = weft_group_add(room->group, me->conn);
    if (rc != WEFT_OK)
        give_up_on(me, rc);
    notice(room, "came", me);
}

static const char *why_not(struct chat *chat, struct person *me, const char *room_name, const char *name)
{
    struct room *room = rooms_find(&chat->rooms, room_name);
    struct person *namesake = room_find(room, name);

    if (namesake && namesake != me)
        return NAME_TAKEN;
    if (room && room != me->room && room->person_count == ROOM_MEMBERS_MAX)
        return ROOM_FULL;
    return NULL;
}

static const char *join(struct chat *chat, struct person *me, json_t *in)
{
    const char *room_name = name_in(in, "room", ROOM_NAME_BYTES_MAX);
    const char *name = name_in(in, "name", PERSON_NAME_BYTES_MAX);
    struct room *room;
    const char *reason;
    int rc;

    if (!room_name || !name)
        return room_name ? BAD_NAME : BAD_ROOM;
    reason = why_not(chat, me, room_name, name);
    if (reason)
        return reason;
    rc = rooms_open(&chat->rooms, room_name, &room);
    if (rc != WEFT_OK)
        return rc == WEFT_E_AGAIN ? ROOMS_FULL : NO_MEMORY;
    if (room == me->room && strcmp(name, me->name) == 0) {
        tell(me, lines_joined(me));
        return NULL;
    }
    go(chat, me);
    come(room, me, name);
    return NULL;
}

static const char *say(struct chat *chat, struct person *me, json_t *in)
{
    json_t *value = json_object_get(in, "text");
    const char *text = json_string_value(value);
    weft_msg *said;

    if (!me->room)
        return NO_ROOM;
    if (!text || !words_is_message(text, json_string_length(value), CHAT_TEXT_BYTES_MAX))
        return BAD_TEXT;
    said = lines_said(chat->last_id + 1, me, text, chat->now().wall_ms);
    if (!said)
        return NO_MEMORY;
    if (tell_room(me->room, weft_msg_ref(said), NULL) != WEFT_OK) {
        weft_msg_unref(said);
        return NO_MEMORY;
    }
    room_remember(me->room, said);
    chat->last_id++;
    chat->figures.said++;
    return NULL;
}

static const char *typing(struct chat *chat, struct person *me, json_t *in)
{
    (void)chat;
    (void)in;
    if (!me->room)
        return NO_ROOM;
    notice(me->room, "typing", me);
    return NULL;
}

static const char *leave(struct chat *chat, struct person *me, json_t *in)
{
    (void)in;
    if (!me->room)
        return NO_ROOM;
    go(chat, me);
    return NULL;
}

static const struct {
    const char *type;
    const char *(*act)(struct chat *chat, struct person *me, json_t *in); /* NULL, or why it was not done */
} verbs[] = {{"join", join}, {"say", say}, {"typing", typing}, {"leave", leave}};

static const char *act_on(struct chat *chat, struct person *me, json_t *in)
{
    const char *type = json_string_value(json_object_get(in, "type"));

    if (!json_is_object(in))
        return NOT_JSON;
    for (size_t i = 0; type && i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(type, verbs[i].type) == 0)
            return verbs[i].act(chat, me, in);
    return NO_TYPE;
}

static void count_error(struct chat *chat, struct person *me, bool is_too_fast)
{
    chat->figures.errors++;
    chat->figures.too_fast += is_too_fast;
    me->refused_in_a_row++;
}

/* ------------------------------------------------------------------------- callbacks, on any worker */

/* The costly part of a message, done before the lock is taken. NULL: *reason says why. */
static json_t *parse(weft_msg *m, const char **reason)
{
    json_t *in = NULL;

    if (weft_msg_type(m) != WEFT_TEXT)
        *reason = NOT_TEXT;
    else if (weft_msg_bytes(m) > CHAT_INPUT_BYTES_MAX)
        *reason = INPUT_TOO_BIG;
    else if (!(in = json_loadb(weft_msg_data(m), weft_msg_bytes(m), JSON_REJECT_DUPLICATES, NULL)))
        *reason = NOT_JSON;
    return in;
}

static const char *handle(struct chat *chat, struct person *me, weft_msg *m)
{
    /* Callbacks of one connection come one at a time, so the bucket needs no lock. */
    bool is_too_fast = !words_bucket_take(&me->bucket, chat->now().steady_ms, CHAT_BURST, CHAT_PER_SECOND);
    const char *reason = is_too_fast ? TOO_FAST : NULL;
    json_t *in = reason ? NULL : parse(m, &reason);

    pthread_mutex_lock(&chat->lock);
    if (!reason)
        reason = act_on(chat, me, in);
    if (reason)
        count_error(chat, me, is_too_fast);
    else
        me->refused_in_a_row = 0;
    pthread_mutex_unlock(&chat->lock);
    json_decref(in);
    return reason;
}

void chat_on_message(weft_conn *c, weft_msg *m, void *app)
{
    struct person *me = weft_conn_data(c);
    const char *reason = me ? handle(app, me, m) : NULL;

    weft_msg_unref(m);
    if (!reason)
        return;
    if (me->refused_in_a_row > CHAT_REFUSALS_MAX)
        weft_conn_close(c, WEFT_CLOSE_POLICY_VIOLATION, reason);
    else
        tell(me, lines_error(reason));
}

void chat_on_open(weft_conn *c, void *app)
{
    struct person *me = calloc(1, sizeof *me);

    (void)app;
    if (!me) {
        weft_conn_close(c, WEFT_CLOSE_TRY_AGAIN_LATER, NO_MEMORY);
        return;
    }
    me->conn = c;
    weft_conn_set_data(c, me);
}

void chat_on_close(weft_conn *c, const weft_close_info *info, void *app)
{
    struct person *me = weft_conn_data(c);
    struct chat *chat = app;

    (void)info;
    if (!me)
        return;
    pthread_mutex_lock(&chat->lock);
    go(chat, me);
    pthread_mutex_unlock(&chat->lock);
    weft_conn_set_data(c, NULL);
    free(me);
}

/* ------------------------------------------------------------------------- from start to end */

static uint64_t ms_of(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

static struct chat_time system_time(void)
{
    return (struct chat_time){.steady_ms = ms_of(CLOCK_MONOTONIC), .wall_ms = ms_of(CLOCK_REALTIME)};
}

struct chat *chat_new(chat_now_fn *now)
{
    struct chat *chat = calloc(1, sizeof *chat);

    if (!chat)
        return NULL;
    pthread_mutex_init(&chat->lock, NULL);
    chat->now = now ? now : system_time;
    chat->last_id = chat->now().wall_ms * 1000u;
    return chat;
}

void chat_free(struct chat *chat)
{
    if (!chat)
        return;
    rooms_fini(&chat->rooms);
    pthread_mutex_destroy(&chat->lock);
    free(chat);
}

struct chat_figures chat_figures(struct chat *chat)
{
    struct chat_figures figures;

    pthread_mutex_lock(&chat->lock);
    figures = chat->figures;
    for (size_t i = 0; i < chat->rooms.count; i++) {
        figures.rooms += chat->rooms.all[i]->person_count > 0;
        figures.people += chat->rooms.all[i]->person_count;
    }
    pthread_mutex_unlock(&chat->lock);
    return figures;
}
