/* A redis-server of the test's own, on a free port, with a directory of its own; and a proxy before it that can stop
 * forwarding. Calls are bounded in time; what cannot be done ends the program. */
#ifndef WEFT_TESTS_BUS_REDIS_H
#define WEFT_TESTS_BUS_REDIS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct redis_server {
    pid_t pid;
    uint16_t port;
    bool is_lasting; /* appendonly */
    const char *extra[16];
    char dir[64], url[96];
};

/* extra: further arguments, ending with NULL; may be NULL. */
void redis_start(struct redis_server *s, bool is_lasting, const char *const *extra);
void redis_start_again(struct redis_server *s);      /* at its port, with its directory */
void redis_kill(struct redis_server *s, int signal); /* and waited for, when it ends the process */
void redis_end(struct redis_server *s);
/* One inline command; the first line of the answer, in a static buffer. */
const char *redis_say(struct redis_server *s, const char *command);

/* A Redis Cluster of the test's own: masters that share all slots evenly, and replicas, each of the master with its
 * number. All know each other when this returns. */
#define CLUSTER_SERVERS_MAX 6

struct redis_cluster {
    struct redis_server servers[CLUSTER_SERVERS_MAX]; /* the masters first */
    char ids[CLUSTER_SERVERS_MAX][41];
    char ports[CLUSTER_SERVERS_MAX][8];
    unsigned masters, count;
    char url[128]; /* of all masters */
};
void cluster_start(struct redis_cluster *c, unsigned masters, unsigned replicas);
void cluster_end(struct redis_cluster *c);
/* The master that had the slot at the start. */
unsigned cluster_home(const struct redis_cluster *c, unsigned slot);
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

uint16_t free_port(void);

#endif
