/* The few functions of the library that the chat calls, without threads and sockets; see fake_weft.h. */
#include "fake_weft.h"

#include "fake_bus.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SENT_MAX    4096
#define MEMBERS_MAX 1100
#define HEADERS_MAX 8

struct weft_msg {
    unsigned refs;
    enum weft_msg_type type;
    size_t bytes;
    char payload[];
};

struct weft_conn {
    void *data;
    weft_msg *sent[SENT_MAX];
    size_t first, count;
    bool is_full;
    unsigned close_code;
    char *taken;
};

struct weft_group {
    unsigned refs;
    weft_conn *members[MEMBERS_MAX];
    size_t count;
};

struct weft_request {
    const char *method;
    const char *path;
    bool is_upgrade;
    const char *peer, *header; /* where it comes from; the one header that it has, NULL: none */
    unsigned status;
    char *body;
    char *names[HEADERS_MAX], *values[HEADERS_MAX];
    size_t header_count;
};

static unsigned fail_at;
static int alive;
static weft_group *groups[512];

void fake_fail_at(unsigned n)
{
    fail_at = n;
}

int fake_alive(void)
{
    return alive;
}

void *fake_get(size_t bytes)
{
    if (fail_at && --fail_at == 0)
        return NULL;
    alive++;
    return calloc(1, bytes);
}

void fake_give_back(void *p)
{
    alive--;
    free(p);
}

const char *weft_strerror(int code)
{
    return code == WEFT_OK ? "success" : "an error";
}

int weft_msg_new_raw(weft_msg **out, enum weft_msg_type type, size_t bytes, void **payload)
{
    weft_msg *m = fake_get(sizeof *m + bytes);

    if (!m)
        return WEFT_E_NOMEM;
    m->refs = 1;
    m->type = type;
    m->bytes = bytes;
    *payload = m->payload;
    *out = m;
    return WEFT_OK;
}

int weft_msg_new(weft_msg **out, enum weft_msg_type type, const void *data, size_t bytes)
{
    void *payload;
    int rc = weft_msg_new_raw(out, type, bytes, &payload);

    if (rc == WEFT_OK && bytes)
        memcpy(payload, data, bytes);
    return rc;
}

weft_msg *weft_msg_ref(weft_msg *m)
{
    m->refs++;
    return m;
}

void weft_msg_unref(weft_msg *m)
{
    if (m && --m->refs == 0)
        fake_give_back(m);
}

const void *weft_msg_data(const weft_msg *m)
{
    return m->payload;
}

size_t weft_msg_bytes(const weft_msg *m)
{
    return m->bytes;
}

enum weft_msg_type weft_msg_type(const weft_msg *m)
{
    return m->type;
}

weft_conn *fake_conn_new(void)
{
    return calloc(1, sizeof(weft_conn));
}

void fake_conn_free(weft_conn *c)
{
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (groups[i])
            weft_group_remove(groups[i], c);
    fake_bus_leave_all(c);
    while (c->count)
        fake_take(c);
    free(c->taken);
    free(c);
}

const char *fake_take(weft_conn *c)
{
    weft_msg *m;

    if (c->count == 0)
        return NULL;
    m = c->sent[c->first];
    c->first = (c->first + 1) % SENT_MAX;
    c->count--;
    free(c->taken);
    c->taken = strndup(m->payload, m->bytes);
    weft_msg_unref(m);
    return c->taken;
}

size_t fake_waiting(const weft_conn *c)
{
    return c->count;
}

void fake_stuff(weft_conn *c, bool is_full)
{
    c->is_full = is_full;
}

unsigned fake_close_code(const weft_conn *c)
{
    return c->close_code;
}

void fake_put(weft_conn *c, weft_msg *m)
{
    if (c->count == SENT_MAX)
        abort();
    c->sent[(c->first + c->count++) % SENT_MAX] = m;
}

int weft_conn_try_send(weft_conn *c, weft_msg *m)
{
    if (c->close_code)
        return WEFT_E_CLOSED;
    if (c->is_full)
        return WEFT_E_AGAIN;
    fake_put(c, m);
    return WEFT_OK;
}

int weft_conn_close(weft_conn *c, uint16_t code, const char *reason)
{
    if (reason && strlen(reason) > 123)
        return WEFT_E_INVAL;
    if (!c->close_code)
        c->close_code = code;
    return WEFT_OK;
}

void weft_conn_set_data(weft_conn *c, void *data)
{
    c->data = data;
}

void *weft_conn_data(const weft_conn *c)
{
    return c->data;
}

int weft_group_new(weft_group **out)
{
    weft_group *g = fake_get(sizeof *g);
    size_t i = 0;

    if (!g)
        return WEFT_E_NOMEM;
    while (groups[i])
        i++;
    groups[i] = g;
    g->refs = 1;
    *out = g;
    return WEFT_OK;
}

void weft_group_unref(weft_group *g)
{
    if (--g->refs)
        return;
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
        if (groups[i] == g)
            groups[i] = NULL;
    fake_give_back(g);
}

int weft_group_add(weft_group *g, weft_conn *c)
{
    if (c->close_code)
        return WEFT_E_CLOSED;
    if (g->count == MEMBERS_MAX)
        abort();
    g->members[g->count++] = c;
    return WEFT_OK;
}

int weft_group_remove(weft_group *g, weft_conn *c)
{
    size_t kept = 0;

    for (size_t i = 0; i < g->count; i++)
        if (g->members[i] != c)
            g->members[kept++] = g->members[i];
    g->count = kept;
    return WEFT_OK;
}

int weft_group_broadcast(weft_group *g, weft_msg *m, weft_conn *except)
{
    for (size_t i = 0; i < g->count; i++)
        if (g->members[i] != except && !g->members[i]->close_code)
            fake_put(g->members[i], weft_msg_ref(m));
    weft_msg_unref(m);
    return WEFT_OK;
}

weft_request *fake_request_new(const char *method, const char *path, bool is_upgrade)
{
    weft_request *r = calloc(1, sizeof *r);

    r->method = method;
    r->path = path;
    r->is_upgrade = is_upgrade;
    r->peer = "127.0.0.1:4711";
    return r;
}

void fake_request_from(weft_request *r, const char *peer, const char *header)
{
    r->peer = peer;
    r->header = header;
}

void fake_request_free(weft_request *r)
{
    for (size_t i = 0; i < r->header_count; i++) {
        free(r->names[i]);
        free(r->values[i]);
    }
    free(r->body);
    free(r);
}

unsigned fake_status(const weft_request *r)
{
    return r->status;
}

const char *fake_body(const weft_request *r)
{
    return r->body;
}

const char *fake_response_header(const weft_request *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++)
        if (strcasecmp(r->names[i], name) == 0)
            return r->values[i];
    return NULL;
}

const char *weft_request_method(const weft_request *r)
{
    return r->method;
}

const char *weft_request_path(const weft_request *r)
{
    return r->path;
}

const char *weft_request_peer(const weft_request *r)
{
    return r->peer;
}

const char *weft_request_header(const weft_request *r, const char *name, size_t index)
{
    return r->header && index == 0 && strcasecmp(r->header, name) == 0 ? "10.0.0.1" : NULL;
}

bool weft_request_is_upgrade(const weft_request *r)
{
    return r->is_upgrade;
}

int weft_request_accept(weft_request *r, const weft_accept *how)
{
    (void)how;
    if (r->status)
        return WEFT_E_STATE;
    r->status = 101;
    return WEFT_OK;
}

int weft_request_respond(weft_request *r, unsigned status, const weft_header *headers, size_t header_count,
                         const void *body, size_t bytes)
{
    if (r->status)
        return WEFT_E_STATE;
    r->status = status;
    r->body = strndup(body, bytes);
    for (size_t i = 0; i < header_count && i < HEADERS_MAX; i++) {
        r->names[i] = strdup(headers[i].name);
        r->values[i] = strdup(headers[i].value);
        r->header_count++;
    }
    return WEFT_OK;
}

int weft_server_stats(weft_server *s, weft_stats *out)
{
    (void)s;
    for (size_t i = 0; i < WEFT_HANDOVER_BUCKETS; i++)
        out->handover_us[i] = i + 1;
    out->connections = 7;
    out->longest_handler_us = 1500002;
    return WEFT_OK;
}
