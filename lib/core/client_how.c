/* Checks and copies what a client was told; see client_how.h. */
#include "core/client_how.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/options.h"
#include "io/tls.h"
#include "weft/version.h"

#define OPEN_TIMEOUT_MS    10000u
#define REDIRECTS_MAX      10u
#define ATTEMPT_DELAY_MS   250u
#define RECONNECT_FIRST_MS 5000u
#define RECONNECT_MIN_MS   3100u
#define RECONNECT_MAX_MS   90000u
#define DAY_MS             86400000u
/* Strings of the options themselves, beside headers and subprotocols. */
#define OWN_TEXTS   12
#define HEADERS_MAX 64
#define SUBPROTOCOLS_MAX 64

/* A copy that lives as long as the client. NULL only without memory, or for NULL. */
static char *keep(struct client_how *how, const char *text)
{
    char *copy = text ? mem_strdup(text) : NULL;

    if (copy)
        how->texts[how->text_count++] = copy;
    return copy;
}

static bool keep_option(struct client_how *how, const char **option)
{
    const char *given = *option;

    *option = keep(how, given);
    return !given || *option;
}

static int keep_headers(struct client_how *how)
{
    size_t count = how->opts.header_count;

    how->headers = mem_calloc(count + 1, sizeof *how->headers);
    if (!how->headers)
        return WEFT_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        const weft_header *given = &how->opts.headers[i];
        if (!given->name || !given->value)
            return option_refused("one of headers lacks its name or its value");
        how->headers[i].name = keep(how, given->name);
        how->headers[i].value = keep(how, given->value);
        if (!how->headers[i].name || !how->headers[i].value)
            return WEFT_E_NOMEM;
    }
    how->opts.headers = how->headers;
    return WEFT_OK;
}

static int keep_subprotocols(struct client_how *how)
{
    size_t count = how->opts.subprotocol_count;

    how->subprotocols = mem_calloc(count + 1, sizeof *how->subprotocols);
    if (!how->subprotocols)
        return WEFT_E_NOMEM;
    for (size_t i = 0; i < count; i++) {
        if (!how->opts.subprotocols[i])
            return option_refused("one of subprotocols is NULL");
        how->subprotocols[i] = keep(how, how->opts.subprotocols[i]);
        if (!how->subprotocols[i])
            return WEFT_E_NOMEM;
    }
    how->opts.subprotocols = how->subprotocols;
    return WEFT_OK;
}

static int keep_texts(struct client_how *how)
{
    weft_client_opts *o = &how->opts;
    const char **options[] = {&o->origin,  &o->user_agent, &o->user,     &o->password,
                              &o->proxy,   &o->ca_file,    &o->ca_dir,    &o->cert_file,
                              &o->key_file, &o->ciphers};
    int rc;

    if (!o->headers)
        o->header_count = 0;
    if (!o->subprotocols)
        o->subprotocol_count = 0;
    if (o->header_count > HEADERS_MAX || o->subprotocol_count > SUBPROTOCOLS_MAX)
        return option_refused("too many headers or subprotocols");
    how->texts = mem_calloc(OWN_TEXTS + 2 * o->header_count + o->subprotocol_count, sizeof *how->texts);
    if (!how->texts)
        return WEFT_E_NOMEM;
    if (!o->user_agent)
        o->user_agent = "weft/" WEFT_VERSION;
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (!keep_option(how, options[i]))
            return WEFT_E_NOMEM;
    rc = keep_headers(how);
    return rc == WEFT_OK ? keep_subprotocols(how) : rc;
}

static int choose(weft_client_opts *o)
{
    OPTION_CHOOSE(o, open_timeout_ms, OPEN_TIMEOUT_MS, 1u, DAY_MS);
    if (o->redirects_max == UINT32_MAX)
        o->redirects_max = 0;
    else
        OPTION_CHOOSE(o, redirects_max, REDIRECTS_MAX, 1u, 100u);
    OPTION_CHOOSE(o, attempt_delay_ms, ATTEMPT_DELAY_MS, 10u, 2000u);
    OPTION_CHOOSE(o, reconnect_first_ms, RECONNECT_FIRST_MS, 1u, DAY_MS);
    OPTION_CHOOSE(o, reconnect_min_ms, RECONNECT_MIN_MS, 1u, DAY_MS);
    OPTION_CHOOSE(o, reconnect_max_ms, o->reconnect_min_ms > RECONNECT_MAX_MS ? o->reconnect_min_ms : RECONNECT_MAX_MS,
                  o->reconnect_min_ms, DAY_MS);
    if ((o->cert_file == NULL) != (o->key_file == NULL))
        return option_refused("cert_file and key_file belong together");
    if (o->version_min && o->version_min != WEFT_TLS_1_2 && o->version_min != WEFT_TLS_1_3)
        return option_refused("version_min is none of its values");
    if (o->password && !o->user)
        return option_refused("a password without a user");
    if (o->handler && (o->on_message || o->on_drain))
        return option_refused("a handler, and callbacks that take its place");
    return WEFT_OK;
}

int client_how_init(struct client_how *how, const char *url, const weft_client_opts *opts)
{
    const char *reason = NULL;
    int rc;

    memset(how, 0, sizeof *how);
    rc = option_copy(&how->opts, sizeof how->opts, opts, opts ? opts->size : 0);
    if (rc == WEFT_OK)
        rc = choose(&how->opts);
    if (rc == WEFT_OK)
        rc = keep_texts(how);
    if (rc == WEFT_OK && (rc = url_parse(&how->url, url, URL_FOR_CLIENT, &reason)) == WEFT_E_INVAL)
        LOG(WEFT_LOG_ERROR, 0, "URL: %s", reason);
    if (rc != WEFT_OK)
        client_how_fini(how);
    return rc;
}

void client_how_fini(struct client_how *how)
{
    for (size_t i = 0; i < how->text_count; i++) {
        explicit_bzero(how->texts[i], strlen(how->texts[i])); /* passwords are among them */
        mem_free(how->texts[i]);
    }
    mem_free(how->texts);
    mem_free(how->headers);
    mem_free(how->subprotocols);
    url_fini(&how->url);
    tls_context_unref(how->tls);
    memset(how, 0, sizeof *how);
}

int client_how_tls(struct client_how *how, struct tls_context **out, char *why, size_t room)
{
    const weft_client_opts *o = &how->opts;
    struct tls_options options = {
        .role = TLS_CLIENT,
        .own = {.cert_file = o->cert_file, .key_file = o->key_file},
        .ca_file = o->ca_file,
        .ca_dir = o->ca_dir,
        .version_min = (enum tls_version_number)o->version_min,
        .ciphers = o->ciphers,
        .insecure = o->insecure,
    };
    int rc = how->tls ? WEFT_OK : tls_context_new(&how->tls, &options, why, room);

    *out = how->tls;
    return rc;
}
