/* A connection to Redis: commands out, replies in (RESP2), over a plain socket or TLS. It knows no bus.
 *
 * Opening waits, bounded by a limit; everything else never does. The socket is level-polled by the owner.
 * Replies are parsed by hiredis' reader and by nothing else of it, which bounds how deep they are; their bytes
 * and items are bounded here. */
#ifndef WEFT_API_BUS_RESP_H
#define WEFT_API_BUS_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/bus_url.h"
#include "io/await.h"
#include "io/tls.h"

struct redisReader;
struct resp_bounds;
struct resp; /* one reply */

#define RESP_WHY_BYTES 160
#define RESP_REPLY_BYTES_MAX                                                                                 \
    (320u << 20)                  /* the largest message of any bus (bus_options.c), and a page before it */
#define RESP_ITEMS_MAX (1u << 20) /* of a reply, in all its arrays: as many names may be in a topic */

struct resp_link {
    int fd; /* -1: closed */
    struct tls *tls;
    struct tls_scratch *scratch; /* the owner's */
    struct redisReader *reader;
    struct resp_bounds *bounds; /* the reader's */
    size_t unparsed;            /* bytes that were read since the last whole reply */
    char *in;                   /* for one read */
    char *out;                  /* to be sent: [out_at, out_bytes) */
    size_t out_at, out_bytes, out_room;
    bool may_have_more; /* the last read did not find the socket empty */
    bool has_failed;    /* no memory for a command: what follows would be out of step */
};

enum resp_kind { RESP_NIL, RESP_TEXT, RESP_ERROR, RESP_INTEGER, RESP_ARRAY };

void resp_init(struct resp_link *l);
/* Connect, and shake hands when tls is given.
 *
 * why      of RESP_WHY_BYTES: a sentence on failure, without credentials
 * Returns  WEFT_OK, or a negative result: nothing is open then */
int resp_open(struct resp_link *l, const char *host, uint16_t port, const char *path, struct tls_context *tls,
              bool checks_name, struct tls_scratch *scratch, const struct await_limit *limit, char *why);
void resp_close(struct resp_link *l);

/* One command: its count of arguments, then each. A failure of memory is kept in has_failed. */
void resp_command(struct resp_link *l, unsigned count);
void resp_arg(struct resp_link *l, const void *p, size_t bytes);
void resp_arg_text(struct resp_link *l, const char *text);
void resp_arg_number(struct resp_link *l, uint64_t n);
/* An argument in pieces: its length, then the pieces, then its end. */
void resp_arg_begin(struct resp_link *l, size_t bytes);
void resp_piece(struct resp_link *l, const void *p, size_t bytes);
void resp_arg_end(struct resp_link *l);

/* Send what the socket takes. WEFT_OK (resp_has_output tells whether something is left), or WEFT_E_CLOSED. */
int resp_flush(struct resp_link *l);
bool resp_has_output(const struct resp_link *l);
size_t resp_output_bytes(const struct resp_link *l);

/* Read once. WEFT_OK: there was something, look for replies and read again while may_have_more;
 * WEFT_E_AGAIN; WEFT_E_TOO_BIG: a reply larger than it may be; else it is over. */
int resp_read(struct resp_link *l);
/* The next reply, to be freed. WEFT_OK, WEFT_E_AGAIN (none yet), WEFT_E_TOO_BIG, WEFT_E_PROTOCOL,
 * WEFT_E_NOMEM. */
int resp_next(struct resp_link *l, struct resp **out);
void resp_free(struct resp *r);

enum resp_kind resp_kind(const struct resp *r);
const char *resp_text(const struct resp *r,
                      size_t *bytes);       /* of text and errors; "" for others; ends with NUL */
int64_t resp_integer(const struct resp *r); /* also of text that is a number; else 0 */
size_t resp_count(const struct resp *r);    /* of an array; 0 for others */
const struct resp *resp_item(const struct resp *r, size_t i);

#endif
