/* The client: connections to a URL, with the same weft_conn and the same promises as a server's.
 *
 * Straight-line:
 *
 *     weft_conn *c;
 *     if (weft_client_connect(&c, "wss://example.org/feed", NULL) == WEFT_OK) {
 *         weft_conn_send_text(c, "hello");
 *         while (weft_conn_recv(c, &m, WEFT_FOREVER) == WEFT_OK) ...
 *         weft_conn_close(c, 1000, NULL);
 *         weft_conn_unref(c);
 *     }
 *
 * and with sessions that follow each other, whatever happens to the server:
 *
 *     weft_client_new(&client, url, &opts);
 *     while (weft_client_next(client, &c, WEFT_FOREVER) == WEFT_OK) { ... weft_conn_unref(c); }
 *
 * With callbacks or a handler set, weft_client_start does the same in the background.
 *
 * Connections run on the threads of a server of this program (opts.server), or on threads that all clients
 * of the process share. */
#ifndef WEFT_CLIENT_H
#define WEFT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/conn.h"
#include "weft/error.h"
#include "weft/msg.h"
#include "weft/request.h"
#include "weft/server.h"
#include "weft/tls.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_client weft_client;

/* Why there is no connection. Lives until weft_failure_free, or for the call where a callback is handed
 * one. NULL stands for one that there was no memory for, and may be asked like the others. */
typedef struct weft_failure weft_failure;

WEFT_API int weft_failure_error(const weft_failure *f);  /* WEFT_E_REFUSED, _TIMEOUT, _ADDRESS, _SYSTEM, _TLS, ... */
WEFT_API int weft_failure_errno(const weft_failure *f);  /* behind WEFT_E_SYSTEM, else 0 */
WEFT_API int weft_failure_status(const weft_failure *f); /* of the HTTP answer; 0: there was none */
/* A sentence for a log or a user, such as "127.0.0.1:80 answered 403 Forbidden". */
WEFT_API const char *weft_failure_text(const weft_failure *f);
/* Of the HTTP answer that refused: the index-th header of that name, NULL when there are fewer; and the first
 * 64 KiB of its body. */
WEFT_API const char *weft_failure_header(const weft_failure *f, const char *name, size_t index);
WEFT_API const void *weft_failure_body(const weft_failure *f, size_t *bytes);
WEFT_API void weft_failure_free(weft_failure *f); /* NULL is allowed */

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

/* Connect, and wait until the connection is open.
 *
 * out      set to the connection, one reference, on WEFT_OK; may be NULL with callbacks or a handler
 * url      ws://, wss:// or ws+unix:PATH[:TARGET]; user:password@ are HTTP Basic credentials
 * opts     borrowed; NULL for all defaults
 * Returns  WEFT_OK
 *          WEFT_E_INVAL     the URL or an option is wrong; the log says which
 *          WEFT_E_REFUSED   an HTTP answer other than 101; WEFT_E_PROTOCOL: it was no proper answer
 *          WEFT_E_TIMEOUT   not open within open_timeout_ms
 *          WEFT_E_ADDRESS   no such name; WEFT_E_SYSTEM: no address could be connected to (errno); WEFT_E_CLOSED: it
 *                           ended before it was open; WEFT_E_TLS: no trust, or no common ground
 *          WEFT_E_CANCELED  the calling task was canceled
 *          WEFT_E_STATE     on an I/O thread; the server does not run
 *          WEFT_E_AGAIN     no thread can be had for the handler
 *          WEFT_E_NOMEM
 * Thread   any that may block
 * Source   RFC 6455 sections 3, 4.1
 * Since    0.1 */
WEFT_API int weft_client_connect(weft_conn **out, const char *url, const weft_client_opts *opts);

/* Make a client for sessions that follow each other. Nothing is connected yet.
 *
 * Returns  WEFT_OK, WEFT_E_INVAL, WEFT_E_NOMEM, WEFT_E_STATE, WEFT_E_SYSTEM
 * Thread   any */
WEFT_API int weft_client_new(weft_client **out, const char *url, const weft_client_opts *opts);

/* The next session: waits until the last one has closed and its last callback has returned, then for the
 * delay, and connects; with opts.reconnect again and again, as long as should_retry says so.
 *
 * out         as in weft_client_connect
 * timeout_ms  for all of it
 * Returns     as weft_client_connect; WEFT_E_TIMEOUT may be called again; WEFT_E_CLOSED: weft_client_stop was called
 * Thread      any that may block, but no callback of this client; one at a time, and not behind weft_client_start
 *             (WEFT_E_STATE) */
WEFT_API int weft_client_next(weft_client *client, weft_conn **out, uint32_t timeout_ms);

/* Run the sessions in the background, with the callbacks or the handler.
 *
 * Returns  WEFT_OK, WEFT_E_STATE (started, stopped, or weft_client_next was called), WEFT_E_INVAL (neither
 * callbacks nor
 *          handler), WEFT_E_AGAIN (no thread can be had)
 * Thread   any */
WEFT_API int weft_client_start(weft_client *client);

/* End the session with 1001, attempts at once, and make no more; wait until the last on_close has returned.
 *
 * deadline_ms  for the closing handshake, then the connection is dropped
 * Returns      WEFT_OK, WEFT_E_TIMEOUT (a callback or handler has not returned one second behind the deadline),
 *              WEFT_E_STATE (in a callback or handler of this client, or of the server on whose threads it
 *              runs)
 * Thread       any that may block */
WEFT_API int weft_client_stop(weft_client *client, uint32_t deadline_ms);

/* One more reference, returns client; and one given back (NULL is allowed). The last one ends the attempts
 * and drops the session; its on_close may come later. Thread: any. */
WEFT_API weft_client *weft_client_ref(weft_client *client);
WEFT_API void weft_client_unref(weft_client *client);

/* End the threads that clients share, and the connections that still run on them, as weft_server_stop does.
 * For programs that check at their end that nothing is left; the next client starts them again.
 *
 * Returns  as weft_server_stop; WEFT_OK when there are none */
WEFT_API int weft_client_stop_threads(uint32_t deadline_ms);

#ifdef __cplusplus
}
#endif

#endif
