/* From a URL to a connected socket; see reach.h. */
#include "core/reach.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "io/dial.h"
#include "io/resolve.h"
#include "proto/idn.h"
#include "proto/text.h"
#include "proto/tunnel.h"
#include "weft/error.h"

#define PEEK_BYTES      1024
#define BLANKS          ", \t\r\n"
#define ENTRY_BYTES_MAX 1024     /* of a name in no_proxy */
#define WHO             "%.100s" /* long names are cut, so that what happened has room behind them */

/* ---- what failed ---- */

static int fail(struct reach_failure *f, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(struct reach_failure *f, int error, const char *format, ...)
{
    int saved = errno;
    va_list args;

    memset(f, 0, sizeof *f);
    f->error = error;
    f->system_error = error == WEFT_E_SYSTEM ? saved : 0;
    va_start(args, format);
    vsnprintf(f->text, sizeof f->text, format, args);
    va_end(args);
    errno = saved;
    return error;
}

/* who: "proxy 127.0.0.1:3128" or "example.org:443" */
static int fail_dial(struct reach_failure *f, int error, const char *who, const char *reason)
{
    if (error == WEFT_E_SYSTEM)
        return fail(f, error, WHO ": %m", who);
    return fail(f, error, WHO ": %s", who, error == WEFT_E_ADDRESS && reason ? reason : weft_strerror(error));
}

/* ---- whose proxy ---- */

static const char *first_set(const char *lower, const char *upper)
{
    const char *value = getenv(lower);

    if (!value || !*value)
        value = getenv(upper);
    return value && *value ? value : NULL;
}

static const char *http_proxy(void)
{
    return first_set("http_proxy", getenv("REQUEST_METHOD") ? "http_proxy" : "HTTP_PROXY");
}

const char *reach_environment_proxy(const struct url *u)
{
    const char *value;

    if (u->path)
        return NULL;
    value = u->is_secure ? first_set("wss_proxy", "WSS_PROXY") : first_set("ws_proxy", "WS_PROXY");
    if (!value)
        value = u->is_secure ? first_set("https_proxy", "HTTPS_PROXY") : http_proxy();
    return value ? value : first_set("all_proxy", "ALL_PROXY");
}

/* ---- what is exempt ---- */

/* An address of either family as IPv6, so that one comparison serves both. */
static bool read_address(const char *text, uint8_t out[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    memcpy(out, mapped, sizeof mapped);
    return inet_pton(AF_INET, text, out + sizeof mapped) == 1 || inet_pton(AF_INET6, text, out) == 1;
}

static bool bits_are_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

/* The number behind the slash, in bits of 128; false when it is none. */
static bool read_prefix(const char *text, bool is_ipv6, unsigned *bits)
{
    unsigned max = is_ipv6 ? 128 : 32, n = 0;

    if (!*text || strlen(text) > 3 || text[strspn(text, "0123456789")])
        return false;
    while (*text)
        n = n * 10 + (unsigned)(*text++ - '0');
    *bits = n + 128 - max;
    return n <= max;
}

/* entry: an address or a network; anything else matches nothing. */
static bool address_matches(char *entry, const uint8_t host[16])
{
    char *slash = strchr(entry, '/');
    uint8_t network[16];
    unsigned bits = 128;

    if (slash) {
        *slash = '\0';
        if (!read_prefix(slash + 1, strchr(entry, ':') != NULL, &bits))
            return false;
    }
    return read_address(entry, network) && bits_are_equal(network, host, bits);
}

static size_t bytes_without_dot(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && name[n - 1] == '.' ? n - 1 : n;
}

static bool name_matches(const char *entry, const char *host)
{
    char ascii[IDN_NAME_BYTES_MAX + 1];
    size_t n, host_bytes = bytes_without_dot(host);
    const char *reason;

    if (entry[0] == '*' && entry[1] == '.')
        entry++;
    if (entry[0] == '.')
        entry++;
    if (idn_to_ascii(entry, ascii, &reason) != WEFT_OK)
        return false;
    n = bytes_without_dot(ascii);
    if (n > host_bytes || strncmp(host + host_bytes - n, ascii, n) != 0)
        return false;
    return n == host_bytes || host[host_bytes - n - 1] == '.';
}

/* Part ":port" from the host, and take brackets away; false when they are not closed. A second colon makes
 * it IPv6 without a port. */
static bool cut_entry(char **host, char **port)
{
    char *text = *host, *end;

    if (text[0] == '[') {
        end = strchr(text, ']');
        if (!end)
            return false;
        *end = '\0';
        *host = text + 1;
        *port = end + 1;
        return true;
    }
    end = strchr(text, ':');
    *port = end && !strchr(end + 1, ':') ? end : text + strlen(text);
    return true;
}

static bool port_matches(const char *text, uint16_t port)
{
    unsigned wanted = 0;

    if (!*text)
        return true;
    if (*text++ != ':' || !*text || strlen(text) > 5 || text[strspn(text, "0123456789")])
        return false;
    while (*text)
        wanted = wanted * 10 + (unsigned)(*text++ - '0');
    return wanted == port;
}

static bool entry_matches(const char *p, size_t n, const char *host, uint16_t port)
{
    char text[ENTRY_BYTES_MAX + 1], *entry = text, *port_text;
    uint8_t address[16];

    if (n > ENTRY_BYTES_MAX)
        return false;
    memcpy(text, p, n);
    text[n] = '\0';
    if (!cut_entry(&entry, &port_text) || !port_matches(port_text, port))
        return false;
    *port_text = '\0';
    if (strcmp(entry, "*") == 0)
        return true;
    return read_address(host, address) ? address_matches(entry, address) : name_matches(entry, host);
}

bool reach_is_exempt(const char *list, const char *host, uint16_t port)
{
    for (list += strspn(list, BLANKS); *list; list += strspn(list, BLANKS)) {
        size_t n = strcspn(list, BLANKS);

        if (entry_matches(list, n, host, port))
            return true;
        list += n;
    }
    return false;
}

/* ---- through the proxy ---- */

/* One way through one proxy. */
struct passage {
    const struct reach_how *how;
    struct url proxy;
    char name[sizeof "proxy " + URL_AUTHORITY_ROOM];
    struct tunnel tunnel;
};

static struct dial_how dial_how_of(const struct reach_how *how)
{
    return (struct dial_how){.limit = how->limit, .attempt_delay_ms = how->attempt_delay_ms};
}

static int fail_tunnel(struct passage *p, struct reach_failure *f)
{
    struct tunnel *t = &p->tunnel;

    if (t->error == WEFT_E_REFUSED && t->kind == TUNNEL_CONNECT)
        fail(f, t->error, WHO " answered %d %s", p->name, t->status, t->reason);
    else
        fail(f, t->error, WHO ": %s", p->name, t->reason);
    f->status = t->status;
    return t->error;
}

static int fail_ended(struct passage *p, struct reach_failure *f)
{
    return fail(f, WEFT_E_CLOSED, WHO " closed the connection in the middle of its answer", p->name);
}

/* Only what belongs to the proxy's answer is taken out of the socket; what stands behind it is the
 * server's. */
static int take_answer(struct passage *p, int fd, struct reach_failure *f)
{
    uint8_t bytes[PEEK_BYTES];
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_PEEK);
    size_t used;
    int rc;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return TUNNEL_MORE;
    if (n <= 0) {
        fail_ended(p, f);
        return TUNNEL_FAILED;
    }
    rc = tunnel_feed(&p->tunnel, bytes, (size_t)n, &used);
    if (rc == TUNNEL_FAILED)
        fail_tunnel(p, f);
    else if (recv(fd, bytes, used, 0) != (ssize_t)used) {
        fail_ended(p, f);
        return TUNNEL_FAILED;
    }
    return rc;
}

/* A failure to write is no end yet: the proxy's answer may say why. */
static bool send_some(struct tunnel *t, int fd)
{
    const uint8_t *p;
    size_t n = tunnel_output(t, &p);
    ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

    if (sent > 0)
        tunnel_sent(t, (size_t)sent);
    return sent >= 0 || errno == EAGAIN || errno == EINTR;
}

static int pass(struct passage *p, int fd, struct reach_failure *f)
{
    struct pollfd fds[2] = {{.fd = -1}, {.fd = fd}};
    bool can_write = true;
    const uint8_t *output;
    int rc, outcome = TUNNEL_MORE;

    while (outcome == TUNNEL_MORE) {
        fds[1].events = POLLIN;
        if (can_write && tunnel_output(&p->tunnel, &output) > 0)
            fds[1].events |= POLLOUT;
        rc = await_fds(fds, 2, &p->how->limit, AWAIT_FOREVER);
        if (rc != WEFT_OK)
            return fail_dial(f, rc, p->name, NULL);
        if (fds[1].revents & POLLOUT)
            can_write = send_some(&p->tunnel, fd);
        if (fds[1].revents & (POLLIN | POLLHUP | POLLERR))
            outcome = take_answer(p, fd, f);
    }
    return outcome == TUNNEL_OPEN ? WEFT_OK : f->error;
}

/* Dial the proxy and ask it for this host. */
static int ask_for(struct passage *p, const char *host, int *fd, struct reach_failure *f)
{
    struct dial_how dial_how = dial_how_of(p->how);
    const struct tunnel_way way = {.kind = p->proxy.scheme == URL_HTTP ? TUNNEL_CONNECT : TUNNEL_SOCKS5,
                                   .host = host,
                                   .port = p->how->url->port,
                                   .user = p->proxy.user,
                                   .password = p->proxy.password};
    const char *reason;
    int socket_fd, rc = tunnel_init(&p->tunnel, &way);

    if (rc != WEFT_OK)
        return fail_tunnel(p, f);
    socket_fd = dial_tcp(p->proxy.host, p->proxy.port, &dial_how, &reason);
    if (socket_fd < 0)
        return fail_dial(f, socket_fd, p->name, reason);
    rc = pass(p, socket_fd, f);
    if (rc == WEFT_OK)
        *fd = socket_fd;
    else
        close(socket_fd);
    return rc;
}

static void write_address(const struct resolve_address *a, char out[INET6_ADDRSTRLEN])
{
    const struct sockaddr *at = (const struct sockaddr *)&a->at;

    if (at->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)at)->sin_addr, out, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)at)->sin6_addr, out, INET6_ADDRSTRLEN);
}

/* socks5: the name is looked up here, and the proxy gets one address after the other while that may help. */
static int ask_for_addresses(struct passage *p, int *fd, struct reach_failure *f)
{
    const struct url *u = p->how->url;
    char text[INET6_ADDRSTRLEN];
    struct resolve_list list;
    int rc = resolve(u->host, u->port, &p->how->limit, &list);

    if (rc != WEFT_OK)
        return fail_dial(f, rc, u->host, list.reason);
    dial_interleave(&list);
    for (size_t i = 0; i < list.count && i < REACH_SOCKS_ADDRESSES_MAX; i++) {
        if (i > 0)
            tunnel_fini(&p->tunnel);
        write_address(&list.addresses[i], text);
        rc = ask_for(p, text, fd, f);
        if (rc == WEFT_OK || !tunnel_other_address_may_help(&p->tunnel))
            break;
    }
    return rc;
}

/* "host:port" as well as a URL. */
static int parse_proxy(const char *text, struct url *out, const char **reason)
{
    size_t room = strlen(text) + sizeof "http://";
    char *with_scheme;
    int rc;

    if (strstr(text, "://"))
        return url_parse(out, text, URL_FOR_PROXY, reason);
    with_scheme = mem_alloc(room);
    *reason = "out of memory";
    if (!with_scheme)
        return WEFT_E_NOMEM;
    snprintf(with_scheme, room, "http://%s", text);
    rc = url_parse(out, with_scheme, URL_FOR_PROXY, reason);
    explicit_bzero(with_scheme, room);
    mem_free(with_scheme);
    return rc;
}

static int reach_through(const struct reach_how *how, const char *proxy, int *fd, struct reach_failure *f)
{
    struct passage *p = mem_calloc(1, sizeof *p);
    char authority[URL_AUTHORITY_ROOM];
    const char *reason;
    int rc;

    if (!p)
        return fail(f, WEFT_E_NOMEM, "out of memory");
    p->how = how;
    rc = parse_proxy(proxy, &p->proxy, &reason);
    if (rc != WEFT_OK) {
        mem_free(p);
        return fail(f, rc, "the proxy's URL: %s", reason);
    }
    url_authority(p->proxy.host, p->proxy.port, authority);
    snprintf(p->name, sizeof p->name, "proxy %s", authority);
    if (p->proxy.scheme == URL_SOCKS5)
        rc = ask_for_addresses(p, fd, f);
    else
        rc = ask_for(p, how->url->host, fd, f);
    tunnel_fini(&p->tunnel);
    url_fini(&p->proxy);
    mem_free(p);
    return rc;
}

/* ---- directly ---- */

static int reach_directly(const struct reach_how *how, int *fd, struct reach_failure *f)
{
    struct dial_how dial_how = dial_how_of(how);
    char who[URL_AUTHORITY_ROOM];
    const struct url *u = how->url;
    const char *reason = NULL;
    int rc = u->path ? dial_unix(u->path, &dial_how) : dial_tcp(u->host, u->port, &dial_how, &reason);

    if (rc >= 0) {
        *fd = rc;
        return WEFT_OK;
    }
    url_authority(u->host, u->port, who);
    return fail_dial(f, rc, u->path ? u->path : who, reason);
}

/* ---- which way ---- */

static const char *choose_proxy(const struct reach_how *how)
{
    bool is_given = how->proxy && *how->proxy;
    const char *proxy = how->proxy, *exempt = how->no_proxy;

    if (how->url->path || (!is_given && how->ignores_environment))
        return NULL;
    if (!is_given) {
        proxy = reach_environment_proxy(how->url);
        exempt = first_set("no_proxy", "NO_PROXY");
    }
    return proxy && exempt && reach_is_exempt(exempt, how->url->host, how->url->port) ? NULL : proxy;
}

int reach(const struct reach_how *how, int *fd, struct reach_failure *f)
{
    const char *proxy = choose_proxy(how);

    return proxy ? reach_through(how, proxy, fd, f) : reach_directly(how, fd, f);
}
