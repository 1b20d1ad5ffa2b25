/* How fast and how often: a token bucket, and the table of addresses from which a server was connected to.
 *
 * An address is an IPv4 address (also one that is written as IPv6), or the first 64 bits of an IPv6
 * address, for so much one subscriber has. A Unix socket has none, and the program may name networks that
 * are not limited: reverse proxies, behind which everybody has the same address.
 *
 * The table has an entry for each address that has a connection, so no more of them than connections. One
 * whose last connection has gone stays while its bucket is not full, at most LIMITS_IDLE_MAX of them; the
 * one that left first makes room. Whoever has so many addresses that this matters has their buckets, too.
 * Places are found by a hash with a key of the process's own, so nobody can choose addresses that meet in
 * one.
 *
 * The caller tells the time. All calls on a table may come from any thread: it has a lock, which is held
 * for one look-up. */
#ifndef WEFT_CORE_LIMITS_H
#define WEFT_CORE_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/sock.h"

#define LIMITS_IDLE_MAX 65536u

/* So many a second, and so many at once. */
struct rate {
    uint64_t interval_ns; /* of one; 0: not limited */
    uint64_t burst_ns;    /* of as many as may come at once */
};
struct rate rate_of(uint32_t per_second, uint32_t burst); /* per_second 0: not limited */

/* All zero: full. */
struct bucket {
    uint64_t full_ns; /* when it will be full */
};
/* Take one if there is one. */
bool bucket_take(struct bucket *b, const struct rate *r, uint64_t now_ns);
/* Take one, there or not. */
void bucket_owe(struct bucket *b, const struct rate *r, uint64_t now_ns);
/* How long until there is one; 0: there is. */
uint64_t bucket_wait_ns(const struct bucket *b, const struct rate *r, uint64_t now_ns);

/* A network: an address and how many of its bits count. */
struct network {
    uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint8_t bits;
};
/* "10.0.0.0/8", "::1". False: neither an address nor a network. */
bool network_parse(struct network *n, const char *text);
bool network_holds(const struct network *n, const struct sock_peer *peer);

struct limits_config {
    uint32_t connections_max;        /* of one address; 0: not limited */
    struct rate handshakes;          /* of one address */
    const struct network *unlimited; /* borrowed */
    size_t unlimited_count;
    uint32_t entries; /* expected at most; the table has a place for each */
};

enum limits_verdict {
    LIMITS_OK,
    LIMITS_CONNECTIONS, /* the address has as many as it may */
    LIMITS_RATE,        /* it comes too often */
    LIMITS_NO_MEMORY
};

struct limits;

/* WEFT_OK, WEFT_E_NOMEM, WEFT_E_SYSTEM. */
int limits_new(struct limits **out, const struct limits_config *config);
void limits_free(struct limits *l); /* NULL is allowed */

/* May this one come in? On LIMITS_OK limits_leave follows, once. */
enum limits_verdict limits_enter(struct limits *l, const struct sock_peer *peer, uint64_t now_ns);
void limits_leave(struct limits *l, const struct sock_peer *peer, uint64_t now_ns);

/* Tests: entries there are. */
size_t limits_entries(struct limits *l);

#endif
