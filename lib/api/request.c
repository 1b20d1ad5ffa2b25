/* weft_request: argument checks over core/request.h. */
#include "weft/request.h"

#include <stdio.h>
#include <string.h>

#include "core/request.h"
#include "proto/field.h"

weft_request *weft_request_ref(weft_request *r)
{
    request_ref(r);
    return r;
}

void weft_request_unref(weft_request *r)
{
    if (r)
        request_unref(r);
}

const char *weft_request_method(const weft_request *r)
{
    return r->head->method;
}
const char *weft_request_path(const weft_request *r)
{
    return r->head->path;
}
const char *weft_request_query(const weft_request *r)
{
    return r->head->query ? r->head->query : "";
}
bool weft_request_is_upgrade(const weft_request *r)
{
    return r->kind == HTTP_UPGRADE;
}
const char *weft_request_peer(const weft_request *r)
{
    return r->peer;
}

const char *weft_request_header(const weft_request *r, const char *name, size_t index)
{
    return name ? http_head_value(r->head, name, index).p : NULL;
}

bool weft_request_offers(const weft_request *r, const char *subprotocol)
{
    return subprotocol && http_offers_subprotocol(r->head, subprotocol);
}

int weft_request_accept(weft_request *r, const weft_accept *how)
{
    if (!r || (how && how->header_count && !how->headers))
        return WEFT_E_INVAL;
    return request_accept(r, how);
}

int weft_request_respond(weft_request *r, unsigned status, const weft_header *headers, size_t header_count,
                         const void *body, size_t bytes)
{
    if (!r || status < 200 || status > 599 || (header_count && !headers) || (bytes && !body))
        return WEFT_E_INVAL;
    return request_answer(r, headers, header_count, (int)status, body, bytes);
}

bool weft_request_basic_matches(const weft_request *r, const char *user, const char *password)
{
    return user && password && http_basic_matches(r->head, user, password);
}

int weft_request_challenge(weft_request *r, const char *realm)
{
    static const char body[] = "Credentials are needed.\n";
    char value[256];
    weft_header header = {"WWW-Authenticate", value};

    if (!r || !realm || strlen(realm) > sizeof value - 64)
        return WEFT_E_INVAL;
    for (const char *p = realm; *p; p++)
        if (*p < 32 || *p > 126 || *p == '"' || *p == '\\')
            return WEFT_E_INVAL;
    snprintf(value, sizeof value, "Basic realm=\"%s\", charset=\"UTF-8\"", realm);
    return request_answer(r, &header, 1, 401, body, sizeof body - 1);
}
