/* weft-bench: a load generator for WebSocket servers, over weft's own protocol core.
 *
 *     weft-bench MODE URL [option...]      weft-bench --help lists both
 *
 * It checks each byte that comes back: content, order, nothing lost, and shows progress once a second, a
 * table or a line of JSON at the end. Exit status: 0; 1 when anything was wrong or a connection was lost;
 * 2 for a command line that cannot be followed.
 *
 * It is to be cheaper than the servers it measures, so it keeps no buffers for connections, makes no
 * messages, and sends and receives once for each wake of a connection: see payload.h for how frames come
 * about, receive.c for how they are checked, loader.h for the life of a run. Every run ends: measured
 * time, draining and closing are bounded, and what was not answered by then is lost. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/tls.h"
#include "loader.h"
#include "options.h"
#include "report.h"
#include "channel.h"

#define DESCRIPTORS_BESIDE 64 /* that are no connections, besides one of each thread */
#define SOURCES_OF_CHURN   64 /* ports rest for a minute after each connection */

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "weft-bench: %s: %s\n", what, why);
    return 2;
}

/* --- before the run --- */

static int aim(struct target *t, const struct options *o, uint32_t conn_count)
{
    const char *wrong = target_parse(t, o->url);

    if (!wrong)
        wrong = target_resolve(t);
    if (wrong)
        return complain(o->url, wrong);
    if (o->sources && !target_has_sources(t))
        return complain("--src", "only for loopback addresses");
    t->sources = o->sources;
    if (!o->sources && target_has_sources(t) && o->mode == MODE_CHURN)
        t->sources = SOURCES_OF_CHURN;
    else if (!o->sources && target_has_sources(t) && conn_count > TARGET_PORTS_A_SOURCE)
        t->sources = conn_count / TARGET_PORTS_A_SOURCE + 1;
    return 0;
}

/* As many descriptors as there are to be connections; a privileged process may go beyond its hard limit. */
static int raise_descriptor_limit(uint32_t conn_count, uint32_t threads)
{
    rlim_t needed = conn_count + threads + DESCRIPTORS_BESIDE;
    struct rlimit limit, more;
    char why[128];

    getrlimit(RLIMIT_NOFILE, &limit);
    more = limit;
    if (more.rlim_max < needed)
        more.rlim_max = needed;
    more.rlim_cur = more.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &more) == 0)
        return 0;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    snprintf(why, sizeof why,
             "%u connections need more than the %llu descriptors that are allowed (ulimit -n)", conn_count,
             (unsigned long long)limit.rlim_max);
    return complain("--connections", why);
}

static int check_processes(const struct options *o)
{
    struct process_use use;
    char why[64];

    for (size_t i = 0; i < o->pid_count; i++)
        if (!process_look(&o->pids[i], 1, false, &use)) {
            snprintf(why, sizeof why, "there is no process %d", o->pids[i]);
            return complain("--pid", why);
        }
    return 0;
}

static const struct mode *mode_of(enum bench_mode mode)
{
    static const struct mode *const modes[MODES] = {
        [MODE_ECHO] = &mode_echo, [MODE_RATE] = &mode_rate,   [MODE_FANOUT] = &mode_fanout,
        [MODE_IDLE] = &mode_idle, [MODE_CHURN] = &mode_churn, [MODE_MIXED] = &mode_rate,
        [MODE_DEFLATE] = &mode_deflate,
    };

    return modes[mode];
}

/* --- the run --- */

/* One line a second, over itself on a terminal. What it shows may be a moment old: it orders nothing. */
static void show_progress(const struct run *run, struct loader *loaders, unsigned second)
{
    static uint64_t before;
    uint64_t answered = 0, open = 0;
    bool is_terminal = isatty(STDERR_FILENO);

    for (uint32_t i = 0; i < run->options->threads; i++) {
        answered += atomic_load_explicit(&loaders[i].shown_answered, memory_order_relaxed);
        open += atomic_load_explicit(&loaders[i].shown_open, memory_order_relaxed);
    }
    fprintf(stderr, "%s%4u s  %8llu open  %12llu %s  %10llu/s%s", is_terminal ? "\r" : "", second,
            (unsigned long long)open, (unsigned long long)answered, run->mode->what,
            (unsigned long long)(answered - before), is_terminal ? "" : "\n");
    before = answered;
}

/* Until all loaders have come to their end, with a look at them once a second. */
static void wait_for_all(struct run *run, struct loader *loaders)
{
    struct timespec next;
    unsigned second = 0;

    clock_gettime(CLOCK_MONOTONIC, &next);
    next.tv_sec++;
    pthread_mutex_lock(&run->lock);
    while (run->running > 0) {
        if (pthread_cond_timedwait(&run->ended, &run->lock, &next) != ETIMEDOUT)
            continue;
        next.tv_sec++;
        second++;
        if (!run->options->quiet)
            show_progress(run, loaders, second);
    }
    pthread_mutex_unlock(&run->lock);
    if (second && !run->options->quiet && isatty(STDERR_FILENO))
        fputs("\n", stderr);
}

static void *live(void *loader)
{
    struct run *run = ((struct loader *)loader)->run;

    if (run->options->mode == MODE_IDLE)
        idle_run(loader);
    else if (run->options->mode == MODE_DEFLATE)
        deflate_run(loader);
    else
        loader_run(loader);
    tls_thread_leave();
    pthread_mutex_lock(&run->lock);
    run->running--;
    pthread_cond_signal(&run->ended);
    pthread_mutex_unlock(&run->lock);
    return NULL;
}

static void sync_init(struct run *run)
{
    pthread_condattr_t monotonic;

    pthread_barrier_init(&run->barrier, NULL, run->options->threads);
    pthread_mutex_init(&run->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&run->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    run->running = run->options->threads;
}

static void sync_fini(struct run *run)
{
    pthread_cond_destroy(&run->ended);
    pthread_mutex_destroy(&run->lock);
    pthread_barrier_destroy(&run->barrier);
}

/* NULL, or what is wrong. Threads that were started wait at a barrier for the others, so a start that
 * fails ends the program. */
static const char *run_loaders(struct run *run, struct loader *loaders)
{
    uint32_t count = run->options->threads;
    const char *wrong = NULL;

    for (uint32_t i = 0; i < count && !wrong; i++)
        wrong = loader_init(&loaders[i], run, i);
    if (wrong)
        return wrong;
    sync_init(run);
    for (uint32_t i = 0; i < count; i++)
        if (pthread_create(&loaders[i].thread, NULL, live, &loaders[i]) != 0) {
            complain("threads", "cannot start that many");
            exit(2);
        }
    wait_for_all(run, loaders);
    for (uint32_t i = 0; i < count; i++)
        pthread_join(loaders[i].thread, NULL);
    sync_fini(run);
    return NULL;
}

static int run_and_report(struct run *run, struct loader *loaders, struct tally *sum)
{
    const char *wrong = run_loaders(run, loaders);
    bool is_faultless = false;

    for (uint32_t i = 0; !wrong && i < run->options->threads; i++)
        report_add(sum, &loaders[i].tally);
    if (wrong)
        complain("cannot begin", wrong);
    else
        is_faultless = report_print(run, sum, stdout);
    if (ferror(stdout)) {
        wrong = "the result could not be written";
        complain("standard output", wrong);
    }
    for (uint32_t i = 0; i < run->options->threads; i++)
        if (loaders[i].run)
            loader_fini(&loaders[i]);
    return wrong ? 2 : is_faultless ? 0 : 1;
}

static int run_with(const struct options *o, const struct target *t, uint32_t conn_count)
{
    struct payload payload;
    struct run run = {
        .options = o, .target = t, .payload = &payload, .mode = mode_of(o->mode), .conn_count = conn_count};
    struct loader *loaders = mem_calloc(o->threads, sizeof *loaders);
    struct tally *sum = mem_calloc(1, sizeof *sum);
    const char *wrong = t->is_secure ? channel_context(&run.tls, o) : NULL;
    int status = 2;

    if (wrong) {
        complain("cannot begin", wrong);
    } else if (loaders && sum && payload_init(&payload, o->kind, o->bytes, o->raw, (uint32_t)clock_now_ns())) {
        status = run_and_report(&run, loaders, sum);
        payload_fini(&payload);
    } else {
        complain("cannot begin", "no memory");
    }
    tls_context_unref(run.tls);
    mem_free(loaders);
    mem_free(sum);
    return status;
}

int main(int argc, char **argv)
{
    struct options o;
    struct target t;
    uint32_t conn_count;
    int status = options_read(&o, argc, argv, stdout, stderr);

    if (status != OPTIONS_RUN)
        return status;
    signal(SIGPIPE, SIG_IGN);
    conn_count = o.connections + (o.mode == MODE_FANOUT ? o.publishers : 0);
    status = aim(&t, &o, conn_count);
    if (status == 0)
        status = raise_descriptor_limit(conn_count, o.threads);
    if (status == 0)
        status = check_processes(&o);
    return status ? status : run_with(&o, &t, conn_count);
}
