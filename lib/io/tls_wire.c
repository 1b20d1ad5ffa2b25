/* Bytes between wolfSSL and the socket.
 *
 * wolfSSL's two callbacks move bytes between it and the scratch, and never touch the socket:
 *   in   s->in holds what was received from in_start to in_end. tls_on_receive opens one record after the
 *        other there and hands out its bytes; a record that is not whole is "nothing for now".
 *   out  tls_on_send appends to s->out. Behind each call that may have sent, tls_wire_send writes it in one
 *        system call. A failed write must not come back to wolfSSL, which would demand the same call with the
 *        same bytes again. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "io/tls_wire.h"

#include <string.h>

#include "base/mem.h"
#include "weft/error.h"

#define READ_BYTES_DEFAULT  (256u * 1024u)
#define WRITE_BYTES_DEFAULT (64u * 1024u + 1024u)
/* What a peer may make us read before the handshake is done: its certificates are most of it. */
#define HANDSHAKE_BYTES_MAX (64u * 1024u)
/* Records in a row that bring no data: tickets and new keys are few. */
#define EMPTY_RECORDS_MAX 64u
/* Answers (new keys, alerts) that may wait for a peer that does not read. */
#define ANSWER_BYTES_MAX (16u * 1024u)
#define AEAD_TAG_BYTES   16u

/* --- scratch, and what is kept of it --- */

struct tls_scratch *tls_scratch_new(size_t read_bytes, size_t write_bytes)
{
    struct tls_scratch *s = mem_alloc(sizeof *s);

    if (!s)
        return NULL;
    memset(s, 0, offsetof(struct tls_scratch, plain));
    s->in_room = read_bytes ? read_bytes : READ_BYTES_DEFAULT;
    s->out_room = write_bytes ? write_bytes : WRITE_BYTES_DEFAULT;
    if (s->in_room < 2 * TLS_RECORD_ROOM)
        s->in_room = 2 * TLS_RECORD_ROOM;
    if (s->out_room < TLS_RECORD_ROOM)
        s->out_room = TLS_RECORD_ROOM;
    s->in = mem_alloc(s->in_room);
    s->out = mem_alloc(s->out_room);
    if (s->in && s->out)
        return s;
    tls_scratch_free(s);
    return NULL;
}

void tls_scratch_free(struct tls_scratch *s)
{
    if (!s)
        return;
    if (s->in)
        explicit_bzero(s->in, s->in_room);
    explicit_bzero(s->plain, sizeof s->plain);
    mem_free(s->in);
    mem_free(s->out);
    mem_free(s);
}

static struct tls_held *hold(const uint8_t *p, size_t n)
{
    struct tls_held *held = mem_alloc(sizeof *held + n);

    if (!held)
        return NULL;
    held->bytes = (uint32_t)n;
    held->offset = 0;
    memcpy(held->data, p, n);
    return held;
}

static size_t held_bytes(const struct tls_held *held)
{
    return held ? held->bytes - held->offset : 0;
}

static void let_go(struct tls_held **held)
{
    mem_free(*held);
    *held = NULL;
}

void tls_wire_begin(struct tls *t, struct tls_scratch *s)
{
    size_t n = held_bytes(t->in);

    t->scratch = s;
    s->in_start = s->in_end = s->record_left = s->out_end = 0;
    if (!n)
        return;
    if (n > s->in_room) {
        tls_fail(t, FAULT_MEMORY); /* of another loop, with larger buffers */
        return;
    }
    memcpy(s->in, t->in->data + t->in->offset, n);
    s->in_end = n;
    let_go(&t->in);
}

static bool has_whole_record(const uint8_t *p, size_t n)
{
    return n >= TLS_RECORD_HEADER_BYTES && n - TLS_RECORD_HEADER_BYTES >= ((size_t)p[3] << 8 | p[4]);
}

void tls_wire_end(struct tls *t, struct tls_scratch *s)
{
    size_t n = s->in_end - s->in_start;

    t->may_have_more = t->socket_has_more;
    if (n && !t->fault && !t->has_end) {
        t->in = hold(s->in + s->in_start, n);
        if (!t->in)
            tls_fail(t, FAULT_MEMORY);
        t->may_have_more |= has_whole_record(s->in + s->in_start, n);
    }
    if (t->ssl && t->is_done && !t->fault && !t->has_end && wolfSSL_pending(t->ssl) > 0)
        t->may_have_more = true;
    t->may_have_more |= t->fault != FAULT_NONE || t->has_end;
    t->scratch = NULL;
}

void tls_wire_free(struct tls *t)
{
    let_go(&t->in);
    let_go(&t->out);
}

bool tls_may_have_more(const struct tls *t)
{
    return t->may_have_more;
}

/* --- the socket --- */

int tls_wire_receive(struct tls *t, int fd, struct tls_scratch *s, size_t most)
{
    struct link plain = {.fd = fd};
    struct iovec iov;
    ptrdiff_t n;

    if (s->in_start) {
        memmove(s->in, s->in + s->in_start, s->in_end - s->in_start);
        s->in_end -= s->in_start;
        s->in_start = 0;
    }
    if (most > s->in_room)
        most = s->in_room;
    if (most <= s->in_end)
        return WEFT_E_AGAIN;
    iov = (struct iovec){s->in + s->in_end, most - s->in_end};
    n = link_read(&plain, &iov, 1);
    t->socket_has_more = n > 0 && (size_t)n == iov.iov_len;
    if (n <= 0)
        return (int)n;
    s->in_end += (size_t)n;
    if (!t->is_done && (t->handshake_bytes += (uint32_t)n) > HANDSHAKE_BYTES_MAX)
        return tls_fail(t, FAULT_HANDSHAKE_BYTES);
    return WEFT_OK;
}

/* Behind what waits already. */
static bool hold_output(struct tls *t, const uint8_t *p, size_t n)
{
    size_t waits = held_bytes(t->out);
    struct tls_held *held;

    if (!n)
        return true;
    held = mem_alloc(sizeof *held + waits + n);
    if (!held)
        return false;
    if (waits)
        memcpy(held->data, t->out->data + t->out->offset, waits);
    memcpy(held->data + waits, p, n);
    held->bytes = (uint32_t)(waits + n);
    held->offset = 0;
    let_go(&t->out);
    t->out = held;
    return true;
}

static int socket_is_gone(struct tls *t)
{
    t->is_cut_off = true;
    let_go(&t->out);
    return WEFT_E_CLOSED;
}

void tls_wire_finish(struct tls *t, int fd)
{
    struct link plain = {.fd = fd};

    if (t->is_finished && !t->out)
        link_finish(&plain);
}

int tls_flush(struct tls *t, int fd)
{
    struct link plain = {.fd = fd};

    while (t->out) {
        struct iovec iov = {t->out->data + t->out->offset, held_bytes(t->out)};
        ptrdiff_t n = link_write(&plain, &iov, 1);
        if (n == WEFT_E_AGAIN)
            return WEFT_E_AGAIN;
        if (n < 0)
            return socket_is_gone(t);
        t->out->offset += (uint32_t)n;
        if (held_bytes(t->out))
            return WEFT_E_AGAIN; /* it took what it had room for */
        let_go(&t->out);
        t->answer_bytes = 0;
        tls_wire_finish(t, fd);
    }
    return t->is_cut_off ? WEFT_E_CLOSED : WEFT_OK;
}

int tls_wire_send(struct tls *t, int fd, struct tls_scratch *s)
{
    struct link plain = {.fd = fd};
    struct iovec iov = {s->out, s->out_end};
    ptrdiff_t n = 0;

    s->out_end = 0;
    if (t->is_cut_off)
        return WEFT_E_CLOSED;
    if (t->out) {
        if (!hold_output(t, s->out, iov.iov_len))
            return tls_fail(t, FAULT_MEMORY);
        return tls_flush(t, fd);
    }
    if (!iov.iov_len)
        return WEFT_OK;
    n = link_write(&plain, &iov, 1);
    if (n < 0 && n != WEFT_E_AGAIN)
        return socket_is_gone(t);
    if (n < 0)
        n = 0;
    if (!hold_output(t, s->out + n, iov.iov_len - (size_t)n))
        return tls_fail(t, FAULT_MEMORY);
    return t->out ? WEFT_E_AGAIN : WEFT_OK;
}

bool tls_has_output(const struct tls *t)
{
    return t->out != NULL;
}

bool tls_read_waits(const struct tls *t)
{
    return t->out && t->answer_bytes > ANSWER_BYTES_MAX;
}

uint32_t tls_pending_output_bytes(const struct tls *t)
{
    return (uint32_t)held_bytes(t->out);
}

/* --- wolfSSL's callbacks --- */

static bool is_sealed_1_3(const struct tls *t)
{
    return !t->is_done || wolfSSL_version(t->ssl) >= TLS_1_3;
}

/* T2: look at the record at the front. WEFT_OK: it is whole, and may be given to wolfSSL. */
static int open_record(struct tls *t, struct tls_scratch *s)
{
    const uint8_t *p = s->in + s->in_start;
    size_t n = s->in_end - s->in_start, length;

    if (n < TLS_RECORD_HEADER_BYTES)
        return WEFT_E_AGAIN;
    length = (size_t)p[3] << 8 | p[4];
    if (!t->is_done && memcmp(p, "HTTP/", TLS_RECORD_HEADER_BYTES) == 0)
        return tls_fail(t, FAULT_PLAIN_ANSWER);
    if (p[0] < 20 || p[0] > TLS_RECORD_DATA || p[1] != 3 || length == 0 || length > TLS_RECORD_BYTES_MAX)
        return tls_fail(t, FAULT_RECORD);
    /* CVE-2024-0901: a content type and a tag are the least that a record of TLS 1.3 holds. */
    if (p[0] == TLS_RECORD_DATA && length <= AEAD_TAG_BYTES && is_sealed_1_3(t))
        return tls_fail(t, FAULT_RECORD_SHORT);
    if (!has_whole_record(p, n))
        return WEFT_E_AGAIN;
    if (t->is_done && ++t->empty_records > EMPTY_RECORDS_MAX)
        return tls_fail(t, FAULT_EMPTY_RECORDS);
    s->record_left = TLS_RECORD_HEADER_BYTES + length;
    return WEFT_OK;
}

int tls_on_receive(struct WOLFSSL *ssl, char *to, int n, void *arg)
{
    struct tls *t = arg;
    struct tls_scratch *s = t->scratch;
    size_t part = (size_t)n;

    (void)ssl;
    if (!s->record_left) {
        int rc = open_record(t, s);
        if (rc != WEFT_OK)
            return rc == WEFT_E_AGAIN ? WOLFSSL_CBIO_ERR_WANT_READ : WOLFSSL_CBIO_ERR_GENERAL;
    }
    if (part > s->record_left)
        part = s->record_left;
    memcpy(to, s->in + s->in_start, part);
    s->in_start += part;
    s->record_left -= part;
    return (int)part;
}

int tls_on_send(struct WOLFSSL *ssl, char *from, int n, void *arg)
{
    struct tls *t = arg;
    struct tls_scratch *s = t->scratch;

    (void)ssl;
    if ((size_t)n > s->out_room - s->out_end) {
        if (!hold_output(t, s->out, s->out_end)) {
            tls_fail(t, FAULT_MEMORY);
            return WOLFSSL_CBIO_ERR_GENERAL;
        }
        s->out_end = 0;
        if ((size_t)n > s->out_room) {
            if (hold_output(t, (const uint8_t *)from, (size_t)n))
                return n;
            tls_fail(t, FAULT_MEMORY);
            return WOLFSSL_CBIO_ERR_GENERAL;
        }
    }
    memcpy(s->out + s->out_end, from, (size_t)n);
    s->out_end += (size_t)n;
    return n;
}
