/* A client: sessions that follow each other, made by the thread that asks for the next one, or by a thread
 * of the client's own (sessions_start).
 *
 * K1  One thread at a time makes sessions: `making` says that one does, and `maker` which. It is changed
 *     under the lock; who stops waits for its 0.
 * K2  `session` is the last connection that was made, with a reference; the thread that makes sessions sets
 *     it, the one that stops closes it; both under the lock.
 * K3  Stopping is final: `is_stopping` goes to true once, under the lock, and cancel_fd becomes readable
 *     with it. A thread that then comes back with a connection closes it, and leaves it as the session for
 *     the one that stops. So behind the end of `making` no session is made, and then the endpoint's count
 *     says when all callbacks are over.
 * K4  Handles and the client's own thread count apart: with the last handle the attempts end, and the
 *     memory goes when the thread has gone too.
 * K5  A session begins when the last callback of the one before it has returned.
 *
 *   making          store 0: release (MAKING); sessions_stop: acquire (MAKING)
 *   handles, refs   decrement: acq_rel (CLIENT_LAST) */
#ifndef WEFT_CORE_SESSIONS_H
#define WEFT_CORE_SESSIONS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/client_how.h"
#include "core/endpoint.h"
#include "core/failure.h"

struct weft_conn;

struct weft_client {
    struct client_how how; /* (c) */
    struct endpoint *ep;   /* (c) */
    int cancel_fd;         /* (c) */
    pthread_mutex_t lock;
    bool is_stopping, is_dropped, is_started, is_joined, was_asked; /* under the lock */
    struct weft_conn *session;                                      /* K2 */
    pthread_t thread;                                               /* while is_started and not is_joined */
    pthread_t maker;                                                /* under the lock, while making */
    _Atomic uint32_t making;                                        /* K1 */
    /* Of the thread that makes sessions. */
    uint32_t failures;      /* in a row */
    uint64_t not_before_ms; /* the next attempt */
    struct weft_failure *failure;
    _Atomic uint32_t handles, refs; /* K4 */
};

/* e: running; a reference is taken. */
int sessions_new(struct weft_client **out, struct engine *e, const char *url, const weft_client_opts *opts,
               const struct engine_hooks *hooks);
struct weft_client *sessions_ref(struct weft_client *client);
void sessions_unref(struct weft_client *client);

/* The functions of weft/client.h. sessions_connect: one session, which no longer belongs to the client. */
int sessions_connect(struct weft_client *client, struct weft_conn **out);
int sessions_next(struct weft_client *client, struct weft_conn **out, uint32_t timeout_ms);
int sessions_start(struct weft_client *client);
int sessions_stop(struct weft_client *client, uint32_t deadline_ms);

#endif
