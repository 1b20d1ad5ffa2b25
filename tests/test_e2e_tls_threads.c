/* What threads do for TLS beside the connections that there are: they shake hands before the first client comes, and
 * serve who is open between the handshakes of many. Both are counted, at calls that the linker leads through here. */
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
} seen_here;

static _Thread_local bool is_warming;
static _Thread_local unsigned finished; /* handshakes while warming */

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
    rc = __real_tls_handshake(t, fd, s);
    if (is_warming)
        finished += rc == WEFT_OK;
    if (is_clients)
        take_the_turn(begin_ns);
    return rc;
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

static const struct unit_case cases[] = {
    CASE(threads_have_shaken_hands_before_a_client_comes),
    CASE(an_open_connection_is_served_between_handshakes),
};

int main(int argc, char **argv)
{
    int status;

    certs_make();
    status = unit_main(argc, argv, "e2e_tls_threads", cases, sizeof cases / sizeof cases[0]);
    certs_remove();
    return status;
}
