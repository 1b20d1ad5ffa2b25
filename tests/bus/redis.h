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
