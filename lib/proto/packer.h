/* Compressing messages with ISA-L: nearly the sizes of zlib's in half the time. Its context is large, so it is
 * borrowed for one message; one that refers to earlier messages begins with their window as a dictionary.
 *
 * A build without ISA-L has none (packer_none.c), and zlib does that work too. The only place that knows
 * ISA-L. */
#ifndef WEFT_PROTO_PACKER_H
#define WEFT_PROTO_PACKER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/msg.h"
#include "proto/window.h"

struct packer;

bool packer_is_built(void);
struct packer *packer_new(void);             /* NULL: no memory */
void packer_free(struct packer *p);          /* NULL is allowed */
size_t packer_bytes(const struct packer *p); /* what it holds */

/* Compress a message.
 *
 * window_bits  it refers no further back than 2^window_bits bytes, 9 to 15
 * before   what it may refer to, borrowed, at most as large; NULL: it stands alone. Who sends the result puts m there
 * m        borrowed, sealed, not compressed, not empty
 * out      set on WEFT_OK: a new sealed message with RSV1; or NULL, when m does not get smaller
 * Returns  WEFT_OK, WEFT_E_NOMEM
 * Source   RFC 7692 section 7.2.1 */
int packer_message(struct packer *p, unsigned window_bits, const struct window *before, const weft_msg *m,
                   weft_msg **out);

#endif
