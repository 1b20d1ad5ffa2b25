/* What threads do for TLS beside the connections that there are: they shake hands before the first client
 * comes, serve who is open between the handshakes of many, wait for each other where they share a staple, and
 * leave nothing behind. That is counted, at calls that the linker, or wolfSSL, leads through here. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/io_thread.h"
#include "e2e_server.h"
#include "io/tls_wire.h"
#include "tls_pair.h"

#define CLIENTS 24
#define WORKERS 2

/* --- what the linker leads here --- */

static struct {
    _Atomic unsigned
        warmed; /* threads that shook hands with themselves, all of the handshakes to their end */
    _Atomic unsigned called;  /* handshakes of clients, each time that one goes on */
    _Atomic int plain_fd;     /* of a client that is open; -1: nobody's */
    _Atomic unsigned said_at; /* called, when it last said something */
    _Atomic unsigned said, heard, waited_max;
    _Atomic unsigned accepts, unguarded; /* of connections that may be sent a staple */
} seen_here;
static _Atomic long wolf_blocks; /* that wolfSSL has */

static _Thread_local bool is_warming;
static _Thread_local unsigned finished; /* handshakes while warming */
static _Thread_local struct tls_context *shaking;

int __real_tls_context_warm(struct tls_context *c, char *text, size_t room);
int __wrap_tls_context_warm(struct tls_context *c, char *text, size_t room);
int __real_tls_handshake(struct tls *t, int fd, struct tls_scratch *s);
int __wrap_tls_handshake(struct tls *t, int fd, struct tls_scratch *s);

int __wrap_tls_context_warm(struct tls_context *c, char *text, size_t room)
{
    int rc;

    is_warming = true;
    finished = 0;
    rc = __real_tls_context_warm(c, text, room);
    is_warming = false;
    if (rc == WEFT_OK && finished >= 2 * 2) /* two at least, of two ends */
        atomic_fetch_add(&seen_here.warmed, 1);
    return rc;
}

/* A text frame of one octet; the mask is zero. */
static void say_something(int fd)
{
    static const unsigned char frame[] = {0x81, 0x81, 0, 0, 0, 0, 'x'};

    atomic_store(&seen_here.said_at, atomic_load(&seen_here.called));
    atomic_fetch_add(&seen_here.said, 1);
    if (send(fd, frame, sizeof frame, MSG_NOSIGNAL) != (ssize_t)sizeof frame)
        abort();
}

/* Each takes all that a turn has for handshakes, and while it lasts the open connection says something. */
static void take_the_turn(uint64_t begin_ns)
{
    int fd = atomic_load(&seen_here.plain_fd);

    if (fd >= 0 && atomic_load(&seen_here.said) == atomic_load(&seen_here.heard))
        say_something(fd);
    while (clock_now_ns() < begin_ns + IO_SHAKE_NS_MAX) {
    }
}

int __wrap_tls_handshake(struct tls *t, int fd, struct tls_scratch *s)
{
    bool is_clients = !is_warming && t->context->role == TLS_SERVER;
    uint64_t begin_ns = clock_now_ns();
    int rc;

    if (is_clients)
        atomic_fetch_add(&seen_here.called, 1);
    shaking = t->context;
    rc = __real_tls_handshake(t, fd, s);
    if (is_warming)
        finished += rc == WEFT_OK;
    if (is_clients)
        take_the_turn(begin_ns);
    return rc;
}

int __real_wolfSSL_accept(WOLFSSL *ssl);
int __wrap_wolfSSL_accept(WOLFSSL *ssl);

/* A lock that can be had is held by nobody: no thread but this one shakes hands here then. */
int __wrap_wolfSSL_accept(WOLFSSL *ssl)
{
    if (shaking->has_staple) {
        atomic_fetch_add(&seen_here.accepts, 1);
        if (pthread_mutex_trylock(&shaking->staple_lock) == 0) {
            pthread_mutex_unlock(&shaking->staple_lock);
            atomic_fetch_add(&seen_here.unguarded, 1);
        }
    }
    return __real_wolfSSL_accept(ssl);
}

static void *wolf_alloc(size_t n)
{
    atomic_fetch_add(&wolf_blocks, 1);
    return malloc(n);
}

static void wolf_free(void *p)
{
    atomic_fetch_sub(&wolf_blocks, p != NULL);
    free(p);
}

static void *wolf_realloc(void *p, size_t n)
{
    atomic_fetch_add(&wolf_blocks, p == NULL);
    return realloc(p, n);
}

/* --- warming --- */

static bool begin(struct e2e *t)
{
    struct tls_key_pair pair = key_pair("server");
    weft_tls_opts o = {.size = sizeof o, .cert_file = pair.cert_file, .key_file = pair.key_file};

    memset(&seen_here, 0, sizeof seen_here);
    atomic_store(&seen_here.plain_fd, -1);
    t->opts.workers = WORKERS;
    return e2e_new(t) && weft_server_listen_tls(t->server, "127.0.0.1", 0, (uint16_t *)t->arg, &o) == WEFT_OK;
}

ALL_MODES(threads_have_shaken_hands_before_a_client_comes)
{
    uint16_t port = 0;

    t->arg = &port;
    CU_ASSERT_FATAL(begin(t));
    CU_ASSERT_EQUAL(atomic_load(&seen_here.warmed),
                    1); /* what the certificate is good for is tried at once */
    CU_ASSERT_FATAL(weft_server_start(t->server) == WEFT_OK);
    /* Those that have a loop and those that may come to drive one; then they are all, and no more come. */
    WAIT_FOR(atomic_load(&seen_here.warmed) == 1 + t->mode->io_threads + (t->mode->is_inline ? 0 : WORKERS));
    CU_ASSERT_EQUAL(atomic_load(&seen_here.called), 0);
    e2e_stop(t, 2000);
}

/* --- turns --- */

static int greeted[CLIENTS];

static int connect_to(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* The first message holds the only thread until all the clients are there. */
static void note_wait(weft_conn *c, weft_msg *m, struct seen *s)
{
    unsigned waited;

    (void)c;
    if (weft_msg_bytes(m) > 1 && !gate_pass(&s->t->gate))
        e2e_fault(s->t, "nobody opened the gate");
    if (atomic_load(&seen_here.said) > atomic_load(&seen_here.heard)) {
        waited = atomic_load(&seen_here.called) - atomic_load(&seen_here.said_at);
        if (waited > atomic_load(&seen_here.waited_max))
            atomic_store(&seen_here.waited_max, waited);
        atomic_fetch_add(&seen_here.heard, 1);
    }
    weft_msg_unref(m);
}

/* They said hello; nothing more is to be heard of them. */
static void greet(uint16_t port, struct tls_context *context, struct tls_scratch *scratch)
{
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct tls *client = tls_new(context, "localhost", 0);
        greeted[i] = connect_to(port);
        CU_ASSERT_EQUAL(tls_handshake(client, greeted[i], scratch), WEFT_E_AGAIN);
        tls_free(client);
    }
}

/* Without the bound all of them would shake hands in one turn. */
static void hold_and_count(struct e2e *t)
{
    struct tls_options o = client_options();
    struct tls_context *context = context_of(&o);
    struct tls_scratch *scratch = tls_scratch_new(0, 0);
    uint16_t port = 0;
    struct client k;

    t->arg = &port;
    t->on_message = note_wait;
    CU_ASSERT_FATAL(begin(t) && weft_server_listen_tcp(t->server, NULL, 0, &t->port) == WEFT_OK &&
                    weft_server_start(t->server) == WEFT_OK);
    CU_ASSERT_FATAL(e2e_open(t, &k));
    CU_ASSERT(client_say(&k, "hold"));
    WAIT_FOR(atomic_load(&t->gate.waiting) == 1);
    greet(port, context, scratch);
    atomic_store(&seen_here.plain_fd, k.fd);
    gate_open(&t->gate);
    WAIT_FOR(atomic_load(&seen_here.called) >= CLIENTS);
    atomic_store(&seen_here.plain_fd, -1);
    WAIT_FOR(atomic_load(&seen_here.heard) == atomic_load(&seen_here.said));
    CU_ASSERT(atomic_load(&seen_here.said) >= CLIENTS / 4);
    CU_ASSERT(atomic_load(&seen_here.waited_max) <= 2);
    for (unsigned i = 0; i < CLIENTS; i++)
        close(greeted[i]);
    tls_scratch_free(scratch);
    tls_context_unref(context);
    client_close(&k);
    e2e_stop(t, 5000);
}

/* With one thread for all: who takes whose place meanwhile is not the question. */
ALL_MODES(an_open_connection_is_served_between_handshakes)
{
    if (t->mode->is_inline && t->mode->io_threads == 1)
        hold_and_count(t);
}

/* --- what connections and threads share --- */

static void handshakes_with_a_staple_come_one_after_the_other(void)
{
    struct tls_options so = server_options("server"), co = client_options();
    struct tls_context *s, *c;
    struct tls_pair p;

    memset(&seen_here, 0, sizeof seen_here);
    atomic_store(&seen_here.plain_fd, -1);
    so.own.staple_file = cert("server.ocsp");
    so.ca_file = cert("ca.pem");
    co.ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305"; /* of 1.2: it gets the staple */
    s = context_of(&so);
    c = context_of(&co);
    CU_ASSERT(pair_meet(&p, s, c, "localhost"));
    pair_close(&p);
    CU_ASSERT(atomic_load(&seen_here.accepts) >= 2);
    CU_ASSERT_EQUAL(atomic_load(&seen_here.unguarded), 0);
    tls_context_unref(s);
    tls_context_unref(c);
}

static void *warm_and_leave(void *context)
{
    char why[256];

    if (tls_context_warm(context, why, sizeof why) != WEFT_OK)
        return NULL;
    tls_thread_leave();
    return context;
}

static long blocks_behind_a_thread(struct tls_context *context)
{
    pthread_t thread;
    void *done;

    CU_ASSERT_EQUAL_FATAL(pthread_create(&thread, NULL, warm_and_leave, context), 0);
    pthread_join(thread, &done);
    CU_ASSERT_PTR_NOT_NULL(done);
    return atomic_load(&wolf_blocks);
}

/* What wolfSSL makes once for the process is there behind the first. */
static void a_thread_that_leaves_leaves_nothing(void)
{
    struct tls_options o = server_options("server");
    struct tls_context *context = context_of(&o);
    long first = blocks_behind_a_thread(context);

    for (int i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(blocks_behind_a_thread(context), first);
    tls_context_unref(context);
}

static const struct unit_case cases[] = {
    CASE(threads_have_shaken_hands_before_a_client_comes),
    CASE(an_open_connection_is_served_between_handshakes),
#ifdef HAVE_CERTIFICATE_STATUS_REQUEST
    CASE(handshakes_with_a_staple_come_one_after_the_other),
#endif
    CASE(a_thread_that_leaves_leaves_nothing),
};

int main(int argc, char **argv)
{
    int status;

    if (wolfSSL_SetAllocators(wolf_alloc, wolf_free, wolf_realloc) != 0)
        return 1;
    certs_make();
    status = unit_main(argc, argv, "e2e_tls_threads", cases, sizeof cases / sizeof cases[0]);
    certs_remove();
    return status;
}
