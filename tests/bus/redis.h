/* A redis-server of the test's own, on a port and with a directory of its own; and a proxy before it that can stop
 * forwarding. Calls are bounded in time; what cannot be done ends the program. */
#ifndef WEFT_TESTS_BUS_REDIS_H
#define WEFT_TESTS_BUS_REDIS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define REDIS_EXTRA_MAX 32 /* arguments, and the NULL behind them */

/* A port that is kept: nobody else gets it, whether a server listens there just now or not. */
struct port {
    uint16_t number;
    int fd;
};
struct port port_keep(void);
void port_leave(struct port *p);

struct redis_server {
    pid_t pid;
    uint16_t port;
    struct port kept; /* unless somebody else keeps it */
    bool is_lasting;  /* what it has answered outlives its being killed */
    const char *extra[REDIS_EXTRA_MAX];
    char dir[64], url[96];
};

/* extra: further arguments, ending with NULL; may be NULL. */
void redis_start(struct redis_server *s, bool is_lasting, const char *const *extra);
void redis_start_again(struct redis_server *s);      /* at its port, with its directory */
void redis_kill(struct redis_server *s, int signal); /* and waited for, when it ends the process */
void redis_end(struct redis_server *s);
/* One inline command; the first line of the answer, in a static buffer. */
const char *redis_say(struct redis_server *s, const char *command);
bool redis_has_tls(void); /* was the installed one built with it? */

/* A Redis Cluster of the test's own: masters that share all slots evenly, and replicas, each of the master with its
 * number. All know each other when this returns. None is taken for dead while a test does not ask for that. */
#define CLUSTER_SERVERS_MAX 6

struct redis_cluster {
    struct redis_server servers[CLUSTER_SERVERS_MAX]; /* the masters first */
    char ids[CLUSTER_SERVERS_MAX][41];
    struct port kept[CLUSTER_SERVERS_MAX][3]; /* of servers to come, too: clients', each other's, and TLS */
    char ports[CLUSTER_SERVERS_MAX][8];
    const char *const *tls;
    char tls_ports[CLUSTER_SERVERS_MAX][8]; /* with tls */
    unsigned masters, count;
    char url[128]; /* of all masters, without TLS */
};
void cluster_start(struct redis_cluster *c, unsigned masters, unsigned replicas);
/* Servers that talk TLS with each other, and with clients at tls_ports; the others are for the test itself.
 * tls: certificates and keys, as arguments that end with NULL, which stay. */
void cluster_start_tls(struct redis_cluster *c, unsigned masters, const char *const *tls);
unsigned cluster_add(struct redis_cluster *c); /* a master without slots; its number */
/* A setting of all servers. */
void cluster_set(struct redis_cluster *c, const char *name, const char *value);
/* From now on a server that is away is found to be dead, soon. */
void cluster_bury_soon(struct redis_cluster *c);
/* Until the map of all of them has the text, or has it no more. */
void cluster_wait_for_map(struct redis_cluster *c, const char *text, bool has_it);
void cluster_end(struct redis_cluster *c);
/* The master that had the slot at the start. */
unsigned cluster_home(const struct redis_cluster *c, unsigned slot);
/* The slot of a topic's history. */
unsigned cluster_slot_of(const char *topic);
/* A topic of which the master has the slot: the beginning with a number behind. In a static buffer. */
const char *cluster_topic_at(const struct redis_cluster *c, unsigned master, const char *begin);
/* A part of moving a slot, for all to see: before, its keys (as many as there are then), and behind. */
void cluster_begin_move(struct redis_cluster *c, unsigned slot, unsigned from, unsigned to);
unsigned cluster_move_keys(struct redis_cluster *c, unsigned slot, unsigned from, unsigned to);
void cluster_end_move(struct redis_cluster *c, unsigned slot, unsigned from, unsigned to);
/* A whole answer to one inline command; in a static buffer. */
const char *redis_say_all(struct redis_server *s, const char *command);

struct proxy {
    uint16_t port, to;
    int listen_fd;
    atomic_bool is_cut, is_over;
    pthread_t thread;
};
void proxy_start(struct proxy *p, uint16_t to);
void proxy_end(struct proxy *p);

#endif
