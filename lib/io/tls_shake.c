/* The handshake of a TLS connection over wolfSSL; see tls.h.
 *
 * A server's WOLFSSL is made when the whole ClientHello has come, for the name in it chooses the certificate. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/error-ssl.h>

#include "io/tls_wire.h"

#include <string.h>

#include "base/mem.h"
#include "io/tls_names.h"
#include "weft/error.h"

#define ALERT_BYTES 7u

static int make_ssl(struct tls *t, struct WOLFSSL_CTX *w)
{
    const char *alpn = t->context->alpn;

    t->ssl = wolfSSL_new(w);
    if (!t->ssl)
        return tls_fail(t, FAULT_MEMORY);
    wolfSSL_SetIOReadCtx(t->ssl, t);
    wolfSSL_SetIOWriteCtx(t->ssl, t);
    wolfSSL_SetCertCbCtx(t->ssl, t);
    if (t->is_warming)
        wolfSSL_set_verify(t->ssl, WOLFSSL_VERIFY_NONE, NULL);
    /* Who offers others only is told so; who offers none is served. */
    if (alpn[0] && wolfSSL_UseALPN(t->ssl, (char *)alpn, (unsigned)strlen(alpn),
                                   WOLFSSL_ALPN_FAILED_ON_MISMATCH) != WOLFSSL_SUCCESS)
        return tls_fail(t, FAULT_MEMORY);
    return WEFT_OK;
}

int tls_shake_prepare(struct tls *t)
{
    WOLFSSL_SESSION *session;
    int rc = make_ssl(t, t->context->certificates[0].wolf);

    if (rc != WEFT_OK || !t->host)
        return rc;
    if (!tls_names_is_address(t->host) && wolfSSL_UseSNI(t->ssl, WOLFSSL_SNI_HOST_NAME, t->host,
                                                         (unsigned short)strlen(t->host)) != WOLFSSL_SUCCESS)
        return tls_fail(t, FAULT_MEMORY);
    wolfSSL_set_SessionTicket_cb(t->ssl, tls_on_ticket, t);
    session = tls_sessions_take(t->context->sessions, t->host, t->port);
    if (session) {
        wolfSSL_set_session(t->ssl, session); /* one that is too old is none */
        wolfSSL_SESSION_free(session);
    }
    return WEFT_OK;
}

/* Where there is no WOLFSSL yet to say it. Source: RFC 8446 section 6 */
static void refuse_hello(struct tls_scratch *s, uint8_t description)
{
    const uint8_t alert[ALERT_BYTES] = {21, 3, 3, 0, 2, 2, description};

    memcpy(s->out, alert, sizeof alert);
    s->out_end = sizeof alert;
}

static bool looks_like_http(const uint8_t *p, size_t n)
{
    static const char *const methods[] = {"GET ",     "HEAD ",    "POST ",  "PUT ",
                                          "OPTIONS ", "CONNECT ", "DELETE "};

    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        size_t length = strlen(methods[i]);
        if (memcmp(p, methods[i], n < length ? n : length) == 0)
            return true;
    }
    return false;
}

/* T4 */
static int meet_hello(struct tls *t, struct tls_scratch *s)
{
    struct tls_hello said;
    const uint8_t *p = s->in + s->in_start;
    size_t n = s->in_end - s->in_start, hello;
    int rc = tls_hello_gather(p, n, s->plain, &hello);

    if (rc == WEFT_E_AGAIN)
        return rc;
    if (rc == WEFT_OK)
        rc = tls_hello_read(s->plain, hello, &said);
    if (rc == WEFT_OK)
        return make_ssl(t, tls_context_choose(t->context, said.name, said.offers_1_3));
    refuse_hello(s, p[0] == TLS_RECORD_HANDSHAKE ? decode_error : unexpected_message);
    if (p[0] == TLS_RECORD_HANDSHAKE)
        return tls_fail(t, FAULT_HELLO);
    return tls_fail(t, looks_like_http(p, n) ? FAULT_PLAIN_HTTP : FAULT_NOT_TLS);
}

/* wolfSSL says that it is done. Is that what was asked for? */
static int check_result(struct tls *t)
{
    const struct tls_context *c = t->context;

    if (!tls_context_allows(c, wolfSSL_get_current_cipher_suite(t->ssl)) ||
        wolfSSL_version(t->ssl) < (int)c->version_min)
        return tls_fail(t, FAULT_SUITE);
    if (c->role == TLS_CLIENT
            ? !c->insecure && !t->is_checked && !t->was_resumed
            : c->client_auth == TLS_CLIENT_AUTH_REQUIRED && !t->is_checked && !t->is_warming)
        return tls_fail(t, FAULT_UNVERIFIED);
    return WEFT_OK;
}

static int settle(struct tls *t)
{
    char *protocol = NULL;
    unsigned short n = 0;

    t->was_resumed = wolfSSL_session_reused(t->ssl) == 1;
    if (check_result(t) != WEFT_OK)
        return tls_result(t);
    t->has_alpn = wolfSSL_ALPN_GetProtocol(t->ssl, &protocol, &n) == WOLFSSL_SUCCESS && n > 0;
    t->is_done = true;
    wolfSSL_FreeArrays(t->ssl);
    if (!t->context->sessions) {
        mem_free(t->host);
        t->host = NULL;
    }
    return WEFT_OK;
}

/* Connections that are sent a staple share one request for it inside wolfSSL, which points at whichever of
 * them wrote there last. */
static int shake(struct tls *t)
{
    struct tls_context *c = t->context;
    int rc;

    if (c->role == TLS_CLIENT)
        return wolfSSL_connect(t->ssl);
    if (!c->has_staple)
        return wolfSSL_accept(t->ssl);
    pthread_mutex_lock(&c->staple_lock);
    rc = wolfSSL_accept(t->ssl);
    pthread_mutex_unlock(&c->staple_lock);
    return rc;
}

static int step(struct tls *t, struct tls_scratch *s)
{
    int rc, error;

    if (t->fault)
        return tls_result(t);
    if (!t->ssl && (rc = meet_hello(t, s)) != WEFT_OK)
        return rc;
    rc = shake(t);
    if (t->fault)
        return tls_result(t);
    if (rc == WOLFSSL_SUCCESS)
        return settle(t);
    error = wolfSSL_get_error(t->ssl, rc);
    return error == WOLFSSL_ERROR_WANT_READ ? WEFT_E_AGAIN : tls_fail_wolf(t, error);
}

int tls_handshake(struct tls *t, int fd, struct tls_scratch *s)
{
    int rc, sent = WEFT_OK;

    if (t->is_done || t->fault)
        return tls_result(t);
    tls_wire_begin(t, s);
    for (;;) {
        rc = step(t, s);
        /* Also behind a failure: the peer is told. */
        if (s->out_end || t->out)
            sent = tls_wire_send(t, fd, s);
        if (rc != WEFT_E_AGAIN)
            break;
        rc = tls_wire_receive(t, fd, s, s->in_room);
        if (rc == LINK_END || (rc == WEFT_E_AGAIN && sent == WEFT_E_CLOSED))
            rc = WEFT_E_CLOSED;
        if (rc == WEFT_E_CLOSED)
            tls_fail(t, FAULT_GONE);
        if (rc != WEFT_OK)
            break;
    }
    tls_wire_end(t, s);
    return rc == WEFT_OK ? tls_result(t) : rc;
}
