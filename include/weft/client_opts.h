/* How a client behaves (weft/client.h): its request, the way there, its bounds, and when it tries again. */
#ifndef WEFT_CLIENT_OPTS_H
#define WEFT_CLIENT_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/conn.h"
#include "weft/failure.h"
#include "weft/msg.h"
#include "weft/request.h"
#include "weft/server.h"
#include "weft/tls.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Zero in a field means the default. Strings and arrays are borrowed for the call, and copied. */
typedef struct weft_client_opts {
    size_t size; /* sizeof(weft_client_opts) of the program */

    /* As in weft_server_opts. With none of on_message, on_drain and handler the program calls
     * weft_conn_recv. */
    void *app;
    void (*on_open)(weft_conn *c, void *app);
    void (*on_message)(weft_conn *c, weft_msg *m, void *app);
    void (*on_drain)(weft_conn *c, void *app);
    void (*on_close)(weft_conn *c, const weft_close_info *info, void *app);
    int (*handler)(weft_conn *c, void *app);
    uint32_t handler_concurrency;
    bool receive_parts;

    weft_server *server;     /* run on its threads; it must be started, and not be stopped before the clients.
                                Default: threads shared by all clients of the process */
    weft_failure **failure;  /* of weft_client_connect: set to why it failed, to be freed, or to NULL; NULL: not wanted */

    /* The request. */
    const char *const *subprotocols; /* in order of preference */
    size_t subprotocol_count;
    const weft_header *headers; /* extra ones; those of the handshake itself are refused */
    size_t header_count;
    const char *origin;     /* default: none is sent */
    const char *user_agent; /* default "weft/VERSION"; "": none is sent */
    const char *user;       /* HTTP Basic; default: what stands in the URL */
    const char *password;

    /* The way there. */
    const char *proxy;           /* http://[user:password@]host:port, socks5://..., socks5h://...; "": none; default: the
                                    environment's https_proxy, http_proxy, all_proxy and no_proxy */
    uint32_t attempt_delay_ms;   /* before the next address is tried beside this one; default 250 (RFC 8305) */
    uint32_t redirects_max;      /* followed; default 10; UINT32_MAX: none */

    /* wss. */
    const char *ca_file;     /* PEM; default of both: the system's */
    const char *ca_dir;      /* of such files */
    const char *cert_file;   /* PEM, the client's own certificate, and its key */
    const char *key_file;
    enum weft_tls_version version_min; /* default TLS 1.2; a server that has less is refused with WEFT_E_TLS */
    const char *ciphers;     /* as in weft_tls_opts; nothing else is offered */
    bool insecure;           /* do not check the server's certificate */

    uint32_t open_timeout_ms; /* over all of it: names, addresses, proxy, TLS, handshake, redirects; default 10,000 */

    /* As in weft_server_opts, with the same defaults. */
    uint32_t ping_interval_ms, ping_timeout_ms, write_timeout_ms, close_timeout_ms;
    uint64_t message_bytes_max;
    uint32_t fragments_max;
    uint32_t inbox_high, inbox_low, inbox_bytes_high;
    uint32_t outbox_high_bytes, outbox_low_bytes;
    uint64_t outbox_bytes_max;
    enum weft_slow_policy slow_policy;
    uint32_t head_bytes_max, headers_max; /* of the server's answer */
    weft_compression compression;

    /* Sessions that follow each other: weft_client_next and weft_client_start. */
    bool reconnect;                 /* default: weft_client_start makes one session, weft_client_next as many as it is
                                       called for, and each failure is final. weft_client_connect makes one attempt */
    uint32_t reconnect_first_ms;    /* the first attempt behind an end or a failure comes within so long, at random;
                                       default 5,000 */
    uint32_t reconnect_min_ms;      /* the second after so long; default 3,100; then 1.618 times longer each time */
    uint32_t reconnect_max_ms;      /* at most; default 90,000; a session that opened begins again */
    /* Is it worth another attempt? Default: yes after network errors, timeouts, for want of memory or
     * threads, and after the statuses 500, 502, 503 and 504; no after anything else. */
    bool (*should_retry)(const weft_failure *f, void *app);
    /* An attempt failed; the next one comes in retry_ms, or never (UINT32_MAX). May be NULL. */
    void (*on_failure)(const weft_failure *f, uint32_t retry_ms, void *app);
} weft_client_opts;

#ifdef __cplusplus
}
#endif

#endif
