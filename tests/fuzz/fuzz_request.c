/* A server's side of the opening handshake: proto/http.c, scan.c, field.c, text.c, handshake.c, compose.c and
 * digest.c, with any bytes from the client.
 *
 * Oracles
 *   - However the bytes are cut, the outcome, what was used and what was found are the same.
 *   - A refusal has a status from 400 on, and its answer is a response that our client reads.
 *   - What is accepted, our client accepts too: the answer belongs to this request.
 *   - Whatever a program wants to have written, in either role, is refused, or the other side reads it as that.
 *
 * What the program wants are the lines behind the head. */
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

/* --- a program that asks for anything --- */

#define LINES_MAX   16
#define HEADERS_MAX 6

struct wish {
    unsigned how;
    char *text, *lines[LINES_MAX]; /* all of them are there; an empty one stands for none */
    weft_header headers[HEADERS_MAX];
    size_t header_count;
};

static void wish_init(struct wish *w, struct fuzz_input in)
{
    char *at;

    w->how = fuzz_byte(&in);
    w->text = at = fuzz_text(in.p, in.n);
    w->header_count = 0;
    for (unsigned i = 0; i < LINES_MAX; i++) {
        w->lines[i] = at;
        at += strcspn(at, "\n");
        if (*at)
            *at++ = '\0';
        if (i >= 5 && i % 2 && w->lines[i - 1][0] && w->header_count < HEADERS_MAX)
            w->headers[w->header_count++] = (weft_header){w->lines[i - 1], w->lines[i]};
    }
}

static const char *wished(const struct wish *w, unsigned line)
{
    return w->lines[line][0] ? w->lines[line] : NULL;
}

/* The head is what the wish says; free it. */
static struct http_head *must_be_read(enum http_role role, const struct wish *w, const uint8_t *p, size_t n,
                                      size_t *used)
{
    struct http_limits limits = {.head_bytes_max = 65535};
    struct http_head *h = http_head_new(role, &limits);

    MUST(h && http_head_feed(h, p, n, used) == HTTP_DONE);
    for (size_t i = 0; i < w->header_count; i++)
        MUST(http_head_fields(h, w->headers[i].name) > 0);
    return h;
}

static void wish_to_accept(const struct wish *w, const struct http_head *h)
{
    struct http_accept a = {.subprotocol = wished(w, 0),
                            .extensions = wished(w, 1),
                            .headers = w->headers,
                            .header_count = w->header_count};
    struct http_head *r;
    size_t bytes, used;
    uint8_t *out;

    if (http_compose_accept(h, &a, &out, &bytes) != WEFT_OK)
        return;
    r = must_be_read(HTTP_ROLE_CLIENT, w, out, bytes, &used);
    MUST(used == bytes && r->status == 101);
    http_head_free(r);
    mem_free(out);
}

static void wish_to_answer(const struct wish *w, const struct http_head *h)
{
    struct http_answer a = {.status = atoi(w->lines[0]),
                            .phrase = wished(w, 1),
                            .headers = w->headers,
                            .header_count = w->header_count,
                            .body = wished(w, 2),
                            .body_bytes = strlen(w->lines[2])};
    size_t bytes, used, body_bytes = http_head_is_head(h) ? 0 : a.body_bytes;
    struct http_head *r;
    uint8_t *out;

    if (http_compose_answer(h, &a, &out, &bytes) != WEFT_OK)
        return;
    r = must_be_read(HTTP_ROLE_CLIENT, w, out, bytes, &used);
    MUST(used + body_bytes == bytes && r->status == a.status);
    http_head_free(r);
    mem_free(out);
}

static void wish_to_ask(const struct wish *w)
{
    const char *subprotocols[] = {w->lines[2], w->lines[3]};
    struct http_request asked = {.host = w->lines[0],
                                 .port = w->how & 16 ? w->how * 300u : 0,
                                 .target = wished(w, 1),
                                 .subprotocols = subprotocols,
                                 .subprotocol_count = w->how & 32 ? 2 : 0,
                                 .extensions = w->how & 64 ? "permessage-deflate" : NULL,
                                 .origin = w->how & 128 ? w->lines[3] : NULL,
                                 .headers = w->headers,
                                 .header_count = w->header_count};
    struct http_head *r;
    size_t bytes, used;
    uint8_t *out;

    if (http_compose_request(&asked, &out, &bytes) != WEFT_OK)
        return;
    r = must_be_read(HTTP_ROLE_SERVER, w, out, bytes, &used);
    MUST(used == bytes && http_check_upgrade(r) == HTTP_UPGRADE);
    MUST(strcmp(r->target, asked.target ? asked.target : "/") == 0);
    MUST(!asked.subprotocol_count || http_offers_subprotocol(r, subprotocols[1]));
    http_head_free(r);
    mem_free(out);
}

static void wish_for_anything(struct http_head *h, struct fuzz_input rest)
{
    struct wish w;

    wish_init(&w, rest);
    if (w.how % 3 == 0 && h->status == 101)
        wish_to_accept(&w, h);
    else if (w.how % 3 == 1)
        wish_to_answer(&w, h);
    else
        wish_to_ask(&w);
    free(w.text);
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
    if (a.outcome == HTTP_DONE) {
        decide(pieces);
        wish_for_anything(pieces, (struct fuzz_input){in.p + a.used, in.n - a.used});
    } else if (a.outcome == HTTP_BAD) {
        refuse_it(pieces);
    }
    http_head_free(whole);
    http_head_free(pieces);
    return 0;
}
