/* The chat over a library that is played (fake_weft.h): one thread, a clock of its own, everything sent
 * looked at. */
#include "chat.h"
#include "rooms.h"
#include "web.h"

#include "fake_bus.h"
#include "fake_weft.h"
#include "unit.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct chat *chat;
static struct chat_time now_is;

static struct chat_time now(void)
{
    return now_is;
}

static void begin_on(const char *url)
{
    struct chat_opts opts = {.now = now, .bus_url = url};

    now_is = (struct chat_time){.steady_ms = 50, .wall_ms = 7000};
    CU_ASSERT_EQUAL_FATAL(chat_open(&chat, &opts), WEFT_OK);
}

static void begin(void)
{
    begin_on(NULL);
}

static void end(void)
{
    chat_close(chat, 0);
    CU_ASSERT_EQUAL(fake_alive(), 0);
}

static weft_conn *come_in(void)
{
    weft_conn *c = fake_conn_new();

    chat_on_open(c, chat);
    return c;
}

static void go_out(weft_conn *c)
{
    chat_on_close(c, NULL, chat);
    fake_bus_run();
    fake_conn_free(c);
}

static void send_bytes(weft_conn *c, enum weft_msg_type type, const char *data, size_t bytes)
{
    weft_msg *m = NULL;

    now_is.steady_ms += 1000; /* slow enough for the rate limit */
    weft_msg_new(&m, type, data, bytes);
    chat_on_message(c, m, chat);
    fake_bus_run();
}

static void send(weft_conn *c, const char *text)
{
    send_bytes(c, WEFT_TEXT, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) static void sendf(weft_conn *c, const char *format, ...)
{
    char text[8192];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    send(c, text);
}

static weft_conn *come_as(const char *room, const char *name)
{
    weft_conn *c = come_in();

    sendf(c, "{\"type\":\"join\",\"room\":\"%s\",\"name\":\"%s\"}", room, name);
    return c;
}

static bool got(weft_conn *c, const char *wanted)
{
    const char *text = fake_take(c);

    if (text && strcmp(text, wanted) == 0)
        return true;
    fprintf(stderr, "  wanted %s\n  got    %s\n", wanted, text ? text : "nothing");
    return false;
}

static bool got_error(weft_conn *c, const char *reason)
{
    char wanted[256];

    snprintf(wanted, sizeof wanted, "{\"type\":\"error\",\"reason\":\"%s\"}", reason);
    return got(c, wanted);
}

#define GOT(c, wanted)       CU_ASSERT_TRUE(got(c, wanted))
#define GOT_ERROR(c, reason) CU_ASSERT_TRUE(got_error(c, reason))
#define GOT_JOINED(c, wanted)                                                                                \
    do {                                                                                                     \
        GOT(c, wanted);                                                                                      \
        CU_ASSERT_PTR_NOT_NULL(strstr(fake_take(c), "\"history\""));                                         \
    } while (0)
#define GOT_NOTHING(c) CU_ASSERT_EQUAL(fake_waiting(c), 0)

static void forget(weft_conn *c)
{
    while (fake_take(c)) {
    }
}

static void two_people_meet_talk_and_part(void)
{
    weft_conn *ann, *bob;

    begin();
    ann = come_as("lobby", "ann");
    GOT_JOINED(ann, "{\"type\":\"joined\",\"room\":\"lobby\",\"name\":\"ann\",\"members\":[\"ann\"]}");
    bob = come_as("lobby", "bob");
    GOT_JOINED(bob,
               "{\"type\":\"joined\",\"room\":\"lobby\",\"name\":\"bob\",\"members\":[\"ann\",\"bob\"]}");
    GOT(ann, "{\"type\":\"came\",\"name\":\"bob\"}");
    send(ann, "{\"type\":\"say\",\"text\":\"hi\"}");
    GOT(ann, "{\"id\":1,\"epoch\":\"7\",\"type\":\"said\",\"room\":\"lobby\",\"name\":\"ann\",\"text\":"
             "\"hi\",\"at\":7000}");
    GOT(bob, "{\"id\":1,\"epoch\":\"7\",\"type\":\"said\",\"room\":\"lobby\",\"name\":\"ann\",\"text\":"
             "\"hi\",\"at\":7000}");
    send(bob, "{\"type\":\"typing\"}");
    GOT(ann, "{\"type\":\"typing\",\"name\":\"bob\"}");
    GOT_NOTHING(bob);
    send(bob, "{\"type\":\"leave\"}");
    GOT(ann, "{\"type\":\"went\",\"name\":\"bob\"}");
    GOT_NOTHING(bob);
    send(ann, "{\"type\":\"say\",\"text\":\"alone\"}");
    GOT_NOTHING(bob);
    go_out(ann);
    go_out(bob);
    end();
}

static void who_drops_out_is_told_to_the_others(void)
{
    weft_conn *ann, *bob;

    begin();
    ann = come_as("lobby", "ann");
    bob = come_as("lobby", "bob");
    forget(ann);
    go_out(bob);
    GOT(ann, "{\"type\":\"went\",\"name\":\"bob\"}");
    bob = come_as("lobby", "bob");
    GOT(ann, "{\"type\":\"came\",\"name\":\"bob\"}");
    go_out(bob);
    go_out(ann);
    end();
}

static void names_are_unique_in_a_room_only(void)
{
    weft_conn *a, *b;

    begin();
    a = come_as("lobby", "ann");
    forget(a);
    b = come_as("lobby", "ann");
    GOT_ERROR(b, "name is taken");
    GOT_NOTHING(a);
    send(b, "{\"type\":\"join\",\"room\":\"attic\",\"name\":\"ann\"}");
    GOT_JOINED(b, "{\"type\":\"joined\",\"room\":\"attic\",\"name\":\"ann\",\"members\":[\"ann\"]}");
    GOT_NOTHING(a);
    go_out(a);
    go_out(b);
    end();
}

static void a_second_join_moves_and_a_failing_one_does_not(void)
{
    weft_conn *ann, *bob, *eve;

    begin();
    ann = come_as("lobby", "ann");
    bob = come_as("lobby", "bob");
    eve = come_as("attic", "bob");
    forget(ann);
    forget(bob);
    forget(eve);
    send(bob, "{\"type\":\"join\",\"room\":\"attic\",\"name\":\"bob\"}");
    GOT_ERROR(bob, "name is taken");
    GOT_NOTHING(ann);
    send(bob, "{\"type\":\"join\",\"room\":\"attic\",\"name\":\"rob\"}");
    GOT_JOINED(bob,
               "{\"type\":\"joined\",\"room\":\"attic\",\"name\":\"rob\",\"members\":[\"bob\",\"rob\"]}");
    GOT(ann, "{\"type\":\"went\",\"name\":\"bob\"}");
    GOT(eve, "{\"type\":\"came\",\"name\":\"rob\"}");
    send(ann, "{\"type\":\"say\",\"text\":\"anybody?\"}");
    GOT_NOTHING(bob);
    go_out(ann);
    go_out(bob);
    go_out(eve);
    end();
}

static void a_join_with_a_new_name_renames(void)
{
    weft_conn *ann, *bob;

    begin();
    ann = come_as("lobby", "ann");
    bob = come_as("lobby", "bob");
    forget(ann);
    forget(bob);
    send(bob, "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"rob\"}");
    GOT(ann, "{\"type\":\"came\",\"name\":\"rob\"}");
    GOT(ann, "{\"type\":\"went\",\"name\":\"bob\"}");
    GOT(bob, "{\"type\":\"joined\",\"room\":\"lobby\",\"name\":\"rob\",\"members\":[\"ann\",\"rob\"]}");
    GOT(bob, "{\"type\":\"went\",\"name\":\"bob\"}");
    GOT_NOTHING(bob); /* no history: nothing was missed */
    send(bob, "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"rob\"}");
    GOT(bob, "{\"type\":\"joined\",\"room\":\"lobby\",\"name\":\"rob\",\"members\":[\"ann\",\"rob\"]}");
    GOT_NOTHING(ann);
    go_out(ann);
    go_out(bob);
    end();
}

static json_t *take_object(weft_conn *c, const char *type)
{
    const char *text = fake_take(c);
    json_t *in = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const char *got_type = json_string_value(json_object_get(in, "type"));

    CU_ASSERT_PTR_NOT_NULL_FATAL(got_type);
    CU_ASSERT_STRING_EQUAL_FATAL(got_type, type);
    return in;
}

/* What follows a join: the texts of the history, with commas between; "gap:" before them when there is one. */
static char *history_texts(weft_conn *c)
{
    static char text[65536];
    json_t *history;
    json_int_t count;

    json_decref(take_object(c, "joined"));
    history = take_object(c, "history");
    count = json_integer_value(json_object_get(history, "count"));
    strcpy(text, json_is_true(json_object_get(history, "gap")) ? "gap:" : "");
    json_decref(history);
    for (json_int_t i = 0; i < count; i++) {
        json_t *said = take_object(c, "said");
        strcat(strcat(text, i ? "," : ""), json_string_value(json_object_get(said, "text")));
        json_decref(said);
    }
    return text;
}

static void who_joins_gets_the_last_hundred(void)
{
    char wanted[1024] = "";
    weft_conn *ann, *bob;

    begin();
    ann = come_as("lobby", "ann");
    for (int i = 0; i < 105; i++)
        sendf(ann, "{\"type\":\"say\",\"text\":\"t%d\"}", i);
    for (int i = 5; i < 105; i++)
        sprintf(wanted + strlen(wanted), "%st%d", i > 5 ? "," : "", i);
    bob = come_as("lobby", "bob");
    CU_ASSERT_STRING_EQUAL(history_texts(bob), wanted);
    send(ann, "{\"type\":\"say\",\"text\":\"next\"}");
    GOT(bob, "{\"id\":106,\"epoch\":\"7\",\"type\":\"said\",\"room\":\"lobby\",\"name\":\"ann\",\"text\":"
             "\"next\",\"at\":"
             "7000}");
    go_out(ann);
    go_out(bob);
    end();
}

static void an_empty_room_keeps_its_history(void)
{
    weft_conn *ann;

    begin();
    ann = come_as("lobby", "ann");
    send(ann, "{\"type\":\"say\",\"text\":\"remember\"}");
    go_out(ann);
    ann = come_as("lobby", "ann");
    CU_ASSERT_STRING_EQUAL(history_texts(ann), "remember");
    go_out(ann);
    end();
}

static void there_are_so_many_rooms_and_no_more(void)
{
    weft_conn *people[ROOMS_MAX + 1];
    char name[16];

    begin();
    for (int i = 0; i < ROOMS_MAX + 1; i++) {
        snprintf(name, sizeof name, "r%d", i);
        people[i] = come_as(name, "ann");
    }
    GOT_ERROR(people[ROOMS_MAX], "too many rooms");
    send(people[ROOMS_MAX], "{\"type\":\"join\",\"room\":\"r7\",\"name\":\"bob\"}");
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_take(people[ROOMS_MAX]), "\"joined\""));
    for (int i = 0; i < ROOMS_MAX + 1; i++)
        go_out(people[i]);
    end();
}

static void a_room_holds_so_many_and_no_more(void)
{
    static weft_conn *people[ROOM_MEMBERS_MAX + 1];
    char name[16];

    begin();
    for (int i = 0; i < ROOM_MEMBERS_MAX + 1; i++) {
        snprintf(name, sizeof name, "p%d", i);
        people[i] = come_as("lobby", name);
        forget(people[0]); /* all others hear at most a thousand notices */
    }
    GOT_ERROR(people[ROOM_MEMBERS_MAX], "room is full");
    forget(people[3]);
    send(people[3], "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"renamed\"}");
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_take(people[3]), "\"joined\""));
    CU_ASSERT_EQUAL(chat_figures(chat).people, ROOM_MEMBERS_MAX);
    for (int i = 0; i < ROOM_MEMBERS_MAX + 1; i++)
        go_out(people[i]);
    end();
}

static void whatever_is_malformed_is_answered_and_the_connection_lives_on(void)
{
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {"", "not a JSON object"},
        {"hello", "not a JSON object"},
        {"{", "not a JSON object"},
        {"[]", "not a JSON object"},
        {"null", "not a JSON object"},
        {"\"say\"", "not a JSON object"},
        {"{\"type\":\"leave\"} x", "not a JSON object"},
        {"{\"type\":\"leave\",}", "not a JSON object"},
        {"{'type':'leave'}", "not a JSON object"},
        {"{\"type\":\"leave\",\"type\":\"leave\"}", "not a JSON object"},
        {"{\"type\":\"le\\u0000ave\"}", "not a JSON object"},
        {"{\"type\":\"\\ud800\"}", "not a JSON object"},
        {"{\"type\":\"typing\",\"n\":1e999}", "not a JSON object"},
        {"{\"type\":\"typing\",\"n\":99999999999999999999}", "not a JSON object"},
        {"{}", "type must be join, say, typing or leave"},
        {"{\"type\":1}", "type must be join, say, typing or leave"},
        {"{\"type\":null}", "type must be join, say, typing or leave"},
        {"{\"type\":\"Say\",\"text\":\"x\"}", "type must be join, say, typing or leave"},
        {"{\"type\":\"joined\"}", "type must be join, say, typing or leave"},
        {"{\"Type\":\"leave\"}", "type must be join, say, typing or leave"},
        {"{\"type\":\"say\",\"text\":\"x\"}", "join a room first"},
        {"{\"type\":\"typing\"}", "join a room first"},
        {"{\"type\":\"leave\"}", "join a room first"},
        {"{\"type\":\"join\"}", "room must be a name of 1 to 64 bytes"},
        {"{\"type\":\"join\",\"room\":\"\",\"name\":\"a\"}", "room must be a name of 1 to 64 bytes"},
        {"{\"type\":\"join\",\"room\":[\"a\"],\"name\":\"a\"}", "room must be a name of 1 to 64 bytes"},
        {"{\"type\":\"join\",\"room\":\"a\\u202eb\",\"name\":\"a\"}", "room must be a name of 1 to 64 bytes"},
        {"{\"type\":\"join\",\"room\":\"a\"}", "name must be a name of 1 to 32 bytes"},
        {"{\"type\":\"join\",\"room\":\"a\",\"name\":5}", "name must be a name of 1 to 32 bytes"},
        {"{\"type\":\"join\",\"room\":\"a\",\"name\":\"a\\nb\"}", "name must be a name of 1 to 32 bytes"},
    };
    weft_conn *ann;

    begin();
    ann = come_in();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        send(ann, bad[i].text);
        GOT_ERROR(ann, bad[i].reason);
    }
    send_bytes(ann, WEFT_BINARY, "{\"type\":\"leave\"}", 16);
    GOT_ERROR(ann, "messages must be text");
    CU_ASSERT_EQUAL(fake_close_code(ann), 0);
    send(ann, "{\"type\":\"join\",\"room\":\"a\",\"name\":\"a\",\"more\":{\"x\":[1]}}");
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_take(ann), "\"joined\""));
    CU_ASSERT_EQUAL(chat_figures(chat).errors, sizeof bad / sizeof bad[0] + 1);
    go_out(ann);
    end();
}

static void names_have_their_lengths(void)
{
    char long_room[66] = {0}, long_name[34] = {0};
    weft_conn *ann;

    begin();
    memset(long_room, 'r', 65);
    memset(long_name, 'n', 33);
    ann = come_as(long_room, "ann");
    GOT_ERROR(ann, "room must be a name of 1 to 64 bytes");
    sendf(ann, "{\"type\":\"join\",\"room\":\"%s\",\"name\":\"%s\"}", long_room + 1, long_name);
    GOT_ERROR(ann, "name must be a name of 1 to 32 bytes");
    sendf(ann, "{\"type\":\"join\",\"room\":\"%s\",\"name\":\"%s\"}", long_room + 1, long_name + 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_take(ann), "\"joined\""));
    go_out(ann);
    end();
}

/* {"type":"say","text":"<piece> count times"} */
static void say_many(weft_conn *c, const char *piece, size_t count)
{
    size_t room = 64 + strlen(piece) * count;
    char *text = malloc(room), *at;

    if (!text)
        abort();
    at = text + sprintf(text, "{\"type\":\"say\",\"text\":\"");
    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, piece);
    strcpy(at, "\"}");
    send(c, text);
    free(text);
}

static void a_message_has_4096_bytes_however_it_is_written(void)
{
    weft_conn *ann;

    begin();
    ann = come_as("lobby", "ann");
    forget(ann);
    say_many(ann, "x", 4096);
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_take(ann), "\"said\""));
    say_many(ann, "\\u0041", 4096);
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_take(ann), "AAAA"));
    say_many(ann, "\\u00e4", 2048);
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_take(ann), "ää"));
    say_many(ann, "x", 4097);
    GOT_ERROR(ann, "text must be 1 to 4096 bytes without control characters");
    say_many(ann, "ä", 2049);
    GOT_ERROR(ann, "text must be 1 to 4096 bytes without control characters");
    say_many(ann, "\\u001b", 1);
    GOT_ERROR(ann, "text must be 1 to 4096 bytes without control characters");
    say_many(ann, "", 1);
    GOT_ERROR(ann, "text must be 1 to 4096 bytes without control characters");
    say_many(ann, "x", CHAT_INPUT_BYTES_MAX);
    GOT_ERROR(ann, "message is too long");
    CU_ASSERT_EQUAL(fake_close_code(ann), 0);
    go_out(ann);
    end();
}

static void a_very_deep_object_is_refused(void)
{
    char text[CHAT_INPUT_BYTES_MAX];
    weft_conn *ann;

    begin();
    ann = come_in();
    memset(text, '[', sizeof text);
    send_bytes(ann, WEFT_TEXT, text, sizeof text);
    GOT_ERROR(ann, "not a JSON object");
    go_out(ann);
    end();
}

static void the_text_comes_out_as_it_went_in(void)
{
    const char *said = "{\"type\":\"say\",\"text\":\"<b>\\\"\\\\\\n\\t/ \xf0\x9f\x98\x80 \\u00e9\"}";
    weft_conn *ann, *bob;

    begin();
    ann = come_as("lobby", "ann");
    forget(ann);
    send(ann, said);
    GOT(ann, "{\"id\":1,\"epoch\":\"7\",\"type\":\"said\",\"room\":\"lobby\",\"name\":\"ann\",\"text\":\"<b>"
             "\\\"\\\\\\n\\t/ "
             "\xf0\x9f\x98\x80 \xc3\xa9\",\"at\":7000}");
    bob = come_as("lobby", "bob");
    CU_ASSERT_STRING_EQUAL(history_texts(bob), "<b>\"\\\n\t/ \xf0\x9f\x98\x80 \xc3\xa9");
    go_out(ann);
    go_out(bob);
    end();
}

static void send_at_once(weft_conn *c, const char *text)
{
    weft_msg *m;

    weft_msg_new(&m, WEFT_TEXT, text, strlen(text));
    chat_on_message(c, m, chat);
    fake_bus_run();
}

static void who_talks_too_fast_is_told_and_may_go_on_later(void)
{
    weft_conn *ann;

    begin();
    ann = come_in();
    send(ann, "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"ann\"}");
    forget(ann);
    for (int i = 0; i < CHAT_BURST - CHAT_JOIN_COST + 10; i++)
        send_at_once(ann, "{\"type\":\"say\",\"text\":\"x\"}");
    for (int i = 0; i < CHAT_BURST - CHAT_JOIN_COST; i++)
        CU_ASSERT_PTR_NOT_NULL(strstr(fake_take(ann), "\"said\""));
    for (int i = 0; i < 10; i++)
        GOT_ERROR(ann, "too fast");
    GOT_NOTHING(ann);
    now_is.steady_ms += 1000 / CHAT_PER_SECOND;
    send_at_once(ann, "{\"type\":\"say\",\"text\":\"x\"}");
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_take(ann), "\"said\""));
    CU_ASSERT_EQUAL(chat_figures(chat).too_fast, 10);
    CU_ASSERT_EQUAL(fake_close_code(ann), 0);
    go_out(ann);
    end();
}

static void who_never_stops_is_closed(void)
{
    weft_conn *ann;

    begin();
    ann = come_in();
    for (int i = 0; i < CHAT_REFUSALS_MAX; i++)
        send_at_once(ann, "x");
    CU_ASSERT_EQUAL(fake_close_code(ann), 0);
    send_at_once(ann, "x");
    CU_ASSERT_EQUAL(fake_close_code(ann), WEFT_CLOSE_POLICY_VIOLATION);
    CU_ASSERT_EQUAL(fake_waiting(ann), CHAT_REFUSALS_MAX);
    go_out(ann);
    end();
}

/* One that is let through now and then makes nothing good. */
static void who_goes_on_too_fast_is_closed_though_some_is_let_through(void)
{
    static const char say[] = "{\"type\":\"say\",\"text\":\"x\",\"ref\":7}";
    unsigned refs = 0, said = 0, sent = 0;
    const char *text;
    weft_conn *ann;

    begin();
    ann = come_as("lobby", "ann");
    forget(ann);
    while (!fake_close_code(ann) && sent < 100000) {
        now_is.steady_ms += 10; /* 100 a second, 10 of them within the rate */
        send_at_once(ann, say);
        sent++;
        while ((text = fake_take(ann)) != NULL) {
            refs += strstr(text, "\"ref\":7") != NULL;
            said += strstr(text, "\"said\"") != NULL;
        }
    }
    CU_ASSERT_EQUAL(fake_close_code(ann), WEFT_CLOSE_POLICY_VIOLATION);
    CU_ASSERT(said > 100 && sent < 2 * CHAT_REFUSALS_MAX);
    CU_ASSERT(refs >= CHAT_LOOKS && refs <= CHAT_LOOKS + sent / 100 + 1); /* the others were not parsed */
    go_out(ann);
    end();
}

/* Twice as fast as is allowed is refused half of the time, and for ever. */
static void who_is_refused_now_and_then_is_not_closed(void)
{
    weft_conn *ann;

    begin();
    ann = come_as("lobby", "ann");
    for (int i = 0; i < 20000; i++) {
        now_is.steady_ms += 1000 / (CHAT_PER_SECOND + CHAT_REFUSALS_PER_SECOND - 1);
        send_at_once(ann, "{\"type\":\"say\",\"text\":\"x\"}");
        forget(ann);
    }
    CU_ASSERT(fake_close_code(ann) == 0 && chat_figures(chat).too_fast > 1000);
    go_out(ann);
    end();
}

static void a_join_costs_as_much_as_some_messages(void)
{
    unsigned joined = 0;
    const char *text;
    weft_conn *ann;

    begin();
    ann = come_in();
    for (int i = 0; i < 40; i++) {
        char join[80];
        snprintf(join, sizeof join, "{\"type\":\"join\",\"room\":\"r%d\",\"name\":\"ann\"}", i % 2);
        send_at_once(ann, join);
        while ((text = fake_take(ann)) != NULL)
            joined += strstr(text, "\"joined\"") != NULL;
    }
    CU_ASSERT_EQUAL(joined, CHAT_BURST / CHAT_JOIN_COST);
    go_out(ann);
    end();
}

static void who_does_not_read_is_closed_instead_of_waited_for(void)
{
    weft_conn *ann, *bob;

    begin();
    ann = come_as("lobby", "ann");
    forget(ann);
    bob = come_in();
    fake_stuff(bob, true);
    send(bob, "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"bob\"}");
    CU_ASSERT_EQUAL(fake_close_code(bob), WEFT_CLOSE_POLICY_VIOLATION);
    GOT(ann, "{\"type\":\"came\",\"name\":\"bob\"}");
    go_out(bob);
    GOT(ann, "{\"type\":\"went\",\"name\":\"bob\"}");
    go_out(ann);
    end();
}

#define OTHER "0000000000000000" /* an instance; ours is drawn by lot and hardly that */

static void of_two_with_one_name_the_first_in_the_log_comes_in(void)
{
    static const char join_as_bob[] = "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"bob\"}";
    weft_conn *ann, *late;
    weft_msg *m;

    begin_on("redis://");
    ann = come_as("lobby", "ann");
    forget(ann);
    late = come_in();
    weft_msg_new(&m, WEFT_TEXT, join_as_bob, strlen(join_as_bob));
    fake_bus_hold("who:lobby.", "came " OTHER "-1 bob"); /* it is in the log when ours comes there */
    chat_on_message(late, m, chat);
    fake_bus_run();
    GOT_ERROR(late, "name is taken");
    GOT(ann, "{\"type\":\"came\",\"name\":\"bob\"}");
    GOT_NOTHING(ann);
    fake_bus_publish("who:lobby.", "went " OTHER "-1 bob");
    send(late, "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"bob\"}");
    CU_ASSERT_STRING_EQUAL(history_texts(late), "");
    go_out(ann);
    go_out(late);
    end();
}

static void people_of_other_instances_are_members(void)
{
    weft_conn *ann;

    begin_on("redis://");
    fake_bus_enter("typing:lobby.", OTHER "-1 bob");
    ann = come_as("lobby", "ann");
    GOT_JOINED(ann,
               "{\"type\":\"joined\",\"room\":\"lobby\",\"name\":\"ann\",\"members\":[\"bob\",\"ann\"]}");
    fake_bus_publish("who:lobby.", "came " OTHER "-2 eve");
    GOT(ann, "{\"type\":\"came\",\"name\":\"eve\"}");
    fake_bus_publish("typing:lobby.", "typing " OTHER "-2 eve");
    GOT(ann, "{\"type\":\"typing\",\"name\":\"eve\"}");
    fake_bus_publish("who:lobby.", "went " OTHER "-2 eve");
    GOT(ann, "{\"type\":\"went\",\"name\":\"eve\"}");
    GOT_NOTHING(ann);
    go_out(ann);
    end();
}

/* Missed once may be a moment in which Redis had lost the names. */
static void who_died_with_their_instance_goes_after_two_looks(void)
{
    weft_conn *ann, *bob;

    begin_on("redis://");
    fake_bus_enter("typing:lobby.", OTHER "-1 bob");
    ann = come_as("lobby", "ann");
    forget(ann);
    fake_bus_drop("typing:lobby.", OTHER "-1 bob");
    chat_tick(chat);
    fake_bus_run();
    GOT_NOTHING(ann);
    bob = come_as("lobby", "bob");
    GOT_ERROR(bob, "name is taken");
    chat_tick(chat);
    fake_bus_run();
    GOT(ann, "{\"type\":\"went\",\"name\":\"bob\"}");
    send(bob, "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"bob\"}");
    CU_ASSERT_STRING_EQUAL(history_texts(bob), "");
    go_out(ann);
    go_out(bob);
    end();
}

/* The log still tells that they came. */
static void who_died_just_before_the_room_was_opened_is_missed_first(void)
{
    weft_conn *ann;

    begin_on("redis://");
    fake_bus_publish("who:lobby.", "came " OTHER "-1 ann");
    fake_bus_publish("who:lobby.", "came " OTHER "-2 bob");
    fake_bus_publish("who:lobby.", "went " OTHER "-2 bob");
    ann = come_as("lobby", "ann");
    GOT_NOTHING(ann);
    chat_tick(chat);
    fake_bus_run();
    GOT_JOINED(ann, "{\"type\":\"joined\",\"room\":\"lobby\",\"name\":\"ann\",\"members\":[\"ann\"]}");
    GOT_NOTHING(ann);
    go_out(ann);
    end();
}

/* Its word is lost with Redis' data: it is asked again, and has come once. */
static void a_join_whose_word_is_lost_is_asked_again(void)
{
    static const char text[] = "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"bob\"}";
    weft_conn *ann, *bob;
    weft_msg *m;

    begin_on("redis://");
    ann = come_as("lobby", "ann");
    forget(ann);
    bob = come_in();
    fake_bus_lose("who:lobby.");
    weft_msg_new(&m, WEFT_TEXT, text, strlen(text));
    chat_on_message(bob, m, chat);
    fake_bus_run();
    for (int i = 0; i < SEAT_LOOKS_MAX; i++) {
        GOT_NOTHING(bob);
        chat_tick(chat);
        fake_bus_run();
    }
    GOT_JOINED(bob,
               "{\"type\":\"joined\",\"room\":\"lobby\",\"name\":\"bob\",\"members\":[\"ann\",\"bob\"]}");
    GOT(ann, "{\"type\":\"came\",\"name\":\"bob\"}");
    GOT_NOTHING(ann);
    go_out(ann);
    go_out(bob);
    end();
}

/* After a time in which neither could know of the other. */
static void one_of_two_who_share_a_name_is_closed(void)
{
    weft_conn *ann;

    begin_on("redis://");
    ann = come_as("lobby", "ann");
    fake_bus_enter("typing:lobby.", OTHER "-1 ann");
    chat_tick(chat);
    fake_bus_run();
    CU_ASSERT_EQUAL(fake_close_code(ann), WEFT_CLOSE_POLICY_VIOLATION);
    go_out(ann);
    end();
}

static void what_is_no_event_is_passed_over(void)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "came",
                                      "came ",
                                      "came x",
                                      "came " OTHER " x",
                                      "came " OTHER "-1 ",
                                      "came " OTHER "-1",
                                      "came " OTHER "-1  x",
                                      "came " OTHER "-1 \xff",
                                      "came " OTHER "-1 \xe4\xb8",
                                      "came " OTHER "-1 a\nb",
                                      "cametoolong " OTHER "-1 x",
                                      "came " OTHER "-11111111111111111111111 x",
                                      "rise " OTHER "-1 x",
                                      "came " OTHER "-1 a name of more than thirty-two bytes"};
    weft_conn *ann;

    begin_on("redis://");
    fake_bus_enter("typing:lobby.", "nobody");
    fake_bus_enter("typing:lobby.", OTHER "-1 \xff");
    ann = come_as("lobby", "ann");
    GOT_JOINED(ann, "{\"type\":\"joined\",\"room\":\"lobby\",\"name\":\"ann\",\"members\":[\"ann\"]}");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        fake_bus_publish("who:lobby.", bad[i]);
    fake_bus_publish("said:lobby.", "not a line of ours");
    GOT_NOTHING(ann);
    go_out(ann);
    end();
}

static void who_comes_back_gets_what_they_missed_and_no_more(void)
{
    weft_conn *ann, *bob;

    begin();
    ann = come_as("lobby", "ann");
    for (int i = 1; i <= 5; i++)
        sendf(ann, "{\"type\":\"say\",\"text\":\"t%d\"}", i);
    bob = come_in();
    send(bob, "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"bob\",\"epoch\":\"7\",\"offset\":3}");
    CU_ASSERT_STRING_EQUAL(history_texts(bob), "t4,t5");
    go_out(bob);
    bob = come_in();
    send(bob, "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"bob\",\"epoch\":\"7\",\"offset\":5}");
    CU_ASSERT_STRING_EQUAL(history_texts(bob), "");
    go_out(bob);
    bob = come_in();
    send(bob, "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"bob\",\"epoch\":\"6\",\"offset\":3}");
    CU_ASSERT_STRING_EQUAL(history_texts(bob), "gap:t1,t2,t3,t4,t5");
    go_out(bob);
    go_out(ann);
    end();
}

static void a_place_is_one_that_was_given(void)
{
    static const char *const bad[] = {"\"epoch\":7,\"offset\":1",
                                      "\"epoch\":\"7\"",
                                      "\"offset\":1",
                                      "\"epoch\":\"7\",\"offset\":-1",
                                      "\"epoch\":\"7x\",\"offset\":1",
                                      "\"epoch\":\"\",\"offset\":1",
                                      "\"epoch\":\"-7\",\"offset\":1",
                                      "\"epoch\":\"7\",\"offset\":\"1\"",
                                      "\"epoch\":\"7\",\"offset\":1.5",
                                      "\"epoch\":\"18446744073709551616\",\"offset\":1"};
    weft_conn *ann;

    begin();
    ann = come_in();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sendf(ann, "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"ann\",%s}", bad[i]);
        GOT_ERROR(ann, "epoch and offset must be those of a message");
    }
    GOT_NOTHING(ann);
    go_out(ann);
    end();
}

/* Nobody has to wait for `joined` before they speak; the answers come in order. */
static void what_is_sent_behind_a_join_waits_for_it(void)
{
    static const char *const texts[] = {"{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"ann\"}",
                                        "{\"type\":\"say\",\"text\":\"one\"}",
                                        "{\"type\":\"leave\"}",
                                        "{\"type\":\"say\",\"text\":\"two\"}",
                                        "{\"type\":\"join\",\"room\":\"attic\",\"name\":\"ann\"}",
                                        "{\"type\":\"say\",\"text\":\"three\"}"};
    weft_conn *ann;

    begin();
    ann = come_in();
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        weft_msg *m;
        weft_msg_new(&m, WEFT_TEXT, texts[i], strlen(texts[i]));
        chat_on_message(ann, m, chat);
    }
    GOT_NOTHING(ann);
    fake_bus_run();
    GOT(ann, "{\"type\":\"joined\",\"room\":\"lobby\",\"name\":\"ann\",\"members\":[\"ann\"]}");
    GOT_ERROR(ann, "join a room first");
    json_decref(take_object(ann, "history"));
    json_decref(take_object(ann, "said"));
    GOT(ann, "{\"type\":\"joined\",\"room\":\"attic\",\"name\":\"ann\",\"members\":[\"ann\"]}");
    json_decref(take_object(ann, "history"));
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_take(ann), "three"));
    GOT_NOTHING(ann);
    go_out(ann);
    end();
}

static void so_much_waits_behind_a_join_and_no_more(void)
{
    weft_conn *ann;
    weft_msg *m;

    begin();
    ann = come_in();
    fake_bus_stuff(true);
    send(ann, "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"ann\"}");
    for (int i = 0; i < PERSON_WAITING_MAX; i++)
        send(ann, "{\"type\":\"typing\"}");
    GOT_NOTHING(ann);
    weft_msg_new(&m, WEFT_TEXT, "{\"type\":\"typing\",\"ref\":5}", 25);
    chat_on_message(ann, m, chat);
    GOT(ann, "{\"type\":\"error\",\"reason\":\"too fast\",\"ref\":5}");
    go_out(ann);
    end();
}

/* Redis is away. */
static void a_join_waits_until_the_bus_can_tell_who_is_there(void)
{
    weft_conn *ann;

    begin_on("redis://");
    fake_bus_stuff(true);
    ann = come_as("lobby", "ann");
    GOT_NOTHING(ann);
    chat_tick(chat);
    fake_bus_run();
    GOT_NOTHING(ann);
    fake_bus_stuff(false);
    chat_tick(chat);
    fake_bus_run();
    CU_ASSERT_STRING_EQUAL(history_texts(ann), "");
    fake_bus_stuff(true);
    send(ann, "{\"type\":\"say\",\"text\":\"x\"}");
    GOT_ERROR(ann, "the chat is overloaded");
    fake_bus_stuff(false);
    go_out(ann);
    end();
}

static void who_wants_to_come_in_is_told_that_redis_is_away(void)
{
    static const char waiting[] =
        "{\"type\":\"waiting\",\"reason\":\"the chat is not connected to its others\"}";
    weft_conn *ann, *bob;

    begin_on("redis://");
    fake_bus_stuff(true);
    bob = come_as("lobby", "bob"); /* asked just before it is known */
    GOT_NOTHING(bob);
    fake_bus_cut_off(true);
    ann = come_as("lobby", "ann");
    GOT(ann, waiting);
    for (int i = 0; i < 3; i++) {
        chat_tick(chat);
        fake_bus_run();
    }
    GOT(bob, waiting);
    GOT_NOTHING(ann); /* once */
    GOT_NOTHING(bob);
    fake_bus_cut_off(false);
    fake_bus_stuff(false);
    chat_tick(chat);
    fake_bus_run();
    json_decref(take_object(bob, "joined"));
    go_out(ann);
    go_out(bob);
    end();
}

/* Whatever allocation of the library fails, nothing leaks, and afterwards the room works. */
static void no_failing_allocation_breaks_a_room(void)
{
    for (unsigned n = 1; n < 48; n++) {
        weft_conn *ann, *bob;
        begin();
        fake_fail_at(0);
        ann = come_as("lobby", "ann");
        forget(ann);
        bob = come_in();
        now_is.steady_ms += 1000;
        fake_fail_at(n + 1); /* the first is the message that comes in */
        for (int i = 0; i < 3; i++) {
            weft_msg *m = NULL;
            const char *texts[] = {"{\"type\":\"join\",\"room\":\"attic\",\"name\":\"bob\"}",
                                   "{\"type\":\"join\",\"room\":\"lobby\",\"name\":\"bob\"}",
                                   "{\"type\":\"say\",\"text\":\"x\"}"};
            if (weft_msg_new(&m, WEFT_TEXT, texts[i], strlen(texts[i])) == WEFT_OK)
                chat_on_message(bob, m, chat);
            fake_bus_run();
        }
        fake_fail_at(0);
        chat_tick(chat);
        fake_bus_run();
        go_out(bob);
        forget(ann);
        send(ann, "{\"type\":\"say\",\"text\":\"still here\"}");
        CU_ASSERT_PTR_NOT_NULL(strstr(fake_take(ann), "still here"));
        CU_ASSERT_EQUAL(chat_figures(chat).people, 1);
        go_out(ann);
        end();
    }
}

static weft_request *ask(const char *method, const char *path, bool is_upgrade)
{
    weft_request *r = fake_request_new(method, path, is_upgrade);

    web_answer(r, NULL, chat, WEB_METRICS_LOCAL);
    return r;
}

static void each_path_has_its_answer(void)
{
    static const struct {
        const char *method, *path;
        bool is_upgrade;
        unsigned status;
    } rows[] = {
        {"GET", "/", false, 200},        {"HEAD", "/", false, 200},          {"POST", "/", false, 405},
        {"GET", "/healthz", false, 200}, {"PUT", "/healthz", false, 405},    {"GET", "/metrics", false, 200},
        {"GET", "/chat", true, 101},     {"GET", "/chat", false, 426},       {"DELETE", "/chat", false, 405},
        {"GET", "/nothing", false, 404}, {"GET", "/nothing", true, 404},     {"POST", "/chat/", false, 404},
        {"GET", "//", false, 404},       {"GET", "/index.html", false, 404},
    };

    begin();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        weft_request *r = ask(rows[i].method, rows[i].path, rows[i].is_upgrade);
        CU_ASSERT_EQUAL(fake_status(r), rows[i].status);
        if (fake_status(r) == 405)
            CU_ASSERT_STRING_EQUAL(fake_response_header(r, "Allow"), "GET, HEAD");
        fake_request_free(r);
    }
    end();
}

static unsigned ask_metrics(const char *peer, const char *header, enum web_metrics who)
{
    weft_request *r = fake_request_new("GET", "/metrics", false);
    unsigned status;

    fake_request_from(r, peer, header);
    web_answer(r, NULL, chat, who);
    status = fake_status(r);
    CU_ASSERT(status == 200 || !strstr(fake_body(r), "weft_"));
    fake_request_free(r);
    return status;
}

static void the_figures_are_for_this_machine_unless_it_is_said_otherwise(void)
{
    static const char *const here[] = {"127.0.0.1:9", "127.200.0.3:9", "[::1]:9", "[::ffff:127.0.0.1]:9",
                                       "unix"};
    static const char *const there[] = {"10.0.0.7:9", "[2001:db8::1]:9", "[::ffff:10.0.0.7]:9",
                                        "128.127.0.1:9", "1.127.0.1:9"};
    static const char *const marks[] = {"X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"};

    begin();
    for (size_t i = 0; i < 5; i++) {
        CU_ASSERT_EQUAL(ask_metrics(here[i], NULL, WEB_METRICS_LOCAL), 200);
        CU_ASSERT_EQUAL(ask_metrics(here[i], NULL, WEB_METRICS_NONE), 403);
        CU_ASSERT_EQUAL(ask_metrics(there[i], NULL, WEB_METRICS_LOCAL), 403);
        CU_ASSERT_EQUAL(ask_metrics(there[i], NULL, WEB_METRICS_ALL), 200);
    }
    for (size_t i = 0; i < 4; i++) { /* a proxy: it was somebody else */
        CU_ASSERT_EQUAL(ask_metrics("127.0.0.1:9", marks[i], WEB_METRICS_LOCAL), 403);
        CU_ASSERT_EQUAL(ask_metrics("unix", marks[i], WEB_METRICS_LOCAL), 403);
    }
    end();
}

static void it_is_not_healthy_while_the_others_are_not_reached(void)
{
    weft_request *r;

    begin_on("redis://");
    fake_bus_cut_off(true);
    r = ask("GET", "/healthz", false);
    CU_ASSERT_EQUAL(fake_status(r), 503);
    fake_request_free(r);
    fake_bus_cut_off(false);
    r = ask("GET", "/healthz", false);
    CU_ASSERT_EQUAL(fake_status(r), 200);
    fake_request_free(r);
    end();
}

static void the_page_lets_only_its_own_script_run(void)
{
    weft_request *r;
    const char *policy;

    begin();
    r = ask("GET", "/", false);
    policy = fake_response_header(r, "Content-Security-Policy");
    CU_ASSERT_PTR_NOT_NULL_FATAL(policy);
    CU_ASSERT_PTR_NOT_NULL(strstr(policy, "default-src 'none'"));
    CU_ASSERT_PTR_NOT_NULL(strstr(policy, "script-src 'sha256-"));
    CU_ASSERT_PTR_NULL(strstr(policy, "unsafe"));
    CU_ASSERT_STRING_EQUAL(fake_response_header(r, "X-Content-Type-Options"), "nosniff");
    CU_ASSERT_PTR_NOT_NULL(strstr(fake_body(r), "</html>"));
    fake_request_free(r);
    end();
}

static void the_figures_are_in_the_form_of_prometheus(void)
{
    weft_conn *ann;
    weft_request *r;
    const char *text;

    begin();
    ann = come_as("lobby", "ann");
    send(ann, "{\"type\":\"say\",\"text\":\"x\"}");
    r = ask("GET", "/metrics", false);
    text = fake_body(r);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "# TYPE weft_connections gauge\nweft_connections 7\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nweft_longest_handler_seconds 1.500002\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nweft_handover_seconds_bucket{le=\"0.000001\"} 1\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nweft_handover_seconds_bucket{le=\"0.000002\"} 3\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nweft_handover_seconds_bucket{le=\"0.262144\"} 190\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nweft_handover_seconds_bucket{le=\"+Inf\"} 210\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nweft_handover_seconds_count 210\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nweft_chat_rooms 1\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nweft_chat_people 1\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\nweft_chat_said_total 1\n"));
    fake_request_free(r);
    go_out(ann);
    end();
}

static const struct unit_case cases[] = {
    CASE(two_people_meet_talk_and_part),
    CASE(who_drops_out_is_told_to_the_others),
    CASE(names_are_unique_in_a_room_only),
    CASE(a_second_join_moves_and_a_failing_one_does_not),
    CASE(a_join_with_a_new_name_renames),
    CASE(who_joins_gets_the_last_hundred),
    CASE(an_empty_room_keeps_its_history),
    CASE(there_are_so_many_rooms_and_no_more),
    CASE(a_room_holds_so_many_and_no_more),
    CASE(whatever_is_malformed_is_answered_and_the_connection_lives_on),
    CASE(names_have_their_lengths),
    CASE(a_message_has_4096_bytes_however_it_is_written),
    CASE(a_very_deep_object_is_refused),
    CASE(the_text_comes_out_as_it_went_in),
    CASE(who_talks_too_fast_is_told_and_may_go_on_later),
    CASE(who_never_stops_is_closed),
    CASE(who_goes_on_too_fast_is_closed_though_some_is_let_through),
    CASE(who_is_refused_now_and_then_is_not_closed),
    CASE(a_join_costs_as_much_as_some_messages),
    CASE(who_does_not_read_is_closed_instead_of_waited_for),
    CASE(of_two_with_one_name_the_first_in_the_log_comes_in),
    CASE(people_of_other_instances_are_members),
    CASE(who_died_with_their_instance_goes_after_two_looks),
    CASE(who_died_just_before_the_room_was_opened_is_missed_first),
    CASE(a_join_whose_word_is_lost_is_asked_again),
    CASE(one_of_two_who_share_a_name_is_closed),
    CASE(what_is_no_event_is_passed_over),
    CASE(who_comes_back_gets_what_they_missed_and_no_more),
    CASE(a_place_is_one_that_was_given),
    CASE(what_is_sent_behind_a_join_waits_for_it),
    CASE(so_much_waits_behind_a_join_and_no_more),
    CASE(a_join_waits_until_the_bus_can_tell_who_is_there),
    CASE(who_wants_to_come_in_is_told_that_redis_is_away),
    CASE(no_failing_allocation_breaks_a_room),
    CASE(each_path_has_its_answer),
    CASE(the_figures_are_for_this_machine_unless_it_is_said_otherwise),
    CASE(it_is_not_healthy_while_the_others_are_not_reached),
    CASE(the_page_lets_only_its_own_script_run),
    CASE(the_figures_are_in_the_form_of_prometheus),
};

int main(int argc, char **argv)
{
    int failed = unit_main(argc, argv, "chat", cases, sizeof cases / sizeof cases[0]);

    return failed;
}
