/* Waiting for a turn, and canceling who waits. */
#include "sync/turn.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "sync/cancel.h"
#include "unit.h"
#include "weft/error.h"

static void a_wait_for_a_turn_that_is_over_returns_at_once(void)
{
    struct turn t;
    uint32_t seen;

    turn_init(&t);
    seen = turn_look(&t);
    turn_next(&t);
    CU_ASSERT_NOT_EQUAL(turn_look(&t), seen);
    CU_ASSERT_EQUAL(turn_wait(&t, seen, TURN_NO_END_NS), WEFT_OK);
    CU_ASSERT_EQUAL(turn_wait_anyhow(&t, seen, TURN_NO_END_NS), WEFT_OK);
}

static void a_wait_ends_when_its_time_is_up_and_not_before(void)
{
    uint64_t began_ns = clock_now_ns();
    struct turn t;

    turn_init(&t);
    CU_ASSERT_EQUAL(turn_wait(&t, turn_look(&t), turn_until_ns(30)), WEFT_E_TIMEOUT);
    CU_ASSERT(clock_now_ns() - began_ns >= 30000000);
    CU_ASSERT_EQUAL(turn_wait(&t, turn_look(&t), 0), WEFT_E_TIMEOUT);
    CU_ASSERT_EQUAL(turn_until_ns(UINT32_MAX), TURN_NO_END_NS);
}

/* The number of the turn wraps around. */
static void turns_go_on_behind_the_largest_number(void)
{
    struct turn t;
    uint32_t seen;

    atomic_init(&t.word, UINT32_MAX);
    seen = turn_look(&t);
    turn_next(&t);
    CU_ASSERT_EQUAL(turn_look(&t), 0);
    CU_ASSERT_EQUAL(turn_wait(&t, seen, TURN_NO_END_NS), WEFT_OK);
}

/* --- between threads --- */

/* The number of the turn says whose move it is, and nothing else orders the moves. */
struct relay {
    struct turn turn;
    unsigned plain; /* written by who has the move */
    unsigned moves, players;
};

struct player {
    struct relay *relay;
    unsigned number;
};

static void *play(void *arg)
{
    struct player *p = arg;
    struct relay *r = p->relay;

    for (unsigned i = 0; i < r->moves; i++) {
        uint32_t seen;
        while ((seen = turn_look(&r->turn)) / 2 % r->players != p->number)
            turn_wait(&r->turn, seen, TURN_NO_END_NS);
        r->plain++;
        turn_next(&r->turn);
    }
    return NULL;
}

static void no_move_is_missed_by_any_of_four(void)
{
    struct relay r = {.moves = unit_is_slow() ? 500 : 5000, .players = 4};
    struct player players[4];
    pthread_t threads[4];

    turn_init(&r.turn);
    for (unsigned i = 0; i < 4; i++) {
        players[i] = (struct player){&r, i};
        pthread_create(&threads[i], NULL, play, &players[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CU_ASSERT_EQUAL(r.plain, 4 * r.moves);
}

/* Nothing but the turn says that the letter may be read. */
struct post {
    struct turn turn;
    unsigned letter;
};

static void *write_letter(void *arg)
{
    struct post *p = arg;

    p->letter = 7;
    turn_next(&p->turn);
    return NULL;
}

static void what_was_written_before_the_turn_is_seen_in_it(void)
{
    for (int i = 0; i < 200; i++) {
        struct post p = {.letter = 0};
        pthread_t writer;
        uint32_t seen;

        turn_init(&p.turn);
        seen = turn_look(&p.turn);
        pthread_create(&writer, NULL, write_letter, &p);
        while (turn_look(&p.turn) == seen)
            turn_wait(&p.turn, seen, TURN_NO_END_NS);
        CU_ASSERT_EQUAL(p.letter, 7);
        pthread_join(writer, NULL);
    }
}

/* --- canceling --- */

static void without_a_scope_nothing_is_canceled(void)
{
    struct cancel_hook h = {0};

    CU_ASSERT(!cancel_is_fired());
    CU_ASSERT(cancel_add(&h));
    CU_ASSERT(cancel_remove(&h));
}

static void a_scope_that_was_fired_cancels_all_further_waits(void)
{
    struct cancel_scope s;
    struct turn t;

    turn_init(&t);
    cancel_init(&s);
    cancel_enter(&s);
    CU_ASSERT(!cancel_is_fired());
    cancel_fire(&s);
    cancel_fire(&s);
    CU_ASSERT(cancel_is_fired());
    CU_ASSERT_EQUAL(turn_wait(&t, turn_look(&t), TURN_NO_END_NS), WEFT_E_CANCELED);
    CU_ASSERT_EQUAL(turn_wait_anyhow(&t, turn_look(&t), turn_until_ns(1)), WEFT_E_TIMEOUT);
    cancel_leave();
    CU_ASSERT(!cancel_is_fired());
    CU_ASSERT_EQUAL(turn_wait(&t, turn_look(&t), turn_until_ns(1)), WEFT_E_TIMEOUT);
    cancel_fini(&s);
}

static void the_innermost_scope_counts(void)
{
    struct cancel_scope outer, inner;

    cancel_init(&outer);
    cancel_init(&inner);
    cancel_enter(&outer);
    cancel_enter(&inner);
    cancel_fire(&outer);
    CU_ASSERT(!cancel_is_fired());
    cancel_leave();
    CU_ASSERT(cancel_is_fired());
    cancel_leave();
    cancel_fini(&inner);
    cancel_fini(&outer);
}

struct waiter {
    struct cancel_scope scope;
    struct turn turn, *waits_for;
    int rc;
};

static void *wait_in_scope(void *arg)
{
    struct waiter *w = arg;
    uint32_t seen;

    cancel_enter(&w->scope);
    seen = turn_look(&w->turn);
    do {
        w->rc = turn_wait(&w->turn, seen, TURN_NO_END_NS);
        seen = turn_look(&w->turn);
    } while (w->rc == WEFT_OK);
    cancel_leave();
    return NULL;
}

/* Whenever it comes: before the wait, within it, or between two. */
static void a_firing_at_any_moment_ends_the_wait(void)
{
    for (int i = 0; i < (unit_is_slow() ? 200 : 2000); i++) {
        struct waiter w = {.rc = WEFT_OK};
        pthread_t thread;

        cancel_init(&w.scope);
        turn_init(&w.turn);
        pthread_create(&thread, NULL, wait_in_scope, &w);
        for (int n = i % 50; n > 0; n--)
            turn_next(&w.turn);
        cancel_fire(&w.scope);
        pthread_join(thread, NULL);
        CU_ASSERT_EQUAL(w.rc, WEFT_E_CANCELED);
        cancel_fini(&w.scope);
    }
}

/* A wait for descriptors: canceling writes the eventfd that it names. */
struct fd_hook {
    struct cancel_hook hook;
    int fd;
};

static void write_fd(struct cancel_hook *hook)
{
    eventfd_write(((struct fd_hook *)(void *)hook)->fd, 1);
}

static void *poll_in_scope(void *arg)
{
    struct waiter *w = arg;
    struct fd_hook h = {.hook.fire = write_fd, .fd = eventfd(0, EFD_CLOEXEC)};
    struct pollfd p = {.fd = h.fd, .events = POLLIN};

    cancel_enter(&w->scope);
    if (cancel_add(&h.hook)) {
        poll(&p, 1, -1);
        w->rc = cancel_remove(&h.hook) ? WEFT_OK : WEFT_E_CANCELED;
    } else {
        w->rc = WEFT_E_CANCELED;
    }
    cancel_leave();
    close(h.fd);
    return NULL;
}

static void a_wait_for_descriptors_is_ended_by_its_own_hook(void)
{
    for (int i = 0; i < 100; i++) {
        struct waiter w = {.rc = WEFT_OK};
        pthread_t thread;

        cancel_init(&w.scope);
        pthread_create(&thread, NULL, poll_in_scope, &w);
        cancel_fire(&w.scope);
        pthread_join(thread, NULL);
        CU_ASSERT_EQUAL(w.rc, WEFT_E_CANCELED);
        cancel_fini(&w.scope);
    }
}

static const struct unit_case cases[] = {
    CASE(a_wait_for_a_turn_that_is_over_returns_at_once),
    CASE(a_wait_ends_when_its_time_is_up_and_not_before),
    CASE(turns_go_on_behind_the_largest_number),
    CASE(no_move_is_missed_by_any_of_four),
    CASE(what_was_written_before_the_turn_is_seen_in_it),
    CASE(without_a_scope_nothing_is_canceled),
    CASE(a_scope_that_was_fired_cancels_all_further_waits),
    CASE(the_innermost_scope_counts),
    CASE(a_firing_at_any_moment_ends_the_wait),
    CASE(a_wait_for_descriptors_is_ended_by_its_own_hook),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "turn", cases, sizeof cases / sizeof cases[0]);
}
