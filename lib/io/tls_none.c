/* A weft built without TLS: no context can be made, and so nothing else is ever reached with one. */
#include "io/tls.h"

#include <stdio.h>

#include "weft/error.h"

bool tls_is_built(void)
{
    return false;
}

int tls_context_new(struct tls_context **out, const struct tls_options *o, char *why, size_t room)
{
    (void)o;
    *out = NULL;
    if (room)
        snprintf(why, room, "this weft is built without TLS");
    return WEFT_E_INVAL;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
    return c;
}

void tls_context_unref(struct tls_context *c)
{
    (void)c;
}

int tls_context_warm(struct tls_context *c, char *why, size_t room)
{
    return tls_context_new(&c, NULL, why, room);
}

void tls_thread_leave(void) {}

struct tls_scratch *tls_scratch_new(size_t read_bytes, size_t write_bytes)
{
    (void)read_bytes, (void)write_bytes;
    return NULL;
}

void tls_scratch_free(struct tls_scratch *s)
{
    (void)s;
}

struct tls *tls_new(struct tls_context *c, const char *host, uint16_t port)
{
    (void)c, (void)host, (void)port;
    return NULL;
}

void tls_free(struct tls *t)
{
    (void)t;
}

int tls_handshake(struct tls *t, int fd, struct tls_scratch *s)
{
    (void)t, (void)fd, (void)s;
    return WEFT_E_INVAL;
}

ptrdiff_t tls_read(struct tls *t, int fd, struct tls_scratch *s, struct iovec *iov, int count)
{
    (void)iov, (void)count;
    return tls_handshake(t, fd, s);
}

ptrdiff_t tls_write(struct tls *t, int fd, struct tls_scratch *s, const struct iovec *iov, int count)
{
    (void)iov, (void)count;
    return tls_handshake(t, fd, s);
}

int tls_flush(struct tls *t, int fd)
{
    return tls_handshake(t, fd, NULL);
}

bool tls_has_output(const struct tls *t)
{
    return t != NULL;
}

bool tls_read_waits(const struct tls *t)
{
    (void)t;
    return false;
}

uint32_t tls_pending_output_bytes(const struct tls *t)
{
    (void)t;
    return 0;
}

bool tls_may_have_more(const struct tls *t)
{
    return t != NULL;
}

void tls_finish(struct tls *t, int fd, struct tls_scratch *s)
{
    (void)tls_handshake(t, fd, s);
}

const char *tls_version(const struct tls *t)
{
    (void)t;
    return "";
}

const char *tls_cipher(const struct tls *t)
{
    return tls_version(t);
}

const char *tls_alpn(const struct tls *t)
{
    return tls_version(t);
}

const char *tls_peer_subject(const struct tls *t)
{
    return tls_version(t);
}

bool tls_was_resumed(const struct tls *t)
{
    return t != NULL;
}

bool tls_has_peer_certificate(const struct tls *t)
{
    return t != NULL;
}

void tls_error_text(const struct tls *t, char *out, size_t room)
{
    (void)t;
    if (room)
        out[0] = '\0';
}
