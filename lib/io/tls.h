/* TLS for servers and clients, over any stream socket.
 *
 * Three things, by who they belong to:
 *   struct tls_context  certificates and rules, counted by reference, shared by all threads. It never changes
 *                       once made: to load new certificates is to make another, of which the next connections
 *                       are made, while those there are keep theirs.
 *   struct tls          one connection; its calls are made by one thread at a time, the one that has the I/O
 *                       role of the connection's loop.
 *   struct tls_scratch  the buffers of one loop, used by its connections in turn. Nothing of a connection is
 *                       in there between two calls.
 *
 * T1  An idle connection owns no buffer. What it must keep between two calls (a record cut off, bytes that
 *     the socket did not take) is a block of its own for so long.
 * T2  The TLS library sees whole records only, looked at before: a type that there is, a length that is
 *     allowed. So it never waits in the middle of one. (CVE-2024-0901: it reads out of bounds on a TLS 1.3
 *     record that is too short for its tag.)
 * T3  What the TLS library sends goes into the scratch, which always takes it; many records leave in one
 *     system call. What the socket did not take goes before everything else, and nothing new is accepted
 *     until it went.
 * T4  A server spends memory on TLS only when a whole ClientHello has come.
 * T5  A thread that shook hands calls tls_thread_leave before it ends: the TLS library keeps tables for each.
 *
 * The sockets do not block and are watched by edges: on WEFT_E_AGAIN, the socket was read empty or written
 * full, or tls_may_have_more says that it was not.
 *
 * A weft built without TLS has these calls too (tls_none.c): no context can be made there. */
#ifndef WEFT_IO_TLS_H
#define WEFT_IO_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "io/link.h"

/* The socket ended, the TLS stream did not: what came last may have been cut off on the way. Many peers end
 * like that; what they say by it is for the protocol above to judge. */
#define TLS_CUT (-1001)

enum tls_role { TLS_SERVER, TLS_CLIENT };
enum tls_client_auth { TLS_CLIENT_AUTH_NONE, TLS_CLIENT_AUTH_OPTIONAL, TLS_CLIENT_AUTH_REQUIRED };
enum tls_version_number { TLS_1_2 = 0x0303, TLS_1_3 = 0x0304 };

/* PEM files: the chain with the certificate first, and its key. */
struct tls_key_pair {
    const char *cert_file;
    const char *key_file;
    const char *staple_file; /* an OCSP response (DER) for clients of TLS 1.2 that ask, NULL: none */
};

/* Zero is the default of each. Borrowed for the call. */
struct tls_options {
    enum tls_role role;
    struct tls_key_pair own;           /* a server must have it; a client's is shown when asked for */
    const struct tls_key_pair *others; /* server: chosen by the name that the client asks for; `own` is for
                                          all other names */
    size_t other_count;
    const char *ca_file, *ca_dir;        /* who is trusted; client: NULL means the system's */
    enum tls_client_auth client_auth;    /* server; the others need ca_file or ca_dir */
    bool insecure;                       /* client: take any certificate */
    enum tls_version_number version_min; /* TLS_1_2 */
    const char *ciphers;                 /* the TLS library's names with ':', best first */
    const char *alpn;                    /* "http/1.1"; "" for none */
    bool no_tickets;                     /* server: no resumption. There is none with client_auth either: a
                                             resumed session has no certificate to ask about */
    struct tls_context *tickets_of;      /* server: take over its ticket keys, so that what was resumable
                                             stays so over a reload */
    uint32_t sessions_max;               /* client: sessions kept for resumption, 64; TLS_NO_SESSIONS */
};
#define TLS_NO_SESSIONS UINT32_MAX

struct tls_context;
struct tls_scratch;
struct tls;

bool tls_is_built(void);

/* Make a context.
 *
 * why, room  where to write what is wrong and with which file, in one line
 * Returns    WEFT_OK, WEFT_E_INVAL (options, a file, a key that does not fit, nothing negotiable),
 *            WEFT_E_NOMEM
 * Thread     any; reads files */
int tls_context_new(struct tls_context **out, const struct tls_options *o, char *why, size_t room);
struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c); /* NULL is allowed */

/* Shake hands with itself, in memory: the calling thread's tables are made now and not for the first clients
 * to wait for, and what gets negotiated is checked. Servers only.
 * Returns WEFT_OK, or with a text in why WEFT_E_TLS, WEFT_E_NOMEM or WEFT_E_SYSTEM. */
int tls_context_warm(struct tls_context *c, char *why, size_t room);
/* What the TLS library keeps for the calling thread is given back. */
void tls_thread_leave(void);

/* Bytes of ciphertext for one read and one write; 0: 256 KiB and 64 KiB. Raised to what one record needs. */
struct tls_scratch *tls_scratch_new(size_t read_bytes, size_t write_bytes);
void tls_scratch_free(struct tls_scratch *s);

/* A connection; takes a reference to the context. host: whom a client means, a name or an address, checked
 * against the certificate (a name is sent along as SNI); NULL for servers, and for insecure clients. port:
 * with host it names the server whose session may be resumed.
 * NULL: no memory, or a client that would check nothing without being insecure. */
struct tls *tls_new(struct tls_context *c, const char *host, uint16_t port);
void tls_free(struct tls *t); /* NULL is allowed; the socket is the caller's */

/* Go on with the handshake.
 *
 * Returns  WEFT_OK        done; bytes may have come with it (tls_may_have_more)
 *          WEFT_E_AGAIN   call again when the socket is readable, or writable with tls_has_output
 *          WEFT_E_TLS     failed: tls_error_text; the peer was told as far as the socket took it
 *          WEFT_E_CLOSED  the peer is gone
 *          WEFT_E_NOMEM   */
int tls_handshake(struct tls *t, int fd, struct tls_scratch *s);

/* Decrypt into iov: one system call at most when anything comes of it, and as many records as fit.
 *
 * Returns  bytes, more than 0
 *          WEFT_E_AGAIN   none now; also with tls_read_waits
 *          LINK_END       the peer ended its side
 *          TLS_CUT        its socket ended without that
 *          WEFT_E_TLS     it broke TLS; WEFT_E_CLOSED reset or gone; WEFT_E_NOMEM. All three for good */
ptrdiff_t tls_read(struct tls *t, int fd, struct tls_scratch *s, struct iovec *iov, int count);

/* Encrypt and send, in records as large as they may be. Returns bytes ACCEPTED, which leave in order; they
 * may be fewer than given when the socket is full (tls_has_output then). WEFT_E_AGAIN: none, until tls_flush
 * has sent what waits. WEFT_E_CLOSED, WEFT_E_TLS, WEFT_E_NOMEM: for good. */
ptrdiff_t tls_write(struct tls *t, int fd, struct tls_scratch *s, const struct iovec *iov, int count);

/* Send what waits: WEFT_OK (nothing waits any more), WEFT_E_AGAIN, WEFT_E_CLOSED. */
int tls_flush(struct tls *t, int fd);
bool tls_has_output(const struct tls *t);
uint32_t tls_pending_output_bytes(const struct tls *t);
/* The peer makes us answer and does not read the answers: tls_read gives nothing until tls_flush has sent
 * them. What tls_write left waiting never stops it, or two peers that both write would wait for each other.
 * */
bool tls_read_waits(const struct tls *t);

/* False: the last read found the socket empty, and nothing of it is kept here. Without a new edge another
 * read would find nothing. */
bool tls_may_have_more(const struct tls *t);

/* No more will be written: the peer is told, and the socket's sending side shut down behind it, by tls_flush
 * if something waits. Reading goes on. */
void tls_finish(struct tls *t, int fd, struct tls_scratch *s);

/* --- what was negotiated; valid as long as t --- */

const char *tls_version(const struct tls *t); /* "TLSv1.3"; "" before */
const char *tls_cipher(const struct tls *t);  /* its IANA or library name; "" before */
const char *tls_alpn(const struct tls *t);    /* "" for none */
bool tls_was_resumed(const struct tls *t);
bool tls_has_peer_certificate(const struct tls *t);
/* The subject of the peer's certificate, "CN=ann,O=weft"; "" when there is none, or a client resumed. */
const char *tls_peer_subject(const struct tls *t);
/* Why the connection failed, in a line. */
void tls_error_text(const struct tls *t, char *out, size_t room);

#endif
