/* A client's side of the opening handshake: proto/http.c, field.c, handshake.c, extension.c and body.c, with
 * any bytes from the server.
 *
 * Oracles
 *   - However the bytes are cut, the outcome, what was used, and the body that is kept are the same.
 *   - Only a 101 is accepted, and only with the key's answer in it; nothing else gets in.
 *   - The body that is kept stays below its limit.
 *   - The request that asks is one that our server accepts.
 *
 * In the input a '$' behind "Accept: " stands for the right answer to the key, which no search would find. */
#include "fuzz.h"

#include "base/mem.h"
#include "proto/body.h"
#include "proto/compose.h"
#include "proto/extension.h"
#include "proto/field.h"
#include "proto/handshake.h"
#include "weft/error.h"

#define BODY_BYTES_MAX 100u

static const char *const subprotocols[] = {"chat", "superchat"};
static const struct http_request asked = {.host = "example.org",
                                          .target = "/chat?x=1",
                                          .key = "the sample nonce",
                                          .subprotocols = subprotocols,
                                          .subprotocol_count = 2,
                                          .extensions = "permessage-deflate; client_max_window_bits"};

static const char *right_answer(void)
{
    static char value[HTTP_ACCEPT_CHARS + 1];

    if (!value[0])
        http_accept_value("dGhlIHNhbXBsZSBub25jZQ==", value);
    return value;
}

/* The input with the answer put in; free it. */
static uint8_t *put_answer_in(const struct fuzz_input *in, size_t *n)
{
    static const char before[] = "Accept: ";
    size_t skip = sizeof before - 1;
    uint8_t *out = malloc(in->n + HTTP_ACCEPT_CHARS);
    bool is_done = false;

    MUST(out);
    *n = 0;
    for (size_t i = 0; i < in->n; i++) {
        if (!is_done && in->p[i] == '$' && i >= skip && memcmp(in->p + i - skip, before, skip) == 0) {
            memcpy(out + *n, right_answer(), HTTP_ACCEPT_CHARS);
            *n += HTTP_ACCEPT_CHARS;
            is_done = true;
        } else {
            out[(*n)++] = in->p[i];
        }
    }
    return out;
}

struct outcome {
    int outcome, error, status, verdict;
    size_t used, body_bytes;
    uint8_t body[BODY_BYTES_MAX];
    bool body_is_over;
};

static void read_body(struct outcome *o, const struct http_head *h, const uint8_t *p, size_t n,
                      struct fuzz_cut cut)
{
    struct body b;

    body_init(&b, h, BODY_BYTES_MAX);
    for (size_t at = 0, m; at < n; at += m) {
        uint8_t *piece;
        m = fuzz_piece(&cut, n - at);
        piece = fuzz_copy(p + at, m);
        body_feed(&b, piece, m);
        free(piece);
    }
    MUST(b.count <= BODY_BYTES_MAX);
    o->body_bytes = b.count;
    if (b.count)
        memcpy(o->body, b.bytes, b.count);
    o->body_is_over = b.is_over;
    mem_free(b.bytes);
}

static int judge(struct http_head *h)
{
    struct extension_policy policy = extension_policy_default();
    struct deflate_params params;
    const char *fault = NULL;
    struct http_list chosen;
    int rc;

    rc = http_check_response(h, &asked);
    MUST(rc == WEFT_OK || h->reason);
    if (rc != WEFT_OK)
        return rc;
    MUST(h->status == 101);
    MUST(strcmp(http_head_value(h, "Sec-WebSocket-Accept", 0).p, right_answer()) == 0);
    http_list_of_fields(&chosen, h, "Sec-WebSocket-Extensions");
    MUST(extension_check(&chosen, &policy, &params, &fault) >= 0 || fault);
    return rc;
}

static struct outcome read_answer(const uint8_t *p, size_t n, struct fuzz_cut cut)
{
    struct http_head *h = http_head_new(HTTP_ROLE_CLIENT, NULL);
    struct outcome o = {.outcome = HTTP_MORE};

    MUST(h);
    while (o.used < n && o.outcome == HTTP_MORE) {
        size_t m = fuzz_piece(&cut, n - o.used), used = 0;
        uint8_t *piece = fuzz_copy(p + o.used, m);
        o.outcome = http_head_feed(h, piece, m, &used);
        free(piece);
        if (o.outcome == HTTP_BAD)
            break;
        MUST(used <= m);
        o.used += used;
    }
    if (o.outcome == HTTP_DONE) {
        read_body(&o, h, p + o.used, n - o.used, cut);
        o.verdict = judge(h);
    } else {
        o.used = 0;
    }
    o.error = h->error;
    o.status = h->status;
    http_head_free(h);
    return o;
}

/* Once: what we ask, our server takes. */
static void request_is_right(void)
{
    struct http_head *h = http_head_new(HTTP_ROLE_SERVER, NULL);
    size_t bytes, used;
    uint8_t *out;

    MUST(h && http_compose_request(&asked, &out, &bytes) == WEFT_OK);
    MUST(http_head_feed(h, out, bytes, &used) == HTTP_DONE && used == bytes);
    MUST(http_check_upgrade(h) == HTTP_UPGRADE && http_offers_subprotocol(h, "superchat"));
    mem_free(out);
    http_head_free(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool was_asked;
    struct fuzz_input in = {data, size};
    struct fuzz_cut cut = {.seed = fuzz_byte(&in)};
    struct outcome a, b;
    uint8_t *bytes;
    size_t n;

    if (!was_asked)
        request_is_right();
    was_asked = true;
    cut.most = fuzz_byte(&in) % 32u + 1;
    bytes = put_answer_in(&in, &n);
    a = read_answer(bytes, n, (struct fuzz_cut){.most = UINT32_MAX});
    b = read_answer(bytes, n, cut);
    free(bytes);
    MUST(a.outcome == b.outcome && a.error == b.error && a.used == b.used && a.verdict == b.verdict);
    MUST(a.body_bytes == b.body_bytes && memcmp(a.body, b.body, a.body_bytes) == 0);
    MUST(a.body_is_over == b.body_is_over);
    return 0;
}
