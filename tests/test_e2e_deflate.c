/* permessage-deflate from end to end: a client over zlib itself, which shares no code with the library, talks to
 * servers in all modes. What it inflates with takeover proves the order in which messages were compressed. */
#include "e2e_peer.h"
#include "e2e_server.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"

#define TEXT_BYTES_MAX 70000

/* A client with both streams of permessage-deflate. */
struct squeezer {
    struct client k;
    char head[1024]; /* of the server's answer */
    z_stream out, in;
    bool out_anew, in_anew, has_streams;
    size_t wire_bytes; /* of the last message that was heard */
    bool was_compressed;
    char text[TEXT_BYTES_MAX + 1];
};

static const char *const offer_all = "permessage-deflate; client_max_window_bits";

static int window_of(const char *head, const char *name)
{
    const char *at = strstr(head, name);
    return at && at[strlen(name)] == '=' ? atoi(at + strlen(name) + 1) : 15;
}

/* Connect and take what the server chooses. offer NULL: none. */
static bool meet(struct squeezer *z, uint16_t port, const char *offer)
{
    char header[512];

    memset(z, 0, sizeof *z);
    snprintf(header, sizeof header, "Sec-WebSocket-Extensions: %s\r\n", offer ? offer : "");
    if (!client_connect(&z->k, port) || !client_ask(&z->k, "/", offer ? header : NULL) ||
        client_status(&z->k, z->head, sizeof z->head) != 101)
        return false;
    if (!strstr(z->head, "permessage-deflate"))
        return true;
    z->k.allows_compressed = true;
    z->out_anew = strstr(z->head, "client_no_context_takeover");
    z->in_anew = strstr(z->head, "server_no_context_takeover");
    z->has_streams = true;
    return deflateInit2(&z->out, 6, Z_DEFLATED, -window_of(z->head, "client_max_window_bits"), 8, 0) ==
               Z_OK &&
           inflateInit2(&z->in, -window_of(z->head, "server_max_window_bits")) == Z_OK;
}

static bool join(struct e2e *t, struct squeezer *z, const char *offer)
{
    unsigned before = atomic_load(&t->opened);

    return meet(z, t->port, offer) && COMES_TRUE(atomic_load(&t->opened) > before);
}

static void part(struct squeezer *z)
{
    client_close(&z->k);
    if (z->has_streams) {
        deflateEnd(&z->out);
        inflateEnd(&z->in);
    }
    z->has_streams = false;
}

/* The payload of a compressed message; returns its length. */
static size_t squeeze(struct squeezer *z, const void *data, size_t n, uint8_t *out, size_t room)
{
    z->out.next_in = (uint8_t *)(uintptr_t)data;
    z->out.avail_in = (uInt)n;
    z->out.next_out = out;
    z->out.avail_out = (uInt)room;
    deflate(&z->out, Z_SYNC_FLUSH);
    if (z->out_anew)
        deflateReset(&z->out);
    return room - z->out.avail_out - 4;
}

static bool put_frame(struct squeezer *z, unsigned first, const void *payload, size_t n)
{
    uint8_t *frame = malloc(n + 14);
    bool is_put = client_put(&z->k, frame, client_frame(frame, first, payload, n));

    free(frame);
    return is_put;
}

static bool say_bytes(struct squeezer *z, const void *data, size_t n)
{
    size_t room = n + n / 8 + 256;
    uint8_t *packed = malloc(room);
    bool is_put = put_frame(z, 0xc1, packed, squeeze(z, data, n, packed, room));

    free(packed);
    return is_put;
}

static bool say(struct squeezer *z, const char *text)
{
    return say_bytes(z, text, strlen(text));
}

static bool take_compressed(struct squeezer *z, const struct frame *f)
{
    static const uint8_t tail[4] = {0, 0, 0xff, 0xff};
    int rc;

    z->in.next_in = (uint8_t *)(uintptr_t)f->payload;
    z->in.avail_in = (uInt)f->bytes;
    z->in.next_out = (uint8_t *)z->text;
    z->in.avail_out = TEXT_BYTES_MAX;
    rc = inflate(&z->in, Z_SYNC_FLUSH);
    if (rc != Z_OK && rc != Z_BUF_ERROR)
        return false;
    z->in.next_in = (uint8_t *)(uintptr_t)tail;
    z->in.avail_in = 4;
    rc = inflate(&z->in, Z_SYNC_FLUSH);
    z->text[TEXT_BYTES_MAX - z->in.avail_out] = '\0';
    if (z->in_anew)
        inflateReset(&z->in);
    return (rc == Z_OK || rc == Z_BUF_ERROR) && z->in.avail_in == 0;
}

/* The next message, into z->text. */
static bool hear(struct squeezer *z)
{
    struct frame f;

    if (client_hear(&z->k, &f) != CLIENT_OK || (f.opcode != CLIENT_TEXT && f.opcode != CLIENT_BINARY) ||
        !f.is_final)
        return false;
    z->wire_bytes = f.bytes;
    z->was_compressed = f.is_compressed;
    if (f.is_compressed)
        return take_compressed(z, &f);
    memcpy(z->text, f.payload, f.bytes);
    z->text[f.bytes] = '\0';
    return true;
}

static bool hears(struct squeezer *z, const char *text)
{
    return hear(z) && strcmp(z->text, text) == 0;
}

/* Of about a KiB, alike but not the same. */
static const char *line(char out[2048], unsigned who, unsigned n)
{
    size_t at = (size_t)snprintf(out, 2048, "{\"who\":%u,\"n\":%u,\"items\":[", who, n);

    for (unsigned i = 0; at < 1000; i++)
        at += (size_t)snprintf(out + at, 2048 - at, "{\"id\":%u,\"price\":%u.%02u},", n * 31 + i,
                               (n * 7919 + i * 104729) % 9000, (n + i) % 100);
    snprintf(out + at, 2048 - at, "]}");
    return out;
}

static bool read_line(const char *text, unsigned *who, unsigned *n)
{
    char again[2048];

    return sscanf(text, "{\"who\":%u,\"n\":%u,", who, n) == 2 && strcmp(line(again, *who, *n), text) == 0;
}

/* --- contexts --- */

ALL_MODES(with_takeover_messages_refer_to_earlier_ones_both_ways)
{
    struct squeezer z;
    size_t first = 0;
    char text[2048];
    weft_stats s;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_FATAL(join(t, &z, offer_all));
    CU_ASSERT(strstr(z.head, "server_max_window_bits=12; client_max_window_bits=12") != NULL);
    CU_ASSERT(!z.in_anew && !z.out_anew);
    for (unsigned i = 0; i < 200; i++) {
        line(text, 0, i / 2); /* each one twice */
        CU_ASSERT(say(&z, text));
        CU_ASSERT(hears(&z, text));
        CU_ASSERT(z.was_compressed);
        if (i == 0)
            first = z.wire_bytes;
        if (i % 2)
            CU_ASSERT(z.wire_bytes * 4 < first);
    }
    s = e2e_stats(t);
    CU_ASSERT_EQUAL(s.compressed, 200);
    CU_ASSERT_EQUAL(s.inflated, 200);
    CU_ASSERT_EQUAL(s.compressed_from_bytes, s.inflated_to_bytes);
    CU_ASSERT(s.compressed_to_bytes < s.compressed_from_bytes);
    part(&z);
}

ALL_MODES(without_takeover_each_message_stands_alone)
{
    static const char offer[] = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    struct squeezer z;
    size_t first = 0;
    char text[2048];

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_FATAL(join(t, &z, offer));
    CU_ASSERT(z.in_anew && z.out_anew);
    line(text, 0, 0);
    for (unsigned i = 0; i < 50; i++) {
        CU_ASSERT(say(&z, text));
        CU_ASSERT(hears(&z, text));
        CU_ASSERT(z.was_compressed);
        if (i == 0)
            first = z.wire_bytes;
        CU_ASSERT_EQUAL(z.wire_bytes, first);
    }
    part(&z);
}

ALL_MODES(a_connection_without_messages_owns_no_context)
{
    enum { CONNS = 10 };
    struct squeezer *z = calloc(CONNS, sizeof *z);
    char text[2048];
    uint64_t two;

    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT_FATAL(join(t, &z[i], offer_all));
    CU_ASSERT_EQUAL(e2e_stats(t).compression_bytes, 0);
    CU_ASSERT(say(&z[0], line(text, 0, 0)) && hears(&z[0], text));
    two = e2e_stats(t).compression_bytes;
    CU_ASSERT(two > 40000);
    for (int i = 1; i < CONNS; i++)
        CU_ASSERT(say(&z[i], text) && hears(&z[i], text));
    /* The first one's were a compressor, a window, and the inflater that all share. */
    CU_ASSERT(e2e_stats(t).compression_bytes < CONNS * 50000 + 4 * 20000);
    for (int i = 0; i < CONNS; i++)
        part(&z[i]);
    WAIT_FOR(t->closed == CONNS);
    /* What is left lies on shelves, to be used again: two of a kind for each thread that was here. */
    WAIT_FOR(e2e_stats(t).compression_bytes <= 16 * 2 * 60000);
    free(z);
}

ALL_MODES(above_the_budget_new_connections_take_nothing_over)
{
    struct squeezer a, b, c;
    weft_conn *handle;
    char text[2048];

    t->opts.compression.memory_bytes_max = 1;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_FATAL(join(t, &a, offer_all));
    CU_ASSERT(!a.in_anew);
    CU_ASSERT(say(&a, line(text, 0, 0)) && hears(&a, text)); /* what came first was given a window */
    CU_ASSERT(e2e_stats(t).compression_bytes > 0);
    CU_ASSERT_FATAL(join(t, &b, offer_all));
    CU_ASSERT(b.in_anew && b.out_anew);
    CU_ASSERT(say(&b, text) && hears(&b, text) && b.was_compressed);
    CU_ASSERT(say(&a, text) && hears(&a, text) && a.was_compressed);
    handle = e2e_take(t, 0); /* a handle keeps no context */
    part(&a);
    WAIT_FOR(e2e_stats(t).compression_bytes == 0);
    weft_conn_unref(handle);
    CU_ASSERT_FATAL(join(t, &c, offer_all));
    CU_ASSERT(!c.in_anew && !c.out_anew);
    part(&b);
    part(&c);
}

/* --- what goes plain --- */

static void send_marked(weft_conn *c, weft_msg *m, struct seen *s)
{
    weft_msg *copy;

    if (weft_msg_new(&copy, weft_msg_type(m), weft_msg_data(m), weft_msg_bytes(m)) != WEFT_OK) {
        e2e_fault(s->t, "no memory");
        return;
    }
    weft_msg_set_plain(copy);
    e2e_send(c, copy);
    e2e_send(c, m);
}

ALL_MODES(short_and_marked_messages_go_plain_between_compressed_ones)
{
    struct squeezer z;
    char text[2048];

    t->on_message = send_marked;
    t->opts.compression.bytes_min = 100;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_FATAL(join(t, &z, offer_all));
    for (unsigned i = 0; i < 20; i++) {
        CU_ASSERT(say(&z, line(text, 0, i)));
        CU_ASSERT(hears(&z, text) && !z.was_compressed);
        CU_ASSERT(hears(&z, text) && z.was_compressed);
        memset(text, 'x', 100);
        text[99 + i % 2] = '\0';
        CU_ASSERT(say(&z, text));
        CU_ASSERT(hears(&z, text) && !z.was_compressed);
        CU_ASSERT(hears(&z, text) && z.was_compressed == (i % 2 == 1));
    }
    part(&z);
}

static void accept_by_path(weft_request *r, struct e2e *t)
{
    static const weft_compression off = {.is_off = true};
    static const weft_compression small = {
        .window_bits = 9, .peer_window_bits = 10, .peer_no_takeover = true};
    static const weft_compression wrong = {.level = 3};
    bool wants_off = weft_request_header(r, "X-Off", 0), wants_small = weft_request_header(r, "X-Small", 0);
    weft_accept how = {.compression = &wrong};

    if (weft_request_accept(r, &how) != WEFT_E_INVAL)
        e2e_fault(t, "a level of its own");
    how.compression = wants_off ? &off : wants_small ? &small : NULL;
    if (weft_request_accept(r, &how) != WEFT_OK)
        e2e_fault(t, "not accepted");
}

ALL_MODES(one_connection_may_be_accepted_otherwise)
{
    static const char *const extra[] = {"permessage-deflate; client_max_window_bits\r\nX-Off: 1",
                                        "permessage-deflate; client_max_window_bits\r\nX-Small: 1",
                                        "permessage-deflate; client_max_window_bits"};
    static const char *const chosen[] = {
        NULL,
        "permessage-deflate; client_no_context_takeover; server_max_window_bits=9; "
        "client_max_window_bits=10\r\n",
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12\r\n"};
    char text[2048];

    t->on_request = accept_by_path;
    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < 3; i++) {
        struct squeezer z;
        CU_ASSERT_FATAL(join(t, &z, extra[i]));
        CU_ASSERT(chosen[i] ? strstr(z.head, chosen[i]) != NULL : !strstr(z.head, "Extensions"));
        for (unsigned n = 0; n < 10; n++) {
            line(text, 0, n);
            CU_ASSERT(z.has_streams ? say(&z, text) : client_say(&z.k, text));
            CU_ASSERT(hears(&z, text) && z.was_compressed == (i > 0));
        }
        part(&z);
    }
}

ALL_MODES(a_server_that_is_told_so_does_not_compress)
{
    struct squeezer z;

    t->opts.compression.is_off = true;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_FATAL(join(t, &z, offer_all));
    CU_ASSERT(!z.has_streams);
    CU_ASSERT(put_frame(&z, 0xc1, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7));
    CU_ASSERT(client_hears_close(&z.k, WEFT_CLOSE_PROTOCOL_ERROR));
    part(&z);
}

static void options_out_of_range_are_refused(void)
{
    static const weft_compression wrong[] = {
        {.window_bits = 8}, {.window_bits = 16}, {.peer_window_bits = 7},          {.peer_window_bits = 16},
        {.level = 10},      {.mem_level = 10},   {.memory_bytes_max = UINT64_MAX},
    };

    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        weft_server_opts server_opts = {.size = sizeof server_opts, .compression = wrong[i]};
        weft_client_opts client_opts = {.size = sizeof client_opts, .compression = wrong[i]};
        weft_client *client;
        weft_server *server;
        CU_ASSERT_EQUAL(weft_server_new(&server, &server_opts), WEFT_E_INVAL);
        CU_ASSERT_EQUAL(weft_client_new(&client, "ws://127.0.0.1:1/", &client_opts), WEFT_E_INVAL);
    }
    STOPS(weft_client_stop_threads(5000));
}

/* --- broadcasts --- */

ALL_MODES(a_broadcast_is_compressed_once_for_all_with_the_same_window)
{
    static const char *const offers[] = {
        NULL,
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate",
        "permessage-deflate; server_max_window_bits=9",
        "permessage-deflate; server_no_context_takeover",
        NULL,
        "permessage-deflate; server_max_window_bits=9; server_no_context_takeover",
    };
    enum { CONNS = sizeof offers / sizeof offers[0] };
    struct squeezer *z = calloc(CONNS, sizeof *z);
    char text[2048];

    CU_ASSERT_FATAL(e2e_start(t));
    for (int i = 0; i < CONNS; i++)
        CU_ASSERT_FATAL(join(t, &z[i], offers[i]));
    for (unsigned n = 0; n < 30; n++) {
        uint64_t before = e2e_stats(t).compressed;

        line(text, 1, n);
        CU_ASSERT_EQUAL(weft_group_broadcast(weft_server_group(t->server), e2e_text(text), NULL), WEFT_OK);
        CU_ASSERT_EQUAL(e2e_stats(t).compressed, before + 2);
        for (int i = 0; i < CONNS; i++)
            CU_ASSERT(hears(&z[i], text) && z[i].was_compressed == (offers[i] != NULL));
        /* Between them, messages that take over. */
        for (int i = 1; i < 5; i++) {
            CU_ASSERT(say(&z[i], line(text, 2, n)));
            CU_ASSERT(hears(&z[i], text) && z[i].was_compressed);
        }
    }
    for (int i = 0; i < CONNS; i++)
        part(&z[i]);
    free(z);
}

/* Broadcasts, and messages that take over, to a member that does not read. What the policy drops must not part its
 * window from the server's compressor. */
static void flood_a_slow_member(struct e2e *t, enum weft_slow_policy policy)
{
    enum { COUNT = 4000 };
    struct squeezer z;
    unsigned who, n, next[2] = {0}, heard = 0;
    char text[2048];
    weft_conn *c;

    t->socket_bytes = 4096;
    client_buffer_bytes(4096, 0);
    t->opts.slow_policy = policy;
    t->opts.outbox_high_bytes = 8192;
    t->opts.outbox_bytes_max = 16384;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_FATAL(join(t, &z, offer_all));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    for (unsigned i = 0; i < COUNT; i++) {
        weft_msg *m = e2e_text(line(text, 0, i));
        CU_ASSERT_EQUAL(weft_group_broadcast(weft_server_group(t->server), m, NULL), WEFT_OK);
        m = e2e_text(line(text, 1, i));
        if (weft_conn_try_send(c, m) != WEFT_OK)
            weft_msg_unref(m);
    }
    WAIT_FOR(weft_conn_dropped(c) > 0);
    weft_conn_close(c, WEFT_CLOSE_NORMAL, NULL);
    while (hear(&z)) {
        CU_ASSERT(z.was_compressed);
        CU_ASSERT(read_line(z.text, &who, &n) && who < 2 && n >= next[who]);
        next[who] = n + 1;
        heard++;
    }
    CU_ASSERT(heard > 10 && heard < 2 * COUNT);
    weft_conn_unref(c);
    part(&z);
}

ALL_MODES(dropping_the_oldest_parts_no_windows)
{
    flood_a_slow_member(t, WEFT_SLOW_DROP_OLDEST);
}

ALL_MODES(dropping_the_newest_parts_no_windows)
{
    flood_a_slow_member(t, WEFT_SLOW_DROP_NEWEST);
}

/* --- senders --- */

enum { SENDERS = 4, EACH = 300 };

struct sender {
    struct e2e *t;
    weft_conn *c;
    unsigned who;
    bool broadcasts;
};

static void *run_sender(void *arg)
{
    struct sender *s = arg;
    char text[2048];

    for (unsigned i = 0; i < EACH; i++) {
        weft_msg *m = e2e_text(line(text, s->who, i));
        if (i % 7 == 3)
            weft_msg_set_plain(m);
        if ((s->broadcasts ? weft_group_broadcast(weft_server_group(s->t->server), m, NULL)
                           : weft_conn_send(s->c, m)) != WEFT_OK)
            e2e_fault(s->t, "sender %u failed", s->who);
    }
    return NULL;
}

ALL_MODES(many_threads_send_and_everything_can_be_inflated_in_each_ones_order)
{
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    unsigned who, n, next[SENDERS] = {0};
    struct squeezer z;
    weft_conn *c;

    t->opts.outbox_bytes_max = 64u << 20;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_FATAL(join(t, &z, offer_all));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){t, c, i, i == 3};
        pthread_create(&threads[i], NULL, run_sender, &senders[i]);
    }
    for (unsigned i = 0; i < SENDERS * EACH; i++) {
        CU_ASSERT_FATAL(hear(&z));
        CU_ASSERT_FATAL(read_line(z.text, &who, &n) && who < SENDERS && n == next[who]);
        CU_ASSERT_EQUAL(z.was_compressed, n % 7 != 3);
        next[who]++;
    }
    for (unsigned i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    weft_conn_unref(c);
    part(&z);
}

ALL_MODES(what_try_send_refuses_is_not_compressed)
{
    struct squeezer z;
    unsigned who, n, sent = 0, refused = 0, round = 0;
    char text[2048];
    weft_conn *c;

    t->socket_bytes = 4096;
    client_buffer_bytes(4096, 0);
    t->opts.outbox_high_bytes = 4096;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_FATAL(join(t, &z, offer_all));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    for (; round < 3; round++) {
        unsigned first = sent;
        uint64_t before;

        while (refused < 20 * (round + 1)) {
            weft_msg *m = e2e_text(line(text, 0, sent));
            if (weft_conn_try_send(c, m) == WEFT_OK) {
                sent++;
            } else {
                weft_msg_unref(m);
                refused++;
            }
        }
        before = e2e_stats(t).compressed;
        CU_ASSERT_EQUAL(before, sent);
        for (unsigned i = first; i < sent; i++)
            CU_ASSERT(hear(&z) && read_line(z.text, &who, &n) && n == i);
    }
    CU_ASSERT(sent > 10);
    weft_conn_unref(c);
    part(&z);
}

/* --- what cannot be inflated --- */

/* Two right ones before it are answered before the Close, which waits a quarter of a second for them, and no longer. */
static bool breaks(struct e2e *t, unsigned first, const void *payload, size_t n, unsigned code, int error)
{
    unsigned opened = atomic_load(&t->opened);
    struct squeezer z;
    char text[2048];
    bool good;

    CU_ASSERT_FATAL(join(t, &z, offer_all));
    CU_ASSERT(say(&z, line(text, 0, 1)));
    CU_ASSERT(say(&z, line(text, 0, 2)));
    CU_ASSERT(put_frame(&z, first, payload, n));
    CU_ASSERT(client_say(&z.k, "never handled"));
    good = hears(&z, line(text, 0, 1)) && hears(&z, line(text, 0, 2)) && client_hears_close(&z.k, code);
    WAIT_FOR(atomic_load(&t->seen[opened]->closed) == 1);
    CU_ASSERT_EQUAL(t->seen[opened]->info.sent_code, code);
    CU_ASSERT_EQUAL(t->seen[opened]->info.error, error);
    CU_ASSERT(!t->seen[opened]->info.clean);
    part(&z);
    return good;
}

static void break_it_all_ways(struct e2e *t)
{
    t->opts.close_timeout_ms = 100; /* the peer does not end TCP */
    CU_ASSERT_FATAL(e2e_start(t));
    SUCCEEDS_ONCE(breaks(t, 0xc2, "\xff\xff\xff\xff\xff\xff", 6, WEFT_CLOSE_INVALID_DATA, WEFT_E_PROTOCOL));
    SUCCEEDS_ONCE(
        breaks(t, 0xc1, "\x00\x02\x00\xfd\xff\xed\xa0\x00", 8, WEFT_CLOSE_INVALID_DATA, WEFT_E_UTF8));
}

ALL_MODES(garbage_and_wrong_text_end_the_connection_behind_what_came_before)
{
    break_it_all_ways(t);
}

static int echo_handler(weft_conn *c, struct seen *s)
{
    weft_msg *m;
    int rc;

    (void)s;
    while ((rc = weft_conn_recv(c, &m, WEFT_FOREVER)) == WEFT_OK)
        e2e_send(c, m);
    return rc;
}

POOL_MODES(the_same_in_a_straight_line)
{
    t->handler = echo_handler;
    break_it_all_ways(t);
}

static void within_the_limit(struct e2e *t)
{
    enum { LIMIT = 50000 };
    char *zeros = calloc(1, LIMIT + 1);
    struct squeezer z;

    memset(zeros, '0', LIMIT);
    t->opts.message_bytes_max = LIMIT;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_FATAL(join(t, &z, offer_all));
    CU_ASSERT(say(&z, zeros));
    CU_ASSERT(hears(&z, zeros));
    CU_ASSERT(say(&z, zeros));
    CU_ASSERT(hears(&z, zeros));
    zeros[LIMIT] = '0';
    CU_ASSERT(say_bytes(&z, zeros, LIMIT + 1));
    CU_ASSERT(client_hears_close(&z.k, WEFT_CLOSE_TOO_BIG));
    part(&z);
    free(zeros);
}

ALL_MODES(a_message_of_the_limit_passes_and_one_more_byte_does_not)
{
    within_the_limit(t);
}

POOL_MODES(the_same_limit_in_a_straight_line)
{
    t->handler = echo_handler;
    within_the_limit(t);
}

ALL_MODES(a_bomb_is_refused_without_its_memory)
{
    enum { MANY = 16 << 20 };
    char *zeros = calloc(1, MANY);
    struct squeezer z;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_FATAL(join(t, &z, offer_all));
    CU_ASSERT(say_bytes(&z, zeros, MANY));
    CU_ASSERT(client_hears_close(&z.k, WEFT_CLOSE_TOO_BIG));
    CU_ASSERT_EQUAL(e2e_stats(t).inflated, 0);
    part(&z);
    free(zeros);
}

/* --- several consumers --- */

POOL_MODES(several_consumers_get_every_message_whole)
{
    enum { COUNT = 400 };
    bool seen[COUNT] = {0};
    unsigned who, n;
    struct squeezer z;
    char text[2048];

    t->is_concurrent = true;
    t->opts.handler_concurrency = 4;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_FATAL(join(t, &z, offer_all));
    for (unsigned sent = 0; sent < COUNT;) {
        for (unsigned i = 0; i < 20; i++)
            CU_ASSERT(say(&z, line(text, 0, sent++)));
        for (unsigned i = 0; i < 20; i++) {
            CU_ASSERT_FATAL(hear(&z) && read_line(z.text, &who, &n) && n < COUNT && !seen[n]);
            seen[n] = true;
        }
    }
    part(&z);
}

/* --- received in parts --- */

/* In frames of so many octets, and empty ones between them. */
static bool say_in_fragments(struct squeezer *z, const char *text, size_t step)
{
    uint8_t packed[4096];
    size_t n = squeeze(z, text, strlen(text), packed, sizeof packed);

    for (size_t at = 0; at < n; at += step) {
        size_t some = n - at < step ? n - at : step;
        if (!put_frame(z, at ? 0x00 : 0x41, packed + at, some) || !put_frame(z, 0x00, "", 0))
            return false;
    }
    return put_frame(z, 0x80, "", 0);
}

static int echo_of_parts(weft_conn *c, struct seen *s)
{
    char *text = malloc(TEXT_BYTES_MAX);
    size_t n = 0;
    bool is_last;
    weft_msg *m;
    int rc;

    while ((rc = weft_conn_recv_part(c, &m, &is_last, WEFT_FOREVER)) == WEFT_OK) {
        if (weft_msg_bytes(m) > 65536 || n + weft_msg_bytes(m) > TEXT_BYTES_MAX || weft_msg_type(m) != WEFT_TEXT)
            e2e_fault(s->t, "a part of %zu bytes", weft_msg_bytes(m));
        else
            memcpy(text + n, weft_msg_data(m), weft_msg_bytes(m));
        n += weft_msg_bytes(m);
        weft_msg_unref(m);
        if (is_last) {
            weft_msg *whole;
            if (weft_msg_new(&whole, WEFT_TEXT, text, n) == WEFT_OK)
                e2e_send(c, whole);
            n = 0;
        }
    }
    free(text);
    return rc;
}

static void talk_in_parts(struct e2e *t, const char *offer)
{
    static const size_t steps[] = {1, 7, 300, 4096};
    char text[2048], large[TEXT_BYTES_MAX];
    struct squeezer z;

    CU_ASSERT_FATAL(join(t, &z, offer));
    CU_ASSERT_FATAL(z.has_streams);
    for (unsigned i = 0; i < 12; i++) {
        CU_ASSERT(say_in_fragments(&z, line(text, 0, i), steps[i % 4]));
        CU_ASSERT(hears(&z, text));
        CU_ASSERT(say(&z, line(text, 1, i)));
        CU_ASSERT(hears(&z, text));
        CU_ASSERT(client_say(&z.k, line(text, 2, i))); /* plain, which nothing refers to */
        CU_ASSERT(hears(&z, text));
    }
    memset(large, 'l', sizeof large - 1); /* less on the wire than it takes pieces */
    large[sizeof large - 1] = '\0';
    CU_ASSERT(say(&z, large));
    CU_ASSERT(hears(&z, large));
    CU_ASSERT(put_frame(&z, 0xc1, "", 0)); /* nothing at all is an empty message */
    CU_ASSERT(hears(&z, ""));
    part(&z);
}

static void talk_in_parts_on_all_terms(struct e2e *t)
{
    t->opts.receive_parts = true;
    CU_ASSERT_FATAL(e2e_start(t));
    talk_in_parts(t, offer_all);
    talk_in_parts(t, "permessage-deflate; client_no_context_takeover; server_no_context_takeover");
    talk_in_parts(t, "permessage-deflate"); /* a window of 15, which is kept otherwise */
    talk_in_parts(t, "permessage-deflate; client_max_window_bits=9");
}

POOL_MODES(parts_are_inflated_as_they_come)
{
    t->handler = echo_of_parts;
    talk_in_parts_on_all_terms(t);
}

POOL_MODES(inflated_parts_are_put_together)
{
    t->handler = echo_handler;
    talk_in_parts_on_all_terms(t);
}

POOL_MODES(garbage_and_wrong_text_in_parts_end_the_connection)
{
    t->handler = echo_of_parts;
    t->opts.receive_parts = true;
    break_it_all_ways(t);
}

POOL_MODES(parts_put_together_have_the_limit_of_the_inflated_message)
{
    t->handler = echo_handler;
    t->opts.receive_parts = true;
    within_the_limit(t);
}

#define BOMB_BYTES (64u << 20)

/* So many bytes in one frame, of which the program takes a few parts. */
static int take_some_parts(weft_conn *c, struct seen *s)
{
    uint64_t before = mem_used_bytes();
    weft_msg *m[4];
    bool is_last;

    for (unsigned i = 0; i < 4; i++) {
        if (weft_conn_recv_part(c, &m[i], &is_last, WEFT_FOREVER) != WEFT_OK || is_last)
            e2e_fault(s->t, "part %u", i);
        s->number += weft_msg_bytes(m[i]);
    }
    if (mem_used_bytes() > before + (1u << 20))
        e2e_fault(s->t, "holds %llu bytes", (unsigned long long)mem_used_bytes());
    for (unsigned i = 0; i < 4; i++)
        weft_msg_unref(m[i]);
    return WEFT_OK;
}

POOL_MODES(of_a_bomb_in_parts_no_more_is_inflated_than_is_taken)
{
    uint8_t *zeros = calloc(1, BOMB_BYTES), *packed = malloc(1u << 20);
    struct squeezer z;
    size_t n;

    mem_count_used();
    t->handler = take_some_parts;
    t->opts.receive_parts = true;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT_FATAL(join(t, &z, offer_all));
    n = squeeze(&z, zeros, BOMB_BYTES, packed, 1u << 20);
    CU_ASSERT(put_frame(&z, 0xc2, packed, n));
    CU_ASSERT(client_hears_close(&z.k, WEFT_CLOSE_NORMAL));
    CU_ASSERT(t->seen[0]->number >= 4 * 4096 && t->seen[0]->number <= 4 * 65536);
    part(&z);
    free(zeros);
    free(packed);
}

/* --- the library's client --- */

static char *url_of(const struct e2e *t, char url[64])
{
    snprintf(url, 64, "ws://127.0.0.1:%u/", t->port);
    return url;
}

static bool converse(weft_conn *c, unsigned count)
{
    char text[2048];

    for (unsigned i = 0; i < count; i++) {
        bool is_same;
        weft_msg *m;

        if (weft_conn_send_text(c, line(text, 0, i)) != WEFT_OK || weft_conn_recv(c, &m, 20000) != WEFT_OK)
            return false;
        is_same = weft_msg_bytes(m) == strlen(text) && memcmp(weft_msg_data(m), text, strlen(text)) == 0;
        weft_msg_unref(m);
        if (!is_same)
            return false;
    }
    return true;
}

ALL_MODES(client_and_server_compress_for_each_other)
{
    static const weft_compression ways[] = {
        {.is_off = false},
        {.no_takeover = true},
        {.peer_no_takeover = true, .window_bits = 15},
        {.peer_window_bits = 9, .window_bits = 10, .level = 9, .mem_level = 9},
        {.is_off = true}};
    char url[64];

    CU_ASSERT_FATAL(e2e_start(t));
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        weft_client_opts opts = {.size = sizeof opts, .compression = ways[i]};
        uint64_t before = e2e_stats(t).inflated;
        weft_conn *c;
        CU_ASSERT_FATAL(weft_client_connect(&c, url_of(t, url), &opts) == WEFT_OK);
        CU_ASSERT(converse(c, 50));
        CU_ASSERT_EQUAL(e2e_stats(t).inflated - before, ways[i].is_off ? 0 : 50);
        weft_conn_close(c, WEFT_CLOSE_NORMAL, NULL);
        CU_ASSERT_EQUAL(weft_conn_wait_closed(c, 20000), WEFT_OK);
        weft_conn_unref(c);
    }
    WAIT_FOR(t->closed == t->opened);
    STOPS(weft_client_stop_threads(5000));
}

static void answer_wrongly(struct peer *p)
{
    static const char *const wrong[] = {"permessage-deflate; server_max_window_bits=13",
                                        "permessage-deflate; server_max_window_bits=12; x=1", "x-other"};
    char extra[128];

    snprintf(extra, sizeof extra, "Sec-WebSocket-Extensions: %s\r\n", wrong[p->number % 3]);
    if (strstr(peer_header(p, "Sec-WebSocket-Extensions"),
               "server_max_window_bits=12; client_max_window_bits=12"))
        peer_accept(p, extra);
    peer_hears_end(p);
}

static void a_wrong_answer_fails_the_clients_connection(void)
{
    struct peer p;

    CU_ASSERT_FATAL(peer_start(&p, answer_wrongly, NULL));
    for (int i = 0; i < 3; i++) {
        weft_failure *failure = NULL;
        weft_client_opts opts = {.size = sizeof opts, .failure = &failure};
        weft_conn *c;
        CU_ASSERT_EQUAL(weft_client_connect(&c, peer_url(&p, "/"), &opts), WEFT_E_PROTOCOL);
        CU_ASSERT_FATAL(failure != NULL);
        CU_ASSERT(strstr(weft_failure_text(failure), i < 2 ? "server_max_window_bits" : "extension") ||
                  strstr(weft_failure_text(failure), "permessage-deflate"));
        weft_failure_free(failure);
    }
    STOPS(weft_client_stop_threads(5000));
    peer_stop(&p);
}

static const struct unit_case cases[] = {
    CASE(with_takeover_messages_refer_to_earlier_ones_both_ways),
    CASE(without_takeover_each_message_stands_alone),
    CASE(a_connection_without_messages_owns_no_context),
    CASE(above_the_budget_new_connections_take_nothing_over),
    CASE(short_and_marked_messages_go_plain_between_compressed_ones),
    CASE(one_connection_may_be_accepted_otherwise),
    CASE(a_server_that_is_told_so_does_not_compress),
    CASE(options_out_of_range_are_refused),
    CASE(a_broadcast_is_compressed_once_for_all_with_the_same_window),
    CASE(dropping_the_oldest_parts_no_windows),
    CASE(dropping_the_newest_parts_no_windows),
    CASE(many_threads_send_and_everything_can_be_inflated_in_each_ones_order),
    CASE(what_try_send_refuses_is_not_compressed),
    CASE(garbage_and_wrong_text_end_the_connection_behind_what_came_before),
    CASE(the_same_in_a_straight_line),
    CASE(a_message_of_the_limit_passes_and_one_more_byte_does_not),
    CASE(the_same_limit_in_a_straight_line),
    CASE(a_bomb_is_refused_without_its_memory),
    CASE(several_consumers_get_every_message_whole),
    CASE(parts_are_inflated_as_they_come),
    CASE(inflated_parts_are_put_together),
    CASE(garbage_and_wrong_text_in_parts_end_the_connection),
    CASE(parts_put_together_have_the_limit_of_the_inflated_message),
    CASE(of_a_bomb_in_parts_no_more_is_inflated_than_is_taken),
    CASE(client_and_server_compress_for_each_other),
    CASE(a_wrong_answer_fails_the_clients_connection),
};

E2E_MAIN("e2e_deflate")
