/* Negotiating permessage-deflate: proto/extension.c and the lists of field.c, with any offers and answers.
 *
 * Oracles
 *   - What a server chooses lies within its policy, and its answer is a list of one extension.
 *   - What our client offers, our server accepts; our client takes that answer; and both then agree on the
 *     windows and on the takeover of either direction. */
#include "fuzz.h"

#include "proto/extension.h"
#include "proto/field.h"

static struct extension_policy choose_policy(struct fuzz_input *in)
{
    unsigned how = fuzz_byte(in), windows = fuzz_byte(in);

    return (struct extension_policy){.is_enabled = true,
                                     .out_window_bits = (uint8_t)(9 + (windows & 15) % 7),
                                     .in_window_bits = (uint8_t)(8 + (windows >> 4) % 8),
                                     .out_takeover = how & 1,
                                     .in_takeover = how & 2,
                                     .memory_is_short = how & 4};
}

static void must_be_within(const struct deflate_params *p, const struct extension_policy *policy)
{
    MUST(p->out_window_bits == 0 ||
         (p->out_window_bits >= 9 && p->out_window_bits <= policy->out_window_bits));
    MUST(p->in_window_bits >= 8 && p->in_window_bits <= 15);
    MUST(!p->out_takeover || policy->out_takeover);
    MUST(!policy->memory_is_short || !p->out_takeover);
}

static void list_of(struct http_list *l, const char *text)
{
    http_list_of_text(l, http_text_of(text));
}

static unsigned extensions_in(const char *value)
{
    struct http_extension e;
    struct http_list l;
    unsigned n = 0;

    list_of(&l, value);
    while (http_list_extension(&l, &e) == 1)
        n++;
    return n;
}

/* A server and any offers. */
static void serve(const char *offers, const struct extension_policy *policy)
{
    char value[EXTENSION_BYTES_MAX];
    struct deflate_params params;
    struct http_list l;

    list_of(&l, offers);
    if (extension_choose(&l, policy, &params, value) != 1)
        return;
    must_be_within(&params, policy);
    MUST(strlen(value) < EXTENSION_BYTES_MAX && extensions_in(value) == 1);
}

/* A client and any answer. */
static void ask(const char *answer, const struct extension_policy *policy)
{
    struct deflate_params params;
    const char *fault = NULL;
    struct http_list l;
    int rc;

    list_of(&l, answer);
    rc = extension_check(&l, policy, &params, &fault);
    MUST(rc >= 0 || fault);
    if (rc == 1)
        must_be_within(&params, policy);
}

static void meet(const struct extension_policy *client, const struct extension_policy *server)
{
    char offer[EXTENSION_BYTES_MAX], answer[EXTENSION_BYTES_MAX];
    struct deflate_params ours, theirs;
    const char *fault = NULL;
    struct http_list l;

    extension_offer(client, offer);
    MUST(extensions_in(offer) >= 1);
    list_of(&l, offer);
    if (extension_choose(&l, server, &theirs, answer) != 1) {
        MUST(client->in_window_bits == 8); /* which zlib cannot make */
        return;
    }
    list_of(&l, answer);
    MUST(extension_check(&l, client, &ours, &fault) == 1);
    MUST(theirs.out_window_bits == 0 || theirs.out_window_bits <= ours.in_window_bits);
    MUST(ours.out_window_bits == 0 || ours.out_window_bits <= theirs.in_window_bits);
    MUST(!theirs.out_takeover || ours.in_takeover);
    MUST(!ours.out_takeover || theirs.in_takeover);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    struct extension_policy client = choose_policy(&in), server = choose_policy(&in),
                            off = {.is_enabled = false};
    char *text = fuzz_text(in.p, in.n);

    serve(text, &server);
    serve(text, &off);
    ask(text, &client);
    ask(text, &off);
    meet(&client, &server);
    free(text);
    return 0;
}
