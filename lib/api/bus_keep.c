/* Keeps the histories of the local bus in a file; see bus_keep.h. */
#include "api/bus_keep.h"

#include <string.h>
#include <unistd.h>

#include "api/bus_local.h"
#include "api/bus_writer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define RETRY_MIN_MS 500
#define RETRY_MAX_MS 30000
#define MEMORY_US    1000 /* until memory is asked for again, where nothing can go on without */
#define MEMORY_MS    10   /* the same, where everything else can */

/* One write, with what is to be done when it comes back. */
struct kept {
    struct bus_write write;
    struct kept *later;          /* given behind this one */
    struct kept *later_put;      /* PUT: the next one of those */
    struct bus_topic *topic;     /* PUT, WHOLE: its `writes` counts this one */
    struct bus_publish *publish; /* PUT */
    struct history_entry entry;  /* PUT */
    char name[];                 /* TRIM, FORGET */
};

struct keep {
    struct weft_bus *bus;
    struct store *store;
    struct bus_writer *writer;
    struct bus_writes given; /* in this turn */
    struct kept *oldest;     /* all that did not come back, in order */
    struct kept *newest;     /* with oldest only */
    struct kept *oldest_put; /* of these, with a publish */
    struct kept *newest_put; /* with oldest_put only */
    struct bus_topic *unkept;
    unsigned wholes;   /* at the writer: 0 or 1 */
    bool is_failing;   /* K4 */
    bool is_testing;   /* a STORE_TEST is at the writer */
    bool is_loading;   /* the file is being read, */
    bool has_trimmed;  /* and holds more than may be remembered */
    bool is_stopping;  /* weft_bus_close was called */
    bool has_given_up; /* it was tried once more since */
    uint64_t retry_ms; /* while it is failing: when to try */
    uint32_t wait_ms;  /* from one try to the next */
};

/* --- to the writer --- */

/* The bus's thread waits for memory rather than let one message overtake another. */
static struct kept *new_kept(enum store_kind kind, size_t more)
{
    struct kept *w;

    while (!(w = mem_block_alloc(sizeof *w + more)))
        usleep(MEMORY_US);
    memset(w, 0, sizeof *w);
    w->write.what.kind = kind;
    return w;
}

static void give(struct keep *k, struct kept *w)
{
    *(k->oldest ? &k->newest->later : &k->oldest) = w;
    k->newest = w;
    bus_writes_append(&k->given, &w->write);
}

/* What is given while it is failing is not written: the test is given behind it (K4). */
static void note_given(struct keep *k, struct bus_topic *t)
{
    t->is_in_file = true;
    if (!k->is_failing)
        t->is_epoch_told = true;
}

static void give_message(struct keep *k, struct bus_topic *t, struct bus_publish *p, uint64_t time_ms)
{
    struct kept *w = new_kept(STORE_PUT, 0);

    w->topic = t;
    w->publish = p;
    w->entry = (struct history_entry){.msg = p->msg, .time_ms = time_ms};
    w->write.what.topic = t->name;
    w->write.what.at = (weft_bus_position){t->history.at.epoch, ++t->given};
    w->write.what.first = bus_history_first(&t->history);
    w->write.what.entries = &w->entry;
    w->write.what.count = 1;
    t->writes++;
    local_used(k->bus, t);
    *(k->oldest_put ? &k->newest_put->later_put : &k->oldest_put) = w;
    k->newest_put = w;
    note_given(k, t);
    give(k, w);
}

static void free_entries(struct kept *w)
{
    for (uint32_t i = 0; i < w->write.what.count; i++)
        weft_msg_unref(w->write.what.entries[i].msg);
    mem_free(w->write.what.entries);
}

/* False: no memory. */
static bool give_whole(struct keep *k, struct bus_topic *t)
{
    const struct history *h = &t->history;
    struct history_entry *entries = mem_alloc((h->count + 1) * sizeof *entries);
    struct kept *w;

    if (!entries)
        return false;
    bus_history_copy(h, entries);
    w = new_kept(STORE_WHOLE, 0);
    w->topic = t;
    w->write.what = (struct store_write){
        .kind = STORE_WHOLE, .topic = t->name, .at = h->at, .entries = entries, .count = h->count};
    t->writes++;
    local_used(k->bus, t);
    k->wholes++;
    note_given(k, t);
    give(k, w);
    return true;
}

/* --- unkept topics --- */

static void unkeep(struct keep *k, struct bus_topic *t)
{
    if (t->is_unkept)
        return;
    t->is_unkept = true;
    t->unkept_next = k->unkept;
    t->unkept_place = &k->unkept;
    if (t->unkept_next)
        t->unkept_next->unkept_place = &t->unkept_next;
    k->unkept = t;
}

static void leave_unkept(struct bus_topic *t)
{
    if (!t->is_unkept)
        return;
    t->is_unkept = false;
    *t->unkept_place = t->unkept_next;
    if (t->unkept_next)
        t->unkept_next->unkept_place = t->unkept_place;
}

/* Before a message that is not in the file is passed on: it gets an epoch that the file does not know. What
 * was seen so far stays known to whoever resumes (bus_history_renew). */
static void pass_by(struct keep *k, struct bus_topic *t)
{
    unkeep(k, t);
    if (t->is_epoch_told)
        bus_history_renew(&t->history, bus_random(k->bus));
    t->is_epoch_told = false;
}

/* --- failing --- */

static void try_later(struct keep *k)
{
    k->retry_ms = clock_now_ms() + k->wait_ms;
    k->wait_ms = k->wait_ms > RETRY_MAX_MS / 2 ? RETRY_MAX_MS : 2 * k->wait_ms;
}

/* The wait is not reset before all is well: a file that takes the test and nothing else is not tried at
 * once. */
static void begin_failing(struct keep *k)
{
    char why[WRITER_PROBLEM_BYTES];

    if (k->is_failing)
        return;
    k->is_failing = true;
    k->has_given_up = k->is_stopping;
    try_later(k);
    bus_writer_problem(k->writer, why);
    LOG(WEFT_LOG_ERROR, 0, "bus: history_file %s is not written: %s. What is published is in memory only",
        k->bus->opts.history_file, why);
    bus_set_state(k->bus, WEFT_BUS_UNKEPT, why);
}

static void end_if_well(struct keep *k)
{
    if (k->is_failing || k->unkept || k->wholes)
        return;
    k->wait_ms = RETRY_MIN_MS;
    if (atomic_load_explicit(&k->bus->state, memory_order_relaxed) != WEFT_BUS_UNKEPT) /* ours alone */
        return;
    LOG(WEFT_LOG_INFO, 0, "bus: history_file %s is written again", k->bus->opts.history_file);
    bus_set_state(k->bus, WEFT_BUS_UP, "");
}

static void test_file(struct keep *k)
{
    k->is_testing = true;
    give(k, new_kept(STORE_TEST, 0));
}

/* One topic's whole history at a time: only that much memory is held beyond what is remembered. */
static void mend(struct keep *k)
{
    struct bus_topic *t = k->unkept;

    if (k->is_failing && !k->is_testing && !k->oldest && clock_now_ms() >= k->retry_ms)
        test_file(k);
    else if (!k->is_failing && t && !k->wholes && t->writes == 0 && give_whole(k, t))
        leave_unkept(t);
}

/* --- from the writer --- */

static void came_back_put(struct keep *k, struct kept *w)
{
    struct bus_topic *t = w->topic;

    t->writes--;
    if (!w->write.is_written) {
        begin_failing(k);
        pass_by(k, t);
        BUS_COUNT(k->bus, history_failures);
    }
    local_pass_on(k->bus, t, w->publish, w->entry.time_ms);
}

static void came_back_whole(struct keep *k, struct kept *w)
{
    w->topic->writes--;
    local_used(k->bus, w->topic);
    k->wholes--;
    free_entries(w);
    if (!w->write.is_written) {
        begin_failing(k);
        unkeep(k, w->topic);
    }
}

static void came_back_test(struct keep *k, const struct kept *w)
{
    k->is_testing = false;
    if (w->write.is_written) {
        k->is_failing = false;
        return;
    }
    k->has_given_up = k->is_stopping;
    try_later(k);
}

static void came_back(struct keep *k, struct kept *w)
{
    switch (w->write.what.kind) {
    case STORE_PUT:
        came_back_put(k, w);
        break;
    case STORE_WHOLE:
        came_back_whole(k, w);
        break;
    case STORE_TEST:
        came_back_test(k, w);
        break;
    case STORE_TRIM:   /* not written: the topic's next message deletes what is too old, */
    case STORE_FORGET: /* its next first one all that is there */
        if (!w->write.is_written)
            begin_failing(k);
        break;
    }
}

static struct kept *kept_of(struct bus_write *w)
{
    return (struct kept *)(void *)w;
}

static void take_all(struct keep *k, void (*answer)(struct keep *k, struct kept *w))
{
    struct bus_write *w = bus_writer_take(k->writer), *next;

    for (; w; w = next) {
        struct kept *one = kept_of(w);

        next = w->next;
        k->oldest = one->later; /* W2: it is this one */
        if (one->publish)
            k->oldest_put = one->later_put;
        answer(k, one);
        mem_block_free(one);
        bus_settled_up_to(k->bus, keep_settled(k));
    }
    end_if_well(k);
}

uint64_t keep_settled(const struct keep *k)
{
    return k->oldest_put ? k->oldest_put->publish->number - 1 : k->bus->last_number;
}

/* --- the bus's side --- */

void keep_topic(struct keep *k, struct bus_topic *t)
{
    (void)k;
    t->given = t->history.at.offset;
}

bool keep_publish(struct keep *k, struct bus_topic *t, struct bus_publish *p, uint64_t time_ms)
{
    if (t->writes == 0 && (k->is_failing || t->is_unkept)) {
        if (k->is_failing)
            BUS_COUNT(k->bus, history_failures);
        pass_by(k, t);
        t->given++;
        return false;
    }
    give_message(k, t, p, time_ms);
    return true;
}

bool keep_needs(const struct bus_topic *t)
{
    return t->writes > 0;
}

/* Behind it the topic may be gone. */
static void give_name(struct keep *k, enum store_kind kind, const struct bus_topic *t)
{
    size_t bytes = strlen(t->name) + 1;
    struct kept *w = new_kept(kind, bytes);

    memcpy(w->name, t->name, bytes);
    w->write.what.topic = w->name;
    w->write.what.first = bus_history_first(&t->history);
    give(k, w);
}

void keep_forget(struct keep *k, struct bus_topic *t)
{
    leave_unkept(t);
    if (t->is_in_file)
        give_name(k, STORE_FORGET, t);
}

/* Who is unkept is written whole in any case. */
static void trimmed(struct history *h, void *arg)
{
    struct bus_topic *t = (struct bus_topic *)(void *)((char *)h - offsetof(struct bus_topic, history));
    struct keep *k = arg;

    if (k->is_loading)
        k->has_trimmed = true;
    else if (t->is_in_file && !t->is_unkept && !k->is_failing)
        give_name(k, STORE_TRIM, t);
}

/* Until when nothing is to be done but what comes back from the writer. That a topic could be written and is
 * not means that there was no memory for it. */
static uint64_t next_time(const struct keep *k)
{
    if (k->is_failing)
        return k->is_testing ? UINT64_MAX : k->retry_ms;
    return k->unkept && !k->wholes && k->unkept->writes == 0 ? clock_now_ms() + MEMORY_MS : UINT64_MAX;
}

uint64_t keep_turn(struct keep *k, struct pollfd *fds, nfds_t *count)
{
    mend(k);
    bus_writer_put(k->writer, &k->given);
    fds[0] = (struct pollfd){.fd = bus_writer_fd(k->writer), .events = POLLIN};
    *count = 1;
    return next_time(k);
}

void keep_polled(struct keep *k, const struct pollfd *fds, nfds_t count)
{
    if (count && fds[0].revents)
        take_all(k, came_back);
}

/* A file that is failing is tried once more before the end. */
bool keep_is_drained(struct keep *k)
{
    if (!k->is_stopping) {
        k->is_stopping = true;
        k->retry_ms = 0;
        mend(k);
        bus_writer_put(k->writer, &k->given);
    }
    return !k->oldest && (!k->unkept || k->has_given_up);
}

/* --- from start to end --- */

static int load_topic(const char *name, void *arg)
{
    struct keep *k = arg;
    struct bus_topic *t;
    int rc;

    if (!bus_rule_of(k->bus, name))
        return WEFT_OK; /* stays in the file, in case that the rule comes back */
    t = local_enter_kept(k->bus, name);
    if (!t)
        return WEFT_E_NOMEM;
    rc = store_load(k->store, name, &t->history);
    if (rc != WEFT_OK)
        return rc;
    if (t->history.at.epoch == 0)
        t->history.at.epoch = bus_random(k->bus);
    t->is_in_file = t->is_epoch_told = true;
    keep_topic(k, t);
    local_used(k->bus, t);
    return WEFT_OK;
}

struct keep *keep_new(struct weft_bus *b)
{
    struct keep *k = mem_calloc(1, sizeof *k);

    if (!k)
        return NULL;
    k->bus = b;
    k->wait_ms = RETRY_MIN_MS;
    return k;
}

static void trim_loaded(struct weft_bus *b, struct bus_topic *t, void *arg)
{
    (void)b;
    trimmed(&t->history, arg);
}

int keep_open(struct keep *k, const char *path)
{
    int rc = store_open(&k->store, path);

    k->bus->histories.trimmed = trimmed;
    k->bus->histories.arg = k;
    k->is_loading = true;
    if (rc == WEFT_OK)
        rc = store_each_topic(k->store, load_topic, k);
    k->is_loading = false;
    if (rc == WEFT_OK)
        local_make_room(k->bus);
    if (rc == WEFT_OK && k->has_trimmed)
        bus_each_topic(k->bus, trim_loaded, k);
    return rc == WEFT_OK ? bus_writer_open(&k->writer, k->store) : rc;
}

/* At the end: what is in the file is passed on, and the rest was not. */
static void end_with(struct keep *k, struct kept *w)
{
    if (w->topic)
        w->topic->writes--;
    if (w->write.what.kind == STORE_WHOLE)
        free_entries(w);
    if (w->publish && w->write.is_written)
        local_pass_on(k->bus, w->topic, w->publish, w->entry.time_ms);
    else if (w->publish)
        bus_settle(k->bus, w->publish, false);
}

void keep_stop(struct keep *k)
{
    bool is_whole;

    if (!k)
        return;
    bus_writer_put(k->writer, &k->given);
    is_whole = bus_writer_end(k->writer) && !k->unkept && !k->is_failing;
    take_all(k, end_with);
    store_close(k->store, is_whole);
    k->store = NULL;
}

/* Also behind an open that failed: then nothing came to the writer, and there are topics. */
void keep_free(struct keep *k)
{
    struct kept *later;

    if (!k)
        return;
    k->bus->histories.trimmed = NULL;
    for (struct kept *w = k->oldest; w; w = later) {
        later = w->later;
        mem_block_free(w);
    }
    bus_writer_free(k->writer);
    store_close(k->store, false);
    mem_free(k);
}
