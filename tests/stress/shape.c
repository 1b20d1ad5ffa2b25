/* Drawing a shape; see shape.h.
 *
 * Half of the shapes are narrow: few connections, one message under way. There a wake-up that is lost has
 * nobody behind it who would make up for it, and the run stands still. The other half is broad. */
#include "shape.h"

#include <sched.h>
#include <stdio.h>

#include "chance.h"
#include "item.h"

static void draw_points(struct shape *s, uint64_t *r)
{
    static const unsigned one_in[] = {16, 64, 64, 256, 1024, 4096};

    if (chance_one_in(r, 6))
        return;
    s->points.one_in = CHANCE_OF(r, one_in);
    s->points.focus = chance_one_in(r, 2) ? chance_range(r, 2, 6) : 1;
    if (s->points.focus > 1)
        s->points.one_in = s->points.one_in / 8 + 1;
    s->points.sleep_us_max = chance_one_in(r, 3) ? 0 : 50;
    s->points.seed = chance_draw(r);
}

static void draw_machine(struct shape *s, uint64_t *r)
{
    static const unsigned cpus[] = {0, 0, 0, 1, 2};

    s->cpus = CHANCE_OF(r, cpus);
    draw_points(s, r);
}

static void draw_threads(struct shape *s, uint64_t *r)
{
    s->io_threads = chance_range(r, 1, 4);
    s->workers = chance_one_in(r, 2) ? chance_range(r, 1, 3) : chance_range(r, 1, 16);
    s->workers_max = chance_one_in(r, 2) ? s->workers : chance_range(r, s->workers, 16);
    s->normal_scheduling = chance_one_in(r, 2);
    s->separate_io = chance_one_in(r, 3);
    s->client_threads = chance_range(r, 1, 3);
}

static void draw_marks(struct shape *s, uint64_t *r)
{
    static const unsigned inbox_high[] = {1, 2, 16, 64, 1000};
    static const uint32_t outbox_high[] = {256, 1024, 65536, 65536};
    static const enum weft_slow_policy policy[] = {WEFT_SLOW_CLOSE, WEFT_SLOW_DROP_NEWEST,
                                                   WEFT_SLOW_DROP_OLDEST};

    s->inbox_high = CHANCE_OF(r, inbox_high);
    s->outbox_high_bytes = CHANCE_OF(r, outbox_high);
    s->outbox_bytes_max = chance_one_in(r, 2) ? s->outbox_high_bytes * 4ull : 1u << 20;
    s->slow_policy = CHANCE_OF(r, policy);
    s->turn_messages_max = chance_one_in(r, 3) ? chance_range(r, 1, 8) : 64;
    s->ping_interval_ms = chance_one_in(r, 3) ? 20 : 0;
}

static void draw_narrow_traffic(struct shape *s, uint64_t *r)
{
    s->connections = chance_range(r, 1, 4);
    s->senders = chance_below(r, 3);
    s->window = chance_range(r, 1, 4);
    s->answer_every = 1;
    s->burst_max = chance_range(r, 1, 64);
    s->bytes_max = chance_one_in(r, 3) ? 4096 : 16;
    s->rounds = chance_one_in(r, 2) ? chance_range(r, 1, 30) : chance_range(r, 50, 300);
}

static void draw_broad_traffic(struct shape *s, uint64_t *r)
{
    static const size_t bytes[] = {16, 16, 1024, ITEM_BYTES_MAX};
    static const unsigned answer[] = {0, 1, 16, 16};

    s->connections = chance_one_in(r, 3) ? chance_range(r, 1, CONNECTIONS_MAX) : chance_range(r, 4, 64);
    s->senders = chance_range(r, 1, SENDERS_MAX);
    s->answer_every = CHANCE_OF(r, answer);
    s->window = s->answer_every && chance_one_in(r, 2) ? s->answer_every * chance_range(r, 1, 64) : 0;
    s->burst_max = 64;
    s->bytes_max = CHANCE_OF(r, bytes);
    s->rounds = chance_range(r, 1, 4);
}

static void draw_trouble(struct shape *s, uint64_t *r)
{
    if (!chance_one_in(r, 4))
        s->end_one_in = chance_range(r, 50, 1000);
    if (chance_one_in(r, 3))
        s->slow_one_in = chance_range(r, 1, 8);
    if (chance_one_in(r, 4) && !s->inline_handlers)
        s->nap_one_in = chance_range(r, 20, 500);
    if (chance_one_in(r, 2))
        s->broadcast_us = chance_range(r, 20, 2000);
    s->churns = s->broadcast_us && chance_one_in(r, 2);
    s->stops = chance_one_in(r, 2);
}

static void draw_server(struct shape *s, uint64_t *r)
{
    draw_threads(s, r);
    s->inline_handlers = chance_one_in(r, 5);
    draw_marks(s, r);
    if (chance_one_in(r, 2))
        draw_narrow_traffic(s, r);
    else
        draw_broad_traffic(s, r);
    draw_trouble(s, r);
    s->run_ms = chance_range(r, 300, 1500);
}

static void draw_mill(struct shape *s, uint64_t *r)
{
    bool narrow = chance_one_in(r, 2);

    s->io_threads = chance_range(r, 1, 3);
    s->workers = chance_one_in(r, 2) ? chance_range(r, 1, 3) : chance_range(r, 1, 8);
    s->connections = narrow ? chance_range(r, 1, 3) : chance_range(r, 1, 64);
    s->messages = narrow ? chance_range(r, 1, 3) : chance_range(r, 1, 256);
    s->budget = chance_one_in(r, 2) ? 64 : chance_range(r, 1, 8);
    s->senders = chance_one_in(r, 2) ? 0 : chance_range(r, 1, 4);
    s->loose = chance_range(r, 1, narrow ? 2 : 64);
    s->lockstep = chance_one_in(r, 2);
    s->run_ms = chance_range(r, 100, 500);
}

void shape_draw(struct shape *s, enum shape_kind kind, uint64_t seed)
{
    uint64_t r = chance_mix(seed * 2 + (kind == SHAPE_MILL));

    *s = (struct shape){.kind = kind, .seed = seed};
    draw_machine(s, &r);
    if (kind == SHAPE_MILL)
        draw_mill(s, &r);
    else
        draw_server(s, &r);
}

static const char *policy_name(enum weft_slow_policy p)
{
    static const char *const names[] = {"close", "newest", "oldest"};
    return names[p];
}

static size_t server_text(const struct shape *s, char *text, size_t room)
{
    char workers[32] = "inline";

    if (!s->inline_handlers)
        snprintf(workers, sizeof workers, "%u-%u workers%s", s->workers, s->workers_max,
                 s->separate_io ? " apart" : "");
    return (size_t)snprintf(text, room,
                            "%u io, %s, %u conns, %u senders, %zu B, window %u/%u, marks %u/%u/%llu "
                            "%s%s%s%s%s",
                            s->io_threads, workers, s->connections, s->senders, s->bytes_max, s->window,
                            s->answer_every, s->inbox_high, s->outbox_high_bytes,
                            (unsigned long long)s->outbox_bytes_max, policy_name(s->slow_policy),
                            s->broadcast_us ? ", broadcasts" : "", s->slow_one_in ? ", slow" : "",
                            s->nap_one_in ? ", naps" : "", s->stops ? ", stops" : "");
}

static size_t mill_text(const struct shape *s, char *text, size_t room)
{
    return (size_t)snprintf(text, room,
                            "%u io, %u workers, %u conns of %u messages, %u "
                            "senders of %u, budget %u%s",
                            s->io_threads, s->workers, s->connections, s->messages, s->senders, s->loose,
                            s->budget, s->lockstep ? ", in lockstep" : "");
}

void shape_text(const struct shape *s, char *text, size_t room)
{
    const char *kind = s->kind == SHAPE_MILL ? "queues" : "server";
    size_t n = (size_t)snprintf(text, room, "--kind %s --seed %-5llu ", kind, (unsigned long long)s->seed);

    n += s->kind == SHAPE_MILL ? mill_text(s, text + n, room - n) : server_text(s, text + n, room - n);
    if (s->cpus)
        n += (size_t)snprintf(text + n, room - n, ", %u cpu", s->cpus);
    if (s->points.one_in && points_are_built_in())
        snprintf(text + n, room - n, ", points 1/%u of 1/%u", s->points.one_in, s->points.focus);
}

void shape_pin(const struct shape *s)
{
    static cpu_set_t all;
    static bool is_known;
    cpu_set_t some;
    unsigned left = s->cpus;

    if (!is_known)
        is_known = sched_getaffinity(0, sizeof all, &all) == 0;
    if (!is_known)
        return;
    some = all;
    for (unsigned cpu = 0; s->cpus && cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all) && left)
            left--;
        else
            CPU_CLR(cpu, &some);
    }
    sched_setaffinity(0, sizeof some, &some);
}
