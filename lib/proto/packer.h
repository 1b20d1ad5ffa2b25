/* Compressing messages that refer to nothing earlier, with ISA-L: the same sizes as zlib's in less than half
 * the time. Its context is large and knows no takeover, so it is for contexts that are borrowed for one
 * message.
 *
 * A build without ISA-L has none (packer_none.c), and zlib does that work too. The only place that knows
 * ISA-L. */
#ifndef WEFT_PROTO_PACKER_H
#define WEFT_PROTO_PACKER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/msg.h"

struct packer;

bool packer_is_built(void);
struct packer *packer_new(void);             /* NULL: no memory */
void packer_free(struct packer *p);          /* NULL is allowed */
size_t packer_bytes(const struct packer *p); /* what it holds */

/* Compress a message, for a window of this size.
 *
 * m        borrowed, sealed, not compressed, not empty
 * out      set on WEFT_OK: a new sealed message with RSV1; or NULL, when m does not get smaller
 * Returns  WEFT_OK, WEFT_E_NOMEM
 * Source   RFC 7692 section 7.2.1 */
int packer_message(struct packer *p, unsigned window_bits, const weft_msg *m, weft_msg **out);

#endif
