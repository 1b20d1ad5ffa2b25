/* The names in an X.509 certificate: whom it speaks for, and whom it is issued to.
 *
 * The certificate itself is checked by the TLS library (signatures, dates, the chain), which has accepted it
 * before its names are looked at here; still, no bytes whatever lead beyond their end. */
#ifndef WEFT_IO_TLS_NAMES_H
#define WEFT_IO_TLS_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Does the certificate (DER) speak for this host? A name is compared with the names in subjectAltName, where
 * "*" may stand for the whole first label when two labels follow; an address, "127.0.0.1" or "::1", with the
 * addresses there. The common name is not looked at.
 * Source   RFC 6125 section 6.4, RFC 2818 section 3.1 */
bool tls_names_match(const uint8_t *der, size_t n, const char *host);

/* Whether host is an address and not a name. */
bool tls_names_is_address(const char *host);

/* The content of subjectPublicKeyInfo, which points into der. */
bool tls_names_public_key(const uint8_t *der, size_t n, const uint8_t **key, size_t *key_bytes);

/* The subject as "CN=ann,O=weft,C=DE" (RFC 4514: last first). Returns its length, cut off to fit into room,
 * or WEFT_E_INVAL when this is no certificate. */
int tls_names_subject(const uint8_t *der, size_t n, char *out, size_t room);

#endif
