/* The bus through a real Redis, which is killed, stopped, filled, demoted and cut off. Each bus here has a thread and
 * an identity of its own, as those of several processes have; where a process must die, one is started. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "bus_load.h"
#include "e2e_server.h"
#include "fake.h"
#include "redis.h"
#include "weft/weft.h"
#ifdef WEFT_TLS
#include "tls_pair.h"
#endif

/* --- cases --- */

static void messages_go_from_one_process_to_the_other_as_they_are(void)
{
    static const char bytes[] = "a;\0\xff\r\n;b";
    struct redis_server s;
    weft_bus *a, *b;
    struct ear *exact, *prefix;
    weft_msg *m;

    redis_start(&s, false, NULL);
    a = open_bus(s.url);
    b = open_bus(s.url);
    exact = listen_to(b, "odd[1]?.x");
    prefix = listen_to(b, "odd[1]?*");
    say(a, "odd[1]?.x", "one");
    say(a, "odd1?.x", "other");
    say(a, "odd[1]?.y", "two");
    CU_ASSERT_EQUAL(weft_msg_new(&m, WEFT_BINARY, bytes, sizeof bytes), WEFT_OK);
    CU_ASSERT_EQUAL(weft_bus_publish(a, "odd[1]?.x", m), WEFT_OK);
    WAIT_FOR(exact->items == 2 && prefix->items == 3);
    CU_ASSERT(strstr(exact->text, "odd[1]?.x=one@0 ") == exact->text);
    CU_ASSERT(strstr(prefix->text, "odd[1]?.x=one@0 odd[1]?.y=two@0 ") == prefix->text);
    CU_ASSERT_EQUAL(stats_of(b).state, WEFT_BUS_UP);
    end_ear(exact);
    end_ear(prefix);
    WAIT_FOR(strcmp(redis_say(&s, "PUBSUB NUMPAT"), ":0\r\n") == 0);
    close_bus(a);
    close_bus(b);
    redis_end(&s);
}

static void redis_hears_only_of_topics_with_a_subscriber_here(void)
{
    struct redis_server s;
    struct ear *e, *f;
    weft_bus *b;

    redis_start(&s, false, NULL);
    b = open_bus(s.url);
    e = listen_to(b, "t");
    f = listen_to(b, "t");
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "PUBSUB NUMSUB weft:c:{t:t}"), "*2\r\n");
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "PUBLISH weft:c:{t:t} w1;junk"),
                           ":1\r\n"); /* one subscription for both */
    say(b, "t", "x");
    WAIT_FOR(e->items == 1 && f->items == 1); /* the junk is none of it */
    end_ear(e);
    end_ear(f);
    WAIT_FOR(strcmp(redis_say(&s, "PUBLISH weft:c:{t:t} junk"), ":0\r\n") == 0);
    close_bus(b);
    redis_end(&s);
}

static void what_others_publish_is_delivered_as_it_is_but_not_into_a_history(void)
{
    struct redis_server s;
    struct ear *plain, *pattern, *kept;
    weft_bus *b;

    redis_start(&s, false, NULL);
    b = open_bus(s.url);
    plain = listen_to(b, "news");
    pattern = listen_to(b, "n*");
    kept = listen_to(b, "h.x");
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "PUBLISH weft:c:{t:news} sold"), ":2\r\n");
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "PUBLISH weft:c:{t:h.x} sold"), ":1\r\n");
    say(b, "h.x", "ours");
    WAIT_FOR(plain->items == 1 && pattern->items == 1 && kept->items == 1);
    CU_ASSERT_STRING_EQUAL(plain->text, "news=sold@0 ");
    CU_ASSERT_STRING_EQUAL(kept->text, "h.x=ours@1 ");
    end_ear(plain);
    end_ear(pattern);
    end_ear(kept);
    close_bus(b);
    redis_end(&s);
}

static void who_resumes_gets_it_from_redis_and_a_gap_is_told(void)
{
    struct redis_server s;
    weft_bus *a, *b;
    weft_bus_position at, nothing = {0};
    struct ear *e, *again, *all, *old;

    redis_start(&s, false, NULL);
    a = open_bus(s.url);
    e = listen_to(a, "h.x");
    for (int i = 0; i < 250; i++)
        say(a, "h.x", "m");
    WAIT_FOR(e->items == 250);
    at = (weft_bus_position){e->last_epoch, 120};
    b = open_bus(s.url); /* it knows nothing yet */
    again = listen_from(b, "h.x", &at);
    all = listen_from(b, "h.x", &nothing);
    WAIT_FOR(again->items == 130 && all->items == 250);
    say(a, "h.x", "last");
    WAIT_FOR(again->items == 131 && all->items == 251);
    CU_ASSERT(again->ready.missed == 130 && !again->ready.is_gap);
    CU_ASSERT(again->last_offset == 251 && all->last_offset == 251 && !all->ready.is_gap);
    at.epoch++;
    old = listen_from(b, "h.x", &at);
    WAIT_FOR(old->readies == 1 && old->items == 251);
    CU_ASSERT(old->ready.is_gap);
    end_ear(old);
    end_ear(e);
    end_ear(again);
    end_ear(all);
    close_bus(a);
    close_bus(b);
    redis_end(&s);
}

static unsigned long calls_of_scripts(struct redis_server *s)
{
    const char *line = strstr(redis_say_all(s, "INFO commandstats"), "cmdstat_evalsha:calls=");

    return line ? strtoul(strchr(line, '=') + 1, NULL, 10) : 0;
}

static void large_messages_of_a_history_come_a_few_at_a_time(void)
{
    struct redis_server s;
    weft_bus_position nothing = {0};
    weft_msg *m = e2e_bytes(200000, 'x');
    unsigned long before;
    weft_bus *a, *b;
    struct ear *e;

    redis_start(&s, false, NULL);
    a = open_bus(s.url);
    for (int i = 0; i < 20; i++) {
        say(a, "h.x", "small");
        CU_ASSERT_EQUAL(weft_bus_publish(a, "h.x", weft_msg_ref(m)), WEFT_OK);
        CU_ASSERT_EQUAL(weft_bus_flush(a, 10000), WEFT_OK);
    }
    weft_msg_unref(m);
    before = calls_of_scripts(&s);
    b = open_bus(s.url);
    e = listen_from(b, "h.x", &nothing);
    WAIT_FOR(e->items == 40);
    CU_ASSERT(e->ready.missed == 40 && !e->ready.is_gap && e->last_offset == 40);
    CU_ASSERT_EQUAL(calls_of_scripts(&s) - before, 10); /* above 256 KiB none is added */
    end_ear(e);
    close_bus(a);
    close_bus(b);
    redis_end(&s);
}

#define SLOW_STEPS   30
#define ANSWER_IN_MS 2500

/* A page with one entry, in small pieces that together take longer than an answer may. */
static enum fake_answer answer_slowly(const struct fake_command *c, void *arg)
{
    (void)arg;
    if (!fake_is_fill(c) || strcmp(c->args[8], "-1") == 0)
        return FAKE_NOT_MINE;
    fake_say(
        c, "*7\r\n$1\r\n5\r\n$1\r\n1\r\n:0\r\n$1\r\n1\r\n$1\r\n0\r\n"
           "*1\r\n*2\r\n$3\r\n1-0\r\n*6\r\n$1\r\nt\r\n$1\r\n1\r\n$1\r\ni\r\n$1\r\nw\r\n$1\r\nd\r\n$31\r\nT");
    for (int i = 0; i < SLOW_STEPS; i++) {
        usleep(100000);
        fake_say(c, "x");
    }
    fake_say(c, "\r\n$0\r\n\r\n");
    return FAKE_ANSWERED;
}

static void an_answer_may_take_long_while_it_comes(void)
{
    weft_bus_position nothing = {0};
    weft_bus_opts o = options();
    struct fake f;
    struct ear *e;
    weft_bus *b;

    fake_start(&f, answer_slowly, NULL);
    o.reply_timeout_ms =
        ANSWER_IN_MS; /* much more than is between two pieces, also when this machine stops */
    b = open_with(f.url, &o);
    e = listen_from(b, "h.x", &nothing);
    WAIT_FOR(e->items == 1);
    CU_ASSERT(e->last_offset == 1 && e->gaps == 0);
    CU_ASSERT(stats_of(b).disconnects == 0 && f.conns == 2);
    end_ear(e);
    close_bus(b);
    fake_end(&f);
}

static void nothing_is_lost_when_redis_is_killed_and_restarted_under_load(void)
{
    weft_bus_opts o = options();
    struct redis_server s;
    struct load l;

    redis_start(&s, true, NULL);
    begin_load(&l, &o, s.url, "h.load", 0);
    for (unsigned i = 1; i <= 3; i++) {
        WAIT_FOR(l.ear->items > i * load_count() / 4);
        redis_kill(&s, SIGKILL);
        usleep(100000); /* away for a while; not a wait for anything */
        redis_start_again(&s);
    }
    end_load(&l);
    redis_end(&s);
}

static void nothing_is_lost_when_redis_is_too_slow_to_answer(void)
{
    weft_bus_opts o = impatient();
    struct redis_server s;
    struct load l;

    redis_start(&s, true, NULL);
    begin_load(&l, &o, s.url, "h.load", 0);
    WAIT_FOR(l.ear->items > load_count() / 4);
    redis_kill(&s, SIGSTOP);
    WAIT_FOR(stats_of(l.bus[0]).disconnects >= 1 && stats_of(l.bus[1]).disconnects >= 1 &&
             stats_of(l.bus[2]).disconnects >= 1);
    redis_kill(&s, SIGCONT);
    end_load(&l);
    redis_end(&s);
}

static void nothing_is_lost_when_redis_has_no_memory(void)
{
    weft_bus_opts o = options();
    struct redis_server s;
    struct load l;

    redis_start(&s, false, NULL);
    begin_load(&l, &o, s.url, "h.load", 500);
    WAIT_FOR(l.ear->items > load_count() / 4);
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "CONFIG SET maxmemory 1"), "+OK\r\n");
    WAIT_FOR(stats_of(l.bus[0]).retries >= 3 && stats_of(l.bus[1]).retries >= 3);
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "CONFIG SET maxmemory 0"), "+OK\r\n");
    end_load(&l);
    redis_end(&s);
}

static void nothing_is_lost_when_redis_is_demoted_for_a_while(void)
{
    char command[64];
    weft_bus_opts o = options();
    struct port nobody = port_keep();
    struct redis_server s;
    struct load l;

    redis_start(&s, false, NULL);
    begin_load(&l, &o, s.url, "h.load", 0);
    WAIT_FOR(l.ear->items > load_count() / 4);
    snprintf(command, sizeof command, "REPLICAOF 127.0.0.1 %u", nobody.number);
    CU_ASSERT_STRING_EQUAL(redis_say(&s, command), "+OK\r\n");
    WAIT_FOR(stats_of(l.bus[0]).disconnects >= 1 && stats_of(l.bus[1]).disconnects >= 1);
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "REPLICAOF NO ONE"), "+OK\r\n");
    end_load(&l);
    redis_end(&s);
    port_leave(&nobody);
}

/* Some of them, that is; the answer says how many. */
static bool drops(struct redis_server *s, const char *which)
{
    char command[64];

    snprintf(command, sizeof command, "CLIENT KILL TYPE %s SKIPME yes", which);
    return strcmp(redis_say(s, command), ":0\r\n") != 0;
}

/* As with an output buffer at its limit, an administrator, and scripts that were forgotten. */
static void nothing_is_lost_when_redis_drops_connections_and_scripts(void)
{
    weft_bus_opts o = options();
    struct redis_server s;
    struct load l;

    redis_start(&s, false, NULL);
    begin_load(&l, &o, s.url, "h.load", 0);
    for (unsigned i = 1; i <= 5; i++) {
        WAIT_FOR(l.ear->items > i * load_count() / 8);
        if (i == 3)
            CU_ASSERT_STRING_EQUAL(redis_say(&s, "SCRIPT FLUSH"), "+OK\r\n");
        WAIT_FOR(drops(&s, i % 2 ? "pubsub" : "normal"));
        WAIT_FOR(stats_of(l.bus[2]).connects > i);
    }
    end_load(&l);
    redis_end(&s);
}

static void nothing_is_lost_when_the_way_to_redis_is_cut(void)
{
    char url[64];
    weft_bus_opts o = impatient();
    struct redis_server s;
    struct proxy p;
    struct load l;

    redis_start(&s, false, NULL);
    proxy_start(&p, s.port);
    snprintf(url, sizeof url, "redis://127.0.0.1:%u", p.port);
    begin_load(&l, &o, url, "h.load", 0);
    WAIT_FOR(l.ear->items > load_count() / 4);
    p.is_cut = true;
    WAIT_FOR(stats_of(l.bus[0]).disconnects >= 1 && stats_of(l.bus[2]).disconnects >= 1);
    WAIT_FOR(stats_of(l.bus[2]).state == WEFT_BUS_DOWN);
    p.is_cut = false;
    end_load(&l);
    proxy_end(&p);
    redis_end(&s);
}

static void data_that_redis_lost_is_told_as_a_gap_and_it_goes_on(void)
{
    struct redis_server s;
    weft_bus *b;
    struct ear *e;
    uint64_t epoch;

    redis_start(&s, false, NULL);
    b = open_bus(s.url);
    e = listen_to(b, "h.x");
    say(b, "h.x", "one");
    WAIT_FOR(e->items == 1);
    CU_ASSERT_EQUAL(weft_bus_flush(b, 20000), WEFT_OK); /* else it may be published once more */
    epoch = e->last_epoch;
    redis_kill(&s, SIGKILL);
    WAIT_FOR(stats_of(b).disconnects == 1);
    say(b, "h.x", "two");
    redis_start_again(&s);
    WAIT_FOR(e->items == 2 && e->gaps == 1);
    CU_ASSERT(e->last_epoch != epoch && e->last_offset == 1);
    CU_ASSERT_STRING_EQUAL(e->text, "h.x=one@1 h.x=two@1 ");
    end_ear(e);
    close_bus(b);
    redis_end(&s);
}

static void a_server_that_is_behind_begins_a_new_epoch(void)
{
    struct redis_server s;
    weft_bus *a, *b;
    struct ear *e, *f;
    uint64_t epoch;

    redis_start(&s, false, NULL);
    a = open_bus(s.url);
    b = open_bus(s.url);
    e = listen_to(a, "h.x");
    f = listen_to(b, "h.x");
    for (int i = 0; i < 5; i++)
        say(a, "h.x", "m");
    WAIT_FOR(e->items == 5 && f->items == 5);
    CU_ASSERT_EQUAL(weft_bus_flush(a, 20000), WEFT_OK);
    epoch = e->last_epoch;
    /* As a replica that had not got the last two: without them, then everyone reconnects. */
    redis_say(&s, "HINCRBY weft:m:{t:h.x} o -2");
    redis_say(&s, "XDEL weft:s:{t:h.x} 4-0 5-0");
    redis_say(&s, "XSETID weft:s:{t:h.x} 3-0");
    redis_say(&s, "CLIENT KILL TYPE normal SKIPME yes");
    WAIT_FOR(stats_of(a).connects == 2 && stats_of(b).connects == 2 && stats_of(a).state == WEFT_BUS_UP &&
             stats_of(b).state == WEFT_BUS_UP);
    WAIT_FOR(redis_say(&s, "HGET weft:m:{t:h.x} pe")[1] != '-'); /* one of them has looked */
    say(b, "h.x", "after");
    WAIT_FOR(e->items == 6 && f->items == 6);
    CU_ASSERT(e->last_epoch != epoch && e->last_offset == 4 && e->last_epoch == f->last_epoch);
    CU_ASSERT(e->gaps == 0 && f->gaps == 0); /* nobody lost anything that was seen */
    end_ear(e);
    end_ear(f);
    close_bus(a);
    close_bus(b);
    redis_end(&s);
}

static void what_is_larger_than_allowed_here_is_a_gap_and_nothing_worse(void)
{
    weft_bus_opts small = options();
    struct redis_server s;
    weft_bus *a, *b;
    struct ear *e;

    small.message_bytes_max = 10;
    redis_start(&s, false, NULL);
    a = open_bus(s.url);
    b = open_with(s.url, &small);
    e = listen_to(b, "h.x");
    say(a, "h.x", "one");
    say(a, "h.x", "larger than allowed");
    say(a, "h.x", "two");
    WAIT_FOR(e->items == 2);
    CU_ASSERT_STRING_EQUAL(e->text, "h.x=one@1 h.x=two@3 ");
    CU_ASSERT(e->gaps == 1 && stats_of(b).disconnects == 0);
    end_ear(e);
    close_bus(a);
    close_bus(b);
    redis_end(&s);
}

/* With the n-th allocation failing: what was accepted gets there all the same, for the connection is made again. */
static void use_all(const char *url)
{
    weft_bus_position nothing = {0};
    struct ear *e = calloc(1, sizeof *e);
    weft_bus_opts o = options();
    weft_bus *b;
    weft_msg *m;

    if (weft_bus_open(&b, url, &o) == WEFT_OK) {
        if (weft_bus_listen(b, &e->l, "h.x", &nothing, on_ready, on_item, e) == WEFT_OK)
            WAIT_FOR(e->readies == 1);
        for (int i = 0; i < 3; i++)
            if (weft_msg_new(&m, WEFT_TEXT, "x", 1) == WEFT_OK && weft_bus_publish(b, "h.x", m) != WEFT_OK)
                weft_msg_unref(m);
        CU_ASSERT_EQUAL(weft_bus_flush(b, 10000), WEFT_OK);
        if (e->l)
            WAIT_FOR(e->items == stats_of(b).passed_on);
        weft_bus_unlisten(e->l);
        CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
    }
    free(e);
}

static void every_allocation_may_fail(void)
{
    struct redis_server s;
    bool happened = true;
    int64_t before;
    uint64_t n;

    redis_start(&s, false, NULL);
    mem_count_live(true);
    before = mem_live_blocks();
    for (n = 1; happened && n < 400; n++) {
        redis_say(&s, "FLUSHALL");
        mem_fail_at(n);
        use_all(s.url);
        happened = mem_fail_happened();
        mem_fail_at(0);
    }
    CU_ASSERT(n > 30 && n < 400);
    CU_ASSERT_EQUAL(mem_live_blocks(), before);
    mem_count_live(false);
    redis_end(&s);
}

struct states {
    _Atomic unsigned ups, downs;
};

static void note_state(weft_bus *b, enum weft_bus_state state, const char *why, void *app)
{
    struct states *s = app;

    (void)b, (void)why;
    if (state == WEFT_BUS_UP)
        s->ups++;
    else
        s->downs++;
}

static void while_redis_is_away_the_queue_fills_to_its_bound(void)
{
    struct states states = {0};
    weft_bus_opts o = options();
    struct redis_server s;
    weft_bus *b;
    int rc = WEFT_OK;
    unsigned accepted = 0;
    weft_msg *m = e2e_bytes(100, 'x');
    struct ear *e;

    redis_start(&s, true, NULL);
    o.queue_bytes_max = 4096;
    o.on_state = note_state;
    o.app = &states;
    b = open_with(s.url, &o);
    e = listen_to(b, "h.x");
    CU_ASSERT(states.ups == 1 && states.downs == 0);
    redis_kill(&s, SIGKILL);
    WAIT_FOR(states.downs == 1);
    while (accepted < 1000 && (rc = weft_bus_publish(b, "h.x", weft_msg_ref(m))) == WEFT_OK)
        accepted++;
    weft_msg_unref(m);
    CU_ASSERT_EQUAL(rc, WEFT_E_AGAIN);
    CU_ASSERT(accepted > 10 && accepted < 41);
    CU_ASSERT_EQUAL(weft_bus_flush(b, 50), WEFT_E_TIMEOUT);
    redis_start_again(&s);
    CU_ASSERT_EQUAL(weft_bus_flush(b, 10000), WEFT_OK);
    WAIT_FOR(e->items == accepted && states.ups == 2);
    weft_msg_unref(m);
    end_ear(e);
    redis_kill(&s, SIGKILL);
    say(b, "h.x", "never");
    CU_ASSERT_EQUAL(weft_bus_close(b, 100), WEFT_E_TIMEOUT);
    redis_end(&s);
}

/* What waits is settled when it is lost, too; whoever waited for it is told. */
static void what_is_lost_meanwhile_is_told_to_who_flushes_or_closes(void)
{
    weft_bus_opts o = impatient();
    struct redis_server s;
    weft_bus *b;

    redis_start(&s, false, NULL);
    b = open_with(s.url, &o);
    WAIT_FOR(stats_of(b).state == WEFT_BUS_UP);
    redis_kill(&s, SIGSTOP);
    say(b, "plain", "lost on its way");
    CU_ASSERT_EQUAL(weft_bus_flush(b, 20000), WEFT_E_TIMEOUT);
    CU_ASSERT_EQUAL(stats_of(b).dropped_lost, 1);
    redis_kill(&s, SIGCONT);
    say(b, "h.kept", "behind");                         /* is not lost when Redis is slow to go on */
    CU_ASSERT_EQUAL(weft_bus_flush(b, 20000), WEFT_OK); /* once told is enough */
    redis_kill(&s, SIGSTOP);
    say(b, "plain", "lost on its way");
    CU_ASSERT_EQUAL(weft_bus_close(b, 20000), WEFT_E_TIMEOUT);
    redis_kill(&s, SIGCONT);
    redis_end(&s);
}

static long pttl(struct redis_server *s, const char *key)
{
    char command[128];

    snprintf(command, sizeof command, "PTTL %s", key);
    return strtol(redis_say(s, command) + 1, NULL, 10);
}

/* Short ones not much behind what they hold: rooms that are opened and left must not fill Redis. */
static void what_a_topic_leaves_in_redis_goes_soon_behind_its_history(void)
{
    static const weft_bus_rule rules[] = {{"brief.*", 10, 2}, {"long.*", 10, 30 * 86400}};
    weft_bus_opts o = options();
    struct redis_server s;
    weft_bus *b;

    redis_start(&s, false, NULL);
    o.rules = rules;
    o.rule_count = 2;
    b = open_with(s.url, &o);
    say(b, "brief.x", "x");
    say(b, "long.x", "x");
    CU_ASSERT_EQUAL(weft_bus_flush(b, 20000), WEFT_OK);
    CU_ASSERT(pttl(&s, "weft:m:{t:brief.x}") > 20000 && pttl(&s, "weft:m:{t:brief.x}") <= 62000);
    CU_ASSERT(pttl(&s, "weft:m:{t:long.x}") > 30 * 86400000L && pttl(&s, "weft:m:{t:long.x}") <= 31 * 86400000L);
    CU_ASSERT(pttl(&s, "weft:s:{t:brief.x}") <= 2000);
    close_bus(b);
    redis_end(&s);
}

/* --- presence --- */

#define PRESENCE_MS 1500

/* Also in the child, where there are no assertions. */
static weft_bus *open_for_presence(const char *url)
{
    weft_bus_opts o = options();
    weft_bus *b;

    o.presence_timeout_ms = PRESENCE_MS;
    if (weft_bus_open(&b, url, &o) != WEFT_OK)
        abort();
    return b;
}

static weft_bus *child_bus;
static const char *child_name;

static void enter_room(weft_conn *c, void *app)
{
    weft_bus_sub_opts o = {.size = sizeof o, .presence = child_name};

    (void)app;
    if (weft_bus_subscribe(child_bus, c, "room", &o) != WEFT_OK)
        abort();
}

/* A process with a connection in the room, until it is killed. */
static int be_child(const char *url, const char *name)
{
    weft_server_opts opts = {.size = sizeof opts, .on_open = enter_room};
    weft_server *server;
    struct client k = {.fd = -1};
    uint16_t port = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    child_name = name;
    child_bus = open_for_presence(url);
    if (weft_server_new(&server, &opts) != WEFT_OK ||
        weft_server_listen_tcp(server, "127.0.0.1", 0, &port) != WEFT_OK ||
        weft_server_start(server) != WEFT_OK || !client_open(&k, port))
        return 1;
    for (;;)
        pause();
}

static pid_t start_child(const char *url, const char *name)
{
    pid_t pid = fork();

    if (pid == 0) {
        execl("/proc/self/exe", "test_bus_redis", "--child", url, name, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* When the one name in the room expires, in ms; 0: nobody is there. */
static uint64_t expires_at_ms(struct redis_server *s)
{
    const char *p = redis_say_all(s, "ZRANGE weft:p:{t:room} 0 -1 WITHSCORES");

    for (unsigned line = 0; p && line < 4;
         line++) /* the count, the name's length, the name, the time's length */
        p = (p = strchr(p, '\n')) ? p + 1 : NULL;
    return p ? strtoull(p, NULL, 10) : 0;
}

#define FRESHENINGS 4

/* Each time in good time: that the shortest of them is shows it also where a pause of this machine came in between. */
static void is_kept_fresh(struct redis_server *s)
{
    uint64_t shortest = UINT64_MAX, before = expires_at_ms(s), now;

    for (unsigned i = 0; i < FRESHENINGS; i++) {
        WAIT_FOR((now = expires_at_ms(s)) > before);
        if (before && now - before < shortest)
            shortest = now - before;
        before = now;
    }
    CU_ASSERT(shortest < PRESENCE_MS * 2 / 3);
}

static void the_names_of_a_process_that_died_expire(void)
{
    struct redis_server s;
    pid_t ann, bob;
    weft_bus *b;

    redis_start(&s, false, NULL);
    ann = start_child(s.url, "ann");
    bob = start_child(s.url, "bob");
    b = open_for_presence(s.url);
    WAIT_FOR(stats_of(b).state == WEFT_BUS_UP);
    WAIT_FOR(are_present(b, "room", "ann bob "));
    kill(ann, SIGKILL);
    waitpid(ann, NULL, 0);
    WAIT_FOR(are_present(b, "room", "bob "));
    is_kept_fresh(&s);
    WAIT_FOR(are_present(b, "room", "bob "));
    redis_kill(&s, SIGKILL);
    redis_start_again(&s); /* empty: bob tells again */
    WAIT_FOR(stats_of(b).connects >= 2);
    WAIT_FOR(are_present(b, "room", "bob "));
    kill(bob, SIGKILL);
    waitpid(bob, NULL, 0);
    WAIT_FOR(are_present(b, "room", ""));
    close_bus(b);
    redis_end(&s);
}

/* --- the way there --- */

static _Atomic unsigned refused_lines;

static void note_refused(enum weft_log_level level, uint64_t conn_id, const char *text, void *app)
{
    (void)level, (void)conn_id, (void)app;
    refused_lines += strstr(text, "refuses the topic") != NULL;
}

struct answered {
    _Atomic int result;
    _Atomic unsigned answers;
};

static void note_result(int result, const char *const *names, size_t count, void *arg)
{
    struct answered *a = arg;

    (void)names, (void)count;
    a->result = result;
    a->answers++;
}

static void what_is_not_permitted_concerns_its_topic_only(void)
{
    struct answered asked = {0};
    struct redis_server s;
    struct ear *good, *channel, *key;
    weft_bus *b;

    redis_start(&s, false, NULL);
    redis_say(&s, "ACL SETUSER default resetchannels &weft:c:{t:h.good} &weft:c:{t:h.key} &weft:c:{t:plain}");
    redis_say(&s, "ACL SETUSER default resetkeys ~weft:?:{t:h.good} ~weft:?:{t:h.channel} ~weft:d:*");
    weft_log_to(WEFT_LOG_WARNING, note_refused, NULL);
    b = open_bus(s.url);
    good = listen_to(b, "h.good");
    channel = listen_from(b, "h.channel", NULL); /* its channel is not permitted */
    key = listen_from(b, "h.key", NULL);         /* nor this one's keys */
    WAIT_FOR(refused_lines == 2);
    CU_ASSERT_EQUAL(weft_bus_presence(b, "hidden", note_result, &asked), WEFT_OK);
    WAIT_FOR(asked.answers == 1);
    CU_ASSERT_EQUAL(asked.result, WEFT_E_AGAIN);
    for (int i = 0; i < 10; i++) {
        say(b, "h.good", "x");
        CU_ASSERT_EQUAL(weft_bus_flush(b, 10000), WEFT_OK);
        usleep(20000); /* so that they are asked for again meanwhile; not a wait for anything */
    }
    WAIT_FOR(good->items == 10);
    CU_ASSERT(channel->readies == 0 && key->readies == 0);
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "ACL SETUSER default allchannels allkeys"), "+OK\r\n");
    WAIT_FOR(channel->readies == 1 && key->readies == 1);
    say(b, "h.channel", "x");
    say(b, "h.key", "x");
    WAIT_FOR(channel->items == 1 && key->items == 1);
    CU_ASSERT_EQUAL(refused_lines, 2); /* told once */
    CU_ASSERT(stats_of(b).disconnects == 0 && stats_of(b).connects == 1 && good->gaps == 0);
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
    end_ear(good);
    end_ear(channel);
    end_ear(key);
    close_bus(b);
    redis_end(&s);
}

static void a_question_that_is_open_at_the_end_is_answered(void)
{
    struct answered asked = {0};
    struct redis_server s;
    weft_bus *b;

    redis_start(&s, false, NULL);
    b = open_bus(s.url);
    WAIT_FOR(stats_of(b).state == WEFT_BUS_UP);
    redis_kill(&s, SIGSTOP);
    CU_ASSERT_EQUAL(weft_bus_presence(b, "room", note_result, &asked), WEFT_OK);
    close_bus(b);
    CU_ASSERT(asked.answers == 1 && asked.result == WEFT_E_CLOSED);
    redis_kill(&s, SIGCONT);
    redis_end(&s);
}

/* The first of them arrays that are too long, alone or together, and too deep; then nothing of the protocol. */
static const char *const nonsense[] = {
    "*2147483647\r\n",
    "*1048577\r\n",
    "*1000\r\n*1048000\r\n",
    "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    "*-2\r\n",
    "$-2\r\n",
    "$9999999999999999999999\r\n",
    "HTTP/1.1 400 Bad Request\r\n\r\n",
    "*7\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n$-1\r\n",
    "*0\r\n",
    "$-1\r\n",
    "-\r\n-\r\n-\r\n-\r\n",
};
#define NONSENSES (sizeof nonsense / sizeof nonsense[0])

static enum fake_answer answer_nonsense(const struct fake_command *c, void *arg)
{
    _Atomic unsigned *next = arg;
    unsigned i = fake_is_fill(c) ? (*next)++ : NONSENSES;

    if (i >= NONSENSES)
        return FAKE_NOT_MINE;
    fake_say(c, nonsense[i]);
    return nonsense[i][1] == '7' ? FAKE_CLOSE : FAKE_ANSWERED; /* that one is not whole */
}

static void answers_that_make_no_sense_end_the_connection_and_no_more(void)
{
    _Atomic unsigned next = 0;
    struct fake f;
    struct ear *e;
    weft_bus *b;

    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    fake_start(&f, answer_nonsense, &next);
    b = open_bus(f.url);
    e = listen_to(b, "h.x");
    CU_ASSERT(next > NONSENSES && e->items == 0);
    CU_ASSERT(stats_of(b).disconnects + 1 >= NONSENSES && stats_of(b).state == WEFT_BUS_UP);
    end_ear(e);
    close_bus(b);
    fake_end(&f);
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
}

static void the_next_server_of_the_url_is_tried(void)
{
    char url[96];
    struct port nobody = port_keep();
    struct redis_server s;
    struct ear *e;
    weft_bus *b;

    redis_start(&s, false, NULL);
    snprintf(url, sizeof url, "redis://127.0.0.1:%u,127.0.0.1:%u", nobody.number, s.port);
    b = open_bus(url);
    e = listen_to(b, "h.x");
    say(b, "h.x", "one");
    WAIT_FOR(e->items == 1);
    end_ear(e);
    close_bus(b);
    redis_end(&s);
    port_leave(&nobody);
}

#ifdef WEFT_TLS
static void tls_is_spoken_and_certificates_are_checked(void)
{
    char port[8], url[64];
    weft_bus_opts o = options();
    struct port secure = port_keep();
    struct redis_server s;
    weft_bus *good, *wary;
    struct ear *e;

    certs_make();
    snprintf(port, sizeof port, "%u", secure.number);
    const char *extra[] = {"--tls-port",
                           port,
                           "--tls-cert-file",
                           cert("server.pem"),
                           "--tls-key-file",
                           cert("server.key"),
                           "--tls-ca-cert-file",
                           cert("ca.pem"),
                           "--tls-auth-clients",
                           "no",
                           NULL};
    redis_start(&s, false, extra);
    snprintf(url, sizeof url, "rediss://localhost:%s", port);
    o.ca_file = cert("ca.pem");
    good = open_with(url, &o);
    o.ca_file = cert("stranger_ca.pem");
    wary = open_with(url, &o);
    e = listen_to(good, "h.x");
    for (int i = 0; i < 200; i++)
        say(good, "h.x", "through TLS");
    WAIT_FOR(e->items == 200);
    CU_ASSERT_EQUAL(stats_of(wary).connects, 0);
    end_ear(e);
    close_bus(good);
    close_bus(wary);
    redis_end(&s);
    port_leave(&secure);
    certs_remove();
}
#endif

static const struct unit_case cases[] = {
    CASE(messages_go_from_one_process_to_the_other_as_they_are),
    CASE(redis_hears_only_of_topics_with_a_subscriber_here),
    CASE(what_others_publish_is_delivered_as_it_is_but_not_into_a_history),
    CASE(who_resumes_gets_it_from_redis_and_a_gap_is_told),
    CASE(large_messages_of_a_history_come_a_few_at_a_time),
    CASE(an_answer_may_take_long_while_it_comes),
    CASE(nothing_is_lost_when_redis_is_killed_and_restarted_under_load),
    CASE(nothing_is_lost_when_redis_is_too_slow_to_answer),
    CASE(nothing_is_lost_when_redis_has_no_memory),
    CASE(nothing_is_lost_when_redis_is_demoted_for_a_while),
    CASE(nothing_is_lost_when_redis_drops_connections_and_scripts),
    CASE(nothing_is_lost_when_the_way_to_redis_is_cut),
    CASE(data_that_redis_lost_is_told_as_a_gap_and_it_goes_on),
    CASE(a_server_that_is_behind_begins_a_new_epoch),
    CASE(what_is_larger_than_allowed_here_is_a_gap_and_nothing_worse),
    CASE(every_allocation_may_fail),
    CASE(while_redis_is_away_the_queue_fills_to_its_bound),
    CASE(what_is_lost_meanwhile_is_told_to_who_flushes_or_closes),
    CASE(what_a_topic_leaves_in_redis_goes_soon_behind_its_history),
    CASE(the_names_of_a_process_that_died_expire),
    CASE(what_is_not_permitted_concerns_its_topic_only),
    CASE(a_question_that_is_open_at_the_end_is_answered),
    CASE(answers_that_make_no_sense_end_the_connection_and_no_more),
    CASE(the_next_server_of_the_url_is_tried),
#ifdef WEFT_TLS
    CASE(tls_is_spoken_and_certificates_are_checked),
#endif
};

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "--child") == 0)
        return be_child(argv[2], argv[3]);
    return unit_main(argc, argv, "bus_redis", cases, sizeof cases / sizeof cases[0]);
}
