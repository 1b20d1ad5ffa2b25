/* The threads of handlers and tasks; see crew.h for W1 to W4. */
#include "core/crew.h"

#include <pthread.h>
#include <stdint.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/thr.h"
#include "sync/turn.h"
#include "weft/error.h"

/* How long a thread stays without a job. */
#define IDLE_MS 5000u

struct member {
    struct crew *crew;            /* (c) */
    pthread_t thread;             /* under lock */
    struct member *next, *before; /* under lock: in idle; next also in ended */
    bool is_idle;                 /* under lock: in that list */
    bool is_ready;                /* under lock: counted in ready */
    struct turn turn;             /* it is no longer in idle */
};

struct crew {
    const void *owner;  /* (c) */
    size_t stack_bytes; /* (c) */
    bool as_batch;      /* (c) */
    pthread_mutex_t lock;
    /* Under lock: */
    struct member *idle;  /* the one that became so last comes first: its stack is warm, and the others age */
    struct member *ended; /* to be joined */
    struct crew_job *first, *last; /* given, and not taken by a thread yet; ready threads are on their way */
    size_t ready;                  /* threads, less the jobs that are not taken yet */
    size_t reserved;               /* at most ready */
    size_t threads;                /* that have not ended */
    bool is_stopping;
    struct turn became_fewer; /* threads */
};

static _Thread_local struct member *member_here;

struct crew *crew_new(const void *owner, size_t stack_bytes, bool as_batch)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct crew *w = mem_calloc(1, sizeof *w);

    if (!w)
        return NULL;
    pthread_mutex_init(&w->lock, NULL);
    w->owner = owner;
    w->stack_bytes = (stack_bytes + page - 1) / page * page;
    w->as_batch = as_batch;
    turn_init(&w->became_fewer);
    return w;
}

void crew_free(struct crew *w)
{
    if (!w)
        return;
    pthread_mutex_destroy(&w->lock);
    mem_free(w);
}

/* --- a thread; the lock is held where nothing else is said --- */

static void push_idle(struct member *m)
{
    struct crew *w = m->crew;

    m->before = NULL;
    m->next = w->idle;
    if (m->next)
        m->next->before = m;
    w->idle = m;
    m->is_idle = true;
}

static void take_idle(struct member *m)
{
    struct crew *w = m->crew;

    if (m->before)
        m->before->next = m->next;
    else
        w->idle = m->next;
    if (m->next)
        m->next->before = m->before;
    m->is_idle = false;
}

static void wake_idle(struct member *m)
{
    take_idle(m);
    turn_next(&m->turn);
}

static struct crew_job *take_job(struct crew *w)
{
    struct crew_job *job = w->first;

    if (job)
        w->first = job->next;
    return job;
}

/* False: it was not needed for long. */
static bool wait_for_job(struct member *m)
{
    struct crew *w = m->crew;
    uint32_t seen = turn_look(&m->turn);

    push_idle(m);
    pthread_mutex_unlock(&w->lock);
    turn_wait_anyhow(&m->turn, seen, turn_until_ns(IDLE_MS));
    pthread_mutex_lock(&w->lock);
    if (!m->is_idle)
        return true;
    take_idle(m);
    return w->ready <= w->reserved; /* W1 */
}

static void become_ready(struct member *m)
{
    if (!m->is_ready)
        m->crew->ready++;
    m->is_ready = true;
}

static void work(struct member *m)
{
    struct crew *w = m->crew;

    for (;;) {
        struct crew_job *job = take_job(w);
        if (job) {
            m->is_ready = false; /* crew_run took it off */
            pthread_mutex_unlock(&w->lock);
            job->run(job);
            pthread_mutex_lock(&w->lock);
            become_ready(m);
        } else if (w->is_stopping || !wait_for_job(m)) {
            return;
        }
    }
}

static void join_all(struct member *ended)
{
    while (ended) {
        struct member *next = ended->next;
        pthread_join(ended->thread, NULL);
        mem_free(ended);
        ended = next;
    }
}

static void *member_main(void *arg)
{
    struct member *m = arg, *ended;
    struct crew *w = m->crew;

    thr_become(THR_WORKER, w->owner);
    thr_name("weft-crew");
    if (w->as_batch)
        thr_schedule_as_batch();
    member_here = m;
    pthread_mutex_lock(&w->lock);
    work(m);
    w->ready--;
    w->threads--;
    ended = w->ended; /* W2 */
    m->next = NULL;
    w->ended = m;
    turn_next(&w->became_fewer);
    pthread_mutex_unlock(&w->lock);
    join_all(ended);
    return NULL;
}

/* Its first look for a job waits for the lock. */
static int start_thread(struct crew *w)
{
    struct member *m = mem_calloc(1, sizeof *m);
    pthread_attr_t attr;
    int error;

    if (!m)
        return WEFT_E_NOMEM;
    m->crew = w;
    turn_init(&m->turn);
    pthread_attr_init(&attr);
    error = pthread_attr_setstacksize(&attr, w->stack_bytes);
    if (!error)
        error = pthread_create(&m->thread, &attr, member_main, m);
    pthread_attr_destroy(&attr);
    if (error) {
        mem_free(m);
        return WEFT_E_AGAIN;
    }
    w->threads++;
    become_ready(m);
    return WEFT_OK;
}

/* --- any thread --- */

int crew_reserve(struct crew *w, size_t count)
{
    int rc = WEFT_OK;

    pthread_mutex_lock(&w->lock);
    if (w->is_stopping || (w->ready < w->reserved + count && w->threads + count > CREW_THREADS_MAX))
        rc = WEFT_E_AGAIN;
    while (rc == WEFT_OK && w->ready < w->reserved + count)
        rc = start_thread(w);
    if (rc == WEFT_OK)
        w->reserved += count;
    pthread_mutex_unlock(&w->lock);
    if (rc != WEFT_OK)
        LOG(WEFT_LOG_WARNING, 0, "no thread for another handler");
    return rc;
}

void crew_release(struct crew *w, size_t count)
{
    pthread_mutex_lock(&w->lock);
    w->reserved -= count;
    pthread_mutex_unlock(&w->lock);
}

void crew_run(struct crew *w, struct crew_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&w->lock);
    w->reserved--;
    w->ready--;
    if (w->first)
        w->last->next = job;
    else
        w->first = job;
    w->last = job;
    if (w->idle)
        wake_idle(w->idle); /* none: one was just started, or is about to end its job */
    pthread_mutex_unlock(&w->lock);
}

void crew_is_leaving(struct crew *w)
{
    struct member *m = member_here;

    if (!m || m->crew != w)
        return;
    pthread_mutex_lock(&w->lock);
    become_ready(m);
    pthread_mutex_unlock(&w->lock);
}

void crew_stop(struct crew *w)
{
    struct member *ended;

    pthread_mutex_lock(&w->lock);
    w->is_stopping = true;
    while (w->idle)
        wake_idle(w->idle);
    while (w->threads) {
        uint32_t seen = turn_look(&w->became_fewer);
        pthread_mutex_unlock(&w->lock);
        turn_wait_anyhow(&w->became_fewer, seen, TURN_NO_END_NS);
        pthread_mutex_lock(&w->lock);
    }
    ended = w->ended;
    w->ended = NULL;
    pthread_mutex_unlock(&w->lock);
    join_all(ended);
}

size_t crew_thread_count(struct crew *w)
{
    size_t count;

    pthread_mutex_lock(&w->lock);
    count = w->threads;
    pthread_mutex_unlock(&w->lock);
    return count;
}
