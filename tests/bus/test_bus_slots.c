/* Slots of a Redis Cluster, and redirections. The slots were asked of a redis-server: CLUSTER KEYSLOT. */
#include <stdlib.h>
#include <string.h>

#include "api/bus_slots.h"
#include "unit.h"

static uint16_t slot_of(const char *key)
{
    return slots_of_key(key, strlen(key));
}

static void the_sum_is_crc16_xmodem(void)
{
    CU_ASSERT_EQUAL(slots_crc16("123456789", 9), 0x31C3);
    CU_ASSERT_EQUAL(slots_crc16("", 0), 0);
}

static void keys_are_in_the_slots_that_redis_says(void)
{
    CU_ASSERT_EQUAL(slot_of("foo"), 12182);
    CU_ASSERT_EQUAL(slot_of("somekey"), 11058);
    CU_ASSERT_EQUAL(slot_of("weft:c:{t:foo}"), 16212);
    CU_ASSERT_EQUAL(slot_of(""), 0);
}

static void a_tag_counts_alone_unless_it_is_empty_or_open(void)
{
    CU_ASSERT_EQUAL(slot_of("{user1000}.following"), slot_of("user1000"));
    CU_ASSERT_EQUAL(slot_of("foo{bar}{zap}"), slot_of("bar"));
    CU_ASSERT_EQUAL(slot_of("foo{{bar}}zap"), slot_of("{bar"));
    CU_ASSERT_EQUAL(slot_of("foo{}{bar}"), slots_crc16("foo{}{bar}", 10) % SLOTS);
    CU_ASSERT_EQUAL(slot_of("foo{bar"), slots_crc16("foo{bar", 7) % SLOTS);
    CU_ASSERT_EQUAL(slot_of("a}b{c}"), slot_of("c"));
}

static void every_slot_has_a_tag_that_is_in_it(void)
{
    uint32_t *tags = calloc(SLOTS, sizeof *tags);
    unsigned wrong = 0;

    slots_make_tags(tags);
    for (unsigned slot = 0; slot < SLOTS; slot++) {
        char digits[16];
        wrong +=
            slots_crc16(digits, (size_t)snprintf(digits, sizeof digits, "%u", tags[slot])) % SLOTS != slot;
    }
    CU_ASSERT_EQUAL(wrong, 0);
    free(tags);
}

static void redirections_say_slot_host_and_port(void)
{
    struct slots_reply r;

    slots_read_error(&r, "MOVED 3999 127.0.0.1:6381");
    CU_ASSERT(r.what == REFUSED_MOVED && r.slot == 3999 && r.port == 6381 &&
              strcmp(r.host, "127.0.0.1") == 0);
    slots_read_error(&r, "ASK 16383 fe80::1:7000");
    CU_ASSERT(r.what == REFUSED_ASK && r.slot == 16383 && r.port == 7000 && strcmp(r.host, "fe80::1") == 0);
    slots_read_error(&r, "MOVED 1 :65535");
    CU_ASSERT(r.what == REFUSED_MOVED && r.port == 65535 && r.host[0] == '\0');
    slots_read_error(&r, "ASK 2 ?:6379");
    CU_ASSERT(r.what == REFUSED_ASK && r.port == 6379 && strcmp(r.host, SLOT_HOST_UNNAMED) == 0);
}

static void what_is_no_proper_redirection_is_an_error_like_any_other(void)
{
    static const char *const wrong[] = {"MOVED",
                                        "MOVED ",
                                        "MOVED x h:1",
                                        "MOVED 16384 h:1",
                                        "MOVED 1",
                                        "MOVED 1 ",
                                        "MOVED 1 h",
                                        "MOVED 1 h:",
                                        "MOVED 1 h:0",
                                        "MOVED 1 h:65536",
                                        "MOVED 1 h:x",
                                        "MOVED -1 h:1",
                                        "ASK 99999999999 h:1",
                                        "ASK",
                                        "WRONGTYPE x",
                                        ""};
    char text[2 * SLOT_HOST_BYTES_MAX];
    struct slots_reply r;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        slots_read_error(&r, wrong[i]);
        CU_ASSERT_EQUAL(r.what, REFUSED_FOR_GOOD);
    }
    memset(text, 'h', sizeof text);
    memcpy(text, "ASK 1 ", 6);
    strcpy(text + 6 + SLOT_HOST_BYTES_MAX, ":1");
    slots_read_error(&r, text);
    CU_ASSERT_EQUAL(r.what, REFUSED_ASK);
    strcpy(text + 7 + SLOT_HOST_BYTES_MAX, ":1");
    text[6 + SLOT_HOST_BYTES_MAX] = 'h';
    slots_read_error(&r, text);
    CU_ASSERT_EQUAL(r.what, REFUSED_FOR_GOOD);
}

static void other_errors_say_whether_it_helps_to_wait_or_to_go(void)
{
    struct slots_reply r;

    slots_read_error(&r, "OOM command not allowed when used memory > 'maxmemory'.");
    CU_ASSERT_EQUAL(r.what, REFUSED_FOR_NOW);
    slots_read_error(&r, "TRYAGAIN Multiple keys request during rehashing of slot");
    CU_ASSERT_EQUAL(r.what, REFUSED_WHILE_MOVING);
    slots_read_error(&r, "CLUSTERDOWN Hash slot not served");
    CU_ASSERT_EQUAL(r.what, REFUSED_BY_CLUSTER);
    slots_read_error(&r, "LOADING Redis is loading the dataset in memory");
    CU_ASSERT_EQUAL(r.what, REFUSED_HERE);
}

static void only_some_errors_say_that_there_is_no_cluster(void)
{
    CU_ASSERT(slots_means_no_cluster("ERR This instance has cluster support disabled"));
    CU_ASSERT(slots_means_no_cluster("ERR unknown command 'CLUSTER', with args beginning with: 'SLOTS' "));
    CU_ASSERT(
        slots_means_no_cluster("NOPERM User app has no permissions to run the 'cluster|slots' command"));
    CU_ASSERT(!slots_means_no_cluster("ERR max number of clients reached"));
    CU_ASSERT(!slots_means_no_cluster("DENIED Redis is running in protected mode"));
    CU_ASSERT(!slots_means_no_cluster("NOAUTH Authentication required."));
    CU_ASSERT(!slots_means_no_cluster("ERR"));
    CU_ASSERT(!slots_means_no_cluster(""));
}

static const struct unit_case cases[] = {
    CASE(the_sum_is_crc16_xmodem),
    CASE(keys_are_in_the_slots_that_redis_says),
    CASE(a_tag_counts_alone_unless_it_is_empty_or_open),
    CASE(every_slot_has_a_tag_that_is_in_it),
    CASE(redirections_say_slot_host_and_port),
    CASE(what_is_no_proper_redirection_is_an_error_like_any_other),
    CASE(only_some_errors_say_that_there_is_no_cluster),
    CASE(other_errors_say_whether_it_helps_to_wait_or_to_go),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "bus_slots", cases, sizeof cases / sizeof cases[0]);
}
