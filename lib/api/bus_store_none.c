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

void store_close(struct store *s)
{
    (void)s;
}

void store_load(struct store *s, const char *topic, struct history *h)
{
    (void)s, (void)topic, (void)h;
}

bool store_put(struct store *s, const char *topic, const struct history *h, weft_msg *m, uint64_t time_ms)
{
    (void)s, (void)topic, (void)h, (void)m, (void)time_ms;
    return false;
}

bool store_commit(struct store *s)
{
    (void)s;
    return false;
}
