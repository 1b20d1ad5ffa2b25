/* Bytes of a connection behind its handshake, checked as they come. */
#ifndef WEFT_BENCH_RECEIVE_H
#define WEFT_BENCH_RECEIVE_H

#include "conn.h"

/* Take bytes in: tells the mode of each whole message, answers Pings, and fails the connection when the
 * server breaks the protocol or closes. False: the connection is gone, or not the same any more. */
bool receive_feed(struct conn *c, const uint8_t *p, size_t n);

#endif
