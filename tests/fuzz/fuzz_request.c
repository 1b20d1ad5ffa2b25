/* A server's side of the opening handshake: proto/http.c, scan.c, field.c, text.c, handshake.c, compose.c and
 * digest.c, with any bytes from the client.
 *
 * Oracles
 *   - However the bytes are cut, the outcome, what was used and what was found are the same.
 *   - A refusal has a status from 400 on, and its answer is a response that our client reads.
 *   - What is accepted, our client accepts too: the answer belongs to this request. */
#include "fuzz.h"

#include "base/mem.h"
#include "proto/compose.h"
#include "proto/digest.h"
#include "proto/extension.h"
#include "proto/field.h"
#include "proto/handshake.h"
#include "weft/error.h"

struct outcome {
    int outcome, error, status;
    size_t used;
    const char *reason; /* static texts: the same one is the same pointer */
    unsigned headers;
};

static struct outcome read_head(struct http_head *h, const uint8_t *p, size_t n, struct fuzz_cut cut)
{
    struct outcome o = {.outcome = HTTP_MORE};

    while (o.used < n && o.outcome == HTTP_MORE) {
        size_t m = fuzz_piece(&cut, n - o.used), used = 0;
        uint8_t *piece = fuzz_copy(p + o.used, m);
        o.outcome = http_head_feed(h, piece, m, &used);
        free(piece);
        MUST(o.outcome == HTTP_BAD || used <= m);
        MUST(o.outcome != HTTP_MORE || used == m);
        o.used += o.outcome == HTTP_BAD ? 0 : used;
    }
    if (o.outcome == HTTP_BAD)
        o.used = 0;
    o.error = h->error;
    o.status = h->status;
    o.reason = h->reason;
    o.headers = h->header_count;
    return o;
}

static void must_be_same(const struct http_head *a, struct outcome x, const struct http_head *b,
                         struct outcome y)
{
    MUST(x.outcome == y.outcome && x.error == y.error && x.status == y.status && x.used == y.used);
    MUST(x.reason == y.reason);
    if (x.outcome != HTTP_DONE)
        return;
    MUST(x.headers == y.headers && strcmp(a->method, b->method) == 0 && strcmp(a->target, b->target) == 0);
    for (unsigned i = 0; i < x.headers; i++) {
        struct http_text names[2], values[2];
        http_head_at(a, i, &names[0], &values[0]);
        http_head_at(b, i, &names[1], &values[1]);
        MUST(http_equal(names[0], names[1]) && http_equal(values[0], values[1]));
        MUST(http_is_token(names[0]) && http_is_value(values[0]));
        MUST(strlen(values[0].p) == values[0].n);
    }
}

/* What we answer, a client can read to its end, and it has that status. */
static struct http_head *must_be_a_response(const uint8_t *p, size_t n, int status)
{
    struct http_head *r = http_head_new(HTTP_ROLE_CLIENT, NULL);
    size_t used;

    MUST(r);
    MUST(http_head_feed(r, p, n, &used) == HTTP_DONE);
    MUST(r->status == status);
    return r;
}

/* The first subprotocol offered, NULL for none; free it. */
static char *first_offer(const struct http_head *h)
{
    struct http_list l;
    struct http_text t;

    http_list_of_fields(&l, h, "Sec-WebSocket-Protocol");
    if (http_list_token(&l, &t) != 1)
        return NULL;
    return fuzz_text((const uint8_t *)t.p, t.n);
}

static void accept_it(const struct http_head *h)
{
    static const weft_header extra[] = {{"X-Extra", "some \t value"}};
    char *offer = first_offer(h), *end;
    struct http_accept a = {.subprotocol = offer, .headers = extra, .header_count = 1};
    struct http_text key = http_head_value(h, "Sec-WebSocket-Key", 0);
    struct http_request asked = {
        .host = "x", .subprotocols = (const char *const *)&offer, .subprotocol_count = !!offer};
    size_t bytes, key_bytes;
    struct http_head *r;
    uint8_t *out;

    MUST(!offer || http_offers_subprotocol(h, offer));
    MUST(http_compose_accept(h, &a, &out, &bytes) == WEFT_OK);
    r = must_be_a_response(out, bytes, 101);
    MUST(digest_base64_decode(key.p, key.n, asked.key, sizeof asked.key, &key_bytes) &&
         key_bytes == HTTP_KEY_BYTES);
    end = malloc(DIGEST_BASE64_CHARS(HTTP_KEY_BYTES) + 1);
    MUST(end);
    digest_base64(asked.key, HTTP_KEY_BYTES, end);
    if (key.n == strlen(end) && memcmp(end, key.p, key.n) == 0) /* else bits beyond the last byte were set */
        MUST(http_check_response(r, &asked) == WEFT_OK);
    free(end);
    http_head_free(r);
    mem_free(out);
    free(offer);
}

static void answer_it(const struct http_head *h)
{
    static const weft_header headers[] = {{"Content-Type", "text/plain"}, {"Cache-Control", "no-store"}};
    struct http_answer a = {
        .status = 200, .headers = headers, .header_count = 2, .body = "page", .body_bytes = 4};
    uint8_t *out;
    size_t bytes;

    MUST(http_compose_answer(h, &a, &out, &bytes) == WEFT_OK);
    http_head_free(must_be_a_response(out, bytes, 200));
    MUST(http_head_is_head(h) || memcmp(out + bytes - 4, "page", 4) == 0);
    mem_free(out);
}

static void refuse_it(const struct http_head *h)
{
    uint8_t *out;
    size_t bytes;

    MUST(h->status >= 400 && h->status < 600 && h->reason && h->error != WEFT_OK);
    MUST(http_compose_refusal(h, &out, &bytes) == WEFT_OK);
    http_head_free(must_be_a_response(out, bytes, h->status));
    mem_free(out);
}

static void look_around(struct http_head *h)
{
    static const char *const origins[] = {"https://example.org", "null"};
    struct extension_policy policy = extension_policy_default();
    struct deflate_params params;
    char value[EXTENSION_BYTES_MAX];
    struct http_list l;

    MUST(h->path && h->host && (!h->query || strlen(h->query) < strlen(h->target)));
    http_basic_matches(h, "user", "secret");
    MUST(!http_basic_matches(h, "us:er", "secret"));
    http_origin_allowed(h, origins, 2);
    MUST(http_head_fields(h, "Origin") || http_origin_allowed(h, origins, 2));
    http_list_of_fields(&l, h, "Sec-WebSocket-Extensions");
    extension_choose(&l, &policy, &params, value);
}

static void decide(struct http_head *h)
{
    look_around(h);
    switch (http_check_upgrade(h)) {
    case HTTP_UPGRADE:
        MUST(h->status == 101);
        accept_it(h);
        break;
    case HTTP_PLAIN:
        answer_it(h);
        break;
    default:
        refuse_it(h);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct fuzz_cut cut = {.seed = fuzz_byte(&in)};
    unsigned how = fuzz_byte(&in);
    struct http_limits limits = {.head_bytes_max = how & 2 ? 200 : 0, .headers_max = how & 1 ? 6 : 0};
    struct http_head *whole = http_head_new(HTTP_ROLE_SERVER, &limits);
    struct http_head *pieces = http_head_new(HTTP_ROLE_SERVER, &limits);
    struct outcome a, b;

    cut.most = (how >> 2) + 1;
    MUST(whole && pieces);
    a = read_head(whole, in.p, in.n, (struct fuzz_cut){.most = UINT32_MAX});
    b = read_head(pieces, in.p, in.n, cut);
    must_be_same(whole, a, pieces, b);
    if (a.outcome == HTTP_DONE)
        decide(pieces);
    else if (a.outcome == HTTP_BAD)
        refuse_it(pieces);
    http_head_free(whole);
    http_head_free(pieces);
    return 0;
}
