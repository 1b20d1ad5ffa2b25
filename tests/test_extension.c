/* Negotiating permessage-deflate: which offers are chosen, what is answered, and which answers a client
 * refuses. */
#include "unit.h"
#include "proto/extension.h"

#include <stdio.h>
#include <string.h>

#include "proto/http.h"

#define DEFLATE "permessage-deflate"
#define NO_S    "; server_no_context_takeover"
#define NO_C    "; client_no_context_takeover"
#define S(n)    "; server_max_window_bits=" #n
#define C(n)    "; client_max_window_bits=" #n
#define ASKS_C  "; client_max_window_bits"

/* Params as text: the windows out/in, and a star behind the one that is taken over. */
static const char *params_text(const struct deflate_params *p, char text[32])
{
    snprintf(text, 32, "%u%s %u%s", p->out_window_bits, p->out_takeover ? "*" : "", p->in_window_bits,
             p->in_takeover ? "*" : "");
    return text;
}

static bool is(const char *what, const char *given, const char *wanted)
{
    if (strcmp(given, wanted) == 0)
        return true;
    printf("%s: '%s' instead of '%s'\n", what, given, wanted);
    return false;
}

/* --- the server --- */

struct offer_case {
    const char *offers;
    const char *response; /* NULL: none is chosen */
    const char *params;
};

static bool chooses(const struct extension_policy *policy, const struct offer_case *c)
{
    char value[EXTENSION_BYTES_MAX] = "", text[32];
    struct deflate_params params = {0};
    struct http_list list;
    int rc;

    http_list_of_text(&list, http_text_of(c->offers));
    rc = extension_choose(&list, policy, &params, value);
    if (!c->response)
        return is(c->offers, rc == 0 ? "none" : value, "none");
    return is(c->offers, rc == 1 ? value : "none", c->response) &&
           is(c->offers, params_text(&params, text), c->params);
}

#define ALL_CHOOSE(policy, cases)                                                                            \
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases)[0]; i++)                                            \
    CU_ASSERT(chooses(policy, &(cases)[i]))

static void the_defaults_answer_with_windows_of_12(void)
{
    static const struct offer_case cases[] = {
        {DEFLATE, DEFLATE S(12), "12* 15*"},
        {DEFLATE ASKS_C, DEFLATE S(12) C(12), "12* 12*"},
        {DEFLATE C(15), DEFLATE S(12) C(12), "12* 12*"},
        {DEFLATE C(12), DEFLATE S(12) C(12), "12* 12*"},
        {DEFLATE C(9), DEFLATE S(12) C(9), "12* 9*"},
        {DEFLATE C(8), DEFLATE S(12) C(8), "12* 8*"},
        {DEFLATE S(15), DEFLATE S(12), "12* 15*"},
        {DEFLATE S(10), DEFLATE S(10), "10* 15*"},
        {DEFLATE S(9) C(11), DEFLATE S(9) C(11), "9* 11*"},
        {DEFLATE NO_S, DEFLATE NO_S S(12), "12 15*"},
        {DEFLATE NO_C, DEFLATE NO_C S(12), "12* 15"},
        {DEFLATE "; client_max_window_bits ; server_no_context_takeover ;client_no_context_takeover",
         DEFLATE NO_S NO_C S(12) C(12), "12 12"},
        {DEFLATE "; server_max_window_bits=\"1\\0\"", DEFLATE S(10), "10* 15*"},
        {"", NULL, NULL},
        {"x-webkit-deflate-frame", NULL, NULL},
        {"Permessage-Deflate", NULL, NULL},
    };
    const struct extension_policy policy = extension_policy_default();

    ALL_CHOOSE(&policy, cases);
}

static void an_invalid_offer_is_declined_and_the_next_one_taken(void)
{
    static const char *const invalid[] = {
        DEFLATE "; unknown",
        DEFLATE "; server_no_context_takeover=1",
        DEFLATE "; server_no_context_takeover=\"true\"",
        DEFLATE "; client_no_context_takeover=0",
        DEFLATE NO_S NO_S,
        DEFLATE NO_C NO_S NO_C,
        DEFLATE S(10) S(10),
        DEFLATE C(10) C(11),
        DEFLATE ASKS_C ASKS_C,
        DEFLATE ASKS_C C(10),
        DEFLATE C(10) ASKS_C,
        DEFLATE "; server_max_window_bits",
        DEFLATE S(7),
        DEFLATE S(16),
        DEFLATE S(0),
        DEFLATE S(08),
        DEFLATE S(010),
        DEFLATE S(0010),
        DEFLATE S(1e1),
        DEFLATE S(-9),
        DEFLATE S(+9),
        DEFLATE S(100000000000000000010),
        DEFLATE S(4294967306),
        DEFLATE S(0xa),
        DEFLATE C(7),
        DEFLATE C(16),
        DEFLATE C(09),
        DEFLATE C(999),
        DEFLATE "; server_max_window_bits=\"010\"",
        DEFLATE "; Server_No_Context_Takeover",
        DEFLATE S(8), /* right, but zlib cannot */
        DEFLATE S(8) ASKS_C,
        "permessage-bzip2; x=1; y=\"2\"",
    };
    const struct extension_policy policy = extension_policy_default();

    for (size_t i = 0; i < sizeof invalid / sizeof invalid[0]; i++) {
        char both[400];
        struct offer_case alone = {invalid[i], NULL, NULL};
        struct offer_case before = {both, DEFLATE NO_S S(11), "11 15*"};

        CU_ASSERT(chooses(&policy, &alone));
        snprintf(both, sizeof both, "%s, " DEFLATE S(11) NO_S ", " DEFLATE, invalid[i]);
        CU_ASSERT(chooses(&policy, &before));
    }
}

static void the_first_acceptable_offer_wins(void)
{
    static const struct offer_case cases[] = {
        {DEFLATE S(10) ", " DEFLATE S(9), DEFLATE S(10), "10* 15*"},
        {DEFLATE S(8) "," DEFLATE S(9), DEFLATE S(9), "9* 15*"},
        {"foo, , " DEFLATE ASKS_C ",bar;baz=1", DEFLATE S(12) C(12), "12* 12*"},
        {DEFLATE S(8) ", " DEFLATE S(8), NULL, NULL},
    };
    const struct extension_policy policy = extension_policy_default();

    ALL_CHOOSE(&policy, cases);
}

static void a_policy_is_kept(void)
{
    static const struct offer_case off[] = {{DEFLATE, NULL, NULL}};
    static const struct offer_case large[] = {
        {DEFLATE, DEFLATE, "15* 15*"},
        {DEFLATE ASKS_C, DEFLATE, "15* 15*"},
        {DEFLATE S(15) C(15), DEFLATE S(15) C(15), "15* 15*"},
        {DEFLATE S(14) C(13), DEFLATE S(14) C(13), "14* 13*"},
    };
    static const struct offer_case nothing_kept[] = {
        {DEFLATE ASKS_C, DEFLATE NO_S NO_C S(9) C(8), "9 8"},
        {DEFLATE, DEFLATE NO_S NO_C S(9), "9 15"},
    };
    static const struct offer_case out_only[] = {{DEFLATE, DEFLATE NO_C S(12), "12* 15"}};
    static const struct offer_case is_short[] = {{DEFLATE ASKS_C, DEFLATE NO_S NO_C S(12) C(12), "12 12"}};
    struct extension_policy policy = extension_policy_default();

    policy.is_enabled = false;
    ALL_CHOOSE(&policy, off);
    policy = extension_policy_default();
    policy.out_window_bits = policy.in_window_bits = 15;
    ALL_CHOOSE(&policy, large);
    policy = extension_policy_default();
    policy.out_window_bits = 9;
    policy.in_window_bits = 8;
    policy.out_takeover = policy.in_takeover = false;
    ALL_CHOOSE(&policy, nothing_kept);
    policy = extension_policy_default();
    policy.in_takeover = false;
    ALL_CHOOSE(&policy, out_only);
    policy = extension_policy_default();
    policy.memory_is_short = true;
    ALL_CHOOSE(&policy, is_short);
}

static void a_list_that_breaks_the_grammar_is_an_error(void)
{
    static const char *const wrong[] = {
        DEFLATE ";",
        DEFLATE "; =1",
        DEFLATE "; a=",
        DEFLATE "; a=\"\"",
        DEFLATE "; a=\"b",
        DEFLATE "; a=\"b c\"",
        DEFLATE "; server_max_window_bits=1 0",
        "; server_max_window_bits=10",
        DEFLATE " x",
        ("foo;, " DEFLATE),
    };
    const struct extension_policy policy = extension_policy_default();

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char value[EXTENSION_BYTES_MAX];
        struct deflate_params params;
        struct http_list list;

        http_list_of_text(&list, http_text_of(wrong[i]));
        CU_ASSERT_EQUAL(extension_choose(&list, &policy, &params, value), -1);
    }
}

static struct http_head *head_of(const char *bytes)
{
    const struct http_limits limits = {.head_bytes_max = 4096, .headers_max = 20};
    struct http_head *h = http_head_new(HTTP_ROLE_SERVER, &limits);
    size_t used;

    CU_ASSERT_PTR_NOT_NULL_FATAL(h);
    CU_ASSERT_EQUAL_FATAL(http_head_feed(h, (const uint8_t *)bytes, strlen(bytes), &used), HTTP_DONE);
    return h;
}

static void offers_stand_in_several_fields(void)
{
    struct http_head *h =
        head_of("GET / HTTP/1.1\r\nHost: a\r\n"
                "Sec-WebSocket-Extensions: foo, " DEFLATE S(8) "\r\n"
                                                               "sec-websocket-extensions: \r\n"
                                                               "SEC-WebSocket-Extensions: " DEFLATE S(13)
                                                                   C(10) "\r\n\r\n");
    const struct extension_policy policy = extension_policy_default();
    char value[EXTENSION_BYTES_MAX], text[32];
    struct deflate_params params;
    struct http_list list;

    http_list_of_fields(&list, h, "Sec-WebSocket-Extensions");
    CU_ASSERT_EQUAL(extension_choose(&list, &policy, &params, value), 1);
    CU_ASSERT(is("fields", value, DEFLATE S(12) C(10)));
    CU_ASSERT(is("fields", params_text(&params, text), "12* 10*"));
    http_head_free(h);
}

/* --- the client --- */

static bool offers(const struct extension_policy *policy, const char *wanted)
{
    char value[EXTENSION_BYTES_MAX];

    extension_offer(policy, value);
    return is("offer", value, wanted);
}

static void a_client_offers_its_policy(void)
{
    struct extension_policy policy = extension_policy_default();

    CU_ASSERT(offers(&policy, DEFLATE S(12) C(12)));
    policy.out_window_bits = policy.in_window_bits = 15;
    CU_ASSERT(offers(&policy, DEFLATE ASKS_C));
    policy.in_takeover = false;
    CU_ASSERT(offers(&policy, DEFLATE NO_S ASKS_C));
    policy.out_takeover = false;
    policy.in_window_bits = 8;
    policy.out_window_bits = 9;
    CU_ASSERT(offers(&policy, DEFLATE NO_S NO_C S(8) C(9)));
    policy = extension_policy_default();
    policy.memory_is_short = true;
    CU_ASSERT(offers(&policy, DEFLATE NO_S NO_C S(12) C(12)));
    policy.is_enabled = false;
    CU_ASSERT(offers(&policy, ""));
}

/* params NULL: the connection is failed; empty: nothing was agreed. */
static bool takes(const struct extension_policy *policy, const char *response, const char *wanted)
{
    struct deflate_params params = {0};
    const char *fault = NULL;
    struct http_list list;
    char text[32];
    int rc;

    http_list_of_text(&list, http_text_of(response));
    rc = extension_check(&list, policy, &params, &fault);
    if (rc < 0)
        return is(response, fault ? "failed" : "failed without a reason", wanted ? wanted : "failed");
    return is(response, rc ? params_text(&params, text) : "", wanted ? wanted : "failed");
}

static void a_client_takes_what_it_asked_for(void)
{
    struct extension_policy policy = extension_policy_default();

    CU_ASSERT(takes(&policy, "", ""));
    CU_ASSERT(takes(&policy, DEFLATE S(12), "12* 12*"));
    CU_ASSERT(takes(&policy, DEFLATE S(12) C(12), "12* 12*"));
    CU_ASSERT(takes(&policy, DEFLATE S(8) C(9), "9* 8*"));
    CU_ASSERT(takes(&policy, DEFLATE S(9) NO_S, "12* 9"));
    CU_ASSERT(takes(&policy, DEFLATE S(9) NO_C, "12 9*"));
    CU_ASSERT(takes(&policy, DEFLATE "; server_max_window_bits=\"11\"" C(10), "10* 11*"));
    CU_ASSERT(takes(&policy, DEFLATE S(12) C(15), "12* 12*")); /* it ignores what was offered, which it may */
    /* zlib cannot compress to a window of 8: all goes plain. */
    CU_ASSERT(takes(&policy, DEFLATE S(12) C(8), "0* 12*"));
    policy.out_window_bits = policy.in_window_bits = 15;
    CU_ASSERT(takes(&policy, DEFLATE, "15* 15*"));
    CU_ASSERT(takes(&policy, DEFLATE S(10), "15* 10*"));
    CU_ASSERT(takes(&policy, DEFLATE S(15) C(15), "15* 15*"));
    policy.out_takeover = policy.in_takeover = false;
    CU_ASSERT(takes(&policy, DEFLATE NO_S, "15 15"));
    CU_ASSERT(takes(&policy, DEFLATE NO_S NO_C, "15 15"));
}

static void a_client_fails_what_it_did_not_ask_for(void)
{
    static const char *const wrong[] = {
        DEFLATE, /* a window was asked for */
        DEFLATE C(12),
        DEFLATE S(13), /* larger than asked for */
        DEFLATE S(12) ASKS_C, /* a value must be there */
        DEFLATE "; server_max_window_bits",
        DEFLATE S(12) S(12),
        DEFLATE S(12) C(10) C(10),
        DEFLATE S(12) NO_S NO_S,
        DEFLATE S(12) "; server_no_context_takeover=1",
        DEFLATE S(012),
        DEFLATE S(7),
        DEFLATE S(12) C(7),
        DEFLATE S(12) "; unknown=1",
        DEFLATE S(12) ", " DEFLATE S(12),
        DEFLATE S(12) ", foo",
        "foo, " DEFLATE S(12),
        "permessage-bzip2",
        DEFLATE S(12) ";",
        DEFLATE S(12) ", ;",
        DEFLATE S(12) "; x=\"",
    };
    struct extension_policy policy = extension_policy_default();

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CU_ASSERT(takes(&policy, wrong[i], NULL));
    policy.out_window_bits = policy.in_window_bits = 15;
    CU_ASSERT(takes(&policy, DEFLATE S(16), NULL));
    policy.in_takeover = false;
    CU_ASSERT(takes(&policy, DEFLATE, NULL)); /* server_no_context_takeover was asked for */
    CU_ASSERT(takes(&policy, DEFLATE NO_C, NULL));
    CU_ASSERT(takes(&policy, DEFLATE NO_S, "15* 15"));
    policy.is_enabled = false;
    CU_ASSERT(takes(&policy, DEFLATE NO_S, NULL));
    CU_ASSERT(takes(&policy, "", ""));
}

/* Each side's windows and takeovers are the other's, whatever the two want. */
static void both_sides_understand_the_same(void)
{
    unsigned agreed = 0, wrong = 0;

    for (unsigned n = 0; n < 7u * 8 * 4 * 7 * 8 * 8; n++) {
        struct extension_policy client = {true,       (uint8_t)(9 + n % 7), (uint8_t)(8 + n / 7 % 8),
                                          n / 56 % 2, n / 112 % 2,          false};
        struct extension_policy server = {true,
                                          (uint8_t)(9 + n / 224 % 7),
                                          (uint8_t)(8 + n / 1568 % 8),
                                          n / 12544 % 2,
                                          n / 25088 % 2,
                                          n / 50176 % 2};
        char offer[EXTENSION_BYTES_MAX], response[EXTENSION_BYTES_MAX];
        struct deflate_params ours, theirs;
        struct http_list list;
        const char *fault;
        int rc;

        extension_offer(&client, offer);
        http_list_of_text(&list, http_text_of(offer));
        rc = extension_choose(&list, &server, &ours, response);
        if (rc == 0 && client.in_window_bits == 8)
            continue;
        agreed += rc == 1;
        wrong += rc != 1;
        http_list_of_text(&list, http_text_of(response));
        wrong += extension_check(&list, &client, &theirs, &fault) != 1;
        wrong += ours.out_window_bits != theirs.in_window_bits || ours.out_takeover != theirs.in_takeover;
        wrong += ours.in_takeover != theirs.out_takeover;
        wrong += theirs.out_window_bits != (ours.in_window_bits == 8 ? 0 : ours.in_window_bits);
        wrong += ours.out_window_bits > server.out_window_bits || ours.in_window_bits > server.in_window_bits;
        wrong +=
            theirs.out_window_bits > client.out_window_bits || theirs.in_window_bits > client.in_window_bits;
        wrong += ours.out_takeover && (!server.out_takeover || !client.in_takeover || server.memory_is_short);
        wrong += ours.in_takeover && (!server.in_takeover || !client.out_takeover || server.memory_is_short);
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT_EQUAL(agreed, 7u * 7 * 4 * 7 * 8 * 8);
}

static const struct unit_case cases[] = {
    CASE(the_defaults_answer_with_windows_of_12),
    CASE(an_invalid_offer_is_declined_and_the_next_one_taken),
    CASE(the_first_acceptable_offer_wins),
    CASE(a_policy_is_kept),
    CASE(a_list_that_breaks_the_grammar_is_an_error),
    CASE(offers_stand_in_several_fields),
    CASE(a_client_offers_its_policy),
    CASE(a_client_takes_what_it_asked_for),
    CASE(a_client_fails_what_it_did_not_ask_for),
    CASE(both_sides_understand_the_same),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "extension", cases, sizeof cases / sizeof cases[0]);
}
