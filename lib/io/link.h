/* The byte stream under a connection. Plain sockets for now; a TLS link takes its place behind the same
 * calls.
 *
 * The calls never block and retry EINTR. Bytes, or a negative result. The I/O thread of the connection is
 * the only caller. */
#ifndef WEFT_IO_LINK_H
#define WEFT_IO_LINK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct link {
    int fd;
};

#define LINK_END (-1000) /* the peer ended its side: no error */

/* WEFT_E_AGAIN: nothing now. LINK_END. WEFT_E_CLOSED: reset or gone. */
ptrdiff_t link_read(struct link *l, struct iovec *iov, int count);
/* WEFT_E_AGAIN: no room now. WEFT_E_CLOSED: reset or gone. */
ptrdiff_t link_write(struct link *l, const struct iovec *iov, int count);
/* Bytes that the system holds for the peer, sent or not, as long as the peer has not acknowledged them. */
uint32_t link_held_bytes(struct link *l);
/* No more will be written: the peer sees the end behind what was. */
void link_finish(struct link *l);
/* The end; with_reset throws away what the socket still holds. */
void link_close(struct link *l, int with_reset);

#endif
