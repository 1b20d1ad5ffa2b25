/* The store of a weft built without SQLite: it cannot be opened. */
#include "api/bus_store.h"

#include "base/log.h"

int store_open(struct store **out, const char *path)
{
    (void)path;
    *out = NULL;
    LOG(WEFT_LOG_ERROR, 0, "bus: history_file is set, but this weft was built without SQLite");
    return WEFT_E_INVAL;
}

void store_close(struct store *s, bool is_whole)
{
    (void)s, (void)is_whole;
}

int store_each_topic(struct store *s, int (*visit)(const char *topic, void *arg), void *arg)
{
    (void)s, (void)visit, (void)arg;
    return WEFT_E_INVAL;
}

int store_load(struct store *s, const char *topic, struct history *h)
{
    (void)s, (void)topic, (void)h;
    return WEFT_E_INVAL;
}

bool store_begin(struct store *s)
{
    (void)s;
    return false;
}

bool store_write(struct store *s, const struct store_write *w)
{
    (void)s, (void)w;
    return false;
}

bool store_commit(struct store *s)
{
    (void)s;
    return false;
}

void store_undo(struct store *s)
{
    (void)s;
}

const char *store_problem(struct store *s)
{
    (void)s;
    return "there is no SQLite";
}
