/* The Redis backend of a weft built without hiredis: it cannot be opened. */
#include "api/bus.h"
#include "base/log.h"

static int none_open(struct weft_bus *b, const struct bus_url *url)
{
    (void)b, (void)url;
    LOG(WEFT_LOG_ERROR, 0, "bus: this weft was built without hiredis, so only local: can be opened");
    return WEFT_E_INVAL;
}

static void none_free(struct weft_bus *b)
{
    (void)b;
}

/* Nothing else is ever called: there is no bus. */
const struct bus_backend bus_redis = {.open = none_open, .free = none_free};
