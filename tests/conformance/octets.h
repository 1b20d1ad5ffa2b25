/* A growing row of octets. Memory that runs out ends the program: it is a test tool. */
#ifndef WEFT_CONFORMANCE_OCTETS_H
#define WEFT_CONFORMANCE_OCTETS_H

#include <stddef.h>
#include <stdint.h>

struct octets {
    uint8_t *data;
    size_t bytes;
    size_t room;
};

/* Makes the row n octets longer and returns where they begin, for the caller to fill. */
uint8_t *octets_extend(struct octets *o, size_t n);
void octets_put(struct octets *o, const void *data, size_t n);
void octets_drop_front(struct octets *o, size_t n);
void octets_fini(struct octets *o);

/* Of other things than octets: realloc that does not fail. */
void *memory_resize(void *p, size_t count, size_t size);

#endif
