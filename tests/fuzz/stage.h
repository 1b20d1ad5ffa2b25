/* A server, and clients on its thread, without sockets and without a clock: a script in their place.
 *
 * The stage gives the functions of io/link.h and base/clock.h, so that the linker leaves the library's out, and
 * takes epoll_ctl and epoll_wait, so that the library's own loop runs on it, in inline mode, on the calling
 * thread. Whenever the loop waits the script goes one step on: it lets bytes come, ends, resets, opens and
 * closes the room for writing, or lets time pass. Nothing else makes time pass.
 *
 * What the stage sees to by itself
 *   - a link is read and written only while it is open, and closed exactly once;
 *   - the loop does not spin: without an event it may come back at once only so often. */
#ifndef WEFT_TESTS_STAGE_H
#define WEFT_TESTS_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weft/client.h"
#include "weft/server.h"

#define STAGE_SOCKETS_MAX 8

struct opening;

struct stage_socket {
    void *owner; /* what the loop was told to call; NULL: not in the loop */
    bool is_open;
    bool is_client;          /* our end is */
    struct opening *opening; /* of a client: what becomes of its handshake; a reference */
    bool has_end, is_reset;
    bool is_new;      /* in the loop, and not told yet that it can be written */
    bool fails_again; /* the next read finds nothing, whatever is there */
    unsigned pending; /* epoll events that are not reported yet */
    uint8_t *in;      /* what the peer has sent and nobody has read */
    size_t in_bytes, in_at;
    uint8_t *out; /* all that was written */
    size_t out_bytes;
    size_t room; /* for writing, bytes */
    size_t held; /* bytes that the peer has not acknowledged */
};

struct engine_hooks;
struct http_request;

/* One step of the script. False: it is over, and the server is stopped. */
typedef bool stage_step_fn(void *arg);

extern struct stage_socket stage_sockets[STAGE_SOCKETS_MAX];

/* Make a server, run the script, close all, run what is due until all are gone, and free it.
 *
 * Returns WEFT_OK, or why there is no server */
int stage_run(const weft_server_opts *opts, const struct engine_hooks *hooks, stage_step_fn *step, void *arg);

/* In a step. A connection comes: its place, or -1 when there is none. */
int stage_arrive(void);
/* A connection is made, all of them by one client: the first one's options hold. As stage_arrive. */
int stage_connect(const weft_client_opts *opts, const struct http_request *request);
void stage_send(struct stage_socket *s, const void *p, size_t n);
void stage_end(struct stage_socket *s);
void stage_reset(struct stage_socket *s);
void stage_give_room(struct stage_socket *s, size_t n); /* 0: it is full */
void stage_let_pass(uint64_t ms);
void stage_close_all(void); /* as when the server stops, but the script goes on */
uint64_t stage_now_ms(void);

/* After it: what is left is freed. */
void stage_clear(void);

#endif
