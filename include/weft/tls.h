/* TLS for servers, and what was negotiated on a connection. A client needs nothing of this but a wss:// URL;
 * what it may choose stands in weft_client_opts (weft/client.h).
 *
 * A listening address speaks TLS or it does not; a server may have both kinds side by side. All calls are
 * there in a weft that was built without TLS, too: the listening ones answer WEFT_E_INVAL, and the log says
 * why. */
#ifndef WEFT_TLS_H
#define WEFT_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/conn.h"
#include "weft/request.h"
#include "weft/server.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Is the client asked for a certificate of its own? */
enum weft_tls_client_auth {
    WEFT_TLS_CLIENT_AUTH_NONE,
    WEFT_TLS_CLIENT_AUTH_OPTIONAL, /* one that is shown must be good */
    WEFT_TLS_CLIENT_AUTH_REQUIRED
};

enum weft_tls_version { WEFT_TLS_1_2 = 0x0303, WEFT_TLS_1_3 = 0x0304 };

/* PEM files: the chain, the certificate itself first, and its key. */
typedef struct weft_tls_pair {
    const char *cert_file;
    const char *key_file;
    const char *ocsp_file; /* a response (DER) to staple for clients of TLS 1.2 that ask; NULL: none */
} weft_tls_pair;

/* Zero in a field means the default. Strings and arrays are borrowed for the call, and copied. */
typedef struct weft_tls_opts {
    size_t size; /* sizeof(weft_tls_opts) of the program */

    /* The certificate, and its key: needed. */
    const char *cert_file;
    const char *key_file;
    const char *ocsp_file;

    /* More of them: one is taken for the name that the client asks for (SNI), the first one for all other
     * names. */
    const weft_tls_pair *others;
    size_t other_count; /* at most 1024 */

    const char *ca_file; /* PEM; whose clients' certificates are good */
    const char *ca_dir;
    enum weft_tls_client_auth client_auth; /* the others need ca_file or ca_dir */

    enum weft_tls_version version_min; /* default TLS 1.2 */
    const char *ciphers; /* names of wolfSSL with ':' between, best first; default: those with forward
                                          secrecy and authenticated encryption */
    bool no_resumption;  /* no session tickets. With client_auth there are never any */
} weft_tls_opts;

/* Add a listening address over TLS, before start. The files are read now.
 *
 * host, port, bound, path, fd  as in weft_server_listen_tcp, _unix and _fd
 * opts     borrowed
 * Returns  as those; WEFT_E_INVAL also for a file that cannot be read, a key that is another certificate's,
 * or
 *          nothing that could be negotiated; the log says which
 * Thread   setup
 * Since    0.1 */
WEFT_API int weft_server_listen_tls(weft_server *s, const char *host, uint16_t port, uint16_t *bound,
                                    const weft_tls_opts *opts);
WEFT_API int weft_server_listen_tls_unix(weft_server *s, const char *path, const weft_tls_opts *opts);
WEFT_API int weft_server_listen_tls_fd(weft_server *s, int fd, const weft_tls_opts *opts);

/* Read all files again, for new connections; those there are keep what they have. Sessions stay resumable.
 *
 * Returns  WEFT_OK; as weft_server_listen_tls otherwise, and then nothing has changed
 * Thread   any; it blocks for some tens of milliseconds
 * Since    0.1 */
WEFT_API int weft_server_reload_tls(weft_server *s);

/* Strings live as long as the reference by which they were asked for. */
typedef struct weft_tls_info {
    size_t size;              /* sizeof(weft_tls_info) of the program, set before the call */
    const char *version;      /* "TLSv1.3" */
    const char *cipher;       /* "TLS13-AES128-GCM-SHA256" */
    const char *alpn;         /* "http/1.1"; "" for none */
    const char *peer_subject; /* "CN=ann,O=weft"; "" without a certificate, or for a client that resumed */
    bool
        has_certificate; /* the peer showed one, and it is good; a client that is not insecure has always seen one */
    bool is_resumed;
} weft_tls_info;

/* What was negotiated.
 *
 * out      set on WEFT_OK
 * Returns  WEFT_OK, WEFT_E_STATE (the connection is not over TLS), WEFT_E_INVAL
 * Thread   any
 * Since    0.1 */
WEFT_API int weft_conn_tls_info(const weft_conn *c, weft_tls_info *out);
WEFT_API int weft_request_tls_info(const weft_request *r, weft_tls_info *out);

#ifdef __cplusplus
}
#endif

#endif
