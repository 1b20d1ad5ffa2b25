/* Handshakes of a context with itself, so that the first client does not wait for what they make; see tls.h. */
#include "io/tls_wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "weft/error.h"

#define WARM_HANDSHAKES 3 /* the tables of a point are made when it is met again */
#define WARM_STEPS_MAX  64

static int shake_hands(struct tls *server, struct tls *client, const int fds[2], struct tls_scratch *s)
{
    int a = WEFT_E_AGAIN, b = WEFT_E_AGAIN;

    for (int i = 0; i < WARM_STEPS_MAX && (a == WEFT_E_AGAIN || b == WEFT_E_AGAIN); i++) {
        if (b == WEFT_E_AGAIN)
            b = tls_handshake(client, fds[1], s);
        if (a == WEFT_E_AGAIN)
            a = tls_handshake(server, fds[0], s);
        tls_flush(client, fds[1]); /* what the system did not take at first */
        tls_flush(server, fds[0]);
        if (a != WEFT_OK && a != WEFT_E_AGAIN)
            return a;
        if (b != WEFT_OK && b != WEFT_E_AGAIN)
            return b;
    }
    return a == WEFT_OK && b == WEFT_OK ? WEFT_OK : WEFT_E_TLS;
}

static int warm_once(struct tls_context *c, struct tls_context *peer, struct tls_scratch *s,
                     struct tls_complaint *why)
{
    struct tls *server = tls_new(c, NULL, 0), *client = tls_new(peer, NULL, 0);
    int fds[2], rc = server && client ? WEFT_OK : tls_complain(why, WEFT_E_NOMEM, "no memory");

    if (server)
        server->is_warming = true; /* its client has no certificate to show */
    if (rc == WEFT_OK && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        rc = tls_complain(why, WEFT_E_SYSTEM, "no sockets for a handshake: %s", strerror(errno));
    if (rc == WEFT_OK) {
        rc = shake_hands(server, client, fds, s);
        if (rc == WEFT_E_TLS)
            tls_error_text(server, why->out, why->room);
        close(fds[0]);
        close(fds[1]);
    }
    tls_free(server);
    tls_free(client);
    return rc;
}

int tls_context_warm(struct tls_context *c, char *text, size_t room)
{
    struct tls_options o = {.role = TLS_CLIENT,
                            .insecure = true,
                            .ciphers = c->ciphers,
                            .version_min = c->version_min,
                            .alpn = c->alpn,
                            .sessions_max = TLS_NO_SESSIONS};
    struct tls_complaint why = {text, room};
    struct tls_context *peer;
    struct tls_scratch *s;
    int rc;

    if (c->role != TLS_SERVER)
        return WEFT_OK;
    rc = tls_context_new(&peer, &o, text, room);
    if (rc != WEFT_OK)
        return rc;
    s = tls_scratch_new(0, 0);
    rc = s ? WEFT_OK : tls_complain(&why, WEFT_E_NOMEM, "no memory");
    for (int i = 0; i < WARM_HANDSHAKES && rc == WEFT_OK; i++)
        rc = warm_once(c, peer, s, &why);
    tls_scratch_free(s);
    tls_context_unref(peer);
    return rc;
}
