/* SipHash-2-4: a hash with a key, for tables whose names strangers choose.
 *
 * Without the key nobody can make names that fall together, nor tell a value from others: so masks come from
 * it, too (core/io_thread). Source: Aumasson, Bernstein, "SipHash: a fast short-input PRF" (2012) */
#ifndef WEFT_BASE_SIPHASH_H
#define WEFT_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
    uint64_t k0, k1;
};

uint64_t siphash(const struct siphash_key *key, const void *data, size_t bytes);

#endif
