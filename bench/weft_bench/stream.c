/* Plain sockets and TLS; see stream.h. */
#include "stream.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "conn.h"
#include "io/tls.h"
#include "loader.h"
#include "weft/error.h"

const char *stream_context(struct tls_context **out, const struct options *o)
{
    static char why[256];
    struct tls_options options = {
        .role = TLS_CLIENT, .ca_file = o->ca_file, .insecure = o->insecure, .sessions_max = TLS_NO_SESSIONS};

    return tls_context_new(out, &options, why, sizeof why) == WEFT_OK ? NULL : why;
}

static ssize_t errno_of(ptrdiff_t error)
{
    if (error == LINK_END || error == TLS_CUT)
        return 0;
    errno = error == WEFT_E_AGAIN ? EAGAIN : error == WEFT_E_CLOSED ? ECONNRESET : EPROTO;
    return -1;
}

ssize_t stream_receive(struct conn *c, void *bytes, size_t room)
{
    struct iovec part = {bytes, room};
    ptrdiff_t n;

    if (!c->tls)
        return recv(c->fd, bytes, room, 0);
    n = tls_read(c->tls, c->fd, c->loader->tls_scratch, &part, 1);
    return n > 0 ? n : errno_of(n);
}

ssize_t stream_send(struct conn *c, struct iovec *parts, size_t count)
{
    struct msghdr m = {.msg_iov = parts, .msg_iovlen = count};
    ptrdiff_t n;

    if (c->tls) {
        n = tls_write(c->tls, c->fd, c->loader->tls_scratch, parts, (int)count);
        return n > 0 ? n : errno_of(n);
    }
    if (count == 1)
        return send(c->fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL);
    return sendmsg(c->fd, &m, MSG_NOSIGNAL);
}

bool stream_begin(struct conn *c)
{
    struct loader *l = c->loader;

    if (!l->run->tls)
        return true;
    if (!l->tls_scratch)
        l->tls_scratch = tls_scratch_new(0, 0);
    if (l->tls_scratch)
        c->tls = tls_new(l->run->tls, l->run->target->host, l->run->target->port);
    return c->tls != NULL;
}

int stream_shake(struct conn *c)
{
    return tls_handshake(c->tls, c->fd, c->loader->tls_scratch);
}

bool stream_flush(struct conn *c)
{
    int rc = c->tls ? tls_flush(c->tls, c->fd) : WEFT_OK;

    if (rc != WEFT_OK)
        errno_of(rc);
    return rc == WEFT_OK;
}

bool stream_may_have_more(struct conn *c)
{
    return c->tls && tls_may_have_more(c->tls);
}

void stream_end(struct conn *c)
{
    tls_free(c->tls);
    c->tls = NULL;
}

const char *stream_fault(struct conn *c, char *out, size_t room)
{
    char why[200];

    tls_error_text(c->tls, why, sizeof why);
    snprintf(out, room, "TLS: %s", why);
    return out;
}
