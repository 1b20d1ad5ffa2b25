/* The crowd: any number of these programs, each with people of its own, are one chat. See crowd.h.
 *
 * They share a bus, on which a room is three topics:
 *
 *   said:ROOM.    what is said. People subscribe to it, and the bus does the rest: the history, what somebody
 *                 missed, one order for all. To say something is to publish it there.
 *   who:ROOM.     who comes and goes: a log that every instance with somebody in the room follows.
 *   typing:ROOM.  who is typing, which may get lost. Those who are in are registered here, and nothing said here
 *                 comes to them: so a new name needs no new subscription to what is said.
 *
 * Nobody is in charge of names. Who wants to come in has `came` written into the log, and when it comes back,
 * behind all that was written before, every instance decides alike: the name was free, or it was not. Those
 * who are in are also registered in the bus's presence, under a token and their name. Each instance looks
 * there when it opens a room and now and then, for those who died without a word; members.h is about that.
 *
 * What the bus tells comes on its thread. */
#include "crowd.h"

#include "lines.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* --- out --- */

static void give_up_on(weft_conn *c, int rc)
{
    if (rc == WEFT_E_AGAIN)
        weft_conn_close(c, WEFT_CLOSE_POLICY_VIOLATION, "reads too slowly");
    else if (rc != WEFT_E_CLOSED)
        weft_conn_close(c, WEFT_CLOSE_INTERNAL_ERROR, weft_strerror(rc));
}

int crowd_tell(weft_conn *c, weft_msg *m)
{
    int rc = m ? weft_conn_try_send(c, m) : WEFT_E_NOMEM;

    if (rc == WEFT_OK)
        return rc;
    weft_msg_unref(m);
    give_up_on(c, rc);
    return rc;
}

/* "came", "went" or "typing", to our people in the room but one. Without memory they miss it, and nothing
 * else. */
static void notice(struct room *room, const char *type, const char *name, const struct seat *but)
{
    weft_msg *m = lines_notice(type, name);

    if (m && weft_group_broadcast(room->group, m, but ? but->who->conn : NULL) != WEFT_OK)
        weft_msg_unref(m);
}

const char *crowd_publish(struct chat *chat, const char *topic, weft_msg *m)
{
    int rc = m ? weft_bus_publish(chat->bus, topic, m) : WEFT_E_NOMEM;

    if (rc == WEFT_OK)
        return NULL;
    weft_msg_unref(m);
    return rc == WEFT_E_AGAIN ? OVERLOADED : NO_MEMORY;
}

/* --- coming and going, with the lock held --- */

static void on_subscribed(weft_conn *c, const weft_bus_ready *ready, void *arg);

/* From now on whoever looks finds them. */
static int register_seat(struct chat *chat, struct seat *seat)
{
    weft_bus_sub_opts opts = {.size = sizeof opts};
    char presence[PRESENCE_BYTES];

    presence_of(seat, presence);
    opts.presence = presence;
    return weft_bus_subscribe(chat->bus, seat->who->conn, seat->room->typing_topic, &opts);
}

static int follow(struct chat *chat, struct seat *seat)
{
    weft_bus_sub_opts opts = {.size = sizeof opts, .ready = on_subscribed, .from = &seat->from};

    return weft_bus_subscribe(chat->bus, seat->who->conn, seat->room->said_topic, &opts);
}

/* First the answer, then what was said, then what is said: the bus gives the latter two as one. */
static void sit_down(struct chat *chat, struct seat *seat)
{
    weft_conn *c = seat->who->conn;
    int rc = crowd_tell(c, lines_joined(seat));

    if (rc == WEFT_OK)
        rc = weft_group_add(seat->room->group, c);
    if (rc == WEFT_OK)
        rc = register_seat(chat, seat);
    if (rc == WEFT_OK)
        rc = follow(chat, seat);
    if (rc != WEFT_OK)
        give_up_on(c, rc); /* on_close takes them out again */
}

/* If the bus does not take the word, others find out by looking. */
static void say_went(struct chat *chat, struct seat *seat)
{
    struct room *room = seat->room;

    members_leave(&room->members, seat->name, seat->token);
    if (seat->is_asked && crowd_publish(chat, room->who_topic, lines_event("went", seat)) != NULL &&
        members_went(&room->members, seat->name, seat->token))
        notice(room, "went", seat->name, seat);
}

/* From one seat to another in the same room: they go on to hear what is said. */
static void change_seat(struct chat *chat, struct seat *old, struct seat *new)
{
    weft_conn *c = new->who->conn;
    int rc;

    weft_bus_unsubscribe(chat->bus, c, old->room->typing_topic);
    say_went(chat, old);
    room_unseat(old);
    rc = crowd_tell(c, lines_joined(new));
    if (rc == WEFT_OK)
        rc = register_seat(chat, new);
    if (rc != WEFT_OK)
        give_up_on(c, rc);
}

/* The seat is freed, and an empty room closed. */
void crowd_leave(struct chat *chat, struct seat *seat)
{
    struct room *room = seat->room;

    if (seat->is_won) {
        weft_group_remove(room->group, seat->who->conn);
        weft_bus_unsubscribe(chat->bus, seat->who->conn, room->said_topic);
        weft_bus_unsubscribe(chat->bus, seat->who->conn, room->typing_topic);
    }
    say_went(chat, seat);
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
    seat->looks = 0;
    reason = why_not(seat->room, seat);
    if (!reason)
        reason = crowd_publish(chat, seat->room->who_topic, lines_event("came", seat));
    seat->is_asked = !reason;
    return reason;
}

static void take_seat(struct chat *chat, struct seat *seat)
{
    struct person *me = seat->who;
    struct seat *old = me->seat;

    me->seat = seat;
    seat->is_won = true;
    if (old && old->room == seat->room) {
        change_seat(chat, old, seat);
        return;
    }
    if (old)
        crowd_leave(chat, old);
    sit_down(chat, seat);
}

/* A join is answered. reason: NULL: the seat is theirs. */
static void decide(struct chat *chat, struct seat *seat, const char *reason)
{
    struct person *me = seat->who;

    me->wish = NULL;
    if (reason) {
        seat->is_asked = false; /* all have refused it alike: there is nothing to take back */
        crowd_leave(chat, seat);
    } else {
        take_seat(chat, seat);
    }
    chat_on_answer(chat, me, reason);
}

/* --- what the bus tells, with the lock held --- */

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

    for (struct seat *seat = room->first; seat; seat = seat->next)
        if (seat->is_won)
            members_ours(&look, seat->name, seat->token);
    for (size_t i = 0; i < count; i++) {
        const char *loser =
            event_read_who(&who, names[i], strlen(names[i])) ? members_see(&look, who.name, who.token) : NULL;
        struct seat *seat = loser ? room_find_seat(room, loser) : NULL;
        if (seat)
            weft_conn_close(seat->who->conn, WEFT_CLOSE_POLICY_VIOLATION, NAME_TAKEN);
    }
    return members_end_look(&look);
}

/* Redis may have lost a word that it had taken. To give it twice does no harm. */
static bool is_word_lost(struct seat *seat)
{
    return seat->is_asked && !seat->is_won && ++seat->looks >= SEAT_LOOKS_MAX;
}

/* Those who have waited for it. */
static void ask_all(struct chat *chat, struct room *room)
{
    struct seat *next;

    room->is_known = true;
    for (struct seat *seat = room->first; seat; seat = next) {
        const char *reason;
        if (is_word_lost(seat))
            seat->is_asked = false;
        reason = ask(chat, seat);
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
    if (weft_bus_presence(chat->bus, room->typing_topic, on_names, look) != WEFT_OK) {
        free(look); /* the next tick tries again */
        return;
    }
    room->is_looking = true;
    room->refs++;
}

/* --- callbacks, on the bus's thread --- */

/* Rooms whose last person has left. To end a listener may mean to wait for its callback, which wants the
 * lock. */
void crowd_sweep(struct chat *chat)
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
    crowd_sweep(chat);
}

/* The log is followed from here on, or a part of it is lost: either way it is time to look, behind what
 * comes now. */
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
    if (strcmp(item->topic, room->who_topic) == 0 && room->replayed > 0 && --room->replayed == 0 &&
        !room->is_closed)
        begin_look(chat, room);
    pthread_mutex_unlock(&chat->lock);
    crowd_sweep(chat);
}

/* Between `joined` and the first `said`; and again when something is lost for good. */
static void on_subscribed(weft_conn *c, const weft_bus_ready *ready, void *arg)
{
    (void)arg;
    crowd_tell(c, lines_history(ready));
}

static bool is_said(const char *topic)
{
    return strncmp(topic, "said:", 5) == 0;
}

static weft_msg *on_wrap(const weft_bus_item *item, void *app)
{
    (void)app;
    return is_said(item->topic) ? lines_placed(item) : NULL;
}

/* --- rooms and seats, with the lock held --- */

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

/* Once for each join. */
static void tell_to_wait(struct seat *seat)
{
    if (seat->is_won || seat->is_told)
        return;
    seat->is_told = true;
    crowd_tell(seat->who->conn, lines_waiting());
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
        crowd_leave(chat, me->wish);
        me->wish = NULL;
    } else if (!chat_is_connected(chat)) {
        tell_to_wait(me->wish);
    }
    return reason;
}

const char *crowd_join(struct chat *chat, struct person *me, const char *room_name, const char *name,
                       const weft_bus_position *from)
{
    struct room *room = rooms_find(&chat->rooms, room_name);
    int rc = room ? WEFT_OK : open_room(chat, room_name, &room);

    if (rc != WEFT_OK)
        return rc == WEFT_E_AGAIN ? ROOMS_FULL : NO_MEMORY;
    return wish(chat, me, room, name, from);
}

/* --- from start to end --- */

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

/* Alone, the log needs no memory: a room that opens has nobody in it. With --history it would bring back
 * those who were there when the last run ended. */
static int open_bus(struct chat *chat, const struct chat_opts *opts)
{
    const weft_bus_rule rules[] = {
        {.topic = "said:*",
         .history_messages = ROOM_HISTORY_MAX,
         .history_seconds = opts->history_seconds ? opts->history_seconds : CHAT_HISTORY_SECONDS},
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
        .histories_bytes_max = opts->history_bytes_max ? opts->history_bytes_max : CHAT_HISTORY_BYTES,
        .presence_timeout_ms =
            opts->presence_timeout_ms ? opts->presence_timeout_ms : CHAT_PRESENCE_TIMEOUT_MS,
        .prefix = "weft-chat:",
        .reconnect_max_ms = CHAT_RECONNECT_MS,
    };

    return weft_bus_open(&chat->bus, opts->bus_url ? opts->bus_url : "local:", &bus);
}

int crowd_open(struct chat *chat, const struct chat_opts *opts)
{
    int rc = name_instance(chat);

    return rc == WEFT_OK ? open_bus(chat, opts) : rc;
}

void crowd_close(struct chat *chat, uint32_t deadline_ms)
{
    if (chat->bus)
        weft_bus_close(chat->bus, deadline_ms);
    crowd_sweep(chat);
}

void chat_tick(struct chat *chat)
{
    bool is_cut_off = !chat_is_connected(chat);

    pthread_mutex_lock(&chat->lock);
    for (size_t i = 0; i < chat->rooms.count; i++) {
        struct room *room = chat->rooms.all[i];
        begin_look(chat, room);
        for (struct seat *seat = room->first; seat && is_cut_off; seat = seat->next)
            tell_to_wait(seat);
    }
    pthread_mutex_unlock(&chat->lock);
}
