/* Waiting for something to happen to a connection, beside messages and room: its end, an answer to a Ping, or
 * nothing for a while. Any thread; each call ends early when the connection does.
 *
 * Whoever waits sets CONN_DRAIN_END in `drain`, then looks at is_closed. The I/O thread sets is_closed, then
 * takes all bits: both are read-modify-writes of one word, so either it finds the bit, or the waiter's comes
 * behind and reads what was written before.
 *
 * P1  Waiting Pings stand in the list in the order in which they are in the outbox: both happen under the
 *     lock. So a Pong answers its own and all before it (RFC 6455 section 5.5.3).
 * P2  An entry lives on its waiter's stack; the waiter takes it out before it returns, unless it was
 *     answered. */
#ifndef WEFT_CORE_WAITS_H
#define WEFT_CORE_WAITS_H

#include <stddef.h>
#include <stdint.h>

#include "base/thr.h"

struct waits;
struct weft_conn;

void waits_free(struct waits *w);

int waits_closed(struct weft_conn *c, uint32_t timeout_ms);                     /* weft_conn_wait_closed */
int waits_sleep(struct weft_conn *c, uint32_t ms);                              /* weft_conn_sleep */
int waits_ping(struct weft_conn *c, uint32_t timeout_ms, uint32_t *latency_us); /* weft_conn_ping_wait */

void waits_tell(struct weft_conn *c); /* whoever waits looks again */
void waits_pong(struct weft_conn *c, const char *payload, size_t bytes) ON_IO;

#endif
