/* Command lines and URLs: what is taken, and what is complained about. Also what is read about a process. */
#include "unit.h"
#include "weft_bench/options.h"
#include "weft_bench/process.h"
#include "weft_bench/target.h"

#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORDS_MAX 40

static struct options o;
static char complaint[512];

/* Reads "echo URL -c 1" and so on; the texts in o live until the next call. */
static int read_line(const char *line)
{
    static char words[1024];
    char *argv[WORDS_MAX + 2] = {"weft-bench"}, *rest = words;
    int argc = 1, status;
    FILE *err = fmemopen(complaint, sizeof complaint, "w");

    snprintf(words, sizeof words, "%s", line);
    for (char *word; argc <= WORDS_MAX && (word = strsep(&rest, " ")) != NULL;)
        argv[argc++] = word;
    status = options_read(&o, argc, argv, err, err);
    fclose(err);
    return status;
}

static void all_options_are_read(void)
{
    CU_ASSERT_EQUAL(read_line("echo ws://h:1/ -c 7 -m 64k -p 3 -t 2 -d 0.5 -w 0 --utf8 --raw --json --quiet "
                              "--pid 1,22,333 --label x"),
                    OPTIONS_RUN);
    CU_ASSERT(o.mode == MODE_ECHO && o.connections == 7 && o.bytes == 65536 && o.in_flight == 3 &&
              o.threads == 2);
    CU_ASSERT(o.seconds == 0.5 && o.warmup_s == 0 && o.kind == PAYLOAD_UTF8 && o.raw && o.json && o.quiet);
    CU_ASSERT(o.pid_count == 3 && o.pids[0] == 1 && o.pids[2] == 333);
    CU_ASSERT_STRING_EQUAL(o.label, "x");
    CU_ASSERT_STRING_EQUAL(o.url, "ws://h:1/");
    CU_ASSERT_EQUAL(read_line("--connections=300 idle --step 10,200,300 ws://h/ --touch --hold=2 --src 3"),
                    OPTIONS_RUN);
    CU_ASSERT(o.mode == MODE_IDLE && o.step_count == 3 && o.steps[1] == 200 && o.hold_s == 2 &&
              o.sources == 3);
    CU_ASSERT_EQUAL(read_line("fanout ws://h/ --publishers 4 --burst 10 -m 1m --binary"), OPTIONS_RUN);
    CU_ASSERT(o.publishers == 4 && o.burst == 10 && o.bytes == 1048576 && o.kind == PAYLOAD_BINARY);
    CU_ASSERT_EQUAL(read_line("mixed ws://h/ -r 1000 --slow-ms 5 --slow-share 0.01 --drain 1"), OPTIONS_RUN);
    CU_ASSERT(o.rate == 1000 && o.slow_ms == 5 && o.slow_share == 0.01 && o.drain_s == 1);
}

static void defaults_are_what_help_says(void)
{
    CU_ASSERT_EQUAL(read_line("echo ws://h/"), OPTIONS_RUN);
    CU_ASSERT(o.connections == 64 && o.bytes == 64 && o.in_flight == 1 && o.threads == 1 && o.seconds == 5 &&
              o.warmup_s == 1 && o.kind == PAYLOAD_TEXT && o.handshakes == 128 && o.pid_count == 0);
    CU_ASSERT_EQUAL(read_line("--help"), 0);
    CU_ASSERT_EQUAL(read_line("-h"), 0);
}

static void what_is_wrong_is_named(void)
{
    static const struct {
        const char *line, *says;
    } wrong[] = {
        {"", "a mode and a URL"},
        {"echo", "a mode and a URL"},
        {"ech ws://h/", "'ech' is no mode"},
        {"echo ws://h/ more", "'more' is one argument too many"},
        {"echo ws://h/ --frob", "'--frob'"},
        {"echo ws://h/ -c", "-c needs a value"},
        {"echo ws://h/ -c 0", "--connections: 0"},
        {"echo ws://h/ -c -1", "--connections: '-1'"},
        {"echo ws://h/ -c 1.5", "--connections: 1.5"},
        {"echo ws://h/ -c 1e3", "--connections: '1e3'"},
        {"echo ws://h/ -m 12q", "--bytes: '12q'"},
        {"echo ws://h/ -m 1kk", "--bytes: '1kk'"},
        {"echo ws://h/ -m 300m", "--bytes: 300m"},
        {"echo ws://h/ -d 0", "--seconds: 0"},
        {"echo ws://h/ -d inf", "--seconds: 'inf'"},
        {"echo ws://h/ --pid 1,,2", "--pid"},
        {"echo ws://h/ --pid x", "--pid"},
        {"echo ws://h/ --header nonsense", "--header: 'nonsense'"},
        {"echo ws://h/ -r 5", "--rate is for rate"},
        {"echo ws://h/ --burst 5", "for fanout"},
        {"echo ws://h/ --touch", "for idle"},
        {"echo ws://h/ -c 1000000 -p 1000", "125 million"},
        {"rate ws://h/", "needs --rate"},
        {"mixed ws://h/", "needs --rate"},
        {"fanout ws://h/ -p 2", "see --burst"},
        {"fanout ws://h/ -m 8", "at least 16"},
        {"fanout ws://h/ --raw", "--raw"},
        {"fanout ws://h/ -t 2", "one thread"},
        {"idle ws://h/ --step 5,4", "rising"},
        {"idle ws://h/ --step 100", "more than --connections"},
        {"deflate ws://h/", "no compression"},
    };

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        int status = read_line(wrong[i].line);
        if (status != 2 || !strstr(complaint, wrong[i].says))
            fprintf(stderr, "'%s' gives %d: %s\n", wrong[i].line, status, complaint);
        CU_ASSERT_EQUAL(status, 2);
        CU_ASSERT_PTR_NOT_NULL(strstr(complaint, wrong[i].says));
    }
}

static void a_header_cannot_end_the_request(void)
{
    char *argv[] = {"weft-bench", "echo", "ws://h/", "--header", "X: y\r\nEvil: z", NULL};
    FILE *err = fmemopen(complaint, sizeof complaint, "w");

    CU_ASSERT_EQUAL(options_read(&o, 5, argv, err, err), 2);
    argv[4] = "X-Token: y";
    CU_ASSERT_EQUAL(options_read(&o, 5, argv, err, err), OPTIONS_RUN);
    CU_ASSERT_EQUAL(o.header_count, 1);
    fclose(err);
}

static void urls_are_taken_apart(void)
{
    struct target t;

    CU_ASSERT_PTR_NULL(target_parse(&t, "ws://example.org:8080/a/b?c=d#e"));
    CU_ASSERT_STRING_EQUAL(t.host, "example.org");
    CU_ASSERT_EQUAL(t.port, 8080);
    CU_ASSERT_STRING_EQUAL(t.path, "/a/b?c=d");
    CU_ASSERT_PTR_NULL(target_parse(&t, "WS://[::1]:9"));
    CU_ASSERT_STRING_EQUAL(t.host, "::1");
    CU_ASSERT_EQUAL(t.port, 9);
    CU_ASSERT_STRING_EQUAL(t.path, "/");
    CU_ASSERT_PTR_NULL(target_parse(&t, "ws://h?q"));
    CU_ASSERT_EQUAL(t.port, 80);
    CU_ASSERT_STRING_EQUAL(t.path, "/?q");
    CU_ASSERT_PTR_NULL(target_parse(&t, "ws+unix:/run/x.sock:/chat"));
    CU_ASSERT(t.is_unix);
    CU_ASSERT_STRING_EQUAL(t.unix_path, "/run/x.sock");
    CU_ASSERT_STRING_EQUAL(t.path, "/chat");
}

static void urls_that_are_none_are_refused(void)
{
    static const char *const wrong[] = {"",           "h:80",        "http://h/",
                                        "ws://",      "ws://:80/",   "ws://h:/",
                                        "ws://h:0/",  "ws://h:x/",   "ws://h:65536",
                                        "ws://[::1",  "ws://[::1]8", "ws+unix:",
                                        "ws://h/a b", "wss://h/",    "ws://h:99999999999999999999/"};
    struct target t;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CU_ASSERT_PTR_NOT_NULL(target_parse(&t, wrong[i]));
    CU_ASSERT_STRING_EQUAL(target_parse(&t, "wss://h/"), "this build has no TLS");
}

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void a_process_is_seen_with_its_children_until_it_ends(void)
{
    struct process_use alone, with_child, worked, none;
    pid_t self = getpid(), child;
    double begin_s = cpu_s(), user_s, system_s;

    CU_ASSERT(process_look(&self, 1, true, &alone));
    CU_ASSERT(alone.rss_bytes > 100000 && alone.threads == 1 && alone.processes == 1);
    while (cpu_s() < begin_s + 0.05) {
    }
    CU_ASSERT(process_look(&self, 1, false, &worked));
    process_cpu(&alone, &worked, &user_s, &system_s);
    CU_ASSERT(user_s + system_s >= 0.045 && user_s + system_s < 5);
    child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    CU_ASSERT(process_look(&self, 1, false, &with_child));
    CU_ASSERT_EQUAL(with_child.processes, 2);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CU_ASSERT_FALSE(process_look(&child, 1, false, &none));
}

static const struct unit_case cases[] = {
    CASE(all_options_are_read),
    CASE(defaults_are_what_help_says),
    CASE(what_is_wrong_is_named),
    CASE(a_header_cannot_end_the_request),
    CASE(urls_are_taken_apart),
    CASE(urls_that_are_none_are_refused),
    CASE(a_process_is_seen_with_its_children_until_it_ends),
};

int main(int argc, char **argv)
{
    return unit_main(argc, argv, "bench_options", cases, sizeof cases / sizeof cases[0]);
}
