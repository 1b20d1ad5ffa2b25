/* The bus and a network that goes away: Redis is in a network of its own, and the cable to it is pulled, so that packets
 * vanish and nothing is reset. One who publishes is on Redis' side and goes on.
 *
 * WEFT_CUT_SECONDS says for how long (5). */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "e2e_server.h"
#include "network.h"
#include "unit.h"
#include "weft/weft.h"

#define URL         "redis://" NETWORK_FAR ":6379"
#define TOPIC       "h.load"
#define NEAR        2 /* who publish here; number NEAR is the one over there */
#define PAUSE_US    2000
#define CUT_SECONDS 5
#define SKIPPED     77 /* as meson understands it */

static const weft_bus_rule rules[] = {{"h.*", 200000, 0}};

static weft_bus *open_bus(void)
{
    weft_bus_opts o = {.size = sizeof o,
                       .rules = rules,
                       .rule_count = 1,
                       .reconnect_min_ms = 20,
                       .reconnect_max_ms = 500,
                       .reply_timeout_ms = 1000,
                       .connect_timeout_ms = 1000};
    weft_bus *b = NULL;

    if (weft_bus_open(&b, URL, &o) != WEFT_OK)
        abort();
    return b;
}

static weft_bus_stats stats_of(weft_bus *b)
{
    weft_bus_stats s = {.size = sizeof s};

    CU_ASSERT_EQUAL(weft_bus_get_stats(b, &s), WEFT_OK);
    return s;
}

static unsigned cut_seconds(void)
{
    const char *text = getenv("WEFT_CUT_SECONDS");
    int seconds = text ? atoi(text) : 0;

    return seconds > 0 ? (unsigned)seconds : CUT_SECONDS;
}

/* --- who publishes: "WHO NUMBER" --- */

static void publish(weft_bus *b, unsigned who, unsigned number)
{
    char text[32];
    weft_msg *m;

    snprintf(text, sizeof text, "%u %u", who, number);
    if (weft_msg_new(&m, WEFT_TEXT, text, strlen(text)) != WEFT_OK)
        abort();
    while (weft_bus_publish(b, TOPIC, m) == WEFT_E_AGAIN)
        usleep(PAUSE_US);
}

struct writer {
    weft_bus *bus;
    unsigned who, count;
    atomic_bool is_over;
    pthread_t thread;
};

static void *write_on(void *arg)
{
    struct writer *w = arg;

    while (!w->is_over) {
        publish(w->bus, w->who, w->count++);
        usleep(PAUSE_US);
    }
    return NULL;
}

/* Over there: until the end of standard input; then it tells how many they were. */
static int be_far_writer(void)
{
    unsigned count = 0;
    weft_bus *b;
    char byte;

    fcntl(0, F_SETFL, O_NONBLOCK);
    b = open_bus();
    while (read(0, &byte, 1) != 0) {
        publish(b, NEAR, count++);
        usleep(PAUSE_US);
    }
    if (weft_bus_close(b, 10000) != WEFT_OK)
        return 1;
    printf("%u\n", count);
    return 0;
}

struct far_writer {
    pid_t pid;
    int go_on_fd, count_fd;
};

static void start_far_writer(struct far_writer *w)
{
    static const char *const args[] = {"/proc/self/exe", "--writer", NULL};
    int in[2], out[2];

    CU_ASSERT_FATAL(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    w->pid = network_run_far(args, in[0], out[1]);
    close(in[0]);
    close(out[1]);
    w->go_on_fd = in[1];
    w->count_fd = out[0];
}

/* How many it has published. */
static unsigned end_far_writer(struct far_writer *w)
{
    char text[16] = "";
    int status = 1;

    close(w->go_on_fd);
    waitpid(w->pid, &status, 0);
    CU_ASSERT_EQUAL(status, 0);
    CU_ASSERT(read(w->count_fd, text, sizeof text - 1) > 0);
    close(w->count_fd);
    return (unsigned)atoi(text);
}

/* --- who listens --- */

struct ear {
    weft_bus_listener *l;
    _Atomic unsigned readies, gaps, items, faults;
    _Atomic unsigned next[NEAR + 1];
    weft_bus_position last;
};

static void on_ready(const weft_bus_ready *ready, void *arg)
{
    struct ear *e = arg;

    e->gaps += ready->is_gap;
    e->readies++;
}

/* Each one's come 0, 1, 2 and so on, and all of them have offsets that follow each other. */
static void on_item(const weft_bus_item *item, void *arg)
{
    unsigned who = NEAR + 1, number = 0;
    struct ear *e = arg;
    char text[32];

    snprintf(text, sizeof text, "%.*s", (int)weft_msg_bytes(item->msg),
             (const char *)weft_msg_data(item->msg));
    if (sscanf(text, "%u %u", &who, &number) != 2 || who > NEAR || e->next[who] != number ||
        item->at.offset != e->last.offset + 1 || (e->last.epoch && item->at.epoch != e->last.epoch))
        e->faults++;
    else
        e->next[who]++;
    e->last = item->at;
    e->items++;
}

/* --- Redis, and all of it together --- */

struct scene {
    char dir[64];
    pid_t redis;
    weft_bus *bus[NEAR + 1]; /* the last one listens */
    struct writer writers[NEAR];
    struct far_writer far;
    struct ear ear;
};

static void begin_scene(struct scene *s)
{
    static const weft_bus_position all_of_it;
    const char *args[] = {"redis-server", "--port",           "6379", "--save",    "",    "--dir",
                          s->dir,         "--protected-mode", "no",   "--logfile", "log", NULL};

    memset(s, 0, sizeof *s);
    strcpy(s->dir, "/tmp/weft-cut-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(s->dir));
    s->redis = network_run_far(args, -1, -1);
    for (unsigned i = 0; i <= NEAR; i++)
        s->bus[i] = open_bus();
    CU_ASSERT_EQUAL_FATAL(
        weft_bus_listen(s->bus[NEAR], &s->ear.l, TOPIC, &all_of_it, on_ready, on_item, &s->ear), WEFT_OK);
    WAIT_FOR(s->ear.readies == 1);
    start_far_writer(&s->far);
    for (unsigned i = 0; i < NEAR; i++) {
        s->writers[i] = (struct writer){.bus = s->bus[i], .who = i};
        pthread_create(&s->writers[i].thread, NULL, write_on, &s->writers[i]);
    }
    WAIT_FOR(s->ear.next[0] > 50 && s->ear.next[1] > 50 && s->ear.next[2] > 50);
}

/* Everything came, once, in order. */
static void end_scene(struct scene *s)
{
    char command[96];
    unsigned far = end_far_writer(&s->far);

    for (unsigned i = 0; i < NEAR; i++) {
        s->writers[i].is_over = true;
        pthread_join(s->writers[i].thread, NULL);
        CU_ASSERT_EQUAL(weft_bus_flush(s->bus[i], 20000), WEFT_OK);
    }
    WAIT_FOR(s->ear.next[0] == s->writers[0].count && s->ear.next[1] == s->writers[1].count &&
             s->ear.next[NEAR] == far);
    CU_ASSERT(s->ear.faults == 0 && s->ear.gaps == 0);
    CU_ASSERT_EQUAL(s->ear.items, s->writers[0].count + s->writers[1].count + far);
    printf("     %u from here and %u from there, %u of them filled from the history\n",
           s->writers[0].count + s->writers[1].count, far, (unsigned)stats_of(s->bus[NEAR]).filled);
    weft_bus_unlisten(s->ear.l);
    for (unsigned i = 0; i <= NEAR; i++) {
        CU_ASSERT_EQUAL(stats_of(s->bus[i]).dropped_lost, 0);
        CU_ASSERT_EQUAL(weft_bus_close(s->bus[i], 60000), WEFT_OK);
    }
    kill(s->redis, SIGKILL);
    waitpid(s->redis, NULL, 0);
    snprintf(command, sizeof command, "rm -rf '%s'", s->dir);
    CU_ASSERT_EQUAL(system(command), 0);
}

static bool are_all(const struct scene *s, enum weft_bus_state state)
{
    for (unsigned i = 0; i <= NEAR; i++)
        if (stats_of(s->bus[i]).state != (uint64_t)state)
            return false;
    return true;
}

/* --- cases --- */

static void nothing_is_lost_doubled_or_reordered_when_the_network_is_gone_for_seconds(void)
{
    struct scene s;
    unsigned heard;

    begin_scene(&s);
    CU_ASSERT(network_cable(false));
    WAIT_FOR(are_all(&s, WEFT_BUS_DOWN));
    heard = s.ear.items;
    sleep(cut_seconds()); /* how long it is gone; not a wait for anything */
    CU_ASSERT(are_all(&s, WEFT_BUS_DOWN) && s.ear.items == heard);
    CU_ASSERT(network_cable(true));
    WAIT_FOR(are_all(&s, WEFT_BUS_UP));
    WAIT_FOR(stats_of(s.bus[NEAR]).filled > 0); /* what was published over there */
    end_scene(&s);
}

/* Shorter than anybody's patience: TCP itself mends it, or it does not. */
static void nothing_is_lost_when_it_comes_and_goes(void)
{
    struct scene s;

    begin_scene(&s);
    for (unsigned i = 0; i < 8; i++) {
        unsigned heard = s.ear.items;
        CU_ASSERT(network_cable(false));
        usleep(100000 + 150000 * i); /* as above */
        CU_ASSERT(network_cable(true));
        WAIT_FOR(s.ear.items > heard + 100);
    }
    end_scene(&s);
}

static const struct unit_case cases[] = {
    CASE(nothing_is_lost_doubled_or_reordered_when_the_network_is_gone_for_seconds),
    CASE(nothing_is_lost_when_it_comes_and_goes),
};

int main(int argc, char **argv)
{
    const char *why_not;
    int status;

    if (argc == 2 && strcmp(argv[1], "--writer") == 0)
        return be_far_writer();
    why_not = network_begin();
    if (why_not) {
        printf("skipped: %s\n", why_not);
        network_end();
        return SKIPPED;
    }
    status = unit_main(argc, argv, "bus_cut", cases, sizeof cases / sizeof cases[0]);
    network_end();
    return status;
}
