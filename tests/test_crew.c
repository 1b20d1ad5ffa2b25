/* The threads of handlers and tasks. */
#include "core/crew.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "base/thr.h"
#include "sync/turn.h"
#include "unit.h"
#include "weft/error.h"

struct counting {
    struct crew_job job;
    struct crew *crew;
    _Atomic unsigned *count;
    struct turn *gate; /* NULL: it does not wait */
    enum thr_kind kind;
    const void *owner;
};

static void count(struct crew_job *job)
{
    struct counting *c = (struct counting *)(void *)job;

    c->kind = thr_kind();
    c->owner = thr_owner();
    if (c->gate)
        while (turn_look(c->gate) == 0)
            turn_wait(c->gate, 0, TURN_NO_END_NS);
    crew_is_leaving(c->crew);
    atomic_fetch_add(c->count, 1);
}

static void each_job_has_a_thread_of_its_own(void)
{
    enum { JOBS = 50 };
    _Atomic unsigned done = 0;
    struct counting jobs[JOBS];
    struct turn gate;
    static const int owner;
    struct crew *w = crew_new(&owner, 64 * 1024, false);

    turn_init(&gate);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct counting){.job.run = count, .crew = w, .count = &done, .gate = &gate};
        CU_ASSERT_EQUAL_FATAL(crew_reserve(w, 1), WEFT_OK);
        crew_run(w, &jobs[i].job);
    }
    CU_ASSERT_EQUAL(crew_thread_count(w), JOBS);
    CU_ASSERT_EQUAL(done, 0);
    turn_next(&gate);
    crew_stop(w);
    CU_ASSERT_EQUAL(done, JOBS);
    CU_ASSERT_EQUAL(crew_thread_count(w), 0);
    CU_ASSERT_EQUAL(jobs[0].kind, THR_WORKER);
    CU_ASSERT_EQUAL(jobs[0].owner, &owner);
    crew_free(w);
}

static void idle_threads_are_used_again(void)
{
    struct crew *w = crew_new(NULL, 64 * 1024, true);
    _Atomic unsigned done = 0;
    struct counting job = {.job.run = count, .crew = w, .count = &done};

    for (unsigned i = 0; i < 1000; i++) {
        CU_ASSERT_EQUAL_FATAL(crew_reserve(w, 1), WEFT_OK);
        crew_run(w, &job.job);
        while (atomic_load(&done) == i) {
        }
    }
    /* Its thread may be reserved again from crew_is_leaving on. */
    CU_ASSERT_EQUAL(crew_thread_count(w), 1);
    crew_stop(w);
    crew_free(w);
}

static void all_are_reserved_or_none(void)
{
    struct crew *w = crew_new(NULL, 64 * 1024, false);

    CU_ASSERT_EQUAL(crew_reserve(w, CREW_THREADS_MAX + 1), WEFT_E_AGAIN);
    CU_ASSERT_EQUAL(crew_thread_count(w), 0);
    CU_ASSERT_EQUAL(crew_reserve(w, 0), WEFT_OK);
    CU_ASSERT_EQUAL(crew_reserve(w, 3), WEFT_OK);
    CU_ASSERT_EQUAL(crew_reserve(w, 2), WEFT_OK);
    CU_ASSERT_EQUAL(crew_thread_count(w), 5);
    crew_release(w, 5);
    CU_ASSERT_EQUAL(crew_reserve(w, 5), WEFT_OK);
    CU_ASSERT_EQUAL(crew_thread_count(w), 5);
    crew_release(w, 5);
    crew_stop(w);
    CU_ASSERT_EQUAL(crew_reserve(w, 1), WEFT_E_AGAIN); /* it was stopped */
    crew_free(w);
}

static void without_memory_or_stack_there_is_an_error_and_nothing_left(void)
{
    struct crew *w = crew_new(NULL, 64 * 1024, false);

    mem_fail_at(2);
    CU_ASSERT_EQUAL(crew_reserve(w, 3), WEFT_E_NOMEM);
    mem_fail_at(0);
    CU_ASSERT_EQUAL(crew_reserve(w, 1), WEFT_OK); /* the one that was made */
    CU_ASSERT_EQUAL(crew_thread_count(w), 1);
    crew_release(w, 1);
    crew_stop(w);
    crew_free(w);
    w = crew_new(NULL, (size_t)1 << 50, false);
    CU_ASSERT_EQUAL(crew_reserve(w, 1), WEFT_E_AGAIN);
    crew_stop(w);
    crew_free(w);
    crew_free(NULL);
}

struct giver {
    struct crew *crew;
    _Atomic unsigned *done;
};

static void *give_many(void *arg)
{
    struct giver *g = arg;
    struct counting jobs[100];

    for (int i = 0; i < 100; i++) {
        jobs[i] = (struct counting){.job.run = count, .crew = g->crew, .count = g->done};
        if (crew_reserve(g->crew, 1) == WEFT_OK)
            crew_run(g->crew, &jobs[i].job);
    }
    crew_stop(g->crew); /* the jobs stand on this stack; a second stop finds nothing */
    return NULL;
}

static void *give_and_wait(void *arg)
{
    struct giver *g = arg;

    for (unsigned i = 0; i < 200; i++) {
        _Atomic unsigned done = 0;
        struct turn gate;
        struct counting job = {.job.run = count, .crew = g->crew, .count = &done, .gate = &gate};

        turn_init(&gate);
        if (crew_reserve(g->crew, 1) != WEFT_OK)
            return NULL;
        crew_run(g->crew, &job.job);
        turn_next(&gate);
        while (!atomic_load(&done)) {
        }
        atomic_fetch_add(g->done, 1);
    }
    return NULL;
}

static void any_thread_may_give_jobs(void)
{
    struct crew *w = crew_new(NULL, 64 * 1024, false);
    _Atomic unsigned done = 0, many = 0;
    struct giver g = {w, &done};
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, give_and_wait, &g);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CU_ASSERT_EQUAL(done, 800);
    CU_ASSERT(crew_thread_count(w) <= 8);
    g.done = &many;
    give_many(&g);
    CU_ASSERT_EQUAL(many, 100);
    crew_free(w);
}

static const struct unit_case cases[] = {
    CASE(each_job_has_a_thread_of_its_own), CASE(idle_threads_are_used_again),
    CASE(all_are_reserved_or_none),         CASE(without_memory_or_stack_there_is_an_error_and_nothing_left),
    CASE(any_thread_may_give_jobs),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "crew", cases, sizeof cases / sizeof cases[0]);
}
