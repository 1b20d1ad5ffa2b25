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

/* Another thread may have been first. */
static void forget(struct engine *e)
{
    bool is_ours;

    pthread_mutex_lock(&lock);
    is_ours = shared == e;
    if (is_ours)
        shared = NULL;
    pthread_mutex_unlock(&lock);
    if (is_ours)
        engine_unref(e);
}

/* Not under the lock: a callback may be making a client, and has to come to its end. It gets the engine
 * that is being stopped, which lets no more in. */
int shared_stop(uint32_t deadline_ms)
{
    struct engine *e;
    int rc;

    pthread_mutex_lock(&lock);
    e = shared;
    if (e)
        engine_ref(e);
    pthread_mutex_unlock(&lock);
    if (!e)
        return WEFT_OK;
    rc = engine_stop(e, deadline_ms);
    if (rc == WEFT_OK)
        forget(e);
    engine_unref(e);
    return rc;
}
