/* The client's side of opening a way through a proxy: HTTP CONNECT and SOCKS5. Bytes in, bytes out.
 *
 *     tunnel_init(&t, ...);
 *     until tunnel_feed answers something else than TUNNEL_MORE:
 *         send what tunnel_output gives, tell tunnel_sent how much went out; feed what came
 *     tunnel_fini(&t);
 *
 * What stands behind the proxy's last answer is the server's and is not consumed. A proxy that answers
 * before it was asked is refused, for then nobody knows what the answer belongs to; only a CONNECT may be
 * refused early. */
#ifndef WEFT_PROTO_TUNNEL_H
#define WEFT_PROTO_TUNNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TUNNEL_OUTPUT_BYTES_MAX 2048 /* the longest request, CONNECT with the longest name and credentials */
#define TUNNEL_SOCKS_TEXT_MAX   255  /* bytes of a name, a user, a password in SOCKS5 */

enum tunnel_kind { TUNNEL_CONNECT, TUNNEL_SOCKS5 };

enum tunnel_outcome {
    TUNNEL_MORE,  /* the proxy has more to say */
    TUNNEL_OPEN,  /* what follows goes to the server and comes from it */
    TUNNEL_FAILED /* see error, status and reason */
};

/* Borrowed for tunnel_init. A host that is an IPv4 or IPv6 address (without brackets) travels as one. */
struct tunnel_way {
    enum tunnel_kind kind;
    const char *host;
    uint16_t port;
    const char *user;     /* NULL: no authentication is offered */
    const char *password; /* NULL counts as an empty one */
};

struct http_head;

struct tunnel {
    /* For everyone to read.
     * status   CONNECT: of the proxy's answer; SOCKS5: the reply of its request (1 to 255); 0 while there
     * is none
     * reason   a static text when it failed; of a CONNECT that was refused the usual phrase of the status
     * error    WEFT_E_REFUSED    the proxy does not want to: status and reason say why
     *          WEFT_E_PROTOCOL   that was no answer
     *          WEFT_E_TOO_BIG, WEFT_E_NOMEM */
    int status;
    const char *reason;
    int error;

    /* Private to tunnel.c. */
    enum tunnel_kind kind;
    uint8_t outcome, step;
    struct http_head *head; /* CONNECT */
    /* SOCKS5: the answer that is being read, and what is to be sent when the proxy has asked for it. */
    uint8_t answer[4];
    size_t answer_bytes, wanted_bytes;
    bool has_login;
    uint8_t login[2 * TUNNEL_SOCKS_TEXT_MAX + 3];
    uint8_t request[TUNNEL_SOCKS_TEXT_MAX + 7];
    size_t login_bytes, request_bytes;
    size_t output_bytes, sent_bytes;
    uint8_t output[TUNNEL_OUTPUT_BYTES_MAX];
};

/* Begin.
 *
 * Returns  WEFT_OK
 *          WEFT_E_INVAL   a host, user or password that cannot be sent this way; t->reason says which
 *          WEFT_E_NOMEM
 * Source   RFC 9110 section 9.3.6, RFC 7617; RFC 1928, RFC 1929 */
int tunnel_init(struct tunnel *t, const struct tunnel_way *way);
void tunnel_fini(struct tunnel *t); /* also after a failed init; credentials are wiped */

/* What is to be sent now, borrowed until the next call; the number of bytes, 0 when it is the proxy's
 * turn. */
size_t tunnel_output(const struct tunnel *t, const uint8_t **p);
void tunnel_sent(struct tunnel *t, size_t bytes);

/* Read on.
 *
 * used     out: how many bytes belonged to the proxy's answers
 * Returns  an enum tunnel_outcome; the last two are final */
int tunnel_feed(struct tunnel *t, const uint8_t *p, size_t n, size_t *used);

/* Would another address of the same server perhaps be let through? Of a SOCKS5 request that failed. */
bool tunnel_other_address_may_help(const struct tunnel *t);

#endif
