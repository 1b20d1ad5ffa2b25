/* The way into a Redis: databases, users and what they may, sockets, and what is said when it stays shut. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus_load.h"
#include "e2e_server.h"
#include "fake.h"
#include "member.h"
#include "present.h"
#include "redis.h"
#include "weft/weft.h"

/* --- what is told --- */

#define SECRET "open-sesame"

/* Of the log, and of on_state. */
static struct {
    pthread_mutex_t lock;
    _Atomic unsigned secrets, lines, states, last_state, refused, roles, patterns;
    char why[512], refusal[512];
} told = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void note_line(enum weft_log_level level, uint64_t conn_id, const char *text, void *app)
{
    (void)level, (void)conn_id, (void)app;
    told.lines++;
    told.secrets += strstr(text, "sesa") != NULL;
    told.roles += strstr(text, "becomes a replica") != NULL;
    told.patterns += strstr(text, "refuses the topic pl*") != NULL;
    if (!strstr(text, "refused a message"))
        return;
    pthread_mutex_lock(&told.lock);
    snprintf(told.refusal, sizeof told.refusal, "%s", text);
    pthread_mutex_unlock(&told.lock);
    told.refused++;
}

static void note_state(weft_bus *b, enum weft_bus_state state, const char *why, void *app)
{
    (void)b, (void)app;
    told.secrets += strstr(why, "sesa") != NULL;
    pthread_mutex_lock(&told.lock);
    snprintf(told.why, sizeof told.why, "%s", why);
    pthread_mutex_unlock(&told.lock);
    told.last_state = state;
    told.states++;
}

static void begin_notes(void)
{
    told.secrets = told.lines = told.states = told.refused = told.roles = told.patterns = 0;
    told.last_state = UINT32_MAX;
    told.why[0] = told.refusal[0] = '\0';
    weft_log_to(WEFT_LOG_DEBUG, note_line, NULL);
}

static void end_notes(void)
{
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
}

static bool is_told(const char *text, const char *part)
{
    bool is;

    pthread_mutex_lock(&told.lock);
    is = strstr(text, part) != NULL;
    pthread_mutex_unlock(&told.lock);
    return is;
}

static weft_bus *open_noted(const char *url)
{
    weft_bus_opts o = options();

    o.on_state = note_state;
    return open_with(url, &o);
}

/* --- databases --- */

struct ears {
    struct ear *plain, *pattern, *kept;
};

static struct ears listen_to_all(weft_bus *b)
{
    return (struct ears){listen_to(b, "plain"), listen_to(b, "pl*"), listen_to(b, "h.x")};
}

static void say_to_all(weft_bus *b, const char *text)
{
    say(b, "plain", text);
    say(b, "h.x", text);
    CU_ASSERT_EQUAL(weft_bus_flush(b, 20000), WEFT_OK);
}

static void expect(const struct ears *e, const char *plain, const char *kept)
{
    WAIT_FOR(e->plain->items >= 3 && e->pattern->items >= 3 && e->kept->items >= 2);
    CU_ASSERT_STRING_EQUAL(e->plain->text, plain);
    CU_ASSERT_STRING_EQUAL(e->pattern->text, plain);
    CU_ASSERT_STRING_EQUAL(e->kept->text, kept);
    CU_ASSERT(e->kept->gaps == 0 && e->kept->readies == 1);
}

static void end_all(const struct ears *e)
{
    end_ear(e->plain);
    end_ear(e->pattern);
    end_ear(e->kept);
}

/* What Redis passes on comes in the order in which it was published: behind what is one's own nothing is to come. */
static void databases_are_buses_of_their_own(void)
{
    char url[128];
    struct redis_server s;
    weft_bus *zero, *fifteen;
    struct ears at_zero, at_fifteen;

    redis_start(&s, false, NULL);
    zero = open_bus(s.url);
    snprintf(url, sizeof url, "%s/15", s.url);
    fifteen = open_bus(url);
    at_zero = listen_to_all(zero);
    at_fifteen = listen_to_all(fifteen);
    say_to_all(fifteen, "a");
    say_to_all(zero, "b");
    say_to_all(fifteen, "c");
    say_to_all(zero, "d");
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "PUBLISH weft:c:{t:plain} e"), ":2\r\n");
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "PUBLISH weft:c15:{t:plain} f"), ":2\r\n");
    expect(&at_zero, "plain=b@0 plain=d@0 plain=e@0 ", "h.x=b@1 h.x=d@2 ");
    expect(&at_fifteen, "plain=a@0 plain=c@0 plain=f@0 ", "h.x=a@1 h.x=c@2 ");
    CU_ASSERT(at_zero.kept->last_epoch != at_fifteen.kept->last_epoch);
    end_all(&at_zero);
    end_all(&at_fifteen);
    WAIT_FOR(strcmp(redis_say(&s, "PUBSUB NUMPAT"), ":0\r\n") == 0);
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "PUBLISH weft:c15:{t:plain} g"), ":0\r\n");
    close_bus(zero);
    close_bus(fifteen);
    redis_end(&s);
}

/* --- users and passwords --- */

/* What CREDENTIALS@ makes of a server's URL. */
static const char *url_with(const struct redis_server *s, const char *credentials, const char *tail)
{
    static char url[256];

    snprintf(url, sizeof url, "redis://%s127.0.0.1:%u%s", credentials, s->port, tail);
    return url;
}

static const char *socket_url(const struct redis_server *s, const char *credentials, const char *tail)
{
    static char url[256];

    snprintf(url, sizeof url, "redis+unix://%s%s/sock%s", credentials, s->dir, tail);
    return url;
}

static void say_there(struct redis_server *s, const char *url, const char *db, const char *topic)
{
    char command[128];
    weft_bus *b = open_bus(url);

    say(b, topic, "x");
    CU_ASSERT_EQUAL(weft_bus_flush(b, 20000), WEFT_OK);
    close_bus(b);
    snprintf(command, sizeof command, "SELECT %s\r\nEXISTS weft:s:{t:%s}", db, topic);
    CU_ASSERT_STRING_EQUAL(redis_say_all(s, command), "+OK\r\n:1\r\n+OK\r\n");
}

static long keys_in(struct redis_server *s, const char *db)
{
    char command[64];
    const char *said;

    snprintf(command, sizeof command, "SELECT %s\r\nDBSIZE", db);
    said = redis_say_all(s, command);
    return said[5] == ':' ? strtol(said + 6, NULL, 10) : -1;
}

/* The default user may do nothing that a bus needs, so each that gets anywhere is who its URL says. */
static void the_user_the_password_and_the_database_of_the_url_are_used(void)
{
    static const char *const in_its_directory[] = {"--unixsocket", "sock", "--unixsocketperm", "700", NULL};
    struct redis_server s;
    weft_bus *b;

    redis_start(&s, false, in_its_directory);
    redis_say(&s, "ACL SETUSER ann on >open:sesame@/ ~* &* +@all");
    redis_say(&s, "ACL SETUSER default resetkeys resetchannels ~weft:s:* -evalsha -publish -subscribe");
    say_there(&s, url_with(&s, "ann:open%3Asesame%40%2F@", "/3"), "3", "h.a");
    say_there(&s, socket_url(&s, "ann:open%3Asesame%40%2F@", "?db=4"), "4", "h.b");
    say_there(&s, url_with(&s, "ann:open%3Asesame%40%2F@", ""), "0", "h.c");
    CU_ASSERT(keys_in(&s, "3") == 3 && keys_in(&s, "4") == 3 && keys_in(&s, "0") == 3);
    redis_say(&s, "ACL SETUSER default allkeys allchannels +@all");
    say_there(&s, socket_url(&s, "", "?db=5"), "5", "h.d");
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "CONFIG SET requirepass " SECRET), "+OK\r\n");
    b = open_bus(url_with(&s, ":" SECRET "@", "/6"));
    say(b, "h.e", "x");
    CU_ASSERT_EQUAL(weft_bus_flush(b, 20000), WEFT_OK);
    close_bus(b);
    CU_ASSERT_STRING_EQUAL(redis_say_all(&s, "AUTH " SECRET "\r\nSELECT 6\r\nEXISTS weft:s:{t:h.e}"),
                           "+OK\r\n+OK\r\n:1\r\n+OK\r\n");
    redis_end(&s);
}

static void who_has_no_or_a_wrong_password_is_told_once_why(void)
{
    static const char *const in_its_directory[] = {"--unixsocket", "sock", "--unixsocketperm", "700", NULL};
    static const char *const credentials[] = {"", ":wrong-sesame@", "ann:" SECRET "@", "default:sesame@"};
    struct redis_server s;

    redis_start(&s, false, in_its_directory);
    CU_ASSERT_STRING_EQUAL(redis_say(&s, "CONFIG SET requirepass " SECRET), "+OK\r\n");
    begin_notes();
    for (unsigned i = 0; i < 2 * sizeof credentials / sizeof credentials[0]; i++) {
        const char *who = credentials[i / 2];
        weft_bus *b = open_noted(i % 2 ? url_with(&s, who, "") : socket_url(&s, who, ""));

        WAIT_FOR(told.lines >= 4); /* it is tried on */
        CU_ASSERT(told.states == 1 && told.last_state == WEFT_BUS_CONNECTING);
        CU_ASSERT(is_told(told.why, *who ? "WRONGPASS" : "NOAUTH"));
        CU_ASSERT(stats_of(b).connects == 0 && stats_of(b).state == WEFT_BUS_CONNECTING);
        close_bus(b);
        CU_ASSERT_EQUAL(told.secrets, 0);
        begin_notes();
    }
    end_notes();
    redis_end(&s);
}

static void nobody_there_is_told_once_and_then_somebody(void)
{
    struct present p = {0};
    struct redis_server s;
    weft_bus *b;

    redis_start(&s, true, NULL);
    redis_kill(&s, SIGKILL);
    begin_notes();
    b = open_noted(s.url);
    WAIT_FOR(told.lines >= 3);
    CU_ASSERT(told.states == 1 && told.last_state == WEFT_BUS_CONNECTING && !is_told(told.why, "sesa"));
    CU_ASSERT(told.why[0]);
    CU_ASSERT_EQUAL(weft_bus_presence(b, "room", present_note, &p), WEFT_OK);
    WAIT_FOR(p.answers == 1);
    CU_ASSERT(p.result == WEFT_E_AGAIN && !strstr(weft_strerror(p.result), "queue"));
    redis_start_again(&s);
    WAIT_FOR(told.states == 2);
    CU_ASSERT_EQUAL(told.last_state, WEFT_BUS_UP);
    redis_kill(&s, SIGKILL);
    WAIT_FOR(told.states == 3);
    CU_ASSERT_EQUAL(told.last_state, WEFT_BUS_DOWN);
    end_notes();
    close_bus(b);
    redis_end(&s);
}

/* --- what nobody may read --- */

static const char *const repeated[] = {
    "-ERR unknown command 'AUTH', with args beginning with: 'ann' '" SECRET "' \r\n",
    "-ERR unknown command `AUTH`, with args beginning with: `ann`, `open-sesa`, \r\n",
    "-ERR '" SECRET "' is not a password of this server\r\n",
    "-WRONGPASS " SECRET "\r\n",
    "-LOADING " SECRET "\r\n",
};

static enum fake_answer repeat_the_password(const struct fake_command *c, void *arg)
{
    _Atomic unsigned *next = arg;

    if (!fake_is(c, "AUTH"))
        return FAKE_NOT_MINE;
    if (c->count != 3 || strcmp(c->args[1], "ann") != 0 || strcmp(c->args[2], SECRET) != 0)
        abort();
    fake_say(c, repeated[(*next)++ % (sizeof repeated / sizeof repeated[0])]);
    return FAKE_ANSWERED;
}

static void no_password_gets_into_the_log(void)
{
    static const char *const wrong[] = {"redis://ann:" SECRET "@",         "redis://ann:" SECRET "@h/x",
                                        "redis://ann:" SECRET "/@h",       "redis://ann:" SECRET "@h,",
                                        "redis+unix://ann:" SECRET "/@/r", "redis+unix://ann:" SECRET "@r",
                                        "redis+unix:ann:" SECRET "@/r",    "redis://" SECRET "@h",
                                        "redis//ann:" SECRET "@h"};
    weft_bus_opts o = options();
    _Atomic unsigned next = 0;
    char url[96];
    struct fake f;
    weft_bus *b;

    begin_notes();
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CU_ASSERT_EQUAL(weft_bus_open(&b, wrong[i], &o), WEFT_E_INVAL);
        CU_ASSERT_EQUAL(told.lines, i + 1);
    }
    fake_start(&f, repeat_the_password, &next);
    snprintf(url, sizeof url, "redis://ann:" SECRET "@127.0.0.1:%u", f.port);
    b = open_noted(url);
    WAIT_FOR(next > 20); /* each of them on each connection */
    CU_ASSERT(told.lines > 10 && told.states == 1);
    close_bus(b);
    fake_end(&f);
    CU_ASSERT_EQUAL(told.secrets, 0);
    end_notes();
}

/* --- what a user may --- */

/* The line that docs/growing.md gives. */
static void set_user(struct redis_server *s)
{
    static char line[1024];
    FILE *f = fopen(GROWING, "re");

    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    while (fgets(line, sizeof line, f) && strncmp(line, "    ACL SETUSER weft ", 21) != 0) {
    }
    fclose(f);
    CU_ASSERT_STRING_EQUAL(redis_say(s, line + 4), "+OK\r\n");
}

static void the_user_of_the_docs_may_do_all_that_a_bus_needs(void)
{
    weft_bus_position all = {0};
    struct redis_server s;
    struct ear *plain, *kept, *again, *pattern;
    struct member ann;
    weft_bus *b;

    redis_start(&s, false, NULL);
    set_user(&s);
    begin_notes();
    b = open_noted(url_with(&s, "weft:PASSWORD@", "/1"));
    member_join(&ann, url_with(&s, "weft:PASSWORD@", "/1"), "ann", 6000);
    plain = listen_to(b, "plain");
    kept = listen_to(b, "h.x");
    say(b, "plain", "x");
    say(b, "h.x", "x");
    WAIT_FOR(plain->items == 1 && kept->items == 1);
    again = listen_from(b, "h.x", &all);
    WAIT_FOR(again->items == 1);
    WAIT_FOR(are_present(b, MEMBER_ROOM, "ann "));
    member_leave(&ann);
    WAIT_FOR(are_present(b, MEMBER_ROOM, ""));
    redis_say_all(&s, "SELECT 1\r\nXADD weft:s:{t:h.x} * stray 1");
    say(b, "h.x", "x");
    WAIT_FOR(kept->items == 2 && kept->gaps == 1);
    CU_ASSERT(stats_of(b).disconnects == 0 && told.roles == 0 && told.refused == 0);
    pattern = listen_from(b, "pl*", NULL);
    WAIT_FOR(told.patterns == 1);
    redis_say(&s, "ACL SETUSER weft +psubscribe +punsubscribe &weft:c1:{t:pl*");
    WAIT_FOR(pattern->readies == 1);
    say(b, "plain", "y");
    WAIT_FOR(pattern->items == 1 && plain->items == 2);
    end_ear(plain);
    end_ear(kept);
    end_ear(again);
    end_ear(pattern);
    close_bus(b);
    CU_ASSERT(told.states == 1 && told.last_state == WEFT_BUS_UP);
    end_notes();
    redis_end(&s);
}

static void in_a_cluster_it_needs_what_the_docs_say(void)
{
    char url[128];
    struct redis_cluster c;
    struct redis_server *s = c.servers;
    struct ear *plain, *kept, *pattern;
    weft_bus *b;

    cluster_start(&c, 1, 0);
    set_user(s);
    redis_say(s, "ACL SETUSER weft +asking +spublish +ssubscribe +sunsubscribe +pubsub|numpat");
    redis_say(s, "ACL SETUSER weft +psubscribe +punsubscribe &weft:p: &weft:c:{t:pl*");
    begin_notes();
    snprintf(url, sizeof url, "redis://weft:PASSWORD@127.0.0.1:%u", s->port);
    b = open_noted(url);
    plain = listen_to(b, "plain");
    kept = listen_to(b, "h.x");
    pattern = listen_to(b, "pl*");
    say(b, "plain", "x");
    say(b, "h.x", "x");
    WAIT_FOR(plain->items == 1 && kept->items == 1 && pattern->items == 1);
    CU_ASSERT(stats_of(b).dropped_lost == 0 && told.refused == 0 && told.patterns == 0);
    end_ear(plain);
    end_ear(kept);
    end_ear(pattern);
    close_bus(b);
    end_notes();
    cluster_end(&c);
}

static void what_is_missing_is_said_with_the_servers_words(void)
{
    struct redis_server s;
    weft_bus *b;

    redis_start(&s, false, NULL);
    redis_say(&s, "ACL SETUSER weft on >PASSWORD ~* &* +@all -script");
    begin_notes();
    b = open_noted(url_with(&s, "weft:PASSWORD@", ""));
    WAIT_FOR(told.states == 1);
    CU_ASSERT(told.last_state == WEFT_BUS_CONNECTING && is_told(told.why, "NOPERM"));
    CU_ASSERT(is_told(told.why, "script"));
    redis_say(&s, "ACL SETUSER weft +script");
    WAIT_FOR(told.states == 2 && told.last_state == WEFT_BUS_UP);
    close_bus(b);
    end_notes();
    redis_end(&s);
}

#define REFUSED 50

static void messages_that_are_refused_are_told_once_and_counted(void)
{
    weft_bus_opts o = options();
    struct redis_server s;
    weft_bus *b;

    redis_start(&s, false, NULL);
    redis_say(&s, "ACL SETUSER weft on >PASSWORD ~* resetchannels &none +@all");
    begin_notes();
    b = open_with(url_with(&s, "weft:PASSWORD@", ""), &o);
    for (int i = 0; i < REFUSED; i++)
        say(b, "plain", "x");
    WAIT_FOR(stats_of(b).dropped_lost == REFUSED);
    CU_ASSERT_EQUAL(told.refused, 1);
    CU_ASSERT(is_told(told.refusal, "NOPERM"));
    CU_ASSERT_EQUAL(weft_bus_close(b, 10000), WEFT_OK);
    CU_ASSERT(told.refused == 2 && is_told(told.refusal, "49 times"));
    end_notes();
    redis_end(&s);
}

/* ROLE is one of them. The first server is a replica, which nothing but its refusal to write says. */
static void without_dangerous_commands_a_replica_is_left_when_it_refuses(void)
{
    char command[64], url[128];
    struct redis_server replica, master;
    weft_bus *b;
    struct ear *e;

    redis_start(&replica, false, NULL);
    redis_start(&master, false, NULL);
    redis_say(&replica, "ACL SETUSER weft on >PASSWORD ~* &* +@all -@dangerous");
    redis_say(&master, "ACL SETUSER weft on >PASSWORD ~* &* +@all -@dangerous");
    snprintf(command, sizeof command, "REPLICAOF 127.0.0.1 %u", master.port);
    redis_say(&replica, command);
    WAIT_FOR(strstr(redis_say_all(&replica, "INFO replication"), "master_link_status:up"));
    begin_notes();
    snprintf(url, sizeof url, "redis://weft:PASSWORD@127.0.0.1:%u,127.0.0.1:%u", replica.port, master.port);
    b = open_noted(url);
    WAIT_FOR(told.last_state == WEFT_BUS_UP);
    e = listen_to(b, "h.x");
    CU_ASSERT_STRING_EQUAL(redis_say(&replica, "PUBLISH weft:c:{t:h.x} none"), ":1\r\n");
    say(b, "h.x", "x");
    WAIT_FOR(e->items == 1);
    CU_ASSERT_STRING_EQUAL(redis_say(&master, "XLEN weft:s:{t:h.x}"), ":1\r\n");
    CU_ASSERT(told.roles == 1 && stats_of(b).disconnects >= 1 && stats_of(b).dropped_lost == 0);
    end_ear(e);
    close_bus(b);
    end_notes();
    redis_end(&replica);
    redis_end(&master);
}

static const struct unit_case cases[] = {
    CASE(databases_are_buses_of_their_own),
    CASE(the_user_the_password_and_the_database_of_the_url_are_used),
    CASE(who_has_no_or_a_wrong_password_is_told_once_why),
    CASE(nobody_there_is_told_once_and_then_somebody),
    CASE(no_password_gets_into_the_log),
    CASE(the_user_of_the_docs_may_do_all_that_a_bus_needs),
    CASE(in_a_cluster_it_needs_what_the_docs_say),
    CASE(what_is_missing_is_said_with_the_servers_words),
    CASE(messages_that_are_refused_are_told_once_and_counted),
    CASE(without_dangerous_commands_a_replica_is_left_when_it_refuses),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "bus_access", cases, sizeof cases / sizeof cases[0]);
}
