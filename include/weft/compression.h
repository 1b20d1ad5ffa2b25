/* Compression of messages: permessage-deflate, on by default on both sides.
 *
 * Each side compresses with a window of its own, and may refer to its earlier messages ("takeover"), which
 * makes similar messages about a third smaller still and costs memory for each connection, from its first
 * compressed messages on: a window for each direction, 8 KiB with the defaults. With a level, in a build without
 * ISA-L, and with windows of more than 14 bits it is a compressor of zlib's, 43 KB at level 2.
 *
 * What both peers know of it is agreed in the opening handshake, so a message may go plain at any time: short
 * ones do, those marked by weft_msg_set_plain, those sent in parts, and those that do not get smaller. A
 * broadcast is compressed once for all members with the same window, and neither refers to earlier messages nor
 * do later ones refer across it.
 *
 * message_bytes_max counts what a message has behind inflating, and ends the inflating. With receive_parts a
 * message is inflated as the program takes its parts, and never further. Secrets and text that a stranger
 * chooses must not share a compressor, for the length then tells of the secret: send one of them plain.
 *
 * Source: RFC 7692 */
#ifndef WEFT_COMPRESSION_H
#define WEFT_COMPRESSION_H

#include <stdbool.h>
#include <stdint.h>

/* Zero in a field means the default. */
typedef struct weft_compression {
    bool is_off;              /* neither offered nor accepted */
    bool no_takeover;         /* what this side sends refers to nothing earlier: no memory is kept for it */
    bool peer_no_takeover;    /* the same for what the peer sends, who is told so */
    uint8_t window_bits;      /* of what this side sends: 2^n bytes, 9 to 15; default 12. The peer may ask for less */
    uint8_t peer_window_bits; /* of what the peer sends, where it can be told: 8 to 15; default 12 */

    /* Not in weft_accept. */
    uint8_t level;            /* zlib's, 1 fast to 9 small; default: ISA-L's 1; without ISA-L 2, and 1 without takeover */
    uint8_t mem_level;        /* 1 to 9, memory of each compressor of zlib's; default 5 */
    uint32_t bytes_min;       /* shorter messages go plain; default 64; 1: none does for that */
    uint64_t memory_bytes_max; /* of all contexts together; default 256 MiB. Above it no takeover is agreed with new
                                  connections, and who has no context yet gets none that stays */
} weft_compression;

#endif
