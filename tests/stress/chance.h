/* Numbers that look random, from a seed. */
#ifndef STRESS_CHANCE_H
#define STRESS_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

/* Any number becomes one whose bits all depend on all of its bits; never 0. */
static inline uint64_t chance_mix(uint64_t n)
{
    n += 0x9e3779b97f4a7c15u;
    n = (n ^ n >> 30) * 0xbf58476d1ce4e5b9u;
    n = (n ^ n >> 27) * 0x94d049bb133111ebu;
    n ^= n >> 31;
    return n ? n : 1;
}

/* state must not be 0 */
static inline uint64_t chance_draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static inline unsigned chance_below(uint64_t *state, unsigned n)
{
    return (unsigned)((chance_draw(state) >> 11) % n);
}

static inline bool chance_one_in(uint64_t *state, unsigned n)
{
    return n && chance_below(state, n) == 0;
}

/* least to most */
static inline unsigned chance_range(uint64_t *state, unsigned least, unsigned most)
{
    return least + chance_below(state, most - least + 1);
}

#define CHANCE_OF(state, list) ((list)[chance_below((state), sizeof(list) / sizeof((list)[0]))])

#endif
