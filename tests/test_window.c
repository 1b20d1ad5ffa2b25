/* What the next message may refer to: the last bytes of those before. */
#include <string.h>

#include "base/mem.h"
#include "proto/window.h"
#include "unit.h"

static uint8_t octet(size_t i)
{
    return (uint8_t)(i * 2654435761u >> 24);
}

/* Pieces of each length one behind the other, and at each moment the end of what was put. */
static void it_holds_the_end_of_what_was_put(void)
{
    static uint8_t all[40000];
    struct window w;

    for (size_t i = 0; i < sizeof all; i++)
        all[i] = octet(i);
    for (size_t step = 0; step <= 1100; step += step < 20 || (step > 500 && step < 530) ? 1 : 29) {
        CU_ASSERT_FATAL(window_init(&w, 9));
        CU_ASSERT(w.room == 512 && w.bytes == 0);
        for (size_t n = 0, turns = 0; n + step <= sizeof all && turns < 600; n += step, turns++) {
            window_put(&w, all + n, step);
            CU_ASSERT_EQUAL_FATAL(w.bytes, n + step < 512 ? n + step : 512);
            CU_ASSERT_FATAL(memcmp(w.octets, all + n + step - w.bytes, w.bytes) == 0);
        }
        window_fini(&w);
    }
}

static void what_is_forgotten_does_not_come_back(void)
{
    struct window w;

    CU_ASSERT_FATAL(window_init(&w, 9));
    window_put(&w, (const uint8_t *)"warp", 4);
    window_forget(&w);
    CU_ASSERT_EQUAL(w.bytes, 0);
    window_put(&w, (const uint8_t *)"weft", 4);
    CU_ASSERT(w.bytes == 4 && memcmp(w.octets, "weft", 4) == 0);
    window_fini(&w);
    CU_ASSERT(!w.octets && !w.bytes && !w.room);
    window_fini(&w);
}

static void without_memory_there_is_none(void)
{
    struct window w;

    mem_fail_at(1);
    CU_ASSERT_FALSE(window_init(&w, 15));
    mem_fail_at(0);
    CU_ASSERT(!w.octets && !w.room);
    window_put(&w, (const uint8_t *)"weft", 4);
    CU_ASSERT_EQUAL(w.bytes, 0);
    window_fini(&w);
}

static const struct unit_case cases[] = {
    CASE(it_holds_the_end_of_what_was_put),
    CASE(what_is_forgotten_does_not_come_back),
    CASE(without_memory_there_is_none),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "window", cases, sizeof cases / sizeof cases[0]);
}
