/* The octets on their way to the peer, and in which pieces they are written.
 *
 * Frames that are not spaced go out in as few writes as the socket allows. A spaced frame goes out in writes
 * of its own, each at most piece_bytes long, SPACING_NS apart, so that the peer sees them one by one. */
#ifndef WEFT_CONFORMANCE_OUTGOING_H
#define WEFT_CONFORMANCE_OUTGOING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "octets.h"

#define SPACING_NS 10000u
/* Behind the first octet of what goes octet by octet: a peer that waits its turn for a processor sees it alone too. */
#define FIRST_SPACING_NS 30000000u

struct span {
    size_t end; /* offset in octets */
    size_t piece_bytes;
    bool spaced;
};

struct outgoing {
    struct octets octets;
    size_t written;
    struct span *spans;
    size_t span_count;
    size_t span_now;
    uint64_t not_before_ns; /* the next write's time, 0: at once */
    bool broken;            /* a write failed; the rest is thrown away */
};

/* Ends a frame that was put into octets. chop_bytes 0: whole. */
void outgoing_end_frame(struct outgoing *o, size_t chop_bytes, bool sync);
bool outgoing_is_empty(const struct outgoing *o);
/* Writes what may be written now. False: the socket is full, poll it for writing. */
bool outgoing_write(struct outgoing *o, int fd, uint64_t now_ns);
void outgoing_fini(struct outgoing *o);

#endif
