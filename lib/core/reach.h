/* From a URL to a connected socket: directly, or through a proxy. For threads that may block.
 *
 * Which proxy, when none is given, is told by the environment as it usually is: for wss the first of
 * wss_proxy, https_proxy and all_proxy that is not empty, for ws of ws_proxy, http_proxy and all_proxy,
 * each also in capitals (HTTP_PROXY not when REQUEST_METHOD is set: in a CGI program it is a header of the
 * request). no_proxy lists what is reached directly all the same. A proxy that cannot be used is an error;
 * nothing goes past it silently.
 *
 * The environment is read by the thread that calls: a program that changes it meanwhile is wrong, as with
 * getenv. */
#ifndef WEFT_CORE_REACH_H
#define WEFT_CORE_REACH_H

#include <stdbool.h>
#include <stdint.h>

#include "io/await.h"
#include "proto/url.h"

#define REACH_TEXT_BYTES          160
#define REACH_SOCKS_ADDRESSES_MAX 4 /* of one server that are tried through socks5:// */

/* Everything is borrowed. */
struct reach_how {
    const struct url *url;     /* ws, wss or ws+unix; a socket's path is always reached directly */
    const char *proxy;         /* URL_FOR_PROXY, "host:port" means http; NULL or "": none is given */
    const char *no_proxy;      /* for the proxy that is given; NULL: everything goes through it */
    bool ignores_environment;  /* without a proxy given, go directly */
    uint32_t attempt_delay_ms; /* see dial.h */
    struct await_limit limit;  /* for all of it */
};

struct reach_failure {
    int error;                   /* what reach returned */
    int status;                  /* of the proxy's answer: HTTP, or the code of the SOCKS5 reply; 0: none */
    int system_error;            /* errno of WEFT_E_SYSTEM, else 0 */
    char text[REACH_TEXT_BYTES]; /* who failed and how; never with credentials */
};

/* A socket that is connected to the server, through the proxy if there is one: non-blocking, close on
 * exec, nothing of what the server sent is read.
 *
 * fd       out, given to the caller on WEFT_OK
 * f        out, set on failure
 * Returns  WEFT_OK
 *          WEFT_E_TIMEOUT, WEFT_E_CANCELED, WEFT_E_NOMEM
 *          WEFT_E_ADDRESS    no such name, of the server or of the proxy
 *          WEFT_E_SYSTEM     not connected; f->system_error, and errno
 *          WEFT_E_INVAL      the proxy's URL, or what cannot be sent to it
 *          WEFT_E_REFUSED    the proxy does not want to
 *          WEFT_E_PROTOCOL, WEFT_E_TOO_BIG, WEFT_E_CLOSED   the proxy is none, or ended in the middle */
int reach(const struct reach_how *how, int *fd, struct reach_failure *f);

/* Is this host reached directly?
 *
 * list     entries between commas or blanks; each may have ":port" behind it
 *            *                       everything
 *            example.org             this and all below it; the same with "." or "*." before it
 *            192.0.2.1, [2001:db8::1], 192.0.2.0/24, 2001:db8::/32   addresses; names are not looked up
 *            for it
 * host     as in struct url */
bool reach_is_exempt(const char *list, const char *host, uint16_t port);

/* The proxy that the environment names for this URL, NULL: none. Borrowed from the environment. */
const char *reach_environment_proxy(const struct url *u);

#endif
