/* The slots of a Redis Cluster: which one a key is in, and what a node says about where it went. It knows no
 * connection. */
#ifndef WEFT_API_BUS_SLOTS_H
#define WEFT_API_BUS_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOTS               16384
#define SLOT_HOST_BYTES_MAX 255
#define SLOT_HOST_UNNAMED   "?"

/* CRC-16/XMODEM: polynomial 0x1021, beginning with 0. */
uint16_t slots_crc16(const void *bytes, size_t count);
/* Of a key, or of the tag in it: what stands between the first '{' and the next '}', unless that is
 * nothing. */
uint16_t slots_of_key(const char *key, size_t bytes);
/* Numbers whose decimal digits, as a tag, are in the slot of their index. tags has room for SLOTS. */
void slots_make_tags(uint32_t *tags);

/* What an error means for who sent the command. */
enum slots_refusal {
    REFUSED_FOR_GOOD,
    REFUSED_FOR_NOW,      /* it would be taken later */
    REFUSED_WHILE_MOVING, /* the same, and soon: its slot's keys are on their way */
    REFUSED_HERE,         /* by this connection, or by what the server has become */
    REFUSED_BY_CLUSTER,   /* its slot is nobody's for now */
    REFUSED_ELSEWHERE,    /* the slot is at another node, and it does not say at which */
    REFUSED_MOVED,        /* the slot is at another node */
    REFUSED_ASK           /* this once it is for another node */
};

struct slots_reply {
    enum slots_refusal what;
    uint16_t slot, port;                /* MOVED and ASK */
    char host[SLOT_HOST_BYTES_MAX + 1]; /* "": the one that answered; SLOT_HOST_UNNAMED: it has none */
};

/* error: a reply's text. What looks like a redirection and is none is REFUSED_FOR_GOOD. */
void slots_read_error(struct slots_reply *out, const char *error);
/* As an answer to CLUSTER SLOTS: the command is not known there, switched off or not permitted. */
bool slots_means_no_cluster(const char *error);

#endif
