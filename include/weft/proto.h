/* The protocol alone, for programs with a loop of their own: bytes in, events and bytes out, time as an
 * argument.
 *
 * It performs no I/O, asks no clock and starts no thread. One weft_proto is one connection, from its
 * opening handshake on, in either role; it belongs to one thread at a time.
 *
 *     n = read(fd, buffer, sizeof buffer);
 *     for (p = buffer; n; p += used, n -= used)
 *         switch (weft_proto_feed(c, p, n, &used, now_ms, &ev)) {
 *         case WEFT_PROTO_REQUEST: weft_proto_accept(c, NULL, now_ms); break;
 *         case WEFT_PROTO_MESSAGE: weft_proto_send(c, ev.msg); weft_msg_unref(ev.msg); break;
 *         ...
 *         }
 *     while ((n = weft_proto_output(c, &p)) != 0) { n = write(fd, p, n); weft_proto_written(c, n); }
 *     if (weft_proto_is_over(c)) close(fd);
 *
 * Pings are answered, Close frames are answered, and the peer's faults are answered with a Close: all of
 * that only appears in the output. Messages are compressed where both ends want it, as weft/compression.h
 * says, and given inflated. Source: RFC 6455, RFC 7692 */
#ifndef WEFT_PROTO_PUBLIC_H
#define WEFT_PROTO_PUBLIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/compression.h"
#include "weft/error.h"
#include "weft/msg.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_proto weft_proto;

enum weft_proto_role { WEFT_PROTO_SERVER, WEFT_PROTO_CLIENT };

/* Zero in a field means the default. */
typedef struct weft_proto_opts {
    size_t size; /* sizeof(weft_proto_opts) of the program */
    enum weft_proto_role role;
    bool is_open;               /* the opening handshake was made elsewhere */
    uint64_t message_bytes_max; /* default 1 MiB, at most 1 GiB; of what is inflated, too */
    uint32_t fragments_max;     /* default 1024 + message_bytes_max / 16 */
    uint32_t open_timeout_ms;   /* default 10,000 */
    uint32_t ping_interval_ms;  /* default 20,000; UINT32_MAX: no pings */
    uint32_t ping_timeout_ms;   /* default 20,000 */
    uint32_t close_timeout_ms;  /* default 10,000 */
    uint32_t head_bytes_max;    /* default 8 KiB */
    uint32_t headers_max;       /* default 64 */
    uint32_t output_bytes_max;  /* sends answer WEFT_E_AGAIN above it; default 1 MiB */
    /* Random bytes for masks and the key of a client; NULL: the system's. Returns 0 on success. */
    int (*random)(void *out, size_t bytes, void *arg);
    void *random_arg;
    /* Client, borrowed during weft_proto_new: where to and what for. */
    const char *host;                /* "example.org", "127.0.0.1", "::1" */
    uint16_t port;                   /* 0: the scheme's, which Host does not name */
    const char *target;              /* path and query; default "/" */
    const char *origin;              /* NULL: none is sent */
    const char *const *subprotocols; /* in order of preference */
    size_t subprotocol_count;
    weft_compression compression; /* negotiated in the handshake, so there is none with is_open. Each connection has
                                     its own memory: memory_bytes_max is refused */
} weft_proto_opts;

enum weft_proto_event_kind {
    WEFT_PROTO_NONE,    /* all bytes used, nothing to report */
    WEFT_PROTO_REQUEST, /* server: a valid opening handshake; accept or reject it before feeding on */
    WEFT_PROTO_OPEN,    /* client: the server accepted */
    WEFT_PROTO_MESSAGE, /* msg is given */
    WEFT_PROTO_PING,    /* its Pong is in the output already */
    WEFT_PROTO_PONG,
    WEFT_PROTO_CLOSE, /* the peer's Close */
    WEFT_PROTO_FAIL   /* over: the handshake was refused, the peer broke the protocol, or a deadline passed */
};

typedef struct weft_proto_event {
    weft_msg *msg;
    int error;         /* FAIL: why */
    uint16_t code;     /* CLOSE: 1005 for none. FAIL: the Close code that is sent, or the HTTP status of a refusal */
    const char *text;  /* CLOSE, FAIL: the reason; PING, PONG: the payload. Valid until the next call */
    size_t text_bytes;
} weft_proto_event;

/* Make a connection; a client's request is in the output at once.
 *
 * Returns  WEFT_OK, WEFT_E_INVAL, WEFT_E_NOMEM, WEFT_E_SYSTEM (no random bytes)
 * Since    0.1 */
WEFT_API int weft_proto_new(weft_proto **out, const weft_proto_opts *opts, uint64_t now_ms);
WEFT_API void weft_proto_free(weft_proto *p); /* NULL is allowed */

/* Take received bytes, up to the first event.
 *
 * data     borrowed
 * used     set to how many were taken; feed the rest again
 * Returns  what happened, told in ev */
WEFT_API enum weft_proto_event_kind weft_proto_feed(weft_proto *p, const void *data, size_t bytes, size_t *used,
                                                    uint64_t now_ms, weft_proto_event *ev);

/* Server: decide the request. WEFT_OK, WEFT_E_STATE, WEFT_E_INVAL (not offered), WEFT_E_NOMEM. */
WEFT_API int weft_proto_accept(weft_proto *p, const char *subprotocol, uint64_t now_ms);
WEFT_API int weft_proto_reject(weft_proto *p, unsigned status);
/* The peer's request (server) or response (client); NULL when there is none. Valid until the next feed
 * behind the handshake. */
WEFT_API const char *weft_proto_header(const weft_proto *p, const char *name, size_t index);
WEFT_API const char *weft_proto_path(const weft_proto *p);

/* Put frames into the output. m is borrowed: its bytes are copied, or compressed unless weft_msg_set_plain says no.
 * WEFT_OK, WEFT_E_CLOSED, WEFT_E_AGAIN,
 * WEFT_E_INVAL, WEFT_E_NOMEM, WEFT_E_SYSTEM (no random bytes for a mask). */
WEFT_API int weft_proto_send(weft_proto *p, const weft_msg *m);
WEFT_API int weft_proto_ping(weft_proto *p, const void *data, size_t bytes);
WEFT_API int weft_proto_close(weft_proto *p, uint16_t code, const char *reason, uint64_t now_ms);

/* Bytes to be written to the peer: returns how many stand at *data, 0 for none. written takes them off. */
WEFT_API size_t weft_proto_output(const weft_proto *p, const void **data);
WEFT_API void weft_proto_written(weft_proto *p, size_t bytes);

/* Call at the deadline (UINT64_MAX: never): sends Pings, and answers FAIL when a deadline of the peer has
 * passed. */
WEFT_API enum weft_proto_event_kind weft_proto_tick(weft_proto *p, uint64_t now_ms, weft_proto_event *ev);
WEFT_API uint64_t weft_proto_deadline_ms(const weft_proto *p);

/* Nothing more is to be received: write the output, then end the connection. */
WEFT_API bool weft_proto_is_over(const weft_proto *p);

#ifdef __cplusplus
}
#endif

#endif
