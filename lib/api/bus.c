/* weft_bus: its thread, from open to close; see bus.h. What any thread asks of it is in bus_calls.c. */
#include "api/bus.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/order.h"
#include "base/thr.h"
#include "core/options.h"

#define POLL_MS_MAX 60000

/* Which bus's thread this is; NULL: none. */
static _Thread_local const struct weft_bus *bus_here;

bool bus_is_here(const struct weft_bus *b)
{
    return bus_here == b;
}

/* --- references --- */

static void free_bus(struct weft_bus *b)
{
    if (b->backend)
        b->backend->free(b);
    bus_options_free(&b->opts);
    mem_free(b->buckets);
    wake_fini(&b->wake);
    if (b->stop_fd >= 0)
        close(b->stop_fd);
    pthread_mutex_destroy(&b->lock);
    pthread_cond_destroy(&b->changed);
    mem_free(b);
}

void bus_unref(struct weft_bus *b)
{
    if (atomic_fetch_sub_explicit(&b->refs, 1, ORDER(BUS_LAST, memory_order_acq_rel)) == 1)
        free_bus(b);
}

void bus_unref_sub(struct bus_sub *s)
{
    struct weft_bus *b = s->bus;

    if (atomic_fetch_sub_explicit(&s->refs, 1, ORDER(BUS_LAST, memory_order_acq_rel)) != 1)
        return;
    bus_free_topic(s->spare);
    mem_free(s);
    bus_unref(b);
}

/* --- small things --- */

uint64_t bus_random(struct weft_bus *b)
{
    uint64_t r;

    do {
        r = random_next(&b->random) >> 1;
    } while (!r);
    return r;
}

/* Does a name fit a rule's or a subscription's pattern? */
static bool fits(const char *pattern, const char *topic)
{
    size_t bytes = strlen(pattern);

    if (pattern[bytes - 1] == '*')
        return strncmp(pattern, topic, bytes - 1) == 0;
    return strcmp(pattern, topic) == 0;
}

const weft_bus_rule *bus_rule_of(const struct weft_bus *b, const char *topic)
{
    for (size_t i = 0; i < b->opts.rule_count; i++)
        if (fits(b->opts.rules[i].topic, topic))
            return b->opts.rules[i].history_messages ? &b->opts.rules[i] : NULL;
    return NULL;
}

struct history_limits bus_limits_of(const struct weft_bus *b, const weft_bus_rule *rule)
{
    return (struct history_limits){.messages = rule->history_messages,
                                   .age_ms = (uint64_t)rule->history_seconds * 1000,
                                   .bytes = b->opts.history_bytes_max};
}

void bus_set_state(struct weft_bus *b, enum weft_bus_state state, const char *why)
{
    int before = atomic_exchange_explicit(&b->state, (int)state, memory_order_relaxed); /* a figure */

    if (before != (int)state && b->opts.on_state)
        b->opts.on_state(b, state, why, b->opts.app);
}

void bus_settle(struct weft_bus *b, struct bus_publish *p, bool is_passed_on)
{
    if (is_passed_on)
        BUS_COUNT(b, passed_on);
    else
        BUS_COUNT(b, dropped_lost);
    BUS_COUNT_OFF(b, queued_bytes, p->cost);
    weft_msg_unref(p->msg);
    mem_block_free(p);
}

void bus_settled_up_to(struct weft_bus *b, uint64_t number)
{
    b->settled_number = number;
}

void bus_answer(struct bus_ask *a, int result, const char *const *names, size_t count)
{
    a->done(result, names, count, a->arg);
    BUS_COUNT_OFF(a->bus, queued_bytes, a->cost);
    mem_free(a);
}

/* --- the thread --- */

static void end_all(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    (void)arg;
    while (t->subs) {
        struct bus_sub *s = t->subs;
        bool is_last = !s->next;
        struct weft_conn *c = s->conn;

        if (c)
            while (weft_group_remove(t->group, c) == WEFT_E_NOMEM)
                usleep(1000);
        bus_end_sub(b, s);
        if (is_last)
            return; /* the topic may be gone */
    }
}

static void drop_topic(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    (void)arg;
    bus_remove_topic(b, t);
}

static struct bus_sub *sub_of_left(struct bus_command *cmd)
{
    return (struct bus_sub *)(void *)((char *)cmd - offsetof(struct bus_sub, left_command));
}
static struct bus_sub *sub_of_command(struct bus_command *cmd)
{
    return (struct bus_sub *)(void *)((char *)cmd - offsetof(struct bus_sub, command));
}

static void do_unsubscribe(struct weft_bus *b, struct bus_unsubscribe *u)
{
    bus_unsubscribe(b, u->conn, u->topic);
    weft_conn_unref(u->conn);
    mem_free(u);
}

/* A listener's LEFT has the reference of its handle. */
static void do_left(struct weft_bus *b, struct bus_sub *s)
{
    bool is_listener = s->on_item;

    if (s->topic)
        bus_end_sub(b, s);
    if (is_listener)
        bus_unref_sub(s);
}

static void do_command(struct weft_bus *b, struct bus_command *cmd, bool is_over)
{
    switch (cmd->kind) {
    case BUS_PUBLISH:
        ((struct bus_publish *)cmd)->number = ++b->last_number;
        if (is_over)
            bus_settle(b, (struct bus_publish *)cmd, false);
        else
            b->backend->publish(b, (struct bus_publish *)cmd);
        break;
    case BUS_SUBSCRIBE:
        if (is_over)
            bus_release_sub(b, sub_of_command(cmd));
        else
            bus_subscribe(b, sub_of_command(cmd));
        break;
    case BUS_UNSUBSCRIBE:
        do_unsubscribe(b, (struct bus_unsubscribe *)cmd);
        break;
    case BUS_LEFT:
        do_left(b, sub_of_left(cmd));
        break;
    case BUS_PRESENCE:
        if (is_over)
            bus_answer((struct bus_ask *)cmd, WEFT_E_CLOSED, NULL, 0);
        else
            b->backend->ask(b, (struct bus_ask *)cmd);
        break;
    }
}

static void do_commands(struct weft_bus *b, bool is_over)
{
    struct node *n = node_reverse(stack_take_all(&b->commands));

    while (n) {
        struct node *next = n->next; /* the command may be freed by doing it */
        do_command(b, (struct bus_command *)(void *)n, is_over);
        n = next;
    }
}

/* Relaxed: only the bus's thread counts it, and asks here. */
static uint64_t lost_so_far(const struct weft_bus *b)
{
    return atomic_load_explicit(&b->count.dropped_lost, memory_order_relaxed);
}

/* What was published before wants_stop was set is settled, or still among the commands. */
static bool tell_flushers(struct weft_bus *b, uint64_t now_ms)
{
    bool may_end;

    pthread_mutex_lock(&b->lock);
    b->settled = b->settled_number;
    b->lost = lost_so_far(b);
    if (b->flushers)
        pthread_cond_broadcast(&b->changed);
    may_end = b->wants_stop &&
              (now_ms >= b->stop_ms || (stack_is_empty(&b->commands) && b->backend->is_drained(b)));
    pthread_mutex_unlock(&b->lock);
    return may_end;
}

static int poll_ms(uint64_t until_ms, uint64_t now_ms)
{
    if (until_ms <= now_ms)
        return 0;
    return until_ms - now_ms < POLL_MS_MAX ? (int)(until_ms - now_ms) : POLL_MS_MAX;
}

static uint64_t stop_time(struct weft_bus *b)
{
    uint64_t ms;

    pthread_mutex_lock(&b->lock);
    ms = b->wants_stop ? b->stop_ms : UINT64_MAX;
    pthread_mutex_unlock(&b->lock);
    return ms;
}

static void wait_for_work(struct weft_bus *b, struct pollfd *fds, nfds_t count, uint64_t until_ms)
{
    uint64_t stop_ms = stop_time(b);
    int n = 0;

    fds[count] = (struct pollfd){.fd = b->wake.fd, .events = POLLIN};
    wake_prepare(&b->wake);
    if (stack_is_empty(&b->commands))
        n = poll(fds, count + 1, poll_ms(until_ms < stop_ms ? until_ms : stop_ms, clock_now_ms()));
    else
        n = poll(fds, count + 1, 0);
    wake_cancel(&b->wake);
    if (n > 0 && fds[count].revents)
        wake_clear(&b->wake);
    b->backend->polled(b, fds, n > 0 ? count : 0);
}

static void end_thread(struct weft_bus *b)
{
    b->backend->stop(b);
    stack_close(&b->commands);
    do_commands(b, true);
    bus_each_topic(b, end_all, NULL);
    bus_each_topic(b, drop_topic, NULL);
    pthread_mutex_lock(&b->lock);
    b->has_lost = lost_so_far(b) != b->lost_before;
    b->has_ended = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static void *run(void *arg)
{
    struct weft_bus *b = arg;
    struct pollfd fds[BUS_FDS_MAX + 1];

    thr_name("weft-bus");
    bus_here = b;
    mem_pool_join(); /* without a pool: plain blocks */
    for (;;) {
        nfds_t count = 0;
        uint64_t until_ms;

        do_commands(b, false);
        until_ms = b->backend->turn(b, fds, &count);
        if (tell_flushers(b, clock_now_ms()))
            break;
        wait_for_work(b, fds, count, until_ms);
    }
    end_thread(b);
    mem_pool_leave();
    return NULL;
}

/* --- open and close --- */

/* From here on free_bus can be called. */
static void init(struct weft_bus *b)
{
    pthread_condattr_t attr;

    b->wake.fd = b->stop_fd = -1;
    pthread_mutex_init(&b->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->changed, &attr);
    pthread_condattr_destroy(&attr);
    atomic_init(&b->refs, 1);
    stack_init(&b->commands);
}

static int begin(struct weft_bus *b, const struct bus_url *url)
{
    int rc;

    /* The system is asked once: where it has nothing to give, opening fails, and nothing later does. */
    if (!random_fill(&b->key, sizeof b->key) || !random_source_init(&b->random))
        return WEFT_E_SYSTEM;
    b->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    rc = wake_init(&b->wake);
    if (rc != WEFT_OK || b->stop_fd < 0)
        return WEFT_E_SYSTEM;
    b->bucket_count = 64;
    b->buckets = mem_calloc(b->bucket_count, sizeof *b->buckets);
    if (!b->buckets)
        return WEFT_E_NOMEM;
    b->backend = url->is_local ? &bus_local : &bus_redis;
    rc = b->backend->open(b, url);
    if (rc == WEFT_OK && pthread_create(&b->thread, NULL, run, b) != 0)
        rc = WEFT_E_SYSTEM;
    return rc;
}

static int open_url(struct weft_bus **out, const struct bus_url *url, const weft_bus_opts *opts)
{
    struct weft_bus *b = mem_calloc(1, sizeof *b);
    int rc;

    if (!b)
        return WEFT_E_NOMEM;
    init(b);
    b->opts = *opts;
    b->histories.bytes_max = opts->histories_bytes_max;
    rc = bus_options_copy(&b->opts) ? begin(b, url) : WEFT_E_NOMEM;
    if (rc == WEFT_OK)
        *out = b;
    else
        free_bus(b);
    return rc;
}

int weft_bus_open(weft_bus **out, const char *text, const weft_bus_opts *given)
{
    weft_bus_opts opts;
    struct bus_url url;
    const char *reason = NULL;
    int rc;

    if (!out || !text)
        return WEFT_E_INVAL;
    rc = option_copy(&opts, sizeof opts, given, given ? given->size : 0);
    if (rc == WEFT_OK)
        rc = bus_options_choose(&opts);
    if (rc != WEFT_OK)
        return rc;
    rc = bus_url_parse(&url, text, &reason);
    if (rc == WEFT_E_INVAL)
        LOG(WEFT_LOG_ERROR, 0, "the bus's URL: %s", reason);
    if (rc != WEFT_OK)
        return rc;
    rc = open_url(out, &url, &opts);
    bus_url_fini(&url);
    return rc;
}

struct timespec bus_timespec(uint64_t ms)
{
    return (struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
}

static void tell_to_stop(struct weft_bus *b, uint32_t deadline_ms)
{
    uint64_t until_ms = clock_now_ms() + deadline_ms, one = 1;
    struct timespec until = bus_timespec(until_ms);

    pthread_mutex_lock(&b->lock);
    b->wants_stop = true;
    b->stop_ms = until_ms;
    b->lost_before = b->lost;
    pthread_mutex_unlock(&b->lock);
    /* Written whether it sleeps or not: what it looks for is no command. */
    while (write(b->wake.fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
    pthread_mutex_lock(&b->lock);
    while (!b->has_ended && pthread_cond_timedwait(&b->changed, &b->lock, &until) != ETIMEDOUT) {
    }
    pthread_mutex_unlock(&b->lock);
    while (write(b->stop_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

int weft_bus_close(weft_bus *b, uint32_t deadline_ms)
{
    bool has_lost;

    if (!b)
        return WEFT_OK;
    if (bus_here == b)
        return WEFT_E_STATE;
    tell_to_stop(b, deadline_ms);
    pthread_join(b->thread, NULL);
    has_lost = b->has_lost;
    bus_unref(b);
    return has_lost ? WEFT_E_TIMEOUT : WEFT_OK;
}
