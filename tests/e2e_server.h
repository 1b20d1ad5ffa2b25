/* What every end-to-end test needs: a server in this process, in all its modes, whose callbacks are watched.
 *
 * A case is written once and runs in pool mode and inline mode, with one and with two I/O threads:
 *     ALL_MODES(close_comes_last) { ... CU_ASSERT(e2e_start(t)); ... }
 * POOL_MODES is for cases whose handlers block. t is made anew for each mode; behind the case the server is
 * stopped, and then no block of the library may be left.
 *
 * Behind every case stand the promises that hold always, checked in each callback of the server: open first,
 * close last and exactly once, never two callbacks of one connection at the same time. What goes wrong in a
 * callback is noted by e2e_fault, which any thread may call, and fails the case at its end: CUnit's own
 * assertions belong to the thread that runs the case. */
#ifndef WEFT_TESTS_E2E_SERVER_H
#define WEFT_TESTS_E2E_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "e2e_client.h"
#include "unit.h"
#include "weft/weft.h"

#define E2E_CONNS_MAX 8192

struct e2e_mode {
    const char *name;
    bool is_inline;
    unsigned io_threads;
};

/* What is known of one connection; lives as long as the case. */
struct seen {
    struct e2e *t;
    weft_conn *conn; /* under t->lock; NULL once on_close has begun */
    uint64_t id;
    atomic_bool in_callback;
    _Atomic unsigned opened, messages, drains, closed;
    weft_close_info info; /* set before closed is 1 */
    char reason[128];
    _Atomic uint64_t number; /* the case's own */
};

/* Handlers wait here until the case opens it. */
struct gate {
    _Atomic uint32_t is_open;
    _Atomic unsigned waiting;
};

struct e2e {
    struct gate gate; /* outlives the handlers that wait in it, as a case's own frame does not */
    const struct e2e_mode *mode;
    weft_server_opts opts; /* filled in by the case before e2e_start, which sets app and callbacks */
    weft_server *server;
    uint16_t port;
    int socket_bytes; /* kept by the system for each socket of the server; small: soon full; 0: as usual */

    /* The case's own callbacks, called inside the watched ones; without on_message each message is sent
     * back. */
    void (*on_request)(weft_request *r, struct e2e *t);
    void (*on_open)(weft_conn *c, struct seen *s);
    void (*on_message)(weft_conn *c, weft_msg *m, struct seen *s);
    void (*on_drain)(weft_conn *c, struct seen *s);
    void (*on_close)(weft_conn *c, const weft_close_info *info, struct seen *s);
    int (*handler)(weft_conn *c, struct seen *s); /* instead of on_message; no other callback while it runs */
    bool is_concurrent; /* handler_concurrency lets on_message run several times at once */
    void *arg; /* the case's own */

    _Atomic unsigned requests, opened, messages, drains, closed;
    _Atomic unsigned faults;
    char fault[256]; /* the first one */
    pthread_mutex_t lock;
    struct seen *seen[E2E_CONNS_MAX]; /* in the order in which on_open began */
    _Atomic unsigned seen_count;
};

/* weft_server_new, a free port of 127.0.0.1, start. The parts are for cases that do something in between. */
bool e2e_start(struct e2e *t);
bool e2e_new(struct e2e *t);
/* Stop with this deadline and give the server back. */
void e2e_stop(struct e2e *t, uint32_t deadline_ms);
weft_stats e2e_stats(const struct e2e *t);
/* Open a client's connection and wait until its on_open is over; so the n-th of them is t->seen[n]. */
bool e2e_open(struct e2e *t, struct client *k);
/* A reference of the n-th opened connection, waited for; NULL once it is closed. */
weft_conn *e2e_take(struct e2e *t, unsigned n);
void e2e_fault(struct e2e *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct seen *e2e_seen(const weft_conn *c);

bool gate_pass(struct gate *g); /* false: nobody opened it in time */
void gate_open(struct gate *g);

uint64_t e2e_now_us(void);
bool e2e_is_past(uint64_t *until_us); /* a short pause; true: the patience is over */
/* True when the condition has come true, within a time that is ample. */
#define COMES_TRUE(condition)                                                                                \
    ({                                                                                                       \
        uint64_t until_us_ = 0;                                                                              \
        bool came_;                                                                                          \
        while (!(came_ = (condition)) && !e2e_is_past(&until_us_)) {                                         \
        }                                                                                                    \
        came_;                                                                                               \
    })
#define WAIT_FOR(condition) CU_ASSERT(COMES_TRUE(condition))
/* For what has to be shown within a time that is the library's own, or that nobody would wait for longer: a stall of the
 * machine spoils an attempt now and then, a fault of the library all of them. */
#define SUCCEEDS_ONCE(attempt)                                                                               \
    do {                                                                                                     \
        bool good_ = false;                                                                                  \
        for (int i_ = 0; i_ < 3 && !good_; i_++)                                                             \
            good_ = (attempt);                                                                               \
        CU_ASSERT(good_);                                                                                    \
    } while (0)
/* Write more and more of [bytes, n) until the condition has come true, however slowly it is read; gone counts. */
#define PUT_UNTIL(k, bytes, n, gone, condition)                                                              \
    WAIT_FOR(((gone) += client_put_until_full(k, (bytes) + (gone), (n) - (gone), 1), (condition)))
/* A stop that has to succeed. A thread that was kept off its processor for a second looks like a callback that does not
 * return: WEFT_E_TIMEOUT, and who is told so calls again. */
#define STOPS(stop) WAIT_FOR((stop) == WEFT_OK)

void e2e_in_modes(const char *name, void (*body)(struct e2e *t), bool with_inline);
#define MODES_(name, with_inline)                                                                            \
    static void name##_body(struct e2e *t);                                                                  \
    static void name(void)                                                                                   \
    {                                                                                                        \
        e2e_in_modes(#name, name##_body, with_inline);                                                       \
    }                                                                                                        \
    static void name##_body(struct e2e *t)
#define ALL_MODES(name)  MODES_(name, true)
#define POOL_MODES(name) MODES_(name, false)
#define E2E_MAIN(suite)                                                                                      \
    int main(int argc, char **argv)                                                                          \
    {                                                                                                        \
        return unit_main(argc, argv, suite, cases, sizeof cases / sizeof cases[0]);                          \
    }

/* Make a text message; aborts without memory. */
weft_msg *e2e_text(const char *text);
weft_msg *e2e_bytes(size_t bytes, int fill);
/* Send and forget: for cases in which a closed connection is no fault. */
int e2e_send(weft_conn *c, weft_msg *m);

#endif
