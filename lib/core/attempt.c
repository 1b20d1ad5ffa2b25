/* One attempt to connect; see attempt.h. */
#include "core/attempt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/opening.h"
#include "core/reach.h"
#include "proto/field.h"

/* Of DNS, and a NUL. */
#define TLS_NAME_ROOM 256
#define TLS_WHY_ROOM  256

struct attempt {
    struct endpoint *ep;
    struct client_how *how;
    const struct await_limit *limit;
    struct weft_failure *failure;
    const struct url *url; /* where it leads by now */
    struct url own;        /* behind a redirect */
    bool is_abroad;        /* to another origin: what was meant for the first one stays here */
};

/* --- the request --- */

/* Headers that are nobody else's business. */
static bool is_secret(const char *name)
{
    static const char *const secrets[] = {"Authorization", "Cookie", "Proxy-Authorization"};

    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
        if (http_equal_nocase(http_text_of(name), http_text_of(secrets[i])))
            return true;
    return false;
}

static bool names(const weft_header *headers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (http_equal_nocase(http_text_of(headers[i].name), http_text_of(name)))
            return true;
    return false;
}

/* The program's headers, and those that are made here. *authorization is the caller's to free. */
static int make_headers(const struct attempt *a, weft_header **headers, size_t *count, char **authorization)
{
    const weft_client_opts *o = &a->how->opts;
    const char *user = a->url->user, *password = a->url->password;
    size_t n = 0;

    *authorization = NULL;
    *headers = mem_calloc(o->header_count + 2, sizeof **headers);
    if (!*headers)
        return WEFT_E_NOMEM;
    for (size_t i = 0; i < o->header_count; i++)
        if (!a->is_abroad || !is_secret(o->headers[i].name))
            (*headers)[n++] = o->headers[i];
    if (o->user_agent[0] && !names(*headers, n, "User-Agent"))
        (*headers)[n++] = (weft_header){"User-Agent", o->user_agent};
    if (o->user && !a->is_abroad) {
        user = o->user;
        password = o->password;
    }
    if (user && !names(*headers, n, "Authorization")) {
        int rc = url_basic_value(user, password, authorization);
        if (rc != WEFT_OK)
            return rc;
        (*headers)[n++] = (weft_header){"Authorization", *authorization};
    }
    *count = n;
    return WEFT_OK;
}

static void free_headers(weft_header *headers, char *authorization)
{
    if (authorization)
        explicit_bzero(authorization, strlen(authorization));
    mem_free(authorization);
    mem_free(headers);
}

/* Behind the call that failed. */
static void note_error(struct attempt *a, int rc)
{
    int system_error = rc == WEFT_E_SYSTEM ? errno : 0;

    failure_note(a->failure, rc, "%s", system_error ? strerror(system_error) : weft_strerror(rc));
    a->failure->system_error = system_error;
}

static int make_opening(struct attempt *a, const weft_header *headers, size_t count, struct opening **o)
{
    const weft_client_opts *opts = &a->how->opts;
    const weft_server_opts *limits = &a->ep->settings->opts;
    struct http_request request = {
        .host = a->url->host,
        .port = a->url->scheme == URL_WS_UNIX ? 0 : a->url->port,
        .secure = a->url->is_secure,
        .target = a->url->target,
        .subprotocols = opts->subprotocols,
        .subprotocol_count = opts->subprotocol_count,
        .origin = opts->origin,
        .headers = headers,
        .header_count = count,
    };
    struct extension_policy policy = a->ep->settings->policy;
    int rc;

    policy.memory_is_short = squeeze_is_short(a->ep->squeeze);
    rc = opening_new(o, &request, &policy, limits->head_bytes_max, limits->headers_max, a->limit->deadline_ms);

    if (rc == WEFT_E_INVAL)
        return failure_note(a->failure, rc, "a header, subprotocol or origin cannot stand in a request");
    if (rc != WEFT_OK)
        note_error(a, rc);
    return rc;
}

/* --- the answer --- */

static const char *name_error(int error)
{
    switch (error) {
    case WEFT_E_TIMEOUT:
        return "did not open the connection in time";
    case WEFT_E_CLOSED:
        return "closed the connection before it was open";
    default:
        return weft_strerror(error);
    }
}

/* Who it was, without credentials. */
static void name_server(const struct attempt *a, char *out, size_t room)
{
    char authority[URL_AUTHORITY_ROOM];

    if (a->url->scheme == URL_WS_UNIX) {
        snprintf(out, room, "%s", a->url->path);
        return;
    }
    url_authority(a->url->host, a->url->port, authority);
    snprintf(out, room, "%s", authority);
}

/* What the opening found becomes the failure's. */
static int note_answer(struct attempt *a, struct opening *o)
{
    char server[URL_AUTHORITY_ROOM];
    int error = o->error;

    name_server(a, server, sizeof server);
    if (!o->is_refused) {
        const char *reason = error == WEFT_E_PROTOCOL && o->head->reason ? o->head->reason : name_error(error);
        if (error == WEFT_E_TLS && o->why)
            reason = o->why;
        return failure_note(a->failure, error, "%s: %s", server, reason);
    }
    failure_note(a->failure, error, "%s answered %d %s", server, o->head->status, http_status_phrase(o->head->status));
    a->failure->status = o->head->status;
    a->failure->head = o->head;
    a->failure->body = o->body.bytes;
    a->failure->body_bytes = o->body.count;
    o->head = NULL;
    o->body.bytes = NULL;
    return error;
}

/* --- steps --- */

static int connect_socket(struct attempt *a, int *fd)
{
    const char *proxy = a->how->opts.proxy;
    struct reach_how how = {
        .url = a->url,
        .proxy = proxy && proxy[0] ? proxy : NULL,
        .ignores_environment = proxy && !proxy[0],
        .attempt_delay_ms = a->how->opts.attempt_delay_ms,
        .limit = *a->limit,
    };
    struct reach_failure f;
    int rc = reach(&how, fd, &f);

    if (rc == WEFT_OK)
        return rc;
    failure_note(a->failure, rc, "%s", f.text);
    a->failure->status = f.status;
    a->failure->system_error = f.system_error;
    return rc;
}

/* Wait for the opening's outcome, on the connection's I/O thread. */
static int wait_for_outcome(struct attempt *a, struct opening *o, struct weft_conn *c)
{
    int rc = opening_wait(o, a->limit->cancel_fd);

    if (rc != WEFT_E_CANCELED)
        return rc == WEFT_OK ? rc : note_answer(a, o);
    conn_abort(c);
    opening_wait(o, -1); /* what the request borrows must live so long */
    return failure_note(a->failure, rc, "%s", weft_strerror(rc));
}

static int open_on(struct attempt *a, struct opening *o, int fd, const struct secure_how *how, struct weft_conn **out)
{
    struct sock_peer peer;
    struct weft_conn *c;
    int rc;

    sock_peer_of(fd, &peer);
    rc = opening_start(o, a->ep, fd, &peer, how, &c);
    if (rc != WEFT_OK) {
        close(fd);
        opening_unref(o); /* the one that the connection would have had */
        return failure_note(a->failure, rc, "%s",
                            rc == WEFT_E_STATE ? "the threads of the connection do not run" : weft_strerror(rc));
    }
    rc = wait_for_outcome(a, o, c);
    if (rc == WEFT_OK)
        *out = c;
    else
        conn_unref(c);
    return rc;
}

/* What a certificate is for, and what is sent as SNI, has no dot at its end. */
static int secure_way(struct attempt *a, char name[TLS_NAME_ROOM], struct secure_how *how)
{
    char why[TLS_WHY_ROOM];
    int rc = client_how_tls(a->how, &how->context, why, sizeof why), system_error = errno;
    size_t n = strlen(a->url->host);

    if (rc != WEFT_OK) {
        failure_note(a->failure, rc, "%s", why);
        a->failure->system_error = rc == WEFT_E_SYSTEM ? system_error : 0;
        return rc;
    }
    if (n && a->url->host[n - 1] == '.')
        n--;
    if (n == 0 || n >= TLS_NAME_ROOM)
        return failure_note(a->failure, WEFT_E_INVAL, "no certificate can be for a host of this name");
    memcpy(name, a->url->host, n);
    name[n] = '\0';
    how->host = name;
    return WEFT_OK;
}

static int try_once(struct attempt *a, struct weft_conn **out)
{
    struct opening *o = NULL;
    weft_header *headers = NULL;
    char *authorization = NULL;
    size_t count = 0;
    struct secure_how how = {.port = a->url->port};
    char name[TLS_NAME_ROOM];
    int fd, rc;

    if (a->url->is_secure) {
        rc = secure_way(a, name, &how);
        if (rc != WEFT_OK)
            return rc;
    }
    rc = make_headers(a, &headers, &count, &authorization);
    if (rc != WEFT_OK)
        failure_note(a->failure, rc, "%s",
                     rc == WEFT_E_INVAL ? "user and password cannot stand in a request" : weft_strerror(rc));
    else
        rc = make_opening(a, headers, count, &o);
    if (rc == WEFT_OK && (rc = connect_socket(a, &fd)) != WEFT_OK)
        opening_unref(o);
    else if (rc == WEFT_OK)
        rc = open_on(a, o, fd, how.context ? &how : NULL, out);
    if (o)
        opening_unref(o);
    free_headers(headers, authorization);
    return rc;
}

static bool is_redirect(int status)
{
    return (status >= 300 && status <= 303) || status == 307 || status == 308;
}

/* Follow the redirect that was the last answer. */
static int follow(struct attempt *a)
{
    struct http_text location = http_head_value(a->failure->head, "Location", 0);
    const char *reason = "it does not say where";
    struct url next;
    int rc = WEFT_E_REFUSED;

    if (location.p)
        rc = url_resolve(a->url, location.p, &next, &reason);
    if (rc == WEFT_E_NOMEM)
        return failure_note(a->failure, rc, "%s", weft_strerror(rc));
    if (rc != WEFT_OK) {
        snprintf(a->failure->text, sizeof a->failure->text, "a redirect that cannot be followed: %s", reason);
        return WEFT_E_REFUSED;
    }
    if (a->url->is_secure && !next.is_secure) {
        snprintf(a->failure->text, sizeof a->failure->text, "a redirect from wss to ws is not followed");
        url_fini(&next);
        return WEFT_E_REFUSED;
    }
    a->is_abroad = a->is_abroad || !url_same_origin(a->url, &next);
    url_fini(&a->own);
    a->own = next;
    a->url = &a->own;
    return WEFT_OK;
}

static int run(struct attempt *a, struct weft_conn **out)
{
    for (uint32_t redirects = 0;; redirects++) {
        int rc = try_once(a, out), followed;

        if (rc != WEFT_E_REFUSED || !a->failure->head || !is_redirect(a->failure->status))
            return rc;
        if (redirects == a->how->opts.redirects_max) {
            if (redirects)
                snprintf(a->failure->text, sizeof a->failure->text, "more than %u redirects", redirects);
            return rc;
        }
        followed = follow(a);
        if (followed != WEFT_OK)
            return followed;
        LOG(WEFT_LOG_INFO, 0, "redirected to %s%s", a->url->host, a->url->target);
    }
}

int attempt_run(struct endpoint *ep, struct client_how *how, const struct await_limit *limit,
                struct weft_conn **out, struct weft_failure *failure)
{
    struct attempt a = {.ep = ep, .how = how, .limit = limit, .failure = failure, .url = &how->url};
    int rc = run(&a, out);

    url_fini(&a.own);
    return rc;
}
