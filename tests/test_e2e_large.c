/* Large messages from end to end: received in pieces or in one, right into their memory or not, among small
 * ones, fragments and Pings, in order and byte for byte. */
#include "e2e_server.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KIB 1024u
#define MIB (1024u * 1024u)
#define FIN 0x80u

/* --- what is sent --- */

/* One frame or one message of several, as a conversation has them. */
struct item {
    unsigned opcode; /* text, binary or ping */
    size_t bytes;
    unsigned parts; /* fragments; 0: one frame */
};

/* Never the same bytes twice: each item has its own salt. Text has a character of three bytes now and then,
 * also at its end. */
static void fill(uint8_t *p, const struct item *item, unsigned salt)
{
    bool is_text = item->opcode == CLIENT_TEXT;

    for (size_t i = 0; i < item->bytes; i++)
        p[i] = (uint8_t)(is_text ? 'a' + (i + salt) % 26 : (i * 7 + salt * 13) ^ (i >> 8));
    for (size_t at = item->bytes; is_text && at > 3; at = at > 1009 ? at - 1009 : 0)
        memcpy(p + at - 3, "\xe2\x82\xac", 3);
}

static uint8_t *new_payload(const struct item *item, unsigned salt)
{
    uint8_t *p = malloc(item->bytes + 1);

    if (!p)
        abort();
    fill(p, item, salt);
    return p;
}

/* The frames of an item as bytes; *n is how many. */
static uint8_t *new_frames(const struct item *item, unsigned salt, size_t *n)
{
    uint8_t *payload = new_payload(item, salt);
    unsigned parts = item->parts ? item->parts : 1;
    uint8_t *frames = malloc(item->bytes + 14u * parts);
    size_t at = 0;

    if (!frames)
        abort();
    *n = 0;
    for (unsigned i = 0; i < parts; i++) {
        size_t part = i + 1 == parts ? item->bytes - at : item->bytes / parts;
        unsigned first = (i ? 0 : item->opcode) | (i + 1 == parts ? FIN : 0);

        *n += client_frame(frames + *n, first, payload + at, part);
        at += part;
    }
    free(payload);
    return frames;
}

static bool say(struct client *k, const struct item *item, unsigned salt)
{
    size_t n;
    uint8_t *frames = new_frames(item, salt, &n);
    bool said = client_put(k, frames, n);

    free(frames);
    return said;
}

static bool is_echo(const struct frame *f, const struct item *item, unsigned salt)
{
    unsigned opcode = item->opcode == CLIENT_PING ? CLIENT_PONG : item->opcode;
    uint8_t *payload = new_payload(item, salt);
    bool is_same = f->opcode == opcode && f->is_final && f->bytes == item->bytes &&
                   memcmp(f->payload, payload, item->bytes) == 0;

    free(payload);
    return is_same;
}

static bool hear(struct client *k, const struct item *item, unsigned salt)
{
    struct frame f;

    return client_next(k, &f) == CLIENT_OK && is_echo(&f, item, salt);
}

/* The server's own Pings would mix with what the other thread writes. */
static bool start(struct e2e *t)
{
    t->opts.ping_interval_ms = UINT32_MAX;
    return e2e_start(t);
}

/* --- one after the other --- */

static const struct item large[] = {{CLIENT_BINARY, 20 * KIB, 0},  {CLIENT_TEXT, 20 * KIB, 0},
                                    {CLIENT_BINARY, 64 * KIB, 0},  {CLIENT_TEXT, 64 * KIB - 1, 0},
                                    {CLIENT_BINARY, 300 * KIB, 0}, {CLIENT_TEXT, 300 * KIB, 0},
                                    {CLIENT_BINARY, MIB, 0},       {CLIENT_TEXT, MIB, 0}};
enum { LARGE = sizeof large / sizeof large[0] };

ALL_MODES(large_messages_come_back_as_they_were)
{
    struct client k;
    unsigned salt = 0;

    CU_ASSERT_FATAL(start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < LARGE; i++)
        for (int round = 0; round < 4; round++, salt++) {
            CU_ASSERT(say(&k, &large[i], salt));
            CU_ASSERT(hear(&k, &large[i], salt));
        }
    CU_ASSERT_EQUAL(e2e_stats(t).messages_in, salt);
    client_close(&k);
}

/* The header comes alone, or half of it, or all but the last byte: each read ends somewhere else. */
ALL_MODES(large_messages_may_come_in_any_pieces)
{
    static const size_t cuts[] = {1, 2, 5, 8, 13, 14, 15, 4096, 20000};
    struct client k;
    unsigned salt = 0;

    CU_ASSERT_FATAL(start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (int i = 0; i < LARGE; i += 2)
        for (size_t c = 0; c < 2 * sizeof cuts / sizeof cuts[0]; c++, salt++) {
            uint64_t before = e2e_stats(t).bytes_in;
            size_t n, cut = cuts[c / 2];
            uint8_t *frames = new_frames(&large[i], salt, &n);

            cut = c % 2 ? n - cut : cut;
            CU_ASSERT(client_put(&k, frames, cut));
            WAIT_FOR(e2e_stats(t).bytes_in == before + cut); /* so that it was a read of its own */
            CU_ASSERT(client_put(&k, frames + cut, n - cut));
            CU_ASSERT(hear(&k, &large[i], salt));
            free(frames);
        }
    client_close(&k);
}

/* --- pipelined: one thread says, the other hears --- */

struct talk {
    struct client k;
    const struct item *items;
    unsigned count, rounds, salt;
    bool is_said;
};

static unsigned salt_of(const struct talk *talk, unsigned i)
{
    return talk->salt + i * 31;
}

static void *say_all(void *arg)
{
    struct talk *talk = arg;

    talk->is_said = true;
    for (unsigned i = 0; i < talk->count * talk->rounds && talk->is_said; i++)
        talk->is_said = say(&talk->k, &talk->items[i % talk->count], salt_of(talk, i));
    return NULL;
}

/* Messages keep their order among themselves, Pongs theirs; a Pong may overtake messages. */
static unsigned hear_all(struct talk *talk)
{
    unsigned all = talk->count * talk->rounds, message = 0, ping = 0, heard = 0;

    for (;;) {
        struct frame f;
        unsigned *next;

        while (message < all && talk->items[message % talk->count].opcode == CLIENT_PING)
            message++;
        while (ping < all && talk->items[ping % talk->count].opcode != CLIENT_PING)
            ping++;
        if (message >= all && ping >= all)
            return heard;
        if (client_next(&talk->k, &f) != CLIENT_OK)
            return heard;
        next = f.opcode == CLIENT_PONG ? &ping : &message;
        if (*next >= all || !is_echo(&f, &talk->items[*next % talk->count], salt_of(talk, *next)))
            return heard;
        ++*next;
        heard++;
    }
}

static void *talk_along(void *arg)
{
    struct talk *talk = arg;
    pthread_t sayer;
    unsigned heard;

    pthread_create(&sayer, NULL, say_all, talk);
    heard = hear_all(talk);
    pthread_join(sayer, NULL);
    return (void *)(uintptr_t)heard;
}

static void talk_on_many(struct e2e *t, const struct item *items, unsigned count, unsigned rounds)
{
    enum { TALKS = 3 };
    struct talk talks[TALKS];
    pthread_t threads[TALKS];

    CU_ASSERT_FATAL(start(t));
    for (unsigned i = 0; i < TALKS; i++) {
        talks[i] = (struct talk){.items = items, .count = count, .rounds = rounds, .salt = 1000 * i};
        CU_ASSERT(e2e_open(t, &talks[i].k));
    }
    for (int i = 0; i < TALKS; i++)
        pthread_create(&threads[i], NULL, talk_along, &talks[i]);
    for (int i = 0; i < TALKS; i++) {
        void *heard;
        pthread_join(threads[i], &heard);
        CU_ASSERT_EQUAL((uintptr_t)heard, count * rounds);
        CU_ASSERT(talks[i].is_said);
        client_close(&talks[i].k);
    }
}

static unsigned rounds_of(unsigned plain)
{
    return unit_is_slow() ? (plain + 3) / 4 : plain;
}

ALL_MODES(pipelined_messages_of_20_kib_keep_their_order)
{
    talk_on_many(t, &large[0], 2, rounds_of(100));
}

ALL_MODES(pipelined_messages_of_64_kib_keep_their_order)
{
    talk_on_many(t, &large[2], 2, rounds_of(40));
}

ALL_MODES(pipelined_messages_of_300_kib_keep_their_order)
{
    talk_on_many(t, &large[4], 2, rounds_of(12));
}

ALL_MODES(pipelined_messages_of_1_mib_keep_their_order)
{
    talk_on_many(t, &large[6], 2, rounds_of(4));
}

/* What follows a large message is never what was guessed. */
ALL_MODES(large_and_small_messages_fragments_and_pings_keep_their_order)
{
    static const struct item items[] = {
        {CLIENT_BINARY, 40 * KIB, 0}, {CLIENT_TEXT, 5, 0},           {CLIENT_BINARY, 40 * KIB, 0},
        {CLIENT_PING, 7, 0},          {CLIENT_BINARY, 20 * KIB, 0},  {CLIENT_BINARY, 20 * KIB - 1, 0},
        {CLIENT_TEXT, 0, 0},          {CLIENT_TEXT, 300 * KIB, 0},   {CLIENT_TEXT, 300 * KIB, 4},
        {CLIENT_PING, 125, 0},        {CLIENT_BINARY, 64 * KIB, 0},  {CLIENT_BINARY, 64 * KIB - 1, 0},
        {CLIENT_TEXT, 64 * KIB, 2},   {CLIENT_BINARY, MIB, 0},       {CLIENT_BINARY, 126, 0},
        {CLIENT_TEXT, MIB, 7},        {CLIENT_TEXT, 16 * KIB, 0},    {CLIENT_PING, 0, 0},
        {CLIENT_TEXT, 16 * KIB, 0},   {CLIENT_BINARY, 128 * KIB, 0}, {CLIENT_BINARY, 256 * KIB, 0}};

    talk_on_many(t, items, sizeof items / sizeof items[0], rounds_of(4));
}

/* Each behind the echo of the one before, so that nothing but what was guessed wrongly is there to read. */
ALL_MODES(whatever_comes_instead_of_another_large_message_is_read)
{
    static const struct item others[] = {
        {CLIENT_TEXT, 5, 0},           {CLIENT_PING, 3, 0},        {CLIENT_PING, 0, 0},
        {CLIENT_TEXT, 0, 0},           {CLIENT_BINARY, 126, 0},    {CLIENT_BINARY, 15 * KIB, 0},
        {CLIENT_BINARY, 16 * KIB, 0},  {CLIENT_TEXT, 33 * KIB, 0}, {CLIENT_TEXT, 66 * KIB, 0},
        {CLIENT_BINARY, 300 * KIB, 0}, {CLIENT_TEXT, 32 * KIB, 3}, {CLIENT_BINARY, 32 * KIB, 32}};
    static const struct item usual = {CLIENT_BINARY, 32 * KIB, 0};
    struct client k;

    CU_ASSERT_FATAL(start(t));
    CU_ASSERT(e2e_open(t, &k));
    for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++) {
        CU_ASSERT(say(&k, &usual, i));
        CU_ASSERT(hear(&k, &usual, i));
        CU_ASSERT(say(&k, &others[i], 500 + i));
        CU_ASSERT(hear(&k, &others[i], 500 + i));
    }
    CU_ASSERT(say(&k, &usual, 99));
    CU_ASSERT(hear(&k, &usual, 99));
    CU_ASSERT(client_say_close(&k, 1000));
    CU_ASSERT(client_hears_close(&k, 1000));
    client_close(&k);
}

/* --- what ends a connection --- */

static void fails_behind_a_large_one(struct e2e *t, const void *bytes, size_t n, unsigned code)
{
    static const struct item usual = {CLIENT_TEXT, 32 * KIB, 0};
    struct client k;

    CU_ASSERT(e2e_open(t, &k));
    CU_ASSERT(say(&k, &usual, 1));
    CU_ASSERT(hear(&k, &usual, 1));
    CU_ASSERT(client_put(&k, bytes, n));
    CU_ASSERT_EQUAL(client_skip_to_close(&k), code);
    client_close(&k);
}

ALL_MODES(faults_behind_a_large_message_are_found)
{
    static const uint8_t too_long[14] = {0x82, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1};
    static const uint8_t unmasked[4] = {0x82, 126, 0x80, 0};
    struct item text = {CLIENT_TEXT, 32 * KIB, 0};
    uint8_t *payload = new_payload(&text, 2), *frame = malloc(text.bytes + 14);
    size_t n;

    CU_ASSERT_FATAL(start(t));
    fails_behind_a_large_one(t, too_long, sizeof too_long, 1009);
    fails_behind_a_large_one(t, unmasked, sizeof unmasked, 1002);
    payload[text.bytes / 2] = 0xff;
    n = client_frame(frame, FIN | CLIENT_TEXT, payload, text.bytes);
    fails_behind_a_large_one(t, frame, n, 1007);
    fill(payload, &text, 3);
    n = client_frame(frame, FIN | CLIENT_TEXT, payload, text.bytes - 1); /* inside the last character */
    fails_behind_a_large_one(t, frame, n, 1007);
    free(payload);
    free(frame);
}

/* A guess is out when the end comes, of the stream or of the server; the memory is counted at the end. */
ALL_MODES(a_connection_that_ends_behind_or_inside_a_large_message_leaves_nothing)
{
    static const struct item usual = {CLIENT_BINARY, 200 * KIB, 0};
    static const size_t parts[] = {0, 1, 8, 14, 1000, 150 * KIB};

    CU_ASSERT_FATAL(start(t));
    for (size_t i = 0; i < 2 * sizeof parts / sizeof parts[0]; i++) {
        size_t n;
        uint8_t *frames = new_frames(&usual, 1, &n);
        struct client k;

        CU_ASSERT(e2e_open(t, &k));
        CU_ASSERT(client_put(&k, frames, n));
        CU_ASSERT(hear(&k, &usual, 1));
        CU_ASSERT(client_put(&k, frames, parts[i / 2]));
        if (i % 2)
            client_reset(&k);
        else
            client_close(&k);
        free(frames);
    }
    WAIT_FOR(t->closed == t->opened);
}

/* --- broadcasts --- */

static void broadcast_it(weft_conn *c, weft_msg *m, struct seen *s)
{
    (void)c;
    if (weft_group_broadcast(weft_server_group(s->t->server), m, NULL) == WEFT_OK)
        return;
    e2e_fault(s->t, "a broadcast failed");
    weft_msg_unref(m);
}

ALL_MODES(a_large_broadcast_reaches_every_member_as_it_was)
{
    enum { MEMBERS = 20, ROUNDS = 6 };
    static const struct item items[2] = {{CLIENT_BINARY, 200 * KIB, 0}, {CLIENT_TEXT, 200 * KIB, 0}};
    struct client k[MEMBERS];

    t->on_message = broadcast_it;
    CU_ASSERT_FATAL(start(t));
    for (int i = 0; i < MEMBERS; i++)
        CU_ASSERT(e2e_open(t, &k[i]));
    for (unsigned round = 0; round < ROUNDS; round++) {
        CU_ASSERT(say(&k[round], &items[round % 2], round));
        for (int i = 0; i < MEMBERS; i++)
            CU_ASSERT(hear(&k[i], &items[round % 2], round));
    }
    for (unsigned i = 0; i < 3; i++) /* they wait behind one another */
        CU_ASSERT(say(&k[0], &items[i % 2], 50 + i));
    for (int m = 0; m < MEMBERS; m++)
        for (unsigned i = 0; i < 3; i++)
            CU_ASSERT(hear(&k[m], &items[i % 2], 50 + i));
    for (int i = 0; i < MEMBERS; i++)
        client_close(&k[i]);
}

/* Each member of the fan lets go of its link at another time, and some never take theirs. */
ALL_MODES(a_large_broadcast_to_members_that_leave_leaves_nothing)
{
    enum { MEMBERS = 20, ROUNDS = 10 };
    static const struct item item = {CLIENT_BINARY, 200 * KIB, 0};

    t->on_message = broadcast_it;
    CU_ASSERT_FATAL(start(t));
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct client k[MEMBERS];

        for (int i = 0; i < MEMBERS; i++)
            CU_ASSERT(e2e_open(t, &k[i]));
        CU_ASSERT(say(&k[0], &item, round));
        for (int i = 0; i < MEMBERS; i++) {
            if (i % 3 == 0)
                CU_ASSERT(hear(&k[i], &item, round));
            if (i % 3 == 1)
                client_reset(&k[i]);
        }
        for (int i = 0; i < MEMBERS; i++)
            client_close(&k[i]);
        WAIT_FOR(t->closed == t->opened);
    }
}

static const struct unit_case cases[] = {
    CASE(large_messages_come_back_as_they_were),
    CASE(large_messages_may_come_in_any_pieces),
    CASE(pipelined_messages_of_20_kib_keep_their_order),
    CASE(pipelined_messages_of_64_kib_keep_their_order),
    CASE(pipelined_messages_of_300_kib_keep_their_order),
    CASE(pipelined_messages_of_1_mib_keep_their_order),
    CASE(large_and_small_messages_fragments_and_pings_keep_their_order),
    CASE(whatever_comes_instead_of_another_large_message_is_read),
    CASE(faults_behind_a_large_message_are_found),
    CASE(a_connection_that_ends_behind_or_inside_a_large_message_leaves_nothing),
    CASE(a_large_broadcast_reaches_every_member_as_it_was),
    CASE(a_large_broadcast_to_members_that_leave_leaves_nothing),
};
E2E_MAIN("e2e_large")
