/* Reaching servers directly and through proxies; the proxies are threads of the test that follow a script,
 * and say what they saw. */
#include "unit.h"
#include "core/reach.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "io/resolve.h"
#include "weft/error.h"

/* --- a proxy --- */

#define WHOLE_HEAD 0 /* wants: until an empty line */

struct step {
    size_t wants;
    const char *answer;
    size_t answer_bytes;
};
#define STEP(wants, answer)                                                                                  \
    {                                                                                                        \
        wants, answer, sizeof answer - 1                                                                     \
    }

/* What is done with one connection; behind the last step it is held until the client goes, or closed at
 * once. */
struct script {
    struct step steps[4];
    size_t count;
    bool closes, drips; /* drips: one byte in a packet */
};

struct proxy {
    int listening;
    uint16_t port;
    const struct script *scripts;
    size_t script_count, connections;
    char seen[4096]; /* of all connections; read it behind end_proxy */
    size_t seen_bytes;
    pthread_t thread;
};

static int listen_on_loopback(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    CU_ASSERT_EQUAL_FATAL(bind(fd, (struct sockaddr *)&a, n), 0);
    CU_ASSERT_EQUAL_FATAL(listen(fd, 8), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static bool ends_head(const struct proxy *p)
{
    return p->seen_bytes >= 4 && memcmp(p->seen + p->seen_bytes - 4, "\r\n\r\n", 4) == 0;
}

static bool read_step(struct proxy *p, int fd, size_t wants)
{
    size_t got = 0;

    while (wants == WHOLE_HEAD ? !ends_head(p) : got < wants) {
        if (p->seen_bytes == sizeof p->seen || recv(fd, p->seen + p->seen_bytes, 1, 0) != 1)
            return false;
        p->seen_bytes++;
        got++;
    }
    return true;
}

static bool answer_step(int fd, const struct step *s, bool drips)
{
    for (size_t at = 0; at < s->answer_bytes;) {
        ssize_t n = send(fd, s->answer + at, drips ? 1 : s->answer_bytes - at, MSG_NOSIGNAL);
        if (n < 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static void serve(struct proxy *p, const struct script *s, int fd)
{
    int one = 1;
    char byte;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    for (size_t i = 0; i < s->count; i++)
        if (!read_step(p, fd, s->steps[i].wants) || !answer_step(fd, &s->steps[i], s->drips))
            return;
    while (!s->closes && recv(fd, &byte, 1, 0) == 1)
        continue;
}

static void *run_proxy(void *arg)
{
    struct proxy *p = arg;
    int fd;

    while (p->connections < p->script_count && (fd = accept4(p->listening, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        serve(p, &p->scripts[p->connections++], fd);
        close(fd);
    }
    return NULL;
}

static void start_proxy(struct proxy *p, const struct script *scripts, size_t count)
{
    memset(p, 0, sizeof *p);
    p->scripts = scripts;
    p->script_count = count;
    p->listening = listen_on_loopback(&p->port);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&p->thread, NULL, run_proxy, p), 0);
}

/* Close what was reached before, or the proxy waits for it. */
static void end_proxy(struct proxy *p)
{
    shutdown(p->listening, SHUT_RDWR); /* accept returns */
    pthread_join(p->thread, NULL);
    close(p->listening);
}

static bool saw(const struct proxy *p, const char *bytes, size_t n)
{
    return p->seen_bytes == n && memcmp(p->seen, bytes, n) == 0;
}
#define SAW(p, text) saw(p, text, sizeof text - 1)

/* --- reaching --- */

static struct url parsed(const char *text)
{
    const char *reason = NULL;
    struct url u;

    CU_ASSERT_EQUAL_FATAL(url_parse(&u, text, URL_FOR_CLIENT, &reason), WEFT_OK);
    return u;
}

struct reached {
    int rc, fd;
    struct reach_failure failure;
};

static struct reached reach_url(const char *text, const char *proxy, const char *no_proxy, uint64_t ms)
{
    struct url u = parsed(text);
    struct reach_how how = {.url = &u,
                            .proxy = proxy,
                            .no_proxy = no_proxy,
                            .ignores_environment = true,
                            .limit = {clock_now_ms() + ms, -1}};
    struct reached r = {.fd = -1};

    r.rc = reach(&how, &r.fd, &r.failure);
    if (r.rc != WEFT_OK) {
        CU_ASSERT_EQUAL(r.failure.error, r.rc);
        CU_ASSERT(strlen(r.failure.text) > 0);
    }
    url_fini(&u);
    return r;
}

/* scheme: with the user if there is one, "http://" or "socks5h://u:p@" */
static struct reached reach_through_proxy(struct proxy *p, const char *scheme, const char *text, uint64_t ms)
{
    char proxy[128];

    snprintf(proxy, sizeof proxy, "%s127.0.0.1:%u", scheme, p->port);
    return reach_url(text, proxy, NULL, ms);
}

/* The next bytes that come are these, and the socket is set up as promised. */
static bool brings(int fd, const char *expected)
{
    char bytes[64];
    size_t n = strlen(expected), got = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};

    if (!(fcntl(fd, F_GETFL) & O_NONBLOCK) || !(fcntl(fd, F_GETFD) & FD_CLOEXEC))
        return false;
    while (got < n && poll(&p, 1, 20000) == 1) {
        ssize_t m = recv(fd, bytes + got, sizeof bytes - got, 0);
        if (m <= 0)
            return false;
        got += (size_t)m;
    }
    return got == n && memcmp(bytes, expected, n) == 0;
}

/* Is this what was told? '@' stands for "proxy 127.0.0.1:" and the port. */
static bool says(const struct reached *r, const struct proxy *p, const char *text)
{
    char expected[REACH_TEXT_BYTES];

    if (text[0] == '@')
        snprintf(expected, sizeof expected, "proxy 127.0.0.1:%u%s", p->port, text + 1);
    else
        snprintf(expected, sizeof expected, "%s", text);
    if (strcmp(r->failure.text, expected) != 0)
        printf("'%s' and not '%s'\n", r->failure.text, expected);
    return strcmp(r->failure.text, expected) == 0;
}

/* --- directly --- */

static void a_server_is_reached_directly(void)
{
    static const struct script greets = {{STEP(4, "server")}, 1, false, false};
    struct proxy server;
    struct reached r;
    char text[64];

    start_proxy(&server, &greets, 1);
    snprintf(text, sizeof text, "ws://127.0.0.1:%u/x", server.port);
    r = reach_url(text, NULL, NULL, 5000);
    CU_ASSERT_EQUAL_FATAL(r.rc, WEFT_OK);
    CU_ASSERT_EQUAL(send(r.fd, "ping", 4, MSG_NOSIGNAL), 4);
    CU_ASSERT(brings(r.fd, "server"));
    close(r.fd);
    end_proxy(&server);
}

static void what_fails_directly_is_told(void)
{
    struct proxy closed = {.port = 0};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct reached r;
    char text[64];

    CU_ASSERT_EQUAL_FATAL(bind(bound, (struct sockaddr *)&a, n), 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(bound, (struct sockaddr *)&a, &n), 0);
    closed.port = ntohs(a.sin_port);
    snprintf(text, sizeof text, "ws://127.0.0.1:%u/x", closed.port);
    r = reach_url(text, NULL, NULL, 5000);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(r.failure.system_error, ECONNREFUSED);
    CU_ASSERT_STRING_EQUAL(r.failure.text + strlen(r.failure.text) - 20, ": Connection refused");
    r = reach_url("wss://[::1]:1/", NULL, NULL, 0);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_TIMEOUT);
    CU_ASSERT(says(&r, &closed, "[::1]:1: the time given for this call ran out"));
    r = reach_url("ws+unix:/nowhere/at/all", NULL, NULL, 5000);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(r.failure.system_error, ENOENT);
    CU_ASSERT(says(&r, &closed, "/nowhere/at/all: No such file or directory"));
    r = reach_through_proxy(&closed, "http://", "ws://h", 5000);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_SYSTEM);
    CU_ASSERT_EQUAL(r.failure.system_error, ECONNREFUSED);
    CU_ASSERT(says(&r, &closed, "@: Connection refused"));
    close(bound);
}

static void a_socket_in_the_file_system_is_reached_past_any_proxy(void)
{
    char directory[] = "/tmp/weft-reach-XXXXXX", text[160];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct reached r;

    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(directory));
    snprintf(a.sun_path, sizeof a.sun_path, "%s/s", directory);
    CU_ASSERT_EQUAL_FATAL(bind(listening, (struct sockaddr *)&a, sizeof a), 0);
    CU_ASSERT_EQUAL_FATAL(listen(listening, 1), 0);
    snprintf(text, sizeof text, "ws+unix:%s:/chat", a.sun_path);
    r = reach_url(text, "http://127.0.0.1:1", NULL, 5000);
    CU_ASSERT_EQUAL(r.rc, WEFT_OK);
    close(r.fd);
    close(listening);
    unlink(a.sun_path);
    rmdir(directory);
}

/* --- CONNECT --- */

#define OPENED "HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\nserver"

static void connect_goes_through_and_loses_no_byte_of_the_server(void)
{
    static const struct script scripts[] = {{{STEP(WHOLE_HEAD, OPENED)}, 1, false, false},
                                            {{STEP(WHOLE_HEAD, OPENED)}, 1, false, true}};

    for (size_t i = 0; i < 2; i++) {
        struct proxy p;
        struct reached r;

        start_proxy(&p, &scripts[i], 1);
        r = reach_through_proxy(&p, "http://", "wss://example.org/x", 5000);
        CU_ASSERT_EQUAL_FATAL(r.rc, WEFT_OK);
        CU_ASSERT(brings(r.fd, "server"));
        close(r.fd);
        end_proxy(&p);
        CU_ASSERT(SAW(&p, "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"));
    }
}

static void a_proxy_without_a_scheme_speaks_http_and_gets_its_credentials(void)
{
    static const struct script opens = {{STEP(WHOLE_HEAD, OPENED)}, 1, false, false};
    struct proxy p;
    struct reached r;

    start_proxy(&p, &opens, 1);
    r = reach_through_proxy(&p, "user:p%40ss@", "ws://[2001:db8::1]:8080/x", 5000);
    CU_ASSERT_EQUAL_FATAL(r.rc, WEFT_OK);
    close(r.fd);
    end_proxy(&p);
    CU_ASSERT(SAW(&p, "CONNECT [2001:db8::1]:8080 HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n"
                      "Proxy-Authorization: Basic dXNlcjpwQHNz\r\n\r\n"));
}

static void a_refusal_is_told_with_its_status_and_without_credentials(void)
{
    static const struct script refuses = {
        {STEP(WHOLE_HEAD,
              "HTTP/1.1 407 Nope\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")},
        1,
        false,
        false};
    struct proxy p;
    struct reached r;

    start_proxy(&p, &refuses, 1);
    r = reach_through_proxy(&p, "http://user:secret@", "wss://example.org", 5000);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_REFUSED);
    CU_ASSERT_EQUAL(r.failure.status, 407);
    CU_ASSERT(says(&r, &p, "@ answered 407 Proxy Authentication Required"));
    end_proxy(&p);
}

static void a_silent_proxy_is_left_when_time_is_over(void)
{
    static const struct script silent = {.count = 0};
    static const struct script slow = {{STEP(WHOLE_HEAD, "HTTP/1.1 200 OK\r\nX-Half: ")}, 1, false, false};
    const struct script *const scripts[] = {&silent, &slow};

    for (size_t i = 0; i < 2; i++) {
        struct proxy p;
        struct reached r;
        uint64_t began;

        start_proxy(&p, scripts[i], 1);
        began = clock_now_ms();
        r = reach_through_proxy(&p, "http://", "ws://h", 60);
        CU_ASSERT_EQUAL(r.rc, WEFT_E_TIMEOUT);
        CU_ASSERT(clock_now_ms() >= began + 60);
        CU_ASSERT(says(&r, &p, "@: the time given for this call ran out"));
        end_proxy(&p);
    }
}

struct canceler {
    pthread_t thread;
    int fd;
};

static void *cancel(void *arg)
{
    uint64_t one = 1;

    return write(((struct canceler *)arg)->fd, &one, sizeof one) == sizeof one ? arg : NULL;
}

static void who_cancels_is_not_kept_by_a_proxy(void)
{
    static const struct script silent = {.count = 0};
    struct canceler c = {.fd = eventfd(0, EFD_CLOEXEC)};
    struct url u = parsed("ws://h");
    struct reach_failure f;
    struct proxy p;
    char proxy[64];
    int fd;

    start_proxy(&p, &silent, 1);
    snprintf(proxy, sizeof proxy, "socks5h://127.0.0.1:%u", p.port);
    CU_ASSERT_EQUAL_FATAL(pthread_create(&c.thread, NULL, cancel, &c), 0);
    CU_ASSERT_EQUAL(
        reach(&(struct reach_how){.url = &u, .proxy = proxy, .limit = {AWAIT_FOREVER, c.fd}}, &fd, &f),
        WEFT_E_CANCELED);
    CU_ASSERT_EQUAL(f.error, WEFT_E_CANCELED);
    pthread_join(c.thread, NULL);
    end_proxy(&p);
    close(c.fd);
    url_fini(&u);
}

static void what_is_no_proxy_is_told_apart(void)
{
    static const struct {
        struct script script;
        const char *scheme;
        int error;
    } rows[] = {
        {{{STEP(WHOLE_HEAD, "SSH-2.0-OpenSSH_9.2\r\n")}, 1, false, false}, "http://", WEFT_E_PROTOCOL},
        {{{STEP(WHOLE_HEAD, "\x05\xff")}, 1, false, true}, "http://", WEFT_E_PROTOCOL},
        {{{STEP(3, "HTTP/1.1 400 Bad Request\r\n\r\n")}, 1, true, false}, "socks5h://", WEFT_E_PROTOCOL},
        {{{STEP(WHOLE_HEAD, "HTTP/1.1 200 OK\r\nX:")}, 1, true, false}, "http://", WEFT_E_CLOSED},
        {{{STEP(3, "\x05")}, 1, true, false}, "socks5h://", WEFT_E_CLOSED},
        {{.count = 0, .closes = true}, "http://", WEFT_E_CLOSED},
        {{.count = 0, .closes = true}, "socks5h://", WEFT_E_CLOSED},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct proxy p;
        struct reached r;

        start_proxy(&p, &rows[i].script, 1);
        r = reach_through_proxy(&p, rows[i].scheme, "ws://h", 10000);
        CU_ASSERT_EQUAL(r.rc, rows[i].error);
        end_proxy(&p);
    }
}

static void an_endless_answer_has_an_end(void)
{
    struct script script = {{{WHOLE_HEAD, NULL, 20000}}, 1, true, false};
    char *head = malloc(20000);
    struct proxy p;
    struct reached r;

    memset(head, 'a', 20000);
    memcpy(head, "HTTP/1.1 200 OK\r\nX: ", 20);
    script.steps[0].answer = head;
    start_proxy(&p, &script, 1);
    r = reach_through_proxy(&p, "http://", "ws://h", 5000);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_TOO_BIG);
    end_proxy(&p);
    free(head);
}

/* --- SOCKS5 --- */

#define GRANTED "\x05\x00\x00\x01\x7f\x00\x00\x01\x1f\x90server"

static void socks5h_hands_the_name_to_the_proxy(void)
{
    static const struct script scripts[] = {{{STEP(3, "\x05\x00"), STEP(8, GRANTED)}, 2, false, false},
                                            {{STEP(3, "\x05\x00"), STEP(8, GRANTED)}, 2, false, true}};

    for (size_t i = 0; i < 2; i++) {
        struct proxy p;
        struct reached r;

        start_proxy(&p, &scripts[i], 1);
        r = reach_through_proxy(&p, "socks5h://", "ws://h:8080/", 5000);
        CU_ASSERT_EQUAL_FATAL(r.rc, WEFT_OK);
        CU_ASSERT(brings(r.fd, "server"));
        close(r.fd);
        end_proxy(&p);
        CU_ASSERT(SAW(&p, "\x05\x01\x00\x05\x01\x00\x03\x01h\x1f\x90"));
    }
}

static void socks_logs_in_with_the_credentials_of_its_url(void)
{
    static const struct script opens = {
        {STEP(4, "\x05\x02"), STEP(7, "\x01\x00"), STEP(8, GRANTED)}, 3, false, false};
    static const struct script refuses = {{STEP(4, "\x05\x02"), STEP(7, "\x01\x01")}, 2, true, false};
    struct proxy p;
    struct reached r;

    start_proxy(&p, &opens, 1);
    r = reach_through_proxy(&p, "socks5h://us:p%3A@", "ws://h/", 5000);
    CU_ASSERT_EQUAL_FATAL(r.rc, WEFT_OK);
    close(r.fd);
    end_proxy(&p);
    CU_ASSERT(SAW(&p, "\x05\x02\x00\x02\x01\x02us\x02p:\x05\x01\x00\x03\x01h\x00\x50"));
    start_proxy(&p, &refuses, 1);
    r = reach_through_proxy(&p, "socks5h://us:no@", "ws://h/", 5000);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_REFUSED);
    CU_ASSERT(says(&r, &p, "@: user or password are wrong"));
    end_proxy(&p);
}

static void socks5_looks_the_name_up_and_tries_its_addresses(void)
{
    static const struct script scripts[] = {{{STEP(3, "\x05\x00"), STEP(22, "\x05\x04")}, 2, true, false},
                                            {{STEP(3, "\x05\x00"), STEP(10, GRANTED)}, 2, false, false}};
    struct proxy p;
    struct reached r;

    start_proxy(&p, scripts, 2);
    r = reach_through_proxy(&p, "socks5://", "ws://localhost/", 5000); /* both families */
    CU_ASSERT_EQUAL_FATAL(r.rc, WEFT_OK);
    CU_ASSERT(brings(r.fd, "server"));
    close(r.fd);
    end_proxy(&p);
    CU_ASSERT(SAW(&p, "\x05\x01\x00\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x50"
                      "\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"));
}

static void socks5_tries_no_other_address_where_that_cannot_help(void)
{
    static const struct script scripts[] = {{{STEP(3, "\x05\x00"), STEP(22, "\x05\x02")}, 2, true, false},
                                            {{STEP(3, "\x05\x00"), STEP(10, GRANTED)}, 2, false, false}};
    struct proxy p;
    struct reached r;

    start_proxy(&p, scripts, 2);
    r = reach_through_proxy(&p, "socks5://", "ws://localhost/", 5000);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_REFUSED);
    CU_ASSERT_EQUAL(r.failure.status, 2);
    CU_ASSERT(says(&r, &p, "@: connection not allowed by ruleset"));
    end_proxy(&p);
    CU_ASSERT_EQUAL(p.connections, 1);
}

static int unknown(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    (void)host, (void)service, (void)hints, (void)out;
    return EAI_NONAME;
}

static void whose_name_is_unknown_is_told(void)
{
    const char *why = gai_strerror(EAI_NONAME);
    char expected[REACH_TEXT_BYTES];
    struct reached r;

    resolve_set_lookup(unknown);
    r = reach_url("ws://server.example", "socks5://127.0.0.1:1", NULL, 5000);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_ADDRESS);
    snprintf(expected, sizeof expected, "server.example: %s", why);
    CU_ASSERT_STRING_EQUAL(r.failure.text, expected);
    r = reach_url("ws://server.example", "socks5h://proxy.example", NULL, 5000);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_ADDRESS);
    snprintf(expected, sizeof expected, "proxy proxy.example:1080: %s", why);
    CU_ASSERT_STRING_EQUAL(r.failure.text, expected);
    r = reach_url("ws://server.example", NULL, NULL, 5000);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_ADDRESS);
    snprintf(expected, sizeof expected, "server.example:80: %s", why);
    CU_ASSERT_STRING_EQUAL(r.failure.text, expected);
    resolve_set_lookup(NULL);
}

static void behind_a_long_name_there_is_room_for_what_happened(void)
{
    char text[260] = "ws://";
    struct reached r;

    for (size_t i = 5; i < 254; i++)
        text[i] = i % 50 ? 'a' : '.';
    resolve_set_lookup(unknown);
    r = reach_url(text, NULL, NULL, 5000);
    resolve_set_lookup(NULL);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_ADDRESS);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.failure.text, gai_strerror(EAI_NONAME)));
}

static void a_proxy_that_cannot_be_used_is_an_error(void)
{
    static const char *const bad[] = {"https://u:secret@p", "socks4://p",      "p:99999",
                                      "http://u:secret@",   "http://u:se#t@p", "socks5h://:p@127.0.0.1:1"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct reached r = reach_url("ws://127.0.0.1:1", bad[i], NULL, 5000);
        CU_ASSERT_EQUAL(r.rc, WEFT_E_INVAL);
        CU_ASSERT_PTR_NULL(strstr(r.failure.text, "secret"));
    }
}

static void no_proxy_goes_past_the_proxy_that_is_given(void)
{
    struct reached r = reach_url("ws+unix:/nowhere", "https://bad", NULL, 5000);

    CU_ASSERT_EQUAL(r.rc, WEFT_E_SYSTEM);
    r = reach_url("ws://127.0.0.1:1", "https://bad", "localhost, 127.0.0.0/8", 0);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_TIMEOUT);
    r = reach_url("ws://127.0.0.1:1", "https://bad", "localhost", 0);
    CU_ASSERT_EQUAL(r.rc, WEFT_E_INVAL);
}

/* --- the environment --- */

static const char *const variables[] = {
    "ws_proxy",    "WS_PROXY",  "wss_proxy", "WSS_PROXY", "http_proxy", "HTTP_PROXY",    "https_proxy",
    "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy",  "NO_PROXY",   "REQUEST_METHOD"};

static void clear_environment(void)
{
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        unsetenv(variables[i]);
}

static bool environment_names(const char *text, const char *expected)
{
    struct url u = parsed(text);
    const char *proxy = reach_environment_proxy(&u);
    bool as_expected = proxy && expected ? strcmp(proxy, expected) == 0 : proxy == expected;

    url_fini(&u);
    return as_expected;
}

/* Each of a row is stronger than those behind it: they are set from the weakest on. */
static void the_variables_have_their_order(void)
{
    static const char *const ws[] = {"ws_proxy",   "WS_PROXY",  "http_proxy",
                                     "HTTP_PROXY", "all_proxy", "ALL_PROXY"};
    static const char *const wss[] = {"wss_proxy",   "WSS_PROXY", "https_proxy",
                                      "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};

    clear_environment();
    CU_ASSERT(environment_names("ws://h", NULL));
    CU_ASSERT(environment_names("wss://h", NULL));
    for (int i = 5; i >= 0; i--) {
        setenv(ws[i], ws[i], 1);
        CU_ASSERT(environment_names("ws://h", ws[i]));
    }
    clear_environment();
    for (int i = 5; i >= 0; i--) {
        setenv(wss[i], wss[i], 1);
        CU_ASSERT(environment_names("wss://h", wss[i]));
        CU_ASSERT(environment_names("ws://h", i > 3 ? wss[i] : wss[4]));
        CU_ASSERT(environment_names("ws+unix:/s", NULL));
    }
    clear_environment();
    setenv("all_proxy", "all", 1);
    setenv("http_proxy", "", 1); /* empty is as good as not there */
    CU_ASSERT(environment_names("ws://h", "all"));
    clear_environment();
}

static void a_header_of_a_cgi_request_is_no_variable(void)
{
    clear_environment();
    setenv("HTTP_PROXY", "evil", 1);
    CU_ASSERT(environment_names("ws://h", "evil"));
    setenv("REQUEST_METHOD", "GET", 1);
    CU_ASSERT(environment_names("ws://h", NULL));
    setenv("http_proxy", "good", 1);
    CU_ASSERT(environment_names("ws://h", "good"));
    clear_environment();
}

static struct reached reach_by_environment(const char *text, bool ignores)
{
    struct url u = parsed(text);
    struct reached r = {.fd = -1};

    r.rc = reach(
        &(struct reach_how){.url = &u, .ignores_environment = ignores, .limit = {clock_now_ms() + 20000, -1}},
        &r.fd, &r.failure);
    url_fini(&u);
    return r;
}

static void the_environment_leads_through_its_proxy(void)
{
    static const struct script opens = {{STEP(WHOLE_HEAD, OPENED)}, 1, false, false};
    char proxy[64];
    struct proxy p;
    struct reached r;

    clear_environment();
    start_proxy(&p, &opens, 1);
    snprintf(proxy, sizeof proxy, "http://127.0.0.1:%u", p.port);
    setenv("https_proxy", proxy, 1);
    r = reach_by_environment("wss://127.0.0.1:1", false);
    CU_ASSERT_EQUAL_FATAL(r.rc, WEFT_OK);
    CU_ASSERT(brings(r.fd, "server"));
    close(r.fd);
    CU_ASSERT_EQUAL(reach_by_environment("wss://127.0.0.1:1", true).rc, WEFT_E_SYSTEM); /* nobody is there */
    CU_ASSERT_EQUAL(reach_by_environment("ws://127.0.0.1:1", false).rc, WEFT_E_SYSTEM);
    setenv("NO_PROXY", "127.0.0.1", 1);
    CU_ASSERT_EQUAL(reach_by_environment("wss://127.0.0.1:1", false).rc, WEFT_E_SYSTEM);
    end_proxy(&p);
    CU_ASSERT_EQUAL(p.connections, 1);
    clear_environment();
}

static void no_proxy_is_matched(void)
{
    static const struct {
        const char *list, *host;
        unsigned port;
        bool is_exempt;
    } rows[] = {
        {"", "h", 80, false},
        {" , ,", "h", 80, false},
        {"*", "h", 80, true},
        {"a,*", "h", 80, true},
        {"*:81", "h", 80, false},
        {"*:80", "h", 80, true},
        {"example.org", "example.org", 80, true},
        {"EXAMPLE.org", "example.org", 80, true},
        {"example.org", "example.org.", 80, true},
        {"example.org.", "example.org", 80, true},
        {"example.org", "www.example.org", 80, true},
        {"example.org", "a.b.example.org", 80, true},
        {".example.org", "www.example.org", 80, true},
        {".example.org", "example.org", 80, true},
        {"*.example.org", "www.example.org", 80, true},
        {"example.org", "badexample.org", 80, false},
        {"example.org", "example.org.evil", 80, false},
        {"www.example.org", "example.org", 80, false},
        {"org", "example.org", 80, true},
        {"e*.org", "example.org", 80, false},
        {"example.org:443", "example.org", 443, true},
        {"example.org:443", "example.org", 80, false},
        {"example.org:", "example.org", 80, false},
        {"example.org:x", "example.org", 80, false},
        {"example.org:000080", "example.org", 80, false},
        {"a, b\tc ,d", "c", 80, true},
        {"a, b\tc ,d", "d", 80, true},
        {"bücher.example", "xn--bcher-kva.example", 80, true},
        {"127.0.0.1", "127.0.0.1", 80, true},
        {"127.0.0.1", "127.0.0.10", 80, false},
        {"127.0.0.1:80", "127.0.0.1", 80, true},
        {"127.0.0.1:81", "127.0.0.1", 80, false},
        {"0.0.1", "127.0.0.1", 80, false},
        {".0.0.1", "127.0.0.1", 80, false},
        {"10.0.0.0/8", "10.255.0.1", 80, true},
        {"10.0.0.0/8", "11.0.0.1", 80, false},
        {"10.0.0.0/8:443", "10.0.0.1", 443, true},
        {"10.0.0.0/8:443", "10.0.0.1", 80, false},
        {"192.0.2.128/25", "192.0.2.200", 80, true},
        {"192.0.2.128/25", "192.0.2.127", 80, false},
        {"192.0.2.77/25", "192.0.2.1", 80, true},
        {"192.0.2.1/32", "192.0.2.1", 80, true},
        {"192.0.2.1/32", "192.0.2.0", 80, false},
        {"0.0.0.0/0", "192.0.2.1", 80, true},
        {"0.0.0.0/0", "2001:db8::1", 80, false},
        {"10.0.0.0/33", "10.0.0.0", 80, false},
        {"10.0.0.0/", "10.0.0.0", 80, false},
        {"10.0.0.0/-1", "10.0.0.0", 80, false},
        {"10.0.0.0/0008", "10.0.0.0", 80, false},
        {"10.0.0.0/8", "name.example", 80, false},
        {"10.0.0.0/8", "::ffff:10.1.2.3", 80, true},
        {"::1", "::1", 80, true},
        {"[::1]", "::1", 80, true},
        {"[::1]:80", "::1", 80, true},
        {"[::1]:81", "::1", 80, false},
        {"[::1", "::1", 80, false},
        {"[::1]x", "::1", 80, false},
        {"0:0::1", "::1", 80, true},
        {"2001:db8::/32", "2001:db8:1::1", 80, true},
        {"2001:db8::/32", "2001:db9::1", 80, false},
        {"fe80::/10", "febf::1", 80, true},
        {"fe80::/10", "fec0::1", 80, false},
        {"::/0", "2001:db8::1", 80, true},
        {"::/129", "::", 80, false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool is_exempt = reach_is_exempt(rows[i].list, rows[i].host, (uint16_t)rows[i].port);
        if (is_exempt != rows[i].is_exempt)
            printf("%s %s:%u\n", rows[i].list, rows[i].host, rows[i].port);
        CU_ASSERT_EQUAL(is_exempt, rows[i].is_exempt);
    }
}

static void an_entry_of_any_length_does_no_harm(void)
{
    size_t n = 100000;
    char *list = malloc(n + 3);

    memset(list, 'a', n);
    memcpy(list + n, ",h", 3);
    CU_ASSERT(reach_is_exempt(list, "h", 80));
    list[n] = 'a';
    CU_ASSERT_FALSE(reach_is_exempt(list, "h", 80));
    free(list);
}

static void without_memory_nothing_is_lost(void)
{
    static const struct script opens = {{STEP(WHOLE_HEAD, OPENED)}, 1, false, false};
    struct url u = parsed("ws://example.org");
    int64_t before;
    uint64_t n = 0;
    int rc;

    mem_count_live(true);
    before = mem_live_blocks();
    do {
        struct reach_failure f;
        char proxy[64];
        struct proxy p;
        int fd = -1;

        start_proxy(&p, &opens, 1);
        snprintf(proxy, sizeof proxy, "u:p@127.0.0.1:%u", p.port);
        mem_fail_at(++n);
        rc = reach(&(struct reach_how){.url = &u, .proxy = proxy, .limit = {AWAIT_FOREVER, -1}}, &fd, &f);
        CU_ASSERT_EQUAL(rc, mem_fail_happened() ? WEFT_E_NOMEM : WEFT_OK);
        if (rc == WEFT_OK)
            close(fd);
        end_proxy(&p);
        CU_ASSERT_EQUAL(mem_live_blocks(), before);
    } while (rc != WEFT_OK && n < 50);
    mem_fail_at(0);
    mem_count_live(false);
    CU_ASSERT(n > 6 && rc == WEFT_OK);
    url_fini(&u);
}

static const struct unit_case cases[] = {
    CASE(a_server_is_reached_directly),
    CASE(what_fails_directly_is_told),
    CASE(a_socket_in_the_file_system_is_reached_past_any_proxy),
    CASE(connect_goes_through_and_loses_no_byte_of_the_server),
    CASE(a_proxy_without_a_scheme_speaks_http_and_gets_its_credentials),
    CASE(a_refusal_is_told_with_its_status_and_without_credentials),
    CASE(a_silent_proxy_is_left_when_time_is_over),
    CASE(who_cancels_is_not_kept_by_a_proxy),
    CASE(what_is_no_proxy_is_told_apart),
    CASE(an_endless_answer_has_an_end),
    CASE(socks5h_hands_the_name_to_the_proxy),
    CASE(socks_logs_in_with_the_credentials_of_its_url),
    CASE(socks5_looks_the_name_up_and_tries_its_addresses),
    CASE(socks5_tries_no_other_address_where_that_cannot_help),
    CASE(whose_name_is_unknown_is_told),
    CASE(behind_a_long_name_there_is_room_for_what_happened),
    CASE(a_proxy_that_cannot_be_used_is_an_error),
    CASE(no_proxy_goes_past_the_proxy_that_is_given),
    CASE(the_variables_have_their_order),
    CASE(a_header_of_a_cgi_request_is_no_variable),
    CASE(the_environment_leads_through_its_proxy),
    CASE(no_proxy_is_matched),
    CASE(an_entry_of_any_length_does_no_harm),
    CASE(without_memory_nothing_is_lost),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "reach", cases, sizeof cases / sizeof cases[0]);
}
