/* Guesses: the next large message is received right into its own memory, and whatever comes instead must be
 * read as if nobody had guessed.
 *
 * The judge is session_feed, without any guess, over the same bytes. A reader as receive.c has it takes them
 * in reads of any size: a frame's payload by session_direct, between frames by session_guess, else plainly.
 * The tail that is read behind a guess is included. */
#include "unit.h"
#include "proto/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wire.h"

#define KIB 1024u
#define MIB (1024u * 1024u)

/* As receive.c asks for it. */
enum { MOST_BYTES = 256 * 1024 - 14 - 4096, TAIL_BYTES = 4096 };

static struct trace plain, guessed; /* too large for the stack */

static struct {
    unsigned offered, true_ones, wrong_ones;
} guesses;

/* --- a reader that guesses --- */

static void *new_block(size_t n)
{
    void *p = malloc(n ? n : 1);

    if (!p)
        abort();
    return p;
}

/* A read of n bytes into the places of the guess. What is behind it is to be fed by the caller. */
static size_t read_guessed(struct session *s, struct session_guess *g, const uint8_t *p, size_t n)
{
    size_t room = (size_t)g->header_bytes + g->bytes;
    size_t part = n < room ? n : room, head = part < g->header_bytes ? part : g->header_bytes;
    enum session_event_kind kind = SESSION_NONE;
    struct session_event ev;
    uint8_t *copy;

    memset(&ev, 0xa5, sizeof ev);
    guesses.offered++;
    memset(g->header, 0xff, sizeof g->header); /* of a short read the rest is anything */
    memcpy(g->header, p, head);
    memcpy(g->msg->payload, p + head, part - head);
    if (session_guess_came_true(s, g, part, &kind, &ev)) {
        guesses.true_ones++;
        guessed.fed += part;
        trace_event(&guessed, kind, &ev);
        return part;
    }
    guesses.wrong_ones++;
    copy = new_block(part);
    memcpy(copy, g->header, head);
    memcpy(copy + head, g->msg->payload, part - head);
    session_guess_drop(g);
    trace_feed(&guessed, s, copy, part);
    free(copy);
    return part;
}

static size_t read_direct(struct session *s, uint8_t *where, size_t room, const uint8_t *p, size_t n)
{
    struct session_event ev;

    n = n < room ? n : room;
    memcpy(where, p, n);
    guessed.fed += n;
    memset(&ev, 0xa5, sizeof ev);
    trace_event(&guessed, session_feed_direct(s, n, &ev), &ev);
    return n;
}

/* One read of at most n bytes: how many were taken. */
static size_t read_once(struct session *s, uint32_t bytes_max, const uint8_t *p, size_t n)
{
    struct session_guess g;
    uint8_t *where;
    size_t room = session_direct(s, &where), taken, tail;

    if (room)
        taken = read_direct(s, where, room, p, n);
    else if (session_guess(s, bytes_max, &g))
        taken = read_guessed(s, &g, p, n);
    else
        taken = 0;
    tail = n - taken;
    if (taken && tail > TAIL_BYTES)
        tail = TAIL_BYTES;
    if (tail)
        trace_feed(&guessed, s, p + taken, tail);
    return taken + tail;
}

/* Reads: sizes one behind the other, the last one for all the rest; 0: to the end of the bytes. */
struct reads {
    size_t sizes[4];
    unsigned count;
    uint32_t random; /* other than 0: sizes at random, small ones and large ones */
};

/* The ends of the frames: often a peer sends no more before it has its answer. */
static struct {
    size_t at[64];
    unsigned count;
} ends;

static void note_end(const struct wire *w)
{
    if (ends.count < 64)
        ends.at[ends.count++] = w->bytes;
}

static size_t left_of_frame(size_t at)
{
    for (unsigned i = 0; i < ends.count; i++)
        if (ends.at[i] > at)
            return ends.at[i] - at;
    return SIZE_MAX;
}

static size_t next_size(struct reads *r, unsigned i, size_t at)
{
    static const uint32_t scales[] = {4, 20, 5000, 70000, 300000};
    size_t n, left;

    if (!r->random)
        return r->sizes[i < r->count || !i ? i : r->count - 1];
    n = wire_random(&r->random) % 5;
    n = 1 + wire_random(&r->random) % scales[n];
    left = left_of_frame(at);
    return wire_random(&r->random) % 4 && n > left ? left : n;
}

static void read_all(const struct session_config *config, const struct wire *w, uint32_t bytes_max,
                     struct reads r)
{
    struct session s;
    size_t at = 0;

    trace_init(&guessed);
    session_init(&s, config, 0);
    for (unsigned i = 0; at < w->bytes; i++) {
        size_t n = next_size(&r, i, at);
        if (!n || n > w->bytes - at)
            n = w->bytes - at;
        at += read_once(&s, bytes_max, w->p + at, n);
    }
    session_fini(&s);
}

static void read_plainly(const struct session_config *config, const struct wire *w)
{
    struct session s;

    trace_init(&plain);
    session_init(&s, config, 0);
    trace_feed(&plain, &s, w->p, w->bytes);
    session_fini(&s);
}

static bool is_same(const char *what, size_t number)
{
    bool same_reason = plain.reason == guessed.reason ||
                       (plain.reason && guessed.reason && strcmp(plain.reason, guessed.reason) == 0);

    if (!plain.faults && !guessed.faults && same_reason && strcmp(plain.text, guessed.text) == 0)
        return true;
    printf("%s, %zu: plainly\n%swith guesses\n%s%s\n", what, number, plain.text, guessed.text,
           guessed.reason ? guessed.reason : "");
    return false;
}

/* --- what is sent --- */

static bool deflate_is_agreed; /* for the cases about it */

static struct session_config config_of(bool is_client)
{
    struct session_config config = wire_config(is_client);

    config.message_bytes_max = 4 * MIB;
    config.allows_compressed = deflate_is_agreed;
    return config;
}

/* Letters and now and then a character of more bytes, which no frame's end cuts. */
static uint8_t *new_payload(size_t n, unsigned salt, bool is_text)
{
    uint8_t *p = new_block(n);

    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(is_text ? 'a' + (i + salt) % 26 : (i * 7 + salt) ^ (i >> 8));
    for (size_t i = salt % 50; is_text && i + 3 < n; i += 977)
        memcpy(p + i, "\xe2\x82\xac", 3);
    return p;
}

static void put_message(struct wire *w, unsigned first, size_t n, unsigned salt)
{
    uint8_t *p = new_payload(n, salt, (first & 15) == FRAME_TEXT && !(first & WIRE_RSV1));

    wire_frame(w, first, p, n);
    free(p);
}

#define TEXT   (WIRE_FIN | FRAME_TEXT)
#define BINARY (WIRE_FIN | FRAME_BINARY)

/* --- when there is a guess --- */

static void feed_all(struct session *s, const struct wire *w, size_t from, size_t to)
{
    trace_feed(&plain, s, w->p + from, to - from);
}

/* How much the session would guess, 0 for none; what was guessed is given back. */
static uint32_t guess_of(struct session *s, uint32_t bytes_max)
{
    struct session_guess g;
    uint32_t bytes;

    memset(&g, 0xa5, sizeof g);
    if (!session_guess(s, bytes_max, &g))
        return 0;
    bytes = g.bytes;
    memset(g.msg->payload, 0x5a, bytes); /* the room is there */
    session_guess_drop(&g);
    return bytes;
}

static uint32_t guess_behind(bool is_client, unsigned first, size_t n, uint32_t bytes_max)
{
    struct session_config config = config_of(is_client);
    struct session s;
    struct wire w;
    uint32_t bytes;

    trace_init(&plain);
    wire_init(&w, !is_client);
    put_message(&w, first, n, 1);
    session_init(&s, &config, 0);
    CU_ASSERT_EQUAL(guess_of(&s, bytes_max), 0); /* nothing was there before */
    feed_all(&s, &w, 0, w.bytes);
    CU_ASSERT_EQUAL(plain.events, 1);
    bytes = guess_of(&s, bytes_max);
    CU_ASSERT_EQUAL(guess_of(&s, bytes_max), bytes); /* to guess changes nothing */
    session_fini(&s);
    wire_fini(&w);
    return bytes;
}

static void behind_a_large_message_one_like_it_is_guessed(void)
{
    int64_t before;

    mem_count_live(true);
    before = mem_live_blocks();
    for (int is_client = 0; is_client < 2; is_client++) {
        CU_ASSERT_EQUAL(guess_behind(is_client, BINARY, 16 * KIB, MIB), 16 * KIB);
        CU_ASSERT_EQUAL(guess_behind(is_client, TEXT, 70001, MIB), 70001);
        CU_ASSERT_EQUAL(guess_behind(is_client, BINARY, MIB, 2 * MIB), MIB);
        CU_ASSERT_EQUAL(guess_behind(is_client, BINARY, MIB, 5000), 5000); /* as much as one read takes */
        CU_ASSERT_EQUAL(guess_behind(is_client, BINARY, 16 * KIB - 1, MIB), 0);
        CU_ASSERT_EQUAL(guess_behind(is_client, BINARY, 100, MIB), 0);
        CU_ASSERT_EQUAL(guess_behind(is_client, TEXT, 0, MIB), 0);
        CU_ASSERT_EQUAL(guess_behind(is_client, BINARY, MIB + 1, 2 * MIB), 0);
    }
    CU_ASSERT_EQUAL(mem_live_blocks(), before);
    mem_count_live(false);
}

/* The last message decides, and fragments are no large messages. */
static void behind_a_small_or_fragmented_message_nothing_is_guessed(void)
{
    struct session_config config = config_of(false);
    struct session s;
    struct wire w;
    size_t large, small, large_again, ping, parts;

    trace_init(&plain);
    wire_init(&w, true);
    put_message(&w, BINARY, 50000, 1);
    large = w.bytes;
    put_message(&w, TEXT, 5, 2);
    small = w.bytes;
    put_message(&w, TEXT, 60000, 3);
    large_again = w.bytes;
    put_message(&w, WIRE_FIN | FRAME_PING, 5, 4);
    ping = w.bytes;
    put_message(&w, FRAME_BINARY, 50000, 5);
    put_message(&w, WIRE_FIN | FRAME_CONTINUATION, 50000, 6);
    parts = w.bytes;
    put_message(&w, BINARY, 126, 7); /* not the short way */
    session_init(&s, &config, 0);
    feed_all(&s, &w, 0, large);
    CU_ASSERT_EQUAL(guess_of(&s, MIB), 50000);
    feed_all(&s, &w, large, small);
    CU_ASSERT_EQUAL(guess_of(&s, MIB), 0);
    feed_all(&s, &w, small, large_again);
    CU_ASSERT_EQUAL(guess_of(&s, MIB), 60000);
    feed_all(&s, &w, large_again, ping);
    CU_ASSERT_EQUAL(guess_of(&s, MIB), 60000); /* a Ping between says nothing about messages */
    feed_all(&s, &w, ping, parts);
    CU_ASSERT_EQUAL(guess_of(&s, MIB), 0);
    feed_all(&s, &w, parts, w.bytes);
    CU_ASSERT_EQUAL(guess_of(&s, MIB), 0);
    CU_ASSERT_EQUAL(plain.events, 6);
    session_fini(&s);
    wire_fini(&w);
}

/* Behind each byte that may be the last of a read. */
static void inside_a_frame_or_a_message_nothing_is_guessed(void)
{
    struct session_config config = config_of(false);
    struct session s;
    struct wire w;
    size_t begin, wrong = 0;

    trace_init(&plain);
    wire_init(&w, true);
    put_message(&w, BINARY, 20000, 1);
    begin = w.bytes;
    put_message(&w, FRAME_TEXT, 300, 2);
    put_message(&w, WIRE_FIN | FRAME_PING, 3, 3);
    put_message(&w, FRAME_CONTINUATION, 0, 4);
    session_init(&s, &config, 0);
    feed_all(&s, &w, 0, begin);
    CU_ASSERT_EQUAL(guess_of(&s, MIB), 20000);
    for (size_t at = begin; at < w.bytes; at++) {
        feed_all(&s, &w, at, at + 1);
        wrong += guess_of(&s, MIB) != 0;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(plain.events, 2);
    session_fini(&s);
    wire_fini(&w);
}

static void behind_a_close_or_a_fault_nothing_is_guessed(void)
{
    for (int is_fault = 0; is_fault < 2; is_fault++) {
        struct session_config config = config_of(false);
        struct session s;
        struct wire w;

        trace_init(&plain);
        wire_init(&w, true);
        put_message(&w, BINARY, 20000, 1);
        wire_frame(&w, is_fault ? 0x8b : 0x88, "\x03\xe8", 2);
        session_init(&s, &config, 0);
        feed_all(&s, &w, 0, w.bytes);
        CU_ASSERT_EQUAL(plain.last, is_fault ? SESSION_FAIL : SESSION_CLOSE);
        CU_ASSERT_EQUAL(guess_of(&s, MIB), 0);
        session_fini(&s);
        wire_fini(&w);
    }
}

static void without_memory_nothing_is_guessed_and_reading_goes_on(void)
{
    struct session_config config = config_of(false);
    struct session_guess g;
    struct session s;
    struct wire w;

    trace_init(&plain);
    wire_init(&w, true);
    put_message(&w, BINARY, 20000, 1);
    session_init(&s, &config, 0);
    feed_all(&s, &w, 0, w.bytes);
    mem_fail_at(1);
    CU_ASSERT_FALSE(session_guess(&s, MIB, &g));
    CU_ASSERT_TRUE(mem_fail_happened());
    mem_fail_at(0);
    feed_all(&s, &w, 0, w.bytes);
    CU_ASSERT_EQUAL(plain.events, 2);
    CU_ASSERT_EQUAL(plain.faults, 0);
    session_fini(&s);
    wire_fini(&w);
}

/* --- what comes instead --- */

/* Where a read may end so that it matters: in the header, in the middle, around the frame's end. */
static size_t interesting_cut(size_t frame_bytes, unsigned i)
{
    if (i <= 18)
        return i + 1;
    switch (i) {
    case 19:
        return frame_bytes / 2;
    case 20:
        return frame_bytes - 1;
    case 21:
        return frame_bytes;
    case 22:
        return frame_bytes + 1;
    case 23:
        return frame_bytes + 7;
    default:
        return 0;
    }
}
enum { CUTS = 25 };

/* The bytes up to `behind` come in one read; behind them a guess is made, into which the rest is read in
 * every way. want: what becomes of the guess when all of it is there at once. */
enum want { COMES_TRUE, IS_WRONG, TRUE_ALONE /* when nothing behind the frame was read with it */ };

static void compare(const char *what, const struct session_config *config, const struct wire *w,
                    size_t behind, enum want want)
{
    int64_t before;

    read_plainly(config, w);
    mem_count_live(true);
    before = mem_live_blocks();
    for (unsigned i = 0; i < CUTS; i++) {
        struct reads r = {.sizes = {behind, interesting_cut(w->bytes - behind, i), 0}, .count = 3};

        read_all(config, w, MOST_BYTES, r);
        CU_ASSERT(is_same(what, i));
        r = (struct reads){.sizes = {behind, interesting_cut(w->bytes - behind, i), 1000}, .count = 3};
        read_all(config, w, 3000, r);
        CU_ASSERT(is_same(what, 1000 + i));
    }
    memset(&guesses, 0, sizeof guesses);
    read_all(config, w, MOST_BYTES, (struct reads){.sizes = {behind, 0}, .count = 2});
    CU_ASSERT(is_same(what, 2000));
    if (want == COMES_TRUE)
        CU_ASSERT(guesses.true_ones > 0);
    if (want == IS_WRONG) {
        CU_ASSERT_EQUAL(guesses.true_ones, 0);
        CU_ASSERT(guesses.wrong_ones > 0);
    }
    CU_ASSERT_EQUAL(mem_live_blocks(), before);
    mem_count_live(false);
}

/* A message of like bytes, then this frame, then a small message that shows whether all is in its place. */
static void behind_a_large_one(const char *what, bool is_client, size_t like, unsigned first, size_t bytes,
                               enum want want)
{
    struct session_config config = config_of(is_client);
    struct wire w;
    size_t behind, end;

    wire_init(&w, !is_client);
    put_message(&w, BINARY, like, 1);
    behind = w.bytes;
    put_message(&w, first, bytes, 2);
    end = w.bytes;
    if ((first & 15) != FRAME_CLOSE)
        put_message(&w, first & WIRE_FIN ? TEXT : WIRE_FIN | FRAME_CONTINUATION, 9, 3);
    compare(what, &config, &w, behind, want);
    memset(&guesses, 0, sizeof guesses);
    read_all(&config, &w, MOST_BYTES, (struct reads){.sizes = {behind, end - behind, 0}, .count = 3});
    CU_ASSERT(is_same(what, 3000));
    if (want == IS_WRONG)
        CU_ASSERT_EQUAL(guesses.true_ones, 0);
    if (want != IS_WRONG)
        CU_ASSERT(guesses.true_ones > 0);
    wire_fini(&w);
}

static void frames_of_the_guessed_kind_are_taken_where_they_are(void)
{
    for (int is_client = 0; is_client < 2; is_client++) {
        behind_a_large_one("same", is_client, 20000, BINARY, 20000, COMES_TRUE);
        behind_a_large_one("same as text", is_client, 20000, TEXT, 20000, COMES_TRUE);
        behind_a_large_one("half", is_client, 40000, BINARY, 20000, TRUE_ALONE);
        behind_a_large_one("half of an odd length", is_client, 40001, TEXT, 20000, TRUE_ALONE);
        behind_a_large_one("a little shorter", is_client, 20000, BINARY, 19980, TRUE_ALONE);
        behind_a_large_one("first fragment", is_client, 20000, FRAME_TEXT, 20000, COMES_TRUE);
        behind_a_large_one("first fragment, longer", is_client, 20000, FRAME_BINARY, 30000, COMES_TRUE);
        behind_a_large_one("longer", is_client, 20000, BINARY, 20001, COMES_TRUE);
        behind_a_large_one("much longer", is_client, 20000, TEXT, 65535, COMES_TRUE);
    }
}

static void other_frames_are_read_as_if_nobody_had_guessed(void)
{
    for (int is_client = 0; is_client < 2; is_client++) {
        behind_a_large_one("less than half", is_client, 40000, BINARY, 19999, IS_WRONG);
        behind_a_large_one("small", is_client, 20000, TEXT, 10, IS_WRONG);
        behind_a_large_one("empty", is_client, 20000, BINARY, 0, IS_WRONG);
        behind_a_large_one("another length of header", is_client, 20000, BINARY, 65536, IS_WRONG);
        behind_a_large_one("and the other way round", is_client, 70000, BINARY, 65535, IS_WRONG);
        behind_a_large_one("ping", is_client, 20000, WIRE_FIN | FRAME_PING, 125, IS_WRONG);
        behind_a_large_one("empty ping", is_client, 20000, WIRE_FIN | FRAME_PING, 0, IS_WRONG);
        behind_a_large_one("pong", is_client, 20000, WIRE_FIN | FRAME_PONG, 4, IS_WRONG);
        behind_a_large_one("close", is_client, 20000, WIRE_FIN | FRAME_CLOSE, 0, IS_WRONG);
        behind_a_large_one("continuation", is_client, 20000, WIRE_FIN | FRAME_CONTINUATION, 20000, IS_WRONG);
        behind_a_large_one("reserved opcode", is_client, 20000, WIRE_FIN | 3, 20000, IS_WRONG);
        behind_a_large_one("reserved bit", is_client, 20000, BINARY | 0x40, 20000, IS_WRONG);
        behind_a_large_one("large control frame", is_client, 20000, WIRE_FIN | FRAME_PING, 20000, IS_WRONG);
        behind_a_large_one("empty first fragment", is_client, 20000, FRAME_TEXT, 0, IS_WRONG);
    }
}

static void compressed_messages_are_guessed_as_any(void)
{
    deflate_is_agreed = true;
    for (int is_client = 0; is_client < 2; is_client++) {
        CU_ASSERT_EQUAL(guess_behind(is_client, TEXT | WIRE_RSV1, 70001, MIB), 70001);
        behind_a_large_one("compressed", is_client, 20000, BINARY | WIRE_RSV1, 20000, COMES_TRUE);
        behind_a_large_one("compressed text", is_client, 20000, TEXT | WIRE_RSV1, 20000, COMES_TRUE);
        behind_a_large_one("first fragment", is_client, 20000, FRAME_TEXT | WIRE_RSV1, 20000, COMES_TRUE);
        behind_a_large_one("longer", is_client, 20000, TEXT | WIRE_RSV1, 65535, COMES_TRUE);
        behind_a_large_one("small", is_client, 20000, TEXT | WIRE_RSV1, 10, IS_WRONG);
        behind_a_large_one("ping", is_client, 20000, WIRE_FIN | WIRE_RSV1 | FRAME_PING, 125, IS_WRONG);
        behind_a_large_one("continuation", is_client, 20000, WIRE_FIN | WIRE_RSV1 | FRAME_CONTINUATION, 20000,
                           IS_WRONG);
        behind_a_large_one("RSV2", is_client, 20000, BINARY | 0x20, 20000, IS_WRONG);
    }
    deflate_is_agreed = false;
}

/* Around the bounds of guessing, of the header's forms, and of what one read takes. */
static void lengths_around_every_bound_are_read_alike(void)
{
    static const size_t lengths[] = {16 * KIB - 1, 16 * KIB,       16 * KIB + 1, 32 * KIB,  65534,
                                     65535,        65536,          65537,        128 * KIB, 128 * KIB + 1,
                                     MOST_BYTES,   MOST_BYTES + 1, MIB - 1,      MIB,       MIB + 1};
    enum { COUNT = sizeof lengths / sizeof lengths[0] };

    for (int is_client = 0; is_client < 2; is_client++) {
        for (size_t i = 0; i < COUNT; i++) {
            bool is_guessed = lengths[i] >= 16 * KIB && lengths[i] <= MIB;
            struct session_config config = config_of(is_client);
            struct wire w;

            if (unit_is_slow() && i % 2 != (size_t)is_client)
                continue;
            wire_init(&w, !is_client);
            for (unsigned k = 0; k < 3; k++)
                put_message(&w, k % 2 ? TEXT : BINARY, lengths[i], k);
            put_message(&w, TEXT, lengths[(i + 1) % COUNT], 3);
            read_plainly(&config, &w);
            CU_ASSERT_EQUAL(plain.events, 4);
            memset(&guesses, 0, sizeof guesses);
            /* First the whole message, as session_feed makes it; then reads of its length, and odd ones. */
            for (unsigned k = 0; k < 4; k++) {
                size_t frame = lengths[i] + (lengths[i] < 65536 ? 4 : 10) + (is_client ? 0 : 4);
                struct reads r = {.sizes = {frame, k == 0   ? 0
                                                   : k == 1 ? frame
                                                   : k == 2 ? 65521
                                                            : 14},
                                  .count = 2};

                if (k == 3 && lengths[i] > 70000)
                    continue;
                read_all(&config, &w, MOST_BYTES, r);
                CU_ASSERT(is_same("around a bound", lengths[i] * 10 + k));
            }
            CU_ASSERT_EQUAL(guesses.true_ones > 0, is_guessed);
            wire_fini(&w);
        }
    }
}

/* --- faults --- */

static void a_frame_without_a_mask_or_with_one_too_many_is_refused(void)
{
    for (int is_client = 0; is_client < 2; is_client++) {
        struct session_config config = config_of(is_client);
        struct wire w;
        size_t behind;

        wire_init(&w, !is_client);
        put_message(&w, BINARY, 20000, 1);
        behind = w.bytes;
        w.is_masked = is_client;
        put_message(&w, BINARY, 20000, 2);
        compare("mask", &config, &w, behind, IS_WRONG);
        CU_ASSERT_EQUAL(plain.last, SESSION_FAIL);
        wire_fini(&w);
    }
}

static void a_length_that_is_not_in_its_shortest_form_is_refused(void)
{
    static const uint8_t long_forms[2][14] = {{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff},
                                              {0x82, 0xff, 0x80, 0, 0, 0, 0, 1, 0x11, 0x70}};

    for (int i = 0; i < 2; i++) {
        struct session_config config = config_of(false);
        struct wire w;
        size_t behind;

        wire_init(&w, true);
        put_message(&w, BINARY, 70000, 1);
        behind = w.bytes;
        wire_raw(&w, long_forms[i], 14);
        put_message(&w, BINARY, 70000, 2);
        compare("long form", &config, &w, behind, IS_WRONG);
        CU_ASSERT_EQUAL(plain.last, SESSION_FAIL);
        wire_fini(&w);
    }
}

static void a_message_over_the_limit_is_refused(void)
{
    for (int is_fragment = 0; is_fragment < 2; is_fragment++) {
        struct session_config config = config_of(false);
        struct wire w;
        size_t behind;

        config.message_bytes_max = 30000;
        wire_init(&w, true);
        put_message(&w, BINARY, 30000, 1);
        behind = w.bytes;
        put_message(&w, is_fragment ? FRAME_BINARY : BINARY, is_fragment ? 30000 : 30001, 2);
        if (is_fragment)
            put_message(&w, WIRE_FIN | FRAME_CONTINUATION, 1, 3);
        compare("limit", &config, &w, behind, is_fragment ? COMES_TRUE : IS_WRONG);
        CU_ASSERT_EQUAL(plain.last, SESSION_FAIL);
        CU_ASSERT(strstr(guessed.text, "fail 1009") != NULL);
        wire_fini(&w);
    }
}

static void text_that_is_wrong_inside_is_refused_as_soon(void)
{
    static const size_t places[] = {0, 1, 4095, 16383, 16384, 16385, 19999};

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        struct session_config config = config_of(false);
        uint8_t *p = new_payload(20000, 2, true);
        struct wire w;
        size_t behind;

        p[places[i]] = 0xff;
        wire_init(&w, true);
        put_message(&w, BINARY, 20000, 1);
        behind = w.bytes;
        wire_frame(&w, TEXT, p, 20000);
        compare("wrong text", &config, &w, behind, COMES_TRUE);
        CU_ASSERT(strstr(guessed.text, "fail 1007") != NULL);
        /* With the byte that shows it, not at the end. */
        read_all(&config, &w, MOST_BYTES,
                 (struct reads){.sizes = {behind, 8 + places[i] + 1, 0}, .count = 3});
        CU_ASSERT_EQUAL(guessed.last, SESSION_FAIL);
        CU_ASSERT_EQUAL(guessed.events, 2);
        wire_fini(&w);
        free(p);
    }
}

static void text_cut_in_a_character_is_refused_at_its_end(void)
{
    static const char *const cut[] = {"\xc3", "\xe2\x82", "\xf0\x9f\x98"};

    for (size_t i = 0; i < 3; i++) {
        for (int goes_on = 0; goes_on < 2; goes_on++) { /* a fragment may end so */
            struct session_config config = config_of(false);
            uint8_t *p = new_payload(20000, 40, true);
            struct wire w;
            size_t behind;

            memcpy(p + 20000 - strlen(cut[i]), cut[i], strlen(cut[i]));
            wire_init(&w, true);
            put_message(&w, TEXT, 20000, 1);
            behind = w.bytes;
            wire_frame(&w, goes_on ? FRAME_TEXT : TEXT, p, 20000);
            if (goes_on)
                wire_frame(&w, WIRE_FIN | FRAME_CONTINUATION, "\xbc\x80", i == 0 ? 1 : 0);
            compare("cut text", &config, &w, behind, COMES_TRUE);
            CU_ASSERT_EQUAL(guessed.last, goes_on && i == 0 ? SESSION_MESSAGE : SESSION_FAIL);
            wire_fini(&w);
            free(p);
        }
    }
}

static void a_guess_that_waits_is_given_back_with_nothing_read(void)
{
    struct session_config config = config_of(false);
    enum session_event_kind kind;
    struct session_event ev;
    struct session_guess g;
    struct session s;
    struct wire w;
    int64_t before;

    trace_init(&plain);
    wire_init(&w, true);
    put_message(&w, BINARY, 20000, 1);
    session_init(&s, &config, 0);
    feed_all(&s, &w, 0, w.bytes);
    mem_count_live(true);
    before = mem_live_blocks();
    CU_ASSERT_TRUE_FATAL(session_guess(&s, MIB, &g));
    CU_ASSERT_EQUAL(g.header_bytes, 8);
    CU_ASSERT_FALSE(session_guess_came_true(&s, &g, 0, &kind, &ev));
    session_guess_drop(&g);
    CU_ASSERT_EQUAL(mem_live_blocks(), before);
    mem_count_live(false);
    feed_all(&s, &w, 0, w.bytes);
    CU_ASSERT_EQUAL(plain.events, 2);
    session_fini(&s);
    wire_fini(&w);
}

/* --- at random --- */

static uint32_t random_state = 88675123;

static uint32_t below(uint32_t n)
{
    return wire_random(&random_state) % n;
}

static size_t random_length(size_t last)
{
    switch (below(8)) {
    case 0:
        return below(200);
    case 1:
        return 16 * KIB - 2 + below(5);
    case 2:
        return 65536 - 2 + below(5);
    case 3:
        return last / 2 + below(3) - (last > 2);
    case 4:
        return last + below(40);
    case 5:
        return below(100000);
    case 6:
        return below(20) ? last : below(MIB + 10);
    default:
        return last;
    }
}

static void random_stream(struct wire *w)
{
    size_t last = 16 * KIB + below(60000);
    unsigned messages = 2 + below(8);

    w->random = wire_random(&random_state);
    ends.count = 0;
    for (unsigned i = 0; i < messages; i++) {
        unsigned type = below(2) ? FRAME_TEXT : FRAME_BINARY;
        bool in_parts = below(6) == 0;

        if (deflate_is_agreed && below(2))
            type |= WIRE_RSV1;
        put_message(w, type | (in_parts ? 0 : WIRE_FIN), last, i);
        note_end(w);
        if (below(5) == 0)
            put_message(w, below(2) ? 0x89 : 0x8a, below(126), i);
        if (in_parts)
            put_message(w, WIRE_FIN | FRAME_CONTINUATION, below(3) ? below(40000) : 0, i);
        note_end(w);
        last = random_length(last);
    }
    if (below(6) == 0)
        wire_frame(w, 0x88, "\x03\xe8", 2);
    if (below(4) == 0) /* a fault somewhere; in a binary payload it is none */
        w->p[below((uint32_t)w->bytes)] ^= (uint8_t)(1u << below(8));
    if (below(4) == 0)
        w->bytes -= below((uint32_t)w->bytes);
}

static void random_streams_in_random_reads_are_read_alike(void)
{
    unsigned streams = unit_is_slow() ? 40 : 400;
    int64_t before;

    mem_count_live(true);
    before = mem_live_blocks();
    memset(&guesses, 0, sizeof guesses);
    for (unsigned i = 0; i < streams; i++) {
        struct session_config config = config_of(i % 2);
        struct wire w;

        config.allows_compressed = deflate_is_agreed = below(2);
        config.message_bytes_max = below(8) ? 4 * MIB : 70000;
        config.fragments_max = below(8) ? 4096 : 1;
        wire_init(&w, !config.is_client);
        random_stream(&w);
        read_plainly(&config, &w);
        for (int k = 0; k < 4; k++) {
            struct reads r = {.random = wire_random(&random_state) | 1};

            read_all(&config, &w, below(4) ? MOST_BYTES : 1 + below(70000), r);
            if (!is_same("at random", i)) {
                CU_FAIL("read otherwise");
                i = streams;
                break;
            }
        }
        wire_fini(&w);
    }
    CU_ASSERT_EQUAL(mem_live_blocks(), before);
    mem_count_live(false);
    CU_ASSERT(guesses.true_ones > streams);
    CU_ASSERT(guesses.wrong_ones > streams);
    deflate_is_agreed = false;
}

static const struct unit_case cases[] = {
    CASE(behind_a_large_message_one_like_it_is_guessed),
    CASE(behind_a_small_or_fragmented_message_nothing_is_guessed),
    CASE(inside_a_frame_or_a_message_nothing_is_guessed),
    CASE(behind_a_close_or_a_fault_nothing_is_guessed),
    CASE(without_memory_nothing_is_guessed_and_reading_goes_on),
    CASE(frames_of_the_guessed_kind_are_taken_where_they_are),
    CASE(other_frames_are_read_as_if_nobody_had_guessed),
    CASE(compressed_messages_are_guessed_as_any),
    CASE(lengths_around_every_bound_are_read_alike),
    CASE(a_frame_without_a_mask_or_with_one_too_many_is_refused),
    CASE(a_length_that_is_not_in_its_shortest_form_is_refused),
    CASE(a_message_over_the_limit_is_refused),
    CASE(text_that_is_wrong_inside_is_refused_as_soon),
    CASE(text_cut_in_a_character_is_refused_at_its_end),
    CASE(a_guess_that_waits_is_given_back_with_nothing_read),
    CASE(random_streams_in_random_reads_are_read_alike),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "session_guess", cases, sizeof cases / sizeof cases[0]);
}
