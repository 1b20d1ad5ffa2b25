/* permessage-deflate in the opening handshake; see extension.h.
 *
 * Both sides read the same four parameters into a struct terms, told whether it is an offer or a response
 * they stand in; what follows from them is decided behind that. */
#include "proto/extension.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char extension_name[] = "permessage-deflate";

enum { WINDOW_BITS_MIN = 8, WINDOW_BITS_MAX = 15 };

/* The parameters as they stand there. A window of 0: the parameter is not there. */
struct terms {
    bool server_no_takeover, client_no_takeover;
    bool has_client_window; /* also without a value, in an offer */
    uint8_t server_window, client_window;
};

struct extension_policy extension_policy_default(void)
{
    return (struct extension_policy){.is_enabled = true,
                                     .out_window_bits = EXTENSION_WINDOW_BITS_DEFAULT,
                                     .in_window_bits = EXTENSION_WINDOW_BITS_DEFAULT,
                                     .out_takeover = true,
                                     .in_takeover = true};
}

/* --- reading --- */

/* 8 to 15 without leading zeros; 0 for anything else. */
static uint8_t window_of(const struct http_param *param)
{
    char text[4];
    unsigned bits = 0;

    if (!param->value.p || http_param_copy(param, text, sizeof text) >= sizeof text || text[0] == '0')
        return 0;
    for (const char *c = text; *c; c++) {
        if (*c < '0' || *c > '9')
            return 0;
        bits = bits * 10 + (unsigned)(*c - '0');
    }
    return bits >= WINDOW_BITS_MIN && bits <= WINDOW_BITS_MAX ? (uint8_t)bits : 0;
}

static bool take_flag(bool *flag, const struct http_param *param)
{
    bool is_right = !*flag && !param->value.p;

    *flag = true;
    return is_right;
}

static bool take_window(uint8_t *window, const struct http_param *param)
{
    bool is_first = !*window;

    *window = window_of(param);
    return is_first && *window;
}

static bool take_client_window(struct terms *t, const struct http_param *param, bool is_offer)
{
    if (t->has_client_window)
        return false;
    t->has_client_window = true;
    return (is_offer && !param->value.p) || take_window(&t->client_window, param);
}

static bool take_param(struct terms *t, const struct http_param *param, bool is_offer)
{
    if (http_equal(param->name, http_text_of("server_no_context_takeover")))
        return take_flag(&t->server_no_takeover, param);
    if (http_equal(param->name, http_text_of("client_no_context_takeover")))
        return take_flag(&t->client_no_takeover, param);
    if (http_equal(param->name, http_text_of("server_max_window_bits")))
        return take_window(&t->server_window, param);
    if (http_equal(param->name, http_text_of("client_max_window_bits")))
        return take_client_window(t, param, is_offer);
    return false;
}

/* False: a parameter that is unknown, repeated or has not the value it should have. */
static bool read_terms(struct terms *t, struct http_extension *e, bool is_offer)
{
    struct http_param param;

    *t = (struct terms){0};
    while (http_extension_param(e, &param))
        if (!take_param(t, &param, is_offer))
            return false;
    return true;
}

static bool is_deflate(const struct http_extension *e)
{
    return http_equal(e->name, http_text_of(extension_name));
}

/* --- writing --- */

/* EXTENSION_BYTES_MAX has room for all four parameters. */
__attribute__((format(printf, 2, 3))) static void append(char *value, const char *format, ...)
{
    size_t n = strlen(value);
    va_list args;

    va_start(args, format);
    vsnprintf(value + n, EXTENSION_BYTES_MAX - n, format, args);
    va_end(args);
}

static void append_flag(char *value, bool is_set, const char *name)
{
    if (is_set)
        append(value, "; %s", name);
}

static void append_window(char *value, unsigned bits, const char *name)
{
    if (bits)
        append(value, "; %s=%u", name, bits);
}

static uint8_t smaller(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

/* --- the server's side --- */

/* What becomes of one offer; false: it cannot be had. The terms are changed to those of the response. */
static bool agree(struct terms *t, const struct extension_policy *policy, struct deflate_params *out)
{
    bool keeps_nothing = policy->memory_is_short;

    if (t->server_window && t->server_window < DEFLATE_WINDOW_BITS_MIN)
        return false;
    t->server_no_takeover |= keeps_nothing || !policy->out_takeover;
    /* An offer with it says that the client takes nothing over in any case; told so, it may save memory. */
    t->client_no_takeover |= keeps_nothing || !policy->in_takeover;
    out->out_window_bits =
        t->server_window ? smaller(t->server_window, policy->out_window_bits) : policy->out_window_bits;
    /* Who did not mention the client's window cannot be told about it. */
    out->in_window_bits = WINDOW_BITS_MAX;
    if (t->has_client_window)
        out->in_window_bits =
            smaller(t->client_window ? t->client_window : WINDOW_BITS_MAX, policy->in_window_bits);
    out->out_takeover = !t->server_no_takeover;
    out->in_takeover = !t->client_no_takeover;
    /* The server's window is told unasked as well: it lets the client's inflater be small. */
    if (t->server_window || out->out_window_bits < WINDOW_BITS_MAX)
        t->server_window = out->out_window_bits;
    if (t->client_window || out->in_window_bits < WINDOW_BITS_MAX)
        t->client_window = out->in_window_bits;
    return true;
}

static void write_terms(const struct terms *t, char *value)
{
    strcpy(value, extension_name);
    append_flag(value, t->server_no_takeover, "server_no_context_takeover");
    append_flag(value, t->client_no_takeover, "client_no_context_takeover");
    append_window(value, t->server_window, "server_max_window_bits");
    append_window(value, t->client_window, "client_max_window_bits");
}

int extension_choose(struct http_list *offers, const struct extension_policy *policy,
                     struct deflate_params *out, char value[EXTENSION_BYTES_MAX])
{
    struct http_extension e;
    struct terms t;
    int rc;

    while ((rc = http_list_extension(offers, &e)) == 1) {
        if (!policy->is_enabled || !is_deflate(&e) || !read_terms(&t, &e, true) || !agree(&t, policy, out))
            continue;
        write_terms(&t, value);
        return 1;
    }
    return rc;
}

/* --- the client's side --- */

/* What extension_offer asks for, which extension_check must remember. */
static struct terms terms_of(const struct extension_policy *policy)
{
    struct terms t = {.has_client_window = true};

    t.server_no_takeover = !policy->in_takeover || policy->memory_is_short;
    t.client_no_takeover = !policy->out_takeover || policy->memory_is_short;
    if (policy->in_window_bits < WINDOW_BITS_MAX)
        t.server_window = policy->in_window_bits;
    if (policy->out_window_bits < WINDOW_BITS_MAX)
        t.client_window = policy->out_window_bits;
    return t;
}

void extension_offer(const struct extension_policy *policy, char value[EXTENSION_BYTES_MAX])
{
    struct terms t = terms_of(policy);

    value[0] = '\0';
    if (!policy->is_enabled)
        return;
    write_terms(&t, value);
    append_flag(value, !t.client_window, "client_max_window_bits"); /* so that the server may choose one */
}

/* NULL: the answer fits what was asked for. */
static const char *fault_of(const struct terms *asked, const struct terms *t)
{
    if (asked->server_no_takeover && !t->server_no_takeover)
        return "permessage-deflate without the server_no_context_takeover that was asked for";
    if (asked->server_window && !t->server_window)
        return "permessage-deflate without the server_max_window_bits that was asked for";
    if (asked->server_window && t->server_window > asked->server_window)
        return "server_max_window_bits larger than asked for";
    return NULL;
}

/* The server's words in terms of this side. */
static void apply(const struct terms *asked, const struct terms *t, struct deflate_params *out)
{
    uint8_t own = asked->client_window ? asked->client_window : WINDOW_BITS_MAX;

    /* A server may ignore the value that was offered, and allow more. */
    out->out_window_bits = t->client_window ? smaller(t->client_window, own) : own;
    if (out->out_window_bits < DEFLATE_WINDOW_BITS_MIN)
        out->out_window_bits = 0;
    out->in_window_bits = t->server_window ? t->server_window : WINDOW_BITS_MAX;
    out->out_takeover = !asked->client_no_takeover && !t->client_no_takeover;
    out->in_takeover = !t->server_no_takeover;
}

int extension_check(struct http_list *chosen, const struct extension_policy *policy,
                    struct deflate_params *out, const char **fault)
{
    const struct terms asked = terms_of(policy);
    struct http_extension e;
    struct terms t;
    int rc = http_list_extension(chosen, &e);

    if (rc == 0)
        return 0;
    *fault = "malformed Sec-WebSocket-Extensions";
    if (rc < 0)
        return -1;
    *fault = "an extension that was not offered";
    if (!policy->is_enabled || !is_deflate(&e))
        return -1;
    *fault = "a permessage-deflate parameter that is unknown, repeated or malformed";
    if (!read_terms(&t, &e, false) || (*fault = fault_of(&asked, &t)))
        return -1;
    *fault = "more than one extension";
    if (http_list_extension(chosen, &e) != 0)
        return -1;
    apply(&asked, &t, out);
    return 1;
}
