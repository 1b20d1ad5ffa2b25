/* A TLS connection over wolfSSL: its life, records in and out, and what was agreed; see tls.h. The bytes below it are
 * tls_wire.c's, its handshake is tls_shake.c's. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/error-ssl.h>

#include "io/tls_wire.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "io/tls_names.h"
#include "weft/error.h"

#define SUBJECT_BYTES_MAX 1024u
/* Some builds of wolfSSL give OpenSSL's number in place of ASN_NO_SIGNER_E. */
#define NO_ISSUER_OPENSSL 20

static const char *const fault_texts[] = {
    [FAULT_NONE] = "no error",
    [FAULT_WOLF] = "TLS failed",
    [FAULT_NOT_TLS] = "the peer does not speak TLS",
    [FAULT_PLAIN_HTTP] = "the peer speaks plain HTTP to a TLS port",
    [FAULT_PLAIN_ANSWER] = "the port speaks plain HTTP, not TLS",
    [FAULT_RECORD] = "a record of a type or length that there is not",
    [FAULT_RECORD_SHORT] = "a record too short to be sealed",
    [FAULT_HELLO] = "a ClientHello that is none, or too large",
    [FAULT_HANDSHAKE_BYTES] = "the handshake takes too many bytes",
    [FAULT_EMPTY_RECORDS] = "too many records without data",
    [FAULT_NAME] = "the certificate is not for this host (its subjectAltName counts)",
    [FAULT_SIGNER] = "the certificate is not of a trusted authority",
    [FAULT_UNVERIFIED] = "the peer's certificate was not checked",
    [FAULT_SUITE] = "a cipher suite or version that was not offered",
    [FAULT_MEMORY] = "no memory",
    [FAULT_GONE] = "the peer ended the connection",
};

/* --- results --- */

int tls_result(const struct tls *t)
{
    switch (t->fault) {
    case FAULT_NONE:
        return WEFT_OK;
    case FAULT_MEMORY:
        return WEFT_E_NOMEM;
    case FAULT_GONE:
        return WEFT_E_CLOSED;
    default:
        return WEFT_E_TLS;
    }
}

int tls_fail(struct tls *t, enum tls_fault fault)
{
    if (t->fault == FAULT_NONE)
        t->fault = (uint8_t)fault;
    return tls_result(t);
}

int tls_fail_wolf(struct tls *t, int error)
{
    if (t->fault == FAULT_NONE)
        t->wolf_error = error;
    tls_forget_errors();
    return tls_fail(t, error == MEMORY_E || error == MEMORY_ERROR ? FAULT_MEMORY : FAULT_WOLF);
}

static const char *alert_text(const struct tls *t, char *room, size_t n)
{
    WOLFSSL_ALERT_HISTORY alerts;

    room[0] = '\0';
    if (t->ssl && wolfSSL_get_alert_history(t->ssl, &alerts) == WOLFSSL_SUCCESS && alerts.last_rx.code > 0)
        snprintf(room, n, " (the peer sent alert %d)", alerts.last_rx.code);
    return room;
}

void tls_error_text(const struct tls *t, char *out, size_t room)
{
    char wolf[WOLFSSL_MAX_ERROR_SZ] = "", alert[48];

    if (!room)
        return;
    if (t->fault != FAULT_WOLF) {
        snprintf(out, room, "%s", fault_texts[t->fault]);
        return;
    }
    wolfSSL_ERR_error_string((unsigned long)t->wolf_error, wolf);
    snprintf(out, room, "%s%s", wolf, alert_text(t, alert, sizeof alert));
}

/* --- wolfSSL's callbacks --- */

static void keep_subject(struct tls *t, const uint8_t *der, size_t n)
{
    char text[SUBJECT_BYTES_MAX];

    mem_free(t->subject);
    t->subject = NULL;
    if (tls_names_subject(der, n, text, sizeof text) >= 0 && !(t->subject = mem_strdup(text)))
        tls_fail(t, FAULT_MEMORY);
}

/* For each certificate of the peer's chain; its own is the one at depth 0. */
int tls_on_verify(int is_good, struct WOLFSSL_X509_STORE_CTX *store)
{
    struct tls *t = store->userCtx;

    if (!is_good && t && (store->error == ASN_NO_SIGNER_E || store->error == NO_ISSUER_OPENSSL))
        tls_fail(t, FAULT_SIGNER);
    if (!is_good || !t)
        return 0;
    if (store->error_depth != 0)
        return 1;
    /* wolfSSL asks about nothing, too: a client that showed no certificate. check_result knows who must. */
    if (store->totalCerts < 1 || !store->certs)
        return t->context->role == TLS_SERVER;
    if (t->context->role == TLS_CLIENT &&
        !tls_names_match(store->certs[0].buffer, store->certs[0].length, t->host)) {
        tls_fail(t, FAULT_NAME);
        return 0;
    }
    keep_subject(t, store->certs[0].buffer, store->certs[0].length);
    t->is_checked = t->subject != NULL;
    return t->is_checked;
}

/* A session that was resumed keeps its old ticket beside its new secret until a new ticket comes. */
int tls_on_ticket(struct WOLFSSL *ssl, const unsigned char *ticket, int n, void *arg)
{
    struct tls *t = arg;

    (void)ssl, (void)ticket;
    t->has_ticket = n > 0;
    return 0;
}

/* --- made and freed --- */

struct tls *tls_new(struct tls_context *c, const char *host, uint16_t port)
{
    struct tls *t;
    size_t n = host ? strlen(host) : 0;

    if (c->role == TLS_CLIENT && !c->insecure && (n == 0 || n > TLS_SERVER_NAME_MAX))
        return NULL;
    t = mem_calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->context = tls_context_ref(c);
    t->port = port;
    t->may_have_more = t->socket_has_more = true;
    if (c->role == TLS_SERVER)
        return t;
    if ((n && !(t->host = mem_strdup(host))) || tls_shake_prepare(t) != WEFT_OK) {
        tls_free(t);
        return NULL;
    }
    return t;
}

/* Client: what it was given for the next time. Of TLS 1.3 only: in 1.2, wolfSSL 5.5.4 takes any answer for a
 * resumption once it has sent a ticket, and a server that has lost its keys could not be reached again. */
static void save_session(struct tls *t)
{
    WOLFSSL_SESSION *session;

    if (!t->context->sessions || !t->host || !t->has_ticket || t->fault || wolfSSL_version(t->ssl) < TLS_1_3)
        return;
    session = wolfSSL_get1_session(t->ssl);
    if (session)
        tls_sessions_put(t->context->sessions, t->host, t->port, session);
    mem_free(t->host);
    t->host = NULL;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    save_session(t);
    if (t->ssl)
        wolfSSL_free(t->ssl);
    tls_wire_free(t);
    mem_free(t->host);
    mem_free(t->subject);
    tls_context_unref(t->context);
    mem_free(t);
}

/* --- data --- */

/* One record or the rest of one into p. */
static ptrdiff_t decrypt_some(struct tls *t, uint8_t *p, size_t n)
{
    int rc, error;

    if (t->has_end || t->fault)
        return t->has_end ? LINK_END : tls_result(t);
    rc = wolfSSL_read(t->ssl, p, n < INT32_MAX ? (int)n : INT32_MAX);
    if (t->fault)
        return tls_result(t);
    if (rc > 0) {
        t->empty_records = 0;
        return rc;
    }
    error = wolfSSL_get_error(t->ssl, rc);
    if (error == WOLFSSL_ERROR_WANT_READ)
        return WEFT_E_AGAIN;
    if (error == WOLFSSL_ERROR_ZERO_RETURN) {
        t->has_end = true;
        return LINK_END;
    }
    return tls_fail_wolf(t, error);
}

/* As many records as there are, or as fit. */
static ptrdiff_t decrypt(struct tls *t, const struct iovec *iov, int count)
{
    size_t total = 0;

    for (int i = 0; i < count; i++) {
        for (size_t at = 0; at < iov[i].iov_len;) {
            ptrdiff_t n = decrypt_some(t, (uint8_t *)iov[i].iov_base + at, iov[i].iov_len - at);
            if (n < 0)
                return total ? (ptrdiff_t)total : n;
            at += (size_t)n;
            total += (size_t)n;
        }
    }
    return total ? (ptrdiff_t)total : WEFT_E_AGAIN;
}

/* As much ciphertext as may make that much plaintext, so that little is left over. */
static size_t ciphertext_of(const struct iovec *iov, int count)
{
    size_t total = 0;

    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    return total + total / 64 + 2 * TLS_RECORD_ROOM;
}

ptrdiff_t tls_read(struct tls *t, int fd, struct tls_scratch *s, struct iovec *iov, int count)
{
    ptrdiff_t got;
    int rc = WEFT_OK;

    if (!t->is_done || t->fault || t->has_end)
        return t->has_end ? LINK_END : t->fault ? tls_result(t) : WEFT_E_STATE;
    if (t->out)
        tls_flush(t, fd);
    if (tls_read_waits(t)) {
        t->may_have_more = true;
        return WEFT_E_AGAIN;
    }
    tls_wire_begin(t, s);
    got = decrypt(t, iov, count);
    while (got == WEFT_E_AGAIN && (rc = tls_wire_receive(t, fd, s, ciphertext_of(iov, count))) == WEFT_OK)
        got = decrypt(t, iov, count);
    if (got == WEFT_E_AGAIN && rc != WEFT_OK)
        got = rc == LINK_END ? TLS_CUT : rc;
    if (s->out_end) {
        t->answer_bytes += (uint32_t)s->out_end;
        if (tls_wire_send(t, fd, s) == WEFT_OK)
            t->answer_bytes = 0;
    }
    tls_wire_end(t, s);
    return got;
}

/* Where in an iovec the next record begins. */
struct source {
    const struct iovec *iov;
    int count;
    size_t offset;
};

/* The next record's worth: in one piece from where it is, or gathered in plain. */
static size_t next_record(struct source *from, uint8_t *plain, const uint8_t **p)
{
    size_t n = 0;

    while (from->count && n < TLS_RECORD_PLAIN_MAX) {
        const uint8_t *at = (const uint8_t *)from->iov->iov_base + from->offset;
        size_t part = from->iov->iov_len - from->offset;
        bool is_whole = n == 0 && (part >= TLS_RECORD_PLAIN_MAX || from->count == 1);

        if (part > TLS_RECORD_PLAIN_MAX - n)
            part = TLS_RECORD_PLAIN_MAX - n;
        if (!is_whole)
            memcpy(plain + n, at, part);
        n += part;
        from->offset += part;
        if (from->offset == from->iov->iov_len) {
            from->iov++;
            from->count--;
            from->offset = 0;
        }
        *p = is_whole ? at : plain;
        if (is_whole && n)
            break;
    }
    return n;
}

/* Records into the scratch until it is full; bytes of plaintext, or a failure. */
static ptrdiff_t encrypt(struct tls *t, struct tls_scratch *s, struct source *from)
{
    size_t total = 0, n;
    const uint8_t *p = NULL;

    while (s->out_room - s->out_end >= TLS_RECORD_ROOM && (n = next_record(from, s->plain, &p)) != 0) {
        int rc = wolfSSL_write(t->ssl, p, (int)n);
        if (t->fault)
            return tls_result(t);
        if (rc != (int)n)
            return tls_fail_wolf(t, wolfSSL_get_error(t->ssl, rc));
        total += n;
    }
    return (ptrdiff_t)total;
}

ptrdiff_t tls_write(struct tls *t, int fd, struct tls_scratch *s, const struct iovec *iov, int count)
{
    struct source from = {iov, count, 0};
    ptrdiff_t n, total = 0;
    int rc = tls_flush(t, fd);

    if (rc != WEFT_OK)
        return rc;
    if (!t->is_done || t->fault || t->is_finished)
        return t->fault ? tls_result(t) : t->is_finished ? WEFT_E_CLOSED : WEFT_E_STATE;
    t->scratch = s;
    s->out_end = 0;
    do {
        n = encrypt(t, s, &from);
        if (n > 0)
            rc = tls_wire_send(t, fd, s);
        if (n > 0 && rc != WEFT_E_CLOSED)
            total += n;
    } while (n > 0 && rc == WEFT_OK && from.count);
    t->scratch = NULL;
    if (total)
        return total;
    return n < 0 ? n : rc;
}

void tls_finish(struct tls *t, int fd, struct tls_scratch *s)
{
    if (t->is_finished)
        return;
    save_session(t);
    t->is_finished = true;
    if (t->ssl && t->is_done && !t->fault) {
        t->scratch = s;
        s->out_end = 0;
        wolfSSL_shutdown(t->ssl);
        tls_forget_errors();
        tls_wire_send(t, fd, s);
        t->scratch = NULL;
    }
    tls_wire_finish(t, fd);
}

/* --- what was negotiated --- */

const char *tls_version(const struct tls *t)
{
    return t->is_done ? wolfSSL_get_version(t->ssl) : "";
}

const char *tls_cipher(const struct tls *t)
{
    const char *name = t->is_done ? wolfSSL_get_cipher(t->ssl) : "";

    return name ? name : "";
}

const char *tls_alpn(const struct tls *t)
{
    return t->has_alpn ? t->context->alpn : "";
}

bool tls_was_resumed(const struct tls *t)
{
    return t->was_resumed;
}

bool tls_has_peer_certificate(const struct tls *t)
{
    return t->is_checked;
}

const char *tls_peer_subject(const struct tls *t)
{
    return t->subject ? t->subject : "";
}
