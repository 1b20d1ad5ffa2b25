/* A server, its program, its peers and the network, from a script of bytes, over stage.h.
 *
 * What holds for any script; the program ends when it does not:
 *   - Callbacks come in their order: request, open, messages, close last and exactly once for each that opened.
 *   - What the server writes is one HTTP response and then frames that our client reads without a fault.
 *   - What was sent on a connection is what is written, in that order, up to where it ended.
 *   - Queues stay within their bounds, the loop never spins, all connections end, and no memory is left.
 *
 * A script is the options (two bytes), a number of two bytes (that allocation fails; 0: none), and commands of the
 * peers, of the network and of the program, a byte each and their arguments. */
#ifndef WEFT_TESTS_SCRIPT_H
#define WEFT_TESTS_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True: an allocation was made to fail. */
bool script_run(const uint8_t *p, size_t n);

#endif
