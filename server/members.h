/* Who is in a room, over all instances of the chat: what events and looks at the presence say, put together.
 *
 * Each way into a room has a token of its own, so that two people who want one name can be told apart. Events
 * come in the order of the room's log, which is the same for all instances: of two that come under one name
 * the first has it, everywhere. A look says who was registered at some moment between its question and its
 * answer; so what an event has changed since the question is not touched by the answer. Somebody who is
 * missing in MEMBERS_MISSES looks in a row is gone without having said so: their instance died.
 *
 * Nothing here locks, and nothing knows the bus. */
#ifndef WEFT_SERVER_MEMBERS_H
#define WEFT_SERVER_MEMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PERSON_NAME_BYTES_MAX 32
#define INSTANCE_BYTES        16
#define TOKEN_BYTES_MAX       (INSTANCE_BYTES + 1 + 20) /* the instance, a dash, a number */
#define MEMBERS_MISSES        2
#define MEMBERS_MAX           8192 /* entries of one room; a room is called full long before */

struct member {
    uint64_t changed; /* by an event, in steps of members.step */
    uint64_t seen;    /* in the look that began at this step */
    unsigned misses;  /* looks in a row without them */
    bool is_gone;     /* kept until no look that began before can say otherwise */
    bool is_leaving;  /* has said so, and the log has not come to it yet: the name counts as free */
    char token[TOKEN_BYTES_MAX + 1];
    char name[PERSON_NAME_BYTES_MAX + 1];
};

struct members {
    struct member *all; /* in order of arrival */
    size_t count, room;
    size_t here; /* of these, not gone */
    uint64_t step;
};

enum members_result { MEMBERS_NEW, MEMBERS_KNOWN, MEMBERS_TAKEN, MEMBERS_NO_ROOM };

void members_fini(struct members *m);

/* Who has this name now, NULL: nobody. Valid until the next change. */
struct member *members_find(const struct members *m, const char *name);

/* The events. members_came: the name is theirs only with MEMBERS_NEW and MEMBERS_KNOWN. members_went: false
 * when they were not here. */
enum members_result members_came(struct members *m, const char *name, const char *token);
bool members_went(struct members *m, const char *name, const char *token);

/* They are about to go. */
void members_leave(struct members *m, const char *name, const char *token);

/* A look: the step at which it was begun; one call for each of our own, one for each who was found; and its
 * end.
 *
 * own      the instance that calls: it knows its own people better than any look, so they are not looked for
 * on_...   called for each who came and each who went by this look
 * Returns  members_see: a member of our own whose name another instance holds with an older right, and who
 * must
 *          go; NULL: none. The token is theirs until the next change */
struct members_look {
    struct members *members;
    uint64_t step;
    const char *own;
    void (*on_came)(const char *name, void *arg);
    void (*on_went)(const char *name, void *arg);
    void *arg;
};
uint64_t members_begin_look(struct members *m);
void members_ours(const struct members_look *look, const char *name, const char *token); /* who is in here */
const char *members_see(const struct members_look *look, const char *name, const char *token);
/* Returns  true: whoever is here was found, or came since the question; false: some were missed and are
 *          given another look */
bool members_end_look(const struct members_look *look);

#endif
