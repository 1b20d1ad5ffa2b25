/* The TLS of a listening socket; see tls_port.h. */
#include "core/tls_port.h"

#include <pthread.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/options.h"
#include "io/tls.h"

#define OTHERS_MAX 1024
#define WHY_ROOM   256
/* Strings of a pair, and those of the options beside. */
#define PAIR_TEXTS 3
#define OWN_TEXTS  6

struct tls_port {
    struct tls_options options; /* (c) but for tickets_of */
    struct tls_key_pair *others;
    char **texts; /* the copies of all strings */
    size_t text_count;
    pthread_mutex_t lock;
    struct tls_context *context; /* under the lock */
    struct tls_context *next;    /* of the thread that loads */
};

/* --- options --- */

static bool keep(struct tls_port *p, const char *text, const char **copy)
{
    *copy = NULL;
    if (!text)
        return true;
    p->texts[p->text_count] = mem_strdup(text);
    *copy = p->texts[p->text_count];
    return p->texts[p->text_count++] != NULL;
}

static bool keep_pair(struct tls_port *p, const weft_tls_pair *pair, struct tls_key_pair *to)
{
    return keep(p, pair->cert_file, &to->cert_file) && keep(p, pair->key_file, &to->key_file) &&
           keep(p, pair->ocsp_file, &to->staple_file);
}

static int keep_texts(struct tls_port *p, const weft_tls_opts *o)
{
    const weft_tls_pair own = {o->cert_file, o->key_file, o->ocsp_file};
    size_t count = o->others ? o->other_count : 0;

    p->texts = mem_calloc(OWN_TEXTS + PAIR_TEXTS * count, sizeof *p->texts);
    p->others = mem_calloc(count + 1, sizeof *p->others);
    if (!p->texts || !p->others || !keep_pair(p, &own, &p->options.own) || !keep(p, o->ca_file, &p->options.ca_file) ||
        !keep(p, o->ca_dir, &p->options.ca_dir) || !keep(p, o->ciphers, &p->options.ciphers))
        return WEFT_E_NOMEM;
    for (size_t i = 0; i < count; i++)
        if (!keep_pair(p, &o->others[i], &p->others[i]))
            return WEFT_E_NOMEM;
    p->options.others = p->others;
    p->options.other_count = count;
    return WEFT_OK;
}

static int take_options(struct tls_port *p, const weft_tls_opts *given)
{
    weft_tls_opts o;
    int rc = option_copy(&o, sizeof o, given, given ? given->size : 0);

    if (rc != WEFT_OK)
        return rc;
    if (!o.cert_file || !o.key_file)
        return option_refused("TLS needs cert_file and key_file");
    if (o.client_auth > WEFT_TLS_CLIENT_AUTH_REQUIRED)
        return option_refused("client_auth is none of its values");
    if (o.version_min && o.version_min != WEFT_TLS_1_2 && o.version_min != WEFT_TLS_1_3)
        return option_refused("version_min is none of its values");
    if (o.other_count > OTHERS_MAX)
        return option_refused("too many certificates");
    p->options.role = TLS_SERVER;
    p->options.client_auth = (enum tls_client_auth)o.client_auth;
    p->options.version_min = (enum tls_version_number)o.version_min;
    p->options.no_tickets = o.no_resumption;
    return keep_texts(p, &o);
}

/* --- contexts --- */

/* What fails here would fail for each client. */
static int try_it(struct tls_context *context, char *why)
{
    int rc = tls_context_warm(context, why, WHY_ROOM);

    tls_thread_leave();
    return rc == WEFT_E_TLS ? WEFT_E_INVAL : rc;
}

int tls_port_load(struct tls_port *p)
{
    struct tls_options options = p->options;
    char why[WHY_ROOM] = "no memory";
    int rc;

    options.tickets_of = p->context; /* it only changes in settle, on this thread */
    rc = tls_context_new(&p->next, &options, why, sizeof why);
    if (rc == WEFT_OK && (rc = try_it(p->next, why)) != WEFT_OK)
        tls_port_settle(p, false);
    if (rc != WEFT_OK)
        LOG(WEFT_LOG_ERROR, 0, "TLS: %s", why);
    return rc;
}

void tls_port_settle(struct tls_port *p, bool takes_it)
{
    struct tls_context *gone = p->next;

    p->next = NULL;
    if (takes_it) {
        struct tls_context *next = gone;
        pthread_mutex_lock(&p->lock);
        gone = p->context;
        p->context = next;
        pthread_mutex_unlock(&p->lock);
    }
    tls_context_unref(gone);
}

struct tls_context *tls_port_context(struct tls_port *p)
{
    struct tls_context *context;

    pthread_mutex_lock(&p->lock);
    context = tls_context_ref(p->context);
    pthread_mutex_unlock(&p->lock);
    return context;
}

void tls_port_warm(struct tls_port *p)
{
    struct tls_context *context = tls_port_context(p);
    char why[WHY_ROOM] = "no memory";

    if (tls_context_warm(context, why, sizeof why) != WEFT_OK)
        LOG(WEFT_LOG_WARNING, 0, "TLS: %s", why); /* the first clients wait */
    tls_context_unref(context);
}

/* --- life --- */

int tls_port_new(struct tls_port **out, const weft_tls_opts *opts)
{
    struct tls_port *p = mem_calloc(1, sizeof *p);
    int rc;

    if (!p)
        return WEFT_E_NOMEM;
    pthread_mutex_init(&p->lock, NULL);
    rc = take_options(p, opts);
    if (rc == WEFT_OK)
        rc = tls_port_load(p);
    if (rc != WEFT_OK) {
        tls_port_free(p);
        return rc;
    }
    tls_port_settle(p, true);
    *out = p;
    return WEFT_OK;
}

void tls_port_free(struct tls_port *p)
{
    if (!p)
        return;
    tls_context_unref(p->context);
    for (size_t i = 0; i < p->text_count; i++)
        mem_free(p->texts[i]);
    mem_free(p->texts);
    mem_free(p->others);
    pthread_mutex_destroy(&p->lock);
    mem_free(p);
}
