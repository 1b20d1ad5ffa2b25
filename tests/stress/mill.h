/* One shape of the queues between threads, without a socket: inbox, ring, park, stack and wake under the
 * same protocols as in core/io_thread.c, core/pool.c and core/mailbox.c, with as many hand-overs as the
 * processors can do. Each I/O thread keeps the messages of its connections going round: inbox, worker,
 * outbox, home. Senders push messages of their own to any connection and get them back. Returns the
 * hand-overs.
 *
 * Each message carries plain fields, and each holder looks at what the one before wrote; at the end all
 * messages are home. Whoever waits, waits for ever: a wake-up that is lost ends in "nothing moves any
 * more". */
#ifndef STRESS_MILL_H
#define STRESS_MILL_H

#include <stdint.h>

#include "shape.h"

uint64_t mill_run(const struct shape *s);

#endif
