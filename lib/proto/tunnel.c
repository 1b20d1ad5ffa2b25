/* HTTP CONNECT and SOCKS5; see tunnel.h.
 *
 * SOCKS5 goes in steps, each one an answer whose length is known when its first bytes are:
 *     METHOD (2 bytes) > LOGIN (2, only when asked for) > REPLY (4) > BOUND (address and port, thrown
 *     away) */
#include "proto/tunnel.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "proto/http.h"
#include "proto/text.h"
#include "proto/url.h"
#include "weft/error.h"

enum { SOCKS_VERSION = 5, SOCKS_LOGIN_VERSION = 1 };
enum { METHOD_NONE = 0, METHOD_LOGIN = 2, METHOD_REFUSED = 0xff };
enum { ADDRESS_IPV4 = 1, ADDRESS_NAME = 3, ADDRESS_IPV6 = 4 };
enum {
    REPLY_SUCCEEDED = 0,
    REPLY_NETWORK_UNREACHABLE = 3,
    REPLY_HOST_UNREACHABLE = 4,
    REPLY_CONNECTION_REFUSED = 5,
    REPLY_TTL_EXPIRED = 6,
    REPLY_ADDRESS_TYPE = 8
};
enum step { STEP_METHOD, STEP_LOGIN, STEP_REPLY, STEP_NAME_BYTES, STEP_BOUND };

static int fail(struct tunnel *t, int error, const char *reason)
{
    t->error = error;
    t->reason = reason;
    t->outcome = TUNNEL_FAILED;
    return TUNNEL_FAILED;
}

static int refuse_start(struct tunnel *t, int error, const char *reason)
{
    fail(t, error, reason);
    return error;
}

static bool is_waiting_to_send(const struct tunnel *t)
{
    return t->sent_bytes < t->output_bytes;
}

static void put_output(struct tunnel *t, const void *p, size_t n)
{
    memcpy(t->output, p, n);
    t->output_bytes = n;
    t->sent_bytes = 0;
}

/* ---- CONNECT ---- */

static int start_connect(struct tunnel *t, const struct tunnel_way *way)
{
    char authority[URL_AUTHORITY_ROOM], *basic = NULL;
    int n, rc;

    rc = way->user ? url_basic_value(way->user, way->password, &basic) : WEFT_OK;
    if (rc != WEFT_OK)
        return refuse_start(t, rc, "these credentials cannot be sent by HTTP Basic");
    url_authority(way->host, way->port, authority);
    n = snprintf((char *)t->output, sizeof t->output, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s%s%s\r\n",
                 authority, authority, basic ? "Proxy-Authorization: " : "", basic ? basic : "",
                 basic ? "\r\n" : "");
    if (basic)
        explicit_bzero(basic, strlen(basic));
    mem_free(basic);
    if (n < 0 || (size_t)n >= sizeof t->output)
        return refuse_start(t, WEFT_E_INVAL, "the request to the proxy is too long");
    t->output_bytes = (size_t)n;
    t->head = http_head_new(HTTP_ROLE_CLIENT, NULL);
    return t->head ? WEFT_OK : refuse_start(t, WEFT_E_NOMEM, "out of memory");
}

/* The fields of an answer that opens the tunnel say nothing about what follows (RFC 9110 section 9.3.6). */
static int feed_connect(struct tunnel *t, const uint8_t *p, size_t n, size_t *used)
{
    int rc = http_head_feed(t->head, p, n, used);

    if (rc == HTTP_MORE)
        return TUNNEL_MORE;
    t->status = t->head->status;
    if (rc == HTTP_BAD)
        return fail(t, t->head->error, t->head->reason);
    if (t->status < 200 || t->status > 299)
        return fail(t, WEFT_E_REFUSED, http_status_phrase(t->status));
    if (is_waiting_to_send(t))
        return fail(t, WEFT_E_PROTOCOL, "an answer came before the question was sent");
    return TUNNEL_OPEN;
}

/* ---- SOCKS5 ---- */

static const char *text_of_reply(uint8_t reply)
{
    static const char *const texts[] = {
        "succeeded",
        "general SOCKS server failure",
        "connection not allowed by ruleset",
        "Network unreachable",
        "Host unreachable",
        "Connection refused",
        "TTL expired",
        "Command not supported",
        "Address type not supported",
    };

    return reply < sizeof texts / sizeof texts[0] ? texts[reply] : "unassigned SOCKS reply";
}

static size_t put_text(uint8_t *out, const char *text, size_t n)
{
    out[0] = (uint8_t)n;
    memcpy(out + 1, text, n);
    return n + 1;
}

static int write_login(struct tunnel *t, const struct tunnel_way *way)
{
    const char *password = way->password ? way->password : "";
    size_t user_bytes = strlen(way->user), password_bytes = strlen(password);

    if (user_bytes == 0 || user_bytes > TUNNEL_SOCKS_TEXT_MAX || password_bytes > TUNNEL_SOCKS_TEXT_MAX)
        return refuse_start(t, WEFT_E_INVAL,
                            "SOCKS5 takes a user of 1 to 255 bytes and a password of up to 255");
    t->login[0] = SOCKS_LOGIN_VERSION;
    t->login_bytes = 1 + put_text(t->login + 1, way->user, user_bytes);
    t->login_bytes += put_text(t->login + t->login_bytes, password, password_bytes);
    t->has_login = true;
    return WEFT_OK;
}

static size_t write_address(uint8_t *out, const char *host)
{
    if (inet_pton(AF_INET, host, out + 1) == 1) {
        out[0] = ADDRESS_IPV4;
        return 1 + sizeof(struct in_addr);
    }
    if (inet_pton(AF_INET6, host, out + 1) == 1) {
        out[0] = ADDRESS_IPV6;
        return 1 + sizeof(struct in6_addr);
    }
    out[0] = ADDRESS_NAME;
    return 1 + put_text(out + 1, host, strlen(host));
}

static void write_request(struct tunnel *t, const struct tunnel_way *way)
{
    size_t n = 3;

    t->request[0] = SOCKS_VERSION;
    t->request[1] = 1; /* CONNECT */
    t->request[2] = 0;
    n += write_address(t->request + n, way->host);
    t->request[n++] = (uint8_t)(way->port >> 8);
    t->request[n++] = (uint8_t)way->port;
    t->request_bytes = n;
}

static void await_answer(struct tunnel *t, enum step step, size_t bytes)
{
    t->step = (uint8_t)step;
    t->wanted_bytes = bytes;
    t->answer_bytes = 0;
}

static int start_socks(struct tunnel *t, const struct tunnel_way *way)
{
    static const uint8_t open[] = {SOCKS_VERSION, 1, METHOD_NONE};
    static const uint8_t with_login[] = {SOCKS_VERSION, 2, METHOD_NONE, METHOD_LOGIN};
    int rc = way->user ? write_login(t, way) : WEFT_OK;

    if (rc != WEFT_OK)
        return rc;
    write_request(t, way);
    put_output(t, way->user ? with_login : open, way->user ? sizeof with_login : sizeof open);
    await_answer(t, STEP_METHOD, 2);
    return WEFT_OK;
}

static int send_request(struct tunnel *t)
{
    put_output(t, t->request, t->request_bytes);
    await_answer(t, STEP_REPLY, 4);
    return TUNNEL_MORE;
}

static int take_method(struct tunnel *t)
{
    if (t->answer[0] != SOCKS_VERSION)
        return fail(t, WEFT_E_PROTOCOL, "the answer is not SOCKS5");
    if (t->answer[1] == METHOD_NONE)
        return send_request(t);
    if (t->answer[1] == METHOD_LOGIN && t->has_login) {
        put_output(t, t->login, t->login_bytes);
        await_answer(t, STEP_LOGIN, 2);
        return TUNNEL_MORE;
    }
    if (t->answer[1] != METHOD_REFUSED)
        return fail(t, WEFT_E_PROTOCOL, "the proxy chose an authentication that was not offered");
    return fail(t, WEFT_E_REFUSED,
                t->has_login ? "no offered authentication is accepted" : "authentication is required");
}

/* Some servers write 5 where RFC 1929 has the version 1; only the status counts. */
static int take_login(struct tunnel *t)
{
    if (t->answer[1] != 0)
        return fail(t, WEFT_E_REFUSED, "user or password are wrong");
    return send_request(t);
}

/* A refusal is one as soon as its code is there: some proxies send no more. */
static int take_reply(struct tunnel *t)
{
    if (t->answer[0] != SOCKS_VERSION)
        return fail(t, WEFT_E_PROTOCOL, "the answer is not SOCKS5");
    switch (t->answer[3]) {
    case ADDRESS_IPV4:
        await_answer(t, STEP_BOUND, sizeof(struct in_addr) + 2);
        return TUNNEL_MORE;
    case ADDRESS_IPV6:
        await_answer(t, STEP_BOUND, sizeof(struct in6_addr) + 2);
        return TUNNEL_MORE;
    case ADDRESS_NAME:
        await_answer(t, STEP_NAME_BYTES, 1);
        return TUNNEL_MORE;
    default:
        return fail(t, WEFT_E_PROTOCOL, "an unknown type of address in the SOCKS5 reply");
    }
}

static int refused_by_reply(struct tunnel *t)
{
    t->status = t->answer[1];
    return fail(t, WEFT_E_REFUSED, text_of_reply(t->answer[1]));
}

static int take_answer(struct tunnel *t)
{
    switch ((enum step)t->step) {
    case STEP_METHOD:
        return take_method(t);
    case STEP_LOGIN:
        return take_login(t);
    case STEP_REPLY:
        return take_reply(t);
    case STEP_NAME_BYTES:
        await_answer(t, STEP_BOUND, t->answer[0] + 2u);
        return TUNNEL_MORE;
    case STEP_BOUND:
        break;
    }
    return TUNNEL_OPEN;
}

/* Of what is longer than answer, an address, the rest is only counted. */
static int feed_socks_byte(struct tunnel *t, uint8_t byte)
{
    if (is_waiting_to_send(t))
        return fail(t, WEFT_E_PROTOCOL, "an answer came before the question was sent");
    if (t->answer_bytes < sizeof t->answer)
        t->answer[t->answer_bytes] = byte;
    t->answer_bytes++;
    if (t->step == STEP_REPLY && t->answer_bytes == 2 && t->answer[0] == SOCKS_VERSION &&
        t->answer[1] != REPLY_SUCCEEDED)
        return refused_by_reply(t);
    return t->answer_bytes < t->wanted_bytes ? TUNNEL_MORE : take_answer(t);
}

static int feed_socks(struct tunnel *t, const uint8_t *p, size_t n, size_t *used)
{
    int rc = TUNNEL_MORE;
    size_t i = 0;

    while (i < n && rc == TUNNEL_MORE)
        rc = feed_socks_byte(t, p[i++]);
    *used = i;
    return rc;
}

/* ---- both ---- */

static bool host_can_be_sent(const char *host)
{
    struct http_text t = http_text_of(host);

    return t.n <= TUNNEL_SOCKS_TEXT_MAX && (http_is_host(t) || http_is_ipv6(t)) && host[0] != '[';
}

int tunnel_init(struct tunnel *t, const struct tunnel_way *way)
{
    memset(t, 0, sizeof *t);
    t->kind = way->kind;
    if (!host_can_be_sent(way->host) || way->port == 0)
        return refuse_start(t, WEFT_E_INVAL, "this host and port cannot be asked for");
    return way->kind == TUNNEL_CONNECT ? start_connect(t, way) : start_socks(t, way);
}

void tunnel_fini(struct tunnel *t)
{
    http_head_free(t->head);
    t->head = NULL;
    explicit_bzero(t->login, sizeof t->login);
    explicit_bzero(t->output, sizeof t->output);
}

size_t tunnel_output(const struct tunnel *t, const uint8_t **p)
{
    *p = t->output + t->sent_bytes;
    return t->outcome == TUNNEL_MORE ? t->output_bytes - t->sent_bytes : 0;
}

void tunnel_sent(struct tunnel *t, size_t bytes)
{
    t->sent_bytes += bytes;
}

int tunnel_feed(struct tunnel *t, const uint8_t *p, size_t n, size_t *used)
{
    *used = 0;
    if (t->outcome == TUNNEL_MORE && n > 0)
        t->outcome =
            (uint8_t)(t->kind == TUNNEL_CONNECT ? feed_connect(t, p, n, used) : feed_socks(t, p, n, used));
    return t->outcome;
}

bool tunnel_other_address_may_help(const struct tunnel *t)
{
    if (t->kind != TUNNEL_SOCKS5 || t->error != WEFT_E_REFUSED)
        return false;
    switch (t->status) {
    case REPLY_NETWORK_UNREACHABLE:
    case REPLY_HOST_UNREACHABLE:
    case REPLY_CONNECTION_REFUSED:
    case REPLY_TTL_EXPIRED:
    case REPLY_ADDRESS_TYPE:
        return true;
    default:
        return false;
    }
}
