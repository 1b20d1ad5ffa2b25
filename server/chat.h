/* The chat: rooms, who is in them, and what they say to each other. Text messages of JSON, one object each.
 *
 * From the client
 *   {"type":"join","room":"lobby","name":"ann"}   go there; from another room, or under another name, too
 *     and with "epoch":"7","offset":3             everything up to that message of the room was seen before
 *   {"type":"say","text":"..."}                   to all in the room
 *   {"type":"typing"}                             the others may show it for some seconds
 *   {"type":"leave"}                              be in no room
 * Each may carry "ref":n, a whole number but 0, which an error repeats: it comes at once, and what was said
 * before may come behind it. (Of what is too fast only CHAT_LOOKS messages are looked into, the rest gets errors
 * without ref.) Members that are not named here are not looked at.
 *
 * To the client
 *   {"type":"joined","room":"lobby","name":"ann","members":["bob","ann"]}   answers join
 *       In the same room a join with another name renames: `joined` again, and no history, for nothing was missed
 *   {"type":"waiting","reason":"..."}   the join is not answered yet, for this instance is cut off from the others;
 *       it will be, when they are reached
 *   {"type":"history","count":2,"gap":false,"epoch":"7","offset":5}         follows joined: the next `count` of
 *       `said` are what was missed. gap: there was more, and it is lost. Also when something is lost later
 *   {"type":"came","name":"ann"}    to the others: ann is here now
 *   {"type":"went","name":"ann"}    to the others: and is not any more
 *   {"type":"said","id":5,"epoch":"7","room":"lobby","name":"ann","text":"...","at":ms}   to all, ann included
 *   {"type":"typing","name":"ann"}  to the others
 *   {"type":"error","reason":"..."} what was asked was not done; the connection lives on
 *
 * What a client may rely on, whichever instance it is connected to
 *   - The `id` of a `said` is its offset: 1, 2, 3 and so on in its room and epoch, and all get them in that
 *     order. With a new epoch they begin again: what was remembered is lost.
 *   - Behind `joined` comes what the room remembers, ROOM_HISTORY_MAX messages, or of these what was said
 *     behind the given place; then everything that is said. None is missing without a gap, none is doubled.
 *   - `members` and the `came` and `went` behind it say who is in the room. Who went with their instance,
 *     without a word, is noticed after CHAT_PRESENCE_TIMEOUT_MS and half of it again.
 *   - A name is in a room once: of two that come at the same moment one is refused. (If instances could not
 *     hear each other for so long that both let one in, one of the two is closed with 1008 when they can.)
 *   - A join that is answered with an error changes nothing. What is sent behind a join waits for its answer.
 *
 * Bounds: rooms and people in rooms.h, and those below. Nobody is waited for: who leaves so much unread
 * that the outbox passes its bound is closed with 1008, and so is whose messages are refused more often than
 * CHAT_REFUSALS_MAX times and CHAT_REFUSALS_PER_SECOND, whatever is let through between. */
#ifndef WEFT_SERVER_CHAT_H
#define WEFT_SERVER_CHAT_H

#include <weft/bus.h>
#include <weft/weft.h>

#include <stdbool.h>
#include <stdint.h>

#define CHAT_TEXT_BYTES_MAX  4096
#define CHAT_INPUT_BYTES_MAX 32768 /* a text of 4096 bytes may be written as 4096 times \u00xx */
#define CHAT_MESSAGE_BYTES_MAX                                                                               \
    40960 /* of any: what is a little too long is told so, the rest closed with 1009 */
#define CHAT_BURST               40  /* messages of one connection at once, */
#define CHAT_PER_SECOND          10  /* and in the long run */
#define CHAT_JOIN_COST           5   /* a join counts as so many: it brings the names and what was said */
#define CHAT_LOOKS               100 /* messages above that are parsed for their ref, */
#define CHAT_LOOKS_PER_SECOND    1
#define CHAT_REFUSALS_MAX        1000
#define CHAT_REFUSALS_PER_SECOND 5
#define CHAT_HISTORY_BYTES       (64u * 1024 * 1024) /* of all rooms together, in this instance */

#define CHAT_HISTORY_SECONDS     (30u * 24 * 3600) /* what was said is remembered so long */
#define CHAT_LOG_SECONDS         120u   /* who came and went; longer than anybody's word is on its way */
#define CHAT_PRESENCE_TIMEOUT_MS 10000u /* who died without a word goes after this */
#define CHAT_TICK_MS             (CHAT_PRESENCE_TIMEOUT_MS / 4)
#define CHAT_RECONNECT_MS        1000u /* at most between two attempts to reach Redis */

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

struct chat_opts {
    chat_now_fn *now;             /* NULL: the system's */
    const char *bus_url;          /* NULL: local: */
    const char *history_file;     /* of local:; NULL: in memory */
    uint64_t history_bytes_max;   /* 0: CHAT_HISTORY_BYTES */
    uint32_t history_seconds;     /* 0: CHAT_HISTORY_SECONDS; the same for all instances */
    uint32_t presence_timeout_ms; /* 0: CHAT_PRESENCE_TIMEOUT_MS */
};

/* Whether there is but this instance. */
bool chat_is_alone(const struct chat_opts *opts);

/* Returns  WEFT_OK, or why the bus cannot be opened, as weft_bus_open. Redis need not be there yet: joins
 * wait
 *          for it */
int chat_open(struct chat **out, const struct chat_opts *opts);

/* No callback of the server may come any more. What was published is passed on for up to deadline_ms. NULL is
 * allowed. */
void chat_close(struct chat *chat, uint32_t deadline_ms);

/* Look after those who died; to be called every quarter of the presence timeout. Thread: any; never waits. */
void chat_tick(struct chat *chat);

/* The callbacks of the server; app is the chat. */
void chat_on_open(weft_conn *c, void *app);
void chat_on_message(weft_conn *c, weft_msg *m, void *app);
void chat_on_close(weft_conn *c, const weft_close_info *info, void *app);

/* Are all instances reached? Always, when there is but one. Thread: any. */
bool chat_is_connected(struct chat *chat);

/* Thread   any */
struct chat_figures chat_figures(struct chat *chat);
void chat_bus_stats(struct chat *chat, weft_bus_stats *out);

#endif
