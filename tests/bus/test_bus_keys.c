/* What stands in Redis: how long it stays, and what becomes of it when somebody else has written there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bus_load.h"
#include "e2e_server.h"
#include "member.h"
#include "redis.h"
#include "weft/weft.h"

/* --- names --- */

#define SHORT_MS 6000
#define LONG_MS  600000

static long room_is_kept_ms(struct redis_server *s)
{
    return strtol(redis_say(s, "PTTL weft:p:{t:room}") + 1, NULL, 10);
}

static void who_has_a_short_time_takes_nobody_with_him(void)
{
    struct redis_server s;
    struct member brief, lasting;

    redis_start(&s, false, NULL);
    member_join(&brief, s.url, "ann", SHORT_MS);
    WAIT_FOR(are_present(brief.bus, "room", "ann "));
    CU_ASSERT(room_is_kept_ms(&s) <= SHORT_MS);
    member_join(&lasting, s.url, "bob", LONG_MS);
    WAIT_FOR(are_present(lasting.bus, "room", "ann bob "));
    CU_ASSERT(room_is_kept_ms(&s) > LONG_MS / 2); /* longer when somebody stays for longer */
    member_leave(&brief);
    member_join(&brief, s.url, "cid", SHORT_MS);
    WAIT_FOR(are_present(lasting.bus, "room", "bob cid "));
    CU_ASSERT(room_is_kept_ms(&s) > LONG_MS / 2); /* and not shorter */
    redis_say(&s, "PERSIST weft:p:{t:room}");
    WAIT_FOR(room_is_kept_ms(&s) > 0); /* nor for ever, whatever was there */
    member_leave(&brief);
    member_leave(&lasting);
    redis_end(&s);
}

/* --- age --- */

#define TOO_OLD_SECONDS (20u * 365 * 24 * 3600) /* longer than any machine runs */

static weft_bus *open_with_age(const struct redis_server *s, uint32_t history_seconds)
{
    weft_bus_rule rule = {"old.*", 100, history_seconds};
    weft_bus_opts o = options();

    o.rules = &rule;
    o.rule_count = 1;
    return open_with(s->url, &o);
}

/* The first is of 1970, the second of now. */
static void put_two(struct redis_server *s)
{
    redis_say(s, "HSET weft:m:{t:old.x} e 7 o 2");
    redis_say(s, "XADD weft:s:{t:old.x} 1-0 t 1000 i a:1 d Told");
    redis_say(s,
              "EVAL \"local now = redis.call('TIME')[1] .. '000' "
              "return redis.call('XADD', 'weft:s:{t:old.x}', '2-0', 't', now, 'i', 'a:2', 'd', 'Tnew')\" 0");
}

static void what_is_too_old_is_not_told_however_short_the_machine_has_been_running(void)
{
    weft_bus_position all = {0}, behind_old = {7, 1};
    struct redis_server s;
    weft_bus *b;
    struct ear *e, *f;

    redis_start(&s, false, NULL);
    put_two(&s);
    b = open_with_age(&s, TOO_OLD_SECONDS);
    e = listen_from(b, "old.x", &all); /* read from Redis */
    WAIT_FOR(e->readies == 1 && e->items == e->ready.missed);
    CU_ASSERT_STRING_EQUAL(e->text, "old.x=new@2 ");
    f = listen_from(b, "old.x", &behind_old); /* from what this process has */
    WAIT_FOR(f->readies == 1 && f->items == f->ready.missed);
    CU_ASSERT(!f->ready.is_gap);
    CU_ASSERT_STRING_EQUAL(f->text, "old.x=new@2 ");
    end_ear(e);
    end_ear(f);
    close_bus(b);
    b = open_with_age(&s, 0); /* without end */
    e = listen_from(b, "old.x", &all);
    WAIT_FOR(e->readies == 1 && e->items == 2);
    end_ear(e);
    close_bus(b);
    redis_end(&s);
}

static void what_becomes_too_old_while_a_process_holds_it_is_not_told(void)
{
    weft_bus_position all = {0};
    struct redis_server s;
    weft_bus *b;
    struct ear *e, *f;

    redis_start(&s, false, NULL);
    b = open_with_age(&s, 1);
    e = listen_to(b, "old.x");
    say(b, "old.x", "soon too old");
    WAIT_FOR(e->items == 1);
    usleep(1100000); /* its time */
    f = listen_from(b, "old.x", &all);
    WAIT_FOR(f->readies == 1);
    say(b, "old.x", "new");
    WAIT_FOR(e->items == 2 && f->items >= 1);
    CU_ASSERT_STRING_EQUAL(f->text, "old.x=new@2 ");
    CU_ASSERT(f->ready.missed == 0 && f->gaps == 0);
    end_ear(e);
    end_ear(f);
    close_bus(b);
    redis_end(&s);
}

/* --- damage --- */

static const char *const damages[] = {
    "XADD weft:s:{t:h.x} * foo bar",
    "XADD weft:s:{t:h.x} 77-0 t 1000 i a:1 d Tforged",
    "XADD weft:s:{t:h.x} 18446744073709551615-18446744073709551615 foo bar",
    "SET weft:s:{t:h.x} hello",
    "SET weft:m:{t:h.x} hello",
    "HSET weft:m:{t:h.x} e abc",
    "HSET weft:m:{t:h.x} e 99999999999999999999999999",
    "HSET weft:m:{t:h.x} o abc",
    "HSET weft:m:{t:h.x} o 9223372036854775807",
    "HSET weft:m:{t:h.x} o -1",
    "HSET weft:m:{t:h.x} o -100",
};
#define DAMAGES (sizeof damages / sizeof damages[0])

static _Atomic unsigned damage_lines;

static void note_line(enum weft_log_level level, uint64_t conn_id, const char *text, void *app)
{
    (void)level, (void)conn_id, (void)app;
    damage_lines += strstr(text, "a new epoch began") != NULL;
}

static void what_others_write_there_costs_an_epoch_and_no_message(void)
{
    struct redis_server s;
    weft_bus *a, *b;
    struct ear *e;

    redis_start(&s, false, NULL);
    weft_log_to(WEFT_LOG_WARNING, note_line, NULL);
    a = open_bus(s.url);
    b = open_bus(s.url);
    e = listen_to(b, "h.x");
    say(a, "h.x", "m");
    WAIT_FOR(e->items == 1);
    for (unsigned i = 0; i < DAMAGES; i++) {
        uint64_t epoch = e->last_epoch;

        CU_ASSERT_EQUAL(weft_bus_flush(a, 20000), WEFT_OK);
        CU_ASSERT(redis_say(&s, damages[i])[0] != '-');
        for (unsigned n = 0; n < 3; n++)
            say(a, "h.x", "m");
        WAIT_FOR(e->items == 4 + 3 * i);
        CU_ASSERT(e->gaps == i + 1 && e->last_epoch != epoch && e->last_offset == 3);
    }
    CU_ASSERT(stats_of(a).dropped_lost == 0 && stats_of(a).passed_on == 1 + 3 * DAMAGES);
    CU_ASSERT_EQUAL(damage_lines, 1);
    end_ear(e);
    close_bus(a);
    CU_ASSERT_EQUAL(damage_lines, 2); /* how many there were */
    close_bus(b);
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
    redis_end(&s);
}

/* Of the key where a process counts what was taken, nothing is to be seen. */
static void a_damaged_count_costs_nothing(void)
{
    struct redis_server s;
    weft_bus *b;
    struct ear *e;

    redis_start(&s, false, NULL);
    b = open_bus(s.url);
    e = listen_to(b, "h.x");
    say(b, "h.x", "1");
    CU_ASSERT_EQUAL(weft_bus_flush(b, 20000), WEFT_OK);
    redis_say(&s, "EVAL \"for i, k in ipairs(redis.call('KEYS', 'weft:d:*')) do "
                  "redis.call('DEL', k) redis.call('RPUSH', k, 'x') end\" 0");
    say(b, "h.x", "2");
    CU_ASSERT_EQUAL(weft_bus_flush(b, 20000), WEFT_OK);
    redis_say(&s, "EVAL \"for i, k in ipairs(redis.call('KEYS', 'weft:d:*')) do "
                  "redis.call('SET', k, 'x') end\" 0");
    say(b, "h.x", "3");
    WAIT_FOR(e->items == 3);
    CU_ASSERT_STRING_EQUAL(e->text, "h.x=1@1 h.x=2@2 h.x=3@3 ");
    CU_ASSERT(e->gaps == 0 && stats_of(b).dropped_lost == 0);
    end_ear(e);
    close_bus(b);
    redis_end(&s);
}

static const struct unit_case cases[] = {
    CASE(who_has_a_short_time_takes_nobody_with_him),
    CASE(what_is_too_old_is_not_told_however_short_the_machine_has_been_running),
    CASE(what_becomes_too_old_while_a_process_holds_it_is_not_told),
    CASE(what_others_write_there_costs_an_epoch_and_no_message),
    CASE(a_damaged_count_costs_nothing),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "bus_keys", cases, sizeof cases / sizeof cases[0]);
}
