/* Histories in a SQLite database; see bus_store.h.
 *
 * Table topic: epoch and offset of each; table message: what is remembered; table run, of one row: whether
 * the file is in use, and the start of the machine (boot_id) in which it was taken into use. */
#include "api/bus_store.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

#define LOCK_WAIT_MS 2000 /* for a process that is about to end */
#define VERSION      1    /* of the tables; 0: those of before the table run, or none */
#define BOOT_BYTES   64

enum statement {
    GET_TOPIC,
    SET_TOPIC,
    GET_TOPICS,
    DROP_TOPIC,
    GET_MESSAGES,
    PUT_MESSAGE,
    DROP_MESSAGES,
    GET_RUN,
    SET_RUN,
    NEW_EPOCHS,
    BEGIN,
    COMMIT,
    STATEMENTS
};

static const char *const texts[STATEMENTS] = {
    [GET_TOPIC] = "SELECT epoch, offset FROM topic WHERE name = ?1",
    [SET_TOPIC] = "INSERT OR REPLACE INTO topic VALUES (?1, ?2, ?3)",
    [GET_TOPICS] = ("SELECT name FROM topic ORDER BY"
                    " (SELECT time_ms FROM message WHERE topic = name ORDER BY message.offset DESC LIMIT 1)"),
    [DROP_TOPIC] = "DELETE FROM topic WHERE name = ?1",
    [GET_MESSAGES] = "SELECT offset, time_ms, type, data FROM message WHERE topic = ?1 ORDER BY offset",
    [PUT_MESSAGE] = "INSERT OR REPLACE INTO message VALUES (?1, ?2, ?3, ?4, ?5)",
    [DROP_MESSAGES] = "DELETE FROM message WHERE topic = ?1 AND offset < ?2",
    [GET_RUN] = "SELECT is_open, boot FROM run",
    [SET_RUN] = "INSERT OR REPLACE INTO run VALUES (1, ?1, ?2)",
    /* never 0, and below 2^63, as bus_random */
    [NEW_EPOCHS] = "UPDATE topic SET epoch = (random() & 9223372036854775806) + 1",
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
};

struct store {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    char boot[BOOT_BYTES]; /* "": unknown */
};

/* Exclusive before WAL is looked at: the file's index is in our memory then, and the lock is kept (S1). */
static const char lock_it[] =
    "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS topic (name BLOB PRIMARY KEY, epoch INTEGER, offset INTEGER) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS message (topic BLOB, offset INTEGER, time_ms INTEGER, type INTEGER, data "
    "BLOB,"
    " PRIMARY KEY (topic, offset)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS run (one INTEGER PRIMARY KEY, is_open INTEGER, boot TEXT);"
    "PRAGMA user_version = 1;"
    "COMMIT;";

const char *store_problem(struct store *s)
{
    return sqlite3_errmsg(s->db);
}

static void read_boot_id(char out[BOOT_BYTES])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, BOOT_BYTES - 1) : 0;

    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

static bool prepare_all(struct store *s)
{
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(s->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i], NULL) !=
            SQLITE_OK)
            return false;
    return true;
}

/* The statement is free for the next use. */
static void put_back(sqlite3_stmt *st)
{
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
}

/* Run to the end: true. */
static bool run(sqlite3_stmt *st)
{
    bool done = sqlite3_step(st) == SQLITE_DONE;

    put_back(st);
    return done;
}

bool store_begin(struct store *s)
{
    return run(s->statements[BEGIN]);
}

bool store_commit(struct store *s)
{
    return run(s->statements[COMMIT]);
}

void store_undo(struct store *s)
{
    if (!sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

static bool set_run(struct store *s, bool is_open)
{
    sqlite3_stmt *st = s->statements[SET_RUN];

    sqlite3_bind_int(st, 1, is_open);
    sqlite3_bind_text(st, 2, s->boot, -1, SQLITE_STATIC);
    return run(st);
}

/* It was in use when the machine went down: the last commits may be gone (S2). False: it cannot be read. */
static bool may_be_behind(struct store *s, bool *is_behind)
{
    sqlite3_stmt *st = s->statements[GET_RUN];
    int step = sqlite3_step(st);

    *is_behind = false;
    if (step == SQLITE_ROW) {
        const char *boot = (const char *)sqlite3_column_text(st, 1);
        *is_behind = sqlite3_column_int(st, 0) && (!boot || !*boot || strcmp(boot, s->boot) != 0);
    }
    put_back(st);
    return step == SQLITE_ROW || step == SQLITE_DONE;
}

static bool take_into_use(struct store *s)
{
    bool is_behind;

    if (!store_begin(s) || !may_be_behind(s, &is_behind))
        return false;
    if (is_behind) {
        LOG(WEFT_LOG_WARNING, 0,
            "bus: history_file: the machine went down while it was in use; what was said last"
            " may be missing, and all topics begin a new epoch");
        if (!run(s->statements[NEW_EPOCHS]))
            return false;
    }
    return set_run(s, true) && store_commit(s);
}

/* 0 as well when it cannot be read: what comes then says why. */
static int version_of(sqlite3 *db)
{
    sqlite3_stmt *st = NULL;
    int version = 0;

    if (sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW)
        version = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return version;
}

/* What is told from here on waits for the disk, so that a file in use says so after any power cut; what
 * follows does not. */
static const char *open_file(struct store *s, const char *path)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;

    /* SQLite takes "" and ":memory:" for none, and keeps the others for itself. */
    if (*path == '\0' || *path == ':')
        return "it is no file's name; one that begins with a colon is written ./:NAME";
    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK)
        return store_problem(s);
    if (sqlite3_db_readonly(s->db, "main") == 1)
        return "it may not be written";
    sqlite3_busy_timeout(s->db, LOCK_WAIT_MS);
    if (sqlite3_exec(s->db, lock_it, NULL, NULL, NULL) != SQLITE_OK)
        return store_problem(s);
    if (version_of(s->db) > VERSION)
        return "it was written by a later weft";
    if (sqlite3_exec(s->db, schema, NULL, NULL, NULL) != SQLITE_OK || !prepare_all(s) || !take_into_use(s) ||
        sqlite3_exec(s->db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL) != SQLITE_OK)
        return store_problem(s);
    return NULL;
}

int store_open(struct store **out, const char *path)
{
    struct store *s = mem_calloc(1, sizeof *s);
    const char *problem;

    *out = NULL;
    if (!s)
        return WEFT_E_NOMEM;
    read_boot_id(s->boot);
    problem = open_file(s, path);
    if (problem) {
        LOG(WEFT_LOG_ERROR, 0, "bus: history_file %s cannot be used: %s%s", path, problem,
            s->db && sqlite3_errcode(s->db) == SQLITE_BUSY ? " by another process" : "");
        if (s->db)
            store_undo(s);
        store_close(s, false);
        return WEFT_E_INVAL;
    }
    *out = s;
    return WEFT_OK;
}

/* A file that is not whole stays in use. */
void store_close(struct store *s, bool is_whole)
{
    if (!s)
        return;
    if (is_whole && !set_run(s, false))
        LOG(WEFT_LOG_ERROR, 0, "bus: history_file: its end: %s", store_problem(s));
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->db);
    mem_free(s);
}

/* --- read --- */

static void bind_topic(sqlite3_stmt *st, const char *topic)
{
    sqlite3_bind_blob(st, 1, topic, (int)strlen(topic), SQLITE_STATIC);
}

/* The rows of a statement are at their end: was that the end? */
static int end_of_rows(struct store *s, int step)
{
    if (step == SQLITE_DONE)
        return WEFT_OK;
    LOG(WEFT_LOG_ERROR, 0, "bus: history_file cannot be read: %s", store_problem(s));
    return WEFT_E_INVAL;
}

int store_each_topic(struct store *s, int (*visit)(const char *topic, void *arg), void *arg)
{
    sqlite3_stmt *st = s->statements[GET_TOPICS];
    char topic[WEFT_BUS_TOPIC_BYTES_MAX + 1];
    int rc = WEFT_OK, step;

    while ((step = sqlite3_step(st)) == SQLITE_ROW && rc == WEFT_OK) {
        int bytes = sqlite3_column_bytes(st, 0);
        if (bytes <= 0 || bytes > WEFT_BUS_TOPIC_BYTES_MAX)
            continue; /* not of ours */
        memcpy(topic, sqlite3_column_blob(st, 0), (size_t)bytes);
        topic[bytes] = '\0';
        rc = visit(topic, arg);
    }
    if (rc == WEFT_OK)
        rc = end_of_rows(s, step);
    put_back(st);
    return rc;
}

static int get_topic(struct store *s, const char *topic, weft_bus_position *at)
{
    sqlite3_stmt *st = s->statements[GET_TOPIC];
    int rc = WEFT_OK, step;

    *at = (weft_bus_position){0};
    bind_topic(st, topic);
    step = sqlite3_step(st);
    if (step == SQLITE_ROW)
        *at =
            (weft_bus_position){(uint64_t)sqlite3_column_int64(st, 0), (uint64_t)sqlite3_column_int64(st, 1)};
    else
        rc = end_of_rows(s, step);
    put_back(st);
    return rc;
}

/* The row that the statement stands at. What cannot be held makes the history begin behind it. */
static void load_row(sqlite3_stmt *st, struct history *h)
{
    uint64_t offset = (uint64_t)sqlite3_column_int64(st, 0);
    enum weft_msg_type type = sqlite3_column_int(st, 2) == WEFT_BINARY ? WEFT_BINARY : WEFT_TEXT;
    const void *data = sqlite3_column_blob(st, 3);
    weft_msg *m;

    if (offset != h->at.offset + 1)
        bus_history_clear(h, (weft_bus_position){h->at.epoch, offset - 1});
    if (weft_msg_new(&m, type, data, (size_t)sqlite3_column_bytes(st, 3)) != WEFT_OK) {
        bus_history_clear(h, (weft_bus_position){h->at.epoch, offset});
        return;
    }
    bus_history_put(h, m, (uint64_t)sqlite3_column_int64(st, 1), 0);
    weft_msg_unref(m);
}

int store_load(struct store *s, const char *topic, struct history *h)
{
    sqlite3_stmt *st = s->statements[GET_MESSAGES];
    weft_bus_position at;
    int rc = get_topic(s, topic, &at), step;

    if (rc != WEFT_OK || at.epoch == 0)
        return rc;
    bus_history_clear(h, (weft_bus_position){at.epoch, 0});
    bind_topic(st, topic);
    while ((step = sqlite3_step(st)) == SQLITE_ROW)
        load_row(st, h);
    rc = end_of_rows(s, step);
    put_back(st);
    if (h->at.offset != at.offset)
        bus_history_clear(h, at);
    return rc;
}

/* --- write --- */

static bool set_topic(struct store *s, const char *topic, weft_bus_position at)
{
    sqlite3_stmt *st = s->statements[SET_TOPIC];

    bind_topic(st, topic);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)at.epoch);
    sqlite3_bind_int64(st, 3, (sqlite3_int64)at.offset);
    return run(st);
}

static bool put_message(struct store *s, const char *topic, uint64_t offset, const struct history_entry *e)
{
    sqlite3_stmt *st = s->statements[PUT_MESSAGE];

    bind_topic(st, topic);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)offset);
    sqlite3_bind_int64(st, 3, (sqlite3_int64)e->time_ms);
    sqlite3_bind_int(st, 4, (int)weft_msg_type(e->msg));
    sqlite3_bind_blob64(st, 5, weft_msg_data(e->msg), weft_msg_bytes(e->msg), SQLITE_STATIC);
    return run(st);
}

static bool drop_before(struct store *s, const char *topic, uint64_t offset)
{
    sqlite3_stmt *st = s->statements[DROP_MESSAGES];

    bind_topic(st, topic);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)offset);
    return run(st);
}

static bool drop_topic(struct store *s, const char *topic)
{
    bind_topic(s->statements[DROP_TOPIC], topic);
    return run(s->statements[DROP_TOPIC]) && drop_before(s, topic, INT64_MAX);
}

static bool put_entries(struct store *s, const struct store_write *w)
{
    for (uint32_t i = 0; i < w->count; i++)
        if (!put_message(s, w->topic, w->at.offset - w->count + 1 + i, &w->entries[i]))
            return false;
    return set_topic(s, w->topic, w->at);
}

bool store_write(struct store *s, const struct store_write *w)
{
    switch (w->kind) {
    case STORE_PUT: /* the first of an epoch: what stands there is of another one */
        return drop_before(s, w->topic, w->at.offset == 1 ? INT64_MAX : w->first) && put_entries(s, w);
    case STORE_WHOLE:
        return drop_before(s, w->topic, INT64_MAX) && put_entries(s, w);
    case STORE_TRIM:
        return drop_before(s, w->topic, w->first);
    case STORE_FORGET:
        return drop_topic(s, w->topic);
    case STORE_TEST:
        return set_run(s, true);
    }
    return false;
}
