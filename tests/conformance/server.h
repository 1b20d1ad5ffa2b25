/* The listening socket of a tester that is a server, and the clients under test if it starts them. */
#ifndef WEFT_CONFORMANCE_SERVER_H
#define WEFT_CONFORMANCE_SERVER_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define COME_LIMIT_MS  60000u /* until a client connects */
#define END_LIMIT_MS   10000u /* until a client ends that is told that there are no more cases */
#define LEAVE_LIMIT_MS 2000u  /* until a client that was not started here comes once more */

struct server {
    int listener;
    char host[32]; /* ADDRESS:PORT */
    char url[48];
    pid_t *clients; /* 0: has ended */
    unsigned client_count;
    unsigned running;
    unsigned trouble; /* clients that did not end with 0 */
    sigset_t mask;    /* lets SIGCHLD in, for ppoll */
};

/* Listens on the loopback address; port 0: a free one. 0, or -1 with errno set. */
int server_open(struct server *s, unsigned port);
/* Starts count clients, "{url}" in the command replaced. 0, or -1 with errno set. */
int server_start(struct server *s, unsigned count, char *const *command);
/* A connection that waits, or -1. */
int server_accept(const struct server *s);
/* Whether somebody may still come, no case having been run for idle_ms; looks after clients that ended. */
bool server_goes_on(struct server *s, bool cases_are_over, bool somebody_is_here, uint64_t idle_ms);
/* Ends what still runs; how many clients did not end well. */
unsigned server_fini(struct server *s);

#endif
