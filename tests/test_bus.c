/* The bus within one process: topics, patterns, histories, resuming, bounds; and what all buses share. */
#include "api/bus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/bus_history.h"
#include "api/bus_url.h"
#include "base/clock.h"
#include "base/mem.h"
#include "e2e_server.h"
#include "present.h"
#include "unit.h"

/* What a listener saw. */
struct heard {
    pthread_mutex_t lock;
    char text[8192]; /* "topic=payload@offset " for each */
    _Atomic unsigned begun, items, readies;
    weft_bus_ready ready;
    void (*also)(struct heard *h);
    weft_bus_listener *listener;
    unsigned sleep_us;
    atomic_bool is_held; /* the call lasts as long */
};

static void on_item(const weft_bus_item *item, void *arg)
{
    struct heard *h = arg;
    size_t n;

    h->begun++;
    pthread_mutex_lock(&h->lock);
    n = strlen(h->text);
    snprintf(h->text + n, sizeof h->text - n, "%s=%.*s@%llu ", item->topic, (int)weft_msg_bytes(item->msg),
             (const char *)weft_msg_data(item->msg), (unsigned long long)item->at.offset);
    pthread_mutex_unlock(&h->lock);
    if (h->also)
        h->also(h);
    if (h->sleep_us)
        usleep(h->sleep_us);
    while (h->is_held)
        usleep(1000);
    h->items++;
}

static void on_ready(const weft_bus_ready *ready, void *arg)
{
    struct heard *h = arg;

    h->ready = *ready;
    h->readies++;
}

static struct heard *new_heard(void)
{
    struct heard *h = calloc(1, sizeof *h);

    pthread_mutex_init(&h->lock, NULL);
    return h;
}

static struct heard *listen_to(weft_bus *b, const char *topic, const weft_bus_position *from)
{
    struct heard *h = new_heard();

    CU_ASSERT_EQUAL_FATAL(weft_bus_listen(b, &h->listener, topic, from, on_ready, on_item, h), WEFT_OK);
    return h;
}

static void end_heard(struct heard *h)
{
    weft_bus_unlisten(h->listener);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static void say(weft_bus *b, const char *topic, const char *text)
{
    CU_ASSERT_EQUAL(weft_bus_publish(b, topic, e2e_text(text)), WEFT_OK);
}

static weft_bus *open_local(const weft_bus_opts *opts)
{
    weft_bus *b = NULL;

    CU_ASSERT_EQUAL_FATAL(weft_bus_open(&b, "local:", opts), WEFT_OK);
    return b;
}

static weft_bus_stats stats_of(weft_bus *b)
{
    weft_bus_stats s = {.size = sizeof s};

    CU_ASSERT_EQUAL(weft_bus_get_stats(b, &s), WEFT_OK);
    return s;
}

#define FLUSH(b) CU_ASSERT_EQUAL(weft_bus_flush((b), 60000), WEFT_OK)

/* --- small parts --- */

/* From the paper, appendix A: the key 00..0f and the message 00..0e. */
static void the_hash_is_siphash_2_4(void)
{
    struct siphash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908}, other = {1, 2};
    uint8_t message[15];

    for (unsigned i = 0; i < sizeof message; i++)
        message[i] = (uint8_t)i;
    CU_ASSERT_EQUAL(siphash(&key, message, sizeof message), 0xa129ca6149be45e5);
    CU_ASSERT_EQUAL(siphash(&key, message, 0), 0x726fdb47dd0e0e31);
    CU_ASSERT_NOT_EQUAL(siphash(&other, message, 15), siphash(&key, message, 15));
}

static void urls_are_taken_apart(void)
{
    struct bus_url u;
    const char *why = NULL;

    CU_ASSERT_EQUAL(bus_url_parse(&u, "local:", &why), WEFT_OK);
    CU_ASSERT(u.is_local);
    CU_ASSERT_EQUAL_FATAL(bus_url_parse(&u, "redis://ann:p%40ss@h.example:7000/3", &why), WEFT_OK);
    CU_ASSERT_STRING_EQUAL(u.seeds[0].host, "h.example");
    CU_ASSERT_STRING_EQUAL(u.user, "ann");
    CU_ASSERT_STRING_EQUAL(u.password, "p@ss");
    CU_ASSERT(u.seed_count == 1 && u.seeds[0].port == 7000 && u.db == 3 && !u.is_secure);
    bus_url_fini(&u);
    CU_ASSERT_EQUAL_FATAL(bus_url_parse(&u, "rediss://:secret@[::1]", &why), WEFT_OK);
    CU_ASSERT(u.is_secure && u.seeds[0].port == 6379 && !u.user && strcmp(u.seeds[0].host, "::1") == 0);
    bus_url_fini(&u);
    CU_ASSERT_EQUAL_FATAL(bus_url_parse(&u, "redis://h:80", &why), WEFT_OK);
    CU_ASSERT_EQUAL(u.seeds[0].port, 80);
    bus_url_fini(&u);
    CU_ASSERT_EQUAL_FATAL(bus_url_parse(&u, "redis+unix:/run/r.sock?db=2", &why), WEFT_OK);
    CU_ASSERT(strcmp(u.path, "/run/r.sock") == 0 && u.db == 2 && u.seed_count == 0);
    bus_url_fini(&u);
    CU_ASSERT_EQUAL_FATAL(bus_url_parse(&u, "redis+unix:///run/r.sock", &why), WEFT_OK);
    CU_ASSERT(strcmp(u.path, "/run/r.sock") == 0 && u.db == 0 && !u.password);
    bus_url_fini(&u);
    CU_ASSERT_EQUAL_FATAL(bus_url_parse(&u, "redis+unix://ann:p%2F%40@/run/r@1.sock?db=2", &why), WEFT_OK);
    CU_ASSERT(strcmp(u.path, "/run/r@1.sock") == 0 && u.db == 2 && u.seed_count == 0);
    CU_ASSERT(strcmp(u.user, "ann") == 0 && strcmp(u.password, "p/@") == 0);
    bus_url_fini(&u);
    CU_ASSERT_EQUAL_FATAL(bus_url_parse(&u, "redis+unix://:secret@/r", &why), WEFT_OK);
    CU_ASSERT(!u.user && strcmp(u.password, "secret") == 0);
    bus_url_fini(&u);
    CU_ASSERT_EQUAL_FATAL(bus_url_parse(&u, "redis://a:b,c@h:1,[::2],j:3/0", &why), WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(u.seed_count, 3);
    CU_ASSERT_STRING_EQUAL(u.password, "b,c");
    CU_ASSERT(strcmp(u.seeds[0].host, "h") == 0 && strcmp(u.seeds[1].host, "::2") == 0);
    CU_ASSERT(u.seeds[0].port == 1 && u.seeds[1].port == 6379 && u.seeds[2].port == 3);
    bus_url_fini(&u);
}

static void wrong_urls_are_refused_with_a_reason(void)
{
    static const char *const wrong[] = {"",
                                        "local",
                                        "redis:/x",
                                        "http://h",
                                        "redis://",
                                        "redis://h/x",
                                        "redis://h/99999999",
                                        "redis://h:0",
                                        "redis://h:66000",
                                        "redis+unix:relative",
                                        "redis+unix:/a?x=1",
                                        "redis-cluster://h",
                                        "redis://h,",
                                        "redis://h,,i",
                                        "redis://h/1,i/2",
                                        "redis://a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q",
                                        "redis://a b",
                                        "redis://ann@h",
                                        "rediss://ann@h,i",
                                        "redis+unix:",
                                        "redis+unix:/",
                                        "redis+unix://",
                                        "redis+unix://ann@/r",
                                        "redis+unix://ann:s@",
                                        "redis+unix://ann:s@r",
                                        "redis+unix://ann:se/cret@/r",
                                        "redis+unix://ann:s@?db=1",
                                        "redis+unix://a b:s@/r"};

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct bus_url u;
        const char *why = NULL;

        CU_ASSERT_EQUAL(bus_url_parse(&u, wrong[i], &why), WEFT_E_INVAL);
        CU_ASSERT(why && *why);
    }
}

static void a_history_holds_the_last_ones_within_all_its_limits(void)
{
    struct history_limits limits = {.messages = 5, .age_ms = 100, .bytes = 100000};
    struct history h;

    bus_history_init(&h, &limits, NULL, (weft_bus_position){7, 0});
    CU_ASSERT_EQUAL(bus_history_first(&h), 1);
    for (unsigned i = 1; i <= 12; i++) {
        weft_msg *m = e2e_bytes(i, 'x');
        bus_history_put(&h, m, i * 10, i);
        weft_msg_unref(m);
    }
    CU_ASSERT(h.at.offset == 12 && h.count == 5 && bus_history_first(&h) == 8);
    for (unsigned i = 8; i <= 12; i++)
        CU_ASSERT(weft_msg_bytes(bus_history_get(&h, i)) == i && history_tag(&h, i) == i);
    CU_ASSERT(history_tag(&h, 7) == 0 && history_tag(&h, 13) == 0);
    bus_history_prune(&h, 200);
    CU_ASSERT_EQUAL(bus_history_first(&h), 11);
    h.limits.bytes = 1000;
    weft_msg *big = e2e_bytes(2000, 'y');
    bus_history_put(&h, big, 210, 1);
    weft_msg_unref(big);
    CU_ASSERT(h.count == 0 && h.at.offset == 13 && bus_history_first(&h) == 14);
    bus_history_fini(&h);
}

/* Each earlier one until what followed it is forgotten, and no further than it went. */
static void a_history_knows_its_earlier_epochs_while_that_is_of_use(void)
{
    struct history_limits limits = {.messages = 5, .bytes = 100000};
    weft_msg *m = e2e_text("x");
    struct history h;

    bus_history_init(&h, &limits, NULL, (weft_bus_position){1, 0});
    for (uint64_t epoch = 1; epoch <= 20; epoch++) {
        bus_history_put(&h, m, 1, 0);
        bus_history_put(&h, m, 1, 0);
        bus_history_renew(&h, epoch + 1);
    }
    bus_history_put(&h, m, 1, 0); /* 37 to 41 are held, in epoch 21 */
    CU_ASSERT_EQUAL(bus_history_first(&h), 37);
    CU_ASSERT(h.before_count <= 4 && h.before_room <= 8);
    CU_ASSERT(bus_history_knows(&h, &(weft_bus_position){21, 41}));
    CU_ASSERT(bus_history_knows(&h, &(weft_bus_position){20, 40}));
    CU_ASSERT(bus_history_knows(&h, &(weft_bus_position){19, 38}));
    CU_ASSERT(bus_history_knows(&h, &(weft_bus_position){18, 36}));
    CU_ASSERT_FALSE(bus_history_knows(&h, &(weft_bus_position){21, 42}));
    CU_ASSERT_FALSE(bus_history_knows(&h, &(weft_bus_position){20, 41}));
    CU_ASSERT_FALSE(bus_history_knows(&h, &(weft_bus_position){19, 39}));
    CU_ASSERT_FALSE(bus_history_knows(&h, &(weft_bus_position){1, 1}));
    bus_history_fini(&h);
    weft_msg_unref(m);
}

/* Whoever fills many, or one, takes nothing from those that hold little. */
static void histories_together_have_a_bound_and_those_that_hold_the_most_give(void)
{
    enum { LARGE = 20, BYTES_MAX = 400000 };
    struct history_limits limits = {.messages = 1000, .bytes = BYTES_MAX};
    struct histories all = {.bytes_max = BYTES_MAX};
    struct history small, large[LARGE];
    weft_msg *m = e2e_bytes(1000, 'x'), *huge = e2e_bytes(BYTES_MAX - 1000, 'y');

    bus_history_init(&small, &limits, &all, (weft_bus_position){1, 0});
    for (int i = 0; i < 5; i++)
        bus_history_put(&small, m, 1, 0);
    for (int i = 0; i < LARGE; i++)
        bus_history_init(&large[i], &limits, &all, (weft_bus_position){1, 0});
    for (int n = 0; n < 100; n++)
        for (int i = 0; i < LARGE; i++) {
            bus_history_put(&large[i], m, 1, 0);
            CU_ASSERT_FATAL(all.bytes <= BYTES_MAX);
            CU_ASSERT(large[i].at.offset == (uint64_t)n + 1);
        }
    CU_ASSERT(all.bytes > BYTES_MAX - 8192 && small.count == 5);
    for (int i = 0; i < LARGE; i++)
        CU_ASSERT(large[i].count >= 6 && large[i].count <= 40);
    bus_history_put(&large[0], huge, 1, 0); /* as much as all: it does not put the others out */
    CU_ASSERT(all.bytes <= BYTES_MAX && large[0].count == 0 && bus_history_first(&large[0]) == 102);
    CU_ASSERT(small.count == 5);
    bus_history_fini(&small);
    for (int i = 0; i < LARGE; i++)
        bus_history_fini(&large[i]);
    CU_ASSERT_EQUAL(all.bytes, 0);
    weft_msg_unref(m);
    weft_msg_unref(huge);
}

/* --- listeners --- */

static void listeners_get_their_topics_in_order(void)
{
    weft_bus *b = open_local(NULL);
    struct heard *one = listen_to(b, "orders.eu", NULL), *all = listen_to(b, "orders.*", NULL);
    struct heard *every = listen_to(b, "*", NULL);

    say(b, "orders.eu", "a");
    say(b, "orders.us", "b");
    say(b, "order", "c");
    say(b, "orders.eu", "d");
    FLUSH(b);
    CU_ASSERT_STRING_EQUAL(one->text, "orders.eu=a@0 orders.eu=d@0 ");
    CU_ASSERT_STRING_EQUAL(all->text, "orders.eu=a@0 orders.us=b@0 orders.eu=d@0 ");
    CU_ASSERT_STRING_EQUAL(every->text, "orders.eu=a@0 orders.us=b@0 order=c@0 orders.eu=d@0 ");
    CU_ASSERT_EQUAL(stats_of(b).topics, 3);
    end_heard(one);
    end_heard(all);
    end_heard(every);
    say(b, "orders.eu", "nobody");
    FLUSH(b);
    CU_ASSERT(stats_of(b).topics == 0 && stats_of(b).subscriptions == 0 && stats_of(b).queued_bytes == 0);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
}

static void end_itself(struct heard *h)
{
    weft_bus_unlisten(h->listener);
    h->listener = NULL;
}

static void a_listener_may_end_itself_in_its_callback(void)
{
    weft_bus *b = open_local(NULL);
    struct heard *h = listen_to(b, "t", NULL);

    h->also = end_itself;
    say(b, "t", "1");
    say(b, "t", "2");
    FLUSH(b);
    CU_ASSERT_EQUAL(h->items, 1);
    end_heard(h);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
}

static void unlisten_waits_for_the_call_that_runs(void)
{
    weft_bus *b = open_local(NULL);
    struct heard *h = listen_to(b, "t", NULL);

    h->sleep_us = 100000;
    say(b, "t", "1");
    WAIT_FOR(h->begun == 1);
    weft_bus_unlisten(h->listener);
    CU_ASSERT_EQUAL(h->items, 1);
    h->listener = NULL;
    end_heard(h);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
}

static void a_listener_may_outlive_its_bus(void)
{
    weft_bus *b = open_local(NULL);
    struct heard *h = listen_to(b, "t", NULL);

    say(b, "t", "1");
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
    CU_ASSERT_EQUAL(h->items, 1);
    end_heard(h);
}

struct end_of_listener {
    struct heard *h;
    atomic_bool *go;
};

static void *unlisten_when_told(void *arg)
{
    struct end_of_listener *e = arg;

    while (!*e->go) {
    }
    end_heard(e->h);
    return NULL;
}

/* Whoever comes last frees the bus, with nobody touching it behind that. */
static void a_listener_may_end_while_its_bus_is_closed(void)
{
    unsigned rounds = unit_is_slow() ? 200 : 2000;

    for (unsigned i = 0; i < rounds; i++) {
        weft_bus *b = open_local(NULL);
        atomic_bool go = false;
        struct end_of_listener e = {listen_to(b, "t", NULL), &go};
        pthread_t thread;

        pthread_create(&thread, NULL, unlisten_when_told, &e);
        go = true;
        CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
        pthread_join(thread, NULL);
    }
}

static weft_bus *being_closed;

static bool wants_stop(weft_bus *b)
{
    bool it_does;

    pthread_mutex_lock(&b->lock);
    it_does = b->wants_stop;
    pthread_mutex_unlock(&b->lock);
    return it_does;
}

static void hold_the_first_until_it_is_closed(struct heard *h)
{
    while (h->begun == 1 && !wants_stop(being_closed))
        usleep(1000);
}

static void say_one_more(struct heard *h)
{
    hold_the_first_until_it_is_closed(h);
    say(being_closed, "t", "more");
}

static void what_was_published_before_the_close_is_passed_on(void)
{
    weft_bus *b = being_closed = open_local(NULL);
    struct heard *h = listen_to(b, "t", NULL);

    h->also = hold_the_first_until_it_is_closed;
    say(b, "t", "1");
    WAIT_FOR(h->begun == 1); /* so the others wait behind it */
    say(b, "t", "2");
    say(b, "t", "3");
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
    CU_ASSERT_STRING_EQUAL(h->text, "t=1@0 t=2@0 t=3@0 ");
    end_heard(h);
}

/* How many items there were until the deadline. */
static unsigned close_without_end(void)
{
    weft_bus *b = being_closed = open_local(NULL);
    struct heard *h = listen_to(b, "t", NULL);
    unsigned items;

    h->also = say_one_more;
    say(b, "t", "1");
    WAIT_FOR(h->begun == 1);
    CU_ASSERT_EQUAL(weft_bus_close(b, 50), WEFT_E_TIMEOUT);
    items = h->items;
    end_heard(h);
    return items;
}

static void a_close_that_comes_to_no_end_tells_that_something_was_lost(void)
{
    SUCCEEDS_ONCE(close_without_end() > 1);
}

struct publisher {
    weft_bus *bus;
    unsigned number, count;
};

static void *publish_many(void *arg)
{
    struct publisher *p = arg;
    char text[32];

    for (unsigned i = 0; i < p->count; i++) {
        snprintf(text, sizeof text, "%u %u", p->number, i);
        say(p->bus, "t", text);
    }
    return NULL;
}

struct order {
    unsigned next[4];
    unsigned faults;
};

static void check_order(const weft_bus_item *item, void *arg)
{
    struct order *o = arg;
    unsigned who = 9, i = 0;
    char text[32] = "";

    memcpy(text, weft_msg_data(item->msg), weft_msg_bytes(item->msg));
    sscanf(text, "%u %u", &who, &i);
    if (who > 3 || o->next[who]++ != i)
        o->faults++;
}

static void each_publisher_keeps_its_order(void)
{
    weft_bus *b = open_local(NULL);
    weft_bus_listener *l;
    struct order o = {0};
    struct publisher p[4];
    pthread_t threads[4];
    unsigned count = unit_is_slow() ? 500 : 5000;

    CU_ASSERT_EQUAL(weft_bus_listen(b, &l, "t", NULL, NULL, check_order, &o), WEFT_OK);
    for (unsigned i = 0; i < 4; i++) {
        p[i] = (struct publisher){b, i, count};
        pthread_create(&threads[i], NULL, publish_many, &p[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    FLUSH(b);
    CU_ASSERT_EQUAL(o.faults, 0);
    for (unsigned i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(o.next[i], count);
    weft_bus_unlisten(l);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
}

/* --- history --- */

static const weft_bus_rule rules[] = {{"short.*", 3, 0}, {"h.*", 100, 0}, {"timed", 100, 1}};
static const weft_bus_opts with_rules = {.size = sizeof(weft_bus_opts), .rules = rules, .rule_count = 3};

static void who_resumes_gets_what_it_missed_and_what_follows(void)
{
    weft_bus *b = open_local(&with_rules);
    struct heard *first = listen_to(b, "h.x", NULL), *again, *all;
    weft_bus_position at, nothing = {0};

    WAIT_FOR(first->readies == 1);
    CU_ASSERT_EQUAL(first->ready.at.offset, 0);
    say(b, "h.x", "a");
    say(b, "h.x", "b");
    FLUSH(b);
    at = (weft_bus_position){first->ready.at.epoch, 1};
    CU_ASSERT_NOT_EQUAL(at.epoch, 0);
    end_heard(first);
    say(b, "h.x", "c");
    again = listen_to(b, "h.x", &at);
    all = listen_to(b, "h.x", &nothing);
    say(b, "h.x", "d");
    FLUSH(b);
    CU_ASSERT_STRING_EQUAL(again->text, "h.x=b@2 h.x=c@3 h.x=d@4 ");
    CU_ASSERT(again->ready.missed == 2 && !again->ready.is_gap && again->ready.at.epoch == at.epoch);
    CU_ASSERT_STRING_EQUAL(all->text, "h.x=a@1 h.x=b@2 h.x=c@3 h.x=d@4 ");
    CU_ASSERT_FALSE(all->ready.is_gap);
    end_heard(again);
    end_heard(all);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
}

static void a_gap_that_is_too_old_is_told(void)
{
    weft_bus *b = open_local(&with_rules);
    struct heard *h = listen_to(b, "short.x", NULL), *old, *just, *other;
    weft_bus_position at;

    for (int i = 0; i < 6; i++)
        say(b, "short.x", "m");
    FLUSH(b);
    at = (weft_bus_position){h->ready.at.epoch, 2};
    old = listen_to(b, "short.x", &at);
    at.offset = 3;
    just = listen_to(b, "short.x", &at);
    at.epoch++;
    other = listen_to(b, "short.x", &at);
    FLUSH(b);
    WAIT_FOR(other->readies == 1);
    CU_ASSERT(old->ready.is_gap && old->ready.missed == 3);
    CU_ASSERT(!just->ready.is_gap && just->ready.missed == 3);
    CU_ASSERT(other->ready.is_gap && other->ready.missed == 3);
    end_heard(h);
    end_heard(old);
    end_heard(just);
    end_heard(other);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
}

static void without_history_resuming_is_told_as_a_gap(void)
{
    weft_bus *b = open_local(&with_rules);
    weft_bus_position at = {1, 1};
    struct heard *h = listen_to(b, "plain", &at);

    WAIT_FOR(h->readies == 1);
    CU_ASSERT(h->ready.is_gap && h->ready.at.epoch == 0);
    end_heard(h);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
}

static void a_history_in_a_file_outlives_the_process(void)
{
    char path[] = "/tmp/weft-bus-XXXXXX", other[64];
    weft_bus_opts opts = with_rules;
    weft_bus_position at = {0};
    int fd = mkstemp(path);
    weft_bus *b = NULL;
    struct heard *h;

    close(fd);
    opts.history_file = path;
    if (weft_bus_open(&b, "local:", &opts) == WEFT_E_INVAL) {
        unlink(path); /* built without SQLite */
        return;
    }
    say(b, "h.x", "one");
    say(b, "h.x", "two");
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
    b = open_local(&opts);
    h = listen_to(b, "h.x", &at);
    say(b, "h.x", "three");
    FLUSH(b);
    CU_ASSERT_STRING_EQUAL(h->text, "h.x=one@1 h.x=two@2 h.x=three@3 ");
    CU_ASSERT_EQUAL(stats_of(b).history_failures, 0);
    end_heard(h);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
    for (int i = 0; i < 3; i++) {
        static const char *const ends[] = {"", "-wal", "-shm"};
        snprintf(other, sizeof other, "%s%s", path, ends[i]);
        unlink(other);
    }
}

static void a_history_file_that_cannot_be_used_is_refused(void)
{
    char path[] = "/tmp/weft-bus-XXXXXX";
    weft_bus_opts opts = with_rules;
    int fd = mkstemp(path);
    weft_bus *b = NULL;

    CU_ASSERT_EQUAL(write(fd, "This is no database, but long enough to look like a header of one.", 66), 66);
    close(fd);
    opts.history_file = path;
    CU_ASSERT_EQUAL(weft_bus_open(&b, "local:", &opts), WEFT_E_INVAL);
    unlink(path);
    opts.history_file = "/tmp/no-such-directory/history";
    CU_ASSERT_EQUAL(weft_bus_open(&b, "local:", &opts), WEFT_E_INVAL);
    CU_ASSERT_PTR_NULL(b);
}

static void histories_beyond_topics_max_are_forgotten_oldest_first(void)
{
    weft_bus_opts opts = with_rules;
    weft_bus_position nothing = {0};
    struct heard *first, *last;
    weft_bus *b;

    opts.topics_max = 3;
    b = open_local(&opts);
    say(b, "h.1", "x");
    say(b, "h.2", "x");
    say(b, "h.3", "x");
    say(b, "h.1", "y");
    say(b, "h.4", "x");
    FLUSH(b);
    CU_ASSERT_EQUAL(stats_of(b).topics, 3);
    first = listen_to(b, "h.1", &nothing);
    last = listen_to(b, "h.2", &nothing);
    FLUSH(b);
    WAIT_FOR(last->readies == 1);
    CU_ASSERT_STRING_EQUAL(first->text, "h.1=x@1 h.1=y@2 ");
    CU_ASSERT_STRING_EQUAL(last->text, "");
    end_heard(first);
    end_heard(last);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
}

/* What somebody listens to counts only where it remembers, and is never forgotten. */
/* What the bus remembers was sent by connections that may have gone: none can give it back. */
static void what_is_remembered_counts_in_its_own_bound_and_in_no_other(void)
{
    enum { MESSAGES = 3000, EACH = 1000 };
    weft_bus_opts opts = with_rules;
    void *ballast; /* so that the sum would show it if more were set apart than there is */
    char topic[16];
    uint64_t before;
    weft_bus *b;

    mem_count_used();
    ballast = mem_block_alloc(2 * MESSAGES * EACH);
    opts.histories_bytes_max = MESSAGES * EACH / 2;
    b = open_local(&opts);
    before = mem_used_bytes();
    for (unsigned i = 0; i < MESSAGES; i++) {
        snprintf(topic, sizeof topic, "h.%u", i % 40);
        CU_ASSERT_EQUAL(weft_bus_publish(b, topic, e2e_bytes(EACH, 'x')), WEFT_OK);
    }
    FLUSH(b);
    CU_ASSERT(mem_used_bytes() < before + 65536 && mem_used_bytes() + 65536 > before);
    CU_ASSERT(stats_of(b).history_bytes <= MESSAGES * EACH / 2);
    CU_ASSERT(stats_of(b).history_bytes > MESSAGES * EACH / 4);
    CU_ASSERT_EQUAL(weft_bus_close(b, 1000), WEFT_OK);
    CU_ASSERT(mem_used_bytes() + 65536 > before); /* it is taken back before it is freed, and once */
    CU_ASSERT(mem_used_bytes() < before + 65536);
    mem_block_free(ballast);
}

static void topics_without_a_history_forget_none_and_those_in_use_stay(void)
{
    enum { PLAIN = 20 };
    weft_bus_opts opts = with_rules;
    weft_bus_position nothing = {0};
    struct heard *plain[PLAIN], *used, *h;
    char name[16];
    weft_bus *b;

    opts.topics_max = 3;
    b = open_local(&opts);
    for (unsigned i = 0; i < PLAIN; i++) {
        snprintf(name, sizeof name, i % 2 ? "plain.%u" : "plain.%u*", i);
        plain[i] = listen_to(b, name, NULL);
    }
    used = listen_to(b, "h.used", NULL);
    say(b, "h.used", "x");
    say(b, "h.1", "x");
    say(b, "h.2", "x");
    FLUSH(b);
    CU_ASSERT_EQUAL(stats_of(b).topics, PLAIN + 3);
    say(b, "h.3", "x"); /* in place of h.1, though h.used was not used for longest */
    FLUSH(b);
    CU_ASSERT_EQUAL(stats_of(b).topics, PLAIN + 3);
    h = listen_to(b, "h.2", &nothing);
    WAIT_FOR(h->items == 1);
    CU_ASSERT_STRING_EQUAL(h->text, "h.2=x@1 ");
    CU_ASSERT_STRING_EQUAL(used->text, "h.used=x@1 ");
    end_heard(used);
    end_heard(h);
    say(b, "h.4", "x");
    say(b, "h.5", "x"); /* h.3 and h.used are gone, and h.2 was used behind them */
    FLUSH(b);
    h = listen_to(b, "h.2", &nothing);
    used = listen_to(b, "h.used", &nothing);
    WAIT_FOR(used->readies == 1);
    CU_ASSERT_STRING_EQUAL(h->text, "h.2=x@1 ");
    CU_ASSERT_STRING_EQUAL(used->text, "");
    end_heard(h);
    end_heard(used);
    for (unsigned i = 0; i < PLAIN; i++)
        end_heard(plain[i]);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
}

/* --- bounds and misuse --- */

static void wrong_arguments_are_refused(void)
{
    weft_bus *b = open_local(NULL);
    weft_bus_opts small = {.size = sizeof small, .reconnect_min_ms = 500, .reconnect_max_ms = 100};
    weft_bus_opts bad = {.size = sizeof bad, .prefix = "a{b"};
    char name[300];
    weft_msg *m = e2e_text("x");
    weft_bus *none;
    weft_bus_listener *l;

    memset(name, 'n', sizeof name);
    name[256] = '\0';
    CU_ASSERT_EQUAL(weft_bus_publish(b, "", m), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_bus_publish(b, NULL, m), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_bus_publish(b, "a*", m), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_bus_publish(b, name, m), WEFT_E_INVAL);
    name[255] = '\0';
    CU_ASSERT_EQUAL(weft_bus_publish(b, name, weft_msg_ref(m)), WEFT_OK);
    CU_ASSERT_EQUAL(weft_bus_listen(b, &l, "a*", &(weft_bus_position){0}, NULL, on_item, NULL), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_bus_listen(b, &l, "a", NULL, NULL, NULL, NULL), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_bus_open(&none, "local:", &small), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_bus_open(&none, "local:", &bad), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_bus_open(&none, "carrier-pigeon:", NULL), WEFT_E_INVAL);
    weft_msg_unref(m);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
    CU_ASSERT_EQUAL(weft_bus_close(NULL, 0), WEFT_OK);
}

static void a_bus_that_is_closed_answers_while_a_listener_holds_it(void)
{
    weft_bus *b = open_local(NULL);
    struct present p = {0};
    weft_msg *m = e2e_text("x");
    weft_bus_listener *l;

    CU_ASSERT_EQUAL_FATAL(weft_bus_listen(b, &l, "t", NULL, NULL, on_item, NULL), WEFT_OK);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
    CU_ASSERT_EQUAL(weft_bus_publish(b, "t", m), WEFT_E_CLOSED);
    CU_ASSERT_EQUAL(weft_bus_presence(b, "t", present_note, &p), WEFT_E_CLOSED);
    CU_ASSERT_EQUAL(weft_bus_flush(b, 1), WEFT_OK); /* nothing waits */
    CU_ASSERT_EQUAL(p.answers, 0);
    weft_msg_unref(m);
    weft_bus_unlisten(l);
}

static void bounds_answer_again_or_drop_and_count(void)
{
    weft_bus_opts opts = {
        .size = sizeof opts, .queue_bytes_max = 1024, .message_bytes_max = 600, .subscriptions_max = 1};
    weft_msg *m = e2e_bytes(500, 'x'), *big = e2e_bytes(601, 'x');
    weft_bus *b = open_local(&opts);
    struct heard *h = listen_to(b, "t", NULL);
    weft_bus_listener *l;
    int rc = WEFT_OK;

    CU_ASSERT_EQUAL(weft_bus_listen(b, &l, "u", NULL, NULL, on_item, NULL), WEFT_E_AGAIN);
    CU_ASSERT_EQUAL(weft_bus_publish(b, "t", big), WEFT_E_TOO_BIG);
    h->is_held = true;
    for (int i = 0; i < 3 && rc == WEFT_OK; i++)
        if ((rc = weft_bus_publish(b, "t", weft_msg_ref(m))) != WEFT_OK)
            weft_msg_unref(m);
    CU_ASSERT_EQUAL(rc, WEFT_E_AGAIN);
    CU_ASSERT_EQUAL(stats_of(b).refused, 1);
    h->is_held = false;
    end_heard(h);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
    opts.full_policy = WEFT_BUS_FULL_DROP;
    b = open_local(&opts);
    h = listen_to(b, "t", NULL);
    h->is_held = true;
    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(weft_bus_publish(b, "t", weft_msg_ref(m)), WEFT_OK);
    CU_ASSERT(stats_of(b).dropped_full >= 1);
    h->is_held = false;
    end_heard(h);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
    weft_msg_unref(m);
    weft_msg_unref(big);
}

/* Everything a bus does, with the n-th allocation failing: no crash, no leak, and what answers WEFT_OK is done. */
static void all_of_it(void)
{
    weft_bus *b;
    weft_bus_listener *l;
    weft_msg *m;
    weft_bus_position nothing = {0};
    struct heard *h = new_heard();

    if (weft_bus_open(&b, "local:", &with_rules) == WEFT_OK) {
        if (weft_bus_listen(b, &l, "h.x", &nothing, on_ready, on_item, h) != WEFT_OK)
            l = NULL;
        for (int i = 0; i < 12; i++)
            if (weft_msg_new(&m, WEFT_TEXT, "x", 1) == WEFT_OK && weft_bus_publish(b, "h.x", m) != WEFT_OK)
                weft_msg_unref(m);
        weft_bus_flush(b, 5000);
        weft_bus_unlisten(l);
        weft_bus_close(b, 5000);
    }
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static void every_allocation_may_fail(void)
{
    mem_count_live(true);
    int64_t before = mem_live_blocks();
    bool happened = true;
    uint64_t n;

    for (n = 1; happened && n < 500; n++) {
        mem_fail_at(n);
        all_of_it();
        happened = mem_fail_happened();
        mem_fail_at(0);
    }
    CU_ASSERT(n > 20 && n < 500);
    CU_ASSERT_EQUAL(mem_live_blocks(), before);
    mem_count_live(false);
}

/* --- connections --- */

static bool only_even(weft_conn *c, const weft_bus_item *item, void *arg)
{
    const char *p = weft_msg_data(item->msg);

    (void)c, (void)arg;
    return (p[weft_msg_bytes(item->msg) - 1] - '0') % 2 == 0;
}

static weft_msg *with_offset(const weft_bus_item *item, void *app)
{
    char text[256];

    (void)app;
    snprintf(text, sizeof text, "%s@%llu:%.*s", item->topic, (unsigned long long)item->at.offset,
             (int)weft_msg_bytes(item->msg), (const char *)weft_msg_data(item->msg));
    return e2e_text(text);
}

static void count_released(void *arg)
{
    (*(_Atomic unsigned *)arg)++;
}

ALL_MODES(connections_get_what_is_published_and_leave_by_themselves)
{
    struct client k[3];
    weft_conn *c[3];
    weft_bus *b = open_local(NULL);
    _Atomic unsigned released = 0;
    weft_bus_sub_opts o = {.size = sizeof o, .released = count_released, .arg = (void *)&released};

    CU_ASSERT_FATAL(e2e_start(t));
    for (unsigned i = 0; i < 3; i++) {
        CU_ASSERT(e2e_open(t, &k[i]));
        c[i] = e2e_take(t, i);
    }
    CU_ASSERT_EQUAL(weft_bus_subscribe(b, c[0], "t", &o), WEFT_OK);
    CU_ASSERT_EQUAL(weft_bus_subscribe(b, c[0], "t", &o), WEFT_OK); /* once more changes nothing */
    CU_ASSERT_EQUAL(weft_bus_subscribe(b, c[1], "t*", &o), WEFT_OK);
    o.filter = only_even;
    CU_ASSERT_EQUAL(weft_bus_subscribe(b, c[2], "t", &o), WEFT_OK);
    say(b, "t", "1");
    say(b, "t2", "2");
    say(b, "t", "4");
    CU_ASSERT(client_hears(&k[0], "1") && client_hears(&k[0], "4"));
    CU_ASSERT(client_hears(&k[1], "1") && client_hears(&k[1], "2") && client_hears(&k[1], "4"));
    CU_ASSERT(client_hears(&k[2], "4"));
    WAIT_FOR(released == 1);
    CU_ASSERT_EQUAL(weft_bus_unsubscribe(b, c[0], "t"), WEFT_OK);
    CU_ASSERT_EQUAL(weft_bus_unsubscribe(b, c[0], "never"), WEFT_OK);
    WAIT_FOR(released == 2);
    client_close(&k[1]);
    WAIT_FOR(released == 3);
    CU_ASSERT_EQUAL(stats_of(b).subscriptions, 1);
    CU_ASSERT_EQUAL(weft_bus_subscribe(b, c[1], "t", NULL), WEFT_E_CLOSED);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
    CU_ASSERT_EQUAL(released, 4);
    for (unsigned i = 0; i < 3; i++) {
        client_close(&k[i]);
        weft_conn_unref(c[i]);
    }
}

static void say_ready(weft_conn *c, const weft_bus_ready *ready, void *arg)
{
    char text[64];

    (void)arg;
    snprintf(text, sizeof text, "ready %u %s", ready->missed, ready->is_gap ? "gap" : "whole");
    e2e_send(c, e2e_text(text));
}

ALL_MODES(a_connection_that_comes_back_is_told_and_gets_what_it_missed)
{
    weft_bus_opts opts = with_rules;
    weft_bus_position from = {0};
    weft_bus_sub_opts o = {.size = sizeof o, .ready = say_ready, .from = &from};
    struct client k;
    weft_conn *c;
    weft_bus *b;

    opts.wrap = with_offset;
    b = open_local(&opts);
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(e2e_open(t, &k));
    c = e2e_take(t, 0);
    for (int i = 0; i < 5; i++)
        say(b, "short.a", "m");
    CU_ASSERT_EQUAL(weft_bus_subscribe(b, c, "short.a", &o), WEFT_OK);
    from = (weft_bus_position){12345, 1};
    CU_ASSERT_EQUAL(weft_bus_subscribe(b, c, "short.b", &o), WEFT_OK);
    say(b, "short.a", "n");
    CU_ASSERT(client_hears(&k, "ready 3 whole"));
    CU_ASSERT(client_hears(&k, "short.a@3:m") && client_hears(&k, "short.a@4:m") &&
              client_hears(&k, "short.a@5:m"));
    CU_ASSERT(client_hears(&k, "ready 0 gap"));
    CU_ASSERT(client_hears(&k, "short.a@6:n"));
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
    client_close(&k);
    weft_conn_unref(c);
}

ALL_MODES(who_subscribes_with_a_name_is_present_until_the_last_one_left)
{
    weft_bus *b = open_local(NULL);
    weft_bus_sub_opts o = {.size = sizeof o, .presence = "ann"};
    struct client k[2];
    weft_conn *c[2];
    struct present p = {0};

    CU_ASSERT_FATAL(e2e_start(t));
    for (unsigned i = 0; i < 2; i++) {
        CU_ASSERT(e2e_open(t, &k[i]));
        c[i] = e2e_take(t, i);
        CU_ASSERT_EQUAL(weft_bus_subscribe(b, c[i], "room", &o), WEFT_OK);
    }
    CU_ASSERT_EQUAL(weft_bus_presence(b, "room", present_note, &p), WEFT_OK);
    WAIT_FOR(p.answers == 1);
    CU_ASSERT_STRING_EQUAL(p.names, "ann ");
    client_close(&k[0]);
    WAIT_FOR(stats_of(b).subscriptions == 1);
    CU_ASSERT_EQUAL(weft_bus_presence(b, "room", present_note, &p), WEFT_OK);
    WAIT_FOR(p.answers == 2);
    CU_ASSERT_STRING_EQUAL(p.names, "ann ");
    client_close(&k[1]);
    WAIT_FOR(stats_of(b).subscriptions == 0);
    CU_ASSERT_EQUAL(weft_bus_presence(b, "room", present_note, &p), WEFT_OK);
    WAIT_FOR(p.answers == 3);
    CU_ASSERT(p.result == WEFT_OK && !p.names[0]);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
    for (unsigned i = 0; i < 2; i++)
        weft_conn_unref(c[i]);
}

ALL_MODES(a_name_has_as_many_bytes_as_a_topic_whatever_its_last_one_is)
{
    weft_bus *b = open_local(NULL);
    char name[257] = "";
    weft_bus_sub_opts o = {.size = sizeof o, .presence = name};
    struct client k;
    weft_conn *c;

    CU_ASSERT_FATAL(e2e_start(t) && e2e_open(t, &k));
    c = e2e_take(t, 0);
    memset(name, 'n', 255);
    name[255] = '*';
    CU_ASSERT_EQUAL(weft_bus_subscribe(b, c, "room", &o), WEFT_E_INVAL);
    name[254] = '*';
    name[255] = '\0';
    CU_ASSERT_EQUAL(weft_bus_subscribe(b, c, "room", &o), WEFT_OK);
    o.presence = "";
    CU_ASSERT_EQUAL(weft_bus_subscribe(b, c, "room", &o), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
    client_close(&k);
    weft_conn_unref(c);
}

static const struct unit_case cases[] = {
    CASE(the_hash_is_siphash_2_4),
    CASE(urls_are_taken_apart),
    CASE(wrong_urls_are_refused_with_a_reason),
    CASE(a_history_holds_the_last_ones_within_all_its_limits),
    CASE(a_history_knows_its_earlier_epochs_while_that_is_of_use),
    CASE(histories_together_have_a_bound_and_those_that_hold_the_most_give),
    CASE(listeners_get_their_topics_in_order),
    CASE(a_listener_may_end_itself_in_its_callback),
    CASE(unlisten_waits_for_the_call_that_runs),
    CASE(a_listener_may_outlive_its_bus),
    CASE(a_listener_may_end_while_its_bus_is_closed),
    CASE(what_was_published_before_the_close_is_passed_on),
    CASE(a_close_that_comes_to_no_end_tells_that_something_was_lost),
    CASE(each_publisher_keeps_its_order),
    CASE(who_resumes_gets_what_it_missed_and_what_follows),
    CASE(a_gap_that_is_too_old_is_told),
    CASE(without_history_resuming_is_told_as_a_gap),
    CASE(a_history_in_a_file_outlives_the_process),
    CASE(a_history_file_that_cannot_be_used_is_refused),
    CASE(histories_beyond_topics_max_are_forgotten_oldest_first),
    CASE(what_is_remembered_counts_in_its_own_bound_and_in_no_other),
    CASE(topics_without_a_history_forget_none_and_those_in_use_stay),
    CASE(wrong_arguments_are_refused),
    CASE(a_bus_that_is_closed_answers_while_a_listener_holds_it),
    CASE(bounds_answer_again_or_drop_and_count),
    CASE(every_allocation_may_fail),
    CASE(connections_get_what_is_published_and_leave_by_themselves),
    CASE(a_connection_that_comes_back_is_told_and_gets_what_it_missed),
    CASE(who_subscribes_with_a_name_is_present_until_the_last_one_left),
    CASE(a_name_has_as_many_bytes_as_a_topic_whatever_its_last_one_is),
};
E2E_MAIN("bus")
