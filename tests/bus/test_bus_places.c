/* Where the masters of a cluster are, as they say: by address, by name, by a name they do not have, or not at all.
 * And one that nobody has told of. Plain connections; what TLS makes of names is test_bus_cluster_tls.c. */
#include <stdio.h>
#include <string.h>

#include "bus_load.h"
#include "e2e_server.h"
#include "redis.h"
#include "weft/weft.h"

#define MASTERS 2
#define SPEECH  50

static struct redis_cluster cluster;

/* Two that write and one that listens, by buses of their own. */
struct talk {
    weft_bus *speakers[2], *bus;
    struct ear *ear;
    const char *topic;
    unsigned said;
};

static void begin_talk(struct talk *k, const char *url, const char *topic)
{
    for (unsigned i = 0; i < cluster.count; i++)
        redis_say(&cluster.servers[i], "FLUSHALL");
    *k = (struct talk){.topic = topic, .bus = open_bus(url)};
    for (unsigned i = 0; i < 2; i++)
        k->speakers[i] = open_bus(url);
    k->ear = listen_to(k->bus, topic);
}

/* Some more of each, not waited for. */
static void speak(struct talk *k)
{
    char text[32];

    for (unsigned n = 0; n < SPEECH; n++, k->said++) {
        for (unsigned i = 0; i < 2; i++) {
            snprintf(text, sizeof text, "%u %u", i, k->said);
            say(k->speakers[i], k->topic, text);
        }
    }
}

static void all_is_heard(struct talk *k)
{
    WAIT_FOR(k->ear->next[0] == k->said && k->ear->next[1] == k->said);
}

static void end_talk(struct talk *k)
{
    all_is_heard(k);
    WAIT_FOR(stats_of(k->bus).state == WEFT_BUS_UP);
    for (unsigned i = 0; i < 2; i++) {
        WAIT_FOR(stats_of(k->speakers[i]).state == WEFT_BUS_UP);
        CU_ASSERT_EQUAL(stats_of(k->speakers[i]).dropped_lost, 0);
        close_bus(k->speakers[i]);
    }
    CU_ASSERT(k->ear->faults == 0 && k->ear->gaps == 0 && k->ear->items == 2 * k->said);
    end_ear(k->ear);
    close_bus(k->bus);
}

/* While a slot's keys go from the first to another one and back (ASK), and the slot itself (MOVED). Half of it is said
 * while that happens, and waited for behind it. */
static void go_on_while_a_slot_moves_to(const char *url, unsigned other)
{
    unsigned slot = cluster_slot_of(cluster_topic_at(&cluster, 0, "h.place"));
    struct talk k;

    begin_talk(&k, url, cluster_topic_at(&cluster, 0, "h.place"));
    speak(&k);
    all_is_heard(&k);
    for (unsigned way = 0; way < 2; way++) {
        unsigned from = way ? other : 0, to = way ? 0 : other;

        speak(&k);
        cluster_begin_move(&cluster, slot, from, to);
        speak(&k);
        cluster_move_keys(&cluster, slot, from, to);
        speak(&k);
        all_is_heard(&k);
        speak(&k);
        cluster_end_move(&cluster, slot, from, to);
        speak(&k);
        all_is_heard(&k);
    }
    end_talk(&k);
}

/* Which has to say where the others are. */
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
    char url[64];
    struct talk k;

    cluster_set(&cluster, "cluster-preferred-endpoint-type", "ip");
    snprintf(url, sizeof url, "redis://127.0.0.1:%u", cluster.servers[0].port);
    begin_talk(&k, url, cluster_topic_at(&cluster, 1, "h.place"));
    speak(&k);
    cluster_set(&cluster, "cluster-announce-hostname", "localhost");
    cluster_set(&cluster, "cluster-preferred-endpoint-type", "hostname");
    cluster_wait_for_map(&cluster, "$1\r\n?\r\n", false);
    all_is_heard(&k);
    speak(&k);
    for (unsigned i = 0; i < cluster.count; i++) /* the map is asked for when connections break */
        redis_say(&cluster.servers[i], "CLIENT KILL TYPE normal SKIPME yes");
    speak(&k);
    end_talk(&k);
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
