/* Messages: where the payload lies, the frame header written for it, references, growth, and what happens
 * without memory. */
#include "unit.h"
#include "crew.h"
#include "base/mem.h"
#include "base/msg.h"

#include <stdbool.h>
#include <string.h>

static void link_and_node_come_first(void) /* I1 */
{
    weft_msg *m = msg_alloc(WEFT_TEXT, 10);

    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CU_ASSERT_PTR_EQUAL(msg_of(&m->link.node), m);
    CU_ASSERT_PTR_EQUAL(msg_link_of(&m->link.node), &m->link);
    CU_ASSERT_PTR_EQUAL(m->link.msg, m);
    CU_ASSERT_EQUAL(m->link.home, MSG_LINK_IN_MSG);
    CU_ASSERT_EQUAL(m->header_bytes, 0);
    msg_free(m);
}

static void the_payload_is_aligned_for_anything(void)
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 1000, 4096, 100000};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        weft_msg *m = msg_alloc(WEFT_BINARY, sizes[i]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(m);
        CU_ASSERT_EQUAL((uintptr_t)m->payload % 16, 0);
        memset(m->payload, 0xa5, sizes[i]); /* a sanitizer sees it if there is less room */
        msg_free(m);
    }
}

/* Written from the table in RFC 6455 section 5.2, not from msg.c. */
static unsigned expected_header(uint8_t *out, unsigned opcode, uint64_t bytes)
{
    unsigned n = 0;

    out[n++] = (uint8_t)(0x80 + opcode);
    if (bytes <= 125) {
        out[n++] = (uint8_t)bytes;
    } else if (bytes <= 65535) {
        out[n++] = 126;
        out[n++] = (uint8_t)(bytes / 256);
        out[n++] = (uint8_t)(bytes % 256);
    } else {
        out[n++] = 127;
        for (int shift = 56; shift >= 0; shift -= 8)
            out[n++] = (uint8_t)(bytes >> shift);
    }
    return n;
}

static void a_sealed_message_is_one_unmasked_frame(void) /* I3 */
{
    static const size_t sizes[] = {0,   1,     125,   126,   127,     255,
                                   256, 65535, 65536, 65537, 1 << 20, (1 << 24) + 3};
    static const unsigned types[] = {WEFT_TEXT, WEFT_BINARY};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int t = 0; t < 2; t++) {
            uint8_t header[14];
            unsigned n = expected_header(header, types[t], sizes[i]);
            weft_msg *m = msg_alloc(types[t], sizes[i]);

            CU_ASSERT_PTR_NOT_NULL_FATAL(m);
            msg_seal(m, sizes[i]);
            CU_ASSERT_EQUAL(weft_msg_bytes(m), sizes[i]);
            CU_ASSERT_EQUAL(weft_msg_type(m), types[t]);
            CU_ASSERT_EQUAL(m->header_bytes, n);
            CU_ASSERT_EQUAL(msg_frame_bytes(m), n + sizes[i]);
            CU_ASSERT_EQUAL(memcmp(msg_frame(m), header, n), 0);
            CU_ASSERT_PTR_EQUAL(msg_frame(m) + n, weft_msg_data(m)); /* the payload follows without a gap */
            msg_free(m);
        }
    }
}

/* RFC 7692 section 6. */
static void a_compressed_message_has_rsv1_and_no_other_bit(void)
{
    weft_msg *m = msg_alloc(WEFT_TEXT, 10);

    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    CU_ASSERT_EQUAL(m->is_compressed, 0);
    CU_ASSERT_EQUAL(m->is_plain, 0);
    m->is_compressed = 1;
    msg_seal(m, 10);
    CU_ASSERT_EQUAL(msg_frame(m)[0], 0xc1);
    CU_ASSERT_EQUAL(weft_msg_type(m), WEFT_TEXT);
    weft_msg_set_plain(m); /* says nothing to the peer */
    msg_seal(m, 10);
    CU_ASSERT_EQUAL(msg_frame(m)[0], 0xc1);
    CU_ASSERT_EQUAL(m->is_plain, 1);
    msg_free(m);
}

static void sealing_shorter_than_allocated_writes_the_shorter_length(void)
{
    weft_msg *m = msg_alloc(WEFT_TEXT, 70000);

    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    msg_seal(m, 5);
    CU_ASSERT_EQUAL(m->header_bytes, 2);
    CU_ASSERT_EQUAL(msg_frame(m)[0], 0x81);
    CU_ASSERT_EQUAL(msg_frame(m)[1], 5);
    CU_ASSERT_EQUAL(weft_msg_bytes(m), 5);
    msg_free(m);
}

static void a_new_message_is_a_copy(void)
{
    char data[] = "hello";
    weft_msg *m = NULL;

    CU_ASSERT_EQUAL_FATAL(weft_msg_new(&m, WEFT_TEXT, data, 5), WEFT_OK);
    data[0] = 'j';
    CU_ASSERT_EQUAL(memcmp(weft_msg_data(m), "hello", 5), 0);
    CU_ASSERT_EQUAL(memcmp(msg_frame(m), "\x81\x05hello", 7), 0);
    weft_msg_unref(m);
    CU_ASSERT_EQUAL_FATAL(weft_msg_new(&m, WEFT_BINARY, NULL, 0), WEFT_OK);
    CU_ASSERT_EQUAL(weft_msg_bytes(m), 0);
    CU_ASSERT_EQUAL(memcmp(msg_frame(m), "\x82\x00", 2), 0);
    weft_msg_unref(m);
    weft_msg_unref(NULL);
}

static void a_raw_message_is_filled_by_the_caller(void)
{
    void *payload = NULL;
    weft_msg *m = NULL;

    CU_ASSERT_EQUAL_FATAL(weft_msg_new_raw(&m, WEFT_BINARY, 300, &payload), WEFT_OK);
    CU_ASSERT_PTR_EQUAL(payload, weft_msg_data(m));
    memset(payload, 0x5a, 300);
    CU_ASSERT_EQUAL(msg_frame(m)[1], 126);
    weft_msg_unref(m);
}

static void wrong_arguments_leave_out_untouched(void)
{
    weft_msg *const mark = (weft_msg *)(void *)&wrong_arguments_leave_out_untouched;
    weft_msg *m = mark;
    void *payload = NULL;

    CU_ASSERT_EQUAL(weft_msg_new(NULL, WEFT_TEXT, "x", 1), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_msg_new(&m, WEFT_TEXT, NULL, 1), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_msg_new(&m, (enum weft_msg_type)0, "x", 1), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_msg_new(&m, (enum weft_msg_type)8, "x", 1), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_msg_new_raw(&m, WEFT_TEXT, 1, NULL), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_msg_new_raw(NULL, WEFT_TEXT, 1, &payload), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_msg_new_raw(&m, WEFT_TEXT, (size_t)MSG_BYTES_MAX + 1, &payload), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_msg_new_raw(&m, WEFT_TEXT, SIZE_MAX, &payload), WEFT_E_INVAL);
    CU_ASSERT_PTR_EQUAL(m, mark);
    CU_ASSERT_PTR_NULL(payload);
    CU_ASSERT_PTR_NULL(msg_alloc(WEFT_TEXT, (size_t)MSG_BYTES_MAX + 1));
    CU_ASSERT_PTR_NULL(msg_alloc(WEFT_TEXT, SIZE_MAX));
}

static void without_memory_nothing_is_made(void)
{
    weft_msg *m = NULL;
    void *payload = NULL;

    mem_fail_at(1);
    CU_ASSERT_EQUAL(weft_msg_new(&m, WEFT_TEXT, "x", 1), WEFT_E_NOMEM);
    CU_ASSERT_TRUE(mem_fail_happened());
    mem_fail_at(1);
    CU_ASSERT_EQUAL(weft_msg_new_raw(&m, WEFT_TEXT, 100000, &payload), WEFT_E_NOMEM);
    mem_fail_at(0);
    CU_ASSERT_PTR_NULL(m);
    CU_ASSERT_PTR_NULL(payload);
}

static void growing_keeps_what_was_used(void)
{
    static const size_t steps[] = {1, 20, 80, 81, 500, 4000, 4100, 20000, 200000, 5000000};
    weft_msg *m = msg_alloc(WEFT_TEXT, 0);
    size_t used = 0;

    CU_ASSERT_PTR_NOT_NULL_FATAL(m);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        bool kept = true;

        m = msg_grow(m, used, steps[i]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(m);
        CU_ASSERT_PTR_EQUAL(m->link.msg, m); /* it may have moved */
        CU_ASSERT_EQUAL((uintptr_t)m->payload % 16, 0);
        for (size_t k = 0; k < used; k++)
            kept &= m->payload[k] == (uint8_t)(k * 7);
        CU_ASSERT_TRUE(kept);
        for (size_t k = used; k < steps[i]; k++)
            m->payload[k] = (uint8_t)(k * 7);
        used = steps[i];
    }
    msg_seal(m, used);
    CU_ASSERT_EQUAL(weft_msg_type(m), WEFT_TEXT);
    weft_msg_unref(m);
}

static void a_failed_growth_leaves_the_message_alone(void)
{
    static const size_t sizes[] = {100, 100000}; /* in a size class, and beyond them */

    for (int i = 0; i < 2; i++) {
        weft_msg *m = msg_alloc(WEFT_BINARY, sizes[i]);

        CU_ASSERT_PTR_NOT_NULL_FATAL(m);
        memset(m->payload, 0x11, sizes[i]);
        CU_ASSERT_PTR_NULL(msg_grow(m, sizes[i], (size_t)MSG_BYTES_MAX + 1));
        CU_ASSERT_PTR_NULL(msg_grow(m, sizes[i], SIZE_MAX));
        mem_fail_at(1);
        CU_ASSERT_PTR_NULL(msg_grow(m, sizes[i], 200000));
        mem_fail_at(0);
        CU_ASSERT_EQUAL(m->payload[0], 0x11);
        CU_ASSERT_EQUAL(m->payload[sizes[i] - 1], 0x11);
        CU_ASSERT_PTR_EQUAL(m->link.msg, m);
        msg_free(m);
    }
}

static void the_last_reference_frees_it_once(void)
{
    weft_msg *m = NULL;
    int64_t before;

    mem_count_live(true);
    before = mem_live_blocks();
    CU_ASSERT_EQUAL_FATAL(weft_msg_new(&m, WEFT_TEXT, "x", 1), WEFT_OK);
    CU_ASSERT_EQUAL(mem_live_blocks(), before + 1);
    CU_ASSERT_PTR_EQUAL(weft_msg_ref(m), m);
    weft_msg_unref(m);
    CU_ASSERT_EQUAL(mem_live_blocks(), before + 1);
    CU_ASSERT_EQUAL(memcmp(weft_msg_data(m), "x", 1), 0);
    weft_msg_unref(m);
    CU_ASSERT_EQUAL(mem_live_blocks(), before);
    mem_count_live(false);
}

enum { READERS = 4 };

struct reader {
    _Alignas(THR_CACHE_LINE) weft_msg **many; /* one reference of each is the reader's */
    unsigned rounds;
    unsigned long sum;
};

/* Reads the payload, then lets go: whoever frees it must do so behind this read (MSG_LAST). */
static void *read_and_let_go(void *arg)
{
    struct reader *r = arg;

    for (unsigned i = 0; i < r->rounds; i++) {
        weft_msg *m = weft_msg_ref(r->many[i]);
        r->sum += *(const uint8_t *)weft_msg_data(m) + weft_msg_bytes(m);
        weft_msg_unref(m);
        weft_msg_unref(r->many[i]);
    }
    return NULL;
}

static void every_holder_is_done_before_the_end(void) /* MSG_LAST */
{
    static struct reader readers[READERS];
    struct crew crew = {0};
    unsigned rounds = crew_rounds(200000);
    weft_msg **many = calloc(rounds, sizeof(weft_msg *));
    int64_t before;

    mem_count_live(true);
    before = mem_live_blocks();
    for (unsigned i = 0; i < rounds; i++) {
        CU_ASSERT_EQUAL_FATAL(weft_msg_new(&many[i], WEFT_BINARY, "\1", 1), WEFT_OK);
        for (int k = 1; k < READERS; k++)
            weft_msg_ref(many[i]);
    }
    for (int i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.many = many, .rounds = rounds};
        crew_add(&crew, read_and_let_go, &readers[i]);
    }
    crew_join(&crew);
    for (int i = 0; i < READERS; i++)
        CU_ASSERT_EQUAL(readers[i].sum, 2ul * rounds);
    CU_ASSERT_EQUAL(mem_live_blocks(), before); /* each was freed, and once */
    mem_count_live(false);
    free(many);
}

/* One reads and lets go; the other sees only that it is the last one left, and frees. */
struct pair {
    weft_msg **many;
    unsigned rounds;
    unsigned long sum;
    _Atomic unsigned let_go; /* relaxed: it must not order what the count is to order */
};

static void *read_first(void *arg)
{
    struct pair *p = arg;

    for (unsigned i = 0; i < p->rounds; i++) {
        p->sum += *(const uint8_t *)weft_msg_data(p->many[i]);
        weft_msg_unref(p->many[i]);
        atomic_store_explicit(&p->let_go, i + 1, memory_order_relaxed);
    }
    return NULL;
}

static void *free_when_alone(void *arg)
{
    struct pair *p = arg;

    for (unsigned i = 0; i < p->rounds; i++) {
        while (atomic_load_explicit(&p->let_go, memory_order_relaxed) <= i)
            sched_yield();
        weft_msg_unref(p->many[i]);
    }
    return NULL;
}

static void the_one_that_is_left_frees_behind_the_others(void) /* MSG_LAST, without a read-modify-write */
{
    static struct pair p;
    struct crew crew = {0};
    int64_t before;

    p = (struct pair){.rounds = crew_rounds(20000)};
    p.many = calloc(p.rounds, sizeof(weft_msg *));
    mem_count_live(true);
    before = mem_live_blocks();
    for (unsigned i = 0; i < p.rounds; i++) {
        CU_ASSERT_EQUAL_FATAL(weft_msg_new(&p.many[i], WEFT_BINARY, "\1", 1), WEFT_OK);
        weft_msg_ref(p.many[i]);
    }
    crew_add(&crew, read_first, &p);
    crew_add(&crew, free_when_alone, &p);
    crew_join(&crew);
    CU_ASSERT_EQUAL(p.sum, p.rounds);
    CU_ASSERT_EQUAL(mem_live_blocks(), before);
    mem_count_live(false);
    free(p.many);
}

static const struct unit_case cases[] = {
    CASE(link_and_node_come_first),
    CASE(the_payload_is_aligned_for_anything),
    CASE(a_sealed_message_is_one_unmasked_frame),
    CASE(a_compressed_message_has_rsv1_and_no_other_bit),
    CASE(sealing_shorter_than_allocated_writes_the_shorter_length),
    CASE(a_new_message_is_a_copy),
    CASE(a_raw_message_is_filled_by_the_caller),
    CASE(wrong_arguments_leave_out_untouched),
    CASE(without_memory_nothing_is_made),
    CASE(growing_keeps_what_was_used),
    CASE(a_failed_growth_leaves_the_message_alone),
    CASE(the_last_reference_frees_it_once),
    CASE(every_holder_is_done_before_the_end),
    CASE(the_one_that_is_left_frees_behind_the_others),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "msg", cases, sizeof cases / sizeof cases[0]);
}
