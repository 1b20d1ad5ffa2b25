/* TLS from end to end: our server and our client in all modes, and peers that do not behave. That OpenSSL understands
 * us is shown by test_e2e_tls.c and by the conformance tests. */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "e2e_server.h"
#include "tls_pair.h"

#define KIB        1024u
#define MIB        (1024u * 1024u)
#define PATIENT_MS 20000

/* --- both ends --- */

static weft_tls_opts tls_opts(const char *name)
{
    struct tls_key_pair pair = key_pair(name);

    return (weft_tls_opts){
        .size = sizeof(weft_tls_opts), .cert_file = pair.cert_file, .key_file = pair.key_file};
}

static bool begin_with(struct e2e *t, const weft_tls_opts *o)
{
    return e2e_new(t) && weft_server_listen_tls(t->server, NULL, 0, &t->port, o) == WEFT_OK &&
           weft_server_start(t->server) == WEFT_OK;
}

static bool begin(struct e2e *t)
{
    weft_tls_opts o = tls_opts("server");

    return begin_with(t, &o);
}

static weft_client_opts client_opts(struct e2e *t)
{
    return (weft_client_opts){.size = sizeof(weft_client_opts),
                              .server = t->server,
                              .ca_file = cert("ca.pem"),
                              .proxy = "",
                              .open_timeout_ms = PATIENT_MS};
}

static char *url_of(uint16_t port, const char *host)
{
    static _Thread_local char url[128];

    snprintf(url, sizeof url, "wss://%s:%u/", host, port);
    return url;
}

static weft_conn *open_with(struct e2e *t, const weft_client_opts *o)
{
    weft_conn *c = NULL;

    CU_ASSERT_EQUAL(weft_client_connect(&c, url_of(t->port, "localhost"), o), WEFT_OK);
    return c;
}

static weft_conn *open_one(struct e2e *t)
{
    weft_client_opts o = client_opts(t);

    return open_with(t, &o);
}

/* It fails as TLS, and the text says this. */
static bool fails(struct e2e *t, const char *host, weft_client_opts o, const char *text)
{
    weft_failure *failure = NULL;
    weft_conn *c = NULL;
    int rc;
    bool ok;

    o.failure = &failure;
    rc = weft_client_connect(&c, url_of(t->port, host), &o);
    ok = rc == WEFT_E_TLS && failure && strstr(weft_failure_text(failure), text);
    if (!ok)
        fprintf(stderr, "%s: %d, %s\n", host, rc, failure ? weft_failure_text(failure) : "no failure");
    weft_failure_free(failure);
    weft_conn_unref(c);
    return ok;
}

/* Any length, and different everywhere. */
static weft_msg *numbered(size_t bytes, unsigned salt)
{
    void *p;
    weft_msg *m;

    if (weft_msg_new_raw(&m, WEFT_BINARY, bytes, &p) != WEFT_OK)
        abort();
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)p)[i] = (uint8_t)(i * 31 + (i >> 8) + salt);
    return m;
}

static bool is_numbered(const weft_msg *m, size_t bytes, unsigned salt)
{
    weft_msg *want = numbered(bytes, salt);
    bool same = weft_msg_bytes(m) == bytes && memcmp(weft_msg_data(m), weft_msg_data(want), bytes) == 0;

    weft_msg_unref(want);
    return same;
}

static bool say(weft_conn *c, size_t bytes, unsigned salt)
{
    weft_msg *m = numbered(bytes, salt);

    if (weft_conn_send(c, m) == WEFT_OK)
        return true;
    weft_msg_unref(m);
    return false;
}

static bool hears(weft_conn *c, size_t bytes, unsigned salt)
{
    weft_msg *m;
    bool right;

    if (weft_conn_recv(c, &m, PATIENT_MS) != WEFT_OK)
        return false;
    right = is_numbered(m, bytes, salt);
    weft_msg_unref(m);
    return right;
}

static bool echoes(weft_conn *c)
{
    return say(c, 100, 7) && hears(c, 100, 7);
}

/* Close and wait: both sides agree. */
static void end(weft_conn *c)
{
    weft_close_info info = {0};

    CU_ASSERT_EQUAL(weft_conn_close(c, 1000, "bye"), WEFT_OK);
    CU_ASSERT_EQUAL(weft_conn_wait_closed(c, PATIENT_MS), WEFT_OK);
    CU_ASSERT_EQUAL(weft_conn_close_info(c, &info), WEFT_OK);
    CU_ASSERT(info.clean);
    CU_ASSERT_EQUAL(info.received_code, 1000);
    weft_conn_unref(c);
}

/* --- messages --- */

ALL_MODES(messages_of_every_size_come_back)
{
    static const size_t sizes[] = {0,     1,     125,   126,   1000,      16383,     16384,     16385,
                                   32767, 65535, 65536, 65537, 200 * KIB, 255 * KIB, 300 * KIB, MIB};
    weft_conn *c;

    CU_ASSERT_FATAL(begin(t));
    c = open_one(t);
    for (unsigned i = 0; c && i < sizeof sizes / sizeof sizes[0]; i++)
        CU_ASSERT(say(c, sizes[i], i) && hears(c, sizes[i], i));
    /* And behind each other, as large and small ones come. */
    for (unsigned round = 0; c && round < 3; round++)
        for (unsigned i = 0; i < 8; i++)
            CU_ASSERT(say(c, sizes[15 - i], i) && hears(c, sizes[15 - i], i));
    if (c)
        end(c);
    e2e_stop(t, 5000);
}

struct flood {
    weft_conn *c;
    unsigned count;
    size_t bytes;
};

static void *pour(void *arg)
{
    struct flood *f = arg;

    for (unsigned i = 0; i < f->count; i++)
        if (!say(f->c, f->bytes, i))
            return f;
    return NULL;
}

/* Both ends write more than all buffers hold, and both read: nobody may wait for the other one to stop. */
static void flood(struct e2e *t, unsigned count, size_t bytes)
{
    struct flood f = {open_one(t), count, bytes};
    pthread_t thread;
    void *failed;
    unsigned right = 0;

    CU_ASSERT_FATAL(f.c != NULL);
    pthread_create(&thread, NULL, pour, &f);
    while (right < count && hears(f.c, bytes, right))
        right++;
    CU_ASSERT_EQUAL(right, count);
    pthread_join(thread, &failed);
    CU_ASSERT_PTR_NULL(failed);
    end(f.c);
}

POOL_MODES(both_ends_may_write_at_once)
{
    CU_ASSERT_FATAL(begin(t));
    flood(t, unit_is_slow() ? 40 : 200, 100 * KIB);
    flood(t, unit_is_slow() ? 500 : 5000, 700);
    e2e_stop(t, 5000);
}

static void say_much(weft_conn *c, weft_msg *m, struct seen *s)
{
    (void)s;
    weft_msg_unref(m);
    for (unsigned i = 0; i < 60; i++)
        if (!say(c, 150 * KIB, i))
            return;
}

POOL_MODES(a_reader_that_stops_gets_all_later)
{
    weft_conn *c, *s;

    t->on_message = say_much;
    t->opts.compression.is_off = true; /* or all of it would be small */
    CU_ASSERT_FATAL(begin(t));
    c = open_one(t);
    CU_ASSERT(say(c, 1, 0));
    /* The handler hangs in its send: the outbox is full. */
    s = e2e_take(t, 0);
    WAIT_FOR(weft_conn_outbox_bytes(s) > 64 * KIB);
    weft_conn_unref(s);
    for (unsigned i = 0; i < 60; i++)
        CU_ASSERT(hears(c, 150 * KIB, i));
    end(c);
    e2e_stop(t, 5000);
}

ALL_MODES(a_broadcast_reaches_plain_and_secure_connections)
{
    weft_tls_opts o = tls_opts("server");
    weft_conn *c[8];
    uint16_t plain;
    struct client k = {0};
    struct frame f;
    weft_msg *m = numbered(20000, 3);

    CU_ASSERT_FATAL(e2e_new(t) && weft_server_listen_tls(t->server, NULL, 0, &t->port, &o) == WEFT_OK &&
                    weft_server_listen_tcp(t->server, NULL, 0, &plain) == WEFT_OK &&
                    weft_server_start(t->server) == WEFT_OK);
    for (unsigned i = 0; i < 8; i++)
        c[i] = open_one(t);
    CU_ASSERT(client_open(&k, plain));
    WAIT_FOR(atomic_load(&t->opened) == 9);
    CU_ASSERT_EQUAL(weft_group_broadcast(weft_server_group(t->server), m, NULL), WEFT_OK);
    for (unsigned i = 0; i < 8; i++)
        CU_ASSERT(hears(c[i], 20000, 3));
    CU_ASSERT(client_hear(&k, &f) == CLIENT_OK && f.bytes == 20000);
    for (unsigned i = 0; i < 8; i++)
        end(c[i]);
    client_close(&k);
    e2e_stop(t, 5000);
}

/* --- endings --- */

static void close_at_once(weft_conn *c, weft_msg *m, struct seen *s)
{
    (void)s;
    weft_msg_unref(m);
    CU_ASSERT(say(c, 40 * KIB, 1));
    weft_conn_close(c, 4001, "enough");
}

ALL_MODES(the_server_closes_behind_its_last_message)
{
    weft_close_info info = {0};
    weft_conn *c;
    weft_msg *m;

    t->on_message = close_at_once;
    CU_ASSERT_FATAL(begin(t));
    c = open_one(t);
    CU_ASSERT(say(c, 1, 0));
    CU_ASSERT(hears(c, 40 * KIB, 1));
    CU_ASSERT_EQUAL(weft_conn_recv(c, &m, PATIENT_MS), WEFT_E_CLOSED);
    CU_ASSERT_EQUAL(weft_conn_wait_closed(c, PATIENT_MS), WEFT_OK);
    CU_ASSERT_EQUAL(weft_conn_close_info(c, &info), WEFT_OK);
    CU_ASSERT(info.clean && info.by_peer);
    CU_ASSERT_EQUAL(info.received_code, 4001);
    CU_ASSERT_STRING_EQUAL(info.reason, "enough");
    WAIT_FOR(atomic_load(&t->closed) == 1);
    CU_ASSERT(t->seen[0]->info.clean);
    weft_conn_unref(c);
    e2e_stop(t, 5000);
}

ALL_MODES(an_abort_of_either_side_is_unclean_at_the_other)
{
    weft_close_info info = {0};
    weft_conn *c, *s;

    CU_ASSERT_FATAL(begin(t));
    c = open_one(t);
    CU_ASSERT(echoes(c));
    weft_conn_abort(c);
    WAIT_FOR(atomic_load(&t->closed) == 1);
    CU_ASSERT(!t->seen[0]->info.clean);
    CU_ASSERT_EQUAL(t->seen[0]->info.received_code, 1006);
    weft_conn_unref(c);
    c = open_one(t);
    CU_ASSERT(echoes(c));
    s = e2e_take(t, 1);
    weft_conn_abort(s);
    weft_conn_unref(s);
    CU_ASSERT_EQUAL(weft_conn_wait_closed(c, PATIENT_MS), WEFT_OK);
    CU_ASSERT_EQUAL(weft_conn_close_info(c, &info), WEFT_OK);
    CU_ASSERT(!info.clean && info.by_peer);
    CU_ASSERT_EQUAL(info.received_code, 1006);
    weft_conn_unref(c);
    e2e_stop(t, 5000);
}

static void *pour_for_ever(void *arg)
{
    struct flood *f = arg;
    weft_msg *m;

    while (say(f->c, f->bytes, 0))
        if (weft_conn_recv(f->c, &m, PATIENT_MS) == WEFT_OK)
            weft_msg_unref(m);
    return NULL;
}

POOL_MODES(a_stop_under_load_comes_to_its_end)
{
    struct flood f[4];
    pthread_t threads[4];

    CU_ASSERT_FATAL(begin(t));
    for (unsigned i = 0; i < 4; i++) {
        f[i] = (struct flood){open_one(t), 0, i < 2 ? 300 : 90 * KIB};
        pthread_create(&threads[i], NULL, pour_for_ever, &f[i]);
    }
    WAIT_FOR(atomic_load(&t->messages) > 200);
    e2e_stop(t, 3000);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        weft_conn_unref(f[i].c);
    }
}

/* --- certificates --- */

ALL_MODES(a_certificate_that_is_not_good_is_refused_with_the_reason)
{
    weft_tls_opts expired = tls_opts("expired"), stranger = tls_opts("stranger");
    weft_client_opts o;
    uint16_t good;

    CU_ASSERT_FATAL(e2e_new(t));
    {
        weft_tls_opts own = tls_opts("server");
        CU_ASSERT_EQUAL(weft_server_listen_tls(t->server, NULL, 0, &good, &own), WEFT_OK);
    }
    CU_ASSERT_EQUAL(weft_server_listen_tls(t->server, NULL, 0, &t->port, &expired), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_start(t->server), WEFT_OK);
    o = client_opts(t);
    CU_ASSERT(fails(t, "localhost", o, "date"));
    o.insecure = true;
    end(open_with(t, &o));
    o.insecure = false;
    t->port = good;
    end(open_with(t, &o));
    o.ca_file = cert("stranger_ca.pem");
    CU_ASSERT(fails(t, "localhost", o, "not of a trusted authority"));
    o.ca_file = cert("no_such_file.pem");
    {
        weft_conn *c;
        CU_ASSERT_EQUAL(weft_client_connect(&c, url_of(t->port, "localhost"), &o), WEFT_E_INVAL);
    }
    e2e_stop(t, 1000);
    CU_ASSERT_FATAL(e2e_new(t));
    CU_ASSERT_EQUAL(weft_server_listen_tls(t->server, NULL, 0, &t->port, &stranger), WEFT_OK);
    stranger.key_file = key_pair("server").key_file;
    CU_ASSERT_EQUAL(weft_server_listen_tls(t->server, NULL, 0, NULL, &stranger), WEFT_E_INVAL);
    stranger.key_file = NULL;
    CU_ASSERT_EQUAL(weft_server_listen_tls(t->server, NULL, 0, NULL, &stranger), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_server_listen_tls(t->server, NULL, 0, NULL, NULL), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_server_start(t->server), WEFT_OK);
    CU_ASSERT(fails(t, "localhost", client_opts(t), "not of a trusted authority"));
    e2e_stop(t, 1000);
}

ALL_MODES(a_certificate_for_another_host_is_refused)
{
    weft_tls_opts other = tls_opts("other");

    CU_ASSERT_FATAL(begin_with(t, &other));
    CU_ASSERT(fails(t, "localhost", client_opts(t), "not for this host"));
    CU_ASSERT(fails(t, "127.0.0.1", client_opts(t), "not for this host"));
    e2e_stop(t, 1000);
}

ALL_MODES(a_host_with_a_dot_at_its_end_is_the_same_host)
{
    weft_client_opts o;
    weft_conn *c = NULL;

    CU_ASSERT_FATAL(begin(t));
    o = client_opts(t);
    CU_ASSERT_EQUAL(weft_client_connect(&c, url_of(t->port, "localhost."), &o), WEFT_OK);
    if (c)
        end(c);
    e2e_stop(t, 1000);
}

static void tell_subject(weft_request *r, struct e2e *t)
{
    weft_tls_info info = {.size = sizeof info};

    if (weft_request_tls_info(r, &info) != WEFT_OK)
        e2e_fault(t, "a request without TLS");
    else if (strcmp(info.peer_subject, t->arg) != 0 || info.has_certificate != (*(char *)t->arg != '\0'))
        e2e_fault(t, "the subject is '%s'", info.peer_subject);
    weft_request_accept(r, NULL);
}

ALL_MODES(a_client_shows_its_certificate)
{
    weft_tls_opts o = tls_opts("server");
    weft_client_opts with, without;
    struct tls_key_pair own = key_pair("client"), eve = key_pair("stranger_client");
    weft_tls_info info = {.size = sizeof info};
    weft_conn *c;

    o.client_auth = WEFT_TLS_CLIENT_AUTH_REQUIRED;
    o.ca_file = cert("ca.pem");
    t->on_request = tell_subject;
    t->arg = (void *)"CN=ann,O=weft";
    CU_ASSERT_FATAL(begin_with(t, &o));
    with = without = client_opts(t);
    with.cert_file = own.cert_file;
    with.key_file = own.key_file;
    c = open_with(t, &with);
    CU_ASSERT(echoes(c));
    CU_ASSERT_EQUAL(weft_conn_tls_info(c, &info), WEFT_OK);
    CU_ASSERT(info.has_certificate);
    CU_ASSERT_STRING_EQUAL(info.peer_subject, "CN=server");
    CU_ASSERT_STRING_EQUAL(info.alpn, "http/1.1");
    CU_ASSERT_STRING_EQUAL(info.version, "TLSv1.3");
    CU_ASSERT(strlen(info.cipher) > 5);
    end(c);
    /* In TLS 1.3 the client is done first, and then hears that it is not welcome. */
    CU_ASSERT_NOT_EQUAL(weft_client_connect(&c, url_of(t->port, "localhost"), &without), WEFT_OK);
    with.cert_file = eve.cert_file;
    with.key_file = eve.key_file;
    CU_ASSERT_NOT_EQUAL(weft_client_connect(&c, url_of(t->port, "localhost"), &with), WEFT_OK);
    e2e_stop(t, 1000);
    CU_ASSERT_EQUAL(atomic_load(&t->opened), 1);
}

ALL_MODES(a_client_without_a_certificate_may_be_welcome)
{
    weft_tls_opts o = tls_opts("server");

    o.client_auth = WEFT_TLS_CLIENT_AUTH_OPTIONAL;
    o.ca_file = cert("ca.pem");
    t->on_request = tell_subject;
    t->arg = (void *)"";
    CU_ASSERT_FATAL(begin_with(t, &o));
    end(open_one(t));
    e2e_stop(t, 1000);
}

static void copy_file(const char *from, const char *to)
{
    char bytes[65536];
    int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = read(in, bytes, sizeof bytes);

    if (n <= 0 || write(out, bytes, (size_t)n) != n)
        abort();
    close(in);
    close(out);
}

/* --- what a client demands --- */

#define SUITE_OF_1_2 "ECDHE-ECDSA-AES128-GCM-SHA256"

ALL_MODES(a_client_that_demands_1_3_refuses_a_server_of_1_2)
{
    weft_tls_opts old = tls_opts("server");
    weft_tls_info info = {.size = sizeof info};
    weft_client_opts o;
    weft_conn *c;

    old.ciphers = SUITE_OF_1_2;
    CU_ASSERT_FATAL(begin_with(t, &old));
    o = client_opts(t);
    o.version_min = WEFT_TLS_1_3;
    CU_ASSERT(fails(t, "localhost", o, "version"));
    o.version_min = WEFT_TLS_1_2;
    c = open_with(t, &o);
    CU_ASSERT_EQUAL(weft_conn_tls_info(c, &info), WEFT_OK);
    CU_ASSERT_STRING_EQUAL(info.version, "TLSv1.2");
    end(c);
    e2e_stop(t, 1000);
}

ALL_MODES(a_client_offers_its_own_ciphers_only)
{
    static const char *const suites[] = {SUITE_OF_1_2, "ECDHE-ECDSA-CHACHA20-POLY1305"};
    weft_tls_opts new_only = tls_opts("server");
    weft_tls_info info = {.size = sizeof info};
    weft_client_opts o;

    CU_ASSERT_FATAL(begin(t));
    o = client_opts(t);
    for (unsigned i = 0; i < 2; i++) {
        weft_conn *c;
        o.ciphers = suites[i];
        c = open_with(t, &o);
        CU_ASSERT_EQUAL(weft_conn_tls_info(c, &info), WEFT_OK);
        CU_ASSERT_STRING_EQUAL(info.version, "TLSv1.2");
        CU_ASSERT_PTR_NOT_NULL(strstr(info.cipher, i ? "CHACHA20" : "GCM"));
        end(c);
    }
    e2e_stop(t, 1000);
    new_only.version_min = WEFT_TLS_1_3;
    CU_ASSERT_FATAL(begin_with(t, &new_only));
    o = client_opts(t);
    o.ciphers = SUITE_OF_1_2;
    CU_ASSERT(fails(t, "localhost", o, "alert"));
    e2e_stop(t, 1000);
}

ALL_MODES(what_a_client_cannot_demand_is_refused_before_anything_is_sent)
{
    weft_client_opts o;
    weft_conn *c = NULL;

    CU_ASSERT_FATAL(begin(t));
    o = client_opts(t);
    o.version_min = (enum weft_tls_version)0x0302;
    CU_ASSERT_EQUAL(weft_client_connect(&c, url_of(t->port, "localhost"), &o), WEFT_E_INVAL);
    o.version_min = WEFT_TLS_1_3;
    o.ciphers = SUITE_OF_1_2; /* nothing is left */
    CU_ASSERT_EQUAL(weft_client_connect(&c, url_of(t->port, "localhost"), &o), WEFT_E_INVAL);
    o = client_opts(t);
    o.ciphers = "NO-SUCH-SUITE";
    CU_ASSERT_EQUAL(weft_client_connect(&c, url_of(t->port, "localhost"), &o), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(atomic_load(&t->opened), 0);
    e2e_stop(t, 1000);
}

ALL_MODES(a_client_trusts_the_authorities_of_a_directory)
{
    weft_client_opts o;
    char directory[] = "/tmp/weft-authorities-XXXXXX", path[64];

    CU_ASSERT_FATAL(begin(t));
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/stranger.pem", directory);
    copy_file(cert("stranger_ca.pem"), path);
    o = client_opts(t);
    o.ca_file = NULL;
    o.ca_dir = directory;
    CU_ASSERT(fails(t, "localhost", o, "not of a trusted authority"));
    unlink(path);
    copy_file(cert("ca.pem"), path);
    end(open_with(t, &o));
    unlink(path);
    rmdir(directory);
    e2e_stop(t, 1000);
}

ALL_MODES(certificates_are_read_again_without_a_pause)
{
    weft_tls_opts o = {.size = sizeof o, .cert_file = cert("live.pem"), .key_file = cert("live.key")};
    weft_conn *before, *c;
    weft_client_opts opts;

    copy_file(cert("server.pem"), o.cert_file);
    copy_file(cert("server.key"), o.key_file);
    CU_ASSERT_FATAL(begin_with(t, &o));
    before = open_one(t);
    copy_file(cert("expired.pem"), o.cert_file);
    CU_ASSERT_EQUAL(weft_server_reload_tls(t->server), WEFT_E_INVAL); /* the key is the other one's */
    end(open_one(t));
    copy_file(cert("expired.key"), o.key_file);
    CU_ASSERT_EQUAL(weft_server_reload_tls(t->server), WEFT_OK);
    opts = client_opts(t);
    CU_ASSERT(fails(t, "localhost", opts, "date"));
    CU_ASSERT(echoes(before));
    copy_file(cert("rsa.pem"), o.cert_file);
    copy_file(cert("rsa.key"), o.key_file);
    CU_ASSERT_EQUAL(weft_server_reload_tls(t->server), WEFT_OK);
    c = open_one(t);
    CU_ASSERT(echoes(c));
    CU_ASSERT(echoes(before));
    end(c);
    end(before);
    e2e_stop(t, 1000);
}

ALL_MODES(a_client_resumes_its_session)
{
    weft_tls_info info = {.size = sizeof info};
    weft_client_opts o;
    weft_client *client;
    weft_conn *c;

    CU_ASSERT_FATAL(begin(t));
    o = client_opts(t);
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&client, url_of(t->port, "localhost"), &o), WEFT_OK);
    for (unsigned i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL_FATAL(weft_client_next(client, &c, PATIENT_MS), WEFT_OK);
        CU_ASSERT(echoes(c));
        CU_ASSERT_EQUAL(weft_conn_tls_info(c, &info), WEFT_OK);
        CU_ASSERT_EQUAL(info.is_resumed, i > 0);
        CU_ASSERT_EQUAL(weft_server_reload_tls(t->server), WEFT_OK); /* which takes none away */
        end(c);
    }
    STOPS(weft_client_stop(client, 1000));
    weft_client_unref(client);
    e2e_stop(t, 1000);
}

/* --- peers that do not behave --- */

static int connect_to(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        abort();
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* TLS by hand: a side of tls_pair over a connection of its own. */
static bool shake_side(struct tls_side *side, struct tls_context *context, int fd, const char *host)
{
    *side = (struct tls_side){tls_new(context, host, 0), fd, WEFT_E_AGAIN, tls_scratch_new(0, 0)};
    while ((side->rc = tls_handshake(side->t, fd, side->s)) == WEFT_E_AGAIN)
        if (!fd_wait(fd, POLLIN))
            return false;
    return side->rc == WEFT_OK;
}

static void drop_side(struct tls_side *side)
{
    tls_free(side->t);
    tls_scratch_free(side->s);
    close(side->fd);
    tls_thread_leave();
}

static bool upgrade(struct tls_side *side)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " CLIENT_KEY "\r\n\r\n";
    char answer[4096];
    size_t n = 0;

    if (!side_write(side, request, sizeof request - 1))
        return false;
    for (;;) {
        ptrdiff_t got = side_read_once(side, answer + n, sizeof answer - 1 - n);
        if (got <= 0)
            return false;
        n += (size_t)got;
        answer[n] = '\0';
        if (strstr(answer, "\r\n\r\n"))
            return strstr(answer, " 101 ") != NULL;
    }
}

ALL_MODES(a_stream_that_is_cut_off_is_an_unclean_end)
{
    static const uint8_t half[] = {0x82, 0xfe, 0x10, 0x00, 1, 2, 3, 4, 5, 6};
    struct tls_options o = client_options();
    struct tls_context *context = context_of(&o);

    CU_ASSERT_FATAL(begin(t));
    for (unsigned with_notify = 0; with_notify < 2; with_notify++) {
        struct tls_side side;
        CU_ASSERT(shake_side(&side, context, connect_to(t->port), "localhost"));
        CU_ASSERT(upgrade(&side));
        CU_ASSERT(side_write(&side, half, sizeof half));
        if (with_notify)
            tls_finish(side.t, side.fd, side.s);
        drop_side(&side);
        WAIT_FOR(atomic_load(&t->closed) == with_notify + 1);
        CU_ASSERT(!t->seen[with_notify]->info.clean);
        CU_ASSERT_EQUAL(t->seen[with_notify]->info.received_code, 1006);
    }
    tls_context_unref(context);
    e2e_stop(t, 1000);
}

ALL_MODES(the_certificate_is_chosen_by_the_name_that_is_asked_for)
{
    static const char *const names[] = {"localhost", "other.test", "a.weft.test"};
    static const char *const subjects[] = {"CN=server", "CN=other", "CN=server"};
    struct tls_key_pair pair = key_pair("other");
    const weft_tls_pair others[] = {{pair.cert_file, pair.key_file, NULL}};
    weft_tls_opts opts = tls_opts("server");
    struct tls_options o = client_options();
    struct tls_context *context = context_of(&o);

    opts.others = others;
    opts.other_count = 1;
    CU_ASSERT_FATAL(begin_with(t, &opts));
    for (unsigned i = 0; i < 3; i++) {
        struct tls_side side;
        CU_ASSERT(shake_side(&side, context, connect_to(t->port), names[i]));
        CU_ASSERT_STRING_EQUAL(tls_peer_subject(side.t), subjects[i]);
        CU_ASSERT(upgrade(&side));
        drop_side(&side);
    }
    tls_context_unref(context);
    e2e_stop(t, 1000);
}

ALL_MODES(a_unix_socket_speaks_tls_too)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    weft_tls_opts opts = tls_opts("server");
    struct tls_options o = client_options();
    struct tls_context *context = context_of(&o);
    struct tls_side side;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof a.sun_path, "%s", cert("socket"));
    CU_ASSERT_FATAL(e2e_new(t) && weft_server_listen_tls_unix(t->server, a.sun_path, &opts) == WEFT_OK &&
                    weft_server_start(t->server) == WEFT_OK);
    CU_ASSERT_EQUAL_FATAL(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    CU_ASSERT(shake_side(&side, context, fd, "localhost"));
    CU_ASSERT(upgrade(&side));
    drop_side(&side);
    tls_context_unref(context);
    e2e_stop(t, 1000);
}

ALL_MODES(an_adopted_descriptor_speaks_tls_too)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    weft_tls_opts opts = tls_opts("server"), nothing = {.size = sizeof nothing};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    weft_conn *c;

    CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    CU_ASSERT_FATAL(e2e_new(t));
    CU_ASSERT_EQUAL(weft_server_listen_tls_fd(t->server, fd, &opts), WEFT_E_INVAL); /* it does not listen yet */
    CU_ASSERT_EQUAL(listen(fd, 16), 0);
    CU_ASSERT_EQUAL(weft_server_listen_tls_fd(t->server, fd, &nothing), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_server_listen_tls_fd(t->server, fd, &opts), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_listen_tls_fd(t->server, fd, &opts), WEFT_E_INVAL); /* given already */
    CU_ASSERT_EQUAL_FATAL(weft_server_start(t->server), WEFT_OK);
    CU_ASSERT_EQUAL(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    t->port = ntohs(a.sin_port);
    c = open_one(t);
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    CU_ASSERT_EQUAL(weft_conn_close(c, 1000, NULL), WEFT_OK);
    weft_conn_unref(c);
    e2e_stop(t, 1000);
}

ALL_MODES(plain_http_to_a_secure_port_is_refused)
{
    struct client k = {0};
    struct tls_side side;

    (void)side;
    CU_ASSERT_FATAL(begin(t));
    CU_ASSERT(client_connect(&k, t->port));
    CU_ASSERT(client_ask(&k, "/", NULL));
    {
        uint8_t alert[7];
        struct pollfd p = {.fd = k.fd, .events = POLLIN};
        CU_ASSERT(poll(&p, 1, PATIENT_MS) == 1 && recv(k.fd, alert, sizeof alert, 0) == 7 && alert[0] == 21);
        CU_ASSERT(poll(&p, 1, PATIENT_MS) == 1 && recv(k.fd, alert, 1, 0) == 0);
    }
    client_close(&k);
    WAIT_FOR(e2e_stats(t).refused == 1);
    end(open_one(t));
    e2e_stop(t, 1000);
}

ALL_MODES(tls_to_a_plain_port_is_refused)
{
    static const uint8_t hello[] = {0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3};
    struct client k = {0};
    char head[1024];

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_connect(&k, t->port));
    CU_ASSERT(client_put(&k, hello, sizeof hello));
    CU_ASSERT_EQUAL(client_status(&k, head, sizeof head), 400);
    client_close(&k);
    CU_ASSERT(fails(t, "localhost", client_opts(t), "plain HTTP, not TLS"));
    e2e_stop(t, 1000);
}

ALL_MODES(garbage_gets_an_end_and_no_memory)
{
    static const char *const all[] = {"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x03",
                                      "\x16\x03\x01\xff\xff",
                                      "\x17\x03\x03\x00\x01x",
                                      "\x80\x2e\x01\x03\x01",
                                      "zzzzzzzzzzzzzzzzzzzzzzzz",
                                      "\x16\x03\x01\x00\x00"};
    static const size_t lengths[] = {10, 5, 6, 5, 24, 5};

    CU_ASSERT_FATAL(begin(t));
    for (unsigned i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct client k = {0};
        CU_ASSERT(client_connect(&k, t->port));
        for (size_t at = 0; at < lengths[i]; at++)
            client_put(&k, all[i] + at, 1); /* the last ones may come too late */
        {
            uint8_t alert[64];
            struct pollfd p = {.fd = k.fd, .events = POLLIN};
            while (poll(&p, 1, PATIENT_MS) == 1 && recv(k.fd, alert, sizeof alert, 0) > 0) {
            }
            CU_ASSERT(p.revents != 0);
        }
        client_close(&k);
    }
    WAIT_FOR(e2e_stats(t).refused == sizeof all / sizeof all[0]);
    end(open_one(t));
    e2e_stop(t, 1000);
}

ALL_MODES(a_handshake_that_takes_too_long_is_ended)
{
    struct client silent = {0}, half = {0};

    t->opts.open_timeout_ms = 150;
    CU_ASSERT_FATAL(begin(t));
    CU_ASSERT(client_connect(&silent, t->port));
    CU_ASSERT(client_connect(&half, t->port));
    CU_ASSERT(client_put(&half, "\x16\x03\x01\x02\x00\x01\x00", 7));
    CU_ASSERT(client_sees_end(&silent));
    CU_ASSERT(client_sees_end(&half));
    WAIT_FOR(e2e_stats(t).refused == 2);
    client_close(&silent);
    client_close(&half);
    e2e_stop(t, 1000);
}

/* A server that accepts and says nothing. */
ALL_MODES(a_client_gives_up_a_handshake_in_time)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    weft_client_opts o;
    weft_conn *c;

    CU_ASSERT_FATAL(bind(fd, (struct sockaddr *)&a, n) == 0 && listen(fd, 4) == 0 &&
                    getsockname(fd, (struct sockaddr *)&a, &n) == 0);
    CU_ASSERT_FATAL(begin(t));
    o = client_opts(t);
    o.open_timeout_ms = 150;
    CU_ASSERT_EQUAL(weft_client_connect(&c, url_of(ntohs(a.sin_port), "localhost"), &o), WEFT_E_TIMEOUT);
    close(fd);
    e2e_stop(t, 1000);
}

/* --- one byte at a time --- */

struct trickle {
    int listen_fd, stop[2];
    uint16_t port, to;
    pthread_t thread;
};

/* Forward what comes on one, byte by byte. False: it ended. */
static bool forward(int from, int to)
{
    uint8_t byte;
    ssize_t n = recv(from, &byte, 1, 0);

    if (n == 1 && send(to, &byte, 1, MSG_NOSIGNAL) == 1)
        return true;
    shutdown(to, SHUT_WR);
    return false;
}

static void *trickle_main(void *arg)
{
    struct trickle *k = arg;
    struct pollfd p[3] = {
        {k->stop[0], POLLIN, 0}, {accept(k->listen_fd, NULL, NULL), POLLIN, 0}, {-1, POLLIN, 0}};
    int ends[2] = {p[1].fd, connect_to(k->to)};

    fcntl(ends[1], F_SETFL, 0);
    p[2].fd = ends[1];
    while (!p[0].revents && (p[1].fd >= 0 || p[2].fd >= 0) && poll(p, 3, PATIENT_MS) > 0)
        for (unsigned i = 0; i < 2; i++)
            if (p[1 + i].fd >= 0 && p[1 + i].revents && !forward(ends[i], ends[1 - i]))
                p[1 + i].fd = -1;
    close(ends[0]);
    close(ends[1]);
    return NULL;
}

static void trickle_start(struct trickle *k, uint16_t to)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;

    k->to = to;
    k->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(k->listen_fd, (struct sockaddr *)&a, n) != 0 || listen(k->listen_fd, 4) != 0 ||
        getsockname(k->listen_fd, (struct sockaddr *)&a, &n) != 0 || pipe(k->stop) != 0)
        abort();
    k->port = ntohs(a.sin_port);
    pthread_create(&k->thread, NULL, trickle_main, k);
}

static void trickle_stop(struct trickle *k)
{
    if (write(k->stop[1], "x", 1) != 1)
        abort();
    pthread_join(k->thread, NULL);
    close(k->stop[0]);
    close(k->stop[1]);
    close(k->listen_fd);
}

ALL_MODES(bytes_may_come_one_at_a_time)
{
    struct trickle k;
    weft_client_opts o;
    weft_conn *c = NULL;

    CU_ASSERT_FATAL(begin(t));
    trickle_start(&k, t->port);
    o = client_opts(t);
    CU_ASSERT_EQUAL(weft_client_connect(&c, url_of(k.port, "localhost"), &o), WEFT_OK);
    if (c) {
        CU_ASSERT(echoes(c));
        CU_ASSERT(say(c, 5000, 1) && hears(c, 5000, 1));
        end(c);
    }
    trickle_stop(&k);
    e2e_stop(t, 2000);
}

/* --- many at once --- */

static void *open_some(void *arg)
{
    struct e2e *t = arg;
    const weft_client_opts *o = t->arg;

    for (unsigned i = 0; i < 12; i++) {
        weft_conn *c;
        if (weft_client_connect(&c, url_of(t->port, "localhost"), o) != WEFT_OK) {
            e2e_fault(t, "one of many did not open");
            return NULL;
        }
        if (!echoes(c))
            e2e_fault(t, "one of many does not echo");
        weft_conn_close(c, 1000, NULL);
        weft_conn_unref(c);
    }
    return NULL;
}

ALL_MODES(handshakes_of_many_come_through)
{
    pthread_t threads[6];
    weft_client_opts o;

    CU_ASSERT_FATAL(begin(t));
    o = client_opts(t);
    t->arg = &o;
    for (unsigned i = 0; i < 6; i++)
        pthread_create(&threads[i], NULL, open_some, t);
    for (unsigned i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    WAIT_FOR(atomic_load(&t->closed) == 72);
    e2e_stop(t, 2000);
}

static const struct unit_case cases[] = {
    CASE(messages_of_every_size_come_back),
    CASE(both_ends_may_write_at_once),
    CASE(a_reader_that_stops_gets_all_later),
    CASE(a_broadcast_reaches_plain_and_secure_connections),
    CASE(the_server_closes_behind_its_last_message),
    CASE(an_abort_of_either_side_is_unclean_at_the_other),
    CASE(a_stop_under_load_comes_to_its_end),
    CASE(a_certificate_that_is_not_good_is_refused_with_the_reason),
    CASE(a_certificate_for_another_host_is_refused),
    CASE(a_host_with_a_dot_at_its_end_is_the_same_host),
    CASE(a_client_shows_its_certificate),
    CASE(a_client_without_a_certificate_may_be_welcome),
    CASE(a_client_that_demands_1_3_refuses_a_server_of_1_2),
    CASE(a_client_offers_its_own_ciphers_only),
    CASE(what_a_client_cannot_demand_is_refused_before_anything_is_sent),
    CASE(a_client_trusts_the_authorities_of_a_directory),
    CASE(certificates_are_read_again_without_a_pause),
    CASE(a_client_resumes_its_session),
    CASE(a_stream_that_is_cut_off_is_an_unclean_end),
    CASE(the_certificate_is_chosen_by_the_name_that_is_asked_for),
    CASE(a_unix_socket_speaks_tls_too),
    CASE(an_adopted_descriptor_speaks_tls_too),
    CASE(plain_http_to_a_secure_port_is_refused),
    CASE(tls_to_a_plain_port_is_refused),
    CASE(garbage_gets_an_end_and_no_memory),
    CASE(a_handshake_that_takes_too_long_is_ended),
    CASE(a_client_gives_up_a_handshake_in_time),
    CASE(bytes_may_come_one_at_a_time),
    CASE(handshakes_of_many_come_through),
};

int main(int argc, char **argv)
{
    int status;

    certs_make();
    status = unit_main(argc, argv, "e2e_wss", cases, sizeof cases / sizeof cases[0]);
    certs_remove();
    return status;
}
