/* A weft built without TLS says so. */
#include "unit.h"

#include <string.h>

#include "io/tls.h"
#include "weft/weft.h"

static void a_context_cannot_be_made(void)
{
    struct tls_options o = {.role = TLS_CLIENT, .insecure = true};
    struct tls_context *c = (struct tls_context *)&o;
    char why[64] = "";

    CU_ASSERT_FALSE(tls_is_built());
    CU_ASSERT_EQUAL(tls_context_new(&c, &o, why, sizeof why), WEFT_E_INVAL);
    CU_ASSERT_PTR_NULL(c);
    CU_ASSERT_PTR_NOT_NULL(strstr(why, "built without TLS"));
    CU_ASSERT_PTR_NULL(tls_new(c, "localhost", 0));
    tls_context_unref(c);
    tls_free(NULL);
    tls_scratch_free(tls_scratch_new(0, 0));
    tls_thread_leave();
}

static void neither_end_of_a_connection_speaks_it(void)
{
    weft_tls_opts tls = {.size = sizeof tls, .cert_file = "cert.pem", .key_file = "key.pem"};
    weft_tls_info info = {.size = sizeof info};
    weft_failure *failure = NULL;
    weft_client_opts o = {.size = sizeof o, .failure = &failure, .proxy = ""};
    weft_server *s;
    weft_conn *c = NULL;

    CU_ASSERT_EQUAL_FATAL(weft_server_new(&s, NULL), WEFT_OK);
    CU_ASSERT_EQUAL(weft_server_listen_tls(s, NULL, 0, NULL, &tls), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_server_listen_tls_unix(s, "/tmp/no-socket", &tls), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_server_reload_tls(s), WEFT_OK); /* nothing to read */
    CU_ASSERT_EQUAL(weft_conn_tls_info(NULL, &info), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(weft_server_start(s), WEFT_OK);
    o.server = s;
    CU_ASSERT_EQUAL(weft_client_connect(&c, "wss://127.0.0.1:1/", &o), WEFT_E_INVAL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(failure);
    CU_ASSERT_PTR_NOT_NULL(strstr(weft_failure_text(failure), "built without TLS"));
    weft_failure_free(failure);
    CU_ASSERT_EQUAL(weft_server_stop(s, 30000), WEFT_OK);
    weft_server_unref(s);
}

static const struct unit_case cases[] = {CASE(a_context_cannot_be_made), CASE(neither_end_of_a_connection_speaks_it)};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "tls_none", cases, sizeof cases / sizeof cases[0]);
}
