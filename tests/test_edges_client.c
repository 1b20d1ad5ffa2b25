/* The labelled edges of clients, each taken by two threads that have no other order between them; see test_edges.c. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/engine.h"
#include "core/io_thread.h"
#include "core/opening.h"
#include "core/sessions.h"
#include "core/settings.h"
#include "crew.h"
#include "holders.h"
#include "unit.h"

enum { MANY = 200, ROUNDS = 20, WAIT_MS = 10000 };

static const struct engine_hooks no_hooks;

/* It is not started: the main thread plays the I/O thread. */
static struct engine *new_engine(void)
{
    weft_server_opts opts = {.size = sizeof opts, .io_threads = 1, .inline_handlers = true};
    struct engine *e = NULL;

    if (engine_new(&e, &opts, &no_hooks) != WEFT_OK)
        abort();
    return e;
}

static struct endpoint *new_endpoint(struct engine *e)
{
    weft_client_opts opts = {.size = sizeof opts};
    struct settings settings = {0};
    struct endpoint *ep = NULL;

    if (settings_init_client(&settings, &opts) != WEFT_OK ||
        endpoint_new(&ep, e, &settings, &no_hooks) != WEFT_OK)
        abort();
    return ep;
}

static struct opening *new_opening(void)
{
    static const struct http_request request = {.host = "localhost", .port = 80, .target = "/"};
    static const struct extension_policy policy;
    struct opening *o = NULL;

    if (opening_new(&o, &request, &policy, 8192, 64, clock_now_ms() + WAIT_MS) != WEFT_OK)
        abort();
    return o;
}

static void unref_opening(void *o)
{
    opening_unref(o);
}

static void the_last_holder_of_an_opening_frees_it(void) /* OPENING_LAST */
{
    void *openings[MANY];

    count_memory();
    for (int i = 0; i < MANY; i++) {
        struct opening *o = new_opening();

        for (int k = 2; k < HOLDERS; k++) /* two are there */
            atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
        openings[i] = o;
    }
    give_back_by_many(openings, MANY, unref_opening);
    all_memory_is_back();
}

static void unref_endpoint(void *ep)
{
    endpoint_unref(ep);
}

static void the_last_holder_of_an_endpoint_frees_it(void) /* ENDPOINT_LAST */
{
    void *endpoints[MANY];
    struct engine *e;

    count_memory();
    e = new_engine();
    for (int i = 0; i < MANY; i++) {
        endpoints[i] = new_endpoint(e);
        for (int k = 1; k < HOLDERS; k++)
            endpoint_ref(endpoints[i]);
    }
    give_back_by_many(endpoints, MANY, unref_endpoint);
    engine_unref(e);
    all_memory_is_back();
}

static void unref_client(void *client)
{
    sessions_unref(client);
}

static struct weft_client *new_client(struct engine *e, const weft_client_opts *opts)
{
    struct weft_client *client = NULL;

    if (sessions_new(&client, e, "ws+unix:/nobody/listens", opts, &no_hooks) != WEFT_OK)
        abort();
    return client;
}

static void the_last_handle_of_a_client_frees_it(void) /* CLIENT_LAST */
{
    void *clients[MANY];
    struct engine *e;

    count_memory();
    e = new_engine();
    for (int i = 0; i < MANY; i++) {
        clients[i] = new_client(e, NULL);
        for (int k = 1; k < HOLDERS; k++)
            sessions_ref(clients[i]);
    }
    give_back_by_many(clients, MANY, unref_client);
    engine_unref(e);
    all_memory_is_back();
}

/* --- the outcome of an opening --- */

static void *wait_for_outcome(void *arg)
{
    struct opening *o = arg;

    /* Looking, not waiting: poll would order more than the outcome does. */
    while (atomic_load_explicit(&o->outcome, memory_order_relaxed) == OPENING_PENDING)
        sched_yield();
    return (void *)(intptr_t)opening_wait(o, -1);
}

static void who_sees_the_outcome_sees_what_belongs_to_it(void) /* OPENING */
{
    for (int i = 0; i < ROUNDS; i++) {
        struct engine *e;
        struct endpoint *ep;
        struct opening *o;
        struct weft_conn *c;
        struct sock_peer peer = {0};
        pthread_t waiting;
        void *answer = NULL;
        int ends[2];

        count_memory();
        e = new_engine();
        ep = new_endpoint(e);
        o = new_opening();
        CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
        c = conn_new(&ep->homes[0], ends[0], &peer, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(c);
        c->opening = o;
        CU_ASSERT_EQUAL_FATAL(pthread_create(&waiting, NULL, wait_for_outcome, o), 0);
        thr_enter_io();
        conn_register(c);
        conn_die(c, WEFT_E_TOO_BIG, true);
        thr_exit_io();
        pthread_join(waiting, &answer);
        CU_ASSERT_EQUAL((intptr_t)answer, WEFT_E_TOO_BIG);
        opening_unref(o);
        e->io_threads[0]->dead = NULL;
        endpoint_one_less(ep);
        conn_unref(c);
        endpoint_unref(ep);
        engine_unref(e);
        close(ends[1]);
        all_memory_is_back();
    }
}

/* --- who makes sessions --- */

struct attempt_seen {
    struct weft_client *client;
    int done;                        /* plain: only the word that is waited for carries it */
    _Atomic bool has_begun, may_end; /* relaxed: they order nothing */
    int answer;
};

static void note_failure(const weft_failure *f, uint32_t retry_ms, void *app)
{
    struct attempt_seen *a = app;

    (void)f;
    (void)retry_ms;
    a->done = 1;
    atomic_store_explicit(&a->has_begun, true, memory_order_relaxed);
    while (!atomic_load_explicit(&a->may_end, memory_order_relaxed))
        sched_yield();
}

static void *make_a_session(void *arg)
{
    struct attempt_seen *a = arg;
    struct weft_conn *c;

    a->answer = sessions_next(a->client, &c, WAIT_MS);
    return NULL;
}

static void who_sees_that_no_session_is_made_sees_what_was_done_for_it(void) /* MAKING */
{
    for (int i = 0; i < ROUNDS; i++) {
        static struct attempt_seen a; /* static, so that every access to it is looked at */
        weft_client_opts opts = {.size = sizeof opts, .on_failure = note_failure, .app = &a};
        struct crew crew = {0};
        struct engine *e;

        count_memory();
        e = new_engine();
        memset(&a, 0, sizeof a);
        a.client = new_client(e, &opts);
        crew_add(&crew, make_a_session, &a);
        while (!atomic_load_explicit(&a.has_begun, memory_order_relaxed))
            sched_yield();
        atomic_store_explicit(&a.may_end, true, memory_order_relaxed);
        CU_ASSERT_TRUE(engine_wait_for_zero(&a.client->making, clock_now_ms() + WAIT_MS));
        CU_ASSERT_EQUAL(a.done, 1);
        crew_join(&crew);
        CU_ASSERT_EQUAL(a.answer, WEFT_E_SYSTEM);
        sessions_unref(a.client);
        engine_unref(e);
        all_memory_is_back();
    }
}

/* --- the parts of a connection --- */

struct part {
    int written;
};

static void init_part(void *part)
{
    ((struct part *)part)->written = 7;
}

static void *find_part(void *arg)
{
    void *_Atomic *place = arg;
    struct part *found;

    while (!atomic_load_explicit(place, memory_order_relaxed))
        sched_yield();
    found = conn_make_part(place, sizeof *found, init_part);
    return (void *)(intptr_t)found->written;
}

static void who_finds_a_part_finds_it_made(void) /* CONN_MORE */
{
    count_memory();
    for (int i = 0; i < ROUNDS; i++) {
        static void *_Atomic place;
        pthread_t finder;
        void *found = NULL;

        atomic_store(&place, NULL);
        CU_ASSERT_EQUAL_FATAL(pthread_create(&finder, NULL, find_part, &place), 0);
        CU_ASSERT_PTR_NOT_NULL(conn_make_part(&place, sizeof(struct part), init_part));
        pthread_join(finder, &found);
        CU_ASSERT_EQUAL((intptr_t)found, 7);
        mem_free(atomic_load(&place));
    }
    all_memory_is_back();
}

static const struct unit_case cases[] = {
    CASE(the_last_holder_of_an_opening_frees_it),
    CASE(the_last_holder_of_an_endpoint_frees_it),
    CASE(the_last_handle_of_a_client_frees_it),
    CASE(who_sees_the_outcome_sees_what_belongs_to_it),
    CASE(who_sees_that_no_session_is_made_sees_what_was_done_for_it),
    CASE(who_finds_a_part_finds_it_made),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "edges_client", cases, sizeof cases / sizeof cases[0]);
}
