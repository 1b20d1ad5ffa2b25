/* permessage-deflate of a weft_proto, which shares nothing with other connections: a compressor and an inflater of its
 * own, made with the first message that needs them, and kept only for what refers to earlier messages. */
#ifndef WEFT_API_PROTO_DEFLATE_H
#define WEFT_API_PROTO_DEFLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/msg.h"
#include "proto/deflate.h"
#include "proto/extension.h"
#include "weft/compression.h"

struct proto_deflate {
    weft_compression opts;          /* no zero stands for a default any more, but the level's */
    struct extension_policy policy; /* what is offered or accepted */
    struct deflate_params params;   /* once is_agreed */
    bool is_agreed;
    struct deflater *out; /* NULL: nothing is remembered */
    struct inflater *in;
};

/* WEFT_OK, WEFT_E_INVAL (the log says which option). All zero is one that neither offers nor accepts. */
int proto_deflate_init(struct proto_deflate *d, const weft_compression *opts);
void proto_deflate_fini(struct proto_deflate *d);

/* The compressed form of m; NULL when m is to be sent as it is. It has to be sent, or proto_deflate_forget called. */
weft_msg *proto_deflate_out(struct proto_deflate *d, const weft_msg *m);
/* The peer will not see what was compressed last. */
void proto_deflate_forget(struct proto_deflate *d);

/* As inflater_message: behind a failure the connection is over. */
int proto_deflate_in(struct proto_deflate *d, const weft_msg *m, size_t bytes_max, weft_msg **out);

#endif
