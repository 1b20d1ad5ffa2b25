/* The receiving half of the protocol, case by case: what is sent, and what the session makes of it.
 *
 * Each case runs in both roles, and each byte sequence is fed whole, one byte at a time, split at every
 * place, and straight into the message where the session offers that. The events must be the same each time.
 * The ids are those of the conformance suite; 6.5 to 6.23 are covered by trying all short sequences. */
#include "unit.h"
#include "proto/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "proto/mask.h"
#include "wire.h"

#define BYTES(s) s, sizeof(s) - 1

/* --- ways to feed --- */

static const struct session_config server_config = {.message_bytes_max = 1u << 20,
                                                    .fragments_max = 4096,
                                                    .ping_interval_ms = UINT32_MAX,
                                                    .close_timeout_ms = 10000};
static const struct session_config client_config = {.is_client = true,
                                                    .message_bytes_max = 1u << 20,
                                                    .fragments_max = 4096,
                                                    .ping_interval_ms = UINT32_MAX,
                                                    .close_timeout_ms = 10000};

static bool deflate_is_agreed; /* for the cases about it */

static const struct session_config *config_for(const struct wire *w)
{
    static struct session_config config;

    config = w->is_masked ? server_config : client_config;
    config.allows_compressed = deflate_is_agreed;
    return &config;
}

static struct trace traces[2]; /* too large for the stack */

/* In pieces of `piece` bytes, the first of them `first`. */
static void feed_pieces(const struct wire *w, size_t first, size_t piece, bool direct, struct trace *t)
{
    struct session s;
    size_t at = 0;

    trace_init(t);
    session_init(&s, config_for(w), 0);
    while (at < w->bytes) {
        size_t n = at ? piece : first;
        n = n < w->bytes - at ? n : w->bytes - at;
        if (direct)
            trace_feed_direct(t, &s, w->p + at, n);
        else
            trace_feed(t, &s, w->p + at, n);
        at += n;
    }
    session_fini(&s);
}

static bool same_events(const struct trace *a, const struct trace *b)
{
    bool same_reason =
        a->reason == b->reason || (a->reason && b->reason && strcmp(a->reason, b->reason) == 0);

    return a->faults == 0 && b->faults == 0 && same_reason && strcmp(a->text, b->text) == 0;
}

static unsigned ways_that_differ(const struct wire *w, const struct trace *whole, struct trace *other)
{
    size_t step = w->bytes <= 2048 ? 1 : w->bytes / 64;
    unsigned wrong = 0;

    feed_pieces(w, 1, 1, false, other);
    wrong += !same_events(whole, other);
    feed_pieces(w, 1, 1, true, other);
    wrong += !same_events(whole, other);
    feed_pieces(w, 997, 997, true, other);
    wrong += !same_events(whole, other);
    for (size_t at = 1; at < w->bytes; at += at < 64 ? 1 : step) {
        feed_pieces(w, at, SIZE_MAX, false, other);
        wrong += !same_events(whole, other);
    }
    return wrong;
}

/* Feeds in every way; true when each gives the expected lines, and all memory is back. */
static bool gives(const char *id, const struct wire *w, const struct trace *expected)
{
    int64_t before = mem_live_blocks();
    unsigned wrong;

    feed_pieces(w, w->bytes, 1, false, &traces[0]);
    wrong = traces[0].faults != 0 || strcmp(traces[0].text, expected->text) != 0;
    if (wrong)
        printf("%s: expected\n%sgot\n%s", id, expected->text, traces[0].text);
    wrong += ways_that_differ(w, &traces[0], &traces[1]);
    if (mem_live_blocks() != before)
        wrong++;
    if (wrong)
        printf("%s: %u ways are wrong (%s)\n", id, wrong, w->is_masked ? "server" : "client");
    return wrong == 0;
}

/* --- cases as tables --- */

struct sent {
    unsigned first;
    const char *payload;
    size_t bytes;
};
struct expected {
    const char *name;
    unsigned code;
    const char *payload;
    size_t bytes;
};
struct rfc_case {
    const char *id;
    struct sent sent[14];
    struct expected expected[12];
};

#define FRAME(first, s)                                                                                      \
    {                                                                                                        \
        first, BYTES(s)                                                                                      \
    }
#define S_TEXT(s)      FRAME(0x81, s)
#define S_BINARY(s)    FRAME(0x82, s)
#define S_CLOSE(s)     FRAME(0x88, s)
#define S_PING(s)      FRAME(0x89, s)
#define S_PONG(s)      FRAME(0x8a, s)
#define S_TEXT_PART(s) FRAME(0x01, s)
#define S_PART(s)      FRAME(0x00, s)
#define S_LAST(s)      FRAME(0x80, s)
#define TEXT(s)                                                                                              \
    {                                                                                                        \
        "text", 0, BYTES(s)                                                                                  \
    }
#define BINARY(s)                                                                                            \
    {                                                                                                        \
        "binary", 0, BYTES(s)                                                                                \
    }
#define PACKED(type, s)                                                                                      \
    {                                                                                                        \
        "compressed-" type, 0, BYTES(s)                                                                      \
    }
#define PING(s)                                                                                              \
    {                                                                                                        \
        "ping", 0, BYTES(s)                                                                                  \
    }
#define PONG(s)                                                                                              \
    {                                                                                                        \
        "pong", 0, BYTES(s)                                                                                  \
    }
#define CLOSE(code, s)                                                                                       \
    {                                                                                                        \
        "close", code, BYTES(s)                                                                              \
    }
#define FAIL(code)                                                                                           \
    {                                                                                                        \
        "fail", code, BYTES("")                                                                              \
    }

#define OCTETS_25                                                                                            \
    "\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe\xfe"
#define OCTETS_125  OCTETS_25 OCTETS_25 OCTETS_25 OCTETS_25 OCTETS_25
#define STARS_41    "*****************************************"
#define HELLO       "Hello, world!"
#define ODD         "\x00\xff\xfe\xfd\xfc\xfb\x00\xff"
#define GREEK       "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"
#define EDITED      "edited"
#define SURROGATE   "\xed\xa0\x80"
#define BEYOND      "\xf4\x90\x80\x80"
#define HELLO_UTF8A "Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4"
#define HELLO_UTF8B "\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!!"

static bool run_case(const struct rfc_case *c, bool is_masked)
{
    static struct trace expected;
    struct wire w;
    bool is_right;

    trace_init(&expected);
    wire_init(&w, is_masked);
    for (size_t i = 0; i < sizeof c->sent / sizeof *c->sent && c->sent[i].payload; i++)
        wire_frame(&w, c->sent[i].first, c->sent[i].payload, c->sent[i].bytes);
    for (size_t i = 0; i < sizeof c->expected / sizeof *c->expected && c->expected[i].name; i++)
        trace_line(&expected, c->expected[i].name, c->expected[i].code, c->expected[i].payload,
                   c->expected[i].bytes);
    is_right = gives(c->id, &w, &expected);
    wire_fini(&w);
    return is_right;
}

static void run_cases(const struct rfc_case *c, size_t count)
{
    mem_count_live(true);
    for (size_t i = 0; i < count; i++) {
        CU_ASSERT(run_case(&c[i], true));
        CU_ASSERT(run_case(&c[i], false));
    }
    mem_count_live(false);
}
#define RUN(table) run_cases(table, sizeof table / sizeof *table)

/* Section 1 of the suite, and one byte around each border. */
static void a_message_of_every_length_form_arrives(void)
{
    static const size_t lengths[] = {0,     1,     124,   125,   126,    127,    128,   129,
                                     65534, 65535, 65536, 65537, 131072, 131073, 300000};
    static struct trace expected;
    uint8_t *payload = malloc(300000);

    mem_count_live(true);
    for (unsigned i = 0; i < 4 * sizeof lengths / sizeof *lengths; i++) {
        bool is_text = i & 1, is_masked = i & 2;
        size_t n = lengths[i / 4];
        struct wire w;

        for (size_t k = 0; k < n; k++)
            payload[k] = is_text ? '!' + k % 90 : (uint8_t)(k * 7 + k / 256);
        wire_init(&w, is_masked);
        wire_frame(&w, is_text ? 0x81 : 0x82, payload, n);
        trace_init(&expected);
        trace_line(&expected, is_text ? "text" : "binary", 0, payload, n);
        CU_ASSERT(gives("1", &w, &expected));
        wire_fini(&w);
    }
    mem_count_live(false);
    free(payload);
}

static void pings_and_pongs_are_reported_with_their_payload(void)
{
    static const struct rfc_case table[] = {
        {"2.1", {S_PING("")}, {PING("")}},
        {"2.2", {S_PING(HELLO)}, {PING(HELLO)}},
        {"2.3", {S_PING(ODD)}, {PING(ODD)}},
        {"2.4", {S_PING(OCTETS_125)}, {PING(OCTETS_125)}},
        {"2.5", {S_PING(OCTETS_125 "\xfe"), S_PING("")}, {FAIL(1002)}},
        {"2.7", {S_PONG(""), S_CLOSE("\x03\xe8")}, {PONG(""), CLOSE(1000, "")}},
        {"2.8",
         {S_PONG("unsolicited pong payload"), S_CLOSE("\x03\xe8")},
         {PONG("unsolicited pong payload"), CLOSE(1000, "")}},
        {"2.9",
         {S_PONG("unsolicited pong payload"), S_PING("ping payload")},
         {PONG("unsolicited pong payload"), PING("ping payload")}},
        {"2.10",
         {S_PING("payload-0"), S_PING("payload-1"), S_PING("payload-2"), S_PING("payload-3"),
          S_PING("payload-4"), S_PING("payload-5"), S_PING("payload-6"), S_PING("payload-7"),
          S_PING("payload-8"), S_PING("payload-9")},
         {PING("payload-0"), PING("payload-1"), PING("payload-2"), PING("payload-3"), PING("payload-4"),
          PING("payload-5"), PING("payload-6"), PING("payload-7"), PING("payload-8"), PING("payload-9")}},
        {"pong of 125", {S_PONG(OCTETS_125)}, {PONG(OCTETS_125)}},
        {"pong of 126", {S_PONG(OCTETS_125 "\xfe")}, {FAIL(1002)}},
    };

    RUN(table);
}

static void a_reserved_bit_fails_the_connection(void)
{
    static const struct rfc_case table[] = {
        {"3.1", {FRAME(0x91, HELLO)}, {FAIL(1002)}},
        {"3.2", {S_TEXT(HELLO), FRAME(0xa1, HELLO), S_PING("")}, {TEXT(HELLO), FAIL(1002)}},
        {"3.3", {S_TEXT(HELLO), FRAME(0xb1, HELLO), S_PING("")}, {TEXT(HELLO), FAIL(1002)}},
        {"3.4", {S_TEXT(HELLO), FRAME(0xc1, HELLO), S_PING("")}, {TEXT(HELLO), FAIL(1002)}},
        {"3.5", {FRAME(0xd2, ODD)}, {FAIL(1002)}},
        {"3.6", {FRAME(0xe2, HELLO)}, {FAIL(1002)}},
        {"3.7", {FRAME(0xf8, "")}, {FAIL(1002)}},
        {"on a continuation", {S_TEXT_PART("a"), FRAME(0xc0, "b")}, {FAIL(1002)}},
        {"on a ping", {FRAME(0xc9, "")}, {FAIL(1002)}},
    };

    RUN(table);
}

/* RFC 7692 section 6: RSV1 belongs to the first frame of a data message, once the extension was agreed. */
static void with_deflate_agreed_rsv1_may_stand_on_first_frames_only(void)
{
    static const struct rfc_case table[] = {
        {"text", {FRAME(0xc1, HELLO), S_TEXT(HELLO)}, {PACKED("text", HELLO), TEXT(HELLO)}},
        {"binary", {S_BINARY(ODD), FRAME(0xc2, ODD)}, {BINARY(ODD), PACKED("binary", ODD)}},
        {"empty", {FRAME(0xc1, ""), FRAME(0xc2, "")}, {PACKED("text", ""), PACKED("binary", "")}},
        {"long", {FRAME(0xc1, OCTETS_125 ODD)}, {PACKED("text", OCTETS_125 ODD)}},
        {"what is compressed is no text",
         {FRAME(0xc1, "\xff"), FRAME(0x41, "\xce"), S_LAST(""), S_TEXT("\xff")},
         {PACKED("text", "\xff"), PACKED("text", "\xce"), FAIL(1007)}},
        {"fragments",
         {FRAME(0x41, "a"), S_PING("p"), S_PART("\xff"), S_LAST("c"), S_TEXT_PART("d"), S_LAST("\xc3")},
         {PING("p"), PACKED("text", "a\xff" "c"), FAIL(1007)}},
        {"empty fragments", {FRAME(0x42, ""), S_PART(""), S_LAST("")}, {PACKED("binary", "")}},
        {"on a continuation", {FRAME(0x41, "a"), FRAME(0xc0, "b")}, {FAIL(1002)}},
        {"on a middle one", {FRAME(0x41, "a"), FRAME(0x40, "b")}, {FAIL(1002)}},
        {"on a continuation of plain text", {S_TEXT_PART("a"), FRAME(0xc0, "b")}, {FAIL(1002)}},
        {"on a continuation of nothing", {FRAME(0xc0, "b")}, {FAIL(1002)}},
        {"on a ping", {FRAME(0xc9, HELLO)}, {FAIL(1002)}},
        {"on an empty ping", {FRAME(0xc9, "")}, {FAIL(1002)}},
        {"on a pong", {FRAME(0xca, "")}, {FAIL(1002)}},
        {"on a close", {FRAME(0xc8, "\x03\xe8")}, {FAIL(1002)}},
        {"on a ping inside", {FRAME(0x41, "a"), FRAME(0xc9, "b")}, {FAIL(1002)}},
        {"on a message inside", {FRAME(0x41, "a"), FRAME(0xc1, "b")}, {FAIL(1002)}},
        {"on a reserved opcode", {FRAME(0xc3, "")}, {FAIL(1002)}},
        {"with RSV2", {FRAME(0xe1, HELLO)}, {FAIL(1002)}},
        {"with RSV3", {FRAME(0xd2, HELLO)}, {FAIL(1002)}},
        {"RSV2 alone", {FRAME(0xa1, HELLO)}, {FAIL(1002)}},
    };

    deflate_is_agreed = true;
    RUN(table);
    deflate_is_agreed = false;
}

static void a_reserved_opcode_fails_the_connection(void)
{
    static const struct rfc_case table[] = {
        {"4.1.1", {FRAME(0x83, "")}, {FAIL(1002)}},
        {"4.1.2", {FRAME(0x84, "reserved opcode payload")}, {FAIL(1002)}},
        {"4.1.3", {S_TEXT(HELLO), FRAME(0x85, ""), S_PING("")}, {TEXT(HELLO), FAIL(1002)}},
        {"4.1.4", {S_TEXT(HELLO), FRAME(0x86, HELLO), S_PING("")}, {TEXT(HELLO), FAIL(1002)}},
        {"4.1.5", {S_TEXT(HELLO), FRAME(0x87, HELLO), S_PING("")}, {TEXT(HELLO), FAIL(1002)}},
        {"4.2.1", {FRAME(0x8b, "")}, {FAIL(1002)}},
        {"4.2.2", {FRAME(0x8c, "reserved opcode payload")}, {FAIL(1002)}},
        {"4.2.3", {S_TEXT(HELLO), FRAME(0x8d, ""), S_PING("")}, {TEXT(HELLO), FAIL(1002)}},
        {"4.2.4", {S_TEXT(HELLO), FRAME(0x8e, HELLO), S_PING("")}, {TEXT(HELLO), FAIL(1002)}},
        {"4.2.5", {S_TEXT(HELLO), FRAME(0x8f, HELLO), S_PING("")}, {TEXT(HELLO), FAIL(1002)}},
        {"inside a message", {S_TEXT_PART("a"), FRAME(0x83, "")}, {FAIL(1002)}},
    };

    RUN(table);
}

static void fragments_are_put_together_and_control_frames_come_between(void)
{
    static const struct rfc_case table[] = {
        {"5.1", {FRAME(0x09, "fragment1"), S_LAST("fragment2")}, {FAIL(1002)}},
        {"5.2", {FRAME(0x0a, "fragment1"), S_LAST("fragment2")}, {FAIL(1002)}},
        {"close, not final", {FRAME(0x08, "\x03\xe8")}, {FAIL(1002)}},
        {"5.3", {S_TEXT_PART("fragment1"), S_LAST("fragment2")}, {TEXT("fragment1fragment2")}},
        {"5.6",
         {S_TEXT_PART("fragment1"), S_PING("ping payload"), S_LAST("fragment2")},
         {PING("ping payload"), TEXT("fragment1fragment2")}},
        {"5.9", {S_LAST("non-continuation payload"), S_TEXT(HELLO)}, {FAIL(1002)}},
        {"5.12", {S_PART("non-continuation payload"), S_TEXT(HELLO)}, {FAIL(1002)}},
        {"5.15",
         {S_TEXT_PART("fragment1"), S_LAST("fragment2"), S_PART("fragment3"), S_TEXT("fragment4")},
         {TEXT("fragment1fragment2"), FAIL(1002)}},
        {"5.16", {S_PART("fragment1"), S_TEXT_PART("fragment2"), S_LAST("fragment3")}, {FAIL(1002)}},
        {"5.17", {S_LAST("fragment1"), S_TEXT_PART("fragment2"), S_LAST("fragment3")}, {FAIL(1002)}},
        {"5.18", {S_TEXT_PART("fragment1"), S_TEXT("fragment2")}, {FAIL(1002)}},
        {"5.18 binary", {S_TEXT_PART("fragment1"), S_BINARY("fragment2")}, {FAIL(1002)}},
        {"5.19",
         {S_TEXT_PART("fragment1"), S_PART("fragment2"), S_PING("pongme 1!"), S_PART("fragment3"),
          S_PART("fragment4"), S_PING("pongme 2!"), S_LAST("fragment5")},
         {PING("pongme 1!"), PING("pongme 2!"), TEXT("fragment1fragment2fragment3fragment4fragment5")}},
        {"two messages",
         {FRAME(0x02, "a"), S_PONG(""), S_LAST("b"), S_TEXT_PART("c"), S_LAST("")},
         {PONG(""), BINARY("ab"), TEXT("c")}},
        {"a message after a continuation without a message",
         {S_TEXT("a"), S_LAST("b")},
         {TEXT("a"), FAIL(1002)}},
        {"a close between fragments",
         {S_TEXT_PART("a"), S_CLOSE("\x03\xe9"), S_LAST("b")},
         {CLOSE(1001, "")}},
        {"nothing but empty fragments",
         {FRAME(0x02, ""), S_PART(""), S_PING("x"), S_PART(""), S_LAST("")},
         {PING("x"), BINARY("")}},
    };

    RUN(table);
}

static void text_is_checked_across_fragments(void)
{
    static const struct rfc_case table[] = {
        {"6.1.1", {S_TEXT("")}, {TEXT("")}},
        {"6.1.2", {S_TEXT_PART(""), S_PART(""), S_LAST("")}, {TEXT("")}},
        {"6.1.3",
         {S_TEXT_PART(""), S_PART("middle frame payload"), S_LAST("")},
         {TEXT("middle frame payload")}},
        {"6.2.1", {S_TEXT(HELLO_UTF8A HELLO_UTF8B)}, {TEXT(HELLO_UTF8A HELLO_UTF8B)}},
        {"6.2.2", {S_TEXT_PART(HELLO_UTF8A), S_LAST(HELLO_UTF8B)}, {TEXT(HELLO_UTF8A HELLO_UTF8B)}},
        {"6.2.4",
         {S_TEXT_PART("\xce"), S_PART("\xba"), S_PART("\xe1"), S_PART("\xbd"), S_PART("\xb9"), S_PART("\xcf"),
          S_PART("\x83"), S_PART("\xce"), S_PART("\xbc"), S_PART("\xce"), S_PART("\xb5"), S_LAST("")},
         {TEXT(GREEK)}},
        {"6.3.1", {S_TEXT(GREEK SURROGATE EDITED)}, {FAIL(1007)}},
        {"6.3.2",
         {S_TEXT_PART(GREEK), S_PART("\xed"), S_PART("\xa0"), S_PART("\x80"), S_LAST(EDITED)},
         {FAIL(1007)}},
        {"6.4.1", {S_TEXT_PART(GREEK), S_PART(BEYOND), S_LAST(EDITED)}, {FAIL(1007)}},
        {"6.4.2", {S_TEXT_PART(GREEK "\xf4"), S_PART("\x90"), S_LAST("\x80\x80" EDITED)}, {FAIL(1007)}},
        {"6.4.3", {S_TEXT(GREEK BEYOND EDITED)}, {FAIL(1007)}},
        {"cut character, then the end", {S_TEXT_PART("\xce"), S_LAST("")}, {FAIL(1007)}},
        {"a ping inside a character",
         {S_TEXT_PART("\xe2\x82"), S_PING("\x82"), S_LAST("\xac")},
         {PING("\x82"), TEXT("\xe2\x82\xac")}},
        {"the second message begins anew",
         {S_TEXT("\xc3\xbc"), S_TEXT("\xbc")},
         {TEXT("\xc3\xbc"), FAIL(1007)}},
        {"binary is not checked",
         {S_BINARY("\xff\xfe\x80"), FRAME(0x02, "\xc3"), S_LAST("")},
         {BINARY("\xff\xfe\x80"), BINARY("\xc3")}},
    };

    RUN(table);
}

static void after_a_close_or_a_failure_nothing_is_reported(void)
{
    static const struct rfc_case table[] = {
        {"7.1.2", {S_CLOSE("\x03\xe8"), S_CLOSE("")}, {CLOSE(1000, "")}},
        {"7.1.3", {S_CLOSE("\x03\xe8"), S_PING("")}, {CLOSE(1000, "")}},
        {"7.1.4", {S_CLOSE("\x03\xe8"), S_TEXT("Hello World!")}, {CLOSE(1000, "")}},
        {"7.1.5", {S_TEXT_PART("fragment1"), S_CLOSE("\x03\xe8"), S_LAST("fragment2")}, {CLOSE(1000, "")}},
        {"after a failure", {FRAME(0x83, ""), S_CLOSE("\x03\xe8"), S_TEXT("Hello World!")}, {FAIL(1002)}},
        {"broken frames after a close", {S_CLOSE(""), FRAME(0xff, "x")}, {CLOSE(1005, "")}},
        {"broken text after a failure", {S_TEXT("\xff"), S_TEXT("\xff")}, {FAIL(1007)}},
    };

    RUN(table);
}

static void a_close_frame_is_judged_by_code_and_reason(void)
{
    static const struct rfc_case table[] = {
        {"7.3.1", {S_CLOSE("")}, {CLOSE(1005, "")}},
        {"7.3.2", {S_CLOSE("a")}, {FAIL(1002)}},
        {"7.3.3", {S_CLOSE("\x03\xe8")}, {CLOSE(1000, "")}},
        {"7.3.4", {S_CLOSE("\x03\xe8Hello World!")}, {CLOSE(1000, "Hello World!")}},
        {"7.3.5",
         {S_CLOSE("\x03\xe8" STARS_41 STARS_41 STARS_41)},
         {CLOSE(1000, STARS_41 STARS_41 STARS_41)}},
        {"7.3.6", {S_CLOSE("\x03\xe8" STARS_41 STARS_41 STARS_41 "*")}, {FAIL(1002)}},
        {"7.5.1", {S_CLOSE("\x03\xe8" GREEK SURROGATE EDITED)}, {FAIL(1007)}},
        {"reason that ends inside a character", {S_CLOSE("\x03\xe8\xce")}, {FAIL(1007)}},
        {"reason with NUL", {S_CLOSE("\x03\xe8\0x")}, {CLOSE(1000, "\0x")}},
    };

    RUN(table);
}

/* 7.7, 7.9 and 7.13, and all the codes between. */
static void a_close_with_any_code_is_reported_or_fails_as_the_table_of_codes_says(void)
{
    unsigned wrong = 0;

    for (unsigned code = 0; code <= 65535; code++) {
        uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code};
        bool expected = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                        (code >= 3000 && code <= 4999);
        struct trace *t = &traces[0];
        char line[64];
        struct wire w;

        wire_init(&w, true);
        wire_frame(&w, 0x88, payload, 2);
        t->length = t->events = 0;
        t->faults = 0;
        t->last = SESSION_NONE;
        {
            struct session s;
            session_init(&s, &server_config, 0);
            trace_feed(t, &s, w.p, w.bytes);
            wrong += s.failed == expected || s.close_received != expected;
            session_fini(&s);
        }
        snprintf(line, sizeof line, expected ? "close %u 0 " : "fail 1002 0 ", code);
        wrong += t->events != 1 || t->faults || strncmp(t->text, line, strlen(line)) != 0;
        wire_fini(&w);
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

/* --- masks and lengths --- */

static void a_frame_masked_by_the_wrong_side_or_not_masked_fails(void)
{
    static const unsigned firsts[] = {0x81, 0x82, 0x01, 0x88, 0x89, 0x8a};

    for (size_t i = 0; i < 2 * sizeof firsts / sizeof *firsts; i++) {
        struct session s;
        struct wire w;

        trace_init(&traces[0]);
        wire_init(&w, i % 2);
        wire_frame(&w, firsts[i / 2], "xy", 2);
        session_init(&s, w.is_masked ? &client_config : &server_config, 0);
        trace_feed(&traces[0], &s, w.p, w.bytes);
        CU_ASSERT(strncmp(traces[0].text, "fail 1002 0 ", 12) == 0);
        CU_ASSERT_STRING_EQUAL(traces[0].reason,
                               w.is_masked ? "a server must not mask" : "a client must mask");
        session_fini(&s);
        wire_fini(&w);
    }
}

struct header_case {
    const char *id;
    const char *bytes;
    size_t count;
    size_t fails_at; /* bytes fed when the fault shows; 0: it does not */
    unsigned code;
};

/* One byte at a time to a server; 0x80 in the second byte is the mask bit. */
static void a_broken_header_is_noticed_with_the_byte_that_shows_it(void)
{
    static const struct header_case table[] = {
        {"reserved bit", BYTES("\x91\x80"), 2, 1002},
        {"reserved opcode", BYTES("\x83\x80"), 2, 1002},
        {"unmasked", BYTES("\x81\x7f"), 2, 1002},
        {"fragmented ping", BYTES("\x09\x80"), 2, 1002},
        {"ping in the form of 126", BYTES("\x89\xfe"), 2, 1002},
        {"close in the form of 127", BYTES("\x88\xff"), 2, 1002},
        {"lone continuation", BYTES("\x80\x80"), 2, 1002},
        {"second beginning", BYTES("\x01\x80\0\0\0\0\x82\x80"), 8, 1002},
        {"125 in two bytes", BYTES("\x82\xfe\x00\x7d\0\0\0\0"), 8, 1002},
        {"0 in two bytes", BYTES("\x82\xfe\x00\x00\0\0\0\0"), 8, 1002},
        {"126 in two bytes", BYTES("\x82\xfe\x00\x7e\0\0\0\0"), 0, 0},
        {"65535 in eight bytes", BYTES("\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0"), 14, 1002},
        {"65536 in eight bytes", BYTES("\x82\xff\0\0\0\0\0\1\0\0\0\0\0\0"), 0, 0},
        {"0 in eight bytes", BYTES("\x82\xff\0\0\0\0\0\0\0\0\0\0\0\0"), 14, 1002},
        {"the top bit", BYTES("\x82\xff\x80\0\0\0\0\1\0\0\0\0\0\0"), 14, 1002},
        {"all bits", BYTES("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"), 14, 1002},
        {"2^63 - 1", BYTES("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0"), 14, 1009},
        {"2^32", BYTES("\x82\xff\0\0\0\1\0\0\0\0\0\0\0\0"), 14, 1009},
    };

    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct wire w = {.p = (uint8_t *)table[i].bytes, .bytes = table[i].count, .is_masked = true};
        char line[32];

        feed_pieces(&w, 1, 1, false, &traces[0]);
        CU_ASSERT_EQUAL(traces[0].first_at, table[i].fails_at);
        snprintf(line, sizeof line, "fail %u 0 ", table[i].code);
        CU_ASSERT(!table[i].fails_at || strncmp(traces[0].text, line, strlen(line)) == 0);
        CU_ASSERT_EQUAL(ways_that_differ(&w, &traces[0], &traces[1]), 0);
    }
}

/* --- UTF-8 inside a frame --- */

/* Where does a masked text frame fail, fed byte by byte? 0: it gave its message at its end. */
static size_t fails_at(const uint8_t *text, size_t n, struct trace *t)
{
    struct wire w;
    size_t header, at;

    wire_init(&w, true);
    wire_frame(&w, 0x81, text, n);
    header = w.bytes - n;
    feed_pieces(&w, 1, 1, false, t);
    at = t->first_at < header + n || t->last == SESSION_FAIL ? t->first_at - header : 0;
    if (t->events != 1 || t->faults || (at && strncmp(t->text, "fail 1007 ", 10) != 0))
        at = SIZE_MAX;
    wire_fini(&w);
    return at;
}

static size_t should_fail_at(const uint8_t *text, size_t n)
{
    bool is_whole;
    size_t right = wire_utf8_right_until(text, n, &is_whole);

    return right < n ? right + 1 : is_whole ? 0 : n;
}

static void text_fails_at_the_first_wrong_byte_and_not_at_the_frames_end(void)
{
    static const uint8_t thirds[] = {0x7f, 0x80, 0xbf, 0xc0};
    unsigned wrong = 0, step = unit_is_slow() ? 7 : 1;

    for (unsigned lead = 0x7f; lead < 256; lead++)
        for (unsigned second = 0; second < 256; second += second < 0x70 || second > 0xcf ? 0x0f : step)
            for (unsigned i = 0; i < 16; i++) {
                uint8_t text[12] = {'a', (uint8_t)lead, (uint8_t)second, thirds[i % 4], thirds[i / 4], 'b',
                                    'c'};
                for (size_t n = 2; n <= 7; n++)
                    wrong += fails_at(text, n, &traces[0]) != should_fail_at(text, n);
            }
    CU_ASSERT_EQUAL(wrong, 0);
}

static void the_fault_is_found_anywhere_in_a_long_frame(void)
{
    uint8_t text[600];
    unsigned wrong = 0;

    for (size_t bad = 0; bad < sizeof text; bad++) {
        for (size_t i = 0; i + 1 < sizeof text; i += 2)
            memcpy(text + i, "\xc3\xbc", 2);
        text[bad] = 0xff;
        wrong += fails_at(text, sizeof text, &traces[0]) != bad + 1;
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

/* 6.4.3 and 6.4.4: the pieces of one frame arrive as three reads. */
static void a_fault_is_reported_with_the_read_that_brings_it(void)
{
    static const char *const pieces[2][3] = {{GREEK, BEYOND, EDITED},
                                             {GREEK "\xf4", "\x90", "\x80\x80" EDITED}};

    for (int i = 0; i < 2; i++) {
        char text[32] = "";
        struct session s;
        struct wire w;
        size_t at = 6;

        for (int k = 0; k < 3; k++)
            strcat(text, pieces[i][k]);
        wire_init(&w, true);
        wire_frame(&w, 0x81, text, strlen(text));
        trace_init(&traces[0]);
        session_init(&s, &server_config, 0);
        trace_feed(&traces[0], &s, w.p, at);
        trace_feed(&traces[0], &s, w.p + at, strlen(pieces[i][0]));
        at += strlen(pieces[i][0]);
        CU_ASSERT_EQUAL(traces[0].events, 0);
        trace_feed(&traces[0], &s, w.p + at, strlen(pieces[i][1]));
        CU_ASSERT_EQUAL(traces[0].last, SESSION_FAIL);
        CU_ASSERT(strncmp(traces[0].text, "fail 1007 ", 10) == 0);
        CU_ASSERT(session_is_over(&s));
        session_fini(&s);
        wire_fini(&w);
    }
}

static void cut_text_has_the_same_reason_however_it_is_fed(void)
{
    static struct trace whole;
    struct wire w;

    wire_init(&w, true);
    wire_frame(&w, 0x81, "\xce", 1);
    feed_pieces(&w, w.bytes, 1, false, &whole);
    feed_pieces(&w, 1, 1, false, &traces[1]);
    CU_ASSERT_STRING_EQUAL(whole.reason, traces[1].reason);
    wire_fini(&w);
}

/* --- two sessions, and the encoders the library itself uses --- */

/* What a client writes: frame_write_header and mask_apply. */
static void write_as_client(struct wire *w, unsigned opcode, bool is_final, const void *payload, size_t bytes)
{
    struct frame_header h = {
        .bytes = bytes, .opcode = (uint8_t)opcode, .is_final = is_final, .is_masked = true};
    uint32_t number = wire_random(&w->random);
    uint8_t header[FRAME_HEADER_BYTES_MAX];

    memcpy(h.key, &number, 4);
    wire_raw(w, header, frame_write_header(header, &h));
    wire_raw(w, payload, bytes);
    mask_apply(w->p + w->bytes - bytes, bytes, h.key, 0);
}

/* What a server writes: a message as it was sealed when it was made. */
static void write_as_server(struct wire *w, enum weft_msg_type type, const void *payload, size_t bytes)
{
    weft_msg *m;

    CU_ASSERT_EQUAL_FATAL(weft_msg_new(&m, type, payload, bytes), WEFT_OK);
    wire_raw(w, msg_frame(m), msg_frame_bytes(m));
    weft_msg_unref(m);
}

static void what_one_side_writes_the_other_side_reads(void)
{
    static struct trace expected;
    static uint8_t payload[70000];
    struct wire to_client, to_server;

    memset(payload, 'w', sizeof payload);
    trace_init(&expected);
    wire_init(&to_client, false);
    wire_init(&to_server, true);
    mem_count_live(true);
    for (size_t n = 0; n < sizeof payload; n = n < 140 ? n + 1 : n * 2 + 1) {
        write_as_server(&to_client, n % 2 ? WEFT_TEXT : WEFT_BINARY, payload, n);
        write_as_client(&to_server, n % 2 ? FRAME_TEXT : FRAME_BINARY, false, payload, n / 3);
        write_as_client(&to_server, FRAME_CONTINUATION, true, payload + n / 3, n - n / 3);
        trace_line(&expected, n % 2 ? "text" : "binary", 0, payload, n);
    }
    CU_ASSERT(gives("to the client", &to_client, &expected));
    CU_ASSERT(gives("to the server", &to_server, &expected));
    mem_count_live(false);
    wire_fini(&to_client);
    wire_fini(&to_server);
}

static void feed_control_frame(struct session *to, struct trace *t, enum frame_opcode opcode,
                               const void *payload, size_t n)
{
    static const uint8_t key[4] = {1, 2, 3, 4};
    uint8_t frame[FRAME_WHOLE_CONTROL_MAX];

    trace_feed(t, to, frame,
               frame_write_control(frame, opcode, payload, n, to->config->is_client ? NULL : key));
}

static void the_closing_handshake_ends_both_sessions(void)
{
    for (int i = 0; i < 2; i++) {
        struct session first, second;
        uint8_t payload[FRAME_CONTROL_BYTES_MAX];
        unsigned n = frame_write_close_payload(payload, 4001, "enough", 6);

        trace_init(&traces[0]);
        trace_init(&traces[1]);
        session_init(&first, i ? &client_config : &server_config, 0);
        session_init(&second, i ? &server_config : &client_config, 0);
        session_close_sent(&first, 5);
        feed_control_frame(&second, &traces[1], FRAME_CLOSE, payload, n);
        CU_ASSERT(strncmp(traces[1].text, "close 4001 6 ", 13) == 0);
        CU_ASSERT_FALSE(session_is_over(&first));
        CU_ASSERT_FALSE(session_is_over(&second));
        /* The answer may have to wait behind data: that still arrives. */
        feed_control_frame(&first, &traces[0], FRAME_PING, "x", 1);
        CU_ASSERT_EQUAL(traces[0].last, SESSION_PING);
        session_close_sent(&second, 6);
        feed_control_frame(&first, &traces[0], FRAME_CLOSE, payload, 2);
        CU_ASSERT_EQUAL(traces[0].last, SESSION_CLOSE);
        CU_ASSERT(session_is_over(&first));
        CU_ASSERT(session_is_over(&second));
        session_fini(&first);
        session_fini(&second);
    }
}

static void a_failed_session_is_over_and_takes_no_more_bytes(void)
{
    struct session_event ev;
    struct session s;
    uint8_t *where;
    size_t used = 0;

    session_init(&s, &server_config, 0);
    CU_ASSERT_EQUAL(session_feed(&s, (const uint8_t *)"\x83\x80", 2, &used, &ev), SESSION_FAIL);
    CU_ASSERT_EQUAL(ev.error, WEFT_E_PROTOCOL);
    CU_ASSERT(session_is_over(&s));
    CU_ASSERT_EQUAL(session_feed(&s, (const uint8_t *)"\x89\x80\0\0\0\0", 6, &used, &ev), SESSION_NONE);
    CU_ASSERT_EQUAL(used, 6);
    CU_ASSERT_EQUAL(session_direct(&s, &where), 0);
    session_fini(&s);
}

static void feeding_nothing_is_no_event(void)
{
    struct session_event ev;
    struct session s;
    size_t used = 7;

    session_init(&s, &server_config, 0);
    CU_ASSERT_EQUAL(session_feed(&s, NULL, 0, &used, &ev), SESSION_NONE);
    CU_ASSERT_EQUAL(used, 0);
    session_fini(&s);
}

static void a_session_that_ends_in_the_middle_gives_its_memory_back(void)
{
    struct wire w;

    wire_init(&w, true);
    wire_frame(&w, 0x01, "fragment", 8);
    wire_frame(&w, 0x89, "ping", 4);
    wire_frame(&w, 0x80, "more", 4);
    mem_count_live(true);
    for (size_t n = 0; n < w.bytes; n++) {
        int64_t before = mem_live_blocks();
        struct session s;

        trace_init(&traces[0]);
        session_init(&s, &server_config, 0);
        trace_feed(&traces[0], &s, w.p, n);
        session_fini(&s);
        CU_ASSERT_EQUAL(mem_live_blocks(), before);
    }
    mem_count_live(false);
    wire_fini(&w);
}

static const struct unit_case cases[] = {
    CASE(a_message_of_every_length_form_arrives),
    CASE(pings_and_pongs_are_reported_with_their_payload),
    CASE(a_reserved_bit_fails_the_connection),
    CASE(with_deflate_agreed_rsv1_may_stand_on_first_frames_only),
    CASE(a_reserved_opcode_fails_the_connection),
    CASE(fragments_are_put_together_and_control_frames_come_between),
    CASE(text_is_checked_across_fragments),
    CASE(after_a_close_or_a_failure_nothing_is_reported),
    CASE(a_close_frame_is_judged_by_code_and_reason),
    CASE(a_close_with_any_code_is_reported_or_fails_as_the_table_of_codes_says),
    CASE(a_frame_masked_by_the_wrong_side_or_not_masked_fails),
    CASE(a_broken_header_is_noticed_with_the_byte_that_shows_it),
    CASE(text_fails_at_the_first_wrong_byte_and_not_at_the_frames_end),
    CASE(the_fault_is_found_anywhere_in_a_long_frame),
    CASE(a_fault_is_reported_with_the_read_that_brings_it),
    CASE(cut_text_has_the_same_reason_however_it_is_fed),
    CASE(what_one_side_writes_the_other_side_reads),
    CASE(the_closing_handshake_ends_both_sessions),
    CASE(a_failed_session_is_over_and_takes_no_more_bytes),
    CASE(feeding_nothing_is_no_event),
    CASE(a_session_that_ends_in_the_middle_gives_its_memory_back),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "session", cases, sizeof cases / sizeof cases[0]);
}
