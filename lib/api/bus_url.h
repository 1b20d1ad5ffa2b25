/* Where a bus goes: local:, redis:, redis+unix:, and clusters. */
#ifndef WEFT_API_BUS_URL_H
#define WEFT_API_BUS_URL_H

#include <stdbool.h>
#include <stdint.h>

struct bus_url {
    bool is_local, is_secure, is_cluster;
    char *host; /* NULL with path */
    uint16_t port;
    char *path;     /* redis+unix */
    char *user;     /* NULL: none */
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
