/* The rules of TLS: whom to trust, what to offer, which certificate to show. wolfSSL's own defaults are the
 * opposite of most of them. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "io/tls_private.h"
#include "tls_pair.h"
#include "unit.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "weft/error.h"

#define SYSTEM_CAS "/etc/ssl/certs/ca-certificates.crt"

/* Both sides fail or succeed as wanted; what the client says is in why. */
static bool meets(const struct tls_options *so, const struct tls_options *co, const char *host, char *why,
                  char *server_why)
{
    struct tls_context *server = context_of(so), *client = context_of(co);
    struct tls_pair p;
    bool met = pair_meet(&p, server, client, host);

    tls_error_text(p.client.t, why, 256);
    if (server_why)
        tls_error_text(p.server.t, server_why, 256);
    pair_close(&p);
    tls_context_unref(server);
    tls_context_unref(client);
    return met;
}

static bool client_takes(const char *server, const char *host, const char *wanted)
{
    struct tls_options so = server_options(server), co = client_options();
    char why[256];
    bool met = meets(&so, &co, host, why, NULL);

    if (!met && !strstr(why, wanted))
        fprintf(stderr, "expected '%s', got '%s'\n", wanted, why);
    CU_ASSERT(met || strstr(why, wanted));
    return met;
}

static void a_trusted_certificate_for_the_host_is_taken(void)
{
    CU_ASSERT(client_takes("server", "localhost", ""));
    CU_ASSERT(client_takes("server", "LOCALHOST", ""));
    CU_ASSERT(client_takes("server", "a.weft.test", ""));
    CU_ASSERT(client_takes("rsa", "localhost", ""));
    CU_ASSERT(client_takes("chain", "localhost", ""));
}

static void an_address_is_checked_against_the_addresses(void)
{
    CU_ASSERT(client_takes("server", "127.0.0.1", ""));
    CU_ASSERT(client_takes("server", "::1", ""));
    CU_ASSERT(client_takes("server", "0:0:0:0:0:0:0:1", ""));
    CU_ASSERT_FALSE(client_takes("server", "127.0.0.2", "not for this host"));
    CU_ASSERT_FALSE(client_takes("rsa", "127.0.0.1", "not for this host"));
}

static void another_host_is_refused(void)
{
    CU_ASSERT_FALSE(client_takes("server", "example.org", "not for this host"));
    CU_ASSERT_FALSE(client_takes("server", "a.b.weft.test", "not for this host"));
    CU_ASSERT_FALSE(client_takes("server", "weft.test", "not for this host"));
    CU_ASSERT_FALSE(client_takes("other", "localhost", "not for this host"));
    CU_ASSERT_FALSE(client_takes("nameless", "localhost", "subjectAltName"));
}

static void a_certificate_of_a_stranger_is_refused(void)
{
    CU_ASSERT_FALSE(client_takes("stranger", "localhost", ""));
    CU_ASSERT_FALSE(client_takes("stranger_ca", "localhost", ""));
}

static void an_expired_certificate_is_refused(void)
{
    CU_ASSERT_FALSE(client_takes("expired", "localhost", "date"));
}

static void the_servers_side_learns_of_the_refusal(void)
{
    struct tls_options so = server_options("stranger"), co = client_options();
    char why[256], server_why[256];

    CU_ASSERT_FALSE(meets(&so, &co, "localhost", why, server_why));
    CU_ASSERT_PTR_NOT_NULL(strstr(server_why, "alert"));
}

static void the_systems_authorities_do_not_know_ours(void)
{
    struct tls_options so = server_options("server"), co = {.role = TLS_CLIENT};
    char why[256];

    if (access(SYSTEM_CAS, R_OK) != 0)
        return; /* then there is no context: as the next case but one */
    CU_ASSERT_FALSE(meets(&so, &co, "localhost", why, NULL));
}

enum { CHILD_MET, CHILD_REFUSED, CHILD_CANNOT };

/* A namespace in which ours is the system's authority. */
static int meet_by_the_systems_authorities(void)
{
    struct tls_options so = server_options("server"), co = {.role = TLS_CLIENT};
    char why[256];

    if ((unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 && unshare(CLONE_NEWNS) != 0) ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount(cert("ca.pem"), SYSTEM_CAS, NULL, MS_BIND, NULL) != 0)
        return CHILD_CANNOT;
    return meets(&so, &co, "localhost", why, NULL) ? CHILD_MET : CHILD_REFUSED;
}

/* Where a machine does not permit it, nothing is shown. */
static void the_systems_authorities_are_trusted(void)
{
    int status = 0;
    pid_t pid;

    if (access(SYSTEM_CAS, R_OK) != 0)
        return;
    pid = fork();
    if (pid == 0)
        _exit(meet_by_the_systems_authorities());
    CU_ASSERT_FATAL(pid > 0 && waitpid(pid, &status, 0) == pid);
    CU_ASSERT_FATAL(WIFEXITED(status));
    CU_ASSERT_NOT_EQUAL(WEXITSTATUS(status), CHILD_REFUSED);
    if (WEXITSTATUS(status) == CHILD_CANNOT)
        printf("  no namespace of mounts: the system's authorities were not tried\n");
}

static void insecure_takes_any_certificate(void)
{
    struct tls_options so = server_options("stranger"), co = {.role = TLS_CLIENT, .insecure = true};
    char why[256];

    CU_ASSERT(meets(&so, &co, "localhost", why, NULL));
    CU_ASSERT(meets(&so, &co, NULL, why, NULL));
}

static void a_client_that_checks_needs_to_know_whom(void)
{
    struct tls_options co = client_options();
    struct tls_context *c = context_of(&co);

    CU_ASSERT_PTR_NULL(tls_new(c, NULL, 0));
    CU_ASSERT_PTR_NULL(tls_new(c, "", 0));
    tls_context_unref(c);
}

/* --- client certificates --- */

/* What the server says of its client; NULL when they do not meet. In TLS 1.3 the client is done before the
 * server has looked at its certificate. */
static const char *subject_of(enum tls_client_auth auth, const char *client, enum tls_version_number version)
{
    struct tls_options so = server_options("server"), co = client_options();
    struct tls_context *s, *c;
    static char subject[256];
    struct tls_pair p;

    so.client_auth = auth;
    so.version_min = version;
    if (version == TLS_1_2)
        so.ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305";
    if (auth != TLS_CLIENT_AUTH_NONE)
        so.ca_file = cert("ca.pem");
    if (client)
        co.own = key_pair(client);
    s = context_of(&so);
    c = context_of(&co);
    pair_meet(&p, s, c, "localhost");
    snprintf(subject, sizeof subject, "%s", tls_peer_subject(p.server.t));
    CU_ASSERT_EQUAL(tls_has_peer_certificate(p.server.t), subject[0] != '\0');
    pair_close(&p);
    tls_context_unref(s);
    tls_context_unref(c);
    return p.server.rc == WEFT_OK ? subject : NULL;
}

static void clients_show_their_certificates(enum tls_version_number version)
{
    static const struct {
        enum tls_client_auth auth;
        const char *client, *subject;
    } rows[] = {
        {TLS_CLIENT_AUTH_NONE, NULL, ""},
        {TLS_CLIENT_AUTH_NONE, "client", ""},
        {TLS_CLIENT_AUTH_OPTIONAL, NULL, ""},
        {TLS_CLIENT_AUTH_OPTIONAL, "client", "CN=ann,O=weft"},
        {TLS_CLIENT_AUTH_OPTIONAL, "stranger_client", NULL},
        {TLS_CLIENT_AUTH_REQUIRED, NULL, NULL},
        {TLS_CLIENT_AUTH_REQUIRED, "client", "CN=ann,O=weft"},
        {TLS_CLIENT_AUTH_REQUIRED, "stranger_client", NULL},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *subject = subject_of(rows[i].auth, rows[i].client, version);
        CU_ASSERT_EQUAL(subject != NULL, rows[i].subject != NULL);
        if (subject && rows[i].subject)
            CU_ASSERT_STRING_EQUAL(subject, rows[i].subject);
    }
}

static void clients_show_their_certificates_in_1_2(void)
{
    clients_show_their_certificates(TLS_1_2);
}

static void clients_show_their_certificates_in_1_3(void)
{
    clients_show_their_certificates(TLS_1_3);
}

/* wolfSSL was told, as if it had forgotten: what it did is looked at all the same. */
static void a_peer_that_nobody_checked_is_refused_at_the_end(void)
{
    struct tls_options so = server_options("stranger"), co = client_options();
    struct tls_context *s = context_of(&so), *c = context_of(&co);
    struct tls_pair p;

    wolfSSL_CTX_set_verify(c->certificates[0].wolf, WOLFSSL_VERIFY_NONE, NULL);
    CU_ASSERT_FALSE(pair_meet(&p, s, c, "localhost"));
    CU_ASSERT_EQUAL(p.client.rc, WEFT_E_TLS);
    pair_close(&p);
    tls_context_unref(s);
    tls_context_unref(c);
    so = server_options("server");
    so.client_auth = TLS_CLIENT_AUTH_REQUIRED;
    so.ca_file = cert("ca.pem");
    s = context_of(&so);
    c = context_of(&co);
    wolfSSL_CTX_set_verify(s->certificates[0].wolf, WOLFSSL_VERIFY_NONE, NULL);
    pair_meet(&p, s, c, "localhost");
    CU_ASSERT_EQUAL(p.server.rc, WEFT_E_TLS);
    pair_close(&p);
    tls_context_unref(s);
    s = context_of(&so);
    s->client_auth = TLS_CLIENT_AUTH_OPTIONAL; /* and wolfSSL alone */
    pair_meet(&p, s, c, "localhost");
    CU_ASSERT_EQUAL(p.server.rc, WEFT_E_TLS);
    pair_close(&p);
    tls_context_unref(s);
    tls_context_unref(c);
}

/* --- suites and versions --- */

/* A peer that is not ours, with wolfSSL's defaults and one suite. Did ours meet it? What ours says is in
 * why. */
static bool meets_raw_in(struct tls_context *ours, WOLFSSL_METHOD *method, const char *suite, bool is_server,
                         char why[256])
{
    struct tls_side side;
    WOLFSSL_CTX *ctx = wolfSSL_CTX_new(method);
    WOLFSSL *raw;
    int fds[2], rc = 0;

    side = (struct tls_side){tls_new(ours, is_server ? "localhost" : NULL, 0), -1, WEFT_E_AGAIN,
                             tls_scratch_new(0, 0)};
    fds_pair(fds, PAIR_UNIX);
    side.fd = fds[0];
    wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_NONE, NULL);
    if (is_server) {
        wolfSSL_CTX_use_certificate_file(ctx, cert("server.pem"), WOLFSSL_FILETYPE_PEM);
        wolfSSL_CTX_use_PrivateKey_file(ctx, cert("server.key"), WOLFSSL_FILETYPE_PEM);
    }
    if (suite)
        CU_ASSERT_EQUAL(wolfSSL_CTX_set_cipher_list(ctx, suite), WOLFSSL_SUCCESS);
#ifdef HAVE_ANON
    wolfSSL_CTX_allow_anon_cipher(ctx);
#endif
    raw = wolfSSL_new(ctx);
    wolfSSL_set_fd(raw, fds[1]);
    wolfSSL_set_using_nonblock(raw, 1);
    for (int i = 0; i < 20; i++) {
        if (rc != WOLFSSL_SUCCESS)
            rc = is_server ? wolfSSL_accept(raw) : wolfSSL_connect(raw);
        if (side.rc == WEFT_E_AGAIN)
            side.rc = tls_handshake(side.t, side.fd, side.s);
    }
    tls_error_text(side.t, why, 256);
    wolfSSL_free(raw);
    wolfSSL_CTX_free(ctx);
    tls_free(side.t);
    tls_scratch_free(side.s);
    close(fds[0]);
    close(fds[1]);
    return side.rc == WEFT_OK;
}

static struct tls_context *ours_for(bool peer_is_server, const char *offers)
{
    struct tls_options o = peer_is_server ? client_options() : server_options("server");

    o.ciphers = offers;
    return context_of(&o);
}

static bool meets_raw(WOLFSSL_METHOD *method, const char *suite, bool is_server)
{
    struct tls_context *ours = ours_for(is_server, NULL);
    char why[256];
    bool met = meets_raw_in(ours, method, suite, is_server, why);

    tls_context_unref(ours);
    return met;
}

/* wolfSSL settles the version first, so a suite is offered with its own version only. */
static WOLFSSL_METHOD *method_of(const char *suite, bool is_server)
{
    if (strncmp(suite, "TLS13-", 6) == 0)
        return is_server ? wolfTLSv1_3_server_method() : wolfTLSv1_3_client_method();
    return is_server ? wolfTLSv1_2_server_method() : wolfTLSv1_2_client_method();
}

static bool meets_suite(const char *suite, bool is_server)
{
    return meets_raw(method_of(suite, is_server), suite, is_server);
}

static void suites_without_protection_are_not_negotiated(void)
{
    static const char *const suites[] = {
        "ADH-AES128-SHA",      "ADH-AES256-GCM-SHA384", "NULL-SHA256",         "ECDHE-ECDSA-NULL-SHA",
        "TLS13-SHA256-SHA256", "DES-CBC3-SHA",          "ECDHE-ECDSA-RC4-SHA", "RC4-SHA"};
    unsigned tried = 0;

    for (size_t i = 0; i < sizeof suites / sizeof suites[0]; i++) {
        const char *known;
        for (int k = 0; (known = wolfSSL_get_cipher_list(k)) != NULL; k++) {
            if (strcmp(known, suites[i]) != 0)
                continue;
            tried++;
            CU_ASSERT_FALSE(meets_suite(suites[i], false));
            CU_ASSERT_FALSE(meets_suite(suites[i], true));
        }
    }
    /* A build that has none of them proves nothing; Debian's has most. */
#ifdef HAVE_NULL_CIPHER
    CU_ASSERT(tried >= 3);
#else
    (void)tried;
#endif
    CU_ASSERT(meets_suite("ECDHE-ECDSA-AES128-GCM-SHA256", false));
    CU_ASSERT(meets_suite("ECDHE-ECDSA-AES128-GCM-SHA256", true));
}

#ifndef NO_OLD_TLS
/* Two rules keep TLS 1.1 away: what wolfSSL is told, and a look at what it did. Without either, they meet. */
static bool meets_1_1(bool peer_is_server, bool without_minimum, bool without_check)
{
    /* The second could be used with TLS 1.1; with the first, wolfSSL's method takes several versions. */
    struct tls_context *ours = ours_for(peer_is_server, "TLS13-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-SHA");
    WOLFSSL_METHOD *method = peer_is_server ? wolfTLSv1_1_server_method() : wolfTLSv1_1_client_method();
    char why[256];
    bool met;

    if (without_minimum)
        CU_ASSERT_EQUAL(wolfSSL_CTX_SetMinVersion(ours->certificates[0].wolf, WOLFSSL_TLSV1_1),
                        WOLFSSL_SUCCESS);
    if (without_check)
        ours->version_min = 0x0302;
    met = meets_raw_in(ours, method, NULL, peer_is_server, why);
    tls_context_unref(ours);
    return met;
}
#endif

static void versions_before_1_2_are_refused(void)
{
#ifndef NO_OLD_TLS
    for (int peer_is_server = 0; peer_is_server <= 1; peer_is_server++) {
        CU_ASSERT_FALSE(meets_1_1(peer_is_server, false, false));
        CU_ASSERT_FALSE(meets_1_1(peer_is_server, false, true));
        CU_ASSERT_FALSE(meets_1_1(peer_is_server, true, false));
        CU_ASSERT(meets_1_1(peer_is_server, true, true)); /* or the others would show nothing */
    }
#endif
    CU_ASSERT(meets_raw(wolfTLSv1_2_client_method(), NULL, false));
    CU_ASSERT(meets_raw(wolfTLSv1_2_server_method(), NULL, true));
    CU_ASSERT(meets_raw(wolfTLSv1_3_client_method(), NULL, false));
    CU_ASSERT(meets_raw(wolfTLSv1_3_server_method(), NULL, true));
}

/* wolfSSL's list is wider than ours here, as if it had taken more than it was told. */
static void a_suite_that_was_not_offered_is_refused_at_the_end(void)
{
    static const char *const suites[] = {"TLS13-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"};

    for (int i = 0; i < 4; i++) {
        const char *suite = suites[i / 2];
        bool peer_is_server = i % 2;
        struct tls_context *ours = ours_for(peer_is_server, suite);
        char why[256];
        CU_ASSERT_EQUAL(ours->suite_count, 1);
        CU_ASSERT(meets_raw_in(ours, method_of(suite, peer_is_server), suite, peer_is_server, why));
        ours->suites[0]++;
        CU_ASSERT_FALSE(meets_raw_in(ours, method_of(suite, peer_is_server), suite, peer_is_server, why));
        CU_ASSERT_PTR_NOT_NULL(strstr(why, "not offered"));
        tls_context_unref(ours);
    }
}

static void a_higher_minimum_holds_on_both_sides(void)
{
    struct tls_options so = server_options("server"), co = client_options();
    char why[256];

    so.version_min = TLS_1_3;
    co.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"; /* of 1.2 only */
    CU_ASSERT_FALSE(meets(&so, &co, "localhost", why, NULL));
    co.ciphers = NULL;
    CU_ASSERT(meets(&so, &co, "localhost", why, NULL));
    so = server_options("server");
    co.version_min = TLS_1_3;
    so.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
    CU_ASSERT_FALSE(meets(&so, &co, "localhost", why, NULL));
}

static void the_fastest_suite_of_the_build_is_negotiated(void)
{
    struct tls_options so = server_options("server"), co = client_options();
    struct tls_context *s = context_of(&so), *c = context_of(&co);
    struct tls_pair p;

    CU_ASSERT_FATAL(pair_meet(&p, s, c, "localhost"));
#ifdef WOLFSSL_AESNI
    CU_ASSERT_PTR_NOT_NULL(strstr(tls_cipher(p.server.t), "AES"));
#else
    CU_ASSERT_PTR_NOT_NULL(strstr(tls_cipher(p.server.t), "CHACHA20"));
#endif
    CU_ASSERT_STRING_EQUAL(tls_version(p.server.t), "TLSv1.3");
    CU_ASSERT_STRING_EQUAL(tls_cipher(p.server.t), tls_cipher(p.client.t));
    pair_close(&p);
    tls_context_unref(s);
    tls_context_unref(c);
}

static void names_of_suites_are_checked(void)
{
    struct tls_options o = server_options("server");

    o.ciphers = "TLS13-AES128-GCM-SHA256:TLS13-AES128-GCM-SHA257";
    CU_ASSERT(context_fails(&o, "TLS13-AES128-GCM-SHA257"));
    o.ciphers = "TLS13-AES128-GCM-SHA256:NULL-SHA256";
    CU_ASSERT(context_fails(&o, "NULL-SHA256"));
    o.ciphers = "ADH-AES128-SHA";
    CU_ASSERT(context_fails(&o, "ADH-AES128-SHA"));
    o.ciphers = "";
    CU_ASSERT(context_fails(&o, "no cipher suite"));
}

/* --- what can be wrong with the options --- */

static void what_is_wrong_is_said_with_its_file(void)
{
    struct tls_options o = {.role = TLS_SERVER}, good = server_options("server");
    struct tls_key_pair half = {.cert_file = cert("rsa.pem")};

    CU_ASSERT(context_fails(&o, "needs a certificate"));
    o = good;
    o.own.cert_file = cert("absent.pem");
    CU_ASSERT(context_fails(&o, "absent.pem: No such file"));
    o.own.cert_file = cert("conf");
    CU_ASSERT(context_fails(&o, "conf"));
    o.own.cert_file = cert(".");
    CU_ASSERT(context_fails(&o, "not a file"));
    o.own.cert_file = cert("ca.index.old");
    CU_ASSERT(context_fails(&o, "ca.index.old"));
    o = good;
    o.own.key_file = cert("rsa.key");
    CU_ASSERT(context_fails(&o, "rsa.key"));
    o.own.key_file = cert("other.key");
    CU_ASSERT(context_fails(&o, "other.key"));
    o.own.key_file = cert("server.pem");
    CU_ASSERT(context_fails(&o, "key"));
    o = good;
    o.others = &half;
    o.other_count = 1;
    CU_ASSERT(context_fails(&o, "key"));
    o = good;
    o.client_auth = TLS_CLIENT_AUTH_OPTIONAL;
    CU_ASSERT(context_fails(&o, "CA file"));
    o.ca_file = cert("absent.pem");
    CU_ASSERT(context_fails(&o, "absent.pem"));
    o.ca_file = cert("conf");
    CU_ASSERT(context_fails(&o, "conf"));
    o = good;
    o.insecure = true;
    CU_ASSERT(context_fails(&o, "insecure"));
    o = client_options();
    o.client_auth = TLS_CLIENT_AUTH_REQUIRED;
    CU_ASSERT(context_fails(&o, "for servers"));
    o = client_options();
    o.ca_file = cert("absent.pem");
    CU_ASSERT(context_fails(&o, "absent.pem"));
    o = client_options();
    o.version_min = 0x0302;
    CU_ASSERT(context_fails(&o, "TLS 1.2"));
}

static void an_error_text_may_be_unwanted(void)
{
    struct tls_options o = {.role = TLS_SERVER};
    struct tls_context *c;

    CU_ASSERT_EQUAL(tls_context_new(&c, &o, NULL, 0), WEFT_E_INVAL);
    CU_ASSERT_PTR_NULL(c);
}

/* --- SNI, ALPN --- */

static const char *shown_for(struct tls_context *server, const char *host)
{
    struct tls_options co = client_options();
    struct tls_context *c = context_of(&co);
    static char subject[256];
    struct tls_pair p;
    bool met = pair_meet(&p, server, c, host);

    snprintf(subject, sizeof subject, "%s", met ? tls_peer_subject(p.client.t) : side_error(&p.client));
    pair_close(&p);
    tls_context_unref(c);
    return subject;
}

static void the_certificate_is_chosen_by_name(void)
{
    struct tls_key_pair others[2] = {key_pair("other"), key_pair("chain")};
    struct tls_options so = server_options("server");
    struct tls_context *s;

    so.others = others;
    so.other_count = 2;
    s = context_of(&so);
    CU_ASSERT_STRING_EQUAL(shown_for(s, "localhost"), "CN=server"); /* chain has it too, later */
    CU_ASSERT_STRING_EQUAL(shown_for(s, "other.test"), "CN=other");
    CU_ASSERT_STRING_EQUAL(shown_for(s, "x.weft.test"), "CN=server");
    CU_ASSERT_STRING_EQUAL(shown_for(s, "127.0.0.1"), "CN=server"); /* no name is sent */
    CU_ASSERT_PTR_NOT_NULL(strstr(shown_for(s, "unknown.test"), "not for this host"));
    tls_context_unref(s);
}

static const char *agreed(const char *server, const char *client)
{
    struct tls_options so = server_options("server"), co = client_options();
    struct tls_context *s, *c;
    static char both[64];
    struct tls_pair p;

    so.alpn = server;
    co.alpn = client;
    s = context_of(&so);
    c = context_of(&co);
    if (pair_meet(&p, s, c, "localhost"))
        snprintf(both, sizeof both, "%s,%s", tls_alpn(p.server.t), tls_alpn(p.client.t));
    else
        strcpy(both, "failed");
    pair_close(&p);
    tls_context_unref(s);
    tls_context_unref(c);
    return both;
}

static void a_protocol_is_agreed_on_when_both_name_one(void)
{
    CU_ASSERT_STRING_EQUAL(agreed(NULL, NULL), "http/1.1,http/1.1");
    CU_ASSERT_STRING_EQUAL(agreed(NULL, ""), ",");
    CU_ASSERT_STRING_EQUAL(agreed("", NULL), ",");
    CU_ASSERT_STRING_EQUAL(agreed(NULL, "h2"), "failed");
}

/* --- tickets, reload --- */

static bool resumes(struct tls_context *first, struct tls_context *second, struct tls_context *client)
{
    struct tls_pair p;
    bool resumed;

    for (int i = 0; i < 2; i++) {
        char octet = 0;
        CU_ASSERT_FATAL(pair_meet(&p, i ? second : first, client, "localhost"));
        /* The ticket of TLS 1.3 comes with the first data. */
        CU_ASSERT(side_write(&p.server, "x", 1) && side_read(&p.client, &octet, 1));
        resumed = tls_was_resumed(p.client.t);
        CU_ASSERT_EQUAL(tls_was_resumed(p.server.t), resumed);
        pair_close(&p);
    }
    return resumed;
}

static void sessions_are_resumed_where_the_keys_are(void)
{
    struct tls_options so = server_options("server"), co = client_options();
    struct tls_context *s = context_of(&so), *stranger = context_of(&so), *c, *reloaded, *strict;

    so.tickets_of = s;
    so.own = key_pair("rsa");
    reloaded = context_of(&so);
    so.client_auth = TLS_CLIENT_AUTH_OPTIONAL;
    so.ca_file = cert("ca.pem");
    strict = context_of(&so);
    const struct {
        struct tls_context *first, *second;
        bool resumes;
    } rows[] = {
        {s, s, true}, {s, reloaded, true}, {s, stranger, false}, {s, strict, false}, {strict, strict, false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        c = context_of(&co);
        CU_ASSERT_EQUAL(resumes(rows[i].first, rows[i].second, c), rows[i].resumes);
        tls_context_unref(c);
    }
    tls_context_unref(s);
    tls_context_unref(reloaded);
    tls_context_unref(stranger);
    tls_context_unref(strict);
}

static void either_side_can_do_without_resumption(void)
{
    struct tls_options so = server_options("server"), co = client_options();
    struct tls_context *s = context_of(&so), *c;

    co.sessions_max = TLS_NO_SESSIONS;
    c = context_of(&co);
    CU_ASSERT_FALSE(resumes(s, s, c));
    tls_context_unref(s);
    tls_context_unref(c);
    so.no_tickets = true;
    co.sessions_max = 0;
    s = context_of(&so);
    c = context_of(&co);
    CU_ASSERT_FALSE(resumes(s, s, c));
    tls_context_unref(s);
    tls_context_unref(c);
}

/* wolfSSL's client would not get in again. */
static void a_session_of_1_2_is_not_tried_with_another_server(void)
{
    struct tls_options so = server_options("server"), co = client_options();
    struct tls_context *first, *second, *c = context_of(&co);

    so.ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305";
    first = context_of(&so);
    second = context_of(&so);
    CU_ASSERT_FALSE(resumes(first, second, c));
    tls_context_unref(first);
    tls_context_unref(second);
    tls_context_unref(c);
}

static void a_ticket_is_used_once(void)
{
    struct tls_options so = server_options("server"), co = client_options();
    struct tls_context *s = context_of(&so), *c = context_of(&co);
    struct tls_pair first, second, third;
    char octet;

    CU_ASSERT_FATAL(pair_meet(&first, s, c, "localhost"));
    CU_ASSERT(side_write(&first.server, "x", 1) && side_read(&first.client, &octet, 1));
    pair_close(&first);
    CU_ASSERT(pair_meet(&second, s, c, "localhost"));
    CU_ASSERT(pair_meet(&third, s, c, "localhost"));
    CU_ASSERT(tls_was_resumed(second.client.t));
    CU_ASSERT_FALSE(tls_was_resumed(third.client.t));
    pair_close(&second);
    pair_close(&third);
    tls_context_unref(s);
    tls_context_unref(c);
}

/* Its old ticket would go with its new secret, and the server would end the handshake. */
static void a_resumed_session_without_a_ticket_of_its_own_is_not_kept(void)
{
    struct tls_options so = server_options("server"), co = client_options();
    struct tls_context *s = context_of(&so), *c = context_of(&co);
    struct tls_pair p;
    char octet;

    CU_ASSERT_FATAL(pair_meet(&p, s, c, "localhost"));
    CU_ASSERT(side_write(&p.server, "x", 1) && side_read(&p.client, &octet, 1));
    pair_close(&p);
    CU_ASSERT(pair_meet(&p, s, c, "localhost"));
    CU_ASSERT(tls_was_resumed(p.client.t));
    pair_close(&p); /* the new one was not read */
    CU_ASSERT(pair_meet(&p, s, c, "localhost"));
    CU_ASSERT_FALSE(tls_was_resumed(p.client.t));
    pair_close(&p);
    tls_context_unref(s);
    tls_context_unref(c);
}

static void a_connection_outlives_the_context_it_was_made_of(void)
{
    struct tls_options so = server_options("server"), co = client_options();
    struct tls_context *s = context_of(&so), *c = context_of(&co);
    struct tls_pair p;
    char got[5];

    CU_ASSERT_FATAL(pair_meet(&p, s, c, "localhost"));
    tls_context_unref(s);
    tls_context_unref(c);
    CU_ASSERT(side_write(&p.client, "still", 5) && side_read(&p.server, got, 5));
    CU_ASSERT_EQUAL(memcmp(got, "still", 5), 0);
    pair_close(&p);
}

static void warming_shakes_hands_with_itself(void)
{
    struct tls_options so = server_options("server"), co = client_options();
    struct tls_context *s = context_of(&so), *c = context_of(&co);
    char why[256] = "";

    CU_ASSERT_EQUAL(tls_context_warm(s, why, sizeof why), WEFT_OK);
    CU_ASSERT_EQUAL(tls_context_warm(c, why, sizeof why), WEFT_OK);
    tls_context_unref(s);
    /* A suite that the certificate cannot be used with: found out now and not by the first client. */
    so.ciphers = "ECDHE-RSA-CHACHA20-POLY1305";
    s = context_of(&so);
    CU_ASSERT_EQUAL(tls_context_warm(s, why, sizeof why), WEFT_E_TLS);
    CU_ASSERT(why[0] != '\0');
    tls_context_unref(s);
    tls_context_unref(c);
}

/* Also where each client must show a certificate, which warming has none of. It opens no door: the next
 * client is asked for its own. */
static void warming_tries_what_demands_certificates_too(void)
{
    struct tls_options so = server_options("server"), co = client_options();
    struct tls_context *s, *c = context_of(&co);
    char why[256] = "", octet;
    struct tls_pair p;

    so.client_auth = TLS_CLIENT_AUTH_REQUIRED;
    so.ca_file = cert("ca.pem");
    s = context_of(&so);
    CU_ASSERT_EQUAL(tls_context_warm(s, why, sizeof why), WEFT_OK);
    CU_ASSERT_STRING_EQUAL(why, "");
    pair_meet(&p, s, c, "localhost");
    CU_ASSERT_EQUAL(p.server.rc, WEFT_E_TLS);
    CU_ASSERT(p.client.rc != WEFT_OK || side_read_once(&p.client, &octet, 1) < 0);
    pair_close(&p);
    tls_context_unref(s);
    so.ciphers = "ECDHE-RSA-CHACHA20-POLY1305"; /* the certificate has an EC key */
    s = context_of(&so);
    CU_ASSERT_EQUAL(tls_context_warm(s, why, sizeof why), WEFT_E_TLS);
    tls_context_unref(s);
    tls_context_unref(c);
}

/* Files that cannot be opened for want of descriptors are not wrong: it passes. */
static void without_descriptors_the_system_is_to_blame(void)
{
    struct tls_options ways[] = {server_options("server"), client_options(), client_options()};
    struct rlimit before, none;
    char why[256];

    ways[2].ca_file = NULL; /* the system's, if there are any */
    CU_ASSERT_EQUAL_FATAL(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        struct tls_context *c = NULL;
        int rc, plain = tls_context_new(&c, &ways[i], why, sizeof why), saved;

        if (plain == WEFT_OK)
            tls_context_unref(c);
        none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
        setrlimit(RLIMIT_NOFILE, &none);
        rc = tls_context_new(&c, &ways[i], why, sizeof why);
        saved = errno;
        setrlimit(RLIMIT_NOFILE, &before);
        CU_ASSERT(i == 2 || plain == WEFT_OK);
        /* valgrind opens a file before it looks at the limit, so wolfSSL goes on to directories that are not there. */
        if (plain == WEFT_OK && !(i == 2 && unit_is_in_valgrind())) {
            CU_ASSERT_EQUAL(rc, WEFT_E_SYSTEM);
            CU_ASSERT_EQUAL(saved, EMFILE);
            CU_ASSERT_PTR_NOT_NULL(strstr(why, strerror(EMFILE)));
        }
    }
}

static const struct unit_case cases[] = {
    CASE(a_trusted_certificate_for_the_host_is_taken),
    CASE(an_address_is_checked_against_the_addresses),
    CASE(another_host_is_refused),
    CASE(a_certificate_of_a_stranger_is_refused),
    CASE(an_expired_certificate_is_refused),
    CASE(the_servers_side_learns_of_the_refusal),
    CASE(the_systems_authorities_do_not_know_ours),
    CASE(the_systems_authorities_are_trusted),
    CASE(insecure_takes_any_certificate),
    CASE(a_client_that_checks_needs_to_know_whom),
    CASE(clients_show_their_certificates_in_1_2),
    CASE(clients_show_their_certificates_in_1_3),
    CASE(a_peer_that_nobody_checked_is_refused_at_the_end),
    CASE(suites_without_protection_are_not_negotiated),
    CASE(versions_before_1_2_are_refused),
    CASE(a_suite_that_was_not_offered_is_refused_at_the_end),
    CASE(a_higher_minimum_holds_on_both_sides),
    CASE(the_fastest_suite_of_the_build_is_negotiated),
    CASE(names_of_suites_are_checked),
    CASE(what_is_wrong_is_said_with_its_file),
    CASE(without_descriptors_the_system_is_to_blame),
    CASE(an_error_text_may_be_unwanted),
    CASE(the_certificate_is_chosen_by_name),
    CASE(a_protocol_is_agreed_on_when_both_name_one),
    CASE(sessions_are_resumed_where_the_keys_are),
    CASE(either_side_can_do_without_resumption),
    CASE(a_session_of_1_2_is_not_tried_with_another_server),
    CASE(a_ticket_is_used_once),
    CASE(a_resumed_session_without_a_ticket_of_its_own_is_not_kept),
    CASE(a_connection_outlives_the_context_it_was_made_of),
    CASE(warming_shakes_hands_with_itself),
    CASE(warming_tries_what_demands_certificates_too),
};

int main(int argc, char **argv)
{
    int rc;

    certs_make();
    rc = unit_main(argc, argv, "tls_context", cases, sizeof cases / sizeof cases[0]);
    certs_remove();
    return rc;
}
