/* Holding threads up at labelled points; see points.h. */
#include "points.h"

#include "base/order.h"

#ifdef WEFT_POINTS

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "chance.h"

#define LABELS_MAX  64
#define SPIN_NS_MAX 3000

static struct points points; /* changed only while no other thread is in the library */
static _Atomic uint64_t thread_number, generation;

/* Found by name, for the same text may lie at several addresses. */
static struct {
    const char *_Atomic name;
    _Atomic uint64_t count;
} labels[LABELS_MAX];

static _Thread_local struct {
    uint64_t random, generation;
    unsigned left; /* points to pass before the next one counts */
} here;

static void count_label(const char *name)
{
    for (int i = 0; i < LABELS_MAX; i++) {
        const char *old = atomic_load_explicit(&labels[i].name, memory_order_relaxed);
        if (!old && atomic_compare_exchange_strong_explicit(&labels[i].name, &old, name, memory_order_relaxed,
                                                            memory_order_relaxed))
            old = name;
        if (strcmp(old, name) == 0) {
            atomic_fetch_add_explicit(&labels[i].count, 1, memory_order_relaxed);
            return;
        }
    }
}

static bool is_in_focus(const char *label)
{
    uint64_t hash = points.seed;

    if (points.focus < 2)
        return true;
    while (*label)
        hash = chance_mix(hash ^ (unsigned char)*label++);
    return hash % points.focus == 0;
}

static void spin(void)
{
    uint64_t until_ns = clock_now_ns() + chance_below(&here.random, SPIN_NS_MAX);

    while (clock_now_ns() < until_ns) {
    }
}

static void nap(void)
{
    struct timespec t = {.tv_nsec = 1000l * chance_range(&here.random, 1, points.sleep_us_max)};
    nanosleep(&t, NULL);
}

/* To another processor, and free to leave it again. */
static void move(void)
{
    cpu_set_t all, one;
    unsigned n;

    if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < 2)
        return;
    n = chance_below(&here.random, (unsigned)CPU_COUNT(&all));
    CPU_ZERO(&one);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &all) && n-- == 0) {
            CPU_SET(cpu, &one);
            break;
        }
    }
    sched_setaffinity(0, sizeof one, &one);
    sched_setaffinity(0, sizeof all, &all);
}

static void hold_up(void)
{
    unsigned dice = chance_below(&here.random, 100);

    if (dice < 45)
        sched_yield();
    else if (dice < 75)
        spin();
    else if (dice >= 97)
        move();
    else if (points.sleep_us_max)
        nap();
}

static void begin_here(uint64_t g)
{
    uint64_t number = atomic_fetch_add_explicit(&thread_number, 1, memory_order_relaxed);

    here.generation = g;
    here.random = chance_mix(points.seed ^ number << 32);
    here.left = chance_range(&here.random, 1, points.one_in);
}

static void at_point(const char *label)
{
    uint64_t g = atomic_load_explicit(&generation, memory_order_relaxed);
    int saved = errno;

    if (here.generation != g)
        begin_here(g);
    if (--here.left)
        return;
    here.left = chance_range(&here.random, 1, 2 * points.one_in);
    if (is_in_focus(label)) {
        count_label(label);
        hold_up();
    }
    errno = saved;
}

bool points_are_built_in(void)
{
    return true;
}

void points_set(const struct points *p)
{
    points = *p;
    atomic_store_explicit(&thread_number, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed);
    atomic_store_explicit(&order_hook_here, p->one_in ? at_point : NULL, memory_order_relaxed);
}

void points_print(void)
{
    for (int i = 0; i < LABELS_MAX && atomic_load(&labels[i].name); i++)
        printf("%12llu times held up at %s\n", (unsigned long long)atomic_load(&labels[i].count),
               atomic_load(&labels[i].name));
}

#else

bool points_are_built_in(void)
{
    return false;
}

void points_set(const struct points *p)
{
    (void)p;
}

void points_print(void) {}

#endif
