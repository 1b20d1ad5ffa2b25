/* Certificates, keys and rules of TLS, as wolfSSL wants them; see tls.h.
 *
 * wolfSSL's defaults are for compatibility and not for us, so each rule is set here: it verifies nobody
 * unless told to, takes TLS 1.1, offers suites without encryption and without authentication, and passes
 * over names of suites that it does not know.
 *
 * A context is one WOLFSSL_CTX for each certificate. wolfSSL locks what they share. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>

#include "io/tls_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/tls_names.h"
#include "weft/error.h"

/* Larger than any chain of certificates, or an OCSP response. */
#define FILE_BYTES_MAX   (1024u * 1024u)
#define RSA_BITS_MIN     2048
#define ECC_BITS_MIN     256
#define SESSIONS_DEFAULT 64u
#define SUITES_OF_1_3    0x13 /* the first octet of each */
#define WARM_HANDSHAKES  3    /* the tables of a point are made when it is met again */
#define WARM_STEPS_MAX   64

/* Debian's wolfSSL is built without the processor's instructions for AES: ChaCha20 is more than twice as
 * fast there. */
#ifdef WOLFSSL_AESNI
#define FIRST_1_3 "TLS13-AES128-GCM-SHA256:TLS13-CHACHA20-POLY1305-SHA256"
#define FIRST_1_2                                                                                            \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                             \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#else
#define FIRST_1_3 "TLS13-CHACHA20-POLY1305-SHA256:TLS13-AES128-GCM-SHA256"
#define FIRST_1_2                                                                                            \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                                             \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
#endif
static const char default_ciphers[] = FIRST_1_3 ":TLS13-AES256-GCM-SHA384:" FIRST_1_2
                                                ":ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";

/* In Debian's and other distributions' order of likeliness. */
static const char *const system_ca_files[] = {
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
};

/* Where to say what is wrong. */
struct complaint {
    char *out;
    size_t room;
};

__attribute__((format(printf, 3, 4))) static int complain(struct complaint *why, int rc, const char *format,
                                                          ...)
{
    va_list args;

    if (!why->room)
        return rc;
    va_start(args, format);
    vsnprintf(why->out, why->room, format, args);
    va_end(args);
    return rc;
}

/* No descriptor or no memory is left, which passes; anything else is the file's fault. */
static int result_of_file(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM ? WEFT_E_SYSTEM : WEFT_E_INVAL;
}

static int complain_of(struct complaint *why, const char *what, const char *file, int wolf_error)
{
    char text[WOLFSSL_MAX_ERROR_SZ] = "";

    if (wolf_error == MEMORY_E)
        return complain(why, WEFT_E_NOMEM, "%s: no memory", what);
    wolfSSL_ERR_error_string((unsigned long)wolf_error, text);
    return complain(why, WEFT_E_INVAL, "%s%s%s: %s", what, file ? " " : "", file ? file : "", text);
}

void tls_forget_errors(void)
{
#ifdef OPENSSL_EXTRA
    wolfSSL_ERR_clear_error();
#endif
}

/* --- files --- */

static void wipe(struct tls_bytes *b)
{
    if (b->p)
        explicit_bzero(b->p, b->n);
    mem_free(b->p);
    *b = (struct tls_bytes){0};
}

static bool read_whole(int fd, struct tls_bytes *b)
{
    for (size_t have = 0; have < b->n;) {
        ssize_t n = read(fd, b->p + have, b->n - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

static int read_file(const char *file, struct tls_bytes *out, struct complaint *why)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = WEFT_OK;
    struct stat st;

    *out = (struct tls_bytes){0};
    if (fd < 0)
        return complain(why, result_of_file(errno), "%s: %s", file, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = complain(why, WEFT_E_INVAL, "%s: not a file", file);
    else if (st.st_size == 0 || st.st_size > FILE_BYTES_MAX)
        rc = complain(why, WEFT_E_INVAL, "%s: empty, or larger than a megabyte", file);
    else if (!(out->p = mem_alloc((size_t)st.st_size)))
        rc = complain(why, WEFT_E_NOMEM, "%s: no memory", file);
    out->n = rc == WEFT_OK ? (size_t)st.st_size : 0;
    if (rc == WEFT_OK && !read_whole(fd, out)) {
        rc = complain(why, WEFT_E_INVAL, "%s: %s", file, "cannot be read");
        wipe(out);
    }
    close(fd);
    return rc;
}

/* --- suites --- */

/* wolfSSL has them where it was built so; nobody who names them in a list can mean it. */
static bool is_unsafe(const char *name)
{
    static const char *const parts[] = {"NULL", "ADH", "ANON", "RC4", "DES", "MD5", "IDEA", "EXP"};

    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(name, parts[i]))
            return true;
    return false;
}

static bool is_known(const char *name)
{
    const char *other;

    for (int i = 0; (other = wolfSSL_get_cipher_list(i)) != NULL; i++)
        if (strcmp(other, name) == 0)
            return true;
    return false;
}

static int add_suite(struct tls_context *c, const char *name, bool must_exist, struct complaint *why)
{
    unsigned char high, low;
    int flags;

    if (is_unsafe(name))
        return complain(why, WEFT_E_INVAL, "cipher suite %s: refused, it protects nothing", name);
    if (!is_known(name) || wolfSSL_get_cipher_suite_from_name(name, &high, &low, &flags) != 0) {
        if (!must_exist)
            return WEFT_OK;
        return complain(why, WEFT_E_INVAL, "cipher suite %s: this wolfSSL has none of that name", name);
    }
    if (c->suite_count == TLS_SUITES_MAX)
        return complain(why, WEFT_E_INVAL, "more than %d cipher suites", TLS_SUITES_MAX);
    if (c->ciphers[0])
        strcat(c->ciphers, ":");
    strcat(c->ciphers, name);
    c->suites[c->suite_count++] = (uint16_t)(high << 8 | low);
    return WEFT_OK;
}

static bool has_suite(const struct tls_context *c, bool of_1_3)
{
    for (size_t i = 0; i < c->suite_count; i++)
        if ((c->suites[i] >> 8 == SUITES_OF_1_3) == of_1_3)
            return true;
    return false;
}

/* wolfSSL takes a list in which it knows one name, and says nothing of the others. */
static int choose_suites(struct tls_context *c, const char *wanted, struct complaint *why)
{
    char *names = mem_strdup(wanted ? wanted : default_ciphers), *rest = names, *name;
    int rc = WEFT_OK;

    c->ciphers = mem_calloc(1, strlen(wanted ? wanted : default_ciphers) + 1);
    if (!names || !c->ciphers)
        rc = complain(why, WEFT_E_NOMEM, "no memory");
    while (rc == WEFT_OK && (name = strsep(&rest, ":")) != NULL)
        if (*name)
            rc = add_suite(c, name, wanted != NULL, why);
    if (rc == WEFT_OK && !has_suite(c, true) && !(has_suite(c, false) && c->version_min == TLS_1_2))
        rc = complain(why, WEFT_E_INVAL, "no cipher suite is left for the versions allowed");
    mem_free(names);
    return rc;
}

bool tls_context_allows(const struct tls_context *c, int suite)
{
    for (size_t i = 0; i < c->suite_count; i++)
        if (c->suites[i] == suite)
            return true;
    return false;
}

/* --- one WOLFSSL_CTX --- */

/* wolfSSL settles the version first, and fails when it has no suite for it then. */
static WOLFSSL_METHOD *method_of(const struct tls_context *c, bool is_stapled)
{
    bool is_server = c->role == TLS_SERVER;

    if (is_stapled)
        return wolfTLSv1_2_server_method();
    if (c->version_min == TLS_1_3 || !has_suite(c, false))
        return is_server ? wolfTLSv1_3_server_method() : wolfTLSv1_3_client_method();
    if (!has_suite(c, true))
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

static int set_rules(const struct tls_context *c, WOLFSSL_CTX *w, bool is_stapled, struct complaint *why)
{
    int version = c->version_min == TLS_1_3 ? WOLFSSL_TLSV1_3 : WOLFSSL_TLSV1_2;

    if (wolfSSL_CTX_SetMinVersion(w, version) != WOLFSSL_SUCCESS)
        return complain(why, WEFT_E_INVAL, "this wolfSSL has not the TLS version asked for");
    if (wolfSSL_CTX_set_cipher_list(w, c->ciphers) != WOLFSSL_SUCCESS)
        return complain(why, WEFT_E_INVAL, "cipher suites %s: refused by wolfSSL", c->ciphers);
    if (!set_groups(w, has_suite(c, true) && !is_stapled))
        return complain(why, WEFT_E_INVAL, "this wolfSSL has not X25519, P-256 and P-384");
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

static int load_system_cas(WOLFSSL_CTX *w, struct complaint *why)
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
    if (result_of_file(errno) == WEFT_E_SYSTEM)
        return complain(why, WEFT_E_SYSTEM, "the system's certificate authorities: %s", strerror(errno));
    return complain(why, WEFT_E_INVAL, "no certificate authorities of the system: name a CA file");
}

static int load_cas(const struct tls_options *o, WOLFSSL_CTX *w, struct complaint *why)
{
    int rc;

    if (o->ca_file && access(o->ca_file, R_OK) != 0)
        return complain(why, WEFT_E_INVAL, "CA file %s: %s", o->ca_file, strerror(errno));
    if (o->ca_file || o->ca_dir) {
        errno = 0;
        rc = wolfSSL_CTX_load_verify_locations(w, o->ca_file, o->ca_dir);
        if (rc != WOLFSSL_SUCCESS && result_of_file(errno) == WEFT_E_SYSTEM)
            return complain(why, WEFT_E_SYSTEM, "CA file %s: %s", o->ca_file ? o->ca_file : o->ca_dir,
                            strerror(errno));
        if (rc != WOLFSSL_SUCCESS)
            return complain_of(why, "CA file", o->ca_file ? o->ca_file : o->ca_dir, rc);
        return WEFT_OK;
    }
    return o->role == TLS_CLIENT && !o->insecure ? load_system_cas(w, why) : WEFT_OK;
}

static int load_cert(struct tls_certificate *to, WOLFSSL_CTX *w, const char *file, struct complaint *why)
{
    struct tls_bytes pem;
    int rc = read_file(file, &pem, why), n;

    if (rc != WEFT_OK)
        return rc;
    wipe(&to->der);
    to->der.p = mem_alloc(pem.n);
    if (!to->der.p)
        rc = complain(why, WEFT_E_NOMEM, "%s: no memory", file);
    else if ((n = wc_CertPemToDer(pem.p, (int)pem.n, to->der.p, (int)pem.n, CERT_TYPE)) <= 0)
        rc = complain_of(why, "certificate", file, n);
    else if (to->der.n = (size_t)n,
             (n = wolfSSL_CTX_use_certificate_chain_buffer(w, pem.p, (long)pem.n)) != WOLFSSL_SUCCESS)
        rc = complain_of(why, "certificate", file, n);
    wipe(&pem);
    return rc;
}

/* wolfSSL 5.5.4 does not notice an EC key that belongs to another certificate. The public one is the end
 * of what the certificate says of it, whole or as x with the sign of y. */
static bool ends_with_point(const uint8_t *spki, size_t spki_bytes, const uint8_t *point, size_t n)
{
    size_t half = (n - 1) / 2;
    const uint8_t *end = spki + spki_bytes;

    if (spki_bytes > n && memcmp(end - n, point, n) == 0)
        return true;
    return spki_bytes > half + 1 && end[-(ptrdiff_t)half - 1] == (2 | (point[n - 1] & 1)) &&
           memcmp(end - half, point + 1, half) == 0;
}

/* True also for keys of other kinds. */
static bool ec_key_fits(const struct tls_certificate *to, const uint8_t *der, size_t n)
{
    const uint8_t *spki;
    size_t spki_bytes;
    uint8_t point[MAX_ECC_BYTES * 2 + 1];
    word32 used = 0, point_bytes = sizeof point;
    ecc_key key;
    bool fits = true;

    if (wc_ecc_init(&key) != 0)
        return false;
    if (wc_EccPrivateKeyDecode(der, &used, &key, (word32)n) == 0)
        fits = wc_ecc_make_pub(&key, NULL) == 0 && wc_ecc_export_x963(&key, point, &point_bytes) == 0 &&
               tls_names_public_key(to->der.p, to->der.n, &spki, &spki_bytes) &&
               ends_with_point(spki, spki_bytes, point, point_bytes);
    wc_ecc_free(&key);
    return fits;
}

static int check_key(const struct tls_certificate *to, WOLFSSL_CTX *w, const struct tls_bytes *pem,
                     const char *file, const char *cert, struct complaint *why)
{
    struct tls_bytes der = {mem_alloc(pem->n), pem->n};
    bool fits = false;
    int n;

    if (!der.p)
        return complain(why, WEFT_E_NOMEM, "%s: no memory", file);
    n = wc_KeyPemToDer(pem->p, (int)pem->n, der.p, (int)der.n, NULL);
    if (n > 0)
        fits = wolfSSL_CTX_check_private_key(w) == WOLFSSL_SUCCESS && ec_key_fits(to, der.p, (size_t)n);
    wipe(&der);
    if (fits)
        return WEFT_OK;
    return complain(why, WEFT_E_INVAL, "key %s: does not belong to the certificate %s", file, cert);
}

static int load_key(struct tls_certificate *to, WOLFSSL_CTX *w, const char *file, const char *cert,
                    struct complaint *why)
{
    struct tls_bytes pem;
    int rc = read_file(file, &pem, why), n;

    if (rc != WEFT_OK)
        return rc;
    n = wolfSSL_CTX_use_PrivateKey_buffer(w, pem.p, (long)pem.n, WOLFSSL_FILETYPE_PEM);
    if (n != WOLFSSL_SUCCESS)
        rc = complain_of(why, "key", file, n);
    else
        rc = check_key(to, w, &pem, file, cert, why);
    wipe(&pem);
    return rc;
}

/* --- OCSP stapling --- */

#ifdef HAVE_CERTIFICATE_STATUS_REQUEST
/* wolfSSL asks for the answer of a responder; what it gets is the file. */
static int on_ocsp(void *arg, const char *url, int url_bytes, unsigned char *request, int request_bytes,
                   unsigned char **answer)
{
    const struct tls_bytes *staple = arg;

    (void)url, (void)url_bytes, (void)request, (void)request_bytes;
    *answer = staple->p;
    return (int)staple->n;
}

static int set_staple(struct tls_certificate *to, WOLFSSL_CTX *w, const char *file, struct complaint *why)
{
    int rc = read_file(file, &to->staple, why);

    if (rc != WEFT_OK)
        return rc;
    if (wolfSSL_CTX_EnableOCSPStapling(w) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_SetOCSP_OverrideURL(w, "http://staple.invalid") != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_EnableOCSP(w, WOLFSSL_OCSP_URL_OVERRIDE | WOLFSSL_OCSP_NO_NONCE) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_SetOCSP_Cb(w, on_ocsp, NULL, &to->staple) != WOLFSSL_SUCCESS)
        return complain(why, WEFT_E_INVAL, "OCSP response %s: refused by wolfSSL", file);
    /* That was for the two options: our clients' certificates are not asked about there. */
    wolfSSL_CTX_DisableOCSP(w);
    return WEFT_OK;
}
#else
static int set_staple(struct tls_certificate *to, WOLFSSL_CTX *w, const char *file, struct complaint *why)
{
    (void)to, (void)w;
    return complain(why, WEFT_E_INVAL, "OCSP response %s: this wolfSSL is built without stapling", file);
}
#endif

/* --- a context --- */

static int load_pair(struct tls_certificate *to, WOLFSSL_CTX *w, const struct tls_key_pair *pair,
                     struct complaint *why)
{
    int rc;

    if (!pair->cert_file && !pair->key_file)
        return WEFT_OK;
    if (!pair->cert_file || !pair->key_file)
        return complain(why, WEFT_E_INVAL, "a certificate needs its key, and a key its certificate");
    rc = load_cert(to, w, pair->cert_file, why);
    if (rc == WEFT_OK)
        rc = load_key(to, w, pair->key_file, pair->cert_file, why);
    return rc;
}

static int make_wolf(const struct tls_context *c, struct tls_certificate *to, bool is_stapled,
                     const struct tls_options *o, const struct tls_key_pair *pair, struct complaint *why)
{
    WOLFSSL_CTX *w = wolfSSL_CTX_new(method_of(c, is_stapled));
    int rc;

    if (!w)
        return complain(why, WEFT_E_NOMEM, "no memory");
    *(is_stapled ? &to->stapled : &to->wolf) = w;
    rc = set_rules(c, w, is_stapled, why);
    set_verification(c, w);
    set_resumption(c, w);
    if (rc == WEFT_OK)
        rc = load_cas(o, w, why);
    if (rc == WEFT_OK)
        rc = load_pair(to, w, pair, why);
    if (rc == WEFT_OK && is_stapled)
        rc = set_staple(to, w, pair->staple_file, why);
    return rc;
}

/* In TLS 1.3, wolfSSL 5.5.4 loses 6 KB for each client that asks for the staple, which is each browser. So
 * only those get it that speak nothing newer than 1.2. */
static int load_certificate(struct tls_context *c, struct tls_certificate *to, const struct tls_options *o,
                            const struct tls_key_pair *pair, struct complaint *why)
{
    int rc = make_wolf(c, to, false, o, pair, why);

    if (rc != WEFT_OK || !pair->staple_file)
        return rc;
    if (c->version_min == TLS_1_3 || !has_suite(c, false))
        return complain(why, WEFT_E_INVAL,
                        "OCSP response %s: is sent with TLS 1.2, which is not allowed here",
                        pair->staple_file);
    c->has_staple = true;
    return make_wolf(c, to, true, o, pair, why);
}

static int check_options(const struct tls_options *o, struct complaint *why)
{
    bool is_server = o->role == TLS_SERVER;

    if (o->role != TLS_SERVER && o->role != TLS_CLIENT)
        return complain(why, WEFT_E_INVAL, "neither server nor client");
    if (is_server && (!o->own.cert_file || !o->own.key_file))
        return complain(why, WEFT_E_INVAL, "a server needs a certificate and its key");
    if (is_server && o->insecure)
        return complain(why, WEFT_E_INVAL, "insecure is for clients");
    if (!is_server && (o->other_count || o->client_auth != TLS_CLIENT_AUTH_NONE))
        return complain(why, WEFT_E_INVAL, "further certificates and client_auth are for servers");
    if (o->client_auth != TLS_CLIENT_AUTH_NONE && !o->ca_file && !o->ca_dir)
        return complain(why, WEFT_E_INVAL, "client certificates need a CA file to check them with");
    if (o->version_min && o->version_min != TLS_1_2 && o->version_min != TLS_1_3)
        return complain(why, WEFT_E_INVAL, "the lowest version may be TLS 1.2 or 1.3");
    for (size_t i = 0; i < o->other_count; i++)
        if (!o->others[i].cert_file)
            return complain(why, WEFT_E_INVAL, "a further certificate has no file");
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

static int fill(struct tls_context *c, const struct tls_options *o, struct complaint *why)
{
    int rc;

    c->alpn = mem_strdup(o->alpn ? o->alpn : "http/1.1");
    if (!c->alpn || !make_stores(c, o))
        return complain(why, WEFT_E_NOMEM, "no memory");
    rc = choose_suites(c, o->ciphers, why);
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
    struct complaint why = {text, room};
    struct tls_context *c;
    int rc;

    *out = NULL;
    rc = check_options(o, &why);
    if (rc != WEFT_OK)
        return rc;
    pthread_once(&once, init_library);
    c = mem_calloc(1, sizeof *c + (1 + o->other_count) * sizeof c->certificates[0]);
    if (!c)
        return complain(&why, WEFT_E_NOMEM, "no memory");
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

static int shake_hands(struct tls *server, struct tls *client, const int fds[2], struct tls_scratch *s)
{
    int a = WEFT_E_AGAIN, b = WEFT_E_AGAIN;

    for (int i = 0; i < WARM_STEPS_MAX && (a == WEFT_E_AGAIN || b == WEFT_E_AGAIN); i++) {
        if (b == WEFT_E_AGAIN)
            b = tls_handshake(client, fds[1], s);
        if (a == WEFT_E_AGAIN)
            a = tls_handshake(server, fds[0], s);
        tls_flush(client, fds[1]); /* what the system did not take at first */
        tls_flush(server, fds[0]);
        if (a != WEFT_OK && a != WEFT_E_AGAIN)
            return a;
        if (b != WEFT_OK && b != WEFT_E_AGAIN)
            return b;
    }
    return a == WEFT_OK && b == WEFT_OK ? WEFT_OK : WEFT_E_TLS;
}

static int warm_once(struct tls_context *c, struct tls_context *peer, struct tls_scratch *s,
                     struct complaint *why)
{
    struct tls *server = tls_new(c, NULL, 0), *client = tls_new(peer, NULL, 0);
    int fds[2], rc = server && client ? WEFT_OK : complain(why, WEFT_E_NOMEM, "no memory");

    if (rc == WEFT_OK && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        rc = complain(why, WEFT_E_SYSTEM, "no sockets for a handshake: %s", strerror(errno));
    if (rc == WEFT_OK) {
        rc = shake_hands(server, client, fds, s);
        if (rc == WEFT_E_TLS)
            tls_error_text(server, why->out, why->room);
        close(fds[0]);
        close(fds[1]);
    }
    tls_free(server);
    tls_free(client);
    return rc;
}

int tls_context_warm(struct tls_context *c, char *text, size_t room)
{
    struct tls_options o = {.role = TLS_CLIENT,
                            .insecure = true,
                            .ciphers = c->ciphers,
                            .version_min = c->version_min,
                            .alpn = c->alpn,
                            .sessions_max = TLS_NO_SESSIONS};
    struct complaint why = {text, room};
    struct tls_context *peer;
    struct tls_scratch *s;
    int rc;

    /* Its client would have to show a certificate, which is nobody's to have here. */
    if (c->role != TLS_SERVER || c->client_auth == TLS_CLIENT_AUTH_REQUIRED)
        return WEFT_OK;
    rc = tls_context_new(&peer, &o, text, room);
    if (rc != WEFT_OK)
        return rc;
    s = tls_scratch_new(0, 0);
    rc = s ? WEFT_OK : complain(&why, WEFT_E_NOMEM, "no memory");
    for (int i = 0; i < WARM_HANDSHAKES && rc == WEFT_OK; i++)
        rc = warm_once(c, peer, s, &why);
    tls_scratch_free(s);
    tls_context_unref(peer);
    return rc;
}

void tls_thread_leave(void)
{
#ifdef FP_ECC
    wc_ecc_fp_free();
#endif
    tls_forget_errors();
}
