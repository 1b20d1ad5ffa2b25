/* The bus through TLS to a Redis Cluster of the test's own. Its certificate is for localhost alone, and not for the
 * address where the servers are: what a server is called decides whether it is believed, wherever its name came
 * from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus_load.h"
#include "e2e_server.h"
#include "redis.h"
#include "tls_pair.h"
#include "weft/weft.h"

#define MASTERS 2
#define SKIPPED 77 /* as meson understands it */

static struct redis_cluster cluster;
static _Atomic unsigned refusals;

static weft_bus *open_at(const char *host, const char *ca, bool insecure)
{
    weft_bus_opts o = options();
    char url[64];

    o.ca_file = cert(ca);
    o.insecure = insecure;
    snprintf(url, sizeof url, "rediss://%s:%s", host, cluster.tls_ports[0]);
    return open_with(url, &o);
}

static void note_refusal(enum weft_log_level level, uint64_t conn_id, const char *text, void *app)
{
    (void)level, (void)conn_id;
    refusals += strstr(text, app) != NULL;
}

/* The bus does not come up, and says of one server why; app: what the log says. */
static void is_refused(const char *host, const char *ca, char *text)
{
    weft_bus *b;

    refusals = 0;
    weft_log_to(WEFT_LOG_INFO, note_refusal, text);
    b = open_at(host, ca, false);
    WAIT_FOR(refusals >= 3);
    CU_ASSERT(stats_of(b).state == WEFT_BUS_CONNECTING);
    weft_bus_close(b, 0);
    weft_log_to(WEFT_LOG_WARNING, NULL, NULL);
}

/* Each goes to the other master and back: ASK while its keys are there, then MOVED. */
static void move_there_and_back(const char *topic, unsigned home, weft_bus *from, struct ear *e)
{
    unsigned slot = cluster_slot_of(topic), other = 1 - home;

    for (unsigned way = 0; way < 2; way++) {
        unsigned at = way ? other : home, to = way ? home : other, before = e->items;

        cluster_begin_move(&cluster, slot, at, to);
        CU_ASSERT(cluster_move_keys(&cluster, slot, at, to) >= 2);
        say(from, topic, "through TLS, asking");
        WAIT_FOR(e->items == before + 1);
        cluster_end_move(&cluster, slot, at, to);
        say(from, topic, "through TLS, moved");
        WAIT_FOR(e->items == before + 2);
    }
}

static void all_is_well(const char *host, bool insecure)
{
    weft_bus *a = open_at(host, "ca.pem", insecure), *b = open_at(host, "ca.pem", insecure);

    WAIT_FOR(stats_of(a).state == WEFT_BUS_UP && stats_of(b).state == WEFT_BUS_UP);
    for (unsigned master = 0; master < MASTERS; master++) {
        const char *topic = cluster_topic_at(&cluster, master, "h.tls");
        struct ear *e = listen_to(b, topic);
        unsigned before;

        for (int i = 0; i < 50; i++)
            say(a, topic, "through TLS");
        WAIT_FOR(e->items == 50);
        move_there_and_back(topic, master, a, e);
        before = e->items;
        CU_ASSERT(e->gaps == 0 && before == 54);
        end_ear(e);
    }
    CU_ASSERT(stats_of(a).disconnects == 0 && stats_of(b).disconnects == 0);
    close_bus(a);
    close_bus(b);
}

static void prefer(const char *what, const char *text, bool has_it)
{
    cluster_set(&cluster, "cluster-preferred-endpoint-type", what);
    cluster_wait_for_map(&cluster, text, has_it);
}

/* --- cases --- */

static void servers_that_are_known_by_address_need_it_in_their_certificate(void)
{
    prefer("ip", "$-1\r\n", false);
    is_refused("localhost", "ca.pem", "127.0.0.1:");
}

static void names_are_not_checked_where_that_is_switched_off(void)
{
    prefer("ip", "$-1\r\n", false);
    all_is_well("localhost", true);
    all_is_well("127.0.0.1", true);
}

static void names_that_are_announced_are_checked(void)
{
    cluster_set(&cluster, "cluster-announce-hostname", "localhost");
    prefer("hostname", "$1\r\n?\r\n", false);
    all_is_well("localhost", false);
    is_refused("127.0.0.1", "ca.pem", "127.0.0.1:");
    is_refused("localhost", "stranger_ca.pem", "localhost:");
    cluster_set(&cluster, "cluster-announce-hostname", "other.test");
    cluster_wait_for_map(&cluster, "localhost", false);
    is_refused("localhost", "ca.pem", "other.test:");
}

static void the_name_that_was_asked_is_checked_where_none_is_told(void)
{
    prefer("unknown-endpoint", "$-1\r\n", true);
    all_is_well("localhost", false);
    is_refused("127.0.0.1", "ca.pem", "127.0.0.1:");
}

static const struct unit_case cases[] = {
    CASE(servers_that_are_known_by_address_need_it_in_their_certificate),
    CASE(names_are_not_checked_where_that_is_switched_off),
    CASE(names_that_are_announced_are_checked),
    CASE(the_name_that_was_asked_is_checked_where_none_is_told),
};

int main(int argc, char **argv)
{
    int rc;

    if (!redis_has_tls()) {
        printf("skipped: redis-server was built without TLS\n");
        return SKIPPED;
    }
    certs_make();
    /* To each other servers are clients too, which the certificate must say. */
    const char *tls[] = {"--tls-cert-file",
                         strdup(cert("rsa.pem")),
                         "--tls-key-file",
                         strdup(cert("rsa.key")),
                         "--tls-client-cert-file",
                         strdup(cert("client.pem")),
                         "--tls-client-key-file",
                         strdup(cert("client.key")),
                         "--tls-ca-cert-file",
                         strdup(cert("ca.pem")),
                         "--tls-auth-clients",
                         "no",
                         NULL};
    cluster_start_tls(&cluster, MASTERS, tls);
    rc = unit_main(argc, argv, "bus_cluster_tls", cases, sizeof cases / sizeof cases[0]);
    cluster_end(&cluster);
    certs_remove();
    for (size_t i = 1; i < 10; i += 2)
        free((char *)tls[i]);
    return rc;
}
