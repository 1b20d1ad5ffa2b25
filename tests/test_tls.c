/* A TLS stream: bytes through it, cut in any way, with little room, ended well and badly, and by hostile
 * peers; and what it costs in memory. wolfSSL's memory is counted here, and made to fail. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "crew.h"
#include "tls_pair.h"
#include "unit.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "io/tls_hello.h"
#include "weft/error.h"

#define MEBIBYTE (1024u * 1024u)

/* --- wolfSSL's memory --- */

#define COUNT_HEADER 16

static _Atomic int64_t wolf_bytes;
static _Atomic int64_t wolf_fails_in; /* 0: never */

static void *wolf_alloc(size_t n)
{
    uint64_t *p;

    if (atomic_load(&wolf_fails_in) && atomic_fetch_sub(&wolf_fails_in, 1) <= 1) {
        atomic_store(&wolf_fails_in, 1); /* from now on all */
        return NULL;
    }
    p = malloc(n + COUNT_HEADER);
    if (!p)
        return NULL;
    p[0] = n;
    atomic_fetch_add(&wolf_bytes, (int64_t)n);
    return p + COUNT_HEADER / sizeof *p;
}

static void wolf_free(void *block)
{
    uint64_t *p = block;

    if (!p)
        return;
    p -= COUNT_HEADER / sizeof *p;
    atomic_fetch_sub(&wolf_bytes, (int64_t)p[0]);
    free(p);
}

static void *wolf_realloc(void *block, size_t n)
{
    uint64_t *old = block;
    void *p = wolf_alloc(n);

    if (p && old) {
        size_t had = old[-(ptrdiff_t)(COUNT_HEADER / sizeof *old)];
        memcpy(p, old, had < n ? had : n);
        wolf_free(old);
    }
    return p;
}

/* --- two contexts for all cases --- */

static struct tls_context *server, *client;
static const char *const of_1_2 = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256";

static void open_pair(struct tls_pair *p)
{
    pair_open(p, server, client, "localhost", PAIR_UNIX);
    CU_ASSERT_FATAL(pair_shake(p));
}

/* With the suites of TLS 1.2 only. */
static void open_pair_1_2(struct tls_pair *p)
{
    struct tls_options o = server_options("server");
    struct tls_context *c;

    o.ciphers = of_1_2;
    c = context_of(&o);
    pair_port = 2;
    pair_open(p, c, client, "localhost", PAIR_UNIX);
    pair_port = 1;
    tls_context_unref(c);
    CU_ASSERT_FATAL(pair_shake(p));
    CU_ASSERT_STRING_EQUAL(tls_version(p->client.t), "TLSv1.2");
}

static void fill(uint8_t *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 + i / 251 + seed);
}

/* Both in turn, as two loops would. */
static bool pass(struct tls_side *from, struct tls_side *to, const uint8_t *p, uint8_t *q, size_t n,
                 size_t piece)
{
    size_t sent = 0, got = 0;

    for (unsigned idle = 0; got < n && idle < 10000; idle++) {
        struct iovec out = {(void *)(p + sent), n - sent < piece ? n - sent : piece}, in = {q + got, n - got};
        ptrdiff_t took = 0, came;

        if (tls_has_output(from->t))
            tls_flush(from->t, from->fd);
        else if (sent < n)
            took = tls_write(from->t, from->fd, from->s, &out, 1);
        if (took < 0 && took != WEFT_E_AGAIN)
            return false;
        sent += took > 0 ? (size_t)took : 0;
        came = tls_read(to->t, to->fd, to->s, &in, 1);
        if (came < 0 && came != WEFT_E_AGAIN)
            return false;
        got += came > 0 ? (size_t)came : 0;
        if (took > 0 || came > 0)
            idle = 0;
    }
    return got == n && memcmp(p, q, n) == 0;
}

static void a_mebibyte_goes_each_way(void)
{
    uint8_t *p = malloc(MEBIBYTE), *q = malloc(MEBIBYTE);
    struct tls_pair pair;

    fill(p, MEBIBYTE, 1);
    for (int kind = PAIR_UNIX; kind <= PAIR_TCP; kind++) {
        pair_open(&pair, server, client, "localhost", kind);
        CU_ASSERT_FATAL(pair_shake(&pair));
        CU_ASSERT(pass(&pair.client, &pair.server, p, q, MEBIBYTE, MEBIBYTE));
        CU_ASSERT(pass(&pair.server, &pair.client, p, q, MEBIBYTE, 70000));
        CU_ASSERT(pass(&pair.server, &pair.client, p, q, 100000, 1000));
        pair_close(&pair);
    }
    open_pair_1_2(&pair);
    CU_ASSERT(pass(&pair.client, &pair.server, p, q, MEBIBYTE, MEBIBYTE));
    CU_ASSERT(pass(&pair.server, &pair.client, p, q, MEBIBYTE, MEBIBYTE));
    pair_close(&pair);
    free(p);
    free(q);
}

/* A refused write is not repeated to wolfSSL: other bytes may follow, and fewer. */
static void little_room_delays_and_loses_nothing(void)
{
    static uint8_t p[300000], q[sizeof p];
    struct tls_pair pair;
    int little = 1;

    pair_open(&pair, server, client, "localhost", PAIR_UNIX);
    setsockopt(pair.server.fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof little);
    setsockopt(pair.client.fd, SOL_SOCKET, SO_SNDBUF, &little, sizeof little);
    CU_ASSERT_FATAL(pair_shake(&pair));
    fill(p, sizeof p, 2);
    CU_ASSERT(pass(&pair.server, &pair.client, p, q, sizeof p, 50000));
    CU_ASSERT(pass(&pair.client, &pair.server, p, q, 40000, 777));
    pair_close(&pair);
}

static void what_the_socket_does_not_take_is_kept_and_nothing_more_accepted(void)
{
    static uint8_t p[400000], q[sizeof p];
    struct tls_pair pair;
    struct iovec iov = {p, sizeof p}, few = {p, 3};
    ptrdiff_t took;

    open_pair(&pair);
    fill(p, sizeof p, 3);
    took = tls_write(pair.server.t, pair.server.fd, pair.server.s, &iov, 1);
    CU_ASSERT(took > 0 && took < (ptrdiff_t)sizeof p);
    CU_ASSERT(tls_has_output(pair.server.t));
    CU_ASSERT(tls_pending_output_bytes(pair.server.t) > 0 && tls_pending_output_bytes(pair.server.t) < 80000);
    CU_ASSERT_EQUAL(tls_write(pair.server.t, pair.server.fd, pair.server.s, &few, 1), WEFT_E_AGAIN);
    CU_ASSERT_EQUAL(tls_flush(pair.server.t, pair.server.fd), WEFT_E_AGAIN);
    for (ptrdiff_t got = 0; got < took;) {
        ptrdiff_t n = side_read_once(&pair.client, q + got, sizeof q - (size_t)got);
        CU_ASSERT_FATAL(n > 0);
        got += n;
        tls_flush(pair.server.t, pair.server.fd);
    }
    CU_ASSERT_EQUAL(memcmp(p, q, (size_t)took), 0);
    CU_ASSERT_FALSE(tls_has_output(pair.server.t));
    CU_ASSERT_EQUAL(tls_pending_output_bytes(pair.server.t), 0);
    CU_ASSERT(side_write(&pair.server, "end", 3) && side_read(&pair.client, q, 3));
    CU_ASSERT_EQUAL(memcmp(q, "end", 3), 0);
    pair_close(&pair);
}

static void small_pieces_share_a_record(void)
{
    static uint8_t p[20000], raw[40000];
    struct iovec iov[100];
    struct tls_pair pair;
    unsigned records = 0;
    ssize_t n;

    open_pair(&pair);
    fill(p, sizeof p, 4);
    for (int i = 0; i < 100; i++)
        iov[i] = (struct iovec){p + i * 200, 200};
    CU_ASSERT_EQUAL(tls_write(pair.client.t, pair.client.fd, pair.client.s, iov, 100), (ptrdiff_t)sizeof p);
    n = recv(pair.server.fd, raw, sizeof raw, 0);
    for (ssize_t at = 0; at < n; at += 5 + (raw[at + 3] << 8 | raw[at + 4]))
        records++;
    CU_ASSERT_EQUAL(records, 2); /* 16 KiB and the rest */
    pair_close(&pair);
}

static void reads_of_any_size_give_the_same_bytes(void)
{
    static const size_t sizes[] = {1, 2, 7, 100, 4096, 16383, 16384, 16385, 50000};
    static uint8_t p[60000], q[sizeof p];
    struct tls_pair pair;

    open_pair(&pair);
    fill(p, sizeof p, 5);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct iovec out = {p, sizeof p};
        size_t got = 0;
        CU_ASSERT_EQUAL(tls_write(pair.client.t, pair.client.fd, pair.client.s, &out, 1),
                        (ptrdiff_t)sizeof p);
        memset(q, 0, sizeof q);
        while (got < sizeof p) {
            size_t half = sizes[i] / 2, room = sizeof p - got < sizes[i] ? sizeof p - got : sizes[i];
            struct iovec in[2] = {{q + got, half < room ? half : room},
                                  {q + got + half, room > half ? room - half : 0}};
            ptrdiff_t n = tls_read(pair.server.t, pair.server.fd, pair.server.s, in, 2);
            CU_ASSERT_FATAL(n > 0);
            got += (size_t)n;
            CU_ASSERT(got == sizeof p || tls_may_have_more(pair.server.t));
        }
        CU_ASSERT_EQUAL(memcmp(p, q, sizeof p), 0);
        out.iov_base = q;
        CU_ASSERT_EQUAL(tls_read(pair.server.t, pair.server.fd, pair.server.s, &out, 1), WEFT_E_AGAIN);
        CU_ASSERT_FALSE(tls_may_have_more(pair.server.t));
    }
    pair_close(&pair);
}

/* --- one octet at a time --- */

/* A wire in two pieces, from which one octet at a time is let through: `from` writes to its own socket, whose
 * other end is here, and so does `to`. */
struct wire {
    int at_server, at_client;
};

static void wire_open(struct wire *w, struct tls_pair *p, struct tls_context *s, struct tls_context *c)
{
    int fds[2];

    pair_open(p, s, c, "localhost", PAIR_UNIX);
    close(p->client.fd);
    fds_pair(fds, PAIR_UNIX);
    w->at_client = fds[1];
    p->client.fd = fds[0];
    close(p->server.fd);
    fds_pair(fds, PAIR_UNIX);
    w->at_server = fds[1];
    p->server.fd = fds[0];
}

static void wire_close(struct wire *w, struct tls_pair *p)
{
    close(w->at_client);
    close(w->at_server);
    pair_close(p);
}

static ssize_t wire_take(int from, uint8_t *p, size_t n)
{
    ssize_t got = recv(from, p, n, MSG_DONTWAIT);

    return got < 0 ? 0 : got;
}

/* All that one side said, to the other, octet by octet; each is followed by a call. */
static size_t trickle(int from, int to, struct tls_side *side)
{
    static uint8_t p[65536];
    size_t n = (size_t)wire_take(from, p, sizeof p);

    for (size_t i = 0; i < n; i++) {
        CU_ASSERT_EQUAL_FATAL(send(to, p + i, 1, 0), 1);
        if (side->rc == WEFT_E_AGAIN)
            side->rc = tls_handshake(side->t, side->fd, side->s);
        CU_ASSERT_FATAL(side->rc == WEFT_OK || (side->rc == WEFT_E_AGAIN));
    }
    return n;
}

static void one_octet_at_a_time_is_enough(void)
{
    static uint8_t p[1000], q[sizeof p], raw[4096];
    struct tls_pair pair;
    struct wire w;
    size_t n, got = 0;

    wire_open(&w, &pair, server, client);
    pair.client.rc = tls_handshake(pair.client.t, pair.client.fd, pair.client.s);
    for (int i = 0; i < 5; i++) {
        trickle(w.at_client, w.at_server, &pair.server);
        trickle(w.at_server, w.at_client, &pair.client);
    }
    CU_ASSERT_EQUAL_FATAL(pair.server.rc, WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(pair.client.rc, WEFT_OK);
    fill(p, sizeof p, 6);
    CU_ASSERT(side_write(&pair.client, p, sizeof p));
    n = (size_t)wire_take(w.at_client, raw, sizeof raw);
    for (size_t i = 0; i < n; i++) {
        struct iovec in = {q, sizeof q};
        ptrdiff_t came;
        send(w.at_server, raw + i, 1, 0);
        came = tls_read(pair.server.t, pair.server.fd, pair.server.s, &in, 1);
        CU_ASSERT_EQUAL(came, i + 1 < n ? WEFT_E_AGAIN : (ptrdiff_t)sizeof p);
        got += came > 0 ? (size_t)came : 0;
    }
    CU_ASSERT(got == sizeof p && memcmp(p, q, sizeof p) == 0);
    wire_close(&w, &pair);
}

/* --- ends --- */

static void an_end_is_told_from_a_cut(void)
{
    struct tls_pair pair;
    uint8_t p[16];

    for (int version = 2; version <= 3; version++) {
        (version == 2 ? open_pair_1_2 : open_pair)(&pair);
        CU_ASSERT(side_write(&pair.client, "last", 4));
        tls_finish(pair.client.t, pair.client.fd, pair.client.s);
        tls_finish(pair.client.t, pair.client.fd, pair.client.s);
        CU_ASSERT_EQUAL(side_read_once(&pair.server, p, sizeof p), 4);
        CU_ASSERT_EQUAL(side_read_once(&pair.server, p, sizeof p), LINK_END);
        CU_ASSERT_EQUAL(side_read_once(&pair.server, p, sizeof p), LINK_END);
        pair_close(&pair);

        (version == 2 ? open_pair_1_2 : open_pair)(&pair);
        CU_ASSERT(side_write(&pair.client, "last", 4));
        shutdown(pair.client.fd, SHUT_WR);
        CU_ASSERT_EQUAL(side_read_once(&pair.server, p, sizeof p), 4);
        CU_ASSERT_EQUAL(side_read_once(&pair.server, p, sizeof p), TLS_CUT);
        CU_ASSERT_EQUAL(side_read_once(&pair.server, p, sizeof p), TLS_CUT);
        pair_close(&pair);
    }
}

static void half_a_record_before_the_end_is_a_cut(void)
{
    struct tls_pair pair;
    struct wire w;
    uint8_t raw[4096], p[64];
    ssize_t n;

    wire_open(&w, &pair, server, client);
    pair.client.rc = tls_handshake(pair.client.t, pair.client.fd, pair.client.s);
    for (int i = 0; i < 5; i++) {
        trickle(w.at_client, w.at_server, &pair.server);
        trickle(w.at_server, w.at_client, &pair.client);
    }
    side_write(&pair.client, "hello", 5);
    n = wire_take(w.at_client, raw, sizeof raw);
    send(w.at_server, raw, (size_t)n - 1, 0);
    shutdown(w.at_server, SHUT_WR);
    CU_ASSERT_EQUAL(side_read_once(&pair.server, p, sizeof p), TLS_CUT);
    wire_close(&w, &pair);
}

static void who_has_finished_still_reads(void)
{
    struct tls_pair pair;
    uint8_t p[8];

    open_pair(&pair);
    tls_finish(pair.client.t, pair.client.fd, pair.client.s);
    CU_ASSERT_EQUAL(side_read_once(&pair.server, p, sizeof p), LINK_END);
    CU_ASSERT(side_write(&pair.server, "answer", 6));
    CU_ASSERT_EQUAL(side_read_once(&pair.client, p, sizeof p), 6);
    CU_ASSERT_FALSE(side_write(&pair.client, "more", 4));
    tls_finish(pair.server.t, pair.server.fd, pair.server.s);
    CU_ASSERT_EQUAL(side_read_once(&pair.client, p, sizeof p), LINK_END);
    pair_close(&pair);
}

static void the_end_leaves_behind_what_waits(void)
{
    static uint8_t p[400000], q[sizeof p];
    struct tls_pair pair;
    struct iovec iov = {p, sizeof p};
    ptrdiff_t took, got = 0, n;

    open_pair(&pair);
    took = tls_write(pair.server.t, pair.server.fd, pair.server.s, &iov, 1);
    tls_finish(pair.server.t, pair.server.fd, pair.server.s);
    CU_ASSERT(tls_has_output(pair.server.t));
    while ((n = side_read_once(&pair.client, q, sizeof q)) > 0) {
        got += n;
        tls_flush(pair.server.t, pair.server.fd);
    }
    CU_ASSERT_EQUAL(n, LINK_END);
    CU_ASSERT_EQUAL(got, took);
    CU_ASSERT_EQUAL(recv(pair.client.fd, q, 1, 0), 0);
    pair_close(&pair);
}

static void a_peer_that_is_gone_is_noticed(void)
{
    struct tls_pair pair;
    struct iovec iov = {(void *)"x", 1};
    int fd;

    open_pair(&pair);
    fd = dup(pair.client.fd);
    shutdown(fd, SHUT_RDWR);
    close(fd);
    CU_ASSERT_EQUAL(tls_write(pair.server.t, pair.server.fd, pair.server.s, &iov, 1), WEFT_E_CLOSED);
    CU_ASSERT_EQUAL(tls_write(pair.server.t, pair.server.fd, pair.server.s, &iov, 1), WEFT_E_CLOSED);
    CU_ASSERT_FALSE(tls_has_output(pair.server.t));
    pair_close(&pair);
}

/* --- hostile peers --- */

/* What the server answers to these bytes; its error in why. */
static int answer_to(const void *p, size_t n, bool ends, uint8_t *alert, char *why)
{
    struct tls_side side = {tls_new(server, NULL, 0), -1, WEFT_E_AGAIN, tls_scratch_new(0, 0)};
    uint8_t raw[64] = {0};
    int fds[2];

    fds_pair(fds, PAIR_UNIX);
    side.fd = fds[0];
    CU_ASSERT_EQUAL(send(fds[1], p, n, 0), (ssize_t)n);
    if (ends)
        shutdown(fds[1], SHUT_WR);
    side.rc = tls_handshake(side.t, side.fd, side.s);
    tls_error_text(side.t, why, 256);
    *alert = 0;
    if (recv(fds[1], raw, sizeof raw, MSG_DONTWAIT) >= 7 && raw[0] == 21)
        *alert = raw[6];
    tls_free(side.t);
    tls_scratch_free(side.s);
    close(fds[0]);
    close(fds[1]);
    return side.rc;
}

static void what_is_not_tls_is_refused_by_name(void)
{
    char why[256], garbage[3000];
    uint8_t alert;

    CU_ASSERT_EQUAL(answer_to("GET / HTTP/1.1\r\n", 16, false, &alert, why), WEFT_E_TLS);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "plain HTTP"));
    CU_ASSERT_EQUAL(alert, 10);
    CU_ASSERT_EQUAL(answer_to("G", 1, false, &alert, why), WEFT_E_TLS);
    memset(garbage, 0xa5, sizeof garbage);
    CU_ASSERT_EQUAL(answer_to(garbage, sizeof garbage, false, &alert, why), WEFT_E_TLS);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "does not speak TLS"));
    CU_ASSERT_EQUAL(answer_to("", 0, true, &alert, why), WEFT_E_CLOSED);
    CU_ASSERT_EQUAL(answer_to("\x16\3\1", 3, true, &alert, why), WEFT_E_CLOSED);
    CU_ASSERT_EQUAL(answer_to("\x16\3\1\0\4\1\0\1\0", 9, false, &alert, why), WEFT_E_AGAIN);
    /* A ClientHello in name only. */
    CU_ASSERT_EQUAL(answer_to("\x16\3\1\0\6\1\0\0\2\3\3", 11, false, &alert, why), WEFT_E_TLS);
    CU_ASSERT_EQUAL(alert, 50);
}

/* After a good handshake, this comes from the client; what the server's read says. */
static ptrdiff_t read_of(const void *p, size_t n, bool is_1_2, char *why)
{
    struct tls_pair pair;
    uint8_t room[64];
    ptrdiff_t got;

    (is_1_2 ? open_pair_1_2 : open_pair)(&pair);
    CU_ASSERT_EQUAL(send(pair.client.fd, p, n, 0), (ssize_t)n);
    got = side_read_once(&pair.server, room, sizeof room);
    tls_error_text(pair.server.t, why, 256);
    pair_close(&pair);
    return got;
}

static void a_record_too_short_for_its_tag_is_refused(void)
{
    uint8_t record[5 + 17] = {23, 3, 3, 0, 0};
    char why[256];

    for (uint8_t n = 1; n <= 17; n++) {
        record[4] = n;
        CU_ASSERT_EQUAL(read_of(record, 5u + n, false, why), WEFT_E_TLS);
        /* CVE-2024-0901: wolfSSL never sees it. */
        CU_ASSERT_EQUAL(strstr(why, "too short to be sealed") != NULL, n <= 16);
    }
    record[4] = 0;
    CU_ASSERT_EQUAL(read_of(record, 5, false, why), WEFT_E_TLS);
    record[4] = 8;
    CU_ASSERT_EQUAL(read_of(record, 13, true, why), WEFT_E_TLS);
}

static void records_that_there_are_not_are_refused(void)
{
    char why[256];

    CU_ASSERT_EQUAL(read_of("\x18\3\3\0\x20", 5, false, why), WEFT_E_TLS); /* a heartbeat */
    CU_ASSERT_EQUAL(read_of("\x17\2\3\0\x20", 5, false, why), WEFT_E_TLS);
    CU_ASSERT_EQUAL(read_of("\x17\3\3\xff\xff", 5, false, why), WEFT_E_TLS);
    CU_ASSERT_EQUAL(read_of("\x14\3\3\0\1\1", 6, false, why), WEFT_E_TLS);
    CU_ASSERT_EQUAL(read_of("\x15\3\3\0\2\1\0", 7, false, why), WEFT_E_TLS); /* an end that is not sealed */
}

static void a_changed_octet_is_noticed(void)
{
    struct tls_pair pair;
    struct wire w;
    uint8_t raw[4096], p[64];
    struct iovec iov = {p, sizeof p};
    ssize_t n;

    wire_open(&w, &pair, server, client);
    pair.client.rc = tls_handshake(pair.client.t, pair.client.fd, pair.client.s);
    for (int i = 0; i < 5; i++) {
        trickle(w.at_client, w.at_server, &pair.server);
        trickle(w.at_server, w.at_client, &pair.client);
    }
    side_write(&pair.client, "hello", 5);
    n = wire_take(w.at_client, raw, sizeof raw);
    raw[n - 3] ^= 1;
    send(w.at_server, raw, (size_t)n, 0);
    CU_ASSERT_EQUAL(side_read_once(&pair.server, p, sizeof p), WEFT_E_TLS);
    CU_ASSERT_EQUAL(side_read_once(&pair.server, p, sizeof p), WEFT_E_TLS);
    CU_ASSERT_EQUAL(tls_write(pair.server.t, pair.server.fd, pair.server.s, &iov, 1), WEFT_E_TLS);
    tls_finish(pair.server.t, pair.server.fd, pair.server.s);
    CU_ASSERT(wire_take(w.at_server, raw, sizeof raw) > 0); /* the alert */
    wire_close(&w, &pair);
}

static void a_handshake_without_end_is_ended(void)
{
    struct tls_pair pair;
    struct wire w;
    static uint8_t block[5 + 16384] = {22, 3, 3, 0x40, 0, 11, 0xff, 0xff, 0xff};
    struct tls_side *c;

    wire_open(&w, &pair, server, client);
    c = &pair.client;
    c->rc = tls_handshake(c->t, c->fd, c->s);
    trickle(w.at_client, w.at_server, &pair.server);
    for (int i = 0; i < 20 && c->rc == WEFT_E_AGAIN; i++) {
        for (size_t at = 0; at < sizeof block;) {
            ssize_t n = send(w.at_client, block + at, sizeof block - at, MSG_NOSIGNAL);
            if (n <= 0)
                break;
            at += (size_t)n;
        }
        c->rc = tls_handshake(c->t, c->fd, c->s);
    }
    CU_ASSERT_EQUAL(c->rc, WEFT_E_TLS);
    wire_close(&w, &pair);
}

/* A ClientHello of 16,000 octets, each in a record of its own. */
static void a_handshake_that_dribbles_is_ended(void)
{
    struct tls_side side = {tls_new(server, NULL, 0), -1, WEFT_E_AGAIN, tls_scratch_new(0, 0)};
    static const uint8_t start[] = {1, 0, 62, 128};
    int fds[2];

    fds_pair(fds, PAIR_UNIX);
    side.fd = fds[0];
    for (unsigned i = 0; i < 16000 && side.rc == WEFT_E_AGAIN; i++) {
        uint8_t record[6] = {22, 3, 1, 0, 1, i < sizeof start ? start[i] : 0};
        CU_ASSERT_EQUAL_FATAL(send(fds[1], record, sizeof record, 0), (ssize_t)sizeof record);
        if (i % 100 == 99)
            side.rc = tls_handshake(side.t, side.fd, side.s);
    }
    CU_ASSERT_EQUAL(side.rc, WEFT_E_TLS);
    CU_ASSERT_PTR_NOT_NULL(strstr(side_error(&side), "too many bytes"));
    tls_free(side.t);
    tls_scratch_free(side.s);
    close(fds[0]);
    close(fds[1]);
}

/* A raw client of wolfSSL's, for what ours does not do. */
struct raw {
    WOLFSSL_CTX *ctx;
    WOLFSSL *ssl;
};

static void raw_open(struct raw *r, struct tls_side *side)
{
    int fds[2], rc = 0;

    fds_pair(fds, PAIR_UNIX);
    *side = (struct tls_side){tls_new(server, NULL, 0), fds[0], WEFT_E_AGAIN, tls_scratch_new(0, 0)};
    r->ctx = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
    wolfSSL_CTX_set_verify(r->ctx, WOLFSSL_VERIFY_NONE, NULL);
    r->ssl = wolfSSL_new(r->ctx);
    wolfSSL_set_fd(r->ssl, fds[1]);
    wolfSSL_set_using_nonblock(r->ssl, 1);
    for (int i = 0; i < 20; i++) {
        if (rc != WOLFSSL_SUCCESS)
            rc = wolfSSL_connect(r->ssl);
        if (side->rc == WEFT_E_AGAIN)
            side->rc = tls_handshake(side->t, side->fd, side->s);
    }
    CU_ASSERT_EQUAL_FATAL(side->rc, WEFT_OK);
}

static void raw_close(struct raw *r, struct tls_side *side)
{
    close(wolfSSL_get_fd(r->ssl));
    wolfSSL_free(r->ssl);
    wolfSSL_CTX_free(r->ctx);
    tls_free(side->t);
    tls_scratch_free(side->s);
    close(side->fd);
}

static void new_keys_are_taken_and_answered(void)
{
    struct tls_side side;
    struct raw r;
    char p[16];

    raw_open(&r, &side);
    for (int i = 0; i < 10; i++) {
        CU_ASSERT_EQUAL(wolfSSL_update_keys(r.ssl), WOLFSSL_SUCCESS);
        CU_ASSERT_EQUAL(wolfSSL_write(r.ssl, "hello", 5), 5);
        CU_ASSERT_EQUAL(side_read_once(&side, p, sizeof p), 5);
        CU_ASSERT(side_write(&side, "back", 4));
        CU_ASSERT_EQUAL(wolfSSL_read(r.ssl, p, sizeof p), 4);
    }
    raw_close(&r, &side);
}

/* A peer that asks for new keys and for nothing else. */
static void records_without_data_are_counted(void)
{
    struct tls_side side;
    struct raw r;
    char p[16], why[256];
    ptrdiff_t got = WEFT_E_AGAIN;

    raw_open(&r, &side);
    for (int i = 0; i < 200 && got == WEFT_E_AGAIN; i++) {
        struct iovec in = {p, sizeof p};
        wolfSSL_update_keys(r.ssl);
        got = tls_read(side.t, side.fd, side.s, &in, 1);
        wolfSSL_read(r.ssl, p, sizeof p);
    }
    CU_ASSERT_EQUAL(got, WEFT_E_TLS);
    tls_error_text(side.t, why, sizeof why);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "without data"));
    raw_close(&r, &side);
}

static void a_renegotiation_is_refused(void)
{
    struct tls_pair pair;
    uint8_t p[16];

    /* A HelloRequest to a client, not sealed; and a second ClientHello in the clear. */
    open_pair_1_2(&pair);
    send(pair.server.fd, "\x16\3\3\0\4\0\0\0\0", 9, 0);
    CU_ASSERT_EQUAL(side_read_once(&pair.client, p, sizeof p), WEFT_E_TLS);
    pair_close(&pair);
}

/* --- memory --- */

static void an_idle_connection_keeps_little(void)
{
    enum { PAIRS = 20 };
    static struct tls_pair pairs[PAIRS];
    static uint8_t p[100000], q[sizeof p];
    int64_t before, blocks, each;
    struct tls_context *s;
    struct tls_options o = server_options("server");
    struct tls_context *c;

    o.no_tickets = true;
    s = context_of(&o);
    o = client_options();
    o.sessions_max = TLS_NO_SESSIONS;
    c = context_of(&o);
    pair_open(&pairs[0], s, c, "localhost", PAIR_UNIX);
    CU_ASSERT_FATAL(pair_shake(&pairs[0]));
    pair_close(&pairs[0]);
    for (int i = 0; i < PAIRS; i++) {
        pair_open(&pairs[i], s, c, "localhost", PAIR_UNIX);
        CU_ASSERT_FATAL(pair_shake(&pairs[i]));
        CU_ASSERT(pass(&pairs[i].client, &pairs[i].server, p, q, sizeof p, sizeof p));
        CU_ASSERT(pass(&pairs[i].server, &pairs[i].client, p, q, sizeof p, sizeof p));
    }
    before = atomic_load(&wolf_bytes);
    for (int i = 0; i < PAIRS; i++) {
        tls_free(pairs[i].server.t);
        pairs[i].server.t = NULL;
    }
    each = (before - atomic_load(&wolf_bytes)) / PAIRS;
    blocks = each;
    printf("an idle server connection keeps %lld bytes of wolfSSL's\n", (long long)blocks);
#ifdef WOLFSSL_NGINX
    CU_ASSERT(each < 64 * 1024); /* a build with all there is */
#else
    CU_ASSERT(each < 6 * 1024);
#endif
    for (int i = 0; i < PAIRS; i++)
        pair_close(&pairs[i]);
    tls_context_unref(s);
    tls_context_unref(c);
}

static void a_connection_that_says_nothing_costs_nothing(void)
{
    int64_t before = atomic_load(&wolf_bytes);
    struct tls *t = tls_new(server, NULL, 0);

    CU_ASSERT_EQUAL(atomic_load(&wolf_bytes), before);
    tls_free(t);
}

static void *shake_hands(void *arg)
{
    bool *met = arg;
    struct tls_pair pair;

    *met = true;
    for (int i = 0; i < 4; i++) {
        *met &= pair_meet(&pair, server, client, "localhost");
        pair_close(&pair);
    }
    tls_thread_leave();
    return NULL;
}

static void a_thread_leaves_nothing_behind(void)
{
    bool met;
    int64_t before;

    for (int i = 0; i < 3; i++) {
        struct crew crew = {.count = 0};
        before = atomic_load(&wolf_bytes);
        crew_add(&crew, shake_hands, &met);
        crew_join(&crew);
        CU_ASSERT(met);
        /* The client may have kept a session more. */
        CU_ASSERT(atomic_load(&wolf_bytes) - before < 100000);
    }
}

/* Whatever allocation fails, it is an error and nothing worse. */
static void without_memory_there_is_an_error(void)
{
    unsigned met = 0, step = unit_is_slow() ? 5 : 1;

    for (unsigned n = 1; n < 4000 && !met; n += step) {
        struct tls_pair pair;
        struct tls *t;

        mem_fail_at(0);
        pair_open(&pair, server, client, "localhost", PAIR_UNIX);
        atomic_store(&wolf_fails_in, n);
        met = pair_shake(&pair);
        atomic_store(&wolf_fails_in, 0);
        if (!met)
            CU_ASSERT(pair.server.rc != WEFT_OK || pair.client.rc != WEFT_OK);
        pair_close(&pair);
        atomic_store(&wolf_fails_in, n);
        t = tls_new(client, "localhost", 1);
        atomic_store(&wolf_fails_in, 0);
        tls_free(t);
    }
    CU_ASSERT(met);
}

static void without_memory_of_ours_there_is_an_error_too(void)
{
    struct tls_options o = server_options("server");
    struct tls_key_pair other = key_pair("other");
    bool happened = true;

    o.others = &other;
    o.other_count = 1;
    for (unsigned n = 1; happened; n++) {
        struct tls_context *s;
        char why[256];
        int rc;
        mem_fail_at(n);
        rc = tls_context_new(&s, &o, why, sizeof why);
        happened = mem_fail_happened();
        mem_fail_at(0);
        CU_ASSERT_EQUAL(rc, happened ? WEFT_E_NOMEM : WEFT_OK);
        tls_context_unref(s);
    }
    happened = true;
    for (unsigned n = 1; happened; n++) {
        struct tls_pair pair;
        bool met;
        pair_open(&pair, server, client, "localhost", PAIR_UNIX);
        mem_fail_at(n);
        met = pair_shake(&pair);
        happened = mem_fail_happened();
        mem_fail_at(0);
        CU_ASSERT_EQUAL(met, !happened);
        pair_close(&pair);
    }
}

/* --- threads --- */

struct talker {
    unsigned seed;
    bool went_well;
};

static void *talk(void *arg)
{
    struct talker *me = arg;
    static const size_t n = 200000;
    uint8_t *p = malloc(n), *q = malloc(n);
    struct tls_scratch *s = tls_scratch_new(0, 0);

    fill(p, n, me->seed);
    me->went_well = true;
    for (int round = 0; round < 5 && me->went_well; round++) {
        struct tls_pair pair;
        pair_open(&pair, server, client, "localhost", round % 2 ? PAIR_TCP : PAIR_UNIX);
        me->went_well = pair_shake(&pair) && pass(&pair.client, &pair.server, p, q, n, n) &&
                        pass(&pair.server, &pair.client, p, q, n, 5000);
        pair_close(&pair);
    }
    tls_thread_leave();
    tls_scratch_free(s);
    free(p);
    free(q);
    return NULL;
}

static void four_loops_share_the_contexts(void)
{
    struct talker talkers[4];
    struct crew crew = {.count = 0};

    for (unsigned i = 0; i < 4; i++) {
        talkers[i] = (struct talker){i, false};
        crew_add(&crew, talk, &talkers[i]);
    }
    crew_join(&crew);
    for (unsigned i = 0; i < 4; i++)
        CU_ASSERT(talkers[i].went_well);
}

/* The driving role moves: each step of a connection by another thread, one at a time. */
struct baton {
    struct tls_pair *pair;
    bool met;
};

static void *carry_on(void *arg)
{
    struct baton *b = arg;
    struct tls_side *sides[2] = {&b->pair->client, &b->pair->server};

    for (int i = 0; i < 2; i++)
        if (sides[i]->rc == WEFT_E_AGAIN)
            sides[i]->rc = tls_handshake(sides[i]->t, sides[i]->fd, sides[i]->s);
    b->met = sides[0]->rc == WEFT_OK && sides[1]->rc == WEFT_OK;
    tls_thread_leave();
    return NULL;
}

static void a_connection_may_move_between_threads(void)
{
    struct tls_pair pair;
    struct baton b = {&pair, false};
    char p[8];

    pair_open(&pair, server, client, "localhost", PAIR_UNIX);
    for (int i = 0; i < 10 && !b.met; i++) {
        struct crew crew = {.count = 0};
        crew_add(&crew, carry_on, &b);
        crew_join(&crew);
    }
    CU_ASSERT(b.met);
    CU_ASSERT(side_write(&pair.client, "moved", 5) && side_read(&pair.server, p, 5));
    pair_close(&pair);
}

static const struct unit_case cases[] = {
    CASE(a_mebibyte_goes_each_way),
    CASE(little_room_delays_and_loses_nothing),
    CASE(what_the_socket_does_not_take_is_kept_and_nothing_more_accepted),
    CASE(small_pieces_share_a_record),
    CASE(reads_of_any_size_give_the_same_bytes),
    CASE(one_octet_at_a_time_is_enough),
    CASE(an_end_is_told_from_a_cut),
    CASE(half_a_record_before_the_end_is_a_cut),
    CASE(who_has_finished_still_reads),
    CASE(the_end_leaves_behind_what_waits),
    CASE(a_peer_that_is_gone_is_noticed),
    CASE(what_is_not_tls_is_refused_by_name),
    CASE(a_record_too_short_for_its_tag_is_refused),
    CASE(records_that_there_are_not_are_refused),
    CASE(a_changed_octet_is_noticed),
    CASE(a_handshake_without_end_is_ended),
    CASE(a_handshake_that_dribbles_is_ended),
    CASE(new_keys_are_taken_and_answered),
    CASE(records_without_data_are_counted),
    CASE(a_renegotiation_is_refused),
    CASE(an_idle_connection_keeps_little),
    CASE(a_connection_that_says_nothing_costs_nothing),
    CASE(a_thread_leaves_nothing_behind),
    CASE(without_memory_there_is_an_error),
    CASE(without_memory_of_ours_there_is_an_error_too),
    CASE(four_loops_share_the_contexts),
    CASE(a_connection_may_move_between_threads),
};

int main(int argc, char **argv)
{
    struct tls_options so, co;
    int rc;

    wolfSSL_SetAllocators(wolf_alloc, wolf_free, wolf_realloc);
    certs_make();
    so = server_options("server");
    co = client_options();
    server = context_of(&so);
    client = context_of(&co);
    rc = unit_main(argc, argv, "tls", cases, sizeof cases / sizeof cases[0]);
    tls_context_unref(server);
    tls_context_unref(client);
    tls_thread_leave();
    certs_remove();
    return rc;
}
