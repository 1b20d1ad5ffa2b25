/* Headers and control frames as bytes, compared with what RFC 6455 section 5.2 draws. */
#include "unit.h"
#include "proto/frame.h"

#include <stdlib.h>
#include <string.h>

#include "wire.h"

static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};

/* Header bytes in a block of exactly their number: reading more is seen. */
static bool read_exactly(const uint8_t *p, size_t n, struct frame_header *out)
{
    uint8_t *copy = malloc(n);
    bool is_right;

    memcpy(copy, p, n);
    memset(out, 0xa5, sizeof *out);
    is_right = frame_read_header(copy, out);
    free(copy);
    return is_right;
}

static void the_second_byte_tells_the_length_of_the_header(void)
{
    for (unsigned second = 0; second < 256; second++) {
        unsigned length = second & 127, expected = second & 128 ? 6 : 2;
        if (length == 126)
            expected += 2;
        if (length == 127)
            expected += 8;
        CU_ASSERT_EQUAL(frame_header_bytes((uint8_t)second), expected);
        CU_ASSERT(expected <= FRAME_HEADER_BYTES_MAX);
    }
}

static void the_examples_of_the_rfc_are_written_as_printed_there(void)
{
    static const uint8_t hello[7] = {0x81, 0x05, 'H', 'e', 'l', 'l', 'o'};
    static const uint8_t masked_ping[11] = {0x89, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58};
    static const uint8_t ping[7] = {0x89, 0x05, 'H', 'e', 'l', 'l', 'o'};
    static const uint8_t of_256[4] = {0x82, 0x7e, 0x01, 0x00};
    static const uint8_t of_64k[10] = {0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0};
    uint8_t out[FRAME_WHOLE_CONTROL_MAX];
    struct frame_header h = {.bytes = 5, .opcode = FRAME_TEXT, .is_final = true};

    CU_ASSERT_EQUAL(frame_write_header(out, &h), 2);
    CU_ASSERT_EQUAL(memcmp(out, hello, 2), 0);
    CU_ASSERT_EQUAL(frame_write_control(out, FRAME_PING, "Hello", 5, NULL), 7);
    CU_ASSERT_EQUAL(memcmp(out, ping, 7), 0);
    CU_ASSERT_EQUAL(frame_write_control(out, FRAME_PING, "Hello", 5, key), 11);
    CU_ASSERT_EQUAL(memcmp(out, masked_ping, 11), 0);
    h = (struct frame_header){.bytes = 256, .opcode = FRAME_BINARY, .is_final = true};
    CU_ASSERT_EQUAL(frame_write_header(out, &h), 4);
    CU_ASSERT_EQUAL(memcmp(out, of_256, 4), 0);
    h.bytes = 65536;
    CU_ASSERT_EQUAL(frame_write_header(out, &h), 10);
    CU_ASSERT_EQUAL(memcmp(out, of_64k, 10), 0);
}

static const uint64_t lengths[] = {0,
                                   1,
                                   125,
                                   126,
                                   127,
                                   128,
                                   65534,
                                   65535,
                                   65536,
                                   65537,
                                   0xffffff,
                                   0x1000000,
                                   0x7fffffff,
                                   0x80000000,
                                   0xffffffff,
                                   0x100000000,
                                   1u << 20,
                                   (uint64_t)1 << 40,
                                   ((uint64_t)1 << 56) - 1,
                                   (uint64_t)1 << 62,
                                   INT64_MAX};

static void every_length_is_written_in_its_shortest_form_and_read_back(void)
{
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (int masked = 0; masked < 2; masked++) {
            struct frame_header h = {.bytes = lengths[i], .opcode = FRAME_BINARY, .is_masked = masked}, back;
            unsigned expected = (lengths[i] <= 125 ? 2 : lengths[i] <= 65535 ? 4 : 10) + (masked ? 4 : 0);
            uint8_t out[FRAME_HEADER_BYTES_MAX + 1];

            memcpy(h.key, key, 4);
            memset(out, 0xee, sizeof out);
            CU_ASSERT_EQUAL(frame_write_header(out, &h), expected);
            CU_ASSERT_EQUAL(out[expected], 0xee);
            CU_ASSERT_EQUAL(frame_header_bytes(out[1]), expected);
            CU_ASSERT(read_exactly(out, expected, &back));
            CU_ASSERT_EQUAL(back.bytes, lengths[i]);
            CU_ASSERT_EQUAL(back.is_masked, masked);
            CU_ASSERT(!masked || memcmp(back.key, key, 4) == 0);
        }
    }
}

static void the_first_byte_is_read_and_written_bit_by_bit(void)
{
    for (unsigned first = 0; first < 256; first++) {
        uint8_t in[2] = {(uint8_t)first, 17}, out[FRAME_HEADER_BYTES_MAX];
        struct frame_header h;

        CU_ASSERT(read_exactly(in, 2, &h));
        CU_ASSERT_EQUAL(h.is_final, first >> 7);
        CU_ASSERT_EQUAL(h.reserved, first >> 4 & 7);
        CU_ASSERT_EQUAL(h.opcode, first & 15);
        CU_ASSERT_EQUAL(h.bytes, 17);
        CU_ASSERT_EQUAL(frame_write_header(out, &h), 2);
        CU_ASSERT_EQUAL(memcmp(out, in, 2), 0);
    }
}

/* A length in the form of count bytes, whatever its value. */
static bool is_read(uint64_t length, unsigned count, bool is_masked, uint64_t *read)
{
    uint8_t in[FRAME_HEADER_BYTES_MAX] = {0x82, (uint8_t)((count == 2 ? 126 : 127) | (is_masked ? 0x80 : 0))};
    struct frame_header h;
    bool is_right;

    for (unsigned i = 0; i < count; i++)
        in[2 + i] = (uint8_t)(length >> 8 * (count - 1 - i));
    is_right = read_exactly(in, frame_header_bytes(in[1]), &h);
    *read = h.bytes;
    return is_right;
}

static void every_length_of_two_bytes_below_126_is_refused_and_no_other(void)
{
    unsigned wrong = 0;

    for (uint64_t length = 0; length <= 65535; length++)
        for (int masked = 0; masked < 2; masked++) {
            uint64_t read;
            bool is_right = is_read(length, 2, masked, &read);
            wrong += is_right != (length >= 126) || (is_right && read != length);
        }
    CU_ASSERT_EQUAL(wrong, 0);
}

static void a_length_of_eight_bytes_is_refused_below_65536_and_with_its_top_bit(void)
{
    static const uint64_t refused[] = {
        0, 1, 125, 126, 127, 255, 65534, 65535, (uint64_t)1 << 63, UINT64_MAX, ((uint64_t)1 << 63) + 65536};
    uint64_t read;

    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        for (int masked = 0; masked < 2; masked++)
            CU_ASSERT_FALSE(is_read(refused[i], 8, masked, &read));
    for (unsigned bit = 16; bit < 63; bit++) {
        CU_ASSERT(is_read((uint64_t)1 << bit, 8, true, &read));
        CU_ASSERT_EQUAL(read, (uint64_t)1 << bit);
    }
    CU_ASSERT(is_read(INT64_MAX, 8, false, &read));
    CU_ASSERT_EQUAL(read, (uint64_t)INT64_MAX);
}

static void a_control_frame_of_every_length_is_what_the_plain_encoder_writes(void)
{
    static const enum frame_opcode opcodes[] = {FRAME_CLOSE, FRAME_PING, FRAME_PONG};
    uint8_t payload[FRAME_CONTROL_BYTES_MAX], out[FRAME_WHOLE_CONTROL_MAX + 1];

    for (unsigned i = 0; i < sizeof payload; i++)
        payload[i] = (uint8_t)(i * 31 + 7);
    for (size_t n = 0; n <= FRAME_CONTROL_BYTES_MAX; n++) {
        for (int i = 0; i < 6; i++) {
            enum frame_opcode opcode = opcodes[i / 2];
            struct wire w;

            wire_init(&w, i % 2);
            wire_frame(&w, WIRE_FIN | opcode, payload, n);
            memset(out, 0xee, sizeof out);
            CU_ASSERT_EQUAL(
                frame_write_control(out, opcode, n ? payload : NULL, n, w.is_masked ? w.p + 2 : NULL),
                w.bytes);
            CU_ASSERT_EQUAL(memcmp(out, w.p, w.bytes), 0);
            CU_ASSERT_EQUAL(out[w.bytes], 0xee);
            wire_fini(&w);
        }
    }
}

/* Source: RFC 6455 section 7.4, and the registry for 1012 to 1014. 1004, 1005, 1006 and 1015 never travel. */
static void only_codes_that_may_travel_are_valid(void)
{
    static const unsigned named[] = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014};

    for (unsigned code = 0; code <= 5000; code++) {
        bool expected = code >= 3000 && code <= 4999;
        for (size_t i = 0; i < sizeof named / sizeof *named; i++)
            expected |= code == named[i];
        CU_ASSERT_EQUAL(frame_close_code_is_valid(code), expected);
    }
    CU_ASSERT_FALSE(frame_close_code_is_valid(65535));
    CU_ASSERT_FALSE(frame_close_code_is_valid(65536 + 1000));
    CU_ASSERT_FALSE(frame_close_code_is_valid(UINT32_MAX));
}

static void a_close_payload_is_the_code_and_then_the_reason_uncut(void)
{
    char reason[FRAME_REASON_BYTES_MAX];
    uint8_t out[FRAME_CONTROL_BYTES_MAX + 1];

    memset(reason, '*', sizeof reason);
    for (size_t n = 0; n <= FRAME_REASON_BYTES_MAX; n++) {
        memset(out, 0xee, sizeof out);
        CU_ASSERT_EQUAL(frame_write_close_payload(out, 4999, reason, n), 2 + n);
        CU_ASSERT_EQUAL(out[0] << 8 | out[1], 4999);
        CU_ASSERT_EQUAL(memcmp(out + 2, reason, n), 0);
        CU_ASSERT_EQUAL(out[2 + n], 0xee);
    }
    CU_ASSERT_EQUAL(frame_write_close_payload(out, 1000, NULL, 0), 2);
    CU_ASSERT_EQUAL(out[0] << 8 | out[1], 1000);
}

static void a_close_without_a_code_has_no_payload(void)
{
    uint8_t out[FRAME_CONTROL_BYTES_MAX] = {0xee, 0xee};

    CU_ASSERT_EQUAL(frame_write_close_payload(out, 0, NULL, 0), 0);
    CU_ASSERT_EQUAL(frame_write_close_payload(out, 1005, NULL, 0), 0);
    CU_ASSERT_EQUAL(frame_write_close_payload(out, 1005, "reason", 6), 0);
    CU_ASSERT_EQUAL(out[0], 0xee);
}

static const struct unit_case cases[] = {
    CASE(the_second_byte_tells_the_length_of_the_header),
    CASE(the_examples_of_the_rfc_are_written_as_printed_there),
    CASE(every_length_is_written_in_its_shortest_form_and_read_back),
    CASE(the_first_byte_is_read_and_written_bit_by_bit),
    CASE(every_length_of_two_bytes_below_126_is_refused_and_no_other),
    CASE(a_length_of_eight_bytes_is_refused_below_65536_and_with_its_top_bit),
    CASE(a_control_frame_of_every_length_is_what_the_plain_encoder_writes),
    CASE(only_codes_that_may_travel_are_valid),
    CASE(a_close_payload_is_the_code_and_then_the_reason_uncut),
    CASE(a_close_without_a_code_has_no_payload),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "frame", cases, sizeof cases / sizeof cases[0]);
}
