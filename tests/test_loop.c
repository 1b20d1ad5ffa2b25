/* The epoll loop: what is called, in which order, and when it may sleep. Each loop has a guard that ends it
 * after some seconds, so that a lost event fails a case and does not hang it. */
#include "unit.h"
#include "io/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "weft/error.h"

#define GUARD_MS 10000
/* A sleep lasts longer in a thread that stands still, and less in one that a signal stops: one of so many is neither. */
#define TURNS 20

struct world {
    struct loop loop;
    struct timer guard;
    bool guard_fired;
    char log[512]; /* w: before_wait, a: after_wait, r: a source, t: a timer, e: turn_end */
    size_t logged;
    unsigned turns, waits, timers;
    bool gives_away;   /* what turn_end answers */
    uint32_t sleep_ms; /* what before_wait says */
    unsigned stop_after_turns;
    void (*on_timer)(struct world *w, struct timer *t);
    void (*on_turn_end)(struct world *w);
    void *arg; /* the case's own */
};

static void log_one(struct world *w, char what)
{
    if (w->logged + 1 < sizeof w->log)
        w->log[w->logged++] = what;
}

static bool turn_end(void *arg)
{
    struct world *w = arg;

    log_one(w, 'e');
    if (w->on_turn_end)
        w->on_turn_end(w);
    if (++w->turns == w->stop_after_turns)
        loop_stop(&w->loop);
    return !w->gives_away;
}

static uint32_t before_wait(void *arg)
{
    struct world *w = arg;

    log_one(w, 'w');
    w->waits++;
    return w->sleep_ms;
}

static void after_wait(void *arg)
{
    log_one(arg, 'a');
}

static void on_timer(struct timer *t, void *arg)
{
    struct world *w = arg;

    if (t == &w->guard) {
        w->guard_fired = true;
        loop_stop(&w->loop);
        return;
    }
    log_one(w, 't');
    w->timers++;
    if (w->on_timer)
        w->on_timer(w, t);
}

static void end_ready(void *end, unsigned events);

static void world_init(struct world *w)
{
    struct loop_hooks hooks = {turn_end, before_wait, after_wait, on_timer, end_ready, w};

    memset(w, 0, sizeof *w);
    w->sleep_ms = UINT32_MAX;
    CU_ASSERT_EQUAL_FATAL(loop_init(&w->loop, &hooks), WEFT_OK);
    timer_init(&w->guard);
    timer_arm(&w->loop.wheel, &w->guard, clock_now_ms() + GUARD_MS);
}

static void world_fini(struct world *w)
{
    CU_ASSERT_FALSE(w->guard_fired);
    loop_fini(&w->loop);
}

/* One end of a socket pair in the loop, the other in the test's hand. */
struct end {
    struct loop_source source;
    struct world *world;
    int fd, peer;
    unsigned calls, own_calls, events, after_turn;
    void (*then)(struct end *e);
};

static void end_ready(void *end, unsigned events)
{
    struct end *e = end;

    log_one(e->world, 'r');
    e->calls++;
    e->events = events;
    if (e->then)
        e->then(e);
}

/* For those with a handler of their own; source is their first member. */
static void end_ready_by_itself(struct loop_source *source, unsigned events)
{
    struct end *e = (struct end *)source;

    e->own_calls++;
    end_ready(e, events);
}

static void end_open(struct end *e, struct world *w)
{
    int fds[2];

    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *e = (struct end){.source = {end_ready_by_itself}, .world = w, .fd = fds[0], .peer = fds[1]};
}

static void end_close(struct end *e)
{
    close(e->fd);
    if (e->peer >= 0)
        close(e->peer);
}

static void stop(struct end *e)
{
    loop_stop(&e->world->loop);
}

static void put(int fd, size_t n)
{
    char bytes[64] = "";

    CU_ASSERT_EQUAL(write(fd, bytes, n), (ssize_t)n);
}

static void run_turns(struct world *w, unsigned turns)
{
    w->loop.stopping = false;
    w->stop_after_turns = w->turns + turns;
    loop_run(&w->loop);
}

/* --- the turn --- */

static void a_turn_waits_calls_sources_then_timers_then_its_end(void)
{
    struct world w;
    struct timer t;
    struct end a;

    world_init(&w);
    end_open(&a, &w);
    timer_init(&t);
    CU_ASSERT_EQUAL(loop_add(&w.loop, a.fd, &a), WEFT_OK);
    timer_arm(&w.loop.wheel, &t, 0);
    w.sleep_ms = 0;
    run_turns(&w, 2);
    /* The first does not ask, for a timer is due. */
    CU_ASSERT_STRING_EQUAL(w.log, "artewae");
    end_close(&a);
    world_fini(&w);
}

static void before_wait_is_asked_only_when_the_timers_allow_sleep(void)
{
    struct timespec pause = {.tv_nsec = 2000000};
    struct timer timers[3];
    struct world w;

    world_init(&w);
    w.sleep_ms = 0;
    for (int i = 0; i < 3; i++) {
        nanosleep(
            &pause,
            NULL); /* a millisecond is fired once: what is armed for it behind that is due in the next */
        timer_init(&timers[i]);
        timer_arm(&w.loop.wheel, &timers[i], 0);
        run_turns(&w, 1);
        CU_ASSERT_EQUAL(w.waits, 0);
    }
    run_turns(&w, 5);
    CU_ASSERT_EQUAL(w.waits, 5);
    CU_ASSERT_EQUAL(w.timers, 3);
    world_fini(&w);
}

static void the_loop_sleeps_no_longer_than_before_wait_allows(void)
{
    enum { SLEEP_MS = 30 };
    bool is_as_allowed = false;
    struct world w;

    world_init(&w);
    w.sleep_ms = SLEEP_MS;
    while (!is_as_allowed && w.turns < TURNS && !w.guard_fired) {
        uint64_t began = clock_now_ms(), took_ms;
        run_turns(&w, 1);
        took_ms = clock_now_ms() - began;
        /* It may end within the millisecond before. */
        is_as_allowed = took_ms >= SLEEP_MS - 1 && took_ms < 2 * SLEEP_MS;
    }
    CU_ASSERT(is_as_allowed);
    world_fini(&w);
}

static void the_loop_sleeps_no_longer_than_the_next_timer_allows(void)
{
    static const uint32_t sleeps_ms[] = {UINT32_MAX, GUARD_MS, 1u << 31, 60001};

    for (size_t i = 0; i < 4; i++) {
        struct world w;
        struct timer t;
        uint64_t deadline;

        world_init(&w);
        timer_init(&t);
        w.sleep_ms = sleeps_ms[i];
        deadline = clock_now_ms() + 30;
        timer_arm(&w.loop.wheel, &t, deadline);
        while (!w.timers && !w.guard_fired)
            run_turns(&w, 1);
        CU_ASSERT(clock_now_ms() >= deadline);
        CU_ASSERT(w.turns <= 8); /* slept, and did not spin; and not until the guard */
        world_fini(&w);
    }
}

static void note_time(struct world *w, struct timer *t)
{
    CU_ASSERT(t->deadline_ms <= w->loop.now_ms);
    CU_ASSERT(w->loop.now_ms <= clock_now_ms());
    CU_ASSERT_EQUAL(w->loop.now_ms, w->loop.now_ns / 1000000);
    if (w->timers < 10)
        timer_arm(&w->loop.wheel, t, w->loop.now_ms + 3);
    else
        loop_stop(&w->loop);
}

static void a_timer_never_fires_early_and_may_arm_itself(void)
{
    struct world w;
    struct timer t;
    uint64_t began;

    world_init(&w);
    timer_init(&t);
    w.on_timer = note_time;
    began = clock_now_ms();
    timer_arm(&w.loop.wheel, &t, began + 3);
    loop_run(&w.loop);
    CU_ASSERT_EQUAL(w.timers, 10);
    CU_ASSERT(clock_now_ms() - began >= 30);
    world_fini(&w);
}

static void the_first_turn_knows_the_time_of_run_and_not_of_init(void)
{
    struct timespec pause = {.tv_nsec = 3000000};
    struct world w;
    struct timer t;
    uint64_t now;

    world_init(&w);
    timer_init(&t);
    nanosleep(&pause, NULL);
    now = clock_now_ms();
    timer_arm(&w.loop.wheel, &t, now); /* due, though not at the time of init */
    w.sleep_ms = 0;
    run_turns(&w, 1);
    CU_ASSERT_EQUAL(w.waits, 0);
    CU_ASSERT_EQUAL(w.timers, 1);
    world_fini(&w);
}

static void the_time_is_that_behind_the_wait(void)
{
    struct world w;
    uint64_t began;

    world_init(&w);
    w.sleep_ms = 20;
    do {
        began = clock_now_ns();
        run_turns(&w, 1);
        CU_ASSERT(w.loop.now_ns <= clock_now_ns());
    } while (w.loop.now_ns - began < 19000000 && w.turns < TURNS);
    CU_ASSERT(w.loop.now_ns - began >= 19000000);
    world_fini(&w);
}

/* --- sources --- */

static void an_edge_is_told_once_and_the_next_one_again(void)
{
    struct world w;
    struct end a;

    world_init(&w);
    w.sleep_ms = 0;
    end_open(&a, &w);
    CU_ASSERT_EQUAL(loop_add(&w.loop, a.fd, &a), WEFT_OK);
    run_turns(&w, 1);
    CU_ASSERT_EQUAL(a.calls, 1);
    CU_ASSERT_EQUAL(a.events, LOOP_WRITE);
    run_turns(&w, 5);
    CU_ASSERT_EQUAL(a.calls, 1);
    put(a.peer, 3);
    run_turns(&w, 5);
    CU_ASSERT_EQUAL(a.calls, 2); /* though nobody read */
    CU_ASSERT(a.events & LOOP_READ);
    CU_ASSERT_FALSE(a.events & LOOP_END);
    put(a.peer, 3);
    run_turns(&w, 5);
    CU_ASSERT_EQUAL(a.calls, 3);
    end_close(&a);
    world_fini(&w);
}

static void a_full_socket_that_is_emptied_is_an_edge_for_writing(void)
{
    static char block[65536];
    struct world w;
    struct end a;

    world_init(&w);
    w.sleep_ms = 0;
    end_open(&a, &w);
    CU_ASSERT_EQUAL(loop_add(&w.loop, a.fd, &a), WEFT_OK);
    while (write(a.fd, block, sizeof block) > 0)
        continue;
    a.events = 0;
    run_turns(&w, 3);
    a.calls = a.events = 0;
    run_turns(&w, 3);
    CU_ASSERT_EQUAL(a.calls, 0);
    while (read(a.peer, block, sizeof block) > 0)
        continue;
    run_turns(&w, 3);
    CU_ASSERT(a.calls >= 1);
    CU_ASSERT(a.events & LOOP_WRITE);
    end_close(&a);
    world_fini(&w);
}

static void a_level_source_is_called_each_turn_until_it_was_read(void)
{
    struct world w;
    struct end a;
    uint64_t value;

    world_init(&w);
    w.sleep_ms = 0;
    a = (struct end){.source = {end_ready_by_itself},
                     .world = &w,
                     .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                     .peer = -1};
    CU_ASSERT_EQUAL(loop_add_level(&w.loop, a.fd, &a.source), WEFT_OK);
    run_turns(&w, 3);
    CU_ASSERT_EQUAL(a.calls, 0); /* that it could be written to is not told */
    CU_ASSERT_EQUAL(eventfd_write(a.fd, 1), 0);
    run_turns(&w, 3);
    CU_ASSERT_EQUAL(a.calls, 3);
    CU_ASSERT_EQUAL(a.events, LOOP_READ);
    CU_ASSERT_EQUAL(eventfd_read(a.fd, &value), 0);
    run_turns(&w, 3);
    CU_ASSERT_EQUAL(a.calls, 3);
    end_close(&a);
    world_fini(&w);
}

static void the_peers_end_is_told_with_what_is_left_to_read(void)
{
    for (int way = 0; way < 2; way++) {
        struct world w;
        struct end a;

        world_init(&w);
        w.sleep_ms = 0;
        end_open(&a, &w);
        CU_ASSERT_EQUAL(loop_add(&w.loop, a.fd, &a), WEFT_OK);
        run_turns(&w, 2);
        put(a.peer, 3);
        if (way) {
            close(a.peer);
            a.peer = -1;
        } else {
            shutdown(a.peer, SHUT_WR);
        }
        run_turns(&w, 2);
        CU_ASSERT(a.events & LOOP_END);
        CU_ASSERT(a.events & LOOP_READ);
        end_close(&a);
        world_fini(&w);
    }
}

static void a_descriptor_that_cannot_be_watched_is_a_system_error(void)
{
    struct world w;
    struct end a;
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    world_init(&w);
    end_open(&a, &w);
    CU_ASSERT_EQUAL(loop_add(&w.loop, a.fd, &a), WEFT_OK);
    CU_ASSERT_EQUAL(loop_add(&w.loop, a.fd, &a), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(errno, EEXIST);
    CU_ASSERT_EQUAL(loop_add_level(&w.loop, file, &a.source), WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(loop_add(&w.loop, -1, &a), WEFT_E_SYSTEM);
    close(file);
    end_close(&a);
    world_fini(&w);
}

/* More at once than one wait returns. */
static void many_sources_that_are_ready_together_are_all_called(void)
{
    enum { COUNT = 700 };
    struct end *ends = calloc(COUNT, sizeof *ends);
    struct world w;
    unsigned wrong = 0;

    world_init(&w);
    w.sleep_ms = 0;
    for (int i = 0; i < COUNT; i++) {
        ends[i] = (struct end){.source = {end_ready_by_itself},
                               .world = &w,
                               .fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC),
                               .peer = -1};
        wrong += loop_add(&w.loop, ends[i].fd, &ends[i]) != WEFT_OK;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    run_turns(&w, 3);
    for (int i = 0; i < COUNT; i++) {
        wrong += ends[i].calls != 1;
        end_close(&ends[i]);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    world_fini(&w);
    free(ends);
}

/* --- removed --- */

static struct end *pair_of_ends[2];
static unsigned turn_of_removal;

/* Whoever is called first removes the other, which was as ready. */
static void remove_other(struct end *e)
{
    struct end *other = pair_of_ends[pair_of_ends[0] == e];

    if (turn_of_removal != UINT32_MAX)
        return;
    turn_of_removal = e->world->turns;
    loop_remove(&e->world->loop, other->fd);
    other->after_turn = 1;
}

static void free_removed(struct world *w)
{
    if (turn_of_removal != w->turns)
        return;
    for (int i = 0; i < 2; i++)
        if (pair_of_ends[i]->after_turn) {
            end_close(pair_of_ends[i]);
            free(pair_of_ends[i]);
            pair_of_ends[i] = NULL;
        }
}

static void a_source_removed_within_a_turn_may_be_freed_at_its_end(void)
{
    struct world w;

    world_init(&w);
    w.sleep_ms = 0;
    w.on_turn_end = free_removed;
    turn_of_removal = UINT32_MAX;
    for (int i = 0; i < 2; i++) {
        pair_of_ends[i] = calloc(1, sizeof *pair_of_ends[i]);
        end_open(pair_of_ends[i], &w);
        pair_of_ends[i]->then = remove_other;
        CU_ASSERT_EQUAL(loop_add(&w.loop, pair_of_ends[i]->fd, pair_of_ends[i]), WEFT_OK);
        put(pair_of_ends[i]->peer, 1);
    }
    run_turns(&w, 5);
    CU_ASSERT((pair_of_ends[0] == NULL) != (pair_of_ends[1] == NULL));
    for (int i = 0; i < 2; i++)
        if (pair_of_ends[i]) {
            end_close(pair_of_ends[i]);
            free(pair_of_ends[i]);
        }
    world_fini(&w);
}

static void a_removed_source_is_not_called_in_later_turns_and_can_be_added_again(void)
{
    struct world w;
    struct end a;

    world_init(&w);
    w.sleep_ms = 0;
    end_open(&a, &w);
    CU_ASSERT_EQUAL(loop_add(&w.loop, a.fd, &a), WEFT_OK);
    loop_remove(&w.loop, a.fd);
    loop_remove(&w.loop, a.fd); /* twice does no harm */
    put(a.peer, 1);
    run_turns(&w, 3);
    CU_ASSERT_EQUAL(a.calls, 0);
    CU_ASSERT_EQUAL(loop_add(&w.loop, a.fd, &a), WEFT_OK);
    run_turns(&w, 3);
    CU_ASSERT_EQUAL(a.calls, 1);
    CU_ASSERT(a.events & LOOP_READ);
    end_close(&a);
    world_fini(&w);
}

/* --- stop --- */

static void stop_from_timer(struct world *w, struct timer *t)
{
    (void)t;
    loop_stop(&w->loop);
}

static void a_stop_lets_the_turn_end_and_no_other_begin(void)
{
    struct world w;
    struct timer t;
    struct end a;

    world_init(&w);
    end_open(&a, &w);
    a.then = stop;
    CU_ASSERT_EQUAL(loop_add(&w.loop, a.fd, &a), WEFT_OK);
    loop_run(&w.loop);
    CU_ASSERT_STRING_EQUAL(w.log, "ware");
    loop_run(&w.loop); /* stopped is stopped */
    CU_ASSERT_EQUAL(w.turns, 1);
    end_close(&a);
    world_fini(&w);

    world_init(&w);
    timer_init(&t);
    timer_arm(&w.loop.wheel, &t, 0);
    w.on_timer = stop_from_timer;
    loop_run(&w.loop);
    CU_ASSERT_STRING_EQUAL(w.log, "ate");
    world_fini(&w);
}

/* --- cut --- */

enum { READY = 4 };

static void cut(struct end *e)
{
    loop_cut(&e->world->loop);
}

/* So many sources that are ready at once. */
static void open_ready(struct end *ends, struct world *w, void (*then)(struct end *e))
{
    for (int i = 0; i < READY; i++) {
        end_open(&ends[i], w);
        ends[i].then = then;
        CU_ASSERT_EQUAL(loop_add(&w->loop, ends[i].fd, &ends[i]), WEFT_OK);
    }
}

static void each_was_called_once(struct end *ends)
{
    for (int i = 0; i < READY; i++) {
        CU_ASSERT_EQUAL(ends[i].calls, 1);
        CU_ASSERT_EQUAL(ends[i].events, LOOP_WRITE);
        end_close(&ends[i]);
    }
}

static void behind_a_cut_the_next_turn_goes_on_without_waiting(void)
{
    struct end ends[READY];
    struct world w;

    world_init(&w);
    w.sleep_ms = 0;
    open_ready(ends, &w, cut);
    CU_ASSERT_FALSE(loop_has_events(&w.loop));
    run_turns(&w, 1);
    CU_ASSERT_TRUE(loop_has_events(&w.loop));
    run_turns(&w, READY); /* the last one is a turn as always */
    CU_ASSERT_STRING_EQUAL(w.log, "warererere"
                                  "wae");
    CU_ASSERT_FALSE(loop_has_events(&w.loop));
    each_was_called_once(ends);
    world_fini(&w);
}

static void cut_at_second(struct end *e)
{
    if (e->world->loop.next == 2)
        loop_cut(&e->world->loop);
}

static void a_cut_holds_for_one_turn(void)
{
    struct end ends[READY];
    struct world w;

    world_init(&w);
    w.sleep_ms = 0;
    open_ready(ends, &w, cut_at_second);
    run_turns(&w, 3);
    CU_ASSERT_STRING_EQUAL(w.log, "warre"
                                  "rre"
                                  "wae");
    each_was_called_once(ends);
    world_fini(&w);

    world_init(&w);
    w.sleep_ms = 0;
    loop_cut(&w.loop); /* in no turn: forgotten when one begins */
    open_ready(ends, &w, NULL);
    run_turns(&w, 1);
    CU_ASSERT_STRING_EQUAL(w.log, "warrrre");
    each_was_called_once(ends);
    world_fini(&w);
}

static void timers_fire_only_in_a_whole_turn(void)
{
    struct end ends[READY];
    struct world w;
    struct timer t;

    world_init(&w);
    w.sleep_ms = 0;
    open_ready(ends, &w, cut);
    timer_init(&t);
    timer_arm(&w.loop.wheel, &t, 0);
    run_turns(&w, READY);
    CU_ASSERT_STRING_EQUAL(w.log, "arererer"
                                  "te");
    each_was_called_once(ends);
    world_fini(&w);
}

/* The turn that is being called has begun behind this. */
static uint64_t turn_after_ns;

static void sleep_and_cut(struct end *e)
{
    struct timespec pause = {.tv_nsec = 3000000};
    struct world *w = e->world;

    CU_ASSERT(w->loop.now_ns >= turn_after_ns);
    CU_ASSERT(w->loop.now_ns <= clock_now_ns());
    CU_ASSERT_EQUAL(w->loop.now_ms, w->loop.now_ns / 1000000);
    nanosleep(&pause, NULL);
    turn_after_ns = clock_now_ns();
    loop_cut(&w->loop);
}

static uint64_t turn_times[READY + 1];

static void note_turn(struct world *w)
{
    if (w->turns <= READY)
        turn_times[w->turns] = w->loop.now_ns;
}

static void the_clock_is_read_in_each_turn(void)
{
    struct end ends[READY];
    struct world w;

    world_init(&w);
    w.sleep_ms = 0;
    w.on_turn_end = note_turn;
    turn_after_ns = clock_now_ns();
    open_ready(ends, &w, sleep_and_cut);
    run_turns(&w, READY + 1);
    for (int i = 0; i < READY; i++)
        CU_ASSERT(turn_times[i + 1] - turn_times[i] >= 3000000);
    each_was_called_once(ends);
    world_fini(&w);
}

/* I2: its events may still be named in the turns behind, until none is left. */
static void remove_all_others(struct end *e)
{
    struct end *ends = e->world->arg;

    for (int i = 0; i < READY; i++)
        if (&ends[i] != e && !ends[i].after_turn) {
            ends[i].after_turn = 1;
            loop_remove(&e->world->loop, ends[i].fd);
        }
    loop_cut(&e->world->loop);
}

static void a_source_that_was_removed_is_named_until_no_events_are_left(void)
{
    struct end ends[READY];
    struct world w;
    unsigned calls = 0;

    world_init(&w);
    w.sleep_ms = 0;
    w.arg = ends;
    open_ready(ends, &w, remove_all_others);
    run_turns(&w, READY);
    CU_ASSERT_FALSE(loop_has_events(&w.loop));
    for (int i = 0; i < READY; i++) {
        calls += ends[i].calls;
        put(ends[i].peer, 1);
        ends[i].then = NULL;
    }
    CU_ASSERT_EQUAL(calls, READY);
    w.logged = 0;
    memset(w.log, 0, sizeof w.log);
    run_turns(&w, 3); /* all have more to tell, but the first was removed by the second */
    CU_ASSERT_STRING_EQUAL(w.log, "waewaewae");
    for (int i = 0; i < READY; i++)
        end_close(&ends[i]);
    world_fini(&w);
}

/* --- given away --- */

static void give_away(struct world *w)
{
    w->gives_away = true;
}

static void a_loop_that_is_given_away_is_left_at_once_and_goes_on_where_it_was(void)
{
    struct end ends[READY];
    struct world w;
    struct timer t;

    world_init(&w);
    w.sleep_ms = 0;
    w.on_turn_end = give_away;
    open_ready(ends, &w, cut);
    timer_init(&t);
    timer_arm(&w.loop.wheel, &t, 0);
    for (unsigned turn = 1; turn < READY; turn++) {
        CU_ASSERT_FALSE(loop_run(&w.loop));
        CU_ASSERT_EQUAL(w.turns, turn);
        CU_ASSERT_TRUE(loop_has_events(&w.loop));
    }
    CU_ASSERT_STRING_EQUAL(w.log, "arerere");
    CU_ASSERT_FALSE(loop_run(&w.loop)); /* whole, and given away again */
    CU_ASSERT_STRING_EQUAL(w.log, "arerererte");
    CU_ASSERT_FALSE(loop_has_events(&w.loop));
    each_was_called_once(ends);
    world_fini(&w);
}

static void *run_as_another(void *arg)
{
    struct world *w = arg;

    w->gives_away = false;
    w->on_turn_end = NULL;
    w->stop_after_turns = w->turns + READY;
    return (void *)(uintptr_t)loop_run(&w->loop);
}

static void another_thread_calls_the_rest(void)
{
    struct end ends[READY];
    pthread_t thread;
    struct world w;
    void *result;

    world_init(&w);
    w.sleep_ms = 0;
    w.on_turn_end = give_away;
    open_ready(ends, &w, cut);
    CU_ASSERT_FALSE(loop_run(&w.loop));
    pthread_create(&thread, NULL, run_as_another, &w);
    pthread_join(thread, &result);
    CU_ASSERT_TRUE((uintptr_t)result);
    CU_ASSERT_STRING_EQUAL(w.log, "ware"
                                  "rerere"
                                  "wae");
    each_was_called_once(ends);
    world_fini(&w);
}

/* A loop that was given away in the turn in which it was stopped is still another's. */
static void stop_and_give_away(struct world *w)
{
    loop_stop(&w->loop);
    w->gives_away = true;
}

static void who_gives_the_loop_away_does_not_see_its_stop(void)
{
    struct end ends[READY];
    struct world w;

    world_init(&w);
    w.sleep_ms = 0;
    w.on_turn_end = stop_and_give_away;
    open_ready(ends, &w, cut);
    CU_ASSERT_FALSE(loop_run(&w.loop));
    w.gives_away = false;
    CU_ASSERT_TRUE(loop_run(&w.loop)); /* the next one does, and calls nothing more */
    CU_ASSERT_STRING_EQUAL(w.log, "ware");
    for (int i = 0; i < READY; i++)
        end_close(&ends[i]);
    world_fini(&w);
}

/* However long nobody had it. */
static void whoever_goes_on_reads_the_clock_first(void)
{
    struct timespec pause = {.tv_nsec = 5000000};
    struct end ends[READY];
    struct world w;

    world_init(&w);
    w.sleep_ms = 0;
    w.on_turn_end = give_away;
    open_ready(ends, &w, cut);
    CU_ASSERT_FALSE(loop_run(&w.loop));
    nanosleep(&pause, NULL);
    turn_after_ns = clock_now_ns();
    for (int i = 0; i < READY; i++)
        ends[i].then = sleep_and_cut; /* it looks at the clock */
    for (int i = 1; i < READY; i++)
        CU_ASSERT_FALSE(loop_run(&w.loop));
    each_was_called_once(ends);
    world_fini(&w);
}

/* --- from outside --- */

static void *write_a_little_later(void *arg)
{
    struct timespec pause = {.tv_nsec = 20000000};

    nanosleep(&pause, NULL);
    eventfd_write(*(int *)arg, 1);
    return NULL;
}

static void another_threads_event_ends_the_sleep(void)
{
    struct world w;
    pthread_t thread;
    struct end a;

    world_init(&w);
    a = (struct end){.source = {end_ready_by_itself},
                     .world = &w,
                     .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
                     .peer = -1,
                     .then = stop};
    CU_ASSERT_EQUAL(loop_add_level(&w.loop, a.fd, &a.source), WEFT_OK);
    pthread_create(&thread, NULL, write_a_little_later, &a.fd);
    loop_run(&w.loop);
    pthread_join(thread, NULL);
    CU_ASSERT_FATAL(w.logged >= 4);
    CU_ASSERT_STRING_EQUAL(w.log + w.logged - 4, "ware");
    CU_ASSERT(w.turns <= 8); /* one wait, and one more for each time that the process is stopped; no spinning */
    end_close(&a);
    world_fini(&w);
}

static void on_alarm(int number)
{
    (void)number;
}

static void a_signal_ends_a_turn_and_not_the_loop(void)
{
    struct itimerval once = {.it_value = {0, 20000}}, none = {{0, 0}, {0, 0}};
    struct sigaction before, s = {.sa_handler = on_alarm};
    struct world w;

    world_init(&w);
    sigaction(SIGALRM, &s, &before);
    setitimer(ITIMER_REAL, &once, NULL);
    run_turns(&w, 1);
    setitimer(ITIMER_REAL, &none, NULL);
    sigaction(SIGALRM, &before, NULL);
    CU_ASSERT_STRING_EQUAL(w.log, "wae");
    world_fini(&w);
}

static int late_fd;
static uint64_t late_until_ms;

/* As if the thread had been stopped within its wait, until the timer is due for long; meanwhile something comes. */
static void on_late_alarm(int number)
{
    (void)number;
    if (write(late_fd, "x", 1) != 1)
        abort();
    while (clock_now_ms() < late_until_ms) {
    }
}

static void what_came_while_the_thread_was_stopped_is_called_before_the_timers(void)
{
    struct itimerval once = {.it_value = {0, 20000}}, none = {{0, 0}, {0, 0}};
    struct sigaction before, s = {.sa_handler = on_late_alarm};
    uint64_t due_ms = clock_now_ms() + 40;
    struct world w;
    struct timer t;
    struct end a;

    world_init(&w);
    end_open(&a, &w);
    timer_init(&t);
    CU_ASSERT_EQUAL(loop_add(&w.loop, a.fd, &a), WEFT_OK);
    run_turns(&w, 1); /* it can be written */
    w.logged = 0;
    memset(w.log, 0, sizeof w.log);
    timer_arm(&w.loop.wheel, &t, due_ms);
    late_fd = a.peer;
    late_until_ms = due_ms + 40;
    sigaction(SIGALRM, &s, &before);
    setitimer(ITIMER_REAL, &once, NULL);
    while (w.timers == 0 && !w.guard_fired)
        run_turns(&w, 1);
    setitimer(ITIMER_REAL, &none, NULL);
    sigaction(SIGALRM, &before, NULL);
    CU_ASSERT_PTR_NOT_NULL(strstr(w.log, "r"));
    CU_ASSERT(strchr(w.log, 'r') < strchr(w.log, 't'));
    end_close(&a);
    world_fini(&w);
}

static const struct unit_case cases[] = {
    CASE(a_turn_waits_calls_sources_then_timers_then_its_end),
    CASE(before_wait_is_asked_only_when_the_timers_allow_sleep),
    CASE(the_loop_sleeps_no_longer_than_before_wait_allows),
    CASE(the_loop_sleeps_no_longer_than_the_next_timer_allows),
    CASE(a_timer_never_fires_early_and_may_arm_itself),
    CASE(the_first_turn_knows_the_time_of_run_and_not_of_init),
    CASE(the_time_is_that_behind_the_wait),
    CASE(an_edge_is_told_once_and_the_next_one_again),
    CASE(a_full_socket_that_is_emptied_is_an_edge_for_writing),
    CASE(a_level_source_is_called_each_turn_until_it_was_read),
    CASE(the_peers_end_is_told_with_what_is_left_to_read),
    CASE(a_descriptor_that_cannot_be_watched_is_a_system_error),
    CASE(many_sources_that_are_ready_together_are_all_called),
    CASE(a_source_removed_within_a_turn_may_be_freed_at_its_end),
    CASE(a_removed_source_is_not_called_in_later_turns_and_can_be_added_again),
    CASE(a_stop_lets_the_turn_end_and_no_other_begin),
    CASE(behind_a_cut_the_next_turn_goes_on_without_waiting),
    CASE(a_cut_holds_for_one_turn),
    CASE(timers_fire_only_in_a_whole_turn),
    CASE(the_clock_is_read_in_each_turn),
    CASE(a_source_that_was_removed_is_named_until_no_events_are_left),
    CASE(a_loop_that_is_given_away_is_left_at_once_and_goes_on_where_it_was),
    CASE(another_thread_calls_the_rest),
    CASE(who_gives_the_loop_away_does_not_see_its_stop),
    CASE(whoever_goes_on_reads_the_clock_first),
    CASE(another_threads_event_ends_the_sleep),
    CASE(a_signal_ends_a_turn_and_not_the_loop),
    CASE(what_came_while_the_thread_was_stopped_is_called_before_the_timers),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "loop", cases, sizeof cases / sizeof cases[0]);
}
