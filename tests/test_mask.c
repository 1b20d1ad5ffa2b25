/* Masking is compared with the loop that RFC 6455 section 5.3 describes, by each kernel this processor can
 * run. */
#include "fence.h"
#include "unit.h"
#include "proto/mask.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

enum { LENGTH_MAX = 300, LONG_BYTES = 70000 };

static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};

/* The public functions stand beside the kernels as one more way. */
static size_t ways(void)
{
    size_t kernels;

    mask_kernels(&kernels);
    return kernels + 1;
}

static void run_way(size_t way, uint8_t *dst, const uint8_t *src, size_t n, size_t offset)
{
    size_t kernels;
    const struct mask_kernel *list = mask_kernels(&kernels);

    if (way < kernels)
        list[way].run(dst, src, n, mask_key(key, offset));
    else if (dst == src)
        mask_apply(dst, n, key, offset);
    else
        mask_copy(dst, src, n, key, offset);
}

static void mask_naively(uint8_t *dst, const uint8_t *src, size_t n, size_t offset)
{
    for (size_t i = 0; i < n; i++)
        dst[i] = src[i] ^ key[(offset + i) % 4];
}

static void fill(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 167 + i / 251 + 5);
}

static void hello_of_the_rfc_is_masked_as_printed_there(void)
{
    static const uint8_t masked[5] = {0x7f, 0x9f, 0x4d, 0x51, 0x58};
    uint8_t text[5] = "Hello";

    mask_apply(text, sizeof text, key, 0);
    CU_ASSERT_EQUAL(memcmp(text, masked, sizeof text), 0);
    mask_apply(text, sizeof text, key, 0);
    CU_ASSERT_EQUAL(memcmp(text, "Hello", sizeof text), 0);
}

static void at_least_two_kernels_are_compared_and_names_differ(void)
{
    size_t kernels;
    const struct mask_kernel *list = mask_kernels(&kernels);

    CU_ASSERT(kernels >= 2);
    for (size_t i = 1; i < kernels; i++)
        CU_ASSERT_NOT_EQUAL(strcmp(list[i - 1].name, list[i].name), 0);
}

static void no_octet_is_touched_when_there_are_none(void)
{
    mask_apply(NULL, 0, key, 3);
    mask_copy(NULL, NULL, 0, key, 3);
    mask_apply_scalar(NULL, 0, key, 3);
    CU_PASS("did not touch NULL");
}

static bool copies_right(size_t way, size_t n, size_t offset, size_t skew)
{
    static uint8_t src[LENGTH_MAX + 128], dst[LENGTH_MAX + 128], wanted[LENGTH_MAX + 128];

    fill(src, sizeof src);
    memset(dst, 0xee, sizeof dst);
    memset(wanted, 0xee, sizeof wanted);
    mask_naively(wanted + 63 - skew, src + skew, n, offset);
    run_way(way, dst + 63 - skew, src + skew, n, offset);
    return memcmp(dst, wanted, sizeof dst) == 0;
}

static bool applies_right(size_t way, size_t n, size_t offset, size_t skew)
{
    static uint8_t data[LENGTH_MAX + 128], wanted[LENGTH_MAX + 128];

    fill(data, sizeof data);
    fill(wanted, sizeof wanted);
    mask_naively(wanted + skew, wanted + skew, n, offset);
    run_way(way, data + skew, data + skew, n, offset);
    return memcmp(data, wanted, sizeof data) == 0;
}

static void try_all(bool (*right)(size_t way, size_t n, size_t offset, size_t skew))
{
    size_t faults = 0, skew_step = unit_is_slow() ? 5 : 1;

    for (size_t way = 0; way < ways(); way++)
        for (size_t n = 0; n <= LENGTH_MAX; n++)
            for (size_t offset = 0; offset < 4; offset++)
                for (size_t skew = 0; skew < 64; skew += skew_step)
                    faults += !right(way, n, offset, skew);
    CU_ASSERT_EQUAL(faults, 0);
}

static void copy_is_right_and_writes_nothing_else_at_each_length_offset_and_alignment(void)
{
    try_all(copies_right);
}

static void in_place_is_right_and_writes_nothing_else_at_each_length_offset_and_alignment(void)
{
    try_all(applies_right);
}

static void scalar_under_its_own_name_is_right(void)
{
    uint8_t data[LENGTH_MAX], wanted[LENGTH_MAX];
    size_t faults = 0;

    for (size_t n = 0; n <= LENGTH_MAX; n++) {
        fill(data, n);
        mask_naively(wanted, data, n, n);
        mask_apply_scalar(data, n, key, n);
        faults += memcmp(data, wanted, n) != 0;
    }
    CU_ASSERT_EQUAL(faults, 0);
}

static void nothing_beyond_either_end_is_read_or_written(void)
{
    struct fenced from = fence(1), to = fence(1);

    for (size_t way = 0; way < ways(); way++) {
        for (size_t n = 0; n <= LENGTH_MAX; n++) {
            run_way(way, to.end - n, from.end - n, n, n);
            run_way(way, to.start, from.start, n, n);
            run_way(way, to.end - n, from.start, n, n);
            run_way(way, to.end - n, to.end - n, n, n);
            run_way(way, to.start, to.start, n, n);
        }
    }
    unfence(from);
    unfence(to);
    CU_PASS("the fences hold");
}

static void offsets_are_positions_however_large(void)
{
    size_t faults = 0;

    for (size_t i = 0; i < 8; i++) {
        faults += !copies_right(ways() - 1, 200, SIZE_MAX - i, 1);
        faults += !copies_right(ways() - 1, 20, ((size_t)1 << 32) - i, 1);
    }
    CU_ASSERT_EQUAL(faults, 0);
}

/* Two cuts, so that the middle piece begins and ends anywhere. */
static void pieces_give_what_the_whole_gives(void)
{
    uint8_t whole[LENGTH_MAX], pieces[LENGTH_MAX];
    size_t faults = 0, step = unit_is_slow() ? 7 : 1;

    fill(whole, sizeof whole);
    mask_naively(whole, whole, sizeof whole, 0);
    for (size_t a = 0; a <= LENGTH_MAX; a += step) {
        for (size_t b = a; b <= LENGTH_MAX; b += step) {
            fill(pieces, sizeof pieces);
            mask_apply(pieces, a, key, 0);
            mask_apply(pieces + a, b - a, key, a);
            mask_apply(pieces + b, sizeof pieces - b, key, b);
            faults += memcmp(whole, pieces, sizeof whole) != 0;
        }
    }
    CU_ASSERT_EQUAL(faults, 0);
}

static void one_octet_at_a_time_gives_what_the_whole_gives(void)
{
    uint8_t whole[LENGTH_MAX], pieces[LENGTH_MAX];

    fill(whole, sizeof whole);
    fill(pieces, sizeof pieces);
    mask_apply(whole, sizeof whole, key, 0);
    for (size_t i = 0; i < sizeof pieces; i++)
        mask_apply(pieces + i, 1, key, i);
    CU_ASSERT_EQUAL(memcmp(whole, pieces, sizeof whole), 0);
}

static void long_payloads_are_right(void)
{
    uint8_t *src = malloc(LONG_BYTES), *dst = malloc(LONG_BYTES), *wanted = malloc(LONG_BYTES);
    size_t faults = 0;

    if (!src || !dst || !wanted)
        abort();
    fill(src, LONG_BYTES);
    for (size_t way = 0; way < ways(); way++) {
        for (size_t i = 0; i < 40; i++) {
            size_t n = LONG_BYTES - 100 - i * 31;
            mask_naively(wanted, src + i, n, i);
            run_way(way, dst + 40 - i, src + i, n, i);
            faults += memcmp(wanted, dst + 40 - i, n) != 0;
            run_way(way, dst + 40 - i, dst + 40 - i, n, i);
            faults += memcmp(src + i, dst + 40 - i, n) != 0;
        }
    }
    CU_ASSERT_EQUAL(faults, 0);
    free(src);
    free(dst);
    free(wanted);
}

/* In place and as a copy, for each length, with no high bit in the result, and with one at each place. */
static void a_kernel_says_whether_all_that_it_wrote_is_ascii(void)
{
    enum { LONGEST = 300 };
    static uint8_t plain[LONGEST], masked[LONGEST], out[LONGEST];
    size_t kernels, wrong = 0;
    const struct mask_kernel *list = mask_kernels(&kernels);

    for (size_t i = 0; i < LONGEST; i++)
        plain[i] = (uint8_t)(i * 7 % 128);
    for (size_t way = 0; way < kernels; way++)
        for (size_t n = 1; n <= LONGEST; n += n < 140 ? 1 : 13) {
            mask_naively(masked, plain, n, 0);
            wrong += !list[way].run(out, masked, n, mask_key(key, 0));
            for (size_t at = 0; at < n; at++) {
                masked[at] ^= 0x80;
                wrong += list[way].run(out, masked, n, mask_key(key, 0));
                masked[at] ^= 0x80;
            }
        }
    CU_ASSERT_EQUAL(wrong, 0);
    for (size_t n = MASK_SHORT_BYTES - 3; n <= LONGEST; n++) {
        mask_naively(masked, plain, n, 1);
        memcpy(out, masked, n);
        CU_ASSERT_EQUAL(mask_copy_ascii(out, out, n, key, 1), n > MASK_SHORT_BYTES);
        CU_ASSERT_EQUAL(memcmp(out, plain, n), 0);
    }
}

static const struct unit_case cases[] = {
    CASE(hello_of_the_rfc_is_masked_as_printed_there),
    CASE(at_least_two_kernels_are_compared_and_names_differ),
    CASE(no_octet_is_touched_when_there_are_none),
    CASE(copy_is_right_and_writes_nothing_else_at_each_length_offset_and_alignment),
    CASE(in_place_is_right_and_writes_nothing_else_at_each_length_offset_and_alignment),
    CASE(scalar_under_its_own_name_is_right),
    CASE(nothing_beyond_either_end_is_read_or_written),
    CASE(offsets_are_positions_however_large),
    CASE(pieces_give_what_the_whole_gives),
    CASE(one_octet_at_a_time_gives_what_the_whole_gives),
    CASE(long_payloads_are_right),
    CASE(a_kernel_says_whether_all_that_it_wrote_is_ascii),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "mask", cases, sizeof cases / sizeof cases[0]);
}
