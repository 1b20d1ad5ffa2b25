/* Random bytes, most of them nearly right: a session gives the events that a plain reading of RFC 6455 gives,
 * however they are cut. */
#include "unit.h"
#include "proto/session.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "fuzz/reference.h"
#include "wire.h"

static struct trace expected, actual; /* too large for the stack */

/* --- bytes that are nearly right --- */

static uint32_t random_state = 521288629;

static uint32_t below(uint32_t n)
{
    return wire_random(&random_state) % n;
}

static bool deflate_is_agreed;

static size_t random_text(uint8_t *p, size_t room)
{
    static const char *const characters[] = {
        "a", "Z", "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xed\x9f\xbf"};
    size_t n = 0, wanted = below(3) ? below(20) : below(300);

    while (n < wanted && n + 4 < room) {
        const char *c = characters[below(2) ? 0 : below(6)];
        memcpy(p + n, c, strlen(c));
        n += strlen(c);
    }
    if (below(20) == 0 && n)
        p[below((uint32_t)n)] = (uint8_t)below(256);
    return n;
}

static void random_message(struct wire *w)
{
    uint8_t payload[400];
    size_t n = random_text(payload, sizeof payload), at = 0;
    unsigned parts = below(3) ? 1 : 1 + below(6), compressed = deflate_is_agreed && below(2) ? WIRE_RSV1 : 0;

    for (unsigned i = 0; i < parts; i++) {
        size_t part = i + 1 == parts ? n - at : below((uint32_t)(n - at) + 1);
        wire_frame(w, (i ? 0 : 1 + below(2) + compressed) | (i + 1 == parts ? WIRE_FIN : 0), payload + at, part);
        at += part;
        if (below(3) == 0)
            wire_frame(w, below(2) ? 0x89 : 0x8a, payload, n < 125 ? n : 125);
    }
}

static void random_close(struct wire *w)
{
    uint8_t payload[400];
    size_t n = random_text(payload + 2, 120);
    unsigned code = below(2) ? 1000 + below(16) : below(6000);

    payload[0] = (uint8_t)(code >> 8);
    payload[1] = (uint8_t)code;
    wire_frame(w, 0x88, payload, below(4) ? n + 2 : below(3));
}

static void random_bytes(struct wire *w)
{
    unsigned messages = below(6);

    w->random = wire_random(&random_state);
    wire_raw(w, NULL, 0);
    for (unsigned i = 0; i < messages; i++)
        random_message(w);
    if (below(4) == 0)
        random_close(w);
    if (below(8) == 0)
        wire_frame(w, below(256), "broken", 6);
    for (unsigned i = below(3) ? 0 : 1 + below(2); i && w->bytes; i--)
        w->p[below((uint32_t)w->bytes)] ^= (uint8_t)(1u << below(8));
    if (below(4) == 0)
        w->bytes -= below((uint32_t)w->bytes + 1);
}

static void feed_randomly(const struct session_config *config, const struct wire *w)
{
    uint32_t longest = below(3) ? 1 + below(8) : 1 + below(300);
    struct session s;

    trace_init(&actual);
    session_init(&s, config, 0);
    for (size_t at = 0; at < w->bytes;) {
        size_t n = 1 + below(longest);
        n = n < w->bytes - at ? n : w->bytes - at;
        trace_feed(&actual, &s, w->p + at, n);
        at += n;
    }
    session_fini(&s);
}

static bool is_read_alike(const struct session_config *config, const struct wire *w)
{
    struct session s;
    bool is_same;

    reference_read(&expected, config, w->p, w->bytes);
    trace_init(&actual);
    session_init(&s, config, 0);
    trace_feed(&actual, &s, w->p, w->bytes);
    session_fini(&s);
    is_same = !actual.faults && strcmp(actual.text, expected.text) == 0;
    for (int i = 0; i < 3 && is_same; i++) {
        feed_randomly(config, w);
        is_same = !actual.faults && strcmp(actual.text, expected.text) == 0;
    }
    if (!is_same) {
        printf("%s, expected\n%sgot\n%sfrom ", config->is_client ? "client" : "server", expected.text,
               actual.text);
        for (size_t i = 0; i < w->bytes; i++)
            printf("%02x", w->p[i]);
        printf("\n");
    }
    return is_same;
}

static void nearly_right_bytes_are_read_as_the_rfc_reads_them(void)
{
    unsigned rounds = unit_is_slow() ? 4000 : 40000, failures = 0, events = 0;
    int64_t before;

    mem_count_live(true);
    before = mem_live_blocks();
    for (unsigned i = 0; i < rounds; i++) {
        struct session_config config = wire_config(i % 2);
        struct wire w;

        config.message_bytes_max = below(4) ? 60000 : 200;
        config.fragments_max = below(4) ? 10 : 3;
        config.allows_compressed = deflate_is_agreed = below(2);
        wire_init(&w, !config.is_client);
        random_bytes(&w);
        if (!is_read_alike(&config, &w)) {
            CU_FAIL("read otherwise");
            wire_fini(&w);
            break;
        }
        failures += actual.last == SESSION_FAIL;
        events += actual.events;
        wire_fini(&w);
    }
    CU_ASSERT_EQUAL(mem_live_blocks(), before);
    mem_count_live(false);
    CU_ASSERT(failures > rounds / 10 && failures < rounds / 10 * 9);
    CU_ASSERT(events > rounds * 2);
}

static void noise_never_does_more_than_fail(void)
{
    unsigned rounds = unit_is_slow() ? 4000 : 40000;

    for (unsigned i = 0; i < rounds; i++) {
        struct session_config config = wire_config(i % 2);
        struct wire w;

        config.message_bytes_max = 60000;
        config.allows_compressed = below(2);
        wire_init(&w, !config.is_client);
        for (unsigned k = 0; k < 8 + below(56); k++) {
            uint8_t byte = (uint8_t)below(256);
            wire_raw(&w, &byte, 1);
        }
        w.p[0] &= config.allows_compressed ? 0xcf : 0x8f; /* or nearly all would end at once */
        w.p[1] = (uint8_t)((w.p[1] & 0x7f) | (w.is_masked ? 0x80 : 0));
        if (!is_read_alike(&config, &w)) {
            CU_FAIL("read otherwise");
            wire_fini(&w);
            break;
        }
        wire_fini(&w);
    }
}

static const struct unit_case cases[] = {
    CASE(nearly_right_bytes_are_read_as_the_rfc_reads_them),
    CASE(noise_never_does_more_than_fail),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "session_random", cases, sizeof cases / sizeof cases[0]);
}
