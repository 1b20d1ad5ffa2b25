/* Negotiating permessage-deflate: the offers of a client, the choice of a server, and what a client makes of
 * the answer.
 *
 * An offer that is wrong in itself, or asks for what cannot be had, is declined and the next one looked at;
 * only a list that breaks the grammar of RFC 6455 section 9.1 is an error. A response that is wrong fails the
 * connection.
 *
 * zlib cannot make raw deflate with a window of 2^8. A server declines an offer that demands it; a client
 * that is told to keep to it (which a server may ask for) sends all its messages plain, which is always
 * allowed.
 *
 * Source: RFC 7692 sections 5 and 7.1 */
#ifndef WEFT_PROTO_EXTENSION_H
#define WEFT_PROTO_EXTENSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/deflate.h"
#include "proto/field.h"

/* Room for an offer or a response that is composed here, and its NUL. */
#define EXTENSION_BYTES_MAX 160

#define EXTENSION_WINDOW_BITS_DEFAULT 12

/* What our side wants. out: what we compress; in: what the peer does. */
struct extension_policy {
    bool is_enabled;
    uint8_t out_window_bits; /* at most; 9 to 15 */
    uint8_t in_window_bits;  /* at most, where the peer can be told; 8 to 15 */
    bool out_takeover;       /* may be kept from message to message */
    bool in_takeover;
    bool memory_is_short; /* no takeover for a new connection, in either direction */
};

/* What a program gets that asks for nothing: windows of 12, takeover on both sides. */
struct extension_policy extension_policy_default(void);

/* Server: the first offer that can be accepted.
 *
 * offers   Sec-WebSocket-Extensions of the request; read up to what is chosen
 * out      set to what was agreed when the result is 1
 * value    set to the value of the response's Sec-WebSocket-Extensions, then
 * Returns  1; 0 when there is none to accept, and the response has no such field; -1 when the list breaks the
 *          grammar, which is answered with 400 */
int extension_choose(struct http_list *offers, const struct extension_policy *policy,
                     struct deflate_params *out, char value[EXTENSION_BYTES_MAX]);

/* Client: what the request's Sec-WebSocket-Extensions says; empty when the policy says off. */
void extension_offer(const struct extension_policy *policy, char value[EXTENSION_BYTES_MAX]);

/* Client: the answer to that offer, made under the same policy.
 *
 * chosen   Sec-WebSocket-Extensions of the response
 * out      set when the result is 1
 * Returns  1; 0 when the server wants none; -1 when the connection must be failed, and *fault says why
 * Source   RFC 7692 section 7.1: a parameter that is unknown, repeated, malformed, larger than asked for, not
 *          allowed without having been offered, or left out though it was asked for */
int extension_check(struct http_list *chosen, const struct extension_policy *policy,
                    struct deflate_params *out, const char **fault);

#endif
