/* The opening handshake of the tester as a client: the address, the request, what is demanded of the answer.
 * As a server it has request.h. */
#ifndef WEFT_CONFORMANCE_HANDSHAKE_H
#define WEFT_CONFORMANCE_HANDSHAKE_H

#include <netdb.h>
#include <stdbool.h>

#include "octets.h"
#include "pmd.h"
#include "ws.h"

struct target {
    char authority[300]; /* host:port, as the Host header has it */
    char path[300];
    struct addrinfo *address;
};

/* ws://HOST[:PORT][/PATH]. NULL or what is wrong with the url; release with target_fini. */
const char *target_parse(struct target *t, const char *url);
void target_fini(struct target *t);

/* offer: of extensions, or NULL. */
void handshake_request(struct octets *out, const struct target *t, const char *key, const char *offer);

#define HEADER_BYTES_MAX 16384
#define VALUE_CHARS_MAX  256
/* The header section that in begins with, as a string for the functions below; the result is as that of
 * handshake_response. */
int64_t head_take(const struct octets *in, char head[HEADER_BYTES_MAX + 1], const char **why);
/* Copies the value of one header, the last; how often the header is there is returned. */
unsigned head_value(const char *head, const char *name, char value[VALUE_CHARS_MAX]);
/* Whether each line behind the first has a name and a colon. */
bool head_lines_are_right(const char *head);
/* Whether a list has the item, in any case of letters; cuts the list. */
bool head_list_has(char *list, const char *item);

#define HANDSHAKE_MORE    0
#define HANDSHAKE_REFUSED (-1)
/* The octets that the response takes when it is a good one; HANDSHAKE_MORE while it is not complete;
 * HANDSHAKE_REFUSED with the reason in why. agreed is NULL when nothing was offered; *is_agreed tells whether
 * the extension is used. */
int64_t handshake_response(const struct octets *in, const char *key, struct pmd_terms *agreed,
                           bool *is_agreed, const char **why);

#endif
