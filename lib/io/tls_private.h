/* What the parts of TLS share: io/tls_context.c makes contexts, io/tls_resume.c keeps what
 * sessions are resumed with, io/tls.c is the connection, and io/tls_wire.c its bytes below. The TLS library's
 * structs appear by name only, so that its headers stay in those four files. */
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
/* Was this suite among those that we offered? */
bool tls_context_allows(const struct tls_context *c, int suite);
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
