/* Where the masters of a cluster are, as they say: by address, by name, by a name they do not have, or not at all.
 * And one that nobody has told of. Plain connections; what TLS makes of names is test_bus_cluster_tls.c. */
#include <stdio.h>
#include <string.h>

#include "api/bus_slots.h"
#include "bus_load.h"
#include "e2e_server.h"
#include "redis.h"
#include "weft/weft.h"

#define MASTERS 2

static struct redis_cluster cluster;

static unsigned slot_of(const char *topic)
{
    char key[300];

    return slots_of_key(key, (size_t)snprintf(key, sizeof key, "weft:s:{t:%s}", topic));
}

/* A topic with history of which the master has the slot. In a static buffer. */
static const char *topic_at(unsigned master)
{
    static char topic[64];

    for (unsigned i = 0; i == 0 || cluster_home(&cluster, slot_of(topic)) != master; i++)
        snprintf(topic, sizeof topic, "h.place%u", i);
    return topic;
}

static void begin_again(void)
{
    for (unsigned i = 0; i < cluster.count; i++)
        redis_say(&cluster.servers[i], "FLUSHALL");
}

/* By way of one server only, which names the others; while a slot's keys go from the first to another one and back
 * (ASK), and the slot itself (MOVED). */
static void go_on_while_a_slot_moves_to(const char *url, unsigned other)
{
    const char *topic = topic_at(0);
    unsigned slot = slot_of(topic), before;
    struct load l;

    begin_again();
    begin_load(&l, url, topic, load_count() / 4, 0);
    WAIT_FOR(l.ear->items > 100);
    for (unsigned way = 0; way < 2; way++) {
        unsigned from = way ? other : 0, to = way ? 0 : other;

        cluster_begin_move(&cluster, slot, from, to);
        cluster_move_keys(&cluster, slot, from, to);
        before = l.ear->items;
        WAIT_FOR(l.ear->items > before + 50);
        cluster_end_move(&cluster, slot, from, to);
        before = l.ear->items;
        WAIT_FOR(l.ear->items > before + 50);
    }
    for (unsigned i = 0; i < 3; i++)
        WAIT_FOR(stats_of(l.bus[i]).state == WEFT_BUS_UP);
    end_load(&l);
}

static void go_on_with_one_server_of_the_url(const char *host)
{
    char url[64];

    snprintf(url, sizeof url, "redis://%s:%u", host, cluster.servers[0].port);
    go_on_while_a_slot_moves_to(url, 1);
}

/* --- cases --- */

static void names_that_are_announced_are_used(void)
{
    cluster_set(&cluster, "cluster-announce-hostname", "localhost");
    cluster_set(&cluster, "cluster-preferred-endpoint-type", "hostname");
    cluster_wait_for_map(&cluster, "$1\r\n?\r\n", false);
    go_on_with_one_server_of_the_url("127.0.0.1");
}

static void who_has_no_name_is_found_at_its_address(void)
{
    cluster_set(&cluster, "cluster-announce-hostname", "\"\"");
    cluster_set(&cluster, "cluster-preferred-endpoint-type", "hostname");
    cluster_wait_for_map(&cluster, "localhost", false);
    go_on_with_one_server_of_the_url("localhost");
}

static void the_host_that_was_asked_is_meant_where_none_is_told(void)
{
    cluster_set(&cluster, "cluster-preferred-endpoint-type", "unknown-endpoint");
    cluster_wait_for_map(&cluster, "$-1\r\n", true);
    go_on_with_one_server_of_the_url("localhost");
    go_on_with_one_server_of_the_url("127.0.0.1");
}

static void what_servers_are_called_may_change(void)
{
    const char *topic = topic_at(1);
    char url[64];
    unsigned before;
    struct load l;

    cluster_set(&cluster, "cluster-preferred-endpoint-type", "ip");
    begin_again();
    snprintf(url, sizeof url, "redis://127.0.0.1:%u", cluster.servers[0].port);
    begin_load(&l, url, topic, load_count() / 2, 0);
    WAIT_FOR(l.ear->items > 100);
    cluster_set(&cluster, "cluster-announce-hostname", "localhost");
    cluster_set(&cluster, "cluster-preferred-endpoint-type", "hostname");
    cluster_wait_for_map(&cluster, "$1\r\n?\r\n", false);
    for (unsigned i = 0; i < cluster.count; i++) /* the map is asked for when connections break */
        redis_say(&cluster.servers[i], "CLIENT KILL TYPE normal SKIPME yes");
    before = l.ear->items;
    WAIT_FOR(l.ear->items > before + 50);
    for (unsigned i = 0; i < 3; i++)
        WAIT_FOR(stats_of(l.bus[i]).state == WEFT_BUS_UP);
    end_load(&l);
    cluster_set(&cluster, "cluster-preferred-endpoint-type", "ip");
}

/* As when a cluster grows: it has no slot until the first has moved there, so no map has it. */
static void a_slot_may_move_to_a_master_of_which_no_map_tells(void)
{
    unsigned fresh = cluster_add(&cluster);

    go_on_while_a_slot_moves_to(cluster.url, fresh);
}

static const struct unit_case cases[] = {
    CASE(names_that_are_announced_are_used),
    CASE(who_has_no_name_is_found_at_its_address),
    CASE(the_host_that_was_asked_is_meant_where_none_is_told),
    CASE(what_servers_are_called_may_change),
    CASE(a_slot_may_move_to_a_master_of_which_no_map_tells),
};

int main(int argc, char **argv)
{
    int rc;

    cluster_start(&cluster, MASTERS, 0);
    rc = unit_main(argc, argv, "bus_places", cases, sizeof cases / sizeof cases[0]);
    cluster_end(&cluster);
    return rc;
}
