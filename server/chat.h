/* The chat: rooms, who is in them, and what they say to each other. Text messages of JSON, one object each.
 *
 * From the client
 *   {"type":"join","room":"lobby","name":"ann"}   go there; from another room, or under another name, too
 *   {"type":"say","text":"..."}                   to all in the room
 *   {"type":"typing"}                             the others may show it for some seconds
 *   {"type":"leave"}                              be in no room
 * Members that are not named here are not looked at.
 *
 * To the client
 *   {"type":"joined","room":"lobby","name":"ann","members":["bob","ann"],"history":[...]}   answers join
 *   {"type":"came","name":"ann"}    to the others: ann is here now
 *   {"type":"went","name":"ann"}    to the others: and is not any more
 *   {"type":"said","id":n,"room":"lobby","name":"ann","text":"...","at":ms}   to all, ann included
 *   {"type":"typing","name":"ann"}  to the others
 *   {"type":"error","reason":"..."} what was asked was not done; the connection lives on
 *
 * What a client may rely on
 *   - Ids of `said` grow, and all in a room get them in that order. They begin at the time of the program's
 *     start in microseconds, so they also grow from one run to the next, and stay below 2^53.
 *   - `joined` carries the last ROOM_HISTORY_MAX messages; every later one follows it, none is missing or
 *     doubled.
 *   - `members` and the `came` and `went` behind it say at each moment who is in the room.
 *   - A join that is answered with an error changes nothing.
 *
 * Bounds: rooms, people and history in rooms.h, and those below. Nobody is waited for: who leaves so much
 * unread that the outbox passes its bound is closed with 1008, and so is who goes on after CHAT_REFUSALS_MAX
 * refusals in a row. */
#ifndef WEFT_SERVER_CHAT_H
#define WEFT_SERVER_CHAT_H

#include <weft/weft.h>

#include <stdint.h>

#define CHAT_TEXT_BYTES_MAX  4096
#define CHAT_INPUT_BYTES_MAX 32768 /* a text of 4096 bytes may be written as 4096 times \u00xx */
#define CHAT_BURST           40    /* messages of one connection at once, */
#define CHAT_PER_SECOND      10    /* and in the long run */
#define CHAT_REFUSALS_MAX    1000

struct chat;

struct chat_time {
    uint64_t steady_ms; /* does not go back */
    uint64_t wall_ms;   /* since 1970 */
};
typedef struct chat_time chat_now_fn(void);

struct chat_figures {
    uint64_t rooms;  /* somebody is in, now */
    uint64_t people; /* in a room, now */
    uint64_t said;   /* since the start, as all below */
    uint64_t errors; /* replies, too fast ones included */
    uint64_t too_fast;
};

/* now      tells the time; NULL for the system's
 * Returns  NULL when there is no memory */
struct chat *chat_new(chat_now_fn *now);

/* No callback may come any more. NULL is allowed. */
void chat_free(struct chat *chat);

/* The callbacks of the server; app is the chat. */
void chat_on_open(weft_conn *c, void *app);
void chat_on_message(weft_conn *c, weft_msg *m, void *app);
void chat_on_close(weft_conn *c, const weft_close_info *info, void *app);

/* Thread   any */
struct chat_figures chat_figures(struct chat *chat);

#endif
