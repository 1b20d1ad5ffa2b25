/* Token buckets, and the table of addresses; see limits.h.
 *
 * L1  An entry is in its place's chain from its making to its end; it is in the line of the idle exactly
 *     while its count is 0, in the order in which they became so.
 * L2  An idle entry whose bucket is full says nothing that a new one would not: it goes. Each call looks
 *     at two of the line, so the line does not grow while others come. */
#include "core/limits.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "base/random.h"
#include "weft/error.h"

#define SECOND_NS    UINT64_C(1000000000)
#define PREFIX_BYTES 8 /* of an IPv6 address */
#define PLACES_MIN   1024u
#define PLACES_MAX   (1u << 20)
#define REAPED_MAX   2

/* --- buckets --- */

struct rate rate_of(uint32_t per_second, uint32_t burst)
{
    struct rate r = {0, 0};

    if (per_second) {
        r.interval_ns = SECOND_NS / per_second;
        r.burst_ns = r.interval_ns * (burst ? burst : 1);
    }
    return r;
}

/* The time it would take to fill it. */
static uint64_t missing_ns(const struct bucket *b, uint64_t now_ns)
{
    return b->full_ns > now_ns ? b->full_ns - now_ns : 0;
}

void bucket_owe(struct bucket *b, const struct rate *r, uint64_t now_ns)
{
    b->full_ns = now_ns + missing_ns(b, now_ns) + r->interval_ns;
}

uint64_t bucket_wait_ns(const struct bucket *b, const struct rate *r, uint64_t now_ns)
{
    uint64_t needed_ns = missing_ns(b, now_ns) + r->interval_ns;

    return needed_ns > r->burst_ns ? needed_ns - r->burst_ns : 0;
}

bool bucket_take(struct bucket *b, const struct rate *r, uint64_t now_ns)
{
    if (bucket_wait_ns(b, r, now_ns))
        return false;
    bucket_owe(b, r, now_ns);
    return true;
}

/* --- addresses --- */

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void map_ipv4(uint8_t out[16], const uint8_t address[4])
{
    memcpy(out, mapped, sizeof mapped);
    memcpy(out + sizeof mapped, address, 4);
}

/* False: it has none. */
static bool address_of(const struct sock_peer *peer, uint8_t out[16])
{
    if (peer->family == AF_INET)
        map_ipv4(out, peer->address);
    else if (peer->family == AF_INET6)
        memcpy(out, peer->address, 16);
    else
        return false;
    return true;
}

/* "24" and nothing else. */
static bool parse_bits(const char *text, unsigned most, uint8_t *bits)
{
    unsigned n = 0;

    if (!*text || strlen(text) > 3)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        n = n * 10 + (unsigned)(*text - '0');
    }
    *bits = (uint8_t)n;
    return n <= most;
}

bool network_parse(struct network *n, const char *text)
{
    const char *slash = strchr(text, '/');
    size_t length = slash ? (size_t)(slash - text) : strlen(text);
    char address[INET6_ADDRSTRLEN];
    uint8_t ipv4[4];
    unsigned most = 128;

    if (length >= sizeof address)
        return false;
    memcpy(address, text, length);
    address[length] = '\0';
    if (inet_pton(AF_INET, address, ipv4) == 1) {
        map_ipv4(n->address, ipv4);
        most = 32;
    } else if (inet_pton(AF_INET6, address, n->address) != 1) {
        return false;
    }
    n->bits = (uint8_t)most;
    if (slash && !parse_bits(slash + 1, most, &n->bits))
        return false;
    n->bits = (uint8_t)(n->bits + 128 - most);
    return true;
}

bool network_holds(const struct network *n, const struct sock_peer *peer)
{
    unsigned bytes = n->bits / 8, rest = n->bits % 8;
    uint8_t address[16];

    if (!address_of(peer, address) || memcmp(address, n->address, bytes) != 0)
        return false;
    return !rest || (uint8_t)(address[bytes] ^ n->address[bytes]) >> (8 - rest) == 0;
}

/* --- the table --- */

struct entry {
    struct entry *next;            /* in its place */
    struct entry *earlier, *later; /* in the line of the idle, L1 */
    uint8_t address[16];
    uint32_t connections;
    struct bucket handshakes;
};

struct limits {
    struct limits_config config; /* (c) */
    uint64_t key[2];             /* (c) */
    struct entry **places;       /* (c) the rest is under the lock */
    uint32_t place_mask;         /* (c) */
    pthread_mutex_t lock;
    struct entry *first_idle, *last_idle;
    size_t idle, entries;
};

static uint64_t turn_left(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = turn_left(v[1], 13) ^ v[0];
    v[3] = turn_left(v[3], 16) ^ v[2];
    v[0] = turn_left(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = turn_left(v[1], 17) ^ v[2];
    v[3] = turn_left(v[3], 21) ^ v[0];
    v[2] = turn_left(v[2], 32);
}

/* SipHash-2-4 of 16 bytes. Source: Aumasson and Bernstein, SipHash, 2012 */
static uint64_t hash(const uint64_t key[2], const uint8_t bytes[16])
{
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t words[3] = {0, 0, UINT64_C(16) << 56};

    memcpy(words, bytes, 16);
    for (unsigned i = 0; i < 3; i++) {
        v[3] ^= words[i];
        sip_round(v);
        sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    for (unsigned i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

int limits_new(struct limits **out, const struct limits_config *config)
{
    struct limits *l = mem_calloc(1, sizeof *l);
    uint32_t places = PLACES_MIN;

    if (!l)
        return WEFT_E_NOMEM;
    while (places < config->entries && places < PLACES_MAX)
        places *= 2;
    l->config = *config;
    l->place_mask = places - 1;
    pthread_mutex_init(&l->lock, NULL);
    l->places = mem_calloc(places, sizeof(struct entry *));
    if (!l->places || !random_fill(l->key, sizeof l->key)) {
        int rc = l->places ? WEFT_E_SYSTEM : WEFT_E_NOMEM;
        limits_free(l);
        return rc;
    }
    *out = l;
    return WEFT_OK;
}

void limits_free(struct limits *l)
{
    if (!l)
        return;
    for (uint32_t i = 0; l->places && i <= l->place_mask; i++)
        while (l->places[i]) {
            struct entry *e = l->places[i];
            l->places[i] = e->next;
            mem_free(e);
        }
    mem_free(l->places);
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

/* Under the lock from here on. */

static struct entry **place_of(struct limits *l, const uint8_t address[16])
{
    struct entry **place = &l->places[hash(l->key, address) & l->place_mask];

    while (*place && memcmp((*place)->address, address, 16) != 0)
        place = &(*place)->next;
    return place;
}

static void leave_line(struct limits *l, struct entry *e)
{
    *(e->earlier ? &e->earlier->later : &l->first_idle) = e->later;
    *(e->later ? &e->later->earlier : &l->last_idle) = e->earlier;
    e->earlier = e->later = NULL;
    l->idle--;
}

static void join_line(struct limits *l, struct entry *e)
{
    e->earlier = l->last_idle;
    e->later = NULL;
    *(l->last_idle ? &l->last_idle->later : &l->first_idle) = e;
    l->last_idle = e;
    l->idle++;
}

static void forget(struct limits *l, struct entry *e)
{
    struct entry **place = place_of(l, e->address);

    leave_line(l, e);
    *place = e->next;
    l->entries--;
    mem_free(e);
}

/* L2 */
static void reap(struct limits *l, uint64_t now_ns)
{
    for (int i = 0; i < REAPED_MAX && l->first_idle; i++)
        if (l->idle > LIMITS_IDLE_MAX || !missing_ns(&l->first_idle->handshakes, now_ns))
            forget(l, l->first_idle);
}

static struct entry *add(struct limits *l, struct entry **place, const uint8_t address[16])
{
    struct entry *e = mem_calloc(1, sizeof *e);

    if (!e)
        return NULL;
    memcpy(e->address, address, 16);
    *place = e;
    l->entries++;
    join_line(l, e);
    return e;
}

static enum limits_verdict enter(struct limits *l, const uint8_t address[16], uint64_t now_ns)
{
    struct entry **place, *e;

    reap(l, now_ns);
    place = place_of(l, address);
    e = *place ? *place : add(l, place, address);
    if (!e)
        return LIMITS_NO_MEMORY;
    if (l->config.connections_max && e->connections >= l->config.connections_max)
        return LIMITS_CONNECTIONS;
    if (l->config.handshakes.interval_ns && !bucket_take(&e->handshakes, &l->config.handshakes, now_ns))
        return LIMITS_RATE;
    if (e->connections++ == 0)
        leave_line(l, e);
    return LIMITS_OK;
}

static void leave(struct limits *l, const uint8_t address[16], uint64_t now_ns)
{
    struct entry *e = *place_of(l, address);

    if (e && --e->connections == 0)
        join_line(l, e);
    reap(l, now_ns);
}

/* --- */

/* False: it is not limited. */
static bool is_limited(const struct limits *l, const struct sock_peer *peer, uint8_t address[16])
{
    if (!address_of(peer, address))
        return false;
    for (size_t i = 0; i < l->config.unlimited_count; i++)
        if (network_holds(&l->config.unlimited[i], peer))
            return false;
    if (memcmp(address, mapped, sizeof mapped) != 0)
        memset(address + PREFIX_BYTES, 0, 16 - PREFIX_BYTES);
    return true;
}

enum limits_verdict limits_enter(struct limits *l, const struct sock_peer *peer, uint64_t now_ns)
{
    enum limits_verdict verdict;
    uint8_t address[16];

    if (!is_limited(l, peer, address))
        return LIMITS_OK;
    pthread_mutex_lock(&l->lock);
    verdict = enter(l, address, now_ns);
    pthread_mutex_unlock(&l->lock);
    return verdict;
}

void limits_leave(struct limits *l, const struct sock_peer *peer, uint64_t now_ns)
{
    uint8_t address[16];

    if (!is_limited(l, peer, address))
        return;
    pthread_mutex_lock(&l->lock);
    leave(l, address, now_ns);
    pthread_mutex_unlock(&l->lock);
}

size_t limits_entries(struct limits *l)
{
    size_t n;

    pthread_mutex_lock(&l->lock);
    n = l->entries;
    pthread_mutex_unlock(&l->lock);
    return n;
}
