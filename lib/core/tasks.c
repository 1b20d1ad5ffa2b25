/* Tasks over one connection; see tasks.h. */
#include "core/tasks.h"

#include <pthread.h>

#include "base/mem.h"
#include "base/thr.h"
#include "core/conn.h"
#include "core/crew.h"
#include "core/io_thread.h"
#include "sync/cancel.h"
#include "sync/turn.h"

struct task {
    struct crew_job job;
    struct group_of_tasks *group;
    weft_task *run;
    struct cancel_scope scope;
    int result;
};

struct group_of_tasks {
    weft_conn *conn;
    void *app;
    struct crew *crew;
    struct cancel_hook hook; /* in the caller's scope: K2 */
    bool is_race;
    pthread_mutex_t lock;
    struct turn turn;         /* of running */
    size_t running;           /* under lock */
    struct task *first_ended; /* under lock */
    size_t count;
    struct task tasks[];
};

static void cancel_all(struct group_of_tasks *g)
{
    for (size_t i = 0; i < g->count; i++)
        cancel_fire(&g->tasks[i].scope);
}

static void cancel_from_outside(struct cancel_hook *hook)
{
    cancel_all((struct group_of_tasks *)(void *)((char *)hook - offsetof(struct group_of_tasks, hook)));
}

/* Behind the unlock a task of another thread touches the group no more. */
static void note_end(struct task *t)
{
    struct group_of_tasks *g = t->group;
    bool is_first;

    pthread_mutex_lock(&g->lock);
    is_first = !g->first_ended;
    if (is_first)
        g->first_ended = t;
    pthread_mutex_unlock(&g->lock);
    if (is_first && g->is_race)
        cancel_all(g);
    pthread_mutex_lock(&g->lock);
    g->running--;
    turn_next(&g->turn);
    pthread_mutex_unlock(&g->lock);
}

static void run_task(struct task *t)
{
    struct group_of_tasks *g = t->group;

    cancel_enter(&t->scope);
    t->result = t->run(g->conn, g->app);
    cancel_leave();
}

static void run_job(struct crew_job *job)
{
    struct task *t = (struct task *)(void *)job;

    run_task(t);
    crew_is_leaving(t->group->crew);
    note_end(t);
}

/* K3 */
static void wait_for_all(struct group_of_tasks *g)
{
    pthread_mutex_lock(&g->lock);
    while (g->running) {
        uint32_t seen = turn_look(&g->turn);
        pthread_mutex_unlock(&g->lock);
        turn_wait_anyhow(&g->turn, seen, TURN_NO_END_NS);
        pthread_mutex_lock(&g->lock);
    }
    pthread_mutex_unlock(&g->lock);
}

static int result_of(const struct group_of_tasks *g)
{
    if (g->is_race)
        return g->first_ended->result;
    for (size_t i = 0; i < g->count; i++)
        if (g->tasks[i].result != WEFT_OK)
            return g->tasks[i].result;
    return WEFT_OK;
}

static struct group_of_tasks *new_group(weft_conn *c, void *app, weft_task *const *tasks, size_t count,
                                        bool is_race)
{
    struct group_of_tasks *g = mem_calloc(1, sizeof *g + count * sizeof g->tasks[0]);

    if (!g)
        return NULL;
    g->conn = c;
    g->app = app;
    g->crew = c->home->io->engine->crew;
    g->hook.fire = cancel_from_outside;
    g->is_race = is_race;
    pthread_mutex_init(&g->lock, NULL);
    turn_init(&g->turn);
    g->running = g->count = count;
    for (size_t i = 0; i < count; i++) {
        g->tasks[i] = (struct task){.job.run = run_job, .group = g, .run = tasks[i]};
        cancel_init(&g->tasks[i].scope);
    }
    return g;
}

static void free_group(struct group_of_tasks *g)
{
    for (size_t i = 0; i < g->count; i++)
        cancel_fini(&g->tasks[i].scope);
    pthread_mutex_destroy(&g->lock);
    mem_free(g);
}

/* The threads are reserved. */
static int run_group(struct group_of_tasks *g)
{
    if (!cancel_add(&g->hook)) {
        crew_release(g->crew, g->count - 1);
        return WEFT_E_CANCELED;
    }
    for (size_t i = 1; i < g->count; i++)
        crew_run(g->crew, &g->tasks[i].job);
    run_task(&g->tasks[0]);
    note_end(&g->tasks[0]);
    wait_for_all(g);
    cancel_remove(&g->hook);
    return result_of(g);
}

int tasks_run(weft_conn *c, void *app, weft_task *const *tasks, size_t count, bool is_race)
{
    struct engine *e = c->home->io->engine;
    struct group_of_tasks *g;
    int rc;

    if (thr_kind() == THR_IO)
        return WEFT_E_STATE;
    g = new_group(c, app, tasks, count, is_race);
    if (!g)
        return WEFT_E_NOMEM;
    atomic_fetch_add_explicit(&e->alive, 1,
                              memory_order_relaxed); /* engine_stop waits for them, if not for ever */
    rc = crew_reserve(e->crew, count - 1);
    if (rc == WEFT_OK)
        rc = run_group(g);
    engine_one_less(e);
    free_group(g);
    return rc;
}
