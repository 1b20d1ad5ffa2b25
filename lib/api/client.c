/* weft_client and weft_failure: argument checks over core/sessions.h. */
#include "weft/client.h"

#include "api/server.h"
#include "core/sessions.h"
#include "core/engine.h"
#include "core/shared.h"
#include "proto/field.h"

int weft_client_new(weft_client **out, const char *url, const weft_client_opts *opts)
{
    static const struct engine_hooks hooks = {.closed = server_conn_closed};
    bool knows_server = opts && opts->size >= offsetof(weft_client_opts, server) + sizeof opts->server;
    bool has_server = knows_server && opts->server;
    struct engine *e;
    int rc;

    if (!out || !url)
        return WEFT_E_INVAL;
    if (has_server) {
        e = server_engine(opts->server);
        engine_ref(e);
    } else if ((rc = shared_engine(&e)) != WEFT_OK) {
        return rc;
    }
    rc = sessions_new(out, e, url, opts, &hooks);
    engine_unref(e);
    return rc;
}

/* Where the caller wants to know why; NULL: it does not. */
static weft_failure **failure_of(const weft_client_opts *o)
{
    return o && o->size >= offsetof(weft_client_opts, failure) + sizeof o->failure ? o->failure : NULL;
}

/* The caller's. Without a client, or before it tried, there is no more to say than the error. */
static void give_failure(weft_failure **out, struct weft_client *client, int error)
{
    if (!out)
        return;
    if (client && client->failure->error) {
        *out = client->failure;
        client->failure = NULL;
        return;
    }
    *out = failure_new();
    if (*out)
        failure_note(*out, error, "%s", weft_strerror(error));
}

static bool has_callbacks(const weft_client_opts *o)
{
    return o && (o->handler || o->on_message || o->on_open || o->on_close || o->on_drain);
}

static int connect_once(weft_conn **out, const char *url, const weft_client_opts *opts)
{
    weft_client *client = NULL;
    weft_conn *c = NULL;
    int rc = weft_client_new(&client, url, opts);

    if (rc == WEFT_OK)
        rc = sessions_connect(client, &c);
    if (rc != WEFT_OK)
        give_failure(failure_of(opts), client, rc);
    else if (out)
        *out = c;
    else
        weft_conn_unref(c);
    weft_client_unref(client);
    return rc;
}

int weft_client_connect(weft_conn **out, const char *url, const weft_client_opts *opts)
{
    weft_failure **failure = failure_of(opts);

    if (failure)
        *failure = NULL;
    if (!out && !has_callbacks(opts)) {
        give_failure(failure, NULL, WEFT_E_INVAL);
        return WEFT_E_INVAL;
    }
    return connect_once(out, url, opts);
}

int weft_client_next(weft_client *client, weft_conn **out, uint32_t timeout_ms)
{
    if (!client || (!out && !has_callbacks(&client->how.opts)))
        return WEFT_E_INVAL;
    return sessions_next(client, out, timeout_ms);
}

int weft_client_start(weft_client *client)
{
    return client ? sessions_start(client) : WEFT_E_INVAL;
}

int weft_client_stop(weft_client *client, uint32_t deadline_ms)
{
    return client ? sessions_stop(client, deadline_ms) : WEFT_E_INVAL;
}

weft_client *weft_client_ref(weft_client *client)
{
    return sessions_ref(client);
}

void weft_client_unref(weft_client *client)
{
    if (client)
        sessions_unref(client);
}

int weft_client_stop_threads(uint32_t deadline_ms)
{
    return shared_stop(deadline_ms);
}

/* --- why there is no connection: NULL, because there was no memory even for that --- */

int weft_failure_error(const weft_failure *f)
{
    return f ? f->error : WEFT_E_NOMEM;
}

int weft_failure_errno(const weft_failure *f)
{
    return f ? f->system_error : 0;
}

int weft_failure_status(const weft_failure *f)
{
    return f ? f->status : 0;
}

const char *weft_failure_text(const weft_failure *f)
{
    return f ? f->text : weft_strerror(WEFT_E_NOMEM);
}

const char *weft_failure_header(const weft_failure *f, const char *name, size_t index)
{
    return f && f->head && name ? http_head_value(f->head, name, index).p : NULL;
}

const void *weft_failure_body(const weft_failure *f, size_t *bytes)
{
    if (bytes)
        *bytes = f ? f->body_bytes : 0;
    return f ? f->body : NULL;
}

void weft_failure_free(weft_failure *f)
{
    failure_free(f);
}
