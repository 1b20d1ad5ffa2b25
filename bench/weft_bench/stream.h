/* The byte stream of a connection: its socket, or TLS over it.
 *
 * Over TLS each connection makes a full handshake, none is resumed. What the socket did not take of what was
 * accepted waits inside, and leaves first. */
#ifndef WEFT_BENCH_STREAM_H
#define WEFT_BENCH_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct conn;
struct options;
struct tls_context;

/* Certificates and rules, for a wss:// URL. NULL, or what is wrong. */
const char *stream_context(struct tls_context **out, const struct options *o);

/* As recv and send are, with errno. */
ssize_t stream_receive(struct conn *c, void *bytes, size_t room);
ssize_t stream_send(struct conn *c, struct iovec *parts, size_t count);

/* TLS; false or nothing to do for a plain one. */
bool stream_begin(struct conn *c);        /* false: no memory */
int stream_shake(struct conn *c);         /* tls_handshake */
bool stream_flush(struct conn *c);        /* false: something waits still, and errno says whether for good */
bool stream_may_have_more(struct conn *c); /* there is more to read, of which epoll does not tell */
void stream_end(struct conn *c);
const char *stream_fault(struct conn *c, char *out, size_t room);

#endif
