/* The chat itself; its protocol and its promises are in chat.h.
 *
 * It works like this: every connection is a person, from on_open to on_close, and any number of these programs,
 * each with people of its own, are one chat. They share a bus, on which a room is three topics:
 *
 *   said:ROOM.    what is said. People subscribe to it, and the bus does the rest: the history, what somebody
 *                 missed, one order for all. To say something is to publish it there.
 *   who:ROOM.     who comes and goes: a log that every instance with somebody in the room follows.
 *   typing:ROOM.  may get lost.
 *
 * Nobody is in charge of names. Who wants to come in has `came` written into the log, and when it comes back,
 * behind all that was written before, every instance decides alike: the name was free, or it was not. Those who
 * are in are also registered in the bus's presence, under a token and their name. Each instance looks there when
 * it opens a room and now and then, for those who died without a word; members.h is about that.
 *
 * Messages come in on many threads and the bus has its own, so there is one lock, and everything between `with
 * the lock held` and the callbacks happens one at a time. A lock around sending sounds bad, but nothing here
 * waits: publishing and broadcasting never do, and for a single person we use weft_conn_try_send. Who does not
 * read fast enough is closed instead of waited for. */
#include "chat.h"

#include "lines.h"
#include "rooms.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

struct chat {
    pthread_mutex_t lock; /* protects all below, and every person and room */
    struct rooms rooms;
    uint64_t last_token;
    struct chat_figures figures;       /* rooms and people are counted when asked for */
    chat_now_fn *now;                  /* constant, as all below */
    weft_bus *bus;                     /* itself for any thread */
    char instance[INSTANCE_BYTES + 1]; /* tells our tokens from those of others */
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
#define BAD_PLACE     "epoch and offset must be those of a message"
#define NAME_TAKEN    "name is taken"
#define ROOM_FULL     "room is full"
#define ROOMS_FULL    "too many rooms"
#define NO_MEMORY     "out of memory"
#define OVERLOADED    "the chat is overloaded"

/* ------------------------------------------------------------------------- out */

static void give_up_on(weft_conn *c, int rc)
{
    if (rc == WEFT_E_AGAIN)
        weft_conn_close(c, WEFT_CLOSE_POLICY_VIOLATION, "reads too slowly");
    else if (rc != WEFT_E_CLOSED)
        weft_conn_close(c, WEFT_CLOSE_INTERNAL_ERROR, weft_strerror(rc));
}

/* To one person. The message is given, NULL when there was no memory for it. */
static int tell(weft_conn *c, weft_msg *m)
{
    int rc = m ? weft_conn_try_send(c, m) : WEFT_E_NOMEM;

    if (rc == WEFT_OK)
        return rc;
    weft_msg_unref(m);
    give_up_on(c, rc);
    return rc;
}

/* "came", "went" or "typing", to our people in the room but one. Without memory they miss it, and nothing else. */
static void notice(struct room *room, const char *type, const char *name, const struct seat *but)
{
    weft_msg *m = lines_notice(type, name);

    if (m && weft_group_broadcast(room->group, m, but ? but->who->conn : NULL) != WEFT_OK)
        weft_msg_unref(m);
}

/* To all instances. The message is given, NULL when there was no memory for it. Returns NULL, or why not. */
static const char *publish(struct chat *chat, const char *topic, weft_msg *m)
{
    int rc = m ? weft_bus_publish(chat->bus, topic, m) : WEFT_E_NOMEM;

    if (rc == WEFT_OK)
        return NULL;
    weft_msg_unref(m);
    return rc == WEFT_E_AGAIN ? OVERLOADED : NO_MEMORY;
}

/* ------------------------------------------------------------------------- coming and going, with the lock held */

static void on_subscribed(weft_conn *c, const weft_bus_ready *ready, void *arg);

/* First the answer, then what was said, then what is said: the bus gives the latter two as one. */
static void sit_down(struct chat *chat, struct seat *seat)
{
    weft_bus_sub_opts opts = {.size = sizeof opts, .ready = on_subscribed};
    char presence[PRESENCE_BYTES];
    weft_conn *c = seat->who->conn;
    int rc = tell(c, lines_joined(seat));

    presence_of(seat, presence);
    opts.from = &seat->from;
    opts.presence = presence;
    if (rc == WEFT_OK)
        rc = weft_group_add(seat->room->group, c);
    if (rc == WEFT_OK)
        rc = weft_bus_subscribe(chat->bus, c, seat->room->said_topic, &opts);
    if (rc != WEFT_OK)
        give_up_on(c, rc); /* on_close takes them out again */
}

/* The seat is freed, and an empty room closed. If the bus does not take the word, others find out by looking. */
static void get_up(struct chat *chat, struct seat *seat)
{
    struct room *room = seat->room;

    if (seat->is_won) {
        weft_group_remove(room->group, seat->who->conn);
        weft_bus_unsubscribe(chat->bus, seat->who->conn, room->said_topic);
    }
    members_leave(&room->members, seat->name, seat->token);
    if (seat->is_asked && publish(chat, room->who_topic, lines_event("went", seat)) != NULL &&
        members_went(&room->members, seat->name, seat->token))
        notice(room, "went", seat->name, seat);
    room_unseat(seat);
    if (!room->first)
        rooms_close(&chat->rooms, room);
}

static const char *why_not(const struct room *room, const struct seat *seat)
{
    const struct member *holder = members_find(&room->members, seat->name);

    if (holder && !holder->is_leaving)
        return NAME_TAKEN;
    if (room->members.here >= ROOM_MEMBERS_MAX && !(seat->who->seat && seat->who->seat->room == room))
        return ROOM_FULL;
    return NULL;
}

/* Ask for the seat, as soon as it is known who is in the room. */
static const char *ask(struct chat *chat, struct seat *seat)
{
    const char *reason;

    if (!seat->room->is_known || seat->is_asked)
        return NULL;
    reason = why_not(seat->room, seat);
    if (!reason)
        reason = publish(chat, seat->room->who_topic, lines_event("came", seat));
    seat->is_asked = !reason;
    return reason;
}

static void answer_waiting(struct chat *chat, struct person *me);
static void refuse(struct chat *chat, struct person *me, const char *reason, json_t *in);

/* A join is answered. reason: NULL: the seat is theirs. */
static void decide(struct chat *chat, struct seat *seat, const char *reason)
{
    struct person *me = seat->who;

    me->wish = NULL;
    if (reason) {
        seat->is_asked = false; /* all have refused it alike: there is nothing to take back */
        get_up(chat, seat);
        refuse(chat, me, reason, NULL);
    } else {
        if (me->seat)
            get_up(chat, me->seat);
        me->seat = seat;
        seat->is_won = true;
        sit_down(chat, seat);
    }
    answer_waiting(chat, me);
}

/* ------------------------------------------------------------------------- what the bus tells, with the lock held */

static void on_came(struct chat *chat, struct room *room, const struct event *e)
{
    struct seat *seat = room_find_seat(room, e->token);

    switch (members_came(&room->members, e->name, e->token)) {
    case MEMBERS_NEW:
        notice(room, "came", e->name, seat);
        if (seat)
            decide(chat, seat, NULL);
        break;
    case MEMBERS_TAKEN:
        if (seat)
            decide(chat, seat, NAME_TAKEN);
        break;
    case MEMBERS_NO_ROOM:
        if (seat)
            decide(chat, seat, NO_MEMORY);
        break;
    case MEMBERS_KNOWN:
        break;
    }
}

static void on_event(struct chat *chat, struct room *room, const struct event *e)
{
    if (strcmp(e->verb, "came") == 0)
        on_came(chat, room, e);
    else if (strcmp(e->verb, "typing") == 0)
        notice(room, "typing", e->name, room_find_seat(room, e->token));
    else if (strcmp(e->verb, "went") == 0 && members_went(&room->members, e->name, e->token))
        notice(room, "went", e->name, NULL);
}

static void found_came(const char *name, void *room)
{
    notice(room, "came", name, NULL);
}

static void found_went(const char *name, void *room)
{
    notice(room, "went", name, NULL);
}

/* names: "TOKEN NAME", of all who are in the room. Returns whether that is what the log says too. */
static bool take_look(struct chat *chat, struct room *room, uint64_t step, const char *const *names,
                      size_t count)
{
    struct members_look look = {&room->members, step, chat->instance, found_came, found_went, room};
    struct event who;

    for (size_t i = 0; i < count; i++) {
        const char *loser =
            event_read_who(&who, names[i], strlen(names[i])) ? members_see(&look, who.name, who.token) : NULL;
        struct seat *seat = loser ? room_find_seat(room, loser) : NULL;
        if (seat)
            weft_conn_close(seat->who->conn, WEFT_CLOSE_POLICY_VIOLATION, NAME_TAKEN);
    }
    return members_end_look(&look);
}

/* Those who have waited for it. */
static void ask_all(struct chat *chat, struct room *room)
{
    struct seat *next;

    room->is_known = true;
    for (struct seat *seat = room->first; seat; seat = next) {
        const char *reason = ask(chat, seat);
        next = seat->next;
        if (reason)
            decide(chat, seat, reason);
    }
}

struct look {
    struct chat *chat;
    struct room *room; /* one reference */
    uint64_t step;
};

static void on_names(int result, const char *const *names, size_t count, void *arg);

static void begin_look(struct chat *chat, struct room *room)
{
    struct look *look = room->is_looking ? NULL : malloc(sizeof *look);

    if (!look)
        return;
    *look = (struct look){chat, room, members_begin_look(&room->members)};
    if (weft_bus_presence(chat->bus, room->said_topic, on_names, look) != WEFT_OK) {
        free(look); /* the next tick tries again */
        return;
    }
    room->is_looking = true;
    room->refs++;
}

/* ------------------------------------------------------------------------- callbacks, on the bus's thread */

/* Rooms whose last person has left. To end a listener may mean to wait for its callback, which wants the lock. */
static void sweep(struct chat *chat)
{
    struct room *room;

    pthread_mutex_lock(&chat->lock);
    while ((room = chat->rooms.closing)) {
        chat->rooms.closing = room->next;
        pthread_mutex_unlock(&chat->lock);
        weft_bus_unlisten(room->who_listener);
        weft_bus_unlisten(room->typing_listener);
        pthread_mutex_lock(&chat->lock);
        room_unref(room);
    }
    pthread_mutex_unlock(&chat->lock);
}

static void on_names(int result, const char *const *names, size_t count, void *arg)
{
    struct look *look = arg;
    struct chat *chat = look->chat;
    struct room *room = look->room;

    pthread_mutex_lock(&chat->lock);
    room->is_looking = false;
    if (result == WEFT_OK && !room->is_closed) {
        bool is_settled = take_look(chat, room, look->step, names, count);
        /* The log may tell of people who died since: who comes in waits until they are missed. */
        if (is_settled || room->is_known)
            ask_all(chat, room);
    }
    room_unref(room);
    pthread_mutex_unlock(&chat->lock);
    free(look);
    sweep(chat);
}

/* The log is followed from here on, or a part of it is lost: either way it is time to look, behind what comes now. */
static void on_following(const weft_bus_ready *ready, void *arg)
{
    struct room *room = arg;

    pthread_mutex_lock(&room->chat->lock);
    room->replayed = ready->missed;
    if (!room->is_closed && room->replayed == 0)
        begin_look(room->chat, room);
    pthread_mutex_unlock(&room->chat->lock);
}

static void on_item(const weft_bus_item *item, void *arg)
{
    struct room *room = arg;
    struct chat *chat = room->chat;
    struct event e;
    bool is_event = event_read(&e, weft_msg_data(item->msg), weft_msg_bytes(item->msg));

    pthread_mutex_lock(&chat->lock);
    if (is_event && !room->is_closed)
        on_event(chat, room, &e);
    if (strcmp(item->topic, room->who_topic) == 0 && room->replayed > 0 && --room->replayed == 0 && !room->is_closed)
        begin_look(chat, room);
    pthread_mutex_unlock(&chat->lock);
    sweep(chat);
}

/* Between `joined` and the first `said`; and again when something is lost for good. */
static void on_subscribed(weft_conn *c, const weft_bus_ready *ready, void *arg)
{
    (void)arg;
    tell(c, lines_history(ready));
}

static weft_msg *on_wrap(const weft_bus_item *item, void *app)
{
    (void)app;
    return lines_placed(item);
}

/* ------------------------------------------------------------------------- in, with the lock held */

/* A string of the object that is a name, or NULL. */
static const char *name_in(json_t *in, const char *key, size_t bytes_max)
{
    json_t *value = json_object_get(in, key);
    const char *text = json_string_value(value);

    return text && words_is_name(text, json_string_length(value), bytes_max) ? text : NULL;
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

static int open_room(struct chat *chat, const char *name, struct room **out)
{
    static const weft_bus_position all_of_it;
    struct room *room;
    int rc = rooms_open(&chat->rooms, name, &room);

    if (rc != WEFT_OK)
        return rc;
    room->chat = chat;
    rc = weft_bus_listen(chat->bus, &room->who_listener, room->who_topic, &all_of_it, on_following, on_item,
                         room);
    if (rc == WEFT_OK)
        rc =
            weft_bus_listen(chat->bus, &room->typing_listener, room->typing_topic, NULL, NULL, on_item, room);
    if (rc != WEFT_OK)
        rooms_close(&chat->rooms, room);
    *out = room;
    return rc;
}

/* Ask for a seat in a room that is open. */
static const char *wish(struct chat *chat, struct person *me, struct room *room, const char *name,
                        const weft_bus_position *from)
{
    char token[TOKEN_BYTES_MAX + 1];
    const char *reason;

    snprintf(token, sizeof token, "%s-%" PRIu64, chat->instance, ++chat->last_token);
    me->wish = room_seat(room, me, name, token);
    if (!me->wish) {
        if (!room->first)
            rooms_close(&chat->rooms, room);
        return NO_MEMORY;
    }
    me->wish->from = *from;
    reason = ask(chat, me->wish);
    if (reason) {
        get_up(chat, me->wish);
        me->wish = NULL;
    }
    return reason;
}

/* The answer comes when the log has it; what this person sends meanwhile waits for it. */
static const char *join(struct chat *chat, struct person *me, json_t *in)
{
    const char *room_name = name_in(in, "room", ROOM_NAME_BYTES_MAX);
    const char *name = name_in(in, "name", PERSON_NAME_BYTES_MAX);
    weft_bus_position from;
    struct room *room;
    int rc;

    if (!room_name || !name)
        return room_name ? BAD_NAME : BAD_ROOM;
    if (!place_in(in, &from))
        return BAD_PLACE;
    if (me->seat && strcmp(room_name, me->seat->room->name) == 0 && strcmp(name, me->seat->name) == 0) {
        tell(me->conn, lines_joined(me->seat));
        return NULL;
    }
    room = rooms_find(&chat->rooms, room_name);
    rc = room ? WEFT_OK : open_room(chat, room_name, &room);
    if (rc != WEFT_OK)
        return rc == WEFT_E_AGAIN ? ROOMS_FULL : NO_MEMORY;
    return wish(chat, me, room, name, &from);
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
    reason = publish(chat, me->seat->room->said_topic, lines_said(me->seat, text, chat->now().wall_ms));
    chat->figures.said += !reason;
    return reason;
}

static const char *typing(struct chat *chat, struct person *me, json_t *in)
{
    (void)in;
    return me->seat ? publish(chat, me->seat->room->typing_topic, lines_event("typing", me->seat)) : NO_ROOM;
}

static const char *leave(struct chat *chat, struct person *me, json_t *in)
{
    (void)in;
    if (!me->seat)
        return NO_ROOM;
    get_up(chat, me->seat);
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
    if (++me->refused_in_a_row > CHAT_REFUSALS_MAX)
        weft_conn_close(me->conn, WEFT_CLOSE_POLICY_VIOLATION, reason);
    else
        tell(me->conn, lines_error(reason, json_integer_value(json_object_get(in, "ref"))));
}

static void act_or_refuse(struct chat *chat, struct person *me, json_t *in)
{
    const char *reason = act_on(chat, me, in);

    if (reason)
        refuse(chat, me, reason, in);
    else
        me->refused_in_a_row = 0;
}

/* Until the next join of theirs. */
static void answer_waiting(struct chat *chat, struct person *me)
{
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

void chat_on_message(weft_conn *c, weft_msg *m, void *app)
{
    struct person *me = weft_conn_data(c);
    struct chat *chat = app;
    const char *reason = NULL;
    bool is_too_fast;
    json_t *in;

    if (!me) {
        weft_msg_unref(m);
        return;
    }
    /* Callbacks of one connection come one at a time, so the bucket needs no lock. */
    is_too_fast = !words_bucket_take(&me->bucket, chat->now().steady_ms, CHAT_BURST, CHAT_PER_SECOND);
    in = parse(m, &reason);
    if (is_too_fast)
        reason = TOO_FAST;
    pthread_mutex_lock(&chat->lock);
    chat->figures.too_fast += is_too_fast;
    if (!reason && me->wish && me->waiting_count < PERSON_WAITING_MAX)
        me->waiting[me->waiting_count++] = weft_msg_ref(m);
    else if (reason || me->wish)
        refuse(chat, me, reason ? reason : TOO_FAST, in);
    else
        act_or_refuse(chat, me, in);
    pthread_mutex_unlock(&chat->lock);
    weft_msg_unref(m);
    json_decref(in);
    sweep(chat);
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
        get_up(chat, me->wish);
    if (me->seat)
        get_up(chat, me->seat);
    pthread_mutex_unlock(&chat->lock);
    weft_conn_set_data(c, NULL);
    for (size_t i = 0; i < me->waiting_count; i++)
        weft_msg_unref(me->waiting[i]);
    free(me);
    sweep(chat);
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

static int name_instance(struct chat *chat)
{
    uint64_t number;

    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
        return WEFT_E_SYSTEM;
    snprintf(chat->instance, sizeof chat->instance, "%0*" PRIx64, INSTANCE_BYTES, number);
    return WEFT_OK;
}

bool chat_is_alone(const struct chat_opts *opts)
{
    return !opts->bus_url || strcmp(opts->bus_url, "local:") == 0;
}

/* Alone, the log needs no memory: a room that opens has nobody in it. With --history it would bring back those who
 * were there when the last run ended. */
static int open_bus(struct chat *chat, const struct chat_opts *opts)
{
    static const weft_bus_rule rules[] = {
        {.topic = "said:*", .history_messages = ROOM_HISTORY_MAX, .history_seconds = CHAT_HISTORY_SECONDS},
        {.topic = "who:*", .history_messages = ROOM_MEMBERS_MAX, .history_seconds = CHAT_LOG_SECONDS},
    };
    weft_bus_opts bus = {
        .size = sizeof bus,
        .app = chat,
        .wrap = on_wrap,
        .rules = rules,
        .rule_count = chat_is_alone(opts) ? 1 : 2,
        .history_file = opts->history_file,
        .topics_max = 2 * ROOMS_MAX,
        .presence_timeout_ms =
            opts->presence_timeout_ms ? opts->presence_timeout_ms : CHAT_PRESENCE_TIMEOUT_MS,
        .prefix = "weft-chat:",
        .reconnect_max_ms = CHAT_RECONNECT_MS,
    };

    return weft_bus_open(&chat->bus, opts->bus_url ? opts->bus_url : "local:", &bus);
}

int chat_open(struct chat **out, const struct chat_opts *opts)
{
    struct chat *chat = calloc(1, sizeof *chat);
    int rc;

    if (!chat)
        return WEFT_E_NOMEM;
    pthread_mutex_init(&chat->lock, NULL);
    chat->now = opts->now ? opts->now : system_time;
    rc = name_instance(chat);
    if (rc == WEFT_OK)
        rc = open_bus(chat, opts);
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
    if (chat->bus)
        weft_bus_close(chat->bus, deadline_ms);
    sweep(chat);
    pthread_mutex_destroy(&chat->lock);
    free(chat);
}

void chat_tick(struct chat *chat)
{
    pthread_mutex_lock(&chat->lock);
    for (size_t i = 0; i < chat->rooms.count; i++)
        begin_look(chat, chat->rooms.all[i]);
    pthread_mutex_unlock(&chat->lock);
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

void chat_bus_stats(struct chat *chat, weft_bus_stats *out)
{
    *out = (weft_bus_stats){.size = sizeof *out};
    weft_bus_get_stats(chat->bus, out);
}
