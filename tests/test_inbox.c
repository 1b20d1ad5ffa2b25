/* The inbox of a connection: the queue, the state that lets one worker at a time run it, and both together
 * with a producer, a ready queue and workers, as core/io_thread.c and core/mailbox.c use them. */
#include "unit.h"
#include "crew.h"
#include "sync/inbox.h"
#include "sync/ring.h"
#include "weft/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

static void put_one(struct inbox *in, struct node *n)
{
    inbox_put(in, n, n);
}

/* --- the queue --- */

static void a_new_inbox_is_empty_and_idle(void)
{
    struct inbox in;

    inbox_init(&in);
    CU_ASSERT_PTR_NULL(inbox_take_all(&in));
    CU_ASSERT_EQUAL(atomic_load(&in.state), INBOX_IDLE);
}

static void a_chain_comes_out_as_it_was_put(void) /* I1 */
{
    struct inbox in;
    struct node n[3];

    inbox_init(&in);
    n[0].next = &n[1];
    n[1].next = &n[2];
    n[2].next = &n[0]; /* put ends the chain */
    inbox_put(&in, &n[0], &n[2]);
    CU_ASSERT_PTR_EQUAL(in.last, &n[2]);
    CU_ASSERT_PTR_EQUAL(inbox_take_all(&in), &n[0]);
    CU_ASSERT_PTR_EQUAL(n[0].next, &n[1]);
    CU_ASSERT_PTR_EQUAL(n[1].next, &n[2]);
    CU_ASSERT_PTR_NULL(n[2].next);
    CU_ASSERT_PTR_NULL(inbox_take_all(&in));
}

static void what_was_not_taken_stays_before_what_comes(void) /* I3 */
{
    struct inbox in;
    struct node n[6], *at;

    inbox_init(&in);
    for (int i = 0; i < 6; i += 2) {
        n[i].next = &n[i + 1];
        inbox_put(&in, &n[i], &n[i + 1]);
        CU_ASSERT_PTR_EQUAL(in.last, &n[i + 1]);
    }
    at = inbox_take_all(&in);
    for (int i = 0; i < 6; i++, at = at->next)
        CU_ASSERT_PTR_EQUAL(at, &n[i]);
    CU_ASSERT_PTR_NULL(at);
}

static void a_taken_chain_is_not_touched_by_the_next_put(void) /* I2, I3 */
{
    struct inbox in;
    struct node n[2];

    inbox_init(&in);
    put_one(&in, &n[0]);
    CU_ASSERT_PTR_EQUAL(inbox_take_all(&in), &n[0]);
    put_one(&in, &n[1]); /* in.last still points at what is the consumer's now */
    CU_ASSERT_PTR_NULL(n[0].next);
    CU_ASSERT_PTR_EQUAL(inbox_take_all(&in), &n[1]);
    CU_ASSERT_PTR_NULL(n[1].next);
}

/* --- the state --- */

static void only_the_step_from_idle_puts_it_on_the_ready_queue(void) /* I4 */
{
    struct inbox in;

    inbox_init(&in);
    CU_ASSERT_TRUE(inbox_notify(&in));
    CU_ASSERT_FALSE(inbox_notify(&in));
    CU_ASSERT_FALSE(inbox_notify(&in));
    inbox_begin(&in);
    CU_ASSERT_EQUAL(atomic_load(&in.state), INBOX_RUNNING);
    CU_ASSERT_FALSE(inbox_notify(&in)); /* its worker runs it once more */
}

static void a_run_that_was_not_notified_ends_idle(void)
{
    struct inbox in;

    inbox_init(&in);
    inbox_notify(&in);
    inbox_begin(&in);
    CU_ASSERT_TRUE(inbox_end(&in));
    CU_ASSERT_EQUAL(atomic_load(&in.state), INBOX_IDLE);
    CU_ASSERT_TRUE(inbox_notify(&in));
}

static void a_run_that_was_notified_does_not_end(void)
{
    struct inbox in;

    inbox_init(&in);
    inbox_notify(&in);
    inbox_begin(&in);
    inbox_notify(&in);
    CU_ASSERT_FALSE(inbox_end(&in));
    CU_ASSERT_EQUAL(atomic_load(&in.state), INBOX_NOTIFIED);
    CU_ASSERT_FALSE(inbox_notify(&in)); /* whoever runs it puts it on the queue, nobody else */
    inbox_begin(&in);
    CU_ASSERT_TRUE(inbox_end(&in));
}

static void a_run_that_yields_stays_notified(void)
{
    struct inbox in;

    for (int notified = 0; notified < 2; notified++) {
        inbox_init(&in);
        inbox_notify(&in);
        inbox_begin(&in);
        if (notified)
            inbox_notify(&in);
        inbox_yield(&in);
        CU_ASSERT_EQUAL(atomic_load(&in.state), INBOX_NOTIFIED);
        CU_ASSERT_FALSE(inbox_notify(&in));
        inbox_begin(&in);
        CU_ASSERT_TRUE(inbox_end(&in));
    }
}

/* --- the queue, two threads and no state: only INBOX_PUT orders them --- */

enum { MESSAGES_MAX = 400000 };

/* Plain fields: only the inbox carries them to the consumer. */
struct message {
    struct node node;
    uint32_t conn, number;
};

static struct message messages[MESSAGES_MAX];

struct feed {
    struct inbox in;
    unsigned count, seed;
};

static void *put_chains(void *arg)
{
    struct feed *f = arg;
    unsigned done = 0;

    while (done < f->count) {
        unsigned length = 1 + crew_random(&f->seed) % 7;
        struct node *first = &messages[done].node, *last = NULL;

        for (; length && done < f->count; length--, done++) {
            messages[done].number = done;
            if (last)
                last->next = &messages[done].node;
            last = &messages[done].node;
        }
        inbox_put(&f->in, first, last);
        if (crew_random(&f->seed) % 64 == 0)
            sched_yield();
    }
    return NULL;
}

static void all_messages_come_through_in_order(void) /* INBOX_PUT */
{
    struct feed f = {.count = crew_rounds(MESSAGES_MAX), .seed = 99};
    struct crew crew = {0};
    unsigned next = 0, wrong = 0;

    inbox_init(&f.in);
    crew_add(&crew, put_chains, &f);
    while (next < f.count && !wrong) {
        struct node *n = inbox_take_all(&f.in);

        if (!n)
            sched_yield();
        for (; n; n = n->next)
            wrong += ((struct message *)n)->number != next++;
    }
    crew_join(&crew);
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(next, f.count);
    CU_ASSERT_PTR_NULL(inbox_take_all(&f.in));
}

/* --- the whole protocol --- */

enum { CONNS_MAX = 8, WORKERS_MAX = 3, BUDGET = 5 };

struct conn {
    struct inbox in;
    _Atomic unsigned runners; /* relaxed: it must not order what the protocol is to order */
    struct node *run_list;    /* plain, left by one worker for the next */
    uint32_t next;            /* plain: the number that must come */
    uint64_t runs;            /* plain */
};

struct scene {
    struct ring ready;
    struct conn conns[CONNS_MAX];
    unsigned conn_count, messages;
    _Atomic unsigned handled, twice, reordered, stop;
    unsigned seed;
};

static void schedule(struct scene *s, struct conn *c)
{
    while (!ring_put(&s->ready, c))
        sched_yield();
}

static void *io_main(void *arg)
{
    struct scene *s = arg;
    uint32_t numbers[CONNS_MAX] = {0};

    for (unsigned done = 0; done < s->messages;) {
        unsigned conn = crew_random(&s->seed) % s->conn_count, length = 1 + crew_random(&s->seed) % 9;
        struct conn *c = &s->conns[conn];
        struct node *first = &messages[done].node, *last = NULL;

        for (; length && done < s->messages; length--, done++) {
            messages[done] = (struct message){.conn = conn, .number = numbers[conn]++};
            if (last)
                last->next = &messages[done].node;
            last = &messages[done].node;
        }
        inbox_put(&c->in, first, last);
        if (inbox_notify(&c->in))
            schedule(s, c);
        if (crew_random(&s->seed) % 32 == 0)
            sched_yield();
    }
    return NULL;
}

/* True: all that there was is handled. */
static bool handle(struct scene *s, struct conn *c)
{
    for (unsigned budget = BUDGET; budget; budget--) {
        struct message *m;

        if (!c->run_list)
            c->run_list = inbox_take_all(&c->in);
        if (!c->run_list)
            return true;
        m = (struct message *)c->run_list;
        c->run_list = m->node.next;
        if (&s->conns[m->conn] != c || m->number != c->next)
            atomic_fetch_add_explicit(&s->reordered, 1, memory_order_relaxed);
        c->next = m->number + 1;
        atomic_fetch_add_explicit(&s->handled, 1, memory_order_relaxed);
    }
    return false;
}

/* As mailbox_run: true when the connection has to go on the ready queue again. */
static bool run(struct scene *s, struct conn *c)
{
    bool is_done;

    if (atomic_fetch_add_explicit(&c->runners, 1, memory_order_relaxed) != 0)
        atomic_fetch_add_explicit(&s->twice, 1, memory_order_relaxed);
    inbox_begin(&c->in);
    c->runs++;
    is_done = handle(s, c);
    atomic_fetch_sub_explicit(&c->runners, 1, memory_order_relaxed);
    if (is_done)
        return !inbox_end(&c->in);
    inbox_yield(&c->in);
    return true;
}

static void *worker_main(void *arg)
{
    struct scene *s = arg;

    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        struct conn *c = ring_get(&s->ready);

        if (!c)
            sched_yield();
        else if (run(s, c))
            schedule(s, c);
    }
    return NULL;
}

/* Notifies without a message, as for an event: that must neither start a second run nor hide a message. */
static void *nudge_main(void *arg)
{
    struct scene *s = arg;
    unsigned seed = 31;

    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        struct conn *c = &s->conns[crew_random(&seed) % s->conn_count];

        if (inbox_notify(&c->in))
            schedule(s, c);
        sched_yield();
    }
    return NULL;
}

/* A lost notify leaves messages behind for ever: give up when nothing has moved for seconds. */
static void wait_until_handled(struct scene *s)
{
    struct timespec pause = {.tv_nsec = 1000000};
    unsigned last = 0, still_ms = 0;

    for (;;) {
        unsigned now = atomic_load_explicit(&s->handled, memory_order_relaxed);

        still_ms = now == last ? still_ms + 1 : 0;
        if (now >= s->messages || still_ms > 20000)
            break;
        last = now;
        nanosleep(&pause, NULL);
    }
    atomic_store_explicit(&s->stop, 1, memory_order_relaxed);
}

static struct scene scene;

static void play(unsigned conns, unsigned workers, bool nudged, unsigned count)
{
    struct crew crew = {0};
    unsigned in_order = 0;

    memset(&scene, 0, sizeof scene);
    scene.conn_count = conns;
    scene.messages = count;
    scene.seed = 777;
    CU_ASSERT_EQUAL_FATAL(ring_init(&scene.ready, 2 * CONNS_MAX), WEFT_OK);
    for (unsigned i = 0; i < conns; i++)
        inbox_init(&scene.conns[i].in);
    for (unsigned i = 0; i < workers; i++)
        crew_add(&crew, worker_main, &scene);
    if (nudged)
        crew_add(&crew, nudge_main, &scene);
    crew_add(&crew, io_main, &scene);
    wait_until_handled(&scene);
    crew_join(&crew);
    for (unsigned i = 0; i < conns; i++)
        in_order += scene.conns[i].next;
    CU_ASSERT_EQUAL(atomic_load(&scene.twice), 0);
    CU_ASSERT_EQUAL(atomic_load(&scene.reordered), 0);
    CU_ASSERT_EQUAL(atomic_load(&scene.handled), count);
    CU_ASSERT_EQUAL(in_order, count);
    ring_fini(&scene.ready);
}

static void one_connection_has_one_runner_and_keeps_order(void) /* I4, RUN_NOTIFY, RUN_END */
{
    play(1, WORKERS_MAX, false, crew_rounds(MESSAGES_MAX / 2));
}

static void many_connections_have_one_runner_each_and_keep_order(void)
{
    play(CONNS_MAX, WORKERS_MAX, false, crew_rounds(MESSAGES_MAX));
}

static void a_notify_without_a_message_does_no_harm(void)
{
    play(2, WORKERS_MAX, true, crew_rounds(MESSAGES_MAX / 4));
}

/* Two threads run one connection in turns, and nothing but the state hands its plain fields on: the one that
 * finds IDLE runs it at once, without a queue between. */
struct baton {
    struct inbox in;
    unsigned rounds;
    uint64_t runs; /* plain */
    _Atomic uint64_t notified_begins;
};

static void *notify_and_run(void *arg)
{
    struct baton *b = arg;

    for (unsigned i = 0; i < b->rounds; i++) {
        uint64_t begins = 0;

        if (!inbox_notify(&b->in))
            continue;
        do {
            inbox_begin(&b->in);
            b->runs++;
            begins++;
        } while (!inbox_end(&b->in));
        atomic_fetch_add_explicit(&b->notified_begins, begins, memory_order_relaxed);
    }
    return NULL;
}

static void the_next_runner_sees_what_the_last_one_did(void) /* RUN_END to RUN_NOTIFY */
{
    struct baton b = {.rounds = crew_rounds(300000)};
    struct crew crew = {0};

    inbox_init(&b.in);
    for (int i = 0; i < 3; i++)
        crew_add(&crew, notify_and_run, &b);
    crew_join(&crew);
    CU_ASSERT_TRUE(b.runs > 0);
    CU_ASSERT_EQUAL(b.runs, atomic_load(&b.notified_begins));
    CU_ASSERT_EQUAL(atomic_load(&b.in.state), INBOX_IDLE);
}

/* Two threads that tell each other relaxed how far they are, so that only the state orders what they write.
 */
enum { STEPS_MAX = 20000 };

struct steps {
    struct inbox in;
    unsigned rounds;
    _Atomic unsigned running, notified; /* rounds */
    uint32_t written[STEPS_MAX];        /* plain, one for each round */
    unsigned wrong;
};

static void wait_for_step(_Atomic unsigned *step, unsigned wanted)
{
    while (atomic_load_explicit(step, memory_order_relaxed) < wanted)
        sched_yield();
}

static void *write_and_notify(void *arg)
{
    struct steps *s = arg;

    for (unsigned i = 0; i < s->rounds; i++) {
        wait_for_step(&s->running, i + 1);
        s->written[i] = i + 1;
        if (inbox_notify(&s->in)) /* it is running: no queue stands between */
            s->wrong++;
        atomic_store_explicit(&s->notified, i + 1, memory_order_relaxed);
    }
    return NULL;
}

static void what_was_written_before_a_notify_is_seen_by_the_run_it_causes(void) /* RUN_NOTIFY to begin */
{
    static struct steps s;
    struct crew crew = {0};
    unsigned unseen = 0;

    memset(&s, 0, sizeof s);
    s.rounds = crew_rounds(STEPS_MAX);
    inbox_init(&s.in);
    inbox_notify(&s.in);
    inbox_begin(&s.in);
    crew_add(&crew, write_and_notify, &s);
    for (unsigned i = 0; i < s.rounds; i++) {
        atomic_store_explicit(&s.running, i + 1, memory_order_relaxed);
        wait_for_step(&s.notified, i + 1);
        if (inbox_end(&s.in))
            CU_FAIL("it was notified, and ended");
        inbox_begin(&s.in);
        unseen += s.written[i] != i + 1;
    }
    crew_join(&crew);
    CU_ASSERT_EQUAL(unseen, 0);
    CU_ASSERT_EQUAL(s.wrong, 0);
}

static void *begin_behind_the_yield(void *arg)
{
    struct steps *s = arg;

    for (unsigned i = 0; i < s->rounds; i += 2) {
        wait_for_step(&s->running, i + 1);
        inbox_begin(&s->in);
        s->wrong += s->written[i] != i + 1;
        s->written[i + 1] = i + 2;
        inbox_yield(&s->in);
        atomic_store_explicit(&s->running, i + 2, memory_order_relaxed);
    }
    return NULL;
}

static void a_run_that_yields_hands_on_what_it_did(void) /* RUN_END of yield */
{
    static struct steps s;
    struct crew crew = {0};
    unsigned unseen = 0;

    memset(&s, 0, sizeof s);
    s.rounds = crew_rounds(STEPS_MAX) & ~1u;
    inbox_init(&s.in);
    inbox_notify(&s.in);
    crew_add(&crew, begin_behind_the_yield, &s);
    for (unsigned i = 0; i < s.rounds; i += 2) {
        inbox_begin(&s.in);
        unseen += i && s.written[i - 1] != i;
        s.written[i] = i + 1;
        inbox_yield(&s.in);
        atomic_store_explicit(&s.running, i + 1, memory_order_relaxed);
        wait_for_step(&s.running, i + 2);
    }
    crew_join(&crew);
    CU_ASSERT_EQUAL(unseen, 0);
    CU_ASSERT_EQUAL(s.wrong, 0);
}

static const struct unit_case cases[] = {
    CASE(a_new_inbox_is_empty_and_idle),
    CASE(a_chain_comes_out_as_it_was_put),
    CASE(what_was_not_taken_stays_before_what_comes),
    CASE(a_taken_chain_is_not_touched_by_the_next_put),
    CASE(only_the_step_from_idle_puts_it_on_the_ready_queue),
    CASE(a_run_that_was_not_notified_ends_idle),
    CASE(a_run_that_was_notified_does_not_end),
    CASE(a_run_that_yields_stays_notified),
    CASE(all_messages_come_through_in_order),
    CASE(one_connection_has_one_runner_and_keeps_order),
    CASE(many_connections_have_one_runner_each_and_keep_order),
    CASE(a_notify_without_a_message_does_no_harm),
    CASE(the_next_runner_sees_what_the_last_one_did),
    CASE(what_was_written_before_a_notify_is_seen_by_the_run_it_causes),
    CASE(a_run_that_yields_hands_on_what_it_did),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "inbox", cases, sizeof cases / sizeof cases[0]);
}
