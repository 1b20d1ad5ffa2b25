/* What the parts of TLS share: io/tls_context.c makes contexts, of io/tls_suites.c and io/tls_certificate.c, which
 * reads its files by io/tls_file.c; io/tls_resume.c keeps what sessions are resumed with, io/tls.c is the connection,
 * io/tls_shake.c its handshake, and io/tls_wire.c its bytes below. The TLS library's structs appear by name only, so
 * that its headers stay in those eight files. */
#ifndef WEFT_IO_TLS_PRIVATE_H
#define WEFT_IO_TLS_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/tls.h"

struct WOLFSSL;
struct WOLFSSL_CTX;
struct WOLFSSL_SESSION;
struct WOLFSSL_X509_STORE_CTX;

#define TLS_SUITES_MAX     32
#define TLS_TICKET_SECONDS 3600u

struct tls_bytes {
    uint8_t *p;
    size_t n;
};

/* Where to say what is wrong. */
struct tls_complaint {
    char *out;
    size_t room; /* 0: nobody wants to know */
};

/* Return rc, and say why. */
__attribute__((format(printf, 3, 4))) int tls_complain(struct tls_complaint *why, int rc, const char *format,
                                                       ...);
/* The same of what the TLS library answered; file: NULL for none. */
int tls_complain_of(struct tls_complaint *why, const char *what, const char *file, int wolf_error);
/* What an errno of a file means: no descriptor or no memory is left, which passes (WEFT_E_SYSTEM); anything else is
 * the file's fault. */
int tls_result_of_file(int error);

/* out: given to the caller, tls_wipe frees it; holds nothing on failure. */
int tls_read_file(const char *file, struct tls_bytes *out, struct tls_complaint *why);
void tls_wipe(struct tls_bytes *b);

/* One certificate with its key, and the rules, as the TLS library wants them. */
struct tls_certificate {
    struct WOLFSSL_CTX *wolf;
    struct WOLFSSL_CTX *stapled; /* for clients that offer no TLS 1.3; NULL: none */
    struct tls_bytes der;
    struct tls_bytes staple;
};

/* Client: what a server gave for resumption. Each is used once, and is in the cache or in one connection,
 * never in both. */
struct tls_session {
    char *host;
    struct WOLFSSL_SESSION *wolf;
    uint16_t port;
};

struct tls_sessions {
    pthread_mutex_t lock;
    struct tls_session *places; /* under lock, as the rest */
    uint32_t count, max, next;
};

struct tls_tickets;

struct tls_context {
    _Atomic uint32_t references;
    enum tls_role role; /* from here on all is constant; tickets and sessions have locks of their own */
    enum tls_client_auth client_auth;
    enum tls_version_number version_min;
    bool insecure;
    bool has_staple;
    pthread_mutex_t staple_lock; /* held while a connection with one shakes hands */
    char *alpn;
    char *ciphers;
    uint16_t suites[TLS_SUITES_MAX];
    size_t suite_count;
    struct tls_tickets *tickets; /* NULL: no resumption */
    struct tls_sessions *sessions;
    size_t count;
    struct tls_certificate certificates[]; /* the first is for whom no other is */
};

/* The certificate for this name; "" or an unknown one: the first. */
struct WOLFSSL_CTX *tls_context_choose(const struct tls_context *c, const char *name, bool offers_1_3);

/* --- cipher suites; WEFT_OK, or a complaint --- */

/* Allow those of the list (":" between them); NULL: ours, as far as the TLS library has them. Sets ciphers, suites and
 * suite_count, also in part on failure. */
int tls_suites_choose(struct tls_context *c, const char *wanted, struct tls_complaint *why);
/* Is there one of TLS 1.3, or one of the versions before? */
bool tls_suites_have(const struct tls_context *c, bool of_1_3);
/* Was this suite among those that we offered? */
bool tls_context_allows(const struct tls_context *c, int suite);

/* --- a certificate; WEFT_OK, or a complaint --- */

/* Put the certificate and its key into w, and what its names are read from into *to. Nothing when the pair names no
 * files. */
int tls_certificate_load(struct tls_certificate *to, struct WOLFSSL_CTX *w, const struct tls_key_pair *pair,
                         struct tls_complaint *why);
/* Show the OCSP response in the file to clients that ask for it. */
int tls_certificate_staple(struct tls_certificate *to, struct WOLFSSL_CTX *w, const char *file,
                           struct tls_complaint *why);

/* --- resumption --- */

/* Keys of tickets, counted by reference: what one context sealed the others open. */
struct tls_tickets *tls_tickets_new(void);
struct tls_tickets *tls_tickets_ref(struct tls_tickets *k);
void tls_tickets_unref(struct tls_tickets *k); /* NULL is allowed */
/* wolfSSL's callback; tickets is a struct tls_tickets, or NULL where nothing is resumed. */
int tls_on_seal(struct WOLFSSL *ssl, unsigned char *name, unsigned char *iv, unsigned char *mac,
                int is_sealing, unsigned char *ticket, int n, int *out_bytes, void *tickets);

struct tls_sessions *tls_sessions_new(uint32_t max);
void tls_sessions_free(struct tls_sessions *s); /* NULL is allowed */
/* NULL: none is known. The caller's to give to wolfSSL_SESSION_free. */
struct WOLFSSL_SESSION *tls_sessions_take(struct tls_sessions *s, const char *host, uint16_t port);
/* session: given; freed when there is no place for it. */
void tls_sessions_put(struct tls_sessions *s, const char *host, uint16_t port,
                      struct WOLFSSL_SESSION *session);

/* Some builds of the TLS library keep a list of errors for each thread. */
void tls_forget_errors(void);

/* Callbacks of the TLS library into io/tls.c and io/tls_wire.c; arg and the store's userCtx are the struct tls. */
int tls_on_receive(struct WOLFSSL *ssl, char *to, int n, void *arg);
int tls_on_send(struct WOLFSSL *ssl, char *from, int n, void *arg);
int tls_on_ticket(struct WOLFSSL *ssl, const unsigned char *ticket, int n, void *arg);
int tls_on_verify(int is_good, struct WOLFSSL_X509_STORE_CTX *store);

#endif
