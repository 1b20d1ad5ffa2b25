/* Messages compressed by ISA-L, inflated by zlib itself. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/mem.h"
#include "base/msg.h"
#include "proto/packer.h"
#include "unit.h"

/* Is it m behind what z has inflated before? A reference beyond the window is only seen when the output comes in pieces:
 * then zlib knows no more than it. */
static bool inflates_next_to(z_stream *z, const weft_msg *packed, const weft_msg *m)
{
    static const uint8_t tail[4] = {0, 0, 0xff, 0xff};
    uint8_t *in = malloc(packed->bytes + 4), *out = malloc(m->bytes + 64);
    uLong made = z->total_out + m->bytes;
    int rc = Z_OK;

    memcpy(in, packed->payload, packed->bytes);
    memcpy(in + packed->bytes, tail, 4);
    z->next_in = in;
    z->avail_in = packed->bytes + 4;
    z->next_out = out;
    while (rc == Z_OK && z->total_out < made + 1) {
        z->avail_out = 1;
        rc = inflate(z, Z_SYNC_FLUSH);
    }
    rc = rc == Z_BUF_ERROR && z->avail_in == 0 && z->total_out == made &&
         memcmp(out, m->payload, m->bytes) == 0;
    free(in);
    free(out);
    return rc;
}

static bool inflates_to(const weft_msg *packed, unsigned window_bits, const weft_msg *m)
{
    z_stream z = {0};
    bool is_right;

    inflateInit2(&z, -(int)window_bits);
    is_right = inflates_next_to(&z, packed, m);
    inflateEnd(&z);
    return is_right;
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
            CU_ASSERT_EQUAL(packer_message(p, bits, NULL, m, &packed), WEFT_OK);
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
            CU_ASSERT_EQUAL(packer_message(p, bits, NULL, m, &packed), WEFT_OK);
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

    CU_ASSERT_EQUAL(packer_message(p, 12, NULL, m, &packed), WEFT_OK);
    CU_ASSERT(packed == NULL);
    CU_ASSERT_EQUAL(packer_message(p, 12, NULL, small, &packed), WEFT_OK);
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

    CU_ASSERT_EQUAL(packer_message(p, 12, NULL, m, &first), WEFT_OK);
    CU_ASSERT_EQUAL(packer_message(p, 12, NULL, noise, &none), WEFT_OK);
    CU_ASSERT_EQUAL(packer_message(p, 12, NULL, m, &again), WEFT_OK);
    CU_ASSERT_FATAL(first && again && !none);
    CU_ASSERT(first->bytes == again->bytes && memcmp(first->payload, again->payload, first->bytes) == 0);
    weft_msg_unref(m);
    weft_msg_unref(noise);
    weft_msg_unref(first);
    weft_msg_unref(again);
    packer_free(p);
}

/* --- with what was before --- */

/* A piece of what was, from about as far back as the window reaches, or letters; many times. */
static void write_echoes(weft_msg *m, const struct window *w, uint32_t seed)
{
    for (size_t i = 0; i < m->bytes;) {
        uint32_t r = seed = seed * 1664525u + 1013904223u;
        size_t length = 1 + (r >> 8) % 40, back = w->room - 4 + (r >> 16) % 9;

        for (; length && i < m->bytes; length--, i++) {
            if (r % 4 == 0 || back > w->bytes + i)
                m->payload[i] = (uint8_t)('a' + (r >> length % 20) % 20);
            else
                m->payload[i] = back <= i ? m->payload[i - back] : w->octets[w->bytes + i - back];
        }
    }
}

/* What was before the window is not referred to, and what is in it is, to its first byte. */
static void messages_refer_to_those_before(void)
{
    struct packer *p = packer_new();

    for (unsigned bits = 9; bits <= 15; bits++) {
        struct window w;
        z_stream z = {0};

        CU_ASSERT_FATAL(window_init(&w, bits));
        inflateInit2(&z, -(int)bits);
        for (uint32_t i = 0; i < 40; i++) {
            size_t bytes = i % 10 == 9 ? 50000 : 1 + (i * 2654435761u >> 7) % 3000;
            weft_msg *m = msg_alloc(WEFT_BINARY, bytes), *packed = NULL;

            msg_seal(m, bytes);
            write_echoes(m, &w, bits * 1000 + i);
            CU_ASSERT_EQUAL(packer_message(p, bits, &w, m, &packed), WEFT_OK);
            if (packed) {
                CU_ASSERT(inflates_next_to(&z, packed, m));
                window_put(&w, m->payload, m->bytes);
                weft_msg_unref(packed);
            }
            weft_msg_unref(m);
        }
        inflateEnd(&z);
        window_fini(&w);
    }
    packer_free(p);
}

static void what_comes_again_takes_a_few_octets(void)
{
    struct packer *p = packer_new();
    struct window w;
    weft_msg *m = message(4096, 7, 0, 26), *first = NULL, *again = NULL, *alone = NULL;

    CU_ASSERT_FATAL(window_init(&w, 12));
    CU_ASSERT_EQUAL(packer_message(p, 12, &w, m, &first), WEFT_OK);
    window_put(&w, m->payload, m->bytes);
    CU_ASSERT_EQUAL(packer_message(p, 12, &w, m, &again), WEFT_OK);
    window_forget(&w);
    CU_ASSERT_EQUAL(packer_message(p, 12, &w, m, &alone), WEFT_OK);
    CU_ASSERT_FATAL(first && again && alone);
    CU_ASSERT(again->bytes < 100 && first->bytes > 2000);
    CU_ASSERT(alone->bytes == first->bytes && memcmp(alone->payload, first->payload, first->bytes) == 0);
    weft_msg_unref(first);
    weft_msg_unref(again);
    weft_msg_unref(alone);
    weft_msg_unref(m);
    window_fini(&w);
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
        rc = packer_message(p, 12, NULL, m, &packed);
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
    CASE(messages_refer_to_those_before),        CASE(what_comes_again_takes_a_few_octets),
    CASE(without_memory_nothing_is_left),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "packer", cases, sizeof cases / sizeof cases[0]);
}
