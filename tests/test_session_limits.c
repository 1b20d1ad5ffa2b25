/* What a peer can make a session hold: limits, memory, the direct way into a message, and what happens when
 * there is none. */
#include "unit.h"
#include "proto/session.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "wire.h"

static struct trace traces[2]; /* too large for the stack */

static struct session_config limited(uint32_t message_bytes_max, uint32_t fragments_max)
{
    struct session_config c = wire_config(false);

    c.message_bytes_max = message_bytes_max;
    c.fragments_max = fragments_max;
    return c;
}

static struct trace *feed(const struct session_config *config, const struct wire *w, size_t piece)
{
    struct trace *t = &traces[0];
    struct session s;

    trace_init(t);
    session_init(&s, config, 0);
    for (size_t at = 0; at < w->bytes; at += piece)
        trace_feed(t, &s, w->p + at, piece < w->bytes - at ? piece : w->bytes - at);
    session_fini(&s);
    return t;
}

static bool ends_with(const struct trace *t, const char *start)
{
    return t->events == 1 && t->faults == 0 && strncmp(t->text, start, strlen(start)) == 0;
}

/* A message of n bytes in `count` frames. */
static void message_in_frames(struct wire *w, size_t n, size_t count)
{
    static uint8_t payload[200000];

    for (size_t i = 0; i < count; i++) {
        size_t part = i + 1 < count ? n / count : n - n / count * (count - 1);
        wire_frame(w, (i ? 0 : 2) | (i + 1 == count ? WIRE_FIN : 0), payload, part);
    }
}

static void a_message_may_be_as_long_as_the_limit_and_not_one_byte_longer(void)
{
    static const uint32_t limits[] = {0, 1, 64, 125, 126, 127, 65535, 65536, 131072, 150000};

    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        for (size_t frames = 1; frames <= 3; frames++)
            for (size_t over = 0; over < 2; over++) {
                struct session_config c = limited(limits[i], 3);
                size_t piece = limits[i] < 1000 ? 1 : 999;
                char line[32];
                struct wire w;

                wire_init(&w, true);
                message_in_frames(&w, limits[i] + over, frames);
                snprintf(line, sizeof line, "binary 0 %u ", limits[i]);
                CU_ASSERT(ends_with(feed(&c, &w, w.bytes), over ? "fail 1009 " : line));
                CU_ASSERT(ends_with(feed(&c, &w, piece), over ? "fail 1009 " : line));
                wire_fini(&w);
            }
}

/* The limit, and what compressing may add to what does not get smaller. */
static void a_compressed_message_may_be_longer_by_what_compressing_adds(void)
{
    static const uint32_t limits[] = {0, 1, 64, 1000, 65536, 100000};

    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        for (size_t over = 0; over < 2; over++) {
            size_t most = limits[i] + limits[i] / 8 + limits[i] / 32 + 64;
            struct session_config c = limited(limits[i], 2);
            struct wire whole, parts;
            char line[48];

            c.allows_compressed = true;
            wire_init(&whole, true);
            message_in_frames(&whole, most + over, 1);
            wire_init(&parts, true);
            message_in_frames(&parts, most + over, 2);
            whole.p[0] |= WIRE_RSV1;
            parts.p[0] |= WIRE_RSV1;
            snprintf(line, sizeof line, "compressed-binary 0 %zu ", most);
            CU_ASSERT(ends_with(feed(&c, &whole, whole.bytes), over ? "fail 1009 " : line));
            CU_ASSERT(ends_with(feed(&c, &whole, 997), over ? "fail 1009 " : line));
            CU_ASSERT(ends_with(feed(&c, &parts, parts.bytes), over ? "fail 1009 " : line));
            CU_ASSERT(ends_with(feed(&c, &parts, 997), over ? "fail 1009 " : line));
            whole.p[0] &= (uint8_t)~WIRE_RSV1; /* plain it is too long in any case */
            CU_ASSERT(ends_with(feed(&c, &whole, whole.bytes), "fail 1009 "));
            wire_fini(&whole);
            wire_fini(&parts);
        }
}

static void the_limit_counts_for_each_message_anew(void)
{
    struct session_config c = limited(100, 2);
    struct wire w;

    wire_init(&w, true);
    for (int i = 0; i < 5; i++)
        message_in_frames(&w, 100, 2);
    CU_ASSERT_EQUAL(feed(&c, &w, w.bytes)->events, 5);
    CU_ASSERT_EQUAL(traces[0].last, SESSION_MESSAGE);
    CU_ASSERT_EQUAL(feed(&c, &w, 1)->events, 5);
    wire_fini(&w);
}

static void a_message_that_is_too_long_fails_with_its_header(void)
{
    struct session_config c = limited(1000, 2);
    struct wire w;

    wire_init(&w, true);
    wire_header(&w, 0x82, 1001);
    CU_ASSERT(ends_with(feed(&c, &w, 1), "fail 1009 "));
    CU_ASSERT_EQUAL(traces[0].first_at, 8);
    wire_fini(&w);
}

static void there_may_be_as_many_fragments_as_the_limit_and_not_one_more(void)
{
    for (uint32_t limit = 1; limit <= 70; limit += 23)
        for (uint32_t over = 0; over < 2; over++)
            for (size_t piece = 1; piece < 1000; piece += 998) {
                struct session_config c = limited(1000, limit);
                struct wire w;

                wire_init(&w, true);
                message_in_frames(&w, 0, limit + over);
                CU_ASSERT(ends_with(feed(&c, &w, piece), over ? "fail 1008 " : "binary 0 0 "));
                wire_fini(&w);
            }
}

static void control_frames_are_no_fragments(void)
{
    struct session_config c = limited(1000, 2);
    struct wire w;

    wire_init(&w, true);
    wire_frame(&w, 0x02, "a", 1);
    for (int i = 0; i < 100; i++)
        wire_frame(&w, 0x89, "", 0);
    wire_frame(&w, 0x80, "b", 1);
    CU_ASSERT_EQUAL(feed(&c, &w, w.bytes)->events, 101);
    CU_ASSERT_EQUAL(traces[0].last, SESSION_MESSAGE);
    wire_fini(&w);
}

/* --- memory --- */

#define FIRST_ROOM (128u * 1024u)

static void the_room_of_a_message_follows_what_arrived(void)
{
    static uint8_t zeros[4096];
    struct session_config c = limited(1u << 30, 2);
    struct session s;
    struct wire w;
    size_t sent = 0;
    unsigned wrong = 0;

    wire_init(&w, true);
    wire_header(&w, 0x82, 1u << 30);
    trace_init(&traces[0]);
    session_init(&s, &c, 0);
    trace_feed(&traces[0], &s, w.p, w.bytes);
    CU_ASSERT(s.reading->msg_room <= FIRST_ROOM);
    while (sent < 3u << 20) {
        trace_feed(&traces[0], &s, zeros, sizeof zeros);
        sent += sizeof zeros;
        wrong += s.reading->msg_room > (2 * sent > FIRST_ROOM ? 2 * sent : FIRST_ROOM);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(s.reading->msg_bytes, sent);
    session_fini(&s);
    wire_fini(&w);
}

static void a_whole_message_has_no_more_room_than_its_length_or_the_limit(void)
{
    static uint8_t zeros[300000];
    struct session_config c = limited(sizeof zeros, 2);
    struct session s;
    struct wire w;

    for (int fragmented = 0; fragmented < 2; fragmented++) {
        wire_init(&w, true);
        wire_frame(&w, fragmented ? 0x02 : 0x82, zeros, sizeof zeros - 1);
        trace_init(&traces[0]);
        session_init(&s, &c, 0);
        for (size_t at = 0; at + 1 < w.bytes; at += 1000)
            trace_feed(&traces[0], &s, w.p + at, at + 1001 < w.bytes ? 1000 : w.bytes - 1 - at);
        CU_ASSERT(s.reading->msg_room <= sizeof zeros - !fragmented);
        session_fini(&s);
        wire_fini(&w);
    }
}

static long resident_bytes(void)
{
    long pages = 0, ignored;
    FILE *f = fopen("/proc/self/statm", "r");

    if (!f || fscanf(f, "%ld %ld", &ignored, &pages) != 2)
        pages = 0;
    if (f)
        fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

/* The bytes of a message are touched as they arrive: until then what is set aside for it is no memory. */
static void a_thousand_announced_lengths_that_never_come_cost_next_to_nothing(void)
{
    enum { COUNT = 1000 };
    struct session_config c = limited(1u << 30, 2);
    struct session *sessions = calloc(COUNT, sizeof *sessions);
    struct wire w;
    long before, after;

    wire_init(&w, true);
    wire_header(&w, 0x82, 1u << 30);
    trace_init(&traces[0]);
    mallopt(M_PERTURB, 0); /* which touches all there is */
    before = resident_bytes();
    for (int i = 0; i < COUNT; i++) {
        session_init(&sessions[i], &c, 0);
        trace_feed(&traces[0], &sessions[i], w.p, w.bytes);
        CU_ASSERT(sessions[i].reading->msg_room <= FIRST_ROOM);
    }
    after = resident_bytes();
    CU_ASSERT(before > 0);
    CU_ASSERT(unit_is_slow() || after - before < COUNT * 16384L);
    for (int i = 0; i < COUNT; i++)
        session_fini(&sessions[i]);
    mallopt(M_PERTURB, getenv("MALLOC_PERTURB_") ? atoi(getenv("MALLOC_PERTURB_")) : 0);
    wire_fini(&w);
    free(sessions);
}

static void a_session_at_rest_owns_no_block(void)
{
    struct session_config c = wire_config(false);
    struct session s;
    struct wire w;
    int64_t before;

    mem_count_live(true);
    before = mem_live_blocks();
    wire_init(&w, true);
    message_in_frames(&w, 1000, 3);
    wire_frame(&w, 0x89, "ping", 4);
    trace_init(&traces[0]);
    session_init(&s, &c, 0);
    CU_ASSERT_EQUAL(mem_live_blocks(), before);
    trace_feed(&traces[0], &s, w.p, w.bytes);
    CU_ASSERT_EQUAL(traces[0].events, 2);
    CU_ASSERT_EQUAL(mem_live_blocks(), before);
    session_fini(&s);
    mem_count_live(false);
    wire_fini(&w);
}

/* Fed in two pieces, cut at `at`; what is remembered in between. */
static bool remembers_at(const struct wire *w, size_t at, const struct session_config *c)
{
    struct session s;
    bool remembers;

    trace_init(&traces[0]);
    session_init(&s, c, 0);
    trace_feed(&traces[0], &s, w->p, at);
    remembers = s.reading != NULL;
    trace_feed(&traces[0], &s, w->p + at, w->bytes - at);
    CU_ASSERT_PTR_NULL(s.reading);
    session_fini(&s);
    return remembers;
}

static void only_what_is_cut_or_fragmented_is_remembered(void)
{
    static const size_t lengths[] = {0, 1, 125, 126, 70000};

    for (int is_client = 0; is_client < 2; is_client++)
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            static uint8_t zeros[70000];
            struct session_config c = wire_config(is_client);
            struct wire w;
            size_t first, second;

            wire_init(&w, !is_client);
            wire_frame(&w, 0x82, zeros, lengths[i]);
            first = w.bytes;
            wire_frame(&w, 0x89, "ping", 4);
            second = w.bytes;
            wire_frame(&w, 0x01, "a", 1);
            wire_frame(&w, 0x80, "b", 1);
            CU_ASSERT_FALSE(remembers_at(&w, 0, &c));
            CU_ASSERT(remembers_at(&w, 1, &c));
            CU_ASSERT(remembers_at(&w, first - 1, &c));
            CU_ASSERT_FALSE(remembers_at(&w, first, &c));
            CU_ASSERT(remembers_at(&w, first + 2, &c));
            CU_ASSERT(remembers_at(&w, second - 1, &c));
            CU_ASSERT_FALSE(remembers_at(&w, second, &c));
            CU_ASSERT(remembers_at(&w, w.bytes - 3, &c)); /* the first fragment is there */
            CU_ASSERT_FALSE(remembers_at(&w, w.bytes, &c));
            CU_ASSERT_EQUAL(traces[0].events, 3);
            wire_fini(&w);
        }
}

static void a_broken_message_is_freed_with_the_failure(void)
{
    static const char *const endings[] = {"\x83\x80", "\x81\x80", "\x80\x00", "\x88\x81\0\0\0\0x",
                                          "\x88\x80\0\0\0\0"};
    static const size_t lengths[] = {2, 2, 2, 7, 6};
    struct session_config c = wire_config(false);

    mem_count_live(true);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        int64_t before = mem_live_blocks();
        struct session s;
        struct wire w;

        wire_init(&w, true);
        wire_frame(&w, 0x02, "begun", 5);
        wire_raw(&w, endings[i], lengths[i]);
        trace_init(&traces[0]);
        session_init(&s, &c, 0);
        trace_feed(&traces[0], &s, w.p, w.bytes);
        CU_ASSERT(traces[0].last == SESSION_FAIL || traces[0].last == SESSION_CLOSE);
        CU_ASSERT_EQUAL(mem_live_blocks(), before); /* not only at session_fini */
        session_fini(&s);
        wire_fini(&w);
    }
    mem_count_live(false);
}

/* Everything that allocates: short and long messages, control frames, growth. */
static void everything_once(struct wire *w)
{
    static uint8_t zeros[150000];

    wire_frame(w, 0x81, "short", 5);
    wire_frame(w, 0x81, zeros, 200);
    wire_frame(w, 0x01, "a", 1);
    wire_frame(w, 0x89, "ping", 4);
    wire_frame(w, 0x00, zeros, 5000);
    wire_frame(w, 0x80, zeros, sizeof zeros);
    wire_frame(w, 0x82, zeros, sizeof zeros);
    wire_frame(w, 0x8a, "", 0);
    wire_frame(w, 0x88, "\x03\xe8", 2);
}

static bool survives_failure(const struct wire *w, uint64_t nth, size_t piece, bool direct)
{
    struct session_config c = wire_config(false);
    int64_t before = mem_live_blocks();
    struct trace *t = &traces[0];
    struct session s;
    bool happened;

    trace_init(t);
    session_init(&s, &c, 0);
    mem_fail_at(nth);
    for (size_t at = 0; at < w->bytes; at += piece) {
        size_t n = piece < w->bytes - at ? piece : w->bytes - at;
        if (direct)
            trace_feed_direct(t, &s, w->p + at, n);
        else
            trace_feed(t, &s, w->p + at, n);
    }
    happened = mem_fail_happened();
    mem_fail_at(0);
    CU_ASSERT_EQUAL(t->faults, 0);
    /* session_direct may meet the failure, say that there is no place, and the next try finds memory. */
    if (happened && !direct)
        CU_ASSERT_EQUAL(t->last, SESSION_FAIL);
    if (t->last == SESSION_FAIL)
        CU_ASSERT_PTR_NOT_NULL(strstr(t->text, "fail 1011 "));
    if (t->last != SESSION_FAIL)
        CU_ASSERT_EQUAL(t->last, SESSION_CLOSE);
    session_fini(&s);
    CU_ASSERT_EQUAL(mem_live_blocks(), before);
    return happened;
}

static void each_allocation_that_fails_ends_the_session_and_leaks_nothing(void)
{
    static const size_t pieces[] = {SIZE_MAX / 2, 4096, 333};
    uint64_t failures = 0;
    struct wire w;

    wire_init(&w, true);
    everything_once(&w);
    mem_count_live(true);
    for (int i = 0; i < 6; i++) {
        uint64_t nth = 1;
        while (survives_failure(&w, nth, pieces[i / 2], i % 2))
            nth++;
        CU_ASSERT(nth > 7); /* all but whole control frames have one at least */
        failures += nth - 1;
    }
    CU_ASSERT(failures > 50);
    mem_count_live(false);
    wire_fini(&w);
}

/* --- straight into the message --- */

static void a_place_is_offered_inside_large_data_frames_only(void)
{
    static uint8_t zeros[100000];
    struct session_config c = wire_config(false);
    struct session s;
    struct wire w;
    uint8_t *where;
    size_t n;

    trace_init(&traces[0]);
    session_init(&s, &c, 0);
    CU_ASSERT_EQUAL(session_direct(&s, &where), 0);
    wire_init(&w, true);
    wire_frame(&w, 0x02, zeros, 100);
    wire_frame(&w, 0x89, zeros, 125);
    wire_frame(&w, 0x80, zeros, sizeof zeros);
    trace_feed(&traces[0], &s, w.p, 4);
    CU_ASSERT_EQUAL(session_direct(&s, &where), 0); /* in a header */
    trace_feed(&traces[0], &s, w.p + 4, 50);
    CU_ASSERT_EQUAL(session_direct(&s, &where), 0); /* in a small frame */
    trace_feed(&traces[0], &s, w.p + 54, 106 + 6 + 60 - 54);
    CU_ASSERT_EQUAL(session_direct(&s, &where), 0); /* in a control frame */
    trace_feed(&traces[0], &s, w.p + 172, 106 + 131 + 14 - 172);
    n = session_direct(&s, &where);
    CU_ASSERT(n > 0 && n <= sizeof zeros);
    CU_ASSERT_EQUAL(session_direct(&s, &where), n); /* asking changes nothing */
    memset(where, 0x5a, n);                         /* all of it may be written */
    session_fini(&s);
    wire_fini(&w);
}

/* A first fragment of few bytes must not make the place for the next, large one as small. */
static void the_place_in_a_large_frame_is_large_behind_a_small_fragment_too(void)
{
    struct session_config c = wire_config(false);

    for (size_t first = 0; first < 300; first += 100) {
        static uint8_t zeros[300];
        struct session s;
        struct wire w;
        uint8_t *where;

        wire_init(&w, true);
        wire_frame(&w, 0x02, zeros, first);
        wire_header(&w, 0x80, 1000000);
        trace_init(&traces[0]);
        session_init(&s, &c, 0);
        trace_feed(&traces[0], &s, w.p, w.bytes);
        CU_ASSERT(session_direct(&s, &where) >= 4096);
        session_fini(&s);
        wire_fini(&w);
    }
}

static void random_frames(struct wire *w, uint32_t *random)
{
    uint8_t *payload = malloc(300000);
    unsigned frames = 1 + wire_random(random) % 4;
    bool is_text = wire_random(random) % 2;

    for (size_t i = 0; i < 300000; i++)
        payload[i] = is_text ? "w\xc3\xbc\xe2\x82\xac"[i % 6] : (uint8_t)(i * 31);
    for (unsigned i = 0; i < frames; i++) {
        size_t n = wire_random(random) % (wire_random(random) % 3 ? 20000 : 300000);
        n -= n % 6;
        if (is_text && n && wire_random(random) % 8 == 0)
            payload[wire_random(random) % n] ^= 0x80;
        wire_frame(w, (i ? 0 : is_text ? 1 : 2) | (i + 1 == frames ? WIRE_FIN : 0), payload, n);
        if (wire_random(random) % 2)
            wire_frame(w, 0x89, "between", 7);
    }
    free(payload);
}

static void direct_and_copied_bytes_give_the_same_events(void)
{
    uint32_t random = 88172645;
    unsigned rounds = unit_is_slow() ? 60 : 400, wrong = 0, failures = 0;

    for (unsigned round = 0; round < rounds; round++) {
        struct session_config c = wire_config(round % 2);
        struct session s;
        struct wire w;

        wire_init(&w, !c.is_client);
        random_frames(&w, &random);
        random_frames(&w, &random);
        trace_init(&traces[0]);
        session_init(&s, &c, 0);
        trace_feed(&traces[0], &s, w.p, w.bytes);
        session_fini(&s);
        trace_init(&traces[1]);
        session_init(&s, &c, 0);
        for (size_t at = 0; at < w.bytes;) {
            size_t n = 1 + wire_random(&random) % (wire_random(&random) % 4 ? 70000 : 100);
            n = n < w.bytes - at ? n : w.bytes - at;
            if (wire_random(&random) % 4)
                trace_feed_direct(&traces[1], &s, w.p + at, n);
            else
                trace_feed(&traces[1], &s, w.p + at, n);
            at += n;
        }
        session_fini(&s);
        wrong += traces[0].faults || traces[1].faults || strcmp(traces[0].text, traces[1].text) != 0;
        failures += traces[0].last == SESSION_FAIL;
        wire_fini(&w);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(failures > rounds / 10 && failures < rounds);
}

static const struct unit_case cases[] = {
    CASE(a_message_may_be_as_long_as_the_limit_and_not_one_byte_longer),
    CASE(a_compressed_message_may_be_longer_by_what_compressing_adds),
    CASE(the_limit_counts_for_each_message_anew),
    CASE(a_message_that_is_too_long_fails_with_its_header),
    CASE(there_may_be_as_many_fragments_as_the_limit_and_not_one_more),
    CASE(control_frames_are_no_fragments),
    CASE(the_room_of_a_message_follows_what_arrived),
    CASE(a_whole_message_has_no_more_room_than_its_length_or_the_limit),
    CASE(a_thousand_announced_lengths_that_never_come_cost_next_to_nothing),
    CASE(a_session_at_rest_owns_no_block),
    CASE(only_what_is_cut_or_fragmented_is_remembered),
    CASE(a_broken_message_is_freed_with_the_failure),
    CASE(each_allocation_that_fails_ends_the_session_and_leaks_nothing),
    CASE(a_place_is_offered_inside_large_data_frames_only),
    CASE(the_place_in_a_large_frame_is_large_behind_a_small_fragment_too),
    CASE(direct_and_copied_bytes_give_the_same_events),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "session_limits", cases, sizeof cases / sizeof cases[0]);
}
