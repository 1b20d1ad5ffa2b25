/* TLS with OpenSSL at the other end: its s_client and its s_server, in both versions. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "io/tls_private.h"
#include "tls_pair.h"
#include "unit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "weft/error.h"

#define ARGUMENTS_MAX 32
#define PATIENCE_MS   15000

struct program {
    pid_t pid;
    int in, out; /* its standard input, and what it prints */
    char text[65536];
    size_t n;
};

/* openssl ARGUMENT... NULL */
static void start(struct program *p, ...)
{
    char *argv[ARGUMENTS_MAX] = {(char *)"openssl"};
    int in[2], out[2], n = 1;
    va_list args;

    va_start(args, p);
    while (n < ARGUMENTS_MAX - 1 && (argv[n] = va_arg(args, char *)) != NULL)
        n++;
    va_end(args);
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
        abort();
    p->n = 0;
    p->text[0] = '\0';
    p->pid = fork();
    if (p->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(out[1], 2);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    p->in = in[1];
    p->out = out[0];
}

/* Take what it prints. False: that was all. */
static bool listen_to(struct program *p, int timeout_ms)
{
    struct pollfd f = {.fd = p->out, .events = POLLIN};
    ssize_t n;

    if (poll(&f, 1, timeout_ms) != 1)
        return true;
    n = read(p->out, p->text + p->n, sizeof p->text - 1 - p->n);
    if (n <= 0)
        return false;
    p->n += (size_t)n;
    p->text[p->n] = '\0';
    return true;
}

static bool says(struct program *p, const char *text)
{
    uint64_t until = clock_now_ms() + PATIENCE_MS;

    while (!strstr(p->text, text))
        if (clock_now_ms() > until || !listen_to(p, 100))
            return strstr(p->text, text) != NULL;
    return true;
}

static void stop(struct program *p)
{
    close(p->in);
    close(p->out);
    kill(p->pid, SIGTERM);
    waitpid(p->pid, NULL, 0);
}

static int listen_on(char *address, size_t room)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (bind(fd, (struct sockaddr *)&a, n) != 0 || listen(fd, 8) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &n) != 0)
        abort();
    snprintf(address, room, "127.0.0.1:%u", ntohs(a.sin_port));
    return fd;
}

static void side_open(struct tls_side *side, struct tls_context *c, const char *host, int fd)
{
    *side = (struct tls_side){tls_new(c, host, 0), fd, WEFT_E_AGAIN, tls_scratch_new(0, 0)};
    while (side->rc == WEFT_E_AGAIN) {
        side->rc = tls_handshake(side->t, side->fd, side->s);
        if (side->rc == WEFT_E_AGAIN && !fd_wait(fd, tls_has_output(side->t) ? POLLOUT : POLLIN))
            break;
    }
    if (side->rc != WEFT_OK)
        fprintf(stderr, "handshake: %s\n", side_error(side));
}

static void side_accept(struct tls_side *side, struct tls_context *c, int listening)
{
    int fd = fd_wait(listening, POLLIN) ? accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;

    CU_ASSERT_FATAL(fd >= 0);
    side_open(side, c, NULL, fd);
}

static void side_close(struct tls_side *side)
{
    tls_finish(side->t, side->fd, side->s);
    tls_free(side->t);
    tls_scratch_free(side->s);
    close(side->fd);
}

/* --- s_client --- */

static void talk_with_s_client(const char *version, const char *name)
{
    struct tls_options o = server_options("server");
    struct tls_context *c = context_of(&o);
    struct tls_side side;
    struct program p;
    char address[32], line[64];
    int listening = listen_on(address, sizeof address);

    start(&p, "s_client", "-connect", address, version, "-CAfile", cert("ca.pem"), "-verify_return_error",
          "-verify_hostname", "localhost", "-servername", "localhost", "-alpn", "h2,http/1.1", (char *)NULL);
    side_accept(&side, c, listening);
    CU_ASSERT_EQUAL(side.rc, WEFT_OK);
    CU_ASSERT_STRING_EQUAL(tls_version(side.t), name);
    CU_ASSERT_STRING_EQUAL(tls_alpn(side.t), "http/1.1");
    CU_ASSERT(says(&p, "ALPN protocol: http/1.1"));
    CU_ASSERT(says(&p, "Verify return code: 0 (ok)"));
    CU_ASSERT(says(&p, "Server Temp Key: X25519"));
    CU_ASSERT_EQUAL(write(p.in, "question\n", 9), 9);
    CU_ASSERT(side_read(&side, line, 9) && memcmp(line, "question\n", 9) == 0);
    CU_ASSERT(side_write(&side, "answer\n", 7));
    CU_ASSERT(says(&p, "answer\n"));
    close(p.in);
    p.in = dup(p.out); /* its input is at its end, so it closes */
    CU_ASSERT_EQUAL(side_read_once(&side, line, sizeof line), LINK_END);
    side_close(&side);
    stop(&p);
    close(listening);
    tls_context_unref(c);
}

static void s_client_talks_1_2(void)
{
    talk_with_s_client("-tls1_2", "TLSv1.2");
}

static void s_client_talks_1_3(void)
{
    talk_with_s_client("-tls1_3", "TLSv1.3");
}

static void an_s_client_of_1_1_is_refused(void)
{
    struct tls_options o = server_options("server");
    struct tls_context *c = context_of(&o);
    struct tls_side side;
    struct program p;
    char address[32];
    int listening = listen_on(address, sizeof address);

    start(&p, "s_client", "-connect", address, "-tls1_1", "-cipher", "ALL@SECLEVEL=0", (char *)NULL);
    side_accept(&side, c, listening);
    CU_ASSERT_EQUAL(side.rc, WEFT_E_TLS);
    side_close(&side);
    CU_ASSERT(says(&p, "alert protocol version"));
    stop(&p);
    close(listening);
    tls_context_unref(c);
}

/* -reconnect comes back five times with the session of the first. */
static void s_client_resumes(void)
{
    struct tls_options o = server_options("server");
    struct tls_context *first = context_of(&o), *reloaded;
    struct tls_side side;
    struct program p;
    char address[32];
    int listening = listen_on(address, sizeof address);

    o.tickets_of = first;
    reloaded = context_of(&o);
    start(&p, "s_client", "-connect", address, "-tls1_2", "-reconnect", (char *)NULL);
    for (int i = 0; i < 6; i++) {
        side_accept(&side, i % 2 ? reloaded : first, listening);
        CU_ASSERT_EQUAL(side.rc, WEFT_OK);
        CU_ASSERT_EQUAL(tls_was_resumed(side.t), i > 0);
        if (i < 5) {
            char octet;
            CU_ASSERT(side_read_once(&side, &octet, 1) < 0);
        }
        side_close(&side);
    }
    stop(&p);
    close(listening);
    tls_context_unref(first);
    tls_context_unref(reloaded);
}

/* Of TLS 1.3, where tickets come behind the handshake: a second client has the session of the first. */
static void s_client_resumes_in_1_3(void)
{
    struct tls_options o = server_options("server");
    struct tls_context *c = context_of(&o);
    char address[32], file[] = "/tmp/weft-session-XXXXXX";
    int listening = listen_on(address, sizeof address), fd = mkstemp(file);

    CU_ASSERT_FATAL(fd >= 0);
    close(fd);
    for (int i = 0; i < 2; i++) {
        struct tls_side side;
        struct program p;
        char octet;

        start(&p, "s_client", "-connect", address, "-tls1_3", i ? "-sess_in" : "-sess_out", file, (char *)NULL);
        side_accept(&side, c, listening);
        CU_ASSERT_EQUAL(side.rc, WEFT_OK);
        CU_ASSERT_EQUAL(tls_was_resumed(side.t), i == 1);
        CU_ASSERT(side_write(&side, "answer\n", 7) && says(&p, "answer\n"));
        close(p.in);
        p.in = dup(p.out); /* its input is at its end, so it closes */
        CU_ASSERT_EQUAL(side_read_once(&side, &octet, 1), LINK_END);
        side_close(&side);
        stop(&p);
    }
    unlink(file);
    close(listening);
    tls_context_unref(c);
}

/* What a rejected ticket leads to: a whole handshake. */
static void s_client_gets_in_with_a_ticket_of_lost_keys(void)
{
    struct tls_options o = server_options("server");
    struct tls_context *first = context_of(&o), *second = context_of(&o);
    struct tls_side side;
    struct program p;
    char address[32];
    int listening = listen_on(address, sizeof address);

    start(&p, "s_client", "-connect", address, "-tls1_2", "-reconnect", (char *)NULL);
    for (int i = 0; i < 6; i++) {
        side_accept(&side, i ? second : first, listening);
        CU_ASSERT_EQUAL(side.rc, WEFT_OK);
        if (i < 5) {
            char octet;
            CU_ASSERT(side_read_once(&side, &octet, 1) < 0);
        }
        side_close(&side);
    }
    stop(&p);
    close(listening);
    tls_context_unref(first);
    tls_context_unref(second);
}

/* "R" and "K" on a line of their own: renegotiate, new keys. */
static void s_client_may_not_renegotiate(void)
{
    struct tls_options o = server_options("server");
    struct tls_context *c = context_of(&o);
    struct tls_side side;
    struct program p;
    char address[32], line[64];
    int listening = listen_on(address, sizeof address);
    ptrdiff_t got;

    start(&p, "s_client", "-connect", address, "-tls1_2", "-legacy_renegotiation", (char *)NULL);
    side_accept(&side, c, listening);
    CU_ASSERT_EQUAL(write(p.in, "R\n", 2), 2);
    got = side_read_once(&side, line, sizeof line);
    CU_ASSERT(got == WEFT_E_TLS || got == LINK_END || got == TLS_CUT);
    side_close(&side);
    stop(&p);
    close(listening);
    tls_context_unref(c);
}

static void s_client_may_ask_for_new_keys(void)
{
    struct tls_options o = server_options("server");
    struct tls_context *c = context_of(&o);
    struct tls_side side;
    struct program p;
    char address[32], line[64];
    int listening = listen_on(address, sizeof address);

    start(&p, "s_client", "-connect", address, "-tls1_3", (char *)NULL);
    side_accept(&side, c, listening);
    CU_ASSERT_EQUAL(write(p.in, "K\n", 2), 2);
    CU_ASSERT(says(&p, "KEYUPDATE"));
    CU_ASSERT_EQUAL(write(p.in, "after\n", 6), 6);
    CU_ASSERT(side_read(&side, line, 6) && memcmp(line, "after\n", 6) == 0);
    CU_ASSERT(side_write(&side, "behind\n", 7));
    CU_ASSERT(says(&p, "behind\n"));
    side_close(&side);
    stop(&p);
    close(listening);
    tls_context_unref(c);
}

static void s_client_shows_its_certificate(void)
{
    struct tls_options o = server_options("server");
    struct tls_context *c;
    char address[32];
    int listening = listen_on(address, sizeof address);

    o.client_auth = TLS_CLIENT_AUTH_REQUIRED;
    o.ca_file = cert("ca.pem");
    c = context_of(&o);
    for (int i = 0; i < 4; i++) {
        const char *version = i % 2 ? "-tls1_2" : "-tls1_3";
        struct tls_side side;
        struct program p;

        if (i < 2)
            start(&p, "s_client", "-connect", address, version, "-cert", cert("client.pem"), "-key",
                  cert("client.key"), (char *)NULL);
        else
            start(&p, "s_client", "-connect", address, version, (char *)NULL);
        side_accept(&side, c, listening);
        CU_ASSERT_EQUAL(side.rc, i < 2 ? WEFT_OK : WEFT_E_TLS);
        CU_ASSERT_STRING_EQUAL(tls_peer_subject(side.t), i < 2 ? "CN=ann,O=weft" : "");
        side_close(&side);
        stop(&p);
    }
    close(listening);
    tls_context_unref(c);
}

static void a_staple_is_sent_to_who_asks(void)
{
#ifdef HAVE_CERTIFICATE_STATUS_REQUEST
    struct tls_options o = server_options("server");
    struct tls_context *c;
    char address[32];
    int listening = listen_on(address, sizeof address);

    o.own.staple_file = cert("server.ocsp");
    o.ca_file = cert("ca.pem");
    c = context_of(&o);
    for (int i = 0; i < 2; i++) {
        struct tls_side side;
        struct program p;

        start(&p, "s_client", "-connect", address, i ? "-tls1_2" : "-tls1_3", "-status", "-CAfile",
              cert("ca.pem"), (char *)NULL);
        side_accept(&side, c, listening);
        CU_ASSERT_EQUAL(side.rc, WEFT_OK);
        if (i) {
            CU_ASSERT(says(&p, "OCSP Response Status: successful"));
            CU_ASSERT(says(&p, "Cert Status: good"));
        } else {
            CU_ASSERT(says(&p, "OCSP response: no response sent")); /* wolfSSL would leak */
        }
        side_close(&side);
        stop(&p);
    }
    close(listening);
    tls_context_unref(c);
#endif
}

/* --- s_server --- */

static int connect_to(const struct program *p)
{
    const char *accepts = strstr(p->text, "ACCEPT ");
    const char *port = accepts ? strchr(accepts, ':') : NULL;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CU_ASSERT_PTR_NOT_NULL_FATAL(port);
    a.sin_port = htons((uint16_t)atoi(port + 1));
    CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void talk_with_s_server(const char *version, const char *name, const char *certificate)
{
    struct tls_options o = client_options();
    struct tls_key_pair pair = key_pair(certificate);
    struct tls_context *c = context_of(&o);
    struct tls_side side;
    struct program p;
    char line[64];

    start(&p, "s_server", "-accept", "127.0.0.1:0", version, "-cert", pair.cert_file, "-key", pair.key_file,
          "-cert_chain", pair.cert_file, "-alpn", "http/1.1", (char *)NULL);
    CU_ASSERT_FATAL(says(&p, "ACCEPT 127.0.0.1:") && says(&p, "\n"));
    for (int i = 0; i < 2; i++) {
        char text[32];

        side_open(&side, c, "localhost", connect_to(&p));
        CU_ASSERT_EQUAL(side.rc, WEFT_OK);
        CU_ASSERT_STRING_EQUAL(tls_version(side.t), name);
        CU_ASSERT_STRING_EQUAL(tls_alpn(side.t), "http/1.1");
        CU_ASSERT(tls_was_resumed(side.t) || strncmp(tls_peer_subject(side.t), "CN=", 3) == 0);
        CU_ASSERT_EQUAL(tls_was_resumed(side.t), i == 1 && strcmp(name, "TLSv1.3") == 0);
        snprintf(text, sizeof text, "question %d\n", i);
        CU_ASSERT(side_write(&side, text, strlen(text)) && says(&p, text));
        CU_ASSERT_EQUAL(write(p.in, "answer\n", 7), 7);
        CU_ASSERT(side_read(&side, line, 7) && memcmp(line, "answer\n", 7) == 0);
        side_close(&side);
    }
    stop(&p);
    tls_context_unref(c);
}

static void s_server_talks_1_2(void)
{
    talk_with_s_server("-tls1_2", "TLSv1.2", "server");
    talk_with_s_server("-tls1_2", "TLSv1.2", "rsa");
}

static void s_server_talks_1_3(void)
{
    talk_with_s_server("-tls1_3", "TLSv1.3", "server");
    talk_with_s_server("-tls1_3", "TLSv1.3", "chain");
}

#ifndef NO_OLD_TLS
/* Without one of our two rules, or without both; see test_tls_context.c. */
static int meet_s_server_of_1_1(struct program *p, bool without_minimum, bool without_check)
{
    struct tls_options o = client_options();
    struct tls_context *c;
    struct tls_side side;
    int rc;

    o.ciphers = "TLS13-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA"; /* the second would do in TLS 1.1 */
    c = context_of(&o);
    if (without_minimum)
        CU_ASSERT_EQUAL(wolfSSL_CTX_SetMinVersion(c->certificates[0].wolf, WOLFSSL_TLSV1_1), WOLFSSL_SUCCESS);
    if (without_check)
        c->version_min = 0x0302;
    side_open(&side, c, "localhost", connect_to(p));
    rc = side.rc;
    CU_ASSERT(rc != WEFT_OK || strcmp(tls_version(side.t), "TLSv1.1") == 0);
    side_close(&side);
    tls_context_unref(c);
    return rc;
}

static void an_s_server_of_1_1_is_refused(void)
{
    struct tls_key_pair pair = key_pair("server");
    struct program p;

    start(&p, "s_server", "-accept", "127.0.0.1:0", "-tls1_1", "-cipher", "ALL@SECLEVEL=0", "-cert", pair.cert_file,
          "-key", pair.key_file, (char *)NULL);
    CU_ASSERT_FATAL(says(&p, "ACCEPT 127.0.0.1:") && says(&p, "\n"));
    CU_ASSERT_EQUAL(meet_s_server_of_1_1(&p, false, false), WEFT_E_TLS);
    CU_ASSERT_EQUAL(meet_s_server_of_1_1(&p, false, true), WEFT_E_TLS);
    CU_ASSERT_EQUAL(meet_s_server_of_1_1(&p, true, false), WEFT_E_TLS);
    CU_ASSERT_EQUAL(meet_s_server_of_1_1(&p, true, true), WEFT_OK); /* or the others would show nothing */
    stop(&p);
}
#endif

static int meet_s_server_with_weak_key(struct program *p, bool without_minimum)
{
    struct tls_options o = client_options();
    struct tls_context *c = context_of(&o);
    struct tls_side side;
    int rc;

    if (without_minimum)
        CU_ASSERT_EQUAL(wolfSSL_CTX_SetMinRsaKey_Sz(c->certificates[0].wolf, 1024), WOLFSSL_SUCCESS);
    side_open(&side, c, "localhost", connect_to(p));
    rc = side.rc;
    side_close(&side);
    tls_context_unref(c);
    return rc;
}

static void an_s_server_with_a_short_rsa_key_is_refused(void)
{
    struct tls_key_pair pair = key_pair("weak");
    struct program p;

    start(&p, "s_server", "-accept", "127.0.0.1:0", "-cipher", "ALL@SECLEVEL=0", "-cert", pair.cert_file, "-key",
          pair.key_file, (char *)NULL);
    CU_ASSERT_FATAL(says(&p, "ACCEPT 127.0.0.1:") && says(&p, "\n"));
    CU_ASSERT_EQUAL(meet_s_server_with_weak_key(&p, false), WEFT_E_TLS);
    CU_ASSERT_EQUAL(meet_s_server_with_weak_key(&p, true), WEFT_OK); /* or the other would show nothing */
    stop(&p);
}

static void show_certificate_to_s_server(const char *version)
{
    struct tls_key_pair pair = key_pair("server"), own = key_pair("client");
    struct tls_options o = client_options();
    struct tls_context *without = context_of(&o), *with;
    struct tls_side side;
    struct program p;
    char octet;

    o.own = own;
    with = context_of(&o);
    start(&p, "s_server", "-accept", "127.0.0.1:0", version, "-cert", pair.cert_file, "-key", pair.key_file, "-CAfile",
          cert("ca.pem"), "-Verify", "1", "-verify_return_error", (char *)NULL);
    CU_ASSERT_FATAL(says(&p, "ACCEPT 127.0.0.1:") && says(&p, "\n"));
    /* In TLS 1.3 a client is done before it hears that it is not welcome. */
    side_open(&side, without, "localhost", connect_to(&p));
    CU_ASSERT(side.rc == WEFT_E_TLS || side_read_once(&side, &octet, 1) == WEFT_E_TLS);
    CU_ASSERT(says(&p, "peer did not return a certificate"));
    side_close(&side);
    side_open(&side, with, "localhost", connect_to(&p));
    CU_ASSERT_EQUAL(side.rc, WEFT_OK);
    CU_ASSERT(side_write(&side, "question\n", 9) && says(&p, "question\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(p.text, "CN = ann"));
    side_close(&side);
    stop(&p);
    tls_context_unref(without);
    tls_context_unref(with);
}

static void an_s_server_demands_our_certificate(void)
{
    show_certificate_to_s_server("-tls1_2");
    show_certificate_to_s_server("-tls1_3");
}

static void an_s_server_of_another_name_is_refused(void)
{
    struct tls_options o = client_options();
    struct tls_context *c = context_of(&o);
    struct tls_key_pair pair = key_pair("other");
    struct tls_side side;
    struct program p;

    start(&p, "s_server", "-accept", "127.0.0.1:0", "-cert", pair.cert_file, "-key", pair.key_file,
          (char *)NULL);
    CU_ASSERT_FATAL(says(&p, "ACCEPT 127.0.0.1:") && says(&p, "\n"));
    side_open(&side, c, "localhost", connect_to(&p));
    CU_ASSERT_EQUAL(side.rc, WEFT_E_TLS);
    CU_ASSERT(says(&p, "alert"));
    side_close(&side);
    stop(&p);
    tls_context_unref(c);
}

static const struct unit_case cases[] = {
    CASE(s_client_talks_1_2),
    CASE(s_client_talks_1_3),
    CASE(an_s_client_of_1_1_is_refused),
    CASE(s_client_resumes),
    CASE(s_client_resumes_in_1_3),
    CASE(s_client_gets_in_with_a_ticket_of_lost_keys),
    CASE(s_client_may_not_renegotiate),
    CASE(s_client_may_ask_for_new_keys),
    CASE(s_client_shows_its_certificate),
    CASE(a_staple_is_sent_to_who_asks),
    CASE(s_server_talks_1_2),
    CASE(s_server_talks_1_3),
#ifndef NO_OLD_TLS
    CASE(an_s_server_of_1_1_is_refused),
#endif
    CASE(an_s_server_with_a_short_rsa_key_is_refused),
    CASE(an_s_server_demands_our_certificate),
    CASE(an_s_server_of_another_name_is_refused),
};

int main(int argc, char **argv)
{
    int rc;

    signal(SIGPIPE, SIG_IGN);
    certs_make();
    rc = unit_main(argc, argv, "e2e_tls", cases, sizeof cases / sizeof cases[0]);
    certs_remove();
    return rc;
}
