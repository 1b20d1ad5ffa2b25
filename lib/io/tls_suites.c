/* Cipher suites: which of those asked for a context allows; see tls_private.h.
 *
 * wolfSSL offers suites without encryption and without authentication, takes a list in which it knows one name, and
 * says nothing of the others: so each name is looked at here. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "io/tls_private.h"

#include <string.h>

#include "base/mem.h"
#include "weft/error.h"

#define SUITES_OF_1_3 0x13 /* the first octet of each */

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

static int add_suite(struct tls_context *c, const char *name, bool must_exist, struct tls_complaint *why)
{
    unsigned char high, low;
    int flags;

    if (is_unsafe(name))
        return tls_complain(why, WEFT_E_INVAL, "cipher suite %s: refused, it protects nothing", name);
    if (!is_known(name) || wolfSSL_get_cipher_suite_from_name(name, &high, &low, &flags) != 0) {
        if (!must_exist)
            return WEFT_OK;
        return tls_complain(why, WEFT_E_INVAL, "cipher suite %s: this wolfSSL has none of that name", name);
    }
    if (c->suite_count == TLS_SUITES_MAX)
        return tls_complain(why, WEFT_E_INVAL, "more than %d cipher suites", TLS_SUITES_MAX);
    if (c->ciphers[0])
        strcat(c->ciphers, ":");
    strcat(c->ciphers, name);
    c->suites[c->suite_count++] = (uint16_t)(high << 8 | low);
    return WEFT_OK;
}

bool tls_suites_have(const struct tls_context *c, bool of_1_3)
{
    for (size_t i = 0; i < c->suite_count; i++)
        if ((c->suites[i] >> 8 == SUITES_OF_1_3) == of_1_3)
            return true;
    return false;
}

int tls_suites_choose(struct tls_context *c, const char *wanted, struct tls_complaint *why)
{
    char *names = mem_strdup(wanted ? wanted : default_ciphers), *rest = names, *name;
    int rc = WEFT_OK;

    c->ciphers = mem_calloc(1, strlen(wanted ? wanted : default_ciphers) + 1);
    if (!names || !c->ciphers)
        rc = tls_complain(why, WEFT_E_NOMEM, "no memory");
    while (rc == WEFT_OK && (name = strsep(&rest, ":")) != NULL)
        if (*name)
            rc = add_suite(c, name, wanted != NULL, why);
    if (rc == WEFT_OK && !tls_suites_have(c, true) &&
        !(tls_suites_have(c, false) && c->version_min == TLS_1_2))
        rc = tls_complain(why, WEFT_E_INVAL, "no cipher suite is left for the versions allowed");
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
