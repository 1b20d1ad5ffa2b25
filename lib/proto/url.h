/* URLs of servers and of proxies: taken apart, resolved against each other, compared.
 *
 *   ws://host:port/target         wss://...
 *   ws+unix:///path/to/socket:/target    the socket's path ends at the first ':', the target is "/"
 *                                 without one; ws+unix:/path/to/socket:/target means the same; %3A is a
 *                                 colon in the path
 *   http://, https://             of redirects; http:// of proxies
 *   socks5://, socks5h://         of proxies; with the h the proxy looks names up
 *
 * What is accepted is RFC 3986 with the things people write beside it: a host may be international
 * (idn.h), and characters of a target that cannot stand in a request (beyond ASCII, and "<>\^`{|}) are
 * percent-encoded. Refused, each with a reason of its own: control characters, spaces, '%' without two
 * digits, fragments (RFC 6455 section 3), a port 0, a host that looks like an IPv4 address and is none
 * (127.1, 0x7f000001: what some program takes for a name another connects to), and an IPv6 zone. */
#ifndef WEFT_PROTO_URL_H
#define WEFT_PROTO_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define URL_BYTES_MAX       8192
#define URL_SOCKET_PATH_MAX 107 /* what sockaddr_un has room for */
/* host, its brackets, a colon, five digits and a NUL */
#define URL_AUTHORITY_ROOM 270

/* Bits, so that a caller says which ones it takes. */
enum url_scheme {
    URL_WS = 1,
    URL_WSS = 2,
    URL_WS_UNIX = 4,
    URL_HTTP = 8,
    URL_HTTPS = 16,
    URL_SOCKS5 = 32,
    URL_SOCKS5H = 64
};
#define URL_FOR_CLIENT   (URL_WS | URL_WSS | URL_WS_UNIX)
#define URL_FOR_REDIRECT (URL_WS | URL_WSS | URL_HTTP | URL_HTTPS)
#define URL_FOR_PROXY    (URL_HTTP | URL_SOCKS5 | URL_SOCKS5H)

/* host, port, is_secure and target are what struct http_request asks for. */
struct url {
    enum url_scheme scheme;
    bool is_secure; /* wss, https */
    uint16_t port;  /* the scheme's default filled in: 80, 443, 1080 */
    char *host;   /* ASCII, lower case; IPv6 without brackets; "localhost" for ws+unix; may end with a dot */
    char *target; /* path and query, begins with '/' */
    char *user;   /* percent-decoded; NULL: none. No control characters, and no colon except for SOCKS */
    char *password; /* the same; NULL: none */
    char *path;     /* ws+unix: of the socket, percent-decoded, absolute. NULL otherwise */
};

/* Take a URL apart.
 *
 * schemes  those that are accepted, URL_FOR_...
 * reason   out, on failure: a static text that does not repeat the URL, which may hold a password
 * Returns  WEFT_OK       *out is set, url_fini frees it
 *          WEFT_E_INVAL, WEFT_E_NOMEM   *out holds nothing
 * Source   RFC 3986, RFC 6455 section 3 */
int url_parse(struct url *out, const char *text, unsigned schemes, const char **reason);
void url_fini(struct url *u); /* may be called again, and on one that holds nothing; passwords are wiped */

/* Where a redirect leads.
 *
 * location  an absolute URL (ws, wss, http, https: http is read as ws, https as wss) or a reference
 *           relative to base, borrowed; its fragment is dropped. It may not lead to a local socket, but
 *           from one to another target of the same.
 * out       must not be base. Credentials of base go with it to the same origin, and to no other one.
 * Returns   as url_parse. Whether wss may lead to ws is for the caller to say.
 * Source    RFC 3986 section 5, RFC 9110 section 10.2.2 */
int url_resolve(const struct url *base, const char *location, struct url *out, const char **reason);

/* The same scheme (ws and http are the same here), host and port; or the same socket. */
bool url_same_origin(const struct url *a, const struct url *b);

/* "host:port", with brackets around IPv6; for messages and CONNECT. Without credentials. */
void url_authority(const char *host, uint16_t port, char out[URL_AUTHORITY_ROOM]);

/* The value of Authorization or Proxy-Authorization.
 *
 * password  NULL counts as an empty one
 * out       given to the caller (mem_free)
 * Returns   WEFT_OK, WEFT_E_NOMEM, or WEFT_E_INVAL: a colon in the user, a control character, or more than
 *           HTTP_BASIC_BYTES_MAX bytes
 * Source    RFC 7617 */
int url_basic_value(const char *user, const char *password, char **out);

#endif
