/* A client of weft for the interoperation tests, straight-line; README.md says what servers do, and lists the cases.
 *
 *     interop_client URL [--compression off] [--ca FILE] [CASE...]
 *
 * URL has no path: ws://127.0.0.1:4711. With names only those cases run. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/weft.h>

#define PATIENCE_MS 20000
#define MIB         (1u << 20)
#define MANY        1000

static const char *base_url, *ca_file;
static unsigned number_of_connections;
static bool has_failed;

/* Say what is wrong with the case. */
__attribute__((format(printf, 1, 2))) static void fault(const char *format, ...)
{
    va_list args;

    has_failed = true;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

#define CHECK(condition) ((condition) ? (void)0 : fault("line %d: not so: %s", __LINE__, #condition))
#define CHECK_OK(call)                                                                                       \
    do {                                                                                                     \
        int rc_ = (call);                                                                                    \
        if (rc_ != WEFT_OK)                                                                                  \
            fault("line %d: %s answered %s", __LINE__, #call, weft_error_name(rc_));                         \
    } while (0)

/* --- what the cases share --- */

static weft_client_opts options(void)
{
    return (weft_client_opts){.size = sizeof(weft_client_opts),
                              .proxy = "",
                              .ca_file = ca_file,
                              .open_timeout_ms = PATIENCE_MS,
                              .close_timeout_ms = PATIENCE_MS};
}

/* NULL: it failed, and the case with it. */
static weft_conn *open_with(const char *path, weft_client_opts *opts)
{
    weft_failure *failure = NULL;
    weft_conn *c = NULL;
    char url[256];

    snprintf(url, sizeof url, "%s%s?%u", base_url, path, ++number_of_connections);
    opts->failure = &failure;
    if (weft_client_connect(&c, url, opts) != WEFT_OK)
        fault("%s: %s", url, weft_failure_text(failure));
    weft_failure_free(failure);
    return c;
}

static weft_conn *open_path(const char *path)
{
    weft_client_opts opts = options();

    return open_with(path, &opts);
}

/* Give it back, and say how it ended. */
static weft_close_info finish(weft_conn *c, char reason[128])
{
    weft_close_info info = {0};

    CHECK_OK(weft_conn_wait_closed(c, PATIENCE_MS));
    CHECK_OK(weft_conn_close_info(c, &info));
    if (reason)
        snprintf(reason, 128, "%s", info.reason ? info.reason : "");
    info.reason = NULL;
    weft_conn_unref(c);
    return info;
}

static void close_normally(weft_conn *c)
{
    weft_close_info info;

    CHECK_OK(weft_conn_close(c, 1000, NULL));
    info = finish(c, NULL);
    CHECK(info.clean);
    CHECK(info.received_code == 1000);
}

static bool is_text(const weft_msg *m, const char *text)
{
    return weft_msg_type(m) == WEFT_TEXT && weft_msg_bytes(m) == strlen(text) &&
           memcmp(weft_msg_data(m), text, strlen(text)) == 0;
}

static void expect_text(weft_conn *c, const char *text)
{
    weft_msg *m;
    int rc = weft_conn_recv(c, &m, PATIENCE_MS);

    if (rc != WEFT_OK) {
        fault("'%s' was to come: %s", text, weft_error_name(rc));
        return;
    }
    if (!is_text(m, text))
        fault("'%s' was to come, not '%.*s'", text, (int)(weft_msg_bytes(m) < 99 ? weft_msg_bytes(m) : 99),
              (const char *)weft_msg_data(m));
    weft_msg_unref(m);
}

/* The server received this code and reason at the end of that connection. */
static void expect_ended(unsigned number, const char *code_and_reason)
{
    weft_conn *c = open_path("/ended");
    char text[16];

    if (!c)
        return;
    snprintf(text, sizeof text, "%u", number);
    CHECK_OK(weft_conn_send_text(c, text));
    expect_text(c, code_and_reason);
    close_normally(c);
}

/* Text is of two bytes a character, with one more in front when the length is odd. */
static weft_msg *make(enum weft_msg_type type, size_t bytes)
{
    uint8_t *p;
    weft_msg *m;
    void *payload;

    if (weft_msg_new_raw(&m, type, bytes, &payload) != WEFT_OK)
        abort();
    p = payload;
    for (size_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)(type == WEFT_BINARY        ? i * 7 + i / 256
                         : i == 0 && bytes % 2      ? 'x'
                         : (i - bytes % 2) % 2 == 0 ? 0xc3
                                                    : 0x80 + i / 2 % 64);
    return m;
}

static bool is_equal(const weft_msg *a, const weft_msg *b)
{
    return weft_msg_type(a) == weft_msg_type(b) && weft_msg_bytes(a) == weft_msg_bytes(b) &&
           memcmp(weft_msg_data(a), weft_msg_data(b), weft_msg_bytes(a)) == 0;
}

/* It is sent, and comes back. */
static void there_and_back(weft_conn *c, enum weft_msg_type type, size_t bytes)
{
    weft_msg *m = make(type, bytes), *answer;
    int rc;

    CHECK_OK(weft_conn_send(c, weft_msg_ref(m)));
    rc = weft_conn_recv(c, &answer, PATIENCE_MS);
    if (rc != WEFT_OK) {
        fault("%zu bytes: %s", bytes, weft_error_name(rc));
    } else {
        if (!is_equal(m, answer))
            fault("%zu bytes came back as %zu others", bytes, weft_msg_bytes(answer));
        weft_msg_unref(answer);
    }
    weft_msg_unref(m);
}

static void lengths_there_and_back(const char *path, const size_t *lengths, size_t count)
{
    weft_conn *c = open_path(path);

    if (!c)
        return;
    for (size_t i = 0; i < count && !has_failed; i++) {
        there_and_back(c, WEFT_TEXT, lengths[i]);
        there_and_back(c, WEFT_BINARY, lengths[i]);
    }
    close_normally(c);
}

/* --- messages --- */

static void messages_of_many_lengths(void)
{
    static const size_t lengths[] = {0, 1, 2, 124, 125, 126, 127, 1000, 65534, 65535, 65536, 65537, 200000};

    lengths_there_and_back("/echo", lengths, sizeof lengths / sizeof lengths[0]);
}

static void one_mebibyte(void)
{
    static const size_t lengths[] = {MIB};

    lengths_there_and_back("/echo", lengths, 1);
}

static void the_server_sends_fragments(void)
{
    static const size_t lengths[] = {0, 1, 999, 1000, 1001, 12345, 300000};

    lengths_there_and_back("/pieces", lengths, sizeof lengths / sizeof lengths[0]);
}

/* Cut anywhere, also within a character, with Pings between. */
static void the_client_sends_fragments(void)
{
    weft_conn *c = open_path("/echo");
    weft_msg *m, *answer = NULL;

    if (!c)
        return;
    for (unsigned type = 0; type < 2; type++) {
        size_t at = 0, n = 0;
        m = make(type ? WEFT_TEXT : WEFT_BINARY, 30001);
        CHECK_OK(weft_conn_send_begin(c, weft_msg_type(m)));
        for (; at < weft_msg_bytes(m); at += n) {
            n = n * 2 + 1;
            n = n < weft_msg_bytes(m) - at ? n : weft_msg_bytes(m) - at;
            CHECK_OK(weft_conn_send_part(c, (const char *)weft_msg_data(m) + at, n));
            CHECK_OK(weft_conn_ping(c, "between", 7));
        }
        CHECK_OK(weft_conn_send_end(c));
        CHECK_OK(weft_conn_recv(c, &answer, PATIENCE_MS));
        CHECK(answer && is_equal(m, answer));
        weft_msg_unref(answer);
        weft_msg_unref(m);
        answer = NULL;
    }
    close_normally(c);
}

static int produce(weft_conn *c, void *app)
{
    int rc = WEFT_OK;

    (void)app;
    for (unsigned i = 0; i < MANY && rc == WEFT_OK; i++) {
        char text[32];
        snprintf(text, sizeof text, "message %u", i);
        rc = weft_conn_send_text(c, text);
    }
    return rc;
}

static int consume(weft_conn *c, void *app)
{
    (void)app;
    for (unsigned i = 0; i < MANY && !has_failed; i++) {
        char text[32];
        snprintf(text, sizeof text, "message %u", i);
        expect_text(c, text);
    }
    return WEFT_OK;
}

static void a_thousand_messages_under_way(void)
{
    weft_conn *c = open_path("/echo");

    if (!c)
        return;
    CHECK_OK(weft_conn_gather(c, NULL, produce, consume));
    close_normally(c);
}

/* --- Pings --- */

static void pings_are_answered(void)
{
    weft_conn *c = open_path("/echo");
    uint32_t latency_us = 0;

    if (!c)
        return;
    for (int i = 0; i < 20; i++) {
        CHECK_OK(weft_conn_ping_wait(c, PATIENCE_MS, &latency_us));
        CHECK(latency_us > 0 && latency_us < PATIENCE_MS * 1000);
    }
    CHECK_OK(weft_conn_ping(c, "", 0));
    CHECK_OK(weft_conn_ping_wait(c, PATIENCE_MS, NULL));
    close_normally(c);
}

static void the_server_pings(void)
{
    static const char *const payloads[] = {"x", "a payload that comes back as it is", NULL};
    char longest[126];

    memset(longest, 'l', 125);
    longest[125] = 0;
    for (unsigned i = 0; i < 3; i++) {
        weft_conn *c = open_path("/ping");
        if (!c)
            return;
        CHECK_OK(weft_conn_send_text(c, payloads[i] ? payloads[i] : longest));
        expect_text(c, "pong");
        close_normally(c);
    }
}

/* --- the opening --- */

static void a_subprotocol_is_chosen(void)
{
    static const char *const offered[] = {"chat.v1", "chat.v2"};
    weft_client_opts opts = options();
    weft_conn *c;

    opts.subprotocols = offered;
    for (opts.subprotocol_count = 0; opts.subprotocol_count < 3; opts.subprotocol_count += 2) {
        c = open_with("/echo", &opts);
        if (!c)
            return;
        CHECK(strcmp(weft_conn_subprotocol(c), opts.subprotocol_count ? "chat.v2" : "") == 0);
        there_and_back(c, WEFT_TEXT, 5);
        close_normally(c);
    }
}

static void a_refusal_has_a_status(void)
{
    weft_failure *failure = NULL;
    weft_client_opts opts = options();
    weft_conn *c = NULL;
    char url[256];

    opts.failure = &failure;
    snprintf(url, sizeof url, "%s/nowhere", base_url);
    CHECK(weft_client_connect(&c, url, &opts) == WEFT_E_REFUSED);
    CHECK(weft_failure_status(failure) == 404);
    weft_failure_free(failure);
    weft_conn_unref(c);
}

/* --- endings --- */

static void the_client_closes_first(void)
{
    static const struct {
        uint16_t code;
        const char *reason, *there;
    } endings[] = {{3001, "the client is done", "3001 the client is done"},
                   {1000, NULL, "1000 "},
                   {4999,
                    "gr\xc3\xbc\xc3\x9f"
                    "e",
                    "4999 gr\xc3\xbc\xc3\x9f"
                    "e"}};

    for (unsigned i = 0; i < 3; i++) {
        weft_conn *c = open_path("/echo");
        unsigned number = number_of_connections;
        weft_close_info info;
        if (!c)
            return;
        there_and_back(c, WEFT_TEXT, 10);
        CHECK_OK(weft_conn_close(c, endings[i].code, endings[i].reason));
        info = finish(c, NULL);
        CHECK(info.clean);
        CHECK(!info.by_peer);
        CHECK(info.sent_code == endings[i].code);
        CHECK(info.received_code == endings[i].code);
        expect_ended(number, endings[i].there);
    }
}

static void a_close_without_a_code(void)
{
    weft_conn *c = open_path("/echo");
    unsigned number = number_of_connections;
    weft_close_info info;

    if (!c)
        return;
    CHECK_OK(weft_conn_close(c, 0, NULL));
    info = finish(c, NULL);
    CHECK(info.clean);
    CHECK(info.sent_code == 1005);
    expect_ended(number, "1005 ");
}

static void what_was_sent_before_the_close_arrives(void)
{
    weft_conn *c = open_path("/echo");
    weft_msg *m = NULL;

    if (!c)
        return;
    CHECK_OK(weft_conn_send(c, make(WEFT_BINARY, MIB)));
    CHECK_OK(weft_conn_close(c, 1000, NULL));
    if (weft_conn_recv(c, &m, PATIENCE_MS) == WEFT_OK) /* servers may answer, or not any more */
        CHECK(weft_msg_bytes(m) == MIB);
    weft_msg_unref(m);
    finish(c, NULL);
    expect_ended(number_of_connections, "1000 ");
}

static void the_server_closes_first(void)
{
    weft_conn *c = open_path("/close");
    unsigned number = number_of_connections;
    weft_close_info info;
    weft_msg *m;
    char reason[128];

    if (!c)
        return;
    CHECK_OK(weft_conn_send_text(c, "3002 the server is done"));
    CHECK(weft_conn_recv(c, &m, PATIENCE_MS) == WEFT_E_CLOSED);
    info = finish(c, reason);
    CHECK(info.clean);
    CHECK(info.by_peer);
    CHECK(info.received_code == 3002);
    CHECK(info.sent_code == 3002);
    CHECK(strcmp(reason, "the server is done") == 0);
    expect_ended(number, "3002 ");
}

/* Who is first is left to chance; what each side says, and what the other hears, is the same. */
static void both_close(void)
{
    for (int i = 0; i < 20; i++) {
        weft_conn *c = open_path("/both");
        unsigned number = number_of_connections;
        weft_close_info info;
        char there[64];
        if (!c)
            return;
        CHECK_OK(weft_conn_close(c, 3002, "the client"));
        info = finish(c, NULL);
        CHECK(info.clean);
        CHECK(info.sent_code == 3002 || info.sent_code == 3003);
        CHECK(info.received_code == 3003 || (info.received_code == 3002 && info.sent_code == 3002));
        snprintf(there, sizeof there, "%u %s", info.sent_code, info.sent_code == 3002 ? "the client" : "");
        expect_ended(number, there);
    }
}

static void the_client_aborts(void)
{
    weft_conn *c = open_path("/echo");
    unsigned number = number_of_connections;
    weft_close_info info;

    if (!c)
        return;
    there_and_back(c, WEFT_TEXT, 10);
    weft_conn_abort(c);
    info = finish(c, NULL);
    CHECK(!info.clean);
    CHECK(info.received_code == 1006);
    expect_ended(number, "1006 ");
}

static void the_server_dies(void)
{
    weft_conn *c = open_path("/drop");
    weft_close_info info;
    weft_msg *m;

    if (!c)
        return;
    CHECK_OK(weft_conn_send_text(c, "die"));
    CHECK(weft_conn_recv(c, &m, PATIENCE_MS) == WEFT_E_CLOSED);
    info = finish(c, NULL);
    CHECK(!info.clean);
    CHECK(info.by_peer);
    CHECK(info.received_code == 1006);
}

/* --- all of them --- */

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
#define CASE(function)                                                                                       \
    {                                                                                                        \
#function, function                                                                                  \
    }
    CASE(messages_of_many_lengths),
    CASE(one_mebibyte),
    CASE(the_server_sends_fragments),
    CASE(the_client_sends_fragments),
    CASE(a_thousand_messages_under_way),
    CASE(pings_are_answered),
    CASE(the_server_pings),
    CASE(a_subprotocol_is_chosen),
    CASE(a_refusal_has_a_status),
    CASE(the_client_closes_first),
    CASE(a_close_without_a_code),
    CASE(what_was_sent_before_the_close_arrives),
    CASE(the_server_closes_first),
    CASE(both_close),
    CASE(the_client_aborts),
    CASE(the_server_dies),
};

static bool is_wanted(const char *name, char **names, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return count == 0;
}

static int run_cases(char **names, int count)
{
    unsigned passed = 0, failed = 0;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (!is_wanted(cases[i].name, names, count))
            continue;
        has_failed = false;
        cases[i].run();
        printf("%s interop/%s\n", has_failed ? "FAIL" : "ok  ", cases[i].name);
        fflush(stdout);
        failed += has_failed;
        passed += !has_failed;
    }
    CHECK_OK(weft_client_stop_threads(PATIENCE_MS));
    printf("interop: %u passed, %u failed\n", passed, failed + (has_failed && !failed));
    return has_failed || failed || !passed;
}

int main(int argc, char **argv)
{
    int i = 2;

    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        if (strcmp(argv[i], "--ca") == 0) {
            ca_file = argv[i + 1];
        } else if (strcmp(argv[i], "--compression") != 0 || strcmp(argv[i + 1], "off") != 0) {
            fprintf(stderr, "client: not for this client: %s %s\n", argv[i], argv[i + 1]);
            return 2;
        }
    }
    if (argc < 2)
        return 2;
    base_url = argv[1];
    return run_cases(argv + i, argc - i);
}
