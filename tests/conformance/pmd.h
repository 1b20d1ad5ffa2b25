/* permessage-deflate (RFC 7692) of the tester: the terms in headers, and the two streams of a connection. */
#ifndef WEFT_CONFORMANCE_PMD_H
#define WEFT_CONFORMANCE_PMD_H

#include <stdbool.h>

#include "octets.h"

#define BITS_ABSENT 0
#define BITS_ANY    (-1) /* client_max_window_bits without a value */

struct pmd_terms {
    bool server_no_takeover;
    bool client_no_takeover;
    int server_bits;
    int client_bits;
};

enum pmd_parsed {
    PMD_END, /* the header has no such element */
    PMD_OTHER,
    PMD_BAD, /* with an unknown, repeated or malformed parameter */
    PMD_GOOD
};
/* The element of a Sec-WebSocket-Extensions header with the index. */
enum pmd_parsed pmd_parse(const char *header, unsigned index, struct pmd_terms *terms);

struct pmd;
struct pmd *pmd_new(const struct pmd_terms *agreed, bool is_client);
void pmd_free(struct pmd *p); /* NULL is allowed */

/* Appends the compressed form of one message. */
void pmd_deflate(struct pmd *p, const uint8_t *data, size_t bytes, struct octets *out);
/* Appends the message. False: the data is malformed, reaches behind the window, or is longer than bytes_max.
 */
bool pmd_inflate(struct pmd *p, const uint8_t *data, size_t bytes, size_t bytes_max, struct octets *out);

#endif
