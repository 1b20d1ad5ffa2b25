/* Arguments that cannot be used: each public function that can say so refuses them with WEFT_E_INVAL, changes
 * nothing and takes nothing it was to be given. */
#include <string.h>

#include "base/msg.h"
#include "e2e_server.h"
#include "unit.h"
#include "weft/proto.h"

#define INVALID(call) CU_ASSERT_EQUAL((call), WEFT_E_INVAL)

static int no_task(weft_conn *c, void *app)
{
    (void)c, (void)app;
    return WEFT_OK;
}

static bool visit_none(weft_conn *c, void *arg)
{
    (void)c, (void)arg;
    return true;
}

static void on_item(const weft_bus_item *item, void *arg)
{
    (void)item, (void)arg;
}

static void on_names(int result, const char *const *names, size_t count, void *arg)
{
    (void)result, (void)names, (void)count, (void)arg;
}

static void without_a_connection_nothing_is_sent_or_received(void)
{
    weft_task *const tasks[] = {no_task};
    weft_close_info info;
    weft_tls_info tls = {.size = sizeof tls};
    weft_msg *m = e2e_text("stays mine"), *out;
    uint32_t latency_us;
    bool is_last;

    weft_conn_unref(NULL);
    weft_conn_abort(NULL);
    INVALID(weft_conn_send(NULL, m));
    INVALID(weft_conn_try_send(NULL, m));
    INVALID(weft_conn_send_text(NULL, "x"));
    INVALID(weft_conn_ping(NULL, "x", 1));
    INVALID(weft_conn_close(NULL, 1000, NULL));
    INVALID(weft_conn_close_info(NULL, &info));
    INVALID(weft_conn_recv(NULL, &out, 0));
    INVALID(weft_conn_recv_part(NULL, &out, &is_last, 0));
    INVALID(weft_conn_send_begin(NULL, WEFT_TEXT));
    INVALID(weft_conn_send_part(NULL, "x", 1));
    INVALID(weft_conn_send_end(NULL));
    INVALID(weft_conn_race_n(NULL, NULL, tasks, 1));
    INVALID(weft_conn_gather_n(NULL, NULL, tasks, 1));
    INVALID(weft_conn_sleep(NULL, 1));
    INVALID(weft_conn_wait_closed(NULL, 1));
    INVALID(weft_conn_ping_wait(NULL, 1, &latency_us));
    INVALID(weft_conn_tls_info(NULL, &tls));
    INVALID(weft_request_tls_info(NULL, &tls));
    weft_msg_unref(m);
}

static void calls_on(weft_conn *c, struct e2e *t)
{
    weft_task *const gap[] = {no_task, NULL};
    weft_tls_info without_size = {0};
    weft_group *g = weft_server_group(t->server);
    weft_msg *out;
    bool is_last;
    char bytes[126] = "";

    INVALID(weft_conn_send(c, NULL));
    INVALID(weft_conn_try_send(c, NULL));
    INVALID(weft_conn_send_text(c, NULL));
    INVALID(weft_conn_ping(c, NULL, 1));
    INVALID(weft_conn_ping(c, bytes, sizeof bytes));
    INVALID(weft_conn_close_info(c, NULL));
    INVALID(weft_conn_recv(c, NULL, 0));
    INVALID(weft_conn_recv_part(c, NULL, &is_last, 0));
    INVALID(weft_conn_recv_part(c, &out, NULL, 0));
    INVALID(weft_conn_send_begin(c, (enum weft_msg_type)0));
    INVALID(weft_conn_send_begin(c, (enum weft_msg_type)9));
    INVALID(weft_conn_send_part(c, NULL, 1));
    INVALID(weft_conn_send_part(c, bytes, (size_t)MSG_BYTES_MAX + 1));
    INVALID(weft_conn_race_n(c, NULL, NULL, 1));
    INVALID(weft_conn_race_n(c, NULL, gap, 0));
    INVALID(weft_conn_race_n(c, NULL, gap, 65));
    INVALID(weft_conn_race_n(c, NULL, gap, 2));
    INVALID(weft_conn_tls_info(c, NULL));
    INVALID(weft_conn_tls_info(c, &without_size));
    INVALID(weft_group_add(NULL, c));
    INVALID(weft_group_remove(NULL, c));
    INVALID(weft_group_add(g, NULL));
    INVALID(weft_group_remove(g, NULL));
    INVALID(weft_group_each(g, NULL, NULL));
    INVALID(weft_group_broadcast(g, NULL, NULL));
}

ALL_MODES(a_connection_refuses_arguments_and_goes_on)
{
    struct client k;
    weft_conn *c;

    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    c = e2e_take(t, 0);
    CU_ASSERT_FATAL(c != NULL);
    calls_on(c, t);
    CU_ASSERT_EQUAL(weft_conn_send_text(c, "still here"), WEFT_OK);
    CU_ASSERT(client_hears(&k, "still here"));
    weft_conn_unref(c);
    client_close(&k);
}

static void a_group_refuses(void)
{
    weft_msg *m = e2e_text("x");

    INVALID(weft_group_new(NULL));
    INVALID(weft_group_each(NULL, visit_none, NULL));
    INVALID(weft_group_broadcast(NULL, m, NULL));
    weft_group_unref(NULL);
    weft_msg_unref(m);
}

static void a_server_refuses(void)
{
    weft_tls_opts tls = {.size = sizeof tls}, auth = tls, version = tls, half = tls, no_size = {0};
    weft_stats without_size = {0}, stats = {.size = sizeof stats};
    weft_server *s = NULL;

    INVALID(weft_server_new(NULL, NULL));
    INVALID(weft_server_listen_tcp(NULL, NULL, 0, NULL));
    INVALID(weft_server_listen_unix(NULL, "/tmp/x"));
    INVALID(weft_server_listen_fd(NULL, 0));
    INVALID(weft_server_listen_tls(NULL, NULL, 0, NULL, &tls));
    INVALID(weft_server_listen_tls_unix(NULL, "/tmp/x", &tls));
    INVALID(weft_server_listen_tls_fd(NULL, 0, &tls));
    INVALID(weft_server_reload_tls(NULL));
    INVALID(weft_server_start(NULL));
    INVALID(weft_server_stop(NULL, 0));
    INVALID(weft_server_stats(NULL, &stats));
    weft_server_unref(NULL);
    CU_ASSERT_EQUAL_FATAL(weft_server_new(&s, NULL), WEFT_OK);
    INVALID(weft_server_listen_unix(s, NULL));
    INVALID(weft_server_listen_fd(s, -1));
    INVALID(weft_server_listen_tls_unix(s, NULL, &tls));
    INVALID(weft_server_listen_tls_fd(s, -1, &tls));
    auth.cert_file = version.cert_file = "certificate.pem";
    auth.key_file = version.key_file = "key.pem";
    auth.client_auth = 9;
    version.version_min = 9;
    half.cert_file = "certificate.pem"; /* and no key */
    INVALID(weft_server_listen_tls(s, NULL, 0, NULL, NULL));
    INVALID(weft_server_listen_tls(s, NULL, 0, NULL, &no_size));
    INVALID(weft_server_listen_tls(s, NULL, 0, NULL, &auth));
    INVALID(weft_server_listen_tls(s, NULL, 0, NULL, &version));
    INVALID(weft_server_listen_tls(s, NULL, 0, NULL, &half));
    INVALID(weft_server_stats(s, NULL));
    INVALID(weft_server_stats(s, &without_size));
    weft_server_unref(s);
}

static void decide(weft_request *r, struct e2e *t)
{
    weft_header evil = {"A", "1"};
    weft_accept gap = {.header_count = 1};
    char realm[256];

    memset(realm, 'r', sizeof realm - 1);
    realm[sizeof realm - 1] = '\0';
    if (weft_request_accept(NULL, NULL) != WEFT_E_INVAL || weft_request_accept(r, &gap) != WEFT_E_INVAL)
        e2e_fault(t, "accepted");
    if (weft_request_respond(NULL, 200, NULL, 0, NULL, 0) != WEFT_E_INVAL ||
        weft_request_respond(r, 199, NULL, 0, NULL, 0) != WEFT_E_INVAL ||
        weft_request_respond(r, 600, NULL, 0, NULL, 0) != WEFT_E_INVAL ||
        weft_request_respond(r, 200, NULL, 1, NULL, 0) != WEFT_E_INVAL ||
        weft_request_respond(r, 200, &evil, 1, NULL, 5) != WEFT_E_INVAL)
        e2e_fault(t, "responded");
    if (weft_request_challenge(NULL, "x") != WEFT_E_INVAL ||
        weft_request_challenge(r, NULL) != WEFT_E_INVAL || weft_request_challenge(r, realm) != WEFT_E_INVAL ||
        weft_request_challenge(r, "a\"b") != WEFT_E_INVAL ||
        weft_request_challenge(r, "a\\b") != WEFT_E_INVAL ||
        weft_request_challenge(r, "a\r\nb") != WEFT_E_INVAL ||
        weft_request_challenge(r, "\xc3\xa4") != WEFT_E_INVAL)
        e2e_fault(t, "challenged");
    if (weft_request_header(r, NULL, 0) || weft_request_offers(r, NULL) ||
        weft_request_basic_matches(r, NULL, "p") || weft_request_basic_matches(r, "u", NULL))
        e2e_fault(t, "found");
    weft_request_unref(NULL);
    weft_request_accept(r, NULL);
}

ALL_MODES(a_request_refuses_and_can_still_be_accepted)
{
    struct client k;

    t->on_request = decide;
    CU_ASSERT_FATAL(e2e_start(t));
    CU_ASSERT(client_open(&k, t->port));
    client_close(&k);
}

static void a_client_refuses(void)
{
    weft_failure *failure = NULL;
    weft_client_opts opts = {.size = sizeof opts, .failure = &failure};
    weft_client *client = NULL;
    weft_conn *c = NULL;
    size_t bytes = 1;

    INVALID(weft_client_new(NULL, "ws://127.0.0.1:1/", NULL));
    INVALID(weft_client_new(&client, NULL, NULL));
    INVALID(weft_client_connect(&c, NULL, NULL));
    INVALID(weft_client_connect(NULL, "ws://127.0.0.1:1/", NULL));
    INVALID(weft_client_connect(NULL, "ws://127.0.0.1:1/", &opts)); /* and nobody would be told of it */
    CU_ASSERT_EQUAL(weft_failure_error(failure), WEFT_E_INVAL);
    weft_failure_free(failure);
    INVALID(weft_client_next(NULL, &c, 0));
    INVALID(weft_client_start(NULL));
    INVALID(weft_client_stop(NULL, 0));
    weft_client_unref(NULL);
    CU_ASSERT_EQUAL_FATAL(weft_client_new(&client, "ws://127.0.0.1:1/", NULL), WEFT_OK);
    INVALID(weft_client_next(client, NULL, 0));
    INVALID(weft_client_start(client)); /* neither callbacks nor a handler */
    weft_client_unref(client);
    CU_ASSERT_EQUAL(weft_client_stop_threads(5000), WEFT_OK);
    /* No failure stands for one that there was no memory for. */
    CU_ASSERT_EQUAL(weft_failure_error(NULL), WEFT_E_NOMEM);
    CU_ASSERT_EQUAL(weft_failure_errno(NULL), 0);
    CU_ASSERT_EQUAL(weft_failure_status(NULL), 0);
    CU_ASSERT_STRING_EQUAL(weft_failure_text(NULL), weft_strerror(WEFT_E_NOMEM));
    CU_ASSERT_PTR_NULL(weft_failure_header(NULL, "A", 0));
    CU_ASSERT_PTR_NULL(weft_failure_body(NULL, &bytes));
    CU_ASSERT_PTR_NULL(weft_failure_body(NULL, NULL));
    CU_ASSERT_EQUAL(bytes, 0);
    weft_failure_free(NULL);
}

static void a_bus_refuses(void)
{
    weft_bus_stats without_size = {0}, stats = {.size = sizeof stats};
    weft_msg *m = e2e_text("x");
    weft_bus_listener *l;
    weft_bus *b = NULL;

    INVALID(weft_bus_open(NULL, "local:", NULL));
    INVALID(weft_bus_open(&b, NULL, NULL));
    CU_ASSERT_EQUAL_FATAL(weft_bus_open(&b, "local:", NULL), WEFT_OK);
    INVALID(weft_bus_publish(NULL, "t", m));
    INVALID(weft_bus_publish(b, "t", NULL));
    INVALID(weft_bus_publish(b, NULL, m));
    INVALID(weft_bus_flush(NULL, 0));
    INVALID(weft_bus_subscribe(b, NULL, "t", NULL));
    INVALID(weft_bus_unsubscribe(b, NULL, "t"));
    INVALID(weft_bus_listen(NULL, &l, "t", NULL, NULL, on_item, NULL));
    INVALID(weft_bus_listen(b, NULL, "t", NULL, NULL, on_item, NULL));
    INVALID(weft_bus_listen(b, &l, "t", NULL, NULL, NULL, NULL));
    INVALID(weft_bus_listen(b, &l, NULL, NULL, NULL, on_item, NULL));
    INVALID(weft_bus_presence(NULL, "t", on_names, NULL));
    INVALID(weft_bus_presence(b, "t", NULL, NULL));
    INVALID(weft_bus_presence(b, "t*", on_names, NULL));
    INVALID(weft_bus_get_stats(NULL, &stats));
    INVALID(weft_bus_get_stats(b, NULL));
    INVALID(weft_bus_get_stats(b, &without_size));
    weft_bus_unlisten(NULL);
    weft_msg_unref(m);
    CU_ASSERT_EQUAL(weft_bus_close(b, 60000), WEFT_OK);
}

static void a_message_and_the_protocol_alone_refuse(void)
{
    weft_proto_opts opts = {.size = sizeof opts, .role = WEFT_PROTO_SERVER, .is_open = true}, wrong = opts;
    weft_proto *p;

    INVALID(weft_msg_new(NULL, WEFT_TEXT, "x", 1));
    weft_msg_unref(NULL);
    INVALID(weft_proto_new(NULL, &opts, 0));
    INVALID(weft_proto_new(&p, NULL, 0));
    wrong.role = 9;
    INVALID(weft_proto_new(&p, &wrong, 0));
    wrong = opts;
    wrong.message_bytes_max = (uint64_t)MSG_BYTES_MAX + 1;
    INVALID(weft_proto_new(&p, &wrong, 0));
    CU_ASSERT_EQUAL_FATAL(weft_proto_new(&p, &opts, 0), WEFT_OK);
    INVALID(weft_proto_ping(p, NULL, 1));
    INVALID(weft_proto_ping(p, "x", 126));
    CU_ASSERT_EQUAL(weft_proto_accept(p, NULL, 0), WEFT_E_STATE);
    CU_ASSERT_EQUAL(weft_proto_reject(p, 400), WEFT_E_STATE);
    weft_proto_free(p);
    weft_proto_free(NULL);
}

static const struct unit_case cases[] = {
    CASE(without_a_connection_nothing_is_sent_or_received),
    CASE(a_connection_refuses_arguments_and_goes_on),
    CASE(a_group_refuses),
    CASE(a_server_refuses),
    CASE(a_request_refuses_and_can_still_be_accepted),
    CASE(a_client_refuses),
    CASE(a_bus_refuses),
    CASE(a_message_and_the_protocol_alone_refuse),
};

int main(int argc, char **argv)
{
    weft_log_to(WEFT_LOG_OFF, NULL, NULL);
    return unit_main(argc, argv, "refusals", cases, sizeof cases / sizeof cases[0]);
}
