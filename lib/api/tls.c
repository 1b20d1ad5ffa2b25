/* TLS of servers, and of connections: argument checks over core/tls_port.h and core/conn.h. */
#include "weft/tls.h"

#include <unistd.h>

#include "api/server.h"
#include "core/conn.h"
#include "core/engine.h"
#include "core/listener.h"
#include "core/request.h"
#include "core/tls_port.h"
#include "io/sock.h"

/* fd: or an error; given on WEFT_OK. */
static int add(weft_server *s, int fd, const char *unlink_path, struct tls_port *port)
{
    int rc = fd < 0 ? fd : engine_add_listener(server_engine(s), fd, unlink_path, port);

    if (rc != WEFT_OK)
        tls_port_free(port);
    return rc;
}

static int add_own(weft_server *s, int fd, const char *unlink_path, struct tls_port *port)
{
    int rc = add(s, fd, unlink_path, port);

    if (rc != WEFT_OK && fd >= 0)
        close(fd);
    return rc;
}

static int backlog(weft_server *s)
{
    return (int)server_engine(s)->settings.opts.backlog;
}

int weft_server_listen_tls(weft_server *s, const char *host, uint16_t port, uint16_t *bound, const weft_tls_opts *opts)
{
    struct tls_port *p;
    int rc = s ? tls_port_new(&p, opts) : WEFT_E_INVAL;

    return rc == WEFT_OK ? add_own(s, sock_listen_tcp(host, port, backlog(s), bound), NULL, p) : rc;
}

int weft_server_listen_tls_unix(weft_server *s, const char *path, const weft_tls_opts *opts)
{
    struct tls_port *p;
    int rc = s && path ? tls_port_new(&p, opts) : WEFT_E_INVAL;

    return rc == WEFT_OK ? add_own(s, sock_listen_unix(path, backlog(s)), path, p) : rc;
}

int weft_server_listen_tls_fd(weft_server *s, int fd, const weft_tls_opts *opts)
{
    struct tls_port *p;
    int rc = s && sock_adopt(fd) == WEFT_OK ? tls_port_new(&p, opts) : WEFT_E_INVAL;

    return rc == WEFT_OK ? add(s, fd, NULL, p) : rc;
}

int weft_server_reload_tls(weft_server *s)
{
    return s ? engine_reload_tls(server_engine(s)) : WEFT_E_INVAL;
}

int weft_conn_tls_info(const weft_conn *c, weft_tls_info *out)
{
    return c && out && out->size >= sizeof out->size ? secure_tell(c, out) : WEFT_E_INVAL;
}

int weft_request_tls_info(const weft_request *r, weft_tls_info *out)
{
    return r ? weft_conn_tls_info(r->conn, out) : WEFT_E_INVAL;
}
