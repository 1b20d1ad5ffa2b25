/* Judges the heads of the opening handshake, for both sides. */
#include "proto/handshake.h"

#include "proto/digest.h"
#include "proto/field.h"
#include "weft/error.h"

#include <string.h>

static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

static int refuse(struct http_head *h, int status, const char *reason)
{
    http_head_refuse(h, status, WEFT_E_REFUSED, reason);
    return HTTP_REFUSED;
}

static int lists_token(const struct http_head *h, const char *name, const char *token)
{
    struct http_list list;

    http_list_of_fields(&list, h, name);
    return http_list_has_token(&list, token);
}

static int lists_protocol(const struct http_head *h, const char *name, const char *protocol)
{
    struct http_list list;

    http_list_of_fields(&list, h, name);
    return http_list_has_protocol(&list, protocol);
}

/* ---- what a server checks ---- */

/* The version comes before the key: drafts of old had other keys, and 426 tells them what is wrong. */
static int check_version(struct http_head *h)
{
    if (http_head_fields(h, "Sec-WebSocket-Version") > 1)
        return refuse(h, 400, "more than one Sec-WebSocket-Version");
    if (!http_equal(http_head_value(h, "Sec-WebSocket-Version", 0), http_text_of("13")))
        return refuse(h, 426, "only version 13 of the WebSocket protocol is served");
    return HTTP_UPGRADE;
}

static bool is_key(struct http_text key)
{
    uint8_t octets[HTTP_KEY_BYTES];
    size_t n;

    return key.n == HTTP_KEY_CHARS && digest_base64_decode(key.p, key.n, octets, sizeof octets, &n) &&
           n == HTTP_KEY_BYTES;
}

static int check_key(struct http_head *h)
{
    size_t count = http_head_fields(h, "Sec-WebSocket-Key");

    if (count != 1)
        return refuse(h, 400, count ? "more than one Sec-WebSocket-Key" : "Sec-WebSocket-Key is missing");
    if (!is_key(http_head_value(h, "Sec-WebSocket-Key", 0)))
        return refuse(h, 400, "Sec-WebSocket-Key is not Base64 of 16 octets");
    return HTTP_UPGRADE;
}

static bool contains(const struct http_text *texts, size_t count, struct http_text wanted)
{
    for (size_t i = 0; i < count; i++)
        if (http_equal(texts[i], wanted))
            return true;
    return false;
}

/* Comparing each with each is bounded by HTTP_SUBPROTOCOLS_MAX. */
static int check_subprotocols(struct http_head *h)
{
    struct http_text seen[HTTP_SUBPROTOCOLS_MAX], token;
    size_t count = 0;
    struct http_list list;
    int rc;

    http_list_of_fields(&list, h, "Sec-WebSocket-Protocol");
    while ((rc = http_list_token(&list, &token)) == 1) {
        if (contains(seen, count, token))
            return refuse(h, 400, "a subprotocol is offered twice");
        if (count == HTTP_SUBPROTOCOLS_MAX)
            return refuse(h, 400, "too many subprotocols");
        seen[count++] = token;
    }
    if (rc < 0 || (count == 0 && http_head_fields(h, "Sec-WebSocket-Protocol") > 0))
        return refuse(h, 400, "malformed Sec-WebSocket-Protocol");
    return HTTP_UPGRADE;
}

static int check_extensions(struct http_head *h)
{
    struct http_extension extension;
    struct http_list list;
    size_t count = 0;
    int rc;

    http_list_of_fields(&list, h, "Sec-WebSocket-Extensions");
    while ((rc = http_list_extension(&list, &extension)) == 1)
        count++;
    if (rc < 0 || (count == 0 && http_head_fields(h, "Sec-WebSocket-Extensions") > 0))
        return refuse(h, 400, "malformed Sec-WebSocket-Extensions");
    return HTTP_UPGRADE;
}

static int check_connection(struct http_head *h)
{
    int has = lists_token(h, "Connection", "upgrade");

    if (has == 1)
        return HTTP_UPGRADE;
    return refuse(h, 400, has < 0 ? "malformed Connection" : "Connection does not say Upgrade");
}

int http_check_upgrade(struct http_head *h)
{
    static int (*const checks[])(struct http_head *) = {check_connection, check_version, check_key,
                                                        check_subprotocols, check_extensions};
    int asks = lists_protocol(h, "Upgrade", "websocket");

    if (asks < 0)
        return refuse(h, 400, "malformed Upgrade");
    if (asks == 0)
        return HTTP_PLAIN;
    if (http_head_is_head(h))
        return refuse(h, 405, "the method of an opening handshake is GET");
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        if (checks[i](h) != HTTP_UPGRADE)
            return HTTP_REFUSED;
    h->status = 101;
    return HTTP_UPGRADE;
}

bool http_offers_subprotocol(const struct http_head *h, const char *subprotocol)
{
    struct http_list list;
    struct http_text token;

    http_list_of_fields(&list, h, "Sec-WebSocket-Protocol");
    while (http_list_token(&list, &token) == 1)
        if (http_equal(token, http_text_of(subprotocol)))
            return true;
    return false;
}

void http_accept_value(const char *key, char out[HTTP_ACCEPT_CHARS + 1])
{
    uint8_t text[HTTP_KEY_CHARS + sizeof guid - 1], hash[DIGEST_SHA1_BYTES];

    memcpy(text, key, HTTP_KEY_CHARS);
    memcpy(text + HTTP_KEY_CHARS, guid, sizeof guid - 1);
    digest_sha1(text, sizeof text, hash);
    digest_base64(hash, sizeof hash, out);
}

/* ---- what a client checks ---- */

static int mistrust(struct http_head *h, const char *reason)
{
    return http_head_refuse(h, 0, WEFT_E_PROTOCOL, reason);
}

static int check_accept(struct http_head *h, const struct http_request *r)
{
    char key[HTTP_KEY_CHARS + 1], accept[HTTP_ACCEPT_CHARS + 1];

    digest_base64(r->key, sizeof r->key, key);
    http_accept_value(key, accept);
    if (http_head_fields(h, "Sec-WebSocket-Accept") != 1 ||
        !http_equal(http_head_value(h, "Sec-WebSocket-Accept", 0), http_text_of(accept)))
        return mistrust(h, "Sec-WebSocket-Accept does not answer the key");
    return WEFT_OK;
}

static int check_switch(struct http_head *h, const struct http_request *r)
{
    (void)r;
    if (http_head_fields(h, "Upgrade") != 1 ||
        !http_equal_nocase(http_head_value(h, "Upgrade", 0), http_text_of("websocket")))
        return mistrust(h, "Upgrade does not say websocket");
    if (lists_token(h, "Connection", "upgrade") != 1)
        return mistrust(h, "Connection does not say Upgrade");
    if (http_head_fields(h, "Transfer-Encoding") > 0 || http_head_fields(h, "Content-Length") > 0)
        return mistrust(h, "a 101 response with a body");
    return WEFT_OK;
}

static int check_chosen_subprotocol(struct http_head *h, const struct http_request *r)
{
    struct http_text chosen = http_head_value(h, "Sec-WebSocket-Protocol", 0);

    if (!chosen.p)
        return WEFT_OK;
    if (http_head_fields(h, "Sec-WebSocket-Protocol") > 1)
        return mistrust(h, "more than one Sec-WebSocket-Protocol");
    for (size_t i = 0; i < r->subprotocol_count; i++)
        if (http_equal(chosen, http_text_of(r->subprotocols[i])))
            return WEFT_OK;
    return mistrust(h, "a subprotocol that was not offered");
}

static bool offers_extension(const struct http_request *r, struct http_text name)
{
    struct http_extension offer;
    struct http_list list;

    http_list_of_text(&list, http_text_of(r->extensions));
    while (http_list_extension(&list, &offer) == 1)
        if (http_equal_nocase(offer.name, name))
            return true;
    return false;
}

static int check_chosen_extensions(struct http_head *h, const struct http_request *r)
{
    struct http_extension chosen;
    struct http_list list;
    int rc;

    if (http_head_fields(h, "Sec-WebSocket-Extensions") > 1)
        return mistrust(h, "more than one Sec-WebSocket-Extensions");
    http_list_of_fields(&list, h, "Sec-WebSocket-Extensions");
    while ((rc = http_list_extension(&list, &chosen)) == 1)
        if (!offers_extension(r, chosen.name))
            return mistrust(h, "an extension that was not offered");
    return rc < 0 ? mistrust(h, "malformed Sec-WebSocket-Extensions") : WEFT_OK;
}

int http_check_response(struct http_head *h, const struct http_request *r)
{
    static int (*const checks[])(struct http_head *, const struct http_request *) = {
        check_switch, check_accept, check_chosen_subprotocol, check_chosen_extensions};

    if (h->status != 101)
        return http_head_refuse(h, 0, WEFT_E_REFUSED, http_status_phrase(h->status));
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
        if (checks[i](h, r) != WEFT_OK)
            return h->error;
    return WEFT_OK;
}

/* ---- who is it ---- */

/* The Base64 text behind "Basic" and its blanks; p is NULL when there is none. */
static struct http_text basic_credentials(const struct http_head *h)
{
    struct http_text value = http_head_value(h, "Authorization", 0);
    static const char scheme[] = "Basic ";
    const size_t n = sizeof scheme - 1;

    if (value.n <= n || http_head_fields(h, "Authorization") != 1 ||
        !http_equal_nocase((struct http_text){value.p, n}, http_text_of(scheme)))
        return (struct http_text){NULL, 0};
    return http_trim((struct http_text){value.p + n, value.n - n});
}

/* Both are compared whatever the first comparison says. */
bool http_basic_matches(const struct http_head *h, const char *user, const char *password)
{
    struct http_text credentials = basic_credentials(h);
    uint8_t given[HTTP_BASIC_BYTES_MAX], *colon;
    size_t n = 0;
    bool equal = false;

    if (!credentials.p)
        return false;
    if (digest_base64_decode(credentials.p, credentials.n, given, sizeof given, &n) &&
        (colon = memchr(given, ':', n)) != NULL) {
        equal = digest_secret_equals(given, (size_t)(colon - given), user);
        equal &= digest_secret_equals(colon + 1, (size_t)(given + n - colon - 1), password);
    }
    explicit_bzero(given, sizeof given);
    return equal;
}

bool http_origin_allowed(const struct http_head *h, const char *const *origins, size_t count)
{
    struct http_text origin = http_head_value(h, "Origin", 0);

    if (!origin.p)
        return true;
    if (http_head_fields(h, "Origin") > 1)
        return false;
    for (size_t i = 0; i < count; i++)
        if (http_equal_nocase(origin, http_text_of(origins[i])))
            return true;
    return false;
}
