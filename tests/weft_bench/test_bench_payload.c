/* What the generator sends is a frame of the RFC, is text where it says so, and is known again when it
 * comes back. */
#include "unit.h"
#include "weft_bench/payload.h"

#include <stdlib.h>
#include <string.h>

#include "proto/utf8.h"

static const size_t sizes[] = {0,  1,  2,  3,  4,   7,   8,   9,    12,    15,    16,   17,
                               18, 19, 20, 64, 125, 126, 127, 1000, 65535, 65536, 70003};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static const struct payload_name name = {.from = 0x12345678, .sequence = 0x9abcdef0};

/* The frame as it is sent. */
static uint8_t *frame_of(const struct payload *p, struct payload_name n)
{
    uint8_t front[PAYLOAD_FRONT_MAX];
    uint8_t *frame = malloc(p->frame_bytes);
    unsigned front_bytes = payload_front(p, n, front);

    memcpy(frame, front, front_bytes);
    if (p->body_bytes)
        memcpy(frame + front_bytes, payload_body(p, n), p->body_bytes);
    return frame;
}

/* The same as an echo server without raw sends it back. */
static uint8_t *answer_of(const struct payload *p, struct payload_name n)
{
    uint8_t *frame = frame_of(p, n), *answer = malloc(p->answer_bytes);
    struct frame_header h;

    frame_read_header(frame, &h);
    h.is_masked = false;
    frame_write_header(answer, &h);
    if (p->bytes) {
        mask_apply(frame + p->header_bytes, p->bytes, h.key, 0);
        memcpy(answer + p->answer_header_bytes, frame + p->header_bytes, p->bytes);
    }
    free(frame);
    return answer;
}

static void a_frame_is_final_masked_and_of_the_length_asked_for(void)
{
    for (size_t i = 0; i < SIZES; i++) {
        struct frame_header h;
        struct payload p;
        uint8_t *frame;

        CU_ASSERT_FATAL(payload_init(&p, i % 2 ? PAYLOAD_BINARY : PAYLOAD_TEXT, sizes[i], false, 1));
        frame = frame_of(&p, name);
        CU_ASSERT(frame_read_header(frame, &h));
        CU_ASSERT(h.is_final && h.is_masked && !h.reserved);
        CU_ASSERT_EQUAL(h.bytes, sizes[i]);
        CU_ASSERT_EQUAL(h.opcode, i % 2 ? FRAME_BINARY : FRAME_TEXT);
        CU_ASSERT_EQUAL(frame_header_bytes(frame[1]) + h.bytes, p.frame_bytes);
        free(frame);
        payload_fini(&p);
    }
}

static void text_is_valid_wherever_on_the_reel_it_begins(void)
{
    unsigned wrong = 0, with_more_than_ascii = 0;

    for (int kind = PAYLOAD_TEXT; kind <= PAYLOAD_UTF8; kind++)
        for (size_t bytes = 0; bytes < 100; bytes++) {
            struct payload p;
            CU_ASSERT_FATAL(payload_init(&p, (enum payload_kind)kind, bytes, false, 7));
            for (uint32_t s = 0; s < 300; s++) {
                uint8_t *answer = answer_of(&p, (struct payload_name){3, s});
                struct utf8_state state = {0};
                const uint8_t *text = answer + p.answer_header_bytes;
                wrong += !utf8_feed(&state, text, bytes) || !utf8_is_complete(&state);
                for (size_t i = 0; i < bytes; i++)
                    with_more_than_ascii += text[i] >= 0x80;
                free(answer);
            }
            if (kind == PAYLOAD_TEXT)
                CU_ASSERT_EQUAL(with_more_than_ascii, 0);
            payload_fini(&p);
        }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(with_more_than_ascii > 1000);
}

static void an_answer_is_known_again_raw_or_not(void)
{
    for (size_t i = 0; i < SIZES; i++)
        for (int raw = 0; raw < 2; raw++) {
            struct payload_name expected = {.from = name.from, .sequence = name.sequence};
            struct payload p;
            uint8_t *answer;

            CU_ASSERT_FATAL(payload_init(&p, PAYLOAD_UTF8, sizes[i], raw, 3));
            answer = raw ? frame_of(&p, name) : answer_of(&p, name);
            CU_ASSERT(payload_matches(&p, answer, &expected));
            CU_ASSERT_EQUAL(expected.from, name.from);
            CU_ASSERT_EQUAL(expected.sequence, name.sequence);
            free(answer);
            payload_fini(&p);
        }
}

static void from_16_bytes_on_a_message_says_whose_it_is(void)
{
    struct payload_name read = {0, 0};
    struct payload p;
    uint8_t *answer;

    CU_ASSERT_FATAL(payload_init(&p, PAYLOAD_TEXT, PAYLOAD_IDENTIFYING, false, 3));
    answer = answer_of(&p, name);
    CU_ASSERT(payload_matches(&p, answer, &read));
    CU_ASSERT(read.from == name.from && read.sequence == name.sequence);
    free(answer);
    payload_fini(&p);
}

/* Four bits of the sequence in a byte: with 2 bytes a difference of up to 127 is told right. */
static void shorter_ones_are_told_by_what_is_expected(void)
{
    struct payload p;
    unsigned wrong = 0;

    CU_ASSERT_FATAL(payload_init(&p, PAYLOAD_TEXT, 2, false, 3));
    for (uint32_t s = 1000; s < 1100; s++) {
        struct payload_name read = {.from = 9, .sequence = 1050};
        uint8_t *answer = answer_of(&p, (struct payload_name){9, s});
        wrong += !payload_matches(&p, answer, &read) || read.sequence != s || read.from != 9;
        free(answer);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    payload_fini(&p);
}

/* In the bytes of the message there is no bit that may be another. A head that turns into another valid one
 * says so: then it is the name that differs. */
static void no_flipped_bit_goes_unseen(void)
{
    static const size_t flipped_sizes[] = {1, 8, 16, 19, 64, 1000};
    unsigned unseen = 0;

    for (size_t i = 0; i < sizeof flipped_sizes / sizeof flipped_sizes[0]; i++)
        for (int raw = 0; raw < 2; raw++) {
            struct payload p;
            uint8_t *answer;
            CU_ASSERT_FATAL(payload_init(&p, PAYLOAD_BINARY, flipped_sizes[i], raw, 11));
            answer = raw ? frame_of(&p, name) : answer_of(&p, name);
            for (size_t bit = 0; bit < 8 * p.answer_bytes; bit++) {
                struct payload_name read = name;
                answer[bit / 8] ^= (uint8_t)(1u << bit % 8);
                unseen += payload_matches(&p, answer, &read) && read.from == name.from &&
                          read.sequence == name.sequence;
                answer[bit / 8] ^= (uint8_t)(1u << bit % 8);
            }
            free(answer);
            payload_fini(&p);
        }
    CU_ASSERT_EQUAL(unseen, 0);
}

static void neighbours_differ_in_their_bodies(void)
{
    struct payload p;
    unsigned same = 0;

    CU_ASSERT_FATAL(payload_init(&p, PAYLOAD_TEXT, 64, false, 5));
    for (uint32_t s = 0; s < 1000; s++) {
        struct payload_name a = {s, s}, b = {s, s + 1}, c = {s + 1, s};
        same += payload_begin(a) == payload_begin(b);
        same += payload_begin(a) == payload_begin(c);
        CU_ASSERT(payload_begin(a) < 4 * PAYLOAD_BEGINS && payload_begin(a) % 4 == 0);
    }
    CU_ASSERT_EQUAL(same, 0);
    payload_fini(&p);
}

static const struct unit_case cases[] = {
    CASE(a_frame_is_final_masked_and_of_the_length_asked_for),
    CASE(text_is_valid_wherever_on_the_reel_it_begins),
    CASE(an_answer_is_known_again_raw_or_not),
    CASE(from_16_bytes_on_a_message_says_whose_it_is),
    CASE(shorter_ones_are_told_by_what_is_expected),
    CASE(no_flipped_bit_goes_unseen),
    CASE(neighbours_differ_in_their_bodies),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "bench_payload", cases, sizeof cases / sizeof cases[0]);
}
