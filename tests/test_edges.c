/* The labelled edges of core and api, each taken by two threads that have no other order between them.
 *
 * A whole server orders most things several times over, so an edge that is too weak would hardly ever show
 * there. Here nothing is started: the cases call both ends themselves, some of them inside their .c file. The
 * race detector is the judge where an assertion cannot be (tests/weaken takes each edge away and looks
 * whether it notices).
 *
 * The I/O thread of these cases is the main thread, or whichever says so. */
#include "base/cpu.h"
#include "core/engine.c"
#include "core/io_thread.c"
#include "core/mailbox.c"
#include "core/receive.c"

#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"
#include "crew.h"
#include "holders.h"
#include "api/bus.h"
#include "api/group.h"
#include "core/listener.h"
#include "core/request.h"
#include "proto/http.h"
#include "weft/server.h"
#include "weft/weft.h"

static const struct engine_hooks no_hooks;

static struct engine *new_engine(void)
{
    weft_server_opts opts = {
        .size = sizeof opts, .io_threads = 1, .inline_handlers = true, .inbox_high = 2, .inbox_low = 1};
    struct engine *e = NULL;

    if (engine_new(&e, &opts, &no_hooks) != WEFT_OK)
        abort();
    return e;
}

static struct weft_conn *new_conn(struct engine *e, int fd)
{
    struct sock_peer peer = {0};
    struct weft_conn *c = conn_new(&e->own.homes[0], fd, &peer, NULL);

    if (!c)
        abort();
    return c;
}

enum { MANY = 300 };

static void unref_conn(void *c)
{
    weft_conn_unref(c);
}

static void the_last_holder_of_a_connection_frees_it(void) /* CONN_LAST */
{
    void *conns[MANY];
    struct engine *e;

    count_memory();
    e = new_engine();
    for (int i = 0; i < MANY; i++) {
        conns[i] = new_conn(e, -1);
        for (int k = 1; k < HOLDERS; k++)
            weft_conn_ref(conns[i]);
    }
    give_back_by_many(conns, MANY, unref_conn);
    engine_unref(e);
    all_memory_is_back();
}

static void unref_engine(void *e)
{
    engine_unref(e);
}

static void the_last_holder_of_an_engine_frees_it(void) /* ENGINE_LAST */
{
    enum { FEW = 10 }; /* each has descriptors */
    void *engines[FEW];

    count_memory();
    for (int i = 0; i < FEW; i++) {
        engines[i] = new_engine();
        for (int k = 1; k < HOLDERS; k++)
            engine_ref(engines[i]);
    }
    give_back_by_many(engines, FEW, unref_engine);
    all_memory_is_back();
}

static void unref_sub(void *s)
{
    bus_unref_sub(s);
}

static void ignore_item(const weft_bus_item *item, void *arg)
{
    (void)item, (void)arg;
}

/* The bus has ended, and its listeners are what is left of it. */
static void the_last_holder_of_a_subscription_frees_it(void) /* BUS_LAST */
{
    void *subs[MANY];
    weft_bus *b;

    count_memory();
    if (weft_bus_open(&b, "local:", NULL) != WEFT_OK)
        abort();
    for (int i = 0; i < MANY; i++) {
        weft_bus_listener *l;

        if (weft_bus_listen(b, &l, "t", NULL, NULL, ignore_item, NULL) != WEFT_OK)
            abort();
        subs[i] = l;
        atomic_fetch_add_explicit(&l->sub.refs, HOLDERS - 1, memory_order_relaxed);
    }
    weft_bus_close(b, 1000);
    give_back_by_many(subs, MANY, unref_sub);
    all_memory_is_back();
}

static void unref_server(void *s)
{
    weft_server_unref(s);
}

static void the_last_holder_of_a_server_frees_it(void) /* SERVER_LAST */
{
    enum { FEW = 10 };
    weft_server_opts opts = {.size = sizeof opts, .io_threads = 1, .inline_handlers = true};
    void *servers[FEW];

    count_memory();
    for (int i = 0; i < FEW; i++) {
        weft_server *s = NULL;

        CU_ASSERT_EQUAL_FATAL(weft_server_new(&s, &opts), WEFT_OK);
        for (int k = 1; k < HOLDERS; k++)
            weft_server_ref(s);
        servers[i] = s;
    }
    give_back_by_many(servers, FEW, unref_server);
    all_memory_is_back();
}

static void unref_group(void *g)
{
    weft_group_unref(g);
}

static void the_last_holder_of_a_group_frees_it(void) /* GROUP_LAST */
{
    void *groups[MANY];

    count_memory();
    for (int i = 0; i < MANY; i++) {
        weft_group *g = NULL;

        CU_ASSERT_EQUAL_FATAL(weft_group_new(&g), WEFT_OK);
        for (int k = 1; k < HOLDERS; k++)
            weft_group_ref(g);
        groups[i] = g;
    }
    give_back_by_many(groups, MANY, unref_group);
    all_memory_is_back();
}

static void unref_request(void *r)
{
    request_unref(r);
}

static struct weft_request *decided_request(struct engine *e)
{
    struct weft_request *r = mem_calloc(1, sizeof *r);

    if (!r)
        abort();
    r->head = http_head_new(HTTP_ROLE_SERVER, NULL);
    r->conn = new_conn(e, -1);
    atomic_init(&r->refs, 1);
    atomic_init(&r->decided, true);
    return r;
}

static void the_last_holder_of_a_request_frees_it(void) /* REQUEST_LAST */
{
    void *requests[MANY];
    struct engine *e;

    count_memory();
    e = new_engine();
    for (int i = 0; i < MANY; i++) {
        struct weft_request *r = decided_request(e);

        for (int k = 1; k < HOLDERS; k++)
            request_ref(r);
        requests[i] = r;
    }
    give_back_by_many(requests, MANY, unref_request);
    engine_unref(e);
    all_memory_is_back();
}

/* Each holder has one link of every fan. */
struct fan_holder {
    struct node *links[MANY];
};

static void *free_links(void *arg)
{
    struct fan_holder *h = arg;

    for (int i = 0; i < MANY; i++)
        outbox_free_link(msg_link_of(h->links[i]));
    return NULL;
}

static void the_last_link_of_a_fan_frees_it(void) /* FAN_LAST */
{
    static struct fan_holder holders[HOLDERS];
    struct crew crew = {0};

    count_memory();
    for (int i = 0; i < MANY; i++) {
        weft_msg *m = msg_alloc(FRAME_TEXT, 1);
        struct node *n;
        unsigned made;

        if (!m)
            abort();
        msg_seal(m, 1);
        n = outbox_new_fan(m, HOLDERS, &made);
        CU_ASSERT_PTR_NOT_NULL_FATAL(n);
        CU_ASSERT_EQUAL(made, HOLDERS);
        for (int k = 0; k < HOLDERS; k++, n = n->next)
            holders[k].links[i] = n;
        CU_ASSERT_PTR_NULL(n);
        weft_msg_unref(m); /* the fan has a reference of its own */
    }
    for (int i = 0; i < HOLDERS; i++)
        crew_add(&crew, free_links, &holders[i]);
    crew_join(&crew);
    all_memory_is_back();
}

/* A large broadcast has several, and each is gone with its own links. */
static void a_fan_has_no_more_links_than_are_asked_for(void)
{
    unsigned made = 0, left = 1000, fans = 0, wrong = 0;
    weft_msg *m;

    count_memory();
    m = msg_alloc(FRAME_BINARY, 1000);
    if (!m)
        abort();
    msg_seal(m, 1000);
    while (left) {
        struct node *n = outbox_new_fan(m, left, &made);
        unsigned links = 0;

        CU_ASSERT_PTR_NOT_NULL_FATAL(n);
        fans++;
        while (n) {
            struct node *next = n->next;

            wrong += msg_link_of(n)->msg != m || msg_link_of(n)->wire_bytes != 1004;
            links++;
            outbox_free_link(msg_link_of(n));
            n = next;
        }
        CU_ASSERT_EQUAL(links, made);
        CU_ASSERT_TRUE_FATAL(made > 0 && made <= left);
        left -= made;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_TRUE(fans > 1);
    CU_ASSERT_EQUAL(atomic_load(&m->refs), 1);
    mem_fail_at(1);
    CU_ASSERT_PTR_NULL(outbox_new_fan(m, 3, &made));
    mem_fail_at(0);
    CU_ASSERT_EQUAL(atomic_load(&m->refs), 1);
    weft_msg_unref(m);
    all_memory_is_back();
}

/* --- groups: one thread walks, another enters and takes out --- */

enum { MEMBERS = 4 };

struct walk {
    weft_group *group;
    unsigned rounds, visited, strange;
    uint64_t id_min, id_max;
    _Atomic bool has_begun, stop;
};

static bool look_at_member(weft_conn *c, void *arg)
{
    struct walk *w = arg;

    w->visited++;
    w->strange += weft_conn_id(c) < w->id_min || weft_conn_id(c) > w->id_max;
    return true;
}

static void *walk_about(void *arg)
{
    struct walk *w = arg;

    while (!atomic_load_explicit(&w->stop, memory_order_relaxed)) {
        weft_group_each(w->group, look_at_member, w);
        atomic_store_explicit(&w->has_begun, true, memory_order_relaxed);
        sched_yield();
    }
    return NULL;
}

static void walk_while(void (*change)(weft_group *g, weft_conn **conns, unsigned rounds))
{
    struct walk w = {0};
    weft_conn *conns[MEMBERS];
    struct crew crew = {0};
    struct engine *e;

    count_memory();
    e = new_engine();
    CU_ASSERT_EQUAL_FATAL(weft_group_new(&w.group), WEFT_OK);
    for (int i = 0; i < MEMBERS; i++) {
        conns[i] = new_conn(e, -1);
        CU_ASSERT_EQUAL(weft_group_add(w.group, conns[i]), WEFT_OK);
    }
    w.id_min = weft_conn_id(conns[0]);
    w.id_max = weft_conn_id(conns[MEMBERS - 1]);
    crew_add(&crew, walk_about, &w);
    while (!atomic_load_explicit(&w.has_begun, memory_order_relaxed)) /* relaxed: nothing else is read by it */
        sched_yield();
    change(w.group, conns, crew_rounds(50000));
    atomic_store_explicit(&w.stop, true, memory_order_relaxed);
    crew_join(&crew);
    CU_ASSERT_EQUAL(w.strange, 0);
    CU_ASSERT_TRUE(w.visited > 0);
    CU_ASSERT_EQUAL(weft_group_count(w.group), MEMBERS);
    for (int i = 0; i < MEMBERS; i++) {
        group_leave_all(conns[i]);
        weft_conn_unref(conns[i]);
    }
    weft_group_unref(w.group);
    engine_unref(e);
    all_memory_is_back();
}

static void take_out_and_enter(weft_group *g, weft_conn **conns, unsigned rounds)
{
    unsigned seed = 11;

    for (unsigned i = 0; i < rounds; i++) {
        weft_conn *c = conns[crew_random(&seed) % MEMBERS];

        CU_ASSERT_EQUAL(weft_group_remove(g, c), WEFT_OK);
        CU_ASSERT_EQUAL(weft_group_add(g, c), WEFT_OK);
        if (crew_random(&seed) % 4 == 0)
            sched_yield();
    }
}

static void an_array_is_changed_only_when_nobody_reads_it(void) /* ARRAY_LAST, MEMBER_LAST */
{
    walk_while(take_out_and_enter);
}

/* The reader of a snapshot is the last that knows the member, and then its place in the connection is taken
 * again. */
struct reader_of_place {
    weft_group *group;
    unsigned rounds;
    _Atomic unsigned step; /* relaxed: it must not order what the member's count is to order */
};

static void wait_for_step(_Atomic unsigned *step, unsigned wanted)
{
    while (atomic_load_explicit(step, memory_order_relaxed) < wanted)
        sched_yield();
}

static bool hold_member_while_it_is_removed(weft_conn *c, void *arg)
{
    struct reader_of_place *r = arg;
    unsigned now = atomic_load_explicit(&r->step, memory_order_relaxed);

    (void)c;
    atomic_store_explicit(&r->step, now + 1, memory_order_relaxed);
    wait_for_step(&r->step, now + 2);
    return true;
}

static void *read_place(void *arg)
{
    struct reader_of_place *r = arg;

    for (unsigned i = 0; i < r->rounds; i++) {
        wait_for_step(&r->step, 4 * i);
        weft_group_each(r->group, hold_member_while_it_is_removed, r);
        atomic_store_explicit(&r->step, 4 * i + 3, memory_order_relaxed);
    }
    return NULL;
}

/* Its place stands in the connection, or, while `other` has that, is a block of its own. */
static void leave_and_enter_while_read(bool is_far)
{
    struct reader_of_place r = {.rounds = crew_rounds(2000)};
    struct crew crew = {0};
    struct engine *e;
    weft_group *other;
    weft_conn *c;

    count_memory();
    e = new_engine();
    c = new_conn(e, -1);
    CU_ASSERT_EQUAL_FATAL(weft_group_new(&other), WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(weft_group_new(&r.group), WEFT_OK);
    if (is_far)
        CU_ASSERT_EQUAL(weft_group_add(other, c), WEFT_OK);
    CU_ASSERT_EQUAL(weft_group_add(r.group, c), WEFT_OK);
    crew_add(&crew, read_place, &r);
    for (unsigned i = 0; i < r.rounds; i++) {
        wait_for_step(&r.step, 4 * i + 1);
        CU_ASSERT_EQUAL(weft_group_remove(r.group, c), WEFT_OK);
        atomic_store_explicit(&r.step, 4 * i + 2, memory_order_relaxed);
        wait_for_step(&r.step, 4 * i + 3);
        CU_ASSERT_EQUAL(weft_group_add(r.group, c), WEFT_OK);
        CU_ASSERT_PTR_EQUAL(c->first_member.group, is_far ? other : r.group);
        CU_ASSERT_EQUAL(c->first_member.next != NULL, is_far);
        atomic_store_explicit(&r.step, 4 * i + 4, memory_order_relaxed);
    }
    crew_join(&crew);
    group_leave_all(c);
    weft_conn_unref(c);
    weft_group_unref(r.group);
    weft_group_unref(other);
    engine_unref(e);
    all_memory_is_back();
}

static void a_place_is_taken_again_only_when_nobody_reads_it(void)
{
    leave_and_enter_while_read(false);
}

static void a_membership_is_freed_only_when_nobody_reads_it(void) /* MEMBER_LAST */
{
    leave_and_enter_while_read(true);
}

/* In any order, and again: the list of its memberships hangs on the first one's place, whoever has that. */
static void a_connection_enters_and_leaves_many_groups_in_any_order(void)
{
    enum { GROUPS = 6 };
    weft_group *groups[GROUPS];
    bool is_in[GROUPS] = {false};
    unsigned seed = 3, wrong = 0;
    struct engine *e;
    weft_conn *c;

    count_memory();
    e = new_engine();
    c = new_conn(e, -1);
    for (int i = 0; i < GROUPS; i++)
        CU_ASSERT_EQUAL_FATAL(weft_group_new(&groups[i]), WEFT_OK);
    for (unsigned round = 0; round < 20000; round++) {
        unsigned i = crew_random(&seed) % GROUPS;

        wrong += (is_in[i] ? weft_group_remove : weft_group_add)(groups[i], c) != WEFT_OK;
        is_in[i] = !is_in[i];
        for (unsigned k = 0; k < GROUPS; k++)
            wrong += weft_group_count(groups[k]) != is_in[k];
    }
    CU_ASSERT_EQUAL(wrong, 0);
    group_leave_all(c);
    for (int i = 0; i < GROUPS; i++) {
        CU_ASSERT_EQUAL(weft_group_count(groups[i]), 0);
        weft_group_unref(groups[i]);
    }
    CU_ASSERT_EQUAL(atomic_load(&c->refs), 1);
    weft_conn_unref(c);
    engine_unref(e);
    all_memory_is_back();
}

/* --- how it ended --- */

struct asker {
    weft_conn *conn;
    weft_close_info info;
};

static void *ask_until_closed(void *arg)
{
    struct asker *a = arg;

    while (weft_conn_close_info(a->conn, &a->info) != WEFT_OK)
        sched_yield();
    return NULL;
}

static void whoever_finds_it_closed_finds_how(void) /* CLOSE_INFO */
{
    for (int i = 0; i < 20; i++) {
        struct asker asker = {0};
        struct crew crew = {0};
        struct engine *e;
        int ends[2];

        count_memory();
        e = new_engine();
        CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        asker.conn = new_conn(e, ends[0]);
        thr_enter_io();
        conn_register(asker.conn);
        crew_add(&crew, ask_until_closed, &asker);
        asker.conn->end.reason = mem_strdup("a reason"); /* as with the peer's Close */
        conn_die(asker.conn, WEFT_E_TIMEOUT, true);
        thr_exit_io();
        crew_join(&crew);
        CU_ASSERT_STRING_EQUAL(asker.info.reason, "a reason");
        CU_ASSERT_EQUAL(asker.info.error, WEFT_E_TIMEOUT);
        CU_ASSERT_TRUE(asker.info.by_peer);
        CU_ASSERT_FALSE(asker.info.clean);
        weft_conn_unref(asker.conn);
        engine_unref(e);
        close(ends[1]);
        all_memory_is_back();
    }
}

/* --- the program's pointer --- */

static void *wait_for_data(void *arg)
{
    int *data;

    while ((data = weft_conn_data(arg)) == NULL)
        sched_yield();
    return (void *)(uintptr_t)*data;
}

static void whoever_finds_the_data_finds_what_it_points_to(void) /* CONN_DATA */
{
    static int written[50];
    struct engine *e;

    count_memory();
    e = new_engine();
    for (int i = 0; i < 50; i++) {
        weft_conn *c = new_conn(e, -1);
        pthread_t reader;
        void *found = NULL;

        CU_ASSERT_EQUAL_FATAL(pthread_create(&reader, NULL, wait_for_data, c), 0);
        written[i] = i + 1;
        weft_conn_set_data(c, &written[i]);
        pthread_join(reader, &found);
        CU_ASSERT_EQUAL((uintptr_t)found, (uintptr_t)i + 1);
        weft_conn_unref(c);
    }
    engine_unref(e);
    all_memory_is_back();
}

/* --- what engine_stop waits for ---
 *
 * It joins the threads behind the wait, which orders the same once more; here is the wait alone. */
struct last_act {
    struct engine *engine;
    int done; /* plain: only the word that is waited for carries it */
};

enum { WAIT_MS = 10000 };

static void *end_the_last_callback(void *arg)
{
    struct last_act *a = arg;

    a->done = 1;
    engine_one_less(a->engine);
    return NULL;
}

static void who_sees_none_alive_sees_what_their_callbacks_did(void) /* ALIVE */
{
    count_memory();
    for (int i = 0; i < 20; i++) {
        static struct last_act a; /* static, so that every access to it is looked at */
        struct crew crew = {0};

        a = (struct last_act){.engine = new_engine()};
        atomic_store(&a.engine->alive, 1);
        crew_add(&crew, end_the_last_callback, &a);
        CU_ASSERT_TRUE(engine_wait_for_zero(&a.engine->alive, clock_now_ms() + WAIT_MS));
        CU_ASSERT_EQUAL(a.done, 1);
        crew_join(&crew);
        engine_unref(a.engine);
    }
    all_memory_is_back();
}

static void *accept_no_more(void *arg)
{
    struct last_act *a = arg;

    a->done = 1;
    thr_enter_io();
    listener_close_all(a->engine);
    thr_exit_io();
    return NULL;
}

static void who_sees_that_none_listens_sees_what_was_accepted(void) /* LISTENING */
{
    count_memory();
    for (int i = 0; i < 20; i++) {
        static struct last_act a; /* static, so that every access to it is looked at */
        struct crew crew = {0};

        a = (struct last_act){.engine = new_engine()};
        atomic_store(&a.engine->listening, 1);
        crew_add(&crew, accept_no_more, &a);
        CU_ASSERT_TRUE(engine_wait_for_zero(&a.engine->listening, clock_now_ms() + WAIT_MS));
        CU_ASSERT_EQUAL(a.done, 1);
        crew_join(&crew);
        engine_unref(a.engine);
    }
    all_memory_is_back();
}

static void a_wait_for_zero_ends_when_its_time_is_over(void)
{
    _Atomic uint32_t word = 1;
    uint64_t until_ms = clock_now_ms() + 20;

    CU_ASSERT_FALSE(engine_wait_for_zero(&word, until_ms));
    CU_ASSERT_TRUE(clock_now_ms() >= until_ms);
    atomic_store(&word, 0);
    CU_ASSERT_TRUE(engine_wait_for_zero(&word, 0));
}

/* --- events --- */

static void *take_one_event(void *arg)
{
    struct weft_conn *c = arg;

    while (!c->todo) {
        take_events(c);
        sched_yield();
    }
    return (void *)(uintptr_t)(c->fail_code + (c->session.fault != NULL));
}

static void whoever_takes_an_event_finds_what_belongs_to_it(void) /* CONN_EVENT */
{
    struct engine *e;

    count_memory();
    e = new_engine();
    for (int i = 0; i < 50; i++) {
        struct weft_conn *c = new_conn(e, -1);
        pthread_t worker;
        void *found = NULL;

        CU_ASSERT_EQUAL_FATAL(pthread_create(&worker, NULL, take_one_event, c), 0);
        thr_enter_io();
        c->fail_code = 1002;
        c->session.fault = "a reason";
        conn_notify(c, CONN_EVENT_FAILED);
        thr_exit_io();
        pthread_join(worker, &found);
        CU_ASSERT_EQUAL((uintptr_t)found, 1003);
        CU_ASSERT_EQUAL(c->todo, CONN_EVENT_FAILED);
        e->io_threads[0]->ready = NULL;
        e->io_threads[0]->ready_count = 0;
        conn_unref(c);
    }
    engine_unref(e);
    all_memory_is_back();
}

/* --- the dirty list --- */

struct linker {
    struct io_thread *io;
    struct weft_conn *conn;
    unsigned rounds;
    _Atomic unsigned *running;
};

/* Twice, and again as soon as it was looked at. Relaxed: what the look left is to be ordered by the link. */
static void *link_again_and_again(void *arg)
{
    struct linker *l = arg;

    for (unsigned i = 0; i < l->rounds; i++) {
        io_thread_link_dirty(l->io, l->conn);
        io_thread_link_dirty(l->io, l->conn);
        while (atomic_load_explicit(&l->conn->on_dirty, memory_order_relaxed))
            sched_yield();
    }
    atomic_fetch_sub_explicit(l->running, 1, memory_order_relaxed);
    return NULL;
}

static void a_connection_is_linked_once_however_many_link_it(void) /* C5, DIRTY */
{
    enum { LINKERS = 3 }; /* the last two share a connection */
    struct linker linkers[LINKERS];
    struct crew crew = {0};
    _Atomic unsigned running = LINKERS;
    struct engine *e;
    struct weft_conn *c[2];

    count_memory();
    e = new_engine();
    for (int i = 0; i < 2; i++) {
        c[i] = new_conn(e, -1);
        c[i]->state = CONN_DEAD; /* to look at it is nothing */
    }
    for (int i = 0; i < LINKERS; i++) {
        linkers[i] = (struct linker){
            .io = e->io_threads[0], .conn = c[i != 0], .rounds = crew_rounds(30000), .running = &running};
        crew_add(&crew, link_again_and_again, &linkers[i]);
    }
    thr_enter_io();
    while (atomic_load_explicit(&running, memory_order_relaxed)) {
        look_at_dirty(e->io_threads[0]);
        sched_yield();
    }
    crew_join(&crew);
    look_at_dirty(e->io_threads[0]);
    thr_exit_io();
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(atomic_load(&c[i]->refs), 1); /* each link had one reference, and gave it back */
        CU_ASSERT_FALSE(atomic_load(&c[i]->on_dirty));
        conn_unref(c[i]);
    }
    CU_ASSERT_TRUE(stack_is_empty(&e->io_threads[0]->dirty));
    engine_unref(e);
    all_memory_is_back();
}

static void what_is_pushed_behind_the_look_links_it_again(void) /* C5 */
{
    struct engine *e;
    struct io_thread *io;
    struct weft_conn *c;

    count_memory();
    e = new_engine();
    io = e->io_threads[0];
    c = new_conn(e, -1);
    c->state = CONN_DEAD;
    thr_enter_io();
    for (int i = 0; i < 3; i++) {
        io_thread_link_dirty(io, c);
        io_thread_link_dirty(io, c);
        CU_ASSERT_EQUAL(atomic_load(&c->refs), 2);
        look_at_dirty(io);
        CU_ASSERT_EQUAL(atomic_load(&c->refs), 1);
    }
    stack_close(&io->dirty);
    io_thread_link_dirty(io, c); /* the thread has ended: nothing is kept */
    CU_ASSERT_EQUAL(atomic_load(&c->refs), 1);
    thr_exit_io();
    conn_unref(c);
    engine_unref(e);
    all_memory_is_back();
}

/* --- the store-load race of C7: see test_wake.c for the form ---
 *
 * The inbox is at its mark. The I/O thread stops reading while the worker handles all there is: either the
 * I/O thread sees that it was handled, or the worker sees that reading has stopped. If neither does, reading
 * never goes on. */
struct pause_race {
    struct meeting start, end;
    struct engine *engine;
    struct weft_conn *conn;
    struct rounds rounds;
    uintptr_t lost, paused;
};

static void delay(unsigned *seed, unsigned most)
{
    for (unsigned i = crew_random(seed) % most; i; i--)
        atomic_signal_fence(memory_order_seq_cst); /* a turn of an empty loop */
}

static void *worker_in_race(void *arg)
{
    struct pause_race *r = arg;
    struct run run = {.c = r->conn, .opts = &r->engine->settings.opts};
    unsigned seed = 5;

    crew_pin(1);
    for (unsigned round = 1;; round++) {
        run.uncounted = 2;
        run.uncounted_bytes = 2;
        meeting_wait(&r->start, 1, round);
        delay(&seed, 64);
        count_handled(&run);
        resume_reading(&run, true);
        meeting_wait(&r->end, 1, round);
        if (rounds_are_over(&r->rounds, round))
            return NULL;
    }
}

/* As if two messages had been put since, and the dirty list had been looked at. */
static void begin_again(struct weft_conn *c)
{
    struct node *n = stack_take_all(&c->home->io->dirty);

    if (n) {
        atomic_store(&c->on_dirty, false);
        conn_unref(c);
    }
    atomic_store(&c->read_paused, false);
    c->in_put += 2;
    c->in_put_bytes += 2;
}

static void *io_in_race(void *arg)
{
    struct pause_race *r = arg;
    struct weft_conn *c = r->conn;
    unsigned seed = 6;

    crew_pin(0);
    thr_enter_io();
    for (unsigned round = 1;; round++) {
        bool paused;

        begin_again(c);
        rounds_look_at_clock(&r->rounds, round);
        meeting_wait(&r->start, 0, round);
        delay(&seed, 16);
        paused = pause_for_inbox(c);
        meeting_wait(&r->end, 0, round);
        r->paused += paused;
        r->lost += paused && atomic_load(&c->read_paused);
        r->lost += !paused && atomic_load(&c->handled) != c->in_put;
        if (rounds_are_over(&r->rounds, round))
            break;
    }
    begin_again(c);
    thr_exit_io();
    return NULL;
}

static void reading_that_stops_is_told_to_go_on(void) /* PAUSE_LOOK */
{
    static struct pause_race r;
    struct crew crew = {0};

    count_memory();
    memset(&r, 0, sizeof r);
    r.engine = new_engine();
    r.conn = new_conn(r.engine, -1);
    rounds_begin(&r.rounds, crew_rounds(cpu_count() > 1 ? 500000 : 3000));
    crew_add(&crew, worker_in_race, &r);
    crew_add(&crew, io_in_race, &r);
    crew_join(&crew);
    CU_ASSERT_EQUAL(r.lost, 0);
    CU_ASSERT_TRUE(r.paused > 0);
    conn_unref(r.conn);
    engine_unref(r.engine);
    all_memory_is_back();
}

static const struct unit_case cases[] = {
    CASE(the_last_holder_of_a_connection_frees_it),
    CASE(the_last_holder_of_an_engine_frees_it),
    CASE(the_last_holder_of_a_server_frees_it),
    CASE(the_last_holder_of_a_subscription_frees_it),
    CASE(the_last_holder_of_a_group_frees_it),
    CASE(the_last_holder_of_a_request_frees_it),
    CASE(the_last_link_of_a_fan_frees_it),
    CASE(a_fan_has_no_more_links_than_are_asked_for),
    CASE(an_array_is_changed_only_when_nobody_reads_it),
    CASE(a_place_is_taken_again_only_when_nobody_reads_it),
    CASE(a_membership_is_freed_only_when_nobody_reads_it),
    CASE(a_connection_enters_and_leaves_many_groups_in_any_order),
    CASE(whoever_finds_it_closed_finds_how),
    CASE(whoever_finds_the_data_finds_what_it_points_to),
    CASE(who_sees_none_alive_sees_what_their_callbacks_did),
    CASE(who_sees_that_none_listens_sees_what_was_accepted),
    CASE(a_wait_for_zero_ends_when_its_time_is_over),
    CASE(whoever_takes_an_event_finds_what_belongs_to_it),
    CASE(a_connection_is_linked_once_however_many_link_it),
    CASE(what_is_pushed_behind_the_look_links_it_again),
    CASE(reading_that_stops_is_told_to_go_on),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "edges", cases, sizeof cases / sizeof cases[0]);
}
