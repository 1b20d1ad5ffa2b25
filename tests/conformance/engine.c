/* The poll loop; see engine.h. One thread: a chopped case gets its 10 microseconds because a turn is shorter
 * than that when nothing large is on its way. */
#include "engine.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#define SECOND_NS    1000000000u
#define LONG_TURN_NS 5000000u

struct engine {
    const struct conf_case *const *cases;
    struct verdict *verdicts;
    size_t count;
    size_t started;
    size_t ended;
    const struct target *target;
    const struct session_options *options;
    unsigned slot_count;
    struct slot {
        struct session session;
        size_t index;
        bool busy;
    } * slots;
    struct pollfd *polled; /* of the slot of the same index; fd -1 when it is not busy */
};

static uint64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static void fill_slots(struct engine *e)
{
    for (unsigned i = 0; i < e->slot_count && e->started < e->count; i++) {
        struct slot *slot = &e->slots[i];

        if (slot->busy)
            continue;
        slot->busy = true;
        slot->index = e->started++;
        session_start(&slot->session, e->cases[slot->index], e->target, e->options, clock_ns());
    }
}

static void reap_slots(struct engine *e)
{
    for (unsigned i = 0; i < e->slot_count; i++) {
        struct slot *slot = &e->slots[i];

        if (!slot->busy || slot->session.state != GONE)
            continue;
        e->verdicts[slot->index] = verdict_of(slot->session.c, &slot->session.record);
        session_fini(&slot->session);
        slot->busy = false;
        e->ended++;
    }
}

static struct timespec until(uint64_t deadline_ns)
{
    uint64_t now_ns = clock_ns();
    uint64_t left_ns = deadline_ns == 0 ? SECOND_NS : deadline_ns > now_ns ? deadline_ns - now_ns : 0;

    return (struct timespec){.tv_sec = (time_t)(left_ns / SECOND_NS), .tv_nsec = (long)(left_ns % SECOND_NS)};
}

static void wait_for_any(struct engine *e)
{
    uint64_t first_ns = 0;
    struct timespec timeout;

    for (unsigned i = 0; i < e->slot_count; i++) {
        struct session *s = &e->slots[i].session;
        uint64_t deadline_ns = 0;

        e->polled[i] = (struct pollfd){.fd = -1};
        if (!e->slots[i].busy)
            continue;
        e->polled[i] = (struct pollfd){.fd = s->fd, .events = session_poll_events(s)};
        deadline_ns = session_deadline_ns(s);
        if (deadline_ns != 0 && (first_ns == 0 || deadline_ns < first_ns))
            first_ns = deadline_ns;
    }
    timeout = until(first_ns);
    ppoll(e->polled, e->slot_count, &timeout, NULL);
}

static void turn_slots(struct engine *e, uint64_t now_ns)
{
    for (unsigned i = 0; i < e->slot_count; i++)
        if (e->slots[i].busy)
            session_turn(&e->slots[i].session, e->polled[i].revents, now_ns);
}

/* A turn that masks or compares megabytes takes long, above all with sanitizers: the timers stand still then.
 * Short turns count, or a loop that always has something to do would never end a case. */
static void postpone_slots(struct engine *e, uint64_t busy_ns)
{
    if (busy_ns < LONG_TURN_NS)
        return;
    for (unsigned i = 0; i < e->slot_count; i++)
        if (e->slots[i].busy)
            session_postpone(&e->slots[i].session, busy_ns);
}

void engine_run(const struct conf_case *const *cases, size_t count, unsigned jobs,
                const struct target *target, const struct session_options *options, struct verdict *verdicts)
{
    struct engine e = {.cases = cases,
                       .verdicts = verdicts,
                       .count = count,
                       .target = target,
                       .options = options,
                       .slot_count = jobs};
    uint64_t now_ns;

    prctl(PR_SET_TIMERSLACK, 1UL);
    e.slots = memory_resize(NULL, jobs, sizeof *e.slots);
    e.polled = memory_resize(NULL, jobs, sizeof *e.polled);
    for (unsigned i = 0; i < jobs; i++)
        e.slots[i].busy = false;
    while (e.ended < e.count) {
        fill_slots(&e);
        wait_for_any(&e);
        now_ns = clock_ns();
        turn_slots(&e, now_ns);
        reap_slots(&e);
        postpone_slots(&e, clock_ns() - now_ns);
    }
    free(e.slots);
    free(e.polled);
}
