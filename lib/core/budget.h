/* The bound of all memory in messages and queues (memory_bytes_max), as each I/O thread keeps it.
 *
 * Above the bound an I/O thread stops reading all its connections, and who comes anew is answered with
 * 503. It looks again every BUDGET_LOOK_MS; below seven eighths of the bound all goes on. What is held may
 * need more to be read before it can go: messages cut in the middle, peers that do not read. So when
 * nothing has helped for BUDGET_PATIENCE_MS the connections that hold the most are closed with 1013, half
 * of the heaviest one's weight and above, as many as it takes.
 *
 * It is a bound for what peers do: the program's own messages are never refused, but they count. What a bus
 * remembers does not (bus_history.h): it would stay when all have left, and nobody could come any more. The sum
 * is taken once a turn and for each BUDGET_LOOK_BYTES that were read, so by so much and one read it may be
 * passed. */
#ifndef WEFT_CORE_BUDGET_H
#define WEFT_CORE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/thr.h"
#include "io/timer.h"

#define BUDGET_LOOK_MS     10
#define BUDGET_PATIENCE_MS 250
#define BUDGET_LOOK_BYTES  (256u * 1024u)

struct io_thread;

/* All zero, and timer_init: enough there. */
struct budget {
    struct timer timer;
    uint64_t looked_ms;    /* the last look at the sum, */
    uint64_t looked_bytes; /* and what had been read then */
    uint64_t since_ms;     /* while is_short: when it became so, or the last were closed */
    bool is_short;
};

/* No more is to be read. Only with memory_bytes_max. */
bool budget_is_short(struct io_thread *io) ON_IO;
void budget_time(struct io_thread *io) ON_IO; /* the timer fired */

#endif
