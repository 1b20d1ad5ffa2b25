/* Random bytes, most of them nearly right: a session gives the events that a plain reading of RFC 6455 gives,
 * however they are cut. */
#include "unit.h"
#include "proto/session.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "wire.h"

static struct trace expected, actual; /* too large for the stack */

/* --- the plain reading: all bytes are there, and nothing is remembered but the message under way --- */

struct reading {
    const struct session_config *config;
    const uint8_t *p;
    size_t bytes, at;
    uint8_t message[1 << 16];
    size_t message_bytes;
    unsigned type, fragments;
    bool is_compressed;
    bool in_message;
};

static bool read_fails(unsigned code)
{
    trace_line(&expected, "fail", code, NULL, 0);
    return false;
}

static unsigned fault_of_first_bytes(const struct reading *r, unsigned first, unsigned second)
{
    unsigned opcode = first & 15;
    bool is_control = opcode >= 8;
    unsigned reserved = r->config->allows_compressed && (opcode == 1 || opcode == 2) ? 0x30 : 0x70;

    if (first & reserved || (opcode > 2 && opcode < 8) || opcode > 10)
        return 1002;
    if (!!(second & 0x80) == r->config->is_client)
        return 1002;
    if (is_control && (!(first & 0x80) || (second & 0x7f) > 125))
        return 1002;
    if (!is_control && (opcode == 0) != r->in_message)
        return 1002;
    return 0;
}

static bool read_data(struct reading *r, unsigned first, uint64_t length, const uint8_t *payload,
                      size_t there)
{
    static const char *const names[2][2] = {{"binary", "compressed-binary"}, {"text", "compressed-text"}};
    uint64_t most = r->config->message_bytes_max;
    bool is_whole, is_text;

    if (first & 15) {
        r->is_compressed = first & 0x40;
        r->type = first & 15;
        r->message_bytes = r->fragments = 0;
        r->in_message = true;
    }
    is_text = r->type == 1 && !r->is_compressed;
    if (r->is_compressed)
        most += most / 8 + most / 32 + 64;
    if (++r->fragments > r->config->fragments_max)
        return read_fails(1008);
    if (length > most - r->message_bytes)
        return read_fails(1009);
    memcpy(r->message + r->message_bytes, payload, there);
    r->message_bytes += there;
    if (is_text && wire_utf8_right_until(r->message, r->message_bytes, &is_whole) < r->message_bytes)
        return read_fails(1007);
    if (there < length)
        return false;
    if (!(first & 0x80))
        return true;
    if (is_text && !is_whole)
        return read_fails(1007);
    trace_line(&expected, names[r->type == 1][r->is_compressed], 0, r->message, r->message_bytes);
    r->in_message = false;
    return true;
}

static bool read_control(unsigned opcode, const uint8_t *payload, size_t n)
{
    unsigned code = n >= 2 ? (unsigned)(payload[0] << 8 | payload[1]) : 1005;
    bool is_whole;

    if (opcode != 8) {
        trace_line(&expected, opcode == 9 ? "ping" : "pong", 0, payload, n);
        return true;
    }
    if (n == 1)
        return read_fails(1002);
    if (n && !frame_close_code_is_valid(code))
        return read_fails(1002);
    if (n && (wire_utf8_right_until(payload + 2, n - 2, &is_whole) < n - 2 || !is_whole))
        return read_fails(1007);
    trace_line(&expected, "close", code, payload + 2, n ? n - 2 : 0);
    return false;
}

/* One frame. False: the end, of the bytes or of the connection. */
static bool read_frame(struct reading *r)
{
    const uint8_t *p = r->p + r->at, *key;
    size_t left = r->bytes - r->at, header = 2, there;
    uint8_t payload[1 << 16];
    uint64_t length;
    unsigned more;

    if (left < 2)
        return false;
    if (fault_of_first_bytes(r, p[0], p[1]))
        return read_fails(1002);
    length = p[1] & 0x7f;
    more = length == 126 ? 2 : length == 127 ? 8 : 0;
    if (left < header + more + (r->config->is_client ? 0 : 4))
        return false;
    if (more)
        length = 0;
    for (unsigned i = 0; i < more; i++)
        length = length << 8 | p[header++];
    if (more && (length < (more == 2 ? 126 : 65536) || length >> 63))
        return read_fails(1002);
    key = p + header;
    header += r->config->is_client ? 0 : 4;
    there = left - header < length ? left - header : (size_t)length;
    for (size_t i = 0; i < there; i++)
        payload[i] = p[header + i] ^ (r->config->is_client ? 0 : key[i % 4]);
    r->at += header + there;
    if ((p[0] & 15) < 8)
        return read_data(r, p[0], length, payload, there);
    return there == length && read_control(p[0] & 15, payload, there);
}

static void read_plainly(const struct session_config *config, const struct wire *w)
{
    static struct reading r;

    r = (struct reading){.config = config, .p = w->p, .bytes = w->bytes};
    trace_init(&expected);
    while (read_frame(&r))
        continue;
}

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

    read_plainly(config, w);
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
