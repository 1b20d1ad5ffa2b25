/* Two networks of the test's own, with a cable between them that can be pulled: the process itself moves into one,
 * what is started with network_run_far is in the other. They have no names, so they end with the last process in
 * them, whatever happens; nothing of the machine's own network is touched. */
#ifndef WEFT_TESTS_BUS_NETWORK_H
#define WEFT_TESTS_BUS_NETWORK_H

#include <stdbool.h>
#include <sys/types.h>

#define NETWORK_NEAR "10.77.0.1"
#define NETWORK_FAR  "10.77.0.2"

/* Before there are threads. NULL: both are there; else why this machine does not permit it. */
const char *network_begin(void);
void network_end(void);
/* Its standard input and output are these descriptors, when they are not negative. It is killed with this
 * process. */
pid_t network_run_far(const char *const *args, int in_fd, int out_fd);
/* Pulled, packets vanish in both directions, and nobody is told. */
bool network_cable(bool is_in);

#endif
