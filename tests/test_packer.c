/* Messages compressed by ISA-L, inflated by zlib itself. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"
#include "base/msg.h"
#include "proto/packer.h"
#include "unit.h"

/* A reference beyond the window is only seen when the output comes in pieces: then zlib knows no more than it. */
static bool inflates_to(const weft_msg *packed, unsigned window_bits, const weft_msg *m)
{
    static const uint8_t tail[4] = {0, 0, 0xff, 0xff};
    uint8_t *in = malloc(packed->bytes + 4), *out = malloc(m->bytes + 64);
    z_stream z = {0};
    int rc = Z_OK;

    memcpy(in, packed->payload, packed->bytes);
    memcpy(in + packed->bytes, tail, 4);
    inflateInit2(&z, -(int)window_bits);
    z.next_in = in;
    z.avail_in = packed->bytes + 4;
    z.next_out = out;
    while (rc == Z_OK && z.total_out < m->bytes + 1) {
        z.avail_out = 1;
        rc = inflate(&z, Z_SYNC_FLUSH);
    }
    rc = rc == Z_BUF_ERROR && z.avail_in == 0 && z.total_out == m->bytes &&
         memcmp(out, m->payload, m->bytes) == 0;
    inflateEnd(&z);
    free(in);
    free(out);
    return rc;
}

static weft_msg *message(size_t bytes, uint32_t seed, unsigned period, unsigned letters)
{
    weft_msg *m = msg_alloc(WEFT_TEXT, bytes);

    for (size_t i = 0; i < bytes; i++) {
        seed = seed * 1664525u + 1013904223u;
        m->payload[i] =
            period && i >= period ? m->payload[i - period] : (uint8_t)('a' + (seed >> 16) % letters);
    }
    msg_seal(m, bytes);
    return m;
}

static void every_window_and_length_inflates(void)
{
    static const size_t lengths[] = {1, 2, 63, 64, 125, 126, 1000, 1024, 4096, 5000, 65535, 65536, 300000};
    struct packer *p = packer_new();

    CU_ASSERT_FATAL(p != NULL);
    for (unsigned bits = 9; bits <= 15; bits++)
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            weft_msg *m = message(lengths[i], (uint32_t)(bits * 1000 + i), 0, 4), *packed = NULL;
            CU_ASSERT_EQUAL(packer_message(p, bits, m, &packed), WEFT_OK);
            CU_ASSERT(packed || lengths[i] < 64);
            if (packed) {
                CU_ASSERT(packed->bytes < m->bytes && packed->is_compressed && packed->type == WEFT_TEXT);
                CU_ASSERT(inflates_to(packed, bits, m));
                weft_msg_unref(packed);
            }
            weft_msg_unref(m);
        }
    packer_free(p);
}

/* Noise that repeats: what comes again inside the window is found, what is beyond it not. */
static void nothing_refers_beyond_the_window(void)
{
    struct packer *p = packer_new();

    for (unsigned bits = 9; bits <= 15; bits++)
        for (int beyond = 0; beyond < 2; beyond++) {
            unsigned period = (1u << bits) + (beyond ? 16 : 0) - (beyond ? 0 : 300);
            weft_msg *m = message(1u << 17, bits, period, 64), *packed = NULL;
            CU_ASSERT_EQUAL(packer_message(p, bits, m, &packed), WEFT_OK);
            CU_ASSERT_FATAL(packed != NULL);
            CU_ASSERT(inflates_to(packed, bits, m));
            /* Three quarters is what 64 letters leave. */
            CU_ASSERT(beyond ? packed->bytes > 96000 : packed->bytes < 90000);
            weft_msg_unref(packed);
            weft_msg_unref(m);
        }
    packer_free(p);
}

static void what_does_not_get_smaller_is_not_made(void)
{
    struct packer *p = packer_new();
    weft_msg *m = message(5000, 1, 0, 256), *small = message(3, 1, 0, 26), *packed;

    CU_ASSERT_EQUAL(packer_message(p, 12, m, &packed), WEFT_OK);
    CU_ASSERT(packed == NULL);
    CU_ASSERT_EQUAL(packer_message(p, 12, small, &packed), WEFT_OK);
    CU_ASSERT(packed == NULL);
    weft_msg_unref(m);
    weft_msg_unref(small);
    packer_free(p);
}

/* Behind a message that was given up half done as well. */
static void messages_stand_alone(void)
{
    struct packer *p = packer_new();
    weft_msg *m = message(2000, 1, 0, 8), *noise = message(5000, 2, 0, 256), *first, *again, *none;

    CU_ASSERT_EQUAL(packer_message(p, 12, m, &first), WEFT_OK);
    CU_ASSERT_EQUAL(packer_message(p, 12, noise, &none), WEFT_OK);
    CU_ASSERT_EQUAL(packer_message(p, 12, m, &again), WEFT_OK);
    CU_ASSERT_FATAL(first && again && !none);
    CU_ASSERT(first->bytes == again->bytes && memcmp(first->payload, again->payload, first->bytes) == 0);
    weft_msg_unref(m);
    weft_msg_unref(noise);
    weft_msg_unref(first);
    weft_msg_unref(again);
    packer_free(p);
}

static void without_memory_nothing_is_left(void)
{
    struct packer *p = packer_new();
    weft_msg *m = message(2000, 1, 0, 8), *packed;
    int64_t live;

    mem_count_live(true);
    live = mem_live_blocks();
    for (uint64_t n = 1;; n++) {
        int rc;
        mem_fail_at(n);
        rc = packer_message(p, 12, m, &packed);
        if (!mem_fail_happened()) {
            mem_fail_at(0);
            CU_ASSERT(rc == WEFT_OK && packed != NULL);
            weft_msg_unref(packed);
            CU_ASSERT_EQUAL(n, 3);
            break;
        }
        CU_ASSERT_EQUAL(rc, WEFT_E_NOMEM);
        CU_ASSERT_EQUAL(mem_live_blocks(), live);
    }
    CU_ASSERT_EQUAL(mem_live_blocks(), live);
    mem_count_live(false);
    weft_msg_unref(m);
    packer_free(p);
}

static const struct unit_case cases[] = {
    CASE(every_window_and_length_inflates),      CASE(nothing_refers_beyond_the_window),
    CASE(what_does_not_get_smaller_is_not_made), CASE(messages_stand_alone),
    CASE(without_memory_nothing_is_left),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "packer", cases, sizeof cases / sizeof cases[0]);
}
