/* Sessions that are taken up again: what a server seals into tickets, and what a client keeps of them; see
 * tls_private.h. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/chacha20_poly1305.h>

#include "io/tls_private.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"

/* --- tickets --- */

/* The keys that sessions are sealed with for resumption. One is used for TLS_TICKET_SECONDS, and still opens
 * what it sealed for as long again. */
struct ticket_key {
    uint8_t name[WOLFSSL_TICKET_NAME_SZ];
    uint8_t key[CHACHA20_POLY1305_AEAD_KEYSIZE];
    uint64_t until_ns; /* 0: none */
};

struct tls_tickets {
    _Atomic uint32_t references;
    pthread_mutex_t lock;
    struct ticket_key now, before; /* under lock */
};

#define TICKET_AAD_BYTES (WOLFSSL_TICKET_NAME_SZ + WOLFSSL_TICKET_IV_SZ)

struct tls_tickets *tls_tickets_new(void)
{
    struct tls_tickets *k = mem_calloc(1, sizeof *k);

    if (!k)
        return NULL;
    atomic_init(&k->references, 1);
    pthread_mutex_init(&k->lock, NULL);
    return k;
}

struct tls_tickets *tls_tickets_ref(struct tls_tickets *k)
{
    /* Relaxed: whoever has one can give another. */
    atomic_fetch_add_explicit(&k->references, 1, memory_order_relaxed);
    return k;
}

void tls_tickets_unref(struct tls_tickets *k)
{
    if (!k || atomic_fetch_sub_explicit(&k->references, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&k->lock);
    explicit_bzero(k, sizeof *k);
    mem_free(k);
}

/* Under lock. */
static bool turn_keys(struct tls_tickets *k)
{
    const uint64_t life_ns = TLS_TICKET_SECONDS * 1000000000ull;
    uint64_t now_ns = clock_now_ns();
    struct ticket_key fresh;

    if (now_ns >= k->before.until_ns)
        explicit_bzero(&k->before, sizeof k->before);
    if (now_ns < k->now.until_ns)
        return true;
    if (!random_fill(fresh.name, sizeof fresh.name) || !random_fill(fresh.key, sizeof fresh.key))
        return false;
    fresh.until_ns = now_ns + life_ns;
    k->before = k->now;
    k->before.until_ns = now_ns < k->now.until_ns + life_ns ? k->now.until_ns + life_ns : 0;
    k->now = fresh;
    explicit_bzero(&fresh, sizeof fresh);
    return true;
}

/* The key to seal with, or the one of this name. */
static bool find_key(struct tls_tickets *k, const uint8_t *name, struct ticket_key *out)
{
    bool found = false;

    pthread_mutex_lock(&k->lock);
    if (turn_keys(k)) {
        found = !name || memcmp(name, k->now.name, sizeof k->now.name) == 0;
        *out = k->now;
        if (!found && k->before.until_ns && memcmp(name, k->before.name, sizeof k->before.name) == 0) {
            *out = k->before;
            found = true;
        }
    }
    pthread_mutex_unlock(&k->lock);
    return found;
}

static bool seal(struct tls_tickets *k, uint8_t *name, uint8_t *iv, uint8_t *mac, uint8_t *ticket, int n)
{
    uint8_t aad[TICKET_AAD_BYTES];
    struct ticket_key key;
    bool done;

    if (!find_key(k, NULL, &key) || !random_fill(iv, WOLFSSL_TICKET_IV_SZ))
        return false;
    memcpy(name, key.name, sizeof key.name);
    memcpy(aad, name, WOLFSSL_TICKET_NAME_SZ);
    memcpy(aad + WOLFSSL_TICKET_NAME_SZ, iv, WOLFSSL_TICKET_IV_SZ);
    memset(mac, 0, WOLFSSL_TICKET_MAC_SZ);
    done = wc_ChaCha20Poly1305_Encrypt(key.key, iv, aad, sizeof aad, ticket, (word32)n, ticket, mac) == 0;
    explicit_bzero(&key, sizeof key);
    return done;
}

static bool unseal(struct tls_tickets *k, const uint8_t *name, const uint8_t *iv, const uint8_t *mac,
                   uint8_t *ticket, int n)
{
    uint8_t aad[TICKET_AAD_BYTES];
    struct ticket_key key;
    bool done;

    if (!find_key(k, name, &key))
        return false;
    memcpy(aad, name, WOLFSSL_TICKET_NAME_SZ);
    memcpy(aad + WOLFSSL_TICKET_NAME_SZ, iv, WOLFSSL_TICKET_IV_SZ);
    done = wc_ChaCha20Poly1305_Decrypt(key.key, iv, aad, sizeof aad, ticket, (word32)n, mac, ticket) == 0;
    explicit_bzero(&key, sizeof key);
    return done;
}

/* tickets is NULL where sessions are not resumed: none is given out, and none of other contexts is taken. */
int tls_on_seal(struct WOLFSSL *ssl, unsigned char *name, unsigned char *iv, unsigned char *mac,
                int is_sealing, unsigned char *ticket, int n, int *out_bytes, void *tickets)
{
    (void)ssl;
    if (!tickets || n <= 0)
        return WOLFSSL_TICKET_RET_REJECT;
    *out_bytes = n;
    if (is_sealing ? seal(tickets, name, iv, mac, ticket, n) : unseal(tickets, name, iv, mac, ticket, n))
        return WOLFSSL_TICKET_RET_OK;
    return WOLFSSL_TICKET_RET_REJECT;
}

/* --- sessions of a client --- */

struct tls_sessions *tls_sessions_new(uint32_t max)
{
    struct tls_sessions *s = mem_calloc(1, sizeof *s);

    if (!s || !(s->places = mem_calloc(max, sizeof *s->places))) {
        mem_free(s);
        return NULL;
    }
    s->max = max;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

static void session_drop(struct tls_session *place)
{
    if (place->wolf)
        wolfSSL_SESSION_free(place->wolf);
    mem_free(place->host);
    *place = (struct tls_session){0};
}

void tls_sessions_free(struct tls_sessions *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->max; i++)
        session_drop(&s->places[i]);
    pthread_mutex_destroy(&s->lock);
    mem_free(s->places);
    mem_free(s);
}

struct WOLFSSL_SESSION *tls_sessions_take(struct tls_sessions *s, const char *host, uint16_t port)
{
    WOLFSSL_SESSION *session = NULL;

    if (!s)
        return NULL;
    pthread_mutex_lock(&s->lock);
    for (uint32_t i = 0; i < s->max && !session; i++) {
        struct tls_session *place = &s->places[i];
        if (!place->wolf || place->port != port || strcmp(place->host, host) != 0)
            continue;
        session = place->wolf;
        place->wolf = NULL;
        session_drop(place);
    }
    pthread_mutex_unlock(&s->lock);
    return session;
}

void tls_sessions_put(struct tls_sessions *s, const char *host, uint16_t port,
                      struct WOLFSSL_SESSION *session)
{
    struct tls_session kept = {mem_strdup(host), session, port}, old;

    if (!kept.host) {
        session_drop(&kept);
        return;
    }
    pthread_mutex_lock(&s->lock);
    old = s->places[s->next]; /* the oldest makes room */
    s->places[s->next] = kept;
    s->next = (s->next + 1) % s->max;
    pthread_mutex_unlock(&s->lock);
    session_drop(&old);
}
