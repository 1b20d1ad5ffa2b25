/* The chat's words: what a person may ask, and how it is answered. Its protocol and its promises are in
 * chat.h.
 *
 * It works like this: every connection is a person, from on_open to on_close. A person is in one room or in
 * none, and their words are verbs: join, say, typing, leave. Whom a room consists of, here and in other
 * instances, and how what is said comes to all of them, is in crowd.c.
 *
 * Messages come in on many threads and the bus has its own, so there is one lock, and everything below
 * `with the lock held` happens one at a time. A lock around sending sounds bad, but nothing here waits:
 * publishing never does, and for a single person we use weft_conn_try_send. Who does not read fast enough
 * is closed instead of waited for. */
#include "chat.h"

#include "crowd.h"
#include "lines.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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
#define BAD_PLACE     "epoch and offset must be those of a message"

/* ------------------------------------------------------------------------- in, with the lock held */

/* A string of the object, if it is a name, as it is compared. */
static bool name_in(json_t *in, const char *key, char *out, size_t room)
{
    json_t *value = json_object_get(in, key);
    const char *text = json_string_value(value);

    return text && words_is_name(text, json_string_length(value), room - 1) &&
           words_normalize(text, json_string_length(value), out, room);
}

/* The last message that the person has seen; all zero when they do not say. */
static bool place_in(json_t *in, weft_bus_position *out)
{
    json_t *epoch = json_object_get(in, "epoch"), *offset = json_object_get(in, "offset");
    const char *text = json_string_value(epoch);
    char *end;

    *out = (weft_bus_position){0};
    if (!epoch && !offset)
        return true;
    if (!text || text[0] < '0' || text[0] > '9' || !json_is_integer(offset) || json_integer_value(offset) < 0)
        return false;
    errno = 0;
    out->epoch = strtoull(text, &end, 10);
    out->offset = (uint64_t)json_integer_value(offset);
    return errno == 0 && *end == '\0';
}

/* The answer comes when the log has it; what this person sends meanwhile waits for it. */
static const char *join(struct chat *chat, struct person *me, json_t *in)
{
    char room_name[ROOM_NAME_BYTES_MAX + 1], name[PERSON_NAME_BYTES_MAX + 1];
    weft_bus_position from;

    if (!name_in(in, "room", room_name, sizeof room_name))
        return BAD_ROOM;
    if (!name_in(in, "name", name, sizeof name))
        return BAD_NAME;
    if (!place_in(in, &from))
        return BAD_PLACE;
    if (me->seat && strcmp(room_name, me->seat->room->name) == 0 && strcmp(name, me->seat->name) == 0) {
        crowd_tell(me->conn, lines_joined(me->seat));
        return NULL;
    }
    return crowd_join(chat, me, room_name, name, &from);
}

static const char *say(struct chat *chat, struct person *me, json_t *in)
{
    json_t *value = json_object_get(in, "text");
    const char *text = json_string_value(value);
    const char *reason;

    if (!me->seat)
        return NO_ROOM;
    if (!text || !words_is_message(text, json_string_length(value), CHAT_TEXT_BYTES_MAX))
        return BAD_TEXT;
    reason = crowd_publish(chat, me->seat->room->said_topic, lines_said(me->seat, text, chat->now().wall_ms));
    chat->figures.said += !reason;
    return reason;
}

static const char *typing(struct chat *chat, struct person *me, json_t *in)
{
    (void)in;
    return me->seat ? crowd_publish(chat, me->seat->room->typing_topic, lines_event("typing", me->seat))
                    : NO_ROOM;
}

static const char *leave(struct chat *chat, struct person *me, json_t *in)
{
    (void)in;
    if (!me->seat)
        return NO_ROOM;
    crowd_leave(chat, me->seat);
    me->seat = NULL;
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

/* in: what was asked, NULL: unknown. */
static void refuse(struct chat *chat, struct person *me, const char *reason, json_t *in)
{
    chat->figures.errors++;
    if (!words_bucket_take(&me->refusals, chat->now().steady_ms, 1, CHAT_REFUSALS_MAX,
                           CHAT_REFUSALS_PER_SECOND))
        weft_conn_close(me->conn, WEFT_CLOSE_POLICY_VIOLATION, reason);
    else
        crowd_tell(me->conn, lines_error(reason, json_integer_value(json_object_get(in, "ref"))));
}

static void act_or_refuse(struct chat *chat, struct person *me, json_t *in)
{
    const char *reason = act_on(chat, me, in);

    if (reason)
        refuse(chat, me, reason, in);
}

/* What they have sent behind it is handled now, until the next join of theirs. */
void chat_on_answer(struct chat *chat, struct person *me, const char *reason)
{
    if (reason)
        refuse(chat, me, reason, NULL);
    while (me->waiting_count > 0 && !me->wish) {
        weft_msg *m = me->waiting[0];
        json_t *in = json_loadb(weft_msg_data(m), weft_msg_bytes(m), JSON_REJECT_DUPLICATES, NULL);

        memmove(&me->waiting[0], &me->waiting[1], --me->waiting_count * sizeof me->waiting[0]);
        weft_msg_unref(m);
        act_or_refuse(chat, me, in);
        json_decref(in);
    }
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

static bool take(struct chat *chat, struct person *me, unsigned tokens)
{
    return words_bucket_take(&me->bucket, chat->now().steady_ms, tokens, CHAT_BURST, CHAT_PER_SECOND);
}

static bool is_join(json_t *in)
{
    const char *type = json_string_value(json_object_get(in, "type"));

    return type && strcmp(type, "join") == 0;
}

/* What a message costs is paid before it is parsed, and the rest of a join behind it. A little of what is too
 * fast is parsed too, so that a page learns which message it was. */
static json_t *read_message(struct chat *chat, struct person *me, weft_msg *m, const char **reason)
{
    bool is_too_fast = !take(chat, me, 1);
    json_t *in = NULL;

    if (!is_too_fast ||
        words_bucket_take(&me->looks, chat->now().steady_ms, 1, CHAT_LOOKS, CHAT_LOOKS_PER_SECOND))
        in = parse(m, reason);
    if (is_too_fast || (is_join(in) && !take(chat, me, CHAT_JOIN_COST - 1)))
        *reason = TOO_FAST;
    return in;
}

void chat_on_message(weft_conn *c, weft_msg *m, void *app)
{
    struct person *me = weft_conn_data(c);
    struct chat *chat = app;
    const char *reason = NULL;
    json_t *in;

    if (!me) {
        weft_msg_unref(m);
        return;
    }
    in = read_message(chat, me, m, &reason);
    pthread_mutex_lock(&chat->lock);
    chat->figures.too_fast += reason && strcmp(reason, TOO_FAST) == 0;
    if (!reason && me->wish && me->waiting_count < PERSON_WAITING_MAX)
        me->waiting[me->waiting_count++] = weft_msg_ref(m);
    else if (reason || me->wish)
        refuse(chat, me, reason ? reason : TOO_FAST, in);
    else
        act_or_refuse(chat, me, in);
    pthread_mutex_unlock(&chat->lock);
    weft_msg_unref(m);
    json_decref(in);
    crowd_sweep(chat);
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
    if (me->wish)
        crowd_leave(chat, me->wish);
    if (me->seat)
        crowd_leave(chat, me->seat);
    pthread_mutex_unlock(&chat->lock);
    weft_conn_set_data(c, NULL);
    for (size_t i = 0; i < me->waiting_count; i++)
        weft_msg_unref(me->waiting[i]);
    free(me);
    crowd_sweep(chat);
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

int chat_open(struct chat **out, const struct chat_opts *opts)
{
    struct chat *chat = calloc(1, sizeof *chat);
    int rc;

    if (!chat)
        return WEFT_E_NOMEM;
    pthread_mutex_init(&chat->lock, NULL);
    chat->now = opts->now ? opts->now : system_time;
    rc = crowd_open(chat, opts);
    if (rc != WEFT_OK) {
        chat_close(chat, 0);
        return rc;
    }
    *out = chat;
    return WEFT_OK;
}

void chat_close(struct chat *chat, uint32_t deadline_ms)
{
    if (!chat)
        return;
    crowd_close(chat, deadline_ms);
    pthread_mutex_destroy(&chat->lock);
    free(chat);
}

struct chat_figures chat_figures(struct chat *chat)
{
    struct chat_figures figures;

    pthread_mutex_lock(&chat->lock);
    figures = chat->figures;
    for (size_t i = 0; i < chat->rooms.count; i++) {
        uint64_t before = figures.people;
        for (struct seat *seat = chat->rooms.all[i]->first; seat; seat = seat->next)
            figures.people += seat->is_won;
        figures.rooms += figures.people > before;
    }
    pthread_mutex_unlock(&chat->lock);
    return figures;
}

bool chat_is_connected(struct chat *chat)
{
    weft_bus_stats stats;

    chat_bus_stats(chat, &stats);
    return stats.state == WEFT_BUS_UP || stats.state == WEFT_BUS_UNKEPT;
}

void chat_bus_stats(struct chat *chat, weft_bus_stats *out)
{
    *out = (weft_bus_stats){.size = sizeof *out};
    weft_bus_get_stats(chat->bus, out);
}
