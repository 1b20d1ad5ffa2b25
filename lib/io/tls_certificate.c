/* One certificate with its key, and with what its authority says of it; see tls_private.h. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>

#include "io/tls_private.h"

#include <string.h>

#include "base/mem.h"
#include "io/tls_names.h"
#include "weft/error.h"

static int load_cert(struct tls_certificate *to, WOLFSSL_CTX *w, const char *file, struct tls_complaint *why)
{
    struct tls_bytes pem;
    int rc = tls_read_file(file, &pem, why), n;

    if (rc != WEFT_OK)
        return rc;
    tls_wipe(&to->der);
    to->der.p = mem_alloc(pem.n);
    if (!to->der.p)
        rc = tls_complain(why, WEFT_E_NOMEM, "%s: no memory", file);
    else if ((n = wc_CertPemToDer(pem.p, (int)pem.n, to->der.p, (int)pem.n, CERT_TYPE)) <= 0)
        rc = tls_complain_of(why, "certificate", file, n);
    else if (to->der.n = (size_t)n,
             (n = wolfSSL_CTX_use_certificate_chain_buffer(w, pem.p, (long)pem.n)) != WOLFSSL_SUCCESS)
        rc = tls_complain_of(why, "certificate", file, n);
    tls_wipe(&pem);
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
                     const char *file, const char *cert, struct tls_complaint *why)
{
    struct tls_bytes der = {mem_alloc(pem->n), pem->n};
    bool fits = false;
    int n;

    if (!der.p)
        return tls_complain(why, WEFT_E_NOMEM, "%s: no memory", file);
    n = wc_KeyPemToDer(pem->p, (int)pem->n, der.p, (int)der.n, NULL);
    if (n > 0)
        fits = wolfSSL_CTX_check_private_key(w) == WOLFSSL_SUCCESS && ec_key_fits(to, der.p, (size_t)n);
    tls_wipe(&der);
    if (fits)
        return WEFT_OK;
    return tls_complain(why, WEFT_E_INVAL, "key %s: does not belong to the certificate %s", file, cert);
}

static int load_key(struct tls_certificate *to, WOLFSSL_CTX *w, const char *file, const char *cert,
                    struct tls_complaint *why)
{
    struct tls_bytes pem;
    int rc = tls_read_file(file, &pem, why), n;

    if (rc != WEFT_OK)
        return rc;
    n = wolfSSL_CTX_use_PrivateKey_buffer(w, pem.p, (long)pem.n, WOLFSSL_FILETYPE_PEM);
    if (n != WOLFSSL_SUCCESS)
        rc = tls_complain_of(why, "key", file, n);
    else
        rc = check_key(to, w, &pem, file, cert, why);
    tls_wipe(&pem);
    return rc;
}

int tls_certificate_load(struct tls_certificate *to, WOLFSSL_CTX *w, const struct tls_key_pair *pair,
                         struct tls_complaint *why)
{
    int rc;

    if (!pair->cert_file && !pair->key_file)
        return WEFT_OK;
    if (!pair->cert_file || !pair->key_file)
        return tls_complain(why, WEFT_E_INVAL, "a certificate needs its key, and a key its certificate");
    rc = load_cert(to, w, pair->cert_file, why);
    if (rc == WEFT_OK)
        rc = load_key(to, w, pair->key_file, pair->cert_file, why);
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

int tls_certificate_staple(struct tls_certificate *to, WOLFSSL_CTX *w, const char *file,
                           struct tls_complaint *why)
{
    int rc = tls_read_file(file, &to->staple, why);

    if (rc != WEFT_OK)
        return rc;
    if (wolfSSL_CTX_EnableOCSPStapling(w) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_SetOCSP_OverrideURL(w, "http://staple.invalid") != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_EnableOCSP(w, WOLFSSL_OCSP_URL_OVERRIDE | WOLFSSL_OCSP_NO_NONCE) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_SetOCSP_Cb(w, on_ocsp, NULL, &to->staple) != WOLFSSL_SUCCESS)
        return tls_complain(why, WEFT_E_INVAL, "OCSP response %s: refused by wolfSSL", file);
    /* That was for the two options: our clients' certificates are not asked about there. */
    wolfSSL_CTX_DisableOCSP(w);
    return WEFT_OK;
}
#else
int tls_certificate_staple(struct tls_certificate *to, WOLFSSL_CTX *w, const char *file,
                           struct tls_complaint *why)
{
    (void)to, (void)w;
    return tls_complain(why, WEFT_E_INVAL, "OCSP response %s: this wolfSSL is built without stapling", file);
}
#endif
