/* TLS under a connection, on its I/O thread; see io/tls.h for TLS itself.
 *
 * S1  The handshake is the first thing of CONN_HANDSHAKE, under the same timer. It goes on in the turns of
 *     the dirty list, oldest first, and each turn has IO_SHAKE_NS_MAX for all of them: a flood of
 *     handshakes waits, open connections do not.
 * S2  What was negotiated is copied when the handshake is done: before any worker hears of the connection,
 *     and for as long as somebody has a handle. The state of TLS itself goes when the connection dies.
 * S3  How the stream ends is for WebSocket to judge: a TLS stream that was cut off ends here as one that
 *     was finished. A message or a closing handshake that is not whole then is a failure of its own.
 * S4  What a peer sends while our side lingers is thrown away; when it is no TLS any more, as it comes. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/io_thread.h"
#include "core/opening.h"
#include "io/tls.h"

#define WHY_ROOM 256

struct secure {
    struct tls *tls; /* (io) NULL once it died */
    /* S2: (c) from the handshake on */
    const char *version, *cipher; /* of the TLS library's own; NULL before */
    bool has_certificate, is_resumed;
    uint8_t alpn_bytes;
    char *texts; /* alpn, NUL, subject, NUL; NULL: both are empty */
};

/* --- life --- */

static struct secure *secure_of(const struct weft_conn *c)
{
    return conn_more(c)->secure;
}

static struct tls *tls_of(const struct weft_conn *c)
{
    return secure_of(c)->tls;
}

int secure_make(struct weft_conn *c, const struct secure_how *how)
{
    struct conn_more *more = conn_make_more(c);
    struct secure *s = more ? mem_calloc(1, sizeof *s) : NULL;

    if (s)
        s->tls = tls_new(how->context, how->host, how->port);
    if (!s || !s->tls) {
        mem_free(s);
        return WEFT_E_NOMEM;
    }
    more->secure = s;
    c->is_tls = c->is_shaking = true;
    return WEFT_OK;
}

void secure_free(struct secure *s)
{
    if (!s)
        return;
    tls_free(s->tls);
    mem_free(s->texts);
    mem_free(s);
}

void secure_leave(struct weft_conn *c)
{
    struct secure *s = secure_of(c);

    c->is_tls = c->is_shaking = false; /* nothing asks it any more */
    tls_free(s->tls);
    s->tls = NULL;
}

/* --- the handshake --- */

void secure_register(struct weft_conn *c)
{
    struct io_thread *io = c->home->io;

    if (!io->tls_scratch)
        io->tls_scratch = tls_scratch_new(0, 0);
    if (!io->tls_scratch)
        conn_die(c, WEFT_E_NOMEM, false);
    else if (conn_is_client(c))
        io_thread_read_again(io, c); /* it speaks first */
}

/* S2 */
static bool note_result(struct secure *s)
{
    const char *alpn = tls_alpn(s->tls), *subject = tls_peer_subject(s->tls);
    size_t alpn_bytes = strlen(alpn), subject_bytes = strlen(subject);

    s->version = tls_version(s->tls);
    s->cipher = tls_cipher(s->tls);
    s->has_certificate = tls_has_peer_certificate(s->tls);
    s->is_resumed = tls_was_resumed(s->tls);
    if (!alpn_bytes && !subject_bytes)
        return true;
    s->texts = mem_alloc(alpn_bytes + subject_bytes + 2);
    if (!s->texts)
        return false;
    s->alpn_bytes = (uint8_t)alpn_bytes;
    memcpy(s->texts, alpn, alpn_bytes + 1);
    memcpy(s->texts + alpn_bytes + 1, subject, subject_bytes + 1);
    return true;
}

int secure_tell(const struct weft_conn *c, weft_tls_info *out)
{
    const struct conn_more *more = conn_more(c);
    const struct secure *s = more ? more->secure : NULL;
    weft_tls_info info = {.size = out->size};

    if (!s || !s->version)
        return WEFT_E_STATE;
    info.version = s->version;
    info.cipher = s->cipher;
    info.alpn = s->texts ? s->texts : "";
    info.peer_subject = s->texts ? s->texts + s->alpn_bytes + 1 : "";
    info.has_certificate = s->has_certificate;
    info.is_resumed = s->is_resumed;
    memcpy(out, &info, out->size < sizeof info ? out->size : sizeof info);
    return WEFT_OK;
}

static void shaken(struct weft_conn *c) ON_IO
{
    struct secure *s = secure_of(c);

    c->is_shaking = false;
    c->is_readable = tls_may_have_more(s->tls) || c->has_end;
    if (!note_result(s))
        conn_die(c, WEFT_E_NOMEM, false);
    else if (conn_is_client(c))
        opening_begin(c);
}

/* The peer was told why by an alert, which a reset must not overtake. */
static void shake_failed(struct weft_conn *c, int error) ON_IO
{
    char why[WHY_ROOM];

    tls_error_text(tls_of(c), why, sizeof why);
    LOG(WEFT_LOG_INFO, c->id, "TLS: %s", why);
    if (conn_is_client(c))
        c->opening->why = mem_strdup(why); /* without memory the error says less */
    if (conn_is_client(c) || error != WEFT_E_TLS) {
        conn_die(c, error, true);
        return;
    }
    c->is_shaking = false;
    c->end.error = WEFT_E_TLS;
    conn_linger(c);
}

/* S1 */
bool secure_shake(struct weft_conn *c)
{
    struct io_thread *io = c->home->io;
    uint64_t start_ns;
    int rc;

    if (io->shook_ns >= IO_SHAKE_NS_MAX) {
        io_thread_read_again(io, c);
        return false;
    }
    start_ns = clock_now_ns();
    rc = tls_handshake(tls_of(c), c->link.fd, io->tls_scratch);
    io->shook_ns += clock_now_ns() - start_ns;
    if (rc != WEFT_E_CLOSED && tls_has_output(tls_of(c)))
        transmit_block(c);
    if (rc == WEFT_E_AGAIN)
        c->is_readable = false;
    else if (rc == WEFT_OK)
        shaken(c);
    else
        shake_failed(c, rc);
    return c->state == CONN_HANDSHAKE && !c->is_shaking;
}

/* --- bytes --- */

/* Who wrote to the log has the reason; the result is the error's. */
static void note_fault(struct weft_conn *c)
{
    char why[WHY_ROOM];

    tls_error_text(tls_of(c), why, sizeof why);
    LOG(WEFT_LOG_INFO, c->id, "TLS: %s", why);
}

ptrdiff_t secure_read(struct weft_conn *c, struct iovec *iov, int count)
{
    struct tls *t = tls_of(c);
    ptrdiff_t n = tls_read(t, c->link.fd, c->home->io->tls_scratch, iov, count);

    if (n == WEFT_E_TLS && c->state == CONN_LINGER)
        return link_read(&c->link, iov, count); /* S4 */
    if (n == WEFT_E_TLS)
        note_fault(c);
    if (tls_has_output(t))
        transmit_block(c);
    return n == TLS_CUT ? LINK_END : n; /* S3 */
}

ptrdiff_t secure_write(struct weft_conn *c, const struct iovec *iov, int count)
{
    ptrdiff_t n = tls_write(tls_of(c), c->link.fd, c->home->io->tls_scratch, iov, count);

    if (n == WEFT_E_TLS)
        note_fault(c);
    return n;
}

int secure_flush(struct weft_conn *c)
{
    return tls_flush(tls_of(c), c->link.fd);
}

uint32_t secure_output_bytes(const struct weft_conn *c)
{
    return tls_pending_output_bytes(tls_of(c));
}

bool secure_may_have_more(const struct weft_conn *c)
{
    return tls_may_have_more(tls_of(c));
}

bool secure_read_waits(const struct weft_conn *c)
{
    return tls_read_waits(tls_of(c));
}

void secure_finish(struct weft_conn *c)
{
    tls_finish(tls_of(c), c->link.fd, c->home->io->tls_scratch);
    if (tls_has_output(tls_of(c)))
        transmit_block(c);
}
