/* A second reading of RFC 6455, to compare ours with: plain, slow, and without a line in common.
 *
 * All bytes are there at once, and nothing is remembered but the message under way. It writes the lines that
 * wire.h writes for the events of a session, so the two can be compared as text. */
#ifndef WEFT_TESTS_REFERENCE_H
#define WEFT_TESTS_REFERENCE_H

#include <stddef.h>
#include <stdint.h>

#include "wire.h"

#define REFERENCE_BYTES_MAX (1u << 16) /* of a stream */

/* trace    begun anew
 * p, n     at most REFERENCE_BYTES_MAX bytes */
void reference_read(struct trace *trace, const struct session_config *config, const uint8_t *p, size_t n);

#endif
