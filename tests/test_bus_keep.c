/* The local bus with a file: what is in it when, what happens when it takes nothing, and what is left when the
 * process is killed. */
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/bus.h"
#include "base/clock.h"
#include "base/mem.h"
#include "e2e_server.h"
#include "faulty_file.h"
#include "unit.h"
#include "weft/weft.h"

#define FLUSH(b) CU_ASSERT_EQUAL(weft_bus_flush((b), 20000), WEFT_OK)

static const weft_bus_rule rules[] = {{"h.*", 100, 0}, {"long.*", 100000, 0}};

/* --- a file, and a bus with it --- */

static char file_path[64];

static void remove_file(void)
{
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    char path[96];

    for (unsigned i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        snprintf(path, sizeof path, "%s%s", file_path, ends[i]);
        unlink(path);
    }
}

/* A name of its own for each case; there is no such file yet. */
static void new_file(void)
{
    static unsigned number;

    file_fault = SQLITE_OK;
    file_is_held = false;
    snprintf(file_path, sizeof file_path, "/tmp/weft-keep-%d-%u.db", (int)getpid(), ++number);
    remove_file();
}

/* The last state, and how often it changed. */
struct told {
    _Atomic int state;
    _Atomic unsigned changes;
    char why[200];
};

static void on_state(weft_bus *b, enum weft_bus_state state, const char *why, void *app)
{
    struct told *t = app;

    (void)b;
    snprintf(t->why, sizeof t->why, "%s", why);
    t->state = (int)state;
    t->changes++;
}

static weft_bus_opts options(struct told *told)
{
    return (weft_bus_opts){.size = sizeof(weft_bus_opts),
                           .rules = rules,
                           .rule_count = 2,
                           .history_file = file_path,
                           .app = told,
                           .on_state = told ? on_state : NULL};
}

static weft_bus *open_with(const weft_bus_opts *o)
{
    weft_bus *b = NULL;

    CU_ASSERT_EQUAL_FATAL(weft_bus_open(&b, "local:", o), WEFT_OK);
    return b;
}

static weft_bus *open_bus(struct told *told)
{
    weft_bus_opts o = options(told);

    return open_with(&o);
}

static void close_bus(weft_bus *b)
{
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
}

static bool is_refused(void)
{
    weft_bus_opts o = options(NULL);
    weft_bus *b = NULL;

    return weft_bus_open(&b, "local:", &o) == WEFT_E_INVAL && !b;
}

static weft_bus_stats stats_of(weft_bus *b)
{
    weft_bus_stats s = {.size = sizeof s};

    CU_ASSERT_EQUAL(weft_bus_get_stats(b, &s), WEFT_OK);
    return s;
}

static void say(weft_bus *b, const char *topic, const char *text)
{
    CU_ASSERT_EQUAL(weft_bus_publish(b, topic, e2e_text(text)), WEFT_OK);
}

/* The writer waits with that message until the file is let go. */
static void say_to_held_file(weft_bus *b, const char *topic, const char *text)
{
    file_is_held = true;
    say(b, topic, text);
    WAIT_FOR(file_waiting == 1);
}

/* One statement, as somebody else. The first column of its first row, or 0. */
static int64_t sql(const char *text)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *st = NULL;
    int64_t n = 0;

    CU_ASSERT_EQUAL(sqlite3_open(file_path, &db), SQLITE_OK);
    sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL);
    CU_ASSERT_EQUAL(sqlite3_prepare_v2(db, text, -1, &st, NULL), SQLITE_OK);
    if (sqlite3_step(st) == SQLITE_ROW)
        n = sqlite3_column_int64(st, 0);
    CU_ASSERT_EQUAL(sqlite3_finalize(st), SQLITE_OK);
    sqlite3_close(db);
    return n;
}

/* --- who listens --- */

struct ear {
    weft_bus_listener *l;
    _Atomic unsigned readies, items, faults;
    weft_bus_ready ready;
    weft_bus_position last;
    char text[4096]; /* "payload@offset " of each */
};

static void on_ready(const weft_bus_ready *ready, void *arg)
{
    struct ear *e = arg;

    e->ready = *ready;
    e->readies++;
}

static void on_item(const weft_bus_item *item, void *arg)
{
    struct ear *e = arg;
    size_t n = strlen(e->text);

    snprintf(e->text + n, sizeof e->text - n, "%.*s@%llu ", (int)weft_msg_bytes(item->msg),
             (const char *)weft_msg_data(item->msg), (unsigned long long)item->at.offset);
    if (e->items && item->at.offset && item->at.offset != e->last.offset + 1)
        e->faults++;
    e->last = item->at;
    e->items++;
}

/* What it missed has come, too. */
static struct ear *listen_from(weft_bus *b, const char *topic, const weft_bus_position *from)
{
    struct ear *e = calloc(1, sizeof *e);

    CU_ASSERT_EQUAL_FATAL(weft_bus_listen(b, &e->l, topic, from, on_ready, on_item, e), WEFT_OK);
    WAIT_FOR(e->readies >= 1 && e->items >= e->ready.missed);
    return e;
}

static void end_ear(struct ear *e)
{
    CU_ASSERT_EQUAL(e->faults, 0);
    weft_bus_unlisten(e->l);
    free(e);
}

static const weft_bus_position all_of_it;

/* --- when it is in the file --- */

static void nobody_sees_a_message_before_it_is_in_the_file_and_other_topics_do_not_wait(void)
{
    struct ear *kept, *plain;
    weft_bus *b;

    new_file();
    b = open_bus(NULL);
    kept = listen_from(b, "h.x", NULL);
    plain = listen_from(b, "plain", NULL);
    say_to_held_file(b, "h.x", "one");
    say(b, "plain", "now");
    WAIT_FOR(plain->items == 1);
    CU_ASSERT_EQUAL(weft_bus_flush(b, 50), WEFT_E_TIMEOUT);
    CU_ASSERT(kept->items == 0 && stats_of(b).queued_bytes > 0);
    file_is_held = false;
    FLUSH(b);
    CU_ASSERT_STRING_EQUAL(kept->text, "one@1 ");
    CU_ASSERT_EQUAL(stats_of(b).queued_bytes, 0);
    end_ear(kept);
    end_ear(plain);
    close_bus(b);
    remove_file();
}

static void what_comes_while_the_file_is_busy_is_one_transaction(void)
{
    enum { MESSAGES = 1000 };
    unsigned before;
    struct ear *e;
    weft_bus *b;

    new_file();
    b = open_bus(NULL);
    e = listen_from(b, "long.x", NULL);
    say_to_held_file(b, "long.x", "first");
    for (unsigned i = 0; i < MESSAGES; i++)
        say(b, "long.x", "m");
    before = file_writes;
    file_is_held = false;
    FLUSH(b);
    CU_ASSERT_EQUAL(e->items, MESSAGES + 1);
    CU_ASSERT(file_writes - before < MESSAGES / 4);
    end_ear(e);
    close_bus(b);
    CU_ASSERT_EQUAL(sql("SELECT count(*) FROM message"), MESSAGES + 1);
    remove_file();
}

static void a_file_that_is_too_slow_fills_the_queue_to_its_bound(void)
{
    weft_msg *m = e2e_bytes(100, 'x');
    weft_bus_opts o = options(NULL);
    unsigned accepted = 0;
    struct ear *e;
    weft_bus *b;

    new_file();
    o.queue_bytes_max = 4096;
    b = open_with(&o);
    e = listen_from(b, "h.x", NULL);
    file_is_held = true;
    while (accepted < 1000 && weft_bus_publish(b, "h.x", weft_msg_ref(m)) == WEFT_OK)
        accepted++;
    weft_msg_unref(m);
    CU_ASSERT(accepted > 10 && accepted < 41 && stats_of(b).refused == 1);
    file_is_held = false;
    FLUSH(b);
    CU_ASSERT(e->items == accepted && stats_of(b).history_failures == 0);
    end_ear(e);
    close_bus(b);
    o.full_policy = WEFT_BUS_FULL_DROP;
    b = open_with(&o);
    file_is_held = true;
    for (unsigned i = 0; i < accepted + 1; i++)
        CU_ASSERT_EQUAL(weft_bus_publish(b, "h.x", weft_msg_ref(m)), WEFT_OK);
    CU_ASSERT_EQUAL(stats_of(b).dropped_full, 1);
    file_is_held = false;
    close_bus(b);
    weft_msg_unref(m);
    remove_file();
}

/* The bound of all histories together is the file's too, and holds for what a looser one has left there. */
static void what_goes_to_the_bound_of_all_histories_goes_from_the_file(void)
{
    enum { TOPICS = 30, MESSAGES = 40, EACH = 900, BYTES_MAX = 300000 };
    weft_bus_opts o = options(NULL);
    char topic[16];
    int64_t many;
    struct ear *e;
    weft_bus *b;

    new_file();
    o.histories_bytes_max = BYTES_MAX;
    b = open_with(&o);
    say(b, "h.small", "kept");
    for (unsigned i = 0; i < TOPICS * MESSAGES; i++) {
        snprintf(topic, sizeof topic, "h.%u", i % TOPICS);
        CU_ASSERT_EQUAL(weft_bus_publish(b, topic, e2e_bytes(EACH, 'x')), WEFT_OK);
    }
    close_bus(b);
    many = sql("SELECT count(*) FROM message");
    CU_ASSERT(many > BYTES_MAX / 2 / EACH && many * EACH <= BYTES_MAX);
    CU_ASSERT_EQUAL(sql("SELECT count(*) FROM message WHERE topic = CAST('h.small' AS BLOB)"), 1);
    o.histories_bytes_max = BYTES_MAX / 4;
    b = open_with(&o);
    CU_ASSERT(stats_of(b).history_bytes <= BYTES_MAX / 4);
    e = listen_from(b, "h.small", &all_of_it);
    CU_ASSERT_STRING_EQUAL(e->text, "kept@1 ");
    end_ear(e);
    e = listen_from(b, "h.7", &all_of_it);
    CU_ASSERT(e->ready.at.offset == MESSAGES && e->items < MESSAGES && e->items > 0);
    end_ear(e);
    close_bus(b);
    CU_ASSERT(sql("SELECT count(*) FROM message") * EACH <= BYTES_MAX / 4);
    remove_file();
}

/* A copy of what is in the file now; as much as it has pages is returned. */
static size_t read_pages(uint8_t *out, size_t room)
{
    int fd = open(file_path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, out, room);

    close(fd);
    CU_ASSERT_FATAL(n > 0 && (size_t)n < room && n % 4096 == 0);
    return (size_t)n / 4096;
}

static void write_pages(const uint8_t *bytes, size_t pages)
{
    int fd = open(file_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CU_ASSERT_EQUAL(write(fd, bytes, pages * 4096), (ssize_t)pages * 4096);
    close(fd);
}

/* Whichever page is damaged: it is refused, or nothing is missing. */
static void a_damaged_file_is_refused_and_loses_nothing_silently(void)
{
    enum { TOPICS = 3, MESSAGES = 15, EACH = 900, BYTES = 1 << 19 };
    uint8_t *good = calloc(2, BYTES), *bad = good + BYTES;
    unsigned refused = 0, whole = 0;
    size_t pages;
    weft_bus *b;

    new_file();
    b = open_bus(NULL);
    for (unsigned i = 0; i < TOPICS * MESSAGES; i++) {
        char topic[] = {'h', '.', (char)('a' + i % TOPICS), '\0'};
        CU_ASSERT_EQUAL(weft_bus_publish(b, topic, e2e_bytes(EACH, 'x')), WEFT_OK);
    }
    close_bus(b);
    pages = read_pages(good, BYTES);
    for (size_t i = 0; i < pages; i++) {
        weft_bus_opts o = options(NULL);

        memcpy(bad, good, pages * 4096);
        memset(bad + i * 4096, 0xff, 4096);
        remove_file();
        write_pages(bad, pages);
        if (weft_bus_open(&b, "local:", &o) == WEFT_E_INVAL) {
            refused++;
            continue;
        }
        whole++;
        for (unsigned n = 0; n < TOPICS; n++) {
            char topic[] = {'h', '.', (char)('a' + n), '\0'};
            struct ear *e = listen_from(b, topic, &all_of_it);
            CU_ASSERT(e->ready.at.offset == MESSAGES && e->items == MESSAGES);
            end_ear(e);
        }
        close_bus(b);
    }
    CU_ASSERT(refused >= 10 && whole <= 4);
    remove_file();
    free(good);
}

static void what_is_no_file_or_may_not_be_written_is_refused(void)
{
    static const char *const names[] = {":memory:", "", ":x"};
    weft_bus_opts o = options(NULL);
    bool is_root = geteuid() == 0;
    weft_bus *b = NULL;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        o.history_file = names[i];
        CU_ASSERT_EQUAL(weft_bus_open(&b, "local:", &o), WEFT_E_INVAL);
    }
    new_file();
    close_bus(open_bus(NULL));
    CU_ASSERT_EQUAL(chmod(file_path, 0444), 0);
    CU_ASSERT(!is_root || seteuid(65534) == 0); /* root writes everywhere */
    CU_ASSERT(is_refused());
    CU_ASSERT(!is_root || seteuid(0) == 0);
    remove_file();
}

/* --- the end --- */

static void close_writes_out_everything(void)
{
    enum { MESSAGES = 20000 };
    weft_bus *b;

    new_file();
    b = open_bus(NULL);
    for (unsigned i = 0; i < MESSAGES; i++)
        say(b, "long.x", "m");
    close_bus(b);
    CU_ASSERT_EQUAL(sql("SELECT offset FROM topic"), MESSAGES);
    CU_ASSERT_EQUAL(sql("SELECT count(*) FROM message"), MESSAGES);
    CU_ASSERT_EQUAL(sql("SELECT is_open FROM run"), 0);
    remove_file();
}

static bool is_being_closed(weft_bus *b)
{
    bool it_is;

    pthread_mutex_lock(&b->lock);
    it_is = b->wants_stop;
    pthread_mutex_unlock(&b->lock);
    return it_is;
}

/* Behind the deadline of 20 ms, however late the close itself began. */
static void *let_go(void *arg)
{
    while (!is_being_closed(arg))
        usleep(1000);
    usleep(40000);
    file_is_held = false;
    return NULL;
}

/* The transaction under way when the deadline passes is the last one. */
static void close_gives_up_at_its_deadline_and_what_it_passed_on_is_in_the_file(void)
{
    pthread_t helper;
    struct ear *e;
    weft_bus *b;

    new_file();
    b = open_bus(NULL);
    e = listen_from(b, "h.x", NULL);
    say_to_held_file(b, "h.x", "one");
    say(b, "h.x", "two");
    pthread_create(&helper, NULL, let_go, b);
    CU_ASSERT_EQUAL(weft_bus_close(b, 20), WEFT_E_TIMEOUT);
    pthread_join(helper, NULL);
    CU_ASSERT_STRING_EQUAL(e->text, "one@1 ");
    end_ear(e);
    CU_ASSERT_EQUAL(sql("SELECT offset FROM topic"), 1);
    remove_file();
}

/* Nothing waits behind the transaction that the deadline finds under way, so nothing is lost. */
static void close_tells_no_loss_when_the_last_transaction_has_it_all(void)
{
    pthread_t helper;
    struct ear *e;
    weft_bus *b;

    new_file();
    b = open_bus(NULL);
    e = listen_from(b, "h.x", NULL);
    say_to_held_file(b, "h.x", "one");
    pthread_create(&helper, NULL, let_go, b);
    CU_ASSERT_EQUAL(weft_bus_close(b, 20), WEFT_OK);
    pthread_join(helper, NULL);
    CU_ASSERT_STRING_EQUAL(e->text, "one@1 ");
    end_ear(e);
    CU_ASSERT_EQUAL(sql("SELECT offset FROM topic"), 1);
    CU_ASSERT_EQUAL(sql("SELECT is_open FROM run"), 0);
    remove_file();
}

/* --- a file that takes nothing --- */

static void the_chat_goes_on_in_memory_and_the_file_is_mended(int fault)
{
    struct told told = {0};
    weft_bus_position old, new;
    struct ear *live, *again;
    weft_bus *b;

    new_file();
    b = open_bus(&told);
    live = listen_from(b, "h.x", NULL);
    say(b, "h.x", "one");
    say(b, "h.idle", "kept");
    FLUSH(b);
    old = live->last;
    file_fault = fault;
    say(b, "h.x", "two");
    say(b, "h.x", "three");
    FLUSH(b);
    CU_ASSERT_STRING_EQUAL(live->text, "one@1 two@2 three@3 ");
    CU_ASSERT(told.state == WEFT_BUS_UNKEPT && told.changes == 1 && *told.why);
    CU_ASSERT(stats_of(b).history_failures == 2 && stats_of(b).state == WEFT_BUS_UNKEPT);
    new = live->last;
    CU_ASSERT(new.epoch != old.epoch &&new.offset == 3);
    again = listen_from(b, "h.x", &old);
    CU_ASSERT(!again->ready.is_gap && again->items == 2);
    end_ear(again);
    file_fault = SQLITE_OK;
    WAIT_FOR(told.state == WEFT_BUS_UP);
    say(b, "h.x", "four");
    FLUSH(b);
    CU_ASSERT_STRING_EQUAL(live->text, "one@1 two@2 three@3 four@4 ");
    CU_ASSERT_EQUAL(stats_of(b).history_failures, 2);
    end_ear(live);
    close_bus(b);
    b = open_bus(NULL);
    again = listen_from(b, "h.x", &new);
    CU_ASSERT_STRING_EQUAL(again->text, "four@4 ");
    CU_ASSERT_FALSE(again->ready.is_gap);
    end_ear(again);
    again = listen_from(b, "h.x", &all_of_it);
    CU_ASSERT_STRING_EQUAL(again->text, "one@1 two@2 three@3 four@4 ");
    end_ear(again);
    again = listen_from(b, "h.x", &old); /* nobody remembers that one followed the other */
    CU_ASSERT(again->ready.is_gap && again->items == 4);
    end_ear(again);
    close_bus(b);
    CU_ASSERT_EQUAL(sql("SELECT count(*) FROM message WHERE topic = CAST('h.idle' AS BLOB)"), 1);
    remove_file();
}

static void a_full_disk_is_told_and_mended(void)
{
    the_chat_goes_on_in_memory_and_the_file_is_mended(SQLITE_FULL);
}

static void a_disk_with_errors_is_told_and_mended(void)
{
    the_chat_goes_on_in_memory_and_the_file_is_mended(SQLITE_IOERR_WRITE);
}

static void a_disk_that_becomes_read_only_is_told_and_mended(void)
{
    the_chat_goes_on_in_memory_and_the_file_is_mended(SQLITE_READONLY);
}

static void what_was_seen_in_memory_only_is_given_no_second_time_behind_a_restart(void)
{
    weft_bus_position old, seen;
    struct ear *e;
    weft_bus *b;

    new_file();
    b = open_bus(NULL);
    e = listen_from(b, "h.x", NULL);
    say(b, "h.x", "one");
    FLUSH(b);
    old = e->last;
    file_fault = SQLITE_FULL;
    say(b, "h.x", "lost");
    FLUSH(b);
    seen = e->last;
    end_ear(e);
    CU_ASSERT_EQUAL(weft_bus_close(b, 20000),
                    WEFT_OK); /* all were passed on; and it does not wait for the disk */
    file_fault = SQLITE_OK;
    b = open_bus(NULL);
    say(b, "h.x", "new");
    e = listen_from(b, "h.x", &seen);
    FLUSH(b);
    WAIT_FOR(e->items == 2);
    CU_ASSERT(e->ready.is_gap && e->last.epoch == old.epoch && e->last.epoch != seen.epoch);
    CU_ASSERT_STRING_EQUAL(e->text, "one@1 new@2 ");
    end_ear(e);
    close_bus(b);
    remove_file();
}

/* Each failure is an epoch of its own; as long as what followed is remembered, nobody misses anything. */
static void positions_stay_good_however_often_the_file_fails(void)
{
    enum { FAILURES = 4 };
    weft_bus_position at[FAILURES + 1];
    struct told told = {0};
    struct ear *live, *again;
    weft_bus *b;

    new_file();
    b = open_bus(&told);
    live = listen_from(b, "h.x", NULL);
    for (unsigned i = 0; i <= FAILURES; i++) {
        say(b, "h.x", "written");
        FLUSH(b);
        at[i] = live->last;
        file_fault = i < FAILURES ? SQLITE_FULL : SQLITE_OK;
        say(b, "h.x", "not written");
        say(b, "h.x", "neither");
        FLUSH(b);
        file_fault = SQLITE_OK;
        WAIT_FOR(told.changes == (i < FAILURES ? 2 * i + 2 : 2 * FAILURES));
    }
    for (unsigned i = 0; i <= FAILURES; i++) {
        CU_ASSERT(i == 0 || at[i].epoch != at[i - 1].epoch);
        again = listen_from(b, "h.x", &at[i]);
        CU_ASSERT_FALSE(again->ready.is_gap);
        CU_ASSERT_EQUAL(again->items, live->last.offset - at[i].offset);
        end_ear(again);
    }
    end_ear(live);
    close_bus(b);
    remove_file();
}

/* Of the two blocks that are asked for then, the second is the copy of the history. */
static void a_topic_is_mended_too_when_there_was_no_memory_for_it_at_first(void)
{
    struct told told = {0};
    weft_bus *b;

    new_file();
    b = open_bus(&told);
    file_fault = SQLITE_FULL;
    say(b, "h.x", "one");
    WAIT_FOR(told.state == WEFT_BUS_UNKEPT);
    FLUSH(b);
    mem_fail_at(2);
    file_fault = SQLITE_OK;
    WAIT_FOR(mem_fail_happened());
    mem_fail_at(0);
    WAIT_FOR(told.state == WEFT_BUS_UP);
    close_bus(b);
    CU_ASSERT_EQUAL(sql("SELECT count(*) FROM message"), 1);
    remove_file();
}

/* The system's own bound: its signal must not end the process, and an error comes in its place. */
static void a_file_that_may_not_grow_is_an_error_and_not_a_signal(void)
{
    struct told told = {0};
    struct rlimit before, small;
    weft_msg *m = e2e_bytes(100000, 'x');
    weft_bus *b;

    new_file();
    b = open_bus(&told);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 200000;
    setrlimit(RLIMIT_FSIZE, &small);
    for (unsigned i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(weft_bus_publish(b, "h.x", weft_msg_ref(m)), WEFT_OK);
    WAIT_FOR(told.state == WEFT_BUS_UNKEPT);
    setrlimit(RLIMIT_FSIZE, &before);
    WAIT_FOR(told.state == WEFT_BUS_UP);
    close_bus(b);
    weft_msg_unref(m);
    CU_ASSERT_EQUAL(sql("SELECT count(*) FROM message"), 4);
    remove_file();
}

/* Many topics, publishers in several threads, and a file that fails now and then: each topic is complete and in
 * order for who listens, and in the file in the end. */
#define TOPICS 8

struct publisher {
    weft_bus *bus;
    unsigned from, count;
    pthread_t thread;
};

static void *publish_many(void *arg)
{
    struct publisher *p = arg;
    char topic[32], text[32];

    for (unsigned i = 0; i < p->count; i++) {
        snprintf(topic, sizeof topic, "long.%u", p->from + i % (TOPICS / 2));
        snprintf(text, sizeof text, "%u", i);
        say(p->bus, topic, text);
        if (i % 16 == 0)
            usleep(500);
    }
    return NULL;
}

static void topics_stay_complete_and_in_order_while_the_file_fails_now_and_then(void)
{
    unsigned count = unit_is_slow() ? 800 : 4000;
    struct publisher p[2];
    struct told told = {0};
    struct ear *e[TOPICS];
    char topic[32];
    weft_bus *b;

    new_file();
    b = open_bus(&told);
    for (unsigned i = 0; i < TOPICS; i++) {
        snprintf(topic, sizeof topic, "long.%u", i);
        e[i] = listen_from(b, topic, NULL);
    }
    for (unsigned i = 0; i < 2; i++) {
        p[i] = (struct publisher){.bus = b, .from = i * TOPICS / 2, .count = count};
        pthread_create(&p[i].thread, NULL, publish_many, &p[i]);
    }
    for (unsigned i = 0; i < 4; i++) {
        file_fault = i % 2 ? SQLITE_FULL : SQLITE_IOERR_WRITE;
        WAIT_FOR(told.changes == 2 * i + 1 || stats_of(b).passed_on == 2 * count);
        file_fault = SQLITE_OK;
        WAIT_FOR(told.state == WEFT_BUS_UP);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(p[i].thread, NULL);
    FLUSH(b);
    CU_ASSERT(told.changes >= 2);
    for (unsigned i = 0; i < TOPICS; i++) {
        CU_ASSERT(e[i]->items == count / (TOPICS / 2) && e[i]->last.offset == e[i]->items);
        end_ear(e[i]);
    }
    close_bus(b);
    CU_ASSERT_EQUAL(sql("SELECT count(*) FROM message"), 2 * count);
    CU_ASSERT_EQUAL(sql("SELECT sum(offset) FROM topic"), 2 * count);
    remove_file();
}

/* --- files that cannot be used, and files of others --- */

static void a_file_belongs_to_one_at_a_time(void)
{
    weft_bus *b;

    new_file();
    b = open_bus(NULL);
    CU_ASSERT(is_refused());
    say(b, "h.x", "goes on");
    FLUSH(b);
    CU_ASSERT_EQUAL(stats_of(b).history_failures, 0);
    close_bus(b);
    close_bus(open_bus(NULL));
    remove_file();
}

static void write_file(const char *text, unsigned times)
{
    FILE *f = fopen(file_path, "w");

    for (unsigned i = 0; i < times; i++)
        fputs(text, f);
    fclose(f);
}

static void a_file_that_is_none_or_cannot_be_read_or_written_is_refused(void)
{
    new_file();
    write_file("this is no database at all, but rather long\n", 200);
    CU_ASSERT(is_refused());
    remove_file();
    mkdir(file_path, 0700);
    CU_ASSERT(is_refused());
    rmdir(file_path);
    snprintf(file_path, sizeof file_path, "/tmp/weft-nowhere-%d/x.db", (int)getpid());
    CU_ASSERT(is_refused());
    new_file();
    file_fault = SQLITE_FULL;
    CU_ASSERT(is_refused());
    file_fault = SQLITE_OK;
    remove_file();
}

/* Of somebody who may not write: root may, so it becomes nobody meanwhile. */
static void a_file_that_may_only_be_read_is_refused(void)
{
    new_file();
    close_bus(open_bus(NULL));
    chmod(file_path, 0444);
    if (geteuid() != 0 || seteuid(65534) == 0)
        CU_ASSERT(is_refused());
    if (getuid() == 0)
        CU_ASSERT_EQUAL(seteuid(0), 0);
    remove_file();
}

static void a_file_of_a_later_weft_is_refused_and_one_of_an_earlier_one_goes_on(void)
{
    struct ear *e;
    weft_bus *b;

    new_file();
    sql("CREATE TABLE topic (name BLOB PRIMARY KEY, epoch INTEGER, offset INTEGER) WITHOUT ROWID");
    sql("CREATE TABLE message (topic BLOB, offset INTEGER, time_ms INTEGER, type INTEGER, data BLOB,"
        " PRIMARY KEY (topic, offset)) WITHOUT ROWID");
    sql("INSERT INTO topic VALUES (CAST('h.x' AS BLOB), 7, 2)");
    sql("INSERT INTO message VALUES (CAST('h.x' AS BLOB), 1, 1, 0, CAST('one' AS BLOB)),"
        " (CAST('h.x' AS BLOB), 2, 2, 0, CAST('two' AS BLOB))");
    b = open_bus(NULL);
    e = listen_from(b, "h.x", &(weft_bus_position){7, 1});
    CU_ASSERT_STRING_EQUAL(e->text, "two@2 ");
    CU_ASSERT_FALSE(e->ready.is_gap);
    end_ear(e);
    close_bus(b);
    sql("PRAGMA user_version = 1000");
    CU_ASSERT(is_refused());
    remove_file();
}

static void a_hole_in_the_file_is_told_as_a_gap(void)
{
    weft_bus_position at;
    struct ear *e;
    weft_bus *b;

    new_file();
    b = open_bus(NULL);
    e = listen_from(b, "h.x", NULL);
    for (unsigned i = 0; i < 5; i++)
        say(b, "h.x", "m");
    FLUSH(b);
    at = (weft_bus_position){e->last.epoch, 1};
    end_ear(e);
    close_bus(b);
    sql("DELETE FROM message WHERE offset = 3");
    b = open_bus(NULL);
    e = listen_from(b, "h.x", &at);
    CU_ASSERT(e->ready.is_gap && e->items == 2 && e->last.offset == 5);
    end_ear(e);
    close_bus(b);
    remove_file();
}

/* As after a power cut, which may have taken back the last commits. */
static void a_file_that_was_in_use_when_the_machine_went_down_is_told_as_a_gap(void)
{
    weft_bus_position at;
    struct ear *e;
    weft_bus *b;

    new_file();
    b = open_bus(NULL);
    e = listen_from(b, "h.x", NULL);
    say(b, "h.x", "one");
    say(b, "h.x", "two");
    FLUSH(b);
    at = (weft_bus_position){e->last.epoch, 1};
    end_ear(e);
    close_bus(b);
    sql("UPDATE run SET is_open = 1");
    b = open_bus(NULL); /* the same start of the machine: the process was killed */
    e = listen_from(b, "h.x", &at);
    CU_ASSERT(!e->ready.is_gap && e->items == 1);
    end_ear(e);
    close_bus(b);
    sql("UPDATE run SET is_open = 1, boot = 'another'");
    b = open_bus(NULL);
    e = listen_from(b, "h.x", &at);
    CU_ASSERT(e->ready.is_gap && e->items == 2 && e->last.epoch != at.epoch);
    end_ear(e);
    close_bus(b);
    remove_file();
}

static void the_file_forgets_the_topics_that_the_bus_forgets(void)
{
    weft_bus_opts o = options(NULL);
    struct ear *e;
    weft_bus *b;

    new_file();
    o.topics_max = 3;
    b = open_with(&o);
    say(b, "h.1", "x");
    say(b, "h.2", "x");
    FLUSH(b);
    say(b, "h.3", "x");
    say(b, "h.1", "y");
    FLUSH(b);
    say(b, "h.4", "x");
    say(b, "h.5", "x");
    FLUSH(b);
    say(b, "h.1", "z");
    say(b, "h.2", "anew");
    close_bus(b);
    o.topics_max = 2; /* from now on */
    b = open_with(&o);
    e = listen_from(b, "h.2", &all_of_it);
    CU_ASSERT_STRING_EQUAL(e->text, "anew@1 ");
    end_ear(e);
    close_bus(b);
    CU_ASSERT_EQUAL(sql("SELECT count(*) FROM topic"), 2);
    CU_ASSERT_EQUAL(sql("SELECT count(DISTINCT topic) FROM message"), 2);
    remove_file();
}

/* The disk stalls; names come and go. What never had a message is not in the file, and leaves nothing to be
 * done there. */
static void names_that_come_and_go_while_the_disk_stalls_hold_no_memory(void)
{
    enum { KEPT = 4, ROUNDS = 2000 };
    weft_bus_opts o = options(NULL);
    int64_t blocks = 0;
    char name[32];
    weft_bus *b;

    new_file();
    o.topics_max = KEPT;
    b = open_with(&o);
    for (unsigned i = 0; i < KEPT; i++) {
        snprintf(name, sizeof name, "h.kept.%u", i);
        say(b, name, "x");
    }
    FLUSH(b);
    mem_count_live(true);
    say_to_held_file(b, "h.waits", "x");
    for (unsigned i = 0; i < ROUNDS; i++) {
        snprintf(name, sizeof name, "h.fresh.%u", i);
        end_ear(listen_from(b, name, NULL));
        if (i == ROUNDS / 2)
            blocks = mem_live_blocks();
    }
    CU_ASSERT(mem_live_blocks() - blocks < ROUNDS / 8);
    mem_count_live(false);
    file_is_held = false;
    FLUSH(b);
    close_bus(b);
    CU_ASSERT_EQUAL(sql("SELECT count(*) FROM topic"), 1);
    remove_file();
}

/* With a look at all of them for each of them this would take minutes. */
static void a_file_with_many_more_topics_than_wanted_is_cut_at_once(void)
{
    weft_bus_opts o = options(NULL);
    weft_bus *b;

    new_file();
    close_bus(open_with(&o));
    sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 65536)"
        " INSERT INTO topic SELECT CAST('h.' || i AS BLOB), 7, 1 FROM n");
    sql("INSERT INTO message"
        " SELECT name, 1, CAST(substr(name, 3) AS INTEGER), 0, CAST('x' AS BLOB) FROM topic");
    o.topics_max = 1000;
    b = open_with(&o);
    CU_ASSERT_EQUAL(stats_of(b).topics, 1000);
    say(b, "h.65536", "y"); /* used last of all, so it is there still */
    FLUSH(b);
    close_bus(b);
    CU_ASSERT_EQUAL(sql("SELECT count(*) FROM topic"), 1000);
    CU_ASSERT_EQUAL(sql("SELECT count(*) FROM message"), 1001);
    remove_file();
}

/* --- killed --- */

/* A process that says "ROUND NUMBER" as fast as it can, and tells through its standard output what it has seen. */
static void tell_item(const weft_bus_item *item, void *arg)
{
    char line[96];
    int n = snprintf(line, sizeof line, "%llu %llu %.*s\n", (unsigned long long)item->at.epoch,
                     (unsigned long long)item->at.offset, (int)weft_msg_bytes(item->msg),
                     (const char *)weft_msg_data(item->msg));

    (void)arg;
    if (write(1, line, (size_t)n) != n)
        _exit(1);
}

static int be_child(const char *path, const char *round)
{
    weft_bus_opts o;
    weft_bus_listener *l;
    char text[64];
    weft_bus *b;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(file_path, sizeof file_path, "%s", path);
    o = options(NULL);
    o.queue_bytes_max = 65536;
    if (weft_bus_open(&b, "local:", &o) != WEFT_OK ||
        weft_bus_listen(b, &l, "long.x", NULL, NULL, tell_item, NULL) != WEFT_OK)
        return 1;
    for (unsigned i = 0;; i++) {
        weft_msg *m;
        snprintf(text, sizeof text, "%s-%u", round, i);
        if (weft_msg_new(&m, WEFT_TEXT, text, strlen(text)) != WEFT_OK)
            return 1;
        while (weft_bus_publish(b, "long.x", m) == WEFT_E_AGAIN)
            usleep(100);
    }
}

static FILE *start_child(unsigned round, pid_t *pid)
{
    char text[16];
    int ends[2];

    CU_ASSERT_EQUAL_FATAL(pipe2(ends, O_CLOEXEC), 0);
    snprintf(text, sizeof text, "%u", round);
    *pid = fork();
    if (*pid == 0) {
        dup2(ends[1], 1);
        execl("/proc/self/exe", "test_bus_keep", "--child", file_path, text, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    return fdopen(ends[0], "r");
}

struct book {
    char lines[200000][24]; /* by offset: what was said there */
    uint64_t epoch, last;
    unsigned count, faults;
};

/* The same offset means the same message, whoever tells it. */
static void note_seen(struct book *s, uint64_t epoch, uint64_t offset, const char *text)
{
    if (!s->epoch)
        s->epoch = epoch;
    if (epoch != s->epoch || offset == 0 || offset >= 200000 ||
        (s->lines[offset][0] && strcmp(s->lines[offset], text) != 0)) {
        s->faults++;
        return;
    }
    s->count += !s->lines[offset][0];
    snprintf(s->lines[offset], sizeof s->lines[offset], "%s", text);
    s->last = offset > s->last ? offset : s->last;
}

static void see_child(struct book *s, FILE *f, pid_t pid, unsigned until)
{
    unsigned long long epoch, offset;
    char line[96], text[24];
    unsigned n = 0;

    while (fgets(line, sizeof line, f)) { /* also what it told before it was killed */
        if (strchr(line, '\n') && sscanf(line, "%llu %llu %23s", &epoch, &offset, text) == 3)
            note_seen(s, epoch, offset, text);
        if (++n == until)
            kill(pid, SIGKILL);
    }
    fclose(f);
    waitpid(pid, NULL, 0);
    CU_ASSERT(n >= until);
}

static void see_item(const weft_bus_item *item, void *arg)
{
    char text[24];

    snprintf(text, sizeof text, "%.*s", (int)weft_msg_bytes(item->msg),
             (const char *)weft_msg_data(item->msg));
    note_seen(arg, item->at.epoch, item->at.offset, text);
}

static void a_process_that_is_killed_takes_nothing_back_that_was_seen(void)
{
    struct book *s = calloc(1, sizeof *s);
    unsigned rounds = unit_is_slow() ? 3 : 8;

    new_file();
    for (unsigned round = 0; round < rounds; round++) {
        weft_bus_position from;
        struct ear *e;
        weft_bus *b;
        weft_bus_listener *l;
        pid_t pid;
        FILE *f = start_child(round, &pid);

        see_child(s, f, pid, 300 + 137 * round);
        from = (weft_bus_position){s->epoch, s->last};
        b = open_bus(NULL);
        e = listen_from(b, "long.x", &from);
        CU_ASSERT_FALSE(e->ready.is_gap);
        CU_ASSERT(e->ready.at.epoch == s->epoch && e->ready.at.offset >= s->last);
        end_ear(e);
        from.offset /= 2;
        CU_ASSERT_EQUAL_FATAL(weft_bus_listen(b, &l, "long.x", &from, NULL, see_item, s), WEFT_OK);
        say(b, "long.x", "behind");
        FLUSH(b);
        WAIT_FOR(strcmp(s->lines[s->last], "behind") == 0);
        weft_bus_unlisten(l);
        close_bus(b);
        CU_ASSERT_EQUAL(s->count, s->last); /* nothing is missing */
    }
    CU_ASSERT_EQUAL(s->faults, 0);
    free(s);
    remove_file();
}

/* --- allocations --- */

static void use_all(void)
{
    weft_bus_opts o = options(NULL);
    weft_bus_listener *l = NULL;
    struct ear e = {0};
    weft_bus *b;
    weft_msg *m;

    if (weft_bus_open(&b, "local:", &o) != WEFT_OK)
        return;
    if (weft_bus_listen(b, &l, "h.x", &all_of_it, on_ready, on_item, &e) != WEFT_OK)
        l = NULL;
    for (int i = 0; i < 4; i++) {
        if (weft_msg_new(&m, WEFT_TEXT, "x", 1) == WEFT_OK && weft_bus_publish(b, "h.x", m) != WEFT_OK)
            weft_msg_unref(m);
        weft_bus_flush(b, 5000);
        file_fault = i == 1 ? SQLITE_FULL : SQLITE_OK;
    }
    weft_bus_unlisten(l);
    weft_bus_close(b, 5000);
    CU_ASSERT_EQUAL(e.faults, 0);
}

static void every_allocation_may_fail(void)
{
    bool happened = true;
    int64_t before;
    uint64_t n;

    new_file();
    use_all(); /* there is something to load */
    mem_count_live(true);
    before = mem_live_blocks();
    for (n = 1; happened && n < 500; n++) {
        mem_fail_at(n);
        use_all();
        happened = mem_fail_happened();
        mem_fail_at(0);
    }
    CU_ASSERT(n > 25 && n < 500);
    CU_ASSERT_EQUAL(mem_live_blocks(), before);
    mem_count_live(false);
    remove_file();
}

static const struct unit_case cases[] = {
    CASE(nobody_sees_a_message_before_it_is_in_the_file_and_other_topics_do_not_wait),
    CASE(what_comes_while_the_file_is_busy_is_one_transaction),
    CASE(a_file_that_is_too_slow_fills_the_queue_to_its_bound),
    CASE(what_goes_to_the_bound_of_all_histories_goes_from_the_file),
    CASE(a_damaged_file_is_refused_and_loses_nothing_silently),
    CASE(what_is_no_file_or_may_not_be_written_is_refused),
    CASE(close_writes_out_everything),
    CASE(close_gives_up_at_its_deadline_and_what_it_passed_on_is_in_the_file),
    CASE(close_tells_no_loss_when_the_last_transaction_has_it_all),
    CASE(a_full_disk_is_told_and_mended),
    CASE(a_disk_with_errors_is_told_and_mended),
    CASE(a_disk_that_becomes_read_only_is_told_and_mended),
    CASE(what_was_seen_in_memory_only_is_given_no_second_time_behind_a_restart),
    CASE(positions_stay_good_however_often_the_file_fails),
    CASE(a_topic_is_mended_too_when_there_was_no_memory_for_it_at_first),
    CASE(a_file_that_may_not_grow_is_an_error_and_not_a_signal),
    CASE(topics_stay_complete_and_in_order_while_the_file_fails_now_and_then),
    CASE(a_file_belongs_to_one_at_a_time),
    CASE(a_file_that_is_none_or_cannot_be_read_or_written_is_refused),
    CASE(a_file_that_may_only_be_read_is_refused),
    CASE(a_file_of_a_later_weft_is_refused_and_one_of_an_earlier_one_goes_on),
    CASE(a_hole_in_the_file_is_told_as_a_gap),
    CASE(a_file_that_was_in_use_when_the_machine_went_down_is_told_as_a_gap),
    CASE(the_file_forgets_the_topics_that_the_bus_forgets),
    CASE(names_that_come_and_go_while_the_disk_stalls_hold_no_memory),
    CASE(a_file_with_many_more_topics_than_wanted_is_cut_at_once),
    CASE(a_process_that_is_killed_takes_nothing_back_that_was_seen),
    CASE(every_allocation_may_fail),
};

int main(int argc, char **argv)
{
    faulty_file_begin();
    if (argc == 4 && strcmp(argv[1], "--child") == 0)
        return be_child(argv[2], argv[3]);
    return unit_main(argc, argv, "bus_keep", cases, sizeof cases / sizeof cases[0]);
}
