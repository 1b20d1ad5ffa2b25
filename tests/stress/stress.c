/* weft under everything at once, shape after shape: thread counts, processors, marks, sizes and troubles
 * are drawn from a seed, and threads are held up at the labelled points of the library where those are
 * built in. Nothing may be lost, doubled, reordered or left behind.
 *
 * Each shape prints one line with its seed; `stress --kind KIND --seed N` runs that one shape again.
 *   server  the whole server over loopback: storm.h
 *   queues  the queues between threads by themselves: mill.h
 * A hand-over is a message that one thread gave to another. */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "base/mem.h"
#include "fault.h"
#include "leak.h"
#include "mill.h"
#include "shape.h"
#include "storm.h"
#include "unit.h"

static struct options {
    uint64_t seed, handovers; /* handovers: stop behind so many, of both kinds together; 0: no such end */
    unsigned shapes, seconds; /* 0: no such end */
    bool has_server, has_mill;
    bool wants_labels;
} opt = {.seed = 1, .has_server = true, .has_mill = true};

static uint64_t handovers[2]; /* by kind */

/* --- memory over many shapes --- */

#define LEVEL_SHAPES 24
#define LEVEL_KIB    (24u * 1024u)

/* What is kept for the next server has a bound: after many shapes it does not grow any more. */
static struct level {
    unsigned count;
    uint64_t first_kib, last_kib; /* most in the first shapes, and most since */
} level;

static void note_memory(void)
{
    uint64_t kib = leak_resident_kib();
    uint64_t *most = level.count < LEVEL_SHAPES ? &level.first_kib : &level.last_kib;

    level.count++;
    if (kib > *most)
        *most = kib;
}

static void check_memory(void)
{
    /* A sanitizer keeps freed memory for itself. */
    if (unit_is_slow() || level.count < 2 * LEVEL_SHAPES)
        return;
    if (level.last_kib > level.first_kib * 3 / 2 + LEVEL_KIB)
        fault("memory grows: %llu KiB after %d shapes, then %llu KiB", (unsigned long long)level.first_kib,
              LEVEL_SHAPES, (unsigned long long)level.last_kib);
}

/* --- the shapes --- */

#define SHAPE_SECONDS_MAX  60
#define SHAPE_SECONDS_SLOW 240

static void run_shape(enum shape_kind kind, uint64_t seed)
{
    static char text[512];
    uint64_t start_ns = clock_now_ns(), n;
    struct leak before = leak_look();
    struct shape s;

    shape_draw(&s, kind, seed);
    shape_text(&s, text, sizeof text);
    fault_context(text, unit_is_slow() ? SHAPE_SECONDS_SLOW : SHAPE_SECONDS_MAX);
    shape_pin(&s);
    points_set(&s.points);
    n = kind == SHAPE_MILL ? mill_run(&s) : storm_run(&s);
    handovers[kind] += n;
    points_set(&(struct points){0});
    leak_check(&before);
    note_memory();
    printf("%s: %llu hand-overs, %.1f s%s\n", text, (unsigned long long)n,
           (double)(clock_now_ns() - start_ns) / 1e9, fault_count() ? " FAILED" : ", ok");
    fflush(stdout);
}

static bool is_over(unsigned shapes, uint64_t start_ns)
{
    if (fault_count() || (opt.shapes && shapes >= opt.shapes))
        return true;
    if (opt.seconds && clock_now_ns() - start_ns >= opt.seconds * 1000000000ull)
        return true;
    return opt.handovers && handovers[SHAPE_SERVER] + handovers[SHAPE_MILL] >= opt.handovers;
}

/* The kinds take turns. */
static unsigned run_shapes(void)
{
    uint64_t start_ns = clock_now_ns();
    unsigned shapes = 0;

    for (uint64_t seed = opt.seed; !is_over(shapes, start_ns); seed++) {
        for (int kind = SHAPE_SERVER; kind <= SHAPE_MILL && !is_over(shapes, start_ns); kind++) {
            if (kind == SHAPE_MILL ? opt.has_mill : opt.has_server) {
                run_shape((enum shape_kind)kind, seed);
                shapes++;
            }
        }
    }
    return shapes;
}

/* --- the program --- */

static void usage(FILE *f)
{
    fputs("usage: stress [--kind server|queues] [--seed N] [--shapes N] "
          "[--seconds N] [--handovers N] "
          "[--labels]\n"
          "Without an end (shapes, seconds, hand-overs) it runs one shape of "
          "each kind.\n",
          f);
}

static uint64_t number(const char *text, uint64_t most)
{
    char *end;
    unsigned long long n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno || *end || end == text || *text == '-' || n > most) {
        fprintf(stderr, "stress: '%s' is not a number up to %llu\n", text, (unsigned long long)most);
        exit(2);
    }
    return n;
}

static void choose_kind(const char *name)
{
    opt.has_server = strcmp(name, "server") == 0;
    opt.has_mill = strcmp(name, "queues") == 0;
    if (!opt.has_server && !opt.has_mill) {
        fprintf(stderr, "stress: there is no kind '%s'\n", name);
        exit(2);
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option known[] = {
        {"kind", 1, 0, 'k'},      {"seed", 1, 0, 'r'},   {"shapes", 1, 0, 'c'}, {"seconds", 1, 0, 's'},
        {"handovers", 1, 0, 'n'}, {"labels", 0, 0, 'l'}, {"help", 0, 0, 'h'},   {0, 0, 0, 0}};
    int o;

    while ((o = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (o) {
        case 'k':
            choose_kind(optarg);
            break;
        case 'r':
            opt.seed = number(optarg, UINT32_MAX);
            break;
        case 'c':
            opt.shapes = (unsigned)number(optarg, UINT32_MAX);
            break;
        case 's':
            opt.seconds = (unsigned)number(optarg, 1000000);
            break;
        case 'n':
            opt.handovers = number(optarg, UINT64_MAX / 2);
            break;
        case 'l':
            opt.wants_labels = true;
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
    }
    if (!opt.shapes && !opt.seconds && !opt.handovers)
        opt.shapes = (unsigned)opt.has_server + (unsigned)opt.has_mill;
}

static void *end_at_once(void *arg)
{
    return arg;
}

/* What the process makes once and keeps: threads of a sanitizer, pools of memory, a first server. */
static void warm_up(void)
{
    pthread_t first;

    prctl(PR_SET_TIMERSLACK, 1); /* so that a short sleep is short; inherited by all threads */
    if (pthread_create(&first, NULL, end_at_once, NULL) == 0)
        pthread_join(first, NULL);
    mem_count_live(true);
}

int main(int argc, char **argv)
{
    uint64_t start_ns = clock_now_ns();
    unsigned shapes;
    bool is_good;

    read_options(argc, argv);
    warm_up();
    shapes = run_shapes();
    check_memory();
    is_good = fault_count() == 0;
    if (opt.wants_labels)
        points_print();
    printf("%u shapes, %llu hand-overs through the server, %llu through the "
           "queues, %.1f s, %llu MiB at most\n",
           shapes, (unsigned long long)handovers[SHAPE_SERVER], (unsigned long long)handovers[SHAPE_MILL],
           (double)(clock_now_ns() - start_ns) / 1e9,
           (unsigned long long)(level.last_kib > level.first_kib ? level.last_kib : level.first_kib) / 1024);
    printf("stress: %d passed, %d failed\n", is_good, !is_good);
    return is_good ? 0 : 1;
}
