/* What the server and the bus need of groups: members leave when their connection closes, and who keeps
 * something beside a membership is told so. */
#ifndef WEFT_API_GROUP_H
#define WEFT_API_GROUP_H

#include <stdbool.h>

#include "core/conn.h"
#include "weft/group.h"

/* Take the connection out of all its groups; from now on it can enter none. */
void group_leave_all(weft_conn *c);

/* A membership in somebody else's memory. */
struct group_seat;
struct group_seat_hooks {
    void (*left)(struct group_seat *s);  /* taken out, by whoever; once, on any thread, no lock held */
    void (*freed)(struct group_seat *s); /* behind left: no snapshot shows it any more */
};
struct group_seat {
    struct member member;
    struct weft_conn *conn;               /* (c) */
    const struct group_seat_hooks *hooks; /* (c) NULL: it was made by weft_group_add */
};

/* Enter a connection with a seat of the caller's. Afterwards the seat is the group's until it is freed.
 *
 * Returns  WEFT_OK, WEFT_E_STATE (is a member already), WEFT_E_CLOSED, WEFT_E_NOMEM: the seat stays the
 * caller's */
int group_take_seat(weft_group *g, weft_conn *c, struct group_seat *s, const struct group_seat_hooks *hooks);

/* As weft_group_each, for a group that is entered with seats only. */
void group_each_seat(weft_group *g, bool (*visit)(struct group_seat *s, void *arg), void *arg);

#endif
