/* A server that says it is Redis, for answers that a real one does not give: each connection has a thread, which
 * takes commands one by one. What a test does not answer itself is answered as by a Redis without a cluster and
 * without data. */
#ifndef WEFT_TESTS_BUS_FAKE_H
#define WEFT_TESTS_BUS_FAKE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FAKE_CONNS_MAX 256
#define FAKE_ARGS_MAX  24

struct fake_command {
    struct fake *fake;
    int fd;
    unsigned conn; /* the number of its connection, from 0 */
    unsigned count;
    char *args[FAKE_ARGS_MAX]; /* each with a NUL behind it */
};

enum fake_answer { FAKE_NOT_MINE, FAKE_ANSWERED, FAKE_CLOSE };

struct fake {
    uint16_t port;
    char url[64];
    int listen_fd, stop_fd;
    enum fake_answer (*answer)(const struct fake_command *c,
                               void *arg); /* on the connection's thread; NULL: none */
    void *arg;
    _Atomic unsigned conns;
    pthread_t thread, threads[FAKE_CONNS_MAX];
};

void fake_start(struct fake *f, enum fake_answer (*answer)(const struct fake_command *c, void *arg),
                void *arg);
void fake_end(struct fake *f);
/* False: it is over. */
bool fake_say(const struct fake_command *c, const char *text);
/* A map of a cluster of one, all of whose slots are at this port. */
void fake_say_map(const struct fake_command *c, uint16_t port);
bool fake_is(const struct fake_command *c, const char *name);
bool fake_is_fill(const struct fake_command *c);

#endif
