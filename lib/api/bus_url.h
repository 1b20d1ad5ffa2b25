/* Where a bus goes: local:, redis:, rediss:, redis+unix:. */
#ifndef WEFT_API_BUS_URL_H
#define WEFT_API_BUS_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUS_SEEDS_MAX 16

struct bus_seed {
    char *host;
    uint16_t port;
};

struct bus_url {
    bool is_local, is_secure;
    struct bus_seed seeds[BUS_SEEDS_MAX]; /* servers that are tried in turn; none with path */
    size_t seed_count;
    char *path;     /* redis+unix */
    char *user;     /* NULL: none. Never without a password */
    char *password; /* NULL: none */
    uint32_t db;
};

/* Take a URL apart.
 *
 * reason   out, on failure: a static text without anything of the URL
 * Returns  WEFT_OK, WEFT_E_INVAL, WEFT_E_NOMEM; *out holds something only after WEFT_OK */
int bus_url_parse(struct bus_url *out, const char *text, const char **reason);
/* WEFT_OK, or WEFT_E_NOMEM: *out holds nothing. */
int bus_url_copy(struct bus_url *out, const struct bus_url *from);
void bus_url_fini(struct bus_url *u); /* passwords are wiped */

#endif
