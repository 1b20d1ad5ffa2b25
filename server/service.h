/* The service manager that started the program, if one did: the sockets that it hands over, and what it is
 * told. It is systemd, or who speaks as systemd does; by libsystemd (sd_listen_fds(3), sd_notify(3)).
 *
 * Without a manager all this does nothing. Built without libsystemd (service_none.c), handed-over sockets are
 * an error, and a manager that waits for word is told of in the log. All calls are the main thread's, and
 * the first one comes before any other thread is there: it takes what it has read from the environment. */
#ifndef WEFT_SERVER_SERVICE_H
#define WEFT_SERVER_SERVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct service_sockets {
    int first; /* they follow each other */
    int count;
    char **names; /* FileDescriptorName= of each; NULL when count is 0 */
};

/* The sockets for this process (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES).
 *
 * to       out; service_sockets_fini frees the names. Nobody has looked at what kind the descriptors are
 * Returns  0, or the status to exit with after a complaint */
int service_sockets_take(struct service_sockets *to, const char *program, FILE *err);
void service_sockets_fini(struct service_sockets *sockets);

/* Does a manager wait for word (NOTIFY_SOCKET)? */
bool service_is_managed(void);

void service_ready(void); /* also when a reload is over */
void service_reloading(void);
void service_stopping(void);

/* How often service_alive has to be called at least; 0: nobody watches (WATCHDOG_USEC). */
uint64_t service_alive_interval_us(void);
void service_alive(void);

#endif
