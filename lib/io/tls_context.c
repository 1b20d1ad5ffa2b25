/* Contexts of TLS: the rules, and who is trusted, as wolfSSL wants them; see tls.h.
 *
 * wolfSSL's defaults are for compatibility and not for us, so each rule is set here: it verifies nobody
 * unless told to, and takes TLS 1.1.
 *
 * A context is one WOLFSSL_CTX for each certificate. wolfSSL locks what they share. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/ecc.h>

#include "io/tls_private.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/tls_names.h"
#include "weft/error.h"

#define RSA_BITS_MIN     2048
#define ECC_BITS_MIN     256
#define SESSIONS_DEFAULT 64u

/* In Debian's and other distributions' order of likeliness. */
static const char *const system_ca_files[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
};

void tls_forget_errors(void)
{
#ifdef OPENSSL_EXTRA
    wolfSSL_ERR_clear_error();
#endif
}

/* --- one WOLFSSL_CTX --- */

/* wolfSSL settles the version first, and fails when it has no suite for it then. */
static WOLFSSL_METHOD *method_of(const struct tls_context *c, bool is_stapled)
{
    bool is_server = c->role == TLS_SERVER;

    if (is_stapled)
        return wolfTLSv1_2_server_method();
    if (c->version_min == TLS_1_3 || !tls_suites_have(c, false))
        return is_server ? wolfTLSv1_3_server_method() : wolfTLSv1_3_client_method();
    if (!tls_suites_have(c, true))
        return is_server ? wolfTLSv1_2_server_method() : wolfTLSv1_2_client_method();
    return is_server ? wolfSSLv23_server_method() : wolfSSLv23_client_method();
}

static bool set_groups(WOLFSSL_CTX *w, bool is_for_1_3)
{
    int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_SECP384R1};
    const size_t count = sizeof groups / sizeof groups[0];

    if (is_for_1_3)
        return wolfSSL_CTX_set_groups(w, groups, (int)count) == WOLFSSL_SUCCESS;
    for (size_t i = 0; i < count; i++)
        if (wolfSSL_CTX_UseSupportedCurve(w, (word16)groups[i]) != WOLFSSL_SUCCESS)
            return false;
    return true;
}

static int set_rules(const struct tls_context *c, WOLFSSL_CTX *w, bool is_stapled, struct tls_complaint *why)
{
    int version = c->version_min == TLS_1_3 ? WOLFSSL_TLSV1_3 : WOLFSSL_TLSV1_2;

    if (wolfSSL_CTX_SetMinVersion(w, version) != WOLFSSL_SUCCESS)
        return tls_complain(why, WEFT_E_INVAL, "this wolfSSL has not the TLS version asked for");
    if (wolfSSL_CTX_set_cipher_list(w, c->ciphers) != WOLFSSL_SUCCESS)
        return tls_complain(why, WEFT_E_INVAL, "cipher suites %s: refused by wolfSSL", c->ciphers);
    if (!set_groups(w, tls_suites_have(c, true) && !is_stapled))
        return tls_complain(why, WEFT_E_INVAL, "this wolfSSL has not X25519, P-256 and P-384");
    wolfSSL_CTX_SetMinRsaKey_Sz(w, RSA_BITS_MIN);
    wolfSSL_CTX_SetMinEccKey_Sz(w, ECC_BITS_MIN);
    wolfSSL_CTX_set_group_messages(w); /* a flight is one write */
    wolfSSL_CTX_SetIORecv(w, tls_on_receive);
    wolfSSL_CTX_SetIOSend(w, tls_on_send);
    return WEFT_OK;
}

static void set_verification(const struct tls_context *c, WOLFSSL_CTX *w)
{
    int mode = WOLFSSL_VERIFY_PEER;

    if (c->role == TLS_CLIENT ? c->insecure : c->client_auth == TLS_CLIENT_AUTH_NONE)
        mode = WOLFSSL_VERIFY_NONE;
    else if (c->client_auth == TLS_CLIENT_AUTH_REQUIRED)
        mode |= WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    wolfSSL_CTX_set_verify(w, mode, mode == WOLFSSL_VERIFY_NONE ? NULL : tls_on_verify);
}

static void set_resumption(const struct tls_context *c, WOLFSSL_CTX *w)
{
    if (c->role == TLS_CLIENT) {
        if (c->sessions)
            wolfSSL_CTX_UseSessionTicket(w);
        /* Ours is the cache; wolfSSL's is one for the process. */
        wolfSSL_CTX_set_session_cache_mode(w, WOLFSSL_SESS_CACHE_NO_INTERNAL_STORE);
        return;
    }
    wolfSSL_CTX_set_session_cache_mode(w, WOLFSSL_SESS_CACHE_OFF);
    wolfSSL_CTX_set_TicketEncCb(w, tls_on_seal);
    wolfSSL_CTX_set_TicketEncCtx(w, c->tickets);
    if (c->tickets) {
        wolfSSL_CTX_set_TicketHint(w, TLS_TICKET_SECONDS);
    } else {
        wolfSSL_CTX_no_ticket_TLSv13(w);
        wolfSSL_CTX_NoTicketTLSv12(w);
    }
}

static int load_system_cas(WOLFSSL_CTX *w, struct tls_complaint *why)
{
    /* One that wolfSSL cannot read is one that nobody is trusted by. */
    const word32 flags = WOLFSSL_LOAD_FLAG_IGNORE_ERR;

    errno = 0;
    for (size_t i = 0; i < sizeof system_ca_files / sizeof system_ca_files[0]; i++)
        if (access(system_ca_files[i], R_OK) == 0 &&
            wolfSSL_CTX_load_verify_locations_ex(w, system_ca_files[i], NULL, flags) == WOLFSSL_SUCCESS)
            return WEFT_OK;
#ifdef WOLFSSL_SYS_CA_CERTS
    if (wolfSSL_CTX_load_system_CA_certs(w) == WOLFSSL_SUCCESS)
        return WEFT_OK;
#endif
    if (tls_result_of_file(errno) == WEFT_E_SYSTEM)
        return tls_complain(why, WEFT_E_SYSTEM, "the system's certificate authorities: %s", strerror(errno));
    return tls_complain(why, WEFT_E_INVAL, "no certificate authorities of the system: name a CA file");
}

static int load_cas(const struct tls_options *o, WOLFSSL_CTX *w, struct tls_complaint *why)
{
    int rc;

    if (o->ca_file && access(o->ca_file, R_OK) != 0)
        return tls_complain(why, WEFT_E_INVAL, "CA file %s: %s", o->ca_file, strerror(errno));
    if (o->ca_file || o->ca_dir) {
        errno = 0;
        rc = wolfSSL_CTX_load_verify_locations(w, o->ca_file, o->ca_dir);
        if (rc != WOLFSSL_SUCCESS && tls_result_of_file(errno) == WEFT_E_SYSTEM)
            return tls_complain(why, WEFT_E_SYSTEM, "CA file %s: %s", o->ca_file ? o->ca_file : o->ca_dir,
                                strerror(errno));
        if (rc != WOLFSSL_SUCCESS)
            return tls_complain_of(why, "CA file", o->ca_file ? o->ca_file : o->ca_dir, rc);
        return WEFT_OK;
    }
    return o->role == TLS_CLIENT && !o->insecure ? load_system_cas(w, why) : WEFT_OK;
}

/* --- a context --- */

static int make_wolf(const struct tls_context *c, struct tls_certificate *to, bool is_stapled,
                     const struct tls_options *o, const struct tls_key_pair *pair, struct tls_complaint *why)
{
    WOLFSSL_CTX *w = wolfSSL_CTX_new(method_of(c, is_stapled));
    int rc;

    if (!w)
        return tls_complain(why, WEFT_E_NOMEM, "no memory");
    *(is_stapled ? &to->stapled : &to->wolf) = w;
    rc = set_rules(c, w, is_stapled, why);
    set_verification(c, w);
    set_resumption(c, w);
    if (rc == WEFT_OK)
        rc = load_cas(o, w, why);
    if (rc == WEFT_OK)
        rc = tls_certificate_load(to, w, pair, why);
    if (rc == WEFT_OK && is_stapled)
        rc = tls_certificate_staple(to, w, pair->staple_file, why);
    return rc;
}

/* In TLS 1.3, wolfSSL 5.5.4 loses 6 KB for each client that asks for the staple, which is each browser. So
 * only those get it that speak nothing newer than 1.2. */
static int load_certificate(struct tls_context *c, struct tls_certificate *to, const struct tls_options *o,
                            const struct tls_key_pair *pair, struct tls_complaint *why)
{
    int rc = make_wolf(c, to, false, o, pair, why);

    if (rc != WEFT_OK || !pair->staple_file)
        return rc;
    if (c->version_min == TLS_1_3 || !tls_suites_have(c, false))
        return tls_complain(why, WEFT_E_INVAL,
                            "OCSP response %s: is sent with TLS 1.2, which is not allowed here",
                            pair->staple_file);
    c->has_staple = true;
    return make_wolf(c, to, true, o, pair, why);
}

static int check_options(const struct tls_options *o, struct tls_complaint *why)
{
    bool is_server = o->role == TLS_SERVER;

    if (o->role != TLS_SERVER && o->role != TLS_CLIENT)
        return tls_complain(why, WEFT_E_INVAL, "neither server nor client");
    if (is_server && (!o->own.cert_file || !o->own.key_file))
        return tls_complain(why, WEFT_E_INVAL, "a server needs a certificate and its key");
    if (is_server && o->insecure)
        return tls_complain(why, WEFT_E_INVAL, "insecure is for clients");
    if (!is_server && (o->other_count || o->client_auth != TLS_CLIENT_AUTH_NONE))
        return tls_complain(why, WEFT_E_INVAL, "further certificates and client_auth are for servers");
    if (o->client_auth != TLS_CLIENT_AUTH_NONE && !o->ca_file && !o->ca_dir)
        return tls_complain(why, WEFT_E_INVAL, "client certificates need a CA file to check them with");
    if (o->version_min && o->version_min != TLS_1_2 && o->version_min != TLS_1_3)
        return tls_complain(why, WEFT_E_INVAL, "the lowest version may be TLS 1.2 or 1.3");
    for (size_t i = 0; i < o->other_count; i++)
        if (!o->others[i].cert_file)
            return tls_complain(why, WEFT_E_INVAL, "a further certificate has no file");
    return WEFT_OK;
}

static bool make_stores(struct tls_context *c, const struct tls_options *o)
{
    if (o->role == TLS_CLIENT) {
        uint32_t max = o->sessions_max ? o->sessions_max : SESSIONS_DEFAULT;
        return max == TLS_NO_SESSIONS || (c->sessions = tls_sessions_new(max)) != NULL;
    }
    if (o->no_tickets || o->client_auth != TLS_CLIENT_AUTH_NONE)
        return true;
    c->tickets =
        o->tickets_of && o->tickets_of->tickets ? tls_tickets_ref(o->tickets_of->tickets) : tls_tickets_new();
    return c->tickets != NULL;
}

static int fill(struct tls_context *c, const struct tls_options *o, struct tls_complaint *why)
{
    int rc;

    c->alpn = mem_strdup(o->alpn ? o->alpn : "http/1.1");
    if (!c->alpn || !make_stores(c, o))
        return tls_complain(why, WEFT_E_NOMEM, "no memory");
    rc = tls_suites_choose(c, o->ciphers, why);
    for (size_t i = 0; i < c->count && rc == WEFT_OK; i++)
        rc = load_certificate(c, &c->certificates[i], o, i ? &o->others[i - 1] : &o->own, why);
    return rc;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Never cleaned up: the program may use wolfSSL too, and there is no end at which nobody does. */
static void init_library(void)
{
    wolfSSL_Init();
}

int tls_context_new(struct tls_context **out, const struct tls_options *o, char *text, size_t room)
{
    struct tls_complaint why = {text, room};
    struct tls_context *c;
    int rc;

    *out = NULL;
    rc = check_options(o, &why);
    if (rc != WEFT_OK)
        return rc;
    pthread_once(&once, init_library);
    c = mem_calloc(1, sizeof *c + (1 + o->other_count) * sizeof c->certificates[0]);
    if (!c)
        return tls_complain(&why, WEFT_E_NOMEM, "no memory");
    atomic_init(&c->references, 1);
    pthread_mutex_init(&c->staple_lock, NULL);
    c->role = o->role;
    c->client_auth = o->client_auth;
    c->version_min = o->version_min ? o->version_min : TLS_1_2;
    c->insecure = o->insecure;
    c->count = 1 + o->other_count;
    rc = fill(c, o, &why);
    tls_forget_errors();
    if (rc == WEFT_OK)
        *out = c;
    else
        tls_context_unref(c);
    return rc;
}

bool tls_is_built(void)
{
    return true;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
    /* Relaxed: whoever has one can give another. */
    atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
    return c;
}

void tls_context_unref(struct tls_context *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->references, 1, memory_order_acq_rel) != 1)
        return;
    tls_sessions_free(c->sessions);
    for (size_t i = 0; i < c->count; i++) {
        if (c->certificates[i].wolf)
            wolfSSL_CTX_free(c->certificates[i].wolf);
        if (c->certificates[i].stapled)
            wolfSSL_CTX_free(c->certificates[i].stapled);
        mem_free(c->certificates[i].der.p);
        mem_free(c->certificates[i].staple.p);
    }
    tls_tickets_unref(c->tickets);
    pthread_mutex_destroy(&c->staple_lock);
    mem_free(c->alpn);
    mem_free(c->ciphers);
    mem_free(c);
}

struct WOLFSSL_CTX *tls_context_choose(const struct tls_context *c, const char *name, bool offers_1_3)
{
    const struct tls_certificate *chosen = c->certificates;

    for (size_t i = c->count; name[0] && c->count > 1 && i-- > 0;)
        if (tls_names_match(c->certificates[i].der.p, c->certificates[i].der.n, name))
            chosen = &c->certificates[i];
    return chosen->stapled && !offers_1_3 ? chosen->stapled : chosen->wolf;
}

/* --- threads --- */

void tls_thread_leave(void)
{
#ifdef FP_ECC
    wc_ecc_fp_free();
#endif
    tls_forget_errors();
}
