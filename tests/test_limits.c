/* Buckets, networks and the table of addresses; the cases own the clock. */
#include "core/limits.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "unit.h"
#include "weft/error.h"

#define SECOND UINT64_C(1000000000)

static struct sock_peer peer_at(const char *text)
{
    struct sock_peer peer = {.port = 1};

    if (inet_pton(AF_INET, text, peer.address) == 1)
        peer.family = AF_INET;
    else if (inet_pton(AF_INET6, text, peer.address) == 1)
        peer.family = AF_INET6;
    else
        peer.family = AF_UNIX;
    return peer;
}

static void a_full_bucket_gives_its_burst_and_then_its_rate(void)
{
    struct rate r = rate_of(10, 5);
    struct bucket b = {0};
    uint64_t now = 100 * SECOND;

    for (int i = 0; i < 5; i++)
        CU_ASSERT_TRUE(bucket_take(&b, &r, now));
    CU_ASSERT_FALSE(bucket_take(&b, &r, now));
    CU_ASSERT_EQUAL(bucket_wait_ns(&b, &r, now), SECOND / 10);
    CU_ASSERT_FALSE(bucket_take(&b, &r, now + SECOND / 10 - 1));
    CU_ASSERT_TRUE(bucket_take(&b, &r, now + SECOND / 10));
    CU_ASSERT_FALSE(bucket_take(&b, &r, now + SECOND / 10));
    for (int i = 0; i < 5; i++) /* full again, and no fuller */
        CU_ASSERT_TRUE(bucket_take(&b, &r, now + 1000 * SECOND));
    CU_ASSERT_FALSE(bucket_take(&b, &r, now + 1000 * SECOND));
}

static void in_the_long_run_a_bucket_gives_exactly_its_rate(void)
{
    struct rate r = rate_of(250, 50);
    struct bucket b = {0};
    unsigned given = 0;

    for (uint64_t now = SECOND; now < 11 * SECOND; now += SECOND / 10000)
        given += bucket_take(&b, &r, now);
    CU_ASSERT_EQUAL(given, 50 + 10 * 250 - 1); /* the last one comes at the end of the tenth second */
}

static void what_is_owed_has_to_be_waited_for(void)
{
    struct rate r = rate_of(10, 1);
    struct bucket b = {0};

    for (int i = 0; i < 7; i++)
        bucket_owe(&b, &r, SECOND);
    CU_ASSERT_EQUAL(bucket_wait_ns(&b, &r, SECOND), 7 * SECOND / 10);
    CU_ASSERT_EQUAL(bucket_wait_ns(&b, &r, SECOND + SECOND / 2), 2 * SECOND / 10);
    CU_ASSERT_EQUAL(bucket_wait_ns(&b, &r, SECOND + 7 * SECOND / 10), 0);
}

static bool holds(const char *network, const char *address)
{
    struct sock_peer peer = peer_at(address);
    struct network n;

    return network_parse(&n, network) && network_holds(&n, &peer);
}

static void a_network_holds_what_begins_with_its_bits(void)
{
    CU_ASSERT_TRUE(holds("10.0.0.0/8", "10.255.1.2"));
    CU_ASSERT_FALSE(holds("10.0.0.0/8", "11.0.0.0"));
    CU_ASSERT_TRUE(holds("192.168.4.0/22", "192.168.7.255"));
    CU_ASSERT_FALSE(holds("192.168.4.0/22", "192.168.8.0"));
    CU_ASSERT_TRUE(holds("127.0.0.1", "127.0.0.1"));
    CU_ASSERT_FALSE(holds("127.0.0.1", "127.0.0.2"));
    CU_ASSERT_TRUE(holds("10.0.0.0/8", "::ffff:10.1.1.1"));
    CU_ASSERT_TRUE(holds("0.0.0.0/0", "1.2.3.4"));
    CU_ASSERT_FALSE(holds("0.0.0.0/0", "2001:db8::1"));
    CU_ASSERT_TRUE(holds("::/0", "1.2.3.4"));
    CU_ASSERT_TRUE(holds("2001:db8::/33", "2001:db8:7fff::1"));
    CU_ASSERT_FALSE(holds("2001:db8::/33", "2001:db8:8000::1"));
    CU_ASSERT_TRUE(holds("::1", "::1"));
    CU_ASSERT_FALSE(holds("::/0", "unix"));
}

static void what_is_no_network_is_refused(void)
{
    static const char *const bad[] = {"",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/8 ",
                                      "10.0.0/8",
                                      "::/129",
                                      "::1/ 8",
                                      "example.org",
                                      "/8",
                                      "::1/0000",
                                      "1.2.3.4/8/8",
                                      "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111"};
    struct network n;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CU_ASSERT_FALSE(network_parse(&n, bad[i]));
}

static struct limits *table(uint32_t connections_max, struct rate handshakes)
{
    struct limits_config config = {
        .connections_max = connections_max, .handshakes = handshakes, .entries = 10};
    struct limits *l = NULL;

    CU_ASSERT_EQUAL_FATAL(limits_new(&l, &config), WEFT_OK);
    return l;
}

static enum limits_verdict enter(struct limits *l, const char *address, uint64_t now)
{
    struct sock_peer peer = peer_at(address);

    return limits_enter(l, &peer, now);
}

static void leave(struct limits *l, const char *address, uint64_t now)
{
    struct sock_peer peer = peer_at(address);

    limits_leave(l, &peer, now);
}

static void an_address_has_so_many_connections_and_others_have_theirs(void)
{
    struct limits *l = table(2, rate_of(0, 0));

    CU_ASSERT_EQUAL(enter(l, "10.0.0.1", 1), LIMITS_OK);
    CU_ASSERT_EQUAL(enter(l, "10.0.0.1", 1), LIMITS_OK);
    CU_ASSERT_EQUAL(enter(l, "10.0.0.1", 1), LIMITS_CONNECTIONS);
    CU_ASSERT_EQUAL(enter(l, "::ffff:10.0.0.1", 1), LIMITS_CONNECTIONS); /* the same one */
    CU_ASSERT_EQUAL(enter(l, "10.0.0.2", 1), LIMITS_OK);
    leave(l, "::ffff:10.0.0.1", 2);
    CU_ASSERT_EQUAL(enter(l, "10.0.0.1", 2), LIMITS_OK);
    CU_ASSERT_EQUAL(enter(l, "10.0.0.1", 2), LIMITS_CONNECTIONS);
    limits_free(l);
}

static void the_first_half_of_an_ipv6_address_counts(void)
{
    struct limits *l = table(1, rate_of(0, 0));

    CU_ASSERT_EQUAL(enter(l, "2001:db8:0:1::1", 1), LIMITS_OK);
    CU_ASSERT_EQUAL(enter(l, "2001:db8:0:1:ffff:ffff:ffff:ffff", 1), LIMITS_CONNECTIONS);
    CU_ASSERT_EQUAL(enter(l, "2001:db8:0:2::1", 1), LIMITS_OK);
    leave(l, "2001:db8:0:1::77", 1);
    CU_ASSERT_EQUAL(enter(l, "2001:db8:0:1::2", 1), LIMITS_OK);
    limits_free(l);
}

static void unix_sockets_and_named_networks_are_not_limited(void)
{
    struct network proxies[2];
    struct limits_config config = {
        .connections_max = 1, .unlimited = proxies, .unlimited_count = 2, .handshakes = rate_of(1, 1)};
    struct limits *l;

    CU_ASSERT_TRUE(network_parse(&proxies[0], "10.1.0.0/16") && network_parse(&proxies[1], "fd00::/8"));
    CU_ASSERT_EQUAL_FATAL(limits_new(&l, &config), WEFT_OK);
    for (int i = 0; i < 50; i++) {
        CU_ASSERT_EQUAL(enter(l, "unix", 1), LIMITS_OK);
        CU_ASSERT_EQUAL(enter(l, "10.1.2.3", 1), LIMITS_OK);
        CU_ASSERT_EQUAL(enter(l, "fd12::1", 1), LIMITS_OK);
    }
    CU_ASSERT_EQUAL(limits_entries(l), 0);
    leave(l, "unix", 1);
    leave(l, "10.1.2.3", 1);
    CU_ASSERT_EQUAL(enter(l, "10.2.0.0", 1), LIMITS_OK);
    CU_ASSERT_EQUAL(enter(l, "10.2.0.0", 1), LIMITS_CONNECTIONS);
    limits_free(l);
}

static void who_comes_too_often_has_to_wait_also_when_it_left_between(void)
{
    struct limits *l = table(0, rate_of(2, 3));
    uint64_t now = 50 * SECOND;

    for (int i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(enter(l, "10.0.0.1", now), LIMITS_OK);
        leave(l, "10.0.0.1", now);
    }
    CU_ASSERT_EQUAL(enter(l, "10.0.0.1", now), LIMITS_RATE);
    CU_ASSERT_EQUAL(enter(l, "10.0.0.2", now), LIMITS_OK);
    CU_ASSERT_EQUAL(enter(l, "10.0.0.1", now + SECOND / 2 - 1), LIMITS_RATE);
    CU_ASSERT_EQUAL(enter(l, "10.0.0.1", now + SECOND / 2), LIMITS_OK);
    CU_ASSERT_EQUAL(enter(l, "10.0.0.1", now + SECOND / 2), LIMITS_RATE);
    limits_free(l);
}

static void entries_without_a_connection_go_when_they_say_nothing(void)
{
    struct limits *l = table(100, rate_of(1, 1));
    char address[32];

    for (unsigned i = 0; i < 1000; i++) {
        snprintf(address, sizeof address, "10.0.%u.%u", i / 256, i % 256);
        CU_ASSERT_EQUAL(enter(l, address, SECOND), LIMITS_OK);
        leave(l, address, SECOND);
    }
    CU_ASSERT_EQUAL(limits_entries(l), 1000);
    for (unsigned i = 0; i < 500; i++) {
        CU_ASSERT_EQUAL(enter(l, "10.9.9.9", (3 + i) * SECOND), LIMITS_OK);
        leave(l, "10.9.9.9", (3 + i) * SECOND);
    }
    CU_ASSERT(limits_entries(l) <= 1);
    limits_free(l);
}

static void a_flood_of_addresses_keeps_no_more_than_the_bound(void)
{
    struct limits *l = table(4, rate_of(1, 1));
    uint64_t now = SECOND;

    CU_ASSERT_EQUAL(enter(l, "10.0.0.1", now), LIMITS_OK);
    for (uint32_t i = 0; i < LIMITS_IDLE_MAX + 1000; i++) {
        struct sock_peer peer = {.family = AF_INET6, .address = {0x20, 1}};
        memcpy(peer.address + 2, &i, sizeof i);
        CU_ASSERT_EQUAL(limits_enter(l, &peer, now), LIMITS_OK);
        limits_leave(l, &peer, now);
    }
    CU_ASSERT(limits_entries(l) <= LIMITS_IDLE_MAX + 2);
    for (int i = 1; i < 4; i++) /* who stayed was not forgotten */
        CU_ASSERT_EQUAL(enter(l, "10.0.0.1", now += SECOND), LIMITS_OK);
    CU_ASSERT_EQUAL(enter(l, "10.0.0.1", now + SECOND), LIMITS_CONNECTIONS);
    limits_free(l);
}

static void without_memory_nobody_comes_in(void)
{
    struct limits_config config = {.connections_max = 1};
    struct limits *l = NULL;

    for (uint64_t n = 1; n <= 2; n++) {
        mem_fail_at(n);
        CU_ASSERT_EQUAL(limits_new(&l, &config), WEFT_E_NOMEM);
    }
    mem_fail_at(0);
    l = table(1, rate_of(0, 0));
    mem_fail_at(1);
    CU_ASSERT_EQUAL(enter(l, "10.0.0.1", 1), LIMITS_NO_MEMORY);
    mem_fail_at(0);
    CU_ASSERT_EQUAL(enter(l, "10.0.0.1", 1), LIMITS_OK);
    limits_free(l);
}

static void *come_and_go(void *arg)
{
    for (unsigned i = 0; i < (unit_is_slow() ? 2000 : 20000); i++) {
        char address[32];
        snprintf(address, sizeof address, "10.0.0.%u", i % 7);
        if (enter(arg, address, SECOND) == LIMITS_OK)
            leave(arg, address, SECOND);
    }
    return NULL;
}

static void threads_that_come_and_go_leave_nothing_behind(void)
{
    struct limits *l = table(3, rate_of(0, 0));
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(pthread_create(&threads[i], NULL, come_and_go, l), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(enter(l, "10.0.0.3", SECOND), LIMITS_OK);
    CU_ASSERT_EQUAL(enter(l, "10.0.0.3", SECOND), LIMITS_CONNECTIONS);
    limits_free(l);
}

static const struct unit_case cases[] = {
    CASE(a_full_bucket_gives_its_burst_and_then_its_rate),
    CASE(in_the_long_run_a_bucket_gives_exactly_its_rate),
    CASE(what_is_owed_has_to_be_waited_for),
    CASE(a_network_holds_what_begins_with_its_bits),
    CASE(what_is_no_network_is_refused),
    CASE(an_address_has_so_many_connections_and_others_have_theirs),
    CASE(the_first_half_of_an_ipv6_address_counts),
    CASE(unix_sockets_and_named_networks_are_not_limited),
    CASE(who_comes_too_often_has_to_wait_also_when_it_left_between),
    CASE(entries_without_a_connection_go_when_they_say_nothing),
    CASE(a_flood_of_addresses_keeps_no_more_than_the_bound),
    CASE(without_memory_nobody_comes_in),
    CASE(threads_that_come_and_go_leave_nothing_behind),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "limits", cases, sizeof cases / sizeof cases[0]);
}
