/* A session that gives parts: the same messages however their bytes are cut, and no limit on their length. */
#include "proto/session.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"
#include "wire.h"

#define PART_MAX 65536

static const struct session_config config = {.message_bytes_max = 1000,
                                             .fragments_max = 3,
                                             .ping_interval_ms = UINT32_MAX,
                                             .ping_timeout_ms = 1000,
                                             .close_timeout_ms = 1000,
                                             .gives_parts = true};

/* What the parts of one feeding came to. */
struct sum {
    uint8_t *bytes;
    size_t count, room;
    unsigned parts, messages, pings, faults;
    uint16_t fail_code;
    bool in_message;
};

static void add(struct sum *s, const struct session_event *ev)
{
    weft_msg *m = ev->msg;

    s->faults += ev->is_first == s->in_message || m->bytes > PART_MAX;
    s->in_message = !ev->is_last;
    s->parts++;
    s->messages += ev->is_last;
    if (m->bytes && s->count + m->bytes <= s->room)
        memcpy(s->bytes + s->count, m->payload, m->bytes);
    s->count += m->bytes;
    weft_msg_unref(m);
}

/* In steps of so many bytes. */
static struct sum feed(const struct wire *w, size_t step, uint8_t *bytes, size_t room)
{
    struct sum sum = {.bytes = bytes, .room = room};
    struct session session;
    struct session_event ev;

    session_init(&session, &config, 0);
    for (size_t at = 0; at < w->bytes;) {
        size_t n = w->bytes - at < step ? w->bytes - at : step, used;
        uint8_t *where;
        enum session_event_kind kind = session_feed(&session, w->p + at, n, &used, &ev);

        at += used;
        if (kind == SESSION_MESSAGE)
            add(&sum, &ev);
        sum.pings += kind == SESSION_PING;
        if (kind == SESSION_FAIL)
            sum.fail_code = ev.code;
        sum.faults += !session.failed && session_direct(&session, &where) != 0;
    }
    session_fini(&session);
    return sum;
}

static const size_t steps[] = {1, 2, 3, 7, 100, 4096, 65535, 65536, 65537, 1 << 20};

static void a_message_is_the_same_however_it_is_cut(void)
{
    enum { BYTES = 200000 };
    uint8_t *payload = malloc(BYTES), *got = malloc(BYTES + 7);
    struct wire w;

    for (int i = 0; i < BYTES; i++)
        payload[i] = (uint8_t)(i * 7);
    wire_init(&w, true);
    wire_frame(&w, 2, payload, 100);
    wire_frame(&w, WIRE_FIN | 9, "ping", 4);
    wire_frame(&w, 0, NULL, 0);
    wire_frame(&w, 0, payload + 100, 130000);
    wire_frame(&w, 0, payload + 130100, BYTES - 130100);
    wire_frame(&w, WIRE_FIN, NULL, 0);
    wire_frame(&w, WIRE_FIN | 1, "another", 7);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct sum s = feed(&w, steps[i], got, BYTES + 7);
        CU_ASSERT_EQUAL(s.faults, 0);
        CU_ASSERT_EQUAL(s.messages, 2);
        CU_ASSERT_EQUAL(s.pings, 1);
        CU_ASSERT_EQUAL(s.fail_code, 0);
        CU_ASSERT(s.count == BYTES + 7 && memcmp(got, payload, BYTES) == 0 &&
                  memcmp(got + BYTES, "another", 7) == 0);
    }
    wire_fini(&w);
    free(payload);
    free(got);
}

static void empty_messages_and_fragments_are_told_once(void)
{
    struct wire w;

    wire_init(&w, true);
    wire_frame(&w, WIRE_FIN | 2, NULL, 0);
    for (int i = 0; i < 10; i++) /* more than fragments_max */
        wire_frame(&w, i ? 0 : 2, NULL, 0);
    wire_frame(&w, WIRE_FIN, NULL, 0);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct sum s = feed(&w, steps[i], NULL, 0);
        CU_ASSERT_EQUAL(s.faults, 0);
        CU_ASSERT_EQUAL(s.parts, 2);
        CU_ASSERT_EQUAL(s.messages, 2);
        CU_ASSERT_EQUAL(s.count, 0);
    }
    wire_fini(&w);
}

static void text_is_checked_over_the_borders_of_parts(void)
{
    static const char good[] = "\xf0\x9f\x98\x80 \xc3\xbc";

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct wire w;

        wire_init(&w, true);
        for (size_t n = 0; n < strlen(good); n++)
            wire_frame(&w, n ? 0 : 1, good + n, 1);
        wire_frame(&w, WIRE_FIN, NULL, 0);
        CU_ASSERT_EQUAL(feed(&w, steps[i], NULL, 0).fail_code, 0);
        wire_frame(&w, 1, "\xf0\x9f", 2);
        wire_frame(&w, WIRE_FIN, NULL, 0);
        CU_ASSERT_EQUAL(feed(&w, steps[i], NULL, 0).fail_code, 1007);
        CU_ASSERT_EQUAL(feed(&w, steps[i], NULL, 0).messages, 1);
        wire_fini(&w);
        wire_init(&w, true);
        wire_frame(&w, 1, "\xf0\x9f", 2);
        wire_frame(&w, 0, "x", 1);
        CU_ASSERT_EQUAL(feed(&w, steps[i], NULL, 0).fail_code, 1007);
        wire_fini(&w);
    }
}

static const struct unit_case cases[] = {
    CASE(a_message_is_the_same_however_it_is_cut),
    CASE(empty_messages_and_fragments_are_told_once),
    CASE(text_is_checked_over_the_borders_of_parts),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "session_parts", cases, sizeof cases / sizeof cases[0]);
}
