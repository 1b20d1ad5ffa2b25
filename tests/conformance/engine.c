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
    const struct target *target; /* NULL: as a server */
    struct server *server;
    const struct session_options *options;
    struct choices choices; /* of the clients */
    uint64_t last_ns;       /* when a connection of a case last came or went */
    unsigned busy_count;
    unsigned slot_count;
    struct slot {
        struct session session;
        size_t index;
        bool busy;
    } * slots;
    struct pollfd *polled; /* of the slot of the same index; fd -1 when it is not busy; the listener's last */
};

static uint64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/* Says to a client that there is no case left. */
static const struct conf_case last_case = {
    .reply = &(const struct reply){.head = "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n"
                                           "Connection: close\r\n\r\n"},
    .id = "-",
    .steps = STEPS(END_TCP),
};
#define NO_INDEX SIZE_MAX

/* False: no client waits. */
static bool start_as_server(struct engine *e, struct slot *slot)
{
    int fd = server_accept(e->server);

    if (fd < 0)
        return false;
    slot->index = e->started < e->count ? e->started++ : NO_INDEX;
    session_accept(&slot->session, slot->index == NO_INDEX ? &last_case : e->cases[slot->index], fd,
                   e->options->any_host ? NULL : e->server->host, &e->choices, e->options, clock_ns());
    return true;
}

static bool start_as_client(struct engine *e, struct slot *slot)
{
    if (e->started == e->count)
        return false;
    slot->index = e->started++;
    session_start(&slot->session, e->cases[slot->index], e->target, e->options, clock_ns());
    return true;
}

static void fill_slots(struct engine *e)
{
    for (unsigned i = 0; i < e->slot_count; i++) {
        struct slot *slot = &e->slots[i];

        if (slot->busy)
            continue;
        if (!(e->target ? start_as_client(e, slot) : start_as_server(e, slot)))
            return;
        slot->busy = true;
        e->busy_count++;
        if (slot->index != NO_INDEX)
            e->last_ns = clock_ns();
    }
}

static void reap_slots(struct engine *e)
{
    for (unsigned i = 0; i < e->slot_count; i++) {
        struct slot *slot = &e->slots[i];

        if (!slot->busy || slot->session.state != GONE)
            continue;
        if (slot->index != NO_INDEX) {
            e->verdicts[slot->index] = verdict_of(slot->session.c, &slot->session.record);
            e->ended++;
            e->last_ns = clock_ns();
        }
        session_fini(&slot->session);
        slot->busy = false;
        e->busy_count--;
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
    e->polled[e->slot_count] = (struct pollfd){
        .fd = e->server && e->busy_count < e->slot_count ? e->server->listener : -1, .events = POLLIN};
    timeout = until(first_ns);
    ppoll(e->polled, e->slot_count + 1, &timeout, e->server ? &e->server->mask : NULL);
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

/* A client that comes again and again when the cases are over is not waited for for ever. */
static bool goes_on(struct engine *e)
{
    uint64_t idle_ms;

    if (e->target || e->ended < e->started)
        return e->ended < e->count;
    idle_ms = (clock_ns() - e->last_ns) / MS_NS / e->options->patience;
    return server_goes_on(e->server, e->ended == e->count, e->busy_count > 0, idle_ms);
}

static void run(struct engine *e)
{
    uint64_t now_ns;

    prctl(PR_SET_TIMERSLACK, 1UL);
    e->slots = memory_resize(NULL, e->slot_count, sizeof *e->slots);
    e->polled = memory_resize(NULL, e->slot_count + 1, sizeof *e->polled);
    for (unsigned i = 0; i < e->slot_count; i++)
        e->slots[i].busy = false;
    e->last_ns = clock_ns();
    do {
        fill_slots(e);
        wait_for_any(e);
        now_ns = clock_ns();
        turn_slots(e, now_ns);
        reap_slots(e);
        postpone_slots(e, clock_ns() - now_ns);
    } while (goes_on(e));
    for (unsigned i = 0; i < e->slot_count; i++)
        if (e->slots[i].busy)
            session_fini(&e->slots[i].session);
    free(e->slots);
    free(e->polled);
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

    run(&e);
}

void engine_serve(const struct conf_case *const *cases, size_t count, unsigned jobs, struct server *server,
                  const struct session_options *options, struct verdict *verdicts)
{
    struct engine e = {.cases = cases,
                       .verdicts = verdicts,
                       .count = count,
                       .server = server,
                       .options = options,
                       .slot_count = jobs};

    run(&e);
    for (size_t i = e.started; i < count; i++)
        verdicts[i] = verdict_of_none("not opened: no connection came");
}
