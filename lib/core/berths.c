/* Places for threads; see berths.h for B1 to B4. */
#include "core/berths.h"

#include "base/log.h"
#include "base/mem.h"
#include "weft/error.h"

enum berth_state { BERTH_FREE, BERTH_RUNNING, BERTH_ENDED };

struct berth {
    struct berths *all;     /* (c) */
    enum berth_state state; /* under lock */
    pthread_t thread;       /* under lock */
};

int berths_init(struct berths *b, unsigned max, void (*run)(void *owner, unsigned place), void *owner)
{
    pthread_mutex_init(&b->lock, NULL);
    b->run = run;
    b->owner = owner;
    b->max = max;
    b->places = mem_calloc(max, sizeof *b->places);
    if (!b->places)
        return WEFT_E_NOMEM;
    for (unsigned i = 0; i < max; i++)
        b->places[i].all = b;
    return WEFT_OK;
}

void berths_fini(struct berths *b)
{
    mem_free(b->places);
    pthread_mutex_destroy(&b->lock);
}

static void *berth_main(void *arg)
{
    struct berth *place = arg;
    struct berths *b = place->all;

    b->run(b->owner, (unsigned)(place - b->places));
    pthread_mutex_lock(&b->lock);
    place->state = BERTH_ENDED;
    atomic_fetch_sub_explicit(&b->count, 1, memory_order_relaxed);
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

static struct berth *free_place(struct berths *b)
{
    for (unsigned i = 0; i < b->max; i++) {
        struct berth *place = &b->places[i];
        if (place->state == BERTH_ENDED) {
            pthread_join(place->thread, NULL);
            place->state = BERTH_FREE;
        }
        if (place->state == BERTH_FREE)
            return place;
    }
    return NULL;
}

/* Under the lock; B3. */
static bool occupy(struct berth *place)
{
    struct berths *b = place->all;
    unsigned n = atomic_fetch_add_explicit(&b->count, 1, memory_order_relaxed) + 1;

    if (n > atomic_load_explicit(&b->count_max, memory_order_relaxed))
        atomic_store_explicit(&b->count_max, n, memory_order_relaxed);
    place->state = BERTH_RUNNING;
    if (pthread_create(&place->thread, NULL, berth_main, place) == 0)
        return true;
    place->state = BERTH_FREE;
    atomic_fetch_sub_explicit(&b->count, 1, memory_order_relaxed);
    return false;
}

bool berths_start(struct berths *b)
{
    struct berth *place = NULL;
    bool is_started;

    pthread_mutex_lock(&b->lock);
    if (!berths_are_closed(b))
        place = free_place(b);
    is_started = place && occupy(place);
    pthread_mutex_unlock(&b->lock);
    if (place && !is_started)
        LOG(WEFT_LOG_WARNING, 0, "no thread for another worker");
    return is_started;
}

void berths_close(struct berths *b)
{
    pthread_mutex_lock(&b->lock);
    atomic_store_explicit(&b->are_closed, true, memory_order_seq_cst);
    pthread_mutex_unlock(&b->lock);
}

void berths_join(struct berths *b)
{
    for (unsigned i = 0; i < b->max; i++) {
        enum berth_state state;
        pthread_mutex_lock(&b->lock);
        state = b->places[i].state;
        pthread_mutex_unlock(&b->lock);
        if (state != BERTH_FREE)
            pthread_join(b->places[i].thread, NULL);
        b->places[i].state = BERTH_FREE;
    }
}
