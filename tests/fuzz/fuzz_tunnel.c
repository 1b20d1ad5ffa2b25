/* The way through a proxy: proto/tunnel.c, with any bytes from an HTTP or SOCKS5 proxy.
 *
 * Oracles
 *   - However the proxy's bytes are cut, the outcome, its reason and what belongs to the proxy are the same;
 *     what stands behind its last answer is not touched.
 *   - A failure says why. */
#include "fuzz.h"

#include "proto/tunnel.h"
#include "weft/error.h"

struct outcome {
    int outcome, error, status;
    const char *reason;
    size_t used, sent;
    bool other_may_help;
};

/* Send all that is to be sent, so many bytes at a time. */
static size_t send_all(struct tunnel *t, size_t piece)
{
    size_t sent = 0, n;
    const uint8_t *p;

    while ((n = tunnel_output(t, &p)) > 0) {
        MUST(n <= TUNNEL_OUTPUT_BYTES_MAX);
        n = n < piece ? n : piece;
        tunnel_sent(t, n);
        sent += n;
    }
    return sent;
}

static struct outcome pass(const struct tunnel_way *way, const uint8_t *p, size_t n, struct fuzz_cut cut)
{
    struct outcome o = {.outcome = TUNNEL_MORE};
    struct tunnel t;
    size_t used;

    if (tunnel_init(&t, way) != WEFT_OK) {
        MUST(t.reason);
        tunnel_fini(&t);
        o.outcome = -1;
        return o;
    }
    o.sent = send_all(&t, cut.most);
    while (o.used < n && o.outcome == TUNNEL_MORE) {
        size_t m = fuzz_piece(&cut, n - o.used);
        uint8_t *piece = fuzz_copy(p + o.used, m);
        o.outcome = tunnel_feed(&t, piece, m, &used);
        free(piece);
        MUST(used <= m);
        o.used += used;
        o.sent += send_all(&t, cut.most);
    }
    o.error = t.error;
    o.status = t.status;
    o.reason = t.reason;
    o.other_may_help = o.outcome == TUNNEL_FAILED && tunnel_other_address_may_help(&t);
    tunnel_fini(&t);
    return o;
}

/* SOCKS answers come in turns: a proxy that says the next one before it was asked is refused. So a stream is fed at
 * the cuts of a proxy that waits: the method, the login's verdict, the reply. */
static struct outcome pass_in_turns(const struct tunnel_way *way, const uint8_t *p, size_t n, size_t piece)
{
    struct outcome o = {.outcome = TUNNEL_MORE};
    struct tunnel t;
    size_t used;

    if (tunnel_init(&t, way) != WEFT_OK) {
        tunnel_fini(&t);
        o.outcome = -1;
        return o;
    }
    o.sent = send_all(&t, SIZE_MAX);
    while (o.used < n && o.outcome == TUNNEL_MORE) {
        size_t before = o.used;
        while (o.used < n && o.outcome == TUNNEL_MORE && o.used < before + 2) {
            size_t m = piece < before + 2 - o.used ? piece : before + 2 - o.used;
            m = m < n - o.used ? m : n - o.used;
            o.outcome = tunnel_feed(&t, p + o.used, m, &used);
            MUST(used <= m);
            o.used += used;
            o.sent += send_all(&t, SIZE_MAX);
        }
    }
    o.error = t.error;
    o.status = t.status;
    o.reason = t.reason;
    tunnel_fini(&t);
    return o;
}

static void must_be_same(const struct outcome *a, const struct outcome *b)
{
    MUST(a->outcome == b->outcome && a->error == b->error && a->status == b->status);
    MUST(a->reason == b->reason && a->sent == b->sent);
    MUST(a->outcome == TUNNEL_FAILED || a->used == b->used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const hosts[] = {"example.org", "192.0.2.1", "2001:db8::1", "bad host", ""};
    static const char *const users[] = {NULL, "user", "us:er", ""};
    struct fuzz_input in = {data, size};
    unsigned how = fuzz_byte(&in);
    struct fuzz_cut cut = {.seed = fuzz_byte(&in), .most = fuzz_byte(&in) % 16u + 1};
    struct tunnel_way way = {.kind = how & 1 ? TUNNEL_SOCKS5 : TUNNEL_CONNECT,
                             .host = hosts[(how >> 1) % 5],
                             .port = (uint16_t)(how * 251u + 1u),
                             .user = users[(how >> 4) & 3],
                             .password = how & 64 ? "secret" : NULL};
    struct outcome a, b;

    if (way.kind == TUNNEL_CONNECT) {
        a = pass(&way, in.p, in.n, (struct fuzz_cut){.most = UINT32_MAX});
        b = pass(&way, in.p, in.n, cut);
    } else {
        pass(&way, in.p, in.n, (struct fuzz_cut){.most = UINT32_MAX});
        pass(&way, in.p, in.n, cut);
        a = pass_in_turns(&way, in.p, in.n, 2);
        b = pass_in_turns(&way, in.p, in.n, 1);
    }
    must_be_same(&a, &b);
    MUST(a.outcome != TUNNEL_FAILED || (a.error < 0 && a.reason));
    return 0;
}
