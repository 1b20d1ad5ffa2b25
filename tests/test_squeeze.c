/* Contexts that are shared, kept and counted: what two ends of a connection say through them. */
#include "unit.h"
#include "core/squeeze.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "crew.h"
#include "wire.h"

#define MIB (1024u * 1024u)

/* --- two ends --- */

struct ends {
    struct squeeze_conn a, b;
};

static struct ends ends_with(struct squeeze *s, struct deflate_params params)
{
    struct deflate_params other = {params.in_window_bits, params.out_window_bits, params.in_takeover,
                                   params.out_takeover};
    struct ends e;

    if (!other.in_window_bits)
        other.in_window_bits = 8;
    squeeze_conn_init(&e.a, s, &params);
    squeeze_conn_init(&e.b, s, &other);
    return e;
}

static void ends_fini(struct ends *e)
{
    squeeze_conn_fini(&e->a);
    squeeze_conn_fini(&e->b);
}

static const struct deflate_params usual = {12, 12, true, true};
static const struct deflate_params keeps_nothing = {12, 12, false, false};

static weft_msg *json(size_t n, uint32_t *random)
{
    weft_msg *m = msg_alloc(WEFT_TEXT, n + 64);
    size_t at = 0;

    if (!m)
        abort();
    while (at < n) {
        uint32_t r = wire_random(random);
        at += (size_t)sprintf((char *)m->payload + at, "{\"id\":%u,\"from\":\"%s\",\"text\":\"%x\"},",
                              r % 100000, r % 3 ? "alice" : "bob", r >> 20);
    }
    msg_seal(m, n);
    return m;
}

static int take_in(struct squeeze_conn *c, const weft_msg *m, size_t bytes_max, weft_msg **out)
{
    int rc;

    thr_enter_worker();
    rc = squeeze_in(c, m, bytes_max, out);
    thr_exit_worker();
    return rc;
}

/* What came, compressed or not, as `receiver` hands it to the program; whether it is what was meant. */
static bool receives(struct squeeze_conn *receiver, const weft_msg *sent, const weft_msg *meant)
{
    weft_msg *got = NULL;
    bool is_same;

    if (!sent->is_compressed)
        return sent == meant;
    if (take_in(receiver, sent, meant->bytes, &got) != WEFT_OK)
        return false;
    is_same = got->bytes == meant->bytes && got->type == meant->type && !got->is_compressed &&
              memcmp(got->payload, meant->payload, got->bytes) == 0;
    weft_msg_unref(got);
    return is_same;
}

/* -1: it came out wrong; else whether it went compressed. */
static int says(struct squeeze_conn *from, struct squeeze_conn *to, weft_msg *m)
{
    weft_msg *sent = squeeze_out(from, m);
    int is_compressed = sent->is_compressed;
    bool is_right = receives(to, sent, m);

    if (sent != m)
        weft_msg_unref(sent);
    return is_right ? is_compressed : -1;
}

static void converse(struct ends *e, unsigned messages, uint32_t *random)
{
    for (unsigned i = 0; i < messages; i++) {
        weft_msg *m = json(100 + wire_random(random) % (i % 7 ? 2000 : 30000), random);
        CU_ASSERT_EQUAL(says(&e->a, &e->b, m), 1);
        CU_ASSERT_EQUAL(says(&e->b, &e->a, m), 1);
        weft_msg_unref(m);
    }
}

static struct squeeze shared;

static void begin(size_t bytes_max)
{
    squeeze_init(&shared, &(struct squeeze_opts){.bytes_max = bytes_max});
}

/* zlib's work: what a packer would do without a level. */
static void begin_with_level(size_t bytes_max)
{
    squeeze_init(&shared, &(struct squeeze_opts){.bytes_max = bytes_max, .level = DEFLATE_LEVEL_TAKEOVER});
}

static bool remembers(const struct squeeze_conn *c)
{
    return c->out || c->sent.octets;
}

/* --- cases --- */

static void understand_under_all_terms(bool is_packers)
{
    uint32_t random = 1;

    for (unsigned n = 0; n < 7 * 7 * 4; n++) {
        struct deflate_params params = {(uint8_t)(9 + n % 7), (uint8_t)(9 + n / 7 % 7), n / 49 % 2, n / 98};
        struct ends e = ends_with(&shared, params);

        converse(&e, 3, &random);
        CU_ASSERT_EQUAL(remembers(&e.a), params.out_takeover);
        CU_ASSERT_EQUAL(e.a.sent.octets != NULL, params.out_takeover && is_packers &&
                                                     params.out_window_bits <= SQUEEZE_PACKED_WINDOW_BITS);
        CU_ASSERT(!e.a.out || !e.a.sent.octets);
        CU_ASSERT_EQUAL(e.b.in != NULL, params.out_takeover && params.out_window_bits > 12);
        CU_ASSERT_EQUAL(e.b.received.octets != NULL, params.out_takeover && params.out_window_bits <= 12);
        CU_ASSERT_EQUAL(e.a.in || e.a.received.octets, params.in_takeover);
        ends_fini(&e);
    }
}

static void both_ends_understand_each_other_under_all_terms(void)
{
    begin(0);
    understand_under_all_terms(packer_is_built());
    squeeze_fini(&shared);
    begin_with_level(0);
    understand_under_all_terms(false);
    squeeze_fini(&shared);
    CU_ASSERT_EQUAL(squeeze_bytes(&shared), 0);
}

/* The same message again is a few octets long, and not behind a broadcast, which the peer may not have. */
static void what_was_sent_is_remembered_until_a_broadcast(void)
{
    uint32_t random = 31;
    weft_msg *m = json(2000, &random), *news = json(500, &random);

    for (int with_level = 0; with_level < 2; with_level++) {
        struct squeeze_fan f;
        struct ends e;
        weft_msg *sent[3];

        with_level ? begin_with_level(0) : begin(0);
        e = ends_with(&shared, usual);
        for (unsigned i = 0; i < 3; i++) {
            squeeze_fan_init(&f, &shared, news);
            if (i == 2)
                CU_ASSERT(squeeze_fan_out(&f, &e.a)->is_compressed); /* dropped: b never sees it */
            squeeze_fan_fini(&f);
            sent[i] = squeeze_out(&e.a, m);
            CU_ASSERT(receives(&e.b, sent[i], m));
        }
        CU_ASSERT(sent[1]->bytes < 64);
        CU_ASSERT(sent[2]->bytes > 4 * sent[1]->bytes && sent[2]->bytes <= sent[0]->bytes);
        for (unsigned i = 0; i < 3; i++)
            weft_msg_unref(sent[i]);
        ends_fini(&e);
        squeeze_fini(&shared);
    }
    weft_msg_unref(m);
    weft_msg_unref(news);
}

/* What went plain is not in the peer's window. */
static void what_goes_plain_is_not_remembered(void)
{
    uint32_t random = 32;
    weft_msg *m = json(2000, &random), *secret = json(1500, &random), *noise = msg_alloc(WEFT_BINARY, 3000);

    for (unsigned i = 0; i < 3000; i++)
        noise->payload[i] = (uint8_t)(wire_random(&random) >> 13);
    msg_seal(noise, 3000);
    weft_msg_set_plain(secret);
    for (int with_level = 0; with_level < 2; with_level++) {
        struct ends e;

        with_level ? begin_with_level(0) : begin(0);
        e = ends_with(&shared, usual);
        CU_ASSERT_EQUAL(says(&e.a, &e.b, m), 1);
        CU_ASSERT_EQUAL(says(&e.a, &e.b, secret), 0);
        CU_ASSERT_EQUAL(says(&e.a, &e.b, m), 1);
        CU_ASSERT(says(&e.a, &e.b, noise) >= 0);
        CU_ASSERT_EQUAL(says(&e.a, &e.b, m), 1);
        ends_fini(&e);
        squeeze_fini(&shared);
    }
    weft_msg_unref(m);
    weft_msg_unref(secret);
    weft_msg_unref(noise);
}

static void an_idle_connection_owns_nothing(void)
{
    struct ends e;
    uint32_t random = 2;
    weft_msg *m = json(1000, &random), *small = json(60, &random);

    begin(0);
    squeeze_conn_fini(&(struct squeeze_conn){0}); /* nor does one for which nothing was agreed */
    e = ends_with(&shared, usual);
    CU_ASSERT_EQUAL(says(&e.a, &e.b, small), 0); /* below the threshold */
    CU_ASSERT_EQUAL(squeeze_bytes(&shared), 0);
    CU_ASSERT_EQUAL(says(&e.a, &e.b, m), 1);
    CU_ASSERT(squeeze_bytes(&shared) > 4096 + (e.a.out ? deflater_bytes(e.a.out) : 4096)); /* and the shelf */
    CU_ASSERT(remembers(&e.a) && e.b.received.octets);
    CU_ASSERT_FALSE(remembers(&e.b));
    CU_ASSERT_PTR_NULL(e.a.in);
    CU_ASSERT_PTR_NULL(e.a.received.octets);
    weft_msg_unref(m);
    weft_msg_unref(small);
    ends_fini(&e);
    squeeze_fini(&shared);
}

/* What ISA-L's context takes instead of zlib's. */
static size_t packer_bytes_most(void)
{
    return packer_is_built() ? 180000 : 0;
}

static void without_takeover_one_context_serves_all_connections_of_a_thread(void)
{
    uint32_t random = 3;
    size_t bytes = 0;

    begin(0);
    for (unsigned i = 0; i < 50; i++) {
        struct ends e = ends_with(&shared, keeps_nothing);
        converse(&e, 1, &random);
        CU_ASSERT(!remembers(&e.a) && !e.a.in && !e.a.received.octets);
        CU_ASSERT(!remembers(&e.b) && !e.b.in && !e.b.received.octets);
        if (i == 0)
            bytes = squeeze_bytes(&shared);
        CU_ASSERT_EQUAL(squeeze_bytes(&shared), bytes);
        ends_fini(&e);
    }
    CU_ASSERT(bytes > 40000 && bytes < 60000 + packer_bytes_most()); /* one of each */
    squeeze_fini(&shared);
}

/* The promise: 50 KB with a level, both ways, and two windows where a packer needs no more. */
static void takes_over_with(size_t bytes_max)
{
    enum { COUNT = 10 };
    struct ends e[COUNT];
    uint32_t random = 13;
    size_t first = 0, more;

    for (unsigned i = 0; i < COUNT; i++) {
        e[i] = ends_with(&shared, usual);
        converse(&e[i], 3, &random);
        first = i ? first : squeeze_bytes(&shared);
    }
    more = squeeze_bytes(&shared) - first;
    CU_ASSERT(more / (COUNT - 1) / 2 <= bytes_max);
    for (unsigned i = 0; i < COUNT; i++)
        ends_fini(&e[i]);
    CU_ASSERT(squeeze_bytes(&shared) <
              2 * (more / (COUNT - 1) + 20000) + packer_bytes_most()); /* the shelf */
    squeeze_fini(&shared);
    CU_ASSERT_EQUAL(squeeze_bytes(&shared), 0);
}

static void a_connection_that_takes_over_keeps_little(void)
{
    begin(0);
    takes_over_with(packer_is_built() ? 2 * 4096 : 45000);
    begin_with_level(0);
    takes_over_with(45000);
}

static void what_goes_plain(void)
{
    uint32_t random = 4;
    weft_msg *m = json(63, &random), *n = json(64, &random), *plain = json(1000, &random),
             *ping = msg_alloc(9, 100);
    struct deflate_params window_of_8 = {0, 12, true, true};
    struct ends e, f;

    begin(0);
    e = ends_with(&shared, usual);
    f = ends_with(&shared, window_of_8);
    memset(ping->payload, 'a', 100);
    msg_seal(ping, 100);
    CU_ASSERT_FALSE(squeeze_wants(&e.a, m));
    CU_ASSERT_TRUE(squeeze_wants(&e.a, n));
    CU_ASSERT_FALSE(squeeze_wants(&e.a, ping));
    CU_ASSERT_TRUE(squeeze_wants(&e.a, plain));
    CU_ASSERT_FALSE(squeeze_wants(&f.a, plain));
    CU_ASSERT_TRUE(squeeze_wants(&f.b, plain));
    CU_ASSERT_EQUAL(says(&f.a, &f.b, plain), 0);
    CU_ASSERT_EQUAL(says(&f.b, &f.a, plain), 1);
    weft_msg_set_plain(plain);
    CU_ASSERT_EQUAL(says(&e.a, &e.b, plain), 0);
    CU_ASSERT_EQUAL(says(&e.a, &e.b, n), 1);
    weft_msg_unref(m);
    weft_msg_unref(n);
    weft_msg_unref(plain);
    msg_free(ping);
    ends_fini(&e);
    ends_fini(&f);
    squeeze_fini(&shared);
}

static void the_options_are_kept(void)
{
    struct squeeze_opts opts = {.bytes_min = 1, .level = 9, .mem_level = 1};
    uint32_t random = 5;
    weft_msg *m = json(30, &random), *again = json(2000, &random);
    struct ends e, f;
    size_t small;

    squeeze_init(&shared, &opts);
    e = ends_with(&shared, usual);
    CU_ASSERT_EQUAL(says(&e.a, &e.b, m), 1);
    CU_ASSERT_EQUAL(says(&e.a, &e.b, m), 1);
    small = deflater_bytes(e.a.out);
    ends_fini(&e);
    squeeze_fini(&shared);
    begin_with_level(0);
    f = ends_with(&shared, usual);
    CU_ASSERT_EQUAL(says(&f.a, &f.b, again), 1);
    CU_ASSERT(small < deflater_bytes(f.a.out));
    ends_fini(&f);
    squeeze_fini(&shared);
    weft_msg_unref(m);
    weft_msg_unref(again);
}

static void each_message_is_counted_once(void)
{
    for (uint8_t level = 0; level <= 6; level += 6)
        for (int takes_over = 0; takes_over < 2; takes_over++) {
            struct squeeze_opts opts = {.level = level};
            struct deflate_params p = {12, 12, takes_over, takes_over};
            weft_stats stats = {0};
            uint32_t random = 21;
            weft_msg *m = json(1000, &random);
            struct ends e;

            squeeze_init(&shared, &opts);
            e = ends_with(&shared, p);
            for (unsigned i = 0; i < 3; i++)
                CU_ASSERT_EQUAL(says(&e.a, &e.b, m), 1);
            squeeze_add_stats(&shared, &stats);
            CU_ASSERT_EQUAL(stats.compressed, 3);
            CU_ASSERT_EQUAL(stats.inflated, 3);
            CU_ASSERT_EQUAL(stats.compressed_from_bytes, 3 * m->bytes);
            CU_ASSERT_EQUAL(stats.inflated_to_bytes, 3 * m->bytes);
            CU_ASSERT_EQUAL(stats.inflated_from_bytes, stats.compressed_to_bytes);
            ends_fini(&e);
            squeeze_fini(&shared);
            weft_msg_unref(m);
        }
}

static void over_budget(unsigned kept_min, unsigned kept_max)
{
    enum { COUNT = 40 };
    struct ends e[COUNT];
    uint32_t random = 6;
    unsigned kept = 0;

    CU_ASSERT_FALSE(squeeze_is_short(&shared));
    for (unsigned i = 0; i < COUNT; i++)
        e[i] = ends_with(&shared, usual);
    for (unsigned turn = 0; turn < 3; turn++)
        for (unsigned i = 0; i < COUNT; i++)
            converse(&e[i], 2, &random);
    for (unsigned i = 0; i < COUNT; i++)
        kept += remembers(&e[i].a) + remembers(&e[i].b);
    CU_ASSERT(kept >= kept_min && kept <= kept_max);
    CU_ASSERT(squeeze_is_short(&shared));
    for (unsigned i = 0; i < COUNT; i++)
        ends_fini(&e[i]);
    CU_ASSERT_FALSE(squeeze_is_short(&shared)); /* and there is room again */
    CU_ASSERT(squeeze_bytes(&shared) <= 300000);
    squeeze_fini(&shared);
}

static void above_the_budget_no_compressor_is_kept_and_all_is_understood(void)
{
    begin(300000);
    packer_is_built() ? over_budget(10, 60) : over_budget(4, 8);
    begin_with_level(300000);
    over_budget(4, 8);
}

static void above_the_budget_nothing_waits_on_a_shelf(void)
{
    uint32_t random = 14;
    struct ends e;

    begin(1);
    e = ends_with(&shared, keeps_nothing);
    converse(&e, 2, &random);
    CU_ASSERT_EQUAL(squeeze_bytes(&shared), 0);
    ends_fini(&e);
    squeeze_fini(&shared);
}

static void a_shelf_keeps_a_few(void)
{
    static const struct deflate_params large = {15, 15, true, true};
    enum { COUNT = 10 };
    struct ends e[COUNT];
    uint32_t random = 7;
    size_t one;

    begin(0);
    for (unsigned i = 0; i < COUNT; i++) {
        e[i] = ends_with(&shared, large);
        converse(&e[i], 1, &random);
    }
    one = squeeze_bytes(&shared) / (2 * COUNT);
    for (unsigned i = 0; i < COUNT; i++)
        ends_fini(&e[i]);
    CU_ASSERT_EQUAL(squeeze_bytes(&shared), SQUEEZE_SHELF_KEEP * one);
    /* Both are used again, and remember nothing. */
    e[0] = ends_with(&shared, large);
    converse(&e[0], 3, &random);
    CU_ASSERT_EQUAL(squeeze_bytes(&shared), SQUEEZE_SHELF_KEEP * one);
    ends_fini(&e[0]);
    squeeze_fini(&shared);
}

static void what_failed_to_inflate_is_used_again(void)
{
    weft_msg *bad = msg_alloc(WEFT_TEXT, 100), *out = NULL;
    uint32_t random = 8;
    struct ends e;

    memset(bad->payload, 0xff, 100);
    bad->is_compressed = 1;
    msg_seal(bad, 100);
    begin(0);
    for (unsigned i = 0; i < 4; i++) {
        e = ends_with(&shared, i % 2 ? usual : keeps_nothing);
        converse(&e, 2, &random);
        CU_ASSERT_EQUAL(take_in(&e.b, bad, MIB, &out), WEFT_E_PROTOCOL);
        CU_ASSERT_PTR_NULL(e.b.in);
        ends_fini(&e);
    }
    CU_ASSERT(squeeze_bytes(&shared) < 120000 + packer_bytes_most());
    weft_msg_unref(bad);
    squeeze_fini(&shared);
}

static void the_limit_is_that_of_the_inflated_message(void)
{
    uint32_t random = 9;
    weft_msg *m = json(5000, &random), *sent, *out = NULL;
    struct ends e;

    begin(0);
    e = ends_with(&shared, usual);
    sent = squeeze_out(&e.a, m);
    CU_ASSERT_TRUE(sent->is_compressed);
    CU_ASSERT_EQUAL(take_in(&e.b, sent, 4999, &out), WEFT_E_TOO_BIG);
    weft_msg_unref(sent);
    weft_msg_unref(m);
    ends_fini(&e);
    squeeze_fini(&shared);
}

/* --- broadcasts --- */

static void a_broadcast_is_compressed_once_for_windows_that_are_alike(void)
{
    static const struct deflate_params others = {10, 12, false, false}, never = {0, 12, true, true};
    struct ends takes_over, keeps, small, plain;
    uint32_t random = 10;

    begin(0);
    takes_over = ends_with(&shared, usual);
    keeps = ends_with(&shared, keeps_nothing);
    small = ends_with(&shared, others);
    plain = ends_with(&shared, never);
    for (unsigned i = 0; i < 5; i++) {
        weft_msg *m = json(3000, &random), *one, *two, *three;
        struct squeeze_fan f;

        converse(&takes_over, 2, &random);
        squeeze_fan_init(&f, &shared, m);
        CU_ASSERT_PTR_EQUAL(squeeze_fan_out(&f, NULL), m);
        one = squeeze_fan_out(&f, &takes_over.a);
        two = squeeze_fan_out(&f, &keeps.a);
        three = squeeze_fan_out(&f, &small.a);
        CU_ASSERT_PTR_EQUAL(squeeze_fan_out(&f, &plain.a), m);
        CU_ASSERT_PTR_EQUAL(one, two);
        CU_ASSERT_PTR_NOT_EQUAL(one, three);
        CU_ASSERT(one->is_compressed && three->is_compressed);
        CU_ASSERT(receives(&takes_over.b, one, m));
        CU_ASSERT(receives(&keeps.b, two, m));
        CU_ASSERT(receives(&small.b, three, m));
        squeeze_fan_fini(&f);
        weft_msg_unref(m);
        converse(&takes_over, 2, &random); /* what comes behind does not refer to what the peer has not */
    }
    ends_fini(&takes_over);
    ends_fini(&keeps);
    ends_fini(&small);
    ends_fini(&plain);
    squeeze_fini(&shared);
}

static void a_broadcast_that_does_not_get_smaller_is_sent_as_it_is(void)
{
    weft_msg *m = msg_alloc(WEFT_BINARY, 5000);
    struct squeeze_fan f;
    uint32_t random = 11;
    struct ends e;

    for (unsigned i = 0; i < 5000; i++)
        m->payload[i] = (uint8_t)wire_random(&random);
    msg_seal(m, 5000);
    begin(0);
    e = ends_with(&shared, usual);
    converse(&e, 2, &random);
    squeeze_fan_init(&f, &shared, m);
    CU_ASSERT_PTR_EQUAL(squeeze_fan_out(&f, &e.a), m);
    CU_ASSERT_PTR_EQUAL(squeeze_fan_out(&f, &e.a), m);
    squeeze_fan_fini(&f);
    converse(&e, 2, &random);
    weft_msg_unref(m);
    ends_fini(&e);
    squeeze_fini(&shared);
}

/* --- memory --- */

static void without_memory_messages_go_plain_and_nothing_leaks(void)
{
    uint32_t random = 12;
    weft_msg *m = json(50000, &random), *small = json(1000, &random);
    bool happened_before = true;
    unsigned n, kept = 0;
    int64_t before;

    mem_count_live(true);
    before = mem_live_blocks();
    for (n = 1;; n++) {
        struct ends e;
        weft_msg *sent, *got = NULL;
        bool failed_out, happened;
        int rc = WEFT_OK;

        begin(0);
        e = ends_with(&shared, n % 2 ? usual : keeps_nothing);
        mem_fail_at((n + 1) / 2);
        sent = squeeze_out(&e.a, m);
        failed_out = mem_fail_happened();
        CU_ASSERT(sent != m || failed_out); /* one that could not be kept may still have been borrowed */
        if (sent != m)
            rc = take_in(&e.b, sent, MIB, &got);
        happened = mem_fail_happened();
        mem_fail_at(0);
        /* Where the window cannot be copied, the inflater is kept. */
        CU_ASSERT_EQUAL(rc, happened && !failed_out && !e.b.in ? WEFT_E_NOMEM : WEFT_OK);
        kept += e.b.in != NULL;
        if (rc == WEFT_OK) /* the connection goes on */
            for (int i = 0; i < 3; i++)
                CU_ASSERT_EQUAL(says(&e.a, &e.b, small), 1);
        weft_msg_unref(got);
        if (sent != m)
            weft_msg_unref(sent);
        ends_fini(&e);
        squeeze_fini(&shared);
        CU_ASSERT_EQUAL(mem_live_blocks(), before);
        if (!happened && !happened_before)
            break;
        happened_before = happened;
    }
    mem_count_live(false);
    CU_ASSERT(n > 20);
    CU_ASSERT_EQUAL(kept, 1);
    weft_msg_unref(m);
    weft_msg_unref(small);
}

/* --- threads --- */

/* One more than there are shelves, so that two share one. */
enum { THREADS = SQUEEZE_SHELVES + 1, TURNS = 100 };

/* One for each thread, and one that all send on. */
struct talk {
    struct ends own;
    uint32_t random;
    unsigned wrong;
};

static struct {
    pthread_mutex_t send_lock;
    struct ends ends;
    weft_msg *plain[THREADS * TURNS], *sent[THREADS * TURNS];
    unsigned count;
} common;

/* The send lock covers compressing and what stands for the push. */
static void send_on_common(weft_msg *m)
{
    pthread_mutex_lock(&common.send_lock);
    common.plain[common.count] = m;
    common.sent[common.count++] = squeeze_out(&common.ends.a, m);
    pthread_mutex_unlock(&common.send_lock);
}

static void *talk(void *arg)
{
    struct talk *t = arg;

    for (unsigned i = 0; i < TURNS; i++) {
        weft_msg *m = json(100 + wire_random(&t->random) % 3000, &t->random);
        t->wrong += says(&t->own.a, &t->own.b, m) != 1;
        t->wrong += squeeze_bytes(&shared) == 0;
        send_on_common(m);
        if (i % 25 == 0) {
            struct deflate_params params = t->own.a.params;
            ends_fini(&t->own);
            t->own = ends_with(&shared, params);
        }
    }
    return NULL;
}

static void many_threads_share_contexts_and_mix_nothing_up(void)
{
    static struct talk talks[THREADS];
    struct crew crew = {.count = 0};
    unsigned wrong = 0;

    begin(400000); /* now short, now not */
    pthread_mutex_init(&common.send_lock, NULL);
    common.ends = ends_with(&shared, usual);
    common.count = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        talks[i] = (struct talk){.own = ends_with(&shared, i % 2 ? usual : keeps_nothing), .random = i + 1};
        if (i)
            crew_add(&crew, talk, &talks[i]);
    }
    talk(&talks[0]);
    crew_join(&crew);
    for (unsigned i = 0; i < common.count; i++) {
        wrong += !receives(&common.ends.b, common.sent[i], common.plain[i]);
        if (common.sent[i] != common.plain[i])
            weft_msg_unref(common.sent[i]);
        weft_msg_unref(common.plain[i]);
    }
    CU_ASSERT_EQUAL(common.count, THREADS * TURNS);
    for (unsigned i = 0; i < THREADS; i++) {
        wrong += talks[i].wrong;
        ends_fini(&talks[i].own);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    ends_fini(&common.ends);
    pthread_mutex_destroy(&common.send_lock);
    squeeze_fini(&shared);
}

static const struct unit_case cases[] = {
    CASE(both_ends_understand_each_other_under_all_terms),
    CASE(what_was_sent_is_remembered_until_a_broadcast),
    CASE(what_goes_plain_is_not_remembered),
    CASE(an_idle_connection_owns_nothing),
    CASE(without_takeover_one_context_serves_all_connections_of_a_thread),
    CASE(a_connection_that_takes_over_keeps_little),
    CASE(what_goes_plain),
    CASE(the_options_are_kept),
    CASE(each_message_is_counted_once),
    CASE(above_the_budget_no_compressor_is_kept_and_all_is_understood),
    CASE(above_the_budget_nothing_waits_on_a_shelf),
    CASE(a_shelf_keeps_a_few),
    CASE(what_failed_to_inflate_is_used_again),
    CASE(the_limit_is_that_of_the_inflated_message),
    CASE(a_broadcast_is_compressed_once_for_windows_that_are_alike),
    CASE(a_broadcast_that_does_not_get_smaller_is_sent_as_it_is),
    CASE(without_memory_messages_go_plain_and_nothing_leaks),
    CASE(many_threads_share_contexts_and_mix_nothing_up),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "squeeze", cases, sizeof cases / sizeof cases[0]);
}
