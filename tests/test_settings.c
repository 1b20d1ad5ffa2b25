/* What programs may set: the bounds and the default of each option of servers and clients, what does not go
 * together, and structs of older and newer programs. A refusal names the option in the log. */
#include "core/settings.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/msg.h"
#include "core/client_how.h"
#include "core/crew.h"
#include "core/options.h"
#include "unit.h"

#define DAY_MS 86400000u
#define URL    "ws://127.0.0.1:1/"

static char logged[512]; /* the last line */

static void keep_line(enum weft_log_level level, uint64_t conn_id, const char *text, void *app)
{
    (void)level, (void)conn_id, (void)app;
    snprintf(logged, sizeof logged, "%s", text);
}

/* --- numbers --- */

struct range {
    const char *name;
    size_t at, bytes;
    uint64_t least, most, fallback;
    bool depends; /* the default depends on the machine */
};
#define FIELD(type, member) #member, offsetof(type, member), sizeof((type *)0)->member
#define SERVER(member, least, most, fallback)                                                                \
    {                                                                                                        \
        FIELD(weft_server_opts, member), least, most, fallback, false                                        \
    }
#define OF_MACHINE(member, least, most)                                                                      \
    {                                                                                                        \
        FIELD(weft_server_opts, member), least, most, 0, true                                                \
    }
#define CLIENT(member, least, most, fallback)                                                                \
    {                                                                                                        \
        FIELD(weft_client_opts, member), least, most, fallback, false                                        \
    }

static const struct range server_ranges[] = {
    OF_MACHINE(io_threads, 1, 64),
    OF_MACHINE(workers, 1, 256),
    OF_MACHINE(spin_us, 1, 10000),
    SERVER(turn_messages_max, 1, 1000000, 64),
    SERVER(turn_us_max, 1, 1000000, 500),
    SERVER(open_timeout_ms, 1, DAY_MS, 10000),
    SERVER(ping_interval_ms, 1, UINT32_MAX, 20000),
    SERVER(ping_timeout_ms, 1, DAY_MS, 20000),
    SERVER(write_timeout_ms, 1, DAY_MS, 20000),
    SERVER(close_timeout_ms, 1, DAY_MS, 10000),
    SERVER(message_bytes_max, 1, MSG_BYTES_MAX, 1 << 20),
    SERVER(fragments_max, 1, UINT32_MAX, 1024 + (1 << 20) / 16),
    SERVER(inbox_high, 1, 1000000, 16),
    SERVER(inbox_low, 1, 16, 4),
    SERVER(inbox_bytes_high, 1, 1 << 30, 1 << 20),
    SERVER(outbox_high_bytes, 256, 1 << 30, 65536),
    SERVER(outbox_low_bytes, 1, 65536, 16384),
    SERVER(outbox_bytes_max, 65536, UINT32_MAX, 1 << 20),
    SERVER(head_bytes_max, 128, 65535, 8192),
    SERVER(headers_max, 4, 1024, 64),
    SERVER(connections_max, 1, 1000000, 1000000),
    SERVER(handshakes_max, 1, 1000000, 1024),
    SERVER(backlog, 1, 65535, 4096),
    SERVER(handlers_max, 1, CREW_THREADS_MAX, 1024),
    SERVER(handler_stack_bytes, 32 * 1024, 1 << 30, 256 * 1024),
    SERVER(handler_concurrency, 1, 1024, 1),
    SERVER(compression.window_bits, 9, 15, 12),
    SERVER(compression.peer_window_bits, 8, 15, 12),
    SERVER(compression.level, 1, 9, 0),
    SERVER(compression.mem_level, 1, 9, 5),
    SERVER(compression.bytes_min, 1, UINT32_MAX, 64),
    SERVER(compression.memory_bytes_max, 1, INT64_MAX, 256 << 20),
};
static const struct range client_ranges[] = {
    CLIENT(open_timeout_ms, 1, DAY_MS, 10000), CLIENT(redirects_max, 1, 100, 10),
    CLIENT(attempt_delay_ms, 10, 2000, 250),   CLIENT(reconnect_first_ms, 1, DAY_MS, 5000),
    CLIENT(reconnect_min_ms, 1, DAY_MS, 3100), CLIENT(reconnect_max_ms, 3100, DAY_MS, 90000),
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void put_number(void *opts, const struct range *r, uint64_t value)
{
    memcpy((char *)opts + r->at, &value, r->bytes); /* little-endian, as all that weft runs on */
}

static uint64_t number_in(const void *opts, const struct range *r)
{
    uint64_t value = 0;

    memcpy(&value, (const char *)opts + r->at, r->bytes);
    return value;
}

/* What the server makes of it; *chosen is set on WEFT_OK. */
static int try_server(const struct range *r, uint64_t value, uint64_t *chosen)
{
    weft_server_opts o = {.size = sizeof o};
    struct settings s = {0};
    int rc;

    put_number(&o, r, value);
    rc = settings_init(&s, &o);
    *chosen = number_in(&s.opts, r);
    if (rc == WEFT_OK)
        settings_fini(&s);
    return rc;
}

static int try_client(const struct range *r, uint64_t value, uint64_t *chosen)
{
    weft_client_opts o = {.size = sizeof o};
    struct client_how how;
    int rc;

    put_number(&o, r, value);
    rc = client_how_init(&how, URL, &o);
    *chosen = rc == WEFT_OK ? number_in(&how.opts, r) : 0;
    if (rc == WEFT_OK)
        client_how_fini(&how);
    return rc;
}

typedef int try_fn(const struct range *r, uint64_t value, uint64_t *chosen);

static bool is_taken(try_fn *try, const struct range *r, uint64_t value)
{
    uint64_t chosen;

    return try(r, value, &chosen) == WEFT_OK && chosen == value;
}

static bool is_refused(try_fn *try, const struct range *r, uint64_t value)
{
    const char *last_part = strrchr(r->name, '.');
    uint64_t ignored;

    logged[0] = '\0';
    return try(r, value, &ignored) == WEFT_E_INVAL && strstr(logged, last_part ? last_part + 1 : r->name);
}

static const char *check_range(try_fn *try, const struct range *r)
{
    uint64_t all = r->bytes == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * r->bytes) - 1, chosen;

    if (try(r, 0, &chosen) != WEFT_OK || (!r->depends && chosen != r->fallback))
        return "its default";
    if (!is_taken(try, r, r->least) || !is_taken(try, r, r->most))
        return "a bound is not allowed itself";
    if (r->least > 1 && !is_refused(try, r, r->least - 1))
        return "below the least";
    if (r->most < all && !is_refused(try, r, r->most + 1))
        return "above the most";
    return NULL;
}

static unsigned wrong_ranges(try_fn *try, const struct range *ranges, size_t count)
{
    unsigned wrong = 0;

    for (size_t i = 0; i < count; i++) {
        const char *what = check_range(try, &ranges[i]);
        if (what)
            printf("%s: %s; the log: %s\n", ranges[i].name, what, logged);
        wrong += what != NULL;
    }
    return wrong;
}

static void each_option_of_a_server_has_its_bounds_and_its_default(void)
{
    CU_ASSERT_EQUAL(wrong_ranges(try_server, server_ranges, COUNT(server_ranges)), 0);
}

static void each_option_of_a_client_has_its_bounds_and_its_default(void)
{
    CU_ASSERT_EQUAL(wrong_ranges(try_client, client_ranges, COUNT(client_ranges)), 0);
}

static int init_server(const weft_server_opts *o, struct settings *s)
{
    memset(s, 0, sizeof *s);
    return settings_init(s, o);
}
#define SERVER_WITH(s, ...)                                                                                  \
    init_server(&(weft_server_opts){.size = sizeof(weft_server_opts), __VA_ARGS__}, (s))

static void options_that_follow_others_have_these_as_bounds(void)
{
    struct settings s;

    CU_ASSERT_EQUAL(SERVER_WITH(&s, .workers = 100), WEFT_OK);
    CU_ASSERT_EQUAL(s.opts.workers_max, 100);
    CU_ASSERT_EQUAL(SERVER_WITH(&s, .workers = 100, .workers_max = 99), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(SERVER_WITH(&s, .workers = 100, .workers_max = 257), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(SERVER_WITH(&s, .inbox_high = 3), WEFT_OK);
    CU_ASSERT_EQUAL(s.opts.inbox_low, 1);
    CU_ASSERT_EQUAL(SERVER_WITH(&s, .inbox_high = 3, .inbox_low = 4), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(SERVER_WITH(&s, .outbox_high_bytes = 1 << 22), WEFT_OK);
    CU_ASSERT(s.opts.outbox_low_bytes == 1 << 20 && s.opts.outbox_bytes_max == 1 << 22);
    CU_ASSERT_EQUAL(SERVER_WITH(&s, .outbox_high_bytes = 1 << 22, .outbox_bytes_max = 1 << 21), WEFT_E_INVAL);
    CU_ASSERT_EQUAL(SERVER_WITH(&s, .spin_us = UINT32_MAX), WEFT_OK);
    CU_ASSERT_EQUAL(s.opts.spin_us, 0);
    CU_ASSERT_EQUAL(SERVER_WITH(&s, .handshakes_per_second_max = 7), WEFT_OK);
    CU_ASSERT_EQUAL(s.opts.handshakes_burst, 7);
    CU_ASSERT_EQUAL(SERVER_WITH(&s, .messages_per_second_max = 9), WEFT_OK);
    CU_ASSERT_EQUAL(s.opts.messages_burst, 9);
    CU_ASSERT_EQUAL(SERVER_WITH(&s, .message_bytes_max = 16, ), WEFT_OK);
    CU_ASSERT_EQUAL(s.opts.fragments_max, 1025);
}

/* --- what does not go together --- */

static int on_handler(weft_conn *c, void *app)
{
    (void)c, (void)app;
    return WEFT_OK;
}

static void on_message(weft_conn *c, weft_msg *m, void *app)
{
    (void)c, (void)app;
    weft_msg_unref(m);
}

static void on_drain(weft_conn *c, void *app)
{
    (void)c, (void)app;
}

static void a_server_refuses_what_makes_no_sense(void)
{
    static const char *const no_network[] = {"10.0.0.0/8", "somewhere"}, *const null_text[] = {"a", NULL};
    struct settings s;

#define REFUSED(word, ...)                                                                                   \
    (logged[0] = '\0', SERVER_WITH(&s, __VA_ARGS__) == WEFT_E_INVAL && strstr(logged, word))
    CU_ASSERT(REFUSED("slow_policy", .slow_policy = (enum weft_slow_policy)3));
    CU_ASSERT(REFUSED("handler", .handler = on_handler, .on_message = on_message));
    CU_ASSERT(REFUSED("handler", .handler = on_handler, .on_drain = on_drain));
    CU_ASSERT(REFUSED("receive_parts", .receive_parts = true));
    CU_ASSERT(REFUSED("rate", .handshakes_per_second_max = 1000001, .handshakes_burst = 1));
    CU_ASSERT(REFUSED("rate", .messages_per_second_max = 1000001, .messages_burst = 1));
    CU_ASSERT(REFUSED("handshakes_burst", .handshakes_per_second_max = 1, .handshakes_burst = 1000001));
    CU_ASSERT(REFUSED("messages_burst", .messages_per_second_max = 1, .messages_burst = 1000001));
    CU_ASSERT(REFUSED("memory_bytes_max", .memory_bytes_max = (1 << 20) - 1));
    CU_ASSERT(
        REFUSED("unlimited_addresses", .unlimited_addresses = no_network, .unlimited_address_count = 2));
    CU_ASSERT(REFUSED("unlimited_addresses", .unlimited_addresses = null_text, .unlimited_address_count = 2));
    CU_ASSERT(REFUSED("origins", .origins = null_text, .origin_count = 2));
#undef REFUSED
    CU_ASSERT_EQUAL(SERVER_WITH(&s, .handler = on_handler, .receive_parts = true), WEFT_OK);
    CU_ASSERT(s.is_straight && s.session.gives_parts && s.policy.is_enabled);
    CU_ASSERT_EQUAL(SERVER_WITH(&s, .unlimited_address_count = 5, .origin_count = 5),
                    WEFT_OK); /* of no list */
    CU_ASSERT(!s.unlimited && !s.origins);
}

/* memory: with so much there is no limit that could be met here */
static void limits_that_make_sense_are_taken(void)
{
    static const char *const networks[] = {"10.0.0.0/8", "::1"}, *const origins[] = {"http://a", "http://b"};
    struct settings s;

    CU_ASSERT_EQUAL(SERVER_WITH(&s, .unlimited_addresses = networks, .unlimited_address_count = 2,
                                .origins = origins, .origin_count = 2, .memory_bytes_max = UINT64_MAX / 2),
                    WEFT_OK);
    CU_ASSERT(s.unlimited && s.opts.unlimited_address_count == 2);
    CU_ASSERT_STRING_EQUAL(s.opts.origins[1], "http://b");
    CU_ASSERT(s.opts.origins[1] != origins[1] && !s.opts.origins[2]);
    settings_fini(&s);
    settings_fini(&s); /* twice is once */
}

static void one_connection_has_windows_for_itself_and_nothing_else(void)
{
    static const weft_compression wrong[] = {{.level = 1},       {.mem_level = 1},
                                             {.bytes_min = 1},   {.memory_bytes_max = 1},
                                             {.window_bits = 8}, {.peer_window_bits = 16}};
    weft_compression own = {.window_bits = 15, .no_takeover = true};
    struct extension_policy p;
    struct settings s;

    CU_ASSERT_EQUAL_FATAL(SERVER_WITH(&s, .compression.window_bits = 10), WEFT_OK);
    CU_ASSERT_EQUAL(settings_policy(&s, NULL, &p), WEFT_OK);
    CU_ASSERT(p.is_enabled && p.out_window_bits == 10 && p.out_takeover);
    CU_ASSERT_EQUAL(settings_policy(&s, &own, &p), WEFT_OK);
    CU_ASSERT(p.is_enabled && p.out_window_bits == 15 && p.in_window_bits == 12 && !p.out_takeover);
    for (size_t i = 0; i < COUNT(wrong); i++)
        CU_ASSERT_EQUAL(settings_policy(&s, &wrong[i], &p), WEFT_E_INVAL);
    settings_fini(&s);
}

static int init_client(const weft_client_opts *o)
{
    struct client_how how;
    int rc = client_how_init(&how, URL, o);

    if (rc == WEFT_OK)
        client_how_fini(&how);
    return rc;
}

static void a_client_refuses_what_makes_no_sense(void)
{
    static weft_header headers[65] = {{"A", "1"}};
    static const weft_header no_name = {NULL, "1"}, no_value = {"A", NULL};
    static const char *subprotocols[65] = {"a"};

#define TRIED(...)         init_client(&(weft_client_opts){.size = sizeof(weft_client_opts), __VA_ARGS__})
#define REFUSED(word, ...) (logged[0] = '\0', TRIED(__VA_ARGS__) == WEFT_E_INVAL && strstr(logged, word))
    CU_ASSERT(REFUSED("cert_file", .cert_file = "a.pem"));
    CU_ASSERT(REFUSED("cert_file", .key_file = "a.pem"));
    CU_ASSERT(REFUSED("password", .password = "x"));
    CU_ASSERT(REFUSED("handler", .handler = on_handler, .on_message = on_message));
    CU_ASSERT(REFUSED("handler", .handler = on_handler, .on_drain = on_drain));
    CU_ASSERT(REFUSED("reconnect_max_ms", .reconnect_min_ms = 100000, .reconnect_max_ms = 99999));
    CU_ASSERT(REFUSED("too many", .headers = headers, .header_count = 65));
    CU_ASSERT(REFUSED("too many", .subprotocols = subprotocols, .subprotocol_count = 65));
    CU_ASSERT(REFUSED("header", .headers = &no_name, .header_count = 1));
    CU_ASSERT(REFUSED("header", .headers = &no_value, .header_count = 1));
    CU_ASSERT(REFUSED("subprotocol", .subprotocols = subprotocols, .subprotocol_count = 2));
    CU_ASSERT_EQUAL(TRIED(.header_count = 100, .subprotocol_count = 100), WEFT_OK); /* of no list */
    CU_ASSERT_EQUAL(TRIED(.redirects_max = UINT32_MAX, .reconnect_min_ms = 100000), WEFT_OK);
    CU_ASSERT_EQUAL(TRIED(.user = "u", .password = "p", .cert_file = "a", .key_file = "b"), WEFT_OK);
#undef REFUSED
#undef TRIED
}

static void a_wrong_url_is_named_in_the_log(void)
{
    struct client_how how;

    logged[0] = '\0';
    CU_ASSERT_EQUAL(client_how_init(&how, "gopher://127.0.0.1/", NULL), WEFT_E_INVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(logged, "URL"));
}

/* --- structs of other versions --- */

struct newer {
    size_t size;
    unsigned known, added;
};
struct older {
    size_t size;
    unsigned known;
};

static void structs_of_older_and_newer_programs_are_understood(void)
{
    struct newer from = {sizeof from, 7, 0}, to;
    struct older small;
    size_t only = sizeof only;

    CU_ASSERT_EQUAL(option_copy(&to, sizeof to, NULL, 0), WEFT_OK);
    CU_ASSERT(to.known == 0 && to.added == 0);
    CU_ASSERT_EQUAL(option_copy(&small, sizeof small, &from, sizeof from), WEFT_OK);
    CU_ASSERT_EQUAL(small.known, 7);
    to.added = 9;
    CU_ASSERT_EQUAL(option_copy(&to, sizeof to, &only, sizeof only), WEFT_OK);
    CU_ASSERT(to.known == 0 && to.added == 0);
}

static void what_only_a_newer_version_knows_is_refused_once_it_is_set(void)
{
    struct {
        weft_server_opts known;
        uint64_t added;
    } newer = {.known.size = sizeof newer};
    weft_server_opts without_size = {.workers = 2};
    struct settings s;

    CU_ASSERT_EQUAL(init_server(&newer.known, &s), WEFT_OK);
    newer.added = 1;
    logged[0] = '\0';
    CU_ASSERT_EQUAL(init_server(&newer.known, &s), WEFT_E_INVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(logged, "does not know"));
    CU_ASSERT_EQUAL(init_server(&without_size, &s), WEFT_E_INVAL);
    CU_ASSERT_PTR_NOT_NULL(strstr(logged, "size"));
    CU_ASSERT_EQUAL(init_server(NULL, &s), WEFT_OK);
}

/* --- without memory --- */

static int make_both(void)
{
    static const char *const texts[] = {"10.0.0.0/8", "::1"};
    static const weft_header headers[] = {{"A", "1"}, {"B", "2"}};
    weft_client_opts o = {.size = sizeof o,
                          .headers = headers,
                          .header_count = 2,
                          .subprotocols = texts,
                          .subprotocol_count = 2,
                          .user = "u",
                          .password = "p",
                          .origin = "http://a",
                          .proxy = "",
                          .ca_file = "a",
                          .cert_file = "b",
                          .key_file = "c"};
    struct settings s;
    int rc = SERVER_WITH(&s, .unlimited_addresses = texts, .unlimited_address_count = 2, .origins = texts,
                         .origin_count = 2);

    settings_fini(&s); /* also behind a failure */
    return rc == WEFT_OK ? init_client(&o) : rc;
}

static void every_allocation_may_fail_and_nothing_leaks(void)
{
    int rc = WEFT_E_NOMEM;
    uint64_t n;

    mem_count_live(true);
    for (n = 1; rc != WEFT_OK && n < 100; n++) {
        mem_fail_at(n);
        rc = make_both();
        CU_ASSERT_EQUAL(rc, mem_fail_happened() ? WEFT_E_NOMEM : WEFT_OK);
        mem_fail_at(0);
        CU_ASSERT_EQUAL(mem_live_blocks(), 0);
    }
    mem_count_live(false);
    CU_ASSERT(n > 15 && n < 100);
}

static const struct unit_case cases[] = {
    CASE(each_option_of_a_server_has_its_bounds_and_its_default),
    CASE(each_option_of_a_client_has_its_bounds_and_its_default),
    CASE(options_that_follow_others_have_these_as_bounds),
    CASE(a_server_refuses_what_makes_no_sense),
    CASE(limits_that_make_sense_are_taken),
    CASE(one_connection_has_windows_for_itself_and_nothing_else),
    CASE(a_client_refuses_what_makes_no_sense),
    CASE(a_wrong_url_is_named_in_the_log),
    CASE(structs_of_older_and_newer_programs_are_understood),
    CASE(what_only_a_newer_version_knows_is_refused_once_it_is_set),
    CASE(every_allocation_may_fail_and_nothing_leaks),
};

int main(int argc, char **argv)
{
    weft_log_to(WEFT_LOG_ERROR, keep_line, NULL);
    return unit_main(argc, argv, "settings", cases, sizeof cases / sizeof cases[0]);
}
