/* Two ends of a TLS connection in one thread, and the certificates for them. */
#ifndef WEFT_TESTS_TLS_PAIR_H
#define WEFT_TESTS_TLS_PAIR_H

#include <stdbool.h>
#include <stdint.h>

#include "io/tls.h"

/* Run tests/make_certs into a new directory; and away with it. */
void certs_make(void);
void certs_remove(void);
/* The path of one of its files, "server.pem"; static, good for the next 16 calls. */
const char *cert(const char *file);
struct tls_key_pair key_pair(const char *name);

struct tls_options server_options(const char *name);
struct tls_options client_options(void);
/* Aborts with the reason when there is none. */
struct tls_context *context_of(const struct tls_options *o);
/* Fails, and the text says this. */
bool context_fails(const struct tls_options *o, const char *text);

struct tls_side {
    struct tls *t;
    int fd;
    int rc; /* of the handshake */
    struct tls_scratch *s;
};

struct tls_pair {
    struct tls_side server, client;
};

enum pair_kind { PAIR_UNIX, PAIR_TCP };
/* Which server the client takes it for; where sessions are resumed. */
extern uint16_t pair_port;
/* The contexts are borrowed. */
void pair_open(struct tls_pair *p, struct tls_context *server, struct tls_context *client, const char *host,
               enum pair_kind kind);
/* Until both are done or one failed; and the other got to know. */
bool pair_shake(struct tls_pair *p);
void pair_close(struct tls_pair *p);
/* Open and shake; what happened is in the sides. */
bool pair_meet(struct tls_pair *p, struct tls_context *server, struct tls_context *client, const char *host);

void fds_pair(int fds[2], enum pair_kind kind);
bool fd_wait(int fd, short events);

/* Write or read all of n bytes, in turns with the other side where one is given. False: failed. */
bool side_write(struct tls_side *from, const void *p, size_t n);
bool side_read(struct tls_side *to, void *p, size_t n);
/* One read; waits for the socket while there is nothing. */
ptrdiff_t side_read_once(struct tls_side *to, void *p, size_t n);
const char *side_error(const struct tls_side *side);

#endif
