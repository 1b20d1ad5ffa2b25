/* Who is in a room and what comes to them, over all instances of the chat.
 *
 * crowd.c says how. Its callers hold the lock, except where it says otherwise. */
#ifndef WEFT_SERVER_CROWD_H
#define WEFT_SERVER_CROWD_H

#include "chat.h"
#include "rooms.h"

#include <pthread.h>

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
#define NAME_TAKEN "name is taken"
#define ROOM_FULL  "room is full"
#define ROOMS_FULL "too many rooms"
#define NO_MEMORY  "out of memory"
#define OVERLOADED "the chat is overloaded"

/* All return NULL, or why it was not done. */

/* Ask for a seat; me has no wish yet. What becomes of it is told by chat_on_answer, unless it is refused at
 * once.
 *
 * from     what they have seen of the room; all zero: nothing */
const char *crowd_join(struct chat *chat, struct person *me, const char *room_name, const char *name,
                       const weft_bus_position *from);

/* To all instances, on one of the topics of a room. m: given, NULL when there was no memory for it. */
const char *crowd_publish(struct chat *chat, const char *topic, weft_msg *m);

/* Give up a seat, which is freed, and close its room with the last one. */
void crowd_leave(struct chat *chat, struct seat *seat);

/* To one person; who cannot take it is closed. m: as above. Thread: any, with the lock or without. */
int crowd_tell(weft_conn *c, weft_msg *m);

/* End what closed rooms leave behind; without the lock, behind whatever may have closed one. */
void crowd_sweep(struct chat *chat);

/* Without the lock. */
int crowd_open(struct chat *chat, const struct chat_opts *opts);
void crowd_close(struct chat *chat, uint32_t deadline_ms);

/* The chat's own: a wish is decided. reason: NULL: the seat is theirs, and they were told. */
void chat_on_answer(struct chat *chat, struct person *me, const char *reason);

#endif
