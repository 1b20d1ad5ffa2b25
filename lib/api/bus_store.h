/* Histories of the local bus in a SQLite database, so that they outlive the process.
 *
 * S1  From open to close no other process can use the file: two writers would give one offset twice.
 * S2  What was committed outlives the process, whatever ends it. The machine is another matter: commits do
 *     not wait for the disk (synchronous = NORMAL), and a power cut may take back the last ones. So the file
 *     says whether it is in use and since which start of the machine; who finds it in use since another one
 *     gives every topic a new epoch, and everybody who resumes is told a gap.
 * S3  A topic's messages follow each other up to its offset. What does not is forgotten on loading.
 *
 * Used by one thread at a time: open and load are setup, then it is the writer's (bus_writer.h), and whoever
 * has joined that one closes it. */
#ifndef WEFT_API_BUS_STORE_H
#define WEFT_API_BUS_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "api/bus_history.h"

struct store;

enum store_kind {
    STORE_PUT,    /* one message more */
    STORE_WHOLE,  /* all that is remembered of a topic, in place of what is there */
    STORE_TRIM,   /* what has a lower offset than `first` goes */
    STORE_FORGET, /* the topic */
    STORE_TEST    /* nothing; does the file take it? */
};

struct store_write {
    enum store_kind kind;
    const char *topic;             /* borrowed, as the rest */
    weft_bus_position at;          /* of the (last) message */
    uint64_t first;                /* PUT, TRIM: what has a lower offset goes */
    struct history_entry *entries; /* PUT: one */
    uint32_t count;
};

/* WEFT_OK; WEFT_E_INVAL (the file, or weft was built without SQLite; logged), WEFT_E_NOMEM. Waits for a
 * moment when another process has the file. */
int store_open(struct store **out, const char *path);
/* is_whole: all that was remembered is in the file. NULL is allowed. */
void store_close(struct store *s, bool is_whole);

/* Each topic, the one that was not used for longest first, until a visit does not return WEFT_OK; what that
 * returned. WEFT_E_INVAL: the file cannot be read (logged). */
int store_each_topic(struct store *s, int (*visit)(const char *topic, void *arg), void *arg);
/* What is known of the topic, into a history that is empty; its epoch is 0 when nothing is. WEFT_OK;
 * WEFT_E_INVAL: the file cannot be read (logged). */
int store_load(struct store *s, const char *topic, struct history *h);

/* A transaction: begin, writes, commit; after the first false give it up with store_undo, and problem says
 * why. */
bool store_begin(struct store *s);
bool store_write(struct store *s, const struct store_write *w);
bool store_commit(struct store *s);
void store_undo(struct store *s);
const char *store_problem(struct store *s);

#endif
