/* How a server behaves (weft/server.h): what it calls, on which threads, and each of its bounds. */
#ifndef WEFT_SERVER_OPTS_H
#define WEFT_SERVER_OPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/compression.h"
#include "weft/conn.h"
#include "weft/msg.h"
#include "weft/request.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What happens to a connection whose outbox is at its hard bound when a broadcast comes. */
enum weft_slow_policy {
    WEFT_SLOW_CLOSE,       /* close with 1008 */
    WEFT_SLOW_DROP_NEWEST, /* it misses this broadcast */
    WEFT_SLOW_DROP_OLDEST  /* it misses the oldest broadcasts still in its outbox */
};

/* Zero in a field means the default. */
typedef struct weft_server_opts {
    size_t size; /* sizeof(weft_server_opts) of the program */

    /* Callbacks; each may be NULL. app is handed to all of them. on_message is given the message: it sends
     * it on, or unrefs it. Without on_request every upgrade is accepted, and plain HTTP is answered with
     * 426. */
    void *app;
    void (*on_request)(weft_request *r, void *app);
    void (*on_open)(weft_conn *c, void *app);
    void (*on_message)(weft_conn *c, weft_msg *m, void *app);
    void (*on_drain)(weft_conn *c, void *app); /* the outbox fell from above its high-water mark to the low one */
    void (*on_close)(weft_conn *c, const weft_close_info *info, void *app);

    /* Straight-line programs, instead of on_message and on_drain: handler runs on a thread of its own for
     * each connection, from on_open until it returns, receives with weft_conn_recv, and may block. The
     * connection closes when it returns: with 1000 on WEFT_OK and WEFT_E_CLOSED, with 1011 on any other
     * result, which is logged. */
    int (*handler)(weft_conn *c, void *app);
    uint32_t handlers_max;        /* running at once; default 1024. Handshakes above it wait their turn within the
                                     open timeout, and are answered with 503 then */
    uint32_t handler_stack_bytes; /* of the threads of handlers and tasks; default 256 KiB, at least 32 KiB */
    uint32_t handler_concurrency; /* messages of one connection that are handled at once; default 1. Above that
                                     on_message runs on several threads, weft_conn_recv may be called by several,
                                     and the order is given up */
    bool receive_parts;           /* with a handler: see weft_conn_recv_part */

    const char *const *origins; /* allowed values of Origin; NULL allows all; requests without one are allowed */
    size_t origin_count;

    /* processors: those that the process may use, or fewer where its control group limits the time on them */
    unsigned io_threads;     /* 1 to 64; default: processors / 4, at least 1 */
    unsigned workers;        /* 1 to 256; default: processors, at least 2 */
    unsigned workers_max;    /* threads while handlers block; default 64, at least workers */
    bool inline_handlers;    /* callbacks on the I/O thread, no workers; then no callback may block */
    bool normal_scheduling;  /* default: the threads run as SCHED_BATCH, so a wake-up does not stop who gave it */

    uint32_t open_timeout_ms;     /* accept to decided opening handshake; default 10,000 */
    uint32_t ping_interval_ms;    /* default 20,000; UINT32_MAX: no pings */
    uint32_t ping_timeout_ms;     /* for the Pong; default 20,000 */
    uint32_t write_timeout_ms;    /* a peer that takes no byte for so long is dropped; default 20,000 */
    uint32_t close_timeout_ms;    /* for the peer's Close and its end of TCP; default 10,000 */

    uint64_t message_bytes_max;   /* default 1 MiB, at most 1 GiB */
    uint32_t fragments_max;       /* of one message; default 1024 + message_bytes_max / 16 */
    uint32_t inbox_high;          /* messages; default 16 */
    uint32_t inbox_low;           /* messages; default inbox_high / 4 */
    uint32_t inbox_bytes_high;    /* payload bytes; default 1 MiB; one message is always let in */
    uint32_t outbox_high_bytes;   /* default 64 KiB */
    uint32_t outbox_low_bytes;    /* default outbox_high_bytes / 4 */
    uint64_t outbox_bytes_max;    /* hard bound; default 1 MiB, at least one message of message_bytes_max beside */
    enum weft_slow_policy slow_policy;

    uint32_t head_bytes_max;      /* request line and headers; default 8 KiB */
    uint32_t headers_max;         /* default 64 */
    uint32_t connections_max;     /* default and most: what RLIMIT_NOFILE allows, at most 1,000,000 */
    uint32_t handshakes_max;      /* in flight at once; default 1024 */
    uint32_t backlog;             /* of listening sockets; default 4096 */

    /* Against single peers; all of them are off by default. An address is an IPv4 address or the first 64
     * bits of an IPv6 one. Unlimited are Unix sockets and the networks named here ("10.0.0.0/8", "::1"): name
     * the reverse proxies in front of the server, behind which everybody has the same address. Who is above
     * gets 429. */
    uint32_t connections_per_address_max; /* at once; 0: no limit */
    uint32_t handshakes_per_second_max;   /* of one address; 0: no limit */
    uint32_t handshakes_burst;            /* so many at once; default handshakes_per_second_max */
    const char *const *unlimited_addresses;
    size_t unlimited_address_count;
    uint32_t messages_per_second_max; /* of one connection, with its Pings and Pongs; above that it is not read,
                                         so TCP slows the peer; 0: no limit */
    uint32_t messages_burst;          /* so many at once; default messages_per_second_max */
    bool refuse_when_full;            /* at connections_max: 503 at once instead of waiting in the backlog */
    uint64_t memory_bytes_max;        /* of all messages and queues of the process (histories of a bus have
                                         a bound of their own), at least 1 MiB. Above that
                                         nothing is read and who comes gets 503; when this does not help soon, the
                                         connections that hold the most are closed with 1013. 0: no limit */

    uint32_t turn_messages_max;   /* of one connection before the next one's turn; default 64 */
    uint32_t turn_us_max;         /* the same in time; default 500 */

    /* By default a thread that has read messages also runs their handlers while these are short, and
     * another one takes over its sockets within a few milliseconds when it is stuck in one. */
    bool separate_io;             /* I/O threads never run handlers, workers always do */
    bool pin_threads;             /* each of the first io_threads + workers threads to a processor of its own, in turn */
    uint32_t spin_us;             /* a worker without work looks for so long before it sleeps, and less where that
                                     does not pay; default: 20 with more than two processors, else none;
                                     UINT32_MAX: none */

    weft_compression compression;
} weft_server_opts;

#ifdef __cplusplus
}
#endif

#endif
