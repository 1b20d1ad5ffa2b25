/* Histories in a SQLite database; see bus_store.h.
 *
 * Table topic: epoch and offset of each; table message: what is remembered. They are written together, so
 * they fit unless a write failed: then the offset of the topic is ahead, and what is before the hole is
 * forgotten on loading. */
#include "api/bus_store.h"

#include <sqlite3.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

enum statement { GET_TOPIC, SET_TOPIC, GET_MESSAGES, PUT_MESSAGE, DROP_MESSAGES, BEGIN, COMMIT, STATEMENTS };

static const char *const texts[STATEMENTS] = {
    [GET_TOPIC] = "SELECT epoch, offset FROM topic WHERE name = ?1",
    [SET_TOPIC] = "INSERT OR REPLACE INTO topic VALUES (?1, ?2, ?3)",
    [GET_MESSAGES] = "SELECT offset, time_ms, type, data FROM message WHERE topic = ?1 ORDER BY offset",
    [PUT_MESSAGE] = "INSERT OR REPLACE INTO message VALUES (?1, ?2, ?3, ?4, ?5)",
    [DROP_MESSAGES] = "DELETE FROM message WHERE topic = ?1 AND offset < ?2",
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
};

struct store {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    bool is_writing; /* a transaction is open */
};

static const char schema[] =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
    "CREATE TABLE IF NOT EXISTS topic (name BLOB PRIMARY KEY, epoch INTEGER, offset INTEGER) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS message (topic BLOB, offset INTEGER, time_ms INTEGER, type INTEGER, data "
    "BLOB,"
    " PRIMARY KEY (topic, offset)) WITHOUT ROWID;";

static bool complain(struct store *s, const char *doing)
{
    LOG(WEFT_LOG_ERROR, 0, "bus: history_file: %s: %s", doing, sqlite3_errmsg(s->db));
    return false;
}

static bool prepare_all(struct store *s)
{
    for (int i = 0; i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(s->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i], NULL) !=
            SQLITE_OK)
            return false;
    return true;
}

int store_open(struct store **out, const char *path)
{
    struct store *s = mem_calloc(1, sizeof *s);

    *out = NULL;
    if (!s)
        return WEFT_E_NOMEM;
    if (sqlite3_open(path, &s->db) != SQLITE_OK ||
        sqlite3_exec(s->db, schema, NULL, NULL, NULL) != SQLITE_OK || !prepare_all(s)) {
        complain(s, "it cannot be used");
        store_close(s);
        return WEFT_E_INVAL;
    }
    *out = s;
    return WEFT_OK;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->db);
    mem_free(s);
}

/* Run to the end: true. The statement is free for the next use. */
static bool run(sqlite3_stmt *st)
{
    bool done = sqlite3_step(st) == SQLITE_DONE;

    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return done;
}

static bool begin(struct store *s)
{
    if (!s->is_writing)
        s->is_writing = run(s->statements[BEGIN]);
    return s->is_writing;
}

bool store_commit(struct store *s)
{
    if (!s->is_writing)
        return true;
    s->is_writing = false;
    if (run(s->statements[COMMIT]))
        return true;
    complain(s, "a transaction");
    sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return false;
}

static void bind_topic(sqlite3_stmt *st, const char *topic)
{
    sqlite3_bind_blob(st, 1, topic, (int)strlen(topic), SQLITE_STATIC);
}

static bool set_topic(struct store *s, const char *topic, weft_bus_position at)
{
    sqlite3_stmt *st = s->statements[SET_TOPIC];

    bind_topic(st, topic);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)at.epoch);
    sqlite3_bind_int64(st, 3, (sqlite3_int64)at.offset);
    return run(st);
}

static bool get_topic(struct store *s, const char *topic, weft_bus_position *at)
{
    sqlite3_stmt *st = s->statements[GET_TOPIC];
    bool is_there;

    bind_topic(st, topic);
    is_there = sqlite3_step(st) == SQLITE_ROW;
    if (is_there)
        *at =
            (weft_bus_position){(uint64_t)sqlite3_column_int64(st, 0), (uint64_t)sqlite3_column_int64(st, 1)};
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return is_there;
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

void store_load(struct store *s, const char *topic, struct history *h)
{
    sqlite3_stmt *st = s->statements[GET_MESSAGES];
    weft_bus_position at;

    if (!get_topic(s, topic, &at)) {
        if (!begin(s) || !set_topic(s, topic, h->at))
            complain(s, topic);
        return;
    }
    bus_history_clear(h, (weft_bus_position){at.epoch, 0});
    bind_topic(st, topic);
    while (sqlite3_step(st) == SQLITE_ROW)
        load_row(st, h);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    if (h->at.offset != at.offset)
        bus_history_clear(h, at);
}

static bool put_message(struct store *s, const char *topic, uint64_t offset, weft_msg *m, uint64_t time_ms)
{
    sqlite3_stmt *st = s->statements[PUT_MESSAGE];

    bind_topic(st, topic);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)offset);
    sqlite3_bind_int64(st, 3, (sqlite3_int64)time_ms);
    sqlite3_bind_int(st, 4, (int)weft_msg_type(m));
    sqlite3_bind_blob64(st, 5, weft_msg_data(m), weft_msg_bytes(m), SQLITE_STATIC);
    return run(st);
}

static bool drop_before(struct store *s, const char *topic, uint64_t offset)
{
    sqlite3_stmt *st = s->statements[DROP_MESSAGES];

    bind_topic(st, topic);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)offset);
    return run(st);
}

bool store_put(struct store *s, const char *topic, const struct history *h, weft_msg *m, uint64_t time_ms)
{
    if (begin(s) && set_topic(s, topic, h->at) && put_message(s, topic, h->at.offset, m, time_ms) &&
        drop_before(s, topic, bus_history_first(h)))
        return true;
    return complain(s, topic);
}
