/* The clients' shared engine; see shared.h. */
#include "core/shared.h"

#include <pthread.h>

#include "core/engine.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct engine *shared; /* under the lock */

static int start(void)
{
    static const struct engine_hooks none;
    int rc = engine_new(&shared, NULL, &none);

    if (rc == WEFT_OK)
        rc = engine_start(shared);
    if (rc != WEFT_OK && shared) {
        engine_unref(shared);
        shared = NULL;
    }
    return rc;
}

int shared_engine(struct engine **out)
{
    int rc = WEFT_OK;

    pthread_mutex_lock(&lock);
    if (!shared)
        rc = start();
    if (rc == WEFT_OK) {
        engine_ref(shared);
        *out = shared;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

int shared_stop(uint32_t deadline_ms)
{
    int rc = WEFT_OK;

    pthread_mutex_lock(&lock);
    if (shared)
        rc = engine_stop(shared, deadline_ms);
    if (shared && rc == WEFT_OK) {
        engine_unref(shared);
        shared = NULL;
    }
    pthread_mutex_unlock(&lock);
    return rc;
}
